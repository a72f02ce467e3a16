"""Arrays in, arrays out: the compiled statistics and what they mean.

rolling.pyx     window.hpp for Python: one call per statistic, all instruments of a tile, no GIL
reference.py    each statistic in a numpy sentence: the specification, and the oracle of the tests
"""

from qlib.data.kernels.rolling import roll

__all__ = ["roll"]

"""Arrays in, arrays out: the compiled statistics and their plain twins.

rolling.pyx     window.hpp for Python: one call per statistic, all instruments of a tile, no GIL
reference.py    what each statistic means, in one numpy sentence each: specification and oracle
"""

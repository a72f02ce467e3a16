"""Arrays in, arrays out: the compiled statistics and what they mean.

window.hpp      the window: how a statistic slides over a series without ever subtracting
statistics.hpp  counts, extremes, moments, regressions, covariances
order.hpp       quantiles and ranks
series.hpp      exponential means, shifts, deviations
kernels.hpp     all of them by name
rolling.pyx     the call from Python: all instruments of a tile, without the GIL
reference.py    each statistic in a numpy sentence: the specification, and the oracle of the tests

crosssection.hpp, crosssection.pyx, reference_crosssection.py
                the same for statistics across instruments, bar after bar
runs.pyx        what a row sees of its run, such as its day
"""

from qlib.data.kernels.crosssection import TimeOrder, per_bar
from qlib.data.kernels.rolling import roll
from qlib.data.kernels.runs import first_value, last_of_run, last_value, next_value, running_sums

__all__ = [
    "TimeOrder",
    "first_value",
    "last_of_run",
    "last_value",
    "next_value",
    "per_bar",
    "roll",
    "running_sums",
]

"""Arrays in, arrays out: the compiled statistics and what they mean.

common.hpp      what Python says to a program: steps, registers, sources, targets
lanes.hpp       eight instruments side by side              machine.hpp     registers, filled chunk by chunk
window.hpp      how a statistic slides over a series without ever subtracting
statistics.hpp  counts, extremes, moments, regressions, covariances
order.hpp       quantiles and ranks                         sorted.hpp      the same for long windows
series.hpp      exponential means, shifts, deviations       elementwise.hpp arithmetic, questions, choices
flow.hpp        between columns in memory and registers     program.hpp     all by name, and the loop over chunks
isa.hpp         the above for one instruction set           machine_*.cpp   each of them
program.pyx     the call from Python, without the GIL
reference.py    each statistic in a numpy sentence: the specification, and the oracle of the tests

crosssection.hpp, crosssection.pyx, reference_crosssection.py
                the same for statistics across instruments, bar after bar
runs.pyx        what a row sees of its run, such as its day
"""

from qlib.data.kernels.crosssection import TimeOrder, per_bar
from qlib.data.kernels.runs import first_value, last_of_run, last_value, next_value, running_sums

__all__ = [
    "TimeOrder",
    "first_value",
    "last_of_run",
    "last_value",
    "next_value",
    "per_bar",
    "running_sums",
]

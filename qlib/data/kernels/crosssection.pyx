# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# distutils: language = c++
"""Statistics across instruments, bar after bar: rows are brought into the order of time once, then any number run."""

from libc.stdint cimport int64_t
from libcpp.vector cimport vector

import numpy as np

cdef extern from "crosssection.hpp" namespace "qlib_crosssection" nogil:
    cdef cppclass Column:
        const void* values
        bint wide

    cdef cppclass Entry:
        Py_ssize_t least, most

    const Entry* find(const char* name)
    void order_in_time(
        const int64_t* low, const int64_t* high, const int64_t* position, Py_ssize_t runs, int64_t earliest,
        Py_ssize_t bars, int64_t* bounds, int64_t* order) except +
    void run(
        const Entry* entry, const Column* columns, Py_ssize_t count, const int64_t* order, const int64_t* bounds,
        Py_ssize_t first, Py_ssize_t last, double parameter, double* out) except +


cdef class TimeOrder:
    """Row numbers by bar: order[bounds[t] : bounds[t + 1]] are the rows of bar t, which is calendar position earliest + t.

    Parameters
    ----------
    low, high
        int64: runs of rows low[k]:high[k] of a panel, ascending and apart; rows outside them are nobody's.
    position
        int64: the calendar position of the first row of each run.
    rows
        Rows of the panel.
    """

    cdef readonly object order, bounds
    cdef readonly Py_ssize_t rows, bars
    cdef readonly int64_t earliest

    def __init__(
        self, const int64_t[::1] low, const int64_t[::1] high, const int64_t[::1] position, Py_ssize_t rows
    ):
        cdef Py_ssize_t k, runs = low.shape[0]
        cdef int64_t before = 0, total = 0, earliest = 0, end = 0
        if high.shape[0] != runs or position.shape[0] != runs:
            raise ValueError(f"runs: received {runs} starts, {high.shape[0]} ends and {position.shape[0]} positions")
        for k in range(runs):
            if low[k] < before or high[k] < low[k] or high[k] > rows or position[k] < 0:
                raise ValueError(
                    f"run {k} has rows {low[k]} to {high[k]} from position {position[k]} on; runs ascend inside "
                    f"0 to {rows}, do not overlap, and no position is negative"
                )
            before = high[k]
            if high[k] > low[k]:
                earliest = position[k] if total == 0 else min(earliest, position[k])
                end = max(end, position[k] + high[k] - low[k])
                total += high[k] - low[k]
        self.rows, self.earliest, self.bars = rows, earliest, end - earliest
        self.order, self.bounds = np.empty(total, np.int64), np.zeros(self.bars + 1, np.int64)
        cdef int64_t[::1] order = self.order
        cdef int64_t[::1] bounds = self.bounds
        if total > 0:
            with nogil:
                order_in_time(
                    &low[0], &high[0], &position[0], runs, earliest, end - earliest, &bounds[0], &order[0])
        self.order.flags.writeable = False
        self.bounds.flags.writeable = False


def per_bar(
    str kernel,
    tuple columns,
    TimeOrder time,
    double parameter,
    double[::1] out,
    Py_ssize_t first=0,
    Py_ssize_t last=-1,
):
    """Write the statistic `kernel` of every bar first ... last - 1 (all by default) to the rows of its observations.

    `columns` are flat float32 or float64 arrays of time.rows values, `out` float64 of as many; rows that have no value
    keep what `out` holds.  `parameter` is what the kernel's comment in crosssection.hpp says.  The GIL is released while
    it runs, and different bars may run at once.
    """
    cdef bytes name = kernel.encode()
    cdef const Entry* entry = find(name)
    if entry == NULL:
        raise KeyError(f"no statistic across instruments is called {kernel}")
    cdef Py_ssize_t count = len(columns)
    if count < entry.least or (entry.most != 0 and count > entry.most):
        raise ValueError(f"{kernel}: received {count} columns, at least {entry.least} are needed")
    if last < 0:
        last = time.bars
    if not 0 <= first <= last <= time.bars:
        raise ValueError(f"{kernel}: received bars {first} to {last}, there are {time.bars}")
    if out.shape[0] != time.rows:
        raise ValueError(f"{kernel}: `out` has {out.shape[0]} rows, the panel {time.rows}")
    cdef const int64_t[::1] order = time.order
    cdef const int64_t[::1] bounds = time.bounds
    cdef const float[::1] narrow
    cdef const double[::1] broad
    cdef vector[Column] held
    cdef Column one
    if order.shape[0] == 0 or first == last:
        return
    for column in columns:
        if len(column) != time.rows:
            raise ValueError(f"{kernel}: a column has {len(column)} rows, the panel {time.rows}")
        one.wide = column.dtype.char == "d"
        if one.wide:
            broad = column
            one.values = &broad[0]
        else:
            narrow = column
            one.values = &narrow[0]
        held.push_back(one)
    with nogil:
        run(entry, held.data(), count, &order[0], &bounds[0], first, last, parameter, &out[0])

# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# distutils: language = c++
"""One column, date after date: date k owns the rows bounds[k]:bounds[k + 1].

Columns are float32 or float64, one piece of memory, and are changed in place; the GIL is released.  A value counts
unless it is NaN; with `finite` infinity does not count either, when a mean or a deviation is taken.
"""

from libc.stdint cimport int64_t
from libcpp cimport bool as flag

ctypedef fused real:
    float
    double

cdef extern from "dates.hpp" namespace "qlib_dates" nogil:
    void zscore_dates[T](T*, const int64_t*, Py_ssize_t, flag) except +
    void robust_dates[T](T*, const int64_t*, Py_ssize_t) except +
    void rank_dates[T](T*, const int64_t*, Py_ssize_t, flag) except +
    void fill_dates[T](T*, const int64_t*, Py_ssize_t, flag, flag) except +
    void median_dates[T](const T*, const int64_t*, Py_ssize_t, double*) except +
    void moments_of[T](const T*, Py_ssize_t, flag, double*) except +


cdef Py_ssize_t dates_in(Py_ssize_t rows, const int64_t[::1] bounds) except -1:
    """Return the number of dates; raise ValueError unless they own the rows 0 ... rows - 1 one after the other."""
    cdef Py_ssize_t k, dates = bounds.shape[0] - 1
    if dates < 0 or bounds[0] != 0 or bounds[dates] != rows:
        raise ValueError(f"{rows} rows need bounds from 0 to {rows}")
    for k in range(dates):
        if bounds[k + 1] < bounds[k]:
            raise ValueError("bounds never fall")
    return dates


def zscore(real[::1] x, const int64_t[::1] bounds, flag finite):
    """(x - mean) / deviation (ddof 1) of the date; NaN where all its values are equal, or there is one only."""
    cdef Py_ssize_t dates = dates_in(x.shape[0], bounds)
    if x.shape[0]:
        with nogil:
            zscore_dates(&x[0], &bounds[0], dates, finite)


def robust(real[::1] x, const int64_t[::1] bounds):
    """(x - median) / median absolute deviation of the date / 1.4826, clipped to [-3, 3]."""
    cdef Py_ssize_t dates = dates_in(x.shape[0], bounds)
    if x.shape[0]:
        with nogil:
            robust_dates(&x[0], &bounds[0], dates)


def rank(real[::1] x, const int64_t[::1] bounds, flag centred):
    """(rank in the date / number of values - centre) * 3.46; ties share their mean rank; NaN stays.

    The centre is 0.5, or with `centred` the mean of what it is taken from.
    """
    cdef Py_ssize_t dates = dates_in(x.shape[0], bounds)
    if x.shape[0]:
        with nogil:
            rank_dates(&x[0], &bounds[0], dates, centred)


def fill_mean(real[::1] x, const int64_t[::1] bounds, flag infinite, flag finite):
    """The mean of the date in the place of NaN, or with `infinite` of infinity."""
    cdef Py_ssize_t dates = dates_in(x.shape[0], bounds)
    if x.shape[0]:
        with nogil:
            fill_dates(&x[0], &bounds[0], dates, infinite, finite)


def medians(const real[::1] x, const int64_t[::1] bounds, double[::1] out):
    """Write the median of each date to `out`: NaN skipped, infinity counted, NaN where there is no value."""
    cdef Py_ssize_t dates = dates_in(x.shape[0], bounds)
    if out.shape[0] != dates:
        raise ValueError(f"medians: {dates} dates, {out.shape[0]} places for the result")
    if dates and x.shape[0]:
        with nogil:
            median_dates(&x[0], &bounds[0], dates, &out[0])
    else:
        out[:] = float("nan")


def moments(const real[::1] x, flag finite):
    """Return (least, greatest, mean, deviation with ddof 0) of the values that count; NaN where there is none."""
    cdef double[4] found = [float("nan"), float("nan"), float("nan"), float("nan")]
    if x.shape[0]:
        with nogil:
            moments_of(&x[0], x.shape[0], finite, &found[0])
    return found[0], found[1], found[2], found[3]

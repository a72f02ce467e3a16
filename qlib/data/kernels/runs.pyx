# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# distutils: language = c++
"""What a row sees of the run of rows it stands in: run k owns rows bounds[k]:bounds[k + 1] (days, weeks, instruments).

A value is seen unless it is NaN. Values are float32 or float64 and `out` alike, one pass each, without the GIL.
"""

from libc.math cimport NAN, fabs, isfinite, isnan
from libc.stdint cimport int64_t, uint8_t

ctypedef fused real:
    float
    double


cdef int check(Py_ssize_t rows, const int64_t[::1] bounds, Py_ssize_t out) except -1:
    cdef Py_ssize_t k, runs = bounds.shape[0] - 1
    if runs < 0 or bounds[0] != 0 or bounds[runs] != rows or out != rows:
        raise ValueError(f"{rows} rows need bounds from 0 to {rows} and {rows} places for the result")
    for k in range(runs):
        if bounds[k + 1] < bounds[k]:
            raise ValueError("bounds never fall")
    return 0


def last_value(const real[::1] values, const int64_t[::1] bounds, real[::1] out):
    """Fill `out` with the last value seen in the run, up to the row; NaN before the first."""
    cdef Py_ssize_t k, i
    cdef real last
    check(values.shape[0], bounds, out.shape[0])
    with nogil:
        for k in range(bounds.shape[0] - 1):
            last = NAN
            for i in range(bounds[k], bounds[k + 1]):
                if not isnan(values[i]):
                    last = values[i]
                out[i] = last


def next_value(const real[::1] values, const int64_t[::1] bounds, real[::1] out):
    """Fill `out` with the next value seen in the run, from the row on; NaN after the last."""
    cdef Py_ssize_t k, i
    cdef real following
    check(values.shape[0], bounds, out.shape[0])
    with nogil:
        for k in range(bounds.shape[0] - 1):
            following = NAN
            for i in range(bounds[k + 1] - 1, bounds[k] - 1, -1):
                if not isnan(values[i]):
                    following = values[i]
                out[i] = following


def first_value(const real[::1] values, const int64_t[::1] bounds, real[::1] out):
    """Fill `out` with the first value seen in the run; NaN before it."""
    cdef Py_ssize_t k, i
    cdef real first
    check(values.shape[0], bounds, out.shape[0])
    with nogil:
        for k in range(bounds.shape[0] - 1):
            first = NAN
            for i in range(bounds[k], bounds[k + 1]):
                if isnan(first):
                    first = values[i]
                out[i] = first


def last_of_run(const real[::1] values, const int64_t[::1] bounds, real[::1] out):
    """Fill `out` with the last value seen in the whole run, on each of its rows; NaN where there is none."""
    cdef Py_ssize_t k, i, end
    cdef real last
    check(values.shape[0], bounds, out.shape[0])
    with nogil:
        for k in range(bounds.shape[0] - 1):
            end = bounds[k + 1] - 1
            while end >= bounds[k] and isnan(values[end]):
                end -= 1
            last = values[end] if end >= bounds[k] else <real>NAN
            for i in range(bounds[k], bounds[k + 1]):
                out[i] = last


def running_sums(
    const real[::1] values, const uint8_t[::1] counts, const int64_t[::1] bounds, bint infinite, double[::1] out
):
    """Fill `out` with the sum of the run's values up to the row, NaN where the row's own is missing.

    Rows that `counts` leaves out (0) add nothing and are 0 themselves. Without `infinite`, infinity is missing too.
    Each run is added up by itself, with compensation: the error is that of one rounding.
    """
    cdef Py_ssize_t k, i
    cdef double total, rest, value, after
    check(values.shape[0], bounds, out.shape[0])
    if counts.shape[0] != values.shape[0]:
        raise ValueError(f"{values.shape[0]} rows need as many counts, received {counts.shape[0]}")
    with nogil:
        for k in range(bounds.shape[0] - 1):
            total = rest = 0.0
            for i in range(bounds[k], bounds[k + 1]):
                value = values[i]
                if not counts[i]:
                    out[i] = 0.0
                elif isnan(value) or not (infinite or isfinite(value)):
                    out[i] = NAN
                else:
                    after = total + value
                    if not isfinite(after):
                        rest = 0.0
                    elif fabs(total) >= fabs(value):
                        rest += (total - after) + value
                    else:
                        rest += (value - after) + total
                    total = after
                    out[i] = total + rest

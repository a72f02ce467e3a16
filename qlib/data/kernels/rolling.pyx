# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# distutils: language = c++
"""Windowed kernels over a ragged panel: instrument k owns rows start[k]:start[k+1], the first at position first[k]."""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t

cdef extern from "kernels.hpp" namespace "qlib_kernels" nogil:
    bint run(
        const char* name, const void* left, const void* right, bint wide_in, const int64_t* start, const int64_t* first,
        Py_ssize_t instruments, Py_ssize_t window, double parameter, void* out, bint wide_out) except +


cdef class Flat:
    """A contiguous float32 or float64 array, held while a kernel runs."""

    cdef Py_buffer view
    cdef bint held, wide
    cdef Py_ssize_t rows

    def __cinit__(self, object array, bint writable):
        PyObject_GetBuffer(array, &self.view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        self.held = True
        if self.view.ndim != 1 or self.view.format[0] not in (b"f", b"d") or self.view.format[1] != 0:
            raise TypeError("a kernel takes flat float32 or float64 arrays")
        self.wide = self.view.format[0] == b"d"
        self.rows = self.view.shape[0]

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


def roll(
    str kernel,
    object left,
    object right,
    const int64_t[::1] start,
    const int64_t[::1] first,
    Py_ssize_t window,
    double parameter,
    object out,
):
    """Fill `out` with the statistic `kernel` of each instrument's last `window` rows.

    `left` (and `right`, for statistics of two series, else None) and `out` are flat float32 or float64 arrays of
    start[-1] values; `left` and `right` share one dtype.  window 0 means all rows so far.  `parameter` is what the
    kernel's comment in the .hpp files says.  The GIL is released while it runs.
    """
    cdef Flat x = Flat(left, False)
    cdef Flat y = None if right is None else Flat(right, False)
    cdef Flat z = Flat(out, True)
    cdef Py_ssize_t k, n = first.shape[0]
    if start.shape[0] != n + 1 or start[0] != 0 or start[n] != x.rows:
        raise ValueError(f"{kernel}: `start` must run from 0 to {x.rows} and have one entry more than `first`")
    for k in range(n):
        if start[k + 1] < start[k] or first[k] < 0:
            raise ValueError(f"{kernel}: `start` must not fall and `first` must not be negative (instrument {k})")
    if z.rows != x.rows or (y is not None and (y.rows != x.rows or y.wide != x.wide)):
        raise ValueError(f"{kernel}: the arrays must have the same length, and both series the same dtype")
    if window < 0 and kernel != "shift":
        raise ValueError(f"{kernel}: received window {window}, allowed are 0 (all rows so far) and more")
    cdef bytes name = kernel.encode()
    cdef const char* c_name = name
    cdef const void* right_values = NULL if y is None else y.view.buf
    cdef bint known
    if x.rows == 0:
        return
    with nogil:
        known = run(c_name, x.view.buf, right_values, x.wide, &start[0], &first[0], n, window, parameter, z.view.buf, z.wide)
    if not known:
        raise KeyError(f"no statistic of {'one' if y is None else 'two'} series is called {kernel}")

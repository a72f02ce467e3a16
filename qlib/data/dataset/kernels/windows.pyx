# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# distutils: language = c++
"""Windows of consecutive dates, gathered from rows that lie instrument after instrument.

    windows = Windows(rows, of_date, of_instrument, 20)
    windows.gather(places, 0, 0, out)           out: an array of samples x 20 rows

A place p >= 0 says that the window is the rows p ... p + steps - 1; p < 0 that it ends at row -1 - p and that dates
are missing.  Rows are bytes, whatever they hold; the last row stands for a date without one.  The GIL is released.
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t

cdef extern from "windows.hpp" namespace "qlib_windows" nogil:
    cdef enum Fill:
        pass

    cdef cppclass Table:
        const char* data
        Py_ssize_t width
        Py_ssize_t rows
        const int32_t* date
        const int32_t* instrument
        Py_ssize_t steps

    void gather_windows "qlib_windows::gather"(const Table&, const int64_t*, Py_ssize_t, Py_ssize_t, Fill, char*)


cdef class Windows:
    """Rows, their dates and instruments (numbers that ascend together), and how many dates a window has."""

    cdef const unsigned char[:, ::1] data
    cdef const int32_t[::1] date
    cdef const int32_t[::1] instrument
    cdef readonly Py_ssize_t steps

    def __init__(
        self,
        const unsigned char[:, ::1] data not None,
        const int32_t[::1] date not None,
        const int32_t[::1] instrument not None,
        Py_ssize_t steps,
    ):
        if date.shape[0] != instrument.shape[0] or data.shape[0] != date.shape[0] + 1 or steps < 1:
            raise ValueError(
                f"{data.shape[0]} rows, {date.shape[0]} dates, {instrument.shape[0]} instruments, windows of {steps}: "
                "needed are one row more than dates and instruments, and windows of at least 1"
            )
        self.data, self.date, self.instrument, self.steps = data, date, instrument, steps

    def gather(self, const int64_t[::1] places not None, Py_ssize_t back, int fill, out):
        """Write the windows to `out` one after the other, those with missing dates as ending `back` dates later.

        `out` is any C-ordered memory of that size.  fill: 0 leaves a date without a row as the last row of the data, 1
        shows the row before it in the window, 2 also the first row of the window ahead of it.  IndexError for a window
        that is not within the rows.
        """
        self.write(&places[0] if places.shape[0] else NULL, places.shape[0], back, fill, out)

    def one(self, int64_t place, int fill, out):
        """Write one window to `out`."""
        self.write(&place, 1, 0, fill, out)

    cdef int write(self, const int64_t* places, Py_ssize_t windows, Py_ssize_t back, int fill, out) except -1:
        cdef Py_ssize_t k, rows = self.date.shape[0]
        cdef Table table
        cdef Py_buffer memory
        if not 0 <= fill <= 2:
            raise ValueError(f"fill {fill}; 0, 1 and 2 are allowed")
        for k in range(windows):
            if places[k] > rows - self.steps if places[k] >= 0 else places[k] < -rows:
                raise IndexError(f"place {places[k]} is asked for; there are {rows} rows, {self.steps} to a window")
        PyObject_GetBuffer(out, &memory, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        try:
            if memory.len != windows * self.steps * self.data.shape[1]:
                raise ValueError(f"{windows} windows of {self.steps} rows do not fill {memory.len} bytes")
            if memory.len == 0:
                return 0
            table.data, table.width, table.rows = <const char*>&self.data[0, 0], self.data.shape[1], rows
            table.date, table.instrument, table.steps = &self.date[0], &self.instrument[0], self.steps
            with nogil:
                gather_windows(table, places, windows, back, <Fill>fill, <char*>memory.buf)
        finally:
            PyBuffer_Release(&memory)
        return 0

# distutils: language = c++
"""The plain lines of a CSV file of bars, read without pandas: see lines.hpp.

    content = read_padded("AAA.csv")                       # date,close
    read_lines(content, 11, bytes([TIME, NUMBER]))         # (seconds, values, None)
"""

import os

from libc.stdint cimport int64_t, uint8_t

import numpy as np

cdef extern from "lines.hpp" namespace "lines" nogil:
    const int64_t PADDING
    int64_t count_lines "lines::count"(const char *text, int64_t size)
    int64_t read_all "lines::read"(
        const char *text, int64_t size, const uint8_t *kinds, int columns, int64_t room,
        int64_t *times, float *values, int64_t *name)

SKIP, TIME, NAME, NUMBER = 0, 1, 2, 3
MARGIN = PADDING


def read_lines(const uint8_t[::1] content, int64_t begin, int64_t end, const uint8_t[::1] kinds):
    """Return the rows of content[begin:end], or None where a line is odd or the names differ.

    Bytes before `begin` and after `end` are looked at, never used: there must be MARGIN of each.

    Returns
    -------
    (times, values, name)
        Seconds since 1970, int64 (rows,); float32 (number columns, rows), empty cells NaN; where the text begins and
        ends that stands in the NAME column of every row, or None.
    """
    if begin < PADDING or end < begin or content.shape[0] < end + PADDING or kinds.shape[0] == 0:
        raise ValueError(f"content: {content.shape[0]} bytes do not hold {begin} to {end} with {PADDING} on each side")
    cdef const char *text = <const char *> &content[0] + begin
    cdef int64_t name[2]
    cdef int64_t room, rows
    cdef int columns = <int> kinds.shape[0]
    name[0], name[1] = -1, 0
    with nogil:
        room = count_lines(text, end - begin)
    values = np.empty((bytes(kinds).count(NUMBER), room), np.float32)
    seconds = np.empty(room, np.int64)
    cdef float[:, ::1] cells = values
    cdef int64_t[::1] times = seconds
    cdef float *first = &cells[0, 0] if cells.shape[0] else NULL
    with nogil:
        rows = read_all(text, end - begin, &kinds[0], columns, room, &times[0], first, name)
    if rows < 0:
        return None
    return seconds[:rows], values[:, :rows], None if name[0] < 0 else (begin + name[0], begin + name[0] + name[1])

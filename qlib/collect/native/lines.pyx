# distutils: language = c++
# cython: cdivision=True, boundscheck=False, wraparound=False
"""The plain lines of a CSV file of bars, read without pandas: see lines.hpp.

    rows = count_rows(content, begin, end)                 # at most
    times, values = np.empty(rows, np.int64), np.empty((1, rows), np.float32)
    read_lines(content, begin, end, bytes([TIME, NUMBER]), times, values)      # (rows, None), or None
"""

from libc.stdint cimport int64_t, uint8_t

cdef extern from "read.hpp" namespace "lines" nogil:
    const int64_t PADDING
    int64_t count_lines "lines::count"(const char *text, int64_t size)
    int64_t read_all "lines::read"(
        const char *text, int64_t size, const uint8_t *kinds, int columns, int64_t room,
        int64_t *times, float *values, int64_t *name, bint baseline)

SKIP, TIME, NAME, NUMBER = 0, 1, 2, 3
MARGIN = PADDING


def count_rows(const uint8_t[::1] content, int64_t begin, int64_t end):
    """Return how many rows there are in content[begin:end] at most."""
    cdef int64_t rows
    if begin < 0 or end > content.shape[0] or end <= begin:
        return 0
    with nogil:
        rows = count_lines(<const char *> &content[0] + begin, end - begin)
    return rows


def read_lines(const uint8_t[::1] content, int64_t begin, int64_t end, const uint8_t[::1] kinds,
               int64_t[::1] times, float[:, ::1] values, *, bint baseline=False):
    """Read the rows of content[begin:end], or return None where a line is odd or the names differ.

    Bytes before `begin` and after `end` are looked at, never used: there must be MARGIN of each. `times` (room,)
    receives seconds since 1970; `values` (number columns, room) the numbers, NaN for empty cells. `baseline` does
    without the instructions that only some machines have.

    Returns
    -------
    (rows, name)
        How many rows there are; where the text begins and ends that stands in the NAME column of every row, or None.
    """
    if begin < PADDING or end < begin or content.shape[0] < end + PADDING or kinds.shape[0] == 0:
        raise ValueError(f"content: {content.shape[0]} bytes do not hold {begin} to {end} with {PADDING} on each side")
    if values.shape[0] != bytes(kinds).count(NUMBER) or values.shape[1] != times.shape[0] or times.shape[0] == 0:
        raise ValueError(f"values: {values.shape[0]} x {values.shape[1]} are no cells for {bytes(kinds)!r}, {len(times)}")
    cdef int64_t name[2]
    cdef int64_t rows
    cdef float *cells = &values[0, 0] if values.shape[0] else NULL
    name[0], name[1] = -1, 0
    with nogil:
        rows = read_all(<const char *> &content[0] + begin, end - begin, &kinds[0], <int> kinds.shape[0],
                        times.shape[0], &times[0], cells, name, baseline)
    if rows < 0:
        return None
    return rows, None if name[0] < 0 else (begin + name[0], begin + name[0] + name[1])


def order_of(const int64_t[::1] seconds):
    """Return (whether times ascend strictly, whether all are midnights), seen in one pass."""
    cdef int64_t i, rows = seconds.shape[0], rest = 0, steps_back = 0
    with nogil:
        for i in range(rows):
            rest |= seconds[i] - seconds[i] / 86400 * 86400
        for i in range(1, rows):
            steps_back += seconds[i] <= seconds[i - 1]
    return steps_back == 0, rest == 0

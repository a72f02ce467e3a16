# cython: language_level=3, boundscheck=False, wraparound=False
# distutils: language = c++
"""The compiled reader of `.bin` files; `arena.py` says what it is for, and reader.hpp how it works."""

from libc.stdint cimport int64_t
from libcpp.vector cimport vector

cdef extern from "reader.hpp" namespace "qlib_storage" nogil:
    const bint available
    void c_read_files "qlib_storage::read_files"(
        const char* top, const char* const* folders, int64_t n, const char* const* endings, int64_t m, int64_t first,
        int64_t last, int64_t entries, int64_t threads, float* values, const int64_t* room, int64_t* offset,
        int64_t* begin, int64_t* count) except +
    void c_measure_files "qlib_storage::measure_files"(
        const char* top, const char* const* folders, int64_t n, const char* const* endings, int64_t m,
        int64_t* most) except +

AVAILABLE = bool(available)  # False on Windows, and where numbers lie the other way round


cdef vector[const char*] _names(list names) except *:
    """Return pointers into the bytes objects; the list must outlive them."""
    cdef vector[const char*] found
    cdef bytes name
    found.reserve(len(names))
    for name in names:
        if b"\0" in name:
            raise ValueError("embedded null byte")
        found.push_back(name)
    return found


def read_files(
    bytes top,
    list folders,
    list endings,
    int64_t first,
    int64_t last,
    int64_t entries,
    int64_t threads,
    float[::1] values,
    const int64_t[::1] room,
    int64_t[:, ::1] offset,
    int64_t[:, ::1] begin,
    int64_t[:, ::1] count,
):
    """Read calendar positions first ... last of the files top/folder/ending into `values`, without the GIL.

    Instrument i (a folder) may fill values[room[i]:room[i + 1]] (room: ascending from 0).  offset, begin and count of
    shape (folders, endings) are filled: a series has its `count` values at values[offset:], the first of them at
    calendar position `begin`; count -1 is a file that does not exist, -2 one that only `read_bin` can judge.
    """
    cdef Py_ssize_t n = len(folders), m = len(endings), i
    if not available:
        raise NotImplementedError("this system has no compiled reader")
    if first < 0 or last < first or last >= entries:
        raise ValueError(f"received positions {first} to {last} of {entries}")
    if room.shape[0] != n + 1 or room[0] != 0 or room[n] > values.shape[0]:
        raise ValueError("`room` must run from 0 to the length of `values` and have one entry more than `folders`")
    for i in range(n):
        if room[i + 1] < room[i]:
            raise ValueError("`room` must not fall")
    if (offset.shape[0], begin.shape[0], count.shape[0]) != (n, n, n) or (
        (offset.shape[1], begin.shape[1], count.shape[1]) != (m, m, m)
    ):
        raise ValueError(f"offset, begin and count must have the shape ({n}, {m})")
    if n == 0 or m == 0:
        return
    cdef vector[const char*] a = _names(folders), b = _names(endings)
    cdef const char* c_top = top
    cdef float* c_values = &values[0] if values.shape[0] else NULL
    with nogil:
        c_read_files(c_top, a.data(), n, b.data(), m, first, last, entries, threads, c_values, &room[0], &offset[0, 0],
                     &begin[0, 0], &count[0, 0])


def measure_files(bytes top, list folders, list endings, int64_t[:, ::1] most):
    """Fill `most` of shape (folders, endings) with the number of values that each file holds at most."""
    cdef Py_ssize_t n = len(folders), m = len(endings)
    if not available:
        raise NotImplementedError("this system has no compiled reader")
    if most.shape[0] != n or most.shape[1] != m:
        raise ValueError(f"`most` must have the shape ({n}, {m})")
    if n == 0 or m == 0:
        return
    cdef vector[const char*] a = _names(folders), b = _names(endings)
    cdef const char* c_top = top
    with nogil:
        c_measure_files(c_top, a.data(), n, b.data(), m, &most[0, 0])

# distutils: language = c++
"""Many small files at once, without the GIL: the rows of an instrument as the `.bin` files of its fields.

    write_rows([b"/x/aaa/close.day.bin", b"/x/aaa/open.day.bin"], 3.0, values)     # values: (2, length) float32
"""

import os

from libc.stdint cimport int64_t
from libcpp.vector cimport vector

cdef extern from "rows.hpp" namespace "qlib_storage" nogil:
    const bint rows_available
    int c_write_rows "qlib_storage::write_rows"(
        const char *const *paths, int64_t files, float head, const float *values, int64_t step, int64_t length)

AVAILABLE = bool(rows_available)  # False on Windows, and where numbers lie the other way round


def write_rows(list paths, float head, const float[:, :] values):
    """Write each row to its file, after `head`; what the files held is gone.

    Raises
    ------
    OSError
        A file cannot be written; those before it are.
    """
    cdef vector[const char *] names
    cdef bytes path
    cdef int64_t step, length = values.shape[1]
    cdef int error
    if not rows_available:
        raise NotImplementedError("this system has no compiled writer")
    if values.shape[0] != len(paths) or values.strides[1] != sizeof(float) or values.strides[0] % sizeof(float):
        raise ValueError(f"values: {values.shape[0]} rows are not those of {len(paths)} files, or are not in one piece")
    if not len(paths) or not length:
        raise ValueError("values: there must be a row, and a value in it")
    names.reserve(len(paths))
    for path in paths:
        if b"\0" in path:
            raise ValueError("embedded null byte")
        names.push_back(path)
    step = values.strides[0] // <int64_t> sizeof(float)
    cdef const float *first = &values[0, 0]
    with nogil:
        error = c_write_rows(names.data(), names.size(), head, first, step, length)
    if error:
        raise OSError(error, os.strerror(error))

# distutils: language = c++
"""Many small files at once, without the GIL: the rows of an instrument as the `.bin` files of its fields.

    write_rows(b"/x/aaa", (b"close.day.bin", b"open.day.bin"), 3.0, values)     # values: (2, length) float32
"""

import os

from libc.stdint cimport int64_t
from libcpp.vector cimport vector

cdef extern from "rows.hpp" namespace "qlib_storage" nogil:
    const bint rows_available
    int c_write_rows "qlib_storage::write_rows"(
        const char *folder, const char *const *names, int64_t files, float head, const float *values, int64_t step,
        int64_t length)

AVAILABLE = bool(rows_available)  # False on Windows, and where numbers lie the other way round


def write_rows(bytes folder, tuple files, float head, const float[:, :] values):
    """Write each row to its file of the folder, after `head`; what the files held is gone.

    Raises
    ------
    OSError
        A file cannot be written; those before it are.
    """
    cdef vector[const char *] names
    cdef const char *where = folder
    cdef bytes name
    cdef int64_t step, length = values.shape[1]
    cdef int error
    if not rows_available:
        raise NotImplementedError("this system has no compiled writer")
    if values.shape[0] != len(files) or values.strides[1] != sizeof(float) or values.strides[0] % sizeof(float):
        raise ValueError(f"values: {values.shape[0]} rows are not those of {len(files)} files, or are not in one piece")
    if not len(files) or not length:
        raise ValueError("values: there must be a row, and a value in it")
    names.reserve(len(files))
    for name in (folder, *files):
        if b"\0" in name:
            raise ValueError("embedded null byte")
    for name in files:
        names.push_back(name)
    step = values.strides[0] // <int64_t> sizeof(float)
    cdef const float *first = &values[0, 0]
    with nogil:
        error = c_write_rows(where, names.data(), names.size(), head, first, step, length)
    if error:
        raise OSError(error, os.strerror(error))

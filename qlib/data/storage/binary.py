"""The `.bin` file of one field of one instrument: where its format is known, and the only place.

    bytes 0-3      little-endian float32   calendar position of the first value (0 is the first entry)
    bytes 4-...    little-endian float32   one value for every calendar entry from there on; NaN is "no value"

A float32 counts exactly to 2**24 only, so a series may start at position 16,777,216 at the latest (1-minute bars that
never close: 31 years); `write_bin` refuses later ones. A file of no bytes holds nothing and is read as empty.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

import numpy as np

from qlib.errors import InputError, StoreError
from qlib.utils.paths import replace_file

VALUE: Final = np.dtype("<f4")
LAST_POSITION: Final = 2**24
_READ_WHOLE: Final = 1 << 18  # files up to this size are read in one call, whatever part is wanted


def read_bin(
    path: str | os.PathLike[str], first: int = 0, last: int | None = None, entries: int | None = None
) -> tuple[int, np.ndarray]:
    """Read the values at calendar positions first ... last (inclusive; None: to the end).

    With `entries`, the length of the calendar, a file that reaches beyond the calendar is an error.

    Returns
    -------
    (position, values)
        Calendar position of the first returned value, and a read-only float32 array. Nothing stored there gives an
        empty array.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    StoreError
        The file is damaged; the message names it and says what is wrong.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(handle).st_size
        if size == 0:
            return first, np.empty(0, VALUE)
        if size % VALUE.itemsize:
            raise StoreError(
                f"{os.fspath(path)}: {size} bytes; a feature file holds whole float32 numbers (4 bytes each)"
            )
        content = os.read(handle, size if size <= _READ_WHOLE else VALUE.itemsize)
        start = _position(float(np.frombuffer(content, VALUE, 1)[0]), path)
        count = size // VALUE.itemsize - 1
        if entries is not None and start + count > entries:
            raise StoreError(
                f"{os.fspath(path)}: holds calendar positions {start} to {start + count - 1}, but its calendar has "
                f"{entries} entries: the file is damaged, or belongs to another calendar"
            )
        low = max(first, start)
        high = start + count - 1 if last is None else min(last, start + count - 1)
        if high < low:
            return low, np.empty(0, VALUE)
        wanted = high - low + 1
        if size <= _READ_WHOLE:
            values = np.frombuffer(content, VALUE, wanted, (1 + low - start) * VALUE.itemsize)
        else:
            values = np.empty(wanted, VALUE)
            os.lseek(handle, (1 + low - start) * VALUE.itemsize, os.SEEK_SET)
            _read_into(handle, values, path)
            values.setflags(write=False)
        return low, values
    finally:
        os.close(handle)


def _read_into(handle: int, values: np.ndarray, path: str | os.PathLike[str]) -> None:
    view, done = values.view(np.uint8).data, 0
    while done < len(view):  # one call returns 2 GiB at most
        piece = os.read(handle, len(view) - done)
        if not piece:
            raise StoreError(f"{os.fspath(path)}: became shorter while it was read")
        view[done : done + len(piece)] = piece
        done += len(piece)


def read_start(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return (calendar position of the first value, number of values), or None for a file of no bytes."""
    size = Path(path).stat().st_size
    if size == 0:
        return None
    if size % VALUE.itemsize:
        raise StoreError(f"{os.fspath(path)}: {size} bytes; a feature file holds whole float32 numbers (4 bytes each)")
    with Path(path).open("rb") as file:
        header = float(np.frombuffer(file.read(VALUE.itemsize), VALUE, 1)[0])
    return _position(header, path), size // VALUE.itemsize - 1


def _position(header: float, path: str | os.PathLike[str]) -> int:
    """Return the header as a position, or raise StoreError saying why it is none."""
    if math.isnan(header):
        why = "is NaN"
    elif header < 0:
        why = f"is negative ({header:g})"
    elif header > LAST_POSITION:
        why = f"is {header:g}, beyond {LAST_POSITION}, to which float32 counts exactly"
    elif header != int(header):
        why = f"is {header:g}, not a whole number"
    else:
        return int(header)
    raise StoreError(f"{os.fspath(path)}: its header, the calendar position of the first value, {why}")


def to_bytes(start: int, values: np.ndarray) -> bytes:
    """Return the content of the file that holds `values` from calendar position `start` on.

    Raises InputError for a position that the header cannot hold exactly.
    """
    return to_array(start, values).tobytes()


def to_array(start: int, values: np.ndarray) -> np.ndarray:
    """Return what `to_bytes` does as an array of float32.

    Raises InputError for a position that the header cannot hold exactly.
    """
    check_position(start)
    content = np.empty(len(values) + 1, VALUE)
    content[0] = start
    content[1:] = values
    return content


def check_position(start: int) -> None:
    """Raise InputError for a calendar position that the header of a file cannot hold exactly."""
    if not 0 <= start <= LAST_POSITION:
        raise InputError(
            f"start: received calendar position {start}; 0 to {LAST_POSITION} is allowed, because the header is a "
            "float32, which counts exactly no further: use coarser bars or a later calendar"
        )


def write_bin(path: str | os.PathLike[str], start: int, values: np.ndarray) -> None:
    """Write the file, whole or not at all: an interrupted write leaves what was there."""
    content = to_bytes(start, np.asarray(values))
    replace_file(path, lambda file: file.write(content))

"""Many `.bin` files at once: what is stored of some fields for some instruments, in one array of floats.

    values   |AAPL close|AAPL open|MSFT close|...                 packed, one series after the other
    offset   where in `values` the series of (instrument, field) begins
    first    at which calendar position
    count    how many values; 0: nothing there, ABSENT: no such file

Where the system allows it (anything but Windows) a compiled reader fills the array without holding the interpreter,
elsewhere `read_bin` does, file by file: the result is the same, and so is every error.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from qlib.data.storage.binary import read_bin
from qlib.data.storage.reader import AVAILABLE, measure_files, read_files
from qlib.errors import StoreError

ABSENT: Final = -1
_ODD: Final = -2  # only `read_bin` can judge the file
_FILES_PER_THREAD: Final = 256  # below that a thread costs more than it saves
_VIRTUAL: Final = 1 << 28  # values (1 GiB) up to which room is taken without looking at the sizes of the files

_encoded = lru_cache(maxsize=1 << 16)(os.fsencode)


@dataclass(frozen=True, slots=True)
class Raw:
    """Stored values of instruments and fields; see the module.

    Parameters
    ----------
    values
        float32, read-only; longer than what is used of it.
    offset, first, count
        int64 of shape (instruments, fields).
    of_field
        For each field the array in which its values are, where that is not `values`.
    """

    values: np.ndarray
    offset: np.ndarray
    first: np.ndarray
    count: np.ndarray
    of_field: tuple[np.ndarray, ...] | None = None

    def column(self, j: int) -> np.ndarray:
        """Return the array in which the values of field j are."""
        return self.values if self.of_field is None else self.of_field[j]

    def part(self, fields: Sequence[int]) -> Raw:
        """Return the same of some of the fields."""
        places = list(fields)
        own = None if self.of_field is None else tuple(self.of_field[j] for j in places)
        return Raw(self.values, self.offset[:, places], self.first[:, places], self.count[:, places], own)

    def series(self, i: int, j: int) -> np.ndarray:
        """Return the values of field j of instrument i: a view; empty where there are none, or no file."""
        at = int(self.offset[i, j])
        return self.column(j)[at : at + max(int(self.count[i, j]), 0)]


def read_many(
    top: str, folders: Sequence[str], endings: Sequence[str], first: int, last: int, entries: int, *, threads: int = 1
) -> Raw:
    """Read calendar positions first ... last (inclusive) of the files top/folder/ending.

    Parameters
    ----------
    top
        The folder `features` of a store.
    folders, endings
        Names of the instruments' folders and of the files in them: "sh600000" and "close.day.bin".
    entries
        Length of the calendar.
    threads
        Threads to read with, at most; few files are read by one.

    Raises
    ------
    StoreError
        A file is damaged, reaches beyond the calendar, or is none; the message names it.
    """
    low, high = max(first, 0), min(last, entries - 1)
    if not AVAILABLE or high < low:
        return _read_plainly(top, folders, endings, first, last, entries)
    shape = (len(folders), len(endings))
    offset, begin, count = (np.empty(shape, np.int64) for _ in range(3))
    names = [_encoded(name) for name in folders], [_encoded(name) for name in endings]
    where = os.fsencode(top)
    room = _room(where, *names, high - low + 1)
    values = np.empty(int(room[-1]), np.float32)
    threads = max(1, min(threads, offset.size // _FILES_PER_THREAD))
    read_files(where, *names, low, high, entries, threads, values, room, offset, begin, count)
    raw = Raw(values, offset, begin, count)
    if count.min(initial=ABSENT) == _ODD:
        raw = _judged(raw, top, folders, endings, first, last, entries)
    raw.values.setflags(write=False)
    return raw


def lengths(top: str, folders: Sequence[str], endings: Sequence[str]) -> np.ndarray:
    """Return how many values each file holds at most, by its size: int64 of shape (folders, endings), 0 for no file."""
    most = np.zeros((len(folders), len(endings)), np.int64)
    if AVAILABLE:
        measure_files(
            os.fsencode(top), [_encoded(name) for name in folders], [_encoded(name) for name in endings], most
        )
        return most
    for i, folder in enumerate(folders):
        for j, ending in enumerate(endings):
            path = Path(_path(top, folder, ending))
            most[i, j] = max(path.stat().st_size // 4 - 1, 0) if path.is_file() else 0
    return most


def _room(top: bytes, folders: list[bytes], endings: list[bytes], width: int) -> np.ndarray:
    """Return where each instrument's part of the array begins, and the end.

    What is never written takes no memory, so there may be room for every value of the range; only where that is more
    than the address space should be asked for, the files are measured.
    """
    files = len(folders) * len(endings)
    if files * width <= _VIRTUAL:
        return np.arange(len(folders) + 1, dtype=np.int64) * (len(endings) * width)
    most = np.empty((len(folders), len(endings)), np.int64)
    measure_files(top, folders, endings, most)
    return np.concatenate([[0], np.cumsum(np.minimum(most, width).sum(axis=1))])


def _judged(
    raw: Raw, top: str, folders: Sequence[str], endings: Sequence[str], first: int, last: int, entries: int
) -> Raw:
    """Return `raw` with the odd files read by `read_bin`, which raises for those that are damaged."""
    pieces, end = [raw.values], len(raw.values)
    for i, j in zip(*np.nonzero(raw.count == _ODD), strict=True):
        found = _read_one(_path(top, folders[i], endings[j]), first, last, entries)
        raw.offset[i, j] = end
        raw.first[i, j], raw.count[i, j] = (max(first, 0), ABSENT) if found is None else (found[0], len(found[1]))
        if found is not None:
            pieces.append(found[1])
            end += len(found[1])
    return Raw(np.concatenate(pieces), raw.offset, raw.first, raw.count)


def _read_plainly(top: str, folders: Sequence[str], endings: Sequence[str], first: int, last: int, entries: int) -> Raw:
    shape = (len(folders), len(endings))
    odd = np.full(shape, _ODD, np.int64)
    nothing = Raw(np.empty(0, np.float32), np.zeros(shape, np.int64), np.zeros(shape, np.int64), odd)
    raw = _judged(nothing, top, folders, endings, first, last, entries)
    raw.values.setflags(write=False)
    return raw


def _path(top: str, folder: str, ending: str) -> str:
    return f"{top}{os.sep}{folder}{os.sep}{ending}"


def _read_one(path: str, first: int, last: int, entries: int) -> tuple[int, np.ndarray] | None:
    """Return (position of the first value, values), None where there is no such file."""
    try:
        return read_bin(path, first, last, entries)
    except FileNotFoundError:
        return None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise StoreError(f"{path}: is not a feature file ({error.strerror})") from None

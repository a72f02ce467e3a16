"""What a piece of work read of the data, noted while it reads: file by file, whatever asked for it.

    with watched() as reads:
        D.features(["AAPL"], ["$close"])
    reads.files()           ["/store/calendars/day.txt", "/store/features/aapl/close.day.bin"]

Stores say what they open (also what they looked for and did not find), however it is opened. Other files are noted as
Python opens them for reading: a table of a loader, a signal, a table of prices. What a library opens by itself (a
folder that Arrow scans, a database) is not seen. Every thread counts; other processes do not.

Nothing is noted, and nothing costs anything, while nobody watches.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from qlib.utils.paths import instrument_folder

_watching: list[Reads] = []
_hooked = False
_READ_ONLY: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Reads:
    """What was read: files, folders whose names were listed, and values of stores that have no files."""

    def __init__(self) -> None:
        self._stored: dict[str, None] = {}
        self._many: dict[tuple[str, tuple[str, ...], tuple[str, ...]], None] = {}
        self._opened: dict[str, None] = {}
        self._folders: dict[str, None] = {}
        self._values: dict[str, set[bytes]] = {}
        self._roots: dict[str, None] = {}

    def files(self) -> list[str]:
        """Return the files of stores, absolute, sorted; some of them may not exist."""
        found = set(self._stored)
        for folder, names, endings in self._many:
            for name in names:
                inside = os.path.join(folder, instrument_folder(name), "")  # noqa: PTH118  thousands of them
                found.update(inside + ending for ending in endings)
        return sorted(found)

    def opened(self) -> list[str]:
        """Return the other files that Python opened for reading, absolute, sorted."""
        return sorted(set(self._opened) - set(self.files()))

    def folders(self) -> list[str]:
        """Return the folders of which the names inside were read, sorted."""
        return sorted(self._folders)

    def roots(self) -> list[str]:
        """Return the folders of the stores that were read, sorted."""
        return sorted(self._roots)

    def values(self) -> dict[str, str]:
        """Return the digests of values that came from no file, by where they came from."""
        return {
            where: hashlib.blake2b(b"".join(sorted(seen)), digest_size=20).hexdigest()
            for where, seen in sorted(self._values.items())
        }

    def add(self, other: Reads) -> None:
        """Take over what another piece of work read."""
        for name in ("_stored", "_many", "_opened", "_folders", "_roots"):
            getattr(self, name).update(getattr(other, name))
        for where, seen in other._values.items():
            self._values.setdefault(where, set()).update(seen)


@contextmanager
def watched() -> Iterator[Reads]:
    """Note what is read inside the block; blocks may lie inside each other, each notes for itself."""
    global _hooked  # noqa: PLW0603  an audit hook stays for good, so there is one
    if not _hooked:
        sys.addaudithook(_opening)
        _hooked = True
    reads = Reads()
    _watching.append(reads)
    try:
        yield reads
    finally:
        _watching.remove(reads)


def watching() -> bool:
    """Tell whether anybody watches."""
    return bool(_watching)


def note_file(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> None:
    """A file of a store is read, or found absent; `root` is the store's folder."""
    for reads in _watching:
        reads._stored[os.path.abspath(path)] = None  # noqa: PTH100
        if root is not None:
            reads._roots[os.path.abspath(root)] = None  # noqa: PTH100


def note_series(features: str, instruments: Sequence[str], endings: Iterable[str]) -> None:
    """Files `features`/<folder of an instrument>/<ending> are read, or found absent."""
    if not _watching:
        return
    folder = os.path.abspath(features)  # noqa: PTH100
    key = (folder, tuple(instruments), tuple(endings))
    for reads in _watching:
        reads._many[key] = None
        reads._roots[os.path.dirname(folder)] = None  # noqa: PTH120


def note_folder(path: str | os.PathLike[str]) -> None:
    """The names inside a folder are read."""
    for reads in _watching:
        reads._folders[os.path.abspath(path)] = None  # noqa: PTH100


def note_values(where: str, values: np.ndarray) -> None:
    """Values are read from a store that has no files."""
    if not _watching:
        return
    digest = hashlib.blake2b(np.ascontiguousarray(values).view(np.uint8).data, digest_size=20).digest()
    for reads in _watching:
        reads._values.setdefault(where, set()).add(digest)


def _opening(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _watching:
        return
    path, mode, flags = arguments
    if isinstance(mode, str):
        if mode.strip("btU") not in ("r", ""):
            return
    elif flags is not None and flags & _READ_ONLY:
        return
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if isinstance(path, str):
        whole = os.path.abspath(path)  # noqa: PTH100
        for reads in _watching:
            reads._opened[whole] = None

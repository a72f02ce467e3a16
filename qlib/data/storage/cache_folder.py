"""A folder of computed arrays that can be computed again: one file for each answer, nothing else.

    folder = CacheFolder(path, gigabytes=20)
    folder.put(name, {"fingerprint": "..."}, [codes, block])
    header, arrays = folder.get(name)            None where there is none; the arrays are mapped, not read

    8 bytes   QARRAYS1                        n bytes   header: JSON, with dtype, shape and offset of each array
    8 bytes   n, little-endian                          the arrays, C order, each at a multiple of 64 bytes
    16 bytes  BLAKE2b of the header

A file appears whole or not at all, and is never changed; a reader who has mapped it keeps it when it is replaced or
removed. Arrays are mapped privately: who writes to them changes their own memory, never the file. There is no pickle.

One process writes at a time (see `qlib.utils.locks`). It sweeps up what a killed one left, and removes what was used
longest ago until the files are no larger than the limit together.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from qlib.errors import StoreError
from qlib.utils.locks import locked
from qlib.utils.paths import replace_file

ENDING: Final = ".arrays"
LOCK: Final = ".lock"
MAGIC: Final = b"QARRAYS1"
_BEFORE: Final = len(MAGIC) + 8 + 16
_ALIGNED: Final = 64
_GIGABYTE: Final = 1 << 30


class CacheFolder:
    """See the module.

    >>> import tempfile
    >>> folder = CacheFolder(tempfile.mkdtemp(), gigabytes=0.001)
    >>> folder.put("answer", {"of": "what"}, [np.arange(3)])
    True
    >>> header, (numbers,) = folder.get("answer")
    >>> header["of"], numbers.tolist(), folder.get("question")
    ('what', [0, 1, 2], None)

    Parameters
    ----------
    path
        The folder; it is made at the first `put`.
    gigabytes
        What its files may take together.
    lock_seconds
        How long to wait for another process that writes.
    """

    def __init__(self, path: str | os.PathLike[str], *, gigabytes: float = 20, lock_seconds: float = 30) -> None:
        self.path = Path(path)
        self.limit = int(gigabytes * _GIGABYTE)
        self.lock_seconds = lock_seconds

    def file(self, name: str) -> Path:
        """Return where the arrays of a name are kept, if they are."""
        return self.path / f"{name}{ENDING}"

    def get(self, name: str) -> tuple[dict[str, Any], list[np.ndarray]] | None:
        """Return (header, arrays) and note that they were used; None where there are none.

        A file that is no such file raises StoreError, which names it.
        """
        path = self.file(name)
        try:
            found = read_arrays(path)
        except FileNotFoundError:
            return None
        with contextlib.suppress(OSError):  # somebody else's folder, or removed meanwhile: it is mapped all the same
            os.utime(path)  # what was used longest ago goes first
        return found

    def put(self, name: str, header: dict[str, Any], arrays: Sequence[np.ndarray]) -> bool:
        """Keep arrays under a name, in the place of those before.

        Returns
        -------
        bool
            False where they alone are larger than the limit.

        Raises
        ------
        LockTimeout
            Another process has been writing for too long.
        OSError
            The folder cannot be written; it is as it was.
        """
        need = sum(array.nbytes + _ALIGNED * 3 for array in arrays)
        if need > self.limit:
            return False
        with locked(self.path / LOCK, seconds=self.lock_seconds, purpose=f"writing {self.file(name).name}"):
            for orphan in self.path.glob(".*.tmp"):  # nobody else writes: whoever did is dead
                orphan.unlink(missing_ok=True)
            self._make_room(need, self.file(name))
            replace_file(self.file(name), lambda file: write_arrays(file, header, arrays))
        return True

    def remove(self, name: str) -> bool:
        """Forget a name; tell whether there was one."""
        with locked(self.path / LOCK, seconds=self.lock_seconds, purpose=f"removing {self.file(name).name}"):
            there = self.file(name).exists()
            self.file(name).unlink(missing_ok=True)
        return there

    def clear(self) -> None:
        """Forget everything."""
        if self.path.is_dir():
            with locked(self.path / LOCK, seconds=self.lock_seconds, purpose="clearing"):
                for path in self.path.glob(f"*{ENDING}"):
                    path.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return what is kept, sorted."""
        return sorted(path.name.removesuffix(ENDING) for path in self.path.glob(f"*{ENDING}"))

    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(size for _, size, _ in self._entries())

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        for path in self.path.glob(f"*{ENDING}"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            yield stat.st_mtime_ns, stat.st_size, path

    def _make_room(self, need: int, replaced: Path) -> None:
        entries = sorted(entry for entry in self._entries() if entry[2] != replaced)
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total + need <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size


def write_arrays(file: IO[bytes], header: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
    """Write a header and arrays, see the module."""
    places, end = [], 0
    for array in arrays:
        begin = end + -end % _ALIGNED
        places.append({"dtype": array.dtype.str, "shape": array.shape, "offset": begin})
        end = begin + array.nbytes
    text = json.dumps(header | {"arrays": places}, ensure_ascii=False).encode()
    file.write(MAGIC + len(text).to_bytes(8, "little") + _sum_of(text) + text)
    for array in arrays:
        file.write(b"\0" * (-file.tell() % _ALIGNED))
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def read_arrays(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return the header, and the arrays as private maps of the file.

    Raises StoreError, which names the file, for one that was not written by `write_arrays`, whole.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(_BEFORE)
        length = int.from_bytes(start[8:16], "little")
        if len(start) < _BEFORE or start[:8] != MAGIC or length > size - _BEFORE:
            raise StoreError(f"{path}: is damaged, or no file of a cache")
        text = file.read(length)
        if _sum_of(text) != start[16:]:
            raise StoreError(f"{path}: is damaged, or no file of a cache: its header is not the one that was written")
        header = json.loads(text)
        base = _BEFORE + length + -(_BEFORE + length) % _ALIGNED
        return header, [_mapped(file, place, base, size, path) for place in header["arrays"]]


def _mapped(file: IO[bytes], place: Mapping[str, Any], base: int, size: int, path: Path) -> np.ndarray:
    dtype, shape, offset = np.dtype(place["dtype"]), tuple(place["shape"]), base + place["offset"]
    count = math.prod(shape)
    if offset + count * dtype.itemsize > size:
        raise StoreError(f"{path}: is damaged, or no file of a cache: it is cut off")
    return np.memmap(file, dtype, "c", offset, shape).view(np.ndarray) if count else np.empty(shape, dtype)


def _sum_of(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()

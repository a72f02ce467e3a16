"""Large results of another process, handed over in memory that both see instead of through a pipe.

    worker      lent(result, folder)     the arrays are written to a file in the folder, the rest is pickled
    caller      received(what came)      the same result; its arrays are read-only views on the file

The folder is in memory where the system has such a place (/dev/shm); where that is full, results go through the pipe.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

WORTH_A_FILE: Final = 1 << 20  # bytes; less goes through the pipe as fast
_LINE: Final = 64  # arrays begin at multiples of it


@dataclass(frozen=True, slots=True)
class Lent:
    """A result whose arrays lie in a file: what pickle made of it, and where each array begins and ends."""

    pickled: bytes
    path: Path
    bounds: tuple[tuple[int, int], ...]


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder for lent results, and remove it with all that is left there."""
    memory = Path("/dev/shm")  # noqa: S108  a folder of our own is made in it, which nobody else can read
    where = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="qlib-lent-", dir=where, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def lent(result: Any, folder: Path) -> Any:
    """Return what can stand for the result in a pipe: itself where it is small, or where the folder is full."""
    arrays: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(result, protocol=5, buffer_callback=arrays.append)
    views = [array.raw() for array in arrays]
    if sum(view.nbytes for view in views) < WORTH_A_FILE:
        return result
    path, bounds = folder / uuid.uuid4().hex, []
    try:
        with path.open("xb") as file:
            for view in views:
                file.write(bytes(-file.tell() % _LINE))
                begin = file.tell()
                file.write(view)
                bounds.append((begin, begin + view.nbytes))
    except OSError:
        path.unlink(missing_ok=True)
        return result
    return Lent(pickled, path, tuple(bounds))


def received(result: Any) -> Any:
    """Return the result that something stands for; its file is gone when the last of its arrays is."""
    if not isinstance(result, Lent):
        return result
    with result.path.open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    result.path.unlink()
    return pickle.loads(result.pickled, buffers=[whole[begin:end] for begin, end in result.bounds])

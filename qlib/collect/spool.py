"""Arrays that wait for their turn: in memory up to a limit, the rest in a nameless file, which a kill takes along.

spool = Spool(folder)
ticket = spool.put(array)
spool.get(ticket)          the same array
spool.close()
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np

IN_MEMORY: Final = 192 << 20  # bytes


class Spool:
    """Arrays that wait: in memory up to a limit, the rest in a nameless file, which a kill takes along."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Any = None
        self._free = IN_MEMORY
        self._lock = threading.Lock()

    def put(self, array: np.ndarray) -> Any:
        """Return a ticket for `get`."""
        with self._lock:
            if array.nbytes <= self._free:
                self._free -= array.nbytes
                return array
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  it closes with the spool
            at = self._file.seek(0, os.SEEK_END)
            self._file.write(np.ascontiguousarray(array).view(np.uint8).data)
            return at, array.dtype, array.shape

    def get(self, ticket: Any) -> np.ndarray:
        if isinstance(ticket, np.ndarray):
            return ticket
        at, dtype, shape = ticket
        with self._lock:
            self._file.seek(at)
            content = self._file.read(int(np.prod(shape)) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

"""Bars in memory: a float32 block for each field, instruments one after the other, filled when it is first asked for.

    block of close   |AAA: 3 values|BBB: 3 values|...|       base = where each instrument's first bar stands

A column that is in this order already is the block itself: nothing is copied.  `save` and `load` hand a `Held` over to
other processes as a folder of arrays that all of them map.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from qlib.data.storage.arena import Raw
from qlib.data.storage.frames.grid import Grid, twice
from qlib.errors import MissingDataError

Column = Callable[[], np.ndarray]


class Held:
    """Bars in memory.

    Parameters
    ----------
    grid
        Which bars there are.
    base
        int64: where in a block each instrument's first bar stands.
    size
        Length of a block.
    columns
        Field to a function that returns its values, float32, row by row; called once, with the first query.
    cells
        Where in the block each row goes; None where the rows are the block.
    """

    def __init__(
        self,
        grid: Grid,
        base: np.ndarray,
        size: int,
        columns: Mapping[str, Column],
        cells: np.ndarray | None = None,
    ) -> None:
        self.grid = grid
        self._base, self._size, self._columns, self._cells = base, size, dict(columns), cells
        self._blocks: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    @classmethod
    def of_rows(
        cls, grid: Grid, number: np.ndarray, times: np.ndarray, columns: Mapping[str, Column], where: str
    ) -> Held:
        """Return rows in any order as bars; InputError where a bar is there twice.

        Parameters
        ----------
        number, times
            The number of each row's instrument and its time.
        """
        base = np.cumsum(grid.length) - grid.length
        size = int(grid.length.sum())
        cells = grid.cells(base, number, times)
        if len(cells) > 1 and not (np.diff(cells) > 0).all():
            there = np.zeros(size, dtype=bool)
            there[cells] = True
            if np.count_nonzero(there) != len(cells):
                raise twice(grid, number, times, where)
        elif len(cells) == size:
            return cls(grid, base, size, columns)
        return cls(grid, base, size, columns, cells.astype(np.int32 if size < 2**31 else np.int64))

    def block(self, field: str) -> np.ndarray:
        """Return the values of a field, float32, not to be changed."""
        with self._lock:
            found = self._blocks.get(field)
            if found is None:
                values = self._columns[field]()
                if self._cells is not None or values.base is None:
                    del self._columns[field]  # no view: what it came from may go
                if self._cells is None:
                    found = np.ascontiguousarray(values)
                else:
                    found = np.full(self._size, np.nan, np.float32)
                    found[self._cells] = values
                found = found.view()
                found.setflags(write=False)
                self._blocks[field] = found
            return found

    def read(self, instruments: Sequence[str], fields: Sequence[str], first: int, last: int) -> Raw:
        """Return what is there of some fields at calendar positions first ... last, see `Raw`; nothing is copied."""
        grid = self.grid
        number = grid.numbers(instruments)
        begin, _, count = grid.window(number, fields, max(first, 0), last)
        offset = np.zeros(count.shape, np.int64)
        at = np.zeros(count.shape, np.int64)
        if len(grid.names):
            offset[:] = np.where(number >= 0, self._base[number] + begin - grid.start[number], 0)[:, None]
        at[:] = begin[:, None]
        offset[count <= 0] = 0
        blocks = tuple(self.block(field) if field in grid.fields else _NOTHING for field in fields)
        return Raw(_NOTHING, offset, at, count, blocks)

    # ------------------------------------------------------------------------------------------ other processes
    def save(self, folder: Path) -> None:
        """Write everything as arrays into a folder, and go on with those: there is no second copy in memory."""
        grid = self.grid
        folder.mkdir()
        for name, array in (
            ("times", grid.times),
            ("start", grid.start),
            ("length", grid.length),
            ("base", self._base),
        ):
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        for field, lacking in grid.lacks.items():
            np.save(folder / f"lacks-{grid.fields.index(field)}.npy", lacking, allow_pickle=False)
        for i, field in enumerate(grid.fields):
            np.save(folder / f"values-{i}.npy", self.block(field), allow_pickle=False)
            with self._lock:
                self._blocks[field] = _mapped(folder / f"values-{i}.npy")
        said = {"names": grid.names, "fields": grid.fields, "lacks": list(grid.lacks), "by_name": grid.by_name}
        (folder / "grid.json").write_text(json.dumps(said), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Held:
        """Return what `save` wrote, mapped; MissingDataError where the folder is not there."""
        try:
            said = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
        except OSError:
            raise MissingDataError(
                f"{folder} is gone: frames in memory are lent to processes of the same machine, while the process that "
                "brought them lives; bring a folder of Parquet files that every machine sees instead"
            ) from None
        fields = tuple(said["fields"])
        lacks = {field: _mapped(folder / f"lacks-{fields.index(field)}.npy") for field in said["lacks"]}
        times, start, length, base = (_mapped(folder / f"{name}.npy") for name in ("times", "start", "length", "base"))
        grid = Grid(times, tuple(said["names"]), start, length, fields, lacks, said["by_name"])
        columns = {field: partial(_mapped, folder / f"values-{i}.npy") for i, field in enumerate(fields)}
        return cls(grid, base, 0, columns)


def _mapped(path: Path) -> np.ndarray:
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


_NOTHING = np.empty(0, np.float32)
_NOTHING.setflags(write=False)

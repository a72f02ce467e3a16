"""Plan + panel -> one float32 row per field.

    panel   |A A A A|B B|C C C C C C|          tiles of whole instruments, small enough for the processor's cache
               tile 0   |   tile 1  |
    tile    step 0, step 1, ... in the plan's order; a buffer goes back to the tile's pool after its last reader
    result  block[field, rows of the tile], written once, by the step itself where nobody else reads it

Tiles do not depend on each other, so threads take tiles; how the panel is cut does not depend on the number of threads,
and neither do the bits of the result.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from qlib.data.expression.node import Column, Operator, PanelOperator, Scalar
from qlib.data.expression.plan import Plan, Step, StepNumber
from qlib.data.kernels import roll
from qlib.data.panel import Panel
from qlib.errors import MissingDataError

TILE_ROWS: Final = 16_384


def evaluate(plan: Plan, panel: Panel, *, n_threads: int = 1, query: tuple[int, int] | None = None) -> list[np.ndarray]:
    """Compute every field of the plan over every row of the panel.

    Parameters
    ----------
    plan
        From `build_plan`.
    panel
        Holds `plan.reads`, and `plan.span` rows around the rows that the caller wants.
    n_threads
        Threads to work with; the result has the same bits for any number.
    query
        First and last calendar position that the caller wants.  By default (compat=None) values do not depend on it.
        With compat="qlib" they do, as in Qlib: every field sees only the rows that its own span asks for.

    Returns
    -------
    list of numpy.ndarray
        float32, one per field, ``panel.rows`` values each: the rows of one (fields, rows) block.
    """
    return list(evaluate_block(plan, panel, n_threads=n_threads, query=query))


def evaluate_block(plan: Plan, panel: Panel, *, n_threads: int = 1, query: tuple[int, int] | None = None) -> np.ndarray:
    """Do what `evaluate` does, and return the float32 block of shape (fields, rows) itself."""
    if missing := [name for name in plan.reads if name not in panel.columns]:
        raise MissingDataError(f"the panel holds no column {', '.join(missing)}; it holds {', '.join(panel.columns)}")
    block = np.empty((len(plan.fields), panel.rows), dtype=np.float32)
    if plan.compat is None or query is None:
        _fill(plan, panel, block, n_threads, query)
        return block
    block.fill(np.nan)
    for span in dict.fromkeys(plan.spans):
        places = [i for i, own in enumerate(plan.spans) if own == span]
        inside, rows = panel.between(max(query[0] - span.back, 0), query[1] + span.ahead)
        part = np.empty((len(places), inside.rows), dtype=np.float32)
        _fill(plan.part(places), inside, part, n_threads, None)
        block[np.asarray(places)[:, None], rows] = part
    return block


def _fill(plan: Plan, panel: Panel, block: np.ndarray, n_threads: int, query: tuple[int, int] | None) -> None:
    whole = any(isinstance(step.node, PanelOperator) for step in plan.steps)
    tiles = [(0, len(panel.instruments))] if whole else list(panel.tiles(TILE_ROWS))
    own = threading.local()

    def work(tile: tuple[int, int]) -> None:
        if not hasattr(own, "pool"):
            own.pool = _Pool()
        Tile(panel, *tile, own.pool, query).run(plan, panel, block)

    if n_threads <= 1 or len(tiles) <= 1:
        for tile in tiles:
            work(tile)
        return
    with ThreadPoolExecutor(min(n_threads, len(tiles)), thread_name_prefix="qlib-tile") as threads:
        list(threads.map(work, tiles))


class _Pool:
    """Buffers that wait for their next use, of one thread."""

    def __init__(self) -> None:
        self.free: dict[str, list[np.ndarray]] = {"?": [], "l": [], "q": [], "f": [], "d": []}

    def take(self, dtype: np.dtype, rows: int) -> np.ndarray:
        free = self.free[dtype.char]
        while free:
            buffer = free.pop()
            if len(buffer) >= rows:
                return buffer[:rows]
        return np.empty(max(rows, TILE_ROWS), dtype=dtype)[:rows]

    def give_back(self, buffer: np.ndarray) -> None:
        whole = buffer.base
        assert isinstance(whole, np.ndarray)
        self.free[whole.dtype.char].append(whole)


class Tile:
    """Some whole instruments of a panel: where operators compute."""

    def __init__(self, panel: Panel, low: int, high: int, pool: _Pool, query: tuple[int, int] | None) -> None:
        self.begin, self.end = int(panel.start[low]), int(panel.start[high])
        self.rows = self.end - self.begin
        self.start = panel.start[low : high + 1] - self.begin
        self.first = panel.first[low:high]
        self.pool = pool
        self.query = query

    # -------------------------------------------------------------------------------------------- the steps
    def run(self, plan: Plan, panel: Panel, block: np.ndarray) -> None:
        """Compute every step and write the fields' rows of the block."""
        values: list[np.ndarray | None] = [None] * len(plan.steps)
        borrowed: set[int] = set()
        with np.errstate(all="ignore"):
            for i, step in enumerate(plan.steps):
                values[i] = self._step(i, step, values, panel, block, borrowed)
                for done in step.releases:
                    if done in borrowed:
                        borrowed.discard(done)
                        self.give_back(values[done])  # type: ignore[arg-type]
                    values[done] = None

    def _step(
        self,
        i: int,
        step: Step,
        values: list[np.ndarray | None],
        panel: Panel,
        block: np.ndarray,
        borrowed: set[int],
    ) -> np.ndarray:
        node, results = step.node, [block[field, self.begin : self.end] for field in step.fields]
        if isinstance(node, Column):
            value = np.ascontiguousarray(panel.columns[node.name][self.begin : self.end], dtype=np.float32)
        else:
            assert isinstance(node, Operator)
            if results and (step.stored == np.float32 or not step.read_later):
                value = results.pop(0)
            else:
                value = self.pool.take(step.stored, self.rows)
                borrowed.add(i)
            arguments = [values[a.at] if isinstance(a, StepNumber) else a for a in step.arguments]
            if isinstance(node, PanelOperator):
                np.copyto(value, node.compute(arguments, panel), casting="same_kind")
            else:
                node.run(arguments, self, value)
        for result in results:
            np.copyto(result, value, casting="same_kind")
        return value

    # -------------------------------------------------------------------------------------------- what operators use
    def scratch(self, dtype: np.dtype | str) -> np.ndarray:
        """Return an unfilled array of the tile's rows; `give_back` it when done."""
        return self.pool.take(np.dtype(dtype), self.rows)

    def give_back(self, buffer: np.ndarray) -> None:
        self.pool.give_back(buffer)

    def real(self, values: np.ndarray | Scalar) -> np.ndarray:
        """Return the values as float32 or float64, copied only where they are booleans or whole numbers."""
        assert isinstance(values, np.ndarray)
        if values.dtype.char in "fd":
            return values
        return values.astype(np.float32 if values.dtype.char == "?" else np.float64)

    def roll(self, kernel: str, values: np.ndarray | Scalar, window: int, parameter: float, out: np.ndarray) -> None:
        """Run a kernel of one series."""
        roll(kernel, self.real(values), None, self.start, self.first, window, parameter, out)

    def roll_pair(
        self,
        kernel: str,
        left: np.ndarray | Scalar,
        right: np.ndarray | Scalar,
        window: int,
        parameter: float,
        out: np.ndarray,
    ) -> None:
        """Run a kernel of two series."""
        left, right = self.real(left), self.real(right)
        if left.dtype != right.dtype:
            left, right = left.astype(np.float64, copy=False), right.astype(np.float64, copy=False)
        roll(kernel, left, right, self.start, self.first, window, parameter, out)

    def blank_where_flat(self, values: np.ndarray | Scalar, window: int, tolerance: float, out: np.ndarray) -> None:
        """Qlib's cut-off: NaN where the window's standard deviation is within `tolerance` of 0."""
        spread = self.scratch("float64")
        self.roll("std", values, window, 0.0, spread)
        out[spread <= tolerance] = np.nan
        self.give_back(spread)

    def blank_after_query(self, rows: int, out: np.ndarray) -> None:
        """NaN wherever the row `rows` rows later stands after the last row of the query."""
        if self.query is None:
            return
        for (low, high), first in zip(_pairs(self.start), self.first.tolist(), strict=True):
            out[max(low + self.query[1] - rows + 1 - first, low) : high] = np.nan

    def poison(self, values: np.ndarray | Scalar, out: np.ndarray) -> None:
        """Qlib's running sums: from an instrument's first infinite value on, NaN."""
        for low, high in _pairs(self.start):
            infinite = np.flatnonzero(np.isinf(self.real(values)[low:high]))
            if len(infinite):
                out[low + infinite[0] : high] = np.nan


def _pairs(start: np.ndarray) -> Sequence[tuple[int, int]]:
    return list(zip(start[:-1].tolist(), start[1:].tolist(), strict=True))

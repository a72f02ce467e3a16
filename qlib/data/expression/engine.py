"""Plan + columns -> one float32 row per field.

    phase 0    a compiled program computes what operators over the whole panel ask for       (most plans have none)
               those operators run: across instruments, days, or somewhere else
    phase 1    the program of the fields, eight instruments side by side, chunk by chunk
    result     block[field, rows], every value written once, in its final place

Groups of instruments do not depend on each other, so threads take groups; neither the grouping nor the chunks change a
bit of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from qlib.data.expression.lowering import WIDE, Compiled
from qlib.data.expression.node import STORED, Column, Node
from qlib.data.expression.plan import Phase, Plan
from qlib.data.kernels.program import LANES, Work, run
from qlib.data.panel import Columns, Panel
from qlib.errors import MissingDataError

FAR: Final = 1 << 60
_WORTH_A_THREAD: Final = 400_000  # values; below that a thread costs more than it saves


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows go where.

    Of instrument i the calendar positions low[k] ... high[k] - 1 go to row to[k] and those behind it, for
    of[i] <= k < of[i + 1].
    """

    of: np.ndarray
    low: np.ndarray
    high: np.ndarray
    to: np.ndarray
    row_of: np.ndarray | None = None  # if there, row n of those goes to row row_of[n] instead

    @classmethod
    def ranges(cls, instrument: np.ndarray, low: np.ndarray, high: np.ndarray, instruments: int) -> Wanted:
        """Return ranges, given in order of instrument and position, one after the other."""
        lengths = high - low
        of = np.searchsorted(instrument, np.arange(instruments + 1))
        return cls(*(np.ascontiguousarray(a, dtype=np.int64) for a in (of, low, high, np.cumsum(lengths) - lengths)))

    @classmethod
    def everything(cls, columns: Columns) -> Wanted:
        """Return all rows of all instruments."""
        count = len(columns.instruments)
        return cls.ranges(np.arange(count), columns.begin, columns.end, count)

    def by_time(self) -> Wanted:
        """Return the same rows in order of time, and of instruments within it."""
        lengths = self.high - self.low
        if not len(lengths):
            return self
        base = int(self.low.min())
        begin, end = (self.low - base).tolist(), (self.high - base).tolist()
        steps = np.zeros(max(end) + 1, np.int64)
        np.add.at(steps, self.low - base, 1)
        np.subtract.at(steps, self.high - base, 1)
        here = np.cumsum(steps[:-1])  # instruments at each position
        free = np.cumsum(here) - here  # the next row of each position
        row_of = np.empty(int(lengths.sum()), np.int64)
        for to, low, high in zip(self.to.tolist(), begin, end, strict=True):
            row_of[to : to + high - low] = free[low:high]
            free[low:high] += 1
        return replace(self, row_of=row_of)

    @property
    def rows(self) -> int:
        return int((self.high - self.low).sum())


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
    columns = Columns.of(panel)
    return evaluate_columns(plan, columns, Wanted.everything(columns), n_threads=n_threads, query=query)


def evaluate_columns(
    plan: Plan,
    columns: Columns,
    wanted: Wanted,
    *,
    n_threads: int = 1,
    query: tuple[int, int] | None = None,
    out: Sequence[np.ndarray] | None = None,
    clip: tuple[float, float] | None = None,
) -> np.ndarray:
    """Compute the wanted rows of every field.

    Parameters
    ----------
    columns
        The plan's columns, wherever they stand in memory.
    wanted
        Rows inside the hulls of the instruments, and where they go.
    n_threads, query
        As for `evaluate`.
    out
        Flat float32 arrays to write to, one per field; by default the rows of a new block of shape (fields, wanted
        rows), which is returned.
    clip
        First and last calendar position that are looked at, whatever the columns hold; rows outside are NaN.
    """
    if missing := [name for name in plan.reads if name not in columns.places]:
        raise MissingDataError(
            f"the panel holds no column {', '.join(missing)}; it holds {', '.join(columns.places) or 'none'}"
        )
    block = np.empty((len(plan.fields) if out is None else 0, wanted.rows), dtype=np.float32)
    out = list(block) if out is None else out
    if clip is not None or (plan.compat is not None and query is not None):
        for values in out:
            values.fill(np.nan)
    if plan.compat is None or query is None or clip is not None:
        _fill(plan, columns, wanted, out, n_threads, query, clip)
        return block
    for span in dict.fromkeys(plan.spans):
        places = [i for i, own in enumerate(plan.spans) if own == span]
        own_clip = (max(query[0] - span.back, 0), query[1] + span.ahead)
        _fill(plan.part(places), columns, wanted, [out[i] for i in places], n_threads, query, own_clip)
    return block


def _fill(
    plan: Plan,
    columns: Columns,
    wanted: Wanted,
    out: Sequence[np.ndarray],
    n_threads: int,
    query: tuple[int, int] | None,
    clip: tuple[float, float] | None,
) -> None:
    """Run the plan's phases; the last one writes the wanted rows of field i to out[i]."""
    low, high = (-FAR, FAR) if clip is None else (int(min(max(at, -FAR), FAR)) for at in clip)
    if clip is not None and len(plan.phases) > 1:
        columns = columns.clipped(low, high)
    last = FAR if query is None else query[1]
    if plan.compat and clip is not None:  # Qlib gives every part of a formula all rows that are loaded for the whole
        last = high
    job = Job(columns, wanted, n_threads, last, (low, high))
    given: dict[Node, np.ndarray] = {}
    for phase in plan.phases[:-1]:
        job.reach(phase, given)
    job.run(plan.phases[-1].compiled, given, [(values, True) for values in out])


def register_of(node: Node) -> type[np.floating]:
    """Return the type in which a node's values stand between programs."""
    return np.float64 if node.dtype in WIDE else np.float32


def operate(phase: Phase, panel: Panel, stand: Mapping[Node, np.ndarray]) -> dict[Node, np.ndarray]:
    """Run the operators over the whole panel that end a phase; `stand` holds, as registers do, what they read."""
    arrays: dict[Node, np.ndarray] = {n: panel.columns[n.name] for n in phase.needs if isinstance(n, Column)}
    arrays |= {n: _as_dtype(stand[n], n.dtype) for n in phase.needs if n in stand}
    made: dict[Node, np.ndarray] = {}
    for node in phase.then:
        arguments: list[Any] = [arrays[a] if a in node.inputs else a for a in node.arguments]
        values = node.compute(arguments, panel).astype(STORED[node.dtype], copy=False)
        made[node] = np.ascontiguousarray(values, register_of(node))
    return made


def _as_dtype(values: np.ndarray, dtype: str) -> np.ndarray:
    """Return a register's values as the dtype they stand for."""
    if dtype == "bool":
        return values == 1
    return np.nan_to_num(values).astype(np.int64) if dtype == "int64" else values


class Job:
    """The arrays of one evaluation, for any of its programs."""

    def __init__(self, columns: Columns, wanted: Wanted, n_threads: int, last: int, clip: tuple[int, int]) -> None:
        self.columns, self.wanted, self.n_threads, self.last, self.clip = columns, wanted, n_threads, last, clip
        lengths = columns.end - columns.begin
        self.start = np.cumsum(lengths) - lengths
        self.rows = int(lengths.sum())

    @cached_property
    def panel(self) -> Panel:
        """The columns as a panel."""
        return self.columns.panel()

    def reach(self, phase: Phase, given: dict[Node, np.ndarray]) -> None:
        """Compute all rows of what a phase ends with; they join `given`, which has what the phases before made."""
        made = {node: np.empty(self.rows, register_of(node)) for node in phase.roots}
        if made:
            self.run(phase.compiled, given, [(values, False) for values in made.values()])
        given.update(operate(phase, self.panel, {**given, **made}))

    def run(self, compiled: Compiled, given: Mapping[Node, np.ndarray], targets: list[tuple[np.ndarray, bool]]) -> None:
        columns, wanted = self.columns, self.wanted
        sources = []
        for node in compiled.sources:
            if isinstance(node, Column):
                sources.append(columns.places[node.name])
            else:
                sources.append((given[node], self.start, columns.begin, columns.end - columns.begin))
        work = Work(
            columns.begin, columns.end, sources, targets, wanted.of, wanted.low, wanted.high, wanted.to, self.start,
            *self.clip, self.last, wanted.row_of if targets[0][1] else None,
        )  # fmt: skip
        kept = targets[0][1]
        groups = grouped(columns, np.diff(wanted.of) > 0 if kept else columns.end > columns.begin)
        values = len(targets) * (wanted.rows if kept else self.rows)
        threads = min(self.n_threads, len(groups), 1 + values // _WORTH_A_THREAD)
        if threads <= 1:
            run(compiled.program, work, groups)
            return
        pieces = np.array_split(groups, min(len(groups), 4 * threads))
        with ThreadPoolExecutor(threads, thread_name_prefix="qlib-lanes") as pool:
            list(pool.map(lambda piece: run(compiled.program, work, np.ascontiguousarray(piece)), pieces))


def grouped(columns: Columns, some: np.ndarray) -> np.ndarray:
    """Return the instruments in groups of LANES that begin and end at about the same time, padded with -1."""
    chosen = np.flatnonzero(some)
    order = chosen[np.lexsort((columns.end[chosen], columns.begin[chosen]))]
    groups = np.full((-(-len(order) // LANES), LANES), -1, np.int64)
    # Inside a group in their own order, so that in order of time they may follow one another.
    groups.reshape(-1)[: len(order)] = order
    whole = groups[: len(order) // LANES]
    whole.sort(axis=1)
    return groups

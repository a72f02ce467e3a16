"""A market that goes on: every new bar advances all fields by one row, from kept state.

    engine = Engine(["Mean($close,20)/$close", "CSRank($volume)"], history)
    engine.append({"close": [...], "volume": [...]})         one number per instrument -> one value per field of each

The state is that of the very program that computes the batch (a chunk of one row is a chunk), so the answer has the
same bits as the last row of a batch over all bars.  A bar costs what its row costs, however long the history is.

What needs the future, or more of the other instruments than the current bar, has no state to go on from and is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.expression.engine import FAR, Job, Wanted, grouped, operate, register_of
from qlib.data.expression.node import Column, Node, Operator, PanelOperator
from qlib.data.expression.plan import Phase, Plan, build_plan
from qlib.data.kernels.program import Live, Work
from qlib.data.panel import Columns, Panel
from qlib.errors import ExpressionError, InputError, did_you_mean


class Engine:
    """All fields of some instruments, bar after bar.

    Parameters
    ----------
    fields
        Formulas that do not look ahead.
    history
        What there is so far, of every instrument that may ever be listed: the rows since each one's listing where a
        field needs them all (`Plan.span`), else at least as many as it looks back.  An instrument without rows is not
        listed yet.  One whose rows end earlier than the others' goes on with rows of NaN, as a file with a gap.
    registry
        The operators that may be called; those of the package by default.

    Raises
    ------
    ExpressionError
        A formula cannot be read, looks ahead, or holds an operator that cannot go on bar after bar.

    >>> history = Panel(("A", "B"), np.array([0, 2, 4]), np.zeros(2, int), {"close": np.float32([1, 2, 5, 7])})
    >>> engine = Engine(["Mean($close,3)", "CSRank($close)"], history)
    >>> engine.append({"close": [6, 3]}).tolist()
    [[3.0, 5.0], [1.0, 0.5]]
    """

    def __init__(
        self, fields: Sequence[object], history: Panel, *, registry: Mapping[str, type[Operator]] | None = None
    ) -> None:
        self.plan = build_plan(fields, registry=registry)
        _refuse(self.plan)
        self.instruments = history.instruments
        lengths = history.lengths()
        ends = np.where(lengths > 0, history.first + lengths, 0)
        self._position = int(ends.max(initial=0))
        self._listed = lengths > 0
        self._around = history.around
        self._number = {name: i for i, name in enumerate(self.instruments)}
        if len(self._number) < len(self.instruments):
            raise InputError("history: an instrument stands in it twice")
        whole = _up_to(history, self._position)
        columns = Columns.of(whole)
        job = Job(columns, Wanted.everything(columns), 1, FAR, (-FAR, FAR))
        given: dict[Node, np.ndarray] = {}
        self._phases: list[tuple[Phase, Live]] = []
        for phase in self.plan.phases:
            self._phases.append((phase, self._open(phase, columns, job.start, given)))
            if phase.then:
                job.reach(phase, given)

    @property
    def fields(self) -> tuple[str, ...]:
        """The formulas, as they were given."""
        return self.plan.fields

    @property
    def position(self) -> int:
        """Calendar position of the next bar."""
        return self._position

    def append(self, bar: Mapping[str, Any] | pd.DataFrame, *, members: Collection[str] | None = None) -> np.ndarray:
        """Advance by one bar.

        Parameters
        ----------
        bar
            Column (without ``$``) to one number per instrument, in the order of `instruments`; or a frame with
            instruments as index (those that are missing there have no bar) and columns with or without ``$``.  NaN
            where there is no value; an instrument is listed with its first number, in whatever column.
        members
            The instruments that belong to the universe at this bar, for operators across instruments; all, by default.

        Returns
        -------
        numpy.ndarray
            float32 of shape (fields, instruments); NaN for an instrument that is not listed yet.
        """
        columns = self._columns(bar)
        self._listed = self._listed | np.logical_or.reduce([~np.isnan(values) for values in columns.values()])
        columns = {name: columns[name] for name in self.plan.reads}
        out = np.full((len(self.fields), len(self.instruments)), np.nan, dtype=np.float32)
        given: dict[Node, np.ndarray] = {}
        for phase, live in self._phases:
            sources = [columns[n.name] if isinstance(n, Column) else given[n] for n in phase.compiled.sources]
            made = {n: np.full(len(self.instruments), np.nan, register_of(n)) for n in phase.roots if phase.then}
            live.more(self._bar(sources, list(made.values()) if phase.then else list(out)))
            if phase.then:
                given |= self._across(phase, columns, {**given, **made}, members)
        self._position += 1
        return out

    # ------------------------------------------------------------------------------------------ one bar
    def _columns(self, bar: Mapping[str, Any] | pd.DataFrame) -> dict[str, np.ndarray]:
        if isinstance(bar, pd.DataFrame):
            unknown = [str(name) for name in bar.index if name not in self._number]
            if unknown:
                near = did_you_mean(unknown[0], self.instruments)
                raise InputError(f"bar: the engine has no instrument {unknown[0]}{near}; list it in the history")
            bar = {str(name): values for name, values in bar.reindex(list(self.instruments)).items()}
        known = {name.removeprefix("$").lower(): values for name, values in bar.items()}
        for name in self.plan.reads:
            if name not in known:
                near = did_you_mean(name, list(known))
                raise InputError(f"bar: received {', '.join(known) or 'nothing'}; it lacks {name}{near}")
        columns = {}
        for name, given in known.items():
            values = np.ascontiguousarray(given, dtype=np.float32)
            if values.shape != (len(self.instruments),):
                raise InputError(
                    f"bar: {name} has shape {values.shape}; one number for each of the {len(self.instruments)} "
                    "instruments is allowed"
                )
            columns[name] = values
        return columns

    def _bar(self, sources: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> Work:
        count = len(self.instruments)
        begin = np.full(count, self._position)
        here = self._listed.astype(np.int64)
        offset = np.arange(count)
        wanted = Wanted.ranges(offset, begin, begin + here, count)
        return Work(
            begin, begin + here, [(values, offset, begin, here) for values in sources],
            [(values, True) for values in targets], wanted.of, wanted.low, wanted.high, offset, offset,
            -FAR, FAR, FAR,
        )  # fmt: skip

    def _across(
        self,
        phase: Phase,
        columns: Mapping[str, np.ndarray],
        stand: Mapping[Node, np.ndarray],
        members: Collection[str] | None,
    ) -> dict[Node, np.ndarray]:
        """Run the operators that compare the instruments of this bar."""
        some = np.flatnonzero(self._listed)
        names = tuple(self.instruments[i] for i in some)
        around = replace(self._around, members=None)
        if members is not None:
            span, chosen = [(self._position, self._position + 1)], set(members)
            around = replace(around, members={name: span if name in chosen else [] for name in names})
        own = {name: values[some] for name, values in columns.items()}
        panel = Panel(names, np.arange(len(some) + 1), np.full(len(some), self._position), own, around)
        made = {}
        for node, values in operate(phase, panel, {n: values[some] for n, values in stand.items()}).items():
            made[node] = np.full(len(self.instruments), np.nan, register_of(node))
            made[node][some] = values
        return made

    # ------------------------------------------------------------------------------------------ the history
    def _open(self, phase: Phase, columns: Columns, start: np.ndarray, given: Mapping[Node, np.ndarray]) -> Live:
        lengths = columns.end - columns.begin
        sources = [
            columns.places[n.name] if isinstance(n, Column) else (given[n], start, columns.begin, lengths)
            for n in phase.compiled.sources
        ]
        nowhere = [(np.empty(0, register_of(n) if phase.then else np.float32), True) for n in phase.roots]
        none, nothing = np.empty(0, np.int64), np.zeros(len(self.instruments) + 1, np.int64)
        work = Work(
            columns.begin, columns.end, sources, nowhere, nothing, none, none, none, start, -FAR, FAR, FAR
        )  # fmt: skip
        return Live(phase.compiled.program, work, grouped(columns, np.ones(len(self.instruments), dtype=bool)))


def _refuse(plan: Plan) -> None:
    for text, root in zip(plan.fields, plan.roots, strict=True):
        if root.span.ahead:
            raise ExpressionError("a field that looks ahead is not known when its bar is", text)
    for node in plan.nodes:
        if isinstance(node, PanelOperator) and not node.across:
            raise ExpressionError(
                f"{node.name} cannot go on bar after bar: it needs more than the current one", str(node)
            )


def _up_to(history: Panel, end: int) -> Panel:
    """Return the panel in which every listed instrument has rows up to `end`: NaN where it had none."""
    lengths = history.lengths()
    longer = np.where(lengths > 0, end - history.first, 0)
    if (longer == lengths).all():
        return history
    start = np.concatenate([[0], np.cumsum(longer)])
    rows = np.arange(history.rows) + np.repeat(start[:-1] - history.start[:-1], lengths)
    columns = {}
    for name, values in history.columns.items():
        columns[name] = np.full(int(start[-1]), np.nan, np.float32)
        columns[name][rows] = values
    return Panel(history.instruments, start, history.first, columns, history.around)

"""P and PRef: formulas over reported periods, as they were known on each day.

What is known of an instrument changes only when something is announced.  So nothing is computed day by day:

    records     of every field: known from which bar on, about which period, which value
    states      the bars at which something became known; between two of them nothing changes
    series      for each state the periods known then, oldest to newest, each with its last revision: a ragged panel
                whose "instruments" are the states
    values      the engine evaluates the formula over that panel; each series' last value holds until the next state

A record counts from the bar from which the provider says that it is known, so what is announced later changes nothing
that came before.

A point-in-time field has no value of its own on a bar, so it stands inside P or PRef only, and nothing else does: no
column, no later period (nobody knows it), no second P, and not quarters beside years.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

import numpy as np

from qlib.data.expression.engine import evaluate
from qlib.data.expression.legacy import Opaque
from qlib.data.expression.node import Column, Node, NodeError, PanelOperator, Scalar, walk
from qlib.data.expression.parameters import Parameter, Series
from qlib.data.expression.pit import OverPeriods, Period, PFeature
from qlib.data.expression.plan import Plan
from qlib.data.expression.registry import operator
from qlib.data.expression.sites import Remote
from qlib.data.panel import Panel
from qlib.data.periods import NUMBERS, Records, is_period, number
from qlib.errors import MissingDataError

CHUNK_ROWS: Final = 1 << 19  # periods of all series that are evaluated at a time


class _OverStates(OverPeriods):
    """What P and PRef share; `_reach` says which of the known periods a series holds."""

    __slots__ = ()

    def settle(self) -> None:
        super().settle()
        formula = along_periods(self.formula)
        for node in walk(formula):
            if (why := self._refusal(node)) is not None:
                raise NodeError(f"{self.name}: {why}", 0)
        if self.compat is None and self.mixed:
            raise NodeError(f"{self.name}: {formula} joins quarters (_q) and years (_a); write one P for each", 0)

    def _refusal(self, node: Node) -> str | None:
        if isinstance(node, Column):
            return f"{node} has a value for every bar, not for every period; write it outside, as in P(...)*{node}"
        if isinstance(node, OverPeriods):
            return f"{node} is a value for every bar already; {self.name} stands over point-in-time fields"
        if isinstance(node, PanelOperator) and not isinstance(node, PFeature | Opaque):
            return f"{node.name} looks across bars or instruments; write it outside, as in {node.name}(P(...))"
        if node.span.ahead > 0:
            return f"{node} reads a later period, and after the newest none is known"
        return None

    @property
    def mixed(self) -> bool:
        """Whether quarters stand beside years: no period is both, so under compat the result is NaN, as in Qlib."""
        return len({one.yearly for one in self.sources}) > 1

    @property
    def yearly(self) -> bool:
        """Whether the periods are years."""
        return self.sources[0].yearly

    @property
    def sources(self) -> list[PFeature]:
        """The point-in-time fields that are read, those of other instruments with their names."""
        return _fields(along_periods(self.formula))

    def _reach(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and last period of each state's series, those known being low ... high."""
        raise NotImplementedError

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:  # noqa: ARG002
        periods = panel.around.periods
        if periods is None:
            raise MissingDataError(
                f"{self}: nobody said where point-in-time data are; a panel made by hand takes them as "
                "Panel(..., around=Surroundings(periods=...))"
            )
        if self.mixed:
            return np.full(panel.rows, np.nan, np.float32)
        formula, rows, names = along_periods(self.formula), _Rows(panel), np.array(panel.instruments, dtype=object)
        known = {
            str(one): _Known([periods(one.instrument or name, one.field) for name in panel.instruments], rows)
            for one in _fields(formula)
        }
        moments = _distinct([one.moments for one in known.values()])
        return rows.carry_on(self._of_states(formula, names, *rows.split(moments), known), moments)

    def _of_states(
        self, formula: Node, names: np.ndarray, who: np.ndarray, at: np.ndarray, known: dict[str, _Known]
    ) -> np.ndarray:
        """Return the formula's value, float32, for each state: an instrument, and a position where it learned more."""
        bounds = [one.bounds(who, at) for one in known.values()]
        low, high = np.min([a for a, _ in bounds], axis=0), np.max([b for _, b in bounds], axis=0)
        first, last = self._reach(low, high)
        lengths = np.maximum(last - first + 1, 0)
        plan = Plan([str(formula)], [formula], self.compat)
        values = np.full(len(who), np.nan, np.float32)
        for begin, end in _chunks(lengths):
            here = slice(begin, end)
            start = np.concatenate([[0], np.cumsum(lengths[here])])
            columns = {name: one.values(who[here], at[here], first[here], lengths[here]) for name, one in known.items()}
            (found,) = evaluate(plan, Panel(tuple(names[who[here]]), start, np.maximum(first[here], 0), columns))
            filled = lengths[here] > 0
            values[here][filled] = found[start[1:][filled] - 1]
        return values


def _fields(formula: Node) -> list[PFeature]:
    return [node for node in walk(formula) if isinstance(node, PFeature)]


def along_periods(formula: Node, instrument: str | None = None) -> Node:
    """Return the formula with fields of other instruments as leaves of their own: `$$x_q` of b for Mask($$x_q,'b')."""
    done: dict[Node, Node] = {}
    for node in walk(formula):
        if isinstance(node, PFeature) and instrument is not None:
            done[node] = PFeature(node.field, instrument)
        elif isinstance(node, Remote) and node.site:
            done[node] = along_periods(node.feature, node.site)
        elif any(done[child] is not child for child in node.inputs):
            arguments = (done[a] if isinstance(a, Node) else a for a in node.arguments)
            done[node] = type(node)(*arguments, compat=node.compat)
        else:
            done[node] = node
    return done[formula]


@operator
class P(_OverStates):
    """The formula at the newest period that is known on the day, from the periods known that day.

    The newest is the latest period of all that were announced by then, not the one announced last; with several fields
    the latest of any of them (a field that lags behind is missing there).  A period of which nothing is known is NaN,
    and a window that reaches beyond the first known one is shorter.  Operators inside see every known period, so EMA
    and windows of 0 begin at the first.  NaN before the first announcement.

    compat="qlib": operators inside see as many periods as Qlib's windows ask for, so EMA restarts there.
    """

    __slots__ = ()
    parameters = (Series("feature"),)

    def _reach(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.maximum(low, high - int(min(self.formula.span.back, NUMBERS))), high


@operator
class PRef(_OverStates):
    """The formula at one period, as known on each day; NaN while the period lies outside those known.

    The formula sees no other period: Ref($$x_q, 1) is NaN there and a mean is that of one value, as in Qlib.
    """

    __slots__ = ()
    parameters: ClassVar[tuple[Parameter, ...]] = (Series("feature"), Period("period"))

    def accepted(self) -> tuple[Parameter, ...]:
        return (self.parameters[0], Period("period", loose=True)) if self.compat == "qlib" else self.parameters

    @property
    def period(self) -> int:
        return self.arguments[1]  # type: ignore[return-value]

    def settle(self) -> None:
        super().settle()
        if self.compat is None and not is_period(self.period, yearly=self.yearly):
            wanted = "a year such as 2019" if self.yearly else "a quarter such as 201903"
            raise NodeError(f"PRef: period must be {wanted} for {self.formula}, received {self.period}", 1)

    def _reach(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fits = is_period(self.period, yearly=self.yearly)
        wanted = np.full(len(low), number(self.period, yearly=self.yearly) if fits else -1)
        return wanted, np.where((low <= wanted) & (wanted <= high), wanted, wanted - 1)


# ------------------------------------------------------------------------------------------------ what was known when
class _Rows:
    """Where the rows of a panel stand; a moment is (instrument, calendar position) as one number, in that order."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        filled = panel.lengths() > 0
        self.first, self.last = np.zeros(len(filled), np.int64), np.full(len(filled), -1)
        if type(panel) is Panel:
            self.first[filled], self.last[filled] = panel.first[filled], (panel.first + panel.lengths())[filled] - 1
        else:  # one with holes
            at = panel.positions()
            self.first[filled], self.last[filled] = at[panel.start[:-1][filled]], at[panel.start[1:][filled] - 1]
        self.width = int(self.last.max(initial=-1)) + 1

    def join(self, who: np.ndarray, at: np.ndarray) -> np.ndarray:
        return who * self.width + at

    def split(self, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        who = moments // max(self.width, 1)
        return who, moments - who * self.width

    def carry_on(self, values: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Return for every row the value of its instrument's last moment up to it, NaN before the first one."""
        start = self._panel.start[:-1]
        if type(self._panel) is Panel:
            who, at = self.split(moments)
            rows = start[who] + at - self._panel.first[who]
        else:
            owner = np.repeat(np.arange(len(start)), self._panel.lengths())
            rows = np.searchsorted(self.join(owner, self._panel.positions()), moments)
        rows = np.concatenate([start, rows])
        order = np.argsort(rows, kind="stable")  # an instrument begins with NaN, unless it knows something at once
        unknown = np.full(len(start), np.nan, np.float32)
        return np.repeat(np.concatenate([unknown, values])[order], np.diff(rows[order], append=self._panel.rows))


class _Known:
    """The records of one field for every instrument of a panel, ready to be looked up.

    A record from before an instrument's first row counts from that row on; one from after its last is left out.
    """

    def __init__(self, records: Sequence[Records | None], rows: _Rows) -> None:
        self._rows = rows
        counts = [0 if one is None else len(one) for one in records]
        who = np.repeat(np.arange(len(records)), counts)
        known, period, value = (
            np.concatenate([np.empty(0, dtype), *(getattr(one, name) for one in records if one is not None)])
            for name, dtype in (("known", np.int64), ("period", np.int64), ("value", np.float64))
        )
        kept = known <= rows.last[who]
        who, known, period, value = who[kept], np.maximum(known, rows.first[who])[kept], period[kept], value[kept]
        self.moments = rows.join(who, known)
        # The periods known so far run from the lowest to the highest: both accumulate, instrument by instrument.
        self._high = np.maximum.accumulate(who * NUMBERS + period) - who * NUMBERS
        self._low = NUMBERS - 1 - (np.maximum.accumulate(who * NUMBERS + NUMBERS - 1 - period) - who * NUMBERS)
        keys = rows.join(who * NUMBERS + period, known)
        order = np.argsort(keys, kind="stable")  # of records of one period and one bar the last announced is the last
        self._keys, self._values = keys[order], value[order]

    def bounds(self, who: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest period known at each moment; (NUMBERS, -1) where none is."""
        low, high = np.full(len(who), NUMBERS), np.full(len(who), -1)
        known, place = _last(self.moments, self._rows.join(who, at), at)
        low[known], high[known] = self._low[place], self._high[place]
        return low, high

    def values(self, who: np.ndarray, at: np.ndarray, first: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return for each moment what was known of so many periods from the first on, float64, one after the other."""
        run = np.repeat(np.arange(len(who)), lengths)
        begin = np.cumsum(lengths) - lengths
        oldest = self._rows.join(who * NUMBERS + first - begin, at)
        keys = oldest[run] + np.arange(len(run)) * self._rows.width  # one period more at each step
        known, place = _last(self._keys, keys, at[run])
        out = np.full(len(run), np.nan)
        out[known] = self._values[place]
        return out


def _last(keys: np.ndarray, wanted: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which wanted numbers have a key from at most `at` below them up to themselves, and the place of the last.

    The keys ascend.
    """
    place = np.searchsorted(keys, wanted, side="right") - 1
    known = place >= 0
    if len(keys):
        known &= keys[place] >= wanted - at
    return known, place[known]


def _distinct(ascending: list[np.ndarray]) -> np.ndarray:
    """Return the numbers of all arrays, each ascending, once and in order."""
    every = ascending[0] if len(ascending) == 1 else np.sort(np.concatenate(ascending), kind="stable")
    return every[np.diff(every, prepend=-1) > 0]


def _chunks(lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield runs of states whose series have about CHUNK_ROWS periods together."""
    total = np.cumsum(lengths)
    low = 0
    while low < len(lengths):
        before = int(total[low - 1]) if low else 0
        high = max(int(np.searchsorted(total, before + CHUNK_ROWS, side="right")), low + 1)
        yield low, high
        low = high

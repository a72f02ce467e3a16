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
        if len({one.yearly for one in _fields(formula)}) > 1:
            raise NodeError(f"{self.name}: {formula} joins quarters (_q) and years (_a); write one P for each", 0)

    def _refusal(self, node: Node) -> str | None:
        if isinstance(node, Column):
            return f"{node} has a value for every bar, not for every period; write it outside, as in P(...)*{node}"
        if isinstance(node, OverPeriods):
            return f"{node} is a value for every bar already; {self.name} stands over point-in-time fields"
        if isinstance(node, PanelOperator) and not isinstance(node, PFeature):
            return f"{node.name} looks across bars or instruments; write it outside, as in {node.name}(P(...))"
        if node.span.ahead > 0:
            return f"{node} reads a later period, and after the newest none is known"
        return None

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
        formula = along_periods(self.formula)
        known = {
            str(one): _Known([periods(one.instrument or name, one.field) for name in panel.instruments], panel)
            for one in _fields(formula)
        }
        out = np.full(panel.rows, np.nan, np.float32)
        moments = np.unique(np.concatenate([one.moments for one in known.values()]))
        if len(moments):
            values = self._of_states(formula, moments, known)
            who, at = _width(panel).split(moments)
            _carry_on(values, panel.start[who] + at - panel.first[who], panel, out)
        return out

    def _of_states(self, formula: Node, moments: np.ndarray, known: dict[str, _Known]) -> np.ndarray:
        """Return the formula's value, float32, at each of the moments."""
        bounds = [one.bounds(moments) for one in known.values()]
        low, high = np.min([a for a, _ in bounds], axis=0), np.max([b for _, b in bounds], axis=0)
        first, last = self._reach(low, high)
        lengths = np.maximum(last - first + 1, 0)
        plan = Plan([str(formula)], [formula], self.compat)
        values = np.full(len(moments), np.nan, np.float32)
        for begin, end in _chunks(lengths):
            here = slice(begin, end)
            start = np.concatenate([[0], np.cumsum(lengths[here])])
            state = np.repeat(np.arange(end - begin), lengths[here])
            period = np.arange(start[-1]) - start[:-1][state] + first[here][state]
            columns = {name: one.values(moments[here][state], period) for name, one in known.items()}
            (found,) = evaluate(plan, Panel(("",) * (end - begin), start, np.maximum(first[here], 0), columns))
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
class _Moments:
    """(instrument, calendar position) as one number, in that order."""

    def __init__(self, width: int) -> None:
        self.width = width

    def join(self, who: np.ndarray, at: np.ndarray) -> np.ndarray:
        return who * self.width + at

    def split(self, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return moments // self.width, moments % self.width


def _width(panel: Panel) -> _Moments:
    return _Moments(int((panel.first + panel.lengths()).max(initial=0)) + 1)


class _Known:
    """The records of one field for every instrument of a panel, ready to be looked up.

    A record from before an instrument's first row counts from that row on; one from after its last is left out.
    """

    def __init__(self, records: Sequence[Records | None], panel: Panel) -> None:
        self._moments = _width(panel)
        counts = [0 if one is None else len(one) for one in records]
        who = np.repeat(np.arange(len(records)), counts)
        known, period, value = (
            np.concatenate([np.empty(0, dtype), *(getattr(one, name) for one in records if one is not None)])
            for name, dtype in (("known", np.int64), ("period", np.int64), ("value", np.float64))
        )
        kept = (known < (panel.first + panel.lengths())[who]) & (panel.lengths()[who] > 0)
        who, known, period, value = who[kept], np.maximum(known, panel.first[who])[kept], period[kept], value[kept]
        self.moments = self._moments.join(who, known)
        # The periods known so far run from the lowest to the highest: both accumulate, instrument by instrument.
        self._high = np.maximum.accumulate(who * NUMBERS + period) - who * NUMBERS
        self._low = NUMBERS - 1 - (np.maximum.accumulate(who * NUMBERS + NUMBERS - 1 - period) - who * NUMBERS)
        keys = self._key(self.moments, period)
        order = np.argsort(keys, kind="stable")  # of records of one period and one bar the last announced is the last
        self._keys, self._values = keys[order], value[order]

    def _key(self, moments: np.ndarray, period: np.ndarray) -> np.ndarray:
        who, at = self._moments.split(moments)
        return self._moments.join(who * NUMBERS + period, at)

    def bounds(self, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest period known at each moment; (NUMBERS, -1) where none is."""
        at = np.searchsorted(self.moments, moments, side="right") - 1
        known = at >= 0
        known[known] = self._moments.split(self.moments[at[known]])[0] == self._moments.split(moments[known])[0]
        low, high = np.full(len(moments), NUMBERS), np.full(len(moments), -1)
        low[known], high[known] = self._low[at[known]], self._high[at[known]]
        return low, high

    def values(self, moments: np.ndarray, period: np.ndarray) -> np.ndarray:
        """Return what was known of each period at each moment, float64."""
        keys = self._key(moments, period)
        at = np.searchsorted(self._keys, keys, side="right") - 1
        known = at >= 0
        known[known] = self._moments.split(self._keys[at[known]])[0] == self._moments.split(keys[known])[0]
        out = np.full(len(keys), np.nan)
        out[known] = self._values[at[known]]
        return out


def _chunks(lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield runs of states whose series have about CHUNK_ROWS periods together."""
    total = np.cumsum(lengths)
    low = 0
    while low < len(lengths):
        before = int(total[low - 1]) if low else 0
        high = max(int(np.searchsorted(total, before + CHUNK_ROWS, side="right")), low + 1)
        yield low, high
        low = high


def _carry_on(values: np.ndarray, rows: np.ndarray, panel: Panel, out: np.ndarray) -> None:
    """Fill `out`: values[k] from row rows[k] on, until the next one or the end of the instrument."""
    ends = np.append(rows[1:], panel.rows)
    ends = np.minimum(ends, panel.start[np.searchsorted(panel.start, rows, side="right")])
    filled = np.repeat(values, ends - rows)
    before = np.cumsum(ends - rows) - (ends - rows)
    out[np.arange(len(filled)) + np.repeat(rows - before, ends - rows)] = filled

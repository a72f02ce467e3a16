"""What a query reads beyond the rows of its own instruments.

    formulas about another instrument     their columns over its rows; and those rows are brought to every instrument
    formulas without columns              users' operators that load by themselves: every bar is a row
    operators that load by themselves     any field of any instrument, when they ask

The panels of other instruments are made once per query, however many instruments ask for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qlib.data.calendar import Calendar
from qlib.data.expression.ground import Ground
from qlib.data.expression.plan import Plan
from qlib.data.expression.sites import Sites
from qlib.data.panel import Surroundings
from qlib.data.provider.store import Store
from qlib.data.provider.traits import apart_of, elsewhere_of, leaves_of

if TYPE_CHECKING:
    from qlib.data.provider.features import Loaded


class Stored:
    """What is stored of any field of any instrument, see `Surroundings.stored`."""

    def __init__(self, store: Store, freq: str, calendar: Calendar) -> None:
        self._store, self._freq, self._calendar = store, freq, calendar

    def __call__(self, instrument: str, field: str, first: int, last: int) -> tuple[int, np.ndarray]:
        raw = self._store.read([instrument], [field], self._freq, first, last, calendar=self._calendar)
        values = raw.series(0, 0)
        return (int(raw.first[0, 0]), values) if len(values) else (0, values)


class _Extent:
    """Where the columns that a query has read are stored, see `Ground`."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._place = {name: i for i, name in enumerate(loaded.instruments)}
        self._whole: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, column: str, instruments: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if instruments is not self._loaded.instruments:
            return self._of(column, instruments)
        if column not in self._whole:
            self._whole[column] = self._of(column, instruments)
        begin, end = self._whole[column]
        return begin.copy(), end.copy()

    def _of(self, column: str, instruments: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        loaded = self._loaded
        begin, end = np.full((2, len(instruments)), -1)
        known = [(i, self._place[name]) for i, name in enumerate(instruments) if name in self._place]
        if known and column in loaded.fields:
            here, there = np.array(known).T
            j = loaded.fields.index(column)
            count = np.maximum(loaded.raw.count[there, j], 0)
            begin[here] = np.where(count > 0, loaded.raw.first[there, j], 0)
            end[here] = begin[here] + count
        return begin, end


def with_elsewhere(loaded: Loaded, plan: Plan, first: int, last: int) -> Loaded:
    """Return what was loaded at calendar positions first ... last with what the plan reads elsewhere.

    The rows of formulas about other instruments are rows of every instrument of the query, known or not, as in Qlib.
    """
    around = loaded.around
    own = leaves_of(plan)
    if not (own.every or own.reported or elsewhere_of(plan)):
        return loaded
    assert around.stored is not None
    ground = Ground(around.stored, first, last, _Extent(loaded), getattr(around.periods, "has", None))
    brought = [(first, last + 1)] if own.every else []
    for node in own.elsewhere:
        (begin,), (end,) = ground.rows(node.feature, [node.site])
        if begin < end:
            brought.append((int(begin), int(end)))
    begin, end = loaded.begin, loaded.end
    for low, high in brought:
        none = begin == end
        begin, end = np.where(none, low, np.minimum(begin, low)), np.where(none, high, np.maximum(end, high))
    around = replace(around, elsewhere=ground.elsewhere(plan.roots), rows=ground.rows)
    return replace(loaded, begin=begin, end=end, brought=tuple(brought), around=around)


def meeting(plan: Plan, around: Surroundings) -> tuple[Plan, Surroundings]:
    """Return the plan with formulas of fewer rows apart, and the surroundings in which its formulas meet their sites.

    A plan over the columns of its own instruments is returned as it is.
    """
    apart = apart_of(plan)
    if apart is None:
        return plan, around
    return apart, replace(around, elsewhere=Sites(around.elsewhere or {}, apart.roots))

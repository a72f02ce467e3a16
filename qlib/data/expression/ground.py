"""What is stored under formulas: which rows they have, and the panels that they are evaluated over.

    ground = Ground(stored, first, last)
    ground.rows(formula, ["a"])             where one of the columns that the formula reads is stored
    ground.panel("a", [formula])            those rows, with everything around them that the formula may ask

`stored` is the provider's: no formula meets a file here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from qlib.data.expression.node import Node
from qlib.data.expression.pit import OverPeriods
from qlib.data.expression.sites import Sites, asked_elsewhere, leaves
from qlib.data.panel import NOWHERE, Panel, Surroundings

Stored = Callable[[str, str, int, int], tuple[int, np.ndarray]]
Extent = Callable[[str, Sequence[str]], tuple[np.ndarray, np.ndarray]]
Reported = Callable[[OverPeriods, Sequence[str]], np.ndarray]

_FAR: Final = np.iinfo(np.int64).max


class Ground:
    """What is stored between two calendar positions, read once and only where somebody asks.

    Parameters
    ----------
    stored
        See `Surroundings.stored`.
    first, last
        Calendar positions, both included.
    extent
        (column, instruments) to (begin, end), two int64 arrays: where the column is stored for instruments that the
        caller has read already; an instrument that it does not know has begin -1.
    reported
        (P or PRef, instruments) to bool array: who has the point-in-time data that it reads, and so a row on every bar.
    """

    def __init__(
        self, stored: Stored, first: int, last: int, extent: Extent | None = None, reported: Reported | None = None
    ) -> None:
        self._stored, self._first, self._last, self._extent = stored, first, last, extent
        self._reported = reported
        self._parts: dict[tuple[str, str], tuple[int, np.ndarray]] = {}

    def _part(self, instrument: str, column: str) -> tuple[int, np.ndarray]:
        key = instrument, column
        if key not in self._parts:
            self._parts[key] = self._stored(instrument, column, self._first, self._last)
        return self._parts[key]

    def _column(self, column: str, instruments: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if self._extent is not None:
            begin, end = self._extent(column, instruments)
        else:
            begin, end = np.full((2, len(instruments)), -1)
        for i in np.flatnonzero(begin < 0).tolist():
            position, values = self._part(instruments[i], column)
            begin[i], end[i] = position, position + len(values)
        return begin, end

    def rows(self, formula: Node, instruments: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the half-open range of each instrument's rows, see `Surroundings.rows`."""
        return self.rows_of([formula], instruments)

    def rows_of(self, formulas: Iterable[Node], instruments: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the half-open range of each instrument's rows for all formulas together; begin = end means none."""
        found = leaves(*formulas)
        begin, end = np.full(len(instruments), _FAR), np.zeros(len(instruments), dtype=np.int64)
        if found.every:
            begin[:], end[:] = self._first, self._last + 1
        if self._reported is not None:
            for over in found.reported:
                has = self._reported(over, instruments)
                begin[has], end[has] = self._first, self._last + 1
        ranges = [self._column(column, instruments) for column in found.columns]
        ranges += [self.rows(node.feature, [node.site]) for node in found.elsewhere]
        for low, high in ranges:
            some = low < high
            np.minimum(begin, low, out=begin, where=some)
            np.maximum(end, high, out=end, where=some)
        return np.minimum(begin, end), end

    def panel(self, instrument: str, formulas: Sequence[Node], around: Surroundings = NOWHERE) -> Panel:
        """Return the rows of one instrument, with the columns that the formulas read over them."""
        (begin,), (end,) = self.rows_of(formulas, [instrument])
        columns = {}
        for name in leaves(*formulas).columns:
            columns[name] = np.full(int(end - begin), np.nan, dtype=np.float32)
            position, values = self._part(instrument, name)
            columns[name][position - begin : position - begin + len(values)] = values
        return Panel((instrument,), np.array([0, end - begin]), np.array([begin]), columns, around)

    def elsewhere(self, roots: Sequence[Node]) -> Mapping[str, Panel]:
        """Return the panels of the other instruments that the formulas speak of."""
        return {name: self.panel(name, features) for name, features in asked_elsewhere(roots).items()}

    def around(self, roots: Sequence[Node], around: Surroundings) -> Surroundings:
        """Return the surroundings of a panel over which the formulas are evaluated."""
        return replace(around, elsewhere=Sites(self.elsewhere(roots), roots), rows=self.rows)

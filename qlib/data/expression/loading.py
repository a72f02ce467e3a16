"""What `Expression.load` answers: a formula for one instrument, as a pandas Series by calendar position.

    with serving(rows):                  a user's operator is being computed for one instrument
        operator.load("aaa", 0, 39)          its own code runs, and asks its arguments:
            self.feature.load("aaa", 0, 39)      computed already for those rows: handed out
            Feature("volume").load("bbb", 0, 9)  anything else: read and computed now

Outside such a computation, the live session's provider says what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.active import active_provider
from qlib.data.expression.ground import Ground
from qlib.data.expression.node import Node, looks_across
from qlib.data.expression.sites import exactly
from qlib.data.panel import Panel, Surroundings
from qlib.errors import ExpressionError, MissingDataError


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of one instrument for which a user's operator is being computed.

    Parameters
    ----------
    panel, instrument
        The panel, and the number of the instrument in it.
    index
        The calendar positions of the rows.
    computed
        The operator's arguments over all rows of the panel.
    compat
        The rules of the operator.
    """

    panel: Panel
    instrument: int
    index: pd.Index
    computed: Mapping[Node, np.ndarray]
    compat: str | None

    @property
    def name(self) -> str:
        return self.panel.instruments[self.instrument]

    def own(self, values: np.ndarray) -> np.ndarray:
        """Return the instrument's part of a column of the panel."""
        return values[self.panel.start[self.instrument] : self.panel.start[self.instrument + 1]]

    def series(self, node: Node, instrument: str, first: int, last: int) -> pd.Series | None:
        """Return what is computed of a formula at positions first ... last, None where that is not all there is."""
        values = self.computed.get(node)
        if values is None or instrument.lower() != self.name.lower():
            return None
        if self.panel.around.stored is not None and (first < self.index[0] or last > self.index[-1]):
            return None
        low, high = (int(self.index.searchsorted(position)) for position in (first, last + 1))
        own = self.own(values)[low:high]
        # Another operator of the user's may have answered in booleans: then these are booleans.
        returned = getattr(node, "returned", None)
        holds = returned is not None and (returned.kind == "f" or not np.isnan(own).any())
        return pd.Series(own.astype(returned) if holds else own.copy(), index=self.index[low:high])


_rows: ContextVar[Rows | None] = ContextVar("rows", default=None)


@contextmanager
def serving(rows: Rows) -> Iterator[None]:
    """Answer `Expression.load` from these rows, where they have what is asked."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


def computed_series(nodes: Mapping[str | None, Node], instrument: str, first: int, last: int) -> pd.Series | None:
    """Return a formula (by the rules it has nodes for) where its values are at hand, else None."""
    rows = _rows.get()
    if rows is None:
        return None
    node = nodes.get(rows.compat)
    return None if node is None else rows.series(node, instrument, first, last)


def rules(args: Sequence[Any]) -> str | None:
    """Return by which rules `Expression.load` computes now: those of the operator that asks, or of the session."""
    rows = _rows.get()
    return active_provider().settings["compat"] if rows is None else rows.compat


def series_of(node: Node, instrument: str, first: int, last: int, args: Sequence[Any]) -> pd.Series:
    """Compute a formula for one instrument at the calendar positions first ... last (both included).

    By the default rules the values do not depend on `first`: as much history is read as the formula looks back on.
    By Qlib's, nothing before it is read.

    Parameters
    ----------
    args
        What `Expression.load` received besides; the first is the bar size where that is a text, else it is "day".

    Returns
    -------
    pandas.Series
        In the dtype of the formula, without a name.
    """
    if looks_across(node):
        raise ExpressionError(f"{node} compares the instruments of a query with each other, {instrument} is alone here")
    rows = _rows.get()
    if rows is not None and (known := rows.series(node, instrument, first, last)) is not None:
        return known
    freq = args[0] if args and isinstance(args[0], str) else None
    around: Surroundings
    if rows is None:
        around = active_provider().surroundings(freq or "day")
    else:
        around = rows.panel.around
        if freq is not None and around.freq is not None and freq != around.freq:
            around = active_provider().surroundings(freq)
        if around.stored is None:
            return _from_panel(node, instrument, first, last, rows)
    if around.stored is None:
        raise MissingDataError(f"{node} of {instrument}: nobody told what is stored")
    back, ahead = (0, 0) if node.compat == "qlib" else (node.span.back, node.span.ahead)
    end = 2**62 if around.times is None else len(around.times) - 1
    low, high = max(first - min(back, first), 0), min(last + ahead, end)
    ground = Ground(around.stored, int(low), int(high), reported=getattr(around.periods, "has", None))
    panel = ground.panel(instrument, [node], ground.around([node], replace(around, kept=None)))
    return _between(exactly([node], panel)[node], panel, first, last)


def _from_panel(node: Node, instrument: str, first: int, last: int, rows: Rows) -> pd.Series:
    """Compute over the rows of the panel, where it is all that is known."""
    if instrument.lower() != rows.name.lower():
        around = rows.panel.around
        if instrument.lower() not in (around.elsewhere or {}):
            raise MissingDataError(f"{node} of {instrument}: the panel knows that instrument not")
        panel = replace(around.elsewhere[instrument.lower()], around=around)  # type: ignore[index]
    else:
        low, high = rows.panel.start[rows.instrument], rows.panel.start[rows.instrument + 1]
        columns = {name: rows.own(values) for name, values in rows.panel.columns.items()}
        position = rows.panel.first[rows.instrument : rows.instrument + 1]
        panel = Panel((rows.name,), np.array([0, high - low]), position, columns, rows.panel.around)
    return _between(exactly([node], panel)[node], panel, first, last)


def _between(values: np.ndarray, panel: Panel, first: int, last: int) -> pd.Series:
    begin = int(panel.first[0]) if panel.rows else first
    low, high = max(first - begin, 0), max(min(last + 1 - begin, len(values)), 0)
    low = min(low, high)
    return pd.Series(values[low:high], index=pd.RangeIndex(begin + low, begin + high))

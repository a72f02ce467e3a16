"""Which instrument belongs to a universe when: spans of time, both ends included.

    {"AAPL": [(2019-01-02, 2024-12-31)], "TWTR": [(2013-11-07, 2022-10-27)]}

`clip` cuts spans to a window; `alive` and `spans_of` go between spans and a yes/no for every calendar entry.
A `Universe` holds the spans as arrays beside it: what a query of thousands of instruments asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.calendar import Calendar, timestamp
from qlib.data.ranges import Ranges
from qlib.errors import InputError

Span = tuple[pd.Timestamp, pd.Timestamp]
Spans = dict[str, list[Span]]


def clip(spans: Mapping[str, Iterable[Span]], start: pd.Timestamp, end: pd.Timestamp) -> Spans:
    """Return what lies inside [start, end]; an instrument with nothing there is left out.

    >>> day = pd.Timestamp
    >>> list(clip({"A": [(day("2020-01-01"), day("2020-01-05"))], "B": []}, day("2020-01-03"), day("2020-02-01")))
    ['A']
    """
    inside = {
        name: [(max(low, start), min(high, end)) for low, high in pairs if low <= end and high >= start and low <= high]
        for name, pairs in spans.items()
    }
    return {name: pairs for name, pairs in inside.items() if pairs}


def as_spans(instruments: Mapping[Any, Any]) -> Spans:
    """Return a user's dict of spans with Timestamps; open ends become the ends of time."""
    spans: Spans = {}
    for name, pairs in instruments.items():
        if isinstance(pairs, str) or not isinstance(pairs, Iterable):
            raise InputError(f"instruments: received {short(pairs)} for {name}; a list of (start, end) is allowed")
        try:
            bounds = [(timestamp(low, "start"), timestamp(high, "end")) for low, high in pairs]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"instruments: received {short(pairs)} for {name}; a list of (start, end) is allowed ({error})"
            ) from None
        spans[str(name)] = [
            (pd.Timestamp.min if low is None else low, pd.Timestamp.max if high is None else high)
            for low, high in bounds
        ]
    return spans


def short(thing: Any) -> str:
    """Return what a message shows of a thing."""
    text = repr(thing)
    return f"{text[:60]}{'...' if len(text) > 60 else ''} ({type(thing).__name__})"


class Universe:
    """Spans, by name and as arrays.

    Parameters
    ----------
    spans
        {name: [(start, end), ...]}, times without zone; never changed from here on.

    `names` are in ascending order, and instrument i is names[i]. Span k belongs to instrument number[k] and lasts from
    low[k] to high[k] (datetime64[ns]); the spans stand in the order of the dict.
    """

    __slots__ = ("_located", "_place", "high", "low", "names", "number", "spans")

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self.names = tuple(sorted(spans))
        number = {name: i for i, name in enumerate(self.names)}
        self._place = np.array([number[name] for name in spans], dtype=np.int64)
        self.number = np.repeat(self._place, [len(pairs) for pairs in spans.values()])
        bounds = [time.to_datetime64() for pair in chain.from_iterable(spans.values()) for time in pair]
        self.low, self.high = np.array(bounds, dtype="datetime64[ns]").reshape(-1, 2).T
        self._located: tuple[Calendar, np.ndarray, np.ndarray] | None = None

    def alive(self, start: pd.Timestamp, end: pd.Timestamp) -> np.ndarray:
        """Return for every instrument whether a part of its spans lies inside [start, end] (bool)."""
        alive = np.zeros(len(self.names), dtype=bool)
        alive[self.number[self._inside(start, end)]] = True
        return alive

    def listed(self, start: pd.Timestamp, end: pd.Timestamp) -> list[str]:
        """Return the names of those alive, in the order of the dict."""
        alive = self.alive(start, end)[self._place].tolist()
        return [name for name, one in zip(self.spans, alive, strict=True) if one]

    def _inside(self, start: pd.Timestamp, end: pd.Timestamp) -> np.ndarray:
        return (self.low <= end.to_datetime64()) & (self.high >= start.to_datetime64()) & (self.low <= self.high)

    def clip(self, start: pd.Timestamp, end: pd.Timestamp) -> Spans:
        """Return what lies inside [start, end]; an instrument with nothing there is left out."""
        inside = self._inside(start, end).tolist()
        whole = ((self.low >= start.to_datetime64()) & (self.high <= end.to_datetime64())).tolist()
        clipped: Spans = {}
        k = 0
        for name, pairs in self.spans.items():
            found = []
            for low, high in pairs:
                if inside[k]:
                    found.append((low, high) if whole[k] else (max(low, start), min(high, end)))
                k += 1
            if found:
                clipped[name] = found
        return clipped

    def located(self, calendar: Calendar) -> tuple[np.ndarray, np.ndarray]:
        """Return the spans as half-open ranges (begin, end) of calendar positions; found once for a calendar."""
        known = self._located
        if known is None or known[0] is not calendar:
            begin = np.searchsorted(calendar.times, self.low, side="left").astype(np.int64)
            end = np.searchsorted(calendar.times, self.high, side="right").astype(np.int64)
            known = self._located = (calendar, begin, end)
        return known[1], known[2]

    def ranges(self, calendar: Calendar) -> Ranges:
        """Return the spans of every instrument as ranges of calendar positions."""
        return Ranges.joined(self.number, *self.located(calendar))


def positions(pairs: Iterable[Span], calendar: Calendar) -> list[tuple[int, int]]:
    """Return the spans as (first, last) calendar positions, those that hold no entry left out."""
    bounds = np.array([(low.to_datetime64(), high.to_datetime64()) for low, high in pairs], dtype="datetime64[ns]")
    bounds = bounds.reshape(-1, 2)
    first = np.searchsorted(calendar.times, bounds[:, 0], side="left").tolist()
    last = (np.searchsorted(calendar.times, bounds[:, 1], side="right") - 1).tolist()
    return [(low, high) for low, high in zip(first, last, strict=True) if high >= low]


def alive(pairs: Iterable[Span], calendar: Calendar) -> np.ndarray:
    """Return for every calendar entry whether it lies in one of the spans (bool)."""
    inside = np.zeros(len(calendar), dtype=bool)
    for first, last in positions(pairs, calendar):
        inside[first : last + 1] = True
    return inside


def spans_by_name(
    names: Sequence[str], members: Ranges, calendar: Calendar, order: Iterable[str] | None = None
) -> Spans:
    """Return ranges of calendar positions as spans of calendar entries; who has none is left out.

    `order` are the names in the order in which they are wanted, if that is another one.
    """
    low, high = calendar.stamps[members.begin].tolist(), calendar.stamps[members.end - 1].tolist()
    pairs = list(zip(low, high, strict=True))
    bounds = np.searchsorted(members.instrument, np.arange(len(names) + 1)).tolist()
    spans = {name: pairs[bounds[i] : bounds[i + 1]] for i, name in enumerate(names) if bounds[i] < bounds[i + 1]}
    return spans if order is None else {name: spans[name] for name in order if name in spans}


def spans_of(inside: np.ndarray, calendar: Calendar) -> list[Span]:
    """Return the runs of True as spans of calendar entries: the inverse of `alive`."""
    steps = np.diff(inside.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    stamps = calendar.stamps
    return [
        (stamps[first], stamps[last - 1])
        for first, last in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True)
    ]

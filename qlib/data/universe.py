"""Which instrument belongs to a universe when: spans of time, both ends included.

    {"AAPL": [(2019-01-02, 2024-12-31)], "TWTR": [(2013-11-07, 2022-10-27)]}

`clip` cuts spans to a window; `alive` and `spans_of` go between spans and a yes/no for every calendar entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from qlib.data.calendar import Calendar

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


def spans_of(inside: np.ndarray, calendar: Calendar) -> list[Span]:
    """Return the runs of True as spans of calendar entries: the inverse of `alive`."""
    steps = np.diff(inside.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    stamps = calendar.stamps
    return [
        (stamps[first], stamps[last - 1])
        for first, last in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True)
    ]

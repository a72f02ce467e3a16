"""Runs of rows: the days, or other stretches of time, that an instrument's rows fall into.

    instrument   A  A  A  A  A  B  B  B
    time        01 01 02 02 02 02 03 03     day
    bounds       0     2        5  6        (and the end, 8)

A run never holds rows of two instruments.  What a row sees of its run is computed by `kernels/runs.pyx`, or by
`last_seen` and `next_seen`, which find rows instead of values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qlib.data.panel import Panel
from qlib.errors import MissingDataError

Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def calendar_of(panel: Panel, who: str) -> np.ndarray:
    """Return the times of the calendar, datetime64[ns].

    Raises MissingDataError, which names the operator, where nobody told them.
    """
    if panel.around.times is None:
        raise MissingDataError(f"{who} needs the times of the rows, and this panel has none: set panel.around.times")
    return panel.around.times


def dates_of(panel: Panel, who: str) -> np.ndarray:
    """Return the date of every calendar position, datetime64[D]."""
    return panel.once("dates", lambda: calendar_of(panel, who).astype("datetime64[D]"))


def days_of(panel: Panel, who: str) -> np.ndarray:
    """Return the bounds of each instrument's days, int64."""
    return panel.once("days", lambda: bounds_of(panel, dates_of(panel, who)))


def bounds_of(panel: Panel, labels: np.ndarray) -> np.ndarray:
    """Return where runs of rows with equal labels begin, and the end: int64.  `labels` has one for each position.

    >>> panel = Panel(("A", "B"), np.array([0, 3, 5]), np.array([0, 2]), {})
    >>> bounds_of(panel, np.array([1, 1, 2, 2])).tolist()
    [0, 2, 3, 5]
    """
    if not panel.rows:
        return np.zeros(1, dtype=np.int64)
    number = np.cumsum(np.concatenate([[0], labels[1:] != labels[:-1]]), dtype=np.int32)[panel.positions()]
    new = np.empty(panel.rows + 1, dtype=bool)
    np.not_equal(number[1:], number[:-1], out=new[1:-1])
    new[panel.start] = True
    return np.flatnonzero(new)


def first_row(bounds: np.ndarray) -> np.ndarray:
    """Return for every row the first row of its run."""
    return np.repeat(bounds[:-1], np.diff(bounds))


def last_row(bounds: np.ndarray) -> np.ndarray:
    """Return for every row the last row of its run."""
    return np.repeat(bounds[1:] - 1, np.diff(bounds))


def spread(kernel: Kernel, values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return what a kernel that spreads values over their runs makes of real numbers."""
    out = np.empty_like(values)
    kernel(values, bounds, out)
    return out


def begins_of(panel: Panel, labels: np.ndarray) -> np.ndarray:
    """Return where runs of equal labels begin, and the end: int64.

    >>> panel = Panel(("A", "B"), np.array([0, 3, 5]), np.array([0, 0]), {})
    >>> begins_of(panel, np.array([1, 1, 2, 2, 2])).tolist()
    [0, 2, 3, 5]
    """
    new = np.empty(panel.rows + 1, dtype=bool)
    new[1:-1] = labels[1:] != labels[:-1]
    new[panel.start] = True
    new[-1] = True
    return np.flatnonzero(new) if panel.rows else np.zeros(1, dtype=np.int64)


def last_seen(seen: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return for every row the last row of its run, up to itself, that is `seen`; -1 where there is none.

    >>> last_seen(np.array([True, False, False, False]), np.array([0, 2, 4])).tolist()
    [0, 0, -1, -1]
    """
    at = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), -1))
    at[at < first_row(begins)] = -1
    return at


def next_seen(seen: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return for every row the first row of its run, from itself on, that is `seen`; -1 where there is none.

    >>> next_seen(np.array([False, True, False, False]), np.array([0, 2, 4])).tolist()
    [1, 1, -1, -1]
    """
    at = np.minimum.accumulate(np.where(seen, np.arange(len(seen)), len(seen))[::-1])[::-1].copy()
    at[at > last_row(begins)] = -1
    return at


def read(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return values[at], NaN where `at` is -1.

    Only real numbers can be missing: for others, some row must have been seen.
    """
    if not len(values):
        return values.copy()
    found = values[np.maximum(at, 0)]
    if values.dtype.char in "fd":
        found[at < 0] = np.nan
    return found

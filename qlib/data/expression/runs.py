"""Runs of rows: the days, or other stretches of time, that an instrument's rows fall into.

    instrument   A  A  A  A  A  B  B  B
    time        01 01 02 02 02 02 03 03     day
    begins       0     2        5  6        (and the end, 8)

A run never holds rows of two instruments.  What a row sees of its run is computed for all rows at once: `last_seen`
and `next_seen` are what filling a gap needs, `running_sums` adds up without ever subtracting.
"""

from __future__ import annotations

import numpy as np

from qlib.data.panel import Panel
from qlib.errors import MissingDataError


def times_of(panel: Panel, who: str) -> np.ndarray:
    """Return the time of every row, datetime64[ns]; MissingDataError, naming the operator, where nobody told them."""
    if panel.around.times is None:
        raise MissingDataError(f"{who} needs the times of the rows, and this panel has none: set panel.around.times")
    return panel.once("row times", lambda: panel.around.times[panel.positions()])  # type: ignore[index]


def dates_of(panel: Panel, who: str) -> np.ndarray:
    """Return the date of every row, datetime64[D]."""
    return panel.once("row dates", lambda: times_of(panel, who).astype("datetime64[D]"))


def days_of(panel: Panel, who: str) -> np.ndarray:
    """Return where each instrument's days begin, and the end: int64."""
    return panel.once("days", lambda: begins_of(panel, dates_of(panel, who)))


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


def first_row(begins: np.ndarray) -> np.ndarray:
    """Return for every row the first row of its run."""
    return np.repeat(begins[:-1], np.diff(begins))


def last_row(begins: np.ndarray) -> np.ndarray:
    """Return for every row the last row of its run."""
    return np.repeat(begins[1:] - 1, np.diff(begins))


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


def running_sums(values: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return the sum of the run's values up to each row, float64; the values must be numbers.

    Sums of 1, 2, 4, ... neighbours are put together: nothing is subtracted, so a large value of one run leaves no trace
    in the next, and the error grows with the logarithm of the run's length.

    >>> running_sums(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 3, 4])).tolist()
    [1.0, 3.0, 6.0, 4.0]
    """
    sums = values.astype(np.float64)
    place = np.arange(len(sums)) - first_row(begins)
    step, longest = 1, int(np.diff(begins).max(initial=0))
    while step < longest:
        sums[step:] += np.where(place[step:] >= step, sums[:-step], 0.0)
        step *= 2
    return sums

"""What of a series is known, and why the rest has no bars.

    known        [start, end) the venue was asked, and what it has is stored
    absent       inside of known: opening times of bars that the venue does not have
    unavailable  the venue cannot be asked for it: before the listing, beyond its history, ...

    coverage.missing(start, end)    neither known nor unavailable: what a collector has to ask for

Sets of ranges are int64 arrays of shape (n, 2), [start, end) in ms UTC, ascending, apart from each other: the same
knowledge is the same array, in whatever order and pieces it came.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from qlib.errors import StoreError

BEFORE_LISTING: Final = "before the listing"
AFTER_DELISTING: Final = "after the delisting"
BEFORE_FIRST: Final = "before the venue's first bar"
NOT_AT_VENUE: Final = "hole at the venue"
NO_RANGES: Final = np.empty((0, 2), "int64")


class Gap(NamedTuple):
    """A range without bars, and why."""

    start: int
    end: int
    reason: str


def union(*sets: Any) -> np.ndarray:
    """Return the ranges that lie in any of the sets; ranges that touch become one.

    >>> union([[0, 5], [8, 9]], [[5, 6], [20, 30]]).tolist()
    [[0, 6], [8, 9], [20, 30]]
    """
    ranges = np.concatenate([np.asarray(one, "int64").reshape(-1, 2) for one in sets])
    ranges = ranges[ranges[:, 0] < ranges[:, 1]]
    if not len(ranges):
        return NO_RANGES
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    first = np.flatnonzero(np.r_[True, ranges[1:, 0] > reach[:-1]])
    return np.column_stack([ranges[first, 0], reach[np.r_[first[1:] - 1, -1]]])


def inside(ranges: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Tell for each time whether it lies in one of the ranges.

    >>> inside(union([[0, 5]]), np.array([-1, 0, 4, 5])).tolist()
    [False, True, True, False]
    """
    if not len(ranges):
        return np.zeros(len(times), "bool")
    at = np.searchsorted(ranges[:, 0], times, "right") - 1
    return (at >= 0) & (times < ranges[at, 1])


def without(ranges: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return what of `ranges` lies in none of `taken`.

    >>> without(union([[0, 10]]), union([[2, 3], [5, 6]])).tolist()
    [[0, 2], [3, 5], [6, 10]]
    """
    if not len(ranges) or not len(taken):
        return ranges
    edges = np.unique(np.concatenate([ranges.ravel(), taken.ravel()]))
    starts, ends = edges[:-1], edges[1:]
    kept = inside(ranges, starts) & ~inside(taken, starts)
    return union(np.column_stack([starts[kept], ends[kept]]))


class Bars(NamedTuple):
    """Of the bars that open in a page: where the first opens, where the first after them does, and which are not there.

    `absent` are ranges from the opening of a bar to the opening of the next, so that they do not depend on where a page
    begins and ends.
    """

    start: int
    end: int
    absent: np.ndarray


NO_BARS: Final = Bars(0, 0, NO_RANGES)
_MONTH: Final = 28 * 86_400_000


def bars_in(start: int, end: int, times: np.ndarray, opens: Callable[[int, int], np.ndarray], length: int) -> Bars:
    """Return which bars of a page [start, end) are not there.

    Parameters
    ----------
    times
        Opening times of those that are.
    opens
        Takes a range and returns the times at which bars open in it.
    length
        ms from one opening to the next (at least, for months).

    >>> tens = lambda a, b: np.arange(-(-a // 10) * 10, b, 10)
    >>> bars_in(5, 45, np.array([10, 20]), tens, 10)
    Bars(start=10, end=50, absent=array([[30, 50]]))
    """
    first, after = (int(opens(at, at + 4 * length)[0]) for at in (start, end))
    if length >= _MONTH:
        due = opens(first, after)
        gone = ~np.isin(due, times)
        absent = np.column_stack([due[gone], np.r_[due[1:], after][gone]])
    else:
        absent = np.column_stack([np.r_[first, times + length], np.r_[times, after]])
    return Bars(first, after, union(absent))


@dataclass
class Coverage:
    """What is known of one series; `parts` says how many rows each of its files holds."""

    known: np.ndarray = field(default_factory=lambda: NO_RANGES)
    absent: np.ndarray = field(default_factory=lambda: NO_RANGES)
    unavailable: dict[str, np.ndarray] = field(default_factory=dict)
    listed: int | None = None
    delisted: int | None = None
    parts: dict[str, int] = field(default_factory=dict)

    def learn(self, start: int, end: int, bars: Bars = NO_BARS) -> None:
        """Take down that all of [start, end) is known; what the venue says now counts more than what it said before."""
        page = union([[start, end]])
        self.known = union(self.known, page)
        self.absent = union(without(self.absent, union([bars[:2]])), bars.absent)
        self._available(page)

    def refuse(self, start: int, end: int, reason: str) -> None:
        """Take down that [start, end), as far as it is not known, cannot be had, and why."""
        new = without(union([[start, end]]), self.known)
        self._available(new)
        if len(new):
            self.unavailable[reason] = union(self.unavailable.get(reason, NO_RANGES), new)

    def missing(self, start: int, end: int) -> np.ndarray:
        """Return the ranges of [start, end) that the venue has to be asked for.

        >>> coverage = Coverage()
        >>> coverage.learn(10, 20)
        >>> coverage.refuse(0, 5, BEFORE_LISTING)
        >>> coverage.missing(0, 30).tolist()
        [[5, 10], [20, 30]]
        """
        return without(union([[start, end]]), union(self.known, *self.unavailable.values()))

    def _available(self, ranges: np.ndarray) -> None:
        for reason, refused in list(self.unavailable.items()):
            rest = without(refused, ranges)
            if len(rest):
                self.unavailable[reason] = rest
            else:
                del self.unavailable[reason]

    def to_json(self) -> str:
        """Return it as text; the same knowledge is the same text."""
        told = {
            "parts": dict(sorted(self.parts.items())),
            "listed": self.listed,
            "delisted": self.delisted,
            "known": self.known.tolist(),
            "absent": self.absent.tolist(),
            "unavailable": {reason: self.unavailable[reason].tolist() for reason in sorted(self.unavailable)},
        }
        return "{\n" + ",\n".join(f' "{name}": {json.dumps(value)}' for name, value in told.items()) + "\n}\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Coverage:
        """Return what `to_json` wrote; StoreError, naming `where`, for any other text."""
        try:
            told = json.loads(text)
            return cls(
                known=union(told["known"]),
                absent=union(told["absent"]),
                unavailable={str(reason): union(ranges) for reason, ranges in told["unavailable"].items()},
                listed=None if told["listed"] is None else int(told["listed"]),
                delisted=None if told["delisted"] is None else int(told["delisted"]),
                parts={str(name): int(rows) for name, rows in told["parts"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{where}: cannot be read ({type(error).__name__}: {error}); delete this file, and the next download "
                "asks for everything again (the stored bars stay)"
            ) from None

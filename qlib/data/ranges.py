"""Ranges of calendar positions, of many instruments at once.

    instrument   0  0  2        instrument 0 has positions 3 ... 6 and 9 ... 11, number 2 has 0 ... 4, number 1 has none
    begin        3  9  0
    end          7 12  5        half-open

They stand in order of instrument and position, and ranges of one instrument neither overlap nor touch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ARRAYS = ("instrument", "begin", "end")


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """Ranges in order; see the module. `joined` puts any into order.

    Parameters
    ----------
    instrument, begin, end
        int64, of one length.

    >>> ranges = Ranges.joined(np.array([2, 0, 0, 2]), np.array([0, 9, 3, 2]), np.array([3, 12, 7, 5]))
    >>> ranges.rows, ranges.counts(3).tolist(), ranges.of(0), ranges.of(2)
    (12, [7, 0, 5], [(3, 7), (9, 12)], [(0, 5)])
    """

    instrument: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    @classmethod
    def joined(cls, instrument: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Ranges:
        """Return what the given ranges cover together; they may be empty, overlap and stand in any order."""
        some = end > begin
        if not some.all():
            instrument, begin, end = instrument[some], begin[some], end[some]
        if not len(begin):
            return cls(*(np.empty(0, np.int64) for _ in range(3)))
        width = _width(end)
        left, right = instrument * width + begin, instrument * width + end
        if not (left[1:] >= left[:-1]).all():
            order = np.argsort(left, kind="stable")
            left, right = left[order], right[order]
        reach = np.maximum.accumulate(right)
        fresh = np.flatnonzero(np.concatenate([[True], left[1:] > reach[:-1]]))
        left, right = left[fresh], reach[np.append(fresh[1:], len(reach)) - 1]
        number = left // width
        return cls(number, left - number * width, right - number * width)

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def rows(self) -> int:
        """How many positions the ranges hold together."""
        return int((self.end - self.begin).sum())

    def counts(self, instruments: int) -> np.ndarray:
        """Return how many positions each of so many instruments has (int64)."""
        counts = np.zeros(instruments, np.int64)
        np.add.at(counts, self.instrument, self.end - self.begin)
        return counts

    def of(self, instrument: int) -> list[tuple[int, int]]:
        """Return the ranges of one instrument as (begin, end)."""
        low, high = np.searchsorted(self.instrument, [instrument, instrument + 1])
        return list(zip(self.begin[low:high].tolist(), self.end[low:high].tolist(), strict=True))

    def part(self, instruments: np.ndarray) -> Ranges:
        """Return the ranges of some instruments (bool, one for each), which are numbered anew from 0."""
        some = instruments[self.instrument]
        number = np.cumsum(instruments) - 1
        return Ranges(number[self.instrument[some]], self.begin[some], self.end[some])

    def within(self, low: int, high: int) -> Ranges:
        """Return the positions from `low` on and before `high`."""
        begin, end = np.maximum(self.begin, low), np.minimum(self.end, high)
        some = end > begin
        return Ranges(self.instrument[some], begin[some], end[some])

    def common(self, other: Ranges) -> Ranges:
        """Return the positions that are in both."""
        if not len(self) or not len(other):
            return Ranges.joined(*(np.empty(0, np.int64) for _ in range(3)))
        width = max(_width(self.end), _width(other.end))
        left, right = self.instrument * width + self.begin, self.instrument * width + self.end
        other_left, other_right = other.instrument * width + other.begin, other.instrument * width + other.end
        # Range k of ours meets the others from first[k] to last[k] - 1.
        first = np.searchsorted(other_right, left, side="right")
        last = np.searchsorted(other_left, right, side="left")
        meets = np.maximum(last - first, 0)
        ours = np.repeat(np.arange(len(self)), meets)
        theirs = np.arange(len(ours)) + np.repeat(first - (np.cumsum(meets) - meets), meets)
        return Ranges(
            self.instrument[ours],
            np.maximum(self.begin[ours], other.begin[theirs]),
            np.minimum(self.end[ours], other.end[theirs]),
        )

    def where(self, kept: np.ndarray) -> Ranges:
        """Return the positions for which `kept` (bool, one for each position in order) is true."""
        if not len(kept):
            return self
        lengths = self.end - self.begin
        row = np.concatenate([[0], np.cumsum(lengths)])  # where each range begins among the positions
        fresh, last = kept.copy(), kept.copy()
        fresh[1:] &= ~kept[:-1]
        last[:-1] &= ~kept[1:]
        fresh[row[:-1]] = kept[row[:-1]]
        last[row[1:] - 1] = kept[row[1:] - 1]
        first, end = np.flatnonzero(fresh), np.flatnonzero(last) + 1
        of = np.searchsorted(row, first, side="right") - 1
        shift = self.begin[of] - row[of]
        return Ranges(self.instrument[of], first + shift, end + shift)

    def gaps(self, instruments: int, low: int, high: int) -> Ranges:
        """Return the positions from `low` on and before `high` that so many instruments do not have."""
        inside, every = self.within(low, high), np.arange(instruments)
        begins = np.searchsorted(inside.instrument, every, side="left")
        ends = np.searchsorted(inside.instrument, every, side="right")
        number = np.insert(inside.instrument, begins, every)
        begin = np.insert(inside.end, begins, low)
        end = np.insert(inside.begin, ends, high)
        some = end > begin
        return Ranges(number[some], begin[some], end[some])

    @classmethod
    def together(cls, *many: Ranges) -> Ranges:
        """Return what several hold together."""
        return cls.joined(*(np.concatenate([getattr(one, name) for one in many]) for name in _ARRAYS))

    def of_instruments(self, some: np.ndarray) -> Ranges:
        """Return the ranges of some instruments (bool, one for each), which keep their numbers."""
        own = some[self.instrument]
        return Ranges(self.instrument[own], self.begin[own], self.end[own])

    def inside(self, other: Ranges) -> np.ndarray:
        """Return for every position, in order, whether it is in the other ranges too (bool)."""
        if not len(self) or not len(other):
            return np.zeros(self.rows, dtype=bool)
        width = max(_width(self.end), _width(other.end))
        own, others = (
            np.repeat(ranges.instrument, ranges.end - ranges.begin) * width + ranges.positions()
            for ranges in (self, other)
        )
        return np.isin(own, others, assume_unique=True)

    def positions(self) -> np.ndarray:
        """Return every position, instrument after instrument (int64)."""
        lengths = self.end - self.begin
        return np.arange(lengths.sum()) + np.repeat(self.begin - (np.cumsum(lengths) - lengths), lengths)


def _width(end: np.ndarray) -> int:
    """Return a step by which the positions of different instruments neither meet nor touch."""
    return int(end.max()) + 1

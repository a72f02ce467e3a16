"""Statistics of every date's rows, one column at a time: arrays only.

    dates = Dates(codes)              codes: which date each row belongs to
    dates.mean(x)                     one number per date
    dates.spread(dates.mean(x))       that number on every row of its date

Rows of one date lie together when a frame is sorted by (datetime, instrument); then a mean is one `np.add.reduceat`.
Otherwise the rows are brought together once and put back at the end (`gather`, `scatter`). Order statistics (median,
rank) sort many dates at once in a rectangle padded with NaN. Sums are taken in float64 whatever the column's type.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CELLS = 1 << 18  # size of a padded rectangle: it should stay in the cache


class Dates:
    """Rows grouped by date.

    Parameters
    ----------
    codes
        An integer per row, equal for rows of one date.
    """

    def __init__(self, codes: np.ndarray) -> None:
        self.rows = len(codes)
        self.order: np.ndarray | None = None
        if self.rows and (np.diff(codes) < 0).any():
            self.order = np.argsort(codes, kind="stable")
            codes = codes[self.order]
        changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        self.starts = np.concatenate([np.zeros(min(self.rows, 1), np.int64), changes])
        self.counts = np.diff(np.append(self.starts, self.rows))

    def gather(self, x: np.ndarray) -> np.ndarray:
        """Return the column with the rows of each date together; everything below expects that order."""
        return x if self.order is None else x[self.order]

    def scatter(self, x: np.ndarray, out: np.ndarray) -> None:
        """Write a gathered column to `out` in the order of the frame."""
        out[slice(None) if self.order is None else self.order] = x

    def spread(self, per_date: np.ndarray) -> np.ndarray:
        """Return every date's number on each of its rows."""
        return np.repeat(per_date, self.counts)

    def sum(self, x: np.ndarray) -> np.ndarray:
        return np.add.reduceat(x, self.starts, dtype=np.float64) if self.rows else np.empty(0)

    def mean(self, x: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return the mean of the values `seen` (a mask) by date; NaN where there is none."""
        with np.errstate(invalid="ignore"):
            return self.sum(np.where(seen, x, 0.0)) / self.sum(seen)

    def mean_and_std(self, x: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (ddof 1) of the values `seen` by date.

        The deviations are summed in a second pass, so a large level costs no digits.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            number = self.sum(seen)
            mean = self.sum(np.where(seen, x, 0.0)) / number
            away = np.where(seen, x - self.spread(mean), 0.0)
            variance = self.sum(away * away) / np.maximum(number - 1, 0)
        return mean, np.sqrt(variance)

    def _rectangles(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Yield (dates, rows, filled) of runs of dates: `filled` marks the padded rectangle's cells that are rows."""
        first = 0
        while first < len(self.counts):
            widest, last = 0, first
            while last < len(self.counts) and max(widest, self.counts[last]) * (last + 1 - first) <= CELLS:
                widest = max(widest, int(self.counts[last]))
                last += 1
            last = max(last, first + 1)
            counts = self.counts[first:last]
            low = int(self.starts[first])
            filled = np.arange(counts.max()) < counts[:, None]
            yield slice(first, last), slice(low, low + int(counts.sum())), filled
            first = last

    def median(self, x: np.ndarray) -> np.ndarray:
        """Return the median by date, NaN skipped, infinities counted; NaN where a date has no value."""
        out = np.empty(len(self.counts))
        for dates, rows, filled in self._rectangles():
            table = np.full(filled.shape, np.nan)
            table[filled] = x[rows]
            table.sort(axis=1)  # NaN goes last
            number = np.count_nonzero(~np.isnan(table), axis=1)
            line = np.arange(len(table))
            lower, upper = table[line, (number - 1) // 2], table[line, number // 2]
            with np.errstate(invalid="ignore"):  # the middle of -inf and inf
                out[dates] = (lower + upper) / 2
        return out

    def rank(self, x: np.ndarray) -> np.ndarray:
        """Return the rank within the date divided by the number of values: (0, 1], ties share their mean, NaN stays."""
        out = np.empty(self.rows)
        for _, rows, filled in self._rectangles():
            table = np.full(filled.shape, np.nan, x.dtype)
            table[filled] = x[rows]
            out[rows] = _rank_lines(table)[filled]
        return out


def _rank_lines(table: np.ndarray) -> np.ndarray:
    """Return the rank of every value in its line over the number of values there."""
    height, width = table.shape
    column, same = _order_lines(table)
    number = width - np.count_nonzero(np.isnan(table), axis=1)
    place = np.arange(1.0, width + 1)
    if same.any():
        ends = np.ones((height, width), bool)
        ends[:, :-1] = ~same
        starts = np.ones((height, width), bool)
        starts[:, 1:] = ~same
        first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
        last = np.minimum.accumulate(np.where(ends, place, width)[:, ::-1], axis=1)[:, ::-1]
        place = (first + last) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        ranks = place / number[:, None]
    out = np.empty(table.shape)
    out[np.arange(height)[:, None], column] = ranks
    out[np.isnan(table)] = np.nan
    return out


def _order_lines(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (columns of each line in ascending order, NaN last; whether each equals its successor)."""
    if table.dtype != np.float32:
        column = np.argsort(table, axis=1)
        ordered = np.take_along_axis(table, column, axis=1)
        return column, ordered[:, 1:] == ordered[:, :-1]
    # Value and column packed into one integer: sorting integers is several times faster than argsort.
    bits = (table + np.float32(0)).view(np.uint32)  # + 0 makes one zero of the two
    bits = np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))  # ascending like the floats
    bits[np.isnan(table)] = 0xFFFFFFFF
    keys = (bits.astype(np.uint64) << np.uint64(32)) | np.arange(table.shape[1], dtype=np.uint64)
    keys.sort(axis=1)
    bits = (keys >> np.uint64(32)).astype(np.uint32)
    column = (keys & np.uint64(0xFFFFFFFF)).astype(np.intp)
    return column, (bits[:, 1:] == bits[:, :-1]) & (bits[:, 1:] != 0xFFFFFFFF)

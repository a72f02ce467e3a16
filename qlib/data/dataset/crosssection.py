"""Statistics of every date's rows, one column at a time: arrays only.

    dates = Dates(codes)              codes: which date each row belongs to
    dates.mean(x, seen)               one number per date
    dates.spread(dates.mean(x, seen)) that number on every row of its date
    dates.apply(rank, x, False)       a compiled pass over the column (qlib.data.dataset.kernels)

Rows of one date lie together when a frame is sorted by (datetime, instrument). Otherwise the rows are brought together
once and put back at the end (`gather`, `scatter`). Sums are taken in float64 whatever the column's type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qlib.data.dataset import kernels


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
        if self.rows and (codes[1:] < codes[:-1]).any():
            self.order = np.argsort(codes, kind="stable")
            codes = codes[self.order]
        changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        self.starts = np.concatenate([np.zeros(min(self.rows, 1), np.int64), changes])
        self.bounds = np.append(self.starts, self.rows).astype(np.int64)
        self.counts = np.diff(self.bounds)

    def gather(self, x: np.ndarray) -> np.ndarray:
        """Return the column with the rows of each date together; everything below expects that order."""
        return x if self.order is None else x[self.order]

    def scatter(self, x: np.ndarray, out: np.ndarray) -> None:
        """Write a gathered column to `out` in the order of the frame."""
        out[slice(None) if self.order is None else self.order] = x

    def apply(self, kernel: Callable[..., None], x: np.ndarray, *arguments: Any) -> None:
        """Run kernel(x, bounds, ...), which changes the column in place; `x` is in the order of the frame."""
        if self.order is None and x.strides[0] == x.itemsize:
            kernel(x, self.bounds, *arguments)
        else:
            together = np.ascontiguousarray(self.gather(x))
            kernel(together, self.bounds, *arguments)
            self.scatter(together, x)

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

    def median(self, x: np.ndarray) -> np.ndarray:
        """Return the median by date, NaN skipped, infinities counted; NaN where a date has no value."""
        out = np.empty(len(self.counts))
        kernels.medians(np.ascontiguousarray(x), self.bounds, out)
        return out

"""Prediction and label, sorted by date once: what every per-date metric starts from.

dates   d0 d0 d0 d1 d1 ...       `start[k]:start[k+1]` are the rows of date k
pred    .3 .1 .2 .5 .4 ...       float64
label   .0 .1 .1 .2 .3 ...       float64
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qlib.errors import InputError, did_you_mean

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class CrossSections:
    """Rows grouped by date; inside a date they keep the order they came in."""

    dates: pd.Index
    start: Ints
    pred: Floats
    label: Floats

    @property
    def code(self) -> Ints:
        """Position of each row's date in `dates`."""
        return np.repeat(np.arange(len(self.dates)), np.diff(self.start))

    def sums(self, values: Floats) -> Floats:
        """Sum of `values` (one per row) over each date."""
        return np.add.reduceat(values, self.start[:-1]) if len(self.dates) else np.empty(0)

    def keep(self, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> CrossSections:
        """Keep some rows; a date may be left with none, and stays (its sums must not be asked then)."""
        start = np.concatenate([[0], np.cumsum(rows)])[self.start]
        return CrossSections(self.dates, start, self.pred[rows], self.label[rows])


def as_series(values: pd.Series | pd.DataFrame, what: str) -> pd.Series:
    """Return a Series; of a frame with one column, that column."""
    if isinstance(values, pd.DataFrame):
        if values.shape[1] != 1:
            raise InputError(
                f"{what} has columns {list(values.columns)}; a Series, or a frame with one column, is needed"
            )
        return values.iloc[:, 0]
    return values


def date_codes(index: pd.Index, date_col: str) -> tuple[Ints, pd.Index]:
    """Return for each row the position of its date in the sorted dates, and those dates; -1 for a missing date."""
    if date_col not in index.names:
        hint = did_you_mean(date_col, map(str, index.names))
        raise InputError(f"the index has no level {date_col!r}; its levels are {list(index.names)}{hint}")
    if isinstance(index, pd.MultiIndex):
        level = index.names.index(date_col)
        codes, names = np.asarray(index.codes[level], dtype=np.int64), index.levels[level]
        if not names.is_monotonic_increasing:
            order = np.argsort(names.to_numpy(), kind="stable")
            place = np.empty(len(order) + 1, dtype=np.int64)
            place[order], place[-1] = np.arange(len(order)), -1
            codes, names = place[codes], names[order]
        used = np.zeros(len(names), dtype=bool)
        used[codes[codes >= 0]] = True
        if not used.all():
            codes = np.where(codes >= 0, (np.cumsum(used) - 1)[codes], -1)
            names = names[used]
        return codes, names.rename(date_col)
    found, names = pd.factorize(index, sort=True)
    return found.astype(np.int64), pd.Index(names, name=date_col)


def cross_sections(
    pred: pd.Series | pd.DataFrame,
    label: pd.Series | pd.DataFrame,
    date_col: str = "datetime",
    *,
    dropna: bool = False,
) -> CrossSections:
    """Join prediction and label on their index (a row that only one of them has is NaN in the other).

    `dropna` leaves out rows, and so dates, where either is NaN.
    """
    pred, label = as_series(pred, "pred"), as_series(label, "label")
    for name, series in (("pred", pred), ("label", label)):
        if not series.index.is_unique:
            twice = series.index[series.index.duplicated()][0]
            raise InputError(f"{name} has several rows for {twice}; one row per date and instrument is allowed")
    if not pred.index.equals(label.index):
        both = pred.index.union(label.index)
        pred, label = pred.reindex(both), label.reindex(both)
    index = pred.index
    p, y = pred.to_numpy(dtype=np.float64), label.to_numpy(dtype=np.float64)
    if dropna:
        rows = ~(np.isnan(p) | np.isnan(y))
        index, p, y = index[rows], p[rows], y[rows]
    codes, dates = date_codes(index, date_col)
    if len(codes) and (codes < 0).any():
        rows = codes >= 0
        codes, p, y = codes[rows], p[rows], y[rows]
    if len(codes) > 1 and (np.diff(codes) < 0).any():
        order = np.argsort(codes, kind="stable")
        codes, p, y = codes[order], p[order], y[order]
    start = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(dates)))]).astype(np.int64)
    return CrossSections(dates, start, p, y)

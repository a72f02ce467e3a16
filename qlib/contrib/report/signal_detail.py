"""How the signal holds up: over time, over horizons, from one period to the next, and against the bell curve.

    quantiles   the IC of each period, in order, beside where a normal distribution would have it
    months      mean IC of every month
    decay       IC of the scores with the label of 0, 1, 2, ... periods later
    memory      correlation of the scores with those of 1, 2, 3, ... periods before
    breadth     how many instruments had a score, and a label, at each time

A label of k periods later starts k periods later and is as long as any other: the decay tells how soon a score must be
acted on, not what holding longer would earn.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.bootstrap import mean_test
from qlib.contrib.report.times import by_month, stamps

LAGS = (0, 1, 2, 3, 5, 8, 13, 21)
MOST_QUANTILES = 300
FEWEST = 2  # instruments below which a period has no correlation


def quantile_numbers(values: np.ndarray) -> dict[str, Any] | None:
    """The values in order and the normal quantiles of their places; None for fewer than eight values.

    `line` is where a normal distribution of the same mean and deviation would lie.
    """
    n = len(values)
    if n < 8:
        return None
    rows = np.unique(np.linspace(0, n - 1, min(n, MOST_QUANTILES)).round().astype(int))
    normal = np.array([NormalDist().inv_cdf((row + 0.5) / n) for row in rows])
    mean, std = float(values.mean()), float(values.std(ddof=1))
    apart = values - mean
    spread = float((apart**2).mean())
    return {
        "normal": normal.tolist(),
        "seen": np.sort(values)[rows].tolist(),
        "line": (mean + std * normal).tolist(),
        "skew": float((apart**3).mean()) / spread**1.5 if spread > 0 else None,
        "kurtosis": float((apart**4).mean()) / spread**2 if spread > 0 else None,
    }


def month_numbers(series: pd.Series) -> list[dict[str, Any]]:
    """Mean of each month and year, with the number of periods behind it."""
    times = pd.DatetimeIndex(series.index)
    values = series.to_numpy(float)
    return by_month(times, lambda chosen: float(values[chosen].mean()))


class Grid:
    """Scores or labels as a table (time, instrument), NaN where there is none."""

    def __init__(self, pred: pd.Series, label: pd.Series | None) -> None:
        index = pred.index if label is None else pred.index.union(label.index)
        self.times = pd.DatetimeIndex(index.get_level_values("datetime").unique().sort_values())
        self.names = index.get_level_values("instrument").unique()
        self.pred = self._table(pred)
        self.label = None if label is None else self._table(label)

    def _table(self, series: pd.Series) -> np.ndarray:
        table = np.full((len(self.times), len(self.names)), np.nan)
        rows = self.times.get_indexer(pd.DatetimeIndex(series.index.get_level_values("datetime")))
        table[rows, self.names.get_indexer(series.index.get_level_values("instrument"))] = series.to_numpy(float)
        return table


def row_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row of `x` with that of `y`, over the columns that both have.

    >>> row_correlations(np.array([[1.0, 2, 3], [0.1, 0.1, np.nan]]), np.array([[2.0, 4, 6], [1, 2, 3]]))
    array([ 1., nan])
    """
    seen = np.isfinite(x) & np.isfinite(y)
    count = seen.sum(axis=1)
    usable = (count >= FEWEST) & _varies(x, seen) & _varies(y, seen)
    x, y = _centred(x, seen), _centred(y, seen)
    found = np.full(len(x), np.nan)
    size = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    np.divide((x * y).sum(axis=1), size, out=found, where=usable & (size > 0))
    return np.clip(found, -1.0, 1.0)


def _varies(table: np.ndarray, seen: np.ndarray) -> np.ndarray:
    return np.where(seen, table, -np.inf).max(axis=1, initial=-np.inf) > np.where(seen, table, np.inf).min(
        axis=1, initial=np.inf
    )


def _centred(table: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Each row less its mean, its largest number 1, so that squares of tiny labels are not lost."""
    apart = np.where(seen, table, 0.0)
    apart = np.where(seen, apart - (apart.sum(axis=1) / np.maximum(seen.sum(axis=1), 1))[:, None], 0.0)
    largest = np.abs(apart).max(axis=1, initial=0.0)
    return apart / np.where(largest > 0, largest, 1.0)[:, None]


def decay_numbers(grid: Grid) -> dict[str, Any] | None:
    """Mean IC with the label of some periods later, and its standard error; None without a label."""
    if grid.label is None:
        return None
    n = len(grid.times)
    lags = [lag for lag in LAGS if lag < max(1, n - 1)]
    return _means(lags, [row_correlations(grid.pred[: n - lag], grid.label[lag:]) for lag in lags])


def memory_numbers(grid: Grid) -> dict[str, Any] | None:
    """Mean correlation of the scores with those of some periods before; None where there is one period."""
    n = len(grid.times)
    lags = [lag for lag in LAGS if 0 < lag < n]
    return _means(lags, [row_correlations(grid.pred[lag:], grid.pred[: n - lag]) for lag in lags]) if lags else None


def _means(lags: list[int], columns: list[np.ndarray]) -> dict[str, Any] | None:
    if all(np.isnan(column).all() for column in columns):
        return None
    tests = [mean_test(column) for column in columns]
    return {
        "lags": lags,
        "mean": [test.mean for test in tests],
        "standard_error": [test.error for test in tests],
        "t": [test.t for test in tests],
        "periods": [int(np.isfinite(column).sum()) for column in columns],
    }


def breadth_numbers(grid: Grid) -> dict[str, Any]:
    """Number of instruments with a score, and with a label, at each time."""
    return {
        "time": stamps(grid.times),
        "predicted": np.isfinite(grid.pred).sum(axis=1).tolist(),
        "labelled": None if grid.label is None else np.isfinite(grid.label).sum(axis=1).tolist(),
    }

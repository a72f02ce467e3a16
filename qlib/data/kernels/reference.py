"""What the kernels mean, each in a numpy sentence: the specification, and the oracle of the tests.

A sentence sees one window, oldest value first, and answers for its last row.  It is slow and looks at every value;
where a kernel disagrees with its sentence, the kernel is wrong.

    mean     the values seen, added up and divided by their number
    slope    the values seen against their row numbers, least squares
    ...      `ONE` for one series, `TWO` for two
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Sentence = Callable[[np.ndarray, float], float]
PairSentence = Callable[[np.ndarray, np.ndarray, float], float]


def seen(window: np.ndarray) -> np.ndarray:
    """Return the observations: neither missing nor infinite."""
    return window[np.isfinite(window)].astype(np.longdouble)


def flat(x: np.ndarray, tolerance: float) -> bool:
    """Say whether the values vary less than `tolerance` of their level."""
    return not ((x - x.mean()) ** 2).sum() > len(x) * (tolerance * x.mean()) ** 2


def _sum(window: np.ndarray, _: float) -> float:
    x = seen(window)
    return x.sum() if len(x) else np.nan


def _mean(window: np.ndarray, _: float) -> float:
    x = seen(window)
    return x.mean() if len(x) else np.nan


def _var(window: np.ndarray, _: float) -> float:
    x = seen(window)
    return ((x - x.mean()) ** 2).sum() / (len(x) - 1) if len(x) > 1 else np.nan


def _skew(window: np.ndarray, tolerance: float) -> float:
    x = seen(window)
    n = len(x)
    if n < 3 or flat(x, tolerance):
        return np.nan
    d = x - x.mean()
    return np.sqrt(n * (n - 1.0)) / (n - 2) * (d**3).mean() / (d**2).mean() ** 1.5


def _kurt(window: np.ndarray, tolerance: float) -> float:
    x = seen(window)
    n = len(x)
    if n < 4 or flat(x, tolerance):
        return np.nan
    d = x - x.mean()
    return ((n**2 - 1) * (d**4).mean() / (d**2).mean() ** 2 - 3 * (n - 1) ** 2) / ((n - 2) * (n - 3))


def _line(window: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return row numbers and values, each minus its mean, and the slope."""
    rows = np.flatnonzero(np.isfinite(window)).astype(np.longdouble)
    x = seen(window)
    i, d = rows - rows.mean(), x - x.mean()
    return i, d, (i * d).sum() / (i**2).sum()


def _slope(window: np.ndarray, _: float) -> float:
    return _line(window)[2] if len(seen(window)) > 1 else np.nan


def _resi(window: np.ndarray, _: float) -> float:
    if len(seen(window)) < 2 or not np.isfinite(window[-1]):
        return np.nan
    i, d, slope = _line(window)
    return d[-1] - slope * i[-1]


def _rsquare(window: np.ndarray, tolerance: float) -> float:
    if len(seen(window)) < 2 or flat(seen(window), tolerance):
        return np.nan
    i, d, slope = _line(window)
    return min(slope**2 * (i**2).sum() / (d**2).sum(), 1)


def _wma(window: np.ndarray, divide_again: float) -> float:
    weights = np.arange(1, len(window) + 1) * np.isfinite(window)
    if not weights.any():
        return np.nan
    total = (weights * np.where(np.isfinite(window), window, 0).astype(np.longdouble)).sum()
    if divide_again:
        return total / (len(window) * (len(window) + 1) / 2) / np.isfinite(window).sum()
    return total / weights.sum()


def _place(window: np.ndarray, best: Callable[[np.ndarray], float]) -> float:
    x = seen(window)
    return float(np.flatnonzero(window == best(x))[0] + 1) if len(x) else np.nan


def _place_or_gap(window: np.ndarray, best: Callable[[np.ndarray], float]) -> float:
    gaps = np.flatnonzero(~np.isfinite(window))
    return float(gaps[0] + 1) if len(gaps) and len(gaps) < len(window) else _place(window, best)


def _quantile(window: np.ndarray, q: float) -> float:
    x = np.sort(seen(window))
    if not len(x):
        return np.nan
    place = q * (len(x) - 1)
    low = int(place)
    return x[low] + (x[min(low + 1, len(x) - 1)] - x[low]) * (place - low)


def _rank(window: np.ndarray, _: float) -> float:
    x, now = seen(window), window[-1]
    return ((x < now).sum() + ((x == now).sum() + 1) / 2) / len(x) if np.isfinite(now) else np.nan


def _mad(window: np.ndarray, _: float) -> float:
    x = seen(window)
    return np.abs(x - x.mean()).mean() if len(x) else np.nan


def _weighted(window: np.ndarray, alpha: float, *, missing_is_zero: float = 0) -> float:
    weights = np.longdouble(1 - alpha) ** np.arange(len(window) - 1, -1, -1)
    if not len(seen(window)):
        return np.nan
    total = (weights * np.where(np.isfinite(window), window, 0)).sum()
    return total / (weights if missing_is_zero else weights * np.isfinite(window)).sum()


ONE: dict[str, Sentence] = {
    "count": lambda w, _: len(seen(w)),
    "count_infinite_too": lambda w, _: (~np.isnan(w)).sum(),
    "sum": _sum,
    "mean": _mean,
    "var": _var,
    "std": lambda w, _: np.sqrt(_var(w, 0)),
    "skew": _skew,
    "kurt": _kurt,
    "max": lambda w, _: seen(w).max(initial=-np.inf) if len(seen(w)) else np.nan,
    "min": lambda w, _: seen(w).min(initial=np.inf) if len(seen(w)) else np.nan,
    "idxmax": lambda w, _: _place(w, np.max),
    "idxmin": lambda w, _: _place(w, np.min),
    "idxmax_gap_first": lambda w, _: _place_or_gap(w, np.max),
    "idxmin_gap_first": lambda w, _: _place_or_gap(w, np.min),
    "slope": _slope,
    "resi": _resi,
    "rsquare": _rsquare,
    "wma": _wma,
    "quantile": _quantile,
    "rank": _rank,
    "mad": _mad,
    "ema": _weighted,
    "ema_expanding": lambda w, zero: _weighted(w, 2 / (len(w) + 1), missing_is_zero=zero),
    "origin": lambda w, _: w[0],
}


def _cov(left: np.ndarray, right: np.ndarray, _: float) -> float:
    x, y = seen(left), seen(right)
    return ((x - x.mean()) * (y - y.mean())).sum() / (len(x) - 1) if len(x) > 1 else np.nan


def _corr(left: np.ndarray, right: np.ndarray, tolerance: float) -> float:
    x, y = seen(left), seen(right)
    if len(x) < 2 or flat(x, tolerance) or flat(y, tolerance):
        return np.nan
    dx, dy = x - x.mean(), y - y.mean()
    return (dx * dy).sum() / np.sqrt((dx**2).sum() * (dy**2).sum())


TWO: dict[str, PairSentence] = {"cov": _cov, "corr": _corr}


def one(kernel: str, values: np.ndarray, window: int, parameter: float = 0.0) -> np.ndarray:
    """Return the statistic of one instrument's series, float64; window 0 means all rows so far.

    >>> one("mean", np.array([1.0, np.nan, 3.0, 5.0]), 2).tolist()
    [1.0, 1.0, 3.0, 4.0]
    """
    windows = (values[max(i - window + 1, 0) if window else 0 : i + 1] for i in range(len(values)))
    with np.errstate(all="ignore"):
        return np.array([ONE[kernel](w, parameter) for w in windows], dtype=np.float64)


def two(kernel: str, left: np.ndarray, right: np.ndarray, window: int, parameter: float = 0.0) -> np.ndarray:
    """Return the statistic of two series of one instrument; rows where either is missing are left out of both."""
    both = np.isfinite(left) & np.isfinite(right)
    left, right = np.where(both, left, np.nan), np.where(both, right, np.nan)
    windows = (slice(max(i - window + 1, 0) if window else 0, i + 1) for i in range(len(left)))
    with np.errstate(all="ignore"):
        return np.array([TWO[kernel](left[w], right[w], parameter) for w in windows], dtype=np.float64)

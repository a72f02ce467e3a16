"""What the statistics across instruments mean, each in a numpy sentence: specification, and oracle of the tests.

A sentence sees one bar: the members' values, one array a column, and answers for every member.  It is slow; where a
kernel disagrees with its sentence, the kernel is wrong.

    rank     how many are smaller, and half of those that are equal, divided by the number of values
    demean   the value minus the mean
    ...      `ACROSS` by name
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qlib.data.kernels.reference import flat

Sentence = Callable[..., np.ndarray | float]


def _rank(x: np.ndarray, shift: float) -> np.ndarray:
    smaller, equal = (x[:, None] > x).sum(axis=1), (x[:, None] == x).sum(axis=1)
    return (smaller + (equal + 1) / 2 - shift) / len(x)


def _zscore(x: np.ndarray, tolerance: float) -> np.ndarray:
    if len(x) < 2 or flat(x, tolerance):
        return x * np.nan
    d = x - x.mean()
    return d / np.sqrt((d**2).sum() / (len(x) - 1))


def _scale(x: np.ndarray, total: float) -> np.ndarray:
    return x / np.abs(x).sum() * total


def _quantile(x: np.ndarray, q: float) -> float:
    x = np.sort(x)
    place = q * (len(x) - 1)
    low = int(place)
    return x[low] + (x[min(low + 1, len(x) - 1)] - x[low]) * (place - low)


def _corr(x: np.ndarray, y: np.ndarray, tolerance: float) -> float:
    if len(x) < 2 or flat(x, tolerance) or flat(y, tolerance):
        return np.nan
    dx, dy = x - x.mean(), y - y.mean()
    return (dx * dy).sum() / np.sqrt((dx**2).sum() * (dy**2).sum())


def _residual(x: np.ndarray, intercepts: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
    """Return what least squares on some 0/1 columns and some factors leave of x."""
    if factors and len(x) <= intercepts.shape[1] + len(factors):
        return x * np.nan
    known = np.column_stack([intercepts, *factors]).astype(np.float64)
    known /= np.abs(known).max(axis=0) + (known == 0).all(axis=0)
    # Singular vectors of the space that the columns span; what they cannot tell apart counts once.
    left, sizes, _ = np.linalg.svd(known, full_matrices=False)
    base = left[:, sizes > 1e-7 * sizes.max()].astype(np.longdouble)
    for _ in range(2):
        x = x - base @ (base.T @ x)
    return x


def _neutralize(x: np.ndarray, *factors: np.ndarray) -> np.ndarray:
    return _residual(x, np.ones((len(x), 1)), factors)


def _neutralize_within(x: np.ndarray, *factors_and_group: np.ndarray) -> np.ndarray:
    *factors, group = factors_and_group
    return _residual(x, group[:, None] == np.unique(group), factors)


ACROSS: dict[str, Sentence] = {
    "rank": _rank,
    "zscore": _zscore,
    "demean": lambda x, _: x - x.mean(),
    "scale": _scale,
    "quantile": _quantile,
    "corr": _corr,
    "neutralize": lambda *columns: _neutralize(*columns[:-1]),
    "neutralize_within": lambda *columns: _neutralize_within(*columns[:-1]),
}
EVERY_MEMBER = ("quantile", "corr")


def bar(kernel: str, columns: Sequence[np.ndarray], parameter: float) -> np.ndarray:
    """Return the statistic of one bar, float64, for every member; NaN where a member is no observation.

    >>> bar("rank", [np.array([3.0, np.nan, 1.0, 3.0])], 0.0).tolist()
    [0.8333333333333334, nan, 0.3333333333333333, 0.8333333333333334]
    """
    seen = np.isfinite(np.stack(columns)).all(axis=0)
    out = np.full(len(seen), np.nan)
    if seen.any():
        with np.errstate(all="ignore"):
            value = ACROSS[kernel](*(np.asarray(column)[seen].astype(np.longdouble) for column in columns), parameter)
        out[slice(None) if kernel in EVERY_MEMBER else seen] = value
    return out

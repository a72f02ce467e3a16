"""Confidence intervals for series whose neighbours may be alike: the stationary bootstrap.

    series   r0 r1 r2 r3 r4 r5 r6            a draw is as long as the series and made of its pieces:
    draw     r4 r5 r6 | r1 r2 | r6 r0        each begins anywhere, its length is geometric with mean `block`,
                                             and what runs over the end goes on at the beginning

A statistic of many such draws spreads as that of the series would, were it observed again. The mean length of the
pieces is chosen from the series' own correlation with its past (`optimal_block`).

After Politis and Romano (1994); block length after Politis and White (2004) with the correction of Patton, Politis and
White (2009). The same seed gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlib.analysis.significance import MeanTest, Values, finite, newey_west
from qlib.errors import InputError, did_you_mean

Floats = np.ndarray[Any, np.dtype[np.float64]]
Statistic = Callable[[Floats], Floats]

_AT_ONCE = 4_000_000  # numbers that are drawn in one go: memory stays flat


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic and the range it would fall into, `level` of the time; `block` is the mean length of the pieces."""

    value: float
    low: float
    high: float
    level: float
    block: float
    draws: int
    bars: int


def bootstrap_interval(
    values: Values,
    statistic: str | Statistic = "mean",
    *,
    level: float = 0.95,
    draws: int = 1000,
    block: float | None = None,
    seed: int = 0,
) -> Interval:
    """Return a statistic of a series with its confidence interval.

    Parameters
    ----------
    values
        One number per bar, in time order: an IC, a return. Missing ones are left out.
    statistic
        "mean", "sharpe" (mean / deviation, per bar), or a function of an array (draws, bars) that gives one number a
        draw.
    level
        Share of the draws between `low` and `high`, the same share above and below.
    draws
        How many series are drawn.
    block
        Mean length of the pieces, at least 1 (every bar by itself); None: `optimal_block`.
    seed
        Beginning of the random numbers.

    With fewer than three values, or values that never vary, the ends are NaN.

    >>> rng = np.random.default_rng(1)
    >>> found = bootstrap_interval(rng.normal(0.02, 0.1, 400))
    >>> round(found.low, 3), round(found.value, 3), round(found.high, 3)
    (0.005, 0.012, 0.019)
    """
    compute = _statistic(statistic)
    if not 0 < level < 1:
        raise InputError(f"level: received {level!r}; a share between 0 and 1 is allowed, such as 0.95")
    _at_least_one(draws, "draws", whole=True)
    seen = finite(values, "values")
    if block is None:
        block = optimal_block(seen)
    _at_least_one(block, "block")
    if len(seen) < 3 or (seen == seen[0]).all():
        value = float(compute(seen[None])[0]) if len(seen) else math.nan
        return Interval(value, math.nan, math.nan, level, float(block), draws, len(seen))
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    rows = max(1, _AT_ONCE // len(seen))
    for first in range(0, draws, rows):
        some = min(rows, draws - first)
        found[first : first + some] = compute(seen[stationary_indices(len(seen), block, some, rng)])
    found = found[~np.isnan(found)]  # a draw that never varies has no ratio
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2]) if len(found) else (math.nan, math.nan)
    return Interval(float(compute(seen[None])[0]), float(low), float(high), level, float(block), draws, len(seen))


def stationary_indices(bars: int, block: float, draws: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return an array (draws, bars) of positions: pieces of geometric length with mean `block`, round the end.

    >>> stationary_indices(5, 1000.0, 1, np.random.default_rng(0)).tolist()      # one piece, from 3 on
    [[3, 4, 0, 1, 2]]
    """
    fresh = rng.random((draws, bars)) < 1 / block
    fresh[:, 0] = True
    begun = np.flatnonzero(fresh)  # the places where pieces begin, all draws in one row
    start = rng.integers(0, bars, len(begun))
    shift = np.repeat(start - begun % bars, np.diff(begun, append=draws * bars)).reshape(draws, bars)
    shift += np.arange(bars)
    shift[shift >= bars] -= bars
    return shift


def optimal_block(values: Values) -> float:
    """Return the mean length of pieces (at least 1) that suits a series: longer, the longer it remembers.

    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(size=1000)
    >>> slow = np.convolve(noise, np.ones(20), "valid")
    >>> optimal_block(noise) < 5 < 20 < optimal_block(slow)
    True
    """
    seen = finite(values, "values")
    n = len(seen)
    if n < 3 or (seen == seen[0]).all():
        return 1.0
    lag, covariance = _remembered(seen)
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    width = min(2 * max(lag, 1), len(covariance) - 1)
    k = np.arange(1, width + 1)
    weight = np.clip(2 * (1 - k / width), 0.0, 1.0)  # flat up to the half, then falling to 0
    slope = 2 * float((weight * k * covariance[1 : width + 1]).sum())
    level = float(covariance[0] + 2 * (weight * covariance[1 : width + 1]).sum())
    if not level > 0:
        return 1.0
    best = (2 * slope**2 / (2 * level**2)) ** (1 / 3) * n ** (1 / 3)
    return float(min(max(best, 1.0), longest))


def mean_test(values: Values) -> MeanTest:
    """Return the mean of a series with `newey_west`'s error, over twice as many neighbours as it remembers.

    No fewer than by the usual rule. Labels over 24 bars make a series that remembers 23: the usual rule looks at 7 of
    them in 2,000 bars, and calls noise certain.

    >>> noise = np.random.default_rng(1).normal(size=2000)
    >>> mean_test(noise).lags, mean_test(np.convolve(noise, np.ones(24), "valid")).lags >= 2 * 20
    (7, True)
    """
    usual = newey_west(values)
    seen = finite(values, "values")
    if not math.isfinite(usual.error):
        return usual
    twice = min(2 * _remembered(seen)[0], len(seen) - 1)
    return usual if twice <= usual.lags else newey_west(seen, lags=twice)


def _remembered(seen: Floats) -> tuple[int, Floats]:
    """Return how many neighbours a series is correlated with, and its covariances from lag 0 on, some lags farther."""
    n = len(seen)
    quiet = max(5, math.ceil(math.sqrt(math.log10(n))))  # so many lags in a row without correlation end the memory
    furthest = min(math.ceil(math.sqrt(n)) + quiet, n - 1)
    away = (seen - seen.mean()) / np.abs(seen - seen.mean()).max()
    size = 2 ** math.ceil(math.log2(2 * n))
    spectrum = np.fft.rfft(away, size)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), size)[: furthest + 1] / n
    loud = np.abs(covariance[1:] / covariance[0]) >= 2 * math.sqrt(math.log10(n) / n)
    return _last_before_quiet(loud, quiet), covariance


def _last_before_quiet(loud: np.ndarray[Any, np.dtype[np.bool_]], quiet: int) -> int:
    """Return the smallest lag that `quiet` lags without correlation follow; without one, the last that has some."""
    runs = np.convolve(loud, np.ones(quiet), "valid") if len(loud) >= quiet else np.ones(1)
    calm = np.flatnonzero(runs == 0)
    if len(calm):
        return int(calm[0])
    return int(np.flatnonzero(loud)[-1]) + 1 if loud.any() else 0


def _sharpe(draws: Floats) -> Floats:
    if draws.shape[1] < 2:
        return np.full(len(draws), np.nan)
    mean, deviation = draws.mean(axis=1), draws.std(axis=1, ddof=1)
    varies = deviation > 1e-12 * np.abs(mean)  # what rounding leaves of a draw that never varies is no deviation
    return np.divide(mean, deviation, out=np.full(len(draws), np.nan), where=varies)


STATISTICS: dict[str, Statistic] = {"mean": lambda draws: draws.mean(axis=1), "sharpe": _sharpe}


def _statistic(name: str | Statistic) -> Statistic:
    if not isinstance(name, str):
        return name
    if name not in STATISTICS:
        raise InputError(
            f"statistic: received {name!r}; allowed are {', '.join(STATISTICS)} and a function"
            f"{did_you_mean(name, STATISTICS)}"
        )
    return STATISTICS[name]


def _at_least_one(value: float, what: str, *, whole: bool = False) -> None:
    if isinstance(value, bool) or not value >= 1 or not math.isfinite(value) or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise InputError(f"{what}: received {value!r}; {kind} of at least 1 is needed")

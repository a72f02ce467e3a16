"""How sure a result is: what luck alone would have shown, given its length, its shape and the number of tries.

    returns per bar ─► moments: Sharpe, bars, skew, kurtosis
                          ├─► probabilistic_sharpe    how sure is it that the true ratio is above a benchmark?
                          ├─► deflated_sharpe         ... above what the best of N worthless tries would have shown?
                          └─► minimum_track_record    how many bars would have to be seen to be that sure?
    IC per date ─────────► newey_west                 t of a mean whose neighbours may be alike

Ratios here are per bar: mean / deviation (ddof 1), not multiplied by the root of the bars in a year. A yearly ratio is
one of these times sqrt(N), with N from `qlib.analysis.risk.periods_per_year`. Missing values are left out, infinite
ones are an error. What cannot be said (too few bars, returns that never vary) is NaN.

After Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier" (2012) and "The Deflated Sharpe Ratio" (2014),
and Newey and West (1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from qlib.errors import InputError

Values = pd.Series | np.ndarray[Any, Any] | Sequence[float]

_NORMAL = NormalDist()
_EULER = 0.5772156649015329


@dataclass(frozen=True, slots=True)
class Moments:
    """What a return series tells about its Sharpe ratio: the ratio per bar, the bars, and the shape of the returns.

    `kurtosis` is 3 for the normal distribution; `skew` and `kurtosis` are those of the sample (divided by n).
    """

    sharpe: float
    bars: int
    skew: float = 0.0
    kurtosis: float = 3.0

    @property
    def error(self) -> float:
        """Standard error of the ratio; NaN for fewer than two bars."""
        spread = 1 - self.skew * self.sharpe + (self.kurtosis - 1) / 4 * self.sharpe**2
        return math.sqrt(spread / (self.bars - 1)) if self.bars > 1 and spread > 0 else math.nan


@dataclass(frozen=True, slots=True)
class MeanTest:
    """A mean with its standard error: `t = mean / error`, `p` two-sided, `lags` neighbours that were looked at."""

    mean: float
    error: float
    t: float
    p: float
    lags: int
    bars: int


def moments(returns: Values) -> Moments:
    """Return the Moments of returns per bar; the ratio is NaN when there are fewer than two or they never vary.

    >>> found = moments([0.01, -0.01, 0.02, 0.0])
    >>> found.bars, round(found.sharpe, 4), round(found.kurtosis, 4)
    (4, 0.3873, 1.64)
    """
    seen = finite(returns, "returns")
    if len(seen) < 2 or (seen == seen[0]).all():
        return Moments(math.nan, len(seen), math.nan, math.nan)
    mean = float(seen.mean())
    largest = float(np.abs(seen - mean).max())
    away = (seen - mean) / largest  # squares and fourth powers of tiny returns stay in range
    second = float((away**2).mean())
    sharpe = mean / largest / math.sqrt(second * len(seen) / (len(seen) - 1))
    skew, kurtosis = float((away**3).mean()) / second**1.5, float((away**4).mean()) / second**2
    return Moments(sharpe, len(seen), skew, kurtosis)


def probabilistic_sharpe(returns: Values | Moments, benchmark: float = 0.0) -> float:
    """Return how probable it is (0 to 1) that the true ratio per bar lies above `benchmark`: the PSR.

    >>> rng = np.random.default_rng(0)
    >>> round(probabilistic_sharpe(rng.normal(0.001, 0.01, 500)), 3)
    0.945
    """
    seen = _moments(returns)
    _number(benchmark, "benchmark")
    return _NORMAL.cdf((seen.sharpe - benchmark) / seen.error) if math.isfinite(seen.error) else math.nan


def expected_best_sharpe(trials: int, deviation: float) -> float:
    """Return the ratio that the best of `trials` independent worthless tries shows on average.

    `deviation` is the standard deviation of the tries' ratios. One try shows 0.

    >>> round(expected_best_sharpe(100, (0.5 / 250) ** 0.5), 4)      # the example of the paper, per day
    0.1132
    """
    if isinstance(trials, bool) or trials != int(trials) or trials < 1:
        raise InputError(f"trials: received {trials!r}; a whole number of at least 1 is needed")
    if not deviation >= 0:
        raise InputError(f"deviation: received {deviation!r}; the deviation of the tries' ratios is 0 or more")
    if trials == 1:
        return 0.0
    highest = (1 - _EULER) * _NORMAL.inv_cdf(1 - 1 / trials) + _EULER * _NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return float(deviation) * highest


def deflated_sharpe(returns: Values | Moments, trials: int, deviation: float | None = None) -> float:
    """Return how probable it is that the true ratio is above what the best of worthless tries would have shown.

    Parameters
    ----------
    returns
        Returns per bar of the chosen try, or their Moments.
    trials
        Tries that were made on these data, this one included; they count as independent, which is the strict view.
    deviation
        Standard deviation of the tries' ratios per bar; None: what noise alone would show over as many bars,
        1 / sqrt(bars - 1).

    >>> chosen = Moments(2.5 / 250**0.5, 1250, skew=-3, kurtosis=10)
    >>> [round(deflated_sharpe(chosen, n, (0.5 / 250) ** 0.5), 4) for n in (1, 46, 100)]     # 46, 100: as in the paper
    [1.0, 0.9505, 0.9004]
    """
    seen = _moments(returns)
    if deviation is None:
        if seen.bars < 2:
            return math.nan
        deviation = 1 / math.sqrt(seen.bars - 1)
    return probabilistic_sharpe(seen, expected_best_sharpe(trials, deviation))


def minimum_track_record(returns: Values | Moments, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Return the number of bars after which a ratio like this one is surely (`confidence`) above `benchmark`.

    Infinite when the ratio is not above the benchmark: no length would do.

    >>> daily = Moments(2 / 250**0.5, 1250)                     # normal returns, a yearly ratio of 2 against 1
    >>> round(minimum_track_record(daily, 1 / 250**0.5) / 250, 2)
    2.73
    """
    seen = _moments(returns)
    _number(benchmark, "benchmark")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: received {confidence!r}; a share between 0 and 1 is allowed, such as 0.95")
    if not math.isfinite(seen.error):
        return math.nan
    if seen.sharpe <= benchmark:
        return math.inf
    spread = seen.error**2 * (seen.bars - 1)
    return 1 + spread * (_NORMAL.inv_cdf(confidence) / (seen.sharpe - benchmark)) ** 2


def newey_west(values: Values, lags: int | None = None) -> MeanTest:
    """Return the mean of a series with a standard error that counts on its neighbours being alike.

    Parameters
    ----------
    values
        One number per date, in time order, such as the IC.
    lags
        How many neighbours are looked at, with Bartlett's weights; None: 4 (n / 100)^(2/9), rounded down. Labels over
        h bars overlap with h - 1 neighbours: look at no fewer.

    The variance is multiplied by n / (n - 1), so that without lags this is the t everyone knows.

    >>> test = newey_west([0.02, 0.03, -0.01, 0.04, 0.02, 0.01], lags=0)
    >>> round(test.t, 4), round(test.p, 3)
    (2.6073, 0.009)
    """
    seen = finite(values, "values")
    n = len(seen)
    if lags is None:
        lags = min(int(4 * (n / 100) ** (2 / 9)), max(n - 1, 0))
    elif isinstance(lags, bool) or lags != int(lags) or lags < 0:
        raise InputError(f"lags: received {lags!r}; a whole number of at least 0 is needed")
    lags = int(lags)
    mean = float(seen.mean()) if n else math.nan
    if n < 2 or (seen == seen[0]).all():
        return MeanTest(mean, math.nan, math.nan, math.nan, lags, n)
    away = seen - mean
    variance = float(away @ away)
    for lag in range(1, min(lags, n - 1) + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(away[lag:] @ away[:-lag])
    error = math.sqrt(max(variance, 0.0) / n / (n - 1))
    if not error > 0:
        return MeanTest(mean, math.nan, math.nan, math.nan, lags, n)
    t = mean / error
    return MeanTest(mean, error, t, 2 * _NORMAL.cdf(-abs(t)), lags, n)


def finite(values: Values, what: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the numbers of a series without the missing ones; raise InputError if any is infinite."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise InputError(f"{what}: received {numbers.ndim} dimensions; one number per bar is needed")
    if np.isinf(numbers).any():
        raise InputError(f"{what}: {int(np.isinf(numbers).sum())} of {len(numbers)} are infinite")
    return numbers[~np.isnan(numbers)]


def _moments(returns: Values | Moments) -> Moments:
    return returns if isinstance(returns, Moments) else moments(returns)


def _number(value: float, what: str) -> None:
    if not math.isfinite(value):
        raise InputError(f"{what}: received {value!r}; a ratio per bar is needed")

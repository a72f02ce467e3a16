"""Figures of a return series, compounded: growth, risk, and one over the other.

    returns per bar     0.01 is one per cent; missing ones are left out, infinite ones are an error
    N                   bars in a year, `qlib.analysis.risk.periods_per_year`

    growth      cumulative_returns, total_return, annual_return, aggregate_returns
    risk        annual_volatility, downside_risk, max_drawdown, value_at_risk, conditional_value_at_risk
    ratios      sharpe_ratio, sortino_ratio, calmar_ratio, omega_ratio, tail_ratio, stability
    shape       skew, excess_kurtosis, hit_rate, payoff_ratio, profit_factor
    rolling     any of them over a moving window

What cannot be said (nothing seen, returns that never vary or never fall) is NaN. Figures against a benchmark are in
`qlib.analysis.relative`; what luck would have shown, in `qlib.analysis.significance`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.analysis.risk import drawdown
from qlib.analysis.significance import Values, finite, moments
from qlib.errors import InputError, did_you_mean

Floats = np.ndarray[Any, np.dtype[np.float64]]

SPANS: Final = {"week": "W-SUN", "month": "M", "quarter": "Q", "year": "Y"}


# --------------------------------------------------------------------------------------------------------- growth
def simple_returns(prices: pd.Series) -> pd.Series:
    """Return the change from price to price as a share of the former; the first price has none.

    >>> simple_returns(pd.Series([100.0, 110.0, 99.0])).round(6).tolist()
    [0.1, -0.1]
    """
    return (prices / prices.shift() - 1).iloc[1:]


def cumulative_returns(returns: pd.Series) -> pd.Series:
    """Return the growth from the start to the end of each bar; a missing return is a bar without growth.

    >>> cumulative_returns(pd.Series([0.1, -0.1])).round(6).tolist()
    [0.1, -0.01]
    """
    finite(returns, "returns")
    return (1 + returns.fillna(0.0)).cumprod() - 1


def total_return(returns: Values) -> float:
    """Return the growth over all bars.

    >>> round(total_return([0.1, -0.1]), 6)
    -0.01
    """
    seen = finite(returns, "returns")
    return float(np.prod(1 + seen) - 1) if len(seen) else math.nan


def annual_return(returns: Values, N: float) -> float:
    """Return the yearly growth that gives the total in as many bars: (1 + total)^(N / bars) - 1; after ruin, -1.

    >>> round(annual_return([0.01] * 12, N=12), 6)
    0.126825
    """
    seen = finite(returns, "returns")
    _year(N)
    if not len(seen):
        return math.nan
    grown = float(np.prod(1 + seen))
    return grown ** (N / len(seen)) - 1 if grown > 0 else -1.0


def aggregate_returns(returns: pd.Series, span: str) -> pd.Series:
    """Return the growth in each week (to Sunday), month, quarter or year, by its period.

    >>> r = pd.Series([0.1, 0.1, 0.5], index=pd.to_datetime(["2024-01-30", "2024-01-31", "2024-02-01"]))
    >>> {str(month): round(growth, 6) for month, growth in aggregate_returns(r, "month").items()}
    {'2024-01': 0.21, '2024-02': 0.5}
    """
    if span not in SPANS:
        raise InputError(f"span: received {span!r}; allowed are {', '.join(SPANS)}{did_you_mean(str(span), SPANS)}")
    finite(returns, "returns")
    if not isinstance(returns.index, pd.DatetimeIndex):
        raise InputError(f"returns: the index is {type(returns.index).__name__}; times are needed to know a {span}")
    grown = (1 + returns.dropna()).groupby(pd.DatetimeIndex(returns.dropna().index).to_period(SPANS[span])).prod()
    return grown - 1


# ----------------------------------------------------------------------------------------------------------- risk
def annual_volatility(returns: Values, N: float) -> float:
    """Return the standard deviation (ddof 1) times the root of N."""
    seen = finite(returns, "returns")
    _year(N)
    return float(seen.std(ddof=1)) * math.sqrt(N) if len(seen) > 1 else math.nan


def downside_risk(returns: Values, N: float, required: float = 0.0) -> float:
    """Return the root of the mean square of what each bar lacks of `required`, times the root of N."""
    seen = finite(returns, "returns")
    _year(N)
    if not len(seen):
        return math.nan
    return math.sqrt(float(np.mean(np.minimum(seen - required, 0.0) ** 2)) * N)


def max_drawdown(returns: Values) -> float:
    """Return the deepest fall below the highest point so far, the start included, as a share of it (below 0).

    >>> round(max_drawdown([-0.1, 0.5, -0.2]), 6)
    -0.2
    """
    seen = finite(returns, "returns")
    return min(float(drawdown(pd.Series(seen)).min()), 0.0) if len(seen) else math.nan


def value_at_risk(returns: Values, cutoff: float = 0.05) -> float:
    """Return the return that a share `cutoff` of the bars is not above (interpolated between the two nearest)."""
    seen = finite(returns, "returns")
    _share(cutoff)
    return float(np.quantile(seen, cutoff)) if len(seen) else math.nan


def conditional_value_at_risk(returns: Values, cutoff: float = 0.05) -> float:
    """Return the mean of the worst bars: the first floor((n - 1) x cutoff) + 1 of them, from the worst on."""
    seen = finite(returns, "returns")
    _share(cutoff)
    return float(np.sort(seen)[: int((len(seen) - 1) * cutoff) + 1].mean()) if len(seen) else math.nan


# --------------------------------------------------------------------------------------------------------- ratios
def sharpe_ratio(returns: Values, N: float, risk_free: float = 0.0) -> float:
    """Return mean over deviation of the returns above `risk_free` (per bar), times the root of N.

    >>> round(sharpe_ratio([0.01, -0.01, 0.02, 0.0], N=252), 4)
    6.1482
    """
    _year(N)
    seen = finite(returns, "returns") - risk_free
    return moments(seen).sharpe * math.sqrt(N)


def sortino_ratio(returns: Values, N: float, required: float = 0.0) -> float:
    """Return the yearly mean above `required` (per bar) over the downside risk; NaN where nothing fell below."""
    seen = finite(returns, "returns")
    risk = downside_risk(seen, N, required)
    return float((seen - required).mean()) * N / risk if risk > 0 else math.nan


def calmar_ratio(returns: Values, N: float) -> float:
    """Return the yearly growth over the deepest fall; NaN without a fall."""
    fall = max_drawdown(returns)
    return annual_return(returns, N) / -fall if fall < 0 else math.nan


def omega_ratio(returns: Values, N: float, required: float = 0.0, risk_free: float = 0.0) -> float:
    """Return what the bars had above a threshold over what they lacked below it.

    The threshold is `risk_free` (per bar) and the part of a bar in the yearly growth `required`.
    """
    _year(N)
    if required <= -1:
        raise InputError(f"required: received {required!r}; a yearly growth above -1 is needed")
    over = finite(returns, "returns") - risk_free - ((1 + required) ** (1 / N) - 1)
    lacked = -float(over[over < 0].sum())
    return float(over[over > 0].sum()) / lacked if lacked > 0 else math.nan


def tail_ratio(returns: Values) -> float:
    """Return the 95th over the 5th percentile of the returns, both without sign."""
    seen = finite(returns, "returns")
    if not len(seen):
        return math.nan
    high, low = np.abs(np.quantile(seen, [0.95, 0.05]))
    return float(high / low) if low > 0 else math.nan


def stability(returns: Values) -> float:
    """Return how straight the logarithm of the equity climbs or falls: R squared of its line, 0 to 1."""
    seen = finite(returns, "returns")
    if len(seen) < 2 or (seen <= -1).any():
        return math.nan
    curve = np.log1p(seen).cumsum()
    away, time = curve - curve.mean(), np.arange(len(curve)) - (len(curve) - 1) / 2
    total = float(away @ away)
    return float(away @ time) ** 2 / (total * float(time @ time)) if total > 0 else math.nan


# ---------------------------------------------------------------------------------------------------------- shape
def skew(returns: Values) -> float:
    """Return the skewness of the sample (divided by n)."""
    return moments(returns).skew


def excess_kurtosis(returns: Values) -> float:
    """Return the kurtosis of the sample (divided by n), less the 3 of the normal distribution."""
    return moments(returns).kurtosis - 3


def hit_rate(returns: Values) -> float:
    """Return the share of bars above 0."""
    seen = finite(returns, "returns")
    return float((seen > 0).mean()) if len(seen) else math.nan


def payoff_ratio(returns: Values) -> float:
    """Return the mean gain over the mean loss."""
    seen = finite(returns, "returns")
    gains, losses = seen[seen > 0], seen[seen < 0]
    return float(gains.mean() / -losses.mean()) if len(gains) and len(losses) else math.nan


def profit_factor(returns: Values) -> float:
    """Return the sum of gains over the sum of losses.

    >>> profit_factor([0.03, -0.01, -0.01])
    1.5
    """
    seen = finite(returns, "returns")
    lost = -float(seen[seen < 0].sum())
    return float(seen[seen > 0].sum()) / lost if lost > 0 else math.nan


# -------------------------------------------------------------------------------------------------------- windows
def rolling(figure: Callable[..., float], window: int, *series: pd.Series, **arguments: Any) -> pd.Series:
    """Return a figure of the last `window` bars, from the first bar that has as many.

    Parameters
    ----------
    figure
        Any figure of this module or of `qlib.analysis.relative`.
    series
        What it takes: returns, or returns and a benchmark over the same bars.
    arguments
        Its other arguments, such as N.

    >>> r = pd.Series([0.1, -0.1, 0.2, 0.1])
    >>> rolling(total_return, 2, r).round(4).tolist()
    [-0.01, 0.08, 0.32]
    """
    if isinstance(window, bool) or window != int(window) or window < 1:
        raise InputError(f"window: received {window!r}; a whole number of at least 1 is needed")
    first = series[0]
    for other in series[1:]:
        if not other.index.equals(first.index):
            raise InputError("rolling: the series have other bars than the first; align them before")
    values = [one.to_numpy(dtype=np.float64) for one in series]
    ends = range(int(window), len(first) + 1)
    found = [figure(*(one[end - int(window) : end] for one in values), **arguments) for end in ends]
    return pd.Series(found, index=first.index[int(window) - 1 :], dtype=np.float64)


def _year(N: float) -> None:
    if not (N > 0 and math.isfinite(N)):
        raise InputError(f"N: received {N!r}; the bars in a year are a number above 0")


def _share(cutoff: float) -> None:
    if not 0 < cutoff < 1:
        raise InputError(f"cutoff: received {cutoff!r}; a share between 0 and 1 is allowed, such as 0.05")

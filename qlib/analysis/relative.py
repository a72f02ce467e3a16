"""Figures of returns against those of a benchmark, over the bars that both have.

    active return       returns - benchmark
    beta, alpha         returns = alpha + beta x benchmark + rest; alpha as growth a year
    captures            yearly growth over that of the benchmark, in all bars, in those it rose or fell in
    batting average     share of bars with an active return above 0

`N` is the number of bars in a year. What cannot be said (too few bars, a benchmark that never moves) is NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.performance import annual_return
from qlib.analysis.significance import Values, moments
from qlib.errors import InputError

Floats = np.ndarray[Any, np.dtype[np.float64]]


def pairs(returns: Values, benchmark: Values) -> tuple[Floats, Floats]:
    """Return both series over the bars that both have; two Series are joined on their index.

    >>> pairs([0.1, float("nan"), 0.3], [0.0, 0.1, 0.2])
    (array([0.1, 0.3]), array([0. , 0.2]))
    """
    if (
        isinstance(returns, pd.Series)
        and isinstance(benchmark, pd.Series)
        and not returns.index.equals(benchmark.index)
    ):
        returns, benchmark = returns.align(benchmark, join="inner")
    r, b = np.asarray(returns, dtype=np.float64), np.asarray(benchmark, dtype=np.float64)
    if r.shape != b.shape or r.ndim != 1:
        raise InputError(f"returns and benchmark: received {r.shape} and {b.shape}; one number per bar each is needed")
    both = ~(np.isnan(r) | np.isnan(b))
    r, b = r[both], b[both]
    if np.isinf(r).any() or np.isinf(b).any():
        raise InputError("returns and benchmark: some are infinite")
    return r, b


def beta(returns: Values, benchmark: Values, risk_free: float = 0.0) -> float:
    """Return the covariance with the benchmark over its variance.

    >>> round(beta([0.02, -0.02, 0.04], [0.01, -0.01, 0.02]), 6)
    2.0
    """
    r, b = pairs(returns, benchmark)
    return _beta(r - risk_free, b - risk_free)


def alpha(returns: Values, benchmark: Values, N: float, risk_free: float = 0.0) -> float:
    """Return the yearly growth of what the benchmark does not explain: (1 + mean of it)^N - 1."""
    r, b = pairs(returns, benchmark)
    return _alpha(r - risk_free, b - risk_free, N)


def up_beta(returns: Values, benchmark: Values) -> float:
    """Return the beta in the bars the benchmark rose in."""
    r, b = pairs(returns, benchmark)
    return _beta(r[b > 0], b[b > 0])


def down_beta(returns: Values, benchmark: Values) -> float:
    """Return the beta in the bars the benchmark fell in."""
    r, b = pairs(returns, benchmark)
    return _beta(r[b < 0], b[b < 0])


def up_alpha(returns: Values, benchmark: Values, N: float) -> float:
    """Return the alpha in the bars the benchmark rose in."""
    r, b = pairs(returns, benchmark)
    return _alpha(r[b > 0], b[b > 0], N)


def down_alpha(returns: Values, benchmark: Values, N: float) -> float:
    """Return the alpha in the bars the benchmark fell in."""
    r, b = pairs(returns, benchmark)
    return _alpha(r[b < 0], b[b < 0], N)


def correlation(returns: Values, benchmark: Values) -> float:
    """Return Pearson's correlation with the benchmark."""
    r, b = pairs(returns, benchmark)
    if len(r) < 2 or (r == r[0]).all() or (b == b[0]).all():
        return math.nan
    return float(np.corrcoef(r, b)[0, 1])


def tracking_error(returns: Values, benchmark: Values, N: float) -> float:
    """Return the deviation (ddof 1) of the active returns times the root of N."""
    r, b = pairs(returns, benchmark)
    return float((r - b).std(ddof=1)) * math.sqrt(N) if len(r) > 1 else math.nan


def active_ratio(returns: Values, benchmark: Values, N: float = 1.0) -> float:
    """Return mean over deviation of the active returns, times the root of N: the information ratio."""
    r, b = pairs(returns, benchmark)
    return moments(r - b).sharpe * math.sqrt(N)


def treynor_ratio(returns: Values, benchmark: Values, N: float, risk_free: float = 0.0) -> float:
    """Return the yearly mean above `risk_free` (per bar) over the beta."""
    r, b = pairs(returns, benchmark)
    slope = _beta(r - risk_free, b - risk_free)
    return float((r - risk_free).mean()) * N / slope if slope else math.nan


def capture(returns: Values, benchmark: Values, N: float) -> float:
    """Return the yearly growth over that of the benchmark."""
    r, b = pairs(returns, benchmark)
    return _over(annual_return(r, N), annual_return(b, N))


def up_capture(returns: Values, benchmark: Values, N: float) -> float:
    """Return the yearly growth over that of the benchmark, in the bars the benchmark rose in."""
    r, b = pairs(returns, benchmark)
    return _over(annual_return(r[b > 0], N), annual_return(b[b > 0], N))


def down_capture(returns: Values, benchmark: Values, N: float) -> float:
    """Return the yearly growth over that of the benchmark, in the bars the benchmark fell in."""
    r, b = pairs(returns, benchmark)
    return _over(annual_return(r[b < 0], N), annual_return(b[b < 0], N))


def up_down_capture(returns: Values, benchmark: Values, N: float) -> float:
    """Return the capture of rises over that of falls."""
    return _over(up_capture(returns, benchmark, N), down_capture(returns, benchmark, N))


def batting_average(returns: Values, benchmark: Values) -> tuple[float, float, float]:
    """Return the share of bars above the benchmark: of all, of those it rose in, of the others.

    >>> batting_average([0.02, 0.0, -0.01, -0.03], [0.01, 0.01, -0.02, -0.02])
    (0.5, 0.5, 0.5)
    """
    r, b = pairs(returns, benchmark)
    won, up = r > b, b > 0
    return tuple(float(won[some].mean()) if some.any() else math.nan for some in (up | True, up, ~up))  # type: ignore[return-value]


def beta_fragility(returns: Values, benchmark: Values) -> float:
    """Return how far the returns at both ends of the benchmark's moves lie above those in its middle (Taleb).

    The bars are put in order of the benchmark; of the straight line from the first return to the last, at the place of
    the median bar's benchmark, the return in that bar is taken off. Below 0 both ends together cost: that is fragile.
    """
    r, b = pairs(returns, benchmark)
    if len(r) < 3 or (b == b[0]).all():
        return math.nan
    order = np.argsort(b, kind="stable")
    r, b, middle = r[order], b[order], round(len(r) / 2)
    part = (b[middle] - b[0]) / (b[-1] - b[0])
    return float(r[0] * (1 - part) + r[-1] * part - r[middle])


def _beta(r: Floats, b: Floats) -> float:
    if len(r) < 2 or (b == b[0]).all():
        return math.nan
    away = b - b.mean()
    return float(away @ (r - r.mean())) / float(away @ away)


def _alpha(r: Floats, b: Floats, N: float) -> float:
    slope = _beta(r, b)
    left = 1 + float((r - slope * b).mean()) if not math.isnan(slope) else math.nan
    return left**N - 1 if left > 0 else math.nan


def _over(one: float, other: float) -> float:
    return one / other if other else math.nan

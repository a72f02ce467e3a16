"""A return series in five numbers, and how many bars make a year.

                        mode "sum": returns are added         mode "product": returns are compounded
    mean                mean(r)                               exp(mean(ln(1+r))) - 1, the geometric mean
    std                 std(r)                                std(ln(1+r))                    both with ddof 1
    annualized_return   mean(r) * N                           exp(mean(ln(1+r)) * N) - 1
    information_ratio   mean(r) / std(r) * sqrt(N)            mean(ln(1+r)) / std(ln(1+r)) * sqrt(N)
    max_drawdown        least of curve - highest so far       least of curve / highest so far - 1

The curve is the running sum, or product, from the starting capital (0, or 1) on, so a loss in the first bar is a
drawdown. Missing returns are left out. Returns that never vary have a deviation of 0 and no ratio (NaN).

With compat="qlib" the curve starts after the first return, the ratio of the product mode divides the geometric mean by
the deviation of logarithms, missing returns count as bars there, and constant returns have an infinite ratio.

N is the number of bars in a year. It comes from the market (`periods_per_year`), never from a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from qlib.errors import InputError
from qlib.utils.time import Freq

if TYPE_CHECKING:
    from qlib.config import Region

FIGURES = ("mean", "std", "annualized_return", "information_ratio", "max_drawdown")
# Qlib knows one market only: its year has 238 days of 240 minutes, 50 weeks and 12 months.
QLIB_YEAR = {"sec": 60 * 240 * 238, "min": 240 * 238, "day": 238, "week": 50, "month": 12}


def periods_per_year(freq: str, region: Region | None) -> float:
    """Return how many bars of `freq` a year of this market has; None for the region means Qlib's one year for all.

    A market that never closes has a year of `days_per_year` calendar days; other markets trade in every week of the
    year (52), the "cn" market in 50.

    >>> from qlib.config import REGIONS
    >>> crypto, cn, us = REGIONS["crypto"], REGIONS["cn"], REGIONS["us"]
    >>> periods_per_year("60min", crypto), periods_per_year("day", cn), periods_per_year("day", us)
    (8760.0, 238.0, 252.0)
    >>> periods_per_year("day", None)
    238.0
    """
    count, base = Freq.parse(freq)
    if region is None or region.name == "cn":
        year: float = QLIB_YEAR[base]
    elif base in ("min", "sec"):
        year = region.days_per_year * region.minutes_per_day * (60 if base == "sec" else 1)
    elif base == "day":
        year = region.days_per_year
    elif base == "week":
        year = region.days_per_year / 7 if region.always_open else 52
    else:
        year = 12
    return float(year / count)


def risk_analysis(r: pd.Series, N: float, mode: str = "sum", *, compat: str | None = None) -> pd.DataFrame:
    """Return mean, std, annualized_return, information_ratio and max_drawdown as rows of the column `risk`.

    Parameters
    ----------
    r
        Returns per bar (0.01 is one per cent), in time order; missing ones are left out.
    N
        Bars in a year, for example `periods_per_year("day", region)`.
    mode
        "sum" or "product", see the head of the module.
    compat
        "qlib": Qlib's numbers, see the head of the module.

    Raises InputError for a mode that does not exist, infinite returns, missing dates, and dates out of order.

    >>> risk_analysis(pd.Series([-0.01, 0.02, 0.03]), N=250).risk.round(4).to_dict()  # doctest: +NORMALIZE_WHITESPACE
    {'mean': 0.0133, 'std': 0.0208, 'annualized_return': 3.3333, 'information_ratio': 10.1274, 'max_drawdown': -0.01}
    """
    if mode not in ("sum", "product"):
        raise InputError(f"risk_analysis mode: received {mode!r}; allowed are 'sum' and 'product'")
    figures = (_qlib_figures if compat == "qlib" else _figures)(r, N, mode)
    return pd.Series(figures, dtype=np.float64).to_frame("risk")


def _figures(r: pd.Series, year: float, mode: str) -> dict[str, float]:
    _check(r)
    r = r.dropna()
    if not len(r):
        return dict.fromkeys(FIGURES, np.nan)
    compounded = mode == "product"
    with np.errstate(divide="ignore", invalid="ignore"):  # a return of -1 has no logarithm
        steps = np.log1p(r) if compounded else r  # what is added up from bar to bar
        level = float(steps.mean())
        mean = float(np.expm1(level)) if compounded else level
        # returns that never vary have a deviation of 0, whatever rounding makes of their mean
        std = 0.0 if len(r) > 1 and (r == r.iloc[0]).all() else float(steps.std(ddof=1))
    return {
        "mean": mean,
        "std": std,
        "annualized_return": float(np.expm1(level * year)) if compounded else mean * year,
        "information_ratio": level / std * np.sqrt(year) if std > 0 else np.nan,
        "max_drawdown": float(drawdown(r, mode).min()),
    }


def drawdown(r: pd.Series, mode: str = "product") -> pd.Series:
    """Return how far the account is below its highest point so far, the starting capital included, after each bar.

    "product": a share of that point (-0.1 is ten per cent below); "sum": in units of the starting capital.

    >>> drawdown(pd.Series([-0.1, 0.2, -0.1])).round(3).tolist()
    [-0.1, 0.0, -0.1]
    """
    if mode == "sum":
        curve = r.cumsum()
        return curve - curve.cummax().clip(lower=0.0)
    curve = (1 + r).cumprod()
    return curve / curve.cummax().clip(lower=1.0) - 1


def _check(r: pd.Series) -> None:
    values = r.to_numpy(dtype=np.float64)
    if np.isinf(values).any():
        place = int(np.isinf(values).argmax())
        raise InputError(f"risk_analysis: {np.isinf(values).sum()} returns are infinite, first at {r.index[place]}")
    if isinstance(r.index, pd.DatetimeIndex):
        if r.index.hasnans:
            raise InputError(
                f"risk_analysis: {int(np.isnat(r.index.to_numpy()).sum())} of {len(r)} returns have no date"
            )
        if not r.index.is_monotonic_increasing:
            raise InputError("risk_analysis: the returns are not in order of time; sort_index() puts them so")


def _qlib_figures(r: pd.Series, year: float, mode: str) -> dict[str, float]:
    if mode == "sum":
        mean, std = r.mean(), r.std(ddof=1)
        annualized = mean * year
        curve = r.cumsum()
        drawdown = (curve - curve.cummax()).min()
    else:
        curve = (1 + r).cumprod()
        total = curve.iloc[-1] if len(r) else np.nan
        mean = total ** (1 / len(r)) - 1 if len(r) else np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            std = np.log(1 + r).std(ddof=1)
        annualized = total ** (year / len(r)) - 1 if len(r) else np.nan
        drawdown = (curve / curve.cummax() - 1).min()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.float64(mean) / std * np.sqrt(year)
    return dict(zip(FIGURES, (mean, std, annualized, ratio, drawdown), strict=True))

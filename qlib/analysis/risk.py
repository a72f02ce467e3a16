"""A return series in five numbers, and how many bars make a year.

    mode "sum"      returns are added: mean, ddof-1 deviation, drawdown of the running sum
    mode "product"  returns are compounded: geometric mean, deviation of log returns, drawdown of the curve
    both            information_ratio = mean / std * sqrt(N)

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


def risk_analysis(r: pd.Series, N: float, mode: str = "sum") -> pd.DataFrame:
    """Return mean, std, annualized_return, information_ratio and max_drawdown as rows of the column `risk`.

    Parameters
    ----------
    r
        Returns per bar (0.01 is one per cent), in time order.
    N
        Bars in a year, for example `periods_per_year("day", region)`.
    mode
        "sum" or "product", see the head of the module. The drawdown is measured from the highest point of the curve
        itself, which starts after the first return.

    >>> risk_analysis(pd.Series([0.01, -0.02, 0.03]), N=250).risk.round(4).to_dict()  # doctest: +NORMALIZE_WHITESPACE
    {'mean': 0.0067, 'std': 0.0252, 'annualized_return': 1.6667, 'information_ratio': 4.1885, 'max_drawdown': -0.02}
    """
    if mode == "sum":
        mean, std = r.mean(), r.std(ddof=1)
        annualized = mean * N
        curve = r.cumsum()
        drawdown = (curve - curve.cummax()).min()
    elif mode == "product":
        curve = (1 + r).cumprod()
        # the last number of the curve: a missing return at the end must not hide it
        total = curve.dropna().iloc[-1] if curve.notna().any() else np.nan
        mean = total ** (1 / len(r)) - 1 if len(r) else np.nan
        std = np.log(1 + r).std(ddof=1)
        annualized = total ** (N / len(r)) - 1 if len(r) else np.nan
        drawdown = (curve / curve.cummax() - 1).min()
    else:
        raise InputError(f"risk_analysis mode: received {mode!r}; allowed are 'sum' and 'product'")
    with np.errstate(divide="ignore", invalid="ignore"):  # returns that never vary have no ratio
        ratio = mean / std * np.sqrt(N)
    figures = {
        "mean": mean,
        "std": std,
        "annualized_return": annualized,
        "information_ratio": ratio,
        "max_drawdown": drawdown,
    }
    return pd.Series(figures).to_frame("risk")

"""Numbers over a window that moves: the Sharpe ratio of a quarter, and how much of the market is in the returns.

    rolling_numbers(net, bench, year) -> {"window": 91, "sharpe": [...], "beta": [...] or None}      one entry a step

The window is a quarter of a year, or a quarter of the history where that is shorter; a step without enough before it
has None. None at all below twelve steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

QUARTER = 4
FEWEST = 12


def rolling_numbers(net: pd.Series, bench: pd.Series | None, year: float) -> dict[str, Any] | None:
    """Return Sharpe ratio (yearly) and beta to the benchmark over the window that ends with each step."""
    n = len(net)
    if n < FEWEST:
        return None
    window = int(max(3, min(round(year / QUARTER), n // QUARTER)))
    over = net.rolling(window)
    spread = over.std()
    sharpe = (over.mean() / spread.where(spread > 1e-12)) * np.sqrt(year)
    return {
        "window": window,
        "sharpe": sharpe.tolist(),
        "beta": None if bench is None else _beta(net, bench, window).tolist(),
        "whole_beta": None if bench is None else _whole_beta(net, bench),
        "correlation": None if bench is None else _correlation(net, bench),
    }


def _beta(net: pd.Series, bench: pd.Series, window: int) -> pd.Series:
    variance = bench.rolling(window).var()
    return net.rolling(window).cov(bench) / variance.where(variance > 1e-18)


def _whole_beta(net: pd.Series, bench: pd.Series) -> float | None:
    variance = float(bench.var())
    return float(net.cov(bench)) / variance if variance > 0 else None


def _correlation(net: pd.Series, bench: pd.Series) -> float | None:
    size = float(net.std() * bench.std())
    return float(net.cov(bench)) / size if size > 0 else None

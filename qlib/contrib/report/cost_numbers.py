"""Where the money went: what prices earned, and what fees, spread and impact, and holding took of it.

    earned by prices - spread and impact - fees - holding = change of the account

Prices are counted at the market's undisturbed deal price, so that what trading itself moved is a cost. Spread and
impact are in the log of trades, and not counted without one; holding costs are named as the market names them (below 0:
earned).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.backtest.attribution import carry_names
from qlib.contrib.report.artifacts import Portfolio

FEES, SLIPPAGE = "fees", "spread and impact"


def cost_numbers(portfolio: Portfolio) -> dict[str, Any]:
    """Return the parts in money and as shares of the starting capital, and each added up over the steps.

    A step's entry in `series` is the sum of what was paid so far, each as a share of the account before its step.
    """
    report, trades = portfolio.report, portfolio.trades
    times = pd.DatetimeIndex(report.index)
    net = (report["return"].fillna(0.0) - report["cost"].fillna(0.0)).to_numpy(float)
    account = report["account"].to_numpy(float)
    before = account / (1 + net)
    start = float(before[0])
    paid: dict[str, np.ndarray] = {FEES: np.diff(report["total_cost"].to_numpy(float), prepend=0.0)}
    if trades is not None:
        step = times.searchsorted(pd.DatetimeIndex(trades["time"]), side="right") - 1
        inside = step >= 0
        paid[SLIPPAGE] = np.bincount(step[inside], trades["slippage"].to_numpy(float)[inside], len(times))
    if portfolio.attribution is not None:
        frame = portfolio.attribution.reindex(report.index)
        for name in carry_names(frame):
            paid[name] = np.nan_to_num(frame[name].to_numpy(float))
    paid = {name: column for name, column in paid.items() if name in (FEES, SLIPPAGE) or column.any()}
    shares = {
        name: np.divide(column, before, out=np.zeros(len(before)), where=before > 0).cumsum()
        for name, column in paid.items()
    }
    change = float(account[-1]) - start
    total = float(sum(column.sum() for column in paid.values()))
    return {
        "earned": change + total,
        "change": change,
        "names": list(paid),
        "paid": [float(column.sum()) for column in paid.values()],
        "share": [float(column.sum()) / start if start > 0 else None for column in paid.values()],
        "total": total,
        "of_earned": total / (change + total) if change + total > 0 else None,
        "series": [shares[name].tolist() for name in paid],
    }

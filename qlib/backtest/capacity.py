"""The capacity of a finished back-test: its orders, measured against what the market trades.

    portfolio, _ = backtest(..., executor=executor)
    capacity_of(executor.trade_account, exchange, year=8760)     {"best": 2.1e6, "zero": 4.8e6, "curve": ..., ...}

See `qlib.analysis.capacity` for what the numbers mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.capacity import capacity, order_costs, participation
from qlib.backtest.account import Account
from qlib.backtest.exchange import Exchange
from qlib.backtest.rules.fills import Fills

FULL = 1.0  # Y of the square-root law where the run's fills say none


def capacity_of(account: Account, exchange: Exchange, *, year: float) -> dict[str, Any] | None:
    """Return `qlib.analysis.capacity.capacity` of a run, with `y` (of the law) and `participation` (of its orders).

    Volatility and volume are those that `fills` of the market says, of the bars before an order. None where the account
    kept no report, where nothing was traded, and where the store knows no volume.
    """
    if not account.is_port_metr_enabled() or not len(account.trades):
        return None
    fills = exchange.market.fills or Fills()
    log = account.trades.frame()
    value = log["value"].to_numpy(np.float64)
    volume, price, moved = _before(log, exchange, [fills.volume, "Ref($close,1)", fills.volatility])
    traded = volume * price
    if not (traded > 0).any():
        return None
    y = fills.impact or FULL
    lost, share = order_costs(value, traded, moved, y)
    report, _ = account.get_portfolio_metrics()
    net = report["return"].fillna(0.0) - report["cost"].fillna(0.0)
    begun = report["account"] / (1 + net)
    step = np.searchsorted(report.index.to_numpy(), log["time"].to_numpy(), side="right") - 1
    cost = pd.Series(np.bincount(step, lost, len(report)), report.index)
    found = capacity(net, begun, cost, year=year, of_run=1.0 if fills.impact else 0.0)
    return None if found is None else {**found, "y": y, "participation": participation(share)}


def _before(log: pd.DataFrame, exchange: Exchange, formulas: list[str]) -> list[np.ndarray]:
    """Return the value of each formula in the bar of each fill."""
    names = sorted(set(log["instrument"]))
    first, last = log["time"].min(), log["time"].max()
    panel, times = exchange.provider.panel(names, formulas, first, last, exchange.freq, optional=["volume"])
    count, length = len(panel.instruments), np.diff(panel.start)
    place = panel.positions() * count + np.repeat(np.arange(count), length)
    row = np.searchsorted(np.asarray(times), log["time"].to_numpy(), side="right") - 1
    column = pd.Index(panel.instruments).get_indexer(pd.Index(log["instrument"]))
    found = []
    for formula in formulas:
        table = np.full(len(times) * count, np.nan)
        table[place] = panel.columns[formula]
        found.append(np.where(column >= 0, table[row * count + column], np.nan))
    return found

"""How well orders were executed, and what that cost.

    orders     how many fills, how much of what was ordered was dealt, what cut the rest
    prices     price advantage (against the market's average price), spread and impact, fees: in basis points of the
               value traded, by side
    series     share of the orders that was filled, and cost of the value traded, step by step in at most 400 bars

The log of trades says why a fill is smaller than its order ("volume", "limit", "cash", ...); "order" and the names of
a strategy's own reasons are not cuts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.report.artifacts import Portfolio
from qlib.contrib.report.times import stamps

BASIS = 1e4  # basis points of a whole
MOST_BARS = 400


def execution_numbers(portfolio: Portfolio) -> dict[str, Any] | None:
    """Return the execution's part of the twin; None where nothing was dealt, or no log was kept."""
    trades = portfolio.trades
    if trades is None or trades.empty:
        return None
    price = trades["price"].to_numpy(float)
    dealt = trades["value"].to_numpy(float)
    ordered = trades["ordered"].to_numpy(float) * np.divide(
        dealt, trades["amount"].to_numpy(float), out=price.copy(), where=trades["amount"].to_numpy(float) > 0
    )
    cut = trades["amount"].to_numpy(float) < trades["ordered"].to_numpy(float) * (1 - 1e-9)
    numbers: dict[str, Any] = {
        "fills": len(trades),
        "fills_a_step": len(trades) / max(1, len(portfolio.report)),
        "ordered_value": float(ordered.sum()),
        "dealt_value": float(dealt.sum()),
        "filled_share": _share(dealt.sum(), ordered.sum()),
        "cut_fills": int(cut.sum()),
        "cuts": _cuts(trades["reason"][cut], (ordered - dealt)[cut]),
        "mean_value": float(dealt.mean()),
        "largest_value": float(dealt.max()),
        "sides": {side: _side(trades[trades["side"] == side]) for side in ("buy", "sell")},
        "fee_bps": _bps(trades["fee"], dealt),
        "slippage_bps": _bps(trades["slippage"], dealt),
        "price_advantage_bps": None,
        "bars": _bars(trades, portfolio.report.index),
    }
    indicators = portfolio.indicators
    if indicators is not None and {"pa", "count"} <= set(indicators.columns):
        orders = indicators["count"].to_numpy(float)
        advantage = np.nan_to_num(indicators["pa"].to_numpy(float))
        if orders.sum() > 0:
            numbers["price_advantage_bps"] = float((advantage * orders).sum() / orders.sum()) * BASIS
    return numbers


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


def _bps(paid: pd.Series, value: np.ndarray) -> float | None:
    return float(paid.sum() / value.sum()) * BASIS if value.sum() > 0 else None


def _cuts(reasons: pd.Series, missing: np.ndarray) -> list[dict[str, Any]]:
    """What cut orders short, how often, and how much value was not dealt; the largest first."""
    told = pd.DataFrame({"reason": reasons.astype(str).to_numpy(), "missing": missing})
    found = told.groupby("reason")["missing"].agg(["size", "sum"]).sort_values("sum", ascending=False, kind="stable")
    return [
        {"reason": str(name), "fills": int(row["size"]), "value": float(row["sum"])} for name, row in found.iterrows()
    ]


def _side(trades: pd.DataFrame) -> dict[str, Any]:
    value = trades["value"].to_numpy(float)
    return {
        "fills": len(trades),
        "value": float(value.sum()),
        "fee_bps": _bps(trades["fee"], value),
        "slippage_bps": _bps(trades["slippage"], value),
    }


def _bars(trades: pd.DataFrame, steps: pd.Index) -> dict[str, Any]:
    """Value traded and its cost in basis points, over equally many steps each."""
    times = pd.DatetimeIndex(steps)
    step = np.clip(times.searchsorted(pd.DatetimeIndex(trades["time"]), side="right") - 1, 0, None)
    per_bar = max(1, -(-len(times) // MOST_BARS))
    n = -(-len(times) // per_bar)
    value, fee, slippage = (
        np.bincount(step // per_bar, trades[name].to_numpy(float), n) for name in ("value", "fee", "slippage")
    )
    paid = np.full(n, np.nan)
    np.divide(fee + slippage, value, out=paid, where=value > 0)
    return {
        "steps_per_bar": per_bar,
        "time": stamps(times[::per_bar]),
        "value": value.tolist(),
        "fills": np.bincount(step // per_bar, minlength=n).tolist(),
        "cost_bps": (paid * BASIS).tolist(),
    }

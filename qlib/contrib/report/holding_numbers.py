"""What was held: at the end, how concentrated on the way, and what each instrument earned.

last        every holding of the last step: amount, price, value, share of the account
weight      share of the largest holding, and number of equal holdings that would be as concentrated, step by step
earned      what each instrument made: sold - bought - fees + what is still held; None where these do not add up to
            the change of the account (other money came in or went out, or contracts pay in another way)
steps_held  how long money stays in a holding: mean value held, long and short, over the value closed in a step
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qlib.backtest.attribution import carry_names
from qlib.contrib.report.artifacts import Portfolio, history_of
from qlib.contrib.report.trip_numbers import closed_value

MOST_ROWS = 200
ADDS_UP = 1e-6  # of the largest amount of money in the sum


def holding_numbers(portfolio: Portfolio) -> dict[str, Any] | None:
    """Return the holdings' part of the twin; None where the run kept no positions."""
    positions = portfolio.positions
    if not positions:
        return None
    last_time = max(positions)
    last = held_in(positions[last_time])
    account = float(portfolio.report["account"].iloc[-1])
    rows: list[dict[str, Any]] = [
        {
            "instrument": name,
            "amount": amount,
            "price": price,
            "value": amount * price,
            "share": amount * price / account if account > 0 else None,
        }
        for name, (amount, price) in last.items()
    ]
    rows.sort(key=lambda row: (-abs(row["value"]), row["instrument"]))
    return {
        "count": len(rows),
        "last": rows[:MOST_ROWS],
        "weight": weights(positions, portfolio.report),
        "earned": earned(portfolio, {row["instrument"]: row["value"] for row in rows}),
        "steps_held": _steps_held(portfolio),
    }


def held_in(position: Any) -> dict[str, tuple[float, float]]:
    """Amount and price of each holding of a position; {} for one that does not say."""
    table = getattr(position, "position", position)
    if not isinstance(table, Mapping):
        return {}
    return {
        str(name): (float(one["amount"]), float(one["price"]))
        for name, one in table.items()
        if isinstance(one, Mapping) and one.get("amount") and one.get("price") is not None
    }


def weights(positions: Any, report: pd.DataFrame) -> dict[str, Any] | None:
    """Share of the largest holding in all that is held, and 1 / sum of squared shares; None where nothing says so."""
    history = history_of(positions)
    steps, held = history.columns("amount", "price")
    times = pd.DatetimeIndex(report.index)
    rows = times.get_indexer(pd.DatetimeIndex(list(history)))[steps]
    value = np.abs(np.nan_to_num(held["amount"] * held["price"]))
    rows, value = rows[rows >= 0], value[rows >= 0]
    n = len(times)
    total = np.bincount(rows, value, n)
    if not (total > 0).any():
        return None
    largest = np.zeros(n)
    np.maximum.at(largest, rows, value)
    squares = np.bincount(rows, value**2, n)
    invested = total > 0
    share, effective = np.full(n, np.nan), np.full(n, np.nan)
    np.divide(largest, total, out=share, where=invested)
    np.divide(total**2, squares, out=effective, where=invested)
    return {
        "largest_mean": float(np.nanmean(share)),
        "largest_highest": float(np.nanmax(share)),
        "effective_mean": float(np.nanmean(effective)),
        "largest": share.tolist(),
        "effective": effective.tolist(),
    }


def earned(portfolio: Portfolio, last: Mapping[str, float]) -> dict[str, Any] | None:
    """What each instrument made, the best first; None where there is no log or the sum is not the account's."""
    trades, report = portfolio.trades, portfolio.report
    if trades is None or trades.empty:
        return None
    sign = np.where(trades["side"] == "buy", -1.0, 1.0)
    made = pd.Series(
        sign * trades["value"].to_numpy(float) - trades["fee"].to_numpy(float), index=trades["instrument"].astype(str)
    )
    by_name = made.groupby(level=0).sum().add(pd.Series(dict(last), dtype=float), fill_value=0.0)
    first = float(report["return"].iloc[0] - report["cost"].iloc[0])
    change = float(report["account"].iloc[-1] - report["account"].iloc[0] / (1 + first))
    carry = 0.0
    if portfolio.attribution is not None:
        carry = float(portfolio.attribution[carry_names(portfolio.attribution)].to_numpy(float).sum())
    size = max(abs(change), float(trades["value"].sum()), abs(carry))
    if not abs(by_name.sum() - carry - change) <= ADDS_UP * size:
        return None
    ordered = by_name.sort_values(ascending=False, kind="stable")
    return {
        "instruments": [str(name) for name in ordered.index],
        "money": ordered.tolist(),
        "winners": int((ordered > 0).sum()),
        "losers": int((ordered < 0).sum()),
        "best_share": float(ordered.iloc[0] / ordered[ordered > 0].sum()) if (ordered > 0).any() else None,
    }


def _steps_held(portfolio: Portfolio) -> float | None:
    """Steps that money stays in a holding, on average: value held on both sides over what is closed in a step."""
    closed = closed_value(portfolio)
    if not closed:
        return None
    _, held = history_of(portfolio.positions).columns("amount", "price", "exposure")
    own = held["exposure"]
    return float(np.nansum(np.abs(np.where(np.isnan(own), held["amount"] * held["price"], own))) / closed)

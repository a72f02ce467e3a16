"""What was held on each side, what secured it, and what holding it cost: for runs with shorts or margin.

    exposure_numbers(portfolio) -> {             None where nothing was ever short and no holding has a margin
        "long", "short", "net", "gross": spread of   sum of the amounts x price of a side / account, short below 0
        "margin": spread of                          sum of what holdings say is their `margin` / account
        "distance": spread of                        how far prices were from a forced close
        "distance_of": "each" | "together",
        "forced_closes": 2,                          fills whose reason is "liquidation"
        "series": {"long": [...], ...}}              after each step; None where the account has lost everything
    carry_numbers(portfolio) -> {"names": ["borrow"], "paid": [120.0], "share": [0.012], "series": [[...]]}

A spread is {"mean", "lowest", "highest"}. gross / account is the leverage. A holding that says `limit` is closed where
its price reaches that; its distance is (price - limit) / price for a long and (limit - price) / price for a short
one, 0 beyond it, and the smallest of all holdings counts ("each"). Where holdings say `mmr`, a share of their value
that must be covered, and no limit, the whole account answers for all, and the distance x is how far all prices would
have to move against their holdings at once ("together"):

    account - x sum |value| = sum mmr |value| (1 -+ x)          - for a long, + for a short one

Beyond x = 1 the long ones are worth nothing, and only the short ones lose more. A holding whose price is not that of
the market says its `mark`, and its `exposure` for amount x price.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.backtest.attribution import carry_names
from qlib.contrib.report.artifacts import Portfolio, history_of

FORCED = "liquidation"  # the reason of such a fill in the log of trades
FIELDS = ("amount", "price", "margin", "limit", "mmr", "mark", "exposure")


def exposure_numbers(portfolio: Portfolio) -> dict[str, Any] | None:
    """Return exposure by side, margin and distance to a forced close over time; see the module."""
    report = portfolio.report
    steps, held = _held(portfolio.positions, pd.DatetimeIndex(report.index))
    value = held["value"]
    has_margin = bool(np.isfinite(held["margin"]).any())
    if not (has_margin or (value < 0).any()):
        return None
    n = len(report)
    account = report["account"].to_numpy(float)
    account = np.where(account > 0, account, np.nan)

    def share(parts: np.ndarray) -> np.ndarray:
        return np.bincount(steps, np.nan_to_num(parts), n) / account

    series = {"long": share(np.maximum(value, 0.0)), "short": share(np.minimum(value, 0.0))}
    series["net"] = series["long"] + series["short"]
    series["gross"] = series["long"] - series["short"]
    series["margin"] = share(held["margin"])
    series["distance"], distance_of = _distance(steps, held, value, account)
    if not has_margin:
        del series["margin"]
    if np.isnan(series["distance"]).all():
        del series["distance"]
    trades = portfolio.trades
    return {
        **{name: _spread(series.get(name)) for name in ("long", "short", "net", "gross", "margin", "distance")},
        "distance_of": distance_of if "distance" in series else None,
        "forced_closes": None if trades is None else int((trades["reason"] == FORCED).sum()),
        "series": {name: column.tolist() for name, column in series.items()},
    }


def _held(positions: Any, times: pd.DatetimeIndex) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Every holding of every step: the number of its row in the report, and its fields."""
    history = history_of(positions)
    steps, held = history.columns(*FIELDS)
    rows = times.get_indexer(pd.DatetimeIndex(list(history)))[steps]
    there = rows >= 0
    own, mark = held["exposure"], held["mark"]
    held["value"] = np.where(np.isnan(own), held["amount"] * held["price"], own)
    held["price"] = np.where(np.isnan(mark), held["price"], mark)
    return rows[there], {name: column[there] for name, column in held.items()}


def _distance(
    steps: np.ndarray, held: dict[str, np.ndarray], value: np.ndarray, account: np.ndarray
) -> tuple[np.ndarray, str]:
    price, limit, mmr = held["price"], held["limit"], held["mmr"]
    nearest = np.full(len(account), np.inf)
    bounded = (limit > 0) & (price > 0)  # 0: never
    if bounded.any():
        apart = np.maximum(np.sign(value[bounded]) * (1 - limit[bounded] / price[bounded]), 0.0)
        np.minimum.at(nearest, steps[bounded], apart)
        return np.where(np.isfinite(nearest), nearest, np.nan), "each"
    together = np.isnan(limit) & np.isfinite(mmr)
    size, rate = np.where(together, np.abs(value), 0.0), np.where(together, mmr, 0.0)

    def by_step(parts: np.ndarray) -> np.ndarray:
        return np.bincount(steps, parts, len(account))

    long, short = size * (value > 0), size * (value < 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = (account - by_step(rate * size)) / by_step(long * (1 - rate) + short * (1 + rate))
        beyond = (account - by_step(long + rate * short)) / by_step(short * (1 + rate))
    x = np.where(x > 1, beyond, np.maximum(x, 0.0))
    return np.where(np.isfinite(x), x, np.nan), "together"


def _spread(column: np.ndarray | None) -> dict[str, float] | None:
    if column is None or np.isnan(column).all():
        return None
    return {
        "mean": float(np.nanmean(column)),
        "lowest": float(np.nanmin(column)),
        "highest": float(np.nanmax(column)),
    }


def carry_numbers(portfolio: Portfolio) -> dict[str, Any] | None:
    """Return what holding cost (below 0: earned), by the names that the market gave; None where it cost nothing.

    `paid` is money; `share` and the last entry of each list in `series` are the sum of what each step cost, divided by
    the account before the step.
    """
    frame = portfolio.attribution
    if frame is None:
        return None
    frame = frame.reindex(portfolio.report.index)
    names = [name for name in carry_names(frame) if frame[name].fillna(0.0).any()]
    if not names:
        return None
    before = (frame["account"] - frame["change"]).to_numpy(float)
    paid = np.nan_to_num(frame[names].to_numpy(float))
    shares = np.divide(paid, before[:, None], out=np.zeros_like(paid), where=before[:, None] > 0).cumsum(axis=0)
    return {
        "names": names,
        "paid": paid.sum(axis=0).tolist(),
        "share": shares[-1].tolist(),
        "series": shares.T.tolist(),
    }

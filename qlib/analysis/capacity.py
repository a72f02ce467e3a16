"""How much money a strategy can carry before the price it moves eats what it earns.

    found = capacity(net, account, cost, of_run=0.0, year=8760)
    found["best"], found["zero"]            capital that earns the most money, and that which earns none

An order of Q in a market that trades V and moves by sigma a bar loses the share Y sigma sqrt(Q / V) (the square-root
law; `qlib.backtest.rules.fills`). With k times the capital every order is k times as large: what is earned before
impact stays the same share of the capital, what impact takes grows with sqrt(k),

    net(k) = g - s sqrt(k)           a year, as shares of the capital, at the orders of this run

so k = (g / s)^2 earns nothing, and k = (2 g / 3 s)^2 the most money: a third of g is left there. `orders_of` gives the
impact of a run's fills.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.errors import InputError

CURVE: Final = 41  # points of the curve


def order_costs(
    value: np.ndarray, traded: np.ndarray, volatility: np.ndarray, impact: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the square-root law takes of each order, money, and the order as a share of what the market trades.

    Parameters
    ----------
    value
        Of the orders, money, above 0.
    traded, volatility
        What the market trades in a bar, money, and by which share it moves in one: what is usual, before the order.
        Where `traded` is not known, or 0, the order counts as all of it; a volatility that is not known counts as 0.
    impact
        Y of the law.

    >>> [part.tolist() for part in order_costs(np.array([400.0]), np.array([10_000.0]), np.array([0.02]))]
    [[1.6], [0.04]]
    """
    known = traded > 0
    share = np.divide(value, traded, out=np.ones(len(value)), where=known)
    cost = value * impact * np.nan_to_num(volatility) * np.sqrt(share)
    return cost, np.where(known, share, np.nan)


def capacity(
    net: pd.Series, account: pd.Series, cost: pd.Series, *, year: float, of_run: float = 0.0
) -> dict[str, Any] | None:
    """Return what k times the capital would have earned; None where nothing was traded.

    Parameters
    ----------
    net
        Return of each step after all that the run charged.
    account
        What the capital was at the beginning of each step, money.
    cost
        What the law takes in each step, money (`order_costs`).
    year
        Steps a year.
    of_run
        The part of `cost` that the run has charged already: 1 where its fills have this impact, 0 where they have none.

    Returns
    -------
    dict
        capital (mean account), gross (g), impact (s), net (g - s), `best` and `zero` (capital; None where g is not
        above 0: no capital is small enough), best_net (a share a year), best_money (a year), and `curve`: capital,
        net, money.

    >>> steps = pd.RangeIndex(4)
    >>> found = capacity(pd.Series(0.03, steps), pd.Series(100.0, steps), pd.Series(2.0, steps), year=1)
    >>> [round(found[name], 9) for name in ("gross", "impact", "best", "zero", "best_net")]
    [0.03, 0.02, 100.0, 225.0, 0.01]
    """
    if not (len(net) == len(account) == len(cost)):
        raise InputError(
            f"capacity: received {len(net)} returns, {len(account)} accounts, {len(cost)} costs; one a step"
        )
    held = account.to_numpy(float)
    usable = held > 0
    taken = np.divide(np.nan_to_num(cost.to_numpy(float)), held, out=np.zeros(len(held)), where=usable)
    s = float(taken.mean() * year) if len(taken) else 0.0
    if not s > 0:
        return None
    earned = float(np.nan_to_num(net.to_numpy(float)).mean() * year)
    g, capital = earned + of_run * s, float(held[usable].mean())
    best, zero = ((2 * g / (3 * s)) ** 2, (g / s) ** 2) if g > 0 else (None, None)
    ends = [1.0] if zero is None else [1.0, zero]  # the curve shows this run, and the capital that earns nothing
    k = np.concatenate([[0.0], np.geomspace(min(ends) / 100, max(ends) * 1.5, CURVE - 1)])
    return {
        "capital": capital,
        "gross": g,
        "impact": s,
        "net": g - s,
        "best": None if best is None else best * capital,
        "zero": None if zero is None else zero * capital,
        "best_net": None if best is None else g / 3,
        "best_money": None if best is None else best * capital * g / 3,
        "curve": {
            "capital": (k * capital).tolist(),
            "net": (g - s * np.sqrt(k)).tolist(),
            "money": (k * capital * (g - s * np.sqrt(k))).tolist(),
        },
    }


def participation(share: np.ndarray) -> dict[str, float | int | None]:
    """Return how large orders are, as shares of what the market trades in a bar: median, 95 of 100, largest.

    >>> participation(np.array([0.01, 0.02, np.nan]))
    {'median': 0.015, 'high': 0.0195, 'largest': 0.02, 'unknown': 1, 'orders': 3}
    """
    known = share[~np.isnan(share)]
    middle, high, largest = (float(np.quantile(known, q)) if len(known) else None for q in (0.5, 0.95, 1.0))
    unknown = len(share) - len(known)
    return {"median": middle, "high": high, "largest": largest, "unknown": unknown, "orders": len(share)}

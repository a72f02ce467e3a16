"""Round trips: from the fill that opens a position of an instrument to the one that leaves nothing of it.

    trip_numbers(portfolio) -> {               None where there is no log, or it does not add up to the account
        "finished": 212, "open": 10, "won_share": 0.55, "mean_gain", "mean_loss", "gain_over_loss",
        "steps": spread of the steps from the first to the last fill,
        "against", "ahead": spread of              farthest that the trip was behind, and ahead, while it was held
        "rows": {"instrument": [...], "side": [...], "opened", "closed", "steps", "money", "share", ...}}

The newest `MOST` finished trips are rows. A fill through zero ends one trip and begins the next, at its own price.
`share` is what a trip made, after fees and before what holding costs, over its size: the largest value
that it had after a fill which opened or enlarged it. Between fills a trip is looked at at the end of every step, at the
prices at which the account was valued: `against` is the lowest of these shares (0 if it never fell behind), `ahead` the
highest. What a price did within a step is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.report.artifacts import Portfolio, history_of
from qlib.contrib.report.times import stamps

MOST = 1000
NOTHING = 1e-9  # of the largest amount of an instrument
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Trips:
    """Every trip, in the order of instruments and fills; those of holdings from before the first fill are left out."""

    instrument: Array
    side: Array  # 1 long, -1 short
    first: Array  # step of the first fill
    last: Array  # of the last one
    finished: Array
    money: Array  # an open one is valued at its last price
    size: Array  # largest value after a fill that opened or enlarged it
    against: Array  # money, at most 0
    ahead: Array  # money, at least 0


def trip_numbers(portfolio: Portfolio) -> dict[str, Any] | None:
    """Return the trips' part of the twin; `holding_numbers` says whether the log adds up to the account."""
    found = trips(portfolio)
    if found is None:
        return None
    done = np.flatnonzero(found.finished)
    if not len(done):
        return None
    share, steps = found.money[done] / found.size[done], found.last[done] - found.first[done]
    against, ahead = found.against[done] / found.size[done], found.ahead[done] / found.size[done]
    gains, losses = share[share > 0], share[share < 0]
    shown = np.lexsort((-found.first[done], -found.last[done]))[:MOST]
    times = pd.DatetimeIndex(portfolio.report.index)
    return {
        "finished": len(done),
        "open": int((~found.finished).sum()),
        "won_share": len(gains) / len(done),
        "mean_gain": float(gains.mean()) if len(gains) else None,
        "mean_loss": float(losses.mean()) if len(losses) else None,
        "gain_over_loss": float(-gains.mean() / losses.mean()) if len(gains) and len(losses) else None,
        "steps": _spread(steps),
        "against": _spread(against),
        "ahead": _spread(ahead),
        "rows": {
            "instrument": found.instrument[done][shown].tolist(),
            "side": np.where(found.side[done][shown] > 0, "long", "short").tolist(),
            "opened": stamps(times[found.first[done][shown]]),
            "closed": stamps(times[found.last[done][shown]]),
            "steps": steps[shown].tolist(),
            "money": found.money[done][shown].tolist(),
            "share": share[shown].tolist(),
            "against": against[shown].tolist(),
            "ahead": ahead[shown].tolist(),
        },
    }


def _spread(values: Array) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "lowest": float(values.min()),
        "highest": float(values.max()),
    }


def closed_value(portfolio: Portfolio) -> float | None:
    """Value of what fills have closed, long and short; None where the run kept no fills or no positions."""
    read = _read(portfolio)
    if read is None:
        return None
    fills = read[0]
    return float((np.maximum(np.abs(fills.before) - np.abs(fills.after), 0.0) * fills.price).sum())


def trips(portfolio: Portfolio) -> Trips | None:
    """Return every round trip; None where the run kept no fills or no positions."""
    read = _read(portfolio)
    return None if read is None else read[0].trips(*read[1])


def _read(portfolio: Portfolio) -> tuple[_Fills, tuple[Array, Array, Array, Array, Array]] | None:
    """Return the fills, and what was held: all names, and by step and holding its name, step, amount and price."""
    trades, times = portfolio.trades, pd.DatetimeIndex(portfolio.report.index)
    if trades is None or trades.empty or not portfolio.positions:
        return None
    history = history_of(portfolio.positions)
    steps, held = history.columns("amount", "price")
    step = times.get_indexer(pd.DatetimeIndex(list(history)))[steps]
    seen = (step >= 0) & (held["amount"] != 0) & np.isfinite(held["price"])
    code, names = pd.factorize(
        np.concatenate([trades["instrument"].to_numpy(object), history.instruments()[seen]]), sort=True
    )
    own, amount = code[len(trades) :], held["amount"][seen]
    fills = _Fills(trades, code[: len(trades)], times, len(names))
    fills.start(own, step[seen], amount)
    return fills, (names, own, step[seen], amount, held["price"][seen])


class _Fills:
    """The fills by instrument, in the order of dealing; one that goes through zero is two."""

    def __init__(self, trades: pd.DataFrame, code: Array, times: pd.DatetimeIndex, count: int) -> None:
        order = np.argsort(code, kind="stable")
        sign = np.where(trades["side"].to_numpy() == "buy", 1.0, -1.0)
        self.code, self.count = code[order], count
        self.signed = (sign * trades["amount"].to_numpy(float))[order]
        value = trades["value"].to_numpy(float)
        self.cash = (-sign * value - trades["fee"].to_numpy(float))[order]
        self.price = np.abs(value[order] / np.where(self.signed == 0, np.nan, self.signed))
        at = times.searchsorted(pd.DatetimeIndex(trades["time"]), side="right") - 1
        self.step, self.steps = np.maximum(at, 0)[order], len(times)

    def start(self, code: Array, step: Array, amount: Array) -> None:
        """Say what was held before and after each fill, from what is held at the end."""
        moved = np.bincount(self.code, self.signed, self.count)
        last = np.zeros(self.count)
        at_end = step == self.steps - 1
        last[code[at_end]] = amount[at_end]
        total = np.cumsum(self.signed)
        new = np.concatenate([[True], self.code[1:] != self.code[:-1]])
        base = (total - self.signed)[new][np.cumsum(new) - 1]
        after = total - base + (last - moved)[self.code]
        before = after - self.signed
        largest = np.zeros(self.count)
        np.maximum.at(largest, self.code, np.maximum(np.abs(after), np.abs(before)))
        tiny = NOTHING * largest[self.code]
        after[np.abs(after) <= tiny] = 0.0
        before[np.abs(before) <= tiny] = 0.0
        through = before * after < 0
        rows = np.repeat(np.arange(len(after)), 1 + through)
        second = np.concatenate([[False], rows[1:] == rows[:-1]])
        first = through[rows] & ~second
        closed = np.abs(before[rows] / self.signed[rows])
        self.part = np.where(first, closed, np.where(second, 1 - closed, 1.0))
        self.before, self.after = np.where(second, 0.0, before[rows]), np.where(first, 0.0, after[rows])
        for name in ("code", "signed", "cash", "price", "step"):
            setattr(self, name, getattr(self, name)[rows])
        self.cash = self.cash * self.part
        self.new = np.concatenate([[True], self.code[1:] != self.code[:-1]])

    def trips(self, names: Array, code: Array, step: Array, amount: Array, price: Array) -> Trips:
        """Cut the fills into trips, and look at each at the end of every step it was held."""
        trip = np.cumsum(self.new | (self.before == 0)) - 1
        starts = np.flatnonzero(np.concatenate([[True], trip[1:] != trip[:-1]]))
        ends = np.concatenate([starts[1:], [len(trip)]]) - 1
        total = np.cumsum(self.cash)
        so_far = total - (total - self.cash)[starts][trip]
        grown = np.abs(self.after) > np.abs(self.before)
        value = np.where(grown, np.abs(self.after) * self.price, 0.0)
        key = self.code * self.steps + self.step
        fill = np.searchsorted(key, code * self.steps + step, side="right") - 1
        known = (fill >= 0) & (self.code[fill] == code)
        fill, worth = fill[known], (amount * price)[known]
        running = so_far[fill] + worth
        against, ahead = np.zeros(len(starts)), np.zeros(len(starts))
        money, finished = so_far[ends], self.after[ends] == 0
        at_end = (step[known] == self.steps - 1) & ~finished[trip[fill]]
        money[trip[fill[at_end]]] = running[at_end]
        for extreme, best in ((against, np.minimum), (ahead, np.maximum)):
            best.at(extreme, trip[fill], running)
            best(extreme, money, out=extreme)
        ours = (self.before[starts] == 0) & (self.after[starts] != 0)
        side = np.sign(self.after[starts])
        return Trips(
            instrument=names[self.code[starts]][ours],
            side=side[ours],
            first=self.step[starts][ours],
            last=self.step[ends][ours],
            finished=finished[ours],
            money=money[ours],
            size=np.maximum.reduceat(value, starts)[ours],
            against=against[ours],
            ahead=ahead[ours],
        )

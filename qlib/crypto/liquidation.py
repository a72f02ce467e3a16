"""Positions that are closed by force: when, how much of them, and at which price.

    isolated    a position is closed at its own price, where the mark reaches it; at the mark itself, where that jumped
    cross       all positions are looked at together, at the first mark of a bar and at its last one

A position above the first tier is closed tier by tier (`liquidation="tiers"`): it is cut to the largest size of the
tier below, whose maintenance margin rate is lower, and what is left is looked at again; in the first tier all of it is
closed. What an isolated position loses by a cut, and the fee, leave its own margin. Under cross margin the largest
position is cut first; once all are in their first tier, all are closed. "whole" closes all at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qlib.backtest.decision import Order
from qlib.backtest.position import Position
from qlib.backtest.trades import Fill

if TYPE_CHECKING:
    from qlib.backtest.account import Account
    from qlib.crypto.market import Perpetuals

Array = np.ndarray[Any, Any]
SMALL = 1e-9  # of an amount: what is left of a position is not less


class Forced:
    """What is closed by force in one step of an account.

    Parameters
    ----------
    market, account, position
        Where, and whose.
    start, end
        The step.
    """

    def __init__(
        self, market: Perpetuals, account: Account, position: Position, start: pd.Timestamp, end: pd.Timestamp
    ) -> None:
        self.market, self.account, self.position = market, account, position
        self.start, self.end = start, end
        self.fills: list[Fill] = []
        bar = market.bar(start, end)
        self.by_path = market.mark_path is not None and bar.lo < bar.hi
        fills = market.market.fills
        self.dead = ~(market.at(start, end).volume > 0) if fills is not None and fills.need_volume else None

    def path(self) -> list[Array]:
        """Return the first, lowest and highest mark of the step by column; the last one only where none is known."""
        market, step = self.market, self.market.at(self.start, self.end)
        if market.mark_path is None or not self.by_path:
            return [step.field(market.mark)] * 3
        first, low, high = (market.quote.fields[name][step.bar.lo : step.bar.hi] for name in market.mark_path)
        return [first[0], np.fmin.reduce(low, axis=0), np.fmax.reduce(high, axis=0)]

    # ------------------------------------------------------------------------------------------------------ isolated
    def isolated(self, names: list[str]) -> None:
        """Close the positions whose own price was reached."""
        first, low, high = (marks.item for marks in self.path())
        table, columns, by_path = self.position.position, self.market._column, self.by_path
        reached = []
        for name in names:
            held, place = table[name], columns.get(name)
            if place is None:
                continue
            limit, long = held["limit"], held["amount"] > 0
            opened = worst = first(place)
            if by_path:
                worst = low(place) if long else high(place)
            if self.dead is not None and self.dead[place]:  # nobody traded: it waits for a bar in which somebody does
                continue
            if (opened <= limit or worst <= limit) if long else (opened >= limit or worst >= limit):
                reached.append((name, opened, worst))
        for name, opened, worst in reached:
            self._one(name, opened, worst)

    def _one(self, name: str, opened: float, worst: float) -> None:
        """Close a position, or cut it tier by tier, on the way from the first mark to the worst one."""
        mark, late = opened, not self.by_path  # the mark that was reached; whether the bar had begun
        while (held := self.position.position.get(name)) is not None:
            limit, long = held["limit"], held["amount"] > 0
            if not (mark <= limit if long else mark >= limit):  # at the gap, where it was beyond the price at once
                if not (worst <= limit if long else worst >= limit):
                    return
                mark, late = limit, True
            amount = held["amount"]
            part = self._part(name, amount)
            left = self.close(name, part, mark, late=late)
            if part == amount and left < 0:  # a position loses its margin, and no more: the venue's fund pays
                self.account.pay("insurance", left)

    # --------------------------------------------------------------------------------------------------------- cross
    def cross(self, names: list[str]) -> None:
        """Close what has to be closed until the account covers the maintenance margin of what is left."""
        looks = [(self.market.at(self.start, self.end).field(self.market.mark), True)]
        if self.by_path:
            looks.insert(0, (self.path()[0], False))
        for marks, late in looks:
            while names and self._cut(names, marks, late=late):
                names = self.position.get_stock_list()
        if self.fills and not names and (left := self.position.calculate_value()) < 0:
            self.account.pay("insurance", left)

    def _cut(self, names: list[str], marks: Array, *, late: bool) -> bool:
        """Cut one position, or close all, if the account does not cover its maintenance margin; say whether it did."""
        market, position = self.market, self.position
        table, columns, legs = position.position, market._column, market.legs if market.any_leg else {}
        bar = market.bar(self.start, self.end)
        row = (bar.hi if late else bar.lo) - 1
        worth, needed, priced = position.get_cash(include_settle=True), 0.0, []
        for name in names:
            held, place = table[name], columns.get(name)
            mark = math.nan if place is None else marks.item(place)
            known = not math.isnan(mark)
            leg = legs.get(name)
            if leg is not None:
                rate, own = market.currencies.rate(leg.settle, row), mark if known else held["mark"]
                value = leg.profit(held["amount"], held["entry"], own) * rate
                size = held["amount"] * leg.worth(own) * rate
            else:
                value = size = held["amount"] * (mark if known else held["price"])
            worth += value
            needed += abs(size) * held["mmr"]
            if known and (self.dead is None or not self.dead[place]):
                priced.append((name, mark, abs(size)))
        if worth > needed or not priced:
            return False
        for name, mark, _ in sorted(priced, key=lambda one: (-one[2], one[0])):
            amount = table[name]["amount"]
            part = self._part(name, amount)
            if part != amount:
                self.close(name, part, mark, late=late)
                return True
        for name, mark, _ in priced:
            self.close(name, table[name]["amount"], mark, late=late)
        return True

    # ------------------------------------------------------------------------------------------------------- a part
    def _part(self, name: str, amount: float) -> float:
        """Return how much of a position is closed at once, with its sign."""
        market = self.market
        if not market.by_tiers:
            return amount
        terms = market.contracts.at(name, self.start)
        kept = terms.floor(market.tiers.below(name, abs(amount) / terms.contract, self.start) * terms.contract)
        return amount if not kept or kept > abs(amount) * (1 - SMALL) else amount - math.copysign(kept, amount)

    def close(self, name: str, part: float, price: float, *, late: bool) -> float:
        """Close a part of a position; return what is left of its margin, in money of the account."""
        market = self.market
        order = Order(name, abs(part), Order.SELL if part > 0 else Order.BUY, self.start, self.end)
        order.deal_amount, order.reason = order.amount, "liquidation"
        order.factor = market.get_factor(name, self.start, self.end)
        fill, left = market.close_part(order, self.account, self.position, price, late=late)
        self.fills.append(fill)
        return left

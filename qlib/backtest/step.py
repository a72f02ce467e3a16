"""The market in one step, for all instruments at once.

    market = exchange.at(start, end)               one object per step, kept while the step lasts
    held = exchange.columns(["SH600000", ...])     place of each instrument; -1 for one without quotes
    market.can_sell[held]                          may be sold in the step
    market.buy_price[held], market.factor[held]    float32; NaN where there is no number

Every array has one entry per instrument of `exchange.quote.instruments`, is a view of the quotes where a step is one
bar, and must not be written to. The scalar questions of `Exchange` (`is_stock_tradable`, `get_deal_price`, ...) read
the same arrays, so both always agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qlib.backtest.quote import Bar

Array = np.ndarray[Any, Any]
TINY_PRICE = 1e-8  # a price at or below this is no price


class StepQuotes:
    """What the rules of a market say in one step.

    Attributes
    ----------
    close, factor
        Last number of the step; a close of NaN means suspended.
    buy_price, sell_price
        Price of a trade on that side: the market's deal price, or the close where that is missing or not above 0.
    no_buy, no_sell
        True where the side is blocked: suspended, or at a price limit in every bar of the step.
    """

    __slots__ = ("bar", "buy_price", "close", "factor", "no_buy", "no_sell", "sell_price")

    def __init__(self, bar: Bar, buy_field: str, sell_field: str) -> None:
        self.bar = bar
        self.close: Array = bar.last("$close")
        self.factor: Array = bar.last("$factor")
        self.buy_price: Array = self._price(buy_field)
        self.sell_price: Array = self.buy_price if sell_field == buy_field else self._price(sell_field)
        self.no_buy: Array = bar.every("limit_buy")
        self.no_sell: Array = bar.every("limit_sell")
        if bar.hi - bar.lo != 1:
            suspended = np.isnan(self.close)
            self.no_buy, self.no_sell = self.no_buy | suspended, self.no_sell | suspended

    def _price(self, field: str) -> Array:
        if field == "$close":
            return self.close
        price = self.bar.last(field)
        priced = price > TINY_PRICE  # False for NaN, too
        return price if priced.all() else np.where(priced, price, self.close)

    @property
    def can_buy(self) -> Array:
        return ~self.no_buy

    @property
    def can_sell(self) -> Array:
        return ~self.no_sell

    @property
    def can_trade(self) -> Array:
        """Where both sides are open."""
        return ~(self.no_buy | self.no_sell)

    @property
    def suspended(self) -> Array:
        return np.isnan(self.close)

    @property
    def volume(self) -> Array:
        """Total adjusted volume of the step."""
        return self.bar.total("$volume")

    def stretch(self) -> tuple[Array, Array, Array]:
        """First open, highest high and lowest low of the step (loaded for stop orders)."""
        bar, fields = self.bar, self.bar.quote.fields
        with np.errstate(invalid="ignore"):
            high = np.fmax.reduce(fields["$high"][bar.lo : bar.hi], axis=0)
            low = np.fmin.reduce(fields["$low"][bar.lo : bar.hi], axis=0)
        return bar.first("$open"), high, low

    def field(self, name: str) -> Array:
        """Last number of any loaded field."""
        return self.bar.last(name)

"""What somebody who decides at the beginning of a step knows.

A step may span several bars of the market: a day that is executed in half-hours. The prices of its first bar are those
at which trading begins; the ones after it are the future.

    start, end = first_bar(exchange, start, end)                     the range to ask the exchange about
    may_buy = open_names(exchange, start, end, Order.BUY)            may_buy("SH600000")
    values = holding_values(exchange, position, names, start, end)   [101.5, ...], money
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qlib.backtest.decision import Order

if TYPE_CHECKING:
    from qlib.backtest.exchange import Exchange


def first_bar(exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the range of the step's first bar; the step itself where it is one bar, and under compat="qlib".

    Qlib asks about the whole step, so a day's orders know the prices of its evening.
    """
    if exchange.compat == "qlib":
        return start, end
    bar = exchange.bar(start, end)
    if bar.hi - bar.lo <= 1:
        return start, end
    opens = pd.Timestamp(exchange.quote.times[bar.lo])
    return opens, opens


def open_names(exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp, side: int | None) -> Callable[[str], bool]:
    """Return the question whether a name may be traded on the side (None: on both) in the range."""
    if not exchange.vector:
        return lambda name: exchange.is_stock_tradable(name, start, end, side)
    market, column = exchange.at(start, end), exchange.quote.column
    one = market.no_buy if side == Order.BUY else market.no_sell
    closed = market.no_buy | market.no_sell if side is None else one

    def is_open(name: str) -> bool:
        place = column.get(name)
        return place is not None and not closed.item(place)

    return is_open


def holding_values(
    exchange: Exchange, position: Any, names: Sequence[str], start: pd.Timestamp, end: pd.Timestamp
) -> list[float]:
    """Return the value of each holding at the market's price of a sale; a suspended one counts at its last price."""
    prices: list[float | None]
    if exchange.vector:
        columns = exchange.columns(names)
        found = exchange.at(start, end).sell_price[columns].astype(np.float64)
        if columns.size and columns.min() < 0:
            found[columns < 0] = np.nan  # without quotes
        prices = found.tolist()
    else:
        prices = [
            None
            if exchange.check_stock_suspended(name, start, end)
            else exchange.get_deal_price(name, start, end, direction=Order.SELL)
            for name in names
        ]
    amount, last = position.get_stock_amount, position.get_stock_price
    return [
        amount(name) * (price if price is not None and price > 0 else last(name))
        for name, price in zip(names, prices, strict=True)
    ]

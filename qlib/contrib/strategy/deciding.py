"""What somebody who decides at the beginning of a step knows.

A step may span several bars of the market: a day that is executed in half-hours. The prices of its first bar are those
at which trading begins; the ones after it are the future.

    start, end = first_bar(exchange, start, end)                     the range to ask the exchange about
    may_buy = open_names(exchange, start, end, Order.BUY)            may_buy("SH600000")
    values = holding_values(exchange, position, names, start, end)   [101.5, ...], money
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from qlib.backtest.decision import Order
from qlib.backtest.exchange import Exchange
from qlib.backtest.holdings import worth
from qlib.backtest.position import Position
from qlib.backtest.rules.fee import NOTHING


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


def buying_terms(
    exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp
) -> Callable[[str], tuple[float, float | None]]:
    """Return the question for a name's price of a buy in the range, and its factor."""
    if not exchange.vector:
        return lambda name: (
            exchange.get_deal_price(name, start, end, direction=Order.BUY),
            exchange.get_factor(name, start, end),
        )
    market, column = exchange.at(start, end), exchange.quote.column

    def terms(name: str) -> tuple[float, float | None]:
        place = column[name]
        factor = market.factor.item(place)
        return market.buy_price.item(place), None if math.isnan(factor) else factor

    return terms


def holding_values(
    exchange: Exchange, position: Any, names: Sequence[str], start: pd.Timestamp, end: pd.Timestamp
) -> list[float]:
    """Return the value of each holding at the market's price of a sale; a suspended one counts at its last price."""
    if exchange.vector and type(position) is Position:
        return worth(position.position, exchange.quote.column, exchange.at(start, end).sell_price, names)
    values = []
    for name in names:
        known = not exchange.check_stock_suspended(name, start, end)
        sold_at = exchange.get_deal_price(name, start, end, direction=Order.SELL) if known else math.nan
        if sold_at is None or not sold_at > 0:
            sold_at = position.get_stock_price(name)
        values.append(sold_at * position.get_stock_amount(name))
    return values


def sell_all(exchange: Exchange, order: Order, position: Any) -> bool:
    """Book the sale of a whole holding that may be traded, and say so; False where the market's rules must be asked.

    Does what `exchange.deal_order(order, position=position)` does, sooner, where no rule can cut the order.
    """
    market = exchange.market
    if (
        not exchange.vector
        or type(exchange).deal_order is not Exchange.deal_order
        or type(position) is not Position
        or market.volume.sell
        or market.impact.coefficient
        or market.fills is not None
        or market.short is not None
    ):
        return False
    step = exchange.at(order.start_time, order.end_time)
    price = step.sell_price.item(exchange.quote.column[order.stock_id])
    value = order.amount * price
    cost = market.fee.cost(value, market.fee.sell)
    if value <= NOTHING or position.get_cash() + value < cost:
        return False
    position.update_order(order, value, cost, price)
    return True

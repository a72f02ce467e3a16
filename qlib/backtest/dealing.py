"""What becomes of an order: price, amount, cost.

    1  price       the market's deal price of the side; a stop order's own
    2  volume      at most what the caps of the market allow
    3  slippage    half the spread and the impact of the size move the price against the order
    4  money       at most what cash, holdings and margin allow
    5  lot         whole lots; what closes a holding is exact, the odd lot too
    6  cost        the fee of the value

The order receives `deal_amount`, `factor`, `slippage` (money) and, where it was cut to nothing, the `reason`.

In a market with `short` a sale may go through zero: what is held is sold exactly, the rest opens a short position, as
large as the margin allows, and the other way round for a buy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qlib.backtest.decision import Order
from qlib.backtest.position import BasePosition, Position, nearly_equal
from qlib.backtest.rules.fee import NOTHING
from qlib.backtest.rules.volume import CUMULATIVE, PRIOR
from qlib.backtest.trades import ORDER

if TYPE_CHECKING:
    from qlib.backtest.account import Account
    from qlib.backtest.exchange import Exchange
    from qlib.backtest.rules.market import Market


def fill(
    exchange: Exchange,
    order: Order,
    holding: BasePosition | None,
    dealt: Mapping[str, float],
    account: Account | None = None,
) -> tuple[float, float, float]:
    """Decide price and amount of an order that may be traded; return (price, value, cost)."""
    market = exchange.market
    buying = order.direction == Order.BUY
    start, end, stock = order.start_time, order.end_time, order.stock_id
    factor: float | None
    if exchange.vector:
        step, column = exchange.at(start, end), exchange.quote.column[stock]
        price = (step.buy_price if buying else step.sell_price).item(column)
        factor = step.factor.item(column)
        if math.isnan(factor):
            factor = None
    else:
        price = exchange.get_deal_price(stock, start, end, direction=order.direction)
        factor = exchange.get_factor(stock, start, end)
    order.factor = factor
    if order.stop is not None:
        price = _stopped(exchange, order, price, buying=buying)
        if math.isnan(price):
            order.deal_amount = 0.0
            if order.reason is ORDER:
                order.reason = "stop not reached"
            return math.nan, 0.0, 0.0
        if order.reason is ORDER:
            order.reason = "stop"
    amount = order.amount
    if market.volume.buy if buying else market.volume.sell:
        amount = _within_volume(exchange, order, dealt, buying=buying)
        if amount < order.amount and order.reason is ORDER:
            order.reason = "volume"
    rate = exchange.fee_rate(order, account)
    if market.impact.coefficient:
        volume = exchange.get_volume(stock, start, end)
        rate += market.impact.share(amount * price, 0.0 if volume is None else volume * price)
    undisturbed = price
    if market.fills is not None:
        price = undisturbed * (1 + _slip(exchange, order, amount, buying=buying))
    amount = _payable(exchange, market, order, amount, price, rate, factor, holding, buying=buying)
    if market.fills is not None:
        price = undisturbed * (1 + _slip(exchange, order, amount, buying=buying))  # a smaller order moves it less
        order.slippage = abs(price - undisturbed) * amount
    order.deal_amount = amount
    value = amount * price
    if value <= NOTHING:
        if order.reason is ORDER and order.amount > 0:
            order.reason = _why(exchange, order, factor, holding, buying=buying)
        return price, value, 0.0
    return price, value, market.fee.cost(value, rate)


def _why(exchange: Exchange, order: Order, factor: float | None, holding: BasePosition | None, *, buying: bool) -> str:
    """Why nothing of an order was dealt."""
    stock = order.stock_id
    if not exchange.whole_lots(order.amount, factor, order):
        return "lot"
    if not buying and exchange.market.short is None and holding is not None and not holding.get_stock_amount(stock):
        return "not held"
    return "cash" if exchange.market.short is None else "margin"


def _stopped(exchange: Exchange, order: Order, price: float, *, buying: bool) -> float:
    """Price of a stop order: the stop, or the open where the bar opened beyond it; NaN where it was not reached."""
    step, column = exchange.at(order.start_time, order.end_time), exchange.quote.column[order.stock_id]
    stop = order.stop
    assert stop is not None
    first, high, low = (bars.item(column) for bars in step.stretch())
    if math.isnan(first):
        first = price
    if buying:
        return max(stop, first) if high >= stop else math.nan
    return min(stop, first) if low <= stop else math.nan


def _within_volume(exchange: Exchange, order: Order, dealt: Mapping[str, float], *, buying: bool) -> float:
    """Return the order's amount, cut to the volume caps of its side."""
    caps = exchange.market.volume.buy if buying else exchange.market.volume.sell
    bar, column = exchange.bar(order.start_time, order.end_time), exchange.quote.column[order.stock_id]
    amount = order.amount
    for kind, field in caps:
        if kind == CUMULATIVE:
            room = bar.last(field).item(column) - dealt.get(order.stock_id, 0.0)
        elif kind == PRIOR:
            room = bar.first(field).item(column) * (bar.hi - bar.lo)
        else:
            room = bar.total(field).item(column)
        amount = min(amount, room if room > 0 else 0.0)
    return amount


def _slip(exchange: Exchange, order: Order, amount: float, *, buying: bool) -> float:
    """Relative change of the price that the order itself causes, above 0 for a buy."""
    fills = exchange.market.fills
    assert fills is not None
    volatility = volume = math.nan
    if fills.impact:
        bar, column = exchange.bar(order.start_time, order.end_time), exchange.quote.column[order.stock_id]
        volatility, volume = bar.first(fills.volatility).item(column), bar.first(fills.volume).item(column)
    share = fills.share(amount, volatility, volume)
    return share if buying else -min(share, 1.0)


def _payable(
    exchange: Exchange,
    market: Market,
    order: Order,
    amount: float,
    price: float,
    rate: float,
    factor: float | None,
    holding: BasePosition | None,
    *,
    buying: bool,
) -> float:
    """Return how much of `amount` can be paid for, in whole lots."""
    if holding is None:
        return exchange.whole_lots(amount, factor, order) if buying else amount
    if market.short is not None and not holding.skip_update():
        return _signed(exchange, market, order, amount, price, rate, factor, holding, buying=buying)
    if buying:
        return _affordable(exchange, market, order, amount, price, rate, factor, holding.get_cash())
    stock = order.stock_id
    held = holding.get_stock_amount(stock) if holding.check_stock(stock) else 0.0
    if market.compat == "qlib":
        if not nearly_equal(amount, held):
            amount = exchange.whole_lots(min(held, amount), factor, order)
    elif amount >= held or nearly_equal(amount, held):
        amount = held  # all of it, the odd lot too
    else:
        amount = exchange.whole_lots(amount, factor, order)
    value, cash = amount * price, holding.get_cash()
    if market.compat != "qlib":
        cash = max(cash, 0.0)  # a debt that holding made is paid with sales
    if cash + value < max(value * rate, market.fee.minimum):
        return 0.0  # cash does not cover the cost
    return amount


def _affordable(
    exchange: Exchange,
    market: Market,
    order: Order,
    amount: float,
    price: float,
    rate: float,
    factor: float | None,
    cash: float,
) -> float:
    value = amount * price
    fee = market.fee
    cost = max(value * rate, fee.minimum)
    if cash < cost:
        return 0.0  # Qlib's rule: cash must at least cover the cost of the order as it was given
    if cash >= value + cost:
        return exchange.whole_lots(amount, factor, order)
    amount = exchange.whole_lots(min(fee.affordable(cash, rate) / price, amount), factor, order)
    if market.compat != "qlib":
        step = 1e-16
        while (value := amount * price) + fee.cost(value, rate) > cash:  # the last bit of a float
            step *= 2
            amount *= 1 - step
    return amount


def _signed(
    exchange: Exchange,
    market: Market,
    order: Order,
    amount: float,
    price: float,
    rate: float,
    factor: float | None,
    holding: BasePosition,
    *,
    buying: bool,
) -> float:
    """Return how much of an order that may go through zero can be paid for."""
    assert market.short is not None
    margin, fee, stock = market.short.margin, market.fee, order.stock_id
    held = holding.get_stock_amount(stock)
    against = max(0.0, -held if buying else held)  # what the order closes before it opens anything
    if nearly_equal(amount, against):
        amount = against
    if amount < against:
        amount = exchange.whole_lots(amount, factor, order)
        opening = 0.0
    else:
        opening = amount - against if price > 0 else 0.0  # what is sold for nothing opens no short
        if opening:
            money = exchange.room(order, holding, against, price, rate)
            opening = exchange.whole_lots(min(opening, max(money, 0.0) / price), factor, order)
        amount = against + opening
    if margin.debt:
        return amount
    cash = holding.get_cash()
    if buying:
        value = amount * price
        if cash >= value + fee.cost(value, rate):
            return amount
        return _affordable(exchange, market, order, amount, price, rate, factor, max(cash, 0.0))
    value = amount * price
    return amount if max(cash, 0.0) + value >= fee.cost(value, rate) else 0.0


def equity_and_exposure(holding: BasePosition) -> tuple[float, float]:
    """Return the value of the account, and of all holdings without their signs."""
    if type(holding) is Position:
        value, exposure = holding.sums()
        return value + holding.get_cash(include_settle=True), exposure
    names = holding.get_stock_list()
    exposure = sum(abs(holding.get_stock_amount(name)) * holding.get_stock_price(name) for name in names)
    return holding.calculate_value(), exposure

"""From target weights to orders.

OrderGenWInteract      knows the prices of the step it trades in: the target amounts spend exactly the budget
OrderGenWOInteract     knows the bar before only, as somebody who sends orders before the open

    strategy = MyWeights(signal=scores, order_generator_cls_or_obj=OrderGenWOInteract)

A weight is a share of the invested money, account value x risk degree; weights that add up to less than 1 leave the
rest in cash. Of a step that spans several bars only the first is known. Where the exchange allows shorts a weight may
be negative.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from qlib.backtest.decision import Order
from qlib.backtest.exchange import Exchange
from qlib.contrib.strategy.deciding import first_bar, holding_values, open_names
from qlib.errors import InputError


class OrderGenerator:
    """Turns target weights into orders."""

    @abstractmethod
    def generate_order_list_from_target_weight_position(
        self,
        current: Any,
        trade_exchange: Exchange,
        target_weight_position: Mapping[str, float] | None,
        risk_degree: float,
        pred_start_time: pd.Timestamp,
        pred_end_time: pd.Timestamp,
        trade_start_time: pd.Timestamp,
        trade_end_time: pd.Timestamp,
    ) -> list[Order]:
        """Return the orders.

        Parameters
        ----------
        current
            The position now.
        target_weight_position
            Weight of each instrument in the invested money; None means no orders.
        risk_degree
            Share of the account to invest.
        pred_start_time, pred_end_time
            The bar in which the weights were made.
        trade_start_time, trade_end_time
            The step in which to trade.
        """
        raise NotImplementedError


class OrderGenWInteract(OrderGenerator):
    """Values everything at the deal prices of the step it trades in.

    Budget = account value x risk degree x sum of the weights - holdings that cannot be traded, less the cost of trading
    it; it is shared by the names that can be traded, in proportion to their weights. A negative budget sells everything
    that can be sold.

    Under compat="qlib" the weights are stretched to a sum of 1, target amounts are whole numbers, and all bars of the
    step are known.
    """

    def generate_order_list_from_target_weight_position(
        self,
        current: Any,
        trade_exchange: Exchange,
        target_weight_position: Mapping[str, float] | None,
        risk_degree: float,
        pred_start_time: pd.Timestamp,  # noqa: ARG002
        pred_end_time: pd.Timestamp,  # noqa: ARG002
        trade_start_time: pd.Timestamp,
        trade_end_time: pd.Timestamp,
    ) -> list[Order]:
        if target_weight_position is None:
            return []
        held = current.get_stock_amount_dict()
        step = first_bar(trade_exchange, trade_start_time, trade_end_time)
        tradable = open_names(trade_exchange, *step, None)
        target: dict[str, float]
        if trade_exchange.compat == "qlib":
            budget = self._qlibs_budget(current, trade_exchange, risk_degree, *step)
        else:
            total = _check(target_weight_position, trade_exchange)
            values = dict(zip(held, holding_values(trade_exchange, current, list(held), *step), strict=True))
            frozen = sum(abs(value) for name, value in values.items() if not tradable(name))
            budget = (sum(values.values()) + current.get_cash()) * risk_degree * min(total, 1.0) - frozen
        if budget < 0:
            target = {name: 0.0 for name in held if tradable(name)}
        else:
            budget /= 1 + max(trade_exchange.open_cost, trade_exchange.close_cost)
            if trade_exchange.compat == "qlib":
                target = trade_exchange.generate_amount_position_from_weight_position(
                    target_weight_position, budget, *step
                )
            else:
                weights = {name: weight for name, weight in target_weight_position.items() if weight and tradable(name)}
                total = sum(map(abs, weights.values()))
                target = {
                    name: budget * weight / total / _price(trade_exchange, name, weight, step)
                    for name, weight in weights.items()
                }
        orders = trade_exchange.generate_order_for_target_amount_position(target, held, *step)
        return _during(orders, trade_start_time, trade_end_time)

    @staticmethod
    def _qlibs_budget(
        current: Any, exchange: Exchange, risk_degree: float, start: pd.Timestamp, end: pd.Timestamp
    ) -> float:
        held, cash = current.get_stock_amount_dict(), current.get_cash()
        everything = exchange.calculate_amount_position_value(held, start, end, only_tradable=False) + cash
        tradable = exchange.calculate_amount_position_value(held, start, end, only_tradable=True) + cash
        return tradable - (1.0 - risk_degree) * everything


class OrderGenWOInteract(OrderGenerator):
    """Values the names to buy at the close of the bar before.

    Budget = risk_degree * account value. A name that is not tradable in both bars is valued at its stored price if it
    is held, and left out if it is not. What holdings that cannot be traded are worth beyond their weights is taken from
    the others (not under compat="qlib", which then invests more than the budget).
    """

    def generate_order_list_from_target_weight_position(
        self,
        current: Any,
        trade_exchange: Exchange,
        target_weight_position: Mapping[str, float] | None,
        risk_degree: float,
        pred_start_time: pd.Timestamp,
        pred_end_time: pd.Timestamp,
        trade_start_time: pd.Timestamp,
        trade_end_time: pd.Timestamp,
    ) -> list[Order]:
        if target_weight_position is None:
            return []
        budget = risk_degree * current.calculate_value()
        step = first_bar(trade_exchange, trade_start_time, trade_end_time)
        now = open_names(trade_exchange, *step, None)
        before = open_names(trade_exchange, pred_start_time, pred_end_time, None)
        scale = 1.0
        if trade_exchange.compat != "qlib":
            _check(target_weight_position, trade_exchange)
            scale = _left_for_others(current, target_weight_position, budget, now)
        target = {}
        for name, weight in target_weight_position.items():
            if now(name) and before(name):
                price = trade_exchange.get_close(name, pred_start_time, pred_end_time)
            elif current.check_stock(name):
                price = current.get_stock_price(name)
            else:
                continue
            target[name] = budget * weight * scale / price
        orders = trade_exchange.generate_order_for_target_amount_position(
            target, current.get_stock_amount_dict(), *step
        )
        return _during(orders, trade_start_time, trade_end_time)


def _check(weights: Mapping[str, float], exchange: Exchange) -> float:
    """Return the sum of the weights without their signs; InputError for what no portfolio can have."""
    least = 0 if exchange.market.short is None else -1
    total = 0.0
    for name, weight in weights.items():
        if not least <= weight <= 1:
            hint = "; the exchange allows no shorts, short=True does" if weight < 0 and not least else ""
            raise InputError(f"weight of {name}: received {weight!r}; {least} to 1 is allowed{hint}")
        total += abs(weight)
    if total - 1 >= 1e-5:
        raise InputError(f"the weights add up to {total}; at most 1 is allowed")
    return total


def _price(exchange: Exchange, name: str, weight: float, step: tuple[pd.Timestamp, pd.Timestamp]) -> float:
    price: float = exchange.get_deal_price(name, *step, direction=Order.BUY if weight > 0 else Order.SELL)
    return price


def _left_for_others(
    current: Any, weights: Mapping[str, float], budget: float, tradable: Callable[[str], bool]
) -> float:
    """Return the share of their weights that the tradable names can have beside holdings that stay as they are."""
    beyond = 0.0
    for name in current.get_stock_list():
        if not tradable(name):
            value = abs(current.get_stock_amount(name) * current.get_stock_price(name))
            beyond += max(value - budget * abs(weights.get(name, 0.0)), 0.0)
    others = budget * sum(abs(weight) for name, weight in weights.items() if tradable(name))
    return max(1 - beyond / others, 0.0) if others > 0 else 1.0


def _during(orders: list[Order], start: pd.Timestamp, end: pd.Timestamp) -> list[Order]:
    """Return the orders, valid during the whole step."""
    for order in orders:
        order.start_time, order.end_time = start, end
    return orders

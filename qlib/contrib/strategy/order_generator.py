"""From target weights to orders.

OrderGenWInteract      knows the prices of the step it trades in: the target amounts spend exactly the budget
OrderGenWOInteract     knows the bar before only, as somebody who sends orders before the open
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import pandas as pd

from qlib.backtest.decision import Order
from qlib.backtest.exchange import Exchange


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

    Budget = tradable holdings + cash - (1 - risk_degree) * (all holdings + cash), less the cost of trading it. A
    negative budget sells everything that can be sold.
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
        held, cash = current.get_stock_amount_dict(), current.get_cash()
        step = (trade_start_time, trade_end_time)
        everything = trade_exchange.calculate_amount_position_value(held, *step, only_tradable=False) + cash
        tradable = trade_exchange.calculate_amount_position_value(held, *step, only_tradable=True) + cash
        budget = tradable - (1.0 - risk_degree) * everything
        if budget < 0:
            target = {name: 0.0 for name in held if trade_exchange.is_stock_tradable(name, *step)}
        else:
            budget /= 1 + max(trade_exchange.open_cost, trade_exchange.close_cost)
            target = trade_exchange.generate_amount_position_from_weight_position(target_weight_position, budget, *step)
        return trade_exchange.generate_order_for_target_amount_position(target, held, *step)


class OrderGenWOInteract(OrderGenerator):
    """Values the names to buy at the close of the bar before.

    Budget = risk_degree * account value. A name that is not tradable in both bars is valued at its stored price if it
    is held, and left out if it is not.
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
        target = {}
        for name, weight in target_weight_position.items():
            now = trade_exchange.is_stock_tradable(name, trade_start_time, trade_end_time)
            if now and trade_exchange.is_stock_tradable(name, pred_start_time, pred_end_time):
                price = trade_exchange.get_close(name, pred_start_time, pred_end_time)
            elif current.check_stock(name):
                price = current.get_stock_price(name)
            else:
                continue
            target[name] = budget * weight / price
        return trade_exchange.generate_order_for_target_amount_position(
            target, current.get_stock_amount_dict(), trade_start_time, trade_end_time
        )

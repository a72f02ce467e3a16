"""Strategies that follow a rule instead of a score.

TWAPStrategy          splits an outer order evenly over the inner steps
FileOrderStrategy     executes orders listed in a file
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from qlib.backtest.decision import BaseTradeDecision, Order, OrderDir, TradeDecisionWO, TradeRange
from qlib.backtest.utils import get_start_end_idx
from qlib.errors import InputError
from qlib.strategy.base import BaseStrategy

DUST = 1e-5  # an amount at or below this is not worth an order


class TWAPStrategy(BaseStrategy):
    """Split every outer order evenly over the inner steps in which it may be executed.

    After step k of n, (k + 1) / n of the order should be done; each step orders what is missing, rounded to the nearest
    trade unit, and the last one whatever is left. Suspended instruments are skipped.
    """

    def reset(self, outer_trade_decision: BaseTradeDecision | None = None, **kwargs: Any) -> None:  # type: ignore[override]
        """Begin a new outer decision."""
        super().reset(outer_trade_decision=outer_trade_decision, **kwargs)
        if outer_trade_decision is not None:
            self._left = {_key(order): order.amount for order in outer_trade_decision.get_decision()}

    def generate_trade_decision(self, execute_result: list[Any] | None = None) -> BaseTradeDecision:
        """Return this step's part of every outer order."""
        for order, *_ in execute_result or []:
            self._left[_key(order)] -= order.deal_amount
        clock, outer = self.trade_calendar, self.outer_trade_decision
        first, last = get_start_end_idx(clock, outer)
        step = clock.get_trade_step()
        if not first <= step <= last:
            return TradeDecisionWO([], self)
        start, end = clock.get_step_time(step)
        count, done = last - first + 1, step - first + 1
        orders = []
        for order in outer.get_decision():
            if self.trade_exchange.check_stock_suspended(order.stock_id, start, end):
                continue
            left = self._left[_key(order)]
            amount = left
            if step < last:
                due = order.amount / count * done - (order.amount - left)
                unit = self.trade_exchange.get_amount_of_trade_unit(
                    stock_id=order.stock_id, start_time=start, end_time=end
                )
                amount = min(due if unit is None else float(np.round(due / unit)) * unit, left)
            if amount > DUST:
                orders.append(Order(order.stock_id, amount, order.direction, start, end))
        return TradeDecisionWO(orders, self)


def _key(order: Order) -> tuple[str, OrderDir]:
    return order.stock_id, order.direction


class FileOrderStrategy(BaseStrategy):
    """Execute the orders of a list, each in the step that starts at its time.

    Parameters
    ----------
    file
        CSV (path or open file) or DataFrame with the columns datetime, instrument, amount, direction; a direction is
        "buy", "sell" or a number (above 0 buys).
    trade_range
        Part of the step in which the orders may be executed: a TradeRange, or (first, last) inner step.
    """

    def __init__(
        self,
        file: IO[Any] | str | Path | pd.DataFrame,
        trade_range: tuple[int, int] | TradeRange | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        orders = file.copy() if isinstance(file, pd.DataFrame) else pd.read_csv(file, dtype={"datetime": str})
        absent = [name for name in ("datetime", "instrument", "amount", "direction") if name not in orders.columns]
        if absent:
            raise InputError(f"list of orders: it has the columns {list(orders.columns)} and lacks {', '.join(absent)}")
        orders["direction"] = [int(Order.parse_dir(direction)) for direction in orders["direction"]]
        orders["datetime"] = pd.to_datetime(orders["datetime"])
        self.order_df = orders.set_index(["datetime", "instrument"])
        self.trade_range = trade_range

    def generate_trade_decision(self, execute_result: list[Any] | None = None) -> BaseTradeDecision:  # noqa: ARG002
        """Return the orders listed for the start of this step."""
        start, end = self.trade_calendar.get_step_time()
        here = self.order_df[self.order_df.index.get_level_values("datetime") == start]
        orders = [
            Order(str(instrument), float(amount), OrderDir(direction), start, end)
            for (_, instrument), amount, direction in zip(here.index, here["amount"], here["direction"], strict=True)
        ]
        return TradeDecisionWO(orders, self, self.trade_range)

"""What a strategy wants: orders, and the part of the day in which they may be executed.

Order                    so much of one instrument, one direction, one time range
TradeDecisionWO          a list of orders, remembered with the step in which it was made
TradeRange               the bars of an inner calendar in which an outer decision may be executed
"""

from __future__ import annotations

import datetime
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

import numpy as np
import pandas as pd

from qlib.errors import InputError, did_you_mean
from qlib.log import get_module_logger

if TYPE_CHECKING:
    from qlib.backtest.exchange import Exchange
    from qlib.backtest.utils import TradeCalendarManager

DecisionType = TypeVar("DecisionType")
logger = get_module_logger("decision")


class OrderDir(IntEnum):
    """Side of an order."""

    SELL = 0
    BUY = 1


@dataclass
class Order:
    """So much of one instrument in one direction.

    Parameters
    ----------
    stock_id
        The instrument.
    amount
        Adjusted amount, never negative; real shares are amount * factor.
    direction
        `Order.BUY` or `Order.SELL`.
    start_time, end_time
        Closed range in which the order is valid; a decision fills in its step where they are None.

    `deal_amount` (amount executed) and `factor` are written by the exchange; what the constructor receives is dropped.
    """

    stock_id: str
    amount: float
    direction: OrderDir
    start_time: pd.Timestamp
    end_time: pd.Timestamp
    deal_amount: float = 0.0
    factor: float | None = None

    SELL: ClassVar[OrderDir] = OrderDir.SELL
    BUY: ClassVar[OrderDir] = OrderDir.BUY
    reason = "order"  # why it exists, or what cut it: for the trade log; a strategy may set its own
    slippage = 0.0  # money lost to spread and impact, written by the exchange
    stop = cast("float | None", None)  # set on an order: it is dealt only when the price reaches this

    def __post_init__(self) -> None:
        if self.direction not in (0, 1):
            raise InputError(
                f"direction of an order: received {self.direction!r}; allowed are Order.BUY and Order.SELL"
            )
        if not self.amount >= 0:
            raise InputError(
                f"amount of an order: received {self.amount} for {self.stock_id}; a number of at least 0 is allowed, "
                "the direction says buy or sell"
            )
        self.deal_amount = 0.0
        self.factor = None

    @property
    def amount_delta(self) -> float:
        """Amount with the sign of the direction."""
        return self.amount * self.sign

    @property
    def deal_amount_delta(self) -> float:
        """Executed amount with the sign of the direction."""
        return self.deal_amount * self.sign

    @property
    def sign(self) -> int:
        """1 for a buy, -1 for a sell."""
        return 1 if self.direction == OrderDir.BUY else -1

    @property
    def date(self) -> pd.Timestamp:
        """Midnight of the day the order starts."""
        return self.start_time.normalize()

    @property
    def key_by_day(self) -> tuple[str, pd.Timestamp, OrderDir]:
        """(instrument, date, direction)."""
        return self.stock_id, self.date, self.direction

    @property
    def key(self) -> tuple[str, pd.Timestamp, pd.Timestamp, OrderDir]:
        """(instrument, start, end, direction)."""
        return self.stock_id, self.start_time, self.end_time, self.direction

    @staticmethod
    def parse_dir(direction: Any) -> OrderDir | np.ndarray:
        """Read a direction: an OrderDir, "buy" or "sell", a number (above 0 buys), or an array of numbers.

        >>> Order.parse_dir("Buy").name, Order.parse_dir(-1).name
        ('BUY', 'SELL')
        """
        if isinstance(direction, OrderDir):
            return direction
        if isinstance(direction, int | float | np.integer | np.floating):
            return Order.BUY if direction > 0 else Order.SELL
        if isinstance(direction, str):
            name = direction.strip().lower()
            if name in ("buy", "sell"):
                return Order.BUY if name == "buy" else Order.SELL
        elif isinstance(direction, np.ndarray):
            return np.where(direction > 0, int(Order.BUY), int(Order.SELL))
        raise InputError(
            f"direction: received {direction!r}; allowed are 'buy', 'sell', a number and an OrderDir"
            f"{did_you_mean(str(direction), ('buy', 'sell'))}"
        )


class OrderHelper:
    """Makes orders; `Exchange.get_order_helper()` returns one."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    @staticmethod
    def create(
        code: str,
        amount: float,
        direction: OrderDir,
        start_time: str | pd.Timestamp | None = None,
        end_time: str | pd.Timestamp | None = None,
    ) -> Order:
        """Return an order; times that are left out are filled in by the decision."""
        start = None if start_time is None else pd.Timestamp(start_time)
        end = None if end_time is None else pd.Timestamp(end_time)
        return Order(code, amount, direction, start, end)  # type: ignore[arg-type]


class TradeRange:
    """Which bars of an inner calendar may be traded."""

    @abstractmethod
    def __call__(self, trade_calendar: TradeCalendarManager) -> tuple[int, int]:
        """Return the first and the last step (both included) of `trade_calendar` that may be traded."""
        raise NotImplementedError

    @abstractmethod
    def clip_time_range(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Return the part of a closed time range that may be traded."""
        raise NotImplementedError


class IdxTradeRange(TradeRange):
    """A range said in steps."""

    def __init__(self, start_idx: int, end_idx: int) -> None:
        self._start_idx, self._end_idx = start_idx, end_idx

    def __call__(self, trade_calendar: TradeCalendarManager | None = None) -> tuple[int, int]:
        return self._start_idx, self._end_idx

    def clip_time_range(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Raise NotImplementedError: a range said in steps knows no times."""
        raise NotImplementedError(
            "a trade range said in steps cannot clip times; use TradeRangeByTime('9:30', '14:59')"
        )


class TradeRangeByTime(TradeRange):
    """A range said in times of the day, both included: `TradeRangeByTime("9:30", "14:59")`."""

    def __init__(self, start_time: str | datetime.time, end_time: str | datetime.time) -> None:
        self.start_time = pd.Timestamp(start_time).time() if isinstance(start_time, str) else start_time
        self.end_time = pd.Timestamp(end_time).time() if isinstance(end_time, str) else end_time
        if not self.start_time < self.end_time:
            raise InputError(f"trade range: received {start_time} to {end_time}; the start must be before the end")

    def __call__(self, trade_calendar: TradeCalendarManager) -> tuple[int, int]:
        if trade_calendar is None:
            raise InputError("a trade range said in times needs the calendar whose steps it selects")
        day = trade_calendar.get_all_time()[0].date()
        return trade_calendar.get_range_idx(self._at(day, self.start_time), self._at(day, self.end_time))

    def clip_time_range(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
        day = start_time.date()
        return max(start_time, self._at(day, self.start_time)), min(end_time, self._at(day, self.end_time))

    @staticmethod
    def _at(day: datetime.date, time: datetime.time) -> pd.Timestamp:
        return pd.Timestamp(datetime.datetime.combine(day, time))


class BaseTradeDecision(Generic[DecisionType]):
    """A decision of a strategy, remembered with the step in which it was made.

    Parameters
    ----------
    strategy
        Who decided; its calendar says the step.
    trade_range
        A TradeRange, a pair (first step, last step) of the inner calendar, or None for no restriction.
    """

    def __init__(self, strategy: Any, trade_range: tuple[int, int] | TradeRange | None = None) -> None:
        self.strategy = strategy
        self.start_time, self.end_time = strategy.trade_calendar.get_step_time()
        self.total_step: int | None = None  # number of inner steps, known once an inner calendar exists
        self.trade_range = IdxTradeRange(*trade_range) if isinstance(trade_range, tuple) else trade_range
        self.inherited_range = False  # the range is that of the decision above, and observed there

    @abstractmethod
    def get_decision(self) -> list[DecisionType]:
        """Return the concrete decision, for example orders."""
        raise NotImplementedError

    def update(self, trade_calendar: TradeCalendarManager) -> BaseTradeDecision | None:
        """Let the strategy revise the decision at the current step of the inner calendar; None: nothing new."""
        self.total_step = trade_calendar.get_trade_len()
        return cast("BaseTradeDecision | None", self.strategy.update_trade_decision(self, trade_calendar))

    def get_range_limit(self, **kwargs: Any) -> Any:
        """Return (first step, last step) of the inner calendar in which the decision may be executed.

        Keyword arguments: `inner_calendar` (needed by ranges said in times) and `default_value`, returned when the
        decision has no range; without a default NotImplementedError is raised then.
        """
        if self.trade_range is None:
            if "default_value" in kwargs:
                return kwargs["default_value"]
            raise NotImplementedError("this decision has no trade range")
        first, last = self.trade_range(kwargs.get("inner_calendar"))  # type: ignore[arg-type]
        if self.total_step is not None and (first < 0 or last >= self.total_step):
            logger.warning(f"the trade range {first}..{last} leaves the {self.total_step} steps; it is cut to them")
            first, last = max(first, 0), min(last, self.total_step - 1)
        return first, last

    def get_data_cal_range_limit(self, rtype: str = "full", raise_error: bool = False) -> tuple[int, int]:
        """Return the trade range in bars of the exchange's data, counted from the first bar of the day.

        "full": of the whole day; "step": of the step the decision was made for. Without a trade range the whole day is
        returned, or NotImplementedError raised with `raise_error`.
        """
        if rtype not in ("full", "step"):
            raise InputError(f"rtype: received {rtype!r}; allowed are 'full' and 'step'")
        first_moment = self.start_time.normalize()
        last_moment = first_moment + pd.Timedelta(days=1) - pd.Timedelta(seconds=1)
        exchange = self.strategy.trade_exchange
        first, last = exchange.calendar_range(first_moment, last_moment)
        if self.trade_range is None:
            if raise_error:
                raise NotImplementedError("this decision has no trade range")
            return 0, last - first
        span = (first_moment, last_moment) if rtype == "full" else (self.start_time, self.end_time)
        start, end = exchange.calendar_range(*self.trade_range.clip_time_range(*span))
        return start - first, end - first

    def empty(self) -> bool:
        """Return True when no order of the decision has an amount worth trading."""
        return all(isinstance(decision, Order) and decision.amount <= 1e-6 for decision in self.get_decision())

    def mod_inner_decision(self, inner_trade_decision: BaseTradeDecision) -> None:
        """Hand the trade range down to a decision that an inner strategy made, unless it has its own.

        A range said in steps counts those of one level, so it stays there.
        """
        if inner_trade_decision.trade_range is None and not isinstance(self.trade_range, IdxTradeRange):
            inner_trade_decision.trade_range = self.trade_range
            inner_trade_decision.inherited_range = True


class EmptyTradeDecision(BaseTradeDecision[object]):
    """The decision to do nothing."""

    def get_decision(self) -> list[object]:
        return []

    def empty(self) -> bool:
        return True


class TradeDecisionWO(BaseTradeDecision[Order]):
    """A decision with orders; an order without times is valid during the step."""

    def __init__(
        self,
        order_list: Sequence[Order],
        strategy: Any,
        trade_range: tuple[int, int] | TradeRange | None = None,
    ) -> None:
        super().__init__(strategy, trade_range=trade_range)
        self.order_list = cast("list[Order]", order_list)
        for order in order_list:
            if order.start_time is None:
                order.start_time = self.start_time
            if order.end_time is None:
                order.end_time = self.end_time

    def get_decision(self) -> list[Order]:
        return self.order_list

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.order_list)} orders, {self.start_time} to {self.end_time})"


class TradeDecisionWithDetails(TradeDecisionWO):
    """Orders with whatever explains them in `details`."""

    def __init__(
        self,
        order_list: list[Order],
        strategy: Any,
        trade_range: tuple[int, int] | None = None,
        details: Any = None,
    ) -> None:
        super().__init__(order_list, strategy, trade_range)
        self.details = details

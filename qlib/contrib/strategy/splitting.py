"""Strategies that split an outer order over inner steps.

    outer order    buy 800 shares on Monday, between step 4 and step 11
    splitting      step 4: 100, step 5: 100 ... and whatever was not dealt is still left for the next step

`SplitStrategy` keeps the book: what is left of every order, and which steps may be used. A subclass says in `share`
how much of an order is due in a step.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.backtest.decision import BaseTradeDecision, Order, OrderDir, TradeDecisionWO
from qlib.backtest.utils import CommonInfrastructure, LevelInfrastructure, get_start_end_idx
from qlib.errors import ConfigError
from qlib.strategy.base import BaseStrategy

DUST: Final = 1e-5  # an amount at or below this is not worth an order
Key = tuple[str, OrderDir]


class SplitStrategy(BaseStrategy):
    """Splits every outer order over the inner steps in which it may be executed.

    Several outer orders for one instrument and side are one order here. Suspended instruments wait.
    """

    def reset(self, outer_trade_decision: BaseTradeDecision | None = None, **kwargs: Any) -> None:  # type: ignore[override]
        """Begin a new outer decision."""
        super().reset(outer_trade_decision=outer_trade_decision, **kwargs)
        if outer_trade_decision is not None:
            self._wanted = _merged(outer_trade_decision)
            self._left = {key: order.amount for key, order in self._wanted.items()}

    def alter_outer_trade_decision(self, outer_trade_decision: BaseTradeDecision) -> BaseTradeDecision:
        """Take a revised outer decision; what has been dealt of it stays dealt."""
        wanted = _merged(outer_trade_decision)
        for key, order in wanted.items():
            before = self._wanted.get(key)
            dealt = 0.0 if before is None else before.amount - self._left[key]
            self._left[key] = max(order.amount - dealt, 0.0)
        self._wanted = wanted
        return super().alter_outer_trade_decision(outer_trade_decision)

    def generate_trade_decision(self, execute_result: list[Any] | None = None) -> BaseTradeDecision:
        """Return this step's part of every outer order."""
        for order, *_ in execute_result or []:
            key = order.stock_id, order.direction
            if key in self._left:
                self._left[key] -= order.deal_amount
        clock = self.trade_calendar
        first, last = self._usable()
        step = clock.get_trade_step()
        if not first <= step <= last:
            return TradeDecisionWO([], self)
        start, end = clock.get_step_time(step)
        self.begin_step()
        orders = []
        for key, order in self._wanted.items():
            if self.waits(order, start, end):
                continue
            left = self._left[key]
            unit = self.trade_exchange.get_amount_of_trade_unit(stock_id=order.stock_id, start_time=start, end_time=end)
            amount = min(self.share(order, left, unit, step - first, last - first + 1), left)
            if amount > DUST:
                orders.append(Order(order.stock_id, amount, order.direction, start, end))
        return TradeDecisionWO(orders, self)

    def _usable(self) -> tuple[int, int]:
        """Return the first and last step of the level in which the outer decision may be executed."""
        return get_start_end_idx(self.trade_calendar, self.outer_trade_decision)

    def begin_step(self) -> None:
        """Prepare the current step, before the shares are asked; nothing by default."""

    def waits(self, order: Order, start: pd.Timestamp, end: pd.Timestamp) -> bool:
        """Whether nothing of an order is due in a step, whatever its share: its instrument is suspended."""
        return self.trade_exchange.check_stock_suspended(order.stock_id, start, end)

    @abstractmethod
    def share(self, order: Order, left: float, unit: float | None, place: int, count: int) -> float:
        """Return how much of an order is due now.

        Parameters
        ----------
        order
            The outer order; `order.amount` is all of it.
        left
            What has not been dealt yet; more is never ordered.
        unit
            One lot, or None where amounts are not rounded.
        place, count
            This is usable step `place` of `count`.
        """
        raise NotImplementedError


def even_share(left: float, unit: float | None, steps: int) -> float:
    """Return an even part of what is left for one of the steps that remain, in whole lots rounded up.

    >>> even_share(10.0, None, 4), even_share(10.0, 1.0, 4)
    (2.5, 3.0)
    """
    if unit is None:
        return left / steps
    return float((left // unit + steps - 1) // steps * unit)


def nearest_lots(amount: float, unit: float | None) -> float:
    """Return the multiple of a lot that is nearest; the amount itself where there are no lots."""
    if unit is None:
        return amount
    lots = amount / unit
    return (round(lots) if math.isfinite(lots) else lots) * unit  # half to even, as np.round, in a tenth of its time


def _merged(decision: BaseTradeDecision) -> dict[Key, Order]:
    """Return the orders of a decision by instrument and side."""
    found: dict[Key, Order] = {}
    for order in decision.get_decision():
        key = order.stock_id, order.direction
        before = found.get(key)
        if before is not None:
            order = Order(order.stock_id, before.amount + order.amount, *_span(before))  # noqa: PLW2901
        found[key] = order
    return found


def _span(order: Order) -> tuple[OrderDir, pd.Timestamp, pd.Timestamp]:
    return order.direction, order.start_time, order.end_time


class FormulaSplitStrategy(SplitStrategy):
    """Splits by a number that a formula says about each instrument, known before the step begins.

    Parameters
    ----------
    instruments
        A market's name, a list, or what `D.instruments` returned. Other instruments have no number.
    freq
        Bar size of the formula. Its newest bar counts that was over when the step began, so a bar's own values play
        no part in its orders.

    The values of the whole backtest are loaded once. Under compat="qlib" they are loaded anew for every outer step, as
    Qlib does, so formulas with memory restart there, and a bar counts only if it lies in the step before.
    """

    def __init__(
        self,
        outer_trade_decision: BaseTradeDecision | None = None,
        instruments: Any = "csi300",
        freq: str = "day",
        trade_exchange: Any = None,
        level_infra: LevelInfrastructure | None = None,
        common_infra: CommonInfrastructure | None = None,
        **kwargs: Any,
    ) -> None:
        if instruments is None:
            raise ConfigError(f"{type(self).__name__}: instruments is None; a market or a list of names is needed")
        self.instruments = instruments
        self.freq = freq
        self._values: FormulaValues | None = None
        self._of: Any = None
        super().__init__(
            outer_trade_decision=outer_trade_decision,
            level_infra=level_infra,
            common_infra=common_infra,
            trade_exchange=trade_exchange,
            **kwargs,
        )

    @property
    @abstractmethod
    def formula(self) -> str:
        """The formula."""
        raise NotImplementedError

    def reset_level_infra(self, level_infra: LevelInfrastructure) -> None:
        """Take the level's clock; by Qlib's rules the formula is computed anew for its range."""
        super().reset_level_infra(level_infra)
        if self._of is not None and self._of.compat == "qlib":
            self._of = None

    def begin_step(self) -> None:
        """Look up the formula's values for this step."""
        exchange, clock = self.trade_exchange, self.trade_calendar
        if self._of is not exchange or self._values is None:
            self._values, self._of = self._load(exchange), exchange
        if exchange.compat == "qlib":
            self._now = self._values.inside(*clock.get_step_time(shift=1))
        else:
            self._now = self._values.known_at(clock.get_step_time()[0])

    def value(self, instrument: str) -> float:
        """Return the formula's value of an instrument for this step; NaN where it has none."""
        assert self._values is not None
        column = self._values.column.get(instrument)
        return np.nan if column is None or self._now is None else self._now.item(column)

    def _load(self, exchange: Any) -> FormulaValues:
        if exchange.compat != "qlib":
            return FormulaValues.of_backtest(exchange, self.instruments, self.formula, self.freq)
        clock = self.trade_calendar
        start = clock.get_step_time(0, shift=1)[0]
        end = clock.get_step_time(clock.get_trade_len() - 1, shift=1)[1]
        return FormulaValues(exchange.provider, self.instruments, self.formula, self.freq, start, end)


class FormulaValues:
    """Values of a formula over a range, one row per bar.

    Parameters
    ----------
    provider
        Where the data come from.
    instruments
        A market's name, a list, or what `D.instruments` returned.
    formula, freq, start, end
        What is loaded; both ends are included.
    """

    def __init__(self, provider: Any, instruments: Any, formula: str, freq: str, start: Any, end: Any) -> None:
        universe = provider.instruments(instruments) if isinstance(instruments, str) else instruments
        names = sorted(provider.list_instruments(universe, start, end, freq))
        panel, times = provider.panel(names, [formula], start, end, freq)
        count, length = len(panel.instruments), np.diff(panel.start)
        table = np.full(len(times) * count, np.nan, dtype=np.float32)
        place = panel.positions() * count + np.repeat(np.arange(count), length)
        table[place.astype(np.int64)] = panel.columns[formula]
        self.rows = table.reshape(len(times), count)
        self.names = panel.instruments
        self.column = {name: i for i, name in enumerate(self.names)}
        self.ticks = np.asarray(times, dtype="datetime64[ns]").astype(np.int64)

    @classmethod
    def of_backtest(cls, exchange: Any, instruments: Any, formula: str, freq: str) -> FormulaValues:
        """Return the values for the whole range of an exchange, and what its first step knows."""
        calendar = exchange.provider.locate(freq, False)
        first, last = calendar.locate(exchange.start_time, exchange.end_time)
        # two bars earlier: the range may begin inside a bar of the formula
        start, end = calendar.stamps[max(first - 2, 0)], calendar.stamps[last]
        return cls(exchange.provider, instruments, formula, freq, start, end)

    def known_at(self, time: pd.Timestamp) -> np.ndarray | None:
        """Return the row of the newest bar that was over: the one before the newest that had opened."""
        row = int(np.searchsorted(self.ticks, time.as_unit("ns").value, side="right")) - 2
        return self.rows[row] if row >= 0 else None

    def inside(self, start: pd.Timestamp, end: pd.Timestamp) -> np.ndarray | None:
        """Return the last number of each instrument in a closed range."""
        lo = int(np.searchsorted(self.ticks, start.as_unit("ns").value, side="left"))
        hi = int(np.searchsorted(self.ticks, end.as_unit("ns").value, side="right"))
        if lo >= hi:
            return None
        found = self.rows[hi - 1].copy()
        for row in self.rows[lo : hi - 1][::-1]:
            gaps = np.isnan(found)
            found[gaps] = row[gaps]
        return found

"""Executors turn decisions into fills, step by step.

    SimulatorExecutor     deals the orders at the exchange (the atomic level)
    NestedExecutor        hands each decision to an inner strategy, which decides finer, and an inner executor

`execute` returns the fills of one step; `collect_data` is the same as a generator that also yields the decisions of
levels with `track_data=True`.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Generator, Mapping
from types import GeneratorType
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from qlib.backtest.decision import BaseTradeDecision, EmptyTradeDecision, Order
from qlib.backtest.position import BasePosition
from qlib.backtest.utils import CommonInfrastructure, LevelInfrastructure, TradeCalendarManager, get_start_end_idx
from qlib.errors import ConfigError, InputError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.objects import accepted_arguments, init_instance_by_config

if TYPE_CHECKING:
    from qlib.backtest.account import Account
    from qlib.backtest.exchange import Exchange

Fill = tuple[Order, float, float, float]  # order, value traded, cost, price
SETTLE = (BasePosition.ST_NO, BasePosition.ST_CASH)
DAY = 86_400 * 10**9  # nanoseconds
logger = get_module_logger("backtest")


class BaseExecutor:
    """A level of execution.

    Parameters
    ----------
    time_per_step
        Length of a step, as a frequency.
    start_time, end_time
        Range to begin with; `backtest` gives its own.
    indicator_config
        See `Indicator.cal_trade_indicators`; a nested level also reads pa_config.agg ("twap" or "vwap").
    generate_portfolio_metrics
        Keep a report and the positions of this level.
    verbose
        Log a line per order.
    track_data
        Let `collect_data` yield this level's decisions.
    trade_exchange
        An exchange of its own; None means the shared one.
    common_infra
        Account and exchange, shared by all levels.
    settle_type
        "None": proceeds of sales can be spent at once; "cash": from the next step on.
    """

    atomic: ClassVar[bool] = True  # executes by itself, without an inner executor

    def __init__(
        self,
        time_per_step: str,
        start_time: str | pd.Timestamp | None = None,
        end_time: str | pd.Timestamp | None = None,
        indicator_config: Mapping[str, Any] = {},
        generate_portfolio_metrics: bool = False,
        verbose: bool = False,
        track_data: bool = False,
        trade_exchange: Exchange | None = None,
        common_infra: CommonInfrastructure | None = None,
        settle_type: str = BasePosition.ST_NO,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            name = next(iter(kwargs))
            raise ConfigError(
                f"{type(self).__name__} takes no argument {name}{did_you_mean(name, self.known_kwargs())}"
            )
        if settle_type not in SETTLE:
            raise ConfigError(f"settle_type: received {settle_type!r}; allowed are 'None' and 'cash'")
        self.time_per_step = time_per_step
        self.indicator_config = indicator_config
        self.generate_portfolio_metrics = generate_portfolio_metrics
        self.verbose = verbose
        self.track_data = track_data
        self._trade_exchange = trade_exchange
        self._settle_type = settle_type
        self.level_infra = LevelInfrastructure()
        self.level_infra.reset_infra(common_infra=common_infra, executor=self)
        self.trade_account: Account
        self.dealt_order_amount: dict[str, float] = defaultdict(float)  # per instrument, since the day began
        self.deal_day: int | None = None  # days since 1970
        if start_time is not None or end_time is not None:
            self.reset(start_time=start_time, end_time=end_time, common_infra=common_infra)
        elif common_infra is not None:
            self.reset(common_infra=common_infra)

    @classmethod
    def known_kwargs(cls) -> tuple[str, ...]:
        """Return every argument an executor of this class takes."""
        names = [name for kind in cls.__mro__ if kind is not object for name in accepted_arguments(kind).names]
        return tuple(dict.fromkeys(names))

    def reset_common_infra(self, common_infra: CommonInfrastructure, copy_trade_account: bool = False) -> None:
        """Take the shared account and exchange; `copy_trade_account` keeps an own report of the same position."""
        shared = getattr(self.level_infra, "common_infra", None)
        if shared is not None:
            shared.update(common_infra)
        else:
            self.level_infra.reset_infra(common_infra=common_infra)
        if common_infra.has("trade_account"):
            account = common_infra.get("trade_account")
            self.trade_account = copy.copy(account) if copy_trade_account else account
            self.trade_account.reset(freq=self.time_per_step, port_metr_enabled=self.generate_portfolio_metrics)

    @property
    def trade_exchange(self) -> Exchange:
        """The exchange orders are dealt at."""
        if self._trade_exchange is not None:
            return self._trade_exchange
        exchange: Exchange = self.level_infra.get("common_infra").get("trade_exchange")
        return exchange

    @property
    def trade_calendar(self) -> TradeCalendarManager:
        """The level's clock."""
        return self.level_infra.trade_calendar

    def reset(self, common_infra: CommonInfrastructure | None = None, **kwargs: Any) -> None:
        """Begin anew; `start_time` and `end_time` set the range of steps."""
        if common_infra is not None:
            self.reset_common_infra(common_infra)
        if "start_time" in kwargs or "end_time" in kwargs:
            self.level_infra.reset_cal(
                freq=self.time_per_step, start_time=kwargs.get("start_time"), end_time=kwargs.get("end_time")
            )

    def get_level_infra(self) -> LevelInfrastructure:
        return self.level_infra

    def finished(self) -> bool:
        """Return True when every step has been executed."""
        return self.trade_calendar.finished()

    def execute(self, trade_decision: BaseTradeDecision, level: int = 0) -> list[Fill]:
        """Execute a decision and return its fills (order, value, cost, price)."""
        found: dict[str, Any] = {}
        for _ in self.collect_data(trade_decision, return_value=found, level=level):
            pass
        fills: list[Fill] = found["execute_result"]
        return fills

    @abstractmethod
    def _collect_data(self, trade_decision: BaseTradeDecision, level: int = 0) -> Any:
        """Execute; return (fills, keyword arguments for `Account.update_bar_end`), or a generator returning that."""
        raise NotImplementedError

    def collect_data(
        self, trade_decision: BaseTradeDecision, return_value: dict[str, Any] | None = None, level: int = 0
    ) -> Generator[Any, Any, list[Fill]]:
        """Execute a decision; yields decisions of levels that track them, returns the fills.

        `return_value`, a dict, receives the fills under "execute_result" too.
        """
        if self.track_data:
            yield trade_decision
        if self.atomic and trade_decision.trade_range is not None and not trade_decision.inherited_range:
            raise InputError(
                "a decision with a trade range needs a NestedExecutor: an executor that deals by itself has no inner "
                "steps to restrict"
            )
        position = self.trade_account.current_position
        if self._settle_type != BasePosition.ST_NO:
            position.settle_start(self._settle_type)
        done = self._collect_data(trade_decision=trade_decision, level=level)
        if isinstance(done, GeneratorType):
            fills, about = yield from done
        else:
            fills, about = done
        start, end = self.trade_calendar.get_step_time()
        self.trade_account.update_bar_end(
            start,
            end,
            self.trade_exchange,
            atomic=self.atomic,
            outer_trade_decision=trade_decision,
            indicator_config=self.indicator_config,
            **about,
        )
        self.trade_calendar.step()
        if self._settle_type != BasePosition.ST_NO:
            position.settle_commit()
        if return_value is not None:
            return_value["execute_result"] = fills
        return fills

    def get_all_executors(self) -> list[BaseExecutor]:
        """Return the executors from this level down."""
        return [self]


class SimulatorExecutor(BaseExecutor):
    """Deals every order of a decision at the exchange, once, within the step.

    Parameters
    ----------
    trade_type
        "serial": orders are dealt as listed; "parallel": buys before sells, so sales pay for nothing in the step.

    The others are those of `BaseExecutor`.
    """

    TT_SERIAL = "serial"
    TT_PARAL = "parallel"

    def __init__(
        self,
        time_per_step: str,
        start_time: str | pd.Timestamp | None = None,
        end_time: str | pd.Timestamp | None = None,
        indicator_config: Mapping[str, Any] = {},
        generate_portfolio_metrics: bool = False,
        verbose: bool = False,
        track_data: bool = False,
        common_infra: CommonInfrastructure | None = None,
        trade_type: str = TT_SERIAL,
        **kwargs: Any,
    ) -> None:
        if trade_type not in (self.TT_SERIAL, self.TT_PARAL):
            raise ConfigError(
                f"trade_type: received {trade_type!r}; allowed are 'serial' and 'parallel'"
                f"{did_you_mean(str(trade_type), (self.TT_SERIAL, self.TT_PARAL))}"
            )
        super().__init__(
            time_per_step=time_per_step,
            start_time=start_time,
            end_time=end_time,
            indicator_config=indicator_config,
            generate_portfolio_metrics=generate_portfolio_metrics,
            verbose=verbose,
            track_data=track_data,
            common_infra=common_infra,
            **kwargs,
        )
        self.trade_type = trade_type

    def _get_order_iterator(self, trade_decision: BaseTradeDecision) -> list[Order]:
        """Return the orders in the order in which they are dealt."""
        orders = list(trade_decision.get_decision())
        if self.trade_type == self.TT_PARAL:
            orders.sort(key=lambda order: -order.direction)
        return orders

    def _collect_data(
        self,
        trade_decision: BaseTradeDecision,
        level: int = 0,  # noqa: ARG002
    ) -> tuple[list[Fill], dict[str, Any]]:
        start, _ = self.trade_calendar.get_step_time()
        today = start.value // DAY
        if today != self.deal_day:
            self.dealt_order_amount.clear()
            self.deal_day = today
        fills: list[Fill] = []
        exchange, account, dealt = self.trade_exchange, self.trade_account, self.dealt_order_amount
        fills += exchange.open_step(account, *self.trade_calendar.get_step_time())
        for order in self._get_order_iterator(trade_decision):
            value, cost, price = exchange.deal_order(order, trade_account=account, dealt_order_amount=dealt)
            fills.append((order, value, cost, price))
            dealt[order.stock_id] += order.deal_amount
            if self.verbose:
                logger.info(
                    f"[{start}] {'buy' if order.direction == Order.BUY else 'sell'} {order.stock_id}: "
                    f"{order.deal_amount:.6g} of {order.amount:.6g} at {price:.6g}, value {value:.2f}, "
                    f"cost {cost:.2f}, factor {order.factor}, cash {self.trade_account.get_cash():.2f}"
                )
        fills += exchange.liquidate(account, *self.trade_calendar.get_step_time())
        return fills, {"trade_info": fills}


class NestedExecutor(BaseExecutor):
    """Hands each decision to an inner strategy and executor, whose steps are shorter.

    Parameters
    ----------
    inner_executor, inner_strategy
        Objects, or their configurations.
    skip_empty_decision
        Stop when the decision, as revised so far, holds no order worth trading.
    align_range_limit
        Skip inner steps outside the decision's trade range.

    The others are those of `BaseExecutor`.
    """

    atomic: ClassVar[bool] = False

    def __init__(
        self,
        time_per_step: str,
        inner_executor: BaseExecutor | dict[str, Any],
        inner_strategy: Any,
        start_time: str | pd.Timestamp | None = None,
        end_time: str | pd.Timestamp | None = None,
        indicator_config: Mapping[str, Any] = {},
        generate_portfolio_metrics: bool = False,
        verbose: bool = False,
        track_data: bool = False,
        skip_empty_decision: bool = True,
        align_range_limit: bool = True,
        common_infra: CommonInfrastructure | None = None,
        **kwargs: Any,
    ) -> None:
        self.inner_executor: BaseExecutor = init_instance_by_config(inner_executor, accept_types=BaseExecutor)
        self.inner_strategy = (
            init_instance_by_config(inner_strategy) if isinstance(inner_strategy, dict | str) else inner_strategy
        )
        self._skip_empty_decision = skip_empty_decision
        self._align_range_limit = align_range_limit
        super().__init__(
            time_per_step=time_per_step,
            start_time=start_time,
            end_time=end_time,
            indicator_config=indicator_config,
            generate_portfolio_metrics=generate_portfolio_metrics,
            verbose=verbose,
            track_data=track_data,
            common_infra=common_infra,
            **kwargs,
        )

    def reset_common_infra(self, common_infra: CommonInfrastructure, copy_trade_account: bool = False) -> None:
        """Take the shared account and exchange; the inner levels get their own reports of the same position."""
        super().reset_common_infra(common_infra, copy_trade_account=copy_trade_account)
        self.inner_executor.reset_common_infra(common_infra, copy_trade_account=True)
        self.inner_strategy.reset_common_infra(common_infra)

    def _init_sub_trading(self, trade_decision: BaseTradeDecision) -> None:
        start, end = self.trade_calendar.get_step_time()
        self.inner_executor.reset(start_time=start, end_time=end)
        inner = self.inner_executor.get_level_infra()
        self.level_infra.set_sub_level_infra(inner)
        self.inner_strategy.reset(level_infra=inner, outer_trade_decision=trade_decision)

    def _update_trade_decision(self, trade_decision: BaseTradeDecision) -> BaseTradeDecision:
        """Let the outer strategy revise the decision, and the inner one know."""
        revised = trade_decision.update(self.inner_executor.trade_calendar)
        if revised is None:
            return trade_decision
        self.inner_strategy.alter_outer_trade_decision(revised)
        return revised

    def _collect_data(
        self, trade_decision: BaseTradeDecision, level: int = 0
    ) -> Generator[Any, Any, tuple[list[Fill], dict[str, Any]]]:
        fills: list[Fill] = []
        inner_indicators = []
        decisions = []
        self._init_sub_trading(trade_decision)
        result = None
        while not self.inner_executor.finished():
            trade_decision = self._update_trade_decision(trade_decision)
            if trade_decision.empty() and self._skip_empty_decision:
                break
            clock = self.inner_executor.trade_calendar
            first, last = get_start_end_idx(clock, trade_decision)
            if self._align_range_limit and not first <= clock.get_trade_step() <= last:
                clock.step()
                continue
            made = self.inner_strategy.generate_trade_decision(result)
            if isinstance(made, GeneratorType):
                made = yield from made
            trade_decision.mod_inner_decision(made)
            decisions.append((made, *clock.get_step_time()))
            result = yield from self.inner_executor.collect_data(trade_decision=made, level=level + 1)
            self.post_inner_exe_step(result)
            fills.extend(result)
            inner_indicators.append(
                self.inner_executor.trade_account.get_trade_indicator().get_order_indicator(raw=True)
            )
        self.inner_strategy.post_upper_level_exe_step()
        return fills, {"inner_order_indicators": inner_indicators, "decision_list": decisions}

    def post_inner_exe_step(self, inner_exe_res: list[Fill]) -> None:
        """Tell the inner strategy what came of its last decision."""
        self.inner_strategy.post_exe_step(inner_exe_res)

    def get_all_executors(self) -> list[BaseExecutor]:
        return [self, *self.inner_executor.get_all_executors()]


__all__ = ["BaseExecutor", "EmptyTradeDecision", "NestedExecutor", "SimulatorExecutor"]

"""An account: what is held, what it earned and cost, and the record of every step.

At the end of each step (`update_bar_end`) the holdings are marked at the step's close (a suspended one keeps its last
price), a row is added to the report, and the position is remembered.

    account value now - account value before = price profit - fees - impact - carry       (`Account.get_attribution`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from qlib.backtest.attribution import Attribution
from qlib.backtest.indicator import Indicator
from qlib.backtest.position import BasePosition, Position, PositionHistory
from qlib.backtest.report import PortfolioMetrics
from qlib.backtest.trades import TradeLog
from qlib.config import active_settings
from qlib.errors import ConfigError
from qlib.utils.objects import init_instance_by_config

if TYPE_CHECKING:
    from qlib.backtest.decision import BaseTradeDecision, Order
    from qlib.backtest.exchange import Exchange
    from qlib.backtest.indicator import OrderIndicator

SECOND = pd.Timedelta(seconds=1)  # a step ends this long before the next
POSITION_MODULE = "qlib.backtest.position"


class AccumulatedInfo:
    """Sums of money since the account began: profit of prices (`get_return`), cost, value traded (`get_turnover`).

    Account value = value at the start + get_return - get_cost - slippage - carry, at the end of every step: slippage is
    lost to spread and impact of fills, carry (by name) to holding. All levels share one.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.rtn = 0.0
        self.cost = 0.0
        self.to = 0.0
        self.slippage = 0.0
        self.carry: dict[str, float] = {}
        self.carried: pd.Timestamp | None = None  # until when holding has been paid for

    def add_return_value(self, value: float) -> None:
        self.rtn += value

    def add_cost(self, value: float) -> None:
        self.cost += value

    def add_turnover(self, value: float) -> None:
        self.to += value

    @property
    def get_return(self) -> float:
        return self.rtn

    @property
    def get_cost(self) -> float:
        return self.cost

    @property
    def get_turnover(self) -> float:
        return self.to


class Account:
    """Position, sums, report and history of one level of execution.

    Parameters
    ----------
    init_cash
        Money at the start.
    position_dict
        Initial holdings, see `Position`.
    freq
        Bar size of the report.
    benchmark_config
        `{"benchmark": code, list of codes, Series of returns or None, "start_time": ..., "end_time": ...}`.
    pos_type
        Name of the position class: "Position" or "InfPosition".
    port_metr_enabled
        Keep a report and a history.
    provider
        Where prices of the benchmark and of unpriced holdings come from; None means the session's.
    short
        Allow amounts below 0.

    The first return is measured against cash and initial holdings, and a level above one without a report knows the
    cost and turnover of what was traded below. Under compat="qlib" the first return is measured against the cash alone,
    and that cost and turnover is 0.
    """

    def __init__(
        self,
        init_cash: float = 1e9,
        position_dict: Mapping[str, Any] = {},
        freq: str = "day",
        benchmark_config: Mapping[str, Any] = {},
        pos_type: str = "Position",
        port_metr_enabled: bool = True,
        *,
        provider: Any = None,
        short: bool = False,
    ) -> None:
        self.short = short
        self.provider = provider
        self._pos_type = pos_type
        self._port_metr_enabled = port_metr_enabled
        self.benchmark_config: Mapping[str, Any] = {}
        self.init_vars(init_cash, position_dict, freq, benchmark_config)

    def init_vars(
        self, init_cash: float, position_dict: Mapping[str, Any], freq: str, benchmark_config: Mapping[str, Any]
    ) -> None:
        """Begin anew with this cash and these holdings."""
        self.init_cash = init_cash
        self.current_position: BasePosition = init_instance_by_config(
            {
                "class": self._pos_type,
                "module_path": POSITION_MODULE,
                "kwargs": {
                    "cash": init_cash,
                    "position_dict": position_dict,
                    **({"short": True} if self.short else {}),
                },
            },
            default_module=POSITION_MODULE,
        )
        self.accum_info = AccumulatedInfo()
        self.trades = TradeLog()  # of all levels
        self.portfolio_metrics: PortfolioMetrics | None = None
        self.hist_positions = PositionHistory()
        self._stale = 0, 0.0  # number and value of holdings without a price in the step
        self._stock_value: float | None = None  # where marking the step said it already
        self.reset(freq=freq, benchmark_config=benchmark_config)

    def is_port_metr_enabled(self) -> bool:
        """Return True when a report is kept (asked for, and the position has a value)."""
        return self._port_metr_enabled and not self.current_position.skip_update()

    def reset(
        self,
        freq: str | None = None,
        benchmark_config: Mapping[str, Any] | None = None,
        port_metr_enabled: bool | None = None,
    ) -> None:
        """Change what is given and begin a new report."""
        if freq is not None:
            self.freq = freq
        if benchmark_config is not None:
            self.benchmark_config = benchmark_config
        if port_metr_enabled is not None:
            self._port_metr_enabled = port_metr_enabled
        self.reset_report(self.freq, self.benchmark_config)

    def reset_report(self, freq: str, benchmark_config: Mapping[str, Any]) -> None:
        """Begin a new report and history."""
        if self.is_port_metr_enabled():
            self.portfolio_metrics = PortfolioMetrics(freq, benchmark_config, provider=self.provider)
            self.hist_positions = PositionHistory()
            self._price_holdings(freq, benchmark_config)
            self._start_value = self.current_position.calculate_value()
            self.attribution = Attribution(self._start_value, self.accum_info)
        self.compat = self._compat()
        self.indicator = Indicator(compat=self.compat, trades=self.trades)

    def _price_holdings(self, freq: str, benchmark_config: Mapping[str, Any]) -> None:
        position = self.current_position
        unpriced = [stock for stock in position.get_stock_list() if "price" not in position.position[stock]]
        if not unpriced:
            return
        start = benchmark_config.get("start_time")
        if start is None:
            raise ConfigError(
                f"the initial holding {unpriced[0]} has no price, and without a start_time none can be looked up"
            )
        position.fill_stock_value(start_time=start, freq=freq, provider=self.provider)

    def _compat(self) -> str | None:
        settings = active_settings() if self.provider is None else self.provider.settings
        return settings.compat

    def get_hist_positions(self) -> PositionHistory:
        """Return the positions at the end of every step, by the time the step starts."""
        return self.hist_positions

    def get_cash(self) -> float:
        return self.current_position.get_cash()

    def update_order(self, order: Order, trade_val: float, cost: float, trade_price: float) -> None:
        """Book an executed order."""
        if self.current_position.skip_update():
            return
        sums = self.accum_info
        if self._port_metr_enabled or self.compat != "qlib":
            sums.to += trade_val
            sums.cost += cost
        held = self.current_position.position.get(order.stock_id)
        if held is not None and "price" in held:  # the trade moves this amount from its mark to the trade price
            sums.rtn -= order.sign * (trade_price - held["price"]) * trade_val / trade_price
        if order.slippage:
            sums.rtn += order.slippage
            sums.slippage += order.slippage
        self.current_position.update_order(order, trade_val, cost, trade_price)

    def update_current_position(
        self, trade_start_time: pd.Timestamp, trade_end_time: pd.Timestamp, trade_exchange: Exchange
    ) -> None:
        """Mark the holdings at the step's close (suspended ones keep their price) and count the bar."""
        position = self.current_position
        if position.skip_update():
            return
        if type(position) is Position and trade_exchange.marks_by_row:
            row, column = trade_exchange.mark_prices(trade_start_time, trade_end_time), trade_exchange.quote.column
            earned, self._stock_value, count, worth = position.close_at(column, row, self.freq)
            self.accum_info.rtn += earned
            self._stale = count, worth
            return
        held = position.get_stock_list()
        prices = trade_exchange.revalue(position, held, trade_start_time, trade_end_time)
        self._stale = 0, 0.0
        if None in prices:
            suspended = [name for name, price in zip(held, prices, strict=True) if price is None]
            worth = sum(position.get_stock_amount(name) * position.get_stock_price(name) for name in suspended)
            self._stale = len(suspended), worth
        if type(position) is Position:
            earned, self._stock_value = position.close_bar(prices, self.freq)
            self.accum_info.rtn += earned
        else:
            self.accum_info.rtn += position.mark(zip(held, prices, strict=True))
            position.add_count_all(bar=self.freq)

    def pay(self, name: str, due: float) -> None:
        """Pay (below 0: receive) a cost of holding that the market's `carry` names, at once, whatever the cash."""
        position = self.current_position
        assert isinstance(position, Position)
        position.position["cash"] -= due
        self.accum_info.carry[name] = self.accum_info.carry.get(name, 0.0) + due

    def _pay_carry(self, start: pd.Timestamp, end: pd.Timestamp, exchange: Exchange) -> None:
        """Pay what holding through the step costs, at once, whatever the cash.

        A level above others pays for what they left out: they stop early when nothing is left to trade.
        """
        position, sums = self.current_position, self.accum_info
        if not isinstance(position, Position) or (sums.carried is not None and sums.carried >= end):
            return
        if sums.carried is not None and sums.carried >= start:
            start = sums.carried + SECOND
        sums.carried = end
        for rule in exchange.market.carry:
            self.pay(rule.name, rule.due(position, exchange, start, end))

    def update_portfolio_metrics(self, trade_start_time: pd.Timestamp, trade_end_time: pd.Timestamp) -> None:
        """Add the step's row to the report."""
        metrics = self.portfolio_metrics
        assert metrics is not None
        if metrics.is_empty():
            last_value = self.init_cash if self.compat == "qlib" else self._start_value
        else:
            last_value = metrics.get_latest_account_value()
        position, sums = self.current_position, self.accum_info
        stock_value = self._stock_value
        if stock_value is None:
            stock_value = position.calculate_stock_value()
        self._stock_value = None
        cash = position.position["cash"]
        metrics.add_step(
            trade_start_time,
            trade_end_time,
            last_value=last_value,
            value=stock_value + cash + position.position.get("cash_delay", 0.0),
            stock_value=stock_value,
            cash=cash,
            turnover=sums.to,
            cost=sums.cost,
        )
        self.attribution.add(trade_start_time, metrics.get_latest_account_value(), sums, *self._stale)

    def update_hist_positions(self, trade_start_time: pd.Timestamp) -> None:
        """Remember the position under the time the step starts."""
        position = self.current_position
        assert self.portfolio_metrics is not None
        value = position.position["now_account_value"] = self.portfolio_metrics.get_latest_account_value()
        if type(position) is Position:
            position.weigh(value)
        else:
            position.update_weight_all()
        self.hist_positions.record(trade_start_time, position)

    def update_indicator(
        self,
        trade_start_time: pd.Timestamp,
        trade_exchange: Exchange,
        atomic: bool,
        outer_trade_decision: BaseTradeDecision,
        trade_info: Sequence[tuple[Order, float, float, float]] = [],
        inner_order_indicators: Sequence[OrderIndicator] = [],
        decision_list: Sequence[tuple[BaseTradeDecision, pd.Timestamp, pd.Timestamp]] = [],
        indicator_config: Mapping[str, Any] = {},
    ) -> None:
        """Measure how well the step's orders were executed."""
        self.indicator.reset()
        if atomic:
            self.indicator.update_order_indicators(trade_info, trade_start_time)
        else:
            self.indicator.agg_order_indicators(
                inner_order_indicators,
                decision_list=decision_list,
                outer_trade_decision=outer_trade_decision,
                trade_exchange=trade_exchange,
                indicator_config=indicator_config,
            )
        self.indicator.cal_trade_indicators(trade_start_time, self.freq, indicator_config)
        self.indicator.record(trade_start_time)

    def update_bar_end(
        self,
        trade_start_time: pd.Timestamp,
        trade_end_time: pd.Timestamp,
        trade_exchange: Exchange,
        atomic: bool,
        outer_trade_decision: BaseTradeDecision,
        trade_info: Sequence[tuple[Order, float, float, float]] = [],
        inner_order_indicators: Sequence[OrderIndicator] = [],
        decision_list: Sequence[tuple[BaseTradeDecision, pd.Timestamp, pd.Timestamp]] = [],
        indicator_config: Mapping[str, Any] = {},
    ) -> None:
        """Close a step: marks, report, history, indicators.

        `trade_info` holds (order, value, cost, price) of an atomic level; a nested one gives `inner_order_indicators`
        and `decision_list`.
        """
        self.update_current_position(trade_start_time, trade_end_time, trade_exchange)
        if trade_exchange.market.carry:
            self._pay_carry(trade_start_time, trade_end_time, trade_exchange)
        if self.is_port_metr_enabled():
            self.update_portfolio_metrics(trade_start_time, trade_end_time)
            self.update_hist_positions(trade_start_time)
        self.update_indicator(
            trade_start_time=trade_start_time,
            trade_exchange=trade_exchange,
            atomic=atomic,
            outer_trade_decision=outer_trade_decision,
            trade_info=trade_info,
            inner_order_indicators=inner_order_indicators,
            decision_list=decision_list,
            indicator_config=indicator_config,
        )

    def get_portfolio_metrics(self) -> tuple[pd.DataFrame, PositionHistory]:
        """Return (report, positions by time). Raises ConfigError where no report was kept."""
        if not self.is_port_metr_enabled() or self.portfolio_metrics is None:
            raise ConfigError("no report was kept: make the executor with generate_portfolio_metrics=True")
        return self.portfolio_metrics.generate_portfolio_metrics_dataframe(), self.get_hist_positions()

    def get_attribution(self) -> pd.DataFrame:
        """Return where the money of every step went, see `attribution`. Raises ConfigError without a report."""
        if not self.is_port_metr_enabled():
            raise ConfigError("no report was kept: make the executor with generate_portfolio_metrics=True")
        return self.attribution.frame()

    def get_trade_indicator(self) -> Indicator:
        return self.indicator

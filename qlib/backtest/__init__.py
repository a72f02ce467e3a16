"""Backtest: a strategy decides, an executor executes at an exchange, an account keeps the books.

    portfolio_dict, indicator_dict = backtest("2017-01-01", "2020-08-01", strategy, executor, benchmark="SH000300")
    report, positions = portfolio_dict["1day"]

    signal.py     scores           decision.py   orders           executor.py   one step of execution
    exchange.py   quotes + rules   position.py   holdings         account.py    the books of a level
    quote.py      arrays of bars   rules/        fee, lot, ...    report.py     one row per step

This door builds the parts from arguments or configurations and runs the loop of backtest.py.
"""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from qlib.backtest.account import Account
from qlib.backtest.backtest import INDICATOR_METRIC, PORT_METRIC, backtest_loop, collect_data_loop
from qlib.backtest.decision import Order
from qlib.backtest.exchange import REGION, Exchange
from qlib.backtest.executor import BaseExecutor
from qlib.backtest.utils import CommonInfrastructure
from qlib.errors import ConfigError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.objects import init_instance_by_config
from qlib.utils.time import Freq

if TYPE_CHECKING:
    from qlib.backtest.decision import BaseTradeDecision
    from qlib.strategy.base import BaseStrategy

__all__ = ["Order", "backtest", "get_strategy_executor"]

logger = get_module_logger("backtest caller")


def get_exchange(
    exchange: str | dict[str, Any] | Exchange | None = None,
    freq: str = "day",
    start_time: pd.Timestamp | str | None = None,
    end_time: pd.Timestamp | str | None = None,
    codes: list[str] | str = "all",
    subscribe_fields: list[str] = [],
    open_cost: float = 0.0015,
    close_cost: float = 0.0025,
    min_cost: float = 5.0,
    limit_threshold: tuple[str, str] | float | str | None = REGION,
    deal_price: str | tuple[str, str] | list[str] | None = None,
    **kwargs: Any,
) -> Exchange:
    """Return an exchange: `exchange` itself (an object or a configuration), or a new one from the arguments.

    The arguments are those of `Exchange`, to which `**kwargs` go too.
    """
    if exchange is None:
        return Exchange(
            freq=freq,
            start_time=start_time,
            end_time=end_time,
            codes=codes,
            deal_price=deal_price,
            subscribe_fields=subscribe_fields,
            limit_threshold=limit_threshold,
            open_cost=open_cost,
            close_cost=close_cost,
            min_cost=min_cost,
            **kwargs,
        )
    made: Exchange = init_instance_by_config(exchange, accept_types=Exchange)
    return made


def create_account_instance(
    start_time: pd.Timestamp | str,
    end_time: pd.Timestamp | str,
    benchmark: Any,
    account: float | Mapping[str, Any],
    pos_type: str = "Position",
    *,
    provider: Any = None,
    short: bool = False,
) -> Account:
    """Return an account.

    Parameters
    ----------
    start_time, end_time
        Range of the backtest; the benchmark is read for it.
    benchmark
        An instrument, several, a Series of returns, or None for no benchmark.
    account
        Cash, or `{"cash": c, instrument: {"amount": a, "price": p}, instrument: a, ...}`; a holding without a price is
        priced at its last close before the start.
    pos_type
        "Position" or "InfPosition".
    short
        Allow amounts below 0, as a market with shorts does.

    Raises ConfigError for an account without money.
    """
    if isinstance(account, Mapping):
        if "cash" not in account:
            raise ConfigError(
                f"account: received the keys {', '.join(map(str, account))}; 'cash' is needed"
                f"{did_you_mean('cash', account)}"
            )
        cash, holdings = account["cash"], {name: held for name, held in account.items() if name != "cash"}
    else:
        cash, holdings = account, {}
    if isinstance(cash, bool) or not isinstance(cash, numbers.Real) or not math.isfinite(cash) or cash < 0:
        raise ConfigError(f"account: received {cash!r} as cash; an amount of money is needed")
    if cash == 0 and not holdings:
        raise ConfigError("account: received 0 as cash and no holdings; nothing can be traded with nothing")
    return Account(
        init_cash=float(cash),
        position_dict=copy.deepcopy(holdings),
        pos_type=pos_type,
        benchmark_config={"benchmark": benchmark, "start_time": start_time, "end_time": end_time},
        provider=provider,
        short=short,
    )


def get_strategy_executor(
    start_time: pd.Timestamp | str,
    end_time: pd.Timestamp | str,
    strategy: str | dict[str, Any] | BaseStrategy,
    executor: str | dict[str, Any] | BaseExecutor,
    benchmark: Any = "SH000300",
    account: float | Mapping[str, Any] = 1e9,
    exchange_kwargs: Mapping[str, Any] = {},
    pos_type: str = "Position",
) -> tuple[BaseStrategy, BaseExecutor]:
    """Return (strategy, executor), sharing an account and an exchange; see `backtest` for the arguments."""
    start, end = _moment(start_time, "start_time"), _moment(end_time, "end_time")
    if start > end:
        raise ConfigError(f"backtest: start_time {start} is after end_time {end}")
    kwargs = {"start_time": start, "end_time": end, **exchange_kwargs}
    trade_executor: BaseExecutor = init_instance_by_config(executor, accept_types=BaseExecutor)
    trade_strategy = init_instance_by_config(strategy) if isinstance(strategy, str | dict) else strategy
    trade_exchange = get_exchange(**kwargs)
    _check_bar_size(trade_executor, trade_exchange)
    trade_account = create_account_instance(
        start_time=start,
        end_time=end,
        benchmark=benchmark,
        account=account,
        pos_type=pos_type,
        provider=trade_exchange.provider,
        short=trade_exchange.market.short is not None and pos_type == "Position",
    )
    common = CommonInfrastructure(trade_account=trade_account, trade_exchange=trade_exchange)
    trade_strategy.reset_common_infra(common)
    trade_executor.reset_common_infra(common)
    for level in trade_executor.get_all_executors():
        metrics = level.trade_account.portfolio_metrics
        if level.trade_account.is_port_metr_enabled() and metrics is not None:
            metrics.load_benchmark()
    return trade_strategy, trade_executor


def _moment(time: Any, name: str) -> pd.Timestamp:
    if time is None:
        raise ConfigError(f"backtest: {name} is missing")
    try:
        moment = pd.Timestamp(time)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"backtest: {name}: received {time!r}, which is no time ({error})") from None
    if moment is pd.NaT or moment.tz is not None:
        raise ConfigError(f"backtest: {name}: received {time!r}; a time without zone, in the store's clock, is needed")
    return moment


def _check_bar_size(executor: BaseExecutor, exchange: Exchange) -> None:
    finest = executor.get_all_executors()[-1].time_per_step
    if Freq.get_min_delta(finest, exchange.freq) < 0:
        raise ConfigError(
            f"the executor steps every {finest} but the exchange has bars of {exchange.freq}: "
            f"give exchange_kwargs freq={finest!r}, or a finer one that divides it"
        )


def backtest(
    start_time: pd.Timestamp | str,
    end_time: pd.Timestamp | str,
    strategy: str | dict[str, Any] | BaseStrategy,
    executor: str | dict[str, Any] | BaseExecutor,
    benchmark: Any = "SH000300",
    account: float | Mapping[str, Any] = 1e9,
    exchange_kwargs: Mapping[str, Any] = {},
    pos_type: str = "Position",
) -> tuple[PORT_METRIC, INDICATOR_METRIC]:
    """Run a strategy over a range of time.

    Parameters
    ----------
    start_time, end_time
        Range, both included, in the store's clock.
    strategy, executor
        Objects, or their configurations.
    benchmark
        An instrument, several (the mean of their returns), a Series of returns per bar, or None for none.
    account
        Cash, or cash and holdings; see `create_account_instance`.
    exchange_kwargs
        Arguments of `Exchange` (dates default to the range), or `{"exchange": a ready one or its configuration}`.
    pos_type
        "Position" or "InfPosition".

    Returns
    -------
    (portfolio_dict, indicator_dict)
        `{"1day": (report, positions by time)}` and `{"1day": (step indicators, Indicator)}`, one entry per level of
        execution, called by its step.

    Raises ConfigError or MissingDataError, before anything ran, for what cannot be run.
    """
    trade_strategy, trade_executor = get_strategy_executor(
        start_time, end_time, strategy, executor, benchmark, account, exchange_kwargs, pos_type=pos_type
    )
    return backtest_loop(start_time, end_time, trade_strategy, trade_executor)


def collect_data(
    start_time: pd.Timestamp | str,
    end_time: pd.Timestamp | str,
    strategy: str | dict[str, Any] | BaseStrategy,
    executor: str | dict[str, Any] | BaseExecutor,
    benchmark: Any = "SH000300",
    account: float | Mapping[str, Any] = 1e9,
    exchange_kwargs: Mapping[str, Any] = {},
    pos_type: str = "Position",
    return_value: dict[str, Any] | None = None,
) -> Generator[object, None, None]:
    """Run as `backtest` does, yielding the decisions of the levels with `track_data=True`.

    `return_value`, a dict, receives `portfolio_dict` and `indicator_dict` at the end.
    """
    trade_strategy, trade_executor = get_strategy_executor(
        start_time, end_time, strategy, executor, benchmark, account, exchange_kwargs, pos_type=pos_type
    )
    yield from collect_data_loop(start_time, end_time, trade_strategy, trade_executor, return_value=return_value)


def format_decisions(decisions: list[BaseTradeDecision]) -> tuple[str, list[tuple[BaseTradeDecision, Any]]] | None:
    """Fold tracked decisions into a tree: (frequency, [(decision, tree of the finer decisions under it), ...]).

    `decisions` is what `collect_data` yielded, in that order; None for an empty list.
    """
    if not decisions:
        return None
    freq = decisions[0].strategy.trade_calendar.get_freq()
    heads = [i for i, decision in enumerate(decisions) if decision.strategy.trade_calendar.get_freq() == freq]
    ends = [*heads[1:], len(decisions)]
    return freq, [
        (decisions[head], format_decisions(decisions[head + 1 : end])) for head, end in zip(heads, ends, strict=True)
    ]

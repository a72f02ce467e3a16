"""The loop: a strategy decides, an executor executes, until the calendar ends.

while not executor.finished():
    decision = strategy.generate_trade_decision(last result)
    result = executor.collect_data(decision)
    strategy.post_exe_step(result)
strategy.post_upper_level_exe_step()
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from qlib.config import active_settings
from qlib.utils.time import Freq

if TYPE_CHECKING:
    from qlib.backtest.decision import BaseTradeDecision
    from qlib.backtest.executor import BaseExecutor
    from qlib.backtest.indicator import Indicator
    from qlib.backtest.position import PositionHistory

PORT_METRIC = dict[str, tuple[pd.DataFrame, "PositionHistory"]]
INDICATOR_METRIC = dict[str, tuple[pd.DataFrame, "Indicator"]]


def backtest_loop(
    start_time: pd.Timestamp | str, end_time: pd.Timestamp | str, trade_strategy: Any, trade_executor: BaseExecutor
) -> tuple[PORT_METRIC, INDICATOR_METRIC]:
    """Run a strategy with an executor and return (reports, indicators), see `collect_data_loop`."""
    found: dict[str, Any] = {}
    for _ in collect_data_loop(start_time, end_time, trade_strategy, trade_executor, found):
        pass
    return found["portfolio_dict"], found["indicator_dict"]


def collect_data_loop(
    start_time: pd.Timestamp | str,
    end_time: pd.Timestamp | str,
    trade_strategy: Any,
    trade_executor: BaseExecutor,
    return_value: dict[str, Any] | None = None,
) -> Generator[BaseTradeDecision, BaseTradeDecision | None, None]:
    """Run, yielding the decisions of levels that track them.

    `return_value`, a dict, receives at the end

    portfolio_dict
        {"1day": (report, positions by time), ...}, one entry per level that keeps a report
    indicator_dict
        {"1day": (step indicators, Indicator), ...}, one entry per level
    """
    trade_executor.reset(start_time=start_time, end_time=end_time)
    trade_strategy.reset(level_infra=trade_executor.get_level_infra())
    with _progress(trade_executor.trade_calendar.get_trade_len()) as step_done:
        result = None
        while not trade_executor.finished():
            decision = trade_strategy.generate_trade_decision(result)
            result = yield from trade_executor.collect_data(decision, level=0)
            trade_strategy.post_exe_step(result)
            step_done()
        trade_strategy.post_upper_level_exe_step()
    if return_value is None:
        return
    reports: PORT_METRIC = {}
    indicators: INDICATOR_METRIC = {}
    for executor in trade_executor.get_all_executors():
        count, base = Freq.parse(executor.time_per_step)
        name = f"{count}{base}"
        account = executor.trade_account
        if account.is_port_metr_enabled():
            reports[name] = account.get_portfolio_metrics()
        indicator = account.get_trade_indicator()
        indicators[name] = (indicator.generate_trade_indicators_dataframe(), indicator)
    return_value.update({"portfolio_dict": reports, "indicator_dict": indicators})


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], Any]]:
    """Show a progress bar on the error stream; none where that is no terminal or logging is off."""
    if active_settings()["logging_level"] > logging.INFO or not sys.stderr.isatty():
        yield lambda: None
        return
    from tqdm import tqdm  # noqa: PLC0415  only a run that is watched needs it

    with tqdm(total=total, desc="backtest loop", file=sys.stderr) as bar:
        yield bar.update

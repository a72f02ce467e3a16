"""Risk figures of returns, at Qlib's path, and a daily backtest in one call.

The length of a year comes from the session's region: 252 days in "us", 365 in a market that never closes. Under
compat="qlib" it is Qlib's (238 days) everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from qlib.analysis import risk
from qlib.analysis.trades import indicator_analysis
from qlib.backtest import backtest
from qlib.backtest.executor import BaseExecutor
from qlib.backtest.position import PositionHistory
from qlib.config import active_settings
from qlib.errors import ConfigError
from qlib.log import get_module_logger
from qlib.strategy.base import BaseStrategy
from qlib.utils.objects import init_instance_by_config

__all__ = ["backtest_daily", "indicator_analysis", "risk_analysis"]

logger = get_module_logger("Evaluate")

DAILY_EXECUTOR = {
    "class": "SimulatorExecutor",
    "module_path": "qlib.backtest.executor",
    "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
}
DAILY_EXCHANGE = {"freq": "day", "open_cost": 0.0005, "close_cost": 0.0015, "min_cost": 5}


def risk_analysis(r: pd.Series, N: float | None = None, freq: str | None = "day", mode: str = "sum") -> pd.DataFrame:
    """Return mean, std, annualized_return, information_ratio and max_drawdown as rows of the column `risk`.

    Parameters
    ----------
    r
        Returns per bar.
    N
        Bars in a year. None: those of `freq` in the session's region.
    freq
        Bar size of the returns; not used where N is given.
    mode
        "sum" (returns are added) or "product" (compounded), see `qlib.analysis.risk`.
    """
    settings = active_settings()
    if N is None:
        if freq is None:
            raise ConfigError("risk_analysis needs N (bars in a year) or freq (their size); both are None")
        N = risk.periods_per_year(freq, None if settings.compat == "qlib" else settings.region)
    elif freq is not None:
        logger.warning("risk_analysis: N is given, so freq is not used (freq=None says so)")
    return risk.risk_analysis(r, N, mode, compat=settings.compat)


def backtest_daily(
    start_time: str | pd.Timestamp,
    end_time: str | pd.Timestamp,
    strategy: str | dict[str, Any] | BaseStrategy,
    executor: str | dict[str, Any] | BaseExecutor | None = None,
    account: float | Mapping[str, Any] = 1e8,
    benchmark: Any = "SH000300",
    exchange_kwargs: Mapping[str, Any] | None = None,
    pos_type: str = "Position",
) -> tuple[pd.DataFrame, PositionHistory]:
    """Run a daily backtest and return (report, positions by time).

    Without an executor orders are dealt by a SimulatorExecutor; without exchange arguments at costs of 0.05 % and
    0.15 % (at least 5). The others are those of `qlib.backtest.backtest`.
    """
    made = init_instance_by_config(DAILY_EXECUTOR if executor is None else executor, accept_types=BaseExecutor)
    portfolio, _ = backtest(
        start_time=start_time,
        end_time=end_time,
        strategy=strategy,
        executor=made,
        account=account,
        benchmark=benchmark,
        exchange_kwargs=DAILY_EXCHANGE if exchange_kwargs is None else {"freq": "day", **exchange_kwargs},
        pos_type=pos_type,
    )
    if "1day" not in portfolio:
        raise ConfigError(
            f"backtest_daily: the executor keeps reports of {', '.join(portfolio) or 'nothing'}, not of day"
        )
    return portfolio["1day"]

"""Risk figures of returns, at Qlib's path, and backtests in one call.

    risk_analysis           a return series in five numbers
    backtest_daily          a strategy over days: report and positions
    long_short_backtest     what the best scored names earn over the worst, without lots and money

The length of a year comes from the session's region: 252 days in "us", 365 in a market that never closes. Under
compat="qlib" it is Qlib's (238 days) everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis import risk
from qlib.analysis.trades import indicator_analysis
from qlib.backtest import backtest, get_exchange
from qlib.backtest.executor import BaseExecutor
from qlib.backtest.position import PositionHistory
from qlib.config import active_settings
from qlib.data.provider import active_provider
from qlib.errors import ConfigError, InputError, MissingDataError
from qlib.log import get_module_logger
from qlib.strategy.base import BaseStrategy
from qlib.utils.objects import init_instance_by_config

__all__ = ["backtest_daily", "indicator_analysis", "long_short_backtest", "risk_analysis", "t_run"]

logger = get_module_logger("Evaluate")

DAILY_EXECUTOR = {
    "class": "SimulatorExecutor",
    "module_path": "qlib.backtest.executor",
    "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
}
LATER = 20  # bars after the last trade in which a suspended name may find a price
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


def long_short_backtest(
    pred: pd.Series | pd.DataFrame,
    topk: int = 50,
    deal_price: str | tuple[str, str] | list[str] | None = None,
    shift: int = 1,
    open_cost: float = 0,
    close_cost: float = 0,
    trade_unit: float | None = None,
    limit_threshold: tuple[str, str] | float | None = None,
    min_cost: float = 5,
    subscribe_fields: Sequence[str] = [],
    extract_codes: bool = False,
    *,
    freq: str = "day",
    exchange_kwargs: Mapping[str, Any] = {},
) -> dict[str, pd.Series]:
    """Return what the best scored names earned over the average name, and the average over the worst, by bar.

    Each bar one unit of money is held in equal parts of the `topk` best names that can be bought, and one is owed in
    equal parts of the `topk` worst that can be sold, from the bar's deal price to that of the next bar with scores
    (after the last ones, of the next bar). With r the mean return of all tradable names:

        long         mean return of the best - cost - r            (from the buy price to the next sell price)
        short        r - mean return of the worst - cost
        long_short   long + short

    The cost of a bar is `open_cost` of what is bought and `close_cost` of what is sold to get from the parts held
    before, grown by their returns, to the new ones. A name without a price in the next bar is left at the first one
    that it has later, or at its last.

    Parameters
    ----------
    pred
        Scores by (datetime, instrument); of a frame the first column.
    topk
        Names on each side; all there are where there are fewer.
    deal_price, limit_threshold
        As in `Exchange`; None: the region's.
    shift
        Bars from a score to its trade; at least 1, as a bar's score is known when the bar is over.
    trade_unit, min_cost, subscribe_fields, extract_codes
        Kept for Qlib's callers. The two sides are shares, not money, so they have neither lots nor a least cost; the
        quotes are those of the scored names.
    freq
        Bar size.
    exchange_kwargs
        More arguments of `Exchange`, for example `provider`.

    Returns
    -------
    {"long": ..., "short": ..., "long_short": ...}, each a Series by the time of the trade.

    Raises InputError for scores that are no numbers or stand twice, MissingDataError where no bar follows the scores.
    """
    del trade_unit, min_cost, extract_codes
    for name, number in (("topk", topk), ("shift", shift)):
        if isinstance(number, bool) or number != int(number) or number < 1:
            raise InputError(f"long_short_backtest {name}: received {number!r}; a whole number of at least 1 is needed")
    scores = _score_table(pred)
    provider = exchange_kwargs.get("provider") or active_provider()
    times = pd.DatetimeIndex(provider.locate(freq).times)
    traded = times.get_indexer(scores.index) + shift
    strange = scores.index[traded < shift]
    if len(strange):
        raise InputError(f"long_short_backtest: {strange[0]} is no time of the {freq} calendar")
    scores = scores[traded + 1 < len(times)]  # the return needs the bar after the trade
    traded = traded[traded + 1 < len(times)]
    if not len(scores):
        raise MissingDataError(
            f"long_short_backtest: the {freq} calendar ends before the first score has earned anything"
        )
    exchange = get_exchange(
        freq=freq,
        start_time=times[traded[0]],
        end_time=times[min(traded[-1] + 1 + LATER, len(times) - 1)],
        codes=list(scores.columns),
        deal_price=deal_price,
        limit_threshold=limit_threshold,
        subscribe_fields=list(subscribe_fields),
        open_cost=open_cost,
        close_cost=close_cost,
        min_cost=0,
        **exchange_kwargs,
    )
    place = exchange.columns(scores.columns)
    steps = [exchange.at(time, time) for time in times[traded[0] : traded[-1] + 2 + LATER]]

    def panel(name: str) -> Any:
        rows = np.array([getattr(step, name)[place] for step in steps], dtype=np.float64)
        rows[:, place < 0] = np.nan
        return rows

    buy, sell = panel("buy_price"), panel("sell_price")
    rows = traded - traded[0]
    can_buy, can_sell = (panel(name)[rows] == 1 for name in ("can_buy", "can_sell"))
    can_buy &= np.isfinite(buy[rows])
    can_sell &= np.isfinite(sell[rows])
    until = np.append(rows[1:], rows[-1] + 1)
    left, covered = (pd.DataFrame(price).bfill().ffill().to_numpy()[until] for price in (sell, buy))
    earned, owed = left / buy[rows] - 1, covered / sell[rows] - 1
    values = scores.to_numpy()
    best = _equal_parts(np.where(can_buy, values, np.nan), topk)
    worst = _equal_parts(np.where(can_sell, -values, np.nan), topk)
    both = can_buy & can_sell & np.isfinite(values)
    with np.errstate(invalid="ignore"):
        average = np.where(both, earned, 0).sum(axis=1) / both.sum(axis=1)
    long = (best * np.where(best > 0, earned, 0)).sum(axis=1) - _cost(best, earned, open_cost, close_cost) - average
    short = average - (worst * np.where(worst > 0, owed, 0)).sum(axis=1) - _cost(worst, owed, close_cost, open_cost)
    index = pd.DatetimeIndex(times[traded], name="datetime")
    result = {"long": long, "short": short, "long_short": long + short}
    return {name: pd.Series(series, index=index, name=name) for name, series in result.items()}


def _score_table(pred: pd.Series | pd.DataFrame) -> pd.DataFrame:
    """Return scores by time and instrument, or say what is wrong with them."""
    column = pred.iloc[:, 0] if isinstance(pred, pd.DataFrame) else pred
    names = list(column.index.names)
    if set(names) != {"datetime", "instrument"}:
        raise InputError(f"long_short_backtest: the scores have the index {names}; datetime and instrument are needed")
    twice = column.index.duplicated()
    if twice.any():
        raise InputError(f"long_short_backtest: {int(twice.sum())} scores stand twice, first {column.index[twice][0]}")
    if np.isinf(column.to_numpy(dtype=np.float64)).any():
        raise InputError("long_short_backtest: some scores are infinite")
    table = column.unstack(level="instrument").sort_index().astype(np.float64)
    if not table.notna().any(axis=None):
        raise InputError("long_short_backtest: there are no scores")
    return table


def _equal_parts(scores: Any, count: int) -> Any:
    """Return the part of each name: equal for the `count` best of a row, 0 for the others. NaN is no candidate."""
    order = np.argsort(-scores, axis=1, kind="stable")  # NaN goes to the end
    chosen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(chosen, order[:, :count], True, axis=1)
    chosen &= ~np.isnan(scores)
    return chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)


def _cost(parts: Any, returns: Any, more: float, less: float) -> Any:
    """Return the cost of each bar: `more` of what is added to the parts held before, `less` of what is taken away."""
    before = np.zeros_like(parts)
    before[1:] = parts[:-1] * np.where(parts[:-1] > 0, 1 + returns[:-1], 0)
    change = parts - before
    return more * change.clip(min=0).sum(axis=1) + less * (-change).clip(min=0).sum(axis=1)


def t_run() -> dict[str, pd.DataFrame]:
    """Try scores out, long against short: those of `check_pred.csv` in the working folder.

    Its columns are datetime, instrument, score. Returns the risk figures of "long", "short" and "long_short"; raises
    MissingDataError without the file.
    """
    file = Path("check_pred.csv")
    if not file.exists():
        raise MissingDataError(f"t_run: {file.resolve()} is missing; it has the columns datetime, instrument, score")
    table = pd.read_csv(file, parse_dates=["datetime"], dtype={"instrument": str})
    pred = table.set_index(["datetime", "instrument"])["score"]
    figures = {name: risk_analysis(series, freq="day") for name, series in long_short_backtest(pred).items()}
    for name, frame in figures.items():
        logger.info(f"{name}: " + ", ".join(f"{row} {value:.4g}" for row, value in frame["risk"].items()))
    return figures

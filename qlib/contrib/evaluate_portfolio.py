"""Figures of positions and of return series, at Qlib's path.

    positions        {time: position}; a position is a Position, or {instrument: {"amount": a}, "cash": c}
    method "ci"      compound interest: (1 + mean return) ** days - 1 a year
    method "si"      simple interest: mean return * days a year

A year has the days of the session's region. Under compat="qlib" it has 250, a holding without a close on the day makes
the value NaN, and `get_beta` returns the whole matrix of covariances over the variance, as Qlib does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis import risk
from qlib.backtest.position import BasePosition
from qlib.config import active_settings
from qlib.data.provider import active_provider
from qlib.errors import InputError, MissingDataError, did_you_mean

QLIB_DAYS = 250
METHODS = ("ci", "si")


def _qlib() -> bool:
    return active_settings().compat == "qlib"


def _year() -> float:
    return QLIB_DAYS if _qlib() else risk.periods_per_year("day", active_settings().region)


def _holdings(position: Any) -> tuple[dict[str, float], float]:
    """Return (amount by instrument, cash) of either kind of position."""
    if isinstance(position, BasePosition):
        return position.get_stock_amount_dict(), position.get_cash(include_settle=True)
    amounts = {str(name): float(held["amount"]) for name, held in position.items() if isinstance(held, Mapping)}
    return amounts, float(position.get("cash", 0.0)) + float(position.get("cash_delay", 0.0))


def _closes(names: Iterable[str], times: pd.DatetimeIndex) -> pd.DataFrame:
    """Return closes by time and instrument: the last one known, under compat that of the day only."""
    wanted = sorted(set(names))
    found = active_provider().features(wanted, ["$close"], times[0] if _qlib() else None, times[-1])
    closes = found["$close"].unstack(level="instrument").reindex(columns=wanted)
    return closes.reindex(times) if _qlib() else closes.ffill().reindex(times, method="ffill")


def get_position_list_value(positions: Mapping[Any, Any]) -> OrderedDict[Any, float]:
    """Return the value of each position, holdings at their closes and cash, in order of time.

    A suspended holding counts at its last close. Raises MissingDataError for a holding that never had one.
    """
    times = sorted(positions)
    held = {time: _holdings(positions[time]) for time in times}
    names = {name for amounts, _ in held.values() for name in amounts}
    closes = _closes(names, pd.DatetimeIndex(times)) if names else None
    values: OrderedDict[Any, float] = OrderedDict()
    for time, (amounts, cash) in held.items():
        value = cash
        if amounts and closes is not None:
            prices = closes.loc[pd.Timestamp(time), list(amounts)].to_numpy(dtype=np.float64)
            if np.isnan(prices).any() and not _qlib():
                name = list(amounts)[int(np.isnan(prices).argmax())]
                raise MissingDataError(f"{name} is held on {time}, but the data hold no close of it until then")
            value += float(prices @ np.array(list(amounts.values())))
        values[time] = value
    return values


def get_position_value(evaluate_date: Any, position: Any) -> float:
    """Return the value of a position at the closes of a date, see `get_position_list_value`."""
    return get_position_list_value({pd.Timestamp(evaluate_date): position})[pd.Timestamp(evaluate_date)]


def get_daily_return_series_from_positions(positions: Mapping[Any, Any], init_asset_value: float) -> pd.Series:
    """Return the growth from each position to the next; that of the first from `init_asset_value`."""
    values = pd.Series(get_position_list_value(positions), dtype=np.float64)
    return values / values.shift(1, fill_value=init_asset_value) - 1


def get_annual_return_from_positions(positions: Mapping[Any, Any], init_asset_value: float) -> float:
    """Return the compounded growth a year from `init_asset_value` to the last position."""
    values = get_position_list_value(positions)
    if not values:
        raise InputError("get_annual_return_from_positions: there are no positions")
    return float((next(reversed(values.values())) / init_asset_value) ** (_year() / len(values)) - 1)


def get_annaul_return_from_return_series(r: pd.Series, method: str = "ci") -> float:
    """Return the return a year: "ci" (1 + mean) ** days - 1, "si" mean * days. (The name is Qlib's.)

    Note that "ci" compounds the arithmetic mean; `risk_analysis(mode="product")` has the growth that really happened.
    """
    if method not in METHODS and not _qlib():
        raise InputError(f"method: received {method!r}; allowed are 'ci' and 'si'{did_you_mean(str(method), METHODS)}")
    mean = float(r.mean())
    return (1 + mean) ** _year() - 1 if method == "ci" else mean * _year()


def get_sharpe_ratio_from_return_series(r: pd.Series, risk_free_rate: float = 0.0, method: str = "ci") -> float:
    """Return (return a year - risk_free_rate) / deviation a year; NaN where the returns never vary."""
    deviation = get_volatility_from_series(r) * np.sqrt(_year())
    over = get_annaul_return_from_return_series(r, method) - risk_free_rate
    if deviation == 0 and not _qlib():
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(over) / deviation)


def get_max_drawdown_from_series(r: pd.Series) -> float:
    """Return the deepest fall of the compounded curve below its highest point so far, the starting capital included.

    >>> round(get_max_drawdown_from_series(pd.Series([-0.1, 0.2, -0.1])), 12)
    -0.1
    """
    if _qlib():
        curve = (1 + r).cumprod()
        return float((curve / curve.cummax() - 1).min())
    return float(risk.drawdown(r).min())


def get_turnover_rate(report: pd.DataFrame | None = None) -> float | None:
    """Return the mean turnover a bar of a backtest's report: traded value, both sides, over the account before.

    Qlib's function takes nothing and returns None; without a report this one is an error that says what it needs.
    """
    if report is None:
        if _qlib():
            return None
        raise InputError('get_turnover_rate: a backtest\'s report is needed, whose column "turnover" says it by bar')
    return float(report["turnover"].mean())


def get_beta(r: pd.Series, b: pd.Series) -> Any:
    """Return the beta of the returns `r` to the benchmark's returns `b`: covariance over the variance of `b`.

    >>> get_beta(pd.Series([0.02, -0.04, 0.02]), pd.Series([0.01, -0.02, 0.01]))
    2.0
    """
    table = np.cov(r, b)
    if _qlib():
        return table / np.var(np.asarray(b))
    return float(table[0, 1] / table[1, 1]) if table[1, 1] else float("nan")


def get_alpha(r: pd.Series, b: pd.Series, risk_free_rate: float = 0.03) -> Any:
    """Return what `r` earned a year above the risk-free rate and its beta times the benchmark's excess over it."""
    mine, its = (get_annaul_return_from_return_series(series) - risk_free_rate for series in (r, b))
    return mine - get_beta(r, b) * its


def get_volatility_from_series(r: pd.Series) -> float:
    """Return the deviation per bar (ddof 1)."""
    known = r.dropna()
    if len(known) > 1 and not _qlib() and bool((known == known.iloc[0]).all()):
        return 0.0  # whatever rounding makes of the mean
    return float(r.std(ddof=1))


def get_rank_ic(a: pd.Series, b: pd.Series) -> float:
    """Return the rank correlation (Spearman) of two columns; rows in which one is missing are left out."""
    return _correlation(a, b, "rank")


def get_normal_ic(a: pd.Series, b: pd.Series) -> float:
    """Return the correlation (Pearson) of two columns; rows in which one is missing are left out."""
    return _correlation(a, b, "values")


def _correlation(a: pd.Series, b: pd.Series, of: str) -> float:
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if len(left) != len(right):
        raise InputError(f"two columns of {len(left)} and {len(right)} rows cannot be compared")
    missing = np.isnan(left) | np.isnan(right)
    if missing.any() and _qlib():
        return float("nan")
    pair = pd.DataFrame({"a": left[~missing], "b": right[~missing]})
    if of == "rank":
        pair = pair.rank()
    return float(pair["a"].corr(pair["b"]))

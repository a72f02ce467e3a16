"""Numbers of the portfolio: what the account earned, what that cost, and how deep it fell.

One row of the report frame has `return` (gross), `cost` and `bench`; all else follows.

    net               return - cost              account: starting capital x product of (1 + net)
    excess            net - bench                (mean x periods a year, as Qlib's risk analysis counts it)
    drawdown          equity / highest equity so far - 1, the starting capital being the first high
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.risk import risk_analysis
from qlib.analysis.significance import moments
from qlib.analysis.trades import indicator_analysis
from qlib.backtest.position import PositionHistory
from qlib.contrib.report.artifacts import Portfolio
from qlib.contrib.report.cost_numbers import cost_numbers
from qlib.contrib.report.execution_numbers import execution_numbers
from qlib.contrib.report.exposure_numbers import carry_numbers, exposure_numbers
from qlib.contrib.report.holding_numbers import holding_numbers
from qlib.contrib.report.rolling_numbers import rolling_numbers
from qlib.contrib.report.signal_numbers import bar_means, standard_error
from qlib.contrib.report.times import DAY, by_month, stamp, stamps
from qlib.contrib.report.trip_numbers import trip_numbers

WORST_DRAWDOWNS = 10
FRESH = 6
TAIL = 0.05


def portfolio_numbers(portfolio: Portfolio, year: float, pred: pd.Series | None = None) -> dict[str, Any] | None:
    """Return the portfolio's part of the twin; None when the backtest has no step.

    Parameters
    ----------
    year : float
        Periods in a year of this market, at the backtest's frequency.
    pred : Series, optional
        The scores (datetime, instrument): what is held without a score is told.
    """
    report = portfolio.report
    n = len(report)
    if not n:
        return None
    times = pd.DatetimeIndex(report.index)
    step = pd.Timedelta(np.median(np.diff(times.to_numpy()))) if n > 1 else DAY
    gross = report["return"].fillna(0.0).astype(float)
    cost = report["cost"].fillna(0.0).astype(float)
    net = gross - cost
    bench = _benchmark(report)
    equity = (1 + net).cumprod()
    fall = drawdown(equity)
    positions = holding_numbers(portfolio)
    numbers: dict[str, Any] = {
        "freq": portfolio.freq,
        "other_freqs": list(portfolio.other_freqs),
        "periods": n,
        "periods_per_year": year,
        "years": float((times[-1] - times[0] + step) / pd.Timedelta(days=365.25)),
        "first": stamp(times[0]),
        "last": stamp(times[-1]),
        "starting_capital": float(report["account"].iloc[0] / (1 + net.iloc[0])),
        "final_account": float(report["account"].iloc[-1]),
        "returns_missing": int(report["return"].isna().sum()),
        "account_differs": _account_differs(report, net),
        "gross": growth(gross, year),
        "net": growth(net, year),
        "benchmark": None if bench is None else growth(bench, year),
        "excess": None if bench is None else excess(net - bench, year),
        "excess_gross": None if bench is None else excess(gross - bench, year),
        "drawdowns": worst_drawdowns(fall, stamps(pd.DatetimeIndex([times[0] - step, *times]))),
        "trading": {**_trading(portfolio, year), **optimism(portfolio.trades, report, net)},
        "exposure": _spread((report["value"] / report["account"]).astype(float)),
        "sides": exposure_numbers(portfolio),
        "carry": carry_numbers(portfolio),
        "holdings": None,
        "costs": cost_numbers(portfolio),
        "rolling": rolling_numbers(net, bench, year),
        "execution": execution_numbers(portfolio),
        "positions": positions,
        "trips": trip_numbers(portfolio) if positions and positions["earned"] else None,
        "stuck": stuck_holdings(portfolio.positions, pred),
        "monthly": monthly(net, times),
    }
    held = holdings(portfolio.positions, times)
    if held is not None:
        numbers["holdings"] = _spread(held.dropna())
    numbers["turnover_bars"] = bar_means(report["turnover"].astype(float))
    numbers["series"] = {
        "time": stamps(times),
        "account": report["account"].astype(float).tolist(),
        "net": net.tolist(),
        "gross": gross.tolist(),
        "benchmark": None if bench is None else bench.tolist(),
        "net_growth": (equity - 1).tolist(),
        "gross_growth": ((1 + gross).cumprod() - 1).tolist(),
        "benchmark_growth": None if bench is None else ((1 + bench).cumprod() - 1).tolist(),
        "drawdown": fall.tolist(),
        "turnover": report["turnover"].astype(float).tolist(),
        "cost": cost.tolist(),
        "cost_so_far": cost.cumsum().tolist(),
        "exposure": (report["value"] / report["account"]).astype(float).tolist(),
        "holdings": None if held is None else held.tolist(),
        "start": stamp(times[0] - step),
    }
    return numbers


def _benchmark(report: pd.DataFrame) -> pd.Series | None:
    """The benchmark's returns; None where the backtest had none (absent, empty or never moving)."""
    if "bench" not in report:
        return None
    bench = report["bench"].astype(float).fillna(0.0)
    return None if (bench == 0).all() else bench


def growth(returns: pd.Series, year: float) -> dict[str, Any]:
    """Compounded growth, risk and certainty of a return series."""
    n = len(returns)
    total = float(np.prod(1 + returns.to_numpy()) - 1)
    summed = _risk(returns, year)
    error, _ = standard_error(returns.to_numpy())
    return {
        "total": total,
        "annual": float((1 + total) ** (year / n) - 1) if total > -1 else -1.0,
        "mean": float(returns.mean()),
        "volatility": float(summed["std"] * np.sqrt(year)),
        "sharpe": _ratio(summed),
        "t": float(returns.mean()) / error if error else None,
        "max_drawdown": float(drawdown((1 + returns).cumprod()).min()),
        "best": float(returns.max()),
        "worst": float(returns.min()),
        "positive_share": float((returns > 0).mean()),
        **tails(returns, year),
    }


def excess(returns: pd.Series, year: float) -> dict[str, Any]:
    """The excess over the benchmark, added up period by period as Qlib does."""
    summed = _risk(returns, year)
    error, _ = standard_error(returns.to_numpy())
    curve = np.concatenate([[0.0], returns.cumsum().to_numpy()])
    return {
        "total": float(returns.sum()),
        "annual": float(summed["annualized_return"]),
        "mean": float(summed["mean"]),
        "volatility": float(summed["std"] * np.sqrt(year)),
        "information_ratio": _ratio(summed),
        "t": float(summed["mean"]) / error if error else None,
        "max_drawdown": float((curve - np.maximum.accumulate(curve)).min()),
        "best": float(returns.max()),
        "worst": float(returns.min()),
        "positive_share": float((returns > 0).mean()),
        **tails(returns, year),
    }


def tails(returns: pd.Series, year: float) -> dict[str, Any]:
    """What the bad periods look like.

    `sortino` divides the mean by the root mean square of the losses; `value_at_risk` is the loss that one period in
    twenty exceeds, `expected_shortfall` the mean of those (both below zero).
    """
    values = returns.to_numpy(float)
    losses = float(np.sqrt((np.minimum(values, 0.0) ** 2).mean()))
    bad = float(np.quantile(values, TAIL))
    shape = moments(values)
    gained, lost = float(values[values > 0].sum()), float(-values[values < 0].sum())
    return {
        "sortino": float(values.mean()) / losses * float(np.sqrt(year)) if losses > 0 else None,
        "value_at_risk": bad,
        "expected_shortfall": float(values[values <= bad].mean()),
        "skew": shape.skew,
        "kurtosis": shape.kurtosis,
        "gain_to_loss": gained / lost if lost > 0 else None,
    }


def _risk(returns: pd.Series, year: float) -> pd.Series:
    with np.errstate(divide="ignore", invalid="ignore"):  # returns that never vary have no ratio
        return risk_analysis(returns, N=year, mode="sum").risk


def _ratio(summed: pd.Series) -> float | None:
    return float(summed["information_ratio"]) if summed["std"] > 0 else None


def drawdown(equity: pd.Series) -> pd.Series:
    """Distance from the highest equity so far; the starting capital (1) counts as a high.

    >>> drawdown(pd.Series([0.9, 1.1, 0.99])).round(3).tolist()
    [-0.1, 0.0, -0.1]
    """
    return equity / equity.cummax().clip(lower=1.0) - 1


def worst_drawdowns(fall: pd.Series, times: list[str]) -> list[dict[str, Any]]:
    """The deepest falls, each from its high to the return to it (None while it lasts).

    `times` has one entry more than `fall`: the first is the start.
    """
    below = fall.to_numpy() < -1e-12
    edges = np.flatnonzero(np.diff(np.concatenate([[0], below.astype(int), [0]])))
    found = []
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        part = fall.to_numpy()[first:end]
        bottom = first + int(part.argmin())
        found.append(
            {
                "depth": float(part.min()),
                "from": times[first],
                "bottom": times[bottom + 1],
                "recovered": times[end + 1] if end < len(fall) else None,
                "periods": int(end - first),
            }
        )
    return sorted(found, key=lambda one: (one["depth"], one["from"]))[:WORST_DRAWDOWNS]


def _account_differs(report: pd.DataFrame, net: pd.Series) -> float:
    """Largest relative distance between the account and what its returns make of the row before."""
    account = report["account"].astype(float)
    expected = account.shift() * (1 + net)
    return float((account / expected - 1).abs().iloc[1:].max()) if len(report) > 1 else 0.0


def _spread(values: pd.Series) -> dict[str, Any] | None:
    if values.empty:
        return None
    return {"mean": float(values.mean()), "lowest": float(values.min()), "highest": float(values.max())}


def _trading(portfolio: Portfolio, year: float) -> dict[str, Any]:
    report, indicators = portfolio.report, portfolio.indicators
    turnover, cost = report["turnover"].astype(float), report["cost"].astype(float)
    traded, paid = float(report["total_turnover"].iloc[-1]), float(report["total_cost"].iloc[-1])
    numbers: dict[str, Any] = {
        "turnover_mean": float(turnover.mean()),
        "turnover_annual": float(turnover.mean() * year),
        "turnover_highest": float(turnover.max()),
        "traded_value": traded,
        "cost_total": paid,
        "cost_sum": float(cost.sum()),
        "cost_mean": float(cost.mean()),
        "cost_annual": float(cost.mean() * year),
        "cost_of_traded": paid / traded if traded > 0 else None,
        "orders": None,
        "fill_rate": None,
        "price_advantage": None,
    }
    if indicators is not None and len(indicators) and {"count", "ffr", "pa", "pos"} <= set(indicators.columns):
        orders = int(indicators["count"].sum())
        numbers["orders"] = orders
        if orders:
            weighted = indicator_analysis(indicators.astype(float)).value
            numbers |= {"fill_rate": float(weighted["ffr"]), "price_advantage": float(weighted["pa"])}
    return numbers


def optimism(trades: pd.DataFrame | None, report: pd.DataFrame, net: pd.Series) -> dict[str, Any]:
    """What a naive backtest would have shown: every fill at the undisturbed deal price.

    `slippage_total` is the money that spread and impact took, `naive_total` the growth with it given back step by step,
    `optimism_gap` how much that is above the honest growth. None where the run kept no fills.
    """
    if trades is None:
        return dict.fromkeys(("fills", "slippage_total", "naive_total", "optimism_gap"))
    times = pd.DatetimeIndex(report.index)
    step = times.searchsorted(pd.DatetimeIndex(trades["time"]), side="right") - 1
    inside = (step >= 0) & (trades["slippage"].to_numpy() != 0)
    lost = np.bincount(step[inside], weights=trades["slippage"].to_numpy(float)[inside], minlength=len(report))
    before = report["account"].to_numpy(float) / (1 + net.to_numpy())
    naive, honest = (float(np.prod(1 + returns) - 1) for returns in (net.to_numpy() + lost / before, net.to_numpy()))
    return {
        "fills": len(trades),
        "slippage_total": float(lost.sum()),
        "naive_total": naive,
        "optimism_gap": naive - honest,
    }


def holdings(positions: Any, times: pd.DatetimeIndex) -> pd.Series | None:
    """How many instruments were held after each step; None when the run kept no positions."""
    if not positions:
        return None
    moments = list(positions)
    counts = np.zeros(len(moments))
    if isinstance(positions, PositionHistory):  # without building a position for every step
        counts += np.bincount(positions.columns("amount")[0], minlength=len(moments))
    for k in np.flatnonzero(counts == 0):
        counts[k] = len(_instruments_in(positions[moments[k]]))
    return pd.Series(counts, pd.DatetimeIndex(moments)).reindex(times)


def _instruments_in(position: Any) -> list[str]:
    if hasattr(position, "get_stock_list"):
        return sorted(position.get_stock_list())
    return sorted(name for name, held in position.items() if isinstance(held, dict))


def stuck_holdings(positions: Any, pred: pd.Series | None) -> list[dict[str, str]]:
    """What is still held at the end though its last score lies more than five periods back: delisted, as a rule."""
    if not positions or pred is None or pred.empty:
        return []
    last = pred[pred.notna()].reset_index().groupby("instrument")["datetime"].max()
    times = pred.index.get_level_values("datetime").unique().sort_values()
    recent = times[-min(FRESH, len(times))]
    held = _instruments_in(positions[max(positions)])
    return [
        {"instrument": name, "since": stamp(last[name])} for name in held if name in last.index and last[name] < recent
    ]


def monthly(net: pd.Series, times: pd.DatetimeIndex) -> list[dict[str, Any]]:
    """Net return of each month and year, compounded; a month that the backtest covers only partly is marked."""
    grown = 1 + net.to_numpy()
    return by_month(times, lambda rows: float(grown[rows].prod() - 1))

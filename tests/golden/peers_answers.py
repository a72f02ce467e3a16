"""Series that figures are computed of, and what empyrical-reloaded and alphalens-reloaded say of them: peers.json.

    python tests/golden/peers_answers.py      in an environment with empyrical-reloaded 0.7.1, alphalens-reloaded 0.5.1
                                              and arch 8.0

The tests take the series from here. They are rounded, and so the same everywhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ANSWERS = Path(__file__).with_name("peers.json")
YEARS = {"calm": 252, "wild": 365, "falling": 365, "short": 252}
WINDOW = 20
GROUPS = 4
SLOW = {"noise": (0, 0.0, 300), "mild": (1, 0.5, 1000), "slow": (2, 0.9, 2000), "turning": (3, -0.5, 500)}


def series() -> dict[str, tuple[pd.Series, pd.Series]]:
    """Returns and a benchmark, by the kind of returns."""
    found = {}
    for name, (seed, mean, spread, n) in {
        "calm": (1, 0.0005, 0.01, 150),
        "wild": (2, 0.0, 0.06, 120),
        "falling": (3, -0.004, 0.02, 130),
        "short": (4, 0.002, 0.03, 40),
    }.items():
        rng = np.random.default_rng(seed)
        index = pd.date_range("2022-01-05", periods=n)
        market = rng.normal(0.0003, spread, n)
        returns = mean + 0.6 * market + rng.standard_t(4, n) * spread / 3
        found[name] = pd.Series(returns.round(6), index), pd.Series(market.round(6), index)
    return found


def odd() -> dict[str, pd.Series]:
    """Returns that both sides mean something else by."""
    days = pd.date_range("2024-01-01", periods=6)
    return {
        "holes": pd.Series([0.01, np.nan, 0.03, -0.01, np.nan, 0.02], days),
        "constant": pd.Series(0.01, days),
        "rising": pd.Series([0.01, 0.02, 0.03, 0.01, 0.02, 0.03], days),
    }


def factor(ties: bool = False) -> tuple[pd.Series, pd.Series]:
    """Scores and what followed, over 40 days of 15 names of which one is listed late."""
    rng = np.random.default_rng(8)
    index = pd.MultiIndex.from_product(
        [pd.date_range("2022-01-03", periods=40), [f"S{i:02d}" for i in range(15)]], names=["datetime", "instrument"]
    )
    index = index[~((index.get_level_values(1) == "S03") & (index.get_level_values(0) < "2022-01-20"))]
    truth = rng.normal(size=len(index))
    slow = pd.Series(rng.normal(size=len(index)), index).groupby(level=1).transform(lambda x: x.ewm(10).mean())
    score = (truth + 3 * slow).round(1 if ties else 5)
    return pd.Series(score, index), pd.Series((truth / 50 + rng.normal(size=len(index)) / 40).round(6), index)


def autoregressive(seed: int, memory: float, n: int) -> np.ndarray:
    """A series that remembers its past."""
    noise = np.random.default_rng(seed).normal(size=n).round(6)
    values = np.zeros(n)
    for i in range(n):
        values[i] = memory * values[i - 1] + noise[i] if i else noise[i]
    return values


def of_returns(r: pd.Series, b: pd.Series, year: int) -> dict[str, Any]:
    import empyrical as e

    a = {"annualization": year}
    roll = {"window": WINDOW}
    return {
        "cumulative_returns": e.cum_returns(r),
        "total_return": e.cum_returns_final(r),
        "simple_returns": e.simple_returns(1 + e.cum_returns(r)),
        "week": e.aggregate_returns(r, "weekly"),
        "month": e.aggregate_returns(r, "monthly"),
        "quarter": e.aggregate_returns(r, "quarterly"),
        "year": e.aggregate_returns(r, "yearly"),
        "annual_return": e.annual_return(r, **a),
        "cagr": e.cagr(r, **a),
        "annual_volatility": e.annual_volatility(r, **a),
        "max_drawdown": e.max_drawdown(r),
        "downside_risk": e.downside_risk(r, **a),
        "downside_risk, required": e.downside_risk(r, required_return=0.001, **a),
        "value_at_risk": e.value_at_risk(r),
        "value_at_risk, 1 %": e.value_at_risk(r, 0.01),
        "conditional_value_at_risk": e.conditional_value_at_risk(r),
        "conditional_value_at_risk, 1 %": e.conditional_value_at_risk(r, 0.01),
        "sharpe_ratio": e.sharpe_ratio(r, **a),
        "sharpe_ratio, risk free": e.sharpe_ratio(r, risk_free=0.0001, **a),
        "sortino_ratio": e.sortino_ratio(r, **a),
        "sortino_ratio, required": e.sortino_ratio(r, required_return=0.0005, **a),
        "calmar_ratio": e.calmar_ratio(r, **a),
        "omega_ratio": e.omega_ratio(r, **a),
        "omega_ratio, required": e.omega_ratio(r, risk_free=0.0001, required_return=0.05, **a),
        "tail_ratio": e.tail_ratio(r),
        "stability": e.stability_of_timeseries(r),
        "alpha": e.alpha(r, b, **a),
        "alpha, risk free": e.alpha(r, b, risk_free=0.0002, **a),
        "beta": e.beta(r, b),
        "up_alpha": e.up_alpha_beta(r, b, **a)[0],
        "up_beta": e.up_alpha_beta(r, b, **a)[1],
        "down_alpha": e.down_alpha_beta(r, b, **a)[0],
        "down_beta": e.down_alpha_beta(r, b, **a)[1],
        "active_ratio": e.excess_sharpe(r, b),
        "capture": e.capture(r, b),
        "up_capture": e.up_capture(r, b),
        "down_capture": e.down_capture(r, b),
        "up_down_capture": e.up_down_capture(r, b),
        "batting_average": e.batting_average(r, b),
        "beta_fragility": e.beta_fragility_heuristic(r, b),
        "rolling sharpe_ratio": e.roll_sharpe_ratio(r, **roll, **a),
        "rolling sortino_ratio": e.roll_sortino_ratio(r, **roll, **a),
        "rolling annual_volatility": e.roll_annual_volatility(r, **roll, **a),
        "rolling max_drawdown": e.roll_max_drawdown(r, **roll),
        "rolling alpha": e.roll_alpha(r, b, **roll, **a),
        "rolling beta": e.roll_beta(r, b, **roll),
        "rolling up_capture": e.roll_up_capture(r, b, **roll),
        "rolling down_capture": e.roll_down_capture(r, b, **roll),
        "rolling up_down_capture": e.roll_up_down_capture(r, b, **roll),
    }


def of_factor(score: pd.Series, label: pd.Series) -> dict[str, Any]:
    from alphalens import performance as p
    from alphalens import utils as u

    data = pd.DataFrame({"1D": label, "factor": score})
    data.index = data.index.set_names(["date", "asset"])
    dates = pd.DatetimeIndex(data.index.levels[0], freq="D")
    data.index = data.index.set_levels(dates, level=0)
    data["factor_quantile"] = u.quantize_factor(data, quantiles=GROUPS)
    mean, error = p.mean_return_by_quantile(data)
    raw, raw_error = p.mean_return_by_quantile(data, demeaned=False)
    by_date, _ = p.mean_return_by_quantile(data, by_date=True)
    spread, _ = p.compute_mean_returns_spread(by_date, GROUPS, 1)
    alpha_beta = p.factor_alpha_beta(data)["1D"]
    ic = p.factor_information_coefficient(data)["1D"]
    return {
        "rank_ic": ic,
        "rank_ic mean": ic.mean(),
        "rank_ic mean by month": p.mean_information_coefficient(data, by_time="ME")["1D"],
        "factor_weights": p.factor_weights(data),
        "factor_weights, raw": p.factor_weights(data, demeaned=False),
        "factor_returns": p.factor_returns(data)["1D"],
        "factor_returns, raw": p.factor_returns(data, demeaned=False)["1D"],
        "factor cumulative_returns": p.cumulative_returns(p.factor_returns(data)["1D"]),
        "factor alpha": alpha_beta["Ann. alpha"],
        "factor beta": alpha_beta["beta"],
        "quantiles": data["factor_quantile"],
        "quantile_returns": mean["1D"],
        "quantile_returns error": error["1D"],
        "quantile_returns, raw": raw["1D"],
        "quantile_returns error, raw": raw_error["1D"],
        "quantile_spread": spread["1D"],
        "quantile_turnover, best": p.quantile_turnover(data["factor_quantile"], GROUPS),
        "quantile_turnover, worst, 3": p.quantile_turnover(data["factor_quantile"], 1, 3),
        "rank_autocorr": p.factor_rank_autocorrelation(data),
        "rank_autocorr, 5": p.factor_rank_autocorrelation(data, 5),
    }


def plain(thing: Any) -> Any:
    if isinstance(thing, pd.Series | np.ndarray):
        return [None if np.isnan(value) else float(value) for value in thing]
    return None if np.isnan(thing) else float(thing)


def main() -> None:
    import alphalens
    import arch
    import empyrical
    from arch.bootstrap import optimal_block_length

    answers: dict[str, Any] = {
        "note": f"empyrical-reloaded {empyrical.__version__}, alphalens-reloaded {alphalens.__version__}, "
        f"arch {arch.__version__}; made by peers_answers.py"
    }
    for name, (r, b) in series().items():
        answers[name] = {key: plain(value) for key, value in of_returns(r, b, YEARS[name]).items()}
    answers["odd"] = {
        name: {
            "annual_return": plain(empyrical.annual_return(r, annualization=252)),
            "sharpe_ratio": str(empyrical.sharpe_ratio(r, annualization=252)),
            "sortino_ratio": str(empyrical.sortino_ratio(r, annualization=252)),
        }
        for name, r in odd().items()
    }
    for name, ties in {"factor": False, "factor with ties": True}.items():
        answers[name] = {key: plain(value) for key, value in of_factor(*factor(ties)).items()}
    answers["block"] = {
        name: float(optimal_block_length(autoregressive(*case)).iloc[0, 0]) for name, case in SLOW.items()
    }
    ANSWERS.write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()

"""Figures beside those of empyrical-reloaded, alphalens-reloaded and arch (`peers_answers.py`): equal to 1e-9.

Where they mean something else by the same name, docs/component/metrics.md says so and a test here holds both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import peers_answers as asked
import pytest

from qlib.analysis import factor, performance, relative
from qlib.analysis.ic import calc_ic
from qlib.analysis.performance import rolling

ANSWERS = json.loads(asked.ANSWERS.read_text())
SERIES = asked.series()
Figures = dict[str, Callable[[pd.Series, pd.Series, int], Any]]

RETURNS: Figures = {
    "cumulative_returns": lambda r, b, N: performance.cumulative_returns(r),
    "total_return": lambda r, b, N: performance.total_return(r),
    "simple_returns": lambda r, b, N: performance.simple_returns(1 + performance.cumulative_returns(r)),
    **{span: partial(lambda span, r, b, N: performance.aggregate_returns(r, span), span) for span in performance.SPANS},
    "annual_return": lambda r, b, N: performance.annual_return(r, N),
    "cagr": lambda r, b, N: performance.annual_return(r, N),
    "annual_volatility": lambda r, b, N: performance.annual_volatility(r, N),
    "max_drawdown": lambda r, b, N: performance.max_drawdown(r),
    "downside_risk": lambda r, b, N: performance.downside_risk(r, N),
    "downside_risk, required": lambda r, b, N: performance.downside_risk(r, N, 0.001),
    "value_at_risk": lambda r, b, N: performance.value_at_risk(r),
    "value_at_risk, 1 %": lambda r, b, N: performance.value_at_risk(r, 0.01),
    "conditional_value_at_risk": lambda r, b, N: performance.conditional_value_at_risk(r),
    "conditional_value_at_risk, 1 %": lambda r, b, N: performance.conditional_value_at_risk(r, 0.01),
    "sharpe_ratio": lambda r, b, N: performance.sharpe_ratio(r, N),
    "sharpe_ratio, risk free": lambda r, b, N: performance.sharpe_ratio(r, N, 0.0001),
    "sortino_ratio": lambda r, b, N: performance.sortino_ratio(r, N),
    "sortino_ratio, required": lambda r, b, N: performance.sortino_ratio(r, N, 0.0005),
    "calmar_ratio": lambda r, b, N: performance.calmar_ratio(r, N),
    "omega_ratio": lambda r, b, N: performance.omega_ratio(r, N),
    "omega_ratio, required": lambda r, b, N: performance.omega_ratio(r, N, required=0.05, risk_free=0.0001),
    "tail_ratio": lambda r, b, N: performance.tail_ratio(r),
    "stability": lambda r, b, N: performance.stability(r),
    "alpha": relative.alpha,
    "alpha, risk free": lambda r, b, N: relative.alpha(r, b, N, 0.0002),
    "beta": lambda r, b, N: relative.beta(r, b),
    "up_alpha": relative.up_alpha,
    "up_beta": lambda r, b, N: relative.up_beta(r, b),
    "down_alpha": relative.down_alpha,
    "down_beta": lambda r, b, N: relative.down_beta(r, b),
    "active_ratio": lambda r, b, N: relative.active_ratio(r, b),
    "capture": lambda r, b, N: relative.capture(r, b, 252),
    "up_capture": lambda r, b, N: relative.up_capture(r, b, 252),
    "down_capture": lambda r, b, N: relative.down_capture(r, b, 252),
    "up_down_capture": lambda r, b, N: relative.up_down_capture(r, b, 252),
    "batting_average": lambda r, b, N: np.array(relative.batting_average(r, b)),
    "beta_fragility": lambda r, b, N: relative.beta_fragility(r, b),
    "rolling sharpe_ratio": lambda r, b, N: rolling(performance.sharpe_ratio, asked.WINDOW, r, N=N),
    "rolling sortino_ratio": lambda r, b, N: rolling(performance.sortino_ratio, asked.WINDOW, r, N=N),
    "rolling annual_volatility": lambda r, b, N: rolling(performance.annual_volatility, asked.WINDOW, r, N=N),
    "rolling max_drawdown": lambda r, b, N: rolling(performance.max_drawdown, asked.WINDOW, r),
    "rolling alpha": lambda r, b, N: rolling(relative.alpha, asked.WINDOW, r, b, N=N),
    "rolling beta": lambda r, b, N: rolling(relative.beta, asked.WINDOW, r, b),
    "rolling up_capture": lambda r, b, N: rolling(relative.up_capture, asked.WINDOW, r, b, N=252),
    "rolling down_capture": lambda r, b, N: rolling(relative.down_capture, asked.WINDOW, r, b, N=252),
    "rolling up_down_capture": lambda r, b, N: rolling(relative.up_down_capture, asked.WINDOW, r, b, N=252),
}

FACTOR: dict[str, Callable[[pd.Series, pd.Series], Any]] = {
    "rank_ic": lambda s, y: calc_ic(s, y)[1],
    "rank_ic mean": lambda s, y: calc_ic(s, y)[1].mean(),
    "rank_ic mean by month": lambda s, y: calc_ic(s, y)[1].groupby(lambda day: (day.year, day.month)).mean(),
    "factor_weights": lambda s, y: factor.factor_weights(s),
    "factor_weights, raw": lambda s, y: factor.factor_weights(s, demeaned=False),
    "factor_returns": factor.factor_returns,
    "factor_returns, raw": lambda s, y: factor.factor_returns(s, y, demeaned=False),
    "factor cumulative_returns": lambda s, y: 1 + performance.cumulative_returns(factor.factor_returns(s, y)),
    "factor alpha": lambda s, y: factor.factor_alpha_beta(s, y, 252)[0],
    "factor beta": lambda s, y: factor.factor_alpha_beta(s, y, 252)[1],
    "quantiles": lambda s, y: factor.quantiles(s, asked.GROUPS),
    "quantile_returns": lambda s, y: factor.quantile_returns(s, y, asked.GROUPS)["mean"],
    "quantile_returns error": lambda s, y: factor.quantile_returns(s, y, asked.GROUPS)["error"],
    "quantile_returns, raw": lambda s, y: factor.quantile_returns(s, y, asked.GROUPS, demeaned=False)["mean"],
    "quantile_returns error, raw": lambda s, y: factor.quantile_returns(s, y, asked.GROUPS, demeaned=False)["error"],
    "quantile_spread": lambda s, y: factor.quantile_spread(s, y, asked.GROUPS) / 2,  # half a unit on either side
    "quantile_turnover, best": lambda s, y: factor.quantile_turnover(s, asked.GROUPS, asked.GROUPS),
    "quantile_turnover, worst, 3": lambda s, y: factor.quantile_turnover(s, 1, asked.GROUPS, 3),
    "rank_autocorr": lambda s, y: factor.rank_autocorr(s),
    "rank_autocorr, 5": lambda s, y: factor.rank_autocorr(s, 5),
}


def same(got: Any, expected: Any, what: str) -> None:
    np.testing.assert_allclose(
        np.asarray(got, dtype=float), np.array(expected, dtype=float), rtol=1e-9, atol=1e-12, err_msg=what
    )


def test_more_than_fifty_figures_are_compared():
    assert RETURNS.keys() == ANSWERS["calm"].keys()
    assert FACTOR.keys() == ANSWERS["factor"].keys()
    assert len(RETURNS) + len(FACTOR) >= 60


@pytest.mark.parametrize("figure", RETURNS)
def test_figures_of_returns_are_empyricals(figure):
    for name, (r, b) in SERIES.items():
        same(RETURNS[figure](r, b, asked.YEARS[name]), ANSWERS[name][figure], name)


@pytest.mark.parametrize("figure", FACTOR)
@pytest.mark.parametrize("name", ["factor", "factor with ties"])
def test_figures_of_a_factor_are_alphalenses(name, figure):
    same(FACTOR[figure](*asked.factor("ties" in name)), ANSWERS[name][figure], figure)


def test_figures_that_do_not_mean_the_same_differ_as_the_docs_say():
    theirs, series = ANSWERS["odd"], asked.odd()
    holes = series["holes"]
    assert performance.annual_return(holes, 252) == performance.annual_return(holes.dropna(), 252)
    assert performance.annual_return(holes, 252) != pytest.approx(theirs["holes"]["annual_return"], rel=1e-6)
    filled = performance.annual_return(holes.fillna(0.0), 252)  # a bar without growth
    assert filled == pytest.approx(theirs["holes"]["annual_return"], rel=1e-9)
    assert performance.sharpe_ratio(holes, 252) == pytest.approx(float(theirs["holes"]["sharpe_ratio"]), rel=1e-9)
    assert np.isnan(performance.sharpe_ratio(series["constant"], 252))
    assert not np.isnan(float(theirs["constant"]["sharpe_ratio"]))
    assert np.isnan(performance.sortino_ratio(series["rising"], 252))
    assert theirs["rising"]["sortino_ratio"] == "inf"

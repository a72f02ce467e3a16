"""Figures of risk_analysis and evaluate_portfolio beside those of empyrical-reloaded: equal where they mean the same.

docs/component/metrics.md says where they do not; the second test holds it to that.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from qlib.analysis.risk import drawdown, risk_analysis
from qlib.config import build_settings
from qlib.contrib import evaluate_portfolio as figures

empyrical = pytest.importorskip("empyrical", reason="empyrical-reloaded is not installed")
SERIES = {
    "calm": np.random.default_rng(1).normal(0.0005, 0.01, 700),
    "wild": np.random.default_rng(2).normal(0.0, 0.06, 300),
    "falling": np.random.default_rng(3).normal(-0.004, 0.02, 400),
    "first loss": np.r_[-0.2, np.random.default_rng(4).normal(0.001, 0.01, 100)],
}
YEARS = (238, 252, 365)


@pytest.fixture(params=SERIES)
def r(request) -> pd.Series:
    values = SERIES[request.param]
    return pd.Series(values, index=pd.date_range("2020-01-01", periods=len(values)))


@pytest.mark.parametrize("year", YEARS)
def test_figures_that_mean_the_same_are_equal(r, year):
    added, grown = (risk_analysis(r, year, mode)["risk"] for mode in ("sum", "product"))
    pairs = [
        (added["information_ratio"], empyrical.sharpe_ratio(r, annualization=year)),
        (added["std"] * np.sqrt(year), empyrical.annual_volatility(r, annualization=year)),
        (added["annualized_return"], r.mean() * year),
        (grown["annualized_return"], empyrical.annual_return(r, annualization=year)),
        (grown["annualized_return"], empyrical.cagr(r, annualization=year)),
        (grown["max_drawdown"], empyrical.max_drawdown(r)),
        (grown["annualized_return"] / -grown["max_drawdown"], empyrical.calmar_ratio(r, annualization=year)),
        (grown["information_ratio"], empyrical.sharpe_ratio(np.log1p(r), annualization=year)),
        ((1 + grown["mean"]) ** len(r) - 1, empyrical.cum_returns_final(r)),
    ]
    for ours, theirs in pairs:
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_a_curve_below_its_highest_point_is_the_same_bar_by_bar(r):
    equity = np.r_[1.0, (empyrical.cum_returns(r) + 1).to_numpy()]
    np.testing.assert_allclose(drawdown(r), (equity / np.maximum.accumulate(equity) - 1)[1:], atol=1e-12)


def test_beta_alpha_and_missing_returns(r, monkeypatch):
    settings = build_settings(region="crypto")
    monkeypatch.setattr(figures, "active_settings", lambda: settings)
    bench = pd.Series(np.random.default_rng(9).normal(0, 0.02, len(r)), index=r.index)
    assert figures.get_beta(r, bench) == pytest.approx(empyrical.beta(r, bench), rel=1e-9)
    assert figures.get_max_drawdown_from_series(r) == pytest.approx(empyrical.max_drawdown(r), rel=1e-9)
    assert figures.get_sharpe_ratio_from_return_series(r, method="si") == pytest.approx(
        empyrical.sharpe_ratio(r, annualization=365), rel=1e-9
    )
    holes = r.where(np.arange(len(r)) % 7 > 0)
    assert risk_analysis(holes, 252)["risk"]["information_ratio"] == pytest.approx(
        empyrical.sharpe_ratio(holes, annualization=252), rel=1e-9
    )


def test_figures_that_do_not_mean_the_same_differ_as_the_docs_say(r):
    added, grown = (risk_analysis(r, 252, mode)["risk"] for mode in ("sum", "product"))
    # a sum of returns is no compounded growth, and its drawdown is in units of the starting capital
    assert added["annualized_return"] != pytest.approx(empyrical.annual_return(r, annualization=252), rel=1e-6)
    assert added["max_drawdown"] != pytest.approx(empyrical.max_drawdown(r), rel=1e-6)
    # the ratio of the product mode is one of logarithms
    assert grown["information_ratio"] != pytest.approx(empyrical.sharpe_ratio(r, annualization=252), rel=1e-6)
    # missing returns: left out here, bars of no growth there
    holes = r.where(np.arange(len(r)) % 7 > 0)
    ours = risk_analysis(holes, 252, "product")["risk"]["annualized_return"]
    known = holes.dropna()
    assert ours == pytest.approx(empyrical.annual_return(known, annualization=252), rel=1e-9)
    assert ours != pytest.approx(empyrical.annual_return(holes, annualization=252), rel=1e-6)


def test_constant_returns_have_no_ratio_here():
    assert np.isnan(risk_analysis(pd.Series([0.01] * 5), 252)["risk"]["information_ratio"])

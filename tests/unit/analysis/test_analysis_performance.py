"""Figures of returns, against a benchmark, and of a factor: what cannot be said, what is refused, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.analysis import factor, performance, relative
from qlib.errors import InputError

ALONE = {
    "annual_return": lambda r: performance.annual_return(r, 252),
    "annual_volatility": lambda r: performance.annual_volatility(r, 252),
    "downside_risk": lambda r: performance.downside_risk(r, 252),
    "max_drawdown": performance.max_drawdown,
    "value_at_risk": performance.value_at_risk,
    "conditional_value_at_risk": performance.conditional_value_at_risk,
    "sharpe_ratio": lambda r: performance.sharpe_ratio(r, 252),
    "sortino_ratio": lambda r: performance.sortino_ratio(r, 252),
    "calmar_ratio": lambda r: performance.calmar_ratio(r, 252),
    "omega_ratio": lambda r: performance.omega_ratio(r, 252),
    "tail_ratio": performance.tail_ratio,
    "stability": performance.stability,
    "skew": performance.skew,
    "excess_kurtosis": performance.excess_kurtosis,
    "hit_rate": performance.hit_rate,
    "payoff_ratio": performance.payoff_ratio,
    "profit_factor": performance.profit_factor,
    "total_return": performance.total_return,
}
AGAINST = {
    "alpha": lambda r, b: relative.alpha(r, b, 252),
    "beta": relative.beta,
    "correlation": relative.correlation,
    "tracking_error": lambda r, b: relative.tracking_error(r, b, 252),
    "active_ratio": relative.active_ratio,
    "treynor_ratio": lambda r, b: relative.treynor_ratio(r, b, 252),
    "capture": lambda r, b: relative.capture(r, b, 252),
    "up_down_capture": lambda r, b: relative.up_down_capture(r, b, 252),
    "beta_fragility": relative.beta_fragility,
}
numbers = st.lists(st.floats(-0.5, 0.5, allow_subnormal=False), max_size=30)


@settings(max_examples=cases(30, 300))
@given(numbers)
def test_figures_of_any_returns_are_numbers_or_nan_and_do_not_know_holes(values):
    holes = [x for value in values for x in (value, math.nan)]
    for name, figure in ALONE.items():
        found = figure(np.array(values, dtype=float))
        assert math.isnan(found) or math.isfinite(found), name
        assert figure(pd.Series(holes, dtype=float)) == pytest.approx(found, nan_ok=True, rel=1e-12), name


@settings(max_examples=cases(30, 300))
@given(numbers, st.integers(0, 2**32))
def test_figures_against_a_benchmark_are_numbers_or_nan_over_the_shared_bars(values, seed):
    r, b = np.array(values, dtype=float), np.random.default_rng(seed).normal(0, 0.1, len(values))
    days = pd.date_range("2024", periods=len(values) + 2)
    for name, figure in AGAINST.items():
        found = figure(r, b)
        assert math.isnan(found) or math.isfinite(found), name
        joined = figure(pd.Series(r, days[:-2]), pd.Series([*b, 0.1, 0.2], days))
        assert joined == pytest.approx(found, nan_ok=True, rel=1e-12), name


def test_by_hand():
    r, b = [0.02, -0.01, 0.03, -0.02], [0.01, -0.01, 0.02, -0.01]
    assert performance.hit_rate(r) == 0.5
    assert performance.payoff_ratio(r) == pytest.approx(0.025 / 0.015)
    assert performance.profit_factor(r) == pytest.approx(0.05 / 0.03)
    assert performance.skew(r) == pytest.approx(float(pd.Series(r).skew()) * 2 / math.sqrt(12), rel=1e-9)
    assert relative.tracking_error(r, b, 4) == pytest.approx(2 * np.std([0.01, 0, 0.01, -0.01], ddof=1))
    assert relative.correlation(r, b) == pytest.approx(np.corrcoef(r, b)[0, 1])
    assert relative.treynor_ratio(r, b, 4) == pytest.approx(4 * 0.005 / relative.beta(r, b))
    assert performance.annual_return([-1.0, 0.5], 252) == -1.0
    assert math.isnan(performance.stability([-1.0, 0.5]))
    assert math.isnan(performance.calmar_ratio([0.1, 0.2], 252))
    assert math.isnan(relative.beta(r, [0.01] * 4))


def test_a_year_that_ends_in_the_middle_is_told_by_its_period():
    days = pd.date_range("2023-12-30", periods=5)
    found = performance.aggregate_returns(pd.Series([0.1, np.nan, 0.1, -0.1, 0.2], days), "year")
    assert {str(year): round(growth, 9) for year, growth in found.items()} == {"2023": 0.1, "2024": 0.188}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: performance.annual_return([0.1], 0), "N: received 0; the bars in a year are a number above 0"),
        (lambda: performance.value_at_risk([0.1], 5), "cutoff: received 5; a share between 0 and 1"),
        (lambda: performance.total_return([math.inf]), "returns: 1 of 1 are infinite"),
        (lambda: performance.omega_ratio([0.1], 252, required=-2), "required: received -2"),
        (lambda: performance.aggregate_returns(pd.Series([0.1]), "month"), "the index is RangeIndex; times are needed"),
        (
            lambda: performance.aggregate_returns(pd.Series([0.1]), "monht"),
            r"span: received 'monht'.*did you mean month\?",
        ),
        (lambda: performance.rolling(performance.total_return, 0, pd.Series([0.1])), "window: received 0"),
        (
            lambda: performance.rolling(relative.beta, 1, pd.Series([0.1]), pd.Series([0.1], [3])),
            "the series have other bars than the first",
        ),
        (lambda: relative.beta([0.1, 0.2], [0.1]), r"received \(2,\) and \(1,\); one number per bar"),
        (lambda: relative.beta([0.1, 0.2], [0.1, math.inf]), "some are infinite"),
    ],
)
def test_what_makes_no_sense_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


# --------------------------------------------------------------------------------------------------------- factors
@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [pd.date_range("2024-01-01", periods=12), list("ABCDEFGHIJ")], names=["datetime", "instrument"]
    )
    score = pd.Series(rng.normal(size=len(index)).round(1), index)
    score[rng.random(len(index)) < 0.1] = np.nan
    return score, pd.Series(rng.normal(size=len(index)), index)


def test_the_order_of_rows_decides_nothing(scores):
    score, label = scores
    order = np.random.default_rng(1).permutation(len(score))
    for n in (1, 3, 5):
        pd.testing.assert_series_equal(
            factor.quantiles(score.iloc[order], n).sort_index(), factor.quantiles(score, n).sort_index()
        )
    pd.testing.assert_series_equal(
        factor.factor_returns(score.iloc[order], label), factor.factor_returns(score, label), rtol=1e-12
    )


def test_quantiles_are_pandas_cuts(scores):
    score = scores[0].dropna()
    expected = score.groupby(level=0, group_keys=False).apply(
        lambda day: pd.cut(day, np.unique(day.quantile([0, 0.2, 0.4, 0.6, 0.8, 1])), include_lowest=True).cat.codes + 1
    )
    cut = factor.quantiles(score, 5)
    whole = score.groupby(level=0).transform(lambda day: len(np.unique(day.quantile(np.linspace(0, 1, 6)))) == 6)
    assert whole.any()
    assert (cut[whole] == expected[whole]).all()


def test_equal_scores_are_never_parted(scores):
    score = scores[0].dropna()
    cut = factor.quantiles(score, 4)
    assert (
        pd.DataFrame({"s": score, "q": cut}).groupby([score.index.get_level_values(0), "s"])["q"].nunique() == 1
    ).all()


def test_a_date_that_says_nothing_has_no_weights(scores):
    score, label = scores
    same = score.where(score.index.get_level_values(0) != score.index[0][0], 1.0)
    assert np.isnan(factor.factor_returns(same, label).iloc[0])
    assert factor.factor_weights(score).groupby(level=0).agg(lambda w: w.abs().sum()).to_numpy() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: factor.quantiles(s, 0), "n: received 0; a whole number of quantiles"),
        (lambda s: factor.quantile_turnover(s, 6), "quantile: received 6; there are 1 to 5"),
        (lambda s: factor.quantile_turnover(s, 1, lag=0), "lag: received 0"),
        (lambda s: factor.quantile_turnover(s, 1, inst_col="x"), "the index has no level 'x'"),
    ],
)
def test_questions_about_a_factor_that_make_no_sense_are_refused(scores, call, said):
    with pytest.raises(InputError, match=said):
        call(scores[0])

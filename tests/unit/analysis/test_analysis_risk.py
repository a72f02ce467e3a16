"""Risk figures, and the length of a year."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.analysis.risk import drawdown, periods_per_year, risk_analysis
from qlib.analysis.trades import indicator_analysis
from qlib.config import REGIONS, build_settings
from qlib.contrib import evaluate
from qlib.errors import ConfigError, InputError


@pytest.mark.parametrize(
    ("freq", "region", "year"),
    [
        ("day", "cn", 238), ("week", "cn", 50), ("month", "cn", 12), ("1min", "cn", 240 * 238), ("2day", "cn", 119),
        ("day", "us", 252), ("1min", "us", 252 * 390), ("week", "us", 52), ("month", "us", 12),
        ("day", "tw", 245), ("day", "crypto", 365), ("60min", "crypto", 8760), ("30min", "crypto", 17520),
        ("week", "crypto", 365 / 7), ("month", "crypto", 12), ("day", None, 238), ("60min", None, 952),
    ],
)  # fmt: skip
def test_the_year_is_the_markets(freq, region, year):
    assert periods_per_year(freq, REGIONS[region] if region else None) == pytest.approx(year)


RETURNS = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=60).map(pd.Series)


@given(RETURNS)
def test_sum_mode_adds(r):
    figures = risk_analysis(r, 252, "sum")["risk"]
    assert figures["annualized_return"] == pytest.approx(r.mean() * 252)
    assert figures["max_drawdown"] <= 0
    if r.std() > 1e-12:
        assert figures["information_ratio"] == pytest.approx(r.mean() / r.std() * np.sqrt(252))


@given(RETURNS)
def test_product_mode_compounds(r):
    figures = risk_analysis(r, 252, "product")["risk"]
    total = float(np.prod(1 + r.to_numpy()))
    assert figures["annualized_return"] == pytest.approx(total ** (252 / len(r)) - 1, rel=1e-6)
    assert (1 + figures["mean"]) ** len(r) == pytest.approx(total, rel=1e-9)
    assert -1 <= figures["max_drawdown"] <= 0


@given(RETURNS, st.sampled_from(["sum", "product"]))
def test_a_drawdown_counts_the_starting_capital_and_under_compat_begins_after_the_first_return(r, mode):
    values = r.to_numpy()
    curve = np.cumsum(values) if mode == "sum" else np.cumprod(1 + values)
    for compat, start in ((None, [0.0 if mode == "sum" else 1.0]), ("qlib", [])):
        path = np.concatenate([start, curve])
        high = np.maximum.accumulate(path)
        expected = (path - high if mode == "sum" else path / high - 1).min()
        got = risk_analysis(r, 252, mode, compat=compat)["risk"]["max_drawdown"]
        assert got == pytest.approx(expected, abs=1e-12)


def test_a_first_loss_is_a_drawdown_by_default_only():
    r = pd.Series([-0.1, 0.05, 0.01])
    assert risk_analysis(r, 252)["risk"]["max_drawdown"] == pytest.approx(-0.1)
    assert risk_analysis(r, 252, "product")["risk"]["max_drawdown"] == pytest.approx(-0.1)
    assert risk_analysis(r, 252, compat="qlib")["risk"]["max_drawdown"] == 0


@given(RETURNS)
def test_the_ratio_of_the_product_mode_is_of_logarithms_above_and_below(r):
    figures, qlib = (risk_analysis(r, 252, "product", compat=compat)["risk"] for compat in (None, "qlib"))
    logs = np.log1p(r.to_numpy())
    if np.std(logs) > 1e-9:
        assert figures["information_ratio"] == pytest.approx(logs.mean() / logs.std(ddof=1) * np.sqrt(252))
        assert qlib["information_ratio"] == pytest.approx(np.expm1(logs.mean()) / logs.std(ddof=1) * np.sqrt(252))
        same = ["mean", "std", "annualized_return"]
        assert figures[same].to_numpy() == pytest.approx(qlib[same].to_numpy(), rel=1e-6)


# what pyqlib 0.9.7 answers (run as an oracle), N = 250
ORACLE = {
    ("sum", "gap"): [0.006666666666666665, 0.025166114784235832, 1.6666666666666663, 4.188539082916955, -0.02],
    ("product", "gap"): [0.004838273272025351, 0.025066264496026402, 2.3422746598581226, 3.0519033827998068, -0.02],
    ("product", "last"): [np.nan, 0.006966625625113631, np.nan, np.nan, 0.0],
    ("sum", "constant"): [0.01, 0.0, 2.5, np.inf, 0.0],
    ("product", "constant"): [0.01, 0.0, 11.032155768297455, np.inf, 0.0],
    ("sum", "loss"): [-0.26666666666666666, 0.6350852961085884, -66.66666666666667, -6.639061303092921, -1.0],
    ("product", "loss"): [-1.0, np.nan, -1.0, np.nan, -1.0],
    ("product", "down"): [-0.0130299107930274, 0.16359051094449875, -0.9623298091405192, -1.2593699835303012, -0.2],
}
SERIES = {
    "gap": [0.01, np.nan, -0.02, 0.03],
    "last": [0.01, 0.02, np.nan],
    "constant": [0.01] * 4,
    "loss": [0.1, -1.0, 0.1],
    "down": [-0.1, 0.05, -0.2, 0.3, -0.05, -0.01],
}


@pytest.mark.parametrize(("mode", "name"), ORACLE)
def test_compat_gives_qlibs_figures_of_odd_series(mode, name):
    figures = risk_analysis(pd.Series(SERIES[name]), 250, mode, compat="qlib")["risk"]
    assert figures.to_numpy() == pytest.approx(np.array(ORACLE[mode, name]), rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("mode", ["sum", "product"])
def test_missing_returns_are_left_out(mode):
    r = pd.Series([-0.01, np.nan, -0.02, 0.03, np.nan])
    pd.testing.assert_frame_equal(risk_analysis(r, 250, mode), risk_analysis(r.dropna(), 250, mode))


@given(st.floats(-0.5, 0.5), st.integers(2, 50), st.sampled_from(["sum", "product"]))
def test_returns_that_never_vary_have_no_deviation_and_no_ratio(value, count, mode):
    figures = risk_analysis(pd.Series([value] * count), 365, mode)["risk"]
    assert figures["std"] == 0
    assert np.isnan(figures["information_ratio"])
    assert figures["mean"] == pytest.approx(value)


def test_a_total_loss_has_an_annual_return_of_minus_one():
    figures = risk_analysis(pd.Series([0.1, -1.0, 0.1]), 250, "product")["risk"]
    assert (figures["annualized_return"], figures["mean"], figures["max_drawdown"]) == (-1, -1, -1)
    assert np.isnan(figures["information_ratio"])


def test_dates_and_numbers_that_cannot_be_are_refused():
    days = pd.DatetimeIndex(["2024-01-02", None, "2024-01-03"])
    with pytest.raises(InputError, match="1 of 3 returns have no date"):
        risk_analysis(pd.Series([0.1, 0.2, 0.3], index=days), 252)
    days = pd.DatetimeIndex(["2024-01-03", "2024-01-02"])
    with pytest.raises(InputError, match=r"not in order of time; sort_index"):
        risk_analysis(pd.Series([0.1, 0.2], index=days), 252)
    with pytest.raises(InputError, match="1 returns are infinite, first at 1"):
        risk_analysis(pd.Series([0.1, np.inf]), 252)


@given(RETURNS)
def test_the_drawdown_of_every_bar_is_what_it_says(r):
    equity = np.concatenate([[1.0], np.cumprod(1 + r.to_numpy())])
    assert drawdown(r).to_numpy() == pytest.approx((equity / np.maximum.accumulate(equity) - 1)[1:], abs=1e-12)


def test_one_return_and_none_at_all_give_nan_and_no_error():
    assert np.isnan(risk_analysis(pd.Series([0.01]), 252)["risk"]["std"])
    for mode in ("sum", "product"):
        assert risk_analysis(pd.Series([], dtype=float), 252, mode)["risk"].isna().all()


def test_an_unknown_mode_names_the_known_ones():
    with pytest.raises(InputError, match="allowed are 'sum' and 'product'"):
        risk_analysis(pd.Series([0.1, 0.2]), 252, "compound")


def test_the_sessions_region_decides_where_n_is_not_given(monkeypatch):
    r = pd.Series([0.01, -0.01, 0.02])
    for settings, year in (
        (build_settings(region="crypto"), 365),
        (build_settings(region="us"), 252),
        (build_settings(region="us", compat="qlib"), 238),
    ):
        monkeypatch.setattr(evaluate, "active_settings", lambda settings=settings: settings)
        assert evaluate.risk_analysis(r)["risk"]["annualized_return"] == pytest.approx(r.mean() * year)
    assert evaluate.risk_analysis(r, N=10, freq=None)["risk"]["annualized_return"] == pytest.approx(r.mean() * 10)
    with pytest.raises(ConfigError, match="needs N .* or freq"):
        evaluate.risk_analysis(r, freq=None)


def test_indicators_are_weighted_as_asked():
    steps = pd.DataFrame(
        {
            "ffr": [1.0, 0.5],
            "pa": [0.1, -0.1],
            "pos": [1.0, 0.0],
            "count": [1, 3],
            "deal_amount": [2, 2],
            "value": [9, 1],
        }
    )
    assert indicator_analysis(steps)["value"].to_dict() == pytest.approx({"ffr": 0.625, "pa": -0.05, "pos": 0.25})
    assert indicator_analysis(steps, "amount_weighted")["value"]["ffr"] == pytest.approx(0.75)
    assert indicator_analysis(steps, "value_weighted")["value"]["ffr"] == pytest.approx(0.95)
    with pytest.raises(InputError, match="did you mean amount_weighted"):
        indicator_analysis(steps, "amount_weight")

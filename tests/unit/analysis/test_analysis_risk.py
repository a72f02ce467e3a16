"""Risk figures, and the length of a year."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.analysis.risk import periods_per_year, risk_analysis
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
    curve = np.cumsum(r.to_numpy())
    assert figures["annualized_return"] == pytest.approx(r.mean() * 252)
    assert figures["max_drawdown"] == pytest.approx((curve - np.maximum.accumulate(curve)).min())
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

"""Figures of positions and series at Qlib's path: its numbers (run as an oracle) under compat, right ones without."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider

from qlib.backtest.position import Position
from qlib.config import build_settings
from qlib.contrib import evaluate_portfolio as figures
from qlib.errors import InputError, MissingDataError

R = pd.Series([0.01, -0.02, 0.03, 0.005, -0.01])
B = pd.Series([0.02, -0.01, 0.01, 0.0, -0.02])
DAYS = pd.date_range("2024-01-01", periods=4)


@pytest.fixture
def use(monkeypatch):
    closes = np.array([[10.0, 5.0], [11.0, np.nan], [12.0, np.nan], [np.nan, 6.0]])
    provider = MemoryProvider(DAYS, ["A", "B"], {"close": closes})

    def choose(compat: str | None, region: str = "crypto") -> None:
        settings = build_settings(region=region, compat=compat)
        monkeypatch.setattr(figures, "active_settings", lambda: settings)
        monkeypatch.setattr(figures, "active_provider", lambda: provider)

    choose(None)
    return choose


def test_compat_gives_qlibs_figures(use):
    use("qlib")
    assert figures.get_annaul_return_from_return_series(R) == pytest.approx(1.1146244779758576)
    assert figures.get_annaul_return_from_return_series(R, "si") == pytest.approx(0.75)
    assert figures.get_sharpe_ratio_from_return_series(R, 0.02) == pytest.approx(3.599103113177727)
    assert figures.get_sharpe_ratio_from_return_series(R, 0.02, "si") == pytest.approx(2.4002252146582155)
    assert figures.get_sharpe_ratio_from_return_series(pd.Series([0.01] * 4)) == np.inf
    assert figures.get_max_drawdown_from_series(R) == pytest.approx(-0.02)
    assert figures.get_max_drawdown_from_series(pd.Series([-0.01, 0.02, -0.03])) == pytest.approx(-0.03)
    assert figures.get_volatility_from_series(R) == pytest.approx(0.019235384061671346)
    np.testing.assert_allclose(figures.get_beta(R, B), [[1.85, 1.125], [1.125, 1.25]])
    np.testing.assert_allclose(figures.get_alpha(R, B), [[1.14012448, 1.11837448], [1.11837448, 1.12212448]], rtol=1e-8)
    assert figures.get_rank_ic(R, B) == pytest.approx(0.8)
    assert figures.get_normal_ic(R, B) == pytest.approx(0.7397954428741076)
    assert figures.get_turnover_rate() is None


def test_the_year_is_the_regions(use):
    for region, days in (("crypto", 365), ("us", 252), ("cn", 238)):
        use(None, region)
        assert figures.get_annaul_return_from_return_series(R, "si") == pytest.approx(0.003 * days)
        assert figures.get_annaul_return_from_return_series(R) == pytest.approx(1.003**days - 1)


def test_right_figures_where_qlibs_are_not(use):
    assert figures.get_max_drawdown_from_series(pd.Series([-0.1, 0.2])) == pytest.approx(-0.1)
    assert np.isnan(figures.get_sharpe_ratio_from_return_series(pd.Series([0.1] * 5)))
    assert figures.get_beta(R, B) == pytest.approx(0.9)
    mine, its = 1.003**365 - 1 - 0.03, -0.03
    assert figures.get_alpha(R, B) == pytest.approx(mine - 0.9 * its)
    assert np.isnan(figures.get_beta(R, B * 0))


def test_a_beta_is_the_slope_of_a_regression(use):
    rng = np.random.default_rng(0)
    bench = pd.Series(rng.normal(0, 0.02, 500))
    mine = 0.001 + 1.7 * bench + pd.Series(rng.normal(0, 0.01, 500))
    assert figures.get_beta(mine, bench) == pytest.approx(np.polyfit(bench, mine, 1)[0], rel=1e-9)


def test_correlations_leave_out_rows_that_are_missing(use):
    a, b = pd.Series([1.0, np.nan, 2.0, 4.0]), pd.Series([1.0, 2.0, 3.0, 3.5])
    assert figures.get_normal_ic(a, b) == pytest.approx(np.corrcoef([1, 2, 4], [1, 3, 3.5])[0, 1])
    assert figures.get_rank_ic(a, b) == pytest.approx(1.0)
    use("qlib")
    assert np.isnan(figures.get_normal_ic(a, b))
    with pytest.raises(InputError, match="columns of 4 and 3 rows"):
        figures.get_rank_ic(a, b.iloc[:3])


def test_positions_have_the_value_of_their_closes_and_cash(use):
    held = {
        DAYS[0]: {"A": {"amount": 3.0}, "B": {"amount": 2.0}, "cash": 100.0},
        DAYS[1]: Position(cash=90.0, position_dict={"A": {"amount": 4.0, "price": 11.0}}),
    }
    assert dict(figures.get_position_list_value(held)) == {DAYS[0]: 140.0, DAYS[1]: 134.0}
    assert figures.get_position_value(DAYS[0], held[DAYS[0]]) == 140.0
    assert figures.get_position_value("2024-01-02", {"cash": 5.0}) == 5.0
    assert figures.get_daily_return_series_from_positions(held, 200.0).tolist() == pytest.approx([-0.3, 134 / 140 - 1])
    annual = figures.get_annual_return_from_positions(held, 200.0)
    assert annual == pytest.approx((134 / 200) ** (365 / 2) - 1)
    use("qlib")
    assert figures.get_annual_return_from_positions(held, 200.0) == pytest.approx((134 / 200) ** (250 / 2) - 1)


def test_a_suspended_holding_counts_at_its_last_close(use):
    position = {"A": {"amount": 1.0}, "B": {"amount": 2.0}, "cash": 1.0}
    assert figures.get_position_value(DAYS[2], position) == 12 + 10 + 1
    use("qlib")
    assert np.isnan(figures.get_position_value(DAYS[2], position))


def test_what_cannot_be_valued_is_named(use):
    with pytest.raises(MissingDataError, match="Z is held on 2024-01-02 .* no close of it"):
        figures.get_position_value(DAYS[1], {"Z": {"amount": 1.0}})
    with pytest.raises(InputError, match="method: received 'compound'; allowed are 'ci' and 'si'"):
        figures.get_annaul_return_from_return_series(R, "compound")
    with pytest.raises(InputError, match="there are no positions"):
        figures.get_annual_return_from_positions({}, 1.0)
    with pytest.raises(InputError, match="a backtest's report is needed"):
        figures.get_turnover_rate()
    assert figures.get_turnover_rate(pd.DataFrame({"turnover": [0.1, 0.3]})) == pytest.approx(0.2)

"""How much money a strategy can carry: the closed forms of the square-root law, and a run against another run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import Given, MemoryProvider, run
from hypothesis import given
from hypothesis import strategies as st

from qlib.analysis.capacity import capacity, order_costs, participation
from qlib.backtest.capacity import capacity_of
from qlib.backtest.exchange import Exchange
from qlib.backtest.executor import SimulatorExecutor
from qlib.errors import InputError


def test_one_order_a_year_of_the_capital_has_the_capacity_of_the_closed_form():
    """P21: an order of Q, edge a, I = Y sigma sqrt(Q / V): Q* = V (2 a / (3 Y sigma))^2, of which a / 3 is left.

    V 1e6, a 20 bps, Y 1, sigma 1.5 %: Q* = 1e6 (0.004 / 0.045)^2 = 7,901; at Q 10,000 it costs 15 bps.
    """
    edge, sigma, volume = 0.002, 0.015, 1e6
    cost, share = order_costs(np.array([10_000.0]), np.array([volume]), np.array([sigma]))
    assert cost[0] == pytest.approx(10_000 * 0.015 * 0.1) and share[0] == 0.01
    net = pd.Series([edge - cost[0] / 10_000])
    found = capacity(net, pd.Series([10_000.0]), pd.Series(cost), year=1, of_run=1)
    assert found is not None
    assert found["best"] == pytest.approx(volume * (2 * edge / (3 * sigma)) ** 2, rel=1e-9)
    assert found["best_net"] == pytest.approx(edge / 3, rel=1e-9)
    assert found["zero"] == pytest.approx(volume * (edge / sigma) ** 2, rel=1e-9)


@given(
    earned=st.floats(1e-5, 0.01), taken=st.floats(1e-6, 0.01), capital=st.floats(1e3, 1e9), year=st.floats(1, 9000),
    of_run=st.sampled_from([0.0, 1.0]),
)  # fmt: skip
def test_the_best_capital_is_the_highest_point_of_the_curve(earned, taken, capital, year, of_run):
    net, account = pd.Series([earned - of_run * taken] * 3), pd.Series([capital] * 3)
    found = capacity(net, account, pd.Series([taken * capital] * 3), year=year, of_run=of_run)
    assert found is not None
    many = np.linspace(0.2, 3, 2801) * found["best"]
    money = many * (found["gross"] - found["impact"] * np.sqrt(many / capital))
    assert many[np.argmax(money)] == pytest.approx(found["best"], rel=2e-3)
    assert money.max() == pytest.approx(found["best_money"], rel=1e-5)
    assert found["net"] == pytest.approx((earned - taken) * year, rel=1e-6, abs=1e-9)
    curve = found["curve"]
    assert curve["capital"][0] == 0 and curve["net"][0] == found["gross"]
    assert curve["net"][1] > 0.85 * found["gross"] and min(curve["net"]) < 0 and curve["capital"][-1] >= 1.4 * capital
    lost = found["gross"] - np.array(curve["net"])[20:]  # the exponent of the law
    assert np.polyfit(np.log(np.array(curve["capital"])[20:]), np.log(lost), 1)[0] == pytest.approx(0.5, abs=0.02)


def test_who_earns_nothing_has_no_capacity_and_who_trades_nothing_no_numbers():
    found = capacity(pd.Series([-0.01]), pd.Series([100.0]), pd.Series([1.0]), year=1)
    assert found is not None and found["best"] is found["zero"] is found["best_money"] is None
    assert np.isfinite(found["curve"]["net"]).all()
    assert capacity(pd.Series([0.01]), pd.Series([100.0]), pd.Series([0.0]), year=1) is None
    with pytest.raises(InputError, match="received 1 returns, 2 accounts, 1 costs"):
        capacity(pd.Series([0.01]), pd.Series([1.0, 1.0]), pd.Series([1.0]), year=1)


def test_an_order_in_a_market_of_unknown_volume_counts_as_all_of_it():
    cost, share = order_costs(np.full(3, 100.0), np.array([np.nan, 0.0, 400.0]), np.array([0.01, 0.01, np.nan]))
    assert cost.tolist() == [1.0, 1.0, 0.0]
    assert participation(share) == {"median": 0.25, "high": 0.25, "largest": 0.25, "unknown": 2, "orders": 3}


def market():
    rng = np.random.default_rng(0)
    close = 100 * np.exp(rng.normal(0.001, 0.02, (200, 3)).cumsum(axis=0))
    fields = {"close": close, "volume": np.full_like(close, 50_000.0), "factor": np.ones_like(close)}
    times = pd.date_range("2024-01-01", periods=200).to_numpy()
    return MemoryProvider(times, ["A", "B", "C"], fields, region="crypto")


def traded(provider, fills=None):
    orders = {i: [(name, 20.0 * (-1) ** i) for name in "ABC"] for i in range(30, 190)}
    exchange = Exchange(
        freq="day", start_time=provider.clock.times[0], end_time=provider.clock.times[-1], codes=provider.names,
        provider=provider, deal_price="close", open_cost=0, close_cost=0, min_cost=0, fills=fills, trade_unit=None,
    )  # fmt: skip
    executor = SimulatorExecutor("day", generate_portfolio_metrics=True)
    report, *_ = run(provider, Given(orders), executor=executor, account=1e5, exchange_kwargs={"exchange": exchange})
    return report, capacity_of(executor.trade_account, exchange, year=365)


def test_what_a_run_without_impact_is_told_is_what_a_run_with_impact_pays():
    provider = market()
    free, told = traded(provider)
    paid, counted = traded(provider, {"impact": 1.0})
    assert told is not None and counted is not None
    lost = (free["account"].iloc[-1] - paid["account"].iloc[-1]) / 1e5 / len(free) * 365
    assert told["impact"] == pytest.approx(lost, rel=0.03) and told["impact"] > 0.005
    assert counted["gross"] == pytest.approx(told["gross"], abs=0.03 * told["impact"])
    assert told["y"] == counted["y"] == 1.0
    assert told["participation"]["orders"] == 480 and told["participation"]["unknown"] == 0
    assert told["participation"]["median"] == pytest.approx(20 / 50_000, rel=0.05)


def test_a_market_without_volume_has_no_capacity_to_tell():
    provider = market()
    del provider.values["volume"]
    assert traded(provider)[1] is None

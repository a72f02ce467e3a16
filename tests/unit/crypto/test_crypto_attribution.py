"""Attribution by coin, side and day: by hand, and as an identity with the account on every bar of random markets."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from backtest_market import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof import cases
from test_perpetuals import START, Given, every_8_hours, market, payments

from qlib.backtest.exchange import Exchange
from qlib.backtest.executor import SimulatorExecutor
from qlib.crypto.attribution import GAINS, PARTS, attribution
from qlib.crypto.market import Perpetuals
from qlib.errors import InputError, RunError

CASES = settings(max_examples=cases(40, 600), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def trade(provider, orders, *, account=10_000.0, kind=Perpetuals, **kwargs):
    exchange = kind(
        freq=provider.freq, start_time=provider.clock.times[0], end_time=provider.clock.times[-1],
        codes=provider.names, provider=provider,
        **{"deal_price": "close", **({"fees": 0.0} if kind is Perpetuals else {}), **kwargs},
    )  # fmt: skip
    executor = SimulatorExecutor(provider.freq, generate_portfolio_metrics=True)
    run(provider, Given(orders), executor=executor, account=account, exchange_kwargs={"exchange": exchange})
    return executor.trade_account, exchange


def hour(count: float) -> pd.Timestamp:
    return START + pd.Timedelta(hours=count)


# ------------------------------------------------------------------------------------------------------------ by hand
def test_a_flip_through_zero_is_cut_at_zero():
    """Buy 4 A at 100, at 110 sell 6 with a fee of 0.001: long earned 40, short begins with 2; at 120 it lost 20.

    The sale costs 0.66, of which the 4 that close the long are 0.44; the purchase cost 0.40.
    """
    provider = market(A=[100, 100, 110, 120], B=[50, 50, 40, 40])
    account, exchange = trade(provider, {0: [("A", 4), ("B", -2)], 1: [("A", -6)]}, fees=0.001, leverage=3)
    found = attribution(account, exchange, by=("instrument", "side"))
    assert found.index.tolist() == [("A", "long"), ("A", "short"), ("B", "short")]
    np.testing.assert_allclose(found["price"], [40, -20, 20], atol=1e-9)
    np.testing.assert_allclose(found["fee"], [0.40 + 0.44, 0.22, 0.10], atol=1e-12)
    np.testing.assert_allclose(found["pnl"].sum(), account.current_position.calculate_value() - 10_000, atol=1e-9)
    bars = attribution(account, exchange)
    assert bars.index.names == ["datetime", "instrument", "side"]
    np.testing.assert_allclose(bars.loc[(hour(2), "A", "long"), "price"], 40, atol=1e-9)
    assert (hour(3), "A", "long") not in bars.index


def test_funding_is_who_held_it_and_below_zero_where_it_was_paid():
    """2 A at 100 pay 0.0001 of 200 and 5 short B at 40 get it, at 08:00; by 16:00 A is short and gets it, too."""
    provider = market(A=[100.0] * 20, B=[40.0] * 20)
    account, exchange = trade(
        provider, {0: [("A", 2), ("B", -5)], 10: [("A", -3)]}, leverage=3, funding=every_8_hours("AB", [0.0001] * 4)
    )
    found = attribution(account, exchange, by=("instrument", "side"))["funding"]
    np.testing.assert_allclose(found.to_numpy(), [-0.02, 0.01, 0.04], atol=1e-12)
    assert attribution(account, exchange, by=("day",))["funding"].index.tolist() == [START]


def test_a_forced_closure_costs_its_fee_less_what_the_fund_pays():
    """As in test_perpetuals: 10 A at 100 with leverage 10 gap to 80: -200, fee 0.8, and the fund pays 100.8."""
    provider = market(A=[100, 100, 80, 80], B=[10, 10, 10, 10])
    account, exchange = trade(provider, {0: [("A", 10), ("B", 1)]}, leverage=10, liquidation_fee=0.001, fees=0.0)
    found = attribution(account, exchange, by=("instrument",))
    np.testing.assert_allclose(found.loc["A", ["price", "liquidation", "pnl"]].astype(float), [-200, -100, -100])
    assert (found.loc["B"] == 0).all()


def test_spread_and_impact_are_told_apart():
    provider = market(A=[100.0] * 4)
    account, exchange = trade(
        provider, {0: [("A", 4)]},
        fills={"half_spread": 0.001, "impact": 1.0, "volatility": "$close*0+0.01", "volume": "$volume"},
    )  # fmt: skip
    found = attribution(account, exchange, by=("side",))
    np.testing.assert_allclose(found["spread"], 4 * 100 * 0.001)
    np.testing.assert_allclose(found["impact"], 4 * 100 * 0.01 * math.sqrt(4 / 1e6), rtol=1e-6)


def test_borrow_is_paid_by_the_shorts():
    provider = market("day", A=[100.0] * 5, B=[50.0] * 5, C=[10.0] * 5)
    account, exchange = trade(
        provider, {0: [("A", -2), ("B", -4), ("C", 5)]}, kind=Exchange, short={"borrow": 0.01}, trade_unit=None,
        open_cost=0.0, close_cost=0.0, min_cost=0.0, limit_threshold=None,
    )  # fmt: skip
    found = attribution(account, exchange, by=("instrument",))["borrow"]
    np.testing.assert_allclose(found, [-0.01 * 200 * 4, -0.01 * 200 * 4, 0], atol=1e-9)


# ------------------------------------------------------------------------------------------------------- the identity
def check(account, exchange, **kwargs):
    found = attribution(account, exchange, **kwargs)
    totals = account.get_attribution()
    bars = found.groupby(level="datetime").sum().reindex(totals.index, fill_value=0.0)
    scale = np.maximum(totals["account"].abs(), account.trades.frame()["value"].max() or 0.0)
    for own, theirs in (
        (bars["price"], totals["price"]),
        (bars["fee"] + bars["liquidation"], totals["fee"] + totals.get("insurance", 0.0)),
        (bars["spread"] + bars["impact"], totals["impact"]),
        (-bars["funding"], totals.get("funding", 0.0 * totals["fee"])),
        (-bars["borrow"], totals.get("borrow", 0.0 * totals["fee"])),
        (bars["pnl"], totals["change"]),
    ):
        assert (np.abs(own - theirs) <= 1e-9 * scale).all()
    sums = found[list(GAINS)].sum(axis=1) - found[list(PARTS[3:])].sum(axis=1)
    np.testing.assert_allclose(found["pnl"], sums)
    days = attribution(account, exchange, **kwargs, by=("side", "day"))
    np.testing.assert_allclose(days["pnl"].sum(), totals["change"].sum(), rtol=0, atol=1e-9 * scale.max() * len(totals))
    return found


@CASES
@given(
    seed=st.integers(0, 100_000),
    margin=st.sampled_from(["isolated", "cross"]),
    deal=st.sampled_from(["open", "close"]),
    leverage=st.sampled_from([1, 3, 20]),
    policy=st.sampled_from(["error", "skip", 0.0003]),
    path=st.booleans(),
    half_spread=st.sampled_from([0.0, 0.001]),
)
def test_the_coins_together_are_the_account_on_every_bar(seed, margin, deal, leverage, policy, path, half_spread):
    """Random orders, several a bar; payments at random times, some lost; jumps through liquidation prices; no marks."""
    rng = np.random.default_rng(seed)
    bars, names = 40, ["A", "B", "C"]
    jumps = rng.normal(0, 0.02, (bars, 3)) + rng.choice([0, 0.2, -0.2], (bars, 3), p=[0.9, 0.05, 0.05])
    close = 100 * np.exp(np.cumsum(jumps, axis=0))
    provider = market(**{name: close[:, i] for i, name in enumerate(names)})
    provider.values["open"] = close * np.exp(rng.normal(0, 0.01, close.shape))
    provider.values["mark"] = np.where(rng.random(close.shape) < 0.03, np.nan, close)
    if path:
        provider.values["mark_first"] = provider.values["open"]
        provider.values["mark_low"] = np.minimum(close, provider.values["open"]) * 0.99
        provider.values["mark_high"] = np.maximum(close, provider.values["open"]) * 1.01
    rows = [
        (name, START + pd.Timedelta(hours=float(h)), rng.normal(0, 0.001), rng.choice([math.nan, 100 * rng.random()]))
        for name in names
        for h in np.arange(0, 50, rng.choice([1.0, 0.5, 4.0, 8.0]))
        if policy == "error" or rng.random() < 0.7
    ]
    orders = {
        int(step): [(str(rng.choice(names)), float(rng.normal(0, 30))) for _ in range(rng.integers(1, 5))]
        for step in rng.integers(0, bars - 2, 20)
    }
    account, exchange = trade(
        provider, orders, margin=margin, deal_price=deal, leverage=leverage, liquidation_fee=0.002,
        funding={"payments": payments(*rows), "missing": policy}, fees=[(0, 0.0002, 0.0005), (5_000, 0.0001, 0.0004)],
        mark_path=("$mark_first", "$mark_low", "$mark_high") if path else None,
        fills={"half_spread": half_spread, "impact": 0.5, "volatility": "$close*0+0.01", "volume": "$volume"},
    )  # fmt: skip
    check(account, exchange)


def test_a_plain_exchange_has_an_attribution_too():
    rng = np.random.default_rng(5)
    provider = market("day", **{name: 100 * np.exp(rng.normal(0, 0.03, 60).cumsum()) for name in "ABCD"})
    orders = {step: [(str(rng.choice(list("ABCD"))), float(rng.normal(0, 20))) for _ in range(3)] for step in range(58)}
    check(*trade(provider, orders, kind=Exchange, short={"borrow": 0.001}, trade_unit=None, limit_threshold=None))


def test_nothing_traded_is_an_empty_table():
    found = attribution(*trade(market(A=[100.0] * 4), {}))
    assert found.empty and found.columns.tolist() == [*PARTS, "pnl"]


def test_holdings_from_before_are_told_by_the_user():
    """3 A at 90 are there at the start: at 100 they earned 30 in the first bar, and 3 more are bought."""
    begun = {"A": {"amount": 3.0, "price": 90.0}}
    account, exchange = trade(market(A=[100.0] * 4), {0: [("A", 3)]}, account={"cash": 1_000.0, **begun})
    found = attribution(account, exchange, start=begun, by=("instrument",))
    assert (found.index.tolist(), found["price"].tolist()) == (["A"], [30.0])
    with pytest.raises(RunError, match="holdings before the first step are told by start="):
        attribution(account, exchange)


# ------------------------------------------------------------------------------------------------------- wrong input
def test_what_cannot_be_told_is_said():
    account, exchange = trade(market(A=[100.0] * 4), {0: [("A", 1)]})
    with pytest.raises(InputError, match="by: received 'instruments'; .*did you mean instrument"):
        attribution(account, exchange, by=("instruments",))
    with pytest.raises(InputError, match="by: received nothing"):
        attribution(account, exchange, by=())
    _, daily = trade(market("day", A=[100.0] * 4), {}, funding=every_8_hours("A", [0.0] * 12))
    with pytest.raises(InputError, match="the steps of the account are not the bars of the market"):
        attribution(account, daily)
    account.accum_info.rtn += 1
    account.attribution._rows[1] += 1.0  # the account now says that it earned one more on the first bar
    with pytest.raises(RunError, match=r"attribution: price at 2024-01-01 01:00:00: the coins together have"):
        attribution(account, exchange)

"""Inverse contracts and several currencies: scenarios computed by hand, and the books as an identity."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from backtest_market import Given, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof import cases
from test_perpetuals import START, every_8_hours, market, payments, trade

from qlib.backtest.executor import SimulatorExecutor
from qlib.contrib.report.artifacts import Portfolio
from qlib.contrib.report.exposure_numbers import exposure_numbers
from qlib.crypto.contracts import Contracts
from qlib.crypto.market import Perpetuals, Spot
from qlib.crypto.strategy import SignedWeightStrategy
from qlib.errors import ConfigError, InputError, MissingDataError

CASES = settings(max_examples=cases(20, 800), deadline=None, suppress_health_check=[HealthCheck.too_slow])
INVERSE = {"kind": "swap", "inverse": True, "settle": "BTC", "contract": 100.0, "lot": 1.0, "minimum": 1.0}
LINEAR = {"kind": "swap", "settle": "USDT"}
SPOT = {"kind": "spot", "settle": "USDT"}


def hour(count: float) -> pd.Timestamp:
    return START + pd.Timedelta(hours=count)


def held_at(positions, count, name="I"):
    return positions[hour(count)].position[name]


# -------------------------------------------------------------------------------------------------- in the coin itself
def test_an_inverse_contract_pays_in_coins():
    """In BTC, from 1: buy 3,000 face at 60,000 = 0.05 BTC of value, fee 0.0005 * 0.05 = 0.000025.

    At 75,000 it earned 3,000 (1/60,000 - 1/75,000) = 0.05 - 0.04 = 0.01. At the end of that bar (08:00) the payment
    of 0.0001 is due on 0.04: 0.000004. Sell 1,000 at 75,000: a third, 0.00333..., is realised; fee 0.0005 / 75.
    Buy 2,000 at 50,000: 4,000 of entry 4,000 / (2,000/60,000 + 2,000/50,000) = 54,545.45; fee 0.00002.
    Sell 5,000 at 62,500: 4,000 close at (2/60 + 2/50) - 4/62.5 = 0.00933..., 1,000 are short from 62,500; fee 0.00004.
    At 50,000 the short earned 1,000 (1/50,000 - 1/62,500) = 0.004.
    """
    provider = market(I=[60_000.0] * 7 + [75_000.0, 75_000.0, 50_000.0, 62_500.0, 50_000.0])
    orders = {0: [("I", 3000)], 7: [("I", -1000)], 8: [("I", 2000)], 9: [("I", -5000)]}
    values, positions, account = trade(
        provider, orders, account=1.0, contracts={"I": INVERSE}, currency="BTC", leverage=2, fees=0.0005,
        funding=every_8_hours(["I"], [0.0, 0.0001, 0.0]),
    )  # fmt: skip
    funding, fees = 0.000004, [0.000025, 0.0005 / 75, 0.00002, 0.00004]
    np.testing.assert_allclose(values[5], 1 - fees[0], atol=1e-15)
    np.testing.assert_allclose(values[6], 1 + 0.01 - fees[0] - funding, atol=1e-15)
    np.testing.assert_allclose(values[7], values[6] - fees[1], atol=1e-15)
    realised = 1000 * (1 / 60_000 - 1 / 75_000)
    second = 2000 * (1 / 60_000 - 1 / 50_000)
    np.testing.assert_allclose(values[8], 1 + realised + second - sum(fees[:3]) - funding, atol=1e-15)
    closed = realised + 2000 / 60_000 + 2000 / 50_000 - 4000 / 62_500
    np.testing.assert_allclose(values[9], 1 + closed - sum(fees) - funding, atol=1e-15)
    np.testing.assert_allclose(values[10], 1 + closed + 0.004 - sum(fees) - funding, atol=1e-15)

    one = held_at(positions, 1)
    assert (one["amount"], one["entry"], one["pocket"], one["margin"]) == (3000.0, 60_000.0, 0.025, 0.025)
    np.testing.assert_allclose(held_at(positions, 9)["entry"], 4000 / (2 / 60 + 2 / 50), rtol=1e-12)
    np.testing.assert_allclose(held_at(positions, 9)["pocket"], 2000 / 3000 * 0.025 + 0.02, rtol=1e-12)
    last = held_at(positions, 11)
    assert (last["amount"], last["entry"], last["mark"]) == (-1000.0, 62_500.0, 50_000.0)
    np.testing.assert_allclose([last["pocket"], last["exposure"]], [0.008, -0.02], rtol=1e-12)
    log = account.trades.frame()
    np.testing.assert_allclose(log["value"], [0.05, 1 / 75, 0.04, 0.08], rtol=1e-12)
    np.testing.assert_allclose(log["fee"], fees, rtol=1e-12)
    assert log["price"].tolist() == [60_000.0, 75_000.0, 50_000.0, 62_500.0]
    np.testing.assert_allclose(account.accum_info.to, log["value"].sum(), rtol=1e-12)


def test_what_a_coin_short_of_its_own_value_earns_is_its_price():
    """1 BTC and a short of its whole value, 60,000 face: whatever the price does, it stays worth 60,000."""
    prices = [60_000.0, 60_000.0, 90_000.0, 40_000.0, 55_000.0]
    provider = market(I=prices)
    values, _, _ = trade(
        provider, {0: [("I", -60_000)]}, account=1.0, contracts={"I": INVERSE}, currency="BTC", margin="cross"
    )
    np.testing.assert_allclose(values * np.array(prices[1:]), 60_000, rtol=1e-12)


@pytest.mark.parametrize(("side", "leverage", "mmr"), [(1, 10, 0.005), (-1, 10, 0.005), (1, 1, 0.01), (-1, 3, 0.004)])
def test_an_isolated_inverse_position_is_closed_at_its_own_price(side, leverage, mmr):
    """Long P0 (1 + mmr) / (1 + 1/L), short P0 (1 - mmr) / (1 - 1/L); what is left of the margin after the fee stays."""
    price = 50_000 * (1 + side * mmr) / (1 + side / leverage)
    closes = np.array([50_000.0, 50_000.0, price + side * 9, price + side * 10, price + side, price])
    provider = market(I=closes)
    path = {"first": closes, "low": closes.copy(), "high": closes.copy()}
    (path["low"] if side > 0 else path["high"])[4] = price - side * 1
    provider.values |= {f"mark_{name}": np.asarray(one)[:, None] for name, one in path.items()}
    values, _, account = trade(
        provider, {0: [("I", side * 10_000)]}, account=1.0, leverage=leverage, mmr=mmr, liquidation_fee=0.001,
        contracts={"I": INVERSE}, currency="BTC", mark_path=("$mark_first", "$mark_low", "$mark_high"),
    )  # fmt: skip
    fills = account.trades.frame()
    assert list(fills["reason"]) == ["order", "liquidation"]
    assert fills["time"].iloc[1] == hour(4)
    np.testing.assert_allclose(fills["price"].iloc[1], price, rtol=1e-12)
    lost = side * 10_000 * (1 / 50_000 - 1 / price)
    np.testing.assert_allclose(values[-1], 1 + lost - 0.001 * 10_000 / price, atol=1e-12)
    np.testing.assert_allclose(lost, -10_000 / 50_000 / leverage + mmr * 10_000 / price, atol=1e-12)
    assert account.accum_info.carry["insurance"] == 0.0


def test_an_inverse_short_with_all_of_its_value_as_margin_is_never_closed():
    """At leverage 1 a short is covered by coins: it owes face, and the coins are worth that at any price."""
    provider = market(I=[50_000.0, 50_000.0, 1e9])
    values, positions, account = trade(
        provider, {0: [("I", -10_000)]}, account=1.0, leverage=1, contracts={"I": INVERSE}, currency="BTC"
    )
    assert held_at(positions, 1)["limit"] == math.inf and len(account.trades) == 1
    np.testing.assert_allclose(values[-1], 0.8 + 10_000 / 1e9, rtol=1e-9)


def test_a_gap_beyond_bankruptcy_costs_an_inverse_position_its_margin_and_no_more():
    """10,000 face at 50,000, leverage 10: margin 0.02. At 40,000 it lost 0.05, fee 0.00025: the fund pays 0.03025."""
    provider = market(I=[50_000.0, 50_000.0, 40_000.0, 40_000.0])
    values, _, account = trade(
        provider, {0: [("I", 10_000)]}, account=1.0, leverage=10, liquidation_fee=0.001, contracts={"I": INVERSE},
        currency="BTC",
    )  # fmt: skip
    np.testing.assert_allclose(values, [1, 0.98, 0.98], atol=1e-12)
    np.testing.assert_allclose(account.accum_info.carry["insurance"], -0.03025, atol=1e-12)


def test_margin_bounds_the_face_that_is_opened():
    """1 BTC at leverage 4 and a fee of 0.001 opens 1 / (1/4 + 0.001) BTC of value, in whole contracts of 100."""
    provider = market(I=[50_000.0] * 4)
    for margin in ("isolated", "cross"):
        _, positions, _ = trade(
            provider, {0: [("I", 1e9)]}, account=1.0, leverage=4, margin=margin, fees=0.001,
            contracts={"I": INVERSE}, currency="BTC",
        )  # fmt: skip
        assert held_at(positions, 1)["amount"] == math.floor(50_000 / (1 / 4 + 0.001) / 100) * 100


def test_a_flip_of_an_inverse_position_uses_the_margin_that_it_frees():
    provider = market(I=[50_000.0] * 4)
    for margin in ("isolated", "cross"):
        _, _, account = trade(
            provider, {0: [("I", 200_000)], 1: [("I", -400_000)]}, account=1.0, leverage=4, margin=margin,
            contracts={"I": INVERSE}, currency="BTC",
        )  # fmt: skip
        np.testing.assert_allclose(account.current_position.get_stock_amount("I"), -200_000)


# ------------------------------------------------------------------------------------------------ in another currency
def test_profit_in_coins_is_converted_at_the_declared_rate():
    """In USDT; BTC is worth 60,000, then 66,000. 6,000 face long from 60,000 (0.1 BTC), fee 0.0005 * 0.1 BTC = 3 USDT.

    At 66,000 it earned 6,000 (1/60,000 - 1/66,000) = 0.1/11 BTC = 600 USDT. Half is sold: 300 USDT stay, fee 1.5.
    At a price of 55,000 the other half lost 3,000 (1/60,000 - 1/55,000) BTC, 250 USDT at 55,000.
    The payment at 08:00 (the price is 66,000 again): 3,000 USDT of exposure * 0.001 = 3.
    """
    prices = [60_000.0, 60_000.0, 66_000.0, 55_000.0, 66_000.0, 66_000.0, 66_000.0, 66_000.0, 66_000.0]
    provider = market(I=prices, S=prices)
    values, positions, account = trade(
        provider, {0: [("I", 6000)], 1: [("I", -3000)]}, contracts={"I": INVERSE, "S": SPOT}, currency="USDT",
        rates={"BTC": "S"}, leverage=3, fees=0.0005, funding=every_8_hours(["I"], [0.0, 0.001, 0.0]),
    )  # fmt: skip
    np.testing.assert_allclose(values[:3], [10_000 - 3, 10_600 - 4.5, 10_300 - 4.5 - 250], atol=1e-9)
    np.testing.assert_allclose(values[-2:], [10_600 - 4.5 - 3] * 2, atol=1e-9)
    one = held_at(positions, 1)
    assert (one["amount"], one["mark"], one["rate"]) == (6000.0, 60_000.0, 60_000.0)
    np.testing.assert_allclose([one["margin"], one["pocket"], one["exposure"]], [2000, 0.1 / 3, 6000], rtol=1e-12)
    np.testing.assert_allclose(account.trades.frame()["value"], [6000, 3000], rtol=1e-12)
    np.testing.assert_allclose(account.get_attribution()["funding"].sum(), 3.0, rtol=1e-12)


def test_linear_and_inverse_and_other_quotes_live_in_one_account():
    """In USDT, USDC is declared to be 1.01, then 1.02 (its market). 2 L long at 100, 2 C (in USDC) short at 50.

    L to 110: +20. C to 45: +10 USDC = 10.2 USDT. I: 1,000 face short at 50 (20 coins), to 40: 1,000 (1/40 - 1/50) = 5
    coins, each 40 USDT (its rate is its spot): +200. 3 coins of D, quoted in USDC, from 10 to 11:
    3 * (11 * 1.02 - 10 * 1.01).
    """
    provider = market(
        L=[100.0, 100, 110],
        C=[50.0, 50, 45],
        I=[50.0, 50, 40],
        S=[50.0, 50, 40],
        U=[1.01, 1.01, 1.02],
        D=[10.0, 10, 11],
    )
    terms = {
        "L": LINEAR, "C": {"kind": "swap", "settle": "USDC"}, "S": SPOT, "U": SPOT,
        "D": {"kind": "spot", "settle": "USDC"}, "I": {"kind": "swap", "inverse": True, "settle": "COIN"},
    }  # fmt: skip
    values, positions, _ = trade(
        provider, {0: [("L", 2), ("C", -2), ("I", -1000), ("D", 3)]}, contracts=terms, currency="USDT",
        rates={"COIN": "S", "USDC": "U"}, leverage=5, margin="cross",
    )  # fmt: skip
    earned = 20 + 10 * 1.02 + 5 * 40 + 3 * (11 * 1.02 - 10 * 1.01)
    np.testing.assert_allclose(values, [10_000, 10_000 + earned], atol=2e-5)  # D's prices are float32, converted
    np.testing.assert_allclose(held_at(positions, 2, "C")["exposure"], -2 * 45 * 1.02, rtol=1e-6)


def test_an_account_in_coins_may_hold_linear_contracts_at_the_inverse_rate():
    """In BTC: 1 coin of L long at 100 USDT, to 150: 50 USDT at 1/50,000."""
    provider = market(L=[100.0, 100, 150], S=[40_000.0, 40_000, 50_000])
    values, _, _ = trade(
        provider, {0: [("L", 1)]}, account=1.0, contracts={"L": LINEAR}, currency="BTC", rates={"USDT": "1/S"}
    )
    np.testing.assert_allclose(values, [1, 1 + 50 / 50_000], atol=1e-12)


def test_dealt_at_the_open_the_rate_is_the_one_before_the_bar():
    """Opened at the open of bar 1, closed at that of bar 2: the gain of 0.2 coins is converted at 100, not at 999."""
    provider = market(I=[100.0, 100.0, 125.0], S=[100.0, 100.0, 999.0])
    provider.values["open"] = np.array([[100.0, 100.0], [100.0, 100.0], [125.0, 100.0]])
    values, _, _ = trade(
        provider, {0: [("I", 100)], 1: [("I", -100)]}, contracts={"I": {**INVERSE, "lot": 0, "minimum": 0}, "S": SPOT},
        currency="USDT", rates={"BTC": "S"}, deal_price="open",
    )  # fmt: skip
    np.testing.assert_allclose(values, [10_000, 10_000 + 0.2 * 100], atol=1e-9)


def test_under_cross_margin_linear_and_inverse_answer_for_each_other():
    """1,000 USDT. 10 L long at 100, 2,000 face of I long at 50 (40 coins), leverage 5, mmr 0.01.

    L falls to 40: -600. I falls to 45: 2,000 (1/50 - 1/45) = -4.444 coins = -200 USDT at 45. Worth 200, needed
    0.01 (400 + 2,000) = 24: stays. At 40: -10 coins = -400 USDT: worth 0, below 24: both are closed, fees 0.001 of
    2,400, and the fund pays what is below zero.
    """
    provider = market(L=[100.0, 100, 40, 40, 40], I=[50.0, 50, 45, 40, 40], S=[50.0, 50, 45, 40, 40])
    values, _, account = trade(
        provider, {0: [("L", 10), ("I", 2000)]}, account=1_000.0, leverage=5, margin="cross", mmr=0.01,
        liquidation_fee=0.001, contracts={"L": LINEAR, "S": SPOT, "I": {**INVERSE, "contract": 1.0}}, currency="USDT",
        rates={"BTC": "S"},
    )  # fmt: skip
    np.testing.assert_allclose(values, [1_000, 200, 0, 0], atol=1e-9)
    assert list(account.trades.frame()["reason"]) == ["order", "order", "liquidation", "liquidation"]
    np.testing.assert_allclose(account.accum_info.carry["insurance"], -2.4, atol=1e-9)


def test_spot_in_another_quote_is_bought_at_the_rate():
    """`Spot` in USDT buys 2 D for 10 USDC each at 1.01, and sells them for 12 at 1.05."""
    provider = market(D=[10.0, 10, 12, 12], U=[1.0, 1.01, 1.05, 1.0])
    values, _, _ = trade(
        provider, {0: [("D", 2)], 1: [("D", -2)]}, kind=Spot, contracts={"D": {"kind": "spot", "settle": "USDC"}},
        currency="USDT", rates={"USDC": "U"},
    )  # fmt: skip
    np.testing.assert_allclose(
        values, [10_000, 10_000 + 24 * 1.05 - 20 * 1.01, 10_000 + 24 * 1.05 - 20 * 1.01], atol=1e-5
    )


def test_volume_of_an_inverse_contract_is_counted_in_face():
    """A tenth of 1,000 coins at the close before, 50: 5,000 face."""
    provider = market(I=[50.0, 50.0, 80.0])
    provider.values["volume"] = np.full((3, 1), 1000.0)
    _, _, account = trade(
        provider, {1: [("I", 1e6)]}, account=1e6, contracts={"I": {**INVERSE, "contract": 1.0}}, currency="BTC",
        volume_threshold={"all": ("current", "0.1*$volume")},
    )  # fmt: skip
    log = account.trades.frame()
    assert log["amount"].tolist() == [5000.0] and log["reason"].tolist() == ["volume"]


# ------------------------------------------------------------------------------------------------------- the identity
@CASES
@given(
    seed=st.integers(0, 100_000), margin=st.sampled_from(["isolated", "cross"]),
    deal=st.sampled_from(["open", "close"]), leverage=st.sampled_from([1, 3, 20]), spread=st.sampled_from([0.0, 0.002]),
)  # fmt: skip
def test_the_books_of_mixed_contracts_balance_on_every_bar(seed, margin, deal, leverage, spread):
    """Random orders of linear, inverse and foreign contracts, payments, rates and jumps through liquidation prices.

    The change of the account is the sum of its parts. And, in another way of writing them: an inverse long is coins
    bought for face that is owed, so in coins its profit is the sum of what was paid for face less what it is worth now.
    """
    rng = np.random.default_rng(seed)
    bars, names = 40, ["L", "I", "C", "D"]
    jumps = rng.normal(0, 0.02, (bars, 4)) + rng.choice([0, 0.25, -0.25], (bars, 4), p=[0.9, 0.05, 0.05])
    close = 100 * np.exp(np.cumsum(jumps, axis=0))
    coin, usdc = close[:, 1] * np.exp(rng.normal(0, 0.01, bars)), 1 + rng.normal(0, 0.01, bars)
    provider = market(**dict(zip(names, close.T, strict=True)), S=coin, U=usdc)
    order_of = provider.names
    provider.values["open"] = provider.values["close"] * np.exp(rng.normal(0, 0.01, (bars, 6)))
    provider.values["mark"] = np.where(rng.random((bars, 6)) < 0.03, np.nan, provider.values["close"])
    rows = [
        (
            name,
            START + pd.Timedelta(hours=float(h)),
            rng.normal(0, 0.001),
            rng.choice([math.nan, 100 * rng.random() + 1]),
        )
        for name in names
        for h in np.arange(0, 50, rng.choice([1.0, 4.0, 8.0]))
    ]
    orders = {
        int(step): [(str(rng.choice(names)), float(rng.normal(0, 1) * rng.choice([20, 2000]))) for _ in range(3)]
        for step in rng.integers(0, bars - 2, 15)
    }
    values, _, account = trade(
        provider, orders, margin=margin, deal_price=deal, leverage=leverage, funding=payments(*rows), borrow=0.001,
        contracts={"L": LINEAR, "I": {"inverse": True, "settle": "BTC"}, "C": {"settle": "USDC"}, "S": SPOT, "U": SPOT,
                   "D": {"kind": "spot", "settle": "USDC"}},
        currency="USDT", rates={"BTC": "S", "USDC": "U"}, liquidation_fee=0.002,
        mmr={"default": [(10, 0.004, 100), (500, 0.01, 50), (1e9, 0.02, 20)]}, fees=[(0, 0.0002, 0.0005)],
        fills={"half_spread": spread} if spread else None,
    )  # fmt: skip
    parts = account.get_attribution()
    explained = parts["price"] - parts[["fee", "impact", "funding", "insurance", "borrow"]].sum(axis=1)
    scale = np.maximum(np.abs(values), account.trades.frame()["value"].max() if len(account.trades) else 0.0)
    assert (np.abs(parts["change"] - explained) <= 1e-9 * scale).all()
    assert (np.abs(np.diff(values, prepend=10_000.0) - explained) <= 1e-9 * scale).all()
    position, worth = account.current_position, account.current_position.get_cash()
    for name in position.get_stock_list():
        held = position.position[name]
        mark = float(pd.Series(provider.values["mark"][:, order_of.index(name)].astype(np.float32)).ffill().iloc[-1])
        rate = float(np.float32(usdc[-1])) if name in "CD" else float(np.float32(coin[-1])) if name == "I" else 1.0
        gain = (
            held["amount"] * (1 / held["entry"] - 1 / mark) if name == "I" else held["amount"] * (mark - held["entry"])
        )
        worth += gain * rate if name in "IC" else held["amount"] * held["price"]
        if name in "IC" and np.isfinite(provider.values["mark"][-1, order_of.index(name)]):
            assert held["mark"] == mark and held["rate"] == pytest.approx(rate, rel=1e-12)
    if np.isfinite(provider.values["mark"][-1]).all():
        assert values[-1] == pytest.approx(worth, rel=1e-9)


@CASES
@given(seed=st.integers(0, 100_000), leverage=st.sampled_from([1, 3, 10]))
def test_an_account_in_coins_is_face_owed_and_coins_bought(seed, leverage):
    """Whatever is traded: coins = start + face bought / price - face sold / price - costs - face held / mark."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.04, 40)))
    provider = market(I=close)
    orders = {int(step): [("I", float(rng.normal(0, 300)))] for step in rng.integers(0, 38, 20)}
    values, _, account = trade(
        provider, orders, account=5.0, contracts={"I": {"inverse": True, "settle": "BTC"}}, currency="BTC", fees=0.0005,
        leverage=leverage, margin="cross", funding=every_8_hours(["I"], rng.normal(0, 0.001, 8)),
    )  # fmt: skip
    log, sums = account.trades.frame(), account.accum_info
    bought = np.where(log["side"] == "buy", 1, -1) * log["amount"] / log["price"]
    owed = account.current_position.get_stock_amount("I") / float(np.float32(close[-1]))
    expected = 5.0 + bought.sum() - log["fee"].sum() - sum(sums.carry.values()) - owed
    assert values[-1] == pytest.approx(expected, abs=1e-12 * max(1, log["value"].sum()))


@CASES
@given(seed=st.integers(0, 100_000), deal=st.sampled_from(["open", "close"]), at=st.integers(5, 30))
def test_what_comes_later_changes_no_fill_of_mixed_contracts_before_it(seed, deal, at):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.05, (40, 3)), axis=0))
    orders = {int(step): [(str(rng.choice(["I", "L"])), float(rng.normal(0, 500)))] for step in rng.integers(0, 38, 20)}
    logs = []
    for shaken in (False, True):
        provider = market(I=close[:, 0].copy(), L=close[:, 1].copy(), S=close[:, 2].copy())
        if shaken:
            provider.values = {name: np.array(values) for name, values in provider.values.items()}
            for name in ("close", "mark", "volume"):
                provider.values[name][at:] *= 1.7
        provider.values["open"] = np.vstack([provider.values["close"][:1], provider.values["close"][:-1]])
        if shaken:
            provider.values["open"][at:] *= 0.9
        _, _, account = trade(
            provider, orders, deal_price=deal, leverage=10, fees=0.0005, currency="USDT", rates={"BTC": "S"},
            contracts={"L": LINEAR, "S": SPOT, "I": INVERSE}, volume_threshold={"all": ("current", "0.0001*$volume")},
        )  # fmt: skip
        log = account.trades.frame(fills_only=False)
        logs.append(log[log["time"] < hour(at)].reset_index(drop=True))
    pd.testing.assert_frame_equal(*logs)


# ---------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("terms", "more", "said"),
    [
        (
            {"A": INVERSE},
            {},
            "order to buy 100 A at 2024-01-01 01:00:00: A is an inverse contract and pays in BTC: keep",
        ),
        ({"A": INVERSE}, {"currency": "USDT"}, "order to buy 100 A .*A is settled in BTC, .* give the rate, as rates="),
        ({"A": {"inverse": True}}, {"currency": "BTC"}, "order to buy 100 A .*give the coin that it pays in its terms"),
        (
            {"A": LINEAR, "B": {"settle": "USDC"}},
            {},
            "order to buy 100 A .*A is settled in USDT, and others .*USDC: say",
        ),
        ({"A": LINEAR}, {"currency": "USDC"}, "order to buy 100 A .*settled in USDT, and the account is kept in USDC"),
        ({"A": {"kind": "spot", "settle": "USDC"}}, {"currency": "USDT"}, "order to buy 100 A .*settled in USDC"),
    ],
)
def test_mixed_currencies_without_a_rate_name_the_order(terms, more, said):
    provider = market(A=[100.0] * 4, B=[100.0] * 4)
    with pytest.raises(InputError, match=said):
        trade(provider, {0: [("A", 100)]}, contracts=terms, **more)


def test_a_name_that_says_inverse_is_not_taken_for_linear():
    provider = market(**{"BTC-USD-SWAP": [100.0] * 4})
    with pytest.raises(
        InputError, match=r"order to buy 1 BTC-USD-SWAP .*its name says .* inverse contract, and no terms"
    ):
        trade(provider, {0: [("BTC-USD-SWAP", 1)]})


def test_spot_trades_no_contracts():
    provider = market(A=[100.0] * 4)
    with pytest.raises(
        InputError, match="order to buy 100 A .*it is a contract that pays in BTC, and Spot trades coins"
    ):
        trade(provider, {0: [("A", 100)]}, contracts={"A": INVERSE}, kind=Spot, currency="BTC")


def test_wrong_rates_are_named():
    provider = market(A=[100.0] * 4)
    with pytest.raises(ConfigError, match="rates: BTC: received -1; a number above 0, an instrument or '1/instrument'"):
        trade(provider, {}, currency="USDT", rates={"BTC": -1})
    with pytest.raises(ConfigError, match="rates: received .* without the currency of the account"):
        trade(provider, {}, rates={"BTC": 1.0})
    with pytest.raises(MissingDataError, match="rates: the store has no NONE at 60min"):
        trade(provider, {}, currency="USDT", rates={"BTC": "NONE"})
    with pytest.raises(ConfigError, match="currency: received 3"):
        trade(provider, {}, currency=3)
    provider = market(A=[100.0] * 4, S=[math.nan, math.nan, 100.0, 100.0])
    with pytest.raises(MissingDataError, match="rates: S has no close yet where the rate of BTC is needed"):
        trade(provider, {0: [("A", 100)]}, contracts={"A": INVERSE}, currency="USDT", rates={"BTC": "S"})


def test_a_contract_held_from_before_is_refused():
    provider = market(A=[100.0] * 4)
    with pytest.raises(InputError, match="the account holds A before the first step"):
        trade(
            provider, {0: [("A", 1)]}, contracts={"A": INVERSE}, currency="BTC",
            account={"cash": 1.0, "A": {"amount": 100.0, "price": 100.0}},
        )  # fmt: skip


def test_terms_of_a_history_know_what_they_are_settled_in():
    """The collector's rows: a contract says its settle currency, spot is paid with its quote."""
    rows = pd.DataFrame(
        {
            "symbol": ["BTC-USD-SWAP", "BTC-USDC"], "seen": "2024-01-01", "kind": ["swap", "spot"],
            "quote": ["USD", "USDC"], "settle": ["BTC", ""], "inverse": [True, False],
            "contract_value": [100.0, math.nan], "multiplier": [1.0, math.nan],
        }
    )  # fmt: skip
    contracts = Contracts.from_frame(rows)
    swap, spot = contracts.at("BTC-USD-SWAP", "2024-02-01"), contracts.at("BTC-USDC", "2024-02-01")
    assert (swap.settle, swap.inverse, swap.contract) == ("BTC", True, 100.0)
    assert (spot.settle, spot.inverse, spot.contract) == ("USDC", False, 1.0)


def test_an_order_below_the_least_value_is_not_dealt():
    """Least value 10 USDT: 0.09 coins at 100 are 9, and 0.11 are 11; of an inverse contract the face counts."""
    provider = market(A=[100.0] * 4, I=[100.0] * 4)
    terms = {"A": {"notional": 10.0}, "I": {**INVERSE, "contract": 1.0, "notional": 10.0}}
    orders = {0: [("A", 0.09), ("A", 0.11), ("I", 9), ("I", 11)]}
    _, _, account = trade(provider, orders, contracts=terms, currency="BTC", kind=Perpetuals)
    log = account.trades.frame(fills_only=False)
    assert log["amount"].tolist() == [0.0, 0.11, 0.0, 11.0]
    assert log["reason"].tolist() == ["lot", "order", "lot", "order"]


def test_the_report_sees_the_exposure_of_contracts_that_are_not_paid_for():
    """I: 6,000 face long from 60,000, at 66,000: worth 6,000 USDT, and its margin 1/30 BTC * 66,000 = 2,200."""
    prices = [60_000.0, 60_000.0, 66_000.0]
    provider = market(I=prices, S=prices, L=[100.0] * 3)
    orders = {0: [("I", 6000), ("L", -10)]}
    exchange = Perpetuals(
        freq="60min", start_time=START, end_time=hour(2), codes=provider.names, provider=provider, deal_price="close",
        fees=0.0, contracts={"I": INVERSE, "S": SPOT, "L": LINEAR}, currency="USDT", rates={"BTC": "S"}, leverage=3,
    )  # fmt: skip
    executor = SimulatorExecutor("60min", generate_portfolio_metrics=True)
    report, positions, _, _ = run(
        provider, Given(orders), executor=executor, account=10_000.0, exchange_kwargs={"exchange": exchange}
    )
    found = exposure_numbers(Portfolio("60min", report, positions, None))["series"]
    np.testing.assert_allclose(found["long"], [0.6, 6000 / 10_600], rtol=1e-6)
    np.testing.assert_allclose(found["short"], [-0.1, -1000 / 10_600], rtol=1e-6)
    np.testing.assert_allclose(found["margin"], [(2000 + 1000 / 3) / 10_000, (2200 + 1000 / 3) / 10_600], rtol=1e-6)
    limit = 60_000 * (1 + 0.005) / (1 + 1 / 3)
    short = 100 * (1 + 1 / 3) / 1.005
    expected = [1 - limit / 60_000, min(1 - limit / 66_000, short / 100 - 1)]
    np.testing.assert_allclose(found["distance"], expected, rtol=1e-6)


def test_strategies_with_weights_size_what_a_unit_is_worth():
    """Half of 10,000 long in I (face 5,000), half short in C at 50 USDC of 1.02: 5,000 / 51 coins."""
    provider = market(I=[100.0] * 6, C=[50.0] * 6, S=[100.0] * 6, U=[1.02] * 6)

    class Halves(SignedWeightStrategy):
        def target_weights(self, step, known):
            column = self.trade_exchange.quote.column
            weights = np.zeros(len(column))
            weights[column["I"]], weights[column["C"]] = 0.5, -0.5
            return weights

    exchange = Perpetuals(
        freq="60min", start_time=START, end_time=hour(5), codes=provider.names, provider=provider, deal_price="close",
        fees=0.0, currency="USDT", rates={"BTC": "S", "USDC": "U"}, leverage=3,
        contracts={"I": {**INVERSE, "lot": 0, "minimum": 0}, "C": {"settle": "USDC"}, "S": SPOT, "U": SPOT},
    )  # fmt: skip
    _, positions, _, _ = run(provider, Halves(), account=10_000.0, exchange_kwargs={"exchange": exchange})
    held = {name: held_at(positions, 5, name)["amount"] for name in "IC"}
    np.testing.assert_allclose([held["I"], held["C"]], [5000, -5000 / 51], rtol=1e-6)

"""Attribution of inverse contracts, of other currencies and of positions that are cut tier by tier."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof import cases
from test_crypto_attribution import check, trade
from test_perpetuals import START, market, payments

from qlib.crypto.attribution import attribution

CASES = settings(max_examples=cases(12, 500), deadline=None, suppress_health_check=[HealthCheck.too_slow])
TIERS = {"default": [(10, 0.004, 100), (50, 0.02, 50), (1e9, 0.04, 20)]}


def test_a_flip_of_an_inverse_contract_belongs_to_two_sides():
    """In coins: 1,000 face long from 50, at 100 sell 3,000: 1,000 (1/50 - 1/100) = 10 are of the long.

    At 80 the short of 2,000 from 100 earned 2,000 (1/80 - 1/100) = 5. A fee of 0.001: 0.02 on the purchase of 20 coins,
    0.03 on the sale of 30, of which a third closed the long.
    """
    provider = market(I=[50.0, 50.0, 100.0, 80.0])
    account, exchange = trade(
        provider, {0: [("I", 1000)], 1: [("I", -3000)]}, account=100.0, leverage=2, fees=0.001, currency="BTC",
        contracts={"I": {"inverse": True, "settle": "BTC"}},
    )  # fmt: skip
    found = attribution(account, exchange, by=("side",))
    np.testing.assert_allclose(found["price"], [10, 5], atol=1e-9)
    np.testing.assert_allclose(found["fee"], [0.02 + 0.01, 0.02], atol=1e-12)


def test_half_the_spread_of_an_inverse_fill_is_its_share_of_the_value():
    """Face 1,000 at 100 with half a spread of 0.01: bought at 101, 1,000 (1/100 - 1/101) = 0.01 * 1,000 / 101 coins."""
    provider = market(I=[100.0] * 4)
    account, exchange = trade(
        provider, {0: [("I", 1000)], 1: [("I", -1000)]}, account=100.0, currency="BTC", fills={"half_spread": 0.01},
        contracts={"I": {"inverse": True, "settle": "BTC"}},
    )  # fmt: skip
    found = attribution(account, exchange, by=("side",))
    np.testing.assert_allclose(found["spread"], [10 / 101 + 10 / 99])
    np.testing.assert_allclose(found["impact"], [0], atol=1e-12)
    np.testing.assert_allclose(found["pnl"], [1000 * (1 / 101 - 1 / 99)])


@CASES
@given(
    seed=st.integers(0, 100_000), margin=st.sampled_from(["isolated", "cross"]),
    deal=st.sampled_from(["open", "close"]), leverage=st.sampled_from([1, 3, 20]), path=st.booleans(),
    policy=st.sampled_from(["error", "skip", 0.0003]), half_spread=st.sampled_from([0.0, 0.001]),
)  # fmt: skip
def test_mixed_contracts_together_are_the_account_on_every_bar(seed, margin, deal, leverage, path, policy, half_spread):
    rng = np.random.default_rng(seed)
    bars, names = 40, ["L", "I", "C"]
    jumps = rng.normal(0, 0.02, (bars, 3)) + rng.choice([0, 0.2, -0.2], (bars, 3), p=[0.9, 0.05, 0.05])
    close = 100 * np.exp(np.cumsum(jumps, axis=0))
    provider = market(**dict(zip(names, close.T, strict=True)), S=close[:, 1] * 1.01, U=1 + rng.normal(0, 0.01, bars))
    close = provider.values["close"]
    provider.values["open"] = close * np.exp(rng.normal(0, 0.01, close.shape))
    provider.values["mark"] = np.where(rng.random(close.shape) < 0.03, np.nan, close)
    if path:
        provider.values["mark_first"] = provider.values["open"]
        provider.values["mark_low"] = np.minimum(close, provider.values["open"]) * 0.99
        provider.values["mark_high"] = np.maximum(close, provider.values["open"]) * 1.01
    rows = [
        (
            name,
            START + pd.Timedelta(hours=float(h)),
            rng.normal(0, 0.001),
            rng.choice([math.nan, 1 + 100 * rng.random()]),
        )
        for name in names
        for h in np.arange(0, 50, rng.choice([1.0, 0.5, 4.0, 8.0]))
        if policy == "error" or rng.random() < 0.7
    ]
    orders = {
        int(step): [(str(rng.choice(names)), float(rng.normal(0, 1) * rng.choice([20, 2000]))) for _ in range(3)]
        for step in rng.integers(0, bars - 2, 20)
    }
    account, exchange = trade(
        provider, orders, margin=margin, deal_price=deal, leverage=leverage, liquidation_fee=0.002, mmr=TIERS,
        funding={"payments": payments(*rows), "missing": policy}, fees=[(0, 0.0002, 0.0005), (5_000, 0.0001, 0.0004)],
        mark_path=("$mark_first", "$mark_low", "$mark_high") if path else None, currency="USDT",
        rates={"BTC": "S", "USDC": "U"},
        contracts={"L": {"settle": "USDT"}, "I": {"inverse": True, "settle": "BTC"}, "C": {"settle": "USDC"},
                   "S": {"kind": "spot"}, "U": {"kind": "spot"}},
        fills={"half_spread": half_spread, "impact": 0.5, "volatility": "$close*0+0.01", "volume": "$volume"},
    )  # fmt: skip
    found = check(account, exchange)
    if not path and len(found):
        assert set(found.index.get_level_values("instrument")) <= set(names)


@pytest.mark.parametrize("kind", ["isolated", "cross"])
def test_a_position_that_is_cut_tier_by_tier_adds_up(kind):
    provider = market(A=[100.0, 100.0, 70.0, 60.0, 60.0], B=[100.0] * 5)
    account, exchange = trade(
        provider, {0: [("A", 25), ("B", -15)]}, account=1_000.0, leverage=5, margin=kind, liquidation_fee=0.001,
        mmr={"default": [(10, 0.01, 100), (20, 0.05, 20), (1000, 0.1, 10)]},
    )  # fmt: skip
    found = check(account, exchange)
    assert found["liquidation"].abs().sum() > 0


def test_a_trade_that_is_little_in_coins_is_a_trade():
    """0.001 L at 100 USDT are 0.1 USDT, 0.000002 of the account's BTC; at 200 it earned as much."""
    provider = market(L=[100.0, 100.0, 200.0], S=[50_000.0] * 3)
    account, exchange = trade(
        provider, {0: [("L", 0.001)]}, account=1.0, currency="BTC", rates={"USDT": "1/S"}, fees=0.0005,
        contracts={"L": {"settle": "USDT"}, "S": {"kind": "spot", "settle": "USDT"}},
    )  # fmt: skip
    found = attribution(account, exchange, by=("instrument",)).loc["L"]
    np.testing.assert_allclose(found[["price", "fee"]].astype(float), [2e-6, 1e-9], rtol=1e-6)

"""Liquidation tier by tier, computed by hand, and never more than it has to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof import cases
from test_perpetuals import START, market, trade

from qlib.crypto.margin import Tiers
from qlib.errors import ConfigError

CASES = settings(max_examples=cases(20, 500), deadline=None, suppress_health_check=[HealthCheck.too_slow])
TIERS = {"default": [(10, 0.01, 100), (20, 0.05, 20), (1000, 0.1, 10)]}


def test_an_isolated_position_goes_down_one_tier_at_a_time():
    """25 coins long at 100, leverage 5: margin 500, third tier, 0.1: closed at 100 (1 - 1/5) / (1 - 0.1) = 88.889.

    There it has 500 - 25 * 11.111 = 222.22 of margin, 0.1 of its value. 5 coins are cut: the fee is 0.001 * 5 * 88.889
    = 0.4444, left 221.78 for 20 coins in the second tier, 0.05: they are closed at p with
    500 - 5 * 11.111 - 0.4444 + 20 (p - 100) = 0.05 * 20 p: p = (2000 - 444) / 19 = 81.895. 10 coins go
    there, fee 0.8189, and 10 stay in the first tier, 0.01: they are closed at p with 444 - 10 * 18.105 - 0.8189
    + 10 (p - 100) = 0.1 p, p = 74.533. The mark falls to 80 in one bar (two cuts), to 74 in the next: all is closed
    there, and what is left of the margin stays.
    """
    provider = market(A=[100.0, 100.0, 80.0, 74.0, 74.0])
    path = {"first": [100.0, 100.0, 100.0, 80.0, 74.0], "low": [100.0, 100.0, 80.0, 74.0, 74.0], "high": [100.0] * 5}
    provider.values |= {f"mark_{name}": np.array(one)[:, None] for name, one in path.items()}
    values, positions, account = trade(
        provider, {0: [("A", 25)]}, leverage=5, mmr=TIERS, liquidation_fee=0.001,
        mark_path=("$mark_first", "$mark_low", "$mark_high"),
    )  # fmt: skip
    log = account.trades.frame()
    first = 100 * 0.8 / 0.9
    pocket = 500 + 5 * (first - 100) - 0.001 * 5 * first
    second = (2000 - pocket) / 19
    kept = pocket + 10 * (second - 100) - 0.001 * 10 * second
    third = (1000 - kept) / (10 * 0.99)
    assert log["amount"].tolist() == [25.0, 5.0, 10.0, 10.0]
    assert log["reason"].tolist() == ["order", *["liquidation"] * 3]
    np.testing.assert_allclose(log["price"], [100, first, second, third], rtol=1e-9)
    np.testing.assert_allclose([first, second, third], [88.889, 81.895, 74.533], atol=1e-3)
    held = positions[START + 2 * (provider.clock.stamps[1] - provider.clock.stamps[0])].position["A"]
    np.testing.assert_allclose([held["amount"], held["margin"], held["limit"], held["mmr"]], [10, kept, third, 0.01])
    left = kept + 10 * (third - 100) - 0.001 * 10 * third
    np.testing.assert_allclose(values[-1], 10_000 - 500 + left, atol=1e-9)
    assert left > 0 and account.accum_info.carry["insurance"] == 0


def test_the_whole_position_goes_at_once_where_that_is_asked_for():
    provider = market(A=[100.0, 100.0, 85.0, 85.0])
    for way, amounts in (("whole", [25.0, 25.0]), ("tiers", [25.0, 5.0, 10.0])):
        _, _, account = trade(provider, {0: [("A", 25)]}, leverage=10, mmr=TIERS, liquidation=way, liquidation_fee=0.0)
        found = account.trades.frame()["amount"].tolist()
        assert found[: len(amounts)] == amounts
    with pytest.raises(ConfigError, match="liquidation: received 'tier'; allowed are tiers, whole; did you mean tiers"):
        trade(provider, {}, liquidation="tier")


def test_a_gap_goes_through_all_tiers_at_its_price_and_the_fund_pays_once():
    """25 coins at 100, leverage 10: margin 250. At 70 it lost 750: 5, 10, 10 coins go, the fund pays 500 + fees."""
    provider = market(A=[100.0, 100.0, 70.0, 70.0])
    values, _, account = trade(provider, {0: [("A", 25)]}, leverage=10, mmr=TIERS, liquidation_fee=0.001)
    log = account.trades.frame()
    assert log["amount"].tolist() == [25.0, 5.0, 10.0, 10.0] and log["price"].tolist() == [100.0, 70.0, 70.0, 70.0]
    np.testing.assert_allclose(values, [10_000, 9_750, 9_750], atol=1e-9)
    np.testing.assert_allclose(account.accum_info.carry["insurance"], -500 - 25 * 0.07, atol=1e-9)


def test_under_cross_margin_the_largest_position_is_cut_until_the_account_covers_the_rest():
    """1,000 of money; 25 A long at 100 (third tier), 15 B short at 100 (second). A falls to 71, B stays.

    Worth 1,000 - 725 = 275; needed 0.1 * 25 * 71 + 0.05 * 1,500 = 177.5 + 75 = 252.5: nothing. At 70: worth 250, needed
    175 + 75: A goes down to 20 (fee 0.001 * 350 = 0.35): worth 249.65, needed 0.05 * 1,400 + 75 = 145: enough.
    """
    provider = market(A=[100.0, 100, 71, 70, 70], B=[100.0] * 5)
    values, _, account = trade(
        provider, {0: [("A", 25), ("B", -15)]}, account=1_000.0, leverage=5, margin="cross", mmr=TIERS,
        liquidation_fee=0.001,
    )  # fmt: skip
    log = account.trades.frame()
    assert log["instrument"].tolist() == ["A", "B", "A"] and log["amount"].tolist() == [25.0, 15.0, 5.0]
    np.testing.assert_allclose(values, [1_000, 275, 249.65, 249.65], atol=1e-9)


def test_under_cross_margin_all_is_closed_where_cutting_does_not_help():
    """As above, but A falls to 61: worth 25. The largest is cut: A (1,525) to 20, B (1,500) to 10, A (1,220) to 10.

    Then 0.01 * 610 + 0.01 * 1,000 = 16.1 is needed, and 25 less fees of 0.001 * (15 * 61 + 5 * 100) = 1.415 is more. At
    60 it is worth 10 less, 16 is needed, and both are in their first tiers: all is closed.
    """
    provider = market(A=[100.0, 100, 61, 60, 59, 59], B=[100.0] * 6)
    values, _, account = trade(
        provider, {0: [("A", 25), ("B", -15)]}, account=1_000.0, leverage=5, margin="cross", mmr=TIERS,
        liquidation_fee=0.001,
    )  # fmt: skip
    log = account.trades.frame()
    assert log["amount"].tolist() == [25.0, 15.0, 5.0, 5.0, 10.0, 10.0, 10.0]
    assert log["instrument"].tolist() == ["A", "B", "A", "B", "A", "A", "B"]
    np.testing.assert_allclose(values[1], 25 - 1.415, atol=1e-9)
    np.testing.assert_allclose(values[2], 25 - 1.415 - 10 - 0.001 * (600 + 1000), atol=1e-9)
    assert account.current_position.get_stock_list() == []


def test_what_is_kept_is_whole_lots():
    """10 contracts of the tier below, in lots of 4: 8 stay."""
    provider = market(A=[100.0, 100.0, 86.0, 86.0])
    _, _, account = trade(
        provider, {0: [("A", 12)]}, leverage=5, mmr={"default": [(10, 0.01, 100), (1000, 0.08, 10)]},
        contracts={"A": {"lot": 4.0, "minimum": 4.0}}, liquidation_fee=0.0,
    )  # fmt: skip
    assert account.trades.frame()["amount"].tolist() == [12.0, 4.0]


def test_an_inverse_position_goes_down_its_tiers_too():
    """25,000 face of contracts of 1,000: 25, then 20, then 10; at the gap to 80 all at once, in coins."""
    provider = market(I=[100.0, 100.0, 80.0, 80.0])
    terms = {"I": {"inverse": True, "settle": "BTC", "contract": 1000.0, "lot": 1.0}}
    values, _, account = trade(
        provider, {0: [("I", 25_000)]}, account=100.0, leverage=10, mmr=TIERS, contracts=terms, currency="BTC",
        liquidation_fee=0.001,
    )  # fmt: skip
    assert account.trades.frame()["amount"].tolist() == [25_000.0, 5_000.0, 10_000.0, 10_000.0]
    np.testing.assert_allclose(values, [100, 75, 75], atol=1e-9)
    lost = 25_000 * (1 / 80 - 1 / 100) + 0.001 * 25_000 / 80
    np.testing.assert_allclose(account.accum_info.carry["insurance"], 25 - lost, atol=1e-9)


@CASES
@given(
    seed=st.integers(0, 100_000), leverage=st.sampled_from([2, 5, 9]), path=st.booleans(), inverse=st.booleans(),
)  # fmt: skip
def test_what_is_held_is_covered_and_no_position_loses_more_than_its_margin(seed, leverage, path, inverse):
    """At the end of every bar what is held has the margin that it needs at its mark; the fund only ever pays."""
    rng = np.random.default_rng(seed)
    bars = 30
    jumps = rng.normal(0, 0.04, bars) + rng.choice([0, 0.3, -0.3], bars, p=[0.9, 0.05, 0.05])
    close = 100 * np.exp(np.cumsum(jumps))
    provider = market(A=close)
    if path:
        first = np.roll(close, 1)
        provider.values |= {
            "mark_first": first[:, None],
            "mark_low": (np.minimum(first, close) * 0.98)[:, None],
            "mark_high": (np.maximum(first, close) * 1.02)[:, None],
        }
    orders = {int(step): [("A", float(rng.normal(0, 30)))] for step in rng.integers(0, bars - 2, 6)}
    terms = {"A": {"inverse": True, "settle": "BTC"} if inverse else {}}
    values, positions, account = trade(
        provider, orders, account=1e4, leverage=leverage, mmr=TIERS, contracts=terms, liquidation_fee=0.001,
        currency="BTC" if inverse else None, mark_path=("$mark_first", "$mark_low", "$mark_high") if path else None,
    )  # fmt: skip
    log = account.trades.frame()
    ordered = set(log["time"][log["reason"] == "order"])  # after forced closures of the bar, at its end
    for position in (one for time, one in positions.items() if time not in ordered):
        for name in position.get_stock_list():
            held = position.position[name]
            amount, mark = held["amount"], held["mark"] if inverse else held["price"]
            if inverse:
                equity, needed = held["pocket"] + amount * (1 / held["entry"] - 1 / mark), abs(amount) / mark
            else:
                equity, needed = held["margin"] + amount * (mark - held["entry"]), abs(amount) * mark
            assert equity >= held["mmr"] * needed * (1 - 1e-6)
            assert held["mmr"] == Tiers.of(TIERS).of_size("A", abs(amount)).mmr
    parts = account.get_attribution()
    assert (parts["insurance"] <= 0).all()
    explained = parts["price"] - parts["fee"] - parts["insurance"]
    np.testing.assert_allclose(np.diff(values, prepend=1e4), explained, atol=1e-7)

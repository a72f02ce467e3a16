"""The rules of a market, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.backtest.rules.fee import Fee
from qlib.backtest.rules.impact import Impact
from qlib.backtest.rules.limit import price_limit
from qlib.backtest.rules.lot import QLIB_EXTRA, Lot
from qlib.backtest.rules.market import deal_prices
from qlib.backtest.rules.volume import volume_cap
from qlib.errors import ConfigError

UNITS = st.sampled_from([0.001, 0.01, 1, 100, 1000])
FACTORS = st.floats(1e-3, 1e3).map(lambda f: float(np.float32(f)))


@given(st.floats(0, 1e9), UNITS, FACTORS)
def test_a_floor_is_whole_lots_and_never_more_than_asked(amount, unit, factor):
    got = Lot(unit).floor(amount, factor)
    assert 0 <= got <= amount
    lots = got * factor / unit
    assert lots == pytest.approx(round(lots), rel=1e-12, abs=1e-6)
    assert (amount - got) * factor < unit * (1 + 1e-9)


@given(st.integers(0, 10**7), UNITS, FACTORS)
def test_whole_lots_stay_whole_in_spite_of_the_last_bit(lots, unit, factor):
    amount = lots * unit / factor
    again = Lot(unit).floor(amount, factor)
    assert again == pytest.approx(amount, rel=1e-12)
    assert Lot(unit).floor(again, factor) == pytest.approx(amount, rel=1e-12)


def test_zero_stays_zero_and_no_lot_changes_nothing():
    assert Lot(100).floor(0.0, 1.0) == 0.0
    assert Lot(None).floor(0.1234, 7.0) == 0.1234
    assert Lot(None).size(2.0) is None
    assert Lot(100).size(2.0) == 50.0


def test_qlibs_floor_adds_a_tenth_of_a_share():
    assert Lot(1, extra=QLIB_EXTRA).floor(0.95, 1.0) == 1.0
    assert Lot(1).floor(0.95, 1.0) == 0.0


@given(st.floats(0, 1e9), st.floats(0, 0.1), st.floats(0, 1e4))
def test_what_is_affordable_can_be_paid_with_its_cost(cash, rate, minimum):
    fee = Fee(rate, rate, minimum)
    value = fee.affordable(cash, rate)
    assert value >= 0
    assert value + fee.cost(value, rate) <= cash + 1e-6
    more = value * 1.001 + 0.01
    assert more + fee.cost(more, rate) > cash - 1e-6


def test_fees_below_zero_are_refused_by_name():
    with pytest.raises(ConfigError, match="close_cost: received -0.1"):
        Fee(0.0, -0.1, 5.0)
    with pytest.raises(ConfigError, match="min_cost: received nan"):
        Fee(0.0, 0.1, float("nan"))
    with pytest.raises(ConfigError, match="impact_cost: received -1"):
        Impact(-1)
    with pytest.raises(ConfigError, match="trade_unit: received 0"):
        Lot(0)


def test_impact_is_the_square_of_the_share_of_the_bar():
    assert Impact(0.1).share(50.0, 100.0) == pytest.approx(0.025)
    assert Impact(0.1).share(50.0, float("nan")) == 0.1


COLUMNS = {
    "$close": np.array([1.0, 1.0, 1.0, np.nan]),
    "$change": np.array([0.1, -0.1, np.nan, 0.0]),
    "up": np.array([1.0, 0.0, np.nan, 0.0]),
    "down": np.array([0.0, 2.0, np.nan, 0.0]),
}


@pytest.mark.parametrize("limit", [0.1, np.float64(0.1), ("up", "down"), ["up", "down"]])
def test_a_limit_blocks_its_side_and_a_suspended_bar_blocks_both(limit):
    buy, sell = price_limit(limit).blocked(COLUMNS)
    assert buy.tolist() == [True, False, False, True]
    assert sell.tolist() == [False, True, False, True]


def test_whole_numbers_and_infinity_are_limits_too():
    assert price_limit(1).threshold == 1.0
    buy, sell = price_limit(float("inf")).blocked(COLUMNS)
    assert buy.tolist() == sell.tolist() == [False, False, False, True]
    assert price_limit(None).fields == ()


@pytest.mark.parametrize("limit", [True, -0.1, 0, "0.1", ("one",), (1, 2), {"up": 1}])
def test_other_limits_are_refused(limit):
    with pytest.raises(ConfigError, match="limit_threshold: received"):
        price_limit(limit)


def test_volume_caps_are_read_from_pairs_and_dicts():
    both = volume_cap(["current", "$volume"])
    assert both.buy == both.sell == (("current", "$volume"),)
    one = volume_cap({"buy": ("cum", "$volume")})
    assert (one.buy, one.sell) == ((("cum", "$volume"),), ())
    assert volume_cap({"all": ("cum", "a"), "sell": ("current", "b")}).fields == ("a", "b")
    assert volume_cap(None).fields == ()


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (("daily", "$volume"), "'daily'; allowed are current, cum, prior"),
        ({"long": ("cum", "$volume")}, "side 'long'; allowed are all, buy, sell"),
        ({"buy": "cum"}, "a pair .kind, formula. is allowed"),
        (0.1, "received 0.1"),
    ],
)
def test_other_volume_caps_are_refused(threshold, message):
    with pytest.raises(ConfigError, match=message):
        volume_cap(threshold)


def test_deal_prices_that_are_none_are_refused():
    for wrong in (1.0, ("a", "b", "c"), (1, 2)):
        with pytest.raises(ConfigError, match="deal_price: received"):
            deal_prices(wrong)

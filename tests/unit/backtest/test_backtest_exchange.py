"""The exchange: Qlib's arguments, quotes, tradability, prices, and what becomes of an order."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, random_market
from hypothesis import given
from hypothesis import strategies as st

from qlib.backtest import get_exchange
from qlib.backtest.account import Account
from qlib.backtest.decision import Order, OrderHelper
from qlib.backtest.exchange import Exchange
from qlib.backtest.position import InfPosition, Position
from qlib.backtest.quote import BaseQuote, NumpyQuote, PandasQuote
from qlib.errors import ConfigError, InputError, MissingDataError

TIMES = pd.date_range("2024-01-01", periods=4)
NAN = np.nan
FIELDS = {
    #                   A     B     C
    "close": np.array([[10.0, 5.0, NAN], [11.0, NAN, 8.0], [12.0, 5.5, 8.0], [12.0, 5.5, 8.0]]),
    "open": np.array([[9.0, 4.0, NAN], [10.5, NAN, NAN], [11.5, 5.0, 8.5], [12.0, 5.5, 8.0]]),
    "change": np.array([[0.0, 0.0, NAN], [0.1, NAN, 0.0], [0.09, 0.1, -0.1], [0.0, 0.0, 0.0]]),
    "volume": np.array([[100.0, 50, NAN], [200, NAN, 70], [300, 60, 80], [0, 0, 0]]),
    "factor": np.array([[1.0, 0.5, NAN], [1.0, NAN, 2.0], [1.0, 0.5, 2.0], [1.0, 0.5, 2.0]]),
}


def market(drop: tuple[str, ...] = (), **kwargs) -> MemoryProvider:
    fields = {name: values for name, values in FIELDS.items() if name not in drop}
    return MemoryProvider(TIMES.to_numpy(), ["A", "B", "C"], fields, **kwargs)


def exchange(drop: tuple[str, ...] = (), provider=None, **kwargs) -> Exchange:
    costs = {"open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "trade_unit": None}
    return Exchange(provider=provider or market(drop), **{**costs, **kwargs})


def step(day: int, last: int | None = None) -> tuple[pd.Timestamp, pd.Timestamp]:
    end = TIMES[day if last is None else last]
    return TIMES[day], end + pd.Timedelta(hours=23, minutes=59, seconds=59)


def order(stock: str, amount: float, direction, day: int) -> Order:
    return Order(stock, amount, direction, *step(day))


# ---------------------------------------------------------------------------------------------------- questions
def test_an_instrument_without_close_is_suspended_and_an_unknown_one_too():
    ex = exchange()
    assert [ex.check_stock_suspended(name, *step(1)) for name in "ABC"] == [False, True, False]
    assert ex.check_stock_suspended("XX", *step(1))
    assert not ex.is_stock_tradable("XX", *step(1))
    assert not ex.check_stock_suspended("B", *step(1, 2))
    assert ex.get_close("XX", *step(1)) is None


def test_a_limit_blocks_one_side_only():
    ex = exchange(limit_threshold=0.095)
    assert ex.limit_type == Exchange.LT_FLT
    assert ex.is_stock_tradable("A", *step(2))
    assert not ex.is_stock_tradable("A", *step(1))
    assert not ex.is_stock_tradable("A", *step(1), Order.BUY)
    assert ex.is_stock_tradable("A", *step(1), Order.SELL)
    assert not ex.is_stock_tradable("C", *step(2), Order.SELL)
    with pytest.raises(InputError, match="direction: received 7"):
        ex.check_stock_limit("A", *step(1), 7)


def test_a_step_of_several_bars_is_limited_where_all_of_them_are():
    ex = exchange(limit_threshold=0.08)
    assert ex.check_stock_limit("A", *step(1, 2), Order.BUY)
    assert not ex.check_stock_limit("A", *step(0, 2), Order.BUY)


def test_questions_about_several_bars_are_aggregated():
    ex = exchange(subscribe_fields=["$open"])
    assert ex.get_volume("A", *step(0, 2)) == 600
    assert ex.get_volume("B", *step(0, 2)) == 110
    assert ex.get_close("B", *step(0, 1)) == 5.0
    assert ex.get_quote_info("A", *step(0, 2), "$open", method="mean") == pytest.approx((9 + 10.5 + 11.5) / 3)
    assert math.isnan(ex.get_quote_info("B", *step(0, 1), "$close", method="last"))
    series = ex.get_quote_info("A", *step(0, 2), "$close", method=None)
    assert series.tolist() == [10.0, 11.0, 12.0] and list(series.index) == list(TIMES[:3])
    assert ex.get_quote_info("A", *step(1), "$close", method="sum") == 11.0
    assert ex.get_factor("B", *step(0, 1)) == 0.5
    assert ex.get_factor("B", *step(1)) is None
    with pytest.raises(MissingDataError, match=r"the quotes hold no \$opne; did you mean \$open"):
        ex.get_quote_info("A", *step(0), "$opne")
    with pytest.raises(InputError, match="quote method: received 'first'"):
        ex.get_quote_info("A", *step(0), "$close", method="first")


def test_the_deal_price_falls_back_on_the_close():
    ex = exchange(deal_price="open")
    assert ex.get_deal_price("A", *step(1), Order.BUY) == 10.5
    assert ex.get_deal_price("C", *step(1), Order.BUY) == 8.0
    assert ex.get_deal_price("XX", *step(1), Order.BUY) is None
    two = exchange(deal_price=["$open", "$close"])
    assert (two.get_deal_price("A", *step(1), Order.BUY), two.get_deal_price("A", *step(1), Order.SELL)) == (10.5, 11.0)
    assert two.get_deal_price("A", *step(0, 1), Order.SELL, method=None).tolist() == [10.0, 11.0]
    with pytest.raises(InputError, match="direction: received None"):
        two.get_deal_price("A", *step(1), None)


def test_marks_are_closes_and_none_for_the_suspended():
    assert exchange().marks(["C", "B", "XX", "A"], *step(1)) == [8.0, None, None, 11.0]


def test_quotes_can_be_seen_as_a_frame():
    frame = exchange(limit_threshold=0.095).quote_df
    assert frame.index.names == ["instrument", "datetime"]
    assert {"$close", "$volume", "limit_buy", "limit_sell"} <= set(frame.columns)
    assert frame.loc[("A", TIMES[1]), "limit_buy"] and not frame.loc[("A", TIMES[1]), "limit_sell"]
    assert list(NumpyQuote(frame, "day").get_all_stock()) == ["A", "B", "C"]
    again = PandasQuote(frame, "day")
    assert again.get_data("B", *step(0, 2), "$volume", "sum") == 110


# --------------------------------------------------------------------------------------------------------- lots
def test_lots_are_real_shares():
    ex = exchange(trade_unit=10, provider=market_with_factors())
    assert ex.get_amount_of_trade_unit(factor=0.5) == 20
    assert ex.get_amount_of_trade_unit(stock_id="B", start_time=step(0)[0], end_time=step(0)[1]) == 20
    assert ex.round_amount_by_trade_unit(39.9, 0.5) == 20
    assert ex.get_real_deal_amount(50, 5, 0.5) == -40
    assert ex.get_real_deal_amount(55, 0, 0.5) == -55
    assert ex.get_real_deal_amount(5, 50, 0.5) == 40
    assert ex.get_real_deal_amount(5, 5) == 0
    with pytest.raises(InputError, match="a lot needs factor"):
        ex.round_amount_by_trade_unit(10.0)
    with pytest.raises(InputError, match=r"no \$factor of XX"):
        ex.round_amount_by_trade_unit(10.0, stock_id="XX", start_time=TIMES[0], end_time=TIMES[0])


def market_with_factors(**kwargs) -> MemoryProvider:
    fields = {**FIELDS, "factor": np.broadcast_to([1.0, 0.5, 2.0], (4, 3)).copy()}
    return MemoryProvider(TIMES.to_numpy(), ["A", "B", "C"], fields, **kwargs)


def test_without_factors_amounts_are_adjusted_and_not_rounded():
    ex = exchange(drop=("factor",), trade_unit=100)
    assert ex.trade_w_adj_price
    assert ex.round_amount_by_trade_unit(12.3) == 12.3
    assert ex.get_amount_of_trade_unit() is None


def test_a_market_that_never_closes_has_real_prices_without_factors():
    ex = exchange(provider=market(drop=("factor",), region="crypto"), trade_unit=0.5)
    assert not ex.trade_w_adj_price
    assert ex.round_amount_by_trade_unit(1.3, ex.get_factor("A", *step(0))) == 1.0


def test_a_limit_without_stored_change_uses_the_closes():
    ex = exchange(drop=("change",), limit_threshold=0.095)
    assert [ex.is_stock_tradable("A", *step(day)) for day in range(3)] == [True, False, True]
    qlib = exchange(provider=market(drop=("change",), compat="qlib"), limit_threshold=0.095)
    assert all(qlib.is_stock_tradable("A", *step(day)) for day in range(3))


# ------------------------------------------------------------------------------------------------------ dealing
def test_a_blocked_order_trades_nothing():
    ex = exchange()
    one = order("B", 5.0, Order.BUY, 1)
    value, cost, price = ex.deal_order(one, position=Position(cash=100.0))
    assert (value, cost, one.deal_amount) == (0.0, 0.0, 0.0) and math.isnan(price)


def test_an_order_pays_value_and_cost():
    ex = exchange(open_cost=0.01, min_cost=1.0)
    account = Account(init_cash=1000.0, port_metr_enabled=False)
    one = order("A", 20.0, Order.BUY, 0)
    assert ex.deal_order(one, trade_account=account) == (200.0, pytest.approx(2.0), 10.0)
    assert (one.deal_amount, one.factor) == (20.0, 1.0)
    assert account.get_cash() == pytest.approx(798.0)
    small = order("A", 1.0, Order.BUY, 0)
    assert ex.deal_order(small, trade_account=account)[1] == 1.0
    assert account.accum_info.get_turnover == 210.0


def test_cash_is_spent_to_the_last_cent_and_never_beyond():
    for cost, least in ((0.0, 0.0), (0.01, 0.0), (0.01, 7.0), (0.0, 7.0)):
        ex = exchange(open_cost=cost, min_cost=least)
        held = Position(cash=97.3)
        ex.deal_order(order("A", 12.0, Order.BUY, 0), position=held)
        assert 0 <= held.get_cash() < 1e-9


@given(st.floats(1.0, 1e7), st.floats(0.01, 1e4), st.sampled_from([0.0, 0.0005, 0.0015, 0.01]))
def test_a_buy_that_takes_all_the_cash_leaves_no_debt(cash, price, cost):
    fields = {"close": np.full((4, 1), price)}
    ex = exchange(provider=MemoryProvider(TIMES.to_numpy(), ["A"], fields), open_cost=cost)
    held = Position(cash=cash)
    ex.deal_order(order("A", 2 * cash / price, Order.BUY, 0), position=held)
    assert 0 <= held.get_cash() <= 1e-9 * cash


def test_by_qlibs_rules_a_last_digit_of_debt_may_be_left():
    left = []
    for cents in range(200):
        fields = {"close": np.full((4, 1), 7.3 + cents / 100), "factor": np.ones((4, 1))}
        held = Position(cash=100.1)
        provider = MemoryProvider(TIMES.to_numpy(), ["A"], fields, compat="qlib")
        ex = exchange(provider=provider, open_cost=0.0015)
        ex.deal_order(order("A", 1000.0, Order.BUY, 0), position=held)
        left.append(held.get_cash())
    assert -1e-12 < min(left) < 0


def test_an_order_that_cannot_pay_its_cost_trades_nothing():
    ex = exchange(min_cost=50.0)
    held = Position(cash=20.0, position_dict={"A": {"amount": 1.0, "price": 10.0}})
    buy, sell = order("A", 1.0, Order.BUY, 0), order("A", 1.0, Order.SELL, 0)
    assert ex.deal_order(buy, position=held)[0] == 0.0
    assert ex.deal_order(sell, position=held)[0] == 0.0
    assert held.get_stock_amount("A") == 1.0


def test_selling_more_than_is_held_sells_all_of_it():
    ex = exchange(trade_unit=200, provider=market_with_factors())
    held = Position(cash=0.0, position_dict={"A": {"amount": 123.0, "price": 10.0}})
    assert ex.deal_order(order("A", 500.0, Order.SELL, 0), position=held)[0] == 1230.0
    qlib = exchange(trade_unit=200, provider=market_with_factors(compat="qlib"))
    held = Position(cash=0.0, position_dict={"A": {"amount": 123.0, "price": 10.0}})
    assert qlib.deal_order(order("A", 500.0, Order.SELL, 0), position=held)[0] == 0.0


def test_volume_caps_cut_an_order():
    now = exchange(volume_threshold=["current", "0.1*$volume"])
    one = order("A", 50.0, Order.BUY, 0)
    now.deal_order(one)
    assert one.deal_amount == pytest.approx(10.0)
    both = Order("A", 500.0, Order.BUY, *step(0, 2))
    now.deal_order(both)
    assert both.deal_amount == pytest.approx(60.0)
    rest = exchange(volume_threshold=("cum", "0.1*$volume"))
    rest.deal_order(one, dealt_order_amount={"A": 7.0})
    assert one.deal_amount == pytest.approx(3.0)
    rest.deal_order(one, dealt_order_amount={"A": 17.0})
    assert one.deal_amount == 0.0
    one_side = exchange(volume_threshold={"sell": ("current", "0.1*$volume")})
    one_side.deal_order(one)
    assert one.deal_amount == 50.0


def test_impact_costs_more_the_larger_the_share_of_the_bar():
    ex = exchange(impact_cost=0.1)
    value, cost, _ = ex.deal_order(order("A", 50.0, Order.BUY, 0))
    assert (value, cost) == (500.0, pytest.approx(500 * 0.1 * 0.25))
    assert ex.deal_order(order("A", 50.0, Order.BUY, 3))[1] == pytest.approx(600 * 0.1)


def test_an_infinite_position_trades_what_is_asked():
    one = order("A", 50.0, Order.SELL, 0)
    exchange().deal_order(one, position=InfPosition())
    assert one.deal_amount == 50.0


def test_account_and_position_together_are_refused():
    with pytest.raises(InputError, match="a trade_account or a position, not both"):
        exchange().deal_order(order("A", 1.0, Order.BUY, 0), trade_account=Account(1.0), position=Position(cash=1.0))


# ----------------------------------------------------------------------------------------------- target amounts
def test_weights_become_whole_amounts_over_the_tradable_names():
    ex = exchange()
    made = ex.generate_amount_position_from_weight_position({"A": 0.4, "B": 0.2, "C": 0.4}, 100.0, *step(1))
    assert made == {"A": 4.0, "C": 6.0}  # B is suspended: its weight goes to the others
    with pytest.raises(InputError, match="weight of A: received 1.2"):
        ex.generate_amount_position_from_weight_position({"A": 1.2}, 100.0, *step(1))
    with pytest.raises(InputError, match="add up to 1.4"):
        ex.generate_amount_position_from_weight_position({"A": 0.7, "C": 0.7}, 100.0, *step(1))


def test_target_amounts_become_sells_then_buys_and_the_global_random_state_is_left_alone():
    import random

    ex = exchange()
    random.seed(5)
    before = random.getstate()
    orders = ex.generate_order_for_target_amount_position({"A": 5, "C": 2, "B": 4}, {"A": 7, "B": 1}, *step(1))
    assert random.getstate() == before
    assert [(one.stock_id, one.amount, one.direction) for one in orders] == [("A", 2, Order.SELL), ("C", 2, Order.BUY)]


def test_values_count_a_suspended_holding_at_its_last_close():
    ex = exchange()
    amounts = {"A": 1.0, "B": 10.0, "XX": 5.0}
    assert ex.calculate_amount_position_value(amounts, *step(1)) == 11 + 50
    assert ex.calculate_amount_position_value(amounts, *step(1), only_tradable=True) == 11


# ---------------------------------------------------------------------------------------------------- arguments
def test_the_regions_rules_are_the_default():
    cn = Exchange(provider=market_with_factors(region="cn"))
    assert (cn.trade_unit, cn.limit_threshold, cn.buy_price) == (100, 0.095, "$close")
    us = Exchange(provider=market_with_factors(region="us"))
    assert (us.trade_unit, us.limit_threshold, us.limit_type) == (1, None, "none")
    free = Exchange(provider=market(region="crypto", drop=("factor", "change")))
    assert (free.trade_unit, free.limit_threshold) == (None, None)
    assert (free.open_cost, free.close_cost, free.min_cost, free.impact_cost) == (0.0015, 0.0025, 5.0, 0.0)
    off = Exchange(provider=market_with_factors(region="cn"), limit_threshold=float("inf"))
    assert off.is_stock_tradable("A", *step(1))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"trade_units": 1}, "Exchange takes no argument trade_units; did you mean trade_unit"),
        ({"opencost": 1}, "did you mean open_cost"),
        ({"quote_cls": BaseQuote}, "quote_cls: received"),
        ({"start_time": "2024-01-03", "end_time": "2024-01-01"}, "start_time 2024-01-03 00:00:00 is after end_time"),
        ({"open_cost": -1}, "open_cost: received -1"),
        ({"deal_price": 3}, "deal_price: received 3"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        exchange(**kwargs)


def test_an_exchange_with_nothing_to_trade_says_so():
    for codes in (["XX"], []):
        with pytest.raises(MissingDataError, match="the exchange has no day close of"):
            exchange(codes=codes)
    with pytest.raises(MissingDataError, match="from 2030-01-01 00:00:00"):
        exchange(start_time="2030-01-01", end_time="2030-02-01")


def test_extra_quotes_are_traded_like_the_others():
    index = pd.MultiIndex.from_product([["X"], TIMES], names=["instrument", "datetime"])
    extra = pd.DataFrame({"$close": [1.0, 2.0, 3.0, NAN], "$volume": 10.0}, index=index)
    ex = exchange(extra_quote=extra)
    assert ex.get_close("X", *step(1)) == 2.0
    assert ex.get_factor("X", *step(1)) == 1.0
    assert ex.is_stock_tradable("X", *step(1)) and not ex.is_stock_tradable("X", *step(3))
    assert ex.get_close("A", *step(1)) == 11.0
    with pytest.raises(ConfigError, match="extra_quote: received columns"):
        exchange(extra_quote=extra.drop(columns="$close"))
    with pytest.raises(ConfigError, match="has a quote already"):
        exchange(extra_quote=extra.rename(index={"X": "A"}))
    with pytest.raises(ConfigError, match=r"lacks the columns \['\$volume'\] and has \['y'\]"):
        exchange(extra_quote=extra.drop(columns="$volume").assign(y=1.0))


def test_get_exchange_makes_one_or_passes_one_through():
    made = get_exchange(provider=market(), freq="day", trade_unit=None)
    assert get_exchange(made) is made
    config = {"class": "Exchange", "module_path": "qlib.backtest.exchange", "kwargs": {"provider": market()}}
    assert isinstance(get_exchange(config), Exchange)


def test_the_order_helper_makes_orders():
    helper = exchange().get_order_helper()
    assert isinstance(helper, OrderHelper)
    one = helper.create("A", 3.0, Order.BUY, start_time="2024-01-01", end_time="2024-01-02")
    assert (one.start_time, one.end_time) == (TIMES[0], TIMES[1])


def test_a_large_market_is_loaded_whole():
    provider = random_market(1, bars=50, names=40, gaps=0.2)
    ex = Exchange(provider=provider, codes="all")
    got = ex.quote_df["$close"].unstack("instrument")[provider.names].to_numpy()
    np.testing.assert_array_equal(got, provider.values["close"].astype(np.float32))

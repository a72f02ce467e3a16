"""Positions and their history."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from backtest_market import random_market
from hypothesis import given
from hypothesis import strategies as st

from qlib.backtest.decision import Order
from qlib.backtest.position import InfPosition, Position, PositionHistory, nearly_equal
from qlib.errors import ConfigError, InputError, MissingDataError, RunError

DAY = pd.Timestamp("2024-01-01")


def order(stock: str, amount: float, direction) -> Order:
    return Order(stock, amount, direction, DAY, DAY)


def test_buying_and_selling_move_cash_and_amounts():
    held = Position(cash=1000.0)
    held.update_order(order("A", 10, Order.BUY), 200.0, 1.0, 20.0)
    held.update_order(order("A", 5, Order.BUY), 110.0, 1.0, 22.0)
    assert held.position["A"] == {"amount": 15.0, "price": 20.0, "weight": 0.0}
    assert held.get_cash() == 1000 - 201 - 111
    held.update_stock_price("A", 22.0)
    assert held.calculate_value() == 688 + 330
    held.update_order(order("A", 5, Order.SELL), 110.0, 2.0, 22.0)
    assert held.get_stock_amount("A") == 10
    held.update_order(order("A", 10, Order.SELL), 220.0, 2.0, 22.0)
    assert held.get_stock_list() == []
    assert not held.check_stock("A") and not held.check_stock("cash")
    assert held.get_stock_amount("A") == 0.0


def test_selling_what_is_not_there_is_refused():
    held = Position(cash=0.0, position_dict={"A": {"amount": 10.0, "price": 1.0}})
    with pytest.raises(KeyError, match="B cannot be sold: the position does not hold it"):
        held.update_order(order("B", 1, Order.SELL), 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="11.0 cannot be sold, the position holds 10.0"):
        held.update_order(order("A", 11, Order.SELL), 11.0, 0.0, 1.0)


def test_proceeds_wait_for_settlement():
    held = Position(cash=100.0, position_dict={"A": {"amount": 10.0, "price": 2.0}})
    held.settle_start("cash")
    with pytest.raises(RunError, match="already open"):
        held.settle_start("cash")
    held.update_order(order("A", 10, Order.SELL), 20.0, 1.0, 2.0)
    assert (held.get_cash(), held.get_cash(include_settle=True), held.calculate_value()) == (100.0, 119.0, 119.0)
    held.settle_commit()
    assert held.get_cash() == 119.0
    assert "cash_delay" not in held.position
    with pytest.raises(ConfigError, match="settle_type: received 'stock'"):
        held.settle_start("stock")


def test_a_sale_that_costs_more_than_it_earns_is_paid_at_once():
    held = Position(cash=100.0, position_dict={"A": {"amount": 10.0, "price": 2.0}})
    held.settle_start("cash")
    held.update_order(order("A", 10, Order.SELL), 20.0, 90.0, 2.0)
    assert (held.get_cash(), held.get_cash(include_settle=True)) == (30.0, 30.0)
    held.settle_commit()
    assert held.get_cash() == 30.0


def test_weights_are_shares_of_the_account_or_of_the_holdings():
    held = Position(cash=50.0, position_dict={"A": {"amount": 1, "price": 30.0}, "B": {"amount": 2, "price": 10.0}})
    assert held.get_stock_weight_dict() == {"A": 0.3, "B": 0.2}
    assert held.get_stock_weight_dict(only_stock=True) == {"A": 0.6, "B": 0.4}
    held.update_weight_all()
    assert held.get_stock_weight("A") == 0.3
    assert Position(cash=0.0).get_stock_weight_dict() == {}


def test_counts_are_kept_per_bar_size():
    held = Position(cash=0.0, position_dict={"A": {"amount": 1, "price": 30.0}})
    held.add_count_all("day")
    held.add_count_all("day")
    held.update_stock_count("A", "60min", 7)
    assert (held.get_stock_count("A", "day"), held.get_stock_count("A", "60min"), held.get_stock_count("A", "x")) == (
        2,
        7,
        0,
    )


def test_a_deep_copy_is_apart_and_keeps_what_a_subclass_added():
    class Mine(Position):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.notes = ["a"]

    first = Mine(cash=1.0, position_dict={"A": {"amount": 1, "price": 2.0}})
    second = copy.deepcopy(first)
    second.position["A"]["amount"] = 9
    second.position["cash"] = 5
    second.notes.append("b")
    assert first.position["A"]["amount"] == 1 and first.get_cash() == 1.0 and first.notes == ["a"]
    assert type(second) is Mine


@pytest.mark.parametrize(
    ("holdings", "message"),
    [({"cash": 1}, "cannot be called 'cash'"), ({"A": {"price": 1}}, "'amount' is needed"), ({"A": -1}, "at least 0")],
)
def test_strange_initial_holdings_are_refused(holdings, message):
    with pytest.raises(ConfigError, match=message):
        Position(cash=1.0, position_dict=holdings)


def test_unpriced_holdings_are_priced_at_their_last_close_before_the_start():
    provider = random_market(3, bars=10)
    provider.values["close"][4:6, 0] = np.nan
    held = Position(cash=1.0, position_dict={"N0": 2, "N1": {"amount": 1, "price": 7.0}})
    held.fill_stock_value(provider.clock.times[6], "day", provider=provider)
    last = float(np.float32(provider.values["close"][3, 0]))
    assert held.get_stock_price("N0") == last
    assert held.get_stock_price("N1") == 7.0
    assert held.calculate_value() == pytest.approx(1 + 7 + 2 * last)
    with pytest.raises(MissingDataError, match="no day close of XX in the 30 days before"):
        Position(cash=1.0, position_dict={"XX": 2}).fill_stock_value(provider.clock.times[6], "day", provider=provider)


def test_an_infinite_position_never_runs_out():
    endless = InfPosition()
    assert endless.skip_update() and endless.check_stock("A")
    assert endless.get_cash() == endless.get_stock_amount("A") == np.inf
    endless.update_order(order("A", 1, Order.BUY), 1.0, 0.0, 1.0)
    with pytest.raises(NotImplementedError, match="pos_type='Position'"):
        endless.calculate_value()


NAMES = st.sampled_from(["A", "B", "C", "D"])
HOLDINGS = st.dictionaries(
    NAMES,
    st.fixed_dictionaries({"amount": st.floats(0, 1e9), "price": st.floats(1e-6, 1e6), "weight": st.floats(0, 1)}),
)


@given(st.lists(st.tuples(st.floats(0, 1e9), HOLDINGS, st.booleans()), max_size=6))
def test_a_history_gives_back_what_was_recorded(steps):
    history = PositionHistory()
    wanted = {}
    for day, (cash, holdings, counted) in enumerate(steps):
        held = Position(cash=cash, position_dict=holdings)
        if counted:
            held.add_count_all("day")
        elif holdings:
            held.update_stock_count(next(iter(holdings)), "day", 3)  # holdings of unequal kinds
        time = DAY + pd.Timedelta(days=day)
        history.record(time, held)
        wanted[time] = copy.deepcopy(held.position)
        held.position["cash"] = -1.0  # what happens later does not change the past
    for past in (history, pickle.loads(pickle.dumps(history))):
        assert list(past) == list(wanted) and len(past) == len(wanted)
        for time, position in past.items():
            assert type(position) is Position
            assert position.position == wanted[time]
            assert time in past


@given(st.lists(st.tuples(HOLDINGS, st.booleans()), max_size=6))
def test_the_columns_of_a_history_are_those_of_its_positions(steps):
    history, wanted = PositionHistory(), []
    for day, (holdings, counted) in enumerate(steps):
        held = Position(position_dict=holdings)
        if counted:
            held.add_count_all("day")
        elif holdings:
            held.update_stock_count(next(iter(holdings)), "day", 3)  # holdings of unequal kinds
        history.record(DAY + pd.Timedelta(days=day), held)
        wanted += [(day, one["price"], one.get("count_day", np.nan), one["amount"], np.nan) for one in held.holdings()]
    history.record(DAY - pd.Timedelta(days=1), InfPosition())  # holds no instrument that could be listed
    for past in (history, pickle.loads(pickle.dumps(history))):
        rows, values = past.columns("price", "count_day", "amount", "limit")
        assert rows.dtype == np.int64 and list(values) == ["price", "count_day", "amount", "limit"]
        found = np.column_stack([rows, *values.values()])
        np.testing.assert_array_equal(found, np.array(wanted, dtype=float).reshape(-1, 5))


def test_a_history_behaves_like_a_dict():
    history = PositionHistory()
    history.record(DAY, Position(cash=3.0))
    assert history["2024-01-01"].get_cash() == 3.0
    assert history.get(pd.Timestamp("2025-01-01")) is None
    history[DAY] = {"anything": 1}
    assert history[DAY] == {"anything": 1}
    del history[DAY]
    assert not history and "empty" in repr(history)
    history.record(DAY, InfPosition())
    assert isinstance(history[DAY], InfPosition)


def test_orders_check_themselves():
    with pytest.raises(InputError, match="received -5 for A; a number of at least 0 is allowed"):
        order("A", -5, Order.BUY)
    with pytest.raises(InputError, match="direction of an order: received 2"):
        order("A", 5, 2)
    one = order("A", 5.0, Order.SELL)
    assert (one.sign, one.amount_delta, one.date) == (-1, -5.0, DAY)
    assert one.key_by_day == ("A", DAY, Order.SELL) and one.key == ("A", DAY, DAY, Order.SELL)
    assert [Order.parse_dir(x).name for x in ("buy", " SELL", 1, -0.5, Order.BUY)] == [
        "BUY",
        "SELL",
        "BUY",
        "SELL",
        "BUY",
    ]
    assert Order.parse_dir(np.array([1.0, -1.0])).tolist() == [1, 0]
    with pytest.raises(InputError, match="did you mean buy"):
        Order.parse_dir("buyy")


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_nearly_equal_is_numpys_isclose(a, b):
    assert nearly_equal(a, b) == np.isclose(a, b)
    assert not nearly_equal(a, np.inf)

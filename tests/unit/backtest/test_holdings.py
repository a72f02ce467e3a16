"""The compiled end of a step beside the same lines in Python: equal to the last bit."""

from __future__ import annotations

import copy
import math
import struct

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qlib.backtest.holdings import close_at, close_bar, marks, pack, weigh, worth

from qlib.backtest.position import Position, PositionHistory

numbers = st.floats(-1e12, 1e12) | st.integers(-5, 5)
prices = st.floats(1e-9, 1e9)
holding = st.fixed_dictionaries({"amount": numbers, "price": prices, "weight": st.floats(0, 1)})
tables = st.dictionaries(st.sampled_from("ABCDEFGH"), holding)


OWN = frozenset({"cash", "now_account_value"})


def with_own(table, order=True):
    """A position's table: its own numbers stand before, or among, the holdings."""
    own = {"cash": 5.0, "now_account_value": 7.0}
    return {**own, **table} if order else {**table, **own}


def slowly(holdings, new, count):
    earned = value = 0.0
    for held, price in zip(holdings, new, strict=True):
        amount = held["amount"]
        if price is not None:
            earned += amount * (price - held.get("price", price))
            held["price"] = price
        value += amount * held["price"]
        held[count] = held.get(count, 0) + 1
    return earned, value


@given(tables, st.data(), st.booleans(), st.booleans())
def test_marking_equals_the_same_lines_in_python(table, data, counted, order):
    new = [data.draw(prices | st.none()) for _ in table]
    if counted:
        for held in table.values():
            held["count_day"] = 3
    ours, theirs = copy.deepcopy(table), copy.deepcopy(table)
    assert close_bar(with_own(ours, order), OWN, new, "count_day") == slowly(theirs.values(), new, "count_day")
    assert ours == theirs


@given(tables, st.sampled_from([np.float32, np.float64]), st.data())
def test_marking_by_a_row_equals_marking_by_a_list(table, kind, data):
    listed = [name for name in sorted(table) if data.draw(st.booleans())]
    row = np.array([data.draw(prices | st.just(math.nan)) for _ in listed], kind)
    column = {name: place for place, name in enumerate(listed)}
    new = marks(column, row, [*table])
    ours, theirs = copy.deepcopy(table), copy.deepcopy(table)
    stale = [held["amount"] * held["price"] for held, price in zip(table.values(), new, strict=True) if price is None]
    found = close_at(with_own(ours), OWN, column, row, "count_day")
    assert found == (*close_bar(with_own(theirs), OWN, new, "count_day"), len(stale), sum(stale))
    assert ours == theirs


@given(tables, st.floats(-1e9, 1e9))
def test_weights_are_shares_of_the_account_and_nothing_of_an_empty_one(table, total):
    wanted = [held["amount"] * held["price"] / total if total else 0.0 for held in table.values()]
    weigh(with_own(table), OWN, total)
    assert [held["weight"] for held in table.values()] == wanted


@given(tables, st.sampled_from([np.float32, np.float64]), st.data())
def test_prices_of_a_row_by_name(table, kind, data):
    names = sorted({*table, "ZZ"})
    listed = [name for name in names if data.draw(st.booleans())]
    row = np.array([data.draw(prices | st.just(math.nan)) for _ in listed], kind)
    column = {name: place for place, name in enumerate(listed)}
    seen = {name: float(price) for name, price in zip(listed, row, strict=True) if not np.isnan(price)}
    assert marks(column, row, names) == [seen.get(name) for name in names]
    wanted = [seen.get(name, held["price"]) * held["amount"] for name, held in table.items()]
    assert worth(table, column, row, [*table]) == wanted


@given(tables, st.booleans())
def test_numbers_are_packed_as_they_lie(table, order):
    flat = [float(number) for held in table.values() for number in (held["amount"], held["price"], held["weight"])]
    packed = pack(with_own(table, order), OWN, ("amount", "price", "weight"))
    assert packed == struct.pack(f"{len(flat)}d", *flat)


def test_holdings_of_unequal_kinds_are_not_packed():
    one = {"amount": 1.0, "price": math.nan}
    assert pack({"A": one}, OWN, ("amount", "price")) == struct.pack("2d", 1.0, math.nan)
    assert pack({"A": one, "B": {"amount": 1.0}}, OWN, ("amount", "price")) is None
    assert pack({"A": one, "B": {"amount": 1.0, "limit": 2.0}}, OWN, ("amount", "price")) is None
    assert pack({"A": one, "B": {**one, "limit": 2.0}}, OWN, ("amount", "price")) is None
    assert pack({"cash": 1.0}, OWN, ()) == b""


kinds = {"price": prices, "limit": prices, "count_day": st.integers(0, 9), "count_30min": st.integers(0, 9)}


@given(st.lists(st.fixed_dictionaries({"amount": numbers}, optional=kinds), max_size=5))
def test_a_history_gives_back_what_was_held_whatever_each_holding_has(held):
    history, position, wanted = PositionHistory(), Position(cash=5.0), {}
    position.position.update({f"N{i}": one for i, one in enumerate(held)})
    for day in pd.date_range("2024-01-01", periods=3):
        history.record(day, position)
        wanted[day] = copy.deepcopy(position.position)
        for one in held[::2]:
            one[f"later_{day.day}"] = 1.5
    assert {day: kept.position for day, kept in history.items()} == wanted


def test_every_holding_needs_its_price():
    with pytest.raises(ValueError, match="received 1 prices for 0 holdings"):
        close_bar({}, OWN, [1.0], "count_day")
    with pytest.raises(ValueError, match="received 0 prices for more holdings"):
        close_bar({"A": {"amount": 1.0, "price": 1.0}}, OWN, [], "count_day")
    with pytest.raises(KeyError, match="amount"):
        close_bar({"A": {"price": 1.0}}, OWN, [None], "count_day")

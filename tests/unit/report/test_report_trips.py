"""Round trips of a back-test, against a loop over fills and prices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases
from test_report_parts import DAYS, by_hand

from qlib.backtest.position import Position, PositionHistory
from qlib.contrib.report.artifacts import Portfolio
from qlib.contrib.report.holding_numbers import holding_numbers
from qlib.contrib.report.trip_numbers import trip_numbers, trips

NAMES = ("A", "B", "C")
FILL = st.tuples(
    st.integers(0, 5), st.sampled_from(NAMES), st.integers(-6, 6).filter(bool), st.integers(50, 150), st.floats(0, 3)
)


def portfolio(fills, prices, held=None):
    """Fills are (step, instrument, amount with its sign, price, fee); prices are those at the end of each step."""
    amounts = dict.fromkeys(NAMES, 0.0) | (held or {})
    rows, history = [], PositionHistory()
    for step, day in enumerate(DAYS):
        for at, name, amount, price, fee in fills:
            if at == step:
                amounts[name] += amount
                side = "buy" if amount > 0 else "sell"
                rows.append((day, name, side, abs(amount), float(price), abs(amount) * price, fee))
        table = {n: {"amount": a, "price": prices[n][step]} for n, a in amounts.items() if a}
        history.record(day, Position(cash=0.0, position_dict=table, short=True))
    log = pd.DataFrame(rows, columns=["time", "instrument", "side", "amount", "price", "value", "fee"])
    return Portfolio("day", pd.DataFrame(index=DAYS), positions=history, trades=log)


def naive(fills, prices):
    """One dict a trip, looked at after every step."""
    found = []
    for name in NAMES:
        amount, trip = 0, None
        for step in range(len(DAYS)):
            for at, who, moved, price, fee in fills:
                if (at, who) != (step, name):
                    continue
                parts = [(moved, fee)]
                if amount * (amount + moved) < 0:
                    parts = [(-amount, fee * abs(amount / moved)), (amount + moved, fee * (1 - abs(amount / moved)))]
                for part, cost in parts:
                    if amount == 0:
                        trip = {"name": name, "side": np.sign(part), "first": step, "cash": 0.0, "size": 0.0,
                                "low": 0.0, "high": 0.0, "finished": False}  # fmt: skip
                        found.append(trip)
                    grows = abs(amount + part) > abs(amount)
                    amount += part
                    trip["cash"] -= part * price + cost
                    trip["last"] = step
                    trip["money"] = trip["cash"]
                    if grows:
                        trip["size"] = max(trip["size"], abs(amount * price))
                    if amount == 0:
                        trip["finished"] = True
                        trip["low"], trip["high"] = min(trip["low"], trip["cash"]), max(trip["high"], trip["cash"])
            if amount:
                trip["money"] = trip["cash"] + amount * prices[name][step]
                trip["low"], trip["high"] = min(trip["low"], trip["money"]), max(trip["high"], trip["money"])
    return found


@settings(max_examples=cases(150, 3000), deadline=None)
@given(
    st.lists(FILL, min_size=1, max_size=25),
    st.lists(st.lists(st.integers(50, 150), min_size=6, max_size=6), min_size=3, max_size=3),
)
def test_trips_are_those_of_a_loop(fills, walks):
    fills = sorted(fills, key=lambda one: one[0])
    prices = {name: [float(price) for price in walk] for name, walk in zip(NAMES, walks, strict=True)}
    found, wanted = trips(portfolio(fills, prices)), naive(fills, prices)
    assert found.instrument.tolist() == [one["name"] for one in wanted]
    for ours, theirs in (("side", "side"), ("first", "first"), ("last", "last"), ("finished", "finished")):
        assert getattr(found, ours).tolist() == [one[theirs] for one in wanted], ours
    for ours, theirs in (("money", "money"), ("size", "size"), ("against", "low"), ("ahead", "high")):
        np.testing.assert_allclose(getattr(found, ours), [one[theirs] for one in wanted], atol=1e-7, err_msg=ours)


def test_a_trip_by_hand():
    """50 A bought at 10 (fee 1): behind by the fee at first, 49 and 99 ahead later, sold at 12 for 1.5: 97.5 of 500."""
    found = trip_numbers(by_hand())
    assert (found["finished"], found["open"], found["won_share"], found["gain_over_loss"]) == (1, 1, 1.0, None)
    rows = {name: column[0] for name, column in found["rows"].items()}
    assert (rows["instrument"], rows["side"], rows["opened"], rows["closed"], rows["steps"]) == (
        "A", "long", "2024-01-01", "2024-01-04", 3,
    )  # fmt: skip
    assert [rows[name] for name in ("money", "share", "against", "ahead")] == pytest.approx(
        [97.5, 97.5 / 500, -1 / 500, 97.5 / 500]
    )


def test_a_holding_from_before_the_first_fill_is_no_trip():
    prices = {name: [100.0] * 6 for name in NAMES}
    fills = [(1, "A", -5, 100, 0.0), (2, "A", 3, 100, 0.0), (3, "A", -3, 101, 0.0)]
    found = trips(portfolio(fills, prices, held={"A": 5.0}))
    assert (found.first.tolist(), found.money.tolist()) == ([2], [3.0])


def test_what_is_held_long_and_short_stays_as_long_as_it_takes_to_close_it():
    """2 A long and 2 B short at 100 for six steps; one of each is closed: 100 + 100 of value in six steps.

    The net value is 0: divided by it, money would seem to stay for no time at all.
    """
    prices = {name: [100.0] * 6 for name in NAMES}
    fills = [(0, "A", 2, 100, 0.0), (0, "B", -2, 100, 0.0), (3, "A", -1, 100, 0.0), (3, "B", 1, 100, 0.0)]
    held = portfolio(fills, prices)
    held.report[["account", "value", "return", "cost"]] = 1000.0, 0.0, 0.0, 0.0
    mean_value = (3 * 400 + 3 * 200) / 6
    assert holding_numbers(held)["steps_held"] == pytest.approx(mean_value / (200 / 6))

"""Positions below zero: crossing zero is exact, the books are an identity, and margin bounds what is opened."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from backtest_market import Given, MemoryProvider, random_market, run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qlib.backtest.decision import Order
from qlib.backtest.exchange import Exchange
from qlib.backtest.executor import NestedExecutor, SimulatorExecutor
from qlib.backtest.position import Position
from qlib.backtest.rules.short import Borrow, Leverage, Short
from qlib.contrib.strategy import TWAPStrategy
from qlib.errors import ConfigError, MissingDataError

FREE = {"open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "trade_unit": None, "limit_threshold": float("inf")}
CASES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def prices(*rows: float, **kwargs) -> MemoryProvider:
    close = np.array(rows, dtype=float)[:, None]
    times = pd.date_range("2024-01-01", periods=len(rows)).to_numpy()
    ones = np.ones_like(close)
    return MemoryProvider(times, ["A"], {"close": close, "factor": ones, "volume": 1000 * ones}, **kwargs)


def trade(provider, orders, **exchange):
    executor = SimulatorExecutor("day", generate_portfolio_metrics=True)
    report, positions, fills, _ = run(
        provider, Given(orders), executor=executor, account=1000.0, exchange_kwargs={**FREE, **exchange}
    )
    return report, positions, fills, executor.trade_account


def test_a_short_earns_what_the_price_loses():
    report, positions, _, account = trade(prices(10, 10, 8, 5), {0: [("A", -50)], 2: [("A", 50)]}, short=True)
    assert report["account"].tolist() == [1000.0, 1100.0, 1250.0]
    assert report["cash"].tolist() == [1500.0, 1500.0, 1250.0]
    assert positions[report.index[0]].get_stock_amount("A") == -50
    assert positions[report.index[1]].get_stock_weight_dict()["A"] == pytest.approx(-400 / 1100)
    assert positions[report.index[2]].get_stock_list() == []
    assert account.get_attribution()["price"].tolist() == [0.0, 100.0, 150.0]


def test_crossing_zero_is_exact_both_ways():
    orders = {0: [("A", 30.1)], 1: [("A", -50.3)], 2: [("A", 45.7)], 3: [("A", -25.5)]}
    report, positions, fills, _ = trade(prices(10, 10, 11, 12, 13), orders, short=True)
    amounts = [positions[time].get_stock_amount("A") for time in report.index]
    assert amounts == pytest.approx([30.1, -20.2, 25.5, 0.0])
    assert positions[report.index[3]].get_stock_list() == []
    assert [order.deal_amount for order, *_ in fills] == [30.1, 50.3, 45.7, pytest.approx(25.5)]
    counts = [positions[time].get_stock_count("A", "day") for time in report.index[:3]]
    assert counts == [1, 1, 1]  # what lies on the other side of zero is a new holding


def test_without_shorts_nothing_is_sold_that_is_not_held():
    report, _, fills, _ = trade(prices(10, 10, 8), {0: [("A", -50)]})
    assert fills[0][0].deal_amount == 0
    assert fills[0][0].reason == "not held"
    assert report["account"].tolist() == [1000.0, 1000.0]
    order = Order("A", 1.0, Order.SELL, report.index[0], report.index[0])
    with pytest.raises(MissingDataError, match="does not hold it"):
        Position(cash=10.0).update_order(order, 10.0, 0.0, 10.0)
    with pytest.raises(ConfigError, match="at least 0"):
        Position(cash=10.0, position_dict={"A": -1.0})
    assert Position(cash=10.0, position_dict={"A": {"amount": -1.0, "price": 4.0}}, short=True).calculate_value() == 6


def test_a_sale_so_large_that_its_price_falls_to_nothing_opens_no_short():
    report, _, fills, _ = trade(prices(10, 10, 10), {1: [("A", -9000)]}, short=True, fills={"half_spread": 1.0})
    assert (report["account"] == 1000.0).all() and not any(order.deal_amount for order, *_ in fills)


def test_lots_round_what_is_opened_and_never_what_is_closed():
    orders = {0: [("A", 250)], 1: [("A", -520)], 2: [("A", 999)]}
    _, positions, fills, _ = trade(prices(1, 1, 1, 1), orders, short=True, trade_unit=100)
    assert [order.deal_amount for order, *_ in fills] == [200, 500, 900]  # 200 closed and 300 opened, then 300 and 600
    assert [position.get_stock_amount("A") for position in positions.values()] == [200, -300, 600]


@pytest.mark.parametrize(("leverage", "opened"), [(1.0, 100.0), (0.5, 50.0), (3.0, 300.0)])
def test_margin_bounds_what_is_opened(leverage, opened):
    report, _, fills, _ = trade(prices(10, 10, 10), {0: [("A", -1e6)], 1: [("A", 1e6)]}, short={"leverage": leverage})
    assert fills[0][0].deal_amount == pytest.approx(opened)
    assert fills[1][0].deal_amount == pytest.approx(2 * opened)  # all of it back, and as much on the other side
    assert (report["cash"].iloc[-1] < -1) == (leverage > 1)


def one_by_one(position) -> tuple[float, float]:
    values = [held["amount"] * held["price"] for held in position.holdings()]
    return sum(values), sum(map(abs, values))


@CASES
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.floats(-50, 50), st.floats(1, 20)), max_size=25), st.data())
def test_the_sums_a_margin_asks_for_are_those_of_the_holdings_whatever_happened(steps, data):
    position = Position(cash=1e5, position_dict={"A": {"amount": -3.0, "price": 4.0}}, short=True)
    for name, amount, price in steps:
        if abs(amount) * price > 1e-3:
            side, time = Order.BUY if amount > 0 else Order.SELL, pd.Timestamp("2024-01-01")
            order = Order(name, abs(amount), side, time, time)
            position.update_order(order, abs(amount) * price, 1.0, price)
        done = data.draw(st.sampled_from(["nothing", "ask", "mark", "close", "price", "copy", "cash"]))
        held = position.get_stock_list()
        if done == "mark":
            position.mark([(stock, price) for stock in held])
        elif done == "close":
            position.close_bar([price] * len(held), "day")
        elif done == "price" and held:
            position.update_stock_price(held[0], price)
        elif done == "copy":
            position = copy.deepcopy(position)
        elif done == "cash":
            position.position["cash"] -= 5.0
        if done != "nothing":
            assert position.sums() == pytest.approx(one_by_one(position), rel=1e-12, abs=1e-9)


def test_holdings_are_added_up_once_a_bar_however_many_orders_open_something(monkeypatch):
    names = [f"N{i}" for i in range(30)]
    times = pd.date_range("2024-01-01", periods=5).to_numpy()
    flat = np.full((5, 30), 10.0)
    provider = MemoryProvider(times, names, {"close": flat, "factor": flat / 10, "volume": flat})
    asked = []
    holdings = Position.holdings
    monkeypatch.setattr(Position, "holdings", lambda self: asked.append(1) or holdings(self))
    orders = {step: [(name, -0.5 + step / 10) for name in names] for step in range(4)}
    report, positions, fills, _ = trade(provider, orders, short=True)
    assert sum(order.deal_amount > 0 for order, *_ in fills) == 120
    assert len(asked) < 10 * len(report), "not once an order"


def test_borrowing_costs_a_share_of_what_is_short_on_every_bar():
    report, _, _, account = trade(prices(10, 10, 12, 8), {0: [("A", -50)]}, short={"borrow": 0.001})
    assert account.get_attribution()["borrow"].tolist() == pytest.approx([0.5, 0.6, 0.4])
    assert report["account"].iloc[-1] == pytest.approx(1000 + 50 * 2 - 1.5)


@dataclass(frozen=True)
class Custody:
    """Carry: so much money a bar."""

    due_each: float
    name: str = "custody"

    def due(self, position, exchange, start, end):
        return self.due_each


@pytest.mark.parametrize("short", [None, True])
def test_what_holding_costs_may_leave_a_debt_that_buys_nothing_and_that_sales_pay(short):
    orders = {0: [("A", 100)], 1: [("A", 1)], 2: [("A", -1)], 3: [("A", -4)]}
    report, _, fills, account = trade(prices(10, 10, 10, 10, 10), orders, carry=Custody(12.0), short=short)
    assert [order.deal_amount for order, *_ in fills] == [100, 0, 1, 4]
    assert fills[1][0].reason == ("cash" if short is None else "margin")
    assert report["cash"].tolist() == [-12.0, -24.0, -26.0, 2.0]
    assert account.get_attribution()["custody"].tolist() == [12.0] * 4
    assert report["account"].tolist() == [988.0, 976.0, 964.0, 952.0]


def test_a_level_above_pays_for_the_bars_that_the_level_below_left_out():
    times = pd.date_range("2024-01-01", periods=72, freq="60min").to_numpy()
    flat = np.full((72, 1), 10.0)
    provider = MemoryProvider(times, ["A"], {"close": flat, "factor": flat / 10, "volume": flat}, freq="60min",
                              region="crypto")  # fmt: skip

    inner = SimulatorExecutor("60min", generate_portfolio_metrics=True)
    outer = NestedExecutor("day", inner, TWAPStrategy(), generate_portfolio_metrics=True)
    run(
        provider, Given({0: [("A", -24.0)]}), executor=outer, account=1000.0, start_time="2024-01-02",
        end_time="2024-01-03 23:00", exchange_kwargs={**FREE, "short": {"borrow": 0.001}},
    )  # fmt: skip
    attribution = outer.trade_account.get_attribution()
    first_day = 0.01 * np.arange(1, 25).sum()
    assert attribution["borrow"].tolist() == pytest.approx([first_day, 24 * 0.24])  # the second day has no orders
    assert attribution["change"].to_numpy() == pytest.approx(-attribution["borrow"].to_numpy())


def test_an_account_below_maintenance_is_closed_at_the_bars_close():
    short = {"leverage": 4.0, "maintenance": 0.1}
    report, positions, fills, account = trade(prices(10, 10, 11, 12.2, 20), {0: [("A", -400)]}, short=short)
    assert [order.reason for order, *_ in fills] == ["order", "liquidation"]
    assert positions[report.index[2]].get_stock_list() == []
    assert report["account"].tolist() == pytest.approx([1000, 600, 120, 120])
    trades = account.trades.frame()
    assert trades["reason"].tolist() == ["order", "liquidation"]
    assert trades["price"].tolist() == pytest.approx([10, 12.2])


def test_rules_of_ones_own_are_asked():
    class Never:
        debt = False

        def room(self, equity, exposure, rate, minimum):
            return 0.0

    class Bonus:
        name = "bonus"

        def due(self, position, exchange, start, end):
            return -1.0

    _, _, fills, account = trade(prices(10, 10, 11), {0: [("A", -1)]}, short=Short(margin=Never()), carry=Bonus())
    assert fills[0][0].deal_amount == 0
    assert fills[0][0].reason == "margin"
    assert account.get_attribution()[["bonus", "change"]].to_numpy().tolist() == [[-1.0, 1.0]] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"short": {"borow": 0.1}}, "received 'borow'.*borrow"),
        ({"short": 3}, "short: received 3"),
        ({"short": {"leverage": 0}}, "leverage: received 0"),
        ({"short": {"borrow": -1}}, "borrow: received -1"),
        ({"carry": [1]}, "carry: received 1"),
        ({"carry": [Borrow(0.1), Borrow(0.2)]}, "each may occur once"),
    ],
)
def test_rules_that_cannot_be_used_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Exchange(provider=prices(10, 11), **arguments)


ORDERS = st.dictionaries(
    st.integers(0, 9),
    st.lists(st.tuples(st.sampled_from(["N0", "N1", "N2"]), st.floats(-900, 900, allow_subnormal=False)), max_size=4),
)
MARKETS = st.fixed_dictionaries(
    {
        "deal_price": st.sampled_from(["close", "open"]),
        "limit_threshold": st.sampled_from([float("inf"), 0.03]),
        "open_cost": st.sampled_from([0.0, 0.002]),
        "close_cost": st.sampled_from([0.0, 0.003]),
        "min_cost": st.sampled_from([0.0, 5.0]),
        "trade_unit": st.sampled_from([None, 1, 100, 0.1]),
        "volume_threshold": st.sampled_from([None, ("current", "0.1*$volume"), ("prior", "0.1*$volume")]),
        "short": st.sampled_from(
            [None, True, {"borrow": 0.001}, {"leverage": 3.0, "borrow": 0.002, "maintenance": 0.2}]
        ),
        "fills": st.sampled_from([None, {"half_spread": 0.001, "impact": 0.5}, {"need_volume": True}]),
    }
)


def test_a_short_that_the_cash_does_not_quite_buy_back_keeps_the_rest():
    position = Position(cash=1000.0, position_dict={"A": {"amount": -50.0, "price": 10.0}}, short=True)
    provider = prices(10, 10)
    time = pd.Timestamp(provider.clock.times[0])
    ex = Exchange(provider=provider, short=True, **FREE)
    position.position["cash"] = 499.999
    order = Order("A", 50.0, Order.BUY, time, time)
    ex.deal_order(order, position=position)
    assert order.deal_amount == pytest.approx(49.9999)
    assert position.get_stock_amount("A") == pytest.approx(-0.0001, rel=1e-6)
    assert position.calculate_value() == pytest.approx(499.999 - 500, rel=1e-9)


@CASES
@example(
    seed=0, orders={1: [("N0", 410.0), ("N1", -70.0), ("N1", 71.0)], 2: [("N1", -72.0), ("N1", 71.0)]},
    market={"deal_price": "close", "limit_threshold": float("inf"), "open_cost": 0.0, "close_cost": 0.003,
            "min_cost": 0.0, "trade_unit": None, "volume_threshold": None, "short": True, "fills": None},
    gaps=0.0, settle="cash",
)  # fmt: skip
@given(
    seed=st.integers(0, 10_000), orders=ORDERS, market=MARKETS, gaps=st.sampled_from([0.0, 0.3]),
    settle=st.sampled_from(["None", "cash"]),
)  # fmt: skip
def test_every_bar_of_every_market_is_accounted_for(seed, orders, market, gaps, settle):
    provider = random_market(seed, bars=11, names=3, gaps=gaps)
    executor = SimulatorExecutor("day", generate_portfolio_metrics=True, settle_type=settle)
    report, positions, fills, _ = run(
        provider, Given(orders), executor=executor, account=10_000.0, exchange_kwargs=market
    )
    account = executor.trade_account
    parts = account.get_attribution()
    scale = 1e-9 * max(10_000.0, report["account"].abs().max(), report["value"].abs().max())
    lost = parts["fee"] + parts["impact"] + parts.get("borrow", 0.0)
    assert parts["change"].to_numpy() == pytest.approx((parts["price"] - lost).to_numpy(), abs=scale)
    assert parts["change"].to_numpy() == pytest.approx(np.diff(report["account"], prepend=10_000.0), abs=scale)

    # the same books kept by hand: cash and amounts from the fills, marks from the closes
    close = provider.values["close"].astype(np.float32).astype(float)
    cash, amounts, marks, slipped = 10_000.0, {}, {}, 0.0
    for time in report.index:
        row = provider.clock.position(time)
        for order, value, cost, price in fills:
            if order.start_time != time or value <= 1e-5:  # too little to be a trade
                continue
            name, change = order.stock_id, order.sign * order.deal_amount
            if name not in marks or not amounts.get(name):
                marks[name] = price
            amounts[name] = amounts.get(name, 0.0) + change
            if abs(amounts[name]) <= 1e-11 * abs(change):
                amounts[name] = 0.0
            cash -= change * price + cost
            slipped += order.slippage
        for column, name in enumerate(provider.names):
            if not math.isnan(close[row, column]):
                marks[name] = close[row, column]
        cash -= parts["borrow"][time] if "borrow" in parts else 0.0
        held = positions[time].get_stock_amount_dict()
        assert {name for name, amount in amounts.items() if amount} == set(held)
        for name, amount in held.items():
            assert amount == pytest.approx(amounts[name], rel=1e-9, abs=1e-9)
            assert positions[time].get_stock_price(name) == pytest.approx(marks[name])
        worth = sum(amount * marks[name] for name, amount in amounts.items() if amount)
        assert report["account"][time] == pytest.approx(cash + worth, abs=1e3 * scale)
        short = market["short"]
        if short is None:
            assert min(held.values(), default=0.0) >= 0
            assert report["cash"][time] >= 0
        elif short is True:
            assert report["cash"][time] >= -scale
    assert slipped == pytest.approx(parts["impact"].sum(), abs=scale)
    assert parts["stale"].sum() == sum(
        math.isnan(close[provider.clock.position(time), provider.names.index(name)])
        for time in report.index for name in positions[time].get_stock_list()
    )  # fmt: skip


@CASES
@given(st.integers(0, 10_000), ORDERS, MARKETS, st.integers(2, 8))
def test_no_fill_knows_a_later_bar(seed, orders, market, known):
    def fills_until(provider):
        moment = pd.Timestamp(provider.clock.times[known])
        _, _, fills, _ = run(provider, Given(orders), account=10_000.0, exchange_kwargs=market)
        return [
            (order.stock_id, order.sign, order.start_time, order.deal_amount, value, cost)
            for order, value, cost, _ in fills if order.start_time <= moment
        ]  # fmt: skip

    before = random_market(seed, bars=11, names=3, gaps=0.1)
    changed = {name: values.copy() for name, values in before.values.items()}
    rng = np.random.default_rng(seed)
    for values in changed.values():
        values[known + 1 :] *= rng.uniform(0.3, 3.0, values[known + 1 :].shape)
    changed["factor"] = before.values["factor"].copy()
    changed["factor"][known + 1 :] = np.nan  # whether later factors are known changes no earlier lot
    after = MemoryProvider(before.clock.times, before.names, changed)
    assert fills_until(before) == fills_until(after)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), ORDERS)
def test_at_the_open_nobody_knows_the_close(seed, orders):
    market = {"deal_price": "open", "limit_threshold": 0.03, "volume_threshold": ("prior", "0.1*$volume")}

    def first_fills(provider):
        _, _, fills, _ = run(provider, Given({0: orders.get(0, [])}), account=10_000.0, exchange_kwargs=market)
        return [(order.stock_id, order.deal_amount, value, cost) for order, value, cost, _ in fills]

    before = random_market(seed, bars=11, names=3)
    changed = {name: values.copy() for name, values in before.values.items()}
    for name in ("close", "change", "volume"):
        changed[name][1:] *= np.random.default_rng(seed).uniform(0.3, 3.0, changed[name][1:].shape)
    assert first_fills(before) == first_fills(MemoryProvider(before.clock.times, before.names, changed))


def test_leverage_leaves_room_for_the_cost_of_the_order():
    margin = Leverage(2.0)
    value = margin.room(equity=100.0, exposure=50.0, rate=0.01, minimum=0.0)
    assert 50.0 + value == pytest.approx(2.0 * (100.0 - 0.01 * value))
    assert margin.room(equity=100.0, exposure=50.0, rate=0.0, minimum=5.0) == 140.0

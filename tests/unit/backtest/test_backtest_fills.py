"""Realistic fills: spread, impact, stops, dead bars, and rules that know only what one knows when an order is dealt."""

from __future__ import annotations

import logging
import math
import re

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, random_market, random_signal, run

from qlib.backtest.decision import Order, TradeDecisionWO
from qlib.backtest.exchange import Exchange
from qlib.backtest.executor import SimulatorExecutor
from qlib.backtest.position import Position
from qlib.backtest.rules.fills import Fills
from qlib.contrib.strategy import TopkDropoutStrategy
from qlib.errors import ConfigError
from qlib.strategy.base import BaseStrategy

FREE = {"open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "trade_unit": None}
NAN = math.nan


def bars(compat=None, **fields) -> MemoryProvider:
    table = {name: np.array(values, dtype=float)[:, None] for name, values in fields.items()}
    rows = len(table["close"])
    table.setdefault("factor", np.ones((rows, 1)))
    times = pd.date_range("2024-01-01", periods=rows).to_numpy()
    return MemoryProvider(times, ["A"], table, compat=compat)


def exchange(provider, **arguments) -> Exchange:
    return Exchange(provider=provider, **{**FREE, "limit_threshold": None, **arguments})


def step(day: int) -> tuple[pd.Timestamp, pd.Timestamp]:
    start = pd.Timestamp("2024-01-01") + pd.Timedelta(days=day)
    return start, start + pd.Timedelta(days=1) - pd.Timedelta(seconds=1)


def dealt(ex: Exchange, amount: float, day: int, stop: float | None = None, cash: float = 1e9):
    order = Order("A", abs(amount), Order.BUY if amount > 0 else Order.SELL, *step(day))
    if stop is not None:
        order.stop = stop
    holding = Position(cash=cash, position_dict={"A": {"amount": 1e6, "price": 10.0}})
    value, cost, price = ex.deal_order(order, position=holding)
    return order, value, cost, price


def test_every_fill_loses_half_the_spread():
    ex = exchange(bars(close=[10, 10]), fills={"half_spread": 0.001})
    order, value, _, price = dealt(ex, 100, 1)
    assert (price, value, order.slippage) == pytest.approx((10.01, 1001.0, 1.0))
    assert dealt(ex, -100, 1)[3] == pytest.approx(9.99)


def test_cash_pays_for_the_price_that_is_paid():
    order, value, _, price = dealt(exchange(bars(close=[10, 10]), fills={"half_spread": 0.01}), 100, 1, cash=505.0)
    assert price == pytest.approx(10.1)
    assert value <= 505.0
    assert order.deal_amount == pytest.approx(50.0)


def test_the_default_impact_knows_the_bars_before_only():
    rng = np.random.default_rng(3)
    close, volume = 10 * np.exp(np.cumsum(rng.normal(0, 0.02, 40))), rng.uniform(500, 1500, 40)
    known = dealt(exchange(bars(close=close, volume=volume), fills={"impact": 1.0}), 50, 30)[0].slippage
    changes = close[1:] / close[:-1] - 1
    sigma, traded = np.std(changes[9:29], ddof=1), volume[10:30].mean()
    assert known / (50 * close[30]) == pytest.approx(sigma * math.sqrt(50 / traded), rel=1e-4)
    volume[30:] = 1.0
    close[31:] *= 2
    assert dealt(exchange(bars(close=close, volume=volume), fills={"impact": 1.0}), 50, 30)[0].slippage == known


def test_capacity_is_where_the_closed_form_says():
    """P21: with an edge a, the profit Q * (a - Y sigma sqrt(Q / V)) is largest at Q* = V (2a / (3 Y sigma))^2."""
    y, sigma, volume, edge = 1.0, 0.02, 1e6, 0.002
    best = volume * (2 * edge / (3 * y * sigma)) ** 2
    fills = {"impact": y, "volatility": f"0*$close+{sigma}", "volume": f"0*$close+{volume}"}
    ex = exchange(bars(close=[8, 8]), fills=fills)
    sizes = best * np.linspace(0.5, 1.5, 401)
    prices = np.array([dealt(ex, size, 1)[3] for size in sizes])
    profit = sizes * (8 * (1 + edge) - prices)
    assert sizes[profit.argmax()] == pytest.approx(best, rel=0.01)
    assert profit.max() / best / 8 == pytest.approx(edge / 3, rel=1e-3)
    slope = np.polyfit(np.log(sizes), np.log(prices / 8 - 1), 1)[0]
    assert slope == pytest.approx(0.5, abs=0.02)


def test_nothing_is_filled_where_nothing_was_traded():
    provider = bars(close=[10, 10, 10], volume=[100, 0, NAN])
    assert dealt(exchange(provider), 10, 1)[1] == 100
    ex = exchange(provider, fills={"need_volume": True})
    assert [dealt(ex, 10, day)[1] for day in range(3)] == [100, 0, 0]


@pytest.mark.parametrize(
    ("amount", "stop", "day", "price"),
    [
        (-10, 9.0, 1, 9.0),  # reached inside the bar
        (-10, 9.6, 1, 9.5),  # the bar opened below it: the open, not the stop
        (-10, 7.0, 1, None),  # not reached
        (10, 10.5, 1, 10.5),
        (10, 9.0, 1, 9.5),
        (10, 12.0, 1, None),
    ],
)
def test_a_stop_fills_at_its_price_or_at_the_gap(amount, stop, day, price):
    provider = bars(close=[10, 10], open=[10, 9.5], high=[10, 11], low=[10, 8])
    order, value, _, paid = dealt(exchange(provider, fills={"stops": True}), amount, day, stop)
    if price is None:
        assert (value, order.reason) == (0.0, "stop not reached")
    else:
        assert (paid, order.reason) == (price, "stop")


def test_a_prior_volume_cap_knows_the_bar_before():
    ex = exchange(bars(close=[10, 10, 10], volume=[100, 300, 500]), volume_threshold=("prior", "0.1*$volume"))
    assert [dealt(ex, 1000, day)[0].deal_amount for day in (1, 2)] == pytest.approx([10.0, 30.0])
    order = dealt(ex, 1000, 0)[0]
    assert (order.deal_amount, order.reason) == (0.0, "volume")


def test_the_optimism_gap_is_a_column():
    provider = random_market(4, bars=40)
    accounts = {}
    for name, fills in (("naive", None), ("honest", {"half_spread": 0.002, "impact": 0.5})):
        executor = SimulatorExecutor("day", generate_portfolio_metrics=True)
        strategy = TopkDropoutStrategy(signal=random_signal(provider), topk=3, n_drop=1)
        run(provider, strategy, executor=executor, exchange_kwargs={"fills": fills, "trade_unit": None})
        accounts[name] = executor.trade_account
    assert (accounts["naive"].get_attribution()["impact"] == 0).all()
    lost = accounts["honest"].get_attribution()["impact"]
    assert lost.sum() == pytest.approx(accounts["honest"].trades.frame()["slippage"].sum())
    assert (lost >= 0).all()
    assert accounts["honest"].current_position.calculate_value() < accounts["naive"].current_position.calculate_value()


class BuyOnce(BaseStrategy):
    def generate_trade_decision(self, execute_result=None):
        return TradeDecisionWO([Order("A", 10.0, Order.BUY, *self.trade_calendar.get_step_time())], self)


@pytest.mark.parametrize(
    ("close", "opened", "right", "qlib"),
    [
        ([10, 11], [10, 10.1], True, False),  # closes at the limit, but opened below it: one could buy
        ([10, 10.1], [10, 11], False, True),  # opens at the limit: nobody sold to one, whatever the close
        ([10, 11], [10, 11], False, False),
    ],
)
def test_a_limit_is_held_against_the_price_of_the_trade(close, opened, right, qlib):
    change = [0, close[1] / close[0] - 1]
    for compat, expected in ((None, right), ("qlib", qlib)):
        provider = bars(compat, close=close, open=opened, change=change)
        ex = exchange(provider, deal_price="open", limit_threshold=0.095)
        assert (dealt(ex, 10, 1)[1] > 0) == expected
        at_close = exchange(provider, deal_price="close", limit_threshold=0.095)
        assert (dealt(at_close, 10, 1)[1] > 0) == (change[1] < 0.095)


@pytest.fixture
def warned(monkeypatch) -> list[str]:
    """The warnings of the exchange."""
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger("qlib.exchange"), "warning", said.append)
    return said


@pytest.mark.parametrize(
    ("price", "limit", "early"),
    [
        (
            "open",
            ("$change>0.095", "$change<-0.095"),
            "reads $change of the bar it blocks, but orders are dealt at $open",
        ),
        ("open", ("$open>1.09*Ref($close,1)", "$low==$high"), r"reads \$low, \$high of the bar.*dealt at \$open,"),
        ("$vwap", ("$close>$vwap", "$open<1"), r"reads \$close of the bar.*dealt at \$vwap,"),
        (("$open", "$close"), ("$open>9", "$close<9"), None),
        (("$open", "$close"), ("$close>9", "$close<9"), r"reads \$close of the bar.*dealt at \$open,"),
        ("open", ("Mean($close,3)>Ref($close,1)", "$open<1"), r"reads \$close of"),
        ("open", ("Ref(Mean($close,3),1)>Ref($close,2)", "Ref($volume,1)<1"), None),
        ("open", ("$open>=$up_limit", "$open<=$down_limit"), None),
        ("open", ("$open>Ref($open,-1)", "$open<1"), r"reads \$open of"),
        ("close", ("$change>0.095", "$low==$high"), None),
        ("open", 0.095, None),
        ("open", None, None),
    ],
)
def test_a_limit_that_knows_the_end_of_the_bar_it_trades_in_is_warned_of_once(warned, price, limit, early):
    fields = dict.fromkeys(
        ("close", "open", "high", "low", "change", "vwap", "volume", "up_limit", "down_limit"), [10, 11]
    )
    exchange(bars(**fields), deal_price=price, limit_threshold=limit)
    assert len(warned) == (early is not None)
    if early is not None:
        assert re.search(early if "\\" in early else re.escape(early), warned[0])


def test_the_close_before_a_gap_is_the_last_one_known():
    provider = bars(close=[10, NAN, 11], open=[10, NAN, 11], change=[0, NAN, 0.0])
    ex = exchange(provider, deal_price="open", limit_threshold=0.095, start_time="2024-01-02")
    assert not ex.is_stock_tradable("A", *step(2), Order.BUY)
    whole = exchange(provider, deal_price="open", limit_threshold=0.095)
    assert not whole.is_stock_tradable("A", *step(2), Order.BUY)


def test_an_absent_factor_concerns_its_instrument_and_its_bars_only():
    provider = bars(close=[10, 10, 10], factor=[1, NAN, 1])
    ex = exchange(provider, trade_unit=100)
    assert [dealt(ex, 150, day)[0].deal_amount for day in range(3)] == [100, 150, 100]
    old = exchange(bars("qlib", close=[10, 10, 10], factor=[1, NAN, 1]), trade_unit=100)
    assert [dealt(old, 150, day)[0].deal_amount for day in range(3)] == [150, 150, 150]  # one NaN lifts all lots


def test_options_that_do_not_exist_are_named():
    with pytest.raises(ConfigError, match="received 'half_spred'.*half_spread"):
        exchange(bars(close=[1, 1]), fills={"half_spred": 1})
    with pytest.raises(ConfigError, match="impact: received -1"):
        Fills(impact=-1)
    with pytest.raises(ConfigError, match="fills: received 3"):
        exchange(bars(close=[1, 1]), fills=3)


def test_limit_threshold_none_means_none():
    close, change = [10, 11.5], [0, 0.15]
    for compat, limit, traded in (
        (None, None, True), (None, "region", False), ("qlib", None, False), ("qlib", "region", False),
    ):  # fmt: skip
        provider = MemoryProvider(
            pd.date_range("2024-01-01", periods=2).to_numpy(), ["A"],
            {name: np.array(values, dtype=float)[:, None] for name, values in (("close", close), ("change", change))},
            region="cn", compat=compat,
        )  # fmt: skip
        assert (dealt(exchange(provider, limit_threshold=limit), 10, 1)[1] > 0) == traded
    assert Exchange(provider=provider).limit_threshold == 0.095  # left out: the region's

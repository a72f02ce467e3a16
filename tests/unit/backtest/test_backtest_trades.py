"""The trade log holds every fill, and the indicators computed from it are those of the orders one by one."""

from __future__ import annotations

import io
import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
from backtest_market import random_market, random_signal, run
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.backtest.decision import Order
from qlib.backtest.executor import SimulatorExecutor
from qlib.backtest.indicator import STEP_COLUMNS, Indicator
from qlib.backtest.trades import TradeLog
from qlib.contrib.strategy import TopkDropoutStrategy
from qlib.utils.pickle_utils import restricted_pickle_load

DAYS = pd.date_range("2024-01-01", periods=5)


def test_every_fill_is_in_the_log(tmp_path):
    provider = random_market(4, bars=20, gaps=0.2)
    executor = SimulatorExecutor("day", generate_portfolio_metrics=True)
    report, _, fills, _ = run(provider, TopkDropoutStrategy(signal=random_signal(provider), topk=3, n_drop=1),
                              executor=executor)  # fmt: skip
    trades = executor.trade_account.trades.frame()
    dealt = [fill for fill in fills if fill[1] > 0]
    assert trades["instrument"].tolist() == [order.stock_id for order, *_ in dealt]
    assert trades["time"].tolist() == [order.start_time for order, *_ in dealt]
    assert trades["side"].tolist() == ["buy" if order.direction == Order.BUY else "sell" for order, *_ in dealt]
    assert trades["amount"].tolist() == [order.deal_amount for order, *_ in dealt]
    assert trades[["value", "fee", "price"]].to_numpy().tolist() == [list(fill[1:]) for fill in dealt]
    assert trades["fee"].sum() == pytest.approx(report["total_cost"].iloc[-1])
    assert len(executor.trade_account.trades.frame(fills_only=False)) == len(fills)
    exact = partial(pd.read_csv, float_precision="round_trip")
    for name, read in (("trades.parquet", pd.read_parquet), ("trades.csv", exact)):
        executor.trade_account.trades.save(tmp_path / name)
        saved = read(tmp_path / name)
        assert saved["amount"].tolist() == trades["amount"].tolist()
        assert pd.DatetimeIndex(saved["time"]).tolist() == trades["time"].tolist()


def test_an_empty_log_has_its_columns():
    frame = TradeLog().frame()
    assert frame.empty
    assert list(frame.columns[:3]) == ["time", "instrument", "side"]


ORDERS = st.lists(
    st.tuples(st.sampled_from("ABC"), st.sampled_from([0, 1]), st.sampled_from([0.0, 1.0, 3.0]), st.booleans()),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(ORDERS, min_size=1, max_size=5),
    st.sampled_from([None, "qlib"]),
    st.sampled_from(["mean", "amount_weighted", "value_weighted"]),
)
def test_the_table_of_all_steps_equals_the_steps_one_by_one(steps, compat, method):
    indicator = Indicator(compat=compat)
    config = {"ffr_config": {"weight_method": method}, "pa_config": {"weight_method": method}}
    expected = []
    for day, orders in zip(DAYS, steps, strict=False):
        indicator.reset()
        fills = []
        for name, side, amount, whole in orders:
            order = Order(name, amount, side, day, day)
            order.deal_amount = amount if whole else amount / 2
            fills.append((order, order.deal_amount * 10, 0.1, 10.0))
        indicator.update_order_indicators(fills)
        indicator.cal_trade_indicators(day, "day", config)
        expected.append(dict(indicator.trade_indicator))
        indicator.record(day)
    table = indicator.generate_trade_indicators_dataframe()
    assert list(table.columns) == list(STEP_COLUMNS)
    wanted = pd.DataFrame(expected, index=table.index)[list(STEP_COLUMNS)]
    pd.testing.assert_frame_equal(table, wanted, check_dtype=False, rtol=1e-12)
    for day, row in zip(DAYS, expected, strict=False):
        np.testing.assert_equal(indicator.trade_indicator_his[day], row)
        assert len(indicator.order_indicator_his[day].instruments) == row["count"]


def test_what_a_backtest_returns_survives_a_pickle_that_is_read_with_care():
    provider = random_market(4, bars=20, gaps=0.2)
    strategy = TopkDropoutStrategy(signal=random_signal(provider), topk=3, n_drop=1)
    _, positions, _, (steps, indicator) = run(provider, strategy)
    again = restricted_pickle_load(io.BytesIO(pickle.dumps(positions)))
    assert list(again) == list(positions)
    for time, position in positions.items():
        assert again[time].position == position.position
        assert type(again[time].position["cash"]) is float
    other = restricted_pickle_load(io.BytesIO(pickle.dumps(indicator)))
    pd.testing.assert_frame_equal(other.generate_trade_indicators_dataframe(), steps)
    pd.testing.assert_frame_equal(other.trades.frame(), indicator.trades.frame())
    for time, orders in indicator.order_indicator_his.items():
        assert other.order_indicator_his[time].instruments == orders.instruments
    assert other.get_trade_indicator() == indicator.get_trade_indicator()

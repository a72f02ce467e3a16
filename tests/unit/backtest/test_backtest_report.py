"""The report of a backtest and its benchmark."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from backtest_market import random_market, random_signal, run

from qlib.backtest.account import Account
from qlib.backtest.indicator import Indicator, OrderIndicator
from qlib.backtest.report import COLUMNS, PortfolioMetrics
from qlib.contrib.strategy import TopkDropoutStrategy
from qlib.errors import ConfigError, InputError, MissingDataError


def strategy(provider):
    return TopkDropoutStrategy(signal=random_signal(provider), topk=3, n_drop=1)


PROVIDER = random_market(11, bars=15, names=5)
CLOSE = pd.DataFrame(
    PROVIDER.values["close"].astype(np.float32), index=pd.DatetimeIndex(PROVIDER.clock.times), columns=PROVIDER.names
)


def test_without_a_benchmark_the_column_is_zero_and_the_frame_says_so():
    report, *_ = run(PROVIDER, strategy(PROVIDER), benchmark=None)
    assert tuple(report.columns) == COLUMNS and report.index.name == "datetime"
    assert (report["bench"] == 0.0).all()
    assert report.attrs["benchmark"] is None
    assert not report.isna().any().any()
    assert pickle.loads(pickle.dumps(report)).attrs["benchmark"] is None


@pytest.mark.parametrize("benchmark", ["N0", ["N0"], {"N0": 1}, ("N0", "N2")])
def test_a_benchmark_is_the_mean_return_of_its_instruments(benchmark):
    report, *_ = run(PROVIDER, strategy(PROVIDER), benchmark=benchmark)
    want = CLOSE[["N0"] if isinstance(benchmark, str) else list(benchmark)].pct_change(fill_method=None).mean(axis=1)
    np.testing.assert_allclose(report["bench"], want.iloc[1:], atol=1e-6)
    assert "N0" in report.attrs["benchmark"]


def test_a_series_of_returns_is_a_benchmark():
    returns = pd.Series(0.01, index=CLOSE.index[::2])
    report, *_ = run(PROVIDER, strategy(PROVIDER), benchmark=returns)
    assert report["bench"].tolist() == pytest.approx([0.0, 0.01] * 7)
    assert report.attrs["benchmark"] == "a series of returns"


@pytest.mark.parametrize(
    ("benchmark", "error", "message"),
    [
        ("N00", MissingDataError, "benchmark N00: the data hold no close of it.*did you mean N0"),
        (["N0", "XX"], MissingDataError, "benchmark XX: the data hold no close"),
        ([], ConfigError, r"benchmark: received \[\]"),
        (5, ConfigError, "benchmark: received 5"),
        (pd.Series([0.1]), ConfigError, "an index of int64; one of times is needed"),
    ],
)
def test_a_benchmark_that_is_not_there_stops_the_run_before_it_starts(benchmark, error, message):
    class Never(TopkDropoutStrategy):
        def generate_trade_decision(self, execute_result=None):
            raise AssertionError("the run has started")

    with pytest.raises(error, match=message):
        run(PROVIDER, Never(signal=random_signal(PROVIDER), topk=1, n_drop=1), benchmark=benchmark)


def test_a_step_of_several_bars_compounds_the_benchmark():
    metrics = PortfolioMetrics(
        "week", {"benchmark": pd.Series([0.1, 0.2, -0.5], index=pd.date_range("2024-01-01", periods=3))}
    )
    row = {"account_value": 1.0, "cash": 1.0, "return_rate": 0.0, "total_turnover": 0.0, "turnover_rate": 0.0}
    metrics.update_portfolio_metrics_record(
        "2024-01-01", "2024-01-07 23:59:59", **row, total_cost=0.0, cost_rate=0.0, stock_value=0.0
    )
    assert metrics.generate_portfolio_metrics_dataframe()["bench"].iloc[0] == pytest.approx(1.1 * 1.2 * 0.5 - 1)
    assert metrics.get_latest_date() == pd.Timestamp("2024-01-01")
    with pytest.raises(
        InputError, match="a row of the report needs total_cost, cost_rate, stock_value, trade_end_time"
    ):
        metrics.update_portfolio_metrics_record("2024-01-02", **row)


def test_a_report_survives_its_csv(tmp_path):
    from qlib.backtest.executor import SimulatorExecutor

    executor = SimulatorExecutor("day", generate_portfolio_metrics=True)
    report, *_ = run(PROVIDER, strategy(PROVIDER), executor=executor)
    executor.trade_account.portfolio_metrics.save_portfolio_metrics(tmp_path / "report.csv")
    other = PortfolioMetrics()
    assert other.is_empty()
    other.load_portfolio_metrics(tmp_path / "report.csv")
    pd.testing.assert_frame_equal(other.generate_portfolio_metrics_dataframe(), report, check_freq=False)
    assert other.get_latest_date() == report.index[-1]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is not a report: it lacks account, return"):
        other.load_portfolio_metrics(tmp_path / "other.csv")


def test_initial_holdings_count_in_the_first_return():
    account = {"cash": 1000.0, "N0": {"amount": 10.0, "price": 20.0}, "N1": 5}
    report, positions, _, _ = run(PROVIDER, strategy(PROVIDER), account=account)
    assert account["cash"] == 1000.0  # what was given is not changed
    at_start = 1000 + 200 + 5 * float(CLOSE["N1"].iloc[0])
    first = report.iloc[0]
    assert first["return"] == pytest.approx((first["account"] + first["total_cost"] - at_start) / at_start)
    compat = random_market(11, bars=15, names=5, compat="qlib")
    report, *_ = run(compat, strategy(compat), account=account)
    assert report["return"].iloc[0] == pytest.approx((first["account"] + first["total_cost"] - 1000) / 1000, rel=1e-3)


def test_accounts_without_a_report_say_how_to_get_one():
    account = Account(init_cash=1.0, port_metr_enabled=False)
    with pytest.raises(ConfigError, match="generate_portfolio_metrics=True"):
        account.get_portfolio_metrics()
    with pytest.raises(ConfigError, match="initial holding A has no price"):
        Account(init_cash=1.0, position_dict={"A": 2})


def test_indicators_have_one_row_per_step():
    report, _, fills, (steps, indicator) = run(PROVIDER, strategy(PROVIDER))
    assert list(steps.columns) == ["ffr", "pa", "pos", "deal_amount", "value", "count"]
    assert list(steps.index) == list(report.index)
    assert steps["value"].sum() == pytest.approx(report["total_turnover"].iloc[-1])
    assert steps["count"].sum() == len(fills)
    orders = indicator.order_indicator_his[report.index[0]]
    assert orders.to_series()["deal_amount"].abs().sum() == pytest.approx(steps["deal_amount"].iloc[0])
    assert indicator.get_order_indicator(raw=False).keys() == orders.data.keys()
    assert indicator.get_trade_indicator()["count"] == steps["count"].iloc[-1]
    assert indicator.order_indicator.get_metric_series("nothing").empty


def test_two_orders_for_one_name_in_one_step_both_count():
    from qlib.backtest.decision import Order

    day = pd.Timestamp("2024-01-01")
    rows = []
    for amount in (5.0, 7.0):
        one = Order("A", amount, Order.BUY, day, day)
        one.deal_amount = amount
        rows.append((one, amount * 2, 0.0, 2.0))
    for compat, count, dealt in ((None, 2, 12.0), ("qlib", 1, 7.0)):
        indicator = Indicator(compat=compat)
        indicator.update_order_indicators(rows)
        indicator.cal_trade_indicators(day, "day")
        assert (indicator.trade_indicator["count"], indicator.trade_indicator["deal_amount"]) == (count, dealt)
    with pytest.raises(InputError, match="did you mean value_weighted"):
        indicator.cal_trade_indicators(day, "day", {"pa_config": {"weight_method": "value_weight"}})


def test_metrics_of_orders_can_be_assigned_by_name():
    orders = OrderIndicator()
    orders.assign("x", {"A": 1.0, "B": 2.0})
    orders.assign("y", {"B": 3.0})
    assert orders.get_metric_series("x").to_dict() == {"A": 1.0, "B": 2.0}
    assert np.isnan(orders.get_metric_series("y")["A"])


@pytest.mark.parametrize(("compat", "counted"), [(None, True), ("qlib", False)])
def test_an_outer_report_knows_the_cost_of_what_was_traded_below(compat, counted):
    from qlib.backtest.executor import NestedExecutor, SimulatorExecutor
    from qlib.contrib.strategy import TWAPStrategy

    provider = random_market(8, bars=72, names=4, freq="60min", region="crypto", compat=compat)
    executor = NestedExecutor("day", SimulatorExecutor("60min"), TWAPStrategy(), generate_portfolio_metrics=True)
    report, _, fills, _ = run(provider, strategy(provider), executor=executor, start_time="2024-01-02")
    assert (report["total_cost"].iloc[-1] > 0) == counted
    if counted:
        account = 1e6
        for value, cost, total in zip(report["account"], report["return"], report["cost"], strict=True):
            assert value == pytest.approx(account * (1 + cost - total))
            account = value

"""The whole loop: any bar size, configurations, nested execution, and input that cannot be run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, random_market, random_signal, run

from qlib.backtest import backtest, collect_data, create_account_instance, format_decisions, get_strategy_executor
from qlib.backtest.decision import (
    EmptyTradeDecision,
    Order,
    TradeDecisionWithDetails,
    TradeDecisionWO,
    TradeRangeByTime,
)
from qlib.backtest.executor import NestedExecutor, SimulatorExecutor
from qlib.backtest.position import InfPosition
from qlib.contrib.strategy import TopkDropoutStrategy, TWAPStrategy
from qlib.contrib.strategy.rule_strategy import FileOrderStrategy
from qlib.errors import ConfigError, InputError, MissingDataError
from qlib.strategy.base import BaseStrategy


def topk(provider, **kwargs):
    return TopkDropoutStrategy(**{"topk": 3, "n_drop": 1, **kwargs}, signal=random_signal(provider))


@pytest.mark.parametrize("freq", ["day", "60min", "30min", "1min"])
def test_any_bar_size_runs_to_its_last_bar(freq):
    provider = random_market(2, bars=60, freq=freq, region="crypto")
    report, positions, fills, _ = run(provider, topk(provider))
    assert list(report.index) == list(pd.DatetimeIndex(provider.clock.times[1:]))
    assert len(fills) > 60
    name = f"count_{freq}"
    assert all(name in held for held in positions[report.index[-1]].position.values() if isinstance(held, dict))


def test_scores_of_a_bar_are_used_in_the_next_one_only():
    provider = random_market(4, bars=6, names=4)
    times = pd.DatetimeIndex(provider.clock.times)
    signal = pd.Series({(times[2], "N3"): 1.0}).rename_axis(["datetime", "instrument"])
    _, _, fills, _ = run(provider, TopkDropoutStrategy(signal=signal, topk=1, n_drop=1))
    assert [(order.stock_id, order.start_time) for order, *_ in fills] == [("N3", times[3])]


def test_the_first_bar_of_the_calendar_knows_no_scores():
    provider = random_market(4, bars=6, names=4)
    _, _, fills, _ = run(provider, topk(provider), start_time=pd.Timestamp(provider.clock.times[0]))
    assert min(order.start_time for order, *_ in fills) == pd.Timestamp(provider.clock.times[1])


def test_a_day_over_hourly_bars_trades_at_the_last_hour():
    provider = random_market(6, bars=24 * 5, names=4, freq="60min", region="crypto")
    report, _, fills, _ = run(
        provider, topk(provider), executor=SimulatorExecutor("day", generate_portfolio_metrics=True),
        start_time="2024-01-02", end_time="2024-01-05",
    )  # fmt: skip
    assert len(report) == 4
    order, _, _, price = fills[0]
    hour = provider.clock.position(order.end_time) - 1
    assert price == np.float32(provider.values["close"][hour, provider.names.index(order.stock_id)])


def config(provider) -> dict:
    return {
        "class": "TopkDropoutStrategy",
        "module_path": "qlib.contrib.strategy",
        "kwargs": {"signal": random_signal(provider), "topk": 3, "n_drop": 1},
    }


EXECUTOR = {
    "class": "SimulatorExecutor",
    "module_path": "qlib.backtest.executor",
    "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
}


def test_configurations_are_as_good_as_objects():
    provider = random_market(7, bars=20)
    arguments = dict(benchmark="N1", account=1e5, exchange_kwargs={"provider": provider, "limit_threshold": 1})
    times = (provider.clock.stamps[1], str(provider.clock.stamps[-1]))
    by_config = backtest(*times, config(provider), EXECUTOR, **arguments)
    by_object = backtest(*times, topk(provider), SimulatorExecutor("day", generate_portfolio_metrics=True), **arguments)
    pd.testing.assert_frame_equal(by_config[0]["1day"][0], by_object[0]["1day"][0])
    assert list(by_config[1]) == ["1day"]


def test_decisions_are_yielded_where_they_are_tracked():
    provider = random_market(7, bars=8)
    found: dict = {}
    executor = SimulatorExecutor("day", track_data=True)
    arguments = dict(benchmark=None, exchange_kwargs={"provider": provider}, return_value=found)
    decisions = list(
        collect_data(provider.clock.stamps[1], provider.clock.stamps[-1], topk(provider), executor, **arguments)
    )
    assert len(decisions) == 7 and all(isinstance(decision, TradeDecisionWO) for decision in decisions)
    assert found["portfolio_dict"] == {} and list(found["indicator_dict"]) == ["1day"]
    freq, tree = format_decisions(decisions)
    assert freq == "day" and [decision for decision, _ in tree] == decisions and tree[0][1] is None
    assert format_decisions([]) is None


def test_the_progress_bar_is_silent_where_nobody_looks(capfd):
    provider = random_market(7, bars=8)
    run(provider, topk(provider))
    assert "backtest loop" not in capfd.readouterr().err


def test_one_line_per_order_when_verbose(caplog):
    import logging

    provider = random_market(7, bars=4)
    logger = logging.getLogger("qlib")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, logger="qlib"):
            run(
                provider,
                topk(provider),
                executor=SimulatorExecutor("day", generate_portfolio_metrics=True, verbose=True),
            )
    finally:
        logger.removeHandler(caplog.handler)
    assert sum("buy N" in record.getMessage() for record in caplog.records) >= 3


# ------------------------------------------------------------------------------------------------------- nested
def test_a_nested_day_is_executed_evenly_over_its_hours():
    provider = random_market(8, bars=24 * 4, names=4, freq="60min", region="crypto")
    executor = NestedExecutor(
        "day",
        SimulatorExecutor("60min", generate_portfolio_metrics=True),
        TWAPStrategy(),
        generate_portfolio_metrics=True,
    )
    outer = topk(provider, topk=1, n_drop=1)
    signal = random_signal(provider)
    outer.signal = type(outer.signal)(signal)
    strategy, made = get_strategy_executor(
        "2024-01-02", "2024-01-04", outer, executor, None, 1e6,
        {"provider": provider, "freq": "60min", "open_cost": 0, "close_cost": 0, "min_cost": 0},
    )  # fmt: skip
    from qlib.backtest import backtest_loop

    portfolio, indicators = backtest_loop("2024-01-02", "2024-01-04", strategy, made)
    assert list(portfolio) == ["1day", "60min"] and list(indicators) == ["1day", "60min"]
    daily, hourly = portfolio["1day"][0], portfolio["60min"][0]
    assert len(daily) == 3 and len(hourly) == 72
    np.testing.assert_allclose(daily["account"], hourly["account"].iloc[23::24])
    assert indicators["1day"][0]["ffr"].iloc[0] == pytest.approx(1.0)
    assert indicators["1day"][0]["pa"].iloc[0] == pytest.approx(0.0, abs=1e-12)
    assert indicators["1day"][0]["pos"].iloc[0] == 0.0  # an advantage of rounding size is none
    first = indicators["60min"][1].order_indicator_his
    amounts = [first[time].data["deal_amount"][0] for time in list(first)[:24]]
    np.testing.assert_allclose(amounts, amounts[0])


def test_given_orders_are_executed_without_an_account_of_ones_own():
    provider = random_market(8, bars=6, names=3)
    day = str(provider.clock.stamps[2].date())
    orders = pd.DataFrame(
        {"datetime": [day, day], "instrument": ["N0", "N1"], "amount": [5, 7], "direction": ["buy", -1]}
    )
    strategy = FileOrderStrategy(orders)
    found = backtest(
        provider.clock.stamps[1], provider.clock.stamps[-1], strategy, SimulatorExecutor("day"), benchmark=None,
        exchange_kwargs={"provider": provider, "trade_unit": None}, pos_type="InfPosition",
    )[1]["1day"][0]  # fmt: skip
    assert found["count"].tolist() == [0, 2, 0, 0, 0]
    assert found["deal_amount"].iloc[1] == 12
    assert isinstance(strategy.trade_position, InfPosition)
    with pytest.raises(InputError, match="lacks amount, direction"):
        FileOrderStrategy(orders[["datetime", "instrument"]])


def test_a_trade_range_needs_inner_steps():
    provider = random_market(8, bars=6, names=3)
    day = str(provider.clock.stamps[2].date())
    orders = pd.DataFrame({"datetime": [day], "instrument": ["N0"], "amount": [5], "direction": ["buy"]})
    with pytest.raises(InputError, match="a decision with a trade range needs a NestedExecutor"):
        run(provider, FileOrderStrategy(orders, trade_range=(0, 1)))


class Idle(BaseStrategy):
    def generate_trade_decision(self, execute_result=None):
        return EmptyTradeDecision(self)


def test_a_strategy_may_do_nothing():
    provider = random_market(8, bars=6, names=3)
    report, positions, fills, (steps, _) = run(provider, Idle())
    assert (report["account"] == 1e6).all() and not fills and steps["count"].sum() == 0
    assert positions[report.index[-1]].get_stock_list() == []


def test_a_strategy_of_ones_own_sees_position_clock_and_fills():
    seen = []

    class Once(BaseStrategy):
        def generate_trade_decision(self, execute_result=None):
            seen.append((self.trade_calendar.get_trade_step(), self.trade_position.get_stock_list(), execute_result))
            orders = []
            if self.trade_calendar.get_trade_step() == 1:
                orders = [self.trade_exchange.get_order_helper().create("N1", 3.0, Order.BUY)]
            return TradeDecisionWithDetails(orders, self, details="why")

    provider = random_market(8, bars=5, names=3)
    _, _, fills, _ = run(provider, Once())
    assert [step for step, *_ in seen] == [0, 1, 2, 3]
    assert [held for _, held, _ in seen] == [[], [], ["N1"], ["N1"]]
    assert seen[0][2] is None and seen[1][2] == [] and seen[2][2] == fills
    assert fills[0][0].start_time == provider.clock.stamps[2]


# ---------------------------------------------------------------------------------------------------- bad input
PROVIDER = random_market(9, bars=10)


def kw(kwargs: dict) -> dict:
    return {"executor": {**EXECUTOR, "kwargs": kwargs}}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"start": "2024-01-08", "end": "2024-01-02"}, ConfigError, "start_time 2024-01-08 00:00:00 is after end_time"),
        ({"start": None}, ConfigError, "start_time is missing"),
        ({"start": "tomorrow-ish"}, ConfigError, "start_time: received 'tomorrow-ish', which is no time"),
        ({"start": pd.Timestamp("2024-01-02", tz="UTC")}, ConfigError, "a time without zone"),
        ({"start": "2030-01-02", "end": "2030-01-04"}, MissingDataError, "2030-01-02"),
        ({"account": 0}, ConfigError, "received 0 as cash and no holdings"),
        ({"account": -5.0}, ConfigError, "account: received -5.0 as cash"),
        ({"account": "1e6"}, ConfigError, "account: received '1e6' as cash"),
        ({"account": float("nan")}, ConfigError, "account: received nan as cash"),
        ({"account": {"cahs": 5}}, ConfigError, "the keys cahs; 'cash' is needed"),
        (kw({"time_per_step": "30min"}), ConfigError, "steps every 30min but the exchange has bars of day"),
        (kw({"time_per_step": "1m"}), InputError, "write 1min or 1month"),
        (kw({"time_per_step": "day", "verbos": True}), ConfigError, "takes no argument verbos; did you mean verbose"),
        (kw({"time_per_step": "day", "settle_type": "T1"}), ConfigError, "settle_type: received 'T1'"),
        (kw({"time_per_step": "day", "trade_type": "paralel"}), ConfigError, "did you mean parallel"),
        ({"exchange": {"limit_treshold": 0.1}}, ConfigError, "did you mean limit_threshold"),
        ({"pos_type": "Positon"}, ConfigError, "did you mean Position"),
    ],
)  # fmt: skip
def test_input_that_cannot_be_run_is_named_before_anything_runs(changes, error, message):
    with pytest.raises(error, match=message):
        backtest(
            changes.get("start", "2024-01-02"),
            changes.get("end", "2024-01-09"),
            config(PROVIDER),
            changes.get("executor", EXECUTOR),
            benchmark=None,
            account=changes.get("account", 1e6),
            exchange_kwargs={"provider": PROVIDER, **changes.get("exchange", {})},
            pos_type=changes.get("pos_type", "Position"),
        )


def test_holdings_alone_are_an_account():
    account = create_account_instance("2024-01-02", "2024-01-03", None, {"cash": 0, "N1": 3}, provider=PROVIDER)
    assert account.current_position.get_stock_amount_dict() == {"N1": 3}
    assert account.current_position.calculate_value() > 0


def test_instruments_without_quotes_are_passed_over():
    times = pd.DatetimeIndex(PROVIDER.clock.times)
    signal = pd.Series({(time, name): 1.0 for time in times for name in ("XX", "N1")}).rename_axis(
        ["datetime", "instrument"]
    )
    _, positions, fills, _ = run(PROVIDER, TopkDropoutStrategy(signal=signal, topk=2, n_drop=1))
    assert {order.stock_id for order, *_ in fills} == {"N1"}


def test_two_sessions_side_by_side_do_not_meet():
    one, two = random_market(1, bars=8), random_market(2, bars=8, compat="qlib")
    assert isinstance(two, MemoryProvider)
    first = run(one, topk(one))[0]
    run(two, topk(two))
    pd.testing.assert_frame_equal(run(one, topk(one))[0], first)


def test_a_decision_knows_its_range_in_bars_of_the_data():
    seen = []

    class Ranged(BaseStrategy):
        def generate_trade_decision(self, execute_result=None):
            order = self.trade_exchange.get_order_helper().create("N0", 24.0, Order.BUY)
            made = TradeDecisionWO([order], self, TradeRangeByTime("10:00", "14:30"))
            seen.append((made.get_data_cal_range_limit(), made.get_data_cal_range_limit("step"), made.empty()))
            return made

    class Inner(TWAPStrategy):
        def generate_trade_decision(self, execute_result=None):
            seen.append((self.trade_calendar.get_trade_step(), self.get_data_cal_avail_range()))
            return super().generate_trade_decision(execute_result)

    provider = random_market(8, bars=48, names=2, freq="60min", region="crypto")
    executor = NestedExecutor("day", SimulatorExecutor("60min"), Inner(), generate_portfolio_metrics=True)
    _, _, fills, _ = run(
        provider, Ranged(), executor=executor, start_time="2024-01-02", end_time="2024-01-02 23:00",
        exchange_kwargs={"trade_unit": None},
    )  # fmt: skip
    assert seen[0] == ((10, 14), (10, 14), False)
    assert seen[1:] == [(step, (10, 14)) for step in range(10, 15)]
    assert [order.start_time.hour for order, *_ in fills] == [10, 11, 12, 13, 14]
    assert sum(order.deal_amount for order, *_ in fills) == pytest.approx(24.0)


def test_a_decision_without_a_range_has_the_whole_day():
    class Plain(BaseStrategy):
        def generate_trade_decision(self, execute_result=None):
            made = EmptyTradeDecision(self)
            assert made.get_data_cal_range_limit() == (0, 23)
            assert made.get_range_limit(default_value="none") == "none"
            with pytest.raises(NotImplementedError, match="no trade range"):
                made.get_data_cal_range_limit(raise_error=True)
            with pytest.raises(NotImplementedError, match="no trade range"):
                made.get_range_limit()
            with pytest.raises(InputError, match="rtype: received 'day'"):
                made.get_data_cal_range_limit("day")
            return made

    provider = random_market(8, bars=48, names=2, freq="60min", region="crypto")
    run(provider, Plain(), executor=SimulatorExecutor("day", generate_portfolio_metrics=True), start_time="2024-01-02")


def test_an_outer_strategy_may_revise_its_decision_on_the_way():
    class Revising(BaseStrategy):
        def generate_trade_decision(self, execute_result=None):
            return TradeDecisionWO([self.trade_exchange.get_order_helper().create("N0", 24.0, Order.BUY)], self)

        @staticmethod
        def update_trade_decision(trade_decision, trade_calendar):
            return EmptyTradeDecision(trade_decision.strategy) if trade_calendar.get_trade_step() == 6 else None

    provider = random_market(8, bars=48, names=2, freq="60min", region="crypto")
    executor = NestedExecutor("day", SimulatorExecutor("60min"), TWAPStrategy(), generate_portfolio_metrics=True)
    _, _, fills, (steps, _) = run(
        provider, Revising(), executor=executor, start_time="2024-01-02", end_time="2024-01-02 23:00",
        exchange_kwargs={"trade_unit": None},
    )  # fmt: skip
    assert sum(order.deal_amount for order, *_ in fills) == pytest.approx(6.0)
    assert len(fills) == 6 and len(steps) == 1

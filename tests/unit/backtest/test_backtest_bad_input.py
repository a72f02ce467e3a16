"""What cannot be backtested is said in one sentence before anything runs, and nothing is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from backtest_market import random_market, run

import qlib
from qlib import session
from qlib.backtest.decision import Order
from qlib.backtest.executor import NestedExecutor, SimulatorExecutor
from qlib.contrib.strategy.rule_strategy import FileOrderStrategy
from qlib.errors import ConfigError, InputError, MissingDataError
from qlib.utils.exceptions import LoadObjectError
from qlib.workflow.record_temp import PortAnaRecord

DAYS = pd.date_range("2024-01-01", periods=40)
NAMES = ["AAA", "BBB", "CCC"]
SPAN = {"start_time": "2024-01-05", "end_time": "2024-02-05"}


class Watched:
    """A recorder with a prediction, which notes whatever is to be written."""

    id = "1"

    def __init__(self, pred: Any) -> None:
        self.pred, self.written = pred, []

    def load_object(self, name: str) -> Any:
        if name != "pred.pkl":
            raise LoadObjectError(name)
        return self.pred

    def list_artifacts(self, folder: str | None = None) -> list[str]:  # noqa: ARG002
        return ["pred.pkl", "label.pkl"]

    def __getattr__(self, name: str) -> Any:
        if name not in ("save_objects", "save_file", "log_metrics", "log_params", "log_artifact"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.written.append((name, args, kwargs))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    rng = np.random.default_rng(1)
    frames = {
        name: pd.DataFrame(
            {"close": 10 + rng.normal(0, 0.1, 40).cumsum(), "volume": 1e4, "factor": 1.0, "change": 0.0}, index=DAYS
        )
        for name in NAMES
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        qlib.init(
            data={"day": pd.concat(frames, names=["instrument", "datetime"])},
            region="us",
            logging_config=None,
            logging_level=logging.CRITICAL,
        )
        yield
        session.close()


def scores() -> pd.DataFrame:
    index = pd.MultiIndex.from_product([DAYS, NAMES], names=["datetime", "instrument"])
    return pd.DataFrame({"score": np.random.default_rng(2).normal(size=len(index))}, index=index)


def twice() -> pd.DataFrame:
    return pd.concat([scores(), scores().iloc[:2]])


def infinite() -> pd.DataFrame:
    return scores().assign(score=lambda frame: np.where(np.arange(len(frame)) == 70, np.inf, frame["score"]))


def of_others() -> pd.DataFrame:
    return scores().rename(index=lambda name: f"X{name}", level="instrument")


def of_next_year() -> pd.DataFrame:
    return scores().rename(index=lambda time: time + pd.Timedelta(days=400), level="datetime")


def listed(time: str, name: str, amount: float, side: str = "buy") -> pd.DataFrame:
    return pd.DataFrame([(time, name, amount, side)], columns=["datetime", "instrument", "amount", "direction"])


def executor(step: str) -> dict[str, Any]:
    return {
        "class": "SimulatorExecutor",
        "module_path": "qlib.backtest.executor",
        "kwargs": {"time_per_step": step, "generate_portfolio_metrics": True},
    }


# what is given -> (the prediction, parts of the configuration, class of the error, the sentence)
BAD: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "duplicate rows": (
        twice, dict, ConfigError,
        "signal: AAA has several scores at 2024-01-01 00:00:00; one per instrument and time is allowed",
    ),
    "NaN scores": (
        lambda: scores() * np.nan, dict, ConfigError, "signal: every score is NaN: nothing would be traded",
    ),
    "an infinite score": (
        infinite, dict, ConfigError,
        r"signal: the score of BBB at 2024-01-24 00:00:00 is infinite; numbers and NaN are allowed",
    ),
    "instruments without quotes": (
        of_others, dict, ConfigError,
        r"signal: none of its 3 instruments has quotes, the first is XAAA; did you mean AAA\?",
    ),
    "dates of scores outside the backtest": (
        of_next_year, dict, ConfigError,
        "signal: its scores are from 2025-02-04 00:00:00 to .*, but the steps of the backtest use those of 2024-01-04",
    ),
    "dates outside the calendar": (
        scores, lambda: {"backtest": {"start_time": "2031-01-01", "end_time": "2031-02-01"}}, MissingDataError,
        "no day close of all from 2031-01-01 .* and the calendar has bars from 2024-01-01 00:00:00 to 2024-02-09",
    ),
    "a start after the end": (
        scores, lambda: {"backtest": {"start_time": "2024-02-05", "end_time": "2024-01-05"}}, ConfigError,
        "start_time 2024-02-05 00:00:00 is after end_time 2024-01-05 00:00:00",
    ),
    "a start that is no time": (
        scores, lambda: {"backtest": {"start_time": "soon"}}, ConfigError, "start_time: received 'soon', which is no",
    ),
    "a negative amount": (
        scores, lambda: {"strategy": FileOrderStrategy(listed("2024-01-09", "AAA", -5.0))}, InputError,
        "the amount of AAA at 2024-01-09 00:00:00 is -5.0; a finite number of at least 0 is allowed",
    ),
    "orders at no step": (
        scores, lambda: {"strategy": FileOrderStrategy(listed("2034-01-09", "AAA", 5.0))}, ConfigError,
        r"none of its 1 orders is at a time at which a step starts \(2024-01-05 00:00:00 to 2024-02-05 00:00:00\)",
    ),
    "orders for nothing": (
        scores, lambda: {"strategy": FileOrderStrategy(listed("2024-01-09", "ZZZ", 5.0))}, ConfigError,
        "none of its 1 orders is of an instrument with quotes, the first of these is ZZZ at 2024-01-09 00:00:00",
    ),
    "a frequency that is not stored": (
        scores, lambda: {"executor": executor("60min")}, MissingDataError,
        "freq: received 60min; data has no calendar for it, and none that it could be resampled from; stored there: d",
    ),
    "a frequency finer than the exchange's": (
        scores, lambda: {"executor": executor("60min"), "backtest": {"exchange_kwargs": {"freq": "day"}}}, ConfigError,
        "the executor steps every 60min but the exchange has bars of day: give exchange_kwargs freq='60min'",
    ),
    "a frequency that does not exist": (
        scores, lambda: {"executor": executor("fortnight")}, InputError, "freq: received 'fortnight'; allowed are",
    ),
    "an account of zero": (
        scores, lambda: {"backtest": {"account": 0}}, ConfigError, "account: received 0 as cash and no holdings",
    ),
    "an account below zero": (
        scores, lambda: {"backtest": {"account": -5.0}}, ConfigError, "account: received -5.0 as cash",
    ),
    "a holding below zero": (
        scores, lambda: {"backtest": {"account": {"cash": 1.0, "AAA": -5.0}}}, ConfigError,
        "initial holding AAA: received the amount -5.0; at least 0 is allowed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_it_is_one_sentence_and_nothing_is_written(live, what):
    pred, parts, kind, sentence = BAD[what]
    recorder = Watched(pred())
    strategy = {
        "class": "TopkDropoutStrategy",
        "module_path": "qlib.contrib.strategy",
        "kwargs": {"signal": "<PRED>", "topk": 2, "n_drop": 1},
    }
    with pytest.raises(kind, match=sentence) as caught:
        given = parts()
        config = {"strategy": strategy, "executor": executor("day"), **given}
        config["backtest"] = {**SPAN, "account": 1e6, "benchmark": None, **given.get("backtest", {})}
        PortAnaRecord(recorder, config).generate()
    assert "\n" not in str(caught.value)
    assert "np." not in str(caught.value)
    assert recorder.written == []


def test_the_same_run_without_a_fault_is_written(live):
    recorder = Watched(scores())
    config = {"backtest": {**SPAN, "account": 1e6, "benchmark": None}}
    config["strategy"] = FileOrderStrategy(listed("2024-01-09", "AAA", 5.0))
    PortAnaRecord(recorder, config).generate()
    assert {name for name, *_ in recorder.written} == {"save_objects", "save_file", "log_metrics"}


@pytest.mark.parametrize("amount", [-1.0, float("nan")])
def test_an_order_has_a_number_of_at_least_0_as_its_amount(amount):
    time = pd.Timestamp("2024-01-05")
    with pytest.raises(InputError, match="amount of an order: received (-1.0|nan) for AAA; a number of at least 0"):
        Order("AAA", amount, Order.BUY, time, time)


def test_a_part_of_a_list_that_cannot_be_given_is_warned_of(live, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger("qlib.strategy"), "warning", said.append)
    what = [listed("2024-01-09", "AAA", 5.0), listed("2024-01-09", "ZZZ", 5.0), listed("2023-01-09", "BBB", 5.0)]
    config = {"strategy": FileOrderStrategy(pd.concat(what)), "backtest": {**SPAN, "account": 1e6, "benchmark": None}}
    PortAnaRecord(Watched(scores()), config).generate()
    assert [sentence.partition(", the first")[0] for sentence in said] == [
        "list of orders: 1 of its 3 orders are not at a time at which a step starts "
        "(2024-01-05 00:00:00 to 2024-02-05 00:00:00)",
        "list of orders: 1 of its 3 orders are not of an instrument with quotes",
    ]


@pytest.mark.parametrize(("time", "name"), [("2034-01-09", "N1"), ("2024-01-09", "ZZZ")])
def test_by_qlibs_rules_a_list_that_cannot_be_given_trades_nothing(monkeypatch, time, name):
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger("qlib.strategy"), "warning", said.append)
    _, _, fills, _ = run(random_market(compat="qlib"), FileOrderStrategy(listed(time, name, 5.0)))
    assert not any(value for _, value, _, _ in fills)
    assert [sentence[:36] for sentence in said] == ["list of orders: none of its 1 orders"]
    with pytest.raises(ConfigError, match="none of its 1 orders"):
        run(random_market(), FileOrderStrategy(listed(time, name, 5.0)))


def test_a_list_below_another_strategy_may_have_days_without_orders():
    hours = random_market(bars=96, freq="60min", region="crypto")
    inner = FileOrderStrategy(listed("2024-01-03 05:00", "N1", 5.0))
    executor = NestedExecutor("day", SimulatorExecutor("60min"), inner, generate_portfolio_metrics=True)
    outer = FileOrderStrategy(pd.concat([listed(f"2024-01-0{day}", "N1", 1.0) for day in (2, 3, 4)]))
    exchange = {"trade_unit": None, "limit_threshold": None}
    run(hours, outer, executor=executor, start_time="2024-01-02", end_time="2024-01-04", exchange_kwargs=exchange)
    found = executor.inner_executor.trade_account.trades.frame()
    assert found[["time", "amount"]].to_numpy().tolist() == [[pd.Timestamp("2024-01-03 05:00"), 5.0]]

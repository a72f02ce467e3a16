"""Records: what they need, what they keep, and what they do when something is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib import session
from qlib.backtest.attribution import carry_names
from qlib.config import REGIONS
from qlib.errors import ConfigError, InputError
from qlib.utils.exceptions import LoadObjectError
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager
from qlib.workflow.record_temp import (
    ACRecordTemp,
    PortAnaRecord,
    RecordTemp,
    SigAnaRecord,
    SignalRecord,
    executor_levels,
)
from qlib.workflow.stage import stage, stage_of
from qlib.workflow.train import begin_task_train, end_task_train, task_train


@pytest.fixture
def run(tmp_path):
    runs = QlibRecorder(MLflowExpManager(str(tmp_path / "mlruns"), "E"))
    with runs.start(experiment_name="e"):
        yield runs.get_recorder()


@pytest.fixture
def signal():
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [pd.date_range("2020-01-01", periods=30), [f"S{i}" for i in range(12)]], names=["datetime", "instrument"]
    )
    truth = rng.normal(size=len(index))
    noise = rng.normal(size=len(index))
    label = pd.DataFrame({"OTHER": noise, "LABEL0": truth * 0.01}, index=index)
    return pd.DataFrame({"score": truth + noise}, index=index), label


def test_signal_analysis_keeps_series_and_metrics(run, signal):
    pred, label = signal
    run.save_objects(**{"pred.pkl": pred, "label.pkl": label})
    SigAnaRecord(run, ana_long_short=True, label_col=1).generate()
    ic = run.load_object("sig_analysis/ic.pkl")
    expected = pd.concat([pred, label], axis=1).groupby(level="datetime").apply(lambda d: d["score"].corr(d["LABEL0"]))
    np.testing.assert_allclose(ic, expected, rtol=1e-12)
    metrics = run.list_metrics()
    assert metrics["IC"] == pytest.approx(ic.mean())
    assert metrics["ICIR"] == pytest.approx(ic.mean() / ic.std())
    long_short = run.load_object("sig_analysis/long_short_r.pkl")
    assert metrics["Long-Short Ann Return"] == pytest.approx(long_short.mean() * 252)
    assert metrics["Long-Short Ann Sharpe"] == pytest.approx(long_short.mean() / long_short.std() * 252**0.5)
    assert len(metrics) == 8
    with pytest.raises(ConfigError, match="label_col: received 2; the label has 2 column"):
        SigAnaRecord(run, label_col=2).generate()


def test_a_year_has_as_many_dates_as_the_market_has(run, signal, tmp_path):
    """Without ann_scaler: 252, or in a market that never closes as many as the spacing of the dates gives."""
    pred, label = signal
    hours = pd.DatetimeIndex(pd.date_range("2020-01-01", periods=30, freq="4h")).repeat(12)
    index = pd.MultiIndex.from_arrays([hours, pred.index.get_level_values(1)], names=pred.index.names)
    run.save_objects(**{"pred.pkl": pred.set_axis(index), "label.pkl": label.set_axis(index)})
    try:
        for region, year in (("us", 252), ("crypto", 365 * 6)):
            qlib.init(provider_uri=str(tmp_path), region=region, logging_config=None)
            SigAnaRecord(run, ana_long_short=True).generate()
            mean = run.load_object("sig_analysis/long_short_r.pkl").mean()
            assert run.list_metrics()["Long-Short Ann Return"] == pytest.approx(mean * year)
            session.close()
    finally:
        session.close()


def test_a_record_whose_needs_are_missing_is_left_out(run, signal):
    SigAnaRecord(run).generate()
    PortAnaRecord(run).generate()
    with pytest.raises(FileNotFoundError, match=r"holds no pred.pkl, label.pkl"):
        SigAnaRecord(run).check()
    run.save_objects(**{"pred.pkl": signal[0], "label.pkl": None})
    assert SigAnaRecord(run).generate() is None
    assert run.list_artifacts() == ["label.pkl", "pred.pkl"]


def test_a_record_finds_files_of_its_own_and_of_what_it_depends_on(run, signal):
    run.save_objects(**{"pred.pkl": signal[0], "label.pkl": signal[1]})
    record = SigAnaRecord(run)
    record.generate()
    record.check(include_self=True)
    assert record.load("pred.pkl").shape == (360, 1)
    assert record.load("ic.pkl").shape == (30,)
    with pytest.raises(LoadObjectError):
        record.load("pred.pkl", parents=False)
    assert (SigAnaRecord.get_path(), SigAnaRecord.get_path("a"), SignalRecord.get_path("a")) == (
        "sig_analysis", "sig_analysis/a", "a",
    )  # fmt: skip


def test_results_that_are_there_can_be_left_alone(run, signal):
    run.save_objects(**{"pred.pkl": signal[0], "label.pkl": signal[1]})
    SigAnaRecord(run).generate()
    run.save_objects(artifact_path="sig_analysis", **{"ic.pkl": "mine"})
    assert SigAnaRecord(run, skip_existing=True).generate() is None
    assert run.load_object("sig_analysis/ic.pkl") == "mine"
    SigAnaRecord(run).generate()
    assert len(run.load_object("sig_analysis/ic.pkl")) == 30


def test_a_record_without_a_run_or_a_model_says_so(run):
    with pytest.raises(ConfigError, match="SigAnaRecord has no recorder"):
        SigAnaRecord(None).recorder  # noqa: B018
    with pytest.raises(ConfigError, match="needs a model and a dataset"):
        SignalRecord(recorder=run).generate()
    with pytest.raises(NotImplementedError):
        RecordTemp(run).generate()
    with pytest.raises(NotImplementedError):
        ACRecordTemp(run).generate()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"stratgy": {}}, r"has no part 'stratgy'.*did you mean strategy\?"),
        ({"executor": {"class": "qlib.backtest.executor.SimulatorExecutor"}}, "needs time_per_step"),
    ],
)
def test_a_portfolio_that_cannot_be_is_refused_at_once(config, said):
    with pytest.raises(InputError, match=said):
        PortAnaRecord(None, config)


def test_bar_sizes_to_analyse_must_have_metrics():
    simulator = {"class": "SimulatorExecutor", "module_path": "qlib.backtest.executor"}
    nested = {
        "class": "NestedExecutor",
        "module_path": "qlib.backtest.executor",
        "kwargs": {
            "time_per_step": "day",
            "generate_portfolio_metrics": True,
            "inner_executor": simulator | {"kwargs": {"time_per_step": "30min"}},
        },
    }
    assert executor_levels(nested) == [("1day", True), ("30min", False)]
    record = PortAnaRecord(None, {"executor": nested}, risk_analysis_freq="day")
    assert (record.risk_analysis_freq, record.all_freq) == (["1day"], ["1day"])
    with pytest.raises(ConfigError, match="received 30min; the executors with generate_portfolio_metrics have 1day"):
        PortAnaRecord(None, {"executor": nested}, indicator_analysis_freq=["30min"])
    bare = PortAnaRecord(None, {"executor": simulator | {"kwargs": {"time_per_step": "day"}}})
    assert (bare.all_freq, bare.list()) == ([], [])


def test_hourly_bars_without_a_benchmark_are_traded_and_annualised_by_the_market(run, golden_stores, tmp_path):
    qlib.init(provider_uri=str(golden_stores / "h60"), region="crypto", logging_config=None)
    try:
        provider = session.Session.active().provider
        times = provider.calendar(freq="60min")[200:300]
        names = provider.list_instruments(provider.instruments("all"), freq="60min", as_list=True)
        index = pd.MultiIndex.from_product([times, names], names=["datetime", "instrument"])
        pred = pd.DataFrame({"score": np.random.default_rng(1).normal(size=len(index))}, index=index)
        run.save_objects(**{"pred.pkl": pred, "label.pkl": pred})
        strategy = {
            "class": "TopkDropoutStrategy",
            "module_path": "qlib.contrib.strategy",
            "kwargs": {"signal": "<PRED>", "topk": 2, "n_drop": 1},
        }
        executor = {
            "class": "SimulatorExecutor",
            "module_path": "qlib.backtest.executor",
            "kwargs": {"time_per_step": "60min", "generate_portfolio_metrics": True},
        }
        config = {"strategy": strategy, "executor": executor, "backtest": {"account": 1e6, "benchmark": None}}
        PortAnaRecord(run, config, trade_log=["parquet", "csv"]).generate()
        report = run.load_object("portfolio_analysis/report_normal_60min.pkl")
        assert (report.index[0], report.index[-1]) == (times[0], times[-1] + pd.Timedelta(hours=1))
        mean = run.list_metrics()["60min.excess_return_without_cost.mean"]
        assert mean == pytest.approx(report["return"].mean())
        year = 24 * REGIONS["crypto"].days_per_year
        assert run.load_object("portfolio_analysis/capacity.pkl")["impact"] > 0
        assert run.list_metrics()["60min.excess_return_without_cost.annualized_return"] == pytest.approx(mean * year)
        assert set(run.list_artifacts("portfolio_analysis")) == {
            f"portfolio_analysis/{name}.pkl"
            for name in ("report_normal_60min", "positions_normal_60min", "indicators_normal_60min",
                         "indicators_normal_60min_obj", "port_analysis_60min", "indicator_analysis_60min", "capacity")
        } | {"portfolio_analysis/trades.parquet", "portfolio_analysis/trades.csv"}  # fmt: skip
        trades = pd.read_parquet(run.download_artifact("portfolio_analysis/trades.parquet"))
        text = pd.read_csv(run.download_artifact("portfolio_analysis/trades.csv"), dtype=str)
        text = text.astype({name: float for name in trades.columns if trades[name].dtype == float})
        pd.testing.assert_frame_equal(
            text.assign(time=pd.to_datetime(text["time"])), trades, check_exact=True, check_dtype=False
        )
        assert trades["fee"].sum() == pytest.approx(report["total_cost"].iloc[-1])

        config["backtest"]["exchange_kwargs"] = {"short": {"borrow": 0.001}}
        PortAnaRecord(run, config).generate()
        parts = run.load_object("portfolio_analysis/attribution_normal_60min.pkl")
        assert carry_names(parts) == ["borrow"]
        report = run.load_object("portfolio_analysis/report_normal_60min.pkl")
        assert parts["account"].equals(report["account"])
        spent = parts[["fee", "impact", "borrow"]].sum(axis=1)
        np.testing.assert_allclose(parts["change"], parts["price"] - spent, atol=1e-6)
    finally:
        session.close()


def test_a_log_of_trades_that_cannot_be_written_is_refused_at_once():
    with pytest.raises(
        ConfigError, match="trade_log: received 'cvs'; allowed are parquet, csv and a list of them.*csv"
    ):
        PortAnaRecord(None, trade_log=["parquet", "cvs"])


def test_the_innermost_stage_is_named_once():
    with pytest.raises(ZeroDivisionError) as caught, stage("outer"), stage("inner"):
        1 / 0  # noqa: B018
    assert stage_of(caught.value) == "inner"
    assert stage_of(ValueError()) is None


TASK = {
    "model": {"class": "LinearModel", "module_path": "qlib.contrib.model.linear"},
    "dataset": {
        "class": "DatasetH",
        "module_path": "qlib.data.dataset",
        "kwargs": {
            "handler": {"class": "DataHandlerLP", "module_path": "qlib.data.dataset.handler", "kwargs": {}},
            "segments": {"train": ["2020-01-01", "2020-01-20"], "test": ["2020-01-21", None]},
        },
    },
    "record": ["SignalRecord", {"class": "SigAnaRecord"}],
    "note": {"random_state": 7},
}


@pytest.fixture
def task(signal, tmp_path):
    pred, label = signal
    frame = pd.concat({"feature": pred, "label": label[["LABEL0"]]}, axis=1)
    frame.to_pickle(tmp_path / "frame.pkl")
    qlib.init(
        provider_uri=str(tmp_path),
        region="us",
        logging_config=None,
        exp_manager={
            "class": "MLflowExpManager",
            "module_path": "qlib.workflow.expm",
            "kwargs": {"uri": str(tmp_path / "runs"), "default_exp_name": "E"},
        },
    )
    loader = {"class": "StaticDataLoader", "kwargs": {"config": str(tmp_path / "frame.pkl")}}
    handler = TASK["dataset"]["kwargs"]["handler"] | {"kwargs": {"data_loader": loader}}
    dataset = TASK["dataset"] | {"kwargs": TASK["dataset"]["kwargs"] | {"handler": handler}}
    yield TASK | {"dataset": dataset}
    session.close()


def test_a_task_is_trained_in_one_step_or_in_two(task):
    whole = task_train(task, "whole", recorder_name="one")
    begun = begin_task_train(task, "halves")
    assert begun.list_artifacts() == ["seeds.json", "task"]
    ended = end_task_train(begun, "halves")
    assert (whole.status, whole.name, ended.status, ended.id) == ("FINISHED", "one", "FINISHED", begun.id)
    pd.testing.assert_frame_equal(whole.load_object("pred.pkl"), ended.load_object("pred.pkl"))
    assert whole.list_metrics().keys() == {"IC", "ICIR", "Rank IC", "Rank ICIR"}
    assert "hostname" in whole.list_tags()
    model = whole.load_object("params.pkl")
    assert model.coef_.shape == (1,)
    assert '"note.random_state": 7' in open(whole.download_artifact("seeds.json")).read()  # noqa: PTH123, SIM115


def test_a_task_without_a_model_is_refused_and_its_run_failed(task):
    with pytest.raises(ConfigError, match=r"a task needs the key model; received modle, .*did you mean modle"):
        task_train({"modle": task["model"], "dataset": task["dataset"]}, "e")
    (run,) = session.Session.active().recorder.list_recorders(experiment_name="e").values()
    assert run.status == "FAILED"

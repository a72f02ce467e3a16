"""qrun: what it checks, what it leaves behind, what it says and with which exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from qrun_job import DROP, HANDLER, changed, config, here, market, runs_in, tree, written  # noqa: F401  fixtures

from qlib import session
from qlib.cli import run as qrun
from qlib.cli.check import ConfigProblemsError, check_config
from qlib.cli.job import LOCK
from qlib.cli.run import main, workflow
from qlib.cli.runs import find_run
from qlib.data.provider import Provider
from qlib.utils.locks import locked
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager


# ----------------------------------------------------------------------------------------------------- a fine run
def test_a_run_keeps_everything_and_ends_with_where_it_is(here, config, capsys):
    assert main([written(config, here)]) == 0
    said = capsys.readouterr()
    (run,) = runs_in(here / "mlruns")
    assert run.status == "FINISHED"
    assert {"config", "task", "dataset", "params.pkl", "pred.pkl", "label.pkl", "seeds.json", "sig_analysis",
            "portfolio_analysis", "report", "trial.json"} <= set(run.list_artifacts())  # fmt: skip
    kinds = ("report_normal_1day.pkl positions_normal_1day.pkl indicators_normal_1day.pkl trades.parquet "
             "indicators_normal_1day_obj.pkl port_analysis_1day.pkl indicator_analysis_1day.pkl")  # fmt: skip
    assert {f"portfolio_analysis/{name}" for name in kinds.split()} <= set(run.list_artifacts("portfolio_analysis"))
    names = {"ic", "ric", "long_short_r", "long_avg_r"}
    assert {f"sig_analysis/{name}.pkl" for name in names} <= set(run.list_artifacts("sig_analysis"))
    measures = ["mean", "std", "annualized_return", "information_ratio", "max_drawdown"]
    assert set(run.list_metrics()) == {
        "IC", "ICIR", "Rank IC", "Rank ICIR", "1day.ffr", "1day.pa", "1day.pos",
        *(f"{kind} Ann {what}" for kind in ("Long-Short", "Long-Avg") for what in ("Return", "Sharpe")),
        *(f"1day.excess_return_{cost}_cost.{m}" for cost in ("with", "without") for m in measures),
    }  # fmt: skip
    pred = run.load_object("pred.pkl")
    assert list(pred.columns) == ["score"]
    assert pred.index.names == ["datetime", "instrument"]
    assert run.load_object("config")["task"] == config["task"] == run.load_object("task")
    assert run.list_params()["model.kwargs.alpha"] == "0.01"
    assert run.load_object("params.pkl").predict is not None
    assert run.load_object("dataset").segments == config["task"]["dataset"]["kwargs"]["segments"]
    last = said.out.splitlines()
    assert last[0].split() == ["run", run.id]
    assert f"mlflow ui --backend-store-uri sqlite:///{here}/mlruns/mlflow.db" in last[1]
    assert Path(last[2].split(maxsplit=1)[1]).read_text().startswith("<!")
    assert "Traceback" not in said.err


def test_json_gives_the_same_run_as_yaml(here, config, capsys):
    assert main([written(config, here), "--uri_folder", "a"]) == 0
    session.close()
    assert main([written(config, here, "c.json"), "--uri_folder=b", "--experiment_name=named"]) == 0
    (one,), (other,) = runs_in(here / "a"), runs_in(here / "b", "named")
    pd.testing.assert_frame_equal(one.load_object("pred.pkl"), other.load_object("pred.pkl"))
    report = "portfolio_analysis/report_normal_1day.pkl"
    pd.testing.assert_frame_equal(one.load_object(report), other.load_object(report))
    ours = {k: v for k, v in one.list_metrics().items() if not np.isnan(v)}
    assert ours == {k: v for k, v in other.list_metrics().items() if not np.isnan(v)}


def test_workflow_is_a_function_too_and_the_files_experiment_name_wins(here, config):
    config["experiment_name"] = "from_file"
    config["task"]["record"] = "SignalRecord"
    recorder = workflow(written(config, here), experiment_name="from_argument", uri_folder="runs")
    assert recorder.status == "FINISHED"
    assert [r.id for r in runs_in(here / "runs", "from_file")] == [recorder.id]


def test_a_benchmark_is_optional(here, config):
    config = changed(config, "task.record.2.kwargs.config.backtest.benchmark", None)
    config = changed(config, "task.record.2.kwargs.config.backtest.start_time", None)
    config = changed(config, "task.record.2.kwargs.config.backtest.end_time", None)
    assert main([written(config, here)]) == 0
    (run,) = runs_in(here / "mlruns")
    report = run.load_object("portfolio_analysis/report_normal_1day.pkl")
    figures = run.list_metrics()
    assert figures["1day.excess_return_without_cost.mean"] == pytest.approx(report["return"].mean())
    assert (report.index[0], report.index[-1]) == (pd.Timestamp("2020-06-01"), pd.Timestamp("2020-08-03"))


def test_placeholders_name_other_parts_of_the_task(here, config):
    config["task"]["dataset"]["kwargs"]["segments"]["valid"] = ["<dataset.kwargs.segments.test.0>", "2020-07-31"]
    config["task"]["record"] = [{"class": "SignalRecord"}]
    assert main([written(config, here)]) == 0
    (run,) = runs_in(here / "mlruns")
    assert run.load_object("dataset").segments["valid"] == ["2020-06-01", "2020-07-31"]
    assert run.load_object("task")["dataset"]["kwargs"]["segments"]["valid"][0].startswith("<dataset")


def test_the_command_runs_as_a_module_and_waits_for_no_terminal(here, config):
    root = Path(qrun.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "qlib.cli.run", written(config, here), "--check"],
        env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False, cwd=here,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "config is fine\n", "")


# -------------------------------------------------------------------------------------------------------- --check
def test_check_warns_of_labels_that_reach_into_the_next_segment(here, config, capsys):
    config["task"]["dataset"]["kwargs"]["segments"]["train"] = ["2020-01-10", "2020-05-28"]
    assert main([written(config, here), "--check"]) == 0
    warned, fine = capsys.readouterr().out.splitlines()
    assert warned.startswith("warning: task.dataset.kwargs.segments.test: the labels of train look 2 bars ahead")
    assert "let train end on 2020-05-27 or test begin on 2020-06-02" in warned and fine == "config is fine"


def test_check_says_fine_and_touches_nothing(here, config, market, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    (here / "mine").mkdir()
    (here / "mine" / "my_model.py").write_text(
        "from qlib.contrib.model.linear import LinearModel\nclass My(LinearModel): ...\n"
    )
    config["sys"] = {"rel_path": "mine"}
    config["task"]["model"] = {"class": "My", "module_path": "my_model"}
    file = written(config, here)
    before = tree(here, market)
    assert main([file, "--check"]) == 0
    assert capsys.readouterr().out == "config is fine\n"
    assert tree(here, market) == before


WRONG = {
    "unknown class": (
        "task.model.class",
        "LinearModle",
        "has no class or function LinearModle; did you mean LinearModel?",
    ),
    "unknown module": (
        "task.model.module_path",
        "qlib.contrib.model.linaer",
        "did you mean qlib.contrib.model.linear?",
    ),
    "wrong argument": (
        "task.model.kwargs",
        {"estimatr": "ols"},
        "LinearModel takes no argument estimatr; did you mean estimator?",
    ),
    "wrong argument of a strategy": (
        "task.record.2.kwargs.config.strategy.kwargs",
        {"signal": "<PRED>", "topk": 3, "n_dorp": 1},
        "TopkDropoutStrategy takes no argument n_dorp; did you mean n_drop?",
    ),
    "wrong argument of the base": (
        "task.record.2.kwargs.config.strategy.kwargs",
        {"signal": "<PRED>", "topk": 3, "n_drop": 1, "risk_degre": 1},
        "takes no argument risk_degre; did you mean risk_degree?",
    ),
    "wrong argument of a processor": (
        f"{HANDLER}.infer_processors.0.kwargs",
        {"fields_grp": "x"},
        "did you mean fields_group?",
    ),
    "unknown processor": (f"{HANDLER}.infer_processors.0.class", "Filna", "did you mean Fillna?"),
    "wrong argument of the exchange": (
        "task.record.2.kwargs.config.backtest.exchange_kwargs",
        {"open_cots": 0.1},
        "Exchange takes no argument open_cots; did you mean open_cost?",
    ),
    "wrong argument of the backtest": (
        "task.record.2.kwargs.config.backtest",
        {"acount": 1},
        "backtest takes no argument acount; did you mean account?",
    ),
    "wrong argument of a record": ("task.record.1.kwargs", {"ana_long_shrt": True}, "did you mean ana_long_short?"),
    "bar size without metrics": (
        "task.record.2.kwargs.risk_analysis_freq",
        ["week"],
        "received 1week; the executors with generate_portfolio_metrics have 1day",
    ),
    "wrong argument of qlib.init": (
        "qlib_init.provider_url",
        "x",
        "qlib.init takes no argument provider_url; did you mean provider_uri?",
    ),
    "unknown region": ("qlib_init.region", "uk", "region: received 'uk'; allowed are cn, us, tw"),
    "missing store": ("qlib_init.provider_uri", "/nowhere/store", "there is no folder /nowhere/store"),
    "unknown market": (f"{HANDLER}.instruments", "al", "received 'al'"),
    "unknown instrument": (f"{HANDLER}.instruments", ["S01", "S99"], "there are no day data of S99"),
    "unknown operator": (
        f"{HANDLER}.data_loader.kwargs.config.feature",
        [["Maen($close, 5)"], ["M"]],
        "Did you mean Mean?",
    ),
    "unknown field": (
        f"{HANDLER}.data_loader.kwargs.config.feature",
        [["$closse"], ["M"]],
        "no instrument has the field $closse at day; did you mean $close?",
    ),
    "unstored bar size": (f"{HANDLER}.data_loader.kwargs.freq", "60min", "60min"),
    "unknown benchmark": (
        "task.record.2.kwargs.config.backtest.benchmark",
        "INDX",
        "hold no close of INDX; did you mean INDEX?",
    ),
    "unknown price": (
        "task.record.2.kwargs.config.backtest.exchange_kwargs.deal_price",
        "vwap",
        "no instrument has the field $vwap",
    ),
    "no date": (
        "task.dataset.kwargs.segments.test.0",
        "2020-06-31",
        "task.dataset.kwargs.segments.test.0: received '2020-06-31', which is no date",
    ),
    "a number for a date": (
        f"{HANDLER}.start_time",
        20200101,
        "received the number 20200101, not a date; write '20200101' in quotes",
    ),
    "end before start": (
        "task.dataset.kwargs.segments.test",
        ["2020-07-31", "2020-06-01"],
        "ends (2020-06-01) before it starts (2020-07-31)",
    ),
    "no pair": ("task.dataset.kwargs.segments.test", "2020-07-31", "a segment is [start, end]"),
    "outside the calendar": (
        "task.dataset.kwargs.segments.test",
        ["2031-01-01", "2031-02-01"],
        "2031-01-01 to 2031-02-01 lies outside the data: the calendar of day bars holds 2020-01-01 to 2020-08-11",
    ),
    "far over the end": ("task.dataset.kwargs.segments.test.1", "2099-01-01", "2099-01-01 lies after the data"),
    "backtest outside the calendar": (
        "task.record.2.kwargs.config.backtest.start_time",
        "1999-01-01",
        "1999-01-01 lies before the data",
    ),
    "not loaded": (f"{HANDLER}.end_time", "2020-05-30", "lies outside what the handler loads"),
    "no test segment": (
        "task.dataset.kwargs.segments",
        {"train": ["2020-01-10", "2020-05-28"], "tset": ["2020-06-01", None]},
        "did you mean tset?",
    ),
    "unknown placeholder": ("task.record.0.kwargs.model", "<MODLE>", "<MODLE> is no path inside the task"),
    "misspelt part": ("task.records", [], "a task has no such part"),
    "misspelt key of an object": ("task.model.kwarg", {}, "has no key kwarg; did you mean kwargs?"),
    "no model": ("task.model", DROP, "task.model: missing"),
    "no task": ("task", DROP, "task: missing"),
    "model without class": ("task.model.class", DROP, "needs the key class or func"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_before_anything_is_loaded_or_written(here, config, capsys, monkeypatch, what):
    path, value, sentence = WRONG[what]
    if path == "task.records":
        config["task"].pop("record")
    file = written(changed(config, path, value), here)
    monkeypatch.setattr(Provider, "features", lambda *_, **__: pytest.fail("data were loaded"))
    before = tree(here)
    for arguments in ([file, "--check"], [file]):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert sentence in said.err
        assert "Traceback" not in said.err
        assert said.err.startswith(f"qrun: {file} has ")
    assert tree(here) == before


def test_everything_that_is_wrong_is_said_at_once(config, tmp_path):
    for path, value in [
        ("task.model.kwargs", {"estimatr": "ols"}),
        ("task.record.2.kwargs.config.strategy.class", "TopkDropout"),
        ("task.record.2.kwargs.config.backtest.benchmark", "INDX"),
        ("task.dataset.kwargs.segments.test.0", "June"),
        (f"{HANDLER}.instruments", "al"),
        (
            f"{HANDLER}.data_loader.kwargs.config.feature",
            [["Maen($close, 5)", "$closse", "Std($close,"], ["a", "b", "c"]],
        ),
        ("qlib_init.kernls", 1),
    ]:
        config = changed(config, path, value)
    (tmp_path / "file").write_text("")
    problems = check_config(config, tmp_path / "file" / "mlruns")
    assert [problem.where for problem in problems] == [
        "qlib_init.kernls",
        "uri_folder",
        "task.model.kwargs",
        "task.record.2.kwargs.config.strategy",
        "task.dataset.kwargs.segments.test.0",
        f"{HANDLER}.instruments",
        f"{HANDLER}",
        f"{HANDLER}",
        f"{HANDLER}",
        "task.record.2.kwargs.config.backtest.benchmark",
    ], "\n".join(map(str, problems))
    error = ConfigProblemsError("c.yaml", problems)
    assert str(error).startswith(f"c.yaml has {len(problems)} problems:\n  qlib_init.kernls: ")


def test_a_configuration_that_is_no_table_or_not_there_is_one_sentence(here, capsys):
    (here / "list.yaml").write_text("- 1\n")
    for file in ("list.yaml", "absent.yaml"):
        assert main([file]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert [p.name for p in here.iterdir()] == ["list.yaml"]


def test_wrong_options_are_the_parsers_business(here, capsys):
    for arguments in ([], ["c.yaml", "--chekc"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert "usage: qrun" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- runs that fail
MODELS = """
from qlib.contrib.model.linear import LinearModel
class Crash(LinearModel):
    def fit(self, dataset, reweighter=None):
        raise ZeroDivisionError("deep inside")
class Stop(LinearModel):
    def predict(self, dataset, segment="test"):
        raise KeyboardInterrupt
class TakesItsTime(LinearModel):
    def __init__(self):
        raise TypeError("a fault of the constructor")
"""


@pytest.mark.parametrize(
    ("model", "code", "said"),
    [
        ("Crash", 1, "the run failed in the stage fit: ZeroDivisionError: deep inside; traceback in "),
        ("TakesItsTime", 1, "the run failed in the stage model: TypeError: a fault of the constructor; traceback in "),
        ("Stop", 130, "interrupted in the stage record SignalRecord"),
    ],
)
def test_a_run_that_fails_says_where_and_leaves_earlier_runs_alone(here, config, capsys, model, code, said):
    config["task"]["record"] = ["SignalRecord"]
    assert main([written(config, here)]) == 0
    (first,) = runs_in(here / "mlruns")
    before = tree(here / "mlruns" / "workflow" / first.id)
    session.close()
    (here / "models.py").write_text(MODELS)
    capsys.readouterr()
    config = changed(config, "task.model", {"class": model, "module_path": str(here / "models.py")})
    assert main([written(config, here)]) == code
    err = capsys.readouterr().err
    last = err.splitlines()[-1]
    assert said in last
    assert "Traceback" not in err
    failed, old = runs_in(here / "mlruns")
    assert (failed.status, old.status, old.id) == ("FAILED", "FINISHED", first.id)
    assert f"run {failed.id} is marked FAILED" in last
    assert tree(here / "mlruns" / "workflow" / first.id) == before
    assert "config" in failed.list_artifacts()
    if code == 1:
        kept = Path(last.split("traceback in ")[1].split(";")[0])
        assert "Traceback (most recent call last)" in kept.read_text()
        assert kept.name in failed.list_artifacts()


def test_debug_shows_the_traceback(here, config, capsys):
    (here / "models.py").write_text(MODELS)
    config = changed(config, "task.model", {"class": "Crash", "module_path": str(here / "models.py")})
    assert main([written(config, here), "--debug"]) == 1
    assert "ZeroDivisionError: deep inside" in capsys.readouterr().err.split("Traceback (most recent call last)")[1]


@pytest.mark.parametrize("damage", [lambda b: b[:-2], lambda b: np.float32(np.nan).tobytes() + b[4:]])
def test_a_damaged_file_of_the_store_is_named_before_the_work(here, config, capsys, market, damage):
    file = market / "features" / "s03" / "close.day.bin"
    whole = file.read_bytes()
    configuration = written(config, here)
    before = tree(here)
    try:
        file.write_bytes(damage(whole))
        for check in ([], ["--check"]):
            assert main([configuration, *check]) == 2
            assert capsys.readouterr().err.count(str(file)) == 1
    finally:
        file.write_bytes(whole)
    assert tree(here) == before


@pytest.mark.parametrize("place", ["file/mlruns", "/proc/mlruns"])
def test_a_place_that_cannot_be_written_is_found_before_the_work(here, config, capsys, monkeypatch, place):
    (here / "file").write_text("")
    monkeypatch.setattr(Provider, "features", lambda *_, **__: pytest.fail("data were loaded"))
    assert main([written(config, here), "--uri_folder", place]) == 2
    assert "runs cannot be kept in" in capsys.readouterr().err.splitlines()[-1]


def test_a_database_of_another_program_is_left_alone(here, config, capsys):
    (here / "mlruns").mkdir()
    (here / "mlruns" / "mlflow.db").write_text("something else")
    assert main([written(config, here)]) == 2
    assert "is not a database of MLflow" in capsys.readouterr().err
    assert (here / "mlruns" / "mlflow.db").read_text() == "something else"


def test_values_of_the_environment_reach_the_configuration_and_no_log(here, config, market, capsys, monkeypatch):
    monkeypatch.setenv("MY_STORE", str(market))
    monkeypatch.setenv("MY_TOKEN", "hunter2")
    config = changed(config, "qlib_init.provider_uri", "{{ MY_STORE }}")
    config["task"]["record"] = []
    file = written(config, here)
    Path(file).write_text(Path(file).read_text() + "\nother: '{{ MY_TOKEN }}'\n")
    assert main([file]) == 0
    said = capsys.readouterr()
    assert "hunter2" not in said.err + said.out


# -------------------------------------------------------------------------------------------- what is said, and to whom
def test_a_program_gets_a_line_for_each_stage_and_the_end(here, config, capsys):
    assert main([written(config, here), "--json"]) == 0
    said = capsys.readouterr()
    told = [json.loads(line) for line in said.out.splitlines()]
    stages = [one["stage"] for one in told if one["event"] == "stage"]
    assert [
        name for name in ("check", "qlib.init", "fit", "record PortAnaRecord", "report") if name not in stages
    ] == []
    assert all(one["seconds"] >= 0 for one in told if one["event"] == "stage")
    (run,) = runs_in(here / "mlruns")
    assert told[-1]["event"] == "run" and told[-1]["run"] == run.id and Path(told[-1]["report"]).is_file()
    assert stages.count("fit") == 1 and len(re.findall(r"INFO qlib.workflow: fit \d+\.\d s", said.err)) == 1


def test_quiet_leaves_warnings_and_the_end(here, config, capsys):
    config["task"]["dataset"]["kwargs"]["segments"]["train"] = ["2020-01-10", "2020-05-28"]
    config["task"]["record"] = "SignalRecord"
    assert main([written(config, here), "--quiet"]) == 0
    said = capsys.readouterr()
    assert "INFO" not in said.err and "WARNING qlib.qrun: task.dataset.kwargs.segments.test: the labels" in said.err
    assert said.out.splitlines()[0].startswith("run  ")


def test_a_program_gets_what_is_wrong_and_what_failed(here, config, capsys):
    file = written(changed(config, "task.model.kwargs.estimatr", 1), here)
    assert main([file, "--check", "--json"]) == 2
    (told,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told["event"] == "failed" and told["exit"] == 2
    assert told["problems"] == [
        {"where": "task.model.kwargs", "what": "LinearModel takes no argument estimatr; did you mean estimator?"}
    ]
    (here / "models.py").write_text(MODELS)
    model = {"class": "Crash", "module_path": str(here / "models.py")}
    assert main([written(changed(config, "task.model", model), here), "--json"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    (run,) = runs_in(here / "mlruns")
    assert (told["event"], told["stage"], told["run"], told["exit"]) == ("failed", "fit", run.id, 1)
    assert told["status"] == "FAILED" and "ZeroDivisionError: deep inside" in told["error"]
    assert main([written(config, here), "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"event": "check", "problems": [], "warnings": []}


# -------------------------------------------------------------------------------------------------- going on with a run
MENDED = """
import pathlib
from qlib.contrib.model.linear import LinearModel
class Mended(LinearModel):
    def predict(self, dataset, segment="test"):
        if not pathlib.Path("mended").exists():
            raise ConnectionError("the cable is out")
        return super().predict(dataset, segment)
"""


def test_a_run_that_broke_is_gone_on_with_under_its_own_number(here, config, capsys):
    (here / "models.py").write_text(MENDED)
    model = {"class": "Mended", "module_path": str(here / "models.py"), "kwargs": {"estimator": "ols"}}
    config = changed(changed(config, "task.model", model), "task.record", ["SignalRecord"])
    assert main([written(config, here)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    (broken,) = runs_in(here / "mlruns")
    assert last.endswith(f"run {broken.id} is marked FAILED; qrun --resume {broken.id} goes on")
    (here / "c.yaml").unlink()  # the run keeps its configuration
    (here / "mended").touch()
    for name in ([], ["last"], [broken.id]):
        session.close()
        assert main(["--resume", *name]) == 0
    assert "finished already" in capsys.readouterr().out
    (run,) = runs_in(here / "mlruns")
    assert (run.id, run.status) == (broken.id, "FINISHED")
    assert "report" in run.list_artifacts() and run.load_object("config")["task"] == config["task"]


def test_a_run_that_is_computed_cannot_be_gone_on_with_and_the_names_of_runs_are_told(here, config, capsys):
    assert main(["--resume", "last"]) == 2
    assert "there are no runs in" in capsys.readouterr().err
    with QlibRecorder(MLflowExpManager(str(here / "mlruns"), "E")).start(experiment_name="by hand"):
        pass
    assert main(["--resume", "last"]) == 0  # it is finished
    assert "finished already" in capsys.readouterr().out
    by_hand = find_run("last", here / "mlruns")
    by_hand.end_run("FAILED")
    assert main(["--resume", "last"]) == 2
    assert f"run {by_hand.id} keeps no configuration to go on by" in capsys.readouterr().err
    config["task"]["record"] = []
    (here / "models.py").write_text(MODELS)
    model = {"class": "Crash", "module_path": str(here / "models.py")}
    assert main([written(changed(config, "task.model", model), here)]) == 1
    (run,) = runs_in(here / "mlruns")
    session.close()
    capsys.readouterr()
    with locked(Path(run.get_local_dir(), LOCK), purpose="computing it"):
        assert main(["--resume", run.id[:8]]) == 1
        assert f"locked by process {os.getpid()}" in capsys.readouterr().err
    assert main(["--resume", "abcd"]) == 2
    assert f"none of that id; the newest of 2 runs there are {run.id}" in capsys.readouterr().err


def test_who_is_told_to_end_leaves_a_run_that_failed(here, config, capsys, monkeypatch):
    (here / "models.py").write_text(
        "import os, signal, time\nfrom qlib.contrib.model.linear import LinearModel\n"
        "class Told(LinearModel):\n    def fit(self, dataset, reweighter=None):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n        time.sleep(5)\n"
    )
    config = changed(config, "task.model", {"class": "Told", "module_path": str(here / "models.py")})
    before = signal.getsignal(signal.SIGTERM)
    assert main([written(config, here)]) == 143
    assert "qrun: terminated in the stage fit; run " in capsys.readouterr().err
    assert [run.status for run in runs_in(here / "mlruns")] == ["FAILED"]
    assert signal.getsignal(signal.SIGTERM) is before

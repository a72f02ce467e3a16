"""Trials: every run counts, none is forgotten, and what follows from their number is said."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib import session
from qlib.analysis.significance import deflated_sharpe, minimum_track_record, moments, probabilistic_sharpe
from qlib.config import active_settings
from qlib.workflow import QlibRecorder, Recorder
from qlib.workflow.expm import MLflowExpManager
from qlib.workflow.ledger import FileLedger, TagLedger, ledger_of
from qlib.workflow.trials import ARTIFACT, Scope, begin_trial, end_trial, standing, trial_key, words
from tests.proof import cases

DAYS = pd.date_range("2024-01-01", periods=300)


@pytest.fixture
def runs(tmp_path):
    qlib.init(provider_uri=str(tmp_path / "store"), region="us", logging_config=None)
    yield QlibRecorder(MLflowExpManager(str(tmp_path / "mlruns"), "E"))
    session.close()


def task_of(number: int = 0, universe: object = "all", **more: object) -> dict:
    handler = {"class": "Alpha158", "kwargs": {"instruments": universe, **more}}
    return {"model": {"class": "M", "kwargs": {"x": number}}, "dataset": {"kwargs": {"handler": handler}}}


def report_of(seed: int, bench: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    market = rng.normal(0.0, 0.01, len(DAYS)) * bench
    earned = rng.normal(0.001, 0.01, len(DAYS)) + market
    return pd.DataFrame({"return": earned, "cost": 0.0002, "bench": market}, index=DAYS)


def tried(runs, task, report=None, ic=None, **more) -> tuple[Recorder, dict]:
    with runs.start(experiment_name="e"):
        run = runs.get_recorder()
        begin_trial(run, task)
        if report is not None:
            run.save_objects(artifact_path="portfolio_analysis", **{"report_normal_1day.pkl": report})
        if ic is not None:
            run.save_objects(artifact_path="sig_analysis", **{"ic.pkl": ic})
        facts = end_trial(run, task, **more)
    return run, facts


def test_a_trial_knows_its_number_and_what_luck_would_have_shown(runs):
    told = [tried(runs, task_of(k), report_of(k), snapshot=f"s{k}")[1] for k in range(4)]
    assert [(one["number"], one["trials"], one["again"]) for one in told] == [(k + 1, k + 1, False) for k in range(4)]
    last, net = told[-1], report_of(3)["return"] - 0.0002
    seen = moments(net)
    assert (last["snapshot"], last["returns"], last["bars"], last["freq"]) == ("s3", "net", 300, "1day")
    assert last["sharpe"] == pytest.approx(net.mean() / net.std(), rel=1e-12)
    assert last["sharpe_annual"] == pytest.approx(seen.sharpe * math.sqrt(252), rel=1e-12)
    ratios = [moments(report_of(k)["return"] - 0.0002).sharpe for k in range(4)]
    assert (last["deviation_of"], last["deviation"]) == ("trials", pytest.approx(np.std(ratios, ddof=1), rel=1e-9))
    assert last["dsr"] == pytest.approx(deflated_sharpe(seen, 4, np.std(ratios, ddof=1)), rel=1e-9)
    assert last["psr"] == pytest.approx(probabilistic_sharpe(seen), rel=1e-12)
    assert last["min_track_record"] == pytest.approx(minimum_track_record(seen), rel=1e-9)
    assert last["sharpe_interval"]["low"] < last["sharpe"] < last["sharpe_interval"]["high"]
    assert (told[0]["deviation_of"], told[0]["best_of_noise"]) == ("noise", 0.0)
    assert told[0]["dsr"] == told[0]["psr"]


def test_the_file_in_the_run_says_the_same_and_standing_counts_anew(runs):
    run, facts = tried(runs, task_of(0), report_of(0), ic=pd.Series(np.random.default_rng(1).normal(0.02, 0.1, 90)))
    assert json.loads(Path(run.download_artifact(ARTIFACT)).read_text()) == facts
    assert facts["ic"]["bars"] == 90
    assert facts["ic"]["interval"]["low"] < facts["ic"]["mean"] < facts["ic"]["interval"]["high"]
    tried(runs, task_of(1), report_of(1))
    now = standing(run)
    assert (now["number"], now["trials"], facts["trials"]) == (1, 2, 1)
    assert now["dsr"] < facts["dsr"]
    assert "trial 1 of 2 on the universe all, day: Sharpe ratio of the net return" in words(now)


def test_where_there_is_a_benchmark_the_ratio_is_of_the_excess(runs):
    report = report_of(5, bench=1.0)
    facts = tried(runs, task_of(), report)[1]
    excess = report["return"] - report["cost"] - report["bench"]
    assert (facts["returns"], facts["sharpe"]) == ("excess", pytest.approx(excess.mean() / excess.std(), rel=1e-9))
    other = tried(runs, task_of(1), report_of(6))[1]  # a ratio of another kind is not compared with this one
    assert (other["trials"], other["deviation_of"]) == (2, "noise")


def test_the_same_again_is_the_same_trial(runs):
    first, _ = tried(runs, task_of(0), report_of(0))
    tried(runs, task_of(1), report_of(1))
    again = tried(runs, dict(reversed(task_of(0).items())), report_of(0))[1]
    assert (again["number"], again["trials"], again["again"], again["first_run"]) == (1, 2, True, first.id)
    assert "trial 1 (made before) of 2" in words(again)


def test_a_run_that_fails_or_is_resumed_counts_once(runs):
    with pytest.raises(ZeroDivisionError), runs.start(experiment_name="e"):
        run = runs.get_recorder()
        begin_trial(run, task_of(0))
        1 / 0  # noqa: B018
    assert standing(run)["trials"] == 1
    assert "sharpe" not in standing(run)
    assert words(standing(run)) == "trial 1 of 1 on the universe all, day"
    with runs.start(experiment_name="e", recorder_id=run.id, resume=True):
        begin_trial(run, task_of(0))
        end_trial(run, task_of(0))
    assert tried(runs, task_of(1))[1]["number"] == 2


def test_code_that_is_edited_while_it_runs_is_the_trial_that_began_and_resumed_is_another(runs, tmp_path):
    module = tmp_path / "mine.py"
    module.write_text("class A: ...")
    task = task_of() | {"model": {"class": "A", "module_path": str(module)}}
    with runs.start(experiment_name="e"):
        run = runs.get_recorder()
        begin_trial(run, task)
        module.write_text("class A: x = 1")
        assert end_trial(run, task)["number"] == 1
    with runs.start(experiment_name="e", recorder_id=run.id, resume=True):
        begin_trial(run, task)
        begin_trial(run, task)
        facts = end_trial(run, task)
    assert (facts["number"], facts["trials"], facts["again"]) == (2, 2, False)


def test_deleting_a_run_or_its_experiment_forgets_no_trial(runs):
    run, _ = tried(runs, task_of(0), report_of(0))
    runs.get_exp(experiment_name="e").delete_recorder(recorder_id=run.id)
    assert tried(runs, task_of(1), report_of(1))[1]["number"] == 2
    runs.delete_exp(experiment_name="e")
    with runs.start(experiment_name="other"):
        assert end_trial(runs.get_recorder(), task_of(2))["number"] == 3


def test_trials_on_another_universe_bar_size_or_store_are_counted_apart(runs, tmp_path):
    tried(runs, task_of(0))
    assert tried(runs, task_of(1, universe=["B", "A"]))[1]["trials"] == 1
    assert tried(runs, task_of(2, universe=["A", "B"]))[1]["trials"] == 2
    assert tried(runs, task_of(3, freq="60min"))[1]["trials"] == 1
    assert tried(runs, task_of(3, freq="1h"))[1]["trials"] == 2
    assert tried(runs, task_of(4, universe={"market": "all"}))[1]["trials"] == 2
    assert tried(runs, task_of(5, universe={"market": "all", "filter_pipe": [1]}))[1]["trials"] == 1
    qlib.init(provider_uri=str(tmp_path / "elsewhere"), region="us", logging_config=None)
    assert tried(runs, task_of(0))[1]["trials"] == 1
    assert Scope.of(task_of(0, universe=[f"NAME{k}" for k in range(99)]), active_settings()).universe[:8] == (
        "99 names"
    )


@pytest.mark.parametrize(
    ("dataset", "universe"),
    [
        ({"kwargs": {"handler": {"class": "Alpha158", "kwargs": {"fit_start_time": 1}}}}, "Alpha158"),
        ({"kwargs": {"handler": "file:///x/h.pkl"}}, "file:///x/h.pkl"),
        ({"kwargs": {}}, "all"),
        (None, "all"),
        (
            {"kwargs": {"handler": {"kwargs": {"data_loader": {"kwargs": {"config": [{"instruments": "csi300"}]}}}}}},
            "csi300",
        ),
    ],
)
def test_the_universe_is_what_the_task_names_however_deep(runs, dataset, universe):
    assert Scope.of({"dataset": dataset}, active_settings()).universe == universe


def test_code_of_the_users_own_modules_is_part_of_a_trial(tmp_path):
    module = tmp_path / "mine.py"
    module.write_text("class A: ...")
    task = {"model": {"class": "A", "module_path": str(module)}, "record": ["SignalRecord", {"class": "no.such.Thing"}]}
    key = trial_key(task)
    assert trial_key(task) == key
    module.write_text("class A: x = 1")
    assert trial_key(task) != key
    assert trial_key({"model": {"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt"}})


def test_a_store_elsewhere_keeps_trials_as_tags(runs):
    """The ledger of a store that is no folder, tried on one that is: both read the same."""
    told = []
    for k in range(3):
        with runs.start(experiment_name=f"e{k % 2}"):
            run = runs.get_recorder()
            TagLedger(run).add({"event": "begun", "trial": f"t{k}", "scope": {}, "run": run.id, "time": f"{k}"})
            if k:
                TagLedger(run).add({"event": "ended", "trial": f"t{k}", "scope": {}, "run": run.id, "time": f"{k}."})
        told.append(run)
    runs.get_exp(experiment_name="e0").delete_recorder(recorder_id=told[0].id)
    assert [line["time"] for line in TagLedger(told[0]).lines()] == ["0", "1", "1.", "2", "2."]
    ledger = TagLedger(told[2])
    assert [line["event"] for line in ledger.lines_of(told[2])] == ["begun", "ended"]
    ledger.add({"event": "begun", "trial": "other", "scope": {}, "run": told[2].id, "time": "3"})
    assert [line["trial"] for line in ledger.lines_of(told[2])] == ["t2", "t2", "other"]


def test_a_run_that_no_ledger_belongs_to_is_left_alone():
    nowhere = Recorder("1", "r")
    assert ledger_of(nowhere) is None
    assert begin_trial(nowhere, {}) is None
    assert end_trial(nowhere, {}) is None
    assert standing(nowhere) is None


# ------------------------------------------------------------------------------------------------- the file itself
def line(number: int) -> dict:
    return {"event": "begun", "trial": f"t{number}", "run": "r", "scope": {}, "time": ""}


def test_a_torn_line_is_told_and_the_next_one_stands_by_itself(tmp_path, caplog):
    ledger = FileLedger(tmp_path / "trials.jsonl")
    ledger.add(line(0))
    with ledger.path.open("ab") as file:
        file.write(b'{"event": "beg')
    ledger.add(line(1))
    with caplog.at_level("WARNING", "qlib"):
        assert [one["trial"] for one in ledger.lines()] == ["t0", "t1"]


FULL = """
import resource, signal, sys
from pathlib import Path
from qlib.errors import StoreError
from qlib.workflow.ledger import FileLedger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = FileLedger(Path(sys.argv[1]))
ledger.add({"event": "begun", "trial": "a" * 5000, "run": "r"})  # longer than what the lock writes
size = ledger.path.stat().st_size
sys.dont_write_bytecode = True  # a module cut short would stay: Python 3.11 writes it without a look
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10))
try:
    ledger.add({"event": "begun", "trial": "b" * 5000, "run": "r"})
except StoreError as error:
    print(error)
print(ledger.path.stat().st_size == size)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="this system has no limit on the size of files")
def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "trials.jsonl")], capture_output=True, text=True, check=True
    )
    said, same = done.stdout.splitlines()
    assert "the trial could not be written down" in said
    assert same == "True"


MANY = textwrap.dedent("""
    import sys
    from pathlib import Path
    from qlib.workflow.ledger import FileLedger
    ledger = FileLedger(Path(sys.argv[1]))
    for k in range(int(sys.argv[3])):
        ledger.add({"event": "begun", "trial": f"{sys.argv[2]}-{k}", "run": "r"})
        print(k, flush=True)
""")


def test_processes_that_write_at_once_lose_no_line(tmp_path):
    path, each = tmp_path / "trials.jsonl", cases(8, 300)
    writers = [
        subprocess.Popen([sys.executable, "-c", MANY, str(path), str(k), str(each)], stdout=subprocess.DEVNULL)
        for k in range(cases(3, 4))
    ]
    assert [writer.wait() for writer in writers] == [0] * len(writers)
    expected = {f"{k}-{i}" for k in range(len(writers)) for i in range(each)}
    lines = FileLedger(path).lines()
    assert len(lines) == len(expected)
    assert {one["trial"] for one in lines} == expected


@pytest.mark.parametrize("after", cases([5], list(range(1, 40, 2))))
def test_a_process_that_is_killed_loses_nothing_that_was_written(tmp_path, after):
    path = tmp_path / "trials.jsonl"
    writer = subprocess.Popen([sys.executable, "-c", MANY, str(path), "x", "100000"], stdout=subprocess.PIPE)
    told = [int(writer.stdout.readline()) for _ in range(after)]
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    ledger = FileLedger(path)
    ledger.add(line(7))
    trials = [one["trial"] for one in ledger.lines()]
    assert set(trials) >= {f"x-{k}" for k in told} | {"t7"}
    assert trials[-1] == "t7"

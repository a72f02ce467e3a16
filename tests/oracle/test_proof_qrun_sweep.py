"""A sweep gives the same runs whoever computes them, and one that was killed goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from proof import PROOF
from qrun_job import here, runs_in, small_config, small_market, tree, written  # noqa: F401  a fixture

import qlib
from qlib import session
from qlib.cli.run import main

MODEL = "task.model.kwargs"

pytestmark = pytest.mark.skipif(
    not PROOF, reason="QLIB_PROOF=1 runs the proofs; tests/unit/cli/test_cli_sweep.py is short"
)


@pytest.fixture
def short(here):
    config = small_config(small_market(here / "market"))
    config["task"]["record"] = config["task"]["record"][:2]
    return config


def family(folder):
    """Return the parent and its children by number."""
    runs = runs_in(folder)
    (parent,) = [run for run in runs if "sweep.json" in run.list_artifacts()]
    children = [run for run in runs if run.list_tags().get("mlflow.parentRunId") == parent.id]
    return parent, sorted(children, key=lambda run: int(run.list_tags()["sweep.point"]))


@pytest.mark.parametrize("workers", [["--jobs", "2"], ["--ray"]])
def test_processes_give_the_same_runs(here, short, capsys, workers):
    if workers == ["--ray"]:
        pytest.importorskip("ray")
    file = written(short, here)
    assert main([file, "-m", "alpha=0.01,10", "--uri_folder", "alone", "--quiet"]) == 0
    session.close()
    assert main([file, "-m", "alpha=0.01,10", *workers, "--uri_folder", "many", "--quiet"]) == 0
    one, two = family(here / "alone")[1], family(here / "many")[1]
    assert len(one) == len(two) == 2
    for left, right in zip(one, two, strict=True):
        assert left.name == right.name and left.list_metrics()["IC"] == right.list_metrics()["IC"]
        pd.testing.assert_frame_equal(left.load_object("pred.pkl"), right.load_object("pred.pkl"))
    assert "INFO qlib" not in capsys.readouterr().err


SLOW = """
import pathlib, time
from qlib.contrib.model.linear import LinearModel
class Waits(LinearModel):
    def fit(self, dataset, reweighter=None):
        if self.alpha == 2:
            pathlib.Path("begun").touch()
            while not pathlib.Path("go").exists():
                time.sleep(0.02)
        super().fit(dataset)
"""


def test_a_sweep_that_was_killed_goes_on_where_it_was(here, short, capsys):
    (here / "models.py").write_text(SLOW)
    short["task"]["model"] = {
        "class": "Waits",
        "module_path": str(here / "models.py"),
        "kwargs": {"estimator": "ridge"},
    }
    file = written(short, here)
    command = [sys.executable, "-m", "qlib.cli.run", file, "-m", f"{MODEL}.alpha=1,2,3"]
    root = str(Path(qlib.__file__).parents[1])
    running = subprocess.Popen(command, cwd=here, env=os.environ | {"PYTHONPATH": root}, stderr=subprocess.DEVNULL)
    try:
        while not (here / "begun").exists():
            assert running.poll() is None
        running.send_signal(signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
    parent, before = family(here / "mlruns")
    assert [run.status for run in before] == ["FINISHED", "RUNNING"] and parent.status == "RUNNING"
    finished = tree(before[0].get_local_dir())
    (here / "go").touch()
    assert main(["--resume", parent.id[:12]]) == 0
    parent, after = family(here / "mlruns")
    assert [run.status for run in after] == ["FINISHED"] * 3 and parent.status == "FINISHED"
    assert [run.id for run in after[:2]] == [run.id for run in before]
    assert tree(after[0].get_local_dir()) == finished
    assert [run.load_object("params.pkl").alpha for run in after] == [1, 2, 3]

"""A run that is killed at any point goes on: the same predictions, the same account, nothing of it left behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager
from tests.proof import PROOF
from tests.stage_market import changed, market, modules, task

pytestmark = pytest.mark.skipif(not PROOF, reason="make proof: many processes; a part of it is in test_stage_cache.py")


def qrun(folder: Path, *words: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, "-m", "qlib.cli.run", *words]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def facts_of(process: subprocess.Popen[str]) -> dict:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-2000:]
    return json.loads(out.splitlines()[-1])


def written(folder: Path) -> None:
    own = task(folder)
    model = {"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt"}
    model["kwargs"] = {"num_boost_round": 40, "seed": 3, "deterministic": True, "num_threads": 1, "min_data_in_leaf": 5}
    own = changed(own, "model", model)
    own["dataset"]["kwargs"]["segments"]["valid"] = ["2020-04-01", "2020-04-30"]
    config = {"qlib_init": {"provider_uri": str(folder / "store"), "region": "us", "kernels": 1}, "task": own}
    (folder / "c.json").write_text(json.dumps(config))


def results(folder: Path, run: str) -> tuple[str, dict, dict]:
    (path,) = folder.glob(f"mlruns/*/{run}/artifacts/manifest.json")
    manifest = json.loads(path.read_text())
    return manifest["predictions"], manifest["accounts"], manifest["outputs"]


def runs_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("mlruns/workflow/*")}


def begun(folder: Path, before: set[str], process: subprocess.Popen[str]) -> str:
    """Wait until a run begins and return its id."""
    while process.poll() is None:
        if new := runs_in(folder) - before:
            return new.pop()
        time.sleep(0.01)
    raise AssertionError(process.communicate()[1])


@pytest.mark.timeout(3600)
def test_a_run_that_is_killed_goes_on_to_the_same_result(tmp_path):
    market(tmp_path / "store")
    modules(tmp_path)
    written(tmp_path)
    process = qrun(tmp_path, "c.json", "--json", "--quiet", "--no-cache")
    whole, began = begun(tmp_path, set(), process), time.perf_counter()
    assert facts_of(process)["run"] == whole
    seconds = time.perf_counter() - began
    known = results(tmp_path, whole)
    draw = random.Random(20260101)  # noqa: S311  points of time, no secrets
    for point in range(20):
        before = runs_in(tmp_path)
        shutil.rmtree(tmp_path / "mlruns" / ".stages" / "runs", ignore_errors=True)  # else it is served by a whole one
        victim = qrun(tmp_path, "c.json", "--json", "--quiet", *(["--no-cache"] if point % 2 else []))
        run = begun(tmp_path, before, victim)
        time.sleep(draw.uniform(0, seconds))
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        assert facts_of(qrun(tmp_path, "--resume", run, "--json", "--quiet"))["run"] == run
        assert results(tmp_path, run) == known, f"killed at point {point}"
        if point % 4 == 3:  # the next one finds no stage
            shutil.rmtree(tmp_path / "mlruns" / ".stages")
    recorders = QlibRecorder(MLflowExpManager(str(tmp_path / "mlruns"), "E")).list_recorders(experiment_name="workflow")
    assert len(recorders) == 21
    for recorder in recorders.values():
        assert recorder.status == "FINISHED"
        assert recorder.list_metrics() == recorders[whole].list_metrics()


def test_lightgbm_in_its_deterministic_mode_is_reproduced(tmp_path):
    market(tmp_path / "store")
    modules(tmp_path)
    written(tmp_path)
    whole = facts_of(qrun(tmp_path, "c.json", "--json", "--quiet"))
    said = facts_of(qrun(tmp_path, "reproduce", whole["run"], "--json", "--quiet"))
    assert said["same"]
    assert said["results"] == {"predictions": True, "report_normal_1day": True}

"""A run that is killed at any point goes on: the same predictions, the same account, nothing of it left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def test_a_run_that_is_killed_goes_on_to_the_same_result(tmp_path):
    market(tmp_path / "store")
    modules(tmp_path)
    written(tmp_path)
    began = time.perf_counter()
    whole = facts_of(qrun(tmp_path, "c.json", "--json", "--quiet", "--no-cache"))
    seconds = time.perf_counter() - began
    known = results(tmp_path, whole["run"])
    draw = random.Random(20260101)  # noqa: S311  points of time, no secrets
    resumed = 0
    for point in range(20):
        cached = ["--no-cache"] if point % 2 else []
        before = {path.name for path in tmp_path.glob("mlruns/workflow/*")}
        victim = qrun(tmp_path, "c.json", "--json", "--quiet", *cached)
        time.sleep(draw.uniform(0.45, 1.0) * seconds)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        new = sorted({path.name for path in tmp_path.glob("mlruns/workflow/*")} - before)
        if not new:
            continue  # it had not begun a run, or was served by one that is over
        resumed += 1
        facts = facts_of(qrun(tmp_path, "--resume", new[0], "--json", "--quiet"))
        assert facts["run"] == new[0]
        assert results(tmp_path, new[0]) == known
        again = facts_of(qrun(tmp_path, "diff", whole["run"], new[0], "--json"))
        assert again["results"] == {"predictions": True, "report_normal_1day": True}
        assert [name for name, (a, b) in again["metrics"].items() if a != b] == []
    assert resumed >= 8


def test_lightgbm_in_its_deterministic_mode_is_reproduced(tmp_path):
    market(tmp_path / "store")
    modules(tmp_path)
    written(tmp_path)
    whole = facts_of(qrun(tmp_path, "c.json", "--json", "--quiet"))
    said = facts_of(qrun(tmp_path, "reproduce", whole["run"], "--json", "--quiet"))
    assert said["same"]
    assert said["results"] == {"predictions": True, "report_normal_1day": True}

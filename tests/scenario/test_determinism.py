"""The main job twice, in processes that hash strings differently: the same predictions, trades and account."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from qlib.crypto.sample import MarketSpec
from qlib.crypto.sample_store import write_sample
from qlib.workflow.formats import object_name, read_object

ROOT = Path(__file__).resolve().parents[2]
COMPARED = ("pred.pkl", "label.pkl", "ic.pkl", "report_normal_1day.pkl", "indicators_normal_1day.pkl")


def run_job(config: Path, folder: Path, hash_seed: str) -> dict[str, pd.DataFrame]:
    """`qrun` in a process of its own; the artifacts by file name."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "qlib.cli.run", str(config)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for name in (*COMPARED, "positions_normal_1day.pkl"):
        (path,) = (path for path in folder.rglob(f"{name}*") if object_name(path.name) == name)
        found[name] = read_object(path, name)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[dict[str, pd.DataFrame]]:
    folder = tmp_path_factory.mktemp("determinism")
    store, _ = write_sample(folder / "store", MarketSpec(hourly_days=1))
    config = json.loads((ROOT / "config" / "workflow.json").read_text())
    config["qlib_init"]["provider_uri"] = str(store)
    (folder / "job.json").write_text(json.dumps(config))
    with ThreadPoolExecutor(2) as both:
        return list(both.map(lambda number: run_job(folder / "job.json", folder / f"run{number}", number), ("1", "2")))


@pytest.mark.parametrize("name", COMPARED)
def test_two_runs_leave_equal_artifacts(runs, name):
    first, second = (run[name] for run in runs)
    assert len(first) > 300
    pd.testing.assert_frame_equal(pd.DataFrame(first), pd.DataFrame(second), check_exact=True)


def test_two_runs_hold_the_same_positions_on_every_day(runs):
    first, second = (run["positions_normal_1day.pkl"] for run in runs)
    assert list(first) == list(second)
    for day, position in first.items():
        assert position.position == second[day].position

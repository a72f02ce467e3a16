"""The main job exists three times, as JSON, as YAML and as code: they are one job, and the code runs on a bare home."""

from __future__ import annotations

import json
import os
import runpy
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from warm import run_warm

ROOT = Path(__file__).resolve().parents[2]


def plain(value: Any) -> Any:
    """Dates as text, so that YAML's and JSON's say the same."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return json.loads((ROOT / "config" / "workflow.json").read_text())


def test_yaml_and_json_say_the_same_job(job):
    config = plain(yaml.safe_load((ROOT / "config" / "workflow.yaml").read_text()))
    assert {key: config[key] for key in job} == job


def test_the_code_says_the_same_job(job):
    example = runpy.run_path(str(ROOT / "examples" / "workflow_by_code.py"))
    built = example["build_job"]()
    assert built["model"] == job["task"]["model"]
    assert built["dataset"] == job["task"]["dataset"]
    assert built["portfolio"] == job["task"]["record"][2]["kwargs"]["config"]
    assert example["PROVIDER_URI"] == job["qlib_init"]["provider_uri"]


def test_segments_leave_out_the_two_bars_that_a_label_looks_ahead(job):
    segments = job["task"]["dataset"]["kwargs"]["segments"]
    for earlier, later in (("train", "valid"), ("valid", "test")):
        apart = date.fromisoformat(segments[later][0]) - date.fromisoformat(segments[earlier][1])
        assert apart.days > 2


def test_the_quick_example_makes_its_data_runs_and_says_where_the_report_is(tmp_path):
    done = run_warm(
        [sys.executable, str(ROOT / "examples" / "workflow_by_code.py"), "--quick"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / ".qlib" / "qlib_data" / "sample_data" / "truth.json").exists()
    assert "SYNTHETIC" in done.stdout
    page = Path(done.stdout.rsplit("Report: ", 1)[1].strip())
    assert page.name == "report.html"
    assert "synthetic" in page.read_text(encoding="utf-8").lower()
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["data"]["synthetic"] is True

"""The benchmark of the engine keeps working, and counts what it says it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SMALL = ["--stocks", "6", "--days", "400", "--coins", "2", "--hours", "100", "--warm-mb", "1", "--patience", "0"]


@pytest.fixture
def beside(monkeypatch):
    """The benchmark's modules, importable as its scripts import them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


def run(*options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / "engine.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_small_run_measures_every_side_and_prints_the_tables(tmp_path: Path):
    out = tmp_path / "out.json"
    options = ["--jobs", "alpha158,hours,last_bar", "--repeats", "1", "--kernels", "1", "--out", str(out)]
    printed = run(*options, *SMALL, "--work", str(tmp_path / "work"))
    result = json.loads(out.read_text())
    assert [(reading["side"], reading["job"]) for reading in result["runs"]] == [
        ("ours", "alpha158"),
        ("floor", "alpha158"),
        ("ours", "hours"),
        ("floor", "hours"),
        ("ours", "last_bar"),
    ]
    ours, floor = result["runs"][:2]
    assert ours["fields"] == 158
    assert ours["result_mb"] == floor["result_mb"] > 0
    assert ours["wall"] > floor["wall"] > 0
    assert printed.count("| Alpha158 raw |") == 3
    assert run("--report", str(out)) == printed


def test_a_small_run_of_handlers_and_samplers_prints_their_tables(tmp_path: Path):
    options = ["--jobs", "linear,dynamic", "--repeats", "1", *SMALL, "--work", str(tmp_path / "work")]
    command = [sys.executable, str(BENCHMARKS / "dataset.py"), *options, "--out", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    linear, dynamic = json.loads((tmp_path / "out.json").read_text())
    assert linear["rows"] == dynamic["rows"] > 0  # six stocks are all members
    assert linear["fetch_peak_mb"] >= linear["peak_mb"] > linear["copy_mb"]
    assert "| Alpha158, RobustZScoreNorm and Fillna |" in done.stdout


def test_peers_of_another_market_are_refused(tmp_path: Path):
    other = tmp_path / "peers.json"
    other.write_text(json.dumps({"machine": {}, "market": {}, "runs": []}))
    command = [sys.executable, str(BENCHMARKS / "engine.py"), *SMALL, "--peer-results", str(other)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "another machine" in done.stderr


def test_cells_that_differ_are_counted(beside):
    from values import count

    nan = np.float32("nan")
    left = np.array([1, nan, 3, nan, 5, 1000], dtype="f4")
    right = np.array([1, nan, nan, 4, 5.1, 1000.005], dtype="f4")
    counted = count([("a", left, right), ("b", left, left)])
    assert (counted["cells"], counted["apart"], counted["one_missing"]) == (12, 1, 2)
    assert counted["worst"] == {"a": 3}


def test_a_market_is_like_a_real_one_and_the_same_twice(beside, tmp_path: Path):
    from market import Size, make_market

    size = Size(stocks=60, days=900, coins=2, hours=300)
    for folder in ("one", "two"):
        make_market(tmp_path / folder, size)
    one, two = (
        {path.relative_to(tmp_path / folder): path.read_bytes() for path in (tmp_path / folder).rglob("*.bin")}
        for folder in ("one", "two")
    )
    assert one == two
    assert len(one) == 62 * 8
    closes = [np.frombuffer(data, "<f4") for path, data in one.items() if path.name == "close.day.bin"]
    assert sum(close[0] > 0 for close in closes) > 5  # listed late
    assert sum(close[0] + len(close) - 1 < 900 for close in closes) >= 1  # left early
    assert 0 < np.isnan(np.concatenate([close[1:] for close in closes])).mean() < 0.1  # halts


def test_the_operator_table_has_a_number_for_every_window(beside):
    from operators import WINDOWS, operator_table

    mean, missing = (
        next(line for line in operator_table([name]).splitlines() if line.startswith(start))
        for name, start in (("Mean", "| Mean |"), ("P", "Not timed"))
    )
    assert len([cell for cell in mean.split("|")[2:-1] if float(cell) > 0]) == len(WINDOWS)
    assert "P (" in missing


def test_the_benchmark_of_the_store_measures_both_sides(tmp_path: Path):
    command = [sys.executable, str(BENCHMARKS / "store.py"), "--stocks", "5", "--days", "400", "--repeats", "1"]
    done = subprocess.run([*command, "--work", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("| 5 files, 0 MB | CPU | of it system | wall | peak MB")
    assert [line.split("|")[1].strip() for line in lines[2:5]] == [
        "dump_all, 1 thread", "dump_all, 2 threads", "pandas.read_csv, every file twice"
    ]  # fmt: skip

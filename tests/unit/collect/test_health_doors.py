"""The doors check_data_health.py and check_dump_bin.py: what is printed, and the exit code."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from warm import run_warm

from qlib.cli import health
from qlib.cli.health import CheckBin, DataHealthChecker
from qlib.data.storage.writer import write_store
from qlib.errors import InputError

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
DAYS = pd.bdate_range("2026-01-05", periods=40)
PRICES = ["open", "high", "low", "close"]


def frames() -> dict[str, pd.DataFrame]:
    made = {}
    for i, name in enumerate(["SH600000", "SH600001", "SH000300"]):
        close = 100 + np.sin(np.arange(40) + i)
        columns = {
            "open": close,
            "high": close + 0.1,
            "low": close - 0.1,
            "close": close,
            "volume": 100.0 + np.arange(40),
        }
        made[name] = pd.DataFrame(columns, index=DAYS).assign(factor=1.0)
    return made


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    return write_store(frames(), tmp_path_factory.mktemp("clean") / "store", "day")


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Path:
    """A missing bar, a price that triples within a day and comes back, a stock without volume, two without a factor."""
    made = frames()
    made["SH600000"].loc[DAYS[9], [*PRICES, "volume"]] = np.nan
    made["SH600000"].loc[DAYS[20], PRICES] *= 3.0
    made["SH600001"] = made["SH600001"].drop(columns=["volume", "factor"])
    made["SH000300"] = made["SH000300"].drop(columns="factor")
    root = write_store(made, tmp_path_factory.mktemp("broken") / "store", "day")
    (root / "features" / "sh600001").rename(root / "features" / "SH600001")
    return root


def door(script: str, *words: str, rc: int) -> subprocess.CompletedProcess[str]:
    """Call a door as its script does, in this process: Python itself takes a second to start."""
    out, err = io.StringIO(), io.StringIO()
    run = {"check_data_health.py": health.run, "check_dump_bin.py": health.run_compare}[script]
    argv = mock.patch.object(sys, "argv", [script, *words])
    with argv, redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == rc, out.getvalue() + err.getvalue()
    return subprocess.CompletedProcess([script, *words], rc, out.getvalue(), err.getvalue())


@pytest.mark.parametrize(
    ("script", "command"), [("check_data_health.py", "check_data"), ("check_dump_bin.py", "check")]
)
def test_the_scripts_are_doors_to_the_commands(script: str, command: str):
    words = [sys.executable, str(SCRIPTS / script), command, "--qlib_dir=nowhere"]
    words += ["--csv_path=nowhere"] if command == "check" else []
    done = run_warm(words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{script}: qlib_dir: nowhere is no store")


def test_exit_code_0_and_a_table_for_clean_data(clean):
    done = door("check_data_health.py", "check_data", "--qlib_dir", str(clean), rc=0)
    assert done.stdout.rstrip().endswith("Nothing is wrong.")
    assert "2026-01-05" in done.stdout


def test_exit_code_1_a_table_and_a_json_for_broken_data(broken, tmp_path):
    file = tmp_path / "health.json"
    done = door("check_data_health.py", "check_data", "--qlib_dir", str(broken), "--json", str(file), rc=1)
    assert "SH600000  2026-01-16" in done.stdout
    told = json.loads(file.read_text())
    assert {one["kind"] for one in told["findings"] if one["level"] == "wrong"} == {
        "upper case", "hole", "spike", "column", "factor",
    }  # fmt: skip
    again = door("check_data_health.py", "check_data", "--qlib_dir", str(broken), "--known", str(file), rc=0)
    assert "Nothing is wrong." in again.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["check_data"], "one of the two says what is to be checked"),
        (["check_data", "--qlib_dir", "nowhere"], "nowhere is no store"),
        (["check_data", "--csv_path", "nowhere"], "no file or folder nowhere"),
        (["check_data", "--qlib_dir", "{store}", "--freq", "60min"], "holds day"),
        (["check_data", "--qlib_dir", "{store}", "--missing_data_num", "few"], "missing_data_num: received 'few'"),
        (["check_data", "--qlib_dir", "{store}", "--known", "nowhere"], "is not the JSON of a health check"),
        (["check_data", "--qlib_dir", "{store}", "--json", "/proc/health.json"], "json: /proc/health.json cannot be"),
    ],
)
def test_exit_code_2_and_one_sentence_for_a_wrong_input(clean, words, says):
    done = door("check_data_health.py", *(word.format(store=clean) for word in words), rc=2)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


def test_help_says_what_can_be_said():
    for words in (["--help"], ["check_data", "--help"]):
        shown = door("check_data_health.py", *words, rc=0).stdout
        for word in ("--qlib_dir", "csv_path", "check_data", "json", "known", "check_missing_factor", "Exit codes"):
            assert word.removeprefix("--") in shown
    assert "usage: check_dump_bin.py COMMAND" in door("check_dump_bin.py", rc=2).stderr


def test_a_word_that_is_no_command_is_refused(clean):
    assert door("check_data_health.py", "check_everything", "--qlib_dir", str(clean), rc=2).stdout == ""


# ---------------------------------------------------------------------- Qlib's checks, Qlib's columns
def test_missing_data_counts_by_column(broken):
    frame = DataHealthChecker(qlib_dir=str(broken)).check_missing_data()
    assert frame.columns.tolist() == ["instruments", "open", "high", "low", "close", "volume"]
    assert frame.loc["SH600000"].tolist() == ["SH600000", 1, 1, 1, 1, 1]
    assert frame.loc["SH600001", "volume"] == 40
    tolerant = DataHealthChecker(qlib_dir=str(broken), missing_data_num=1).check_missing_data()
    assert tolerant["instruments"].tolist() == ["SH600001"]


def test_large_steps_tell_the_first_date_and_the_largest_change(broken):
    frame = DataHealthChecker(qlib_dir=str(broken)).check_large_step_changes()
    assert frame.columns.tolist() == ["instruments", "col_name", "date", "pct_change"]
    assert frame["col_name"].tolist() == PRICES
    assert frame["date"].unique().tolist() == [DAYS[20]]
    close = frames()["SH600000"]["close"]
    assert frame["pct_change"].iloc[3] == pytest.approx(3 * close.iloc[20] / close.iloc[19] - 1, rel=1e-6)
    loose = DataHealthChecker(qlib_dir=str(broken), large_step_threshold_price=5)
    assert loose.check_large_step_changes() is None


def test_large_steps_equal_pandas(broken, tmp_path):
    rng = np.random.default_rng(1)
    close = pd.Series(np.exp(np.cumsum(rng.normal(0, 0.4, 40))), index=DAYS)
    made = {"A": frames()["SH600000"].assign(close=close, volume=rng.exponential(5, 40))}
    root = write_store(made, tmp_path / "wild", "day")
    frame = DataHealthChecker(qlib_dir=str(root)).check_large_step_changes()
    for field, limit in (("close", 0.5), ("volume", 3)):
        change = made["A"][field].astype("float32").astype("float64").pct_change().abs()
        row = frame[frame["col_name"] == field].iloc[0]
        assert row["date"] == change[change > limit].index[0]
        assert row["pct_change"] == pytest.approx(change.max())


def test_columns_factors_and_folders(broken):
    checker = DataHealthChecker(qlib_dir=str(broken))
    columns = checker.check_required_columns()
    assert columns.to_dict("records") == [{"instruments": "SH600001", "missing_col": ["volume"]}]
    factor = checker.check_missing_factor()  # the index 000300 needs none
    assert factor.to_dict("records") == [
        {"instruments": "SH600001", "missing_factor_col": True, "missing_factor_data": True}
    ]
    assert checker.check_features_dir_lowercase().to_dict("list") == {"non_lowercase_dir": ["SH600001"]}


def test_clean_data_answers_none(clean):
    checker = DataHealthChecker(qlib_dir=str(clean))
    for name in ("missing_data", "large_step_changes", "required_columns", "missing_factor", "features_dir_lowercase"):
        assert getattr(checker, f"check_{name}")() is None


def test_single_checks_have_exit_codes_too(broken, clean):
    assert "SH600001" in door("check_data_health.py", "check_missing_factor", "--qlib_dir", str(broken), rc=1).stdout
    assert "Nothing" in door("check_data_health.py", "check_missing_factor", "--qlib_dir", str(clean), rc=0).stdout


def test_csv_files_are_checked_like_stores(tmp_path):
    for name, frame in frames().items():
        frame.rename_axis("date").reset_index().to_csv(tmp_path / f"{name}.csv", index=False)
    checker = DataHealthChecker(csv_path=str(tmp_path))
    assert not checker.check_data().wrong
    assert checker.check_missing_data() is None
    with pytest.raises(InputError, match="looks at a store"):
        checker.check_features_dir_lowercase()


# ---------------------------------------------------------------------- a store and its files
def test_a_store_and_its_files(clean, tmp_path):
    for name, frame in frames().items():
        frame.rename_axis("date").reset_index().to_csv(tmp_path / f"{name}.csv", index=False)
    words = ["check", "--qlib_dir", str(clean), "--csv_path", str(tmp_path)]
    assert "Nothing is wrong." in door("check_dump_bin.py", *words, rc=0).stdout
    changed = (tmp_path / "SH600000.csv").read_text().replace("2026-01-07,", "2026-01-07,9", 1)
    (tmp_path / "SH600000.csv").write_text(changed)
    done = door("check_dump_bin.py", *words, "--check_fields", "open,close", rc=1)
    assert "SH600000  open" in done.stdout
    assert not CheckBin(str(clean), str(tmp_path), check_fields=["close"]).check().wrong
    assert (
        "no store"
        in door("check_dump_bin.py", *words[:-2], "--csv_path", str(tmp_path), "--qlib_dir", "x", rc=2).stderr
    )

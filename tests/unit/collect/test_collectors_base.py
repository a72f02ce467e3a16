"""Base classes of collectors: what came stays, one instrument stops no other one, a day that is not over waits."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from warm import run_warm

from qlib.collect.collectors import BaseCollector, BaseNormalize, BaseRun, Normalize, read_source
from qlib.errors import ConfigError, InputError, RunError

ROOT = Path(__file__).resolve().parents[3]


def bars(*dates: str, close: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"date": dates, "close": [close + i for i in range(len(dates))]})


class Told(BaseCollector):
    """Gives what the test wrote down, answer by answer; an exception is raised."""

    def __init__(self, folder: Path, answers: dict[str, list[object]], **options: object) -> None:
        self.answers = answers
        self.asked: list[str] = []
        super().__init__(folder, **options)  # type: ignore[arg-type]

    def get_instrument_list(self) -> list[str]:
        return list(self.answers)

    def normalize_symbol(self, symbol: str) -> str:
        return symbol.upper()

    def get_data(self, symbol, interval, start_datetime, end_datetime):  # noqa: ANN001
        self.asked.append(symbol)
        answer = self.answers[symbol].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class AsItIs(BaseNormalize):
    def _get_calendar_list(self) -> None:
        return None

    def normalize(self, df: pd.DataFrame) -> pd.DataFrame:
        return df


@pytest.mark.parametrize("workers", [1, 4])
def test_short_answers_are_asked_for_again_and_saved_together_in_the_end(tmp_path: Path, workers: int):
    answers = {
        "aaa": [bars("2024-01-02", "2024-01-03", "2024-01-04")],
        "bbb": [bars("2024-01-02", close=7), bars("2024-01-02", "2024-01-03", close=8)],
        "ccc": [bars("2024-01-02"), bars("2024-01-02", "2024-01-03", "2024-01-04", close=5)],
    }
    told = Told(tmp_path, answers, check_data_length=3, max_workers=workers)
    told.collector_data()
    assert sorted(told.asked) == ["aaa", "bbb", "bbb", "ccc", "ccc"]
    assert read_source(tmp_path / "BBB.csv").values.tolist() == [["2024-01-02", 8, "BBB"], ["2024-01-03", 9, "BBB"]]
    assert list(read_source(tmp_path / "CCC.csv")["close"]) == [5, 6, 7]


def test_an_instrument_that_fails_stops_no_other_one_and_is_an_error_in_the_end(tmp_path: Path):
    lost = ConnectionError("gone")
    answers = {"aaa": [lost, lost, lost], "bbb": [lost, bars("2024-01-02")], "ccc": [bars("2024-01-02")]}
    with pytest.raises(RunError, match=r"1 of 3 instruments failed in every one of 3 rounds: aaa; aaa: gone"):
        Told(tmp_path, answers, max_collector_count=3).collector_data()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["BBB.csv", "CCC.csv"]


def test_what_comes_later_stands_behind_what_was_there_and_equal_rows_are_not_doubled(tmp_path: Path):
    Told(tmp_path, {"aaa": [bars("2024-01-02", "2024-01-03", close=0.1)]}).collector_data()
    Told(tmp_path, {"aaa": [bars("2024-01-02", "2024-01-03", close=0.1)]}).collector_data()
    Told(tmp_path, {"aaa": [bars("2024-01-03", "2024-01-04", close=9)]}).collector_data()
    rows = read_source(tmp_path / "AAA.csv")
    assert rows[["date", "close"]].values.tolist() == [
        ["2024-01-02", 0.1], ["2024-01-03", 1.1], ["2024-01-03", 9], ["2024-01-04", 10],
    ]  # fmt: skip


def test_names_that_are_no_file_names_stay_inside_the_folder(tmp_path: Path):
    folder = tmp_path / "source"
    Told(folder, {"../evil": [bars("2024-01-02")], "na": [bars("2024-01-02")]}).collector_data()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert list(read_source(folder / "NA.csv")["symbol"]) == ["NA"]
    Normalize(folder, tmp_path / "normalize", AsItIs).normalize()
    assert (tmp_path / "normalize" / "NA.csv").read_text() == "date,close,symbol\n2024-01-02,1.0,NA\n"


def test_default_dates_are_those_of_utc_whatever_the_machine_thinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = []
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # 25 hours apart: never the same date in both
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        told = Told(tmp_path, {}, interval="1min")
        found.append((told.start_datetime, told.end_datetime))
    monkeypatch.delenv("TZ")
    time.tzset()
    end = pd.Timestamp.now("UTC").tz_localize(None).normalize() + pd.Timedelta(days=1)
    assert found[0] == found[1] == (end - pd.Timedelta(days=30), end)
    assert Told(tmp_path, {}).start_datetime == pd.Timestamp("2000-01-01")


@pytest.mark.parametrize(
    ("dates", "kept", "kept_by_qlib"),
    [
        (["2024-01-02", "2024-01-03 15:30:00"], 1, 1),  # a day that is not over
        (["2024-01-02 00:00:00", "2024-01-03 00:00:00"], 2, 1),  # whole days, written otherwise
        (["2024-01-02 15:30:00", "2024-01-02", "2024-01-03"], 2, 3),  # it was not over at the last download
    ],
)
def test_a_day_that_is_not_over_is_left_out_and_no_other(
    tmp_path: Path, dates: list[str], kept: int, kept_by_qlib: int
):
    source = tmp_path / "source"
    Told(source, {"aaa": [bars(*dates)]}).collector_data()
    for options, rows in (({}, kept), ({"compat": "qlib"}, kept_by_qlib)):
        Normalize(source, tmp_path / "out", AsItIs, interval="1d", **options).normalize()
        assert len(read_source(tmp_path / "out" / "AAA.csv")) == rows


def test_minutes_keep_their_last_row_and_end_date_cuts(tmp_path: Path):
    source = tmp_path / "source"
    Told(source, {"aaa": [bars("2024-01-02 09:30:00", "2024-01-02 09:31:00", "2024-01-03 09:30:00")]}).collector_data()
    for options, rows in (({}, 3), ({"interval": "1min"}, 3), ({"interval": "1min", "end_date": "2024-01-03"}, 2)):
        Normalize(source, tmp_path / "out", AsItIs, **options).normalize()
        assert len(read_source(tmp_path / "out" / "AAA.csv")) == rows


def test_a_file_that_cannot_be_normalized_stops_no_other_one_and_is_named(tmp_path: Path):
    source = tmp_path / "source"
    Told(source, {"aaa": [bars("2024-01-02")], "bbb": [bars("2024-01-02")]}).collector_data()
    (source / "AAA.csv").write_text("when,close\n2024-01-02,1\n")
    with pytest.raises(RunError, match=r"1 of 2 files.*AAA\.csv: no date column 'date'; its columns are when, close"):
        Normalize(source, tmp_path / "out", AsItIs).normalize()
    assert (tmp_path / "out" / "BBB.csv").exists()


def test_wrong_arguments_are_told_with_what_is_allowed(tmp_path: Path):
    for options, words in (
        ({"interval": "1day"}, "1d and 1min are allowed; did you mean 1d"),
        ({"start": "2024-02-01", "end": "2024-01-01"}, "is not before end"),
        ({"start": "soon"}, "a date such as 2024-01-31"),
        ({"max_workers": 0}, "max_workers: received 0"),
    ):
        with pytest.raises(InputError, match=words):
            Told(tmp_path, {}, **options)
    with pytest.raises(InputError, match="download first"):
        Normalize(tmp_path / "nothing", tmp_path / "out", AsItIs)


def test_a_class_that_is_not_there_is_named_with_the_nearest(tmp_path: Path):
    class Mine(BaseRun):
        collector_class_name = "Tolt"
        normalize_class_name = "AsItIs"
        default_base_dir = tmp_path

    with pytest.raises(ConfigError, match="has a class Tolt; did you mean Told"):
        Mine().download_data()


def test_the_example_of_the_readme_runs(tmp_path: Path):
    readme = (ROOT / "scripts" / "data_collector" / "README.md").read_text()
    blocks = dict(
        zip(["collector.py", "show.py"], re.findall(r"^```python\n(.*?)^```", readme, re.S | re.M), strict=True)
    )
    for name, code in blocks.items():
        (tmp_path / name).write_text(code)
    lines = re.findall(r"^```text\n(\$.*?)^```", readme, re.S | re.M)[0].splitlines()
    commands = [line.removeprefix("$ python ") for line in lines if line.startswith("$ ")]
    printed = ""
    for command in commands:
        words = [sys.executable, *command.replace("scripts/", f"{ROOT}/scripts/").split()]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "HOME": str(tmp_path)}
        done = run_warm(words, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        printed = done.stdout
    assert [line.rstrip() for line in printed.splitlines()] == lines[len(commands) :]

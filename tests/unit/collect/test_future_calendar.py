"""Calendars of the future: they begin with the ordinary one and go on as the market does."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from qlib.cli import data as commands
from qlib.collect.future import write_future_calendar
from qlib.config import build_settings
from qlib.data.calendar import exchange_calendar
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store
from qlib.errors import InputError, MissingDataError


def store(root, times, freq):
    write_store({"AAA": pd.DataFrame({"close": range(len(times))}, index=times)}, root, freq)
    return root


@pytest.fixture
def hours(tmp_path):
    times = pd.date_range("2024-01-01", periods=60, freq="4h").delete([7, 8, 9])
    return store(tmp_path / "hours", times, "4h")


def test_around_the_clock_the_future_needs_nothing(hours):
    path = write_future_calendar(hours, "240min", until="2024-03-31")
    provider = Provider(build_settings(provider_uri=str(hours), region="crypto"))
    ordinary, future = provider.calendar(freq="4h"), provider.calendar(freq="4h", future=True)
    assert path.name == "240min_future.txt" and list(future[: len(ordinary)]) == list(ordinary)
    assert list(future[len(ordinary) :]) == list(pd.date_range(ordinary[-1], "2024-03-31 20:00", freq="4h")[1:])
    assert len(provider.features(["AAA"], ["$close"], freq="4h")) == 57, "bars stay where they were"
    assert path.read_bytes() == write_future_calendar(hours, "4h", until="2024-03-31").read_bytes()
    assert provider.calendar(freq="4h", future=True)[-1] == pd.Timestamp("2024-03-31 20:00")
    write_future_calendar(hours, "4h")
    assert provider.calendar(freq="4h", future=True)[-1] == pd.Timestamp("2026-01-10 20:00"), "two years"


@pytest.mark.parametrize("given", [{"until": "9999-12-31"}, {"times": ["2024-05-01", "9999-12-31"]}])
def test_a_calendar_that_could_not_be_read_is_not_written(tmp_path, given):
    root = store(tmp_path / "s", pd.date_range("2024-04-01", periods=3), "day")
    with pytest.raises(InputError, match="the date 2262-04-11 is out of range; years from 1679 to 2261"):
        write_future_calendar(root, "day", region="crypto", **given)
    assert not (root / "calendars" / "day_future.txt").exists()


def test_an_exchange_needs_its_holidays(tmp_path):
    days = exchange_calendar("day", "2024-04-01", "2024-04-26", "cn", ["2024-04-04", "2024-04-05"], ["2024-04-07"])
    root = store(tmp_path / "cn", days.index, "day")
    with pytest.raises(InputError, match="closes on days that no rule tells: give their dates, or an empty list"):
        write_future_calendar(root, "day", region="cn")
    assert not (root / "calendars" / "day_future.txt").exists()
    path = write_future_calendar(
        root, "day", until="2024-05-10", region="cn", workdays=["2024-04-28"],
        holidays=["2024-05-01", "2024-05-02", "2024-05-03"],
    )  # fmt: skip
    assert path.read_text().split()[len(days) :] == [
        "2024-04-28", "2024-04-29", "2024-04-30", "2024-05-06", "2024-05-07", "2024-05-08", "2024-05-09", "2024-05-10",
    ]  # fmt: skip


def test_minutes_of_an_exchange_go_on_within_its_sessions(tmp_path):
    minutes = exchange_calendar("30min", "2024-01-02", "2024-01-04", "cn")
    root = store(tmp_path / "cn", minutes.index[:-3], "30min")
    write_future_calendar(root, "30min", until="2024-01-05", region="cn", holidays=[])
    expected = exchange_calendar("30min", "2024-01-02", "2024-01-05", "cn")
    found = Provider(build_settings(provider_uri=str(root), region="cn")).calendar(freq="30min", future=True)
    assert list(found) == list(expected.index)


def test_the_times_can_be_given(hours):
    write_future_calendar(hours, "4h", times=["2024-01-02", "2024-02-01 04:00", "2024-02-01"])
    lines = (hours / "calendars" / "240min_future.txt").read_text().splitlines()
    assert lines[-2:] == ["2024-02-01 00:00:00", "2024-02-01 04:00:00"] and len(lines) == 59


def test_what_does_not_fit_is_refused(hours, tmp_path):
    for options, error, said in (
        ({"freq": "day"}, MissingDataError, "has no calendar of it; stored there: 240min"),
        ({"freq": "4h", "until": "2023-01-01"}, InputError, "reaches to 2024-01-10 20:00:00 already"),
        ({"freq": "4h", "times": ["20x"]}, InputError, "times: received '20x'"),
        ({"freq": "4h", "region": "cn", "holidays": []}, InputError, "which is no 240min bar of this market"),
    ):
        with pytest.raises(error, match=said):
            write_future_calendar(hours, **options)
    assert [path.name for path in (hours / "calendars").iterdir()] == ["240min.txt"]


def test_the_command_writes_it(hours, tmp_path, monkeypatch, capsys):
    (tmp_path / "holidays.txt").write_text("2024-05-01\n\n2024-05-02\n")
    root = store(tmp_path / "us", pd.bdate_range("2024-04-01", "2024-04-30"), "day")
    words = ["--qlib_dir", str(root), "--region", "us", "--until", "2024-05-06", "--holidays"]
    for given, days in ((str(tmp_path / "holidays.txt"), 24), ("2024-05-01", 25), ("none", 26)):
        monkeypatch.setattr(sys, "argv", ["qlib data", "future", *words, given])
        commands.run()
        assert f"{days} entries, 2024-04-01 to 2024-05-06" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["qlib data", "future", *words, "soon"])
    with pytest.raises(SystemExit) as end:
        commands.run()
    assert end.value.code == 2 and "neither a list of dates nor a file" in capsys.readouterr().err

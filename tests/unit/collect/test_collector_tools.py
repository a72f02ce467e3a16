"""Tools of collectors, and the file of an index: walked backwards, every date has the members that it had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from http_server import File, serving
from hypothesis import given
from hypothesis import strategies as st
from warm import run_warm

from qlib.collect import collector_tools as tools
from qlib.collect.index_files import IndexBase
from qlib.data.storage.instruments import read_instruments
from qlib.errors import InputError, MissingDataError

ROOT = Path(__file__).resolve().parents[3]
DATES = pd.date_range("2024-01-01", periods=30)


class Told(IndexBase):
    def __init__(self, folder: Path, members: list[str], changes: list[tuple[str, str, pd.Timestamp]]) -> None:
        super().__init__("MINE", folder)
        self.members, self.changes = members, changes

    bench_start_date = DATES[0]
    calendar_list = list(DATES)

    def get_new_companies(self) -> pd.DataFrame:
        return pd.DataFrame({"symbol": self.members})

    def get_changes(self) -> pd.DataFrame:
        return pd.DataFrame(self.changes, columns=["symbol", "type", "date"])

    def format_datetime(self, inst_df: pd.DataFrame) -> pd.DataFrame:
        for name in ("start_date", "end_date"):
            inst_df[name] = pd.to_datetime(inst_df[name]).dt.strftime("%Y-%m-%d")
        return inst_df


@given(
    st.lists(st.lists(st.booleans(), min_size=30, max_size=30), min_size=1, max_size=5).filter(
        lambda rows: any(row[-1] for row in rows)
    )
)
def test_every_date_has_the_members_it_had(tmp_path_factory: pytest.TempPathFactory, rows: list[list[bool]]):
    names = [f"S{i}" for i in range(len(rows))]
    changes = []
    for name, row in zip(names, rows, strict=True):
        for at in range(1, 30):
            if row[at] and not row[at - 1]:
                changes.append((name, "add", DATES[at]))
            if row[at - 1] and not row[at]:
                changes.append((name, "remove", DATES[at - 1]))
    folder = tmp_path_factory.mktemp("store")
    Told(folder, [n for n, row in zip(names, rows, strict=True) if row[-1]], changes).parse_instruments()
    spans = read_instruments(folder / "instruments" / "mine.txt")
    for name, row in zip(names, rows, strict=True):
        found = [any(a <= date <= b for a, b in spans.get(name, [])) for date in DATES]
        assert found == row, name


def test_the_members_of_today_are_a_file_of_their_own(tmp_path: Path):
    told = Told(tmp_path, ["aaa", "na"], [("aaa", "add", DATES[3])])
    told.save_new_companies()
    told.parse_instruments()
    assert (tmp_path / "instruments" / "mine_only_new.txt").read_text() == (
        "AAA\t2024-01-01\t2099-12-31\nNA\t2024-01-01\t2099-12-31\n"
    )
    assert (tmp_path / "instruments" / "mine.txt").read_text() == (
        "AAA\t2024-01-04\t2099-12-31\nNA\t2024-01-01\t2099-12-31\n"
    )
    with pytest.raises(InputError, match="add and remove are allowed"):
        Told(tmp_path, ["aaa"], [("aaa", "added", DATES[3])]).parse_instruments()
    with pytest.raises(InputError, match="gave no members"):
        Told(tmp_path, [], []).parse_instruments()


def test_the_commands_of_an_index(tmp_path: Path):
    (tmp_path / "m.txt").write_text("AAA,Company\nCCC\n")
    (tmp_path / "c.csv").write_text("date,symbol,type\n2024-01-10,AAA,add\n2024-01-09,BBB,remove\n2024-01-02,BBB,add\n")
    script = ROOT / "scripts" / "data_collector" / "us_index" / "collector.py"

    def call(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, script, "--qlib_dir", "store", *words]
        return run_warm(command, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path), **more})

    lists = {"QLIB_INDEX_SP500_MEMBERS": "m.txt", "QLIB_INDEX_SP500_CHANGES": "c.csv"}
    assert call("--index_name", "sp500", **lists).returncode == 0
    file = tmp_path / "store" / "instruments" / "sp500.txt"
    assert file.read_text() == "AAA\t2024-01-10\t2099-12-31\nBBB\t2024-01-02\t2024-01-09\nCCC\t2024-01-02\t2099-12-31\n"
    words = ("--members", "m.txt", "--changes", "c.csv", "--start", "2020-01-01", "--freq", "1min")
    assert call("--index_name", "SP500", *words, "--method", "save_new_companies").returncode == 0
    lines = file.with_name("sp500_only_new.txt").read_text().splitlines()
    assert lines[0] == "AAA\t2020-01-01 00:00:00\t2099-12-31 23:59:00"
    for wrong, said in (
        (("--index_name", "SP50"), "did you mean SP500"),
        (("--index_name", "DJIA"), "QLIB_INDEX_DJIA_CHANGES"),
        (("--index_name", "SP500", *words, "--method", "parse"), "parse_instruments, save_new_companies are allowed"),
        (("--index_name", "SP500", "--members", "m.txt", "--changes", "m.txt"), "has no column 'symbol'"),
    ):
        done = call(*wrong)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr


def test_dates_count_by_the_witness_of_the_files_that_were_alive(tmp_path: Path):
    for i in range(4):
        dates = [str(date.date()) for date in DATES[: 20 if i < 2 else 30]]
        if i == 0:
            dates.append("2024-03-09")  # a stray one
        pd.DataFrame({"date": dates, "close": 1.0}).to_csv(tmp_path / f"{i}.csv", index=False)
    found = tools.get_calendar_list_by_ratio(tmp_path, threshold=0.5, minimum_count=2)
    assert found == list(DATES)
    assert tools.get_calendar_list_by_ratio(tmp_path, threshold=0.9, minimum_count=2) == list(DATES[:20])
    assert tools.get_calendar_list_by_ratio(tmp_path, minimum_count=3) == list(DATES[:20])


def test_lists_of_symbols_come_from_a_file_or_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("QLIB_SYMBOLS_US", raising=False)
    with pytest.raises(MissingDataError, match="QLIB_SYMBOLS_US"):
        tools.get_us_stock_symbols()
    (tmp_path / "list.txt").write_text("# mine\nNA,Nano\nBBB\tB\nAAA\n")
    monkeypatch.setenv("QLIB_SYMBOLS_US", str(tmp_path / "list.txt"))
    assert tools.get_us_stock_symbols() == ["AAA", "BBB", "NA"]
    with serving({"/list": File(b"TCS.NS\n")}) as (url, _):
        assert tools.get_in_stock_symbols(f"{url}/list") == ["TCS.NS"]
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(InputError, match="holds none"):
        tools.get_br_stock_symbols(tmp_path / "none.txt")


def test_trading_dates_are_counted_from_any_date():
    days = pd.to_datetime(["2024-01-02", "2024-01-04", "2024-01-08"])
    shift = tools.get_trading_date_by_shift
    for date, step, found in (("2024-01-04", 1, 2), ("2024-01-04", 0, 1), ("2024-01-04", -1, 0)):
        assert shift(days, date, step) == days[found]
    for date, step, found in (("2024-01-03", 1, 1), ("2024-01-03", -1, 0), ("2024-01-01", 1, 0), ("2024-01-09", -1, 2)):
        assert shift(days, date, step) == days[found]
    for date, step in (("2024-01-08", 1), ("2024-01-02", -1)):
        with pytest.raises(MissingDataError, match="lie outside"):
            shift(days, date, step)


def test_a_function_is_called_again_and_its_last_error_is_raised():
    calls = []

    def fails(times: int):
        calls.append(1)
        if len(calls) <= times:
            raise OSError(len(calls))
        return len(calls)

    assert tools.deco_retry(retry=3, retry_sleep=0)(fails)(2) == 3
    calls.clear()
    with pytest.raises(OSError, match="3"):
        tools.deco_retry(retry=3, retry_sleep=0)(fails)(9)
    assert tools.deco_retry(lambda: 7)() == 7


def test_minutes_take_the_factor_of_their_day_and_nan_where_there_is_none():
    days = pd.DataFrame(
        {"date": ["2024-01-02", "2024-01-03"], "factor": [0.5, 2.0], "close": [1.0, np.nan], "volume": [9.0, np.nan]}
    )
    bars = pd.DataFrame(
        {"date": ["2024-01-02 10:00", "2024-01-03 10:00", "2024-01-04 10:00"], "close": 8.0, "volume": 8.0}
    )
    found = tools.calc_adjusted_price(bars, days)
    np.testing.assert_array_equal(found["close"], [4, 16, np.nan])
    np.testing.assert_array_equal(found["volume"], [16, 4, np.nan])
    assert list(found["paused"]) == [0, 1, 1]
    assert list(found["paused_num"]) == [0, 1, 2]
    with pytest.raises(InputError, match="2024-01-02 occurs more than once"):
        tools.calc_adjusted_price(bars, pd.concat([days, days]))

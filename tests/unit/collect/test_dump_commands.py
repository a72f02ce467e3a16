"""dump_all, dump_fix, dump_update: what a store holds after them, and that a wrong run changes nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from warm import run_warm

from qlib.collect import spool
from qlib.collect.dump import DumpDataAll, DumpDataFix, DumpDataUpdate, dump_all, dump_fix, dump_update
from qlib.collect.dump_run import _side_by_side
from qlib.config import build_settings
from qlib.data.provider import Provider
from qlib.data.storage import binary, transaction
from qlib.errors import InputError, RunError

ROOT = Path(__file__).resolve().parents[3]
NAN = np.nan


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def bin_of(*values: float) -> bytes:
    return np.float32(values).tobytes()


def of(text: str) -> pd.DataFrame:
    """A frame of "day field=value field=value" lines."""
    rows = []
    for line in text.split("|"):
        day, *cells = line.split()
        rows.append({"date": f"2024-01-{int(day):02d}", **{c.split("=")[0]: float(c.split("=")[1]) for c in cells}})
    return pd.DataFrame(rows)


@pytest.fixture
def store(tmp_path):
    dump_all({"AAA": of("1 c=1|2 c=2|3 c=3"), "BBB": of("2 c=5|3 c=6")}, tmp_path / "s")
    return tmp_path / "s"


def test_values_stand_at_the_calendar_position_of_their_date(tmp_path):
    dump_all({"aaa": of("1 c=1|2 c=2|4 c=4"), "BBB": of("4 c=8|2 c=5")}, tmp_path / "s")
    assert contents(tmp_path / "s") == {
        "calendars/day.txt": b"2024-01-01\n2024-01-02\n2024-01-04\n",
        "instruments/all.txt": b"AAA\t2024-01-01\t2024-01-04\nBBB\t2024-01-02\t2024-01-04\n",
        "features/aaa/c.day.bin": bin_of(0, 1, 2, 4),
        "features/bbb/c.day.bin": bin_of(1, 5, 8),
    }


def test_an_update_that_misses_dates_of_others_is_not_shifted(store):
    dump_update({"AAA": of("4 c=4|6 c=6"), "BBB": of("4 c=7|5 c=8|6 c=9")}, store)
    found = contents(store)
    assert found["features/aaa/c.day.bin"] == bin_of(0, 1, 2, 3, 4, NAN, 6)
    assert found["features/bbb/c.day.bin"] == bin_of(1, 5, 6, 7, 8, 9)
    assert found["instruments/all.txt"] == b"AAA\t2024-01-01\t2024-01-06\nBBB\t2024-01-02\t2024-01-06\n"


def test_a_new_field_of_an_update_starts_at_its_first_date(store):
    dump_update({"AAA": of("4 c=4 v=40|5 c=5 v=50")}, store)
    assert contents(store)["features/aaa/v.day.bin"] == bin_of(3, 40, 50)


def test_an_update_never_changes_a_stored_number_and_says_so(store):
    report = dump_update({"AAA": of("2 c=99|3 c=3|4 c=4")}, store)
    assert contents(store)["features/aaa/c.day.bin"] == bin_of(0, 1, 2, 3, 4)
    assert report.kept == {"AAA": 1} and "dump_fix replaces them" in str(report)


def test_an_update_fills_holes_and_goes_back_in_time(store):
    report = dump_update({"BBB": of("1 c=4"), "NEW": of("1 c=7|3 c=9")}, store)
    found = contents(store)
    assert found["features/bbb/c.day.bin"] == bin_of(0, 4, 5, 6)
    assert found["features/new/c.day.bin"] == bin_of(0, 7, NAN, 9)
    assert report.new_instruments == ["NEW"] and len(report.new_dates) == 0
    assert found["instruments/all.txt"].endswith(b"BBB\t2024-01-01\t2024-01-03\nNEW\t2024-01-01\t2024-01-03\n")


def test_dates_inside_the_past_are_inserted_and_every_series_moves(tmp_path):
    dump_all({"AAA": of("1 c=1|5 c=5"), "BBB": of("5 c=7|6 c=8")}, tmp_path / "s")
    report = dump_update({"NEW": of("3 c=9")}, tmp_path / "s")
    found = contents(tmp_path / "s")
    assert found["calendars/day.txt"] == b"2024-01-01\n2024-01-03\n2024-01-05\n2024-01-06\n"
    assert found["features/aaa/c.day.bin"] == bin_of(0, 1, NAN, 5)
    assert found["features/bbb/c.day.bin"] == bin_of(2, 7, 8)
    assert report.inserted == 1 and "before the old calendar's end" in str(report)


def test_a_partial_fix_file_keeps_what_it_lacks(store):
    dump_fix({"AAA": of("2 c=20"), "NEW": of("3 c=1")}, store)
    found = contents(store)
    assert found["features/aaa/c.day.bin"] == bin_of(0, 1, 20, 3)
    assert found["features/new/c.day.bin"] == bin_of(2, 1)
    assert found["instruments/all.txt"].splitlines()[0] == b"AAA\t2024-01-01\t2024-01-03"
    frame = of("1 c=1")
    frame["c"] = NAN
    dump_fix({"AAA": frame}, store)
    assert contents(store)["features/aaa/c.day.bin"] == bin_of(0, NAN, 20, 3), "an empty cell replaces, too"


def test_a_fix_does_not_add_dates(store):
    before = contents(store)
    with pytest.raises(InputError, match=r"AAA: 2024-01-09 is not in the calendar of the store \(1 rows in all\)"):
        dump_fix({"AAA": of("2 c=20|9 c=1")}, store)
    assert contents(store) == before


@pytest.mark.parametrize("command", [dump_fix, dump_update])
def test_several_spans_stay_several(store, command):
    (store / "instruments" / "all.txt").write_text(
        "AAA\t2024-01-01\t2024-01-01\nAAA\t2024-01-03\t2024-01-03\nBBB\t2024-01-02\t2024-01-03\n"
    )
    command({"AAA": of("2 c=20|3 c=3")}, store)
    lines = (store / "instruments" / "all.txt").read_text().splitlines()
    assert lines[:2] == ["AAA\t2024-01-01\t2024-01-01", "AAA\t2024-01-03\t2024-01-03"]
    dump_update({"AAA": of("5 c=5")}, store)
    lines = (store / "instruments" / "all.txt").read_text().splitlines()
    assert lines[:2] == ["AAA\t2024-01-01\t2024-01-01", "AAA\t2024-01-03\t2024-01-05"]


def test_a_name_written_small_stays_small(store):
    (store / "instruments" / "all.txt").write_text("aaa\t2024-01-01\t2024-01-03\nbbb\t2024-01-02\t2024-01-03\n")
    dump_update({"AAA": of("4 c=4")}, store)
    assert (store / "instruments" / "all.txt").read_text().startswith("aaa\t2024-01-01\t2024-01-04\nbbb\t")


def test_other_frequencies_stay_and_names_are_joined(store):
    hours = pd.DataFrame({"date": ["2024-01-02 05:00:00", "2024-01-04 06:00:00"], "c": [1.0, 2.0]})
    before = contents(store)
    dump_all({"AAA": hours}, store, freq="60min")
    after = contents(store)
    assert all(after[name] == before[name] for name in before if name != "instruments/all.txt")
    assert after["instruments/all.txt"].splitlines() == [
        b"AAA\t2024-01-01 00:00:00\t2024-01-04 06:00:00",
        b"BBB\t2024-01-02 00:00:00\t2024-01-03 00:00:00",
    ]
    dump_all({"CCC": of("1 c=1")}, store)
    assert "features/aaa/c.60min.bin" in contents(store) and "features/aaa/c.day.bin" not in contents(store)


def test_a_dump_replaces_what_was_there_and_its_caches(store):
    (store / "features_cache").mkdir()
    (store / "features_cache" / "old").write_text("stale")
    (store / "notes.txt").write_text("mine")
    dump_all({"CCC": of("7 c=1")}, store)
    assert set(contents(store)) == {
        "calendars/day.txt", "instruments/all.txt", "features/ccc/c.day.bin", "notes.txt"
    }  # fmt: skip


# ---------------------------------------------------------------------- calendars
def days(*numbers: int) -> str:
    return "".join(f"2024-01-{day:02d}\n" for day in numbers)


def test_strangers_to_a_given_calendar_are_quarantined(tmp_path):
    (tmp_path / "exchange.txt").write_text(days(1, 2, 3, 4, 5, 8))
    report = dump_all(
        {"AAA": of("2 c=2|5 c=5"), "BBB": of("3 c=3|6 c=66")}, tmp_path / "s", calendar=tmp_path / "exchange.txt"
    )
    found = contents(tmp_path / "s")
    assert found["calendars/day.txt"] == days(2, 3, 4, 5).encode(), "a day on which nobody traded is a day"
    assert found["calendars/day_future.txt"] == days(2, 3, 4, 5, 8).encode()
    assert found["features/aaa/c.day.bin"] == bin_of(0, 2, NAN, NAN, 5)
    assert found["features/bbb/c.day.bin"] == bin_of(1, 3)
    assert found["quarantine/day.csv"] == b"instrument,time,source,c\nBBB,2024-01-06,frame of BBB,66.0\n"
    assert report.quarantined == {"BBB": ["2024-01-06"]} and "quarantined  1 rows" in str(report)
    dump_update({"AAA": of("8 c=8")}, tmp_path / "s", calendar=tmp_path / "exchange.txt")
    assert "quarantine/day.csv" not in contents(tmp_path / "s"), "the report is the last run's"


def test_a_calendar_that_the_store_contradicts_is_refused(store, tmp_path):
    (tmp_path / "c.txt").write_text(days(1, 3, 4))
    with pytest.raises(InputError, match="the store has 2024-01-02 and 0 other times that the given calendar lacks"):
        dump_update({"AAA": of("4 c=1")}, store, calendar=tmp_path / "c.txt")
    (tmp_path / "c.txt").write_text(days(1, 2, 3, 4))
    with pytest.raises(InputError, match="2024-01-04 is not in the calendar of the store, which dump_fix does not"):
        dump_fix({"AAA": of("4 c=1")}, store, calendar=tmp_path / "c.txt")
    dump_fix({"AAA": of("2 c=9|7 c=1")}, store, calendar=tmp_path / "c.txt")
    assert contents(store)["features/aaa/c.day.bin"] == bin_of(0, 1, 9, 3)
    for text, said in (("", "is empty"), (days(2, 1), "ascends strictly"), ("soon\n", "is no time")):
        (tmp_path / "c.txt").write_text(text)
        with pytest.raises(InputError, match=said):
            dump_update({"AAA": of("4 c=1")}, store, calendar=tmp_path / "c.txt")
    (tmp_path / "c.txt").write_text(days(9))
    with pytest.raises(InputError, match="every row lies outside the calendar"):
        dump_all({"AAA": of("4 c=1")}, tmp_path / "t", calendar=tmp_path / "c.txt")
    assert not (tmp_path / "t").exists()


def test_a_future_calendar_goes_on_beginning_as_the_calendar_does(store):
    future = store / "calendars" / "day_future.txt"
    future.write_text(days(1, 2, 3, 4, 5, 9))
    dump_update({"AAA": of("4 c=4|6 c=6")}, store)
    assert future.read_text() == days(1, 2, 3, 4, 6, 9)
    dump_fix({"AAA": of("4 c=5")}, store)
    assert future.read_text() == days(1, 2, 3, 4, 6, 9)
    dump_update({"AAA": of("10 c=4")}, store)
    assert not future.exists()


# ---------------------------------------------------------------------- names
@pytest.mark.parametrize(("name", "folder"), [("BTC/USDT", "btc%2fusdt"), ("CON", "_qlib_con"), ("..", ".%2e")])
def test_any_name_has_a_folder_of_its_own_and_is_read_by_its_name(tmp_path, name, folder):
    root = tmp_path / "s"
    dump_all({name: of("1 c=1|2 c=2")}, root)
    assert [path.name for path in (root / "features").iterdir()] == [folder]
    p = Provider(build_settings(provider_uri=root))
    assert p.features([name], ["$c"])["$c"].tolist() == [1, 2]
    assert list(p.list_instruments(p.instruments("all"))) == [name]


def test_files_are_named_as_folders_are(tmp_path):
    (tmp_path / "csv").mkdir()
    for stem in ("btc%2fusdt", "_qlib_nul", "na"):
        (tmp_path / "csv" / f"{stem}.csv").write_text("date,c\n2024-01-01,1\n")
    dump_all(tmp_path / "csv", tmp_path / "s")
    names = [line.split("\t")[0] for line in (tmp_path / "s" / "instruments" / "all.txt").read_text().splitlines()]
    assert names == ["NUL", "BTC/USDT", "NA"]
    assert {path.name for path in (tmp_path / "s" / "features").iterdir()} == {"_qlib_nul", "btc%2fusdt", "na"}


def test_a_folder_that_qlib_wrote_is_updated_in_place(tmp_path):
    dump_all({"NUL": of("1 c=1")}, tmp_path / "s")
    dump_update({"nul": of("2 c=2")}, tmp_path / "s")
    assert contents(tmp_path / "s")["features/_qlib_nul/c.day.bin"] == bin_of(0, 1, 2)


def test_names_that_differ_in_case_alone_are_refused(tmp_path):
    with pytest.raises(InputError, match="frame of AAA and frame of aaa are both about AAA.*share one folder"):
        dump_all({"AAA": of("1 c=1"), "aaa": of("1 c=1")}, tmp_path / "s")


# ---------------------------------------------------------------------- options
def test_options_have_qlibs_names_and_do_what_they_say(tmp_path):
    (tmp_path / "csv").mkdir()
    for name in "abc":
        (tmp_path / "csv" / f"{name}_x.csv").write_text("day,ticker,c,v,note\n2024-01-01,Z,1,2,hello\n")
    common = {"date_field_name": "day", "symbol_field_name": "ticker", "file_suffix": "_x.csv", "max_workers": 2}
    DumpDataAll(tmp_path / "csv", tmp_path / "s", include_fields="c", limit_nums=2, **common)()
    assert set(contents(tmp_path / "s")) == {
        "calendars/day.txt", "instruments/all.txt", "features/a/c.day.bin", "features/b/c.day.bin"
    }  # fmt: skip
    DumpDataUpdate(tmp_path / "csv", tmp_path / "s", exclude_fields=["note"], limit_nums=1, **common).dump()
    assert "features/a/v.day.bin" in contents(tmp_path / "s") and "features/c/c.day.bin" not in contents(tmp_path / "s")
    DumpDataFix(tmp_path / "csv", tmp_path / "s", exclude_fields="note", **common).dump()
    assert "features/c/v.day.bin" in contents(tmp_path / "s")


def test_a_backup_is_the_store_as_it_was(store, tmp_path):
    before = contents(store)
    with pytest.raises(InputError, match="is not in the calendar"):
        dump_fix({"AAA": of("9 c=9")}, store, backup_dir=tmp_path / "b")
    assert not (tmp_path / "b").exists(), "nothing changed, nothing to go back to"
    dump_update({"AAA": of("4 c=4")}, store, backup_dir=tmp_path / "b")
    assert contents(tmp_path / "b") == before != contents(store)
    with pytest.raises(InputError, match="exists already"):
        dump_update({"AAA": of("5 c=4")}, store, backup_dir=tmp_path / "b")


def test_a_dry_run_says_what_would_change_and_changes_nothing(store):
    before = contents(store.parent)
    report = dump_update({"AAA": of("4 c=4"), "NEW": of("4 c=1")}, store, dry_run=True)
    assert contents(store.parent) == before
    assert report.files == {
        "added": ["features/new/c.day.bin"],
        "changed": ["calendars/day.txt", "features/aaa/c.day.bin", "instruments/all.txt"],
        "removed": [],
    }
    assert "would change as follows" in str(report) and "features/new/c.day.bin" in str(report)


def test_what_does_not_change_is_not_written(store):
    before = {path: path.stat().st_ino for path in store.rglob("*") if path.is_file()}
    dump_update({"AAA": of("2 c=2|3 c=3")}, store)
    assert {path: path.stat().st_ino for path in store.rglob("*") if path.is_file()} == before
    dump_update({"AAA": of("4 c=4")}, store)
    same = {path.name for path in store.rglob("*") if path.is_file() and before.get(path) == path.stat().st_ino}
    assert (store / "features/bbb/c.day.bin").stat().st_ino == before[
        store / "features/bbb/c.day.bin"
    ] and "c.day.bin" in same


@pytest.mark.parametrize("order", list(permutations(["LATE", "HOLE", "EARLY", "WHOLE"])), ids="-".join)
def test_what_was_read_before_the_calendar_was_known_stands_where_it_belongs(tmp_path, order):
    frames = {"LATE": of("5 c=5|6 c=6"), "HOLE": of("2 c=2|5 c=5"), "EARLY": of("1 c=1"), "WHOLE": of("3 c=3|4 c=4")}
    dump_all({name: frames[name] for name in order}, tmp_path / "s", max_workers=1)
    found = {name: contents(tmp_path / "s")[f"features/{name.lower()}/c.day.bin"] for name in order}
    assert found == {
        "LATE": bin_of(4, 5, 6),
        "HOLE": bin_of(1, 2, NAN, NAN, 5),
        "EARLY": bin_of(0, 1),
        "WHOLE": bin_of(2, 3, 4),
    }


def test_a_few_sources_are_read_at_the_same_time():
    both = threading.Barrier(2)
    assert _side_by_side(lambda one: (both.wait(timeout=30), one)[1], [1, 2], 2) == [1, 2]
    assert _side_by_side(lambda one: one + 1, range(100), 2) == [*range(1, 101)]


def test_bars_wait_in_a_file_when_they_are_many(tmp_path, monkeypatch):
    frames = {f"S{i}": of("1 c=1|3 c=3") if i % 2 else of("1 c=1|2 c=2 v=5|3 c=3 v=7") for i in range(9)}
    more = {name: frame.assign(c=8) for name, frame in frames.items()}
    for place, limit in (("memory", spool.IN_MEMORY), ("file", 40)):
        monkeypatch.setattr(spool, "IN_MEMORY", limit)
        dump_all(frames, tmp_path / place)
        dump_fix(more, tmp_path / place)
    assert contents(tmp_path / "memory") == contents(tmp_path / "file")


def test_who_stands_in_the_store_stands_in_the_new_one(store, monkeypatch, caplog):
    monkeypatch.chdir(store)
    dump_fix({"AAA": of("2 c=9")}, ".")
    assert Path.cwd() == store and Path("features/aaa/c.day.bin").read_bytes() == bin_of(0, 1, 9, 3)
    assert (
        f"{store} is a new folder now: a shell that stands in the old one has to `cd {store}` to see it" in caplog.text
    )
    monkeypatch.chdir(store / "features" / "bbb")
    caplog.clear()
    dump_fix({"AAA": of("2 c=8")}, "../..")
    assert Path.cwd() == store / "features" / "bbb" and Path("c.day.bin").exists()
    assert "has to `cd" in caplog.text
    dump_all({"AAA": of("2 c=8")}, store)  # its folder is gone
    assert Path.cwd() == store
    caplog.clear()
    monkeypatch.chdir(store.parent)
    dump_fix({"AAA": of("2 c=7")}, store)
    dump_fix({"AAA": of("2 c=6")}, store, dry_run=True)
    assert "new folder" not in caplog.text


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"freq": "dya"}, "freq: received 'dya'"),
        ({"max_workers": 0}, "max_workers: received 0; a whole number from 1 on"),
        ({"limit_nums": "few"}, "limit_nums: received 'few'"),
        ({"include_fields": "clsoe,c"}, "include_fields: no source has a column 'clsoe'; there are c, date"),
        ({"exclude_fields": "clsoe"}, "exclude_fields: no source has a column 'clsoe'; there are c, date"),
        ({"exclude_fields": "datte"}, r"exclude_fields: no source has a column 'datte'; .* did you mean date\?"),
        ({"include_fields": "C"}, r"frame of AAA: has no column of include_fields \(C\); its columns are c"),
        ({"data_path": None}, "data_path: received NoneType; a folder, a file, a DataFrame or a mapping"),
        ({"data_path": {"AAA": [1]}}, "frame of AAA: received list; a DataFrame is needed"),
        ({"calendar": "nowhere.txt"}, "calendar: nowhere.txt is no file"),
    ],
)
def test_a_wrong_option_is_named(store, options, said):
    before = contents(store.parent)
    with pytest.raises(InputError, match=said):
        dump_all(**{"data_path": {"AAA": of("1 c=1")}, "qlib_dir": store, **options})
    assert contents(store.parent) == before


def test_what_is_no_field_may_be_left_out(tmp_path):
    """Qlib's command lines leave out the date and the symbol, which never become fields."""
    frames = {"AAA": of("1 c=1 v=2"), "BBB": of("1 c=1")}
    dump_all(frames, tmp_path / "s", exclude_fields="symbol,date,v")
    assert [path.name for path in (tmp_path / "s" / "features").rglob("*.bin")] == ["c.day.bin"] * 2
    dump_all(frames, tmp_path / "t", exclude_fields="later", limit_nums=1)  # another source may have it
    dump_all(frames, tmp_path / "u", include_fields="c", exclude_fields="x")  # what is taken is said already


@pytest.mark.parametrize("command", [dump_fix, dump_update])
def test_there_must_be_something_to_add_to(tmp_path, store, command):
    with pytest.raises(
        InputError, match=r"holds nothing at freq day \(stored there: nothing\); dump_all makes a store"
    ):
        command({"AAA": of("1 c=1")}, tmp_path / "none")
    with pytest.raises(InputError, match=r"holds nothing at freq 60min \(stored there: day\)"):
        command({"AAA": of("1 c=1")}, store, freq="60min")
    assert not (tmp_path / "none").exists()


def test_a_damaged_file_of_the_store_is_named_and_nothing_changes(store):
    (store / "features/aaa/c.day.bin").write_bytes(b"12345")
    before = contents(store.parent)
    with pytest.raises(InputError, match="aaa/c.day.bin: 5 bytes"):
        dump_update({"AAA": of("4 c=4")}, store)
    assert contents(store.parent) == before


def test_a_position_beyond_float32_is_refused(store, monkeypatch):
    before = contents(store.parent)
    monkeypatch.setattr(binary, "LAST_POSITION", 2)
    with pytest.raises(InputError, match="frame of NEW: start: received calendar position 3; 0 to 2 is allowed"):
        dump_update({"NEW": of("4 c=1")}, store)
    assert contents(store.parent) == before


@pytest.mark.parametrize("step", ["write", "keep_the_rest"])
def test_an_error_of_the_system_leaves_the_store(store, monkeypatch, step):
    before = contents(store.parent)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(transaction.Change, step, fail)
    with pytest.raises(RunError, match=r"s is as it was: No space left on device \(somewhere\)"):
        dump_update({"AAA": of("4 c=4")}, store)
    assert contents(store.parent) == before


def test_every_system_writes_the_same_bytes(tmp_path, monkeypatch):
    frames = {"AAA": of("1 c=1 v=10|2 c=2 v=20|4 c=4 v=40"), "BBB": of("2 c=5 v=50")}
    dump_all(frames, tmp_path / "one")
    monkeypatch.setattr(transaction, "AVAILABLE", False)
    dump_all(frames, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def cli(*arguments: object, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "dump_bin.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if limit is None:
        return run_warm(command, env=environment)
    return subprocess.run(
        command, capture_output=True, text=True, check=False,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},  # a module cut short would stay: Python 3.11 writes it so
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_the_command_line_says_one_sentence_and_a_full_disk_leaves_the_store(tmp_path):
    (tmp_path / "csv").mkdir()
    times = pd.date_range("2000-01-01", periods=3000).strftime("%Y-%m-%d")
    pd.DataFrame({"date": times, "c": 1.0}).to_csv(tmp_path / "csv" / "a.csv", index=False)
    where = ("--data_path", tmp_path / "csv", "--qlib_dir", tmp_path / "s")
    full = cli("dump_all", *where, limit=5000)
    assert full.returncode == 1 and not (tmp_path / "s").exists()
    assert full.stderr == f"dump_bin: {tmp_path}/s is as it was: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["csv"]
    done = cli("dump_all", *where, "--freq", "day", "--max_workers", 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == "  instruments  1 in the sources, 1 of them new: A"
    wrong = cli("dump_update", *where, "--date_field_name", "dtae")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(
        f"dump_bin: {tmp_path}/csv/a.csv: has no date column 'dtae'; its columns are 'date', 'c'; did"
    )
    assert len(wrong.stderr.splitlines()) == 1
    assert cli("dump_all", *where, "--colour", "red").returncode == 2


def test_qlibs_classes_lie_where_qlib_has_them(tmp_path):
    code = "from dump_bin import DumpDataAll, DumpDataFix, DumpDataUpdate; print(DumpDataUpdate.dump.__qualname__)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
    done = run_warm([sys.executable, "-c", code], env=environment)
    assert done.returncode == 0, done.stderr

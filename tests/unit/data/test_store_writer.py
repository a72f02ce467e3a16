"""write_store: what is written, what is refused, and that it happens whole or not at all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.config import build_settings
from qlib.data.provider import Provider
from qlib.data.storage import binary, transaction, writer
from qlib.data.storage.writer import write_store
from qlib.errors import InputError

DAYS = pd.date_range("2024-01-01", periods=6)
HOURS = pd.date_range("2024-01-02", periods=48, freq="h")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def of(values, times=DAYS, field="close") -> pd.DataFrame:
    return pd.DataFrame({field: np.asarray(values, dtype=float)}, index=times[: len(values)])


def provider_of(root: Path) -> Provider:
    return Provider(build_settings(provider_uri=root))


def test_the_files_are_qlibs(tmp_path):
    root = write_store({"BTC": of([1, 2, 3]), "CON": of([5, 7], DAYS[[1, 3]])}, tmp_path / "s", "day")
    assert contents(root) == {
        "calendars/day.txt": b"2024-01-01\n2024-01-02\n2024-01-03\n2024-01-04\n",
        "instruments/all.txt": b"BTC\t2024-01-01\t2024-01-03\nCON\t2024-01-02\t2024-01-04\n",
        "features/btc/close.day.bin": np.float32([0, 1, 2, 3]).tobytes(),
        "features/_qlib_con/close.day.bin": np.float32([1, 5, np.nan, 7]).tobytes(),
    }


def test_a_second_frequency_joins_the_store(tmp_path):
    day = write_store({"BTC": of([1] * 6), "OLD": of([1, 2])}, tmp_path / "s", "1d")
    before = contents(day)
    write_store({"BTC": of(range(48), HOURS)}, tmp_path / "s", "60min")
    after = contents(day)
    assert {name: after[name] for name in before if "instruments" not in name} == {
        name: content for name, content in before.items() if "instruments" not in name
    }
    assert after["calendars/60min.txt"].startswith(b"2024-01-02 00:00:00\n")
    assert after["instruments/all.txt"] == b"BTC\t2024-01-01\t2024-01-06\nOLD\t2024-01-01\t2024-01-02\n"
    write_store({"NEW": of(range(30), HOURS)}, tmp_path / "s", "60min")
    assert contents(day)["instruments/all.txt"].endswith(b"NEW\t2024-01-02 00:00:00\t2024-01-03 05:00:00\n")
    assert provider_of(day).stored_freqs() == ["60min", "day"]


def test_the_same_frequency_is_replaced_and_other_files_stay(tmp_path):
    root = write_store({"A": of([1]), "B": of([2])}, tmp_path / "s", "day")
    (root / "README.txt").write_text("mine")
    (root / "instruments" / "top.txt").write_text("A\t2024-01-01\t2024-01-01\n")
    (root / "calendars" / "day_future.txt").write_text("2024-01-01\n2024-01-02\n2024-01-03\n")
    write_store({"A": of([3, 4])}, root, "day")
    assert set(contents(root)) == {
        "README.txt", "calendars/day.txt", "calendars/day_future.txt", "instruments/all.txt", "instruments/top.txt",
        "features/a/close.day.bin",
    }  # fmt: skip
    write_store({"A": of([3, 4], DAYS[2:])}, root, "day")
    assert "calendars/day_future.txt" not in contents(root), "it no longer begins as the calendar does"


def test_markets_can_be_named(tmp_path):
    frames = {"A": of([1, 2]), "INDEX": of([1, 2, 3])}
    root = write_store(
        frames, tmp_path / "s", "day", instruments={"all": ["A"], "BENCH": {"INDEX": [("2024-01-01", "2024-01-02")]}}
    )
    assert (root / "instruments/all.txt").read_text() == "A\t2024-01-01\t2024-01-02\n"
    assert (root / "instruments/bench.txt").read_text() == "INDEX\t2024-01-01\t2024-01-02\n"
    with pytest.raises(InputError, match="market all names X, of which there is no frame"):
        write_store(frames, tmp_path / "s", "day", instruments={"all": ["X"]})


@pytest.mark.parametrize(
    ("frames", "freq", "said"),
    [
        ({}, "day", "frames: received none"),
        ({"A": of([1])}, "dya", "freq: received 'dya'"),
        ({"": of([1])}, "day", "name of 1 to 255 bytes"),
        ({"A\tB": of([1])}, "day", "a tab or a line break"),
        ({"A": of([])}, "day", "frame of A: it has no rows"),
        ({"A": of([1]).reset_index(drop=True)}, "day", "frame of A: received an index of int64; a DatetimeIndex"),
        ({"A": of([1]).tz_localize("UTC")}, "day", "carry the zone UTC.*tz_localize.None"),
        ({"A": of([1, 2]).iloc[[0, 0]]}, "day", "2024-01-01 00:00:00 occurs more than once"),
        ({"A": of([1], pd.DatetimeIndex([pd.NaT]))}, "day", "without a time"),
        ({"A": of([1], pd.DatetimeIndex(np.array(["9999-12-31"], "M8[s]")))}, "day", "9999-12-31 is out of range"),
        ({"A": of([1, 2], HOURS)}, "day", "01:00:00 cannot be stored at freq day, whose times are midnights"),
        ({"A": of([1], HOURS + pd.Timedelta("1ms"))}, "1min", "whose times are whole seconds"),
        ({"A": of([1]).assign(close="x")}, "day", "column close is (str|object); numbers are needed"),
        ({"A": of([1]).rename(columns={"close": "$close"})}, "day", r"column '\$close' cannot be a field"),
        ({"A": of([1]).assign(Close=2.0)}, "day", "column close occurs more than once"),
        ({"A": of([1])[[]]}, "day", "it has no columns"),
        ({"A": of([1e39])}, "day", r"holds 1e\+39, too large for float32"),
        ({"A": of([1]), "a": of([1])}, "day", "A and a would share one folder"),
    ],
)  # fmt: skip
def test_a_frame_that_cannot_be_stored_is_refused_and_nothing_changes(tmp_path, frames, freq, said):
    root = write_store({"OLD": of([1])}, tmp_path / "s", "day")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=said):
        write_store(frames, root, freq)
    assert contents(tmp_path) == before


def test_a_series_that_begins_too_late_for_the_header_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(binary, "LAST_POSITION", 3)
    with pytest.raises(InputError, match="frame of B: start: received calendar position 4; 0 to 3 is allowed"):
        write_store({"A": of([1] * 6), "B": of([1], DAYS[4:])}, tmp_path / "s", "day")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_store_is_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years")
    for root in (tmp_path / "thesis", tmp_path / "thesis" / "chapter.txt"):
        with pytest.raises(InputError, match="received"):
            write_store({"A": of([1])}, root, "day")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years"


def test_a_folder_behind_a_link_is_refused_and_nothing_of_it_is_lost(tmp_path):
    days = pd.bdate_range("2024-01-01", periods=3)
    frame = pd.DataFrame({"close": [1.0, 2.0, 3.0]}, days)
    root = write_store({"AAA": frame}, tmp_path / "store", "day")
    (root / "features").rename(tmp_path / "elsewhere")
    (root / "features").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="features is a symbolic link"):
        write_store({"BBB": frame}, root, "day")
    assert (root / "features").is_symlink() and (tmp_path / "elsewhere" / "aaa" / "close.day.bin").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/s cannot be written: "):
        write_store({"A": of([1])}, tmp_path / "file" / "s", "day")


frames = st.dictionaries(
    st.sampled_from(["BTC", "eth", "NUL", "A/B", "..", "NA"]),
    st.dictionaries(st.integers(0, 40), st.floats(width=32, allow_infinity=False), min_size=1, max_size=20),
    min_size=1,
)


@given(frames)
@settings(max_examples=40, deadline=None)
def test_what_is_written_comes_back(tmp_path_factory, tables):
    start = pd.Timestamp("2024-01-01")
    given = {
        name: pd.DataFrame(
            {"close": table.values()}, index=pd.DatetimeIndex([start + pd.Timedelta(days=d) for d in table])
        )
        for name, table in tables.items()
    }
    root = write_store(given, tmp_path_factory.mktemp("w") / "s", "day")
    p = provider_of(root)
    calendar = sorted({day for table in tables.values() for day in table})
    assert list(p.calendar()) == [start + pd.Timedelta(days=day) for day in calendar]
    found = p.features(p.instruments("all"), ["$close"])["$close"]
    rows = [
        (name, start + pd.Timedelta(days=day), table.get(day, np.nan))
        for name, table in sorted(tables.items())
        for day in calendar
        if min(table) <= day <= max(table)
    ]
    assert list(found.index) == [(name, when) for name, when, _ in rows]
    np.testing.assert_array_equal(found.to_numpy(), np.float32([value for *_, value in rows]))


# ---------------------------------------------------------------------- whole or not at all
STEPS = [
    (writer, "replace_freq"), (writer, "write_calendar"), (writer, "_write_features"), (writer, "_write_market"),
    (transaction, "_make_durable"), (transaction, "_swap"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "step"), STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_an_error_at_any_step_leaves_the_old_store(tmp_path, monkeypatch, module, step, after):
    root = write_store({"A": of([1, 2])}, tmp_path / "s", "day")
    before = contents(tmp_path)
    real = getattr(module, step)

    def fail(*args, **kwargs):
        if after and step != "_swap":
            real(*args, **kwargs)
        raise OSError("no space left")

    monkeypatch.setattr(module, step, fail)
    with pytest.raises(OSError, match="no space left"):
        write_store({"A": of([3, 4, 5])}, root, "day")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("exchange", [True, False])
def test_the_new_store_takes_the_place_of_the_old_with_and_without_the_system_call(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(transaction, "_exchange", lambda left, right: False)
    root = write_store({"A": of([1, 2])}, tmp_path / "s", "day")
    write_store({"A": of([3, 4, 5])}, root, "day")
    assert provider_of(root).features(["A"], ["$close"])["$close"].tolist() == [3, 4, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_writers_at_once_wait_for_each_other_and_nothing_of_theirs_is_lost(tmp_path):
    failed: list[Exception] = []

    def write(number: int) -> None:
        try:
            for turn in range(10):
                with transaction.replacing(tmp_path / "s") as change:
                    change.write(f"{number}_{turn}", b"x")
        except Exception as error:  # noqa: BLE001  a thread's error is told by the assertion
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(list((tmp_path / "s").iterdir())) == 60
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_what_a_killed_writer_left_is_swept_up(tmp_path):
    root = write_store({"A": of([1, 2])}, tmp_path / "s", "day")
    root.rename(tmp_path / ".s.0123abcd.old")  # killed between the two steps of a system without exchange
    (tmp_path / ".s.0123abcd.new").mkdir()
    (tmp_path / ".other.0123abcd.new").mkdir()
    write_store({"B": of(range(48), HOURS)}, root, "60min")
    assert {path.name for path in tmp_path.iterdir()} == {"s", ".other.0123abcd.new"}
    assert provider_of(root).features(["A"], ["$close"])["$close"].tolist() == [1, 2]


WRITER = """
import sys
import numpy as np, pandas as pd
from qlib.data.storage.writer import write_store
times = pd.date_range("2024-01-01", periods=50)
k = int(sys.argv[2])
print("ready", flush=True)
while True:
    k += 1
    frame = pd.DataFrame({f"f{j}": float(k) for j in range(5)}, index=times)
    write_store({f"S{i}": frame for i in range(20)}, sys.argv[1], "day")
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process by signal")
def test_kill_9_at_any_moment_leaves_one_whole_store(tmp_path):
    root = tmp_path / "s"
    times = pd.date_range("2024-01-01", periods=50)
    write_store({f"S{i}": pd.DataFrame({f"f{j}": 0.0 for j in range(5)}, index=times) for i in range(20)}, root, "day")
    chance = random.Random(7)
    seen = 0.0
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), str(int(seen))],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[3],
        )
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.02, 0.35))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        names = [f"S{i}" for i in range(20)]
        values = provider_of(root).features(names, [f"$f{j}" for j in range(5)]).to_numpy()
        assert values.shape == (1000, 5) and len(np.unique(values)) == 1, "a mixed store"
        assert values[0, 0] >= seen
        seen = float(values[0, 0])
    write_store({"S0": pd.DataFrame({"f0": 1.0}, index=times)}, root, "day")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]

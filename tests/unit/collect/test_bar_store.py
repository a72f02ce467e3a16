"""The store of what was collected: the same knowledge is the same bytes, and nothing that came is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_source import DAY, HOUR, bars, frame

from qlib.collect.bar_store import BarStore, read_bars
from qlib.collect.coverage import NO_BARS, bars_in
from qlib.collect.journal import Journal
from qlib.collect.source import Hole, Page, Rows, Series
from qlib.errors import InputError, MissingDataError, RunError, StoreError

START = 1_767_225_600_000  # 2026-01-01
X = Series("X-USDT-SWAP", "candles", "1H")


def page(start: int, end: int, rows: Rows) -> Page:
    keep = (rows["ts"] >= start) & (rows["ts"] < end)
    return Page(start, end, {name: values[keep] for name, values in rows.items()})


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def from_text(path: Path) -> pd.DataFrame:
    head, *lines = [line.split(",") for line in path.read_text().splitlines()]
    read = {"ts": int, "traded": lambda word: {"true": True, "false": False}[word]}
    columns = dict(zip(head, zip(*lines, strict=True), strict=True))
    number = lambda word: float(word or "nan")  # noqa: E731
    return pd.DataFrame({name: [read.get(name, number)(word) for word in words] for name, words in columns.items()})


def put(store: BarStore, series: Series, *pages: Page | Hole) -> None:
    with store.lock():
        for one in pages:
            store.add(series, one, known_bars(one) if series.bar == "1H" else NO_BARS)
        store.seal(series)


def known_bars(one: Page | Hole):
    if isinstance(one, Hole):
        return NO_BARS
    hours = lambda a, b: np.arange(-(-a // HOUR) * HOUR, b, HOUR)  # noqa: E731
    return bars_in(one.start, one.end, one.rows["ts"], hours, HOUR)


@pytest.mark.parametrize("series", [
    X, Series("X/Y:Z", "candles", "1m"), Series("..", "mark", "1Dutc"), Series("nul", "funding", None),
    Series("X", "oi", "1H"), Series("X", "trades", None), Series("X", "index", "5m"),
])  # fmt: skip
def test_what_is_put_in_is_what_is_read(tmp_path: Path, series: Series):
    rows = bars(START + np.arange(0, 400) * 13 * HOUR, kind=series.kind)
    put(BarStore(tmp_path), series, page(START, START + 9000 * HOUR, rows))
    pd.testing.assert_frame_equal(BarStore(tmp_path).read(series), frame(rows), check_exact=True)
    pd.testing.assert_frame_equal(
        read_bars(tmp_path, series.symbol, series.bar, series.kind), frame(rows), check_exact=True
    )
    some = BarStore(tmp_path).read(series, START + 200 * HOUR, START + 4000 * HOUR)
    assert some["ts"].tolist() == [ts for ts in rows["ts"] if START + 200 * HOUR <= ts < START + 4000 * HOUR]
    told = read_bars(
        tmp_path, series.symbol, kind=series.kind, start="2026-01-10", end=pd.Timestamp("2026-03-01", tz="Asia/Tokyo")
    )
    assert told["ts"].tolist() == [ts for ts in rows["ts"] if START + 9 * DAY <= ts < START + 59 * DAY - 9 * HOUR]
    with pytest.raises(InputError, match="start: received 'now'; a date such as"):
        read_bars(tmp_path, series.symbol, start="now")
    assert BarStore(tmp_path).series() == [series]
    assert BarStore(tmp_path).rows(series) == 400
    assert all(path.resolve().is_relative_to(tmp_path) for path in tmp_path.rglob("*"))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_bytes_do_not_depend_on_order_pages_or_runs(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    hours = sorted(data.draw(st.sets(st.integers(0, 60), max_size=40)))
    times = START + np.array(hours, "int64") * 9 * DAY  # crosses years
    rows = bars(times)
    end = START + 600 * DAY
    cuts = sorted(data.draw(st.sets(st.integers(START + 1, end - 1), max_size=6)))
    edges = [START, *cuts, end]
    pages = [page(a, b, rows) for a, b in zip(edges, edges[1:], strict=False)]
    again = data.draw(st.lists(st.sampled_from(pages), max_size=2))
    runs = data.draw(st.permutations(pages + again))
    split = data.draw(st.integers(0, len(runs)))
    whole, pieces = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("pieces")
    put(BarStore(whole), X, page(START, end, rows))
    for part in (runs[:split], runs[split:]):
        put(BarStore(pieces), X, *part)
    assert files(whole) == files(pieces)


def test_a_journal_that_was_cut_anywhere_gives_its_whole_pages_and_the_rest_is_missing(tmp_path: Path):
    rows = bars(START + np.arange(30) * HOUR)
    pages = [page(START + a * HOUR, START + (a + 10) * HOUR, rows) for a in (20, 10, 0)]
    sizes = [0]
    store = BarStore(tmp_path / "full")
    journal = store.path(X) / "journal"
    with store.lock():
        for one in pages:
            store.add(X, one, known_bars(one))
            sizes.append(journal.stat().st_size)
    content = journal.read_bytes()
    undisturbed = tmp_path / "undisturbed"
    put(BarStore(undisturbed), X, *pages)
    for cut in sorted({*range(0, len(content), 97), *sizes, *(size - 1 for size in sizes[1:])}):
        folder = tmp_path / f"cut{cut}"
        broken = BarStore(folder)
        broken.path(X).mkdir(parents=True)
        (broken.path(X) / "journal").write_bytes(content[:cut])
        whole = sum(size <= cut for size in sizes[1:])
        assert len(broken.read(X)) == 10 * whole
        left = broken.missing(X, START, START + 30 * HOUR)
        assert left == ([(START, START + (30 - 10 * whole) * HOUR)] if whole < 3 else [])
        put(BarStore(folder), X, *pages[whole:])
        assert files(folder) == files(undisturbed)


def test_a_flipped_bit_in_the_journal_is_not_taken_for_a_bar(tmp_path: Path):
    rows = bars(START + np.arange(20) * HOUR)
    store = BarStore(tmp_path)
    with store.lock():
        store.add(X, page(START + 10 * HOUR, START + 20 * HOUR, rows))
        size = (store.path(X) / "journal").stat().st_size
        store.add(X, page(START, START + 10 * HOUR, rows))
    journal = store.path(X) / "journal"
    content = bytearray(journal.read_bytes())
    content[size + 700] ^= 4
    journal.write_bytes(content)
    assert BarStore(tmp_path).read(X)["ts"].tolist() == rows["ts"][10:].tolist()
    assert BarStore(tmp_path).missing(X, START, START + 20 * HOUR) == [(START, START + 10 * HOUR)]


def test_a_full_disk_is_said_and_what_was_stored_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = bars(START + np.arange(20) * HOUR)
    put(BarStore(tmp_path), X, page(START + 10 * HOUR, START + 20 * HOUR, rows))
    before = files(tmp_path)
    real = os.pwrite

    def full(handle: int, content: bytes, place: int) -> int:
        real(handle, bytes(content)[:50], place)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    store = BarStore(tmp_path)
    with store.lock(), pytest.raises(RunError, match="No space left on device; what was stored before is whole"):
        store.add(X, page(START, START + 10 * HOUR, rows))
    monkeypatch.undo()
    assert {name: content for name, content in files(tmp_path).items() if not name.endswith("journal")} == before
    put(BarStore(tmp_path), X, page(START, START + 10 * HOUR, rows))
    assert len(BarStore(tmp_path).read(X)) == 20


def test_a_revised_bar_is_replaced_and_told_with_its_old_values(tmp_path: Path):
    rows = bars(START + np.arange(20) * HOUR)
    put(BarStore(tmp_path), X, page(START, START + 20 * HOUR, rows))
    new = {name: values.copy() for name, values in rows.items()}
    new["close"][7] = 123.25
    new["vwap"][3] = np.nan
    store = BarStore(tmp_path)
    for _ in range(2):
        with store.lock():
            store.add(X, page(START, START + 20 * HOUR, new))
            changes = store.seal(X)
        if _ == 0:
            assert [(one.ts, list(one.new)) for one in changes.revised] == [
                (START + 3 * HOUR, ["vwap"]),
                (START + 7 * HOUR, ["close"]),
            ]
            assert "X-USDT-SWAP candles 1H 2026-01-01 07:00: close" in str(changes.revised[1])
            assert str(changes.revised[1]).endswith("-> 123.25")
        else:
            assert (changes.added, changes.revised) == (0, [])
    pd.testing.assert_frame_equal(store.read(X), frame(new), check_exact=True)
    told = [json.loads(line) for line in (store.path(X) / "revisions.jsonl").read_text().splitlines()]
    assert [(one["ts"], one["old"]) for one in told] == [
        (START + 3 * HOUR, {"vwap": rows["vwap"][3]}),
        (START + 7 * HOUR, {"close": rows["close"][7]}),
    ]


def test_a_bar_that_the_venue_shows_no_more_is_kept_and_counted(tmp_path: Path):
    rows = bars(START + np.arange(20) * HOUR)
    put(BarStore(tmp_path), X, page(START, START + 20 * HOUR, rows))
    store = BarStore(tmp_path)
    fewer = {name: values[rows["ts"] != START + 5 * HOUR] for name, values in rows.items()}
    with store.lock():
        store.add(X, page(START, START + 20 * HOUR, fewer))
        assert store.seal(X).withdrawn == 1
    pd.testing.assert_frame_equal(store.read(X), frame(rows), check_exact=True)


def test_two_writers_are_one_too_many_and_the_message_names_the_first(tmp_path: Path):
    with BarStore(tmp_path).lock("collecting from okx"):
        with pytest.raises(RunError) as told, BarStore(tmp_path).lock():
            pass
        assert f"locked by process {os.getpid()} on " in str(told.value)
        assert "UTC, for collecting from okx; one store has one writer" in str(told.value)
    with BarStore(tmp_path).lock():
        pass


def test_nothing_is_written_without_the_lock(tmp_path: Path):
    with pytest.raises(RunError, match="with store.lock"):
        BarStore(tmp_path).add(X, page(START, START + HOUR, bars([START])))


def test_every_gap_has_its_reason(tmp_path: Path):
    rows = bars(START + np.array([10, 11, 14, 15]) * HOUR)
    store = BarStore(tmp_path)
    with store.lock():
        store.set_life(X, START + 8 * HOUR, START + 16 * HOUR)
        for one in (page(START, START + 13 * HOUR, rows), page(START + 13 * HOUR, START + 20 * HOUR, rows),
                    Hole(START - 50 * HOUR, START + HOUR, "too old", forever=True)):  # fmt: skip
            store.add(X, one, known_bars(one))
        store.seal(X)
    told = [((gap.start - START) // HOUR, (gap.end - START) // HOUR, gap.reason) for gap in store.gaps(X)]
    assert told == [
        (-50, 0, "too old"),
        (0, 8, "before the listing"),
        (8, 10, "before the venue's first bar"),
        (12, 14, "hole at the venue"),
        (16, 20, "after the delisting"),
    ]
    assert store.missing(X, START - 60 * HOUR, START + 30 * HOUR) == [
        (START - 60 * HOUR, START - 50 * HOUR),
        (START + 20 * HOUR, START + 30 * HOUR),
    ]


def test_funding_that_was_not_paid_for_more_than_eight_hours_is_a_gap(tmp_path: Path):
    funding = Series("X", "funding", None)
    times = START + np.array([0, 8, 16, 20, 24, 48]) * HOUR
    put(BarStore(tmp_path), funding, page(START, START + 60 * HOUR, bars(times, kind="funding")))
    gaps = [
        ((gap.start - START) / HOUR, (gap.end - START) / HOUR, gap.reason) for gap in BarStore(tmp_path).gaps(funding)
    ]
    assert gaps == [(32, 48, "hole at the venue"), (56, 60, "hole at the venue")]


def test_csv_on_request_holds_every_digit_and_stays_up_to_date(tmp_path: Path):
    rows = bars(START + np.arange(50) * 400 * HOUR)
    put(BarStore(tmp_path, "csv"), X, page(START, START + 30 * 400 * HOUR, rows))
    path = tmp_path / "X-USDT-SWAP" / "X-USDT-SWAP_1H.csv"
    assert path.read_text().splitlines()[0] == "ts,open,high,low,close,volume,amount,vwap,traded"
    pd.testing.assert_frame_equal(from_text(path), frame(rows).iloc[:30], check_exact=True)
    put(BarStore(tmp_path), X, page(START + 30 * 400 * HOUR, START + 50 * 400 * HOUR, rows))
    pd.testing.assert_frame_equal(from_text(path), frame(rows), check_exact=True)
    for part in BarStore(tmp_path).path(X).iterdir():  # only the text is left
        part.unlink()
    pd.testing.assert_frame_equal(read_bars(tmp_path, X.symbol, "1H"), frame(rows), check_exact=True)


def test_a_kill_before_the_csv_was_written_is_made_up_for_by_the_next_run(tmp_path: Path, monkeypatch):
    rows = bars(START + np.arange(50) * HOUR)
    put(BarStore(tmp_path, "csv"), X, page(START, START + 30 * HOUR, rows))
    monkeypatch.setattr(BarStore, "_export", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        put(BarStore(tmp_path), X, page(START + 30 * HOUR, START + 50 * HOUR, rows))
    monkeypatch.undo()
    put(BarStore(tmp_path), X)
    path = BarStore(tmp_path).csv_path(X)
    pd.testing.assert_frame_equal(from_text(path), frame(rows), check_exact=True)
    before = path.stat().st_mtime_ns
    put(BarStore(tmp_path, "csv"), X, page(START, START + 50 * HOUR, rows))
    assert path.stat().st_mtime_ns == before, "nothing has changed"


def test_a_part_that_is_taken_away_is_missing_and_a_damaged_one_is_named(tmp_path: Path):
    rows = bars(START + np.arange(30) * 30 * DAY)
    put(BarStore(tmp_path), X, page(START, START + 900 * DAY, rows))
    before = files(tmp_path)
    part = BarStore(tmp_path).path(X) / "2027.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"2027.parquet: is damaged .* delete it, and the next download"):
        read_bars(tmp_path, X.symbol, "1H")
    part.unlink()
    [(low, high)] = BarStore(tmp_path).missing(X, START, START + 900 * DAY)
    assert (low, high) == (START + 365 * DAY, START + 730 * DAY)
    put(BarStore(tmp_path), X, page(low, high, rows))
    assert files(tmp_path) == before


def test_without_its_coverage_a_series_is_asked_for_again_and_keeps_its_bars(tmp_path: Path):
    rows = bars(START + np.arange(30) * 30 * DAY)
    put(BarStore(tmp_path), X, page(START, START + 900 * DAY, rows))
    before = files(tmp_path)
    coverage = BarStore(tmp_path).path(X) / "coverage.json"
    coverage.write_text("{}")
    with pytest.raises(StoreError, match=r"coverage.json: cannot be read .* delete this file"):
        BarStore(tmp_path).missing(X, START, START + DAY)
    coverage.unlink()
    store = BarStore(tmp_path)
    assert store.missing(X, START, START + DAY) == [(START, START + DAY)]
    assert store.rows(X) == 30
    put(store, X, page(START + 500 * DAY, START + 900 * DAY, rows))
    put(store, X, page(START, START + 500 * DAY, rows))
    assert files(tmp_path) == before


def test_what_is_not_stored_is_said_with_what_is(tmp_path: Path):
    put(BarStore(tmp_path), X, page(START, START + HOUR, bars([START])))
    assert len(read_bars(tmp_path, X.symbol, "1h")) == len(read_bars(tmp_path, X.symbol)) == 1
    with pytest.raises(MissingDataError, match="no candles of X-USDT-SWAP at 1m in .*; stored there: 1H"):
        read_bars(tmp_path, X.symbol, "1m")
    with pytest.raises(MissingDataError, match="did you mean X-USDT-SWAP"):
        read_bars(tmp_path, "X-USDC-SWAP", "1H")
    with pytest.raises(InputError, match="did you mean funding"):
        read_bars(tmp_path, X.symbol, "1H", kind="fundings")
    with pytest.raises(MissingDataError, match="does not exist"):
        read_bars(tmp_path / "nowhere", X.symbol, "1H")
    with pytest.raises(InputError, match="format: received 'cvs'.*did you mean csv"):
        BarStore(tmp_path, "cvs")


def test_minutes_and_months_are_two_things(tmp_path: Path):
    minutes, months = Series("X", "candles", "1m"), Series("X", "candles", "1M")
    put(BarStore(tmp_path), minutes, page(START, START + HOUR, bars([START])))
    put(BarStore(tmp_path), months, page(START, START + 40 * DAY, bars([START, START + 31 * DAY])))
    assert len(read_bars(tmp_path, "X", "1m")) == 1
    assert len(read_bars(tmp_path, "X", "1M")) == 2


def test_many_rows_go_into_parts_before_the_end_so_that_memory_stays_flat(tmp_path: Path):
    minutes = Series("X", "candles", "1m")
    rows = bars(START + np.arange(130_000) * 60_000)
    store, biggest = BarStore(tmp_path), 0
    with store.lock():
        for at in range(129_000, -1, -1000):
            store.add(minutes, page(START + at * 60_000, START + (at + 1000) * 60_000, rows))
            journal = store.path(minutes) / "journal"
            biggest = max(biggest, journal.stat().st_size if journal.exists() else 0)
        store.seal(minutes)
    assert biggest < 6_000_000
    pd.testing.assert_frame_equal(store.read(minutes), frame(rows), check_exact=True)
    assert sorted(path.name for path in store.path(minutes).iterdir()) == [
        "2026-01.parquet", "2026-02.parquet", "2026-03.parquet", "2026-04.parquet", "coverage.json",
    ]  # fmt: skip


def test_pages_that_break_their_contract_are_refused(tmp_path: Path):
    store = BarStore(tmp_path)
    with store.lock():
        with pytest.raises(RunError, match="outside of it, twice there"):
            store.add(X, Page(START, START + HOUR, bars([START + HOUR])))
        with pytest.raises(RunError, match="outside of it, twice there"):
            store.add(X, Page(START, START + HOUR, bars([START, START])))
        with pytest.raises(RunError, match="columns"):
            store.add(X, Page(START, START + HOUR, bars([START], kind="mark")))


def test_a_journal_is_cut_to_its_last_whole_entry_before_more_is_added(tmp_path: Path):
    path = tmp_path / "journal"
    path.write_bytes(b"QJ1\n" + b"\0" * 5)
    Journal(path, "candles").close()
    assert path.read_bytes() == b""

"""Source -> store: the store is the venue's truth, whatever happens meanwhile; only what is missing is asked for."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from memory_source import DAY, HOUR, MemorySource, bars, frame
from proof import cases

from qlib.collect.bar_store import BarStore
from qlib.collect.collecting import Life, Progress, Summary, collect
from qlib.collect.source import Hole, Page, Rows, Series
from qlib.errors import RunError

START = 1_767_225_600_000  # 2026-01-01
HOURS = Series("X", "candles", "1H")
MARK = Series("X", "mark", "1H")
FUNDING = Series("X", "funding", None)
TRADES = Series("X", "trades", None)


def run(source: MemorySource, folder: Path, series: list[Series], start: int | None, end: int, **options) -> Summary:
    store = BarStore(folder)
    with store.lock():
        return collect(source, store, series, start, end, **options)


def some(rows: Rows, start: int, end: int) -> pd.DataFrame:
    found = frame(rows)
    return found[(found["ts"] >= start) & (found["ts"] < end)].reset_index(drop=True)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def market(rng: np.random.Generator) -> tuple[dict[Series, Rows], int]:
    """A venue's truth of one instrument: bars with holes, funding at changing intervals, trades that share times."""
    born = START + int(rng.integers(-50, 400)) * HOUR + int(rng.integers(0, 3)) * 60_000
    first = born // HOUR
    hours = np.arange(first, first + int(rng.integers(1, 900)), dtype="int64")
    hours = hours[rng.random(len(hours)) > rng.choice([0, 0.02, 0.5])]
    paid = hours[hours % rng.choice([1, 4, 8]) == 0]
    traded = np.sort(rng.integers(born, born + 400 * HOUR, int(rng.integers(0, 300)))) // 1000 * 1000
    return {
        HOURS: bars(hours * HOUR), MARK: bars(hours * HOUR, 1, "mark"), FUNDING: bars(paid * HOUR, 2, "funding"),
        TRADES: bars(traded, 3, "trades"),
    }, born  # fmt: skip


@pytest.mark.parametrize("part", range(4))
def test_the_store_is_the_venues_truth_and_with_faults_it_is_after_one_rerun(tmp_path: Path, part: int):
    for case in range(part, cases(32, 1000), 4):
        rng = np.random.default_rng([6, case])
        truth, born = market(rng)
        start, end = np.sort(START + rng.integers(-100 * HOUR, 1000 * HOUR, 2))
        if rng.random() < 0.5:
            start, end = start // HOUR * HOUR, end // HOUR * HOUR
        if start == end:
            continue
        now = int(START + rng.integers(200, 2000) * HOUR + rng.integers(0, HOUR))
        faults = set(rng.choice(60, int(rng.integers(0, 8)))) if case % 2 else set()
        source = MemorySource(
            truth, listed={"X": born} if rng.random() < 0.7 else {}, limit=int(rng.choice([1, 2, 3, 7, 50, 100, 300])),
            now=now, faults=faults,
        )  # fmt: skip
        source.limit = max(source.limit, 900 // 60)
        folder = tmp_path / str(case)
        names = list(truth)
        first = run(source, folder, names, int(start), int(end), workers=int(rng.integers(1, 4)))
        met = faults & set(range(1, source.requests + 1))
        assert bool(first.failed) == bool(met)
        source.faults = set()
        last = run(source, folder, names, int(start), int(end)) if first.failed else first
        assert not last.failed
        final = now // HOUR * HOUR
        for series, rows in truth.items():
            limit = min(int(end), final if series.bar else now)
            pd.testing.assert_frame_equal(
                BarStore(folder).read(series), some(rows, int(start), limit), check_exact=True
            )
        asked = source.requests
        again = run(source, folder, names, int(start), min(int(end), final))
        assert source.requests == asked, "nothing is asked for twice"
        assert str(again).startswith(f"{folder}: 4 series, 0 new rows, 0 requests")
        assert not list(folder.rglob("journal"))


def test_many_windows_in_any_order_are_one_store(tmp_path: Path):
    for case in range(cases(4, 100)):
        rng = np.random.default_rng([7, case])
        truth, born = market(rng)
        source = MemorySource(truth, listed={"X": born}, limit=37)
        names, edges = list(truth), np.sort(START + rng.integers(-100 * HOUR, 1000 * HOUR, 5))
        whole, pieces = tmp_path / f"w{case}", tmp_path / f"p{case}"
        windows = [*zip(edges, edges[1:], strict=False), (edges[0], edges[3])]
        rng.shuffle(windows)
        for start, end in windows:
            run(source, pieces, names, int(start), int(end))
        run(source, whole, names, int(edges[0]), int(edges[-1]))
        assert files(pieces) == files(whole)


def test_only_missing_ranges_are_asked_for(tmp_path: Path):
    truth = {HOURS: bars(START + np.arange(1000) * HOUR)}
    source = MemorySource(truth, limit=100)
    run(source, tmp_path, [HOURS], START + 200 * HOUR, START + 400 * HOUR)
    source.asked.clear()
    run(source, tmp_path, [HOURS], START + 110 * HOUR, START + 600 * HOUR)
    cursors = [(cursor - START) // HOUR for _, cursor in source.asked]
    assert cursors == [600, 500, 200]


def test_an_update_asks_for_the_last_bars_again_and_tells_what_was_revised(tmp_path: Path):
    rows = bars(START + np.arange(300) * HOUR)
    source = MemorySource({HOURS: rows}, limit=100, now=START + 200 * HOUR + 5)
    run(source, tmp_path, [HOURS], START, START + 900 * HOUR)
    rows["close"][198] = 1.5
    rows["close"][100] = 2.5  # too long ago to be asked for again
    source.now = START + 210 * HOUR + 5
    source.asked.clear()
    summary = run(source, tmp_path, [HOURS], None, START + 900 * HOUR, update=True)
    assert len(source.asked) == 1
    assert summary.changes[HOURS].added == 10
    assert [(one.ts, one.new) for one in summary.revised] == [(START + 198 * HOUR, {"close": 1.5})]
    assert "revised by the venue: 1 (replaced; the old values are in revisions.jsonl)" in str(summary)
    assert BarStore(tmp_path).read(HOURS)["close"].tolist()[198] == 1.5


def test_the_summary_lists_every_hole_with_its_reason(tmp_path: Path):
    hours = np.r_[np.arange(10, 20), np.arange(23, 30)]
    truth = {HOURS: bars(START + hours * HOUR)}
    source = MemorySource(truth, listed={"X": START + 10 * HOUR})
    life = Life(START + 10 * HOUR, START + 30 * HOUR, gone=False)
    summary = run(source, tmp_path, [HOURS], START, START + 40 * HOUR, lives={"X": life})
    assert str(summary).splitlines()[1:] == [
        "holes: 3",
        "  X candles 1H  2026-01-01 to 2026-01-01 10:00: before the listing",
        "  X candles 1H  2026-01-01 20:00 to 2026-01-01 23:00, 3 bars: hole at the venue",
        "  X candles 1H  2026-01-02 06:00 to 2026-01-02 16:00: after the delisting",
    ]
    summary.write_holes(tmp_path / "holes.csv")
    assert (tmp_path / "holes.csv").read_text().splitlines()[2] == (
        f"X,candles,1H,2026-01-01 20:00,2026-01-01 23:00,{START + 20 * HOUR},{START + 23 * HOUR},3,hole at the venue"
    )


def test_what_the_venue_has_thrown_away_is_a_hole_with_its_reason_and_not_asked_for_again(tmp_path: Path):
    rows = bars(START + np.arange(300) * HOUR)
    source = MemorySource({HOURS: rows}, kept_since=START + 100 * HOUR, listed={"X": START - DAY})
    for expected in ("300 h", "nothing"):
        summary = run(source, tmp_path, [HOURS], START, START + 300 * HOUR)
        assert "X candles 1H  2026-01-01 to 2026-01-05 04:00: too old" in str(summary), expected
    asked = source.requests
    run(source, tmp_path, [HOURS], START, START + 300 * HOUR)
    assert source.requests == asked
    store = BarStore(tmp_path)
    with store.lock():
        store.forget_holes(HOURS)
        assert store.missing(HOURS, START, START + 300 * HOUR) == [(START, START + 100 * HOUR)]


def test_a_delisted_instrument_keeps_its_bars_and_is_not_asked_for_after_its_end(tmp_path: Path):
    truth = {
        HOURS: bars(START + np.arange(100) * HOUR),
        Series("Y", "candles", "1H"): bars(START + np.arange(300) * HOUR),
    }
    source = MemorySource(truth)
    run(source, tmp_path, list(truth), START, START + 50 * HOUR)
    source.gone = {"X"}
    lives = {"X": Life(START, START + 100 * HOUR, gone=True)}
    summary = run(source, tmp_path, list(truth), START, START + 300 * HOUR, lives=lives, update=True)
    assert not summary.failed
    assert "X candles 1H  2026-01-03 02:00 to 2026-01-05 04:00: delisted, and the venue does not give its" in str(
        summary
    )
    assert "X candles 1H  2026-01-05 04:00 to 2026-01-13 12:00: after the delisting" in str(summary)
    asked = len([1 for series, _ in source.asked if series == HOURS])
    run(source, tmp_path, list(truth), START, START + 310 * HOUR, lives=lives, update=True)
    assert len([1 for series, _ in source.asked if series == HOURS]) == asked
    source.gone = set()  # it comes back
    run(source, tmp_path, [HOURS], START, START + 310 * HOUR, lives={"X": Life(START, None, gone=False)})
    assert len(BarStore(tmp_path).read(HOURS)) == 100


def test_one_that_fails_does_not_stop_the_others_and_is_named(tmp_path: Path):
    names = [Series(name, "candles", "1H") for name in "ABC"]
    truth = {one: bars(START + np.arange(300) * HOUR) for one in names}
    source = MemorySource(truth, faults={5})
    summary = run(source, tmp_path, names, START, START + 300 * HOUR, workers=1)
    assert summary.failed == {names[1]: "question 5 has no answer"}
    assert "not complete: 1 (run the same command again: it asks for the rest only)" in str(summary)
    assert "  B candles 1H: question 5 has no answer" in str(summary)
    assert [len(BarStore(tmp_path).read(one)) for one in names] == [300, 100, 300]


def test_a_venue_whose_pages_do_not_move_back_is_an_error(tmp_path: Path):
    class Odd(MemorySource):
        def walk(self, series, start, end):
            rows = bars([])
            yield Page(end - HOUR, end, rows)
            yield Page(end - HOUR, end, rows)

    summary = run(Odd({HOURS: bars([])}), tmp_path, [HOURS], START, START + 9 * HOUR)
    assert "the pages do not move back" in summary.failed[HOURS]


def test_a_venue_whose_pages_leave_something_out_is_not_complete(tmp_path: Path):
    class Odd(MemorySource):
        def walk(self, series, start, end):
            yield Page(end - HOUR, end, bars([]))
            yield Page(start + HOUR, start + 2 * HOUR, bars([]))

    summary = run(Odd({HOURS: bars([])}), tmp_path, [HOURS], START, START + 9 * HOUR)
    assert summary.failed[HOURS] == "the pages leave out 2026-01-01 to 2026-01-01 01:00"


def test_what_an_oldest_row_proves_it_proves_after_an_interruption_too(tmp_path: Path):
    truth = {HOURS: bars(START + np.arange(60) * HOUR)}
    for place, listed in (("near", START - HOUR), ("far", START - 9 * HOUR)):
        for fault in ((), (2,), (3,), (4,), (5,)):
            source = MemorySource(truth, listed={"X": listed}, limit=20, forgets=True, faults=fault)
            folder = tmp_path / f"{place}{fault}"
            if run(source, folder, [HOURS], START - 20 * HOUR, START + 60 * HOUR).failed:
                assert not run(source, folder, [HOURS], START - 20 * HOUR, START + 60 * HOUR).failed
            assert files(folder) == files(tmp_path / f"{place}()"), (place, fault)
    reasons = {gap.reason for gap in BarStore(tmp_path / "far()").gaps(HOURS)}
    assert reasons == {"too old", "before the venue's first bar"}


def test_holes_that_the_venue_mended_come_when_they_are_asked_for_again(tmp_path: Path):
    rows = bars(START + np.arange(100) * HOUR)
    some = np.r_[0:20, 30:60, 61:100]
    source = MemorySource({HOURS: {name: values[some] for name, values in rows.items()}}, limit=30)
    assert len(run(source, tmp_path, [HOURS], START, START + 100 * HOUR).gaps[HOURS]) == 2
    source.truth[HOURS] = rows
    asked = source.requests
    store = BarStore(tmp_path)
    with store.lock():
        store.forget_holes(HOURS)
        summary = collect(source, store, [HOURS], START, START + 100 * HOUR)
    assert source.requests == asked + 2
    assert not summary.gaps[HOURS]
    whole = tmp_path / "whole"
    run(source, whole, [HOURS], START, START + 100 * HOUR)
    assert files(whole / "X") == files(tmp_path / "X")


def test_what_cannot_be_had_just_now_is_not_complete_and_asked_for_again(tmp_path: Path):
    class Busy(MemorySource):
        busy = True

        def walk(self, series, start, end):
            for page in super().walk(series, start, end):
                yield Hole(page.start, page.end, "still forms") if self.busy else page

    source = Busy({HOURS: bars(START + np.arange(9) * HOUR)})
    summary = run(source, tmp_path, [HOURS], START, START + 9 * HOUR)
    assert summary.failed == {HOURS: "2026-01-01 to 2026-01-01 09:00: still forms"}
    source.busy = False
    assert not run(source, tmp_path, [HOURS], START, START + 9 * HOUR).failed
    assert len(BarStore(tmp_path).read(HOURS)) == 9


def test_a_fault_of_the_collector_itself_is_not_swallowed(tmp_path: Path):
    class Wrong(MemorySource):
        def walk(self, series, start, end):
            raise ZeroDivisionError("a mistake")

    with pytest.raises(ZeroDivisionError, match="a mistake"):
        run(Wrong({HOURS: bars([])}), tmp_path, [HOURS], START, START + HOUR)


def test_progress_is_told_and_ends_where_it_should(tmp_path: Path):
    told: list[tuple[float, int, int]] = []
    source = MemorySource({HOURS: bars(START + np.arange(300) * HOUR)}, listed={"X": START})

    def take(progress: Progress) -> None:
        told.append((progress.done / progress.total, progress.rows, progress.requests))

    run(source, tmp_path, [HOURS], START - 9000 * HOUR, START + 300 * HOUR, lives={"X": Life(START)}, progress=take)
    assert told == sorted(told)
    assert told[0] == (pytest.approx(1 / 3), 100, 1)
    assert told[-1] == (pytest.approx(1), 300, 4)


def big_market() -> tuple[dict[Series, Rows], MemorySource]:
    names = [Series(symbol, kind, "1H") for symbol in ("A", "B/C") for kind in ("candles", "mark")]
    truth = {one: bars(START + np.arange(6000) * HOUR, kind=one.kind) for one in names}
    truth[Series("A", "funding", None)] = bars(START + np.arange(700) * 8 * HOUR, kind="funding")
    return truth, MemorySource(truth, limit=250, listed={"A": START, "B/C": START + 5 * HOUR})


def test_a_kill_at_any_moment_and_a_rerun_give_the_bytes_of_an_undisturbed_run(tmp_path: Path):
    truth, source = big_market()
    start, end = START - 10 * HOUR, START + 6500 * HOUR
    run(source, tmp_path / "whole", list(truth), start, end, workers=2)
    whole = files(tmp_path / "whole")
    steps = kill_after(1 << 40, tmp_path / "counted", truth, start, end)
    assert steps > 500
    assert files(tmp_path / "counted") == whole
    rng, lost = np.random.default_rng(0), set()
    for case in range(cases(10, 50)):
        folder = tmp_path / str(case)
        for _ in range(2 if case % 5 == 0 else 1):  # some are killed while they repair
            kill_after(int(rng.integers(1, steps)), folder, truth, start, end)
        lost.add(files(folder) != whole)
        run(source, folder, list(truth), start, end, workers=2)
        assert files(folder) == whole, case
    assert True in lost


def kill_after(steps: int, folder: Path, truth: dict[Series, Rows], start: int, end: int) -> int:
    """Collect in a child that is killed at its `steps`-th step on files; returns how many steps it got."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            done = itertools.count(1)

            def step(name: str, _: object = None) -> None:
                if name in STEPS and next(done) == steps:
                    os.kill(os.getpid(), signal.SIGKILL)

            real = os.pwrite

            def written(handle: int, content: memoryview, place: int) -> int:  # half of it, then the rest
                count = real(handle, content[: max(1, len(content) // 2)], place)
                step("os.pwrite")
                return count

            os.pwrite = written
            sys.addaudithook(step)
            _, source = big_market()
            run(source, folder, list(truth), start, end, workers=2)
            os.write(writer, str(next(done)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as told:
        return int(told.read() or 0)


STEPS = ("open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.pwrite")


def test_two_collectors_at_once_one_of_them_is_told_who_the_other_is(tmp_path: Path):
    truth, source = big_market()
    store = BarStore(tmp_path)
    with store.lock("collecting from okx"):
        reader, writer = os.pipe()
        if not (child := os.fork()):
            try:
                run(source, tmp_path, list(truth), START, START + HOUR)
            except RunError as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with os.fdopen(reader) as told:
            said = told.read()
    assert f"locked by process {os.getpid()} on" in said
    assert "for collecting from okx; one store has one writer: wait until it is done, or use another folder" in said


def test_the_lock_of_a_killed_collector_is_free(tmp_path: Path):
    truth, source = big_market()
    kill_after(200, tmp_path, truth, START, START + 6000 * HOUR)
    assert (tmp_path / ".lock.owner").exists()
    run(source, tmp_path, list(truth), START, START + 6000 * HOUR)

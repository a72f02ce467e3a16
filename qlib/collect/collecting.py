"""Source -> store: what is missing is asked for, by several threads, and every hole is told.

    collect(source, store, [Series("BTC-USDT-SWAP", "candles", "1H"), ...], start, end, workers=4)

    for each series     ranges that its coverage does not know         with update=True also the last few bars
    for each range      source.walk: pages, newest first               each goes into the journal at once
    at the end          store.seal                                     journal -> parts -> coverage

A series that fails does not stop the others; what came of it is kept, and the next run asks for the rest only.  Ctrl-C
stops between two pages.
"""

from __future__ import annotations

import csv
import io
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from qlib.collect.bar_store import BarStore, Changes, Revision, shown, time_text
from qlib.collect.coverage import AFTER_DELISTING, NO_BARS, NOT_AT_VENUE, Gap, bars_in, inside, union
from qlib.collect.source import WITHOUT_BAR, Hole, InstrumentError, Page, Series, Source, VenueError
from qlib.utils.paths import replace_file

DELISTED: Final = "delisted, and the venue does not give its history any more"
AGAIN: Final = 5  # bars that an update asks for again: a venue may revise its last ones
_FUNDING_MS: Final = 8 * 3_600_000
_DAY_MS: Final = 86_400_000
_GRACE: Final = 10.0  # s after Ctrl-C for pages in flight


class Life(NamedTuple):
    """When an instrument was traded, in ms; None where that is not known. `gone`: the venue lists it no more."""

    listed: int | None = None
    delisted: int | None = None
    gone: bool = False


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: what was fetched is in the store; `summary` says what."""

    def __init__(self, summary: Summary) -> None:
        super().__init__("interrupted")
        self.summary = summary


@dataclass
class Progress:
    """How far a collection is; `told` is called after every page, by one thread at a time."""

    total: float = 0.0  # rows that are expected, roughly
    done: float = 0.0
    rows: int = 0
    requests: int = 0


@dataclass
class Summary:
    """What a collection did. `str(summary)` is what the command line prints."""

    where: str
    series: int
    rows: int = 0
    requests: int = 0
    seconds: float = 0.0
    changes: dict[Series, Changes] = field(default_factory=dict)
    gaps: dict[Series, list[tuple[Gap, int]]] = field(default_factory=dict)  # with the number of bars, 0: not known
    failed: dict[Series, str] = field(default_factory=dict)

    @property
    def revised(self) -> list[Revision]:
        """Stored rows that were replaced, since the venue gives other values now."""
        return [one for changes in self.changes.values() for one in changes.revised]

    def __str__(self) -> str:
        return self.text()

    def text(self, most: int | None = None) -> str:
        """Return it in words; of many holes and revisions `most` are named, the files have them all."""
        added = sum(changes.added for changes in self.changes.values())
        withdrawn = {series: changes.withdrawn for series, changes in self.changes.items() if changes.withdrawn}
        lines = [
            f"{self.where}: {self.series} series, {added:,} new rows, {self.requests:,} requests, {self.seconds:.0f} s"
        ]
        if self.revised:
            lines.append(f"revised by the venue: {len(self.revised)} (replaced; the old values are in revisions.jsonl)")
            lines += [f"  {one}" for one in self.revised[:most]]
            if most is not None and len(self.revised) > most:
                lines.append(f"  and {len(self.revised) - most:,} more")
        if withdrawn:
            lines.append("stored, but not shown by the venue any more (kept):")
            lines += [f"  {shown(series)}: {count} rows" for series, count in withdrawn.items()]
        lines += self._holes(most)
        if self.failed:
            lines.append(f"not complete: {len(self.failed)} (run the same command again: it asks for the rest only)")
            lines += [f"  {shown(series)}: {why}" for series, why in self.failed.items()]
        return "\n".join(lines)

    def _holes(self, most: int | None) -> list[str]:
        count = sum(map(len, self.gaps.values()))
        if not count:
            return [] if self.failed else ["holes: none"]
        each = None if most is None or count <= most else max(1, most // len(self.gaps))
        lines = [f"holes: {count}"]
        for series, gaps in self.gaps.items():
            lines += [f"  {gap_text(series, *one)}" for one in gaps[:each]]
            if each is not None and len(gaps) > each:
                lines.append(f"  {shown(series)}  and {len(gaps) - each:,} more, see holes.csv")
        return lines

    def write_holes(self, path: Path) -> None:
        """Write every hole with its reason as CSV; times are UTC, as text and in ms."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["symbol", "kind", "bar", "start", "end", "start_ms", "end_ms", "bars", "reason"])
        for series, gaps in self.gaps.items():
            for gap, bars in gaps:
                times = (time_text(gap.start), time_text(gap.end), gap.start, gap.end)
                table.writerow([series.symbol, series.kind, series.bar, *times, bars or None, gap.reason])
        replace_file(path, lambda file: file.write(text.getvalue().encode()))


def gap_text(series: Series, gap: Gap, bars: int = 0) -> str:
    """Return a hole as people read it."""
    much = f", {bars:,} bar{'s' * (bars != 1)}" if bars else ""
    return f"{shown(series)}  {time_text(gap.start)} to {time_text(gap.end)}{much}: {gap.reason}"


def collect(
    source: Source,
    store: BarStore,
    series: Sequence[Series],
    start: int | None,
    end: int,
    *,
    workers: int = 4,
    update: bool = False,
    lives: Mapping[str, Life] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Bring what is missing of [start, end) into a store whose lock is held.

    Parameters
    ----------
    series
        What to collect.
    start, end
        ms UTC. Without a start: the listing of each instrument; in an update, where what is stored begins.
    workers
        Threads. They share the rate limits of the source.
    update
        Ask for the last few stored bars again: a venue may have revised them.
    lives
        When each symbol was traded, as far as it is known.
    progress
        Is told how far it is.

    Raises
    ------
    Interrupted
        Ctrl-C; what was fetched is kept.
    RunError
        The store cannot be written.
    """
    began = time.monotonic()
    lives = lives or {}
    summary = Summary(str(store.folder), len(series))
    run = _Run(source, store, update, progress, summary)
    for one in series:
        run.plan(one, start, end, lives.get(one.symbol, Life()))
    try:
        run.work(workers)
    except KeyboardInterrupt:
        raise Interrupted(summary) from None
    finally:
        summary.requests = source.requests - run.asked_before
        summary.seconds = time.monotonic() - began
    if run.broken is not None:
        raise run.broken
    summary.changes = {one: summary.changes[one] for one in series if one in summary.changes}
    summary.failed = {one: summary.failed[one] for one in series if one in summary.failed}
    for one in series:
        low = run.starts[one]
        summary.gaps[one] = [(gap, _bars(source, one, gap)) for gap in _within(store.gaps(one), low, end)]
    return summary


@dataclass(frozen=True)
class _Task:
    series: Series
    ranges: list[tuple[int, int]]
    life: Life


class _Run:
    """One collection."""

    def __init__(
        self, source: Source, store: BarStore, update: bool, told: Callable[[Progress], None], summary: Summary
    ) -> None:
        self._source, self._store, self._update, self._told, self._summary = source, store, update, told, summary
        self._tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._progress = Progress()
        self.asked_before = source.requests
        self.starts: dict[Series, int] = {}
        self.broken: Exception | None = None

    def plan(self, series: Series, start: int | None, end: int, life: Life) -> None:
        """Find out what has to be asked for."""
        store = self._store
        known = store.coverage(series).known
        self.starts[series] = life.listed or 0 if start is None else start
        if start is None and self._update and len(known):
            start = int(known[0, 0])
        elif start is None:  # the first bar may have opened before the first trade
            start = max(0, (life.listed or 0) - self._length(series))
        store.set_life(series, life.listed, life.delisted)
        if life.delisted is not None and life.delisted < end and life.gone:
            for low, high in store.missing(series, max(start, life.delisted), end):
                store.add(series, Hole(low, high, AFTER_DELISTING, forever=True))
        elif AFTER_DELISTING in store.coverage(series).unavailable:  # it is traded again
            store.forget_holes(series)
        ranges = store.missing(series, start, end)
        if self._update and not life.gone and series.kind != "trades" and len(known):
            last = min(int(known[-1, 1]), end)
            tail = max(last - AGAIN * self._length(series), int(known[-1, 0]), start)
            ranges = [(int(a), int(b)) for a, b in union(ranges, [[tail, last]])]
        # one row that is known comes along: a venue's oldest row proves more where it is seen than where it is not
        known = store.coverage(series).known
        ranges = [(low, high + int(inside(known, np.array([high]))[0])) for low, high in ranges]
        task = _Task(series, ranges[::-1], life)
        self._tasks.put(task)
        self._progress.total += sum(self._expected(task, *one) for one in ranges)

    def work(self, workers: int) -> None:
        """Do all tasks; KeyboardInterrupt lets pages in flight arrive, for a while."""
        # daemons: a second Ctrl-C ends the process, and a thread that waits for the venue must not hold it up
        threads = [threading.Thread(target=self._worker, daemon=True) for _ in range(max(1, workers))]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.1)
        except KeyboardInterrupt:
            self._stop.set()
            self._source.close()
            until = time.monotonic() + _GRACE
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
            raise

    def _worker(self) -> None:
        while not self._stop.is_set():
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                return
            try:
                self._collect(task)
            except Exception as error:  # noqa: BLE001  told by `collect`: the store cannot be written, or a fault of ours
                self.broken = error
                self._stop.set()

    def _collect(self, task: _Task) -> None:
        series, store = task.series, self._store
        try:
            for start, end in task.ranges:
                self._walk(task, start, end)
                if self._stop.is_set():
                    break
        except InstrumentError as error:
            if task.life.gone:
                for start, end in store.missing(series, task.ranges[-1][0], task.ranges[0][1]):
                    store.add(series, Hole(start, end, DELISTED, forever=True))
            else:
                self._fail(series, error.why)
        except VenueError as error:
            if not self._stop.is_set():
                self._fail(series, str(error))
        changes = store.seal(series)
        with self._lock:
            self._summary.changes[series] = changes

    def _walk(self, task: _Task, start: int, end: int) -> None:
        series, top, newest = task.series, end, start
        for page in self._source.walk(series, start, end):
            if not start <= page.start < page.end <= top:
                raise VenueError(
                    f"asked for [{start}, {top}), received [{page.start}, {page.end}): the pages do not move back"
                )
            top, newest = page.start, max(newest, page.end)
            if isinstance(page, Hole) and not page.forever:
                self._fail(series, f"{time_text(page.start)} to {time_text(page.end)}: {page.reason}")
                continue
            rows = self._store.add(series, page, self._bars_of(series, page))
            with self._lock:
                self._progress.done += self._expected(task, page.start, page.end)
                self._progress.rows += rows
                self._progress.requests = self._source.requests - self.asked_before
                self._summary.rows += rows
                self._told(self._progress)
            if self._stop.is_set():
                return
        left = self._store.missing(series, start, newest)
        if left and series not in self._summary.failed:
            self._fail(series, f"the pages leave out {time_text(left[0][0])} to {time_text(left[0][1])}")

    def _bars_of(self, series: Series, page: Page | Hole) -> Any:
        if series.bar is None or isinstance(page, Hole):
            return NO_BARS
        bar = series.bar
        opens = self._source.opens
        return bars_in(page.start, page.end, page.rows["ts"], lambda a, b: opens(bar, a, b), self._length(series))

    def _length(self, series: Series) -> int:
        """Return ms from one row to the next, about."""
        if series.bar is None or series.kind in WITHOUT_BAR:
            return _FUNDING_MS if series.kind == "funding" else _DAY_MS
        return self._source.bar_ms(series.bar)

    def _expected(self, task: _Task, start: int, end: int) -> float:
        """Return how many rows a range has, about; none before the listing."""
        return max(0, end - max(start, task.life.listed or start)) / self._length(task.series)

    def _fail(self, series: Series, why: str) -> None:
        with self._lock:
            self._summary.failed[series] = why


def _within(gaps: list[Gap], start: int, end: int) -> Iterator[Gap]:
    for gap in gaps:
        low, high = max(gap.start, start), min(gap.end, end)
        if low < high:
            yield Gap(low, high, gap.reason)


def _bars(source: Source, series: Series, gap: Gap) -> int:
    """Return how many bars a hole at the venue is long; 0 where that says nothing."""
    if series.bar is None or gap.reason != NOT_AT_VENUE:
        return 0
    return len(source.opens(series.bar, gap.start, gap.end))

"""Pushes of a venue -> the store, so that what is stored is what the venue has, however often the line breaks.

    stream ──Began, Pushed, Broke──► Recorder ──Page──► BarStore        what was pushed
    source ──────collect()─────────► Recorder ──Page──► BarStore        what was not

A bar that was pushed as finished makes its own time known, and nothing else. So the store's coverage says by itself
what a broken line, a lost push, a kill or a night without power left out, and that much is asked for over REST: at the
start, after every reconnection, and whenever something older than the newest push is still unknown.

Trades are known from the millisecond after the first push of a connection up to that of the last one; where their ids
do not follow one another, or a line broke, the time between is unknown and comes over REST, too.

Everything is decided here, in one thread after the other: the store has one writer. Nothing here knows a venue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from qlib.collect.bar_store import BarStore, shown, time_text
from qlib.collect.collecting import Life, collect
from qlib.collect.coverage import bars_in
from qlib.collect.paging import in_order
from qlib.collect.source import Page, Rows, Series, Source, VenueError
from qlib.log import get_module_logger

logger = get_module_logger("record")

_MS: Final = 1000
_SEAL: Final = 3600.0  # s after which journals become parts
_FLUSH: Final = 1.0  # s that trades wait for others of their millisecond
_MANY: Final = 5_000  # trades that wait at most
_SHARE: Final = 0.1  # of the steps between ids: a venue with more jumps does not count its trades one by one
_STEPS: Final = 200  # steps before that is judged
_TRADES_BACK: Final = 86_400_000  # ms: a venue has millions of them a day
_NO_TRADE: Final = 600.0  # s without a trade that are nothing special
_LONGEST_PAUSE: Final = 60.0  # s between two questions about the same unknown time
_LAST: Final = 20.0  # s that questions may still take, after it was said to stop


# ---------------------------------------------------------------------- what a stream tells
@dataclass(frozen=True)
class Began:
    """From now on the venue pushes what happens to these."""

    series: tuple[Series, ...]


@dataclass(frozen=True, eq=False)
class Pushed:
    """Rows that are final, oldest first (perhaps none); everything that opened before `horizon` (ms) has ended."""

    series: Series
    rows: Rows
    horizon: int


@dataclass(frozen=True)
class Broke:
    """The line of these broke; the stream connects again by itself."""

    series: tuple[Series, ...]
    why: str


Event = Began | Pushed | Broke


class Stream(Protocol):
    """The pushes of a venue, seen from here."""

    name: str

    async def run(self, series: Sequence[Series], tell: Callable[[Event], None]) -> None:
        """Tell what happens until cancelled; VenueError where the venue refuses a series that it never took."""
        ...


@dataclass
class Recorded:
    """What a recording did so far; `str` of it is what the command line prints at its end."""

    where: str
    series: int
    pushed: int = 0
    repaired: int = 0
    breaks: int = 0
    seconds: float = 0.0
    behind: dict[Series, list[tuple[int, int]]] = field(default_factory=dict)  # unknown when the recording ended
    failed: dict[Series, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.where}: {self.series} series, {self.pushed:,} rows pushed, {self.repaired:,} rows asked for, "
            f"{self.breaks:,} broken lines, {self.seconds:.0f} s"
        ]
        lines += [f"  {shown(series)}: {why}" for series, why in self.failed.items()]
        for series, ranges in self.behind.items():
            low, high = ranges[0][0], ranges[-1][1]
            lines.append(
                f"  {shown(series)}: unknown {time_text(low)} to {time_text(high)} (the next run, or "
                "`qlib collect --update`, brings it)"
            )
        return "\n".join(lines)


# ---------------------------------------------------------------------- trades of one series
class Tape:
    """Trades of one connection -> pages that leave nothing out.

    >>> tape = Tape()
    >>> rows = {"ts": np.array([5, 6, 6, 8]), "trade_id": np.array([1, 2, 3, 4])}
    >>> rows |= {"price": np.ones(4), "size": np.ones(4), "side": np.array(["buy"] * 4, object)}
    >>> [(page.start, page.end, page.rows["trade_id"].tolist()) for page in tape.take(rows)]
    [(6, 8, [2, 3])]

    The first millisecond may have begun before the push did, the last one may go on: neither is known.
    """

    def __init__(self) -> None:
        self._held: list[Rows] = []
        self._from: int | None = None
        self._steps = self._jumps = 0

    def broke(self) -> None:
        """Forget what is not sure; what was not given out is unknown."""
        self._held, self._from = [], None

    @property
    def waiting(self) -> int:
        """How many trades are held."""
        return sum(len(rows["ts"]) for rows in self._held)

    def hold(self, rows: Rows) -> list[Page]:
        """Take trades in; returns pages only of those that come late, behind others that were given out."""
        if not len(rows["ts"]):
            return []
        if self._from is None:
            self._from = int(rows["ts"][0]) + 1
        late = rows["ts"] < self._from
        if late.any() and self._held:
            told = in_order("trades", {name: values[late] for name, values in rows.items()})
            rows = {name: values[~late] for name, values in rows.items()}
            self._held.append(rows)
            return [
                Page(int(ts), int(ts) + 1, {name: values[told["ts"] == ts] for name, values in told.items()})
                for ts in np.unique(told["ts"])
            ]
        self._held.append(rows)
        return []

    def give(self) -> list[Page]:
        """Return what is sure now.

        Raises VenueError, and forgets what it holds, where two pushes of one trade say different things.
        """
        if self._from is None or not self.waiting:
            return []
        held = {name: np.concatenate([rows[name] for rows in self._held]) for name in self._held[0]}
        try:
            rows = in_order("trades", held)
        except VenueError:
            self.broke()
            raise
        ts = rows["ts"]
        if (np.diff(ts) < 0).any():
            self.broke()
            raise VenueError("the times of trades do not follow their ids")
        top = int(ts[-1])
        if top <= self._from:
            return []
        pages, start = [], self._from
        for last in self._before_jumps(rows["trade_id"]):  # what was traded between the two is unknown
            if start < int(ts[last]):
                pages.append(_page(rows, start, int(ts[last])))
            start = max(start, int(ts[last + 1]) + 1)
        if start < top:
            pages.append(_page(rows, start, top))
        self._held, self._from = [{name: values[ts >= top] for name, values in rows.items()}], max(start, top)
        return pages

    def take(self, rows: Rows) -> list[Page]:
        """Do `hold` and `give`."""
        return [*self.hold(rows), *self.give()]

    def _before_jumps(self, ids: np.ndarray) -> list[int]:
        """Return the rows behind which at least one id is left out; none where a venue always leaves some out."""
        jumps = np.flatnonzero(np.diff(ids) > 1)
        self._steps += len(ids) - 1
        self._jumps += len(jumps)
        if self._steps >= _STEPS and self._jumps > _SHARE * self._steps:
            return []
        return [int(at) for at in jumps]


def _page(rows: Rows, start: int, end: int) -> Page:
    low, high = np.searchsorted(rows["ts"], [start, end])
    return Page(start, end, {name: values[low:high] for name, values in rows.items()})


# ---------------------------------------------------------------------- the recorder
class Recorder:
    """Record series until told to stop; the store's lock must be held.

    Parameters
    ----------
    source, stream
        The venue over REST and over pushes.
    store
        Where to.
    series
        Bars of any kind, and trades.
    start
        ms; from then on nothing may be missing. None: from where the store's rows of a series begin (trades: a day ago
        at most); for one that the store lacks, from the first bar that opens under our eyes.
    grace
        s that something may be unknown before it is asked for over REST: a push may be on its way.
    tick
        s between two looks at what is unknown.
    silence
        s without a push, beside the length of a bar, after which REST is asked what happened.
    """

    def __init__(
        self,
        source: Source,
        stream: Stream,
        store: BarStore,
        series: Sequence[Series],
        *,
        start: int | None = None,
        grace: float = 10.0,
        tick: float = 2.0,
        silence: float = 60.0,
    ) -> None:
        self._source, self._stream, self._store, self._series = source, stream, store, tuple(series)
        self._grace, self._tick, self._silence = grace, tick, silence
        self._starts: dict[Series, int] = {}
        for one in self._series:
            known = store.coverage(one).known
            if start is not None:
                self._starts[one] = start
            elif len(known):
                least = int(time.time() * _MS) - _TRADES_BACK if one.kind == "trades" else 0
                self._starts[one] = max(int(known[0, 0]), least)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._tapes = {one: Tape() for one in self._series if one.kind == "trades"}
        self._flushed = dict.fromkeys(self._tapes, 0.0)
        self._horizon: dict[Series, int] = {}
        self._heard: dict[Series, float] = {}
        self._behind: dict[Series, float] = {}  # since when something is unknown
        self._next: dict[Series, float] = {}  # not to be asked about before
        self._pause: dict[Series, float] = {}
        self._ask: set[Series] = set()  # to be asked about now
        self._last: dict[Series, tuple[Any, ...]] = {}
        self._lives: dict[str, Life] = {}
        self._work: asyncio.Task[None] | None = None
        self._looked = 0.0
        self._let_go = False  # the source was closed: it was time to end
        self.recorded = Recorded(str(store.folder), len(self._series))

    async def run(self, stop: asyncio.Event) -> Recorded:
        """Record until `stop` is set, then bring what is still missing, and seal.

        Raises
        ------
        VenueError
            The venue refuses a series.
        RunError
            The store cannot be written. What was stored before is whole.
        """
        began = sealed = time.monotonic()
        listed = await asyncio.to_thread(self._source.instruments)
        self._lives = {one.symbol: Life(one.listed, one.delisted) for one in listed}
        listening = asyncio.create_task(self._stream.run(self._series, self._events.put_nowait))
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self._hear(listening, stopping)
                await self._ask_for(self._due(), stopping)
                if time.monotonic() - sealed > _SEAL:
                    await asyncio.to_thread(self._seal)
                    sealed = time.monotonic()
            listening.cancel()
            self._drain()
            if not self._let_go:
                await self._ask_for([one for one in self._series if one in self._starts], stopping)
        finally:
            listening.cancel()
            stopping.cancel()
            await asyncio.gather(listening, stopping, return_exceptions=True)
            if (
                self._work is not None and not self._work.done()
            ):  # cancelled: the store has one writer, so it ends first
                self.hurry()
                await asyncio.wait({self._work})
            self._seal()
            self.recorded.seconds = time.monotonic() - began
        for one, since in self._starts.items():
            # Who broke off before anything was pushed does not know how late it is, but by this machine's clock.
            until = self._horizon.get(one, int(time.time() * _MS) if self._let_go else since)
            if ranges := self._store.missing(one, since, until):
                self.recorded.behind[one] = ranges
        return self.recorded

    def hurry(self) -> None:
        """Ask for nothing any more: who waits for the end cannot wait; what is missing stays unknown."""
        self._let_go = True
        self._source.close()

    # ------------------------------------------------------------------ what is told
    async def _hear(self, listening: asyncio.Task[None], stopping: asyncio.Task[Any]) -> None:
        """Wait for an event, at most a tick, and take in all that are there."""
        waiting = asyncio.create_task(self._events.get())
        await asyncio.wait({waiting, listening, stopping}, timeout=self._tick, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            self._take(waiting.result())
        else:
            waiting.cancel()
        self._drain()
        if listening.done():
            listening.result()  # its error is ours
            raise VenueError("the stream ended by itself")

    def _drain(self) -> None:
        while not self._events.empty():
            self._take(self._events.get_nowait())
        now = time.monotonic()
        for series, tape in self._tapes.items():
            if now - self._flushed[series] >= _FLUSH or tape.waiting > _MANY:
                self._flushed[series] = now
                self._keep(series, tape.give)

    def _take(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, Began):
            logger.info(f"{self._stream.name}: recording {len(event.series)} series")
            self._ask.update(event.series)
            self._heard.update(dict.fromkeys(event.series, now))
        elif isinstance(event, Broke):
            self.recorded.breaks += 1
            logger.warning(f"{self._stream.name}: {event.why}; connecting again")
            for series in event.series:
                if series in self._tapes:
                    self._tapes[series].broke()
        elif event.series in self._tapes:
            self._heard[event.series] = now
            rows, tape = event.rows, self._tapes[event.series]
            if len(rows["ts"]):
                self._keep(event.series, lambda: tape.hold(rows))
        else:
            self._heard[event.series] = now
            self._horizon[event.series] = max(event.horizon, self._horizon.get(event.series, 0))
            self._starts.setdefault(event.series, event.horizon)
            self._take_bars(event.series, event.rows)

    def _take_bars(self, series: Series, rows: Rows) -> None:
        """Store finished bars; each makes only its own time known."""
        assert series.bar is not None
        bar, length = series.bar, self._source.bar_ms(series.bar)
        for at, ts in enumerate(rows["ts"].tolist()):
            row = {name: values[at : at + 1] for name, values in rows.items()}
            same = tuple(values[0] for values in row.values())
            if self._last.get(series) == same or ts < self._starts[series]:
                continue  # pushed twice; or before what was asked for
            self._last[series] = same
            opens = self._source.opens(bar, ts, ts + 4 * length)
            if not len(opens) or opens[0] != ts:
                logger.warning(f"{shown(series)}: received a bar of {time_text(ts)}, when none opens; left out")
                continue
            page = Page(ts, int(opens[1]), row)
            bars = bars_in(page.start, page.end, row["ts"], lambda a, b: self._source.opens(bar, a, b), length)
            self.recorded.pushed += self._store.add(series, page, bars)

    def _keep(self, series: Series, pages_of: Callable[[], list[Page]]) -> None:
        """Store pages of trades; where they contradict themselves, REST decides."""
        try:
            pages = pages_of()
        except VenueError as error:
            logger.warning(f"{shown(series)}: {error}; asking for them")
            self._ask.add(series)
            return
        for page in pages:
            self._starts.setdefault(series, page.start)
            self.recorded.pushed += self._store.add(series, page)
            self._horizon[series] = max(page.end, self._horizon.get(series, 0))

    # ------------------------------------------------------------------ what is not told
    def _due(self) -> list[Series]:
        """Return what has to be asked about now."""
        now, due = time.monotonic(), []
        if not self._ask & self._starts.keys() and now - self._looked < self._tick:
            return []
        self._looked = now
        for series in self._series:
            since = self._starts.get(series)
            if since is None:
                continue
            horizon = self._horizon.get(series)
            if horizon is not None and self._store.missing(series, since, horizon):
                self._behind.setdefault(series, now)
            else:
                self._behind.pop(series, None)
                self._pause.pop(series, None)
            late = now - self._behind.get(series, now) > self._grace and now >= self._next.get(series, 0)
            usual = _NO_TRADE if series.bar is None else self._source.bar_ms(series.bar) / _MS
            quiet = now - self._heard.get(series, now) > self._silence + usual
            if late or quiet or series in self._ask:
                due.append(series)
        return due

    async def _ask_for(self, series: list[Series], stopping: asyncio.Task[Any]) -> None:
        """Ask over REST for what is unknown, in a thread; for a while only, once `stopping` is done."""
        if not series:
            return
        self._ask.difference_update(series)
        self._work = work = asyncio.create_task(asyncio.to_thread(self._repair, series))
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not (await asyncio.wait({work}, timeout=_LAST))[0]:
            self.hurry()
        await work
        now = time.monotonic()
        for one in series:
            self._heard[one] = now
            self._pause[one] = min(2 * self._pause.get(one, self._grace / 2), _LONGEST_PAUSE)
            self._next[one] = now + self._pause[one]

    def _repair(self, series: list[Series]) -> None:
        by_start: dict[int, list[Series]] = {}
        for one in series:
            by_start.setdefault(self._starts[one], []).append(one)
        for start, group in by_start.items():
            horizon = max(self._horizon.get(one, 0) for one in group)
            # A bar further than both clocks: what is final, the source knows by the venue's.
            end = max(int(time.time() * _MS), horizon) + max((self._length(one) for one in group), default=0)
            done = collect(
                self._source, self._store, group, start, end,
                workers=min(4, len(group)), update=True, lives=self._lives,
            )  # fmt: skip
            self.recorded.repaired += done.rows
            if self._let_go:
                return
            for one in group:
                before, why = self.recorded.failed.pop(one, ""), done.failed.get(one, "")
                if why:
                    self.recorded.failed[one] = why
                if why and why != before:
                    logger.warning(f"{shown(one)}: {why}")

    def _length(self, series: Series) -> int:
        return _MS if series.bar is None else self._source.bar_ms(series.bar)

    def _seal(self) -> None:
        for series in self._series:
            self._store.seal(series)

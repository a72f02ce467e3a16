"""A recorder at work in a thread, for tests: with Recording(venue, series, folder) as recording: ..."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.collect.bar_store import BarStore
from qlib.collect.recording import Event, Recorded, Recorder
from qlib.collect.server import Patience
from qlib.collect.source import COLUMNS, Series
from qlib.crypto.venues.fake import FakeVenue
from qlib.crypto.venues.okx import OkxSource
from qlib.crypto.venues.okx_stream import OkxStream

MINUTE = 60_000
QUICK = Patience(attempts=8, pause=0.001, longest=0.01, connect=20.0, read=20.0)


def wait_for(what: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Return what is true in the end; AssertionError where that takes too long (a busy machine may take a nap)."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.005)
    return found


class Recording:
    def __init__(
        self,
        venue: FakeVenue,
        series: Sequence[Series],
        folder: Path,
        *,
        quiet: float = 20.0,
        answer: float = 10.0,
        **options: Any,
    ) -> None:
        self.source = OkxSource(venue.url, speed=None, patience=QUICK)
        self.stream = OkxStream(self.source, venue.ws_url, quiet=quiet, answer=answer, pause=(0.01, 0.02))
        self.store, self.series = BarStore(folder), list(series)
        self.options = {"grace": 0.1, "tick": 0.02, **options}
        self.error: BaseException | None = None
        self.done: Recorded | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        async def record() -> Recorded:
            self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
            self.recorder = Recorder(self.source, self.stream, self.store, self.series, **self.options)
            self._ready.set()
            return await self.recorder.run(self._stop)

        try:
            with self.store.lock("a test"):
                self.done = asyncio.run(record())
        except BaseException as error:  # noqa: BLE001  raised by `stop`
            self.error = error
            self._ready.set()

    def __enter__(self) -> Recording:
        self._thread.start()
        self._ready.wait()
        return self

    def stop(self) -> Recorded:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(120)
        assert not self._thread.is_alive()
        self.source.close()
        if self.error is not None:
            raise self.error
        assert self.done is not None
        return self.done

    def __exit__(self, kind: Any, *_: object) -> None:
        if self._thread.is_alive():
            self.stop()

    # --- what tests ask

    def tell(self, event: Event) -> None:
        """Let the recorder believe that the stream said this."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.recorder._events.put_nowait, event)

    @property
    def recorded(self) -> Recorded:
        return self.recorder.recorded

    def last(self, series: Series) -> int:
        """Open time of the newest stored row, or -1."""
        ts = BarStore(self.store.folder).read(series)["ts"]
        return int(ts.max()) if len(ts) else -1


def listening(venue: FakeVenue, count: int = 1) -> bool:
    """Tell whether so many connections have all that they asked for."""
    lines = [one.line for one in list(venue._sockets.open)]
    return len(lines) == count and all(line.subscriptions for line in lines)


def line_id(venue: FakeVenue) -> str:
    """The id of the only connection."""
    (one,) = venue._sockets.open
    return one.line.conn_id


def bars_of(market: dict[str, Any], series: Series, start: int, now: int) -> pd.DataFrame:
    """The finished bars that the venue is made of, in [start, now)."""
    frame = pd.DataFrame(market[series.kind][series.symbol, series.bar])
    frame = frame[(frame["ts"] >= start) & (frame["ts"] + MINUTE <= now)]
    return frame[[name for name in COLUMNS[series.kind] if name in frame.columns]].reset_index(drop=True)


def same(found: pd.DataFrame, truth: pd.DataFrame) -> None:
    assert list(found["ts"]) == list(truth["ts"])
    for name in truth.columns:
        np.testing.assert_array_equal(found[name].to_numpy(), truth[name].to_numpy(), err_msg=name)

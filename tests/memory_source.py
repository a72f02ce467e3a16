"""A venue in memory, for tests of what comes after it: exact pages, and faults when they are told.

    source = MemorySource({series: frame}, listed={"X": 5}, limit=100, faults={3, 7})

It walks with the pager of the real venues (`qlib.collect.paging`); the faults are numbers of questions that fail.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from qlib.collect.paging import Answer, Reach, walk_back, walk_back_by_id
from qlib.collect.source import COLUMNS, Hole, Instrument, InstrumentError, Page, Rows, Series, VenueError

HOUR = 3_600_000
DAY = 24 * HOUR
LENGTHS = {"1m": 60_000, "5m": 300_000, "1H": HOUR, "1Dutc": DAY}


class MemorySource:
    name = "memory"

    def __init__(
        self,
        truth: Mapping[Series, Rows],
        *,
        listed: Mapping[str, int] | None = None,
        limit: int = 100,
        now: int = 1 << 62,
        kept_since: int | None = None,
        forgets: bool = False,  # nobody knows how far back it tells
        faults: Iterable[int] = (),
        gone: Iterable[str] = (),
    ) -> None:
        self.truth, self.listed, self.limit, self.now = dict(truth), dict(listed or {}), limit, now
        self.kept_since, self.faults, self.gone = kept_since, set(faults), set(gone)
        self.forgets = forgets
        self.requests = 0
        self.asked: list[tuple[Series, int]] = []
        self._lock = threading.Lock()

    def instruments(self) -> list[Instrument]:
        symbols = sorted({series.symbol for series in self.truth} - self.gone)
        return [
            Instrument(name, "swap", name, "USDT", "USDT", False, self.listed.get(name), None, "live")
            for name in symbols
        ]

    def check_bar(self, bar: str) -> str:
        return bar

    def bar_ms(self, bar: str) -> int:
        return LENGTHS[bar]

    def opens(self, bar: str, start: int, end: int) -> np.ndarray:
        step = LENGTHS[bar]
        return np.arange(-(-start // step) * step, end, step, dtype="int64")

    def close(self) -> None:
        pass

    def walk(self, series: Series, start: int, end: int) -> Iterator[Page | Hole]:
        if series.symbol in self.gone:
            raise InstrumentError(series.symbol, "no such instrument")
        rows = self.truth[series]
        step = LENGTHS.get(series.bar or "", 1)
        settled = self.now // step * step if series.bar else self.now
        reach = Reach(
            settled,
            lambda _: step,
            kept_since=1 << 61 if self.forgets else self.kept_since,
            why="too old",
            born=self.listed.get(series.symbol),
            tardy=step,
        )
        if series.kind == "trades":
            return walk_back_by_id(
                lambda cursor: self._answer(series, rows, cursor, "ts"),
                lambda cursor: self._answer(series, rows, cursor, "trade_id"),
                start,
                end,
                reach,
            )
        return walk_back(lambda cursor: self._answer(series, rows, cursor, "ts"), series.kind, start, end, reach)

    def _answer(self, series: Series, rows: Rows, cursor: int, by: str) -> Answer:
        with self._lock:
            self.requests += 1
            self.asked.append((series, cursor))
            number = self.requests
        if number in self.faults:
            raise VenueError(f"question {number} has no answer")
        step = LENGTHS.get(series.bar or "", 1)
        able = np.flatnonzero((rows[by] < cursor) & (rows["ts"] < self.now // step * step))
        if self.kept_since is not None:
            able = able[rows["ts"][able] >= self.kept_since]
        page = {name: values[able[-self.limit :]] for name, values in rows.items()}
        key = page["trade_id" if series.kind == "trades" else "ts"]
        return Answer(page, int(key[0]) if len(key) else None)


def bars(times: Any, seed: int = 0, kind: str = "candles") -> Rows:
    """Return rows of a kind at these times; the same time and seed have the same numbers."""
    times = np.asarray(times, "int64")
    rows: Rows = {}
    for place, (name, type_) in enumerate(COLUMNS[kind].items()):
        random = np.random.default_rng([seed, place])
        noise = ((times // 1000 * 2654435761 + place * 97 + seed) % 10_007) / 10_007
        if name in ("ts", "trade_id"):
            rows[name] = times.copy() if name == "ts" else np.arange(len(times), dtype="int64") + 1_000
        elif type_ == "bool":
            rows[name] = noise < 0.9
        elif type_ == "str":
            rows[name] = np.where(noise < 0.5, "buy", "sell").astype(object)
        else:
            rows[name] = 100 + noise + random.random() / 3
            rows[name][noise > 0.97] = np.nan
    return rows


def frame(rows: Rows) -> pd.DataFrame:
    return pd.DataFrame(rows).astype({"side": "str"} if "side" in rows else {})

"""One run of `dump_all`, `dump_fix` or `dump_update`, inside its transaction.

    with replacing(root) as change:
        report = Run("dump_update", change, reading, authority=None).go(sources, max_workers=2)

`dump_all` writes each series when it is read, placed on the calendar of all that was read so far; when everything was
read the calendar is known, and the few series that stand wrong on it are written again. `dump_fix` and `dump_update`
read everything first, and place it then. Whatever is wrong is an InputError on the way, and the transaction leaves the
store as it was.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd

from qlib.collect.dump_report import DumpReport
from qlib.collect.sources import Bars, Part, Reading
from qlib.collect.spool import Spool
from qlib.data.calendar import read_calendar, time_texts
from qlib.data.storage.binary import check_position, read_bin, to_array
from qlib.data.storage.file_storage import calendar_freqs, same_freq
from qlib.data.storage.instruments import instruments_text, read_instruments
from qlib.data.storage.transaction import Change
from qlib.data.storage.writer import forget_caches, joined_spans, replace_freq, write_calendar
from qlib.data.universe import Spans
from qlib.errors import InputError
from qlib.utils.paths import instrument_folder

ALL: Final = "dump_all"
FIX: Final = "dump_fix"
UPDATE: Final = "dump_update"
_TOGETHER: Final = 4  # calls that a thread is given at once, where there are many: each gift takes 20 microseconds
_A = TypeVar("_A")
_B = TypeVar("_B")


@dataclass(slots=True)
class Waiting:
    """Bars of one instrument that were read: in the spool, or written already, as they lie on `calendar`."""

    instrument: str
    folder: str
    source: str
    first: np.datetime64
    last: np.datetime64
    fields: tuple[str, ...]
    times: Any = None
    values: Any = None
    calendar: np.ndarray | None = None
    start: int = 0


class Run:
    """A run inside its transaction: read everything, decide the calendar, place every series."""

    def __init__(self, command: str, change: Change, reading: Reading, authority: np.ndarray | None) -> None:
        self.command = command
        self.change = change
        self.reading = reading
        self.authority = authority
        self.freq = str(reading.freq)
        self.old_calendar = np.empty(0, "M8[s]")
        if command != ALL and change.old is not None:
            self.freq = same_freq(self.freq, calendar_freqs(change.old)) or self.freq
            path = change.old / "calendars" / f"{self.freq}.txt"
            self.old_calendar = read_calendar(path, self.freq).times.astype("M8[s]")
        # Where no calendar is given, that of the store decides in dump_fix.
        self.allowed = self.old_calendar if command == FIX and authority is None else authority
        self.seen = np.empty(0, "M8[s]")  # every time of the sources
        self.strangers: list[tuple[Bars, np.ndarray]] = []
        self.zones: dict[str, str] = {}
        self.early = command == ALL and authority is None  # whether a series is written as soon as it is read
        self.lock = threading.Lock()
        self.report = DumpReport(command, change.target, self.freq)

    def go(self, sources: list[Part], max_workers: int) -> DumpReport:
        others = replace_freq(self.change, self.freq) if self.command == ALL else []
        spool = Spool(self.change.fresh)
        try:
            workers = min(max_workers, os.cpu_count() or 1, len(sources))
            taken = _side_by_side(lambda part: self._take(part, spool), sources, workers)
            waiting = [one for some in taken for one in some]
            self.reading.check_fields()
            self._judge_strangers()
            if not waiting:
                raise InputError("data_path: every row lies outside the calendar; nothing was changed")
            _refuse_clashes(waiting)
            calendar = self._calendar()
            kept = _side_by_side(lambda one: self._place(one, spool, calendar), waiting, workers)
            self.report.kept = {one.instrument: count for one, count in zip(waiting, kept, strict=True) if count}
        finally:
            spool.close()
        if self.command != ALL:
            self._move_the_rest(calendar)
        self._write_instruments(waiting, joined=bool(others))
        self._write_calendars(calendar)
        self._write_quarantine()
        if self.change.written and self.command != ALL:
            forget_caches(self.change)
        self.report.instruments = len(waiting)
        return self.report

    # ------------------------------------------------------------------ reading
    def _take(self, part: Part, spool: Spool) -> list[Waiting]:
        taken = []
        for bars in part():
            times, values = bars.times, bars.values
            if self.allowed is not None:
                inside = _contains(self.allowed, times)
                if not inside.all():
                    with self.lock:
                        self.strangers.append((bars, ~inside))
                    times, values = times[inside], values[:, inside]
            with self.lock:
                self.zones.setdefault(bars.zone, bars.source)
                so_far = self.seen = _merged(self.seen, times)
            if len(times):
                folder = instrument_folder(bars.instrument)
                one = Waiting(bars.instrument, folder, bars.source, times[0], times[-1], bars.fields)
                if self.early:
                    one.start, places = self._write(one, times, values, so_far)
                    one.calendar, one.times = so_far, so_far[one.start :][places]
                else:
                    one.times, one.values = spool.put(times), spool.put(values)
                taken.append(one)
        return taken

    def _judge_strangers(self) -> None:
        if len(self.zones) > 1:
            raise InputError(
                f"mixed time zones: the times of {self.zones['UTC']} are in UTC, those of {self.zones['']} carry no "
                "zone; a store keeps one clock"
            )
        self.strangers.sort(key=lambda pair: (pair[0].instrument, pair[0].source))
        if self.strangers and self.authority is None:
            bars, wrong = self.strangers[0]
            total = sum(int(rows.sum()) for _, rows in self.strangers)
            raise InputError(
                f"{bars.source}: {_text(bars.times[wrong][0], self.freq)} is not in the calendar of the store "
                f"({total} rows in all); dump_update adds dates, --calendar FILE leaves such rows out"
            )
        for bars, wrong in self.strangers:
            times = self.report.quarantined.setdefault(bars.instrument, [])
            times += time_texts(bars.times[wrong], self.freq)

    # ------------------------------------------------------------------ the calendar
    def _calendar(self) -> np.ndarray:
        old = self.old_calendar
        if self.authority is not None and not (inside := _contains(self.authority, old)).all():
            raise InputError(
                f"calendar: the store has {_text(old[~inside][0], self.freq)} and {int((~inside).sum()) - 1} other "
                "times that the given calendar lacks; dump_all with this calendar makes the store anew"
            )
        if self.command == FIX:
            if not (inside := _contains(old, self.seen)).all():
                raise InputError(
                    f"{_text(self.seen[~inside][0], self.freq)} is not in the calendar of the store, which dump_fix "
                    "does not change; dump_update adds dates"
                )
            new = old
        else:
            new = _merged(old, self.seen) if len(old) else self.seen
            if self.authority is not None:
                first, last = np.searchsorted(self.authority, new[[0, -1]])
                new = self.authority[first : last + 1]
        added = new[~_contains(old, new)]
        self.report.calendar = (_text(new[0], self.freq), _text(new[-1], self.freq), len(new))
        self.report.new_dates = added
        self.report.inserted = int((added < old[-1]).sum()) if len(old) else 0
        return new

    def _write_calendars(self, calendar: np.ndarray) -> None:
        later = None
        if self.authority is not None and self.authority[-1] > calendar[-1]:
            later = self.authority
        if later is not None or not np.array_equal(calendar, self.old_calendar):
            write_calendar(self.change, self.freq, calendar, later)

    # ------------------------------------------------------------------ series
    def _place(self, one: Waiting, spool: Spool, calendar: np.ndarray) -> int:
        """Write the files of one instrument; return how many stored values stay that the source gives otherwise."""
        if one.calendar is calendar:
            return 0
        if one.calendar is not None:
            end = int(np.searchsorted(one.calendar, one.last)) + 1
            if not _same(calendar[one.start : end], one.calendar[one.start : end]):
                folder = self.change.fresh / "features" / one.folder
                stored = np.stack([read_bin(folder / name)[1] for name in self._names(one.fields)])
                at = np.searchsorted(one.calendar, one.times) - one.start
                self._write(one, one.times, stored[:, at], calendar)
            return 0
        times, values = spool.get(one.times), spool.get(one.values)
        if self.command == ALL:
            self._write(one, times, values, calendar)
            return 0
        start, places, values = self._spread(one, times, values, calendar)
        return sum(
            self._join(f"features/{one.folder}/{name}", start, row, places, calendar)
            for name, row in zip(self._names(one.fields), values, strict=True)
        )

    def _write(
        self, one: Waiting, times: np.ndarray, values: np.ndarray, calendar: np.ndarray
    ) -> tuple[int, slice | np.ndarray]:
        """Write the files of one instrument, whatever was there; return where its bars stand, as `_spread` does."""
        start, places, values = self._spread(one, times, values, calendar)
        self.change.write_rows(f"features/{one.folder}", self._names(one.fields), start, values)
        return start, places

    def _names(self, fields: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([f"{field}.{self.freq}.bin" for field in fields])

    @staticmethod
    def _spread(
        one: Waiting, times: np.ndarray, values: np.ndarray, calendar: np.ndarray
    ) -> tuple[int, slice | np.ndarray, np.ndarray]:
        """Return (position of the first bar, places of the bars from there on, values with NaN between them)."""
        start, length = int(np.searchsorted(calendar, times[0])), len(times)
        try:
            check_position(start)
        except InputError as error:
            raise InputError(f"{one.source}: {error}") from None
        if _same(calendar[start : start + length], times):
            return start, slice(0, length), values
        at = np.searchsorted(calendar, times) - start  # bars are missing between the first and the last
        spread = np.full((len(values), int(at[-1]) + 1), np.nan, np.float32)
        spread[:, at] = values
        return start, at, spread

    def _join(self, file: str, start: int, series: np.ndarray, at: slice | np.ndarray, calendar: np.ndarray) -> int:
        """Write a file that joins what is stored with new values; return how many stored ones stay against them."""
        before, kept = self._stored(file), 0
        if before is not None:
            old_start, old = self._moved(*before, calendar)
            first = min(start, old_start)
            whole = np.full(max(start + len(series), old_start + len(old)) - first, np.nan, np.float32)
            own, stored = whole[start - first :][: len(series)], whole[old_start - first :][: len(old)]
            stored[:] = old
            given = series[at]
            if self.command == UPDATE:
                there = own[at]
                known = ~np.isnan(there)
                kept = int((known & (given != there) & ~np.isnan(given)).sum())
                given = np.where(known, there, given)
            own[at] = given
            start, series = first, whole
        content = to_array(start, series)
        if before is None or content.tobytes() != to_array(*before).tobytes():
            self.change.write(file, content.view(np.uint8).data)
        return kept

    def _stored(self, file: str) -> tuple[int, np.ndarray] | None:
        """Return (start, values) of a file of the old store; None where nothing is stored."""
        assert self.change.old is not None
        try:
            start, values = read_bin(self.change.old / file, entries=len(self.old_calendar))
        except FileNotFoundError:
            return None
        return (start, values) if len(values) else None

    def _moved(self, start: int, values: np.ndarray, calendar: np.ndarray) -> tuple[int, np.ndarray]:
        """Return a stored series at its positions in the new calendar."""
        end = start + len(values)
        if np.array_equal(calendar[start:end], self.old_calendar[start:end]):
            return start, values
        at = np.searchsorted(calendar, self.old_calendar[start:end])
        spread = np.full(int(at[-1] - at[0]) + 1, np.nan, np.float32)
        spread[at - at[0]] = values
        return int(at[0]), spread

    def _move_the_rest(self, calendar: np.ndarray) -> None:
        """Where dates were inserted, write every series anew that the sources did not touch."""
        if np.array_equal(calendar[: len(self.old_calendar)], self.old_calendar):
            return
        assert self.change.old is not None
        ending = f".{self.freq.lower()}.bin"
        for path in sorted((self.change.old / "features").glob(f"*/*{ending}")):
            file = path.relative_to(self.change.old).as_posix()
            if file not in self.change.written and (before := self._stored(file)) is not None:
                moved = self._moved(*before, calendar)
                if moved[0] != before[0] or len(moved[1]) != len(before[1]):
                    self.change.write(file, to_array(*moved).view(np.uint8).data)

    # ------------------------------------------------------------------ names
    def _write_instruments(self, waiting: list[Waiting], *, joined: bool) -> None:
        file = "instruments/all.txt"
        stored: Spans = {}
        path = None if self.change.old is None else self.change.old / file
        if path is not None and path.exists() and (joined or self.command != ALL):
            stored = read_instruments(path)
        capitals = {name.lower(): name for name in stored}  # a store may have been written with small letters
        lives = {
            capitals.get(one.instrument.lower(), one.instrument): (pd.Timestamp(one.first), pd.Timestamp(one.last))
            for one in waiting
        }
        self.report.new_instruments = [name for name in lives if name not in stored]
        if self.command == ALL:
            spans = joined_spans(stored, {name: [life] for name, life in lives.items()}) if joined else {
                name: [life] for name, life in lives.items()
            }  # fmt: skip
        else:
            spans = stored | {name: _longer(stored.get(name, []), *life) for name, life in lives.items()}
        content = instruments_text(spans, intraday=self.reading.freq.intraday).encode()
        if path is None or self.command == ALL or not path.exists() or spans != read_instruments(path):
            self.change.write(file, content)

    def _write_quarantine(self) -> None:
        file = f"quarantine/{self.freq}.csv"
        if not self.strangers:
            self.change.forget(file)
            return
        tables = []
        for bars, wrong in self.strangers:
            head = {
                "instrument": bars.instrument,
                "time": time_texts(bars.times[wrong], self.freq),
                "source": bars.source,
            }
            tables.append(pd.DataFrame(head | dict(zip(bars.fields, bars.values[:, wrong], strict=True))))
        self.change.write(file, pd.concat(tables, ignore_index=True).to_csv(index=False).encode())


def _side_by_side(work: Callable[[_A], _B], given: Sequence[_A], workers: int) -> list[_B]:
    """Return [work(one) for one in given], done by threads; after a failure nothing more is begun."""
    if workers == 1:
        return [work(one) for one in given]
    with ThreadPoolExecutor(workers) as pool:
        together = max(1, min(_TOGETHER, len(given) // (8 * workers)))  # a few large sources are shared out singly
        few = [given[at : at + together] for at in range(0, len(given), together)]
        try:
            return [done for some in pool.map(lambda several: [work(one) for one in several], few) for done in some]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _longer(spans: list[tuple[pd.Timestamp, pd.Timestamp]], first: pd.Timestamp, last: pd.Timestamp) -> Any:
    """Return spans that reach from `first` to `last` at least; gaps between them stay."""
    if not spans:
        return [(first, last)]
    spans = list(spans)
    at = min(range(len(spans)), key=lambda i: spans[i][0])
    spans[at] = (min(first, spans[at][0]), spans[at][1])
    at = max(range(len(spans)), key=lambda i: spans[i][1])
    spans[at] = (spans[at][0], max(last, spans[at][1]))
    return spans


def _refuse_clashes(waiting: list[Waiting]) -> None:
    folders: dict[str, Waiting] = {}
    for one in waiting:
        other = folders.setdefault(one.folder, one)
        if other is not one:
            raise InputError(
                f"{other.source} and {one.source} are both about {one.instrument}: instruments whose names differ in "
                "case alone share one folder; put their rows into one source"
            )


def _same(times: np.ndarray, others: np.ndarray) -> bool:
    """Tell whether two arrays of whole seconds are the same; as numbers, which takes a third of `np.array_equal`."""
    return len(times) == len(others) and bool((times.view(np.int64) == others.view(np.int64)).all())


def _contains(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return for every wanted time whether it is among `times`; both ascend."""
    if not len(times):
        return np.zeros(len(wanted), bool)
    at = np.searchsorted(times, wanted)
    return times[np.minimum(at, len(times) - 1)] == wanted


def _merged(times: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Return the union of two ascending arrays of times; `times` itself where nothing is new."""
    if not len(more):
        return times
    start = int(np.searchsorted(times, more[0]))
    if _same(times[start : start + len(more)], more) or _contains(times, more).all():
        return times
    return np.union1d(times, more)


def _text(time: np.datetime64, freq: str) -> str:
    return time_texts([time], freq)[0]

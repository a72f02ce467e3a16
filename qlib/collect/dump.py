"""Bars of many instruments -> a store: the three commands of Qlib's `dump_bin`.

    dump_all("csv", "store")                     the store holds what the files hold, nothing else
    dump_fix("csv_fixed", "store")               values of the files replace stored ones; the calendar stays
    dump_update("csv_today", "store")            what is new is added; a stored number never changes

A run happens whole or not at all (qlib/data/storage/transaction.py): a wrong file, a full disk or kill -9 leaves the
store as it was, and the next run gives the same bytes as if nothing had happened.

Every value stands at the calendar position of its date. A series runs from its first to its last row, with NaN for
bars of the calendar that it lacks. So any sequence of runs ends in the store that one `dump_all` of all rows makes,
where a row of `dump_fix` counts more than earlier ones and a row of `dump_update` less.

`calendar=` names a calendar that decides which bars exist. Rows at other times are left out, counted, and written to
`quarantine/<freq>.csv` in the store.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.sources import Bars, Part, Reading, parts
from qlib.data.calendar import read_calendar, time_texts
from qlib.data.storage.binary import read_bin, to_array
from qlib.data.storage.file_storage import calendar_freqs, same_freq
from qlib.data.storage.instruments import instruments_text, read_instruments
from qlib.data.storage.transaction import Change, replacing
from qlib.data.storage.writer import forget_caches, joined_spans, replace_freq, write_calendar
from qlib.data.universe import Spans
from qlib.errors import InputError, RunError
from qlib.log import get_module_logger
from qlib.utils.paths import instrument_folder
from qlib.utils.time import Freq

logger = get_module_logger("dump_bin")

ALL, FIX, UPDATE = "dump_all", "dump_fix", "dump_update"
_IN_MEMORY: Final = 192 << 20  # bytes of bars that wait in memory for the calendar; the rest waits in a file
_SHOWN: Final = 5


@dataclass
class DumpReport:
    """What a run did, or with `dry_run` would do; `str(report)` is what the command line prints."""

    command: str
    root: Path
    freq: str
    dry_run: bool = False
    instruments: int = 0
    new_instruments: list[str] = field(default_factory=list)
    calendar: tuple[str, str, int] = ("", "", 0)
    new_dates: np.ndarray = field(default_factory=lambda: np.empty(0, "M8[s]"))
    inserted: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        first, last, entries = self.calendar
        lines = [
            f"{self.command}: {self.root} ({self.freq})" + (" would change as follows" if self.dry_run else ""),
            f"  instruments  {self.instruments} in the sources, {len(self.new_instruments)} of them new"
            + _some(self.new_instruments),
            f"  calendar     {first} to {last}, {entries} entries, {len(self.new_dates)} of them new"
            + _some(time_texts(self.new_dates[: _SHOWN + 1], self.freq)),
        ]
        if self.inserted:
            lines.append(f"  inserted     {self.inserted} of the new entries lie before the old calendar's end")
        if self.kept:
            total = sum(self.kept.values())
            lines.append(
                f"  kept         {total} stored values of {len(self.kept)} instruments that the sources give "
                f"otherwise{_some(list(self.kept))}; dump_fix replaces them"
            )
        if self.quarantined:
            told = [f"{name} {times[0]}" for name, times in self.quarantined.items()]
            total = sum(map(len, self.quarantined.values()))
            lines.append(f"  quarantined  {total} rows at times that the calendar lacks{_some(told)}")
        for kind, names in self.files.items():
            lines.append(f"  {kind:<12} {len(names)} files{_some(names)}")
        return "\n".join(lines)


def _some(names: list[str]) -> str:
    return f": {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}" if names else ""


def dump_all(data_path: Any, qlib_dir: str | os.PathLike[str], **options: Any) -> DumpReport:
    """Write a store from sources; what it held at this frequency is replaced, other frequencies stay.

    Parameters
    ----------
    data_path
        Folder with one file per instrument; a single file or a DataFrame with a symbol column (or index level);
        or a mapping instrument -> frame. See qlib/collect/sources.py.
    qlib_dir
        The store; made if it does not exist.
    options
        Those of `DumpDataBase`.

    Returns
    -------
    DumpReport

    Raises
    ------
    InputError
        A source, an option or the store is wrong; nothing has changed.
    RunError
        The disk is full or refuses; nothing has changed.

    Examples
    --------
    >>> import tempfile
    >>> frame = pd.DataFrame({"date": ["2024-01-02", "2024-01-04"], "close": [1.5, 1.75]})
    >>> report = dump_all({"aaa": frame}, tempfile.mkdtemp() + "/store")
    >>> report.calendar, report.new_instruments
    (('2024-01-02', '2024-01-04', 2), ['AAA'])
    """
    return DumpDataAll(data_path, qlib_dir, **options).dump()


def dump_fix(data_path: Any, qlib_dir: str | os.PathLike[str], **options: Any) -> DumpReport:
    """Replace stored values by those of the sources, date by date; the calendar stays. Arguments as for `dump_all`.

    An empty cell replaces, too. Dates and fields that the sources lack stay. New instruments are added. A date that
    the calendar lacks is an InputError, or goes to quarantine where `calendar` is given.
    """
    return DumpDataFix(data_path, qlib_dir, **options).dump()


def dump_update(data_path: Any, qlib_dir: str | os.PathLike[str], **options: Any) -> DumpReport:
    """Add what the store lacks: later bars, earlier ones, instruments, fields. Arguments as for `dump_all`.

    A stored number stays as it is: the report counts those that the sources give otherwise. Dates inside the
    calendar's past are inserted, and every series moves along; the report counts them.
    """
    return DumpDataUpdate(data_path, qlib_dir, **options).dump()


class DumpDataBase:
    """The options that Qlib's three commands share.

    Parameters
    ----------
    data_path, qlib_dir
        Where from, where to: see `dump_all`.
    backup_dir
        Folder that receives a copy of the store as it was; must not exist.
    freq
        Bar size: "day", "60min", ...
    max_workers
        Threads that read sources; more than the machine has processors are not started.
    date_field_name, symbol_field_name
        Columns of the date and of the symbol. Neither becomes a field.
    file_suffix
        Which files of a folder are read: ".csv", ".csv.gz" or ".parquet", or an ending such as "_day.csv".
    exclude_fields, include_fields
        Columns to leave out, or the only ones to take (then `exclude_fields` does not count): a list, or a text with
        commas. Upper and lower case differ, as in the sources.
    limit_nums
        Read only so many sources, the first in the order of their names.
    calendar
        A file of times, one a line: the bars that exist. Rows at other times are quarantined, and what the file holds
        after the last row becomes the calendar of the future.
    dry_run
        Prepare everything, change nothing, and report which files would change.
    """

    command: str = ""

    def __init__(
        self,
        data_path: Any,
        qlib_dir: str | os.PathLike[str],
        backup_dir: str | os.PathLike[str] | None = None,
        freq: str = "day",
        max_workers: int = 16,
        date_field_name: str = "date",
        file_suffix: str = ".csv",
        symbol_field_name: str = "symbol",
        exclude_fields: str | Iterable[str] = "",
        include_fields: str | Iterable[str] = "",
        limit_nums: int | None = None,
        calendar: str | os.PathLike[str] | None = None,
        dry_run: bool = False,
    ) -> None:
        self.data_path = data_path
        self.qlib_dir = Path(qlib_dir).expanduser().resolve()
        self.backup_dir = None if backup_dir is None else Path(backup_dir).expanduser().resolve()
        self.max_workers = _count(max_workers, "max_workers")
        self.calendar = None if calendar is None else Path(calendar).expanduser()
        self.dry_run = dry_run
        self.reading = Reading(
            freq=Freq(freq),
            date_field_name=str(date_field_name),
            symbol_field_name=str(symbol_field_name),
            include_fields=_names(include_fields),
            exclude_fields=_names(exclude_fields),
            file_suffix=str(file_suffix),
            limit_nums=None if limit_nums is None else _count(limit_nums, "limit_nums"),
        )

    def __call__(self) -> DumpReport:
        return self.dump()

    def dump(self) -> DumpReport:
        """Do it."""
        if self.backup_dir is not None and self.backup_dir.exists():
            raise InputError(f"backup_dir: {self.backup_dir} exists already; name a folder that does not")
        sources = parts(self.data_path, self.reading)
        authority = None if self.calendar is None else _authority(self.calendar, self.reading.freq)
        if self.command != ALL:
            _check_stored(self.qlib_dir, self.reading.freq)
        try:
            with replacing(self.qlib_dir, dry_run=self.dry_run) as change:
                report = _Run(self.command, change, self.reading, authority).go(sources, self.max_workers)
                if self.backup_dir is not None and change.old is not None and not self.dry_run:
                    _copy(change.old, self.backup_dir)
                if self.dry_run:
                    report.dry_run = True
                    report.files = change.difference()
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            raise RunError(f"{self.qlib_dir} is as it was: {error.strerror or error}{place}") from error
        for line in str(report).splitlines():
            logger.info(line)
        return report


class DumpDataAll(DumpDataBase):
    """`dump_all`, as Qlib's class."""

    command = ALL


class DumpDataFix(DumpDataBase):
    """`dump_fix`, as Qlib's class."""

    command = FIX


class DumpDataUpdate(DumpDataBase):
    """`dump_update`, as Qlib's class."""

    command = UPDATE


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    texts = given.split(",") if isinstance(given, str) else map(str, given)
    return tuple(text.strip() for text in texts if text.strip())


def _count(given: Any, name: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 1:
        raise InputError(f"{name}: received {given!r}; a whole number from 1 on is allowed")
    return int(given)


def _authority(path: Path, freq: Freq) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"calendar: {path} is no file; one with a time a line is needed")
    times = read_calendar(path, freq).times.astype("M8[s]")
    if not len(times):
        raise InputError(f"calendar: {path} is empty")
    return times


def _check_stored(root: Path, freq: Freq) -> None:
    stored = calendar_freqs(root) if root.is_dir() else []
    if same_freq(freq, stored) is None:
        raise InputError(
            f"qlib_dir: {root} holds nothing at freq {freq} (stored there: {', '.join(stored) or 'nothing'}); "
            "dump_all makes a store"
        )


def _copy(old: Path, backup: Path) -> None:
    """Copy the store, so that a killed copy does not look like a whole one."""
    part = backup.with_name(f"{backup.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(old, part, symlinks=True)
    part.rename(backup)


# ---------------------------------------------------------------------- between reading and writing
class _Spool:
    """Arrays that wait: in memory up to a limit, the rest in a nameless file, which a kill takes along."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Any = None
        self._free = _IN_MEMORY
        self._lock = threading.Lock()

    def put(self, array: np.ndarray) -> Any:
        """Return a ticket for `get`."""
        with self._lock:
            if array.nbytes <= self._free:
                self._free -= array.nbytes
                return array
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  it closes with the spool
            at = self._file.seek(0, os.SEEK_END)
            self._file.write(np.ascontiguousarray(array).view(np.uint8).data)
            return at, array.dtype, array.shape

    def get(self, ticket: Any) -> np.ndarray:
        if isinstance(ticket, np.ndarray):
            return ticket
        at, dtype, shape = ticket
        self._file.seek(at)
        return np.frombuffer(self._file.read(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@dataclass(frozen=True)
class _Waiting:
    """Bars of one instrument in the spool."""

    instrument: str
    folder: str
    source: str
    first: np.datetime64
    last: np.datetime64
    fields: tuple[str, ...]
    times: Any
    values: Any


# ---------------------------------------------------------------------- one run
class _Run:
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
        self.lock = threading.Lock()
        self.report = DumpReport(command, change.target, self.freq)

    def go(self, sources: list[Part], max_workers: int) -> DumpReport:
        others = replace_freq(self.change, self.freq) if self.command == ALL else []
        spool = _Spool(self.change.fresh)
        try:
            waiting = list(self._read(sources, spool, min(max_workers, os.cpu_count() or 1, len(sources))))
            self.reading.check_fields()
            self._judge_strangers()
            if not waiting:
                raise InputError("data_path: every row lies outside the calendar; nothing was changed")
            _refuse_clashes(waiting)
            calendar = self._calendar()
            for one in waiting:
                self._place(one, spool.get(one.times), spool.get(one.values), calendar)
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
    def _read(self, sources: list[Part], spool: _Spool, workers: int) -> Iterator[_Waiting]:
        if workers == 1:
            for part in sources:
                yield from self._take(part, spool)
            return
        with ThreadPoolExecutor(workers) as pool:
            try:
                for taken in pool.map(lambda part: self._take(part, spool), sources):
                    yield from taken
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _take(self, part: Part, spool: _Spool) -> list[_Waiting]:
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
                self.seen = _merged(self.seen, times)
            if len(times):
                folder = instrument_folder(bars.instrument)
                tickets = spool.put(times), spool.put(values)
                taken.append(_Waiting(bars.instrument, folder, bars.source, times[0], times[-1], bars.fields, *tickets))
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
            new = _merged(old, self.seen)
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
    def _place(self, one: _Waiting, times: np.ndarray, values: np.ndarray, calendar: np.ndarray) -> None:
        """Write the files of one instrument."""
        start = int(np.searchsorted(calendar, times[0]))
        at: slice | np.ndarray = slice(0, len(times))
        length = len(times)
        if not np.array_equal(calendar[start : start + length], times):  # bars are missing between the first and last
            at = np.searchsorted(calendar, times) - start
            length = int(at[-1]) + 1
        for name, row in zip(one.fields, values, strict=True):
            series = row
            if length != len(row):
                series = np.full(length, np.nan, np.float32)
                series[at] = row
            self._write_series(one, f"features/{one.folder}/{name}.{self.freq}.bin", start, series, at, calendar)

    def _write_series(
        self, one: _Waiting, file: str, start: int, series: np.ndarray, at: slice | np.ndarray, calendar: np.ndarray
    ) -> None:
        before = None if self.command == ALL else self._stored(file)
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
                if differ := int((known & (given != there) & ~np.isnan(given)).sum()):
                    self.report.kept[one.instrument] = self.report.kept.get(one.instrument, 0) + differ
                given = np.where(known, there, given)
            own[at] = given
            start, series = first, whole
        try:
            content = to_array(start, series)
        except InputError as error:
            raise InputError(f"{one.source}: {error}") from None
        if before is None or content.tobytes() != to_array(*before).tobytes():
            self.change.write(file, content.view(np.uint8).data)

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
    def _write_instruments(self, waiting: list[_Waiting], *, joined: bool) -> None:
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


def _refuse_clashes(waiting: list[_Waiting]) -> None:
    folders: dict[str, _Waiting] = {}
    for one in waiting:
        other = folders.setdefault(one.folder, one)
        if other is not one:
            raise InputError(
                f"{other.source} and {one.source} are both about {one.instrument}: instruments whose names differ in "
                "case alone share one folder; put their rows into one source"
            )


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
    if np.array_equal(times[start : start + len(more)], more) or _contains(times, more).all():
        return times
    return np.union1d(times, more)


def _text(time: np.datetime64, freq: str) -> str:
    return time_texts([time], freq)[0]

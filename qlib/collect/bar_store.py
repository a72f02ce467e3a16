"""The store of what was collected: whatever happens to the collector, a rerun ends in the same bytes.

    data/klines/
      BTC-USDT-SWAP/                  the symbol, spelled so that it is a file name (qlib/utils/paths.py)
        candles_1H/2026.parquet       a part: all bars of one year (of a month: minutes, of a day: seconds and trades)
                   coverage.json      which ranges are known, which bars the venue does not have, what cannot be had
                   journal            pages that are not in the parts yet; gone when a download is complete
                   revisions.jsonl    bars that the venue changed later: the old values and the new ones
        funding/2026.parquet
        BTC-USDT-SWAP_1H.csv          with format="csv": the same rows as text
      instruments.parquet             every row of the venue's list that was ever seen
      holes.csv                       ranges without bars of the last download, with the reasons
      venue                           whose bars these are
      .lock                           held by the one process that writes

    store = BarStore("data/klines")
    with store.lock("an example"):
        store.add(series, page)       into the journal
        store.seal(series)            journal -> parts -> coverage; only then the journal goes
    store.read(series)

Each step is one atomic replacement and can be done twice, so a kill at any time loses at most the page in flight.  What
a part holds depends on the rows only, not on the order or the sizes of the pages that brought them.  A row that was
stored is never deleted; one that the venue revises is replaced, and the old values are kept in `revisions.jsonl`.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from qlib.collect.coverage import (
    AFTER_DELISTING,
    BEFORE_FIRST,
    BEFORE_LISTING,
    NO_BARS,
    NO_RANGES,
    NOT_AT_VENUE,
    Bars,
    Coverage,
    Gap,
    inside,
    union,
    without,
)
from qlib.collect.journal import Entry, Journal, arrow_table, read_journal, rows_of
from qlib.collect.source import COLUMNS, KINDS, Hole, Page, Rows, Series, empty_rows
from qlib.errors import InputError, MissingDataError, RunError, StoreError, did_you_mean
from qlib.utils.locks import LockTimeout, locked
from qlib.utils.paths import code_to_fname, fname_to_code, replace_file

FORMATS: Final = ("parquet", "csv")
_IN_FLIGHT: Final = 50_000  # rows that wait in a journal, at most
_LONGEST_FUNDING: Final = 8 * 3_600_000  # funding is paid every 8 hours, or more often
_SLACK: Final = 60_000  # stamps of payments are late by a few ms at some venues
_PART = re.compile(r"(\d{4}(?:-\d\d(?:-\d\d)?)?)\.parquet")
_UNFINISHED = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")  # see qlib.utils.paths.replace_file
_CSV_ROWS: Final = 100_000


@dataclass(frozen=True)
class Revision:
    """A stored row that the venue gives with other values now."""

    series: Series
    ts: int
    old: dict[str, Any]
    new: dict[str, Any]

    def __str__(self) -> str:
        changed = ", ".join(f"{name} {self.old[name]} -> {self.new[name]}" for name in self.new)
        return f"{shown(self.series)} {time_text(self.ts)}: {changed}"


@dataclass
class Changes:
    """What sealing a series did: rows that are new, revised ones, and stored ones that the venue shows no more."""

    added: int = 0
    revised: list[Revision] = field(default_factory=list)
    withdrawn: int = 0


@dataclass
class _State:
    """A series that is being written."""

    coverage: Coverage
    pending: list[Entry]
    waiting: int
    journal: Journal | None = None
    saved: str = ""
    changes: Changes = field(default_factory=Changes)
    busy: Any = field(default_factory=threading.RLock)


class BarStore:
    """Parts, coverage and journals of many series below one folder.

    Parameters
    ----------
    folder
        Made when something is written.
    format
        "parquet", or "csv": then sealing writes one CSV file of each series too (and keeps it up to date from then on).

    Raises
    ------
    InputError
        Another format, or a folder that is a file.
    """

    def __init__(self, folder: str | os.PathLike[str], format: str = "parquet") -> None:  # noqa: A002
        if format not in FORMATS:
            raise InputError(f"format: received {format!r}; allowed are parquet and csv{did_you_mean(format, FORMATS)}")
        self.folder = Path(folder).expanduser()
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; a folder is needed")
        self.format = format
        self._states: dict[Series, _State] = {}
        self._opening = threading.Lock()
        self._held = False

    # ------------------------------------------------------------------ writing
    @contextlib.contextmanager
    def lock(self, purpose: str = "collecting") -> Iterator[BarStore]:
        """Be the only process that writes; RunError, naming the other one, where there is one."""
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.folder / ".lock", seconds=0, purpose=purpose))
            except LockTimeout as error:
                who = str(error).partition(": ")[2].removesuffix("; waited 0 s")
                raise RunError(
                    f"{self.folder}: {who}; one store has one writer: wait until it is done, or use another folder"
                ) from None
            except OSError as error:
                raise InputError(f"{self.folder} cannot be written: {error.strerror}") from None
            for path in self.folder.rglob(".*.tmp"):  # half-written files of a writer that was killed
                if _UNFINISHED.fullmatch(path.name):
                    path.unlink()
            self._held = True
            try:
                yield self
            finally:
                self._held = False
                for state in self._states.values():
                    _close(state)
                self._states.clear()

    def belongs_to(self, venue: str) -> None:
        """Take down whose bars these are; InputError where they are another venue's: names mean other things there."""
        path = self.folder / "venue"
        owner = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if owner and owner != venue:
            raise InputError(f"{self.folder} holds what {owner} gave; {venue} needs another folder")
        if not owner:
            replace_file(path, lambda file: file.write(f"{venue}\n".encode()))

    def add(self, series: Series, page: Page | Hole, bars: Bars = NO_BARS) -> int:
        """Take in what the venue said; returns the number of rows. It survives a kill from here on.

        Parameters
        ----------
        bars
            Which bars of the page should exist and do not, see `coverage.bars_in`.
        """
        state = self._state(series)
        with state.busy:
            if isinstance(page, Hole):
                entry = Entry(page.start, page.end, empty_rows(series.kind), reason=page.reason)
            else:
                entry = Entry(page.start, page.end, _checked(series, page), bars)
            with self._told(series):
                if state.journal is None:
                    state.journal = Journal(self.path(series) / "journal", series.kind)
                state.journal.append(entry)
            state.pending.append(entry)
            _learn(state.coverage, entry)
            count = len(entry.rows["ts"])
            state.waiting += count
            if state.waiting >= _IN_FLIGHT:
                self._fold(series, state)
            return count

    def missing(self, series: Series, start: int, end: int) -> list[tuple[int, int]]:
        """Return the ranges of [start, end) that the venue has to be asked for."""
        return [(int(a), int(b)) for a, b in self.coverage(series).missing(start, end)]

    def set_life(self, series: Series, listed: int | None, delisted: int | None) -> None:
        """Take down when trading began and ended: where there was none, what has no bars is no hole."""
        state = self._state(series)
        with state.busy:
            state.coverage.listed, state.coverage.delisted = listed, delisted

    def forget_holes(self, series: Series) -> None:
        """Let what the venue did not have, and what could not be had, be missing again; no row goes."""
        state = self._state(series)
        with state.busy:
            self._fold(series, state)  # the journal may hold some, too
            state.coverage.unavailable.clear()
            state.coverage.known = without(state.coverage.known, state.coverage.absent)

    def seal(self, series: Series) -> Changes:
        """Put the journal into the parts and return what that changed since the series was opened."""
        state = self._state(series)
        with state.busy:
            self._fold(series, state)
            with self._told(series):
                self._export(series)
            changes, state.changes = state.changes, Changes()
        with self._opening:
            del self._states[series]
        return changes

    # ------------------------------------------------------------------ reading
    def path(self, series: Series) -> Path:
        """Return the folder of a series."""
        name = code_to_fname(series.symbol)
        if series.kind not in KINDS or not series.symbol or len(name.encode()) > 200:
            raise InputError(f"{series}: a kind of {', '.join(KINDS)} and a symbol of at most 200 bytes are needed")
        return (
            self.folder / name / (series.kind if series.bar is None else f"{series.kind}_{code_to_fname(series.bar)}")
        )

    def csv_path(self, series: Series) -> Path:
        """Return the CSV file of a series: `<symbol>_<bar>.csv` for candles, with the kind added for the others."""
        words = [series.symbol, series.bar, None if series.kind == "candles" else series.kind]
        name = "_".join(code_to_fname(word) for word in words if word)
        return self.folder / code_to_fname(series.symbol) / f"{name}.csv"

    def series(self) -> list[Series]:
        """Return what is stored, in order."""
        found = []
        for folder in sorted(self.folder.glob("*/*/")):
            kind, _, bar = folder.name.partition("_")
            if kind in KINDS and ((folder / "coverage.json").exists() or (folder / "journal").exists()):
                found.append(Series(fname_to_code(folder.parent.name), kind, fname_to_code(bar) if bar else None))
        return found

    def coverage(self, series: Series) -> Coverage:
        """Return what is known of a series, its journal included."""
        state = self._states.get(series)
        return state.coverage if state else self._opened(series).coverage

    def rows(self, series: Series) -> int:
        """Return how many rows the parts of a series hold."""
        return sum(self._opened(series).coverage.parts.values())

    def read(self, series: Series, start: int | None = None, end: int | None = None) -> pd.DataFrame:
        """Return the rows of [start, end) (ms UTC), sorted, with the columns of the kind (source.COLUMNS).

        What a killed download left in the journal is included. Nobody is waited for: a collector may be at work.
        """
        folder = self.path(series)
        low, high = (-math.inf if start is None else start), (math.inf if end is None else end)
        # the journal before the parts: it may be folded into them meanwhile
        entries = read_journal(folder / "journal", series.kind)
        new = _joined(series.kind, [entry.rows for entry in entries])
        old = [_part(folder / f"{name}.parquet", series.kind) for name in self._names(folder, low, high)]
        rows = _merged(series.kind, _joined(series.kind, old), new)[0]
        return _frame(series.kind, rows, low, high)

    def ends(self, series: Series) -> tuple[int, int] | None:
        """Return the first and the last `ts` in the parts; None where they hold nothing."""
        folder = self.path(series)
        names = self._names(folder)
        if not names:
            return None
        first, last = (_part(folder / f"{name}.parquet", series.kind)["ts"] for name in (names[0], names[-1]))
        return int(first[0]), int(last[-1])

    def gaps(self, series: Series) -> list[Gap]:
        """Return every range without bars between the first time asked for and the last, with its reason."""
        coverage = self.coverage(series)
        absent = coverage.absent
        ends = self.ends(series)
        first, last = ends if ends else (None, 0)
        if series.kind == "funding":
            absent = _unpaid(self.read(series)["ts"].to_numpy(), coverage.known, coverage.listed)
        told = [Gap(int(a), int(b), reason) for reason, ranges in coverage.unavailable.items() for a, b in ranges]
        for a, b in absent.tolist():
            if first is None or b <= first:
                begins = min(max(a, coverage.listed), b) if coverage.listed is not None else a
                told += [Gap(a, begins, BEFORE_LISTING), Gap(begins, b, BEFORE_FIRST)]
            elif coverage.delisted is not None and a > last:
                told += [Gap(a, b, AFTER_DELISTING)]
            else:
                told += [Gap(a, b, NOT_AT_VENUE)]
        return sorted(gap for gap in told if gap.start < gap.end)

    # ------------------------------------------------------------------ inside
    def _state(self, series: Series) -> _State:
        if not self._held:
            raise RunError("nothing is written without the lock: use `with store.lock():`")
        with self._opening:
            if series not in self._states:
                self._states[series] = self._opened(series)
            return self._states[series]

    def _opened(self, series: Series) -> _State:
        folder = self.path(series)
        pending = read_journal(folder / "journal", series.kind)
        file = folder / "coverage.json"
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        coverage = Coverage.from_json(text, str(file)) if text else Coverage()
        if not text:
            coverage.parts = {
                name: len(_part(folder / f"{name}.parquet", series.kind)["ts"]) for name in self._names(folder)
            }
        for name in [name for name in coverage.parts if not (folder / f"{name}.parquet").exists()]:
            low, high = _bounds(name)  # somebody took it away, a damaged one perhaps: it is asked for again
            coverage.known = without(coverage.known, union([[low, high]]))
            del coverage.parts[name]
        for entry in pending:
            _learn(coverage, entry)
        return _State(coverage, pending, sum(len(entry.rows["ts"]) for entry in pending), saved=text)

    def _fold(self, series: Series, state: _State) -> None:
        """Journal -> parts -> coverage -> no journal, each step durable before the next."""
        folder = self.path(series)
        with self._told(series):
            pages = [entry for entry in state.pending if not entry.reason]
            new = _joined(series.kind, [entry.rows for entry in pages])
            asked = union(NO_RANGES, *([entry.start, entry.end] for entry in pages))
            times = new["ts"].astype("M8[ms]").astype(f"M8[{_unit(series)}]")
            touched = {str(one) for one in np.unique(times)}
            for name in sorted(touched | set(self._overlapping(folder, asked))):
                here = {column: values[times == np.datetime64(name)] for column, values in new.items()}
                self._merge(series, state, name, here, asked)
            text = state.coverage.to_json()
            if text != state.saved:
                replace_file(folder / "coverage.json", lambda file: file.write(text.encode()))
                state.saved = text
            _close(state)
            (folder / "journal").unlink(missing_ok=True)
            state.pending, state.waiting = [], 0

    def _merge(self, series: Series, state: _State, name: str, new: Rows, asked: np.ndarray) -> None:
        """Bring rows into one part; what the venue revised is taken down first."""
        path = self.path(series) / f"{name}.parquet"
        old = _part(path, series.kind) if path.exists() else empty_rows(series.kind)
        merged, revised, gone = _merged(series.kind, old, new, asked)
        added = len(merged["ts"]) - len(old["ts"])
        state.coverage.parts[name] = len(merged["ts"])
        state.changes.withdrawn += gone
        if not added and not revised:
            return
        revisions = [Revision(series, ts, before, after) for ts, before, after in revised]
        if revisions:
            self._note(series, revisions)
        table = arrow_table(series.kind, merged)
        replace_file(path, lambda file: pq.write_table(table, file, compression="zstd"))
        state.changes.added += added
        state.changes.revised += revisions

    def _note(self, series: Series, revisions: list[Revision]) -> None:
        path = self.path(series) / "revisions.jsonl"
        before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        new = [json.dumps({"ts": one.ts, "old": _plain(one.old), "new": _plain(one.new)}) for one in revisions]
        lines = list(dict.fromkeys(before + new))  # twice after a kill between here and the part
        replace_file(path, lambda file: file.write(("\n".join(lines) + "\n").encode()))

    def _export(self, series: Series) -> None:
        """Write the CSV file, part by part, where it is wanted and older than a part."""
        path, folder = self.csv_path(series), self.path(series)
        written = path.stat().st_mtime_ns if path.exists() else -1
        if written < 0 and self.format != "csv":
            return
        if written >= max((one.stat().st_mtime_ns for one in folder.glob("*.parquet")), default=0):
            return

        def write(file: IO[bytes]) -> None:
            file.write((",".join(COLUMNS[series.kind]) + "\n").encode())
            for name in self._names(folder):
                rows = _part(folder / f"{name}.parquet", series.kind)
                for at in range(0, len(rows["ts"]), _CSV_ROWS):
                    file.write(_csv_lines(series.kind, {key: rows[key][at : at + _CSV_ROWS] for key in rows}))

        replace_file(path, write)

    def _names(self, folder: Path, low: float = -math.inf, high: float = math.inf) -> list[str]:
        """Return the parts that may hold rows of [low, high), in order of time."""
        names = sorted(match[1] for path in folder.glob("*.parquet") if (match := _PART.fullmatch(path.name)))
        kept = []
        for name in names:
            start, end = _bounds(name)
            if start < high and end > low:
                kept.append(name)
        return kept

    def _overlapping(self, folder: Path, ranges: np.ndarray) -> list[str]:
        found = []
        for name in self._names(folder):
            start, end = _bounds(name)
            if ((ranges[:, 0] < end) & (ranges[:, 1] > start)).any():
                found.append(name)
        return found

    @contextlib.contextmanager
    def _told(self, series: Series) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self.path(series)} cannot be written: {error.strerror or error}; what was stored before is whole"
            ) from error


# ---------------------------------------------------------------------- what to read without a store object
def read_bars(
    path: str | os.PathLike[str],
    symbol: str,
    bar: str | None = None,
    kind: str = "candles",
    *,
    start: int | str | pd.Timestamp | None = None,
    end: int | str | pd.Timestamp | None = None,
) -> pd.DataFrame:
    """Return what is stored of a series as one sorted DataFrame, whatever the files look like inside.

    Parameters
    ----------
    path
        The store, such as data/klines.
    symbol, bar
        As the venue spells them: "BTC-USDT-SWAP", "1H". `bar` may be left out where there is only one.
    kind
        "candles", "mark", "index", "funding", "oi" or "trades".
    start, end
        Opening times, [start, end): ms UTC, a text or a Timestamp (without a zone: UTC). All by default.

    Returns
    -------
    DataFrame
        `ts` is the opening time of the bar in ms UTC; candles: open, high, low, close, volume (base units), amount
        (quote units), vwap, traded (False: the venue was down). Missing values are NaN, missing bars are missing rows.

    Raises
    ------
    MissingDataError
        Nothing of it is stored; the message says what is.

    >>> read_bars("data/klines", "BTC-USDT-SWAP", "1H")  # doctest: +SKIP
                      ts     open     high  ...      amount          vwap  traded
    0      1767225600000  87521.3  87684.0  ...  8817093.71  87590.101234    True
    """
    store = BarStore(path)
    low, high = (None if one is None else to_ms(one, name) for one, name in ((start, "start"), (end, "end")))
    if kind not in KINDS:
        raise InputError(f"kind: received {kind!r}; allowed are {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    if not store.folder.is_dir():
        raise MissingDataError(f"{store.folder} does not exist")
    found = [series for series in store.series() if series.symbol == symbol and series.kind == kind]
    wanted = [series for series in found if bar is None or series.bar is None or _same_bar(series.bar, bar)]
    if len(wanted) == 1:
        return store.read(wanted[0], low, high)
    only_text = store.csv_path(Series(symbol, kind, bar))
    if not wanted and only_text.is_file():
        return _from_csv(only_text, kind, low, high)
    raise MissingDataError(_not_stored(store, symbol, bar, kind, [str(series.bar) for series in found]))


def _not_stored(store: BarStore, symbol: str, bar: str | None, kind: str, bars: list[str]) -> str:
    if bars and bar is None:
        return f"bar: {store.folder} holds {kind} of {symbol} at {', '.join(bars)}; say which"
    if bars:
        near = did_you_mean(str(bar), bars)
        return f"no {kind} of {symbol} at {bar} in {store.folder}; stored there: {', '.join(bars)}{near}"
    symbols = sorted({series.symbol for series in store.series() if series.kind == kind})
    if not symbols:
        return f"no {kind} in {store.folder}"
    some = ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")
    return f"no {kind} of {symbol} in {store.folder}; stored there: {some}{did_you_mean(symbol, symbols)}"


def _same_bar(stored: str, asked: str) -> bool:
    """Tell whether two spellings are the same but for the case of letters that is no matter: 1m is not 1M."""
    return stored.lower() == asked.lower() and ("m" in stored) == ("m" in asked)


def _from_csv(path: Path, kind: str, start: int | None, end: int | None) -> pd.DataFrame:
    from pyarrow import csv  # noqa: PLC0415  only who has CSV needs it

    empty = arrow_table(kind, empty_rows(kind))
    types = csv.ConvertOptions(column_types=empty.schema, include_columns=empty.column_names, null_values=[""])
    try:
        rows = rows_of(kind, csv.read_csv(path, convert_options=types))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise StoreError(f"{path}: is no file of {kind} ({error}); columns are {', '.join(COLUMNS[kind])}") from None
    low, high = (-math.inf if start is None else start), (math.inf if end is None else end)
    return _frame(kind, _joined(kind, [rows]), low, high)


def _frame(kind: str, rows: Rows, low: float, high: float) -> pd.DataFrame:
    keep = (rows["ts"] >= low) & (rows["ts"] < high)
    texts = {name: "str" for name, type_ in COLUMNS[kind].items() if type_ == "str"}
    return pd.DataFrame({name: values[keep] for name, values in rows.items()}).astype(texts)


# ---------------------------------------------------------------------- words for people
def shown(series: Series) -> str:
    """Return a series as people read it: "BTC-USDT-SWAP candles 1H"."""
    return " ".join(word for word in (series.symbol, series.kind, series.bar) if word)


def to_ms(when: int | str | pd.Timestamp, name: str) -> int:
    """Return a time in ms UTC; a text or a Timestamp without a zone is UTC.

    Raises InputError, naming the argument `name`, for what is no time.

    >>> to_ms("2026-01-01", "start"), to_ms("2026-01-01T09:00+08:00", "start"), to_ms(1767225600000, "start")
    (1767225600000, 1767229200000, 1767225600000)
    """
    if isinstance(when, (int, np.integer)) and not isinstance(when, bool):
        return int(when)
    try:
        if isinstance(when, str) and not re.match(r"\d{4}-", when):
            raise ValueError  # what pandas guesses of "5" or "now" is no date that was meant
        stamp = pd.Timestamp(when)
        stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
        return int(stamp.value) // 1_000_000
    except (ValueError, TypeError):
        raise InputError(
            f"{name}: received {when!r}; a date such as 2026-01-31, a time such as 2026-01-31T12:00 (both UTC), or ms "
            "is allowed"
        ) from None


def time_text(ms: int) -> str:
    """Return a time as text, as short as it can be.

    >>> time_text(1767225600000), time_text(1767229200000), time_text(1767229200500)
    ('2026-01-01', '2026-01-01 01:00', '2026-01-01 01:00:00.500')
    """
    text = str(np.datetime64(int(ms), "ms")).replace("T", " ")
    for tail, plain in ((".000", ""), (":00", ""), (" 00:00", "")):
        if not text.endswith(tail):
            break
        text = text.removesuffix(tail) + plain
    return text


# ---------------------------------------------------------------------- rows
def _checked(series: Series, page: Page) -> Rows:
    """Return the rows of a page as the contract of `Page` says they are; RunError where a venue's code breaks it."""
    columns = COLUMNS[series.kind]
    if list(page.rows) != list(columns):
        raise RunError(f"{shown(series)}: received a page with columns {list(page.rows)}; {list(columns)} are needed")
    times = np.asarray(page.rows["ts"], "int64")
    key = np.asarray(page.rows[_key(series.kind)], "int64")
    if len(times) and (times.min() < page.start or times.max() >= page.end or (np.diff(key) <= 0).any()):
        raise RunError(
            f"{shown(series)}: received a page of [{page.start}, {page.end}) whose rows are outside of it, twice there "
            "or not in order"
        )
    return {
        name: np.asarray(page.rows[name], dtype=object if type_ == "str" else type_) for name, type_ in columns.items()
    }


def _key(kind: str) -> str:
    return "trade_id" if kind == "trades" else "ts"


def _joined(kind: str, pieces: list[Rows]) -> Rows:
    """Return all rows, one for each key, sorted; of several the last counts."""
    if not pieces:
        return empty_rows(kind)
    rows = {name: np.concatenate([piece[name] for piece in pieces]) for name in COLUMNS[kind]}
    key = rows[_key(kind)]
    order = np.argsort(key, kind="stable")
    last = order[np.r_[key[order][1:] != key[order][:-1], True]] if len(order) else order
    return {name: values[last] for name, values in rows.items()}


def _merged(
    kind: str, old: Rows, new: Rows, asked: np.ndarray = NO_RANGES
) -> tuple[Rows, list[tuple[int, dict[str, Any], dict[str, Any]]], int]:
    """Return old and new rows together, the (ts, old values, new values) that differ, and how many old ones are gone.

    An old row in a range that was asked for, and is not among the new ones, stays: the venue shows it no more.
    """
    was, now = old[_key(kind)], new[_key(kind)]
    replaced = np.isin(was, now, assume_unique=True)
    gone = int((inside(asked, old["ts"]) & ~replaced).sum())
    revised = []
    if replaced.any():
        before = np.flatnonzero(replaced)
        after = np.searchsorted(now, was[before])
        for name, at in _differences(old, new, before, after):
            revised.append((name, at))
    changes = _by_row(old, new, revised)
    rows = {name: np.concatenate([old[name][~replaced], new[name]]) for name in old}
    order = np.argsort(rows[_key(kind)], kind="stable")
    return {name: values[order] for name, values in rows.items()}, changes, gone


def _differences(old: Rows, new: Rows, before: np.ndarray, after: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (column, pairs of positions) where values differ; NaN is the same as NaN."""
    for name, values in old.items():
        left, right = values[before], new[name][after]
        same = left == right
        if left.dtype.kind == "f":
            same |= np.isnan(left) & np.isnan(right)
        differ = np.flatnonzero(~same)
        if len(differ):
            yield name, np.column_stack([before[differ], after[differ]])


def _by_row(
    old: Rows, new: Rows, columns: list[tuple[str, np.ndarray]]
) -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
    """Turn (column, positions) into one entry a row; a venue revises few."""
    found: dict[int, tuple[int, dict[str, Any], dict[str, Any]]] = {}
    for name, pairs in columns:
        for before, after in pairs.tolist():
            _, was, now = found.setdefault(before, (int(old["ts"][before]), {}, {}))
            was[name], now[name] = _scalar(old[name][before]), _scalar(new[name][after])
    return [found[row] for row in sorted(found)]


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(one, float) and math.isnan(one) else one for name, one in values.items()}


def _unpaid(times: np.ndarray, known: np.ndarray, listed: int | None) -> np.ndarray:
    """Return the known ranges in which funding should have been paid at least once, and was not."""
    if not len(times):
        return known
    stops = np.append(times[1:], known[-1, 1]) if len(known) else times[1:]
    starts = times[: len(stops)] + _LONGEST_FUNDING
    late = stops - starts > _SLACK
    begin = int(known[0, 0]) if len(known) else int(times[0])
    late_first = times[0] - max(begin, begin if listed is None else listed) > _LONGEST_FUNDING + _SLACK
    before = [[begin, times[0]]] if late_first else NO_RANGES
    gaps = union(np.column_stack([starts[late], stops[late]]), before)
    return without(gaps, without(gaps, known))


# ---------------------------------------------------------------------- files
def _unit(series: Series) -> str:
    """Return what one part holds: a year, a month of minutes, a day of seconds or trades.

    >>> [_unit(Series("X", "candles", bar)) for bar in ("1s", "15m", "1H", "1Dutc", "1Mutc")]
    ['D', 'M', 'Y', 'Y', 'Y']
    """
    if series.kind == "trades":
        return "D"
    letter = re.match(r"\d*([A-Za-z])", series.bar or "")
    return {"s": "D", "m": "M"}.get(letter[1] if letter else "", "Y")


def _bounds(name: str) -> tuple[int, int]:
    start = np.datetime64(name)  # a year, a month or a day, as it is written
    return int(start.astype("M8[ms]").astype("int64")), int((start + 1).astype("M8[ms]").astype("int64"))


def _part(path: Path, kind: str) -> Rows:
    try:
        table = pq.read_table(io.BytesIO(path.read_bytes()))
        return rows_of(kind, table)
    except FileNotFoundError:
        return empty_rows(kind)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise StoreError(
            f"{path}: is damaged ({error}); delete it, and the next download brings its bars again"
        ) from None


def _csv_lines(kind: str, rows: Rows) -> bytes:
    from pyarrow import csv  # noqa: PLC0415  only who asks for CSV needs it

    table = arrow_table(kind, rows)
    columns = [
        pa.array(rows[name], from_pandas=True) if COLUMNS[kind][name] == "float64" else table.column(name)
        for name in table.column_names
    ]
    sink = io.BytesIO()
    plain = csv.WriteOptions(include_header=False, quoting_style="none")
    csv.write_csv(pa.table(columns, names=table.column_names), sink, plain)
    return sink.getvalue()


def _learn(coverage: Coverage, entry: Entry) -> None:
    if entry.reason:
        coverage.refuse(entry.start, entry.end, entry.reason)
    else:
        coverage.learn(entry.start, entry.end, entry.bars)


def _close(state: _State) -> None:
    if state.journal is not None:
        state.journal.close()
        state.journal = None

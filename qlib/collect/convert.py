"""What was collected -> a store: bars on a calendar that never closes, holes as holes.

    convert("data/klines", "data/qlib_data", "1H")         calendars/60min.txt, instruments/all.txt, features/...
    convert("data/klines", "data/qlib_data", "1Dutc")      beside it, at freq day
    convert("data/klines", "data/qlib_data", "1H")         later: what has changed since, and nothing else

A bar [t, t + size) is stamped t and holds what was known when it was over, at t + size:

    open high low close      as traded                        missing bars are NaN, nothing is filled
    volume amount vwap       base units, quote units, amount / volume (NaN without volume)
    change                   close / close of the bar before - 1; NaN where that bar is missing
    factor                   1
    paused                   1 for the flat bar that a venue shows while nobody could trade, else 0
    funding                  sum of the rates paid at moments ts with t <= ts < t + size; NaN where none was paid
    funding_count            how many; 0: it is known that none was; NaN: it is not known
    mark                     mark price at t + size: the close of the mark bar that ends there
    oi                       open interest, base units: of the period that ends at t + size

So a decision at t + size never knows a payment, a mark price or an open interest of later. A payment at 08:00 is in the
bar that opens at 08:00 and known when that is over; whoever held the position at 08:00 has paid it. Rates of one bar
are added as the decimals they are. An instrument without such a series lacks the field.

The calendar has every bar from the first to the last one stored. An instrument is listed from its first bar until it
was delisted or, before that, until the end of what the venue was asked for: a hole in there is a hole to
`check_data_health`. Bars off the grid go to quarantine/<freq>.csv in the store.

`convert/<freq>.json` in the store remembers which files were read (SHA-256). The next run reads what has changed, and
ends in the same bytes as a conversion of everything. Each run happens whole or not at all.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.bar_store import BarStore, read_bars, time_text
from qlib.collect.coverage import inside, union, without
from qlib.collect.decimals import roomy, scaled, unscaled
from qlib.collect.dump_report import DumpReport
from qlib.collect.dump_run import ALL, Run
from qlib.collect.journal import read_journal
from qlib.collect.source import COLUMNS, Series
from qlib.collect.sources import Bars, Part, Reading, checked
from qlib.data.calendar import always_open_calendar
from qlib.data.grid import Grid
from qlib.data.storage.file_storage import calendar_freqs, same_freq
from qlib.data.storage.instruments import instruments_text, read_instruments
from qlib.data.storage.transaction import Change, replacing
from qlib.data.storage.writer import joined_spans
from qlib.data.universe import Spans
from qlib.errors import InputError, MissingDataError, RunError, StoreError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.paths import fname_to_code
from qlib.utils.time import Freq

logger = get_module_logger("convert")
MERGE: Final = "convert"  # what `Run` is told: times are added as by dump_update, values replaced as by dump_fix
VERSION: Final = 1
_PLAIN: Final = ("open", "high", "low", "close", "volume", "amount", "vwap")
_ALWAYS: Final = (*_PLAIN, "change", "factor", "paused")
_BAR = re.compile(r"(\d*)([A-Za-z]+?)(?:utc)?")
_NEVER: Final = -(2**62)  # ms; long before the first bar of all


@dataclass
class Converted:
    """What a conversion did; `str()` of it is what the command line prints."""

    root: Path
    bar: str
    freq: str
    whole: bool
    instruments: int = 0
    bars: int = 0
    touched: dict[str, int | None] = field(default_factory=dict)  # symbol -> ms from which on; None: all of it
    fields: dict[str, int] = field(default_factory=dict)  # field -> instruments that have it
    settlements: int = 0
    shared: int = 0  # bars with more than one payment
    calendar: tuple[str, str, int] = ("", "", 0)
    quarantined: dict[str, list[str]] = field(default_factory=dict)
    dry_run: bool = False

    def __str__(self) -> str:
        what = "all of it" if self.whole else f"{len(self.touched)} of {self.instruments} instruments had something new"
        lines = [f"{self.bar} -> {self.root} ({self.freq}): {what}" + (", nothing was written" if self.dry_run else "")]
        if self.touched:
            first, last, entries = self.calendar
            lines.append(f"  calendar     {first} to {last}, {entries:,} bars")
            lines.append(f"  instruments  {self.instruments}, {self.bars:,} bars read")
            lines += [f"  {name:<13}{count} instruments" for name, count in self.fields.items() if name not in _ALWAYS]
        if self.settlements:
            lines.append(f"  payments     {self.settlements:,} of funding, {self.shared:,} bars with several")
        if self.quarantined:
            name, times = next(iter(self.quarantined.items()))
            total = sum(map(len, self.quarantined.values()))
            lines.append(
                f"  quarantined  {total} bars off the grid: {name} {times[0]} ... (quarantine/{self.freq}.csv)"
            )
        return "\n".join(lines)


def freq_of(bar: str) -> Freq:
    """Return the bar size that a venue's spelling means: `m` is a minute and `M` a month.

    >>> [str(freq_of(bar)) for bar in ("1m", "4H", "1Dutc", "1W", "1M")]
    ['1min', '240min', 'day', '1week', '1month']
    """
    match = _BAR.fullmatch(bar)
    if match is None:
        raise InputError(f"bar: received {bar!r}; a size such as 15m, 1H or 1Dutc is allowed")
    unit = {"m": "min", "M": "month"}.get(match[2], match[2])
    return Freq(f"{match[1]}{unit}")


def convert(
    klines: str | os.PathLike[str],
    qlib_dir: str | os.PathLike[str],
    bar: str,
    *,
    freq: str | None = None,
    symbols: Iterable[str] | None = None,
    full: bool = False,
    dry_run: bool = False,
    max_workers: int = 4,
) -> Converted:
    """Bring what was collected at one bar size into a store.

    Parameters
    ----------
    klines
        Folder of a `BarStore`, or with CSV files `<symbol>/<symbol>_<bar>.csv` of the same columns.
    qlib_dir
        The store; made if it does not exist. Other frequencies in it stay.
    bar
        The bar size as the venue spells it: "1H", "1Dutc".
    freq
        What it is called in the store; by default what `freq_of` says.
    symbols
        Only these; by default all that have candles of this size. A store that holds others at this frequency is
        written anew.
    full
        Read everything, whatever was read before.
    dry_run
        Prepare everything, change nothing.
    max_workers
        Threads that read.

    Raises
    ------
    MissingDataError
        There are no such bars; the message says what there is.
    InputError
        The bars cannot be stored at this frequency.
    RunError
        The disk refuses. In each case the store is as it was.

    >>> done = convert("data/klines", "data/qlib_data", "1H")  # doctest: +SKIP
    """
    size = freq_of(bar) if freq is None else Freq(freq)
    root = Path(qlib_dir).expanduser().resolve()
    now = _inventory(Path(klines).expanduser(), bar, symbols)
    before = None if full else _remembered(root, size)
    since = None if before is None else _changed(before, now)
    old = {} if before is None or since is None else before["symbols"]
    for name, entry in now.items():
        same = old[name] if name in old and name not in (since or {}) else None
        entry.note |= entry.ends() if same is None else {"first": same["first"], "last": same["last"]}
    times = _grid(now, size)
    if before is not None and not np.isin(min(one["first"] for one in before["symbols"].values()), times):
        since = None  # the grid begins at another hour
    done = Converted(root, bar, str(size), since is None, len(now))
    since = dict.fromkeys(now, _NEVER) if since is None else since
    done.touched = {name: None if start == _NEVER else start for name, start in since.items()}
    since = {name: start for name, start in since.items() if start <= now[name].note["last"]}
    note = _note(now, bar, size, times)
    if not since and before == note:
        return done
    report = None
    try:
        with replacing(root, dry_run=dry_run) as change:
            if since:
                report = _dump(change, now, since, size, times, done, max_workers)
            _write_notes(change, note, size)
    except OSError as error:
        raise RunError(f"{root} is as it was: {error.strerror or error} ({error.filename})") from error
    done.dry_run = dry_run
    if report is not None:
        done.calendar, done.quarantined = report.calendar, report.quarantined
    for line in str(done).splitlines():
        logger.info(line)
    return done


def _dump(
    change: Change,
    now: Mapping[str, _Entry],
    since: Mapping[str, int],
    size: Freq,
    times: np.ndarray,
    done: Converted,
    max_workers: int,
) -> DumpReport:
    made: dict[str, list[int]] = {}
    parts: list[Part] = [functools.partial(_bars, now[name], since[name], size, times, made) for name in sorted(since)]
    command = ALL if done.whole else MERGE
    report = Run(command, change, Reading(freq=size), times.astype("M8[ms]").astype("M8[s]")).go(parts, max_workers)
    done.bars, done.settlements, done.shared = (sum(one[place] for one in made.values()) for place in range(3))
    for entry in now.values():
        for name in entry.note["fields"]:
            done.fields[name] = done.fields.get(name, 0) + 1
    return report


# ---------------------------------------------------------------------- what there is
@dataclass
class _Entry:
    """One symbol: its series, and what is remembered of them."""

    folder: Path
    symbol: str
    candles: Series
    others: dict[str, list[Series]]  # funding, mark, oi
    bar_store: bool
    note: dict[str, Any] = field(default_factory=dict)
    journals: dict[str, int] = field(default_factory=dict)  # series -> first ms of what waits in its journal

    def read(self, series: Series, start: int | None = None, end: int | None = None) -> pd.DataFrame:
        if self.bar_store:
            return BarStore(self.folder).read(series, start, end)
        return read_bars(self.folder, series.symbol, series.bar, series.kind, start=start, end=end)

    def known(self, series: Series) -> np.ndarray:
        """Return the ranges that the venue was asked for."""
        return BarStore(self.folder).coverage(series).known

    def ends(self) -> dict[str, int]:
        """Return the first and the last opening of its candles."""
        store = BarStore(self.folder)
        parts = sorted(self.note["series"][_name(self.candles)]["parts"]) if self.bar_store else []
        waits = bool(self.journals.get(_name(self.candles)))
        if not parts or waits:
            ts = self.read(self.candles)["ts"]
        else:
            edges = [store.read(self.candles, *_range(name))["ts"] for name in {parts[0], parts[-1]}]
            ts = pd.concat(edges)
        if not len(ts):
            raise MissingDataError(f"no bars of {self.symbol} at {self.candles.bar} in {self.folder}")
        return {"first": int(ts.min()), "last": int(ts.max())}


def _name(series: Series) -> str:
    return " ".join(filter(None, (series.kind, series.bar)))


def _range(part: str) -> tuple[int, int]:
    start = np.datetime64(part)  # a year, a month or a day, as its file is called
    return int(start.astype("M8[ms]").astype(np.int64)), int((start + 1).astype("M8[ms]").astype(np.int64))


def _inventory(folder: Path, bar: str, symbols: Iterable[str] | None) -> dict[str, _Entry]:
    if not folder.is_dir():
        raise MissingDataError(f"klines: {folder} does not exist; `qlib collect` makes it")
    stored = BarStore(folder).series()
    every = stored or _csv_series(folder, bar)
    of_symbol: dict[str, list[Series]] = {}
    for series in every:
        of_symbol.setdefault(series.symbol, []).append(series)
    found = {}
    for symbol, own in of_symbol.items():
        candles = next((one for one in own if one.kind == "candles" and one.bar == bar), None)
        if candles is not None:
            others = {kind: [one for one in own if one.kind == kind] for kind in ("funding", "mark", "oi")}
            found[symbol] = _Entry(folder, symbol, candles, others, bool(stored))
    if not found:
        bars = sorted({str(series.bar) for series in every if series.kind == "candles"})
        raise MissingDataError(
            f"bar: no candles of {bar} in {folder}; stored there: {', '.join(bars) or 'nothing'}"
            f"{did_you_mean(bar, bars)}"
        )
    if symbols is not None:
        chosen = list(symbols)
        for symbol in chosen:
            if symbol not in found:
                raise MissingDataError(
                    f"symbols: no candles of {symbol} at {bar} in {folder}{did_you_mean(symbol, found)}"
                )
        found = {symbol: found[symbol] for symbol in chosen}
    for entry in found.values():
        _fingerprint(entry)
    return found


def _csv_series(folder: Path, bar: str) -> list[Series]:
    """Return the series of CSV files that lie where a `BarStore` would write them."""
    found = []
    for path in sorted(folder.glob("*/*.csv")):
        words = path.stem.removeprefix(f"{path.parent.name}_").split("_")
        symbol, kind = fname_to_code(path.parent.name), words[-1] if words[-1] in COLUMNS else "candles"
        size = words[0] if kind != "funding" and words[0] != kind else None
        if path.stem.startswith(f"{path.parent.name}_") and kind != "trades":
            found.append(Series(symbol, kind, fname_to_code(size) if size else None))
    return found


def _fingerprint(entry: _Entry) -> None:
    """Note what of every series is on the disk: which files, which ranges are known, when it was listed."""
    notes: dict[str, Any] = {}
    fields = [*_ALWAYS]
    for kind, own in entry.others.items():
        fields += {"funding": ["funding", "funding_count"]}.get(kind, [kind]) if own else []
    store = BarStore(entry.folder)
    for series in (entry.candles, *(one for own in entry.others.values() for one in own)):
        note: dict[str, Any] = {}
        if entry.bar_store:
            waiting = read_journal(store.path(series) / "journal", series.kind)
            if waiting:
                entry.journals[_name(series)] = min(one.start for one in waiting)
            coverage = store.coverage(series)
            files = {name: store.path(series) / f"{name}.parquet" for name in sorted(coverage.parts)}
            note["parts"] = {name: [_sha(path), coverage.parts[name]] for name, path in files.items() if path.exists()}
            if series.kind == "funding":
                note["known"] = coverage.known.tolist()
            if series == entry.candles:
                known_end = int(coverage.known[-1, 1]) if len(coverage.known) else None
                ends = [end for end in (known_end, coverage.delisted) if end is not None]
                entry.note["until"] = min(ends, default=None)
        else:
            path = store.csv_path(series)
            note["parts"] = {"csv": [_sha(path), 0]}
            entry.note["until"] = None
        notes[_name(series)] = note
    entry.note |= {"series": notes, "fields": fields}


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------------- what has changed
def _note_file(size: Freq) -> str:
    return f"convert/{size}.json"


def _remembered(root: Path, size: Freq) -> dict[str, Any] | None:
    """Return what the last conversion noted; None where there is none that can be gone on from."""
    path = root / _note_file(size)
    stored = calendar_freqs(root) if root.is_dir() else []
    if not path.exists() or same_freq(size, stored) is None or (root / f"quarantine/{size}.csv").exists():
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(note, dict) or note["version"] != VERSION:
            return None
    except (ValueError, KeyError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); delete it, and everything is converted anew") from None
    return note


def _changed(before: dict[str, Any], now: Mapping[str, _Entry]) -> dict[str, int] | None:
    """Return from which ms on each symbol has changed; None where the store has to be written anew."""
    old = before["symbols"]
    if not old.keys() <= now.keys() or before["bar"] != next(iter(now.values())).candles.bar:
        return None
    found: dict[str, int] = {}
    for name, entry in now.items():
        if name not in old:
            found[name] = _NEVER
            continue
        if entry.note["fields"] != old[name]["fields"] or not old[name]["series"].keys() <= entry.note["series"].keys():
            return None
        starts = [*entry.journals.values()]
        for key, note in entry.note["series"].items():
            was = old[name]["series"].get(key, {"parts": {}})
            for part, (_, rows) in was["parts"].items():
                if part not in note["parts"] or note["parts"][part][1] < rows:
                    return None  # rows that were there have gone
            changed = [part for part, told in note["parts"].items() if was["parts"].get(part) != told]
            starts += [_NEVER if part == "csv" else _range(part)[0] for part in changed]
            left, right = (union(one.get("known", [[0, 0]])) for one in (was, note))
            starts += [int(one[0, 0]) for one in (without(left, right), without(right, left)) if len(one)]
        if starts:
            # What a file says of its first moments belongs to bars of any of these sizes that are not over by then.
            sizes = [freq_of(key.split(" ")[1]).seconds for key in entry.note["series"] if " " in key]
            found[name] = max(min(starts) - 2000 * max(sizes), _NEVER)
    return found


def _grid(now: Mapping[str, _Entry], size: Freq) -> np.ndarray:
    """Return the opening of every bar from the first one stored to the last, int64 ms."""
    first, last = min(one.note["first"] for one in now.values()), max(one.note["last"] for one in now.values())
    start, end = (np.datetime64(ms, "ms").astype("M8[ns]") for ms in (first, last))
    offset = None
    if size.intraday:
        offset = start - Grid.of().opens(np.array([start]), size)[0]
    elif start != start.astype("M8[D]"):
        name = next(one for one in now.values() if one.note["first"] == first)
        raise InputError(
            f"bar: {name.candles.bar} of {name.symbol} opens at {time_text(first)}, but bars of a {size.base} open at "
            "midnight UTC; take the bar size that does, or name another, such as freq='24h'"
        )
    times = always_open_calendar(size, start, end, offset).times
    return times[(times >= start) & (times <= end)].astype("M8[ms]").astype(np.int64)


# ---------------------------------------------------------------------- the bars of one symbol
def _bars(entry: _Entry, since: int, size: Freq, times: np.ndarray, made: dict[str, list[int]]) -> list[Bars]:
    """Return the bars of a symbol from `since` on."""
    first, last = entry.note["first"], entry.note["last"]
    step = 1000 * size.seconds + (0 if size.intraday else 3 * 86_400_000)  # months differ
    start = None if since == _NEVER else max(since, first) - step
    candles = entry.read(entry.candles, start)
    low = times.searchsorted(first if start is None else max(start, first))
    opens = times[low : times.searchsorted(last, "right")]
    ends = Grid.of().ends(opens.astype("M8[ms]").astype("M8[ns]"), size).astype("M8[ms]").astype(np.int64)
    ts = candles["ts"].to_numpy()
    at = opens.searchsorted(ts)
    on_grid = np.isin(ts, opens)
    columns = {name: _placed(candles[name].to_numpy(np.float64), at, on_grid, len(opens)) for name in _PLAIN}
    columns["change"] = columns["close"] / np.concatenate([[np.nan], columns["close"][:-1]]) - 1
    columns["factor"] = np.where(np.isnan(columns["close"]), np.nan, 1.0)
    columns["paused"] = _placed(1.0 - candles["traded"].to_numpy(np.float64), at, on_grid, len(opens))
    counted = [len(ts), 0, 0]
    if entry.others["funding"]:
        series = entry.others["funding"][0]
        paid = entry.read(series, start)
        stamps, rates = paid["ts"].to_numpy(), paid["rate"].to_numpy()
        known = entry.known(series) if entry.bar_store else _between(stamps, opens, ends)
        columns["funding"], columns["funding_count"] = funding_of(stamps, rates, opens, ends, known)
        counted[1:] = [int(np.nansum(columns["funding_count"])), int((columns["funding_count"] > 1).sum())]
    for name, value in (("mark", "close"), ("oi", "oi_base")):
        if entry.others[name]:
            columns[name] = _at_end(entry, entry.others[name], value, ends, start)
    made[entry.symbol] = counted
    if since != _NEVER:
        kept = opens >= since
        opens, columns = opens[kept], {name: values[kept] for name, values in columns.items()}
    off = candles[~on_grid]
    if since != _NEVER:
        off = off[off["ts"] >= since]
    values = np.array([columns[name] for name in entry.note["fields"]])
    extra = np.array([_of(off, name) for name in entry.note["fields"]]).reshape(len(values), len(off))
    seconds = np.concatenate([opens, off["ts"].to_numpy()])
    values = np.concatenate([values, extra], axis=1)
    values[np.isnan(values)] = np.nan  # one NaN, bit for bit
    with np.errstate(over="ignore"):
        exact, values = values, values.astype(np.float32)
    if (np.isinf(values) & np.isfinite(exact)).any():
        raise InputError(f"{entry.symbol}: a value of {exact[np.isinf(values)][0]:g} is too large for float32")
    moments = seconds.astype("M8[ms]").astype("M8[s]")
    return [
        checked(entry.symbol, f"{entry.candles.bar} of {entry.symbol}", moments, entry.note["fields"], values, size)
    ]


def _of(frame: pd.DataFrame, name: str) -> np.ndarray:
    return frame[name].to_numpy(np.float64) if name in frame else np.full(len(frame), np.nan)


def _placed(values: np.ndarray, at: np.ndarray, on_grid: np.ndarray, length: int) -> np.ndarray:
    placed = np.full(length, np.nan)
    placed[at[on_grid]] = values[on_grid]
    return placed


def funding_of(
    ts: np.ndarray, rate: np.ndarray, opens: np.ndarray, ends: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of the rates paid in each bar [open, end), and how many there were.

    Parameters
    ----------
    ts, rate
        When payments were made (int64 ms, ascending), and their rates; NaN: not known.
    opens, ends
        The bars, int64 ms, ascending.
    known
        Ranges [start, end) of which every payment is known; a bar that is not wholly inside one is NaN twice.

    >>> opens, known = np.arange(0, 40, 10), np.array([[0, 30]])
    >>> paid, count = funding_of(np.array([0, 10, 19]), np.array([0.1, 0.1, 0.2]), opens, opens + 10, known)
    >>> paid.tolist(), count.tolist()
    ([0.1, 0.3, nan, nan], [1.0, 2.0, 0.0, nan])
    """
    whole = _wholly(known, opens, ends)
    low, high = ts.searchsorted(opens), ts.searchsorted(ends)
    count = np.where(whole, high - low, np.nan)
    odd = np.isnan(rate)
    counts, digits = scaled(np.where(odd, 0.0, rate))
    sums = np.concatenate([[0], np.cumsum(roomy(counts))])
    lost = np.concatenate([[0], np.cumsum(odd)])
    paid = unscaled(sums[high] - sums[low], digits)
    there = whole & (high > low) & (lost[high] == lost[low])
    return np.where(there, paid, np.nan), count


def _between(ts: np.ndarray, opens: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the range from the first bar with a payment to the last: a CSV file does not say what was asked for."""
    low, high = opens.searchsorted(ts[[0, -1]], "right") - 1 if len(ts) else (0, -1)
    return union([[opens[max(low, 0)], ends[high]]] if high >= 0 else [[0, 0]])


def _wholly(known: np.ndarray, opens: np.ndarray, ends: np.ndarray) -> np.ndarray:
    if not len(known):
        return np.zeros(len(opens), bool)
    at = np.searchsorted(known[:, 0], opens, "right") - 1
    return inside(known, opens) & (ends <= known[np.maximum(at, 0), 1])


def _at_end(entry: _Entry, own: list[Series], value: str, ends: np.ndarray, start: int | None) -> np.ndarray:
    """Return what a mark price or open interest was when each bar was over, from bars of any size that end then."""
    found = np.full(len(ends), np.nan)
    for series in sorted(own, key=lambda one: (one.bar != entry.candles.bar, freq_of(str(one.bar)).seconds)):
        size = freq_of(str(series.bar))
        back = 1000 * size.seconds + (0 if size.intraday else 3 * 86_400_000)
        rows = entry.read(series, None if start is None else start - back)
        stamps = rows["ts"].to_numpy().astype("M8[ms]").astype("M8[ns]")
        over = Grid.of().ends(stamps, size).astype("M8[ms]").astype(np.int64)
        at = over.searchsorted(ends)
        there = (at < len(over)) & np.isnan(found)
        there[there] &= over[at[there]] == ends[there]
        found[there] = rows[value].to_numpy(np.float64)[at[there]]
    return found


# ---------------------------------------------------------------------- beside the bars
def _note(now: Mapping[str, _Entry], bar: str, size: Freq, times: np.ndarray) -> dict[str, Any]:
    """Return what is remembered of a conversion."""
    for entry in now.values():
        until = entry.note["until"]
        bars = len(times) if until is None else int(times.searchsorted(until))
        listed = int(times[bars - 1]) if bars and until is not None else entry.note["last"]
        entry.note["listed_until"] = max(listed, entry.note["last"])
    symbols = {name: now[name].note for name in sorted(now)}
    return {"version": VERSION, "bar": bar, "freq": str(size), "symbols": symbols}


def _write_notes(change: Change, note: dict[str, Any], size: Freq) -> None:
    """Write who was listed when, and what was read."""
    file, spans, ours = _note_file(size), _spans(note), set(note["symbols"])
    for path in sorted(change.old.glob("convert/*.json")) if change.old is not None else []:
        old = _spans(json.loads(path.read_text(encoding="utf-8")))
        ours |= set(old)
        if path.name != Path(file).name:
            spans = joined_spans(spans, old)
    listed = None if change.old is None else change.old / "instruments/all.txt"
    if listed is not None and listed.exists():  # and instruments that came from elsewhere
        spans |= {name: own for name, own in read_instruments(listed).items() if name not in ours}
    change.write(file, (json.dumps(note, indent=1, sort_keys=True) + "\n").encode())
    change.write("instruments/all.txt", instruments_text(dict(sorted(spans.items())), intraday=size.intraday).encode())


def _spans(note: dict[str, Any]) -> Spans:
    return {
        name: [(pd.Timestamp(one["first"], unit="ms"), pd.Timestamp(one["listed_until"], unit="ms"))]
        for name, one in note["symbols"].items()
    }

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
    index                    index price of the spot markets at t + size, in the same way
    oi                       open interest, base units: of the period that ends at t + size

So a decision at t + size never knows a payment, a mark price or an open interest of later. A payment at 08:00 is in the
bar that opens at 08:00 and known when that is over; whoever held the position at 08:00 has paid it. Rates of one bar
are added as the decimals they are. An instrument without such a series lacks the field.

The calendar has every bar from the first to the last one stored. An instrument is listed from its first bar until it
was delisted or, before that, until the end of what the venue was asked for: a hole in there is a hole to
`check_data_health`. Bars off the grid go to quarantine/<freq>.csv in the store.

`convert/<freq>.json` in the store remembers which files were read (SHA-256). The next run reads what has changed, and
ends in the same bytes as a conversion of everything. Each run happens whole or not at all.

With `actions` (`qlib.crypto.actions`) what happened to names and units is applied to the numbers as they were read:
`factor` is adjusted price / price as traded then. Anything new has everything converted anew.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.bar_store import time_text
from qlib.collect.coverage import union, without
from qlib.collect.dump_report import DumpReport
from qlib.collect.dump_run import ALL, Run
from qlib.collect.kline_bars import NEVER, Actions, acted_bars, bars_to_store, check_whole
from qlib.collect.klines import ALWAYS, Klines, freq_of, inventory, part_range
from qlib.collect.sources import Part, Reading
from qlib.data.calendar import always_open_calendar
from qlib.data.grid import Grid
from qlib.data.storage.file_storage import calendar_freqs, same_freq
from qlib.data.storage.instruments import instruments_text, read_instruments
from qlib.data.storage.transaction import Change, replacing
from qlib.data.storage.writer import joined_spans
from qlib.data.universe import Spans
from qlib.errors import InputError, MissingDataError, RunError, StoreError
from qlib.log import get_module_logger
from qlib.utils.time import Freq

__all__ = ["Converted", "convert", "freq_of"]

logger = get_module_logger("convert")
MERGE: Final = "convert"  # what `Run` is told: times are added as by dump_update, values replaced as by dump_fix
VERSION: Final = 1


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
    empty: list[str] = field(default_factory=list)  # symbols that were asked for, and have not one bar
    acted: list[str] = field(default_factory=list)  # symbols of which the table of actions says something
    strangers: list[str] = field(default_factory=list)  # instruments of that table that are not here
    dry_run: bool = False

    def __str__(self) -> str:
        what = "all of it" if self.whole else f"{len(self.touched)} of {self.instruments} instruments had something new"
        lines = [f"{self.bar} -> {self.root} ({self.freq}): {what}" + (", nothing was written" if self.dry_run else "")]
        first, last, entries = self.calendar
        if entries:
            lines.append(f"  calendar     {first} to {last}, {entries:,} bars")
            lines.append(f"  instruments  {self.instruments}, {self.bars:,} bars read")
            lines += [f"  {name:<14}{count} instruments" for name, count in self.fields.items() if name not in ALWAYS]
        if self.settlements:
            lines.append(f"  payments     {self.settlements:,} of funding, {self.shared:,} bars with several")
        if self.acted:
            lines.append(f"  actions      applied to {', '.join(self.acted)}")
        if self.strangers:
            lines.append(f"  actions      of what is not here: {', '.join(self.strangers)}")
        if self.empty:
            lines.append(f"  without bars {', '.join(self.empty)}")
        if self.quarantined:
            name, times = next(iter(self.quarantined.items()))
            total = sum(map(len, self.quarantined.values()))
            lines.append(
                f"  quarantined  {total} bars off the grid: {name} {times[0]} ... (quarantine/{self.freq}.csv)"
            )
        return "\n".join(lines)


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
    actions: Actions | None = None,
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
    actions
        What happened to names and units: a `qlib.crypto.actions.Actions`.

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
    if max_workers < 1:
        raise InputError(f"workers: received {max_workers}; 1 or more is allowed")
    now = inventory(Path(klines).expanduser(), bar, symbols)
    groups = [] if actions is None else actions.groups(now)
    acted = {"digest": actions.digest, "of": sum(groups, [])} if actions is not None and groups else None
    before = None if full else _remembered(root, size)
    if before is not None and _acted(before) != acted:
        before = None
    since = None if before is None else _changed(before, now)
    old = {} if before is None or since is None else before["symbols"]
    for name, entry in now.items():
        same = old[name] if name in old and name not in (since or {}) else None
        entry.note |= entry.ends() if same is None else {"first": same["first"], "last": same["last"]}
    empty = [name for name, entry in now.items() if "first" not in entry.note]
    now = {name: entry for name, entry in now.items() if name not in empty}
    if not now:
        raise MissingDataError(f"klines: there is not one bar of {bar} in {klines} ({', '.join(empty)})")
    times = _grid(now, size)
    if before is not None and not np.isin(min(one["first"] for one in before["symbols"].values()), times):
        since = None  # the grid begins at another hour
    note = _note(now, bar, size, times)
    if acted is not None:
        note["actions"] = acted | {"spans": before["actions"]["spans"] if before is not None else {}}
        if since or before != note:
            since = None  # what is new may be of any asset: everything is converted anew
    done = Converted(root, bar, str(size), since is None, len(now), empty=empty)
    if actions is not None:
        done.acted, done.strangers = sorted(sum(groups, [])), actions.strangers(now)
    since = {name: NEVER if since is None else since[name] for name in now if since is None or name in since}
    done.touched = {name: None if start == NEVER else start for name, start in since.items()}
    since = {name: start for name, start in since.items() if start <= now[name].note["last"]}
    if not since and before == note:
        return done
    report = None
    try:
        with replacing(root, dry_run=dry_run) as change:
            if since:
                together = [[now[name] for name in group if name in now] for group in groups]
                report = _dump(change, now, since, size, times, done, max_workers, actions, together, note)
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
    now: Mapping[str, Klines],
    since: Mapping[str, int],
    size: Freq,
    times: np.ndarray,
    done: Converted,
    max_workers: int,
    actions: Actions | None,
    together: list[list[Klines]],
    note: dict[str, Any],
) -> DumpReport:
    made: dict[str, list[int]] = {}
    spans: dict[str, tuple[int, int]] = {}
    grouped = {entry.symbol for group in together for entry in group}
    parts: list[Part] = [
        functools.partial(bars_to_store, now[name], since[name], size, times, made)
        for name in sorted(since)
        if name not in grouped
    ]
    if actions is not None:
        parts += [functools.partial(acted_bars, own, size, times, made, actions, spans) for own in together if own]
    command = ALL if done.whole else MERGE
    report = Run(command, change, Reading(freq=size), times.astype("M8[ms]").astype("M8[s]")).go(parts, max_workers)
    if "actions" in note:
        note["actions"]["spans"] = {name: list(spans[name]) for name in sorted(spans)}
        done.instruments = len(_spans(note))
    done.bars, done.settlements, done.shared = (sum(one[place] for one in made.values()) for place in range(3))
    for entry in now.values():
        for name in entry.note["fields"]:
            done.fields[name] = done.fields.get(name, 0) + 1
    return report


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


def _changed(before: dict[str, Any], now: Mapping[str, Klines]) -> dict[str, int] | None:
    """Return from which ms on each symbol has changed; None where the store has to be written anew."""
    old = before["symbols"]
    if not old.keys() <= now.keys() or before["bar"] != next(iter(now.values())).candles.bar:
        return None
    found: dict[str, int] = {}
    for name, entry in now.items():
        if name not in old:
            found[name] = NEVER
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
            starts += [NEVER if part == "csv" else part_range(part)[0] for part in changed]
            left, right = (union(one.get("known", [[0, 0]])) for one in (was, note))
            starts += [int(one[0, 0]) for one in (without(left, right), without(right, left)) if len(one)]
        if starts:
            # What a file says of its first moments belongs to bars of any of these sizes that are not over by then.
            sizes = [freq_of(key.split(" ")[1]).seconds for key in entry.note["series"] if " " in key]
            found[name] = max(min(starts) - 2000 * max(sizes), NEVER)
    return found


def _grid(now: Mapping[str, Klines], size: Freq) -> np.ndarray:
    """Return the opening of every bar from the first one stored to the last, int64 ms."""
    first, last = min(one.note["first"] for one in now.values()), max(one.note["last"] for one in now.values())
    start, end = (np.datetime64(ms, "ms").astype("M8[ns]") for ms in (first, last))
    offset = None
    check_whole(np.array([first]), next(one for one in now.values() if one.note["first"] == first))
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


# ---------------------------------------------------------------------- beside the bars
def _note(now: Mapping[str, Klines], bar: str, size: Freq, times: np.ndarray) -> dict[str, Any]:
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
    intraday = size.intraday
    for path in sorted(change.old.glob("convert/*.json")) if change.old is not None else []:
        old = _spans(json.loads(path.read_text(encoding="utf-8")))
        ours |= set(old)
        if path.name != Path(file).name:
            spans = joined_spans(spans, old)
            intraday |= Freq(path.stem).intraday
    listed = None if change.old is None else change.old / "instruments/all.txt"
    if listed is not None and listed.exists():  # and instruments that came from elsewhere
        spans |= {name: own for name, own in read_instruments(listed).items() if name not in ours}
    change.write(file, (json.dumps(note, indent=1, sort_keys=True) + "\n").encode())
    change.write("instruments/all.txt", instruments_text(dict(sorted(spans.items())), intraday=intraday).encode())


def _spans(note: dict[str, Any]) -> Spans:
    acted = note.get("actions", {"of": [], "spans": {}})
    lives = {name: (one["first"], one["listed_until"]) for name, one in note["symbols"].items()}
    lives = {name: life for name, life in lives.items() if name not in acted["of"]} | acted["spans"]
    return {
        name: [(pd.Timestamp(first, unit="ms"), pd.Timestamp(last, unit="ms"))]
        for name, (first, last) in sorted(lives.items())
    }


def _acted(note: dict[str, Any]) -> dict[str, Any] | None:
    """Return which table of actions a note is of, and to which symbols it was applied."""
    return {name: note["actions"][name] for name in ("digest", "of")} if "actions" in note else None

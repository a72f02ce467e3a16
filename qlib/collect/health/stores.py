"""A store as bars, and what is wrong with its files.

    for bars in read_store(Path("~/.qlib/qlib_data/sample_data").expanduser()): ...

A damaged file is a finding that quotes what the reader says; everything else in the store is still checked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qlib.collect.health.bars import FIELDS, SINGLE, Bars, Listing, find_gaps, never_closes
from qlib.collect.health.report import Findings
from qlib.data.calendar import Calendar, read_calendar
from qlib.data.storage.arena import read_many
from qlib.data.storage.binary import read_bin, read_start
from qlib.data.storage.file_storage import calendar_freqs, same_freq
from qlib.data.storage.instruments import Spans, read_instruments
from qlib.errors import InputError, MissingDataError, StoreError
from qlib.utils.paths import fname_to_code, instrument_folder
from qlib.utils.time import Freq


@dataclass
class StoreBars(Bars):
    """Bars of one frequency of a store; `folders` are the instruments' folders as they are on the disk."""

    top: str = ""
    folders: list[str] = field(default_factory=list)
    threads: int = 2
    damaged: set[tuple[str, str]] = field(default_factory=set)

    def block(self, low: int, high: int) -> dict[str, np.ndarray]:
        fields, entries = self.fields, len(self.times)
        folders, endings = self.folders[low:high], [f"{name}.{self.freq}.bin" for name in fields]
        out = {name: np.full((high - low, entries), np.nan, np.float32) for name in fields}
        if self.damaged.isdisjoint((folder, ending) for folder in folders for ending in endings):
            raw = read_many(self.top, folders, endings, 0, entries - 1, entries, threads=self.threads)
            for j, values in enumerate(out.values()):
                for i in np.flatnonzero(raw.count[:, j] > 0).tolist():
                    at = int(raw.first[i, j])
                    values[i, at : at + int(raw.count[i, j])] = raw.series(i, j)
            return out
        for name, ending in zip(fields, endings, strict=True):
            for i, folder in enumerate(folders):
                path = Path(self.top, folder, ending)
                if (folder, ending) not in self.damaged and path.exists():
                    first, series = read_bin(path, 0, None, entries)
                    out[name][i, first : first + len(series)] = series
        return out


def read_store(
    root: Path, freq: str | None = None, *, always_open: bool | None = None, threads: int = 2
) -> tuple[list[StoreBars], Findings]:
    """Return the frequencies of a store (or one of them) as bars, finest first, and findings about the whole store.

    Raises
    ------
    InputError
        The folder is no store, or holds nothing at `freq`.
    """
    if not root.is_dir():
        raise InputError(f"qlib_dir: there is no folder {root}")
    stored = calendar_freqs(root)
    if not stored:
        raise InputError(f"qlib_dir: {root} is no store: it has no calendars/<freq>.txt")
    if freq is not None:
        held = same_freq(freq, stored)
        if held is None:
            raise MissingDataError(f"freq: received {freq}; {root} holds {', '.join(stored)}")
        stored = [held]
    found = Findings()
    calendars = {one: calendar for one in stored if (calendar := _calendar(root, one, found)) is not None}
    folders = _folders(root, found)
    spans = _markets(root, found)
    for folder, name in zip(*_instruments(folders, spans)[:2], strict=True):
        if not any((root / "features" / folder).glob("*.bin")):
            found.add("no data", name, detail=f"features/{folder} holds no values")
    return [
        _one_freq(root, one, calendar, folders, spans, always_open, threads) for one, calendar in calendars.items()
    ], found


def _calendar(root: Path, freq: str, found: Findings) -> Calendar | None:
    path, ahead = root / "calendars" / f"{freq}.txt", root / "calendars" / f"{freq}_future.txt"
    try:
        calendar = read_calendar(path, freq)
        if not len(calendar):
            raise StoreError(f"{path}: is empty")
        if ahead.exists():
            future = read_calendar(ahead, freq).times
            if len(future) < len(calendar) or not (future[: len(calendar)] == calendar.times).all():
                found.add("damaged", detail=f"{ahead}: does not begin with the entries of {path.name}")
    except StoreError as error:
        found.add("damaged", detail=str(error))
        return None
    return calendar


def _folders(root: Path, found: Findings) -> list[str]:
    """Return the folders of instruments; those that look-ups cannot find are a finding."""
    try:
        with os.scandir(root / "features") as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except FileNotFoundError:
        found.add("damaged", detail=f"{root / 'features'}: is not there")
        return []
    upper = [name for name in folders if name != name.lower()]
    found.add("upper case", [fname_to_code(name) for name in upper], detail=[f"features/{name}" for name in upper])
    return folders


def _markets(root: Path, found: Findings) -> Spans:
    """Return the spans of instruments/all.txt; what is odd about any instruments file is a finding."""
    life: Spans = {}
    for path in sorted((root / "instruments").glob("*.txt")):
        try:
            spans = read_instruments(path)
        except StoreError as error:
            found.add("damaged", detail=str(error))
            continue
        for name, own in spans.items():
            for (start, end), after in zip(sorted(own), [*sorted(own)[1:], None], strict=True):
                if start > end:
                    found.add("damaged", name, detail=f"{path}: a span ends on {end} before it begins on {start}")
                elif after is not None and after[0] <= end:
                    found.add("damaged", name, detail=f"{path}: two spans share {after[0]}")
        if path.stem == "all":
            life = spans
    return life


def _one_freq(
    root: Path,
    freq: str,
    calendar: Calendar,
    folders: list[str],
    spans: Spans,
    always_open: bool | None,
    threads: int,
) -> StoreBars:
    found, size = Findings(str(Freq(freq))), Freq(freq)
    kept, names, rows = _instruments(folders, spans)
    has = np.zeros((len(kept), len(FIELDS)), bool)
    bars = StoreBars(
        freq.lower(), np.asarray(names, object), calendar.times, False, has, found, SINGLE,
        top=os.fspath(root / "features"), folders=kept, threads=threads,
    )  # fmt: skip
    _look_at_files(bars)
    # What has no file of this frequency is not missing there: a store may hold the hours of a few names only.
    here = np.flatnonzero(has.any(axis=1))
    number = {int(old): new for new, old in enumerate(here)}
    bars.names, bars.has, bars.folders = bars.names[here], has[here], [kept[i] for i in here]
    bars.spans = positions(calendar.times, size, [(number[i], own) for i, own in rows if i in number])
    bars.always_open = never_closes(calendar.times, size) if always_open is None else always_open
    bars.absent = find_gaps(found, calendar.times, size, bars.names) if bars.always_open and len(bars.names) else 0
    return bars


def _instruments(folders: list[str], spans: Spans) -> tuple[list[str], list[str], list[tuple[int, list]]]:
    """Return (folder, name) of every instrument that has a folder or is listed, and (number, spans) of the listed."""
    of_folder = {instrument_folder(name): name for name in spans}
    here = {folder.lower() for folder in folders}
    known = [*folders, *(folder for folder in of_folder if folder not in here)]
    names = [of_folder.get(folder.lower(), fname_to_code(folder)) for folder in known]
    return known, names, [(i, spans[name]) for i, name in enumerate(names) if name in spans]


def _look_at_files(bars: StoreBars) -> None:
    """Fill `has` and `damaged`, and find files that cannot be what they should."""
    entries = len(bars.times)
    place = {name: number for number, name in enumerate(FIELDS)}
    for i, folder in enumerate(bars.folders):
        try:
            with os.scandir(Path(bars.top, folder)) as files:
                here = [file.name for file in files]
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in here:
            field_name, _, rest = name.removesuffix(".bin").partition(".")
            if not name.endswith(".bin") or rest.lower() != bars.freq:
                continue
            try:
                _check_file(Path(bars.top, folder, name), entries)
            except StoreError as error:
                bars.findings.add("damaged", str(bars.names[i]), field=field_name, detail=str(error))
                bars.damaged.add((folder, name))
            else:
                if name != name.lower():
                    bars.findings.add(
                        "upper case", str(bars.names[i]), field=field_name, detail=f"features/{folder}/{name}"
                    )
            if field_name in place:
                bars.has[i, place[field_name]] = True


def _check_file(path: Path, entries: int) -> None:
    """Raise StoreError where the file cannot be read as a feature of a calendar with that many entries."""
    try:
        held = read_start(path)
        if held is None:
            raise StoreError(f"{path}: is empty")
        if held[0] + held[1] > entries:
            read_bin(path, 0, 0, entries)  # says what is wrong
    except (IsADirectoryError, PermissionError) as error:
        raise StoreError(f"{path}: is not a feature file that can be read ({error.strerror})") from None


def positions(times: np.ndarray, size: Freq, rows: list[tuple[int, list]]) -> Listing | None:
    """Return the spans of instruments as positions; None where there are none.

    The dates of one file serve every frequency of a store: a day belongs to the listing from its midnight on, whatever
    the hour of the listing, and where a file has dates only, the last one includes its hours.
    """
    if not rows:
        return None
    flat = [(i, start, end) for i, own in rows for start, end in own]
    row = np.array([i for i, _, _ in flat])
    start = np.array([start.to_datetime64() for _, start, _ in flat], "datetime64[ns]")
    end = np.array([end.to_datetime64() for _, _, end in flat], "datetime64[ns]")
    from_day = start == start.astype("datetime64[D]")
    to_day = end == end.astype("datetime64[D]")
    if not size.intraday:
        start, from_day = start.astype("datetime64[D]").astype("datetime64[ns]"), np.zeros(len(row), bool)
        to_day = from_day
    elif to_day.all():
        end = end + np.timedelta64(86_400 * 10**9 - 1, "ns")
    else:
        to_day = np.zeros(len(row), bool)  # midnight is an hour too
    first = np.searchsorted(times, start, "left")
    return Listing(row, first, np.searchsorted(times, end, "right") - 1, from_day, to_day)

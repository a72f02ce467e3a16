"""What a folder of klines holds for a converter: series by symbol, their files, and whether those have changed.

    found = inventory(Path("data/klines"), "1H", None)      {"BTC-USDT-SWAP": Klines, ...}
    found["BTC-USDT-SWAP"].note                             files by SHA-256, what is known, first and last bar

The folder is a `BarStore`, or holds CSV files where one would write them: `<symbol>/<symbol>_<bar>.csv` and the like.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.bar_store import BarStore, read_bars
from qlib.collect.journal import read_journal
from qlib.collect.source import COLUMNS, Series
from qlib.errors import InputError, MissingDataError, did_you_mean
from qlib.utils.paths import fname_to_code
from qlib.utils.time import Freq

PLAIN: Final = ("open", "high", "low", "close", "volume", "amount", "vwap")
ALWAYS: Final = (*PLAIN, "change", "factor", "paused")  # the fields that every instrument gets
OTHERS: Final = ("funding", "mark", "index", "oi")  # series beside the candles
_BAR = re.compile(r"(\d*)([A-Za-z]+?)(?:utc)?")


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


@dataclass
class Klines:
    """One symbol: its series, and what is remembered of them.

    `note` holds `series` (files and what is known), `fields`, `until` (ms up to which bars are due, None: not known),
    and, once `ends` was asked, `first` and `last`.
    """

    folder: Path
    symbol: str
    candles: Series
    others: dict[str, list[Series]]  # funding, mark, index, oi
    bar_store: bool
    note: dict[str, Any] = field(default_factory=dict)
    journals: dict[str, int] = field(default_factory=dict)  # series -> first ms of what waits in its journal

    def read(self, series: Series, start: int | None = None, end: int | None = None) -> pd.DataFrame:
        """Return the rows of [start, end) ms."""
        if self.bar_store:
            return BarStore(self.folder).read(series, start, end)
        return read_bars(self.folder, series.symbol, series.bar, series.kind, start=start, end=end)

    def known(self, series: Series) -> np.ndarray:
        """Return the ranges that the venue was asked for."""
        return BarStore(self.folder).coverage(series).known

    def ends(self) -> dict[str, int]:
        """Return the first and the last opening of its candles; nothing where there is not one."""
        store = BarStore(self.folder)
        parts = sorted(self.note["series"][series_name(self.candles)]["parts"]) if self.bar_store else []
        waits = series_name(self.candles) in self.journals
        if not parts or waits:
            ts = self.read(self.candles)["ts"]
        else:
            edges = [store.read(self.candles, *part_range(name))["ts"] for name in {parts[0], parts[-1]}]
            ts = pd.concat(edges)
        return {"first": int(ts.min()), "last": int(ts.max())} if len(ts) else {}


def series_name(series: Series) -> str:
    """Return what a series is called in a note, such as "candles 1H"."""
    return " ".join(filter(None, (series.kind, series.bar)))


def part_range(part: str) -> tuple[int, int]:
    """Return the [start, end) in ms of a part."""
    start = np.datetime64(part)  # a year, a month or a day, as its file is called
    return int(start.astype("M8[ms]").astype(np.int64)), int((start + 1).astype("M8[ms]").astype(np.int64))


def inventory(folder: Path, bar: str, symbols: Iterable[str] | None) -> dict[str, Klines]:
    """Return the symbols that have candles of a bar size, all or those named; MissingDataError where none has."""
    if not folder.is_dir():
        raise MissingDataError(f"klines: {folder} does not exist; `qlib collect` makes it")
    stored = BarStore(folder).series()
    every = stored or _csv_series(folder)
    of_symbol: dict[str, list[Series]] = {}
    for series in every:
        of_symbol.setdefault(series.symbol, []).append(series)
    found = {}
    for symbol, own in of_symbol.items():
        candles = next((one for one in own if one.kind == "candles" and one.bar == bar), None)
        if candles is not None:
            others = {kind: [one for one in own if one.kind == kind] for kind in OTHERS}
            found[symbol] = Klines(folder, symbol, candles, others, bool(stored))
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


def _csv_series(folder: Path) -> list[Series]:
    """Return the series of CSV files that lie where a `BarStore` would write them."""
    found = []
    for path in sorted(folder.glob("*/*.csv")):
        words = path.stem.removeprefix(f"{path.parent.name}_").split("_")
        symbol, kind = fname_to_code(path.parent.name), words[-1] if words[-1] in COLUMNS else "candles"
        size = words[0] if kind != "funding" and words[0] != kind else None
        if path.stem.startswith(f"{path.parent.name}_") and kind != "trades":
            found.append(Series(symbol, kind, fname_to_code(size) if size else None))
    return found


def _fingerprint(entry: Klines) -> None:
    """Note what of every series is on the disk: which files, which ranges are known, when it was listed."""
    notes: dict[str, Any] = {}
    fields = [*ALWAYS]
    for kind, own in entry.others.items():
        fields += {"funding": ["funding", "funding_count"]}.get(kind, [kind]) if own else []
    store = BarStore(entry.folder)
    for series in (entry.candles, *(one for own in entry.others.values() for one in own)):
        note: dict[str, Any] = {}
        if entry.bar_store:
            waiting = read_journal(store.path(series) / "journal", series.kind)
            if waiting:
                entry.journals[series_name(series)] = min(one.start for one in waiting)
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
        notes[series_name(series)] = note
    entry.note |= {"series": notes, "fields": fields}


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Frames -> a store, in one step that either happens or does not.

    write_store({"AAPL": bars, "MSFT": bars}, "~/.qlib/qlib_data/mine", "60min")

A process that is killed at any moment leaves the old store or the new one (see transaction.py). What the store holds
at other frequencies is kept (linked, not copied).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.data.calendar import check_years, read_calendar, time_texts
from qlib.data.storage.binary import to_bytes
from qlib.data.storage.file_storage import calendar_freqs, same_freq
from qlib.data.storage.instruments import instruments_text, read_instruments
from qlib.data.storage.transaction import Change, replacing
from qlib.data.universe import Spans
from qlib.errors import InputError
from qlib.utils.paths import instrument_folder
from qlib.utils.time import Freq

FIELD: Final = re.compile("[\\w\u3001\uff1a\uff08\uff09]+")  # what may follow `$` in a formula
ROOMS: Final = ("calendars", "instruments", "features", "financial")  # one of them makes a folder a store
CACHES: Final = ("features_cache", "dataset_cache")


@dataclass(frozen=True, slots=True)
class _Series:
    """The checked frame of one instrument."""

    instrument: str
    times: np.ndarray
    columns: dict[str, np.ndarray]


def write_store(
    frames: Mapping[str, pd.DataFrame],
    root: str | os.PathLike[str],
    freq: str,
    *,
    instruments: Mapping[str, Iterable[str] | Mapping[str, Iterable[tuple[Any, Any]]]] | None = None,
) -> Path:
    """Write the bars of one frequency; what the store held at this frequency is replaced, other frequencies stay.

    Parameters
    ----------
    frames
        Instrument -> frame with a DatetimeIndex (no zone, no duplicates, any order; midnights for "day" and longer)
        and numeric columns, which become the fields, in lower case. NaN means "no value". Values are stored as
        float32. The calendar is the union of all indexes; an instrument's missing bars between its first and its last
        are NaN.
    root
        Folder of the store; made if it does not exist. Market files and other files in it stay.
    freq
        Bar size: "day", "60min", "1min", ...
    instruments
        Market -> its instruments (from their first to their last bar), or its instruments with spans. By default
        `{"all": every instrument}`. While the store holds other frequencies too, spans are joined with those there.

    Returns
    -------
    pathlib.Path
        The folder, absolute.

    Raises
    ------
    InputError
        A frame that cannot be stored; the message names instrument and column. Nothing has changed then.
    """
    target = Path(root).expanduser().resolve()
    name = str(Freq(freq))
    series = [_checked(str(instrument), frame, Freq(freq)) for instrument, frame in frames.items()]
    if not series:
        raise InputError("frames: received none; at least one instrument is needed")
    _refuse_clashes([one.instrument for one in series])
    calendar = np.unique(np.concatenate([one.times for one in series]))
    markets = {"all": list(frames)} if instruments is None else instruments
    with replacing(target) as change:
        others = replace_freq(change, name)
        write_calendar(change, name, calendar)
        for one in series:
            _write_features(change, one, name, calendar)
        for market, members in markets.items():
            _write_market(change, market, members, {one.instrument: one for one in series}, joined=bool(others))
    return target


# ---------------------------------------------------------------------- what may be stored
def _checked(instrument: str, frame: pd.DataFrame, freq: Freq) -> _Series:
    """Return the frame as sorted times and float32 columns, or raise InputError saying what is wrong with it."""
    where = f"frame of {instrument}"
    instrument_folder(instrument)
    if "\t" in instrument or "\n" in instrument:
        raise InputError(f"{where}: a tab or a line break cannot stand in the name of an instrument")
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex):
        raise InputError(f"{where}: received an index of {index.dtype}; a DatetimeIndex is needed")
    if index.tz is not None:
        raise InputError(
            f"{where}: its times carry the zone {index.tz}; a store keeps one clock without zones: "
            "use frame.tz_convert('UTC').tz_localize(None)"
        )
    if not len(index):
        raise InputError(f"{where}: it has no rows")
    if index.hasnans:
        raise InputError(f"{where}: it has a row without a time (NaT)")
    if index.has_duplicates:
        raise InputError(f"{where}: {index[index.duplicated()][0]} occurs more than once")
    whole = index.floor("s") if freq.intraday else index.normalize()
    if not (whole == index).all():
        unit = "whole seconds" if freq.intraday else "midnights"
        raise InputError(f"{where}: {index[whole != index][0]} cannot be stored at freq {freq}, whose times are {unit}")
    if not index.is_monotonic_increasing:
        frame = frame.sort_index()
    check_years(frame.index.to_numpy()[[0, -1]], where)
    return _Series(instrument, frame.index.to_numpy("datetime64[ns]"), _columns(frame, where))


def _columns(frame: pd.DataFrame, where: str) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    for place, column in enumerate(frame.columns):
        field = str(column).lower()
        if not FIELD.fullmatch(field):
            raise InputError(f"{where}: column {column!r} cannot be a field; letters, digits and _ are allowed")
        if field in columns:
            raise InputError(f"{where}: column {field} occurs more than once (case does not count)")
        values = frame.iloc[:, place]
        if not (pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)):
            raise InputError(f"{where}: column {column} is {values.dtype}; numbers are needed")
        exact = values.to_numpy(dtype=np.float64, na_value=np.nan)
        with np.errstate(over="ignore"):
            columns[field] = exact.astype(np.float32)
        lost = np.isinf(columns[field]) & np.isfinite(exact)
        if lost.any():
            raise InputError(f"{where}: column {column} holds {exact[lost][0]:g}, too large for float32")
    if not columns:
        raise InputError(f"{where}: it has no columns")
    return columns


def _refuse_clashes(names: list[str]) -> None:
    folders: dict[str, str] = {}
    for name in names:
        other = folders.setdefault(instrument_folder(name), name)
        if other != name:
            raise InputError(f"frames: {other} and {name} would share one folder; names differ in more than case")


# ---------------------------------------------------------------------- the files
def _write_features(change: Change, one: _Series, freq: str, calendar: np.ndarray) -> None:
    folder = f"features/{instrument_folder(one.instrument)}"
    at = np.searchsorted(calendar, one.times)
    start, length = int(at[0]), int(at[-1] - at[0]) + 1
    for field, values in one.columns.items():
        spread = np.full(length, np.nan, np.float32)
        spread[at - start] = values
        try:
            content = to_bytes(start, spread)
        except InputError as error:
            raise InputError(f"frame of {one.instrument}: {error}") from None
        change.write(f"{folder}/{field}.{freq}.bin", content)


def _write_market(change: Change, market: str, members: Any, series: Mapping[str, _Series], *, joined: bool) -> None:
    if not FIELD.fullmatch(market):
        raise InputError(f"instruments: market {market!r} cannot be a file name; letters, digits and _ are allowed")
    file = f"instruments/{market.lower()}.txt"
    if isinstance(members, Mapping):
        spans: Spans = {
            str(name): [(pd.Timestamp(a), pd.Timestamp(b)) for a, b in own] for name, own in members.items()
        }
    else:
        spans = {}
        for name in map(str, members):
            if name not in series:
                raise InputError(f"instruments: market {market} names {name}, of which there is no frame")
            times = series[name].times
            spans[name] = [(pd.Timestamp(times[0]), pd.Timestamp(times[-1]))]
        if joined and change.old is not None and (change.old / file).exists():
            spans = joined_spans(read_instruments(change.old / file), spans)
    change.write(file, instruments_text(spans).encode())


def joined_spans(old: Spans, new: Spans) -> Spans:
    """Return the spans of both, those of one instrument that overlap made one."""
    joined: Spans = {}
    for name in dict.fromkeys([*old, *new]):
        spans: list[tuple[pd.Timestamp, pd.Timestamp]] = []
        for start, end in sorted([*old.get(name, []), *new.get(name, [])]):
            if spans and start <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(spans[-1][1], end))
            else:
                spans.append((start, end))
        joined[name] = spans
    return joined


def replace_freq(change: Change, freq: str) -> list[str]:
    """Forget what the old store holds at `freq`, and its caches; return its other frequencies.

    Raises InputError for a folder that is no store and not empty.
    """
    if change.old is None:
        return []
    if any(change.old.iterdir()) and not any((change.old / room).is_dir() for room in ROOMS):
        raise InputError(
            f"root: received {change.old}, which is no store (no folder {', '.join(ROOMS)}) and not empty; "
            "nothing was changed"
        )
    known = calendar_freqs(change.old)
    same = {freq, *(other for other in known if Freq(other) == Freq(freq))}
    endings = tuple(f".{other.lower()}.bin" for other in same)
    for other in same:
        change.forget(f"calendars/{other}.txt")
        change.forget(f"calendars/{other}_future.txt")
    features = change.old / "features"
    for folder in features.iterdir() if features.is_dir() else ():
        for name in os.listdir(folder) if folder.is_dir() else ():  # noqa: PTH208  thousands of them
            if name.endswith(endings):
                change.forget(f"features/{folder.name}/{name}")
    forget_caches(change)
    return [other for other in known if other not in same]


def forget_caches(change: Change) -> None:
    """Leave out what was computed from the old values."""
    for cache in CACHES:
        change.forget(cache)


def write_calendar(change: Change, freq: str, calendar: np.ndarray, later: np.ndarray | None = None) -> None:
    """Write a calendar; and the one of the future, which is the same with the times that come `later` after it.

    Without `later`, they are those of the old future calendar that lie after the new calendar's end; where none does,
    there is no future calendar.
    """
    change.write(f"calendars/{freq}.txt", _lines(calendar, freq))
    if later is None and change.old is not None:
        path = change.old / "calendars" / f"{same_freq(freq, calendar_freqs(change.old)) or freq}_future.txt"
        later = read_calendar(path, freq).times if path.exists() else None
    if later is not None and len(later := later[later > calendar[-1]]):
        change.write(f"calendars/{freq}_future.txt", _lines(np.concatenate([calendar, later]), freq))
    else:
        change.forget(f"calendars/{freq}_future.txt")


def _lines(times: np.ndarray, freq: str) -> bytes:
    return "".join(text + "\n" for text in time_texts(times, freq)).encode()

"""Does the store hold what the files say, to the last bit?

    report = compare("csv_folder", "~/.qlib/qlib_data/mine", "day")
    report.wrong, report.findings

A value of a file counts as what `.bin` can hold of it, its nearest float32; then it is equal or it is not. Missing in
both is equal. Where a file has a second row for a time, the first one counts, as it does when a store is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from qlib.collect.health.files import Rows, list_files, read_rows, symbol_of
from qlib.collect.health.report import Findings, Report
from qlib.data.calendar import read_calendar
from qlib.data.storage.binary import read_bin
from qlib.data.storage.file_storage import calendar_freqs, same_freq
from qlib.errors import InputError, MissingDataError, StoreError
from qlib.utils.paths import instrument_folder
from qlib.utils.time import Freq


def compare(
    source: str | os.PathLike[str],
    store: str | os.PathLike[str],
    freq: str = "day",
    *,
    fields: Iterable[str] | None = None,
    date_field: str | None = None,
    symbol_field: str | None = None,
    suffix: str | None = None,
    threads: int = 4,
) -> Report:
    """Compare files with a store and return what differs.

    Parameters
    ----------
    source
        A CSV or Parquet file with a column of symbols, or a folder with one file a symbol.
    store, freq
        The store and its frequency.
    fields
        Columns to compare; None: every column of a file that is a field of the store.

    Returns
    -------
    Report
        Kinds "not in store", "not in calendar", "different", "not in file", and what the files themselves have.

    Raises
    ------
    InputError
        No files, no store, nothing at `freq`, or a field that the files do not have.
    """
    root = Path(store).expanduser()
    stored = calendar_freqs(root) if root.is_dir() else []
    held = same_freq(freq, stored)
    if not stored:
        raise InputError(f"qlib_dir: {root} is no store: it has no calendars/<freq>.txt")
    if held is None:
        raise MissingDataError(f"freq: received {freq}; {root} holds {', '.join(stored)}")
    calendar = read_calendar(root / "calendars" / f"{held}.txt", held).times
    there = _stored_fields(root, held)
    asked = None if fields is None else [str(name).lower().removeprefix("$") for name in fields]
    wanted = {name for own in there.values() for name in own} if asked is None else set(asked)
    files = list_files(Path(source).expanduser(), suffix)

    def one(file: Path) -> tuple[Findings, int, int, set[str]]:
        return _compare_file(
            root, held, calendar, there, file, read_rows(file, date_field, symbol_field, wanted), asked
        )

    with ThreadPoolExecutor(max(1, min(threads, os.cpu_count() or 1))) as pool:
        results = list(pool.map(one, files))
    found, instruments, values = Findings(str(Freq(held))), 0, 0
    for own, names, compared, _ in results:
        found.extend(own)
        instruments += names
        values += compared
    absent = [name for name in asked or () if not any(name in columns for *_, columns in results)]
    if absent:
        raise InputError(f"check_fields: received {absent[0]}, which no file has as a column")
    line = {"freq": found.freq, "files": len(files), "instruments": instruments, "values compared": values}
    return Report(f"{Path(source)} against {root}", found.frame(), pd.DataFrame([line]), {})


def _stored_fields(root: Path, freq: str) -> dict[str, set[str]]:
    """Return {folder: its fields at this frequency}."""
    ending, there = f".{freq.lower()}.bin", {}
    for folder in (root / "features").glob("*/"):
        there[folder.name] = {path.name.removesuffix(ending) for path in folder.glob(f"*{ending}")}
    return there


def _compare_file(
    root: Path,
    freq: str,
    calendar: np.ndarray,
    there: dict[str, set[str]],
    file: Path,
    rows: Rows,
    asked: list[str] | None,
) -> tuple[Findings, int, int, set[str]]:
    found, values = Findings(str(Freq(freq))), 0
    for column, _, told in rows.unreadable:
        found.add("unreadable", symbol_of(file), field=column, detail=f"{file.name}: {told}")
    symbols = np.full(len(rows.times), symbol_of(file), object) if rows.symbols is None else rows.symbols
    code, names = pd.factorize(symbols, sort=True)
    order = np.lexsort((rows.times, code))
    order = order[~np.isnat(rows.times[order])]
    first = np.flatnonzero(
        (np.diff(code[order], prepend=-1) != 0) | (np.diff(rows.times[order].astype(np.int64), prepend=0) != 0)
    )
    order = order[first]
    bounds = np.searchsorted(code[order], np.arange(len(names) + 1))
    for i, name in enumerate(names):
        own = order[bounds[i] : bounds[i + 1]]
        folder = instrument_folder(name)
        if folder not in there:
            found.add("not in store", name, bars=len(own), detail=f"no features/{folder}")
            continue
        columns = [column for column in rows.columns if asked is not None or column in there[folder]]
        values += _compare_one(
            root, freq, calendar, found, name, rows.times[own], {c: rows.columns[c][own] for c in columns}
        )
    return found, len(names), values, set(rows.columns)


def _compare_one(
    root: Path,
    freq: str,
    calendar: np.ndarray,
    found: Findings,
    name: str,
    times: np.ndarray,
    columns: dict[str, np.ndarray],
) -> int:
    """Compare the rows of one instrument, in order of time; return how many values were compared."""
    place = np.searchsorted(calendar, times)
    known = place < len(calendar)
    known[known] = calendar[place[known]] == times[known]
    names = np.array([name], object)
    found.add_bars("not in calendar", names, times, ~known[None, :])
    place, times = place[known], times[known]
    compared = 0
    for field, values in columns.items():
        path = root / "features" / instrument_folder(name) / f"{field}.{freq.lower()}.bin"
        try:
            start, stored = read_bin(path, 0, None, len(calendar))
        except FileNotFoundError:
            found.add("not in store", name, field=field, bars=len(times), detail=f"no {path.name}")
            continue
        except StoreError as error:
            found.add("damaged", name, field=field, detail=str(error))
            continue
        everywhere = np.full(len(calendar), np.nan, np.float32)
        everywhere[start : start + len(stored)] = stored
        with np.errstate(over="ignore"):
            told = values[known].astype(np.float32)
        held = everywhere[place]
        missing = np.isnan(held) & ~np.isnan(told)
        other = (held != told) & ~np.isnan(held) & ~np.isnan(told)
        found.add_bars("not in store", names, times, missing[None, :], field=field)
        found.add_bars("different", names, times, other[None, :], field=field, detail=_values(held, told))
        everywhere[place[~np.isnan(told)]] = np.nan
        found.add_bars("not in file", names, calendar, ~np.isnan(everywhere)[None, :], field=field)
        compared += len(told)
    return compared


def _values(held: np.ndarray, told: np.ndarray) -> Callable[[np.ndarray, np.ndarray], list[str]]:
    return lambda _, at: [f"{held[t]!s} in the store, {told[t]!s} in the file" for t in at]

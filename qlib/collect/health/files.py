"""CSV and Parquet files, and frames, as bars.

    read_files("bars.parquet")                one file, with a column of symbols
    read_files("csv_folder")                  one file a symbol (its name), .csv, .csv.gz or .parquet
    read_frame(frame)                         a frame with the same columns, or with a (datetime, instrument) index

What cannot be read as a date or a number is a finding, not an error: the rest of the file is checked.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.health.bars import DOUBLE, FIELDS, SINGLE, TableBars, lay_out
from qlib.errors import InputError, did_you_mean
from qlib.utils.paths import fname_to_code

SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")
DATES: Final = ("date", "datetime", "ts", "timestamp", "time", "open_time")
SYMBOLS: Final = ("symbol", "instrument", "code", "ticker")
_TEXT_SHOWN: Final = 40


@dataclass
class Rows:
    """Rows of one file: symbols (None: its name is the symbol), times, columns, and the cells that were unreadable."""

    symbols: np.ndarray | None
    times: np.ndarray
    columns: dict[str, np.ndarray]
    unreadable: list[tuple[str, int, str]]
    single: bool = False  # float32: equal numbers differ in the seventh digit


def read_files(
    path: str | Path,
    freq: str | None = None,
    *,
    date_field: str | None = None,
    symbol_field: str | None = None,
    suffix: str | None = None,
    always_open: bool | None = None,
    threads: int = 4,
) -> TableBars:
    """Read a file, or the files of a folder, as bars; see `lay_out` for what is made of their rows.

    Raises
    ------
    InputError
        There is no such file, no file of the suffix, one that cannot be read, or no column of dates.
    """
    files = list_files(Path(path).expanduser(), suffix)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(lambda file: read_rows(file, date_field, symbol_field), files))
    return bars_of(zip((symbol_of(file) for file in files), parts, strict=True), freq, always_open=always_open)


def read_frame(
    frame: pd.DataFrame,
    freq: str | None = None,
    *,
    date_field: str | None = None,
    symbol_field: str | None = None,
    always_open: bool | None = None,
) -> TableBars:
    """Read a frame: columns of dates and symbols, or an index that has them."""
    if any(name is not None for name in frame.index.names) or isinstance(frame.index, pd.DatetimeIndex | pd.MultiIndex):
        names = [
            name if name is not None else ("date", "symbol")[level] for level, name in enumerate(frame.index.names)
        ]
        frame = frame.reset_index(names=names)
    frame = frame.rename(columns=lambda name: str(name).removeprefix("$"))
    found = _rows({str(name): frame[name] for name in frame.columns}, "the frame", date_field, symbol_field)
    return bars_of([("frame", found)], freq, always_open=always_open)


def list_files(path: Path, suffix: str | None = None) -> list[Path]:
    """Return the file, or the data files of a folder, sorted."""
    endings = (suffix,) if suffix else SUFFIXES
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"csv_path: there is no file or folder {path}")
    files = sorted(file for file in path.iterdir() if file.name.endswith(endings) and not file.name.startswith("."))
    if not files:
        raise InputError(f"csv_path: {path} holds no file that ends in {' or '.join(endings)}")
    return files


def symbol_of(file: Path) -> str:
    """Return the symbol that a file name stands for: the name without its suffix, whatever its letters are.

    >>> [symbol_of(Path(name)) for name in ("data/csv.csv.gz", "SH600000.csv", "BTC%2fUSDT.parquet")]
    ['csv', 'SH600000', 'BTC/USDT']
    """
    return fname_to_code(next((file.name[: -len(end)] for end in SUFFIXES if file.name.endswith(end)), file.stem))


def read_rows(
    file: Path, date_field: str | None = None, symbol_field: str | None = None, fields: Container[str] = FIELDS
) -> Rows:
    """Read one file: its dates, its symbols if it has them, and the columns in `fields` (lower case)."""
    return _rows(_read_table(file, symbol_field), str(file), date_field, symbol_field, fields)


def _read_table(file: Path, symbol_field: str | None) -> dict[str, Any]:
    import pyarrow as pa  # noqa: PLC0415  a store is checked without it
    from pyarrow import csv, parquet  # noqa: PLC0415

    try:
        if file.name.endswith(".parquet"):
            table = parquet.ParquetFile(file).read()
        else:
            text = dict.fromkeys([symbol_field, *SYMBOLS] if symbol_field else SYMBOLS, pa.string())
            table = csv.read_csv(file, convert_options=csv.ConvertOptions(column_types=text))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from None
    if len(set(table.column_names)) < len(table.column_names):
        raise InputError(f"{file}: a column occurs twice in {', '.join(table.column_names)}")
    return {name: table[name] for name in table.column_names}


def _rows(
    table: dict[str, Any], where: str, date_field: str | None, symbol_field: str | None, fields: Container[str] = FIELDS
) -> Rows:
    date = _column(table, date_field, DATES)
    if date is None:
        wanted = date_field or " or ".join(DATES)
        raise InputError(
            f"{where}: no column of dates ({wanted}); it has {', '.join(table) or 'no columns'}"
            f"{did_you_mean(date_field or 'date', table)}"
        )
    symbol = _column(table, symbol_field, SYMBOLS)
    unreadable: list[tuple[str, int, str]] = []
    times = _times(table[date], date, unreadable)
    columns, single = {}, False
    for name, values in table.items():
        if name not in (date, symbol) and name.lower() in fields:
            columns[name.lower()] = _numbers(values, name, unreadable)
            single |= str(getattr(values, "type", getattr(values, "dtype", ""))) in ("float", "float32")
    if symbol is None:
        return Rows(None, times, columns, unreadable, single)
    names = _series(table[symbol])
    symbols = names.astype(str).to_numpy(object)
    nameless = names.isna().to_numpy(bool) | (symbols == "")
    if nameless.any():
        unreadable.append((symbol, int(nameless.sum()), f"{int(nameless.sum()):,} rows without a symbol"))
        times, symbols = times[~nameless], symbols[~nameless]
        columns = {name: values[~nameless] for name, values in columns.items()}
    return Rows(symbols, times, columns, unreadable, single)


def _column(table: dict[str, Any], asked: str | None, usual: tuple[str, ...]) -> str | None:
    if asked is not None and asked in table:
        return asked
    if asked is not None and asked not in usual:
        return None
    lower = {name.lower(): name for name in reversed(list(table))}
    return next((lower[name] for name in usual if name in lower), None)


def _series(values: Any) -> pd.Series:
    return values if isinstance(values, pd.Series) else values.to_pandas()


def _times(values: Any, name: str, unreadable: list[tuple[str, int, str]]) -> np.ndarray:
    """Return times as datetime64[ns], naive: UTC where there was a zone; NaT where the text is no time."""
    series = _series(values)
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    if pd.api.types.is_datetime64_dtype(series):
        return series.to_numpy("datetime64[ns]")
    if pd.api.types.is_numeric_dtype(series):
        return _counted(series.to_numpy(np.float64, na_value=np.nan), name, unreadable)
    each, place = np.unique(series.astype(str).to_numpy(object).astype(str), return_inverse=True)
    # The year comes first: 1/2/2024 is January here and February there, and no date at all.
    dated = pd.Series(each).where(pd.Series(each).str.match(r"\d{4}"))
    read = pd.to_datetime(dated, errors="coerce", format="mixed", utc=True).dt.tz_localize(None)
    times = read.to_numpy("datetime64[ns]")[place.ravel()]
    _tell(unreadable, name, np.isnat(times), series)
    return times


def _counted(numbers: np.ndarray, name: str, unreadable: list[tuple[str, int, str]]) -> np.ndarray:
    """Return numbers as times: 20240131, or seconds, milli-, micro- or nanoseconds since 1970, by their size."""
    size = np.nanmax(np.abs(numbers), initial=0)
    if 19000101 <= size <= 22621231:
        text = pd.Series(np.nan_to_num(numbers).astype(np.int64).astype(str))
        times = pd.to_datetime(text, format="%Y%m%d", errors="coerce").to_numpy("datetime64[ns]")
    else:
        unit = next((unit for unit, most in (("s", 1e11), ("ms", 1e14), ("us", 1e17)) if size < most), "ns")
        whole = np.where(np.isfinite(numbers), numbers, 0).astype(np.int64)
        times = whole.astype(f"datetime64[{unit}]").astype("datetime64[ns]")
        times[~np.isfinite(numbers)] = np.datetime64("NaT")
    _tell(unreadable, name, np.isnat(times), numbers)
    return times


def _numbers(values: Any, name: str, unreadable: list[tuple[str, int, str]]) -> np.ndarray:
    series = _series(values)
    if pd.api.types.is_numeric_dtype(series):
        return series.to_numpy(np.float64, na_value=np.nan)
    read = pd.to_numeric(series, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    text = series.astype(str).str.strip().str.lower()
    said = series.notna().to_numpy(bool) & ~text.isin(["", "nan", "none", "null", "na"]).to_numpy(bool)
    _tell(unreadable, name, np.isnan(read) & said, series)
    return read


def _tell(unreadable: list[tuple[str, int, str]], name: str, wrong: np.ndarray, values: Any) -> None:
    if wrong.any():
        example = str(np.asarray(values, dtype=object)[wrong][0])[:_TEXT_SHOWN]
        unreadable.append((name, int(wrong.sum()), f"{int(wrong.sum()):,} cells such as {example!r}"))


def bars_of(parts: Iterable[tuple[str, Rows]], freq: str | None, *, always_open: bool | None = None) -> TableBars:
    """Put the rows of files together."""
    named = list(parts)
    symbols = [np.full(len(rows.times), name, object) if rows.symbols is None else rows.symbols for name, rows in named]
    empty = [name for (name, rows), own in zip(named, symbols, strict=True) if not len(own)]
    if len(empty) == len(named):
        raise InputError(f"{'the file' if len(named) == 1 else 'the files'}: no rows in {', '.join(empty[:5])}")
    code, names = pd.factorize(np.concatenate(symbols), sort=True)
    has = np.zeros((len(names), len(FIELDS)), bool)
    columns = {}
    for place, name in enumerate(FIELDS):
        if any(name in rows.columns for _, rows in named):
            columns[name] = np.concatenate(
                [rows.columns.get(name, np.full(len(rows.times), np.nan)) for _, rows in named]
            )
            begin = 0
            for _, rows in named:
                if name in rows.columns:
                    has[np.unique(code[begin : begin + len(rows.times)]), place] = True
                begin += len(rows.times)
    times = np.concatenate([rows.times for _, rows in named])
    relative = SINGLE if any(rows.single for _, rows in named) else DOUBLE
    bars = lay_out(
        np.asarray(names, object), code, times, columns, has, freq, always_open=always_open, relative=relative
    )
    for name in empty:
        bars.findings.add("no data", name, detail="the file has no rows")
    for name, rows in named:
        for column, _, told in rows.unreadable:
            bars.findings.add("unreadable", name if rows.symbols is None else "", field=column, detail=told)
    return bars

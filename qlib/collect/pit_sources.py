"""Files and frames -> reported figures: who announced what, when, about which period.

    SH600000.csv                          one file an instrument, named by it (.csv, .csv.gz, .parquet)
        date,period,value,field
        2019-10-30,201903,0.0211,roewa    announced on, about, the figure, what it is called
    everything.parquet, or a DataFrame    the same with a column `symbol`
    {"SH600000": frame}                   a frame an instrument

Dates are days: 2019-10-30 or 20191030.  Periods are quarters (201903) or years (2019).  What cannot be stored is an
InputError that names the source and the row, counted from 1 below the names of the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.data.periods import FIRST_YEAR, LAST_YEAR
from qlib.errors import InputError, did_you_mean
from qlib.utils.paths import fname_to_code, instrument_folder

SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")
_MISSING: Final = ["", "NaN", "nan", "NA", "N/A", "n/a", "<NA>", "null", "NULL", "None", "#N/A"]
_DAY: Final = r"\d{4}-\d\d-\d\d|\d{8}"


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns are called."""

    date: str = "date"
    period: str = "period"
    value: str = "value"
    field: str = "field"
    symbol: str = "symbol"


@dataclass(frozen=True, slots=True)
class Figures:
    """Reported figures, a row each, in the order in which they were read.

    Parameters
    ----------
    instruments, fields
        The names that `instrument` and `field` count from 0.
    instrument, field
        int64.
    date
        uint32, YYYYMMDD.
    period
        uint32, YYYYQQ or YYYY.
    value
        float64; NaN where none is given.
    """

    instruments: list[str]
    fields: list[str]
    instrument: np.ndarray
    field: np.ndarray
    date: np.ndarray
    period: np.ndarray
    value: np.ndarray


def read_figures(
    data: str | Path | pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    yearly: bool,
    columns: Columns = Columns(),
    file_suffix: str = ".csv",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    workers: int = 4,
) -> Figures:
    """Read all figures of a folder, a file, a frame, or a frame for each instrument.

    Parameters
    ----------
    data
        As the head of this module shows.
    yearly
        Whether periods are years.
    columns
        What the columns are called.
    file_suffix
        The ending of the files of a folder that are read.
    include, exclude
        Fields to take (all by default), and to leave out of those.
    limit
        How many instruments to take.
    workers
        Threads that read files.

    Raises InputError for what cannot be read or stored.
    """
    parts = _parts(data, columns, file_suffix, limit, workers)
    rows = [len(frame) for _, frame in parts]
    start = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    if not start[-1]:
        raise InputError(f"{parts[0][0]}: has no rows")
    sources = [source for source, _ in parts]
    table = pd.concat([frame for _, frame in parts], ignore_index=True)

    def where(row: int) -> str:
        at = int(np.searchsorted(start, row, side="right")) - 1
        return f"{sources[at]}: row {row - start[at] + 1}"

    field = _texts(table[columns.field], columns.field, where)
    instrument = _texts(table[columns.symbol], columns.symbol, where)
    known = field[1]
    wanted = [name for name in known if (not include or name in include) and name not in exclude]
    # of a part of the sources (`limit`) nobody knows which fields the others have
    for option, name in [("include_fields", one) for one in include] or [
        ("exclude_fields", one) for one in exclude if limit is None
    ]:
        if name not in known:
            raise InputError(
                f"{option}: no source has the field {name!r}; there are {', '.join(sorted(known))}"
                f"{did_you_mean(name, known)}"
            )
    _refuse_clashes(instrument[1])
    taken = np.isin(field[0], [known.index(name) for name in wanted])
    kept = np.flatnonzero(taken if limit is None else taken & (instrument[0] < limit))
    if not len(kept):
        raise InputError(f"{sources[0]}: no field is left; there are {', '.join(sorted(known))}")
    table = table.iloc[kept]

    def kept_where(row: int) -> str:
        return where(int(kept[row]))

    return Figures(
        instruments=instrument[1],
        fields=known,
        instrument=instrument[0][kept],
        field=field[0][kept],
        date=_dates(table[columns.date], kept_where),
        period=_periods(table[columns.period], np.array(known, object)[field[0][kept]], kept_where, yearly=yearly),
        value=_values(table[columns.value], kept_where),
    )


# ---------------------------------------------------------------------- sources
def _parts(data: Any, columns: Columns, suffix: str, limit: int | None, workers: int) -> list[tuple[str, pd.DataFrame]]:
    """Return each source's name and its frame, which has exactly the five columns."""
    if isinstance(data, pd.DataFrame):
        return [("frame", _chosen(data, "frame", None, columns))]
    if isinstance(data, Mapping):
        if not data:
            raise InputError("csv_path: received no frames; at least one is needed")
        named = list(data.items())[:limit]
        return [(f"frame of {name}", _chosen(frame, f"frame of {name}", str(name), columns)) for name, frame in named]
    path = Path(data).expanduser()
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.name.endswith(suffix) and one.is_file())[:limit]
        if not files:
            others = sorted({"".join(one.suffixes) for one in path.iterdir() if one.is_file()} - {""})
            there = ", ".join(f"*{other}" for other in others) or "no files"
            raise InputError(f"csv_path: {path} holds no file *{suffix}; there are {there} (--file_suffix says which)")
    elif path.is_file():
        files = [path]
    else:
        raise InputError(f"csv_path: {path} does not exist; a folder or a file is needed")
    with ThreadPoolExecutor(max(1, workers)) as pool:
        return list(pool.map(lambda one: (str(one), _of_file(one, suffix, columns, single=files == [path])), files))


def _of_file(path: Path, suffix: str, columns: Columns, *, single: bool) -> pd.DataFrame:
    ending = next((one for one in (suffix, *SUFFIXES[::-1]) if path.name.endswith(one)), "")
    kind = next((one for one in SUFFIXES if path.name.endswith(one)), None)
    if kind is None:
        raise InputError(f"{path}: cannot be read; files {', '.join(f'*{one}' for one in SUFFIXES)} can")
    try:
        table = _parquet(path) if kind == ".parquet" else _csv(path, columns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    several = single and columns.symbol in table.columns
    return _chosen(table, str(path), None if several else fname_to_code(path.name.removesuffix(ending)), columns)


def _csv(path: Path, columns: Columns) -> pd.DataFrame:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.csv  # noqa: PLC0415

    texts = dict.fromkeys((columns.date, columns.period, columns.field, columns.symbol), pa.string())
    options = pa.csv.ConvertOptions(
        column_types=texts | {columns.value: pa.float64()}, null_values=_MISSING, strings_can_be_null=True
    )
    try:
        return pa.csv.read_csv(path, convert_options=options).to_pandas()
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}") from None


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    try:
        return pa.parquet.ParquetFile(path).read().to_pandas()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}") from None


def _chosen(frame: pd.DataFrame, source: str, instrument: str | None, columns: Columns) -> pd.DataFrame:
    """Return the five columns of a frame; that of the instruments is made where a file or a key names the one."""
    names = [columns.date, columns.period, columns.value, columns.field]
    for name in [*names, *([] if instrument is not None else [columns.symbol])]:
        if name not in frame.columns:
            there = [str(one) for one in frame.columns]
            raise InputError(
                f"{source}: has no column {name!r}; its columns are {', '.join(there)}{did_you_mean(name, there)}"
            )
        if isinstance(frame[name], pd.DataFrame):
            raise InputError(f"{source}: column {name!r} occurs more than once")
    if instrument is None:
        return frame[[*names, columns.symbol]]
    found = list(frame[columns.symbol].dropna().unique()) if columns.symbol in frame.columns else []
    if len(found) > 1:
        raise InputError(
            f"{source}: two symbols in one file, {found[0]} and {found[1]}; one file an instrument is needed"
        )
    return frame[names].assign(**{columns.symbol: instrument})


# ---------------------------------------------------------------------- columns
def _texts(column: pd.Series, name: str, where: Callable[[int], str]) -> tuple[np.ndarray, list[str]]:
    """Return a column as numbers, counted from 0, and the texts that they stand for."""
    codes, found = pd.factorize(column)
    if (codes < 0).any():
        raise InputError(f"{where(int(np.argmax(codes < 0)))} has no {name}")
    return codes.astype(np.int64), [str(one) for one in found]


def _refuse_clashes(instruments: list[str]) -> None:
    owners: dict[str, str] = {}
    for name in instruments:
        other = owners.setdefault(instrument_folder(name), name)
        if other != name:
            raise InputError(f"{other} and {name} would share one folder; names differ in more than case")


def _dates(column: pd.Series, where: Callable[[int], str]) -> np.ndarray:
    """Return a column of days as YYYYMMDD."""
    codes, found = pd.factorize(column)
    if (codes < 0).any():
        raise InputError(f"{where(int(np.argmax(codes < 0)))} has no date")
    values = pd.Series(found)
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        texts = values.astype(str)
        fits = texts.str.fullmatch(_DAY)
        days = pd.to_datetime(texts.where(fits), format="ISO8601", errors="coerce")
    elif isinstance(values.dtype, pd.DatetimeTZDtype):
        raise InputError(f"{where(0)}: the dates carry a zone ({values.dtype}); days are needed")
    else:
        texts, days = values.astype(str), values.where(values == values.dt.normalize())
    wrong = (days.isna() | (days.dt.year < FIRST_YEAR) | (days.dt.year > LAST_YEAR)).to_numpy()
    if wrong.any():
        at = int(np.argmax(wrong))
        row = int(np.argmax(codes == at))
        raise InputError(
            f"{where(row)} has the date {texts[at]!r}; a day such as 2019-10-30 is needed, "
            f"from {FIRST_YEAR} to {LAST_YEAR}"
        )
    return (days.dt.year * 10_000 + days.dt.month * 100 + days.dt.day).to_numpy().astype("<u4")[codes]


def _periods(column: pd.Series, fields: np.ndarray, where: Callable[[int], str], *, yearly: bool) -> np.ndarray:
    """Return a column of periods as they are stored."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    year = numbers if yearly else np.floor(numbers / 100)
    quarter = np.ones(len(numbers)) if yearly else numbers % 100
    with np.errstate(invalid="ignore"):
        fits = (numbers % 1 == 0) & (year >= FIRST_YEAR) & (year <= LAST_YEAR) & (quarter >= 1) & (quarter <= 4)
    if not fits.all():
        row = int(np.argmin(fits))
        kind, other = ("year such as 2019", "quarterly") if yearly else ("quarter such as 201903", "annual")
        raise InputError(
            f"{where(row)}: {fields[row]} has the period {column.iloc[row]}, which is no {kind} "
            f"(--interval {other}, or --exclude_fields {fields[row]})"
        )
    return numbers.astype("<u4")


def _values(column: pd.Series, where: Callable[[int], str]) -> np.ndarray:
    """Return a column of numbers as float64."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = (numbers.isna() & ~column.isna()).to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{where(row)} has the value {column.iloc[row]!r}, which is no number")
    return numbers.to_numpy(np.float64, na_value=np.nan)

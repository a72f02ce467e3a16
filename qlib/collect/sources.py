"""Files and frames -> the checked bars of one instrument after the other.

    AAA.csv, AAA.csv.gz, AAA.parquet     one instrument a file, named by the file
    everything.csv                       a single file, or a DataFrame, with a column (or index level) of symbols
    {"AAA": frame}                       a frame an instrument

    date,symbol,close,volume             a date column, perhaps a symbol column; every other column is a field
    2024-01-02,AAA,1.5,300

Dates are written with the year first (2024-01-02, 20240102, 2024/1/2, 2024-01-02 09:30:00); `1/2/2024`, which is
January here and February there, is refused. Times carry no zone or UTC, and all of a run the same. What cannot be
stored is an InputError that names the file, the column, the row.

A CSV file of plain lines is read by the compiled `native.lines` and every other one by pyarrow.
"""

from __future__ import annotations

import csv
import functools
import gzip
import os
import re
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.native.lines import MARGIN, NAME, NUMBER, SKIP, TIME, count_rows, order_of, read_lines
from qlib.data.calendar import check_years
from qlib.data.storage.writer import FIELD
from qlib.errors import InputError, did_you_mean
from qlib.utils.paths import fname_to_code
from qlib.utils.time import Freq

SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")
_SLAB: Final = 2 << 20
_KEPT: Final = 8 << 20  # bytes of the buffer that a thread keeps
_MISSING: Final = ["", "NaN", "nan", "-nan", "-NaN", "NA", "N/A", "n/a", "<NA>", "null", "NULL", "None", "#N/A", "#NA"]
_ZONE: Final = r"(?<=[T ]\d\d:\d\d)(?::\d\d(?:\.\d+)?)?\s*(Z|z|UTC|[+-]\d\d:?\d\d|[+-]\d\d)$"
_DATE: Final = r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?$"


@dataclass(frozen=True)
class Bars:
    """What one source says of one instrument: values (fields, rows) at strictly ascending times."""

    instrument: str
    source: str
    times: np.ndarray  # datetime64[s]
    fields: tuple[str, ...]
    values: np.ndarray  # float32
    zone: str  # "UTC", or "" where times carry none


@dataclass(frozen=True)
class Reading:
    """How sources are to be read; the names of the options are Qlib's."""

    freq: Freq
    date_field_name: str = "date"
    symbol_field_name: str = "symbol"
    include_fields: tuple[str, ...] = ()
    exclude_fields: tuple[str, ...] = ()
    file_suffix: str = ".csv"
    limit_nums: int | None = None
    columns: set[str] = field(default_factory=set)  # all that were seen in the sources

    def wanted(self, columns: Sequence[str], source: str) -> list[str]:
        """Return which columns become fields."""
        if self.date_field_name not in columns:
            raise InputError(
                f"{source}: has no date column {self.date_field_name!r}; its columns are "
                f"{', '.join(map(repr, columns))}{did_you_mean(self.date_field_name, columns)} "
                "(--date_field_name says which one it is)"
            )
        others = [name for name in columns if name not in (self.date_field_name, self.symbol_field_name)]
        self.columns.update(columns)
        if self.include_fields:
            found = [name for name in others if name in self.include_fields]
            if not found:
                raise InputError(
                    f"{source}: has no column of include_fields ({', '.join(self.include_fields)}); its columns are "
                    f"{', '.join(others)}{did_you_mean(self.include_fields[0], others)}"
                )
            return found
        return [name for name in others if name not in self.exclude_fields]

    def check_fields(self) -> None:
        """Raise InputError where a field is taken or left out that no source has.

        Date and symbol, which are no fields anyway, may be left out, as Qlib's own command lines do; and of a part of
        the sources (`limit_nums`) nobody knows what the others have.
        """
        option, asked, ignored = "include_fields", self.include_fields, set(self.columns)
        if not asked and self.limit_nums is None:
            option, asked = "exclude_fields", self.exclude_fields
            ignored |= {self.date_field_name, self.symbol_field_name, "date", "symbol"}
        for name in asked:
            if name not in ignored:
                raise InputError(
                    f"{option}: no source has a column {name!r}; there are "
                    f"{', '.join(sorted(self.columns))}{did_you_mean(name, self.columns)}"
                )


Part = Callable[[], list[Bars]]


def parts(data: Any, reading: Reading) -> list[Part]:
    """Return what there is to read: one call a file or frame, each giving the bars of its instruments.

    Raises InputError where there is nothing to read.
    """
    if isinstance(data, pd.DataFrame):
        return [lambda: _of_frame(data, "frame", None, reading)]
    if isinstance(data, Mapping):
        if not data:
            raise InputError("data_path: received no frames; at least one is needed")
        for name, frame in data.items():
            if not isinstance(frame, pd.DataFrame):
                raise InputError(f"frame of {name}: received {type(frame).__name__}; a DataFrame is needed")
        chosen = list(data.items())[: reading.limit_nums]
        return [
            functools.partial(_of_frame, frame, f"frame of {name}", _symbol(str(name)), reading)
            for name, frame in chosen
        ]
    if not isinstance(data, str | os.PathLike):
        raise InputError(
            f"data_path: received {type(data).__name__}; a folder, a file, a DataFrame or a mapping of them is needed"
        )
    path = Path(data).expanduser()
    if path.is_dir():
        with os.scandir(path) as entries:
            names = sorted(one.name for one in entries if one.is_file())
        files = [f"{path}/{name}" for name in names if name.endswith(reading.file_suffix)]
        if not files:
            others = sorted({"".join(Path(name).suffixes) for name in names} - {""})
            raise InputError(
                f"data_path: {path} holds no file *{reading.file_suffix}; there are "
                f"{', '.join(f'*{other}' for other in others) or 'no files'} (--file_suffix says which to read)"
            )
        return [functools.partial(_of_file, one, reading, single=False) for one in files[: reading.limit_nums]]
    if not path.exists():
        raise InputError(f"data_path: {path} does not exist; a folder or a file is needed")
    return [functools.partial(_of_file, str(path), reading, single=True)]


def _symbol(name: str) -> str:
    """Return the name that stands in the instruments file: Qlib's capitals, where they can be taken back."""
    upper = name.upper()
    return upper if upper.lower() == name.lower() else name


# ---------------------------------------------------------------------- files
def _of_file(path: str, reading: Reading, *, single: bool) -> list[Bars]:
    name = os.path.basename(path)  # noqa: PTH119  for thousands of files Path takes longer than reading does
    kind = next((one for one in SUFFIXES if name.endswith(one)), None)
    if kind is None:
        raise InputError(f"{path}: cannot be read; files end with {', '.join(SUFFIXES)}")
    suffix = reading.file_suffix if name.endswith(reading.file_suffix) else kind
    stem = _symbol(fname_to_code(name[: len(name) - len(suffix)]))
    try:
        if kind == ".parquet":
            frame = _parquet(path)
        else:
            content, size = _content(path, zipped=kind == ".csv.gz")
            columns, begin = _header(content, size, path)
            fast = _plain_lines(content, begin, size, columns, path, stem, reading, single=single)
            if fast is not None:
                return [fast]
            frame = _csv(content, begin, size, columns, path, reading)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    several = single and reading.symbol_field_name in frame.columns
    return _of_frame(frame, path, None if several else stem, reading)


_scratch = threading.local()  # a buffer for each thread: touching fresh memory takes longer than reading a file


def _content(path: str, *, zipped: bool) -> tuple[np.ndarray, int]:
    """Return the bytes of a file with a margin before and after them, and how many they are; until the next call."""
    if zipped:
        plain = gzip.decompress(Path(path).read_bytes())
        content = _buffer(len(plain))
        content[MARGIN : MARGIN + len(plain)] = np.frombuffer(plain, np.uint8)
        return content, len(plain)
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  Path.open takes as long as reading a small file
        size = os.fstat(file.fileno()).st_size
        content = _buffer(size)
        view, at = content.data, MARGIN
        while at < MARGIN + size and (read := file.readinto(view[at : MARGIN + size])):
            at += read
    return content, at - MARGIN


def _buffer(size: int) -> np.ndarray:
    kept: np.ndarray | None = getattr(_scratch, "content", None)
    if kept is None or len(kept) < size + 2 * MARGIN:
        kept = np.zeros(size + size // 4 + 2 * MARGIN, np.uint8)
        if len(kept) <= _KEPT:
            _scratch.content = kept
    return kept


def _fresh(size: int) -> np.ndarray:
    """Return so many new bytes, a piece of a large one where they are few: the system gives that out in large pages."""
    whole = -(-size // 64) * 64
    slab: np.ndarray | None = getattr(_scratch, "slab", None)
    if whole > _SLAB // 4:
        return np.empty(size, np.uint8)
    if slab is None or len(slab) < whole:
        slab = np.empty(_SLAB, np.uint8)
    _scratch.slab = slab[whole:]
    return slab[:size]


def _header(content: np.ndarray, size: int, path: str) -> tuple[tuple[str, ...], int]:
    """Return the names of the columns, and where the lines after them begin."""
    line, begin = b"", MARGIN
    while begin < MARGIN + size and not line.strip():
        stretch, line = 4096, b""
        while begin + len(line) < MARGIN + size and not line.endswith(b"\n"):
            line = content[begin : min(begin + stretch, MARGIN + size)].tobytes()
            line = line[: line.find(b"\n") + 1] or line
            stretch *= 16
        begin += len(line)
    if not line.strip():
        raise InputError(f"{path}: is empty; a line with the names of the columns is needed")
    try:
        columns = _columns(line)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error})") from None
    if len(set(columns)) < len(columns):
        double = next(name for name in columns if columns.count(name) > 1)
        raise InputError(f"{path}: column {double!r} occurs more than once")
    return columns, begin


@functools.lru_cache(maxsize=64)
def _columns(line: bytes) -> tuple[str, ...]:
    return tuple(next(csv.reader([line.decode("utf-8-sig")])))


def _plain_lines(
    content: np.ndarray, begin: int, size: int, columns: tuple[str, ...], path: str, stem: str, reading: Reading,
    *, single: bool,
) -> Bars | None:  # fmt: skip
    """Return the bars of a file of plain lines that is about one instrument; None for any other file."""
    wanted = reading.wanted(columns, path)
    kinds = {reading.symbol_field_name: NAME, reading.date_field_name: TIME, **dict.fromkeys(wanted, NUMBER)}
    end = MARGIN + size
    if (room := count_rows(content, begin, end)) == 0:
        return None
    times = _fresh(8 * room).view(np.int64)
    values = _fresh(4 * room * len(wanted)).view(np.float32).reshape(len(wanted), room)
    read = read_lines(content, begin, end, bytes(kinds.get(name, SKIP) for name in columns), times, values)
    if read is None:
        return None
    rows, name = read
    if single and name is not None:
        stem = _symbol(content[slice(*name)].tobytes().decode(errors="replace"))
    return checked(stem, path, times[:rows].view("M8[s]"), wanted, values[:, :rows], reading.freq)


def _csv(
    content: np.ndarray, begin: int, size: int, columns: tuple[str, ...], path: str, reading: Reading
) -> pd.DataFrame:
    """Read any CSV file, dates and symbols as text (a coin called NA is a coin)."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.csv  # noqa: PLC0415

    if begin >= MARGIN + size:
        raise InputError(f"{path}: has no rows")
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(pa.py_buffer(content)[begin : MARGIN + size]),
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=min(size + 1, 2**31 - 1), column_names=list(columns)
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys((reading.date_field_name, reading.symbol_field_name), pa.string()),
                null_values=_MISSING,
            ),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"{path}: is no CSV file: {str(error).splitlines()[0]}") from None
    return table.to_pandas()


def _parquet(path: str) -> pd.DataFrame:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    try:
        return pa.parquet.read_table(path).to_pandas()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: is no Parquet file: {str(error).splitlines()[0]}") from None


# ---------------------------------------------------------------------- frames
def _of_frame(frame: pd.DataFrame, source: str, instrument: str | None, reading: Reading) -> list[Bars]:
    """Return the bars of a frame: of `instrument`, or (None) of every name in its symbol column."""
    frame = _flat(frame, source, reading)
    wanted = reading.wanted([str(name) for name in frame.columns], source)
    if not len(frame):
        raise InputError(f"{source}: has no rows")
    times, zone = _times(frame[reading.date_field_name], source)
    values = np.empty((len(wanted), len(frame)), np.float32)
    for row, name in zip(values, wanted, strict=True):
        row[:] = _numbers(frame[name], f"{source}: column {name!r}")
    if reading.symbol_field_name not in frame.columns:
        if instrument is None:
            raise InputError(
                f"{source}: has no symbol column {reading.symbol_field_name!r}; its columns are "
                f"{', '.join(map(str, frame.columns))} (--symbol_field_name says which one it is)"
            )
        return [checked(instrument, source, times, wanted, values, reading.freq, zone)]
    codes, names = pd.factorize(frame[reading.symbol_field_name])
    if (codes < 0).any():
        raise InputError(f"{source}: row {np.flatnonzero(codes < 0)[0] + 1} has no symbol")
    if instrument is not None:
        if len(names) > 1:
            raise InputError(
                f"{source}: two symbols in one file, {names[0]} and {names[1]}; one file an instrument is needed, "
                "or one file for all of them, named itself"
            )
        return [checked(instrument, source, times, wanted, values, reading.freq, zone)]
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    groups = [(_symbol(str(name)), order[a:b]) for name, a, b in zip(names, bounds[:-1], bounds[1:], strict=True)]
    return [
        checked(name, f"{source}, {name}", times[rows], wanted, values[:, rows], reading.freq, zone)
        for name, rows in sorted(groups[: reading.limit_nums], key=lambda group: group[0])
    ]


def _flat(frame: pd.DataFrame, source: str, reading: Reading) -> pd.DataFrame:
    """Return the frame with its dates and symbols as columns, whether they stood in the index or not."""
    frame = frame.rename(columns=str)
    if reading.date_field_name in frame.columns:
        return frame
    names = []
    for level in range(frame.index.nlevels):
        values = frame.index.get_level_values(level)
        is_date = values.name == reading.date_field_name or isinstance(values, pd.DatetimeIndex)
        names.append(reading.date_field_name if is_date else reading.symbol_field_name)
    if reading.date_field_name in names and len({*names, *frame.columns}) == len(names) + len(frame.columns):
        return frame.reset_index(names=names)
    return frame


def _times(column: pd.Series, source: str) -> tuple[np.ndarray, str]:
    """Return a column of dates as datetime64[s], and its zone ("UTC" or "")."""
    missing = column.isna().to_numpy()
    if missing.any():
        raise InputError(f"{source}: row {np.flatnonzero(missing)[0] + 1} has no date")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        if str(column.dt.tz) not in ("UTC", "+00:00", "UTC+00:00"):
            raise InputError(
                f"{source}: its times carry the zone {column.dt.tz}; a store keeps one clock: write them in UTC, or "
                "as the exchange's own time without a zone"
            )
        return _seconds(column.dt.tz_localize(None), source), "UTC"
    if pd.api.types.is_datetime64_dtype(column.dtype):
        return _seconds(column, source), ""
    codes, texts = pd.factorize(column.astype(str))  # a date occurs once an instrument: each is looked at once
    times, zone = _times_of_texts(pd.Series(texts), lambda at: f"{source}: row {int((codes == at).argmax()) + 1}")
    return _seconds(times, source)[codes], zone


def _times_of_texts(texts: pd.Series, where: Callable[[int], str]) -> tuple[pd.Series, str]:
    """Return texts as times, and their zone; `where(i)` says where the text at i stands."""

    def first(wrong: pd.Series) -> int:
        return int(wrong.to_numpy().argmax())

    if texts.str.fullmatch(r"\d+").all():
        odd = ~texts.str.fullmatch(r"(?:1[789]|2[012])\d{6}")
        if odd.any():
            at = first(odd)
            raise InputError(f"{where(at)} has the date {texts[at]}; a number means YYYYMMDD, such as 20240131")
        bare, zone = texts.str.replace(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", regex=True), ""
    else:
        zones = texts.str.extract(_ZONE)[0].fillna("").replace(r"^(?:z|UTC|[+-]00(?::?00)?)$", "Z", regex=True)
        zone = zones[0]
        other = zones != zone
        if other.any():
            raise InputError(
                f"{where(first(other))}: mixed time zones: {texts[0]} and {texts[first(other)]}; a store keeps one "
                "clock: write all times in UTC"
            )
        if zone not in ("", "Z"):
            raise InputError(
                f"{where(0)}: the times carry the zone {zone}; a store keeps one clock: write them in UTC, or as the "
                "exchange's own time without a zone"
            )
        bare = (texts.str.replace(r"(?:Z|z|UTC|[+-]\d\d(?::?\d\d)?)$", "", regex=True) if zone else texts).str.strip()
        odd = ~bare.str.fullmatch(_DATE)
        if odd.any():
            at = first(odd)
            raise InputError(
                f"{where(at)} has the date {texts[at]!r}; write dates with the year first, such as 2024-01-31, "
                "20240131 or 2024-01-31 09:30:00"
            )
        for part in (r"^(\d{4})[-/.](\d)(?=[-/.])", r"^(\d{4})[-/.](\d\d)[-/.](\d)(?!\d)", r"^(.{10})[T ](\d)(?=:)"):
            bare = bare.str.replace(part, _two_digits, regex=True)
        bare = bare.str.replace(r"^(\d{4})[/.](\d\d)[/.]", r"\1-\2-", regex=True)
    times = pd.to_datetime(bare, format="ISO8601", errors="coerce")
    if times.isna().any():
        at = first(times.isna())
        if not "1679" <= bare[at][:4] <= "2261":  # pandas 2 counts in nanoseconds and reaches no further
            raise InputError(
                f"{where(at)}: the date {bare[at][:10]} is out of range; years from 1679 to 2261 are allowed"
            )
        raise InputError(f"{where(at)} has the date {texts[at]!r}, which does not exist")
    return times, "UTC" if zone else ""


def _two_digits(match: re.Match[str]) -> str:
    """Write the last number of a match with two digits: "2024/1" becomes "2024/01"."""
    return match.group()[:-1] + "0" + match.group()[-1]


def _seconds(times: pd.Series, source: str) -> np.ndarray:
    exact = times.to_numpy()
    whole = exact.astype("M8[s]")
    if (whole != exact).any():
        raise InputError(f"{source}: {exact[whole != exact][0]} is no whole second; bars open at whole seconds")
    return whole


def _numbers(column: pd.Series, where: str) -> np.ndarray:
    """Return a column as float32, or raise InputError naming the first value that is no number."""
    if pd.api.types.is_numeric_dtype(column.dtype):  # booleans too
        exact = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        present = column.dropna()
        if len(present):
            text = next((value for value in present if isinstance(value, str)), None)
            try:
                if text is not None:
                    raise TypeError
                present = present.astype(np.float64)
            except (TypeError, ValueError):
                raise InputError(
                    f"{where} holds {text if text is not None else present.iloc[0]!r}, which is no number; leave the "
                    "column out with --exclude_fields, or name the fields with --include_fields"
                ) from None
        exact = present.reindex(column.index).to_numpy(np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        values = exact.astype(np.float32)
    lost = np.isinf(values) & np.isfinite(exact)
    if lost.any():
        raise InputError(f"{where} holds {exact[lost][0]:g}, too large for float32")
    return values


# ---------------------------------------------------------------------- checks that all share
def checked(
    instrument: str,
    source: str,
    times: np.ndarray,
    wanted: Sequence[str],
    values: np.ndarray,
    freq: Freq,
    zone: str = "",
) -> Bars:
    """Return bars in the order of time, or raise InputError saying what is wrong with them."""
    if "\t" in instrument or "\n" in instrument:
        raise InputError(f"{source}: a tab or a line break cannot stand in the name of an instrument")
    if not len(times):
        raise InputError(f"{source}: has no rows")
    ascend, midnights = order_of(np.ascontiguousarray(times).view(np.int64))
    if not ascend:
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[:, order]
        twice = np.flatnonzero(times[1:] == times[:-1])
        if len(twice):
            raise InputError(f"{source}: the date {str(times[twice[0]]).replace('T', ' ')} occurs more than once")
    check_years(times[[0, -1]], source)
    if not freq.intraday and not midnights:
        odd = times[times.view(np.int64) % 86400 != 0][0]
        raise InputError(
            f"{source}: {odd} cannot be stored at freq {freq}, whose times are midnights (--freq says which)"
        )
    try:
        fields = _fields(tuple(wanted))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return Bars(instrument, source, times, fields, values, zone)


@functools.lru_cache(maxsize=64)
def _fields(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of fields that columns get."""
    fields = tuple(name.lower() for name in wanted)
    for name, field_name in zip(wanted, fields, strict=True):
        if not FIELD.fullmatch(field_name):
            raise InputError(
                f"column {name!r} cannot be a field; letters, digits and _ are allowed (leave it out with "
                "--exclude_fields, or name the fields with --include_fields)"
            )
        if fields.count(field_name) > 1:
            raise InputError(f"column {field_name} occurs more than once (case does not count)")
    if not fields:
        raise InputError("no column is a field")
    return fields

"""Frames and series as Parquet files that any tool reads, equal to the bit when they come back here.

    write_parquet(path, frame)          ConfigError, and no file, for what would not come back as it was
    read_parquet(path)                  the frame or series; of a stranger's file, what pandas makes of it

The file holds what one expects: a column for each column and each level of the index, under their own names where they
have some, and pandas' description of the index, so `pandas.read_parquet` and others show the same table. What Parquet
does not know (labels that are no texts, names, spacing of dates, units, attrs, the text type of pandas) stands as JSON
in the file's description under the key `qlib`.

Kept to the bit: numbers, dates and durations of numpy, texts; any labels of columns; a RangeIndex, an index of numbers,
dates or texts, or several levels of them. Levels come back sorted and without values that no row uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from qlib.errors import ConfigError, InputError, StoreError
from qlib.utils.spec import from_plain_json, plain_json

if TYPE_CHECKING:
    import pyarrow as pa

KEY: Final = b"qlib"
NUMBERS: Final = "fiubMm"  # kinds of numpy types that come back bit by bit
TEXTS: Final = ("object", "str", "string")
INDEX: Final = "index"
VALUE: Final = "value"


# ------------------------------------------------------------------------------------------------------------ writing
def write_parquet(file: str | Path | IO[bytes], table: pd.DataFrame | pd.Series) -> None:
    """Write a frame or series to a new file, or into an open one.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "x.parquet")
    >>> write_parquet(file, pd.Series([1.5], index=pd.date_range("2024", periods=1, name="day"), name="score"))
    >>> read_parquet(file)
    day
    2024-01-01    1.5
    Freq: D, Name: score, dtype: float64
    """
    import pyarrow as pa  # noqa: PLC0415  heavy
    import pyarrow.parquet as pq  # noqa: PLC0415  heavy

    frame, described = _described(table)
    taken: set[str] = set()
    levels = {}
    for at, name in enumerate(frame.index.names if described["index"] is None else ()):
        levels[_free(INDEX if name is None and frame.index.nlevels == 1 else name, f"level_{at}", taken)] = at
    columns = {_free(_shown(label), VALUE, taken): at for at, label in enumerate(frame.columns)}
    arrays = [_level(frame.index, at) for at in levels.values()]
    arrays += [_column(frame.iloc[:, at]) for at in columns.values()]
    made = pa.Table.from_arrays(arrays, names=[*levels, *columns])
    described |= {"levels": list(levels)}
    about = {KEY: plain_json(described).encode(), **_for_pandas(frame, list(levels), list(columns))}
    texts = [name for name, array in zip([*levels, *columns], arrays, strict=True) if array.type == pa.string()]
    pq.write_table(made.replace_schema_metadata(about), file, use_dictionary=texts)


def _described(table: pd.DataFrame | pd.Series) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table as a frame, and what Parquet does not say of it; ConfigError if it cannot come back."""
    if type(table) not in (pd.DataFrame, pd.Series):
        raise ConfigError(f"a {type(table).__qualname__} is no plain frame or series")
    frame = pd.DataFrame({0: table}) if isinstance(table, pd.Series) else table
    labels, index = frame.columns, frame.index
    for at in range(frame.shape[1]):
        _check(frame.iloc[:, at], f"column {labels[at]!r}")
    described: dict[str, Any] = {
        "version": 1,
        "dtypes": [str(dtype) for dtype in frame.dtypes],
        "attrs": dict(table.attrs),
        "names": list(index.names),
        "index": None,
        "level_dtypes": [],
        "spacing": None,
    }
    if isinstance(table, pd.Series):
        described["series"] = table.name
    else:
        described["columns"] = _labels(labels)
    if isinstance(index, pd.RangeIndex):
        described["index"] = [index.start, index.stop, index.step]
    else:
        if isinstance(index, pd.MultiIndex) and index.nlevels == 1:
            raise ConfigError("a MultiIndex of one level cannot be kept as Parquet")
        for at in range(index.nlevels):
            level = index.levels[at] if isinstance(index, pd.MultiIndex) else index
            _check(level.to_series(), f"the index's level {index.names[at]!r}")
            described["level_dtypes"].append(str(level.dtype))
    spacing = getattr(index, "freq", None)
    if spacing is not None:
        described["spacing"] = spacing.freqstr
        if pd.tseries.frequencies.to_offset(spacing.freqstr) != spacing:
            raise ConfigError(f"the spacing {spacing!r} of the index has no name")
    plain_json(described)  # attrs and names may hold anything: refuse before there is a file
    return frame, described


def _check(column: pd.Series, where: str) -> None:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in NUMBERS and dtype.itemsize <= 8:
        return
    if str(dtype) not in TEXTS:
        raise ConfigError(f"{where} of dtype {dtype} cannot be kept as Parquet; numbers, dates and texts can")
    kinds = set(map(type, column.to_numpy())) if str(dtype) == "object" else set()
    if not kinds <= {str, type(None)}:  # the text types have one kind of hole each
        raise ConfigError(f"{where} holds {', '.join(sorted(kind.__name__ for kind in kinds))}; texts can be kept")


def _labels(labels: pd.Index) -> dict[str, Any]:
    if isinstance(labels, pd.RangeIndex):
        return {"range": [labels.start, labels.stop, labels.step], "names": list(labels.names)}
    parts: list[pd.Index] = list(labels.levels) if isinstance(labels, pd.MultiIndex) else [labels]
    several = isinstance(labels, pd.MultiIndex)
    for part in parts:
        plain = isinstance(part.dtype, np.dtype) or str(part.dtype) in TEXTS
        if not plain or (getattr(part, "freq", None) is not None and not several):
            raise ConfigError(f"labels of dtype {part.dtype} cannot be kept as Parquet")
    if not several and any(isinstance(label, tuple) for label in labels):
        raise ConfigError("labels that are tuples cannot be kept as Parquet, except as those of a MultiIndex")
    return {
        "values": list(labels),
        "names": list(labels.names),
        "dtypes": [str(part.dtype) for part in parts],
        "several": several,
    }


def _shown(label: Any) -> str:
    return ".".join(map(str, label)) if isinstance(label, tuple) else str(label)


def _free(wanted: Any, otherwise: str, taken: set[str]) -> str:
    """Return a name for a column of the file, which must be a text that no other has."""
    base = otherwise if wanted is None or _shown(wanted) == "" else _shown(wanted)
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def _level(index: pd.Index, at: int) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415  heavy

    if not isinstance(index, pd.MultiIndex):
        return _column(index.to_series())
    codes = np.asarray(index.codes[at])
    values = _column(index.levels[at].to_series())
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), values).dictionary_decode()


def _column(column: pd.Series) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415  heavy

    if isinstance(column.dtype, np.dtype) and column.dtype.kind in NUMBERS:
        values = column.to_numpy()
        if values.dtype.kind in "Mm" and values.dtype.str.endswith("[s]"):
            values = values.view("i8")  # Parquet counts in milliseconds at the coarsest
        return pa.array(values, from_pandas=False)
    try:
        values = column.to_numpy(dtype=object, na_value=None)  # type: ignore[call-overload]  # None is allowed
        return pa.array(values, pa.string())
    except UnicodeEncodeError as error:
        raise ConfigError(f"a text cannot be kept as Parquet: {error}") from None


def _for_pandas(frame: pd.DataFrame, levels: list[str], columns: list[str]) -> dict[bytes, bytes]:
    """Return pandas' own description, for whoever reads the file with pandas alone."""
    import pyarrow as pa  # noqa: PLC0415  heavy

    empty = frame.iloc[:0].copy()
    empty.columns = pd.Index(columns)
    if not levels:
        empty.index = pd.RangeIndex(0)
        return {}
    empty.index = empty.index.set_names(levels)
    metadata = pa.Schema.from_pandas(empty, preserve_index=True).metadata or {}
    return {key: value for key, value in metadata.items() if key == b"pandas"}


# ------------------------------------------------------------------------------------------------------------ reading
def read_parquet(path: str | Path) -> pd.DataFrame | pd.Series:
    """Return what `write_parquet` wrote, or what pandas reads of a file from elsewhere.

    Raises StoreError for a damaged file.
    """
    import pyarrow as pa  # noqa: PLC0415  heavy
    import pyarrow.parquet as pq  # noqa: PLC0415  heavy

    try:
        schema = pq.read_schema(path)
        if KEY not in (schema.metadata or {}):
            return pd.read_parquet(path)
        described = from_plain_json(schema.metadata[KEY].decode())
        if described.get("version") != 1:
            raise InputError(f"{path} is of version {described.get('version')!r}; this program reads 1")
        texts = [name for name in described["levels"] if schema.field(name).type == pa.string()]
        made = pq.read_table(path, read_dictionary=texts)
        return _table(made, described)
    except (pa.ArrowException, LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise StoreError(f"{path} is damaged: {type(error).__name__} {error}") from error


def _table(made: pa.Table, described: dict[str, Any]) -> pd.DataFrame | pd.Series:
    names, depth = described["names"], len(described["levels"])
    if described["index"] is not None:
        start, stop, step = described["index"]
        index: pd.Index = pd.RangeIndex(start, stop, step, name=names[0])
    elif depth == 1:
        values = _values(made.column(0), described["level_dtypes"][0])
        index = pd.Index(values, name=names[0], dtype=values.dtype)
        if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
            index.freq = described["spacing"]  # type: ignore[misc]  # pandas can; its stubs do not know
    else:
        parts = [_codes(made.column(at), described["level_dtypes"][at]) for at in range(depth)]
        levels: Any = [level for level, _ in parts]
        codes: Any = [code for _, code in parts]
        index = pd.MultiIndex(levels=levels, codes=codes, names=names)
    frame = _frame(made, depth, described["dtypes"], index)
    if "columns" in described:
        frame.columns = _labels_back(described["columns"])
        frame.attrs = described["attrs"]
        return frame
    series = frame.iloc[:, 0].rename(described["series"])
    series.attrs = described["attrs"]
    return series


def _values(column: pa.ChunkedArray, dtype: str) -> Any:
    if dtype not in TEXTS:
        return column.to_numpy().astype(dtype, copy=False)
    texts = column.to_pylist()
    if dtype == "object":
        out = np.empty(len(texts), dtype=object)
        out[:] = texts
        return out
    return pd.array(texts, dtype=_text_dtype(dtype))


def _text_dtype(dtype: str) -> Any:
    """Return pandas' type of texts; `str` exists from pandas 3 on, where texts are objects before."""
    return dtype if dtype != "str" or not pd.__version__.startswith("2.") else "object"


def _codes(column: pa.ChunkedArray, dtype: str) -> tuple[pd.Index, np.ndarray]:
    """Return a level, sorted, and the place in it of every row (-1: none)."""
    import pyarrow as pa  # noqa: PLC0415  heavy

    if not len(column):
        return pd.Index([], dtype=_text_dtype(dtype) if dtype in TEXTS else dtype), np.empty(0, dtype=np.int64)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = encoded.unify_dictionaries().combine_chunks()
    values = _values(pa.chunked_array([whole.dictionary]), dtype)
    level = pd.Index(values, dtype=values.dtype)
    codes = whole.indices.fill_null(-1).to_numpy().astype(np.int64)
    order = np.argsort(level.to_numpy(), kind="stable")
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1  # what code -1 finds
    return level[order], rank[codes]


def _frame(made: pa.Table, depth: int, dtypes: list[str], index: pd.Index) -> pd.DataFrame:
    """Return the columns, those of one type that stand together as one block of memory."""
    pieces, low = [], 0
    for at in range(1, len(dtypes) + 1):
        if at < len(dtypes) and dtypes[at] == dtypes[low]:
            continue
        names, dtype = range(low, at), dtypes[low]
        if dtype in TEXTS:
            texts = {k: _values(made.column(depth + k), dtype) for k in names}
            pieces.append(pd.DataFrame(texts, index=index, dtype=_text_dtype(dtype)))
        else:
            block = np.empty((at - low, len(index)), np.dtype(dtype))
            for k in names:
                block[k - low] = _values(made.column(depth + k), dtype)
            pieces.append(pd.DataFrame(block.T, index=index, columns=names, copy=False))
        low = at
    if not pieces:
        return pd.DataFrame(index=index)
    lazily: dict[str, Any] = {"copy": False} if pd.__version__.startswith("2.") else {}
    return pieces[0] if len(pieces) == 1 else pd.concat(pieces, axis=1, **lazily)


def _labels_back(described: dict[str, Any]) -> pd.Index:
    names = described["names"]
    if "range" in described:
        start, stop, step = described["range"]
        return pd.RangeIndex(start, stop, step, name=names[0])
    dtypes = [dtype if dtype not in TEXTS else _text_dtype(dtype) for dtype in described["dtypes"]]
    if not described["several"]:
        return pd.Index(described["values"], dtype=dtypes[0], name=names[0])
    columns: list[Any] = list(zip(*described["values"], strict=True)) or [() for _ in names]
    arrays = [pd.Index(list(column), dtype=dtype) for column, dtype in zip(columns, dtypes, strict=True)]
    return pd.MultiIndex.from_arrays(arrays, names=names)

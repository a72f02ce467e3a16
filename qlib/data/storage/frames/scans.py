"""Sources that are read query by query: what they are asked, and who answers.

    Scan.batches(columns, Keep(...))     record batches of Arrow, in any order, of the rows that are wanted or more

    DatasetScan     files of Parquet or Arrow, one long table, hive partitions too
    FilesScan       the same, each file one instrument
    PolarsScan      a LazyFrame
    DuckScan        a relation of DuckDB; `DuckTable` names a table or a query of a database file

Every scan pushes the choice of columns, instruments and times down to its source.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from qlib.errors import InputError, MissingDataError, StoreError
from qlib.utils.paths import fname_to_code

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS: Final = {".parquet": "parquet", ".pq": "parquet", ".arrow": "ipc", ".feather": "ipc"}
_ROWS: Final = 1 << 17  # of a batch: what a scan holds beyond the query's own array
_PIP: Final = 'pip install "qlib-crypto[frames]"'


@dataclass(frozen=True, slots=True)
class Keep:
    """Which rows are wanted: of these instruments (None: all), from `low` to `high` (None: no bound; UTC if zoned)."""

    instrument: str
    values: Sequence[Any] | None
    time: str
    low: datetime | None
    high: datetime | None


class Scan(Protocol):
    """A source that is read query by query; see the module."""

    def schema(self) -> pa.Schema:
        """Return the columns and their types."""

    def version(self) -> Hashable:
        """Return what changes when the source does, as far as can be known without reading it."""

    def batches(self, columns: Sequence[str], keep: Keep, *, threads: int = 1) -> Generator[pa.RecordBatch]:
        """Yield the wanted rows, to be closed by who asked; StoreError where the source cannot be read."""

    def lacks(self, column: str) -> Sequence[Any]:
        """Return the instruments that have no such column."""


# ------------------------------------------------------------------------------------------------ files
def files_of(path: Path, where: str) -> list[Path]:
    """Return the files of a folder, or the file itself; MissingDataError where there is none."""
    if path.is_file():
        if path.suffix not in FORMATS:
            raise InputError(f"{where}: {path} is no {_kinds()} file")
        return [path]
    if not path.exists():
        raise MissingDataError(f"{where}: there is no file or folder {path}")
    found = sorted(Path(name) for name in _inside(path))
    if not found:
        raise MissingDataError(f"{where}: {path} holds no {_kinds()} file")
    other = next((one for one in found if FORMATS[one.suffix] != FORMATS[found[0].suffix]), None)
    if other is not None:
        raise InputError(
            f"{where}: {path} holds files of two formats, {found[0].name} and {other.name}; one is allowed"
        )
    return found


def _inside(path: Path) -> Iterator[str]:
    ending = tuple(FORMATS)
    for folder, _, files in os.walk(path):
        for name in files:
            if name.endswith(ending) and name[0] not in "._":
                yield f"{folder}{os.sep}{name}"


def _stamp(path: Path) -> Hashable:
    """Return what tells whether files came, went or changed; every query asks for it."""
    names = sorted(_inside(path)) if path.is_dir() else [str(path)]
    try:
        stats = [os.stat(name) for name in names]  # noqa: PTH116  a Path costs more than the stat
    except FileNotFoundError:
        return None  # the next one will say so
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in zip(names, stats, strict=True))


def _kinds() -> str:
    return ", ".join(FORMATS)


def _expression(keep: Keep, schema: pa.Schema) -> Any:
    import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it
    import pyarrow.dataset as ds  # noqa: PLC0415

    found = None
    kind = schema.field(keep.time).type
    for bound, ask in ((keep.low, "__ge__"), (keep.high, "__le__")):
        if bound is not None:
            scalar = pa.scalar(bound.date() if pa.types.is_date(kind) else bound, kind)
            own = getattr(ds.field(keep.time), ask)(scalar)
            found = own if found is None else found & own
    if keep.values is not None:
        kind = schema.field(keep.instrument).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        own = ds.field(keep.instrument).isin(pa.array(keep.values, kind))
        found = own if found is None else found & own
    return found


def _read(dataset: Any, columns: Sequence[str], where: Any, threads: int, name: str) -> Generator[pa.RecordBatch]:
    import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it

    try:
        yield from dataset.scanner(
            columns=list(columns),
            filter=where,
            batch_size=_ROWS,
            batch_readahead=2 * threads,
            fragment_readahead=2 * threads,
            use_threads=threads > 1,
        ).to_batches()
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{name}: cannot be read ({error})") from None


def _opened(files: Sequence[Path], **kwargs: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it
    import pyarrow.dataset as ds  # noqa: PLC0415

    try:
        return ds.dataset([str(file) for file in files], format=FORMATS[files[0].suffix], **kwargs)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{files[0].parent}: cannot be read ({error})") from None


class DatasetScan:
    """Files that are one long table, or a `pyarrow.dataset.Dataset`."""

    def __init__(self, source: Any, instrument: str, where: str) -> None:
        self._path = source if isinstance(source, Path) else None
        self._given = None if isinstance(source, Path) else source
        self._instrument, self._where = instrument, where
        self._known: tuple[Hashable, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": None}

    def version(self) -> Hashable:
        if self._path is None:
            return None
        stamp = _stamp(self._path)
        if self._known is None or self._known[0] != stamp:
            self._known = (stamp, self._open(files_of(self._path, self._where)))
        return stamp

    def _dataset(self) -> Any:
        if self._path is None:
            return self._given
        if self._known is None:
            self.version()
        assert self._known is not None
        return self._known[1]

    def _open(self, files: list[Path]) -> Any:
        """Return the files as a dataset with all their columns; names in folders (`symbol=000001`) stay text."""
        import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it
        import pyarrow.dataset as ds  # noqa: PLC0415

        found = _opened(files, partitioning="hive")
        try:
            kinds = pa.unify_schemas(
                [one.physical_schema for one in found.get_fragments()], promote_options="permissive"
            )
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{self._where}: {self._path}: its files do not fit each other ({error})") from None
        folders = [field for field in found.schema if field.name not in kinds.names]
        folders = [pa.field(one.name, pa.string()) if one.name == self._instrument else one for one in folders]
        keys = ds.partitioning(pa.schema(folders), flavor="hive") if folders else None
        return _opened(files, partitioning=keys, schema=pa.schema([*kinds, *folders]))

    def schema(self) -> pa.Schema:
        return self._dataset().schema

    def lacks(self, column: str) -> Sequence[Any]:  # noqa: ARG002  one table has its columns for everybody
        return ()

    def batches(self, columns: Sequence[str], keep: Keep, *, threads: int = 1) -> Generator[pa.RecordBatch]:
        dataset = self._dataset()
        return _read(dataset, columns, _expression(keep, dataset.schema), threads, self._where)


class FilesScan:
    """A folder in which each file is one instrument, called as the file; the column of instruments is made up."""

    def __init__(self, path: Path, instrument: str, where: str) -> None:
        self._path, self._instrument, self._where = path, instrument, where
        self._known: tuple[Hashable, dict[str, Any]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": None}

    def version(self) -> Hashable:
        stamp = _stamp(self._path)
        if self._known is None or self._known[0] != stamp:
            files = files_of(self._path, self._where)
            named = {fname_to_code(file.stem): file for file in files}
            if len(named) < len(files):
                again = next(file for file in files if named[fname_to_code(file.stem)] != file)
                raise InputError(f"{self._where}: two files are called {again.stem}; each file is one instrument")
            self._known = (stamp, {name: _opened([file]) for name, file in named.items()})
        return stamp

    def _files(self) -> dict[str, Any]:
        if self._known is None:
            self.version()
        assert self._known is not None
        return self._known[1]

    def schema(self) -> pa.Schema:
        import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it

        try:
            schema = pa.unify_schemas([one.schema for one in self._files().values()], promote_options="permissive")
        except pa.ArrowException as error:
            raise StoreError(f"{self._where}: {self._path}: its files do not fit each other ({error})") from None
        return schema.append(pa.field(self._instrument, pa.dictionary(pa.int32(), pa.string())))

    def lacks(self, column: str) -> Sequence[Any]:
        return [name for name, one in self._files().items() if column not in one.schema.names]

    def batches(self, columns: Sequence[str], keep: Keep, *, threads: int = 1) -> Generator[pa.RecordBatch]:
        import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it

        files = self._files()
        for name in files if keep.values is None else keep.values:
            dataset = files[name]
            there = [column for column in columns if column in dataset.schema.names]
            where = _expression(Keep(keep.instrument, None, keep.time, keep.low, keep.high), dataset.schema)
            for batch in _read(dataset, there, where, threads, f"{self._where}: {name}"):
                named = {column: batch.column(column) for column in there}
                zeros = pa.DictionaryArray.from_arrays(pa.array([0] * batch.num_rows, pa.int32()), [name])
                named[self._instrument] = zeros
                yield pa.RecordBatch.from_pydict(named)


# ------------------------------------------------------------------------------------------------ polars
class PolarsScan:
    """A LazyFrame; its result is streamed together for the rows and columns of each query."""

    def __init__(self, frame: Any, where: str) -> None:
        self._frame, self._where = frame, where

    def version(self) -> Hashable:
        return None

    def schema(self) -> pa.Schema:
        return self._collected(self._frame.head(0)).schema

    def lacks(self, column: str) -> Sequence[Any]:  # noqa: ARG002  one table has its columns for everybody
        return ()

    def _collected(self, frame: Any) -> pa.Table:
        import polars as pl  # noqa: PLC0415  optional

        try:
            return frame.collect(engine="streaming").to_arrow()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StoreError(f"{self._where}: cannot be read ({error})") from None

    def batches(self, columns: Sequence[str], keep: Keep, *, threads: int = 1) -> Generator[pa.RecordBatch]:  # noqa: ARG002
        import polars as pl  # noqa: PLC0415  optional

        frame = self._frame
        if keep.values is not None:
            frame = frame.filter(pl.col(keep.instrument).is_in(list(keep.values)))
        kind = frame.collect_schema()[keep.time]
        if keep.low is not None:
            frame = frame.filter(pl.col(keep.time) >= _polars_time(keep.low, kind))
        if keep.high is not None:
            frame = frame.filter(pl.col(keep.time) <= _polars_time(keep.high, kind))
        yield from self._collected(frame.select(columns)).to_batches(max_chunksize=_ROWS)


def _polars_time(time: datetime, kind: Any) -> Any:
    import polars as pl  # noqa: PLC0415  optional

    if kind == pl.Date:
        return pl.lit(time.date())
    return pl.lit(time.replace(tzinfo=None)).dt.replace_time_zone("UTC" if kind.time_zone else None).cast(kind)


# ------------------------------------------------------------------------------------------------ DuckDB
@dataclass(frozen=True, slots=True)
class DuckTable:
    """A table of a DuckDB database file, or a query of it; opened to read only, by each process for itself.

    Parameters
    ----------
    path
        The database file.
    table
        Name of a table or view.
    query
        SQL (`SELECT ...`) instead.
    """

    path: str
    table: str | None = None
    query: str | None = None

    def __post_init__(self) -> None:
        if (self.table is None) == (self.query is None):
            raise InputError("DuckTable: one of table=... and query=... is needed")

    def relation(self, where: str) -> Any:
        """Return the relation, over a connection of its own."""
        duckdb = import_duckdb(where)
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise MissingDataError(f"{where}: there is no database file {path}")
        try:
            connection = duckdb.connect(str(path), read_only=True)
            return connection.table(self.table) if self.query is None else connection.sql(self.query)
        except duckdb.Error as error:
            raise StoreError(f"{where}: {path}: {error}") from None


def import_duckdb(where: str) -> Any:
    """Return the library; InputError, which says what to install, where it is not there."""
    try:
        import duckdb  # noqa: PLC0415  optional
    except ImportError:
        raise InputError(f"{where}: DuckDB is not installed: {_PIP}") from None
    return duckdb


class DuckScan:
    """A relation of DuckDB; queries through one connection wait for each other."""

    def __init__(self, source: Any, where: str) -> None:
        self._source, self._where = source, where
        self._opened: Any = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self._source, DuckTable):
            raise TypeError(
                f"{self._where}: a relation of DuckDB lives in its connection and cannot go to another process; "
                "name the database file instead: DuckTable(path, table=...) or DuckTable(path, query=...)"
            )
        return {"source": self._source, "where": self._where}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _relation(self) -> Any:
        if self._opened is None:
            self._opened = self._source.relation(self._where) if isinstance(self._source, DuckTable) else self._source
        return self._opened

    def version(self) -> Hashable:
        return None

    def schema(self) -> pa.Schema:
        with self._lock, self._reader(self._relation().limit(0)) as reader:
            return reader.schema

    def lacks(self, column: str) -> Sequence[Any]:  # noqa: ARG002  one table has its columns for everybody
        return ()

    def _reader(self, relation: Any) -> pa.RecordBatchReader:
        duckdb = import_duckdb(self._where)
        try:
            return relation.to_arrow_reader(_ROWS)
        except duckdb.Error as error:
            raise StoreError(f"{self._where}: cannot be read ({error})") from None

    def batches(self, columns: Sequence[str], keep: Keep, *, threads: int = 1) -> Generator[pa.RecordBatch]:  # noqa: ARG002
        duckdb = import_duckdb(self._where)
        column, constant = duckdb.ColumnExpression, duckdb.ConstantExpression
        with self._lock:
            found = self._relation()
            if keep.values is not None:
                found = found.filter(column(keep.instrument).isin(*map(constant, keep.values)))
            if keep.low is not None:
                found = found.filter(column(keep.time) >= constant(keep.low))
            if keep.high is not None:
                found = found.filter(column(keep.time) <= constant(keep.high))
            with self._reader(found.select(*map(column, columns))) as reader:
                try:
                    yield from reader
                except (duckdb.Error, OSError) as error:
                    raise StoreError(f"{self._where}: cannot be read ({error})") from None

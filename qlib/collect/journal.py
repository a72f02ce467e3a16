"""Pages on their way into the store: a file that is only ever appended to.

    with Journal(folder / "journal", "candles") as journal:
        journal.append(Entry(start, end, rows, bars))
    read_journal(folder / "journal", "candles")     the entries that are whole

One entry is a head (magic, length, CRC-32) and an Arrow stream.  Whatever kills the writer can only leave the last
entry incomplete; the next writer cuts it off, and what it held is downloaded again.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from qlib.collect.coverage import NO_BARS, Bars, union
from qlib.collect.source import COLUMNS, Rows, empty_rows

_HEAD: Final = struct.Struct("<4sII")  # magic, bytes that follow, their CRC-32
_MAGIC: Final = b"QJ1\n"


@dataclass(frozen=True, eq=False)
class Entry:
    """What a venue said of [start, end): its rows and the bars it does not have, or why nothing can be had."""

    start: int
    end: int
    rows: Rows
    bars: Bars = NO_BARS
    reason: str = ""  # not empty: a hole


def arrow_table(kind: str, rows: Rows) -> pa.Table:
    """Return rows of a kind as a table with the columns of the kind, in order."""
    schema = pa.schema([(name, _arrow_type(type_)) for name, type_ in COLUMNS[kind].items()])
    return pa.Table.from_arrays(
        [pa.array(rows[name], field.type) for name, field in zip(rows, schema, strict=True)], schema=schema
    )


def rows_of(kind: str, table: pa.Table) -> Rows:
    """Return what `arrow_table` made a table of."""
    if not table.num_rows:
        return empty_rows(kind)
    return {name: table.column(name).to_numpy(zero_copy_only=False) for name in COLUMNS[kind]}


class Journal:
    """The journal of one series, open for appending; an incomplete entry at its end is cut off."""

    def __init__(self, path: Path, kind: str) -> None:
        self._kind = kind
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = sum(size for size, _ in _entries(path)) if path.exists() else 0
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        os.ftruncate(self._handle, whole)
        self._size = whole

    def append(self, entry: Entry) -> None:
        """Add one entry; OSError (a full disk) leaves the journal as it was."""
        content = _packed(self._kind, entry)
        rest = memoryview(_HEAD.pack(_MAGIC, len(content), zlib.crc32(content)) + content)
        place = self._size
        try:
            while rest:
                written = os.pwrite(self._handle, rest, place)
                place += written
                rest = rest[written:]
        except OSError:
            os.ftruncate(self._handle, self._size)
            raise
        self._size = place

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: Path, kind: str) -> list[Entry]:
    """Return the whole entries of a journal, oldest first; none where there is no journal (any more)."""
    try:
        return [_unpacked(kind, content) for _, content in _entries(path)]
    except FileNotFoundError:  # a collector at work may have folded it just now
        return []


def _entries(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (size in the file, content) of the entries up to the first that is not whole."""
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            magic, length, check = _HEAD.unpack(head)
            content = file.read(length) if magic == _MAGIC else b""
            if magic != _MAGIC or len(content) != length or zlib.crc32(content) != check:
                return
            yield _HEAD.size + length, content


def _packed(kind: str, entry: Entry) -> bytes:
    first, after, absent = entry.bars
    about = {
        "page": [entry.start, entry.end],
        "bars": [first, after, absent.tolist()],
        "reason": entry.reason,
    }
    table = arrow_table(kind, entry.rows).replace_schema_metadata({"page": json.dumps(about)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _unpacked(kind: str, content: bytes) -> Entry:
    table = pa.ipc.open_stream(content).read_all()
    about = json.loads(table.schema.metadata[b"page"])
    first, after, absent = about["bars"]
    start, end = about["page"]
    return Entry(start, end, rows_of(kind, table), Bars(first, after, union(absent)), about["reason"])


def _arrow_type(type_: str) -> pa.DataType:
    return {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "str": pa.string()}[type_]

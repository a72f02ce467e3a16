"""Bars that stay where they are: every query reads its columns and rows from the source.

The grid is found out with the first query, by reading instruments and times only, and again when the source says that
it has changed.  Values are put into the query's own array batch by batch: memory is that of the query.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from qlib.data.storage.arena import Raw
from qlib.data.storage.frames.columns import (
    Fields,
    arrow_times,
    check_numbers,
    check_times,
    fields_of,
    float32_of_arrow,
    need,
)
from qlib.data.storage.frames.grid import Extents, Grid, twice
from qlib.data.storage.frames.scans import Keep, Scan
from qlib.data.storage.frames.shapes import Names, Rules
from qlib.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found out of a source; `values` are its instruments as it has them, `columns` {field: column}."""

    version: Hashable
    grid: Grid
    columns: Fields
    values: list[Any]
    zoned: bool


class Scanned:
    """Bars of a source that is read query by query."""

    def __init__(self, scan: Scan, rules: Rules) -> None:
        assert rules.instrument is not None
        self._scan, self._rules, self._instrument = scan, rules, rules.instrument
        self._lock = threading.Lock()
        self._found: _Known | None = None
        self.check()

    def __getstate__(self) -> dict[str, Any]:
        return {"_scan": self._scan, "_rules": self._rules, "_instrument": self._instrument}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _found=None)

    def check(self) -> Fields:
        """Return {field: column}; InputError where the columns are not those that are needed."""
        rules, schema = self._rules, self._scan.schema()
        hint = "; say what it is called: Frames(..., instrument=..., time=...)"
        need(rules.instrument, schema.names, rules.where, hint + ", or instrument=None where each file is one")
        need(rules.time, schema.names, rules.where, hint)
        check_times(schema.field(rules.time).type, rules.clock, rules.where)
        fields = fields_of(schema.names, (rules.instrument, rules.time), rules.fields, rules.where)
        for column in fields.values():
            check_numbers(schema.field(column).type, f"{rules.where}: column {column}")
        return fields

    @property
    def grid(self) -> Grid:
        return self._known().grid

    def _known(self) -> _Known:
        with self._lock:
            version = self._scan.version()
            if self._found is None or self._found.version != version:
                self._found = self._explored(version)
            return self._found

    def _explored(self, version: Hashable) -> _Known:
        """Read instruments and times of all rows."""
        rules = self._rules
        fields = self.check()
        found, names = Extents(rules.where), Names(rules.where)
        everything = Keep(self._instrument, None, rules.time, None, None)
        with closing(self._scan.batches([self._instrument, rules.time], everything)) as batches:
            for batch in batches:
                found.add(*self._keys(batch, names))
        place = {name: i for i, name in enumerate(names.typed)}
        lacks = {}
        for field, column in fields.items():
            without = [place[str(name)] for name in self._scan.lacks(column) if str(name) in place]
            if without:
                lacks[field] = np.isin(np.arange(len(place)), without)
        grid = found.grid(names.typed, rules.freq, tuple(fields), calendar=rules.calendar, lacks=lacks, by_name=True)
        zoned = getattr(self._scan.schema().field(rules.time).type, "tz", None) is not None
        return _Known(version, grid, fields, names.values, zoned)

    def _keys(self, batch: pa.RecordBatch, names: Names) -> tuple[np.ndarray, np.ndarray]:
        rules = self._rules
        return names.numbers(batch.column(self._instrument)), arrow_times(
            batch.column(rules.time), rules.clock, rules.where
        )

    def read(
        self, instruments: Sequence[str], fields: Sequence[str], first: int, last: int, *, threads: int = 1
    ) -> Raw:
        """Read some fields at calendar positions first ... last, see `Raw`.

        Raises
        ------
        InputError
            A bar is there twice, or a number is too large.
        StoreError
            The source cannot be read, or has changed since its calendar was read.
        """
        known = self._known()
        grid = known.grid
        number = grid.numbers(instruments)
        begin, _, count = grid.window(number, fields, max(first, 0), last)
        place = _Place(grid, np.unique(number[number >= 0]), max(first, 0), last)
        stored = [field for field in fields if field in known.columns]
        block = np.full((len(stored), place.size), np.nan, np.float32)
        if block.size:
            self._fill(block, [known.columns[field] for field in stored], known, place, threads)
        row = {field: j for j, field in enumerate(stored)}
        offset = place.base[number][:, None] + np.array([row.get(field, 0) for field in fields]) * place.size
        offset[count <= 0] = 0
        flat = block.reshape(-1)
        flat.setflags(write=False)
        return Raw(flat, offset.astype(np.int64), np.repeat(begin[:, None], len(fields), axis=1), count)

    def _fill(self, block: np.ndarray, columns: Sequence[str], known: _Known, place: _Place, threads: int) -> None:
        """Read columns into the rows of `block` (columns, values of all instruments)."""
        rules, grid = self._rules, known.grid
        keep = Keep(
            self._instrument,
            None if len(place.asked) == len(grid.names) else [known.values[i] for i in place.asked],
            rules.time,
            None if place.low == 0 else self._moment(grid.times[place.low], -1, zoned=known.zoned),
            None if place.high == len(grid.times) - 1 else self._moment(grid.times[place.high], 1, zoned=known.zoned),
        )
        names = Names(rules.where, grid.names, grows=False)
        there, rows = np.zeros(block.shape[1], dtype=bool), 0
        needed = list(dict.fromkeys([self._instrument, rules.time, *columns]))
        with closing(self._scan.batches(needed, keep, threads=threads)) as batches:
            for batch in batches:
                number, at = self._positions(batch, names, grid)
                inside = (at >= place.begin[number]) & (at < place.end[number])
                cells = (place.base - place.begin)[number] + at
                whole = bool(inside.all())
                cells = cells if whole else cells[inside]
                there[cells] = True
                rows += len(cells)
                for j, column in enumerate(columns):
                    if column in batch.schema.names:
                        own = float32_of_arrow(batch.column(column), f"{rules.where}: column {column}")
                        block[j, cells] = own if whole else own[inside]
        if np.count_nonzero(there) != rows:
            raise self._twice(grid, keep, names)

    def _positions(self, batch: pa.RecordBatch, names: Names, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of each row's instrument and its position; StoreError for a row that is not in the grid."""
        number, times = self._keys(batch, names)
        at = np.minimum(np.searchsorted(grid.times, times), len(grid.times) - 1)
        known = (number >= 0) & (grid.times[at] == times)
        known &= (at >= grid.start[number]) & (at < (grid.start + grid.length)[number])
        if not known.all():
            raise StoreError(
                f"{self._rules.where}: it has rows that were not there when its calendar was read; init again"
            )
        return number, at

    def _moment(self, time: np.datetime64, side: int, *, zoned: bool) -> datetime:
        """Return a time of the calendar as the source counts it, or somewhat outside where zones differ."""
        moment = time.astype("datetime64[us]").item()
        if not zoned:
            return moment
        if self._rules.clock != "UTC":
            moment += side * timedelta(days=2)
        return moment.replace(tzinfo=UTC)

    def _twice(self, grid: Grid, keep: Keep, names: Names) -> Exception:
        numbers, stamps = [], []
        with closing(self._scan.batches([self._instrument, self._rules.time], keep)) as batches:
            for batch in batches:
                number, times = self._keys(batch, names)
                numbers.append(number)
                stamps.append(times)
        return twice(grid, np.concatenate(numbers), np.concatenate(stamps), self._rules.where)


class _Place:
    """Where the bars of the instruments `asked` (numbers, ascending) go: one instrument after the other.

    By number of the instrument: bars at positions begin ... end - 1 go to `base` and behind; none where begin = end.
    """

    def __init__(self, grid: Grid, asked: np.ndarray, first: int, last: int) -> None:
        self.begin, self.end, self.base = (np.zeros(len(grid.names), np.int64) for _ in range(3))
        begin, many, _ = grid.window(asked, (), first, last)
        self.begin[asked], self.end[asked], self.base[asked] = begin, begin + many, np.cumsum(many) - many
        self.size = int(many.sum())
        self.asked = asked[many > 0]
        self.low = int(self.begin[self.asked].min(initial=len(grid.times)))
        self.high = int(self.end[self.asked].max(initial=0)) - 1

"""Frames in memory, of every kind and shape -> `Held`.

    long     rows of (instrument, time, fields): pandas with columns or a MultiIndex, polars, Arrow
    dict     instrument -> frame with a DatetimeIndex (or a column of times)
    wide     field -> frame of times (rows) by instruments (columns); `wide=True` says so

Rows may stand in any order; each instrument has a time once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qlib.data.storage.frames.columns import (
    arrow_times,
    check_dtype,
    check_numbers,
    fields_of,
    float32_of,
    float32_of_arrow,
    need,
    pandas_times,
)
from qlib.data.storage.frames.grid import Extents, Grid
from qlib.data.storage.frames.held import Column, Held
from qlib.errors import InputError
from qlib.utils.time import Freq

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Rules:
    """How the columns of a source are read; `where` is what messages call it.

    `instrument` None: every file, or every frame of a dict, is one instrument.
    """

    where: str
    freq: Freq
    instrument: str | None = "instrument"
    time: str = "datetime"
    fields: Any = None
    clock: str | None = None
    calendar: np.ndarray | None = None


# ------------------------------------------------------------------------------------------------ long
def held_pandas(frame: pd.DataFrame, rules: Rules) -> Held:
    """Return a long frame of pandas."""
    frame = frame.copy(deep=False)  # what its owner changes later, pandas copies first
    inside = isinstance(frame.index, pd.MultiIndex)
    if inside:
        assert isinstance(frame.index, pd.MultiIndex)
        of_name, of_time = _levels(frame.index, rules)
        number, names = _numbered_level(frame.index, of_name, rules.where)
        level = frame.index.levels[of_time]
        code = frame.index.codes[of_time]
        if (code < 0).any():
            raise InputError(f"{rules.where}: it has a row without a time (NaT)")
        times = pandas_times(level, rules.clock, rules.where)[code]
    else:
        need(rules.instrument, frame.columns, rules.where, _HINT)
        named = frame.index.name == rules.time and rules.time not in frame.columns
        if not named:
            need(rules.time, frame.columns, rules.where, _HINT)
        number, names = _numbered(frame[rules.instrument], rules.where)
        times = pandas_times(frame.index if named else frame[rules.time], rules.clock, rules.where)
    fields = fields_of(frame.columns, () if inside else (rules.instrument, rules.time), rules.fields, rules.where)
    for column in fields.values():
        _only(frame, column, rules.where)
    columns = {
        field: partial(float32_of, frame[column], f"{rules.where}: column {column}") for field, column in fields.items()
    }
    return _held_long(number, names, times, columns, rules)


def held_arrow(table: pa.Table, rules: Rules) -> Held:
    """Return a long table of Arrow."""
    need(rules.instrument, table.column_names, rules.where, _HINT)
    need(rules.time, table.column_names, rules.where, _HINT)
    fields = fields_of(table.column_names, (rules.instrument, rules.time), rules.fields, rules.where)
    for column in fields.values():
        check_numbers(table.schema.field(column).type, f"{rules.where}: column {column}")
    names = Names(rules.where)
    pieces = [names.numbers(chunk) for chunk in table.column(rules.instrument).chunks]
    number = np.concatenate(pieces) if len(pieces) != 1 else pieces[0]
    times = arrow_times(table.column(rules.time), rules.clock, rules.where)
    columns: dict[str, Column] = {
        field: partial(float32_of_arrow, table.column(column), f"{rules.where}: column {column}")
        for field, column in fields.items()
    }
    return _held_long(number, names.typed, times, columns, rules)


_HINT = "; say what it is called: Frames(..., instrument=..., time=...)"


def _held_long(
    number: np.ndarray, names: Sequence[str], times: np.ndarray, columns: Mapping[str, Column], rules: Rules
) -> Held:
    found = Extents(rules.where)
    found.add(number, times)
    grid = found.grid(names, rules.freq, tuple(columns), calendar=rules.calendar, by_name=True)
    return Held.of_rows(grid, number, times, columns, rules.where)


def _levels(index: pd.MultiIndex, rules: Rules) -> tuple[int, int]:
    """Return which level of a MultiIndex holds instruments and which times: by name, else by what is in them."""
    if index.nlevels != 2:
        raise InputError(f"{rules.where}: its index has {index.nlevels} levels; instruments and times are expected")
    names = list(index.names)
    if rules.time in names:
        return 1 - names.index(rules.time), names.index(rules.time)
    if rules.instrument in names:
        return names.index(rules.instrument), 1 - names.index(rules.instrument)
    dates = [pd.api.types.is_datetime64_any_dtype(level.dtype) for level in index.levels]
    if sum(dates) != 1:
        raise InputError(f"{rules.where}: one of the index levels {names} must hold instruments and the other times")
    return dates.index(False), dates.index(True)


def _numbered_level(index: pd.MultiIndex, level: int, where: str) -> tuple[np.ndarray, list[str]]:
    code = np.asarray(index.codes[level])
    if (code < 0).any():
        raise InputError(f"{where}: it has a row without an instrument")
    used, number = (np.unique(code, return_inverse=True)) if len(code) else (code, code)
    labels = index.levels[level]
    if len(used) == len(labels):
        number = code
    return number.astype(np.int64), [str(name) for name in labels[used]]


def _numbered(column: pd.Series, where: str) -> tuple[np.ndarray, list[str]]:
    number, names = pd.factorize(column)
    if (number < 0).any():
        raise InputError(f"{where}: it has a row without an instrument")
    return number, [str(name) for name in names]


def _only(frame: pd.DataFrame, column: Any, where: str) -> None:
    if isinstance(frame[column], pd.DataFrame):
        raise InputError(f"{where}: column {column} occurs more than once")
    check_dtype(frame[column].dtype, f"{where}: column {column}")


class Names:
    """The instruments of rows that come in batches of Arrow; their numbers are in order of appearance."""

    def __init__(self, where: str, known: Sequence[str] = (), *, grows: bool = True) -> None:
        self._where, self._grows = where, grows
        self.typed = list(known)
        self.values: list[Any] = list(known)  # as the source has them
        self._number: dict[str, int] = {name: i for i, name in enumerate(known)}

    def numbers(self, column: pa.Array) -> np.ndarray:
        """Return the number of each row's instrument (int64); -1 where it is none of those known and none may come."""
        import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it

        if column.null_count:
            raise InputError(f"{self._where}: it has a row without an instrument (null)")
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        code = column.indices.to_numpy(zero_copy_only=False)
        labels = column.dictionary.to_pylist()
        present = labels if len(labels) <= len(code) else [labels[i] for i in np.unique(code)]
        numbers = {value: self._of(value) for value in present}
        return np.array([numbers.get(value, -1) for value in labels], dtype=np.int64)[code]

    def _of(self, value: Any) -> int:
        name = str(value)
        number = self._number.get(name, -1)
        if number < 0 and self._grows:
            number = self._number[name] = len(self.typed)
            self.typed.append(name)
            self.values.append(value)
        return number


# ------------------------------------------------------------------------------------------------ by instrument
def held_dict(frames: Mapping[Any, Any], rules: Rules) -> Held:
    """Return frames by instrument; one of them may lack fields that others have."""
    if not frames:
        raise InputError(f"{rules.where}: received no frames; at least one instrument is needed")
    names, stamps, own = [], [], []
    zoned = []
    for name, given in frames.items():
        where = f"{rules.where}: frame of {name}"
        frame = _as_pandas(given, where).copy(deep=False)
        if rules.time in frame.columns:
            times: Any = frame[rules.time]
        elif isinstance(frame.index, pd.DatetimeIndex):
            times = frame.index
        else:
            need(rules.time, frame.columns, where, "; a DatetimeIndex, or a column of times, is needed")
        if not len(frame):
            raise InputError(f"{where}: it has no rows")
        zoned.append(getattr(times.dtype, "tz", None) is not None)
        wanted = rules.fields
        if isinstance(wanted, Mapping):
            wanted = {column: field for column, field in wanted.items() if column in frame.columns}
        elif wanted is not None and not isinstance(wanted, str):
            wanted = [column for column in wanted if column in frame.columns]
        fields = fields_of(frame.columns, (rules.time,), wanted, where)
        for column in fields.values():
            _only(frame, column, where)
        names.append(str(name))
        stamps.append(pandas_times(times, rules.clock, where))
        own.append((where, frame, fields))
    if any(zoned) and not all(zoned):
        one, other = names[zoned.index(True)], names[zoned.index(False)]
        raise InputError(
            f"{rules.where}: the times of {one} carry a zone, those of {other} do not; one clock is needed"
        )
    number, times = np.repeat(np.arange(len(names)), [len(one) for one in stamps]), np.concatenate(stamps)
    every = list(dict.fromkeys(field for _, _, fields in own for field in fields))
    lacks = {field: np.array([field not in fields for *_, fields in own]) for field in every}
    lacks = {field: lacking for field, lacking in lacks.items() if lacking.any()}
    found = Extents(rules.where)
    found.add(number, times)
    grid = found.grid(names, rules.freq, every, calendar=rules.calendar, lacks=lacks)
    columns = {field: partial(_put_together, own, field) for field in every}
    return Held.of_rows(grid, number, times, columns, rules.where)


def _put_together(own: Sequence[tuple[str, pd.DataFrame, Mapping[str, str]]], field: str) -> np.ndarray:
    values = np.full(sum(len(frame) for _, frame, _ in own), np.nan, np.float32)
    at = 0
    for where, frame, fields in own:
        if field in fields:
            values[at : at + len(frame)] = float32_of(frame[fields[field]], f"{where}: column {fields[field]}")
        at += len(frame)
    return values


def _as_pandas(frame: Any, where: str) -> pd.DataFrame:
    if isinstance(frame, pd.DataFrame):
        return frame
    if hasattr(frame, "to_pandas"):  # polars and Arrow
        return frame.to_pandas()
    raise InputError(f"{where}: received {type(frame).__name__}; a frame of pandas, polars or Arrow is allowed")


# ------------------------------------------------------------------------------------------------ by field
def held_wide(frames: Mapping[Any, pd.DataFrame], rules: Rules) -> Held:
    """Return frames of times by instruments, by field.

    The calendar is the union of their indexes.  An instrument is there from the first to the last time at which one of
    its fields has a value.
    """
    fields = fields_of(list(frames), (), rules.fields, rules.where)
    for column in fields.values():
        if not isinstance(frames[column], pd.DataFrame) or isinstance(frames[column].index, pd.MultiIndex):
            raise InputError(f"{rules.where}: {column}: a frame of times (rows) by instruments (columns) is needed")
    given = {field: _in_order(frames[column], f"{rules.where}: {column}", rules) for field, column in fields.items()}
    times = np.sort(pd.unique(np.concatenate([one.times for one in given.values()])))
    if rules.calendar is not None:
        times = _checked_calendar(times, rules)
    names = list(dict.fromkeys(name for one in given.values() for name in one.names))
    low, high = np.full(len(names), len(times)), np.zeros(len(names), np.int64)
    blocks = {field: one.spread(times, names) for field, one in given.items()}
    for block in blocks.values():
        first, end = _extent(block)
        low, high = np.minimum(low, first), np.maximum(high, end)
    some = high > low
    if not some.any():
        raise InputError(f"{rules.where}: it has no values")
    base = (np.arange(len(names)) * len(times) + low)[some]
    kept = [name for name, one in zip(names, some.tolist(), strict=True) if one]
    lacks = {field: np.array([name not in one.names for name in kept]) for field, one in given.items()}
    lacks = {field: lacking for field, lacking in lacks.items() if lacking.any()}
    _check_times(times, rules)
    grid = Grid(times, tuple(kept), low[some], (high - low)[some], tuple(blocks), lacks)
    columns = {field: partial(np.ravel, block) for field, block in blocks.items()}
    return Held(grid, base, len(names) * len(times), columns)


def _check_times(times: np.ndarray, rules: Rules) -> None:
    found = Extents(rules.where)
    found.add(np.zeros(len(times), np.int64), times)
    found.grid(["any"], rules.freq, (), calendar=rules.calendar)


def _checked_calendar(times: np.ndarray, rules: Rules) -> np.ndarray:
    _check_times(times, rules)
    assert rules.calendar is not None
    return rules.calendar


@dataclass(frozen=True, slots=True)
class _Wide:
    frame: pd.DataFrame
    times: np.ndarray
    names: dict[str, int]
    where: str

    def spread(self, times: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return float32 of shape (names, times), NaN for what is not there; a view where nothing must be moved."""
        values = self._values()
        if list(self.names) == list(names) and np.array_equal(self.times, times):
            return values
        block = np.full((len(names), len(times)), np.nan, np.float32)
        to = [i for i, name in enumerate(names) if name in self.names]
        at = np.searchsorted(times, self.times)
        block[np.ix_(np.array(to), at)] = values[[self.names[names[i]] for i in to]]
        return block

    def _values(self) -> np.ndarray:
        frame = self.frame
        if len(set(frame.dtypes)) == 1 and frame.dtypes.iloc[0] == np.float32:
            return np.ascontiguousarray(frame.to_numpy().T)
        block = np.empty((len(frame.columns), len(frame)), np.float32)
        for i in range(len(frame.columns)):  # one call for each instrument, once
            block[i] = float32_of(frame.iloc[:, i], f"{self.where}: column {frame.columns[i]}")
        return block


def _in_order(frame: pd.DataFrame, where: str, rules: Rules) -> _Wide:
    times = pandas_times(frame.index, rules.clock, where)
    if not (np.diff(times) > np.timedelta64(0)).all():
        order = np.argsort(times, kind="stable")
        times, frame = times[order], frame.iloc[order]
        again = np.flatnonzero(np.diff(times) == np.timedelta64(0))
        if len(again):
            raise InputError(f"{where}: {pd.Timestamp(times[again[0]])} occurs more than once")
    names = {str(name): i for i, name in enumerate(frame.columns)}
    if len(names) < len(frame.columns):
        raise InputError(f"{where}: an instrument occurs more than once among its columns")
    return _Wide(frame, times, names, where)


def _extent(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the values of each row begin and end; a row without values begins behind its end."""
    low, high = np.full(len(block), block.shape[1]), np.zeros(len(block), np.int64)
    for rows in _pieces(len(block), block.shape[1]):
        there = ~np.isnan(block[rows])
        some = there.any(axis=1)
        low[rows] = np.where(some, there.argmax(axis=1), block.shape[1])
        high[rows] = np.where(some, block.shape[1] - there[:, ::-1].argmax(axis=1), 0)
    return low, high


def _pieces(rows: int, width: int) -> Iterator[slice]:
    step = max(1, (1 << 22) // max(width, 1))
    for begin in range(0, rows, step):
        yield slice(begin, min(begin + step, rows))

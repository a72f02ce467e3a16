"""A query: formulas over instruments and times -> one float32 block, in its final order from the start.

fields, instruments, [start, end]
    load        the rows asked for, with the history and the future that the plan's span names
    rows        which of them the caller gets: inside the range, inside the spans, something stored
    compute     block[field, row]: every cell of it is written once, in its place
    frame       a view on the block under an index made from codes: nothing is sorted, nothing copied
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.data.calendar import Calendar
from qlib.data.expression.batches import in_batches
from qlib.data.expression.engine import Wanted
from qlib.data.expression.legacy import evaluate_apart
from qlib.data.expression.once import once
from qlib.data.expression.plan import Plan
from qlib.data.expression.reach import positions_needed
from qlib.data.expression.sites import leaves
from qlib.data.panel import NOWHERE, Columns, Panel, Surroundings
from qlib.data.provider.elsewhere import Stored, meeting, with_elsewhere
from qlib.data.provider.pit import Periods, periods_of
from qlib.data.provider.store import Store
from qlib.data.provider.traits import dates_of, leaves_of, masks_of, returned_of, span_of
from qlib.data.ranges import Ranges
from qlib.data.storage.arena import ABSENT, Raw

_SHORT: Final = 32  # ranges of fewer rows are copied together, longer ones one by one


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: the fields of a plan, over instruments (ascending) at calendar positions low ... high.

    With `members`, ranges of calendar positions by the number of the instrument, rows outside them are left out.
    """

    plan: Plan
    freq: str
    calendar: Calendar
    low: int
    high: int
    instruments: tuple[str, ...]
    members: Ranges | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is stored for a query: per instrument and field, values from a calendar position on.

    Instrument i has stored rows from `begin[i]` to `end[i]` (int64, half-open, fields together); begin = end means
    none. `raw` has a row for each instrument and a column for each field; `around` is what formulas may ask besides.
    `every`, if there, tells which instruments have point-in-time data for the query: those have a row on every bar.
    `brought` are half-open ranges of calendar positions that all instruments have: those of formulas elsewhere.
    """

    instruments: tuple[str, ...]
    fields: tuple[str, ...]
    raw: Raw
    begin: np.ndarray
    end: np.ndarray
    around: Surroundings = NOWHERE
    every: np.ndarray | None = None
    brought: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, instruments: tuple[str, ...], fields: tuple[str, ...], raw: Raw) -> Loaded:
        """Put together what was read."""
        far = np.iinfo(np.int64).max
        some = raw.count > 0
        begin = np.where(some, raw.first, far).min(axis=1, initial=far)
        end = np.where(some, raw.first + raw.count, 0).max(axis=1, initial=0)
        return cls(instruments, fields, raw, np.minimum(begin, end), end)

    def with_periods(self, periods: Periods, plan: Plan, first: int, last: int) -> Loaded:
        """Return the same with the point-in-time data of a plan that reads calendar positions first ... last."""
        every = np.zeros(len(self.instruments), dtype=bool)
        for over in leaves_of(plan).reported:
            every |= periods.has(over, self.instruments)
        begin, end = np.where(every, first, self.begin), np.where(every, last + 1, self.end)
        return replace(self, begin=begin, end=end, around=replace(self.around, periods=periods), every=every)

    def unknown(self) -> list[int]:
        """Return the numbers of the instruments that have none of the fields."""
        gone = (self.raw.count == ABSENT).all(axis=1)
        return np.flatnonzero(gone if self.every is None else gone & ~self.every).tolist()

    def missing_fields(self) -> list[str]:
        """Return the fields that no instrument has."""
        if not self.instruments:
            return []
        gone = (self.raw.count == ABSENT).all(axis=0)
        return [field for field, nowhere in zip(self.fields, gone.tolist(), strict=True) if nowhere]

    def part(self, fields: Iterable[str]) -> Loaded:
        """Return what was loaded of some of the fields."""
        places = [self.fields.index(field) for field in fields]
        return replace(Loaded.of(self.instruments, tuple(fields), self.raw.part(places)), around=self.around)

    def stored(self) -> Ranges:
        """Return where each instrument has something stored: several ranges if its fields leave a hole."""
        lengths = self.end - self.begin
        if (self.raw.count.max(axis=1, initial=0) == lengths).all():  # one of the fields spans the others
            some = np.flatnonzero(lengths)
            return Ranges(some, self.begin[some], self.end[some])
        number = np.repeat(np.arange(len(self.instruments)), len(self.fields))
        begin = self.raw.first.ravel()
        end = begin + self.raw.count.ravel()
        if self.every is not None:
            whole = np.flatnonzero(self.every)
            number = np.concatenate([number, whole])
            begin, end = np.concatenate([begin, self.begin[whole]]), np.concatenate([end, self.end[whole]])
        for low, high in self.brought:
            number = np.concatenate([number, np.arange(len(self.instruments))])
            begin = np.concatenate([begin, np.full(len(self.instruments), low)])
            end = np.concatenate([end, np.full(len(self.instruments), high)])
        return Ranges.joined(number, begin, end)

    def columns(self) -> Columns:
        """Return the columns where they were read to."""
        raw = self.raw
        places = {
            field: (raw.column(j), raw.offset[:, j], raw.first[:, j], raw.count[:, j])
            for j, field in enumerate(self.fields)
        }
        return Columns(self.instruments, self.begin, self.end, places, lambda: self.panel(0, len(self.instruments)))

    def panel(self, low: int, high: int) -> Panel:
        """Return the panel of instruments low ... high - 1."""
        begin, lengths = self.begin[low:high], (self.end - self.begin)[low:high]
        start = np.concatenate([[0], np.cumsum(lengths)])
        columns = {}
        for j, field in enumerate(self.fields):
            first, count = self.raw.first[low:high, j], np.maximum(self.raw.count[low:high, j], 0)
            offset = self.raw.offset[low:high, j]
            values = self.raw.column(j)
            column = np.empty(int(start[-1]), dtype=np.float32)
            if not (count == lengths).all():
                column.fill(np.nan)
            at = start[:-1] + np.where(count > 0, first - begin, 0)
            if count.sum() < _SHORT * len(count):
                own = Ranges(np.empty(0, np.int64), at, at + count).positions()
                column[own] = values[Ranges(np.empty(0, np.int64), offset, offset + count).positions()]
            else:
                for to, source, many in zip(at.tolist(), offset.tolist(), count.tolist(), strict=True):
                    column[to : to + many] = values[source : source + many]
            columns[field] = column
        return Panel(self.instruments[low:high], start, begin, columns, self.around)


def needed(plan: Plan, calendar: Calendar, low: int, high: int) -> tuple[int, int]:
    """Return the first and last calendar position that the plan needs for the rows at positions low ... high."""
    span = span_of(plan)
    if math.isinf(span.back) or math.isinf(span.ahead):
        return positions_needed(plan, low, high, calendar.times)
    return max(0, low - int(span.back)), min(high + int(span.ahead), len(calendar) - 1)


def load(
    store: Store,
    instruments: Sequence[str],
    plan: Plan,
    freq: str,
    calendar: Calendar,
    low: int,
    high: int,
    threads: int,
) -> Loaded:
    """Read what the plan needs for the rows at calendar positions low ... high."""
    first, last = needed(plan, calendar, low, high)
    raw = store.read(instruments, plan.reads, freq, first, last, threads=threads, calendar=calendar)
    loaded = Loaded.of(tuple(instruments), tuple(plan.reads), raw)
    around = Surroundings(times=calendar.times, stored=Stored(store, freq, calendar), freq=freq)
    loaded = replace(loaded, around=around)
    periods = periods_of(store, plan, instruments, freq, calendar)
    if periods is not None:
        loaded = loaded.with_periods(periods, plan, first, last)
    return with_elsewhere(loaded, plan, first, last)


def rows_of(loaded: Loaded, low: int, high: int, members: Ranges | None) -> Ranges:
    """Return the calendar positions that the caller gets: inside low ... high, stored, and of a member."""
    kept = loaded.stored().within(low, high + 1)
    return kept if members is None else kept.common(members)


def compute(
    plan: Plan, loaded: Loaded, kept: Ranges, low: int, high: int, threads: int, wanted: Wanted | None = None
) -> np.ndarray:
    """Return the float32 block (fields, kept rows), instruments one after the other, or as `wanted` says."""
    plan, around = meeting(plan, loaded.around)
    columns = replace(loaded, around=around).columns()
    wanted = wanted_of(loaded, kept) if wanted is None else wanted
    return evaluate_apart(plan, columns, wanted, n_threads=threads, query=(low, high), rows=around.rows)


def wanted_of(loaded: Loaded, kept: Ranges) -> Wanted:
    """Return where the kept rows go: instruments one after the other."""
    return Wanted.ranges(kept.instrument, kept.begin, kept.end, len(loaded.instruments))


def by_time(
    plan: Plan, loaded: Loaded, kept: Ranges, low: int, high: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the block of the kept rows in order of time, and the row of each: for no formula that leaves rows out."""
    wanted = wanted_of(loaded, kept).by_time()
    assert wanted.row_of is not None
    return compute(plan, loaded, kept, low, high, threads, wanted), wanted.row_of


def compute_batches(
    plan: Plan, loaded: Loaded, kept: Ranges, low: int, high: int, threads: int, megabytes: float
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield (places of fields, block) of the kept rows, a few fields at a time; a row that a field lacks is NaN."""
    plan, around = meeting(plan, loaded.around)
    columns = replace(loaded, around=around).columns()
    wanted = wanted_of(loaded, kept)
    run = partial(evaluate_apart, n_threads=threads, query=(low, high), rows=around.rows)
    yield from in_batches(plan, columns, wanted, run, megabytes=megabytes)


def marked(plan: Plan) -> Plan:
    """Return the plan, and behind its fields, what tells which rows those have that leave some out."""
    return _with_marks(plan) or plan


@once
def _with_marks(plan: Plan) -> Plan | None:
    marks = [*masks_of(plan).values(), *returned_of(plan)]
    return Plan([*plan.fields, *map(str, marks)], [*plan.roots, *marks], plan.compat) if marks else None


def compute_rows(
    plan: Plan,
    loaded: Loaded,
    kept: Ranges,
    low: int,
    high: int,
    threads: int,
    evaluate: Callable[[Plan, Loaded, Ranges, int, int, int], np.ndarray] | None = None,
) -> tuple[np.ndarray, Ranges]:
    """Return the block, and which rows it has: those of `kept`, less where every field leaves some out.

    So does `Select`, and a user's operator that reads no formula: it is asked for every bar.

    As in Qlib, a row is there if one of the fields has it.  `evaluate` does what `compute` does, for the plan and its
    marks.
    """
    block = (evaluate or compute)(marked(plan), loaded, kept, low, high, threads)
    wanted = len(plan.fields)
    if len(block) == wanted:
        return block, kept
    there = (block[wanted:] == 1).any(axis=0)
    masks = masks_of(plan)
    if others := [root for root in plan.roots if root not in masks]:
        has = leaves(*others)
        there |= bool(has.elsewhere or has.reported) or kept.inside(loaded.part(has.columns).stored())
    return block[:wanted, there], kept.where(there)


def index_of(instruments: tuple[str, ...], kept: Ranges, calendar: Calendar) -> pd.MultiIndex:
    """Return the index (instrument, datetime) of the kept rows, of which there must be some, made from codes."""
    names, counts = _names(instruments), kept.counts(len(instruments))
    present = np.flatnonzero(counts)
    if len(present) < len(instruments):
        names, counts = names[present], counts[present]
    of_name = np.repeat(np.arange(len(present), dtype=_code(len(present))), counts)
    low, high = int(kept.begin.min()), int(kept.end.max())
    times, of_time = calendar.index[low:high], _time_codes(kept, low, high)
    if (kept.end - kept.begin).max() < high - low:  # else one range holds every time
        steps = np.zeros(high - low + 1, np.int64)
        np.add.at(steps, kept.begin - low, 1)
        np.subtract.at(steps, kept.end - low, 1)
        used = np.cumsum(steps[:-1]) > 0
        if not used.all():
            times = times[used]
            of_time = (np.cumsum(used) - 1).astype(_code(len(times)))[of_time]
    return _multi_index(names, times, of_name, of_time)


def index_by_time(index: pd.MultiIndex, row_of: np.ndarray) -> pd.MultiIndex:
    """Return an index (instrument, datetime) as (datetime, instrument), each entry at its row."""
    codes: list[Any] = []
    for given in index.codes:
        placed = np.empty_like(given)
        placed[row_of] = given
        codes.append(placed)
    levels: list[Any] = [index.levels[1], index.levels[0]]
    return pd.MultiIndex(levels=levels, codes=codes[::-1], names=["datetime", "instrument"], verify_integrity=False)


def leaves_rows_out(plan: Plan) -> bool:
    """Tell whether a formula has fewer rows than its columns."""
    return bool(masks_of(plan) or returned_of(plan))


def _time_codes(kept: Ranges, low: int, high: int) -> np.ndarray:
    """Return for every kept row how far its calendar position is from `low`."""
    code = _code(high - low)
    if kept.rows < _SHORT * len(kept):
        return (kept.positions() - low).astype(code)
    every = np.arange(high - low, dtype=code)
    ranges = zip((kept.begin - low).tolist(), (kept.end - low).tolist(), strict=True)
    return np.concatenate([every[a:b] for a, b in ranges])


def _code(count: int) -> type[np.signedinteger]:
    """Return the type in which pandas keeps codes of so many labels: others would be copied once more."""
    return np.int8 if count < 127 else np.int16 if count < 32_767 else np.int32  # a calendar is shorter than 2**31


@lru_cache(maxsize=64)
def _names(names: tuple[str, ...]) -> pd.Index:
    """Return names as an index of pandas, which is never handed out itself."""
    return pd.Index(names) if names else pd.Index(["none"])[:0]  # of the dtype that names have in this pandas


def _multi_index(names: pd.Index, times: pd.DatetimeIndex, of_name: np.ndarray, of_time: np.ndarray) -> pd.MultiIndex:
    levels: list[Any] = [names, times]
    codes: list[Any] = [of_name, of_time]
    return pd.MultiIndex(levels=levels, codes=codes, names=["instrument", "datetime"], verify_integrity=False)


def frame_of(block: np.ndarray, index: pd.MultiIndex, plan: Plan) -> pd.DataFrame:
    """Return the block as a frame, fields as columns; the frame is a view, but for dates, which are objects."""
    frame = pd.DataFrame(block.T, index=index, columns=_names(plan.fields).view(), copy=False)
    for place in dates_of(plan):
        frame.isetitem(place, as_dates(block[place]))
    return frame


def as_dates(days: np.ndarray) -> np.ndarray:
    """Return days since 1970-01-01 as an object array of `datetime.date`, NaN where there is none."""
    some = ~np.isnan(days)
    dates = np.full(len(days), np.nan, dtype=object)
    dates[some] = days[some].astype(np.int64).astype("datetime64[D]").astype(object)
    return dates


def empty_frame(fields: tuple[str, ...]) -> pd.DataFrame:
    """Return the frame of a query that found nothing."""
    none = np.empty(0, np.int8)
    index = _multi_index(_names(()), pd.DatetimeIndex(np.empty(0, "datetime64[ns]")), none, none)
    return pd.DataFrame(np.empty((0, len(fields)), dtype=np.float32), index=index, columns=_names(fields).view())


def computed_panel(plan: Plan, loaded: Loaded, low: int, high: int, threads: int) -> Panel:
    """Return the fields, by their texts, over every instrument's stored rows inside low ... high."""
    number = np.arange(len(loaded.instruments))
    hull = Ranges.joined(number, np.maximum(loaded.begin, low), np.minimum(loaded.end, high + 1))
    block = compute(plan, loaded, hull, low, high, threads)
    columns: Mapping[str, np.ndarray] = dict(zip(plan.fields, block, strict=True))
    return Panel(
        tuple(loaded.instruments[i] for i in hull.instrument.tolist()),
        np.concatenate([[0], np.cumsum(hull.end - hull.begin)]),
        hull.begin - low,
        columns,
        Surroundings(times=None if loaded.around.times is None else loaded.around.times[low : high + 1]),
    )

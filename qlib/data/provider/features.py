"""A query: formulas over instruments and times -> one float32 block, in its final order from the start.

fields, instruments, [start, end]
    load        the rows asked for, with the history and the future that the plan's span names
    rows        which of them the caller gets: inside the range, inside the spans, something stored
    compute     block[field, row], a few instruments at a time; every cell of it is written once
    frame       a view on the block under an index made from codes: nothing is sorted, nothing copied
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.data.calendar import Calendar
from qlib.data.expression.engine import evaluate_block
from qlib.data.expression.plan import Plan
from qlib.data.panel import Panel
from qlib.data.provider.store import Store
from qlib.data.universe import Spans, positions

CHUNK_ROWS: Final = 32_768  # rows that a thread computes at a time, where rows must be dropped afterwards

Ranges = list[tuple[int, int]]  # half-open ranges of calendar positions


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is stored for a query: per instrument and field, values from a calendar position on.

    Instrument i has stored rows from `begin[i]` to `end[i]` (half-open, fields together); begin = end means none.
    """

    instruments: tuple[str, ...]
    fields: tuple[str, ...]
    first: np.ndarray
    values: list[list[np.ndarray | None]]
    begin: np.ndarray
    end: np.ndarray

    def unknown(self) -> list[int]:
        """Return the numbers of the instruments that have none of the fields."""
        return [i for i, row in enumerate(self.values) if all(values is None for values in row)]

    def missing_fields(self) -> list[str]:
        """Return the fields that no instrument has."""
        return [
            field for j, field in enumerate(self.fields) if self.values and all(row[j] is None for row in self.values)
        ]

    def stored(self, i: int) -> Ranges:
        """Return where instrument i has something stored: more than one range if its fields leave a hole."""
        parts = sorted(
            (int(self.first[i, j]), len(v)) for j, v in enumerate(self.values[i]) if v is not None and len(v)
        )
        ranges: Ranges = []
        for low, length in parts:
            if ranges and low <= ranges[-1][1]:
                ranges[-1] = (ranges[-1][0], max(ranges[-1][1], low + length))
            else:
                ranges.append((low, low + length))
        return ranges

    def panel(self, low: int, high: int) -> Panel:
        """Return the panel of instruments low ... high - 1."""
        begin, lengths = self.begin[low:high], (self.end - self.begin)[low:high]
        start = np.concatenate([[0], np.cumsum(lengths)])
        columns = {}
        for j, field in enumerate(self.fields):
            column = np.empty(int(start[-1]), dtype=np.float32)
            for i in range(low, high):
                own = column[start[i - low] : start[i - low + 1]]
                values = self.values[i][j]
                if values is None or len(values) < len(own):
                    own.fill(np.nan)
                if values is not None and len(values):
                    at = int(self.first[i, j] - begin[i - low])
                    own[at : at + len(values)] = values
            columns[field] = column
        return Panel(self.instruments[low:high], start, begin, columns)


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
    back, ahead = plan.span.back, plan.span.ahead
    first = 0 if math.isinf(back) else max(0, low - int(back))
    last = len(calendar) - 1 if math.isinf(ahead) else min(high + int(ahead), len(calendar) - 1)
    raw = store.read(instruments, plan.reads, freq, first, last, threads=threads)
    lengths = np.array([[0 if v is None else len(v) for v in row] for row in raw.values], dtype=np.int64)
    lengths = lengths.reshape(len(instruments), len(plan.reads))
    far = np.iinfo(np.int64).max
    begin = np.where(lengths > 0, raw.first, far).min(axis=1, initial=far)
    end = np.where(lengths > 0, raw.first + lengths, 0).max(axis=1, initial=0)
    begin = np.minimum(begin, end)
    return Loaded(tuple(instruments), tuple(plan.reads), raw.first, raw.values, begin, end)


def rows_of(loaded: Loaded, calendar: Calendar, low: int, high: int, spans: Spans | None) -> list[Ranges]:
    """Return per instrument the calendar positions that the caller gets, as half-open ranges."""
    kept = []
    for i, name in enumerate(loaded.instruments):
        ranges = _common(loaded.stored(i), [(low, high + 1)])
        if spans is not None and ranges:
            ranges = _common(ranges, _merged(positions(spans[name], calendar)))
        kept.append(ranges)
    return kept


def _merged(pairs: Ranges) -> Ranges:
    """Return closed (first, last) pairs as half-open ranges in order, overlaps joined."""
    ranges: Ranges = []
    for first, last in sorted(pairs):
        if ranges and first <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], last + 1))
        else:
            ranges.append((first, last + 1))
    return ranges


def _common(left: Ranges, right: Ranges) -> Ranges:
    both = [(max(a, c), min(b, d)) for a, b in left for c, d in right]
    return [(a, b) for a, b in both if a < b]


def compute(plan: Plan, loaded: Loaded, kept: list[Ranges], low: int, high: int, threads: int) -> np.ndarray:
    """Return the float32 block (fields, kept rows), instruments one after the other."""
    counts = np.array([sum(b - a for a, b in ranges) for ranges in kept], dtype=np.int64)
    rows = loaded.end - loaded.begin
    query = (low, high)
    wanted = np.flatnonzero(counts)
    if len(wanted) == len(counts) and (counts == rows).all():
        return evaluate_block(plan, loaded.panel(0, len(counts)), n_threads=threads, query=query)
    block = np.empty((len(plan.fields), int(counts.sum())), dtype=np.float32)
    at = 0
    for first, last in _chunks(np.where(counts > 0, rows, 0), CHUNK_ROWS * threads):
        panel = loaded.panel(first, last)
        part = evaluate_block(plan, panel, n_threads=threads, query=query)
        for i in range(first, last):
            shift = int(panel.start[i - first] - loaded.begin[i])
            for a, b in kept[i]:
                block[:, at : at + b - a] = part[:, a + shift : b + shift]
                at += b - a
    return block


def _chunks(rows: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Yield runs of instruments of about `most` rows together; instruments without rows are left out."""
    first, total = 0, 0
    for i, count in enumerate(rows.tolist()):
        if count == 0 or (total and total + count > most):
            if first < i and total:
                yield first, i
            first, total = (i + 1, 0) if count == 0 else (i, count)
        else:
            total += count
    if total:
        yield first, len(rows)


def index_of(instruments: Sequence[str], kept: list[Ranges], calendar: Calendar, low: int, high: int) -> pd.MultiIndex:
    """Return the index (instrument, datetime) of the kept rows, made from codes."""
    present = [i for i, ranges in enumerate(kept) if ranges]
    counts = [sum(b - a for a, b in kept[i]) for i in present]
    pieces = [np.arange(a - low, b - low, dtype=np.int32) for i in present for a, b in kept[i]]
    times = np.concatenate(pieces) if pieces else np.empty(0, np.int32)
    used = np.zeros(high - low + 1, dtype=bool)
    used[times] = True
    if not used.all():
        times = (np.cumsum(used, dtype=np.int32) - 1)[times]
    names = [instruments[i] for i in present]
    codes = np.repeat(np.arange(len(present), dtype=np.int32), counts)
    return _multi_index(names, calendar.times[low : high + 1][used], codes, times)


def _multi_index(names: Sequence[str], times: np.ndarray, of_name: np.ndarray, of_time: np.ndarray) -> pd.MultiIndex:
    levels: list[Any] = [pd.Index(names) if len(names) else pd.Index([], dtype=object), pd.DatetimeIndex(times)]
    codes: list[Any] = [of_name, of_time]
    return pd.MultiIndex(levels=levels, codes=codes, names=["instrument", "datetime"], verify_integrity=False)


def frame_of(block: np.ndarray, index: pd.MultiIndex, fields: Sequence[str]) -> pd.DataFrame:
    """Return the block as a frame, fields as columns; the frame is a view."""
    return pd.DataFrame(block.T, index=index, columns=pd.Index(list(fields)), copy=False)


def empty_frame(fields: Sequence[str]) -> pd.DataFrame:
    """Return the frame of a query that found nothing."""
    none = np.empty(0, np.int32)
    index = _multi_index([], np.empty(0, "datetime64[ns]"), none, none)
    return frame_of(np.empty((len(fields), 0), dtype=np.float32), index, fields)


def computed_panel(plan: Plan, loaded: Loaded, low: int, high: int, threads: int) -> Panel:
    """Return the fields, by their texts, over every instrument's stored rows inside low ... high."""
    hull: list[Ranges] = [
        [(max(a, low), min(b, high + 1))] if max(a, low) < min(b, high + 1) else []
        for a, b in zip(loaded.begin.tolist(), loaded.end.tolist(), strict=True)
    ]
    block = compute(plan, loaded, hull, low, high, threads)
    present = [i for i, ranges in enumerate(hull) if ranges]
    lengths = [hull[i][0][1] - hull[i][0][0] for i in present]
    columns: Mapping[str, np.ndarray] = dict(zip(plan.fields, block, strict=True))
    return Panel(
        tuple(loaded.instruments[i] for i in present),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.array([hull[i][0][0] - low for i in present], dtype=np.int64),
        columns,
    )

"""Bars to be checked, wherever they come from: instruments x times, handed out in blocks of instruments.

    bars.names              the instruments
    bars.times              every time at which any of them has a row (a store: its calendar)
    bars.block(0, 10)       {"close": array (10, times), ...}, NaN where there is nothing

Nothing is filled, mended or left out in silence: rows that have no place in such a block (a second row for the same
time, a time off the grid) are counted as findings when the block is laid out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from qlib.collect.health.report import EVERYBODY, Findings
from qlib.errors import InputError
from qlib.utils.time import Freq

PRICES: Final = ("open", "high", "low", "close")
REQUIRED: Final = (*PRICES, "volume")
FIELDS: Final = (*REQUIRED, "vwap", "factor")  # all that the checks look at
SINGLE: Final = 1e-6  # relative difference of equal numbers that went through float32, and through float64
DOUBLE: Final = 1e-9
BLOCK: Final = 1 << 21  # cells of one field in a block
_SECOND: Final = 10**9
_DAY: Final = 86_400  # seconds
_ROUND_THE_CLOCK: Final = 0.75  # share of a day's bars; no session is as long, and thin instruments miss a few
_SESSION_PHASE: Final = 0.05  # share of all rows that makes a minute of the bar a legal opening, where sessions break


@dataclass(frozen=True)
class Listing:
    """When instruments were listed, one entry a span: positions `first` ... `last` of instrument `row`.

    `from_day`, `to_day` mark bounds that a file of dates gives for bars within the day: on such a day the first bar
    (the last one) of the instrument is the bound.
    """

    row: np.ndarray
    first: np.ndarray
    last: np.ndarray
    from_day: np.ndarray
    to_day: np.ndarray


@dataclass
class Bars:
    """Bars of one frequency.

    Parameters
    ----------
    names
        Instruments, as an array of text.
    times
        Ascending datetime64[ns].
    always_open
        The market never closes: every multiple of the bar size should be there.
    has
        bool (instruments, len(FIELDS)): which columns an instrument has at all.
    spans
        When instruments were listed, by the instruments file; None where nobody knows, and an instrument's own first
        and last bar have to do.
    findings
        What came up while the bars were read.
    relative
        Relative difference that is mere rounding: float32 of a store, float64 of a file.
    """

    freq: str
    names: np.ndarray
    times: np.ndarray
    always_open: bool
    has: np.ndarray
    findings: Findings
    relative: float
    spans: Listing | None = None
    absent: int = 0  # grid times that have no row at all

    def block(self, low: int, high: int) -> dict[str, np.ndarray]:
        """Return {field: values (high - low, times)} for the fields that any instrument has."""
        raise NotImplementedError

    @property
    def fields(self) -> list[str]:
        return [name for place, name in enumerate(FIELDS) if self.has[:, place].any()]

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Return the (low, high) of blocks that are small enough to be looked at as one; none without a column."""
        step = max(1, BLOCK // max(len(self.times), 1))
        for low in range(0, len(self.names) if self.fields else 0, step):
            yield low, min(low + step, len(self.names))


@dataclass
class TableBars(Bars):
    """Bars from rows, sorted by instrument and time."""

    code: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    at: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def block(self, low: int, high: int) -> dict[str, np.ndarray]:
        first, last = np.searchsorted(self.code, [low, high])
        cell = (self.code[first:last] - low) * len(self.times) + self.at[first:last]
        out = {}
        for name in self.fields:
            values = np.full((high - low) * len(self.times), np.nan)
            values[cell] = self.columns[name][first:last]
            out[name] = values.reshape(high - low, -1)
        return out


def lay_out(
    names: np.ndarray,
    code: np.ndarray,
    times: np.ndarray,
    columns: dict[str, np.ndarray],
    has: np.ndarray,
    freq: str | None,
    *,
    always_open: bool | None = None,
    relative: float = DOUBLE,
) -> TableBars:
    """Return rows in any order as bars.

    Parameters
    ----------
    names
        Instruments, sorted.
    code, times, columns
        For every row the number of its instrument, its time (datetime64[ns], NaT allowed) and its values (float64).
    freq
        Bar size; None: the most common distance between two rows.
    always_open
        Whether the market never closes; None: looked at from the times.

    Raises
    ------
    InputError
        Where no bar size can be told.
    """
    found = Findings()
    known = ~np.isnat(times)
    if not known.all():
        code, times = code[known], times[known]
        columns = {name: values[known] for name, values in columns.items()}
    order = np.lexsort((times, code))
    _out_of_order(found, names, code, times)
    code, times = code[order], times[order]
    columns = {name: values[order] for name, values in columns.items()}
    again = np.concatenate([[False], (np.diff(code) == 0) & (np.diff(times) == np.timedelta64(0))])[: len(code)]
    found.freq = str(Freq(freq)) if freq else _bar_size(code, times)
    if again.any():
        _duplicates(found, names, code, times, columns, again)
        code, times = code[~again], times[~again]
        columns = {name: values[~again] for name, values in columns.items()}
    size = Freq(found.freq)
    open_all = never_closes(np.unique(times), size) if always_open is None else always_open
    off = off_grid(times, size, always_open=open_all)
    if off.any():
        found.add("off grid", names[code[off]], first=times[off], bars=1)
        code, times = code[~off], times[~off]
        columns = {name: values[~off] for name, values in columns.items()}
    calendar, at = np.unique(times, return_inverse=True)
    bars = TableBars(
        found.freq, names, calendar, open_all, has, found, relative, code=code, at=at.ravel(), columns=columns
    )
    bars.absent = find_gaps(found, calendar, size, names) if open_all else 0
    return bars


def _out_of_order(found: Findings, names: np.ndarray, code: np.ndarray, times: np.ndarray) -> None:
    """Note instruments whose rows go back in time."""
    kept = np.argsort(code, kind="stable")
    back = (np.diff(times[kept]) < np.timedelta64(0)) & (np.diff(code[kept]) == 0)
    guilty, count = np.unique(code[kept][1:][back], return_counts=True)
    if len(guilty):
        found.add("out of order", names[guilty], detail=[f"{number:,} rows go back" for number in count])


def _duplicates(
    found: Findings,
    names: np.ndarray,
    code: np.ndarray,
    times: np.ndarray,
    columns: dict[str, np.ndarray],
    again: np.ndarray,
) -> None:
    at = np.flatnonzero(again)
    same = np.ones(len(at), bool)
    for values in columns.values():
        same &= (values[at] == values[at - 1]) | (np.isnan(values[at]) & np.isnan(values[at - 1]))
    detail = np.where(same, "the same numbers", "other numbers").tolist()
    found.add("duplicate", names[code[at]], first=times[at], bars=1, detail=detail)


def _bar_size(code: np.ndarray, times: np.ndarray) -> str:
    """Return the most common distance between two rows of an instrument, as a frequency."""
    steps = np.diff(times).astype(np.int64)[np.diff(code) == 0]
    sizes, count = np.unique(steps[steps > 0], return_counts=True)
    if not len(sizes):
        raise InputError("freq: no instrument has two rows, so the bar size cannot be told; give it, such as 60min")
    step = int(sizes[count.argmax()])
    days = step / (_DAY * _SECOND)
    if step % _SECOND:
        raise InputError(f"freq: rows are {step / 1e9:g} seconds apart; bars of whole seconds or longer are allowed")
    if days < 1:
        return str(Freq(f"{step // _SECOND}sec"))
    if days < 7:
        return str(Freq(f"{int(days)}day"))
    return "week" if days < 28 else "month"


def never_closes(times: np.ndarray, freq: Freq) -> bool:
    """Tell whether the times are those of a market without closing hours: Saturdays, and all hours of a day.

    >>> hours = np.arange("2026-01-01", "2026-01-15", dtype="datetime64[h]").astype("datetime64[ns]")
    >>> never_closes(hours, Freq("60min")), never_closes(hours[::24][1::7], Freq("day"))
    (True, False)
    """
    if freq.base in (Freq.NORM_FREQ_WEEK, Freq.NORM_FREQ_MONTH) or not len(times):
        return False
    dates = np.unique(times.astype("datetime64[D]")).astype(np.int64)
    every = np.arange(dates[0], dates[-1] + 1)
    saturdays = np.isin(every[(every + 3) % 7 == 5], dates)
    if freq.intraday:
        clock = np.unique(times.astype(np.int64) % (_DAY * _SECOND))
        if len(clock) < _ROUND_THE_CLOCK * _DAY / freq.seconds:
            return False
    elif not len(saturdays):
        return False
    return bool(saturdays.mean() > 0.5) if len(saturdays) else True


def off_grid(times: np.ndarray, freq: Freq, *, always_open: bool) -> np.ndarray:
    """Mark the times at which no bar opens.

    Bars open at the minute (of the bar's length) at which most do. Where a market has sessions, several such minutes
    are right: hours of the Chinese morning open at half past, those of the afternoon at the full hour.
    """
    if freq.base in (Freq.NORM_FREQ_WEEK, Freq.NORM_FREQ_MONTH) or not len(times):
        return np.zeros(len(times), bool)
    length = min(freq.seconds, _DAY) * _SECOND
    phase, place, count = np.unique(times.astype(np.int64) % length, return_inverse=True, return_counts=True)
    legal = np.zeros(len(phase), bool) if always_open else count >= _SESSION_PHASE * len(times)
    legal[count.argmax()] = True
    return ~legal[place.ravel()]


def find_gaps(found: Findings, calendar: np.ndarray, freq: Freq, names: np.ndarray) -> int:
    """Find the times that a market which never closes should have and nobody has; return how many."""
    step = np.timedelta64(freq.seconds, "s").astype("timedelta64[ns]")
    distance = np.diff(calendar)
    at = np.flatnonzero(distance > step)
    if not len(at):
        return 0
    bars = -(-distance[at] // step) - 1
    # One instrument cannot tell a gap of the market from a hole of its own.
    kind, name = ("hole", str(names[0])) if len(names) == 1 else ("gap", EVERYBODY)
    found.add(kind, [name] * len(at), first=calendar[at] + step, last=calendar[at] + step * bars, bars=bars)
    return int(bars.sum())

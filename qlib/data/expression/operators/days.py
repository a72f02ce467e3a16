"""Operators that know the days that rows fall into: the date of a row's time, in the clock of the store.

Date        which day a row belongs to
DayLast     the last value of the day
DayCumsum   the sum since a time of the day

A day is what the calendar holds of a date, be it 240 minutes of sessions, 1,440 of a market that never closes, or less
on a half day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from qlib.data.expression import runs
from qlib.data.expression.node import Node, NodeError, PanelOperator, Scalar
from qlib.data.expression.operators.gaps import OfOne
from qlib.data.expression.parameters import Number, Parameter, Series
from qlib.data.expression.registry import operator
from qlib.data.expression.span import EVERYTHING, Span
from qlib.data.kernels import last_of_run, running_sums
from qlib.data.panel import Panel
from qlib.errors import InputError
from qlib.utils.time import time_to_day_index

_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-5][0-9])")
QLIB_MINUTES: Final = 240  # of a trading day in Qlib


def minute_of(clock: str) -> int | None:
    """Return the minute of the day that "9:30" stands for, None where the text is no time of a day."""
    match = _CLOCK.fullmatch(clock)
    return 60 * int(match[1]) + int(match[2]) if match and int(match[1]) < 24 else None


def day_begins(position: int, times: np.ndarray) -> int:
    """Return the first calendar position of the day of a position."""
    return int(np.searchsorted(times, times[position].astype("datetime64[D]").astype(times.dtype)))


def day_ends(position: int, times: np.ndarray) -> int:
    """Return the last calendar position of the day of a position."""
    tomorrow = times[position].astype("datetime64[D]") + np.timedelta64(1, "D")
    return int(np.searchsorted(times, tomorrow.astype(times.dtype))) - 1


@dataclass(frozen=True, slots=True)
class Clock(Parameter):
    """A time of the day in quotes, such as "9:30"."""

    default: str

    @property
    def otherwise(self) -> Scalar:
        return self.default

    def complaint(self, value: Node | Scalar) -> str | None:
        if isinstance(value, str) and minute_of(value) is not None:
            return None
        return f"{self.name} must be a time of the day in quotes, from '0:00' to '23:59', received {value!r}"


@operator
class Date(OfOne):
    """The date of the row.  In a frame it is a `datetime.date`; in a formula it counts days, so dates can be compared.

    It stands on every row, also where the feature is NaN.
    """

    __slots__ = ()

    def result_dtype(self) -> str:
        return "date"

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        return runs.dates_of(panel, self.name).astype(np.int64).astype(np.float32)[panel.positions()]


@operator
class DayLast(OfOne):
    """The last value of the day that is not NaN, on every row of the day; NaN where the day has none.

    It looks ahead, to the end of the day: before that, only `DayLast(Ref(x, n))` with n rows of a day or more is known.
    compat="qlib": the day ends where the query does.
    """

    __slots__ = ()

    def result_dtype(self) -> str:
        return self.feature.dtype

    def reach(self, inner: Span) -> Span:
        return inner if self.compat == "qlib" else inner + Span(back=EVERYTHING, ahead=EVERYTHING)

    def asks(self, low: int, high: int, times: np.ndarray) -> tuple[int, int]:
        return day_begins(low, times), day_ends(high, times)

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        values = arguments[0]
        assert isinstance(values, np.ndarray)
        days = runs.days_of(panel, self.name)
        if values.dtype.kind == "f":
            return runs.spread(last_of_run, values, days)
        return np.repeat(values[days[1:] - 1], np.diff(days))


@operator
class DayCumsum(PanelOperator):
    """The sum of the day's values from the bar that holds the time `start` up to the row; 0 before and after `end`.

    start, end
        Times of the day; both bars count.  A bar opens at its row's time and is `data_granularity` minutes long, so
        any session will do: DayCumsum($volume, "0:00", "23:59") runs through a day that never closes.
    NaN, infinity
        Count nothing, and the row is NaN.

    float64, each day added up by itself.  compat="qlib": the sessions are the Chinese ones (a time outside them is
    refused), every day must have 240 / data_granularity rows, bars are counted rather than looked at on the clock, and
    infinity stays until the end of the day.
    """

    __slots__ = ()
    parameters = (
        Series("feature"),
        Clock("start", "9:30"),
        Clock("end", "14:59"),
        Number("data_granularity", 1, 1440, 1),
    )

    def settle(self) -> None:
        super().settle()
        start, end = str(self.arguments[1]), str(self.arguments[2])
        if int(self.minutes) != self.minutes:
            raise NodeError(f"{self.name}: data_granularity must be a whole number of minutes", 3)
        if self.compat == "qlib":
            self.slots()
        elif minute_of(start) > minute_of(end):  # type: ignore[operator]
            raise NodeError(f"{self.name}: end must not be before start, received {start} and {end}", 2)

    @property
    def minutes(self) -> int:
        """The length of a bar."""
        return self.arguments[3]  # type: ignore[return-value]

    def slots(self) -> tuple[int, int]:
        """Return the first and last bar of Qlib's day that count."""
        found = []
        for place in (1, 2):
            try:
                found.append(time_to_day_index(str(self.arguments[place]), "cn") // int(self.minutes))
            except InputError as problem:
                raise NodeError(f"{self.name}: {problem}", place) from None
        return found[0], found[1]

    def result_dtype(self) -> str:
        return "float64"

    def reach(self, inner: Span) -> Span:
        return inner if self.compat == "qlib" else inner + Span(back=EVERYTHING)

    def asks(self, low: int, high: int, times: np.ndarray) -> tuple[int, int]:
        return day_begins(low, times), high

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        values = arguments[0]
        assert isinstance(values, np.ndarray)
        days = runs.days_of(panel, self.name)
        counts = self.counted_rows(panel, days) if self.compat == "qlib" else self.counted_minutes(panel)
        sums = np.empty(panel.rows)
        values = values if values.dtype.kind == "f" else values.astype(np.float64)
        running_sums(values, counts.view(np.uint8), days, self.compat == "qlib", sums)
        return sums

    def counted_minutes(self, panel: Panel) -> np.ndarray:
        """Return which rows' bars lie between start and end, by the clock."""
        clock = runs.calendar_of(panel, self.name) - runs.dates_of(panel, self.name)
        minute = clock.astype("timedelta64[m]").astype(np.int64)
        start, end = minute_of(str(self.arguments[1])), minute_of(str(self.arguments[2]))
        counts = (minute > start - self.minutes) & (minute <= end)  # type: ignore[operator]
        return counts[panel.positions()]

    def counted_rows(self, panel: Panel, days: np.ndarray) -> np.ndarray:
        """Return which rows lie between start and end, counting the bars of Qlib's day.

        Raises InputError for a day of another length.
        """
        first, last = self.slots()
        wrong = np.flatnonzero(np.diff(days) * self.minutes != QLIB_MINUTES)
        if len(wrong):
            row = int(days[wrong[0]])
            name = panel.instruments[int(np.searchsorted(panel.start, row, side="right")) - 1]
            raise InputError(
                f"{self.name}: received {days[wrong[0] + 1] - row} rows of {name} on "
                f"{runs.dates_of(panel, self.name)[panel.positions()[row]]}; Qlib takes whole days of {QLIB_MINUTES} / "
                f"{self.minutes} rows only (without compat='qlib' any day will do)"
            )
        place = np.arange(panel.rows) - runs.first_row(days)
        return (place >= first) & (place <= last)

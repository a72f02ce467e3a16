"""TResample: a statistic over stretches of time, such as the hours or weeks that rows fall into.

TResample($volume, "60min", "sum")     what was traded since the hour began, up to the row
TResample($close, "week", "first")     the week's first close
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from qlib.data.expression import runs
from qlib.data.expression.inner import Given
from qlib.data.expression.node import Node, Scalar
from qlib.data.expression.operators import rolling
from qlib.data.expression.operators.select import Dropping
from qlib.data.expression.parameters import OneOf, Parameter, Series
from qlib.data.expression.registry import operator
from qlib.data.expression.sites import exactly
from qlib.data.expression.span import EVERYTHING, Span
from qlib.data.kernels import first_value, last_value
from qlib.data.panel import Panel
from qlib.errors import did_you_mean

DAY: Final = 86_400  # seconds
_MONTH: Final = "month"
_UNITS: Final[dict[str, tuple[int, str]]] = {  # pandas' names and Qlib's: how many of what
    **dict.fromkeys(("s", "S", "second"), (1, "second")),
    **dict.fromkeys(("min", "T", "minute"), (60, "second")),
    **dict.fromkeys(("h", "H", "hour"), (3600, "second")),
    **dict.fromkeys(("D", "d", "day"), (1, "day")),
    **dict.fromkeys(("W", "w", "week"), (1, "week")),
    **dict.fromkeys(("M", "ME", "MS", "month"), (1, _MONTH)),
    **dict.fromkeys(("Q", "QE", "QS", "quarter"), (3, _MONTH)),
    **dict.fromkeys(("Y", "YE", "YS", "A", "year"), (12, _MONTH)),
}
_STATISTICS: Final[dict[str, type[rolling.Windowed]]] = {
    "sum": rolling.Sum,
    "mean": rolling.Mean,
    "std": rolling.Std,
    "var": rolling.Var,
    "min": rolling.Min,
    "max": rolling.Max,
    "median": rolling.Med,
    "count": rolling.Count,
}


def stretch(freq: str) -> tuple[int, str] | None:
    """Return how many seconds, days, weeks or months a text such as "60min" stands for; None where it is no such text.

    >>> stretch("60min"), stretch("W"), stretch("2Q"), stretch("48h"), stretch("36h")
    ((3600, 'second'), (1, 'week'), (6, 'month'), (2, 'day'), None)
    """
    match = re.fullmatch(r"([0-9]{0,6})([A-Za-z]+)", freq)
    if match is None or match[2] not in _UNITS or match[1] and int(match[1]) == 0:
        return None
    each, unit = _UNITS[match[2]]
    count = each * int(match[1] or 1)
    if unit == "second" and count >= DAY:
        return (count // DAY, "day") if count % DAY == 0 else None
    return count, unit


def labels(times: np.ndarray, freq: str) -> np.ndarray:
    """Return a number for each time, int64, equal inside a stretch of `freq` and rising from one to the next."""
    count, unit = stretch(freq) or (1, "day")
    if unit == _MONTH:
        return times.astype("datetime64[M]").astype(np.int64) // count
    day = times.astype("datetime64[D]")
    number = day.astype(np.int64)
    if unit == "second":
        return number * DAY + (times - day).astype("timedelta64[s]").astype(np.int64) // count
    return (number + 3) // 7 // count if unit == "week" else number // count  # day 0 was a Thursday


class Stretch(Parameter):
    """A length of time in quotes, such as "60min" or "week"."""

    __slots__ = ()

    def complaint(self, value: Node | Scalar) -> str | None:
        if isinstance(value, str) and stretch(value) is not None:
            return None
        unit = re.sub("^[0-9]+", "", value) if isinstance(value, str) else ""
        allowed = "a number and s, min, h, D, W, M, Q or Y (hours up to a day, or whole days)"
        near = did_you_mean(unit, _UNITS) if unit and unit not in _UNITS else ""
        return f"{self.name} must be {allowed} in quotes, such as '60min', received {value!r}{near}"


@operator
class TResample(Dropping):
    """A statistic of the values since the row's stretch of time began, up to the row.

    freq
        "30s", "60min", "2h", "day", "week", "M", "Q", "Y" and multiples.  Seconds to hours are counted from midnight,
        weeks begin on Monday, several days, weeks or months are counted from 1970-01-01, never from the query.
    func
        first, last, sum, mean, std, var (both divided by n - 1), min, max, median, count.

    Every row has a value; on the last row of the stretch it is what pandas' `resample(freq).<func>()` answers for the
    whole of it.  Missing values are left out, infinite ones too but for first and last; count is 0 and all others NaN
    where nothing was seen.  Times are those of the calendar, which Qlib's own providers do not tell (TypeError there).

    compat="qlib": one row for each stretch, its first; the value is that of the whole stretch as far as the query
    loads it, and so looks ahead.
    """

    __slots__ = ()
    parameters = (Series("feature"), Stretch("freq"), OneOf("func", ("first", "last", *_STATISTICS)))

    @property
    def drops(self) -> bool:
        return self.compat == "qlib"

    @property
    def freq(self) -> str:
        return str(self.arguments[1])

    @property
    def func(self) -> str:
        return str(self.arguments[2])

    def result_dtype(self) -> str:
        return super().result_dtype() if self.func in ("first", "last") else "float64"

    def kernel_name(self) -> str:
        return f"{self.func} by {self.freq}"

    def reach(self, inner: Span) -> Span:
        return inner if self.compat == "qlib" else inner + Span(back=EVERYTHING)

    def asks(self, low: int, high: int, times: np.ndarray) -> tuple[int, int]:
        known = labels(times[: low + 1], self.freq)
        return int(np.searchsorted(known, known[-1])), high

    def stretches(self, panel: Panel) -> np.ndarray:
        """Return where the stretches begin, and the end."""
        return panel.once(
            f"stretches of {self.freq}",
            lambda: runs.bounds_of(panel, labels(runs.calendar_of(panel, self.name), self.freq)),
        )

    def keeps(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        first = np.zeros(panel.rows, dtype=bool)
        first[self.stretches(panel)[:-1]] = True
        return first

    def values(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        values, bounds = arguments[0], self.stretches(panel)
        assert isinstance(values, np.ndarray)
        found = self.so_far(values, bounds)
        return np.repeat(found[bounds[1:] - 1], np.diff(bounds)) if self.compat == "qlib" else found

    def so_far(self, values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """Return the statistic of each stretch up to each row."""
        if self.func in ("first", "last"):
            if values.dtype.kind != "f":  # nothing is missing
                return values[runs.first_row(bounds)] if self.func == "first" else values
            return runs.spread(first_value if self.func == "first" else last_value, values, bounds)
        each = len(bounds) - 1  # stretches, as if each were an instrument
        stretched = Panel(("",) * each, bounds, np.zeros(each, dtype=np.int64), {"x": values})
        formula = _STATISTICS[self.func](Given("x", values.dtype.name), 0)
        return exactly([formula], stretched)[formula]

"""The calendar: the moments at which bars open, and positions in it.

    Calendar("day", times)             an ascending array of times; position 0 is the first
    calendar.locate(start, end)        -> (first, last) position of the bars inside [start, end]
    calendar.resample("week")          a coarser calendar
    calendar.grouped("week")           and which coarse bar each entry belongs to
    always_open_calendar("4h", a, b)   every bar of a market that never closes
    exchange_calendar("30min", a, b, "cn", holidays=...)
    continued(calendar, until, ...)    the same with the bars to come
    read_calendar(path, "day")         the text file, checked

A calendar is the clock of a store: a value at position 7 of a `.bin` file happened at `times[7]`. Times carry no zone;
a store is written in one clock (an exchange's own, or UTC) and read in the same. A market that never closes needs no
special case: its calendar simply has no gaps.

Resampling by minutes follows the region's trading sessions, as Qlib's does: half-hours of cn are 09:30, 10:00, 10:30,
11:00, 13:00 ... Where the market is always open, or the calendar holds bars far outside the sessions, the grid starts
at midnight instead (Qlib folds such bars into the sessions; `sessions_only=True` does so too).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from qlib.data.grid import ALWAYS, DAY, Grid
from qlib.errors import InputError, MissingDataError, StoreError
from qlib.utils.time import Freq, Sessions, sessions_of

_EARLIEST: Final = np.datetime64("1678-01-01", "s")  # what counting in nanoseconds reaches
_LATEST: Final = np.datetime64("2262-01-01", "s")


class CalendarRangeError(MissingDataError, IndexError):
    """A time lies outside the calendar."""


def timestamp(time: Any, name: str = "time") -> pd.Timestamp | None:
    """Return `time` as a Timestamp; None, "None", "" and NaT mean no bound.

    A time that nanoseconds cannot count, such as the year 9999, becomes the last (or the first) one that they can.
    Raises InputError, which calls the argument `name`, for text that is no date and for a time with a zone.
    """
    if time is None or time in ("None", ""):
        return None
    try:
        stamp = pd.Timestamp(time)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name}: received {time!r}; a date such as '2024-01-31' or '2024-01-31 09:30:00' is allowed ({error})"
        ) from None
    if stamp is pd.NaT:
        return None
    if stamp.tzinfo is not None:
        raise InputError(
            f"{name}: received {stamp}, which carries a time zone; a store keeps one clock without zones: "
            "convert with .tz_convert(<zone of the store>).tz_localize(None)"
        )
    try:
        return stamp.as_unit("ns")
    except pd.errors.OutOfBoundsDatetime:
        return pd.Timestamp.max if stamp.year > 2000 else pd.Timestamp.min


class Calendar:
    """An ascending array of times.

    Parameters
    ----------
    freq
        Bar size, as stored ("day", "60min", ...).
    times
        Strictly ascending; kept as a read-only datetime64[ns] array under `.times`.
    """

    __slots__ = ("_index", "_stamps", "freq", "name", "times")

    def __init__(self, freq: str | Freq, times: Any, name: str = "") -> None:
        self.freq = str(freq)
        self.name = name or f"calendar of {freq}"
        self.times = np.array(times, dtype="datetime64[ns]")
        self.times.setflags(write=False)
        self._index: pd.DatetimeIndex | None = None
        self._stamps: np.ndarray | None = None
        late = np.flatnonzero(~(np.diff(self.times) > np.timedelta64(0)))
        if late.size:
            at = int(late[0])
            raise StoreError(
                f"{self.name}: entry {at + 2} is {self.times[at + 1]} after {self.times[at]}; "
                "a calendar ascends strictly"
            )

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        span = f"{pd.Timestamp(self.times[0])} to {pd.Timestamp(self.times[-1])}, " if len(self) else ""
        return f"<{self.name}: {span}{len(self)} entries>"

    @property
    def stamps(self) -> np.ndarray:
        """The times as an object array of Timestamps, made once."""
        if self._stamps is None:
            self._stamps = np.asarray(pd.DatetimeIndex(self.times), dtype=object)
            self._stamps.setflags(write=False)
        return self._stamps

    @property
    def index(self) -> pd.DatetimeIndex:
        """The times as an index of pandas, made once."""
        if self._index is None:
            self._index = pd.DatetimeIndex(self.times)
        return self._index

    def position(self, time: Any, side: Literal["left", "right"] = "left") -> int:
        """Return how many entries lie before `time` ("left"), or not after it ("right").

        So "left" is the position of the first entry at or after `time`, and "right" minus 1 that of the last entry
        at or before it.
        """
        stamp = timestamp(time)
        if stamp is None:
            return 0 if side == "left" else len(self)
        return int(np.searchsorted(self.times, stamp.to_datetime64(), side=side))

    def locate(self, start_time: Any = None, end_time: Any = None) -> tuple[int, int]:
        """Return (first, last): positions of the first and last entry inside [start_time, end_time].

        None means no bound. Nothing inside gives last = first - 1.
        """
        start, end = timestamp(start_time, "start_time"), timestamp(end_time, "end_time")
        first = 0 if start is None else int(self.times.searchsorted(start.to_datetime64(), "left"))
        last = (len(self) if end is None else int(self.times.searchsorted(end.to_datetime64(), "right"))) - 1
        return first, max(last, first - 1)

    def between(self, start_time: Any = None, end_time: Any = None) -> np.ndarray:
        """Return the entries inside [start_time, end_time] as Timestamps (object array)."""
        first, last = self.locate(start_time, end_time)
        return self.stamps[first : last + 1].copy()

    def check_inside(self, start_time: Any = None, end_time: Any = None) -> None:
        """Raise CalendarRangeError where [start_time, end_time] holds no entry, saying what the calendar spans."""
        first, last = self.locate(start_time, end_time)
        if last >= first:
            return
        asked = (
            f"received start {start_time if start_time is not None else 'open'}, end "
            f"{end_time if end_time is not None else 'open'}"
        )
        if not len(self):
            raise CalendarRangeError(f"{self.name} is empty; {asked}")
        low, high = pd.Timestamp(self.times[0]), pd.Timestamp(self.times[-1])
        start, end = timestamp(start_time), timestamp(end_time)
        if start is not None and start > high:
            why = "the start lies after it (future=True reads a calendar that runs into the future, where there is one)"
        elif end is not None and end < low:
            why = "the end lies before it"
        elif start is not None and end is not None and start > end:
            why = "the start lies after the end"
        else:
            why = "no entry lies between them"
        raise CalendarRangeError(f"{self.name} spans {low} to {high}; {asked}: {why}")

    def resample(
        self, freq: str | Freq, sessions: Sessions = ALWAYS, shift: int = 0, *, sessions_only: bool = False
    ) -> Calendar:
        """Return the calendar of a coarser `freq`.

        Parameters
        ----------
        sessions, shift
            Trading sessions of the region, and how many minutes earlier the grid stands (`min_data_shift`).
        sessions_only
            Fold bars outside the sessions into them even where the calendar plainly runs around the clock.

        Notes
        -----
        Hours, minutes and seconds: each entry moves to the opening of its bar (`qlib.data.grid`). Days: each date once,
        every n-th of them. Months: the first date of each, every n-th. Weeks: likewise, where a week begins when the
        weekday falls; as in Qlib, a holiday from one Wednesday to the next hides a beginning (`grouped` counts weeks
        from Monday). Raises InputError where `freq` is finer than the calendar's.
        """
        if Freq(freq) == Freq(self.freq):
            return self
        grid = Grid.of(sessions, shift, None if sessions_only else self.times)
        return self.grouped(freq, grid, weekday_falls=True)[0]

    def grouped(
        self,
        freq: str | Freq,
        grid: Grid | None = None,
        offset: np.timedelta64 | None = None,
        *,
        weekday_falls: bool = False,
    ) -> tuple[Calendar, np.ndarray]:
        """Return the calendar of a coarser `freq`, and for each entry (int64) the position of its bar there.

        `grid` says when the market trades (None: always), `offset` moves a grid of hours or minutes around the clock.
        Weeks begin on Monday; `weekday_falls` is the way of `resample`.
        """
        to, own = Freq(freq), Freq(self.freq)
        if to != own and not _divides(own, to):
            raise InputError(f"calendar: {own} cannot be resampled to {to}; a coarser multiple of {own} is allowed")
        name = f"{self.name} resampled to {to}"
        if to.intraday:
            opens = (grid or Grid.of()).opens(self.times, to, offset)  # they ascend as the times do
            new = np.concatenate([[True], opens[1:] != opens[:-1]])[: len(opens)]
            return Calendar(to, opens[new], name), np.cumsum(new, dtype=np.int64) - 1
        if offset is not None and offset != np.timedelta64(0):
            raise InputError(
                f"offset: received {offset} with {to}, whose bars are stamped with dates; 24h bars (1440min) can begin "
                "at any hour"
            )
        dates = np.unique(self.times.astype("datetime64[D]"))
        begins = dates
        if to.base == Freq.NORM_FREQ_WEEK and weekday_falls:
            begins = dates[np.flatnonzero(np.diff((dates.astype(np.int64) + 3) % 7, prepend=7) < 0)]
        elif to.base != Freq.NORM_FREQ_DAY:
            begins = dates[_first_of(periods(dates, to.base))]
        begins = begins[:: to.count].astype("datetime64[ns]")
        return Calendar(to, begins, name), np.searchsorted(begins, self.times, side="right") - 1


def periods(times: np.ndarray, base: str) -> np.ndarray:
    """Return a number for each time, int64, equal inside one day, week (from Monday) or month."""
    if base == Freq.NORM_FREQ_MONTH:
        return times.astype("datetime64[M]").astype(np.int64)
    day = times.astype("datetime64[D]").astype(np.int64)
    return (day + 3) // 7 if base == Freq.NORM_FREQ_WEEK else day  # day 0, 1970-01-01, was a Thursday


def _divides(fine: Freq, coarse: Freq) -> bool:
    """Tell whether bars of `coarse` can be put together from bars of `fine`."""
    if fine.intraday:
        # A bar of hours that does not divide the day is shorter at its end: a day is made of it, a longer bar is not.
        return not coarse.intraday or coarse.seconds % fine.seconds == 0
    if fine.base == coarse.base:
        return coarse.count % fine.count == 0
    # Days make weeks and months; neither weeks nor groups of days end where months do.
    return fine == Freq("day") and coarse.base in (Freq.NORM_FREQ_WEEK, Freq.NORM_FREQ_MONTH)


def source_of(freq: str | Freq, stored: Iterable[str]) -> str | None:
    """Return which of the stored frequencies a calendar of `freq` is made from: itself, else the coarsest that fits."""
    fit = [candidate for candidate in stored if Freq(candidate) == Freq(freq) or _divides(Freq(candidate), Freq(freq))]
    return max(fit, key=lambda candidate: Freq(candidate).seconds, default=None)


def _first_of(group: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.diff(group, prepend=group[:1] - 1))


# ---------------------------------------------------------------------- made, not read
def always_open_calendar(
    freq: str | Freq, start: Any, end: Any, offset: np.timedelta64 | pd.Timedelta | None = None
) -> Calendar:
    """Return every bar that opens inside [start, end] in a market that never closes; its clock is UTC.

    An end without a time of day is the whole day. Weeks open on Monday, months on their first; several days, weeks or
    months are counted from the first bar inside. `offset` moves bars of hours, minutes or seconds: 8h bars an hour late
    open at 01:00, 09:00 and 17:00.

    >>> always_open_calendar("8h", "2024-01-01", "2024-01-02 04:00").index.strftime("%d. %H:%M").tolist()
    ['01. 00:00', '01. 08:00', '01. 16:00', '02. 00:00']
    """
    size = Freq(freq)
    first, last = _bounds(start, end)
    name = f"calendar of {size} around the clock"
    days = np.arange(first.astype("datetime64[D]") - 1, last.astype("datetime64[D]") + 1)
    if size.intraday:
        moved = np.timedelta64(0, "ns") if offset is None else pd.Timedelta(offset).to_timedelta64()
        steps = np.arange(0, DAY, min(size.seconds, DAY)).astype("timedelta64[s]")
        times = np.unique(Grid.of().opens((days.astype("datetime64[ns]")[:, None] + steps).ravel(), size)) + moved
        return Calendar(size, times[(times >= first) & (times <= last)], name)
    if offset is not None and pd.Timedelta(offset) != pd.Timedelta(0):
        raise InputError(f"offset: received {offset} with {size}, whose bars are stamped with dates; use 24h bars")
    number = periods(days, size.base)
    begins = days[1:][np.diff(number) > 0].astype("datetime64[ns]")
    return Calendar(size, begins[(begins >= first) & (begins <= last)][:: size.count], name)


def exchange_calendar(
    freq: str | Freq,
    start: Any,
    end: Any,
    region: Any,
    holidays: Iterable[Any] = (),
    workdays: Iterable[Any] = (),
    shift: int = 0,
) -> Calendar:
    """Return every bar inside [start, end] of a market that trades from Monday to Friday.

    An end without a time of day is the whole day.

    Parameters
    ----------
    region
        Name of a region ("cn", "us", "tw"), or anything with `sessions`.
    holidays, workdays
        Dates from Monday to Friday on which it is closed, and others on which it is open.
    shift
        How many minutes earlier the grid stands (`min_data_shift`).

    >>> exchange_calendar("60min", "2024-05-01", "2024-05-06", "cn", ["2024-05-01", "2024-05-02", "2024-05-03"])
    <calendar of 60min in sessions: 2024-05-06 09:30:00 to 2024-05-06 14:00:00, 4 entries>
    """
    size, sessions = Freq(freq), sessions_of(region)
    if sessions == ALWAYS:
        return always_open_calendar(size, start, end)
    first, last = _bounds(start, end)
    name = f"calendar of {size} in sessions"
    days = np.arange(first.astype("datetime64[D]"), last.astype("datetime64[D]") + 1)
    closed = np.array([_date(day, "holidays") for day in holidays], "datetime64[D]")
    opened = np.array([_date(day, "workdays") for day in workdays], "datetime64[D]")
    weekday = (days.astype(np.int64) + 3) % 7
    days = days[((weekday < 5) & ~np.isin(days, closed)) | np.isin(days, opened)]
    if not size.intraday:
        return Calendar(size, Calendar("day", days).grouped(size)[0].times, name)
    grid = Grid.of(sessions, shift)
    seconds = np.arange(0, 60, min(size.seconds, 60))
    moments = ((grid.minutes * 60)[:, None] + seconds).ravel().astype("timedelta64[s]")
    times = np.unique(grid.opens((days.astype("datetime64[ns]")[:, None] + moments).ravel(), size))
    return Calendar(size, times[(times >= first) & (times <= last)], name)


def continued(
    calendar: Calendar, until: Any, region: Any, holidays: Iterable[Any] = (), workdays: Iterable[Any] = ()
) -> Calendar:
    """Return a calendar with the bars to come: its own entries, then those of the market up to `until`.

    Raises InputError where the last entry is no bar of that market, so that what follows would not fit it.
    """
    if not len(calendar):
        raise InputError(f"calendar: {calendar.name} is empty; what follows its last entry is unknown")
    size, last = Freq(calendar.freq), calendar.times[-1]
    if size.count > 1 and not size.intraday:
        raise InputError(f"freq: received {size}; bars of several {size.base}s follow the calendar of the {size.base}")
    begin = (last - np.timedelta64(31, "D")).astype("datetime64[D]")
    ahead = exchange_calendar(size, begin, until, region, holidays, workdays)
    if size.intraday and last not in ahead.times:
        raise InputError(
            f"calendar: {calendar.name} ends with {pd.Timestamp(last)}, which is no {size} bar of this market; name "
            "its region, or give the times to come"
        )
    later = ahead.times[_after(ahead.times, last, size)]
    return Calendar(calendar.freq, np.concatenate([calendar.times, later]), f"{calendar.name}, continued")


def _after(times: np.ndarray, last: np.datetime64, size: Freq) -> np.ndarray:
    if size.intraday:
        return times > last
    return periods(times, size.base) > periods(np.array([last]), size.base)


def _bounds(start: Any, end: Any) -> tuple[np.datetime64, np.datetime64]:
    """Return the bounds of a calendar that is made; an end at midnight, such as a date, is the end of that day."""
    found = []
    for name, time in (("start", start), ("end", end)):
        stamp = timestamp(time, name)
        if stamp is None:
            raise InputError(f"{name}: received {time!r}; a calendar that is made needs both of its ends")
        found.append(stamp.to_datetime64())
    last = found[1]
    whole = last == last.astype("datetime64[D]")
    return found[0], last + np.timedelta64(1, "D") - np.timedelta64(1, "ns") if whole else last


def _date(day: Any, name: str) -> np.datetime64:
    stamp = timestamp(day, name)
    if stamp is None:
        raise InputError(f"{name}: received {day!r}; dates such as '2024-05-01' are allowed")
    return stamp.to_datetime64().astype("datetime64[D]")


# ---------------------------------------------------------------------- files
def read_calendar(path: Path, freq: str | Freq) -> Calendar:
    """Read a calendar file: one time a line, ascending; blank lines are skipped.

    Raises StoreError, which names the file and the line, for text that is no time and for a calendar out of order.
    """
    content = path.read_bytes()
    times = _even_times(content)
    if times is None:
        texts = [stripped for line in content.split(b"\n") if (stripped := line.strip())]
        times = parse_times(texts, f"{path}: entry")
    return Calendar(freq, times, f"calendar {path}")


def _even_times(content: bytes) -> np.ndarray | None:
    """Return the times of a file whose every line is 2024-01-31, or every line 2024-01-31 09:30:00, all at once.

    None for any other file: `parse_times` knows more forms, and says what is wrong.
    """
    width = content.find(b"\n") + 1
    if width not in (11, 20) or len(content) % width:
        return None
    table = np.frombuffer(content, np.uint8).reshape(-1, width)
    marks = {4: b"-", 7: b"-", 10: b" ", 13: b":", 16: b":", width - 1: b"\n"}
    if any((table[:, at] != ord(mark)).any() for at, mark in marks.items() if at < width):
        return None

    digits = np.ascontiguousarray(table.T).view(np.int8) - np.int8(ord("0"))
    numbers = [place for place in range(width) if place not in marks]
    if digits[numbers].min() < 0 or digits[numbers].max() > 9:
        return None

    def number(at: int, count: int) -> np.ndarray:
        value = digits[at].astype(np.int64)
        for place in range(at + 1, at + count):
            value = value * 10 + digits[place]
        return value

    year, month, day = number(0, 4), number(5, 2), number(8, 2)
    clock = [number(at, 2) for at in (11, 14, 17)] if width == 20 else []
    parts = [(year, 1679, 2261), (month, 1, 12), (day, 1, 31), *zip(clock, (0, 0, 0), (23, 59, 59), strict=False)]
    if any(((part < low) | (part > high)).any() for part, low, high in parts):
        return None
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    if (days.astype("datetime64[M]") != months).any():
        return None
    seconds = days.astype("datetime64[s]")
    for part, size in zip(clock, (3600, 60, 1), strict=False):
        seconds = seconds + part * size
    return seconds.astype("datetime64[ns]")


def parse_times(texts: Sequence[bytes], where: str) -> np.ndarray:
    """Return the texts of a file as datetime64[ns]; StoreError, which begins with `where` and a number, for no time."""
    if not texts:
        return np.empty(0, "datetime64[ns]")
    packed = np.array(texts, dtype="S")
    width = packed.dtype.itemsize
    if (
        width >= 10 and (packed.view("S1").reshape(-1, width)[:, 4] == b"-").all()
    ):  # else numpy takes 20240131 for a year
        try:
            times = packed.astype("datetime64[s]")
        except ValueError:
            pass
        else:
            if times.min() > _EARLIEST and times.max() < _LATEST:  # False too where one is NaT
                return times.astype("datetime64[ns]")
    return np.array([_parse_time(text, f"{where} {number}") for number, text in enumerate(texts, 1)])


def _parse_time(text: bytes, where: str) -> np.datetime64:
    stamp = pd.to_datetime(text.decode(errors="replace"), errors="coerce")
    if not isinstance(stamp, pd.Timestamp) or not 1678 < stamp.year < 2262:
        raise StoreError(f"{where} is {text[:60]!r}, which is no time such as 2024-01-31 or 2024-01-31 09:30:00")
    return stamp.to_datetime64()


def check_years(times: np.ndarray, where: str) -> None:
    """Raise InputError for a time that nanoseconds do not reach: numpy would write 1816 for a 9999 in silence."""
    odd = times[~((times > _EARLIEST) & (times < _LATEST))]
    if len(odd):
        raise InputError(f"{where}: the date {str(odd[0])[:10]} is out of range; years from 1679 to 2261 are allowed")


def time_texts(times: Any, freq: str | Freq) -> list[str]:
    """Return times as a store writes them: dates, or for minutes date and time to the second."""
    form = "%Y-%m-%d %H:%M:%S" if Freq(freq).intraday else "%Y-%m-%d"
    return pd.DatetimeIndex(np.asarray(times, dtype="datetime64[ns]")).strftime(form).tolist()

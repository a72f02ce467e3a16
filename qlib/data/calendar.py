"""The calendar: the moments at which bars open, and positions in it.

    Calendar("day", times)             an ascending array of times; position 0 is the first
    calendar.locate(start, end)        -> (first, last) position of the bars inside [start, end]
    calendar.resample("week")          a coarser calendar
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

from qlib.errors import InputError, MissingDataError, StoreError
from qlib.utils.time import MINUTES_PER_DAY, Freq, session_minutes

_EARLIEST: Final = np.datetime64("1678-01-01", "s")  # what counting in nanoseconds reaches
_LATEST: Final = np.datetime64("2262-01-01", "s")
_FAR_FROM_SESSIONS: Final = 60  # minutes; breaks, auctions and bars stamped at their close are nearer than that


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
        self,
        freq: str | Freq,
        sessions: tuple[tuple[str, str], ...] = (("00:00", "24:00"),),
        shift: int = 0,
        *,
        sessions_only: bool = False,
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
        Minutes: each entry moves to the opening of its bar. Days: each date once, every n-th of them. Months: the
        first date of each, every n-th. Weeks: likewise, where a week begins when the weekday falls; as in Qlib, a
        holiday from one Wednesday to the next hides a beginning. Raises InputError where `freq` is finer than the
        calendar's.
        """
        to, own = Freq(freq), Freq(self.freq)
        if to == own:
            return self
        if not _divides(own, to):
            raise InputError(f"calendar: {own} cannot be resampled to {to}; a coarser multiple of {own} is allowed")
        name = f"{self.name} resampled to {to}"
        if to.intraday:
            return Calendar(to, np.unique(_open_of_bar(self.times, to.count, sessions, shift, sessions_only)), name)
        dates = np.unique(self.times.astype("datetime64[D]"))
        if to.base == Freq.NORM_FREQ_WEEK:
            weekday = (dates.astype(np.int64) + 3) % 7  # day 0, 1970-01-01, was a Thursday
            dates = dates[np.flatnonzero(np.diff(weekday, prepend=7) < 0)]
        elif to.base == Freq.NORM_FREQ_MONTH:
            dates = dates[_first_of(dates.astype("datetime64[M]").astype(np.int64))]
        return Calendar(to, dates[:: to.count], name)


def _divides(fine: Freq, coarse: Freq) -> bool:
    """Tell whether bars of `coarse` can be put together from bars of `fine`."""
    if fine.base == coarse.base:
        return coarse.count % fine.count == 0
    order = [Freq.NORM_FREQ_MINUTE, Freq.NORM_FREQ_DAY, Freq.NORM_FREQ_WEEK, Freq.NORM_FREQ_MONTH]
    if fine.intraday:
        return order.index(coarse.base) > 0
    # Days make weeks and months; neither weeks nor groups of days end where months do.
    return fine == Freq("day") and order.index(coarse.base) > 1


def source_of(freq: str | Freq, stored: Iterable[str]) -> str | None:
    """Return which of the stored frequencies a calendar of `freq` is made from: itself, else the coarsest that fits."""
    fit = [candidate for candidate in stored if Freq(candidate) == Freq(freq) or _divides(Freq(candidate), Freq(freq))]
    return max(fit, key=lambda candidate: Freq(candidate).minutes, default=None)


def _first_of(group: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.diff(group, prepend=group[:1] - 1))


def _open_of_bar(
    times: np.ndarray, count: int, sessions: tuple[tuple[str, str], ...], shift: int, sessions_only: bool
) -> np.ndarray:
    """Return for every time the opening of its bar of `count` trading minutes."""
    dates = times.astype("datetime64[D]")
    minute = (times - dates).astype("timedelta64[m]").astype(np.int64)
    trading = np.array(session_minutes(sessions, shift), dtype=np.int64)
    if not sessions_only and _distance(trading)[minute].max(initial=0) > _FAR_FROM_SESSIONS:
        trading = np.arange(MINUTES_PER_DAY)
    slot = np.maximum(np.searchsorted(trading, minute, side="right") - 1, 0)
    return dates.astype("datetime64[ns]") + trading[slot // count * count].astype("timedelta64[m]")


def _distance(trading: np.ndarray) -> np.ndarray:
    """Return for every minute of the day how far the nearest trading minute is."""
    every = np.arange(MINUTES_PER_DAY)
    ordered = np.sort(trading)
    around = np.concatenate([ordered[-1:] - MINUTES_PER_DAY, ordered, ordered[:1] + MINUTES_PER_DAY])
    after = np.searchsorted(around, every)
    return np.minimum(every - around[np.maximum(after - 1, 0)], around[after] - every).clip(0)


def read_calendar(path: Path, freq: str | Freq) -> Calendar:
    """Read a calendar file: one time a line, ascending; blank lines are skipped.

    Raises StoreError, which names the file and the line, for text that is no time and for a calendar out of order.
    """
    texts = [stripped for line in path.read_bytes().split(b"\n") if (stripped := line.strip())]
    return Calendar(freq, parse_times(texts, f"{path}: entry"), f"calendar {path}")


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


def time_texts(times: Any, freq: str | Freq) -> list[str]:
    """Return times as a store writes them: dates, or for minutes date and time to the second."""
    form = "%Y-%m-%d %H:%M:%S" if Freq(freq).intraday else "%Y-%m-%d"
    return pd.DatetimeIndex(np.asarray(times, dtype="datetime64[ns]")).strftime(form).tolist()

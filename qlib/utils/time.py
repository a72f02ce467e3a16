"""Frequencies, and the minutes of a trading day.

    Freq("30min")                 a count and a base: sec, min, day, week or month; "4h" is 240 min
    get_min_cal(region="cn")      every minute of a day in which the market trades
    cal_sam_minute(x, 30, "cn")   the 30-minute bar that a moment belongs to

A region is given by name ("cn", "us", "tw", ...) or as anything with `sessions` (a `qlib.config.Region`).
Bars are stamped with the time at which they open.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import pandas as pd

from qlib.constant import REG_CN, REG_TW, REG_US, SESSIONS
from qlib.errors import InputError, did_you_mean
from qlib.utils.barsize import parse_size

Sessions = tuple[tuple[str, str], ...]

MINUTES_PER_DAY: Final = 1440


class Freq:
    """A bar size: a count and a base ("sec", "min", "day", "week", "month").

    >>> str(Freq("1d")), str(Freq("30minute")), Freq("60min").count, Freq("day") == "1d"
    ('day', '30min', 60, True)

    Hours are minutes and whole minutes of seconds are minutes too, so a bar size has one spelling; 24 hours are not a
    day, whose bars are stamped with a date and follow the calendar of the market.

    >>> str(Freq("4h")), Freq("4h") == "240min", str(Freq("90s")), Freq("24h") == "day"
    ('240min', True, '90sec', False)

    Raises InputError (a ValueError) for text that is not
    `[n]s|sec|second|min|minute|h|hour|d|day|w|week|mon|month`.
    """

    NORM_FREQ_MONTH: Final = "month"
    NORM_FREQ_WEEK: Final = "week"
    NORM_FREQ_DAY: Final = "day"
    NORM_FREQ_MINUTE: Final = "min"
    NORM_FREQ_SECOND: Final = "sec"
    SUPPORT_CAL_LIST: Final = [NORM_FREQ_MINUTE, NORM_FREQ_DAY]

    # A month counts as 30 days where it is only asked which of two bar sizes is finer.
    _SECONDS: Final = {"sec": 1, "min": 60, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}

    __slots__ = ("base", "count")

    def __init__(self, freq: str | Freq) -> None:
        self.count: int
        self.base: str
        if isinstance(freq, Freq):
            self.count, self.base = freq.count, freq.base
        else:
            self.count, self.base = self.parse(freq)

    @staticmethod
    def parse(freq: str) -> tuple[int, str]:
        """Return (count, base) of a text such as "30min", "day", "4h" or "2week"."""
        return parse_size(str(freq))

    @property
    def seconds(self) -> int:
        """Length in seconds; a month counts as 30 days."""
        return self.count * self._SECONDS[self.base]

    @property
    def minutes(self) -> float:
        """Length in minutes, a whole number but for bars of seconds; a month counts as 30 days."""
        whole, rest = divmod(self.seconds, 60)
        return self.seconds / 60 if rest else whole

    @property
    def intraday(self) -> bool:
        """Whether bars are stamped with a time of day: those of seconds, minutes and hours."""
        return self.base in (self.NORM_FREQ_MINUTE, self.NORM_FREQ_SECOND)

    @staticmethod
    def get_timedelta(n: int, freq: str) -> pd.Timedelta:
        """Return n bars of `freq`'s base as a Timedelta, an hour's being minutes (a month has no fixed length)."""
        base = Freq.parse(freq)[1]
        if base == Freq.NORM_FREQ_MONTH:
            raise InputError("freq: received month, which has no fixed length; sec, min, day and week have")
        return pd.Timedelta(seconds=n * Freq._SECONDS[base])

    @staticmethod
    def get_min_delta(left_frq: str | Freq, right_freq: str | Freq) -> float:
        """Return how many minutes the left bar is longer than the right one."""
        return Freq(left_frq).minutes - Freq(right_freq).minutes

    @staticmethod
    def get_recent_freq(base_freq: str | Freq, freq_list: Iterable[Any]) -> Any:
        """Return the coarsest of `freq_list` that is not coarser than `base_freq`, or None."""
        finer = [freq for freq in freq_list if Freq.get_min_delta(base_freq, freq) >= 0]
        return min(finer, key=lambda freq: Freq.get_min_delta(base_freq, freq)) if finer else None

    def __eq__(self, freq: object) -> bool:
        if isinstance(freq, str):
            try:
                freq = Freq(freq)
            except InputError:
                return False
        return isinstance(freq, Freq) and (self.count, self.base) == (freq.count, freq.base)

    def __hash__(self) -> int:
        return hash((self.count, self.base))

    def __str__(self) -> str:
        return f"{self.count if self.count != 1 or self.base != 'day' else ''}{self.base}"

    def __repr__(self) -> str:
        return f"Freq({self})"


def _moments(region: str) -> list[dt.datetime]:
    return [dt.datetime.strptime(text, "%H:%M") for session in SESSIONS[region] for text in session]


CN_TIME = _moments(REG_CN)
US_TIME = _moments(REG_US)
TW_TIME = _moments(REG_TW)


def sessions_of(region: Any) -> Sessions:
    """Return the trading sessions of a region given by name, or by an object with `sessions`."""
    if hasattr(region, "sessions"):
        return region.sessions
    if region not in SESSIONS:
        raise InputError(
            f"region: received {region!r}; allowed are {', '.join(SESSIONS)}{did_you_mean(str(region), SESSIONS)}"
        )
    return SESSIONS[region]


@lru_cache
def session_minutes(sessions: Sessions, shift: int = 0) -> tuple[int, ...]:
    """Return the minutes of the day (0 is midnight) in which the market trades, moved earlier by `shift`.

    >>> session_minutes((("09:30", "09:33"),))
    (570, 571, 572)
    """
    spans = [[int(text[:2]) * 60 + int(text[3:]) for text in session] for session in sessions]
    return tuple((minute - shift) % MINUTES_PER_DAY for first, last in spans for minute in range(first, last))


def get_min_cal(shift: int = 0, region: Any = REG_CN) -> list[dt.time]:
    """Return every trading minute of a day, moved earlier by `shift` minutes."""
    return [dt.time(minute // 60, minute % 60) for minute in session_minutes(sessions_of(region), shift)]


def is_single_value(start_time: pd.Timestamp, end_time: pd.Timestamp, freq: Any, region: Any = REG_CN) -> bool:
    """Tell whether [start_time, end_time] holds one bar of length `freq` (a Timedelta or a text) at most.

    True too where `start_time` is the last trading minute before a break: nothing can follow it at once.
    """
    if end_time - start_time < pd.Timedelta(freq):
        return True
    minutes = session_minutes(sessions_of(region))
    minute = start_time.hour * 60 + start_time.minute
    if start_time.second or start_time.microsecond or minute not in minutes:
        return False
    return (minute + 1) % MINUTES_PER_DAY not in minutes


def _as_time(moment: str | dt.time | dt.datetime) -> dt.time:
    if isinstance(moment, str):
        return dt.datetime.strptime(moment, "%H:%M").time()
    return moment.time() if isinstance(moment, dt.datetime) else moment


def time_to_day_index(time_obj: str | dt.time | dt.datetime, region: Any = REG_CN) -> int:
    """Return the number of trading minutes before a moment of the day ("HH:MM", time or datetime).

    >>> time_to_day_index("13:00"), time_to_day_index("09:31", "us")
    (120, 1)

    Raises InputError for a moment at which the market is closed.
    """
    time = _as_time(time_obj)
    minutes = session_minutes(sessions_of(region))
    minute = time.hour * 60 + time.minute
    at = bisect.bisect_left(minutes, minute)
    if at == len(minutes) or minutes[at] != minute:
        hours = ", ".join("-".join(session) for session in sessions_of(region))
        raise InputError(f"time: received {time_obj}, when the market is closed; it trades {hours}")
    return at


def get_day_min_idx_range(start: str, end: str, freq: str, region: Any = REG_CN) -> tuple[int, int]:
    """Return the first and last index within a day of the bars of `freq` that trade from `start` to `end` ("HH:MM").

    >>> get_day_min_idx_range("9:30", "11:00", "30min", "cn")
    (0, 3)
    """
    count, base = Freq.parse(freq)
    if base != Freq.NORM_FREQ_MINUTE:
        raise InputError(f"freq: received {freq}; bars of minutes are allowed, such as 30min")
    minutes = session_minutes(sessions_of(region))
    first, last = (time.hour * 60 + time.minute for time in map(_as_time, (start, end)))
    return bisect.bisect_left(minutes, first) // count, (bisect.bisect_right(minutes, last) - 1) // count


def concat_date_time(date_obj: dt.date, time_obj: dt.time) -> pd.Timestamp:
    """Return the Timestamp of a date and a time of day."""
    return pd.Timestamp(dt.datetime.combine(date_obj, time_obj))


def cal_sam_minute(x: pd.Timestamp, sam_minutes: int, region: Any = REG_CN, shift: int = 0) -> pd.Timestamp:
    """Return the opening of the bar of `sam_minutes` trading minutes that the moment `x` belongs to.

    Bars are counted along the trading minutes of the day, so that a break does not cut one. A moment when the
    market is closed belongs to the last bar before it, one before the opening to the first.

    >>> cal_sam_minute(pd.Timestamp("2020-01-02 10:59"), 60)
    Timestamp('2020-01-02 10:30:00')
    """
    minutes = session_minutes(sessions_of(region), shift)
    at = max(bisect.bisect_right(minutes, x.hour * 60 + x.minute) - 1, 0) // sam_minutes * sam_minutes
    return x.normalize() + pd.Timedelta(minutes=minutes[at])


def epsilon_change(date_time: pd.Timestamp, direction: str = "backward") -> pd.Timestamp:
    """Return the moment one second before ("backward") or after ("forward")."""
    steps = {"backward": -1, "forward": 1}
    if direction not in steps:
        raise InputError(f"direction: received {direction!r}; allowed are backward and forward")
    return date_time + pd.Timedelta(seconds=steps[direction])

"""The grid of a market: when its bars open and when they are over.

    grid = Grid.of(SESSIONS["cn"])                         the minutes of a day in which the market trades
    grid.opens(times, Freq("30min"))                       09:30, 10:00, 10:30, 11:00, 13:00 ...: the bar of each time
    grid.ends(opens, Freq("120min"))                       the bar of 13:00 is over at 15:00, that of 09:30 at 11:30

A bar is stamped with the time at which it opens. It is over when its last trading second has passed: a day at the next
midnight, whatever the sessions, a week on Monday, a month on the first of the next one. Whoever reads a bar earlier
looks ahead.

Bars of seconds, minutes and hours are counted along the trading minutes of a day and begin anew with each day: seven
hours around the clock are 00:00, 07:00, 14:00 and 21:00, the last of which is shorter. Those longer than a day are
whole days, counted from 1970-01-01.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from qlib.errors import InputError
from qlib.utils.time import MINUTES_PER_DAY, Freq, Sessions, session_minutes

ALWAYS: Final[Sessions] = (("00:00", "24:00"),)
DAY: Final = 86_400  # seconds
_FAR_FROM_SESSIONS: Final = 60  # minutes; breaks, auctions and bars stamped at their close are nearer than that
_ONE_DAY: Final = np.timedelta64(1, "D")
_ONE_SECOND: Final = np.timedelta64(1, "s")


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The trading minutes of a day (0 is midnight), ascending."""

    minutes: np.ndarray

    @classmethod
    def of(cls, sessions: Sessions = ALWAYS, shift: int = 0, times: np.ndarray | None = None) -> Grid:
        """Return the grid of trading sessions, `shift` minutes earlier.

        With `times`, bars of the market: where one lies far outside the sessions the market is plainly open around the
        clock, and so is the grid.
        """
        minutes = np.sort(np.array(session_minutes(sessions, shift), dtype=np.int64))
        if times is not None and _distance(minutes)[_minute_of(times)].max(initial=0) > _FAR_FROM_SESSIONS:
            minutes = np.arange(MINUTES_PER_DAY)
        return cls(minutes)

    @property
    def always_open(self) -> bool:
        """Whether the market trades in every minute of the day, and so on every day."""
        return len(self.minutes) == MINUTES_PER_DAY

    # ------------------------------------------------------------------ bars of seconds, minutes and hours
    def opens(self, times: np.ndarray, freq: Freq, offset: np.timedelta64 | None = None) -> np.ndarray:
        """Return for every time when its bar of `freq` opens, datetime64[ns].

        A time when the market is closed belongs to the last bar before it, one before the opening to the first of the
        day. With `offset` the grid stands that much later; only one around the clock can be moved.

        >>> Grid.of().opens(np.array(["2024-01-01T23:59"], "datetime64[ns]"), Freq("4h"))
        array(['2024-01-01T20:00:00.000000000'], dtype='datetime64[ns]')
        """
        if offset is not None and offset != np.timedelta64(0):
            if not self.always_open:
                raise InputError(
                    f"offset: received {offset}; the bars of a market that closes begin with its sessions "
                    "(min_data_shift moves them)"
                )
            return self.opens(times - offset, freq) + offset
        days = times.astype("datetime64[D]")
        if (many := _whole_days(freq)) > 1:
            return (days.astype(np.int64) // many * many).astype("datetime64[D]").astype("datetime64[ns]")
        return self._moment(days, self._place(times, days) // freq.seconds * freq.seconds)

    def ends(self, opens: np.ndarray, freq: Freq) -> np.ndarray:
        """Return when each bar of an ascending calendar is over, datetime64[ns]; NaT where nobody can say yet.

        Several days, weeks or months in one bar are counted along the calendar: such a bar is over when the next one
        opens, and the last one of a market that closes has no known end.
        """
        if not freq.intraday:
            return self._ends_of_days(opens, freq)
        days = opens.astype("datetime64[D]")
        if (many := _whole_days(freq)) > 1:
            return (opens + many * _ONE_DAY).astype("datetime64[ns]")
        place = self._place(opens, days)
        if self.always_open:
            moved = place % freq.seconds != 0  # by an offset: such a bar goes on after midnight
            after = np.where(moved, place + freq.seconds, np.minimum(place + freq.seconds, DAY))
            return self._moment(days, after)
        return self._moment(days, np.minimum(place + freq.seconds, 60 * len(self.minutes)) - 1) + _ONE_SECOND

    def _place(self, times: np.ndarray, days: np.ndarray) -> np.ndarray:
        """Return the number of trading seconds of the day before each time."""
        second = (times - days).astype("timedelta64[s]").astype(np.int64)
        if self.always_open:
            return second
        slot = np.searchsorted(self.minutes, second // 60, side="right") - 1
        inside = np.where(self.minutes[np.maximum(slot, 0)] == second // 60, second % 60, 59)
        return np.where(slot < 0, 0, slot * 60 + inside)

    def _moment(self, days: np.ndarray, place: np.ndarray) -> np.ndarray:
        second = place if self.always_open else self.minutes[place // 60] * 60 + place % 60
        return days.astype("datetime64[ns]") + second.astype("timedelta64[s]")

    # ------------------------------------------------------------------ days, weeks and months
    def _ends_of_days(self, opens: np.ndarray, freq: Freq) -> np.ndarray:
        if freq.base == Freq.NORM_FREQ_MONTH:
            ends = (opens.astype("datetime64[M]") + freq.count).astype("datetime64[ns]")
        else:
            each = 7 if freq.base == Freq.NORM_FREQ_WEEK else 1
            first = opens.astype("datetime64[D]").astype(np.int64)
            first -= (first + 3) % 7 if each == 7 else 0  # day 0, 1970-01-01, was a Thursday
            ends = (first + each * freq.count).astype("datetime64[D]").astype("datetime64[ns]")
        if freq.count > 1 and len(opens):
            ends[:-1] = np.maximum(ends[:-1], opens[1:])
            if not self.always_open:
                ends[-1] = np.datetime64("NaT")
        return ends

    # ------------------------------------------------------------------ where a bar could be
    def next_time(self, time: np.datetime64, freq: Freq) -> np.datetime64:
        """Return the first moment from `time` on at which the market could trade: never on a weekend, if it closes."""
        day, minute = _split(time)
        if freq.intraday:
            at = int(np.searchsorted(self.minutes, minute))
            if at < len(self.minutes) and self._could_trade(day):
                return _joined(day, int(self.minutes[at]))
            day += 1
        while not self._could_trade(day):
            day += 1
        return _joined(day, int(self.minutes[0]) if freq.intraday else 0)

    def time_before(self, time: np.datetime64, freq: Freq) -> np.datetime64:
        """Return the last minute before `time` in which the market could trade, or the last day."""
        day, minute = _split(time - _ONE_SECOND)
        if freq.intraday:
            at = int(np.searchsorted(self.minutes, minute, side="right")) - 1
            if at >= 0 and self._could_trade(day):
                return _joined(day, int(self.minutes[at]))
            day -= 1
        while not self._could_trade(day):
            day -= 1
        return _joined(day, int(self.minutes[-1]) if freq.intraday else 0)

    def _could_trade(self, day: int) -> bool:
        return self.always_open or (day + 3) % 7 < 5


def _split(time: np.datetime64) -> tuple[int, int]:
    day = time.astype("datetime64[D]")
    return int(day.astype(np.int64)), int((time - day).astype("timedelta64[m]").astype(np.int64))


def _joined(day: int, minute: int) -> np.datetime64:
    return (np.datetime64(day, "D") + np.timedelta64(minute, "m")).astype("datetime64[ns]")


def _whole_days(freq: Freq) -> int:
    """Return how many days a bar of hours takes, 1 for a shorter one; InputError where it is not whole days."""
    if freq.seconds > DAY and freq.seconds % DAY:
        raise InputError(f"freq: received {freq}; bars of hours are at most a day long, or whole days such as 48h")
    return max(freq.seconds // DAY, 1)


def _minute_of(times: np.ndarray) -> np.ndarray:
    return (times - times.astype("datetime64[D]")).astype("timedelta64[m]").astype(np.int64)


def _distance(trading: np.ndarray) -> np.ndarray:
    """Return for every minute of the day how far the nearest trading minute is."""
    every = np.arange(MINUTES_PER_DAY)
    around = np.concatenate([trading[-1:] - MINUTES_PER_DAY, trading, trading[:1] + MINUTES_PER_DAY])
    after = np.searchsorted(around, every)
    return np.minimum(every - around[np.maximum(after - 1, 0)], around[after] - every).clip(0)

"""Trading dates: the days before, after and around a date in the calendar of the session.

    get_next_trading_date("2024-01-05")              the trading day after a trading day
    get_date_by_shift("2024-01-06", -1, align="left")
    get_date_range("2024-01-05", -4, 0)              a week that ends with that day

What is no trading day is refused with the nearest ones, or snapped to one of them where `align` says so. Shifts end at
the ends of the calendar, as in Qlib; with `clip_shift=False` they are an error there. `future=True` reads a calendar
that runs into the future, where the store has one. Users find these functions under `qlib.utils`.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.active import active_provider
from qlib.data.calendar import Calendar, CalendarRangeError, timestamp
from qlib.errors import InputError, MissingDataError


def is_tradable_date(cur_date: Any) -> bool:
    """Tell whether the market trades on the date of a time."""
    calendar = active_provider().locate("day")
    day = _stamp(cur_date, "cur_date").normalize()
    first, last = calendar.locate(day, day + pd.Timedelta(days=1) - pd.Timedelta(1, "ns"))
    return last >= first


def get_date_by_shift(
    trading_date: Any,
    shift: int,
    future: bool = False,
    clip_shift: bool = True,
    freq: str = "day",
    align: str | None = None,
) -> pd.Timestamp:
    """Return the entry of the calendar `shift` entries after a date (before it, if negative).

    Parameters
    ----------
    clip_shift
        End at the first or last entry instead of raising CalendarRangeError (an IndexError).
    align
        What becomes of a date that is no entry: None raises MissingDataError (a ValueError) that names its neighbours,
        "left" takes the entry before it, "right" the one after it (at the ends of the calendar, the nearest one).
    """
    calendar = active_provider().locate(freq, future)
    at = _position(calendar, _stamp(trading_date, "trading_date"), align) + shift
    if clip_shift:
        at = min(max(at, 0), len(calendar) - 1)
    elif not 0 <= at < len(calendar):
        raise CalendarRangeError(
            f"shift: received {shift} from {trading_date}; {_extent(calendar)} has {len(calendar)} entries, and that "
            f"would be number {at + 1}"
        )
    return calendar.index[at]


def get_date_range(trading_date: Any, left_shift: int = 0, right_shift: int = 0, future: bool = False) -> np.ndarray:
    """Return the trading days from `left_shift` to `right_shift` days after a trading day, both included.

    Both shifts end at the ends of the calendar; the days are Timestamps in an object array.
    """
    start = get_date_by_shift(trading_date, left_shift, future)
    end = get_date_by_shift(trading_date, right_shift, future)
    return active_provider().calendar(start, end, future=future)


def get_next_trading_date(trading_date: Any, future: bool = False) -> pd.Timestamp:
    """Return the trading day after a trading day; after the last one, the last one."""
    return get_date_by_shift(trading_date, 1, future)


def get_pre_trading_date(trading_date: Any, future: bool = False) -> pd.Timestamp:
    """Return the trading day before a trading day; before the first one, the first one."""
    return get_date_by_shift(trading_date, -1, future)


def transform_end_date(end_date: Any = None, freq: str = "day") -> pd.Timestamp:
    """Return an end date, or the last entry of the calendar for None, -1 and later dates."""
    calendar = active_provider().locate(freq)
    if not len(calendar):
        raise MissingDataError(f"{calendar.name} is empty: there is no last date")
    last = calendar.index[-1]
    end = None if str(end_date) == "-1" else timestamp(end_date, "end_date")
    return last if end is None or end > last else end


def get_date_in_file_name(file_name: str) -> str:
    """Return the first date YYYY-MM-DD in a file name, as text.

    >>> get_date_in_file_name("orders_2024-01-31.csv")
    '2024-01-31'
    """
    found = re.search("[0-9]{4}-[0-9]{2}-[0-9]{2}", str(file_name))
    if found is None:
        raise InputError(f"file_name: received {file_name!r}, which holds no date such as 2024-01-31")
    return found[0]


def _stamp(time: Any, name: str) -> pd.Timestamp:
    stamp = timestamp(time, name)
    if stamp is None:
        raise InputError(f"{name}: received {time!r}; a date such as '2024-01-31' is allowed")
    return stamp


def _position(calendar: Calendar, time: pd.Timestamp, align: str | None) -> int:
    if align not in (None, "left", "right"):
        raise InputError(f"align: received {align!r}; allowed are None, 'left' and 'right'")
    if not len(calendar):
        raise MissingDataError(f"{calendar.name} is empty; received {time}")
    at = calendar.position(time)
    if at < len(calendar) and calendar.index[at] == time:
        return at
    if align is None:
        before, after = calendar.index[at - 1 : at], calendar.index[at : at + 1]
        near = " and ".join(
            f"the entry {where} is {found[0]}" for where, found in (("before", before), ("after", after)) if len(found)
        )
        raise MissingDataError(
            f"{time} is not a trading day (no entry of {_extent(calendar)}); {near}: align='left' or 'right' takes one "
            "of them"
        )
    return max(at - 1, 0) if align == "left" else min(at, len(calendar) - 1)


def _extent(calendar: Calendar) -> str:
    return f"{calendar.name}, which spans {calendar.index[0]} to {calendar.index[-1]}"

"""The calendar of the future: `calendars/<freq>_future.txt`, the times of a store and then those to come.

    write_future_calendar(root, "60min", region="crypto")                        two years of hours
    write_future_calendar(root, "day", until="2027-12-31", region="cn", holidays=["2027-01-01", ...])
    write_future_calendar(root, "day", times=["2027-01-04", "2027-01-05"])       the times themselves

A market that never closes needs nothing but its bar size. One that closes needs the list of its holidays, which nobody
can compute: an empty list says that there are none, leaving it out is an error. The file begins with the ordinary
calendar, so positions agree; it is replaced in one step, and written anew whenever the ordinary calendar has grown.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.collect.resample import market_of
from qlib.data.calendar import Calendar, check_years, continued, read_calendar, time_texts, timestamp
from qlib.data.storage.file_storage import calendar_freqs, same_freq
from qlib.errors import InputError, MissingDataError
from qlib.utils.paths import replace_file

YEARS_AHEAD = 2  # as in Qlib's collector of future calendars


def write_future_calendar(
    qlib_dir: str | os.PathLike[str],
    freq: str = "day",
    *,
    until: Any = None,
    region: Any = None,
    holidays: Iterable[Any] | None = None,
    workdays: Iterable[Any] = (),
    times: Iterable[Any] | None = None,
) -> Path:
    """Write the calendar of the future of one frequency and return its file.

    Parameters
    ----------
    freq
        A stored frequency.
    until
        Last day of it; None means two years after the last stored bar.
    region
        The market; None where the calendar shows that it never closes.
    holidays, workdays
        Dates from Monday to Friday on which a market that closes stays closed, and others on which it is open.
    times
        The times to come, instead of a rule; those that are stored already are left out.

    Raises
    ------
    InputError, MissingDataError
        What is wrong, before anything is written.
    """
    root = Path(qlib_dir).expanduser().resolve()
    stored = same_freq(freq, calendar_freqs(root))
    if stored is None:
        raise MissingDataError(
            f"freq: received {freq}; {root} has no calendar of it; stored there: "
            f"{', '.join(calendar_freqs(root)) or 'nothing'}"
        )
    own = read_calendar(root / "calendars" / f"{stored}.txt", stored)
    if not len(own):
        raise MissingDataError(f"{own.name} is empty: what follows its last entry is unknown")
    whole = _with_times(own, times) if times is not None else _by_rule(own, until, region, holidays, workdays)
    check_years(whole.times[-1:], "until" if times is None else "times")
    path = root / "calendars" / f"{stored}_future.txt"
    content = "".join(text + "\n" for text in time_texts(whole.times, stored))
    replace_file(path, lambda file: file.write(content.encode()))
    return path


def _with_times(own: Calendar, times: Iterable[Any]) -> Calendar:
    given = [timestamp(time, "times") for time in times]
    if any(time is None for time in given):
        raise InputError("times: received one that is empty; dates such as '2027-01-04' are allowed")
    later = np.unique(np.array([time.to_datetime64() for time in given if time is not None], "datetime64[ns]"))
    later = later[later > own.times[-1]]
    return Calendar(own.freq, np.concatenate([own.times, later]), f"{own.name}, continued")


def _by_rule(
    own: Calendar, until: Any, region: Any, holidays: Iterable[Any] | None, workdays: Iterable[Any]
) -> Calendar:
    market = market_of(own, region)
    last = own.index[-1]
    end = timestamp(until, "until") or last + pd.DateOffset(years=YEARS_AHEAD)
    if end < last:
        raise InputError(f"until: received {until}; {own.name} reaches to {last} already")
    if holidays is None and not market.always_open:
        raise InputError(
            f"holidays: received none; the market {market.name} closes on days that no rule tells: give their dates, "
            "or an empty list (on the command line: none)"
        )
    return continued(own, end, market, holidays or (), workdays)

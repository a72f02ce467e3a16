"""Qlib's path for the operators on bars within days; they live in qlib.data.expression.operators.

Every formula knows them. `qlib.init(custom_ops=[DayCumsum, ...])`, which Qlib needs, does no harm.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from qlib.data.active import active_provider
from qlib.data.expression.objects import BFillNan, Cut, Date, DayCumsum, DayLast, FFillNan, IsInf, IsNull, Select
from qlib.data.expression.operators import days
from qlib.errors import InputError

__all__ = [
    "BFillNan",
    "Cut",
    "Date",
    "DayCumsum",
    "DayLast",
    "FFillNan",
    "IsInf",
    "IsNull",
    "Select",
    "get_calendar_day",
    "get_calendar_minute",
]


def _period_cusum(self: DayCumsum, df: pd.Series) -> pd.Series:  # type: ignore[valid-type]
    """Return the sums of one whole day of Qlib's sessions, given bar by bar.

    Raises InputError for another number of bars.
    """
    node = self.node("qlib")  # type: ignore[attr-defined]
    if len(df) * node.minutes != days.QLIB_MINUTES:
        raise InputError(
            f"period_cusum: received {len(df)} bars; a day of Qlib's sessions has {days.QLIB_MINUTES} / {node.minutes}"
        )
    first, last = node.slots()
    place = np.arange(len(df))
    return df.where(place >= first, 0).cumsum().where(place <= last, 0)


# Qlib's class has it.
DayCumsum.period_cusum = _period_cusum  # type: ignore[attr-defined]


def get_calendar_day(freq: str = "1min", future: bool = False) -> np.ndarray:
    """Return the date of every calendar entry, as an object array of `datetime.date`."""
    times = active_provider().locate(freq, future).times
    return times.astype("datetime64[D]").astype(object)


def get_calendar_minute(freq: str = "day", future: bool = False) -> np.ndarray:
    """Return in which half of its hour every calendar entry stands, 0 or 1, as int64."""
    times = active_provider().locate(freq, future).times
    minutes = (times - times.astype("datetime64[h]")).astype("timedelta64[m]")
    return minutes.astype(np.int64) // 30

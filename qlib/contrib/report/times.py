"""Times as the report writes them, and numbers by month.

stamp(moment), stamps(index)      the date alone at midnight
by_month(times, measure)          one row a year: twelve months and the year as a whole
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

DAY = pd.Timedelta(days=1)


def stamp(moment: Any) -> str:
    """A time as text: the date alone at midnight.

    >>> stamp("2024-03-01"), stamp("2024-03-01 08:00")
    ('2024-03-01', '2024-03-01 08:00')
    """
    moment = pd.Timestamp(moment)
    return moment.strftime("%Y-%m-%d" if moment == moment.normalize() else "%Y-%m-%d %H:%M")


def stamps(index: pd.Index) -> list[str]:
    """Times as text, all dates or all with the clock."""
    times = pd.DatetimeIndex(index).tz_localize(None)
    if (times == times.normalize()).all():
        return np.datetime_as_string(times.to_numpy(), unit="D").tolist()
    return [text.replace("T", " ") for text in np.datetime_as_string(times.to_numpy(), unit="m").tolist()]


def by_month(times: pd.DatetimeIndex, measure: Callable[[np.ndarray], float]) -> list[dict[str, Any]]:
    """Return `measure(rows)` of each month and year; a month that `times` cover only partly is marked.

    Parameters
    ----------
    times
        Sorted.
    measure
        Given which rows count (True or False each), at least one of them.

    >>> rows = by_month(pd.date_range("2024-11-01", periods=70), lambda rows: float(rows.sum()))
    >>> [row["total"] for row in rows], rows[0]["months"][9:], rows[1]["partial"][0]
    ([61.0, 9.0], [None, 30.0, 31.0], True)
    """
    first, last = times[0], times[-1]
    part = {(first.year, first.month)} if first.day > 4 else set()
    part |= {(last.year, last.month)} if last.days_in_month - last.day > 3 else set()
    year, month = np.asarray(times.year), np.asarray(times.month)
    rows = []
    for y in range(first.year, last.year + 1):
        chosen = [(year == y) & (month == m) for m in range(1, 13)]
        rows.append(
            {
                "year": y,
                "months": [measure(those) if those.any() else None for those in chosen],
                "partial": [(y, m) in part for m in range(1, 13)],
                "total": measure(year == y) if (year == y).any() else None,
            }
        )
    return rows

"""Periods: quarters and years that are reported on, and what was known of them when.

    201903  third quarter of 2019, as files and formulas write it     number(201903, yearly=False) -> 8078
    2019    the year 2019                                             number(2019, yearly=True)    -> 2019

Numbers count without holes, so one more is the next quarter (year).  The name of a point-in-time field says which of
the two it reports: `roe_q` quarters, `eps_a` years.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2099
NUMBERS: Final = 4 * (LAST_YEAR + 1)  # no period has a number as large as this

_FIELD = re.compile("[\\w\u3001\uff1a\uff08\uff09]+_[qa]")


@dataclass(frozen=True, slots=True)
class Records:
    """What became known of one field of one instrument, in the order in which it did.

    Parameters
    ----------
    known
        int64, ascending: the calendar position from which on a record is known (one beyond the calendar: never).
    period
        int64, the number of the period that it is about.
    value
        float64, the value; of several records of one period the last that is known counts, NaN too.
    """

    known: np.ndarray
    period: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.known)


def is_yearly(field: str) -> bool:
    """Tell whether a field reports years (`_a`) or quarters (`_q`)."""
    return field.endswith("_a")


def complaint(field: str) -> str | None:
    """Return why `field` cannot be the name of a point-in-time field, or None where it can.

    >>> complaint("roe_q") is None, complaint("roe")
    (True, "a point-in-time field ends in _q (quarters) or _a (years), received 'roe'")
    """
    if _FIELD.fullmatch(field):
        return None
    return f"a point-in-time field ends in _q (quarters) or _a (years), received {field!r}"


def is_period(period: int, *, yearly: bool) -> bool:
    """Tell whether `period` is written as a year, or as a quarter, between 1900 and 2099.

    >>> is_period(201904, yearly=False), is_period(201905, yearly=False), is_period(2019, yearly=False)
    (True, False, False)
    """
    year = period if yearly else period // 100
    return FIRST_YEAR <= year <= LAST_YEAR and (yearly or 1 <= period % 100 <= 4)


def number(period: int, *, yearly: bool) -> int:
    """Return the number of a period: YYYYQQ counts quarters, YYYY years."""
    return period if yearly else period // 100 * 4 + period % 100 - 1


def numbers(periods: np.ndarray, *, yearly: bool) -> np.ndarray:
    """Return the numbers (int64) of many periods."""
    periods = periods.astype(np.int64)
    return periods if yearly else periods // 100 * 4 + periods % 100 - 1


def written(numbers: np.ndarray, *, yearly: bool) -> np.ndarray:
    """Return the periods (int64) as files and formulas write them: the inverse of `numbers`."""
    numbers = numbers.astype(np.int64)
    return numbers if yearly else numbers // 4 * 100 + numbers % 4 + 1

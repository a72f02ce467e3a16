"""Floats as the decimals that somebody wrote: sums of prices, sizes and rates without rounding.

    counts, digits = scaled([0.1, 0.25])        [10, 25], 2: hundredths
    unscaled(counts, digits)                    [0.1, 0.25] again

A venue writes decimals, a float64 is the one nearest to it, and ten times 0.1 added up as floats is less than 1. So a
float is taken for the shortest decimal that reads back as it, which is the one that was written where that had up to 15
digits. Decimals are whole numbers of a power of ten, and whole numbers add up exactly, in any order and in any pieces:
int64 where they fit, Python's own (dtype object) where they do not.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import numpy as np

_EXACT: Final = 2**53  # up to here float64 holds every whole number
_PLAIN: Final = 10**15  # up to 15 digits, no two decimals share a float
_MOST_DIGITS: Final = 22  # 10**22 is the last power of ten that float64 holds
_ROOM: Final = 2**62


def scaled(values: Any, digits: int = 0) -> tuple[np.ndarray, int]:
    """Return finite numbers as whole multiples of 10**-digits, and how many digits that takes (or more, if asked).

    >>> scaled([0.1, 2.0]), scaled([3.0], digits=2)
    ((array([ 1, 20]), 1), (array([300]), 2))
    """
    exact = np.asarray(values, np.float64)
    for number in range(min(digits, _MOST_DIGITS), _MOST_DIGITS + 1):
        power = 10.0**number
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.rint(exact * power)
            fits = bool((np.abs(whole) < _PLAIN).all()) and bool((whole / power == exact).all())
        if fits:
            return whole.astype(np.int64), number
        if not (np.abs(whole) < _PLAIN).all():
            break
    return _by_text(exact, digits)


def _by_text(exact: np.ndarray, digits: int) -> tuple[np.ndarray, int]:
    """Return the same for numbers that take more than 15 digits together: slower, one by one."""
    decimals = [Decimal(repr(value)) for value in exact.tolist()]
    exponents = [one.as_tuple().exponent for one in decimals]
    digits = max([digits, *(-number for number in exponents if isinstance(number, int))])
    return packed(np.array([int(one.scaleb(digits)) for one in decimals], dtype=object)), digits


def packed(whole: np.ndarray) -> np.ndarray:
    """Return whole numbers as int64 if they and their sum fit, else as Python's own."""
    if whole.dtype != object:
        return whole
    most = max(map(abs, whole.tolist()), default=0)
    return whole.astype(np.int64) if most * max(len(whole), 1) < _ROOM else whole


def roomy(whole: np.ndarray, more: int = 0) -> np.ndarray:
    """Return the numbers such that they can be added up on top of `more` without overflow."""
    if whole.dtype == object or not len(whole):
        return whole
    most = max(abs(int(whole.max())), abs(int(whole.min())))
    return whole if most * len(whole) + abs(more) < _ROOM else whole.astype(object)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return products of whole numbers, which may then be added up."""
    if object not in (left.dtype, right.dtype) and len(left):
        most = int(np.abs(left).max()) * int(np.abs(right).max())
        if most * len(left) < _ROOM:
            return left * right
    return left.astype(object) * right.astype(object)


def unscaled(whole: Any, digits: int) -> np.ndarray:
    """Return the float64 nearest to each whole * 10**-digits.

    >>> unscaled([10, 25], 2)
    array([0.1 , 0.25])
    """
    counts = np.asarray(whole)
    if counts.dtype != object and digits <= _MOST_DIGITS and bool((np.abs(counts) < _EXACT).all()):
        return counts.astype(np.float64) / 10.0**digits  # one division of two exact numbers is rounded once
    power = 10**digits
    return np.array([int(count) / power for count in counts.tolist()], np.float64)


def times(values: Any, factor: float) -> np.ndarray:
    """Return the float64 nearest to each exact product of two decimals; NaN stays NaN.

    >>> times([3.0, 7.0], 0.1)
    array([0.3, 0.7])
    """
    plain = np.asarray(values, np.float64)
    finite = np.isfinite(plain)
    if not np.isfinite(factor):
        return plain * factor
    left, digits = scaled(np.where(finite, plain, 0.0))
    right, more = scaled([factor])
    return np.where(finite, unscaled(product(left, right), digits + more), plain * factor)

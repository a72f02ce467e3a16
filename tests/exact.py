"""Statistics of a window in exact rational numbers: what the kernels are measured against over millions of rows.

A float32 is a whole number times a power of two, so sums of values and of their powers are sums of whole numbers; only
the square roots of Std, Skew and Corr are rounded, to 60 decimal digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np

_DIGITS = Context(prec=60, Emin=-999_999, Emax=999_999)


def root(x: Fraction) -> Fraction:
    """Return the square root to 60 decimal digits."""
    return Fraction(_DIGITS.sqrt(_DIGITS.divide(Decimal(x.numerator), Decimal(x.denominator))))


@dataclass(frozen=True)
class Whole:
    """A series of float32 as whole numbers times 2 ** -shift; None where it is NaN."""

    values: list[int | None]
    shift: int

    @classmethod
    def of(cls, series: np.ndarray) -> Whole:
        seen = np.isfinite(series)
        mantissa, exponent = np.frexp(series[seen].astype("f8"))
        shift = 24 - int(exponent.min(initial=24))
        assert int(exponent.max(initial=0)) + shift < 1000
        whole = iter([int(m * 2.0**24) << int(e) for m, e in zip(mantissa, exponent + shift - 24, strict=True)])
        return cls([next(whole) if there else None for there in seen.tolist()], shift)

    def window(self, low: int, high: int) -> tuple[list[int], list[int]]:
        """Return the rows and the values that are there, from `low` up to, not including, `high`."""
        rows = [i for i in range(low, high) if self.values[i] is not None]
        return rows, [self.values[i] for i in rows]  # type: ignore[misc]


def of_one(series: Whole, low: int, high: int) -> dict[str, tuple[Fraction, Fraction]]:
    """Return for each statistic of rows low ... high - 1 its value, and the size of what it is made from.

    The size matters where a value is a difference of larger ones: a residual near 0, the slope of what has no trend.
    """
    rows, whole = series.window(low, high)
    unit = Fraction(1, 2**series.shift)
    n, s = len(whole), sum(whole)
    far = [n * v - s for v in whole]  # n times the deviation from the mean
    m2, m3, m4 = (Fraction(sum(d**p for d in far), n**p) * unit**p for p in (2, 3, 4))
    mean, variance = Fraction(s, n) * unit, m2 / n
    deviation = root(m2 / (n - 1))
    si, sii = sum(rows), sum(i * i for i in rows)
    cross = Fraction(sum(i * d for i, d in zip(rows, far, strict=True)), n) * unit
    spread = Fraction(n * sii - si * si, n)
    slope, explained = cross / spread, cross * cross / (spread * m2)
    weights = si - n * (low - 1)
    weighted = sum((i - low + 1) * v for i, v in zip(rows, whole, strict=True))
    level = Fraction(sum(map(abs, whole)), n) * unit
    answer = {
        "mean": (mean, level),
        "sum": (s * unit, level * n),
        "var": (m2 / (n - 1), Fraction(0)),
        "std": (deviation, Fraction(0)),
        "skew": (root(Fraction(n * (n - 1))) / (n - 2) * (m3 / n) / (variance * root(variance)), Fraction(1)),
        "kurt": (
            ((n * n - 1) * (m4 / n) / variance**2 - 3 * (n - 1) ** 2) / Fraction((n - 2) * (n - 3)),
            Fraction(1),
        ),
        "slope": (slope, deviation / root(spread / n)),
        "rsquare": (explained, Fraction(1)),
        "wma": (Fraction(weighted, weights) * unit, level),
        "mad": (Fraction(sum(map(abs, far)), n * n) * unit, Fraction(0)),
    }
    if rows and rows[-1] == high - 1:
        answer["resi"] = (whole[-1] * unit - mean - slope * (rows[-1] - Fraction(si, n)), deviation)
    return answer


def of_two(left: Whole, right: Whole, low: int, high: int) -> dict[str, tuple[Fraction, Fraction]]:
    """Return covariance and correlation of rows low ... high - 1, and their sizes."""
    both = [
        (x, y)
        for x, y in zip(left.values[low:high], right.values[low:high], strict=True)
        if x is not None and y is not None
    ]
    n = len(both)
    sx, sy = sum(x for x, _ in both), sum(y for _, y in both)
    far = [(n * x - sx, n * y - sy) for x, y in both]
    units = Fraction(1, n * n << (left.shift + right.shift))
    together = sum(x * y for x, y in far) * units
    size = root(Fraction(sum(x * x for x, _ in far)) * sum(y * y for _, y in far)) * units
    return {"cov": (together / (n - 1), size / (n - 1)), "corr": (together / size, Fraction(1))}


def ema(series: Whole, rows: int, wanted: set[int]) -> dict[int, Fraction]:
    """Return the exponential mean of so many rows at the wanted ones: fixed point, 400 bits behind the point."""
    bits = 400
    total = weight = 0
    found = {}
    for i, value in enumerate(series.values):
        total, weight = total * (rows - 1) // (rows + 1), weight * (rows - 1) // (rows + 1)
        if value is not None:
            total, weight = total + (value << bits), weight + (1 << bits)
        if i in wanted:
            found[i] = Fraction(total, weight << series.shift)
    return found

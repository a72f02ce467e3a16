"""Rounding does not pile up: statistics over a million rows against exact rational numbers (tests/exact.py)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from exact import Whole, ema, of_one, of_two
from passes import roll
from proof import cases

ROWS = cases(20_000, 1_000_000)
FLAT = 1e-7
PARAMETERS = {"skew": FLAT, "kurt": FLAT, "rsquare": FLAT, "corr": FLAT}
ONE = ("mean", "sum", "var", "std", "skew", "kurt", "slope", "rsquare", "resi", "wma", "mad")
TWO = ("cov", "corr")
BOUND = 1e-9


def series(kind: str, level: float, seed: int) -> np.ndarray:
    """Prices around a level, with gaps.

    walk: as markets move; calm: by a hundred-thousandth; spikes: the first row, and every 997th, a thousand times the
    others (sums about the first value would lose a million times what the others are).
    """
    rng = np.random.default_rng(seed)
    if kind == "walk":
        x = level * np.exp(0.3 * np.sin(np.cumsum(rng.normal(0, 1e-3, ROWS))))
    elif kind == "calm":
        x = level * (1 + 1e-5 * rng.standard_normal(ROWS))
    else:
        x = level * np.exp(0.01 * rng.standard_normal(ROWS))
        x[::997] *= 1000
    x[1:-1][rng.random(ROWS - 2) < 0.03] = np.nan
    return x.astype("f4")


def run(kernel: str, x: np.ndarray, window: int, other: np.ndarray | None = None, parameter: float = 0.0) -> np.ndarray:
    out = np.empty(len(x))
    roll(kernel, x, other, np.array([0, len(x)]), np.array([0]), window, PARAMETERS.get(kernel, parameter), out)
    return out


def relative(got: float, wanted: Fraction) -> float:
    """Return the relative error."""
    assert np.isfinite(got)
    return float(abs(Fraction(got) - wanted) / abs(wanted)) if wanted else abs(got)


@pytest.mark.parametrize("window", [5, 60, 1000, 0])
@pytest.mark.parametrize("level", [1e-8, 1.0, 1e5])
@pytest.mark.parametrize("kind", ["walk", "calm", "spikes"])
def test_a_million_rows_later_every_digit_is_there(kind, level, window):
    """20,000 rows in CI, 1,000,000 in `make proof`; 5 rows near the end and in the middle, the last one for window 0.

    The error is relative to the value itself, also where that is a small difference of large numbers.  Mad and EMA over
    all rows so far look at all of them for every row; they have a test of their own.
    """
    x, y = series(kind, level, 1), series(kind, level, 2)
    whole, other = Whole.of(x), Whole.of(y)
    last = ROWS - 1
    places = [last, last - 1, last - 17, last - 500, ROWS // 2] if window else [last]
    kernels = [name for name in ONE if window or name != "mad"]
    got = {name: run(name, x, window) for name in kernels} | {name: run(name, x, window, y) for name in TWO}
    worst = dict.fromkeys(got, 0.0)
    for i in places:
        low = max(0, i - window + 1) if window else 0
        wanted = of_one(whole, low, i + 1) | of_two(whole, other, low, i + 1)
        for name, (value, _) in wanted.items():
            if name in got:
                worst[name] = max(worst[name], relative(got[name][i], value))
    if window:
        mean = run("ema", x, 0, parameter=2 / (window + 1))
        worst["ema"] = max(relative(mean[i], value) for i, value in ema(whole, window, set(places)).items())
    print(f"{kind} at {level:g}, window {window}:", *(f"{name} {error:.0e}" for name, error in worst.items()))
    assert all(error <= BOUND for error in worst.values()), worst


@pytest.mark.parametrize("level", [1e-8, 1.0, 1e5])
def test_what_looks_at_all_rows_for_every_row_is_exact_too(level):
    """Mad and EMA with N = 0: 4,000 rows in CI, 60,000 in `make proof` (their work grows with the square)."""
    rows = cases(4_000, 60_000)
    x = series("walk", level, 3)[-rows:]
    whole = Whole.of(x)
    values, unit = whole.values, Fraction(1, 2**whole.shift)
    deviation = relative(run("mad", x, 0)[-1], of_one(whole, 0, rows)["mad"][0])
    keep = Fraction(rows - 1, rows + 1)  # exactly: a hundred digits behind the point
    total = weight = Fraction(0)
    one = 10**100
    for value in values:
        total, weight = (Fraction(int(side * keep * one), one) for side in (total, weight))
        if value is not None:
            total, weight = total + value, weight + 1
    mean = relative(run("ema_expanding", x, 0)[-1], total / weight * unit)
    print(f"at {level:g}, {rows} rows: mad {deviation:.0e} ema {mean:.0e}")
    assert max(deviation, mean) <= BOUND

"""Pieces of a chart that needs no chart library: scales, ticks, paths.

A plot is an SVG of 1000 x 1000 units stretched over its box (`preserveAspectRatio="none"`, strokes do not
scale), with HTML labels placed in percent. So one drawing fits a phone, a wide screen and paper, text keeps its
size, and colours come from the style sheet: dark mode needs no second drawing.

    x = Scale(0, 10)            x(5) -> 500.0
    y = Scale(0, 1, up=True)    y(1) -> 0.0     the top
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

SIDE = 1000.0
MOST_POINTS = 1500


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to drawing units; `up` puts the high end at the top, `log` draws ratios as distances."""

    low: float
    high: float
    up: bool = False
    log: bool = False

    def __call__(self, values: np.ndarray | float) -> np.ndarray:
        values = np.asarray(values, dtype=float)
        low, high = self.low, self.high
        if self.log:
            with np.errstate(invalid="ignore", divide="ignore"):
                values, low, high = np.log(values), math.log(low), math.log(high)
        part = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
        return np.asarray(SIDE * (1 - part if self.up else part))


def value_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers inside [low, high], at most `most` + 1 of them.

    >>> value_ticks(-0.013, 0.052)
    [0.0, 0.02, 0.04]
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, last + 1)]


def padded(low: float, high: float, share: float = 0.06) -> tuple[float, float]:
    """A range with air at both ends; a single value gets a range around it."""
    if not high > low:
        room = abs(low) * 0.1 or 1e-3
        return low - room, high + room
    room = (high - low) * share
    return low - room, high + room


def time_ticks(first: pd.Timestamp, last: pd.Timestamp, most: int = 6) -> list[tuple[pd.Timestamp, str]]:
    """Round moments between two times, with the words that tell them apart."""
    span = last - first
    for rule, length, words in _TIME_STEPS:
        if span / length <= most:
            ticks = pd.date_range(first.normalize() - pd.Timedelta(length), last, freq=rule)
            inside = [tick for tick in ticks if first <= tick <= last]
            return [(tick, _words(tick, words)) for tick in inside] or [(first, _words(first, "%d %b %Y"))]
    years = math.ceil(span / pd.Timedelta(days=365.25) / most)
    ticks = pd.date_range(first.normalize() - pd.Timedelta(days=366), last, freq="YS")
    return [(tick, str(tick.year)) for tick in ticks if first <= tick and tick.year % years == 0]


def _words(tick: pd.Timestamp, words: str) -> str:
    return tick.strftime(words).lstrip("0")


_DAY = pd.Timedelta(days=1)
_TIME_STEPS = [
    ("6h", _DAY / 4, "%d %b %H:%M"),
    ("D", _DAY, "%d %b"),
    ("2D", _DAY * 2, "%d %b"),
    ("W-MON", _DAY * 7, "%d %b"),
    ("2W-MON", _DAY * 14, "%d %b"),
    ("MS", _DAY * 30.44, "%b %Y"),
    ("2MS", _DAY * 60.9, "%b %Y"),
    ("QS", _DAY * 91.3, "%b %Y"),
    ("2QS", _DAY * 182.6, "%b %Y"),
    ("YS", _DAY * 365.25, "%Y"),
]


def thin(values: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Positions to draw: all of them, or first, lowest, highest and last of each slice so that no extreme is lost."""
    n = len(values)
    if n <= most:
        return np.arange(n)
    keep = {0, n - 1}
    for part in np.array_split(np.arange(n), most // 4):
        keep |= {int(part[0]), int(part[-1])}
        seen = part[np.isfinite(values[part])]
        if len(seen):
            keep |= {int(seen[np.argmin(values[seen])]), int(seen[np.argmax(values[seen])])}
    return np.array(sorted(keep))


def line(x: np.ndarray, y: np.ndarray) -> str:
    """An SVG path through the points; a NaN leaves a gap.

    >>> line(np.array([0.0, 500, 1000]), np.array([10.0, 20.25, 30]))
    'M0 10L500 20.2L1000 30'
    """
    pen, path = "M", []
    for a, b in zip(x, y, strict=True):
        if not math.isfinite(b):
            pen = "M"
            continue
        path.append(f"{pen}{unit(a)} {unit(b)}")
        pen = "L"
    return "".join(path)


def area(x: np.ndarray, y: np.ndarray, floor: float) -> str:
    """The surface between a line and a level, gaps skipped."""
    seen = np.isfinite(y)
    if not seen.any():
        return ""
    xs, ys = x[seen], y[seen]
    return f"M{unit(xs[0])} {unit(floor)}L" + line(xs, ys)[1:] + f"L{unit(xs[-1])} {unit(floor)}Z"


def bars(left: np.ndarray, right: np.ndarray, top: np.ndarray, floor: float) -> str:
    """One path of upright bars between `floor` and `top`."""
    return "".join(
        f"M{unit(a)} {unit(floor)}V{unit(t)}H{unit(b)}V{unit(floor)}Z"
        for a, b, t in zip(left, right, top, strict=True)
        if math.isfinite(t)
    )


def unit(value: float) -> str:
    """A coordinate with one decimal at most.

    >>> unit(3.0), unit(3.14159), unit(-0.001)
    ('3', '3.1', '0')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text

"""What a figure is made of, and the pieces that every figure shares: axes, grids, bars, what the pointer reads out.

A figure holds one or two plots (linear and logarithmic), a legend whose numbers are pointers into the twin, and what
the pointer reads out: for each drawn moment the text of every series, again with the pointer it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.report.drawing import (
    Scale,
    bars,
    line,
    padded,
    thin,
    time_ticks,
    unit,
    value_ticks,
)
from qlib.contrib.report.words import show

POINTS = 800  # moments of a figure that has half the page
WHISKER = 1.96  # standard errors on both sides of a mean that hold 95 % of chance


@dataclass(frozen=True, slots=True)
class Shape:
    """One path and the style class that colours it."""

    style: str
    path: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at `at` percent of the axis; a `minor` one gives way on a narrow screen."""

    at: float
    text: str
    minor: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """One drawing area."""

    shapes: list[Shape]
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """A legend entry; `at` points to the number shown beside the name."""

    style: str
    name: str
    at: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Readout:
    """A series under the pointer: `texts` are the entries of the twin's list `at`, written out."""

    name: str
    at: str
    kind: str
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Figure:
    """A titled figure, ready for the template."""

    title: str
    words: str
    plots: list[Plot]
    spoken: str
    legend: list[Key] = field(default_factory=list)
    places: list[float] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    rows: list[int] | None = None
    readouts: list[Readout] = field(default_factory=list)


class TimeAxis:
    """A horizontal time axis."""

    def __init__(self, times: list[str], air: float = 0.0) -> None:
        self.times = pd.to_datetime(pd.Series(times), format="ISO8601")
        stamps = self.times.to_numpy().astype("datetime64[s]").astype(np.int64).astype(float)
        first, last = stamps[0], stamps[-1]
        room = (last - first) * air or (43200.0 if last == first else 0.0)
        self.scale = Scale(first - room, last + room)
        self.x = self.scale(stamps)

    def ticks(self) -> list[Tick]:
        moments = time_ticks(self.times.iloc[0], self.times.iloc[-1])
        return [
            Tick(float(self.scale(moment.timestamp())) / 10, text, minor=bool(k % 2))
            for k, (moment, text) in enumerate(moments)
        ]


def array(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def bounds(*columns: np.ndarray, hold: float | None = 0.0) -> tuple[float, float]:
    """Lowest and highest of all columns, with `hold` inside and air around."""
    seen = np.concatenate([column[np.isfinite(column)] for column in columns] + [[] if hold is None else [hold]])
    return padded(float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)


def value_axis(scale: Scale, kind: str, ticks: list[float] | None = None) -> tuple[list[Shape], list[Tick]]:
    """Grid lines and labels of the vertical axis."""
    ticks = value_ticks(scale.low, scale.high) if ticks is None else ticks
    heights = [float(scale(tick)) for tick in ticks]
    grid = Shape("grid", "".join(f"M0 {unit(height)}H1000" for height in heights))
    labels = [Tick(height / 10, axis_text(tick, kind)) for height, tick in zip(heights, ticks, strict=True)]
    return [grid], labels


def axis_text(value: float, kind: str) -> str:
    if kind in ("percent", "change"):
        return f"{round(value * 100, 6):g} %".replace("-", "\u2212").replace(" ", "\u00a0")
    return f"{round(value, 9):,g}".replace("-", "\u2212")


def level(scale: Scale, value: float) -> Shape:
    """A line across, at a value."""
    return Shape("zero", f"M0 {unit(float(scale(value)))}H1000")


def zero(scale: Scale) -> Shape:
    """The line of nothing."""
    return level(scale, 0.0)


def readout_of(name: str, at: str, kind: str, values: list[float | None], rows: np.ndarray | None = None) -> Readout:
    picked = values if rows is None else [values[k] for k in rows]
    return Readout(name, at, kind, [show(value, kind) for value in picked])


def bars_over_time(
    axis: TimeAxis, values: np.ndarray, scale: Scale, high: str, low: str, share: float = 0.76
) -> list[Shape]:
    half = share * 500 / len(values)
    floor = float(scale(0.0))
    tops = scale(values)
    shapes = []
    for style, wanted in ((high, values >= 0), (low, values < 0)):
        if wanted.any():
            x, t = axis.x[wanted], tops[wanted]
            shapes.append(Shape(style, bars(x - half, x + half, t, floor)))
    return shapes


def places(x: np.ndarray) -> list[float]:
    return [round(float(place), 1) for place in x]


def moments(axis: TimeAxis, times: list[str], rows: np.ndarray) -> dict[str, Any]:
    """Places, heads and row numbers of the moments that were drawn."""
    every = len(rows) == len(times)
    return {
        "places": places(axis.x[rows]),
        "heads": [times[k] for k in rows],
        "rows": None if every else [int(k) for k in rows],
    }


@dataclass(frozen=True, slots=True)
class Part:
    """One line of `curves`: where its series stands, and where the number beside its name (`mean`) does."""

    style: str
    name: str
    at: str
    values: list[float | None]
    legend: str = ""
    legend_kind: str = ""


def curves(
    times: list[str],
    title: str,
    words: str,
    parts: list[Part],
    spoken: str,
    *,
    kind: str = "percent",
    ticks: int = 5,
    hold: float | None = 0.0,
) -> Figure:
    """Lines over time on one scale, with `hold` on the axis; a series that is never negative stands on zero."""
    axis = TimeAxis(times)
    columns = [array(part.values) for part in parts]
    rows = np.unique(np.concatenate([thin(column, POINTS // len(columns)) for column in columns]))
    scale = Scale(*bounds(*columns, hold=hold), up=True)
    if hold == 0.0 and min(float(np.nanmin(column, initial=np.inf)) for column in columns) >= 0:
        scale = Scale(0.0, scale.high, up=True)
    levels = [tick for tick in value_ticks(scale.low, scale.high, ticks) if kind != "count" or tick == int(tick)]
    grid, labels = value_axis(scale, kind, levels)
    lines = [
        Shape(f"line {part.style}", line(axis.x[rows], scale(column[rows])))
        for part, column in zip(parts, columns, strict=True)
    ]
    base = [] if hold is None else [level(scale, hold)]
    return Figure(
        title=title,
        words=words,
        plots=[Plot([*grid, *base, *reversed(lines)], labels, axis.ticks())],
        spoken=spoken,
        legend=[Key(part.style, part.name, part.legend, part.legend_kind or kind) for part in parts],
        **moments(axis, times, rows),
        readouts=[readout_of(part.name.lower(), part.at, kind, part.values, rows) for part in parts],
    )


def columns_of(
    title: str,
    words: str,
    spoken: str,
    names: list[str],
    heads: list[str],
    values: list[float | None],
    at: str,
    *,
    kind: str,
    readout: str,
    errors: list[float | None] | None = None,
    errors_at: str = "",
    rows: list[int] | None = None,
    legend: list[Key] | None = None,
    styles: tuple[str, str] = ("pos", "neg"),
) -> Figure:
    """Upright bars, one for each name, with whiskers (95 %) where there are errors; `rows`: places in the twin."""
    mean, n = array(values), len(values)
    reach = WHISKER * np.nan_to_num(array(errors or [None] * n))
    y = Scale(*bounds(mean - reach, mean + reach), up=True)
    grid, labels = value_axis(y, kind)
    middle, half = 1000 * (np.arange(n) + 0.5) / n, 1000 / n * 0.34
    shapes = [*grid]
    for style, wanted in zip(styles, (mean >= 0, mean < 0), strict=True):
        if wanted.any():
            shapes.append(
                Shape(style, bars(middle[wanted] - half, middle[wanted] + half, y(mean[wanted]), float(y(0.0))))
            )
    stems = whiskers(middle, mean, reach, y)
    shapes += [zero(y), *([Shape("halo", stems), Shape("whisker", stems)] if stems else [])]
    readouts = [readout_of(readout, at, kind, values)]
    if errors:
        readouts.append(readout_of("standard error", errors_at, kind, errors))
    return Figure(
        title=title,
        words=words,
        plots=[Plot(shapes, labels, [Tick(m / 10, name) for m, name in zip(middle, names, strict=True)])],
        spoken=spoken,
        legend=legend or [],
        places=places(middle),
        heads=heads,
        rows=rows,
        readouts=readouts,
    )


def whiskers(middle: np.ndarray, mean: np.ndarray, reach: np.ndarray, y: Scale) -> str:
    """Upright strokes of `reach` around each mean; "" where there is none."""
    return "".join(
        f"M{unit(m)} {unit(float(y(v - r)))}V{unit(float(y(v + r)))}"
        for m, v, r in zip(middle, mean, reach, strict=True)
        if r > 0
    )

"""The figures of the report, each drawn from the JSON twin.

    figures(twin) -> {"ic": Figure, "ic_spread": ..., "groups": ..., "growth": ..., "drawdown": ..., ...}

A figure holds one or two plots (linear and logarithmic), a legend whose numbers are pointers into the twin, and what
the pointer reads out: for each drawn moment the text of every series, again with the pointer it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.report.drawing import (
    MOST_POINTS,
    Scale,
    area,
    bars,
    line,
    padded,
    thin,
    time_ticks,
    unit,
    value_ticks,
)
from qlib.contrib.report.words import plural, show

LOG_FROM = 1.5  # largest over smallest equity from which a logarithmic scale is offered
WHISKER = 1.96


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


def figures(twin: dict[str, Any]) -> dict[str, Figure]:
    """Every figure the run has numbers for."""
    found: dict[str, Figure] = {}
    signal, held = twin["signal"], twin["portfolio"]
    if signal and signal["ic"]:
        found["ic"] = _ic(signal)
        found["ic_spread"] = _ic_spread(signal["ic"])
    if signal and signal["groups"]:
        found["groups"] = _groups(signal["groups"])
        found["groups_time"] = _groups_time(signal["groups"])
    if held:
        found["growth"] = _growth(held)
        found["drawdown"] = _drawdown(held)
        found["turnover"] = _turnover(held)
        found["cost"] = _cost(held)
        found["exposure"] = _level(held, "exposure", "percent", "Invested", "Share of the account held in instruments.")
        if held["series"]["holdings"]:
            words = "Number of instruments held after each step."
            found["holdings"] = _level(held, "holdings", "count", "Holdings", words)
        found |= _sides(held)
    return found


class _Time:
    """A horizontal time axis."""

    def __init__(self, times: list[str], air: float = 0.0) -> None:
        self.times = pd.to_datetime(pd.Series(times), format="mixed")
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


def _array(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _range(*columns: np.ndarray, hold: float | None = 0.0) -> tuple[float, float]:
    """Lowest and highest of all columns, with `hold` inside and air around."""
    seen = np.concatenate([column[np.isfinite(column)] for column in columns] + [[] if hold is None else [hold]])
    return padded(float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)


def _value_axis(scale: Scale, kind: str, ticks: list[float] | None = None) -> tuple[list[Shape], list[Tick]]:
    """Grid lines and labels of the vertical axis."""
    ticks = value_ticks(scale.low, scale.high) if ticks is None else ticks
    heights = [float(scale(tick)) for tick in ticks]
    grid = Shape("grid", "".join(f"M0 {unit(height)}H1000" for height in heights))
    labels = [Tick(height / 10, _axis_text(tick, kind)) for height, tick in zip(heights, ticks, strict=True)]
    return [grid], labels


def _axis_text(value: float, kind: str) -> str:
    if kind in ("percent", "change"):
        return f"{round(value * 100, 6):g} %".replace("-", "\u2212").replace(" ", "\u00a0")
    return f"{round(value, 9):,g}".replace("-", "\u2212")


def _zero(scale: Scale) -> Shape:
    return Shape("zero", f"M0 {unit(float(scale(0.0)))}H1000")


def _read(name: str, at: str, kind: str, values: list[float | None], rows: np.ndarray | None = None) -> Readout:
    picked = values if rows is None else [values[k] for k in rows]
    return Readout(name, at, kind, [show(value, kind) for value in picked])


def _bars_over_time(
    axis: _Time, values: np.ndarray, scale: Scale, high: str, low: str, share: float = 0.76
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


def _ic(signal: dict[str, Any]) -> Figure:
    ic, rank = signal["ic"], signal["rank_ic"]
    drawn = ic["bars"]
    n = len(drawn["time"])
    axis = _Time(drawn["time"], air=0.5 / n)
    values = _array(drawn["value"])
    window = ic["rolling_window"]
    lines, keys = [], [Key("pos", "IC")]
    for style, name, part in (("rolling", "IC", ic), ("second", "Rank IC", rank)):
        if part and part["rolling_window"] and part["periods"] >= 2:
            stamps = pd.to_datetime(pd.Series(part["series"]["time"]), format="mixed").to_numpy()
            x = axis.scale(stamps.astype("datetime64[s]").astype(np.int64))
            y = _array(part["series"]["rolling"])
            rows = thin(y)
            lines.append((style, x[rows], y[rows]))
            keys.append(Key(style, f"{name}, mean of {plural(part['rolling_window'], 'period')}"))
    scale = Scale(*_range(values, *[y for _, _, y in lines]), up=True)
    grid, labels = _value_axis(scale, "coefficient")
    shapes = [*grid, *_bars_over_time(axis, values, scale, "pos", "neg"), _zero(scale)]
    shapes += [Shape(f"line {style}", line(x, scale(y))) for style, x, y in lines]
    each = drawn["periods_per_bar"]
    per_bar = "Each bar is one period." if each == 1 else f"Each bar is the mean of {each} periods."
    readouts = [
        _read("IC" if each == 1 else f"IC, mean of {each}", "/signal/ic/bars/value", "coefficient", drawn["value"])
    ]
    if each == 1 and window:
        readouts.append(_read(f"mean of {window}", "/signal/ic/series/rolling", "coefficient", ic["series"]["rolling"]))
    return Figure(
        title="IC over time",
        words=f"{per_bar} Above the zero line the scores ordered the instruments rightly.",
        plots=[Plot(shapes, labels, axis.ticks())],
        spoken=(
            f"IC of {plural(ic['periods'], 'period')}, mean {show(ic['mean'], 'coefficient')}, "
            f"from {show(ic['lowest'], 'coefficient')} to {show(ic['highest'], 'coefficient')}."
        ),
        legend=keys,
        places=_places(axis.x),
        heads=drawn["time"],
        readouts=readouts,
    )


def _places(x: np.ndarray) -> list[float]:
    return [round(float(place), 1) for place in x]


def _ic_spread(ic: dict[str, Any]) -> Figure:
    edges, counts = _array(ic["histogram"]["edges"]), _array(ic["histogram"]["counts"])
    low, high = min(edges[0], 0.0), max(edges[-1], 0.0)
    x, y = Scale(*padded(low, high, 0.03)), Scale(0, float(counts.max()) * 1.06, up=True)
    left, right = x(edges[:-1]), x(edges[1:])
    grid, labels = _value_axis(y, "count", [tick for tick in value_ticks(0, y.high, 4) if tick == int(tick)])
    mean = float(x(ic["mean"]))
    shapes = [
        *grid,
        Shape("pos", bars(left + 1.5, right - 1.5, y(counts), 1000.0)),
        Shape("zero", f"M{unit(float(x(0.0)))} 0V1000"),
        Shape("line rolling", f"M{unit(mean)} 0V1000"),
    ]
    levels = value_ticks(x.low, x.high, 5)
    zero = int(np.argmin(np.abs(levels)))  # stays on a narrow screen
    ticks = [
        Tick(float(x(level)) / 10, _axis_text(level, "coefficient"), minor=bool((k - zero) % 2))
        for k, level in enumerate(levels)
    ]
    return Figure(
        title="Distribution of the IC",
        words="How many periods had which IC.",
        plots=[Plot(shapes, labels, ticks)],
        spoken=f"Histogram of the IC: {show(ic['positive_share'], 'percent')} of the periods lie above zero.",
        legend=[
            Key("rolling", "mean", "/signal/ic/mean", "coefficient"),
            Key("", "above zero", "/signal/ic/positive_share", "percent"),
        ],
        places=_places((left + right) / 2),
        heads=[
            f"{show(a, 'coefficient')} to {show(b, 'coefficient')}"
            for a, b in zip(ic["histogram"]["edges"][:-1], ic["histogram"]["edges"][1:], strict=True)
        ],
        readouts=[_read("periods", "/signal/ic/histogram/counts", "count", ic["histogram"]["counts"])],
    )


def _groups(groups: dict[str, Any]) -> Figure:
    mean, error = _array(groups["relative_mean"]), _array(groups["relative_standard_error"])
    n = len(mean)
    reach = WHISKER * np.nan_to_num(error)
    y = Scale(*_range(mean - reach, mean + reach), up=True)
    grid, labels = _value_axis(y, "change")
    middle = 1000 * (np.arange(n) + 0.5) / n
    half = 1000 / n * 0.34
    floor, tops = float(y(0.0)), y(mean)
    shapes = [*grid]
    shapes += [Shape(f"g{k + 1}", bars(middle[[k]] - half, middle[[k]] + half, tops[[k]], floor)) for k in range(n)]
    stems = "".join(
        f"M{unit(m)} {unit(float(y(v - r)))}V{unit(float(y(v + r)))}"
        for m, v, r in zip(middle, mean, reach, strict=True)
        if r > 0
    )
    shapes += [_zero(y), Shape("halo", stems), Shape("whisker", stems)]
    ends = {0: "lowest", n - 1: "highest"}
    return Figure(
        title="Return by group of scores",
        words=(
            f"Each period's instruments in {n} groups by score: mean label of a group less the mean of all. "
            "Whiskers: 95 % interval. A good signal climbs from left to right."
        ),
        plots=[Plot(shapes, labels, [Tick(m / 10, ends.get(k, str(k + 1))) for k, m in enumerate(middle)])],
        spoken="Mean label by group of scores, lowest first: " + ", ".join(show(v, "change") for v in mean.tolist()),
        legend=[
            Key("", "highest less lowest", "/signal/groups/top_less_bottom/mean", "change"),
            Key("", "its t", "/signal/groups/top_less_bottom/t", "ratio"),
        ],
        places=_places(middle),
        heads=[f"group {name}" for name in groups["names"]],
        readouts=[
            _read("less the mean of all", "/signal/groups/relative_mean", "change", groups["relative_mean"]),
            _read(
                "standard error", "/signal/groups/relative_standard_error", "percent", groups["relative_standard_error"]
            ),
            _read("plain mean", "/signal/groups/mean", "change", groups["mean"]),
        ],
    )


def _groups_time(groups: dict[str, Any]) -> Figure:
    axis = _Time(groups["time"])
    columns = [_array(column) for column in groups["adds_up"]]
    n = len(columns)
    y = Scale(*_range(*columns), up=True)
    grid, labels = _value_axis(y, "change")
    rows = thin(columns[-1] - columns[0])
    shapes = [*grid, _zero(y)]
    shapes += [Shape(f"line g{k + 1}", line(axis.x[rows], y(column[rows]))) for k, column in enumerate(columns)]
    read = [
        _read(f"group {groups['names'][k]}", f"/signal/groups/adds_up/{k}", "change", groups["adds_up"][k], rows)
        for k in reversed(range(n))
    ]
    spread = groups["top_less_bottom"]["series"]
    read.append(_read("highest less lowest", "/signal/groups/top_less_bottom/series", "change", spread, rows))
    return Figure(
        title="Groups over time",
        words="The same, added up period by period (before costs, as if each group were rebalanced every time).",
        plots=[Plot(shapes, labels, axis.ticks())],
        spoken=f"At the end the highest group stands at {show(groups['adds_up'][-1][-1], 'change')}, "
        f"the lowest at {show(groups['adds_up'][0][-1], 'change')}.",
        legend=[Key(f"g{k + 1}", {0: "lowest scores", n - 1: "highest scores"}.get(k, str(k + 1))) for k in range(n)],
        **_moments(axis, groups["time"], rows),
        readouts=read,
    )


def _moments(axis: _Time, times: list[str], rows: np.ndarray) -> dict[str, Any]:
    """Places, heads and row numbers of the moments that were drawn."""
    every = len(rows) == len(times)
    return {
        "places": _places(axis.x[rows]),
        "heads": [times[k] for k in rows],
        "rows": None if every else [int(k) for k in rows],
    }


def _growth(held: dict[str, Any]) -> Figure:
    series = held["series"]
    axis = _Time([series["start"], *series["time"]])
    curves = [("net", "Net of costs", "net"), ("gross", "Before costs", "gross"), ("bench", "Benchmark", "benchmark")]
    there = [(style, name, key) for style, name, key in curves if series[f"{key}_growth"] is not None]
    columns = {key: np.concatenate([[0.0], _array(series[f"{key}_growth"])]) for _, _, key in there}
    rows = thin(columns["net"])
    low, high = _range(*columns.values())
    plots = [_growth_plot(axis, columns, there, rows, Scale(low, high, up=True), None, "linear")]
    smallest = min(float(np.nanmin(column)) for column in columns.values()) + 1
    largest = max(float(np.nanmax(column)) for column in columns.values()) + 1
    if smallest > 0 and largest / smallest >= LOG_FROM:
        scale = Scale(smallest / 1.03, largest * 1.03, up=True, log=True)
        plots.append(_growth_plot(axis, columns, there, rows, scale, _ratio_ticks(scale), "logarithmic"))
    steps = rows[rows > 0] - 1
    against = f", the benchmark {show(held['benchmark']['total'], 'change')}" if held["benchmark"] else ""
    return Figure(
        title="Growth of the account",
        words="Compounded since the start, which is the left edge.",
        plots=plots,
        spoken=f"Net of costs the account made {show(held['net']['total'], 'change')}{against}.",
        legend=[Key(style, name, f"/portfolio/{key}/total", "change") for style, name, key in there],
        places=_places(axis.x[steps + 1]),
        heads=[series["time"][k] for k in steps],
        rows=None if len(steps) == len(series["time"]) else [int(k) for k in steps],
        readouts=[
            *[
                _read(name, f"/portfolio/series/{key}_growth", "change", series[f"{key}_growth"], steps)
                for _, name, key in there
            ],
            _read("Account", "/portfolio/series/account", "money", series["account"], steps),
        ],
    )


def _growth_plot(
    axis: _Time,
    columns: dict[str, np.ndarray],
    there: list[tuple[str, str, str]],
    rows: np.ndarray,
    scale: Scale,
    ticks: list[float] | None,
    name: str,
) -> Plot:
    shift = 1.0 if scale.log else 0.0
    grid, labels = _value_axis(scale, "change", ticks)
    if scale.log:
        texts = [_axis_text(level - 1, "change") for level in ticks or []]
        labels = [Tick(tick.at, text) for tick, text in zip(labels, texts, strict=True)]
    shapes = [*grid, Shape("zero", f"M0 {unit(float(scale(shift)))}H1000")]
    for style, _, key in reversed(there):
        shapes.append(Shape(f"line {style}", line(axis.x[rows], scale(columns[key][rows] + shift))))
    return Plot(shapes, labels, axis.ticks(), name)


def _ratio_ticks(scale: Scale) -> list[float]:
    """Equity levels for a logarithmic axis, seven at most."""
    fine = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8]
    for steps in (fine, [1, 1.5, 2, 3, 5], [1, 2, 5], [1]):
        found = [step * 10.0**power for power in range(-6, 10) for step in steps]
        found = [round(level, 9) for level in found if scale.low <= level <= scale.high]
        if len(found) <= 7:
            return found
    return found[:: -(-len(found) // 7)]


def _drawdown(held: dict[str, Any]) -> Figure:
    series = held["series"]
    axis = _Time([series["start"], *series["time"]])
    fall = np.concatenate([[0.0], _array(series["drawdown"])])
    rows = thin(fall)
    y = Scale(min(float(fall.min()) * 1.06, -1e-4), 0.0, up=True)
    grid, labels = _value_axis(y, "change")
    steps = rows[rows > 0] - 1
    return Figure(
        title="Drawdown",
        words="Distance of the net account from its highest value so far, the starting capital included.",
        plots=[
            Plot(
                [
                    *grid,
                    Shape("fall", area(axis.x[rows], y(fall[rows]), 0.0)),
                    Shape("line down", line(axis.x[rows], y(fall[rows]))),
                ],
                labels,
                axis.ticks(),
            )
        ],
        spoken=f"The deepest drawdown is {show(held['net']['max_drawdown'], 'change')}.",
        legend=[Key("down", "deepest", "/portfolio/net/max_drawdown", "change")],
        places=_places(axis.x[steps + 1]),
        heads=[series["time"][k] for k in steps],
        rows=None if len(steps) == len(series["time"]) else [int(k) for k in steps],
        readouts=[_read("below the high", "/portfolio/series/drawdown", "change", series["drawdown"], steps)],
    )


def _turnover(held: dict[str, Any]) -> Figure:
    drawn = held["turnover_bars"]
    axis = _Time(drawn["time"], air=0.5 / len(drawn["time"]))
    values = _array(drawn["value"])
    y = Scale(0.0, max(float(np.nanmax(values)) * 1.06, 1e-4), up=True)
    grid, labels = _value_axis(y, "percent")
    each = drawn["periods_per_bar"]
    per_bar = "" if each == 1 else f" Each bar is the mean of {each} periods."
    return Figure(
        title="Turnover",
        words=f"Value bought and sold in a period, as a share of the account.{per_bar}",
        plots=[Plot([*grid, *_bars_over_time(axis, values, y, "pos", "neg", 1.0)], labels, axis.ticks())],
        spoken=f"Mean turnover {show(held['trading']['turnover_mean'], 'percent')} a period.",
        legend=[Key("pos", "mean", "/portfolio/trading/turnover_mean", "percent")],
        places=_places(axis.x),
        heads=drawn["time"],
        readouts=[_read("turnover", "/portfolio/turnover_bars/value", "percent", drawn["value"])],
    )


def _cost(held: dict[str, Any]) -> Figure:
    series = held["series"]
    axis = _Time([series["start"], *series["time"]])
    paid = np.concatenate([[0.0], _array(series["cost_so_far"])])
    rows = thin(paid)
    y = Scale(0.0, max(float(paid.max()) * 1.06, 1e-4), up=True)
    grid, labels = _value_axis(y, "percent")
    steps = rows[rows > 0] - 1
    return Figure(
        title="Costs so far",
        words="Trading costs as a share of the account, added up.",
        plots=[
            Plot(
                [
                    *grid,
                    Shape("spent", area(axis.x[rows], y(paid[rows]), 1000.0)),
                    Shape("line down", line(axis.x[rows], y(paid[rows]))),
                ],
                labels,
                axis.ticks(),
            )
        ],
        spoken=f"Costs add up to {show(series['cost_so_far'][-1], 'percent')} of the account.",
        legend=[
            Key("down", "a year", "/portfolio/trading/cost_annual", "percent"),
            Key("", "of the value traded", "/portfolio/trading/cost_of_traded", "percent"),
        ],
        places=_places(axis.x[steps + 1]),
        heads=[series["time"][k] for k in steps],
        rows=None if len(steps) == len(series["time"]) else [int(k) for k in steps],
        readouts=[
            _read("so far", "/portfolio/series/cost_so_far", "percent", series["cost_so_far"], steps),
            _read("this period", "/portfolio/series/cost", "percent", series["cost"], steps),
        ],
    )


def _level(held: dict[str, Any], key: str, kind: str, title: str, words: str) -> Figure:
    series = held["series"]
    axis = _Time(series["time"])
    values = _array(series[key])
    rows = thin(values)
    y = Scale(*_range(values), up=True)
    y = Scale(min(0.0, y.low if np.nanmin(values, initial=0.0) < 0 else 0.0), y.high, up=True)
    ticks = [tick for tick in value_ticks(y.low, y.high, 4) if kind != "count" or tick == int(tick)]
    grid, labels = _value_axis(y, kind, ticks)
    return Figure(
        title=title,
        words=words,
        plots=[Plot([*grid, Shape("line net", line(axis.x[rows], y(values[rows])))], labels, axis.ticks())],
        spoken=f"{title}: between {show(held[key]['lowest'], kind)} and {show(held[key]['highest'], kind)}.",
        legend=[Key("net", "mean", f"/portfolio/{key}/mean", "percent" if kind == "percent" else "decimal")],
        **_moments(axis, series["time"], rows),
        readouts=[_read(title.lower(), f"/portfolio/series/{key}", kind, series[key], rows)],
    )


def _sides(held: dict[str, Any]) -> dict[str, Figure]:
    """Exposure by side, margin, distance to a forced close, and holding costs; those that the run has."""
    found: dict[str, Figure] = {}
    sides, carry = held["sides"], held["carry"]
    if sides and sides["short"]["lowest"] < 0:
        found["sides"] = _curves(
            held,
            "Exposure by side",
            "Value of what was held after each step, as a share of the account. Net is long less short; gross is both "
            "together: the leverage.",
            [
                (style, name, f"/portfolio/sides/{key}/mean", f"/portfolio/sides/series/{key}", sides["series"][key])
                for style, name, key in SIDES
            ],
            f"Long {show(sides['long']['mean'], 'percent')} and short {show(sides['short']['mean'], 'percent')} of the "
            f"account on average; at most {show(sides['gross']['highest'], 'percent')} together.",
            mean=True,
            ticks=7,
        )
    if carry:
        found["carry"] = _curves(
            held,
            "Holding costs so far",
            "Paid for what was held, by name, as a share of the account, added up. Below zero: earned.",
            [
                (style, name, f"/portfolio/carry/share/{k}", f"/portfolio/carry/series/{k}", carry["series"][k])
                for k, (style, name) in enumerate(zip(cycle(CARRY_STYLES), carry["names"], strict=False))
            ],
            "Paid for holding: "
            + ", ".join(
                f"{name} {show(part, 'percent')}" for name, part in zip(carry["names"], carry["share"], strict=True)
            )
            + " of the account.",
        )
    if sides and sides["margin"]:
        found["margin"] = _curves(
            held,
            "Margin in use",
            "Margin of all holdings after each step, as a share of the account.",
            [
                (
                    "net",
                    "mean",
                    "/portfolio/sides/margin/mean",
                    "/portfolio/sides/series/margin",
                    sides["series"]["margin"],
                )
            ],
            f"At most {show(sides['margin']['highest'], 'percent')} of the account.",
        )
    if sides and sides["distance"]:
        found["distance"] = _curves(
            held,
            "Distance to a forced close",
            DISTANCE_WORDS[sides["distance_of"]],
            [
                (
                    "down",
                    "nearest",
                    "/portfolio/sides/distance/lowest",
                    "/portfolio/sides/series/distance",
                    sides["series"]["distance"],
                )
            ],
            f"At the nearest {show(sides['distance']['lowest'], 'percent')}.",
        )
    return found


SIDES = (("net", "Long", "long"), ("down", "Short", "short"), ("rolling", "Net", "net"), ("gross", "Gross", "gross"))
CARRY_STYLES = ("net", "down", "bench", "rolling", "gross")
DISTANCE_WORDS = {
    "each": "Of the holding that was nearest: how far its price was from where it is closed by force. No line: nothing "
    "could be.",
    "together": "How far all prices would have had to move against the holdings at once until the account was closed "
    "by force. No line: nothing could be.",
}


def _curves(
    held: dict[str, Any],
    title: str,
    words: str,
    parts: list[tuple[str, str, str, str, list[float | None]]],
    spoken: str,
    *,
    mean: bool = False,
    ticks: int = 5,
) -> Figure:
    """Shares over time; a part is style, name, pointer to the legend's number, pointer to the series, its values."""
    times = held["series"]["time"]
    axis = _Time(times)
    columns = [_array(values) for *_, values in parts]
    rows = np.unique(np.concatenate([thin(column, MOST_POINTS // len(columns)) for column in columns]))
    scale = Scale(*_range(*columns), up=True)
    low = min(float(np.nanmin(column)) for column in columns)
    scale = Scale(scale.low if low < 0 else 0.0, scale.high, up=True)
    grid, labels = _value_axis(scale, "percent", value_ticks(scale.low, scale.high, ticks))
    lines = [
        Shape(f"line {style}", line(axis.x[rows], scale(column[rows])))
        for (style, *_), column in zip(parts, columns, strict=True)
    ]
    return Figure(
        title=title,
        words=words,
        plots=[Plot([*grid, _zero(scale), *reversed(lines)], labels, axis.ticks())],
        spoken=spoken,
        legend=[Key(style, f"{name}, mean" if mean else name, at, "percent") for style, name, at, _, _ in parts],
        **_moments(axis, times, rows),
        readouts=[_read(name.lower(), at, "percent", values, rows) for _, name, _, at, values in parts],
    )

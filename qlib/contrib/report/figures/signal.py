"""Figures of the signal: the IC over time and how it is spread, what groups of scores earned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.report.drawing import Scale, bars, line, padded, thin, unit, value_ticks
from qlib.contrib.report.figures.parts import (
    WHISKER,
    Figure,
    Key,
    Part,
    Plot,
    Shape,
    Tick,
    TimeAxis,
    array,
    axis_text,
    bars_over_time,
    bounds,
    columns_of,
    curves,
    moments,
    places,
    readout_of,
    value_axis,
    whiskers,
    zero,
)
from qlib.contrib.report.words import plural, show


def _ic(signal: dict[str, Any]) -> Figure:
    ic, rank = signal["ic"], signal["rank_ic"]
    drawn = ic["bars"]
    n = len(drawn["time"])
    axis = TimeAxis(drawn["time"], air=0.5 / n)
    values = array(drawn["value"])
    window = ic["rolling_window"]
    lines, keys = [], [Key("pos", "IC")]
    for style, name, part in (("rolling", "IC", ic), ("second", "Rank IC", rank)):
        if part and part["rolling_window"] and part["periods"] >= 2:
            stamps = pd.to_datetime(pd.Series(part["series"]["time"]), format="ISO8601").to_numpy()
            x = axis.scale(stamps.astype("datetime64[s]").astype(np.int64))
            y = array(part["series"]["rolling"])
            rows = thin(y)
            lines.append((style, x[rows], y[rows]))
            keys.append(Key(style, f"{name}, mean of {plural(part['rolling_window'], 'period')}"))
    scale = Scale(*bounds(values, *[y for _, _, y in lines]), up=True)
    grid, labels = value_axis(scale, "coefficient")
    shapes = [*grid, *bars_over_time(axis, values, scale, "pos", "neg"), zero(scale)]
    shapes += [Shape(f"line {style}", line(x, scale(y))) for style, x, y in lines]
    each = drawn["periods_per_bar"]
    per_bar = "Each bar is one period." if each == 1 else f"Each bar is the mean of {each} periods."
    readouts = [
        readout_of("IC" if each == 1 else f"IC, mean of {each}", "/signal/ic/bars/value", "coefficient", drawn["value"])
    ]
    if each == 1 and window:
        readouts.append(
            readout_of(f"mean of {window}", "/signal/ic/series/rolling", "coefficient", ic["series"]["rolling"])
        )
    return Figure(
        title="IC over time",
        words=f"{per_bar} Above the zero line the scores ordered the instruments rightly.",
        plots=[Plot(shapes, labels, axis.ticks())],
        spoken=(
            f"IC of {plural(ic['periods'], 'period')}, mean {show(ic['mean'], 'coefficient')}, "
            f"from {show(ic['lowest'], 'coefficient')} to {show(ic['highest'], 'coefficient')}."
        ),
        legend=keys,
        places=places(axis.x),
        heads=drawn["time"],
        readouts=readouts,
    )


def _ic_spread(ic: dict[str, Any]) -> Figure:
    edges, counts = array(ic["histogram"]["edges"]), array(ic["histogram"]["counts"])
    low, high = min(edges[0], 0.0), max(edges[-1], 0.0)
    x, y = Scale(*padded(low, high, 0.03)), Scale(0, float(counts.max()) * 1.06, up=True)
    left, right = x(edges[:-1]), x(edges[1:])
    grid, labels = value_axis(y, "count", [tick for tick in value_ticks(0, y.high, 4) if tick == int(tick)])
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
        Tick(float(x(level)) / 10, axis_text(level, "coefficient"), minor=bool((k - zero) % 2))
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
        places=places((left + right) / 2),
        heads=[
            f"{show(a, 'coefficient')} to {show(b, 'coefficient')}"
            for a, b in zip(ic["histogram"]["edges"][:-1], ic["histogram"]["edges"][1:], strict=True)
        ],
        readouts=[readout_of("periods", "/signal/ic/histogram/counts", "count", ic["histogram"]["counts"])],
    )


def _groups(groups: dict[str, Any]) -> Figure:
    mean, error = array(groups["relative_mean"]), array(groups["relative_standard_error"])
    n = len(mean)
    reach = WHISKER * np.nan_to_num(error)
    y = Scale(*bounds(mean - reach, mean + reach), up=True)
    grid, labels = value_axis(y, "change")
    middle = 1000 * (np.arange(n) + 0.5) / n
    half = 1000 / n * 0.34
    floor, tops = float(y(0.0)), y(mean)
    shapes = [*grid]
    shapes += [Shape(f"g{k + 1}", bars(middle[[k]] - half, middle[[k]] + half, tops[[k]], floor)) for k in range(n)]
    stems = whiskers(middle, mean, reach, y)
    shapes += [zero(y), Shape("halo", stems), Shape("whisker", stems)]
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
        places=places(middle),
        heads=[f"group {name}" for name in groups["names"]],
        readouts=[
            readout_of("less the mean of all", "/signal/groups/relative_mean", "change", groups["relative_mean"]),
            readout_of(
                "standard error", "/signal/groups/relative_standard_error", "percent", groups["relative_standard_error"]
            ),
            readout_of("plain mean", "/signal/groups/mean", "change", groups["mean"]),
        ],
    )


def _groups_time(groups: dict[str, Any]) -> Figure:
    axis = TimeAxis(groups["time"])
    columns = [array(column) for column in groups["adds_up"]]
    n = len(columns)
    y = Scale(*bounds(*columns), up=True)
    grid, labels = value_axis(y, "change")
    rows = thin(columns[-1] - columns[0])
    shapes = [*grid, zero(y)]
    shapes += [Shape(f"line g{k + 1}", line(axis.x[rows], y(column[rows]))) for k, column in enumerate(columns)]
    read = [
        readout_of(f"group {groups['names'][k]}", f"/signal/groups/adds_up/{k}", "change", groups["adds_up"][k], rows)
        for k in reversed(range(n))
    ]
    spread = groups["top_less_bottom"]["series"]
    read.append(readout_of("highest less lowest", "/signal/groups/top_less_bottom/series", "change", spread, rows))
    return Figure(
        title="Groups over time",
        words="The same, added up period by period (before costs, as if each group were rebalanced every time).",
        plots=[Plot(shapes, labels, axis.ticks())],
        spoken=f"At the end the highest group stands at {show(groups['adds_up'][-1][-1], 'change')}, "
        f"the lowest at {show(groups['adds_up'][0][-1], 'change')}.",
        legend=[Key(f"g{k + 1}", {0: "lowest scores", n - 1: "highest scores"}.get(k, str(k + 1))) for k in range(n)],
        **moments(axis, groups["time"], rows),
        readouts=read,
    )


def _quantiles(ic: dict[str, Any]) -> Figure:
    found = ic["quantiles"]
    normal, seen, straight = (array(found[key]) for key in ("normal", "seen", "line"))
    x, y = Scale(*padded(normal[0], normal[-1], 0.03)), Scale(*bounds(seen, straight, hold=None), up=True)
    grid, labels = value_axis(y, "coefficient")
    dots = "".join(f"M{unit(a)} {unit(b)}h0" for a, b in zip(x(normal), y(seen), strict=True))
    ticks = [Tick(float(x(level)) / 10, axis_text(level, "coefficient")) for level in value_ticks(x.low, x.high, 6)]
    return Figure(
        title="IC against the bell curve",
        words="Each dot is a quantile of the IC (upright) where a normal distribution would have it (across, in "
        "standard deviations). On the line: normal. Ends that leave it: more extreme periods than a t expects.",
        plots=[Plot([*grid, Shape("line second", line(x(normal), y(straight))), Shape("dots", dots)], labels, ticks)],
        spoken=f"Skew {show(found['skew'], 'ratio')}, kurtosis {show(found['kurtosis'], 'ratio')}; 3 is normal.",
        legend=[
            Key("second", "normal"),
            Key("", "skew", "/signal/ic/quantiles/skew", "ratio"),
            Key("", "kurtosis (normal: 3)", "/signal/ic/quantiles/kurtosis", "ratio"),
        ],
        places=places(x(normal)),
        heads=[f"{show(value, 'ratio')} standard deviations" for value in found["normal"]],
        readouts=[
            readout_of("IC", "/signal/ic/quantiles/seen", "coefficient", found["seen"]),
            readout_of("normal", "/signal/ic/quantiles/line", "coefficient", found["line"]),
        ],
    )


def _by_lag(found: dict[str, Any], key: str, title: str, words: str, later: str, readout: str) -> Figure:
    lags = found["lags"]
    return columns_of(
        title,
        words,
        f"{readout} {later}: "
        + ", ".join(f"{lag}: {show(mean, 'coefficient')}" for lag, mean in zip(lags, found["mean"], strict=True)),
        [str(lag) for lag in lags],
        [f"{plural(lag, 'period')} {later}" for lag in lags],
        found["mean"],
        f"/signal/{key}/mean",
        kind="coefficient",
        readout=readout,
        errors=found["standard_error"],
        errors_at=f"/signal/{key}/standard_error",
    )


def _breadth(signal: dict[str, Any]) -> Figure:
    breadth = signal["breadth"]
    parts = [
        Part("net", "with a score", "/signal/breadth/predicted", breadth["predicted"]),
        *([Part("bench", "with a label", "/signal/breadth/labelled", breadth["labelled"])] if signal["ic"] else []),
    ]
    return curves(
        breadth["time"],
        "Coverage over time",
        "Instruments with a score, and with a label, in each period.",
        parts,
        f"In a usual period {show(signal['coverage']['instruments_per_period'], 'decimal')} instruments have a score.",
        kind="count",
    )


def signal_figures(signal: dict[str, Any]) -> dict[str, Figure]:
    """Every figure the signal has numbers for."""
    found: dict[str, Figure] = {}
    if signal["ic"]:
        found["ic"] = _ic(signal)
        found["ic_spread"] = _ic_spread(signal["ic"])
        if signal["ic"]["quantiles"]:
            found["ic_quantiles"] = _quantiles(signal["ic"])
    if signal["groups"]:
        found["groups"] = _groups(signal["groups"])
        found["groups_time"] = _groups_time(signal["groups"])
    if signal["decay"]:
        words = "IC with the label of so many periods later, with 95 % whiskers: how soon a score must be acted on."
        found["decay"] = _by_lag(signal["decay"], "decay", "Decay by horizon", words, "later", "IC")
    if signal["memory"]:
        words = "Correlation with the scores of so many periods before. Near 1 little is traded, near 0 everything."
        found["memory"] = _by_lag(
            signal["memory"], "memory", "Autocorrelation of the scores", words, "before", "correlation"
        )
    if len(signal["breadth"]["time"]) > 1:
        found["breadth"] = _breadth(signal)
    return found

"""Figures of the model: which features count, how it learned; and of what more capital would earn."""

from __future__ import annotations

from typing import Any

import numpy as np

from qlib.contrib.report.drawing import Scale, line, thin, unit, value_ticks
from qlib.contrib.report.figures.parts import (
    Figure,
    Key,
    Plot,
    Readout,
    Shape,
    Tick,
    array,
    axis_text,
    bounds,
    columns_of,
    level,
    places,
    readout_of,
    value_axis,
)
from qlib.contrib.report.words import plural, show

MOST_FEATURES = 30
STYLES = {"train": "gross", "valid": "net", "test": "rolling"}
KINDS = {
    "splits": "How often the trees ask for a feature.",
    "coefficients": "Weight of a feature in the sum that is the score; below zero it lowers the score.",
    "importance": "As the model tells it.",
}


def model_figures(model: dict[str, Any]) -> dict[str, Figure]:
    """Every figure the model has numbers for."""
    found: dict[str, Figure] = {}
    if model["importance"]:
        found["importance"] = _importance(model["importance"])
    for k, curve in enumerate(model["learning"]):
        found[f"learning_{k}"] = _learning(curve, f"/model_numbers/learning/{k}")
    return found


def _importance(found: dict[str, Any]) -> Figure:
    at, shown = "/model_numbers/importance", min(found["count"], MOST_FEATURES)
    rows = list(range(shown))
    names = found["features"][:shown]
    half = f" {plural(found['half'], 'feature')} of {found['count']} make half of it." if found["half"] else ""
    figure = columns_of(
        "Importance of the features",
        f"{KINDS[found['kind']]}{half}" + (f" The first {shown} are drawn." if shown < found["count"] else ""),
        "The most important features: " + ", ".join(names[:5]) + ".",
        [name if shown <= 12 else "" for name in names],
        names,
        found["value"][:shown],
        f"{at}/value",
        kind="plain",
        readout=found["kind"],
        rows=None if shown == found["count"] else rows,
        legend=[Key("", "features that count", f"{at}/used", "count")],
    )
    if found["gain"]:
        figure.readouts.append(readout_of("gain", f"{at}/gain", "plain", found["gain"], np.array(rows)))
    if found["share"]:
        figure.readouts.append(readout_of("share", f"{at}/share", "percent", found["share"], np.array(rows)))
    return figure


def _learning(curve: dict[str, Any], at: str) -> Figure:
    columns = [array(values) for values in curve["values"]]
    n = curve["rounds"]
    x, y = Scale(1, max(n, 2)), Scale(*bounds(*columns, hold=None), up=True)
    grid, labels = value_axis(y, "coefficient")
    rows = thin(np.concatenate([columns[-1], np.full(n - len(columns[-1]), np.nan)]), 800)
    shapes = [*grid]
    if curve["best"]:
        place = unit(float(x(curve["best"])))
        shapes.append(Shape("zero", f"M{place} 0V1000"))
    keys, readouts = [], []
    for k, (segment, values) in enumerate(zip(curve["segments"], columns, strict=True)):
        style = STYLES.get(segment, "bench")
        shapes.append(Shape(f"line {style}", line(x(np.arange(1, len(values) + 1)), y(values))))
        keys.append(Key(style, segment))
        texts = [show(values[row], "plain") if row < len(values) else "" for row in rows]
        if len(values) == n:
            readouts.append(Readout(segment, f"{at}/values/{k}", "plain", texts))
    if curve["best"]:
        keys.append(Key("", "best round on unseen rows", f"{at}/best", "count"))
    ticks = [tick for tick in value_ticks(1, max(n, 2), 6) if tick == int(tick) and tick >= 1]
    return Figure(
        title=f"Learning curve: {curve['metric']}",
        words="By round, on the rows that were learned from and on unseen ones.",
        plots=[Plot(shapes, labels, [Tick(float(x(tick)) / 10, axis_text(tick, "count")) for tick in ticks])],
        spoken=f"{plural(n, 'round')}" + (f"; best on unseen rows after {curve['best']}." if curve["best"] else "."),
        legend=keys,
        places=places(x(rows + 1.0)),
        heads=[f"round {row + 1}" for row in rows],
        rows=None if len(rows) == n else [int(row) for row in rows],
        readouts=readouts,
    )


def capacity_figures(found: dict[str, Any]) -> dict[str, Figure]:
    """What each capital would have earned a year, as a share of it and as money."""
    curve = found["curve"]
    capital, net = array(curve["capital"]), array(curve["net"])
    drawn = capital > 0
    rows = np.flatnonzero(drawn)
    x = Scale(float(capital[drawn].min()), float(capital[drawn].max()), log=True)
    powers = [10.0**power for power in range(-6, 16) if x.low <= 10.0**power <= x.high]
    ticks = [Tick(float(x(tick)) / 10, _short(tick)) for tick in powers]
    y = Scale(*bounds(net[drawn]), up=True)
    grid, labels = value_axis(y, "percent")
    upright = [found[key] for key in ("capital", "best") if found[key] and x.low <= found[key] <= x.high]
    shapes = [*grid, level(y, 0.0), *[Shape("zero", f"M{unit(float(x(one)))} 0V1000") for one in upright]]
    shapes.append(Shape("line net", line(x(capital[drawn]), y(net[drawn]))))
    keys = [Key("net", "this run's capital", "/capacity/capital", "money")]
    if found["best"]:
        keys += [
            Key("", "earns the most money", "/capacity/best", "money"),
            Key("", "earns nothing", "/capacity/zero", "money"),
        ]
    return {
        "capacity": Figure(
            title="Capacity",
            words="What a capital (across, each step ten times as much) would have earned a year, were its orders to "
            "move prices by the square-root law. Upright lines: this run, and the capital that earns the most money.",
            plots=[Plot(shapes, labels, ticks)],
            spoken=f"Most money is earned with {show(found['best'], 'money')}, nothing with "
            f"{show(found['zero'], 'money')}.",
            legend=keys,
            places=places(x(capital[drawn])),
            heads=[f"capital {show(value, 'money')}" for value in capital[drawn].tolist()],
            rows=[int(row) for row in rows],
            readouts=[
                readout_of("a year", "/capacity/curve/net", "change", curve["net"], rows),
                readout_of("money a year", "/capacity/curve/money", "money", curve["money"], rows),
            ],
        )
    }


def _short(value: float) -> str:
    """A large number for an axis.

    >>> [_short(value) for value in (1e3, 2.5e6, -1e9, 0.1)]
    ['1k', '2.5M', '\u22121bn', '0.1']
    """
    for size, word in ((1e12, "tn"), (1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{word}".replace("-", "\u2212")
    return f"{value:g}".replace("-", "\u2212")

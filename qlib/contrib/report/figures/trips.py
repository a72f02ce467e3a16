"""Figure of the round trips: how far each was behind, and what it made in the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from qlib.contrib.report.drawing import Scale, padded, unit, value_ticks
from qlib.contrib.report.figures.parts import (
    Figure,
    Key,
    Plot,
    Shape,
    Tick,
    array,
    axis_text,
    bounds,
    places,
    readout_of,
    value_axis,
    zero,
)
from qlib.contrib.report.words import show

FEWEST = 5  # below that a cloud of dots says less than the table


def trip_figures(found: dict[str, Any]) -> dict[str, Figure]:
    """Return the figure of the newest trips; none where there are hardly any."""
    rows = found["rows"]
    if len(rows["share"]) < FEWEST:
        return {}
    behind, made = array(rows["against"]), array(rows["share"])
    order = np.argsort(behind, kind="stable")
    x, y = Scale(*padded(float(behind.min()), 0.0, 0.03)), Scale(*bounds(made), up=True)
    grid, labels = value_axis(y, "change")

    def dots(wanted: np.ndarray) -> str:
        return "".join(
            f"M{unit(float(a))} {unit(float(b))}h0" for a, b in zip(x(behind[wanted]), y(made[wanted]), strict=True)
        )

    ticks = [Tick(float(x(level)) / 10, axis_text(level, "change")) for level in value_ticks(x.low, x.high, 6)]
    shapes = [*grid, zero(y), Shape("dots lost", dots(made < 0)), Shape("dots", dots(made >= 0))]
    names = [rows["instrument"][k] for k in order]
    at = "/portfolio/trips/rows"
    newest = "" if len(made) == found["finished"] else f" The newest {len(made)}."
    return {
        "trips": Figure(
            title="How far trips were behind, and what they made",
            words="Each dot is a round trip: across, the farthest that it was behind while it was held; upright, what "
            f"it made in the end, both as shares of its size. Far left and high up: gains that were sat out.{newest}",
            plots=[Plot([shape for shape in shapes if shape.path], labels, ticks)],
            spoken=f"{show(found['won_share'], 'percent')} of the trips made money; the mean trip was at most "
            f"{show(abs(found['against']['mean']), 'percent')} behind.",
            legend=[
                Key("dot", "made money", "/portfolio/trips/won_share", "percent"),
                Key("dot lost", "lost money"),
            ],
            places=places(x(behind[order])),
            heads=[f"{name}, {rows['closed'][k]}" for name, k in zip(names, order, strict=True)],
            rows=[int(k) for k in order],
            readouts=[
                readout_of("made", f"{at}/share", "change", rows["share"], order),
                readout_of("behind", f"{at}/against", "change", rows["against"], order),
                readout_of("ahead", f"{at}/ahead", "change", rows["ahead"], order),
            ],
        )
    }

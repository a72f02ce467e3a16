"""Figures of the store: bars that are missing, members of the universe, IC by liquidity tier."""

from __future__ import annotations

from typing import Any

from qlib.contrib.report.figures.parts import Figure, Part, columns_of, curves, readout_of
from qlib.contrib.report.words import plural, show


def market_figures(market: dict[str, Any]) -> dict[str, Figure]:
    """Every figure of what the store held."""
    found: dict[str, Figure] = {}
    holes, universe = market["holes_over_time"], market["universe"]
    if market["holes"]:
        each = "" if holes["bars_per_entry"] == 1 else f" Each point is the mean of {holes['bars_per_entry']} bars."
        found["holes"] = curves(
            holes["time"],
            "Bars without a close",
            f"Share of the universe that has no price in a bar: holes, suspensions, delays.{each}",
            [Part("down", "of all bars", "/market/holes_over_time/share", holes["share"], "/market/holes_share")],
            f"{plural(market['holes'], 'bar')} of {show(market['expected'], 'count')} without a close.",
        )
    if len(universe["time"]) > 1:
        found["members"] = curves(
            universe["time"],
            "Members of the universe",
            "Instruments that belong to it at each bar, from the first learned from to the last tested.",
            [Part("net", "members", "/market/universe/members", universe["members"])],
            f"Between {show(universe['fewest'], 'count')} and {show(universe['most'], 'count')} instruments.",
            kind="count",
        )
    if market["tiers"]:
        found["tiers"] = _tiers(market["tiers"])
    return found


def _tiers(tiers: dict[str, Any]) -> Figure:
    names, values = tiers["names"], tiers["ic"]
    figure = columns_of(
        "IC by liquidity tier",
        f"Instruments in three parts by value traded (mean of {tiers['bars']} bars, known when the score was given), "
        "and the IC among each, with 95 % whiskers. A signal of the least traded part alone is hard to trade.",
        "; ".join(f"{name}: {show(value, 'coefficient')}" for name, value in zip(names, values, strict=True)),
        names,
        names,
        values,
        "/market/tiers/ic",
        kind="coefficient",
        readout="IC",
        errors=tiers["ic_standard_error"],
        errors_at="/market/tiers/ic_standard_error",
    )
    figure.readouts.append(readout_of("rank IC", "/market/tiers/rank_ic", "coefficient", tiers["rank_ic"]))
    figure.readouts.append(readout_of("value traded", "/market/tiers/value", "money", tiers["value"]))
    return figure

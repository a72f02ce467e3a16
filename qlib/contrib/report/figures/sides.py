"""Figures of a run with shorts, margin or holding costs."""

from __future__ import annotations

from itertools import cycle
from typing import Any

from qlib.contrib.report.figures.parts import Figure, Part, curves
from qlib.contrib.report.words import show

SIDES = (("net", "Long", "long"), ("down", "Short", "short"), ("rolling", "Net", "net"), ("gross", "Gross", "gross"))
CARRY_STYLES = ("net", "down", "bench", "rolling", "gross")
DISTANCE_WORDS = {
    "each": "Of the holding that was nearest: how far its price was from where it is closed by force. No line: nothing "
    "could be.",
    "together": "How far all prices would have had to move against the holdings at once until the account was closed "
    "by force. No line: nothing could be.",
}


def side_figures(held: dict[str, Any]) -> dict[str, Figure]:
    """Exposure by side, margin, distance to a forced close, and holding costs; those that the run has."""
    found: dict[str, Figure] = {}
    times, sides, carry = held["series"]["time"], held["sides"], held["carry"]

    def part(style: str, name: str, key: str, told: str = "mean") -> Part:
        at = f"/portfolio/sides/series/{key}"
        return Part(style, name, at, sides["series"][key], f"/portfolio/sides/{key}/{told}")

    if sides and sides["short"]["lowest"] < 0:
        found["sides"] = curves(
            times,
            "Exposure by side",
            "Value of what was held after each step, as a share of the account. Net is long less short; gross is both "
            "together: the leverage. The numbers are means.",
            [part(style, name, key) for style, name, key in SIDES],
            f"Long {show(sides['long']['mean'], 'percent')} and short {show(sides['short']['mean'], 'percent')} of the "
            f"account on average; at most {show(sides['gross']['highest'], 'percent')} together.",
            ticks=7,
        )
    if carry:
        found["carry"] = curves(
            times,
            "Holding costs so far",
            "Paid for what was held, by name, as a share of the account, added up. Below zero: earned.",
            [
                Part(style, name, f"/portfolio/carry/series/{k}", carry["series"][k], f"/portfolio/carry/share/{k}")
                for k, (style, name) in enumerate(zip(cycle(CARRY_STYLES), carry["names"], strict=False))
            ],
            "Paid for holding: "
            + ", ".join(
                f"{name} {show(part, 'percent')}" for name, part in zip(carry["names"], carry["share"], strict=True)
            )
            + " of the account.",
        )
    if sides and sides["margin"]:
        found["margin"] = curves(
            times,
            "Margin in use",
            "Margin of all holdings after each step, as a share of the account.",
            [part("net", "mean", "margin")],
            f"At most {show(sides['margin']['highest'], 'percent')} of the account.",
        )
    if sides and sides["distance"]:
        found["distance"] = curves(
            times,
            "Distance to a forced close",
            DISTANCE_WORDS[sides["distance_of"]],
            [part("down", "nearest", "distance", "lowest")],
            f"At the nearest {show(sides['distance']['lowest'], 'percent')}.",
        )
    return found

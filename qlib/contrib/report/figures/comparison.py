"""Figures of several runs in one."""

from __future__ import annotations

from typing import Any

from qlib.contrib.report.figures.parts import Figure, Part, curves
from qlib.contrib.report.words import show

FIGURES = (
    ("growth", "Growth of the accounts", "Net of costs, each compounded since its own start.", "change"),
    ("drawdown", "Drawdowns", "Distance of each account from its highest value so far.", "change"),
    ("ic", "Rolling IC", "Mean IC of about a month that ends with each period.", "coefficient"),
)


def comparison_figures(twin: dict[str, Any]) -> dict[str, Figure]:
    """Every figure that at least one run has a series for; the styles r1, r2, ... tell the runs apart."""
    found = {}
    for key, title, words, kind in FIGURES:
        series = twin["series"][key]
        if not series:
            continue
        parts = [
            Part(f"r{k + 1}", run["name"], f"/series/{key}/values/{k}", values)
            for k, (run, values) in enumerate(zip(twin["runs"], series["values"], strict=True))
            if values is not None
        ]
        last = ", ".join(f"{part.name} {show(_last(part.values), kind)}" for part in parts)
        found[key] = curves(series["time"], title, words, parts, f"At the end: {last}.", kind=kind)
    return found


def _last(values: list[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)

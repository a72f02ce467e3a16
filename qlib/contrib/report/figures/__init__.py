"""The figures of the report, each drawn from the JSON twin.

    figures(twin) -> {"ic": Figure, "ic_spread": ..., "groups": ..., "growth": ..., "drawdown": ..., ...}

parts.py        what a figure is made of
signal.py       IC, groups of scores
portfolio.py    growth, drawdown, turnover, cost
sides.py        shorts, margin, holding costs
trips.py        round trips
model.py        importance of features, learning curves, capacity
market.py       holes, universe, liquidity tiers
"""

from __future__ import annotations

from typing import Any

from qlib.contrib.report.figures.market import market_figures
from qlib.contrib.report.figures.model import capacity_figures, model_figures
from qlib.contrib.report.figures.parts import Figure
from qlib.contrib.report.figures.portfolio import portfolio_figures
from qlib.contrib.report.figures.sides import side_figures
from qlib.contrib.report.figures.signal import signal_figures
from qlib.contrib.report.figures.trips import trip_figures

__all__ = ["Figure", "figures"]


def figures(twin: dict[str, Any]) -> dict[str, Figure]:
    """Every figure the run has numbers for."""
    found: dict[str, Figure] = {}
    if twin["signal"]:
        found |= signal_figures(twin["signal"])
    if twin["portfolio"]:
        found |= portfolio_figures(twin["portfolio"]) | side_figures(twin["portfolio"])
        if twin["portfolio"]["trips"]:
            found |= trip_figures(twin["portfolio"]["trips"])
    if twin["model_numbers"]:
        found |= model_figures(twin["model_numbers"])
    if twin["capacity"]:
        found |= capacity_figures(twin["capacity"])
    if "why" not in twin["market"]:
        found |= market_figures(twin["market"])
    return found

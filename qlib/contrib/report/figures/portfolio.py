"""Figures of the portfolio: growth, drawdown, turnover, cost, what was invested."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np

from qlib.contrib.report.drawing import Scale, area, line, thin, unit, value_ticks
from qlib.contrib.report.figures.parts import (
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
    zero,
)
from qlib.contrib.report.words import plural, show

MOST_NAMES = 40  # instruments whose gain is drawn
FEW_NAMES = 12  # so few can be named below
LOG_FROM = 1.5  # largest over smallest equity from which a logarithmic scale is offered


def _growth(held: dict[str, Any]) -> Figure:
    series = held["series"]
    axis = TimeAxis([series["start"], *series["time"]])
    curves = [("net", "Net of costs", "net"), ("gross", "Before costs", "gross"), ("bench", "Benchmark", "benchmark")]
    there = [(style, name, key) for style, name, key in curves if series[f"{key}_growth"] is not None]
    columns = {key: np.concatenate([[0.0], array(series[f"{key}_growth"])]) for _, _, key in there}
    rows = thin(columns["net"])
    low, high = bounds(*columns.values())
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
        places=places(axis.x[steps + 1]),
        heads=[series["time"][k] for k in steps],
        rows=None if len(steps) == len(series["time"]) else [int(k) for k in steps],
        readouts=[
            *[
                readout_of(name, f"/portfolio/series/{key}_growth", "change", series[f"{key}_growth"], steps)
                for _, name, key in there
            ],
            readout_of("Account", "/portfolio/series/account", "money", series["account"], steps),
        ],
    )


def _growth_plot(
    axis: TimeAxis,
    columns: dict[str, np.ndarray],
    there: list[tuple[str, str, str]],
    rows: np.ndarray,
    scale: Scale,
    ticks: list[float] | None,
    name: str,
) -> Plot:
    shift = 1.0 if scale.log else 0.0
    grid, labels = value_axis(scale, "change", ticks)
    if scale.log:
        texts = [axis_text(level - 1, "change") for level in ticks or []]
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
    axis = TimeAxis([series["start"], *series["time"]])
    fall = np.concatenate([[0.0], array(series["drawdown"])])
    rows = thin(fall)
    y = Scale(min(float(fall.min()) * 1.06, -1e-4), 0.0, up=True)
    grid, labels = value_axis(y, "change")
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
        places=places(axis.x[steps + 1]),
        heads=[series["time"][k] for k in steps],
        rows=None if len(steps) == len(series["time"]) else [int(k) for k in steps],
        readouts=[readout_of("below the high", "/portfolio/series/drawdown", "change", series["drawdown"], steps)],
    )


def _turnover(held: dict[str, Any]) -> Figure:
    drawn = held["turnover_bars"]
    axis = TimeAxis(drawn["time"], air=0.5 / len(drawn["time"]))
    values = array(drawn["value"])
    y = Scale(0.0, max(float(np.nanmax(values)) * 1.06, 1e-4), up=True)
    grid, labels = value_axis(y, "percent")
    each = drawn["periods_per_bar"]
    per_bar = "" if each == 1 else f" Each bar is the mean of {each} periods."
    return Figure(
        title="Turnover",
        words=f"Value bought and sold in a period, as a share of the account.{per_bar}",
        plots=[Plot([*grid, *bars_over_time(axis, values, y, "pos", "neg", 1.0)], labels, axis.ticks())],
        spoken=f"Mean turnover {show(held['trading']['turnover_mean'], 'percent')} a period.",
        legend=[Key("pos", "mean", "/portfolio/trading/turnover_mean", "percent")],
        places=places(axis.x),
        heads=drawn["time"],
        readouts=[readout_of("turnover", "/portfolio/turnover_bars/value", "percent", drawn["value"])],
    )


def _cost(held: dict[str, Any]) -> Figure:
    series = held["series"]
    axis = TimeAxis([series["start"], *series["time"]])
    paid = np.concatenate([[0.0], array(series["cost_so_far"])])
    rows = thin(paid)
    y = Scale(0.0, max(float(paid.max()) * 1.06, 1e-4), up=True)
    grid, labels = value_axis(y, "percent")
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
        places=places(axis.x[steps + 1]),
        heads=[series["time"][k] for k in steps],
        rows=None if len(steps) == len(series["time"]) else [int(k) for k in steps],
        readouts=[
            readout_of("so far", "/portfolio/series/cost_so_far", "percent", series["cost_so_far"], steps),
            readout_of("this period", "/portfolio/series/cost", "percent", series["cost"], steps),
        ],
    )


def _level(held: dict[str, Any], key: str, kind: str, title: str, words: str) -> Figure:
    series = held["series"]
    axis = TimeAxis(series["time"])
    values = array(series[key])
    rows = thin(values)
    y = Scale(*bounds(values), up=True)
    y = Scale(min(0.0, y.low if np.nanmin(values, initial=0.0) < 0 else 0.0), y.high, up=True)
    ticks = [tick for tick in value_ticks(y.low, y.high, 4) if kind != "count" or tick == int(tick)]
    grid, labels = value_axis(y, kind, ticks)
    return Figure(
        title=title,
        words=words,
        plots=[Plot([*grid, Shape("line net", line(axis.x[rows], y(values[rows])))], labels, axis.ticks())],
        spoken=f"{title}: between {show(held[key]['lowest'], kind)} and {show(held[key]['highest'], kind)}.",
        legend=[Key("net", "mean", f"/portfolio/{key}/mean", "percent" if kind == "percent" else "decimal")],
        **moments(axis, series["time"], rows),
        readouts=[readout_of(title.lower(), f"/portfolio/series/{key}", kind, series[key], rows)],
    )


STYLES = ("down", "rolling", "net", "bench", "gross")


def _rolling(held: dict[str, Any]) -> dict[str, Figure]:
    rolling, times = held["rolling"], held["series"]["time"]
    window = plural(rolling["window"], "period")
    found = {
        "rolling_sharpe": curves(
            times,
            "Rolling Sharpe ratio",
            f"Net of costs, over the last {window}, scaled to a year.",
            [Part("net", "whole period", "/portfolio/rolling/sharpe", rolling["sharpe"], "/portfolio/net/sharpe")],
            f"Sharpe ratio of every {window}; {show(held['net']['sharpe'], 'ratio')} over the whole period.",
            kind="ratio",
        )
    }
    if rolling["beta"]:
        found["rolling_beta"] = curves(
            times,
            "Rolling beta",
            f"How much of the benchmark's moves the account made, over the last {window}. 0: none, 1: all.",
            [
                Part(
                    "bench",
                    "whole period",
                    "/portfolio/rolling/beta",
                    rolling["beta"],
                    "/portfolio/rolling/whole_beta",
                )
            ],
            f"Beta of every {window}; {show(rolling['whole_beta'], 'ratio')} over the whole period.",
            kind="ratio",
        )
    return found


def _costs(held: dict[str, Any]) -> Figure:
    costs = held["costs"]
    told = [k for k, paid in enumerate(costs["paid"]) if paid]
    return curves(
        held["series"]["time"],
        "Costs by kind",
        "Each as a share of the account, added up step by step. Below zero: earned.",
        [
            Part(
                style,
                costs["names"][k],
                f"/portfolio/costs/series/{k}",
                costs["series"][k],
                f"/portfolio/costs/paid/{k}",
                "money",
            )
            for k, style in zip(told, cycle(STYLES), strict=False)
        ],
        "Paid: " + ", ".join(f"{costs['names'][k]} {show(costs['paid'][k], 'money')}" for k in told) + ".",
    )


def _weights(held: dict[str, Any]) -> Figure:
    weight, at = held["positions"]["weight"], "/portfolio/positions/weight"
    return curves(
        held["series"]["time"],
        "Largest holding",
        "Share of the largest holding in all that is held. Spread evenly it would be one over the number of holdings.",
        [Part("net", "mean", f"{at}/largest", weight["largest"], f"{at}/largest_mean")],
        f"The largest holding has {show(weight['largest_mean'], 'percent')} of what is held on average.",
    )


def _earned(held: dict[str, Any]) -> Figure:
    """What each instrument made: all of them, or the ends of a long list."""
    made = held["positions"]["earned"]
    n = len(made["money"])
    rows = list(range(n)) if n <= MOST_NAMES else [*range(MOST_NAMES // 2), *range(n - MOST_NAMES // 2, n)]
    words = "Sold less bought less fees, what is still held counted at its last price."
    if n > MOST_NAMES:
        words += f" The best and the worst {MOST_NAMES // 2} of {n}; report.json has all."
    names = [made["instruments"][k] for k in rows]
    return columns_of(
        "What each instrument earned",
        words,
        f"{made['winners']} instruments earned money, {made['losers']} lost it; best {names[0]}, worst {names[-1]}.",
        [name if len(names) <= FEW_NAMES else "" for name in names],
        names,
        [made["money"][k] for k in rows],
        "/portfolio/positions/earned/money",
        kind="money",
        readout="earned",
        rows=None if n <= MOST_NAMES else rows,
        legend=[
            Key("pos", "earned", "/portfolio/positions/earned/winners", "count"),
            Key("neg", "lost", "/portfolio/positions/earned/losers", "count"),
            Key("", "best one's share of all gains", "/portfolio/positions/earned/best_share", "percent"),
        ],
    )


def _paid(held: dict[str, Any]) -> Figure:
    drawn = held["execution"]["bars"]
    axis = TimeAxis(drawn["time"], air=0.5 / len(drawn["time"]))
    values = array(drawn["cost_bps"])
    y = Scale(*bounds(values), up=True)
    grid, labels = value_axis(y, "ratio")
    per_bar = "" if drawn["steps_per_bar"] == 1 else f" Each bar is {drawn['steps_per_bar']} steps."
    at = "/portfolio/execution"
    return Figure(
        title="Price of trading",
        words=f"Fees, spread and impact in basis points (hundredths of a percent) of the value traded.{per_bar}",
        plots=[Plot([*grid, *bars_over_time(axis, values, y, "pos", "neg", 1.0), zero(y)], labels, axis.ticks())],
        spoken=f"Fees take {show(held['execution']['fee_bps'], 'ratio')} basis points, "
        f"spread and impact {show(held['execution']['slippage_bps'], 'ratio')}.",
        legend=[
            Key("", "fees", f"{at}/fee_bps", "ratio"),
            Key("", "spread and impact", f"{at}/slippage_bps", "ratio"),
        ],
        places=places(axis.x),
        heads=drawn["time"],
        readouts=[
            readout_of("basis points", f"{at}/bars/cost_bps", "ratio", drawn["cost_bps"]),
            readout_of("value traded", f"{at}/bars/value", "money", drawn["value"]),
            readout_of("fills", f"{at}/bars/fills", "count", drawn["fills"]),
        ],
    )


def _varies(values: list[float | None]) -> bool:
    """Say whether there is anything to draw but one level."""
    seen = [value for value in values if value is not None]
    return bool(seen) and max(seen) - min(seen) > 1e-6 * max(abs(value) for value in seen)


def portfolio_figures(held: dict[str, Any]) -> dict[str, Figure]:
    """Every figure the portfolio has numbers for."""
    found = {
        "growth": _growth(held),
        "drawdown": _drawdown(held),
        "turnover": _turnover(held),
        "cost": _cost(held),
        "exposure": _level(held, "exposure", "percent", "Invested", "Share of the account held in instruments."),
    }
    if held["series"]["holdings"]:
        words = "Number of instruments held after each step."
        found["holdings"] = _level(held, "holdings", "count", "Holdings", words)
    if held["rolling"]:
        found |= _rolling(held)
    if sum(bool(paid) for paid in held["costs"]["paid"]) > 1:
        found["costs"] = _costs(held)
    if held["execution"] and _varies(held["execution"]["bars"]["cost_bps"]):
        found["paid"] = _paid(held)
    kept = held["positions"]
    if kept and kept["weight"]:
        found["weights"] = _weights(held)
    if kept and kept["earned"]:
        found["earned"] = _earned(held)
    return found

"""What buys, sells and holdings earned over the benchmark in the bar after.

     cumulative mean excess      |  distribution of the
     share of the holdings       |  excess of a bar (red: its mean)

One figure each for what was bought, what was sold, bought minus sold, and held. Good buys rise, good sells fall.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from qlib.contrib.report.analysis_position.parse_position import BUY, HOLD, SELL, get_position_data
from qlib.contrib.report.graph import SubplotsGraph, dates_as_text, shown
from qlib.errors import MissingDataError

TITLE = "{}(the red line in the histogram on the right represents the average)"
LINES = {"mode": "lines+markers"}


def cumulative_return_graph(
    position: Mapping[pd.Timestamp, Any],
    report_normal: pd.DataFrame,
    label_data: pd.DataFrame,
    show_notebook: bool = True,
    start_date: str | pd.Timestamp | None = None,
    end_date: str | pd.Timestamp | None = None,
) -> Iterator[go.Figure] | None:
    """Show the figures of bought, sold, bought minus sold, and held, or return them.

    Parameters
    ----------
    position
        `{time: Position}`: `positions_normal_1day.pkl`.
    report_normal
        The report of the backtest; its column `bench` is taken off each label.
    label_data
        Column `label` by (instrument, datetime), the return that follows; the benchmark's must span the same bar:
        `Ref($close, -1) / $close - 1` for a backtest that deals at closes.
    show_notebook
        True shows the figures and returns None; False returns them one after the other.
    start_date, end_date
        Bounds of the dates, both included.
    """
    data = get_position_data(position, label_data, report_normal, start_date=start_date, end_date=end_date)
    figures = [_figure(name, earned) for name, earned in excess(data).items()]
    return None if shown(figures, show_notebook=show_notebook) else (figure for figure in figures)


def excess(data: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return for buy, sell, buy_minus_sell and hold, by date: value, weight and cum.

    Parameters
    ----------
    data
        `get_position_data` with the benchmark.

    Returns
    -------
    value: weight times (label - bench), added up over the names; weight: their share of the holdings, shorts by their
    size; cum: value over weight, the mean excess of a name, added up from date to date. A date without such a name
    counts as 0.
    """
    known = data.dropna(subset=["status", "label", "bench"])
    if known.empty:
        raise MissingDataError("no date has a holding, a label and a return of the benchmark")
    dates = known.index.get_level_values("datetime")
    days = dates.unique().sort_values()
    value = (known["weight"] * (known["label"] - known["bench"])).groupby([known["status"], dates]).sum()
    weight = known["weight"].abs().groupby([known["status"], dates]).sum()
    table = {}
    for name, status in (("buy", BUY), ("sell", SELL), ("hold", HOLD)):
        rows = pd.DataFrame({"value": _of(value, status, days), "weight": _of(weight, status, days)})
        rows["mean"] = (rows["value"] / rows["weight"]).where(rows["weight"] != 0, 0.0)
        table[name] = rows
    buy, sell = table["buy"], table["sell"]
    both = buy - sell
    both["weight"] = buy["weight"] + sell["weight"]
    table = {"buy": buy, "sell": sell, "buy_minus_sell": both, "hold": table["hold"]}
    return {name: rows.assign(cum=rows["mean"].cumsum()) for name, rows in table.items()}


def _of(sums: pd.Series, status: int, days: pd.Index) -> pd.Series:
    there = status in sums.index.get_level_values(0)
    return (sums.loc[status] if there else pd.Series(dtype=float)).reindex(days, fill_value=0.0)


def _figure(name: str, earned: pd.DataFrame) -> go.Figure:
    words = name.replace("_", " ")
    weighed = words.replace("minus", "plus")
    frame = earned.set_axis(dates_as_text(earned.index), axis=0)
    mean = float(frame["value"].mean())
    axis = {"showline": False, "zeroline": True, "tickangle": 45}
    upright = {"zeroline": True, "showline": True, "showticklabels": True}
    red = {"type": "line", "xref": "x2", "yref": "paper", "x0": mean, "x1": mean, "y0": 0, "y1": 1}
    return SubplotsGraph(
        frame,
        layout={
            "height": 500,
            "title": TITLE.format(name),
            "xaxis": {**axis, "type": "category", "showticklabels": False},
            "xaxis2": axis,
            "xaxis3": {**axis, "type": "category"},
            "yaxis": {**upright, "title": name},
            "yaxis2": upright,
            "yaxis3": upright,
            "shapes": [{**red, "line": {"color": "red", "width": 1}}],
        },
        sub_graph_data=[
            ("cum", {"row": 1, "col": 1, "name": f"cum {words}", "graph_kwargs": LINES}),
            ("weight", {"row": 2, "col": 1, "name": f"{weighed} weight", "graph_kwargs": LINES}),
            (
                "value",
                {"row": 1, "col": 2, "name": f"{words} value", "kind": "HistogramGraph", "graph_kwargs": {}},
            ),
        ],
        subplots_kwargs={
            "rows": 2,
            "cols": 2,
            "row_width": [1, 2],
            "column_width": [3, 1],
            "vertical_spacing": 0.01,
            "specs": [[{"rowspan": 1}, {"rowspan": 2}], [{"rowspan": 1}, None]],
        },
    ).figure

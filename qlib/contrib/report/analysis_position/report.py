"""What a backtest earned: growth against the benchmark, falls from the peak, turnover.

     cumulative return        benchmark, without and with cost     (all curves add returns up, as Qlib does)
     falls from the peak      without cost, with cost
     cumulative excess        without and with cost
     turnover
     falls of the excess      with cost, without cost

The grey bands cover the deepest fall before cost: of the return in the upper half, of the excess in the lower half. A
fall counts from the starting capital too; under compat="qlib" from the first bar on, as in Qlib.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from qlib.config import active_settings
from qlib.contrib.report.graph import SubplotsGraph, dates_as_text, shown
from qlib.errors import InputError, MissingDataError

NEEDED = ("return", "cost", "bench", "turnover")
LINES = {"mode": "lines+markers"}
AREA = {"mode": "lines+markers", "fill": "tozeroy"}
# column, row, arguments of the trace
PLACES: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("cum_bench", 1, LINES),
    ("cum_return_wo_cost", 1, LINES),
    ("cum_return_w_cost", 1, LINES),
    ("return_wo_mdd", 2, AREA),
    ("return_w_cost_mdd", 3, AREA),
    ("cum_ex_return_wo_cost", 4, LINES),
    ("cum_ex_return_w_cost", 4, LINES),
    ("turnover", 5, LINES),
    ("cum_ex_return_w_cost_mdd", 6, AREA),
    ("cum_ex_return_wo_cost_mdd", 7, AREA),
)
ROWS = 7
FALLS = {
    "cum_return_wo_cost": "return_wo_mdd",
    "cum_return_w_cost": "return_w_cost_mdd",
    "cum_ex_return_wo_cost": "cum_ex_return_wo_cost_mdd",
    "cum_ex_return_w_cost": "cum_ex_return_w_cost_mdd",
}


def report_graph(report_df: pd.DataFrame, show_notebook: bool = True) -> tuple[go.Figure, ...] | None:
    """Show the figure of a backtest's report, or return it.

    Parameters
    ----------
    report_df
        `report_normal_1day.pkl`: by time the columns return, cost, bench, turnover. Without a benchmark (bench NaN)
        the curves that need one are left out.
    show_notebook
        True shows the figure and returns None; False returns `(figure,)`.
    """
    if shown((figure := _figure(report_df),), show_notebook=show_notebook):
        return None
    return (figure,)


def growth(report: pd.DataFrame) -> pd.DataFrame:
    """Return the curves by time, a row `T0` of zeros before the first bar.

    >>> rows = pd.DataFrame({"return": [0.1, -0.2], "cost": [0.0, 0.0], "bench": [0.0, 0.1], "turnover": [1.0, 0.0]},
    ...                     index=pd.DatetimeIndex(["2020-01-01", "2020-01-02"]))
    >>> growth(rows)["cum_return_w_cost"].round(6).to_dict()
    {'T0': 0.0, '2020-01-01': 0.1, '2020-01-02': -0.1}
    >>> growth(rows)["return_w_cost_mdd"].round(6).tolist()
    [0.0, 0.0, -0.2]
    """
    if not isinstance(report, pd.DataFrame):
        raise InputError(f"report_df: received {type(report).__name__}; a DataFrame is needed")
    absent = [column for column in NEEDED if column not in report]
    if absent:
        raise MissingDataError(
            f"report_df: no column {', '.join(absent)}; it has {', '.join(map(str, report.columns))}"
        )
    if report.empty:
        raise InputError("report_df: no rows; there is nothing to draw")
    report = report.sort_index()
    net = report["return"] - report["cost"]
    curves = pd.DataFrame(
        {
            "cum_bench": report["bench"].cumsum(),
            "cum_return_wo_cost": report["return"].cumsum(),
            "cum_return_w_cost": net.cumsum(),
            "cum_ex_return_wo_cost": (report["return"] - report["bench"]).cumsum(),
            "cum_ex_return_w_cost": (net - report["bench"]).cumsum(),
        }
    )
    curves["turnover"] = report["turnover"]
    curves.index = dates_as_text(report.index)
    if report["bench"].isna().all():
        curves = curves.drop(columns=["cum_bench", "cum_ex_return_wo_cost", "cum_ex_return_w_cost"])
    start = pd.DataFrame(0.0, index=pd.Index(["T0"], dtype=object), columns=curves.columns)
    curves = pd.concat([start, curves])
    counted = _counted(curves)
    falls = (counted - counted.cummax()).reindex(curves.index, fill_value=0.0)
    for curve, fall in FALLS.items():
        if curve in curves:
            curves[fall] = falls[curve]
    return curves


def deepest_fall(curve: pd.Series) -> tuple[Any, Any]:
    """Return where the deepest fall of a curve begins (its last peak) and where it ends.

    >>> deepest_fall(pd.Series([1.0, 3.0, 2.0, 0.0, 4.0], index=list("abcde")))
    ('b', 'd')
    """
    end = (curve - curve.cummax()).idxmin()
    return curve.loc[:end].idxmax(), end


def _figure(report_df: pd.DataFrame) -> go.Figure:
    curves = growth(report_df)
    axis = {"showline": True, "type": "category", "tickangle": 45}
    layout: dict[str, Any] = {"height": 1200, "title": " ", "shapes": _bands(curves)}
    for row in range(1, ROWS + 1):
        layout[f"xaxis{row}"] = {**axis, "showline": row == ROWS}
        layout[f"yaxis{row}"] = {"zeroline": True, "showline": True, "showticklabels": True}
    return SubplotsGraph(
        curves,
        layout=layout,
        sub_graph_data=[
            (column, {"row": row, "col": 1, "name": column.replace("_", " "), "graph_kwargs": kwargs})
            for column, row, kwargs in PLACES
            if column in curves
        ],
        subplots_kwargs={
            "rows": ROWS,
            "cols": 1,
            "shared_xaxes": True,
            "vertical_spacing": 0.01,
            "row_width": [1, 1, 1, 3, 1, 1, 3],  # from the lowest row up
        },
    ).figure


def _counted(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the rows from which a fall counts."""
    return curves.iloc[1:] if active_settings().compat == "qlib" else curves


def _bands(curves: pd.DataFrame) -> list[dict[str, Any]]:
    bands = []
    for column, low, high in (("cum_return_wo_cost", 0.55, 1), ("cum_ex_return_wo_cost", 0, 0.55)):
        if column in curves:
            start, end = deepest_fall(_counted(curves)[column])
            where = {"type": "rect", "xref": "x", "yref": "paper", "x0": start, "x1": end, "y0": low, "y1": high}
            bands.append({**where, "fillcolor": "#d3d3d3", "opacity": 0.3, "line": {"width": 0}})
    return bands

"""The risk figures of a backtest: of the whole time as bars, of each month as lines."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from qlib.config import active_settings
from qlib.contrib.evaluate import risk_analysis
from qlib.contrib.report.graph import ScatterGraph, SubplotsGraph, shown
from qlib.errors import InputError, MissingDataError

WHOLE = ("std", "annualized_return", "information_ratio", "max_drawdown")
MONTHLY = ("annualized_return", "max_drawdown", "information_ratio", "std")
SIDES = ("long", "short", "long_short")


def risk_analysis_graph(
    analysis_df: pd.DataFrame | None = None,
    report_normal_df: pd.DataFrame | None = None,
    report_long_short_df: pd.DataFrame | None = None,
    show_notebook: bool = True,
) -> list[go.Figure] | None:
    """Show the risk figures, or return them as a list.

    Parameters
    ----------
    analysis_df
        `port_analysis_1day.pkl`: column `risk` by (name of the returns, figure); drawn as bars.
    report_normal_df
        `report_normal_1day.pkl` with the columns return, cost, bench: the figures of each month's excess returns.
    report_long_short_df
        Columns long, short, long_short (as far as they are there) by time: the figures of each month's returns.
        Under compat="qlib" they are not drawn, as in Qlib.
    show_notebook
        True shows the figures and returns None; False returns them.
    """
    figures = []
    if analysis_df is not None:
        figures.append(_whole(analysis_df))
    months = monthly(report_normal_df, report_long_short_df)
    if months is not None:
        figures += [_monthly(months, figure) for figure in MONTHLY]
    if not figures:
        raise InputError("risk_analysis_graph: received neither analysis_df nor a report; there is nothing to draw")
    return None if shown(figures, show_notebook=show_notebook) else figures


def monthly(report: pd.DataFrame | None, sides: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the risk figures by month ("2020-01"), columns `<name of the returns>_<figure>`; None without reports."""
    returns: dict[str, pd.Series] = {}
    if report is not None:
        absent = [column for column in ("return", "cost", "bench") if column not in report]
        if absent:
            raise MissingDataError(f"report_normal_df: no column {', '.join(absent)}")
        gross = report["return"] - report["bench"]
        returns = {"excess_return_with_cost": gross - report["cost"], "excess_return_without_cost": gross}
    if sides is not None and active_settings().compat != "qlib":
        found = [column for column in SIDES if column in sides]
        if not found:
            raise MissingDataError(f"report_long_short_df: none of the columns {', '.join(SIDES)}")
        returns.update({column: sides[column] for column in found})
    if not returns:
        return None
    table = {}
    for name, values in returns.items():
        for month, rows in values.sort_index().groupby(lambda time: f"{time:%Y-%m}"):
            for figure, value in risk_analysis(rows)["risk"].items():
                table[(f"{name}_{figure}", month)] = value
    return pd.Series(table).unstack(0).sort_index()


def _whole(analysis: pd.DataFrame) -> go.Figure:
    if "risk" not in analysis or not isinstance(analysis.index, pd.MultiIndex):
        raise InputError("analysis_df: the column risk by (name of the returns, figure) is needed")
    table = analysis["risk"].unstack(sort=False)
    absent = [figure for figure in WHOLE if figure not in table]
    if absent:
        raise MissingDataError(f"analysis_df: no figure {', '.join(absent)}; it has {', '.join(map(str, table))}")
    return SubplotsGraph(
        table,
        kind_map={"kind": "BarGraph", "kwargs": {}},
        sub_graph_data=[
            (figure, {"row": 1, "col": number, "name": figure.replace("_", " ")})
            for number, figure in enumerate(WHOLE, 1)
        ],
        subplots_kwargs={"rows": 1, "cols": len(WHOLE)},
    ).figure


def _monthly(months: pd.DataFrame, figure: str) -> go.Figure:
    chosen = months[[column for column in months if str(column).endswith(f"_{figure}")]]
    layout = {"title": figure, "xaxis": {"type": "category", "tickangle": 45}}
    return ScatterGraph(chosen, layout=layout, graph_kwargs={"mode": "lines+markers"}).figure

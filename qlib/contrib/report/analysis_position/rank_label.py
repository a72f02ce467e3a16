"""Where what was held, bought and sold stood among all names, judged by what followed.

0 % would be the best name of every date, 100 % the worst, 50 % what chance gives. Buys belong below 50 %, sells above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from qlib.config import active_settings
from qlib.contrib.report.analysis_position.parse_position import BUY, HOLD, SELL, get_position_data
from qlib.contrib.report.graph import ScatterGraph, dates_as_text, shown
from qlib.errors import MissingDataError


def rank_label_graph(
    position: Mapping[pd.Timestamp, Any],
    label_data: pd.DataFrame,
    start_date: str | pd.Timestamp | None = None,
    end_date: str | pd.Timestamp | None = None,
    show_notebook: bool = True,
) -> Iterator[go.Figure] | None:
    """Show the mean place of the labels of held, bought and sold names by date, or return the figures.

    Parameters
    ----------
    position
        `{time: Position}`: `positions_normal_1day.pkl`.
    label_data
        Column `label` by (instrument, datetime), of all names that could have been held.
    start_date, end_date
        Bounds of the dates, both included.
    show_notebook
        True shows the figures and returns None; False returns them one after the other.

    A date without such a name has no point (compat="qlib": 0 %, as in Qlib).
    """
    data = get_position_data(
        position, label_data, calculate_label_rank=True, start_date=start_date, end_date=end_date
    ).dropna(subset=["status", "rank_ratio"])
    if data.empty:
        raise MissingDataError("no date has both a holding and a label")
    dates = data.index.get_level_values("datetime")
    days = dates.unique().sort_values()
    mean = data["rank_label_mean"].groupby([data["status"], dates]).first()
    none = 0.0 if active_settings().compat == "qlib" else np.nan
    figures = []
    for name, status in (("Hold", HOLD), ("Buy", BUY), ("Sell", SELL)):
        place = mean.xs(status) if status in mean.index.get_level_values(0) else pd.Series(dtype=float)
        frame = pd.DataFrame({name: place.reindex(days, fill_value=none).to_numpy()}, index=dates_as_text(days))
        layout = {
            "title": name,
            "xaxis": {"type": "category", "tickangle": 45},
            "yaxis": {"title": "label-rank-ratio: %"},
        }
        figures.append(ScatterGraph(frame, layout=layout, graph_kwargs={"mode": "lines+markers"}).figure)
    return None if shown(figures, show_notebook=show_notebook) else (figure for figure in figures)

"""How well the scores ordered what followed, bar by bar."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from qlib.analysis.ic import calc_ic
from qlib.contrib.report.graph import ScatterGraph, shown
from qlib.contrib.report.utils import known_only, scored, time_axis


def score_ic_graph(pred_label: pd.DataFrame, show_notebook: bool = True, **kwargs: Any) -> tuple[go.Figure, ...] | None:
    """Show IC and rank IC by date, or return the figure.

    Parameters
    ----------
    pred_label
        Columns `score` and `label` by (instrument, datetime), the levels in any order.
    show_notebook
        True shows the figure and returns None; False returns `(figure,)`.
    kwargs
        `rangebreaks`: gaps of the time axis that are left out, as plotly takes them; None guesses them.
    """
    known_only("score_ic_graph", kwargs, ("rangebreaks",))
    scores = scored(pred_label)
    ic, rank_ic = calc_ic(scores["score"], scores["label"])
    layout = {"title": "Score IC", "xaxis": time_axis(ic.index, kwargs.get("rangebreaks"))}
    frame = pd.DataFrame({"ic": ic, "rank_ic": rank_ic})
    figure = ScatterGraph(frame, layout=layout, graph_kwargs={"mode": "lines+markers"}).figure
    return None if shown((figure,), show_notebook=show_notebook) else (figure,)

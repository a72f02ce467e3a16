"""Figures of predictions: what the groups of scores earned, IC, how fast the scores change.

    group_return      cumulative mean label of N groups by score; distribution of long-short and long-average
    pred_ic           IC by date, by month, its distribution and its Q-Q plot
    pred_autocorr     rank correlation of the scores with those of `lag` dates before
    pred_turnover     share of the best (and worst) 1 / N of the names that were not among them `lag` dates before

Labels are added up, not compounded: a group's curve is the sum of its mean labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy import stats

from qlib.analysis.groups import group_returns
from qlib.analysis.ic import calc_ic
from qlib.config import active_settings
from qlib.contrib.report.graph import BarGraph, HeatmapGraph, ScatterGraph, SubplotsGraph, shown
from qlib.contrib.report.utils import known_only, scored, time_axis
from qlib.errors import InputError, MissingDataError, did_you_mean

Method = Literal["IC", "Rank IC"]
METHODS: tuple[Method, ...] = ("IC", "Rank IC")
BINS = 20
DOTS, DIAGONAL = "#19d3f3", "#636efa"  # of the Q-Q plot
ROOM_X, ROOM_Y = 0.02, 0.05  # the diagonal reaches beyond the dots, as a share of their extent


def model_performance_graph(
    pred_label: pd.DataFrame,
    lag: int = 1,
    N: int = 5,
    reverse: bool = False,
    rank: bool = False,
    graph_names: Sequence[str] = ["group_return", "pred_ic", "pred_autocorr"],
    show_notebook: bool = True,
    show_nature_day: bool = False,
    **kwargs: Any,
) -> list[go.Figure] | None:
    """Show the figures of predictions, or return them as a list.

    Parameters
    ----------
    pred_label
        Columns `score` and `label` by (instrument, datetime), the levels in any order.
    lag
        Dates between the scores that pred_autocorr and pred_turnover compare.
    N
        Groups of scores; Group1 holds the best.
    reverse
        Turn the scores around: the smallest is the best.
    rank
        Month table, distribution and Q-Q plot are those of the rank IC. Under compat="qlib" it changes nothing, as in
        Qlib.
    graph_names
        Some of group_return, pred_ic, pred_autocorr, pred_turnover.
    show_notebook
        True shows the figures and returns None; False returns them.
    show_nature_day
        Bars of the IC on a time axis without breaks, days without a value included.
    kwargs
        `methods`: some of "IC", "Rank IC"; the first is that of month table, distribution and Q-Q plot.
        `rangebreaks`: gaps of the time axes that are left out, as plotly takes them; None guesses them.
    """
    known_only("model_performance_graph", kwargs, ("methods", "rangebreaks"))
    for name in graph_names:
        if name not in GRAPHS:
            raise InputError(f"graph_names: no {name!r}{did_you_mean(name, GRAPHS)}; there are {', '.join(GRAPHS)}")
    if lag < 1 or N < 1:
        raise InputError(f"received lag={lag}, N={N}; each is at least 1")
    scores = scored(pred_label)
    if reverse:
        scores = scores.assign(score=-scores["score"])
    given = {"lag": lag, "N": N, "rank": rank, "show_nature_day": show_nature_day, **kwargs}
    figures = [figure for name in graph_names for figure in GRAPHS[name](scores, given)]
    return None if shown(figures, show_notebook=show_notebook) else figures


def ic_figure(ic_df: pd.DataFrame, show_nature_day: bool = True, **kwargs: Any) -> go.Figure:
    """Return bars by date, one colour per column.

    Parameters
    ----------
    ic_df
        Correlations by date.
    show_nature_day
        Every day from the first to the last has its place, NaN where it has no value; else gaps are left out.
    kwargs
        `rangebreaks`: the gaps, as plotly takes them; None guesses them.
    """
    known_only("ic_figure", kwargs, ("rangebreaks",))
    axis = time_axis(ic_df.index, kwargs.get("rangebreaks"))
    if show_nature_day:
        ic_df = ic_df.reindex(ic_df.index.union(pd.date_range(ic_df.index.min(), ic_df.index.max())))
        axis = {key: value for key, value in axis.items() if key != "rangebreaks"}
    return BarGraph(ic_df, layout={"title": "Information Coefficient (IC)", "xaxis": axis}).figure


def _group_return(scores: pd.DataFrame, given: Mapping[str, Any]) -> list[go.Figure]:
    n = given["N"]
    groups = _groups_of_qlib(scores, n) if _qlib() else group_returns(scores["score"], scores["label"], n)
    average = scores["label"].groupby(level="datetime").mean()
    groups["long-short"] = groups["Group1"] - groups[f"Group{n}"]
    groups["long-average"] = groups["Group1"] - average
    groups = groups.dropna(how="all")
    if groups.empty:
        raise MissingDataError(f"pred_label: no date has {n} names with a score and a label")
    axis = time_axis(groups.index, given.get("rangebreaks"))
    curves = ScatterGraph(groups.cumsum(), layout={"title": "Cumulative Return", "xaxis": axis})
    sides = groups[["long-short", "long-average"]]
    extent = sides.max() - sides.min()
    smallest = extent[extent > 0].min()  # NaN where nothing varies: bars then need any size above 0
    spread = SubplotsGraph(
        sides,
        kind_map={"kind": "DistplotGraph", "kwargs": {"bin_size": smallest / BINS if smallest > 0 else 1.0}},
        subplots_kwargs={"rows": 1, "cols": 2, "subplot_titles": list(sides)},
    )
    return [curves.figure, spread.figure]


def _groups_of_qlib(scores: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return the mean label of n groups of `names // n` each, the names that are left over in none of them."""
    ordered = scores.sort_values("score", ascending=False)["label"].groupby(level="datetime")
    place = ordered.cumcount()
    size = ordered.transform("size") // n
    groups = {}
    for k in range(n):
        chosen = place.ge(size * k) & place.lt(size * (k + 1))
        labels = scores["label"].where(chosen.reindex(scores.index))
        groups[f"Group{k + 1}"] = labels.groupby(level="datetime").mean()
    return pd.DataFrame(groups)


def _pred_ic(scores: pd.DataFrame, given: Mapping[str, Any]) -> list[go.Figure]:
    methods = given.get("methods", METHODS[::-1] if given["rank"] and not _qlib() else METHODS)
    wrong = [method for method in methods if method not in METHODS]
    if wrong or not methods:
        raise InputError(f"methods: received {list(methods)}; allowed are 'IC' and 'Rank IC'")
    table = pd.DataFrame(dict(zip(METHODS, calc_ic(scores["score"], scores["label"]), strict=True)))[list(methods)]
    first = table[methods[0]].dropna()
    if first.empty:
        raise MissingDataError(
            f"pred_label: no date has two names with a score and a label, so there is no {methods[0]}"
        )
    said = "IC" if _qlib() else methods[0]
    bars = ic_figure(table, given["show_nature_day"], rangebreaks=None if _qlib() else given.get("rangebreaks"))
    months = HeatmapGraph(
        _by_month(first),
        layout={
            "title": f"Monthly {said}",
            "xaxis": {"dtick": 1},
            "yaxis": {"tickformat": "04d", "dtick": 1},
        },
        graph_kwargs={"xtype": "array", "ytype": "array"},
    )
    return [bars, months.figure, _distribution(first, said)]


def _by_month(values: pd.Series) -> pd.DataFrame:
    """Return the mean of each month: years down, months "01" to "12" across."""
    times = pd.DatetimeIndex(values.index)
    mean = values.groupby([times.strftime("%Y"), times.strftime("%m")]).mean()
    table = mean.unstack()
    years = [str(year) for year in range(times.min().year, times.max().year + 1)]
    return table.reindex(index=years, columns=[f"{month:02d}" for month in range(1, 13)])


def _distribution(values: pd.Series, name: str) -> go.Figure:
    """Return density and Q-Q plot beside each other."""
    spread = float(values.max() - values.min())
    frame = pd.DataFrame({"value": values.to_numpy(dtype=float)})
    figure = SubplotsGraph(
        frame,
        sub_graph_data=[
            (
                "value",
                {
                    "row": 1,
                    "col": 1,
                    "name": "",
                    "kind": "DistplotGraph",
                    "graph_kwargs": {"bin_size": spread / BINS if spread > 0 else 1.0},
                },
            )
        ],
        layout={
            "xaxis2": {"title": "Normal Distribution Quantile"},
            "yaxis2": {"title": "Observed Quantile"},
            "showlegend": False,  # the two axes name what is drawn
        },
        subplots_kwargs={"rows": 1, "cols": 2, "subplot_titles": [name, f"{name} Normal Dist. Q-Q"]},
    ).figure
    if spread > 0:
        expected, observed = normal_quantiles(frame["value"].to_numpy())
        ends = _ends(expected, observed)
        dots = go.Scatter(x=expected, y=observed, mode="markers", marker={"color": DOTS})
        figure.add_trace(dots, row=1, col=2)
        figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line={"color": DIAGONAL}), row=1, col=2)
    return figure


def normal_quantiles(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (quantiles of the normal distribution, sorted values less their mean over their deviation).

    The k-th of n values stands at the quantile k / (n + 1); the deviation is that of the values (n, not n - 1).

    >>> expected, observed = normal_quantiles(np.array([3.0, 1.0, 2.0]))
    >>> expected.round(3).tolist(), observed.round(3).tolist()
    ([-0.674, 0.0, 0.674], [-1.225, 0.0, 1.225])
    """
    ordered = np.sort(values)
    expected = stats.norm.ppf(np.arange(1, len(ordered) + 1) / (len(ordered) + 1))
    return expected, (ordered - ordered.mean()) / ordered.std()


def _ends(expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
    low = min(x.min() - room * np.ptp(x) for x, room in ((expected, ROOM_X), (observed, ROOM_Y)))
    high = max(x.max() + room * np.ptp(x) for x, room in ((expected, ROOM_X), (observed, ROOM_Y)))
    return np.array([low, high])


def _pred_autocorr(scores: pd.DataFrame, given: Mapping[str, Any]) -> list[go.Figure]:
    values = _autocorr_of_qlib(scores, given["lag"]) if _qlib() else autocorrelation(scores["score"], given["lag"])
    layout = {"title": "Auto Correlation", "xaxis": time_axis(values.index, given.get("rangebreaks"))}
    return [ScatterGraph(values.to_frame("value"), layout=layout).figure]


def autocorrelation(score: pd.Series, lag: int) -> pd.Series:
    """Return by date the rank correlation with the scores of `lag` dates before, over the names that both dates have.

    The first `lag` dates are NaN.
    """
    table = score.unstack("instrument")
    before = table.shift(lag)
    both = table.notna() & before.notna()
    return table.where(both).rank(axis=1).corrwith(before.where(both).rank(axis=1), axis=1)


def _autocorr_of_qlib(scores: pd.DataFrame, lag: int) -> pd.Series:
    """Compare with the name's own score `lag` of its rows before; ranks are taken before rows without one are left."""
    pair = scores.assign(before=scores.groupby(level="instrument")["score"].shift(lag))
    place = pair.groupby(level="datetime")[["score", "before"]].rank(pct=True)
    ic, _ = calc_ic(place["score"], place["before"])
    return ic


def _pred_turnover(scores: pd.DataFrame, given: Mapping[str, Any]) -> list[go.Figure]:
    lag, n = given["lag"], given["N"]
    table = _turnover_of_qlib(scores, lag, n) if _qlib() else turnover(scores["score"], lag, n)
    axis = time_axis(table.index, given.get("rangebreaks"))
    return [ScatterGraph(table, layout={"title": "Top-Bottom Turnover", "xaxis": axis}).figure]


def turnover(score: pd.Series, lag: int, n: int) -> pd.DataFrame:
    """Return by date (columns Top, Bottom) the share of the best and worst names that are new since `lag` dates before.

    The best are `names // n` of the date; the first `lag` dates, and dates with fewer than n names, are NaN. A name
    that is gone counts as replaced.

    >>> days = pd.MultiIndex.from_product([pd.date_range("2020-01-01", periods=2), list("ab")],
    ...                                   names=["datetime", "instrument"])
    >>> turnover(pd.Series([2.0, 1.0, 1.0, 2.0], index=days), lag=1, n=2)["Top"].tolist()
    [nan, 1.0]
    """
    table = score.unstack("instrument")
    room = table.notna().sum(axis=1) // n
    out = {}
    for side, ascending in (("Top", False), ("Bottom", True)):
        chosen = table.rank(axis=1, method="first", ascending=ascending).le(room, axis=0)
        stayed = (chosen & chosen.shift(lag, fill_value=False)).sum(axis=1)
        share = 1 - stayed / room.where(room > 0)
        share.iloc[:lag] = np.nan
        out[side] = share
    return pd.DataFrame(out)


def _turnover_of_qlib(scores: pd.DataFrame, lag: int, n: int) -> pd.DataFrame:
    """Compare, among the names of the date, the best now with the best by the name's score `lag` of its rows before."""
    pair = scores.assign(before=scores.groupby(level="instrument")["score"].shift(lag))

    def renewed(day: pd.DataFrame, pick: str) -> float:
        size = len(day) // n
        now, before = (getattr(day, pick)(size, column).index for column in ("score", "before"))
        return 1 - len(now.intersection(before)) / size if size else np.nan

    sides = {"Top": "nlargest", "Bottom": "nsmallest"}
    days = list(pair.groupby(level="datetime"))
    rows = {side: [renewed(day, pick) for _, day in days] for side, pick in sides.items()}
    return pd.DataFrame(rows, index=pd.DatetimeIndex([time for time, _ in days], name="datetime"))


def _qlib() -> bool:
    return active_settings().compat == "qlib"


Draw = Callable[[pd.DataFrame, Mapping[str, Any]], list[go.Figure]]
GRAPHS: dict[str, Draw] = {
    "group_return": _group_return,
    "pred_ic": _pred_ic,
    "pred_autocorr": _pred_autocorr,
    "pred_turnover": _pred_turnover,
}

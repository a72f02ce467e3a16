"""Frames as plotly figures: one trace per column, or one subplot per column.

    ScatterGraph    lines over the index           HeatmapGraph    the frame as a table of colours
    BarGraph        bars over the index            HistogramGraph  counts of a column's values
    DistplotGraph   density of a column's values, as bars and as a smooth line
    SubplotsGraph   columns in a grid, each drawn as one of the above

    ScatterGraph(frame, layout={"title": "Growth"}, graph_kwargs={"mode": "lines"}).figure
    SubplotsGraph(frame, kind_map={"kind": "HistogramGraph", "kwargs": {}}).figure

`graph_kwargs` are arguments of the trace (of plotly's Scatter, Bar, ...), `layout` those of plotly's Layout.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots
from scipy import stats

from qlib.contrib.report.utils import known_only
from qlib.errors import ConfigError, InputError, did_you_mean
from qlib.log import get_module_logger

COLORS = (
    "rgb(31, 119, 180)", "rgb(255, 127, 14)", "rgb(44, 160, 44)", "rgb(214, 39, 40)", "rgb(148, 103, 189)",
    "rgb(140, 86, 75)", "rgb(227, 119, 194)", "rgb(127, 127, 127)", "rgb(188, 189, 34)", "rgb(23, 190, 207)",
)  # fmt: skip
CURVE_POINTS = 500
DENSITY = "probability density"

logger = get_module_logger("figures")


class BaseGraph:
    """What all graphs share.

    Parameters
    ----------
    df
        Numbers by index; each column that `name_dict` names becomes a trace.
    layout, graph_kwargs
        Arguments of plotly's Layout, and of every trace.
    name_dict
        `{column: name in the legend}`, in the order of drawing; None: all columns by their names.

    Attributes
    ----------
    data
        The traces.
    """

    def __init__(
        self,
        df: pd.DataFrame | None = None,
        layout: Mapping[str, Any] | None = None,
        graph_kwargs: Mapping[str, Any] | None = None,
        name_dict: Mapping[Any, str] | None = None,
        **kwargs: Any,
    ) -> None:
        known_only(type(self).__name__, kwargs, ("df", "layout", "graph_kwargs", "name_dict"))
        self._df = _checked(df, type(self).__name__)
        self._layout = dict(layout or {})
        self._graph_kwargs = dict(graph_kwargs or {})
        self._name_dict = {c: c for c in self._df.columns} if name_dict is None else dict(name_dict)
        absent = [column for column in self._name_dict if column not in self._df.columns]
        if absent:
            there = [str(column) for column in self._df.columns]
            raise InputError(f"name_dict: no column {absent[0]!r}{did_you_mean(str(absent[0]), there)}")
        self.data: Sequence[Any] = self._traces()

    def _traces(self) -> Sequence[Any]:
        raise NotImplementedError(f"{type(self).__name__} draws nothing: choose one of {', '.join(KINDS)}")

    @property
    def figure(self) -> go.Figure:
        """The figure: the traces and the layout."""
        return go.Figure(data=list(self.data), layout=self._layout)

    @staticmethod
    def get_instance_with_graph_parameters(graph_type: str | None = None, **kwargs: Any) -> BaseGraph:
        """Return a graph of the kind named `graph_type`, made with the other arguments."""
        if graph_type not in KINDS:
            raise InputError(
                f"no graph is called {graph_type!r}{did_you_mean(str(graph_type), KINDS)}; there are {', '.join(KINDS)}"
            )
        return KINDS[graph_type](**kwargs)

    @staticmethod
    def show_graph_in_notebook(figure_list: Iterable[go.Figure] | None = None) -> None:
        """Show figures in the notebook that runs this; elsewhere say in the log that there is none."""
        figures = list(figure_list or ())
        if not _in_notebook():
            logger.warning(
                f"{len(figures)} figures are not shown, because this is no notebook; show_notebook=False returns them"
            )
            return
        try:
            for figure in figures:
                pio.show(figure)
        except ValueError as error:
            if "nbformat" not in str(error):
                raise
            raise ConfigError("showing figures in a notebook needs nbformat: pip install nbformat") from error


class ScatterGraph(BaseGraph):
    """Lines over the index."""

    def _traces(self) -> Sequence[Any]:
        return [
            go.Scatter(x=self._df.index, y=self._df[column], name=name, **self._graph_kwargs)
            for column, name in self._name_dict.items()
        ]


class BarGraph(BaseGraph):
    """Bars over the index."""

    def _traces(self) -> Sequence[Any]:
        return [
            go.Bar(x=self._df.index, y=self._df[column], name=name, **self._graph_kwargs)
            for column, name in self._name_dict.items()
        ]


class HeatmapGraph(BaseGraph):
    """The frame as a table of colours: its columns along x, its index along y."""

    def _traces(self) -> Sequence[Any]:
        values = self._df.to_numpy().tolist()
        return [go.Heatmap(x=self._df.columns, y=self._df.index, z=values, **self._graph_kwargs)]


class HistogramGraph(BaseGraph):
    """Counts of the values of each column."""

    def _traces(self) -> Sequence[Any]:
        return [
            go.Histogram(x=self._df[column], name=name, **self._graph_kwargs)
            for column, name in self._name_dict.items()
        ]


class DistplotGraph(BaseGraph):
    """Density of each column: bars of `bin_size` and a smooth line. Rows with a NaN are left out.

    `graph_kwargs`: bin_size (a number or one per column; 1.0), curve_type ("kde", a kernel density by Scott's rule,
    or "normal"), colors, show_hist, show_curve (True), histnorm ("probability density"; "probability" counts shares).
    The marks of single values below the axis, plotly's rug, are not drawn: show_rug may only be False.
    """

    def _traces(self) -> Sequence[Any]:
        frame = self._df[list(self._name_dict)].dropna()
        if frame.empty:
            raise InputError("DistplotGraph: every row holds a NaN, so there is nothing to count")
        return distribution(
            [frame[column].to_numpy(dtype=float) for column in frame],
            list(self._name_dict.values()),
            self._graph_kwargs,
        )


KINDS: dict[str, type[BaseGraph]] = {
    "ScatterGraph": ScatterGraph,
    "BarGraph": BarGraph,
    "DistplotGraph": DistplotGraph,
    "HeatmapGraph": HeatmapGraph,
    "HistogramGraph": HistogramGraph,
}

DISTRIBUTION = {
    "bin_size": 1.0, "curve_type": "kde", "colors": COLORS, "show_hist": True, "show_curve": True, "show_rug": False,
    "histnorm": DENSITY,
}  # fmt: skip


def distribution(columns: Sequence[np.ndarray], names: Sequence[str], given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the traces of DistplotGraph: the bars of all columns, then their lines."""
    known_only("DistplotGraph", given, tuple(DISTRIBUTION))
    chosen = {**DISTRIBUTION, **given}
    if chosen["show_rug"]:
        raise InputError("DistplotGraph: show_rug is True; marks of single values are not drawn, only False is allowed")
    if chosen["curve_type"] not in ("kde", "normal"):
        raise InputError(f"curve_type: received {chosen['curve_type']!r}; allowed are 'kde' and 'normal'")
    size = chosen["bin_size"]
    sizes = list(size) if isinstance(size, Sequence) else [size] * len(columns)
    bars, lines = [], []
    for number, (values, name, width) in enumerate(zip(columns, names, sizes, strict=True)):
        start, end = float(values.min()), float(values.max())
        colour = {"color": chosen["colors"][number % len(chosen["colors"])]}
        shared = {"name": name, "legendgroup": name, "marker": colour, "xaxis": "x", "yaxis": "y"}
        bars.append(
            go.Histogram(
                x=values,
                autobinx=False,
                histnorm=chosen["histnorm"],
                opacity=0.7,
                xbins={"start": start, "end": end, "size": width},
                **shared,
            )
        )
        if start < end:  # equal values have no density
            x = start + np.arange(CURVE_POINTS) * (end - start) / CURVE_POINTS
            density = stats.gaussian_kde(values)(x) if chosen["curve_type"] == "kde" else _normal(values, x)
            y = density if chosen["histnorm"] == DENSITY else density * width
            lines.append(go.Scatter(x=x, y=y, mode="lines", showlegend=not chosen["show_hist"], **shared))
    return (*(bars if chosen["show_hist"] else ()), *(lines if chosen["show_curve"] else ()))


class SubplotsGraph:
    """Columns of a frame in a grid of subplots.

    Parameters
    ----------
    df
        Numbers by index.
    kind_map
        How a column is drawn that `sub_graph_data` says nothing about: `{"kind": "ScatterGraph", "kwargs": {}}`, the
        kwargs being arguments of the trace.
    layout
        Arguments of plotly's Layout.
    sub_graph_layout
        More of them, set last: `{"yaxis2": {"title": "..."}}`.
    sub_graph_data
        `[(column, {"row": 1, "col": 2, "name": ..., "kind": ..., "graph_kwargs": {...}}), ...]`: what is drawn where
        (rows and columns count from 1). None: every column in its own subplot.
    subplots_kwargs
        Arguments of plotly's make_subplots. None: two columns, as many rows as are needed, titled by column.

    >>> frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    >>> [trace.xaxis for trace in SubplotsGraph(frame).figure.data]
    ['x', 'x2']
    """

    def __init__(
        self,
        df: pd.DataFrame | None = None,
        kind_map: Mapping[str, Any] | None = None,
        layout: Mapping[str, Any] | None = None,
        sub_graph_layout: Mapping[str, Any] | None = None,
        sub_graph_data: Sequence[tuple[Any, Mapping[str, Any]]] | None = None,
        subplots_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = ("df", "kind_map", "layout", "sub_graph_layout", "sub_graph_data", "subplots_kwargs")
        known_only("SubplotsGraph", kwargs, arguments)
        self._df = _checked(df, "SubplotsGraph")
        self._kind = {"kind": "ScatterGraph", "kwargs": {}, **(kind_map or {})}
        columns = list(self._df.columns)
        grid: dict[str, Any] = dict(subplots_kwargs or {})
        if subplots_kwargs is None:
            rows, titles = math.ceil(len(columns) / 2), [str(column) for column in columns]
            grid = {"rows": rows, "cols": 2, "vertical_spacing": 0.3 / rows, "subplot_titles": titles}
        if sub_graph_data is None:
            wide = grid.get("cols", 2)
            sub_graph_data = [(c, {"row": n // wide + 1, "col": n % wide + 1}) for n, c in enumerate(columns)]
        self._figure = make_subplots(**grid)
        for column, place in sub_graph_data:
            for trace in self._traces(column, place):
                self._figure.add_trace(trace, row=place["row"], col=place["col"])
        self._figure.update_layout(layout or {})
        for axis, given in (sub_graph_layout or {}).items():
            self._figure["layout"][axis].update(given)

    def _traces(self, column: Any, place: Mapping[str, Any]) -> Sequence[Any]:
        return BaseGraph.get_instance_with_graph_parameters(
            place.get("kind", self._kind["kind"]),
            df=self._df[[column]],
            name_dict={column: place.get("name", column)},
            graph_kwargs=place.get("graph_kwargs", self._kind["kwargs"]),
        ).data

    @property
    def figure(self) -> go.Figure:
        """The figure with all subplots."""
        return self._figure


def shown(figures: Iterable[go.Figure], *, show_notebook: bool) -> bool:
    """Show the figures if that is wanted; return whether it was."""
    if show_notebook:
        BaseGraph.show_graph_in_notebook(figures)
    return show_notebook


def dates_as_text(index: pd.Index) -> pd.Index:
    """Return times as the names of a category axis: days without a time of day, other bars with it.

    >>> dates_as_text(pd.DatetimeIndex(["2020-01-01"])).tolist()
    ['2020-01-01']
    >>> dates_as_text(pd.DatetimeIndex(["2020-01-01", "2020-01-01 08:00"])).tolist()
    ['2020-01-01 00:00', '2020-01-01 08:00']
    """
    times = pd.DatetimeIndex(index)
    return times.strftime("%Y-%m-%d" if (times == times.normalize()).all() else "%Y-%m-%d %H:%M").astype(object)


def _checked(df: pd.DataFrame | None, who: str) -> pd.DataFrame:
    if not isinstance(df, pd.DataFrame):
        raise InputError(f"{who}: received {type(df).__name__} as df; a DataFrame is needed")
    if df.empty:
        raise InputError(f"{who}: the frame has {len(df)} rows and {len(df.columns)} columns; there is nothing to draw")
    return df


def _normal(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    return stats.norm.pdf(x, loc=values.mean(), scale=values.std())


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # a notebook has imported it
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None

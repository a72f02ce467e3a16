"""What pyqlib was asked for `figures.json`, and what the tests ask: made of whole numbers, the same everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

DAYS = 30
NAMES = [f"S{k:02d}" for k in range(12)]


def wave(at: np.ndarray, step: int) -> np.ndarray:
    """Return numbers between -0.5 and 0.5 that jump about like chance, and are the same on every machine."""
    value = at.astype(np.int64) * 7919 + step * 104729 + 12345
    for _ in range(3):
        value = (value * value + step) % 2147483647
    return value / 2147483647 - 0.5


def days() -> pd.DatetimeIndex:
    """Return working days over a part of the winter, a holiday left out."""
    return pd.bdate_range("2019-12-16", periods=DAYS + 1, name="datetime").delete(9)


def report() -> pd.DataFrame:
    """Return the report of a backtest by day: return, cost, bench, turnover."""
    at = np.arange(DAYS)
    rows = {
        "return": wave(at, 3) / 20,
        "cost": np.abs(wave(at, 5)) / 500,
        "bench": wave(at, 7) / 25,
        "turnover": np.abs(wave(at, 11)),
    }
    return pd.DataFrame(rows, index=days())


def falling() -> pd.DataFrame:
    """Return a report that falls from the first bar on, at a cost that matters."""
    rows = report().head(12)
    return rows.assign(**{"return": -rows["return"], "bench": -rows["bench"] / 2, "cost": rows["cost"] * 9})


def long_short() -> pd.DataFrame:
    """Return a report of long and short sides."""
    at = np.arange(DAYS)
    return pd.DataFrame(
        {"long": wave(at, 13) / 30, "short": wave(at, 17) / 30, "long_short": wave(at, 19) / 30}, index=days()
    )


def pred_label(order: tuple[str, str] = ("instrument", "datetime"), *, holes: bool = True) -> pd.DataFrame:
    """Return scores and labels of twelve names over all days; some scores are equal, some labels are missing."""
    index = pd.MultiIndex.from_product([days(), NAMES], names=["datetime", "instrument"])
    at = np.arange(len(index))
    label = wave(at, 23) / 10
    score = label + wave(at, 29) / 5
    frame = pd.DataFrame({"score": score, "label": label}, index=index)
    if holes:
        frame.loc[at % 41 == 7, "label"] = np.nan
        frame = frame[at % 53 != 11]
    return frame.reorder_levels(list(order)).sort_index()


def label_data() -> pd.DataFrame:
    """Return labels of all names and days."""
    return pred_label(holes=False)[["label"]]


def holdings() -> dict[pd.Timestamp, dict[str, Any]]:
    """Return what is held after each day: {name: (amount, price)}, cash; names come and go."""
    held = {}
    for number, day in enumerate(days()):
        names = {NAMES[(number // 4 + k * 2) % 12] for k in range(5)} | {NAMES[number % 3]}
        held[day] = {
            "cash": 100.0 + number % 7,
            "names": {
                name: (10.0 + (number + NAMES.index(name)) % 5, 2.0 + (number * NAMES.index(name)) % 13 / 4)
                for name in sorted(names)
            },
        }
    return held


def positions(position_class: type) -> dict[pd.Timestamp, Any]:
    """Return `holdings` as positions of a backtest, of this `position_class`."""
    out = {}
    for day, held in holdings().items():
        position = position_class(cash=held["cash"], position_dict={})
        value = held["cash"] + sum(amount * price for amount, price in held["names"].values())
        for name, (amount, price) in held["names"].items():
            position.position[name] = {"amount": amount, "price": price, "weight": amount * price / value}
        out[day] = position
    return out


def risks(risk_analysis: Any) -> pd.DataFrame:
    """Return the risk figures of `report`, as PortAnaRecord keeps them."""
    rows = report()
    excess = rows["return"] - rows["bench"]
    return pd.concat(
        {
            "excess_return_without_cost": risk_analysis(excess),
            "excess_return_with_cost": risk_analysis(excess - rows["cost"]),
        }
    )


def table() -> pd.DataFrame:
    """Return a small frame for the graphs."""
    frame = report()[["return", "bench", "cost"]].head(7)
    frame.iloc[2, 1] = np.nan
    return frame


STYLE = {"layout": {"title": "T"}, "graph_kwargs": {"opacity": 0.5}, "name_dict": {"return": "R", "cost": "C"}}
KINDS = ("ScatterGraph", "BarGraph", "HeatmapGraph", "HistogramGraph")
SUBPLOTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "histograms": {"kind_map": {"kind": "HistogramGraph", "kwargs": {}}},
    "a column of bars": {
        "kind_map": {"kind": "BarGraph", "kwargs": {"opacity": 0.3}},
        "layout": {"title": "L"},
        "subplots_kwargs": {"rows": 3, "cols": 1},
    },
    "chosen": {
        "layout": {"title": "L"},
        "sub_graph_data": [
            ("return", {"row": 1, "col": 1, "name": "RR", "kind": "ScatterGraph", "graph_kwargs": {"mode": "lines"}}),
            ("bench", {"row": 2, "col": 1}),
        ],
        "sub_graph_layout": {"xaxis1": {"tickangle": 45}},
        "subplots_kwargs": {"rows": 2, "cols": 1, "shared_xaxes": True},
    },
    "distributions": {"kind_map": {"kind": "DistplotGraph", "kwargs": {"bin_size": 0.01}}},
}
MODEL: dict[str, dict[str, Any]] = {
    "all graphs": {"graph_names": ["group_return", "pred_ic", "pred_autocorr", "pred_turnover"]},
    "three groups, all days": {"N": 3, "show_nature_day": True},
    "reversed": {"reverse": True, "graph_names": ["group_return", "pred_ic", "pred_autocorr", "pred_turnover"]},
    "ranks, two days": {"rank": True, "lag": 2, "graph_names": ["pred_autocorr", "pred_turnover"]},
    "chosen breaks": {"rangebreaks": [{"bounds": ["sat", "mon"]}], "graph_names": ["pred_ic"]},
    "rank IC alone": {"methods": ("Rank IC",), "graph_names": ["pred_ic"]},
    "rank IC first": {"methods": ("Rank IC", "IC"), "graph_names": ["pred_ic"]},
}
RANGES: dict[str, dict[str, Any]] = {
    "all": {},
    "a month": {"start_date": "2020-01-02", "end_date": "2020-01-31"},
}
TIMES: dict[str, pd.DatetimeIndex] = {
    "every day": pd.date_range("2020-01-01", periods=10),
    "working days": pd.bdate_range("2020-01-01", periods=12),
    "one day": pd.DatetimeIndex(["2020-01-01"]),
    "hours": pd.date_range("2020-01-01", periods=30, freq="h"),
    "none": pd.DatetimeIndex([]),
    "two sessions": pd.DatetimeIndex(
        [day + pd.Timedelta(minutes=m) for day in pd.bdate_range("2020-01-01", periods=5) for m in (570, 600, 780, 810)]
    ),
}


FEATURES: list[tuple[str, dict[str, Any]]] = [
    ("ValueCNT", {}),
    ("FeaNanAna", {}),
    ("FeaNanAnaRatio", {}),
    ("FeaACAna", {}),
    ("FeaSkewTurt", {}),
    ("FeaMeanStd", {}),
]


def drawn_lines(ana: Any, plt: Any, name: str, given: dict[str, Any]) -> list[list[Any]]:
    """Return [title or label of the axis, values] of every line that a kind of figure draws of scores and labels."""
    plt.switch_backend("Agg")
    plt.close("all")
    getattr(ana, name)(pred_label(), **given).plot_all(col_n=2)
    axes = plt.gcf().axes
    plt.close("all")
    return [
        [ax.get_title() or ax.get_ylabel(), plain(np.asarray(line.get_ydata(), dtype=float))]
        for ax in axes
        for line in ax.lines
    ]


def facts(figure: Any) -> dict[str, Any]:
    """Return everything a figure says, its theme left out; of more than 100 values every tenth."""
    return {
        "traces": [plain(trace.to_plotly_json()) for trace in figure.data],
        "layout": plain({k: v for k, v in figure.layout.to_plotly_json().items() if k != "template"}),
    }


def plain(value: Any) -> Any:
    """Return the value as JSON holds it: times as text, NaN as None."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in sorted(value.items())}
    if isinstance(value, np.ndarray | pd.Series | pd.Index | list | tuple):
        values = list(value)
        if len(values) > 100:
            return [plain(inner) for inner in values[::10]]
        return [plain(inner) for inner in values]
    if isinstance(value, np.datetime64 | pd.Timestamp):
        return str(pd.Timestamp(value))
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124  NaN

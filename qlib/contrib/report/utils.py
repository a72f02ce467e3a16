"""Small helps for drawing: what was given, breaks of a time axis, axes of matplotlib one after the other."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.errors import ConfigError, InputError, MissingDataError, did_you_mean

MILLISECOND = np.timedelta64(1, "ms")


def guess_plotly_rangebreaks(dt_index: pd.DatetimeIndex) -> list[dict[str, Any]]:
    """Return plotly's `rangebreaks` that close the gaps between times: nights, weekends, holidays.

    Parameters
    ----------
    dt_index
        Times of the bars, in any order. The smallest step between two of them is the bar size.

    Returns
    -------
    One entry per length of gap: `values`, where the gaps begin (a bar after the last time), and `dvalue`, how long
    they are (milliseconds). Nothing for times without a gap, as those of a market that never closes.

    >>> guess_plotly_rangebreaks(pd.DatetimeIndex(["2020-01-02", "2020-01-03", "2020-01-06"]))
    [{'values': [Timestamp('2020-01-04 00:00:00')], 'dvalue': 172800000}]
    """
    times = pd.DatetimeIndex(dt_index).unique().sort_values()
    steps = np.diff(times.to_numpy())
    if not len(steps):
        return []
    bar = steps.min()
    begins = times[:-1] + pd.Timedelta(bar)
    return [
        {"values": list(begins[steps == step]), "dvalue": int((step - bar) / MILLISECOND)}
        for step in np.unique(steps)
        if step > bar
    ]


def time_axis(times: pd.Index, breaks: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Return plotly's axis of times: the gaps `breaks` left out, or those that are guessed where it is None."""
    found = guess_plotly_rangebreaks(pd.DatetimeIndex(times)) if breaks is None else breaks
    return {"tickangle": 45, "rangebreaks": found}


def scored(pred_label: pd.DataFrame) -> pd.DataFrame:
    """Return the columns score and label by (datetime, instrument), sorted."""
    absent = [column for column in ("score", "label") if column not in pred_label]
    if absent:
        there = ", ".join(map(str, pred_label.columns))
        raise MissingDataError(f"pred_label: no column {', '.join(absent)}; it has {there}")
    if set(pred_label.index.names) != {"instrument", "datetime"}:
        raise InputError(f"pred_label: index levels {list(pred_label.index.names)}; needed are instrument, datetime")
    return pred_label[["score", "label"]].reorder_levels(["datetime", "instrument"]).sort_index()


def known_only(who: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise InputError for an argument of `who` that is none of the known ones."""
    for name in given:
        if name not in known:
            raise InputError(f"{who}: no argument {name!r}{did_you_mean(name, known)}")


def sub_fig_generator(
    sub_figsize: tuple[float, float] = (3, 3),
    col_n: int = 10,
    row_n: int = 1,
    wspace: float | None = None,
    hspace: float | None = None,
    sharex: bool = False,
    sharey: bool = False,
) -> Generator[Any, None, None]:
    """Give matplotlib's axes one after the other, as many as are asked for; a row of them is one figure.

    Parameters
    ----------
    sub_figsize
        Width and height of one of the axes in inches.
    col_n, row_n
        Axes in a row; rows of a figure. With one row each step gives one axes, with several an array of the
        `row_n` that stand one below the other.
    wspace, hspace
        Room between them, as a share of their width and height; None for both: as much as their labels need.
    sharex, sharey
        As in `matplotlib.pyplot.subplots`.

    The figures are shown when the next one begins and when the generator ends.
    """
    if col_n < 1 or row_n < 1:
        raise InputError(f"sub_fig_generator: received col_n={col_n}, row_n={row_n}; each is at least 1")
    plt = pyplot()
    while True:
        size = sub_figsize[0] * col_n, sub_figsize[1] * row_n
        figure, axes = plt.subplots(row_n, col_n, figsize=size, sharex=sharex, sharey=sharey, squeeze=False)
        if wspace is None and hspace is None:
            figure.set_layout_engine("constrained")  # as much room as ticks and labels need
        else:
            figure.subplots_adjust(wspace=wspace, hspace=hspace)
        given = 0
        try:
            for given, column in enumerate(axes.T, 1):  # noqa: B007  read below: how many were asked for
                yield column[0] if row_n == 1 else column
        finally:
            for ax in axes.T[given:].flat:
                ax.set_axis_off()
            plt.show()


def pyplot() -> Any:
    """Return matplotlib.pyplot; ConfigError with the pip line where matplotlib is not installed."""
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415  optional: only who draws features needs it
    except ImportError as error:
        raise ConfigError("drawing features needs matplotlib: pip install qlib-crypto[plots]") from error
    return plt

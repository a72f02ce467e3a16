"""What all figures of features share: a frame, a value by date for each of its columns, one axes per column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.report.utils import sub_fig_generator
from qlib.errors import InputError

DATE = "datetime"


class FeaAnalyser:
    """Draws each column of a frame of features.

    Parameters
    ----------
    dataset
        Features by (datetime, instrument), the levels in any order; the columns are the features.

    A kind of figure says in `calc_stat_values` what it computes (once, when it is made), in `plot_single` how one
    column is drawn, and in `skip` which columns are not:

        class Median(NumFeaAnalyser):
            def calc_stat_values(self):
                self._median = self._dataset.groupby(level="datetime").median()

            def plot_single(self, col, ax):
                ax.plot(self._median[col])

        Median(handler.fetch(col_set="feature")).plot_all(sub_figsize=(6, 2), col_n=4)
    """

    def __init__(self, dataset: pd.DataFrame) -> None:
        if not isinstance(dataset, pd.DataFrame) or DATE not in dataset.index.names:
            got = list(dataset.index.names) if isinstance(dataset, pd.DataFrame) else type(dataset).__name__
            raise InputError(f"{type(self).__name__}: a frame by (datetime, instrument) is needed; received {got}")
        if dataset.empty:
            raise InputError(f"{type(self).__name__}: the frame is empty; there is nothing to draw")
        self._dataset = dataset
        self.calc_stat_values()

    def calc_stat_values(self) -> None:
        """Compute what `plot_single` draws."""

    def plot_single(self, col: Any, ax: Any) -> None:
        """Draw the column `col` on matplotlib's `ax`."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a column is drawn (plot_single)")

    def skip(self, col: Any) -> bool:  # noqa: ARG002  the base draws every column
        """Return whether the column is left out."""
        return False

    def plot_all(self, *args: Any, **kwargs: Any) -> None:
        """Draw every column that is not skipped; the arguments are those of `sub_fig_generator`."""
        row_n = kwargs.get("row_n", args[2] if len(args) > 2 else 1)
        if row_n != 1:
            raise InputError(f"plot_all: received row_n={row_n}; a figure has one row, more columns make more figures")
        columns = [col for col in self._dataset if not self.skip(col)]
        axes = sub_fig_generator(*args, **kwargs)
        for col, ax in zip(columns, axes, strict=False):
            self.plot_single(col, ax)
            ax.set(xlabel="", title=str(col))
            few_dates(ax)
        axes.close()  # shows the last figure


def few_dates(ax: Any) -> None:
    """Write few and short dates below an axis of times, so that they stand beside each other on small figures."""
    from matplotlib.dates import AutoDateFormatter, AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415  optional

    if isinstance(ax.xaxis.get_major_formatter(), AutoDateFormatter):
        locator = AutoDateLocator(minticks=2, maxticks=5)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def by_date(frame: pd.DataFrame) -> Any:
    """Return the frame's groups by date, the numeric columns alone."""
    return numeric(frame).groupby(level=DATE)


def numeric(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of numbers (booleans count as 0 and 1)."""
    return frame.select_dtypes([np.number, "bool"])

"""Figures of features by date: how many values, how many missing, how they are spread, how fast they change.

    ValueCNT          distinct values of a date             FeaACAna        correlation with the date before
    FeaDistAna        histogram of all values               FeaSkewTurt     skew (left axis), kurtosis (right)
    FeaInfAna         infinite values of a date             FeaMeanStd      mean (left axis), deviation (right)
    FeaNanAna         missing values of a date              RawFeaAna       the values, row by row
    FeaNanAnaRatio    ... as a share of the rows            CombFeaAna      several of them below each other

    from qlib.contrib.report.data.ana import CombFeaAna, FeaMeanStd, FeaNanAnaRatio
    CombFeaAna(features, FeaMeanStd, FeaNanAnaRatio).plot_all(sub_figsize=(6, 2), col_n=4)

Infinite values are left out of mean, deviation, skew, kurtosis, correlation and histogram; FeaInfAna counts them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.ic import pred_autocorr_all
from qlib.contrib.report.data.base import DATE, FeaAnalyser, by_date, few_dates, numeric
from qlib.contrib.report.utils import sub_fig_generator
from qlib.errors import InputError
from qlib.log import get_module_logger

DT_COL_NAME = DATE
BINS = 100
ROOM = 0.05  # between the values and the frame of a figure, as a share of their extent

logger = get_module_logger("features")


class NumFeaAnalyser(FeaAnalyser):
    """Leaves out what is not numeric, and says so in the log."""

    def skip(self, col: Any) -> bool:
        if col in numeric(self._dataset):
            return False
        logger.info(f"{col} is not numeric and is skipped")
        return True


class CombFeaAna(FeaAnalyser):
    """Several kinds of figures, each in its row: `CombFeaAna(features, FeaMeanStd, FeaNanAna)`.

    A column that one kind skips has an empty place there; one that all of them skip is left out.
    """

    def __init__(self, dataset: pd.DataFrame, *fea_ana_cls: type[FeaAnalyser]) -> None:
        if len(fea_ana_cls) < 2:
            raise InputError(f"CombFeaAna: received {len(fea_ana_cls)} kinds of figures; at least two are combined")
        self._kinds = [kind(dataset) for kind in fea_ana_cls]
        super().__init__(dataset)

    def skip(self, col: Any) -> bool:
        return all(kind.skip(col) for kind in self._kinds)

    def plot_all(self, *args: Any, **kwargs: Any) -> None:
        if "row_n" in kwargs or len(args) > 2:
            raise InputError("CombFeaAna: row_n is given by the number of kinds")
        columns = [col for col in self._dataset if not self.skip(col)]
        rows = sub_fig_generator(*args, **{**kwargs, "row_n": len(self._kinds)})
        for col, axes in zip(columns, rows, strict=False):
            for kind, ax in zip(self._kinds, axes, strict=True):
                if not kind.skip(col):
                    kind.plot_single(col, ax)
                ax.set(xlabel="", title="")
                few_dates(ax)
            axes[0].set_title(str(col))
        rows.close()  # shows the last figure


class ValueCNT(FeaAnalyser):
    """How many different values a date has, NaN being one of them; with `ratio` as a share of its rows."""

    def __init__(self, dataset: pd.DataFrame, ratio: bool = False) -> None:
        self.ratio = ratio
        super().__init__(dataset)

    def calc_stat_values(self) -> None:
        groups = self._dataset.groupby(level=DATE)
        self._counts = groups.nunique(dropna=False)
        if self.ratio:
            self._counts = self._counts.div(groups.size(), axis=0)
        self._limits = _limits(self._counts)

    def plot_single(self, col: Any, ax: Any) -> None:
        ax.plot(self._counts[col], label=str(col))
        ax.set_ylim(self._limits)
        ax.set_ylabel("different values")


class FeaDistAna(NumFeaAnalyser):
    """A histogram of all values of the column."""

    def plot_single(self, col: Any, ax: Any) -> None:
        values = self._dataset[col].to_numpy(dtype=float)
        ax.hist(values[np.isfinite(values)], bins=BINS)
        ax.set_ylabel("Count")


class FeaInfAna(NumFeaAnalyser):
    """How many infinite values a date has; columns without any are left out."""

    def calc_stat_values(self) -> None:
        infinite = numeric(self._dataset).astype(float).isin([np.inf, -np.inf])
        self._counts = infinite.groupby(level=DATE).sum()

    def skip(self, col: Any) -> bool:
        return super().skip(col) or not self._counts[col].any()

    def plot_single(self, col: Any, ax: Any) -> None:
        ax.plot(self._counts[col], label=str(col))
        ax.set_ylabel("infinite")


class FeaNanAna(FeaAnalyser):
    """How many missing values a date has; columns without any are left out."""

    said = "missing"

    def calc_stat_values(self) -> None:
        self._counts = self._dataset.isna().groupby(level=DATE).sum()

    def skip(self, col: Any) -> bool:
        return not self._counts[col].any()

    def plot_single(self, col: Any, ax: Any) -> None:
        ax.plot(self._counts[col], label=str(col))
        ax.set_ylabel(self.said)


class FeaNanAnaRatio(FeaNanAna):
    """Which share of a date's rows is missing; columns without any are left out."""

    said = "share missing"

    def calc_stat_values(self) -> None:
        self._counts = self._dataset.isna().groupby(level=DATE).mean()


class FeaACAna(NumFeaAnalyser):
    """Correlation of a date's values with those of the date before, over the instruments that both have."""

    def calc_stat_values(self) -> None:
        columns = {str(col): values for col, values in _finite(self._dataset).items()}
        self._correlation = pd.DataFrame(pred_autocorr_all(columns))
        self._limits = _limits(self._correlation)

    def plot_single(self, col: Any, ax: Any) -> None:
        ax.plot(self._correlation[str(col)], label=str(col))
        ax.set_ylim(self._limits)
        ax.set_ylabel("autocorrelation")


class FeaSkewTurt(NumFeaAnalyser):
    """Skew and excess kurtosis of a date's values."""

    def calc_stat_values(self) -> None:
        groups = by_date(_finite(self._dataset))
        self._skew = groups.skew()
        self._kurt = groups.agg(pd.Series.kurt)

    def plot_single(self, col: Any, ax: Any) -> None:
        _pair(ax, self._skew[col], "skew", self._kurt[col], "kurt")


class FeaMeanStd(NumFeaAnalyser):
    """Mean and standard deviation (n - 1) of a date's values."""

    def calc_stat_values(self) -> None:
        groups = by_date(_finite(self._dataset))
        self._mean, self._std = groups.mean(), groups.std()

    def plot_single(self, col: Any, ax: Any) -> None:
        _pair(ax, self._mean[col], "mean", self._std[col], "std")


class RawFeaAna(NumFeaAnalyser):
    """The values in the order of the rows, all columns on one scale."""

    def calc_stat_values(self) -> None:
        self._limits = _limits(_finite(self._dataset))

    def plot_single(self, col: Any, ax: Any) -> None:
        ax.plot(np.arange(len(self._dataset)), self._dataset[col].to_numpy(dtype=float), label=str(col))
        ax.set_ylim(self._limits)


def _finite(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of numbers with NaN where a value is infinite."""
    return numeric(frame).astype(float).replace([np.inf, -np.inf], np.nan)


def _limits(frame: pd.DataFrame) -> tuple[float, float] | None:
    """Return the range of all values with a little room; None where there is no value, or one alone."""
    values = frame.to_numpy(dtype=float)
    known = values[np.isfinite(values)]
    if not known.size or np.ptp(known) == 0:
        return None
    room = ROOM * np.ptp(known)
    return float(known.min() - room), float(known.max() + room)


def _pair(ax: Any, left: pd.Series, left_name: str, right: pd.Series, right_name: str) -> None:
    """Draw two series, each on its own axis, whose name has the colour of the line."""
    other = ax.twinx()
    for side, values, name, colour in ((ax, left, left_name, "C0"), (other, right, right_name, "C1")):
        side.plot(values, label=name, color=colour)
        side.set_ylabel(name, color=colour)

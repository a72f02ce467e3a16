"""Processors: rules that turn raw columns into what a model should see.

    fit(df)        learn from the rows inside the fit window (most have nothing to learn)
    __call__(df)   return the processed frame; the frame given in is never changed

    DropnaProcessor DropnaLabel    leave out rows       MinMaxNorm ZScoreNorm RobustZScoreNorm   scale by the fit window
    DropCol FilterCol              leave out columns    CSZScoreNorm CSRankNorm                  scale within each date
    Fillna CSZFillna ProcessInf    fill                 TanhProcess                              squash

The processors here work on views (`qlib.data.dataset.columns`): `process` leaves out rows and columns without copying,
a change of single cells is noted and done when the cells are fetched, and a change within dates is one compiled pass
over each column. One that computes column by column is a `ColumnProcessor`: it says which columns, and what happens to
one of them, in place, as an array. A processor of your own needs none of that: a frame in, a frame out.

Infinity: when something is learned (a mean, a spread, a minimum) an infinite value counts as missing; Qlib's own
numbers, where one infinity spoils the whole column, come back with `qlib.init(compat="qlib")`. Order statistics
(median, rank) count it as the largest value.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from qlib.config import active_settings
from qlib.constant import EPS
from qlib.data.active import active_provider
from qlib.data.dataset import kernels
from qlib.data.dataset.columns import Change, View, dates_of, for_each
from qlib.data.dataset.storage import HashingStockStorage
from qlib.data.dataset.utils import LEVELS, date_range, group_positions, is_sorted, row_window, sort_rows
from qlib.data.inst_processor import InstProcessor
from qlib.errors import ConfigError, InputError, MissingDataError
from qlib.log import get_module_logger
from qlib.utils.data import MAD_TO_STD
from qlib.utils.serial import Serializable

SHOWN = (str, int, float, list, type(None))


def get_group_columns(df: pd.DataFrame, group: str | None) -> pd.Index:
    """Return the labels of the columns of one group; None means all of them."""
    return df.columns if group is None else df.columns[group_positions(df.columns, group)]


# ---------------------------------------------------------------------------------------------------------------- bases
class Processor(Serializable, abc.ABC):
    """One rule. Subclasses override `__call__`, and `fit` if they learn."""

    def fit(self, df: pd.DataFrame | None = None) -> Any:
        """Learn from `df` (the whole frame; the processor itself keeps to its fit window)."""

    @abc.abstractmethod
    def __call__(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the processed frame; a processor that is not `readonly` may change `df` itself."""

    def is_for_infer(self) -> bool:
        """Return whether the rule may be used where the label is not known yet."""
        return True

    def readonly(self) -> bool:
        """Return whether `__call__` promises to leave its argument as it is."""
        return False

    def config(self, **kwargs: Any) -> None:  # type: ignore[override]
        """Set `fit_start_time` and `fit_end_time` where the processor has them; the rest is Serializable's."""
        for name in ("fit_start_time", "fit_end_time"):
            if name in kwargs:
                value = kwargs.pop(name)
                if hasattr(self, name):
                    setattr(self, name, value)
        super().config(**kwargs)

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if k[0] != "_" and isinstance(v, SHOWN))
        return f"{type(self).__name__}({shown})"


class ViewProcessor(Processor):
    """A processor that makes a view of a view."""

    @abc.abstractmethod
    def process(self, view: View) -> View:
        """Return the processed view."""

    def __call__(self, df: pd.DataFrame) -> pd.DataFrame:
        return self.process(View.of(df)).whole()


class ColumnProcessor(ViewProcessor):
    """A processor that changes numbers column by column, and neither rows nor the set of columns."""

    by_cell: ClassVar[bool] = False  # True: what becomes of a cell depends on that cell alone

    def positions(self, columns: pd.Index) -> np.ndarray:
        """Return which columns change: those of `fields_group` (a name, a list of names, or None for all)."""
        groups = getattr(self, "fields_group", None)
        groups = groups if isinstance(groups, list | tuple) else [groups]
        return np.unique(np.concatenate([group_positions(columns, group) for group in groups]))

    @abc.abstractmethod
    def change(self, view: View, positions: np.ndarray) -> Change:
        """Return a function (i, x) that changes the array x, the column at positions[i], in place."""

    def process(self, view: View) -> View:
        positions = self.positions(view.columns)
        change = self.change(view, positions)
        return view.cellwise(positions, change) if self.by_cell else view.changed(positions, change)


def _infinity_is_missing() -> bool:
    return active_settings().compat != "qlib"


class FittedNorm(ColumnProcessor):
    """A column processor that learns two numbers per column from the rows within [fit_start_time, fit_end_time].

    Parameters
    ----------
    fit_start_time, fit_end_time
        First and last date of the fit window (closed; None leaves the side open). The window must end before the data
        begin on which the model is judged.
    fields_group
        The column group to scale; None scales every column, the label too.
    """

    def __init__(self, fit_start_time: Any, fit_end_time: Any, fields_group: str | None = None) -> None:
        super().__init__()
        self.fit_start_time = fit_start_time
        self.fit_end_time = fit_end_time
        self.fields_group = fields_group

    by_cell = True

    @abc.abstractmethod
    def learn(self, x: np.ndarray, finite: bool) -> tuple[float, float]:
        """Return the two numbers of one column, NaN if it has no value; with `finite` infinity is no value.

        `x` holds the rows of the fit window and may be shared: it is not to be written to.
        """

    @abc.abstractmethod
    def keep(self, first: np.ndarray, second: np.ndarray) -> None:
        """Store what was learned, one entry per column."""

    def fit(self, df: pd.DataFrame | None = None) -> None:
        """Learn from the rows of `df` inside the fit window; raise MissingDataError when there are none."""
        if df is None:
            raise InputError(f"{type(self).__name__}.fit needs the frame to learn from")
        self.learn_from(View.of(df))

    def learn_from(self, view: View) -> None:
        """What `fit` does, from a view."""
        rows = row_window(view.index, self.fit_start_time, self.fit_end_time)
        if (rows.stop - rows.start if isinstance(rows, slice) else len(rows)) < 1:
            first, last = date_range(view.index)
            there = f"the data reach from {first} to {last}" if len(view) else "the frame is empty"
            raise MissingDataError(
                f"{type(self).__name__}: no rows in the fit window [{self.fit_start_time}, {self.fit_end_time}];"
                f" {there}"
            )
        self._warn_about_label(view.columns)
        positions = self.positions(view.columns)
        finite = _infinity_is_missing()
        learned = np.empty((2, len(positions)))

        def learn(i: int) -> None:
            learned[:, i] = self.learn(np.ascontiguousarray(view.values(int(positions[i]))[rows]), finite)

        for_each(learn, len(positions))
        self.cols = view.columns[positions]
        self.keep(*learned)

    def positions(self, columns: pd.Index) -> np.ndarray:
        return group_positions(columns, self.fields_group)

    def _warn_about_label(self, columns: pd.Index) -> None:
        if self.fields_group is None and isinstance(columns, pd.MultiIndex) and "label" in columns.get_level_values(0):
            get_module_logger("processor").warning(
                f"{type(self).__name__}(fields_group=None) scales the label too; fields_group='feature' leaves it"
            )

    def learned(self, view: View, positions: np.ndarray, name: str) -> np.ndarray:
        """Return one of the stored tables; raise when nothing was learned or when the columns are others."""
        if not hasattr(self, name):
            raise InputError(f"{type(self).__name__} was called before fit")
        columns = view.columns[positions]
        if not self.cols.equals(columns):
            raise InputError(
                f"{type(self).__name__} was fitted on {len(self.cols)} columns ({list(self.cols[:2])} ...);"
                f" received {len(positions)} ({', '.join(map(str, columns[:3]))}, ...)"
            )
        return getattr(self, name)


# -------------------------------------------------------------------------------------------------------- rows, columns
class DropnaProcessor(ViewProcessor):
    """Leave out the rows with a NaN in any column of `fields_group` (None: of the frame).

    The result is `df` itself when no row goes, else a new frame.
    """

    def __init__(self, fields_group: str | None = None) -> None:
        super().__init__()
        self.fields_group = fields_group

    def process(self, view: View) -> View:
        missing = np.zeros(len(view), bool)
        for i in group_positions(view.columns, self.fields_group):
            missing |= view.missing(int(i))
        return view.keep_rows(np.flatnonzero(~missing)) if missing.any() else view

    def readonly(self) -> bool:
        return True


class DropnaLabel(DropnaProcessor):
    """Leave out the rows whose label is not known: for learning only, at inference it would peek."""

    def __init__(self, fields_group: str | None = "label") -> None:
        super().__init__(fields_group=fields_group)

    def is_for_infer(self) -> bool:
        return False


class DropCol(ViewProcessor):
    """Leave out the columns whose name (last level) is in `col_list`."""

    def __init__(self, col_list: Iterable[str] = []) -> None:
        super().__init__()
        self.col_list = list(col_list)

    def process(self, view: View) -> View:
        return view.keep_columns(np.flatnonzero(~view.columns.get_level_values(-1).isin(self.col_list)))

    def readonly(self) -> bool:
        return True


class FilterCol(ViewProcessor):
    """Of the group `fields_group` keep only the columns named in `col_list`; other groups stay whole."""

    def __init__(self, fields_group: str = "feature", col_list: Iterable[str] = []) -> None:
        super().__init__()
        self.fields_group = fields_group
        self.col_list = list(col_list)

    def process(self, view: View) -> View:
        keep = view.columns.get_level_values(-1).isin(self.col_list)
        outside = np.ones(len(view.columns), bool)
        outside[group_positions(view.columns, self.fields_group)] = False
        return view.keep_columns(np.flatnonzero(keep | outside))

    def readonly(self) -> bool:
        return True


# ------------------------------------------------------------------------------------------------------ fill and squash
class TanhProcess(ColumnProcessor):
    """tanh(x - 1) in every column whose name does not contain "LABEL"."""

    by_cell = True

    def positions(self, columns: pd.Index) -> np.ndarray:
        return np.flatnonzero(["LABEL" not in str(name) for name in columns.get_level_values(-1)])

    def change(self, view: View, positions: np.ndarray) -> Change:
        def change(_: int, x: np.ndarray) -> None:
            np.tanh(np.subtract(x, 1, out=x), out=x)

        return change


class ProcessInf(ColumnProcessor):
    """Put the mean of the date's finite values in the place of an infinite one (NaN where the date has none).

    Rows come out sorted. Columns without infinity are not copied.
    """

    def process(self, view: View) -> View:
        first = str(view.index.names[0])
        first = first if first in LEVELS else LEVELS[0]
        if not is_sorted(view.index, first):
            view = View.of(sort_rows(view.whole(), first), own=True)
        every = self.positions(view.columns)
        some = np.zeros(len(every), bool)

        def look(k: int) -> None:
            some[k] = np.isinf(view.values(int(every[k]))).any()

        for_each(look, len(every))
        positions = every[some]
        return view.changed(positions, self.change(view, positions)) if len(positions) else view

    def change(self, view: View, positions: np.ndarray) -> Change:
        dates = dates_of(view.index)
        return lambda _, x: dates.apply(kernels.fill_mean, x, True, True)


class Fillna(ColumnProcessor):
    """Put `fill_value` in the place of NaN (not of infinity)."""

    by_cell = True

    def __init__(self, fields_group: str | None = None, fill_value: float = 0) -> None:
        super().__init__()
        self.fields_group = fields_group
        self.fill_value = fill_value

    def change(self, view: View, positions: np.ndarray) -> Change:
        value = self.fill_value  # as it is now: the cells may be asked for later

        def change(_: int, x: np.ndarray) -> None:
            np.copyto(x, value, where=np.isnan(x))

        return change


class CSZFillna(ColumnProcessor):
    """Put the mean of the date in the place of NaN."""

    def __init__(self, fields_group: str | list[str] | None = None) -> None:
        super().__init__()
        self.fields_group = fields_group

    def change(self, view: View, positions: np.ndarray) -> Change:
        dates, finite = dates_of(view.index), _infinity_is_missing()
        return lambda _, x: dates.apply(kernels.fill_mean, x, False, finite)


# --------------------------------------------------------------------------------------------- scales from a fit window
class MinMaxNorm(FittedNorm):
    """(x - min) / (max - min) with minimum and maximum of the fit window; a constant column stays as it is."""

    def learn(self, x: np.ndarray, finite: bool) -> tuple[float, float]:
        least, most, _, _ = kernels.moments(x, finite)
        return least, most

    def keep(self, first: np.ndarray, second: np.ndarray) -> None:
        self.ignore = first == second
        self.min_val, self.max_val = np.where(self.ignore, 0.0, first), np.where(self.ignore, 1.0, second)

    def change(self, view: View, positions: np.ndarray) -> Change:
        low, high = self.learned(view, positions, "min_val"), self.learned(view, positions, "max_val")
        return _scale(low, high - low, self.ignore)


class ZScoreNorm(FittedNorm):
    """(x - mean) / std with mean and deviation (ddof 0) of the fit window; a constant column stays as it is."""

    def learn(self, x: np.ndarray, finite: bool) -> tuple[float, float]:
        _, _, mean, std = kernels.moments(x, finite)
        return mean, std

    def keep(self, first: np.ndarray, second: np.ndarray) -> None:
        self.ignore = second == 0
        self.mean_train, self.std_train = np.where(self.ignore, 0.0, first), np.where(self.ignore, 1.0, second)

    def change(self, view: View, positions: np.ndarray) -> Change:
        return _scale(
            self.learned(view, positions, "mean_train"), self.learned(view, positions, "std_train"), self.ignore
        )


class RobustZScoreNorm(FittedNorm):
    """(x - median) / (1.4826 * median absolute deviation) of the fit window, then clipped to [-3, 3].

    An infinite value takes part in the medians as the largest number and is clipped like any outlier. A column
    that is constant over the fit window is divided by 1.4826e-12: any other value is an outlier.
    """

    def __init__(
        self, fit_start_time: Any, fit_end_time: Any, fields_group: str | None = None, clip_outlier: bool = True
    ) -> None:
        super().__init__(fit_start_time, fit_end_time, fields_group)
        self.clip_outlier = clip_outlier

    def learn(self, x: np.ndarray, finite: bool) -> tuple[float, float]:
        x = x[~np.isnan(x)]
        if not len(x):
            return np.nan, np.nan
        with np.errstate(invalid="ignore"):
            middle = median(x)
            away = np.abs(x - x.dtype.type(middle))
            return middle, (median(away[~np.isnan(away)]) + EPS) * MAD_TO_STD

    def keep(self, first: np.ndarray, second: np.ndarray) -> None:
        self.mean_train, self.std_train = first, second

    def change(self, view: View, positions: np.ndarray) -> Change:
        scale = _scale(self.learned(view, positions, "mean_train"), self.learned(view, positions, "std_train"))
        if not self.clip_outlier:
            return scale

        def change(i: int, x: np.ndarray) -> None:
            scale(i, x)
            np.clip(x, -3, 3, out=x)

        return change


def median(x: np.ndarray) -> float:
    """Return the median of an array without NaN; the array is put in another order."""
    if not len(x):
        return np.nan
    half = len(x) // 2
    x.partition(half)
    upper = float(x[half])
    return upper if len(x) % 2 else (float(x[:half].max()) + upper) / 2


def _scale(centre: np.ndarray, width: np.ndarray, ignore: np.ndarray | None = None) -> Change:
    centre, width = centre.copy(), width.copy()  # as they are now: the cells may be asked for later
    ignore = None if ignore is None else ignore.copy()

    def change(i: int, x: np.ndarray) -> None:
        if ignore is not None and ignore[i]:
            return
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            np.subtract(x, x.dtype.type(centre[i]), out=x)
            np.divide(x, x.dtype.type(width[i]), out=x)

    return change


# ------------------------------------------------------------------------------------------------- scales within a date
class CSZScoreNorm(ColumnProcessor):
    """Scale within each date.

    Parameters
    ----------
    fields_group
        A group, a list of groups, or None for every column.
    method
        "zscore": (x - mean) / std with ddof 1. "robust": (x - median) / (1.4826 * median absolute deviation), clipped
        to [-3, 3]. A date whose values are all equal gives NaN.
    """

    def __init__(self, fields_group: str | list[str] | None = None, method: str = "zscore") -> None:
        super().__init__()
        if method not in ("zscore", "robust"):
            raise ConfigError(f"CSZScoreNorm method: received {method!r}; allowed are zscore, robust")
        self.fields_group = fields_group
        self.method = method

    def change(self, view: View, positions: np.ndarray) -> Change:
        dates, finite = dates_of(view.index), _infinity_is_missing()
        if self.method == "robust":
            return lambda _, x: dates.apply(kernels.robust, x)
        return lambda _, x: dates.apply(kernels.zscore, x, finite)


class CSRankNorm(ColumnProcessor):
    """(rank within the date / number of values - centre) * 3.46; ties share their mean rank, NaN stays NaN.

    3.46 makes the standard deviation of a uniform rank about 1.

    Parameters
    ----------
    fields_group
        A group, a list of groups, or None for every column.
    centred
        False: the centre is Qlib's 0.5, and the mean over n names is 1.73 / n (0.17 for ten names). True: it is
        (n + 1) / 2n, and the mean of every date is 0.
    """

    centred = False  # for processors that were pickled without it

    def __init__(self, fields_group: str | list[str] | None = None, centred: bool = False) -> None:
        super().__init__()
        self.fields_group = fields_group
        self.centred = centred

    def change(self, view: View, positions: np.ndarray) -> Change:
        dates, centred = dates_of(view.index), self.centred
        return lambda _, x: dates.apply(kernels.rank, x, centred)


# ---------------------------------------------------------------------------------------------------------------- other
class HashStockFormat(Processor):
    """Turn the frame into a storage that finds an instrument's rows by its name."""

    def __call__(self, df: pd.DataFrame) -> HashingStockStorage:  # type: ignore[override]
        return HashingStockStorage.from_df(df)


class TimeRangeFlt(InstProcessor):
    """An instrument processor: keep an instrument if its rows cover the whole range, else no row of it.

    Parameters
    ----------
    start_time, end_time
        Ends of the range; None leaves a side unchecked. They are moved to the first and last calendar bar inside.
    freq
        Frequency of that calendar.
    """

    def __init__(self, start_time: Any = None, end_time: Any = None, freq: str = "day") -> None:
        self.start_time = pd.Timestamp(start_time) if start_time is not None else None
        self.end_time = pd.Timestamp(end_time) if end_time is not None else None
        self.freq = freq

    def __call__(self, df: pd.DataFrame, instrument: str, *args: Any, **kwargs: Any) -> pd.DataFrame:
        bars = active_provider().calendar(self.start_time, self.end_time, freq=self.freq)
        if df.empty or not len(bars):
            return df.head(0)
        early = self.start_time is None or df.index.min() <= bars[0]
        late = self.end_time is None or df.index.max() >= bars[-1]
        return df if early and late else df.head(0)

    def over(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the instruments that are kept, of a sorted frame (instrument, datetime)."""
        bars = active_provider().calendar(self.start_time, self.end_time, freq=self.freq)
        if frame.empty or not len(bars):
            return frame.iloc[:0]
        number = np.asarray(frame.index.codes[0])  # type: ignore[attr-defined]
        times = frame.index.get_level_values("datetime").to_numpy("datetime64[ns]")
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        kept = np.ones(len(starts), dtype=bool)
        if self.start_time is not None:
            kept &= times[starts] <= bars[0].to_datetime64()
        if self.end_time is not None:
            kept &= times[np.append(starts[1:], len(number)) - 1] >= bars[-1].to_datetime64()
        return frame if kept.all() else frame[np.repeat(kept, np.diff(np.append(starts, len(number))))]

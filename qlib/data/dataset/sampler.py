"""Windows over time: a sample is the last `step_len` rows of one instrument.

    dataset = TSDatasetH(step_len=20, handler=..., segments=...)
    sampler = dataset.prepare("train")
    sampler[0]            array (20, columns)
    sampler[[0, 1, 2]]    array (3, 20, columns)

All rows lie in one array, instrument after instrument. A window is a list of row numbers taken from a table
(instrument, date) -> row; a date on which the instrument has no row points to one extra row of NaN. Filling
works on those row numbers and never looks outside the window or at another instrument.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, cast

import numpy as np
import pandas as pd

from qlib.data.dataset.dataset import DatasetH
from qlib.data.dataset.handler import DataHandler
from qlib.data.dataset.utils import day_or_moment, get_level_index, sort_rows, unique_dates
from qlib.errors import ConfigError, InputError, MissingDataError, did_you_mean

FILLNA_TYPES = ("none", "ffill", "ffill+bfill")


class TSDataSampler:
    """Windows over a frame.

    Parameters
    ----------
    data
        Frame indexed by (datetime, instrument).
    start, end
        Samples are the rows dated within [start, end]; earlier rows only serve as history.
    step_len
        Rows of a window: so many dates of the frame, up to the sample's own.
    fillna_type
        What a date without a row shows: "none" NaN; "ffill" the row before it in the window; "ffill+bfill" also, ahead
        of the first row of the window, that first row. NaN inside a row stays.
    dtype
        Type of the array; None keeps the frame's.
    flt_data
        Series or one-column frame: rows where it is false or absent are no samples, but still history.
    """

    data_arr: np.ndarray
    data_index: pd.MultiIndex
    idx_map: np.ndarray
    idx_df: pd.DataFrame

    def __init__(
        self,
        data: pd.DataFrame,
        start: Any,
        end: Any,
        step_len: int,
        fillna_type: str = "none",
        dtype: Any = None,
        flt_data: pd.Series | pd.DataFrame | None = None,
    ) -> None:
        if get_level_index(data, "datetime") != 0 or data.index.nlevels != 2:
            raise InputError(
                f"TSDataSampler needs rows indexed by (datetime, instrument); received {list(data.index.names)}"
            )
        if int(step_len) < 1:
            raise ConfigError(f"step_len: received {step_len!r}; a whole number of at least 1 is allowed")
        self.start, self.end, self.step_len = start, end, int(step_len)
        self.fillna_type = fillna_type
        data = data.rename_axis(index=["datetime", "instrument"])
        by_instrument = sort_rows(data, first="instrument")
        values = by_instrument.to_numpy(dtype=dtype)
        kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
        self.data_arr = np.empty((len(values) + 1, values.shape[1]), kind)
        self.data_arr[:-1] = values
        self.data_arr[-1] = np.nan
        self.nan_idx = -1
        self.idx_df, idx_map = self.build_index(by_instrument)
        self.idx_arr = self.idx_df.to_numpy()
        self._prepare_windows()
        whole_index = cast("pd.MultiIndex", by_instrument.index).swaplevel()
        if flt_data is not None:
            idx_map = self.flt_idx_map(_says(flt_data, whole_index), idx_map)
        self.idx_map, self.data_index = self.slice_idx_map_and_data_index(
            self.idx_map2arr(idx_map), self.idx_df, whole_index, start, end
        )

    @staticmethod
    def build_index(data: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
        """Return (table date x instrument -> row number or NaN, array row -> (date position, instrument position))."""
        dates, instruments = unique_dates(data.index), data.index.unique(level="instrument").sort_values()
        place = np.stack(
            [
                dates.get_indexer(data.index.get_level_values("datetime")),
                instruments.get_indexer(data.index.get_level_values("instrument")),
            ],
            axis=1,
        ).astype(np.int32)
        table = np.full((len(dates), len(instruments)), np.nan)
        table[place[:, 0], place[:, 1]] = np.arange(len(data))
        return pd.DataFrame(table, index=dates, columns=instruments), place

    @staticmethod
    def flt_idx_map(flt_data: Any, idx_map: np.ndarray) -> np.ndarray:
        """Return `idx_map` with (-1, -1) for the rows that are to be no samples: where `flt_data`, by row, is false."""
        return np.where(np.asarray(flt_data, bool)[:, None], idx_map, -1).astype(np.int32)

    @staticmethod
    def idx_map2arr(idx_map: np.ndarray | Mapping[int, tuple[int, int]]) -> np.ndarray:
        """Return a table row -> (date position, instrument position) as an array; others are (-1, -1)."""
        if isinstance(idx_map, np.ndarray):
            return idx_map
        array = np.full((max(idx_map, default=-1) + 1, 2), -1, np.int32)
        for row, place in idx_map.items():
            array[row] = place
        return array

    @staticmethod
    def slice_idx_map_and_data_index(
        idx_map: np.ndarray, idx_df: pd.DataFrame, data_index: pd.MultiIndex, start: Any, end: Any
    ) -> tuple[np.ndarray, pd.MultiIndex]:
        """Return `idx_map` and `data_index` of the samples: rows dated within [start, end] that are not (-1, -1)."""
        low, high, _ = idx_df.index.slice_indexer(day_or_moment(start), day_or_moment(end)).indices(len(idx_df))
        chosen = (idx_map[:, 0] >= low) & (idx_map[:, 0] < high) & (idx_map[:, 0] >= 0)
        return idx_map[chosen], data_index[chosen]

    def _prepare_windows(self) -> None:
        """Tabulate row numbers by instrument and date, `step_len - 1` empty dates first: own, last seen, next seen."""
        n_dates, n_instruments = self.idx_arr.shape
        empty = len(self.data_arr) - 1
        rows = np.full((n_instruments, n_dates + self.step_len - 1), empty, np.int64)
        rows[:, self.step_len - 1 :] = np.where(np.isnan(self.idx_arr), empty, np.nan_to_num(self.idx_arr)).T
        present = rows != empty
        before = np.maximum.accumulate(np.where(present, rows, -1), axis=1)  # row numbers ascend with the date
        after = np.minimum.accumulate(np.where(present, rows, empty)[:, ::-1], axis=1)[:, ::-1]
        self._rows, self._before, self._after = rows, before, after

    def get_index(self) -> pd.MultiIndex:
        """Return the (datetime, instrument) of every sample, in their order: instrument after instrument."""
        return self.data_index

    def config(self, **kwargs: Any) -> None:
        """Set attributes, such as `fillna_type`."""
        for name, value in kwargs.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "fillna_type" and value not in FILLNA_TYPES:
            raise ConfigError(
                f"fillna_type: received {value!r}; allowed are {', '.join(FILLNA_TYPES)}"
                f"{did_you_mean(str(value), FILLNA_TYPES)}"
            )
        super().__setattr__(name, value)

    @property
    def empty(self) -> bool:
        return len(self) == 0

    def __len__(self) -> int:
        return len(self.idx_map)

    def _window_rows(self, date: np.ndarray, instrument: np.ndarray) -> np.ndarray:
        """Return the row numbers (samples, step_len) of windows that end at the given positions."""
        at = (instrument[:, None], date[:, None] + np.arange(self.step_len))
        if self.fillna_type == "none":
            return self._rows[at]
        empty = len(self.data_arr) - 1
        first = self._after[instrument, date][:, None]  # first existing row at or after the window's first date
        rows = self._before[at]
        return np.where(rows < first, empty if self.fillna_type == "ffill" else first, rows)

    def __getitem__(self, idx: Any) -> np.ndarray:
        """Return the window of one sample (int, or (date, instrument)), or those of several (list or array)."""
        if isinstance(idx, tuple):
            date, instrument = self._locate(*idx)
            return self.data_arr[self._window_rows(np.array([date]), np.array([instrument]))[0]]
        if isinstance(idx, int | np.integer):
            if not -len(self) <= idx < len(self):
                raise KeyError(f"sample {idx} is asked for; there are {len(self)}")
            date, instrument = self.idx_map[idx]
            return self.data_arr[self._window_rows(np.array([date]), np.array([instrument]))[0]]
        many = np.asarray(idx)
        if many.size and (many.min() < -len(self) or many.max() >= len(self)):
            raise KeyError(f"sample {many.max()} is asked for; there are {len(self)}")
        places = self.idx_map[many.astype(np.int64)]
        return self.data_arr[self._window_rows(places[:, 0], places[:, 1])]

    def _locate(self, date: Any, instrument: str) -> tuple[int, int]:
        """Return the positions of the last date not after `date` and of the instrument."""
        dates, instruments = self.idx_df.index, self.idx_df.columns
        at = int(dates.searchsorted(pd.Timestamp(date), side="right")) - 1
        if at < 0:
            raise MissingDataError(f"{date} is before the data, which begin at {dates[0] if len(dates) else None}")
        if instrument not in instruments:
            raise MissingDataError(
                f"no instrument is called {instrument!r}{did_you_mean(str(instrument), instruments)}"
            )
        return at, int(instruments.get_indexer(pd.Index([instrument]))[0])


def _says(flt_data: pd.Series | pd.DataFrame, index: pd.MultiIndex) -> np.ndarray:
    """Return for every row of `index` whether a filter says yes; absent and missing mean no."""
    if isinstance(flt_data, pd.DataFrame):
        if flt_data.shape[1] != 1:
            raise InputError(f"flt_data: received {flt_data.shape[1]} columns; one is allowed")
        flt_data = flt_data.iloc[:, 0]
    says = flt_data.reindex(index)
    return np.where(says.isna(), False, says.to_numpy()).astype(bool)


class TSDatasetH(DatasetH):
    """A dataset whose segments are samplers of windows.

    Parameters
    ----------
    step_len
        Rows of a window.
    flt_col
        A column whose truth says which rows are samples.
    kwargs
        As for `DatasetH`.
    """

    DEFAULT_STEP_LEN: ClassVar[int] = 30

    def __init__(self, step_len: int = DEFAULT_STEP_LEN, flt_col: str | None = None, **kwargs: Any) -> None:
        self.step_len = step_len
        self.flt_col = flt_col
        super().__init__(**kwargs)

    def config(self, **kwargs: Any) -> None:  # type: ignore[override]
        """Change `step_len` and `flt_col` too."""
        for name in ("step_len", "flt_col"):
            if name in kwargs:
                setattr(self, name, kwargs.pop(name))
        super().config(**kwargs)

    def setup_data(self, **kwargs: Any) -> None:  # type: ignore[override]
        super().setup_data(**kwargs)
        self.cal: Sequence[pd.Timestamp] = list(unique_dates(self.handler.fetch(col_set=DataHandler.CS_RAW).index))

    @staticmethod
    def _extend_slice(slc: slice, cal: Sequence[pd.Timestamp], step_len: int) -> slice:
        """Return the slice with its start moved `step_len` dates back (as far as there are dates)."""
        if slc.start is None:
            return slc
        first = bisect_left(cal, pd.Timestamp(slc.start))
        return slice(cal[max(0, first - step_len)], slc.stop) if cal else slc

    def _prepare_seg(self, slc: slice, **kwargs: Any) -> TSDataSampler:
        dtype, fillna_type = kwargs.pop("dtype", None), kwargs.pop("fillna_type", "none")
        flt_col = kwargs.pop("flt_col", self.flt_col)
        extended = self._extend_slice(slc, self.cal, self.step_len)
        data = super()._prepare_seg(extended, **kwargs)
        flt_data = None
        if flt_col is not None:
            flt_data = super()._prepare_seg(extended, **{**deepcopy(kwargs), "col_set": flt_col})
        return TSDataSampler(
            data=data,
            start=slc.start,
            end=slc.stop,
            step_len=self.step_len,
            fillna_type=fillna_type,
            dtype=dtype,
            flt_data=flt_data,
        )

"""Windows over time: a sample is the last `step_len` rows of one instrument.

    dataset = TSDatasetH(step_len=20, handler=..., segments=...)
    sampler = dataset.prepare("train")
    sampler[0]            array (20, columns), a view that cannot be written to
    sampler[10:50]        array (40, 20, columns), a view too where the samples are neighbours
    sampler[[0, 2, 1]]    array (3, 20, columns) of its own

All rows lie in one array, instrument after instrument, so a window without missing dates is a slice of it. The others
are copied row by row; a date on which the instrument has no row is one extra row of NaN. Filling never looks outside
the window or at another instrument.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np
import pandas as pd

from qlib.config import active_settings
from qlib.data.dataset.columns import for_each
from qlib.data.dataset.dataset import DatasetH
from qlib.data.dataset.handler import DataHandler
from qlib.data.dataset.kernels import Windows
from qlib.data.dataset.utils import day_or_moment, get_level_index, row_order, unique_dates
from qlib.errors import ConfigError, InputError, MissingDataError, did_you_mean

FILLNA_TYPES = ("none", "ffill", "ffill+bfill")
LINE = 16  # columns that are written side by side: 64 bytes of float32
CHUNK = 1 << 14  # rows that are moved at a time


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
        index = cast("pd.MultiIndex", data.index).set_names(["datetime", "instrument"])
        if any((codes < 0).any() for codes in index.codes):
            raise InputError("TSDataSampler: a row has no date or no instrument; leave such rows out")
        order, self._index = row_order(index, "instrument")
        self.data_arr = _by_row(data, order, dtype)
        self.nan_idx = -1
        self._of_instrument, self._of_date = (np.ascontiguousarray(codes, np.int32) for codes in self._index.codes)
        again = (np.diff(self._of_instrument) == 0) & (np.diff(self._of_date) == 0)
        if again.any():
            instrument, date = self._index[int(np.argmax(again))]
            raise InputError(f"TSDataSampler: {instrument} has two rows dated {date}; one for each date is allowed")
        idx_map = np.stack([self._of_date, self._of_instrument], axis=1)
        whole_index = self._index.swaplevel()
        rows = np.arange(len(idx_map))
        if flt_data is not None:
            idx_map = self.flt_idx_map(_says(flt_data, whole_index), idx_map)
        dates = pd.DataFrame(index=self._index.levels[1])
        self.idx_map, self.data_index = self.slice_idx_map_and_data_index(idx_map, dates, whole_index, start, end)
        self._keep_rows(rows[_is_sample(idx_map, dates, start, end)])

    def _keep_rows(self, rows: np.ndarray) -> None:
        """Remember the place of every sample: where its window begins, or if a date of it is missing -1 - its row."""
        begin = rows - (self.step_len - 1)
        at = np.maximum(begin, 0)
        unbroken = (
            (begin >= 0)
            & (self._of_instrument[at] == self._of_instrument[rows])
            & (self._of_date[rows] - self._of_date[at] == self.step_len - 1)
        )
        self._sample_rows = rows
        self._places = np.where(unbroken, begin, -1 - rows).astype(np.int64)
        self._place = array("q", self._places.tobytes())  # read one by one it is faster than numpy
        self._gives_copies = active_settings().compat == "qlib"
        self._show()

    def _show(self) -> None:
        self._shown = self.data_arr.view()
        self._shown.flags.writeable = False
        self._windows = Windows(self.data_arr.view(np.uint8), self._of_date, self._of_instrument, self.step_len)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_shown", "_windows", "idx_df")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._show()

    @cached_property
    def idx_df(self) -> pd.DataFrame:
        """The table date x instrument -> row number or NaN."""
        return self.build_index(pd.DataFrame(index=self._index))[0]

    @property
    def idx_arr(self) -> np.ndarray:
        """The same as an array."""
        return self.idx_df.to_numpy()

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
        chosen = _is_sample(idx_map, idx_df, start, end)
        return idx_map[chosen], data_index[chosen]

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
        if name == "step_len" and "_sample_rows" in vars(self):
            self._keep_rows(self._sample_rows)

    @property
    def empty(self) -> bool:
        return len(self) == 0

    def __len__(self) -> int:
        return len(self.idx_map)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the window of every sample."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, idx: Any) -> np.ndarray:
        """Return the window of one sample (int, or (date, instrument)), or those of several (slice, list or array).

        A window, or several as a slice, cannot be written to: it is a view where no date is missing. A list makes a new
        array. (Under `compat="qlib"` everything is new.)
        """
        if type(idx) is int:  # the short way: one window, nothing missing
            try:
                place = self._place[idx]
            except IndexError:
                raise KeyError(f"sample {idx} is asked for; there are {len(self)}") from None
            if place >= 0:
                window = self._shown[place : place + self.step_len]
                return window.copy() if self._gives_copies else window
            window = np.empty((self.step_len, self._shown.shape[1]), self._shown.dtype)
            self._windows.one(place, FILLNA_TYPES.index(self.fillna_type), window)
            window.setflags(write=self._gives_copies)  # faster than through `flags`
            return window
        if isinstance(idx, tuple):
            return self._gathered(*self._locate(*idx))[0]
        if isinstance(idx, slice):
            return self._neighbours(range(*idx.indices(len(self))))
        if isinstance(idx, int | np.integer):
            return self[int(idx)]
        return self._gathered(self._asked(np.asarray(idx)))

    def __getitems__(self, idx: Sequence[int]) -> np.ndarray:
        """Return the windows of a batch: torch's DataLoader asks for them at once."""
        return self[list(idx)]

    def _asked(self, idx: np.ndarray) -> np.ndarray:
        """Return the places of some samples: their numbers, or a bool for each sample."""
        numbers = idx if idx.size else idx.astype(np.intp)
        kind = numbers.dtype.kind
        if numbers.ndim != 1 or kind not in "iub" or (kind == "b" and len(numbers) != len(self)):
            raise InputError(
                f"samples: received {idx.dtype} of shape {idx.shape}; allowed are whole numbers in a row, or a bool "
                f"for each of the {len(self)} samples"
            )
        try:
            return self._places[numbers]
        except IndexError:
            worst = numbers.max() if numbers.max() >= len(self) else numbers.min()
            raise KeyError(f"sample {worst} is asked for; there are {len(self)}") from None

    def _neighbours(self, samples: range) -> np.ndarray:
        places = self._places[samples.start : samples.stop] if samples.step == 1 else self._places[list(samples)]
        if len(places) and not self._gives_copies and (places >= 0).all() and (np.diff(places) == 1).all():
            windows = np.lib.stride_tricks.sliding_window_view(
                self._shown[places[0] : places[-1] + self.step_len], self.step_len, axis=0
            )
            return windows.transpose(0, 2, 1)
        windows = self._gathered(places)
        windows.flags.writeable = self._gives_copies
        return windows

    def _gathered(self, places: np.ndarray, back: int = 0) -> np.ndarray:
        """Return the windows at those places, or if dates are missing so many dates `back` after them."""
        out = np.empty((len(places), self.step_len, self.data_arr.shape[1]), self.data_arr.dtype)
        self._windows.gather(places, back, FILLNA_TYPES.index(self.fillna_type), out)
        return out

    def _locate(self, date: Any, instrument: str) -> tuple[np.ndarray, int]:
        """Return (-1 - the last row of the instrument not after `date`, dates from it to the last one not after it)."""
        instruments, dates = self._index.levels
        at = int(dates.searchsorted(pd.Timestamp(date), side="right")) - 1
        if at < 0:
            raise MissingDataError(f"{date} is before the data, which begin at {dates[0] if len(dates) else None}")
        if instrument not in instruments:
            raise MissingDataError(
                f"no instrument is called {instrument!r}{did_you_mean(str(instrument), instruments)}"
            )
        code = int(instruments.get_indexer(pd.Index([instrument]))[0])
        low, high = np.searchsorted(self._of_instrument, [code, code + 1])
        row = low + int(np.searchsorted(self._of_date[low:high], at, side="right")) - 1
        row = max(row, int(low))  # if it is listed later the window is before its first row
        return np.array([-1 - row]), at - int(self._of_date[row])


def _by_row(data: pd.DataFrame, order: np.ndarray, dtype: Any) -> np.ndarray:
    """Return the rows in that order as one array, row after row, and behind them a row of NaN."""
    kind = data.iloc[:0].to_numpy(dtype=dtype).dtype
    kind = kind if kind.kind == "f" else np.dtype(np.float64)
    rows, width = data.shape
    out = np.empty((rows + 1, width), kind)
    out[-1] = np.nan
    kinds = list(data.dtypes)

    def move(number: int) -> None:
        low = number * LINE
        some = np.empty((min(LINE, width - low), CHUNK), kind)
        columns = [
            np.ascontiguousarray(data.iloc[:, at].to_numpy(dtype=None if kinds[at] == kind else kind))
            for at in range(low, low + len(some))
        ]
        for first in range(0, rows, CHUNK):
            taken = order[first : first + CHUNK]
            for column, part in zip(columns, some, strict=True):
                np.take(column, taken, out=part[: len(taken)], mode="clip")
            out[first : first + len(taken), low : low + len(some)] = some[:, : len(taken)].T

    for_each(move, -(-width // LINE))
    return out


def _is_sample(idx_map: np.ndarray, idx_df: pd.DataFrame, start: Any, end: Any) -> np.ndarray:
    """Return which rows are samples: dated within [start, end], and not (-1, -1)."""
    low, high, _ = idx_df.index.slice_indexer(day_or_moment(start), day_or_moment(end)).indices(len(idx_df))
    return (idx_map[:, 0] >= low) & (idx_map[:, 0] < high) & (idx_map[:, 0] >= 0)


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

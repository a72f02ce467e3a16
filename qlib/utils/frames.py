"""Tables and arrays in the few ways that Qlib's users expect to find under `qlib.utils`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.errors import InputError


def lazy_sort_index(df: pd.DataFrame, axis: int = 0) -> pd.DataFrame:
    """Return `df` sorted along `axis`; the same object when it is sorted already.

    >>> lazy_sort_index(pd.DataFrame({"a": [1, 2]}, index=[2, 1])).index.tolist()
    [1, 2]
    """
    if axis == 0:
        return df if df.index.is_monotonic_increasing else df.sort_index()
    return df if df.columns.is_monotonic_increasing else df.sort_index(axis=1)


def np_ffill(arr: np.ndarray) -> np.ndarray:
    """Return a one-dimensional array with every NaN replaced by the last number before it.

    >>> np_ffill(np.array([np.nan, 1.0, np.nan, 2.0]))
    array([nan,  1.,  1.,  2.])
    """
    last = np.maximum.accumulate(np.where(np.isnan(arr), 0, np.arange(len(arr))))
    return arr[last]


def time_to_slc_point(t: Any) -> pd.Timestamp | None:
    """Return one end of a time slice as a Timestamp; None stays None (an open end)."""
    return None if t is None else pd.Timestamp(t)


def split_pred(
    pred: pd.Series | pd.DataFrame, number: int | None = None, split_date: Any = None
) -> tuple[pd.Series | pd.DataFrame, pd.Series | pd.DataFrame]:
    """Return a prediction cut in two by date: the first `number` dates, or those until `split_date`, and the rest."""
    if number is None and split_date is None:
        raise InputError("split_pred: received neither number nor split_date; one of them is needed")
    dates = pd.DatetimeIndex(pred.index.get_level_values("datetime"))
    ordered = dates.unique().sort_values()
    last = ordered[number - 1] if number is not None else pd.Timestamp(split_date)
    return pred[dates <= last].sort_index(), pred[dates > last].sort_index()

"""Qlib's helpers for coarser bars and for the part of a series that a step looks at.

    resam_ts_data(prices, start, end, method="last")     one value per instrument of what lies inside [start, end]
    get_higher_eq_freq_feature(names, fields, freq="60min")   the bars of 60 minutes, or finer ones
    resam_calendar(times, "1min", "30min", region="cn")

Users find them at `qlib.utils.resam`. `qlib.collect.resample` makes coarser bars of a whole store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from qlib.config import active_settings
from qlib.data.active import active_provider
from qlib.data.calendar import Calendar, timestamp
from qlib.errors import InputError, MissingDataError
from qlib.utils.time import Freq, sessions_of


def resam_calendar(calendar_raw: Any, freq_raw: Any, freq_sam: Any, region: Any = None) -> np.ndarray:
    """Return the times of a coarser calendar as an object array of Timestamps.

    Parameters
    ----------
    calendar_raw, freq_raw
        Times, ascending, and the size of their bars.
    freq_sam
        The size wanted: the same, or a multiple that is made of whole bars.
    region
        Whose sessions bars of minutes follow; None means the session's region.

    Raises InputError where the wanted bars are finer.
    """
    settings = active_settings()
    sessions = settings.region.sessions if region is None else sessions_of(region)
    raw = Calendar(freq_raw, np.asarray(calendar_raw, dtype="datetime64[ns]"))
    return raw.resample(Freq(freq_sam), sessions, settings["min_data_shift"]).stamps.copy()


def get_higher_eq_freq_feature(
    instruments: Any,
    fields: Sequence[Any],
    start_time: Any = None,
    end_time: Any = None,
    freq: Any = "day",
    disk_cache: int | None = 1,
) -> tuple[pd.DataFrame, str]:
    """Return formulas at bars of `freq`, or at finer ones where those are not stored, and the size of the bars.

    Of finer ones the day comes first, as in Qlib, then the coarsest of minutes.  `D.features` says what is allowed.
    """
    provider = active_provider()
    asked, stored = Freq(freq), provider.stored_freqs()
    found = next((one for one in stored if Freq(one) == asked), None)
    if found is None:
        finer = [one for one in stored if Freq.get_min_delta(asked, one) >= 0 and (Freq(one).intraday or one == "day")]
        found = Freq.get_recent_freq(asked, finer)
    if found is None:
        raise MissingDataError(
            f"freq: received {freq}; neither bars of {asked} nor finer ones are stored; stored: "
            f"{', '.join(stored) or 'nothing'}"
        )
    frame = provider.features(instruments, fields, start_time, end_time, freq=found, disk_cache=disk_cache)
    return frame, str(Freq(found))


def get_valid_value(series: pd.Series, last: bool = True) -> Any:
    """Return the last value of a series that is not missing (`last=False`: the first one), NaN where all are.

    >>> get_valid_value(pd.Series([1.0, 2.0, float("nan")])).item()
    2.0
    """
    if not len(series):
        raise InputError("series: received an empty one; at least one row is needed")
    some = np.flatnonzero(series.notna().to_numpy())
    return series.iloc[some[-1 if last else 0]] if len(some) else np.float64("nan")


def _ts_data_valid(ts_feature: Any, last: bool = False) -> Any:
    """Return the first (last) value that is not missing of a series, or of each column of a frame."""
    if isinstance(ts_feature, pd.DataFrame):
        return ts_feature.apply(lambda column: get_valid_value(column, last=last))
    if isinstance(ts_feature, pd.Series):
        return get_valid_value(ts_feature, last=last)
    raise TypeError(f"ts_feature: received {type(ts_feature).__name__}; a DataFrame or a Series is allowed")


ts_data_last = partial(_ts_data_valid, last=True)
ts_data_first = partial(_ts_data_valid, last=False)


def resam_ts_data(
    ts_feature: Any,
    start_time: Any = None,
    end_time: Any = None,
    method: str | Callable[..., Any] | None = "last",
    method_kwargs: dict[str, Any] | None = None,
) -> Any:
    """Return one value of what lies inside [start_time, end_time]: of each instrument and column, if there are several.

    Parameters
    ----------
    ts_feature
        A frame or series indexed by time, or by (instrument, datetime) in either order.
    method
        Name of a method of pandas' groups ("mean", "sum", "quantile" ...), a callable, or None: nothing is summed up.
        "last" and "first" are the last and first value that is not missing; `ts_data_last` and `ts_data_first` too.
    method_kwargs
        Its arguments.

    Returns
    -------
    A frame or series by instrument; a series or a value for data of one instrument; None where nothing lies inside.

    >>> days = pd.date_range("2024-01-01", periods=3)
    >>> resam_ts_data(pd.Series([1.0, 2.0, 4.0], index=days), end_time="2024-01-02", method="sum").item()
    3.0
    """
    if not isinstance(ts_feature, pd.DataFrame | pd.Series):
        raise TypeError(f"ts_feature: received {type(ts_feature).__name__}; a DataFrame or a Series is allowed")
    arguments = method_kwargs or {}
    several = isinstance(ts_feature.index, pd.MultiIndex)
    if several and not {"instrument", "datetime"} <= set(ts_feature.index.names):
        raise InputError(
            f"ts_feature: received levels {list(ts_feature.index.names)}; instrument and datetime are needed"
        )
    part = _between(ts_feature, timestamp(start_time, "start_time"), timestamp(end_time, "end_time"))
    if not len(part):
        return None
    if method is None:
        return part
    if several:
        groups = part.groupby(level="instrument")
        if isinstance(method, str):
            return getattr(groups, method)(**arguments)
        return groups.apply(method, **arguments)
    if isinstance(method, str):
        method = {"last": ts_data_last, "first": ts_data_first}.get(method, method)
    if isinstance(method, str):
        return getattr(part, method)(**arguments)
    return method(part, **arguments)


def _between(data: Any, start: pd.Timestamp | None, end: pd.Timestamp | None) -> Any:
    if start is None and end is None:
        return data
    index = data.index
    times = index.get_level_values("datetime") if isinstance(index, pd.MultiIndex) else index
    inside = np.ones(len(times), dtype=bool)
    if start is not None:
        inside &= np.asarray(times >= start)
    if end is not None:
        inside &= np.asarray(times <= end)
    return data[inside]

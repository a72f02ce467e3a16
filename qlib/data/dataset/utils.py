"""Choosing rows and columns of a frame indexed by (datetime, instrument), without copying where that is possible.

    fetch_df_by_index(df, slice("2020-01-01", "2020-01-31"), "datetime")     rows: a slice of positions, so a view
    fetch_df_by_col(df, "feature")                                           columns of one group
    sort_rows(df)                                                            (datetime, instrument) order
    row_window(index, start, end)                                            positions of a closed range of dates

pandas can do all of this with labels; here it is done with the integer codes of the index, because frames have
millions of rows. A closed range means what pandas means: the end "2020-01-31" includes the whole day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
import pandas as pd

from qlib.errors import ConfigError, InputError, MissingDataError, did_you_mean
from qlib.utils.objects import init_instance_by_config

CS_ALL: Final = "__all"
CS_RAW: Final = "__raw"
LEVELS: Final = ("datetime", "instrument")


# ----------------------------------------------------------------------------------------------------------------- rows
def get_level_index(df: pd.DataFrame | pd.Series | pd.Index, level: str | int) -> int:
    """Return the position of an index level; an unnamed index is taken as (datetime, instrument)."""
    names = list((df if isinstance(df, pd.Index) else df.index).names)
    if isinstance(level, int):
        return level
    if level in names:
        return names.index(level)
    if level in LEVELS:
        return LEVELS.index(level)
    raise MissingDataError(f"level: received {level!r}; the index has the levels {names}{did_you_mean(level, LEVELS)}")


def day_or_moment(value: Any) -> Any:
    """Return a bound as pandas reads it best: a `datetime.date` becomes text, so that it means the whole day."""
    return str(value) if isinstance(value, dt.date) and not isinstance(value, dt.datetime) else value


def level_positions(values: pd.Index, selector: Any) -> slice | np.ndarray:
    """Return which entries of one sorted level `selector` picks: a slice of positions, or an array of them.

    A scalar that is not there raises KeyError; a slice may reach beyond the ends.
    """
    try:
        found: Any
        if isinstance(selector, slice):
            found = values.slice_indexer(day_or_moment(selector.start), day_or_moment(selector.stop), selector.step)
        elif pd.api.types.is_list_like(selector):
            found = _labels(values, selector)
        else:
            at = values.get_loc(day_or_moment(selector))
            found = slice(at, at + 1) if isinstance(at, int | np.integer) else at
    except KeyError:
        raise
    except (ValueError, TypeError) as error:
        kind = "a date" if isinstance(values, pd.DatetimeIndex) else "a label"
        raise InputError(
            f"selector: received {selector!r}; {kind}, a slice or a list of them is allowed ({error})"
        ) from error
    return np.flatnonzero(found) if isinstance(found, np.ndarray) and found.dtype == bool else found


def _labels(values: pd.Index, labels: Any) -> np.ndarray:
    wanted = pd.Index([day_or_moment(label) for label in labels])
    if isinstance(values, pd.DatetimeIndex):
        wanted = pd.DatetimeIndex(wanted)
    at = values.get_indexer(wanted)
    if (at < 0).any():
        raise MissingDataError(f"not in the index: {[str(label) for label in wanted[at < 0][:5]]}")
    return np.sort(at)


def rows_at(index: pd.Index, selector: Any, level: int) -> slice | np.ndarray:
    """Return the positions of the rows whose `level` is picked by `selector`."""
    if not isinstance(index, pd.MultiIndex):
        return level_positions(index, selector)
    values, codes = index.levels[level], index.codes[level]
    if not values.is_monotonic_increasing:
        rank = np.empty(len(values), np.int64)
        order = values.argsort()
        rank[order] = np.arange(len(values))
        values, codes = values.take(order), np.where(codes < 0, -1, rank[codes])
    picked = level_positions(values, selector)
    if isinstance(picked, slice):
        low, high, step = picked.indices(len(values))
        if step == 1:
            if level == 0 and index.is_monotonic_increasing:
                return slice(_first(codes, low, len(values)), _first(codes, high, len(values)))
            return np.flatnonzero((codes >= low) & (codes < high))
        picked = np.arange(low, high, step)
    chosen = np.zeros(len(values) + 1, bool)  # the last entry stands for a missing label (code -1)
    chosen[picked] = True
    return np.flatnonzero(chosen[codes])


def _first(codes: np.ndarray, code: int, n_codes: int) -> int:
    """Return the first row whose code is at least `code`; codes ascend."""
    if code >= n_codes:
        return len(codes)
    return int(np.searchsorted(codes, codes.dtype.type(code)))


def row_window(index: pd.Index, start: Any, end: Any) -> slice | np.ndarray:
    """Return the positions of the rows dated within [start, end]; None leaves a side open."""
    level = get_level_index(index, "datetime") if isinstance(index, pd.MultiIndex) else 0
    return rows_at(index, slice(start, end), level)


def date_range(index: pd.Index) -> tuple[Any, Any]:
    """Return the first and the last date of an index, (None, None) when it is empty."""
    if not len(index):
        return None, None
    if not isinstance(index, pd.MultiIndex):
        return index.min(), index.max()
    level = get_level_index(index, "datetime")
    used = np.unique(index.codes[level])
    dates = index.levels[level].take(used[used >= 0])
    return (dates.min(), dates.max()) if len(dates) else (None, None)


def unique_dates(index: pd.Index) -> pd.Index:
    """Return the dates of an index, each once, ascending."""
    if not isinstance(index, pd.MultiIndex):
        return index.unique().sort_values()
    level = get_level_index(index, "datetime")
    used = np.unique(index.codes[level])
    return index.levels[level].take(used[used >= 0]).sort_values()


def fetch_df_by_index(df: pd.DataFrame, selector: Any, level: str | int | None, fetch_orig: bool = True) -> Any:
    """Return the rows that `selector` picks at `level`; both index levels stay.

    Parameters
    ----------
    selector
        A scalar label, a slice (closed at both ends), a list or index of labels, or a MultiIndex of whole rows.
    level
        A level's name or position; None hands the selector to `df.loc`.
    fetch_orig
        When nothing is left out, return `df` itself instead of a copy.
    """
    if level is None or isinstance(selector, pd.MultiIndex):
        return df.loc(axis=0)[selector]
    if isinstance(selector, slice) and selector == slice(None):
        return df if fetch_orig else df.copy()
    return df.iloc[rows_at(df.index, selector, get_level_index(df, level))]


def _has_two_levels(index: pd.Index) -> bool:
    return isinstance(index, pd.MultiIndex) and index.nlevels == 2 and all(name in index.names for name in LEVELS)


def is_sorted(index: pd.Index, first: str = "datetime") -> bool:
    """Return whether rows are in (datetime, instrument) order, or the other way round; another index: as it is."""
    return (not _has_two_levels(index) or index.names[0] == first) and index.is_monotonic_increasing


def sort_rows(df: pd.DataFrame, first: str = "datetime") -> pd.DataFrame:
    """Return `df` with its rows in (datetime, instrument) order (or the other way round), `df` itself if they are.

    A frame with another index is sorted as it is. Equal rows keep their order.
    """
    if is_sorted(df.index, first):
        return df
    if not _has_two_levels(df.index) or any((codes < 0).any() for codes in cast("pd.MultiIndex", df.index).codes):
        swapped = _has_two_levels(df.index) and df.index.names[0] != first
        return (df.swaplevel() if swapped else df).sort_index()
    order, index = row_order(cast("pd.MultiIndex", df.index), first)
    return take_rows(df, order, index)


def row_order(index: pd.MultiIndex, first: str) -> tuple[np.ndarray, pd.MultiIndex]:
    """Return (positions of the rows in the order that begins with the level `first`, the index in that order).

    Both levels of the result hold what is used, ascending, so that codes are positions.
    """
    outer = index.names.index(first)
    levels, codes = zip(*(_compact_level(index, level) for level in (outer, 1 - outer)), strict=True)
    n_inner = max(len(levels[1]), 1)
    order = np.argsort(codes[0].astype(np.int64) * n_inner + codes[1], kind="stable")
    names = [index.names[outer], index.names[1 - outer]]
    placed: list[Any] = [code[order] for code in codes]
    return order, pd.MultiIndex(levels=list(levels), codes=placed, names=names, verify_integrity=False)


def _compact_level(index: pd.MultiIndex, level: int) -> tuple[pd.Index, np.ndarray]:
    """Return one level with its used values only, ascending, and the codes that fit it."""
    values, codes = index.levels[level], np.asarray(index.codes[level])
    used = np.flatnonzero(np.bincount(codes, minlength=len(values)))
    if len(used) == len(values) and values.is_monotonic_increasing:
        return values, codes
    kept = values.take(used)
    order = np.asarray(kept.argsort())
    new = np.empty(len(values), codes.dtype)
    new[used[order]] = np.arange(len(used))
    return kept.take(order), new[codes]


def take_rows(df: pd.DataFrame, positions: np.ndarray, index: pd.Index | None = None) -> pd.DataFrame:
    """Return the rows at `positions`, as new memory, a run of columns of one number type in one piece."""
    index = df.index.take(positions) if index is None else index
    pieces = []
    for low, high, dtype in column_runs(df):
        part = df.iloc[:, low:high]
        if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
            out = np.empty((high - low, len(positions)), dtype)
            source = part.to_numpy().T
            if source.flags.c_contiguous:
                np.take(source, positions, axis=1, out=out, mode="clip")
            else:
                for i, column in enumerate(source):
                    np.take(np.ascontiguousarray(column), positions, out=out[i], mode="clip")
            pieces.append(pd.DataFrame(out.T, index=index, columns=df.columns[low:high], copy=False))
        else:
            pieces.append(part.take(positions).set_axis(index, axis=0))
    return join_columns(pieces, df.columns, index)


# -------------------------------------------------------------------------------------------------------------- columns
def column_runs(df: pd.DataFrame) -> Iterator[tuple[int, int, Any]]:
    """Yield (first, past the last, dtype) of every run of neighbouring columns of one type."""
    dtypes = list(df.dtypes)
    low = 0
    for at in range(1, len(dtypes) + 1):
        if at == len(dtypes) or dtypes[at] != dtypes[low]:
            yield low, at, dtypes[low]
            low = at


def join_columns(pieces: Sequence[pd.DataFrame], columns: pd.Index, index: pd.Index) -> pd.DataFrame:
    """Put frames with one and the same index side by side without copying them."""
    if not pieces:
        return pd.DataFrame(index=index, columns=columns)
    whole = pieces[0] if len(pieces) == 1 else _beside(pieces)
    whole.columns = columns
    return whole


def _beside(pieces: Sequence[pd.DataFrame]) -> pd.DataFrame:
    lazily: dict[str, Any] = {"copy": False} if pd.__version__.startswith("2.") else {}  # pandas 3 is lazy by itself
    return pd.concat(pieces, axis=1, **lazily)


def group_positions(columns: pd.Index, group: Any) -> np.ndarray:
    """Return the positions of the columns of one group; None means all of them.

    Raises MissingDataError, which names the groups there are.
    """
    if group is None:
        return np.arange(len(columns))
    if not isinstance(columns, pd.MultiIndex):
        raise MissingDataError(
            f"column group {group!r}: they have one level ({', '.join(map(str, columns[:5]))}, ...), so no groups"
        )
    positions = np.flatnonzero(columns.get_level_values(0) == group)
    if not len(positions):
        groups = list(dict.fromkeys(columns.get_level_values(0)))
        raise MissingDataError(
            f"no column group is called {group!r}; there are {groups}{did_you_mean(str(group), groups)}"
        )
    return positions


def pick_columns(df: pd.DataFrame, positions: np.ndarray) -> pd.DataFrame:
    """Return the columns at `positions`: a view when they are neighbours, `df` itself when they are all."""
    if len(positions) and (np.diff(positions) == 1).all():
        low, high = int(positions[0]), int(positions[-1]) + 1
        return df if high - low == df.shape[1] else df.iloc[:, low:high]
    return df.iloc[:, positions]


def fetch_df_by_col(df: pd.DataFrame, col_set: Any) -> pd.DataFrame:
    """Return the columns of `col_set`.

    "__raw": as they are. "__all": all, the group level dropped. A group's name: that group, the level dropped.
    A list of groups: those, in that order, both levels kept. Frames with one column level come back whole.
    """
    positions = column_positions(df.columns, col_set)
    return without_group(pick_columns(df, positions) if positions is not None else df, col_set)


def column_positions(columns: pd.Index, col_set: Any) -> np.ndarray | None:
    """Return the positions of the columns of `col_set`, as `fetch_df_by_col` understands it; None: all."""
    if not isinstance(columns, pd.MultiIndex) or (isinstance(col_set, str) and col_set in (CS_RAW, CS_ALL)):
        return None
    if isinstance(col_set, str):
        return group_positions(columns, col_set)
    if isinstance(col_set, list | tuple | set) and all(isinstance(group, str) for group in col_set):
        found = [group_positions(columns, group) for group in col_set]
        return np.concatenate(found) if found else np.empty(0, int)
    return pd.DataFrame([np.arange(len(columns))], columns=columns).loc(axis=1)[col_set].to_numpy().ravel()


def without_group(df: pd.DataFrame, col_set: Any) -> pd.DataFrame:
    """Return `df` with the level of the groups dropped where `col_set` asks for that: for "__all" and for a name."""
    if not isinstance(df.columns, pd.MultiIndex) or not isinstance(col_set, str) or col_set == CS_RAW:
        return df
    bare = df.copy(deep=False)
    bare.columns = pd.MultiIndex.droplevel(cast("Any", df.columns), 0)
    return bare


# ---------------------------------------------------------------------------------------------------------------- other
def convert_index_format(df: pd.DataFrame | pd.Series, level: str = "datetime") -> pd.DataFrame | pd.Series:
    """Return `df` with `level` as the first index level, sorted if the levels had to change places."""
    if get_level_index(df, level) == 1:
        df = df.swaplevel().sort_index()
    return df


def init_task_handler(task: dict[str, Any]) -> Any:
    """Put an instance in the place of the handler's configuration in `task` and return it."""
    try:
        arguments = task["dataset"]["kwargs"]
        config = arguments["handler"]
    except (KeyError, TypeError):
        shown = sorted(task) if isinstance(task, Mapping) else type(task).__name__
        raise ConfigError(f"the task has no dataset.kwargs.handler; received {shown}") from None
    arguments["handler"] = init_instance_by_config(config) if isinstance(config, Mapping | str) else config
    return arguments["handler"]

"""Changing the columns of a frame as arrays, with as little copying as can be.

    change_columns(df, positions, change)              a frame with change(i, x) done to some columns
    change_columns(df, positions, change, own=True)    the same, written into the memory of `df`

A frame of one number type is one block of memory, column after column; handing out a column is free, and so is a new
frame over the block. What is few is replaced and the rest shared; what is much becomes one new block.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from qlib.config import active_settings
from qlib.data.dataset.crosssection import Dates
from qlib.data.dataset.utils import column_runs, get_level_index, join_columns
from qlib.errors import InputError

Change = Callable[[int, np.ndarray], None]
FEW = 8  # replacing up to one column in FEW leaves the others shared


def for_each(work: Callable[[int], None], number: int) -> None:
    """Call work(0) ... work(number - 1), on as many threads as the settings allow (numpy lets go of the lock)."""
    n_threads = min(active_settings().n_threads, number)
    if n_threads > 1:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(work, range(number)))
    else:
        for i in range(number):
            work(i)


def numbers(column: pd.Series) -> np.ndarray:
    """Return a column as floats: float32 and float64 as they are (no copy), integers and booleans as float64."""
    dtype = column.dtype
    if dtype in (np.float32, np.float64):
        return column.to_numpy()
    if pd.api.types.is_numeric_dtype(dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    raise InputError(f"column {column.name}: a column of numbers is needed; received dtype {dtype}")


def dates_of(index: pd.Index) -> Dates:
    """Return the rows of an index grouped by their date."""
    if not isinstance(index, pd.MultiIndex):
        return Dates(pd.factorize(index, sort=True)[0])
    return Dates(np.asarray(index.codes[get_level_index(index, "datetime")]))


def writable(part: pd.DataFrame) -> np.ndarray | None:
    """Return the memory behind a frame as an array (rows, columns), or None when it is not one writable block."""
    values = part.to_numpy()
    if not len(values) or not np.shares_memory(values, part.iloc[:, 0].to_numpy()):
        return None
    if not values.flags.writeable:  # pandas 3 hands out read-only views
        try:
            values.flags.writeable = True
        except ValueError:
            return None
    return values


def change_columns(
    df: pd.DataFrame, positions: np.ndarray, change: Change, *, own: bool = False
) -> tuple[pd.DataFrame, bool]:
    """Return `df` with `change(i, x)` done to the column at positions[i], and whether the result shares no memory.

    `df` itself stays as it is, unless `own` says that its memory may be written. A few columns are replaced and
    the others shared; for more, each run of columns of one type becomes one new block, column after column.
    """
    if not len(positions):
        return df, own
    number_of = {int(at): i for i, at in enumerate(positions)}
    if not own and len(positions) * FEW <= df.shape[1]:
        changed = df.copy(deep=False)
        for at, i in number_of.items():
            x = np.array(numbers(df.iloc[:, at]))
            change(i, x)
            changed.isetitem(at, x)
        return changed, False
    pieces, kept_in_place, all_own = [], own, True
    for low, high, dtype in column_runs(df):
        part = df.iloc[:, low:high]
        inside = [at for at in range(low, high) if at in number_of]
        block = writable(part) if own and dtype in (np.float32, np.float64) else None
        if not inside:
            all_own = all_own and own
        elif block is None:
            kept_in_place = False
            kind = dtype if dtype in (np.float32, np.float64) else np.dtype(np.float64)
            block = np.empty((high - low, len(df)), kind).T
            for at in range(low, high):
                block[:, at - low] = numbers(df.iloc[:, at])
            part = pd.DataFrame(block, index=df.index, columns=df.columns[low:high], copy=False)
        if inside and block is not None:
            _change_block(block, [(at - low, number_of[at]) for at in inside], change)
        pieces.append(part)
    return (df if kept_in_place else join_columns(pieces, df.columns, df.index)), all_own


def _change_block(block: np.ndarray, columns: list[tuple[int, int]], change: Change) -> None:
    contiguous = block.strides[0] == block.itemsize

    def work(k: int) -> None:
        at, i = columns[k]
        if contiguous:
            change(i, block[:, at])
        else:
            x = np.ascontiguousarray(block[:, at])
            change(i, x)
            block[:, at] = x

    for_each(work, len(columns))

"""Qlib's own five checks, by Qlib's rules and with Qlib's result columns: a frame, or None where nothing is wrong.

    missing_data(bars, 0)            instruments, open ... volume: how many values are missing
    large_steps(bars, 0.5, 3)        instruments, col_name, date (the first), pct_change (the largest)
    required_columns(bars)           instruments, missing_col
    missing_factor(bars)             instruments, missing_factor_col, missing_factor_data
    upper_case_folders(root)         non_lowercase_dir

The frames have the instruments both as index and as a column.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.health.bars import FIELDS, PRICES, REQUIRED, Bars
from qlib.collect.health.presence import Presence

INDEXES: Final = ("000300", "000903", "000905")  # they have no factor


def missing_data(bars: Bars, missing_data_num: int = 0) -> pd.DataFrame | None:
    """Return instruments of which a column lacks more than `missing_data_num` values while they were listed."""
    presence = Presence(bars)
    for low, high in bars.blocks():
        presence.look_at(low, bars.block(low, high))
    listed = presence.listed()
    lost = np.zeros((len(bars.names), len(REQUIRED)), np.int64)
    for low, high in bars.blocks():
        block = bars.block(low, high)
        for j, name in enumerate(REQUIRED):
            lacks = np.isnan(block[name]) if name in block else True
            lost[low:high, j] = (listed[low:high] & lacks).sum(axis=1)
    guilty = np.flatnonzero((lost > missing_data_num).any(axis=1))
    columns = dict(zip(REQUIRED, lost[guilty].T, strict=True))
    return _frame(bars.names[guilty], columns)


def large_steps(bars: Bars, price: float = 0.5, volume: float = 3.0) -> pd.DataFrame | None:
    """Return, by instrument and column, the first and the largest relative change above the threshold.

    Changes are between values that follow one another, missing ones left out; a change from 0 has no size.
    """
    rows: list[tuple[Any, ...]] = []
    for low, high in bars.blocks():
        block = bars.block(low, high)
        for name in REQUIRED:
            if name not in block:
                continue
            at = np.flatnonzero(~np.isnan(block[name]))
            row, column = np.divmod(at, len(bars.times))
            values = block[name].ravel()[at].astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                change = np.abs(values[1:] / values[:-1] - 1)
            limit = price if name in PRICES else volume
            hit = np.flatnonzero((np.diff(row) == 0) & (values[:-1] != 0) & (change > limit))
            guilty, first = np.unique(row[1:][hit], return_index=True)
            largest = np.maximum.reduceat(change[hit], first) if len(first) else change[:0]
            dates = bars.times[column[1:][hit[first]]]
            rows += [
                (bars.names[low + i], name, pd.Timestamp(date), float(most))
                for i, date, most in zip(guilty, dates, largest, strict=True)
            ]
    rows.sort(key=lambda one: (one[0], REQUIRED.index(one[1])))
    table = pd.DataFrame(rows, columns=["instruments", "col_name", "date", "pct_change"])
    return _frame(table.pop("instruments").to_numpy(object), {str(name): table[name].to_numpy() for name in table})


def required_columns(bars: Bars) -> pd.DataFrame | None:
    """Return instruments that lack one of open, high, low, close, volume."""
    lacks = ~bars.has[:, : len(REQUIRED)]
    guilty = np.flatnonzero(lacks.any(axis=1))
    missing = [[name for name, gone in zip(REQUIRED, lacks[i], strict=True) if gone] for i in guilty]
    return _frame(bars.names[guilty], {"missing_col": missing})


def missing_factor(bars: Bars) -> pd.DataFrame | None:
    """Return instruments without a factor, or with one that is missing throughout; the great indexes have none."""
    has = bars.has[:, FIELDS.index("factor")]
    empty = ~has
    for low, high in bars.blocks():
        block = bars.block(low, high)
        if "factor" in block:
            empty[low:high] |= np.isnan(block["factor"]).all(axis=1)
    asked = np.array([not any(code in str(name) for code in INDEXES) for name in bars.names], bool)
    guilty = np.flatnonzero(empty & asked)
    return _frame(bars.names[guilty], {"missing_factor_col": ~has[guilty], "missing_factor_data": empty[guilty]})


def upper_case_folders(root: Path) -> pd.DataFrame | None:
    """Return the folders of features whose names have upper-case letters: look-ups never find them."""
    folder = root / "features"
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    upper = [name for name in names if name != name.lower()]
    return pd.DataFrame({"non_lowercase_dir": upper}) if upper else None


def _frame(names: np.ndarray, columns: dict[str, Any]) -> pd.DataFrame | None:
    if not len(names):
        return None
    return pd.DataFrame({"instruments": list(names), **columns}, index=pd.Index(list(names), dtype=object))

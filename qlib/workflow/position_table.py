"""The positions of a backtest as one table, and back.

    frame = table_of(history)       None for a history that holds anything but packed positions
    history_of(frame)               the positions again, equal to the bit

    time        instrument  cash    now_account_value  layout  amount  price  weight  count_day
    2024-01-02  None        1000.0  3050.0             0       NaN     NaN    NaN     NaN          the account
    2024-01-02  A           NaN     NaN                0       100.0   20.5   0.67    3.0          what it holds
    2024-01-03  None        ...

`layout` tells which numbers there are: `frame.attrs["layouts"]` lists, for each, what the position was made with, the
account's numbers and those of a holding. So a number that is NaN differs from one that is not there.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.backtest.position import OWN_NUMBERS, PositionHistory

KIND: Final = "positions of a backtest"
FIXED: Final = ("time", "instrument", "layout")


def table_of(history: PositionHistory) -> pd.DataFrame | None:
    """Return one row per step (instrument None) and, below it, one per holding."""
    kept: dict[pd.Timestamp, Any] = history.__getstate__()["_kept"]
    if not kept or not all(isinstance(one, tuple) for one in kept.values()):
        return None
    layouts: dict[Any, int] = {}
    which = np.empty(len(kept), np.int32)
    counts = np.empty(len(kept), np.int64)
    for step, (own, special, names, keys, _) in enumerate(kept.values()):
        which[step] = layouts.setdefault((own, tuple(special), keys if names else ()), len(layouts))
        counts[step] = len(names)
    numbers = list(dict.fromkeys(key for _, _, keys in layouts for key in keys))
    if {*numbers} & {*FIXED, *OWN_NUMBERS}:
        return None
    step_rows = np.cumsum(counts + 1) - counts - 1
    step_of = np.repeat(np.arange(len(kept)), counts + 1)
    holding = np.ones(len(step_of), dtype=bool)
    holding[step_rows] = False
    instrument = np.full(len(step_of), None, dtype=object)
    instrument[holding] = [name for _, _, names, _, _ in kept.values() for name in names]
    frame = pd.DataFrame(
        {
            "time": pd.DatetimeIndex(list(kept)).take(step_of),
            "instrument": pd.Series(instrument, dtype=object),
            **{name: np.full(len(step_of), np.nan) for name in OWN_NUMBERS},
            "layout": which[step_of],
        }
    )
    for name in OWN_NUMBERS:
        values = [special.get(name, np.nan) for _, special, _, _, _ in kept.values()]
        column = frame[name].to_numpy().copy()
        column[step_rows] = values
        frame[name] = column
    columns = {name: np.full(len(step_of), np.nan) for name in numbers}
    for (_, _, keys), layout in layouts.items():
        packed = b"".join(one[4] for one, number in zip(kept.values(), which, strict=True) if number == layout)
        found = np.frombuffer(packed).reshape(-1, len(keys)) if keys else np.empty((0, 0))
        rows = np.flatnonzero(holding & (which[step_of] == layout))
        for at, key in enumerate(keys):
            columns[key][rows] = found[:, at]
    frame = pd.concat([frame, pd.DataFrame(columns, index=frame.index)], axis=1)
    frame.attrs = {"kind": KIND, "layouts": [[list(own), list(special), list(keys)] for own, special, keys in layouts]}
    return frame


def history_of(frame: pd.DataFrame) -> PositionHistory:
    """Return the positions that `table_of` made a table of."""
    layouts = [(tuple(own), special, tuple(keys)) for own, special, keys in frame.attrs["layouts"]]
    step_rows = np.flatnonzero(frame["instrument"].isna().to_numpy())
    ends = [*step_rows[1:], len(frame)]
    which = frame["layout"].to_numpy()[step_rows]
    times = list(pd.DatetimeIndex(frame["time"].iloc[step_rows]))
    own_numbers = {name: frame[name].to_numpy()[step_rows].tolist() for name in OWN_NUMBERS}
    instruments = frame["instrument"].to_numpy()
    tables = [np.column_stack([frame[key].to_numpy() for key in keys]) if keys else None for _, _, keys in layouts]
    kept: dict[pd.Timestamp, Any] = {}
    before: tuple[str, ...] = ()
    for step, (time, first, end) in enumerate(zip(times, step_rows + 1, ends, strict=True)):
        own, special, keys = layouts[which[step]]
        names = tuple(instruments[first:end])
        names = before = before if names == before else names  # one tuple for as long as the same names are held
        table = tables[which[step]]
        packed = b"" if table is None else table[first:end].tobytes()
        kept[time] = (own, {name: own_numbers[name][step] for name in special}, names, keys, packed)
    history = PositionHistory()
    history.__setstate__({"_kept": kept})
    return history

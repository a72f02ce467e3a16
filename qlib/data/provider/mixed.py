"""Bars of several sizes in one frame: hourly rows with what was known of the day, the week, the month.

    D.features(universe, {"60min": ["$close"], "day": ["Mean($close, 20)"]}, "2024-01-01", "2024-06-30")

The finest size is the clock: its rows are the rows of the frame. A row stands for what is known when its bar is over,
so it sees the last coarser bar that is over by then: the hour from 22:00 to 23:00 sees the day before, the hour from
23:00 to midnight sees its own day. `qlib.data.grid` says when a bar is over. No value is filled: where the coarser bar
is missing, so is the value.

Formulas of the coarser size run over its own bars, all history included that they look back on; they know members that
are not in the frame, and bars of an instrument from before it joined the universe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qlib.data.calendar import Calendar
from qlib.data.grid import Grid
from qlib.data.panel import Panel
from qlib.errors import InputError
from qlib.utils.time import Freq

if TYPE_CHECKING:
    from qlib.data.provider.facade import Provider


def seen(coarse: Calendar, fine: Calendar, grid: Grid) -> np.ndarray:
    """Return for every bar of `fine` the position of the last bar of `coarse` that is over when it is, -1 for none.

    >>> days = Calendar("day", pd.date_range("2024-01-01", periods=2))
    >>> hours = Calendar("60min", pd.date_range("2024-01-01 22:00", periods=3, freq="h"))
    >>> seen(days, hours, Grid.of())
    array([-1,  0,  0])
    """
    over = grid.ends(coarse.times, Freq(coarse.freq))
    now = grid.ends(fine.times, Freq(fine.freq))
    now = np.where(np.isnat(now), fine.times, now)
    over = over[~np.isnat(over)]  # the last bar may have no known end: it is not over
    return np.searchsorted(over, now, side="right") - 1


def mixed_features(
    provider: Provider,
    instruments: Any,
    fields: Mapping[str, Sequence[Any]],
    start_time: Any = None,
    end_time: Any = None,
    *,
    by_time: bool = False,
) -> pd.DataFrame:
    """Return formulas of several bar sizes on the rows of the finest one.

    Parameters
    ----------
    fields
        Bar size -> formulas over bars of that size.
    instruments, start_time, end_time, by_time
        As for `Provider.features`.

    Returns
    -------
    pandas.DataFrame
        float32; columns have two levels, the bar size as written and the formula.

    Raises
    ------
    InputError
        One bar size is written in two ways.
    """
    sizes = _sizes(fields)
    clock = min(sizes, key=lambda freq: Freq(freq).seconds)
    rows = provider.features(instruments, list(fields[clock]), start_time, end_time, freq=clock, by_time=by_time)
    fine = provider.locate(provider.store.stored_freq(clock))
    parts = {
        freq: rows if freq == clock else _beside(provider, instruments, rows.index, list(fields[freq]), freq, fine)
        for freq in sizes
    }
    return pd.concat(parts, axis=1)


def _sizes(fields: Mapping[str, Sequence[Any]]) -> list[str]:
    sizes = [str(freq) for freq in fields]
    if not sizes:
        raise InputError("fields: received an empty dict; bar sizes with formulas are allowed, as {'day': ['$close']}")
    for i, freq in enumerate(sizes):
        if Freq(freq) in [Freq(other) for other in sizes[:i]]:
            raise InputError(f"fields: received {', '.join(sizes)}; {freq} is there in another spelling already")
    return sizes


def _beside(
    provider: Provider, instruments: Any, index: Any, fields: list[Any], freq: str, fine: Calendar
) -> pd.DataFrame:
    """Return the formulas of a coarser size on the rows of an index over `fine`."""
    names, times = (index.names.index(name) for name in ("instrument", "datetime"))
    block = np.full((len(fields), len(index)), np.nan, dtype=np.float32)
    coarse = provider.locate(provider.store.stored_freq(freq))
    settings = provider.settings
    shown = fine.times if Freq(fine.freq).intraday else None
    grid = Grid.of(settings.region.sessions, settings["min_data_shift"], shown)
    of_time = seen(coarse, fine, grid)[np.searchsorted(fine.times, index.levels[times].to_numpy("datetime64[ns]"))]
    used = of_time[of_time >= 0]
    if len(used):
        low, high = int(used.min()), int(used.max())
        across = provider.looks_across(fields)
        # Who is compared with whom is the same as in a query of that size alone.
        spans = (
            provider.list_instruments(instruments, freq=freq) if across and isinstance(instruments, Mapping) else None
        )
        asked = spans or instruments if across else index.levels[names]
        panel, _ = provider.panel(list(asked), fields, coarse.times[low], coarse.times[high], freq=freq, members=spans)
        place, there = _rows(panel, index.levels[names], index.codes[names], (of_time - low)[index.codes[times]])
        for j, text in enumerate(map(str, fields)):
            block[j, there] = panel.columns[text][place]
    return pd.DataFrame(block.T, index=index, columns=pd.Index(list(map(str, fields))), copy=False)


def _rows(panel: Panel, names: pd.Index, of_name: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a panel at (instrument, position) pairs, and which of the pairs have one (bool)."""
    owner = pd.Index(panel.instruments).get_indexer(names)[of_name]
    lengths = panel.lengths()
    if not len(lengths):
        return np.empty(0, np.int64), np.zeros(len(of_name), dtype=bool)
    row = position - panel.first[owner]
    there = (owner >= 0) & (position >= 0) & (row >= 0) & (row < lengths[owner])
    return (panel.start[owner] + row)[there], there

"""The bars of one symbol as a store keeps them: on the grid, with what was known when each was over.

    [bars] = bars_of(klines, NEVER, Freq("1H"), times, made)          all of it
    [bars] = bars_of(klines, since, Freq("1H"), times, made)          the bars from `since` (ms) on

What belongs to which bar is told in qlib/collect/convert.py.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from qlib.collect.coverage import inside, union
from qlib.collect.decimals import roomy, scaled, unscaled
from qlib.collect.klines import PLAIN, Klines, freq_of
from qlib.collect.source import Series
from qlib.collect.sources import Bars, checked
from qlib.data.grid import Grid
from qlib.errors import InputError
from qlib.utils.time import Freq

NEVER: Final = -(2**62)  # ms; long before the first bar of all


def bars_of(entry: Klines, since: int, size: Freq, times: np.ndarray, made: dict[str, list[int]]) -> list[Bars]:
    """Return the bars of a symbol from `since` on; bars off the grid are among them.

    Parameters
    ----------
    times
        The grid: the opening of every bar, int64 ms.
    made
        Gets [bars read, payments of funding, bars with several] under the symbol.
    """
    first, last = entry.note["first"], entry.note["last"]
    step = 1000 * size.seconds + (0 if size.intraday else 3 * 86_400_000)  # months differ
    start = None if since == NEVER else max(since, first) - step
    candles = entry.read(entry.candles, start, last + 1)  # a collector may be at work
    low = times.searchsorted(first if start is None else max(start, first))
    opens = times[low : times.searchsorted(last, "right")]
    ends = Grid.of().ends(opens.astype("M8[ms]").astype("M8[ns]"), size).astype("M8[ms]").astype(np.int64)
    ts = candles["ts"].to_numpy()
    at = opens.searchsorted(ts)
    on_grid = np.isin(ts, opens)
    columns = {name: _placed(candles[name].to_numpy(np.float64), at, on_grid, len(opens)) for name in PLAIN}
    columns["change"] = columns["close"] / np.concatenate([[np.nan], columns["close"][:-1]]) - 1
    columns["factor"] = np.where(np.isnan(columns["close"]), np.nan, 1.0)
    columns["paused"] = _placed(1.0 - candles["traded"].to_numpy(np.float64), at, on_grid, len(opens))
    counted = [len(ts), 0, 0]
    if entry.others["funding"]:
        series = entry.others["funding"][0]
        paid = entry.read(series, start)
        stamps, rates = paid["ts"].to_numpy(), paid["rate"].to_numpy()
        known = entry.known(series) if entry.bar_store else _between(stamps, opens, ends)
        columns["funding"], columns["funding_count"] = funding_of(stamps, rates, opens, ends, known)
        counted[1:] = [int(np.nansum(columns["funding_count"])), int((columns["funding_count"] > 1).sum())]
    for name, value in (("mark", "close"), ("oi", "oi_base")):
        if entry.others[name]:
            columns[name] = _at_end(entry, entry.others[name], value, ends, start)
    made[entry.symbol] = counted
    if since != NEVER:
        kept = opens >= since
        opens, columns = opens[kept], {name: values[kept] for name, values in columns.items()}
    off = candles[~on_grid]
    check_whole(off["ts"].to_numpy(), entry)
    if since != NEVER:
        off = off[off["ts"] >= since]
    values = np.array([columns[name] for name in entry.note["fields"]])
    extra = np.array([_of(off, name) for name in entry.note["fields"]]).reshape(len(values), len(off))
    seconds = np.concatenate([opens, off["ts"].to_numpy()])
    values = np.concatenate([values, extra], axis=1)
    values[np.isnan(values)] = np.nan  # one NaN, bit for bit
    with np.errstate(over="ignore"):
        exact, values = values, values.astype(np.float32)
    if (np.isinf(values) & np.isfinite(exact)).any():
        raise InputError(f"{entry.symbol}: a value of {exact[np.isinf(values)][0]:g} is too large for float32")
    moments = seconds.astype("M8[ms]").astype("M8[s]")
    return [
        checked(entry.symbol, f"{entry.candles.bar} of {entry.symbol}", moments, entry.note["fields"], values, size)
    ]


def check_whole(ts: np.ndarray, entry: Klines) -> None:
    """Raise InputError for a bar that opens between two seconds, which no calendar holds."""
    if len(odd := ts[ts % 1000 != 0]):
        raise InputError(f"{entry.symbol}: a bar opens at {odd[0]} ms; bars open at whole seconds")


def _of(frame: pd.DataFrame, name: str) -> np.ndarray:
    return frame[name].to_numpy(np.float64) if name in frame else np.full(len(frame), np.nan)


def _placed(values: np.ndarray, at: np.ndarray, on_grid: np.ndarray, length: int) -> np.ndarray:
    placed = np.full(length, np.nan)
    placed[at[on_grid]] = values[on_grid]
    return placed


def funding_of(
    ts: np.ndarray, rate: np.ndarray, opens: np.ndarray, ends: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of the rates paid in each bar [open, end), and how many there were.

    Parameters
    ----------
    ts, rate
        When payments were made (int64 ms, ascending), and their rates; NaN: not known.
    opens, ends
        The bars, int64 ms, ascending.
    known
        Ranges [start, end) of which every payment is known; a bar that is not wholly inside one is NaN twice.

    >>> opens, known = np.arange(0, 40, 10), np.array([[0, 30]])
    >>> paid, count = funding_of(np.array([0, 10, 19]), np.array([0.1, 0.1, 0.2]), opens, opens + 10, known)
    >>> paid.tolist(), count.tolist()
    ([0.1, 0.3, nan, nan], [1.0, 2.0, 0.0, nan])
    """
    whole = _wholly(known, opens, ends)
    low, high = ts.searchsorted(opens), ts.searchsorted(ends)
    count = np.where(whole, high - low, np.nan)
    odd = np.isnan(rate)
    counts, digits = scaled(np.where(odd, 0.0, rate))
    sums = np.concatenate([[0], np.cumsum(roomy(counts))])
    lost = np.concatenate([[0], np.cumsum(odd)])
    paid = unscaled(sums[high] - sums[low], digits)
    there = whole & (high > low) & (lost[high] == lost[low])
    return np.where(there, paid, np.nan), count


def _between(ts: np.ndarray, opens: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the range from the first bar with a payment to the last: a CSV file does not say what was asked for."""
    low, high = opens.searchsorted(ts[[0, -1]], "right") - 1 if len(ts) else (0, -1)
    return union([[opens[max(low, 0)], ends[high]]] if high >= 0 else [[0, 0]])


def _wholly(known: np.ndarray, opens: np.ndarray, ends: np.ndarray) -> np.ndarray:
    if not len(known):
        return np.zeros(len(opens), bool)
    at = np.searchsorted(known[:, 0], opens, "right") - 1
    return inside(known, opens) & (ends <= known[np.maximum(at, 0), 1])


def _at_end(entry: Klines, own: list[Series], value: str, ends: np.ndarray, start: int | None) -> np.ndarray:
    """Return what a mark price or open interest was when each bar was over, from bars of any size that end then."""
    found = np.full(len(ends), np.nan)
    for series in sorted(own, key=lambda one: (one.bar != entry.candles.bar, freq_of(str(one.bar)).seconds)):
        size = freq_of(str(series.bar))
        back = 1000 * size.seconds + (0 if size.intraday else 3 * 86_400_000)
        rows = entry.read(series, None if start is None else start - back)
        stamps = rows["ts"].to_numpy().astype("M8[ms]").astype("M8[ns]")
        over = Grid.of().ends(stamps, size).astype("M8[ms]").astype(np.int64)
        at = over.searchsorted(ends)
        there = (at < len(over)) & np.isnan(found)
        there[there] &= over[at[there]] == ends[there]
        found[there] = rows[value].to_numpy(np.float64)[at[there]]
    return found

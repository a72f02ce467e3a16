"""The bars of one symbol as a store keeps them: on the grid, with what was known when each was over.

    [bars] = bars_to_store(klines, NEVER, Freq("1h"), times, made)          all of it
    [bars] = bars_to_store(klines, since, Freq("1h"), times, made)          the bars from `since` (ms) on

What belongs to which bar is told in qlib/collect/convert.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import numpy as np
import pandas as pd

from qlib.collect.coverage import inside, union
from qlib.collect.decimals import roomy, scaled, unscaled
from qlib.collect.klines import ALWAYS, PLAIN, Klines, freq_of
from qlib.collect.source import Series
from qlib.collect.sources import Bars, checked
from qlib.data.grid import Grid
from qlib.errors import InputError
from qlib.utils.time import Freq

NEVER: Final = -(2**62)  # ms; long before the first bar of all


def bars_to_store(entry: Klines, since: int, size: Freq, times: np.ndarray, made: dict[str, list[int]]) -> list[Bars]:
    """Return the bars of a symbol from `since` (ms) on; bars off the grid are among them.

    Parameters
    ----------
    times
        The grid: the opening of every bar, int64 ms.
    made
        Gets [bars read, payments of funding, bars with several] under the symbol.
    """
    opens, columns, off = _columns(entry, since, size, times, made)
    here = opens >= since
    fields = entry.note["fields"]
    strange = [off[name].to_numpy(np.float64) if name in off else np.full(len(off), np.nan) for name in fields]
    values = np.array([np.concatenate([columns[name][here], more]) for name, more in zip(fields, strange, strict=True)])
    return [_checked(entry, entry.symbol, np.concatenate([opens[here], off["ts"].to_numpy()]), fields, values, size)]


class Actions(Protocol):
    """What happened to names and units, told by a layer that knows such things (`qlib.crypto.actions`)."""

    @property
    def digest(self) -> str: ...

    def groups(self, symbols: Iterable[str]) -> list[list[str]]: ...

    def strangers(self, symbols: Iterable[str]) -> list[str]: ...

    def apply(self, bars: pd.DataFrame, *, freq: Freq, until: int) -> pd.DataFrame: ...


def acted_bars(
    entries: list[Klines],
    size: Freq,
    times: np.ndarray,
    made: dict[str, list[int]],
    actions: Actions,
    spans: dict[str, tuple[int, int]],
) -> list[Bars]:
    """Return all bars of symbols that share assets, by asset; bars off the grid under the symbols that they came with.

    `spans` gets, for each asset, its first bar and until when it was listed, ms.
    """
    frames, strange = [], []
    for entry in entries:
        opens, columns, off = _columns(entry, NEVER, size, times, made)
        index = pd.MultiIndex.from_product([[entry.symbol], opens.astype("M8[ms]")], names=["instrument", "datetime"])
        frames.append(pd.DataFrame({name: columns[name] for name in entry.note["fields"]}, index))
        if len(off):
            fields = [name for name in entry.note["fields"] if name in off]
            values = off[fields].to_numpy(np.float64).T
            strange.append(_checked(entry, entry.symbol, off["ts"].to_numpy(), fields, values, size))
    fields = [name for name in dict.fromkeys(name for frame in frames for name in frame)]
    found = actions.apply(pd.concat(frames)[fields], freq=size, until=int(times[-1]))
    bars = []
    for name, own in found.groupby(level="instrument", sort=True):
        ts = own.index.get_level_values("datetime").to_numpy("M8[ms]").astype(np.int64)
        last = [entry.note["listed_until"] for entry in entries if entry.note["last"] == ts[-1]]
        spans[str(name)] = int(ts[0]), max(last, default=int(ts[-1]))
        there = [one for one in fields if one in ALWAYS or own[one].notna().any()]
        bars.append(_checked(entries[0], str(name), ts, there, own[there].to_numpy(np.float64).T, size))
    return bars + strange


def _checked(entry: Klines, name: str, ts: np.ndarray, fields: list[str], values: np.ndarray, size: Freq) -> Bars:
    where = f"{entry.candles.bar} of {name}"
    return checked(name, where, ts.astype("M8[ms]").astype("M8[s]"), fields, _single(values, where), size)


def _columns(
    entry: Klines, since: int, size: Freq, times: np.ndarray, made: dict[str, list[int]]
) -> tuple[np.ndarray, dict[str, np.ndarray], pd.DataFrame]:
    """Return openings, fields in float64, and the candles off the grid, from one bar before `since` on."""
    first, last = entry.note["first"], entry.note["last"]
    step = 1000 * size.seconds + (0 if size.intraday else 3 * 86_400_000)  # months differ
    start = None if since == NEVER else max(since, first) - step  # one bar more, for `change`
    candles = entry.read(entry.candles, start, last + 1)  # not what a collector at work adds meanwhile
    low = times.searchsorted(first if start is None else max(start, first))
    opens = times[low : times.searchsorted(last, "right")]
    on_grid = np.isin(candles["ts"].to_numpy(), opens)
    columns = _prices(candles[on_grid], opens)
    columns |= _joined(entry, start, opens, _ends(opens, size))
    count = columns.get("funding_count", np.empty(0))
    made[entry.symbol] = [len(candles), int(np.nansum(count)), int((count > 1).sum())]
    off = candles[~on_grid & (candles["ts"] >= since).to_numpy()]
    check_whole(off["ts"].to_numpy(), entry)
    return opens, columns, off


def _prices(candles: pd.DataFrame, opens: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fields that come from candles; NaN at openings without one."""
    at = opens.searchsorted(candles["ts"].to_numpy())
    columns = {}
    for name in (*PLAIN, "traded"):
        columns[name] = np.full(len(opens), np.nan)
        columns[name][at] = candles[name].to_numpy(np.float64)
    close = columns["close"]
    columns["change"] = close / np.concatenate([[np.nan], close[:-1]]) - 1
    columns["factor"] = np.where(np.isnan(close), np.nan, 1.0)
    columns["paused"] = 1.0 - columns.pop("traded")
    return columns


def _joined(entry: Klines, start: int | None, opens: np.ndarray, ends: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fields that come from other series."""
    columns = {}
    for series in entry.others["funding"]:
        paid = entry.read(series, start)
        ts, rate = paid["ts"].to_numpy(), paid["rate"].to_numpy()
        known = entry.known(series) if entry.bar_store else _between(ts, opens, ends)
        columns["funding"], columns["funding_count"] = funding_of(ts, rate, opens, ends, known)
    for name, value in (("mark", "close"), ("index", "close"), ("oi", "oi_base")):
        if entry.others[name]:
            columns[name] = _at_end(entry, entry.others[name], value, ends, start)
    return columns


def _single(values: np.ndarray, where: str) -> np.ndarray:
    """Return values as a store holds them, with one kind of NaN, bit for bit."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if (lost := np.isinf(single) & np.isfinite(values)).any():
        raise InputError(f"{where}: a value of {values[lost][0]:g} is too large for float32")
    single[np.isnan(single)] = np.nan
    return single


def _ends(opens: np.ndarray, size: Freq) -> np.ndarray:
    """Return when bars are over, int64 ms."""
    return Grid.of().ends(opens.astype("M8[ms]").astype("M8[ns]"), size).astype("M8[ms]").astype(np.int64)


def check_whole(ts: np.ndarray, entry: Klines) -> None:
    """Raise InputError for a bar that opens between two seconds, which no calendar holds."""
    if len(odd := ts[ts % 1000 != 0]):
        raise InputError(f"{entry.symbol}: a bar opens at {odd[0]} ms; bars open at whole seconds")


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
        over = _ends(rows["ts"].to_numpy(), size)
        at = over.searchsorted(ends)
        there = (at < len(over)) & np.isnan(found)
        there[there] &= over[at[there]] == ends[there]
        found[there] = rows[value].to_numpy(np.float64)[at[there]]
    return found

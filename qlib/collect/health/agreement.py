"""Do the bars of two frequencies agree: is an hour the sum of its four quarters?

open = the first part's, high = the highest, low = the lowest, close = the last part's, volume = the sum

Only bars of which every part is there are compared: what a bar was made of is unknown where a part is missing, and the
missing part is a finding of its own.
"""

from __future__ import annotations

import numpy as np

from qlib.collect.health.bars import REQUIRED, Bars
from qlib.collect.health.report import Findings
from qlib.utils.time import Freq


def divides(fine: Bars, coarse: Bars) -> bool:
    """Tell whether bars of `coarse` are put together from bars of `fine`."""
    small, large = Freq(fine.freq), Freq(coarse.freq)
    if large.base in (Freq.NORM_FREQ_WEEK, Freq.NORM_FREQ_MONTH):
        return False
    return small.seconds < large.seconds and large.seconds % small.seconds == 0


def check_agreement(fine: Bars, coarse: Bars) -> tuple[Findings, int]:
    """Return the bars of `coarse` that disagree with their parts, and how many bars were compared."""
    found, compared = Findings(str(Freq(coarse.freq))), 0
    number = {name: i for i, name in enumerate(coarse.names)}
    pairs = [(i, number[name]) for i, name in enumerate(fine.names) if name in number]
    fields: list[str] = [name for name in REQUIRED if name in fine.fields and name in coarse.fields]
    parts = _Parts(fine, coarse)
    if not pairs or not fields or not len(parts.begin):
        return found, 0
    relative = max(fine.relative, coarse.relative)
    # Both sides are in order of names, so a block of one is a block of the other, or near it.
    step = max(1, next(iter(fine.blocks()))[1])
    for low in range(0, len(pairs), step):
        some = pairs[low : low + step]
        small = _take(fine, [i for i, _ in some])
        large = _take(coarse, [j for _, j in some])
        names = coarse.names[[j for _, j in some]]
        compared += _compare(found, names, coarse.times, parts, small, large, fields, relative, fine.freq)
    return found, compared


class _Parts:
    """Which fine bars make which coarse bar: fine[begin:end] make coarse[at]."""

    def __init__(self, fine: Bars, coarse: Bars) -> None:
        length = np.timedelta64(Freq(coarse.freq).seconds, "s")
        home = np.searchsorted(coarse.times, fine.times, "right") - 1
        inside = home >= 0
        if coarse.always_open or not Freq(coarse.freq).intraday:
            inside &= fine.times - coarse.times[np.maximum(home, 0)] < length
        else:  # a bar of trading minutes may span the break, but never the night
            day = fine.times.astype("datetime64[D]") == coarse.times[np.maximum(home, 0)].astype("datetime64[D]")
            inside &= day
        self.keep = np.flatnonzero(inside)
        home = home[self.keep]
        begin = np.flatnonzero(np.diff(home, prepend=-1))
        count = np.diff(np.append(begin, len(home)))
        whole = count == Freq(coarse.freq).seconds // Freq(fine.freq).seconds
        if not coarse.always_open and len(count):  # half a day is a day too, unless the data begin or end within it
            whole = np.ones(len(count), bool)
            whole[[0, -1]] = count[[0, -1]] >= count.max()
        self.begin, self.at, self.whole = begin, home[begin], whole
        self.end = begin + count


def _take(bars: Bars, rows: list[int]) -> dict[str, np.ndarray]:
    """Return the block of some instruments, in the order asked for."""
    low, high = min(rows), max(rows) + 1
    block = bars.block(low, high)
    if rows == list(range(low, high)):
        return block
    return {name: values[[row - low for row in rows]] for name, values in block.items()}


def _compare(
    found: Findings,
    names: np.ndarray,
    times: np.ndarray,
    parts: _Parts,
    small: dict[str, np.ndarray],
    large: dict[str, np.ndarray],
    fields: list[str],
    relative: float,
    freq: str,
) -> int:
    known = "close" if "close" in fields else fields[0]
    there = ~np.isnan(small[known][:, parts.keep])
    judged = np.logical_and.reduceat(there, parts.begin, axis=1) & parts.whole
    judged &= ~np.isnan(large[known][:, parts.at])
    differs: dict[str, np.ndarray] = {}
    for name in fields:
        values = small[name][:, parts.keep]
        if name == "open":
            made = values[:, parts.begin]
        elif name == "close":
            made = values[:, parts.end - 1]
        elif name == "volume":
            made = np.add.reduceat(values.astype(np.float64), parts.begin, axis=1)
        else:
            made = (np.maximum if name == "high" else np.minimum).reduceat(values, parts.begin, axis=1)
        told = large[name][:, parts.at].astype(np.float64)
        made = made.astype(np.float64)
        with np.errstate(invalid="ignore"):
            differs[name] = judged & (np.abs(made - told) > relative * np.maximum(np.abs(made), np.abs(told)))
    wrong = np.logical_or.reduce(list(differs.values()))
    for_all = np.zeros((len(names), len(times)), bool)
    for_all[:, parts.at] = wrong
    place = np.zeros(len(times), np.int64)
    place[parts.at] = np.arange(len(parts.at))

    def detail(row: np.ndarray, column: np.ndarray) -> list[str]:
        told = []
        for i, t in zip(row, place[column], strict=True):
            told.append(f"{', '.join(name for name in fields if differs[name][i, t])} unlike its {freq} bars")
        return told

    found.add_bars("disagreement", names, times, for_all, detail=detail)
    return int(judged.sum())

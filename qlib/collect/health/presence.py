"""Which bars are missing, and why.

    listed     ....#########################....      from the instruments file, else first to last bar
    has a bar  .....####.##  ####~~~~####............
                    |   |  |     |       '-- truncated: the listing goes on
                    |   |  |     '---------- outage (flat without volume, most instruments) or halt (this one)
                    |   |  '---------------- dark: no listed instrument has this bar of the calendar
                    |   '------------------- hole
                    '----------------------- first bar

`Presence` keeps one byte a cell, so that what instruments share can be told before any one of them is blamed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.health.bars import PRICES, Bars
from qlib.collect.health.report import EVERYBODY, Findings
from qlib.collect.health.rules import Rules
from qlib.utils.time import Freq

_BAR: Final = np.uint8(1)
_FLAT: Final = np.uint8(2)  # open = high = low = close, no volume
_DAY: Final = np.timedelta64(86400 * 10**9, "ns")
_SHOWN: Final = 3


class Presence:
    """The bars of one frequency, as what is there; filled block by block.

    Parameters
    ----------
    bars
        Where the values come from.
    """

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.state = np.zeros((len(bars.names), len(bars.times)), np.uint8)

    def look_at(self, low: int, block: dict[str, np.ndarray]) -> np.ndarray:
        """Take in one block, which begins with instrument `low`; return where it has bars: where any price is."""
        there = np.zeros((len(next(iter(block.values()))), self.state.shape[1]), bool)
        for name in [name for name in PRICES if name in block] or block:
            there |= ~np.isnan(block[name])
        state = self.state[low : low + len(there)]
        state |= there
        if "volume" in block and all(name in block for name in PRICES):
            idle = block["volume"] == 0
            for name in ("open", "high", "low"):
                idle &= block[name] == block["close"]
            state[idle] |= _FLAT
        return there

    def find(self, rules: Rules) -> tuple[Findings, dict[str, Any]]:
        """Return findings, and the line of the coverage table."""
        bars, found = self.bars, Findings(str(Freq(self.bars.freq)))
        there = (self.state & _BAR).astype(bool)
        some, first, last = self._ends(there)
        found.add("no data", bars.names[~some], detail="not one bar")
        listed = self._life(first, last)
        alive, present = listed.sum(axis=0), (there & listed).sum(axis=0)
        strange = self._strangers(found, rules, there, alive, present)
        dark = (present == 0) & (alive > 1)
        self._market_wide(found, "dark", dark, alive)
        short = self._truncated(found, rules, first, last, listed)
        missing = listed & ~there
        missing[:, strange | dark] = False
        missing &= ~short
        few = missing.sum(axis=1) <= rules.missing_data_num
        missing[few] = False
        found.add_bars("hole", bars.names, bars.times, missing)
        found.add_bars("not listed", bars.names, bars.times, there & ~listed)
        idle = self._idle(found, rules, there & listed, present)
        coverage = {
            "freq": found.freq,
            "instruments": int(some.sum()),
            "first": bars.times[0] if len(bars.times) else np.datetime64("NaT"),
            "last": bars.times[-1] if len(bars.times) else np.datetime64("NaT"),
            "bars": int(there.sum()),
            "not listed": int((~listed & ~there).sum()),
            "outage": idle,
            "dark": int((listed[:, dark] & ~there[:, dark]).sum()),
            "gap": 0 if len(bars.names) == 1 else bars.absent,
            "hole": int(missing.sum()) + (bars.absent if len(bars.names) == 1 else 0),
            "truncated": found.bars("truncated"),
        }
        return found, coverage

    def listed(self) -> np.ndarray:
        """Return where the instruments are listed (bool, instruments x times)."""
        return self._life(*self._ends((self.state & _BAR).astype(bool))[1:])

    def _ends(self, there: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return which instruments have a bar, and their first and last position."""
        if not there.shape[1]:
            return np.zeros(len(there), bool), np.zeros(len(there), np.int64), np.full(len(there), -1)
        some: np.ndarray = np.any(there, axis=1)
        first = np.where(some, there.argmax(axis=1), 0)
        return some, first, np.where(some, there.shape[1] - 1 - there[:, ::-1].argmax(axis=1), -1)

    def _life(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return where the instruments are listed: by their spans, else from their first bar to their last."""
        bars, width = self.bars, len(self.bars.times)
        row, start, stop = np.arange(len(first)), first, last
        if bars.spans is not None and width:
            given, day = bars.spans, bars.times.astype("datetime64[D]")
            own_first, own_last = first[given.row], np.maximum(last[given.row], 0)
            begin, end = np.minimum(given.first, width - 1), np.maximum(given.last, 0)
            late = given.from_day & (own_first > begin) & (day[own_first] == day[begin])
            soon = given.to_day & (own_last < end) & (day[own_last] == day[end])
            unknown = np.setdiff1d(row, given.row)
            row = np.concatenate([given.row, unknown])
            start = np.concatenate([np.where(late, own_first, given.first), first[unknown]])
            stop = np.concatenate([np.where(soon, own_last, given.last), last[unknown]])
        edges = np.zeros((len(first), width + 1), np.int8)
        real = stop >= start
        np.add.at(edges, (row[real], start[real]), 1)
        np.add.at(edges, (row[real], stop[real] + 1), -1)
        return np.cumsum(edges, axis=1, dtype=np.int8)[:, :width] > 0

    def _strangers(
        self, found: Findings, rules: Rules, there: np.ndarray, alive: np.ndarray, present: np.ndarray
    ) -> np.ndarray:
        """Find the times at which hardly any of the listed instruments has a bar, though as a rule most do."""
        share = present / np.maximum(alive, 1)
        usual = np.median(share[alive > 0]) if (alive > 0).any() else 0.0
        strange = (alive >= rules.enough) & (present > 0) & (share <= rules.hardly_any)
        if usual < 0.5:
            strange[:] = False
        at = np.flatnonzero(strange)
        names = [self.bars.names[there[:, t]] for t in at]
        detail = [
            f"{len(own)} of {alive[t]}: {', '.join(own[:_SHOWN])}{' ...' if len(own) > _SHOWN else ''}"
            for t, own in zip(at, names, strict=True)
        ]
        found.add("stranger", [EVERYBODY] * len(at), first=self.bars.times[at], bars=1, detail=detail)
        return strange

    def _market_wide(self, found: Findings, kind: str, marked: np.ndarray, of: np.ndarray) -> None:
        found.add_bars(
            kind,
            np.array([EVERYBODY], object),
            self.bars.times,
            marked[None, :],
            detail=lambda _, at: [f"{of[t]} instruments" for t in at],
        )

    def _truncated(
        self, found: Findings, rules: Rules, first: np.ndarray, last: np.ndarray, listed: np.ndarray
    ) -> np.ndarray:
        """Find series that end before their listing does; return the bars that they lack by their listing.

        Where the instruments file says so, that is plain. Where nobody knows (a file, or a store whose listing was
        made from the files), series that end with the very same bar, long before the data do, were cut by whoever
        fetched them; so were those that end around the same day of several years, as pages of a fixed length do.
        """
        bars, times = self.bars, self.bars.times
        width, lacking = len(times), np.zeros_like(listed)
        if not width:
            return lacking
        end = np.where(listed.any(axis=1), width - 1 - listed[:, ::-1].argmax(axis=1), -1)
        cut = (end > last) & (last >= first)
        for i in np.flatnonzero(cut):
            lacking[i, last[i] + 1 :] = listed[i, last[i] + 1 :]
        enough = lacking.sum(axis=1) > rules.missing_data_num
        lacking[~enough] = False
        cut &= enough
        told = np.flatnonzero(cut)
        found.add(
            "truncated", bars.names[told], first=times[np.minimum(last[told] + 1, width - 1)], last=times[end[told]],
            bars=lacking[told].sum(axis=1), detail="the instruments file lists it until then",
        )  # fmt: skip
        early = (width - 1 - last > rules.early) & (times[-1] - times[last] > _DAY) & (last >= first) & ~cut
        group, size = _same_end(times[last], early, Freq(bars.freq))
        shared = early & (size >= max(rules.together, rules.together_share * len(last)))
        at = np.flatnonzero(shared)
        found.add(
            "truncated", bars.names[at], first=times[np.minimum(last[at] + 1, width - 1)], last=times[-1],
            bars=width - 1 - last[at], detail=[f"{size[i]} series {group[i]}, the data go on" for i in at],
        )  # fmt: skip
        if bars.spans is None:
            alone = np.flatnonzero(early & ~shared)
            found.add("ended", bars.names[alone], first=times[last[alone]], bars=width - 1 - last[alone])
        return lacking

    def _idle(self, found: Findings, rules: Rules, there: np.ndarray, present: np.ndarray) -> int:
        """Find flat bars without volume, shared by most instruments or not; return how many were shared."""
        bars = self.bars
        flat = (self.state & _FLAT).astype(bool) & there
        count = flat.sum(axis=0)
        down = (count > 1) & (count >= rules.most * present)
        row = np.array([EVERYBODY], object)
        found.add_bars(
            "outage", row, bars.times, down[None, :], detail=lambda _, at: [f"{count[t]} of {present[t]}" for t in at]
        )
        found.add_bars("halt", bars.names, bars.times, flat & ~down)
        return int(count[down].sum())


def _same_end(end: np.ndarray, early: np.ndarray, freq: Freq) -> tuple[np.ndarray, np.ndarray]:
    """Return for every series in words how its end is shared, and by how many that end early."""
    words, size = np.full(len(end), "", object), np.zeros(len(end), np.int64)
    if not early.any():
        return words, size
    moments, place, count = np.unique(end[early], return_inverse=True, return_counts=True)
    size[early] = count[place.ravel()]
    form = "%Y-%m-%d %H:%M" if freq.intraday else "%Y-%m-%d"
    words[early] = pd.DatetimeIndex(moments).strftime("end on " + form).to_numpy(object)[place.ravel()]
    if freq.intraday:
        return words, size
    # Pages of a fixed number of days end on the same day of every year; a leap year moves it by one.
    day = pd.DatetimeIndex(end)
    of_year = day.day_of_year.to_numpy() - (day.is_leap_year & (day.month > 2)).astype(int)
    for number in np.unique(of_year[early]):
        apart = np.abs(of_year - number)
        near = early & (np.minimum(apart, 365 - apart) <= 1)
        if len(np.unique(day.year[near])) > 1 and near.sum() > size[near].max():
            size[near] = np.maximum(size[near], near.sum())
            example = day[early & (of_year == number)][0]
            words[near] = f"end around {example.day} {example:%B} of several years"
    return words, size

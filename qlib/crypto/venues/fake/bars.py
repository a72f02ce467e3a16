"""Bars of one series as the venue keeps them: names, opening times, what is visible now, bigger bars from smaller ones.

    size("1H").open(1747094045000)        1747094400000 - 3600000, the bar that is forming at that moment
    size("1D").open(...)                  opens at 16:00 UTC (midnight in UTC+8); "1Dutc" opens at midnight UTC

    Bars(size, {"ts": ..., "open": ..., ...})     rows ascending; `ts` is the OPEN time, int64 milliseconds UTC
    bars.seen(now)                        how many rows exist at `now`; the last of them may still be forming
    bars.bigger(size("4H"))               aggregated; a bar without any smaller bar in it does not exist

Nothing here is shared with the dialect that reads the venue: two readings of one fact sheet check each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from qlib.errors import InputError, did_you_mean

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
_UNIT: Final = {"s": 1000, "m": MINUTE, "H": HOUR, "D": DAY, "W": 7 * DAY}
_EAST: Final = -8 * HOUR  # bars of six hours and more open at midnight in UTC+8, which is 16:00 UTC
_MONDAY: Final = 4 * DAY  # 1970-01-05, the first Monday

_SHORT: Final = ("1m", "3m", "5m", "15m", "30m", "1H", "2H", "4H")
_LONG: Final = ("6H", "12H", "1D", "2D", "3D", "5D", "1W", "1M", "3M")
NAMES: Final = ("1s", *_SHORT, *_LONG, *(f"{name}utc" for name in _LONG))
CANDLES: Final = frozenset(name for name in NAMES if not name.startswith("5D"))
_MARKED: Final = ("6H", "12H", "1D", "1W", "1M")
MARKED: Final = frozenset((*_SHORT, *_MARKED, *(f"{name}utc" for name in _MARKED)))  # mark and index know fewer
PERIODS: Final = frozenset(name for name in NAMES if name not in {"1s", "1m", "3m"})  # of open interest

PRICES: Final = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Size:
    """How long a bar is and where it begins: `step` ms from `shift`, or `months` calendar months (then step is 0)."""

    name: str
    step: int
    months: int
    shift: int

    def open(self, ts: np.ndarray) -> np.ndarray:
        """Opening times of the bars that hold the moments `ts` (ms), as int64 ms."""
        if not self.months:
            return (ts - self.shift) // self.step * self.step + self.shift
        month = (ts - self.shift).astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
        return _month_start(month // self.months * self.months) + self.shift

    def end(self, opened: int) -> int:
        """The moment (ms) at which the bar that opened at `opened` is finished."""
        if not self.months:
            return opened + self.step
        month = int(np.datetime64(opened - self.shift, "ms").astype("datetime64[M]").astype(np.int64))
        return int(_month_start(np.array(month + self.months))) + self.shift

    def fits(self, bigger: Size) -> bool:
        """True if bars of `bigger` are made of whole bars of this size."""
        if self.months or not self.step:
            return False
        whole = bigger.step if not bigger.months else DAY
        return whole % self.step == 0 and (bigger.shift - self.shift) % self.step == 0


def _month_start(month: np.ndarray) -> np.ndarray:
    return month.astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)


def size(name: str) -> Size:
    """Read the name of a bar as the venue spells it.

    >>> int(size("1D").open(np.array(1_700_000_000_000))) % DAY == 16 * HOUR
    True
    >>> int(size("1Mutc").open(np.array(1_700_000_000_000))) == 1_698_796_800_000
    True
    >>> size("1h")
    Traceback (most recent call last):
    qlib.errors.InputError: '1h' is not a bar of this venue; did you mean 1H?
    """
    if name not in NAMES:
        raise InputError(f"{name!r} is not a bar of this venue{did_you_mean(name, NAMES)}")
    count, unit, utc = re.fullmatch(r"(\d+)([smHDWM])(utc)?", name).groups()  # type: ignore[union-attr]
    shift = _EAST if name in _LONG else 0
    if unit == "M":
        return Size(name, 0, int(count), shift)
    return Size(name, int(count) * _UNIT[unit], 0, shift + (_MONDAY if unit == "W" else 0))


@dataclass(slots=True)
class Bars:
    """Rows of one series, ascending; `columns` are float64 arrays as long as `ts` (int64 ms, opening times)."""

    size: Size
    ts: np.ndarray
    columns: dict[str, np.ndarray]
    parts: Bars | None = None  # the smaller bars that these were aggregated from

    def seen(self, now: int) -> int:
        """How many rows have opened at `now` (ms)."""
        count = int(self.ts.searchsorted(now, "right"))
        if count and self.parts is not None:  # a bar without trades so far is not there yet
            piece = int(self.parts.ts.searchsorted(self.ts[count - 1], "left"))
            count -= bool(self.parts.ts[piece] > now)
        return count

    def forming(self, now: int) -> bool:
        """True if the newest row that has opened is not finished at `now`."""
        count = self.seen(now)
        return count > 0 and self.size.end(int(self.ts[count - 1])) > now

    def final(self, now: int) -> int:
        """How many rows are finished at `now`."""
        return self.seen(now) - self.forming(now)

    def so_far(self, now: int) -> dict[str, float]:
        """The newest row as it looks while it forms: what the smaller bars hold so far, or a share of the whole bar."""
        row = self.seen(now) - 1
        opened = int(self.ts[row])
        whole = {name: float(values[row]) for name, values in self.columns.items()}
        if self.parts is not None:
            first, last = (int(self.parts.ts.searchsorted(moment, "left")) for moment in (opened, now + 1))
            pieces = [{name: float(v[i]) for name, v in self.parts.columns.items()} for i in range(first, last)]
            if pieces and self.parts.forming(now):
                pieces[-1] = self.parts.so_far(now)
            return {name: _ADDED.get(name, sum)([piece[name] for piece in pieces]) for name in self.columns}
        share = (now - opened) / (self.size.end(opened) - opened)
        close = _between(whole["open"], whole["close"], share)
        high, low = max(whole["open"], close), min(whole["open"], close)
        partial = {"open": whole["open"], "high": high, "low": low, "close": close}
        return partial | {name: _between(0.0, value, share) for name, value in whole.items() if name not in partial}

    def bigger(self, size: Size) -> Bars:
        """Aggregate to bars of `size`: first open, highest high, lowest low, last close, sums of all else."""
        opened = size.open(self.ts)
        first = np.flatnonzero(np.r_[True, opened[1:] != opened[:-1]]) if len(opened) else np.empty(0, np.intp)
        last = np.r_[first[1:], len(opened)] - 1
        columns = {}
        for name, values in self.columns.items():
            if name in {"open", "close"}:
                columns[name] = values[first if name == "open" else last]
            else:
                columns[name] = _REDUCED.get(name, np.add).reduceat(values, first) if len(first) else values[:0]
        return Bars(size, opened[first], columns, self)


_REDUCED: Final[dict[str, np.ufunc]] = {"high": np.fmax, "low": np.fmin}
_ADDED: Final[dict[str, Callable[[list[float]], float]]] = {
    "open": lambda v: v[0],
    "high": max,
    "low": min,
    "close": lambda v: v[-1],
}


def _between(first: float, last: float, share: float) -> float:
    """A number on the way from `first` to `last`, with as many decimals as they have."""
    digits = max(len(number(value).partition(".")[2]) for value in (first, last))
    return round(first + (last - first) * share, digits)


def window(ts: np.ndarray, first: int, last: int, after: int | None, before: int | None, limit: int) -> slice:
    """The page that the venue answers, as a slice of rows `first` to `last`: older than `after`, newer than `before`.

    Both bounds exclude themselves, and of what is left only the newest `limit` rows come: so `before` alone is the
    newest page, not the one that follows X.

    >>> window(np.array([10, 20, 30, 40]), 0, 4, None, 10, 2)
    slice(2, 4, None)
    >>> window(np.array([10, 20, 30, 40]), 0, 4, 30, None, 2)
    slice(0, 2, None)
    """
    if after is not None:
        last = min(last, int(ts.searchsorted(after, "left")))
    if before is not None:
        first = max(first, int(ts.searchsorted(before, "right")))
    first = max(first, last - limit)
    return slice(first, max(first, last))


def text(values: np.ndarray) -> list[str]:
    """Numbers as the venue writes them: no exponent, no trailing ".0", and `float` of each is the very same number.

    >>> text(np.array([42.0, 0.1 + 0.2, 1e-7, np.nan]))
    ['42', '0.30000000000000004', '0.0000001', '']
    """
    if values.dtype.kind in "iu":
        return list(map(str, values.tolist()))
    if not len(values):
        return []
    line = ",".join(map(repr, values.tolist())) + ","
    if "e" in line or "n" in line:
        return [number(value) for value in values.tolist()]
    return line.replace(".0,", ",").split(",")[:-1]


def number(value: float) -> str:
    """One number, in the same spelling; NaN is the venue's unknown value, an empty string."""
    if np.isnan(value):
        return ""
    if isinstance(value, int):
        return str(value)
    short = repr(float(value))
    return np.format_float_positional(value, unique=True, trim="-") if "e" in short else short.removesuffix(".0")

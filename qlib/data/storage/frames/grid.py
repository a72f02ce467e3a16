"""Which bars there are, without a value: the calendar, the instruments, and where each of them begins and ends.

    times    08:00  09:00  10:00  11:00          calendar positions 0 ... 3
    AAA               x      x      x            start 1, length 3
    BBB        x             x                   start 0, length 3: the bar at 09:00 is missing, its values are NaN

`Extents` finds a grid out batch by batch; it is what `write_store` makes of the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd

from qlib.data.storage.arena import ABSENT
from qlib.data.storage.frames.columns import check_grid
from qlib.data.universe import Spans
from qlib.errors import InputError
from qlib.utils.paths import fname_to_code, instrument_folder
from qlib.utils.time import Freq

key_of = lru_cache(maxsize=1 << 16)(instrument_folder)  # look-ups ignore case, as a store's do


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The bars of one frequency; see the module.

    Parameters
    ----------
    times
        The calendar, datetime64[ns], ascending.
    names
        The instruments, as typed.
    start, length
        int64, for each instrument: calendar position of its first bar, and how many there are up to its last.
    fields
        Names (lower case, without `$`).
    lacks
        Field to bool for each instrument: true where it has none of it. A field that is no key, nobody lacks.
    by_name
        Whether lists of instruments are in order of the names instead of in that of `names`.
    """

    times: np.ndarray
    names: tuple[str, ...]
    start: np.ndarray
    length: np.ndarray
    fields: tuple[str, ...]
    lacks: Mapping[str, np.ndarray] = field(default_factory=dict)
    by_name: bool = False
    _number: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        number: dict[str, int] = {}
        for i, name in enumerate(self.names):
            if "\t" in name or "\n" in name:
                raise InputError(f"{name!r}: a tab or a line break cannot stand in the name of an instrument")
            other = number.setdefault(key_of(name), i)
            if other != i:
                raise InputError(f"{self.names[other]} and {name} are one instrument where case does not count")
        object.__setattr__(self, "_number", number)

    def has(self, instrument: str) -> bool:
        return key_of(instrument) in self._number

    def stored(self) -> list[str]:
        """Return the names as a store's folders have them (lower case), sorted."""
        return sorted(fname_to_code(key) for key in self._number)

    def fields_of(self, instrument: str) -> list[str]:
        """Return the fields of an instrument, sorted; none for an unknown one."""
        number = self._number.get(key_of(instrument), -1)
        if number < 0:
            return []
        return sorted(name for name in self.fields if name not in self.lacks or not self.lacks[name][number])

    def numbers(self, instruments: Sequence[str]) -> np.ndarray:
        """Return the number of each instrument, -1 for an unknown one (int64)."""
        known = self._number
        return np.array([known.get(key_of(name), -1) for name in instruments], dtype=np.int64)

    def window(
        self, number: np.ndarray, fields: Sequence[str], first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what is there at calendar positions first ... last of numbered instruments.

        Returns
        -------
        (begin, many, count)
            int64. For each instrument, the position of the first value, and how many there are; for each instrument
            and field the same number again, ABSENT where the instrument does not exist or lacks the field.
        """
        known = number >= 0
        if not len(self.names):
            return np.zeros(len(number), np.int64), np.zeros(len(number), np.int64), self._absent(number, fields)
        begin = np.where(known, np.maximum(self.start[number], first), 0)
        end = np.minimum(self.start[number] + self.length[number], min(last, len(self.times) - 1) + 1)
        many = np.where(known, np.maximum(end - begin, 0), 0)
        count = self._absent(number, fields)
        for j, name in enumerate(fields):
            if name in self.fields:
                there = known if name not in self.lacks else known & ~self.lacks[name][number]
                count[there, j] = many[there]
        return begin, many, count

    @staticmethod
    def _absent(number: np.ndarray, fields: Sequence[str]) -> np.ndarray:
        return np.full((len(number), len(fields)), ABSENT, np.int64)

    def cells(self, base: np.ndarray, number: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return where rows go, if instrument i has its first bar at base[i]; every time must be in the calendar."""
        return (base - self.start)[number] + np.searchsorted(self.times, times)

    def spans(self) -> Spans:
        """Return from when to when each instrument has bars."""
        first, last = (pd.DatetimeIndex(self.times[at]) for at in (self.start, self.start + self.length - 1))
        spans: Spans = {name: [(a, b)] for name, a, b in zip(self.names, first, last, strict=True)}
        return dict(sorted(spans.items())) if self.by_name else spans


class Extents:
    """The times and instruments of rows that come in batches.

    >>> found = Extents("data['day']")
    >>> days = np.array(["2024-01-02", "2024-01-04", "2024-01-03"], "datetime64[ns]")
    >>> found.add(np.array([0, 0, 1]), days)
    >>> grid = found.grid(["A", "B"], Freq("day"), ("close",))
    >>> grid.start.tolist(), grid.length.tolist()
    ([0, 1], [3, 1])
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._times: list[np.ndarray] = []
        self._first, self._last = np.empty(0, np.int64), np.empty(0, np.int64)

    def add(self, number: np.ndarray, times: np.ndarray) -> None:
        """Take rows in: the number of each row's instrument, and its time (datetime64[ns])."""
        if not len(number):
            return
        stamps = times.view(np.int64)
        grown = max(int(number.max()) + 1 - len(self._first), 0)
        far = np.iinfo(np.int64)
        self._first = np.concatenate([self._first, np.full(grown, far.max)])
        self._last = np.concatenate([self._last, np.full(grown, far.min)])
        begin = np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1]]))  # runs of one instrument
        np.minimum.at(self._first, number[begin], np.minimum.reduceat(stamps, begin))
        np.maximum.at(self._last, number[begin], np.maximum.reduceat(stamps, begin))
        self._times.append(pd.unique(times))
        if len(self._times) > 64:
            self._times = [pd.unique(np.concatenate(self._times))]

    def grid(
        self,
        names: Sequence[str],
        freq: Freq,
        fields: Sequence[str],
        *,
        calendar: np.ndarray | None = None,
        lacks: Mapping[str, np.ndarray] | None = None,
        by_name: bool = False,
    ) -> Grid:
        """Return the grid of all rows; those whose time is in no given `calendar` are an error."""
        if not len(self._first):
            raise InputError(f"{self._where}: it has no rows")
        found = np.sort(pd.unique(np.concatenate(self._times)))
        check_grid(found, freq, self._where)
        times = found if calendar is None else calendar
        strange = found[times[np.minimum(np.searchsorted(times, found), len(times) - 1)] != found]
        if len(strange):
            raise InputError(
                f"{self._where}: {len(strange)} of its times are not in the calendar that was given, "
                f"such as {pd.Timestamp(strange[0])}"
            )
        start = np.searchsorted(times.view(np.int64), self._first)
        last = np.searchsorted(times.view(np.int64), self._last)
        try:
            return Grid(times, tuple(names), start, last - start + 1, tuple(fields), dict(lacks or {}), by_name)
        except InputError as error:
            raise InputError(f"{self._where}: {error}") from None


def twice(grid: Grid, number: np.ndarray, times: np.ndarray, where: str) -> InputError:
    """Return the error that names a bar which the rows have more than once."""
    order = np.lexsort((times, number))
    number, times = number[order], times[order]
    at = np.flatnonzero((number[1:] == number[:-1]) & (times[1:] == times[:-1]))[0]
    return InputError(f"{where}: {grid.names[number[at]]} at {pd.Timestamp(times[at])} occurs more than once")


def given_calendar(times: Iterable[object], freq: Freq, where: str) -> np.ndarray:
    """Return a calendar that somebody gave, sorted, as datetime64[ns]."""
    index = pd.DatetimeIndex(list(times))
    if index.tz is not None:
        raise InputError(
            f"{where}: the calendar carries the zone {index.tz}; times of the clock without a zone are needed"
        )
    if index.has_duplicates or index.hasnans or not len(index):
        raise InputError(f"{where}: the calendar is empty, has a time twice, or has one that is missing (NaT)")
    stamps = np.sort(index.as_unit("ns").to_numpy())
    check_grid(stamps, freq, f"{where}: calendar")
    return stamps

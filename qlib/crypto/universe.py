"""Who belonged to the universe when, by what was known then: a Qlib instruments file with several spans a name.

    coins = match(read_snapshots("marketcap_monthly.parquet", stamp="close"), markets)
    found = members(coins, Rule(top=50))
    found.spans["LUNA"]            [(2021-03-02, 2022-06-01)]      dead since, and a member then
    write_instruments(store / "instruments/top50.txt", found.spans)

    snapshot known at 02:05 ──► first bar that opens afterwards ──► until the next snapshot, or until it is too old

A list of today, used for the past, holds who survived and lacks who did not. Here the membership of a bar depends only
on snapshots that were known when it opened: whatever later snapshots say, it stands (tested). Ranks are counted among
the coins that have an instrument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from qlib.crypto.snapshots import DAY_MS
from qlib.data.universe import Spans
from qlib.errors import InputError, did_you_mean
from qlib.utils.time import Freq

MEASURES: Final = ("market_cap", "volume_24h")
PERIODS: Final = ("day", "week", "month")


@dataclass(frozen=True)
class Rule:
    """What makes a member.

    Parameters
    ----------
    top
        How many of the best enter.
    by
        The column of the snapshots that ranks them: "market_cap" or "volume_24h".
    keep
        Hysteresis: a member stays while its rank is `keep` or better. So at most `keep` names belong at a time. None
        means `top`: no hysteresis.
    stale
        Days for which a snapshot may be used. When the next one does not come in time the universe is empty until it
        does, and hysteresis begins anew.
    """

    top: int = 50
    by: str = "market_cap"
    keep: int | None = None
    stale: float = 45.0

    def __post_init__(self) -> None:
        if self.top < 1:
            raise InputError(f"top: received {self.top}; 1 or more is allowed")
        if self.by not in MEASURES:
            raise InputError(
                f"by: received {self.by!r}; {' or '.join(MEASURES)} is allowed{did_you_mean(self.by, MEASURES)}"
            )
        if self.keep is not None and self.keep < self.top:
            raise InputError(f"keep: received {self.keep}; top ({self.top}) or more is allowed")
        if not self.stale > 0:
            raise InputError(f"stale: received {self.stale}; a number of days above 0 is allowed")


@dataclass(frozen=True)
class Membership:
    """Who is a member in which stretch of bars.

    `begin` and `end` are int64 ms: stretch k holds the bars that open in [begin[k], end[k]); stretches ascend and do
    not overlap. `inside` is a bool array (stretches, instruments), the instruments being `names`, ascending.
    """

    names: tuple[str, ...]
    begin: np.ndarray
    end: np.ndarray
    inside: np.ndarray
    bar_ms: int
    holes: list[tuple[int, int]] = field(default_factory=list)  # between stretches: nobody knew

    @property
    def spans(self) -> Spans:
        """The universe as spans of bars, both ends included: what an instruments file holds."""
        return {name: spans for i, name in enumerate(self.names) if (spans := self._spans(self.inside[:, i]))}

    def _spans(self, inside: np.ndarray) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
        # A member in two stretches that touch has one span; a hole between them makes two.
        joined = np.zeros(len(inside), dtype=bool)
        joined[1:] = inside[1:] & inside[:-1] & (self.begin[1:] == self.end[:-1])
        first = np.flatnonzero(inside & ~joined)
        last = np.flatnonzero(inside & ~np.append(joined[1:], False))
        low, high = self.begin[first], _last_open(self.end[last], self.bar_ms)
        return [(_time(a), _time(b)) for a, b in zip(low, high, strict=True)]

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return a bool array (times, instruments): who is a member of the bars that open at `times` (int64 ms)."""
        place = np.searchsorted(self.begin, times, side="right") - 1
        valid = (place >= 0) & (times < self.end[np.maximum(place, 0)])
        found = np.zeros((len(times), len(self.names)), dtype=bool)
        found[valid] = self.inside[place[valid]]
        return found

    def members(self, time: int) -> list[str]:
        """Return the names of those that belong at the bar that opens at `time` (ms)."""
        return [name for name, one in zip(self.names, self.at(np.array([time]))[0], strict=True) if one]


def members(coins: pd.DataFrame, rule: Rule = Rule(), freq: str = "day") -> Membership:
    """Return who belongs when.

    Parameters
    ----------
    coins
        What `match` returns: known (int64 ms), instrument (None: not traded) and the column `rule.by`. A coin without
        instrument or without a positive number takes part in no ranking.
    rule
        Who enters, who stays.
    freq
        The bars the universe is for: "day", or shorter. A snapshot counts from the first bar that opens at or after
        the moment from which it was known; of several before the same bar, the last one.

    Raises
    ------
    InputError
        No coin has an instrument, an instrument occurs twice in one snapshot, snapshots are stale before a bar opens,
        or bars are longer than a day.

    Examples
    --------
    >>> day = 86_400_000
    >>> coins = pd.DataFrame({"known": [day, day, 9 * day, 9 * day], "instrument": ["A", "B", "A", "B"],
    ...                       "market_cap": [2.0, 1.0, 1.0, 2.0]})
    >>> {name: [str(t.date()) for t in spans[0]] for name, spans in members(coins, Rule(top=1, stale=10)).spans.items()}
    {'A': ['1970-01-02', '1970-01-09'], 'B': ['1970-01-10', '1970-01-19']}
    """
    bar_ms = bar_milliseconds(freq)
    if rule.by not in coins.columns:
        raise InputError(f"by: received {rule.by}; these snapshots have {', '.join(coins.columns)}")
    known = np.unique(coins["known"].to_numpy(np.int64))
    ranked = coins[coins["instrument"].notna() & (coins[rule.by] > 0)]
    if not len(ranked):
        raise InputError(f"coins: no coin has both an instrument and a {rule.by}; nothing to rank")
    twice = ranked.duplicated(["known", "instrument"])
    if twice.any():
        first = ranked[twice].iloc[0]
        raise InputError(f"coins: {first['instrument']} occurs twice in the snapshot known at {_time(first['known'])}")

    opens = _first_open(known, bar_ms)
    last = np.append(opens[1:] != opens[:-1], True)  # of several before one bar the last counts
    known, opens = known[last], opens[last]
    until = _first_open(known + round(rule.stale * DAY_MS), bar_ms)
    end = np.minimum(np.append(opens[1:], np.iinfo(np.int64).max), until)

    names, code = np.unique(ranked["instrument"].to_numpy(dtype=str), return_inverse=True)
    row: np.ndarray = np.searchsorted(known, ranked["known"].to_numpy(np.int64))
    kept = known[np.minimum(row, len(known) - 1)] == ranked["known"].to_numpy(np.int64)
    rank = np.full((len(known), len(names)), np.iinfo(np.int64).max)
    order = ranked.assign(row=row, code=code)[kept].sort_values(
        ["row", rule.by, "instrument"], ascending=[True, False, True]
    )
    rank[order["row"], order["code"]] = order.groupby("row").cumcount() + 1

    inside = rank <= rule.top
    if rule.keep is not None:
        for k in range(1, len(known)):
            if opens[k] == end[k - 1]:  # nothing between: who was a member is known
                inside[k] |= inside[k - 1] & (rank[k] <= rule.keep)
    used = end > opens
    if not used.any():
        raise InputError(
            f"stale: {rule.stale:g} days are over before the next {freq} bar opens; nobody is ever a member"
        )
    gaps = [(int(a), int(b)) for a, b in zip(end[:-1], opens[1:], strict=True) if b > a]
    return Membership(tuple(map(str, names)), opens[used], end[used], inside[used], bar_ms, gaps)


def bar_milliseconds(freq: str) -> int:
    """Return the length of a bar; InputError for one longer than a day, whose universe is that of its days."""
    size = Freq(freq)
    if not (size.intraday or (size.base == Freq.NORM_FREQ_DAY and size.count == 1)):
        raise InputError(
            f"freq: received {freq}; day and shorter bars are allowed (longer ones use the universe of days)"
        )
    return size.seconds * 1000


def _first_open(moments: np.ndarray, bar_ms: int) -> np.ndarray:
    """Return the first bar that opens at or after each moment; bars are counted from the midnight of their day."""
    midnight = moments // DAY_MS * DAY_MS
    return np.minimum(midnight - (midnight - moments) // bar_ms * bar_ms, midnight + DAY_MS)


def _last_open(moments: np.ndarray, bar_ms: int) -> np.ndarray:
    """Return the last bar that opens before each moment."""
    midnight = (moments - 1) // DAY_MS * DAY_MS
    return midnight + (moments - 1 - midnight) // bar_ms * bar_ms


def _time(milliseconds: int) -> pd.Timestamp:
    return pd.Timestamp(int(milliseconds), unit="ms")


# ---------------------------------------------------------------------- ranking by what was traded
def turnover(
    amount: pd.DataFrame, bar_ms: int, *, days: int = 30, every: str = "month", least: float = 0.5
) -> pd.DataFrame:
    """Return snapshots of trailing quote volume, from bars: known, instrument, id, symbol, volume_24h.

    Parameters
    ----------
    amount
        Quote volume of each bar; index: open times (naive UTC, ascending), a column an instrument. NaN: no bar.
    bar_ms
        Length of a bar.
    days
        How far back one looks.
    every
        "day", "week" (Mondays) or "month": when one looks, at 00:00 UTC. A bar counts if it was over by then.
    least
        Part of the bars of these days that an instrument needs. One that has none in the last day in which anybody had
        one is gone and not ranked.

    Returns
    -------
    pandas.DataFrame
        `volume_24h` is what was traded in a day of the bars that exist: a missing bar is unknown, not zero.
    """
    if every not in PERIODS:
        raise InputError(f"every: received {every!r}; {', '.join(PERIODS)} is allowed{did_you_mean(every, PERIODS)}")
    if days < 1 or not 0 <= least <= 1:
        raise InputError(f"days and least: received {days} and {least}; 1 or more days and a part of 1 are allowed")
    if not len(amount):
        raise InputError("amount: received no bars")
    ends = amount.index.to_numpy("datetime64[ms]").astype(np.int64) + bar_ms
    values = amount.to_numpy(np.float64)
    per_day = DAY_MS // bar_ms
    names = np.array([str(name) for name in amount.columns], dtype=object)
    tables = []
    for moment in _moments(ends[0], ends[-1], every):
        low, high = np.searchsorted(ends, [moment - days * DAY_MS, moment], side="right")
        window = values[low:high]
        if not len(window):
            continue
        present = np.isfinite(window)
        count = present.sum(axis=0)
        tail = np.searchsorted(ends[low:high], ends[high - 1] - DAY_MS, side="right")
        ranked = (count >= max(1, least * days * per_day)) & present[tail:].any(axis=0)
        total = np.where(present, window, 0.0).sum(axis=0)[ranked] / count[ranked] * per_day
        if not ranked.any():
            continue
        found = names[ranked]
        tables.append(
            pd.DataFrame({"known": moment, "id": found, "symbol": found, "instrument": found, "volume_24h": total})
        )
    if not tables:
        raise InputError(f"amount: {_time(ends[0] - bar_ms)} to {_time(ends[-1])} holds no {every} after enough bars")
    return pd.concat(tables, ignore_index=True)


def _moments(first: int, last: int, every: str) -> np.ndarray:
    start, stop = _time(first).normalize(), _time(last)
    step = {"day": "D", "week": "W-MON", "month": "MS"}[every]
    times = pd.date_range(start, stop, freq=step)
    return times[times.to_numpy("datetime64[ms]").astype(np.int64) >= first].to_numpy("datetime64[ms]").astype(np.int64)

"""OKX's names of bar sizes, and when such bars open.

    check("1H")       "1H"
    check("1D")       "1Dutc": a day is a UTC day. OKX's own 1D opens at 16:00 UTC, and is never asked for
    check("1h")       InputError: ... did you mean 1H?
    opens("1Mutc", start, end)       the firsts of the months, in ms

`1m` is a minute and `1M` a month.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from qlib.errors import InputError, did_you_mean
from qlib.utils.barsize import parse_size

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
_MONDAY: Final = 4 * DAY  # 1970-01-05, the first Monday

_FIXED: Final = {
    "1s": SECOND, "1m": MINUTE, "3m": 3 * MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE,
    "1H": HOUR, "2H": 2 * HOUR, "4H": 4 * HOUR, "6Hutc": 6 * HOUR, "12Hutc": 12 * HOUR, "1Dutc": DAY, "2Dutc": 2 * DAY,
    "3Dutc": 3 * DAY, "1Wutc": 7 * DAY,
}  # fmt: skip
_MONTHS: Final = {"1Mutc": 1, "3Mutc": 3}
NAMES: Final = (*_FIXED, *_MONTHS)
_UNKNOWN: Final = {  # what an endpoint does not take
    "mark": {"1s", "2Dutc", "3Dutc", "3Mutc"},
    "index": {"1s", "2Dutc", "3Dutc", "3Mutc"},
    "oi": {"1s", "1m", "3m"},
}
_SAME_LENGTH: Final = {"sec": SECOND, "min": MINUTE, "day": DAY, "week": 7 * DAY}


def check(bar: str, kind: str = "candles") -> str:
    """Return OKX's spelling of a bar size, the one that opens in UTC.

    >>> check("6H"), check("15m")
    ('6Hutc', '15m')
    """
    name = str(bar)
    if f"{name}utc" in NAMES:
        name += "utc"
    allowed = [one for one in NAMES if one not in _UNKNOWN.get(kind, ())]
    if name not in allowed:
        near = _meant(name)
        hint = f"; did you mean {near}?" if near in allowed else did_you_mean(name, allowed)
        raise InputError(f"bar of {kind}: received {bar!r}; OKX knows {', '.join(allowed)}{hint}")
    return name


def _meant(bar: str) -> str:
    """Return OKX's name for the same length in another spelling: 1h, 60min, day."""
    if re.fullmatch(r"\d+M\w+", bar):  # 1Min is no month
        bar = bar.lower()
    try:
        count, unit = parse_size(re.sub(r"(\d)m$", r"\1min", re.sub(r"(\d)M$", r"\1month", bar)))
    except InputError:
        return ""
    if unit == "month":
        return f"{count}Mutc"
    return next((name for name, ms in _FIXED.items() if ms == count * _SAME_LENGTH[unit]), "")


def length(bar: str) -> int:
    """Return the ms of a bar; of the shortest one where months differ.

    >>> length("4H"), length("1Mutc") // DAY
    (14400000, 28)
    """
    name = check(bar)
    return _FIXED[name] if name in _FIXED else {1: 28, 3: 90}[_MONTHS[name]] * DAY


def opens(bar: str, start: int, end: int) -> np.ndarray:
    """Return the open times in [start, end), int64 ms.

    >>> opens("1H", 1, 3 * HOUR).tolist()
    [3600000, 7200000]
    >>> opens("1Mutc", 0, 60 * DAY).astype("datetime64[ms]").astype("datetime64[D]").astype(str).tolist()
    ['1970-01-01', '1970-02-01', '1970-03-01']
    """
    name = check(bar)
    if name in _FIXED:
        step, first = _FIXED[name], _MONDAY if name == "1Wutc" else 0
        return np.arange(first - (first - start) // step * step, end, step, dtype=np.int64)
    months, step = (np.array([start, end], "datetime64[ms]").astype("datetime64[M]").astype(np.int64)), _MONTHS[name]
    found = np.arange(months[0] // step * step, months[1] + 2, step)
    ms = found.astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    return ms[(ms >= start) & (ms < end)]


def open_of(bar: str, ts: int) -> int:
    """Return when the bar opened that a moment lies in.

    >>> open_of("1Dutc", 3 * DAY + 5), open_of("1Wutc", 12 * DAY) // DAY
    (259200000, 11)
    """
    name = check(bar)
    longest = _FIXED.get(name, 92 * DAY)
    return int(opens(name, ts - longest, ts + 1)[-1])


def next_open(bar: str, ts: int) -> int:
    """Return when the bar after the one of a moment opens.

    >>> next_open("1Mutc", 0) // DAY
    31
    """
    name = check(bar)
    return int(opens(name, ts + 1, ts + 1 + _FIXED.get(name, 92 * DAY))[0])

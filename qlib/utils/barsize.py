"""How a bar size is written: a count and a unit. What can be asked of one is `qlib.utils.time.Freq`.

>>> parse_size("4h"), parse_size("1d"), parse_size("90s")
((240, 'min'), (1, 'day'), (90, 'sec'))
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from qlib.errors import InputError, did_you_mean

_UNITS: Final = {  # how many of what
    "month": (1, "month"),
    "mon": (1, "month"),
    "week": (1, "week"),
    "w": (1, "week"),
    "day": (1, "day"),
    "d": (1, "day"),
    "hour": (60, "min"),
    "h": (60, "min"),
    "minute": (1, "min"),
    "min": (1, "min"),
    "second": (1, "sec"),
    "sec": (1, "sec"),
    "s": (1, "sec"),
}


@lru_cache
def parse_size(freq: str) -> tuple[int, str]:
    """Return (count, base), the base being sec, min, day, week or month; InputError for any other text."""
    match = re.fullmatch(r"([0-9]{0,9})([a-z]+)", freq.lower())
    unit = _UNITS.get(match[2]) if match else None
    if match is None or unit is None or (match[1] and int(match[1]) < 1):
        minutes_or_months = match is not None and match[2] == "m"
        number = match[1] if match else ""
        hint = f"; write {number}min or {number}month" if minutes_or_months else did_you_mean(freq, _UNITS)
        raise InputError(
            f"freq: received {freq!r}; allowed are [n]sec, [n]min, [n]h, [n]day, [n]week and [n]month{hint}"
        )
    each, base = unit
    count = each * int(match[1] or 1)
    if base == "sec" and count % 60 == 0:
        return count // 60, "min"
    return count, base

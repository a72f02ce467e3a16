"""Caches of calendars: `MemoryCalendarCache`."""

from __future__ import annotations

from typing import Any

import numpy as np

from qlib.data.calendar import Calendar
from qlib.data.memory import H, MemCacheExpire
from qlib.data.provider.cache_base import BaseProviderCache


class CalendarCache(BaseProviderCache):
    """A calendar provider with a cache before it."""


class MemoryCalendarCache(CalendarCache):
    """Keeps what `Cal.calendar` answered, in `H["c"]`, for `mem_cache_expire` seconds or until the calendar changes."""

    def calendar(
        self, start_time: Any = None, end_time: Any = None, freq: str = "day", future: bool = False
    ) -> np.ndarray:
        """Return the bars' times inside [start_time, end_time] as an object array of Timestamps."""
        key = (id(self.provider), str(start_time), str(end_time), freq, future)
        whole = getattr(self.provider, "_whole", None)
        source: Calendar | None = None if whole is None else whole(freq, future)
        known, expired = MemCacheExpire.get_cache(H["c"], key)
        if known is None or expired or known[0] is not source:
            known = source, self.provider.calendar(start_time, end_time, freq, future)
            MemCacheExpire.set_cache(H["c"], key, known)
        return known[1].copy()

"""Qlib's cache in memory, for providers and processors that users write: `H["c"]`, `H["i"]`, `H["f"]`.

    H["f"]["my key"] = frame        kept until the unit is full; what was used longest ago goes first
    MemCacheExpire.set_cache(H["c"], "days", days)
    days, expired = MemCacheExpire.get_cache(H["c"], "days")

The package's own queries do not need it: a session remembers calendars and universes until their files change.
`qlib.init` empties it (but for `clear_mem_cache=False`) and sets its limits: `mem_cache_size_limit`,
`mem_cache_limit_type` ("length" or "sizeof") and `mem_cache_expire`.
"""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd

from qlib.config import Settings, active_settings
from qlib.errors import ConfigError, did_you_mean


class MemCacheUnit(ABC):
    """Things by key, up to a limit of their sizes together (0: none); the least recently used goes first.

    Threads may share one.  A thing larger than the limit is not kept.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.size_limit = kwargs.pop("size_limit", args[0] if args else 0)
        self._size = 0
        self._sizes: dict[Any, int] = {}
        self._lock = threading.RLock()
        self.od: OrderedDict[Any, Any] = OrderedDict()

    @abstractmethod
    def _get_value_size(self, value: Any) -> int:
        """Return how much of the limit a thing takes."""

    def __setitem__(self, key: Any, value: Any) -> None:
        with self._lock:
            if key in self.od:
                self.pop(key)
            self.od[key], self._sizes[key] = value, self._get_value_size(value)
            self._size += self._sizes[key]
            self._shrink()

    def __getitem__(self, key: Any) -> Any:
        with self._lock:
            value = self.od[key]
            self.od.move_to_end(key)
            return value

    def __contains__(self, key: Any) -> bool:
        return key in self.od

    def __len__(self) -> int:
        return len(self.od)

    def __repr__(self) -> str:
        return f"{type(self).__name__}<size_limit:{self.size_limit or 'no limit'} total_size:{self._size}>"

    def _shrink(self) -> None:
        while self.limited and self._size > self.size_limit:
            self.popitem(last=False)

    def set_limit_size(self, limit: int) -> None:
        """Change the limit; what no longer fits goes at once."""
        with self._lock:
            self.size_limit = limit
            self._shrink()

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.size_limit > 0

    @property
    def total_size(self) -> int:
        """The sizes of everything together."""
        return self._size

    def clear(self) -> None:
        with self._lock:
            self.od.clear()
            self._sizes.clear()
            self._size = 0

    def popitem(self, last: bool = True) -> tuple[Any, Any]:
        """Take out (key, value): of the most recently used thing, or with last=False of the least."""
        with self._lock:
            key, value = self.od.popitem(last=last)
            self._size -= self._sizes.pop(key)
            return key, value

    def pop(self, key: Any) -> Any:
        """Take a thing out; KeyError where it is not there."""
        with self._lock:
            value = self.od.pop(key)
            self._size -= self._sizes.pop(key)
            return value


class MemCacheLengthUnit(MemCacheUnit):
    """The limit counts things.

    >>> unit = MemCacheLengthUnit(2)
    >>> for i in range(3):
    ...     unit[i] = i * 10
    >>> list(unit.od), 0 in unit, unit.total_size
    ([1, 2], False, 2)
    """

    def __init__(self, size_limit: int = 0) -> None:
        super().__init__(size_limit=size_limit)

    def _get_value_size(self, value: Any) -> int:  # noqa: ARG002  every thing counts the same
        return 1


class MemCacheSizeofUnit(MemCacheUnit):
    """The limit counts bytes; those of arrays and frames are their data."""

    def __init__(self, size_limit: int = 0) -> None:
        super().__init__(size_limit=size_limit)

    def _get_value_size(self, value: Any) -> int:
        if isinstance(value, np.ndarray):
            return sys.getsizeof(value) + (0 if value.base is None else value.nbytes)
        if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
            memory = value.memory_usage(deep=True)
            return int(memory if isinstance(memory, int | np.integer) else memory.sum())
        return sys.getsizeof(value)


_UNITS: Final = {"length": MemCacheLengthUnit, "sizeof": MemCacheSizeofUnit}


class MemCache:
    """Three units: "c" for calendars, "i" for instruments, "f" for features.

    Parameters
    ----------
    mem_cache_size_limit
        Limit of each; None is the setting of that name.
    limit_type
        "length" counts things, "sizeof" bytes.
    """

    def __init__(self, mem_cache_size_limit: int | None = None, limit_type: str = "length") -> None:
        if limit_type not in _UNITS:
            raise ConfigError(
                f"limit_type: received {limit_type!r}; allowed are {', '.join(_UNITS)}"
                f"{did_you_mean(str(limit_type), _UNITS)}"
            )
        limit = active_settings()["mem_cache_size_limit"] if mem_cache_size_limit is None else mem_cache_size_limit
        self._units = {name: _UNITS[limit_type](limit) for name in "cif"}

    def __getitem__(self, key: str) -> MemCacheUnit:
        if key not in self._units:
            raise KeyError(f"no unit is called {key!r}; there are c (calendars), i (instruments) and f (features)")
        return self._units[key]

    def clear(self) -> None:
        """Empty all three."""
        for unit in self._units.values():
            unit.clear()

    def follow(self, settings: Settings) -> None:
        """Take the limits of some settings; another kind of limit empties it."""
        kind, limit = settings["mem_cache_limit_type"], settings["mem_cache_size_limit"]
        if not isinstance(self["c"], _UNITS[kind]):
            self._units = MemCache(limit, kind)._units
        for unit in self._units.values():
            unit.set_limit_size(limit)
        MemCacheExpire.CACHE_EXPIRE = settings["mem_cache_expire"]


class MemCacheExpire:
    """Things in a unit that are good for `CACHE_EXPIRE` seconds (`mem_cache_expire` of the live session)."""

    CACHE_EXPIRE: ClassVar[float] = 3600

    @staticmethod
    def set_cache(mem_cache: Any, key: Any, value: Any) -> None:
        """Keep a thing, from now on."""
        mem_cache[key] = value, time.time()

    @staticmethod
    def get_cache(mem_cache: Any, key: Any) -> tuple[Any, bool]:
        """Return (thing, whether its time is over); (None, False) where there is none."""
        try:
            value, since = mem_cache[key]
        except KeyError:
            return None, False
        return value, time.time() - since > MemCacheExpire.CACHE_EXPIRE


H: Final = MemCache(500)

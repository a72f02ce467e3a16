"""Qlib's caches, by Qlib's names, over files that hold no pickle and need no server.

    qlib.init(dataset_cache="DiskDatasetCache")        frames, in <store>/dataset_cache
    qlib.init(dataset_cache="SimpleDatasetCache")      frames, in local_cache_path
    qlib.init(expression_cache="DiskExpressionCache")  series of ExpressionD, in <store>/features_cache
    qlib.init(calendar_cache="MemoryCalendarCache")    calendars of Cal, in memory

A cached answer is used while everything that it was computed from is the same (`qlib.data.provider.frame_cache`).
Files that Qlib wrote into the same folders are never read: they are pickles, and do not say what they were made from.

A cache of one's own subclasses `DatasetCache` (`_dataset`) or `ExpressionCache` (`_expression`).
"""

from qlib.data.memory import H, MemCache, MemCacheExpire, MemCacheLengthUnit, MemCacheSizeofUnit, MemCacheUnit
from qlib.data.provider.cache_base import BaseProviderCache, CacheUtils, QlibCacheException
from qlib.data.provider.cached_calendars import CalendarCache, MemoryCalendarCache
from qlib.data.provider.cached_frames import DatasetCache, DatasetURICache, DiskDatasetCache, SimpleDatasetCache
from qlib.data.provider.cached_series import DiskExpressionCache, ExpressionCache

__all__ = [
    "BaseProviderCache",
    "CacheUtils",
    "CalendarCache",
    "DatasetCache",
    "DatasetURICache",
    "DiskDatasetCache",
    "DiskExpressionCache",
    "ExpressionCache",
    "H",
    "MemCache",
    "MemCacheExpire",
    "MemCacheLengthUnit",
    "MemCacheSizeofUnit",
    "MemCacheUnit",
    "MemoryCalendarCache",
    "QlibCacheException",
    "SimpleDatasetCache",
]

"""Qlib's path for the caches; they live in qlib.data.memory and qlib.data.provider.caches."""

from qlib.data.memory import H, MemCache, MemCacheExpire, MemCacheLengthUnit, MemCacheSizeofUnit, MemCacheUnit
from qlib.data.provider.caches import (
    BaseProviderCache,
    CacheUtils,
    CalendarCache,
    DatasetCache,
    DatasetURICache,
    DiskDatasetCache,
    DiskExpressionCache,
    ExpressionCache,
    MemoryCalendarCache,
    QlibCacheException,
    SimpleDatasetCache,
)

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

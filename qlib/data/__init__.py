"""Data: stores, calendars, universes, formulas. `D` is the live session's provider (after `qlib.init`)."""

from qlib.data.data import (
    CalendarProvider,
    D,
    DatasetProvider,
    ExpressionProvider,
    FeatureProvider,
    InstrumentProvider,
)

__all__ = [
    "CalendarProvider",
    "D",
    "DatasetProvider",
    "ExpressionProvider",
    "FeatureProvider",
    "InstrumentProvider",
]

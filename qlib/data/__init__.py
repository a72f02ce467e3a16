"""Data: stores, calendars, universes, formulas. `D` is the live session's provider (after `qlib.init`)."""

from qlib.data.data import (
    BaseProvider,
    CalendarProvider,
    D,
    DatasetProvider,
    ExpressionProvider,
    FeatureProvider,
    InstrumentProvider,
    LocalCalendarProvider,
    LocalDatasetProvider,
    LocalExpressionProvider,
    LocalFeatureProvider,
    LocalInstrumentProvider,
    LocalPITProvider,
    LocalProvider,
    PITProvider,
)
from qlib.data.storage.frames import DuckTable, Frames

__all__ = [
    "BaseProvider",
    "CalendarProvider",
    "D",
    "DatasetProvider",
    "DuckTable",
    "ExpressionProvider",
    "FeatureProvider",
    "Frames",
    "InstrumentProvider",
    "LocalCalendarProvider",
    "LocalDatasetProvider",
    "LocalExpressionProvider",
    "LocalFeatureProvider",
    "LocalInstrumentProvider",
    "LocalPITProvider",
    "LocalProvider",
    "PITProvider",
]

"""Storage: the files of a store, without any meaning above dates, names and numbers."""

from qlib.data.storage.storage import CalendarStorage, CalVT, FeatureStorage, InstKT, InstrumentStorage, InstVT

__all__ = ["CalVT", "CalendarStorage", "FeatureStorage", "InstKT", "InstVT", "InstrumentStorage"]

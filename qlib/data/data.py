"""Qlib's path for the providers; they live in qlib.data.provider."""

from qlib.data.active import D
from qlib.data.provider.facade import Provider as BaseProvider
from qlib.data.provider.facade import Provider as LocalProvider
from qlib.data.provider.views import (
    PITD,
    Cal,
    CalendarProvider,
    DatasetD,
    DatasetProvider,
    ExpressionD,
    ExpressionProvider,
    FeatureD,
    FeatureProvider,
    Inst,
    InstrumentProvider,
    PITProvider,
)
from qlib.data.provider.views import PITProvider as LocalPITProvider

__all__ = [
    "PITD",
    "BaseProvider",
    "Cal",
    "CalendarProvider",
    "D",
    "DatasetD",
    "DatasetProvider",
    "ExpressionD",
    "ExpressionProvider",
    "FeatureD",
    "FeatureProvider",
    "Inst",
    "InstrumentProvider",
    "LocalPITProvider",
    "LocalProvider",
    "PITProvider",
]

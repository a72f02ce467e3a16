"""Qlib's path for the providers; they live in qlib.data.provider."""

from qlib.data.active import D
from qlib.data.provider.facade import Provider as BaseProvider
from qlib.data.provider.facade import Provider as LocalProvider
from qlib.data.provider.views import (
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
)

__all__ = [
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
    "LocalProvider",
]

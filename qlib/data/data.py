"""Qlib's path for the providers; they live in qlib.data.provider."""

from qlib.data.active import D
from qlib.data.provider.facade import Provider as BaseProvider
from qlib.data.provider.facade import Provider as LocalProvider
from qlib.data.provider.local import (
    LocalCalendarProvider,
    LocalDatasetProvider,
    LocalExpressionProvider,
    LocalFeatureProvider,
    LocalInstrumentProvider,
    ProviderBackendMixin,
    register_all_wrappers,
)
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

# What a global shows, by Qlib's name for the type of the global.
BaseProviderWrapper = BaseProvider
CalendarProviderWrapper = CalendarProvider
DatasetProviderWrapper = DatasetProvider
ExpressionProviderWrapper = ExpressionProvider
FeatureProviderWrapper = FeatureProvider
InstrumentProviderWrapper = InstrumentProvider
PITProviderWrapper = PITProvider

__all__ = [
    "PITD",
    "BaseProvider",
    "BaseProviderWrapper",
    "Cal",
    "CalendarProvider",
    "CalendarProviderWrapper",
    "D",
    "DatasetD",
    "DatasetProvider",
    "DatasetProviderWrapper",
    "ExpressionD",
    "ExpressionProvider",
    "ExpressionProviderWrapper",
    "FeatureD",
    "FeatureProvider",
    "FeatureProviderWrapper",
    "Inst",
    "InstrumentProvider",
    "InstrumentProviderWrapper",
    "LocalCalendarProvider",
    "LocalDatasetProvider",
    "LocalExpressionProvider",
    "LocalFeatureProvider",
    "LocalInstrumentProvider",
    "LocalPITProvider",
    "LocalProvider",
    "PITProvider",
    "PITProviderWrapper",
    "ProviderBackendMixin",
    "register_all_wrappers",
]

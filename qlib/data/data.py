"""Qlib's path for the providers; they live in qlib.data.provider."""

from qlib.data.active import D
from qlib.data.client import ClientCalendarProvider, ClientDatasetProvider, ClientInstrumentProvider, ClientProvider
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
    Shown,
)
from qlib.data.provider.views import PITProvider as LocalPITProvider

# The type of a global, by Qlib's name for it.
BaseProviderWrapper = BaseProvider
CalendarProviderWrapper = Shown
DatasetProviderWrapper = Shown
ExpressionProviderWrapper = Shown
FeatureProviderWrapper = Shown
InstrumentProviderWrapper = Shown
PITProviderWrapper = Shown

__all__ = [
    "PITD",
    "BaseProvider",
    "BaseProviderWrapper",
    "Cal",
    "CalendarProvider",
    "CalendarProviderWrapper",
    "ClientCalendarProvider",
    "ClientDatasetProvider",
    "ClientInstrumentProvider",
    "ClientProvider",
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

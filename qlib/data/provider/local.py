"""Qlib's providers of a store on this machine: the views, with the arguments that its configurations give them.

    LocalCalendarProvider()                                     the live session's calendars
    LocalCalendarProvider(backend={"class": ..., ...})          those of a storage class of one's own
    LocalExpressionProvider(time2idx=False)                     series by time instead of calendar position

A provider with a `backend` reads through that storage; given to `qlib.init(feature_provider=...)`, so do `D`, the
other globals and every formula.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from qlib.config import QlibConfig
from qlib.data.active import active_provider, fill
from qlib.data.calendar import Calendar
from qlib.data.filter import SeriesDFilter, usable
from qlib.data.provider.facade import Provider
from qlib.data.provider.views import (
    CalendarProvider,
    DatasetProvider,
    ExpressionProvider,
    FeatureProvider,
    InstrumentProvider,
)
from qlib.utils.objects import init_instance_by_config


class ProviderBackendMixin:
    """What a provider reads from: the storage class that `backend` configures, or Qlib's of files."""

    backend: Mapping[str, Any]

    def get_default_backend(self) -> dict[str, str]:
        """Return the configuration of the storage of files, by the kind in the class's name (`Local|Kind|Provider`)."""
        kind = re.findall("[A-Z][^A-Z]*", type(self).__name__)[-2]
        return {"class": f"File{kind}Storage", "module_path": "qlib.data.storage.file_storage"}

    def backend_obj(self, **kwargs: Any) -> Any:
        """Return the storage; `kwargs` say of what: freq and future, market and freq, or instrument, field and freq."""
        return init_instance_by_config(dict(self.backend or self.get_default_backend()), **kwargs)


class LocalCalendarProvider(CalendarProvider, ProviderBackendMixin):
    """Calendars; a subclass may bring its own by `load_calendar`."""

    def __init__(self, remote: bool = False, backend: Mapping[str, Any] = {}) -> None:
        super().__init__()
        self.remote, self.backend = remote, backend

    def load_calendar(self, freq: str, future: bool) -> list[pd.Timestamp]:
        """Return every bar's time."""
        if not self.backend:
            return self.provider.locate(freq, future).stamps.tolist()
        return [pd.Timestamp(time) for time in self.backend_obj(freq=freq, future=future).data]

    def _whole(self, freq: str, future: bool) -> Calendar:
        own = self.backend or type(self).load_calendar is not LocalCalendarProvider.load_calendar
        return Calendar(freq, self.load_calendar(freq, future)) if own else super()._whole(freq, future)


class LocalInstrumentProvider(InstrumentProvider, ProviderBackendMixin):
    """Universes."""

    def __init__(self, backend: Mapping[str, Any] = {}) -> None:
        super().__init__()
        self.backend = backend

    def list_instruments(
        self, instruments: Any, start_time: Any = None, end_time: Any = None, freq: str = "day", as_list: bool = False
    ) -> Any:
        """Return who is alive; see `Provider.list_instruments`."""
        if not (self.backend and self.get_inst_type(instruments) == self.CONF):
            return super().list_instruments(instruments, start_time, end_time, freq, as_list)
        spans = dict(self.backend_obj(market=instruments["market"], freq=freq).data)
        alive = self.provider.list_instruments(spans, start_time, end_time, freq)
        for config in instruments.get("filter_pipe") or []:
            keep = usable(config)
            own = {"provider": self.provider} if type(keep).__call__ is SeriesDFilter.__call__ else {}
            alive = keep(alive, start_time, end_time, freq, **own)
        return list(alive) if as_list else alive


class LocalFeatureProvider(FeatureProvider, ProviderBackendMixin):
    """Stored fields."""

    def __init__(self, remote: bool = False, backend: Mapping[str, Any] = {}) -> None:
        super().__init__()
        self.remote, self.backend = remote, backend

    def feature(self, instrument: str, field: str, start_index: int, end_index: int, freq: str) -> pd.Series:
        """Return a stored field at the calendar positions start_index ... end_index (float32; index: position)."""
        if not self.backend:
            return super().feature(instrument, field, start_index, end_index, freq)
        name = str(field).removeprefix("$").lower()
        return self.backend_obj(instrument=instrument, field=name, freq=freq)[start_index : end_index + 1]


class LocalExpressionProvider(ExpressionProvider):
    """Formulas; with `time2idx=False` a series is by time, else by calendar position."""

    def __init__(self, time2idx: bool = True) -> None:
        super().__init__()
        self.time2idx = time2idx

    def expression(
        self, instrument: str, field: Any, start_time: Any = None, end_time: Any = None, freq: str = "day"
    ) -> pd.Series:
        """Return a formula over one instrument (float32, or dates as objects); its name is the canonical text."""
        if self.time2idx:
            return super().expression(instrument, field, start_time, end_time, freq)
        return self._by_time(instrument, field, start_time, end_time, freq)


class LocalDatasetProvider(DatasetProvider):
    """Frames of formulas; times are always those of the calendar, whatever `align_time` says."""

    def __init__(self, align_time: bool = True) -> None:
        super().__init__()
        self.align_time = align_time

    @staticmethod
    def multi_cache_walker(
        instruments: Any, fields: Sequence[Any], start_time: Any = None, end_time: Any = None, freq: str = "day"
    ) -> None:
        """Ask `ExpressionD` for every formula over every instrument, so that its cache on disk holds them."""
        for name in DatasetProvider.get_instruments_d(instruments, freq):
            LocalDatasetProvider.cache_walker(name, start_time, end_time, freq, fields)

    @staticmethod
    def cache_walker(inst: str, start_time: Any, end_time: Any, freq: str, column_names: Sequence[Any]) -> None:
        """Ask `ExpressionD` for every formula over one instrument."""
        for field in column_names:
            active_provider().parts["expression"].expression(inst, field, start_time, end_time, freq)


def register_all_wrappers(C: QlibConfig) -> None:
    """Let `D`, and with it Cal, Inst and the other globals, show the store of the settings."""
    live = getattr(C.followed, "provider", None)
    fill(live if isinstance(live, Provider) else Provider(C.settings))

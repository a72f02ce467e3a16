"""The providers that settings name in the place of the package's own, as `qlib.init` takes them from Qlib's users.

    feature_provider={"class": "LocalFeatureProvider", "kwargs": {"backend": {"class": "MyFeatureStorage", ...}}}
    dataset_cache="DiskDatasetCache"        expression_cache="DiskExpressionCache"        calendar_cache=...

Calendars, universes and stored fields that come from elsewhere are what `D` and every formula read (`PartStore`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from qlib.config import Settings
from qlib.data.calendar import Calendar
from qlib.data.provider.store import Store
from qlib.data.storage.arena import ABSENT, Raw
from qlib.data.storage.watch import note_values
from qlib.data.universe import Spans, Universe, as_spans
from qlib.errors import ConfigError, MissingDataError, StoreError
from qlib.log import get_module_logger
from qlib.utils.objects import get_callable_kwargs, init_instance_by_config

if TYPE_CHECKING:
    from qlib.data.provider.facade import Provider

logger = get_module_logger("data")

KINDS: Final = ("calendar", "instrument", "feature", "pit", "expression", "dataset")
_READ: Final = ("calendar", "instrument", "feature")
CACHED: Final = ("calendar", "expression", "dataset")
_PROVIDERS: Final = "qlib.data.data"  # where a name without a module is looked up
_CACHES: Final = "qlib.data.cache"


@runtime_checkable
class ByTime(Protocol):
    """A cache of frames that can keep them in order of time as well."""

    keeps_by_time: bool

    def dataset(self, *args: Any, **kwargs: Any) -> pd.DataFrame: ...


class Parts:
    """What `Cal`, `Inst`, `FeatureD`, `PITD`, `ExpressionD` and `DatasetD` show, of one provider's settings.

    `datasets` is what `D.features` asks: a cache, a dataset provider of a user's own, or None for the package's own.
    """

    def __init__(self, provider: Provider) -> None:
        settings = provider.settings
        self._made: dict[str, Any] = {}
        self.store = provider.store
        below = copy(provider)  # reads the store itself: who brings calendars may add to those that are there
        below.parts = self
        for kind in KINDS:
            made = _of(settings[f"{kind}_provider"], _PROVIDERS)
            if hasattr(made, "_provider"):
                alone = kind in _READ and not getattr(made, "backend", None)
                made._provider = below if alone else provider  # noqa: SLF001  not the live session's
            self._made[kind] = made
        self.own = {kind: made for kind, made in self._made.items() if not _plain(made, kind)}
        if any(kind in self.own for kind in _READ):
            self.store = PartStore(provider.store, self.own)
        for kind in ("expression", "pit"):
            if kind in self.own:
                logger.warning(
                    f"{kind}_provider={settings[f'{kind}_provider']!r} answers {_GLOBALS[kind]} only: "
                    "what D.features computes comes from the package's own engine"
                )
        for kind in CACHED:
            given = settings.get(f"{kind}_cache")
            if given is not None:
                self._made[kind] = _cache(kind, _of(given, _CACHES, provider=self._made[kind]))
        cached = settings.get("dataset_cache") is not None
        self.datasets: Any = self._made["dataset"] if cached or "dataset" in self.own else None

    def __getitem__(self, kind: str) -> Any:
        return self._made[kind]


_GLOBALS: Final = {"expression": "ExpressionD", "pit": "PITD"}


def _of(given: Any, module: str, **arguments: Any) -> Any:
    """Return what a configuration describes; something that is none is the thing itself."""
    if isinstance(given, str | Mapping):
        return init_instance_by_config(given, module, **arguments)
    return given


def _cache(kind: str, made: Any) -> Any:
    """Return a cache that answers what its kind is asked; ConfigError for one that would only hand it on."""
    answers = [one for one in CACHED if hasattr(type(made), one)]  # an instance hands on whatever it lacks
    if kind in answers or (not answers and hasattr(made, "provider") and callable(getattr(made, kind, None))):
        return made
    whose = f", a cache for {answers[0]}_cache" if answers else ""
    raise ConfigError(
        f"{kind}_cache: received {type(made).__name__}{whose}; allowed are {_ALLOWED[kind]}, or your own subclass of "
        f"{kind.capitalize()}Cache"
    )


_ALLOWED: Final = {
    "calendar": "MemoryCalendarCache",
    "expression": "DiskExpressionCache",
    "dataset": "SimpleDatasetCache and DiskDatasetCache",
}


def _plain(made: Any, kind: str) -> bool:
    """Tell whether a part is the package's own, and reads where the package reads."""
    return type(made).__module__.startswith("qlib.data.provider.") and not getattr(made, "backend", None)


def asked_of(
    datasets: Any,
    instruments: Any,
    fields: Sequence[Any],
    start_time: Any,
    end_time: Any,
    freq: str,
    disk_cache: int,
    inst_processors: Sequence[Any],
) -> pd.DataFrame:
    """Return what a dataset provider, or cache, of a user's own answers: with `disk_cache` if it takes one."""
    asked = (instruments, fields, start_time, end_time, freq)
    if hasattr(datasets, "_dataset_uri"):
        return datasets.dataset(*asked, disk_cache, inst_processors=inst_processors)
    return datasets.dataset(*asked, inst_processors=inst_processors)


class PartStore:
    """A store of which calendars, universes or stored fields come from a user's own providers, see `Store`."""

    def __init__(self, base: Store, own: dict[str, Any]) -> None:
        self._base = base
        self.settings: Settings = base.settings
        self._calendars, self._universes, self._features = (
            own.get(kind) for kind in ("calendar", "instrument", "feature")
        )
        self._known: dict[tuple[str, bool], Calendar] = {}

    def freqs(self) -> list[str]:
        try:
            return self._base.freqs()
        except MissingDataError:
            return []

    def stored_freq(self, freq: str) -> str:
        try:
            return self._base.stored_freq(freq)
        except MissingDataError:
            if self._calendars is None:
                raise
            return freq

    def where(self, freq: str) -> str:
        return self._base.where(freq) if self._features is None else type(self._features).__name__

    def reported(self, freq: str | None = None) -> Path:
        return self._base.reported(freq)

    def calendar(self, freq: str, *, future: bool = False) -> Calendar:
        if self._calendars is None:
            return self._base.calendar(freq, future=future)
        name = f"calendar of {type(self._calendars).__name__}"
        calendar = Calendar(freq, self._calendars.load_calendar(freq, future), name)
        known = self._known.get((freq, future))
        if known is None or not np.array_equal(known.times, calendar.times):
            known = self._known[freq, future] = calendar
        return known

    def spans(self, market: str, freq: str) -> Spans:
        return self.universe(market, freq).spans

    def universe(self, market: str, freq: str) -> Universe:
        if self._universes is None:
            return self._base.universe(market, freq)
        if getattr(self._universes, "backend", None):
            return Universe(as_spans(self._universes.backend_obj(market=market, freq=freq).data))
        whole = {"market": market, "filter_pipe": []}
        return Universe(as_spans(self._universes.list_instruments(whole, freq=freq)))

    def stored_fields(self, instrument: str, freq: str) -> list[str]:
        return self._base.stored_fields(instrument, freq) if self._features is None else []

    def stored_instruments(self, freq: str) -> list[str]:
        return self._base.stored_instruments(freq) if self._features is None else []

    def has_instrument(self, instrument: str, freq: str) -> bool:
        return self._features is None and self._base.has_instrument(instrument, freq)

    def lengths(self, instruments: Sequence[str], field: str, freq: str) -> np.ndarray:
        if self._features is None:
            return self._base.lengths(instruments, field, freq)
        return np.full(len(instruments), len(self.calendar(self.stored_freq(freq))), np.int64)

    def read(
        self,
        instruments: Sequence[str],
        fields: Sequence[str],
        freq: str,
        first: int,
        last: int,
        *,
        threads: int = 1,
        calendar: Calendar | None = None,
    ) -> Raw:
        if self._features is None:
            entries = calendar if self._calendars is None else self.calendar(self.stored_freq(freq))
            return self._base.read(instruments, fields, freq, first, last, threads=threads, calendar=entries)
        shape = (len(instruments), len(fields))
        begin, count = np.full(shape, first, np.int64), np.full(shape, ABSENT, np.int64)
        offset, pieces, end = np.zeros(shape, np.int64), [np.empty(0, np.float32)], 0
        for i, name in enumerate(instruments):  # a user's storage is asked for one series at a time
            for j, field in enumerate(fields):
                series = self._features.feature(name, f"${field}", first, last, self.stored_freq(freq))
                values, start = _placed(series, first, last, f"{name} ${field} of {type(self._features).__name__}")
                if len(values):
                    begin[i, j], count[i, j], offset[i, j] = start, len(values), end
                    pieces.append(values)
                    end += len(values)
        values = np.concatenate(pieces)
        values.setflags(write=False)
        note_values(self.where(freq), values)
        return Raw(values, offset, begin, count)


def _placed(series: Any, first: int, last: int, what: str) -> tuple[np.ndarray, int]:
    """Return the values of a series by calendar position, and where they begin; gaps are NaN."""
    if series is None or not len(series):
        return np.empty(0, np.float32), first
    if not pd.api.types.is_integer_dtype(series.index.dtype):
        raise StoreError(f"{what}: its index is {series.index.dtype}; calendar positions (whole numbers) are expected")
    at = series.index.to_numpy(np.int64)
    if at.min() < first or at.max() > last:
        raise StoreError(f"{what}: has positions {at.min()} to {at.max()}, where {first} to {last} was asked")
    values = np.full(int(at.max() - at.min()) + 1, np.nan, np.float32)
    values[at - at.min()] = series.to_numpy(np.float32)
    return values, int(at.min())


def provider_class(settings: Settings, own: type[Provider]) -> type[Provider]:
    """Return the class that `settings["provider"]` names: `own`, or a subclass of it."""
    name = settings["provider"]
    if name == "LocalProvider":
        return own
    made, _ = get_callable_kwargs({"class": name} if isinstance(name, str) else name, _PROVIDERS)
    if not (isinstance(made, type) and issubclass(made, own)):
        raise ConfigError(f"provider: received {name!r}; LocalProvider or a subclass of it is allowed")
    return made

"""Qlib's storage classes over the files of a store.

    FileCalendarStorage("day", False, provider_uri=root)[-1]
    FileInstrumentStorage("all", "day", provider_uri=root)["SH600000"]
    FileFeatureStorage("SH600000", "close", "day", provider_uri=root)[0:10]

Every change writes the file anew and moves it into place, so an interrupted one leaves the old content.
A frequency is looked up by meaning ("1d" reads the files of "day"); look-ups ignore the case of names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.config import DataPathManager, active_settings
from qlib.data.calendar import Calendar, CalendarRangeError, read_calendar, source_of, time_texts
from qlib.data.storage.binary import read_bin, read_start, write_bin
from qlib.data.storage.instruments import Spans, read_instruments, write_instruments
from qlib.data.storage.storage import CalendarStorage, CalVT, FeatureStorage, InstKT, InstrumentStorage, InstVT
from qlib.errors import MissingDataError, StoreError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.paths import instrument_folder, replace_file
from qlib.utils.time import Freq

logger = get_module_logger("file_storage")


def calendar_freqs(root: Path) -> list[str]:
    """Return the frequencies that have a calendar file below `root`, finest first."""
    folder = root / "calendars"
    stems = [path.stem for path in folder.glob("*.txt") if not path.stem.endswith("_future")]
    known = []
    for stem in stems:
        try:
            known.append((Freq(stem).minutes, stem))
        except ValueError:
            logger.warning(f"{folder / stem}.txt is not the calendar of any frequency and is left alone")
    return [stem for _, stem in sorted(known)]


def same_freq(freq: str | Freq, stored: Iterable[str]) -> str | None:
    """Return the stored spelling of `freq` ("1d" -> "day"), or None."""
    return next((candidate for candidate in stored if Freq(candidate) == Freq(freq)), None)


def spelled_freqs(paths: DataPathManager) -> list[str]:
    """Return the frequencies that have a folder of their own, finest first, each as its calendar file spells it."""
    found = []
    for freq in paths.provider_uri:
        known = calendar_freqs(paths.get_data_uri(freq))
        found.append(same_freq(freq, known) or freq)
    return sorted(found, key=lambda freq: Freq(freq).seconds)


def feature_path(root: Path, instrument: str, field: str, freq: str) -> Path:
    return root / "features" / instrument_folder(instrument) / f"{field.lower()}.{freq.lower()}.bin"


class FileStorageMixin:
    """Where the files of a storage lie."""

    freq: str
    storage_name: str
    _provider_uri: Any = None

    @property
    def dpm(self) -> DataPathManager:
        return active_settings().dpm if self._provider_uri is None else DataPathManager(self._provider_uri)

    @property
    def provider_uri(self) -> dict[str, str]:
        return self.dpm.provider_uri

    @property
    def support_freq(self) -> list[Freq]:
        return [Freq(freq) for freq in self._stored_freqs()]

    @property
    def _roots(self) -> str:
        return ", ".join(self.provider_uri.values())

    def _stored_freqs(self) -> list[str]:
        uris = self.provider_uri
        if DataPathManager.DEFAULT_FREQ in uris:
            return calendar_freqs(self.dpm.get_data_uri())
        return spelled_freqs(self.dpm)

    @property
    def _freq_file(self) -> str:
        """The stored spelling of the frequency; the one asked for where nothing like it is stored."""
        return same_freq(self.freq, self._stored_freqs()) or str(self.freq)

    @property
    def file_name(self) -> str:
        raise NotImplementedError

    @property
    def uri(self) -> Path:
        return self.dpm.get_data_uri(self._freq_file) / f"{self.storage_name}s" / self.file_name

    def check(self) -> None:
        """Raise MissingDataError (a ValueError) where the store has nothing at this frequency."""
        if same_freq(self.freq, self._stored_freqs()) is None:
            raise MissingDataError(
                f"{self.storage_name}: no data at freq {self.freq} in {self._roots}; "
                f"stored there: {', '.join(self._stored_freqs()) or 'nothing'}"
            )


class FileCalendarStorage(FileStorageMixin, CalendarStorage):
    """A calendar file; a frequency that is not stored is resampled from a finer one (read only)."""

    def __init__(self, freq: str, future: bool, provider_uri: Any = None, **kwargs: Any) -> None:
        super().__init__(freq, future, **kwargs)
        self.future = future
        self._provider_uri = provider_uri
        self.enable_read_cache = True
        self.region = active_settings()["region"]

    @property
    def file_name(self) -> str:
        return f"{self._source()}_future.txt" if self.future else f"{self._source()}.txt"

    def _source(self) -> str:
        """The stored frequency that this calendar is read from; its own name where nothing fits."""
        return source_of(self.freq, self._stored_freqs()) or str(self.freq)

    @property
    def uri(self) -> Path:
        return self.dpm.get_data_uri(self._source()) / "calendars" / self.file_name

    def check(self) -> None:
        stored = self._stored_freqs()
        if source_of(self.freq, stored) is None:
            raise MissingDataError(
                f"no calendar of freq {self.freq} in {self._roots}, and none that it "
                f"could be resampled from; stored there: {', '.join(stored) or 'nothing'}"
            )

    def calendar(self) -> Calendar:
        """Return the calendar, resampled if need be; a missing file raises MissingDataError (a ValueError)."""
        self.check()
        path = self.uri
        if self.future and not path.exists():
            logger.warning(f"{path} does not exist: the calendar without a future is used")
            path = path.with_name(f"{self._source()}.txt")
        if not path.exists():
            raise MissingDataError(f"calendar does not exist: {path}")
        settings = active_settings()
        return read_calendar(path, self._source()).resample(
            self.freq,
            settings.region.sessions,
            settings["min_data_shift"],
            sessions_only=settings["compat"] == "qlib" and not settings.region.always_open,
        )

    @property
    def data(self) -> list[CalVT]:
        calendar = self.calendar()
        return time_texts(calendar.times, calendar.freq)

    def _write(self, texts: Iterable[Any]) -> None:
        if same_freq(self.freq, self._stored_freqs()) is None and self._stored_freqs() and self._source() != self.freq:
            raise StoreError(f"{self.uri} is not of freq {self.freq}; a resampled calendar cannot be written")
        calendar = Calendar(self.freq, [pd.Timestamp(text).to_datetime64() for text in texts], f"calendar {self.uri}")
        content = "".join(text + "\n" for text in time_texts(calendar.times, self.freq))
        replace_file(self.uri, lambda file: file.write(content.encode()))

    def _texts(self) -> list[CalVT]:
        return self.data if self.uri.exists() else []

    def extend(self, values: Iterable[CalVT]) -> None:
        self._write([*self._texts(), *values])

    def clear(self) -> None:
        self._write([])

    def index(self, value: CalVT) -> int:
        text, texts = time_texts([pd.Timestamp(value).to_datetime64()], self.freq)[0], self._texts()
        if text not in texts:
            raise MissingDataError(f"{text} is no entry of {self.uri}, which holds {_extent(texts)}")
        return texts.index(text)

    def insert(self, index: int, value: CalVT) -> None:
        texts = self._texts()
        texts.insert(index, value)
        self._write(texts)

    def remove(self, value: CalVT) -> None:
        texts = self._texts()
        del texts[self.index(value)]
        self._write(texts)

    def __setitem__(self, i: int | slice, values: Any) -> None:
        texts: list[Any] = self._texts()
        texts[i] = values
        self._write(texts)

    def __delitem__(self, i: int | slice) -> None:
        texts = self._texts()
        del texts[i]
        self._write(texts)

    def __getitem__(self, i: int | slice) -> Any:
        texts = self.data
        if isinstance(i, int | np.integer) and not -len(texts) <= i < len(texts):
            raise CalendarRangeError(f"position {i}: {self.uri} holds {_extent(texts)}")
        return texts[i]

    def __len__(self) -> int:
        return len(self.data)


def _extent(texts: Sequence[Any]) -> str:
    return f"{len(texts)} entries, {texts[0]} to {texts[-1]}" if texts else "no entry"


class FileInstrumentStorage(FileStorageMixin, InstrumentStorage):
    """A market's instruments file."""

    INSTRUMENT_SEP = "\t"
    INSTRUMENT_START_FIELD = "start_datetime"
    INSTRUMENT_END_FIELD = "end_datetime"
    SYMBOL_FIELD_NAME = "instrument"

    def __init__(self, market: str, freq: str, provider_uri: Any = None, **kwargs: Any) -> None:
        super().__init__(market, freq, **kwargs)
        self._provider_uri = provider_uri

    @property
    def file_name(self) -> str:
        return f"{self.market.lower()}.txt"

    @property
    def data(self) -> Spans:  # type: ignore[override]
        path = self.uri
        if not path.exists():
            stored = sorted(other.stem for other in path.parent.glob("*.txt"))
            raise MissingDataError(
                f"no market is called {self.market} in {path.parent}; stored there: {', '.join(stored) or 'nothing'}"
                f"{did_you_mean(self.market, stored)}"
            )
        return read_instruments(path)

    def _write(self, spans: Any) -> None:
        write_instruments(self.uri, spans)

    def _spans(self) -> Spans:
        return self.data if self.uri.exists() else {}

    def clear(self) -> None:
        self._write({})

    def update(self, *args: Any, **kwargs: Any) -> None:
        self._write(self._spans() | dict(*args, **kwargs))

    def __setitem__(self, k: InstKT, v: InstVT) -> None:
        self.update({k: v})

    def __delitem__(self, k: InstKT) -> None:
        spans = self.data
        del spans[k]
        self._write(spans)

    def __getitem__(self, k: InstKT) -> InstVT:
        return self.data[k]  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self.data)


class FileFeatureStorage(FileStorageMixin, FeatureStorage):
    """The `.bin` file of one field of one instrument."""

    def __init__(self, instrument: str, field: str, freq: str, provider_uri: Any = None, **kwargs: Any) -> None:
        super().__init__(instrument, field, freq, **kwargs)
        self._provider_uri = provider_uri

    @property
    def file_name(self) -> str:
        return f"{instrument_folder(self.instrument)}/{self.field.lower()}.{self._freq_file.lower()}.bin"

    def _values(self, first: int = 0, last: int | None = None) -> pd.Series:
        self.check()
        try:
            start, values = read_bin(self.uri, first, last)
        except FileNotFoundError:
            start, values = 0, np.empty(0, np.float32)
        if not len(values):
            return pd.Series(dtype=np.float32)
        return pd.Series(values.copy(), index=pd.RangeIndex(start, start + len(values)))

    def _extent(self) -> tuple[int, int] | None:
        """Return (first position, number of values); None where nothing is stored."""
        self.check()
        try:
            extent = read_start(self.uri)
        except FileNotFoundError:
            return None
        return extent if extent is not None and extent[1] else None

    @property
    def data(self) -> pd.Series:
        return self._values()

    @property
    def start_index(self) -> int | None:
        extent = self._extent()
        return None if extent is None else extent[0]

    @property
    def end_index(self) -> int | None:
        extent = self._extent()
        return None if extent is None else extent[0] + extent[1] - 1

    def clear(self) -> None:
        replace_file(self.uri, lambda file: None)

    def write(self, data_array: Sequence[float] | np.ndarray, index: int | None = None) -> None:
        new = np.asarray(data_array, dtype=np.float32)
        if not new.size:
            return
        extent = self._extent()
        if extent is None:
            write_bin(self.uri, 0 if index is None else int(index), new)
            return
        old_start, old = read_bin(self.uri)
        new_start = old_start + len(old) if index is None else int(index)
        start = min(old_start, new_start)
        values = np.full(max(old_start + len(old), new_start + len(new)) - start, np.nan, np.float32)
        values[old_start - start :][: len(old)] = old
        values[new_start - start :][: len(new)] = new
        write_bin(self.uri, start, values)

    def rewrite(self, data: Sequence[float] | np.ndarray, index: int) -> None:
        write_bin(self.uri, int(index), np.asarray(data, dtype=np.float32))

    def __getitem__(self, i: int | slice) -> Any:
        if isinstance(i, slice):
            return self._slice(i)
        if not isinstance(i, int | np.integer):
            raise TypeError(f"position: received {i!r} ({type(i).__name__}); a whole number or a slice is allowed")
        extent = self._extent()
        if extent is None:
            return None, None
        start, count = extent
        if not start <= i < start + count:
            raise IndexError(f"position {i}: {self.uri} holds positions {start} to {start + count - 1}")
        return int(i), self._values(int(i), int(i)).iloc[0]

    def _slice(self, i: slice) -> pd.Series:
        first = 0 if i.start is None else i.start
        if first < 0 or (i.stop is not None and i.stop < 0) or i.step not in (None, 1):
            return self._values().iloc[i] if len(self) else self._values()
        if i.stop is not None and i.stop <= first:
            return pd.Series(dtype=np.float32)
        return self._values(first, None if i.stop is None else i.stop - 1)

    def __len__(self) -> int:
        extent = self._extent()
        if extent is None and not self.uri.exists():
            raise MissingDataError(f"feature does not exist: {self.uri}")
        return 0 if extent is None else extent[1]

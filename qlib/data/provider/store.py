"""What a provider asks of a store, and the files of a store as arrays.

    Store ─┬─ FileStore      the folders that `provider_uri` names
           └─ FrameStore     what `qlib.init(data=...)` brought, see frame_store.py

A `FileStore` opens nothing when it is made. What it has read of calendars and instruments it remembers until the file
changes (its size, time or inode); values are read from the files every time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from qlib.config import DataPathManager, Settings
from qlib.data.calendar import Calendar, read_calendar, source_of
from qlib.data.storage.arena import Raw, lengths, read_many
from qlib.data.storage.file_storage import calendar_freqs, same_freq, spelled_freqs
from qlib.data.storage.instruments import read_instruments
from qlib.data.storage.watch import note_file, note_folder, note_series
from qlib.data.universe import Spans, Universe
from qlib.errors import MissingDataError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.paths import fname_to_code, instrument_folder
from qlib.utils.time import Freq

logger = get_module_logger("data")

T = TypeVar("T")

_folder_of = lru_cache(maxsize=1 << 16)(instrument_folder)


class Store(Protocol):
    """Read access to bars by frequency, instrument, field and calendar position.

    Frequencies are recognised by meaning ("1d" is "day"), instruments whatever their case.
    """

    settings: Settings

    def freqs(self) -> list[str]:
        """Return the stored frequencies, finest first."""

    def stored_freq(self, freq: str) -> str:
        """Return the stored spelling of `freq`; MissingDataError, which lists what is stored, where there is none."""

    def where(self, freq: str) -> str:
        """Return what messages call the place in which a frequency is stored."""

    def reported(self, freq: str | None = None) -> Path:
        """Return the folder that holds `financial`, of point-in-time data; MissingDataError where there is none."""

    def calendar(self, freq: str, *, future: bool = False) -> Calendar:
        """Return the calendar of `freq`, resampled from the coarsest finer one where it is not stored."""

    def spans(self, market: str, freq: str) -> Spans:
        """Return the spans of a market's instruments in their own order; not to be changed."""

    def universe(self, market: str, freq: str) -> Universe:
        """Return a market's instruments and their spans; MissingDataError, which lists the markets, for another."""

    def stored_fields(self, instrument: str, freq: str) -> list[str]:
        """Return the fields stored for an instrument at a frequency, sorted; none for an unknown instrument."""

    def stored_instruments(self, freq: str) -> list[str]:
        """Return every instrument that is stored (lower case), sorted."""

    def has_instrument(self, instrument: str, freq: str) -> bool:
        """Tell whether anything is stored of an instrument."""

    def lengths(self, instruments: Sequence[str], field: str, freq: str) -> np.ndarray:
        """Return how many values of a field are stored for each instrument, at most, without reading them (int64)."""

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
        """Read `fields` of `instruments` at calendar positions first ... last.

        Parameters
        ----------
        calendar
            The calendar of `freq`, if the caller has it.

        Raises
        ------
        StoreError
            What is stored is damaged, or does not fit the calendar; the message names it.
        """


class Frequencies:
    """What is stored, finest first, and the stored spelling of everything that was asked for."""

    def __init__(self, stored: list[str]) -> None:
        self.stored = stored
        self._spelled: dict[str, str | None] = {}

    def spelled(self, freq: str) -> str | None:
        """Return the stored spelling of `freq`; None where it is not stored."""
        if freq not in self._spelled:
            self._spelled[freq] = same_freq(freq, self.stored)
        return self._spelled[freq]

    def needed(self, freq: str, place: str) -> str:
        """Return the stored spelling of `freq`; MissingDataError, which lists what is stored, where there is none."""
        found = self.spelled(freq)
        if found is None:
            raise MissingDataError(
                f"freq: received {freq}; {place} does not contain data for {Freq(freq)}; "
                f"stored there: {', '.join(self.stored)}"
            )
        return found

    def source(self, freq: str, place: str) -> str:
        """Return the stored frequency from which the calendar of `freq` is made, else raise likewise."""
        found = self.spelled(freq) or source_of(freq, self.stored)
        if found is None:
            raise MissingDataError(
                f"freq: received {freq}; {place} has no calendar for it, and none that it could be resampled "
                f"from; stored there: {', '.join(self.stored)}"
            )
        return found


class FileStore:
    """Read access to the store (or, by frequency, the stores) that `settings.provider_uri` names."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._remembered: dict[tuple[Any, ...], tuple[tuple[int, ...], Any]] = {}
        self._folders: dict[str | None, str] = {}

    # ------------------------------------------------------------------ where things lie
    def root(self, freq: str | None = None) -> Path:
        """Return the folder that holds `freq`; MissingDataError says what to do where there is none."""
        root = self.settings.dpm.get_data_uri(freq)
        if not root.is_dir():
            raise MissingDataError(
                f"provider_uri: there is no folder {root}; write the sample market with "
                "`python scripts/get_data.py sample`, or name a store in qlib.init(provider_uri=...)"
            )
        return root

    def _inside(self, freq: str | None, *parts: str) -> str:
        """Return a path in the folder that holds `freq`; nobody has looked whether it is there."""
        if freq not in self._folders:
            self._folders[freq] = os.fspath(self.settings.dpm.get_data_uri(freq))
        return os.path.join(self._folders[freq], *parts)  # noqa: PTH118  a Path costs more than the stat it is for

    def freqs(self) -> list[str]:
        """Return the stored frequencies, finest first."""
        return list(self._frequencies().stored)

    def _frequencies(self) -> Frequencies:
        uris = self.settings["provider_uri"]
        if DataPathManager.DEFAULT_FREQ not in uris:
            return self._named
        folder = self._inside(None, "calendars")
        try:
            found = self._remember(folder, ("freqs",), lambda: Frequencies(calendar_freqs(self.root())))
        except MissingDataError:
            found = None
        if found is None or not found.stored:
            raise MissingDataError(f"{self.root()} is no store: it has no calendars/<freq>.txt")
        return found

    @cached_property
    def _named(self) -> Frequencies:
        return Frequencies(spelled_freqs(self.settings.dpm))

    def stored_freq(self, freq: str) -> str:
        """Return the stored spelling of `freq` ("1d" -> "day").

        Raises MissingDataError, which lists what is stored, where nothing is stored at that frequency.
        """
        return self._frequencies().needed(freq, self._roots())

    def where(self, freq: str) -> str:
        """Return the folder that holds a frequency, as text."""
        return str(self.root(self.stored_freq(freq)))

    def reported(self, freq: str | None = None) -> Path:
        """Return the folder that holds `financial`: that of the frequency's own store, else the first that has it."""
        freqs = [*([] if freq is None else [self.stored_freq(freq)]), *self.freqs()]
        found = (root for root in map(self.root, freqs) if (root / "financial").is_dir())
        return next(found, None) or self.root(freqs[0])

    def _roots(self) -> str:
        return ", ".join(self.settings["provider_uri"].values())

    # ------------------------------------------------------------------ calendars and universes
    def calendar(self, freq: str, *, future: bool = False) -> Calendar:
        """Return the calendar of `freq`, resampled from the coarsest finer one where it is not stored."""
        frequencies = self._frequencies()
        stored = frequencies.spelled(freq)
        source = frequencies.source(freq, self._roots())
        path = self._inside(source, "calendars", f"{source}.txt")
        if future:
            ahead = self._inside(source, "calendars", f"{source}_future.txt")
            if Path(ahead).exists():
                path = ahead
            else:
                logger.warning(f"{ahead} does not exist: the calendar without a future is used")
        settings = self.settings
        region, shift = settings.region, settings["min_data_shift"]
        folded = settings["compat"] == "qlib" and not region.always_open

        def read() -> Calendar:
            return read_calendar(Path(path), source).resample(freq, region.sessions, shift, sessions_only=folded)

        try:
            return self._remember(path, ("calendar", stored or str(Freq(freq)), region.sessions, shift, folded), read)
        except MissingDataError:
            self.root(source)  # perhaps the whole folder is not there: it says what to do
            raise

    def spans(self, market: str, freq: str) -> Spans:
        """Return the spans of a market's instruments, in the order of its file; not to be changed.

        Raises MissingDataError, which lists the stored markets, where there is none of that name.
        """
        return self.universe(market, freq).spans

    def universe(self, market: str, freq: str) -> Universe:
        """Return a market's instruments and their spans.

        Raises MissingDataError, which lists the stored markets, where there is none of that name.
        """
        frequencies = self._frequencies()
        held = frequencies.spelled(freq) or frequencies.stored[0]
        path = self._inside(held, "instruments", f"{market.lower()}.txt")
        try:
            return self._remember(path, ("universe",), lambda: Universe(read_instruments(Path(path))))
        except MissingDataError:
            folder = self.root(held) / "instruments"
            stored = sorted(other.stem for other in folder.glob("*.txt"))
            raise MissingDataError(
                f"market: received {market!r}; {folder} has {', '.join(stored) or 'none'}{did_you_mean(market, stored)}"
            ) from None

    def _remember(self, path: str, kind: tuple[Any, ...], read: Callable[[], T]) -> T:
        if kind == ("freqs",):
            note_folder(path)
        else:
            note_file(path, os.path.dirname(os.path.dirname(path)))  # noqa: PTH120
        try:
            stat = os.stat(path)  # noqa: PTH116  every query asks this of every file it depends on
        except (FileNotFoundError, NotADirectoryError):
            raise MissingDataError(f"{path} does not exist: the store is incomplete") from None
        now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        key = (path, *kind)
        known = self._remembered.get(key)
        if known is None or known[0] != now:
            known = (now, read())
            self._remembered[key] = known
        return known[1]

    # ------------------------------------------------------------------ values
    def stored_fields(self, instrument: str, freq: str) -> list[str]:
        """Return the fields stored for an instrument at a frequency, sorted; none for an unknown instrument."""
        stored = self.stored_freq(freq)
        folder = self.root(stored) / "features" / instrument_folder(instrument)
        note_folder(folder)
        ending = f".{stored.lower()}.bin"
        return sorted(name.removesuffix(ending) for name in _names(folder) if name.endswith(ending))

    def stored_instruments(self, freq: str) -> list[str]:
        """Return every instrument that has a folder of features (lower case), sorted."""
        folder = self.root(self.stored_freq(freq)) / "features"
        note_folder(folder)
        return sorted(fname_to_code(name) for name in _names(folder))

    def has_instrument(self, instrument: str, freq: str) -> bool:
        folder = self.root(self.stored_freq(freq)) / "features" / instrument_folder(instrument)
        note_folder(folder)
        return folder.is_dir()

    def lengths(self, instruments: Sequence[str], field: str, freq: str) -> np.ndarray:
        """Return how many values of a field are stored for each instrument, at most, without opening a file (int64)."""
        stored = self.stored_freq(freq)
        folders = [_folder_of(name) for name in instruments]
        features, ending = self._inside(stored, "features"), f"{field}.{stored.lower()}.bin"
        note_series(features, instruments, [ending])
        return lengths(features, folders, [ending])[:, 0]

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
        """Read `fields` of `instruments` at calendar positions first ... last.

        Parameters
        ----------
        calendar
            The calendar of `freq`, if the caller has it.

        Raises
        ------
        StoreError
            A file is damaged, or does not fit the calendar; the message names it.
        """
        stored = self.stored_freq(freq)
        entries = len(self.calendar(stored) if calendar is None else calendar)
        folders = [_folder_of(name) for name in instruments]
        endings = [f"{field}.{stored.lower()}.bin" for field in fields]
        features = self._inside(stored, "features")
        note_series(features, instruments, endings)
        return read_many(features, folders, endings, first, last, entries, threads=threads)


def _names(folder: Path) -> Iterable[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except FileNotFoundError:
        return []

"""The files of a store as arrays.

A `Store` opens nothing when it is made. What it has read of calendars and instruments it remembers until the file
changes (its size, time or inode); values are read from the files every time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from qlib.config import DataPathManager, Settings
from qlib.data.calendar import Calendar, read_calendar, source_of
from qlib.data.storage.binary import read_bin
from qlib.data.storage.file_storage import calendar_freqs, same_freq
from qlib.data.storage.instruments import read_instruments
from qlib.data.universe import Spans
from qlib.errors import MissingDataError, StoreError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.paths import fname_to_code, instrument_folder
from qlib.utils.time import Freq

logger = get_module_logger("data")

T = TypeVar("T")
_FILES_PER_THREAD = 256  # below that a thread costs more than it saves


@dataclass(frozen=True, slots=True)
class Raw:
    """What is stored of some fields for some instruments inside a range of calendar positions.

    `first[i, j]` is the calendar position of the first value of field j of instrument i, `values[i][j]` the values
    (None: there is no such file).
    """

    first: np.ndarray
    values: list[list[np.ndarray | None]]


class Store:
    """Read access to the store (or, by frequency, the stores) that `settings.provider_uri` names."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._remembered: dict[tuple[Any, ...], tuple[tuple[int, ...], Any]] = {}

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

    def freqs(self) -> list[str]:
        """Return the stored frequencies, finest first."""
        uris = self.settings["provider_uri"]
        if DataPathManager.DEFAULT_FREQ not in uris:
            return sorted(uris, key=lambda freq: Freq(freq).minutes)
        root = self.root()
        folder = root / "calendars"
        freqs = self._remember(folder, ("freqs",), lambda: calendar_freqs(root)) if folder.is_dir() else []
        if not freqs:
            raise MissingDataError(f"{root} is no store: it has no calendars/<freq>.txt")
        return freqs

    def stored_freq(self, freq: str) -> str:
        """Return the stored spelling of `freq` ("1d" -> "day").

        Raises MissingDataError, which lists what is stored, where nothing is stored at that frequency.
        """
        stored = self.freqs()
        found = same_freq(freq, stored)
        if found is None:
            raise MissingDataError(
                f"freq: received {freq}; {self._roots()} does not contain data for {Freq(freq)}; "
                f"stored there: {', '.join(stored)}"
            )
        return found

    def _roots(self) -> str:
        return ", ".join(self.settings["provider_uri"].values())

    # ------------------------------------------------------------------ calendars and universes
    def calendar(self, freq: str, *, future: bool = False) -> Calendar:
        """Return the calendar of `freq`, resampled from the coarsest finer one where it is not stored."""
        stored = self.freqs()
        source = source_of(freq, stored)
        if source is None:
            raise MissingDataError(
                f"freq: received {freq}; {self._roots()} has no calendar for it, and none that it could be resampled "
                f"from; stored there: {', '.join(stored)}"
            )
        folder = self.root(source) / "calendars"
        path = folder / f"{source}.txt"
        if future:
            ahead = folder / f"{source}_future.txt"
            if ahead.exists():
                path = ahead
            else:
                logger.warning(f"{ahead} does not exist: the calendar without a future is used")
        settings = self.settings
        region, shift = settings.region, settings["min_data_shift"]
        folded = settings["compat"] == "qlib" and not region.always_open

        def read() -> Calendar:
            return read_calendar(path, source).resample(freq, region.sessions, shift, sessions_only=folded)

        return self._remember(path, ("calendar", str(Freq(freq)), region.sessions, shift, folded), read)

    def spans(self, market: str, freq: str) -> Spans:
        """Return the spans of a market's instruments, in the order of its file.

        Raises MissingDataError, which lists the stored markets, where there is none of that name.
        """
        folder = self.root(same_freq(freq, self.freqs()) or self.freqs()[0]) / "instruments"
        path = folder / f"{market.lower()}.txt"
        if not path.exists():
            stored = sorted(other.stem for other in folder.glob("*.txt"))
            raise MissingDataError(
                f"market: received {market!r}; {folder} has {', '.join(stored) or 'none'}{did_you_mean(market, stored)}"
            )
        return self._remember(path, ("spans",), lambda: read_instruments(path))

    def _remember(self, path: Path, kind: tuple[Any, ...], read: Callable[[], T]) -> T:
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise MissingDataError(f"{path} does not exist: the store is incomplete") from None
        now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        key = (str(path), *kind)
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
        ending = f".{stored.lower()}.bin"
        return sorted(name.removesuffix(ending) for name in _names(folder) if name.endswith(ending))

    def stored_instruments(self, freq: str) -> list[str]:
        """Return every instrument that has a folder of features (lower case), sorted."""
        return sorted(fname_to_code(name) for name in _names(self.root(self.stored_freq(freq)) / "features"))

    def has_instrument(self, instrument: str, freq: str) -> bool:
        return (self.root(self.stored_freq(freq)) / "features" / instrument_folder(instrument)).is_dir()

    def read(
        self, instruments: Sequence[str], fields: Sequence[str], freq: str, first: int, last: int, *, threads: int = 1
    ) -> Raw:
        """Read `fields` of `instruments` at calendar positions first ... last.

        Raises StoreError, which names the file, for a damaged one and for one that does not fit the calendar.
        """
        stored = self.stored_freq(freq)
        features = os.fspath(self.root(stored) / "features")
        entries = len(self.calendar(stored))
        endings = [f"{os.sep}{field}.{stored.lower()}.bin" for field in fields]
        starts = np.zeros((len(instruments), len(fields)), dtype=np.int64)
        values: list[list[np.ndarray | None]] = [[]] * len(instruments)

        def read_instrument(i: int) -> None:
            folder = features + os.sep + instrument_folder(instruments[i])
            row: list[np.ndarray | None] = []
            for j, ending in enumerate(endings):
                try:
                    starts[i, j], found = read_bin(folder + ending, first, last, entries)
                except FileNotFoundError:
                    row.append(None)
                except (IsADirectoryError, NotADirectoryError) as error:
                    raise StoreError(f"{folder + ending}: is not a feature file ({error.strerror})") from None
                else:
                    row.append(found)
            values[i] = row

        _each(read_instrument, len(instruments), min(threads, len(instruments) * len(fields) // _FILES_PER_THREAD))
        return Raw(starts, values)


def _each(work: Callable[[int], None], count: int, threads: int) -> None:
    if threads <= 1:
        for i in range(count):
            work(i)
        return

    def part(k: int) -> None:
        for i in range(k, count, threads):
            work(i)

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(part, k) for k in range(threads)]:
            done.result()


def _names(folder: Path) -> Iterable[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except FileNotFoundError:
        return []

"""A store over frames: what `FileStore` says of files, said of what `qlib.init(data=...)` brought.

Bars, universes and values are those that `write_store` would write of the same rows, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qlib.config import Settings
from qlib.data.calendar import Calendar
from qlib.data.provider.store import Frequencies
from qlib.data.storage.arena import Raw
from qlib.data.storage.frames import Frames
from qlib.data.storage.frames.grid import Grid
from qlib.data.storage.watch import note_values
from qlib.data.universe import Spans, Universe
from qlib.errors import MissingDataError
from qlib.log import get_module_logger

logger = get_module_logger("data")


class FrameStore:
    """Read access to the frames that `settings["data"]` holds, see `Store`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._frames = Frames.of(settings["data"])
        self._frequencies = Frequencies(self._frames.freqs)
        self._calendars: dict[tuple[object, ...], tuple[Grid, Calendar]] = {}

    def freqs(self) -> list[str]:
        """Return the frequencies that were brought, finest first."""
        return list(self._frequencies.stored)

    def stored_freq(self, freq: str) -> str:
        """Return `freq` as it was spelled; MissingDataError, which lists what was brought, where there is none."""
        return self._frequencies.needed(freq, "data")

    def where(self, freq: str) -> str:
        """Return the name of a frequency's frame."""
        return f"data[{self.stored_freq(freq)!r}]"

    def reported(self, freq: str | None = None) -> Path:  # noqa: ARG002  one folder for all
        """Return the folder that was named for point-in-time data."""
        if self._frames.pit is None:
            raise MissingDataError(
                "data: frames have no point-in-time data (P, PRef, $$field); name a folder that holds `financial`: "
                "Frames(..., pit=folder)"
            )
        return self._frames.pit

    # ------------------------------------------------------------------ calendars and universes
    def calendar(self, freq: str, *, future: bool = False) -> Calendar:
        """Return the calendar of `freq`, resampled from the coarsest finer one where it was not brought."""
        source = self._frequencies.source(freq, "data")
        if future:
            logger.warning(f"{self.where(source)} has no calendar of the future: the calendar without a future is used")
        region, shift = self.settings.region, self.settings["min_data_shift"]
        folded = self.settings["compat"] == "qlib" and not region.always_open
        grid = self._frames.grid(source)
        key = (self._frequencies.spelled(freq) or freq, region.sessions, shift, folded)
        known = self._calendars.get(key)
        if known is None or known[0] is not grid:
            own = Calendar(source, grid.times, f"calendar of {self.where(source)}")
            known = (grid, own.resample(freq, region.sessions, shift, sessions_only=folded))
            self._calendars[key] = known
        return known[1]

    def spans(self, market: str, freq: str) -> Spans:
        """Return the spans of a market's instruments."""
        return self.universe(market, freq).spans

    def universe(self, market: str, freq: str) -> Universe:
        """Return a market's instruments and their spans."""
        return self._frames.universe(market, self._frequencies.spelled(freq) or self._frequencies.stored[0])

    # ------------------------------------------------------------------ values
    def stored_fields(self, instrument: str, freq: str) -> list[str]:
        """Return the fields of an instrument at a frequency, sorted; none for an unknown instrument."""
        return self._grid(freq).fields_of(instrument)

    def stored_instruments(self, freq: str) -> list[str]:
        """Return every instrument (lower case), sorted."""
        return self._grid(freq).stored()

    def has_instrument(self, instrument: str, freq: str) -> bool:
        """Tell whether there are bars of an instrument."""
        return self._grid(freq).has(instrument)

    def _grid(self, freq: str) -> Grid:
        return self._frames.grid(self.stored_freq(freq))

    def lengths(self, instruments: Sequence[str], field: str, freq: str) -> np.ndarray:
        """Return how many values of a field there are for each instrument (int64)."""
        grid = self._grid(freq)
        _, _, count = grid.window(grid.numbers(instruments), [field], 0, len(grid.times) - 1)
        return np.maximum(count[:, 0], 0)

    def read(
        self,
        instruments: Sequence[str],
        fields: Sequence[str],
        freq: str,
        first: int,
        last: int,
        *,
        threads: int = 1,
        calendar: Calendar | None = None,  # noqa: ARG002  the frame has its own
    ) -> Raw:
        """Read `fields` of `instruments` at calendar positions first ... last, see `Store.read`."""
        stored = self.stored_freq(freq)
        raw = self._frames.read(stored, instruments, fields, first, last, threads=threads)
        for values in raw.of_field or [raw.values]:
            note_values(self.where(stored), values)
        return raw

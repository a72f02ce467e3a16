"""Point-in-time data of a query: the records of each instrument, and from which bar on each is known.

A record carries the day of its announcement and not the hour.  A bar of a day or longer ends after that day's
announcements, so it knows them.  A shorter bar may have come before them: it knows what was announced on earlier days.
With compat="qlib" it knows those of its own day from midnight on, as in Qlib: a look into the future.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.calendar import Calendar
from qlib.data.expression.pit import OverPeriods
from qlib.data.expression.plan import Plan
from qlib.data.periods import Records, complaint
from qlib.data.provider.store import Store
from qlib.data.provider.traits import leaves_of, reports_of
from qlib.data.storage.pit import pit_path, pit_paths, read_many, read_pit
from qlib.errors import InputError, MissingDataError
from qlib.utils.time import Freq


class Periods:
    """The records of point-in-time fields as positions of one calendar; each file is read once.

    Called with (instrument, field) it returns the field's `Records`, or None where there is no such file.
    """

    def __init__(self, store: Store, freq: str, calendar: Calendar) -> None:
        self._store, self._freq = store, freq
        self._dates = calendar.times.astype("datetime64[D]")
        late = Freq(calendar.freq).intraday and store.settings["compat"] != "qlib"
        self._side: Any = "right" if late else "left"
        self._read: dict[tuple[str, str], Records | None] = {}

    @cached_property
    def root(self) -> Path:
        """The folder that holds `financial`."""
        return self._store.reported(self._freq)

    def __call__(self, instrument: str, field: str) -> Records | None:
        key = (instrument.lower(), field)
        if key not in self._read:
            self.read([instrument], [field])
        return self._read[key]

    def read(self, instruments: Sequence[str], fields: Sequence[str]) -> None:
        """Read some fields of several instruments."""
        names = dict.fromkeys(name.lower() for name in instruments)
        files = read_many(pit_paths(self.root, names, fields))
        known = np.searchsorted(self._dates, files.days(), side=self._side).astype(np.int64)
        period, value = files.numbers(), files.records["value"].astype(np.float64)
        keys = ((name, field) for name in names for field in fields)
        for key, there, a, b in zip(
            keys, files.there, files.start[:-1].tolist(), files.start[1:].tolist(), strict=True
        ):
            self._read[key] = Records(known[a:b], period[a:b], value[a:b]) if there else None

    def has(self, over: OverPeriods, instruments: Sequence[str]) -> np.ndarray:
        """Return for each instrument whether there is a file of one of the fields that P or PRef reads, bool."""
        sources = over.sources
        found = [any(self(one.instrument or name, one.field) is not None for one in sources) for name in instruments]
        return np.array(found, dtype=bool)

    def stored_fields(self, instrument: str) -> list[str]:
        """Return the point-in-time fields stored for an instrument, sorted; none for an unknown instrument."""
        return sorted(path.stem for path in pit_path(self.root, instrument, "x_q").parent.glob("*.data"))


def periods_of(store: Store, plan: Plan, instruments: Sequence[str], freq: str, calendar: Calendar) -> Periods | None:
    """Return the point-in-time records that a plan reads, or None where it reads none.

    Those of the instruments are in memory then; others are read when a formula asks for them.
    """
    if not reports_of(plan):
        return None
    periods = Periods(store, freq, calendar)
    periods.read(instruments, _own_fields(plan))
    return periods


def lacking(periods: Any, plan: Plan, instruments: Sequence[str]) -> list[str]:
    """Return the point-in-time fields that a plan reads of its instruments, and that none of them has."""
    if periods is None:
        return []
    return [field for field in _own_fields(plan) if all(periods(name, field) is None for name in instruments)]


def _own_fields(plan: Plan) -> list[str]:
    sources = [one for node in leaves_of(plan).reported for one in node.sources]
    return sorted({one.field for one in sources if not one.instrument})


def known_on(store: Store, instrument: str, field: str, day: pd.Timestamp) -> tuple[int, np.ndarray]:
    """Return what was known of a field at the end of a day: the number of the oldest period, and a value for each.

    float64; a period of which nothing was known, between the oldest and the newest, is NaN.
    """
    if (why := complaint(field)) is not None:
        raise InputError(f"field: {why}")
    path = pit_path(store.reported(), instrument, field)
    files = read_pit(path)
    if files is None:
        raise MissingDataError(f"{path} does not exist: {instrument} has no point-in-time field $${field}")
    known = files.days() <= day.to_datetime64()
    if not known.any():
        return 0, np.empty(0)
    period = files.numbers()[known]
    values = np.full(int(np.ptp(period)) + 1, np.nan)
    values[period - period.min()] = files.records["value"][known]  # of several records of one period the last stays
    return int(period.min()), values

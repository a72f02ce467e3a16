"""A store as it was: nothing of it is later than a moment.

    with data_until("2020-06-30"):            D, loaders and handlers see the bars up to that day's, and no other
        handler = Alpha158(instruments="csi300", ...)

What was computed then and what is computed now must agree on the days that both know: `qlib check-leakage` asks that.
Spans of a universe that begin later are not there yet, those that end later are still open. The calendar of the future
stays: when a market opens is known ahead. Reported data need nothing, as `P` sees only what was announced. Handlers
cut frames that do not come from the store with `within_horizon`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from qlib.config import Settings
from qlib.data.active import active_provider, fill
from qlib.data.calendar import Calendar, timestamp
from qlib.data.provider.facade import Provider
from qlib.data.provider.store import Store
from qlib.data.storage.arena import Raw
from qlib.data.universe import Spans, Universe, clip
from qlib.errors import InputError
from qlib.utils.time import Freq


class StoreAsOf:
    """A store whose bars end with the last one that is over at `known`; a month's bar counts as 31 days."""

    def __init__(self, store: Store, known: pd.Timestamp) -> None:
        self.store, self.known = store, known
        self.settings: Settings = store.settings

    def freqs(self) -> list[str]:
        return self.store.freqs()

    def stored_freq(self, freq: str) -> str:
        return self.store.stored_freq(freq)

    def where(self, freq: str) -> str:
        return f"{self.store.where(freq)} as of {self.known}"

    def reported(self, freq: str | None = None) -> Path:
        return self.store.reported(freq)

    def calendar(self, freq: str, *, future: bool = False) -> Calendar:
        whole = self.store.calendar(freq, future=future)
        return whole if future else Calendar(whole.freq, whole.times[: self._bars(whole)], whole.name)

    def _bars(self, calendar: Calendar) -> int:
        """Return how many bars are over."""
        return int(np.searchsorted(calendar.times, (self.known - length(calendar.freq)).to_datetime64(), side="right"))

    def spans(self, market: str, freq: str) -> Spans:
        return self.universe(market, freq).spans

    def universe(self, market: str, freq: str) -> Universe:
        last = self.known - pd.Timedelta(1, "ns")
        return Universe(clip(self.store.spans(market, freq), pd.Timestamp.min, last))

    def stored_fields(self, instrument: str, freq: str) -> list[str]:
        return self.store.stored_fields(instrument, freq)

    def stored_instruments(self, freq: str) -> list[str]:
        return self.store.stored_instruments(freq)

    def has_instrument(self, instrument: str, freq: str) -> bool:
        return self.store.has_instrument(instrument, freq)

    def lengths(self, instruments: Sequence[str], field: str, freq: str) -> np.ndarray:
        return np.minimum(self.store.lengths(instruments, field, freq), self._bars(self.store.calendar(freq)))

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
        whole = self.store.calendar(freq)
        last = min(last, self._bars(whole) - 1)
        return self.store.read(instruments, fields, freq, first, last, threads=threads, calendar=whole)


def length(freq: str | Freq) -> pd.Timedelta:
    """Return how long a bar lasts, at most.

    >>> length("60min"), length("week")
    (Timedelta('0 days 01:00:00'), Timedelta('7 days 00:00:00'))
    """
    size = Freq(freq)
    return pd.Timedelta(days=31 * size.count) if size.base == "month" else pd.Timedelta(seconds=size.seconds)


def provider_as_of(provider: Provider, known: pd.Timestamp) -> Provider:
    """Return a provider over the same store that knows the bars which are over at `known`, and no cache."""
    settings = provider.settings.replace(expression_cache=None, dataset_cache=None, calendar_cache=None)
    past = type(provider)(settings, provider.registry)
    past.store = StoreAsOf(past.store, known)
    return past


@contextmanager
def data_until(last: Any, freq: str = "day", *, label_bars: int = 0) -> Iterator[Provider]:
    """Let the live session know no bar after that of `last`, until the block ends.

    Parameters
    ----------
    last
        The time at which the last known bar of `freq` opens. Bars of other sizes are known where they are over by then.
    freq
        A bar size such as "day" or "60min".
    label_bars
        How far labels look ahead. Frames that do not come from the store lose the labels of as many last times.

    Raises InputError for a time that is none.  Not for several threads at once: `D` is the session's.
    """
    moment = timestamp(last, "last")
    if moment is None:
        raise InputError(f"last: received {last!r}; a time such as '2020-06-30' is allowed")
    live = active_provider()
    past = provider_as_of(live, moment + length(freq))
    fill(past)
    token = horizon.set(Horizon(moment, label_bars))
    try:
        yield past
    finally:
        horizon.reset(token)
        fill(live)


class Horizon(NamedTuple):
    """The time of the last bar that is known, and how many bars a label looks ahead."""

    last: pd.Timestamp
    label_bars: int


horizon: ContextVar[Horizon | None] = ContextVar("horizon", default=None)


def within_horizon(frame: pd.DataFrame, label: str = "label") -> pd.DataFrame:
    """Return what is known of a frame with a level `datetime`: the whole frame, unless the session looks at the past.

    Rows after the horizon are left out, and columns of the group `label` are missing where they were not known yet.
    """
    now = horizon.get()
    if now is None:
        return frame
    times = frame.index.get_level_values("datetime")
    frame, times = frame[times <= now.last], times[times <= now.last]
    labels = [place for place, column in enumerate(frame.columns) if isinstance(column, tuple) and column[0] == label]
    if labels and now.label_bars and len(frame):
        known = times.isin(times.unique().sort_values()[: -now.label_bars])
        frame = frame.copy()
        for place in labels:
            frame.isetitem(place, frame.iloc[:, place].where(known).array)
    return frame

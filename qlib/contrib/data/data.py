"""Features from an Arctic database: ticks and bars kept in MongoDB, one library a frequency, one symbol an instrument.

    provider = ArcticFeatureProvider(uri="127.0.0.1")
    provider.feature("SH600000", "$close", "2020-01-02 09:30", "2020-01-02 15:00", freq="ticks")

It needs the package `arctic` and a server; both are looked for when the first feature is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import pandas as pd

from qlib.data.data import FeatureProvider
from qlib.errors import ConfigError, InputError, MissingDataError

SESSIONS = (("09:15", "11:30"), ("13:00", "15:00"))


class ArcticFeatureProvider(FeatureProvider):
    """Reads one field of one instrument over a range of time.

    Parameters
    ----------
    uri
        Address of the MongoDB server.
    retry_time
        How often a connection is tried again.
    market_transaction_time_list
        (first, last) times of a day, "HH:MM", in which rows count.
    """

    def __init__(
        self,
        uri: str = "127.0.0.1",
        retry_time: int = 0,
        market_transaction_time_list: Sequence[tuple[str, str]] = SESSIONS,
    ) -> None:
        super().__init__()
        self.uri = uri
        self.retry_time = retry_time
        self.market_transaction_time_list = list(market_transaction_time_list)
        for pair in self.market_transaction_time_list:
            if not (isinstance(pair, list | tuple) and len(pair) == 2):
                raise ConfigError(
                    f"market_transaction_time_list: received {pair!r}; pairs such as ('09:15', '11:30') are allowed"
                )

    def feature(self, instrument: str, field: str, start_index: Any, end_index: Any, freq: str) -> pd.Series:
        """Return a series by time.

        Parameters
        ----------
        start_index, end_index
            First and last moment (closed): times, not positions of a calendar.
        freq
            Name of the Arctic library.
        """
        field = field.removeprefix("$")
        arctic = _arctic()
        store = arctic.Arctic(self.uri)
        if freq not in store.list_libraries():
            raise MissingDataError(f"the Arctic server {self.uri} has no library {freq}")
        library = store[freq]
        if instrument not in library.list_symbols():
            return pd.Series(dtype="float32", name=field)
        dates = import_module("arctic.date").DateRange(start_index, end_index)
        attempts = self.retry_time + 1
        for attempt in range(attempts):
            try:
                found = library.read(instrument, columns=[field], date_range=dates)
                break
            except ConnectionError as error:
                if attempt + 1 == attempts:
                    raise InputError(
                        f"the Arctic server {self.uri} did not answer {attempts} times: {error}"
                    ) from error
        frame = getattr(found, "data", found)
        return within_sessions(frame[field], self.market_transaction_time_list)


def within_sessions(series: pd.Series, sessions: Sequence[tuple[str, str]]) -> pd.Series:
    """Return the rows of a series by time that lie in a session of any day (closed at both ends).

    >>> bars = pd.Series([1, 2, 3], index=pd.to_datetime(["2020-01-02 09:00", "2020-01-02 11:30", "2020-01-02 12:00"]))
    >>> within_sessions(bars, [("09:15", "11:30")]).tolist()
    [2]
    """
    if not len(series) or not sessions:
        return series
    index = pd.DatetimeIndex(series.index)
    kept = pd.Series(data=False, index=range(len(series))).to_numpy(copy=True)
    for first, last in sessions:
        kept[index.indexer_between_time(first, last)] = True
    return series[kept]


def _arctic() -> Any:
    try:
        return import_module("arctic")
    except ImportError as error:
        raise ImportError('ArcticFeatureProvider needs arctic, which is not installed: pip install "arctic"') from error

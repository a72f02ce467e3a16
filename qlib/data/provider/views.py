"""Qlib's separate providers, as views on the one Provider.

    Cal.locate_index("2024-01-01", "2024-02-01", "day")      calendars
    Inst.list_instruments(Inst.instruments("all"))           universes
    FeatureD.feature("AAPL", "$close", 0, 9, "day")           one stored field, by calendar position
    ExpressionD.expression("AAPL", "Mean($close, 5)")         one formula, one instrument
    DatasetD.dataset(["AAPL"], ["$close"])                    what D.features returns

Made without arguments a view shows the live session; `CalendarProvider(provider)` shows another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.active import active_provider
from qlib.data.expression.grammar import parse
from qlib.data.expression.node import Node
from qlib.data.provider.facade import Provider
from qlib.errors import InputError


class _View:
    def __init__(self, provider: Provider | None = None) -> None:
        self._provider = provider

    @property
    def provider(self) -> Provider:
        return active_provider() if self._provider is None else self._provider


class CalendarProvider(_View):
    """Calendars."""

    def calendar(
        self, start_time: Any = None, end_time: Any = None, freq: str = "day", future: bool = False
    ) -> np.ndarray:
        """Return the bars' times inside [start_time, end_time] as an object array of Timestamps."""
        return self.provider.calendar(start_time, end_time, freq, future)

    def locate_index(
        self, start_time: Any, end_time: Any, freq: str, future: bool = False
    ) -> tuple[pd.Timestamp, pd.Timestamp, int, int]:
        """Return the first and last bar inside [start_time, end_time]: their times, then their positions.

        Raises CalendarRangeError (an IndexError), which says what the calendar spans, where nothing lies inside.
        """
        calendar = self.provider.locate(freq, future)
        calendar.check_inside(start_time, end_time)
        first, last = calendar.locate(start_time, end_time)
        return calendar.stamps[first], calendar.stamps[last], first, last

    def load_calendar(self, freq: str, future: bool) -> list[pd.Timestamp]:
        """Return every bar's time."""
        return self.provider.locate(freq, future).stamps.tolist()


class InstrumentProvider(_View):
    """Universes."""

    LIST = "LIST"
    DICT = "DICT"
    CONF = "CONF"

    def instruments(self, market: Any = "all", filter_pipe: Sequence[Any] | None = None) -> Any:
        """Return the description of a universe; see `Provider.instruments`."""
        return self.provider.instruments(market, filter_pipe)

    def list_instruments(
        self, instruments: Any, start_time: Any = None, end_time: Any = None, freq: str = "day", as_list: bool = False
    ) -> Any:
        """Return who is alive; see `Provider.list_instruments`."""
        return self.provider.list_instruments(instruments, start_time, end_time, freq, as_list)

    @classmethod
    def get_inst_type(cls, inst: Any) -> str:
        """Return how a universe is given: CONF (market and filters), DICT (spans) or LIST (names)."""
        if isinstance(inst, Mapping):
            return cls.CONF if "market" in inst else cls.DICT
        if isinstance(inst, list | tuple | pd.Index | np.ndarray):
            return cls.LIST
        raise InputError(f"instruments: received {inst!r}; a list, a dict or D.instruments(...) is allowed")


class FeatureProvider(_View):
    """Stored fields."""

    def feature(self, instrument: str, field: str, start_index: int, end_index: int, freq: str) -> pd.Series:
        """Return a stored field at calendar positions start_index ... end_index (float32; index: position)."""
        name = str(field).removeprefix("$").lower()
        raw = self.provider.store.read([instrument], [name], freq, int(start_index), int(end_index))
        values = raw.series(0, 0)
        if not len(values):
            return pd.Series(dtype=np.float32)
        first = int(raw.first[0, 0])
        return pd.Series(values.copy(), index=pd.RangeIndex(first, first + len(values)))


class ExpressionProvider(_View):
    """Formulas, one instrument at a time."""

    def get_expression_instance(self, field: Any) -> Node:
        """Return the formula as a tree; ExpressionError where it cannot be read."""
        return parse(str(field), compat=self.provider.settings["compat"], registry=self.provider.registry)

    def expression(
        self, instrument: str, field: Any, start_time: Any = None, end_time: Any = None, freq: str = "day"
    ) -> pd.Series:
        """Return a formula over one instrument (float32; index: calendar position; name: the canonical text)."""
        calendar = self.provider.locate(self.provider.store.stored_freq(freq))
        low, _ = calendar.locate(start_time, end_time)
        panel, _ = self.provider.panel([instrument], [field], start_time, end_time, freq)
        values = panel.columns[str(field)]
        first = low + int(panel.first[0]) if panel.rows else 0
        index = pd.RangeIndex(first, first + len(values))
        return pd.Series(values, index=index, name=str(self.get_expression_instance(field)))


class DatasetProvider(_View):
    """Frames of formulas."""

    def dataset(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        inst_processors: Sequence[Any] = (),
    ) -> pd.DataFrame:
        """Return what `D.features` returns."""
        return self.provider.features(instruments, fields, start_time, end_time, freq, inst_processors=inst_processors)

    @staticmethod
    def get_column_names(fields: Sequence[Any]) -> list[str]:
        """Return the columns' names: the formulas as typed."""
        return [str(field) for field in fields]

    @staticmethod
    def parse_fields(fields: Sequence[Any]) -> list[Node]:
        """Return the formulas as trees."""
        return [parse(str(field)) for field in fields]


Cal = CalendarProvider()
Inst = InstrumentProvider()
FeatureD = FeatureProvider()
ExpressionD = ExpressionProvider()
DatasetD = DatasetProvider()

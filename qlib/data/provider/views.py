"""Qlib's separate providers, as views on the one Provider.

    Cal.locate_index("2024-01-01", "2024-02-01", "day")      calendars
    Inst.list_instruments(Inst.instruments("all"))           universes
    FeatureD.feature("AAPL", "$close", 0, 9, "day")           one stored field, by calendar position
    PITD.period_feature("AAPL", "$$roe_q", -3, 0, day)        the last periods known on a day
    ExpressionD.expression("AAPL", "Mean($close, 5)")         one formula, one instrument
    DatasetD.dataset(["AAPL"], ["$close"])                    what D.features returns

Made without arguments a view shows the live session; `CalendarProvider(provider)` shows another one. The globals show
what the live session's settings name in a view's place: a provider of a user's own, or a cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.active import active_provider
from qlib.data.calendar import Calendar, timestamp
from qlib.data.expression.catalogue import Operators
from qlib.data.expression.grammar import parse
from qlib.data.expression.objects import Expression
from qlib.data.expression.registry import OPERATORS
from qlib.data.periods import is_period, is_yearly, number, written
from qlib.data.provider.facade import Provider
from qlib.data.provider.pit import known_on
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
        return self._whole(freq, future).between(start_time, end_time)

    def _whole(self, freq: str, future: bool) -> Calendar:
        return self.provider.locate(freq, future)

    def locate_index(
        self, start_time: Any, end_time: Any, freq: str, future: bool = False
    ) -> tuple[pd.Timestamp, pd.Timestamp, int, int]:
        """Return the first and last bar inside [start_time, end_time]: their times, then their positions.

        Raises CalendarRangeError (an IndexError), which says what the calendar spans, where nothing lies inside.
        """
        calendar = self._whole(freq, future)
        calendar.check_inside(start_time, end_time)
        first, last = calendar.locate(start_time, end_time)
        return calendar.stamps[first], calendar.stamps[last], first, last

    def load_calendar(self, freq: str, future: bool) -> list[pd.Timestamp]:
        """Return every bar's time."""
        return self._whole(freq, future).stamps.tolist()


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

    def feature(self, instrument: str, field: str, start_time: int, end_time: int, freq: str) -> pd.Series:
        """Return a stored field at the calendar positions start_time ... end_time (float32; index: position)."""
        name = str(field).removeprefix("$").lower()
        raw = self.provider.store.read([instrument], [name], freq, int(start_time), int(end_time))
        values = raw.series(0, 0)
        if not len(values):
            return pd.Series(dtype=np.float32)
        first = int(raw.first[0, 0])
        return pd.Series(values.copy(), index=pd.RangeIndex(first, first + len(values)))


class PITProvider(_View):
    """Point-in-time fields, as they were known on a day."""

    def period_feature(
        self, instrument: str, field: str, start_index: int, end_index: int, cur_time: Any, period: int | None = None
    ) -> pd.Series:
        """Return what was known of a point-in-time field at the end of the day `cur_time`.

        Parameters
        ----------
        start_index, end_index
            Periods counted from the newest that was known (0); older ones are negative.
        period
            This period (YYYYQQ or YYYY) instead.

        Returns
        -------
        pandas.Series
            float64 by period, NaN for one of which nothing was known; no periods outside those known that day.

        Raises
        ------
        MissingDataError
            The instrument has no such field.
        """
        name = str(field).removeprefix("$$").lower()
        day = timestamp(cur_time, "cur_time")
        if day is None or start_index > end_index or end_index > 0:
            raise InputError(
                f"period_feature: received start_index={start_index}, end_index={end_index}, cur_time={cur_time!r}; "
                "a day and start_index <= end_index <= 0 are allowed: no period after the newest is known"
            )
        low, values = known_on(self.provider.store, instrument, name, day)
        first, last = max(len(values) - 1 + start_index, 0), len(values) - 1 + end_index
        yearly = is_yearly(name)
        if period is not None:
            first = last = number(period, yearly=yearly) - low if is_period(period, yearly=yearly) else -1
        shown = values[first : last + 1] if 0 <= first <= last else values[:0]
        return pd.Series(shown, index=written(low + first + np.arange(len(shown)), yearly=yearly))


class ExpressionProvider(_View):
    """Formulas, one instrument at a time; those that were read are in `expression_instance_cache`, by their texts."""

    def __init__(self, provider: Provider | None = None) -> None:
        super().__init__(provider)
        self.expression_instance_cache: dict[str, Expression] = {}
        self._cached_under: tuple[Any, ...] = ()

    def get_expression_instance(self, field: Any) -> Expression:
        """Return the formula as an object; ExpressionError where it cannot be read."""
        provider = self.provider
        registry = OPERATORS if provider.registry is None else provider.registry
        rules = (provider.settings["compat"], registry, registry.changes)
        if rules != self._cached_under:
            self.expression_instance_cache.clear()
            self._cached_under = rules
        text = str(field)
        if text not in self.expression_instance_cache:
            node = parse(text, compat=rules[0], registry=registry)
            self.expression_instance_cache[text] = Expression.of(node)
        return self.expression_instance_cache[text]

    def expression(
        self, instrument: str, field: Any, start_time: Any = None, end_time: Any = None, freq: str = "day"
    ) -> pd.Series:
        """Return a formula over one instrument (float32, or dates as objects; index: calendar position).

        Its name is the canonical text.
        """
        calendar = self.provider.locate(self.provider.store.stored_freq(freq))
        values = self._by_time(instrument, field, start_time, end_time, freq)
        at = np.searchsorted(calendar.times, values.index.to_numpy("datetime64[ns]"))
        whole = len(at) > 0 and at[-1] - at[0] == len(at) - 1
        return values.set_axis(pd.RangeIndex(at[0], at[-1] + 1) if whole else pd.Index(at))

    def _by_time(self, instrument: str, field: Any, start_time: Any, end_time: Any, freq: str) -> pd.Series:
        frame = self.provider.computed([instrument], [field], start_time, end_time, freq)
        name = str(self.get_expression_instance(field))
        return pd.Series(frame.iloc[:, 0].to_numpy(), index=frame.index.get_level_values(1), name=name)


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
        """Return what `D.features` returns, computed now."""
        return self.provider.computed(instruments, fields, start_time, end_time, freq, inst_processors)

    @staticmethod
    def get_instruments_d(instruments: Any, freq: str) -> Any:
        """Return a universe as what `dataset_processor` takes: names, or a dict of names and their spans."""
        if isinstance(instruments, Mapping) and "market" in instruments:
            return active_provider().list_instruments(instruments, freq=freq)
        if isinstance(instruments, Mapping | list | tuple | pd.Index | np.ndarray):
            return instruments if isinstance(instruments, Mapping) else list(instruments)
        raise InputError(f"instruments: received {instruments!r}; a list, a dict or D.instruments(...) is allowed")

    @staticmethod
    def get_column_names(fields: Sequence[Any]) -> list[str]:
        """Return the columns' names: the formulas as typed."""
        return [str(field) for field in fields]

    @staticmethod
    def parse_fields(fields: Sequence[Any]) -> list[Expression]:
        """Return the formulas as objects."""
        return [Expression.of(parse(str(field), registry=Operators.registry)) for field in fields]

    @staticmethod
    def dataset_processor(
        instruments_d: Any,
        column_names: Sequence[Any],
        start_time: Any,
        end_time: Any,
        freq: str,
        inst_processors: Sequence[Any] = (),
    ) -> pd.DataFrame:
        """Return the formulas over names, or over names and their spans."""
        return active_provider().features(
            instruments_d, column_names, start_time, end_time, freq, inst_processors=inst_processors
        )

    @staticmethod
    def inst_calculator(
        inst: str,
        start_time: Any,
        end_time: Any,
        freq: str,
        column_names: Sequence[Any],
        spans: Any = None,
        g_config: Any = None,  # noqa: ARG004  a worker of Qlib's needs it; here the caller's session is used
        inst_processors: Sequence[Any] = (),
    ) -> pd.DataFrame:
        """Return the formulas over one instrument and, where there are `spans`, inside them; index: datetime."""
        names = [inst] if spans is None else {inst: spans}
        frame = active_provider().features(
            names, column_names, start_time, end_time, freq, inst_processors=inst_processors
        )
        return frame.droplevel(0)


class Shown:
    """A global such as `Cal`: shows a part of the live session, or what was put in with `register`.

    Before `qlib.init` it shows the view itself, which says what to do where it needs data.
    """

    def __init__(self, kind: str, view: Any) -> None:
        self._kind, self._view, self._provider = kind, view, None

    def register(self, provider: Any) -> None:
        """Show this provider from now on, whichever session is live; None: the live session again."""
        self._provider = provider

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # copy, pickle and inspect ask for these
            raise AttributeError(attribute)
        if self._provider is not None:
            return getattr(self._provider, attribute)
        try:
            shown = active_provider().parts[self._kind]
        except RuntimeError:  # before qlib.init
            shown = self._view
        return getattr(shown, attribute)

    def __repr__(self) -> str:
        return f"<{self._kind} of the live session>"


Cal = Shown("calendar", CalendarProvider())
Inst = Shown("instrument", InstrumentProvider())
FeatureD = Shown("feature", FeatureProvider())
PITD = Shown("pit", PITProvider())
ExpressionD = Shown("expression", ExpressionProvider())
DatasetD = Shown("dataset", DatasetProvider())

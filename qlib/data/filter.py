"""Filters on a universe: by name, by a formula that must hold, or by a rule of one's own.

    D.instruments("all", filter_pipe=[NameDFilter("SH.*"), ExpressionDFilter("$close > Mean($close, 20)")])

A filter takes spans (see `qlib.data.universe`) and returns fewer of them; several apply in order. It acts inside its
own window [fstart_time, fend_time]; outside it spans stay as they are. As configuration a filter is a dict, such as
`{"filter_type": "NameDFilter", "name_rule_re": "SH.*", "filter_start_time": None, "filter_end_time": None}`.

A rule of one's own is a subclass of `SeriesDFilter` with one of these methods, whichever is nearest at hand:

    _getFilterSeries(instruments, fstart, fend)               Qlib's: a bool Series by time for every instrument
    rule(instruments, calendar, first, last, provider)        a bool array for every instrument
    passing(names, members, calendar, first, last, provider)  ranges of calendar positions of all of them at once
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.active import active_provider
from qlib.data.calendar import Calendar, timestamp
from qlib.data.ranges import Ranges
from qlib.data.universe import Spans, Universe, spans_by_name
from qlib.errors import ConfigError, InputError, did_you_mean
from qlib.utils.objects import get_module_by_module_path

FILTERS: dict[str, type[BaseDFilter]] = {}


class BaseDFilter(ABC):
    """A rule that can be written as a configuration and read back; a subclass is known by its name from then on."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        FILTERS[cls.__name__] = cls

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> BaseDFilter:
        """Return the filter that a configuration describes.

        `filter_type` names the class; `module_path` says where it is, if nobody has imported it.
        """
        kind = config.get("filter_type")
        if config.get("module_path"):
            get_module_by_module_path(config["module_path"])
        if kind not in FILTERS:
            raise ConfigError(
                f"filter_type: received {kind!r}; allowed are {', '.join(_usable())}"
                f"{did_you_mean(str(kind), _usable())}"
            )
        made = FILTERS[kind]
        if made.from_config is BaseDFilter.from_config:
            raise ConfigError(
                f"filter_type: {kind} has no from_config, which makes a filter of its configuration: write one, "
                "or pass the filter itself"
            )
        return made.from_config(config)

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """Return the configuration dict."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, BaseDFilter) and other.to_config() == self.to_config()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_config()})"


def _usable() -> list[str]:
    """Return the names that a configuration may give."""
    return [name for name, made in FILTERS.items() if made.from_config is not BaseDFilter.from_config]


class SeriesDFilter(BaseDFilter):
    """A filter that answers yes or no for every calendar entry of every instrument.

    Parameters
    ----------
    fstart_time, fend_time
        The window in which the filter acts; None is open.
    keep
        Whether an instrument without any data in the window passes there.
    """

    def __init__(self, fstart_time: Any = None, fend_time: Any = None, keep: bool = False) -> None:
        super().__init__()
        self.filter_start_time = timestamp(fstart_time, "fstart_time")
        self.filter_end_time = timestamp(fend_time, "fend_time")
        self.keep = keep
        self.filter_freq = "day"

    # ------------------------------------------------------------------ what a subclass answers, in one of three ways
    def _getFilterSeries(  # noqa: N802  Qlib's name
        self, instruments: Spans, fstart: pd.Timestamp, fend: pd.Timestamp
    ) -> Mapping[str, pd.Series]:
        """Return for the instruments a bool Series by time, over [fstart, fend]; one left out is without data."""
        raise NotImplementedError(f"{type(self).__name__} has no rule: write _getFilterSeries, rule or passing")

    def rule(
        self,
        instruments: Spans,
        calendar: Calendar,
        first: int,
        last: int,
        provider: Any,
    ) -> Mapping[str, np.ndarray | None]:
        """Return for the instruments a bool array over calendar positions first ... last, or None without data.

        An instrument that is left out is not asked: its spans stay.
        """
        answers = self._getFilterSeries(instruments, calendar.stamps[first], calendar.stamps[last])
        holds = provider.settings["compat"] == "qlib"  # NaN, in Qlib
        return {name: _aligned(answers.get(name), calendar, first, last, holds) for name in instruments}

    def passing(
        self, names: Sequence[str], members: Ranges, calendar: Calendar, first: int, last: int, provider: Any
    ) -> Ranges:
        """Return the members' positions inside first ... last that pass, as ranges of the same instruments."""
        inside = members.within(first, last + 1)
        low, high = min(first, int(members.begin.min())), max(last + 1, int(members.end.max()))
        part = Calendar(calendar.freq, calendar.times[low:high], calendar.name)
        spans = spans_by_name(names, members, calendar)
        verdicts = self.rule(spans, part, first - low, last - low, provider)
        passed = np.full((len(names), last - first + 1), self.keep)
        for i, name in enumerate(names):
            if name not in verdicts:
                passed[i] = True
            elif (verdict := verdicts[name]) is not None:
                passed[i] = verdict
        return inside.where(passed[np.repeat(inside.instrument, inside.end - inside.begin), inside.positions() - first])

    def looks_across(self, provider: Any) -> bool:  # noqa: ARG002  others have a rule to ask about
        """Tell whether an answer depends on who else is a member at that time, or was before."""
        return False

    # ------------------------------------------------------------------ what callers ask
    def narrowed(
        self, names: Sequence[str], members: Ranges, calendar: Calendar, low: int, high: int, provider: Any
    ) -> Ranges:
        """Return what is left of the members at calendar positions low ... high."""
        members = members.within(low, high + 1)
        first, last = calendar.locate(self.filter_start_time, self.filter_end_time)
        first, last = max(first, low), min(last, high)
        if last < first or not len(members):
            return members
        passed = self.passing(names, members, calendar, first, last, provider)
        outside = [part for part in (members.within(low, first), members.within(last + 1, high + 1)) if len(part)]
        return Ranges.together(passed, *outside) if outside else passed

    def __call__(
        self,
        instruments: Spans,
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        provider: Any = None,
    ) -> Spans:
        """Return the spans that pass, as calendar entries inside [start_time, end_time]."""
        self.filter_freq = freq
        if type(self).filter_main is not _MAIN:
            return self.filter_main(instruments, start_time, end_time)
        source = active_provider() if provider is None else provider
        calendar = source.locate(freq)
        universe = Universe(instruments)
        low, high = calendar.locate(start_time, end_time)
        passed = self.narrowed(universe.names, universe.ranges(calendar), calendar, low, high, source)
        return spans_by_name(universe.names, passed, calendar, instruments)

    def filter_main(self, instruments: Spans, start_time: Any = None, end_time: Any = None) -> Spans:
        """Return the spans that pass, on the calendar of the last call (at first the daily one)."""
        return self(instruments, start_time, end_time, self.filter_freq)

    def _times(self) -> dict[str, str | None]:
        bounds = {"filter_start_time": self.filter_start_time, "filter_end_time": self.filter_end_time}
        return {key: None if time is None else str(time) for key, time in bounds.items()}


_CALL, _MAIN = SeriesDFilter.__call__, SeriesDFilter.filter_main


def _aligned(answer: pd.Series | None, calendar: Calendar, first: int, last: int, missing: bool) -> np.ndarray | None:
    """Return a user's answer over calendar positions first ... last; `missing` is what NaN and absent times mean."""
    if answer is None:
        return None
    times = calendar.times[first : last + 1]
    passed = np.full(len(times), missing)
    stamps = np.asarray(answer.index, dtype="datetime64[ns]")
    at = np.searchsorted(times, stamps)
    known = at < len(times)
    known[known] = times[at[known]] == stamps[known]
    values = answer.to_numpy()
    passed[at[known]] = np.where(pd.isna(values), missing, values).astype(bool)[known]
    return passed


class NameDFilter(SeriesDFilter):
    """Keeps instruments whose name matches a regular expression from its beginning (`re.match`)."""

    def __init__(self, name_rule_re: str, fstart_time: Any = None, fend_time: Any = None) -> None:
        super().__init__(fstart_time, fend_time)
        self.name_rule_re = name_rule_re
        try:
            re.compile(name_rule_re)
        except (re.error, TypeError) as error:
            raise InputError(
                f"name_rule_re: received {name_rule_re!r}; a regular expression is allowed ({error})"
            ) from None

    def passing(
        self, names: Sequence[str], members: Ranges, calendar: Calendar, first: int, last: int, provider: Any
    ) -> Ranges:
        fits = re.compile(self.name_rule_re).match  # kept as text, so that a filter can be saved
        matches = np.array([fits(name) is not None for name in names], dtype=bool)
        return members.within(first, last + 1).of_instruments(matches)

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> NameDFilter:
        return NameDFilter(config["name_rule_re"], config.get("filter_start_time"), config.get("filter_end_time"))

    def to_config(self) -> dict[str, Any]:
        return {"filter_type": "NameDFilter", "name_rule_re": self.name_rule_re, **self._times()}


class ExpressionDFilter(SeriesDFilter):
    """Keeps an instrument on the dates on which a formula holds (is neither 0 nor NaN).

    Qlib counts NaN, and bars that are not stored, as holding; `qlib.init(compat="qlib")` does so too. An instrument
    without any data in the window passes there if `keep`, else not.
    """

    def __init__(
        self, rule_expression: str, fstart_time: Any = None, fend_time: Any = None, keep: bool = False
    ) -> None:
        super().__init__(fstart_time, fend_time, keep)
        self.rule_expression = rule_expression

    def looks_across(self, provider: Any) -> bool:
        return provider.looks_across([self.rule_expression])

    def passing(
        self, names: Sequence[str], members: Ranges, calendar: Calendar, first: int, last: int, provider: Any
    ) -> Ranges:
        return provider.holding(self.rule_expression, names, members, calendar, first, last, keep=self.keep)

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> ExpressionDFilter:
        return ExpressionDFilter(
            config["rule_expression"],
            config.get("filter_start_time"),
            config.get("filter_end_time"),
            bool(config.get("keep", False)),
        )

    def to_config(self) -> dict[str, Any]:
        return {
            "filter_type": "ExpressionDFilter",
            "rule_expression": self.rule_expression,
            **self._times(),
            "keep": self.keep,
        }


def described(one: Any) -> Any:
    """Return a filter as its configuration; itself where nobody could make it of that again."""
    if not isinstance(one, BaseDFilter):
        return one
    config = one.to_config()
    return config if config.get("filter_type") in _usable() else one


def usable(one: Any) -> Any:
    """Return a filter, or a function of spans, as it is, and what a configuration describes.

    Raises ConfigError for anything else.
    """
    if callable(one):
        return one
    if not isinstance(one, Mapping):
        raise ConfigError(f"filter_pipe: received {one!r}; filters and their configurations are allowed")
    return BaseDFilter.from_config(one)


def narrowed(
    keeps: Iterable[Any],
    names: Sequence[str],
    members: Ranges,
    calendar: Calendar,
    low: int,
    high: int,
    provider: Any,
) -> tuple[Sequence[str], Ranges]:
    """Apply filters in order: return names and what is left of them at calendar positions low ... high.

    A filter with a way of its own to be called, and any other callable, is given spans and returns spans.
    """
    for keep in keeps:
        own = type(keep)
        if isinstance(keep, SeriesDFilter) and own.__call__ is _CALL and own.filter_main is _MAIN:
            members = keep.narrowed(names, members, calendar, low, high, provider)
            continue
        spans = spans_by_name(names, members.within(low, high + 1), calendar)
        universe = Universe(keep(spans, calendar.stamps[low], calendar.stamps[high], calendar.freq))
        names, members = universe.names, universe.ranges(calendar)
    return names, members.within(low, high + 1)

"""Filters on a universe: by name, or by a formula that must hold.

    D.instruments("all", filter_pipe=[NameDFilter("SH.*"), ExpressionDFilter("$close > Mean($close, 20)")])

A filter takes spans (see `qlib.data.universe`) and returns fewer of them. It acts inside its own window
[fstart_time, fend_time]; outside it spans stay as they are. As configuration a filter is a dict, for example
`{"filter_type": "NameDFilter", "name_rule_re": "SH.*", "filter_start_time": None, "filter_end_time": None}`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from qlib.data.active import active_provider
from qlib.data.calendar import Calendar, timestamp
from qlib.data.universe import Spans, alive, spans_of
from qlib.errors import ConfigError, did_you_mean


class BaseDFilter(ABC):
    """A rule that can be written as a configuration and read back."""

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> BaseDFilter:
        """Return the filter that a configuration dict describes; `filter_type` names the class."""
        kind = config.get("filter_type")
        if kind not in FILTERS:
            raise ConfigError(
                f"filter_type: received {kind!r}; allowed are {', '.join(FILTERS)}{did_you_mean(str(kind), FILTERS)}"
            )
        return FILTERS[kind].from_config(config)

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """Return the configuration dict."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, BaseDFilter) and other.to_config() == self.to_config()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_config()})"


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

    @abstractmethod
    def rule(
        self, instruments: Spans, calendar: Calendar, first: int, last: int, provider: Any
    ) -> dict[str, np.ndarray | None]:
        """Return for every instrument a bool array over calendar positions first ... last, or None without data."""

    def looks_across(self, provider: Any) -> bool:  # noqa: ARG002  others have a rule to ask about
        """Tell whether an answer depends on who else is a member at that time, or was before."""
        return False

    def __call__(
        self,
        instruments: Spans,
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        provider: Any = None,
    ) -> Spans:
        """Return the spans that pass, as calendar entries inside [start_time, end_time]."""
        source = active_provider() if provider is None else provider
        whole = source.locate(freq)
        low, high = whole.locate(start_time, end_time)
        calendar = Calendar(whole.freq, whole.times[low : high + 1], whole.name)
        first, last = calendar.locate(self.filter_start_time, self.filter_end_time)
        verdicts = self.rule(instruments, calendar, first, last, source) if last >= first else {}
        passed: Spans = {}
        for name, pairs in instruments.items():
            inside = alive(pairs, calendar)
            if name in verdicts:
                verdict = verdicts[name]
                inside[first : last + 1] &= self.keep if verdict is None else verdict
            spans = spans_of(inside, calendar)
            if spans:
                passed[name] = spans
        return passed

    def filter_main(self, instruments: Spans, start_time: Any = None, end_time: Any = None) -> Spans:
        """Return the spans that pass on the daily calendar."""
        return self(instruments, start_time, end_time)

    def _times(self) -> dict[str, str | None]:
        bounds = {"filter_start_time": self.filter_start_time, "filter_end_time": self.filter_end_time}
        return {key: None if time is None else str(time) for key, time in bounds.items()}


class NameDFilter(SeriesDFilter):
    """Keeps instruments whose name matches a regular expression from its beginning (`re.match`)."""

    def __init__(self, name_rule_re: str, fstart_time: Any = None, fend_time: Any = None) -> None:
        super().__init__(fstart_time, fend_time)
        self.name_rule_re = name_rule_re

    def rule(
        self, instruments: Spans, calendar: Calendar, first: int, last: int, provider: Any
    ) -> dict[str, np.ndarray | None]:
        matches = re.compile(self.name_rule_re).match
        return {name: np.full(last - first + 1, bool(matches(name))) for name in instruments}

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> NameDFilter:
        return NameDFilter(config["name_rule_re"], config.get("filter_start_time"), config.get("filter_end_time"))

    def to_config(self) -> dict[str, Any]:
        return {"filter_type": "NameDFilter", "name_rule_re": self.name_rule_re, **self._times()}


class ExpressionDFilter(SeriesDFilter):
    """Keeps an instrument on the dates on which a formula holds (is neither 0 nor NaN).

    Qlib counts NaN as holding; `qlib.init(compat="qlib")` does so too. An instrument without any data in the window
    passes there if `keep`, else not.
    """

    def __init__(
        self, rule_expression: str, fstart_time: Any = None, fend_time: Any = None, keep: bool = False
    ) -> None:
        super().__init__(fstart_time, fend_time, keep)
        self.rule_expression = rule_expression

    def looks_across(self, provider: Any) -> bool:
        return provider.looks_across([self.rule_expression])

    def rule(
        self, instruments: Spans, calendar: Calendar, first: int, last: int, provider: Any
    ) -> dict[str, np.ndarray | None]:
        start, end = calendar.stamps[first], calendar.stamps[last]
        rule = [self.rule_expression]
        panel, times = provider.panel(sorted(instruments), rule, start, end, calendar.freq, members=instruments)
        values = panel.columns[self.rule_expression]
        holds = values != 0 if provider.settings["compat"] == "qlib" else (values != 0) & ~np.isnan(values)
        verdicts: dict[str, np.ndarray | None] = dict.fromkeys(instruments)
        for i, name in enumerate(panel.instruments):
            rows = slice(int(panel.start[i]), int(panel.start[i + 1]))
            verdict = np.zeros(last - first + 1, dtype=bool)
            at = int(panel.first[i])
            verdict[at : at + rows.stop - rows.start] = holds[rows]
            verdicts[name] = verdict
        return verdicts

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


FILTERS: dict[str, Any] = {"NameDFilter": NameDFilter, "ExpressionDFilter": ExpressionDFilter}

"""Dates are dates, in order, and inside the calendar of the store.

A range may reach over the calendar's ends by a month: data end in the middle of one, and years begin with a holiday.
Further out it would promise what the data cannot hold, so it is a problem. What a handler may load (its own start_time
and end_time) only has to meet the calendar somewhere.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import pandas as pd

from qlib.cli.checks.problem import Problem, is_instance_config, tables
from qlib.data.provider import Provider
from qlib.errors import InputError
from qlib.workflow.record_temp import DEFAULT_EXECUTOR, executor_levels

PAIRS: Final = (("start_time", "end_time"), ("fit_start_time", "fit_end_time"))
SLACK: Final = pd.Timedelta(days=31)
DAY: Final = pd.Timedelta(days=1)

_YEAR = re.compile(r"\d{4}")
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2})?\Z")


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time in the configuration: None is an open end, `loose` one that only has to meet the data."""

    where: str
    ends: tuple[str, str]
    start: pd.Timestamp | None
    end: pd.Timestamp | None
    freq: str
    loose: bool = False

    def __str__(self) -> str:
        return f"{_shown(self.start)} to {_shown(self.end)}"

    def meets(self, other: Range) -> bool:
        return not _before(self.end, other.start) and not _before(other.end, self.start)


def time_problems(task: Mapping[str, Any], provider: Provider | None) -> list[Problem]:
    """Return what is wrong with the dates of a task; without a provider the calendar is not asked."""
    problems: list[Problem] = []
    ranges = list(_ranges(task, problems))
    problems += [
        Problem(one.where, f"ends ({_shown(one.end)}) before it starts ({_shown(one.start)})")
        for one in ranges
        if one.start is not None and one.end is not None and one.end < one.start
    ]
    if provider is not None:
        calendar = cache(lambda freq: _first_and_last(provider, freq))
        for one in ranges:
            problems += _outside(one, calendar(one.freq))
    problems += _apart(ranges)
    return problems


def handler_freq(dataset: Any) -> str:
    """Return the bar size that the handler of a dataset's configuration loads."""
    handler = _kwargs(dataset).get("handler")
    for kwargs in (_kwargs(handler), _kwargs(_kwargs(handler).get("data_loader"))):
        freq = kwargs.get("freq")
        if isinstance(freq, Mapping):
            freq = next(iter(freq.values()), None)
        if isinstance(freq, str):
            return freq
    return "day"


def quote_freq(portfolio: Mapping[str, Any]) -> str:
    """Return the bar size of the quotes that a PortAnaRecord's config trades at."""
    exchange = (portfolio.get("backtest") or {}).get("exchange_kwargs") or {}
    if isinstance(exchange.get("freq"), str):
        return exchange["freq"]
    try:
        finest = executor_levels(portfolio.get("executor", DEFAULT_EXECUTOR))[-1][0]
    except InputError:
        return "day"
    return finest if finest.endswith("min") else "day"


def portfolios(task: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (path, config) of every record that trades."""
    records = task.get("record") or []
    several = isinstance(records, list | tuple)
    for place, record in enumerate(records if several else [records]):
        if not is_instance_config(record):
            continue
        config = _kwargs(record).get("config")
        if isinstance(config, Mapping) and {"strategy", "backtest", "executor"} & set(config):
            yield f"task.record{f'.{place}' if several else ''}.kwargs.config", config


def _kwargs(config: Any) -> Mapping[str, Any]:
    found = config.get("kwargs") if isinstance(config, Mapping) else None
    return found if isinstance(found, Mapping) else {}


# ---------------------------------------------------------------------------------------------------------- the ranges
def _ranges(task: Mapping[str, Any], problems: list[Problem]) -> Iterator[Range]:
    data_freq = handler_freq(task.get("dataset"))
    trade_freqs = {where: quote_freq(config) for where, config in portfolios(task)}
    for where, table in tables(task, "task"):
        freq = next((f for start, f in trade_freqs.items() if where.startswith(start)), data_freq)
        for first, last in PAIRS:
            if first in table or last in table:
                start = _moment(table.get(first), f"{where}.{first}", problems)
                end = _moment(table.get(last), f"{where}.{last}", problems)
                loose = first == "start_time" and where not in {f"{path}.backtest" for path in trade_freqs}
                yield Range(where, (f"{where}.{first}", f"{where}.{last}"), start, end, freq, loose)
        segments = table.get("segments")
        if isinstance(segments, Mapping):
            for name, bounds in segments.items():
                yield from _segment(bounds, f"{where}.segments.{name}", freq, problems)


def _segment(bounds: Any, where: str, freq: str, problems: list[Problem]) -> Iterator[Range]:
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        problems.append(Problem(where, f"a segment is [start, end], null for an open end; received {bounds!r}"))
        return
    if all(isinstance(bound, int) and not _digits_of_a_date(bound) for bound in bounds):
        return  # positions in a calendar
    start, end = (_moment(bound, f"{where}.{place}", problems) for place, bound in enumerate(bounds))
    yield Range(where, (f"{where}.0", f"{where}.1"), start, end, freq)


def _digits_of_a_date(number: int) -> bool:
    return 19000101 <= number <= 99991231


def _moment(value: Any, where: str, problems: list[Problem]) -> pd.Timestamp | None:
    if value is None or (isinstance(value, str) and (_TIME_OF_DAY.match(value) or value.startswith("<"))):
        return None
    if isinstance(value, bool | int | float):
        quoted = f"; write '{value}' in quotes" if isinstance(value, int) and _digits_of_a_date(value) else ""
        problems.append(Problem(where, f"received the number {value!r}, not a date{quoted or ' such as 2020-01-31'}"))
        return None
    try:
        if isinstance(value, str) and not _YEAR.search(value):
            raise ValueError(value)  # pandas reads "June" as a month of the year 1
        moment = pd.Timestamp(value)
    except (ValueError, TypeError):
        problems.append(Problem(where, f"received {value!r}, which is no date; dates such as 2020-01-31 are allowed"))
        return None
    if moment is pd.NaT:
        problems.append(Problem(where, f"received {value!r}, which is no date; write null for an open end"))
        return None
    if moment.tz is not None:
        problems.append(
            Problem(where, f"received {value}; a time without a zone, in the clock of the data, is allowed")
        )
        return None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return moment.normalize()
    return moment


# -------------------------------------------------------------------------------------------------------- the calendar
def _first_and_last(provider: Provider, freq: str) -> tuple[pd.Timestamp, pd.Timestamp] | None:
    try:
        times = provider.locate(freq).times
    except InputError:
        return None  # the check of the data says so
    return (pd.Timestamp(times[0]), pd.Timestamp(times[-1])) if len(times) else None


def _outside(one: Range, calendar: tuple[pd.Timestamp, pd.Timestamp] | None) -> list[Problem]:
    if calendar is None:
        return []
    first, last = calendar
    holds = f"the calendar of {one.freq} bars holds {_shown(first)} to {_shown(last)}"
    whole = Range("", ("", ""), first, last, one.freq)
    if not one.meets(whole):
        return [Problem(one.where, f"{one} lies outside the data: {holds}")]
    problems = []
    if not one.loose and one.start is not None and one.start < first - SLACK:
        problems.append(Problem(one.ends[0], f"{_shown(one.start)} lies before the data: {holds}"))
    if not one.loose and one.end is not None and one.end > last + SLACK:
        problems.append(Problem(one.ends[1], f"{_shown(one.end)} lies after the data: {holds}"))
    return problems


def _apart(ranges: list[Range]) -> list[Problem]:
    """Return segments that the handler does not load."""
    handler = next((r for r in ranges if r.where == "task.dataset.kwargs.handler.kwargs" and r.loose), None)
    if handler is None:
        return []
    return [
        Problem(one.where, f"{one} lies outside what the handler loads, {handler}")
        for one in ranges
        if one.where.startswith("task.dataset.kwargs.segments.") and not one.meets(handler)
    ]


def _before(end: pd.Timestamp | None, start: pd.Timestamp | None) -> bool:
    """Return whether a range that ends at `end` (a date: with its last moment) is over before `start`."""
    if end is None or start is None:
        return False
    return (end + DAY if end == end.normalize() else end) <= start if end != start else False


def _shown(moment: pd.Timestamp | None) -> str:
    if moment is None:
        return "(open)"
    return str(moment.date()) if moment == moment.normalize() else str(moment)

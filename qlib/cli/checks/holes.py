"""Bars are there where a task needs them: a few bars of every segment are looked at, and the ends of the benchmark.

A universe whose members end before the test begins, a store that stops halfway, a benchmark that was listed later: each
is told before a model is trained for nothing. One bar at a time is read, so this costs the same for ten years as for
one; what lies between the bars that are looked at is the business of `qlib health`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.cli.checks.data import fields_by_freq, loaders
from qlib.cli.checks.objects import quiet_instance, resolve
from qlib.cli.checks.problem import Problem, is_instance_config
from qlib.cli.checks.times import portfolios, quote_freq
from qlib.data.active import shown
from qlib.data.dataset.handler import DataHandler
from qlib.data.expression.plan import build_plan
from qlib.data.provider import Provider
from qlib.errors import InputError

LOOKS: Final = 5  # bars of a segment: both ends, and between
WHERE: Final = "task.dataset.kwargs.segments"


def hole_warnings(task: Mapping[str, Any], provider: Provider) -> list[Problem]:
    """Return where nobody has a bar, and where the benchmark has none; the task must have passed all checks."""
    found = [*_segment_holes(task, provider)]
    for where, config in portfolios(task):
        found += _benchmark_holes(f"{where}.backtest.benchmark", config, provider)
    return found


def _segment_holes(task: Mapping[str, Any], provider: Provider) -> Iterator[Problem]:
    dataset = task.get("dataset")
    kwargs = (dataset.get("kwargs") or {}) if isinstance(dataset, Mapping) else {}
    config, segments = kwargs.get("handler"), kwargs.get("segments")
    if not isinstance(config, Mapping) or not is_instance_config(config) or not isinstance(segments, Mapping):
        return
    function = resolve(config, "handler", "", [])
    if not (isinstance(function, type) and issubclass(function, DataHandler)):
        return
    with shown(provider):
        handler = quiet_instance(config, init_data=False)
    loader = next(loaders(handler.data_loader), None)
    if loader is None:
        return
    fields, freq = next(fields_by_freq(loader))
    reads = build_plan(fields, compat=provider.settings["compat"], registry=provider.registry).reads
    members = handler.instruments
    if members is None or isinstance(members, str):
        members = provider.instruments("all" if members is None else members, filter_pipe=loader.filter_pipe)
    calendar = provider.locate(freq)
    for name, segment in segments.items():
        if not isinstance(segment, list | tuple) or not reads:
            continue
        low, high = calendar.locate(*segment)
        looked = np.unique(np.linspace(low, high, LOOKS).round().astype(int)) if low <= high else np.empty(0, int)
        empty = [at for at in looked.tolist() if not _there(provider, members, reads, freq, calendar.times[at])]
        if empty:
            days = ", ".join(_day(calendar.times[at]) for at in empty)
            yield Problem(f"{WHERE}.{name}", f"nobody in the universe has a bar on {days}; rows are missing there")


def _there(provider: Provider, members: Any, fields: Any, freq: str, moment: Any) -> bool:
    """Return whether anybody has any of the fields at a bar."""
    stamp = pd.Timestamp(moment)
    frame = provider.computed(members, [f"${field}" for field in fields], stamp, stamp, freq)
    return bool(frame.notna().to_numpy().any())


def _benchmark_holes(where: str, config: Mapping[str, Any], provider: Provider) -> Iterator[Problem]:
    arguments = config.get("backtest") or {}
    benchmark = arguments.get("benchmark", provider.settings.region.benchmark)
    names = [benchmark] if isinstance(benchmark, str) else benchmark if isinstance(benchmark, list | tuple) else []
    freq = quote_freq(config)
    try:
        calendar = provider.locate(freq)
    except InputError:
        return  # the back-test makes its bars from finer ones
    low, high = calendar.locate(arguments.get("start_time"), arguments.get("end_time"))
    for name in map(str, names):
        for at, what in ((low, "first"), (high, "last")):
            open_end = arguments.get("start_time" if at == low else "end_time") is None
            if open_end or low > high or "close" not in provider.stored_fields(name, freq):
                continue
            if not _there(provider, [name], ["close"], freq, calendar.times[at]):
                yield Problem(
                    where, f"{name} has no close on {_day(calendar.times[at])}, the {what} bar of the back-test"
                )


def _day(moment: Any) -> str:
    stamp = pd.Timestamp(moment)
    return str(stamp.date()) if stamp == stamp.normalize() else str(stamp)

"""What a configuration would compute, before anything is: `qrun --plan` and `qrun --dry-run`.

    print(planned(job))             the configuration, its formulas, rows and memory of each segment, the backtest
    dry_run(job)                    dataset, model and records are made, segments are prepared; nothing is kept

A plan reads which bars are stored, computes nothing and writes nothing. Its rows are those that the formulas have
before any processor; processors may drop some (a label that is not known) or, in a class of the user's, add some.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.cli import hidden
from qlib.cli.check import INIT_KEYS
from qlib.cli.checks.data import fields_by_freq, loaders, universe_of
from qlib.cli.checks.objects import quiet_instance
from qlib.cli.checks.times import portfolios, quote_freq
from qlib.cli.job import Job
from qlib.config import build_settings
from qlib.data.active import shown
from qlib.data.dataset import Dataset
from qlib.data.dataset.handler import DataHandler
from qlib.data.dataset.weight import Reweighter
from qlib.data.expression.explain import explain
from qlib.data.expression.plan import build_plan
from qlib.data.provider import Provider
from qlib.data.provider.features import load, rows_of
from qlib.data.ranges import Ranges
from qlib.log import get_module_logger
from qlib.model.base import Model
from qlib.utils.nested import fill_placeholder
from qlib.utils.objects import init_instance_by_config
from qlib.utils.time import Freq
from qlib.workflow import Recorder
from qlib.workflow.record_temp import PortAnaRecord
from qlib.workflow.stage import stage
from qlib.workflow.train import LATER, RECORD_MODULE, class_name

logger = get_module_logger("qrun")

SHOWN: Final = 12  # formulas that a person is shown; a program gets all
AT_ONCE: Final = 256  # instruments whose stored bars are looked at together
FLOAT: Final = 4  # bytes of a number in a frame


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that will be there: of everything that the handler loads, or of a segment."""

    name: str
    start: str
    end: str
    bars: int
    instruments: int
    rows: int
    columns: int

    @property
    def megabytes(self) -> float:
        """Of one frame with all columns; a handler holds up to three, processors and models make more."""
        return self.rows * self.columns * FLOAT / 1e6


@dataclass(frozen=True, slots=True)
class Backtest:
    """One back-test that will be run."""

    where: str
    start: str
    end: str
    freq: str
    bars: int
    instruments: int


@dataclass(slots=True)
class Planned:
    """All that is known of a run before it; see the module."""

    config: dict[str, Any]
    freq: str = ""
    features: int = 0
    labels: int = 0
    reads: tuple[str, ...] = ()
    back: float = 0
    ahead: float = 0
    steps: int = 0
    formulas: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    backtests: list[Backtest] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return everything as a table for a program."""
        return {
            "config": self.config,
            "formulas": self.formulas,
            "reads": list(self.reads),
            "back": self.back,
            "ahead": self.ahead,
            "steps": self.steps,
            "freq": self.freq,
            "parts": [{**asdict(part), "megabytes": round(part.megabytes, 3)} for part in self.parts],
            "backtests": [asdict(one) for one in self.backtests],
            "notes": self.notes,
        }

    def __str__(self) -> str:
        import yaml  # noqa: PLC0415  only who runs a configuration needs the parser

        text = yaml.safe_dump(self.config, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
        lines = ["configuration", *(f"  {line}" for line in text.splitlines())]
        if self.formulas:
            more = len(self.formulas) - SHOWN
            lines += [
                "",
                f"formulas: {_many(self.features, 'feature')} and {_many(self.labels, 'label')} in "
                f"{_many(self.steps, 'step')}, from "
                f"{', '.join(f'${name}' for name in self.reads)}; {_bars(self.back)} of history, "
                f"{_bars(self.ahead)} ahead",
                *(f"  {line}" for line in self.formulas[:SHOWN]),
                *([f"  ... and {more} more (--json tells all)"] if more > 0 else []),
            ]
        if self.parts:
            lines += ["", f"data: {self.freq} bars, before processors"]
            lines += _lined(
                ["", "from", "to", "bars", "instruments", "rows", "columns", "MB"],
                [[p.name, p.start, p.end, f"{p.bars:,}", f"{p.instruments:,}", f"{p.rows:,}", f"{p.columns:,}",
                  f"{p.megabytes:,.1f}"] for p in self.parts],
            )  # fmt: skip
        if self.backtests:
            lines += ["", "backtest: bars of quotes"]
            lines += _lined(
                ["", "from", "to", "bars", "instruments"],
                [
                    [f"{b.where} ({b.freq})", b.start, b.end, f"{b.bars:,}", f"{b.instruments:,}"]
                    for b in self.backtests
                ],
            )
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes])


def planned(job: Job) -> Planned:
    """Return what a run would compute; ConfigProblemsError where its configuration is wrong."""
    config = job.checked_config()
    init = {key: value for key, value in (config.get("qlib_init") or {}).items() if key not in INIT_KEYS}
    provider = Provider(build_settings((config.get("qlib_init") or {}).get("default_conf", "client"), **init))
    task = fill_placeholder(config["task"], {text: text for text in LATER})
    plan = Planned(hidden.hide_in(config | {"task": task}))
    plan.notes += [f"warning: {one}" for one in job.warnings]
    _plan_data(plan, task, provider)
    for where, portfolio in portfolios(task):
        plan.backtests.append(_backtest(where, portfolio, provider))
    return plan


def _plan_data(plan: Planned, task: Mapping[str, Any], provider: Provider) -> None:
    kwargs = (task["dataset"].get("kwargs") or {}) if isinstance(task["dataset"], Mapping) else {}
    config = kwargs.get("handler")
    with shown(provider):  # a handler may ask the store which fields there are
        handler = quiet_instance(config, init_data=False) if isinstance(config, Mapping) else None
    found = list(loaders(handler.data_loader)) if isinstance(handler, DataHandler) else []
    if not isinstance(handler, DataHandler) or not found:
        plan.notes.append("rows: what is loaded is known only when the dataset is built; qrun --dry-run does that")
        return
    by_freq: dict[str, list[str]] = {}
    for loader in found:
        groups = loader.fields if loader.is_group else {"feature": loader.fields}
        for group, (fields, _) in groups.items():
            if group == "label":
                plan.labels += len(fields)
            else:
                plan.features += len(fields)
        for fields, freq in fields_by_freq(loader):
            by_freq.setdefault(freq, []).extend(fields)
    plan.freq = min(by_freq, key=lambda freq: Freq(freq).seconds)
    rules = {"compat": provider.settings["compat"], "registry": provider.registry}
    fields = [one for some in by_freq.values() for one in some]
    built = build_plan(fields, **rules)
    plan.formulas = explain(fields, **rules).splitlines()[: len(built.fields)]
    plan.reads, plan.steps = tuple(built.reads), len(built.steps)
    plan.back, plan.ahead = built.span.back, built.span.ahead
    loads = by_freq[plan.freq]
    segments = kwargs.get("segments") or {}
    bounds = {"loaded": (handler.start_time, handler.end_time), **segments}
    members = handler.instruments
    filters = found[0].filter_pipe
    if members is None or isinstance(members, str):
        members = provider.instruments("all" if members is None else members, filter_pipe=filters)
    columns = plan.features + plan.labels
    plan.parts = _parts(provider, members, loads, plan.freq, bounds, columns)


def _parts(
    provider: Provider, members: Any, fields: Sequence[str], freq: str, bounds: Mapping[str, Any], columns: int
) -> list[Part]:
    """Return the parts of what is loaded, by the bars that are stored and the spans of the universe."""
    start, end = bounds["loaded"]
    query = provider.query(members, list(dict.fromkeys(fields)), start, end, freq)
    if query is None:
        return []
    times = query.calendar.times
    ranges = {
        name: query.calendar.locate(*(None if end is None else end for end in pair)) for name, pair in bounds.items()
    }
    ranges = {name: (max(low, query.low), min(high, query.high)) for name, (low, high) in ranges.items()}
    rows, names = dict.fromkeys(ranges, 0), dict.fromkeys(ranges, 0)
    seen = {name: np.zeros(max(0, high - low + 1) + 1, dtype=np.int64) for name, (low, high) in ranges.items()}
    for first in range(0, len(query.instruments), AT_ONCE):
        some = query.instruments[first : first + AT_ONCE]
        loaded = load(provider.store, some, query.plan, freq, query.calendar, query.low, query.high, 1)
        kept = rows_of(loaded, query.low, query.high, _of(query.members, first, len(some)))
        for name, (low, high) in ranges.items():
            inside = kept.within(low, high + 1)
            rows[name] += inside.rows
            names[name] += len(np.unique(inside.instrument))
            np.add.at(seen[name], inside.begin - low, 1)
            np.add.at(seen[name], inside.end - low, -1)
    parts = []
    for name, (low, high) in ranges.items():
        bars = int((np.cumsum(seen[name]) > 0).sum())
        start, end = (_day(times[at]) if low <= high else "" for at in (low, high))
        parts.append(Part(name, start, end, bars, names[name], rows[name], columns))
    return parts


def _of(members: Ranges | None, first: int, count: int) -> Ranges | None:
    """Return the ranges of some of the instruments, numbered from 0."""
    if members is None:
        return None
    own = (members.instrument >= first) & (members.instrument < first + count)
    return Ranges(members.instrument[own] - first, members.begin[own], members.end[own])


def _backtest(where: str, portfolio: Mapping[str, Any], provider: Provider) -> Backtest:
    arguments = portfolio.get("backtest") or {}
    freq = quote_freq(portfolio)
    calendar = provider.locate(freq)
    low, high = calendar.locate(arguments.get("start_time"), arguments.get("end_time"))
    codes = (arguments.get("exchange_kwargs") or {}).get("codes", "all")
    names, _ = universe_of(codes, freq, where, provider)
    start, end = (_day(calendar.times[at]) for at in (low, min(high, len(calendar) - 1)))
    return Backtest(where.removesuffix(".kwargs.config"), start, end, freq, max(0, high - low + 1), len(names or []))


def dry_run(job: Job, *, show_steps: bool = False) -> None:
    """Make everything that a run can make before it fits, exchanges included, look at every segment, and keep nothing.

    Strategies wait for the prediction; where the test segment is no frame with times, exchanges do, too.
    """
    with stage("check"):
        config = job.checked_config()
    for one in job.warnings:
        logger.warning(hidden.hide(f"{one}"))
    with job.session(config, show_steps=show_steps):
        task = fill_placeholder(config["task"], {text: text for text in LATER})
        with stage("dataset"):
            dataset = init_instance_by_config(task["dataset"], accept_types=Dataset)
        with stage("model"):
            model = init_instance_by_config(task["model"], accept_types=Model)
            if task.get("reweighter") is not None:
                init_instance_by_config(task["reweighter"], accept_types=Reweighter)
        times = None
        for name in getattr(dataset, "segments", {}):
            with stage(f"segment {name}") as told:
                prepared = dataset.prepare(name)
                told |= _facts(prepared)
            if name == "test" and isinstance(prepared, pd.DataFrame) and "datetime" in prepared.index.names:
                times = pd.DatetimeIndex(prepared.index.get_level_values("datetime"))
        task = fill_placeholder(task, {"<MODEL>": model, "<DATASET>": dataset, "<PRED>": "<PRED>"})
        records = task.get("record") or []
        for one in records if isinstance(records, list | tuple) else [records]:
            with stage(f"record {class_name(one)}"):
                record = init_instance_by_config(
                    one,
                    default_module=RECORD_MODULE,
                    try_kwargs={"model": model, "dataset": dataset},
                    recorder=Recorder(None, "dry run"),
                )
                if isinstance(record, PortAnaRecord) and times is not None:
                    record.exchange(times)


def _facts(prepared: Any) -> dict[str, Any]:
    """Return what is known of the data of a segment: rows, columns, missing values, memory."""
    if isinstance(prepared, pd.DataFrame):
        missing = float(np.mean([prepared.iloc[:, i].isna().mean() for i in range(prepared.shape[1])]))
        size = float(prepared.memory_usage(index=False).sum()) / 1e6
        return {"rows": len(prepared), "columns": prepared.shape[1], "missing": f"{missing:.2%}", "MB": round(size, 1)}
    return {"rows": len(prepared)} if hasattr(prepared, "__len__") else {}


def _lined(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table, numbers to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = [cell.ljust(width) if at < 3 else cell.rjust(width)
                 for at, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        yield f"  {'  '.join(cells)}".rstrip()


def _bars(count: float) -> str:
    return "everything" if np.isinf(count) else _many(count, "bar")


def _many(count: float, what: str) -> str:
    return f"{count:g} {what}{'' if count == 1 else 's'}"


def _day(moment: Any) -> str:
    stamp = pd.Timestamp(moment)
    return str(stamp.date()) if stamp == stamp.normalize() else str(stamp)

"""What a finished run left behind, read through its recorder.

    read_artifacts(recorder) -> Artifacts     pred, label, ic, rank_ic, task, config, portfolio, model, ...

A run with only a SignalRecord has no portfolio; one without labels has no IC. Whatever is there is read, what is not
there is None, and a file that is there but cannot be read is an error; only the model may be unreadable (its classes
may not be at hand), which the report says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from qlib.backtest.position import PositionHistory
from qlib.utils.exceptions import LoadObjectError

REPORT_NAME = re.compile(r"report_normal_(\d*)(min|minute|day|week|month)\.pkl")
MODEL = "params.pkl"
ROUNDS = ("train", "valid", "test")  # what the names of metrics end with that have a value a round
_LENGTH = {"min": 1, "minute": 1, "day": 1440, "week": 10080, "month": 43200}


@dataclass(frozen=True, slots=True)
class Portfolio:
    """The backtest's artifacts at one frequency.

    `report` has one row per step (columns account, return, turnover, cost, value, cash, bench); `positions` maps the
    start of a step to the position after it; `trades` has one row per fill, of all levels of execution, and
    `trade_files` names the artifacts that hold them. `attribution` is there where holding cost or earned something.
    """

    freq: str
    report: pd.DataFrame
    positions: Mapping[Any, Any] | None = None
    indicators: pd.DataFrame | None = None
    analysis: pd.DataFrame | None = None
    trades: pd.DataFrame | None = None
    attribution: pd.DataFrame | None = None
    trade_files: tuple[str, ...] = ()
    capacity: Mapping[str, Any] | None = None
    other_freqs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Everything the report reads, with None for what the run did not leave."""

    run: dict[str, Any]
    metrics: dict[str, float]
    params: dict[str, str]
    task: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    pred: pd.Series | None = None
    label: pd.Series | None = None
    ic: pd.Series | None = None
    rank_ic: pd.Series | None = None
    portfolio: Portfolio | None = None
    manifest: Mapping[str, Any] | None = None
    trial: Mapping[str, Any] | None = None
    model: Any = None
    model_why: str | None = None
    history: Mapping[str, list[float]] = field(default_factory=dict)


def history_of(positions: Any) -> PositionHistory:
    """The positions as a history, whatever mapping they came in."""
    if isinstance(positions, PositionHistory):
        return positions
    history = PositionHistory()
    for time, position in positions.items() if isinstance(positions, Mapping) else ():
        history[time] = position
    return history


def read_artifacts(recorder: Any) -> Artifacts:
    """Read what `recorder` holds; nothing is computed here."""
    names = _names(recorder)

    def load(name: str) -> Any:
        return recorder.load_object(name) if name in names else None

    metrics = {str(name): float(value) for name, value in sorted(recorder.list_metrics().items())}
    model, model_why = _model(recorder, names)
    return Artifacts(
        run=_run_facts(recorder),
        metrics=metrics,
        params={str(name): str(value) for name, value in sorted(recorder.list_params().items())},
        task=_mapping(load("task")),
        config=_mapping(load("config")),
        pred=_column(load("pred.pkl"), "pred.pkl"),
        label=_column(load("label.pkl"), "label.pkl"),
        ic=_series(load("sig_analysis/ic.pkl")),
        rank_ic=_series(load("sig_analysis/ric.pkl")),
        portfolio=_portfolio(names, load),
        manifest=_mapping(load("manifest.json")) or None,
        trial=_mapping(load("trial.json")) or None,
        model=model,
        model_why=model_why,
        history=_history(recorder, metrics),
    )


def _model(recorder: Any, names: set[str]) -> tuple[Any, str | None]:
    """The fitted model, or why it cannot be read."""
    if MODEL not in names:
        return None, None
    try:
        return recorder.load_object(MODEL), None
    except LoadObjectError as error:
        return None, str(error)


def _history(recorder: Any, metrics: Mapping[str, float]) -> dict[str, list[float]]:
    """The values of each metric that a model logged round by round, such as "l2.valid"; {} where nobody kept them."""
    client = getattr(recorder, "client", None)
    if client is None:
        return {}
    curves = {}
    for name in metrics:
        if name.rpartition(".")[2] in ROUNDS:
            values = sorted(client.get_metric_history(recorder.id, name), key=lambda one: one.step)
            curves[name] = [float(one.value) for one in values]
    return curves


def _names(recorder: Any) -> set[str]:
    """Every artifact the report could use; a folder's files are listed only where the folder exists."""
    top = {str(PurePosixPath(name)) for name in recorder.list_artifacts()}
    names = set(top)
    for folder in ("sig_analysis", "portfolio_analysis"):
        if folder in top:
            names |= {f"{folder}/{PurePosixPath(name).name}" for name in recorder.list_artifacts(folder)}
    return names


def _run_facts(recorder: Any) -> dict[str, Any]:
    facts = {
        "experiment": _experiment_name(recorder),
        "experiment_id": getattr(recorder, "experiment_id", None),
        "recorder": getattr(recorder, "name", None),
        "recorder_id": getattr(recorder, "id", None),
        "status": getattr(recorder, "status", None),
        "start_time": getattr(recorder, "start_time", None),
        "end_time": getattr(recorder, "end_time", None),
    }
    return {name: None if value is None else str(value) for name, value in facts.items()}


def _experiment_name(recorder: Any) -> str | None:
    """A recorder knows its experiment by id; the tracking client knows the name."""
    client = getattr(recorder, "client", None)
    if client is None:
        return getattr(recorder, "experiment_name", None)
    return client.get_experiment(str(recorder.experiment_id)).name


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _column(found: Any, name: str) -> pd.Series | None:
    """First column of a (datetime, instrument) frame, sorted by time."""
    if found is None:
        return None
    column = found.iloc[:, 0] if isinstance(found, pd.DataFrame) else found
    if column.index.nlevels != 2:
        msg = f"{name} must be indexed by (datetime, instrument), received {column.index.nlevels} index level(s)"
        raise ValueError(msg)
    if column.index.names[0] == "instrument":
        column = column.swaplevel()
    return column.rename_axis(["datetime", "instrument"]).sort_index()


def _series(found: Any) -> pd.Series | None:
    if isinstance(found, pd.DataFrame):
        found = found.iloc[:, 0]
    return None if found is None else found.sort_index()


def _portfolio(names: set[str], load: Any) -> Portfolio | None:
    freqs = {}
    for name in names:
        match = REPORT_NAME.fullmatch(PurePosixPath(name).name)
        if match and name.startswith("portfolio_analysis/"):
            count, unit = match.groups()
            freqs[f"{count}{unit}"] = int(count or 1) * _LENGTH[unit]
    if not freqs:
        return None
    freq, *others = sorted(freqs, key=lambda name: (-freqs[name], name))  # the outermost level tells the story
    folder = "portfolio_analysis"
    return Portfolio(
        freq=freq,
        report=load(f"{folder}/report_normal_{freq}.pkl").sort_index(),
        positions=load(f"{folder}/positions_normal_{freq}.pkl"),
        indicators=load(f"{folder}/indicators_normal_{freq}.pkl"),
        analysis=load(f"{folder}/port_analysis_{freq}.pkl"),
        trades=_trades(load(f"{folder}/indicators_normal_{freq}_obj.pkl")),
        attribution=load(f"{folder}/attribution_normal_{freq}.pkl"),
        trade_files=tuple(sorted(name for name in names if name.startswith(f"{folder}/trades."))),
        other_freqs=tuple(others),
        capacity=_mapping(load(f"{folder}/capacity.pkl")) or None,
    )


def _trades(indicator: Any) -> pd.DataFrame | None:
    """Fills of the indicator's log; None where it keeps none, as those of Qlib's own runs."""
    log = getattr(indicator, "trades", None)
    return None if log is None else log.frame()

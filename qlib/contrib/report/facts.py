"""What ran on what: names, dates, market, model and costs, taken from the run's own task and configuration.

A run made in code has no `config`, one made by hand no `task`: what nobody wrote down stays None, and the live
session's settings stand in for the store and the region.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qlib.config import REGIONS, DataPathManager, Region, Settings
from qlib.contrib.report.artifacts import Artifacts
from qlib.contrib.report.times import DAY, stamp
from qlib.utils.nested import fill_placeholder
from qlib.workflow.train import LATER

TRUTH = "truth.json"
PACKAGES = ("numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "lightgbm", "xgboost", "catboost", "torch", "mlflow")
SECRET = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True, slots=True)
class Market:
    """Store and region of a run."""

    region: Region
    provider_uri: dict[str, str]


def market_of(artifacts: Artifacts, settings: Settings) -> Market:
    """The store and the region the run names itself, else those of `settings`."""
    said = artifacts.config.get("qlib_init") or {}
    region = said.get("region")
    if not isinstance(region, Region):
        region = REGIONS.get(str(region)) or settings.region
    uri = said.get("provider_uri") or settings["provider_uri"]
    return Market(region=region, provider_uri=DataPathManager.format_provider_uri(uri) if uri else {})


def facts(artifacts: Artifacts, market: Market, version: str | None) -> dict[str, Any]:
    """The twin's `run`, `data`, `model`, `dataset` and `backtest` parts."""
    task = fill_placeholder(artifacts.task or artifacts.config.get("task") or {}, {text: text for text in LATER})
    dataset = _part(task, "dataset")
    handler = _part(_kwargs(dataset), "handler")
    wanted = {"data": _data(market, handler), "model": _instance(_part(task, "model"))}
    return {
        "run": artifacts.run | {"qlib_version": version},
        **wanted,
        "dataset": {
            "class": dataset.get("class"),
            "handler": handler.get("class"),
            "handler_kwargs": _plain({k: v for k, v in _kwargs(handler).items() if k != "instruments"}),
            "segments": {
                str(name): [_time(edge) for edge in edges]
                for name, edges in (_kwargs(dataset).get("segments") or {}).items()
                if isinstance(edges, list | tuple)
            },
        },
        "backtest": _backtest(task),
        "origin": _origin(artifacts.manifest),
    }


def universe_of(task: Mapping[str, Any]) -> Any:
    """The instruments that the handler was told; None where it was told none."""
    return _kwargs(_part(_kwargs(_part(task, "dataset")), "handler")).get("instruments")


def _data(market: Market, handler: Mapping[str, Any]) -> dict[str, Any]:
    truth = _truth(market.provider_uri)
    synthetic = truth is not None and truth["synthetic"]
    instruments = _kwargs(handler).get("instruments")
    return {
        "provider_uri": {freq.strip("_").lower(): SECRET.sub("***", uri) for freq, uri in market.provider_uri.items()},
        "region": market.region.name,
        "days_per_year": market.region.days_per_year,
        "market": _plain(instruments),
        "synthetic": synthetic,
        "truth": truth if synthetic else None,
    }


def _origin(manifest: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the run's manifest says of data, code, packages and machine; all of it is in manifest.json."""
    if manifest is None:
        return None
    data, code, machine = (_part(manifest, key) for key in ("data", "code", "environment"))
    packages = _part(manifest, "packages")
    return {
        "snapshot": data.get("id"),
        "files": data.get("files"),
        "fields": _plain(data.get("fields")),
        "other_files": _plain(data.get("other_files")),
        "code": code.get("digest"),
        "repositories": [
            {"root": str(one.get("root")), "commit": one.get("commit"), "changed": one.get("changed")}
            for one in code.get("repositories") or []
            if isinstance(one, Mapping)
        ],
        "packages": {name: str(packages[name]) for name in PACKAGES if name in packages},
        "packages_in_all": len(packages),
        "python": machine.get("python"),
        "machine": _plain(_part(manifest, "hardware")),
        "threads": {str(name): _plain(value) for name, value in _part(machine, "threads").items() if value},
        "seeds": _plain(_part(manifest, "seeds")),
        "predictions": manifest.get("predictions"),
        "accounts": _plain(_part(manifest, "accounts")),
        "parents": _plain(manifest.get("parents") or []),
    }


def _truth(provider_uri: Mapping[str, str]) -> dict[str, Any] | None:
    """What a made-up store says of itself: its truth.json, or a README that calls it synthetic."""
    for uri in provider_uri.values():
        folder = Path(uri)
        if (folder / TRUTH).is_file():
            said = json.loads((folder / TRUTH).read_text(encoding="utf-8"))
            oracle = _part(said, "oracle_on_all_days")
            return {
                "synthetic": bool(said.get("synthetic", True)),
                "said": said.get("warning"),
                "null_twin": said.get("null_twin"),
                "planted_ic": _part(said, "planted").get("ic"),
                "oracle_ic": oracle.get("mean_ic"),
                "oracle_standard_error": oracle.get("standard_error"),
            }
        for readme in sorted(folder.glob("README*")) if folder.is_dir() else []:
            if "synthetic" in readme.read_text(encoding="utf-8", errors="replace").lower():
                return {"synthetic": True, "said": f"{readme.name} calls this store synthetic"}
    return None


def _backtest(task: Mapping[str, Any]) -> dict[str, Any] | None:
    """Strategy, capital, benchmark and costs as the portfolio record was told them."""
    records = task.get("record") or []
    for record in [records] if isinstance(records, Mapping) else records:
        if isinstance(record, Mapping) and str(record.get("class", "")).endswith("PortAnaRecord"):
            config = _kwargs(record).get("config") or {}
            told = config.get("backtest") or {}
            exchange = told.get("exchange_kwargs") or {}
            return {
                "strategy": _instance(config.get("strategy") or {}),
                "executor": _instance(config.get("executor") or {}),
                "account": _plain(told.get("account")),
                "benchmark": _plain(told.get("benchmark")),
                "start": _time(told.get("start_time")),
                "end": _time(told.get("end_time")),
                "exchange": _plain(exchange),
            }
    return None


def _part(config: Any, key: str) -> Mapping[str, Any]:
    found = config.get(key) if isinstance(config, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _kwargs(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return _part(config, "kwargs")


def _instance(config: Any) -> dict[str, Any] | None:
    if not isinstance(config, Mapping) or not config:
        return None
    return {
        "class": _plain(config.get("class")),
        "module_path": _plain(config.get("module_path")),
        "kwargs": _plain(_kwargs(config)),
    }


def _time(moment: Any) -> str | None:
    if moment is None:
        return None
    parsed = pd.to_datetime(str(moment), errors="coerce")
    return str(moment) if pd.isna(parsed) else stamp(parsed)


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: containers kept, numbers and texts kept, anything else as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, pd.Timestamp):
        return stamp(value)
    return value.__name__ if isinstance(value, type) else str(value)


def freq_of(index: pd.Index) -> str:
    """The usual distance between two periods, as a Qlib frequency: day, week, 30min; "day" for a single period."""
    times = pd.DatetimeIndex(index.unique()).sort_values()
    if len(times) < 2:
        return "day"
    gap = pd.Series(times[1:] - times[:-1]).median()
    if gap >= 20 * DAY:
        return "month"
    if gap >= 5 * DAY:
        return "week"
    if gap >= DAY / 2:
        return "day"
    return f"{max(1, round(gap / pd.Timedelta(minutes=1)))}min"

"""A small market and a job for `qrun`, for tests of the command line; tests import its fixtures."""

from __future__ import annotations

import copy
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from qlib import session
from qlib.data.storage.writer import write_store
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager

DATES = pd.bdate_range("2020-01-01", periods=160)
NAMES = [f"S{i:02d}" for i in range(8)]
HANDLER = "task.dataset.kwargs.handler.kwargs"


def small_market(folder: Path) -> Path:
    """Write a store of eight walks at random and an index, 160 days."""
    rng = np.random.default_rng(0)
    frames = {}
    for name in [*NAMES, "INDEX"]:
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(DATES))))
        frame = pd.DataFrame({"close": close, "volume": rng.uniform(1e5, 2e5, len(DATES))}, index=DATES)
        frames[name] = frame.assign(open=close, high=close * 1.01, low=close * 0.99, factor=1.0)
    return write_store(frames, folder, "day", instruments={"all": NAMES, "index": ["INDEX"]})


def small_config(market: Path) -> dict[str, Any]:
    """Return a configuration that runs on it in half a second."""
    handler = {
        "class": "DataHandlerLP",
        "module_path": "qlib.data.dataset.handler",
        "kwargs": {
            "instruments": "all",
            "start_time": "2020-01-01",
            "end_time": "2020-08-10",
            "data_loader": {
                "class": "QlibDataLoader",
                "kwargs": {
                    "config": {
                        "feature": [["Ref($close, 1)/$close", "Mean($volume, 5)/$volume"], ["MOVE", "CALM"]],
                        "label": [["Ref($close, -2)/Ref($close, -1) - 1"], ["LABEL0"]],
                    }
                },
            },
            "learn_processors": [{"class": "DropnaLabel"}],
            "infer_processors": [{"class": "Fillna", "kwargs": {"fields_group": "feature"}}],
        },
    }
    portfolio = {
        "strategy": {
            "class": "TopkDropoutStrategy",
            "module_path": "qlib.contrib.strategy",
            "kwargs": {"signal": "<PRED>", "topk": 3, "n_drop": 1},
        },
        "backtest": {
            "start_time": "2020-06-01",
            "end_time": "2020-07-31",
            "account": 1e6,
            "benchmark": "INDEX",
            "exchange_kwargs": {"deal_price": "close", "open_cost": 0.0005, "close_cost": 0.0015, "min_cost": 5},
        },
    }
    return {
        "qlib_init": {"provider_uri": str(market), "region": "us", "kernels": 1},
        "task": {
            "model": {
                "class": "LinearModel",
                "module_path": "qlib.contrib.model.linear",
                "kwargs": {"estimator": "ridge", "alpha": 1e-2},
            },
            "dataset": {
                "class": "DatasetH",
                "module_path": "qlib.data.dataset",
                "kwargs": {
                    "handler": handler,
                    "segments": {"train": ["2020-01-10", "2020-05-27"], "test": ["2020-06-01", "2020-07-31"]},
                },
            },
            "record": [
                {"class": "SignalRecord", "kwargs": {"model": "<MODEL>", "dataset": "<DATASET>"}},
                {
                    "class": "SigAnaRecord",
                    "module_path": "qlib.workflow.record_temp",
                    "kwargs": {"ana_long_short": True},
                },
                {"class": "PortAnaRecord", "module_path": "qlib.workflow.record_temp", "kwargs": {"config": portfolio}},
            ],
        },
    }


def written(config, folder, name="c.yaml"):
    file = Path(folder, name)
    file.write_text(yaml.safe_dump(config) if name.endswith("yaml") else json.dumps(config))
    return str(file)


def changed(config, path, value):
    """A copy of `config` with the value at a dotted path replaced (DROP: removed)."""
    copied = copy.deepcopy(config)
    *way, last = path.split(".")
    node = copied
    for step in way:
        node = node[int(step)] if step.isdigit() else node[step]
    last = int(last) if isinstance(node, list) else last
    if value is DROP:
        del node[last]
    else:
        node[last] = value
    return copied


DROP = object()


def runs_in(folder, experiment="workflow"):
    return list(QlibRecorder(MLflowExpManager(str(folder), "E")).list_recorders(experiment_name=experiment).values())


def tree(*folders):
    return {str(p): p.stat().st_mtime_ns for folder in folders for p in Path(folder).rglob("*")}


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    return small_market(tmp_path_factory.mktemp("market"))


@pytest.fixture
def config(market):
    return small_config(market)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory of its own; afterwards no session, no running experiment, the log as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    log = logging.getLogger("qlib")
    before = (log.level, log.propagate, list(log.handlers), list(log.filters))
    yield tmp_path
    session.close()
    log.level, log.propagate, log.handlers[:], log.filters[:] = before

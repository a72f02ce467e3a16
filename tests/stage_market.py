"""A small market, a task over it with modules of a user's own, and a run on disk: tests of stages need no MLflow."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from qlib.data.storage.writer import write_store
from qlib.utils.exceptions import LoadObjectError
from qlib.workflow.artifacts import LocalArtifacts
from qlib.workflow.formats import read_object, write_object
from qlib.workflow.noted import note
from qlib.workflow.recorder import Recorder

DATES = pd.bdate_range("2020-01-01", periods=120)
NAMES = [f"S{i:02d}" for i in range(8)]
MODEL = """import numpy as np
import pandas as pd
from qlib.model.base import Model
import stage_helper


class Scale(Model):
    def __init__(self, weight=1.0, path=None):
        self.weight, self.path = weight, path

    def fit(self, dataset, reweighter=None):
        train = dataset.prepare("train", col_set=["feature", "label"], data_key="learn")
        own = 0.0 if self.path is None else float(pd.read_csv(self.path)["x"].sum())
        self.beta = float(np.nanmean(train["feature"].iloc[:, 0])) + self.weight + own + stage_helper.PLUS

    def predict(self, dataset, segment="test"):
        own = dataset.prepare(segment, col_set="feature", data_key="infer")
        return own.iloc[:, 0] * self.beta
"""
STRATEGY = """from qlib.contrib.strategy import TopkDropoutStrategy


class Mine(TopkDropoutStrategy):
    pass
"""


def market(folder: Path) -> Path:
    """Write a store whose fields are each read by few: `sig`, `aim` by the dataset, prices by the exchange."""
    rng = np.random.default_rng(0)
    frames = {}
    for name in [*NAMES, "INDEX"]:
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(DATES))))
        frame = pd.DataFrame({"close": close, "sig": rng.normal(size=len(DATES))}, index=DATES)
        frames[name] = frame.assign(aim=rng.normal(size=len(DATES)), factor=1.0, unread=1.0, volume=1e5, change=0.0)
    return Path(write_store(frames, folder, "day", instruments={"all": NAMES, "index": ["INDEX"], "unread": NAMES}))


def modules(folder: Path) -> None:
    """Write the user's modules, one that nothing imports, and a table that the model reads."""
    texts = {"model": MODEL, "helper": "PLUS = 0.5\n", "strategy": STRATEGY, "other": "NOTHING = 1\n"}
    for name, text in texts.items():
        (folder / f"stage_{name}.py").write_text(text)
    (folder / "table.csv").write_text("x\n0.25\n")
    (folder / "unread.csv").write_text("x\n0.25\n")


def task(folder: Path) -> dict[str, Any]:
    """Return a task over `market`, of the modules in `folder`."""
    loader = {"feature": [["$sig"], ["SIG"]], "label": [["$aim"], ["LABEL0"]]}
    handler = {
        "class": "DataHandlerLP",
        "module_path": "qlib.data.dataset.handler",
        "kwargs": {
            "instruments": "all",
            "start_time": "2020-01-01",
            "end_time": "2020-06-10",
            "data_loader": {"class": "QlibDataLoader", "kwargs": {"config": loader}},
            "infer_processors": [{"class": "Fillna", "kwargs": {"fields_group": "feature"}}],
        },
    }
    portfolio = {
        "strategy": {
            "class": "Mine",
            "module_path": "stage_strategy",
            "kwargs": {"signal": "<PRED>", "topk": 3, "n_drop": 1},
        },
        "backtest": {
            "start_time": "2020-05-01",
            "end_time": "2020-06-05",
            "account": 1e6,
            "benchmark": "INDEX",
            "exchange_kwargs": {"deal_price": "close", "open_cost": 0.0005, "close_cost": 0.0015, "min_cost": 5},
        },
    }
    kwargs = {"weight": 1.0, "path": str(folder / "table.csv")}
    return {
        "model": {"class": "Scale", "module_path": "stage_model", "kwargs": kwargs},
        "dataset": {
            "class": "DatasetH",
            "module_path": "qlib.data.dataset",
            "kwargs": {
                "handler": handler,
                "segments": {"train": ["2020-01-01", "2020-04-30"], "test": ["2020-05-01", "2020-06-05"]},
            },
        },
        "record": [
            {"class": "SignalRecord", "kwargs": {"model": "<MODEL>", "dataset": "<DATASET>"}},
            {"class": "SigAnaRecord", "kwargs": {"ana_long_short": True}},
            {"class": "PortAnaRecord", "kwargs": {"config": portfolio}},
        ],
    }


def changed(table: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with the value at a dotted path replaced."""
    copied: Any = copy.deepcopy(dict(table))
    *way, last = path.split(".")
    node = copied
    for step in way:
        node = node[int(step)] if step.isdigit() else node[step]
    node[last] = value
    return copied


def flip(path: Path, where: int = -1) -> None:
    """Change one byte of a file, and put its time of modification back."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[where] ^= 0x01
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


class Metric(NamedTuple):
    """A value that is logged."""

    key: str
    value: float
    step: int


class DiskRecorder(Recorder):
    """A run in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("1", "run")
        self.id, self.folder = folder.name, folder
        self.files = LocalArtifacts(folder / "artifacts")
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}

    @property
    def artifact_uri(self) -> str:
        return (self.folder / "artifacts").as_uri()

    def save_objects(self, local_path: Any = None, artifact_path: str | None = None, **kwargs: Any) -> None:
        assert local_path is None
        for name, thing in kwargs.items():
            whole = f"{artifact_path}/{name}" if artifact_path else name
            self.files.put(whole, lambda path, thing=thing: write_object(thing, path))

    def save_file(self, name: str, write: Callable[[Path], object]) -> None:
        self.files.put(name, write)

    def load_object(self, name: str) -> Any:
        try:
            with self.files.found(name) as path:
                return read_object(path, name)
        except Exception as error:
            raise LoadObjectError(f"{name}: {error}") from error

    def list_artifacts(self, artifact_path: str | None = None) -> list[str]:
        return self.files.listed(artifact_path or "")

    def log_params(self, **kwargs: Any) -> None:
        pass

    def log_metrics(self, step: int | None = None, **kwargs: float) -> None:
        self.metrics |= {name: float(value) for name, value in kwargs.items()}
        note(metrics=[Metric(name, float(value), step or 0) for name, value in kwargs.items()])

    def log_metric_history(self, history: Mapping[str, Sequence[float]]) -> None:
        for name, values in history.items():
            for step, value in enumerate(values):
                self.log_metrics(step, **{name: value})

    def set_tags(self, **kwargs: Any) -> None:
        self.tags |= kwargs

    def list_tags(self) -> dict[str, str]:
        return self.tags

    def list_metrics(self) -> dict[str, float]:
        return self.metrics

    def drop(self) -> None:
        shutil.rmtree(self.folder)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())

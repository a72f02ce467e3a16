"""One task, from its configuration to a finished run.

    task = {"model": {...}, "dataset": {...}, "record": [{...}, ...]}
    recorder = task_train(task, experiment_name="lightgbm")

    parameters  ->  dataset  ->  model  ->  fit  ->  params.pkl, dataset  ->  records

Placeholders in the task: `<MODEL>` and `<DATASET>` are the fitted objects (for records), any other `<a.b.0>` is a path
inside the task, such as `<dataset.kwargs.segments.train.0>`.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from qlib.config import active_settings
from qlib.data.dataset import Dataset
from qlib.data.dataset.weight import Reweighter
from qlib.errors import ConfigError, did_you_mean
from qlib.model.base import Model
from qlib.utils.nested import FLATTEN_TUPLE, fill_placeholder, flatten_dict
from qlib.utils.objects import auto_filter_kwargs, init_instance_by_config
from qlib.workflow.active import active_recorder
from qlib.workflow.recorder import Recorder
from qlib.workflow.stage import stage
from qlib.workflow.trials import begin_trial, end_trial

RECORD_MODULE: Final = "qlib.workflow.record_temp"
TASK_KEYS: Final = ("model", "dataset", "record", "reweighter")
LATER: Final = ("<MODEL>", "<DATASET>", "<PRED>")  # known only when there is a model, a dataset, a prediction

_NOT_IN_A_NAME = re.compile(r"[^\w\-./ :]")  # characters MLflow takes in no name
_SEED = re.compile(r"(^|_)(seed|random_state)$")


def task_train(task_config: Mapping[str, Any], experiment_name: str, recorder_name: str | None = None) -> Recorder:
    """Train, predict and record one task in a new run, and return its recorder."""
    runs = active_recorder()
    with runs.start(experiment_name=experiment_name, recorder_name=recorder_name):
        recorder = runs.get_recorder()
        log_task(recorder, task_config)
        execute_task(recorder, task_config)
    return recorder


def begin_task_train(
    task_config: Mapping[str, Any], experiment_name: str, recorder_name: str | None = None
) -> Recorder:
    """Only write the task down, in a new run; `end_task_train` does the work."""
    runs = active_recorder()
    with runs.start(experiment_name=experiment_name, recorder_name=recorder_name):
        recorder = runs.get_recorder()
        log_task(recorder, task_config)
    return recorder


def end_task_train(rec: Recorder, experiment_name: str) -> Recorder:
    """Go on with a run of `begin_task_train` and do its work."""
    runs = active_recorder()
    with runs.start(experiment_name=experiment_name, recorder_id=rec.id, resume=True):
        recorder = runs.get_recorder()
        execute_task(recorder, recorder.load_object("task"))
    return recorder


def log_task(recorder: Recorder, task_config: Mapping[str, Any]) -> None:
    """Write down what will be run: parameters, the task itself, its seeds, the machine."""
    flat = {_NOT_IN_A_NAME.sub("_", str(name)): value for name, value in flatten_dict(task_config).items()}
    recorder.log_params(**flat)
    recorder.save_objects(task=task_config)
    _save_seeds(recorder, task_config)
    recorder.set_tags(hostname=socket.gethostname())


def execute_task(recorder: Recorder, task_config: Mapping[str, Any]) -> None:
    """Build dataset and model, fit, keep both, and generate the records."""
    for needed in ("model", "dataset"):
        if needed not in task_config:
            hint = did_you_mean(needed, task_config)
            message = f"a task needs the key {needed}; received {', '.join(map(str, task_config)) or 'none'}{hint}"
            raise ConfigError(message)
    task = fill_placeholder(task_config, {text: text for text in LATER})
    begin_trial(recorder, task_config)
    with stage("dataset"):
        dataset: Dataset = init_instance_by_config(task["dataset"], accept_types=Dataset)
    with stage("model"):
        model: Model = init_instance_by_config(task["model"], accept_types=Model)
        reweighter = task.get("reweighter")
        if reweighter is not None:
            reweighter = init_instance_by_config(reweighter, accept_types=Reweighter)
    with stage("fit"):
        auto_filter_kwargs(model.fit, warning=reweighter is not None)(dataset, reweighter=reweighter)
    with stage("keeping the model"):
        kept: dict[str, Any] = {"params.pkl": model}
        recorder.save_objects(**kept)
        dataset.config(dump_all=False, recursive=True)  # the dataset without its data: enough to load new ones later
        recorder.save_objects(dataset=dataset)
    task = fill_placeholder(task, {"<MODEL>": model, "<DATASET>": dataset, "<PRED>": "<PRED>"})
    records = task.get("record") or []
    for config in records if isinstance(records, list | tuple) else [records]:
        with stage(f"record {class_name(config)}"):
            record = init_instance_by_config(
                config, default_module=RECORD_MODULE, try_kwargs={"model": model, "dataset": dataset}, recorder=recorder
            )
            record.generate()
    with stage("counting the trial"):
        end_trial(recorder, task_config)


def class_name(config: Any) -> str:
    """Return what an object's configuration calls its class, without the module."""
    named = config.get("class", config.get("func", config)) if isinstance(config, Mapping) else config
    return named.rpartition(".")[2] if isinstance(named, str) else getattr(named, "__name__", type(named).__name__)


def _save_seeds(recorder: Recorder, task_config: Mapping[str, Any]) -> None:
    """Keep every seed the task names, and what else decides whether a second run gives the same."""
    seeds = {
        ".".join(map(str, path if isinstance(path, tuple) else (path,))): value
        for path, value in flatten_dict(task_config, sep=FLATTEN_TUPLE).items()
        if _SEED.search(str(path[-1] if isinstance(path, tuple) else path))
    }
    known = {
        "seeds": seeds,
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED"),
        "compat": active_settings().get("compat"),
    }

    def write(path: Path) -> None:
        path.write_text(json.dumps(known, indent=2, default=str), encoding="utf-8")

    recorder.save_file("seeds.json", write)

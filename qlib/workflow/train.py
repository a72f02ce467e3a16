"""One task, from its configuration to a finished run.

    task = {"model": {...}, "dataset": {...}, "record": [{...}, ...]}
    recorder = task_train(task, experiment_name="lightgbm")

    parameters  ->  dataset  ->  model  ->  fit  ->  params.pkl, dataset  ->  records  ->  manifest.json

Placeholders in the task: `<MODEL>` and `<DATASET>` are the fitted objects (for records), any other `<a.b.0>` is a path
inside the task, such as `<dataset.kwargs.segments.train.0>`.

With a cache (`qlib.workflow.stage_cache`) what is known already is not computed: the fit and each record are stages of
their own, and dataset and model are made only where a stage that has to be computed needs them.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from qlib.config import active_settings
from qlib.data.dataset import Dataset
from qlib.data.dataset.weight import Reweighter
from qlib.errors import ConfigError, did_you_mean
from qlib.log import get_module_logger
from qlib.model.base import Model
from qlib.utils.exceptions import LoadObjectError
from qlib.utils.nested import FLATTEN_TUPLE, fill_placeholder, flatten_dict
from qlib.utils.objects import (
    accepted_arguments,
    auto_filter_kwargs,
    get_callable_kwargs,
    init_instance_by_config,
)
from qlib.workflow.active import active_recorder
from qlib.workflow.code import modules_of
from qlib.workflow.manifest import write_manifest
from qlib.workflow.recorder import Recorder
from qlib.workflow.stage import stage
from qlib.workflow.stage_cache import StageCache, Stages
from qlib.workflow.trials import begin_trial, end_trial

RECORD_MODULE: Final = "qlib.workflow.record_temp"
TASK_KEYS: Final = ("model", "dataset", "record", "reweighter")
LATER: Final = ("<MODEL>", "<DATASET>", "<PRED>")  # known only when there is a model, a dataset, a prediction

logger = get_module_logger("workflow")

_NOT_IN_A_NAME = re.compile(r"[^\w\-./ :]")  # characters MLflow takes in no name
_SEED = re.compile(r"(^|_)(seed|random_state)$")


def task_train(task_config: Mapping[str, Any], experiment_name: str, recorder_name: str | None = None) -> Recorder:
    """Train, predict and record one task in a new run, and return its recorder."""
    runs = active_recorder()
    with runs.start(experiment_name=experiment_name, recorder_name=recorder_name):
        recorder = runs.get_recorder()
        log_task(recorder, task_config)
        stages = execute_task(recorder, task_config)
        write_manifest(recorder, stages, {"task": task_config}, seeds=seeds_of(task_config))
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
        task = recorder.load_object("task")
        write_manifest(recorder, execute_task(recorder, task), {"task": task}, seeds=seeds_of(task))
    return recorder


def log_task(recorder: Recorder, task_config: Mapping[str, Any]) -> None:
    """Write down what will be run: parameters, the task itself, its seeds, the machine."""
    flat = {_NOT_IN_A_NAME.sub("_", str(name)): value for name, value in flatten_dict(task_config).items()}
    recorder.log_params(**flat)
    recorder.save_objects(task=task_config)
    _save_seeds(recorder, task_config)
    recorder.set_tags(hostname=socket.gethostname())


def execute_task(recorder: Recorder, task_config: Mapping[str, Any], cache: StageCache | None = None) -> Stages:
    """Build dataset and model, fit, keep both, and generate the records; return what was read and made.

    Parameters
    ----------
    cache
        Where stages are kept that need not be computed again; None computes them all.
    """
    for needed in ("model", "dataset"):
        if needed not in task_config:
            hint = did_you_mean(needed, task_config)
            message = f"a task needs the key {needed}; received {', '.join(map(str, task_config)) or 'none'}{hint}"
            raise ConfigError(message)
    begin_trial(recorder, task_config)
    task = fill_placeholder(task_config, {text: text for text in LATER})
    stages = Stages(recorder, cache)
    made = _Made(recorder, task)
    learnt = {key: task.get(key) for key in ("model", "dataset", "reweighter")}
    fit = stages.perform("fit", learnt, modules_of(learnt), made.fit)
    made.fitted = fit.taken
    records = task.get("record") or []
    for config in records if isinstance(records, list | tuple) else [records]:
        name = f"record {class_name(config)}"
        modules = [RECORD_MODULE, *modules_of(config, RECORD_MODULE)]
        given = [fit] if made.needed_by(config) else []
        stages.perform(name, config, modules, partial(made.record, name, config), given=given)
    with stage("counting the trial"):
        end_trial(recorder, task_config, snapshot=stages.snapshot().id)
    return stages


class _Made:
    """The dataset and the model of a task, made when they are first needed."""

    def __init__(self, recorder: Recorder, task: Mapping[str, Any]) -> None:
        self.recorder, self.task = recorder, task
        self.fitted = False  # whether the run holds a fitted model that this object has not
        self._dataset: Dataset | None = None
        self._model: Model | None = None

    @property
    def dataset(self) -> Dataset:
        if self._dataset is None:
            with stage("dataset"):
                self._dataset = init_instance_by_config(self.task["dataset"], accept_types=Dataset)
            if self.fitted:  # as after a fit: only the configuration is kept with it
                self._dataset.config(dump_all=False, recursive=True)
        return self._dataset

    @property
    def model(self) -> Model:
        if self._model is None and self.fitted:
            try:
                with stage("reading the model"):
                    self._model = self.recorder.load_object("params.pkl")
            except LoadObjectError as error:  # only a pickle holds it, of a class that nobody vouched for
                logger.info(f"the model is fitted again: {error}")
                self.fitted = False
                self.fit()
        if self._model is None:
            with stage("model"):
                self._model = init_instance_by_config(self.task["model"], accept_types=Model)
        return self._model

    def fit(self) -> None:
        """Make both, fit, and keep what is needed to go on later."""
        dataset, model = self.dataset, self.model
        reweighter = self.task.get("reweighter")
        if reweighter is not None:
            reweighter = init_instance_by_config(reweighter, accept_types=Reweighter)
        with stage("fit"):
            auto_filter_kwargs(model.fit, warning=reweighter is not None)(dataset, reweighter=reweighter)
        with stage("keeping the model"):
            kept: dict[str, Any] = {"params.pkl": model}
            self.recorder.save_objects(**kept)
            dataset.config(dump_all=False, recursive=True)  # without its data: enough to load new ones later
            self.recorder.save_objects(dataset=dataset)

    def needed_by(self, config: Any) -> set[str]:
        """Return which of "model" and "dataset" a record is given."""
        told = json.dumps(config, default=str)
        needed = {name for name, text in (("model", "<MODEL>"), ("dataset", "<DATASET>")) if text in told}
        record = get_callable_kwargs(config, RECORD_MODULE)[0] if isinstance(config, Mapping | str) else None
        if record is not None:
            accepted = accepted_arguments(record)
            needed |= {"model", "dataset"} & set(accepted.names)
            if accepted.anything and not record.__module__.startswith("qlib."):  # ours have no use for more
                needed = {"model", "dataset"}
        return needed

    def record(self, name: str, config: Any) -> None:
        """Generate one record."""
        needed = self.needed_by(config)
        objects = {one: getattr(self, one) for one in sorted(needed)}
        values = {"<MODEL>": objects.get("model"), "<DATASET>": objects.get("dataset"), "<PRED>": "<PRED>"}
        with stage(name):
            record = init_instance_by_config(
                fill_placeholder({"record": config}, values)["record"],
                default_module=RECORD_MODULE,
                try_kwargs=objects,
                recorder=self.recorder,
            )
            record.generate()


def class_name(config: Any) -> str:
    """Return what an object's configuration calls its class, without the module."""
    named = config.get("class", config.get("func", config)) if isinstance(config, Mapping) else config
    return named.rpartition(".")[2] if isinstance(named, str) else getattr(named, "__name__", type(named).__name__)


def _save_seeds(recorder: Recorder, task_config: Mapping[str, Any]) -> None:
    """Keep every seed the task names, and what else decides whether a second run gives the same."""

    def write(path: Path) -> None:
        path.write_text(json.dumps(seeds_of(task_config), indent=2, default=str), encoding="utf-8")

    recorder.save_file("seeds.json", write)


def seeds_of(task_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the seeds that a task names, by their place in it, and what else decides about chance."""
    seeds = {
        ".".join(map(str, path if isinstance(path, tuple) else (path,))): value
        for path, value in flatten_dict(task_config, sep=FLATTEN_TUPLE).items()
        if _SEED.search(str(path[-1] if isinstance(path, tuple) else path))
    }
    return {
        "seeds": seeds,
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED"),
        "compat": active_settings().get("compat"),
    }

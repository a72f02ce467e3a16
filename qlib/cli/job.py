"""One run of a configuration, from reading it to its report: what `qrun` does, without a word to anybody.

    job = Job("config.yaml", changes=[Change("alpha", (0.1,))])
    job.run()                       check, initialise, train, record, report
    job.recorder, job.page          the run, and its report

    with job.session(job.checked_config()):     the session alone, for who wants to look before a run

A run holds a lock beside its artifacts while it is computed, so that nobody goes on with it meanwhile.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import qlib
from qlib.cli import hidden
from qlib.cli.check import ConfigProblemsError, check_config, config_warnings
from qlib.cli.checks.problem import Problem
from qlib.cli.config_file import fill_sections_of, read_table, sys_config
from qlib.cli.overrides import Change, changed, place_of
from qlib.cli.runs import runs_uri
from qlib.config import default_values
from qlib.contrib.report.run_report import write_report
from qlib.errors import InputError, QlibError
from qlib.log import get_module_logger
from qlib.utils.locks import locked
from qlib.workflow import R, Recorder
from qlib.workflow.artifacts import local_path
from qlib.workflow.expm import MLflowExpManager
from qlib.workflow.manifest import write_manifest
from qlib.workflow.served import identity, keep_run, known_run
from qlib.workflow.stage import stage
from qlib.workflow.stage_cache import StageCache
from qlib.workflow.store import Place, prepare
from qlib.workflow.store import place_of as runs_place
from qlib.workflow.train import execute_task, log_task, seeds_of

TRACEBACK: Final = "traceback.txt"
CONFIG: Final = "config"
LOCK: Final = "run.lock"
REPORT: Final = "report/report.html"
FOLDER: Final = "mlruns"

logger = get_module_logger("qrun")


class Job:
    """One run: what is asked for, and how far it came.

    Parameters
    ----------
    config_path
        The file; with `table` or `resume` only what messages call it, and where `sys.rel_path` begins.
    changes
        What the command line puts over the file.
    table
        The configuration itself, for whoever has read it already.
    resume
        A run to go on with, of the configuration that it keeps.
    name, tags
        Of the run.
    """

    def __init__(
        self,
        config_path: str | Path,
        experiment_name: str = "workflow",
        uri_folder: str = FOLDER,
        *,
        changes: Sequence[Change] = (),
        table: Mapping[str, Any] | None = None,
        resume: Recorder | None = None,
        cache: bool = True,
        quiet: bool = False,
        name: str | None = None,
        tags: Mapping[str, str] = {},
    ) -> None:
        self.path = Path(config_path).expanduser()
        self.experiment_name = experiment_name
        self.runs = runs_uri(uri_folder)
        self.changes, self.table, self.resumed = tuple(changes), table, resume
        self.cache, self.quiet, self.name, self.tags = cache, quiet, name, dict(tags)
        self.recorder: Recorder | None = None
        self.page: Path | None = None
        self.warnings: list[Problem] = []
        self._told = False  # whether it was said where the run lies

    def read(self) -> dict[str, Any]:
        """Return the configuration with the changes of the command line, unchecked."""
        if self.resumed is not None:
            if CONFIG not in self.resumed.list_artifacts():
                raise InputError(f"run {self.resumed.id} keeps no configuration to go on by: qrun did not begin it")
            return dict(self.resumed.load_object("config"))
        if self.table is not None:
            return dict(self.table)
        table = read_table(self.path)
        for change in self.changes:
            table = changed(table, [(place_of(table, change.key), change.values[0])])
        filled: dict[str, Any] = fill_sections_of(self.path, table, whole=False)
        return filled

    def checked_config(self) -> dict[str, Any]:
        """Return the configuration; ConfigProblemsError lists everything that is wrong with it."""
        config = self.read()
        sys_config(config, self.path)
        problems = check_config(config, self.runs)
        if problems:
            raise ConfigProblemsError(str(self.path), problems)
        self.warnings = config_warnings(config)
        return config

    def run(self, *, show_steps: bool = True) -> None:
        """Check, initialise, train, record, report; without `show_steps` the log has one line per stage."""
        with stage("check"):
            config = self.checked_config()
        for one in self.warnings:
            logger.warning(hidden.hide(f"{one}"))
        with self.session(config, show_steps=show_steps):
            self._work(config)

    @contextmanager
    def session(self, config: Mapping[str, Any], *, show_steps: bool = True) -> Iterator[None]:
        """Initialise qlib as a configuration says, and keep the log as it is asked for."""
        init = dict(config.get("qlib_init") or {})
        if "exp_manager" not in init:
            manager = default_values()["exp_manager"]
            init["exp_manager"] = manager | {"kwargs": manager["kwargs"] | {"uri": self.runs}}
        if self.quiet:
            init["logging_level"] = logging.WARNING
        timer = logging.getLogger("qlib.timer")
        with hidden.hidden_in_logs():
            with stage("qlib.init"):
                qlib.init(**init)
            level = timer.level
            if not show_steps:
                timer.setLevel(logging.WARNING)
            try:
                yield
            finally:
                timer.setLevel(level)

    def _work(self, config: Mapping[str, Any]) -> None:
        self.open_store()
        with ExitStack() as held:
            if self.resumed is not None:
                self._hold(held, self.resumed)
                goes_on = {"experiment_id": self.resumed.experiment_id, "recorder_id": self.resumed.id, "resume": True}
                held.enter_context(R.start(**goes_on))
            else:
                experiment = config.get("experiment_name") or self.experiment_name
                held.enter_context(R.start(experiment_name=experiment, recorder_name=self.name))
            self.recorder = R.get_recorder()
            if self.resumed is None:
                self._hold(held, self.recorder)
            if self.tags:
                self.recorder.set_tags(**self.tags)
            with stage("writing down the task"):
                self.recorder.save_objects(config=config)
                log_task(self.recorder, config["task"])
            cache = StageCache.beside(R.get_uri()) if self.cache else None
            stages = execute_task(self.recorder, config["task"], cache)
            with stage("manifest"):
                seeds = seeds_of(config["task"])
                write_manifest(self.recorder, stages, config, seeds=seeds, path=self.path)
        with stage("report"):
            self.page = write_report(self.recorder)
        if cache is not None and (key := self._identity(config)) is not None:
            keep_run(cache, key, self.recorder, stages, [__name__, write_report.__module__], self.closing())

    def ended(self) -> Recorder | None:
        """Return the run to go on with if it has ended, its report included, which comes last; else None."""
        run = self.resumed
        if run is None or run.status != Recorder.STATUS_FI:
            return None
        lacks = "manifest.json" in run.list_artifacts() and REPORT not in run.list_artifacts("report")
        return None if lacks else run

    def unchanged(self) -> dict[str, Any] | None:
        """Return how an earlier run ended that this one would equal to the last digit; None where there is none."""
        try:
            config = self.read()
            sys_config(config, self.path)
        except QlibError:
            return None  # the run will say what is wrong
        key = self._identity(config) if self.cache else None
        return None if key is None else known_run(StageCache.beside(self.runs), key)

    def _identity(self, config: Mapping[str, Any]) -> str | None:
        """Return what this run is known by; None for one that is more than its configuration."""
        plain = self.resumed is None and self.table is None and not self.name and not self.tags
        if not plain or "exp_manager" in (config.get("qlib_init") or {}):
            return None
        beside = str(self.path.absolute().parent) if "sys" in config else ""  # where sys.rel_path begins
        return identity(config, beside, self.experiment_name, self.runs)

    def open_store(self) -> None:
        """Make sure that runs can be kept: nothing is computed that could not be."""
        with stage("opening the store of the runs"):
            if (place := self._place()) is not None:
                prepare(place)
            R.list_experiments()

    @staticmethod
    def _hold(held: ExitStack, recorder: Recorder) -> None:
        """Hold the lock of a run: nobody goes on with one that is being computed."""
        folder = local_path(str(recorder.artifact_uri))
        if folder is not None:
            held.enter_context(locked(folder.parent / LOCK, seconds=0, purpose=f"computing run {recorder.id}"))

    @staticmethod
    def _place() -> Place | None:
        """Return where MLflow keeps the runs; None when something else keeps them."""
        manager = R.exp_manager
        return manager.place if isinstance(manager, MLflowExpManager) else None

    def keep_traceback(self, error: BaseException) -> str:
        """Write the traceback into the run, or into a temporary file where that cannot be, and say where it is."""
        text = "".join(traceback.format_exception(error))
        try:
            if self.recorder is not None:
                self.recorder.save_file(TRACEBACK, lambda path: path.write_text(text, encoding="utf-8"))
                self._told = True
                return f"traceback in {self.recorder.artifact_uri}/{TRACEBACK}".replace("file://", "")
        except OSError as failure:  # the disk may be what the run failed of
            logger.debug(f"the run cannot keep the traceback: {failure}")
        try:
            handle, name = tempfile.mkstemp(prefix="qrun-", suffix=f"-{TRACEBACK}")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as failure:
            return f"its traceback could not be written ({failure.strerror}); --debug shows it"
        return f"traceback in {name}"

    def closing(self) -> dict[str, Any]:
        """Return what a person does next: where the report is, how to look at the experiment."""
        assert self.recorder is not None
        place = self._place()
        if place is None:
            return {"run": self.recorder.id, "report": self.page}
        ui = f"mlflow ui --backend-store-uri {place.uri}"
        if importlib.util.find_spec("flask") is None:  # the page needs what only the whole of MLflow brings
            ui += '   (the page needs: pip install "qlib-crypto[mlflow]")'
        return {"run": self.recorder.id, "experiment": ui, "report": self.page}

    def state(self) -> str:
        """Return what became of a run that was begun, and what can be done with it; nothing of one that was not."""
        if self.recorder is None:
            return ""
        if self.recorder.info["status"] == Recorder.STATUS_FI:
            return f"; run {self.recorder.id} is kept"
        place = "" if self._told else f" in {str(self.recorder.artifact_uri).removeprefix('file://')}"
        return f"; run {self.recorder.id} is marked FAILED{place}; qrun --resume {resume_words(self.recorder)} goes on"


def resume_words(recorder: Recorder) -> str:
    """Return what stands after `--resume` to go on with a run: its id, and where it is kept unless that is usual."""
    kept = getattr(recorder, "uri", None)
    usual = kept is None or kept == runs_place(runs_uri(FOLDER)).uri
    return f"{recorder.id}" if usual else f"{recorder.id} --uri_folder {kept}"

"""`qrun`: from a configuration file to a run with its report.

    qrun config.yaml                                run it
    qrun config.yaml --check                        say everything that is wrong with it; touch nothing
    python -m qlib.cli.run config.yaml              the same without the installed command

Exit codes: 0 it worked, 1 the run failed, 2 the input is wrong (or, with --check, has a problem), 130 interrupted.
What went wrong is one sentence on standard error; the traceback of a failed run is a file (or shown, with --debug).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import qlib
from qlib.cli.check import ConfigProblemsError, check_config, config_warnings
from qlib.cli.checks.problem import Problem
from qlib.cli.config_file import get_path_list, read_config, render_template, sys_config
from qlib.config import default_values
from qlib.contrib.report.run_report import write_report
from qlib.errors import InputError, QlibError
from qlib.log import get_module_logger
from qlib.workflow import R, Recorder
from qlib.workflow.expm import MLflowExpManager
from qlib.workflow.stage import stage, stage_of
from qlib.workflow.store import Place, prepare
from qlib.workflow.train import execute_task, log_task

__all__ = ["get_path_list", "main", "render_template", "run", "sys_config", "workflow"]

FINE: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
INTERRUPTED: Final = 130
TRACEBACK: Final = "traceback.txt"
VERBS: Final = {"reproduce": "qlib.cli.reproduce", "diff": "qlib.cli.diff"}  # each with a main(words) -> exit code

logger = get_module_logger("qrun")


class Job:
    """One call of qrun: what is asked for, and how far it came."""

    def __init__(self, config_path: str | Path, experiment_name: str = "workflow", uri_folder: str = "mlruns") -> None:
        self.path = Path(config_path).expanduser()
        self.experiment_name = experiment_name
        self.runs = _runs_uri(uri_folder)
        self.recorder: Recorder | None = None
        self.page: Path | None = None
        self.warnings: list[Problem] = []

    def checked_config(self) -> dict[str, Any]:
        """Return the configuration; ConfigProblemsError lists everything that is wrong with it."""
        config = read_config(self.path)
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
            logger.warning(f"{one}")
        init = dict(config.get("qlib_init") or {})
        if "exp_manager" not in init:
            manager = default_values()["exp_manager"]
            init["exp_manager"] = manager | {"kwargs": manager["kwargs"] | {"uri": self.runs}}
        with stage("qlib.init"):
            qlib.init(**init)
        timer = logging.getLogger("qlib.timer")
        level = timer.level
        if not show_steps:
            timer.setLevel(logging.WARNING)
        try:
            self._work(config)
        finally:
            timer.setLevel(level)

    def _work(self, config: Mapping[str, Any]) -> None:
        with stage("opening the store of the runs"):  # nothing is computed that could not be kept
            if (place := self._place()) is not None:
                prepare(place)
            R.list_experiments()
        with R.start(experiment_name=config.get("experiment_name") or self.experiment_name):
            self.recorder = R.get_recorder()
            with stage("writing down the task"):
                self.recorder.save_objects(config=config)
                log_task(self.recorder, config["task"])
            execute_task(self.recorder, config["task"])
        with stage("report"):
            self.page = write_report(self.recorder)

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

    def closing_lines(self) -> list[str]:
        """Return what a person does next: where the report is, how to look at the experiment."""
        assert self.recorder is not None
        place = self._place()
        if place is None:
            return [f"run         {self.recorder.id}", f"report      {self.page}"]
        ui = f"mlflow ui --backend-store-uri {place.uri}"
        if importlib.util.find_spec("flask") is None:  # the page needs what only the whole of MLflow brings
            ui += '   (the page needs: pip install "qlib-crypto[mlflow]")'
        return [f"run         {self.recorder.id}", f"experiment  {ui}", f"report      {self.page}"]


def workflow(config_path: str | Path, experiment_name: str = "workflow", uri_folder: str = "mlruns") -> Recorder:
    """Run a configuration file and return the recorder of its run.

    Parameters
    ----------
    config_path
        A YAML or JSON file.
    experiment_name
        Used unless the file has the key experiment_name.
    uri_folder
        Folder (from the working directory) or MLflow uri where the run is kept, unless qlib_init has an exp_manager.

    Raises ConfigError, listing every problem, before anything is loaded or written.
    """
    job = Job(config_path, experiment_name, uri_folder)
    job.run()
    assert job.recorder is not None
    return job.recorder


def _runs_uri(uri_folder: str | Path) -> str:
    text = str(uri_folder)
    return text if ":" in text else str(Path(text).expanduser().absolute())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qrun",
        description="Run a configuration: load data, train a model, predict, trade on paper, write a report.",
        epilog="Exit codes: 0 it worked, 1 the run failed, 2 the input is wrong, 130 interrupted. "
        "First steps: python scripts/get_data.py sample; qrun config/workflow.json",
    )
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="a YAML or JSON file with qlib_init and task")
    parser.add_argument("--config_path", dest="config_path", metavar="CONFIG", help=argparse.SUPPRESS)
    parser.add_argument(
        "--experiment_name",
        "--experiment-name",
        default="workflow",
        metavar="NAME",
        help="experiment, unless the file names one (default: workflow)",
    )
    parser.add_argument(
        "--uri_folder",
        "--uri-folder",
        default="mlruns",
        metavar="FOLDER",
        help="where runs are kept, unless qlib_init has an exp_manager (default: mlruns)",
    )
    parser.add_argument("--check", action="store_true", help="only say everything that is wrong; touch nothing")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"qlib-crypto {qlib.__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in VERBS:
        code: int = importlib.import_module(VERBS[words[0]]).main(words[1:])
        return code
    parser = _parser()
    asked = parser.parse_args(words)
    config = asked.config or asked.config_path
    if config is None:
        parser.error("CONFIG is missing: the path of a YAML or JSON file")
    job = Job(config, asked.experiment_name, asked.uri_folder)
    try:
        if asked.check:
            job.checked_config()
            print(*(f"warning: {one}" for one in job.warnings), "config is fine", sep="\n")
        else:
            job.run(show_steps=asked.debug)
            print(*job.closing_lines(), sep="\n")
    except KeyboardInterrupt as error:
        return _say(INTERRUPTED, f"interrupted{_in_stage(error)}{_where(job)}")
    except InputError as error:
        if asked.debug:
            traceback.print_exc()
        return _say(WRONG_INPUT, f"{error}{_where(job)}")
    except Exception as error:  # the last stop: everything else is a failed run
        if asked.debug:
            traceback.print_exc()
        kept = "" if asked.debug else f"; {job.keep_traceback(error)}"
        what = str(error) if isinstance(error, QlibError) else f"{type(error).__name__}: {error}"
        return _say(FAILED, f"the run failed{_in_stage(error)}: {what}{kept}{_where(job)}")
    return FINE


def _in_stage(error: BaseException) -> str:
    name = stage_of(error)
    return "" if name is None else f" in the stage {name}"


def _where(job: Job) -> str:
    if job.recorder is None:
        return ""
    state = "kept" if job.recorder.info["status"] == Recorder.STATUS_FI else "marked FAILED"
    return f"; run {job.recorder.id} is {state}"


def _say(code: int, sentence: str) -> int:
    print(f"qrun: {sentence}", file=sys.stderr)
    return code


def run() -> None:
    """The installed command."""
    sys.exit(main())


if __name__ == "__main__":
    run()

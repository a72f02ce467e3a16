"""`qrun`: from a configuration file to a run with its report.

    qrun config.yaml                                run it
    qrun config.yaml task.model.kwargs.alpha=0.1    with another value; `alpha=0.1` where only one place ends so
    qrun config.yaml --check                        say everything that is wrong with it; touch nothing
    qrun config.yaml --plan                         say what would be computed: formulas, rows, memory
    qrun config.yaml --dry-run                      build everything short of the fit; keep nothing
    qrun config.yaml -m alpha=0.1,1 seed=seeds(5)   a sweep: a run for each combination, under one parent
    qrun --resume RUN                               go on with a run, or a sweep, that was broken off
    qrun reproduce RUN, qrun diff A B               see qlib/cli/reproduce.py and qlib/cli/diff.py
    python -m qlib.cli.run config.yaml              the same without the installed command

Exit codes: 0 it worked, 1 the run failed, 2 the input is wrong (or, with --check, has a problem), 130 interrupted, 143
terminated. What went wrong is one sentence on standard error; the traceback of a failed run is a file (or shown, with
--debug).
"""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from qlib.cli import hidden
from qlib.cli.check import ConfigProblemsError
from qlib.cli.config_file import get_path_list, render_template, sys_config
from qlib.cli.job import Job, logger
from qlib.cli.options import parsed
from qlib.cli.overrides import read_change
from qlib.cli.plan import dry_run, planned
from qlib.cli.runs import LAST, find_run
from qlib.cli.sweep import BrokenSweepError, Sweep, is_sweep, parent_of
from qlib.cli.voice import Voice
from qlib.errors import InputError, QlibError
from qlib.log import DEFAULT_LOGGING_CONFIG, set_log_with_config
from qlib.workflow import Recorder
from qlib.workflow.stage import stage_of, watched

__all__ = ["get_path_list", "logger", "main", "render_template", "run", "sys_config", "workflow"]

FINE: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
INTERRUPTED: Final = 130
TERMINATED: Final = 143
VERBS: Final = {"reproduce": "qlib.cli.reproduce", "diff": "qlib.cli.diff"}  # each with a main(words) -> exit code

Work = Job | Sweep


class Terminated(KeyboardInterrupt):  # noqa: N818  like its parent, it says what happened
    """Somebody asked this process to end."""


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
    hidden.forget()
    job = Job(config_path, experiment_name, uri_folder)
    job.run()
    assert job.recorder is not None
    return job.recorder


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in VERBS:
        code: int = importlib.import_module(VERBS[words[0]]).main(words[1:])
        return code
    asked = parsed(words)
    voice = Voice(json=asked.json)
    hidden.forget()
    work: Work | None = None
    try:
        with _terminable(), watched(voice.stage):
            work = _work_of(asked)
            _do(work, asked, voice)
    except KeyboardInterrupt as error:
        code, what = (TERMINATED, "terminated") if isinstance(error, Terminated) else (INTERRUPTED, "interrupted")
        return _failed(voice, code, f"{what}{_in_stage(error)}", error, work)
    except InputError as error:
        if asked.debug:
            traceback.print_exc()
        return _failed(voice, WRONG_INPUT, hidden.hide(str(error)), error, work)
    except BrokenSweepError as error:
        return _failed(voice, FAILED, str(error), error, work)
    except Exception as error:  # the last stop: everything else is a failed run
        if asked.debug:
            traceback.print_exc()
        kept = "" if asked.debug or work is None else f"; {work.keep_traceback(error)}"
        what = str(error) if isinstance(error, QlibError) else f"{type(error).__name__}: {error}"
        return _failed(voice, FAILED, f"the run failed{_in_stage(error)}: {hidden.hide(what)}{kept}", error, work)
    return FINE


def _work_of(asked: argparse.Namespace) -> Work:
    """Return the run, or the sweep, that is asked for; nothing is done yet."""
    common = {"cache": asked.cache, "quiet": asked.quiet}
    if asked.resume is not None:
        recorder = find_run(asked.resume, asked.uri_folder)
        if asked.resume == LAST:
            recorder = parent_of(recorder) or recorder
        if is_sweep(recorder):
            return Sweep.of_run(recorder, asked.uri_folder, jobs=asked.jobs, ray=asked.ray, **common)
        return Job(f"run {recorder.id}", uri_folder=asked.uri_folder, resume=recorder, **common)
    place = (asked.config, asked.experiment_name, asked.uri_folder)
    changes = [read_change(word, several=False) for word in asked.changes]
    if not asked.many:
        return Job(*place, changes=changes, **common)
    many = [read_change(word, several=True) for word in asked.many]
    return Sweep(*place, changes=changes, many=many, jobs=asked.jobs, ray=asked.ray, **common)


def _do(work: Work, asked: argparse.Namespace, voice: Voice) -> None:
    if asked.check:
        work.checked_config()
        voice.tell("check", problems=[], warnings=[{"where": one.where, "what": one.what} for one in work.warnings])
        voice.say("\n".join([*(f"warning: {one}" for one in work.warnings), "config is fine"]))
        return
    if asked.plan:
        assert isinstance(work, Job)
        plan = planned(work)
        voice.tell("plan", **plan.facts())
        voice.say(str(plan))
        return
    set_log_with_config(DEFAULT_LOGGING_CONFIG)  # the stages before qlib.init, which knows of the user's own
    logging.getLogger("qlib").setLevel(logging.WARNING if asked.quiet else logging.INFO)
    if asked.dry_run:
        assert isinstance(work, Job)
        dry_run(work, show_steps=asked.debug)
        voice.closing("dry-run", {"dry run": "everything short of the fit could be built; nothing was kept"})
        return
    if (run := work.ended()) is not None:
        voice.closing("run", {"run": run.id, "status": "finished already: there is nothing to go on with"})
        return
    if isinstance(work, Job) and (known := work.unchanged()) is not None:
        known["unchanged"] = f"since {known.pop('since')}, nothing is computed again; --no-cache computes all of it"
        voice.closing("run", known)
        return
    work.run(show_steps=asked.debug)
    if isinstance(work, Sweep):
        for row in work.results():
            voice.tell("point", **row)
        voice.say(work.table())
    voice.closing("run", work.closing())
    if isinstance(work, Sweep) and work.broken:
        raise BrokenSweepError(f"{work.broken} of {len(work.points)} runs failed")


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does, so that it is marked FAILED."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_stage(error: BaseException) -> str:
    name = stage_of(error)
    return "" if name is None else f" in the stage {name}"


def _failed(voice: Voice, code: int, sentence: str, error: BaseException, work: Work | None) -> int:
    facts: dict[str, object] = {"exit": code, "stage": stage_of(error)}
    if isinstance(error, ConfigProblemsError):
        facts["problems"] = [{"where": one.where, "what": hidden.hide(one.what)} for one in error.problems]
    if work is not None and work.recorder is not None:
        facts |= {"run": work.recorder.id, "status": work.recorder.info["status"]}
    voice.failed(f"{sentence}{'' if work is None else work.state()}", **facts)
    return code


def run() -> None:
    """The installed command."""
    sys.exit(main())


if __name__ == "__main__":
    run()

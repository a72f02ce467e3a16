"""`qrun reproduce RUN`: build a run again, in a new run, and compare.

    qrun reproduce 3f9a                 again, without taking anything from a cache
    qrun reproduce last --json          the comparison as one JSON object

The configuration is the one that the run keeps, code and data are those of today. Predictions and accounts are compared
by their numbers. Where they differ, what is not as it was then is named: files of data, sources, packages, the machine;
nothing of that kind named means that the run depends on chance or on something that no manifest sees.

Exit codes: 0 the same, 1 not the same, 2 the input is wrong.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from qlib.cli.job import Job
from qlib.cli.runs import find_run
from qlib.errors import InputError, QlibError
from qlib.log import DEFAULT_LOGGING_CONFIG, set_log_with_config
from qlib.utils.exceptions import LoadObjectError
from qlib.workflow.manifest import differences, file_changes, read_manifest, read_snapshot, results
from qlib.workflow.recorder import Recorder
from qlib.workflow.stage import stage_of

SAME: Final = 0
DIFFERENT: Final = 1
WRONG_INPUT: Final = 2
INTERRUPTED: Final = 130
SHOWN: Final = 12  # lines of one subject
TAG: Final = "qlib.reproduces"


def main(words: Sequence[str]) -> int:
    """Do what the command line says and return the exit code."""
    asked = _parser().parse_args(list(words))
    try:
        said = reproduced(asked.run, asked.uri_folder, quiet=asked.quiet)
    except KeyboardInterrupt:
        print("qrun reproduce: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # the last stop: whatever the new run failed of
        if asked.debug:
            traceback.print_exc()
        name = stage_of(error)
        where = "" if name is None else f" in the stage {name}"
        what = str(error) if isinstance(error, QlibError) else f"{type(error).__name__}: {error}"
        print(f"qrun reproduce: {what}{where}", file=sys.stderr)
        return WRONG_INPUT if isinstance(error, InputError) else DIFFERENT
    print(json.dumps(said, default=str) if asked.json else text_of(said))
    return SAME if said["same"] else DIFFERENT


def reproduced(run: str, uri_folder: str = "mlruns", *, quiet: bool = False) -> dict[str, Any]:
    """Build a run again and return the comparison.

    Parameters
    ----------
    run
        Its id, the beginning of it, or "last".

    Returns
    -------
    dict
        `run` and `again`, ids; `same`, bool; `results`, {"predictions": bool, "report_normal_1day": bool, ...};
        `differs`, {subject: lines} of what is not as it was.

    Raises
    ------
    InputError
        There is no such run, or it has no manifest.
    """
    old = find_run(run, uri_folder)
    before, files = manifest_of(old), read_snapshot(old)
    set_log_with_config(DEFAULT_LOGGING_CONFIG)
    logging.getLogger("qlib").setLevel(logging.WARNING if quiet else logging.INFO)
    here = Path.cwd()
    folder = Path(before["folder"])
    uri = uri_folder if ":" in uri_folder else str(Path(uri_folder).expanduser().absolute())
    if folder.is_dir():
        os.chdir(folder)  # where paths of the configuration begin
    try:
        job = Job(
            before["path"] or f"run {old.id}",
            uri_folder=uri,
            table=old.load_object("config"),
            cache=False,
            quiet=quiet,
            tags={TAG: str(old.id)},
        )
        job.run(show_steps=False)
    finally:
        os.chdir(here)
    assert job.recorder is not None
    after = read_manifest(job.recorder)
    found = results(before, after)
    differs = differences(before, after)
    if changed := file_changes(files, read_snapshot(job.recorder)):
        differs["data"] = [*differs.get("data", []), *changed]
    return {
        "run": old.id,
        "again": job.recorder.id,
        "same": bool(found) and all(found.values()),
        "results": found,
        "differs": differs,
    }


def manifest_of(recorder: Recorder) -> dict[str, Any]:
    """Return the manifest of a run; InputError, which says why, where it has none."""
    try:
        return read_manifest(recorder)
    except LoadObjectError:
        status = recorder.info["status"]
        why = "it was made before there were manifests" if status == Recorder.STATUS_FI else f"it is {status}"
        raise InputError(f"run {recorder.id} has no manifest.json: {why}") from None


def text_of(said: Mapping[str, Any]) -> str:
    """Return a comparison as lines for people."""
    lines = [f"run    {said['run']}", f"again  {said['again']}"]
    lines += [f"{name}: {'the same' if same else 'NOT the same'}" for name, same in said["results"].items()]
    if not said["results"]:
        lines.append("neither run holds a prediction or an account: there is nothing to compare")
    for subject, changes in said["differs"].items():
        lines += ["", f"not as it was, {subject}:", *few(changes)]
    if not said["differs"]:
        end = "" if said["same"] else ": what differs is chance (a seed that is not set), or read past the package"
        lines += ["", f"data, code, packages, settings and machine are as they were{end}"]
    return "\n".join(lines)


def few(lines: Sequence[str]) -> list[str]:
    """Return lines, indented; of many the first ones and how many more there are."""
    shown = [f"  {line}" for line in lines[:SHOWN]]
    return shown if len(lines) <= SHOWN else [*shown, f"  and {len(lines) - SHOWN} more"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qrun reproduce",
        description="Build a run again, in a new run, and compare predictions and accounts.",
        epilog="Exit codes: 0 the same, 1 not the same, 2 the input is wrong.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="id of a run, the beginning of it, or last")
    add("--uri_folder", "--uri-folder", default="mlruns", metavar="FOLDER", help="where runs are kept (mlruns)")
    add("--json", action="store_true", help="the comparison as one JSON object")
    add("--quiet", action="store_true", help="no line for each stage")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser

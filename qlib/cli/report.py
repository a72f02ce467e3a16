"""`qlib report`: the report of a run, written again; of several runs, side by side.

    qlib report                     the newest run: its page in its own artifacts
    qlib report 3f9a                the run whose id begins so
    qlib report 3f9a 81c2 last      a comparison, in the folder `comparison`

Exit codes: 0 it worked, 1 it failed, 2 the input is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from qlib.cli.runs import LAST, find_run
from qlib.config import Settings, build_settings
from qlib.contrib.report.comparison import write_comparison
from qlib.contrib.report.run_report import write_report
from qlib.data.provider import Provider
from qlib.errors import InputError, QlibError
from qlib.utils.exceptions import LoadObjectError

FINE: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
COMPARISON: Final = "comparison"
ASKED: Final = ("provider_uri", "region", "kernels")  # of the run's qlib_init: what a report needs


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says, print the path of the page, and return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        print(written(asked.runs or [LAST], asked.uri_folder, asked.output))
    except QlibError as error:
        print(f"qlib report: {error}", file=sys.stderr)
        return WRONG_INPUT if isinstance(error, InputError) else FAILED
    return FINE


def written(runs: list[str], uri_folder: str, output: str | None) -> Path:
    """Write the report of one run, or the comparison of several, and return the path of the page."""
    repeated = next((run for run in runs if runs.count(run) > 1), None)
    if repeated is not None:
        raise InputError(f"run {repeated} is named twice; each run can stand in a comparison once")
    recorders = [find_run(run, uri_folder) for run in runs]
    if len(recorders) == 1:
        settings = settings_of(recorders[0])
        return write_report(recorders[0], output, settings=settings, provider=provider_of(settings))
    every = [settings_of(recorder) for recorder in recorders]
    return write_comparison(recorders, output or COMPARISON, settings=every)


def settings_of(recorder: Any) -> Settings:
    """Return the settings that a run was made with, as far as a report asks for them."""
    try:
        config = recorder.load_object("config")
    except LoadObjectError:  # a run that was made from code keeps none
        return build_settings()
    told = (config.get("qlib_init") or {}) if isinstance(config, dict) else {}
    return build_settings(**{name: told[name] for name in ASKED if told.get(name) is not None})


def provider_of(settings: Settings) -> Provider | None:
    """Return what reads the run's store; None where that is not on this machine any more."""
    uris = settings["provider_uri"]
    there = bool(uris) and all(Path(uri).expanduser().is_dir() for uri in uris.values())
    return Provider(settings) if there else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qlib report",
        description="Write the report of a run again, or put several side by side; the path of the page is printed.",
        epilog="A report is a page and a JSON file with every number of it. The page needs no network.",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="id of a run, the beginning of one, or `last` (default); several: compare",
    )
    parser.add_argument(
        "--uri_folder", "--uri-folder", default="mlruns", metavar="FOLDER", help="where runs are kept (default: mlruns)"
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help=f"where to write (default: the run's own artifacts; of several runs, {COMPARISON}/)",
    )
    return parser


def run() -> int:
    """What `qlib report` calls."""
    return main()


if __name__ == "__main__":
    sys.exit(run())

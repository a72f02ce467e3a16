"""`qlib migrate-runs FOLDER`: runs of MLflow's old folder store, such as those of pyqlib, into a database beside them.

    qlib migrate-runs mlruns
    2 experiments and 14 runs are kept in mlruns/mlflow.db now; the old folders are as they were

The files of the runs stay where they are; from then on `mlruns` means the database. Exit codes: 0 done, 1 it failed
(the folder is as it was), 2 the input is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from qlib.errors import InputError, QlibError
from qlib.workflow.store import DATABASE, migrate

FINE, FAILED, WRONG_INPUT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    folder = Path(_parser().parse_args(arguments).folder)
    try:
        experiments, runs = migrate(folder)
    except (QlibError, OSError) as error:
        print(f"qlib migrate-runs: {error}", file=sys.stderr)
        return WRONG_INPUT if isinstance(error, InputError) else FAILED
    print(
        f"{_count(experiments, 'experiment')} and {_count(runs, 'run')} are kept in {folder / DATABASE} now; "
        "the old folders are as they were"
    )
    return FINE


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qlib migrate-runs",
        description="Put the runs of MLflow's old folder store into a database beside them; their files stay.",
    )
    parser.add_argument("folder", nargs="?", default="mlruns", help="the folder of the runs (default: mlruns)")
    return parser


def run() -> int:
    """The console command."""
    return main()

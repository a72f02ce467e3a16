"""`qlib check-leakage CONFIG`: does the dataset of a configuration know the future?

    qlib check-leakage config/workflow.json
    formula: TOMORROW: Ref($close,-1)/$close looks 1 bar ahead

Exit codes: 0 nothing found (warnings there may be), 1 the future is known, 2 the input is wrong.
How it is found out: `qlib.workflow.leakage`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import qlib
from qlib.cli.checks.problem import Problem
from qlib.cli.config_file import read_config, sys_config
from qlib.errors import InputError, QlibError
from qlib.workflow.leakage import CUTS, Finding, check_leakage

FINE, LEAKS, WRONG_INPUT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        found = findings(asked.config, cuts=asked.cuts, horizon=asked.horizon)
    except QlibError as error:
        print(f"check-leakage: {error}", file=sys.stderr)
        return WRONG_INPUT
    if asked.json is not None:
        rows = [asdict(one) | {"date": None if one.date is None else str(one.date)} for one in found]
        try:
            Path(asked.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")
        except OSError as error:
            print(f"check-leakage: --json: {asked.json} cannot be written: {error.strerror}", file=sys.stderr)
            return WRONG_INPUT
    for one in found:
        print(f"{'' if one.certain else 'warning: '}{one}")
    leaks = [one for one in found if one.certain or asked.strict]
    if leaks:
        print(f"{len(leaks)} {'thing is' if len(leaks) == 1 else 'things are'} known too early")
        return LEAKS
    print("no look-ahead found")
    return FINE


def findings(config: str | Path, *, cuts: int = CUTS, horizon: int | None = None) -> list[Finding]:
    """Return what `check_leakage` finds in the dataset of a configuration file."""
    whole = read_config(Path(config))
    sys_config(whole, Path(config))
    task = whole.get("task")
    if not isinstance(task, dict) or not isinstance(task.get("dataset"), dict):
        raise InputError(
            str(Problem("task.dataset", f"missing in {config}; a table {{class, module_path, kwargs}} is needed"))
        )
    qlib.init(**{"logging_level": logging.ERROR, **(whole.get("qlib_init") or {})})
    return check_leakage(task["dataset"], cuts=cuts, horizon=horizon)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qlib check-leakage",
        description="Build a configuration's dataset again on the past, and say what it knew too early.",
        epilog="Exit codes: 0 nothing found, 1 the future is known, 2 the input is wrong.",
    )
    parser.add_argument("config", metavar="CONFIG", help="a YAML or JSON file with qlib_init and task")
    parser.add_argument("--cuts", type=int, default=CUTS, metavar="N", help=f"days that are tried (default: {CUTS})")
    parser.add_argument(
        "--horizon", type=int, metavar="N", help="bars that the label looks ahead (default: what its formula says)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the findings there too")
    parser.add_argument("--strict", action="store_true", help="warnings count as well")
    return parser


def run() -> None:
    """Be the command `qlib check-leakage`."""
    sys.exit(main())

"""`qrun diff A B`: what differs between two runs, and what came of it.

    qrun diff 3f9a last
    qrun diff 3f9a 77c0 --json

Configuration, data, code, packages, environment, seeds and machine as their manifests say; then the metrics.

Exit codes: 0 it was compared, 2 the input is wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qlib.cli.reproduce import few, manifest_of
from qlib.cli.runs import find_run
from qlib.errors import QlibError
from qlib.workflow.manifest import differences, file_changes, read_snapshot, results

FINE: Final = 0
WRONG_INPUT: Final = 2


def main(words: Sequence[str]) -> int:
    """Do what the command line says and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="qrun diff",
        description="Say what differs between two runs: configuration, data, code, packages, metrics.",
        epilog="Exit codes: 0 they were compared, 2 the input is wrong.",
    )
    parser.add_argument("a", metavar="A", help="id of a run, the beginning of it, or last")
    parser.add_argument("b", metavar="B", help="the other run")
    parser.add_argument(
        "--uri_folder", "--uri-folder", default="mlruns", metavar="FOLDER", help="where runs are kept (mlruns)"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    asked = parser.parse_args(list(words))
    try:
        said = compared(asked.a, asked.b, asked.uri_folder)
    except QlibError as error:
        print(f"qrun diff: {error}", file=sys.stderr)
        return WRONG_INPUT
    print(json.dumps(said, default=str) if asked.json else text_of(said))
    return FINE


def compared(a: str, b: str, uri_folder: str = "mlruns") -> dict[str, Any]:
    """Return what differs between two runs.

    Returns
    -------
    dict
        `runs`, two ids; `differs`, {subject: lines}; `results`, {"predictions": bool, ...}, whether they are the same;
        `metrics`, {name: (of A, of B)}, None where a run has not got it.

    Raises
    ------
    InputError
        There is no such run, or one has no manifest.
    """
    first, second = find_run(a, uri_folder), find_run(b, uri_folder)
    old, new = manifest_of(first), manifest_of(second)
    differs = differences(old, new)
    if changed := file_changes(read_snapshot(first), read_snapshot(second)):
        differs["data"] = [*differs.get("data", []), *changed]
    of_a, of_b = first.list_metrics(), second.list_metrics()
    return {
        "runs": [first.id, second.id],
        "differs": differs,
        "results": results(old, new),
        "metrics": {name: (of_a.get(name), of_b.get(name)) for name in sorted({*of_a, *of_b})},
    }


def text_of(said: Mapping[str, Any]) -> str:
    """Return a comparison as lines for people."""
    lines = [f"A  {said['runs'][0]}", f"B  {said['runs'][1]}"]
    for subject, changes in said["differs"].items():
        lines += ["", f"{subject}:", *few(changes)]
    if not said["differs"]:
        lines += ["", "configuration, data, code, packages, environment and machine are the same"]
    lines += ["", *(f"{name}: {'the same' if same else 'not the same'}" for name, same in said["results"].items())]
    told = {name: pair for name, pair in said["metrics"].items() if not _equal(*pair)}
    if told:
        width = max(map(len, told))
        lines += ["", f"{'metric':<{width}}  {'A':>12}  {'B':>12}"]
        lines += [f"{name:<{width}}  {_number(a):>12}  {_number(b):>12}" for name, (a, b) in told.items()]
    same = len(said["metrics"]) - len(told)
    return "\n".join([*lines, f"{same} metrics are equal"])


def _equal(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"

"""The options of `qrun`.

asked = parsed(["config.yaml", "alpha=0.1", "-m", "seed=seeds(3)", "--jobs", "2"])
asked.config, asked.changes, asked.many         "config.yaml", ["alpha=0.1"], ["seed=seeds(3)"]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import qlib
from qlib.cli.runs import LAST

EPILOG = """\
verbs:
  qrun reproduce RUN    build a run again, and compare
  qrun diff A B         what differs between two runs: configuration, data, code, packages, metrics

sweeps:
  qrun config.yaml -m alpha=0.1,1,10 num_leaves=range(8,64,8) seed=seeds(5) --jobs -1

Exit codes: 0 it worked, 1 the run failed, 2 the input is wrong, 130 interrupted, 143 terminated.
First steps: python scripts/get_data.py sample; qrun config/workflow.json
"""


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Return what a command line asks for; one that cannot be understood ends the program with code 2."""
    parser = _parser()
    asked = parser.parse_intermixed_args(words)
    asked.many = [word for some in asked.many for word in some]
    given = [*asked.words, *(word for word in asked.many if "=" not in word)]
    asked.many = [word for word in asked.many if "=" in word]
    asked.config = asked.config_path or (given.pop(0) if given and "=" not in given[0] else None)
    asked.changes = given
    if asked.config is None and given:  # a path may hold a sign of equality
        asked.config, asked.changes = given[0], given[1:]
    if asked.resume is None and asked.config is None:
        parser.error("CONFIG is missing: the path of a YAML or JSON file")
    if asked.resume is not None and (asked.config is not None or asked.many):
        parser.error(
            "--resume goes on with a run by the configuration that it keeps; write it without CONFIG and changes"
        )
    if asked.resume is not None and (asked.check or asked.plan or asked.dry_run):
        parser.error("--resume goes on with a run; --check, --plan and --dry-run look at a configuration")
    if asked.many and (asked.plan or asked.dry_run):
        parser.error("--plan and --dry-run look at one configuration; write them without -m")
    return asked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qrun",
        usage="qrun CONFIG [KEY=VALUE ...] [-m KEY=VALUES ...] [options]\n       qrun --resume RUN\n"
        "       qrun reproduce RUN\n       qrun diff A B",
        description="Run a configuration: load data, train a model, predict, trade on paper, write a report.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("words", nargs="*", metavar="CONFIG [KEY=VALUE ...]",
        help="a YAML or JSON file with qlib_init and task, and values to put over it, such as alpha=0.1")  # fmt: skip
    add("--config_path", metavar="CONFIG", help=argparse.SUPPRESS)
    add("-m", "--multirun", dest="many", nargs="+", action="append", default=[], metavar="KEY=VALUES",
        help="a sweep, one run for each combination: a,b,c or range(start,end,step) or seeds(n)")  # fmt: skip
    add("--jobs", type=int, default=1, metavar="N", help="runs of a sweep at a time; -1: as many as CPUs (default: 1)")
    add("--ray", action="store_true", help="run a sweep on the Ray cluster of RAY_ADDRESS, or a local one")
    add("--experiment_name", "--experiment-name", default="workflow", metavar="NAME",
        help="experiment, unless the file names one (default: workflow)")  # fmt: skip
    add("--uri_folder", "--uri-folder", default="mlruns", metavar="FOLDER",
        help="where runs are kept, unless qlib_init has an exp_manager (default: mlruns)")  # fmt: skip
    look = parser.add_mutually_exclusive_group()
    look.add_argument("--check", action="store_true", help="only say everything that is wrong; touch nothing")
    look.add_argument("--plan", action="store_true", help="only say what would be computed: formulas, rows, memory")
    look.add_argument(
        "--dry-run", "--dry_run", action="store_true", help="build everything short of the fit; keep nothing"
    )
    add(
        "--resume",
        metavar="RUN",
        nargs="?",
        const=LAST,
        help="go on with a run or a sweep that was broken off: an id, its beginning, or last, which is the default",
    )
    add("--no-cache", "--no_cache", dest="cache", action="store_false", help="compute every stage, also a known one")
    add("--quiet", action="store_true", help="no line for each stage, no progress bars; warnings remain")
    add("--json", action="store_true", help="one JSON object a line on standard output, for programs")
    add("--debug", action="store_true", help="show the traceback of an error, and the time of every step")
    add("--version", action="version", version=f"qlib-crypto {qlib.__version__}")
    return parser

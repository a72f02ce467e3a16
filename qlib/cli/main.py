"""The console command `qlib`: one table of sub-commands, each imported when it is asked for and no earlier.

    qlib --help                              what there is
    qlib data sample                         the same as: python scripts/get_data.py sample
    qlib run config.yaml                     the same as: qrun config.yaml
    python -m qlib.cli.main run config.yaml  the same without the installed command

A sub-command finds its own words in `sys.argv`, as if it had been called alone.
Exit codes: 0 it worked, 1 it failed, 2 the input is wrong, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import qlib
from qlib.errors import InputError, QlibError, did_you_mean

FINE: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
INTERRUPTED: Final = 130


class Command(NamedTuple):
    """One sub-command: "module:function" of what does the work (no arguments), and one line that says what it is."""

    does: str
    about: str


COMMANDS: Final[dict[str, Command]] = {
    "run": Command("qlib.cli.run:run", "run a configuration: data, model, signal, backtest, report (qrun)"),
    "data": Command("qlib.cli.data:run", "get data: the sample market, data sets of a server"),
    "collect": Command(
        "qlib.cli.collect:run", "collect from venues: bars, funding, mark prices, open interest, trades"
    ),
    "universe": Command("qlib.cli.universe:run", "universes of what was known: build, survivorship report, snapshots"),
    "dump": Command("qlib.cli.dump:run", "write a store from CSV or Parquet files (scripts/dump_bin.py)"),
    "health": Command(
        "qlib.cli.health:run", "check data: missing bars, prices that cannot be, frequencies that disagree"
    ),
    "report": Command("qlib.cli.report:run", "write the report of a run again; compare several runs"),
    "check-leakage": Command("qlib.cli.check_leakage:run", "say what a configuration's dataset knows of the future"),
    "migrate-runs": Command("qlib.cli.migrate_runs:run", "take runs of an old mlruns folder over into its database"),
    "explain": Command("qlib.cli.explain:run", "say what formulas read, how far they look, what runs"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    qlib-crypto ...
    0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        print(help_text(), file=sys.stderr)
        return WRONG_INPUT
    name, *rest = words
    if name in ("-h", "--help", "help"):
        print(help_text())
        return FINE
    if name == "--version":
        print(f"qlib-crypto {qlib.__version__}")
        return FINE
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"qlib: received {name}; known are {known}{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        return WRONG_INPUT
    return _call(name, rest)


def help_text() -> str:
    """Return what `qlib --help` shows."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: qlib COMMAND ...",
            "",
            "commands:",
            *(f"  {name:<{width}}  {command.about}" for name, command in COMMANDS.items()),
            "",
            "qlib COMMAND --help says more; qlib --version says which one this is.",
            "Exit codes: 0 it worked, 1 it failed, 2 the input is wrong, 130 interrupted.",
            "First steps: qlib data sample; qlib run config/workflow.json",
        ]
    )


def find(name: str) -> Callable[[], object]:
    """Import and return what does the work of a sub-command."""
    module, function = COMMANDS[name].does.split(":")
    found: Callable[[], object] = getattr(importlib.import_module(module), function)
    return found


def _call(name: str, words: Sequence[str]) -> int:
    before = sys.argv
    sys.argv = [f"qlib {name}", *words]
    try:
        code = find(name)()
    except KeyboardInterrupt:
        print(f"qlib {name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except QlibError as error:
        print(f"qlib {name}: {error}", file=sys.stderr)
        return WRONG_INPUT if isinstance(error, InputError) else FAILED
    finally:
        sys.argv = before
    return code if isinstance(code, int) else FINE


def run() -> None:
    """The installed command."""
    sys.exit(main())


if __name__ == "__main__":
    run()

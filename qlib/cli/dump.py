"""Write stores from files: `python -m qlib.cli.dump COMMAND ...`, the same as scripts/dump_bin.py.

    dump_bin.py dump_all    --data_path csv --qlib_dir store [--freq day] [--include_fields a,b] [--calendar FILE]
    dump_bin.py dump_fix    --data_path csv --qlib_dir store
    dump_bin.py dump_update --data_path csv --qlib_dir store [--dry_run] [--backup_dir DIR]

`COMMAND --help` lists every option. What was done stands on stdout. Exit code 0: done; 1: the disk refused; 2: wrong
input, said in one sentence on stderr. Unless it is 0, the store is as it was.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Final

from qlib.cli import doors
from qlib.collect.dump import (
    DumpDataAll,
    DumpDataBase,
    DumpDataFix,
    DumpDataUpdate,
    dump_all,
    dump_fix,
    dump_update,
)
from qlib.errors import InputError, QlibError

__all__ = ["run"]

COMMANDS: Final = {DumpDataAll: dump_all, DumpDataFix: dump_fix, DumpDataUpdate: dump_update}


def _command(kind: type[DumpDataBase], does: Callable[..., Any]) -> Callable[..., None]:
    """Return the class as a command that prints its report; its help begins as that of the function it `does`."""

    def command(*arguments: Any, **options: Any) -> None:
        print(kind(*arguments, **options).dump())

    options = inspect.signature(kind)
    where = options.parameters["data_path"].replace(annotation="str")  # no frames on a command line
    rest = [one for name, one in options.parameters.items() if name != "data_path"]
    setattr(command, "__signature__", options.replace(parameters=[where, *rest]))  # noqa: B010  what fire reads
    first, shared = (inspect.getdoc(what) or "" for what in (does, DumpDataBase))
    command.__doc__ = first.splitlines()[0].partition(" Arguments as")[0] + shared[shared.index("\n") :]
    return command


def run() -> None:
    """Hand the command line to the three commands."""
    try:
        doors.call({kind.command: _command(kind, does) for kind, does in COMMANDS.items()}, name="dump_bin")
    except QlibError as error:
        print(f"dump_bin: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    run()

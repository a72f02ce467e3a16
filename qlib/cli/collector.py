"""The command line of a collector: its `Run`, with every word understood before anything is done.

    if __name__ == "__main__":
        run(Run)                   # collector.py download_data --source_dir source --start 2024-01-01

Exit code 0: done; 1: it failed; 2: wrong input; one sentence on stderr says what.
"""

from __future__ import annotations

import sys

from qlib.cli import doors
from qlib.errors import InputError, QlibError

__all__ = ["run"]


def run(kind: type, name: str = "collector.py") -> None:
    """Do what the command line says with the commands of `kind`, a `BaseRun` or an index."""
    try:
        doors.call(doors.of_class(kind), name=name)
    except QlibError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)

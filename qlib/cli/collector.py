"""The command line of a collector: its `Run`, with every word understood before anything is done.

    if __name__ == "__main__":
        run(Run)                   # collector.py download_data --source_dir source --start 2024-01-01

Exit code 0: done; 1: it failed; 2: wrong input; one sentence on stderr says what.
"""

from __future__ import annotations

import argparse
import sys

from qlib.cli import doors
from qlib.contrib.collectors.index_lists import INDICES, METHODS, get_instruments
from qlib.errors import InputError, QlibError

__all__ = ["run", "run_index"]


def run(kind: type, name: str = "collector.py") -> None:
    """Do what the command line says with the commands of `kind`, a `BaseRun` or an index."""
    try:
        doors.call(doors.of_class(kind), name=name)
    except QlibError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


def run_index(market_index: str, name: str = "collector.py") -> None:
    """Do what the command line of `cn_index`, `us_index` or `br_index` says."""
    parser = argparse.ArgumentParser(prog=name, description="Write the market file of an index.", allow_abbrev=False)
    parser.add_argument("--index_name", required=True, help=", ".join(INDICES[market_index]))
    parser.add_argument("--qlib_dir", required=True, help="the store")
    parser.add_argument("--method", default=METHODS[0], help=f"{' or '.join(METHODS)} (default: {METHODS[0]})")
    parser.add_argument("--freq", default="day", help="day or 1min (default: day)")
    parser.add_argument("--members", help="who is in it today: a file or an address, a symbol a line")
    parser.add_argument("--changes", help="who came and left: a CSV file or its address, columns symbol,type,date")
    parser.add_argument("--start", help="when the index begins for us (default: at the first change)")
    parser.add_argument("--request_retry", type=int, default=3, help="taken for the sake of Qlib's command lines")
    parser.add_argument("--retry_sleep", type=float, default=3, help="likewise")
    try:
        get_instruments(market_index=market_index, **vars(parser.parse_args()))
    except QlibError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)

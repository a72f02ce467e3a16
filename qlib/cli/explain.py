"""`qlib explain`: what formulas will cost, in words; no data are read.

qlib explain "Mean($close, 5)/$close" "Ref($close, -2)/Ref($close, -1) - 1"
qlib explain "EMA($close, 10)" --compat qlib --detail

Exit codes: 0 it worked, 2 a formula cannot be read; the sentence on standard error shows where.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from qlib.data.expression.explain import explain
from qlib.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan of the formulas that the command line gives and return the exit code.

    >>> main(["$close"])
    $close  reads $close  back 0  ahead 0  kernel column  float32
    0
    """
    parser = argparse.ArgumentParser(
        prog="qlib explain", description="Say what formulas read, how far they look, what they share and what runs."
    )
    parser.add_argument("formulas", nargs="+", metavar="FORMULA", help='a formula, such as "Mean($close, 5)/$close"')
    parser.add_argument("--compat", choices=["qlib"], help="by Qlib's rules instead of the right ones")
    parser.add_argument("--detail", action="store_true", help="every instruction, too")
    asked = parser.parse_args(arguments)
    try:
        print(explain(asked.formulas, compat=asked.compat, detail=asked.detail))
    except InputError as error:
        print(f"qlib explain: {error}", file=sys.stderr)
        return 2
    return 0


def run() -> None:
    """The sub-command."""
    sys.exit(main())


if __name__ == "__main__":
    run()

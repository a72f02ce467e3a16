"""Bring what was collected into a store: `python scripts/convert_to_qlib.py --klines data/klines --bar 1H`.

A door: the command lives in qlib.cli.convert, the work in qlib.collect.convert.
"""

import sys

from qlib.cli.convert import run

if __name__ == "__main__":
    sys.exit(run())

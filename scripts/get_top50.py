"""Write config/top50_symbols.json: the largest coins of today that OKX trades.

    python scripts/get_top50.py --top 50

What was asked is kept in cache/ (1 h, 15 min). A list of today is a list of survivors: for the past use
`qlib universe build`. A door: the command lives in qlib.cli.universe, the list in qlib.crypto.top.
"""

import sys

from qlib.cli.universe import run_top

if __name__ == "__main__":
    sys.exit(run_top())

"""From nothing to a report of perpetuals: python scripts/sample_backtest.py [CONFIG] [options of qrun]

Writes the synthetic sample market where it is not there, then runs CONFIG as `qrun` does; by default that is
config/workflow_okx_swap_1h.json.
"""

from __future__ import annotations

import sys
from pathlib import Path

from qlib.cli.run import main
from qlib.tests.data import GetData

CONFIG = Path(__file__).resolve().parents[1] / "config" / "workflow_okx_swap_1h.json"

if __name__ == "__main__":
    words = sys.argv[1:]
    if not words or words[0].startswith("-"):
        words = [str(CONFIG), *words]
    if not {"-h", "--help"} & set(words):
        print(GetData().sample(exists_skip=True))
    sys.exit(main(words))

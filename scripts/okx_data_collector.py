"""Collect bars, mark prices, funding, open interest and trades of OKX.

    python scripts/okx_data_collector.py --symbols BTC-USDT-SWAP,ETH-USDT-SWAP --bar 1H --start 2026-01-01 \
        --end 2026-02-01 --out data/klines --kind candles,funding,mark,oi --update --workers 4

A door: the command lives in qlib.cli.collect, the collector in qlib.collect.collecting. See scripts/README.md.
"""

import sys

from qlib.cli.collect import run_okx

if __name__ == "__main__":
    sys.exit(run_okx())

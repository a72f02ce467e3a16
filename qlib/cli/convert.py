"""What was collected -> a store: `qlib collect convert ...`, the same as scripts/convert_to_qlib.py.

    qlib collect convert --klines data/klines --qlib_dir data/qlib_data --bar 1H
    qlib collect convert --bar 15m,1H,1Dutc          several bar sizes, one after the other, into one store

Run it after each download: it reads what is new, and the store is what a conversion of everything would make.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from qlib.cli.collect import guarded
from qlib.collect.convert import convert as convert_bars
from qlib.crypto.actions import Actions

__all__ = ["convert", "run"]


def convert(words: Sequence[str]) -> None:
    """Do what the words of a command line say, and print what was done."""
    asked = _parser().parse_args(words)
    symbols = asked.symbols and [name for name in asked.symbols.split(",") if name]
    actions = Actions.read(asked.actions) if asked.actions else None
    for bar in asked.bar.split(","):
        done = convert_bars(
            asked.klines,
            asked.qlib_dir,
            bar.strip(),
            freq=asked.freq,
            symbols=symbols or None,
            full=asked.full,
            dry_run=asked.dry_run,
            max_workers=asked.workers,
            actions=actions,
        )
        print(done)


def run() -> int:
    """Do what scripts/convert_to_qlib.py is asked for."""
    return guarded("convert_to_qlib", convert, sys.argv[1:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qlib collect convert" if sys.argv[0].startswith("qlib ") else Path(sys.argv[0]).name,
        allow_abbrev=False,
        description="Bring what was collected into a store that qlib.init reads.",
        epilog="exit codes: 0 done, 1 the disk refused, 2 the input is wrong; unless it is 0, the store is as it was",
    )
    parser.add_argument("--klines", default="data/klines", help="what was collected (default: data/klines)")
    parser.add_argument("--qlib_dir", default="data/qlib_data", help="the store (default: data/qlib_data)")
    parser.add_argument("--bar", required=True, help="bar sizes as the venue spells them: 1H, or 15m,1H,1Dutc")
    parser.add_argument("--freq", help="what a bar size is called in the store, where its name does not say it: 24h")
    parser.add_argument("--symbols", help="only these, with commas: BTC-USDT-SWAP,ETH-USDT-SWAP (default: all)")
    parser.add_argument("--actions", metavar="FILE", help="renames, redenominations, ...: CSV or Parquet")
    parser.add_argument("--full", action="store_true", help="read everything, not only what is new")
    parser.add_argument("--dry_run", action="store_true", help="say what would be done, and write nothing")
    parser.add_argument("--workers", type=int, default=4, help="threads that read (default: 4)")
    return parser

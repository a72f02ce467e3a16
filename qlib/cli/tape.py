"""Bars of the trades in a store: `qlib collect bars --symbol BTC-USDT-SWAP --rule volume:100 --out bars.parquet`.

The trades are those that `qlib collect okx --kind trades` brought; they are read one day at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from qlib.cli.collect import time_of
from qlib.collect.bar_store import BarStore, read_bars
from qlib.collect.collecting import gap_text
from qlib.collect.source import Series
from qlib.collect.trade_bars import KINDS, Rule, bars_of
from qlib.errors import InputError
from qlib.utils.paths import replace_file

_DAY: Final = 86_400_000


def bars(words: Sequence[str]) -> None:
    """Make bars of stored trades."""
    asked = _parser().parse_args(words)
    rule = Rule.of(asked.rule)
    out = Path(asked.out).expanduser()
    if out.suffix not in (".parquet", ".csv"):
        raise InputError(f"out: received {asked.out}; a file that ends with .parquet or .csv is needed")
    store, series = BarStore(asked.klines), Series(asked.symbol, "trades", None)
    ends = store.ends(series) if series in store.series() else None
    if ends is None:
        read_bars(asked.klines, asked.symbol, None, "trades")  # says what there is instead
        raise InputError(f"symbol: there are no trades of {asked.symbol} in {asked.klines}")
    low = max(ends[0], time_of(asked.start, "start")) if asked.start else ends[0]
    high = min(ends[1] + 1, time_of(asked.end, "end")) if asked.end else ends[1] + 1
    made = bars_of(_days(store, series, low, high), rule, rest=not asked.whole)
    if out.suffix == ".csv":
        replace_file(out, lambda file: file.write(made.to_csv(index=False).encode()))
    else:
        replace_file(out, lambda file: file.write(made.to_parquet(index=False)))
    print(f"{out}: {len(made):,} bars of {int(made['trades'].sum()):,} trades of {asked.symbol}, {asked.rule}")
    gaps = [gap for gap in store.gaps(series) if gap.start < high and gap.end > low]
    for gap in gaps:
        print(f"  a bar here does not hold all its trades: {gap_text(series, gap)}")


def _days(store: BarStore, series: Series, low: int, high: int) -> Iterator[pd.DataFrame]:
    for day in range(low // _DAY * _DAY, high, _DAY):
        trades = store.read(series, max(day, low), min(day + _DAY, high))
        yield trades.sort_values(["ts", "trade_id"], ignore_index=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qlib collect bars", allow_abbrev=False,
        description="Make bars of the trades in a store: of time, of numbers, of volume, of money, of information.",
        epilog=f"a rule is a kind and a size: time:1min, tick:1000, volume:100; kinds are {', '.join(KINDS)}",
    )  # fmt: skip
    parser.add_argument("--symbol", required=True, help="as the store spells it: BTC-USDT-SWAP")
    parser.add_argument("--rule", required=True, help="when a bar is over, such as volume:100")
    parser.add_argument("--out", required=True, help="the file to write: .parquet or .csv")
    parser.add_argument("--klines", default="data/klines", help="the store (default: data/klines)")
    parser.add_argument("--start", help="first trade, in UTC (default: the first one stored)")
    parser.add_argument("--end", help="before this time, in UTC (default: the last one stored)")
    parser.add_argument("--whole", action="store_true", help="leave out the last bar if it is not over")
    return parser

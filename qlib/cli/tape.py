"""Trades of years ago, and bars of trades: `qlib collect files ...`, `qlib collect bars ...`.

    qlib collect files --symbols BTC-USDT-SWAP --kind trades,funding --start 2024-01-01 --end 2024-02-01
    qlib collect bars --symbol BTC-USDT-SWAP --rule volume:100 --out volume_bars.parquet

`files` brings OKX's history files (one a day, of UTC+8, two or three days late) into the store that `qlib collect okx`
writes, and asks for nothing that is known. `bars` reads the trades of that store, one day at a time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from qlib.cli.collect import time_of
from qlib.collect.bar_store import BarStore, read_bars
from qlib.collect.collecting import collect, gap_text
from qlib.collect.source import Series
from qlib.collect.trade_bars import KINDS, Rule, bars_of
from qlib.crypto.venues.okx_archive import MODULES, OkxArchive
from qlib.errors import InputError, did_you_mean
from qlib.utils.paths import replace_file

_DAY: Final = 86_400_000


def files(words: Sequence[str]) -> int:
    """Collect from history files; returns 1 where something is not complete."""
    asked = _files_parser().parse_args(words)
    kinds = _listed(asked.kind)
    for kind in kinds:
        if kind not in MODULES:
            known = " and ".join(MODULES)
            raise InputError(f"kind: received {kind!r}; there are files of {known}{did_you_mean(kind, MODULES)}")
    start, now = time_of(asked.start, "start"), int(time.time() * 1000)
    end = now if asked.end is None else time_of(asked.end, "end")
    if start >= end:
        raise InputError(f"start: received {asked.start}, which is not before the end ({asked.end or 'now'})")
    store, source = BarStore(asked.out), OkxArchive(asked.cache, asked.base_url)
    series = [Series(symbol, kind, None) for kind in kinds for symbol in _listed(asked.symbols)]
    try:
        with store.lock("collecting history files of okx"):
            for one in series:
                store.forget_reasons(one)  # what the API could not give, files may
            summary = collect(source, store, series, start, end, workers=asked.workers)
    finally:
        source.close()
    print(summary)
    return 1 if summary.failed else 0


def bars(words: Sequence[str]) -> None:
    """Make bars of stored trades."""
    asked = _bars_parser().parse_args(words)
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


def _listed(text: str) -> list[str]:
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise InputError(f"received {text!r}; names with commas between are needed")
    return list(dict.fromkeys(found))


def _files_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qlib collect files", allow_abbrev=False,
        description="Bring trades and funding rates out of OKX's history files into a store.",
        epilog="exit codes: 0 all is there, 1 something is not complete (run it again), 2 the input is wrong",
    )  # fmt: skip
    parser.add_argument("--symbols", required=True, help="OKX's names, with commas between: BTC-USDT-SWAP,ETH-USDT")
    parser.add_argument("--kind", default="trades", help="trades, funding, or both with a comma (default: trades)")
    parser.add_argument("--start", required=True, help="first time, in UTC")
    parser.add_argument("--end", help="before this time, in UTC (default: now)")
    parser.add_argument("--out", default="data/klines", help="the store (default: data/klines)")
    parser.add_argument("--cache", default="data/okx_files", help="keeps the files (default: data/okx_files)")
    parser.add_argument("--workers", type=int, default=2, help="instruments at a time (default: 2)")
    parser.add_argument("--base_url", help="where the API is (default: $OKX_BASE_URL, then https://www.okx.com)")
    return parser


def _bars_parser() -> argparse.ArgumentParser:
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

"""Record what happens now: `qlib collect stream okx --symbols BTC-USDT-SWAP --bar 1m --out data/klines`.

Runs until Ctrl-C (or `--seconds`), then brings what is still missing and seals the store. Exit code 0: everything since
the beginning is stored; 1: something is not, and the output says what (run it again); 2: the input is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Sequence

import pandas as pd

from qlib.cli.collect import time_of
from qlib.collect import instrument_history
from qlib.collect.bar_store import FORMATS, BarStore
from qlib.collect.recording import Recorded, Recorder
from qlib.collect.source import InstrumentError, Series
from qlib.crypto.symbols import read_symbols
from qlib.crypto.venues.okx import OkxSource, bars
from qlib.crypto.venues.okx_stream import CHANNELS, OkxStream
from qlib.errors import InputError, did_you_mean

_STATUS_EVERY = 60.0  # s
_EXAMPLES = """\
minutes of two perpetuals, from now on, until Ctrl-C:
  qlib collect stream okx --symbols BTC-USDT-SWAP,ETH-USDT-SWAP --bar 1m --out data/klines

the same, with everything since New Year, and the trades:
  qlib collect stream okx --symbols BTC-USDT-SWAP --bar 1m --kind candles,trades --start 2026-01-01

A run that was killed is gone on with by the same command: what happened meanwhile comes over REST."""


def stream(words: Sequence[str]) -> int:
    """Record until told to stop and return the exit code."""
    asked = _parser().parse_args(words)
    kinds = [part.strip() for part in asked.kind.split(",") if part.strip()]
    for kind in kinds:
        if kind not in CHANNELS:
            known = ", ".join(CHANNELS)
            raise InputError(f"kind: received {kind!r}; {known} can be recorded{did_you_mean(kind, CHANNELS)}")
    if not kinds:
        raise InputError(f"kind: received {asked.kind!r}; {', '.join(CHANNELS)} can be recorded")
    start = None if asked.start is None else time_of(asked.start, "start")
    source = OkxSource(asked.base_url)
    listener = OkxStream(source, asked.ws_url)
    try:
        series = _series(source, asked, kinds)
        store = BarStore(asked.out, asked.format)
        with store.lock("recording from okx"):
            day = pd.Timestamp.now("UTC").strftime("%Y-%m-%d")
            instrument_history.remember(store.folder / "instruments.parquet", source.instruments(), day)
            done = asyncio.run(_record(Recorder(source, listener, store, series, start=start), asked))
    finally:
        source.close()
    print(done)
    return 1 if done.behind or done.failed else 0


async def _record(recorder: Recorder, asked: argparse.Namespace) -> Recorded:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if stop.is_set():
            recorder.hurry()
            return
        print("ending: what is still missing is asked for, for 20 s at most (Ctrl-C: not even that)", file=sys.stderr)
        stop.set()

    for one in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(one, end)
    if asked.seconds is not None:
        loop.call_later(asked.seconds, stop.set)
    telling = asyncio.create_task(_tell(recorder.recorded, quiet=asked.quiet))
    try:
        return await recorder.run(stop)
    finally:
        telling.cancel()


async def _tell(recorded: Recorded, *, quiet: bool) -> None:
    """Print a line a minute: somebody may be looking."""
    began = time.monotonic()
    while not quiet:
        await asyncio.sleep(_STATUS_EVERY)
        recorded.seconds = time.monotonic() - began
        print(str(recorded).splitlines()[0], file=sys.stderr)


def _series(source: OkxSource, asked: argparse.Namespace, kinds: list[str]) -> list[Series]:
    names = [part.strip() for part in (asked.symbols or "").split(",") if part.strip()]
    if asked.config is not None:
        names = read_symbols(asked.config)
    if not names:
        raise InputError("which instruments? one of --symbols and --config is needed")
    try:
        found = {one.symbol: one for one in (source.resolve(name, asked.type) for name in names)}
    except InstrumentError as error:
        raise InputError(str(error)) from None
    series = []
    for kind in kinds:
        bar = None if kind == "trades" else bars.check(source.check_bar(asked.bar), kind)
        series += [Series(one.symbol, kind, bar) for one in found.values() if one.kind != "spot" or kind != "mark"]
    if not series:
        raise InputError(f"nothing to record: spot pairs have no {', '.join(kinds)}")
    return series


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qlib collect stream",
        description="Record what a venue pushes into a store; what a broken line leaves out comes over REST.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("venue", choices=("okx",), help="who pushes")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--symbols", help="with commas between: BTC-USDT-SWAP, or BTC/USDT:USDT, BTC/USDT, BTCUSDT")
    who.add_argument("--config", help='a JSON file {"symbols": [...]}, such as config/instruments.json')
    parser.add_argument("--type", choices=("spot", "swap"), help="what BTC/USDT and BTCUSDT mean (default: spot)")
    parser.add_argument("--bar", default="1m", help="1s 1m 3m 5m 15m 30m 1H 2H 4H 6H 12H 1D ... (in UTC; default: 1m)")
    parser.add_argument(
        "--kind", default="candles", help=f"with commas between: {', '.join(CHANNELS)} (default: candles)"
    )
    parser.add_argument(
        "--start",
        help="from then on nothing may be missing, in UTC (default: where the rows of a series begin, of trades a day "
        "ago at most; for one that is not stored, now)",
    )
    parser.add_argument("--out", default="data/klines", help="the store (default: data/klines)")
    parser.add_argument(
        "--format", default="parquet", help=f"{' or '.join(FORMATS)}: CSV files beside the Parquet ones"
    )
    parser.add_argument("--seconds", type=float, help="stop after so long (default: at Ctrl-C)")
    parser.add_argument("--base_url", help="where the REST API is (default: $OKX_BASE_URL, then https://www.okx.com)")
    parser.add_argument(
        "--ws_url", help="where the WebSocket is (default: $OKX_WS_URL, then wss://ws.okx.com:8443/ws/v5)"
    )
    parser.add_argument("--quiet", action="store_true", help="no line a minute")
    return parser

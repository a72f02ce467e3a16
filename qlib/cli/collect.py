"""Collect from venues: `qlib collect COMMAND ...`.

    qlib collect okx --symbols BTC-USDT-SWAP --bar 1H --start 2026-01-01 --end 2026-02-01 --kind candles,funding
    qlib collect status --out data/klines
    qlib collect convert ...                 what was collected -> a store for `qlib.init`
    qlib collect stream ...                  what happens now, over a WebSocket

`qlib collect okx` and scripts/okx_data_collector.py are the same.  Exit codes: 0 all is there, 1 something is not
complete (run the same command again), 2 the input is wrong, 130 interrupted (what was fetched is kept).
"""

from __future__ import annotations

import argparse
import importlib
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pandas as pd

from qlib.collect import instrument_history
from qlib.collect.bar_store import FORMATS, BarStore, time_text, to_ms
from qlib.collect.collecting import Interrupted, Life, Progress, collect, gap_text
from qlib.collect.coverage import AFTER_DELISTING, BEFORE_LISTING, Gap
from qlib.collect.source import KINDS, WITHOUT_BAR, Instrument, InstrumentError, Series, Source, VenueError
from qlib.crypto.margin import MODES, Tier
from qlib.crypto.symbols import parse, read_symbols
from qlib.crypto.tier_history import FILE as TIERS_FILE
from qlib.crypto.tier_history import remember_tiers
from qlib.crypto.top import contracts, ranking, top_symbols
from qlib.crypto.venues.ccxt_source import CcxtSource
from qlib.crypto.venues.coingecko import CoinGecko
from qlib.crypto.venues.okx import OkxSource, bars
from qlib.crypto.venues.okx_archive import MODULES, OkxArchive
from qlib.errors import InputError, QlibError, RunError, did_you_mean

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "okx": ("qlib.cli.collect:okx", "bars, mark prices, funding, open interest and trades of OKX"),
    "ccxt": ("qlib.cli.collect:ccxt", "bars and funding of any other exchange, through ccxt"),
    "status": ("qlib.cli.collect:status", "what is stored, from when to when, and its holes"),
    "bars": ("qlib.cli.tape:bars", "trades -> bars of time, volume, money or information"),
    "convert": ("qlib.cli.convert:convert", "what was collected -> a store for qlib.init"),
    "stream": ("qlib.cli.stream:stream", "record what happens now, over a WebSocket"),
}
_DAY_MS: Final = 86_400_000
_SHOWN: Final = 60  # holes that the summary shows; all of them are in holes.csv
_DERIVATIVES: Final = ("mark", "funding", "oi")
_TOP: Final = "config/top50_symbols.json"
_ABOUT: Final = """\
Bring what is missing of a venue's public data into a store: data/klines/<symbol>/...
Nothing that is known is asked for again, and a run that was killed or interrupted
is gone on with by the same command. No key is needed."""
_EXAMPLES: Final = """\
a month of two perpetuals, then every hour what is new:
  python scripts/okx_data_collector.py --symbols BTC-USDT-SWAP,ETH-USDT-SWAP --bar 1H \\
      --start 2026-01-01 --end 2026-02-01 --out data/klines --kind candles,funding,mark,oi \\
      --update --workers 4 --base_url https://www.okx.com
  python scripts/okx_data_collector.py --update --out data/klines --quiet

exit codes: 0 all is there, 1 something is not complete (run it again), 2 the input is wrong,
130 interrupted (what was fetched is kept)"""


def run() -> int:
    """Do what the command line says and return the exit code."""
    name, words = "".join(sys.argv[1:2]), sys.argv[2:]
    if name in ("", "-h", "--help"):
        print(help_text(), file=sys.stdout if name else sys.stderr)
        return 0 if name else 2
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"qlib collect: received {name}; known are {known}{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        return 2
    module, function = COMMANDS[name][0].split(":")
    does: Callable[[Sequence[str]], int | None] = getattr(importlib.import_module(module), function)
    return guarded(f"qlib collect {name}", does, words)


def run_okx() -> int:
    """Do what scripts/okx_data_collector.py is asked for."""
    return guarded("okx_data_collector", okx, sys.argv[1:])


def guarded(name: str, does: Callable[[Sequence[str]], int | None], words: Sequence[str]) -> int:
    """Call a command; what went wrong is one sentence on stderr and an exit code."""
    try:
        return does(words) or 0
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except QlibError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except OSError as error:
        print(f"{name}: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 1


def help_text() -> str:
    """Return what there is, one line for each command."""
    lines = [f"  {name:<9}{about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(
        ["usage: qlib collect COMMAND ...", "", "commands:", *lines, "", "qlib collect COMMAND --help says more."]
    )


# ---------------------------------------------------------------------- status
def status(words: Sequence[str]) -> None:
    """Print what is stored."""
    parser = argparse.ArgumentParser(prog="qlib collect status", description="What is stored, and its holes.")
    parser.add_argument("--out", default="data/klines", help="the store (default: data/klines)")
    parser.add_argument("--holes", action="store_true", help="every hole in its life, with its reason")
    asked = parser.parse_args(words)
    store = BarStore(asked.out)
    if not store.folder.is_dir():
        raise InputError(f"out: {asked.out} does not exist")
    found = store.series()
    table: list[tuple[str, ...]] = []
    for series in found:
        ends, gaps = store.ends(series), _holes(store, series)
        first, last = ("", "") if ends is None else map(time_text, ends)
        table.append(
            (series.symbol, series.kind, series.bar or "", f"{store.rows(series):,}", first, last, str(len(gaps)))
        )
    print(_table(("symbol", "kind", "bar", "rows", "first", "last", "holes"), table) if table else "nothing is stored")
    if asked.holes:
        for one in found:
            for gap in _holes(store, one):
                print(gap_text(one, gap))


def _holes(store: BarStore, series: Series) -> list[Gap]:
    return [gap for gap in store.gaps(series) if gap.reason not in (BEFORE_LISTING, AFTER_DELISTING)]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    numbers = ("rows", "holes")
    return "\n".join(
        "  ".join(
            word.rjust(width) if name in numbers else word.ljust(width)
            for name, word, width in zip(head, row, widths, strict=True)
        ).rstrip()
        for row in (head, *rows)
    )


# ---------------------------------------------------------------------- okx, ccxt
def okx(words: Sequence[str]) -> int:
    """Collect from OKX."""
    return _collect(_parser("okx").parse_args(words), "okx")


def ccxt(words: Sequence[str]) -> int:
    """Collect from any other exchange."""
    return _collect(_parser("ccxt").parse_args(words), "ccxt")


def _collect(asked: argparse.Namespace, venue: str) -> int:
    kinds = _kinds(asked.kind)
    start = None if asked.start is None else time_of(asked.start, "start")
    now = int(time.time() * 1000)
    end = now if asked.end is None else time_of(asked.end, "end")
    if start is not None and start >= end:
        raise InputError(f"start: received {asked.start}, which is not before the end ({asked.end or 'now'})")
    if asked.workers < 1:
        raise InputError(f"workers: received {asked.workers}; 1 or more is allowed")
    store = BarStore(asked.out, asked.format)
    history = store.folder / "instruments.parquet"
    seen = instrument_history.latest(history)
    source: OkxSource | CcxtSource
    if venue == "okx":
        source = OkxSource(asked.base_url, speed=asked.speed, known=[_instrument(row) for row in seen.values()])
    else:
        source = CcxtSource(asked.exchange, base_url=asked.base_url)
    asker: Source = source if asked.archive is None else _archive(asked, kinds)
    wanted = _wanted(asked, store, source)
    for kind in kinds:
        if wanted is not None and kind not in WITHOUT_BAR and venue == "okx":
            bars.check(asked.bar, kind)
    bar = source.check_bar(asked.bar) if wanted is not None and set(kinds) - set(WITHOUT_BAR) else None
    with store.lock(f"collecting from {source.name}"):
        store.belongs_to(source.name)
        listed = source.instruments()
        day = pd.Timestamp(now, unit="ms").strftime("%Y-%m-%d")
        instrument_history.remember(history, listed, day)
        lives = _lives(instrument_history.latest(history))
        if wanted is None:
            series = [one for one in store.series() if one.kind in kinds or asked.kind is None]
        else:
            series = _series(_resolved(source, wanted, asked), kinds, bar, quiet=asked.quiet)
        if not series:
            raise InputError(f"nothing to collect: there is no {', '.join(kinds)} of these instruments")
        if asked.again or asked.archive is not None:
            for one in series:
                store.forget_holes(one)
        try:
            traded = {one.symbol for one in listed if one.kind != "spot"}
            names = [name for name in dict.fromkeys(one.symbol for one in series) if name in traded]
            untold = asked.tiers and not _keep_tiers(source, store, names, day, quiet=asked.quiet)
            with _bar(quiet=asked.quiet) as progress:
                summary = collect(
                    asker, store, series, start, end,
                    workers=asked.workers, update=asked.update, lives=lives, progress=progress,
                )  # fmt: skip
        except Interrupted as stopped:
            print(
                f"interrupted: {stopped.summary.rows:,} rows came and are kept in {store.folder}; "
                "run the same command again, and it asks for the rest only",
                file=sys.stderr,
            )
            return 130
        finally:
            asker.close()
            source.close()
        summary.write_holes(store.folder / "holes.csv")
    if not asked.quiet or summary.failed or summary.revised:
        print(summary.text(_SHOWN))
    return 1 if summary.failed or untold else 0


def _keep_tiers(source: OkxSource | CcxtSource, store: BarStore, names: list[str], day: str, *, quiet: bool) -> bool:
    """Keep the margin tiers of contracts that are listed, as they are today; say whether all could be had."""
    assert isinstance(source, OkxSource)  # only its parser knows --tiers
    found: dict[tuple[str, str], list[Tier]] = {}
    untold = []
    for name in names:
        try:
            found |= {(name, mode): source.position_tiers(name, mode) for mode in MODES}
        except VenueError as error:
            untold.append(f"margin tiers of {name}: {error}")
    changed = remember_tiers(store.folder / TIERS_FILE, found, day)
    if not quiet:
        done = len({name for name, _ in found})
        print(f"margin tiers of {done} contract{'s' * (done != 1)}: {len(changed)} tables are new")
    print(*untold, sep="\n", end="\n" * bool(untold))
    return not untold


def _parser(venue: str) -> argparse.ArgumentParser:
    okx = venue == "okx"
    others = "--symbols A,B | --config FILE | --universe FILE" + (" | --top N" if okx else "")
    parser = argparse.ArgumentParser(
        prog=f"qlib collect {venue}" if sys.argv[0].startswith("qlib ") else Path(sys.argv[0]).name,
        description=_ABOUT,
        epilog=_EXAMPLES if okx else "example: qlib collect ccxt --exchange kraken --symbols BTC/USD --bar 1h",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage=f"%(prog)s {'' if okx else '--exchange NAME '}({others}) [options]",
    )
    parser.set_defaults(top=None, archive=None, tiers=False)
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--symbols", help="with commas between: BTC-USDT-SWAP, or BTC/USDT:USDT, BTC/USDT, BTCUSDT")
    who.add_argument("--config", help='a JSON file {"symbols": [...]}, such as config/instruments.json')
    who.add_argument("--universe", help="an instruments file: every name that ever was in it, dead ones included")
    if okx:
        who.add_argument(
            "--top", type=int, help="so many of the largest coins of today (CoinGecko) that OKX trades as swaps, "
            "or as what --type says",
        )  # fmt: skip
    else:
        parser.add_argument("--exchange", required=True, help="ccxt's name of it, such as kraken")
    parser.add_argument("--type", choices=("spot", "swap"), help="what BTC/USDT and BTCUSDT mean (default: spot)")
    sizes = "1s 1m 3m 5m 15m 30m 1H 2H 4H 6H 12H 1D 2D 3D 1W 1M 3M (all in UTC; default: 1H)" if okx else "default: 1h"
    parser.add_argument("--bar", default="1H" if okx else "1h", help=sizes)
    parser.add_argument("--start", help="first opening time, in UTC (default: the listing of each instrument)")
    parser.add_argument("--end", help="before this opening time, in UTC (default: now)")
    parser.add_argument("--out", default="data/klines", help="the store (default: data/klines)")
    parser.add_argument("--kind", help=f"with commas between: {', '.join(KINDS)} (default: candles)")
    parser.add_argument(
        "--format", default="parquet", help=f"{' or '.join(FORMATS)}: CSV files beside the Parquet ones"
    )
    parser.add_argument(
        "--update", action="store_true", help="ask for the last few bars again: the venue may have revised them; "
        "without symbols: all that is stored",
    )  # fmt: skip
    parser.add_argument("--again", action="store_true", help="ask once more for holes: the venue may have mended them")
    parser.add_argument("--workers", type=int, default=4, help="threads; they share the rate limits (default: 4)")
    if okx:
        parser.add_argument(
            "--tiers", action="store_true", help="keep the margin tiers of the contracts, too, as they are today; "
            "a back-test takes them with mmr=<the store>",
        )  # fmt: skip
        parser.add_argument("--speed", type=float, default=1.0, help="share of OKX's rate limits to use (default: 1)")
        parser.add_argument(
            "--archive", metavar="DIR", help="take trades and funding from OKX's history files, which go back years; "
            "they are kept in this folder",
        )  # fmt: skip
    where = "$OKX_BASE_URL, then https://www.okx.com" if okx else "the exchange's own host"
    parser.add_argument("--base_url", help=f"where the API is (default: {where})")
    parser.add_argument("--quiet", action="store_true", help="say something only if something is wrong")
    return parser


def _archive(asked: argparse.Namespace, kinds: list[str]) -> OkxArchive:
    """Return OKX's history files as a source."""
    others = [kind for kind in kinds if kind not in MODULES]
    if others:
        raise InputError(f"archive: there are no files of {', '.join(others)}; --kind {','.join(MODULES)} is allowed")
    return OkxArchive(asked.archive, asked.base_url, speed=asked.speed)


def _kinds(text: str | None) -> list[str]:
    kinds = _listed(text) if text is not None else ["candles"]
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"kind: received {kind!r}; allowed are {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    if not kinds:
        raise InputError(f"kind: received {text!r}; allowed are {', '.join(KINDS)}")
    return kinds


def _wanted(asked: argparse.Namespace, store: BarStore, source: OkxSource | CcxtSource) -> list[str] | None:
    """Return the symbols as they were written; None: all that is stored."""
    if asked.symbols is not None:
        found = _listed(asked.symbols)
        if not found:
            raise InputError(f"symbols: received {asked.symbols!r}; names with commas between are needed")
        return found
    if asked.config is not None or asked.universe is not None:
        return read_symbols(asked.config or asked.universe)
    if asked.top is not None and isinstance(source, OkxSource):
        return _top(asked, source)
    if asked.update and store.series():
        return None
    raise InputError(
        "which instruments? one of --symbols, --config, --universe and --top is needed"
        + (f", since {store.folder} holds nothing to update" if asked.update else "")
    )


def _top(asked: argparse.Namespace, source: OkxSource) -> list[str]:
    """Return the largest coins of today, as scripts/get_top50.py finds them."""
    if asked.top < 1:
        raise InputError(f"top: received {asked.top}; 1 or more is allowed")
    gecko, kind = CoinGecko(), asked.type or "swap"
    try:
        coins = ranking(gecko, "cache", max(250, 4 * asked.top))
    except VenueError as error:
        raise RunError(f"top: {error}; a list that was made earlier will do: --config {_TOP} --type {kind}") from None
    finally:
        gecko.close()
    made = top_symbols(asked.top, coins, contracts(source, "cache", kind))
    if not asked.quiet:
        print(*(f"left out: {doubt}" for doubt in made.doubts), sep="\n", end="\n" * bool(made.doubts), file=sys.stderr)
    found = [parse(pair, kind).venue for pair in made.symbols]
    if not asked.quiet:
        print(f"top {asked.top}: {', '.join(found)}", file=sys.stderr)
    return found


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _resolved(source: OkxSource | CcxtSource, wanted: list[str], asked: argparse.Namespace) -> list[Instrument]:
    """Return the instruments that are meant; InputError names all that do not exist (of a universe: if none does)."""
    found: dict[str, Instrument] = {}
    unknown, pairs = [], []
    for text in wanted:
        try:
            one = source.resolve(text, asked.type)
        except (InstrumentError, InputError) as error:
            unknown.append(str(error))
            continue
        found[one.symbol] = one
        if one.kind == "spot" and one.symbol != text:
            pairs.append(text)
    if unknown and not (asked.universe is not None and found):
        raise InputError("\n  ".join(["these cannot be collected:", *unknown] if len(unknown) > 1 else unknown))
    if unknown:  # a universe holds the dead, of whom a venue has nothing any more
        print(f"of the universe cannot be collected: {len(unknown)} ({'; '.join(unknown[:5])})", file=sys.stderr)
    if pairs and asked.type is None and not asked.quiet:
        print(f"{_some(pairs)}: taken for spot; --type swap means the perpetuals", file=sys.stderr)
    return list(found.values())


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _series(instruments: list[Instrument], kinds: list[str], bar: str | None, *, quiet: bool) -> list[Series]:
    """Return what has to be collected; spot pairs have no funding, mark price or open interest."""
    left_out = [one.symbol for one in instruments if one.kind == "spot" and set(kinds) & set(_DERIVATIVES)]
    if left_out and not quiet:
        words = ", ".join(kind for kind in kinds if kind in _DERIVATIVES)
        print(f"{_some(left_out)}: spot, has no {words}; left out", file=sys.stderr)
    return [
        Series(one.symbol, kind, None if kind in WITHOUT_BAR else bar)
        for one in instruments
        for kind in kinds
        if one.kind != "spot" or kind not in _DERIVATIVES
        if one.kind != "futures" or kind != "funding"
    ]


def _instrument(row: dict[str, Any]) -> Instrument:
    """Return an instrument as it was seen last."""
    facts: dict[str, Any] = {one.name: row[one.name] for one in fields(Instrument) if one.name != "raw"}
    numbers = [one.name for one in fields(Instrument) if one.type == "float"]
    facts |= {name: math.nan for name in numbers if facts[name] is None}
    return Instrument(**facts)


def _lives(rows: dict[str, dict[str, Any]]) -> dict[str, Life]:
    """Return when each instrument was traded; the end of one that vanished is the day it was missed, at the latest."""
    lives = {}
    for symbol, row in rows.items():
        missed = int(pd.Timestamp(row["seen"]).timestamp() * 1000) + _DAY_MS if row["gone"] else None
        lives[symbol] = Life(row["listed"], row["delisted"] or missed, gone=row["gone"])
    return lives


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Show a bar with rows, requests and the time that is left."""
    from tqdm import tqdm  # noqa: PLC0415  only who collects needs it

    shape = "{percentage:3.0f}%|{bar:30}| {elapsed}<{remaining}{postfix}"
    often = 0.1 if sys.stderr.isatty() else 10.0
    with tqdm(total=1.0, disable=quiet, bar_format=shape, mininterval=often, file=sys.stderr) as bar:

        def told(progress: Progress) -> None:
            part = min(1.0, progress.done / progress.total) if progress.total else 1.0
            bar.set_postfix_str(f"{progress.rows:,} rows, {progress.requests:,} requests", refresh=False)
            bar.update(part - bar.n)

        yield told
        bar.update(1.0 - bar.n)


def time_of(text: str, name: str) -> int:
    """Return a time in ms UTC: a date, a time, or ms; without a zone it is UTC.

    >>> time_of("1767225600000", "start")
    1767225600000
    """
    return int(text) if re.fullmatch(r"\d{11,14}", text) else to_ms(text, name)


if __name__ == "__main__":
    sys.exit(run())

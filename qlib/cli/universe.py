"""Universes: `qlib universe COMMAND ...`.

    qlib universe snapshot --archive data/marketcap          keep today's ranking of CoinGecko (once a day, by cron)
    qlib universe build  --snapshots data/marketcap --top 50 --qlib_dir data/qlib_data --market top50
    qlib universe report --snapshots data/marketcap --top 50 --qlib_dir data/qlib_data
    qlib universe top --top 50                               the same as scripts/get_top50.py: the list of today

A universe is what was known: `build` writes an instruments file in which every bar's members come from snapshots that
were there when the bar opened, dead coins included. Exit codes: 0 done, 1 the venue or the disk refused, 2 wrong input.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from qlib.cli.collect import guarded
from qlib.config import build_settings
from qlib.crypto.coin_classes import LEFT_OUT, unlisted_pegs
from qlib.crypto.mapping import markets_by_name, markets_of_bars, match, read_overrides, told
from qlib.crypto.snapshots import STAMPS, Archive, read_snapshots
from qlib.crypto.survivorship import returns_of_close, returns_of_snapshots, survivorship
from qlib.crypto.top import contracts, ranking, top_symbols
from qlib.crypto.universe import MEASURES, PERIODS, Membership, Rule, bar_milliseconds, members, turnover
from qlib.crypto.venues.coingecko import CoinGecko
from qlib.crypto.venues.okx import OkxSource
from qlib.data.provider import Provider
from qlib.data.storage.instruments import write_instruments
from qlib.errors import InputError, MissingDataError, RunError, did_you_mean
from qlib.utils.paths import replace_file

__all__ = ["build", "report", "run", "run_top", "snapshot", "top"]

TURNOVER: Final = "turnover"
_SHOWN: Final = 12


# ---------------------------------------------------------------------- build
def build(words: Sequence[str]) -> None:
    """Write an instruments file of who belonged when."""
    parser = _parser("build", "Write an instruments file of who belonged when, by what was known then.")
    _add_rule(parser)
    parser.add_argument("--out", help="the file to write")
    parser.add_argument("--market", help="write instruments/<market>.txt of --qlib_dir")
    asked = parser.parse_args(words)
    path = _target(asked)
    coins = _coins(asked)
    found = members(coins, _rule(asked), asked.freq)
    try:
        write_instruments(path, found.spans)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from error
    print(
        "\n".join(
            [str(path), *_summary(coins, found), *_doubts(coins, asked), *_holes(found), *_strangers(asked, found)]
        )
    )


def _target(asked: argparse.Namespace) -> Path:
    if (asked.out is None) == (asked.market is None):
        raise InputError("where to? one of --out FILE and --market NAME (in --qlib_dir) is needed")
    if asked.out is not None:
        return Path(asked.out).expanduser()
    if asked.qlib_dir is None:
        raise InputError("market: the store is needed, too: --qlib_dir")
    if not asked.market.replace("_", "").replace("-", "").isalnum() or asked.market == "all":
        raise InputError(f"market: received {asked.market!r}; letters, digits, - and _ are allowed, and not all")
    return Path(asked.qlib_dir).expanduser() / "instruments" / f"{asked.market}.txt"


def _summary(coins: pd.DataFrame, found: Membership) -> list[str]:
    sizes = found.inside.sum(axis=1)
    names = int(found.inside.any(axis=0).sum())
    size = f"{sizes.min()} to {sizes.max()}" if sizes.min() != sizes.max() else str(sizes.min())
    first, last = (pd.Timestamp(int(t), unit="ms") for t in (found.begin[0], found.end[-1] - 1))
    return [
        f"  members      {size} at a time, {names} names in all",
        f"  bars         those that open from {first} until {last.ceil('s')}",
        f"  snapshots    {coins['known'].nunique()}, of which {len(found.begin)} are in force for a bar",
    ]


def _doubts(coins: pd.DataFrame, asked: argparse.Namespace) -> list[str]:
    if "why" not in coins.columns:
        return []
    lines = told(coins, None if "rank" not in coins or coins["rank"].isna().all() else 2 * (asked.keep or asked.top))
    found = [f"  left out because it is not sure which coin it is ({len(lines)})"] if lines else []
    found += [f"      {line}" for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        found.append(f"      ... and {len(lines) - _SHOWN} more")
    if pegs := [coin for coin in unlisted_pegs(coins) if coins.loc[coins["id"] == coin, "instrument"].notna().any()]:
        found.append(f"  stays at 1 and is in no table of stable coins: {', '.join(pegs)} (--overrides leaves out)")
    return found


def _holes(found: Membership) -> list[str]:
    return [
        f"  hole         {pd.Timestamp(a, unit='ms')} to {pd.Timestamp(b, unit='ms')}: nobody belongs, the snapshot "
        "before is too old (--stale)"
        for a, b in found.holes
    ]


def _strangers(asked: argparse.Namespace, found: Membership) -> list[str]:
    """Tell of names of which the store has no bars."""
    if asked.qlib_dir is None:
        return []
    store = _provider(asked.qlib_dir).store
    missing = [name for name in found.spans if not store.has_instrument(name, asked.freq)]
    if not missing:
        return []
    some = f"{', '.join(missing[:_SHOWN])}{', ...' if len(missing) > _SHOWN else ''}"
    return [f"  no bars      of {len(missing)} names in {asked.qlib_dir} at {asked.freq}: {some}"]


# ---------------------------------------------------------------------- report
def report(words: Sequence[str]) -> None:
    """Say how much the list of today flatters the past."""
    parser = _parser("report", "Compare the list of today with what was known, and the baskets of both.")
    _add_rule(parser)
    parser.add_argument("--json", help="write the whole report to this file")
    asked = parser.parse_args(words)
    coins = _coins(asked)
    if asked.qlib_dir is not None:
        returns = returns_of_close(_wide(asked.qlib_dir, "$close", asked.freq))
    elif asked.by != TURNOVER:
        returns = returns_of_snapshots(coins, bar_milliseconds(asked.freq))
    found = survivorship(coins, _rule(asked), returns, asked.freq)
    print(found)
    if asked.json is not None:
        text = json.dumps(found.as_dict(), indent=2, ensure_ascii=False) + "\n"
        try:
            replace_file(Path(asked.json).expanduser(), lambda file: file.write(text.encode()))
        except OSError as error:
            raise RunError(f"{asked.json} cannot be written: {error.strerror}") from error


# ---------------------------------------------------------------------- what both need
def _add_rule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--snapshots", help="rankings: the folder of `qlib universe snapshot`, a CSV or a Parquet file")
    parser.add_argument("--stamp", choices=STAMPS, help="of a file: values of the end of their date, or read then")
    parser.add_argument("--top", type=int, default=50, help="how many enter (default: 50)")
    by = (*MEASURES, TURNOVER)
    parser.add_argument("--by", choices=by, default="market_cap", help=f"{' or '.join(MEASURES)} of the snapshots, or "
                        "turnover: trailing quote volume of the store's bars (default: market_cap)")  # fmt: skip
    parser.add_argument("--keep", type=int, help="who is in stays while ranked so or better (default: no hysteresis)")
    parser.add_argument("--stale", type=float, default=45.0, help="days for which a snapshot is used (default: 45)")
    parser.add_argument("--freq", default="day", help="the bars the universe is for: day or shorter (default: day)")
    parser.add_argument("--qlib_dir", help="the store: its closes tell which coin is which")
    parser.add_argument("--names", default="{symbol}", help="what instruments are called, such as {symbol}-USDT-SWAP")
    parser.add_argument("--by_ticker", action="store_true", help="compare no prices: a ticker alone is a coin")
    parser.add_argument("--tolerance", type=float, default=0.05, help="how far prices may be apart (default: 0.05)")
    parser.add_argument("--overrides", help='a JSON file {"coins": {"coin-id": "INSTRUMENT" or null}}')
    parser.add_argument(
        "--leave_out", default=",".join(LEFT_OUT), help=f"kinds of coins (default: {','.join(LEFT_OUT)})"
    )
    parser.add_argument("--days", type=int, default=30, help="turnover: of how many days (default: 30)")
    parser.add_argument("--every", choices=PERIODS, default="month", help="turnover: when one looks (default: month)")
    parser.add_argument("--amount", default="$amount", help="turnover: quote volume of a bar (default: $amount)")


def _rule(asked: argparse.Namespace) -> Rule:
    by = "volume_24h" if asked.by == TURNOVER else asked.by
    return Rule(top=asked.top, by=by, keep=asked.keep, stale=asked.stale)


def _coins(asked: argparse.Namespace) -> pd.DataFrame:
    """Return the snapshots with their instruments."""
    bar_ms = bar_milliseconds(asked.freq)
    if asked.by == TURNOVER:
        if asked.qlib_dir is None:
            raise InputError("by: turnover is that of bars; the store is needed, too: --qlib_dir")
        amount = _wide(asked.qlib_dir, asked.amount, asked.freq)
        return turnover(amount, bar_ms, days=asked.days, every=asked.every)
    if asked.snapshots is None:
        raise InputError("snapshots: a file or a folder is needed (--by turnover does without)")
    coins = read_snapshots(asked.snapshots, asked.stamp)
    said = None if asked.overrides is None else read_overrides(asked.overrides)
    out = [part for part in asked.leave_out.split(",") if part]
    if asked.by_ticker:
        return match(coins, markets_by_name(coins, asked.names), tolerance=None, overrides=said, left_out=out)
    if asked.qlib_dir is None:
        raise InputError(
            "which coin is which? --qlib_dir compares prices with the store's; --by_ticker trusts tickers, which are "
            "not unique"
        )
    close = _wide(asked.qlib_dir, "$close", asked.freq)
    found = match(
        coins,
        markets_of_bars(close, coins["known"], bar_ms, asked.names),
        tolerance=asked.tolerance,
        overrides=said,
        left_out=out,
    )
    if found["instrument"].isna().all():
        raise InputError(
            f"no coin of {asked.snapshots} is an instrument of {asked.qlib_dir}, whose names are such as "
            f"{', '.join(map(str, close.columns[:3]))}; --names says how they are made (received {asked.names})"
        )
    return found


def _provider(folder: str) -> Provider:
    return Provider(build_settings(provider_uri=folder, region="crypto"))


def _wide(folder: str, field: str, freq: str) -> pd.DataFrame:
    """Return a field of all that is stored: a row a bar, a column an instrument."""
    provider = _provider(folder)
    names = provider.list_instruments(provider.instruments("all"), freq=freq, as_list=True)
    frame = provider.features(names, [field], freq=freq)
    if not len(frame) or frame.iloc[:, 0].isna().all():
        raise MissingDataError(f"qlib_dir: {folder} holds no {field} at {freq}")
    wide = frame.iloc[:, 0].unstack("instrument")
    return wide.reindex(pd.DatetimeIndex(provider.calendar(freq=freq))).astype(np.float64)


# ---------------------------------------------------------------------- today
def snapshot(words: Sequence[str]) -> None:
    """Keep today's ranking of CoinGecko."""
    parser = _parser("snapshot", "Keep today's ranking of CoinGecko; a day that is kept already stays as it is.")
    parser.add_argument("--archive", default="data/marketcap", help="the folder (default: data/marketcap)")
    parser.add_argument("--top", type=int, default=500, help="how many coins (default: 500)")
    parser.add_argument("--again", action="store_true", help="keep a further one of today")
    _add_gecko(parser)
    asked = parser.parse_args(words)
    archive = Archive(asked.archive)
    source = CoinGecko(asked.coingecko_url)
    try:
        listing = source.markets(asked.top)
        path, written = archive.add(listing.rows, listing.taken, source=listing.source, again=asked.again)
    except OSError as error:
        raise RunError(f"{error.filename or asked.archive} cannot be written: {error.strerror}") from error
    finally:
        source.close()
    if written:
        print(f"{path}: {len(listing.rows)} coins; {len(archive.days())} days are kept")
    else:
        print(f"{path}: kept already, and as it was; --again keeps a further one of today")


def top(words: Sequence[str]) -> None:
    """Write the list of the largest coins of today."""
    prog = None if sys.argv[0].startswith("qlib ") else Path(sys.argv[0]).name
    parser = _parser(
        "top", "Write the list of the largest coins of today that OKX trades: of survivors, for collecting.", prog
    )
    parser.add_argument("--top", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--out", default="config/top50_symbols.json", help="default: config/top50_symbols.json")
    parser.add_argument("--cache", default="cache", help="folder of what was asked (default: cache)")
    parser.add_argument("--type", choices=("swap", "spot"), default="swap", help="what OKX must trade (default: swap)")
    parser.add_argument("--quote", default="USDT", help="against what (default: USDT)")
    parser.add_argument("--overrides", help='a JSON file {"coins": {"coin-id": "INSTRUMENT" or null}}')
    parser.add_argument("--okx_url", help="where OKX is (default: $OKX_BASE_URL, then https://www.okx.com)")
    _add_gecko(parser)
    asked = parser.parse_args(words)
    overrides = None if asked.overrides is None else read_overrides(asked.overrides)
    gecko, okx = CoinGecko(asked.coingecko_url), OkxSource(asked.okx_url)
    try:
        made = top_symbols(
            asked.top,
            ranking(gecko, asked.cache, max(250, 4 * asked.top)),
            contracts(okx, asked.cache, asked.type, asked.quote.upper()),
            overrides,
        )
        made.write(asked.out)
    except OSError as error:
        raise RunError(f"{error.filename or asked.out} cannot be written: {error.strerror}") from error
    finally:
        gecko.close()
        okx.close()
    some = f"{', '.join(made.symbols[:5])}{', ...' if len(made.symbols) > 5 else ''}"
    print(f"{asked.out}: {len(made.symbols)} symbols: {some}")
    if made.doubts:
        print("left out because it is not sure which coin it is:", *made.doubts, sep="\n  ")


def _add_gecko(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--coingecko_url", help="where CoinGecko is (default: $COINGECKO_BASE_URL, then the host of the key's plan)"
    )


# ---------------------------------------------------------------------- the door
COMMANDS: Final[dict[str, Callable[[Sequence[str]], None]]] = {
    "build": build, "report": report, "snapshot": snapshot, "top": top,
}  # fmt: skip


def _parser(name: str, about: str, prog: str | None = None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=prog or f"qlib universe {name}", description=about, allow_abbrev=False)


def help_text() -> str:
    """Return what `qlib universe --help` shows."""
    lines = [f"  {name:<10}{(does.__doc__ or '').rstrip('.')}" for name, does in COMMANDS.items()]
    return "\n".join(
        ["usage: qlib universe COMMAND ...", "", "commands:", *lines, "", "qlib universe COMMAND --help says more."]
    )


def run() -> int:
    """Do what the command line says and return the exit code."""
    name, words = "".join(sys.argv[1:2]), sys.argv[2:]
    if name in ("", "-h", "--help"):
        print(help_text(), file=sys.stdout if name else sys.stderr)
        return 0 if name else 2
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"qlib universe: received {name}; known are {known}{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        return 2
    return guarded(f"qlib universe {name}", COMMANDS[name], words)


def run_top() -> int:
    """Do what scripts/get_top50.py is asked for."""
    return guarded("get_top50", top, sys.argv[1:])

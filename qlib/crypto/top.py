"""The list of today: the largest coins that a venue trades, for whoever starts to collect now.

    made = top_symbols(50, coins=ranking(gecko, "cache"), contracts=contracts(okx, "cache"))
    made.write("config/top50_symbols.json")     {"symbols": ["BTC/USDT", ...], "updated_at": ..., "count": 50, ...}

    cache/coingecko_marketcap.json   {"symbols": ["BTC", ...], "timestamp": ..., "coins": [rows as they came]}    1 h
    cache/okx_contracts.json         {"contracts": ["BTC-USDT-SWAP", ...], "timestamp": ..., "prices": {...}}    15 min

What was asked is used again while it is fresh. When the venue does not answer, what is older is used with a warning
that names its age, and `updated_at` of the list is the time of the data, never of the writing.

It is a list of survivors: right for tomorrow, wrong for every year before (for those: qlib/crypto/universe.py).
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pandas as pd

from qlib.collect.source import Instrument, VenueError
from qlib.crypto.mapping import markets_of, match, told
from qlib.crypto.snapshots import rows_table
from qlib.crypto.symbols import parse
from qlib.crypto.venues.coingecko import CoinGecko
from qlib.errors import InputError
from qlib.log import get_module_logger
from qlib.utils.paths import replace_file

logger = get_module_logger("universe")

RANKING: Final = "coingecko_marketcap.json"
CONTRACTS: Final = "okx_contracts.json"
RANKING_SECONDS: Final = 3600.0
CONTRACTS_SECONDS: Final = 900.0
OLDEST: Final = 7 * 86_400.0  # s: nothing older is used, whatever does not answer


class Quoted(Protocol):
    """A venue that lists instruments and their last prices."""

    def instruments(self) -> list[Instrument]:
        """Return what it lists."""
        ...

    def prices(self, kind: str) -> dict[str, float]:
        """Return last prices by instrument."""
        ...


@dataclass(frozen=True)
class Kept:
    """What a file of the cache holds, and when it was asked for (s since 1970)."""

    content: dict[str, Any]
    asked: float


@dataclass(frozen=True)
class Top:
    """The list. `doubts` are what a person should look at."""

    symbols: list[str]
    updated: float
    about: str
    doubts: list[str]

    def write(self, path: str | Path) -> None:
        """Write the list, whole or not at all."""
        table = {
            "symbols": self.symbols,
            "updated_at": iso(self.updated),
            "count": len(self.symbols),
            "about": self.about,
        }
        _write(Path(path).expanduser(), table)


def ranking(gecko: CoinGecko, cache: str | Path, top: int = 250, *, clock: Callable[[], float] = time.time) -> Kept:
    """Return the ranking of coins: of the cache while it is fresh, else asked for and kept.

    Raises VenueError where nobody answers and the cache holds nothing that could be used.
    """

    def ask() -> dict[str, Any]:
        listing = gecko.markets(top)
        symbols = list(dict.fromkeys(str(row["symbol"]).upper() for row in listing.rows))
        return {"symbols": symbols, "coins": listing.rows, "taken": listing.taken, "source": listing.source}

    def fits(content: dict[str, Any]) -> bool:
        return isinstance(content.get("coins"), list) and len(content["coins"]) >= 1 and content.get("top", top) >= top

    return _kept(Path(cache) / RANKING, RANKING_SECONDS, lambda: ask() | {"top": top}, fits, clock)


def contracts(
    venue: Quoted, cache: str | Path, kind: str = "swap", quote: str = "USDT", *, clock: Callable[[], float] = time.time
) -> Kept:
    """Return what the venue trades, with last prices: of the cache while it is fresh, else asked for and kept."""

    def ask() -> dict[str, Any]:
        listed, prices = venue.instruments(), venue.prices(kind)
        found = markets_of(listed, prices, kind, quote)
        known = found.dropna(subset="price")
        table = dict(zip(known["instrument"], known["price"], strict=True))
        return {"contracts": sorted(found["instrument"]), "prices": table, "kind": kind, "quote": quote}

    def fits(content: dict[str, Any]) -> bool:
        return isinstance(content.get("prices"), dict) and (content.get("kind"), content.get("quote")) == (kind, quote)

    return _kept(Path(cache) / CONTRACTS, CONTRACTS_SECONDS, ask, fits, clock)


def top_symbols(top: int, coins: Kept, contracts: Kept, overrides: Mapping[str, str | None] | None = None) -> Top:
    """Return the `top` largest coins that have a contract, as pairs: BTC/USDT.

    Parameters
    ----------
    top
        How many; fewer come, with a warning, where fewer have one.
    coins, contracts
        What `ranking` and `contracts` return.
    overrides
        See `qlib.crypto.mapping.match`.

    Raises InputError where no coin has a contract.
    """
    if top < 1:
        raise InputError(f"top: received {top}; 1 or more is allowed")
    table = rows_table(coins.content["coins"], int(coins.asked * 1000), RANKING)
    prices = contracts.content["prices"]
    names = contracts.content["contracts"]
    markets = pd.DataFrame(
        {"instrument": names, "base": [parse(name).base for name in names], "price": [prices.get(n) for n in names]}
    ).astype({"price": "float64"})
    found = match(table, markets, overrides=overrides)
    traded = found.dropna(subset=["instrument", "market_cap"]).sort_values("market_cap", ascending=False, kind="stable")
    chosen = traded.head(top)
    if not len(chosen):
        raise InputError(
            f"none of the {len(found)} largest coins has a contract: {'; '.join(told(found)) or 'no doubts'}"
        )
    if len(chosen) < top:
        logger.warning(f"{len(chosen)} of the {len(found)} largest coins have a contract; {top} were asked for")
    last = int(chosen["rank"].max()) if len(chosen) == top and chosen["rank"].notna().all() else None
    kind, quote = contracts.content["kind"], contracts.content["quote"]
    about = (
        f"the {len(chosen)} largest coins by market cap (CoinGecko) that OKX trades as {kind} against {quote}, "
        "stable, wrapped and staked coins left out; a list of today, wrong for the past"
    )
    pairs = [parse(name).pair for name in chosen["instrument"]]
    return Top(pairs, min(coins.asked, contracts.asked), about, told(found, top=last))


# ---------------------------------------------------------------------- what was asked, and when
def _kept(
    path: Path,
    seconds: float,
    ask: Callable[[], dict[str, Any]],
    fits: Callable[[dict[str, Any]], bool],
    clock: Callable[[], float],
) -> Kept:
    old = _read(path)
    if old is not None and not fits(old.content):
        old = None
    if old is not None and 0 <= clock() - old.asked < seconds:
        return old
    try:
        content = ask()
    except VenueError as error:
        if old is None:
            raise
        age = clock() - old.asked
        if not 0 <= age <= OLDEST:
            raise VenueError(f"{error}; {path} is {shown_age(age)} old, too old to be used instead") from None
        logger.warning(f"{error}; {path} is used instead, which is {shown_age(age)} old ({iso(old.asked)})")
        return old
    asked = clock()
    _write(path, {**content, "timestamp": iso(asked)})
    return Kept(content, asked)


def _read(path: Path) -> Kept | None:
    """Return what a file of the cache holds; None, with a line in the log, where it cannot be used."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        asked = dt.datetime.fromisoformat(content["timestamp"])
        return Kept(content, (asked if asked.tzinfo else asked.replace(tzinfo=dt.UTC)).timestamp())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning(f"{path} is not used: {error}")
        return None


def _write(path: Path, table: Mapping[str, Any]) -> None:
    text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
    replace_file(path, lambda file: file.write(text.encode()))


def iso(seconds: float) -> str:
    """Return a moment as it stands in files.

    >>> iso(1762135514.25)
    '2025-11-03T02:05:14Z'
    """
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC).isoformat().replace("+00:00", "Z")


def shown_age(seconds: float) -> str:
    """Return how long ago, as a person says it.

    >>> shown_age(90), shown_age(18_720), shown_age(200_000)
    ('1 min', '5 h 12 min', '2 d 7 h')
    """
    minutes = int(abs(seconds) // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"

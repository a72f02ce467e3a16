"""Coins of a ranking -> instruments of a venue: by ticker AND price AND rank, never by ticker alone.

    id            symbol  price      instrument      base  price
    bitcoin       BTC     109560     BTC-USDT-SWAP   BTC   109541.2     -> the same coin
    just-a-clone  BTC     0.0021                                        -> price disagrees, x 1.9e-08

    matched = match(coins, markets, overrides={"the-open-network": "TON-USDT-SWAP"})
    matched[["id", "instrument", "why"]]        every coin, with the reason where it has no instrument
    print(told(matched))                        what a person should look at

Tickers are not unique: thousands of coins share one, and the same coin changes its own. A coin gets an instrument if
exactly one has its ticker and a price within `tolerance` of its own; of several coins that claim one instrument, the
best-ranked, if its market cap is ten times that of the next. On a wild day the two prices, taken hours apart, may be
further apart: a coin that had this instrument in an earlier snapshot keeps it while they are within a factor of two,
unless another coin claims it. Anything less sure is left out and reported. A file of overrides is a person's word and
decides before all of that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.source import Instrument
from qlib.crypto.coin_classes import KINDS, LEFT_OUT, kinds
from qlib.errors import InputError, did_you_mean

TOLERANCE: Final = 0.05  # two venues and a minute apart; a dollar and its stable coin
CLEARLY: Final = 10.0  # times the market cap of the next
STILL: Final = 2.0  # how many times apart the prices of a coin may be that had the instrument before

OVERRIDE: Final = "override"
AGREES: Final = "ticker and price"
PREFERRED: Final = "ticker, price and rank"
BEFORE: Final = "as before"
BY_TICKER: Final = "ticker alone"
OUT_BY_OVERRIDE: Final = "left out by an override"


def match(
    coins: pd.DataFrame,
    markets: pd.DataFrame,
    *,
    overrides: Mapping[str, str | None] | None = None,
    left_out: Iterable[str] = LEFT_OUT,
    tolerance: float | None = TOLERANCE,
) -> pd.DataFrame:
    """Return the coins with the columns instrument (None where there is none), why and ratio.

    Parameters
    ----------
    coins
        A snapshot table (qlib/crypto/snapshots.py): known, id, symbol, name, rank, market_cap, price. Snapshots are
        matched one by one, each with what is said of its own moment only.
    markets
        What could be traded: instrument, base (ticker of the coin), price; and, where prices belong to one snapshot,
        known. Several instruments of one base are ambiguous: give those of one kind and one quote.
    overrides
        Coin id -> instrument, or None to leave the coin out.
    left_out
        Kinds of coins that get no instrument (`qlib.crypto.coin_classes.KINDS`).
    tolerance
        How far the two prices may be apart, as a part of the coin's. None compares no prices: tickers alone decide, and
        two coins with one ticker are ambiguous.

    Returns
    -------
    pandas.DataFrame
        The rows of `coins` in their order. `ratio` is the instrument's price over the coin's (NaN unknown); with an
        override it tells whether the person's word still fits.

    Raises
    ------
    InputError
        An unknown kind, a tolerance that is none, an override to an instrument that two coins of one snapshot get.

    Examples
    --------
    >>> coins = pd.DataFrame({"known": 0, "id": ["bitcoin", "clone"], "symbol": "BTC", "name": ["Bitcoin", "Clone"],
    ...                       "rank": [1.0, np.nan], "market_cap": [2e12, np.nan], "price": [100.0, 0.2]})
    >>> markets = pd.DataFrame({"instrument": ["BTC-USDT"], "base": ["BTC"], "price": [100.1]})
    >>> match(coins, markets)["why"].tolist()
    ['ticker and price', 'the price disagrees: BTC-USDT x 500.5']
    """
    kinds_out = _checked_kinds(left_out)
    if tolerance is not None and not 0 < tolerance < 1:
        raise InputError(f"tolerance: received {tolerance!r}; a part such as 0.05, or None, is allowed")
    coins = coins.reset_index(drop=True)
    said = dict(overrides or {})
    verdict = _Verdict(coins)
    ids, kind = coins["id"].tolist(), kinds(coins)
    for row in np.flatnonzero(coins["id"].isin(list(said))):
        name = said[ids[row]]
        verdict.instrument[row] = name
        verdict.why[row] = OUT_BY_OVERRIDE if name is None else OVERRIDE
    ruled = verdict.why != ""
    out = np.isin(kind, kinds_out) & ~ruled
    verdict.why[out] = kind[out]

    pairs = _pairs(coins[verdict.why == ""], markets)
    _judge(verdict, pairs, tolerance)
    _keep(verdict)
    verdict.ratio[ruled] = _ratio_of_overrides(coins, markets, verdict.instrument)[ruled]
    _refuse_twice(coins, verdict.instrument)
    return coins.assign(
        instrument=pd.Series(verdict.instrument, dtype=object),
        why=pd.Series(verdict.why, dtype=object),
        ratio=verdict.ratio,
    )


class _Verdict:
    """What is found out about every coin, by its row."""

    def __init__(self, coins: pd.DataFrame) -> None:
        self.coins = coins
        self.instrument = np.full(len(coins), None, dtype=object)
        self.why = np.full(len(coins), "", dtype=object)
        self.ratio = np.full(len(coins), np.nan)
        self.nearest = np.full(len(coins), None, dtype=object)  # whose price disagrees least, of those that disagree


def _checked_kinds(left_out: Iterable[str]) -> list[str]:
    found = list(left_out)
    for one in found:
        if one not in KINDS:
            raise InputError(f"left_out: received {one!r}; {', '.join(KINDS)} are allowed{did_you_mean(one, KINDS)}")
    return found


def _pairs(coins: pd.DataFrame, markets: pd.DataFrame) -> pd.DataFrame:
    """Return every coin beside every instrument with its ticker, of its own snapshot; `row` is the coin's place."""
    keys = ["base", "known"] if "known" in markets.columns else ["base"]
    left = coins[["known", "symbol", "market_cap", "price"]].rename(columns={"symbol": "base", "price": "coin_price"})
    left = left.assign(row=coins.index, base=left["base"].str.upper())
    right = markets[[*keys, "instrument", "price"]].assign(base=markets["base"].astype(str).str.upper())
    pairs = left.merge(right.drop_duplicates([*keys, "instrument"]), on=keys, how="inner")
    theirs, ours = pairs["price"].astype(np.float64), pairs["coin_price"].astype(np.float64)
    return pairs.assign(ratio=theirs / ours.where(ours > 0))


def _judge(verdict: _Verdict, pairs: pd.DataFrame, tolerance: float | None) -> None:
    """Fill in who gets what, and why the others get nothing."""
    verdict.why[verdict.why == ""] = "no instrument has this ticker"
    agree = pairs if tolerance is None else _agreeing(verdict, pairs, tolerance)
    agree = _not_taken(verdict, agree)

    double = agree["row"].duplicated(keep=False).to_numpy()
    for row, names in agree[double].groupby("row")["instrument"]:
        verdict.why[int(str(row))] = f"ambiguous: {', '.join(sorted(names))}"

    claims = agree[~double]
    alone = ~claims.duplicated(["known", "instrument"], keep=False).to_numpy()
    rows = claims["row"].to_numpy()[alone]
    verdict.instrument[rows] = claims["instrument"].to_numpy(dtype=object)[alone]
    verdict.why[rows] = BY_TICKER if tolerance is None else AGREES
    for _, rivals in claims[~alone].groupby(["known", "instrument"], sort=False):
        _choose(verdict, rivals, by_rank=tolerance is not None)


def _choose(verdict: _Verdict, rivals: pd.DataFrame, *, by_rank: bool) -> None:
    """Give an instrument to the one coin of several that is clearly larger, or to nobody."""
    name, ids = rivals["instrument"].iloc[0], verdict.coins["id"]
    order = rivals.assign(cap=rivals["market_cap"].fillna(0.0)).sort_values(["cap", "row"], ascending=[False, True])
    rows, caps = order["row"].to_numpy(), order["cap"].to_numpy()
    if by_rank and caps[0] > 0 and caps[0] >= CLEARLY * caps[1]:
        verdict.instrument[rows[0]] = name
        verdict.why[rows[0]] = PREFERRED
        verdict.why[rows[1:]] = f"{name} belongs to {ids[rows[0]]}, ten times larger"
    else:
        verdict.why[rows] = f"ambiguous: {name} could be {', '.join(ids[np.sort(rows)])}"


def _agreeing(verdict: _Verdict, pairs: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Return the pairs whose prices agree; say of the other coins what the nearest price was."""
    ratio = pairs["ratio"].to_numpy()
    verdict.why[pairs["row"].to_numpy()] = "no price to compare"
    known = pairs[np.isfinite(ratio) & (ratio > 0)]
    nearest = known.assign(off=np.abs(np.log(known["ratio"]))).sort_values("off", kind="stable").drop_duplicates("row")
    verdict.ratio[nearest["row"].to_numpy()] = nearest["ratio"].to_numpy()
    agree = pairs[np.abs(ratio - 1) <= tolerance]
    far = nearest[~nearest["row"].isin(agree["row"])]
    for row, name, times in far[["row", "instrument", "ratio"]].itertuples(index=False):
        verdict.nearest[row] = name
        verdict.why[row] = f"the price disagrees: {name} x {times:.4g}"
    return agree


def _keep(verdict: _Verdict) -> None:
    """Let coins whose price is off for once keep the instrument that they had in an earlier snapshot."""
    off = np.maximum(verdict.ratio, 1 / verdict.ratio)
    doubtful = (verdict.nearest != None) & (off <= STILL)  # noqa: E711  element by element
    if not doubtful.any():
        return
    known, ids = verdict.coins["known"].to_numpy(), verdict.coins["id"].tolist()
    caps = verdict.coins["market_cap"].fillna(0.0).to_numpy()
    owner = {(known[row], verdict.instrument[row]): row for row in np.flatnonzero(verdict.instrument != None)}  # noqa: E711
    before: dict[str, Any] = {}  # coin -> what it had last
    for row in np.argsort(known, kind="stable"):
        name = verdict.nearest[row]
        if doubtful[row] and before.get(ids[row]) == name:
            rival = owner.get((known[row], name))
            if rival is None:
                verdict.instrument[row] = name
                verdict.why[row] = BEFORE
                owner[known[row], name] = row
            elif verdict.why[rival] != OVERRIDE and caps[rival] < CLEARLY * caps[row]:
                verdict.instrument[rival] = None  # its price agrees, and it was another coin's until now
                before.pop(ids[rival], None)
                verdict.why[[row, rival]] = f"ambiguous: {name} could be {ids[row]} as before, or {ids[rival]}"
        if verdict.instrument[row] is not None:
            before[ids[row]] = verdict.instrument[row]


def _not_taken(verdict: _Verdict, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs without those whose instrument an override gives to another coin."""
    given = np.flatnonzero(verdict.instrument != None)  # noqa: E711  element by element
    taken = set(zip(verdict.coins["known"].iloc[given], verdict.instrument[given], strict=True))
    gone = np.array([pair in taken for pair in zip(pairs["known"], pairs["instrument"], strict=True)], dtype=bool)
    verdict.why[pairs["row"].to_numpy()[gone]] = "an override gives its instrument to another coin"
    return pairs[~gone]


def _ratio_of_overrides(coins: pd.DataFrame, markets: pd.DataFrame, instrument: np.ndarray) -> np.ndarray:
    keys = ["instrument", "known"] if "known" in markets.columns else ["instrument"]
    prices = markets[[*keys, "price"]].drop_duplicates(keys).rename(columns={"price": "theirs"})
    asked = coins[["known", "price"]].assign(instrument=pd.Series(instrument, dtype=object))
    both = asked.merge(prices, on=keys, how="left")
    ratio: np.ndarray = (both["theirs"] / both["price"].where(both["price"] > 0)).to_numpy(np.float64)
    return ratio


def _refuse_twice(coins: pd.DataFrame, instrument: np.ndarray) -> None:
    given = coins.assign(instrument=pd.Series(instrument, dtype=object)).dropna(subset="instrument")
    twice = given[given.duplicated(["known", "instrument"], keep=False)]
    for _, rows in twice.groupby(["known", "instrument"]):
        first = rows.iloc[0]
        when = pd.Timestamp(first["known"], unit="ms")
        raise InputError(f"overrides: {', '.join(rows['id'])} would all be {first['instrument']} at {when}")


# ---------------------------------------------------------------------- what there is to match with
def markets_of(
    instruments: Iterable[Instrument], prices: Mapping[str, float], kind: str = "swap", quote: str = "USDT"
) -> pd.DataFrame:
    """Return a venue's instruments of one kind and quote as `match` wants them, with their prices (NaN unknown).

    A perpetual settled in its own coin is another market than the linear one and is left out; so is what does not trade
    yet. Delisted ones stay: their price decides.
    """
    rows = [
        (one.symbol, one.base, float(prices.get(one.symbol, np.nan)))
        for one in instruments
        if one.kind == kind and one.quote == quote and not one.inverse and one.state != "preopen"
    ]
    return pd.DataFrame(rows, columns=["instrument", "base", "price"])


def markets_by_name(coins: pd.DataFrame, names: str = "{symbol}") -> pd.DataFrame:
    """Return one instrument for each ticker, named by a pattern, without prices: `match(..., tolerance=None)`.

    >>> markets_by_name(pd.DataFrame({"symbol": ["BTC", "BTC", "ETH"]}), "{symbol}-USD")["instrument"].tolist()
    ['BTC-USD', 'ETH-USD']
    """
    if names.count("{symbol}") != 1 or "{" in names.replace("{symbol}", ""):
        raise InputError(
            f"names: received {names!r}; a pattern with {{symbol}} in it, such as {{symbol}}-USDT, is allowed"
        )
    base = [one for one in pd.unique(coins["symbol"]) if one.isprintable()]  # a tab would break the instruments file
    return pd.DataFrame(
        {
            "instrument": [names.replace("{symbol}", one) for one in base],
            "base": base,
            "price": np.full(len(base), np.nan),
        }
    )


def markets_of_bars(close: pd.DataFrame, known: Iterable[int], bar_ms: int, names: str = "{symbol}") -> pd.DataFrame:
    """Return what a store's instruments cost when each snapshot became known.

    Parameters
    ----------
    close
        Index: open times of bars (naive UTC); a column an instrument, named by the pattern `names`.
    known
        The moments, int64 ms.
    bar_ms
        Length of a bar: its close is known when it is over.

    The last bar that is over counts, if it ended not more than two bars or one day earlier.
    """
    head, _, tail = names.partition("{symbol}")
    ends = close.index.to_numpy("datetime64[ms]").astype(np.int64) + bar_ms
    moments = np.unique(np.fromiter(known, np.int64))
    at = np.searchsorted(ends, moments, side="right") - 1
    fresh = (at >= 0) & (moments - ends[np.maximum(at, 0)] <= max(2 * bar_ms, 86_400_000)) if len(ends) else at >= 0
    values = close.to_numpy(np.float64)[at[fresh]]
    columns = [str(name) for name in close.columns]
    mine = [
        i for i, n in enumerate(columns) if n.startswith(head) and n.endswith(tail) and len(n) > len(head) + len(tail)
    ]
    base = [columns[i][len(head) : len(columns[i]) - len(tail)] for i in mine]
    return pd.DataFrame(
        {
            "known": np.repeat(moments[fresh], len(mine)),
            "instrument": np.tile([columns[i] for i in mine], int(fresh.sum())),
            "base": np.tile(base, int(fresh.sum())),
            "price": values[:, mine].ravel(),
        }
    ).dropna(subset="price", ignore_index=True)


# ---------------------------------------------------------------------- a person's word
def read_overrides(path: str | Path) -> dict[str, str | None]:
    """Return the overrides of a JSON file: {"coins": {"coin-id": "INSTRUMENT" or null}}; other keys are comments.

    Raises InputError, which names the file and the entry, for anything else.
    """
    file = Path(path).expanduser()
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{file}: this is no JSON: {error}") from None
    coins = content.get("coins") if isinstance(content, dict) else None
    if not isinstance(coins, dict):
        hint = next((h for key in content if (h := did_you_mean(str(key), ["coins"]))), "") if content else ""
        raise InputError(f'{file}: {{"coins": {{"coin-id": "INSTRUMENT" or null}}}} is expected{hint}')
    for coin, name in coins.items():
        if not (name is None or (isinstance(name, str) and name)):
            raise InputError(f"{file}: {coin} is {name!r}; the name of an instrument, or null, is allowed")
    return dict(coins)


def told(matched: pd.DataFrame, top: int | None = None) -> list[str]:
    """Return what a person should look at: one line a coin that a doubt left out, best-ranked first.

    Coins whose ticker nobody lists, and those of a kind that is left out, are no doubt. An override whose price is off
    is told, too. With `top`, only coins of that rank or better.
    """
    doubt = matched["why"].str.contains("ambiguous|disagrees|no price|overrid", regex=True)
    wrong = (matched["why"] == OVERRIDE) & ((matched["ratio"] - 1).abs() > TOLERANCE)
    doubt &= matched["why"] != OVERRIDE
    doubt &= matched["why"] != OUT_BY_OVERRIDE
    rows = matched[doubt | wrong]
    if top is not None:
        rows = rows[rows["rank"] <= top]
    lines = []
    for (coin, symbol), found in rows.sort_values("rank", kind="stable").groupby(["id", "symbol"], sort=False):
        days = pd.to_datetime(found["known"], unit="ms").dt.strftime("%Y-%m-%d")
        when = days.iloc[0] if len(days) == 1 else f"{days.min()} to {days.max()}, {len(days)} snapshots"
        first = found.iloc[0]
        why = first["why"] if first["why"] != OVERRIDE else f"override to {first['instrument']}, x {first['ratio']:.4g}"
        lines.append(f"{symbol} ({coin}), {when}: {why}")
    return lines

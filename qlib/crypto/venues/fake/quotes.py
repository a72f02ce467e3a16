"""What is quoted and traded at the venue at one moment: tickers, books, trades, marks, as rows of the OKX dialect.

    ticker(view, "BTC-USDT")["last"]        REST and WebSocket send the very same rows
    book(view, "BTC-USDT", 5).asks          [["102806.2", "1.5", "0", "3"], ...] best first

A book that is not given is made up around the last price: its sizes are a function of instrument, price and time
alone, few levels change from one tenth of a second to the next, and so the same moment always shows the same book.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qlib.crypto.venues.fake.bars import DAY, Bars, number, size, text
from qlib.crypto.venues.fake.market import Table
from qlib.crypto.venues.fake.view import View

TICK: Final = 100  # ms between two states of a book
_LIVES: Final = 64  # ticks, on average, that a level keeps its size

Level = list[str]


@dataclass(frozen=True, slots=True)
class Book:
    """One state of a book: levels [price, size, "0", orders], best first, and the number of the state."""

    asks: list[Level]
    bids: list[Level]
    seq: int
    ts: int


def last_price(view: View, name: str) -> float:
    """Price of the last trade, NaN before the first."""
    found = view.market.last(name, view.now)
    if found is None:
        return float("nan")
    bars, count = found
    return bars.so_far(view.now)["close"] if bars.forming(view.now) else float(bars.columns["close"][count - 1])


def price_now(view: View, kind: str, name: str) -> float:
    """Mark price or index now, NaN if there is none."""
    bars = view.market.smallest(kind, name)
    if bars is None or not bars.seen(view.now):
        return float("nan")
    if bars.forming(view.now):
        return bars.so_far(view.now)["close"]
    return float(bars.columns["close"][bars.seen(view.now) - 1])


def in_units(view: View, name: str, base: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Base units as the venue counts sizes: base units for spot, contracts for the rest."""
    row = view.market.instruments[name]
    if row["instType"] in {"SPOT", "MARGIN"}:
        return base
    return np.round((base * price if row["ctType"] == "inverse" else base) / view.market.contract(name), 8)


# --- tickers


def _day(bars: Bars, now: int, moment: int) -> slice:
    return slice(int(bars.ts.searchsorted(moment, "left")), bars.seen(now))


def ticker(view: View, name: str) -> dict[str, str]:
    """The row of /market/ticker: last, best quotes and the last 24 hours."""
    best = book(view, name, 1)
    row = dict.fromkeys(
        ("last", "lastSz", "askPx", "askSz", "bidPx", "bidSz", "open24h", "high24h", "low24h", "volCcy24h", "vol24h",
         "sodUtc0", "sodUtc8"), "",
    )  # fmt: skip
    for side, levels in (("ask", best.asks), ("bid", best.bids)):
        if levels:
            row[f"{side}Px"], row[f"{side}Sz"] = levels[0][:2]
    found = view.market.last(name, view.now)
    if found is not None:
        bars, _ = found
        columns, day = bars.columns, _day(bars, view.now, view.now - DAY)
        if day.stop > day.start:
            base, quote = columns["volume"][day], columns["amount"][day]
            spot = view.market.instruments[name]["instType"] in {"SPOT", "MARGIN"}
            inverse = view.market.instruments[name]["ctType"] == "inverse"
            units = (
                float(base.sum()) if spot else float((quote if inverse else base).sum()) / view.market.contract(name)
            )
            row["open24h"] = number(float(columns["open"][day.start]))
            row["high24h"] = number(float(columns["high"][day].max()))
            row["low24h"] = number(float(columns["low"][day].min()))
            row["vol24h"] = number(round(units, 8))
            row["volCcy24h"] = number(round(float((quote if spot else base).sum()), 8))
        for key, bar in (("sodUtc0", "1Dutc"), ("sodUtc8", "1D")):
            today = _day(bars, view.now, int(size(bar).open(np.array(view.now))))
            if today.stop > today.start:
                row[key] = number(float(columns["open"][today.start]))
    row["last"] = number(last_price(view, name))
    row["lastSz"] = row["askSz"] or "0"
    kind = view.market.instruments[name]["instType"]
    return {"instType": kind, "instId": name} | row | {"ts": str(view.now)}


def index_ticker(view: View, name: str) -> dict[str, str]:
    """The row of /market/index-tickers."""
    bars = view.market.smallest("index", name)
    row = dict.fromkeys(("high24h", "low24h", "open24h", "sodUtc0", "sodUtc8"), "")
    if bars is not None:
        day = _day(bars, view.now, view.now - DAY)
        if day.stop > day.start:
            row["open24h"] = number(float(bars.columns["open"][day.start]))
            row["high24h"] = number(float(bars.columns["high"][day].max()))
            row["low24h"] = number(float(bars.columns["low"][day].min()))
        for key, bar in (("sodUtc0", "1Dutc"), ("sodUtc8", "1D")):
            today = _day(bars, view.now, int(size(bar).open(np.array(view.now))))
            if today.stop > today.start:
                row[key] = number(float(bars.columns["open"][today.start]))
    return {"instId": name, "idxPx": number(price_now(view, "index", name))} | row | {"ts": str(view.now)}


def mark_price(view: View, name: str) -> dict[str, str]:
    """The row of /public/mark-price."""
    price = price_now(view, "mark", name)
    kind = view.market.instruments[name]["instType"]
    return {"instType": kind, "instId": name, "markPx": number(price), "ts": str(view.now)}


def price_limit(view: View, name: str) -> dict[str, Any]:
    """The row of /public/price-limit: five per cent around the last price."""
    price, kind = last_price(view, name), view.market.instruments[name]["instType"]
    row: dict[str, Any] = {"instType": kind, "instId": name}
    row |= {"buyLmt": number(price * 1.05), "sellLmt": number(price * 0.95), "ts": str(view.now)}
    return row | {"enabled": bool(np.isfinite(price))}


# --- trades


def trade_rows(view: View, name: str, table: Table, rows: slice, *, source: bool = False) -> list[dict[str, str]]:
    """Trades as the venue writes them, oldest first; `side` is the taker's."""
    sizes = in_units(view, name, table["size"][rows], table["price"][rows])
    columns = (table["side"][rows], text(sizes), text(table["price"][rows]), text(table["trade_id"][rows]))
    told = [
        {"instId": name, "side": side, "sz": sz, "px": px, "tradeId": trade, "ts": ts}
        for side, sz, px, trade, ts in zip(*columns, text(table["ts"][rows]), strict=True)
    ]
    return [row | {"source": "0"} for row in told] if source else told


# --- books


def book(view: View, name: str, depth: int) -> Book:
    """The book at this moment, `depth` levels a side."""
    given = view.market.books.get(name)
    if given is None:
        return _made_up(view, name, depth)
    row = int(given.ts.searchsorted(view.now, "right")) - 1
    if row < 0:
        return Book([], [], 0, view.now)
    state = given.states[row]
    return Book(_levels(state["asks"], depth), _levels(state["bids"], depth), given.first_seq + row, int(given.ts[row]))


def _levels(given: Any, depth: int) -> list[Level]:
    rows = [[value if isinstance(value, str) else number(value) for value in level] for level in given[:depth]]
    return [[level[0], level[1], "0", level[-1] if len(level) > 2 else "1"] for level in rows]


def _made_up(view: View, name: str, depth: int) -> Book:
    state = view.now // TICK
    price = last_price(view, name)
    if not np.isfinite(price):
        return Book([], [], state, state * TICK)
    step = float(view.market.instruments[name]["tickSz"] or 0) or price / 1e5
    middle = round(price / step)
    lot = float(view.market.instruments[name]["lotSz"] or 0) or 1e-4
    sides = []
    for sign in (1, -1):
        ticks = middle + sign * np.arange(1, depth + 1, dtype=np.int64)
        ticks = ticks[ticks > 0]
        first = _hash(ticks, zlib.crc32(f"{view.seed} {name}".encode()))
        now = _hash(ticks, (first + np.uint64(state)) // np.uint64(_LIVES))
        sizes = np.round((now % np.uint64(10_000) + np.uint64(1)).astype(np.float64) * lot, 8)
        prices = np.round(ticks * step, max(0, 2 - int(np.floor(np.log10(step)))))
        orders = (now % np.uint64(20) + np.uint64(1)).astype(np.int64)
        sides.append([[p, s, "0", n] for p, s, n in zip(text(prices), text(sizes), text(orders), strict=True)])
    return Book(sides[0], sides[1], state, state * TICK)


def _hash(values: np.ndarray, seed: Any) -> np.ndarray:
    """A 32-bit number that looks like chance, of each value with each seed."""
    mixed = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ np.asarray(seed, np.uint64)
    mixed = (mixed ^ mixed >> np.uint64(29)) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed ^ mixed >> np.uint64(32)) & np.uint64(0xFFFFFFFF)


def changes(old: Book, new: Book) -> tuple[list[Level], list[Level]]:
    """Levels (asks, bids) that turn one state into the next; size "0" deletes a level."""
    told = []
    for before, after in ((old.asks, new.asks), (old.bids, new.bids)):
        was, now = ({level[0]: level for level in levels} for levels in (before, after))
        gone = [[price, "0", "0", "0"] for price in was if price not in now]
        told.append(gone + [level for price, level in now.items() if was.get(price) != level])
    return told[0], told[1]


__all__ = [
    "TICK", "Book", "book", "changes", "in_units", "index_ticker", "last_price", "mark_price", "price_limit",
    "price_now", "ticker", "trade_rows",
]  # fmt: skip

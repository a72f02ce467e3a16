"""What is true at the fake venue: instruments, bars, funding, open interest, trades and books, at any moment `now`.

    market = Market(instruments=[{"instId": "BTC-USDT-SWAP", "instType": "SWAP", ...}],
                    candles={("BTC-USDT-SWAP", "1m"): frame}, ...)
    market.bars("candles", "BTC-USDT-SWAP", "1H")       the given bars, or an aggregate of the smallest given ones

The whole truth is known from the start; the venue shows of it what had happened at `now`. Volumes are given in base
units and amounts in quote units, as everywhere in this package; the venue's own units are made when a row is written.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.crypto.venues.fake.bars import DAY, PRICES, Bars, number, size, text
from qlib.errors import InputError, did_you_mean

_COMMON: Final = (
    "alias", "auctionEndTime", "baseCcy", "category", "contTdSwTime", "ctMult", "ctType", "ctVal", "ctValCcy",
    "expTime", "floatPxLmtPct", "groupId", "initPxLmtPct", "instCategory", "instFamily", "instId", "instType",
    "lever", "listTime", "lotSz", "maxIcebergSz", "maxLmtAmt", "maxLmtSz", "maxPlatOILmt", "posLmtAmt", "posLmtPct",
    "maxMktAmt", "maxMktSz", "maxPxLmtPct", "maxStopSz", "maxTriggerSz", "maxTwapSz", "minSz", "openType",
    "optType", "preMktSwTime", "quoteCcy", "ruleType", "settleCcy", "state", "stk", "tickSz", "uly",
)  # fmt: skip
TYPES: Final = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS")
ANNOUNCED: Final = 7 * DAY  # before its end, the planned delisting of a spot pair or a perpetual is in its row
PREOPEN: Final = 3 * DAY  # before its start, an instrument stands in the list with few fields
COLUMNS: Final = {
    "candles": (*PRICES, "volume", "amount"),
    "mark": PRICES,
    "index": PRICES,
    "funding": ("rate", "predicted_rate"),
    "oi": ("oi", "oi_base", "oi_quote"),
    "trades": ("trade_id", "price", "size", "side"),
}

Table = dict[str, np.ndarray]


class Market:
    """Everything that ever happens at the venue.

    Raises
    ------
    InputError
        An instrument without `instId` or `instType`, a table without a column, times that do not ascend, or data of
        an instrument that is not listed.
    """

    def __init__(
        self,
        *,
        instruments: Sequence[Mapping[str, Any]] = (),
        candles: Mapping[tuple[str, str], pd.DataFrame] | None = None,
        mark: Mapping[tuple[str, str], pd.DataFrame] | None = None,
        index: Mapping[tuple[str, str], pd.DataFrame] | None = None,
        funding: Mapping[str, pd.DataFrame] | None = None,
        oi: Mapping[tuple[str, str], pd.DataFrame] | None = None,
        trades: Mapping[str, pd.DataFrame] | None = None,
        books: Mapping[str, Mapping[str, Any] | Sequence[Mapping[str, Any]]] | None = None,
    ) -> None:
        self.instruments = {row["instId"]: row for row in map(_full_row, instruments)}
        self._lock = threading.Lock()
        self._bars: dict[tuple[str, str, str], Bars] = {}
        for kind, given in (("candles", candles), ("mark", mark), ("index", index)):
            for (name, bar), frame in (given or {}).items():
                self.put(kind, name, bar, frame)
        self.funding = {name: self._table("funding", name, frame) for name, frame in (funding or {}).items()}
        self.oi = {key: self._table("oi", key[0], frame) for key, frame in (oi or {}).items()}
        self.trades = {name: self._table("trades", name, frame) for name, frame in (trades or {}).items()}
        self.books = {name: _tape(name, states) for name, states in (books or {}).items()}
        self.gone: dict[str, int] = {}  # delisted without notice: instrument -> moment (ms)

    def put(self, kind: str, name: str, bar: str, frame: pd.DataFrame) -> None:
        """Set the bars of one series, also while the venue runs; what was aggregated from older ones is forgotten."""
        table = self._table(kind, name, frame)
        ts = table.pop("ts")
        opened = size(bar).open(ts)
        if not np.array_equal(opened, ts):
            odd = int(ts[np.flatnonzero(opened != ts)[0]])
            raise InputError(f"{kind} of {name}: no bar of {bar!r} opens at {odd}")
        if kind != "index":  # nothing before the listing, not even in the bars that are made of these
            first = int(ts.searchsorted(size(bar).open(np.array(self.starts(name))), "left"))
            ts, table = ts[first:], {column: values[first:] for column, values in table.items()}
        with self._lock:
            for key in [key for key, old in self._bars.items() if key[:2] == (kind, name) and old.parts is not None]:
                del self._bars[key]
            self._bars[kind, name, bar] = Bars(size(bar), ts, table)

    def _table(self, kind: str, name: str, frame: pd.DataFrame) -> Table:
        if kind != "index" and name not in self.instruments:
            raise InputError(f"{kind} of {name!r}: no such instrument{did_you_mean(name, self.instruments)}")
        missing = [column for column in ("ts", *COLUMNS[kind]) if column not in frame.columns]
        missing = [column for column in missing if column not in {"predicted_rate", "trade_id"}]
        if missing:
            raise InputError(f"{kind} of {name}: no column {missing[0]!r} in {list(frame.columns)}")
        ts = frame["ts"].to_numpy(np.int64)
        steps = np.diff(ts)
        if len(steps) and steps.min() < (kind != "trades"):
            raise InputError(f"{kind} of {name}: times must ascend, row {int(steps.argmin()) + 1} does not")
        table: Table = {"ts": ts}
        for column in COLUMNS[kind]:
            if column == "trade_id":
                ids = frame[column].to_numpy(np.int64) if column in frame else np.arange(1, len(ts) + 1)
                table[column] = ids
                if (np.diff(ids) <= 0).any():
                    raise InputError(f"trades of {name}: trade_id must ascend")
            elif column == "side":
                table[column] = frame[column].to_numpy(object)
            else:
                table[column] = frame[column if column in frame else "rate"].to_numpy(np.float64)
        return table

    def bars(self, kind: str, name: str, bar: str) -> Bars | None:
        """Bars of one series, or None if the venue has none of that name or none small enough to make them of."""
        with self._lock:
            found = self._bars.get((kind, name, bar))
            if found is not None:
                return found
            smallest, wanted = self._smallest(kind, name), size(bar)
            if smallest is None or not smallest.size.fits(wanted):
                return None
            return self._bars.setdefault((kind, name, bar), smallest.bigger(wanted))

    def indices(self) -> set[str]:
        """Names of the indices that have bars."""
        return {name for kind, name, _ in list(self._bars) if kind == "index"}

    def interest(self, name: str, period: str) -> Table | None:
        """Open interest at the opening times of `period`, as given or taken from the shortest given one."""
        if (name, period) in self.oi:
            return self.oi[name, period]
        given = sorted(
            (key[1] for key in self.oi if key[0] == name), key=lambda bar: (size(bar).months, size(bar).step)
        )
        if not given:
            return None
        table, wanted = self.oi[name, given[0]], size(period)
        on_time = wanted.open(table["ts"]) == table["ts"]
        return {column: values[on_time] for column, values in table.items()}

    def starts(self, name: str) -> int:
        """The moment (ms) at which continuous trading begins."""
        row = self.instruments[name]
        return int(row["contTdSwTime"] or row["listTime"] or 0)

    def ends(self, name: str) -> int | None:
        """The moment (ms) at which trading ends, None if no end is known."""
        planned = self.instruments[name]["expTime"]
        ends = [int(planned)] if planned else []
        with contextlib.suppress(KeyError):
            ends.append(self.gone[name])
        return min(ends) if ends else None

    def traded(self, name: str, now: int) -> bool:
        """True if the instrument trades at `now`."""
        end = self.ends(name)
        return self.starts(name) <= now and (end is None or now < end)

    def listed(self, name: str, now: int) -> bool:
        """True if the instrument stands in the venue's list at `now`, be it announced only."""
        end = self.ends(name)
        return int(self.instruments[name]["listTime"] or 0) - PREOPEN <= now and (end is None or now < end)

    def row(self, name: str, now: int) -> dict[str, Any]:
        """The instrument's row as the venue shows it at `now`."""
        row = dict(self.instruments[name])
        if int(row["listTime"] or 0) > now:
            keep = {"instType", "instId", "listTime"}
            return {key: value if key in keep or not isinstance(value, str) else "" for key, value in row.items()} | {
                "state": "preopen"
            }
        if row["instType"] in {"SPOT", "MARGIN", "SWAP"} and row["expTime"] and now < int(row["expTime"]) - ANNOUNCED:
            row["expTime"] = ""
        return row

    def contract(self, name: str) -> float:
        """Size of one contract: base units for linear ones, USD for inverse ones; 1 for spot."""
        row = self.instruments[name]
        return float(row["ctVal"] or 1) * float(row["ctMult"] or 1)

    def last(self, name: str, now: int) -> tuple[Bars, int] | None:
        """The smallest bars of an instrument and how many of them have opened at `now`; None if there are none."""
        bars = self.smallest("candles", name)
        count = bars.seen(now) if bars is not None else 0
        return (bars, count) if bars is not None and count else None

    def smallest(self, kind: str, name: str) -> Bars | None:
        """The smallest bars of one series that were given."""
        with self._lock:
            return self._smallest(kind, name)

    def _smallest(self, kind: str, name: str) -> Bars | None:
        given = [b for (k, n, _), b in self._bars.items() if (k, n) == (kind, name) and b.parts is None]
        return min(given, key=lambda bars: (bars.size.months, bars.size.step), default=None)


@dataclass(frozen=True, slots=True)
class Tape:
    """States of a book, each from its moment `ts` (ms) until the next: mappings with asks and bids, best first."""

    ts: np.ndarray
    states: list[Mapping[str, Any]]
    first_seq: int = 123_456


def _tape(name: str, given: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Tape:
    states = [given] if isinstance(given, Mapping) else list(given)
    ts = np.array([int(state.get("ts", 0)) for state in states], np.int64)
    if (np.diff(ts) <= 0).any():
        raise InputError(f"books of {name}: times must ascend")
    for state in states:
        for side, sign in (("asks", 1), ("bids", -1)):
            prices = sign * np.array([float(level[0]) for level in state[side]])
            if (np.diff(prices) <= 0).any():
                raise InputError(f"books of {name}: {side} must begin with the best price")
    return Tape(ts, states)


def _full_row(given: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("instId", "instType"):
        if not given.get(key):
            raise InputError(f"an instrument of the fake venue needs {key!r}, got {dict(given)}")
    if given["instType"] not in TYPES:
        raise InputError(f"{given['instId']}: instType {given['instType']!r} is not one of {', '.join(TYPES)}")
    row: dict[str, Any] = dict.fromkeys(_COMMON, "")
    row |= {"category": "1", "instCategory": "1", "ruleType": "normal", "state": "live", "upcChg": []}
    row |= {"futureSettlement": False, "tradeQuoteCcyList": []}
    if given["instType"] in {"SWAP", "FUTURES"}:
        row |= {"ctMult": "1", "ctType": "linear"}
    return row | {
        key: value if isinstance(value, str | bool | list | dict) or key == "instIdCode" else _written(value)
        for key, value in given.items()
    }


def _written(value: Any) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def candle_columns(market: Market, name: str, rows: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Columns o, h, l, c, vol, volCcy, volCcyQuote of `rows` in the venue's units, as strings.

    Spot: vol is in base units, volCcy and volCcyQuote in quote units. Contracts: vol counts contracts, volCcy is in
    base units, volCcyQuote in quote units.
    """
    base, quote = text(rows["volume"]), text(rows["amount"])
    row = market.instruments[name]
    if row["instType"] in {"SPOT", "MARGIN"}:
        volumes = [base, quote, quote]
    else:
        units = rows["amount"] if row["ctType"] == "inverse" else rows["volume"]
        volumes = [text(_short(units / market.contract(name))), base, quote]
    return [*(text(rows[column]) for column in PRICES), *volumes]


def _short(values: np.ndarray) -> np.ndarray:
    """Cut the noise of a division: 3.0000000000000004 contracts are 3."""
    return np.round(values, 8)


__all__ = ["TYPES", "Market", "Table", "candle_columns"]

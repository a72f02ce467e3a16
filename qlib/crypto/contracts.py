"""Contracts: what one is worth, in which steps it is traded, and since when that holds.

    terms = Contracts.read("data/klines").at("BTC-USDT-SWAP", "2026-03-02 14:00")
    terms.lot, terms.minimum          0.0001 and 0.0001 coins: a lot of 0.01 contracts of 0.01 BTC each
    terms.floor(0.12345)              0.1234

A venue says its terms for today only: they are kept with the day on which each was seen (`collect.instrument_history`).
Before the first of them was seen nothing is known: the oldest is taken, or with `before="error"` the run ends.
Amounts are coins (of an inverse contract: units of the currency it is quoted in), not contracts.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from qlib.backtest.rules.lot import Lot
from qlib.collect.instrument_history import read_instruments
from qlib.errors import ConfigError, MissingDataError, did_you_mean

KINDS: Final = ("spot", "swap", "futures")


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of an instrument on a day.

    Parameters
    ----------
    symbol, kind
        Its name, and "spot", "swap" or "futures".
    lot, minimum, maximum
        Step and least and most of an order, in contracts (spot: coins); 0 for no step and no least.
    notional, most
        Least and most value of an order, in the currency of the price; 0 for no least.
    contract
        Coins of one contract: contract value x multiplier; 1 for spot.
    tick
        Step of its price; 0 where it is not known.
    settle
        The currency in which profit is paid; of spot the one it is paid with. "" where that is not known.
    inverse
        Whether profit is paid in the coin; a contract is then `contract` units of the currency it is quoted in.
    listed, delisted
        When trading began and ended (naive UTC); None where that is not known.
    """

    symbol: str
    kind: str = "swap"
    lot: float = 0.0
    minimum: float = 0.0
    maximum: float = math.inf
    notional: float = 0.0
    most: float = math.inf
    contract: float = 1.0
    tick: float = 0.0
    settle: str = ""
    inverse: bool = False
    listed: pd.Timestamp | None = None
    delisted: pd.Timestamp | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"{self.symbol}: kind: received {self.kind!r}; allowed are {', '.join(KINDS)}"
                f"{did_you_mean(self.kind, KINDS)}"
            )
        for name, least in (("lot", 0.0), ("minimum", 0.0), ("tick", 0.0), ("notional", 0.0)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"{self.symbol}: {name}: received {getattr(self, name)!r}; a number of at least 0")
        for name in ("contract", "maximum", "most"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{self.symbol}: {name}: received {getattr(self, name)!r}; a number above 0")

    def floor(self, amount: float) -> float:
        """Return the largest amount that may be ordered, up to `amount` (coins): whole lots, 0 below the minimum.

        >>> Terms("BTC-USDT-SWAP", lot=0.01, minimum=0.01, contract=0.01).floor(0.12345)
        0.1234
        >>> Terms("BTC-USDT-SWAP", lot=1, minimum=5, contract=0.01).floor(0.0499)
        0.0
        """
        contracts = amount / self.contract
        whole = Lot(self.lot).floor(contracts, 1.0) if self.lot else contracts
        whole = min(whole, self.maximum)
        if whole < self.minimum * (1 - 1e-12):
            return 0.0
        exact = Lot(self.lot * self.contract).floor(whole * self.contract * (1 + 1e-12), 1.0) if self.lot else amount
        return min(exact, amount) if whole == contracts else exact

    def trades_at(self, time: pd.Timestamp) -> bool:
        """Return whether it is listed at that time, as far as is known."""
        return (self.listed is None or time >= self.listed) and (self.delisted is None or time < self.delisted)


class Contracts:
    """The terms of many instruments over time.

    Parameters
    ----------
    rows
        For every symbol its terms, each with the moment from which they hold, in order.
    default
        Terms of an instrument that has none of its own (its symbol is put in); None: asking for one is an error.
    before
        "first" takes the oldest terms for times before anybody saw any; "error" refuses.
    """

    def __init__(
        self,
        rows: Mapping[str, Iterable[tuple[pd.Timestamp, Terms]]],
        *,
        default: Terms | None = None,
        before: str = "first",
    ) -> None:
        if before not in ("first", "error"):
            raise ConfigError(f"before: received {before!r}; allowed are 'first' and 'error'")
        self._rows = {symbol: sorted(own, key=lambda row: row[0]) for symbol, own in rows.items()}
        self._times = {symbol: [time for time, _ in own] for symbol, own in self._rows.items()}
        self.default, self.before = default, before

    @classmethod
    def of(cls, given: Any) -> Contracts:
        """Read an argument: a `Contracts`, a folder or file of the history, a dict of terms by symbol, or None.

        >>> Contracts.of({"AAA": {"lot": 0.1}, "default": {"lot": 1.0}}).at("BBB", "2024-01-01").lot
        1.0
        """
        if isinstance(given, Contracts):
            return given
        if given is None:
            return cls({}, default=Terms("any"))
        if isinstance(given, str | Path):
            return cls.read(given)
        if isinstance(given, pd.DataFrame):
            return cls.from_frame(given)
        if isinstance(given, Mapping):
            made = {symbol: _terms(symbol, one) for symbol, one in given.items()}
            default = made.pop("default", None)
            return cls({symbol: [(pd.Timestamp.min, one)] for symbol, one in made.items()}, default=default)
        raise ConfigError(
            f"contracts: received {given!r}; a folder, a dict of terms by symbol or a Contracts is allowed"
        )

    @classmethod
    def read(cls, path: str | Path, *, before: str = "first") -> Contracts:
        """Read the history that the collector keeps: a store such as data/klines, or its instruments.parquet."""
        return cls.from_frame(read_instruments(path), before=before)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, before: str = "first") -> Contracts:
        """Read a frame as `collect.instrument_history.read_instruments` returns it."""
        rows: dict[str, list[tuple[pd.Timestamp, Terms]]] = {}
        for row in frame.to_dict("records"):
            rows.setdefault(str(row["symbol"]), []).append((pd.Timestamp(row["seen"]), _of_row(row)))
        return cls(rows, before=before)

    def at(self, symbol: str, time: pd.Timestamp | str) -> Terms:
        """Return the terms in force: the last that were seen at or before the time.

        Raises MissingDataError for an instrument that nobody knows (at that time).
        """
        times = self._times.get(symbol)
        if times is None:
            if self.default is None:
                raise MissingDataError(
                    f"{symbol}: no terms of this instrument are known{did_you_mean(symbol, self._rows)}; "
                    "collect the venue's instruments, or give its lot, minimum and contract"
                )
            return self.default
        place = bisect_right(times, pd.Timestamp(time)) - 1
        if place < 0 and self.before == "error":
            raise MissingDataError(f"{symbol}: its terms at {time} are not known; the oldest were seen on {times[0]}")
        return self._rows[symbol][max(place, 0)][1]

    def latest(self, symbol: str) -> Terms | None:
        """Return the last terms of an instrument, of any time, or the default; None where there is neither."""
        rows = self._rows.get(symbol)
        return rows[-1][1] if rows else self.default


def _terms(symbol: str, given: Any) -> Terms:
    if isinstance(given, Terms):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(f"contracts: {symbol}: received {given!r}; a dict of terms is allowed")
    allowed = [name for name in Terms.__dataclass_fields__ if name != "symbol"]
    for name in given:
        if name not in allowed:
            raise ConfigError(
                f"contracts: {symbol}: received {name!r}; allowed are {', '.join(allowed)}"
                f"{did_you_mean(str(name), allowed)}"
            )
    times = {name: pd.Timestamp(given[name]) for name in ("listed", "delisted") if given.get(name) is not None}
    return Terms(symbol, **{**given, **times})


def _of_row(row: Mapping[Any, Any]) -> Terms:
    def number(name: str, otherwise: float) -> float:
        value = row.get(name)
        return otherwise if value is None or pd.isna(value) else float(value)

    def moment(name: str) -> pd.Timestamp | None:
        value = row.get(name)
        return None if value is None or pd.isna(value) else pd.Timestamp(int(value), unit="ms")

    def word(name: str) -> str:
        value = row.get(name)
        return "" if value is None or pd.isna(value) else str(value)

    kind = str(row["kind"])
    contract = 1.0 if kind == "spot" else number("contract_value", 1.0) * number("multiplier", 1.0)
    return Terms(
        str(row["symbol"]),
        kind=kind,
        lot=number("lot", 0.0),
        minimum=number("minimum", 0.0),
        maximum=number("maximum", math.inf),
        most=number("maximum_value", math.inf),
        contract=contract,
        tick=number("tick", 0.0),
        settle=word("settle") or (word("quote") if kind == "spot" else ""),
        inverse=bool(row.get("inverse")),
        listed=moment("listed"),
        delisted=moment("delisted"),
    )

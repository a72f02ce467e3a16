"""Margin: how much may be opened, and when a position is closed by force.

    isolated   a position has its own margin, value / leverage when it is opened; it is closed where that is used up:
                   long    margin + a (P - entry) = mmr a P       P = entry (1 - 1/L) / (1 - mmr)
                   short   margin + a (entry - P) = mmr a P       P = entry (1 + 1/L) / (1 + mmr)
    cross      the whole account answers for all: it is closed where its value is below the maintenance margin of all

An inverse contract has its margin in coins and a face n instead of coins:
                   long    margin + n (1/entry - 1/P) = mmr n / P     P = entry (1 + mmr) / (1 + 1/L)
                   short   margin + n (1/P - 1/entry) = mmr n / P     P = entry (1 - mmr) / (1 - 1/L)

`mmr`, the maintenance margin rate, and the largest leverage depend on the size of a position: a table of `Tier`.
Amounts are coins (or face) with a sign, prices mark prices.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from qlib.crypto.tier_history import read_tiers
from qlib.errors import ConfigError, did_you_mean

MODES: Final = ("isolated", "cross")
VENUE_ROW: Final = ("maxSz", "mmr", "maxLever")
Since = tuple[list[pd.Timestamp], list[tuple["Tier", ...]]]  # tables, and from when on each of them holds


@dataclass(frozen=True, slots=True)
class Tier:
    """Positions of up to `up_to` contracts keep `mmr` of their value as margin, at `max_leverage` at most."""

    up_to: float
    mmr: float
    max_leverage: float

    def __post_init__(self) -> None:
        if not (self.up_to > 0 and 0 <= self.mmr < 1 and self.max_leverage >= 1):
            raise ConfigError(
                f"tier: received up_to {self.up_to!r}, mmr {self.mmr!r}, max_leverage {self.max_leverage!r}; allowed "
                "are a size above 0, a share in [0, 1), and at least 1"
            )

    @classmethod
    def of_venue(cls, row: Mapping[str, Any]) -> Tier:
        """Read a row of a venue's table; the size is its `maxSz`."""
        return cls(*(float(row[key]) for key in VENUE_ROW))


class Tiers:
    """The tables of instruments, as of any time; `default` is that of an instrument without its own.

    >>> tiers = Tiers.of({"default": [(1000, 0.004, 100), (5000, 0.01, 50)]})
    >>> tiers.of_size("BTC-USDT-SWAP", 1200.0).max_leverage
    50
    """

    def __init__(self, tables: Mapping[str, Iterable[Tier]]) -> None:
        self._tables: dict[str, Since] = {}
        for name, table in tables.items():
            self._add(name, pd.Timestamp.min, table)

    def _add(self, name: str, since: pd.Timestamp, table: Iterable[Tier]) -> None:
        tiers = tuple(table)
        sizes = [tier.up_to for tier in tiers]
        if not tiers or sorted(set(sizes)) != sizes:
            raise ConfigError(f"tiers: {name}: received the sizes {sizes}; they ascend, and there is one at least")
        times, tables = self._tables.setdefault(name, ([], []))
        times.append(since)
        tables.append(tiers)

    @classmethod
    def of(cls, given: Any, *, mode: str = "isolated") -> Tiers:
        """Read an argument: one maintenance margin rate for all, tables by instrument, or what was collected.

        A row is a `Tier`, (up_to, mmr, max_leverage), or a venue's own with maxSz, mmr and maxLever. Of what was
        collected (a folder such as data/klines, its tiers.parquet, or its frame) `mode` is taken.

        >>> row = {"tier": "1", "minSz": "0", "maxSz": "1000", "mmr": "0.004", "imr": "0.01", "maxLever": "100"}
        >>> Tiers.of({"BTC-USDT-SWAP": [row]}).of_size("BTC-USDT-SWAP", 5.0)
        Tier(up_to=1000.0, mmr=0.004, max_leverage=100.0)
        """
        if isinstance(given, Tiers):
            return given
        if isinstance(given, int | float) and not isinstance(given, bool):
            return cls({"default": [Tier(math.inf, float(given), math.inf)]})
        if isinstance(given, str | Path):
            return cls.read(given, mode)
        if isinstance(given, pd.DataFrame):
            return cls.from_frame(given, mode)
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"tiers: received {given!r}; a rate, tables by instrument, or the folder of a collector are allowed"
            )
        return cls({name: [_tier(name, row) for row in table] for name, table in given.items()})

    @classmethod
    def read(cls, path: str | Path, mode: str) -> Tiers:
        """Read what `qlib collect okx --tiers` keeps: a store such as data/klines, or its tiers.parquet."""
        return cls.from_frame(read_tiers(path), mode)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, mode: str) -> Tiers:
        """Read a frame as `crypto.tier_history.read_tiers` returns it."""
        made = cls({})
        frame = frame[frame["mode"] == mode]
        for (symbol, seen), rows in frame.groupby(["symbol", "seen"], sort=True):
            table = rows.sort_values("up_to")[["up_to", "mmr", "max_leverage"]].itertuples(index=False)
            made._add(str(symbol), pd.Timestamp(str(seen)), [Tier(*row) for row in table])
        return made

    @property
    def change(self) -> bool:
        """Whether any table changes with time."""
        return any(len(times) > 1 for times, _ in self._tables.values())

    def of_size(self, instrument: str, contracts: float, time: pd.Timestamp | None = None) -> Tier:
        """Return the tier of a position; beyond the last one, the last."""
        table = self.table(instrument, time)
        return next((tier for tier in table if contracts <= tier.up_to), table[-1])

    def below(self, instrument: str, contracts: float, time: pd.Timestamp | None = None) -> float:
        """Return the largest size of the tier under that of a position, in contracts; 0 under the first.

        >>> Tiers.of({"default": [(1000, 0.004, 100), (5000, 0.01, 50)]}).below("BTC-USDT-SWAP", 1200.0)
        1000
        """
        sizes = [tier.up_to for tier in self.table(instrument, time)]
        place = next((i for i, size in enumerate(sizes) if contracts <= size), len(sizes) - 1)
        return sizes[place - 1] if place else 0.0

    def table(self, instrument: str, time: pd.Timestamp | None = None) -> tuple[Tier, ...]:
        """Return the tiers of an instrument, small ones first: those in force at a time, by default the newest.

        Before the first of them was seen, the oldest are taken.
        """
        found = self._tables.get(instrument) or self._tables.get("default")
        if found is None:
            raise ConfigError(f"tiers: none of {instrument}{did_you_mean(instrument, self._tables)}, and no default")
        times, tables = found
        if len(tables) == 1:
            return tables[0]
        return tables[-1 if time is None else max(bisect_right(times, time) - 1, 0)]


def _tier(name: str, row: Any) -> Tier:
    if isinstance(row, Tier):
        return row
    if isinstance(row, Mapping):
        lacking = [key for key in VENUE_ROW if key not in row]
        if lacking:
            raise ConfigError(f"tiers: {name}: received a row without {', '.join(lacking)}: {dict(row)!r}")
        return Tier.of_venue(row)
    if not isinstance(row, Iterable) or isinstance(row, str) or len(values := tuple(row)) != 3:
        raise ConfigError(
            f"tiers: {name}: received {row!r}; rows (up to contracts, rate, largest leverage) are allowed"
        )
    return Tier(*values)


def liquidation_price(amount: float, entry: float, margin: float, mmr: float, *, inverse: bool = False) -> float:
    """Return the mark price at which an isolated position is closed by force; 0 or infinity for one that never is.

    Parameters
    ----------
    amount
        With its sign: coins, or the face of an inverse contract.
    entry
        Mean price at which it was opened.
    margin
        In what the contract is settled in.
    mmr
        Maintenance margin rate.
    inverse
        Whether it pays in coins.

    >>> round(liquidation_price(2.0, 100.0, 2 * 100.0 / 10, 0.005), 9) == round(100 * (1 - 1 / 10) / (1 - 0.005), 9)
    True
    >>> round(liquidation_price(-500.0, 100.0, 5.0 / 2, 0.005, inverse=True), 9) == round(100 * (1 - 0.005) / 0.5, 9)
    True
    """
    size = abs(amount)
    if inverse:
        if amount > 0:  # without coins it is closed at any price
            return size * (1 + mmr) / coins if (coins := margin + size / entry) > 0 else math.inf
        left = size / entry - margin
        return size * (1 - mmr) / left if left > 0 else math.inf
    if amount > 0:
        return max((size * entry - margin) / (size * (1 - mmr)), 0.0)
    return (margin + size * entry) / (size * (1 + mmr))

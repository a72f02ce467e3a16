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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from qlib.errors import ConfigError, did_you_mean

MODES: Final = ("isolated", "cross")
VENUE_ROW: Final = ("maxSz", "mmr", "maxLever")


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


class Tiers:
    """The tables of instruments; `default` is that of an instrument without its own.

    >>> tiers = Tiers.of({"default": [(1000, 0.004, 100), (5000, 0.01, 50)]})
    >>> tiers.of_size("BTC-USDT-SWAP", 1200.0).max_leverage
    50
    """

    def __init__(self, tables: Mapping[str, Iterable[Tier]]) -> None:
        self._tables = {name: tuple(table) for name, table in tables.items()}
        for name, table in self._tables.items():
            sizes = [tier.up_to for tier in table]
            if not table or sorted(set(sizes)) != sizes:
                raise ConfigError(f"tiers: {name}: received the sizes {sizes}; they ascend, and there is one at least")

    @classmethod
    def of(cls, given: Any) -> Tiers:
        """Read an argument: one maintenance margin rate for all, or tables by instrument.

        A row is a `Tier`, (up_to, mmr, max_leverage), or a venue's own with maxSz, mmr and maxLever.

        >>> row = {"tier": "1", "minSz": "0", "maxSz": "1000", "mmr": "0.004", "imr": "0.01", "maxLever": "100"}
        >>> Tiers.of({"BTC-USDT-SWAP": [row]}).of_size("BTC-USDT-SWAP", 5.0)
        Tier(up_to=1000.0, mmr=0.004, max_leverage=100.0)
        """
        if isinstance(given, Tiers):
            return given
        if isinstance(given, int | float) and not isinstance(given, bool):
            return cls({"default": [Tier(math.inf, float(given), math.inf)]})
        if not isinstance(given, Mapping):
            raise ConfigError(f"tiers: received {given!r}; a rate, or tables by instrument, are allowed")
        return cls({name: [_tier(name, row) for row in table] for name, table in given.items()})

    def of_size(self, instrument: str, contracts: float) -> Tier:
        """Return the tier of a position; beyond the last one, the last."""
        table = self.table(instrument)
        return next((tier for tier in table if contracts <= tier.up_to), table[-1])

    def below(self, instrument: str, contracts: float) -> float:
        """Return the largest size of the tier under that of a position, in contracts; 0 under the first.

        >>> Tiers.of({"default": [(1000, 0.004, 100), (5000, 0.01, 50)]}).below("BTC-USDT-SWAP", 1200.0)
        1000
        """
        sizes = [tier.up_to for tier in self.table(instrument)]
        place = next((i for i, size in enumerate(sizes) if contracts <= size), len(sizes) - 1)
        return sizes[place - 1] if place else 0.0

    def table(self, instrument: str) -> tuple[Tier, ...]:
        """Return the tiers of an instrument, small ones first."""
        table = self._tables.get(instrument) or self._tables.get("default")
        if table is None:
            raise ConfigError(f"tiers: none of {instrument}{did_you_mean(instrument, self._tables)}, and no default")
        return table


def _tier(name: str, row: Any) -> Tier:
    if isinstance(row, Tier):
        return row
    if isinstance(row, Mapping):
        lacking = [key for key in VENUE_ROW if key not in row]
        if lacking:
            raise ConfigError(f"tiers: {name}: received a row without {', '.join(lacking)}: {dict(row)!r}")
        return Tier(*(float(row[key]) for key in VENUE_ROW))
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

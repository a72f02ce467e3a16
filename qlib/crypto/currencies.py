"""The currency an account is kept in, and contracts that are settled in another one or in the coin itself.

    Perpetuals(..., currency="USDT", rates={"BTC": "BTC-USDT", "USDC": 1.0})      one account for all of them
    Perpetuals(..., currency="BTC")                                               inverse contracts alone, in BTC

A linear contract pays a (exit - entry) in its settle currency for an amount a of coins. An inverse contract pays
n (1/entry - 1/exit) coins for n units of the currency it is quoted in (its face: contracts x contract value), is worth
n / price coins, and is long where n is above 0.

`rates` says what one unit of a currency is worth in that of the account: a number, an instrument whose close it is, or
"1/BTC-USDT". A rate is declared, never guessed. Fees, funding and what is realised are converted at the rate of their
moment, and what is not realised at that of the end of the bar: no balance is kept in another currency, so nothing but
what a position earns depends on rates. Spot quoted in another currency is bought and sold at price x rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qlib.crypto.contracts import Contracts, Terms
from qlib.crypto.symbols import parse
from qlib.errors import ConfigError, InputError, MissingDataError

OVER: Final = "1/"


@dataclass(frozen=True, slots=True)
class Leg:
    """A contract that is not paid for when it is opened: its profit alone is money, in `settle`.

    >>> leg = Leg("BTC-USD-SWAP", "BTC", inverse=True)
    >>> leg.worth(60_000.0), round(leg.profit(3000.0, 60_000.0, 50_000.0), 12)
    (1.6666666666666667e-05, -0.01)
    """

    name: str
    settle: str
    inverse: bool

    def worth(self, price: float) -> float:
        """Return the settle money that one unit is worth at a price."""
        return 1 / price if self.inverse else price

    def profit(self, amount: float, entry: float, price: float) -> float:
        """Return the settle money that an amount (with its sign) earned from `entry` to `price`."""
        return amount * (1 / entry - 1 / price) if self.inverse else amount * (price - entry)

    def entry(self, before: float, entry: float, change: float, price: float) -> float:
        """Return the entry price after `change` more of the same sign at `price`: the one that earns the same."""
        after = before + change
        if self.inverse:
            return after / (before / entry + change / price)
        return (before * entry + change * price) / after


class Currencies:
    """What the instruments of a market are settled in, and at which rates that is money of the account.

    Parameters
    ----------
    currency
        That of the account; None: the one in which all linear contracts and spot markets of the universe are settled.
    rates
        See the module.
    contracts
        Terms of the instruments.
    names
        The universe.
    """

    def __init__(
        self, currency: str | None, rates: Mapping[str, float | str] | None, contracts: Contracts, names: Iterable[str]
    ) -> None:
        if currency is not None and (not isinstance(currency, str) or not currency):
            raise ConfigError(f"currency: received {currency!r}; a currency such as 'USDT' is allowed")
        if rates is not None and not isinstance(rates, Mapping):
            raise ConfigError(
                f"rates: received {rates!r}; a dict such as {{'BTC': 'BTC-USDT', 'USDC': 1.0}} is allowed"
            )
        for name, rate in (rates or {}).items():
            number = isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate < math.inf
            if not number and not (isinstance(rate, str) and rate.removeprefix(OVER)):
                raise ConfigError(
                    f"rates: {name}: received {rate!r}; a number above 0, an instrument or '1/instrument'"
                )
        if rates and currency is None:
            raise ConfigError(f"rates: received {dict(rates)!r} without the currency of the account, such as 'USDT'")
        self.contracts = contracts
        self.rates = dict(rates or {})
        self.given = currency is not None
        self._terms: dict[str, Terms | None] = {}
        settles = {terms.settle for name in names if (terms := self.terms(name)) is not None and not terms.inverse}
        self.settles = tuple(sorted(settles - {""}))
        self.currency = currency if self.given else self.settles[0] if len(self.settles) == 1 else ""
        self._tables: dict[str, np.ndarray[Any, Any]] = {}

    def terms(self, name: str) -> Terms | None:
        """Return the latest terms of an instrument; its kind, direction and currency do not change."""
        if name not in self._terms:
            self._terms[name] = self.contracts.latest(name)
        return self._terms[name]

    def foreign(self, name: str) -> bool:
        """Whether an instrument is settled in another currency, of which a rate is known."""
        terms = self.terms(name)
        return terms is not None and terms.settle not in ("", self.currency) and terms.settle in self.rates

    def leg(self, name: str) -> Leg | None:
        """Return how a contract is accounted for; None for one that is paid in the account's currency with cash.

        Raises InputError, without the order, where that needs a currency or a rate that nobody gave.
        """
        terms = self.terms(name)
        if terms is None:
            return None
        if terms.symbol != name and not terms.inverse and _says_inverse(name):  # the default, and a guess at that
            raise InputError(
                f"its name says that {name} is an inverse contract, and no terms of it are given: give contracts"
            )
        settle, example = terms.settle, terms.settle or "BTC"
        if terms.inverse and not settle:
            raise InputError(f"{name} is an inverse contract; give the coin that it pays in its terms: settle='BTC'")
        if terms.inverse and not self.given:
            raise InputError(
                f"{name} is an inverse contract and pays in {settle}: keep the account in it with currency="
                f"{settle!r}, or say currency='USDT' and the rate, as rates={{{settle!r}: '{example}-USDT'}}"
            )
        if not self.currency and settle:
            raise InputError(
                f"{name} is settled in {settle}, and others of this market in "
                f"{', '.join(one for one in self.settles if one != settle)}: say in which currency the account is "
                f"kept, such as currency={settle!r}"
            )
        if settle not in ("", self.currency) and settle not in self.rates:
            raise InputError(
                f"{name} is settled in {settle}, and the account is kept in {self.currency}: give the rate, as "
                f"rates={{{settle!r}: '{example}-{self.currency}'}}"
            )
        if not terms.inverse and (terms.kind == "spot" or not self.foreign(name)):
            return None
        return Leg(name, settle, terms.inverse)

    # --------------------------------------------------------------------------------------------------------- rates
    def load(self, provider: Any, times: np.ndarray[Any, Any], freq: str) -> None:
        """Read the rates that are closes of instruments, for every bar."""
        for currency, rate in self.rates.items():
            if isinstance(rate, str) and len(times):
                self._tables[currency] = closes_of(provider, rate, times, freq)

    def rate(self, settle: str, row: int) -> float:
        """Return the value of a currency at the end of bar `row`; row -1 is what was known before the first.

        A currency without a close in the bar keeps its last one. Raises MissingDataError where there was none yet.
        """
        if settle in ("", self.currency):
            return 1.0
        given = self.rates[settle]
        if not isinstance(given, str):
            return float(given)
        found = self._tables[settle].item(row + 1)
        if math.isnan(found):
            raise MissingDataError(f"rates: {given} has no close yet where the rate of {settle} is needed (bar {row})")
        return found

    def table(self, settle: str, rows: int) -> np.ndarray[Any, Any]:
        """Return `rate` of the rows -1 to `rows` - 1; NaN where there was none yet."""
        given = 1.0 if settle in ("", self.currency) else self.rates[settle]
        return self._tables[settle] if isinstance(given, str) else np.full(rows + 1, float(given))


def _says_inverse(name: str) -> bool:
    """Whether a name without terms is that of an inverse contract, BTC-USD-SWAP or BTC-USD-240628."""
    try:
        symbol = parse(name)
    except InputError:
        return False
    return symbol.kind != "spot" and symbol.quote == "USD"


def closes_of(provider: Any, rate: str, times: np.ndarray[Any, Any], freq: str) -> np.ndarray[Any, Any]:
    """Return the close before the first bar, and of every bar, each the last that is known; of "1/name" 1 / close."""
    name = rate.removeprefix(OVER)
    fields = ["$close", "Ref($close,1)"]
    panel, _ = provider.panel([name], fields, times[0], times[-1], freq)
    if not len(panel.instruments):
        raise MissingDataError(f"rates: the store has no {name} at {freq} from {times[0]} to {times[-1]}")
    found = np.full(len(times) + 1, np.nan)
    place = panel.positions()
    found[place + 1] = panel.columns[fields[0]]
    if len(place) and place[0] == 0:
        found[0] = panel.columns[fields[1]][0]
    known = np.maximum.accumulate(np.where(np.isnan(found), 0, np.arange(len(found))))
    found = found[known]
    return 1 / found if rate.startswith(OVER) else found

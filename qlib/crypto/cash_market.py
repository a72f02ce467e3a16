"""Spot: coins for cash, and what every market of coins has: terms, fees by volume, the currency of the account.

backtest(..., exchange_kwargs={"exchange": {"class": "Spot", "module_path": "qlib.crypto.market", "kwargs": {
    "freq": "day", "codes": "all", "deal_price": "close", "fees": (0.0008, 0.001), "contracts": "data/klines"}}})
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from qlib.backtest.decision import Order
from qlib.backtest.exchange import NO_DEALS, Exchange
from qlib.backtest.position import BasePosition
from qlib.backtest.rules.short import Margin, Short
from qlib.crypto.contracts import Contracts
from qlib.crypto.currencies import Currencies, Leg, closes_of
from qlib.crypto.fees import FeeTiers, traded_before
from qlib.errors import ConfigError, InputError, did_you_mean

if TYPE_CHECKING:
    from qlib.backtest.account import Account

Made = TypeVar("Made", bound=Callable[..., Any])
SMALL: Final = ("skip", "error")
REFUSED: Final = ("open_cost", "close_cost", "min_cost", "trade_unit", "short", "limit_threshold")


class Spot(Exchange):
    """Coins for cash.

    Parameters
    ----------
    contracts
        Lots and least orders: see `crypto.contracts.Contracts.of`.
    fees
        See `crypto.fees.FeeTiers.of`.
    maker
        Orders pay the maker's share.
    too_small
        What becomes of an order below the least one: "skip" (nothing is dealt; the log says "lot") or "error".
    currency, rates
        What the account is kept in, and what others are worth in it: see `crypto.currencies`.
    kwargs
        Those of `qlib.backtest.exchange.Exchange`, but the costs, lots and price limits of a stock exchange.
    """

    margined: Margin | None = None  # how much may be opened, where there is margin at all

    def __init__(
        self,
        *args: Any,
        contracts: Any = None,
        fees: Any,
        maker: bool = False,
        too_small: str = "skip",
        currency: str | None = None,
        rates: Mapping[str, float | str] | None = None,
        **kwargs: Any,
    ) -> None:
        for name in REFUSED:
            if kwargs.pop(name, None) is not None:
                raise ConfigError(f"{type(self).__name__}: {name} is said by fees, contracts and leverage here")
        self.contracts = Contracts.of(contracts)
        self.fees = FeeTiers.of(fees)
        self.maker = maker
        if too_small not in SMALL:
            raise ConfigError(
                f"too_small: received {too_small!r}; allowed are {', '.join(SMALL)}{did_you_mean(too_small, SMALL)}"
            )
        self.too_small = too_small
        self._shares: WeakKeyDictionary[Account, tuple[pd.Timestamp, float]] = WeakKeyDictionary()
        kwargs |= {"open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "trade_unit": None, "limit_threshold": None}
        if self.margined is not None:
            kwargs["short"] = Short(margin=self.margined)
        super().__init__(*args, **kwargs)
        self.legs: dict[str, Leg | None] = {}  # of what was ordered; None: paid with cash
        self.any_leg = False
        self.currencies = Currencies(currency, rates, self.contracts, self.quote.instruments)
        self.currencies.load(self.provider, self.quote.times, self.freq)
        terms = {name: self.currencies.terms(name) for name in self.quote.instruments}
        self.spots = frozenset(name for name, one in terms.items() if one is not None and one.kind == "spot")
        self._convert_quotes()

    # prices that a bar begins with: they are converted at the rate before it
    early: tuple[str, ...] = ("$open",)
    prices: tuple[str, ...] = ("$close", "$high", "$low")

    def _convert_quotes(self) -> None:
        """Write prices of spot in money of the account, and volumes of inverse contracts in face, as orders have it.

        Volumes are converted at the close before their bar: what is traded in a bar does not know its end.
        """
        quote, market, currencies = self.quote, self.market, self.currencies
        early = {*self.early}
        late = {*self.prices, self.buy_price, self.sell_price} - early
        volumes = {"$volume", *(field for _, field in (*market.volume.buy, *market.volume.sell))}
        if market.fills is not None and market.fills.impact:
            volumes.add(market.fills.volume)
        rows = len(quote.times)
        self._abroad: list[tuple[int, bool, np.ndarray[Any, Any]]] = []
        for column, name in enumerate(quote.instruments):
            terms = currencies.terms(name)
            if terms is None:
                continue
            known = terms.settle in ("", currencies.currency, *currencies.rates)  # else an order of it is refused
            if known and (terms.inverse or currencies.foreign(name)):
                self._abroad.append((column, terms.inverse, currencies.table(terms.settle, rows)))
            if terms.inverse:
                before = closes_of(self.provider, name, quote.times, self.freq)[:-1]
                for field in volumes & quote.fields.keys():
                    quote.fields[field][:, column] *= before
            elif terms.kind == "spot" and currencies.foreign(name):
                rates = currencies.table(terms.settle, rows)
                for field in (early | late) & quote.fields.keys():
                    quote.fields[field][:, column] *= rates[:-1] if field in early else rates[1:]

    def unit_worth(self, prices: np.ndarray[Any, Any], row: int) -> np.ndarray[Any, Any]:
        """Return what a unit of every instrument is worth in money of the account, at prices known before bar `row`.

        NaN where the rate was not known then.
        """
        if not self._abroad:
            return prices
        found = prices.copy()
        for column, inverse, rates in self._abroad:
            found[column] = (1 / prices[column] if inverse else prices[column]) * rates[row]
        return found

    @classmethod
    def known_kwargs(cls) -> tuple[str, ...]:
        """Names that `**kwargs` may hold, and those of this market: a misspelled one is told the nearest."""
        own = [name for kind in (Spot, cls) for name in signature(kind.__init__).parameters]
        return tuple(dict.fromkeys((*super().known_kwargs(), *(n for n in own if n not in ("self", "args", "kwargs")))))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_shares": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._shares = WeakKeyDictionary()

    def fee_rate(self, order: Order, account: Account | None) -> float:
        """Return the share of the tier that the account's trades of 30 days reach."""
        if account is None or len(self.fees.rows) == 1:
            return self.fees.rate(0.0, maker=self.maker)
        day = order.start_time.normalize()
        known = self._shares.get(account)
        if known is None or known[0] != day:
            rate = self.fees.rate(traded_before(account.trades, day), maker=self.maker)
            known = self._shares[account] = (day, rate)
        return known[1]

    def whole_lots(self, amount: float, factor: float | None, order: Order) -> float:  # noqa: ARG002
        """Return the largest amount of whole lots that may be ordered on the day."""
        if not math.isfinite(amount):
            return amount
        terms = self.contracts.at(order.stock_id, order.start_time)
        whole = terms.floor(amount)
        if not terms.notional and terms.most == math.inf:
            return whole
        price = self.get_deal_price(order.stock_id, order.start_time, order.end_time, order.direction)
        worth = 1.0 if terms.inverse else price
        if whole * worth > terms.most:
            whole = terms.floor(terms.most / worth)
        return whole if whole * worth >= terms.notional else 0.0

    def deal_order(
        self,
        order: Order,
        trade_account: Account | None = None,
        position: BasePosition | None = None,
        dealt_order_amount: Mapping[str, float] = NO_DEALS,
    ) -> tuple[float, float, float]:
        """Execute an order, see `Exchange.deal_order`.

        Raises InputError for an order of something that is not traded at that time.
        """
        self._allowed(order)
        leg = self.legs[order.stock_id] if order.stock_id in self.legs else self.leg_of(order)
        if leg is not None and self.margined is None:
            raise InputError(f"order {said(order)}: it is a contract that pays in {leg.settle}, and Spot trades coins")
        return super().deal_order(order, trade_account, position, dealt_order_amount)

    def _allowed(self, order: Order) -> None:
        terms = self.contracts.at(order.stock_id, order.start_time)
        if not terms.trades_at(order.start_time):
            raise InputError(
                f"order {said(order)}: {order.stock_id} is traded from {terms.listed} to {terms.delisted}, not then"
            )
        if self.too_small == "error" and order.amount and not self.whole_lots(order.amount, None, order):
            value = f" and {terms.notional:g} of value" if terms.notional else ""
            least = f"{max(terms.minimum, terms.lot) * terms.contract:g}{value}"
            raise InputError(f"order {said(order)}: it is below the least order of {least}")

    def leg_of(self, order: Order) -> Leg | None:
        """Return how what is ordered is accounted for, see `Currencies.leg`; its errors name the order."""
        name = order.stock_id
        try:
            self.legs[name] = self.currencies.leg(name)
        except InputError as error:
            raise InputError(f"order {said(order)}: {error}") from error
        self.any_leg |= self.legs[name] is not None
        return self.legs[name]


def say_arguments(market: type[Spot]) -> Callable[[Made], Made]:
    """Give a market, and the function under this decorator, a signature of all that they take instead of `**kwargs`.

    Who checks a configuration then knows every name without building the market.
    """
    taken: dict[str, Parameter] = {}
    for owner in (Exchange, *reversed(market.__mro__)):
        for name, one in signature(vars(owner).get("__init__", object.__init__)).parameters.items():
            if name not in REFUSED and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
                plain = owner is Exchange or name == "self"
                taken[name] = one if plain else one.replace(kind=one.KEYWORD_ONLY)
    for name in ("provider", "fills", "carry"):
        taken.setdefault(name, Parameter(name, Parameter.KEYWORD_ONLY, default=None))

    def with_signature(function: Any, known: dict[str, Parameter]) -> Any:
        ordered = sorted(known.values(), key=lambda one: (one.kind, one.default is not one.empty))
        function.__signature__ = Signature(ordered)
        return function

    with_signature(market.__init__, taken)

    def decorate(function: Made) -> Made:
        own = {n: p for n, p in signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
        made: Made = with_signature(function, {**{n: p for n, p in taken.items() if n != "self"}, **own})
        return made

    return decorate


def said(order: Order) -> str:
    """Return an order in words."""
    side = "buy" if order.direction == Order.BUY else "sell"
    return f"to {side} {order.amount:g} {order.stock_id} at {order.start_time}"


say_arguments(Spot)

"""Positions below zero, and what holding costs: seams that a market fills.

    Exchange(short=True)                                     shorts, gross exposure up to the account's value
    Exchange(short={"borrow": 0.0001, "leverage": 2.0})      0.01 % a bar on what is short, exposure up to twice it
    Exchange(short=Short(margin=..., liquidation=...), carry=[...])      rules of one's own

Three small protocols, each asked at one place:

    Margin        how much more exposure an account may open            before an order is dealt
    Carry         what holding through a bar costs, or earns            at the end of the bar, in cash
    Liquidation   which holdings are closed by force, at which price    after the orders of a bar

What holding costs is taken whatever the cash, so it may leave a debt: no order does. A debt buys nothing; sales pay it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from qlib.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from qlib.backtest.exchange import Exchange
    from qlib.backtest.position import Position


@runtime_checkable
class Margin(Protocol):
    """How much an account may hold.

    `debt` says whether cash may fall below 0 to pay for it.
    """

    @property
    def debt(self) -> bool: ...

    def room(self, equity: float, exposure: float, rate: float, minimum: float) -> float:
        """Money of new exposure that may be opened.

        `equity` is the account's value, `exposure` the value of all holdings without their signs, `rate` and `minimum`
        the cost of the order.
        """
        ...


@runtime_checkable
class Carry(Protocol):
    """What holding costs."""

    @property
    def name(self) -> str: ...

    def due(self, position: Position, exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp) -> float:
        """Money to pay for holding `position` through the bar (below 0: to receive); holdings have the bar's price."""
        ...


@runtime_checkable
class Liquidation(Protocol):
    """When holdings are closed by force."""

    def forced(
        self, position: Position, exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp
    ) -> Iterable[tuple[str, float]]:
        """Return (instrument, price) of the holdings to close in the bar, each as a whole."""
        ...


@dataclass(frozen=True, slots=True)
class Leverage:
    """Margin: exposure up to `limit` times the account's value; above 1 cash may be borrowed.

    >>> Leverage(1.0).room(equity=100.0, exposure=30.0, rate=0.0, minimum=0.0), Leverage(2.0).debt
    (70.0, True)
    """

    limit: float = 1.0

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ConfigError(f"leverage: received {self.limit!r}; a number above 0 is allowed")

    @property
    def debt(self) -> bool:
        return self.limit > 1

    def room(self, equity: float, exposure: float, rate: float, minimum: float) -> float:
        """The cost of the order is paid first, so the limit holds after it."""
        proportional = (self.limit * equity - exposure) / (1 + self.limit * rate)
        return min(proportional, self.limit * (equity - minimum) - exposure)


@dataclass(frozen=True, slots=True)
class Borrow:
    """Carry: `rate` a bar of the quotes on the value of what is short."""

    rate: float
    name: str = "borrow"

    def __post_init__(self) -> None:
        if not self.rate >= 0:
            raise ConfigError(f"borrow: received {self.rate!r}; a number of at least 0 is allowed")

    def due(self, position: Position, exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp) -> float:
        bar = exchange.bar(start, end)
        short = sum(-held["amount"] * held["price"] for held in position.holdings() if held["amount"] < 0)
        return self.rate * (bar.hi - bar.lo) * short


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Liquidation: all is closed at the bar's close where the account is worth less than `share` of its exposure.

    A suspended holding stays.
    """

    share: float

    def forced(
        self, position: Position, exchange: Exchange, start: pd.Timestamp, end: pd.Timestamp
    ) -> Iterable[tuple[str, float]]:
        names = position.get_stock_list()
        closes = exchange.marks(names, start, end)
        prices = [position.get_stock_price(name) if close is None else close
                  for name, close in zip(names, closes, strict=True)]  # fmt: skip
        amounts = [position.get_stock_amount(name) for name in names]
        equity = position.get_cash(include_settle=True) + sum(a * p for a, p in zip(amounts, prices, strict=True))
        exposure = sum(abs(a) * p for a, p in zip(amounts, prices, strict=True))
        if equity >= self.share * exposure:
            return []
        return [(name, close) for name, close in zip(names, closes, strict=True) if close is not None]


@dataclass(frozen=True, slots=True)
class Short:
    """Shorts are allowed; `borrow` is their cost a bar as a share of their value."""

    borrow: float = 0.0
    margin: Margin = field(default_factory=Leverage)
    liquidation: Liquidation | None = None

    @property
    def carry(self) -> tuple[Carry, ...]:
        return (Borrow(self.borrow),) if self.borrow else ()


def short_of(given: Any) -> Short | None:
    """Read the argument `short`: None or False, True, a `Short`, or a dict with borrow, leverage, maintenance.

    >>> short_of({"borrow": 0.001, "leverage": 2}).margin, short_of(False)
    (Leverage(limit=2.0), None)
    """
    if given is None or given is False:
        return None
    if given is True:
        return Short()
    if isinstance(given, Short):
        return given
    if isinstance(given, Mapping):
        allowed = ("borrow", "leverage", "maintenance")
        for name in given:
            if name not in allowed:
                raise ConfigError(
                    f"short: received {name!r}; allowed are {', '.join(allowed)}{did_you_mean(str(name), allowed)}"
                )
        share = given.get("maintenance")
        return Short(
            borrow=float(given.get("borrow", 0.0)),
            margin=Leverage(float(given.get("leverage", 1.0))),
            liquidation=None if share is None else Maintenance(float(share)),
        )
    raise ConfigError(f"short: received {given!r}; allowed are True, False, a dict with borrow, leverage, and a Short")


def carry_of(given: Any) -> tuple[Carry, ...]:
    """Read the argument `carry`: None, a `Carry`, or several of different names."""
    rules = () if given is None else tuple(given) if isinstance(given, tuple | list) else (given,)
    for rule in rules:
        if not isinstance(rule, Carry):
            raise ConfigError(
                f"carry: received {rule!r}; an object with a name and due(position, exchange, start, end)"
            )
    return rules

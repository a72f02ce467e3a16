"""A market as one value: prices, fees, lots, price limits, volume caps, impact, fills, shorts.

`Exchange` keeps Qlib's arguments; `market_of` translates them and nothing else ever reads them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qlib.backtest.rules.fee import Fee
from qlib.backtest.rules.fills import Fills, fills_of
from qlib.backtest.rules.impact import Impact
from qlib.backtest.rules.limit import PriceLimit, price_limit
from qlib.backtest.rules.lot import QLIB_EXTRA, Lot
from qlib.backtest.rules.short import Carry, Short, carry_of, short_of
from qlib.backtest.rules.volume import VolumeCap, volume_cap
from qlib.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Market:
    """The rules together. `buy_price` and `sell_price` are formulas; `compat` is None or "qlib"."""

    buy_price: str
    sell_price: str
    fee: Fee
    lot: Lot
    limit: PriceLimit
    volume: VolumeCap
    impact: Impact
    fills: Fills | None = None
    short: Short | None = None
    carry: tuple[Carry, ...] = ()
    compat: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Every formula the rules need, each once."""
        wanted = (
            self.buy_price,
            self.sell_price,
            "$close",
            "$change",
            "$factor",
            "$volume",
            *self.limit.fields,
            *self.volume.fields,
            *(self.fills.fields if self.fills is not None else ()),
        )
        return tuple(dict.fromkeys(wanted))


def deal_prices(deal_price: Any) -> tuple[str, str]:
    """Read Qlib's `deal_price`: one name for both sides, or (buy formula, sell formula) taken as they are.

    >>> deal_prices("close"), deal_prices("$vwap"), deal_prices(["$open", "($high+$low)/2"])
    (('$close', '$close'), ('$vwap', '$vwap'), ('$open', '($high+$low)/2'))
    """
    if isinstance(deal_price, str):
        price = deal_price if deal_price.startswith("$") else "$" + deal_price
        return price, price
    if isinstance(deal_price, tuple | list) and len(deal_price) == 2 and all(isinstance(p, str) for p in deal_price):
        return deal_price[0], deal_price[1]
    raise ConfigError(
        f"deal_price: received {deal_price!r}; allowed are a field such as 'close' and (buy formula, sell formula)"
    )


def market_of(
    *,
    deal_price: Any,
    limit_threshold: Any,
    volume_threshold: Any,
    open_cost: float,
    close_cost: float,
    min_cost: float,
    impact_cost: float,
    trade_unit: float | None,
    compat: str | None,
    fills: Any = None,
    short: Any = None,
    carry: Any = None,
) -> Market:
    """Translate Qlib's arguments into rules; raises ConfigError naming the argument that cannot be used."""
    buy_price, sell_price = deal_prices(deal_price)
    shorts = short_of(short)
    costs = (*(shorts.carry if shorts is not None else ()), *carry_of(carry))
    names = [rule.name for rule in costs]
    if len(set(names)) < len(names):
        raise ConfigError(f"carry: received the names {', '.join(names)}; each may occur once")
    return Market(
        buy_price=buy_price,
        sell_price=sell_price,
        fee=Fee(open_cost, close_cost, min_cost),
        lot=Lot(trade_unit, extra=QLIB_EXTRA if compat == "qlib" else 0.0),
        limit=price_limit(limit_threshold),
        volume=volume_cap(volume_threshold),
        impact=Impact(impact_cost),
        fills=fills_of(fills),
        short=shorts,
        carry=costs,
        compat=compat,
    )

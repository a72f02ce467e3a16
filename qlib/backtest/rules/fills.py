"""Realistic fills, as options of a market: what a back-test on bars hides.

    Exchange(fills={"half_spread": 0.0005, "impact": 1.0, "need_volume": True})

half_spread     share of the price that every fill loses
impact          Y of the square-root law: an order of Q in a market of volume V and volatility sigma a bar moves the
                price by Y * sigma * sqrt(Q / V); sigma and V are formulas of the bars before, so known at the time
need_volume     no fill in a bar in which nothing was traded
stops           orders with a `stop` are dealt when the bar reaches it, at the stop, or at the open where it gapped over

How much the naive back-test flatters is the column `impact` of `Account.get_attribution()`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from qlib.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Fills:
    """The options; see the module.

    >>> Fills(half_spread=0.001, impact=1.0).share(amount=100.0, volatility=0.02, volume=10_000.0)
    0.003
    """

    half_spread: float = 0.0
    impact: float = 0.0
    volatility: str = "Ref(Std($close/Ref($close,1)-1,20),1)"
    volume: str = "Ref(Mean($volume,20),1)"
    need_volume: bool = False
    stops: bool = False

    def __post_init__(self) -> None:
        for name in ("half_spread", "impact"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"fills: {name}: received {getattr(self, name)!r}; a number of at least 0 is allowed")

    @property
    def fields(self) -> tuple[str, ...]:
        """Formulas that the options need."""
        impact = (self.volatility, self.volume) if self.impact else ()
        return (*impact, *(("$open", "$high", "$low") if self.stops else ()))

    def share(self, amount: float, volatility: float, volume: float) -> float:
        """Share of the price that a fill of `amount` loses.

        Where the volume is unknown, the amount counts as all of it; a volatility that is unknown counts as 0.
        """
        lost = self.half_spread
        if self.impact and amount > 0 and volatility > 0:
            lost += self.impact * volatility * math.sqrt(amount / volume if volume > 0 else 1.0)
        return lost


def fills_of(given: Any) -> Fills | None:
    """Read the argument `fills`: None, a `Fills`, or a dict of its options."""
    if given is None or isinstance(given, Fills):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(f"fills: received {given!r}; allowed are None, a dict and a Fills")
    allowed = [field.name for field in fields(Fills)]
    for name in given:
        if name not in allowed:
            raise ConfigError(
                f"fills: received {name!r}; allowed are {', '.join(allowed)}{did_you_mean(str(name), allowed)}"
            )
    return Fills(**given)

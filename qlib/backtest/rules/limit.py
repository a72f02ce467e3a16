"""When an instrument cannot be bought or sold because its price hit a limit.

Qlib's three forms of `limit_threshold`:

    0.095                              buy blocked where $change >= 0.095, sell blocked where $change <= -0.095
    ("$change>0.095", "$low==$high")   two formulas; where one is true its side is blocked
    None                               no limit; only a suspended instrument (no close) is blocked

A number is held against the price of the trade: with `deal_price="open"` against open / close before - 1, for the
close of the day, and so $change, is not known when the order is dealt. Qlib looks at $change whatever the price.
Formulas are taken as they are; one that reads the close of the bar while orders are dealt at its open is warned of once
(`rules.known`).
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlib.errors import ConfigError

EXPRESSIONS, NUMBER, NONE = "(exp)", "float", "none"


@dataclass(frozen=True, slots=True)
class PriceLimit:
    """`threshold` on the change of the bar, or two formulas, or neither."""

    threshold: float | None = None
    buy: str | None = None
    sell: str | None = None

    @property
    def kind(self) -> str:
        """Qlib's name of the form: "(exp)", "float" or "none"."""
        if self.buy is not None:
            return EXPRESSIONS
        return NONE if self.threshold is None else NUMBER

    @property
    def fields(self) -> tuple[str, ...]:
        """Formulas that `blocked` needs."""
        if self.buy is not None and self.sell is not None:
            return (self.buy, self.sell)
        return () if self.threshold is None else ("$change",)

    def blocked(
        self, columns: Mapping[str, np.ndarray], moved: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return boolean arrays (buying blocked, selling blocked) of the shape of `columns["$close"]`.

        `moved`: the relative change from the close before to the price of a buy, and of a sell; None: `$change`.
        """
        suspended = np.isnan(columns["$close"])
        if self.buy is not None and self.sell is not None:
            up, down = columns[self.buy], columns[self.sell]
            return suspended | _true(up), suspended | _true(down)
        if self.threshold is None:
            return suspended, suspended
        up, down = (columns["$change"],) * 2 if moved is None else moved
        with np.errstate(invalid="ignore"):
            return suspended | (up >= self.threshold), suspended | (down <= -self.threshold)


def _true(values: np.ndarray) -> np.ndarray:
    """Where a formula is true: not 0 and not missing."""
    return values.astype(bool) if values.dtype == bool else (values != 0) & ~np.isnan(values)


def price_limit(limit_threshold: Any) -> PriceLimit:
    """Read Qlib's `limit_threshold`; a list is as good as a tuple and a whole number as a float.

    >>> price_limit(["$change>0.1", "$change<-0.1"]).kind, price_limit(1).kind, price_limit(None).kind
    ('(exp)', 'float', 'none')
    """
    if limit_threshold is None:
        return PriceLimit()
    if isinstance(limit_threshold, numbers.Real) and not isinstance(limit_threshold, bool):
        if not float(limit_threshold) > 0:
            raise ConfigError(f"limit_threshold: received {limit_threshold!r}; a number above 0 is allowed")
        return PriceLimit(threshold=float(limit_threshold))
    if isinstance(limit_threshold, tuple | list) and len(limit_threshold) == 2:
        buy, sell = limit_threshold
        if isinstance(buy, str) and isinstance(sell, str):
            return PriceLimit(buy=buy, sell=sell)
    raise ConfigError(
        f"limit_threshold: received {limit_threshold!r}; allowed are a number such as 0.095, a pair of formulas "
        "(buy blocked, sell blocked), and None"
    )

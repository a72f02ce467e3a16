"""Which amounts exist: whole multiples of a trade unit of real (unadjusted) shares.

Amounts inside the backtest are adjusted like the prices: real shares = amount * factor. `Lot.floor` never returns more
than it was given and never turns a whole number of lots into one less because of the last bit of a float.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from qlib.errors import ConfigError

QLIB_EXTRA = 0.1  # Qlib adds a tenth of a share before it floors, so it may round up


@lru_cache(maxsize=1024)
def _ratio(unit: float) -> tuple[int, int]:
    """The decimal number that a unit is written as, as a fraction."""
    return Fraction(repr(float(unit))).as_integer_ratio()


@dataclass(frozen=True, slots=True)
class Lot:
    """Trade unit in real shares; None: any amount exists.

    >>> Lot(100).floor(250.0, 1.0), Lot(100).floor(99.95, 1.0), Lot(None).floor(0.123, 1.0)
    (200.0, 0.0, 0.123)
    >>> Lot(0.1).floor(0.35, 1.0)
    0.3
    >>> Lot(100, extra=QLIB_EXTRA).floor(99.95, 1.0)      # as Qlib: up to a whole lot
    100.0
    """

    unit: float | None
    extra: float = 0.0

    def __post_init__(self) -> None:
        if self.unit is not None and not self.unit > 0:
            raise ConfigError(f"trade_unit: received {self.unit!r}; a number above 0, or None for no lots, is allowed")

    def size(self, factor: float) -> float | None:
        """One lot in adjusted amount; None without lots."""
        return None if self.unit is None else self.unit / factor

    def floor(self, amount: float, factor: float) -> float:
        """Largest tradable amount up to `amount` (adjusted)."""
        unit = self.unit
        if unit is None or not math.isfinite(amount):
            return amount
        if self.extra:
            return (amount * factor + self.extra) // unit * unit / factor
        lots = amount * factor / unit
        whole = math.floor(lots + 1e-9 + abs(lots) * 1e-14)
        top, bottom = _ratio(unit)  # 3 lots of 0.1 are 0.3, not 3 * 0.1
        return min(amount, whole * top / bottom / factor)

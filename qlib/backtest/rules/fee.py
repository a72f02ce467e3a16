"""What a trade costs: a share of its value, but not less than a minimum per order."""

from __future__ import annotations

from dataclasses import dataclass

from qlib.errors import ConfigError

NOTHING = 1e-5  # a trade value at or below this is no trade


@dataclass(frozen=True, slots=True)
class Fee:
    """Proportional cost of buying and selling and the least an order costs (in money).

    >>> fee = Fee(buy=0.001, sell=0.002, minimum=5.0)
    >>> fee.cost(10_000.0, fee.buy), fee.cost(100.0, fee.buy), fee.cost(0.0, fee.buy)
    (10.0, 5.0, 0.0)
    >>> fee.affordable(1_001.0, fee.buy)      # 996 + the minimum of 5
    996.0
    """

    buy: float
    sell: float
    minimum: float

    def __post_init__(self) -> None:
        for name, value in (("open_cost", self.buy), ("close_cost", self.sell), ("min_cost", self.minimum)):
            if not value >= 0:
                raise ConfigError(f"{name}: received {value!r}; a number of at least 0 is allowed")

    def cost(self, value: float, rate: float) -> float:
        """Cost of trading `value` at the cost share `rate`; nothing traded costs nothing."""
        return max(value * rate, self.minimum) if value > NOTHING else 0.0

    def affordable(self, cash: float, rate: float) -> float:
        """Largest value that `cash` buys, its own cost included; 0 when cash does not cover the minimum."""
        return max(0.0, min(cash / (1 + rate), cash - self.minimum))

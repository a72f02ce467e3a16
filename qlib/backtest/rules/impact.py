"""What size costs: a share of the trade's value that grows with its square share of the bar's traded value."""

from __future__ import annotations

from dataclasses import dataclass

from qlib.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Impact:
    """Cost share `coefficient * (trade value / traded value of the bar) ** 2`; the coefficient alone in a dead bar.

    >>> Impact(0.1).share(500.0, 1_000.0), Impact(0.1).share(1_000.0, 0.0), Impact(0.0).share(1.0, 0.0)
    (0.025, 0.1, 0.0)
    """

    coefficient: float = 0.0

    def __post_init__(self) -> None:
        if not self.coefficient >= 0:
            raise ConfigError(f"impact_cost: received {self.coefficient!r}; a number of at least 0 is allowed")

    def share(self, value: float, traded: float) -> float:
        """Extra cost share of trading `value` in a bar that traded `traded` (money, both)."""
        if not traded > 0:  # also when it is NaN
            return self.coefficient
        return self.coefficient * (value / traded) ** 2

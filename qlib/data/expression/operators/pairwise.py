"""Operators over the last N rows of two formulas; N = 0 means all rows so far.

Rows where either is missing or infinite are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qlib.data.expression.node import NodeError, Scalar
from qlib.data.expression.operators.rolling import FLAT, QLIB_FLAT, Windowed
from qlib.data.expression.parameters import Series, Window
from qlib.data.expression.registry import operator

if TYPE_CHECKING:
    from qlib.data.expression.lowering import Builder, Result


class PairWindowed(Windowed):
    """A statistic of two formulas over one window."""

    __slots__ = ()
    parameters = (Series("feature_left"), Series("feature_right"), Window("N"))

    def settle(self) -> None:
        super().settle()
        if self.compat == "qlib" and self.window == 0:
            raise NodeError(f"Qlib's {self.name} has no N = 0", 2)

    @property
    def window(self) -> int:
        return self.arguments[2]  # type: ignore[return-value]

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        return build.statistic("pair", self.kernel, arguments[0], arguments[1], window=self.window)  # type: ignore[arg-type]


@operator
class Cov(PairWindowed):
    """Covariance, divided by n - 1."""

    __slots__ = ()
    kernel = "cov"


@operator
class Corr(PairWindowed):
    """Pearson's correlation; NaN where either does not vary (relative to its level)."""

    __slots__ = ()
    kernel = "corr"

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        left, right = arguments[:2]
        if self.compat != "qlib":
            return build.statistic("pair", "corr", left, right, window=self.window, parameter=FLAT)  # type: ignore[arg-type]
        value = build.statistic("pair", "corr", left, right, window=self.window)  # type: ignore[arg-type]
        for side in (left, right):
            spread = build.statistic("moments", "std", side, window=self.window)  # type: ignore[arg-type]
            value = build.series("blank_where_flat", value, spread, parameter=QLIB_FLAT)
        return value

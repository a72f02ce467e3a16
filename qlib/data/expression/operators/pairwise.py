"""Operators over the last N rows of two formulas; N = 0 means all rows so far.

Rows where either is missing or infinite are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qlib.data.expression.node import NodeError, Scalar
from qlib.data.expression.operators.rolling import FLAT, QLIB_FLAT, Windowed
from qlib.data.expression.parameters import Series, Window
from qlib.data.expression.registry import operator

if TYPE_CHECKING:
    from qlib.data.expression.engine import Tile


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

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        tile.roll_pair(self.kernel, arguments[0], arguments[1], self.window, 0.0, out)


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

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        tolerance = 0.0 if self.compat == "qlib" else FLAT
        tile.roll_pair(self.kernel, arguments[0], arguments[1], self.window, tolerance, out)
        if self.compat == "qlib":
            for side in arguments[:2]:
                tile.blank_where_flat(side, self.window, QLIB_FLAT, out)

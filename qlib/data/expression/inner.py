"""Formulas over arrays at hand: what an operator needs that computes other formulas on the way.

    Given("x", "float64")                       a leaf: the column x of the panel, in its own dtype
    exactly([Mean(Given("x", "float64"), 0)], panel)            (sites.py)

The panel may have other rows than the one that the operator was called with: the days of a market as if each were an
instrument of its own (resample.py), or some of the rows only (fewer_rows.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlib.data.expression.node import STORED, PanelOperator, Scalar
from qlib.data.expression.span import Span
from qlib.data.panel import Panel


class Given(PanelOperator):
    """A column of the panel by its name, in the dtype that is told: what a formula cannot be typed with."""

    __slots__ = ()
    name = "Given"
    parameters = ()

    def settle(self) -> None:
        self.dtype, self.span = str(self.arguments[1]), Span()

    def kernel_name(self) -> str:
        return "column"

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        return panel.columns[str(arguments[0])].astype(STORED[self.dtype], copy=False)

    def write(self, arguments: list[str]) -> str:
        return f"#{arguments[0]}"


@dataclass(frozen=True, slots=True)
class SomeRows(Panel):
    """Some of the rows of another panel: `at` holds the calendar position of each, which leaves holes.

    Windows walk the rows that are there, and `positions` tells where they stand.
    """

    at: np.ndarray | None = None

    def positions(self) -> np.ndarray:
        """Return the calendar position of every row, int64 of shape (rows,)."""
        assert self.at is not None
        return self.at

    def __reduce__(self) -> tuple:
        return SomeRows, (self.instruments, self.start, self.first, self.columns, self.around, self.at)

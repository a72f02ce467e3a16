"""Operators that leave rows out: what is built on them walks the rows that are left.

    Mean(Select($volume > 0, $close), 5)     over the last five rows with a volume, however far back
    Select($volume > 0, $close) + $open      the rows of either side; NaN where one has none

A formula with such an operator in it is computed by `fewer_rows.py`, and a frame of such formulas has fewer rows.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qlib.data.expression import runs
from qlib.data.expression.node import GAPPED, Node, NodeError, PanelOperator, Scalar
from qlib.data.expression.parameters import LONGEST_WINDOW, Parameter, Series
from qlib.data.expression.registry import operator
from qlib.data.expression.span import Span
from qlib.data.panel import Panel


class Dropping(PanelOperator):
    """An operator that leaves out some rows of the formula that stands at place `of` among its arguments.

    `living` are those that do and that some formula holds: where there is none, nobody needs to look for one.
    """

    __slots__ = ()
    of: ClassVar[int] = 0
    living: ClassVar[weakref.WeakSet[Dropping]] = weakref.WeakSet()

    def settle(self) -> None:
        super().settle()
        if self.drops:
            self.living.add(self)

    @property
    def feature(self) -> Node:
        return self.arguments[self.of]  # type: ignore[return-value]

    @property
    def drops(self) -> bool:
        """Whether it leaves rows out at all."""
        return True

    def result_dtype(self) -> str:
        return GAPPED[self.feature.dtype] if self.drops else self.feature.dtype

    def keeps(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        """Return for every row of the panel, which are those of the feature, whether it stays.

        The values of the feature are not looked at: whoever asks need not compute them.
        """
        raise NotImplementedError

    def values(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        """Return the value of every row, also of those that do not stay."""
        return arguments[self.of]  # type: ignore[return-value]

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        values = self.values(arguments, panel)
        return np.where(self.keeps(arguments, panel), values, np.float32(np.nan)) if self.drops else values


@operator
class Select(Dropping):
    """The rows of `feature` at which `condition` is true.

    A condition that is a number is true where it is not 0; one that is missing is false.  compat="qlib": a number is
    refused.
    """

    __slots__ = ()
    parameters = (Series("condition"), Series("feature"))
    of = 1

    def settle(self) -> None:
        super().settle()
        condition = self.inputs[0]
        if self.compat == "qlib" and condition.dtype not in ("bool", "flag"):
            raise NodeError(f"{self.name}: Qlib takes a condition such as $close > $open, received a number", 0)

    def keeps(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        condition = arguments[0]
        assert isinstance(condition, np.ndarray)
        return condition if condition.dtype == np.bool_ else (condition != 0) & ~np.isnan(condition)


@dataclass(frozen=True, slots=True)
class Rows(Parameter):
    """A number of rows, above 0 or below it by `sign`; None for none."""

    sign: int

    def complaint(self, value: Node | Scalar) -> str | None:
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value * self.sign <= LONGEST_WINDOW:
            return None
        low, high = sorted((self.sign, self.sign * LONGEST_WINDOW))
        return f"{self.name} must be None or a whole number from {low} to {high}, received {value!r}"


@operator
class Cut(Dropping):
    """The formula itself: no value depends on where a query begins, so there is nothing to cut.

    compat="qlib": `left` more rows are loaded before the query and `abs(right)` more after it, and as many of the rows
    that are found are left out; where the data begin or end, real rows are lost.
    """

    __slots__ = ()
    parameters = (Series("feature"), Rows("left", 1), Rows("right", -1))

    @classmethod
    def matched(cls, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Both numbers may be left out."""
        names = [parameter.name for parameter in cls.parameters]
        absent = {name: None for name in names[max(len(positional), 1) :]}
        return super().matched(positional, {**absent, **named})

    @property
    def drops(self) -> bool:
        return self.compat == "qlib" and (self.left, self.right) != (0, 0)

    @property
    def left(self) -> int:
        return self.arguments[1] or 0  # type: ignore[return-value]

    @property
    def right(self) -> int:
        return abs(self.arguments[2] or 0)  # type: ignore[arg-type,return-value]

    def reach(self, inner: Span) -> Span:
        return inner + Span(self.left, self.right) if self.compat == "qlib" else inner

    def keeps(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        row = np.arange(panel.rows)
        return (row - runs.first_row(panel.start) >= self.left) & (runs.last_row(panel.start) - row >= self.right)

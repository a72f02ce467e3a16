"""Operators that read another row of the same instrument; N < 0 reads the future."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qlib.data.expression.node import GAPPED, Node, Operator, Scalar
from qlib.data.expression.parameters import Series, Window
from qlib.data.expression.registry import operator
from qlib.data.expression.span import EVERYTHING, Span

if TYPE_CHECKING:
    from qlib.data.expression.engine import Tile


class Shift(Operator):
    """A formula read N rows ago."""

    __slots__ = ()
    parameters = (Series("feature"), Window("N", ahead=True))

    @property
    def rows(self) -> int:
        return self.arguments[1]  # type: ignore[return-value]

    @property
    def feature(self) -> Node:
        return self.inputs[0]

    def kernel_name(self) -> str:
        return "shift" if self.rows else "origin"

    def result_dtype(self) -> str:
        return GAPPED[self.feature.dtype]


@operator
class Ref(Shift):
    """The value N rows ago, NaN where the instrument has no such row; N = 0 is the value itself.

    compat="qlib": with N = 0 the first value of the query on every row.
    """

    __slots__ = ()

    def reach(self, inner: Span) -> Span:
        return inner.shifted(self.rows)

    def kernel_name(self) -> str:
        return super().kernel_name() if self.rows or self.compat == "qlib" else "copy"

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        if self.rows:
            tile.roll("shift", arguments[0], self.rows, 0.0, out)
        elif self.compat == "qlib":
            tile.roll("origin", arguments[0], 0, 0.0, out)
        else:
            np.copyto(out, arguments[0], casting="same_kind")  # type: ignore[arg-type]


@operator
class Delta(Shift):
    """The value minus the one N rows ago; N = 0 subtracts that of the first row since the listing.

    N < 0 compares with the future, but with no row after the last of the query: there it is NaN, as in Qlib.

    compat="qlib": N - 1 rows are loaded before the query and none after it, and N = 0 subtracts the query's first row.
    """

    __slots__ = ()

    def result_dtype(self) -> str:
        dtype = super().result_dtype()
        return "float32" if dtype in ("flag", "date") else dtype

    def reach(self, inner: Span) -> Span:
        if self.compat == "qlib":
            return inner + Span(back=max(self.rows - 1, 0))
        return inner.shifted(self.rows) if self.rows else inner + Span(back=EVERYTHING)

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        values = tile.real(arguments[0])
        before = tile.scratch(values.dtype)
        if self.rows:
            tile.roll("shift", values, self.rows, 0.0, before)
        else:
            tile.roll("origin", values, 0, 0.0, before)
        np.subtract(values, before, out=out, casting="same_kind")
        if self.rows < 0:
            tile.blank_after_query(-self.rows, out)
        tile.give_back(before)

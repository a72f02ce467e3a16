"""Operators that read another row of the same instrument; N < 0 reads the future."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qlib.data.expression.node import GAPPED, Node, Operator, Scalar
from qlib.data.expression.parameters import Series, Window
from qlib.data.expression.registry import operator
from qlib.data.expression.span import EVERYTHING, Span

if TYPE_CHECKING:
    from qlib.data.expression.lowering import Builder, Result


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

    def as_question(self) -> Node:
        asked = self.feature.as_question()
        return self if asked is self.feature else type(asked)(self, compat=self.compat)

    def kernel_name(self) -> str:
        return super().kernel_name() if self.rows or self.compat == "qlib" else "copy"

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        x: Result = arguments[0]  # type: ignore[assignment]
        if self.rows:
            return build.shift(x, self.rows)
        return build.series("origin", x, wide=x.wide) if self.compat == "qlib" else x


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

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        x: Result = arguments[0]  # type: ignore[assignment]
        before = build.shift(x, self.rows) if self.rows else build.series("origin", x, wide=x.wide)
        change = build.rows("sub", x, before, wide=x.wide)
        return build.series("blank_after_query", change, wide=x.wide, window=-self.rows) if self.rows < 0 else change

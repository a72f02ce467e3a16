"""Operators that read another instrument: the benchmark beside the stock, the major coin beside the small one.

The formula is evaluated over the rows of the other instrument, all of its history included that the formula looks back
on, and its value stands at the same calendar position here; NaN where the other has no row.  The rows of the result are
those of both: a formula about another instrument alone has that one's rows, whoever is asked.
"""

from __future__ import annotations

from qlib.data.expression.node import Node, NodeError, Scalar, looks_across
from qlib.data.expression.parameters import Series, Text
from qlib.data.expression.registry import operator
from qlib.data.expression.sites import Remote


class OfAnother(Remote):
    """A formula, evaluated for another instrument than the row's."""

    __slots__ = ()

    def __new__(cls, *arguments: Node | Scalar, compat: str | None = None) -> OfAnother:
        # Names of instruments are files, and read without regard to case: one spelling is one node.
        plain = (a.strip().lower() if isinstance(a, str) else a for a in arguments)
        return super().__new__(cls, *plain, compat=compat)  # type: ignore[return-value]

    @property
    def site(self) -> str:
        return str(self.arguments[1 - self.place])

    def settle(self) -> None:
        super().settle()
        if looks_across(self.feature):
            raise NodeError(
                f"{self.name}: {self.feature} compares the instruments of a query with each other, and where a formula "
                f"is evaluated for {self.site}, that one is alone",
                self.place,
            )

    def kernel_name(self) -> str:
        return "elsewhere"


@operator
class ChangeInstrument(OfAnother):
    """The formula `feature`, evaluated for `instrument`, at the same calendar position; NaN where that has no row.

    >>> from qlib.data.expression.explain import explain
    >>> explain("ChangeInstrument('SH000300', Mean($close, 5))")
    ChangeInstrument('sh000300',Mean($close,5))  reads sh000300:$close  back 4  ahead 0  kernel elsewhere  float64
    """

    __slots__ = ()
    parameters = (Text("instrument"), Series("feature"))
    place = 1


@operator
class Mask(OfAnother):
    """The same as `ChangeInstrument(instrument, feature)`, its arguments the other way round."""

    __slots__ = ()
    parameters = (Series("feature"), Text("instrument"))
    place = 0

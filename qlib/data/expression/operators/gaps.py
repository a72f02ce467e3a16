"""Operators that ask for gaps, or fill them.  A gap is NaN; infinity is a value.

IsNull, IsInf        is it one?
FFillNan, BFillNan   the nearest value before, or after
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qlib.data.expression import runs
from qlib.data.expression.node import Node, PanelOperator, Scalar
from qlib.data.expression.operators.elementwise import One
from qlib.data.expression.parameters import Series
from qlib.data.expression.registry import operator
from qlib.data.expression.span import EVERYTHING, Span
from qlib.data.kernels import last_value, next_value
from qlib.data.panel import Panel

if TYPE_CHECKING:
    from qlib.data.expression.lowering import Builder, Result


class OfOne(PanelOperator):
    """An operator on one formula."""

    __slots__ = ()
    parameters = (Series("feature"),)

    @property
    def feature(self) -> Node:
        return self.inputs[0]


@operator
class IsNull(One):
    """Whether the value is NaN; a boolean read from a row that is not there (`Ref($x>0,1)`) is."""

    __slots__ = ()
    function = np.isnan
    code = "ne"

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        (x,) = arguments
        assert not isinstance(x, Scalar)
        return build.rows("ne", x, x, wide=x.wide, answer=False, revives=True)  # NaN alone is not itself


@operator
class IsInf(One):
    """Whether the value is infinite, of either sign."""

    __slots__ = ()
    function = np.isinf
    code = "eq"

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        (x,) = arguments
        assert not isinstance(x, Scalar)
        size = build.rows("abs", x, wide=x.wide)
        return build.rows("eq", size, np.inf, wide=x.wide, answer=False, revives=True)


class Fill(OfOne):
    """NaN replaced by another row's value of the same instrument."""

    __slots__ = ()

    def result_dtype(self) -> str:
        return self.feature.dtype


@operator
class FFillNan(Fill):
    """The last value that is not NaN, however long ago (it crosses days); NaN before the first.

    The whole history is read.  compat="qlib": only the rows that the query loads are, so that the first rows of a
    query stay NaN where its first value is missing.
    """

    __slots__ = ()

    def reach(self, inner: Span) -> Span:
        return inner if self.compat == "qlib" else inner + Span(back=EVERYTHING)

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        values = arguments[0]
        assert isinstance(values, np.ndarray)
        return runs.spread(last_value, values, panel.start) if values.dtype.kind == "f" else values


@operator
class BFillNan(Fill):
    """The next value that is not NaN, however far ahead (it crosses days); NaN after the last.

    It looks into the future, without a bound: good for cleaning what is past, never for a feature.  compat="qlib":
    only as far as the query loads, so that a value depends on where the query ends.
    """

    __slots__ = ()

    def reach(self, inner: Span) -> Span:
        return inner if self.compat == "qlib" else inner + Span(ahead=EVERYTHING)

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        values = arguments[0]
        assert isinstance(values, np.ndarray)
        return runs.spread(next_value, values, panel.start) if values.dtype.kind == "f" else values

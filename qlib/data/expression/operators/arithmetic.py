"""Operators on single rows: arithmetic, larger and smaller, sign, logarithm.

NaN goes through; x / 0 is infinite and 0 / 0 is NaN; the logarithm of 0 is -infinity, that of a negative number NaN.
Dtypes are numpy's: a float32 column and a number give float32, a rolling result makes it float64.  Of two booleans, Add
is "or", Mul is "and", and Sub is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qlib.data.expression.node import Node, Operator, PanelOperator, Scalar
from qlib.data.expression.operators.elementwise import One, Two
from qlib.data.expression.registry import operator

if TYPE_CHECKING:
    from qlib.data.expression.lowering import Builder, Result
    from qlib.data.panel import Panel


@operator
class Abs(One):
    """Absolute value."""

    __slots__ = ()
    function = np.absolute
    code = "abs"
    of_booleans = "copy"


@operator
class Log(One):
    """Natural logarithm.

    compat="qlib": of float32 values it is numpy's, whose last digit is its own; a correlation near 0 shows it.
    """

    __slots__ = ()
    function = np.log
    code = "log"

    @classmethod
    def bind(
        cls, positional: list[Node | Scalar], named: dict[str, Node | Scalar], *, compat: str | None = None
    ) -> Operator:
        node = super().bind(positional, named, compat=compat)
        numpys = compat == "qlib" and node.inputs[0].dtype == "float32"
        return LogOfNumpy(*node.arguments, compat=compat) if numpys else node


class LogOfNumpy(PanelOperator):
    """`Log` as numpy computes it of float32 values."""

    __slots__ = ()
    name = "Log"
    parameters = Log.parameters

    def result_dtype(self) -> str:
        return "float32"

    def kernel_name(self) -> str:
        return "numpy.log"

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:  # noqa: ARG002
        with np.errstate(all="ignore"):
            return np.log(arguments[0])  # type: ignore[arg-type]


@operator
class Sign(One):
    """-1, 0 or 1 as float32; NaN stays NaN."""

    __slots__ = ()
    function = np.sign
    code = "sign"

    def result_dtype(self) -> str:
        return "float32"

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        return build.rows("sign", *arguments, wide=False)  # type: ignore[arg-type]


@operator
class Add(Two):
    """left + right."""

    __slots__ = ()
    function = np.add
    code = "add"
    of_booleans = "or"


@operator
class Sub(Two):
    """left - right."""

    __slots__ = ()
    function = np.subtract
    code = "sub"


@operator
class Mul(Two):
    """left * right."""

    __slots__ = ()
    function = np.multiply
    code = "mul"
    of_booleans = "and"


@operator
class Div(Two):
    """left / right."""

    __slots__ = ()
    function = np.divide
    code = "div"


@operator
class Power(Two):
    """left ** right."""

    __slots__ = ()
    function = np.power
    code = "pow"
    floating = True


@operator
class FloorDiv(Two):
    """left // right, rounded towards minus infinity (not in Qlib)."""

    __slots__ = ()
    function = np.floor_divide
    code = "floordiv"
    floating = True


@operator
class Mod(Two):
    """left % right, with the sign of the right side (not in Qlib)."""

    __slots__ = ()
    function = np.remainder
    code = "mod"
    floating = True


@operator
class Greater(Two):
    """The larger of both (not a comparison); NaN where either is."""

    __slots__ = ()
    function = np.maximum
    code = "greater"
    of_booleans = "or"


@operator
class Less(Two):
    """The smaller of both (not a comparison); NaN where either is."""

    __slots__ = ()
    function = np.minimum
    code = "less"
    of_booleans = "and"

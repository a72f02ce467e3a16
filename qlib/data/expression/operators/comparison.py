"""Operators that ask a question: comparisons, their combinations, and the choice between two formulas.

A comparison with NaN is False, but `!=` with NaN is True.  And, Or and Not take booleans and whole numbers; a boolean
read from another row (`Ref($close>$open,1)`) counts as False where that row is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qlib.data.expression.lowering import WIDE
from qlib.data.expression.node import STORED, Node, NodeError, Operator, Scalar
from qlib.data.expression.operators.elementwise import Elementwise, One, Two, dtype_name
from qlib.data.expression.parameters import Series, Value
from qlib.data.expression.registry import operator

if TYPE_CHECKING:
    from qlib.data.expression.lowering import Builder, Result


@operator
class Gt(Two):
    """left > right."""

    __slots__ = ()
    function = np.greater
    code = "gt"


@operator
class Ge(Two):
    """left >= right."""

    __slots__ = ()
    function = np.greater_equal
    code = "ge"


@operator
class Lt(Two):
    """left < right."""

    __slots__ = ()
    function = np.less
    code = "lt"


@operator
class Le(Two):
    """left <= right."""

    __slots__ = ()
    function = np.less_equal
    code = "le"


@operator
class Eq(Two):
    """left == right."""

    __slots__ = ()
    function = np.equal
    code = "eq"


@operator
class Ne(Two):
    """left != right."""

    __slots__ = ()
    function = np.not_equal
    code = "ne"


class Logical(Elementwise):
    """A combination of questions; bit by bit where they are whole numbers."""

    __slots__ = ()

    def __new__(cls, *arguments: Node | Scalar, compat: str | None = None) -> Logical:
        asked = (a.as_question() if isinstance(a, Node) else a for a in arguments)
        return super().__new__(cls, *asked, compat=compat)  # type: ignore[return-value]

    def kinds(self) -> list[Scalar]:
        kinds = ["bool" if kind == "flag" else kind for kind in super().kinds()]
        if wrong := [str(kind) for kind in kinds if kind not in ("bool", "int64") and type(kind) not in (int, bool)]:
            raise NodeError(f"{self.name} joins questions such as $close > $open, received {' and '.join(wrong)}")
        return kinds


@operator
class And(Logical, Two):
    """Both are true."""

    __slots__ = ()
    function = np.bitwise_and
    code = "bitand"
    of_booleans = "and"


@operator
class Or(Logical, Two):
    """One is true, or both."""

    __slots__ = ()
    function = np.bitwise_or
    code = "bitor"
    of_booleans = "or"


@operator
class Not(Logical, One):
    """The opposite."""

    __slots__ = ()
    function = np.invert
    code = "bitnot"
    of_booleans = "not"


@operator
class If(Operator):
    """feature_left where the condition is true, else feature_right.

    A condition that is a number is true where it is not 0, and false where it is NaN (Qlib: true).
    """

    __slots__ = ()
    parameters = (Series("condition"), Value("feature_left"), Value("feature_right"))

    def result_dtype(self) -> str:
        left, right = (np.ones(1, STORED[a.dtype]) if isinstance(a, Node) else a for a in self.arguments[1:])
        return dtype_name(np.result_type(left, right))

    def kernel_name(self) -> str:
        return "choose"

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        condition, left, right = arguments
        kind = self.inputs[0].dtype
        if kind != "bool":
            holds = "holds_or_missing" if self.compat == "qlib" else "holds"
            condition = build.rows(holds, condition, wide=kind in WIDE, answer=False, revives=True)  # type: ignore[arg-type]
        return build.choose(condition, left, right, wide=self.dtype in WIDE)  # type: ignore[arg-type]

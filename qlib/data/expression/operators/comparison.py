"""Operators that ask a question: comparisons, their combinations, and the choice between two formulas.

A comparison with NaN is False, but `!=` with NaN is True.  And, Or and Not take booleans and whole numbers; a boolean
read from another row (`Ref($close>$open,1)`) counts as False where that row is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qlib.data.expression.node import STORED, Node, NodeError, Operator, Scalar
from qlib.data.expression.operators.elementwise import Elementwise, One, Two, dtype_name
from qlib.data.expression.parameters import Series, Value
from qlib.data.expression.registry import operator

if TYPE_CHECKING:
    from qlib.data.expression.engine import Tile


@operator
class Gt(Two):
    """left > right."""

    __slots__ = ()
    function = np.greater


@operator
class Ge(Two):
    """left >= right."""

    __slots__ = ()
    function = np.greater_equal


@operator
class Lt(Two):
    """left < right."""

    __slots__ = ()
    function = np.less


@operator
class Le(Two):
    """left <= right."""

    __slots__ = ()
    function = np.less_equal


@operator
class Eq(Two):
    """left == right."""

    __slots__ = ()
    function = np.equal


@operator
class Ne(Two):
    """left != right."""

    __slots__ = ()
    function = np.not_equal


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

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        flags = [isinstance(a, np.ndarray) and a.dtype == np.float32 for a in arguments]
        super().run([a == 1 if flag else a for a, flag in zip(arguments, flags, strict=True)], tile, out)


@operator
class And(Logical, Two):
    """Both are true."""

    __slots__ = ()
    function = np.bitwise_and


@operator
class Or(Logical, Two):
    """One is true, or both."""

    __slots__ = ()
    function = np.bitwise_or


@operator
class Not(Logical, One):
    """The opposite."""

    __slots__ = ()
    function = np.invert


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
        return "numpy.where"

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        condition, left, right = arguments
        assert isinstance(condition, np.ndarray)
        if condition.dtype != np.bool_:
            missing_is_true = self.compat == "qlib"
            condition = condition != 0 if missing_is_true else (condition != 0) & (condition == condition)  # noqa: PLR0124  NaN
        np.copyto(out, right, casting="same_kind")  # type: ignore[arg-type]
        np.copyto(out, left, where=condition, casting="same_kind")  # type: ignore[arg-type]

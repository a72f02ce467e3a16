"""Operators that ask a question: comparisons, their combinations, and the choice between two formulas.

A comparison with NaN is False, but `!=` with NaN is True.  And, Or and Not take booleans and whole numbers; a boolean
read from another row (`Ref($close>$open,1)`) counts as False where that row is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qlib.data.expression.node import STORED, Node, NodeError, Operator, Scalar
from qlib.data.expression.operators.arithmetic import One, Two
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


def _logical(operator_: Operator) -> str:
    """Return the dtype of a combination of questions."""
    kinds = [a.dtype if isinstance(a, Node) else type(a).__name__ for a in operator_.arguments]
    if wrong := [kind for kind in kinds if kind not in ("bool", "flag", "int64", "int")]:
        message = f"{operator_.name} joins questions such as $close > $open, received {' and '.join(wrong)}"
        raise NodeError(message)
    return "int64" if all(kind in ("int64", "int") for kind in kinds) else "bool"


def _answers(value: Any, dtype: str) -> Any:
    """A flag as plain booleans, a gap being False."""
    if isinstance(value, np.ndarray):
        return value == 1 if value.dtype == np.float32 else value
    return bool(value) if dtype == "bool" else value


@operator
class And(Two):
    """Both are true; bit by bit for whole numbers."""

    __slots__ = ()
    function = np.bitwise_and

    def result_dtype(self) -> str:
        _logical(self)
        return super().result_dtype() if all(_is_plain(a) for a in self.arguments) else "bool"

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        super().run([_answers(a, "") for a in arguments], tile, out)


@operator
class Or(And):
    """One is true, or both; bit by bit for whole numbers."""

    __slots__ = ()
    function = np.bitwise_or


@operator
class Not(One):
    """The opposite; every bit of whole numbers."""

    __slots__ = ()
    function = np.invert

    def result_dtype(self) -> str:
        return _logical(self)

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        super().run([_answers(a, "") for a in arguments], tile, out)


def _is_plain(argument: Node | Scalar) -> bool:
    return not (isinstance(argument, Node) and argument.dtype == "flag")


@operator
class If(Operator):
    """feature_left where the condition is true, else feature_right.

    A condition that is a number is true where it is not 0, and false where it is NaN (Qlib: true).
    """

    __slots__ = ()
    parameters = (Series("condition"), Value("feature_left"), Value("feature_right"))

    def result_dtype(self) -> str:
        samples = [np.ones(1, STORED[a.dtype]) if isinstance(a, Node) else a for a in self.arguments[1:]]
        char = np.where([True], *samples).dtype.char
        return {"f": "float32", "d": "float64", "?": "bool"}.get(char, "int64")

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

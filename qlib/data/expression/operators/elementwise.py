"""What the operators on single rows share: numpy decides the dtype, an instruction of elementwise.hpp computes.

A "flag" (a boolean with gaps, see node.py) takes part in arithmetic as the float32 it is stored in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from qlib.data.expression.lowering import WIDE
from qlib.data.expression.node import STORED, Node, NodeError, Operator, Scalar
from qlib.data.expression.parameters import Series, Value

if TYPE_CHECKING:
    from qlib.data.expression.lowering import Builder, Result

# What makes a number of a missing value: NaN ** 0 is 1, and no whole number is NaN.
REVIVING: Final = frozenset(("pow", "bitand", "bitor", "bitnot"))


class Elementwise(Operator):
    """One numpy function of one or two arguments, applied row by row.

    `function` must be a ufunc.  `floating`: whole numbers and booleans are made float64 first, so that a division by
    zero or a negative power of whole numbers gives infinity or a fraction instead of numpy's refusal.
    """

    __slots__ = ()

    function: ClassVar[Any]  # a numpy.ufunc: the dtype of the result is what numpy says
    code: ClassVar[str]  # the instruction
    of_booleans: ClassVar[str] = ""  # the instruction where all is boolean, if it is another
    floating: ClassVar[bool] = False

    def result_dtype(self) -> str:
        kinds = self.kinds()
        dtype = _numpy_says(self.function, self.floating, tuple((type(kind), kind) for kind in kinds))
        if dtype is None:
            raise NodeError(f"{self.name} does not take {' and '.join(map(str, kinds))}")
        return dtype

    def kinds(self) -> list[Scalar]:
        """Return the dtypes of the arguments that are formulas, and the others themselves."""
        return [a.dtype if isinstance(a, Node) else a for a in self.arguments]

    def kernel_name(self) -> str:
        return self.code

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        kinds = self.kinds()
        if self.dtype == "bool":
            return build.rows(*self.question(kinds), *arguments, wide=_compared_wide(kinds), answer=False, revives=True)  # type: ignore[arg-type]
        wide = self.dtype in WIDE
        return build.rows(self.code, *arguments, wide=wide, answer=wide, revives=self.code in REVIVING)  # type: ignore[arg-type]

    def question(self, kinds: list[Scalar]) -> tuple[str]:
        """Return the instruction where the result is a boolean."""
        return (self.of_booleans or self.code,)


class One(Elementwise):
    """An operator on one formula."""

    __slots__ = ()
    parameters = (Series("feature"),)


class Two(Elementwise):
    """An operator on two formulas, one of which may be a number."""

    __slots__ = ()
    parameters = (Value("feature_left"), Value("feature_right"))


def dtype_name(dtype: np.dtype) -> str:
    """Return our name of a numpy dtype; float16 and small integers, which we never keep, are widened."""
    return {"e": "float32", "f": "float32", "d": "float64", "?": "bool"}.get(dtype.char, "int64")


def _lift(value: Any, dtype: str, floating: bool) -> Any:
    """Make room for the result where numpy would answer in int8 or float16, or refuse."""
    if not isinstance(value, np.ndarray) or value.dtype.char in "fd":
        return value
    if floating and value.dtype.kind in "bi":
        return value.astype(np.float64)
    if value.dtype == np.bool_ and dtype == "float32":
        return value.astype(np.float32)
    return value


def _compared_wide(kinds: list[Scalar]) -> bool:
    """Tell whether numpy compares as float64: of float32 columns and numbers it does not."""
    columns = [kind for kind in kinds if isinstance(kind, str)]
    if all(kind == "bool" for kind in columns):
        return len(columns) < len(kinds)
    return any(kind in WIDE or (kind == "bool" and len(columns) < len(kinds)) for kind in columns)


@lru_cache(maxsize=4096)
def _numpy_says(function: Callable[..., Any], floating: bool, kinds: tuple[tuple[type, Any], ...]) -> str | None:
    """Return the dtype of the result, None where numpy refuses; a number is as weak as numpy has it."""
    samples = [_lift(np.ones(1, STORED[k]), "", floating) if isinstance(k, str) else k for _, k in kinds]
    with np.errstate(all="ignore"):
        try:
            dtype = function(*samples).dtype
        except (TypeError, ValueError, OverflowError):
            return None
    return dtype_name(dtype)

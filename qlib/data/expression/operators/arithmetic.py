"""Operators on single rows: arithmetic, larger and smaller, sign, logarithm.

NaN goes through; x / 0 is infinite and 0 / 0 is NaN; the logarithm of 0 is -infinity, that of a negative number NaN.
Dtypes are numpy's: a float32 column and a number give float32, a rolling result makes it float64.  Of two booleans, Add
is "or", Mul is "and", and Sub is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qlib.data.expression.node import Scalar
from qlib.data.expression.operators.elementwise import One, Two
from qlib.data.expression.registry import operator

if TYPE_CHECKING:
    from qlib.data.expression.engine import Tile


@operator
class Abs(One):
    """Absolute value."""

    __slots__ = ()
    function = np.absolute


@operator
class Log(One):
    """Natural logarithm."""

    __slots__ = ()
    function = np.log


@operator
class Sign(One):
    """-1, 0 or 1 as float32; NaN stays NaN."""

    __slots__ = ()
    function = np.sign

    def result_dtype(self) -> str:
        return "float32"

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        np.sign(arguments[0].astype(np.float32, copy=False), out=out)  # type: ignore[union-attr]


@operator
class Add(Two):
    """left + right."""

    __slots__ = ()
    function = np.add


@operator
class Sub(Two):
    """left - right."""

    __slots__ = ()
    function = np.subtract


@operator
class Mul(Two):
    """left * right."""

    __slots__ = ()
    function = np.multiply


@operator
class Div(Two):
    """left / right."""

    __slots__ = ()
    function = np.divide


@operator
class Power(Two):
    """left ** right."""

    __slots__ = ()
    function = np.power
    floating = True


@operator
class FloorDiv(Two):
    """left // right, rounded towards minus infinity (not in Qlib)."""

    __slots__ = ()
    function = np.floor_divide
    floating = True


@operator
class Mod(Two):
    """left % right, with the sign of the right side (not in Qlib)."""

    __slots__ = ()
    function = np.remainder
    floating = True


@operator
class Greater(Two):
    """The larger of both (not a comparison); NaN where either is."""

    __slots__ = ()
    function = np.maximum


@operator
class Less(Two):
    """The smaller of both (not a comparison); NaN where either is."""

    __slots__ = ()
    function = np.minimum

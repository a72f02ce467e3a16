"""Operators over the last N rows of one formula, the current row included; N = 0 means all rows so far.

Missing and infinite values are no observations: they are left out of the window that holds them, and of no other.  A
value stands wherever the window has enough observations (one; two for Std, Var and the regressions, three for Skew,
four for Kurt), also at the start, where the window is shorter.  Results are float64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from qlib.data.expression.node import Operator, Scalar
from qlib.data.expression.parameters import Number, Parameter, Series, Window
from qlib.data.expression.registry import operator
from qlib.data.expression.span import EVERYTHING, Span

if TYPE_CHECKING:
    from qlib.data.expression.engine import Tile

# Relative to the level: variation that float32 cannot carry is none.
FLAT = 1e-7
# Qlib: Corr and Rsquare are undefined where a standard deviation is this near to 0, whatever the price.
QLIB_FLAT = 2e-5


def window_span(window: Scalar, inner: Span, compat: str | None) -> Span:
    """Return the span of a window over something of span `inner`.

    Default: whatever the value depends on.  compat="qlib": Qlib's rule, which stops at the query where N = 0, and where
    the weights of an exponential mean have fallen to 1e-6.
    """
    assert isinstance(window, int | float)
    if compat == "qlib" and 0 <= window < 1:
        rows = int(math.log(1e-6) / math.log(1 - window)) - 1 if window else 0
        return inner + Span(back=rows)
    return inner + Span(back=window - 1 if window >= 1 else EVERYTHING)


class Rolling(Operator):
    """A statistic of one formula over a window: one kernel of window.hpp."""

    __slots__ = ()
    kernel: ClassVar[str]
    parameter: ClassVar[float] = 0.0
    parameters: ClassVar[tuple[Parameter, ...]] = (Series("feature"), Window("N"))

    @property
    def window(self) -> int | float:
        return self.arguments[1]  # type: ignore[return-value]

    def result_dtype(self) -> str:
        return "float64"

    def reach(self, inner: Span) -> Span:
        return window_span(self.window, inner, self.compat)

    def kernel_name(self) -> str:
        return self.kernel

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        tile.roll(self.kernel, arguments[0], int(self.window), self.parameter, out)


class Weighable(Rolling):
    """A statistic that, in Qlib, silently turns into the exponential mean when 0 < N < 1."""

    __slots__ = ()

    def accepted(self) -> tuple[Parameter, ...]:
        if self.compat != "qlib":
            return self.parameters
        return (self.parameters[0], Window("N", fraction=True))

    def kernel_name(self) -> str:
        return "ema" if 0 < self.window < 1 else self.kernel

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        if 0 < self.window < 1:
            tile.roll("ema", arguments[0], 0, self.window, out)
        else:
            super().run(arguments, tile, out)


@operator
class Mean(Weighable):
    """Mean of the values seen; with 0 < N < 1 the exponential mean whose newest weight is N.

    >>> from qlib.data.expression.explain import explain
    >>> explain("Mean($close, 3)")
    'Mean($close,3)  reads $close  back 2  ahead 0  kernel mean  float64'
    """

    __slots__ = ()
    kernel = "mean"
    parameters = (Series("feature"), Window("N", fraction=True))


@operator
class Sum(Weighable):
    """Sum of the values seen; NaN where none was."""

    __slots__ = ()
    kernel = "sum"


@operator
class Std(Weighable):
    """Standard deviation of the values seen, divided by n - 1."""

    __slots__ = ()
    kernel = "std"


@operator
class Var(Weighable):
    """Variance of the values seen, divided by n - 1."""

    __slots__ = ()
    kernel = "var"


@operator
class Max(Weighable):
    """Largest value seen."""

    __slots__ = ()
    kernel = "max"


@operator
class Min(Weighable):
    """Smallest value seen."""

    __slots__ = ()
    kernel = "min"


@operator
class Med(Weighable):
    """Median of the values seen."""

    __slots__ = ()
    kernel = "quantile"
    parameter = 0.5


@operator
class Count(Weighable):
    """Number of values seen; 0 where none was."""

    __slots__ = ()
    kernel = "count"


class Shape(Rolling):
    """A moment that is undefined where the values do not vary (relative to their level)."""

    __slots__ = ()

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        tile.roll(self.kernel, arguments[0], int(self.window), -1.0 if self.compat == "qlib" else FLAT, out)


@operator
class Skew(Shape):
    """Sample skewness, corrected for bias."""

    __slots__ = ()
    kernel = "skew"
    parameters = (Series("feature"), Window("N", least=3))


@operator
class Kurt(Shape):
    """Sample excess kurtosis, corrected for bias."""

    __slots__ = ()
    kernel = "kurt"
    parameters = (Series("feature"), Window("N", least=4))


@operator
class Mad(Rolling):
    """Mean absolute deviation around the mean."""

    __slots__ = ()
    kernel = "mad"


@operator
class Rank(Rolling):
    """Place of the current value among those seen, as a share in (0, 1]; equals share their places."""

    __slots__ = ()
    kernel = "rank"


@operator
class Quantile(Rolling):
    """The value that a share `qscore` of the values seen does not exceed; linear between neighbours."""

    __slots__ = ()
    kernel = "quantile"
    parameters = (Series("feature"), Window("N"), Number("qscore", 0, 1))

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        tile.roll(self.kernel, arguments[0], int(self.window), float(self.arguments[2]), out)  # type: ignore[arg-type]


@operator
class IdxMax(Rolling):
    """Place of the largest value seen, 1 for the oldest row of the window; of equals the oldest.

    compat="qlib": where a value is missing, the place of the first gap.
    """

    __slots__ = ()
    kernel = "idxmax"

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        kernel = f"{self.kernel}_gap_first" if self.compat == "qlib" else self.kernel
        tile.roll(kernel, arguments[0], int(self.window), 0.0, out)


@operator
class IdxMin(IdxMax):
    """Place of the smallest value seen, 1 for the oldest row of the window; of equals the oldest."""

    __slots__ = ()
    kernel = "idxmin"


@operator
class WMA(Rolling):
    """Mean with weights 1..m over the m rows of the window, of the values seen (Qlib divides by their number again)."""

    __slots__ = ()
    kernel = "wma"

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        tile.roll(self.kernel, arguments[0], int(self.window), 1.0 if self.compat == "qlib" else 0.0, out)


@operator
class EMA(Rolling):
    """Exponential mean of the values seen.

    With N >= 1 the newest weight is alpha = 2 / (N + 1), with 0 < N < 1 it is alpha = N; a row k rows ago weighs
    (1 - alpha) ** k as much.  A gap repeats the mean while the weights go on falling.  N = 0: alpha = 2 / (m + 1) at
    the m-th row.  Every row since the listing counts (Qlib starts anew N - 1 rows before the query).
    """

    __slots__ = ()
    kernel = "ema"
    parameters = (Series("feature"), Window("N", fraction=True))

    def reach(self, inner: Span) -> Span:
        return super().reach(inner) if self.compat == "qlib" else inner + Span(back=EVERYTHING)

    def kernel_name(self) -> str:
        return "ema" if self.window else "ema_expanding"

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        window = self.window
        alpha = 2 / (window + 1) if window >= 1 else window
        parameter = alpha if window else float(self.compat == "qlib")
        tile.roll(self.kernel_name(), arguments[0], 0, parameter, out)


class Regression(Rolling):
    """A line fitted to the values seen against their row numbers."""

    __slots__ = ()

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        tile.roll(self.kernel, arguments[0], int(self.window), FLAT, out)
        if self.compat == "qlib":
            tile.poison(arguments[0], out)


@operator
class Slope(Regression):
    """Slope of the line, per row."""

    __slots__ = ()
    kernel = "slope"


@operator
class Resi(Regression):
    """Current value minus the line."""

    __slots__ = ()
    kernel = "resi"


@operator
class Rsquare(Regression):
    """Share of the variance that the line explains; NaN where the values do not vary (relative to their level)."""

    __slots__ = ()
    kernel = "rsquare"

    def run(self, arguments: list[np.ndarray | Scalar], tile: Tile, out: np.ndarray) -> None:
        if self.compat != "qlib":
            super().run(arguments, tile, out)
            return
        tile.roll(self.kernel, arguments[0], int(self.window), 0.0, out)
        if self.window:
            tile.blank_where_flat(arguments[0], int(self.window), QLIB_FLAT, out)
        tile.poison(arguments[0], out)

"""Operators over the last N rows of one formula, the current row included; N = 0 means all rows so far.

Missing and infinite values are no observations: they are left out of the window that holds them, and of no other.  A
value stands wherever the window has enough observations (one; two for Std, Var and the regressions, three for Skew,
four for Kurt), also at the start, where the window is shorter.  Results are float64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from qlib.data.expression.lowering import FOREVER
from qlib.data.expression.node import Operator, Scalar
from qlib.data.expression.parameters import LONGEST_WINDOW, Number, Parameter, Series, Window
from qlib.data.expression.registry import operator
from qlib.data.expression.span import EVERYTHING, Span

if TYPE_CHECKING:
    from qlib.data.expression.lowering import Builder, Result

# Relative to the level: variation that float32 cannot carry is none.
FLAT = 1e-7
# Qlib: Corr and Rsquare are undefined where a standard deviation is this near to 0, whatever the price.
QLIB_FLAT = 2e-5


def rows_that_weigh(alpha: float) -> int:
    """Return how many rows of an exponential mean whose newest weight is alpha weigh at least 1e-6 of it."""
    decay = math.log(1 - alpha) or -alpha
    return max(1, int(min(math.log(1e-6) / decay, LONGEST_WINDOW)))


class Windowed(Operator):
    """A statistic of one formula over a window: a reading of one of the passes of qlib.data.kernels."""

    __slots__ = ()
    family: ClassVar[str] = "moments"
    kernel: ClassVar[str]
    parameter: ClassVar[float] = 0.0
    parameters: ClassVar[tuple[Parameter, ...]] = (Series("feature"), Window("N"))

    @property
    def window(self) -> int | float:
        """N as it was given."""
        return self.arguments[1]  # type: ignore[return-value]

    @property
    def rows(self) -> int:
        """The length of the window, 0 for all rows so far."""
        window = self.window
        return rows_that_weigh(window) if 0 < window < 1 else int(window)

    def result_dtype(self) -> str:
        return "float64"

    def reach(self, inner: Span) -> Span:
        if self.rows == 0:  # Qlib's window begins where the query does
            return inner if self.compat == "qlib" else inner + Span(back=EVERYTHING)
        return inner + Span(back=self.rows - 1)

    def kernel_name(self) -> str:
        return self.family if self.kernel == "best" else self.kernel

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        return build.statistic(self.family, self.kernel, arguments[0], window=self.rows, parameter=self.parameter)  # type: ignore[arg-type]


class Weighable(Windowed):
    """A statistic that takes 0 < N < 1: the rows that weigh, in an exponential mean whose newest weight is N.

    compat="qlib": whatever its name, it is that exponential mean.
    """

    __slots__ = ()
    parameters: ClassVar[tuple[Parameter, ...]] = (Series("feature"), Window("N", fraction=True))

    @property
    def exponential(self) -> bool:
        return 0 < self.window < 1 and self.compat == "qlib"

    def kernel_name(self) -> str:
        return "ema" if self.exponential else super().kernel_name()

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        if self.exponential:
            return build.series("ema", arguments[0], parameter=float(self.window))  # type: ignore[arg-type]
        return super().lower(arguments, build)


@operator
class Mean(Weighable):
    """Mean of the values seen; with 0 < N < 1 the exponential mean whose newest weight is N, over all rows so far.

    >>> from qlib.data.expression.explain import explain
    >>> explain("Mean($close, 3)")
    Mean($close,3)  reads $close  back 2  ahead 0  kernel mean  float64
    """

    __slots__ = ()
    kernel = "mean"

    @property
    def exponential(self) -> bool:
        return 0 < self.window < 1

    def reach(self, inner: Span) -> Span:
        whole = self.exponential and self.compat != "qlib"
        return inner + Span(back=EVERYTHING) if whole else super().reach(inner)


@operator
class Sum(Weighable):
    """Sum of the values seen; NaN where none was."""

    __slots__ = ()
    family = kernel = "sum"


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
    family = "max"
    kernel = "best"


@operator
class Min(Weighable):
    """Smallest value seen."""

    __slots__ = ()
    family = "min"
    kernel = "best"


@operator
class Med(Weighable):
    """Median of the values seen."""

    __slots__ = ()
    family = "order"
    kernel = "quantile"
    parameter = 0.5


@operator
class Count(Weighable):
    """Number of values seen; 0 where none was (Qlib counts infinite values, which its other operators do not see)."""

    __slots__ = ()
    kernel = "count"

    def kernel_name(self) -> str:
        name = super().kernel_name()
        return "count_infinite_too" if name == "count" and self.compat == "qlib" else name

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        if self.exponential or self.compat != "qlib":
            return super().lower(arguments, build)
        return build.statistic("count_infinite_too", "count", arguments[0], window=self.rows)  # type: ignore[arg-type]


class Shape(Windowed):
    """A moment that is undefined where the values do not vary (relative to their level)."""

    __slots__ = ()

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        tolerance = -1.0 if self.compat == "qlib" else FLAT
        return build.statistic("moments", self.kernel, arguments[0], window=self.rows, parameter=tolerance)  # type: ignore[arg-type]


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
class Mad(Windowed):
    """Mean absolute deviation around the mean."""

    __slots__ = ()
    kernel = "mad"

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        return build.series("mad", arguments[0], window=self.rows, looks_back=self.rows or FOREVER)  # type: ignore[arg-type]


@operator
class Rank(Windowed):
    """Place of the current value among those seen, as a share in (0, 1]; equals share their places."""

    __slots__ = ()
    family = "order"
    kernel = "rank"


@operator
class Quantile(Windowed):
    """The value that a share `qscore` of the values seen does not exceed; linear between neighbours."""

    __slots__ = ()
    kernel = "quantile"
    parameters = (Series("feature"), Window("N"), Number("qscore", 0, 1))

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        q = float(self.arguments[2])  # type: ignore[arg-type]
        return build.statistic("order", "quantile", arguments[0], window=self.rows, parameter=q)  # type: ignore[arg-type]


@operator
class IdxMax(Windowed):
    """Place of the largest value seen, 1 for the oldest row of the window; of equals the oldest.

    compat="qlib": where a value is missing, the place of the first gap.
    """

    __slots__ = ()
    family = "max"
    kernel = "idxmax"

    def kernel_name(self) -> str:
        return f"{self.kernel}_gap_first" if self.compat == "qlib" else self.kernel

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        family = f"{self.family}_place_or_gap" if self.compat == "qlib" else self.family
        return build.statistic(family, "place", arguments[0], window=self.rows)  # type: ignore[arg-type]


@operator
class IdxMin(IdxMax):
    """Place of the smallest value seen, 1 for the oldest row of the window; of equals the oldest."""

    __slots__ = ()
    family = "min"
    kernel = "idxmin"


@operator
class WMA(Windowed):
    """Mean with weights 1..m over the m rows of the window, of the values seen (Qlib divides by their number again)."""

    __slots__ = ()
    kernel = "wma"

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        what = "wma_again" if self.compat == "qlib" else "wma"
        return build.statistic("moments", what, arguments[0], window=self.rows)  # type: ignore[arg-type]


@operator
class EMA(Windowed):
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

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        x: Result = arguments[0]  # type: ignore[assignment]
        window = self.window
        if window == 0:
            missing_is_zero = float(self.compat == "qlib")
            return build.series("ema_expanding", x, parameter=missing_is_zero, looks_back=FOREVER)
        return build.series("ema", x, parameter=2 / (window + 1) if window >= 1 else float(window))


class Regression(Windowed):
    """A line fitted to the values seen against their row numbers."""

    __slots__ = ()

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        x: Result = arguments[0]  # type: ignore[assignment]
        if self.compat != "qlib":
            return build.statistic("moments", self.kernel, x, window=self.rows, parameter=FLAT)
        return build.series("poison", x, build.statistic("moments", self.kernel, x, window=self.rows))


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

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        x: Result = arguments[0]  # type: ignore[assignment]
        if self.compat != "qlib":
            return super().lower(arguments, build)
        value = build.statistic("moments", self.kernel, x, window=self.rows)
        if self.rows:
            spread = build.statistic("moments", "std", x, window=self.rows)
            value = build.series("blank_where_flat", value, spread, parameter=QLIB_FLAT)
        return build.series("poison", x, value)

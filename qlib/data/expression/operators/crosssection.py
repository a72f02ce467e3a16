"""Operators across instruments: a value is compared with those of the other members of the universe at the same bar.

    CSRank($close/Ref($close,5)-1)                    where a return stands among those of its bar
    Mean(CSRank($volume), 10)                         nested with operators over time, in any order
    CSNeutralize($x, Log($cap), $industry, "group")   what industries and size do not explain

Members are the instruments of the universe that belong to it at that bar: by the dates in the market's file, by the
spans of a dict, by a filter; of a list of names, all of them, always.  On other rows the result is NaN, also on rows
that are loaded as history only.  Missing and infinite values are no observations: they do not count, and their own rows
are NaN (but CSQuantile and CSCorr are numbers of the bar: they stand on the row of every member).  Results are float64.

No other bar is looked at, so nothing is known of the future, and a live engine needs the current bar only.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from qlib.data.expression.node import NodeError, PanelOperator, Scalar
from qlib.data.expression.operators.rolling import FLAT
from qlib.data.expression.parameters import Many, Number, OneOf, Parameter, Series
from qlib.data.expression.registry import operator
from qlib.data.kernels import TimeOrder, per_bar
from qlib.data.panel import Panel

MOST_FACTORS: Final = 64


class CrossSection(PanelOperator):
    """A statistic of the members' values at each bar: one kernel of crosssection.hpp, one parameter."""

    __slots__ = ()
    across = True
    kernel: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]] = (Series("feature"),)

    def result_dtype(self) -> str:
        return "float64"

    def kernel_name(self) -> str:
        return f"crosssection.{self.kernel}"

    @property
    def parameter(self) -> float:
        """The number that the kernel takes."""
        return 0.0

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        columns = tuple(_real(value) for value in arguments if isinstance(value, np.ndarray))
        out = np.full(panel.rows, np.nan)
        per_bar(self.kernel, columns, members_in_time(panel), self.parameter, out)
        return out

    def write(self, arguments: list[str]) -> str:
        """Return a text that can be read again: words in quotes, what was left out left out."""
        texts = [repr(a) if isinstance(a, str) else text for a, text in zip(self.arguments, arguments, strict=True)]
        last = self.parameters[-1].otherwise
        if last is not None and self.arguments[-1] == last:
            texts.pop()
        return f"{self.name}({','.join(texts)})"


def _real(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=None if values.dtype.char in "fd" else np.float64)


def members_in_time(panel: Panel) -> TimeOrder:
    """Return the rows of the members by bar: made once for a panel, whatever the number of operators."""
    return panel.once("members in time", lambda: _members_in_time(panel))


def _members_in_time(panel: Panel) -> TimeOrder:
    low, high, position, owner = panel.start[:-1], panel.start[1:], panel.first, np.arange(len(panel.instruments))
    if type(panel) is not Panel:  # one with holes: runs of neighbouring bars
        at = panel.positions()
        edge = np.zeros(panel.rows + 1, dtype=bool)
        edge[panel.start] = edge[-1] = True
        edge[1:-1] |= at[1:] != at[:-1] + 1
        edges = np.flatnonzero(edge)
        low, high = edges[:-1], edges[1:]
        position, owner = at[low], np.searchsorted(panel.start, low, side="right") - 1
    if panel.around.members is not None:
        runs = []
        for begin, end, first, i in zip(low.tolist(), high.tolist(), position.tolist(), owner.tolist(), strict=True):
            last = first + end - begin
            for a, b in panel.around.members.get(panel.instruments[i], ((first, last),)):
                if max(a, first) < min(b, last):
                    runs.append((begin + max(a, first) - first, begin + min(b, last) - first, max(a, first)))
        low, high, position = np.array(runs, dtype=np.int64).reshape(-1, 3).T.copy()
    return TimeOrder(low, high, position, panel.rows)


@operator
class CSRank(CrossSection):
    """Place of the value among the members', from the smallest, divided by their number n: 1/n ... 1.

    Equal values share the mean of their places.  The average rank is (n + 1)/2n: more than a half, and the more so the
    fewer members there are.  `CSRank(x, "centre")` takes half a place off every rank: values in (0, 1) whose average is
    1/2 at every bar, with CSRank(-x) = 1 - CSRank(x); a member alone stands at 1/2.

    >>> from qlib.data.expression import parse
    >>> str(parse("CSRank($close / Ref($close, 5) - 1)"))
    'CSRank(Sub(Div($close,Ref($close,5)),1))'
    """

    __slots__ = ()
    kernel = "rank"
    parameters = (Series("feature"), OneOf("zero", ("edge", "centre"), default="edge"))

    @property
    def parameter(self) -> float:
        return 0.5 if self.arguments[1] == "centre" else 0.0


@operator
class CSZScore(CrossSection):
    """Deviation from the members' mean, divided by their standard deviation; that is divided by n - 1, as in Std.

    NaN where there is no scale to measure by: one member, or values that do not vary (relative to their level).
    """

    __slots__ = ()
    kernel = "zscore"

    @property
    def parameter(self) -> float:
        return FLAT


@operator
class CSDemean(CrossSection):
    """Value minus the mean of the members'; exactly 0 where all are equal, and for a member alone."""

    __slots__ = ()
    kernel = "demean"


@operator
class CSScale(CrossSection):
    """Value times the number that makes the members' absolute values add up to `a`; NaN where all of them are 0.

    With CSDemean inside, these are weights of a portfolio without net exposure: `CSScale(CSDemean(x))`.
    """

    __slots__ = ()
    kernel = "scale"
    parameters = (Series("feature"), Number("a", 0, 1e12, default=1))

    @property
    def parameter(self) -> float:
        return float(self.arguments[1])  # type: ignore[arg-type]


@operator
class CSQuantile(CrossSection):
    """The members' q-quantile (0 <= q <= 1), linear between neighbours: a number of the bar, on every member's row."""

    __slots__ = ()
    kernel = "quantile"
    parameters = (Series("feature"), Number("q", 0, 1))

    @property
    def parameter(self) -> float:
        return float(self.arguments[1])  # type: ignore[arg-type]


@operator
class CSCorr(CrossSection):
    """Pearson's correlation of two formulas over the members: a number of the bar, on every member's row.

    Members that lack either value do not count; NaN where fewer than two are left or either does not vary (relative to
    its level).
    """

    __slots__ = ()
    kernel = "corr"
    parameters = (Series("feature_left"), Series("feature_right"))

    @property
    def parameter(self) -> float:
        return FLAT


@operator
class CSNeutralize(CrossSection):
    """What is left of a formula after least squares on others, over the members of each bar.

    CSNeutralize(x, f, ...)              factors: the residual of x on f, ... and an intercept
    CSNeutralize(x, g, "group")          groups: x minus the mean of the members that have the same value of g
    CSNeutralize(x, f, ..., g, "group")  both: the last formula names the groups, each has an intercept of its own

    Members that lack any of the values do not count and are NaN.  A factor that the intercepts and the other factors
    explain to 1e-7 of its size (a constant, a copy, a sum of others) changes nothing.  With factors, all is NaN at a
    bar that has no more observations than coefficients (factors and intercepts); a group of one member is 0.  What is
    left of a formula that is explained to the last digit is 0.  At most 64 formulas.
    """

    __slots__ = ()
    parameters = (Series("feature"), Many("by"), OneOf("how", ("factors", "group"), default="factors"))

    @property
    def kernel(self) -> str:  # type: ignore[override]
        return "neutralize_within" if self.arguments[-1] == "group" else "neutralize"

    def accepted(self) -> tuple[Parameter, ...]:
        feature, by, how = self.parameters
        return (feature, *[by] * (len(self.arguments) - 2), how)

    def settle(self) -> None:
        if len(self.arguments) > MOST_FACTORS + 2:
            why = (
                f"{self.name} takes at most {MOST_FACTORS} formulas to explain one, received {len(self.arguments) - 2}"
            )
            raise NodeError(why, MOST_FACTORS + 1)
        super().settle()

    @property
    def parameter(self) -> float:
        return FLAT

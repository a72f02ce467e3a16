"""Rolling(x, N, "mean"): statistics over the last N rows by the names that pandas has for them.

Most are another spelling of a formula, and become it: `Rolling(x, N, "sem")` is `Std(x, N) / Count(x, N)**0.5`.  What
needs more than a series and a window (apply, quantile, ...) is refused with what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from qlib.data.expression.node import Node, NodeError, Operator, PanelOperator, Scalar
from qlib.data.expression.operators.arithmetic import Div, Mul, Power, Sub
from qlib.data.expression.operators.pairwise import Corr, Cov
from qlib.data.expression.operators.rolling import Count, Kurt, Max, Mean, Med, Min, Rank, Skew, Std, Sum, Var, Windowed
from qlib.data.expression.parameters import OneOf, Series, Window
from qlib.data.expression.registry import operator
from qlib.data.expression.runs import begins_of, first_row, last_seen, next_seen, read
from qlib.data.expression.span import EVERYTHING, Span
from qlib.data.panel import Panel

Made = Callable[[Node, Scalar, str | None], Operator]


class ByOrder(PanelOperator):
    """A statistic that asks which rows come first or are equal, and computes nothing with their values."""

    __slots__ = ()
    parameters = (Series("feature"), Window("N"))
    func: str

    @property
    def rows(self) -> int:
        """The length of the window, 0 for all rows so far."""
        return self.arguments[1]  # type: ignore[return-value]

    def result_dtype(self) -> str:
        return "float64"

    def reach(self, inner: Span) -> Span:
        if self.rows == 0:
            return inner if self.compat == "qlib" else inner + Span(back=EVERYTHING)
        return inner + Span(back=self.rows - 1)

    def write(self, arguments: list[str]) -> str:
        return f"Rolling({','.join(arguments)},{self.func!r})"

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        values = np.asarray(arguments[0], dtype=np.float64)
        begins = begins_of(panel, np.zeros(panel.rows, dtype=np.int8))
        here = np.arange(panel.rows)
        origin = first_row(begins)
        oldest = np.maximum(here - self.rows + 1, origin) if self.rows else origin
        return self.of(values, np.isfinite(values), oldest, begins)

    def of(self, values: np.ndarray, seen: np.ndarray, oldest: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """Return the statistic of the rows `oldest` ... the current one, of those that are `seen`."""
        raise NotImplementedError


class Last(ByOrder):
    """The last value seen in the window."""

    __slots__ = ()
    name, func = "Last", "last"

    def of(self, values: np.ndarray, seen: np.ndarray, oldest: np.ndarray, begins: np.ndarray) -> np.ndarray:
        at = last_seen(seen, begins)
        return read(values, np.where(at >= oldest, at, -1))


class First(ByOrder):
    """The first value seen in the window."""

    __slots__ = ()
    name, func = "First", "first"

    def of(self, values: np.ndarray, seen: np.ndarray, oldest: np.ndarray, begins: np.ndarray) -> np.ndarray:
        at = next_seen(seen, begins)[oldest]
        return read(values, np.where(at <= np.arange(len(values)), at, -1))


class Distinct(ByOrder):
    """How many different values are seen in the window; NaN where none is."""

    __slots__ = ()
    name, func = "Distinct", "nunique"

    def of(self, values: np.ndarray, seen: np.ndarray, oldest: np.ndarray, begins: np.ndarray) -> np.ndarray:
        before = _equal_before(values, seen, begins)
        here = np.arange(len(values))
        count = np.zeros(len(values))
        some = np.zeros(len(values), dtype=bool)
        for back in range(int((here - oldest).max(initial=-1)) + 1):  # a row counts where it has no equal before it
            row = here - back
            inside = row >= oldest
            row = np.where(inside, row, 0)
            some |= inside & seen[row]
            count += inside & seen[row] & (before[row] < oldest)
        count[~some] = np.nan
        return count


def _equal_before(values: np.ndarray, seen: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return the row before each one, of the same instrument, that holds an equal value; -1 where there is none."""
    origin = first_row(begins)
    order = np.lexsort((np.arange(len(values)), values, origin))
    same = (values[order[1:]] == values[order[:-1]]) & (origin[order[1:]] == origin[order[:-1]])
    before = np.full(len(values), -1)
    before[order[1:][same]] = order[:-1][same]
    return np.where(seen, before, -1)


def _one(kind: type[Operator]) -> Made:
    return lambda x, n, compat: kind.bind([x, n], {}, compat=compat)


def _both(kind: type[Operator]) -> Made:
    return lambda x, n, compat: kind.bind([x, x, n], {}, compat=compat)


def _sem(x: Node, n: Scalar, compat: str | None) -> Operator:
    """Standard error of the mean: the deviation divided by the root of n (of n - 1 in the pandas of Qlib's numbers)."""
    count: Operator = Count.bind([x, n], {}, compat=compat)
    if compat == "qlib":
        count = Sub.bind([count, 1], {}, compat=compat)
    root = Power.bind([count, 0.5], {}, compat=compat)
    return Div.bind([Std.bind([x, n], {}, compat=compat), root], {}, compat=compat)


def _rank(x: Node, n: Scalar, compat: str | None) -> Operator:
    """Place of the value in its window, from 1; equals share the mean of their places."""
    share, count = Rank.bind([x, n], {}, compat=compat), Count.bind([x, n], {}, compat=compat)
    return Mul.bind([share, count], {}, compat=compat)


_NAMES: Final[dict[str, Made]] = {
    "mean": _one(Mean),
    "sum": _one(Sum),
    "std": _one(Std),
    "var": _one(Var),
    "skew": _one(Skew),
    "kurt": _one(Kurt),
    "max": _one(Max),
    "min": _one(Min),
    "median": _one(Med),
    "count": _one(Count),
    "corr": _both(Corr),
    "cov": _both(Cov),
    "sem": _sem,
    "rank": _rank,
    "first": _one(First),
    "last": _one(Last),
    "nunique": _one(Distinct),
}
_INSTEAD: Final = {
    "quantile": "write Quantile(x, N, qscore)",
    "apply": "a function cannot be written in a formula: make an operator of your own",
    "agg": "write the name of the statistic itself",
    "aggregate": "write the name of the statistic itself",
    "pipe": "a function cannot be written in a formula: make an operator of your own",
}


@operator
class Rolling(Windowed):
    """Another spelling: `Rolling(x, N, "mean")` is `Mean(x, N)`, and so for the other names that pandas has.

    mean sum std var skew kurt max min median count; sem (Std divided by the root of the number of values seen), rank
    (places from 1), corr and cov (of x with itself), first, last, nunique (of the values seen; NaN where none is).

    compat="qlib": sem divides by the root of n - 1, as pandas 2 does.
    """

    __slots__ = ()
    kernel = "mean"
    parameters = (Series("feature"), Window("N", fraction=True), OneOf("func", tuple(_NAMES)))

    @classmethod
    def bind(
        cls, positional: list[Node | Scalar], named: dict[str, Node | Scalar], *, compat: str | None = None
    ) -> Operator:
        values = cls.matched(positional, named)
        if (instead := _INSTEAD.get(str(values["func"]))) is not None:
            raise NodeError(f"{cls.name}: {values['func']} needs more than a window; {instead}", 2)
        feature, window, func = super().bind(positional, named, compat=compat).arguments
        assert isinstance(feature, Node) and not isinstance(window, Node)
        return _NAMES[str(func)](feature, window, compat)

"""What a formula may say about reported periods; operators/pit.py computes it.

    $$roe_q                     a point-in-time field: one value a quarter (`_a`: a year), revised as time goes by
    P(Mean($$roe_q, 4))         inside P, operators run along the periods that are known on a day
    PRef($$roe_q, 201903)       one period, as known on each day

A point-in-time field has no value of its own on a day, so it stands inside P or PRef only, and nothing else does: no
column, no later period (nobody knows it), no second P, and not quarters beside years.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qlib.data.expression.node import Column, Node, NodeError, PanelOperator, Scalar, walk
from qlib.data.expression.parameters import Parameter
from qlib.data.expression.span import Span
from qlib.data.periods import complaint, is_period, is_yearly
from qlib.errors import ExpressionError

if TYPE_CHECKING:
    import numpy as np

    from qlib.data.panel import Panel


class PFeature(PanelOperator):
    """A point-in-time field, in lower case: `$$roe_q`; its rows are periods, not days."""

    __slots__ = ()
    name = "PFeature"

    def settle(self) -> None:
        if (why := complaint(self.field)) is not None:
            raise NodeError(why, 0)
        self.dtype, self.span = "float64", Span()

    @property
    def field(self) -> str:
        return str(self.arguments[0])

    @property
    def yearly(self) -> bool:
        return is_yearly(self.field)

    def write(self, arguments: list[str]) -> str:
        return f"$${arguments[0]}"

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        if str(self) not in panel.columns:
            raise ExpressionError(outside(str(self)))
        return panel.columns[str(self)]


class OverPeriods(PanelOperator):
    """An operator whose first argument is evaluated along periods, as they were known on each day."""

    __slots__ = ()

    @property
    def formula(self) -> Node:
        """What is evaluated along periods."""
        return self.arguments[0]  # type: ignore[return-value]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return ()

    def settle(self) -> None:
        super().settle()
        if (why := self._refusal()) is not None:
            raise NodeError(f"{self.name}: {why}", 0)

    def result_dtype(self) -> str:
        return "float32"

    def kernel_name(self) -> str:
        return "periods"

    @property
    def fields(self) -> tuple[PFeature, ...]:
        """The point-in-time fields of the formula."""
        return tuple(node for node in walk(self.formula) if isinstance(node, PFeature))

    @property
    def yearly(self) -> bool:
        """Whether the periods are years."""
        return self.fields[0].yearly

    def _refusal(self) -> str | None:
        for node in walk(self.formula):
            if isinstance(node, Column):
                return f"{node} has a value for every bar, not for every period; write it outside, as in P(...)*{node}"
            if isinstance(node, OverPeriods):
                return f"{node} is a value for every bar already; {self.name} stands over point-in-time fields"
            if isinstance(node, PanelOperator) and not isinstance(node, PFeature):
                return f"{node.name} looks across bars or instruments; write it outside, as in {node.name}(P(...))"
            if node.span.ahead > 0:
                return f"{node} reads a later period, and after the newest none is known"
        if len({one.yearly for one in self.fields}) > 1:
            return f"{self.formula} joins quarters (_q) and years (_a); write one P for each"
        return None


@dataclass(frozen=True, slots=True)
class Period(Parameter):
    """A quarter YYYYQQ or a year YYYY; with `loose`, any whole number."""

    loose: bool = False

    def complaint(self, value: Node | Scalar) -> str | None:
        written = self.loose or any(isinstance(value, int) and is_period(value, yearly=how) for how in (False, True))
        if isinstance(value, int) and not isinstance(value, bool) and written:
            return None
        return f"{self.name} must be a quarter such as 201903 or a year such as 2019, received {value!r}"


def outside(field: str) -> str:
    """Return why a point-in-time field cannot stand where it does."""
    return f"{field} is a point-in-time field, known by periods and not by bars; it stands inside P or PRef: P({field})"


def reported_fields(roots: Iterable[Node]) -> tuple[str, ...]:
    """Return the names of the point-in-time fields that formulas read, sorted."""
    over = (node for node in walk(*roots, everywhere=True) if isinstance(node, OverPeriods))
    return tuple(sorted({one.field for node in over for one in node.fields}))

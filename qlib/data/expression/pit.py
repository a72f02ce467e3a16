"""How reported periods stand in a formula; operators/pit.py computes them.

$$roe_q                     a point-in-time field: one value a quarter (`_a`: a year), revised as time goes by
P(Mean($$roe_q, 4))         inside P, operators run along the periods that are known on a day
PRef($$roe_q, 201903)       one period, as known on each day
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qlib.data.expression.node import Node, NodeError, PanelOperator, Scalar, walk
from qlib.data.expression.parameters import Parameter
from qlib.data.expression.span import Span
from qlib.data.periods import complaint, is_period, is_yearly
from qlib.errors import ExpressionError

if TYPE_CHECKING:
    import numpy as np

    from qlib.data.panel import Panel


class PFeature(PanelOperator):
    """A point-in-time field, in lower case: `$$roe_q`; its rows are periods, not days.

    A second argument names the instrument whose field it is, where that is not the row's own.
    """

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
    def instrument(self) -> str | None:
        return str(self.arguments[1]) if len(self.arguments) > 1 else None

    @property
    def yearly(self) -> bool:
        return is_yearly(self.field)

    def write(self, arguments: list[str]) -> str:
        return f"$${arguments[0]}" if self.instrument is None else f"Mask($${arguments[0]},{self.instrument!r})"

    def kernel_name(self) -> str:
        return "column"

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:  # noqa: ARG002
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

    @property
    def sources(self) -> list[PFeature]:
        """The point-in-time fields that are read, those of other instruments with their names."""
        raise NotImplementedError

    def result_dtype(self) -> str:
        return "float32"

    def kernel_name(self) -> str:
        return "periods"


@dataclass(frozen=True, slots=True)
class Period(Parameter):
    """A quarter YYYYQQ or a year YYYY; with `loose`, any whole number."""

    loose: bool = False

    def complaint(self, value: Node | Scalar) -> str | None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and (self.loose or any(is_period(value, yearly=how) for how in (False, True))):  # type: ignore[arg-type]
            return None
        return f"{self.name} must be a quarter such as 201903 or a year such as 2019, received {value!r}"


def outside(field: str) -> str:
    """Return why a point-in-time field cannot stand where it does."""
    return f"{field} is a point-in-time field, known by periods and not by bars; it stands inside P or PRef: P({field})"


def over_periods(roots: Iterable[Node]) -> list[OverPeriods]:
    """Return every P and PRef of the formulas, wherever they are evaluated."""
    return [node for node in walk(*roots, everywhere=True) if isinstance(node, OverPeriods)]

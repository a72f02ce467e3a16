"""Formulas as Python objects, for those who would rather compose than write text.

    Mean(Feature("close"), 5) / Ref(Feature("close"), 1) - 1        a field wherever a text is one

Python's operators build formulas: `a > b` is a question, not an answer, and so is `a == b`.  Such objects therefore
cannot be members of a set or keys of a dict; their texts can.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from qlib.data.expression.node import Column, Node, NodeError, Operator, Scalar
from qlib.data.expression.operators import (
    arithmetic,
    comparison,
    crosssection,
    days,
    gaps,
    pairwise,
    pit,
    resample,
    rolling,
    select,
    shift,
)
from qlib.data.expression.pit import PFeature as PeriodField
from qlib.errors import ExpressionError

_RULES = (None, "qlib")


def _infix(name: str, *, swapped: bool = False) -> Callable[[Expression, Any], Expression]:
    def build(self: Expression, other: Any) -> Expression:
        if not isinstance(other, Expression | bool | int | float):
            return NotImplemented
        return _OBJECTS[name](other, self) if swapped else _OBJECTS[name](self, other)

    return build


class Expression:
    """A formula; `str()` is its canonical text, which every function that takes fields understands."""

    _nodes: dict[str | None, Node]

    def node(self, compat: str | None = None) -> Node:
        """Return the node under the default rules or Qlib's; raise ExpressionError where those refuse it."""
        if compat not in self._nodes:
            raise ExpressionError(f"{self} is refused {'by Qlib' if compat else 'unless compat is qlib'}")
        return self._nodes[compat]

    def __str__(self) -> str:
        return str(next(iter(self._nodes.values())))

    def __repr__(self) -> str:
        return str(self)

    def get_extended_window_size(self) -> tuple[int, int]:
        """Return the rows before and after a query that Qlib loads for it: (left, right)."""
        span = self.node("qlib").span
        return int(span.back), int(span.ahead)

    __hash__ = None  # type: ignore[assignment]
    __add__, __radd__ = _infix("Add"), _infix("Add", swapped=True)
    __sub__, __rsub__ = _infix("Sub"), _infix("Sub", swapped=True)
    __mul__ = __rmul__ = _infix("Mul")
    __truediv__, __rtruediv__ = _infix("Div"), _infix("Div", swapped=True)
    __floordiv__, __rfloordiv__ = _infix("FloorDiv"), _infix("FloorDiv", swapped=True)
    __mod__, __rmod__ = _infix("Mod"), _infix("Mod", swapped=True)
    __pow__, __rpow__ = _infix("Power"), _infix("Power", swapped=True)
    __and__, __rand__ = _infix("And"), _infix("And", swapped=True)
    __or__, __ror__ = _infix("Or"), _infix("Or", swapped=True)
    __gt__, __ge__, __lt__, __le__ = _infix("Gt"), _infix("Ge"), _infix("Lt"), _infix("Le")
    __eq__, __ne__ = _infix("Eq"), _infix("Ne")  # type: ignore[assignment]

    def __neg__(self) -> Expression:
        return 0 - self

    def __pos__(self) -> Expression:
        return self

    def __invert__(self) -> Expression:
        return _OBJECTS["Not"](self)


class Feature(Expression):
    """A stored field: `Feature("close")` is `$close`."""

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            raise ExpressionError('a feature needs a name, such as Feature("close")')
        self._name = str(name).removeprefix("$").lower()
        self._nodes = dict.fromkeys(_RULES, Column(self._name))


class PFeature(Feature):
    """A point-in-time field, for use inside P and PRef: `PFeature("roe_q")` is `$$roe_q`."""

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            raise ExpressionError('a point-in-time field needs a name, such as PFeature("roe_q")')
        self._name = str(name).removeprefix("$$").lower()
        try:
            self._nodes = dict.fromkeys(_RULES, PeriodField(self._name))
        except NodeError as problem:
            raise ExpressionError(str(problem)) from None


class ExpressionOps(Expression):
    """An operator applied to its arguments, which stand as attributes under their public names."""

    declared: ClassVar[type[Operator]]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._nodes, refused = {}, None
        for rules in _RULES:
            try:
                self._nodes[rules] = self.declared.bind(
                    [_plain(value, rules) for value in arguments],
                    {name: _plain(value, rules) for name, value in named.items()},
                    compat=rules,
                )
            except NodeError as problem:
                refused = refused or problem
        if not self._nodes:
            raise ExpressionError(str(refused)) from refused
        vars(self).update(self.declared.matched(arguments, named))


def _plain(value: Any, rules: str | None) -> Node | Scalar:
    return value.node(rules) if isinstance(value, Expression) else value


def _signature(declared: type[Operator]) -> list[inspect.Parameter]:
    shown: list[inspect.Parameter] = []
    for p in declared.parameters:
        after_many = bool(shown) and shown[-1].kind is inspect.Parameter.VAR_POSITIONAL
        kind = inspect.Parameter.KEYWORD_ONLY if after_many else inspect.Parameter.POSITIONAL_OR_KEYWORD
        default = inspect.Parameter.empty if p.otherwise is None else p.otherwise
        shown.append(inspect.Parameter(p.name, inspect.Parameter.VAR_POSITIONAL if p.many else kind, default=default))
    return shown


_OBJECTS: dict[str, type[ExpressionOps]] = {}


def _object(declared: type[Operator]) -> type[ExpressionOps]:
    """Return the class whose objects stand for the operator's nodes."""
    parameters = _signature(declared)

    def init(self: ExpressionOps, *arguments: Any, **named: Any) -> None:
        ExpressionOps.__init__(self, *arguments, **named)

    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    init.__signature__ = inspect.Signature([this, *parameters])  # type: ignore[attr-defined]
    body = {"__init__": init, "__doc__": declared.__doc__, "declared": declared, "__module__": __name__}
    _OBJECTS[declared.name] = type(declared.name, (ExpressionOps,), body)
    return _OBJECTS[declared.name]


Abs = _object(arithmetic.Abs)
Log = _object(arithmetic.Log)
Sign = _object(arithmetic.Sign)
Add = _object(arithmetic.Add)
Sub = _object(arithmetic.Sub)
Mul = _object(arithmetic.Mul)
Div = _object(arithmetic.Div)
Power = _object(arithmetic.Power)
FloorDiv = _object(arithmetic.FloorDiv)
Mod = _object(arithmetic.Mod)
Greater = _object(arithmetic.Greater)
Less = _object(arithmetic.Less)
Gt = _object(comparison.Gt)
Ge = _object(comparison.Ge)
Lt = _object(comparison.Lt)
Le = _object(comparison.Le)
Eq = _object(comparison.Eq)
Ne = _object(comparison.Ne)
And = _object(comparison.And)
Or = _object(comparison.Or)
Not = _object(comparison.Not)
If = _object(comparison.If)
Mean = _object(rolling.Mean)
Sum = _object(rolling.Sum)
Std = _object(rolling.Std)
Var = _object(rolling.Var)
Skew = _object(rolling.Skew)
Kurt = _object(rolling.Kurt)
Max = _object(rolling.Max)
Min = _object(rolling.Min)
Med = _object(rolling.Med)
Mad = _object(rolling.Mad)
Quantile = _object(rolling.Quantile)
Rank = _object(rolling.Rank)
Count = _object(rolling.Count)
IdxMax = _object(rolling.IdxMax)
IdxMin = _object(rolling.IdxMin)
WMA = _object(rolling.WMA)
EMA = _object(rolling.EMA)
Slope = _object(rolling.Slope)
Rsquare = _object(rolling.Rsquare)
Resi = _object(rolling.Resi)
Corr = _object(pairwise.Corr)
Cov = _object(pairwise.Cov)
Ref = _object(shift.Ref)
Delta = _object(shift.Delta)
P = _object(pit.P)
PRef = _object(pit.PRef)
CSRank = _object(crosssection.CSRank)
CSZScore = _object(crosssection.CSZScore)
CSDemean = _object(crosssection.CSDemean)
CSScale = _object(crosssection.CSScale)
CSQuantile = _object(crosssection.CSQuantile)
CSCorr = _object(crosssection.CSCorr)
CSNeutralize = _object(crosssection.CSNeutralize)
Date = _object(days.Date)
DayLast = _object(days.DayLast)
DayCumsum = _object(days.DayCumsum)
IsNull = _object(gaps.IsNull)
IsInf = _object(gaps.IsInf)
FFillNan = _object(gaps.FFillNan)
BFillNan = _object(gaps.BFillNan)
Select = _object(select.Select)
Cut = _object(select.Cut)
TResample = _object(resample.TResample)

__all__ = ["Expression", "ExpressionOps", "Feature", "PFeature"]
__all__ += list(_OBJECTS)  # noqa: PLE0605  the names bound above

"""Formulas as Python objects, for those who would rather compose than write text.

    Mean(Feature("close"), 5) / Ref(Feature("close"), 1) - 1        a field wherever a text is one
    class Above(ElemOperator): ...                                  an operator of one's own, see legacy.py

Python's operators build formulas: `a > b` is a question, not an answer, and so is `a == b`.  Such objects therefore
cannot be members of a set or keys of a dict; their texts can.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from qlib.data.expression.legacy import Opaque, declare
from qlib.data.expression.loading import computed_series, rules, series_of
from qlib.data.expression.node import Column, Node, NodeError, Operator, walk
from qlib.data.expression.operators import (
    arithmetic,
    comparison,
    crosssection,
    days,
    elsewhere,
    gaps,
    named,
    pairwise,
    pit,
    resample,
    rolling,
    select,
    shift,
)
from qlib.data.expression.operators.elementwise import One, Two
from qlib.data.expression.operators.pairwise import PairWindowed
from qlib.data.expression.operators.rolling import Windowed, rows_that_weigh
from qlib.data.expression.operators.shift import Shift
from qlib.data.expression.pit import OverPeriods
from qlib.data.expression.pit import PFeature as PeriodField
from qlib.data.expression.sites import Remote
from qlib.errors import ExpressionError, did_you_mean

_RULES = (None, "qlib")


def _infix(name: str, *, swapped: bool = False) -> Callable[[Expression, Any], Expression]:
    def build(self: Expression, other: Any) -> Expression:
        if not isinstance(other, Expression | bool | int | float):
            return NotImplemented
        return _OBJECTS[name](other, self) if swapped else _OBJECTS[name](self, other)

    return build


def _remembering(init: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor that writes down the arguments of the outermost call: they are the formula's."""

    @functools.wraps(init)
    def remembering(self: Expression, *arguments: Any, **named: Any) -> None:
        vars(self).setdefault("_given", (arguments, named))
        init(self, *arguments, **named)

    return remembering


class Expression:
    """A formula; `str()` is its canonical text, which every function that takes fields understands.

    A class of one's own says how it is computed (`_load_internal`) and how far it looks (`get_extended_window_size`,
    `get_longest_back_rolling`).
    """

    _given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "__init__" in vars(cls):
            cls.__init__ = _remembering(cls.__init__)  # type: ignore[method-assign]

    # ------------------------------------------------------------------------------------ the formula
    @staticmethod
    def of(node: Node) -> Expression:
        """Return an object that stands for a node, with the class and the attributes of its operator."""
        inner = node.feature if isinstance(node, Remote) and not node.site else node
        made: Expression
        if isinstance(inner, Opaque):
            made = copy.copy(inner.made)
        elif isinstance(inner, Column):
            made = Feature(inner.name)
        elif isinstance(inner, PeriodField):
            made = PFeature(inner.field)
        else:
            assert isinstance(inner, Operator)
            kind = _OBJECTS.get(inner.name)
            kind = kind if kind is not None and kind.declared is type(inner) else _Nameless
            made = kind.__new__(kind)
            vars(made)["_extended"] = {inner.compat: inner}
        made.stand_for(node)
        return made

    def stand_for(self, node: Node) -> None:
        """Take the values of the node where they are computed already."""
        vars(self)["_nodes"] = {node.compat: node}

    def node(self, compat: str | None = None) -> Node:
        """Return the node under the default rules or Qlib's; raise ExpressionError where those refuse it."""
        nodes = vars(self).setdefault("_nodes", {})
        if compat not in nodes:
            try:
                nodes[compat] = self._made_node(compat)
            except NodeError as problem:
                refused = "by Qlib" if compat else "unless compat is qlib"
                raise ExpressionError(f"{self} is refused {refused}: {problem}") from problem
        return nodes[compat]

    def _made_node(self, compat: str | None) -> Node:
        if _is_ours(type(self)) and (node := self.extended(compat)) is not None:
            return node
        arguments, named = self._given
        plain = [_plain(value, compat) for value in arguments]
        return declare(type(self)).bind(plain, {k: _plain(v, compat) for k, v in named.items()}, compat=compat)

    def extended(self, compat: str | None) -> Any:
        """Return the node of the package's class that this one is or extends; None where that says no formula."""
        raise NodeError(self._lacks("_load_internal"))

    def __str__(self) -> str:
        arguments, by_name = self._given
        shown = [repr(a) if isinstance(a, str) else str(a) for a in (*arguments, *by_name.values())]
        shown[len(arguments) :] = [
            f"{name}={text}" for name, text in zip(by_name, shown[len(arguments) :], strict=True)
        ]
        return f"{type(self).__name__}({','.join(shown)})"

    def __repr__(self) -> str:
        return str(self)

    @classmethod
    def is_users_own(cls, name: str) -> bool:
        """Tell whether a method was written by somebody else than this package."""
        return not _is_ours(next(kind for kind in cls.__mro__ if name in vars(kind)))

    # ------------------------------------------------------------------------------------ its values
    def load(self, instrument: str, start_index: int | None, end_index: int | None, *args: Any) -> pd.Series:
        """Return the formula for one instrument at the calendar positions start_index ... end_index, both included.

        Parameters
        ----------
        start_index, end_index
            None: from the first, to the last there is.
        args
            The bar size ("day" by default).

        Returns
        -------
        pandas.Series
            By calendar position, named like the formula; rows where nothing is stored are absent.
        """
        first = 0 if start_index is None else int(start_index)
        last = 2**62 if end_index is None else int(end_index)
        if first > last:
            message = f"Invalid index range: {start_index} {end_index}"
            raise ValueError(message)
        series = computed_series(vars(self).get("_nodes", {}), instrument, first, last)
        if series is None:
            series = self._load_internal(instrument, first, last, *args)
        if isinstance(series, pd.Series):
            series.name = str(self)
        return series

    def _load_internal(self, instrument: str, start_index: int, end_index: int, *args: Any) -> pd.Series:
        raise NotImplementedError(self._lacks("_load_internal"))

    def get_longest_back_rolling(self) -> float:
        """Return how many rows before its own a value needs: Qlib's count, see the contract of each class."""
        raise NotImplementedError(self._lacks("get_longest_back_rolling"))

    def get_extended_window_size(self) -> tuple[float, float]:
        """Return the rows before and after a query that Qlib loads for it: (left, right)."""
        raise NotImplementedError(self._lacks("get_extended_window_size"))

    def _lacks(self, method: str) -> str:
        return f"{type(self).__name__} does not say how it is computed: its class defines no {method}"

    # ------------------------------------------------------------------------------------ Python's operators
    __hash__ = None  # type: ignore[assignment]
    __add__, __radd__ = _infix("Add"), _infix("Add", swapped=True)
    __sub__, __rsub__ = _infix("Sub"), _infix("Sub", swapped=True)
    __mul__ = __rmul__ = _infix("Mul")
    __truediv__, __rtruediv__ = _infix("Div"), _infix("Div", swapped=True)
    __div__, __rdiv__ = __truediv__, __rtruediv__
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


def _is_ours(kind: type) -> bool:
    return kind.__module__ == __name__


def _plain(value: Any, compat: str | None) -> Any:
    if isinstance(value, Expression):
        return value.node(compat)
    return value.item() if isinstance(value, np.generic) else value


class Feature(Expression):
    """A stored field: `Feature("close")` is `$close`."""

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            raise ExpressionError('a feature needs a name, such as Feature("close")')
        self._name = str(name).removeprefix("$").lower()

    def extended(self, compat: str | None) -> Node:  # noqa: ARG002  a field is one by all rules
        return Column(self._name)

    def __str__(self) -> str:
        return f"${self._name}"

    def _load_internal(self, instrument: str, start_index: int, end_index: int, *args: Any) -> pd.Series:
        return series_of(self.extended(None), instrument, start_index, end_index, args)

    def get_longest_back_rolling(self) -> float:
        """Return 0."""
        return 0

    def get_extended_window_size(self) -> tuple[float, float]:
        """Return (0, 0)."""
        return 0, 0


class PFeature(Feature):
    """A point-in-time field, for use inside P and PRef: `PFeature("roe_q")` is `$$roe_q`."""

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            raise ExpressionError('a point-in-time field needs a name, such as PFeature("roe_q")')
        self._name = str(name).removeprefix("$$").lower()
        try:
            self.extended(None)
        except NodeError as problem:
            raise ExpressionError(str(problem)) from None

    def extended(self, compat: str | None) -> Node:  # noqa: ARG002  a field is one by all rules
        return PeriodField(self._name)

    def __str__(self) -> str:
        return f"$${self._name}"


# ------------------------------------------------------------------------------------------------ bases of operators
class ExpressionOps(Expression):
    """An operator applied to its arguments, which stand as attributes under their public names."""

    declared: ClassVar[type[Operator]]

    if TYPE_CHECKING:

        def __init__(self, *arguments: Any, **named: Any) -> None: ...


class ElemOperator(ExpressionOps):
    """An operator on one formula, row by row: the base of one's own."""

    def __init__(self, feature: Any) -> None:
        self.feature = feature

    def get_longest_back_rolling(self) -> float:
        return self.feature.get_longest_back_rolling()

    def get_extended_window_size(self) -> tuple[float, float]:
        return self.feature.get_extended_window_size()


class NpElemOperator(ElemOperator):
    """A function of numpy, by its name, on one formula: `NpElemOperator(feature, "sqrt")`."""

    def __init__(self, feature: Any, func: str) -> None:
        self.func = func
        super().__init__(feature)
        if _is_ours(type(self)):
            _check_ufunc(type(self).__name__, func, 1)

    def extended(self, compat: str | None) -> None:
        return None

    def _load_internal(self, instrument: str, start_index: int, end_index: int, *args: Any) -> pd.Series:
        series = self.feature.load(instrument, start_index, end_index, *args)
        with np.errstate(all="ignore"):
            return getattr(np, self.func)(series)


class PairOperator(ExpressionOps):
    """An operator on two formulas, or a formula and a number, row by row: the base of one's own."""

    def __init__(self, feature_left: Any, feature_right: Any) -> None:
        self.feature_left = feature_left
        self.feature_right = feature_right

    def get_longest_back_rolling(self) -> float:
        return _longest(self.feature_left, self.feature_right)

    def get_extended_window_size(self) -> tuple[float, float]:
        return _widest(self.feature_left, self.feature_right)


class NpPairOperator(PairOperator):
    """A function of numpy, by its name, on two formulas or a formula and a number; rows that one lacks are missing."""

    def __init__(self, feature_left: Any, feature_right: Any, func: str) -> None:
        self.func = func
        super().__init__(feature_left, feature_right)
        if _is_ours(type(self)):
            _check_ufunc(type(self).__name__, func, 2)

    def extended(self, compat: str | None) -> None:
        return None

    def _load_internal(self, instrument: str, start_index: int, end_index: int, *args: Any) -> pd.Series:
        left, right = (
            side.load(instrument, start_index, end_index, *args) if isinstance(side, Expression) else side
            for side in (self.feature_left, self.feature_right)
        )
        if isinstance(left, pd.Series) and isinstance(right, pd.Series) and not left.index.equals(right.index):
            left, right = left.align(right)
        with np.errstate(all="ignore"):
            return getattr(np, self.func)(left, right)


class Rolling(ExpressionOps):
    """A statistic over the last N rows by the name that pandas has for it: `Rolling(feature, 5, "sem")`."""

    def __init__(self, feature: Any, N: float, func: str) -> None:
        self.feature, self.N, self.func = feature, N, func
        if type(self) is Rolling:
            _check(self)

    def extended(self, compat: str | None) -> Node:
        return named.Rolling.bind([_plain(self.feature, compat), self.N, self.func], {}, compat=compat)

    def _load_internal(self, instrument: str, start_index: int, end_index: int, *args: Any) -> pd.Series:
        return series_of(self.extended(rules(args)), instrument, start_index, end_index, args)

    def get_longest_back_rolling(self) -> float:
        return _back(self.N, self.feature.get_longest_back_rolling())

    def get_extended_window_size(self) -> tuple[float, float]:
        left, right = self.feature.get_extended_window_size()
        rows = rows_that_weigh(self.N) if 0 < self.N < 1 else self.N
        return max(left + rows - 1, left), right


class PairRolling(ExpressionOps):
    """A statistic of two formulas over the last N rows by the name that pandas has for it: "corr" or "cov"."""

    def __init__(self, feature_left: Any, feature_right: Any, N: int, func: str) -> None:
        self.feature_left, self.feature_right, self.N, self.func = feature_left, feature_right, N, func
        if type(self) is PairRolling:
            _check(self)

    def extended(self, compat: str | None) -> Node:
        known = {"corr": pairwise.Corr, "cov": pairwise.Cov}
        if self.func not in known:
            raise NodeError(f"PairRolling: func must be one of corr, cov, received {self.func!r}", 3)
        sides = [_plain(side, compat) for side in (self.feature_left, self.feature_right)]
        return known[self.func].bind([*sides, self.N], {}, compat=compat)

    _load_internal = Rolling._load_internal

    def get_longest_back_rolling(self) -> float:
        return math.inf if self.N == 0 else _longest(self.feature_left, self.feature_right)

    def get_extended_window_size(self) -> tuple[float, float]:
        left, right = _widest(self.feature_left, self.feature_right)
        return max(left + self.N - 1, left), right


def _check_ufunc(name: str, func: str, sides: int) -> None:
    """Raise ExpressionError where `func` is no row-by-row function of numpy: a text may say no other."""
    known = [one for one in dir(np) if isinstance(made := getattr(np, one), np.ufunc) and made.nin == sides]
    if func not in known:
        raise ExpressionError(
            f"{name}: func must be a function of numpy that works row by row, such as {known[0]}, received {func!r}"
            f"{did_you_mean(str(func), known)}; a class of one's own may name any"
        )


def _check(made: Expression) -> None:
    """Raise ExpressionError at once where neither rules know the formula."""
    refused = None
    for compat in _RULES:
        try:
            made.extended(compat)
        except NodeError as problem:
            refused = refused or problem
        else:
            return
    raise ExpressionError(str(refused)) from refused


def _longest(*sides: Any) -> float:
    return max((side.get_longest_back_rolling() for side in sides if isinstance(side, Expression)), default=0)


def _widest(*sides: Any) -> tuple[float, float]:
    windows = [side.get_extended_window_size() for side in sides if isinstance(side, Expression)]
    return max((w[0] for w in windows), default=0), max((w[1] for w in windows), default=0)


def _back(window: float, below: float) -> float:
    """Return Qlib's count of the rows before its own that a window needs."""
    if window == 0:
        return math.inf
    return int(math.log(1e-6) / math.log(1 - window)) if 0 < window < 1 else below + window - 1


# ------------------------------------------------------------------------------------------------ the package's own
class _Declared(ExpressionOps):
    """An operator of the package: its node computes it."""

    _extended: dict[str | None, Node]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        extended: dict[str | None, Node] = {}
        refused = None
        for compat in _RULES:
            try:
                extended[compat] = self.declared.bind(
                    [_plain(value, compat) for value in arguments],
                    {name: _plain(value, compat) for name, value in named.items()},
                    compat=compat,
                )
            except (NodeError, ExpressionError) as problem:
                refused = refused or problem
        if not extended:
            raise ExpressionError(str(refused)) from refused
        vars(self)["_extended"] = extended
        vars(self).update(self.declared.matched(arguments, named))

    def __getattr__(self, name: str) -> Any:
        extended = vars(self).get("_extended")
        node = next(iter(extended.values())) if extended else None
        if not isinstance(node, Operator) or name not in [parameter.name for parameter in node.parameters]:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message)
        vars(self).update(_attributes(node))
        return vars(self)[name]

    def extended(self, compat: str | None) -> Node:
        if compat not in self._extended:
            self._extended[compat] = _restated(next(iter(self._extended.values())), compat)
        return self._extended[compat]

    def __str__(self) -> str:
        if not _is_ours(type(self)):
            return super().__str__()
        return str(next(iter(self._extended.values())))

    def _load_internal(self, instrument: str, start_index: int, end_index: int, *args: Any) -> pd.Series:
        return series_of(self.extended(rules(args)), instrument, start_index, end_index, args)

    def get_longest_back_rolling(self) -> float:
        return _back_of(next(iter(self._extended.values())))

    def get_extended_window_size(self) -> tuple[float, float]:
        try:
            span = self.extended("qlib").span
        except NodeError as problem:
            if "_given" in vars(self):
                raise ExpressionError(f"{self} is refused by Qlib: {problem}") from problem
            span = next(iter(self._extended.values())).span  # in a formula by the default rules
        left, right = (rows if math.isinf(rows) else int(rows) for rows in (span.back, span.ahead))
        return left, right


class _Nameless(_Declared):
    """A formula that has no class of its own."""


def _attributes(node: Operator) -> dict[str, Any]:
    """Return a node's arguments by the names of its operator's parameters, as objects."""
    waiting = [Expression.of(a) if isinstance(a, Node) else a for a in node.arguments]
    found: dict[str, Any] = {}
    for place, parameter in enumerate(node.parameters):
        count = len(waiting) - (len(node.parameters) - place - 1) if parameter.many else 1
        found[parameter.name] = tuple(waiting[:count]) if parameter.many else waiting[0]
        del waiting[:count]
    return found


def _restated(node: Node, compat: str | None) -> Node:
    """Return the same formula by other rules; raise NodeError where those refuse it."""
    made: dict[Node, Node] = {}
    for one in walk(node, everywhere=True):
        arguments = (made[a] if isinstance(a, Node) else a for a in one.arguments)
        leaf = isinstance(one, Column | PeriodField)
        made[one] = one if leaf else type(one)(*arguments, compat=compat)
    return made[node]


def _back_of(root: Node) -> float:
    """Return Qlib's `get_longest_back_rolling` of a formula."""
    done: dict[Node, float] = {}
    for node in walk(root, everywhere=True):
        below = max((done[child] for child in node.children), default=0)
        if isinstance(node, Opaque):
            done[node] = node.made.get_longest_back_rolling()
        elif isinstance(node, OverPeriods):
            done[node] = 0
        elif isinstance(node, PairWindowed):
            done[node] = math.inf if node.window == 0 else below
        elif isinstance(node, Windowed):
            done[node] = _back(node.window, below)
        elif isinstance(node, Shift):
            done[node] = math.inf if node.rows == 0 else below + node.rows - isinstance(node, shift.Delta)
        else:
            done[node] = below
    return done[root]


def _signature(declared: type[Operator]) -> list[inspect.Parameter]:
    shown: list[inspect.Parameter] = []
    for p in declared.parameters:
        after_many = bool(shown) and shown[-1].kind is inspect.Parameter.VAR_POSITIONAL
        kind = inspect.Parameter.KEYWORD_ONLY if after_many else inspect.Parameter.POSITIONAL_OR_KEYWORD
        default = inspect.Parameter.empty if p.otherwise is None else p.otherwise
        shown.append(inspect.Parameter(p.name, inspect.Parameter.VAR_POSITIONAL if p.many else kind, default=default))
    return shown


_OBJECTS: dict[str, type[ExpressionOps]] = {}
# Qlib's base of an operator's class, by ours of its node.
_BASES: Sequence[tuple[type[Operator], type[ExpressionOps]]] = (
    (PairWindowed, PairRolling),
    (Windowed, Rolling),
    (Shift, Rolling),
    (One, NpElemOperator),
    (Two, NpPairOperator),
    (elsewhere.Mask, NpElemOperator),
    (elsewhere.ChangeInstrument, ElemOperator),
)


def _object(declared: type[Operator]) -> type[ExpressionOps]:
    """Return the class whose objects stand for the operator's nodes."""

    def init(self: _Declared, *arguments: Any, **named: Any) -> None:
        _Declared.__init__(self, *arguments, **named)

    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    init.__signature__ = inspect.Signature([this, *_signature(declared)])  # type: ignore[attr-defined]
    body = {"__init__": init, "__doc__": declared.__doc__, "declared": declared, "__module__": __name__}
    base = next((base for kind, base in _BASES if issubclass(declared, kind)), ExpressionOps)
    bases = (_Declared,) if base is ExpressionOps else (_Declared, base)
    _OBJECTS[declared.name] = type(declared.name, bases, body)
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
ChangeInstrument = _object(elsewhere.ChangeInstrument)
Mask = _object(elsewhere.Mask)
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

_OBJECTS["Rolling"] = Rolling
Rolling.declared = named.Rolling

__all__ = ["ElemOperator", "Expression", "ExpressionOps", "Feature", "NpElemOperator", "NpPairOperator"]
__all__ += ["PFeature", "PairOperator", "PairRolling"]
__all__ += list(_OBJECTS)  # noqa: PLE0605  the names bound above

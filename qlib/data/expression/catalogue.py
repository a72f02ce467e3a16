"""Operators by name, as Python classes: what `Operators` is.

    Operators.Mean                              the class whose objects are formulas
    Operators.register([Mine])                  from now on `Mine($close, 5)` can be written, in this session
    qlib.init(custom_ops=[Mine])                the same, said at the start

A catalogue keeps the table that formulas are parsed with (`registry`) beside the classes.  Each session has one; the
global `Operators` shows that of the live session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from qlib.data.expression import objects
from qlib.data.expression.legacy import declare
from qlib.data.expression.node import Operator
from qlib.data.expression.objects import Expression, ExpressionOps, Feature, PFeature
from qlib.data.expression.registry import OPERATORS, Registry
from qlib.errors import ConfigError
from qlib.log import get_module_logger
from qlib.utils.objects import get_callable_kwargs

logger = get_module_logger("ops")


class WrongOperatorError(ConfigError, TypeError):
    """What was to be registered is no operator."""


def _class_of(declared: type[Operator]) -> type:
    """Return the class of a node's objects; the node's own where it has none."""
    return getattr(objects, declared.name, declared)


class OpsWrapper:
    """Operators by name; see the module.  One that was just made knows those of the package."""

    def __init__(self) -> None:
        self._ops: dict[str, type] = {}
        self.registry = Registry()
        self._begin()

    def _begin(self) -> None:
        for declared in OPERATORS.values():
            self.registry.register(declared)
        self._ops = {name: _class_of(declared) for name, declared in OPERATORS.items()}
        self._ops |= {"Feature": Feature, "PFeature": PFeature}

    def reset(self) -> None:
        """Forget every operator."""
        self._ops.clear()
        self.registry.clear()

    def register(self, ops_list: Sequence[Any]) -> None:
        """Add operators; one of a name that is known takes its place, with a warning.

        Parameters
        ----------
        ops_list
            Subclasses of `qlib.data.base.Expression` (users' own, written in Qlib's style, or the package's) or of
            `qlib.data.expression.node.Operator`, or configurations {"class": ..., "module_path": ...} of them.

        Raises
        ------
        WrongOperatorError
            Something else (a ConfigError and a TypeError); nothing is registered then.
        """
        classes = [_checked(one) for one in ops_list]
        for made in classes:
            name = made.name if issubclass(made, Operator) else made.__name__
            known = self._ops.get(name)
            if known is not None and known is not made:
                logger.warning(f"custom_ops: {name} takes the place of the operator of that name")
            self._ops[name] = made
            if name not in ("Feature", "PFeature"):
                self.registry.register(_node_class(made))

    def __getattr__(self, key: str) -> type:
        ops = vars(self).get("_ops", {})
        if key not in ops:
            message = f"The operator [{key}] is not registered"
            raise AttributeError(message)
        return ops[key]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def _checked(one: Any) -> type:
    made = get_callable_kwargs(one)[0] if isinstance(one, Mapping) else one
    if not (isinstance(made, type) and issubclass(made, Expression | Operator)):
        raise WrongOperatorError(
            f"custom_ops: received {one!r}; subclasses of qlib.data.base.Expression, such as those of "
            "qlib.data.ops.ElemOperator, or {'class': ..., 'module_path': ...} of one, are allowed"
        )
    if issubclass(made, Operator) and "name" not in vars(made):
        made.name = made.__name__
    return made


def _node_class(made: type) -> type[Operator]:
    """Return what the parser calls."""
    if issubclass(made, Operator):
        return made
    if made.__module__ == objects.__name__ and "declared" in vars(made):
        return vars(made)["declared"]
    assert issubclass(made, Expression)
    return declare(made)


class _LiveOperators(OpsWrapper):
    """The live session's catalogue, or that of the package before there is one."""

    def __init__(self) -> None:
        super().__init__()
        self._before = vars(self).copy()

    def follow(self, catalogue: OpsWrapper | None) -> None:
        """Show another catalogue, None for that of the package."""
        shown = self._before if catalogue is None else vars(catalogue)
        vars(self).update({name: shown[name] for name in ("_ops", "registry")})


Operators: Final = _LiveOperators()

TOpsList: Final = [objects.TResample]
OpsList: Final = [
    objects.ChangeInstrument,
    objects.Rolling,
    objects.Ref,
    objects.Max,
    objects.Min,
    objects.Sum,
    objects.Mean,
    objects.Std,
    objects.Var,
    objects.Skew,
    objects.Kurt,
    objects.Med,
    objects.Mad,
    objects.Slope,
    objects.Rsquare,
    objects.Resi,
    objects.Rank,
    objects.Quantile,
    objects.Count,
    objects.EMA,
    objects.WMA,
    objects.Corr,
    objects.Cov,
    objects.Delta,
    objects.Abs,
    objects.Sign,
    objects.Log,
    objects.Power,
    objects.Add,
    objects.Sub,
    objects.Mul,
    objects.Div,
    objects.Greater,
    objects.Less,
    objects.And,
    objects.Or,
    objects.Not,
    objects.Gt,
    objects.Ge,
    objects.Lt,
    objects.Le,
    objects.Eq,
    objects.Ne,
    objects.Mask,
    objects.IdxMax,
    objects.IdxMin,
    objects.If,
    Feature,
    PFeature,
    *TOpsList,
]


def register_all_ops(C: Mapping[str, Any]) -> None:
    """Register the package's operators, then those that the settings name under `custom_ops`, in the live session."""
    Operators.reset()
    Operators._begin()  # noqa: SLF001  of this module
    Operators.register(C["custom_ops"])


__all__ = ["ExpressionOps", "Operators", "OpsList", "OpsWrapper", "TOpsList", "WrongOperatorError", "register_all_ops"]

"""A formula as a tree of nodes; equal formulas are one object.

    Column("close")                     $close
    Mean(Column("close"), 5)            Mean($close,5)         an Operator, declared in operators/
    Div(Column("close"), 2)             Div($close,2)          numbers and texts are themselves

Nodes are interned: however a formula is spelled, the same computation is the same node, so `is` compares formulas and
shared work is found for nothing.  A node knows its dtype and its span from the day it is made; a node that would make
no sense (a window of -1, a boolean minus a boolean) cannot be made: NodeError says why.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from qlib.data.expression.span import Span
from qlib.errors import did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from qlib.data.expression.lowering import Builder, Result
    from qlib.data.expression.parameters import Parameter
    from qlib.data.panel import Panel

Scalar = bool | int | float | str | None

# "flag" is a boolean with gaps (a comparison read from another row): float32 holding 0, 1 and NaN.
# "date" is the number of the days since 1970-01-01, NaN where there is none: float32 holds each exactly.
STORED = {
    "bool": "bool",
    "int64": "int64",
    "float32": "float32",
    "float64": "float64",
    "flag": "float32",
    "date": "float32",
}
# What a dtype becomes where some rows have no value.
GAPPED = {**{name: name for name in STORED}, "bool": "flag", "int64": "float64"}

# Characters of a node's text: where parts repeat their parts again and again, it would fill the memory.
WRITTEN: Final = 500_000

_living: weakref.WeakValueDictionary[tuple, Node] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class NodeError(ValueError):
    """Why a node cannot be made; `argument` is the place of the argument that is wrong, None for the node itself."""

    def __init__(self, why: str, argument: int | None = None) -> None:
        super().__init__(why)
        self.why, self.argument = why, argument


class Node:
    """What a formula is made of; see the module."""

    __slots__ = ("__weakref__", "arguments", "children", "compat", "dtype", "span")

    arguments: tuple[Node | Scalar, ...]
    children: tuple[Node, ...]  # the arguments that are nodes
    compat: str | None
    dtype: str
    span: Span

    def __new__(cls, *arguments: Node | Scalar, compat: str | None = None) -> Node:
        # repr tells 1 from 1.0 from True and 0.0 from -0.0, which are equal; an interned node is its own identity.
        key = (cls, compat, *[a if isinstance(a, Node) else repr(a) for a in arguments])
        with _lock:
            node = _living.get(key)
        if node is None:
            node = super().__new__(cls)
            node.arguments, node.compat = arguments, compat
            node.children = tuple([a for a in arguments if isinstance(a, Node)])
            node.settle()
            with _lock:
                node = _living.setdefault(key, node)
        return node

    def settle(self) -> None:
        """Check the arguments, then set `dtype` and `span`."""
        raise NotImplementedError

    def __reduce__(self) -> tuple:
        return _remake, (type(self), self.arguments, self.compat)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The children whose values this node needs, over the same rows; one that looks elsewhere needs none."""
        return self.children

    def as_question(self) -> Node:
        """Return the node that stands for this one where true or false is needed: one may know only when it runs."""
        return self

    def __str__(self) -> str:
        """Canonical text: no spaces, operators by name, arguments in order; `Name(...)` for a part beyond WRITTEN."""
        order = list(walk(self, everywhere=True))
        readers = Counter(child for node in order for child in {*node.children})
        done: dict[Node, str] = {}
        for node in order:
            text = node.write([done[a] if isinstance(a, Node) else str(a) for a in node.arguments])
            done[node] = text if len(text) <= WRITTEN else f"{text[: text.find('(')]}(...)"
            for child in {*node.children}:  # texts grow with the depth: none is kept longer than it is needed
                readers[child] -= 1
                if not readers[child]:
                    del done[child]
        return done[self]

    def __repr__(self) -> str:
        return f"<{self}>"

    def write(self, arguments: list[str]) -> str:
        """Return the canonical text, the arguments' texts being given."""
        raise NotImplementedError


class Column(Node):
    """A stored field, in lower case: `$close`."""

    __slots__ = ()

    def settle(self) -> None:
        self.dtype, self.span = "float32", Span()

    @property
    def name(self) -> str:
        return str(self.arguments[0])

    def write(self, arguments: list[str]) -> str:
        return f"${arguments[0]}"


# ------------------------------------------------------------------------------------------------ operators
class Operator(Node):
    """A declared operation: its arguments, its dtype, its span and how it is computed.

    `across`: a row's value needs the rows of the other instruments at the same bar, and no other bar.
    `opaque`: a user's code computes it, which may look further than it says.
    """

    __slots__ = ()
    across: ClassVar[bool] = False
    opaque: ClassVar[bool] = False

    name: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]]

    def settle(self) -> None:
        for place, (parameter, value) in enumerate(zip(self.accepted(), self.arguments, strict=True)):
            if (why := parameter.complaint(value)) is not None:
                raise NodeError(f"{self.name}: {why}", place)
        if not self.children:
            raise NodeError(f"{self.name} needs at least one formula among its arguments", None)
        self.dtype = self.result_dtype()
        self.span = self.reach(Span.union(node.span for node in self.inputs))

    def accepted(self) -> tuple[Parameter, ...]:
        """Return the parameters; an operator whose compat rules allow more overrides it."""
        return self.parameters

    def result_dtype(self) -> str:
        """Return the dtype of the result, one of STORED."""
        raise NotImplementedError

    def reach(self, inner: Span) -> Span:
        """Return the span, that of the inputs together being given."""
        return inner

    def asks(self, low: int, high: int, times: np.ndarray) -> tuple[int, int]:
        """Return the first and last calendar position of the inputs that positions low ... high of this node need.

        `times` are those of the calendar.  An operator that declares EVERYTHING, but needs no more than a day or a
        week, says so here.
        """
        own = self.reach(Span())
        first = 0 if math.isinf(own.back) else max(low - int(own.back), 0)
        last = len(times) - 1 if math.isinf(own.ahead) else min(high + int(own.ahead), len(times) - 1)
        return first, last

    def kernel_name(self) -> str:
        """Return what `explain` calls the code that runs."""
        raise NotImplementedError

    def lower(self, arguments: list[Result | Scalar], build: Builder) -> Result:
        """Return what computes the node; values stand for the nodes among the arguments."""
        raise NotImplementedError

    def write(self, arguments: list[str]) -> str:
        shown = (repr(a) if isinstance(a, str) else text for a, text in zip(self.arguments, arguments, strict=True))
        return f"{self.name}({','.join(shown)})"

    @classmethod
    def bind(
        cls, positional: list[Node | Scalar], named: dict[str, Node | Scalar], *, compat: str | None = None
    ) -> Operator:
        """Make the node from a call's arguments; raise NodeError where they do not fit the parameters."""
        if not named and len(positional) == len(cls.parameters) and not any([p.many for p in cls.parameters]):
            return cls(*positional, compat=compat)
        values = cls.matched(positional, named)
        arguments: list[Node | Scalar] = []
        for parameter in cls.parameters:
            arguments += values[parameter.name] if parameter.many else [values[parameter.name]]
        return cls(*arguments, compat=compat)

    @classmethod
    def matched(cls, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call's arguments by their names, a tuple for a parameter that takes many, defaults filled in."""
        names = [p.name for p in cls.parameters]
        usage = f"{cls.name}({', '.join(p.name + ', ...' * p.many for p in cls.parameters)})"
        values: dict[str, Any] = {}
        taken = 0
        for parameter in cls.parameters:
            if parameter.many:
                rest = positional[taken:]
                count = next((i for i, value in enumerate(rest) if isinstance(value, Scalar)), len(rest))
                if count:
                    values[parameter.name] = tuple(rest[:count])
                    taken += count
            elif taken < len(positional):
                values[parameter.name] = positional[taken]
                taken += 1
        if taken < len(positional):
            raise NodeError(f"{usage} received {len(positional)} arguments", taken)
        for place, (name, value) in enumerate(named.items(), start=len(positional)):
            if name not in names:
                raise NodeError(f"{usage} has no argument {name}{did_you_mean(name, names)}", place)
            if name in values:
                raise NodeError(f"{usage} received {name} twice", place)
            values[name] = (value,) if cls.parameters[names.index(name)].many else value
        for parameter in cls.parameters:
            if parameter.otherwise is not None:
                values.setdefault(parameter.name, parameter.otherwise)
        if missing := [name for name in names if name not in values]:
            raise NodeError(f"{usage} lacks {' and '.join(missing)}", None)
        return values


class PanelOperator(Operator):
    """An operator that is computed over all rows of a panel at once: across instruments, days, or somewhere else."""

    __slots__ = ()

    def kernel_name(self) -> str:
        return self.name.lower()

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        """Return the value of every row of the panel, in the dtype that STORED names for `self.dtype`.

        Arrays stand for `inputs`, over the panel's rows (float32, float64, bool or int64, never to be changed);
        children that are not among `inputs` stand as nodes, and numbers and texts as themselves.
        """
        raise NotImplementedError


def walk(*roots: Node, everywhere: bool = False) -> Iterator[Node]:
    """Yield every node below the roots once, inputs before readers; no recursion, so any depth is fine.

    With `everywhere`, also the nodes that are evaluated somewhere else than over the panel's rows.
    """
    seen: set[Node] = set()
    for root in roots:
        stack = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                yield node
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                below = node.children if everywhere else node.inputs
                stack += [(child, False) for child in reversed(below) if child not in seen]


def looks_across(*roots: Node) -> bool:
    """Tell whether a formula needs the rows of all members of the universe, not only those of an instrument."""
    return any(isinstance(node, Operator) and node.across for node in walk(*roots, everywhere=True))


def is_opaque(*roots: Node) -> bool:
    """Tell whether a user's code is below the roots, at any depth."""
    return any(isinstance(node, Operator) and node.opaque for node in walk(*roots, everywhere=True))


def _remake(kind: type[Node], arguments: tuple, compat: str | None) -> Node:
    return kind(*arguments, compat=compat)

"""Fields -> the steps that compute them, each piece of work once.

    fields   "Mean($close,5)/$close"   "Std($close,5)/$close"
    steps    0 $close   1 Mean(#0,5)   2 Div(#1,#0)   3 Std(#0,5)   4 Div(#3,#0)
    free            after 2: #1        after 4: #3 and #0

Equal formulas are one node (node.py), so a sub-expression that several fields share is one step.  The plan knows what
must be read (`reads`), how far around a row the fields look (`span`), and after which step a buffer is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from qlib.data.expression.grammar import parse
from qlib.data.expression.lowering import Compiled, compile_nodes
from qlib.data.expression.node import Column, Node, Operator, PanelOperator, Scalar, walk
from qlib.data.expression.span import Span
from qlib.errors import ExpressionError


@dataclass(frozen=True, slots=True)
class Step:
    """One node to compute, with its arguments and the fields that it is."""

    node: Node
    arguments: tuple[StepNumber | Scalar | Node, ...]
    fields: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StepNumber:
    """The result of an earlier step, as an argument."""

    at: int


@dataclass(frozen=True, slots=True)
class Phase:
    """A program that computes `roots`, and the operators over the whole panel that read them: none in the last phase.

    `needs`: what those operators read, `roots` and what was there before.
    """

    compiled: Compiled
    roots: tuple[Node, ...]
    needs: tuple[Node, ...]
    then: tuple[PanelOperator, ...]


class Plan:
    """What `build_plan` makes and `evaluate` runs."""

    def __init__(self, fields: Sequence[str], roots: Sequence[Node], compat: str | None) -> None:
        self.fields = tuple(fields)
        self.roots = tuple(roots)
        self.compat = compat
        nodes = list(walk(*self.roots))
        self.nodes = tuple(nodes)
        self.reads: tuple[str, ...] = tuple(sorted(node.name for node in nodes if isinstance(node, Column)))

    @property
    def span(self) -> Span:
        """Rows that must be loaded before and after the rows that are wanted, for all fields together."""
        return Span.union(self.spans)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The span of each field."""
        return tuple(node.span for node in self.roots)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The nodes in order, as `explain` shows them."""
        return _steps(self.nodes, self.roots)

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """What the engine runs, compiled when it is asked for first."""
        return _phases(self.nodes, self.roots)

    @property
    def compiled(self) -> bool:
        """Whether `phases` are there."""
        return "phases" in vars(self)

    def part(self, places: Sequence[int]) -> Plan:
        """Return the plan of some of the fields."""
        return Plan([self.fields[i] for i in places], [self.roots[i] for i in places], self.compat)

    def __reduce__(self) -> tuple:
        return Plan, (self.fields, self.roots, self.compat)


def build_plan(
    fields: Sequence[object], *, compat: str | None = None, registry: Mapping[str, type[Operator]] | None = None
) -> Plan:
    """Parse the fields and order the work.

    Parameters
    ----------
    fields
        Texts of formulas, or objects whose ``str()`` is one; the same may stand twice.
    compat
        "qlib" for Qlib's own numbers where the default differs (docs/deviations.md), None for the default.
    registry
        The operators that may be called; those of the package by default.

    Raises
    ------
    ExpressionError
        A formula cannot be read; the message shows the column and the nearest operator.

    >>> plan = build_plan(["Ref($close, -1) / $close", "Mean($CLOSE, 5)"])
    >>> plan.reads, plan.span
    (('close',), Span(back=4, ahead=1))
    """
    if compat not in (None, "qlib"):
        raise ExpressionError(f"compat must be None or 'qlib', received {compat!r}")
    if isinstance(fields, str):
        raise ExpressionError("fields must be a list of formulas, received one text", fields)
    texts = [str(field) for field in fields]
    known: dict[str, Node] = {}
    for text in texts:
        if text not in known:
            known[text] = parse(text, compat=compat, registry=registry)
    return Plan(texts, [known[text] for text in texts], compat)


def _steps(nodes: Sequence[Node], roots: Sequence[Node]) -> tuple[Step, ...]:
    number = {node: i for i, node in enumerate(nodes)}
    wanted: dict[Node, list[int]] = {}
    for field, root in enumerate(roots):
        wanted.setdefault(root, []).append(field)
    return tuple(
        Step(
            node,
            ()
            if isinstance(node, Column)
            else tuple(StepNumber(number[a]) if a in number else a for a in node.arguments),
            tuple(wanted.get(node, ())),
        )
        for node in nodes
    )


def _phases(nodes: Sequence[Node], roots: Sequence[Node]) -> tuple[Phase, ...]:
    """Cut the work where operators need the whole panel: each of those waits for what is below it."""
    level: dict[Node, int] = {}
    for node in nodes:
        below = max((level[child] for child in node.inputs), default=0)
        level[node] = below + isinstance(node, PanelOperator)
    phases = []
    for at in range(1, max(level.values(), default=0) + 1):
        then = tuple(node for node in nodes if isinstance(node, PanelOperator) and level[node] == at)
        needs = tuple(dict.fromkeys(child for node in then for child in node.inputs))
        own = tuple(node for node in needs if not _stands(node))
        phases.append(Phase(compile_nodes(own, _stands), own, needs, then))
    return (*phases, Phase(compile_nodes(roots, _stands), tuple(roots), (), ()))


def _stands(node: Node) -> bool:
    """Tell whether a node's values stand in memory when a program runs."""
    return isinstance(node, Column | PanelOperator)

"""Formulas that Qlib prints alike, and therefore takes for one another (compat="qlib" only).

Qlib keeps what it computed under the formula's text, and the text of some operators leaves arguments out.  Within a
query, `DayCumsum($volume,'10:00','14:30')` answers with the sums of `DayCumsum($volume)`, if that one stands before it
in order of text and looks as far around.  Here every text is complete, and this room finds who would be taken for whom.
What Qlib keeps from one query to the next is not reproduced.
"""

from __future__ import annotations

from typing import Final

from qlib.data.expression.node import Node, Operator, walk
from qlib.data.expression.operators.days import DayCumsum
from qlib.data.expression.operators.fewer_rows import FewerRows, fewer_rows
from qlib.data.expression.operators.resample import TResample
from qlib.data.expression.operators.select import Cut
from qlib.data.expression.plan import Plan
from qlib.data.expression.span import Span

# How many of the arguments Qlib's text shows.
_SHOWN: Final[dict[type[Node], int]] = {DayCumsum: 1, Cut: 1, TResample: 2}


def taken_alike(plan: Plan) -> Plan:
    """Return the plan with every formula replaced by the one that Qlib takes it for.

    >>> from qlib.data.expression.plan import build_plan
    >>> plan = build_plan(["DayCumsum($v,'10:00')", "DayCumsum($v)", "DayCumsum($w,'10:00')"], compat="qlib")
    >>> [str(root) for root in taken_alike(plan).roots][0]
    "DayCumsum($v,'9:30','14:59',1)"
    """
    roots = [root.root if isinstance(root, FewerRows) else root for root in plan.roots]
    if plan.compat != "qlib" or sum(type(node) in _SHOWN for node in walk(*roots)) < 2:
        return plan
    kept: dict[tuple[int, Span], Node] = {}
    texts: dict[tuple, int] = {}
    order = sorted(range(len(roots)), key=lambda i: plan.fields[i].replace(" ", ""))
    taken = {i: fewer_rows(_taken(roots[i], kept, texts)) for i in order}
    return Plan(plan.fields, [taken[i] for i in range(len(roots))], plan.compat)


def _taken(root: Node, kept: dict[tuple[int, Span], Node], texts: dict[tuple, int]) -> Node:
    """Return the formula that Qlib takes `root` for; a number stands for each different text, which may be long."""
    number: dict[Node, int] = {}
    made: dict[Node, Node] = {}
    for node in walk(root):
        shown = [number[a] if a in number else str(a) for a in node.arguments[: _SHOWN.get(type(node))]]
        text = (node.name, *shown) if isinstance(node, Operator) else (str(node),)
        number[node] = texts.setdefault(text, len(texts))
        arguments = [made.get(a, a) if isinstance(a, Node) else a for a in node.arguments]
        changed = any(new is not old for new, old in zip(arguments, node.arguments, strict=True))
        own = type(node)(*arguments, compat=node.compat) if changed else node
        made[node] = kept.setdefault((number[node], root.span), own) if type(node) in _SHOWN else own
    return made[root]

"""Formulas: text -> node -> plan -> numbers.  Nothing here knows a file.

grammar.py      text -> node             parameters.py  what an operator may be called with
node.py         interned trees           span.py        how far a formula looks
operators/      one class per operator   registry.py    operators by name
plan.py         fields -> steps          engine.py      steps + panel -> float32 rows
batches.py      thousands of formulas    live.py         bar after bar
meetings.py     groups of instruments that are computed apart, and meet
explain.py      the plan in words        instructions.py  what runs, in words
"""

from qlib.data.expression import operators
from qlib.data.expression.batches import evaluate_batches
from qlib.data.expression.engine import evaluate, evaluate_block
from qlib.data.expression.explain import explain
from qlib.data.expression.grammar import parse
from qlib.data.expression.live import Engine
from qlib.data.expression.plan import Plan, build_plan
from qlib.data.expression.registry import OPERATORS, Registry
from qlib.data.expression.span import EVERYTHING, Span

__all__ = [
    "EVERYTHING",
    "Engine",
    "OPERATORS",
    "Plan",
    "Registry",
    "Span",
    "build_plan",
    "evaluate",
    "evaluate_batches",
    "evaluate_block",
    "explain",
    "operators",
    "parse",
]

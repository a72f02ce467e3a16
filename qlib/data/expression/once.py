"""What a plan is asked more than once, it is asked once: a query of one bar should not walk through all formulas again.

@once
def looks_across_plan(plan: Plan) -> bool: ...     the answer is kept in the plan, and dies with it
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from qlib.data.expression.plan import Plan

Answer = TypeVar("Answer")


def once(question: Callable[[Plan], Answer]) -> Callable[[Plan], Answer]:
    """Function decorator: remember the answer to a question about a plan, which must depend on nothing else."""
    name = f"{question.__module__}.{question.__qualname__}"

    @wraps(question)
    def answer(plan: Plan) -> Answer:
        known = vars(plan)
        if name not in known:
            known[name] = question(plan)
        return known[name]

    return answer

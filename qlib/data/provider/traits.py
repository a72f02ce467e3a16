"""What a query must know about its plan; found out once for each plan."""

from __future__ import annotations

from qlib.data.expression.legacy import returned
from qlib.data.expression.node import Node, looks_across
from qlib.data.expression.once import once
from qlib.data.expression.operators.fewer_rows import rows_left
from qlib.data.expression.pit import OverPeriods, over_periods
from qlib.data.expression.plan import Plan
from qlib.data.expression.sites import Leaves, asked_elsewhere, kept_apart, leaves
from qlib.data.expression.span import Span


@once
def span_of(plan: Plan) -> Span:
    """Return how far all fields together look around a row."""
    return plan.span


@once
def meets_others(plan: Plan) -> bool:
    """Tell whether a field needs the rows of all members of the universe."""
    return looks_across(*plan.roots)


@once
def leaves_of(plan: Plan) -> Leaves:
    """Return what the fields have rows of."""
    return leaves(*plan.roots)


@once
def elsewhere_of(plan: Plan) -> dict[str, tuple[Node, ...]]:
    """Return which formulas are evaluated for other instruments."""
    return asked_elsewhere(plan.roots)


@once
def reports_of(plan: Plan) -> list[OverPeriods]:
    """Return every P and PRef of the fields."""
    return over_periods(plan.roots)


@once
def apart_of(plan: Plan) -> Plan | None:
    """Return the plan with formulas of fewer rows apart; None where that is the plan itself."""
    apart = kept_apart(plan)
    return None if apart is plan else apart


@once
def masks_of(plan: Plan) -> dict[Node, Node]:
    """Return the fields that leave rows out, each with what tells which rows it has."""
    return {root: mask for root in plan.roots if (mask := rows_left(root)) is not None}


@once
def returned_of(plan: Plan) -> tuple[Node, ...]:
    """Return what tells which rows they have, of users' operators without a formula."""
    return returned(*plan.roots) if leaves_of(plan).every else ()


@once
def dates_of(plan: Plan) -> list[int]:
    """Return the places of the fields that are dates."""
    return [place for place, root in enumerate(plan.roots) if root.dtype == "date"]

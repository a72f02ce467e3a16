"""What a plan must be given for a query, where its span alone would ask for everything.

A span counts rows, and how many rows a day has is no part of a formula: `DayLast($close)` declares EVERYTHING.  With
the calendar at hand, each operator says what it needs for which positions (`Operator.asks`), from the fields down to
the columns, and a day is a day.
"""

from __future__ import annotations

import math

import numpy as np

from qlib.data.expression.node import Operator, walk
from qlib.data.expression.once import once
from qlib.data.expression.plan import Plan


def positions_needed(plan: Plan, low: int, high: int, times: np.ndarray) -> tuple[int, int]:
    """Return the first and last calendar position to load for rows at positions low ... high.

    >>> from qlib.data.expression.plan import build_plan
    >>> times = np.arange("2024-01-01", "2024-01-04", 3_600_000_000_000, dtype="datetime64[ns]")  # three days, by hours
    >>> positions_needed(build_plan(["DayLast($close)"]), 30, 31, times)
    (24, 47)
    >>> positions_needed(build_plan(["Mean(DayLast($close),8)"]), 30, 31, times)
    (0, 47)
    """
    if not _asks_by_time(plan):
        return _at_most(low, high, plan.span.back, plan.span.ahead, times)
    needed = dict.fromkeys(plan.roots, (low, high))
    for node in reversed(list(walk(*plan.roots))):
        if not isinstance(node, Operator) or not node.inputs:
            continue
        first, last = node.asks(*needed[node], times)
        for child in node.inputs:
            before = needed.get(child, (first, last))
            needed[child] = min(first, before[0]), max(last, before[1])
    ends = [_at_most(*needed[node], node.span.back, node.span.ahead, times) for node in needed if not node.inputs]
    return min(low, *(first for first, _ in ends)), max(high, *(last for _, last in ends))


@once
def _asks_by_time(plan: Plan) -> bool:
    """Tell whether an operator needs less than its span says."""
    return any(isinstance(node, Operator) and type(node).asks is not Operator.asks for node in walk(*plan.roots))


def _at_most(low: int, high: int, back: float, ahead: float, times: np.ndarray) -> tuple[int, int]:
    """Return the positions that a span asks for: that of a column is its own row."""
    first = 0 if math.isinf(back) else max(low - int(back), 0)
    last = len(times) - 1 if math.isinf(ahead) else min(high + int(ahead), len(times) - 1)
    return first, last

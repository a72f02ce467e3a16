"""How many rows of the future a label knows.

    guess_horizon(["Ref($close, -2)/Ref($close, -1) - 1"])      2

The last rows of a training segment know that much of what follows; so much must lie between it and the next segment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qlib.config import active_settings
from qlib.data.expression.plan import build_plan
from qlib.errors import InputError


def guess_horizon(label: Sequence[str]) -> int:
    """Return how many rows after its own the formulas of a label look, the farthest of them.

    Raises InputError when there is no formula, and when one looks ahead without an end.

    >>> guess_horizon(["Ref($close, -5)/$close - 1", "$close"])
    5
    """
    if isinstance(label, str) or not len(label):
        raise InputError(f"guess_horizon: received {label!r}; a list of formulas is allowed")
    plan = build_plan(list(label), compat=active_settings().compat)
    for text, span in zip(label, plan.spans, strict=True):
        if math.isinf(span.ahead):
            raise InputError(f"guess_horizon: {text} knows all that follows; give the horizon yourself")
    return int(plan.span.ahead)

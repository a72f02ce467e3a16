"""Statistics of one array, outside any store: what `rolling` and `expanding` share."""

from __future__ import annotations

from typing import Any

import numpy as np

from qlib.data.expression.inner import Given
from qlib.data.expression.node import Operator
from qlib.data.expression.sites import exactly
from qlib.data.panel import Panel


def over(kind: type[Operator], a: Any, window: int) -> np.ndarray:
    """Return an operator's value at every row of an array, float64; window 0: all rows so far."""
    values = np.asarray(a, dtype=np.float64)
    if values.ndim != 1:
        message = f"an array of one dimension is expected, received shape {values.shape}"
        raise ValueError(message)
    node = kind(Given("a", "float64"), int(window))
    return exactly([node], Panel(("a",), np.array([0, len(values)]), np.array([0]), {"a": values}))[node]

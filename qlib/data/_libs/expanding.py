"""Qlib's path for statistics over all rows of an array so far; see the operators of the same names.

>>> import numpy as np
>>> expanding_mean(np.array([1.0, 2, 4, np.nan, 5])).round(3).tolist()
[1.0, 1.5, 2.333, 2.333, 3.0]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qlib.data._libs.windows import over
from qlib.data.expression.operators.rolling import Mean, Resi, Rsquare, Slope


def expanding_mean(a: Any) -> np.ndarray:
    """Return the mean of the values seen so far."""
    return over(Mean, a, 0)


def expanding_slope(a: Any) -> np.ndarray:
    """Return the slope of the line through the values seen so far."""
    return over(Slope, a, 0)


def expanding_rsquare(a: Any) -> np.ndarray:
    """Return the share of the variance that the line explains."""
    return over(Rsquare, a, 0)


def expanding_resi(a: Any) -> np.ndarray:
    """Return the current value minus the line."""
    return over(Resi, a, 0)

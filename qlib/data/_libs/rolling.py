"""Qlib's path for statistics over the last rows of an array; see the operators of the same names.

>>> import numpy as np
>>> rolling_slope(np.array([1.0, 2, 4, np.nan, 5]), 3).tolist()
[nan, 1.0, 1.5, 2.0, 0.5]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qlib.data._libs.windows import over
from qlib.data.expression.operators.rolling import Mean, Resi, Rsquare, Slope


def rolling_mean(a: Any, window: int) -> np.ndarray:
    """Return the mean of the values seen in the last `window` rows."""
    return over(Mean, a, window)


def rolling_slope(a: Any, window: int) -> np.ndarray:
    """Return the slope of the line through the values seen in the last `window` rows."""
    return over(Slope, a, window)


def rolling_rsquare(a: Any, window: int) -> np.ndarray:
    """Return the share of the variance that the line explains."""
    return over(Rsquare, a, window)


def rolling_resi(a: Any, window: int) -> np.ndarray:
    """Return the current value minus the line."""
    return over(Resi, a, window)

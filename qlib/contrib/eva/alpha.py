"""Qlib's path for measures of predictions; they live in qlib.analysis.ic and qlib.analysis.groups.

Under compat="qlib" equal scores at a quantile's edge are taken in row order, as Qlib does.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from qlib.analysis import groups
from qlib.analysis.ic import calc_all_ic, calc_ic, pred_autocorr, pred_autocorr_all
from qlib.config import active_settings

__all__ = [
    "calc_all_ic",
    "calc_ic",
    "calc_long_short_prec",
    "calc_long_short_return",
    "pred_autocorr",
    "pred_autocorr_all",
]


def _ties() -> Any:
    return "first" if active_settings().compat == "qlib" else "average"


def calc_long_short_return(
    pred: pd.Series, label: pd.Series, date_col: str = "datetime", quantile: float = 0.2, dropna: bool = False
) -> tuple[pd.Series, pd.Series]:
    """Return `groups.calc_long_short_return` with the session's rule for ties."""
    return groups.calc_long_short_return(pred, label, date_col, quantile, dropna, ties=_ties())


def calc_long_short_prec(
    pred: pd.Series,
    label: pd.Series,
    date_col: str = "datetime",
    quantile: float = 0.2,
    dropna: bool = False,
    is_alpha: bool = False,
) -> tuple[pd.Series, pd.Series]:
    """Return `groups.calc_long_short_prec` with the session's rule for ties."""
    return groups.calc_long_short_prec(pred, label, date_col, quantile, dropna, is_alpha, ties=_ties())

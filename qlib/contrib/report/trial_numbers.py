"""How far luck alone could have gone: the trials on these data, and what the numbers are worth after them.

    ledger     trial.json of the run: which trial it was, of how many, deflated Sharpe ratio, track record
    ic         95 % interval of the mean IC           net, excess     of the Sharpe ratio (a year) of the returns,
                                                                      with PSR and minimum track record

Intervals are of the stationary bootstrap, whose pieces keep what neighbours have in common; the same run gives the same
numbers. Without a ledger the ratios stand as if this had been the only trial, and the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.bootstrap import bootstrap_interval
from qlib.analysis.significance import minimum_track_record, moments, probabilistic_sharpe
from qlib.contrib.report.artifacts import Artifacts

LEVEL = 0.95


def trial_numbers(artifacts: Artifacts, ic: Sequence[float] | None, year: float | None) -> dict[str, Any]:
    """Return the trials' part of the twin; `ic` is that of each period, `year` the number of the backtest's bars."""
    numbers: dict[str, Any] = {
        "ledger": dict(artifacts.trial) if artifacts.trial else None,
        "level": LEVEL,
        "ic": None if not ic else _interval(np.array(ic, dtype=float), "mean", 1.0),
        "net": None,
        "excess": None,
    }
    if artifacts.portfolio is None or year is None:
        return numbers
    report = artifacts.portfolio.report
    net = report["return"].fillna(0.0) - report["cost"].fillna(0.0)
    numbers["net"] = of_returns(net, year)
    if "bench" in report and (report["bench"].fillna(0.0) != 0).any():
        numbers["excess"] = of_returns(net - report["bench"].fillna(0.0), year)
    return numbers


def of_returns(returns: pd.Series, year: float) -> dict[str, Any] | None:
    """Sharpe ratio a year, its interval, PSR and the periods after which it would be sure to be above 0.

    `track_record` is in periods; None (with `never`) where the ratio is not above 0: no length would do.
    """
    seen = moments(returns)
    if not math.isfinite(seen.sharpe):
        return None
    record = minimum_track_record(seen)
    return {
        **_interval(returns, "sharpe", math.sqrt(year)),
        "periods": seen.bars,
        "psr": probabilistic_sharpe(seen),
        "never": math.isinf(record),
        "track_record": record if math.isfinite(record) else None,
        "track_record_years": record / year if math.isfinite(record) else None,
    }


def _interval(series: pd.Series | np.ndarray, statistic: str, scale: float) -> Mapping[str, Any]:
    found = bootstrap_interval(series, statistic, level=LEVEL)
    return {
        "value": found.value * scale,
        "low": found.low * scale,
        "high": found.high * scale,
        "block": found.block,
        "draws": found.draws,
    }

"""Numbers of the signal: did the scores order what followed, how surely, and what did each group earn?

What goes in, and what comes out:

    pred, label  (datetime, instrument)
        -> coverage        rows, periods, share without a prediction or a label
        -> ic, rank_ic     mean, spread, standard error, t, series, rolling mean, histogram
        -> groups          mean label of five groups of scores, and what they add up to
        -> decay, memory, breadth     see signal_detail
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.bootstrap import mean_test
from qlib.analysis.groups import group_returns
from qlib.analysis.ic import calc_ic
from qlib.contrib.report.artifacts import Artifacts
from qlib.contrib.report.signal_detail import (
    Grid,
    breadth_numbers,
    decay_numbers,
    memory_numbers,
    month_numbers,
    quantile_numbers,
)
from qlib.contrib.report.times import stamp, stamps

GROUPS = 5
MOST_BARS = 400


def signal_numbers(artifacts: Artifacts, periods_per_month: float, freq: str) -> dict[str, Any] | None:
    """Return the signal's part of the twin, or None when the run left no prediction.

    Parameters
    ----------
    periods_per_month : float
        Length of the rolling mean, which is shortened when the history is.
    freq : str
        What one period is, as the twin says it.
    """
    pred, label = artifacts.pred, artifacts.label
    if pred is None:
        return None
    numbers: dict[str, Any] = {"freq": freq, "coverage": coverage(pred, label)}
    ic, rank_ic = artifacts.ic, artifacts.rank_ic
    if label is not None and not numbers["coverage"]["rows_used"]:
        label = None
    if label is not None and (ic is None or rank_ic is None):
        computed = calc_ic(pred, label)
        ic = computed[0] if ic is None else ic
        rank_ic = computed[1] if rank_ic is None else rank_ic
    numbers["ic"] = None if ic is None else coefficient_numbers(ic, periods_per_month)
    numbers["rank_ic"] = None if rank_ic is None else coefficient_numbers(rank_ic, periods_per_month)
    numbers["groups"] = None if label is None else group_numbers(pred, label)
    grid = Grid(pred, label)
    numbers["decay"], numbers["memory"] = decay_numbers(grid), memory_numbers(grid)
    numbers["breadth"] = breadth_numbers(grid)
    return numbers


def coverage(pred: pd.Series, label: pd.Series | None) -> dict[str, Any]:
    """Rows, periods and instruments, and what share of the labelled rows has no prediction."""
    predicted = pred[pred.notna()]
    times = pred.index.get_level_values("datetime")
    breadth = predicted.groupby(level="datetime").size()
    labelled = label[label.notna()].index if label is not None else pred.index[:0]
    used = len(labelled.intersection(predicted.index))
    return {
        "rows": len(pred),
        "rows_predicted": len(predicted),
        "rows_labelled": len(labelled),
        "rows_used": used,
        "missing_predictions": 1 - used / len(labelled) if len(labelled) else None,
        "periods": int(times.nunique()),
        "instruments": int(pred.index.get_level_values("instrument").nunique()),
        "instruments_per_period": float(breadth.median()) if len(breadth) else None,
        "first": stamp(times.min()) if len(pred) else None,
        "last": stamp(times.max()) if len(pred) else None,
    }


def coefficient_numbers(series: pd.Series, periods_per_month: float) -> dict[str, Any] | None:
    """Mean, spread, certainty, series and histogram of an IC series; None when no period has one."""
    seen = series.dropna()
    n = len(seen)
    if not n:
        return None
    values = seen.to_numpy(dtype=float)
    mean, std = float(values.mean()), float(values.std(ddof=1)) if n > 1 else None
    error, lags = standard_error(values)
    window = rolling_window(n, periods_per_month)
    rolling = seen.rolling(window).mean() if window else pd.Series(np.nan, seen.index)
    counts, edges = np.histogram(values, bins=int(np.clip(round(n**0.5), 5, 40)))
    return {
        "mean": mean,
        "std": std,
        "ir": mean / std if std else None,
        "standard_error": error,
        "standard_error_lags": lags,
        "t": mean / error if error else None,
        "positive_share": float((values > 0).mean()),
        "lowest": float(values.min()),
        "highest": float(values.max()),
        "periods": n,
        "periods_without": len(series) - n,
        "rolling_window": window,
        "series": {"time": stamps(seen.index), "value": values.tolist(), "rolling": rolling.tolist()},
        "bars": bar_means(seen),
        "months": month_numbers(seen),
        "quantiles": quantile_numbers(values),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def bar_means(series: pd.Series) -> dict[str, Any]:
    """The series in at most 400 bars: each is the mean of equally many periods and stands at the first of them.

    >>> bar_means(pd.Series(range(800), pd.date_range("2024", periods=800)).astype(float))["value"][:2]
    [0.5, 2.5]
    """
    n, values = len(series), series.to_numpy(dtype=float)
    per_bar = max(1, -(-n // MOST_BARS))
    starts = range(0, n, per_bar)
    return {
        "periods_per_bar": per_bar,
        "time": [time for k, time in enumerate(stamps(series.index)) if k % per_bar == 0],
        "value": [float(values[k : k + per_bar].mean()) for k in starts],
    }


def standard_error(values: np.ndarray) -> tuple[float | None, int]:
    """Standard error of a mean whose neighbours may be alike (Newey-West), and the lags it looks at.

    None for fewer than two values, and for values that never vary.
    """
    test = mean_test(values)
    return (test.error if np.isfinite(test.error) else None), test.lags


def rolling_window(n: int, periods_per_month: float) -> int | None:
    """A month of periods, or a quarter of a short history; None below twelve periods."""
    return None if n < 12 else int(max(3, min(round(periods_per_month), n // 4)))


def group_numbers(pred: pd.Series, label: pd.Series) -> dict[str, Any] | None:
    """What groups of scores earned: plain, and relative to the mean of all groups in the same period.

    The relative figure is the signal's own: a rising market lifts every group. `overlap` is the correlation of the mean
    label with that of the period before: near 1, labels look over many periods. None when no period has enough names.
    """
    table = group_returns(pred, label, n=GROUPS).dropna()
    if table.empty:
        return None
    table = table[table.columns[::-1]]  # lowest scores first, as a reader expects an axis to run
    everybody = table.mean(axis=1)
    relative = table.sub(everybody, axis=0)
    spread = (table.iloc[:, -1] - table.iloc[:, 0]).to_numpy()
    spread_error, _ = standard_error(spread)
    names = [f"{k} of {GROUPS}" for k in range(1, GROUPS + 1)]
    errors = [standard_error(relative[name].to_numpy())[0] for name in relative]
    adds_up = relative.cumsum()
    return {
        "count": GROUPS,
        "periods": len(table),
        "names": names,
        "overlap": float(everybody.autocorr()) if len(table) > 2 and everybody.std() else None,
        "mean": table.mean().tolist(),
        "relative_mean": relative.mean().tolist(),
        "relative_standard_error": errors,
        "top_less_bottom": {
            "mean": float(spread.mean()),
            "standard_error": spread_error,
            "t": float(spread.mean()) / spread_error if spread_error else None,
            "series": np.cumsum(spread).tolist(),
        },
        "time": stamps(table.index),
        "adds_up": [adds_up[name].tolist() for name in adds_up],
    }

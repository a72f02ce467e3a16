"""Information coefficients: per date, how well the prediction orders what followed.

IC is Pearson's correlation of prediction and label over the instruments of one date, rank IC is Spearman's (ties share
their average rank). A row counts where both are numbers. A date with fewer than two such rows, or on which prediction
or label is constant, has no correlation: NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from qlib.analysis.crosssection import CrossSections, Floats, Ints, as_series, cross_sections, date_codes
from qlib.errors import InputError


def calc_ic(
    pred: pd.Series | pd.DataFrame, label: pd.Series | pd.DataFrame, date_col: str = "datetime", dropna: bool = False
) -> tuple[pd.Series, pd.Series]:
    """Return (IC, rank IC), one value per date.

    Parameters
    ----------
    pred, label
        Series over (datetime, instrument); they are joined on their index.
    date_col
        Name of the index level that holds the date.
    dropna
        Leave out dates without a value.

    >>> days = pd.MultiIndex.from_product([pd.to_datetime(["2020-01-01", "2020-01-02"]), list("abc")],
    ...                                   names=["datetime", "instrument"])
    >>> pred = pd.Series([1.0, 2.0, 3.0, 5.0, 5.0, 5.0], index=days)
    >>> label = pd.Series([0.1, 0.2, 0.9, 0.1, 0.2, 0.3], index=days)
    >>> ic, ric = calc_ic(pred, label)
    >>> ric.tolist()      # the second day predicts the same for everyone: undefined
    [1.0, nan]
    """
    day = cross_sections(pred, label, date_col)
    both = ~(np.isnan(day.pred) | np.isnan(day.label))
    pairs = day.keep(both)
    ic = pd.Series(_correlation(pairs, pairs.pred, pairs.label), index=day.dates)
    code = pairs.code
    ric = pd.Series(_correlation(pairs, ranks(code, pairs.pred), ranks(code, pairs.label)), index=day.dates)
    return (ic.dropna(), ric.dropna()) if dropna else (ic, ric)


def ranks(code: Ints, values: Floats) -> Floats:
    """Return the rank (from 1, ties share their average) of each value among those with the same `code`.

    >>> ranks(np.array([0, 0, 0, 1]), np.array([5.0, 1.0, 5.0, 9.0])).tolist()
    [2.5, 1.0, 2.5, 1.0]
    """
    if not len(values):
        return np.empty(0)
    order = np.lexsort((values, code))
    sorted_code, sorted_values = code[order], values[order]
    fresh = np.concatenate([[True], (np.diff(sorted_code) != 0) | (sorted_values[1:] != sorted_values[:-1])])
    first = np.flatnonzero(fresh)
    last = np.concatenate([first[1:], [len(values)]]) - 1
    group_start = np.flatnonzero(np.concatenate([[True], np.diff(sorted_code) != 0]))
    offset = group_start[np.searchsorted(group_start, first, side="right") - 1]
    average = (first + last) / 2.0 - offset + 1.0
    out = np.empty(len(values))
    out[order] = average[np.cumsum(fresh) - 1]
    return out


def _correlation(pairs: CrossSections, x: Floats, y: Floats) -> Floats:
    """Pearson's correlation per date of two columns without NaN."""
    count = np.diff(pairs.start)
    out = np.full(len(count), np.nan)
    some = count > 1
    if not some.any():
        return out
    # reduceat needs non-empty groups: work on the dates that have at least two pairs
    rows = np.repeat(some, count)
    x, y, n = x[rows], y[rows], count[some]
    start = np.concatenate([[0], np.cumsum(n)[:-1]])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        varies = (np.maximum.reduceat(x, start) > np.minimum.reduceat(x, start)) & (
            np.maximum.reduceat(y, start) > np.minimum.reduceat(y, start)
        )
        x = x - np.repeat(np.add.reduceat(x, start) / n, n)
        y = y - np.repeat(np.add.reduceat(y, start) / n, n)
        # scaled to the largest deviation, so that squares of tiny or huge values stay in range
        x = x / np.repeat(np.maximum.reduceat(np.abs(x), start), n)
        y = y / np.repeat(np.maximum.reduceat(np.abs(y), start), n)
        product = np.add.reduceat(x * y, start)
        scale = np.sqrt(np.add.reduceat(x * x, start) * np.add.reduceat(y * y, start))
        found = np.clip(product / scale, -1.0, 1.0)
    out[some] = np.where(varies, found, np.nan)
    return out


def calc_all_ic(
    pred_dict_all: Mapping[str, pd.Series],
    label: pd.Series,
    date_col: str = "datetime",
    dropna: bool = False,
    n_jobs: int = -1,  # noqa: ARG001  Qlib's argument; one pass over arrays needs no workers
) -> dict[str, dict[str, pd.Series]]:
    """Return `{name: {"ic": ..., "ric": ...}}` for several predictions of one label."""
    out = {}
    for name, pred in pred_dict_all.items():
        ic, ric = calc_ic(pred, label, date_col=date_col, dropna=dropna)
        out[name] = {"ic": ic, "ric": ric}
    return out


def pred_autocorr(
    pred: pd.Series | pd.DataFrame, lag: int = 1, inst_col: str = "instrument", date_col: str = "datetime"
) -> pd.Series:
    """Return per date the correlation of the prediction with that of `lag` dates before, over the shared instruments.

    The first `lag` dates are NaN.
    """
    series = as_series(pred, "pred")
    if inst_col not in series.index.names:
        raise InputError(f"the index has no level {inst_col!r}; its levels are {list(series.index.names)}")
    code, dates = date_codes(series.index, date_col)
    name = pd.factorize(series.index.get_level_values(inst_col))[0]
    table = np.full((len(dates), int(name.max(initial=-1)) + 1), np.nan)
    rows = (code >= 0) & (name >= 0)
    table[code[rows], name[rows]] = series.to_numpy(dtype=np.float64)[rows]
    before = np.full_like(table, np.nan)
    if lag > 0:
        before[lag:] = table[: len(table) - lag] if lag < len(table) else np.empty((0, table.shape[1]))
    elif lag < 0:
        before[:lag] = table[-lag:]
    else:
        before = table
    seen = ~(np.isnan(table) | np.isnan(before))
    start = np.concatenate([[0], np.cumsum(seen.sum(axis=1))]).astype(np.int64)
    pairs = CrossSections(dates, start, table[seen], before[seen])
    return pd.Series(_correlation(pairs, pairs.pred, pairs.label), index=dates.rename(None))


def pred_autocorr_all(
    pred_dict: Mapping[str, pd.Series],
    n_jobs: int = -1,  # noqa: ARG001  Qlib's argument
    **kwargs: object,
) -> dict[str, pd.Series]:
    """Return `pred_autocorr(pred, **kwargs)` of several predictions, by name."""
    return {name: pred_autocorr(pred, **kwargs) for name, pred in pred_dict.items()}  # type: ignore[arg-type]

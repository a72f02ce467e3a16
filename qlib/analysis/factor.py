"""What a score is worth as a factor: weights, quantiles, and how fast they change.

    pred, label (datetime, instrument)
        factor_weights      score less the date's mean, over the sum of sizes: long as much as short, one unit in all
        factor_returns      what those weights earn, per date
        quantiles           1 (lowest scores) to n (highest), cut at the quantiles of the date's scores
        quantile_returns    mean label of each quantile; quantile_spread, of the highest less of the lowest, per date
        quantile_turnover   share of a quantile's names that were not in it before
        rank_autocorr       correlation of the ranks with those of an earlier date

Rows without a score (for returns: or without a label) are left out. Quantiles follow the scores' values, so equal
scores are never parted and sizes may differ; `group_returns` cuts by place instead. The best have the highest number
here, and the lowest there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from qlib.analysis.crosssection import CrossSections, Floats, as_series, cross_sections, date_codes
from qlib.analysis.ic import pred_autocorr, ranks
from qlib.analysis.relative import alpha, beta
from qlib.errors import InputError


def factor_weights(pred: pd.Series | pd.DataFrame, *, demeaned: bool = True, date_col: str = "datetime") -> pd.Series:
    """Return per date the scores (less their mean with `demeaned`) over the sum of their sizes.

    >>> day = [pd.Timestamp("2020-01-01")]
    >>> rows = pd.MultiIndex.from_product([day, list("abc")], names=["datetime", "instrument"])
    >>> factor_weights(pd.Series([3.0, 2.0, 1.0], index=rows)).tolist()
    [0.5, 0.0, -0.5]
    """
    series = as_series(pred, "pred")
    series = series[series.notna()]
    code, dates = date_codes(series.index, date_col)
    return pd.Series(_weights(series.to_numpy(dtype=np.float64), code, len(dates), demeaned), index=series.index)


def factor_returns(
    pred: pd.Series | pd.DataFrame,
    label: pd.Series | pd.DataFrame,
    *,
    demeaned: bool = True,
    date_col: str = "datetime",
) -> pd.Series:
    """Return per date what the weights of the scores earn; labels are returns."""
    day = _known(pred, label, date_col)
    weight = _weights(day.pred, day.code, len(day.dates), demeaned)
    return pd.Series(day.sums(weight * day.label), index=day.dates)


def factor_alpha_beta(
    pred: pd.Series | pd.DataFrame, label: pd.Series | pd.DataFrame, N: float, *, date_col: str = "datetime"
) -> tuple[float, float]:
    """Return (alpha as growth a year, beta) of the factor's returns against the mean of all names."""
    day = _known(pred, label, date_col)
    weight = _weights(day.pred, day.code, len(day.dates), True)
    earned, market = day.sums(weight * day.label), day.sums(day.label) / np.diff(day.start)
    return alpha(earned, market, N), beta(earned, market)


def quantiles(pred: pd.Series | pd.DataFrame, n: int = 5, *, date_col: str = "datetime") -> pd.Series:
    """Return the quantile of each row among the scores of its date, 1 to n; a row without a score has none.

    >>> day = [pd.Timestamp("2020-01-01")]
    >>> rows = pd.MultiIndex.from_product([day, list("abcd")], names=["datetime", "instrument"])
    >>> quantiles(pd.Series([0.4, 0.3, 0.2, 0.1], index=rows), 2).tolist()
    [2, 2, 1, 1]
    """
    series = as_series(pred, "pred")
    series = series[series.notna()]
    code, dates = date_codes(series.index, date_col)
    return pd.Series(_cut(series.to_numpy(dtype=np.float64), code, len(dates), n), index=series.index)


def quantile_returns(
    pred: pd.Series | pd.DataFrame,
    label: pd.Series | pd.DataFrame,
    n: int = 5,
    *,
    demeaned: bool = True,
    date_col: str = "datetime",
) -> pd.DataFrame:
    """Return what each quantile earns, index 1 to n: columns mean, error, dates.

    Of each date the mean label of a quantile counts once; `mean` and its standard error are those over the dates. With
    `demeaned` the mean label of all names is taken off first.

    >>> days = pd.to_datetime(["2020-01-01", "2020-01-02"])
    >>> rows = pd.MultiIndex.from_product([days, list("ab")], names=["datetime", "instrument"])
    >>> score, earned = pd.Series([2.0, 1, 2, 1], index=rows), pd.Series([0.4, 0.2, 0.0, -0.4], index=rows)
    >>> quantile_returns(score, earned, 2).round(6).to_dict("list")
    {'mean': [-0.15, 0.15], 'error': [0.05, 0.05], 'dates': [2, 2]}
    """
    day = _known(pred, label, date_col)
    earned = day.label
    if demeaned:
        earned = earned - np.repeat(day.sums(earned) / np.diff(day.start), np.diff(day.start))
    cut = _cut(day.pred, day.code, len(day.dates), n)
    table = _means(earned, day.code, cut, len(day.dates), int(n))
    dates = (~np.isnan(table)).sum(axis=0)
    means = pd.DataFrame(table, columns=range(1, int(n) + 1))
    error = means.std(ddof=1) / np.sqrt(dates)
    return pd.DataFrame({"mean": means.mean(), "error": error, "dates": dates})


def quantile_spread(
    pred: pd.Series | pd.DataFrame, label: pd.Series | pd.DataFrame, n: int = 5, *, date_col: str = "datetime"
) -> pd.Series:
    """Return per date the mean label of the highest quantile less that of the lowest.

    A date on which one of them has no name is NaN.
    """
    day = _known(pred, label, date_col)
    cut = _cut(day.pred, day.code, len(day.dates), n)
    table = _means(day.label, day.code, cut, len(day.dates), int(n))
    return pd.Series(table[:, -1] - table[:, 0], index=day.dates)


def quantile_turnover(
    pred: pd.Series | pd.DataFrame,
    quantile: int,
    n: int = 5,
    lag: int = 1,
    *,
    inst_col: str = "instrument",
    date_col: str = "datetime",
) -> pd.Series:
    """Return per date the share of a quantile's names that were not in it `lag` dates before.

    The first `lag` dates, and those without a name in it, are NaN.
    """
    if isinstance(lag, bool) or lag != int(lag) or lag < 1:
        raise InputError(f"lag: received {lag!r}; a whole number of dates of at least 1 is needed")
    found = quantiles(pred, n, date_col=date_col)
    if not 1 <= quantile <= n:
        raise InputError(f"quantile: received {quantile!r}; there are 1 to {n}")
    if inst_col not in found.index.names:
        raise InputError(f"the index has no level {inst_col!r}; its levels are {list(found.index.names)}")
    code, dates = date_codes(found.index, date_col)
    name = pd.factorize(found.index.get_level_values(inst_col))[0]
    inside = np.zeros((len(dates), int(name.max(initial=-1)) + 1), dtype=bool)
    rows = found.to_numpy() == quantile
    inside[code[rows], name[rows]] = True
    fresh = np.full(len(dates), np.nan)
    with np.errstate(invalid="ignore"):
        fresh[lag:] = (inside[lag:] & ~inside[:-lag]).sum(axis=1) / inside[lag:].sum(axis=1)
    return pd.Series(fresh, index=dates)


def rank_autocorr(
    pred: pd.Series | pd.DataFrame, lag: int = 1, *, inst_col: str = "instrument", date_col: str = "datetime"
) -> pd.Series:
    """Return per date the correlation of the scores' ranks with those of `lag` dates before, over the shared names."""
    series = as_series(pred, "pred")
    series = series[series.notna()]
    code, _ = date_codes(series.index, date_col)
    ranked = pd.Series(ranks(code, series.to_numpy(dtype=np.float64)), index=series.index)
    return pred_autocorr(ranked, lag, inst_col, date_col)


# --------------------------------------------------------------------------------------------------------- arrays
def _known(pred: pd.Series | pd.DataFrame, label: pd.Series | pd.DataFrame, date_col: str) -> CrossSections:
    return cross_sections(pred, label, date_col, dropna=True)


def _weights(score: Floats, code: np.ndarray, dates: int, demeaned: bool) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        if demeaned:
            mean = np.bincount(code, weights=score, minlength=dates) / np.bincount(code, minlength=dates)
            score = score - mean[code]
        size = np.bincount(code, weights=np.abs(score), minlength=dates)
        return score / size[code]


def _means(values: Floats, code: np.ndarray, cut: np.ndarray, dates: int, n: int) -> Floats:
    """Return the mean of the values of each date and quantile: (dates, n), NaN where there are none."""
    cell = code * n + cut - 1
    with np.errstate(invalid="ignore"):
        total = np.bincount(cell, weights=values, minlength=dates * n)
        return (total / np.bincount(cell, minlength=dates * n)).reshape(dates, n)


def _cut(score: Floats, code: np.ndarray, dates: int, n: int) -> np.ndarray:
    """Return the quantile of each score among those with the same code: edges are interpolated, right ends in."""
    if isinstance(n, bool) or n != int(n) or n < 1:
        raise InputError(f"n: received {n!r}; a whole number of quantiles of at least 1 is needed")
    order = np.lexsort((score, code))
    count = np.bincount(code, minlength=dates)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    ordered = score[order]
    found = np.ones(len(score), dtype=np.int64)
    for share in np.linspace(0, 1, int(n) + 1)[1:-1]:
        place = (count - 1) * share
        low = np.floor(place).astype(np.int64)
        part = place - low
        first = ordered[np.minimum(start + low, len(ordered) - 1)]
        last = ordered[np.minimum(start + np.minimum(low + 1, count - 1), len(ordered) - 1)]
        step = last - first  # from the nearer end, so that an edge on a score is that score
        edge = np.where(part >= 0.5, last - step * (1 - part), first + step * part)
        found += score > edge[code]
    return found

"""What the best and the worst names of a date earned: long-short, hit rates, quantile groups.

    names of one date by score     best |------|------|------|------| worst
                                         long                  short         quantile = 0.25

With `ties="average"` names whose equal scores straddle the cut share the places that are left, so the order of the rows
decides nothing; `ties="first"` takes them in row order, as Qlib does. A row without a score belongs to no side.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from qlib.analysis.crosssection import CrossSections, Floats, cross_sections
from qlib.errors import InputError

Ties = Literal["average", "first"]


def calc_long_short_return(
    pred: pd.Series | pd.DataFrame,
    label: pd.Series | pd.DataFrame,
    date_col: str = "datetime",
    quantile: float = 0.2,
    dropna: bool = False,
    *,
    ties: Ties = "average",
) -> tuple[pd.Series, pd.Series]:
    """Return per date ((mean label of the best - of the worst) / 2, mean label of all).

    Each side holds `floor(n * quantile)` of the date's n rows; with no name on a side the date is NaN.
    `dropna` leaves out rows where prediction or label is NaN, which also makes n smaller.

    >>> day = [pd.Timestamp("2020-01-01")]
    >>> rows = pd.MultiIndex.from_product([day, list("abcd")], names=["datetime", "instrument"])
    >>> score, earned = pd.Series([4.0, 3, 2, 1], index=rows), pd.Series([0.04, 0.02, 0.0, -0.02], index=rows)
    >>> long_short, average = calc_long_short_return(score, earned, quantile=0.25)
    >>> long_short.round(6).tolist(), average.round(6).tolist()
    ([0.03], [0.01])
    """
    day = cross_sections(pred, label, date_col, dropna=dropna)
    top, bottom = _sides(day, quantile, ties)
    known = ~np.isnan(day.label)
    value = np.where(known, day.label, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        best = day.sums(top * value) / day.sums(top * known)
        worst = day.sums(bottom * value) / day.sums(bottom * known)
        average = day.sums(value) / day.sums(known.astype(np.float64))
    return pd.Series((best - worst) / 2, index=day.dates), pd.Series(average, index=day.dates, name="label")


def calc_long_short_prec(
    pred: pd.Series | pd.DataFrame,
    label: pd.Series | pd.DataFrame,
    date_col: str = "datetime",
    quantile: float = 0.2,
    dropna: bool = False,
    is_alpha: bool = False,
    *,
    ties: Ties = "average",
) -> tuple[pd.Series, pd.Series]:
    """Return per date (share of the best whose label is above 0, share of the worst whose label is below 0).

    With `is_alpha` the date's mean label is taken off first. Raises InputError when there are too few instruments for
    one name a side.
    """
    day = cross_sections(pred, label, date_col, dropna=dropna)
    most = int(np.diff(day.start).max(initial=0))
    if int(1 / quantile) >= most:
        raise InputError(
            f"a quantile of {quantile} needs more than {int(1 / quantile)} instruments; the largest date has {most}"
        )
    top, bottom = _sides(day, quantile, ties)
    known = ~np.isnan(day.label)
    value = np.where(known, day.label, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if is_alpha:
            value = value - np.repeat(day.sums(value) / day.sums(known.astype(np.float64)), np.diff(day.start))
        rise, fall = known & (value > 0), known & (value < 0)
        long = day.sums(top * rise) / day.sums(top * known)
        short = day.sums(bottom * fall) / day.sums(bottom * known)
    return pd.Series(long, index=day.dates, name="label"), pd.Series(short, index=day.dates, name="label")


def group_returns(
    pred: pd.Series | pd.DataFrame, label: pd.Series | pd.DataFrame, n: int = 5, date_col: str = "datetime"
) -> pd.DataFrame:
    """Return the mean label of n groups of equal size per date; `Group1` holds the best scores, `Group<n>` the worst.

    Rows without a score or label are left out; a date with fewer than n names is NaN. A name belongs to group
    `floor(place * n / names) + 1`, so sizes differ by one at most; equal scores are placed in row order.

    >>> day = [pd.Timestamp("2020-01-01")]
    >>> rows = pd.MultiIndex.from_product([day, list("abcd")], names=["datetime", "instrument"])
    >>> score, earned = pd.Series([4.0, 3, 2, 1], index=rows), pd.Series([0.4, 0.2, 0.0, -0.2], index=rows)
    >>> group_returns(score, earned, n=2).round(6).iloc[0].tolist()
    [0.3, -0.1]
    """
    if n < 1:
        raise InputError(f"n: received {n}; at least one group is needed")
    day = cross_sections(pred, label, date_col)
    kept = day.keep(~(np.isnan(day.pred) | np.isnan(day.label)))
    count = np.diff(kept.start)
    code = kept.code
    order = np.lexsort((-kept.pred, code))
    place = np.arange(len(order)) - np.repeat(kept.start[:-1], count)
    with np.errstate(invalid="ignore", divide="ignore"):
        cell = code * n + place * n // np.repeat(count, count)
        total = np.bincount(cell, weights=kept.label[order], minlength=len(day.dates) * n)
        table = (total / np.bincount(cell, minlength=len(total))).reshape(len(day.dates), n)
    table[count < n] = np.nan
    return pd.DataFrame(table, index=day.dates, columns=[f"Group{k + 1}" for k in range(n)])


def _sides(day: CrossSections, quantile: float, ties: Ties) -> tuple[Floats, Floats]:
    """Return the share (0 to 1) each row has in the long and in the short side of its date."""
    if not 0 < quantile <= 1:
        raise InputError(f"quantile: received {quantile}; a share above 0 and up to 1 is allowed")
    if ties not in ("average", "first"):
        raise InputError(f"ties: received {ties!r}; allowed are 'average' and 'first'")
    count = np.diff(day.start)
    places = np.floor(count * quantile).astype(np.int64)
    return tuple(_best(day, score, places, ties) for score in (day.pred, -day.pred))  # type: ignore[return-value]


def _best(day: CrossSections, score: Floats, places: np.ndarray, ties: Ties) -> Floats:
    scored = ~np.isnan(score)
    code = day.code
    order = np.lexsort((np.where(scored, -score, np.inf), ~scored, code))
    code, value, scored = code[order], score[order], scored[order]
    place = np.arange(len(order)) - np.repeat(day.start[:-1], np.diff(day.start))
    room = places[code]
    share = ((place < room) & scored).astype(np.float64)
    if ties == "average" and len(value):
        fresh = np.concatenate([[True], (np.diff(code) != 0) | (value[1:] != value[:-1])])
        block = np.cumsum(fresh) - 1
        full = np.bincount(block, weights=share)  # places the block of equal scores received
        share = np.where(scored, (full / np.bincount(block))[block], 0.0)
    out = np.empty(len(order))
    out[order] = share
    return out

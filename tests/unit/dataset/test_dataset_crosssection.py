"""Statistics by date are what pandas' groupby says, for any grouping, with NaN, ties and infinities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.data.dataset import kernels
from qlib.data.dataset.crosssection import Dates

values = st.sampled_from([np.nan, 0.0, -0.0, 1.0, 2.5, -3.0, 1e-3, 100.0])
rows = st.lists(st.tuples(st.integers(0, 4), values | st.floats(-1e6, 1e6, width=32)), max_size=40)
kinds = st.sampled_from(["f4", "f8"])


def grouped(table, kind):
    codes = np.array([code for code, _ in table], dtype=np.int64)
    x = np.array([value for _, value in table], dtype=kind)
    return codes, x, pd.Series(x.astype("f8")).groupby(codes), Dates(codes)


def in_frame_order(dates, gathered):
    out = np.empty(len(gathered))
    dates.scatter(gathered, out)
    return out


@settings(deadline=None, max_examples=cases(30, 300))
@given(rows, kinds)
def test_mean_and_std_are_those_of_pandas(table, kind):
    _, x, groups, dates = grouped(table, kind)
    together = dates.gather(x)
    mean, std = dates.mean_and_std(together, ~np.isnan(together))
    np.testing.assert_allclose(
        in_frame_order(dates, dates.spread(mean)), groups.transform("mean"), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(in_frame_order(dates, dates.spread(std)), groups.transform("std"), rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=cases(30, 300))
@given(rows, kinds)
def test_median_is_that_of_pandas(table, kind):
    _, x, groups, dates = grouped(table, kind)
    found = in_frame_order(dates, dates.spread(dates.median(dates.gather(x))))
    np.testing.assert_allclose(found, groups.transform("median"))


def applied(codes, x, kernel, *arguments):
    column = x.copy()
    Dates(codes).apply(kernel, column, *arguments)
    return column


@settings(deadline=None, max_examples=cases(30, 300))
@given(rows, kinds)
def test_rank_is_that_of_pandas_with_ties_sharing_their_mean(table, kind):
    codes, x, groups, _ = grouped(table, kind)
    share = groups.rank(pct=True)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if kind == "f4" else {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(applied(codes, x, kernels.rank, False), (share - 0.5) * 3.46, **tolerance)
    centred = (share - groups.transform(lambda own: own.rank(pct=True).mean())) * 3.46
    np.testing.assert_allclose(applied(codes, x, kernels.rank, True), centred, **tolerance)


@settings(deadline=None, max_examples=cases(30, 300))
@given(rows)
def test_infinity_ranks_last(table):
    codes, x, _, _ = grouped([*table, (0, np.inf), (0, -np.inf)], "f4")
    found = applied(codes, x, kernels.rank, False) / 3.46 + 0.5
    np.testing.assert_allclose(found, pd.Series(x).groupby(codes).rank(pct=True), rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=cases(30, 300))
@given(rows.filter(len), kinds)
def test_many_values_are_ordered_as_few_are(table, kind):
    """Long dates are sorted by counting bytes, short ones by comparing."""
    codes, x, _, _ = grouped(table * 40, kind)
    x = (x * np.repeat(np.arange(1, 41), len(table))).astype(kind)
    groups = pd.Series(x.astype("f8")).groupby(codes)
    np.testing.assert_allclose(
        applied(codes, x, kernels.rank, False), (groups.rank(pct=True) - 0.5) * 3.46, rtol=1e-5, atol=1e-5
    )
    found = Dates(codes)
    np.testing.assert_allclose(
        in_frame_order(found, found.spread(found.median(found.gather(x)))), groups.transform("median")
    )


@settings(deadline=None, max_examples=cases(30, 300))
@given(rows, kinds, st.booleans())
def test_robust_scaling_is_median_and_median_distance(table, kind, infinite):
    codes, x, groups, _ = grouped([*table, (0, np.inf if infinite else 0.0), (1, 0.0)], kind)
    wide = pd.Series(x.astype("f8"))
    with np.errstate(invalid="ignore", divide="ignore"):
        away = wide - groups.transform("median")
        width = away.abs().groupby(codes).transform("median")
        expected = (away / width / 1.4826).clip(-3, 3)
    np.testing.assert_allclose(applied(codes, x, kernels.robust), expected, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=cases(30, 300))
@given(rows, kinds, st.booleans())
def test_scaling_and_filling_are_those_of_pandas(table, kind, finite):
    codes, x, _, _ = grouped([*table, (0, np.inf), (2, -np.inf)], kind)
    wide = pd.Series(x.astype("f8"))
    seen = wide.where(np.isfinite(wide)) if finite else wide
    with np.errstate(invalid="ignore"):
        mean = seen.groupby(codes).transform(
            lambda own: np.nan if own.isna().all() else own.sum(skipna=True) / own.count()
        )
        std = np.sqrt(
            ((seen - mean) ** 2).groupby(codes).transform("sum", min_count=2)
            / (seen.groupby(codes).transform("count") - 1)
        )
        flat = seen.groupby(codes).transform("min") == seen.groupby(codes).transform("max")
        expected = (wide - mean) / std.where(~flat)
        if not finite:  # one infinity spoils its date
            expected[pd.Series(np.isinf(wide)).groupby(codes).transform("any")] = np.nan
    np.testing.assert_allclose(applied(codes, x, kernels.zscore, finite), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        applied(codes, x, kernels.fill_mean, False, finite), wide.where(~wide.isna(), mean), rtol=1e-5, atol=1e-6
    )
    finite_mean = wide.where(np.isfinite(wide)).groupby(codes).transform("mean")
    np.testing.assert_allclose(
        applied(codes, x, kernels.fill_mean, True, True), wide.where(~np.isinf(wide), finite_mean), rtol=1e-5, atol=1e-6
    )


@settings(deadline=None, max_examples=cases(30, 300))
@given(st.lists(values | st.floats(-1e6, 1e6, width=32) | st.just(np.inf)), kinds, st.booleans())
def test_moments_of_a_column(numbers, kind, finite):
    x = np.array(numbers, dtype=kind)
    seen = x[np.isfinite(x) if finite else ~np.isnan(x)].astype("f8")
    with np.errstate(invalid="ignore"):
        expected = (seen.min(), seen.max(), seen.mean(), seen.std()) if len(seen) else (np.nan,) * 4
    if len(seen) and seen.min() == seen.max():
        expected = (seen[0], seen[0], seen[0], 0.0)
    np.testing.assert_allclose(kernels.moments(x, finite), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bounds", [[0, 2], [1, 3], [0, 2, 1, 3], []])
def test_bounds_own_every_row_once(bounds):
    with pytest.raises(ValueError, match="bounds"):
        kernels.rank(np.zeros(3), np.array(bounds, np.int64), False)


@pytest.mark.parametrize("dates", [[], [0], [3, 0, 1], [5, 5]])
def test_equal_values_have_no_spread_whatever_rounding_makes_of_their_mean(dates):
    codes = np.repeat(np.arange(len(dates)), dates)
    x = np.full(len(codes), 0.1, "f4")
    assert np.isnan(applied(codes, x, kernels.zscore, True)).all()


def test_a_large_level_costs_no_digits_of_the_deviation():
    x = np.array([1e8 + 1, 1e8 + 2, 1e8 + 3])
    _, std = Dates(np.zeros(3, int)).mean_and_std(x, np.ones(3, bool))
    assert std[0] == pytest.approx(1.0, rel=1e-12)

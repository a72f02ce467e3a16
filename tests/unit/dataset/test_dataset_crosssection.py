"""Statistics by date are what pandas' groupby says, for any grouping, with NaN, ties and infinities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.data.dataset import crosssection
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


@settings(deadline=None)
@given(rows, kinds)
def test_mean_and_std_are_those_of_pandas(table, kind):
    _, x, groups, dates = grouped(table, kind)
    together = dates.gather(x)
    mean, std = dates.mean_and_std(together, ~np.isnan(together))
    np.testing.assert_allclose(
        in_frame_order(dates, dates.spread(mean)), groups.transform("mean"), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(in_frame_order(dates, dates.spread(std)), groups.transform("std"), rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(rows, kinds)
def test_median_is_that_of_pandas(table, kind):
    _, x, groups, dates = grouped(table, kind)
    found = in_frame_order(dates, dates.spread(dates.median(dates.gather(x))))
    np.testing.assert_allclose(found, groups.transform("median"))


@settings(deadline=None)
@given(rows, kinds)
def test_rank_is_that_of_pandas_with_ties_sharing_their_mean(table, kind):
    _, x, groups, dates = grouped(table, kind)
    found = in_frame_order(dates, dates.rank(dates.gather(x)))
    np.testing.assert_allclose(found, groups.rank(pct=True))


@settings(deadline=None)
@given(rows)
def test_infinity_ranks_last(table):
    codes, x, _, _ = grouped([*table, (0, np.inf), (0, -np.inf)], "f4")
    dates = Dates(codes)
    found = in_frame_order(dates, dates.rank(dates.gather(x)))
    np.testing.assert_allclose(found, pd.Series(x).groupby(codes).rank(pct=True))


@pytest.mark.parametrize("cells", [1, 7, 64])
def test_the_size_of_the_rectangles_does_not_matter(monkeypatch, cells):
    rng = np.random.default_rng(1)
    codes = np.sort(rng.integers(0, 12, 200))
    x = rng.normal(size=200).round(1)
    x[::11] = np.nan
    dates = Dates(codes)
    median, rank = dates.median(x), dates.rank(x)
    monkeypatch.setattr(crosssection, "CELLS", cells)
    np.testing.assert_array_equal(dates.median(x), median)
    np.testing.assert_array_equal(dates.rank(x), rank)


def test_a_large_level_costs_no_digits_of_the_deviation():
    x = np.array([1e8 + 1, 1e8 + 2, 1e8 + 3])
    _, std = Dates(np.zeros(3, int)).mean_and_std(x, np.ones(3, bool))
    assert std[0] == pytest.approx(1.0, rel=1e-12)

"""Information coefficients agree with pandas, and say NaN where nothing can be said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.analysis.groups import calc_long_short_prec, calc_long_short_return, group_returns
from qlib.analysis.ic import calc_all_ic, calc_ic, pred_autocorr, pred_autocorr_all, ranks
from qlib.errors import InputError

NUMBER = st.one_of(st.integers(-3, 3).map(float), st.integers(-(10**6), 10**6).map(lambda i: i / 1000), st.just(np.nan))


@st.composite
def panels(draw, least: int = 0):
    days = draw(st.integers(1, 5))
    rows = [(day, name) for day in range(days) for name in range(draw(st.integers(least, 7)))]
    index = (
        pd.MultiIndex.from_tuples(
            [(pd.Timestamp("2024-01-01") + pd.Timedelta(days=d), f"N{n}") for d, n in rows],
            names=["datetime", "instrument"],
        )
        if rows
        else pd.MultiIndex.from_arrays([pd.DatetimeIndex([]), []], names=["datetime", "instrument"])
    )
    values = [draw(st.lists(NUMBER, min_size=len(rows), max_size=len(rows))) for _ in range(2)]
    return tuple(pd.Series(column, index=index, dtype=float) for column in values)


def in_pandas(pred: pd.Series, label: pd.Series, method: str) -> dict[pd.Timestamp, float]:
    found = {}
    frame = pd.DataFrame({"pred": pred, "label": label})
    for day, rows in frame.groupby(level="datetime"):
        both = rows.dropna()
        constant = both.nunique().min() < 2 if len(both) else True
        x, y = (both.rank() if method == "spearman" else both).to_numpy().T if len(both) else ([], [])
        found[day] = np.nan if constant else np.corrcoef(x, y)[0, 1]
    return found


@settings(max_examples=80, deadline=None)
@given(panels())
def test_ic_and_rank_ic_are_pearson_and_spearman_of_each_date(panel):
    pred, label = panel
    for got, method in zip(calc_ic(pred, label), ("pearson", "spearman"), strict=True):
        want = in_pandas(pred, label, method)
        assert list(got.index) == list(want)
        np.testing.assert_allclose(got.to_numpy(), list(want.values()), rtol=1e-7, atol=1e-9)
        assert not len(got) or got.index.name == "datetime"


@settings(max_examples=30, deadline=None)
@given(panels(), st.randoms())
def test_the_order_of_the_rows_decides_nothing(panel, random):
    pred, label = panel
    order = list(range(len(pred)))
    random.shuffle(order)
    for got, want in zip(calc_ic(pred.iloc[order], label), calc_ic(pred, label), strict=True):
        pd.testing.assert_series_equal(got, want, check_freq=False, rtol=1e-9)


def test_a_constant_prediction_has_no_ic():
    index = pd.MultiIndex.from_product([[pd.Timestamp("2024-01-01")], list("abcde")], names=["datetime", "instrument"])
    ic, ric = calc_ic(pd.Series(0.1, index=index), pd.Series([0.3, 0.1, 0.7, 0.2, 0.9], index=index))
    assert ic.isna().all() and ric.isna().all()


def test_a_scaled_prediction_has_the_same_ic():
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([[pd.Timestamp("2024-01-01")], range(50)], names=["datetime", "instrument"])
    pred, label = (pd.Series(rng.normal(size=50), index=index) for _ in range(2))
    want = calc_ic(pred, label)[0].iloc[0]
    for scale in (1e-200, 1e-8, 1e8, 1e200):
        assert calc_ic(pred * scale, label / scale)[0].iloc[0] == pytest.approx(want, rel=1e-9)


def test_unnamed_levels_and_duplicate_rows_are_refused_by_name():
    index = pd.MultiIndex.from_product([[pd.Timestamp("2024-01-01")], list("ab")], names=["date", "instrument"])
    series = pd.Series([1.0, 2.0], index=index)
    with pytest.raises(InputError, match="no level 'datetime'.*did you mean date"):
        calc_ic(series, series)
    twice = series.set_axis(index.rename(["datetime", "instrument"])).iloc[[0, 0]]
    with pytest.raises(InputError, match="several rows for"):
        calc_ic(twice, twice)


@given(st.lists(st.integers(0, 3), max_size=20), st.data())
def test_ranks_are_pandas_ranks_within_a_group(codes, data):
    values = data.draw(st.lists(st.integers(-2, 2).map(float), min_size=len(codes), max_size=len(codes)))
    want = (
        pd.Series(values, dtype=float).groupby(np.array(codes, dtype=int)).rank() if codes else pd.Series(dtype=float)
    )
    np.testing.assert_array_equal(ranks(np.array(codes, dtype=np.int64), np.array(values)), want.to_numpy())


def two_days(pred, label):
    index = pd.MultiIndex.from_product(
        [pd.to_datetime(["2024-01-01", "2024-01-02"]), list("abcdefghij")], names=["datetime", "instrument"]
    )
    return pd.Series(pred, index=index, dtype=float), pd.Series(label, index=index, dtype=float)


def test_long_short_is_half_the_best_less_the_worst():
    pred, label = two_days(list(range(10)) * 2, [i / 100 for i in range(10)] + [-i / 100 for i in range(10)])
    long_short, average = calc_long_short_return(pred, label, quantile=0.25)
    assert long_short.tolist() == pytest.approx([(0.085 - 0.005) / 2, -(0.085 - 0.005) / 2])
    assert average.tolist() == pytest.approx([0.045, -0.045])


def test_tied_scores_share_the_last_places_whatever_the_row_order():
    pred, label = two_days([1, 1, 1, 0, 0, 0, 0, 0, 0, -1] * 2, [0.3, 0.6, 0.9, 0, 0, 0, 0, 0, 0, 0.1] * 2)
    fair, _ = calc_long_short_return(pred, label, quantile=0.2)
    reverse = [*range(9, -1, -1), *range(19, 9, -1)]
    turned, _ = calc_long_short_return(pred.iloc[reverse], label.iloc[reverse], quantile=0.2)
    assert fair.tolist() == pytest.approx(turned.tolist())
    assert fair.iloc[0] == pytest.approx((0.6 - 0.05) / 2)  # two places for three names; one place for -1, one shared
    first, _ = calc_long_short_return(pred, label, quantile=0.2, ties="first")
    assert first.iloc[0] == pytest.approx(((0.3 + 0.6) / 2 - (0.1 + 0) / 2) / 2)


def test_hit_rates_count_the_sign_of_the_label():
    pred, label = two_days(list(range(10)) * 2, [-1, 1, 1, 1, 1, 1, 1, 1, 1, -1] * 2)
    long, short = calc_long_short_prec(pred, label, quantile=0.2)
    assert (long.tolist(), short.tolist()) == ([0.5, 0.5], [0.5, 0.5])
    with pytest.raises(InputError, match="needs more than 20 instruments; the largest date has 10"):
        calc_long_short_prec(pred, label, quantile=0.05)


@settings(max_examples=50, deadline=None)
@given(panels(least=2), st.integers(1, 4))
def test_groups_share_out_every_scored_name(panel, n):
    pred, label = panel
    table = group_returns(pred, label, n=n)
    both = pd.DataFrame({"pred": pred, "label": label}).dropna()
    assert list(table.columns) == [f"Group{k + 1}" for k in range(n)]
    for day, row in table.iterrows():
        names = both.xs(day, level="datetime") if day in both.index.get_level_values(0) else both.iloc[:0]
        if len(names) < n:
            assert row.isna().all()
            continue
        place = np.arange(len(names)) * n // len(names)
        ordered = names.sort_values("pred", ascending=False, kind="stable")
        want = ordered["label"].groupby(place).mean()
        np.testing.assert_allclose(row.to_numpy(), want.to_numpy(), rtol=1e-9, atol=1e-9)


def test_autocorrelation_compares_a_date_with_an_earlier_one():
    rng = np.random.default_rng(3)
    days = pd.date_range("2024-01-01", periods=6)
    table = pd.DataFrame(rng.normal(size=(6, 5)), index=days, columns=list("abcde"))
    table.iloc[3, 2] = np.nan
    pred = table.stack()
    pred.index.names = ["datetime", "instrument"]
    for lag in (1, 2, 7):
        want = [table.iloc[i].corr(table.iloc[i - lag]) if i >= lag else np.nan for i in range(6)]
        np.testing.assert_allclose(pred_autocorr(pred, lag=lag).to_numpy(), want, rtol=1e-9)
    assert pred_autocorr_all({"x": pred}, lag=2)["x"].equals(pred_autocorr(pred, lag=2))


def test_all_ic_gives_both_by_name():
    pred, label = two_days(range(20), range(20))
    found = calc_all_ic({"x": pred}, label)
    assert found["x"]["ic"].tolist() == pytest.approx([1, 1])
    assert found["x"]["ric"].tolist() == pytest.approx([1, 1])

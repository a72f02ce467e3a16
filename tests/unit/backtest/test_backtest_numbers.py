"""Numbers by instrument and numbers of orders, at Qlib's path; expected values are what pyqlib 0.9.7 answers."""

from __future__ import annotations

import operator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.backtest import quote
from qlib.backtest.high_performance_ds import (
    BaseOrderIndicator,
    BaseQuote,
    BaseSingleMetric,
    NumpyOrderIndicator,
    NumpyQuote,
    PandasOrderIndicator,
    PandasQuote,
    PandasSingleMetric,
    SingleMetric,
)
from qlib.backtest.indicator import Indicator
from qlib.errors import InputError, MissingDataError

NAN = np.nan
A = PandasSingleMetric({"A": 1.0, "B": 2.0, "C": NAN})
B = PandasSingleMetric({"B": 3.0, "A": 1.0})


def same(metric: PandasSingleMetric, expected: dict[str, float]) -> bool:
    assert type(metric) is PandasSingleMetric
    return dict(metric.metric) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("left", "sign", "right", "expected"),
    [
        (A, operator.add, B, {"A": 2, "B": 5, "C": NAN}),
        (A, operator.add, 2, {"A": 3, "B": 4, "C": NAN}),
        (2, operator.add, A, {"A": 3, "B": 4, "C": NAN}),
        (A, operator.add, np.float64(2), {"A": 3, "B": 4, "C": NAN}),
        (A, operator.sub, B, {"A": 0, "B": -1, "C": NAN}),
        (2, operator.sub, A, {"A": 1, "B": 0, "C": NAN}),
        (A, operator.mul, B, {"A": 1, "B": 6, "C": NAN}),
        (A, operator.truediv, B, {"A": 1, "B": 2 / 3, "C": NAN}),
        (A, operator.truediv, 2, {"A": 0.5, "B": 1, "C": NAN}),
        (A, operator.eq, 2, {"A": False, "B": True, "C": False}),
        (A, operator.gt, 1, {"A": False, "B": True, "C": False}),
        (A, operator.lt, 2, {"A": True, "B": False, "C": False}),
        (2, operator.gt, A, {"A": True, "B": False, "C": False}),
    ],
)
def test_arithmetic_is_by_instrument(left, sign, right, expected):
    assert same(sign(left, right), expected)


def test_summaries_leave_out_what_is_missing():
    assert (len(A), A.sum(), A.mean(), A.count(), A.empty, A.index) == (3, 3.0, 1.5, 2, False, ["A", "B", "C"])
    assert PandasSingleMetric().empty
    assert sum([A, A]).sum() == 6


def test_changes_give_a_new_metric():
    assert same((A - 5).abs(), {"A": 4, "B": 3, "C": NAN})
    assert same(A.add(B, fill_value=0), {"A": 2, "B": 5, "C": NAN})
    assert same(B.add(A, fill_value=0), {"A": 2, "B": 5, "C": NAN})
    assert same(A.replace({1.0: 9.0, 2.0: 0}), {"A": 9, "B": 0, "C": NAN})
    assert same(A.apply(lambda number: number * 2), {"A": 2, "B": 4, "C": NAN})
    assert same(A.reindex(["C", "A", "Z"], 0), {"C": NAN, "A": 1, "Z": 0})
    assert same(A, {"A": 1, "B": 2, "C": NAN})


def test_what_is_no_metric_is_refused():
    with pytest.raises(InputError, match="received list; a dict or a Series"):
        PandasSingleMetric([1, 2])
    with pytest.raises(TypeError):
        A + "x"
    with pytest.raises(ValueError, match="identically-labeled"):
        A == B  # noqa: B015
    with pytest.raises(TypeError, match="unhashable"):
        hash(A)
    with pytest.raises(NotImplementedError):
        BaseSingleMetric({})
    assert SingleMetric(3.0).metric == 3.0


@pytest.fixture(params=[NumpyOrderIndicator, PandasOrderIndicator])
def kind(request):
    return request.param


def test_metrics_of_orders_are_kept_by_instrument(kind):
    orders = kind()
    orders.assign("amount", {"A": 10.0, "B": -5.0})
    orders.assign("deal_amount", pd.Series({"B": -2.0, "A": 10.0}))
    assert orders.get_metric_series("amount").to_dict() == {"A": 10, "B": -5}
    assert orders.get_metric_series("deal_amount").to_dict() == {"A": 10, "B": -2}
    assert same(orders.get_index_data("amount"), {"A": 10, "B": -5})
    assert orders.get_metric_series("price").empty
    assert orders.get_index_data("price").empty
    orders.transfer(lambda amount, deal_amount: deal_amount / amount, "ffr")
    assert orders.get_metric_series("ffr").to_dict() == {"A": 1, "B": 0.4}
    assert orders.transfer(lambda amount: amount.sum()) == 5
    assert same(orders.transfer(lambda amount: amount * 2), {"A": 20, "B": -10})
    assert {name: series.to_dict() for name, series in orders.to_series().items()} == {
        "amount": {"A": 10, "B": -5},
        "deal_amount": {"A": 10, "B": -2},
        "ffr": {"A": 1, "B": 0.4},
    }


def test_a_new_instrument_has_no_number_elsewhere(kind):
    orders = kind()
    orders.assign("amount", {"A": 1.0})
    orders.assign("price", {"B": 2.0})
    assert orders.get_metric_series("amount").to_dict() == pytest.approx({"A": 1, "B": NAN}, nan_ok=True)
    assert orders.get_metric_series("price").to_dict() == pytest.approx({"A": NAN, "B": 2}, nan_ok=True)


def test_metrics_are_summed_over_indicators_by_instrument(kind):
    first, second, total = kind(), kind(), kind()
    first.assign("amount", {"A": 10.0, "B": -5.0})
    first.assign("deal_amount", {"B": -2.0, "A": 10.0})
    second.assign("amount", {"A": 1.0, "C": 2.0})
    second.assign("deal_amount", {"A": NAN, "C": 2.0})
    kind.sum_all_indicators(total, [first, second], ["amount", "deal_amount"], 0)
    assert total.get_metric_series("amount").to_dict() == {"A": 11, "B": -5, "C": 2}
    assert total.get_metric_series("deal_amount").to_dict() == {"A": 10, "B": -2, "C": 2}
    one = kind()
    kind.sum_all_indicators(one, [first, second], "amount")
    assert one.get_metric_series("amount").to_dict() == {"A": 11, "B": -5, "C": 2}
    nothing = kind()
    kind.sum_all_indicators(nothing, [], ["amount"])
    assert nothing.get_metric_series("amount").empty
    with pytest.raises(MissingDataError, match="one has no metric amuont; it has .* did you mean amount"):
        kind.sum_all_indicators(total, [first, second], ["amuont"])


@given(
    st.lists(
        st.dictionaries(st.sampled_from("ABCDE"), st.one_of(st.just(NAN), st.floats(-1e6, 1e6))), min_size=1, max_size=5
    )
)
def test_sums_equal_those_of_a_table(parts):
    indicators = []
    for part in parts:
        indicator = NumpyOrderIndicator()
        indicator.assign("value", part)
        indicators.append(indicator)
    total = NumpyOrderIndicator()
    NumpyOrderIndicator.sum_all_indicators(total, indicators, "value")
    expected = pd.DataFrame(parts, dtype=float).sum().to_dict()
    assert total.get_metric_series("value").to_dict() == pytest.approx(expected, abs=1e-6)


def test_two_orders_of_one_instrument_count_once_in_a_sum():
    orders, total = NumpyOrderIndicator(["A", "A", "B"], {"value": np.array([1.0, 2.0, 4.0])}), NumpyOrderIndicator()
    NumpyOrderIndicator.sum_all_indicators(total, [orders], "value")
    assert total.get_metric_series("value").to_dict() == {"A": 3, "B": 4}


def test_a_function_of_a_metric_that_does_not_exist_names_the_nearest(kind):
    orders = kind()
    orders.assign("amount", {"A": 1.0})
    with pytest.raises(MissingDataError, match="there is no metric amonut; .* did you mean amount"):
        orders.transfer(lambda amonut: amonut)
    with pytest.raises(InputError, match="received 2 numbers for 1 orders"):
        orders.assign("price", np.array([1.0, 2.0]))


def test_a_level_keeps_its_orders_in_either_class(kind):
    from qlib.backtest.decision import Order

    level = Indicator(kind)
    time = pd.Timestamp("2024-01-02")
    order = Order("A", 10.0, Order.BUY, time, time)
    order.deal_amount = 5.0
    level.reset()
    level.update_order_indicators([(order, 50.0, 1.0, 10.0)])
    level.cal_trade_indicators(time, "day")
    level.record(time)
    kept = level.order_indicator_his[time]
    assert type(kept) is kind
    assert kept.transfer(lambda deal_amount, amount: (deal_amount / amount).sum()) == 0.5


def test_the_names_are_those_of_the_quotes():
    assert (BaseQuote, NumpyQuote, PandasQuote) == (quote.BaseQuote, quote.NumpyQuote, quote.PandasQuote)
    with pytest.raises(NotImplementedError):
        BaseOrderIndicator().assign("amount", {})

"""The market of a step as arrays says what the questions for one instrument say."""

from __future__ import annotations

import numpy as np
import pytest
from backtest_market import random_market
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.backtest.decision import Order
from qlib.backtest.exchange import Exchange
from qlib.backtest.utils import TradeCalendarManager


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from(["close", "open", ("$open", "$close")]),
    st.sampled_from([None, 0.02, ("$change>0.01", "$change<-0.01")]),
    st.integers(0, 7),
    st.integers(1, 3),
)
def test_arrays_and_questions_agree(seed, gaps, deal_price, limit, first, bars):
    provider = random_market(seed, bars=10, names=6, gaps=gaps)
    exchange = Exchange(provider=provider, deal_price=deal_price, limit_threshold=limit)
    clock = TradeCalendarManager("day", provider=provider)
    start, end = clock.get_step_time(first)[0], clock.get_step_time(first + bars - 1)[1]
    names = [*provider.names[::-1], "nobody"]
    place, market = exchange.columns(names), exchange.at(start, end)
    assert place.tolist() == [5, 4, 3, 2, 1, 0, -1]
    for name, i in zip(names[:-1], place, strict=False):
        assert market.suspended[i] == exchange.check_stock_suspended(name, start, end)
        assert market.can_buy[i] == exchange.is_stock_tradable(name, start, end, Order.BUY)
        assert market.can_sell[i] == exchange.is_stock_tradable(name, start, end, Order.SELL)
        assert market.can_trade[i] == exchange.is_stock_tradable(name, start, end)
        for side, price in ((Order.BUY, market.buy_price), (Order.SELL, market.sell_price)):
            np.testing.assert_equal(price.item(i), exchange.get_deal_price(name, start, end, side))
        factor = exchange.get_factor(name, start, end)
        np.testing.assert_equal(market.factor.item(i), np.nan if factor is None else factor)
        volume = exchange.get_volume(name, start, end)
        if volume is not None and not np.isnan(volume):
            assert market.volume[i] == pytest.approx(volume)


def test_a_subclass_with_other_answers_says_that_the_arrays_are_not_its_own():
    class Closed(Exchange):
        def check_stock_limit(self, stock_id, start_time, end_time, direction=None):
            return True

    provider = random_market(3)
    assert Exchange(provider=provider).vector
    assert not Closed(provider=provider).vector

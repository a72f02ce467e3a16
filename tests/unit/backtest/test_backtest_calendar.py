"""Steps of time: any bar size, markets that never close, the last bar, and ranges that cannot be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider

from qlib.backtest.decision import IdxTradeRange, TradeRangeByTime
from qlib.backtest.utils import (
    BaseInfrastructure,
    CommonInfrastructure,
    LevelInfrastructure,
    TradeCalendarManager,
    bar_end,
)
from qlib.errors import ConfigError, InputError, MissingDataError


def clock(times, freq: str, start, end, step: str | None = None, **kwargs) -> TradeCalendarManager:
    times = pd.DatetimeIndex(times).to_numpy()
    provider = MemoryProvider(times, ["A"], {"close": np.ones((len(times), 1))}, freq=freq, **kwargs)
    return TradeCalendarManager(step or freq, start, end, provider=provider)


DAYS = pd.bdate_range("2024-01-01", periods=10)


def test_a_step_lasts_until_the_next_bar():
    made = clock(DAYS, "day", "2024-01-03", "2024-01-09")
    assert made.get_trade_len() == 5 and made.get_freq() == "day"
    assert made.get_step_time(2) == (pd.Timestamp("2024-01-05"), pd.Timestamp("2024-01-07 23:59:59"))  # over a weekend
    assert made.get_step_time(0, shift=1)[0] == pd.Timestamp("2024-01-02")
    assert made.get_all_time() == (pd.Timestamp("2024-01-03"), pd.Timestamp("2024-01-09"))


@pytest.mark.parametrize(
    ("times", "freq", "length"),
    [
        (DAYS, "day", "1D"),
        (pd.date_range("2024-01-06", periods=49, freq="60min"), "60min", "60min"),
        (pd.date_range("2024-01-06", periods=10, freq="30min"), "30min", "30min"),
        (pd.date_range("2024-01-06", periods=10, freq="1min"), "1min", "1min"),
    ],
)
def test_the_last_bar_of_the_calendar_can_be_traded(times, freq, length):
    made = clock(times, freq, times[0], times[-1], region="crypto")
    steps = 0
    while not made.finished():
        start, end = made.get_step_time()
        assert start == times[steps] and end >= start
        made.step()
        steps += 1
    assert steps == len(times)
    assert end == times[-1] + pd.Timedelta(length) - pd.Timedelta(seconds=1)
    with pytest.raises(RuntimeError, match="the calendar is finished"):
        made.step()
    with pytest.raises(IndexError, match="outside the"):
        made.get_step_time()


def test_before_the_first_bar_there_is_nothing_and_certainly_not_the_last_bar():
    made = clock(DAYS, "day", DAYS[0], DAYS[-1])
    start, end = made.get_step_time(0, shift=1)
    assert end < DAYS[0] and start <= end
    assert made.get_step_time(0, shift=3)[1] < start


def test_times_between_bars_snap_inwards():
    made = clock(DAYS, "day", "2024-01-06", "2024-01-14")  # Saturday to Sunday
    assert made.get_step_time(0)[0] == pd.Timestamp("2024-01-08")
    assert made.get_trade_len() == 5


def test_a_coarser_step_covers_its_bars():
    hours = pd.date_range("2024-01-06", periods=72, freq="60min")
    made = clock(hours, "60min", "2024-01-06", "2024-01-08 23:00", step="day", region="crypto")
    assert made.get_trade_len() == 3
    assert made.get_step_time(1) == (pd.Timestamp("2024-01-07"), pd.Timestamp("2024-01-07 23:59:59"))
    assert made.get_step_time(2)[1] == pd.Timestamp("2024-01-08 23:59:59")


@pytest.mark.parametrize(
    ("start", "end", "error", "message"),
    [
        ("2024-01-09", "2024-01-03", ConfigError, "start_time 2024-01-09 00:00:00 is after end_time"),
        ("2030-01-01", "2030-02-01", MissingDataError, "spans 2024-01-01 00:00:00 to 2024-01-12"),
        ("2010-01-01", "2010-02-01", MissingDataError, "the end lies before it"),
        ("2024-01-06", "2024-01-07", MissingDataError, "no entry lies between them"),
        ("someday", "2024-01-07", InputError, "start_time: received 'someday'"),
    ],
)
def test_a_range_without_bars_is_refused_with_the_span_of_the_calendar(start, end, error, message):
    with pytest.raises(error, match=message):
        clock(DAYS, "day", start, end)


def test_an_end_after_the_data_snaps_to_the_last_bar():
    made = clock(DAYS, "day", "2023-12-01", "2024-06-01")
    assert made.get_trade_len() == len(DAYS)


def test_months_and_minutes_end_where_they_should():
    assert bar_end(pd.Timestamp("2024-01-01"), "month") == pd.Timestamp("2024-02-01")
    assert bar_end(pd.Timestamp("2024-01-01"), "2week") == pd.Timestamp("2024-01-15")


def test_ranges_of_time_and_of_steps():
    minutes = pd.date_range("2024-01-02 09:30", periods=120, freq="1min")
    made = clock(minutes, "1min", "2024-01-02", "2024-01-02 23:59:59")
    assert TradeRangeByTime("9:40", "10:00")(made) == (10, 30)
    assert TradeRangeByTime("0:00", "23:00")(made) == (0, 119)
    assert TradeRangeByTime("9:40", "10:00").clip_time_range(*made.get_all_time()) == (
        pd.Timestamp("2024-01-02 09:40"), pd.Timestamp("2024-01-02 10:00"),
    )  # fmt: skip
    assert IdxTradeRange(2, 5)(made) == (2, 5)
    with pytest.raises(NotImplementedError, match="TradeRangeByTime"):
        IdxTradeRange(2, 5).clip_time_range(*made.get_all_time())
    with pytest.raises(InputError, match="the start must be before the end"):
        TradeRangeByTime("10:00", "9:00")


def test_infrastructure_shares_what_it_knows_only():
    common = CommonInfrastructure(trade_account=1)
    assert common.has("trade_account") and not common.has("trade_exchange")
    assert common.get("trade_account") == 1 and common.get("trade_exchange") is None
    common.reset_infra(trade_acount=2)
    assert not hasattr(common, "trade_acount")
    other = CommonInfrastructure(trade_exchange=3)
    common.update(other)
    assert (common.get("trade_account"), common.get("trade_exchange")) == (1, 3)
    level, below = LevelInfrastructure(), LevelInfrastructure()
    level.set_sub_level_infra(below)
    assert level.get("sub_level_infra") is below
    with pytest.raises(NotImplementedError):
        BaseInfrastructure()

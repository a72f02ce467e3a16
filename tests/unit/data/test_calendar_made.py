"""Grids and calendars that are made: every bar once, in its session, and how long it takes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.constant import SESSIONS
from qlib.data.calendar import Calendar, always_open_calendar, continued, exchange_calendar, source_of
from qlib.data.grid import Grid
from qlib.errors import InputError
from qlib.utils.time import Freq, cal_sam_minute, get_min_cal

SIZES = ["1min", "7min", "15min", "1h", "4h", "7h", "24h", "day", "week", "month"]
moments = st.integers(0, 40 * 24 * 60).map(lambda n: pd.Timestamp("2024-01-01") + pd.Timedelta(minutes=n))


@given(st.sampled_from(["15s", "1min", "5min", "45min", "1h", "4h", "7h", "24h", "48h"]), moments, moments)
def test_around_the_clock_bars_follow_each_other_without_a_hole(freq, start, end):
    found, grid = always_open_calendar(freq, start, max(start, end)), Grid.of()
    ends = grid.ends(found.times, Freq(freq))
    assert (ends[:-1] == found.times[1:]).all()
    assert (grid.opens(found.times, Freq(freq)) == found.times).all()
    inside = pd.DatetimeIndex(ends) - pd.Timedelta("1s")
    assert (grid.opens(inside.to_numpy("datetime64[ns]"), Freq(freq)) == found.times).all()


@pytest.mark.parametrize(
    ("freq", "alias"), [("15min", "15min"), ("1h", "h"), ("day", "D"), ("week", "W-MON"), ("month", "MS")]
)
def test_around_the_clock_is_what_pandas_calls_a_range(freq, alias):
    found = always_open_calendar(freq, "2024-01-03", "2024-05-05 23:59")
    assert list(found.index) == list(pd.date_range("2024-01-03", "2024-05-05 23:59", freq=alias))


@given(st.sampled_from(["1min", "15min", "1h", "day"]), st.sampled_from(SIZES))
def test_a_made_calendar_is_the_finer_one_resampled(fine, coarse):
    if Freq(coarse).seconds < Freq(fine).seconds or coarse == "24h" and fine == "day":
        return
    if Freq(coarse).intraday and Freq(coarse).seconds % Freq(fine).seconds:
        return
    begin, end = "2024-01-01", "2024-02-04"  # Mondays and a month begin here
    found = always_open_calendar(fine, begin, end).grouped(coarse)[0]
    assert list(found.stamps) == list(always_open_calendar(coarse, begin, end).stamps)


@pytest.mark.parametrize("region", ["cn", "us", "tw"])
@pytest.mark.parametrize("minutes", [1, 5, 30, 60, 120, 240])
def test_an_exchange_trades_in_its_sessions(region, minutes):
    found = exchange_calendar(f"{minutes}min", "2024-01-05", "2024-01-09", region, holidays=["2024-01-08"])
    days = [pd.Timestamp("2024-01-05"), pd.Timestamp("2024-01-09")]
    every = [pd.Timestamp.combine(day, time) for day in days for time in get_min_cal(region=region)]
    assert list(found.stamps) == sorted({cal_sam_minute(x, minutes, region) for x in every})


@given(st.sampled_from(["cn", "us", "tw"]), st.integers(1, 300), moments)
def test_a_bar_of_a_session_holds_its_trading_minutes_and_no_others(region, minutes, time):
    grid, freq = Grid.of(SESSIONS[region]), Freq(f"{minutes}min")
    every = time.normalize().to_datetime64() + grid.minutes.astype("timedelta64[m]")
    opens = grid.opens(every.astype("datetime64[ns]"), freq)
    bars = np.unique(opens)
    ends = grid.ends(bars, freq)
    for bar, end in zip(bars, ends, strict=True):
        own = every[opens == bar]
        assert len(own) == minutes or bar == bars[-1]
        assert own[-1] + np.timedelta64(1, "m") == end


def test_half_an_hour_of_seconds():
    found = always_open_calendar("15s", "2024-01-01", "2024-01-01 00:29:59")
    assert len(found) == 120
    assert len(found.resample("1min")) == 30 and len(found.resample("5min")) == 6
    session = exchange_calendar("30s", "2024-01-02", "2024-01-02", "cn")
    assert len(session) == 480 and session.resample("1min", SESSIONS["cn"]).freq == "1min"
    assert source_of("1min", ["15s", "7s"]) == "15s"


def test_weeks_hours_and_offsets_that_cannot_be():
    with pytest.raises(InputError, match="whole days such as 48h"):
        always_open_calendar("36h", "2024-01-01", "2024-02-01")
    with pytest.raises(InputError, match="use 24h bars"):
        always_open_calendar("week", "2024-01-01", "2024-02-01", offset=pd.Timedelta("1D"))
    with pytest.raises(InputError, match="start: received None; a calendar that is made needs both"):
        always_open_calendar("1h", None, "2024-02-01")
    with pytest.raises(InputError, match="holidays: received 'x'"):
        exchange_calendar("day", "2024-01-01", "2024-02-01", "cn", ["x"])
    moved = always_open_calendar("8h", "2024-01-01", "2024-01-02 12:00", offset=pd.Timedelta("1h"))
    assert moved.index.strftime("%d %H").tolist() == ["01 01", "01 09", "01 17", "02 01", "02 09"]
    ends = Grid.of().ends(moved.times, Freq("8h"))
    assert (ends[:-1] == moved.times[1:]).all(), "a bar that was moved goes on after midnight"


def test_the_end_of_a_bar_of_several_days_is_known_with_the_next_one():
    days = exchange_calendar("3day", "2024-01-02", "2024-01-12", "cn")
    ends = Grid.of(SESSIONS["cn"]).ends(days.times, Freq("3day"))
    assert (ends[:-1] == days.times[1:]).all() and np.isnat(ends[-1])
    always = always_open_calendar("3day", "2024-01-02", "2024-01-12")
    assert pd.DatetimeIndex(Grid.of().ends(always.times, Freq("3day"))).strftime("%d").tolist() == [
        "05",
        "08",
        "11",
        "14",
    ]
    months = always_open_calendar("month", "2024-01-01", "2024-02-02")
    assert pd.DatetimeIndex(Grid.of().ends(months.times, Freq("month"))).strftime("%d.%m").tolist() == [
        "01.02",
        "01.03",
    ]


def test_a_calendar_goes_on_from_where_it_is():
    weeks = Calendar("week", ["2024-01-02", "2024-01-08"])
    assert continued(weeks, "2024-01-23", "cn").index.strftime("%d").tolist() == ["02", "08", "15", "22"]
    with pytest.raises(InputError, match="bars of several days follow the calendar of the day"):
        continued(Calendar("2day", ["2024-01-02"]), "2024-02-01", "cn")
    with pytest.raises(InputError, match="is empty"):
        continued(Calendar("day", []), "2024-02-01", "cn")

"""Frequencies and trading minutes."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from qlib.config import REGIONS
from qlib.constant import SESSIONS
from qlib.utils.time import (
    Freq,
    cal_sam_minute,
    concat_date_time,
    epsilon_change,
    get_day_min_idx_range,
    get_min_cal,
    is_single_value,
    time_to_day_index,
)

Stamp = pd.Timestamp


@pytest.mark.parametrize(
    ("text", "count", "base", "canonical"),
    [
        ("day", 1, "day", "day"),
        ("1d", 1, "day", "day"),
        ("2DAY", 2, "day", "2day"),
        ("min", 1, "min", "1min"),
        ("30minute", 30, "min", "30min"),
        ("4h", 240, "min", "240min"),
        ("hour", 60, "min", "60min"),
        ("24H", 1440, "min", "1440min"),
        ("1s", 1, "sec", "1sec"),
        ("90sec", 90, "sec", "90sec"),
        ("120second", 2, "min", "2min"),
        ("w", 1, "week", "1week"),
        ("mon", 1, "month", "1month"),
    ],
)
def test_a_frequency_has_a_count_a_base_and_one_spelling(text, count, base, canonical):
    freq = Freq(text)
    assert (freq.count, freq.base, str(freq)) == (count, base, canonical)
    assert Freq.parse(text) == (count, base) and freq == canonical and hash(freq) == hash(Freq(canonical))


@pytest.mark.parametrize(
    ("text", "hint"), [("1m", "write 1min or 1month"), ("year", ""), ("0h", ""), ("mins", "did you mean min"), ("", "")]
)
def test_what_is_no_frequency_is_refused_with_what_is(text, hint):
    with pytest.raises(ValueError, match=rf"received '{text}'; allowed are .*{hint}"):
        Freq(text)
    assert Freq("day") != text


def test_lengths_can_be_compared():
    assert Freq.get_min_delta("day", "1min") == 1439 and Freq.get_min_delta("1min", "day") == -1439
    assert Freq.get_recent_freq("30min", ["1min", "5min", "day"]) == "5min"
    assert Freq.get_recent_freq("1min", ["day"]) is None
    assert Freq.get_recent_freq("1h", ["30min", "1sec", "2h"]) == "30min" and Freq.get_min_delta("1min", "15s") == 0.75
    assert Freq.get_timedelta(2, "week") == pd.Timedelta(days=14) and Freq("90s").seconds == 90
    assert Freq("4h") == "240min" and Freq("24h") != "day", "a day follows the calendar, 24 hours the clock"
    with pytest.raises(ValueError, match="no fixed length"):
        Freq.get_timedelta(1, "month")


def test_the_regions_and_the_clock_agree():
    assert {name: region.sessions for name, region in REGIONS.items()} == SESSIONS
    for region in REGIONS.values():
        assert len(get_min_cal(region=region)) == region.minutes_per_day == len(get_min_cal(region=region.name))


def test_the_minutes_of_a_chinese_day():
    minutes = get_min_cal()
    assert (minutes[0], minutes[119], minutes[120], minutes[-1]) == (
        dt.time(9, 30), dt.time(11, 29), dt.time(13, 0), dt.time(14, 59),
    )  # fmt: skip
    assert get_min_cal(1)[120] == dt.time(12, 59)


@pytest.mark.parametrize(
    ("region", "minutes", "moment", "bar"),
    [
        ("cn", 60, "10:59", "10:30"),
        ("cn", 60, "13:05", "13:00"),
        ("cn", 240, "14:59", "09:30"),
        ("cn", 5, "12:00", "11:25"),
        ("us", 60, "13:05", "12:30"),
        ("tw", 30, "13:29", "13:00"),
        ("crypto", 240, "23:59", "20:00"),
    ],
)
def test_a_moment_belongs_to_the_bar_that_opened_last(region, minutes, moment, bar):
    assert cal_sam_minute(Stamp(f"2020-01-02 {moment}"), minutes, region) == Stamp(f"2020-01-02 {bar}")


@pytest.mark.parametrize(
    ("region", "start", "end", "single"),
    [
        ("cn", "2020-01-01 09:30", "2020-01-01 09:30:59", True),
        ("cn", "2020-01-01 09:30", "2020-01-01 09:31", False),
        ("cn", "2020-01-01 11:29", "2020-01-01 13:00", True),
        ("us", "2020-01-01 15:59", "2020-01-02 09:30", True),
        ("us", "2020-01-01 11:29", "2020-01-01 13:00", False),
        ("crypto", "2020-01-01 23:59", "2020-01-02 00:00", False),
    ],
)
def test_the_last_minute_before_a_break_stands_alone(region, start, end, single):
    assert is_single_value(Stamp(start), Stamp(end), pd.Timedelta("1min"), region) is single


def test_positions_inside_a_day():
    assert [time_to_day_index(t) for t in ("9:30", "11:29", "13:00", dt.time(10, 0))] == [0, 119, 120, 30]
    with pytest.raises(ValueError, match="11:30, when the market is closed; it trades 09:30-11:30, 13:00-15:00"):
        time_to_day_index("11:30")
    with pytest.raises(ValueError, match="allowed are cn, us, tw, crypto"):
        time_to_day_index("10:00", "xx")
    assert get_day_min_idx_range("10:00", "14:44", "5min", "cn") == (6, 44)
    assert get_day_min_idx_range("9:30", "12:59", "1min", "cn") == (0, 119)


def test_small_steps():
    assert concat_date_time(dt.date(2020, 1, 2), dt.time(3, 4)) == Stamp("2020-01-02 03:04")
    assert epsilon_change(Stamp("2020-01-02")) == Stamp("2020-01-01 23:59:59")
    assert epsilon_change(Stamp("2020-01-02"), "forward") == Stamp("2020-01-02 00:00:01")

"""Calendars: positions, ranges, resampling, files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.constant import SESSIONS
from qlib.data.calendar import Calendar, CalendarRangeError, read_calendar, source_of, time_texts, timestamp
from qlib.errors import InputError, StoreError
from qlib.utils.time import cal_sam_minute, get_min_cal

Stamp = pd.Timestamp
WORKDAYS = Calendar("day", pd.bdate_range("2024-01-01", "2024-03-29"))
days = st.integers(-5, 45).map(lambda n: Stamp("2024-01-01") + pd.Timedelta(days=n))


@given(st.sets(st.integers(0, 40)), days | st.none(), days | st.none())
def test_a_range_holds_exactly_the_entries_between_its_bounds(numbers, start, end):
    times = [Stamp("2024-01-01") + pd.Timedelta(days=n) for n in sorted(numbers)]
    calendar = Calendar("day", times)
    expected = [t for t in times if (start is None or t >= start) and (end is None or t <= end)]
    first, last = calendar.locate(start, end)
    assert list(calendar.between(start, end)) == expected == times[first : last + 1]
    assert last >= first - 1 and len(calendar) == len(times)


@given(days)
def test_positions_count_the_entries_before(when):
    assert WORKDAYS.position(when) == sum(t < when for t in WORKDAYS.stamps)
    assert WORKDAYS.position(when, "right") == sum(t <= when for t in WORKDAYS.stamps)


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        ("2060-01-01", None, "the start lies after it .future=True"),
        (None, "1980-01-01", "the end lies before it"),
        ("2024-01-10", "2024-01-05", "the start lies after the end"),
        ("2024-01-06", "2024-01-07", "no entry lies between them"),
    ],
)
def test_a_range_without_entries_is_explained(start, end, why):
    WORKDAYS.check_inside("2024-01-05", "2024-01-08")
    with pytest.raises(CalendarRangeError, match=rf"spans 2024-01-01 .* to 2024-03-29.*{why}") as caught:
        WORKDAYS.check_inside(start, end)
    assert isinstance(caught.value, IndexError) and isinstance(caught.value, ValueError)
    with pytest.raises(CalendarRangeError, match="is empty"):
        Calendar("day", []).check_inside()


@pytest.mark.parametrize(
    ("text", "said"), [("20x4", "start_time: received '20x4'"), ("2024-01-01T00:00Z", "time zone")]
)
def test_a_bound_that_is_no_plain_time_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        WORKDAYS.locate(text)
    assert timestamp("None") is timestamp(None) is timestamp(pd.NaT) is timestamp("") is None


def test_a_calendar_that_does_not_ascend_is_refused():
    with pytest.raises(StoreError, match="entry 3 is 2024-01-01.* after 2024-01-02"):
        Calendar("day", ["2024-01-01", "2024-01-02", "2024-01-01"])
    with pytest.raises(ValueError, match="read-only"):
        WORKDAYS.times[0] = np.datetime64("2020-01-01")


# ---------------------------------------------------------------------- resampling
@pytest.mark.parametrize("region", ["cn", "us", "tw", "crypto"])
@pytest.mark.parametrize("minutes", [5, 30, 60, 240])
def test_minutes_fold_into_the_sessions_of_the_region(region, minutes):
    every = [Stamp(f"2024-01-0{d} {time}") for d in (2, 3) for time in get_min_cal(region=region)]
    found = Calendar("1min", every).resample(f"{minutes}min", SESSIONS[region])
    assert list(found.stamps) == sorted({cal_sam_minute(x, minutes, region) for x in every})
    assert found.freq == f"{minutes}min"


def test_half_hours_of_china_skip_the_break():
    minutes = Calendar("1min", [Stamp(f"2024-01-02 {time}") for time in get_min_cal()])
    found = [str(t)[11:16] for t in minutes.resample("30min", SESSIONS["cn"]).stamps]
    assert found == ["09:30", "10:00", "10:30", "11:00", "13:00", "13:30", "14:00", "14:30"]


def test_a_calendar_around_the_clock_keeps_its_grid_whatever_the_region():
    hours = Calendar("60min", pd.date_range("2024-01-01", periods=72, freq="h"))
    four = hours.resample("240min", SESSIONS["cn"])
    assert list(four.stamps) == list(pd.date_range("2024-01-01", periods=18, freq="4h"))
    assert len(hours.resample("240min", SESSIONS["cn"], sessions_only=True)) == 3, "Qlib's folding"
    assert list(hours.resample("day").stamps) == list(pd.date_range("2024-01-01", periods=3))


def test_bars_stamped_at_their_close_stay_in_the_session():
    closes = Calendar("1min", [Stamp(f"2024-01-02 {t}") + pd.Timedelta(minutes=1) for t in get_min_cal()])
    assert len(closes.resample("60min", SESSIONS["cn"], shift=-1)) == 4


def test_weeks_and_months_begin_with_their_first_trading_day():
    assert [str(t.date()) for t in WORKDAYS.resample("month").stamps] == ["2024-01-01", "2024-02-01", "2024-03-01"]
    weeks = WORKDAYS.resample("week")
    assert len(weeks) == 13 and {t.weekday() for t in weeks.stamps} == {0}
    assert list(WORKDAYS.resample("2week").stamps) == list(weeks.stamps[::2])
    assert list(WORKDAYS.resample("3day").stamps) == list(WORKDAYS.stamps[::3])
    assert WORKDAYS.resample("1d") is WORKDAYS


def test_only_a_finer_calendar_can_be_resampled():
    with pytest.raises(InputError, match="day cannot be resampled to 5min"):
        WORKDAYS.resample("5min")
    assert source_of("30min", ["1min", "5min", "20min", "day"]) == "5min"
    assert source_of("7min", ["1min", "5min"]) == "1min"
    assert source_of("week", ["1min", "day", "3day"]) == "day"
    assert source_of("1d", ["1min", "day"]) == "day"
    assert source_of("month", ["week"]) is None


# ---------------------------------------------------------------------- files
def test_a_file_is_read_with_blank_lines_and_either_form_of_time(tmp_path):
    path = tmp_path / "day.txt"
    path.write_bytes(b"2024-01-02\n\n2024-01-03\r\n2024-01-04 00:00:00\n")
    assert list(read_calendar(path, "day").stamps) == list(pd.date_range("2024-01-02", periods=3))
    path.write_bytes(b"20240102\n2024/01/03\n")
    assert list(read_calendar(path, "day").stamps) == list(pd.date_range("2024-01-02", periods=2))
    path.write_bytes(b"20240102\n20240103\n")
    assert list(read_calendar(path, "day").stamps) == list(pd.date_range("2024-01-02", periods=2))
    path.write_bytes(b"")
    assert len(read_calendar(path, "day")) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"2024-01-02\nhello\n", "entry 2 is b'hello', which is no time"),
        (b"2024-01-02\n\xff\xfe\n", "entry 2 is .* no time"),
        (b"2024-01-02\n2024-01-02\n", "entry 2 is 2024-01-02.* ascends strictly"),
        (b"2024-01-02\nNaT\n", "entry 2 is b'NaT', which is no time"),
        (b"2024-01-02\n9999-01-01\n", "entry 2 is b'9999-01-01', which is no time"),
    ],
)
def test_a_damaged_file_is_named_with_the_entry(tmp_path, content, said):
    (tmp_path / "day.txt").write_bytes(content)
    with pytest.raises(StoreError, match=rf"day.txt.*{said}"):
        read_calendar(tmp_path / "day.txt", "day")


@given(st.sets(st.integers(0, 2_000_000), max_size=30), st.sampled_from(["day", "60min", "week"]))
def test_what_is_written_is_read(tmp_path_factory, numbers, freq):
    unit = "h" if freq == "60min" else "D"
    times = np.array(sorted(numbers), "int64").astype(f"datetime64[{unit}]")
    times = times[times < np.datetime64("2262-01-01")].astype("datetime64[ns]")
    path = tmp_path_factory.mktemp("c") / "x.txt"
    path.write_text("".join(text + "\n" for text in time_texts(times, freq)))
    np.testing.assert_array_equal(read_calendar(path, freq).times, times)


even_lines = st.sampled_from(
    ["2024-01-02", "2024-02-30", "1900-12-31", "2024-1-011", "2024-13-01", "1600-01-01", "20a4-01-01"]
)
clock_times = st.sampled_from(
    [" 00:00:00", " 23:59:59", " 24:00:00", " 09:30:60", "T09:30:00", " 9:30:000", " -1:00:00"]
)


@given(st.lists(even_lines, min_size=1, max_size=4), clock_times | st.just(""))
def test_a_file_of_even_lines_is_read_as_line_by_line(tmp_path_factory, lines, clock):
    path = tmp_path_factory.mktemp("c") / "x.txt"
    whole = "".join(line + clock + "\n" for line in lines)

    def said(content):
        path.write_text(content)
        try:
            return list(read_calendar(path, "60min").stamps)
        except StoreError as error:
            return str(error)

    assert said(whole) == said(whole + "\n")  # a blank line: read one by one

"""Coarser bars of frames: rules, missing values, ends, sessions; checked against pandas and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.collect.resample import RULES, bars_of, bars_of_trades, market_of, reduced, resample_frame, rules_for
from qlib.constant import SESSIONS
from qlib.data.calendar import Calendar, always_open_calendar, exchange_calendar
from qlib.data.grid import Grid
from qlib.errors import InputError

STEPS = {"1sec": "1s", "1min": "60s", "5min": "300s", "15min": "900s", "30min": "1800s", "1h": "3600s", "4h": "14400s"}
SIZES = {("1min", "5min"), ("15min", "1h"), ("1h", "4h"), ("30min", "day"), ("1sec", "1min"), ("1h", "week")}
VALUES = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))
PANDAS = {  # what pandas calls the rules
    "first": lambda g: g.first(),
    "last": lambda g: g.last(),
    "max": lambda g: g.max(),
    "min": lambda g: g.min(),
    "sum": lambda g: g.sum(min_count=1),
    "mean": lambda g: g.mean(),
    "count": lambda g: g.count(),
    "compound": lambda g: g.apply(lambda x: (1 + x).prod(min_count=1)) - 1,
}


@given(st.lists(st.tuples(st.integers(0, 3), VALUES), min_size=1, max_size=40), st.sampled_from(sorted(PANDAS)))
def test_every_rule_is_what_pandas_answers_without_the_missing(rows, rule):
    group = np.cumsum([step for step, _ in rows])
    values = np.array([value for _, value in rows])
    starts = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    found = reduced({"x": values}, starts, {"x": rule})["x"]
    expected = PANDAS[rule](pd.Series(values).groupby(group))
    np.testing.assert_allclose(found, expected.to_numpy(np.float64), rtol=1e-9, atol=1e-6)


@given(st.lists(st.tuples(st.integers(0, 2), VALUES, st.floats(0, 9) | st.just(np.nan)), min_size=1, max_size=30))
def test_a_weighted_mean_counts_the_rows_that_have_both(rows):
    group = np.cumsum([step for step, *_ in rows])
    frame = pd.DataFrame(rows, columns=["_", "vwap", "volume"])
    starts = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    columns = {name: frame[name].to_numpy() for name in ("vwap", "volume")}
    found = reduced(columns, starts, rules_for(columns))["vwap"]
    for value, (_, own) in zip(found, frame.groupby(group), strict=True):
        both = own.dropna()
        expected = np.average(both.vwap, weights=both.volume) if both.volume.sum() else np.nan
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-6)


@given(
    st.integers(0, 100_000),
    st.integers(2, 400),
    st.sampled_from(
        [("1min", "5min"), ("15min", "1h"), ("1h", "4h"), ("30min", "day"), ("1sec", "1min"), ("1h", "week")]
    ),
)
def test_only_whole_bars_stand_at_the_ends_and_the_rest_is_pandas(begin, count, sizes):
    fine, coarse = sizes
    step, rule = STEPS[fine], {"day": "D", "week": "W-MON"}.get(coarse) or STEPS[coarse]
    index = pd.date_range(pd.Timestamp("2024-01-01") + begin * pd.Timedelta(step), periods=count, freq=step).as_unit(
        "ns"
    )
    frame = pd.DataFrame({"open": np.arange(count) + 0.5, "high": np.arange(count) % 7, "volume": 1.0}, index=index)
    found = resample_frame(frame, coarse, freq=fine, region="crypto")
    weekly = {"label": "left", "closed": "left"} if coarse == "week" else {}
    parts = frame.resample(rule, **weekly)
    expected = parts.agg({"open": "first", "high": "max", "volume": "sum"})
    length = pd.Timedelta({"D": "1D", "W-MON": "7D"}.get(rule, rule))
    whole = parts.size() == length / pd.Timedelta(step)
    pd.testing.assert_frame_equal(found, expected[whole.to_numpy()], check_freq=False, check_dtype=False)
    kept = resample_frame(frame, coarse, freq=fine, region="crypto", ends="keep")
    assert len(kept) == len(expected) and kept.volume.sum() == count


def test_a_hole_inside_is_neither_filled_nor_a_reason_to_leave_a_bar_out():
    index = pd.date_range("2024-01-01", periods=12, freq="5min").delete([1, 2, 6, 7, 8])
    frame = pd.DataFrame({"close": np.arange(7.0), "volume": [1, np.nan, 1, 1, np.nan, np.nan, np.nan]}, index=index)
    found = resample_frame(frame, "15min", freq="5min", region="crypto")
    assert found.index.strftime("%H:%M").tolist() == ["00:00", "00:15", "00:45"], (
        "a bar of which nothing is there is absent"
    )
    assert found.close.tolist() == [0, 3, 6]
    np.testing.assert_array_equal(found.volume, [1, 2, np.nan])


def test_china_is_resampled_along_its_sessions():
    minutes = exchange_calendar("1min", "2024-01-02", "2024-01-05", "cn")
    frame = pd.DataFrame(
        {"open": np.arange(len(minutes)), "close": np.arange(len(minutes)), "volume": 1}, minutes.index
    )
    found = resample_frame(frame, "2h", freq="1min", region="cn")
    assert found.index.strftime("%d %H:%M").tolist()[:3] == ["02 09:30", "02 13:00", "03 09:30"]
    assert set(found.volume) == {120} and found.open.tolist() == list(range(0, len(minutes), 120))
    days = resample_frame(frame, "day", freq="1min", region="cn")
    assert days.volume.tolist() == [240] * 4 and days.close.tolist() == [239, 479, 719, 959]
    cut = resample_frame(frame.iloc[30:-1], "day", freq="1min", region="cn")
    assert cut.index.strftime("%d").tolist() == ["03", "04"], "a morning that lacks its first half hour is no whole day"
    weeks = resample_frame(frame, "week", freq="1min", region="cn")
    assert len(weeks) == 0, "the market could have traded on Monday"
    assert len(resample_frame(frame, "week", freq="1min", region="cn", ends="keep")) == 1


def test_the_calendar_of_the_future_tells_whether_a_week_is_over():
    days = exchange_calendar("day", "2024-09-02", "2024-09-26", "cn")  # a Thursday
    grid = Grid.of(SESSIONS["cn"])
    assert [str(t.date()) for t in bars_of(days, "week", grid).dropped] == ["2024-09-23"]
    holiday = exchange_calendar("day", "2024-09-02", "2024-10-20", "cn", ["2024-09-27"])
    assert bars_of(days, "week", grid, known=holiday.times).dropped == []


def test_weeks_begin_on_monday_even_where_holidays_hide_it():
    days = Calendar("day", ["2024-02-05", "2024-02-06", "2024-02-14", "2024-02-15", "2024-02-19"])
    assert days.grouped("week")[1].tolist() == [0, 0, 1, 1, 2]
    assert len(days.resample("week")) == 2, "the calendar is Qlib's: the weekday falls only once"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_several_days_are_whole_if_all_of_them_are_there(count):
    days = always_open_calendar("day", "2024-01-01", "2024-01-10")
    found = bars_of(days, f"{count}day", Grid.of())
    assert found.last - found.first + 1 == 10 // count


def test_an_offset_moves_the_day():
    frame = pd.DataFrame({"volume": 1.0}, index=pd.date_range("2024-01-01", periods=72, freq="h"))
    found = resample_frame(frame, "24h", freq="1h", offset="8h")
    assert found.index.tolist() == list(pd.to_datetime(["2024-01-01 08:00", "2024-01-02 08:00"]))
    assert found.volume.tolist() == [24, 24]
    with pytest.raises(InputError, match="24h bars .1440min. can begin at any hour"):
        resample_frame(frame, "day", freq="1h", offset="8h")
    with pytest.raises(InputError, match="begin with its sessions"):
        bars_of(
            exchange_calendar("1min", "2024-01-02", "2024-01-02", "cn"), "30min", Grid.of(SESSIONS["cn"]), offset="5min"
        )


def test_a_part_that_goes_on_when_the_whole_is_over_is_refused():
    late = always_open_calendar("1h", "2024-01-01", "2024-01-02", offset=pd.Timedelta("30min"))
    with pytest.raises(InputError, match="60min bar of 2024-01-01 03:30:00 goes on when the 240min bar of .* is over"):
        bars_of(late, "4h", Grid.of())
    assert len(bars_of(late, "4h", Grid.of(), offset="30min").calendar) == 12
    hours = always_open_calendar("1h", "2024-01-01", "2024-01-02")
    with pytest.raises(InputError, match="goes on when"):
        bars_of(hours, "4h", Grid.of(), offset="15min")
    with pytest.raises(InputError, match="60min bar of 2024-01-01 23:30:00 goes on when the day bar"):
        bars_of(late, "day", Grid.of())
    with pytest.raises(InputError, match="offset: received 'later'"):
        bars_of(hours, "4h", Grid.of(), offset="later")


# ---------------------------------------------------------------------- rules and regions
def test_fields_have_rules_and_strangers_need_one():
    assert rules_for(["open", "mark_close", "taker_volume", "vwap", "volume"]) == {
        "open": "first", "mark_close": "last", "taker_volume": "sum", "vwap": "mean:volume", "volume": "sum",
    }  # fmt: skip
    assert RULES["factor"] == RULES["open_interest"] == "last" and RULES["funding_rate"] == "sum"
    assert rules_for(["vwap"], {"$VWAP": "last"}) == {"vwap": "last"}


@pytest.mark.parametrize(
    ("fields", "rules", "said"),
    [
        (["close", "depth"], {}, "how bars of depth are put together is not known.*'depth': 'last'"),
        (["close"], {"closs": "last"}, "'closs', which is no field here.*close"),
        (["close"], {"close": "lst"}, "received 'lst' for close; allowed are.*last"),
        (["close"], {"close": "last:volume"}, "received 'last:volume'"),
        (["vwap"], {}, "weighted by volume, which is not among the fields vwap"),
    ],
)
def test_a_rule_that_cannot_be_is_explained(fields, rules, said):
    with pytest.raises(InputError, match=said):
        rules_for(fields, rules)


def test_a_market_shows_that_it_never_closes_or_is_named():
    assert market_of(always_open_calendar("1h", "2024-01-01", "2024-01-07")).always_open
    assert market_of(always_open_calendar("day", "2024-01-01", "2024-01-07")).always_open
    for calendar in (exchange_calendar("30min", "2024-01-01", "2024-01-31", "us"), Calendar("day", ["2024-01-02"])):
        with pytest.raises(InputError, match="does not show whether the market closes; name its region: cn"):
            market_of(calendar)
    assert market_of(Calendar("day", []), "us").name == "us"
    with pytest.raises(InputError, match="received 'uss'.*us"):
        market_of(Calendar("day", []), "uss")


def test_what_is_no_frame_of_bars_is_refused():
    frame = pd.DataFrame({"close": [1.0]}, index=pd.to_datetime(["2024-01-01"]))
    for wrong in (frame.reset_index(drop=True), frame.tz_localize("UTC")):
        with pytest.raises(InputError, match="DatetimeIndex without a zone is needed"):
            resample_frame(wrong, "day", freq="1h")
    with pytest.raises(InputError, match="1day|day cannot be resampled to 60min"):
        resample_frame(frame, "1h", freq="day", region="crypto")
    with pytest.raises(InputError, match="ends: received 'drop'"):
        resample_frame(frame, "week", freq="day", region="crypto", ends="drop")
    with pytest.raises(InputError, match="1 times, 2 prices"):
        bars_of_trades(["2024-01-01"], [1, 2], [1], "1min")

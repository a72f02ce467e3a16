"""Trading dates and Qlib's resampling helpers: what real Qlib answered, and help where it only raised."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qlib
from qlib import utils
from qlib.data import D
from qlib.data.storage.file_storage import FileCalendarStorage
from qlib.data.storage.writer import write_store
from qlib.errors import InputError, MissingDataError
from qlib.utils.resam import (
    get_higher_eq_freq_feature,
    get_valid_value,
    resam_calendar,
    resam_ts_data,
    ts_data_first,
    ts_data_last,
)

Stamp = pd.Timestamp
DAYS = pd.bdate_range("2018-01-02", "2019-09-09", holidays=["2018-01-15"], freq="C")
AHEAD = pd.bdate_range("2019-09-10", "2019-09-20")
HOURS = pd.date_range("2019-09-01", periods=48, freq="h")


@pytest.fixture(autouse=True, scope="module")
def _store(tmp_path_factory):
    root = tmp_path_factory.mktemp("dates") / "store"
    write_store({"AAA": pd.DataFrame({"close": np.arange(float(len(DAYS)))}, index=DAYS)}, root, "day")
    write_store({"AAA": pd.DataFrame({"close": np.arange(48.0)}, index=HOURS)}, root, "1h")
    (root / "calendars" / "day_future.txt").write_text("\n".join(str(day.date()) for day in [*DAYS, *AHEAD]))
    qlib.init(provider_uri=str(root), region="crypto")


@given(st.integers(0, len(DAYS) - 1), st.integers(-500, 500), st.booleans(), st.sampled_from([None, "left", "right"]))
def test_a_shift_counts_trading_days_and_ends_with_the_calendar(at, shift, future, align):
    every = [*DAYS, *AHEAD] if future else list(DAYS)
    expected = every[min(max(at + shift, 0), len(every) - 1)]
    assert utils.get_date_by_shift(DAYS[at], shift, future=future, align=align) == expected
    assert utils.get_date_by_shift(str(DAYS[at].date()), shift, future) == expected
    inside = 0 <= at + shift < len(every)
    if inside:
        assert utils.get_date_by_shift(DAYS[at], shift, future, clip_shift=False) == expected
    else:
        with pytest.raises(IndexError, match=f"received {shift} from .* has {len(every)} entries"):
            utils.get_date_by_shift(DAYS[at], shift, future, clip_shift=False)


def test_what_real_qlib_answered():
    day, last, saturday = Stamp("2018-01-09"), DAYS[-1], Stamp("2018-01-06")
    assert list(utils.get_date_range(day, 2, 2)) == [Stamp("2018-01-11")]
    assert list(utils.get_date_range(day, -2, -2)) == [Stamp("2018-01-05")]
    assert list(utils.get_date_range(last, 0, 3, True)) == [last, *AHEAD[:3]]
    assert utils.get_next_trading_date(day) == Stamp("2018-01-10") == utils.get_pre_trading_date(Stamp("2018-01-11"))
    assert utils.get_next_trading_date(last) == last and utils.get_next_trading_date(last, True) == Stamp("2019-09-10")
    assert utils.is_tradable_date(day) and not utils.is_tradable_date(saturday)
    for shift, left, right in ((0, "05", "08"), (1, "08", "09"), (-1, "04", "05")):
        assert utils.get_date_by_shift(saturday, shift, align="left") == Stamp(f"2018-01-{left}")
        assert utils.get_date_by_shift(saturday, shift, align="right") == Stamp(f"2018-01-{right}")
    outside = Stamp("2017-12-24")
    assert utils.get_date_by_shift(outside, 1, align="left") == Stamp("2018-01-03")
    assert utils.get_date_by_shift(Stamp("2019-10-09"), -1, align="right") == Stamp("2019-09-06")
    for end in (-1, None, "-1", "2030-01-01", last):
        assert utils.transform_end_date(end) == last
    assert utils.transform_end_date(saturday) == saturday and utils.transform_end_date(outside) == outside
    assert utils.get_date_in_file_name("2020-01-02_2020-01-03") == "2020-01-02"
    with pytest.raises(InputError, match="holds no date such as 2024-01-31"):
        utils.get_date_in_file_name("a20200102.csv")


def test_a_date_on_which_nobody_trades_is_told_its_neighbours():
    for ask in (utils.get_next_trading_date, utils.get_pre_trading_date, utils.get_date_range):
        with pytest.raises(
            ValueError, match="2018-01-06 .*is not a trading day.*before is 2018-01-05.*after is 2018-01-08"
        ):
            ask("2018-01-06")
    with pytest.raises(MissingDataError, match="the entry before is 2019-09-09 00:00:00: align="):
        utils.get_date_by_shift("2019-10-09", 0)
    assert not utils.is_tradable_date("2019-10-09"), "Qlib raises IndexError"
    assert utils.is_tradable_date("2018-01-09 14:30"), "a moment of a trading day"
    with pytest.raises(InputError, match="align: received 'middle'"):
        utils.get_date_by_shift("2018-01-09", 1, align="middle")
    with pytest.raises(InputError, match="trading_date: received None"):
        utils.get_date_by_shift(None, 1)
    with pytest.raises(InputError, match="end_date: received 'x'"):
        utils.transform_end_date("x")


def test_a_calendar_file_says_what_it_holds():
    storage = FileCalendarStorage("day", False)
    assert storage[-1] == str(DAYS[-1].date()) and storage.index("2018-01-02") == 0
    with pytest.raises(
        IndexError, match=f"position 5000: .*day.txt holds {len(DAYS)} entries, 2018-01-02 to 2019-09-09"
    ):
        storage[5000]
    with pytest.raises(ValueError, match="2018-01-06 is no entry of .*day.txt"):
        storage.index("2018-01-06")


def test_hours_have_neighbours_too():
    assert utils.get_date_by_shift("2019-09-01 05:00", 3, freq="1h") == Stamp("2019-09-01 08:00")
    assert utils.get_date_by_shift("2019-09-01 05:20", 0, freq="60min", align="left") == Stamp("2019-09-01 05:00")
    assert utils.transform_end_date(None, "60min") == HOURS[-1]


def test_the_names_are_there_and_others_are_not():
    assert {"get_date_range", "is_tradable_date"} <= set(dir(utils))
    with pytest.raises(AttributeError, match="has no attribute 'get_dates'"):
        utils.get_dates  # noqa: B018


# ---------------------------------------------------------------------- qlib.utils.resam
TIMES = pd.date_range("2020-01-01", periods=5)
ONE = pd.Series([np.nan, 1, 2, np.nan, np.nan], index=TIMES, name="$x")
TWO = pd.DataFrame({"a": ONE, "b": [1.0, 2, 3, 4, 5]})
BOTH = pd.DataFrame(
    {"a": [*ONE, *([np.nan] * 5)], "b": np.arange(10.0)},
    index=pd.MultiIndex.from_product([["A", "B"], TIMES], names=["instrument", "datetime"]),
)


def test_valid_values_are_the_first_and_the_last_that_are_there():
    assert (
        get_valid_value(ONE) == 2 and get_valid_value(ONE, last=False) == 1 and np.isnan(get_valid_value(ONE * np.nan))
    )
    assert ts_data_last(TWO).tolist() == [2, 5] and ts_data_first(TWO).tolist() == [1, 1] and ts_data_last(ONE) == 2
    with pytest.raises(InputError, match="received an empty one"):
        get_valid_value(ONE[:0])
    with pytest.raises(TypeError, match="received int; a DataFrame or a Series"):
        ts_data_last(3)


def test_what_lies_inside_becomes_one_value():
    assert resam_ts_data(ONE, "2020-01-01", "2020-01-02") == 1 and resam_ts_data(ONE, method="mean") == 1.5
    assert resam_ts_data(TWO).tolist() == [2, 5] and resam_ts_data(TWO, method="first").tolist() == [1, 1]
    assert resam_ts_data(TWO, method=len) == 5 and resam_ts_data(TWO, method=None) is TWO
    assert resam_ts_data(ONE, "2021-01-01") is None is resam_ts_data(BOTH, "2021-01-01")
    found = resam_ts_data(BOTH, "2020-01-02", "2020-01-03")
    assert found.b.to_dict() == {"A": 2, "B": 7} and np.isnan(found.a["B"]) and found.index.name == "instrument"
    assert resam_ts_data(BOTH.b, method="sum").to_dict() == {"A": 10, "B": 35}
    assert resam_ts_data(BOTH, method=ts_data_first).b.tolist() == [0, 5]
    middle = resam_ts_data(BOTH, "2020-01-02", "2020-01-03", method="quantile", method_kwargs={"q": 0.5})
    assert middle.b.tolist() == [1.5, 6.5]
    assert resam_ts_data(BOTH.swaplevel().sort_index()).equals(resam_ts_data(BOTH)), (
        "the order of levels does not count"
    )
    with pytest.raises(InputError, match="instrument and datetime are needed"):
        resam_ts_data(BOTH.rename_axis(["i", "d"]))
    with pytest.raises(TypeError, match="received list"):
        resam_ts_data([1])


def test_coarser_calendars_are_qlibs():
    minutes = np.array([Stamp(f"2024-01-0{d} 09:30") + pd.Timedelta(minutes=i) for d in (2, 3) for i in range(120)])
    found = resam_calendar(np.append(minutes, Stamp("2024-01-03 15:00")), "1min", "30min", region="cn")
    assert [f"{t:%d %H:%M}" for t in found[-5:]] == ["03 09:30", "03 10:00", "03 10:30", "03 11:00", "03 14:30"]
    assert list(resam_calendar(minutes, "1min", "day", "cn")) == [Stamp("2024-01-02"), Stamp("2024-01-03")]
    assert list(resam_calendar(minutes, "1min", "week", "cn")) == [Stamp("2024-01-02")]
    assert len(resam_calendar(minutes, "1min", "4h")) == 2, "the session's region, which never closes: 08:00"
    with pytest.raises(ValueError, match="day cannot be resampled to 5min"):
        resam_calendar(DAYS, "day", "5min")
    with pytest.raises(ValueError, match="region: received 'xx'"):
        resam_calendar(minutes, "1min", "30min", region="xx")


@pytest.mark.parametrize(
    ("freq", "found"), [("1h", "60min"), ("4h", "60min"), ("day", "day"), ("week", "day"), ("month", "day")]
)
def test_bars_as_fine_as_asked_or_finer(freq, found):
    frame, used = get_higher_eq_freq_feature(["AAA"], ["$close"], freq=freq)
    assert used == found
    pd.testing.assert_frame_equal(frame, D.features(["AAA"], ["$close"], freq=found))


def test_coarser_bars_than_asked_are_none():
    with pytest.raises(MissingDataError, match="neither bars of 30min nor finer ones are stored; stored: 60min, day"):
        get_higher_eq_freq_feature(["AAA"], ["$close"], freq="30min")

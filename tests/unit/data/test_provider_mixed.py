"""Bars of several sizes in one frame: a coarser bar is seen when it is over, and no earlier."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qlib
from qlib.config import build_settings
from qlib.data.calendar import Calendar, always_open_calendar, exchange_calendar
from qlib.data.dataset.loader import QlibDataLoader
from qlib.data.grid import Grid
from qlib.data.provider import Provider
from qlib.data.provider.mixed import seen
from qlib.data.storage.writer import write_store
from qlib.errors import InputError
from qlib.utils.time import Freq

NAMES = ["AAA", "BBB", "CCC"]
HOURS = pd.date_range("2024-01-01", periods=24 * 20, freq="h")
DAYS = pd.date_range("2023-12-01", periods=51, freq="D")
FIELDS = {"60min": ["$close"], "day": ["$close", "Mean($close,5)"], "1week": ["$close"]}


def bars(times: pd.DatetimeIndex, seed: int) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(seed)
    frames = {name: pd.DataFrame({"close": random.uniform(1, 2, len(times))}, index=times) for name in NAMES}
    frames["BBB"] = frames["BBB"].drop(times[3])
    frames["CCC"] = frames["CCC"].iloc[len(times) // 2 :]
    return frames


def weeks(seed: int) -> dict[str, pd.DataFrame]:
    return bars(pd.date_range("2023-11-27", periods=9, freq="W-MON"), seed)


def write(root, day=0, hour=1, week=2, *, alter=None):
    """Write three sizes; `alter` changes a frame's future."""
    for freq, frames in (("day", bars(DAYS, day)), ("60min", bars(HOURS, hour)), ("week", weeks(week))):
        changed = frames if alter is None else {name: alter(frame, freq) for name, frame in frames.items()}
        write_store(changed, root, freq)
    return Provider(build_settings(provider_uri=str(root), region="crypto"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed") / "store"
    write(folder)
    return folder


@pytest.fixture(scope="module")
def provider(root):
    return Provider(build_settings(provider_uri=str(root), region="crypto"))


def test_an_hour_sees_the_last_day_and_week_that_are_over(provider):
    found = provider.features(NAMES, FIELDS, "2024-01-03", "2024-01-12 23:00")
    assert found.columns.tolist() == [(freq, text) for freq, texts in FIELDS.items() for text in texts]
    day = provider.features(NAMES, ["$close", "Mean($close,5)"], freq="day")
    week = provider.features(NAMES, ["$close"], freq="week")
    for (name, time), row in found.iterrows():
        known_day = (time + pd.Timedelta("1h")).normalize() - pd.Timedelta("1D")
        monday = (time + pd.Timedelta("1h")).normalize()
        monday -= pd.Timedelta(days=monday.weekday() + 7)
        for wanted, at, part in ((day, known_day, "day"), (week, monday, "1week")):
            expected = (
                wanted.loc[(name, at)].to_numpy() if (name, at) in wanted.index else np.full(wanted.shape[1], np.nan)
            )
            np.testing.assert_array_equal(row[part].to_numpy("f4"), expected.astype("f4"), str((name, time, part)))
    own = provider.features(NAMES, ["$close"], "2024-01-03", "2024-01-12 23:00", freq="60min")
    np.testing.assert_array_equal(found["60min"].to_numpy(), own.to_numpy())


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(now=st.integers(30, len(HOURS) - 2))
def test_changing_what_is_not_over_changes_no_row_that_is(tmp_path_factory, provider, now):
    moment = HOURS[now] + pd.Timedelta("1h")  # the rows up to `now` are over

    def alter(frame, freq):
        end = {"60min": pd.Timedelta("1h"), "day": pd.Timedelta("1D"), "week": pd.Timedelta("7D")}[freq]
        frame = frame.copy()
        frame.loc[frame.index + end > moment, "close"] += 100
        return frame

    changed = write(tmp_path_factory.mktemp("changed") / "store", alter=alter)
    fields = {**FIELDS, "day": [*FIELDS["day"], "CSRank($close)", "EMA($close,9)"]}
    before = provider.features(NAMES, fields, None, HOURS[now])
    pd.testing.assert_frame_equal(before, changed.features(NAMES, fields, None, HOURS[now]))
    later = provider.features(NAMES, fields, HOURS[now + 1])["60min"]
    assert (changed.features(NAMES, fields, HOURS[now + 1])["60min"] - later).gt(99).all(axis=None)


def test_what_is_not_there_is_missing_and_where_a_query_begins_does_not_matter(provider):
    whole = provider.features(NAMES, FIELDS)
    part = provider.features(NAMES, FIELDS, "2024-01-10 05:00", "2024-01-10 09:00")
    pd.testing.assert_frame_equal(part, whole.loc[part.index])
    by_time = provider.features(NAMES, FIELDS, "2024-01-10 05:00", "2024-01-10 09:00", by_time=True)
    pd.testing.assert_frame_equal(by_time.swaplevel().sort_index(), part)
    assert whole.loc["BBB"]["day"]["$close"].notna().all(), "the day that BBB lacks is long over"
    nothing = provider.features(NAMES, FIELDS, "2030-01-01", "2030-01-02")
    assert len(nothing) == 0 and nothing.columns.nlevels == 2


def test_across_instruments_the_members_of_the_universe_are_compared(provider, root):
    universe = {"AAA": [("2023-12-01", "2024-01-08")], "BBB": [(None, None)], "CCC": [(None, None)]}
    found = provider.features(universe, {"60min": ["$close"], "day": ["CSRank($close)"]}, "2024-01-15", "2024-01-16")
    day = provider.features(universe, ["CSRank($close)"], "2024-01-14", "2024-01-15", freq="day")
    assert set(found.index.get_level_values(0)) == {"BBB", "CCC"}
    for name in ("BBB", "CCC"):
        assert found.loc[(name, "2024-01-15 05:00"), ("day", "CSRank($close)")] == day.loc[(name, "2024-01-14")].item()


def test_a_loader_puts_groups_of_several_sizes_on_the_finest_rows(root):
    qlib.init(provider_uri=str(root), region="crypto")
    config = {"feature": (["$close"], ["H"]), "daily": (["Mean($close,5)", "$close"], ["M5", "D"])}
    found = QlibDataLoader(config, freq={"feature": "1h", "daily": "1d"}).load(NAMES, "2024-01-03", "2024-01-04 12:00")
    assert found.columns.tolist() == [("feature", "H"), ("daily", "M5"), ("daily", "D")]
    assert found.index.names == ["datetime", "instrument"] and found.index.is_monotonic_increasing
    own = qlib.data.D.features(["AAA"], ["Mean($close,5)"], freq="day")
    assert found.loc[("2024-01-04 07:00", "AAA"), ("daily", "M5")] == own.loc[("AAA", "2024-01-03")].item()
    qlib.init(provider_uri=str(root), region="crypto", compat="qlib")
    stamped = QlibDataLoader(config, freq={"feature": "60min", "daily": "day"}).load(
        ["AAA"], "2024-01-03", "2024-01-04"
    )
    at_midnight = stamped.loc[(pd.Timestamp("2024-01-03"), "AAA"), ("daily", "M5")]
    assert at_midnight == own.loc[("AAA", "2024-01-03")].item(), "Qlib knows the day at its first hour"


def test_bar_sizes_are_named_once(provider):
    with pytest.raises(InputError, match="60min is there in another spelling"):
        provider.features(NAMES, {"1h": ["$close"], "60min": ["$close"]})
    with pytest.raises(InputError, match="received an empty dict"):
        provider.features(NAMES, {})


@pytest.mark.parametrize("fine", ["1min", "30min", "60min", "day"])
@pytest.mark.parametrize("coarse", ["30min", "120min", "240min", "day", "week", "month", "3day", "2week"])
@pytest.mark.parametrize("region", ["cn", "us", "crypto"])
def test_a_bar_is_never_seen_before_its_last_part_is_over(fine, coarse, region):
    if Freq(coarse).seconds <= Freq(fine).seconds:
        return
    parts = exchange_calendar(fine, "2024-01-29", "2024-03-12", region, ["2024-02-12", "2024-02-13", "2024-02-14"])
    grid = Grid.of(build_settings(region=region).region.sessions)
    whole, group = parts.grouped(coarse, grid)
    found = seen(whole, parts, grid)
    last_part = np.searchsorted(group, np.arange(len(whole)), side="right") - 1
    visible = np.flatnonzero(found >= 0)
    assert (last_part[found[visible]] <= visible).all()
    assert (np.diff(found) >= 0).all()
    if region == "crypto":  # around the clock there is nothing to wait for
        over = np.searchsorted(last_part, np.arange(len(parts)), side="right") - 1
        np.testing.assert_array_equal(found[: last_part[-2]], over[: last_part[-2]])


def test_a_store_around_the_clock_in_a_region_with_sessions_sees_no_day_early():
    hours, days = always_open_calendar("1h", "2024-01-01", "2024-01-03"), Calendar("day", DAYS[31:34])
    assert seen(days, hours, Grid.of((("09:30", "15:00"),), 0, hours.times)).tolist() == [-1] * 23 + [0] * 24 + [
        1
    ] * 24 + [2]

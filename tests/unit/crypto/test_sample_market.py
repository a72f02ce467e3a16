"""The synthetic market looks like coin data, and its bars keep every promise that README.txt makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from qlib.crypto.sample import BENCHMARK, MarketSpec, SampleMarket
from qlib.errors import InputError

SMALL = MarketSpec(seed=5, days=150, hourly_days=150, coins=12, late=3, delisted=2)
MONEY = ["open", "high", "low", "close", "vwap"]


@pytest.fixture(scope="module")
def market() -> SampleMarket:
    return SampleMarket()


@pytest.fixture(scope="module")
def daily(market: SampleMarket) -> dict[str, pd.DataFrame]:
    return market.frames("day")


@pytest.fixture(scope="module")
def hourly(market: SampleMarket) -> dict[str, pd.DataFrame]:
    return market.frames("60min")


def table(frames: dict[str, pd.DataFrame], field: str) -> pd.DataFrame:
    return pd.DataFrame({name: frame[field] for name, frame in frames.items() if name != BENCHMARK}).astype("float64")


def test_the_same_seed_plays_the_same_market_and_another_seed_another_one():
    first, again, other = (SampleMarket(replace(SMALL, seed=seed)).frames("60min") for seed in (5, 5, 6))
    assert list(first) == list(again)
    for name, frame in first.items():
        pd.testing.assert_frame_equal(frame, again[name])
    assert not first["SYN01"]["close"].equals(other["SYN01"]["close"])


def test_fifty_coins_that_nobody_takes_for_real_and_their_index(daily):
    assert list(daily) == [f"SYN{number:02d}" for number in range(1, 51)] + [BENCHMARK]


def test_stamps_are_naive_days_and_hours_without_a_gap(daily, hourly):
    for frames, step in ((daily, "D"), (hourly, "h")):
        for frame in frames.values():
            assert frame.index.tz is None
            assert frame.index.equals(pd.date_range(frame.index[0], frame.index[-1], freq=step))


def test_a_freq_the_market_does_not_have_is_refused_with_those_it_has(market):
    with pytest.raises(InputError, match="day and 60min, received '1min'"):
        market.frames("1min")


@pytest.mark.parametrize("freq", ["day", "60min"])
def test_high_and_low_enclose_every_price_and_nothing_is_negative(market, freq):
    for frame in market.frames(freq).values():
        bars = frame.dropna(subset=["close"])
        assert (bars["low"] > 0).all()
        assert (bars["volume"] >= 0).all()
        for price in ("open", "close", "vwap"):
            assert (bars[price] <= bars["high"]).all()
            assert (bars[price] >= bars["low"]).all()
        assert (bars["factor"] == 1).all()


def test_daily_bars_are_the_hourly_bars_of_the_day_put_together(daily, hourly):
    how = {"open": "first", "high": "max", "low": "min", "close": "last"}
    for name, hours in hourly.items():
        days = hours.resample("D").agg(how)
        whole = daily[name].reindex(days.index)
        pd.testing.assert_frame_equal(days, whole[list(how)], check_freq=False, check_names=False)
        volume = hours["volume"].astype("float64").resample("D").sum(min_count=1)
        np.testing.assert_allclose(volume, whole["volume"], rtol=1e-6)
        money = (hours["vwap"].astype("float64") * hours["volume"]).resample("D").sum()
        traded = volume > 0
        np.testing.assert_allclose((money / volume)[traded], whole["vwap"][traded], rtol=1e-5)


def test_coins_are_listed_late_and_delisted_and_trade_only_in_between(market, daily):
    first = {name: frame.index[0] for name, frame in daily.items()}
    last = {name: frame.index[-1] for name, frame in daily.items()}
    start, end = first[BENCHMARK], last[BENCHMARK]
    assert sum(day > start for day in first.values()) == market.spec.late
    assert sum(day < end for day in last.values()) == market.spec.delisted
    hours = market.hours["close"][:, :-1]
    for column, (opens, closes) in enumerate(zip(market.coins.listed, market.coins.delisted, strict=True)):
        assert np.isnan(hours[:opens, column]).all()
        assert np.isnan(hours[closes:, column]).all()


def test_an_outage_leaves_no_bar_for_anybody_and_nothing_is_filled(market, daily, hourly):
    outages = [event for event in market.events.log if event["kind"] == "no bars"]
    assert max(event["hours"] for event in outages) > 24
    for event in outages:
        stamps = pd.date_range(event["from"], periods=event["hours"], freq="h")
        position = (stamps - pd.Timestamp(market.spec.start)) // pd.Timedelta(hours=1)
        for values in market.hours.values():
            assert np.isnan(values[position]).all()
    holes = daily["SYN01"]["close"].isna()
    assert holes.sum() == 1  # one outage swallowed a whole day
    assert all(frame["close"].isna().sum() >= 12 for name, frame in hourly.items() if len(frame) == 366 * 24)


def test_flat_spells_have_bars_without_volume_and_without_a_move(market):
    spells = [event for event in market.events.log if event["kind"].startswith("flat")]
    assert {event["coin"] == "all" for event in spells} == {True, False}
    for event in spells:
        first = (pd.Timestamp(event["from"]) - pd.Timestamp(market.spec.start)) // pd.Timedelta(hours=1)
        rows = slice(first, first + event["hours"])
        columns = slice(0, 50) if event["coin"] == "all" else [market.coins.names.index(event["coin"])]
        bars = {name: values[rows, columns] for name, values in market.hours.items()}
        there = np.isfinite(bars["close"])
        assert there.any()
        assert (bars["volume"][there] == 0).all()
        for name in ("open", "high", "low", "vwap"):
            np.testing.assert_array_equal(bars[name], bars["close"])


def test_a_halted_coin_has_a_flat_day_without_volume(daily):
    flat = [(frame["volume"] == 0) & (frame["high"] == frame["low"]) for name, frame in daily.items()]
    assert sum(int(days.sum()) for days in flat) == 2


def test_one_coin_is_far_below_a_cent_and_one_costs_a_fortune(daily):
    close = table(daily, "close").median()
    assert close.min() < 1e-4
    assert close.max() > 5e4


def test_tails_are_heavy_volatility_clusters_and_volume_follows_it(daily):
    returns = table(daily, "close").pct_change(fill_method=None)
    turnover = table(daily, "volume") * table(daily, "vwap")
    assert returns.kurt().median() > 1.0
    clustering = returns.abs().apply(lambda column: column.autocorr(5))
    assert clustering.median() > 0.1
    follows = pd.Series({name: returns[name].abs().corr(np.log(turnover[name] + 1)) for name in returns})
    assert (follows > 0.1).mean() > 0.9


def test_coins_move_with_a_common_factor(daily):
    returns = table(daily, "close").pct_change(fill_method=None)
    with_index = returns.corrwith(daily[BENCHMARK]["change"].astype("float64"))
    assert with_index.min() > 0.1
    assert with_index.median() > 0.3


def test_the_index_moves_by_the_mean_of_the_coins(market, daily):
    coins = table(daily, "close")
    change = coins.pct_change(fill_method=None)
    index = daily[BENCHMARK]["change"].astype("float64")
    there = coins.notna()
    quiet = (there == there.shift(1)).all(axis=1) & (there == there.shift(-1)).all(axis=1) & there["SYN01"]
    assert quiet.sum() > 1400
    np.testing.assert_allclose(index[quiet], change.mean(axis=1)[quiet], atol=2e-6)


def test_change_is_the_return_since_the_last_bar_that_exists(daily):
    for frame in daily.values():
        close = frame["close"].astype("float64").dropna()
        np.testing.assert_allclose(frame["change"].reindex(close.index)[1:], close.pct_change()[1:], atol=1e-6)
        assert np.isnan(frame["change"].iloc[0])


def test_funding_is_settled_every_eight_hours_and_a_day_holds_the_sum(daily, hourly):
    for name, hours in hourly.items():
        if name == BENCHMARK:
            assert "funding" not in hours.columns
            continue
        known = hours["funding"].dropna()
        assert set(known.index.hour) == {0, 8, 16}
        assert known.abs().max() <= 0.0075
        total = hours["funding"].astype("float64").resample("D").sum(min_count=1)
        np.testing.assert_allclose(daily[name]["funding"].reindex(total.index), total, atol=1e-8)
    assert hourly["SYN01"]["funding"].std() > 0

"""The planted part is readable from past bars only, is as strong as promised, and is absent from the null twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.analysis.ic import calc_ic
from qlib.crypto import sample
from qlib.crypto.planted import IC, WINDOW, oracle_score, planted_ic, planted_score, read_truth
from qlib.crypto.sample import BENCHMARK, MarketSpec, SampleMarket
from qlib.errors import MissingDataError, StoreError

SMALL = MarketSpec(seed=11, days=120, hourly_days=2, coins=10, late=2, delisted=1)


def bars_of(market: SampleMarket) -> pd.DataFrame:
    frames = {name: frame for name, frame in market.frames("day").items() if name != BENCHMARK}
    return pd.concat(frames, names=["instrument", "datetime"])[["high", "low", "close", "volume"]].add_prefix("$")


def daily_ic(market: SampleMarket) -> pd.Series:
    bars = bars_of(market)
    close = bars["$close"].astype("float64").unstack("instrument")
    label = (close.shift(-2) / close.shift(-1) - 1).stack(future_stack=True)
    ic, _ = calc_ic(oracle_score(bars), label, dropna=True)
    return ic


def random_window(seed: int, coins: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    close = np.exp(np.cumsum(rng.normal(0, 0.05, (WINDOW, coins)), axis=0))
    high, low = close * (1 + rng.uniform(0, 0.03, close.shape)), close * (1 - rng.uniform(0, 0.03, close.shape))
    return [high, low, close, rng.lognormal(10, 1, close.shape)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_oracle_reaches_the_planted_ic_and_finds_nothing_in_the_null_twin(seed):
    """Three seeds, four (three) standard errors: about one false alarm in 5,000 (120) markets."""
    planted, null = (daily_ic(SampleMarket(MarketSpec(seed=seed, ic=ic, hourly_days=1))) for ic in (IC, 0.0))
    error = planted.std() / np.sqrt(len(planted))
    assert abs(planted.mean() - IC) <= 4 * error
    assert abs(null.mean()) <= 3 * null.std() / np.sqrt(len(null))


def test_the_null_twin_is_the_same_market_without_the_planted_part():
    planted, null = (SampleMarket(replace(SMALL, ic=ic)) for ic in (IC, 0.0))
    before = slice(0, WINDOW + 1)  # the first score moves day 21
    np.testing.assert_allclose(
        planted.days["close"][before][:, -1], null.days["close"][before][:, -1], rtol=0.05, equal_nan=True
    )
    assert planted.events.log == null.events.log
    assert not np.allclose(planted.days["close"][-1], null.days["close"][-1], equal_nan=True)


def test_the_oracle_reads_from_the_bars_exactly_what_the_generator_planted(monkeypatch):
    seen = []

    def recording(*window: np.ndarray) -> np.ndarray:
        seen.append(planted_score(*window))
        return seen[-1]

    monkeypatch.setattr(sample, "planted_score", recording)
    market = SampleMarket(SMALL)
    monkeypatch.undo()
    oracle = oracle_score(bars_of(market)).unstack("instrument")
    used = pd.DataFrame(seen, columns=list(market.coins.names)).iloc[:, : SMALL.coins]
    used.index = pd.date_range(SMALL.start, periods=SMALL.days)[WINDOW - 1 :]
    used = used.dropna(how="all").reindex(columns=oracle.columns)
    np.testing.assert_array_equal(used.to_numpy(), oracle.to_numpy())


@settings(max_examples=10, deadline=None)
@given(day=st.integers(WINDOW, SMALL.days - 2))
def test_nothing_that_happens_later_changes_a_bar(day):
    """Shocks from `day` on are exchanged; every bar before it stays as it was."""
    market = SampleMarket(SMALL)
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(SMALL.seed).spawn(3)]
    shocks = sample._draw_shocks(SMALL, market.coins, market.events, streams[2])
    other = replace(shocks, fair=shocks.fair.copy(), money=shocks.money.copy())
    other.fair[day:] *= -1.5
    other.money[day:] *= 3.0
    _, days = sample._play(SMALL, market.coins, market.events, other)
    for name, values in market.days.items():
        np.testing.assert_array_equal(values[:day], days[name][:day])
    assert not np.array_equal(market.days["close"][day:], days["close"][day:], equal_nan=True)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), coins=st.integers(2, 30), scale=st.floats(1e-6, 1e5))
def test_the_score_is_standardised_and_blind_to_the_unit_of_the_price(seed, coins, scale):
    high, low, close, volume = random_window(seed, coins)
    score = planted_score(high, low, close, volume)
    assert abs(score.mean()) < 1e-9
    assert abs(score.std() - 1) < 1e-9
    np.testing.assert_allclose(planted_score(high * scale, low * scale, close * scale, volume), score, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_coin_without_a_bar_has_no_score_and_does_not_disturb_the_others(seed):
    window = random_window(seed, 8)
    alone = planted_score(*(values[:, 1:] for values in window))
    for values in window:
        values[-1, 0] = np.nan
    score = planted_score(*window)
    assert np.isnan(score[0])
    np.testing.assert_allclose(score[1:], alone, atol=1e-12)


def test_a_coin_needs_ten_bars_and_a_flat_coin_has_no_score():
    high, low, close, volume = random_window(3, 6)
    for values in (high, low, close, volume):
        values[:11, 0] = np.nan
        values[:10, 1] = np.nan
    for values in (high, low, close):
        values[:, 2] = 7.0
    volume[:, 3] = 0.0
    known = np.isfinite(planted_score(high, low, close, volume))
    assert known.tolist() == [False, True, False, False, True, True]


def test_a_day_without_any_bar_has_no_scores_and_no_warning():
    nothing = [np.full((WINDOW, 4), np.nan)] * 4
    assert np.isnan(planted_score(*nothing)).all()


def test_the_oracle_says_which_column_it_misses():
    with pytest.raises(MissingDataError, match=r"received none called \$volume"):
        oracle_score(bars_of(SampleMarket(SMALL)).drop(columns="$volume"))


def test_the_truth_of_a_folder_that_is_no_sample_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="not a store written by"):
        read_truth(tmp_path)
    with pytest.raises(StoreError):
        planted_ic(tmp_path)

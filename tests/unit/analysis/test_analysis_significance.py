"""Significance: the papers' own numbers, laws that hold for any series, and how often luck passes for skill."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.analysis.significance import (
    Moments,
    deflated_sharpe,
    expected_best_sharpe,
    finite,
    minimum_track_record,
    moments,
    newey_west,
    probabilistic_sharpe,
)
from qlib.contrib.report.signal_numbers import standard_error
from qlib.errors import InputError

YEAR = 250**0.5
returns = st.lists(st.floats(-0.2, 0.2, allow_subnormal=False), min_size=3, max_size=60)


def test_the_deflated_ratio_is_that_of_the_papers_example():
    """Bailey and Lopez de Prado 2014: a yearly 2.5 over 1250 days, skew -3, kurtosis 10, variance of trials 1/2."""
    chosen, deviation = Moments(2.5 / YEAR, 1250, skew=-3, kurtosis=10), math.sqrt(0.5) / YEAR
    assert expected_best_sharpe(100, deviation) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(chosen, 100, deviation) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(chosen, 46, deviation) == pytest.approx(0.9505, abs=5e-5)
    normal = Moments(2.5 / YEAR, 1250)
    assert deflated_sharpe(normal, 88, deviation) == pytest.approx(0.9505, abs=5e-5)


@pytest.mark.parametrize(("bars", "years"), [(250, 2.73), (52, 2.83), (12, 3.24)])
def test_the_track_record_is_that_of_the_papers_table(bars, years):
    """Bailey and Lopez de Prado 2012: a yearly ratio of 2 against 1, at 95 %, seen by days, weeks, months."""
    seen = Moments(2 / bars**0.5, 100)
    assert minimum_track_record(seen, 1 / bars**0.5) / bars == pytest.approx(years, abs=0.005)


def test_fat_tails_need_a_longer_record():
    monthly = Moments(2 / 12**0.5, 100, skew=-0.72, kurtosis=5.78)
    assert minimum_track_record(monthly, 1 / 12**0.5) / 12 == pytest.approx(4.99, abs=0.005)


@pytest.mark.parametrize(("trials", "ratio"), [(10, 1.11), (100, 1.79), (1000, 2.30), (10_000, 2.73)])
def test_the_best_of_noise_is_as_high_as_it_is(trials, ratio):
    """Two years of days that never close: the yearly ratio of the best of so many worthless tries."""
    assert expected_best_sharpe(trials, 730**-0.5) * 365**0.5 == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize("trials", cases([20], [2, 5, 20, 100, 1000]))
def test_the_best_of_noise_is_the_mean_of_what_is_drawn(trials):
    draws = np.random.default_rng(trials).normal(size=(20_000, trials)).max(axis=1)
    assert expected_best_sharpe(trials, 1.0) == pytest.approx(draws.mean(), rel=0.1 if trials < 5 else 0.03)


@pytest.mark.parametrize("trials", cases([10], [10, 100, 1000]))
def test_luck_rarely_passes_for_skill_when_tries_are_counted(trials):
    """The best of 100 worthless tries is nearly always "sure" by itself, and once in twenty at most when counted."""
    rng, naive, counted, worlds = np.random.default_rng(trials), 0, 0, cases(60, 300)
    for _ in range(worlds):
        tries = rng.normal(0, 0.01, (trials, 250))
        ratios = tries.mean(axis=1) / tries.std(axis=1, ddof=1)
        best = moments(tries[ratios.argmax()])
        naive += probabilistic_sharpe(best) > 0.95
        counted += deflated_sharpe(best, trials, float(ratios.std(ddof=1))) > 0.95
    assert counted / worlds <= 0.05
    assert naive / worlds > (0.25 if trials == 10 else 0.9)


def test_skill_is_still_seen_among_many_tries():
    rng = np.random.default_rng(0)
    tries = rng.normal(0, 0.01, (100, 730))
    skilled = rng.normal(0.0025, 0.01, 730)
    deviation = float((tries.mean(axis=1) / tries.std(axis=1, ddof=1)).std(ddof=1))
    assert deflated_sharpe(skilled, 101, deviation) > 0.99


# ------------------------------------------------------------------------------------------------------------ laws
@settings(max_examples=cases(30, 300))
@given(returns)
def test_moments_do_not_know_the_unit_and_turn_with_the_sign(values):
    series = np.array(values)
    if np.ptp(series) < 1e-6:
        return
    one, doubled, turned = moments(series), moments(2 * series), moments(-series)
    assert doubled.sharpe == pytest.approx(one.sharpe, rel=1e-9, abs=1e-12)
    assert doubled.kurtosis == pytest.approx(one.kurtosis, rel=1e-6)
    assert turned.sharpe == pytest.approx(-one.sharpe, rel=1e-9, abs=1e-12)
    assert turned.skew == pytest.approx(-one.skew, rel=1e-6, abs=1e-9)
    assert one.sharpe == pytest.approx(pd.Series(series).mean() / pd.Series(series).std(), rel=1e-9, abs=1e-12)
    assert one.kurtosis >= 1 + one.skew**2 - 1e-6


@settings(max_examples=cases(30, 300))
@given(returns, st.integers(1, 1000))
def test_more_tries_never_make_surer(values, trials):
    seen = moments(values)
    if not math.isfinite(seen.error):
        return
    fewer, more = deflated_sharpe(seen, trials), deflated_sharpe(seen, trials + 1)
    assert 0 <= more <= fewer <= 1
    assert deflated_sharpe(seen, 1) == probabilistic_sharpe(seen)


@settings(max_examples=cases(30, 300))
@given(st.floats(0.01, 0.5), st.floats(-1, 1), st.floats(3, 9), st.floats(0.6, 0.99))
def test_after_the_least_record_one_is_just_as_sure_as_asked(sharpe, skew, kurtosis, confidence):
    bars = minimum_track_record(Moments(sharpe, 100, skew, kurtosis), confidence=confidence)
    after = Moments(sharpe, math.ceil(bars), skew, kurtosis)
    before = Moments(sharpe, math.ceil(bars) - 1, skew, kurtosis)
    assert probabilistic_sharpe(after) >= confidence - 1e-12
    assert before.bars < 2 or probabilistic_sharpe(before) < confidence


def test_what_cannot_be_said_is_nan_or_never():
    constant, short = [0.01] * 5, [0.01]
    for series in (constant, short, [], [np.nan] * 3):
        assert math.isnan(moments(series).sharpe)
        assert math.isnan(probabilistic_sharpe(series))
        assert math.isnan(deflated_sharpe(series, 3))
        assert math.isnan(minimum_track_record(series))
    assert minimum_track_record([-0.01, -0.02, 0.01]) == math.inf
    holes = [0.01, np.nan, -0.02, 0.03]
    assert moments(holes) == moments([0.01, -0.02, 0.03])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: moments([0.1, np.inf]), "returns: 1 of 2 are infinite"),
        (lambda: moments([[0.1]]), "returns: received 2 dimensions; one number per bar"),
        (lambda: expected_best_sharpe(0, 1.0), "trials: received 0; a whole number of at least 1"),
        (lambda: expected_best_sharpe(2.5, 1.0), "trials: received 2.5"),
        (lambda: expected_best_sharpe(3, -1.0), "deviation: received -1.0"),
        (lambda: expected_best_sharpe(3, np.nan), "deviation: received nan"),
        (lambda: probabilistic_sharpe([0.1, 0.2], np.nan), "benchmark: received nan"),
        (lambda: minimum_track_record([0.1, 0.2], confidence=1.0), "confidence: received 1.0"),
        (lambda: newey_west([0.1, 0.2], lags=-1), "lags: received -1"),
        (lambda: finite([np.inf], "x"), "x: 1 of 1 are infinite"),
    ],
)
def test_what_makes_no_sense_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


# ---------------------------------------------------------------------------------------------------- Newey and West
@pytest.mark.parametrize("lags", [0, 1, 5])
def test_the_error_is_the_sum_over_all_pairs_of_neighbours(lags):
    values = np.random.default_rng(3).normal(0.1, 1, 40)
    away = values - values.mean()
    total = sum(
        max(0.0, 1 - abs(i - j) / (lags + 1)) * away[i] * away[j]
        for i in range(len(values))
        for j in range(len(values))
    )
    test = newey_west(values, lags=lags)
    assert test.error == pytest.approx(math.sqrt(total / 40 / 39), rel=1e-12)
    assert test.t == pytest.approx(values.mean() / test.error)


def test_without_lags_it_is_the_t_everyone_knows_and_the_lags_are_those_of_the_report():
    values = np.random.default_rng(4).normal(0.1, 1, 300)
    assert newey_west(values, lags=0).t == pytest.approx(values.mean() / (values.std(ddof=1) / 300**0.5), rel=1e-12)
    error, lags = standard_error(values)
    assert (newey_west(values).error, newey_west(values).lags) == (pytest.approx(error, rel=1e-12), lags)
    assert newey_west([1.0, 1.0]).t != newey_west([1.0, 1.0]).t
    assert newey_west([]).bars == 0


def test_the_t_of_overlapping_labels_does_not_shout():
    """Sums over 10 bars of noise: the plain t is beyond 2 in every third world, this one with 20 lags in few."""
    rng, plain, honest, worlds = np.random.default_rng(5), 0, 0, cases(200, 2000)
    for _ in range(worlds):
        values = np.convolve(rng.normal(size=409), np.ones(10), "valid")
        plain += abs(newey_west(values, lags=0).t) > 2
        honest += abs(newey_west(values, lags=20).t) > 2
    assert plain / worlds > 0.35
    assert honest / worlds < 0.15

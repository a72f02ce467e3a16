"""The stationary bootstrap: what its draws are made of, and how often its intervals hold the truth."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.analysis import bootstrap
from qlib.analysis.bootstrap import bootstrap_interval, mean_test, optimal_block, stationary_indices
from qlib.analysis.significance import newey_west
from qlib.errors import InputError

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def autoregressive(rng: np.random.Generator, memory: float, n: int, worlds: int = 1) -> np.ndarray:
    noise, values = rng.normal(size=(n, worlds)), np.zeros((n, worlds))
    values[0] = noise[0] / math.sqrt(1 - memory**2)
    for i in range(1, n):
        values[i] = memory * values[i - 1] + noise[i]
    return values.T


# ----------------------------------------------------------------------------------------------------------- draws
@settings(max_examples=cases(30, 300))
@given(st.integers(1, 60), st.floats(1, 100), st.integers(1, 20), st.integers(0, 2**32))
def test_a_draw_is_made_of_pieces_of_the_series_round_its_end(bars, block, draws, seed):
    drawn = stationary_indices(bars, block, draws, np.random.default_rng(seed))
    assert drawn.shape == (draws, bars)
    assert drawn.min() >= 0
    assert drawn.max() < bars
    again = stationary_indices(bars, block, draws, np.random.default_rng(seed))
    assert (drawn == again).all()


@pytest.mark.parametrize("block", [1.0, 4.0, 25.0])
def test_pieces_have_the_mean_length_and_begin_anywhere(block):
    drawn = stationary_indices(100, block, 4000, np.random.default_rng(1))
    goes_on = ((drawn[:, 1:] - drawn[:, :-1]) % 100 == 1).mean()
    assert goes_on == pytest.approx(1 - 1 / block + 1 / block / 100, abs=0.003)
    counts = np.bincount(drawn.ravel(), minlength=100) / drawn.size
    assert counts == pytest.approx(np.full(100, 0.01), abs=0.001)


def test_the_variance_of_the_drawn_mean_is_that_of_politis_and_romano():
    """Sum of covariances, each with the weight (1 - k/n) (1-p)^k + (k/n) (1-p)^(n-k)."""
    values = autoregressive(np.random.default_rng(2), 0.6, 80)[0]
    n, p = len(values), 1 / 6
    away = values - values.mean()
    k = np.arange(1, n)
    closed = [float(away[i:] @ away[: n - i]) / n for i in range(1, n)]
    weight = (1 - k / n) * (1 - p) ** k + k / n * (1 - p) ** (n - k)
    exact = (float(away @ away) / n + 2 * float((weight * closed).sum())) / n
    drawn = values[stationary_indices(n, 6.0, 20_000, np.random.default_rng(3))].mean(axis=1)
    assert drawn.var() == pytest.approx(exact, rel=0.04)


# --------------------------------------------------------------------------------------------------- block length
def test_the_block_length_is_that_of_arch_where_it_looks_one_lag_further(monkeypatch):
    """arch 8.0 takes the first quiet lag for the last loud one; the paper's, which is used here, is the one before."""
    sys.path.insert(0, str(GOLDEN))
    try:
        import peers_answers as asked
    finally:
        sys.path.remove(str(GOLDEN))
    answers = json.loads(asked.ANSWERS.read_text())["block"]
    ours = {name: optimal_block(asked.autoregressive(*case)) for name, case in asked.SLOW.items()}
    last = bootstrap._last_before_quiet
    monkeypatch.setattr(bootstrap, "_last_before_quiet", lambda loud, quiet: last(loud, quiet) + 1)
    for name, case in asked.SLOW.items():
        theirs = answers[name]
        assert theirs == pytest.approx(ours[name], rel=0.5) or theirs < 1
        if name != "noise":
            assert optimal_block(asked.autoregressive(*case)) == pytest.approx(theirs, rel=1e-9), name


def test_a_series_without_memory_is_drawn_bar_by_bar_and_a_slow_one_in_long_pieces():
    rng = np.random.default_rng(6)
    assert optimal_block(rng.normal(size=2000)) < 6
    lengths = [optimal_block(autoregressive(rng, memory, 4000)[0]) for memory in (0.3, 0.7, 0.9)]
    assert lengths == sorted(lengths)
    assert lengths[-1] > 30
    for series in ([1.0, 1.0, 1.0], [1.0, 2.0], [], [1.0, -1.0] * 100):
        assert optimal_block(series) >= 1.0


@settings(max_examples=cases(30, 300))
@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=0, max_size=80))
def test_the_block_length_is_a_length_for_any_series(values):
    assert 1.0 <= optimal_block(values) <= max(1.0, math.ceil(min(3 * len(values) ** 0.5, len(values) / 3)))


# ------------------------------------------------------------------------------------------------------- intervals
def test_the_interval_of_a_mean_without_memory_is_the_one_everyone_knows():
    values = np.random.default_rng(7).normal(0.1, 1, 500)
    found = bootstrap_interval(values, block=1, draws=4000)
    error = values.std() / 500**0.5
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


@pytest.mark.parametrize(("statistic", "memory"), [("mean", 0.0), ("mean", 0.5), ("sharpe", 0.0), ("sharpe", 0.3)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(statistic, memory):
    rng, worlds = np.random.default_rng(8), cases(60, 1000)
    truth = 0.1 / math.sqrt(1 / (1 - memory**2)) if statistic == "sharpe" else 0.1
    series = 0.1 + autoregressive(rng, memory, 400, worlds)
    found = [bootstrap_interval(one, statistic, draws=300, seed=k) for k, one in enumerate(series)]
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.85 <= held <= cases(1.0, 0.99)


def test_a_slow_series_has_a_wider_interval_than_if_its_bars_were_drawn_one_by_one():
    values = autoregressive(np.random.default_rng(9), 0.8, 1000)[0]
    whole, single = bootstrap_interval(values), bootstrap_interval(values, block=1)
    assert whole.high - whole.low > 2 * (single.high - single.low)


def test_the_same_seed_gives_the_same_and_holes_are_left_out():
    values = np.random.default_rng(10).normal(size=200)
    assert bootstrap_interval(values) == bootstrap_interval(pd.Series(values))
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    holes = np.insert(values, [3, 50, 200], np.nan)
    assert bootstrap_interval(holes) == bootstrap_interval(values)


def test_memory_stays_flat_and_pieces_of_the_work_give_the_same_shape(monkeypatch):
    values = np.random.default_rng(11).normal(size=300)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 1000)
    widths = []
    found = bootstrap_interval(values, lambda draws: (widths.append(draws.size), draws.mean(axis=1))[1], draws=50)
    assert max(widths) <= 1000
    assert found.low < found.value < found.high


def test_any_statistic_can_be_asked_for():
    values = np.random.default_rng(12).exponential(size=400)
    found = bootstrap_interval(values, lambda draws: np.median(draws, axis=1), level=0.9)
    assert (found.value, found.level, found.bars) == (np.median(values), 0.9, 400)
    assert found.low < math.log(2) < found.high


def test_what_cannot_be_said_has_no_ends():
    for values in ([], [0.1], [0.1, 0.2], [0.1] * 9):
        found = bootstrap_interval(values, "sharpe")
        assert math.isnan(found.value) == (len(set(values)) < 2)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    sparse = bootstrap_interval([0.0] * 30 + [1.0], "sharpe", block=1, draws=200)  # many draws never vary
    assert sparse.low <= sparse.high
    assert math.isfinite(sparse.low)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"statistic": "sharp"}, r"statistic: received 'sharp'; allowed are mean, sharpe and a function.*sharpe\?"),
        ({"level": 95}, "level: received 95; a share between 0 and 1"),
        ({"draws": 0}, "draws: received 0; a whole number of at least 1"),
        ({"draws": 2.5}, "draws: received 2.5; a whole number"),
        ({"block": 0.5}, "block: received 0.5; a number of at least 1"),
        ({"block": math.inf}, "block: received inf"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        bootstrap_interval([0.1, 0.2, 0.3], **arguments)
    with pytest.raises(InputError, match="values: 1 of 3 are infinite"):
        bootstrap_interval([0.1, math.inf, 0.3])


def test_labels_that_overlap_do_not_make_noise_certain():
    """Sums over 24 bars of noise, 2,000 of them: a t beyond 2 should come in one world of twenty."""
    rng, worlds = np.random.default_rng(9), cases(200, 2000)
    usual = honest = alone = 0
    for _ in range(worlds):
        noise = rng.normal(size=2023)
        summed = np.convolve(noise, np.ones(24), "valid")
        usual += abs(newey_west(summed).t) > 2
        honest += abs(mean_test(summed).t) > 2
        alone += abs(mean_test(noise).t) > 2
    assert usual / worlds > 0.2, "the rule of thumb looks at 7 neighbours"
    assert honest / worlds < 0.13
    assert alone / worlds < 0.1, "where nothing overlaps little is lost"


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.1], [0.1, math.nan, 0.3], [0.1, 0.2, 0.4]])
def test_the_mean_of_next_to_nothing_has_the_usual_error(values):
    np.testing.assert_equal(mean_test(values), newey_west(values))

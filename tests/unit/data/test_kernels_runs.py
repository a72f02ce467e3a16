"""What a row sees of its run: kernels against sentences, sums to the last rounding, and refused shapes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qlib.data.kernels import first_value, last_of_run, last_value, next_value, running_sums

elements = st.floats(-1e3, 1e3, width=32) | st.sampled_from([np.nan, np.nan, np.inf, -np.inf])
runs = st.lists(st.integers(0, 7).flatmap(lambda n: arrays("f4", n, elements=elements)), min_size=1, max_size=5)
SENTENCES = {
    last_value: lambda s: s.ffill(),
    next_value: lambda s: s.bfill(),
    first_value: lambda s: s.ffill().where(s.isna().cummin(), s.bfill().iloc[0]) if len(s) else s,
    last_of_run: lambda s: pd.Series(s.ffill().iloc[-1], index=s.index) if len(s) else s,
}


@pytest.mark.parametrize("kernel", SENTENCES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(runs=runs)
def test_a_value_spreads_over_its_run_and_no_further(kernel, dtype, runs):
    values = np.concatenate(runs).astype(dtype)
    values.setflags(write=False)
    out = np.empty_like(values)
    kernel(values, np.cumsum([0, *map(len, runs)]), out)
    np.testing.assert_array_equal(
        out, np.concatenate([SENTENCES[kernel](pd.Series(run.astype(dtype))) for run in runs])
    )


@given(runs=runs, infinite=st.booleans(), data=st.data())
def test_sums_are_those_of_the_run_so_far(runs, infinite, data):
    values = np.concatenate(runs)
    counts = data.draw(arrays("u1", len(values), elements=st.integers(0, 1)))
    out = np.empty(len(values))
    running_sums(values, counts, np.cumsum([0, *map(len, runs)]), infinite, out)
    at = 0
    for run in runs:
        for i in range(len(run)):
            seen = run[: i + 1].astype("f8")[counts[at : at + i + 1] == 1]
            seen = seen[~np.isnan(seen) if infinite else np.isfinite(seen)]
            missing = np.isnan(run[i]) or (np.isinf(run[i]) and not infinite)
            with np.errstate(invalid="ignore"):
                wanted = 0.0 if not counts[at + i] else np.nan if missing else seen.sum()
            np.testing.assert_allclose(out[at + i], wanted, rtol=1e-12, atol=1e-9)
        at += len(run)


@pytest.mark.parametrize("level", [1e-8, 1.0, 1e5])
def test_a_long_run_loses_no_digit_and_leaves_nothing_to_the_next(level):
    values = np.random.default_rng(3).normal(0, level, 1_000_001)
    values[7] = 1e16 * level  # and away again
    values[8] = -1e16 * level
    out = np.empty(len(values))
    running_sums(values, np.ones(len(values), "u1"), np.array([0, 1_000_000, 1_000_001]), False, out)
    exact = math.fsum(values[:1_000_000])
    assert abs(out[-2] - exact) <= 1e-12 * max(abs(exact), level)
    assert out[-1] == values[-1]


def test_bounds_that_do_not_fit_are_refused():
    values = np.zeros(3)
    for bounds in ([0, 2], [1, 3], [0, 2, 1, 3], []):
        with pytest.raises(ValueError, match="bounds"):
            last_value(values, np.array(bounds, dtype=np.int64), np.empty(3))
    with pytest.raises(ValueError, match="3 places for the result"):
        last_value(values, np.array([0, 3]), np.empty(2))
    with pytest.raises(ValueError, match="as many counts, received 2"):
        running_sums(values, np.ones(2, "u1"), np.array([0, 3]), False, np.empty(3))

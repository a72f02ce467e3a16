"""Every kernel equals its numpy sentence, exactly where it can and to 1e-9 of its scale where it cannot."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from passes import roll

from qlib.data.kernels import reference

FLAT = 1e-7
PARAMETERS = {
    "skew": [FLAT],
    "kurt": [FLAT],
    "rsquare": [FLAT],
    "corr": [FLAT],
    "wma": [0.0, 1.0],
    "quantile": [0.0, 0.2, 0.5, 0.8, 1.0],
    "ema": [0.1, 0.5, 0.9],
    "ema_expanding": [0.0, 1.0],
}
CASES = [(name, p) for name in reference.ONE for p in PARAMETERS.get(name, [0.0])]
WHOLE = {"ema", "ema_expanding", "origin"}  # they know no window

odd = st.sampled_from([np.nan, np.inf, -np.inf])
plain = st.floats(2**-10, 2**17, width=32) | st.integers(-3, 3).map(float)
series = st.integers(0, 14).flatmap(lambda n: arrays("f4", n, elements=plain | odd)) | st.integers(1, 14).map(
    lambda n: np.full(n, 0.1, "f4")
)
panels = st.lists(series, min_size=1, max_size=4)


def run(kernel, panel, window, parameter=0.0, *, other=None, first=None, wide=False):
    dtype = np.float64 if wide else np.float32
    flat = np.concatenate(panel).astype(dtype)
    start = np.cumsum([0, *map(len, panel)]).astype(np.int64)
    first = np.zeros(len(panel), np.int64) if first is None else np.asarray(first, np.int64)
    out = np.empty(len(flat))
    right = None if other is None else np.concatenate(other).astype(dtype)
    roll(kernel, flat, right, start, first, window, parameter, out)
    return [out[a:b] for a, b in zip(start[:-1], start[1:], strict=True)]


def scale(values):
    x = np.abs(values[np.isfinite(values)]).astype(float)
    return x.max(initial=1e-300)


def agree(got, wanted, size):
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9 * size)


@pytest.mark.parametrize(("kernel", "parameter"), CASES)
@given(panel=panels, window=st.integers(0, 9), first=st.integers(0, 20), wide=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_kernel_equals_its_sentence(kernel, parameter, panel, window, first, wide):
    window = 0 if kernel in WHOLE else window
    rows = run(kernel, panel, window, parameter, first=[first + k for k in range(len(panel))], wide=wide)
    for values, got in zip(panel, rows, strict=True):
        size = scale(values)
        size = {"var": size**2, "skew": 1, "kurt": 100, "rsquare": 1}.get(kernel, size)
        agree(got, reference.one(kernel, values, window, parameter), size)


@pytest.mark.parametrize("kernel", reference.TWO)
@given(data=st.data(), window=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_a_kernel_of_two_series_equals_its_sentence(kernel, data, window):
    panel = data.draw(panels)
    other = [data.draw(arrays("f4", len(x), elements=plain | odd)) for x in panel]
    tolerance = PARAMETERS.get(kernel, [0.0])[0]
    for x, y, got in zip(panel, other, run(kernel, panel, window, tolerance, other=other), strict=True):
        size = 1 if kernel == "corr" else scale(x) * scale(y)
        agree(got, reference.two(kernel, x, y, window, tolerance), size)


@pytest.mark.parametrize(("kernel", "parameter"), [c for c in CASES if c[0] not in WHOLE])
@given(
    values=arrays("f4", 40, elements=plain | odd),
    window=st.integers(1, 12),
    first=st.integers(0, 9),
    skip=st.integers(0, 20),
)
@settings(max_examples=15, deadline=None)
def test_a_value_has_the_same_bits_wherever_the_rows_begin(kernel, parameter, values, window, first, skip):
    (whole,) = run(kernel, [values], window, parameter, first=[first])
    (later,) = run(kernel, [values[skip:]], window, parameter, first=[first + skip])
    np.testing.assert_array_equal(whole[skip + window - 1 :], later[window - 1 :])


@pytest.mark.parametrize("window", [300, 700, 0])
@pytest.mark.parametrize(("kernel", "parameter"), [("rank", 0.0), ("quantile", 0.37), ("mad", 0.0)])
def test_long_windows_are_computed_another_way_with_the_same_result(kernel, parameter, window):
    rng = np.random.default_rng(1)
    values = np.where(rng.random(900) < 0.1, np.nan, rng.integers(0, 40, 900)).astype("f4")
    (got,) = run(kernel, [values], window, parameter)
    agree(got, reference.one(kernel, values, window, parameter), 40)


@given(values=arrays("f4", st.integers(0, 9), elements=plain | odd), by=st.integers(-12, 12))
def test_shift_moves_the_rows_and_leaves_gaps(values, by):
    wanted = [values[i - by] if 0 <= i - by < len(values) else np.nan for i in range(len(values))]
    np.testing.assert_array_equal(run("shift", [values], by)[0], wanted)


@pytest.mark.parametrize("level", [1e-8, 1.0, 1e5])
@pytest.mark.parametrize("window", [5, 60, 0])
def test_rounding_does_not_pile_up_over_a_hundred_thousand_rows(level, window):
    """Relative error against exact fractions, at three price levels, far from where the series began."""
    rng = np.random.default_rng(3)
    n = 100_500
    steps = rng.normal(0, 1e-3, n)
    price = (level * np.exp(0.3 * np.sin(np.cumsum(steps)))).astype("f4")
    exact = [int(float(v) * 2.0**64) for v in price]  # whole numbers: float32 prices times a power of two
    assert all(v / 2**64 == p for v, p in zip(exact[:99], price.tolist(), strict=False))
    got = {k: run(k, [price], window)[0] for k in ("sum", "mean", "var", "std", "slope", "rsquare", "resi", "wma")}
    for i in [99_999, *range(n - 40, n, 5 if window else 13)]:
        low = max(i - window + 1, 0) if window else 0
        m, held = i + 1 - low, exact[low : i + 1]
        x, ix = Fraction(sum(held), 2**64), Fraction(sum(k * v for k, v in enumerate(held, low)), 2**64)
        xx = Fraction(sum(v * v for v in held), 2**128)
        mi, mii = Fraction(low + i, 2), Fraction(m * (m * m - 1), 12)  # mean row number; its sum of squared deviations
        m2, cross = xx - x * x / m, ix - mi * x
        slope = cross / mii
        wanted = {
            "sum": x,
            "mean": x / m,
            "var": m2 / (m - 1),
            "slope": slope,
            "rsquare": cross * cross / (mii * m2),
            "resi": Fraction(exact[i], 2**64) - x / m - slope * (i - mi),
            "wma": (ix - (low - 1) * x) / Fraction(m * (m + 1), 2),
        }
        spread = float(m2 / m) ** 0.5  # a slope or a residual near 0 is measured on the scale of what it is made from
        size = {"slope": spread / m, "resi": spread, "rsquare": 1.0}
        for name, value in wanted.items():
            error = abs(got[name][i] - float(value))
            assert error <= 1e-9 * max(abs(float(value)), size.get(name, 0.0)), (name, i, got[name][i], float(value))
        assert abs(got["std"][i] ** 2 - float(wanted["var"])) <= 2e-9 * float(wanted["var"])


@pytest.mark.parametrize("level", [1e-8, 1.0, 1e5])
def test_higher_moments_stay_exact_far_from_the_start(level):
    rng = np.random.default_rng(5)
    price = (level * (1 + 1e-3 * rng.standard_normal(120_000))).astype("f4")
    other = (level * (1 + 1e-3 * rng.standard_normal(120_000))).astype("f4")
    tail, both = slice(-200, None), slice(-260, None)
    for kernel, size in (("skew", 1.0), ("kurt", 1.0)):
        wanted = reference.one(kernel, price[both].astype(float), 60, FLAT)[-200:]
        np.testing.assert_allclose(run(kernel, [price], 60, FLAT)[0][tail], wanted, rtol=1e-9, atol=1e-9 * size)
    for kernel, size in (("corr", 1.0), ("cov", level**2 * 1e-6)):
        wanted = reference.two(kernel, price[both].astype(float), other[both].astype(float), 60, FLAT)[-200:]
        got = run(kernel, [price], 60, FLAT, other=[other])[0][tail]
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9 * size)


def test_a_constant_window_has_no_variance_at_all():
    values = np.full(500, 0.1, "f4")
    for window in (0, 7, 60):
        assert (run("std", [values], window)[0][1:] == 0).all()
        np.testing.assert_array_equal(run("mean", [values], window)[0], values.astype(float))
        assert np.isnan(run("corr", [values], window, FLAT, other=[np.arange(500, dtype="f4")])[0]).all()


def test_an_infinite_value_is_gone_with_its_window():
    values = np.arange(30, dtype="f4")
    values[10] = np.inf
    for kernel in ("slope", "resi", "rsquare", "mean", "std", "sum", "wma"):
        clean = run(kernel, [np.arange(30, dtype="f4")], 5, FLAT if kernel == "rsquare" else 0.0)[0]
        got = run(kernel, [values], 5, FLAT if kernel == "rsquare" else 0.0)[0]
        np.testing.assert_array_equal(got[15:], clean[15:])
        assert np.isfinite(got[11:]).all()


def test_results_can_be_float32():
    values = np.random.default_rng(0).normal(size=50).astype("f4")
    start, first, out = np.array([0, 50]), np.array([0]), np.empty(50, "f4")
    roll("std", values, None, start, first, 5, 0.0, out)
    np.testing.assert_array_equal(out, run("std", [values], 5)[0].astype("f4"))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"start": np.array([0, 6])}, ValueError, "not inside its array"),
        ({"start": np.array([-1, 4])}, ValueError, "not inside its array"),
        ({"first": np.array([-1])}, ValueError, "from position -1"),
        ({"start": np.array([3, 0])}, ValueError, "received rows from position 0 to -3"),
        ({"window": -1}, ValueError, "received window -1"),
        ({"out": np.empty(4)}, ValueError, "does not fit into 4 rows"),
        ({"left": np.arange(5)}, TypeError, "float32 and float64"),
        ({"left": np.empty((5, 1), "f4")}, TypeError, "flat"),
        ({"left": np.empty(10, "f4")[::2]}, ValueError, "contiguous"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_before_anything_is_read(change, error, said):
    given_ = {"kernel": "mean", "left": np.empty(5, "f4"), "right": None, "start": np.array([0, 5])}
    given_ |= {"first": np.array([0]), "window": 2, "parameter": 0.0, "out": np.empty(5)} | change
    with pytest.raises(error, match=said):
        roll(*given_.values())


def test_an_empty_panel_and_empty_instruments_are_fine():
    roll("mean", np.empty(0, "f4"), None, np.array([0]), np.empty(0, np.int64), 5, 0.0, np.empty(0))
    assert [len(x) for x in run("mean", [np.empty(0, "f4"), np.ones(2, "f4"), np.empty(0, "f4")], 5)] == [0, 2, 0]


@pytest.mark.parametrize(("left", "right"), [(2.0**-400, 2.0**-300), (2.0**400, 2.0**300), (2.0**-460, 2.0**460)])
def test_a_correlation_does_not_know_how_large_its_series_are(left, right):
    x, y = np.random.default_rng(3).normal(10, 1, (2, 40))
    y[[6, 7, 20]] = np.nan
    plain = run("corr", [x], 6, FLAT, other=[y], wide=True)[0]
    scaled = run("corr", [x * left], 6, FLAT, other=[y * right], wide=True)[0]
    np.testing.assert_allclose(scaled, plain, rtol=1e-13)
    assert np.isfinite(plain[1:]).all()
    beside = run("corr", [x, x * left, x], 6, FLAT, other=[y, y * right, y], wide=True)
    np.testing.assert_array_equal(beside[0], plain)  # whoever stands in the next lane
    np.testing.assert_array_equal(beside[1], scaled)

"""Optimizers: equal to pyqlib's, to closed forms, inside their limits, and clear about nonsense."""

from __future__ import annotations

import builtins
import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.contrib.strategy.optimizer import BaseOptimizer, EnhancedIndexingOptimizer, PortfolioOptimizer
from qlib.contrib.strategy.optimizer.optimizer import equal_risk
from qlib.errors import ConfigError, InputError

GOLDEN = json.loads((Path(__file__).resolve().parents[2] / "golden" / "optimizers.json").read_text())

needs_cvxpy = pytest.mark.skipif(not importlib.util.find_spec("cvxpy"), reason="cvxpy (extra portfolio) is not here")


def assets(seed: int, n: int = 5):
    """Return (S, r, w0) as the oracle was asked with."""
    rng = np.random.default_rng(seed)
    spread = rng.normal(size=(60, n)) * rng.uniform(0.5, 2, n)
    return np.cov(spread.T), rng.normal(size=n) * 0.5, rng.dirichlet(np.ones(n))


def benchmark(seed: int):
    """Return (r, F, cov_b, var_u, w0, wb) as the oracle was asked with."""
    rng, n = np.random.default_rng(seed), 6 + seed
    rng.normal(size=(60, n)), rng.uniform(0.5, 2, n)
    r, w0 = rng.normal(size=n) * 0.01, rng.dirichlet(np.ones(n))
    F, B = rng.normal(size=(n, 3)), rng.normal(size=(3, 3))
    return r, F, B @ B.T * 1e-4, rng.uniform(1e-4, 4e-4, n), w0, rng.dirichlet(np.ones(n))


# ------------------------------------------------------------------------------------------------------------- oracle
@pytest.mark.parametrize("name", GOLDEN["portfolio"])
def test_portfolios_are_those_of_pyqlib(name):
    seed, method, *arguments = name.split("_", 2)
    kwargs = json.loads(arguments[0].replace("'", '"').replace("False", "false")) if arguments else {}
    S, r, w0 = assets(int(seed))
    weights = PortfolioOptimizer(method, **kwargs)(S, r, w0 if "delta" in kwargs else None)
    # pyqlib's search ends early, at weights that are worse by rounding: ours are as good or better
    assert weights == pytest.approx(GOLDEN["portfolio"][name], abs=2e-3 if "delta" in kwargs else 3e-5)


@needs_cvxpy
@pytest.mark.parametrize("name", GOLDEN["indexing"])
def test_weights_near_a_benchmark_are_those_of_pyqlib(name):
    _, seed, rest = name.split("_", 2)
    kwargs, now, forced = rest.rsplit("_", 2)
    kwargs = json.loads(kwargs.replace("'", '"').replace("False", "false").replace("None", "null"))
    r, F, cov_b, var_u, w0, wb = benchmark(int(seed))
    n = len(r)
    current = {"none": None, "w0": w0, "wb": wb, "zero": np.zeros(n)}[now]
    hold, sell = np.arange(n) == 1, np.arange(n) == 2
    weights = EnhancedIndexingOptimizer(**kwargs)(
        r, F, cov_b, var_u, current, wb, hold if "h" in forced else None, sell if "s" in forced else None
    )
    assert weights == pytest.approx(GOLDEN["indexing"][name], abs=1e-4)


# ------------------------------------------------------------------------------------------------------- closed forms
def test_least_variance_is_the_inverse_matrix_where_no_weight_is_negative():
    for seed in range(5):
        S = assets(seed, 4)[0] * 0.1 + np.diag(np.linspace(1, 3, 4))
        closed = np.linalg.solve(S, np.ones(4))
        assert (closed > 0).all()
        assert PortfolioOptimizer("gmv")(S) == pytest.approx(closed / closed.sum(), abs=1e-6)


def test_the_tangent_portfolio_is_the_inverse_matrix_times_the_returns():
    S, _, _ = assets(3, 4)
    S = S * 0.1 + np.diag(np.linspace(1, 3, 4))
    r = S @ np.array([0.1, 0.4, 0.2, 0.3]) * 2 * 7.0  # so that w = (0.1, 0.4, 0.2, 0.3) solves 2 lamb S w = r
    weights = PortfolioOptimizer("mvo", lamb=7.0, scale_return=False)(S, r)
    assert weights == pytest.approx([0.1, 0.4, 0.2, 0.3], abs=1e-6)


@given(st.lists(st.floats(1e-8, 1e4), min_size=1, max_size=12))
@settings(max_examples=cases(30, 500))
def test_without_correlation_equal_risk_is_inverse_volatility(variances):
    closed = 1 / np.sqrt(variances)
    S = np.diag(variances)
    assert PortfolioOptimizer("rp")(S) == pytest.approx(closed / closed.sum(), abs=1e-9)
    assert PortfolioOptimizer("inv")(S) == pytest.approx(closed / closed.sum(), abs=1e-12)


@given(st.integers(0, 10_000), st.integers(2, 30))
@settings(max_examples=cases(30, 500))
def test_equal_risk_is_equal_whatever_the_correlations(seed, n):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, n + 2)) * 10.0 ** rng.uniform(-3, 3, (n, 1))
    S = factors @ factors.T
    w = equal_risk(S)
    assert (w > 0).all()
    assert w * (S @ w) / (w @ S @ w) * n == pytest.approx(np.ones(n), abs=1e-8)


@needs_cvxpy
def test_without_limits_weights_near_a_benchmark_solve_their_linear_system():
    r, F, cov_b, var_u, _, _ = benchmark(2)
    n = len(r)
    wb = np.full(n, 1 / n)
    risk = F @ cov_b @ F.T + np.diag(var_u)
    lamb = 200.0
    system = np.block([[2 * lamb * risk, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    d = np.linalg.solve(system, np.append(r, 0.0))[:n]
    assert (wb + d > 1e-3).all()
    weights = EnhancedIndexingOptimizer(lamb, delta=None, b_dev=None, scale_return=False, epsilon=0)(
        r, F, cov_b, var_u, None, wb
    )
    assert weights == pytest.approx(wb + d, abs=1e-6)


# ------------------------------------------------------------------------------------------------------------- limits
@given(
    seed=st.integers(0, 500), method=st.sampled_from(["gmv", "mvo", "rp"]), lamb=st.floats(0, 20),
    delta=st.floats(0, 1), alpha=st.sampled_from([0.0, 0.3]), scale=st.sampled_from([1e-8, 1.0, 1e6]),
)  # fmt: skip
@settings(max_examples=cases(25, 400), deadline=None)
def test_weights_keep_their_limits_and_beat_the_current_ones(seed, method, lamb, delta, alpha, scale):
    S, r, w0 = assets(seed)
    S, alpha = S * scale, alpha * scale
    optimizer = PortfolioOptimizer(method, lamb=lamb, delta=delta, alpha=alpha)
    for now in (None, w0):
        w = optimizer(S, r, now)
        assert w.sum() == pytest.approx(1, abs=1e-7)
        assert w.min() >= 0
        if now is not None:
            assert np.abs(w - w0).sum() <= delta + 1e-6
            if method == "gmv":
                assert w @ S @ w + alpha * w @ w <= (w0 @ S @ w0 + alpha * w0 @ w0) * (1 + 1e-9)


@needs_cvxpy
@given(st.integers(0, 40), st.sampled_from([None, 0.1, 0.5]), st.sampled_from([None, 0.05, 0.2]), st.booleans())
@settings(max_examples=cases(20, 300), deadline=None)
def test_weights_near_a_benchmark_keep_every_limit(seed, delta, b_dev, forced):
    r, F, cov_b, var_u, _, wb = benchmark(seed % 5)
    n = len(r)
    rng = np.random.default_rng(seed)
    w0 = np.abs(wb + rng.uniform(-0.02, 0.02, n))
    w0 /= w0.sum()
    hold, sell = (rng.random((2, n)) < 0.15) if forced else np.zeros((2, n), dtype=bool)
    w = EnhancedIndexingOptimizer(delta=delta, b_dev=b_dev)(r, F, cov_b, var_u, w0, wb, hold, sell)
    if np.array_equal(w, w0):
        return  # no weights keep the limits
    assert w.sum() == pytest.approx(1, abs=1e-6)
    assert w.min() >= 0
    assert w[hold] == pytest.approx(w0[hold], abs=1e-6)
    assert (w[sell & ~hold] == 0).all()
    free = ~(hold | sell)
    if b_dev is not None:
        assert np.abs(w - wb)[free].max(initial=0) <= b_dev + 1e-4
    if delta is not None and not forced and b_dev is None:
        assert np.abs(w - w0).sum() <= delta + 1e-4


@needs_cvxpy
def test_a_name_that_must_be_sold_is_sold_however_much_the_benchmark_has_of_it():
    r, F, cov_b, var_u, _, wb = benchmark(1)
    biggest = np.arange(len(wb)) == np.argmax(wb)
    assert wb.max() > 0.2
    w = EnhancedIndexingOptimizer(delta=2.0, b_dev=0.15)(r, F, cov_b, var_u, wb, wb, None, biggest)
    assert w[biggest] == 0
    assert w.sum() == pytest.approx(1)


@needs_cvxpy
def test_without_weights_inside_the_limits_the_current_ones_stay_and_a_warning_says_so(caplog):
    r, F, cov_b, var_u, w0, wb = benchmark(0)
    optimizer = EnhancedIndexingOptimizer(b_dev=0.0, f_dev=0.0)
    hold = np.arange(len(r)) == 0
    with caplog.at_level("WARNING"):
        assert optimizer(r, F, cov_b, var_u, w0, wb, hold).tolist() == w0.tolist()
    with pytest.raises(InputError, match="no weights keep the limits"):
        EnhancedIndexingOptimizer(b_dev=0.0)(r, F, cov_b, var_u, None, wb, None, np.arange(len(r)) == 0)


def test_frames_give_series_and_are_aligned_by_name():
    S, r, w0 = assets(1)
    names = list("abcde")
    frame = pd.DataFrame(S, names, names)
    backwards = pd.Series(r, names)[::-1]
    found = PortfolioOptimizer("mvo", lamb=2.0)(frame, backwards)
    assert list(found.index) == names
    assert found.tolist() == PortfolioOptimizer("mvo", lamb=2.0)(S, r).tolist()
    part = pd.Series([1.0], ["c"])  # what is not said is 0
    assert PortfolioOptimizer("gmv", delta=0)(frame, None, part).tolist() == [0, 0, 1, 0, 0]
    assert isinstance(PortfolioOptimizer(), BaseOptimizer)


# ---------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda S, r: PortfolioOptimizer("gvm"), "did you mean"),
        (lambda S, r: PortfolioOptimizer(lamb=-1), "lamb"),
        (lambda S, r: PortfolioOptimizer(tol=0), "tol"),
        (lambda S, r: PortfolioOptimizer("mvo")(S), "expected returns"),
        (lambda S, r: PortfolioOptimizer()(S[:2]), "square"),
        (lambda S, r: PortfolioOptimizer()(np.triu(S)), "symmetric"),
        (lambda S, r: PortfolioOptimizer()(-S), "negative eigenvalue"),
        (lambda S, r: PortfolioOptimizer()(S * np.nan), "missing or infinite"),
        (lambda S, r: PortfolioOptimizer("rp")(S * 0), "no variance"),
        (lambda S, r: PortfolioOptimizer("gmv")(np.empty((0, 0))), "no assets"),
        (lambda S, r: PortfolioOptimizer("mvo")(S, r[:2]), "shape"),
        (lambda S, r: PortfolioOptimizer("gmv")(S, r, np.zeros(5)), "turnover of delta=0"),
        (lambda S, r: EnhancedIndexingOptimizer(b_dev=-1), "b_dev"),
        (lambda S, r: EnhancedIndexingOptimizer(lamb=None), "lamb"),
        (lambda S, r: EnhancedIndexingOptimizer()(r, np.ones((5, 1)), np.eye(2), r, None, r), "cov_b"),
        (lambda S, r: EnhancedIndexingOptimizer()(r, np.ones((5, 1)), np.eye(1), -abs(r), None, r), "var_u"),
        (lambda S, r: EnhancedIndexingOptimizer()(r, np.ones((5, 1)), np.eye(1), r * 0, None, r, r < 9), "mfh"),
        (lambda S, r: EnhancedIndexingOptimizer()(r, np.ones((5, 1)), np.eye(1), r * 0, r, r, [True]), "mfh"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(call, says):
    S, r, _ = assets(0)
    with pytest.raises((ConfigError, InputError)) as error:
        call(S, r)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_without_cvxpy_the_error_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "cvxpy":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    r, F, cov_b, var_u, _, wb = benchmark(0)
    with pytest.raises(ImportError, match=r"pip install 'qlib-crypto\[portfolio\]'"):
        EnhancedIndexingOptimizer()(r, F, cov_b, var_u, None, wb)

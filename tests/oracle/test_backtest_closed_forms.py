"""Closed forms, end to end: what the engine must earn and pay for signals whose worth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, run
from proof import cases

from qlib.contrib.strategy import TopkDropoutStrategy
from qlib.contrib.strategy.order_generator import OrderGenWInteract
from qlib.contrib.strategy.signal_strategy import WeightStrategyBase

FREE = {"open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "trade_unit": None}


def provider_of(close: np.ndarray) -> MemoryProvider:
    times = pd.date_range("2020-01-01", periods=len(close)).to_numpy()
    names = [f"N{i:03d}" for i in range(close.shape[1])]
    return MemoryProvider(times, names, {"close": close, "factor": np.ones_like(close), "change": np.zeros_like(close)})


def signal_of(provider: MemoryProvider, scores: np.ndarray) -> pd.Series:
    index = pd.MultiIndex.from_product(
        [pd.DatetimeIndex(provider.clock.times), provider.names], names=["datetime", "instrument"]
    )
    return pd.Series(scores.ravel(), index=index, name="score")


@pytest.mark.parametrize(("topk", "n_drop"), [(10, 2), (20, 5), (8, 1)])
def test_an_iid_signal_turns_over_n_drop_of_k_a_bar_and_pays_for_it(topk, n_drop):
    """P11: one-way turnover n_drop / k a bar, exactly; cost (buy fee + sell fee) x n_drop / k."""
    bars, names = 80, 200
    provider = provider_of(np.full((bars, names), 10.0))
    signal = signal_of(provider, np.random.default_rng(topk).normal(size=(bars, names)))

    def report(**fees: float) -> pd.DataFrame:
        strategy = TopkDropoutStrategy(signal=signal, topk=topk, n_drop=n_drop, risk_degree=1.0)
        return run(provider, strategy, exchange_kwargs={**FREE, **fees}, account=1e6)[0]

    free = report()
    np.testing.assert_allclose(free["turnover"].iloc[1:] / 2, n_drop / topk, rtol=1e-9)
    paid = report(open_cost=0.001, close_cost=0.002)
    warm = 2 * topk // n_drop  # every holding was bought since the fees began to bite
    assert paid["cost"].iloc[warm:].mean() == pytest.approx(n_drop / topk * 0.003, rel=0.005)


class Demeaned(WeightStrategyBase):
    """Weights in proportion to the score less its mean, gross 1."""

    def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
        weight = score - score.mean()
        return (weight / weight.abs().sum()).to_dict()


def test_a_signal_of_known_ic_earns_its_sharpe():
    """P10: Sharpe IC sqrt((N - 1) 365 / (1 - IC^2)) within 3 standard errors; every bar's return is sum(w y)."""
    bars, names, ic, sigma = 400, 20, 0.08, 0.02
    ratios, turnovers = [], []
    for seed in range(cases(3, 20)):
        rng = np.random.default_rng(100 + seed)
        z = rng.normal(size=(bars, names))
        moves = rng.normal(size=(bars, names)) * np.sqrt(1 - ic**2)
        moves[2:] += ic * z[:-2]  # the score of bar t is traded at the close of t + 1 and earns the move to t + 2
        close = 100 * np.cumprod(1 + sigma * moves, axis=0)
        provider = provider_of(close)
        strategy = Demeaned(
            signal=signal_of(provider, z), order_generator_cls_or_obj=OrderGenWInteract, risk_degree=1.0
        )
        report, *_ = run(provider, strategy, exchange_kwargs={**FREE, "short": {"leverage": 3}}, account=1e6)
        weights = z - z.mean(axis=1, keepdims=True)
        weights /= np.abs(weights).sum(axis=1, keepdims=True)
        seen = close.astype(np.float32).astype(float)
        expected = (weights[:-2] * (seen[2:] / seen[1:-1] - 1)).sum(axis=1)
        got = report["return"].to_numpy()[1:]
        # an order within 1e-5 of the whole holding counts as all of it: that times a weight and a move is 1e-7 at most
        np.testing.assert_allclose(got, expected, atol=1e-7, rtol=0)
        assert np.median(np.abs(got - expected)) < 1e-12
        ratios.append(got.mean() / got.std(ddof=1) * np.sqrt(365))
        turnovers.append(report["turnover"].iloc[1:].mean())
    error = np.sqrt(365 / bars / len(ratios))
    assert np.mean(ratios) == pytest.approx(ic * np.sqrt((names - 1) * 365 / (1 - ic**2)), abs=3 * error)
    assert np.mean(turnovers) == pytest.approx(np.sqrt(2), abs=0.02)

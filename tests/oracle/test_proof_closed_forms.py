"""Backtests whose result is known beforehand, through the real exchange, executor and account.

A signal that knows a little     weights w ~ z less their mean, gross 1, returns with correlation IC to z:
                                 Sharpe = IC * sqrt((N - 1) * periods / (1 - IC^2)), two-sided turnover sqrt(2) a bar
A signal that knows nothing      TopkDropout replaces n_drop of k names a bar: turnover and the drag of cost follow
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, run
from proof import cases

from qlib.backtest.decision import Order, TradeDecisionWO
from qlib.contrib.evaluate import risk_analysis
from qlib.contrib.strategy import TopkDropoutStrategy
from qlib.strategy.base import BaseStrategy

FREE = {
    "open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "trade_unit": None, "deal_price": "close",
    "limit_threshold": float("inf"),
}  # fmt: skip
IC, SIGMA, NAMES, BARS, YEAR = 0.05, 0.02, 40, cases(130, 1000), 365


class Weights(BaseStrategy):
    """Hold `table[bar before]` times the account, valued at the prices of the deal."""

    def __init__(self, table: dict[pd.Timestamp, dict[str, float]], **kwargs) -> None:
        super().__init__(**kwargs)
        self.table = table

    def generate_trade_decision(self, execute_result=None):
        start, end = self.trade_calendar.get_step_time()
        position, exchange = self.trade_position, self.trade_exchange
        target = self.table[self.trade_calendar.get_step_time(shift=1)[0]]
        price = {name: float(exchange.get_deal_price(name, start, end, Order.BUY)) for name in target}
        held = {name: position.get_stock_amount(name) if position.check_stock(name) else 0.0 for name in target}
        value = position.get_cash() + sum(amount * price[name] for name, amount in held.items())
        change = {name: weight * value / price[name] - held[name] for name, weight in target.items()}
        return TradeDecisionWO(
            [
                Order(name, abs(amount), Order.BUY if amount > 0 else Order.SELL, start, end)
                for name, amount in change.items()
            ],
            self,
        )


def knowing(seed: int, fee: float = 0.0):
    """Run P10 once; return (report, weights, returns): row t of the weights is dealt in bar t + 1."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(BARS, NAMES))
    known = np.vstack([np.zeros((1, NAMES)), z[:-2]])  # z of bar t is in the return from bar t + 1 to bar t + 2
    growth = SIGMA * (IC * known + np.sqrt(1 - IC**2) * rng.normal(size=(BARS - 1, NAMES)))
    close = 50 * np.cumprod(np.vstack([np.ones(NAMES), 1 + growth]), axis=0)
    times = pd.date_range("2024-01-01", periods=BARS)
    names = [f"N{i}" for i in range(NAMES)]
    ones = np.ones_like(close)
    provider = MemoryProvider(
        times.to_numpy(), names, {"close": close, "factor": ones, "volume": 1e6 * ones}, region="crypto"
    )
    w = z - z.mean(axis=1, keepdims=True)
    w /= np.abs(w).sum(axis=1, keepdims=True)
    table = {time: dict(zip(names, row, strict=True)) for time, row in zip(times, w.tolist(), strict=True)}
    report, _, _, _ = run(
        provider,
        Weights(table),
        exchange_kwargs={**FREE, "open_cost": fee, "close_cost": fee, "short": {"leverage": 10.0}},
    )
    exact = close.astype(np.float32).astype(float)
    return report, w, exact[1:] / exact[:-1] - 1


@pytest.fixture(scope="module")
def runs():
    return [knowing(seed) for seed in range(20)]


def test_the_return_of_every_bar_is_the_sum_of_weights_times_returns(runs):
    for report, w, y in runs:
        earned = (w[: BARS - 2] * y[1:]).sum(axis=1)
        away = np.abs(report["return"].iloc[1:].to_numpy() - earned)
        # a target within 1e-5 of a holding's size from zero closes it: rare, and worth less than 1e-8 of the account
        assert (away > 1e-12).mean() < 0.01
        assert away.max() < 1e-8
        assert (report["cost"] == 0).all()
        assert report["account"].iloc[-1] == pytest.approx(1e6 * np.prod(1 + earned), rel=1e-9)


def test_the_sharpe_ratio_of_a_known_ic_is_what_the_formula_says(runs):
    """IC * sqrt((N - 1) * periods / (1 - IC^2)), within three standard errors of the mean over 20 seeds."""
    expected = IC * np.sqrt((NAMES - 1) * YEAR / (1 - IC**2))
    sharpe = [
        risk_analysis(report["return"].iloc[1:], N=YEAR, freq=None)["risk"]["information_ratio"]
        for report, _, _ in runs
    ]
    error = np.sqrt((YEAR + expected**2 / 2) / (BARS - 2) / len(runs))
    assert abs(np.mean(sharpe) - expected) < 3 * error, (np.mean(sharpe), expected, error)


def test_turnover_is_the_root_of_two(runs):
    """Two-sided; weights drift by a return between two trades, which is less than a hundredth of it."""
    turnover = np.concatenate([report["turnover"].iloc[1:] for report, _, _ in runs])
    assert turnover.mean() == pytest.approx(np.sqrt(2), rel=0.01)


def test_the_line_of_costs_is_turnover_times_fee():
    fee = 0.0007
    report, _, _ = knowing(0, fee)
    np.testing.assert_allclose(report["cost"], report["turnover"] * fee, rtol=0, atol=1e-12)
    assert report["total_cost"].iloc[-1] == pytest.approx(report["total_turnover"].iloc[-1] * fee, rel=1e-12)


TOPK, DROP, UNIVERSE = 20, 3, 200


def ignorant(seed: int, open_cost: float, close_cost: float, bars: int = 60, compat: str | None = None):
    """Run P11 once, over prices that stand still."""
    rng = np.random.default_rng(seed)
    times = pd.date_range("2024-01-01", periods=bars)
    names = [f"N{i:03d}" for i in range(UNIVERSE)]
    ones = np.ones((bars, UNIVERSE))
    provider = MemoryProvider(
        times.to_numpy(), names, {"close": 10 * ones, "factor": ones, "volume": 1e9 * ones}, region="crypto",
        compat=compat,
    )  # fmt: skip
    scores = pd.DataFrame(rng.normal(size=(bars, UNIVERSE)), index=times, columns=names)
    scores.index.name, scores.columns.name = "datetime", "instrument"
    strategy = TopkDropoutStrategy(signal=scores.stack(), topk=TOPK, n_drop=DROP, risk_degree=1.0)
    costs = {**FREE, "open_cost": open_cost, "close_cost": close_cost}
    report, positions, fills, _ = run(provider, strategy, exchange_kwargs=costs)
    return scores, report, positions, fills


def by_hand(scores: pd.DataFrame) -> list[tuple[pd.Timestamp, str, str]]:
    """The trades of TopkDropout, from the scores alone."""
    trades, held = [], set()
    for before, day in zip(scores.index[:-1], scores.index[1:], strict=True):
        ranked = scores.loc[before].sort_values(ascending=False).index
        new = [name for name in ranked if name not in held][: DROP + TOPK - len(held)]
        together = [name for name in ranked if name in held or name in new]
        sold = held & set(together[-DROP:])
        bought = new[: len(sold) + TOPK - len(held)]
        trades += [(day, name, "sell") for name in sold] + [(day, name, "buy") for name in bought]
        held = (held - sold) | set(bought)
    return sorted(trades)


@pytest.mark.parametrize("compat", [None, "qlib"])
@pytest.mark.parametrize("seed", range(cases(2, 20)))
def test_topk_dropout_trades_what_is_found_by_hand(seed, compat):
    scores, _, positions, fills = ignorant(seed, 0.0, 0.0, compat=compat)
    made = [(fill[0].start_time, fill[0].stock_id, "buy" if fill[0].direction == Order.BUY else "sell")
            for fill in fills if fill[1] > 0]  # fmt: skip
    assert sorted(made) == by_hand(scores)
    assert all(len(positions[time].get_stock_list()) == TOPK for time in positions)


def test_a_signal_that_knows_nothing_replaces_n_drop_of_k_a_bar():
    _, report, _, _ = ignorant(0, 0.0, 0.0)
    assert report["turnover"].iloc[0] == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(report["turnover"].iloc[1:] / 2, DROP / TOPK, rtol=0, atol=1e-9)


def test_its_cost_drags_as_computed():
    """A year's drag is periods * n_drop / k * (open fee + close fee), less what fees of fees take away."""
    open_cost, close_cost = 0.0004, 0.0006
    _, report, _, _ = ignorant(1, open_cost, close_cost)
    drag = report["cost"].iloc[1:]
    assert drag.mean() * YEAR == pytest.approx(YEAR * DROP / TOPK * (open_cost + close_cost), rel=0.01)
    np.testing.assert_allclose(report["return"], 0, atol=1e-12)
    assert report["account"].iloc[-1] == pytest.approx(1e6 * np.prod(1 - report["cost"]), rel=1e-12)

"""Weights with a sign: computed by hand, neutral where they should be, within their limits, blind to the future."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlib.backtest.executor import SimulatorExecutor
from qlib.crypto.market import Perpetuals
from qlib.crypto.strategy import FormulaLongShortStrategy, FundingCarryStrategy, LongShortStrategy
from qlib.errors import ConfigError

CASES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
START = pd.Timestamp("2024-01-01")
MOMENTUM = {"score": "$close/Ref($close,3)-1", "topk": 2}
BETA = {"formulas": {"beta": "$beta"}, "neutral": ["beta"]}


def market(seed=0, bars=40, names=8, gaps=0.0):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (bars, names)), axis=0))
    close[rng.random(close.shape) < gaps] = np.nan
    fields = {
        "close": close,
        "mark": close,
        "factor": np.ones_like(close),
        "volume": rng.integers(1, 1000, close.shape).astype(float),
        "beta": np.broadcast_to(rng.uniform(0.5, 1.5, names), close.shape).copy(),
        "funding": rng.normal(0, 0.0002, close.shape),
    }
    times = pd.date_range(START, periods=bars, freq="h").to_numpy()
    return MemoryProvider(times, [f"N{i}" for i in range(names)], fields, freq="60min", region="crypto")


def trade(provider, strategy, **kwargs):
    exchange = Perpetuals(
        freq="60min", start_time=provider.clock.times[0], end_time=provider.clock.times[-1], codes=provider.names,
        provider=provider, **{"deal_price": "close", "fees": 0.0, "leverage": 5, "margin": "cross", **kwargs},
    )  # fmt: skip
    executor = SimulatorExecutor("60min", generate_portfolio_metrics=True)
    report, positions, _, _ = run(
        provider, strategy, executor=executor, account=10_000.0, exchange_kwargs={"exchange": exchange}
    )
    return report, positions, executor.trade_account


def weights(positions, provider, bar):
    """Weights right after the orders of a bar, at its prices."""
    position = positions[pd.Timestamp(provider.clock.times[bar])]
    value = position.calculate_value()
    amounts = position.get_stock_amount_dict()
    return pd.Series({n: amounts.get(n, 0.0) * position.get_stock_price(n) / value for n in amounts}, dtype=float)


def signal(provider, scores):
    index = pd.MultiIndex.from_product([pd.DatetimeIndex(provider.clock.times), provider.names])
    frame = pd.Series(np.asarray(scores, dtype=float).ravel(), index=index.set_names(["datetime", "instrument"]))
    return frame.rename("score")


def test_half_of_the_gross_is_long_and_half_is_short():
    """Scores 0 ... 7 at constant prices: N7, N6 get +0.25 each, N0, N1 -0.25 each."""
    provider = market()
    provider.values["close"][:] = provider.values["mark"][:] = 50.0
    scores = signal(provider, np.tile(np.arange(8.0), (40, 1)))
    _, positions, account = trade(provider, LongShortStrategy(signal=scores, topk=2, gross=1.0))
    found = weights(positions, provider, 5).round(9).to_dict()
    assert found == {"N7": 0.25, "N6": 0.25, "N1": -0.25, "N0": -0.25}
    assert len(account.trades) == 4  # and nothing more, as nothing changes


def test_a_name_that_turns_from_good_to_bad_goes_through_zero_and_reductions_come_first():
    provider = market(names=2)
    provider.values["close"][:] = provider.values["mark"][:] = 50.0
    scores = np.tile([1.0, 0.0], (40, 1))
    scores[10:] = [0.0, 1.0]
    _, positions, account = trade(provider, LongShortStrategy(signal=signal(provider, scores), topk=1))
    assert weights(positions, provider, 10).round(9).to_dict() == {"N0": 0.5, "N1": -0.5}  # known one bar later
    assert weights(positions, provider, 11).round(9).to_dict() == {"N0": -0.5, "N1": 0.5}
    log = account.trades.frame()
    assert list(log["amount"].round(9)) == [100.0, 100.0, 200.0, 200.0]


def test_turnover_per_step_and_per_coin_weights_are_bounded():
    provider = market(3)
    provider.values["close"][:] = provider.values["mark"][:] = 50.0
    scores = signal(provider, np.random.default_rng(1).normal(size=(40, 8)))
    strategy = LongShortStrategy(signal=scores, topk=2, gross=1.0, max_weight=0.2, turnover=0.3)
    _, positions, account = trade(provider, strategy)
    log = account.trades.frame()
    assert (log.groupby("time")["value"].sum() <= 0.3 * 10_000 + 1e-6).all()
    for bar in range(1, 40):
        assert (weights(positions, provider, bar).abs() <= 0.2 + 1e-9).all()


def test_what_is_given_up_does_not_linger_as_ever_smaller_rests():
    provider = market(3, bars=200, names=30)
    provider.values["close"][:] = provider.values["mark"][:] = 50.0
    scores = np.repeat(np.random.default_rng(1).normal(size=(20, 30)), 10, axis=0)  # new ones every ten bars
    _, positions, account = trade(provider, LongShortStrategy(signal=signal(provider, scores), topk=3, turnover=0.4))
    assert (account.trades.frame().groupby("time")["value"].sum() <= 0.4 * 10_000 + 1e-6).all()
    for bar in range(20, 200, 10):  # ten bars after the scores changed
        assert len(weights(positions, provider, bar)) == 6


@CASES
@given(seed=st.integers(0, 1000), topk=st.integers(2, 4))
def test_neutral_weights_have_no_money_and_no_beta(seed, topk):
    provider = market(seed)
    strategy = LongShortStrategy(
        signal=signal(provider, np.random.default_rng(seed).normal(size=(40, 8))), topk=topk, gross=1.5, **BETA
    )
    provider.values["close"][:] = provider.values["mark"][:] = 50.0
    _, positions, _ = trade(provider, strategy)
    beta = pd.Series(provider.values["beta"][0].astype(np.float32), provider.names)
    for bar in (2, 10, 30):
        found = weights(positions, provider, bar)
        np.testing.assert_allclose(found.sum(), 0, atol=1e-9)
        np.testing.assert_allclose((found * beta).sum(), 0, atol=1e-7)
        np.testing.assert_allclose(found.abs().sum(), 1.5, rtol=1e-6)


def test_weights_shrink_to_the_target_volatility():
    """Of weights +0.5 / -0.5 the volatility of the last 20 bars is known: twice as much as asked halves them."""
    provider = market(5, names=2)
    scores = signal(provider, np.tile([1.0, 0.0], (40, 1)))
    close = provider.values["close"].astype(np.float32)
    bar = 30
    moves = (close[1:] / close[:-1] - 1)[bar - 1 - 20 : bar - 1]  # known at the end of bar 29
    spread = (moves @ [0.5, -0.5]).std(ddof=1) * (24 * 365) ** 0.5
    target = spread / 2
    strategy = LongShortStrategy(signal=scores, topk=1, gross=1.0, volatility=target, window=20)
    seen = {}
    known = strategy.target_weights

    def recorded(step, table):
        seen[step] = known(step, table)
        return seen[step]

    strategy.target_weights = recorded
    trade(provider, strategy)
    np.testing.assert_allclose(seen[bar - 1], [0.25, -0.25], rtol=1e-4)


def test_only_the_tier_of_liquidity_is_held():
    provider = market(7)
    provider.values["volume"][:] = np.arange(8.0, 0, -1)  # N0 is traded most
    strategy = FormulaLongShortStrategy(
        score="$close/Ref($close,3)-1", topk=2, liquidity="Mean($volume,5)", tier=(2, 6)
    )
    _, _, account = trade(provider, strategy)
    assert set(account.trades.frame()["instrument"]) == {"N2", "N3", "N4", "N5"}


def test_reversal_holds_the_opposite_of_momentum():
    provider = market(9, bars=12)
    held = []
    for sign in (1, -1):
        _, positions, _ = trade(provider, FormulaLongShortStrategy(**MOMENTUM, sign=sign))
        held.append(np.sign(weights(positions, provider, 6)))
    assert held[0].eq(-held[1]).all() and len(held[0]) == 4


def test_a_carry_is_opened_and_closed_by_its_rate_and_does_not_feel_the_price():
    """Rates of 0.001 in bars 5 to 19: the pair is held from bar 6 to bar 20, earns 14 payments of 0.001 * 1,000."""
    provider = market(names=2)
    close = 100 * np.exp(np.cumsum(np.random.default_rng(2).normal(0, 0.03, 40)))
    provider.values["close"] = provider.values["mark"] = np.column_stack([close, close])
    provider.values["funding"] = np.where((np.arange(40) >= 5) & (np.arange(40) < 20), 0.001, -0.001)[:, None] * [
        1.0,
        0,
    ]
    rows = [("N0", START + pd.Timedelta(hours=h), 0.001 if 5 <= h < 20 else -0.001) for h in range(50)]
    rows += [("N1", START + pd.Timedelta(hours=h), 0.0) for h in range(50)]
    strategy = FundingCarryStrategy(pairs={"N0": "N1"}, rate="$funding", enter=0.0005, weight=0.1)
    report, positions, account = trade(
        provider, strategy, funding=pd.DataFrame(rows, columns=["instrument", "time", "rate"])
    )
    log = account.trades.frame()
    assert list(log["time"].dt.hour) == [6, 6, 21, 21]
    held = positions[START + pd.Timedelta(hours=10)]
    np.testing.assert_allclose(held.get_stock_amount("N0"), -held.get_stock_amount("N1"), rtol=1e-6)
    earned = sum(
        -held.get_stock_amount("N0") * np.float32(close[h - 1]) * (0.001 if h < 20 else -0.001) for h in range(7, 22)
    )
    np.testing.assert_allclose(report["account"].iloc[-1] - 10_000, earned, rtol=1e-3)


STRATEGIES = {
    "long short": lambda p: LongShortStrategy(
        signal=signal(p, np.random.default_rng(4).normal(size=(40, 8))), topk=2, turnover=0.5
    ),
    "momentum": lambda _: FormulaLongShortStrategy(**MOMENTUM, **BETA),
    "volatility": lambda _: FormulaLongShortStrategy(**MOMENTUM, volatility=0.3, window=10),
    "carry": lambda _: FundingCarryStrategy(pairs={"N0": "N1", "N2": "N3"}, rate="$funding", enter=0.0001),
}


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("at", [10, 25])
def test_what_comes_later_changes_no_order_before_it(name, at):
    logs = []
    for shaken in (False, True):
        provider = market(11, gaps=0.02)
        if shaken:
            for field in ("close", "mark", "volume", "beta", "funding"):
                values = provider.values[field] = provider.values[field].copy()
                values[at:] = values[at:] * 1.5 + 0.001
        strategy = STRATEGIES[name](provider)
        _, _, account = trade(provider, strategy)
        log = account.trades.frame(fills_only=False)
        logs.append(log[log["time"] <= START + pd.Timedelta(hours=at)].reset_index(drop=True))
    before = [log[log["time"] < START + pd.Timedelta(hours=at)] for log in logs]
    pd.testing.assert_frame_equal(*before)
    # In bar `at` the orders are the same, though they are dealt at other prices.
    pd.testing.assert_frame_equal(*(log[["time", "instrument", "side", "ordered"]] for log in logs))
    assert len(before[0])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: LongShortStrategy(topk=2), "needs a signal"),
        (lambda: FormulaLongShortStrategy(score="$close", topk=0, bottomk=0), "not both 0"),
        (lambda: FormulaLongShortStrategy(score="$close", topk=1, sign=2), "sign: received 2"),
        (lambda: FormulaLongShortStrategy(score="$close", topk=1, neutral=["bete"], formulas={"beta": "$b"}), "beta"),
        (lambda: FormulaLongShortStrategy(score="$close", topk=1, tier=(0, 5)), "a formula as liquidity"),
        (lambda: FormulaLongShortStrategy(score="$close", topk=1, gross=0), "gross: received 0"),
        (lambda: FundingCarryStrategy(pairs={}), "pairs: received none"),
    ],
)
def test_what_cannot_be_used_is_named(made, said):
    with pytest.raises(ConfigError, match=said):
        made()

"""Target weights become orders: shares of the account, never more money than the risk degree says, shorts, lots."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, random_market, random_signal, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlib.backtest.executor import NestedExecutor, SimulatorExecutor
from qlib.contrib.strategy import SoftTopkStrategy, TWAPStrategy
from qlib.contrib.strategy.order_generator import OrderGenWInteract, OrderGenWOInteract
from qlib.contrib.strategy.signal_strategy import WeightStrategyBase
from qlib.errors import InputError

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FREE = {"open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "trade_unit": None}
BOTH = pytest.mark.parametrize("generator", [OrderGenWInteract, OrderGenWOInteract])


class Fixed(WeightStrategyBase):
    weights: dict[str, float] | None = None

    def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
        return self.weights


def market(bars: int = 7, price: float = 10.0, compat: str | None = None, **fields) -> MemoryProvider:
    times = pd.date_range("2024-01-01", periods=bars).to_numpy()
    known = {"close": np.full((bars, 5), price), "factor": np.ones((bars, 5)), "change": np.zeros((bars, 5)), **fields}
    return MemoryProvider(times, list("ABCDE"), known, compat=compat)


def ranked(rows: list[str], provider: MemoryProvider) -> pd.Series:
    times = pd.DatetimeIndex(provider.clock.times)
    table = {(times[i], name): -float(place) for i, row in enumerate(rows) for place, name in enumerate(row)}
    return pd.Series(table).rename_axis(["datetime", "instrument"])


def fixed(provider: MemoryProvider, weights: dict[str, float], generator=OrderGenWInteract, **kwargs) -> Fixed:
    strategy = Fixed(signal=ranked(["ABCDE"] * 6, provider), order_generator_cls_or_obj=generator, **kwargs)
    strategy.weights = weights
    return strategy


@pytest.mark.parametrize(("compat", "value"), [(None, 450.0), ("qlib", 900.0)])
def test_weights_of_a_half_invest_half_and_are_stretched_under_compat_only(compat, value):
    provider = market(compat=compat)
    strategy = fixed(provider, {"A": 0.25, "B": 0.25}, risk_degree=0.9)
    report, *_ = run(provider, strategy, exchange_kwargs=FREE, account=1000.0)
    assert report["value"].iloc[-1] == pytest.approx(value)


@pytest.mark.parametrize(("compat", "amount"), [(None, 0.019), ("qlib", 0.0)])
def test_a_fraction_of_a_coin_is_an_amount(compat, amount):
    provider = market(price=50_000.0, compat=compat)
    report, positions, _, _ = run(
        provider, fixed(provider, {"A": 1.0}), exchange_kwargs={**FREE, "trade_unit": 0.001}, account=1000.0
    )
    assert positions[report.index[-1]].get_stock_amount("A") == pytest.approx(amount)


@BOTH
def test_weights_below_zero_are_shorts_where_the_exchange_allows_them(generator):
    provider = market()
    strategy = fixed(provider, {"A": 0.5, "B": -0.5}, generator, risk_degree=1.0)
    report, positions, _, _ = run(provider, strategy, exchange_kwargs={**FREE, "short": True}, account=1000.0)
    assert positions[report.index[-1]].get_stock_amount_dict() == pytest.approx({"A": 50.0, "B": -50.0})
    assert report["account"].iloc[-1] == pytest.approx(1000.0)
    strategy = fixed(provider, {"A": 0.5, "B": -0.5}, generator)
    with pytest.raises(
        InputError, match=r"weight of B: received -0.5; 0 to 1 is allowed; the exchange allows no shorts"
    ):
        run(provider, strategy, exchange_kwargs=FREE)


@BOTH
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"A": 1.2}, "weight of A: received 1.2; 0 to 1 is allowed$"),
        ({"A": float("nan")}, "weight of A: received nan"),
        ({"A": 0.7, "B": 0.7}, "the weights add up to 1.4; at most 1 is allowed"),
    ],
)
def test_weights_that_no_portfolio_has_are_refused(generator, weights, message):
    provider = market()
    with pytest.raises(InputError, match=message):
        run(provider, fixed(provider, weights, generator), exchange_kwargs=FREE)


@pytest.mark.parametrize(("compat", "most"), [(None, 0.9), ("qlib", 1.0)])
def test_beside_a_holding_that_cannot_be_sold_the_others_get_less(compat, most):
    change = np.zeros((7, 5))
    change[3:, 0] = -0.2  # A cannot be sold from the fourth day on
    provider = market(compat=compat, change=change)

    class Moving(Fixed):
        def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
            return {"A": 1.0} if trade_start_time < pd.Timestamp("2024-01-04") else {"B": 1.0}

    strategy = Moving(
        signal=ranked(["ABCDE"] * 6, provider), order_generator_cls_or_obj=OrderGenWOInteract, risk_degree=0.9
    )
    report, *_ = run(provider, strategy, exchange_kwargs={**FREE, "limit_threshold": 0.1}, account=1000.0)
    assert (report["value"] / report["account"]).max() == pytest.approx(most)


def test_weights_know_the_first_bar_of_a_step_only():
    """A day in four bars: the later ones change no order that was made at its beginning."""

    def orders(evening: float, kind) -> list[tuple[str, float]]:
        rng = np.random.default_rng(2)
        close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, (20, 5)), axis=0))
        close[9:12] *= evening
        times = pd.date_range("2024-01-01", periods=20, freq="6h").to_numpy()
        fields = {"close": close, "factor": np.ones_like(close), "change": np.zeros_like(close)}
        provider = MemoryProvider(times, list("ABCDE"), fields, freq="6h", region="crypto")
        scores = ranked(["ABCDE"] * 20, provider)
        made: list[tuple[str, float]] = []

        class Noted(kind):
            def generate_trade_decision(self, execute_result=None):
                decision = super().generate_trade_decision(execute_result)
                if not made:
                    made.extend((order.stock_id, order.amount) for order in decision.get_decision())
                return decision

        strategy = Noted(signal=scores, topk=2) if kind is SoftTopkStrategy else Noted(signal=scores)
        if kind is not SoftTopkStrategy:
            strategy.weights = {"A": 0.5, "B": 0.5}
            strategy.order_generator = OrderGenWInteract()
        executor = NestedExecutor("day", SimulatorExecutor("6h"), TWAPStrategy(), generate_portfolio_metrics=True)
        run(
            provider, strategy, executor=executor, exchange_kwargs={**FREE, "freq": "6h"},
            start_time=pd.Timestamp("2024-01-03"), end_time=pd.Timestamp("2024-01-03 23:00"),
        )  # fmt: skip
        return made

    for kind in (Fixed, SoftTopkStrategy):
        assert orders(1.0, kind) and orders(1.0, kind) == orders(2.0, kind)


# --------------------------------------------------------------------------------------------------------- soft top k
def shares(report, positions) -> list[dict[str, float]]:
    found = [positions[time].get_stock_weight_dict() for time in report.index]
    return [{name: round(weight, 6) for name, weight in sorted(table.items())} for table in found]


def test_a_soft_top_k_moves_every_weight_of_the_account_by_its_limit():
    provider = market()
    scores = ranked(["ABCDE"] * 3 + ["EDCBA"] * 3, provider)
    strategy = SoftTopkStrategy(signal=scores, topk=1, max_sold_weight=0.2, risk_degree=0.9)
    report, positions, _, _ = run(provider, strategy, exchange_kwargs=FREE, account=1e6)
    assert shares(report, positions) == [
        {"A": 0.2}, {"A": 0.4}, {"A": 0.6}, {"A": 0.4, "E": 0.2}, {"A": 0.2, "E": 0.4}, {"E": 0.6},
    ]  # fmt: skip


def test_qlibs_soft_top_k_weighs_the_holdings_alone_and_stretches():
    provider = market(compat="qlib")
    strategy = SoftTopkStrategy(signal=ranked(["ABCDE"] * 6, provider), topk=1, max_sold_weight=0.2, risk_degree=0.9)
    report, positions, _, _ = run(provider, strategy, exchange_kwargs=FREE, account=1e6)
    assert shares(report, positions)[0] == {"A": 0.9}


@pytest.mark.parametrize("generator", [OrderGenWInteract, OrderGenWOInteract])
def test_both_generators_invest_the_same_share_of_the_account(generator):
    provider = market()
    strategy = SoftTopkStrategy(
        signal=ranked(["ABCDE"] * 6, provider), topk=2, risk_degree=0.5, order_generator_cls_or_obj=generator
    )
    report, *_ = run(provider, strategy, exchange_kwargs=FREE, account=1e6)
    assert report["value"].iloc[-1] == pytest.approx(5e5)


@QUICK
@given(
    st.integers(0, 10_000), st.sampled_from([0.0, 0.2, 0.4]), st.sampled_from([0.05, 0.3, 1.0]),
    st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.integers(1, 6), st.sampled_from([0.0, 0.002]),
)  # fmt: skip
def test_a_soft_top_k_keeps_to_its_money_and_its_limit(seed, gaps, limit, degree, topk, cost):
    provider = random_market(seed, bars=12, names=7, gaps=gaps)
    signal = random_signal(provider, seed + 1, missing=0.2)

    def go():
        strategy = SoftTopkStrategy(signal=signal, topk=topk, max_sold_weight=limit, risk_degree=degree)
        return run(provider, strategy, exchange_kwargs={**FREE, "open_cost": cost, "close_cost": cost}, account=1e6)

    report, positions, fills, _ = go()
    for time, row in report.iterrows():
        today = [fill for fill in fills if fill[0].start_time == time]
        worth = row["account"] + sum(cost for *_, cost, _ in today)  # at the close all is worth what was paid for it
        frozen = sum(
            held["amount"] * held["price"]
            for name, held in positions[time].position.items()
            if isinstance(held, dict)
            and np.isnan(provider.values["close"][provider.clock.position(time), int(name[1:])])
        )
        if today:
            assert row["value"] <= max(degree * worth, frozen) * (1 + 1e-6)
        for order, value, *_ in today:
            if order.direction == order.BUY:
                assert value <= (min(limit, degree / topk) + 1e-9) * worth
    pd.testing.assert_frame_equal(go()[0], report, check_exact=True)

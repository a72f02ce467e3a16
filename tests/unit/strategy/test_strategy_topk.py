"""TopkDropout on small markets worked out by hand, weights, and rules."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, random_market, random_signal, run

from qlib.contrib.evaluate import backtest_daily
from qlib.contrib.strategy import SoftTopkStrategy, TopkDropoutStrategy
from qlib.contrib.strategy.order_generator import OrderGenWInteract, OrderGenWOInteract
from qlib.contrib.strategy.signal_strategy import BaseSignalStrategy, WeightStrategyBase
from qlib.errors import ConfigError

FREE = {"open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "trade_unit": None}
NAMES = list("ABCDE")


def market(bars: int = 6, **kwargs) -> MemoryProvider:
    times = pd.date_range("2024-01-01", periods=bars).to_numpy()
    fields = {"close": np.full((bars, 5), 10.0), "factor": np.ones((bars, 5)), "change": np.zeros((bars, 5))}
    fields.update(kwargs.pop("fields", {}))
    return MemoryProvider(times, NAMES, fields, **kwargs)


def signal(rows: list[str], provider: MemoryProvider) -> pd.Series:
    """Each text ranks the names of a bar, best first."""
    times = pd.DatetimeIndex(provider.clock.times)
    table = {(times[i], name): -float(place) for i, row in enumerate(rows) for place, name in enumerate(row)}
    return pd.Series(table).rename_axis(["datetime", "instrument"])


def held(positions, report) -> list[str]:
    return ["".join(sorted(positions[time].get_stock_list())) for time in report.index]


def test_the_worst_are_replaced_a_few_at_a_time():
    provider = market()
    scores = signal(["ABCDE", "EDCBA", "EDCBA", "EDCBA", "EDCBA"], provider)
    report, positions, _, _ = run(
        provider, TopkDropoutStrategy(signal=scores, topk=2, n_drop=1), exchange_kwargs=FREE, account=1000.0
    )
    assert held(positions, report) == ["AB", "BE", "DE", "DE", "DE"]
    assert report["cash"].iloc[0] == pytest.approx(50.0)
    amounts = positions[report.index[0]].get_stock_amount_dict()
    assert amounts == {"A": pytest.approx(47.5), "B": pytest.approx(47.5)}


def test_with_n_drop_0_nothing_is_sold_but_qlib_sells_everything():
    rows = ["ABCDE"] + ["EDCBA"] * 4
    provider = market()
    run_one = {"exchange_kwargs": FREE, "account": 1000.0}
    report, positions, fills, _ = run(
        provider, TopkDropoutStrategy(signal=signal(rows, provider), topk=2, n_drop=0), **run_one
    )
    assert held(positions, report) == ["AB"] * 5
    assert len(fills) == 2
    provider = market(compat="qlib")
    _, _, fills, _ = run(provider, TopkDropoutStrategy(signal=signal(rows, provider), topk=2, n_drop=0), **run_one)
    assert sum(order.direction == order.SELL for order, *_ in fills) >= 2


def test_qlib_slices_the_candidates_of_a_portfolio_that_is_too_large_from_the_end_once():
    provider = market(compat="qlib")
    strategy = TopkDropoutStrategy(signal=signal(["ABCDE"] * 5, provider), topk=1, n_drop=1)
    account = {"cash": 100.0, **{name: {"amount": 10.0, "price": 10.0} for name in "ABC"}}
    report, positions, _, _ = run(provider, strategy, exchange_kwargs=FREE, account=account)
    assert held(positions, report) == ["ABC"] * 5  # D, of D and E, stays a candidate, and is worse than what is held


def test_names_are_held_for_a_while():
    provider = market(8)
    scores = signal(["ABCDE"] + ["EDCBA"] * 6, provider)
    report, positions, _, _ = run(
        provider, TopkDropoutStrategy(signal=scores, topk=1, n_drop=1, hold_thresh=3), exchange_kwargs=FREE
    )
    assert ["A" in names for names in held(positions, report)[:5]] == [True, True, True, False, False]


def test_a_blocked_choice_is_skipped_or_passed_over():
    change = np.zeros((6, 5))
    change[1, 0] = 0.2  # A cannot be bought on the first day
    provider = market(fields={"change": change})
    scores = signal(["ABCDE"] * 5, provider)
    limits = {**FREE, "limit_threshold": 0.1}
    report, positions, _, _ = run(
        provider, TopkDropoutStrategy(signal=scores, topk=2, n_drop=1), exchange_kwargs=limits
    )
    assert held(positions, report)[:2] == ["B", "AB"]
    report, positions, _, _ = run(
        provider, TopkDropoutStrategy(signal=scores, topk=2, n_drop=1, only_tradable=True), exchange_kwargs=limits
    )
    assert held(positions, report)[0] == "BC"


def test_a_limit_up_name_can_be_sold_where_only_its_own_side_is_blocked():
    change = np.zeros((6, 5))
    change[2, 0] = 0.2  # A is limited up when it should be sold
    provider = market(fields={"change": change})
    scores = signal(["ABCDE"] + ["EDCBA"] * 4, provider)
    limits = {**FREE, "limit_threshold": 0.1}
    for forbid, second in ((True, "A"), (False, "E")):
        strategy = TopkDropoutStrategy(signal=scores, topk=1, n_drop=1, forbid_all_trade_at_limit=forbid)
        report, positions, _, _ = run(provider, strategy, exchange_kwargs=limits)
        assert held(positions, report)[1][0] == second


def test_unscored_names_are_never_bought_and_are_the_first_to_go():
    provider = market()
    scores = signal(["ABCDE", "BCDE", "BCDE", "BCDE", "BCDE"], provider)
    scores.loc[pd.Timestamp("2024-01-03"), "B"] = np.nan
    report, positions, _, _ = run(provider, TopkDropoutStrategy(signal=scores, topk=2, n_drop=1), exchange_kwargs=FREE)
    assert held(positions, report)[:3] == ["AB", "BC", "CD"]


def test_a_dynamic_risk_degree_is_asked_for_every_step():
    class Timid(TopkDropoutStrategy):
        def get_risk_degree(self, trade_step=None):
            return 0.5 if trade_step == 0 else 1.0

    provider = market()
    report, *_ = run(
        provider, Timid(signal=signal(["ABCDE"] * 5, provider), topk=2, n_drop=1), exchange_kwargs=FREE, account=1000.0
    )
    assert report["cash"].iloc[0] == pytest.approx(500.0)


@pytest.mark.parametrize("way", [{"method_sell": "random"}, {"method_buy": "random"}])
@pytest.mark.parametrize("tradable", [True, False])
@pytest.mark.parametrize("compat", [None, "qlib"])
def test_random_choices_repeat_by_seed(way, tradable, compat):
    provider = random_market(3, bars=20, gaps=0.1, compat=compat)

    def go(seed: int) -> pd.DataFrame:
        np.random.seed(seed if compat else np.random.randint(1000))  # numpy's own state counts with compat only
        own = {} if compat else {"seed": seed}
        strategy = TopkDropoutStrategy(
            signal=random_signal(provider), topk=3, n_drop=2, only_tradable=tradable, **way, **own
        )
        return run(provider, strategy, exchange_kwargs=FREE)[0]

    pd.testing.assert_frame_equal(go(7), go(7))
    assert not go(7)["account"].equals(go(8)["account"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"topk": 0}, "topk: received 0; a whole number of at least 1"),
        ({"n_drop": -1}, "n_drop: received -1"),
        ({"topk": 2.5}, "topk: received 2.5"),
        ({"method_sell": "botom"}, "did you mean bottom"),
        ({"method_buy": "best"}, "method_buy: received 'best'; allowed are 'top' and 'random'"),
        ({"risk_degree": float("nan")}, "risk_degree: received nan"),
        ({"signal": None}, "TopkDropoutStrategy needs a signal"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(kwargs, message):
    provider = market()
    with pytest.raises(ConfigError, match=message):
        TopkDropoutStrategy(**{"signal": signal(["ABCDE"], provider), "topk": 1, "n_drop": 1, **kwargs})


def test_an_unknown_argument_is_an_error():
    with pytest.raises(TypeError, match="topkk"):
        TopkDropoutStrategy(signal=signal(["ABCDE"], market()), topk=1, n_drop=1, topkk=2)


def test_model_and_dataset_make_a_signal():
    class Model:
        def predict(self, dataset):
            return dataset

    provider = market()
    strategy = TopkDropoutStrategy(model=Model(), dataset=signal(["ABCDE"] * 5, provider), topk=1, n_drop=1)
    assert held(*reversed(run(provider, strategy, exchange_kwargs=FREE)[:2]))[0] == "A"
    assert isinstance(strategy, BaseSignalStrategy)


# ------------------------------------------------------------------------------------------------------ weights
class Fixed(WeightStrategyBase):
    weights: dict[str, float] | None = None

    def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
        return self.weights


@pytest.mark.parametrize("generator", [OrderGenWInteract, OrderGenWOInteract, OrderGenWInteract()])
def test_weights_are_reached_and_kept(generator):
    provider = market()
    strategy = Fixed(signal=signal(["ABCDE"] * 5, provider), order_generator_cls_or_obj=generator)
    strategy.weights = {"A": 0.5, "C": 0.25, "D": 0.25}
    report, positions, fills, _ = run(provider, strategy, exchange_kwargs=FREE, account=10000.0)
    first = int(generator is OrderGenWOInteract)  # it needs the bar before, which the exchange has not loaded
    got = positions[report.index[first]].get_stock_weight_dict(only_stock=True)
    assert got == pytest.approx(strategy.weights, abs=2e-3)
    assert report["value"].iloc[first] == pytest.approx(9500, abs=30)
    assert len(fills) == 3


def test_no_weights_are_no_orders_and_a_shrinking_budget_sells():
    provider = market()
    strategy = Fixed(signal=signal(["ABCDE"] * 5, provider), order_generator_cls_or_obj=OrderGenWInteract)
    assert run(provider, strategy, exchange_kwargs=FREE)[2] == []

    class Leaving(Fixed):
        def get_risk_degree(self, trade_step=None):
            return 0.95 if trade_step == 0 else -0.1

    strategy = Leaving(signal=signal(["ABCDE"] * 5, provider), order_generator_cls_or_obj=OrderGenWInteract)
    strategy.weights = {"A": 1.0}
    report, *_ = run(provider, strategy, exchange_kwargs=FREE)
    assert report["value"].iloc[0] > 0 and report["value"].iloc[1] == 0


def test_arguments_of_soft_top_k_that_mean_nothing_are_refused():
    scores = signal(["ABCDE"], market())
    with pytest.raises(ConfigError, match="topk: received None"):
        SoftTopkStrategy(signal=scores)
    with pytest.raises(ConfigError, match="topk: received 1.5"):
        SoftTopkStrategy(signal=scores, topk=1.5)
    with pytest.raises(ConfigError, match="max_sold_weight: received -0.1; a weight of at least 0"):
        SoftTopkStrategy(signal=scores, topk=1, max_sold_weight=-0.1)
    with pytest.raises(ConfigError, match="trade_impact_limit: received nan"):
        SoftTopkStrategy(signal=scores, topk=1, trade_impact_limit=float("nan"))


def test_a_daily_backtest_in_one_call():
    provider = market()
    strategy = TopkDropoutStrategy(signal=signal(["ABCDE"] * 5, provider), topk=2, n_drop=1)
    report, positions = backtest_daily(
        "2024-01-02", "2024-01-06", strategy, benchmark=None, exchange_kwargs={**FREE, "provider": provider}
    )
    assert len(report) == len(positions) == 5
    from qlib.backtest.executor import SimulatorExecutor

    with pytest.raises(ConfigError, match="keeps reports of nothing, not of day"):
        backtest_daily(
            "2024-01-02", "2024-01-06", strategy, SimulatorExecutor("day"), benchmark=None,
            exchange_kwargs={**FREE, "provider": provider},
        )  # fmt: skip

"""Strategies that follow a rule: an order is split as it should be, nothing looks ahead, nonsense is refused."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, run
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.backtest import backtest
from qlib.backtest.decision import Order, TradeDecisionWO, TradeRangeByTime
from qlib.backtest.executor import NestedExecutor, SimulatorExecutor
from qlib.config import build_settings
from qlib.contrib.strategy.rule_strategy import (
    ACStrategy,
    FileOrderStrategy,
    RandomOrderStrategy,
    SBBStrategyBase,
    SBBStrategyEMA,
    TWAPStrategy,
)
from qlib.contrib.strategy.splitting import DUST, FormulaValues
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store
from qlib.errors import ConfigError, InputError
from qlib.strategy.base import BaseStrategy, RLIntStrategy, RLStrategy

GOLDEN = json.loads((Path(__file__).resolve().parents[2] / "golden" / "splitting.json").read_text())
FREE = {"open_cost": 0, "close_cost": 0, "min_cost": 0}
EXACT = {"abs": 1e-9, "rel": 1e-9}


def market(bars: int, freq: str, names: int = 2, *, seed: int = 0, days: str = "2024-01-01", **kwargs: Any):
    rng = np.random.default_rng(seed)
    times = pd.date_range(days, periods=bars, freq=freq).to_numpy()
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.01, (bars, names)), axis=0))
    volume = rng.integers(1_000, 9_000, (bars, names)).astype(float)
    fields = {"close": close, "volume": volume, "factor": np.ones((bars, names)), "change": np.zeros((bars, names))}
    return MemoryProvider(times, [f"N{i}" for i in range(names)], fields, freq=freq, region="crypto", **kwargs)


def orders(*rows: tuple[str, str, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["datetime", "instrument", "amount", "direction"])


def nested(provider, inner, what, *, trade_range=None, unit=None, step="day", between=None, day="2024-01-02", **kwargs):
    """Fills (time, name, side, ordered, dealt) of an outer list of orders split by `inner`."""
    executor = SimulatorExecutor(provider.freq)
    for strategy, freq in ((inner, between or step), *(((TWAPStrategy(), step),) if between else ())):
        executor = NestedExecutor(freq, executor, strategy, generate_portfolio_metrics=freq == step)
    _, _, fills, _ = run(
        provider, FileOrderStrategy(what, trade_range), executor=executor, start_time=day,
        end_time=f"{kwargs.pop('end_time', day)} 23:59", account={"cash": 1e9, "N0": {"amount": 1e6, "price": 20.0}},
        exchange_kwargs={**FREE, "trade_unit": unit, **kwargs},
    )  # fmt: skip
    return [(o.start_time, o.stock_id, int(o.direction), o.amount, o.deal_amount) for o, *_ in fills]


# ------------------------------------------------------------------------------------------------ the nested schedule
def test_day_to_half_hours_to_minutes_is_the_schedule_computed_by_hand():
    provider = market(2880, "1min")
    fills = nested(
        provider, TWAPStrategy(), orders(("2024-01-02", "N0", 960, "buy")), unit=1, between="30min", day="2024-01-02"
    )
    # 48 half hours of 20; after minute k of 30, round(20 (k + 1) / 30) is due: 1, 0, 1, again and again
    minutes = [m for m in range(1440) if m % 3 != 1]
    assert [t for t, *_ in fills] == [pd.Timestamp("2024-01-02") + pd.Timedelta(minutes=m) for m in minutes]
    assert {(ordered, dealt) for *_, ordered, dealt in fills} == {(1.0, 1.0)}
    assert len(fills) == 960


@pytest.mark.parametrize("trade_range", [TradeRangeByTime("10:00", "11:59"), (20, 23)])
def test_a_range_by_time_and_by_steps_is_kept_on_every_level(trade_range):
    provider = market(2880, "1min")
    what = orders(("2024-01-02", "N0", 960, "sell"))
    fills = nested(provider, TWAPStrategy(), what, trade_range=trade_range, unit=1, between="30min")
    assert [t for t, *_ in fills] == list(pd.date_range("2024-01-02 10:00", "2024-01-02 11:59", freq="min"))
    assert {(side, dealt) for _, _, side, _, dealt in fills} == {(0, 8.0)}


def test_levels_may_be_as_many_as_one_likes():
    provider = market(2880, "1min", names=1)
    executor = SimulatorExecutor("1min")
    for freq in ("5min", "15min", "30min", "60min"):
        executor = NestedExecutor(freq, executor, TWAPStrategy())
    executor = NestedExecutor("day", executor, TWAPStrategy(), generate_portfolio_metrics=True)
    what = FileOrderStrategy(orders(("2024-01-02", "N0", 1440, "buy")))
    _, positions, fills, _ = run(
        provider, what, executor=executor, start_time="2024-01-02", end_time="2024-01-02 23:59", account=1e9,
        exchange_kwargs={**FREE, "trade_unit": None},
    )  # fmt: skip
    assert [o.deal_amount for o, *_ in fills] == pytest.approx([1.0] * 1440, **EXACT)
    assert len(executor.get_all_executors()) == 6


def test_two_outer_orders_for_one_name_and_side_are_one_order():
    provider = market(48, "60min")
    what = orders(("2024-01-02", "N0", 10, "buy"), ("2024-01-02", "N0", 14, "buy"))
    fills = nested(provider, TWAPStrategy(), what)
    assert [dealt for *_, dealt in fills] == pytest.approx([1.0] * 24, **EXACT)


def test_a_revised_outer_order_keeps_what_was_dealt():
    provider = market(48, "60min")

    class Doubling(BaseStrategy):
        def generate_trade_decision(self, execute_result=None):
            return TradeDecisionWO([Order("N0", 24.0, Order.BUY, None, None)], self)  # type: ignore[arg-type]

        def update_trade_decision(self, trade_decision, trade_calendar):
            if trade_calendar.get_trade_step() != 12:
                return None
            return TradeDecisionWO([Order("N0", 48.0, Order.BUY, None, None)], self)  # type: ignore[arg-type]

    executor = NestedExecutor("day", SimulatorExecutor("60min"), TWAPStrategy(), generate_portfolio_metrics=True)
    _, _, fills, _ = run(
        provider, Doubling(), executor=executor, start_time="2024-01-02", end_time="2024-01-02 23:59", account=1e9,
        exchange_kwargs={**FREE, "trade_unit": None},
    )  # fmt: skip
    assert sum(o.deal_amount for o, *_ in fills) == pytest.approx(48.0)
    assert [o.deal_amount for o, *_ in fills][:12] == pytest.approx([1.0] * 12)


# ------------------------------------------------------------------------------------------------------ better bars
class Trend(SBBStrategyBase):
    def __init__(self, trend: int) -> None:
        super().__init__()
        self.trend = trend

    def _pred_price_trend(self, stock_id, pred_start_time=None, pred_end_time=None):
        return self.trend


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("trend", [Trend.TREND_MID, Trend.TREND_LONG, Trend.TREND_SHORT])
def test_the_better_bar_of_each_pair_gets_the_share_of_both(trend, side):
    fills = nested(market(48, "60min"), Trend(trend), orders(("2024-01-02", "N0", 24, side)))
    hours, dealt = [t.hour for t, *_ in fills], [row[-1] for row in fills]
    if trend == Trend.TREND_MID:
        assert (hours, dealt) == (list(range(24)), pytest.approx([1.0] * 24, **EXACT))
    else:
        first = (trend == Trend.TREND_LONG) == (side == "buy")
        assert hours == list(range(0 if first else 1, 24, 2))
        assert dealt == pytest.approx([2.0] * 12, **EXACT)


@pytest.mark.parametrize(("compat", "hours"), [(None, [2, 4, 6]), ("qlib", [4, 6])])
def test_a_limit_of_the_other_side_stops_an_order_in_a_better_bar_by_qlibs_rules_alone(compat, hours):
    provider = market(48, "60min", compat=compat)
    provider.values["change"][26] = 0.1  # at 02:00 of the second day: nothing can be bought, but sold
    fills = nested(
        provider, Trend(Trend.TREND_SHORT), orders(("2024-01-02", "N0", 24, "sell")),
        limit_threshold=0.05, trade_range=TradeRangeByTime("02:00", "07:59"),
    )  # fmt: skip
    assert [t.hour for t, *_ in fills if 2 <= t.hour < 8] == hours


@pytest.mark.parametrize("inner", [Trend(Trend.TREND_SHORT), Trend(Trend.TREND_LONG), Trend(Trend.TREND_MID)])
@pytest.mark.parametrize("trade_range", [("3:00", "7:59"), ("2:00", "4:59"), ("5:00", "5:59")])
def test_in_a_short_range_the_whole_order_is_done(inner, trade_range):
    what = orders(("2024-01-02", "N0", 30, "buy"))
    fills = nested(market(48, "60min"), inner, what, trade_range=TradeRangeByTime(*trade_range))
    assert sum(row[-1] for row in fills) == pytest.approx(30.0, **EXACT)


def test_by_qlibs_rules_a_short_range_leaves_most_of_the_order():
    provider = market(48, "60min", compat="qlib")
    what = orders(("2024-01-02", "N0", 30, "buy"))
    fills = nested(provider, Trend(Trend.TREND_MID), what, trade_range=TradeRangeByTime("3:00", "7:59"))
    assert sum(row[-1] for row in fills) < 10.0


def test_the_trend_is_the_sign_of_two_averages_in_the_bar_before():
    provider = market(24 * 20, "60min", seed=3)
    close = pd.Series(provider.values["close"][:, 0].astype(np.float32).astype(float))
    spread = close.ewm(span=10).mean() - close.ewm(span=20).mean()
    day = 24 * 15
    fills = nested(
        provider, SBBStrategyEMA(instruments="all", freq="60min"), orders(("2024-01-16", "N0", 24, "buy")),
        day="2024-01-16",
    )  # fmt: skip
    expected = [h if spread[day + h - 1] > 0 else h + 1 for h in range(0, 24, 2)]
    assert [t.hour for t, *_ in fills] == expected


# ------------------------------------------------------------------------------------------------- Almgren and Chriss
def test_under_one_sigma_the_schedule_is_that_of_almgren_and_chriss():
    provider = market(48, "60min")
    change = np.where(np.arange(48) % 2, 0.02, -0.02)[:, None]
    provider.values["close"] = 20 * np.exp(np.cumsum(np.repeat(change, 2, axis=1), axis=0))
    lamb, eta = 1e-3, 2.5e-6
    fills = nested(
        provider, ACStrategy(lamb=lamb, eta=eta, window_size=4, instruments=["N0"], freq="60min"),
        orders(("2024-01-02", "N0", 100, "sell")),
    )  # fmt: skip
    sigma = np.std([0.02, -0.02, 0.02, -0.02], ddof=1)
    kappa = math.acosh(lamb / eta * sigma**2 / 2 + 1)
    left = np.sinh(kappa * np.arange(24, -1, -1)) / np.sinh(kappa * 24)
    assert [row[-1] for row in fills] == pytest.approx((100 * -np.diff(left)).tolist(), rel=1e-5)


@settings(max_examples=cases(12, 200))
@given(
    lamb=st.floats(0, 10), window=st.integers(2, 12), lots=st.sampled_from([None, 1.0, 7.0]),
    amount=st.integers(1, 60), hours=st.tuples(st.integers(0, 11), st.integers(12, 22)), seed=st.integers(0, 9),
)  # fmt: skip
def test_whatever_the_market_does_the_order_is_done_at_the_end(lamb, window, lots, amount, hours, seed):
    amount = amount * (lots or 0.37)
    clock = TradeRangeByTime(f"{hours[0]}:00", f"{hours[1]}:59")
    provider = market(48, "60min", seed=seed)
    what = orders(("2024-01-02", "N0", amount, "buy"))
    for inner in (
        ACStrategy(lamb=lamb, window_size=window, instruments="all", freq="60min"),
        SBBStrategyEMA(instruments="all", freq="60min"),
        TWAPStrategy(),
    ):
        fills = nested(provider, inner, what, trade_range=clock, unit=lots)
        assert sum(row[-1] for row in fills) == pytest.approx(amount, abs=2 * DUST)
        assert all(hours[0] <= t.hour <= hours[1] for t, *_ in fills)
        assert all(row[3] > 0 for row in fills)


def test_calm_and_unknown_prices_are_split_evenly():
    provider = market(48, "60min")
    provider.values["close"][:] = 20.0
    what = orders(("2024-01-02", "N0", 24, "buy"))
    for inner in (
        ACStrategy(window_size=2, instruments=["N0"], freq="60min"),  # no volatility
        ACStrategy(window_size=2, instruments=["N1"], freq="60min"),  # no number for N0
        ACStrategy(lamb=0, instruments=["N0"], freq="60min"),
    ):
        assert [row[-1] for row in nested(provider, inner, what)] == pytest.approx([1.0] * 24, **EXACT)


# ------------------------------------------------------------------------------------------------------------- oracle
@pytest.fixture(scope="module")
def hourly(tmp_path_factory) -> str:
    times = pd.date_range(GOLDEN["start"], periods=len(GOLDEN["close"]["A"]), freq="60min")
    frames = {
        name: pd.DataFrame({"close": close, "factor": 1.0, "change": 0.0, "volume": 1e9}, index=times)
        for name, close in GOLDEN["close"].items()
    }
    return str(write_store(frames, tmp_path_factory.mktemp("hours") / "store", "60min"))


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_by_qlibs_rules_orders_are_those_of_pyqlib(name, hourly):
    case = GOLDEN["cases"][name]
    sides = ("sell", "buy") if case.get("flip") else ("buy", "sell")
    days = [f"2022-03-{day}" for day in (26, 27, 28, 29)]
    what = orders(*((day, stock, n, side) for day in days for stock, n, side in zip("AB", (10.37, 51.3), sides)))  # noqa: B905
    made: list[Any] = []

    class Noting({"ACStrategy": ACStrategy, "SBBStrategyEMA": SBBStrategyEMA}[case["strategy"]]):  # type: ignore[misc]
        def generate_trade_decision(self, execute_result=None):
            decision = super().generate_trade_decision(execute_result)
            made.extend([str(o.start_time), o.stock_id, int(o.direction), o.amount] for o in decision.get_decision())
            return decision

    provider = Provider(build_settings(provider_uri=hourly, region="cn", compat="qlib", logging_level=50))
    clock = TradeRangeByTime(*case["trade_range"]) if case["trade_range"] else None
    backtest(
        days[0], days[-1], FileOrderStrategy(what, clock),
        NestedExecutor("day", SimulatorExecutor("60min"), Noting(instruments="all", **case["kwargs"])),
        benchmark=None, account={"cash": 1e9, **{stock: {"amount": 1e6, "price": 10.0} for stock in "AB"}},
        exchange_kwargs={"freq": "60min", "trade_unit": case["unit"], "provider": provider, "deal_price": "close"},
    )  # fmt: skip
    assert [row[:3] for row in sorted(made)] == [row[:3] for row in sorted(case["fills"])]
    assert [row[3] for row in sorted(made)] == pytest.approx(
        [row[3] for row in sorted(case["fills"])], rel=2e-5, abs=1e-5
    )


# ------------------------------------------------------------------------------------------------------ no look-ahead
def changed_after(provider: MemoryProvider, bar: int, seed: int) -> MemoryProvider:
    rng = np.random.default_rng(seed)
    fields = {name: values.copy() for name, values in provider.values.items()}
    for name, values in fields.items():
        if name != "factor":
            values[bar + 1 :] *= rng.uniform(0.5, 2.0, values[bar + 1 :].shape)
    return MemoryProvider(provider.clock.times, provider.names, fields, freq=provider.freq, region="crypto")


@pytest.mark.parametrize(
    "inner",
    [
        TWAPStrategy,
        lambda: SBBStrategyEMA(instruments="all", freq="60min"),
        lambda: ACStrategy(lamb=1e-3, window_size=5, instruments="all", freq="60min"),
    ],
)
@pytest.mark.parametrize("bar", cases([30, 57], list(range(24, 95, 3))))
def test_what_happens_later_changes_no_earlier_order_or_fill(inner, bar):
    provider = market(96, "60min", seed=5)
    days = ("2024-01-02", "2024-01-03", "2024-01-04")
    what = orders(*((day, name, 12.5, side) for day in days for name, side in (("N0", "sell"), ("N1", "buy"))))
    moment = pd.Timestamp(provider.clock.times[bar])
    seen = [
        [row for row in nested(some, inner(), what, unit=0.1, end_time=days[-1]) if row[0] <= moment]
        for some in (provider, changed_after(provider, bar, 1), changed_after(provider, bar, 2))
    ]
    assert len(seen[0]) > 3
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("inner", [SBBStrategyEMA, ACStrategy])
def test_a_bars_own_price_plays_no_part_in_its_own_order(inner):
    provider = market(96, "60min", seed=5)
    what = orders(*((day, "N1", 12.5, "buy") for day in ("2024-01-02", "2024-01-03", "2024-01-04")))
    kwargs = {"lamb": 1e-3} if inner is ACStrategy else {}

    def ordered(some):
        strategy = inner(instruments="all", freq="60min", **kwargs)
        return [row[:4] for row in nested(some, strategy, what, end_time="2024-01-04") if row[0] <= moment]

    for bar in cases([40, 41, 60], list(range(24, 95, 3))):
        moment = pd.Timestamp(provider.clock.times[bar])
        assert ordered(provider) == ordered(changed_after(provider, bar - 1, 3))


def test_random_orders_know_the_volume_of_the_bars_before_and_nothing_else():
    provider = market(40, "60min", names=6, seed=2)
    volume = pd.DataFrame(provider.values["volume"].astype(np.float32)).rolling(10, min_periods=1).mean().shift(1)

    def ordered(some):
        strategy = RandomOrderStrategy(sample_ratio=0.5, volume_ratio=0.02, seed=4)
        _, _, fills, _ = run(some, strategy, account=1e9, exchange_kwargs={**FREE, "trade_unit": None})
        return [(o.start_time, o.stock_id, int(o.direction), o.amount) for o, *_ in fills]

    made = ordered(provider)
    times = list(pd.DatetimeIndex(provider.clock.times))
    assert all(n == pytest.approx(0.02 * volume.iloc[times.index(t), int(s[1])], rel=1e-5) for t, s, _, n in made)
    per_step = pd.Series([t for t, *_ in made]).value_counts()
    assert set(per_step) == {3}
    assert len(per_step) == 39
    assert len({tuple(s for t, s, *_ in made if t == moment) for moment in times}) > 5  # not always the same three
    for bar in (5, 20, 33):
        other = ordered(changed_after(provider, bar - 1, 9))
        assert [row for row in made if row[0] <= times[bar]] == [row for row in other if row[0] <= times[bar]]


def test_a_bar_is_known_when_the_next_one_has_opened():
    provider = market(10, "60min")
    values = FormulaValues(provider, "all", "$close", "60min", None, None)
    opened = pd.DatetimeIndex(provider.clock.times)
    assert values.known_at(opened[0]) is None
    for late in (pd.Timedelta(0), pd.Timedelta(minutes=59)):
        assert values.known_at(opened[4] + late)[0] == np.float32(provider.values["close"][3, 0])


# ---------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ACStrategy(eta=0), "eta=0"),
        (lambda: ACStrategy(lamb=-1), "lamb=-1"),
        (lambda: ACStrategy(window_size=1), "window_size"),
        (lambda: SBBStrategyEMA(instruments=None), "instruments is None"),
        (lambda: RandomOrderStrategy(sample_ratio=1.5), "sample_ratio"),
        (lambda: RandomOrderStrategy(volume_ratio=-0.1), "volume_ratio"),
        (lambda: RandomOrderStrategy(volume_ratio=float("nan")), "volume_ratio"),
        (lambda: RandomOrderStrategy(direction="bye"), "did you mean"),
        (lambda: RandomOrderStrategy(seed=-1), "seed"),
        (lambda: FileOrderStrategy(pd.DataFrame({"datetime": []})), "lacks instrument, amount, direction"),
        (lambda: FileOrderStrategy(orders(("2024-01-02", "N0", -1, "buy"))), "at least 0"),
        (lambda: FileOrderStrategy(orders(("2024-01-02", "N0", float("nan"), "buy"))), "finite"),
        (lambda: FileOrderStrategy(orders(("yesterday", "N0", 1, "buy"))), "no times"),
        (lambda: FileOrderStrategy(orders(("2024-01-02", "N0", 1, "byu"))), "did you mean"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(make, says):
    with pytest.raises((ConfigError, InputError)) as error:
        make()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_of_orders_is_read_from_a_frame_a_file_and_an_open_file(tmp_path):
    what = orders(("2024-01-02 03:00", "N0", 5, "buy"), ("2024-01-02 04:00", "N0", 2, "-1"))
    what["direction"] = ["Buy", "sell"]
    text = what.to_csv(index=False)
    (tmp_path / "orders.csv").write_text(text)
    provider = market(48, "60min")
    for source in (what, tmp_path / "orders.csv", str(tmp_path / "orders.csv"), io.StringIO(text)):
        _, _, fills, _ = run(
            provider, FileOrderStrategy(source), account=1e6, exchange_kwargs={**FREE, "trade_unit": 1}
        )
        assert [(o.start_time.hour, o.deal_amount_delta) for o, *_ in fills] == [(3, 5.0), (4, -2.0)]


@pytest.mark.parametrize(("compat", "first"), [(None, ["N1", "N0", "N0"]), ("qlib", ["N0", "N0", "N1"])])
def test_a_step_deals_the_orders_of_a_list_as_they_are_listed_and_under_compat_name_by_name(compat, first):
    """Where the money ends, the order decides who is dealt: 10 of what costs about 20, from an account of 1.5 such."""
    what = orders(*(("2024-01-02 03:00", name, 10, "buy") for name in ("N1", "N0", "N0")))
    _, _, fills, _ = run(
        market(48, "60min", compat=compat), FileOrderStrategy(what), account=300.0,
        exchange_kwargs={**FREE, "trade_unit": None},
    )  # fmt: skip
    assert [order.stock_id for order, *_ in fills] == first
    assert [order.deal_amount > 0 for order, *_ in fills] == [True, True, False]
    assert fills[0][0].deal_amount == 10


# ---------------------------------------------------------------------------------------------- policies, as in Qlib
class Fills:
    def interpret(self, execute_result):
        return len(execute_result or [])


class Half:
    def step(self, state):
        return 10.0 if state == 0 else 5.0


class Buy:
    strategy: Any = None

    def interpret(self, action):
        return TradeDecisionWO([Order("N0", action, Order.BUY, None, None)], self.strategy)  # type: ignore[arg-type]


def test_a_policy_between_two_interpreters_trades():
    parts = [{"class": kind.__name__, "module_path": kind.__module__} for kind in (Half, Fills, Buy)]
    strategy = RLIntStrategy(*parts)
    assert isinstance(strategy, RLStrategy)
    strategy.action_interpreter.strategy = strategy
    _, _, fills, _ = run(market(6, "60min"), strategy, account=1e6, exchange_kwargs={**FREE, "trade_unit": None})
    assert [o.deal_amount for o, *_ in fills] == [10.0, 5.0, 5.0, 5.0, 5.0]


def test_a_part_of_a_policy_without_its_method_is_named():
    with pytest.raises(ConfigError, match="state_interpreter: received Half; an object with the method interpret"):
        RLIntStrategy(Half(), Half(), Buy())

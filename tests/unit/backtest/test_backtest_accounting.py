"""The books are right: every bar's change of account is price profit less cost, cash never goes below zero, and nothing
that happens later changes an earlier fill."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, random_market, random_signal, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlib.backtest.executor import SimulatorExecutor
from qlib.contrib.strategy import SoftTopkStrategy, TopkDropoutStrategy
from qlib.contrib.strategy.order_generator import OrderGenWInteract, OrderGenWOInteract
from qlib.contrib.strategy.signal_strategy import WeightStrategyBase

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class ThreeEqual(WeightStrategyBase):
    def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
        return dict.fromkeys(score.dropna().nlargest(3).index, 1 / 3)


@st.composite
def strategies(draw):
    """A maker of strategies, so that each run has a fresh one."""
    kind = draw(st.sampled_from(["topk", "topk", "topk", "with", "without", "soft"]))
    if kind == "topk":
        arguments = {
            "topk": draw(st.integers(1, 6)),
            "n_drop": draw(st.integers(0, 4)),
            "hold_thresh": draw(st.integers(1, 3)),
            "only_tradable": draw(st.booleans()),
            "forbid_all_trade_at_limit": draw(st.booleans()),
            "risk_degree": draw(st.sampled_from([0.5, 0.95, 1.0])),
        }
        return lambda signal: TopkDropoutStrategy(signal=signal, **arguments)
    if kind == "soft":
        return lambda signal: SoftTopkStrategy(signal=signal, topk=3, max_sold_weight=0.2)
    generator = OrderGenWInteract if kind == "with" else OrderGenWOInteract
    return lambda signal: ThreeEqual(signal=signal, order_generator_cls_or_obj=generator)


EXCHANGES = st.fixed_dictionaries(
    {
        "deal_price": st.sampled_from(["close", "open", ("$open", "$close")]),
        "limit_threshold": st.sampled_from([None, 0.03, ("$change>0.04", "$change<-0.02")]),
        "open_cost": st.sampled_from([0.0, 0.0005, 0.01]),
        "close_cost": st.sampled_from([0.0, 0.0015, 0.02]),
        "min_cost": st.sampled_from([0.0, 5.0, 200.0]),
        "impact_cost": st.sampled_from([0.0, 0.1]),
        "trade_unit": st.sampled_from([None, 1, 100, 0.01]),
        "volume_threshold": st.sampled_from(
            [None, ("current", "0.3*$volume"), {"buy": ("cum", "0.2*$volume")}, {"all": ("current", "0.5*$volume")}]
        ),
    }
)


def expect_identity(provider: MemoryProvider, report: pd.DataFrame, positions, fills, account: float) -> None:
    close = pd.DataFrame(provider.values["close"].astype(np.float32).astype(float), columns=provider.names)
    close.index = pd.DatetimeIndex(provider.clock.times)
    amounts, marks = {}, {}
    cash, value_before, cost_before = account, account, 0.0
    by_time = {time: [fill for fill in fills if fill[0].start_time == time] for time in report.index}
    for time, row in report.iterrows():
        profit = 0.0
        today = close.loc[time].dropna().to_dict()
        for order, value, cost, price in by_time[time]:
            if value == 0:
                continue
            signed = order.sign * order.deal_amount
            stock = order.stock_id
            assert value == pytest.approx(order.deal_amount * price)
            mark = today[stock]
            profit += signed * (mark - price)
            amounts[stock] = amounts.get(stock, 0.0) + signed
            if abs(amounts[stock]) < 1e-9 * max(1.0, abs(signed)):
                del amounts[stock]
            marks.setdefault(stock, mark)
            if signed > 0 and stock in marks and amounts.get(stock) == signed:
                marks[stock] = mark
            elif stock in marks:
                profit += signed * (marks[stock] - mark)
            cash -= signed * price + cost
        for stock, amount in amounts.items():
            if stock in today:
                profit += amount * (today[stock] - marks[stock])
                marks[stock] = today[stock]
        cost = row["total_cost"] - cost_before
        scale = 1e-9 * max(account, row["account"])
        assert row["account"] - value_before == pytest.approx(profit - cost, abs=scale)
        assert row["account"] == pytest.approx(row["value"] + row["cash"], abs=scale)
        assert row["cash"] == pytest.approx(cash, abs=scale)
        assert row["cash"] >= 0
        assert row["return"] == pytest.approx((profit) / value_before, abs=1e-9)
        assert row["cost"] == pytest.approx(cost / value_before, abs=1e-12)
        held = positions[time].get_stock_amount_dict()
        assert set(held) == set(amounts)
        for stock, amount in held.items():
            assert amount > 0
            assert amount == pytest.approx(amounts[stock], rel=1e-9)
            assert positions[time].get_stock_price(stock) == marks[stock]
        value_before, cost_before = row["account"], row["total_cost"]


@QUICK
@given(
    st.integers(0, 10_000), strategies(), EXCHANGES, st.sampled_from([0.0, 0.1, 0.4]), st.sampled_from([1e3, 1e5, 1e7]),
    st.sampled_from(["None", "cash"]), st.sampled_from(["serial", "parallel"]),
)  # fmt: skip
def test_account_changes_by_price_profit_less_cost(seed, strategy, exchange, gaps, account, settle, kind):
    provider = random_market(seed, bars=12, names=7, gaps=gaps)
    signal = random_signal(provider, seed + 1, missing=0.2)
    executor = SimulatorExecutor("day", generate_portfolio_metrics=True, settle_type=settle, trade_type=kind)
    report, positions, fills, _ = run(
        provider, strategy(signal), executor=executor, account=account, exchange_kwargs=exchange
    )
    if settle == "None":
        expect_identity(provider, report, positions, fills, account)
    expect_rules(provider, fills, exchange)
    assert (report["cash"] >= 0).all()


def expect_rules(provider: MemoryProvider, fills, exchange) -> None:
    """No fill where the market rules forbid it."""
    values = {name: array.astype(np.float32).astype(float) for name, array in provider.values.items()}
    for order, value, _, price in fills:
        row = provider.clock.position(order.start_time)
        column = provider.names.index(order.stock_id)
        at = {name: array[row, column] for name, array in values.items()}
        limit = exchange["limit_threshold"]
        buying = order.direction == order.BUY
        blocked = np.isnan(at["close"])
        if isinstance(limit, float):  # against the price of the trade: at the open nobody knows the close
            kind = exchange["deal_price"]
            field = kind if isinstance(kind, str) else kind[0 if buying else 1].removeprefix("$")
            moved = np.float32(at["change"])
            if field != "close" and at[field] > 0:
                closes = np.append(values["close"][:row, column], np.nan)
                known = closes[~np.isnan(closes)]
                before = known[-1] if len(known) else np.nan
                moved = np.float32(at[field]) / np.float32(before) - np.float32(1)
            blocked |= moved >= np.float32(limit) if buying else moved <= -np.float32(limit)
        elif limit:
            blocked |= at["change"] > np.float32(0.04) if buying else at["change"] < np.float32(-0.02)
        if blocked:
            assert value == 0
            continue
        kind = exchange["deal_price"]
        field = kind if isinstance(kind, str) else kind[0 if buying else 1].removeprefix("$")
        assert price == at[field]
        assert 0 <= order.deal_amount <= order.amount * (1 + 1e-9)
        cap = exchange["volume_threshold"]
        if cap:
            cap = cap if isinstance(cap, dict) else {"all": cap}
            share = {("current", "0.3*$volume"): 0.3, ("cum", "0.2*$volume"): 0.2, ("current", "0.5*$volume"): 0.5}
            for side, which in cap.items():
                if side == "all" or (side == "buy") == buying:
                    assert order.deal_amount <= share[which] * at["volume"] * (1 + 1e-5)
        if exchange["trade_unit"] and buying:
            lots = order.deal_amount * at["factor"] / exchange["trade_unit"]
            if not cap:
                assert lots == pytest.approx(round(lots), abs=1e-6 * max(1, lots))


@QUICK
@given(st.integers(0, 10_000), strategies(), EXCHANGES, st.integers(2, 8))
def test_what_happens_later_changes_no_earlier_fill(seed, strategy, exchange, known):
    before = random_market(seed, bars=10, names=6, gaps=0.1)
    signal = random_signal(before, seed + 1, missing=0.2)
    rng = np.random.default_rng(seed + 2)
    changed = {name: array.copy() for name, array in before.values.items()}
    for name, array in changed.items():
        later = array[known + 1 :]
        if name == "factor":
            continue  # a constant of the instrument here
        changed[name][known + 1 :] = later[:, rng.permutation(later.shape[1])]
    after = MemoryProvider(before.clock.times, before.names, changed)
    other = signal.copy()
    late = other.index.get_level_values("datetime") >= before.clock.times[known]  # a bar's own scores come too late
    other[late] = rng.normal(size=int(late.sum()))

    def fills_until(provider, scores):
        moment = pd.Timestamp(provider.clock.times[known])
        _, _, fills, _ = run(provider, strategy(scores), account=1e5, exchange_kwargs=exchange)
        return [
            (order.stock_id, order.direction, order.start_time, order.amount, order.deal_amount, value, cost)
            for order, value, cost, _ in fills
            if order.start_time <= moment
        ]

    assert fills_until(before, signal) == fills_until(after, other)


def test_the_same_run_twice_gives_the_same_account():
    provider = random_market(5, bars=25, gaps=0.1)
    signal = random_signal(provider)
    runs = [run(provider, TopkDropoutStrategy(signal=signal, topk=3, n_drop=1))[0] for _ in range(2)]
    pd.testing.assert_frame_equal(*runs, check_exact=True)


def test_a_suspended_holding_keeps_its_last_price():
    close = np.array([[10.0, 5.0], [11.0, 5.0], [np.nan, 6.0], [np.nan, 6.0], [14.0, 6.0]])
    times = pd.date_range("2024-01-01", periods=5).to_numpy()
    provider = MemoryProvider(times, ["A", "B"], {"close": close, "factor": np.ones((5, 2))})
    signal = pd.Series(
        {(time, name): float(name == "A") for time in pd.DatetimeIndex(times) for name in ("A", "B")}
    ).rename_axis(["datetime", "instrument"])
    report, positions, _, _ = run(
        provider, TopkDropoutStrategy(signal=signal, topk=1, n_drop=1), account=1000.0,
        exchange_kwargs={"open_cost": 0, "close_cost": 0, "min_cost": 0},
    )  # fmt: skip
    prices = [positions[time].get_stock_price("A") for time in report.index]
    assert prices == [11.0, 11.0, 11.0, 14.0]
    assert report["return"].tolist()[1:3] == [0.0, 0.0]


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_profit_and_cost_add_up_to_the_account(compat):
    provider = random_market(9, bars=30, gaps=0.1, compat=compat)
    executor = SimulatorExecutor("day", generate_portfolio_metrics=True)
    report, *_ = run(provider, TopkDropoutStrategy(signal=random_signal(provider), topk=3, n_drop=2), executor=executor)
    sums = executor.trade_account.accum_info
    assert report["account"].iloc[-1] == pytest.approx(1e6 + sums.get_return - sums.get_cost, rel=1e-12)
    assert sums.get_turnover == pytest.approx(report["total_turnover"].iloc[-1])

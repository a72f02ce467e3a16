"""TopkDropout by rule: never more than k names, money by the account, few sales; both ways where Qlib differs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, random_market, random_signal, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlib.backtest.decision import Order
from qlib.backtest.exchange import Exchange
from qlib.backtest.executor import NestedExecutor, SimulatorExecutor
from qlib.contrib.strategy import TopkDropoutStrategy, TWAPStrategy
from qlib.errors import ConfigError

QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FREE = {"open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0, "trade_unit": None}
EXCHANGES = st.fixed_dictionaries(
    {
        "deal_price": st.sampled_from(["close", "open", ("$open", "$close")]),
        "limit_threshold": st.sampled_from([None, 0.03, ("$change>0.04", "$change<-0.02")]),
        "open_cost": st.sampled_from([0.0, 0.0005, 0.01]),
        "close_cost": st.sampled_from([0.0, 0.0015, 0.02]),
        "min_cost": st.sampled_from([0.0, 5.0]),
        "trade_unit": st.sampled_from([None, 1, 100, 0.01]),
    }
)
RULES = st.fixed_dictionaries(
    {
        "topk": st.integers(1, 6),
        "n_drop": st.integers(0, 4),
        "hold_thresh": st.integers(0, 3),
        "only_tradable": st.booleans(),
        "forbid_all_trade_at_limit": st.booleans(),
        "risk_degree": st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    }
)


class Checked(TopkDropoutStrategy):
    """Compares its orders with the rules, said as plainly as possible."""

    def generate_trade_decision(self, execute_result=None):
        expected = self.plainly()
        decision = super().generate_trade_decision(execute_result)
        got = [(order.stock_id, int(order.direction), order.amount) for order in decision.get_decision()]
        assert [order[:2] for order in got] == [order[:2] for order in expected]
        np.testing.assert_allclose([order[2] for order in got], [order[2] for order in expected], rtol=1e-9)
        return decision

    def plainly(self) -> list[tuple[str, int, float]]:
        exchange, position, clock = self.trade_exchange, self.trade_position, self.trade_calendar
        time = clock.get_step_time()
        table = self.signal.get_signal(*clock.get_step_time(shift=1))
        if table is None:
            return []
        scores = {name: score for name, score in table.items() if not math.isnan(score)}
        held = position.get_stock_list()

        def may(name, side):
            return exchange.is_stock_tradable(name, *time, None if self.forbid_all_trade_at_limit else side)

        def choice(name):
            return not self.only_tradable or exchange.is_stock_tradable(name, *time)

        best = sorted(scores, key=lambda name: (-scores[name], name))
        room = max(self.topk + self.n_drop - len(held), 0)
        new = [name for name in best if name not in held and choice(name)][:room]
        together = sorted([name for name in [*held, *new] if name in scores], key=lambda name: -scores[name])
        together += sorted(name for name in held if name not in scores)
        worst = [name for name in reversed(together) if choice(name)][: self.n_drop]
        sold = [
            name for name in held
            if name in worst and may(name, Order.SELL) and position.get_stock_count(name, "day") >= self.hold_thresh
        ]  # fmt: skip
        cash, kept = position.get_cash(), 0.0
        orders = []
        for name in held:
            amount = position.get_stock_amount(name)
            suspended = exchange.check_stock_suspended(name, *time)
            price = position.get_stock_price(name) if suspended else exchange.get_deal_price(name, *time, Order.SELL)
            if name in sold:
                orders.append((name, 0, amount))
                value = amount * price
                cost = max(value * exchange.close_cost, exchange.min_cost) if value > 1e-5 else 0.0
                if cash + value >= max(value * exchange.close_cost, exchange.min_cost):
                    cash += value - cost
                    continue
            kept += amount * price
        slots = self.topk - sum(name not in sold for name in held)
        if slots <= 0:
            return orders
        money = min(
            (cash + kept) * self.get_risk_degree(clock.get_trade_step()) - kept, cash / (1 + exchange.open_cost)
        )
        for name in new[:slots]:
            if may(name, Order.BUY):
                amount = max(money, 0.0) / slots / exchange.get_deal_price(name, *time, Order.BUY)
                amount = exchange.round_amount_by_trade_unit(amount, exchange.get_factor(name, *time))
                if amount > 0:
                    orders.append((name, 1, amount))
        return orders


@QUICK
@given(st.integers(0, 10_000), RULES, EXCHANGES, st.sampled_from([0.0, 0.1, 0.4]), st.sampled_from([1e3, 1e5, 1e7]))
def test_orders_are_those_of_the_rules_said_plainly(seed, rules, exchange, gaps, account):
    provider = random_market(seed, bars=12, names=8, gaps=gaps)
    signal = random_signal(provider, seed + 1, missing=0.2).round(1)  # rounded: equal scores, too
    signal.iloc[::17] = np.nan
    run(provider, Checked(signal=signal, **rules), account=account, exchange_kwargs=exchange)


@QUICK
@given(
    st.integers(0, 10_000), RULES, EXCHANGES, st.sampled_from([0.0, 0.1, 0.4]),
    st.sampled_from([None, ("current", "0.2*$volume")]), st.sampled_from(["bottom", "random"]),
    st.sampled_from(["top", "random"]),
)  # fmt: skip
def test_never_more_than_k_names_nor_more_money_nor_more_sales(seed, rules, exchange, gaps, volume, sell, buy):
    provider = random_market(seed, bars=14, names=9, gaps=gaps)
    signal = random_signal(provider, seed + 1, missing=0.2)
    rules = {**rules, "method_sell": sell, "method_buy": buy}
    exchange = {**exchange, "deal_price": "close", "volume_threshold": volume}

    def go():
        return run(provider, TopkDropoutStrategy(signal=signal, **rules), account=1e5, exchange_kwargs=exchange)

    report, positions, fills, _ = go()
    before: set[str] = set()
    for time, row in report.iterrows():
        today = [fill for fill in fills if fill[0].start_time == time]
        sells = [order for order, *_ in today if order.direction == Order.SELL]
        buys = [order for order, *_ in today if order.direction == Order.BUY]
        names = set(positions[time].get_stock_list())
        assert len(names) <= rules["topk"]
        assert len(sells) <= rules["n_drop"]
        assert {order.stock_id for order in sells} <= before
        assert not {order.stock_id for order in buys} & before
        assert len(buys) <= rules["topk"] - len(before - {order.stock_id for order in sells if order.deal_amount > 0})
        if any(order.deal_amount > 0 for order in buys):  # at the close everything is worth what was paid
            cost = sum(fill[2] for fill in today)
            assert row["value"] <= rules["risk_degree"] * (row["account"] + cost) * (1 + 1e-9)
        assert row["cash"] >= 0
        before = names
    again = go()
    pd.testing.assert_frame_equal(again[0], report, check_exact=True)
    assert [repr(order) for order, *_ in again[2]] == [repr(order) for order, *_ in fills]


class Asked(Exchange):
    """An exchange whose questions are asked one by one, as a user's own may want."""

    def is_stock_tradable(self, *args, **kwargs):
        return super().is_stock_tradable(*args, **kwargs)


@QUICK
@given(st.integers(0, 10_000), RULES, EXCHANGES, st.sampled_from([0.0, 0.3]), st.sampled_from([None, "qlib"]))
def test_an_exchange_with_rules_of_its_own_is_asked_and_answers_alike(seed, rules, exchange, gaps, compat):
    provider = random_market(seed, bars=10, names=7, gaps=gaps, compat=compat)
    signal = random_signal(provider, seed + 1, missing=0.2)
    times = provider.clock.times
    asked = Asked(freq="day", start_time=times[1], end_time=times[-1], provider=provider, **exchange)
    assert Exchange.vector and not asked.vector
    one, other = (
        run(provider, TopkDropoutStrategy(signal=signal, **rules), account=1e5, exchange_kwargs=kwargs)[0]
        for kwargs in (exchange, {"exchange": asked})
    )
    pd.testing.assert_frame_equal(one, other, check_exact=True)


# ------------------------------------------------------------------------------------------- by hand, and as in Qlib
def market(bars: int = 6, compat: str | None = None, **fields) -> MemoryProvider:
    times = pd.date_range("2024-01-01", periods=bars).to_numpy()
    known = {"close": np.full((bars, 5), 10.0), "factor": np.ones((bars, 5)), "change": np.zeros((bars, 5)), **fields}
    return MemoryProvider(times, list("ABCDE"), known, compat=compat)


def ranked(rows: list[str], provider: MemoryProvider) -> pd.Series:
    times = pd.DatetimeIndex(provider.clock.times)
    table = {(times[i], name): -float(place) for i, row in enumerate(rows) for place, name in enumerate(row)}
    return pd.Series(table).rename_axis(["datetime", "instrument"])


def held(positions, report) -> list[str]:
    return ["".join(sorted(positions[time].get_stock_list())) for time in report.index]


ROWS = ["ABCDE"] + ["EDCBA"] * 4


@pytest.mark.parametrize(("compat", "expected"), [(None, ["AB", "AE", "DE"]), ("qlib", ["AB", "ADE", "DE"])])
def test_a_sale_that_is_blocked_makes_a_buy_less(compat, expected):
    """On the second day A and B are to be replaced, and A is limited: Qlib buys two names all the same."""
    change = np.zeros((6, 5))
    change[2, 0] = -0.2
    provider = market(compat=compat, change=change)
    strategy = TopkDropoutStrategy(signal=ranked(ROWS, provider), topk=2, n_drop=2, risk_degree=0.5)
    report, positions, _, _ = run(provider, strategy, exchange_kwargs={**FREE, "limit_threshold": 0.1}, account=1000.0)
    assert held(positions, report)[:3] == expected


@pytest.mark.parametrize(("compat", "values"), [(None, [475.0, 475.0, 475.0]), ("qlib", [475.0, 475.0, 525 * 0.95])])
def test_a_replacement_gets_what_the_account_allows(compat, values):
    """B, sold for 475, is replaced: 95 % of the account of 1000 allows 475, Qlib invests 95 % of the cash of 525."""
    provider = market(compat=compat)
    strategy = TopkDropoutStrategy(signal=ranked(["ABCDE", "AEDCB"] * 2, provider), topk=2, n_drop=1)
    _, _, fills, _ = run(provider, strategy, exchange_kwargs=FREE, account=1000.0)
    bought = [value for order, value, *_ in fills if order.direction == Order.BUY]
    assert bought[:3] == pytest.approx(values)


def test_the_part_of_a_skipped_buy_waits_for_its_slot():
    change = np.zeros((6, 5))
    change[1, 0] = 0.2  # A cannot be bought on the first day
    for compat, first, second in ((None, 475.0, 475.0), ("qlib", 475.0, 525.0 * 0.95)):
        provider = market(compat=compat, change=change)
        strategy = TopkDropoutStrategy(signal=ranked(["ABCDE"] * 5, provider), topk=2, n_drop=1)
        _, _, fills, _ = run(provider, strategy, exchange_kwargs={**FREE, "limit_threshold": 0.1}, account=1000.0)
        assert [(order.stock_id, pytest.approx(value)) for order, value, *_ in fills[:2]] == [
            ("B", first), ("A", second),
        ]  # fmt: skip


@pytest.mark.parametrize(("compat", "value"), [(None, 475.0), ("qlib", 950.0)])
def test_a_lone_candidate_gets_one_slots_money(compat, value):
    provider = market(compat=compat)
    strategy = TopkDropoutStrategy(signal=ranked(["A", "A"], provider), topk=2, n_drop=1)
    _, _, fills, _ = run(provider, strategy, exchange_kwargs=FREE, account=1000.0)
    assert fills[0][1] == pytest.approx(value)


def test_the_risk_degree_of_each_step_is_that_of_the_whole_account():
    class Bolder(TopkDropoutStrategy):
        def get_risk_degree(self, trade_step=None):
            return 0.4 + 0.2 * trade_step

    provider = market()
    strategy = Bolder(signal=ranked(["AB", "CD", "EA", "BC", "DE"], provider), topk=2, n_drop=2)
    report, *_ = run(provider, strategy, exchange_kwargs=FREE, account=1000.0)
    assert report["value"].tolist()[:3] == pytest.approx([400.0, 600.0, 800.0])


@pytest.mark.parametrize("degree", [-0.1, float("nan")])
def test_a_risk_degree_that_is_no_share_is_refused(degree):
    class Wrong(TopkDropoutStrategy):
        def get_risk_degree(self, trade_step=None):
            return degree

    provider = market()
    with pytest.raises(ConfigError, match=r"get_risk_degree\(0\) returned .*; a share of at least 0 is allowed"):
        run(provider, Wrong(signal=ranked(ROWS, provider), topk=2, n_drop=1))


def test_cash_that_qlibs_lots_overspent_buys_nothing():
    provider = random_market(0, bars=10, names=7, compat="qlib")
    strategy = TopkDropoutStrategy(
        signal=random_signal(provider, 1, missing=0.2), topk=1, n_drop=1, hold_thresh=3, risk_degree=1.0
    )
    exchange = {**FREE, "trade_unit": 0.01}
    report, *_ = run(provider, strategy, account=1e5, exchange_kwargs=exchange)
    assert report["cash"].min() < 0  # a tenth of a share too many, as in Qlib
    assert len(report) == 9


@pytest.mark.parametrize(("compat", "orders"), [(None, 0), ("qlib", 2)])
def test_orders_of_nothing_are_made_under_compat_only(compat, orders):
    provider = market(2, compat=compat)
    strategy = TopkDropoutStrategy(signal=ranked(["ABCDE"], provider), topk=2, n_drop=1)
    _, _, fills, _ = run(provider, strategy, exchange_kwargs={**FREE, "trade_unit": 100}, account=1000.0)
    assert len(fills) == orders


def test_more_names_than_k_at_the_start_become_k_and_nothing_is_bought_meanwhile():
    provider = market()
    account = {"cash": 100.0, **{name: {"amount": 10.0, "price": 10.0} for name in "ABCDE"}}
    strategy = TopkDropoutStrategy(signal=ranked(["ABCDE"] * 5, provider), topk=2, n_drop=1)
    report, positions, fills, _ = run(provider, strategy, exchange_kwargs=FREE, account=account)
    assert held(positions, report) == ["ABCDE", "ABCD", "ABC", "AB", "AB"]  # on the first day all are held for 0 bars
    assert all(order.direction == Order.SELL for order, *_ in fills)


@pytest.mark.parametrize(("compat", "same"), [(None, True), ("qlib", False)])
def test_the_evening_of_a_step_changes_nothing_that_was_done_in_the_morning(compat, same):
    """A day in four bars: the last one's prices, limits and suspensions come too late for the first one's orders."""

    def fills(evening: float) -> list[tuple[str, float]]:
        rng = np.random.default_rng(1)
        close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, (5 * 4, 6)), axis=0))
        close[11] *= evening
        if evening != 1:
            close[11, 0] = np.nan
        times = pd.date_range("2024-01-01", periods=20, freq="6h").to_numpy()
        fields = {"close": close, "factor": np.ones_like(close), "change": np.zeros_like(close)}
        provider = MemoryProvider(times, list("ABCDEF"), fields, freq="6h", region="crypto", compat=compat)
        index = pd.MultiIndex.from_product([pd.DatetimeIndex(times[::4]), provider.names])
        signal = pd.Series(rng.normal(size=len(index)), index=index.set_names(["datetime", "instrument"]))
        executor = NestedExecutor("day", SimulatorExecutor("6h"), TWAPStrategy(), generate_portfolio_metrics=True)
        strategy = TopkDropoutStrategy(signal=signal, topk=3, n_drop=1)
        done = run(
            provider, strategy, executor=executor, exchange_kwargs={**FREE, "freq": "6h"},
            start_time=pd.Timestamp("2024-01-02"), end_time=pd.Timestamp("2024-01-04 23:00"),
        )  # fmt: skip
        trades = executor.trade_account.trades.frame()
        assert len(done[0])
        return trades[trades["time"] < times[11]][["instrument", "amount"]].to_numpy().tolist()

    before, after = fills(1.0), fills(3.0)
    assert before and (before == after) is same


def elsewhere(signal: pd.Series, days: int = 0, names: str = "") -> pd.Series:
    table = signal.reset_index(name="score")
    table["datetime"] += pd.Timedelta(days=days)
    table["instrument"] += names
    return table.set_index(["datetime", "instrument"])["score"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"days": 400}, "its scores are from 2025-02-04 .* but the steps of the backtest use those of 2024-01-01"),
        ({"names": ".X"}, "none of its 5 instruments has quotes, the first is A.X"),
    ],
)
def test_scores_of_which_nothing_can_come_stop_the_run_before_it_begins(change, message, tmp_path):
    provider = market()
    scores = elsewhere(ranked(ROWS, provider), **change)
    with pytest.raises(ConfigError, match=message):
        run(provider, TopkDropoutStrategy(signal=scores, topk=2, n_drop=1))
    provider = market(compat="qlib")
    report, _, fills, _ = run(provider, TopkDropoutStrategy(signal=scores, topk=2, n_drop=1))
    assert not fills and len(report) == 5

"""Perpetuals to the cent: scenarios computed by hand, and the books as an identity over random markets."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from backtest_market import Given, MemoryProvider, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlib.backtest.executor import SimulatorExecutor
from qlib.crypto.attribution import attribution
from qlib.crypto.funding import Funding
from qlib.crypto.market import Perpetuals, Spot, crypto, okx_futures, okx_spot, okx_swap
from qlib.errors import ConfigError, InputError, MissingDataError
from qlib.utils.objects import argument_problems

CASES = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
START = pd.Timestamp("2024-01-01")


def market(freq="60min", region="crypto", **fields):
    """One column per instrument: market(A=[...]) has closes, which are the marks too."""
    names = sorted(fields)
    close = np.array([fields[name] for name in names], dtype=float).T
    times = pd.date_range(START, periods=len(close), freq={"60min": "h", "day": "D"}[freq]).to_numpy()
    ones = np.ones_like(close)
    columns = {"close": close, "mark": close, "factor": ones, "volume": 1e6 * ones}
    return MemoryProvider(times, names, columns, freq=freq, region=region)


def trade(provider, orders, *, account=10_000.0, kind=Perpetuals, **kwargs):
    exchange = kind(
        freq=provider.freq, start_time=provider.clock.times[0], end_time=provider.clock.times[-1],
        codes=provider.names, provider=provider, **{"deal_price": "close", "fees": 0.0, **kwargs},
    )  # fmt: skip
    executor = SimulatorExecutor(provider.freq, generate_portfolio_metrics=True)
    report, positions, _, _ = run(
        provider, Given(orders), executor=executor, account=account, exchange_kwargs={"exchange": exchange}
    )
    return report["account"].to_numpy(), positions, executor.trade_account


def payments(*rows):
    return pd.DataFrame(rows, columns=["instrument", "time", "rate", "mark"][: len(rows[0])])


def every_8_hours(names, rates, mark=math.nan):
    rows = [(name, START + pd.Timedelta(hours=8 * k), rate, mark) for name in names for k, rate in enumerate(rates)]
    return payments(*rows)


def test_one_long_and_one_short_through_three_payments():
    """LONG 2 coins at 100, SHORT 5 at 40; marks never move; rates at 08:00, 16:00 and 24:00.

    long pays   2 * 100 * (0.0001 + 0.0002 - 0.0003) = 0
    short gets  5 * 40 * (0.0004 + 0.0001 + 0.0003) = 0.16
    """
    provider = market(A=[100.0] * 27, B=[40.0] * 27)
    funding = pd.concat(
        [every_8_hours(["A"], [0, 0.0001, 0.0002, -0.0003]), every_8_hours(["B"], [0, 0.0004, 0.0001, 0.0003])]
    )
    values, _, account = trade(provider, {0: [("A", 2), ("B", -5)]}, funding=funding, leverage=3)
    np.testing.assert_allclose(values[-1], 10_000 + 0.16, rtol=0, atol=1e-9)
    paid = account.get_attribution()["funding"]
    at = paid[paid != 0]
    assert list(at.index) == [START + pd.Timedelta(hours=h) for h in (7, 15, 23)]  # the bars that end at 8, 16 and 24
    np.testing.assert_allclose(at, [0.02 - 0.08, 0.04 - 0.02, -0.06 - 0.06], atol=1e-12)


def test_a_payment_in_the_middle_of_a_bar_is_due_from_who_held_then():
    """Daily bars, bought at the close of 2 January, sold at the close of 4 January: payments at 00:00, 08:00, 16:00.

    The payment at 00:00 of 3 January is the first (held at the close before it), that at 16:00 of 4 January the last:
    at the midnight that ends the day nothing is held any more. 6 payments of 100 * 0.001 on one coin.
    """
    provider = market("day", A=[100.0] * 8)
    funding = every_8_hours(["A"], [0.001] * 30, 100.0)
    values, _, _ = trade(provider, {0: [("A", 1)], 2: [("A", -1)]}, funding=funding)
    np.testing.assert_allclose(values, 10_000 - np.array([0.1, 0.4, 0.6, 0.6, 0.6, 0.6, 0.6]), atol=1e-9)


def test_a_payment_is_made_on_the_mark_price_of_its_moment():
    provider = market("day", A=[100.0] * 4)
    funding = payments(*[("A", START + pd.Timedelta(hours=8 * k), 0.001, 100.0 + k) for k in range(15)])
    _, _, account = trade(provider, {0: [("A", 1)]}, funding=funding)
    found = account.get_attribution()["funding"].to_numpy()
    np.testing.assert_allclose(found, [0.106, 0.107 + 0.108 + 0.109, 0.110 + 0.111 + 0.112], atol=1e-12)


@CASES
@given(
    rate=st.floats(-0.001, 0.001), fee=st.sampled_from([0.0, 0.0005]), size=st.floats(0.1, 40),
    prices=st.lists(st.floats(50, 150), min_size=24, max_size=24),
)  # fmt: skip
def test_a_delta_neutral_pair_earns_its_payments_less_its_fees(rate, fee, size, prices):
    """P22: n payments of f on the notional at their mark, whatever the price does between them."""
    closes = np.array([100.0, 100.0, *prices, 100.0])
    closes[[8, 16, 24]] = 100.0  # hours 8, 16 and 24 are paid at the mark at the end of bars 7, 15 and 23
    closes[[7, 15, 23]] = 100.0
    provider = market(PERP=closes, SPOT=closes)
    values, _, _ = trade(
        provider, {0: [("SPOT", size), ("PERP", -size)], 25: [("SPOT", -size), ("PERP", size)]}, leverage=2,
        margin="cross", mmr=0.0, fees=fee, funding=every_8_hours(["PERP"], [rate] * 5),
        contracts={"SPOT": {"kind": "spot"}, "PERP": {"kind": "swap"}},
    )  # fmt: skip
    notional = size * 100
    np.testing.assert_allclose(values[-1] - 10_000, 3 * rate * notional - 4 * fee * notional, atol=1e-7)


def test_a_partial_close_and_a_flip_through_zero():
    """Buy 4 at 100, sell 1 at 110 (+10), sell 5 at 120 (+60, short 2 from 120), buy 2 at 90 (+60): 10,130."""
    provider = market(A=[100, 100, 110, 120, 90, 90])
    orders = {0: [("A", 4)], 1: [("A", -1)], 2: [("A", -5)], 3: [("A", 2)]}
    values, positions, account = trade(provider, orders, leverage=5)
    np.testing.assert_allclose(values, [10_000, 10_040, 10_070, 10_130, 10_130], atol=1e-9)
    held = positions[START + pd.Timedelta(hours=2)].position["A"]
    assert (held["amount"], held["entry"], held["margin"]) == (3.0, 100.0, 60.0)
    held = positions[START + pd.Timedelta(hours=3)].position["A"]
    assert (held["amount"], held["entry"], held["margin"]) == (-2.0, 120.0, 48.0)
    assert account.current_position.get_stock_list() == []


def test_an_entry_is_the_mean_of_what_was_paid():
    """3 coins at 100 and 1 at 120: entry 105, margin (300 + 120) / 2."""
    provider = market(A=[100, 100, 120, 120])
    _, positions, _ = trade(provider, {0: [("A", 3)], 1: [("A", 1)]}, leverage=2)
    held = positions[START + pd.Timedelta(hours=2)].position["A"]
    assert (held["amount"], held["entry"], held["margin"]) == (4.0, 105.0, 210.0)


def test_who_trades_more_in_thirty_days_pays_less_from_the_next_day_on():
    """20 coins of 100 are 2,000 on day one: from day two on the tier of 1,500 holds; 30 days later it does not."""
    provider = market("day", A=[100.0] * 40)
    orders = {0: [("A", 20)], 1: [("A", 1)], 30: [("A", 1)], 31: [("A", 1)]}
    _, _, account = trade(provider, orders, fees=[(0, 0.0002, 0.0005), (1500, 0.0001, 0.0003)], leverage=2)
    fees = account.trades.frame()["fee"].to_numpy()
    np.testing.assert_allclose(fees, [2000 * 0.0005, 100 * 0.0003, 100 * 0.0003, 100 * 0.0005], rtol=1e-12)


@pytest.mark.parametrize(("side", "leverage", "mmr"), [(1, 10, 0.005), (-1, 10, 0.005), (1, 3, 0.01), (-1, 20, 0.004)])
def test_an_isolated_position_is_closed_at_its_liquidation_price_on_the_exact_bar(side, leverage, mmr):
    """Long P0 (1 - 1/L) / (1 - mmr), short P0 (1 + 1/L) / (1 + mmr); what is left of the margin after the fee stays."""
    price = 100 * (1 - side / leverage) / (1 - side * mmr)
    closes = np.array([100.0, 100.0, price + side * 0.01, price + side * 0.02, price + side, price])
    provider = market(A=closes)
    path = {"first": closes, "low": closes.copy(), "high": closes.copy()}
    (path["low"] if side > 0 else path["high"])[4] = price - side * 0.001  # touched within bar 4
    provider.values |= {f"mark_{name}": np.asarray(one)[:, None] for name, one in path.items()}
    values, positions, account = trade(
        provider, {0: [("A", side * 10)]}, leverage=leverage, mmr=mmr, liquidation_fee=0.001, trades_at="close",
        mark_path=("$mark_first", "$mark_low", "$mark_high"),
    )  # fmt: skip
    fills = account.trades.frame()
    assert list(fills["reason"]) == ["order", "liquidation"]
    assert fills["time"].iloc[1] == START + pd.Timedelta(hours=4)
    np.testing.assert_allclose(fills["price"].iloc[1], price, rtol=1e-12)
    lost = side * 10 * (price - 100)
    np.testing.assert_allclose(values[-1], 10_000 + lost - 0.001 * 10 * price, atol=1e-9)
    assert account.accum_info.carry["insurance"] == 0.0


def test_a_gap_beyond_bankruptcy_costs_the_margin_and_no_more():
    """10 coins at 100 with leverage 10: margin 100. The mark falls to 80: -200, fee 0.8; the fund pays 100.8."""
    provider = market(A=[100, 100, 80, 80])
    values, _, account = trade(provider, {0: [("A", 10)]}, leverage=10, liquidation_fee=0.001)
    np.testing.assert_allclose(values, [10_000, 9_900, 9_900], atol=1e-9)
    np.testing.assert_allclose(account.accum_info.carry["insurance"], -100.8, atol=1e-9)
    assert account.trades.frame()["price"].iloc[1] == 80.0


def test_under_cross_margin_both_positions_are_closed_together():
    """1,000 of money; long 20 A at 100, short 10 B at 100: exposure 3,000 at leverage 5.

    A falls to 60, B rises to 118: the account is worth 1,000 - 800 - 180 = 20, below 0.01 * (1,200 + 1,180) = 23.8.
    """
    provider = market(A=[100, 100, 70, 60, 60], B=[100, 100, 100, 118, 118])
    orders = {0: [("A", 20), ("B", -10)]}
    values, _, account = trade(
        provider, orders, account=1_000.0, leverage=5, margin="cross", mmr=0.01, liquidation_fee=0.001
    )
    np.testing.assert_allclose(values, [1_000, 400, 20 - 2.38, 20 - 2.38], atol=1e-9)
    assert list(account.trades.frame()["reason"]) == ["order", "order", "liquidation", "liquidation"]
    single, _, _ = trade(provider, orders, account=1_050.0, leverage=5, margin="cross", mmr=0.01)
    np.testing.assert_allclose(single[-1], 70, atol=1e-9)  # with 50 more nobody is closed


def test_an_order_to_close_what_was_closed_by_force_opens_nothing():
    provider = market(A=[100, 100, 80, 80])
    _, _, account = trade(provider, {0: [("A", 10)], 1: [("A", -10)]}, leverage=10)
    assert account.current_position.get_stock_list() == []
    assert list(account.trades.frame(fills_only=False)["reason"]) == ["order", "liquidation", "liquidated"]


def test_margin_bounds_what_is_opened():
    """1,000 of money at leverage 4 and a fee of 0.001 open 1,000 / (1/4 + 0.001), and not a coin more."""
    provider = market(A=[100.0] * 4)
    for margin in ("isolated", "cross"):
        _, positions, _ = trade(provider, {0: [("A", 1e6)]}, account=1_000.0, leverage=4, margin=margin, fees=0.001)
        held = positions[START + pd.Timedelta(hours=1)].position["A"]
        np.testing.assert_allclose(held["amount"] * 100, 1_000 / (1 / 4 + 0.001), rtol=1e-12)


def test_a_flip_uses_the_margin_that_it_frees():
    """Long 40 at 100 with 1,000 and leverage 4: all is bound. Selling 80 closes 40 and opens 40 short."""
    provider = market(A=[100.0] * 4)
    for margin in ("isolated", "cross"):
        _, _, account = trade(provider, {0: [("A", 40)], 1: [("A", -80)]}, account=1_000.0, leverage=4, margin=margin)
        np.testing.assert_allclose(account.current_position.get_stock_amount("A"), -40)


def test_lots_and_least_orders_hold_as_of_the_date():
    """A lot of 1 contract of 0.1 coins until noon, of 5 contracts from noon on."""
    history = pd.DataFrame(
        {
            "symbol": ["A", "A"], "seen": ["2024-01-01", "2024-01-02"], "kind": "swap", "settle": "USDT",
            "inverse": False, "lot": [1.0, 5.0], "minimum": [2.0, 5.0], "contract_value": 0.1, "multiplier": 1.0,
        }
    )  # fmt: skip
    provider = market("day", A=[100.0] * 4)
    provider.clock = type(provider.clock)("day", pd.date_range("2023-12-31", periods=4).to_numpy())
    orders = {0: [("A", 0.19), ("A", 0.57)], 1: [("A", 0.57)]}
    _, _, account = trade(provider, orders, contracts=history, leverage=2)
    log = account.trades.frame(fills_only=False)
    assert list(log["amount"]) == [0.0, 0.5, 0.5] and log["reason"].iloc[0] == "lot"
    assert list(log["ordered"]) == [0.19, 0.57, 0.57]


@pytest.mark.parametrize(
    ("funding", "said"),
    [
        (every_8_hours(["B"], [0.001] * 9), "A is held .* none is known; the"),
        (payments(("A", START, 0.001), ("A", START + pd.Timedelta(hours=24), 0.001)), "a gap in its payments"),
        (every_8_hours(["A"], [0.001, math.nan, 0.001, 0.001, 0.001]), "a rate is not known"),
        (every_8_hours(["A"], [0.001, 0.001]), "a gap in its payments"),
    ],
)
def test_funding_that_is_not_known_ends_the_run_and_is_never_zero(funding, said):
    provider = market(A=[100.0] * 30)
    with pytest.raises(MissingDataError, match=said.split(";")[0]):
        trade(provider, {0: [("A", 1)]}, funding=funding)


def test_a_policy_for_missing_funding_is_said_by_the_user():
    provider = market(A=[100.0] * 25)
    nothing = every_8_hours(["B"], [0.001] * 9)
    values, _, _ = trade(provider, {0: [("A", 1)]}, funding={"payments": nothing, "missing": "skip"})
    assert values[-1] == 10_000
    values, _, _ = trade(provider, {0: [("A", 1)]}, funding={"payments": nothing, "missing": 0.0008})
    np.testing.assert_allclose(values[-1], 10_000 - 100 * 0.0001 * (23 + 1 / 3600), atol=1e-9)  # from 01:59:59 on


@CASES
@given(
    hours=st.sets(st.integers(-30, 90), max_size=40),
    lost=st.sets(st.integers(-30, 90), max_size=2),
    bars=st.sampled_from([1, 3, 24]),
)
def test_the_payments_by_bar_are_those_of_each_instrument(hours, lost, bars):
    """Wherever payments stand, and whatever is missing: both ways to ask know the same."""
    rows = [
        (name, START + pd.Timedelta(hours=h), math.nan if h in lost else 0.001 + h / 1e6)
        for name in "AB"
        for h in hours
    ]
    funding = Funding(payments(*rows) if rows else payments(("C", START, 0.1)))
    times = pd.date_range(START, periods=3 * 24 // bars, freq=f"{bars}h")
    ends = [*times[1:], times[-1] + (times[1] - times[0])]
    schedule = funding.schedule(times.to_numpy(), ["A", "D", "B"])
    assert not schedule.known[:, 1].any()
    for row, (start, end) in enumerate(zip(times, ends, strict=True)):
        entries = slice(schedule.starts[row], schedule.starts[row + 1])
        found = schedule.rate[entries][schedule.column[entries] == 2]
        try:
            asked = funding.between("B", start, end)
        except MissingDataError:
            assert not schedule.known[row, 2]
            continue
        assert schedule.known[row, 2]
        assert found.tolist() == [payment.rate for payment in asked]
        last = schedule.at_end[entries][schedule.column[entries] == 2].tolist()
        assert last == [payment.time == end for payment in asked]


def test_a_wrong_order_is_named():
    provider = market(A=[100.0] * 4)
    inverse = {"A": {"inverse": True, "settle": "BTC"}}
    with pytest.raises(InputError, match="order to buy 1 A at 2024-01-01 01:00:00: A is an inverse"):
        trade(provider, {0: [("A", 1)]}, contracts=inverse)
    with pytest.raises(InputError, match="order to sell 1 A .*: 0 are held, and spot cannot be sold short without"):
        trade(provider, {0: [("A", -1)]}, contracts={"A": {"kind": "spot"}})
    with pytest.raises(
        InputError, match="order to buy 200 A .*leverage 50 is above the 20 that a position of 200 contr"
    ):
        trade(provider, {0: [("A", 200)]}, leverage=50, mmr={"default": [(100, 0.004, 100), (1000, 0.01, 20)]})
    with pytest.raises(InputError, match="order to buy 1 A .*A is traded from 2024-06-01"):
        trade(provider, {0: [("A", 1)]}, contracts={"A": {"listed": "2024-06-01"}})
    with pytest.raises(InputError, match="order to buy 1 A .*A is traded from 2024-06-01"):
        trade(provider, {0: [("A", 1)]}, kind=Spot, contracts={"A": {"kind": "spot", "listed": "2024-06-01"}})
    with pytest.raises(MissingDataError, match="A: no terms of this instrument are known"):
        trade(provider, {0: [("A", 1)]}, contracts={"B": {"lot": 1}})
    with pytest.raises(ConfigError, match="margin: received 'isolate'.*did you mean isolated"):
        trade(provider, {}, margin="isolate")
    with pytest.raises(ConfigError, match="takes no argument levrage; did you mean leverage"):
        trade(provider, {}, levrage=3)
    with pytest.raises(ConfigError, match="open_cost is said by fees"):
        trade(provider, {}, open_cost=0.001)
    with pytest.raises(ConfigError, match="trades_at: received 'vwap'"):
        trade(provider, {}, deal_price="vwap")


def test_borrowed_coins_cost_by_the_day_and_perpetuals_are_not_borrowed():
    """10 SPOT short at 100 for 24 hours at 0.0024 a day: 24 * 10 * 100 * 0.0001; the swap costs nothing."""
    provider = market(PERP=[100.0] * 26, SPOT=[100.0] * 26)
    terms = {"SPOT": {"kind": "spot"}, "PERP": {"kind": "swap"}}
    orders = {0: [("SPOT", -10), ("PERP", -10)], 24: [("SPOT", 10)]}
    made = []

    def kind(**kwargs):
        made.append(Perpetuals(**kwargs))
        return made[-1]

    values, _, account = trade(provider, orders, kind=kind, contracts=terms, borrow=0.0024, leverage=2, margin="cross")
    np.testing.assert_allclose(values[-1], 10_000 - 24 * 10 * 100 * 0.0001, atol=1e-9)
    borrow = attribution(account, made[0], by=("instrument",))["borrow"]
    np.testing.assert_allclose(borrow["SPOT"], -2.4, atol=1e-9)
    assert borrow["PERP"] == 0


def test_spot_buys_with_cash_and_sells_what_is_there():
    provider = market(A=[100, 100, 110, 110])
    values, _, account = trade(
        provider, {0: [("A", 20)], 1: [("A", -50)]}, account=1_000.0, kind=Spot, fees=0.001,
        contracts={"A": {"kind": "spot", "lot": 0.01, "minimum": 0.05}},
    )  # fmt: skip
    bought = math.floor(1_000 / 100.1 / 0.01) * 0.01
    np.testing.assert_allclose(values[-1], 1_000 - bought * 100.1 + bought * 110 * 0.999, rtol=1e-12)
    assert account.current_position.get_stock_list() == []


def test_dealt_at_the_open_a_position_is_there_for_the_whole_bar():
    """Bought at the open of bar 1 (100), whose mark ends at 80: closed by force in the same bar."""
    provider = market(A=[100, 80, 80])
    provider.values["open"] = np.array([[100.0], [100.0], [80.0]])
    values, _, account = trade(provider, {0: [("A", 10)]}, deal_price="open", leverage=10)
    assert list(account.trades.frame()["reason"]) == ["order", "liquidation"]
    np.testing.assert_allclose(values[0], 9_900, atol=1e-9)


# ------------------------------------------------------------------------------------------------------- the books
@CASES
@given(
    seed=st.integers(0, 10_000),
    margin=st.sampled_from(["isolated", "cross"]),
    deal=st.sampled_from(["open", "close"]),
    leverage=st.sampled_from([1, 3, 20]),
)
def test_the_change_of_the_account_is_the_sum_of_its_parts(seed, margin, deal, leverage):
    """Random orders, payments at random times, prices that jump through liquidation prices."""
    rng = np.random.default_rng(seed)
    bars, names = 40, ["A", "B", "C"]
    jumps = rng.normal(0, 0.02, (bars, 3)) + rng.choice([0, 0.2, -0.2], (bars, 3), p=[0.9, 0.05, 0.05])
    close = 100 * np.exp(np.cumsum(jumps, axis=0))
    provider = market(**{name: close[:, i] for i, name in enumerate(names)})
    provider.values["open"] = close * np.exp(rng.normal(0, 0.01, close.shape))
    provider.values["mark"] = close * np.exp(rng.normal(0, 0.002, close.shape))
    rows = [
        (name, START + pd.Timedelta(hours=float(h)), rng.normal(0, 0.001), 100 * rng.random())
        for name in names
        for h in np.arange(0, 50, rng.choice([1.0, 0.5, 4.0, 8.0]))
    ]
    orders = {
        int(step): [(str(rng.choice(names)), float(rng.normal(0, 20))) for _ in range(rng.integers(1, 4))]
        for step in rng.integers(0, bars - 2, 15)
    }
    values, _, account = trade(
        provider, orders, margin=margin, deal_price=deal, leverage=leverage, funding=payments(*rows),
        fees=[(0, 0.0002, 0.0005), (5_000, 0.0001, 0.0004)], liquidation_fee=0.002,
    )  # fmt: skip
    parts = account.get_attribution()
    explained = parts["price"] - parts["fee"] - parts["impact"] - parts["funding"] - parts["insurance"]
    np.testing.assert_allclose(parts["change"], explained, atol=1e-6, rtol=1e-9)
    np.testing.assert_allclose(np.diff(values, prepend=10_000.0), explained, atol=1e-6, rtol=1e-9)
    position = account.current_position
    worth = position.get_cash() + sum(
        position.get_stock_amount(name) * float(np.float32(provider.values["mark"][-1, names.index(name)]))
        for name in position.get_stock_list()
    )
    np.testing.assert_allclose(values[-1], worth, rtol=1e-9, atol=1e-6)
    if margin == "isolated":
        assert (parts["insurance"] <= 0).all()


@CASES
@given(seed=st.integers(0, 10_000), deal=st.sampled_from(["open", "close"]), at=st.integers(5, 30))
def test_what_comes_later_changes_no_fill_before_it(seed, deal, at):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.05, (40, 2)), axis=0))
    orders = {int(step): [(str(rng.choice(["A", "B"])), float(rng.normal(0, 50)))] for step in rng.integers(0, 38, 20)}
    logs = []
    for shaken in (False, True):
        provider = market(A=close[:, 0].copy(), B=close[:, 1].copy())
        rates = every_8_hours(["A", "B"], [0.001] * 8)
        if shaken:
            provider.values = {name: np.array(values) for name, values in provider.values.items()}
            for name in ("close", "mark", "volume"):
                provider.values[name][at:] *= 1.7
            rates.loc[rates["time"] > START + pd.Timedelta(hours=at), "rate"] = 0.01
        provider.values["open"] = np.vstack([provider.values["close"][:1], provider.values["close"][:-1]])
        if shaken:
            provider.values["open"][at:] *= 0.9
        _, _, account = trade(provider, orders, deal_price=deal, leverage=10, funding=rates, fees=0.0005)
        log = account.trades.frame(fills_only=False)
        logs.append(log[log["time"] < START + pd.Timedelta(hours=at)].reset_index(drop=True))
    pd.testing.assert_frame_equal(*logs)


def test_only_an_isolated_position_has_a_liquidation_price_of_its_own():
    provider = market(A=[100.0] * 4)
    for kind, limit in (("isolated", 100 * (1 - 1 / 5) / (1 - 0.005)), ("cross", math.nan)):
        _, positions, _ = trade(provider, {0: [("A", 4)]}, leverage=5, margin=kind)
        np.testing.assert_allclose(positions.columns("limit")[1]["limit"], limit)


# ------------------------------------------------------------------------------------------------------------- presets
@pytest.mark.parametrize("made", [Perpetuals, Spot, okx_spot, okx_swap, okx_futures, crypto])
def test_every_argument_of_a_market_is_known_before_it_is_built(made):
    """As `qrun --check` asks: a misspelled name, one of no sense, and one that fees and contracts say."""
    wrong = ["freqq", "nonsense", "open_cost"]
    found = argument_problems(made, ["freq", "codes", "deal_price", "fees", "contracts", "rates", *wrong])
    assert len(found) == 3 and found[0].endswith("takes no argument freqq; did you mean freq?")
    assert "takes no argument nonsense; allowed are " in found[1] and "takes no argument open_cost" in found[2]
    swap = [
        name
        for name in ("leverage", "margin", "mmr", "mark_path", "funding", "liquidation")
        if made not in (Spot, okx_spot)
    ]
    assert argument_problems(made, [*swap, "fees", "provider", "fills", "currency", "volume_threshold"]) == []


def test_the_generic_market_is_spot_or_perpetuals():
    provider = market(A=[100.0] * 4)
    given = {"freq": "60min", "codes": ["A"], "provider": provider, "deal_price": "close", "fees": 0.001}
    given |= {"start_time": START, "end_time": START + pd.Timedelta(hours=3)}
    assert type(crypto(kind="spot", **given)) is Spot
    assert type(crypto(kind="futures", leverage=2, **given)) is Perpetuals
    assert crypto(funding=every_8_hours(["A"], [0.0]), **given).funding is not None
    with pytest.raises(ConfigError, match="crypto: funding is needed for swaps"):
        crypto(**given)
    with pytest.raises(ConfigError, match="kind: received 'swaps'; allowed are spot, swap, futures; did you mean swap"):
        crypto(kind="swaps", **given)


def test_the_tiers_of_a_venue_are_read_as_they_are():
    """A position of 300 contracts of 0.01 coins is in the second tier; a row without what is needed is named."""
    rows = [
        {"tier": "1", "minSz": "0", "maxSz": "250", "mmr": "0.004", "imr": "0.01", "maxLever": "100"},
        {"tier": "2", "minSz": "250", "maxSz": "1000", "mmr": "0.006", "imr": "0.02", "maxLever": "50"},
    ]
    provider = market(A=[100.0] * 4)
    _, positions, _ = trade(
        provider, {0: [("A", 3)]}, mmr={"A": rows}, leverage=50, contracts={"A": {"contract": 0.01}}, margin="cross"
    )
    assert positions[START + pd.Timedelta(hours=1)].position["A"]["mmr"] == 0.006
    with pytest.raises(ConfigError, match="tiers: A: received a row without maxSz, maxLever"):
        trade(provider, {}, mmr={"A": [{"mmr": 0.1}]})
    with pytest.raises(
        ConfigError, match=r"tiers: A: received \(1, 2\); rows \(up to contracts, rate, largest leverage\)"
    ):
        trade(provider, {}, mmr={"A": [(1, 2)]})

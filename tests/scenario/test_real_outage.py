"""An hour in which a venue was down, and a crash: what real bars do to orders, stops and positions."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, run

from qlib.backtest.decision import Order, TradeDecisionWO
from qlib.backtest.executor import SimulatorExecutor
from qlib.crypto.market import Perpetuals
from qlib.strategy.base import BaseStrategy

REAL = Path(__file__).resolve().parents[3] / "shared" / "realdata"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="../shared/realdata is absent: no real bars to trade on")
FIELDS = ["open", "high", "low", "close", "volume"]
ETH = "ETHUSDT"
DOWN = pd.date_range("2024-10-28 20:00", periods=4, freq="15min")  # flat bars without volume, in both instruments


@lru_cache
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    bars = pd.read_parquet(REAL / "binance_um_15m_btc_eth_2023_2025.parquet")
    paid = pd.read_parquet(REAL / "binance_um_funding_btc_eth_2023_2025.parquet")
    bars["time"], paid["time"] = (pd.to_datetime(table["ts"], unit="ms") for table in (bars, paid))
    return bars.set_index("time").sort_index(), paid.rename(columns={"symbol": "instrument"})[
        ["instrument", "time", "rate"]
    ]


def market(start: str, end: str, holes: list[pd.Timestamp] | None = None) -> MemoryProvider:
    bars = tables()[0].loc[start:end]
    wide = {name: bars.pivot(columns="symbol", values=name) for name in FIELDS}
    if holes:
        for table in wide.values():
            table.loc[holes] = np.nan
    fields = {name: table.to_numpy() for name, table in wide.items()}
    names = list(wide["close"].columns)
    fields["factor"] = np.ones_like(fields["close"])
    return MemoryProvider(wide["close"].index.to_numpy(), names, fields, freq="15min", region="crypto")


class At(BaseStrategy):
    """Orders by the bar in which they are to be dealt: {"2024-10-28 19:45": [(instrument, amount, stop or None)]}."""

    def __init__(self, orders, **kwargs):
        super().__init__(**kwargs)
        self.orders = {pd.Timestamp(time): rows for time, rows in orders.items()}

    def generate_trade_decision(self, execute_result=None):
        start, end = self.trade_calendar.get_step_time()
        made = []
        for name, amount, stop in self.orders.get(start, ()):
            order = Order(name, abs(amount), Order.BUY if amount > 0 else Order.SELL, start, end)
            order.stop = stop
            made.append(order)
        return TradeDecisionWO(made, self)


def trade(provider, orders, leverage, need_volume=True, **kwargs):
    times = provider.clock.times
    exchange = Perpetuals(
        freq="15min", start_time=times[0], end_time=times[-1], codes=provider.names, provider=provider,
        deal_price="close", fees=0.0005, leverage=leverage, mmr=0.004, liquidation_fee=0.0005, funding=tables()[1],
        fills={"need_volume": need_volume, "stops": True},
        **{"mark": "$close", "mark_path": ("$open", "$low", "$high"), **kwargs},
    )  # fmt: skip
    executor = SimulatorExecutor("15min", generate_portfolio_metrics=True)
    report, *_ = run(provider, At(orders), executor=executor, account=1e6, exchange_kwargs={"exchange": exchange})
    return report, executor.trade_account


def test_the_bars_of_the_outage_are_flat_and_nothing_was_traded():
    provider = market("2024-10-28 18:00", "2024-10-28 23:45")
    rows = np.isin(provider.clock.times, DOWN.to_numpy())
    values = provider.values
    assert (values["volume"][rows] == 0).all() and (values["high"][rows] == values["low"][rows]).all()
    assert (values["volume"][~rows] > 0).all()


@pytest.mark.parametrize("margin", ["isolated", "cross"])
def test_an_outage_has_no_fill_and_no_stop_and_ends_in_a_gap(margin):
    """2024-10-28, 20:00 to 21:00: the venue was down, its bars are flat; ETH 2,503.77 before, 2,518.92 at once after.

    Orders and stops of these bars are not dealt, though the flat price has reached the stops at 2,503.77 and 69,570;
    a stop of 21:00 at 69,600 is dealt at the open, 69,650. A short of 125 times the margin, sold at 2,503.77, has to be
    closed from 2503.77 (1 + 1 / 125) / 1.004 = 2,513.74 on: not in the outage, and at 21:00 at the gap.
    """
    provider = market("2024-10-28 18:00", "2024-10-28 23:45")
    size = 100.0
    orders = {"2024-10-28 19:45": [(ETH, -size, None)]}
    for bar in DOWN:
        orders[str(bar)] = [("BTCUSDT", 1.0, None), ("BTCUSDT", -0.5, 69_570.0), (ETH, 5.0, 2503.77)]
    orders["2024-10-28 21:00"] = [("BTCUSDT", 1.0, 69_600.0)]
    _, account = trade(provider, orders, {"default": 1, ETH: 125}, margin=margin)
    fills, asked = account.trades.frame(), account.trades.frame(fills_only=False)
    assert not fills["time"].isin(DOWN).any() and asked["time"].isin(DOWN).sum() == 12
    _, naive = trade(provider, orders, {"default": 1, ETH: 125}, need_volume=False, margin=margin)
    assert naive.trades.frame()["time"].isin(DOWN).sum() == 12  # what a back-test does that looks at prices only
    stop = fills[fills["instrument"] == "BTCUSDT"].iloc[0]
    assert (stop["time"], stop["price"], stop["reason"]) == (pd.Timestamp("2024-10-28 21:00"), 69_650.0, "stop")
    forced = fills[fills["reason"] == "liquidation"]
    if margin == "cross":  # a million behind it: nothing is closed
        assert forced.empty
        return
    assert len(forced) == 1 and forced.iloc[0]["time"] == pd.Timestamp("2024-10-28 21:00")
    assert forced.iloc[0]["price"] == pytest.approx(2518.92, rel=1e-6) and forced.iloc[0]["amount"] == size
    lost = size * (2518.92 - 2503.77) + forced.iloc[0]["fee"]  # 1,515 + 125.95: less than the margin of 2,003.02
    assert lost < size * 2503.77 / 125 and account.get_attribution()["insurance"].sum() == 0


@pytest.mark.parametrize("margin", ["isolated", "cross"])
def test_nothing_is_closed_by_force_while_nobody_trades_wherever_the_mark_goes(margin):
    """The mark price of ETH, of other venues, jumps to 2,600 in the outage: it is closed once there are trades."""
    provider = market("2024-10-28 18:00", "2024-10-28 23:45")
    mark = provider.values["close"].copy()
    mark[np.isin(provider.clock.times, DOWN.to_numpy()), provider.names.index(ETH)] = 2600.0
    provider.values["mark"] = mark
    orders = {"2024-10-28 19:45": [(ETH, -49_000.0, None)]}  # as much as a million carries
    closed = {}
    for need_volume in (True, False):
        _, account = trade(provider, orders, 125, need_volume=need_volume, margin=margin, mark="$mark", mark_path=None)
        closed[need_volume] = account.trades.frame().query("reason == 'liquidation'")["time"].tolist()
    assert closed[False] == [DOWN[0]]
    assert closed[True] == [pd.Timestamp("2024-10-28 21:00")]  # at 2,519 it has to be, too


def test_a_crash_closes_at_the_liquidation_price_or_beyond_a_gap_at_the_gap():
    """2025-10-10: ETH falls from 4,014.01 (close of 20:30) to 3,610 at 21:00 and 3,400 at 21:15.

    A long of 10 times its margin is closed at 4014.01 * 0.9 / 0.996 = 3,627.12, within the bar of 21:00. Where the bars
    from 20:45 to 21:15 are not there (the feed was down), the first price is the 3,617.43 of 21:30, and it is closed
    there: at 12 times the margin beyond bankruptcy (3,679.51), so that the venue's fund pays the rest.
    """
    orders = {"2025-10-10 20:30": [(ETH, 10.0, None)]}
    _, account = trade(market("2025-10-10 18:00", "2025-10-10 23:45"), orders, 10)
    (forced,) = account.trades.frame().query("reason == 'liquidation'").to_dict("records")
    assert forced["time"] == pd.Timestamp("2025-10-10 21:00")
    assert forced["price"] == pytest.approx(4014.01 * 0.9 / 0.996, rel=1e-6)

    holes = list(pd.date_range("2025-10-10 20:45", periods=3, freq="15min"))
    report, account = trade(market("2025-10-10 18:00", "2025-10-10 23:45", holes), orders, 12)
    (forced,) = account.trades.frame().query("reason == 'liquidation'").to_dict("records")
    assert forced["time"] == pd.Timestamp("2025-10-10 21:30") and forced["price"] == pytest.approx(3617.43, rel=1e-6)
    margin = 10 * 4014.01 / 12
    parts = account.get_attribution()
    assert parts["insurance"].sum() == pytest.approx(margin - 10 * (4014.01 - 3617.43) - forced["fee"], rel=1e-4)
    lost = margin + 10 * 4014.01 * 0.0005  # the margin and the fee of the purchase, and no more
    assert report["account"].iloc[-1] == pytest.approx(1e6 - lost, rel=1e-7)

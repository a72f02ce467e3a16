"""The profit of a month of 39 real perpetuals, coin by coin: the sum of the coins is the account on every hour."""

from __future__ import annotations

import numpy as np
import pytest
from test_real_perpetuals import END, REAL, START, hourly, payments

import qlib
from qlib.backtest import backtest
from qlib.backtest.executor import SimulatorExecutor
from qlib.crypto.attribution import attribution
from qlib.crypto.market import okx_swap
from qlib.crypto.strategy import FormulaLongShortStrategy

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="../shared/realdata is absent: no real bars to trade on")


@pytest.mark.parametrize(("margin", "leverage", "gross"), [("isolated", 10, 5.0), ("cross", 3, 1.5)])
def test_a_month_of_real_perpetuals_adds_up_coin_by_coin(margin, leverage, gross):
    bars = hourly()
    qlib.init(data={"60min": bars}, region="crypto", logging_level=40)
    market = okx_swap(
        freq="60min", start_time=START, end_time=END, codes=sorted(bars.index.unique("instrument")),
        deal_price="close", leverage=leverage, margin=margin, funding=payments(), fills={"half_spread": 0.0002},
    )  # fmt: skip
    strategy = FormulaLongShortStrategy(score="$close/Ref($close,12)-1", sign=-1, topk=8, gross=gross, every=6)
    executor = SimulatorExecutor("60min", generate_portfolio_metrics=True)
    backtest(START, END, strategy, executor, benchmark=None, account=1_000_000, exchange_kwargs={"exchange": market})
    account = executor.trade_account
    totals = account.get_attribution()
    found = attribution(account, market)
    hours = found.groupby(level="datetime").sum().reindex(totals.index, fill_value=0.0)
    scale = totals["account"].abs() * max(gross, 1.0)
    assert (np.abs(hours["pnl"] - totals["change"]) <= 1e-9 * scale).all()
    assert (np.abs(hours["funding"] + totals["funding"]) <= 1e-9 * scale).all()
    assert (np.abs(hours["spread"] - totals["impact"]) <= 1e-9 * scale).all()
    coins = attribution(account, market, by=("instrument", "side"))
    assert len(coins.index.unique("instrument")) > 30 and set(coins.index.unique("side")) == {"long", "short"}
    assert (coins["funding"] != 0).sum() > 60 and (coins["spread"] > 0).all()
    if margin == "isolated":  # ten times in an alt coin for a month: some of them are closed by force
        assert (account.trades.frame()["reason"] == "liquidation").any() and (coins["liquidation"] != 0).any()

"""Real bars, mark prices and funding of 39 perpetuals: the books balance, and every payment is found in the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib.backtest import backtest
from qlib.backtest.executor import SimulatorExecutor
from qlib.crypto.market import okx_swap
from qlib.crypto.strategy import FormulaLongShortStrategy
from qlib.errors import MissingDataError

REAL = Path(__file__).resolve().parents[3] / "shared" / "realdata"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="../shared/realdata is absent: no real bars to trade on")
START, END = "2026-05-28", "2026-06-25 14:00"


def hourly() -> pd.DataFrame:
    """Bars of an hour from those of half an hour, with the mark price at the end of each."""
    halves = pd.read_parquet(REAL / "okx_swap_30m_2026.parquet")
    halves["ts"] = pd.to_datetime(halves["ts"], unit="ms")
    grouped = halves.groupby(["symbol", halves["ts"].dt.floor("h")])
    bars = grouped.agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
    )
    mark = pd.read_parquet(REAL / "okx_mark_1h_2026.parquet")
    mark["ts"] = pd.to_datetime(mark["ts"], unit="ms")
    bars["mark"] = mark.set_index(["symbol", "ts"])["close"]
    bars["factor"] = 1.0
    bars.index.names = ["instrument", "datetime"]
    return bars.dropna(subset="mark")


def payments() -> pd.DataFrame:
    found = pd.read_parquet(REAL / "okx_funding_2026.parquet")
    times = pd.to_datetime(found["ts"], unit="ms")
    return pd.DataFrame({"instrument": found["symbol"], "time": times, "rate": found["rate"]})


def trade(funding, margin="cross"):
    bars = hourly()
    qlib.init(data={"60min": bars}, region="crypto", logging_level=40)
    exchange = okx_swap(
        freq="60min", start_time=START, end_time=END, codes=sorted(bars.index.unique("instrument")),
        deal_price="close", leverage=3, margin=margin, funding=funding,
    )  # fmt: skip
    strategy = FormulaLongShortStrategy(score="$close/Ref($close,12)-1", sign=-1, topk=8, gross=1.5, every=6)
    executor = SimulatorExecutor("60min", generate_portfolio_metrics=True)
    portfolio, _ = backtest(
        START, END, strategy, executor, benchmark=None, account=1_000_000, exchange_kwargs={"exchange": exchange}
    )
    return portfolio["60min"], executor.trade_account


def test_the_books_of_a_month_of_real_perpetuals_balance_and_funding_is_what_the_venue_paid():
    (report, positions), account = trade(payments())
    parts = account.get_attribution()
    explained = parts["price"] - parts["fee"] - parts["impact"] - parts["funding"] - parts["insurance"]
    np.testing.assert_allclose(parts["change"], explained, atol=1e-5)
    assert (report["account"] > 0).all() and (parts["funding"] != 0).sum() > 60
    due = pd.Series(0.0, index=parts.index)
    for row in payments().itertuples():
        bar = row.time - pd.Timedelta(hours=1)  # the bar that ends with the payment
        if bar in due.index:
            held = positions[bar]
            due[bar] += (
                held.get_stock_amount(row.instrument)
                * row.rate
                * (held.get_stock_price(row.instrument) if held.check_stock(row.instrument) else 0.0)
            )
    np.testing.assert_allclose(parts["funding"], due, atol=1e-6)


def test_real_payments_with_one_taken_out_end_the_run():
    known = payments()
    lost = known[~((known["time"] > "2026-06-10") & (known["time"] < "2026-06-10 09:00"))]
    with pytest.raises(MissingDataError, match="SWAP is held .*2026-06-10.* a gap in its payments"):
        trade(lost)

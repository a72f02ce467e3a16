"""A coin bought and its perpetual sold: python examples/crypto/carry.py

Two years of hours, made up here: a price that walks at random, a perpetual a little above it, and funding that follows
how far above. Whatever the price does, what is left is the funding, less the fees of getting in and out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import qlib
from qlib.backtest import backtest
from qlib.backtest.executor import SimulatorExecutor
from qlib.crypto.market import Perpetuals
from qlib.crypto.strategy import FundingCarryStrategy

HOURS = pd.date_range("2023-01-01", periods=2 * 365 * 24, freq="h", name="datetime")
SPOT, SWAP = "AAA-USDT", "AAA-USDT-SWAP"


def made_up() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return bars of both, and the payments of the perpetual."""
    rng = np.random.default_rng(2026)
    spot = 100 * np.exp(np.cumsum(rng.normal(0, 0.006, len(HOURS))))
    premium = np.empty(len(HOURS))
    now = 0.0
    for i, shock in enumerate(rng.normal(0, 0.0001, len(HOURS))):
        now = premium[i] = 0.995 * now + 0.005 * 0.0004 + shock
    swap = spot * (1 + premium)
    every_8 = slice(0, None, 8)
    paid = np.clip(pd.Series(premium).rolling(8, min_periods=1).mean().to_numpy()[every_8] / 3, -0.0075, 0.0075)
    payments = pd.DataFrame({"instrument": SWAP, "time": HOURS[every_8], "rate": paid})
    rate = pd.Series(paid, HOURS[every_8]).reindex(HOURS).to_numpy()
    frames = {SPOT: (spot, np.full(len(HOURS), np.nan)), SWAP: (swap, rate)}
    bars = [
        pd.DataFrame({"instrument": name, "datetime": HOURS, "close": close, "mark": close, "funding": funding})
        for name, (close, funding) in frames.items()
    ]
    whole = pd.concat(bars).set_index(["instrument", "datetime"])
    return whole.assign(volume=1e6, factor=1.0), payments


def main() -> None:
    bars, payments = made_up()
    qlib.init(data={"60min": bars}, region="crypto", logging_level=40)
    start, end = str(HOURS[200]), str(HOURS[-10])
    market = Perpetuals(
        freq="60min", start_time=start, end_time=end, codes=[SPOT, SWAP], deal_price="close", fees=0.0005,
        leverage={SPOT: 1, SWAP: 2}, margin="cross", funding=payments,
        contracts={SPOT: {"kind": "spot"}, SWAP: {"kind": "swap"}},
    )  # fmt: skip
    strategy = FundingCarryStrategy(pairs={SWAP: SPOT}, rate="Mean($funding,168)", enter=0.0001, weight=0.45)
    executor = SimulatorExecutor("60min", generate_portfolio_metrics=True)
    portfolio, _ = backtest(
        start, end, strategy, executor, benchmark=None, account=1_000_000, exchange_kwargs={"exchange": market}
    )
    report, _ = portfolio["60min"]
    parts = executor.trade_account.get_attribution()
    print("SYNTHETIC market: these numbers say nothing about any coin.\n")
    print(f"the coin itself  {bars.loc[SPOT, 'close'].iloc[-10] / bars.loc[SPOT, 'close'].iloc[200] - 1:+.1%}")
    print(f"account          {report['account'].iloc[-1]:12,.0f} of 1,000,000")
    for name in ("price", "fee", "funding"):
        print(f"{name:16} {(1 if name == 'price' else -1) * parts[name].sum():+12,.0f}")
    print(f"worst drawdown   {(report['account'] / report['account'].cummax() - 1).min():.2%}")


if __name__ == "__main__":
    main()

"""Perpetuals by the hour, long and short: python examples/crypto/perp_long_short.py

The last quarter of the synthetic sample market. Every eight hours the coins that fell most in a day are bought and
those that rose most are sold, as much of the one as of the other, and so that the whole has no beta to the market.
"""

from __future__ import annotations

import qlib
from qlib.backtest import backtest
from qlib.backtest.executor import SimulatorExecutor
from qlib.crypto.market import okx_swap
from qlib.crypto.strategy import FormulaLongShortStrategy
from qlib.tests.data import GetData

START, END = "2024-10-01", "2024-12-31 20:00:00"
RETURN = "($close/Ref($close,1)-1)"
MARKET = f"ChangeInstrument('MARKET',{RETURN})"
BETA = f"Cov({RETURN},{MARKET},168)/Var({MARKET},168)"


def main() -> None:
    GetData().sample(exists_skip=True)
    qlib.init(provider_uri="~/.qlib/qlib_data/sample_data", region="crypto", logging_level=40)
    market = okx_swap(
        freq="60min",
        start_time="2024-09-30",
        end_time=END,
        codes="all",
        deal_price="close",
        leverage=3,
        margin="cross",
        mark="$close",  # the sample market has no mark prices of its own
        funding="field",
        fills={"half_spread": 0.0002, "impact": 0.5, "need_volume": True},
    )
    strategy = FormulaLongShortStrategy(
        score="$close/Ref($close,24)-1", sign=-1, topk=8, every=8, turnover=0.5,
        formulas={"beta": BETA}, neutral=["beta"], liquidity="Mean($volume*$vwap,168)", tier=(0, 30),
    )  # fmt: skip
    executor = SimulatorExecutor("60min", generate_portfolio_metrics=True)
    portfolio, _ = backtest(
        START, END, strategy, executor, benchmark=None, account=1_000_000, exchange_kwargs={"exchange": market}
    )
    report, positions = portfolio["60min"]
    parts = executor.trade_account.get_attribution()
    print("SYNTHETIC market: these numbers say nothing about any coin.\n")
    print(f"account    {report['account'].iloc[-1]:12,.0f} of 1,000,000")
    for name, sign in (("price", 1), ("fee", -1), ("impact", -1), ("funding", -1), ("insurance", -1)):
        print(f"{name:10} {sign * parts[name].sum() + 0.0:+12,.0f}")
    last = positions[max(positions)]
    value = {n: last.get_stock_amount(n) * last.get_stock_price(n) for n in last.get_stock_list()}
    print(f"long       {sum(v for v in value.values() if v > 0):12,.0f}")
    print(f"short      {sum(v for v in value.values() if v < 0):12,.0f}")


if __name__ == "__main__":
    main()

"""The ten coins with the best month, bought with cash: python examples/crypto/spot_topk.py

Daily bars of the synthetic sample market, which is written first where it is not there. A day's orders come from what
was known the evening before; lots of 0.001 coins, fees that fall with what was traded in 30 days.
"""

from __future__ import annotations

import qlib
from qlib.backtest import backtest
from qlib.backtest.executor import SimulatorExecutor
from qlib.contrib.evaluate import risk_analysis
from qlib.contrib.strategy import TopkDropoutStrategy
from qlib.crypto.market import okx_spot
from qlib.data import D
from qlib.tests.data import GetData

START, END = "2024-01-01", "2024-12-30"


def main() -> None:
    GetData().sample(exists_skip=True)
    qlib.init(provider_uri="~/.qlib/qlib_data/sample_data", region="crypto", logging_level=40)
    month = (
        D.features(D.instruments("all"), ["$close/Ref($close,30)-1"], START, END).iloc[:, 0].swaplevel().sort_index()
    )
    market = okx_spot(
        freq="day",
        start_time=START,
        end_time=END,
        codes="all",
        deal_price="close",
        fees=[(0, 0.0008, 0.0010), (1_000_000, 0.0006, 0.0008)],  # (traded in 30 days, maker, taker)
        contracts={"default": {"kind": "spot", "lot": 0.001, "minimum": 0.001}},
    )
    executor = SimulatorExecutor("day", generate_portfolio_metrics=True)
    portfolio, _ = backtest(
        START,
        END,
        TopkDropoutStrategy(signal=month, topk=10, n_drop=2, only_tradable=True),
        executor,
        benchmark="MARKET",
        account=1_000_000,
        exchange_kwargs={"exchange": market},
    )
    report, _ = portfolio["1day"]
    print("SYNTHETIC market: these numbers say nothing about any coin.\n")
    print(f"account      {report['account'].iloc[-1]:,.0f} of 1,000,000")
    print(f"fees         {report['total_cost'].iloc[-1]:,.0f} for {len(executor.trade_account.trades):,} orders")
    figures = risk_analysis(report["return"] - report["cost"] - report["bench"], freq="day")["risk"]
    print(f"over MARKET  {figures['annualized_return']:+.1%} a year, drawdown {figures['max_drawdown']:.1%}")


if __name__ == "__main__":
    main()

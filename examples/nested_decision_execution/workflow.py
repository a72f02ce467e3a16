"""A daily decision, executed over half hours and minutes.

    python examples/nested_decision_execution/workflow.py

    day      TopkDropoutStrategy decides what to hold
    30min    SBBStrategyEMA puts each order into the better half hour of each pair
    1min     TWAPStrategy spreads it over the minutes, and the exchange deals

The market is synthetic. The prices paid are compared with the average price of the day (`pa`: above 0 is better), once
for TWAP on both levels and once for this nesting.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import qlib
from qlib.backtest import backtest
from qlib.collect.resample import resample_store
from qlib.constant import REG_CRYPTO
from qlib.data.storage.writer import write_store

NAMES = [f"SYN{i:02d}" for i in range(5)]
DAYS = 4
START = "2024-01-01"


def write_market(folder: Path) -> Path:
    """Write one-minute bars that never stop, with slow waves that a trend can see."""
    rng = np.random.default_rng(7)
    minutes = pd.date_range(START, periods=DAYS * 1440, freq="min")
    frames = {}
    for name in NAMES:
        trend = pd.Series(rng.normal(size=len(minutes))).ewm(halflife=240).mean().to_numpy()
        close = 50 * np.exp(np.cumsum(2e-4 * trend + 3e-4 * rng.normal(size=len(minutes))))
        opened = np.append(50.0, close[:-1])
        frames[name] = pd.DataFrame(
            {"open": opened, "close": close, "volume": rng.integers(50, 500, len(minutes)).astype(float)},
            index=minutes,
        )
    store = write_store(frames, folder / "minutes", "1min")
    resample_store(store, "1min", "30min")  # SBBStrategyEMA reads half hours
    return store


def scores() -> pd.Series:
    """Return a random score of every name and day."""
    days = pd.date_range(START, periods=DAYS)
    index = pd.MultiIndex.from_product([days, NAMES], names=["datetime", "instrument"])
    return pd.Series(np.random.default_rng(8).normal(size=len(index)), index=index, name="score")


def nested(half_hours: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of the executor: days over half hours over minutes."""
    minutes = {
        "class": "SimulatorExecutor",
        "module_path": "qlib.backtest.executor",
        "kwargs": {"time_per_step": "1min"},
    }
    over_minutes = {
        "class": "NestedExecutor",
        "module_path": "qlib.backtest.executor",
        "kwargs": {
            "time_per_step": "30min",
            "inner_executor": minutes,
            "inner_strategy": {"class": "TWAPStrategy", "module_path": "qlib.contrib.strategy.rule_strategy"},
        },
    }
    return {
        "class": "NestedExecutor",
        "module_path": "qlib.backtest.executor",
        "kwargs": {
            "time_per_step": "day",
            "inner_executor": over_minutes,
            "inner_strategy": half_hours,
            "generate_portfolio_metrics": True,
            "indicator_config": {"pa_config": {"agg": "twap", "price": "deal_price"}},
        },
    }


def run(half_hours: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the report and the indicators of the days."""
    strategy = {
        "class": "TopkDropoutStrategy",
        "module_path": "qlib.contrib.strategy",
        "kwargs": {"signal": scores(), "topk": 3, "n_drop": 2},
    }
    portfolio, indicators = backtest(
        start_time="2024-01-02",
        end_time="2024-01-04 23:59",
        strategy=strategy,
        executor=nested(half_hours),
        benchmark=None,
        account=1_000_000,
        exchange_kwargs={
            "freq": "1min",
            "deal_price": "open",
            "open_cost": 0.0005,
            "close_cost": 0.0005,
            "min_cost": 0,
            "trade_unit": None,
        },
    )
    return portfolio["1day"][0], indicators["1day"][0]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rules = "qlib.contrib.strategy.rule_strategy"
    better_bar = {"class": "SBBStrategyEMA", "module_path": rules, "kwargs": {"instruments": "all", "freq": "30min"}}
    with tempfile.TemporaryDirectory() as folder:
        print("SYNTHETIC data: the numbers show how the levels work, not what a market pays")
        qlib.init(provider_uri=str(write_market(Path(folder))), region=REG_CRYPTO, logging_level=40)
        for name, half_hours in (("TWAP", {"class": "TWAPStrategy", "module_path": rules}), ("SBB", better_bar)):
            report, indicators = run(half_hours)
            print(f"\n{name} over half hours, TWAP over minutes")
            print(indicators[["ffr", "pa", "pos", "count"]].round(6).to_string())
            print(f"account at the end {report['account'].iloc[-1]:,.2f}")


if __name__ == "__main__":
    main()

"""One-minute bars: high-frequency features, a model of the next minutes, and its orders dealt minute by minute.

python examples/highfreq/workflow.py

store     two weeks of one-minute bars of Chinese sessions, synthetic: the imbalance of a minute moves the next ones
features  `HighFreqHandler`: prices relative to yesterday's close, volumes relative to yesterday's
model     linear, on the newest minutes; the label is the price two to seven minutes ahead
trading   every half hour TopkDropout decides on the newest score, TWAP spreads the orders over the minutes
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import qlib
from qlib.analysis.ic import calc_ic
from qlib.backtest import backtest
from qlib.backtest.executor import NestedExecutor, SimulatorExecutor
from qlib.constant import REG_CN
from qlib.contrib.data.highfreq_handler import HighFreqHandler
from qlib.contrib.model.linear import LinearModel
from qlib.contrib.strategy import TopkDropoutStrategy, TWAPStrategy
from qlib.data.dataset import DatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.storage.writer import write_store

NAMES = [f"SH6000{i:02d}" for i in range(12)]
DAYS = pd.bdate_range("2024-01-08", periods=10)
LABEL = "Ref($close,-7)/Ref($close,-2)-1"
FEATURES = {
    "imbalance": "$imbalance",
    "imbalance5": "Mean($imbalance,5)",
    "move1": "$close/Ref($close,1)-1",
    "move10": "$close/Ref($close,10)-1",
    "volume": "$volume/Mean($volume,30)-1",
}


def minutes() -> pd.DatetimeIndex:
    """Return the minutes of ten Chinese days: 9:30 to 11:29 and 13:00 to 14:59."""
    of_day = [
        *pd.timedelta_range("9:30:00", periods=120, freq="min"),
        *pd.timedelta_range("13:00:00", periods=120, freq="min"),
    ]
    return pd.DatetimeIndex([day + at for day in DAYS for at in of_day])


def write_market(folder: Path) -> Path:
    """Write one-minute bars in which an imbalance of orders moves the price of the next minutes a little."""
    rng, index = np.random.default_rng(5), minutes()
    frames = {}
    for name in NAMES:
        imbalance = pd.Series(rng.normal(size=len(index))).ewm(halflife=8).mean().to_numpy()
        change = 4e-4 * np.append(0.0, imbalance[:-1]) + 4e-4 * rng.normal(size=len(index))
        close = 30 * np.exp(np.cumsum(change))
        opened = np.append(30.0, close[:-1])
        volume = rng.integers(100, 2_000, len(index)).astype(float) * 100
        frames[name] = pd.DataFrame(
            {
                "open": opened,
                "high": np.maximum(opened, close),
                "low": np.minimum(opened, close),
                "close": close,
                "vwap": (opened + close) / 2,
                "volume": volume,
                "factor": 1.0,
                "change": change,
                "imbalance": imbalance,
                "paused_num": 2.0,
            },
            index=index,
        )
    return write_store(frames, folder / "minutes", "1min")


def signal() -> pd.Series:
    """Return the scores of the last days, by a model that learned on the first ones."""
    fields, names = list(FEATURES.values()), list(FEATURES)
    handler = DataHandlerLP(
        instruments="all",
        start_time=DAYS[0],
        end_time=f"{DAYS[-1]:%Y-%m-%d} 14:59",
        data_loader={
            "class": "QlibDataLoader",
            "kwargs": {"config": {"feature": (fields, names), "label": ([LABEL], ["LABEL0"])}, "freq": "1min"},
        },
        learn_processors=[{"class": "DropnaLabel"}],
        infer_processors=[{"class": "Fillna", "kwargs": {"fields_group": "feature"}}],
    )
    dataset = DatasetH(
        handler,
        segments={
            "train": (DAYS[0], f"{DAYS[5]:%Y-%m-%d} 14:50"),  # the label of 14:50 is known at 14:57
            "test": (DAYS[6], f"{DAYS[-1]:%Y-%m-%d} 14:59"),
        },
    )
    model = LinearModel("ridge", alpha=1e-6)
    model.fit(dataset)
    scores = model.predict(dataset)
    label = dataset.prepare("test", col_set="label", data_key="infer").iloc[:, 0]
    ic, _ = calc_ic(scores, label)
    print(f"IC of {len(scores):,} scores with the next minutes {ic.mean():.3f}")
    return scores


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print("SYNTHETIC data: the imbalance was made to move the price")
        qlib.init(provider_uri=str(write_market(Path(folder))), region=REG_CN, logging_level=40)
        end = f"{DAYS[-1]:%Y-%m-%d} 14:59"
        features = HighFreqHandler(instruments="all", start_time=DAYS[2], end_time=end, infer_processors=[]).fetch()
        print(f"HighFreqHandler: {features.shape[0]:,} rows, columns {', '.join(map(str, features.columns[:4]))} ...")
        executor = NestedExecutor("30min", SimulatorExecutor("1min"), TWAPStrategy(), generate_portfolio_metrics=True)
        portfolio, indicators = backtest(
            start_time=DAYS[6],
            end_time=end,
            strategy=TopkDropoutStrategy(signal=signal(), topk=4, n_drop=2),
            executor=executor,
            benchmark=None,
            account=10_000_000,
            exchange_kwargs={"freq": "1min", "deal_price": "vwap", "open_cost": 0, "close_cost": 0, "min_cost": 0},
        )
        report, _ = portfolio["30min"]
        print(f"{len(report)} half hours, {int(indicators['30min'][0]['count'].sum())} orders")
        print(f"turnover a half hour {report['total_turnover'].diff().mean() / report['account'].mean():.2f}")
        print(f"account at the end {report['account'].iloc[-1]:,.0f}, without costs")


if __name__ == "__main__":
    main()

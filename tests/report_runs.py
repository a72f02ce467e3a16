"""Made-up finished runs for the report's tests: a recorder that holds artifacts in memory, as qlib.workflow's does."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.capacity import capacity, participation
from qlib.backtest.decision import Order
from qlib.backtest.indicator import Indicator
from qlib.backtest.position import Position, PositionHistory
from qlib.contrib.report.market_numbers import hole_numbers, tiers_of, universe_numbers
from qlib.model.interpret.base import FeatureInt


class FakeRecorder:
    """The part of Recorder that a report asks: artifacts by name, metrics, params, and a local artifact folder."""

    def __init__(self, folder: Path, objects: dict[str, Any], *, metrics=None, params=None, local: bool = True) -> None:
        self.experiment_name, self.experiment_id = "workflow", "1"
        self.name, self.id, self.status = "mlflow_recorder", "9f0c2ab14d3e4b56", "FINISHED"
        self.start_time, self.end_time = "2026-01-02 03:04:05", "2026-01-02 03:05:00"
        self.artifact_uri = (folder / "artifacts").as_uri() if local else "s3://bucket/1/artifacts"
        self.store = folder / "artifacts"
        self.objects, self.metrics, self.params = objects, metrics or {}, params or {}
        self.tracker: FakeClient | None = None

    @property
    def client(self) -> FakeClient | None:
        return self.tracker

    def list_artifacts(self, artifact_path: str | None = None) -> list[str]:
        if artifact_path is None:
            return sorted({name.split("/")[0] for name in self.objects})
        return sorted(name for name in self.objects if name.startswith(f"{artifact_path}/"))

    def load_object(self, name: str) -> Any:
        return self.objects[name]

    def list_metrics(self) -> dict[str, float]:
        return self.metrics

    def list_params(self) -> dict[str, str]:
        return self.params

    def log_artifact(self, local_path: str, artifact_path: str | None = None) -> None:
        place = self.store / (artifact_path or "")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(local_path, place)


class FakeClient:
    """The part of MLflow's client that a report asks: experiments, and the values of a metric round by round."""

    def __init__(self, history: dict[str, list[float]]) -> None:
        self.history = history

    def get_experiment(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(name="workflow")

    def get_metric_history(self, _: str, name: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(step=k, value=value) for k, value in enumerate(self.history.get(name, []))][::-1]


class FakePosition:
    """A position that says which instruments it holds."""

    def __init__(self, held: int) -> None:
        self.held = held

    def get_stock_list(self) -> list[str]:
        return [f"C{k:02d}" for k in range(self.held)]


TASK = {
    "model": {
        "class": "LGBModel",
        "module_path": "qlib.contrib.model.gbdt",
        "kwargs": {"loss": "mse", "learning_rate": 0.0421, "num_leaves": 210, "lambda_l1": 205.6999},
    },
    "dataset": {
        "class": "DatasetH",
        "module_path": "qlib.data.dataset",
        "kwargs": {
            "handler": {
                "class": "Alpha158",
                "module_path": "qlib.contrib.data.handler",
                "kwargs": {"start_time": "2020-01-01", "end_time": "2024-12-31", "instruments": "all"},
            },
            "segments": {
                "train": ["2020-01-01", "2022-06-30"],
                "valid": ["2022-07-01", "2022-12-31"],
                "test": ["2023-01-01", "2024-12-31"],
            },
        },
    },
    "record": [
        {"class": "SignalRecord", "module_path": "qlib.workflow.record_temp"},
        {
            "class": "PortAnaRecord",
            "module_path": "qlib.workflow.record_temp",
            "kwargs": {
                "config": {
                    "strategy": {
                        "class": "TopkDropoutStrategy",
                        "module_path": "qlib.contrib.strategy",
                        "kwargs": {"signal": "<PRED>", "topk": 10, "n_drop": 2},
                    },
                    "backtest": {
                        "start_time": "2023-01-01",
                        "end_time": "2024-12-31",
                        "account": 1_000_000,
                        "benchmark": "MARKET",
                        "exchange_kwargs": {"deal_price": "close", "open_cost": 0.0005, "close_cost": 0.0015},
                    },
                }
            },
        },
    ],
}


def signal(days: int = 400, names: int = 30, strength: float = 0.05, freq: str = "D", seed: int = 7):
    """(pred, label) frames over (datetime, instrument) whose IC is about `strength`."""
    random = np.random.default_rng(seed)
    rows = pd.MultiIndex.from_product(
        [pd.date_range("2023-01-01", periods=days, freq=freq), [f"C{k:02d}" for k in range(names)]],
        names=["datetime", "instrument"],
    )
    score = random.normal(size=len(rows))
    label = 0.03 * (strength * score + np.sqrt(1 - strength**2) * random.normal(size=len(rows)))
    return pd.DataFrame({"score": score}, index=rows), pd.DataFrame({"LABEL0": label}, index=rows)


def backtest(days: int = 400, freq: str = "D", cost: float = 0.0004, bench: bool = True, seed: int = 3) -> pd.DataFrame:
    """A report frame whose account is what its returns make of a million."""
    random = np.random.default_rng(seed)
    times = pd.date_range("2023-01-01", periods=days, freq=freq, name="datetime")
    scale = 0.02 / np.sqrt(len(pd.date_range("2023-01-01", "2023-01-02", freq=freq, inclusive="left")))
    market = random.normal(0.0005, scale, days)
    gross = market + random.normal(0.0006, scale / 4, days)
    turnover = np.clip(random.normal(0.4, 0.1, days), 0, None)
    paid = turnover * cost
    account = 1e6 * np.cumprod(1 + gross - paid)
    before = np.concatenate([[1e6], account[:-1]])
    share = np.clip(random.normal(0.95, 0.01, days), 0, 1)
    return pd.DataFrame(
        {
            "account": account,
            "return": gross,
            "total_turnover": np.cumsum(turnover * before),
            "turnover": turnover,
            "total_cost": np.cumsum(paid * before),
            "cost": paid,
            "value": account * share,
            "cash": account * (1 - share),
            "bench": market if bench else 0.0,
        },
        index=times,
    )


def trade_log(times: pd.Index, fills: int, names: int = 30, seed: int = 5, slippage: float = 0.0) -> Indicator:
    """Indicators that hold a log with `fills` fills at each time, as a backtest leaves them."""
    random = np.random.default_rng(seed)
    kept = Indicator()
    for time in pd.DatetimeIndex(times):
        dealt = []
        for name in random.choice(names, min(fills, names), replace=False).tolist():
            price, amount = float(10 ** random.uniform(-4, 4)), float(10 ** random.uniform(-2, 4))
            order = Order(f"C{name:02d}", amount, int(random.integers(2)), time, time)
            order.deal_amount = amount * float(random.choice([1.0, 0.5]))
            order.slippage = slippage * order.deal_amount * price
            if order.deal_amount < amount:
                order.reason = "volume"
            dealt.append((order, order.deal_amount * price, order.deal_amount * price * 0.0005, price))
        kept.update_order_indicators(dealt, time)
    return kept


def portfolio(report: pd.DataFrame, freq: str = "1day", fills: int = 3, slippage: float = 0.0) -> dict[str, Any]:
    """The backtest's artifacts around a report frame; no log without fills."""
    held = np.random.default_rng(1).integers(8, 11, len(report))
    indicators = pd.DataFrame(
        {"ffr": 1.0, "pa": 0.0, "pos": 0.0, "deal_amount": 10.0, "value": 1e4, "count": 4.0}, index=report.index
    )
    log = {}
    if fills:
        log[f"portfolio_analysis/indicators_normal_{freq}_obj.pkl"] = trade_log(report.index, fills, slippage=slippage)
        log["portfolio_analysis/trades.parquet"] = b"a file"
    return {
        f"portfolio_analysis/report_normal_{freq}.pkl": report,
        f"portfolio_analysis/positions_normal_{freq}.pkl": {
            time: FakePosition(int(k)) for time, k in zip(report.index, held, strict=True)
        },
        f"portfolio_analysis/indicators_normal_{freq}.pkl": indicators,
        **log,
    }


def signed_positions(
    report: pd.DataFrame, names: int = 6, *, own_limits: bool = True, seed: int = 2
) -> PositionHistory:
    """Long and short holdings with a margin, and a limit each or (NaN) none of their own; every fifth step is empty."""
    random = np.random.default_rng(seed)
    history = PositionHistory()
    for k, (time, account) in enumerate(report["account"].items()):
        held = {}
        for name in range(0 if k % 5 == 4 else names):
            value, price = float(random.normal(0, account / names)), float(random.uniform(1, 100))
            apart = random.uniform(-0.05, 0.6)
            limit = price * (1 - np.sign(value) * apart) if own_limits else np.nan
            held[f"C{name:02d}"] = {
                "amount": value / price, "price": price, "margin": abs(value) / 3, "mmr": 0.01, "limit": limit,
            }  # fmt: skip
        history.record(time, Position(cash=0.0, position_dict=held, short=True))
    return history


def attribution(report: pd.DataFrame, seed: int = 4, **scales: float) -> pd.DataFrame:
    """Where the money of every step went, with what holding cost by name: `attribution(report, borrow=0.001)`."""
    random = np.random.default_rng(seed)
    account = report["account"]
    change = account - account.shift(
        fill_value=account.iloc[0] / (1 + report["return"].iloc[0] - report["cost"].iloc[0])
    )
    carry = {name: account * random.normal(scale / 5, scale, len(report)) for name, scale in scales.items()}
    parts = {"account": account, "change": change, "price": change, "fee": 0.0, "impact": 0.0}
    return pd.DataFrame({**parts, **carry, "stale": 0, "stale_value": 0.0})


def sides(report: pd.DataFrame, freq: str = "1day", *, own_limits: bool = True, fills: int = 3) -> dict[str, Any]:
    """The artifacts of a backtest with shorts, margin, holding costs and two forced closes."""
    made = portfolio(report, freq, fills)
    made[f"portfolio_analysis/positions_normal_{freq}.pkl"] = signed_positions(report, own_limits=own_limits)
    made[f"portfolio_analysis/attribution_normal_{freq}.pkl"] = attribution(
        report, payments=0.0004, borrow=0.0001, unused=0.0
    )
    log = made[f"portfolio_analysis/indicators_normal_{freq}_obj.pkl"]
    dealt = []
    for name in ("C00", "C01"):
        order = Order(name, 1.0, Order.SELL, report.index[-1], report.index[-1])
        order.deal_amount, order.reason = 1.0, "liquidation"
        dealt.append((order, 100.0, 0.05, 100.0))
    log.update_order_indicators(dealt, report.index[-1])
    return made


def run(folder: Path, *, local: bool = True, **changes: Any) -> FakeRecorder:
    """A finished run with everything; `changes` replace artifacts by name, None takes one away.

    Names are written with `__` for `/` and without the ending: `pred=None`, `sig_analysis__ic=...`.
    """
    pred, label = signal()
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    objects: dict[str, Any] = {
        "pred.pkl": pred,
        "label.pkl": label,
        "task": TASK,
        "config": {"qlib_init": {"provider_uri": str(store), "region": "crypto"}},
        **portfolio(backtest()),
    }
    for name, value in changes.items():
        key = name.replace("__", "/")
        objects[key if key in ("task", "config") else f"{key}.pkl"] = value
    return FakeRecorder(
        folder,
        {name: value for name, value in objects.items() if value is not None},
        metrics={"IC": 0.0435678901234567, "l2.valid": 0.99206},
        params={"model.class": "LGBModel"},
        local=local,
    )


class FakeModel(FeatureInt):
    """A model that says how much each feature counts."""

    def __init__(self, features: int = 40) -> None:
        self.features = features

    def get_feature_importance(self) -> pd.Series:
        return pd.Series(2.0 ** -np.arange(self.features), index=[f"F{k:02d}" for k in range(self.features)])


MANIFEST = {
    "data": {"id": "5d0c2f71a8", "files": 399, "fields": ["close", "volume"], "other_files": []},
    "code": {
        "digest": "8edcff7570",
        "repositories": [{"root": "/repository", "commit": "070c9652", "changed": True}],
    },
    "packages": {"numpy": "2.3.5", "pandas": "3.0.0", "zict": "3.0"},
    "environment": {"python": "3.11.7", "threads": {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": None}},
    "hardware": {"host": "box", "processor": "a processor", "cpus": 8, "memory": 32.0},
    "seeds": {"model.kwargs.seed": 1},
    "predictions": "5de9578ac3",
    "accounts": {"report_normal_1day": "313cb83340"},
    "parents": [],
}

TRIAL = {
    "number": 7,
    "trials": 12,
    "again": False,
    "scope": {"data": ["/store"], "universe": "all", "freq": "day"},
    "returns": "excess",
    "freq": "1day",
    "bars": 400,
    "sharpe": 0.07,
    "sharpe_annual": 1.34,
    "psr": 0.91,
    "deviation": 0.05,
    "deviation_of": "trials",
    "best_of_noise": 0.086,
    "best_of_noise_annual": 1.64,
    "dsr": 0.38,
    "min_track_record": 560.0,
    "min_track_record_deflated": None,
}


def everything(folder: Path) -> FakeRecorder:
    """A run that left all that one can leave: ledger, manifest, capacity, model, curves, what the store held."""
    recorder = run(folder)
    report = recorder.objects["portfolio_analysis/report_normal_1day.pkl"]
    steps = report["account"]
    recorder.objects |= sides(report) | {
        "manifest.json": MANIFEST,
        "trial.json": TRIAL,
        "params.pkl": FakeModel(),
        "portfolio_analysis/capacity.pkl": {
            **capacity(report["return"], steps, 0.0005 * steps, year=365.0),
            "y": 1.0,
            "participation": participation(np.array([0.01, 0.02])),
        },
        "report/market.json": market(),
    }
    recorder.tracker = FakeClient({"l2.train": [1.0, 0.9, 0.8], "l2.valid": [1.0, 0.95, 0.97]})
    recorder.metrics |= {"l2.train": 0.8, "l2.valid": 0.97}
    return recorder


def market(bars: int = 500, names: int = 12) -> dict[str, Any]:
    """What a store held: one instrument comes, one leaves, one has a hole of three bars; and tiers."""
    calendar = pd.date_range("2022-09-01", periods=bars)
    spans = {f"C{k:02d}": [(calendar[0], calendar[-1])] for k in range(names)}
    spans["C00"] = [(calendar[100], calendar[-1])]
    spans["C01"] = [(calendar[0], calendar[399])]
    rows = [
        (time, name)
        for name, ((start, end),) in spans.items()
        for time in calendar[(calendar >= start) & (calendar <= end)]
    ]
    index = pd.MultiIndex.from_tuples(rows, names=["datetime", "instrument"])
    close = pd.Series(1.0, index)
    close.loc[[(time, "C02") for time in calendar[50:53]]] = np.nan
    pred, label = signal(days=60, names=names)
    traded = pd.Series(np.random.default_rng(0).uniform(1e3, 1e6, len(pred)), pred.index)
    return {
        "freq": "day",
        "first": "2022-09-01",
        "last": str(calendar[-1].date()),
        "bars": bars,
        "instruments": names,
        **hole_numbers(close, spans, calendar),
        "universe": universe_numbers(spans, calendar),
        "tiers": tiers_of(pred["score"], label["LABEL0"], traded),
    }

"""Thirty-nine real swaps, 30-minute bars, go down the whole road; what is asserted is bookkeeping, never a profit.

../shared/realdata/okx_swap_30m_2026.parquet -> store -> Alpha158 -> LightGBM -> TopkDropout -> report
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import shared

import qlib
from qlib.constant import REG_CRYPTO
from qlib.contrib.report.run_report import write_report
from qlib.data import D
from qlib.data.storage.writer import write_store
from qlib.workflow.train import task_train

FREQ = "30min"
FIRST, LAST = "2026-05-26 20:00:00", "2026-06-25 19:00:00"
TRAIN = ("2026-05-28 02:00:00", "2026-06-12 22:30:00")  # sixty bars after the first; two bars (the label) of distance
VALID = ("2026-06-13 00:00:00", "2026-06-17 22:30:00")
TEST = ("2026-06-18 00:00:00", "2026-06-25 18:00:00")
COST, TOPK = 0.0005, 8


def read_frames() -> dict[str, pd.DataFrame]:
    """Bars by name, naive UTC; no vwap, because the source has none and inventing one would be a lie."""
    bars = pd.read_parquet(shared("realdata/okx_swap_30m_2026.parquet"))
    bars.index = pd.to_datetime(bars["ts"], unit="ms").rename("datetime")
    frames = {}
    for name, rows in bars.groupby("symbol"):
        frame = rows[["open", "high", "low", "close", "volume"]].astype("float32")
        frames[str(name)] = frame.assign(factor=np.float32(1), change=frame["close"].pct_change(fill_method=None))
    return frames


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return read_frames()


@pytest.fixture(scope="module")
def store(frames, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("okx") / "store"
    write_store(frames, root, FREQ)
    return root


def job(benchmark: Any) -> dict[str, Any]:
    """The main job's model, data and strategy at 30 minutes."""
    handler = {
        "class": "Alpha158",
        "module_path": "qlib.contrib.data.handler",
        "kwargs": {
            "instruments": "all",
            "start_time": FIRST,
            "end_time": LAST,
            "freq": FREQ,
            "fit_start_time": TRAIN[0],
            "fit_end_time": TRAIN[1],
            "infer_processors": [
                {"class": "RobustZScoreNorm", "kwargs": {"fields_group": "feature", "clip_outlier": True}},
                {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
            ],
            "learn_processors": [
                {"class": "DropnaLabel"},
                {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}},
            ],
        },
    }
    model = {
        "loss": "mse",
        "num_boost_round": 100,
        "early_stopping_rounds": 30,
        "learning_rate": 0.05,
        "num_leaves": 8,
        "min_data_in_leaf": 500,
        "colsample_bytree": 0.5,
        "seed": 1,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
    }
    portfolio = {
        "strategy": {
            "class": "TopkDropoutStrategy",
            "module_path": "qlib.contrib.strategy",
            "kwargs": {"signal": "<PRED>", "topk": TOPK, "n_drop": 1},
        },
        "executor": {
            "class": "SimulatorExecutor",
            "module_path": "qlib.backtest.executor",
            "kwargs": {"time_per_step": FREQ, "generate_portfolio_metrics": True},
        },
        "backtest": {
            "start_time": TEST[0],
            "end_time": TEST[1],
            "account": 100000,
            "benchmark": benchmark,
            "exchange_kwargs": {
                "freq": FREQ,
                "deal_price": "close",
                "open_cost": COST,
                "close_cost": COST,
                "min_cost": 0,
            },
        },
    }
    records = [
        {"class": "SignalRecord", "kwargs": {"model": "<MODEL>", "dataset": "<DATASET>"}},
        {"class": "SigAnaRecord", "kwargs": {"ana_long_short": True, "ann_scaler": 365 * 48}},
        {"class": "PortAnaRecord", "kwargs": {"config": portfolio}},
    ]
    return {
        "model": {"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt", "kwargs": model},
        "dataset": {
            "class": "DatasetH",
            "module_path": "qlib.data.dataset",
            "kwargs": {"handler": handler, "segments": {"train": TRAIN, "valid": VALID, "test": TEST}},
        },
        "record": [{"module_path": "qlib.workflow.record_temp", **record} for record in records],
    }


def walk(store: Path, folder: Path, names: list[str]) -> dict[str, Any]:
    """Run the job once and return what it left behind."""
    manager = {
        "class": "MLflowExpManager",
        "module_path": "qlib.workflow.expm",
        "kwargs": {"uri": f"sqlite:///{folder / 'mlflow.db'}", "default_exp_name": "okx"},
    }
    qlib.init(provider_uri=str(store), region=REG_CRYPTO, exp_manager=manager)
    recorder = task_train(job(names), experiment_name="okx")
    page = write_report(recorder)
    loaded = {
        name: recorder.load_object(f"portfolio_analysis/{name}_{FREQ}.pkl")
        for name in ("report_normal", "positions_normal", "port_analysis", "indicators_normal")
    }
    return loaded | {
        "pred": recorder.load_object("pred.pkl"),
        "label": recorder.load_object("label.pkl"),
        "ic": recorder.load_object("sig_analysis/ic.pkl"),
        "metrics": recorder.list_metrics(),
        "page": page,
    }


@pytest.fixture(scope="module")
def run(store, frames, tmp_path_factory) -> dict[str, Any]:
    return walk(store, tmp_path_factory.mktemp("first"), list(frames))


def test_the_store_gives_back_the_bars_of_the_file(store, frames):
    qlib.init(provider_uri=str(store), region=REG_CRYPTO)
    calendar = D.calendar(freq=FREQ)
    assert len(calendar) == 1439
    assert (str(calendar[0]), str(calendar[-1])) == (FIRST, LAST)
    read = D.features(D.instruments("all"), ["$open", "$high", "$low", "$close", "$volume"], freq=FREQ)
    assert read.shape == (56121, 5)
    for name, frame in frames.items():
        expected = frame[["open", "high", "low", "close", "volume"]]
        np.testing.assert_array_equal(read.loc[name].to_numpy(), expected.to_numpy())


def test_every_swap_has_a_prediction_and_a_label_at_every_bar_of_the_test_segment(run):
    bars = pd.date_range(*TEST, freq=FREQ)
    assert len(run["pred"]) == len(bars) * 39
    assert run["pred"].index.names == ["datetime", "instrument"]
    assert run["pred"]["score"].notna().all()
    assert run["pred"]["score"].nunique() > 100
    assert run["label"].notna().all().all()
    assert len(run["ic"]) == len(bars)


def test_metrics_are_those_of_qlib_at_this_freq(run):
    assert {"IC", "ICIR", "Rank IC", "Rank ICIR", "Long-Short Ann Return"} <= set(run["metrics"])
    for excess in ("without", "with"):
        for measure in ("mean", "std", "annualized_return", "information_ratio", "max_drawdown"):
            assert np.isfinite(run["metrics"][f"{FREQ}.excess_return_{excess}_cost.{measure}"])


def test_annual_figures_count_365_days_of_48_bars(run):
    excess = run["report_normal"]["return"] - run["report_normal"]["bench"]
    annual = run["metrics"][f"{FREQ}.excess_return_without_cost.annualized_return"]
    assert annual == pytest.approx(excess.mean() * 365 * 48, rel=1e-9)


def test_the_account_moves_by_prices_less_costs_and_by_nothing_else(run, frames):
    """Deals are done at the close, so between two bars only the holdings of the earlier one earn anything."""
    report, positions = run["report_normal"], run["positions_normal"]
    close = pd.DataFrame({name: frame["close"] for name, frame in frames.items()}).astype("float64")
    account = report["account"]
    previous = account.shift(1, fill_value=100000.0)
    earned, worth = pd.Series(0.0, index=report.index), pd.Series(0.0, index=report.index)
    held: dict[str, float] = {}
    for time, before in zip(report.index, [None, *report.index[:-1]], strict=True):
        amounts = positions[time].get_stock_amount_dict()
        worth[time] = sum(amount * close.at[time, name] for name, amount in amounts.items())
        if before is not None:
            earned[time] = sum(n * (close.at[time, name] - close.at[before, name]) for name, n in held.items())
        held = amounts
    paid = report["cost"] * previous
    np.testing.assert_allclose(report["value"], worth, rtol=1e-9)
    np.testing.assert_allclose(report["cash"] + report["value"], account, rtol=1e-12)
    np.testing.assert_allclose(account - previous, earned - paid, atol=1e-6)
    np.testing.assert_allclose(report["total_cost"].diff().fillna(report["total_cost"]), paid, atol=1e-9)
    np.testing.assert_allclose(report["cost"], report["turnover"] * COST, atol=1e-12)
    np.testing.assert_allclose(account.iloc[-1], 100000 + earned.sum() - paid.sum(), atol=1e-5)


def test_never_more_names_than_asked_for_and_never_negative_cash(run):
    sizes = [len(position.get_stock_list()) for position in run["positions_normal"].values()]
    assert max(sizes) == TOPK
    assert (run["report_normal"]["cash"] >= -1e-6).all()


def test_the_benchmark_is_the_mean_return_of_the_swaps(run, frames):
    mean = pd.DataFrame({name: frame["change"] for name, frame in frames.items()}).mean(axis=1)
    report = run["report_normal"]
    np.testing.assert_allclose(report["bench"], mean.reindex(report.index), atol=1e-6)


def test_the_report_is_there_and_says_where_its_numbers_come_from(run):
    assert run["page"].exists()
    numbers = json.loads(run["page"].with_suffix(".json").read_text())
    assert FREQ in json.dumps(numbers)
    assert numbers["data"]["synthetic"] is False


def test_the_same_job_again_gives_the_same_predictions_and_the_same_account(run, store, frames, tmp_path):
    again = walk(store, tmp_path, list(frames))
    pd.testing.assert_frame_equal(run["pred"], again["pred"], check_exact=True)
    pd.testing.assert_frame_equal(run["report_normal"], again["report_normal"], check_exact=True)
    assert {k: v for k, v in run["metrics"].items() if "time" not in k} == again["metrics"]

"""The main job in code: the same model, data, strategy and records as config/workflow.json.

    python examples/workflow_by_code.py            the whole job
    python examples/workflow_by_code.py --quick    two years of it and thirty trees, to see it walk

It writes the synthetic sample market first if it is not there, and prints where the report is.
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path
from typing import Any

import qlib
from qlib.constant import REG_CRYPTO
from qlib.contrib.report.run_report import write_report
from qlib.tests.data import GetData
from qlib.utils import flatten_dict, init_instance_by_config
from qlib.workflow import R
from qlib.workflow.record_temp import PortAnaRecord, SigAnaRecord, SignalRecord

PROVIDER_URI = "~/.qlib/qlib_data/sample_data"

MODEL = {
    "class": "LGBModel",
    "module_path": "qlib.contrib.model.gbdt",
    "kwargs": {
        "loss": "mse",
        "num_boost_round": 1000,
        "early_stopping_rounds": 50,
        "learning_rate": 0.05,
        "num_leaves": 8,
        "min_data_in_leaf": 500,
        "colsample_bytree": 0.5,
        "subsample": 0.8,
        "subsample_freq": 1,
        "seed": 2026,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
    },
}

# A label looks two bars ahead (close of t+1 to close of t+2), so two bars are left out between the segments.
SEGMENTS = {
    "train": ["2021-03-02", "2023-06-28"],
    "valid": ["2023-07-01", "2023-12-29"],
    "test": ["2024-01-01", "2024-12-29"],
}

HANDLER = {
    "class": "Alpha158",
    "module_path": "qlib.contrib.data.handler",
    "kwargs": {
        "instruments": "all",
        "start_time": "2021-01-01",
        "end_time": "2024-12-31",
        "fit_start_time": "2021-03-02",
        "fit_end_time": "2023-06-28",
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

DATASET = {
    "class": "DatasetH",
    "module_path": "qlib.data.dataset",
    "kwargs": {"handler": HANDLER, "segments": SEGMENTS},
}

PORTFOLIO = {
    "strategy": {
        "class": "TopkDropoutStrategy",
        "module_path": "qlib.contrib.strategy",
        # only_tradable: else a delisted coin, which cannot be sold, takes one of the two places for ever
        "kwargs": {"signal": "<PRED>", "topk": 10, "n_drop": 2, "only_tradable": True},
    },
    "backtest": {
        "start_time": "2024-01-01",
        "end_time": "2024-12-30",
        "account": 1000000,
        "benchmark": "MARKET",
        "exchange_kwargs": {"deal_price": "close", "open_cost": 0.001, "close_cost": 0.001, "min_cost": 0},
    },
}


def build_job(*, quick: bool = False) -> dict[str, Any]:
    """Return the configurations of model, dataset and portfolio; `quick` makes all three small."""
    job = deepcopy({"model": MODEL, "dataset": DATASET, "portfolio": PORTFOLIO})
    if quick:
        job["model"]["kwargs"]["num_boost_round"] = 30
        job["dataset"]["kwargs"]["segments"]["train"][0] = "2022-10-01"
        job["dataset"]["kwargs"]["segments"]["test"][1] = "2024-03-29"
        handler = job["dataset"]["kwargs"]["handler"]["kwargs"]
        handler |= {"start_time": "2022-08-01", "end_time": "2024-03-31", "fit_start_time": "2022-10-01"}
        job["portfolio"]["backtest"]["end_time"] = "2024-03-30"
    return job


def main() -> None:
    """Get the data, fit, predict, analyse, trade on paper, report."""
    arguments = argparse.ArgumentParser(description="The main job of qlib-crypto, in code, on synthetic data.")
    arguments.add_argument("--quick", action="store_true", help="a small version that takes seconds")
    arguments.add_argument("--provider_uri", default=PROVIDER_URI, help="folder of the sample market")
    chosen = arguments.parse_args()

    print(GetData().sample(target_dir=chosen.provider_uri, exists_skip=True).rsplit("\n", 1)[0])
    qlib.init(provider_uri=chosen.provider_uri, region=REG_CRYPTO)

    job = build_job(quick=chosen.quick)
    model = init_instance_by_config(job["model"])
    dataset = init_instance_by_config(job["dataset"])

    with R.start(experiment_name="workflow_by_code"):
        R.log_params(**flatten_dict({"model": job["model"], "dataset": job["dataset"]}))
        R.save_objects(task={"model": job["model"], "dataset": job["dataset"]})
        model.fit(dataset)
        R.save_objects(**{"params.pkl": model})

        recorder = R.get_recorder()
        SignalRecord(model=model, dataset=dataset, recorder=recorder).generate()
        SigAnaRecord(recorder=recorder, ana_long_short=True, ann_scaler=365).generate()
        PortAnaRecord(recorder=recorder, config=job["portfolio"]).generate()

    report = write_report(recorder)
    metrics = recorder.list_metrics()
    print(f"IC {metrics['IC']:.4f}, Rank IC {metrics['Rank IC']:.4f} (synthetic data)")
    print(f"Report: {Path(report).resolve()}")


if __name__ == "__main__":
    main()

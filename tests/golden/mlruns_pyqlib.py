"""Runs as pyqlib 0.9.7 keeps them (MLflow's folder store): tests/golden/mlruns_pyqlib.tar.gz.

/opt/q/oracle/bin/python tests/golden/mlruns_pyqlib.py <folder>      writes <folder>/mlruns; tar it from there
"""

import sys

import numpy as np
import pandas as pd

import qlib
from qlib.contrib.model.linear import LinearModel
from qlib.workflow import R


def write(folder: str) -> None:
    uri = f"file:{folder}/mlruns"
    manager = {
        "class": "MLflowExpManager",
        "module_path": "qlib.workflow.expm",
        "kwargs": {"uri": uri, "default_exp_name": "Experiment"},
    }
    qlib.init(provider_uri=folder, exp_manager=manager, logging_level=40)
    index = pd.MultiIndex.from_product(
        [pd.date_range("2020-01-01", periods=3), ["SH600000", "SZ000001"]], names=["datetime", "instrument"]
    )
    for number in range(2):
        with R.start(experiment_name="workflow", recorder_name=f"run{number}"):
            R.log_params(number=number, **{"model.class": "LinearModel"})
            for step in range(3):
                R.log_metrics(step=step, IC=0.01 * step + number)
            model = LinearModel()
            model.coef_, model.intercept_ = np.arange(3.0), 0.5
            R.save_objects(
                **{
                    "pred.pkl": pd.DataFrame({"score": np.arange(6.0) + number}, index=index),
                    "params.pkl": model,
                    "task": {"model": {"class": "LinearModel"}},
                }
            )
            R.save_objects(artifact_path="sig_analysis", **{"ic.pkl": pd.Series([0.1, np.nan], name="ic")})


if __name__ == "__main__":
    write(sys.argv[1])

"""Inputs of the record templates, and, run by pyqlib's own interpreter, what pyqlib 0.9.7 makes of them.

    MLFLOW_ALLOW_FILE_STORE=true /path/to/pyqlib/python tests/golden/records_answers.py STORES    writes records.json

STORES is the folder of the golden stores (`day` in it). The tests take the inputs from here.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ANSWERS = Path(__file__).with_name("records.json")
CASES = {"plain": (1, False, False), "holes": (2, True, False), "ties": (3, False, True)}
NAMES = ["SH600000", "SH600014", "SH600028", "SH600042", "SH600056", "SH600070", "SH600084", "SH600098", "SH600112"]
SEGMENTS = {"a": ("2020-01-01", "2020-01-12"), "b": ("2020-01-13", "2020-01-24")}
PASSES = {"fixed": (3, False), "shuffled": (4, True)}


def hours(seed: int, holes: bool, ties: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A prediction and a label over 24 bars of 15 names."""
    rng = np.random.default_rng(seed)
    times = pd.date_range("2020-01-01 09:00", periods=24, freq="60min")
    index = pd.MultiIndex.from_product([times, [f"S{i:02d}" for i in range(15)]], names=["datetime", "instrument"])
    truth, noise = rng.normal(size=len(index)).round(4), rng.normal(size=len(index)).round(4)
    score, label = truth + noise, truth / 100
    if holes:
        label[rng.random(len(index)) < 0.1] = np.nan
    score = score.round() if ties else score
    return pd.DataFrame({"score": score}, index=index), pd.DataFrame({"LABEL0": label}, index=index)


def segments() -> pd.DataFrame:
    """Feature and label over 24 days of 8 names; some labels are missing."""
    rng = np.random.default_rng(11)
    index = pd.MultiIndex.from_product(
        [pd.date_range("2020-01-01", periods=24), list("ABCDEFGH")], names=["datetime", "instrument"]
    )
    truth, noise = rng.normal(size=len(index)).round(4), rng.normal(size=len(index)).round(4)
    label = np.where(rng.random(len(index)) < 0.05, np.nan, truth)
    columns = pd.MultiIndex.from_tuples([("feature", "X"), ("label", "LABEL0")])
    return pd.DataFrame({0: truth + noise, 1: label}, index=index).set_axis(columns, axis=1)


def scores(calendar: Any) -> pd.DataFrame:
    """Scores over 40 days of nine names of the golden market."""
    index = pd.MultiIndex.from_product([calendar[-140:-100], NAMES], names=["datetime", "instrument"])
    values = np.random.default_rng(5).normal(size=len(index)).round(4)
    return pd.DataFrame({"score": values}, index=index)


def portfolio(calendar: Any) -> dict[str, Any]:
    """Configuration of a backtest over those scores."""
    return {
        "strategy": {
            "class": "TopkDropoutStrategy",
            "module_path": "qlib.contrib.strategy",
            "kwargs": {"signal": "<PRED>", "topk": 4, "n_drop": 1},
        },
        "backtest": {
            "start_time": calendar[-139],
            "end_time": calendar[-101],
            "account": 1_000_000,
            "benchmark": NAMES[0],
            "exchange_kwargs": {
                "limit_threshold": None,
                "deal_price": "close",
                "open_cost": 0.0005,
                "close_cost": 0.0015,
                "min_cost": 0,
            },
        },
    }


def plain(thing: Any) -> Any:
    """What an artifact holds, for JSON."""
    if isinstance(thing, pd.DataFrame):
        return {
            "index": [list(key) for key in thing.index],
            "columns": list(thing),
            "values": thing.to_numpy().tolist(),
        }
    if isinstance(thing, pd.Series):
        values = [None if np.isnan(value) else float(value) for value in thing]
        return {"name": thing.name, "index_name": thing.index.name, "values": values}
    if isinstance(thing, dict):
        return {key: plain(value) for key, value in thing.items()}
    return float(thing)


def main(stores: Path) -> None:
    import qlib
    from qlib.contrib.workflow.record_temp import MultiSegRecord, SignalMseRecord
    from qlib.data import D
    from qlib.data.dataset import DatasetH
    from qlib.data.dataset.handler import DataHandlerLP
    from qlib.model.base import Model
    from qlib.workflow import R
    from qlib.workflow.record_temp import HFSignalRecord, MultiPassPortAnaRecord

    class First(Model):
        def fit(self, dataset: Any) -> None: ...

        def predict(self, dataset: Any, segment: Any = "test") -> pd.Series:
            return dataset.prepare(segment, col_set="feature").iloc[:, 0]

    qlib.init(provider_uri=str(stores / "day"), region="us")
    answers: dict[str, Any] = {"note": "pyqlib 0.9.7; made by records_answers.py"}

    for name, case in CASES.items():
        pred, label = hours(*case)
        with R.start(experiment_name="hours"):
            run = R.get_recorder()
            run.save_objects(**{"pred.pkl": pred, "label.pkl": label})
            HFSignalRecord(run).generate()
            SignalMseRecord(run).generate()
            files = run.list_artifacts("hg_sig_analysis") + run.list_artifacts("sig_analysis")
            objects = {file: plain(run.load_object(file)) for file in sorted(files)}
        answers[name] = {"objects": objects, "metrics": {k: float(v) for k, v in run.list_metrics().items()}}

    with R.start(experiment_name="segments"):
        run = R.get_recorder()
        dataset = DatasetH(DataHandlerLP.from_df(segments()), SEGMENTS)
        MultiSegRecord(First(), dataset, run).generate({key: key for key in SEGMENTS}, save=True)
        files = [file for file in run.list_artifacts() if file.startswith("results")]
        objects = {file: plain(run.load_object(file)) for file in sorted(files)}
    answers["segments"] = {"objects": objects, "metrics": {k: float(v) for k, v in run.list_metrics().items()}}

    calendar = D.calendar(freq="day")
    for name, (passes, shuffle) in PASSES.items():
        with R.start(experiment_name="passes"):
            run = R.get_recorder()
            run.save_objects(**{"pred.pkl": scores(calendar), "label.pkl": scores(calendar)})
            config = portfolio(calendar)
            record = MultiPassPortAnaRecord(run, passes, shuffle, config=config, risk_analysis_freq="day")
            record.generate()
            files = run.list_artifacts("portfolio_analysis")
            objects = {file: plain(run.load_object(file)) for file in sorted(files)}
        answers[name] = {"objects": objects, "metrics": {k: float(v) for k, v in run.list_metrics().items()}}
    ANSWERS.write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    home = Path.cwd()
    folder = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as elsewhere:
        import os

        os.chdir(elsewhere)
        main(folder)
        os.chdir(home)

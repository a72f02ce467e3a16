"""The road finds what was planted, not more, and nothing where nothing was planted.

Model and data are those of config/workflow.json; the oracle is asked about the very rows that the model predicted.
Frozen market, seeded model: a failure is a change of the software, never bad luck.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib.analysis.ic import calc_ic
from qlib.constant import REG_CRYPTO
from qlib.crypto.planted import WINDOW, oracle_score, planted_ic
from qlib.crypto.sample import MarketSpec
from qlib.crypto.sample_store import write_sample
from qlib.data import D
from qlib.utils.objects import init_instance_by_config

JOB = json.loads((Path(__file__).resolve().parents[2] / "config" / "workflow.json").read_text())["task"]
FIELDS = ["$high", "$low", "$close", "$volume"]


def fit_and_compare(store: Path) -> dict[str, Any]:
    """Daily IC of the fitted model and of the oracle over the test segment."""
    qlib.init(provider_uri=str(store), region=REG_CRYPTO)
    job = deepcopy(JOB)
    dataset = init_instance_by_config(job["dataset"])
    model = init_instance_by_config(job["model"])
    model.fit(dataset)
    predicted = model.predict(dataset, segment="test")
    label = dataset.prepare("test", col_set="label", data_key="raw").iloc[:, 0]
    start = predicted.index.get_level_values("datetime").min() - pd.Timedelta(days=WINDOW + 5)
    oracle = oracle_score(D.features(D.instruments("all"), FIELDS, start_time=start))
    rows = predicted.index.intersection(oracle.index).intersection(label.dropna().index)
    assert len(rows) > 0.95 * len(predicted)
    return {
        "model": calc_ic(predicted[rows], label[rows], dropna=True)[0],
        "oracle": calc_ic(oracle[rows], label[rows], dropna=True)[0],
        "days": predicted.index.get_level_values("datetime").nunique(),
    }


def error_of(ic: pd.Series) -> float:
    return float(ic.std() / np.sqrt(len(ic)))


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> dict[str, Any]:
    store, _ = write_sample(tmp_path_factory.mktemp("planted") / "store", MarketSpec(hourly_days=1))
    return fit_and_compare(store) | {"ic": planted_ic(store)}


@pytest.fixture(scope="module")
def null(tmp_path_factory) -> dict[str, Any]:
    store, _ = write_sample(tmp_path_factory.mktemp("null") / "store", MarketSpec(hourly_days=1, ic=0.0))
    return fit_and_compare(store) | {"ic": planted_ic(store)}


def test_the_oracle_earns_the_planted_ic_on_the_test_year(planted):
    assert planted["ic"] == 0.08
    assert planted["days"] > 360
    assert abs(planted["oracle"].mean() - planted["ic"]) <= 4 * error_of(planted["oracle"])


def test_lightgbm_finds_at_least_sixty_percent_of_what_the_oracle_knows(planted):
    assert planted["model"].mean() >= 0.6 * planted["oracle"].mean()


def test_nothing_is_better_than_the_oracle(planted):
    """On the same days: a model that beats the oracle by four standard errors has seen the future."""
    ahead = planted["model"] - planted["oracle"]
    assert ahead.mean() <= 4 * error_of(ahead)
    assert planted["model"].mean() <= planted["ic"] + 4 * error_of(planted["model"])


def test_in_the_null_twin_there_is_nothing_to_find(null):
    assert null["ic"] == 0
    assert abs(null["model"].mean()) <= 3 * error_of(null["model"])
    assert abs(null["oracle"].mean()) <= 3 * error_of(null["oracle"])

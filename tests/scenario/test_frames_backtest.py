"""From a frame to a backtest with no store at all: handler, scores and account have the bits of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib.backtest import backtest
from qlib.contrib.data.handler import Alpha158
from qlib.contrib.model.gbdt import LGBModel
from qlib.contrib.strategy import TopkDropoutStrategy
from qlib.crypto.sample import MarketSpec
from qlib.crypto.sample_store import write_sample
from qlib.data import D, Frames
from qlib.data.dataset import DatasetH
from qlib.session import close

PROCESSORS = [
    {"class": "RobustZScoreNorm", "kwargs": {"fields_group": "feature", "clip_outlier": True}},
    {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
]
LEARN = [{"class": "DropnaLabel"}, {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}}]
SEGMENTS = {
    "train": ("2021-03-15", "2021-08-31"),
    "valid": ("2021-09-05", "2021-09-30"),
    "test": ("2021-10-05", "2021-12-20"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("market") / "store"
    write_sample(target, MarketSpec(days=360, hourly_days=1, coins=12, late=3, delisted=2))
    return target


@pytest.fixture(scope="module")
def rows(store: Path) -> pd.DataFrame:
    """Return everything that the store holds of days, as rows."""
    qlib.init(provider_uri=store, region="crypto")
    names = D.list_instruments(D.instruments("all"), as_list=True)
    everybody = sorted({*names, *(name.upper() for name in D.store.stored_instruments("day"))})
    fields = D.stored_fields(names[0])
    frame = D.features(everybody, [f"${field}" for field in fields])
    close()
    return frame.rename(columns=lambda name: name[1:]).reset_index()


def worked() -> dict[str, Any]:
    """Run handler, model and backtest over the live session."""
    days = {"start_time": "2021-01-01", "end_time": "2021-12-25"}
    fit = {"fit_start_time": SEGMENTS["train"][0], "fit_end_time": SEGMENTS["train"][1]}
    handler = Alpha158("all", **days, **fit, infer_processors=PROCESSORS, learn_processors=LEARN)
    dataset = DatasetH(handler, SEGMENTS)
    model = LGBModel("mse", num_leaves=8, num_threads=1, seed=1, deterministic=True, num_boost_round=20)
    model.fit(dataset)
    scores = model.predict(dataset)
    report, _ = backtest(
        start_time=SEGMENTS["test"][0],
        end_time=SEGMENTS["test"][1],
        strategy=TopkDropoutStrategy(signal=scores, topk=4, n_drop=1),
        executor={
            "class": "SimulatorExecutor",
            "module_path": "qlib.backtest.executor",
            "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
        },
        account=1e6,
        benchmark="MARKET",
        exchange_kwargs={"deal_price": "close", "open_cost": 0.001, "close_cost": 0.001, "min_cost": 0, "freq": "day"},
    )
    return {"data": handler.fetch(), "scores": scores.to_frame(), "report": report["1day"][0]}


@pytest.fixture(scope="module")
def expected(store: Path, rows: pd.DataFrame) -> dict[str, Any]:
    qlib.init(provider_uri=store, region="crypto")
    found = worked()
    close()
    return found


@pytest.mark.parametrize("kind", ["pandas", "parquet", "duckdb"])
def test_handler_model_and_backtest_give_the_bits_of_the_store(kind, store, rows, expected, tmp_path):
    source: Any = rows
    if kind == "parquet":
        rows.sample(frac=1, random_state=0).to_parquet(tmp_path / "bars.parquet", index=False)
        source = str(tmp_path)
    elif kind == "duckdb":
        duckdb = pytest.importorskip("duckdb")
        source = duckdb.connect().from_df(rows)
    qlib.init(provider_uri=store, region="crypto")
    everybody = D.list_instruments(D.instruments("all"))
    qlib.init(data=Frames({"day": source}, markets={"all": everybody}), region="crypto")
    found = worked()
    close()
    assert len(found["report"]) > 60
    assert found["report"]["turnover"].sum() > 0
    assert np.isfinite(found["scores"].to_numpy()).all()
    for name, frame in expected.items():
        pd.testing.assert_frame_equal(found[name], frame, check_exact=True, obj=name)

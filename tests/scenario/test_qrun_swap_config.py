"""config/workflow_okx_swap_1h.json runs as it stands, on the sample market: perpetuals by the hour, long and short."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qlib import session
from qlib.cli.run import main
from qlib.crypto.sample_store import write_sample
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager

CONFIG = Path(__file__).resolve().parents[2] / "config" / "workflow_okx_swap_1h.json"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger("qlib")
    before = (log.level, log.propagate, list(log.handlers), list(log.filters))
    yield tmp_path
    session.close()
    log.level, log.propagate, log.handlers[:], log.filters[:] = before


def test_the_configuration_trades_perpetuals_with_funding_and_writes_its_report(here):
    store, _ = write_sample(here / "store")
    config = json.loads(CONFIG.read_text())
    config["qlib_init"]["provider_uri"] = str(store)
    config["task"]["model"]["kwargs"] |= {"num_boost_round": 5, "num_leaves": 4}  # the road, not the skill
    file = here / "config.json"
    file.write_text(json.dumps(config))
    assert main([str(file)]) == 0

    runs = QlibRecorder(MLflowExpManager(str(here / "mlruns"), "E"))
    (run,) = runs.list_recorders(experiment_name="sample_perpetuals").values()
    trades = pd.read_parquet(next((here / "mlruns").rglob("trades*.parquet")))
    assert set(trades["side"]) == {"buy", "sell"}
    assert trades["time"].dt.hour.nunique() <= 3  # it decides every eight hours
    assert 100_000 < next((here / "mlruns").rglob("report.html")).stat().st_size < 5_000_000
    positions = run.load_object("portfolio_analysis/positions_normal_60min.pkl")
    held = positions[max(positions)]
    amounts = np.array(list(held.get_stock_amount_dict().values()))
    assert (amounts > 0).any()
    assert (amounts < 0).any()
    assert {"entry", "margin", "limit"} <= set(held.position[held.get_stock_list()[0]])

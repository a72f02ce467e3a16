"""config/workflow.json, the daily one for spot: on years of Coinbase as it stands, on a month of OKX by its roads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from proof import PROOF
from real_stores import REAL, coinbase_spot, okx_perpetuals
from test_qrun_swap_config import working_in

from qlib.cli.run import main
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager

pytestmark = [
    pytest.mark.skipif(not PROOF, reason="a proof of ten seconds: QLIB_PROOF=1"),
    pytest.mark.skipif(not REAL.is_dir(), reason="../shared/realdata is absent: no real bars to trade on"),
]
CONFIG = Path(__file__).resolve().parents[2] / "config" / "workflow.json"


def ran(tmp_path: Path, config: dict):
    """Run it with few rounds: the road is what counts, not the skill."""
    config["task"]["model"]["kwargs"] |= {"num_boost_round": 5, "min_data_in_leaf": 20}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    assert main([str(file)]) == 0
    runs = QlibRecorder(MLflowExpManager(str(tmp_path / "mlruns"), "E"))
    (run,) = runs.list_recorders(experiment_name="sample_market").values()
    report = run.load_object("portfolio_analysis/report_normal_1day.pkl")
    positions = run.load_object("portfolio_analysis/positions_normal_1day.pkl")
    net = report["return"] - report["cost"]
    assert np.allclose(report["account"], 1e6 * (1 + net).cumprod(), rtol=1e-9)
    held = [position.get_stock_amount_dict() for position in positions.values()]
    assert all(amount > 0 for one in held for amount in one.values()) and max(map(len, held)) == 4
    return report, run.load_object("sig_analysis/ic.pkl")


def configuration(store: Path, benchmark: str) -> dict:
    config = json.loads(CONFIG.read_text())
    config["qlib_init"]["provider_uri"] = str(store)
    told = config["task"]["record"][-1]["kwargs"]["config"]
    told["strategy"]["kwargs"] |= {"topk": 4, "n_drop": 1}
    told["backtest"]["benchmark"] = benchmark
    return config


def test_the_daily_configuration_holds_real_coins_long_only(tmp_path):
    with working_in(tmp_path):
        report, ic = ran(tmp_path, configuration(coinbase_spot(tmp_path), "BTC-USD"))
    assert len(report) == 365 and report["bench"].std() > 0.01 and ic.notna().sum() > 350


def test_it_runs_on_the_month_of_okx_bars_that_there_is(tmp_path):
    with working_in(tmp_path):
        config = configuration(okx_perpetuals(tmp_path), "BTC-USDT-SWAP")
        dataset = config["task"]["dataset"]["kwargs"]
        dataset["segments"] = {
            "train": ["2026-05-28", "2026-06-12"],
            "valid": ["2026-06-15", "2026-06-16"],
            "test": ["2026-06-19", "2026-06-22"],
        }
        dataset["handler"]["kwargs"] |= {
            "start_time": "2026-05-27",
            "end_time": "2026-06-24",
            "fit_start_time": "2026-05-28",
            "fit_end_time": "2026-06-12",
        }
        config["task"]["record"][-1]["kwargs"]["config"]["backtest"] |= {
            "start_time": "2026-06-19",
            "end_time": "2026-06-23",
        }
        report, ic = ran(tmp_path, config)
    assert len(report) == 5 and report["bench"].std() > 0.001 and ic.notna().sum() >= 3

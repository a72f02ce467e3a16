"""config/workflow.json, the daily one for spot, on real days of Coinbase: its own dates, other names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from proof import PROOF
from real_stores import REAL, coinbase_spot
from test_qrun_swap_config import working_in

from qlib.cli.run import main
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager

pytestmark = [
    pytest.mark.skipif(not PROOF, reason="a proof of ten seconds: QLIB_PROOF=1"),
    pytest.mark.skipif(not REAL.is_dir(), reason="../shared/realdata is absent: no real bars to trade on"),
]
CONFIG = Path(__file__).resolve().parents[2] / "config" / "workflow.json"


def test_the_daily_configuration_holds_real_coins_long_only(tmp_path):
    with working_in(tmp_path):
        config = json.loads(CONFIG.read_text())
        config["qlib_init"]["provider_uri"] = str(coinbase_spot(tmp_path))
        task = config["task"]
        task["model"]["kwargs"] |= {"num_boost_round": 5, "min_data_in_leaf": 50}  # the road, not the skill
        told = task["record"][-1]["kwargs"]["config"]
        told["strategy"]["kwargs"] |= {"topk": 4, "n_drop": 1}
        told["backtest"]["benchmark"] = "BTC-USD"
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config))
        assert main([str(file)]) == 0
        runs = QlibRecorder(MLflowExpManager(str(tmp_path / "mlruns"), "E"))
        (run,) = runs.list_recorders(experiment_name="sample_market").values()
        report = run.load_object("portfolio_analysis/report_normal_1day.pkl")
        positions = run.load_object("portfolio_analysis/positions_normal_1day.pkl")
        net = report["return"] - report["cost"]
        assert len(report) == 365 and np.allclose(report["account"], 1e6 * (1 + net).cumprod(), rtol=1e-9)
        held = [position.get_stock_amount_dict() for position in positions.values()]
        assert all(amount > 0 for one in held for amount in one.values()) and max(map(len, held)) == 4
        assert report["bench"].std() > 0.01 and run.load_object("sig_analysis/ic.pkl").notna().sum() > 350

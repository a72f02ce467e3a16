"""The configuration that Qlib's users know runs as it stands: only the folder of the data and the dates are ours.

Region cn, Alpha158, LightGBM with its published hyper-parameters, TopkDropout 50/5 on `<PRED>`, the three records; the
store is the golden one, shaped like Qlib's Chinese market (24 names, their index, limit days, splits, suspensions).
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qlib import session
from qlib.cli.run import main
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager

CONFIG = """
qlib_init:
    provider_uri: "{store}"
    region: cn
market: &market {market}
benchmark: &benchmark SH000300
data_handler_config: &data_handler_config
    start_time: 2018-01-02
    end_time: 2019-08-30
    fit_start_time: 2018-01-02
    fit_end_time: 2018-12-31
    instruments: *market
port_analysis_config: &port_analysis_config
    strategy:
        class: TopkDropoutStrategy
        module_path: qlib.contrib.strategy
        kwargs:
            signal: <PRED>
            topk: 50
            n_drop: 5
    backtest:
        start_time: 2019-04-01
        end_time: 2019-08-30
        account: 100000000
        benchmark: *benchmark
        exchange_kwargs:
            limit_threshold: 0.095
            deal_price: close
            open_cost: 0.0005
            close_cost: 0.0015
            min_cost: 5
task:
    model:
        class: LGBModel
        module_path: qlib.contrib.model.gbdt
        kwargs:
            loss: mse
            colsample_bytree: 0.8879
            learning_rate: {learning_rate}
            subsample: 0.8789
            lambda_l1: 205.6999
            lambda_l2: 580.9768
            max_depth: 8
            num_leaves: 210
            num_threads: 20
    dataset:
        class: DatasetH
        module_path: qlib.data.dataset
        kwargs:
            handler:
                class: Alpha158
                module_path: qlib.contrib.data.handler
                kwargs: *data_handler_config
            segments:
                train: [2018-01-02, 2018-12-31]
                valid: [2019-01-01, 2019-03-31]
                test: [2019-04-01, 2019-08-30]
    record:
        - class: SignalRecord
          module_path: qlib.workflow.record_temp
          kwargs:
            model: <MODEL>
            dataset: <DATASET>
        - class: SigAnaRecord
          module_path: qlib.workflow.record_temp
          kwargs:
            ana_long_short: False
            ann_scaler: 252
        - class: PortAnaRecord
          module_path: qlib.workflow.record_temp
          kwargs:
            config: *port_analysis_config
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger("qlib")
    before = (log.level, log.propagate, list(log.handlers), list(log.filters))
    yield tmp_path
    session.close()
    log.level, log.propagate, log.handlers[:], log.filters[:] = before


@pytest.mark.parametrize(("market", "learning_rate"), [("all", 0.2), ("mid", 0.0421)])
def test_the_configuration_of_qlibs_users_runs_unchanged(here, golden_stores, capsys, market, learning_rate):
    file = here / "workflow_config_lightgbm_Alpha158.yaml"
    file.write_text(CONFIG.format(store=golden_stores / "day", market=market, learning_rate=learning_rate))
    assert main([str(file), "--check"]) == 0
    assert [p.name for p in here.iterdir()] == [file.name]
    assert main([str(file)]) == 0
    said = capsys.readouterr().out.splitlines()

    runs = QlibRecorder(MLflowExpManager(str(here / "mlruns"), "E"))
    (run,) = runs.list_recorders(experiment_name="workflow").values()
    assert run.status == "FINISHED"
    assert Path(said[-1].split(maxsplit=1)[1]).is_file()

    pred, label = run.load_object("pred.pkl"), run.load_object("label.pkl")
    assert pred.index.names == ["datetime", "instrument"]
    assert list(pred.columns) == ["score"]
    assert np.isfinite(pred["score"]).all()
    dates = pred.index.get_level_values("datetime")
    assert (dates.min(), dates.max()) == (pd.Timestamp("2019-04-01"), pd.Timestamp("2019-08-30"))
    assert list(label.columns) == ["LABEL0"]
    assert pred.index.equals(label.index)

    ic = run.load_object("sig_analysis/ic.pkl")
    figures = run.list_metrics()
    assert len(ic) == dates.nunique()
    assert np.isclose(figures["IC"], ic.mean(), equal_nan=True)

    report = run.load_object("portfolio_analysis/report_normal_1day.pkl")
    positions = run.load_object("portfolio_analysis/positions_normal_1day.pkl")
    assert list(report.columns) == [
        "account", "return", "total_turnover", "turnover", "total_cost", "cost", "value", "cash", "bench",
    ]  # fmt: skip
    assert report["total_turnover"].iloc[-1] > 0
    np.testing.assert_allclose(report["account"], report["value"] + report["cash"], rtol=1e-12)
    growth = report["account"] / report["account"].shift(fill_value=1e8) - 1
    np.testing.assert_allclose(growth, report["return"] - report["cost"], atol=1e-9)
    assert set(positions) == set(report.index)
    analysis = run.load_object("portfolio_analysis/port_analysis_1day.pkl")
    excess = report["return"] - report["bench"] - report["cost"]
    year = 238  # trading days of a Chinese year
    assert analysis.loc[("excess_return_with_cost", "annualized_return"), "risk"] == pytest.approx(excess.mean() * year)
    name = "1day.excess_return_with_cost.information_ratio"
    assert figures[name] == pytest.approx(excess.mean() / excess.std() * year**0.5)

"""The notebook runs on a bare home, says the same job as the script beside it, and shows that run's figures inline."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.io as pio
import pytest

import qlib
from qlib.contrib.report import analysis_model, analysis_position
from qlib.data import D
from qlib.workflow import R

nbformat = pytest.importorskip("nbformat", reason="pip install nbformat nbclient ipykernel")
nbclient = pytest.importorskip("nbclient", reason="pip install nbformat nbclient ipykernel")
pytest.importorskip("ipykernel", reason="pip install nbformat nbclient ipykernel")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "workflow_by_code.ipynb"
PLOTLY = "application/vnd.plotly.v1+json"
QUIET: dict[str, Any] = {"show_notebook": False}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ran(home):
    """The notebook with its outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(home)}}
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    client.execute(env={**os.environ, "HOME": str(home), "PYTHONPATH": path})
    return notebook


def shown(notebook: Any, call: str) -> list[dict[str, Any]]:
    """The figures that the cell with this call shows."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and call in cell.source]
    return [output["data"][PLOTLY] for output in cell.outputs if PLOTLY in output.get("data", {})]


def test_the_notebook_says_the_same_job_as_the_quick_script():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith("MODEL =")]
    said: dict[str, Any] = {}
    exec(cell.source, said)
    job = runpy.run_path(str(NOTEBOOK.with_suffix(".py")))["build_job"](quick=True)
    assert {"model": said["MODEL"], "dataset": said["DATASET"], "portfolio": said["PORTFOLIO"]} == job


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_the_figures_inline_are_those_of_the_run(ran, home):
    qlib.init(provider_uri=str(home / ".qlib" / "qlib_data" / "sample_data"), region="crypto")
    R.set_uri(f"sqlite:///{home}/mlruns/mlflow.db")
    (run,) = R.list_recorders(experiment_name="workflow_by_code").values()
    assert run.status == "FINISHED"
    label = run.load_object("label.pkl").set_axis(["label"], axis=1)
    pred_label = pd.concat([label, run.load_object("pred.pkl")], axis=1).reindex(label.index)
    report, positions, analysis = (
        run.load_object(f"portfolio_analysis/{name}_1day.pkl")
        for name in ("report_normal", "positions_normal", "port_analysis")
    )
    after = D.features(D.instruments("all"), ["Ref($close, -1) / $close - 1"], report.index[0], report.index[-1])
    after = after.set_axis(["label"], axis=1)
    wanted = {
        "analysis_model.model_performance_graph": analysis_model.model_performance_graph(pred_label, **QUIET),
        "analysis_position.score_ic_graph": analysis_position.score_ic_graph(pred_label, **QUIET),
        "analysis_position.report_graph": analysis_position.report_graph(report, **QUIET),
        "analysis_position.risk_analysis_graph": analysis_position.risk_analysis_graph(analysis, report, **QUIET),
        "analysis_position.cumulative_return_graph": analysis_position.cumulative_return_graph(
            positions, report, after, **QUIET
        ),
        "analysis_position.rank_label_graph": analysis_position.rank_label_graph(positions, after, **QUIET),
    }
    for call, figures in wanted.items():
        expected = [json.loads(pio.to_json(figure)) for figure in figures]
        inline = shown(ran, call)
        assert len(inline) == len(expected) > 0, call
        for mine, theirs in zip(inline, expected, strict=True):
            assert mine["data"] == theirs["data"], call
            assert mine["layout"] == theirs["layout"], call
    (told,) = [output.text for output in ran.cells[-1].outputs]
    assert Path(told.strip()).name == "report.html"

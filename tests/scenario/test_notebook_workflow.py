"""The notebook runs on a bare home, says the same job as the script beside it, and shows that run's figures inline."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="pip install nbformat nbclient ipykernel")
nbclient = pytest.importorskip("nbclient", reason="pip install nbformat nbclient ipykernel")
pytest.importorskip("ipykernel", reason="pip install nbformat nbclient ipykernel")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "workflow_by_code.ipynb"
PLOTLY = "application/vnd.plotly.v1+json"
# Run behind the notebook's own cells: what the artifacts of its run give, drawn without showing it.
DRAWN = """
import json
import plotly.io as pio

(run,) = R.list_recorders(experiment_name="workflow_by_code").values()
assert run.status == "FINISHED"
label = run.load_object("label.pkl").set_axis(["label"], axis=1)
scored = pd.concat([label, run.load_object("pred.pkl")], axis=1).reindex(label.index)
kept = {name: run.load_object(f"portfolio_analysis/{name}_1day.pkl")
        for name in ("report_normal", "positions_normal", "port_analysis")}
report, positions, analysis = kept.values()
after = D.features(D.instruments("all"), ["Ref($close, -1) / $close - 1"], report.index[0], report.index[-1])
after = after.set_axis(["label"], axis=1)
quiet = {"show_notebook": False}
figures = {
    "analysis_model.model_performance_graph": analysis_model.model_performance_graph(scored, **quiet),
    "analysis_position.score_ic_graph": analysis_position.score_ic_graph(scored, **quiet),
    "analysis_position.report_graph": analysis_position.report_graph(report, **quiet),
    "analysis_position.risk_analysis_graph": analysis_position.risk_analysis_graph(analysis, report, **quiet),
    "analysis_position.cumulative_return_graph":
        analysis_position.cumulative_return_graph(positions, report, after, **quiet),
    "analysis_position.rank_label_graph": analysis_position.rank_label_graph(positions, after, **quiet),
}
print(json.dumps({call: [json.loads(pio.to_json(one)) for one in drawn] for call, drawn in figures.items()}))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ran(home):
    """The notebook with its outputs, and a last cell that prints what it should have shown."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(DRAWN))
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(home)}}
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(home / "runtime"))  # the kernel's connection file
        client.execute(env={**os.environ, "HOME": str(home), "PYTHONPATH": path})
    return notebook


def shown(notebook: Any, call: str) -> list[dict[str, Any]]:
    """The figures that the cell with this call shows."""
    (cell,) = [cell for cell in notebook.cells[:-1] if cell.cell_type == "code" and call in cell.source]
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
    wanted = json.loads("".join(output.text for output in ran.cells[-1].outputs if output.get("name") == "stdout"))
    assert len(wanted) == 6
    for call, expected in wanted.items():
        inline = shown(ran, call)
        assert len(inline) == len(expected) > 0, call
        for mine, theirs in zip(inline, expected, strict=True):
            assert mine["data"] == theirs["data"], call
            assert mine["layout"] == theirs["layout"], call
    (told,) = [output.text for output in ran.cells[-2].outputs]
    assert Path(told.strip()).is_relative_to(home)
    assert Path(told.strip()).name == "report.html"

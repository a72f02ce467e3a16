"""qrun -m: every combination is a run under one parent, whoever computes it, and a broken sweep is gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from qrun_job import config, here, market, runs_in, written  # noqa: F401  fixtures

from qlib import session
from qlib.cli.run import main

MODEL = "task.model.kwargs"


def sweep_json(parent):
    return json.loads(Path(parent.download_artifact("sweep.json")).read_text())


def family(folder):
    """Return the parent and its children by number."""
    runs = runs_in(folder)
    (parent,) = [run for run in runs if "sweep.json" in run.list_artifacts()]
    children = [run for run in runs if run.list_tags().get("mlflow.parentRunId") == parent.id]
    return parent, sorted(children, key=lambda run: int(run.list_tags()["sweep.point"]))


@pytest.fixture
def short(config, monkeypatch):
    """The job without its back-test, and without a report, which is not what these tests ask about."""
    monkeypatch.setattr("qlib.cli.job.write_report", lambda recorder: None)
    config["task"]["record"] = config["task"]["record"][:2]
    config["task"]["record"][1]["kwargs"] = {}
    return config


def test_a_sweep_runs_every_combination_under_one_parent(here, short, capsys):
    file = written(short, here)
    assert main([file, "-m", "alpha=0.01,10", f"{MODEL}.fit_intercept=false"]) == 0
    said = capsys.readouterr()
    parent, children = family(here / "mlruns")
    assert parent.status == "FINISHED" and [run.status for run in children] == ["FINISHED"] * 2
    assert [run.name for run in children] == ["alpha=0.01 fit_intercept=False", "alpha=10 fit_intercept=False"]
    models = [run.load_object("config")["task"]["model"]["kwargs"] for run in children]
    assert [(kwargs["alpha"], kwargs["fit_intercept"]) for kwargs in models] == [(0.01, False), (10, False)]
    points = sweep_json(parent)["points"]
    assert [point["run"] for point in points] == [run.id for run in children]
    assert [point["metrics"]["IC"] for point in points] == [run.list_metrics()["IC"] for run in children]
    assert parent.list_params()[f"sweep {MODEL}.alpha"] == "0.01, 10"
    lines = said.out.splitlines()
    assert lines[0].split()[:3] == ["alpha", "fit_intercept", "IC"]
    assert [line.split()[-1] for line in lines[1:3]] == [run.id for run in children]
    assert "2 trials on the same data" in lines[3]
    assert said.err.count("FINISHED") == 2 and "run 2 of 2" in said.err
    session.close()
    assert main(["--resume", parent.id]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main([file, "alpha=10", f"{MODEL}.fit_intercept=false", "--uri_folder", "alone"]) == 0
    (alone,) = runs_in(here / "alone")
    pd.testing.assert_frame_equal(alone.load_object("pred.pkl"), children[1].load_object("pred.pkl"))


def test_seeds_are_told_as_mean_and_deviation_and_a_point_that_fails_stops_nobody(here, short, capsys):
    (here / "models.py").write_text(
        "import numpy as np, pandas as pd\n"
        "from qlib.contrib.model.linear import LinearModel\n"
        "class Noisy(LinearModel):\n"
        "    def __init__(self, seed=0, level=1.0, **kwargs):\n"
        "        super().__init__(**kwargs)\n"
        "        self.seed, self.level = seed, level\n"
        "    def predict(self, dataset, segment='test'):\n"
        "        if self.level > 5:\n            raise ArithmeticError('too loud')\n"
        "        found = super().predict(dataset, segment)\n"
        "        return found + np.random.default_rng(self.seed).normal(0, self.level, len(found))\n"
    )
    short["task"]["model"] = {"class": "Noisy", "module_path": str(here / "models.py"), "kwargs": {"estimator": "ols"}}
    words = ["-m", f"{MODEL}.seed=seeds(2)", f"{MODEL}.level=0.1,9", "--json"]
    assert main([written(short, here), *words]) == 1
    said = capsys.readouterr()
    told = [json.loads(line) for line in said.out.splitlines()]
    points = [one for one in told if one["event"] == "point"]
    stages = [one["stage"] for one in told if one["event"] == "stage"]
    assert stages == ["check", "qlib.init", "opening the store of the runs", "runs"]
    assert [point["status"] for point in points] == ["FINISHED", "FAILED"] * 2
    assert len({point[f"{MODEL}.seed"] for point in points}) == 2
    assert all("ArithmeticError: too loud in the stage record SignalRecord" in p["error"] for p in points[1::2])
    assert told[-1]["event"] == "failed" and "2 of 4 runs failed" in told[-1]["error"] and told[-1]["exit"] == 1
    parent, children = family(here / "mlruns")
    assert parent.status == "FAILED" and [run.status for run in children] == ["FINISHED", "FAILED"] * 2
    found = [run.list_metrics()["IC"] for run in children[::2]]
    session.close()
    assert main(["--resume", "last"]) == 1  # what failed is tried again, what is finished is taken
    table = capsys.readouterr().out
    assert f"{np.mean(found):.4g} ± {np.std(found, ddof=1):.2g}" in table and "2 runs" in table
    assert [run.id for run in family(here / "mlruns")[1]] == [run.id for run in children]


def test_nothing_begins_where_one_point_is_wrong(here, short, capsys):
    file = written(short, here)
    for words, said in [
        (["estimator=ols,olz", "alpha=0,1"], "(with estimator=olz"),
        (["alpha=1,2", f"{MODEL}.alpha=3,4"], "alpha is given twice"),
        (["alhpa=1,2"], "did you mean alpha?"),
    ]:
        assert main([file, "-m", *words]) == 2
        assert said in capsys.readouterr().err
    assert main([file, "-m", "alpha=1,2", "--check"]) == 0
    assert not (here / "mlruns").exists()
    for words in (["-m", "alpha=1,2", "--plan"], ["-m", "alpha=1,2", "--dry-run"], ["--resume", "x", "-m", "alpha=1"]):
        with pytest.raises(SystemExit):
            main(([] if words[0] == "--resume" else [file]) + words)

"""A folder of runs as pyqlib kept them: opened as it is, and taken over into a database."""

from __future__ import annotations

import logging
import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qlib.cli import migrate_runs
from qlib.errors import InputError
from qlib.workflow import QlibRecorder, store
from qlib.workflow.expm import MLflowExpManager

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "mlruns_pyqlib.tar.gz"  # mlruns_pyqlib.py made it


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_told", set())
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in tmp_path.rglob("meta.yaml"):
        path.write_text(path.read_text().replace("@ROOT@", str(tmp_path)))
    return tmp_path / "mlruns"


def recorder(uri):
    return QlibRecorder(MLflowExpManager(str(uri), "Experiment"))


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(runs):
    """The two runs that pyqlib left, with all they hold."""
    assert set(runs.list_experiments()) >= {"workflow"}
    assert len(runs.list_recorders(experiment_name="workflow")) == 2
    run = runs.get_recorder(recorder_name="run1", experiment_name="workflow")
    assert run.status == "FINISHED"
    assert run.list_params().items() >= {"number": "1", "model.class": "LinearModel"}.items()
    assert run.list_metrics() == {"IC": 1.02}
    assert run.list_artifacts() == ["params.pkl", "pred.pkl", "sig_analysis", "task"]
    pred = run.load_object("pred.pkl")
    assert pred["score"].tolist() == [1, 2, 3, 4, 5, 6]
    assert pred.loc[(pd.Timestamp("2020-01-02"), "SZ000001"), "score"] == 4
    assert run.load_object("params.pkl").coef_.tolist() == [0, 1, 2]
    assert run.load_object("task") == {"model": {"class": "LinearModel"}}
    assert np.isnan(run.load_object("sig_analysis/ic.pkl").iloc[1])


def test_a_folder_of_pyqlib_is_opened_with_one_warning_that_names_the_command(folder, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("qlib"), "propagate", True)
    before = tree(folder)
    with caplog.at_level("WARNING", logger="qlib.workflow"):
        check(recorder(folder))
        check(recorder(f"file:{folder}"))
    assert [record.getMessage().count(f"qlib migrate-runs {folder}") for record in caplog.records] == [1]
    assert tree(folder) == before


def test_a_new_run_joins_the_old_ones_in_the_folder(folder):
    runs = recorder(folder)
    with runs.start(experiment_name="workflow", recorder_name="mine"):
        runs.log_params(a=1)
        runs.log_metrics(IC=0.5)
        runs.save_objects(**{"pred.pkl": pd.DataFrame({"score": [1.0]}), "note": {"a": 1}})
    assert not (folder / "mlflow.db").exists()
    run = runs.get_recorder(recorder_name="mine", experiment_name="workflow")
    assert (run.status, run.list_params()["a"], run.list_metrics()) == ("FINISHED", "1", {"IC": 0.5})
    assert run.load_object("note") == {"a": 1}
    check_names = [found.name for found in runs.list_recorders(experiment_name="workflow").values()]
    assert sorted(check_names) == ["mine", "run0", "run1"]


migrates = pytest.mark.skipif(find_spec("mlflow.store.fs2db") is None, reason="this MLflow is too old to migrate")


@migrates
def test_the_command_takes_the_runs_over_and_leaves_the_folders(folder, capsys):
    before = tree(folder)
    assert migrate_runs.main([str(folder)]) == 0
    told = capsys.readouterr()
    assert told.out == (
        f"2 experiments and 2 runs are kept in {folder}/mlflow.db now; the old folders are as they were\n"
    )
    check(recorder(folder))
    assert recorder(folder).exp_manager.place.uri == f"sqlite:///{folder}/mlflow.db"
    after = tree(folder)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"mlflow.db"}
    with recorder(folder).start(experiment_name="workflow", recorder_name="mine") as experiment:
        assert len(experiment.list_recorders()) == 3
    assert migrate_runs.main([str(folder)]) == 2
    assert "is there already" in capsys.readouterr().err


@migrates
def test_a_migration_that_breaks_leaves_the_folder_as_it_was(folder, monkeypatch):
    before = tree(folder)
    import mlflow.store.fs2db as fs2db

    def breaks(source, target, **_):
        Path(target.removeprefix("sqlite:///")).write_bytes(b"half")
        raise RuntimeError("power cut")

    monkeypatch.setattr(fs2db, "migrate", breaks)
    with pytest.raises(RuntimeError, match="power cut"):
        store.migrate(folder)
    assert tree(folder) == before
    check(recorder(folder))


@pytest.mark.skipif(find_spec("mlflow.store.fs2db") is not None, reason="this MLflow migrates")
def test_an_mlflow_that_cannot_migrate_says_so(folder):
    with pytest.raises(InputError, match="cannot migrate: pip install --upgrade mlflow-skinny"):
        store.migrate(folder)


def test_there_must_be_something_to_migrate(tmp_path):
    with pytest.raises(InputError, match="holds no runs of MLflow's folder store"):
        store.migrate(tmp_path)
    with pytest.raises(InputError, match="holds no runs"):
        store.migrate(tmp_path / "nothing")

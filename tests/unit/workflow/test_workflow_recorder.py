"""Experiments, runs, and what they keep."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qlib.errors import InputError
from qlib.utils.exceptions import ExpAlreadyExistError, LoadObjectError, RecorderInitializationError
from qlib.utils.pickle_utils import RestrictedUnpickler
from qlib.workflow import QlibRecorder, RecorderWrapper
from qlib.workflow.exp import Experiment
from qlib.workflow.expm import MLflowExpManager
from qlib.workflow.recorder import commit_id


@pytest.fixture
def runs(tmp_path):
    recorder = QlibRecorder(MLflowExpManager(f"file:{tmp_path}/mlruns", "Experiment"))
    yield recorder
    recorder.end_exp()


def test_building_a_recorder_touches_nothing(tmp_path):
    QlibRecorder(MLflowExpManager(f"file:{tmp_path}/mlruns", "Experiment")).get_uri()
    assert list(tmp_path.iterdir()) == []


def test_values_are_readable_as_soon_as_they_are_logged(runs):
    with runs.start(experiment_name="e", recorder_name="r"):
        run = runs.get_recorder()
        runs.log_params(a=1, b={"x": 2}, **{"model.kwargs.lr": 0.1})
        runs.log_metrics(m=1.0)
        runs.log_metrics(step=3, m=np.float32(2.0))
        runs.set_tags(t=1, gone=2)
        run.delete_tags("gone")
        assert run.list_params().items() >= {"a": "1", "b": "{'x': 2}", "model.kwargs.lr": "0.1"}.items()
        assert run.list_metrics() == {"m": 2.0}
        assert run.list_tags()["t"] == "1"
        assert "gone" not in run.list_tags()
        assert run.info["status"] == "RUNNING"
    assert (run.status, run.name) == ("FINISHED", "r")
    assert run.end_time >= run.start_time


def test_a_history_of_metrics_longer_than_one_batch_is_kept_whole(runs):
    with runs.start(experiment_name="e"):
        runs.log_metric_history({"l2.train": list(np.arange(1500.0)), "l2.valid": [3.0, np.nan]})
        run = runs.get_recorder()
        history = run.client.get_metric_history(run.id, "l2.train")
    assert [(m.step, m.value) for m in history] == [(i, float(i)) for i in range(1500)]
    assert run.list_metrics()["l2.train"] == 1499.0


@pytest.mark.parametrize("count", [0, 1, 250])
def test_any_number_of_parameters_and_tags_is_kept(runs, count):
    with runs.start(experiment_name="e"):
        runs.log_params(**{f"p{i}": i for i in range(count)})
        runs.set_tags(**{f"t{i}": i for i in range(count)})
        run = runs.get_recorder()
        assert sum(name[0] == "p" for name in run.list_params()) == count
        assert sum(name[0] == "t" for name in run.list_tags()) == count


def test_variables_of_the_environment_that_are_meant_for_runs_become_parameters(runs, monkeypatch):
    monkeypatch.setenv("_QLIB_NIGHT", "7")
    monkeypatch.setenv("QLIB_SECRET", "8")
    with runs.start(experiment_name="e"):
        assert {name: value for name, value in runs.get_recorder().list_params().items() if "QLIB" in name} == {
            "_QLIB_NIGHT": "7"
        }


def test_a_run_costs_few_calls_of_mlflow(runs):
    """What is added to MLflow's own work is counted in its calls, since each of them is a transaction of its store."""
    with runs.start(experiment_name="e"):
        pass
    client, calls = runs.exp_manager.client, []

    def counted(name):
        do = getattr(client, name)
        return lambda *args, **kwargs: (calls.append(name), do(*args, **kwargs))[1]

    with pytest.MonkeyPatch.context() as patch:
        for name in dir(type(client)):
            if name[0] != "_" and name != "tracking_uri":
                patch.setattr(client, name, counted(name))
        with runs.start(experiment_name="e", recorder_name="r"):
            runs.log_params(**{f"p{i}": i for i in range(90)})
            runs.log_metrics(**{f"m{i}": i for i in range(90)})
            runs.log_metric_history({"l2": [1.0] * 800})
            runs.save_objects(a=1, b=2)
    assert calls == ["get_experiment_by_name", "create_run", *["log_batch"] * 4, "set_terminated"]


def test_a_block_that_raises_is_failed_and_the_exception_goes_on(runs):
    with pytest.raises(ZeroDivisionError), runs.start(experiment_name="e", recorder_name="bad"):
        1 / 0  # noqa: B018
    assert runs.get_recorder(recorder_name="bad", experiment_name="e").status == "FAILED"
    assert runs.exp_manager.active_experiment is None


def test_an_interrupted_block_is_failed(runs):
    with pytest.raises(KeyboardInterrupt), runs.start(experiment_name="e", recorder_name="stopped"):
        raise KeyboardInterrupt
    assert runs.get_recorder(recorder_name="stopped", experiment_name="e").status == "FAILED"


def test_objects_come_back_as_they_were(runs):
    index = pd.MultiIndex.from_product([pd.date_range("2020", periods=3), ["a", "b"]], names=["datetime", "instrument"])
    frame = pd.DataFrame({"score": np.arange(6.0)}, index=index)
    things = {"pred.pkl": frame, "series.pkl": frame["score"], "table.pkl": {"a": [1, (2, 3)]}, "none.pkl": None}
    with runs.start(experiment_name="e"):
        runs.save_objects(artifact_path="folder", **things)
        run = runs.get_recorder()
    pd.testing.assert_frame_equal(run.load_object("folder/pred.pkl"), frame)
    pd.testing.assert_series_equal(run.load_object("folder/series.pkl"), frame["score"])
    assert run.load_object("folder/table.pkl") == {"a": [1, (2, 3)]}
    assert run.load_object("folder/none.pkl") is None
    pd.testing.assert_frame_equal(run.load_object("folder/pred.pkl", unpickler=RestrictedUnpickler), frame)
    assert run.list_artifacts() == ["folder"]
    assert run.list_artifacts("folder") == sorted(f"folder/{name}" for name in things)


def test_files_and_folders_are_kept_and_can_be_taken_out(runs, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("a")
    (tmp_path / "in" / "deep" / "b.txt").write_text("b")
    with runs.start(experiment_name="e"):
        runs.log_artifact(tmp_path / "in", artifact_path="x")
        runs.save_objects(local_path=tmp_path / "in" / "a.txt")
        run = runs.get_recorder()
        assert run.list_artifacts() == ["a.txt", "x"]
        where = run.download_artifact("x", tmp_path / "out")
        assert (tmp_path / "out" / "x" / "deep" / "b.txt").read_text() == "b"
        assert where == str(tmp_path / "out" / "x")
        assert Path(run.download_artifact("a.txt")).read_text() == "a"
        with pytest.raises(FileNotFoundError):
            run.save_objects(local_path=tmp_path / "nothing")


@pytest.mark.parametrize("name", ["../x.pkl", "/x.pkl", "a/../../x.pkl", "", "a\\x.pkl"])
def test_no_name_leaves_the_folder_of_the_run(runs, name):
    with runs.start(experiment_name="e"), pytest.raises(InputError, match="inside the run's folder"):
        runs.save_objects(**{name: 1})


def test_a_missing_or_damaged_object_is_one_kind_of_error(runs):
    with runs.start(experiment_name="e"):
        run = runs.get_recorder()
        table = pd.DataFrame({"x": [1.0, 2.0]})
        kept = {"text.pkl": [1, 2], "table.pkl": table, "object.pkl": np.arange(9.0), "pickle.pkl": {1j}}
        run.save_objects(**kept)
        with pytest.raises(LoadObjectError, match="the run holds object.pkl, pickle.pkl, table.pkl, text.pkl"):
            run.load_object("y.pkl")
        for path in Path(run.get_local_dir(), "artifacts").iterdir():
            whole = path.read_bytes()
            for damaged in (b"", whole[:5], whole[:-1], b"not a pickle", pickle.dumps(1)[:-1]):
                path.write_bytes(damaged)
                with pytest.raises(LoadObjectError):
                    run.load_object(path.name.partition(".")[0] + ".pkl")


def test_an_object_that_cannot_be_pickled_leaves_no_half_file(runs):
    with runs.start(experiment_name="e"):
        run = runs.get_recorder()
        run.save_objects(**{"x.pkl": 1})
        with pytest.raises(Exception, match="lambda|local"):
            run.save_objects(**{"x.pkl": lambda: 0})
        assert run.load_object("x.pkl") == 1
        assert [p.name for p in Path(run.get_local_dir(), "artifacts").iterdir()] == ["x.pkl.json"]


def test_runs_are_found_by_id_and_by_name_the_newest_first(runs):
    ids = []
    for _ in range(2):
        with runs.start(experiment_name="e", recorder_name="same 'name\""):
            ids.append(runs.get_recorder().id)
    assert runs.get_recorder(recorder_name="same 'name\"", experiment_name="e").id == ids[1]
    assert runs.get_recorder(recorder_id=ids[0], experiment_name="e").id == ids[0]
    assert list(runs.list_recorders(experiment_name="e")) == ids[::-1]
    experiment = runs.get_exp(experiment_name="e", create=False)
    assert [r.id for r in experiment.list_recorders(rtype=Experiment.RT_L)] == ids[::-1]
    assert [r.id for r in experiment.list_recorders(rtype="list", status="FAILED")] == []
    assert experiment.info["recorders"] == ids[::-1]
    with runs.start(experiment_name="other"):
        stranger = runs.get_recorder().id
    with pytest.raises(ValueError, match="experiment e holds no run with id"):
        runs.get_recorder(recorder_id=stranger, experiment_name="e")
    with pytest.raises(ValueError, match="did you mean same"):
        runs.get_recorder(recorder_name="same name", experiment_name="e")


def test_looking_for_what_is_not_there_makes_nothing(runs):
    with pytest.raises(ValueError, match="holds no experiment called nope"):
        runs.get_recorder(experiment_name="nope")
    with pytest.raises(ValueError, match="no experiment with id 77"):
        runs.get_exp(experiment_id="77", create=False)
    assert runs.list_recorders(experiment_name="nope") == {}
    assert list(runs.list_experiments()) == ["Default"]


def test_logging_without_an_experiment_starts_the_default_one(runs):
    runs.log_metrics(q=1)
    run = runs.get_recorder()
    assert (run.name, runs.get_exp().name, run.status) == ("mlflow_recorder", "Experiment", "RUNNING")
    runs.end_exp()
    assert run.status == "FINISHED"


def test_a_second_experiment_must_wait_and_the_first_goes_on(runs):
    with runs.start(experiment_name="first"):
        with pytest.raises(RecorderInitializationError, match="is going on"):
            runs.start_exp(experiment_name="second")
        assert runs.get_exp().name == "first"
    assert "second" not in runs.list_experiments()


def test_a_new_recorder_cannot_replace_one_that_is_running(runs):
    slot = RecorderWrapper("R", "call qlib.init(...) first")
    with pytest.raises(RuntimeError, match=r"call qlib.init"):
        slot.get_uri()
    slot.register(runs)
    with slot.start(experiment_name="e"):
        with pytest.raises(RecorderInitializationError):
            slot.register(None)
        with pytest.raises(RecorderInitializationError):
            slot.set_uri("elsewhere")
    slot.register(None)


def test_resume_goes_on_with_the_same_run(runs):
    with runs.start(experiment_name="e"):
        runs.log_params(a=1)
        first = runs.get_recorder().id
    with runs.start(experiment_name="e", recorder_id=first, resume=True):
        assert (runs.get_recorder().id, runs.get_recorder().status) == (first, "RUNNING")
        runs.log_metrics(m=1)
    assert runs.get_recorder(recorder_id=first, experiment_name="e").info["status"] == "FINISHED"
    with pytest.raises(ValueError, match="holds no run with id zzz"):
        runs.start_exp(experiment_name="e", recorder_id="zzz", resume=True)
    assert runs.exp_manager.active_experiment is None


def test_deleted_runs_and_experiments_are_gone_from_the_lists(runs):
    with runs.start(experiment_name="e", recorder_name="r"):
        run = runs.get_recorder()
    runs.get_exp(experiment_name="e").delete_recorder(recorder_name="r")
    assert runs.list_recorders(experiment_name="e") == {}
    with pytest.raises(ValueError, match="holds no run"):
        runs.get_recorder(recorder_id=run.id, experiment_name="e")
    runs.delete_exp(experiment_name="e")
    assert "e" not in runs.list_experiments()
    with pytest.raises(ExpAlreadyExistError, match="among the deleted ones"):
        runs.start_exp(experiment_name="e")
    with pytest.raises(ValueError, match="needs the id or the name"):
        runs.delete_recorder()


def test_runs_can_be_kept_elsewhere_for_a_while(runs, tmp_path):
    before = runs.get_uri()
    with runs.uri_context(f"{tmp_path}/other"):
        assert runs.get_uri() == f"{tmp_path}/other"
    with runs.start(experiment_name="u", uri=f"sqlite:///{tmp_path}/third/my.db"):
        run = runs.get_recorder()
        run.save_objects(x=1)
        assert runs.get_uri().endswith("my.db")
    assert runs.get_uri() == before
    assert (tmp_path / "third" / "u" / run.id / "artifacts" / "x.object.json").exists()
    assert not (tmp_path / "other").exists()
    runs.set_uri(f"{tmp_path}/fourth")
    assert runs.get_uri() == f"{tmp_path}/fourth"


def test_search_records_takes_mlflows_filters(runs):
    for value in (1.0, 3.0, 2.0):
        with runs.start(experiment_name="e"):
            runs.log_metrics(m=value)
    here = [runs.get_exp(experiment_name="e").id]
    found = runs.search_records(here, filter_string="metrics.m > 1", order_by=["metrics.m DESC"], max_results=100000)
    assert [run.data.metrics["m"] for run in found] == [3.0, 2.0]
    assert len(runs.search_records(here, max_results=1)) == 1


def test_two_handles_on_one_run_are_equal(runs):
    with runs.start(experiment_name="e"):
        run = runs.get_recorder()
    again = runs.get_recorder(recorder_id=run.id, experiment_name="e")
    assert again == run
    assert len({again, run}) == 1


SCRIPT = """
import sys
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager
R = QlibRecorder(MLflowExpManager(sys.argv[1], "Experiment"))
R.start_exp(experiment_name="e")
R.log_metrics(m=1)
{end}
"""


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [("sys.exit(3)", "FINISHED", 3), ("raise RuntimeError('boom')", "FAILED", 1)],
)
def test_a_program_that_ends_ends_its_run(tmp_path_factory, end, status, code):
    folder = tmp_path_factory.mktemp(status)  # never one of that name before: MLflow keeps databases open by their path
    runs = QlibRecorder(MLflowExpManager(f"file:{folder}/mlruns", "Experiment"))
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT).format(end=end), f"{folder}/mlruns"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout == ""
    assert ("RuntimeError: boom" in done.stderr) == (status == "FAILED")
    assert "mlflow" not in done.stderr.lower().replace("mlflow.db", "")
    assert "git" not in done.stderr
    assert [r.status for r in runs.list_recorders(experiment_name="e").values()] == [status], done.stderr


def test_the_commit_is_read_from_gits_own_files(tmp_path):
    assert commit_id(tmp_path / "inside") is None or len(commit_id(tmp_path / "inside")) == 40
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit_id(tmp_path) is None
    (git / "packed-refs").write_text(f"# pack\n{'b' * 40} refs/heads/main\n")
    assert commit_id(tmp_path) == "b" * 40
    (git / "refs" / "heads" / "main").write_text("a" * 40 + "\n")
    assert commit_id(tmp_path / "deep" / "er") == "a" * 40
    (git / "HEAD").write_text("c" * 40 + "\n")
    assert commit_id(tmp_path) == "c" * 40

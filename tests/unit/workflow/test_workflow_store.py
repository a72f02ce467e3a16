"""Where runs are kept: uris, the migrated template, and many processes at once."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import traceback
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest
from proof import PROOF

from qlib.errors import InputError, StoreError
from qlib.workflow import QlibRecorder, store
from qlib.workflow.expm import MLflowExpManager
from qlib.workflow.store import place_of, prepare


def recorder(uri):
    return QlibRecorder(MLflowExpManager(str(uri), "Experiment"))


@pytest.mark.parametrize(
    ("uri", "database"),
    [
        ("file:///x/mlruns", "/x/mlruns/mlflow.db"),
        ("file:/x/mlruns", "/x/mlruns/mlflow.db"),
        ("file:///x/my%20runs", "/x/my runs/mlflow.db"),
        ("/x/mlruns", "/x/mlruns/mlflow.db"),
        ("sqlite:////x/runs.db", "/x/runs.db"),
        ("sqlite:////x/runs.db?timeout=5", "/x/runs.db"),
    ],
)
def test_folders_and_files_mean_a_database_with_its_artifacts_beside(uri, database):
    place = place_of(uri)
    assert place.uri == f"sqlite:///{database}"
    assert (place.database, place.folder) == (Path(database), Path(database).parent)


@pytest.mark.parametrize("uri", ["mlruns", "file:mlruns", "sqlite:///mlruns/mlflow.db", "./mlruns"])
def test_relative_places_start_at_the_working_directory(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_of(uri).database == tmp_path / "mlruns" / "mlflow.db"


@pytest.mark.parametrize(
    "uri", ["http://host:5000", "https://h", "postgresql://u:p@h/db", "databricks", "mysql+pymysql://h/d"]
)
def test_other_uris_are_left_to_mlflow(uri):
    place = place_of(uri)
    assert (place.uri, place.folder, place.artifact_location("e")) == (uri, None, None)
    prepare(place)


@pytest.mark.parametrize("uri", ["", "sqlite://" + "/", "sqlite:///:memory:"])
def test_places_that_keep_nothing_are_refused(uri):
    with pytest.raises(InputError):
        place_of(uri)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "CON", "x" * 400, "mlflow.db", "工作", "a:b*?", " "])
def test_any_name_of_an_experiment_gives_a_folder_inside(name, tmp_path):
    runs = recorder(tmp_path / "mlruns")
    with runs.start(experiment_name=name):
        run = runs.get_recorder()
        run.save_objects(**{"x.pkl": 1})
        folder = Path(run.get_local_dir())
    assert folder.parent.parent == tmp_path / "mlruns"
    assert run.load_object("x.pkl") == 1
    assert runs.get_recorder(experiment_name=name, recorder_id=run.id) == run


def test_a_new_database_is_a_copy_of_the_template_and_costs_no_migration(tmp_path):
    store.template()
    place = place_of(tmp_path / "mlruns")
    code = (
        "import sys; from qlib.workflow.store import place_of, prepare\n"
        f"prepare(place_of({str(tmp_path / 'mlruns')!r}))\n"
        "assert 'mlflow' not in sys.modules and 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with closing(sqlite3.connect(place.database)) as db:
        location = db.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0").fetchone()[0]
    assert location == (tmp_path / "mlruns" / "Default").as_uri()
    assert [p.name for p in (tmp_path / "mlruns").iterdir()] == ["mlflow.db"]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder of this test's own; what the process remembers of the other one is forgotten meanwhile."""
    name = store.template().name
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store.template.cache_clear()
    yield tmp_path / "cache" / store.CACHE_NAME / name
    store.template.cache_clear()


def test_a_damaged_template_is_built_again(own_cache):
    own_cache.parent.mkdir(parents=True)
    own_cache.write_bytes(b"half a file")
    assert store.template() == own_cache
    with closing(sqlite3.connect(own_cache)) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    assert {p.suffix for p in own_cache.parent.iterdir()} == {".db", ".lock"}


def test_a_cache_that_is_emptied_meanwhile_is_filled_again(own_cache, tmp_path):
    store.template()
    own_cache.unlink()
    prepare(place_of(tmp_path / "mlruns"))
    assert own_cache.is_file() and place_of(tmp_path / "mlruns").database.is_file()


def test_without_a_cache_folder_runs_are_kept_all_the_same(own_cache, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    runs = recorder(tmp_path / "mlruns")
    with runs.start(experiment_name="e"):
        runs.log_metrics(m=1)
    assert len(runs.list_recorders(experiment_name="e")) == 1
    assert (tmp_path / "cache").is_file()


def work(uri, who, count):
    """Log `count` runs, as one of several processes that do so at the same moment."""
    R = recorder(uri)
    for i in range(count):
        with R.start(experiment_name="shared", recorder_name=f"{who}-{i}"):
            R.log_params(who=who, i=i)
            R.log_metrics(i=i)
            R.save_objects(**{"x.pkl": (who, i)})


def check_nothing_is_lost(uri, each):
    found = recorder(uri).list_recorders(experiment_name="shared").values()
    assert len(found) == 4 * each
    assert {r.status for r in found} == {"FINISHED"}
    assert {r.name for r in found} == {f"{k}-{i}" for k in range(4) for i in range(each)}
    for run in found:
        who, i = run.load_object("x.pkl")
        assert run.name == f"{who}-{i}"
        assert run.list_params()["i"] == str(i)
        assert run.list_metrics() == {"i": float(i)}
    assert sorted(p.name for p in Path(uri).iterdir()) == ["mlflow.db", "shared"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_processes_that_start_at_once_lose_nothing(own_cache, tmp_path):
    """Four processes, an empty cache and no database: each builds, copies, creates and logs at the same moment."""
    store._import_mlflow()
    import_module("mlflow.store.tracking.sqlalchemy_store")  # once, not in each child
    uri = str(tmp_path / "mlruns")
    children = []
    for who in range(4):
        child = os.fork()
        if child == 0:
            try:
                work(uri, who, 10)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0, 0]
    check_nothing_is_lost(uri, 10)
    assert own_cache.exists()


@pytest.mark.skipif(not PROOF, reason="four interpreters with a hundred runs each: make proof")
def test_interpreters_that_start_at_once_lose_nothing(tmp_path):
    uri, environment = str(tmp_path / "mlruns"), os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_workflow_store as t; t.work(*sys.argv[2:4], 100)"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), uri]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), environment.get("PYTHONPATH")]))
    workers = [
        subprocess.Popen([*command, str(who)], env=environment | {"PYTHONPATH": path}, stderr=subprocess.PIPE)
        for who in range(4)
    ]
    errors = [worker.communicate()[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0], errors
    check_nothing_is_lost(uri, 100)
    assert len(list((tmp_path / "cache" / store.CACHE_NAME).glob("*.db"))) == 1


def _forked(uri, who, started):
    runs = recorder(uri)
    started.wait()
    for i in range(10):
        with runs.start(experiment_name="shared", recorder_name=f"{who}-{i}"):
            runs.log_metrics(i=i)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_processes_open_connections_of_their_own(tmp_path):
    uri = str(tmp_path / "mlruns")
    runs = recorder(uri)
    with runs.start(experiment_name="shared", recorder_name="parent"):
        context = multiprocessing.get_context("fork")
        started = context.Event()
        children = [context.Process(target=_forked, args=(uri, k, started)) for k in range(2)]
        # the parent's run goes on in the parent only: a child begins with a manager of its own
        for child in children:
            child.start()
        started.set()
        for i in range(10):
            runs.log_metrics(step=i, m=i)
        for child in children:
            child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert len(runs.list_recorders(experiment_name="shared")) == 21
    assert {r.status for r in runs.list_recorders(experiment_name="shared").values()} == {"FINISHED"}


def test_a_database_of_a_newer_mlflow_is_refused_in_one_sentence_and_left_alone(tmp_path):
    place = place_of(tmp_path / "mlruns")
    prepare(place)
    with closing(sqlite3.connect(place.database)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = place.database.read_bytes()
    with pytest.raises(StoreError, match="written by a newer MLflow .schema ffffffffffff"):
        recorder(tmp_path / "mlruns").start_exp(experiment_name="e")
    assert place.database.read_bytes() == before


def test_a_database_of_an_older_mlflow_is_answered_with_the_command_that_upgrades_it(tmp_path):
    place = place_of(tmp_path / "mlruns")
    prepare(place)
    older = sorted(store._known_versions() - {store._head_version()})[0]
    with closing(sqlite3.connect(place.database)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = ?", (older,))
    with pytest.raises(StoreError, match="mlflow db upgrade sqlite:///"):
        prepare(place)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path, content):
    (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(StoreError, match=r"mlflow.db is not a database of MLflow"):
        recorder(tmp_path).start_exp(experiment_name="e")
    assert (tmp_path / "mlflow.db").read_bytes() == content


@pytest.mark.parametrize("where", ["/proc/mlruns", "{tmp}/file/mlruns"])
def test_a_folder_that_cannot_be_written_is_named_before_anything_begins(tmp_path, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="runs cannot be kept in"):
        recorder(where.format(tmp=tmp_path)).start_exp(experiment_name="e")
    assert store.unwritable_reason(Path(where.format(tmp=tmp_path)) / "deeper") is not None or where.startswith("/proc")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path):
    folder = tmp_path / "mlruns"
    prepare(place_of(folder))
    (folder / "mlflow.db").chmod(0o444)
    folder.chmod(0o555)
    try:
        with pytest.raises(InputError, match="cannot be written"):
            recorder(folder).start_exp(experiment_name="e")
        assert list(recorder(folder).list_experiments()) == ["Default"]  # reading it is still possible
    finally:
        folder.chmod(0o755)


def test_a_database_that_somebody_removed_is_made_anew(tmp_path):
    runs = recorder(tmp_path / "mlruns")
    with runs.start(experiment_name="e"):
        pass
    shutil.rmtree(tmp_path / "mlruns")
    with runs.start(experiment_name="e"):
        pass
    assert len(runs.list_recorders(experiment_name="e")) == 1


def test_importing_the_workflow_loads_no_heavy_package():
    code = (
        "import sys, qlib.workflow, qlib.workflow.expm\n"
        "heavy = {'mlflow', 'sqlalchemy', 'alembic', 'filelock', 'lightgbm', 'sklearn', 'scipy', 'yaml'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

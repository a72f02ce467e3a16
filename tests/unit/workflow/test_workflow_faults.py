"""A full disk, a store that is locked or may only be read, a killed process: one sentence, and earlier runs whole."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import stat
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from proof import PROOF

from qlib.errors import InputError, RunError, StoreError
from qlib.workflow import QlibRecorder, store
from qlib.workflow.expm import MLflowExpManager

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
FRAME = pd.DataFrame({"score": np.random.default_rng(0).normal(size=50_000)})


def recorder(uri):
    return QlibRecorder(MLflowExpManager(str(uri), "Experiment"))


@pytest.fixture
def folder():
    """A folder with one run in it, which every user may enter."""
    place = Path(tempfile.mkdtemp(prefix="qlib-faults-"))
    place.chmod(0o755)
    runs = recorder(place / "mlruns")
    with runs.start(experiment_name="e", recorder_name="earlier"):
        runs.log_metrics(m=1)
        runs.save_objects(**{"x.pkl": FRAME})
    yield place / "mlruns"
    for path in (place, *place.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IRWXU)
    shutil.rmtree(place)


def check_earlier(folder, runs=1):
    found = recorder(folder).list_recorders(experiment_name="e")
    assert len(found) == runs
    run = recorder(folder).get_recorder(recorder_name="earlier", experiment_name="e")
    assert (run.status, run.list_metrics()) == ("FINISHED", {"m": 1})
    pd.testing.assert_frame_equal(run.load_object("x.pkl"), FRAME)
    with closing(sqlite3.connect(folder / "mlflow.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not [path for path in folder.rglob("*") if path.name.startswith((".put", ".probe", ".object"))]


@contextmanager
def files_up_to(size):
    """No file may grow beyond `size` bytes: what a disk that is full, or a quota, does to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    compiled, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # one cut short would stay: Python 3.11 writes it
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = compiled


def test_a_full_disk_is_told_when_an_object_is_kept(folder):
    runs = recorder(folder)
    with (
        pytest.raises(RunError, match=r"y\.pkl cannot be kept: .*File too large; what was kept before is as it was"),
        runs.start(experiment_name="e", recorder_name="full"),
    ):
        run = runs.get_recorder()
        run.save_objects(**{"y.pkl": [1]})
        with files_up_to(100_000):
            run.save_objects(**{"y.pkl": FRAME})
    assert run.status == "FAILED"
    assert run.load_object("y.pkl") == [1]
    check_earlier(folder, runs=2)


def test_a_full_disk_is_told_when_a_metric_is_kept(folder):
    size = (folder / "mlflow.db").stat().st_size
    runs = recorder(folder)
    with (
        pytest.raises(RunError, match=r"mlflow\.db: the disk (is full|refuses to write)"),
        runs.start(experiment_name="e", recorder_name="full"),
        files_up_to(size),
    ):
        for number in range(200):
            runs.log_metric_history({f"m{number}": list(np.arange(900.0))})
    run = runs.get_recorder(recorder_name="full", experiment_name="e")
    assert run.status == "FAILED"
    runs.set_uri(None)
    check_earlier(folder, runs=2)
    with runs.start(experiment_name="e"):  # there is room again
        runs.log_metrics(m=2)
    check_earlier(folder, runs=3)


def test_a_disk_that_stays_full_shows_what_broke_the_run_and_not_what_came_after(folder):
    size = (folder / "mlflow.db").stat().st_size
    runs = recorder(folder)
    runs.start_exp(experiment_name="e")
    manager = runs.exp_manager
    with files_up_to(size // 2), pytest.raises(ZeroDivisionError):
        manager.active_experiment, held = None, manager.active_experiment
        with _as_started(runs, held):
            1 / 0  # noqa: B018
    check_earlier(folder, runs=2)


@contextmanager
def _as_started(runs, experiment):
    """`R.start` for a run that has begun already: only its end is tried."""
    runs.start_exp = lambda **_: setattr(runs.exp_manager, "active_experiment", experiment)
    with runs.start():
        yield


def as_nobody(do):
    """Call a function in a child that is not root; return what it returns, a text."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            os.write(write, do().encode())
        except BaseException as error:  # noqa: BLE001  the parent must hear of it
            os.write(write, f"child: {type(error).__name__} {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


def test_a_store_that_may_only_be_read_is_read_and_refuses_runs_in_one_sentence(folder):
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def child():
        runs = recorder(folder)
        values = runs.get_recorder(recorder_name="earlier", experiment_name="e").list_metrics()
        try:
            runs.start_exp(experiment_name="e")
        except InputError as error:
            return f"{values} {error}"
        return "it began"

    assert as_nobody(child).replace(str(folder), "HERE") == (
        "{'m': 1.0} runs cannot be kept in HERE: mlflow.db cannot be written; choose a folder that can be written"
    )
    check_earlier(folder)


def test_a_store_that_another_process_has_locked_is_waited_for_and_named(folder, monkeypatch):
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.2)
    runs = recorder(folder)
    with closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as other:
        for kind in ("IMMEDIATE", "EXCLUSIVE"):
            other.execute(f"BEGIN {kind}")
            with pytest.raises(InputError, match=r"has been locked by another process for 0.2 s; wait for it"):
                runs.start_exp(experiment_name="e")
            other.execute("ROLLBACK")
    check_earlier(folder)
    with runs.start(experiment_name="e"):
        runs.log_metrics(m=2)


@pytest.mark.skipif(not PROOF, reason="MLflow waits 20 s for a lock: make proof")
def test_a_store_that_is_locked_during_a_run_is_waited_for_and_named(folder):
    runs = recorder(folder)
    with (
        closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as other,
        pytest.raises(RunError, match=r"another process has locked it for 20 s; wait for it, or end it"),
        runs.start(experiment_name="e", recorder_name="second"),
    ):
        other.execute("BEGIN IMMEDIATE")
        try:
            runs.log_metrics(m=2)
        finally:
            other.execute("ROLLBACK")
    assert runs.get_recorder(recorder_name="second", experiment_name="e").status == "FAILED"
    check_earlier(folder, runs=2)


def test_a_store_of_a_newer_mlflow_is_refused_and_its_runs_are_left_alone(folder):
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:
        (version,) = db.execute("SELECT version_num FROM alembic_version").fetchone()
        db.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for attempt in (lambda runs: runs.start_exp(experiment_name="e"), lambda runs: runs.list_experiments()):
        with pytest.raises(StoreError, match="written by a newer MLflow .schema ffffffffffff"):
            attempt(recorder(folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:
        db.execute("UPDATE alembic_version SET version_num = ?", (version,))
    check_earlier(folder)


def test_a_process_that_is_killed_while_it_keeps_an_object_leaves_the_old_or_the_new_one(folder):
    rng = random.Random(0)
    for _ in range(6):
        began, done = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                run = recorder(folder).get_recorder(recorder_name="earlier", experiment_name="e")
                for number in range(10_000):
                    thing = FRAME.assign(number=number) if number % 2 else {"number": number, "more": [1] * 1000}
                    run.save_objects(**{"killed.pkl": thing})
                    os.write(done, b".")
            finally:
                os._exit(1)
        os.read(began, 1)
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(began)
        os.close(done)
        run = recorder(folder).get_recorder(recorder_name="earlier", experiment_name="e")
        kept = run.load_object("killed.pkl")
        assert len(kept) == 2 if isinstance(kept, dict) else len(kept) == len(FRAME) and kept["number"].nunique() == 1
        assert run.list_artifacts() == ["killed.pkl", "x.pkl"]
    for path in folder.rglob(".put.*"):  # what the killed ones left beside
        shutil.rmtree(path)
    check_earlier(folder)

"""MLflow's real server: its pages show our runs, and runs can be kept by it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from qlib.utils.exceptions import LoadObjectError
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager
from qlib.workflow.trials import begin_trial, end_trial

pytestmark = pytest.mark.skipif(
    find_spec("flask") is None or find_spec("mlflow.server") is None,
    reason='the server of MLflow is not here: pip install "qlib-crypto[mlflow]"',
)
START_SECONDS = 120
FRAME = pd.DataFrame({"score": [1.0, np.nan]}, index=pd.date_range("2020", periods=2, name="datetime"))


@contextmanager
def server(folder, *words):
    """MLflow's server on a port of its own; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *words]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--workers", "1"], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                read(f"{address}/health")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < end, (folder / "server.log").read_text()
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def read(url, **content):
    data = json.dumps(content).encode() if content else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def test_mlflow_ui_shows_our_runs(tmp_path):
    runs = QlibRecorder(MLflowExpManager(str(tmp_path / "mlruns"), "Experiment"))
    with runs.start(experiment_name="lightgbm", recorder_name="first"):
        runs.log_params(lr=0.1)
        runs.log_metrics(IC=0.05)
        runs.set_tags(mood="good")
        runs.save_objects(artifact_path="sig", **{"pred.pkl": FRAME})
        runs.save_objects(task={"model": "x"})
        run = runs.get_recorder()
    with server(tmp_path, "--backend-store-uri", f"sqlite:///{tmp_path}/mlruns/mlflow.db") as address:
        assert b"<title>MLflow</title>" in read(address)
        api = f"{address}/ajax-api/2.0/mlflow"
        found = json.loads(read(f"{api}/experiments/get-by-name?experiment_name=lightgbm"))["experiment"]
        (shown,) = json.loads(read(f"{api}/runs/search", experiment_ids=[found["experiment_id"]]))["runs"]
        assert (shown["info"]["run_id"], shown["info"]["run_name"]) == (run.id, "first")
        assert shown["info"]["status"] == "FINISHED"
        assert shown["data"]["metrics"][0]["value"] == 0.05
        assert {"key": "lr", "value": "0.1"} in shown["data"]["params"]
        files = json.loads(read(f"{api}/artifacts/list?run_id={run.id}"))["files"]
        assert [file["path"] for file in files] == ["sig", "task.object.json"]
        assert read(f"{address}/get-artifact?path=task.object.json&run_uuid={run.id}") == b'{"model": "x"}'


def test_runs_are_kept_by_a_server(tmp_path):
    words = ["--backend-store-uri", f"sqlite:///{tmp_path}/far.db", "--artifacts-destination", str(tmp_path / "far")]
    with server(tmp_path, *words) as address:
        runs = QlibRecorder(MLflowExpManager(address, "Experiment"))
        with runs.start(experiment_name="far", recorder_name="r"):
            runs.log_params(**{f"p{i}": i for i in range(120)})
            runs.log_metric_history({"l2": [0.5, 0.25]})
            runs.save_objects(artifact_path="sig", **{"pred.pkl": FRAME, "x.pkl": [1]})
            runs.save_objects(artifact_path="sig", **{"x.pkl": np.arange(3.0)})
            runs.save_objects(task={"a": (1, 2)})
        again = QlibRecorder(MLflowExpManager(address, "Experiment"))
        run = again.get_recorder(recorder_name="r", experiment_name="far")
        assert run.status == "FINISHED"
        assert len([name for name in run.list_params() if name[0] == "p"]) == 120
        assert run.list_metrics() == {"l2": 0.25}
        assert run.list_artifacts() == ["sig", "task"]
        assert run.list_artifacts("sig") == ["sig/pred.pkl", "sig/x.pkl"]
        pd.testing.assert_frame_equal(run.load_object("sig/pred.pkl"), FRAME, check_freq=True)
        assert run.load_object("sig/x.pkl").tolist() == [0, 1, 2]
        assert run.load_object("task") == {"a": (1, 2)}
        with pytest.raises(LoadObjectError, match="does not exist"):
            run.load_object("nothing.pkl")
        with pytest.raises(ValueError, match="not on this machine"):
            run.get_local_dir()
        again.get_exp(experiment_name="far").delete_recorder(recorder_name="r")
        assert again.list_recorders(experiment_name="far") == {}


def test_trials_of_runs_kept_by_a_server_are_counted_and_outlive_their_runs(tmp_path):
    words = ["--backend-store-uri", f"sqlite:///{tmp_path}/far.db", "--artifacts-destination", str(tmp_path / "far")]
    with server(tmp_path, *words) as address:
        runs = QlibRecorder(MLflowExpManager(address, "Experiment"))
        facts = []
        for number in (0, 1, 0):
            task = {"model": {"kwargs": {"x": number}}}
            with runs.start(experiment_name=f"far {number}"):
                begin_trial(runs.get_recorder(), task)
                facts.append(end_trial(runs.get_recorder(), task))
            runs.get_exp(experiment_name=f"far {number}").delete_recorder(recorder_id=facts[-1]["run"])
        assert [(one["number"], one["trials"], one["again"]) for one in facts] == [
            (1, 1, False), (2, 2, False), (1, 2, True),
        ]  # fmt: skip

"""A recorder is one run: its parameters, metrics, tags and files.

    Recorder          what any recorder can do
    MLflowRecorder    kept by MLflow; what becomes of objects among its artifacts is said in qlib.workflow.formats

Metrics, parameters and tags are written at once and in batches, so a value can be read as soon as it was logged.

Trust: reading a run must not run code that somebody put there. A pickle (an older run, a run of Qlib's, an object that
no other format can hold) is read with an exact list of what it may name, except what this very process wrote;
`load_object(name, unpickler=pickle.Unpickler)` is how a reader says that the file may run code.
"""

from __future__ import annotations

import getpass
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qlib.errors import InputError
from qlib.log import get_module_logger
from qlib.utils.exceptions import LoadObjectError
from qlib.workflow.artifacts import LocalArtifacts, RemoteArtifacts, artifacts_of, copy_to, local_path
from qlib.workflow.formats import read_object, write_object
from qlib.workflow.noted import note
from qlib.workflow.store import batches, client, place_of, prepare, told_plainly

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
METRICS_IN_A_BATCH: Final = 1000  # MLflow's limits for one call
PARAMS_IN_A_BATCH: Final = 100
TAGS_IN_A_BATCH: Final = 100
FROM_ENVIRONMENT: Final = "_QLIB_"  # variables of the environment that are kept as parameters, as Qlib does

logger = get_module_logger("workflow")


class Recorder:
    """One run; what the methods promise is said here, how it is kept is said in a subclass."""

    STATUS_S = "SCHEDULED"
    STATUS_R = "RUNNING"
    STATUS_FI = "FINISHED"
    STATUS_FA = "FAILED"

    def __init__(self, experiment_id: str | None, name: str | None) -> None:
        self.id: str | None = None
        self.name = name
        self.experiment_id = experiment_id
        self.start_time: str | None = None
        self.end_time: str | None = None
        self.status = Recorder.STATUS_S

    def __repr__(self) -> str:
        return f"{type(self).__name__}(info={self.info})"

    def __str__(self) -> str:
        return str(self.info)

    def __hash__(self) -> int:
        return hash(self.info["id"])

    @property
    def info(self) -> dict[str, Any]:
        """Id, name, experiment, times and status of the run."""
        return {
            "class": "Recorder",
            "id": self.id,
            "name": self.name,
            "experiment_id": self.experiment_id,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "status": self.status,
        }

    @property
    def artifact_uri(self) -> str:
        """Uri of the run's files."""
        raise NotImplementedError

    def set_recorder_name(self, rname: str) -> None:
        """Name the run (before it starts)."""
        self.name = rname

    def save_objects(
        self, local_path: str | Path | None = None, artifact_path: str | None = None, **kwargs: Any
    ) -> None:
        """Keep a file or folder (`local_path`), and any objects under their names, in the folder `artifact_path`."""
        raise NotImplementedError

    def save_file(self, name: str, write: Callable[[Path], object]) -> None:
        """Keep a file that `write` writes; it is given the path to write to."""
        raise NotImplementedError

    def load_object(self, name: str) -> Any:
        """Return the object kept under `name`; LoadObjectError if there is none or it cannot be read."""
        raise NotImplementedError

    def start_run(self) -> Any:
        """Begin (or go on with) the run."""
        raise NotImplementedError

    def end_run(self, status: str = STATUS_S) -> None:
        """End the run with one of the four statuses."""
        raise NotImplementedError

    def log_params(self, **kwargs: Any) -> None:
        """Keep parameters; each may be written once, and comes back as text."""
        raise NotImplementedError

    def log_metrics(self, step: int | None = None, **kwargs: float) -> None:
        """Keep the values of metrics at `step` (None: 0)."""
        raise NotImplementedError

    def log_metric_history(self, history: Mapping[str, Sequence[float]]) -> None:
        """Keep whole series of metrics, value i at step i, in as few calls as possible."""
        raise NotImplementedError

    def log_artifact(self, local_path: str | Path, artifact_path: str | None = None) -> None:
        """Keep a file or folder of this machine."""
        raise NotImplementedError

    def set_tags(self, **kwargs: Any) -> None:
        """Write tags; a tag may be written again."""
        raise NotImplementedError

    def delete_tags(self, *keys: str) -> None:
        """Remove tags."""
        raise NotImplementedError

    def list_artifacts(self, artifact_path: str | None = None) -> list[str]:
        """Return the names directly inside a folder of the run."""
        raise NotImplementedError

    def download_artifact(self, path: str, dst_path: str | Path | None = None) -> str:
        """Copy a file or folder of the run to `dst_path` (None: a new temporary folder) and return where it is."""
        raise NotImplementedError

    def list_metrics(self) -> dict[str, float]:
        """Return the latest value of every metric."""
        raise NotImplementedError

    def list_params(self) -> dict[str, str]:
        """Return the parameters."""
        raise NotImplementedError

    def list_tags(self) -> dict[str, str]:
        """Return the tags."""
        raise NotImplementedError


class MLflowRecorder(Recorder):
    """A run kept by MLflow.

    Parameters
    ----------
    experiment_id
        MLflow's id of the experiment.
    uri
        Where runs are kept; see `qlib.workflow.store`.
    name
        Name of the run; need not be unique.
    mlflow_run
        A run that exists; None for a new one, which `start_run` creates.
    """

    def __init__(
        self, experiment_id: str | None, uri: str, name: str | None = None, mlflow_run: Run | None = None
    ) -> None:
        super().__init__(experiment_id, name)
        self._place = place_of(uri)
        self._artifact_uri: str | None = None
        if mlflow_run is not None:
            self._take(mlflow_run)

    def _take(self, run: Run) -> None:
        info = run.info
        self.id = info.run_id
        self.name = run.data.tags.get("mlflow.runName") or info.run_name or self.name
        self.experiment_id = info.experiment_id
        self._artifact_uri = info.artifact_uri
        self.start_time = _clock(info.start_time)
        self.end_time = _clock(info.end_time)
        self.status = info.status

    def __repr__(self) -> str:
        return f"MLflowRecorder(info={self.info}, uri={self.uri}, artifact_uri={self._artifact_uri})"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, o: object) -> bool:
        return isinstance(o, MLflowRecorder) and self.id is not None and self.id == o.id

    @property
    def client(self) -> MlflowClient:
        """MLflow's client for the place of this run."""
        return client(self._place.uri)

    @property
    def uri(self) -> str:
        """MLflow's tracking uri."""
        return self._place.uri

    @property
    def artifact_uri(self) -> str:
        """Uri of the run's files."""
        return self.get_artifact_uri()

    def get_artifact_uri(self) -> str:
        if self._artifact_uri is None:
            raise _not_started(self, "files")
        return self._artifact_uri

    def get_local_dir(self) -> str:
        """Return the folder of the run on this machine; its files are in `artifacts` inside."""
        path = local_path(self.get_artifact_uri())
        if path is None:
            message = f"the files of run {self.id} are kept at {self.artifact_uri}, not on this machine"
            raise InputError(message)
        return str(path.parent)

    @property
    def _files(self) -> LocalArtifacts | RemoteArtifacts:
        return artifacts_of(self.get_artifact_uri(), self.client, self._id)

    @property
    def _id(self) -> str:
        if self.id is None:
            raise _not_started(self, "record")
        return self.id

    # ------------------------------------------------------------------------------------ begin and end
    def start_run(self) -> Run:
        prepare(self._place)
        if self.id is None:
            with told_plainly(self._place):
                run = self.client.create_run(str(self.experiment_id), tags=_origin(), run_name=self.name)
            self._take(run)
            told = {name: value for name, value in os.environ.items() if name.startswith(FROM_ENVIRONMENT)}
            self.log_params(**{"cmd-sys.argv": " ".join(sys.argv)}, **told)
        else:
            with told_plainly(self._place):
                self.client.update_run(self.id, status=Recorder.STATUS_R)
            run = self.client.get_run(self.id)
        self.status = Recorder.STATUS_R
        logger.info(f"run {self.id} of experiment {self.experiment_id} starts")
        return run

    def end_run(self, status: str = Recorder.STATUS_S) -> None:
        allowed = (Recorder.STATUS_S, Recorder.STATUS_R, Recorder.STATUS_FI, Recorder.STATUS_FA)
        if status not in allowed:
            message = f"status of a run: received {status!r}; allowed are {', '.join(allowed)}"
            raise InputError(message)
        now = int(time.time() * 1000)
        with told_plainly(self._place):
            self.client.set_terminated(self._id, status, end_time=now)
        self.status, self.end_time = status, _clock(now)

    # -------------------------------------------------------------------------------- numbers and texts
    def log_params(self, **kwargs: Any) -> None:
        from mlflow.entities import Param  # noqa: PLC0415  heavy: only who keeps runs needs it

        self._log(params=[Param(key, str(value)) for key, value in kwargs.items()])

    def log_metrics(self, step: int | None = None, **kwargs: float) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415  heavy: only who keeps runs needs it

        now = int(time.time() * 1000)
        self._log(metrics=[Metric(key, float(value), now, step or 0) for key, value in kwargs.items()])

    def log_metric_history(self, history: Mapping[str, Sequence[float]]) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415  heavy: only who keeps runs needs it

        now = int(time.time() * 1000)
        self._log(
            metrics=[Metric(key, float(v), now, i) for key, values in history.items() for i, v in enumerate(values)]
        )

    def set_tags(self, **kwargs: Any) -> None:
        from mlflow.entities import RunTag  # noqa: PLC0415  heavy: only who keeps runs needs it

        self._log(tags=[RunTag(key, str(value)) for key, value in kwargs.items()])

    def _log(self, params: Iterable[Any] = (), metrics: Iterable[Any] = (), tags: Iterable[Any] = ()) -> None:
        params, metrics, tags = list(params), list(metrics), list(tags)
        with told_plainly(self._place):
            for some in batches(params, PARAMS_IN_A_BATCH):
                self.client.log_batch(self._id, params=some)
            for some in batches(metrics, METRICS_IN_A_BATCH):
                self.client.log_batch(self._id, metrics=some)
            for some in batches(tags, TAGS_IN_A_BATCH):
                self.client.log_batch(self._id, tags=some)
        note(params, metrics, tags)

    def delete_tags(self, *keys: str) -> None:
        for key in keys:
            self.client.delete_tag(self._id, key)

    def list_metrics(self) -> dict[str, float]:
        return dict(self.client.get_run(self._id).data.metrics)

    def list_params(self) -> dict[str, str]:
        return dict(self.client.get_run(self._id).data.params)

    def list_tags(self) -> dict[str, str]:
        return dict(self.client.get_run(self._id).data.tags)

    # -------------------------------------------------------------------------------------------- files
    def save_objects(
        self, local_path: str | Path | None = None, artifact_path: str | None = None, **kwargs: Any
    ) -> None:
        files = self._files
        if local_path is not None:
            source = Path(local_path)
            if not source.exists():
                raise FileNotFoundError(f"save_objects: there is no file or folder {source}")
            inside = [p for p in sorted(source.rglob("*")) if p.is_file()] if source.is_dir() else [source]
            for file in inside:
                name = file.relative_to(source).as_posix() if source.is_dir() else file.name
                files.put(_joined(artifact_path, name), copy_to(file))
        for name, thing in kwargs.items():
            files.put(_joined(artifact_path, name), partial(write_object, thing))

    def save_file(self, name: str, write: Callable[[Path], object]) -> None:
        self._files.put(name, write)

    def log_artifact(self, local_path: str | Path, artifact_path: str | None = None) -> None:
        self.save_objects(local_path, artifact_path)

    def load_object(self, name: str, unpickler: type[pickle.Unpickler] | None = None) -> Any:
        """Return the object kept under `name`, e.g. "pred.pkl" or "sig_analysis/ic.pkl".

        Parameters
        ----------
        unpickler
            Reads a pickle. None: one that follows an exact list of names; `pickle.Unpickler`: whatever the file says
            may run, for files that you trust as you trust a program.

        Raises LoadObjectError when there is none, or it is damaged, or names what is not in the list.
        """
        try:
            with self._files.found(name) as path:
                return read_object(path, name, unpickler)
        except Exception as error:  # a damaged file may raise anything
            raise LoadObjectError(f"{name} of run {self.id} cannot be loaded: {error}{_advice(error)}") from error

    def list_artifacts(self, artifact_path: str | None = None) -> list[str]:
        return self._files.listed(artifact_path or "")

    def download_artifact(self, path: str, dst_path: str | Path | None = None) -> str:
        target = Path(tempfile.mkdtemp(prefix="qlib-artifact-") if dst_path is None else dst_path)
        target.mkdir(parents=True, exist_ok=True)
        with self._files.found(path) as source:
            copy = target / source.name
            if source.is_dir():
                shutil.copytree(source, copy, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, copy)
        return str(copy)


def _clock(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000).strftime(TIME_FORMAT)


def _advice(error: Exception) -> str:
    if not isinstance(error, pickle.UnpicklingError) or "add_safe_class" not in str(error):
        return ""
    return "; for a file that you trust as you trust a program: load_object(name, unpickler=pickle.Unpickler)"


def _joined(folder: str | None, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _not_started(recorder: Recorder, what: str) -> InputError:
    return InputError(f"the recorder {recorder.name!r} has no {what} yet: it was not started")


def _origin() -> dict[str, str]:
    """Who started this run, and from which commit: what MLflow's page shows of it."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a process without an entry in the list of users
        user = "unknown"
    tags = {"mlflow.source.name": sys.argv[0] or "python", "mlflow.source.type": "LOCAL", "mlflow.user": user}
    commit = commit_id(Path.cwd())
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def commit_id(folder: Path) -> str | None:
    """Return the commit that is checked out in or above `folder`, read from git's own files; None without one."""
    for above in (folder, *folder.parents):
        git = above / ".git"
        if not git.exists():
            continue
        try:
            if git.is_file():  # a worktree: the file names the real folder
                git = (above / git.read_text().removeprefix("gitdir:").strip()).resolve()
            head = (git / "HEAD").read_text().strip()
            if not head.startswith("ref:"):
                return head
            name = head.removeprefix("ref:").strip()
            common = git / (git / "commondir").read_text().strip() if (git / "commondir").exists() else git
            if (common / name).exists():
                return (common / name).read_text().strip()
            packed = (common / "packed-refs").read_text().splitlines() if (common / "packed-refs").exists() else []
            return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
        except (OSError, UnicodeDecodeError, IndexError):
            return None
    return None

"""The files of one run: put, find, list.

    LocalArtifacts(root)             a folder of this machine; a file appears whole or not at all
    RemoteArtifacts(client, run)     anything else, through MLflow's client

Names are relative, with "/" between folders. A name that leaves the run's folder is refused. An object is found and
listed under its own name, whatever file holds it (`qlib.workflow.formats`): "pred.pkl" for `pred.pkl.parquet`.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from qlib.data.storage.watch import note_file
from qlib.errors import InputError, RunError
from qlib.workflow.formats import file_names, object_name

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def artifacts_of(artifact_uri: str, client: MlflowClient, run_id: str) -> LocalArtifacts | RemoteArtifacts:
    """Return the files of a run, by the uri that MLflow gave it."""
    local = local_path(artifact_uri)
    return RemoteArtifacts(client, run_id) if local is None else LocalArtifacts(local)


def local_path(artifact_uri: str) -> Path | None:
    """Return the folder a uri means on this machine; None for a uri of another kind."""
    if artifact_uri.startswith("file:"):
        return Path(unquote(artifact_uri.removeprefix("file:").removeprefix("//")))
    return None if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", artifact_uri) else Path(artifact_uri)


def checked_name(name: str) -> str:
    """Return a name in its plain form; raise InputError if it is empty or leaves the run's folder."""
    path = PurePosixPath(str(name))
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in str(name):
        message = (
            f"artifact {name!r}: a relative name inside the run's folder is allowed, such as 'sig_analysis/ic.pkl'"
        )
        raise InputError(message)
    return str(path)


class LocalArtifacts:
    """Files below a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` write a file; it is given a path and may return another one beside it, which is kept instead."""
        target = self.root / checked_name(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".put.", dir=target.parent) as folder:
                fresh = _written(write, Path(folder) / target.name)
                fresh.replace(target.with_name(fresh.name))
        except OSError as error:
            reason = error.strerror or str(error)
            raise RunError(f"{target} cannot be kept: {reason}; what was kept before is as it was") from error
        for other in set(file_names(target.name)) - {fresh.name}:  # what the name meant before
            if not target.with_name(other).is_dir():
                target.with_name(other).unlink(missing_ok=True)

    @contextmanager
    def found(self, name: str) -> Iterator[Path]:
        path = self.root / checked_name(name)
        candidates = [path.with_name(file) for file in file_names(path.name)]
        for file in (*candidates, path):
            note_file(file)
        there = [file for file in (*candidates, path) if file.exists()]
        if not there:
            raise FileNotFoundError(f"{path} does not exist; the run holds {', '.join(self.listed()) or 'nothing'}")
        yield max(there, key=lambda file: file.stat().st_mtime_ns)  # two: who replaced one by the other was killed

    def listed(self, folder: str = "") -> list[str]:
        inside = self.root / checked_name(folder) if folder else self.root
        if not inside.is_dir():
            return []
        names = (str(p.relative_to(self.root).as_posix()) for p in inside.iterdir() if not p.name.startswith(".put."))
        return sorted(set(map(object_name, names)))


class RemoteArtifacts:
    """Files that MLflow keeps elsewhere."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client, self.run_id = client, run_id

    def put(self, name: str, write: Callable[[Path], object]) -> None:
        path = PurePosixPath(checked_name(name))
        with tempfile.TemporaryDirectory(prefix="qlib-put-") as folder:
            fresh = _written(write, Path(folder) / path.name)
            for other in self._files_of(str(path)):
                if PurePosixPath(other).name != fresh.name:  # before: missing is better than out of date
                    self._remove(other)
            parent = str(path.parent)
            self.client.log_artifact(self.run_id, str(fresh), None if parent == "." else parent)

    def _files_of(self, name: str) -> list[str]:
        """Return the files that may hold what is called `name`."""
        path = PurePosixPath(name)
        wanted = {str(path.with_name(file)) for file in file_names(path.name)}
        return sorted(wanted & set(self._all(str(path.parent))))

    def _remove(self, file: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # noqa: PLC0415  heavy

        uri = self.client.get_run(self.run_id).info.artifact_uri
        get_artifact_repository(uri, tracking_uri=self.client.tracking_uri).delete_artifacts(file)

    @contextmanager
    def found(self, name: str) -> Iterator[Path]:
        files = self._files_of(checked_name(name))
        if not files:
            raise FileNotFoundError(f"{name} does not exist in run {self.run_id}")
        with tempfile.TemporaryDirectory(prefix="qlib-get-") as folder:
            yield Path(self.client.download_artifacts(self.run_id, files[-1], folder))

    def _all(self, folder: str = "") -> list[str]:
        inside = None if folder in ("", ".") else checked_name(folder)
        return [info.path for info in self.client.list_artifacts(self.run_id, inside)]

    def listed(self, folder: str = "") -> list[str]:
        return sorted(set(map(object_name, self._all(folder))))


def _written(write: Callable[[Path], object], path: Path) -> Path:
    made = write(path)
    return made if isinstance(made, Path) else path


def copy_to(source: Path) -> Callable[[Path], object]:
    """Return a writer that copies `source`."""
    return lambda target: shutil.copyfile(source, target)

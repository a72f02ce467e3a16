"""The files of one run: put, find, list.

    LocalArtifacts(root)             a folder of this machine; a file appears whole or not at all
    RemoteArtifacts(client, run)     anything else, through MLflow's client

Names are relative, with "/" between folders. A name that leaves the run's folder is refused.
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

from qlib.errors import InputError

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
        target = self.root / checked_name(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".put.", dir=target.parent) as folder:
            fresh = Path(folder) / target.name
            write(fresh)
            fresh.replace(target)

    @contextmanager
    def found(self, name: str) -> Iterator[Path]:
        path = self.root / checked_name(name)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; the run holds {', '.join(self.listed()) or 'nothing'}")
        yield path

    def listed(self, folder: str = "") -> list[str]:
        inside = self.root / checked_name(folder) if folder else self.root
        if not inside.is_dir():
            return []
        return sorted(
            str(p.relative_to(self.root).as_posix()) for p in inside.iterdir() if not p.name.startswith(".put.")
        )


class RemoteArtifacts:
    """Files that MLflow keeps elsewhere."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client, self.run_id = client, run_id

    def put(self, name: str, write: Callable[[Path], object]) -> None:
        path = PurePosixPath(checked_name(name))
        with tempfile.TemporaryDirectory(prefix="qlib-put-") as folder:
            fresh = Path(folder) / path.name
            write(fresh)
            parent = str(path.parent)
            self.client.log_artifact(self.run_id, str(fresh), None if parent == "." else parent)

    @contextmanager
    def found(self, name: str) -> Iterator[Path]:
        path = checked_name(name)
        if path not in self.listed(str(PurePosixPath(path).parent)):
            raise FileNotFoundError(f"{path} does not exist in run {self.run_id}")
        with tempfile.TemporaryDirectory(prefix="qlib-get-") as folder:
            yield Path(self.client.download_artifacts(self.run_id, path, folder))

    def listed(self, folder: str = "") -> list[str]:
        inside = None if folder in ("", ".") else checked_name(folder)
        return sorted(info.path for info in self.client.list_artifacts(self.run_id, inside))


def copy_to(source: Path) -> Callable[[Path], object]:
    """Return a writer that copies `source`."""
    return lambda target: shutil.copyfile(source, target)

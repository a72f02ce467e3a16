"""The report of a run: `report.html` for people, `report.json` beside it for programs.

    page = write_report(recorder)                 # into the run's own artifacts, under report/
    page = write_report(recorder, "my/folder")    # into a folder of yours, and logged as artifacts too

Both files are complete or absent: they are written beside their place and moved there. The same run gives the same
bytes.
"""

from __future__ import annotations

import os
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from qlib.config import DataPathManager, Settings, active_settings
from qlib.contrib.report.artifacts import Artifacts, read_artifacts
from qlib.contrib.report.facts import market_of
from qlib.contrib.report.numbers import build_twin, dump
from qlib.contrib.report.page import render
from qlib.data.active import D, active_provider
from qlib.data.provider import Provider
from qlib.errors import RunError
from qlib.workflow.artifacts import local_path

FOLDER = "report"
PAGE = "report.html"
TWIN = "report.json"
MARKET = "market.json"


def write_report(
    recorder: Any,
    folder: str | os.PathLike[str] | None = None,
    *,
    settings: Settings | None = None,
    provider: Provider | None = None,
) -> Path:
    """Write the report of a run and return the path of its page.

    Parameters
    ----------
    recorder : Recorder
        A run with at least `pred.pkl` or a backtest; what it lacks is left out and said.
    folder : path, optional
        Where to write. None means the run's artifact folder; when that is not on this machine, a new temporary folder.
        In every case both files are artifacts of the run afterwards, under `report/`.
    settings : Settings, optional
        Where store and region are looked up when the run has no `config`; None means the live session's.
    provider : Provider, optional
        Reads the run's store, for holes, universe and liquidity; None means the live session's where that is the run's
        store. What an earlier report has read is not read again (`report/market.json`).

    Raises
    ------
    RunError
        The folder cannot be written to.
    """
    artifacts = read_artifacts(recorder)
    settings = active_settings() if settings is None else settings
    kept = kept_market(recorder)
    provider = _provider_of(artifacts, settings) if provider is None and kept is None else provider
    twin = build_twin(artifacts, settings, installed_version(), kept=kept, provider=provider)
    home = artifact_folder(recorder)
    place = Path(folder) if folder is not None else home or Path(tempfile.mkdtemp(prefix="qlib-report-"))
    files = {TWIN: dump(twin), PAGE: render(twin)}
    if "why" not in twin["market"]:
        files[MARKET] = dump(twin["market"])
    for name, text in files.items():
        write_file(place / name, text)
        if place != home:
            recorder.log_artifact(str(place / name), FOLDER)
    return place / PAGE


def kept_market(recorder: Any) -> dict[str, Any] | None:
    """What an earlier report of the run has read of the store."""
    name = f"{FOLDER}/{MARKET}"
    if FOLDER not in recorder.list_artifacts() or name not in recorder.list_artifacts(FOLDER):
        return None
    found: dict[str, Any] = recorder.load_object(name)
    return found


def _provider_of(artifacts: Artifacts, settings: Settings) -> Provider | None:
    """The live session's provider, where its store is the run's."""
    if not D.filled:
        return None
    provider = active_provider()
    own = market_of(artifacts, settings).provider_uri
    theirs = DataPathManager.format_provider_uri(provider.settings["provider_uri"] or {})
    return provider if own == theirs else None


def artifact_folder(recorder: Any) -> Path | None:
    """The run's `report` folder, when its artifacts are on this machine."""
    uri = getattr(recorder, "artifact_uri", None)
    if not uri:
        return None
    folder = local_path(str(uri))
    return None if folder is None else folder / FOLDER


def write_file(path: Path, text: str) -> None:
    """Write a file at once: readers see the old one or the new one, never a part."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(beside, 0o644)  # noqa: PTH101  mkstemp makes it readable for the owner alone
            os.replace(beside, path)  # noqa: PTH105  the path is a str from mkstemp
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
    except OSError as error:
        msg = f"the report cannot be written to {path}: {error.strerror or error}; name a folder that can be written to"
        raise RunError(msg) from error


def installed_version() -> str | None:
    try:
        return metadata.version("qlib-crypto")
    except metadata.PackageNotFoundError:  # used from a checkout that was never installed
        return None

"""A whole run that need not be made again: the same configuration, data, code, packages and machine, and still there.

    key = identity(config, ...)
    keep_run(cache, key, recorder, stages, modules, facts)      when it is over
    known_run(cache, key)                                       the facts, or None where something has changed

Nothing is loaded for an answer, MLflow neither: sources, data files and the files of the run are read and compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from qlib.utils.paths import replace_file
from qlib.workflow.artifacts import local_path
from qlib.workflow.code import environment, process_began, sources_of, versions
from qlib.workflow.recorder import Recorder
from qlib.workflow.snapshot import Seen, digest_of, file_digest
from qlib.workflow.stage_cache import StageCache, Stages, plain, touched
from qlib.workflow.store import place_of

FORMAT: Final = 1
SINCE: Final = "since"


def identity(config: Mapping[str, Any], *where: str) -> str | None:
    """Return what a run is kept under: its configuration, where it runs and by what; None where it holds objects.

    Parameters
    ----------
    where
        What else the caller was asked for: the experiment, the place of the runs.
    """
    own = {name: value for name, value in os.environ.items() if name.startswith("QLIB_")}
    told = [FORMAT, config, *where, str(Path.cwd()), str(Path.home()), own, versions(), environment()]
    try:
        return digest_of(json.dumps(told, default=plain, sort_keys=True).encode())
    except TypeError:
        return None


def keep_run(
    cache: StageCache,
    key: str,
    recorder: Recorder,
    stages: Stages,
    modules: Iterable[str],
    facts: Mapping[str, Any],
) -> bool:
    """Remember a run that is over; tell whether it could be.

    Parameters
    ----------
    modules
        What ran besides the stages.
    facts
        What `known_run` is to answer.
    """
    uri, root = getattr(recorder, "uri", None), local_path(str(recorder.artifact_uri))
    if root is None or uri is None or place_of(uri).database is None or not all(done.kept for done in stages.done):
        return False
    names = sorted({*stages.modules, *modules})
    sources = sources_of(names)
    if any(touched(path, process_began()) for path in sources):
        return False  # what ran may be older than what stands there
    files = sorted(path for path in root.rglob("*") if path.is_file())
    known = {
        "facts": dict(facts),
        "run": recorder.id,
        "uri": uri,
        "root": str(root),
        "files": {path.relative_to(root).as_posix(): file_digest(path) for path in files},
        "modules": names,
        "sources": sources,
        "code": {path: digest for done in stages.done for path, digest in done.code.items()},
        "seen": Seen.joined(done.seen for done in stages.done).plain(),
        SINCE: time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    with contextlib.suppress(OSError):
        replace_file(_file(cache, key), lambda file: file.write(json.dumps(known, default=str).encode()))
        return True
    return False


def known_run(cache: StageCache, key: str) -> dict[str, Any] | None:
    """Return the facts of a run that would come out the same, with the time `since` which; None where none is known."""
    try:
        known = json.loads(_file(cache, key).read_bytes())
        root = Path(known["root"])
        same = (
            all(file_digest(root / name) == digest for name, digest in known["files"].items())
            and all(file_digest(path) == digest for path, digest in known["code"].items())
            and sources_of(known["modules"]) == known["sources"]
            and Seen.from_plain(known["seen"]).changed(cache.digests) is None
            and _finished(known["uri"], known["run"])
        )
        return {**known["facts"], SINCE: known[SINCE]} if same else None
    except (OSError, ValueError, KeyError, TypeError, sqlite3.Error):
        return None  # damaged, or of another time: the run is made


def _finished(uri: str, run: str) -> bool:
    """Tell whether a run is over and was not deleted."""
    database = place_of(uri).database
    if database is None:
        return False
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=1)) as connection:
        rows: Sequence[Any] = connection.execute(
            "SELECT status, lifecycle_stage FROM runs WHERE run_uuid = ?", (run,)
        ).fetchall()
    return rows == [("FINISHED", "active")]


def _file(cache: StageCache, key: str) -> Path:
    return cache.folder / "runs" / f"{key}.json"

"""The manifest of a run: all that decided about its numbers, and what the numbers are.

    write_manifest(recorder, stages, config)        manifest.json, snapshot.json, and code.diff where there is one
    read_manifest(recorder)["data"]["id"]           "5d0c2f..."
    differences(old, new)                           {"packages": ["numpy: 2.1.0 -> 2.3.5"], "data": [...], ...}

    config        as it was resolved              environment   interpreter, machine, threads, hashing
    data          snapshot of what was read       seeds         every seed of the task, by its place
    code          sources that ran, with digests, hardware      processor, memory
                  commit and diff of their        parents       runs that this one belongs to, or goes on with
                  repositories                    outputs       digest of every file of the run
    packages      versions of all packages        trial         which try this was

`predictions` and `accounts` are digests of numbers, not of files: two runs that computed the same have the same ones,
whatever wrote the files. `snapshot.json` names each file that was read, with its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from qlib.log import get_module_logger
from qlib.utils.exceptions import LoadObjectError
from qlib.workflow.code import environment, sources_of, versions
from qlib.workflow.recorder import Recorder, commit_id
from qlib.workflow.snapshot import SIZE, digest_of

if TYPE_CHECKING:
    from qlib.workflow.stage_cache import Stages

logger = get_module_logger("workflow")

MANIFEST: Final = "manifest.json"
SNAPSHOT: Final = "snapshot.json"
DIFF: Final = "code.diff"
FORMAT: Final = 1
PARENT: Final = "mlflow.parentRunId"
_SECONDS: Final = 20.0  # git may take
_LARGEST: Final = 4 << 20  # bytes of a diff that is kept whole
_ABSENT: Final = "(none)"


def write_manifest(
    recorder: Recorder,
    stages: Stages,
    config: Mapping[str, Any],
    *,
    seeds: Mapping[str, Any] | None = None,
    path: str | os.PathLike[str] | None = None,
    parents: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the manifest of a run whose stages are over, and return it.

    Parameters
    ----------
    config
        The whole configuration, or {"task": task} of a run that has no other.
    seeds
        What `qlib.workflow.train.seeds_of` says of the task.
    path
        The file of the configuration.
    parents
        Runs that this one goes on with, besides the one that its tag names.
    """
    snapshot = stages.snapshot()
    sources = sources_of(stages.modules)
    repositories, diff = _repositories([*sources, str(Path.cwd() / "x")])
    digest = digest_of(json.dumps(sorted(sources.values())).encode())
    tags = recorder.list_tags()
    own = {
        "format": FORMAT,
        "run": recorder.id,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config,
        "path": None if path is None else str(Path(path).absolute()),
        "folder": str(Path.cwd()),
        "data": snapshot.summary(),
        "stages": [done.facts() for done in stages.done],
        "code": {
            "digest": digest,
            "repositories": repositories,
            "sources": _relative(sources, repositories),
        },
        "packages": versions(),
        "environment": environment(),
        "seeds": dict(seeds or {}),
        "hardware": hardware(),
        "parents": sorted({*parents, *([tags[PARENT]] if PARENT in tags else [])}),
        "outputs": {name: digest for done in stages.done for name, digest in sorted(done.outputs.items())},
        "predictions": _content(recorder, "pred.pkl"),
        "accounts": _accounts(recorder),
        "trial": _trial(recorder),
    }
    text = json.dumps(own, indent=1, default=str)
    read = json.dumps(dict(snapshot.files), indent=0)
    recorder.save_file(SNAPSHOT, lambda file: file.write_text(read, encoding="utf-8"))
    if diff:
        recorder.save_file(DIFF, lambda file: file.write_bytes(diff))
    recorder.save_file(MANIFEST, lambda file: file.write_text(text, encoding="utf-8"))
    recorder.set_tags(**{"qlib.data": snapshot.id[:12], "qlib.code": digest[:12]})
    return dict(json.loads(text))


def read_manifest(recorder: Recorder) -> dict[str, Any]:
    """Return the manifest of a run; LoadObjectError where it has none."""
    return dict(recorder.load_object(MANIFEST))


def read_snapshot(recorder: Recorder) -> dict[str, str]:
    """Return which files a run read, with their digests; LoadObjectError where it does not say."""
    return dict(recorder.load_object(SNAPSHOT))


# --------------------------------------------------------------------------------------------------------- numbers
def content_digest(table: pd.DataFrame | pd.Series) -> str:
    """Return a digest of labels, types and values, whatever file they came from.

    >>> one = pd.DataFrame({"score": [0.5, None]}, index=pd.Index([1, 2], name="n"))
    >>> content_digest(one) == content_digest(one.copy()), content_digest(one) == content_digest(one * 2)
    (True, False)
    """
    mark = hashlib.blake2b(digest_size=SIZE)
    frame = table.to_frame() if isinstance(table, pd.Series) else table
    told = [[str(name) for name in frame.columns], [str(name) for name in frame.index.names], len(frame)]
    mark.update(json.dumps(told).encode())
    levels = [frame.index.get_level_values(i) for i in range(frame.index.nlevels)]
    for column in (*levels, *(frame.iloc[:, i] for i in range(frame.shape[1]))):
        mark.update(_bytes_of(column))
    return mark.hexdigest()


def _bytes_of(column: Any) -> bytes:
    kind = getattr(column.dtype, "kind", "O")
    if kind in "mM":  # in one unit, whichever this pandas prefers
        times = pd.DatetimeIndex(column) if kind == "M" else pd.TimedeltaIndex(column)
        return bytes(times.as_unit("ns").asi8.tobytes())
    if kind in "biuf":
        values = np.asarray(column)
        if kind == "f":
            values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
        return f"{values.dtype.str} ".encode() + bytes(values.tobytes())
    return json.dumps([str(one) for one in column]).encode()


def _content(recorder: Recorder, name: str) -> str | None:
    try:
        table = recorder.load_object(name)
    except LoadObjectError:
        return None
    return content_digest(table) if isinstance(table, pd.DataFrame | pd.Series) else None


def _accounts(recorder: Recorder) -> dict[str, str | None]:
    names = [name for name in recorder.list_artifacts("portfolio_analysis") if "/report_normal_" in name]
    return {name.rpartition("/")[2].removesuffix(".pkl"): _content(recorder, name) for name in names}


def _trial(recorder: Recorder) -> Any:
    try:
        trial = recorder.load_object("trial.json")
    except LoadObjectError:
        return None
    return {key: trial.get(key) for key in ("number", "trials", "again")} if isinstance(trial, Mapping) else None


# ------------------------------------------------------------------------------------------------- code and machine
def _repositories(files: Iterable[str]) -> tuple[list[dict[str, Any]], bytes]:
    """Return the repositories that files lie in (commit, whether it was changed since), and what was changed."""
    roots: dict[Path, None] = {}
    seen: set[Path] = set()
    for folder in {Path(file).parent for file in files}:
        for above in (folder, *folder.parents):
            if above in roots or above in seen:
                break
            seen.add(above)
            if (above / ".git").exists():
                roots[above] = None
                break
    found: list[dict[str, Any]] = []
    diffs: list[bytes] = []
    for root in sorted(roots):
        diff = _git_diff(root)
        known: dict[str, Any] = {"root": str(root), "commit": commit_id(root), "changed": None}
        if diff is not None:
            known |= {"changed": bool(diff), "diff": digest_of(diff) if diff else None}
            diffs.append(diff)
        found.append(known)
    diff = b"".join(diffs)
    return found, diff if len(diff) <= _LARGEST else diff[:_LARGEST] + b"\n(cut off here)\n"


def _git_diff(root: Path) -> bytes | None:
    """Return what differs from the commit, None where git cannot say."""
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    words = ["git", "-C", str(root), "diff", "--no-color", "--no-ext-diff", "HEAD"]
    try:
        return subprocess.run(words, capture_output=True, check=True, timeout=_SECONDS, env=quiet).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        logger.info(f"what was changed in {root} since its commit is not known: {error}")
        return None


def _relative(sources: Mapping[str, str], repositories: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return sources by their names inside the package or the repository."""
    homes = [str(Path(__file__).resolve().parents[2]), *(str(one["root"]) for one in repositories)]
    found = {}
    for path, digest in sources.items():
        home = next((home for home in homes if path.startswith(home + os.sep)), "")
        found[Path(path[len(home) :]).as_posix().lstrip("/") if home else path] = digest
    return found


def hardware() -> dict[str, Any]:
    """Return the machine: its name, processor, how many of them, and memory in GB."""
    try:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        memory = None
    return {"host": platform.node(), "processor": _processor(), "cpus": os.cpu_count(), "memory": memory}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


# ------------------------------------------------------------------------------------------------------ differences
def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what differs between two manifests, a line for each, by subject; subjects that agree are left out."""
    found = {
        "config": _changes(_flat(old["config"]), _flat(new["config"])),
        "data": _data(old["data"], new["data"]),
        "code": _changes(old["code"]["sources"], new["code"]["sources"], say=_changed) + _commits(old, new),
        "packages": _changes(old["packages"], new["packages"]),
        "environment": _changes(_flat(old["environment"]), _flat(new["environment"])),
        "seeds": _changes(_flat(old["seeds"]), _flat(new["seeds"])),
        "hardware": _changes(_flat(old["hardware"]), _flat(new["hardware"])),
    }
    return {subject: lines for subject, lines in found.items() if lines}


def file_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return a line for each file that was read by one of two runs only, or is not the same."""
    return _changes(old, new, say=_changed)


def results(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, bool]:
    """Return for each result that either run has (predictions, accounts) whether both have it, and the same."""
    pairs = {"predictions": (old["predictions"], new["predictions"])}
    for name in sorted({*old["accounts"], *new["accounts"]}):
        pairs[name] = (old["accounts"].get(name), new["accounts"].get(name))
    return {name: a == b for name, (a, b) in pairs.items() if a is not None or b is not None}


def _flat(node: Any, name: str = "") -> dict[str, Any]:
    """Return every value of nested tables and lists by its dotted path."""
    if not isinstance(node, Mapping | list | tuple) or not node:
        return {name: node} if name else {}
    found: dict[str, Any] = {}
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        found |= _flat(value, f"{name}.{key}" if name else str(key))
    return found


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], say: Any = None) -> list[str]:
    say = say or (lambda name, a, b: f"{name}: {a} -> {b}")
    names = [*old, *(name for name in new if name not in old)]
    return [
        say(name, old.get(name, _ABSENT), new.get(name, _ABSENT)) for name in names if old.get(name) != new.get(name)
    ]


def _changed(name: str, old: Any, new: Any) -> str:
    word = "only in the second" if old == _ABSENT else "only in the first" if new == _ABSENT else "changed"
    return f"{name}: {word}"


def _data(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    if old["id"] == new["id"]:
        return []
    names = ("calendars", "universes", "fields", "instruments", "files", "other_files")
    lines = _changes({name: old[name] for name in names}, {name: new[name] for name in names})
    return [f"snapshot: {old['id'][:12]} -> {new['id'][:12]}", *lines]


def _commits(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    both = [{one["root"]: one["commit"] for one in own["code"]["repositories"]} for own in (old, new)]
    return _changes(*both)

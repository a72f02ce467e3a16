"""The stages of a run, kept: a stage whose inputs are the same is told again instead of being computed.

    cache = StageCache(folder)
    stages = Stages(recorder, cache)
    stages.perform("fit", config, modules, fit)         computed, or taken: the run holds the same files either way

What decides is content, never a time: the stage's part of the configuration, the settings, the sources of the modules
that it names and of all they import, the versions of what is installed, interpreter, machine and threads; and, of each
time that it was computed, every file it read (data, tables, artifacts of stages before it) with the digest of its
bytes. The first that holds is taken. So a changed model parameter that leads to the same predictions leaves the
back-test as it is, and nothing that differs is ever taken for the same.

    <folder>/traces/<key>.json      what was read and made, each time that a stage of this key was computed
    <folder>/blobs/<digest>         files that were made; each is checked when it is taken
    <folder>/runs/<key>.json        whole runs, see qlib.workflow.served
    <folder>/digests.json           see qlib.workflow.snapshot.Digests

Not kept: a stage that reads data without files (`qlib.init(data=...)`, a storage of a user's own), whose configuration
holds objects, that leaves nothing behind, or whose files changed while it ran. Files appear whole or not at all; what
was used longest ago goes when the limit is reached. A cache that cannot be written costs a line in the log.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from qlib.config import active_settings
from qlib.data.storage.watch import watched
from qlib.errors import StoreError
from qlib.log import get_module_logger
from qlib.utils.paths import replace_file
from qlib.workflow.artifacts import local_path
from qlib.workflow.code import (
    classes_in,
    code_digest,
    environment,
    loaded_between,
    modules_of,
    process_began,
    sources_of,
    versions,
)
from qlib.workflow.noted import Log, noted
from qlib.workflow.recorder import Recorder
from qlib.workflow.snapshot import SIZE, Digests, Seen, Snapshot, digest_of, file_digest
from qlib.workflow.stage import stage
from qlib.workflow.store import cache_folder, place_of

logger = get_module_logger("workflow")

FORMAT: Final = 1
TRACES: Final = 8  # of one key
FOLDER: Final = ".stages"
GIGABYTES: Final = 10.0
# Settings that decide where runs are kept or what is said, not what is computed.
QUIET: Final = ("exp_manager", "logging_level", "logging_config", "local_cache_path", "mem_cache_expire")
_ALWAYS: Final = ("qlib.data.provider",)  # every stage is served by it
_RUNNERS: Final = tuple(Path(__file__).with_name(name) for name in ("stage_cache.py", "train.py"))
_PARTS: Final = {"seen", "artifacts", "code", "outputs", "log"}  # of a trace
_PIECE: Final = 1 << 20
_COARSE: Final = 20_000_000  # nanoseconds: how far the clock of a file system is behind


@dataclass(slots=True)
class Done:
    """A stage that is over: how it was keyed (None: it cannot be kept), whether it was taken, what it read and made."""

    name: str
    key: str | None
    taken: bool
    seconds: float
    seen: Seen = field(default_factory=Seen)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)  # that was chosen while it ran
    kept: bool = False

    def identity(self) -> str:
        """Return a digest of what decided about the stage: of use to stages that are given its objects."""
        told = [self.key, sorted({**self.seen.files, **self.seen.others, **self.artifacts}.items())]
        return digest_of(json.dumps(told).encode())

    def facts(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {"name": self.name, "key": self.key, "taken": self.taken, "seconds": round(self.seconds, 3)}


class StageCache:
    """Stages in a folder, see the module.

    Parameters
    ----------
    folder
        Made at the first stage that is kept.
    gigabytes
        What all kept files may take.
    """

    def __init__(self, folder: str | os.PathLike[str], *, gigabytes: float = GIGABYTES) -> None:
        self.folder = Path(folder)
        self.limit = int(gigabytes * (1 << 30))
        self.digests = Digests(self.folder / "digests.json")

    @classmethod
    def beside(cls, uri: str) -> StageCache:
        """Return the cache of a place of runs: in its folder, or in the user's cache where it has none."""
        place = place_of(uri)
        return cls(cache_folder() / "stages" if place.folder is None else place.folder / FOLDER)

    def blob(self, digest: str) -> Path:
        """Return where a file of this digest is kept, if it is."""
        return self.folder / "blobs" / digest[:2] / digest

    def traces(self, key: str) -> list[dict[str, Any]]:
        """Return what was noted of a key, newest first; nothing where it is damaged."""
        try:
            content = json.loads(self._trace(key).read_bytes())
        except (OSError, ValueError):
            return []
        if not isinstance(content, list):
            return []
        return [one for one in content if isinstance(one, dict) and one.keys() >= _PARTS]

    def _trace(self, key: str) -> Path:
        return self.folder / "traces" / f"{key}.json"

    def used(self, key: str) -> None:
        """Note that a key was of use: what was used longest ago goes first."""
        with contextlib.suppress(OSError):
            os.utime(self._trace(key))

    def put(self, key: str, trace: dict[str, Any], root: Path) -> bool:
        """Keep what a stage made in the folder `root`, and why; False where it is larger than all that may be kept.

        Raises OSError where it cannot be written.
        """
        made = [name for name, digest in trace["outputs"].items() if not self.blob(digest).exists()]
        need = sum((root / name).stat().st_size for name in made)
        if need > self.limit:
            return False
        self._make_room(need)
        for name in made:
            digest = trace["outputs"][name]
            replace_file(self.blob(digest), partial(_copied, root / name, digest))
        known = [one for one in self.traces(key) if _why(one) != _why(trace)]
        content = json.dumps([trace, *known][:TRACES]).encode()
        replace_file(self._trace(key), lambda file: file.write(content))
        return True

    def restore(self, trace: Mapping[str, Any], recorder: Recorder) -> bool:
        """Put the files of a trace into a run, and log what was logged; False where one of them is gone or damaged."""
        blobs = {name: self.blob(digest) for name, digest in trace["outputs"].items()}
        if not all(blob.is_file() for blob in blobs.values()):
            return False
        try:
            for name, blob in blobs.items():
                digest = trace["outputs"][name]
                recorder.save_file(name, partial(_copy, blob, digest))
                with contextlib.suppress(OSError):
                    os.utime(blob)
        except StoreError as error:
            logger.warning(f"{error}; the stage is computed")
            blob.unlink(missing_ok=True)
            return False
        Log.from_plain(trace["log"]).tell(recorder)
        return True

    def _make_room(self, need: int) -> None:
        kept = []
        for path in [path for kind in ("blobs/*/*", "traces/*.json", "runs/*.json") for path in self.folder.glob(kind)]:
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                kept.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total + need <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size

    def clear(self) -> int:
        """Forget everything; return how many bytes that were."""
        freed = 0
        kinds = ("traces/*.json", "runs/*.json", "blobs/*/*", "digests.json")
        for path in [path for kind in kinds for path in self.folder.glob(kind)]:
            with contextlib.suppress(FileNotFoundError):
                freed += path.stat().st_size
                path.unlink()
        return freed


class Stages:
    """The stages of one run, performed one after the other; with a cache, computed only where they must be.

    Parameters
    ----------
    recorder
        The run; unless its files are on this machine nothing is kept.
    cache
        None: every stage is computed, and what it read and made is noted all the same.
    """

    def __init__(self, recorder: Recorder, cache: StageCache | None = None) -> None:
        self.recorder = recorder
        uri = getattr(recorder, "artifact_uri", None)
        self.root = local_path(str(uri)) if uri else None
        self.cache = cache if self.root is not None else None
        kept = getattr(recorder, "uri", None)
        beside = cache if cache is not None or kept is None else StageCache.beside(kept)
        self.digests = Digests() if beside is None else beside.digests
        self.done: list[Done] = []
        self.modules: set[str] = set()  # of all stages
        self._modules: list[str] = []

    def perform(
        self, name: str, config: Any, modules: Sequence[str], work: Callable[[], object], *, given: Sequence[Done] = ()
    ) -> Done:
        """Compute a stage, or take it as it was.

        Parameters
        ----------
        config
            All that the stage depends on and that is no file.
        modules
            What it runs; see `qlib.workflow.code.sources_of`.
        work
            Computes it, and leaves its results in the run.
        given
            Stages whose objects it is given in memory, not only their files.
        """
        began = time.perf_counter()
        self._modules = sorted({*_ALWAYS, *modules, *modules_of(_counting())})
        self.modules.update(self._modules)
        key = self._key(name, config, given)
        done = self._taken(name, key) if key is not None else None
        if done is None:
            done = self._computed(name, key, work, config)
        self.digests.save()
        done.seconds = time.perf_counter() - began
        self.done.append(done)
        return done

    def _key(self, name: str, config: Any, given: Sequence[Done]) -> str | None:
        if self.cache is None or not all(done.kept for done in given):
            return None
        about = [FORMAT, name, config, str(Path.cwd()), versions(), environment()]
        about += [[file_digest(path) for path in _RUNNERS], [done.identity() for done in given]]
        try:
            text = json.dumps([*about, settings_told()], default=plain, sort_keys=True)
        except TypeError as error:
            logger.info(f"{name} is not kept: {error}")
            return None
        return digest_of(f"{text}\n{code_digest(self._modules)}".encode())

    def _taken(self, name: str, key: str) -> Done | None:
        assert self.cache is not None
        for trace in self.cache.traces(key):
            seen = Seen.from_plain(trace["seen"])
            fits = all(self._artifact(one) == digest for one, digest in trace["artifacts"].items())
            fits = fits and all(file_digest(path) == digest for path, digest in trace["code"].items())
            if not fits or seen.changed(self.digests) is not None:
                continue
            with stage(name) as told:
                told["unchanged"] = True
                if self.cache.restore(trace, self.recorder):
                    self.cache.used(key)
                    parts = (trace["artifacts"], trace["outputs"], trace["code"])
                    return Done(name, key, True, 0.0, seen, *parts, kept=True)
        return None

    def _computed(self, name: str, key: str | None, work: Callable[[], object], config: Any) -> Done:
        modules, since, before = set(sys.modules), time.time_ns() - _COARSE, self._files()
        with watched() as reads, noted() as log:
            work()
        after = self._files()
        made = sorted(one for one, stamp in after.items() if before.get(one) != stamp)
        seen = Seen.of(reads, self.digests, self._own_folders())
        loaded = {self._name(path): "" for path in (*reads.files(), *reads.opened()) if self._name(path)}
        artifacts = {one: self._artifact(one) for one in sorted(loaded) if one not in made}
        outputs = {} if self.root is None else {one: file_digest(self.root / one) for one in made}
        done = Done(name, key, False, 0.0, seen, artifacts, outputs)
        if key is None or self.cache is None or self.root is None or not outputs or seen.values:
            return done
        code = loaded_between(modules) | sources_of(classes_in(config))
        late = next((path for path in (*seen.files, *seen.others) if touched(path, since)), None)
        late = late or next((p for p in (*code, *sources_of(self._modules)) if touched(p, process_began())), None)
        if late is not None:
            logger.info(f"{name} is not kept: {late} was written while it ran")
            return done
        trace = {
            "name": name,
            "seen": seen.plain(),
            "artifacts": artifacts,
            "code": code,
            "outputs": outputs,
            "log": log.plain(),
        }
        try:
            done.kept = self.cache.put(key, trace, self.root)
            done.code = code
        except (OSError, StoreError) as error:
            logger.info(f"{name} is not kept in {self.cache.folder}: {error}")
        return done

    def snapshot(self) -> Snapshot:
        """Return the data that all stages so far have read."""
        return Snapshot.of(Seen.joined(done.seen for done in self.done))

    # ---------------------------------------------------------------------------------------- files of the run
    def _own_folders(self) -> list[Path]:
        """Return folders that hold no data: the run itself, and the cache. Another run is data."""
        folders = [] if self.root is None else [self.root.parent]
        return folders if self.cache is None else [*folders, self.cache.folder]

    def _files(self) -> dict[str, tuple[int, int, int]]:
        if self.root is None or not self.root.is_dir():
            return {}
        found = {}
        for folder, _, names in os.walk(self.root):
            for one in names:
                path = os.path.join(folder, one)  # noqa: PTH118
                stat = os.stat(path)  # noqa: PTH116
                found[os.path.relpath(path, self.root)] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return found

    def _name(self, path: str) -> str:
        home = os.path.join(os.path.abspath(self.root), "") if self.root is not None else ""  # noqa: PTH100, PTH118
        inside = home and path.startswith(home) and not Path(path).is_dir()
        return path[len(home) :] if inside else ""

    def _artifact(self, name: str) -> str:
        assert self.root is not None
        return file_digest(self.root / name)


def settings_told() -> dict[str, Any]:
    """Return the live session's settings that decide about numbers, as plain data."""
    return {name: plain(value) for name, value in sorted(_counting().items())} | {
        "rules": repr(active_settings().region)
    }


def _counting() -> dict[str, Any]:
    return {name: value for name, value in active_settings().items() if name not in QUIET}


def plain(value: Any) -> Any:
    """Return a value as plain data; TypeError for an object of which nobody knows what it holds."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, datetime.date | datetime.timedelta | Path):
        return f"{type(value).__name__} {value}"
    if isinstance(value, type):
        return f"class {value.__module__}.{value.__qualname__}"
    raise TypeError(f"its configuration, or a setting, holds a {type(value).__name__}")


def touched(path: str, since: int) -> bool:
    """Tell whether a file was written, moved or renamed since a time in nanoseconds."""
    try:
        stat = os.stat(path)  # noqa: PTH116
    except OSError:
        return False
    return max(stat.st_mtime_ns, stat.st_ctime_ns) >= since


def _why(trace: Mapping[str, Any]) -> Any:
    return trace["seen"], trace["artifacts"], trace["code"]


def _copied(source: Path, digest: str, file: IO[bytes]) -> None:
    mark = hashlib.blake2b(digest_size=SIZE)
    with source.open("rb") as content:
        while piece := content.read(_PIECE):
            mark.update(piece)
            file.write(piece)
    if mark.hexdigest() != digest:
        raise StoreError(f"{source} is not what it was when it was written")


def _copy(blob: Path, digest: str, path: Path) -> None:
    with path.open("wb") as file:
        _copied(blob, digest, file)

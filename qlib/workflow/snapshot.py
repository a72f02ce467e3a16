"""What data a piece of work saw, as one short id: it changes with every byte of what was read, and with nothing else.

    with watched() as reads:
        D.features(["AAPL"], ["$close"])
    snapshot = Snapshot.of(reads)
    snapshot.id                     "5d0c2f..."      digest over names and bytes of all files below
    snapshot.files                  {"calendars/day.txt": "91b0...", "features/aapl/close.day.bin": "ab12...", ...}

A file counts whole, whichever of its rows were asked for: fields, calendar, universe, point-in-time records, and any
other file that was opened (a table, a signal). A file that was looked for and not found counts as absent. Names are
those inside the store, so a copy of a store elsewhere is the same data.

Files are read once: a digest is remembered (`Digests`) with the file's size, inode and times of change to the
nanosecond. The time at which the file system noted a change cannot be set back, so a byte that was changed is seen even
where the time of modification was restored; a file that is younger than a few seconds is never remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from qlib.data.dataset import Dataset
from qlib.data.storage.watch import Reads, watched
from qlib.utils.objects import init_instance_by_config
from qlib.utils.paths import replace_file

ABSENT: Final = "absent"
SIZE: Final = 20  # bytes of a digest
_YOUNG: Final = 3_000_000_000  # nanoseconds: no file system tells time more coarsely
_PIECE: Final = 1 << 20
_MANY: Final = 100_000  # digests, before those of files that are gone are forgotten
_FEW: Final = 8  # files that are not worth a thread
_CODE: Final = (".py", ".pyc", ".pyx", ".so", ".pyd")
_ABOUT: Final = (".egg-info/", ".dist-info/", "/.git/", "/__pycache__/")  # of packages and repositories
_SYSTEM: Final = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/", "/lib/", "/lib64/", "/run/")
_MEMORY: Final = "/dev/shm/"  # noqa: S108  of /dev, the folder in which people keep files, beside what processes lend
_LENT: Final = tuple(_MEMORY + name for name in ("joblib", "loky", "psm_", "qlib-lent-", "sem."))


@dataclass(frozen=True, slots=True)
class Seen:
    """The files that some work read, with the digests of their bytes, by absolute path.

    Parameters
    ----------
    stores
        Folders of stores.
    files
        Files of stores.
    others
        Other files that were opened, also those that were not there.
    folders
        Digests of the names inside folders.
    values
        Digests of values that came from no file, by where they came from.
    """

    stores: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, reads: Reads, digests: Digests, ignored: Iterable[str | Path] = ()) -> Seen:
        """Return what was read, as it is now; `ignored` are folders that hold no data, such as that of the runs."""
        stores, away = tuple(reads.roots()), _prefixes(ignored)
        files = [path for path in reads.files() if not path.startswith(away)]
        others = used(reads.opened(), [*ignored, *stores])
        known = digests.of([*files, *others])
        folders = {path: names_in(path) for path in reads.folders()}
        return cls(stores, {p: known[p] for p in files}, {p: known[p] for p in others}, folders, reads.values())

    @classmethod
    def joined(cls, parts: Iterable[Seen]) -> Seen:
        """Return what several pieces of work read together."""
        stores: dict[str, None] = {}
        tables: list[dict[str, str]] = [{}, {}, {}, {}]
        for part in parts:
            stores |= dict.fromkeys(part.stores)
            for table, own in zip(tables, (part.files, part.others, part.folders, part.values), strict=True):
                table |= own
        return cls(tuple(sorted(stores)), *tables)

    def changed(self, digests: Digests) -> str | None:
        """Return the first file that is not what it was, None where all are."""
        both = {**self.files, **self.others}
        now = digests.of(both)
        gone = (path for path, digest in both.items() if now[path] != digest)
        return next(gone, None) or next((p for p, d in self.folders.items() if names_in(p) != d), None)

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "stores": list(self.stores),
            "files": dict(self.files),
            "others": dict(self.others),
            "folders": dict(self.folders),
            "values": dict(self.values),
        }

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Seen:
        """Return what `plain` wrote down."""
        return cls(tuple(content["stores"]), *(content[name] for name in ("files", "others", "folders", "values")))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The data that some work saw.

    Parameters
    ----------
    id
        40 hex digits.
    stores
        Folders of the stores that were read.
    files
        Digest of every file, by its name inside the store; of a file outside, by its absolute path.
    """

    id: str
    stores: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, reads: Reads | Seen, *, digests: Digests | None = None) -> Snapshot:
        """Return the snapshot of what was read."""
        seen = reads if isinstance(reads, Seen) else Seen.of(reads, Digests() if digests is None else digests)
        files = {_inside(path, seen.stores): digest for path, digest in {**seen.files, **seen.folders}.items()}
        files |= {name: digest for name, digest in seen.others.items() if digest != ABSENT}  # those were no data
        files |= seen.values
        told = sorted((_label(name), digest) for name, digest in files.items())
        return cls(digest_of(json.dumps(told).encode()), seen.stores, dict(sorted(files.items())))

    @property
    def fields(self) -> list[str]:
        """The stored fields that were read, such as "close"."""
        return sorted({_parts(name)[-1].split(".")[0] for name in self.files if _is_series(name)})

    @property
    def instruments(self) -> int:
        """Of how many instruments."""
        return len({_parts(name)[-2] for name in self.files if _is_series(name)})

    @property
    def calendars(self) -> list[str]:
        """The calendars that were read, such as "day"."""
        return sorted({Path(name).stem for name in self.files if _parts(name)[-2:-1] == ["calendars"]})

    @property
    def universes(self) -> list[str]:
        """The universes that were read, such as "all"."""
        return sorted({Path(name).stem for name in self.files if _parts(name)[-2:-1] == ["instruments"]})

    def summary(self) -> dict[str, Any]:
        """Return what a person wants to know of it, as plain data."""
        return {
            "id": self.id,
            "stores": list(self.stores),
            "calendars": self.calendars,
            "universes": self.universes,
            "fields": self.fields,
            "instruments": self.instruments,
            "files": len(self.files),
            "other_files": [name for name in self.files if Path(name).is_absolute()],
        }


def snapshot_of(task: Mapping[str, Any], *, digests: Digests | None = None) -> Snapshot:
    """Return the data that a task learns from: its dataset is built, in the live session, to see what it reads.

    Inside a run nothing needs to be built again: `execute_task` returns what the whole run read.
    """
    with watched() as reads:
        init_instance_by_config(task["dataset"], accept_types=Dataset)
    return Snapshot.of(reads, digests=digests)


# ------------------------------------------------------------------------------------------------------- digests
class Digests:
    """Digests of files, remembered from process to process in `path` (None: only while this object lives)."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._known: dict[str, list[Any]] = {}
        self._fresh = False
        if path is not None:
            with contextlib.suppress(OSError, ValueError):
                content = json.loads(path.read_bytes())
                self._known = content if isinstance(content, dict) else {}

    def of(self, paths: Iterable[str]) -> dict[str, str]:
        """Return the digest of each file; "absent" where there is none."""
        found: dict[str, str] = {}
        fresh: list[str] = []
        for path in paths:
            stamp = _stamp(path)
            known = self._known.get(path)
            if stamp is None:
                found[path] = ABSENT
            elif known is not None and known[0] == stamp:
                found[path] = known[1]
            else:
                fresh.append(path)
        if len(fresh) < _FEW:
            found |= {path: self._read(path) for path in fresh}
        else:
            with ThreadPoolExecutor(4) as pool:  # hashing leaves the interpreter to others
                found |= dict(zip(fresh, pool.map(self._read, fresh), strict=True))
        return found

    def _read(self, path: str) -> str:
        before = _stamp(path)
        digest = file_digest(path)
        settled = before is not None and before == _stamp(path) and max(before[1:3]) < time.time_ns() - _YOUNG
        if settled and digest != ABSENT:
            self._known[path] = [before, digest]
            self._fresh = True
        return digest

    def save(self) -> None:
        """Remember; a place that cannot be written costs nothing but time."""
        if self.path is None or not self._fresh:
            return
        self._fresh = False
        if len(self._known) > _MANY:
            self._known = {path: known for path, known in self._known.items() if _stamp(path) == known[0]}
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, lambda file: file.write(json.dumps(self._known).encode()))


def _stamp(path: str) -> list[int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116  thousands of them
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the digest of a file's bytes; "absent" where there is none."""
    mark = hashlib.blake2b(digest_size=SIZE)
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  thousands of them
            while piece := file.read(_PIECE):
                mark.update(piece)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ABSENT
    return mark.hexdigest()


def digest_of(data: bytes) -> str:
    """Return the digest of some bytes."""
    return hashlib.blake2b(data, digest_size=SIZE).hexdigest()


def names_in(path: str) -> str:
    """Return a digest of the names inside a folder; "absent" where there is none."""
    try:
        return digest_of(json.dumps(sorted(os.listdir(path))).encode())  # noqa: PTH208  names alone
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT


# --------------------------------------------------------------------------------------------------------- names
def used(paths: Iterable[str], ignored: Iterable[str | Path] = ()) -> list[str]:
    """Return those of the opened files that are data: no code, no file of the system, of Python, or of a cache."""
    package, home = Path(__file__).resolve().parents[1], Path.home()
    own = [home / name for name in (".cache", ".config", ".local", ".ipython", ".jupyter")]
    away = _prefixes([sys.prefix, sys.base_prefix, package, *own, *ignored])
    return [path for path in paths if _is_data(path, away)]


def _is_data(path: str, away: tuple[str, ...]) -> bool:
    system = path.startswith(_LENT if path.startswith(_MEMORY) else _SYSTEM)
    foreign = system or path.startswith(away) or path.endswith(_CODE) or any(part in path for part in _ABOUT)
    return not foreign and not os.path.isdir(path)  # noqa: PTH112


def _prefixes(folders: Iterable[str | Path]) -> tuple[str, ...]:
    return tuple({os.path.join(os.path.abspath(folder), "") for folder in folders})  # noqa: PTH100, PTH118


def _inside(path: str, stores: tuple[str, ...]) -> str:
    for number, store in enumerate(stores):
        if path.startswith(store + os.sep):
            name = Path(path[len(store) + 1 :]).as_posix()
            return name if len(stores) == 1 else f"store{number}/{name}"
    return path


def _label(name: str) -> str:
    return Path(name).name if Path(name).is_absolute() else name


def _parts(name: str) -> list[str]:
    return name.split("/")


def _is_series(name: str) -> bool:
    return name.endswith(".bin") and _parts(name)[-3:-2] == ["features"]

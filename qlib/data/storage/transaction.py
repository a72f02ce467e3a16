"""A folder is replaced as a whole, in one step that either happens or does not.

    with replacing(root) as change:
        change.write("calendars/day.txt", text)      # new or changed files
        change.forget("features/old/close.day.bin")  # files that the new folder shall not have
    # here the folder has changed; after an exception, or kill -9 at any moment, it has not

Every other file of the old folder is in the new one too, as a hard link: no content is copied.

Why so. The new folder is put together beside the old one, made durable, and the two are exchanged by one system call
(renameat2 of Linux). So there is no moment at which a reader, or whoever comes after a crash, meets a mixture, and
nothing has to be repaired before reading. A journal of single renames would write less, a few links of 10 microseconds
each for what stays, but between its first and its last rename the store is neither old nor new, and every reader would
have to know how to finish the journal. The cost is what changes, plus one link and one unlink for each file that stays.
The names beside the folder are the journal: `.name.<8 hex>.new` is unfinished, and swept away by the next writer;
`.name.<8 hex>.old` exists only where the system cannot exchange, between two renames, and is put back by it.

The folder's parent must be writable, on the same file system: a mount point itself cannot be renamed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from qlib.data.storage.rows import AVAILABLE, write_rows
from qlib.errors import InputError
from qlib.log import get_module_logger
from qlib.utils.paths import fsync_folder

try:
    import fcntl
except ImportError:  # Windows: two writers at once are then the caller's business
    fcntl = None  # type: ignore[assignment]

_EXCHANGE: Final = 2  # RENAME_EXCHANGE of Linux's renameat2
_HERE: Final = -100  # AT_FDCWD
_BINARY: Final = getattr(os, "O_BINARY", 0)  # Windows
_ONE_BY_ONE: Final = 8  # up to so many files and folders are synced singly; more: their file system at once

logger = get_module_logger("store")


@dataclass
class Change:
    """A folder in the making. Names are relative, with "/" between the parts."""

    target: Path
    fresh: Path
    folders: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    links: dict[str, set[str]] = field(default_factory=dict)  # of each folder of the old one that was looked at

    def __post_init__(self) -> None:
        self._fresh = os.fspath(self.fresh)  # a Path is written out anew each time

    @property
    def old(self) -> Path | None:
        """The folder as it is; None where there is none yet."""
        return self.target if self.target.exists() else None

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Put a file into the new folder, in place of the old folder's file of that name."""
        self._make(name[: max(name.rfind("/"), 0)])
        # os.open rather than Path.open: there are thousands of small files
        handle = os.open(f"{self._fresh}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o666)
        self.written.add(name)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(handle, rest) :]
        finally:
            os.close(handle)

    def write_rows(self, folder: str, names: tuple[str, ...], head: float, values: np.ndarray) -> None:
        """Put files into a folder, each `head` and a row of `values` (float32); threads may do so at once."""
        if not AVAILABLE:
            for name, row in zip(names, values, strict=True):
                self.write(f"{folder}/{name}", np.concatenate([np.array([head], np.float32), row]).view(np.uint8).data)
            return
        self._make(folder)
        self.written.update([f"{folder}/{name}" for name in names])
        rows = values if values.strides[1] == values.itemsize else np.ascontiguousarray(values)
        write_rows(os.fsencode(f"{self._fresh}/{folder}"), _encoded(names), head, rows)

    def forget(self, name: str) -> None:
        """Leave a file, or a folder with all that is in it, of the old folder out of the new one."""
        self.forgotten.add(name)

    def difference(self) -> dict[str, list[str]]:
        """Return the names of files that would be added, changed and removed if the block ended now."""
        self.keep_the_rest()
        new, old = _files(self.fresh), _files(self.target)
        return {
            "added": sorted(new.keys() - old.keys()),
            "changed": sorted(name for name in new.keys() & old.keys() if not _same(new[name], old[name])),
            "removed": sorted(old.keys() - new.keys()),
        }

    def keep_the_rest(self) -> None:
        """Link every file of the old folder that was neither written anew nor forgotten."""
        start = os.fspath(self.target)
        for folder, folders, files in os.walk(start):
            inside = folder[len(start) + 1 :].replace(os.sep, "/")
            prefix = f"{inside}/" if inside else ""
            links = [name for name in folders if os.path.islink(f"{folder}/{name}")]  # noqa: PTH114
            folders[:] = [name for name in folders if prefix + name not in self.forgotten and name not in links]
            kept = [name for name in files + links if prefix + name not in self.forgotten]
            if kept or not (files or folders):  # a folder that loses every file goes, too
                self._make(inside)
            for name in kept:
                if prefix + name not in self.written:
                    _link(f"{folder}/{name}", f"{self.fresh}/{prefix}{name}")

    def _make(self, folder: str) -> None:
        if folder not in self.folders:
            self._refuse_links(folder)
            try:
                os.mkdir(f"{self._fresh}/{folder}")  # noqa: PTH102  thousands of them, most of them one below another
            except (FileExistsError, FileNotFoundError):
                (self.fresh / folder).mkdir(parents=True, exist_ok=True)
            self.folders.add(folder)

    def _refuse_links(self, folder: str) -> None:
        """Raise InputError for a folder behind a symbolic link: a real one in its place would hide what is there."""
        inside, _, name = folder.rpartition("/")
        if inside and inside not in self.folders:
            self._refuse_links(inside)
        if inside not in self.links:
            self.links[inside] = _links(f"{self.target}/{inside}")
        if name in self.links[inside]:
            raise InputError(
                f"root: {self.target}/{folder} is a symbolic link, which cannot be replaced together with the rest; "
                "put the folder itself there, or link the whole store"
            )


@functools.lru_cache(maxsize=64)
def _encoded(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(map(os.fsencode, names))


def _links(folder: str) -> set[str]:
    """Return the names of the symbolic links in a folder; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_symlink()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _link(old: str, new: str) -> None:
    try:
        os.link(old, new, follow_symlinks=False)
    except FileExistsError:  # linked already
        return
    except OSError:  # a file system without links, or too many of them
        shutil.copy2(old, new, follow_symlinks=False)


def _files(root: Path) -> dict[str, Path]:
    return {
        path.relative_to(root).as_posix(): path for path in root.rglob("*") if not path.is_dir() or path.is_symlink()
    }


def _same(left: Path, right: Path) -> bool:
    return os.path.samestat(left.lstat(), right.lstat()) or left.read_bytes() == right.read_bytes()


# ---------------------------------------------------------------------- one step, or none
@contextlib.contextmanager
def replacing(target: Path, *, dry_run: bool = False) -> Iterator[Change]:
    """Open a change of the folder `target` (absolute); it happens when the block ends without an exception.

    Writers of folders with one parent wait for each other. With `dry_run` everything is prepared and thrown away.

    Raises
    ------
    InputError
        The folder cannot be replaced: its parent cannot be written, or it is a mount point.
    OSError
        The disk is full, a limit is reached; `target` is as it was.
    """
    fresh = _beside(target, "new")
    with _told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not target.is_dir():
        raise InputError(f"root: received {target}, which is a file; a folder is needed")
    if target.is_mount():
        raise InputError(f"root: {target} is a mount point, which cannot be replaced in one step; use a folder in it")
    with _only_writer(target):
        with _told(target):  # not earlier: another writer would sweep it away
            fresh.mkdir()
            fresh.rmdir()
        _sweep(target)
        try:
            fresh.mkdir()
            if target.exists():
                shutil.copymode(target, fresh)
            change = Change(target, fresh)
            yield change
            if not dry_run:
                change.keep_the_rest()
                _make_durable(change)
                stands = _stands_in(target)
                _swap(fresh, target)
                if stands is not None:
                    _stand_in_the_new(stands, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)  # after the swap this is the old folder


def _stands_in(target: Path) -> Path | None:
    """Return the working folder of this process if it is the folder, or inside."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # somebody else has removed it
        return None
    return here if here == target or target in here.parents else None


def _stand_in_the_new(here: Path, target: Path) -> None:
    """Go to the new folder of the same name, and say that a shell has to do so itself."""
    os.chdir(here if here.is_dir() else target)
    logger.warning(f"{target} is a new folder now: a shell that stands in the old one has to `cd {here}` to see it")


@contextlib.contextmanager
def _told(target: Path) -> Iterator[None]:
    """Say what is wrong where the folder beside `target` cannot be made."""
    try:
        yield
    except OSError as error:
        raise InputError(f"root: {target} cannot be written: {error.strerror} ({target.parent})") from None


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{kind}")


def _leftovers(target: Path, kind: str) -> list[Path]:
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.{kind}")
    return [path for path in target.parent.iterdir() if ours.fullmatch(path.name)]


def _sweep(target: Path) -> None:
    """Finish or remove what a killed writer left beside the folder."""
    for old in _leftovers(target, "old"):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)
    for fresh in _leftovers(target, "new"):
        shutil.rmtree(fresh, ignore_errors=True)


@contextlib.contextmanager
def _only_writer(target: Path) -> Iterator[None]:
    """Hold the one place that writers of this folder queue for; it is given up when the process ends."""
    if fcntl is None:
        yield
        return
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _make_durable(change: Change) -> None:
    """Wait until the new files are on the disk; those linked from the old folder are there already.

    A sync of every file costs one wait for the disk each, minutes for thousands of files; one sync of the whole file
    system writes them side by side. It reports what could not be written just as fsync does.
    """
    if len(change.folders) + len(change.written) > _ONE_BY_ONE and _sync_file_system(change.fresh):
        return
    for name in change.written:
        handle = os.open(change.fresh / name, os.O_RDWR | _BINARY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    for folder in {"", *change.folders}:
        fsync_folder(change.fresh / folder)


def _sync_file_system(root: Path) -> bool:
    """Write out all of the file system that holds `root`; False where the system has no such call."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except AttributeError:
        return False
    handle = os.open(root, os.O_RDONLY)
    try:
        if syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(root))
    finally:
        os.close(handle)
    return True


def _swap(fresh: Path, target: Path) -> None:
    """Put `fresh` in the place of `target` by one step; afterwards the old folder, if any, is at `fresh`."""
    if not target.exists():
        fresh.rename(target)
    elif not _exchange(fresh, target):
        old = _beside(target, "old")  # two steps: `_sweep` brings the old folder back if we are killed between them
        target.rename(old)
        fresh.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    fsync_folder(target.parent)


def _exchange(left: Path, right: Path) -> bool:
    """Exchange two folders by one system call; False where the system has none."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_HERE, os.fsencode(left), _HERE, os.fsencode(right), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), str(right))

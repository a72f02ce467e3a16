"""Locks between processes, as files: who holds one is known, and nobody waits for ever.

    with locked(folder / "cache.lock", seconds=30, purpose="writing the dataset cache"):
        ...                                     one process at a time

    with reading(path): ...                     many at a time
    with writing(path): ...                     one, while nobody reads

The operating system holds the lock, so that of a process which died is free at once.  Beside the file stands
`<name>.owner`, which says who holds it; a time-out names that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qlib.errors import RunError
from qlib.utils.paths import replace_file


class LockTimeout(RunError):  # noqa: N818  like the builtin TimeoutError's kin, it says what happened
    """A lock was held by somebody else for too long; the message names the owner."""


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], *, seconds: float = 30, purpose: str = "") -> Iterator[None]:
    """Hold the lock `path`; folders above it are made.

    Parameters
    ----------
    seconds
        How long to wait for it.
    purpose
        What it is held for, told to those who wait too long.

    Raises
    ------
    LockTimeout
        Somebody else held it all the time.

    >>> import tempfile
    >>> with locked(tempfile.mkdtemp() + "/a.lock", purpose="an example") as held:
    ...     held is None
    True
    """
    lock = _file_lock(Path(path), seconds)
    owner = _owner_of(Path(path))
    try:
        replace_file(owner, lambda file: file.write(json.dumps(_me(purpose)).encode()))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], *, seconds: float = 30) -> Iterator[None]:
    """Hold the lock together with other readers, and with no writer."""
    folder = Path(f"{os.fspath(path)}.readers")
    own = folder / f"{os.getpid()}-{secrets.token_hex(8)}"
    with locked(path, seconds=seconds, purpose="reading"):
        lock = _file_lock(own, seconds)
    try:
        yield
    finally:
        lock.release()
        _remove(own)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str], *, seconds: float = 30, purpose: str = "writing") -> Iterator[None]:
    """Hold the lock alone: no other writer, no reader. Readers that died do not count."""
    end = time.monotonic() + seconds
    folder = Path(f"{os.fspath(path)}.readers")
    with locked(path, seconds=seconds, purpose=purpose):
        for reader in sorted(folder.glob("*")) if folder.is_dir() else []:
            try:
                lock = _file_lock(reader, max(0.0, end - time.monotonic()))
            except LockTimeout:
                pid = reader.name.partition("-")[0]
                raise LockTimeout(f"{path}: process {pid} has been reading for {seconds:g} s: not locked") from None
            lock.release()
            _remove(reader)
        yield


def _remove(path: Path) -> None:
    with contextlib.suppress(PermissionError):  # Windows, where somebody has opened it meanwhile
        path.unlink(missing_ok=True)


def _file_lock(path: Path, seconds: float) -> Any:
    from filelock import FileLock, Timeout  # noqa: PLC0415  `import qlib` needs no lock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=seconds, thread_local=False)
    try:
        lock.acquire(poll_interval=min(0.05, max(seconds, 0.001)))
    except Timeout:
        raise LockTimeout(f"{path}: {_named(_owner_of(path))}; waited {seconds:g} s") from None
    return lock


def _owner_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.owner")


def _me(purpose: str) -> dict[str, Any]:
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    return {"process": os.getpid(), "host": socket.gethostname(), "since": now, "purpose": purpose}


def _named(owner: Path) -> str:
    """Return who holds a lock, as far as the file beside it tells."""
    try:
        who = json.loads(owner.read_bytes())
        process, host, since = who["process"], who["host"], who["since"]
        purpose = f", for {who['purpose']}" if who["purpose"] else ""
    except (OSError, ValueError, KeyError, TypeError):
        return "locked by a process that did not say who it is"
    gone = host == socket.gethostname() and not _alive(int(process))
    more = " (it has died: a process that it started holds the lock on)" if gone else ""
    return f"locked by process {process} on {host} since {since} UTC{purpose}{more}"


def _alive(process: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

"""Data sets that a server has ready -> a folder on this machine, whole or not at all.

    get_archive("v2/qlib_data_cn_1d_latest.zip", "~/.qlib/qlib_data/cn_data", sha256="9f86...", delete_old=False)

The archive is downloaded into the folder (`download.py`), unpacked beside it (`archive.py`), and the two folders are
exchanged by one step (`qlib.data.storage.transaction`).  Nothing is deleted before all of the new data are there.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from qlib.collect.archive import Limits, unpack
from qlib.collect.download import checked_sha256, fetch
from qlib.collect.server import Patience
from qlib.data.storage.transaction import replacing
from qlib.errors import InputError, RunError
from qlib.log import get_module_logger
from qlib.utils.stored import exists_qlib_data

logger = get_module_logger("download")

BASE_URL: Final = "https://github.com/SunsetWolf/qlib_dataset/releases/download"
BASE_URL_VARIABLE: Final = "QLIB_DATA_URL"
REPLACED: Final = ("features", "calendars", "instruments", "features_cache", "dataset_cache")  # what delete_old means

# File -> SHA-256. A pin is written down by who downloaded the file and used it; so far nobody has.
PINS: Final[Mapping[str, str]] = {}

_NAME = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class Got:
    """What was downloaded and unpacked: the folder, how many files, the archive and its SHA-256."""

    folder: Path
    files: int
    name: str
    sha256: str


def archive_name(name: str, region: str, interval: str, version: str | None = None) -> str:
    """Return the file in which the server keeps a data set.

    Qlib asks for a file of its own version first.  The versions of this package are not Qlib's, so the latest it is.

    >>> archive_name("qlib_data", "CN", "1d")
    'v2/qlib_data_cn_1d_latest.zip'
    """
    return checked_name(f"{version or 'v2'}/{name}_{region.lower()}_{interval.lower()}_latest.zip")


def checked_name(file_name: str) -> str:
    """Return a file of the server with its folder (v0 where none is given); InputError for what is no such name.

    >>> checked_name("csv_data_cn.zip")
    'v0/csv_data_cn.zip'
    """
    if not _NAME.fullmatch(str(file_name)):
        raise InputError(f"file_name: received {file_name!r}; a name such as v2/qlib_data_cn_1d_latest.zip is needed")
    return str(file_name) if "/" in str(file_name) else f"v0/{file_name}"


def address(file_name: str, base_url: str) -> str:
    """Return where a file is below a server's address.

    >>> address("csv_data_cn.zip", "https://example.org/data/")
    'https://example.org/data/v0/csv_data_cn.zip'
    """
    return f"{base_url.rstrip('/')}/{checked_name(file_name)}"


def sha256_for(name: str, sha256: str | None, *, unpinned: bool, pins: Mapping[str, str] = PINS) -> str | None:
    """Return what a file must hash to: what is given, else its pin; None only if `unpinned` says so.

    Raises InputError where nothing vouches for the file.
    """
    if sha256 is not None:
        if unpinned:
            raise InputError("received sha256 and unpinned; give one of the two")
        return checked_sha256(sha256)
    if unpinned:
        return None
    if name not in pins:
        raise InputError(
            f"no SHA-256 is known of {name}, so nobody could tell whether the right file came; give --sha256 with "
            "the 64 digits from a source that you trust, or --unpinned to take what the server sends"
        )
    return pins[name]


def get_archive(
    file_name: str,
    target_dir: str | Path,
    *,
    sha256: str | None,
    base_url: str = BASE_URL,
    delete_old: bool = False,
    keep_archive: bool = True,
    store: bool = False,
    may_delete: Callable[[Path, list[str]], bool] = lambda folder, names: False,
    limits: Limits = Limits(),
    patience: Patience = Patience(),
) -> Got:
    """Download an archive and unpack it into a folder.

    Parameters
    ----------
    file_name
        As `checked_name` takes it.
    target_dir
        The folder.  What is in it stays, unless the archive has a file of that name.
    sha256
        As `sha256_for` returns it.
    base_url
        As for `address`.
    delete_old
        Leave out the folders REPLACED that are there, if `may_delete(folder, their names)` says so, before anything is
        downloaded; InputError if not.
    keep_archive
        Whether the archive stays in the folder; a later call with its SHA-256 then needs no server.
    store
        Whether what is unpacked must be a store; RunError if it is none.
    limits, patience
        As for `unpack` and `fetch`.

    Raises what `fetch` and `unpack` raise; the folder is then as it was, but for what was downloaded.
    """
    name = checked_name(file_name)
    target = Path(target_dir).expanduser().resolve()
    _check_replaceable(target)
    there = [one for one in REPLACED if (target / one).exists()]
    if delete_old and there and not may_delete(target, there):
        raise InputError(f"{target}: {', '.join(there)} may not be deleted; nothing was changed")
    packed, before = target / name.split("/")[1], target.exists()
    try:
        found = fetch(address(name, base_url), packed, sha256=sha256, patience=patience)
        with replacing(target) as change:
            files = _unpacked(packed, change.fresh, limits)
            if store and not all((change.fresh / part).is_dir() for part in ("calendars", "instruments", "features")):
                raise RunError(f"{packed}: it holds no store (calendars, instruments, features); nothing was changed")
            if delete_old:
                change.forgotten.update(REPLACED)
            else:
                _check_calendars(target, change.fresh)
            if not keep_archive:
                change.forget(packed.name)
            _check_kinds(target, files, change.forgotten)
            change.written.update(files)
            change.folders.update(file.rpartition("/")[0] for file in files)
            change.keep_the_rest()
            if store and not exists_qlib_data(change.fresh):
                logger.warning(f"{target}: {name} lacks the data of an instrument of all.txt, or of a calendar")
    except BaseException:
        if not before:
            with contextlib.suppress(OSError):  # it holds the part of the archive that has come
                target.rmdir()
        raise
    return Got(target, len(files), name, found)


def _check_replaceable(target: Path) -> None:
    """Refuse, before anything is downloaded, a folder that cannot be replaced in one step."""
    if target.exists() and not target.is_dir():
        raise InputError(f"target_dir: {target} is a file; a folder is needed")
    if target.is_mount():
        raise InputError(f"target_dir: {target} is a mount point, which cannot be replaced; use a folder in it")
    if target.exists() and (target == Path.cwd() or target in Path.cwd().parents):
        raise InputError(f"target_dir: {target} holds the working directory; start from elsewhere")


def _check_kinds(target: Path, files: list[str], forgotten: set[str]) -> None:
    """Refuse files in the place of folders and the reverse, and links, whose other end nobody knows."""
    parents = {parent for file in files for parent in PurePosixPath(file).parents[:-1]}
    for name, folder in [*((one, True) for one in map(str, parents)), *((one, False) for one in files)]:
        there = target / name
        if name.split("/")[0] in forgotten or not os.path.lexists(there):
            continue
        if there.is_symlink() or there.is_dir() != folder:
            what = "a link" if there.is_symlink() else "a file" if folder else "a folder"
            raise InputError(f"{there} is {what}, which the archive would replace by something else; move it away")


def _unpacked(packed: Path, fresh: Path, limits: Limits) -> list[str]:
    try:
        return unpack(packed, fresh, limits)
    except RunError:
        packed.unlink()  # it is of no use to anybody
        raise


def _check_calendars(target: Path, fresh: Path) -> None:
    """Refuse calendars under which the series that stay would stand on other dates."""
    for path in sorted((fresh / "calendars").glob("*.txt")):
        old = target / "calendars" / path.name
        if path.stem.endswith("_future") or not old.is_file() or not (target / "features").is_dir():
            continue
        before, after = (one.read_text(encoding="utf-8").split() for one in (old, path))
        if after[: len(before)] != before:
            raise InputError(
                f"{target}: the new calendars/{path.name} does not begin with the one that is there, so the series "
                "that stay would move to other dates; use delete_old, or another folder; nothing was changed"
            )

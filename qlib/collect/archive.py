"""A zip archive that nobody vouches for -> a folder, without anything else being touched.

    unpack("data.zip", "fresh")        every member is a plain file or folder inside `fresh`

The whole table of contents is checked before the first byte is written: names (no absolute paths, no `..`, nothing that
another system reads otherwise), kinds (no links, no devices), sizes (their sum, and how much larger than the archive it
is: a zip bomb packs a thousand to one, market data about two to one), the place on the disk.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from qlib.errors import InputError, RunError

_BLOCK: Final = 1 << 20
_ODD = re.compile(r"[\x00-\x1f\x7f\\]")
_ENCRYPTED: Final = 0x1


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold.

    Parameters
    ----------
    files
        Members.
    size
        Bytes of all members together.
    ratio
        How many times larger than the archive they may be, once they have more than `free` bytes.
    """

    files: int = 2_000_000
    size: int = 256 << 30
    ratio: float = 100.0
    free: int = 16 << 20


def unpack(archive: str | os.PathLike[str], folder: str | os.PathLike[str], limits: Limits = Limits()) -> list[str]:
    """Unpack a zip archive into a folder that is empty or not there yet; return the names of the files in it.

    Raises
    ------
    InputError
        The archive cannot be read, or the folder holds something.
    RunError
        The archive is no zip, is damaged, or holds what is not allowed: the message names the member. Nothing was
        written then, except where a member turns out to be damaged.
    """
    source, root = Path(archive), Path(folder)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root} is not an empty folder")
    try:
        with zipfile.ZipFile(source) as opened:
            members = opened.infolist()
            _check(source, members, limits)
            _check_room(source, members, root.parent)
            root.mkdir(parents=True, exist_ok=True)
            for member in members:
                _extract(source, opened, member, root)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError) as error:
        raise RunError(f"{source}: this is no zip archive, or a damaged one: {error}") from None
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{source}: it is packed in a way that cannot be read: {error}") from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # it leads to a place before its own beginning
            raise RunError(f"{source}: this is a damaged zip archive") from None
        if error.errno == errno.ENOSPC:
            raise RunError(f"{root}: the disk is full") from error
        raise InputError(f"{error.filename or source}: {error.strerror or error}") from error
    return [member.filename for member in members if not member.is_dir()]


def _check(source: Path, members: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(members) > limits.files:
        raise RunError(f"{source}: it holds {len(members):,} members; at most {limits.files:,} are allowed")
    size, packed = sum(member.file_size for member in members), source.stat().st_size
    if size > limits.size:
        raise RunError(f"{source}: it holds {size:,} bytes; at most {limits.size:,} are allowed")
    if size > limits.free and size > limits.ratio * packed:
        raise RunError(
            f"{source}: {packed:,} bytes would become {size:,}; at most {limits.ratio:g} times as many are allowed"
        )
    files: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    for member in members:
        if (why := _complaint(member)) is not None:
            raise RunError(f"{source}: it holds {member.orig_filename!r}, which {why}; nothing was unpacked")
        path = PurePosixPath(member.filename)
        folders.update([path, *path.parents] if member.is_dir() else path.parents)
        if not member.is_dir():
            if path in files:
                raise RunError(f"{source}: it holds {member.filename!r} more than once; nothing was unpacked")
            files.add(path)
    if both := files & folders:
        raise RunError(f"{source}: {str(min(both))!r} is a file in it and a folder, too; nothing was unpacked")


def _complaint(member: zipfile.ZipInfo) -> str | None:
    """Return why a member is not allowed, or None where it is."""
    name, kind = member.orig_filename, stat.S_IFMT(member.external_attr >> 16)
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "is an absolute path"
    if ".." in name.replace("\\", "/").split("/"):
        return "leads out of the folder"
    if _ODD.search(name) or "" in parts or "." in parts:
        return "is no name that every system reads alike"
    if stat.S_ISLNK(kind):
        return "is a link"
    if kind not in (0, stat.S_IFDIR if member.is_dir() else stat.S_IFREG):
        return "is neither a file nor a folder"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    return None


def _check_room(source: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    while not folder.exists():
        folder = folder.parent
    size, room = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if size > room:
        raise RunError(f"{source}: it needs {size:,} bytes, but {folder} has {room:,} left; nothing was unpacked")


def _extract(source: Path, opened: zipfile.ZipFile, member: zipfile.ZipInfo, root: Path) -> None:
    place = root / member.filename
    if member.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(member) as packed, place.open("xb") as file:
        while block := packed.read(_BLOCK):
            written += len(block)
            file.write(block)
    if written != member.file_size:
        raise RunError(f"{source}: {member.filename} has {written:,} bytes, but {member.file_size:,} were announced")

"""One file of a server: whole and the right one, or none.

    fetch("https://example.org/v2/data.zip", "data.zip", sha256="9f86d081884c7d65...")

    data.zip            appears when it is complete and its SHA-256 is the right one, by one rename
    data.zip.part       what came before the connection broke; the next attempt, or the next run, goes on there
    data.zip.part.json  which version that was: the address, the server's mark (ETag), the length

A part is gone on with only if the server says that its file is still the same (`If-Range`); otherwise it begins anew.
What comes is counted while it comes, so that no server can fill the disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qlib.collect.server import AgainError, NotThereError, Patience, ask, checked_url, reason, repeated, shown
from qlib.errors import InputError, RunError
from qlib.utils.paths import fsync_folder

LIMIT: Final = 16 << 30
_PIECE: Final = 1 << 16  # what is lost, at most, when the connection breaks


def fetch(
    url: str, path: str | Path, *, sha256: str | None, limit: int = LIMIT, patience: Patience = Patience()
) -> str:
    """Download a file and return its SHA-256, in 64 hexadecimal digits.

    Parameters
    ----------
    url
        `https://...`; `http://...` only with a SHA-256, or on this machine.
    path
        Where the file is put; its folder is made. A file that is there is replaced when the new one is complete, and
        kept, without asking the server, if it has the right SHA-256 already.
    sha256
        What the file must hash to. None takes what the server sends, if the server says how long it is.
    limit
        Bytes that the file may have.
    patience
        How long to wait and how often to try.

    Raises
    ------
    InputError
        The address or the hash cannot be used, or the server has no such file.
    RunError
        The file did not come, or another one did. What has come of the right one is kept for the next call.
    """
    target = Path(path).expanduser().absolute()
    wanted = None if sha256 is None else checked_sha256(sha256)
    checked_url(url, trusted=wanted is not None)
    try:
        if wanted is not None and target.is_file() and sha256_of(target) == wanted:
            return wanted
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            return _Download(url, target, wanted, limit, patience).run()
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise RunError(f"{target} cannot be written: {why}") from error


def available(url: str, patience: Patience = Patience()) -> bool:
    """Tell whether a server has a file; nothing of it is downloaded."""

    def attempt() -> bool:
        try:
            ask(url, patience=patience, trusted=True).close()
        except NotThereError:
            return False
        return True

    try:
        return repeated(attempt, patience=patience, name=shown(url))
    except AgainError as error:
        raise RunError(f"{shown(url)}: {error}; given up after {patience.attempts} attempts") from None


def checked_sha256(text: str) -> str:
    """Return a SHA-256 in lower case; InputError for anything else.

    >>> checked_sha256("E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855")[:8]
    'e3b0c442'
    """
    if not re.fullmatch("[0-9a-fA-F]{64}", str(text)):
        raise InputError(
            f"sha256: received {text!r}; 64 hexadecimal digits are needed, as `sha256sum FILE` prints them"
        )
    return str(text).lower()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the download of one file; who else wants it at the same time gets an error."""
    import filelock  # noqa: PLC0415  only downloads need it

    name = target.with_name(f"{target.name}.lock")
    try:
        with filelock.FileLock(name, timeout=0):
            try:
                yield
            finally:
                name.unlink(missing_ok=True)
    except filelock.Timeout:
        raise RunError(f"{target} is being downloaded by another process") from None


@dataclass(slots=True)
class _Part:
    """The beginning of a file, and whose it is."""

    target: Path
    url: str
    mark: str | None = None  # what the server calls this version of its file
    total: int | None = None  # its bytes

    @property
    def data(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    @property
    def size(self) -> int:
        return self.data.stat().st_size if self.data.is_file() else 0

    @property
    def owner(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()  # not the address itself: it may hold a key

    def look(self) -> int:
        """Return how many bytes can be gone on from; forget what cannot."""
        try:
            said = json.loads(self.note.read_text(encoding="utf-8"))
            same = said["url"] == self.owner
            self.mark, self.total = said["mark"], said["total"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # no note, or half of one
            same = False
        if not same or self.mark is None or (self.total is not None and self.size > self.total):
            self.forget()
        return self.size

    def begin(self, mark: str | None, total: int | None) -> None:
        self.forget()
        self.mark, self.total = mark, total
        self.data.touch()
        self.note.write_text(json.dumps({"url": self.owner, "mark": mark, "total": total}), encoding="utf-8")

    def forget(self) -> None:
        self.data.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.mark = self.total = None


class _Download:
    """One call of `fetch`."""

    def __init__(self, url: str, target: Path, sha256: str | None, limit: int, patience: Patience) -> None:
        self.url, self.target, self.sha256, self.limit, self.patience = url, target, sha256, limit, patience
        self.part = _Part(target, url)

    def run(self) -> str:
        name = shown(self.url)
        try:
            repeated(self.attempt, patience=self.patience, name=name, have=lambda: self.part.size)
        except AgainError as error:
            kept = "; what has come is kept, and the same command goes on there" if self.part.look() else ""
            raise RunError(f"{name}: {error}; given up after {self.patience.attempts} attempts{kept}") from None
        found = sha256_of(self.part.data)
        if self.sha256 is not None and found != self.sha256:
            self.part.forget()
            raise RunError(f"{name}: its SHA-256 is {found}, but must be {self.sha256}; the file was thrown away")
        self.part.data.replace(self.target)
        fsync_folder(self.target.parent)
        self.part.forget()
        return found

    def attempt(self) -> None:
        """Ask for what is missing and write it; AgainError where that is not all of it."""
        size = self.part.look()
        if size and size == self.part.total:
            return
        headers = {"Range": f"bytes={size}-", "If-Range": str(self.part.mark)} if size else {}
        with ask(self.url, headers, patience=self.patience, trusted=self.sha256 is not None) as answer:
            if answer.status_code == 200:
                self._begin(answer)
            elif not size or _first_byte(answer) != size:
                self.part.forget()
                raise AgainError("the server sent another part of the file than it was asked for")
            self._receive(answer)

    def _begin(self, answer: Any) -> None:
        name, length = shown(self.url), answer.headers.get("Content-Length", "")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise RunError(f"{name}: the server packs the file once more, though it was asked not to")
        total = int(length) if length.isdigit() else None
        if total is None and self.sha256 is None:
            raise RunError(
                f"{name}: the server does not say how long the file is, and no SHA-256 is given: "
                "nobody could know whether it came whole"
            )
        if total is not None and total > self.limit:
            raise RunError(f"{name}: it has {total:,} bytes; at most {self.limit:,} are allowed")
        tag = answer.headers.get("ETag", "")
        # A date is too coarse to name a version, unless a hash vouches for the whole.
        date = answer.headers.get("Last-Modified") if self.sha256 is not None else None
        self.part.begin(tag if tag.startswith('"') else date, total)

    def _receive(self, answer: Any) -> None:
        import requests  # noqa: PLC0415  only downloads need it
        from tqdm import tqdm  # noqa: PLC0415  only downloads show a bar

        size, total = self.part.size, self.part.total
        most = self.limit if total is None else total
        bar = tqdm(total=total, initial=size, unit="B", unit_scale=True, desc=self.target.name, disable=None)
        with bar, self.part.data.open("ab") as file:
            try:
                for piece in answer.iter_content(_PIECE):
                    size += len(piece)
                    if size > most:
                        self.part.forget()
                        raise RunError(f"{shown(self.url)}: more came than the {most:,} bytes that are allowed")
                    file.write(piece)
                    bar.update(len(piece))
            except requests.RequestException as error:
                if total is None or isinstance(error, requests.ConnectionError):
                    raise AgainError(reason(error)) from None
        if total is not None and size < total:
            raise AgainError(f"the connection ended after {size:,} of {total:,} bytes")


def _first_byte(answer: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None

"""Names of instruments as names of folders, and files that are replaced whole or not at all.

    code_to_fname("SH600000")  'SH600000'          ordinary names stay as they are, as in Qlib
    code_to_fname("NUL")       '_qlib_NUL'         a name that Windows reserves gets Qlib's prefix
    code_to_fname("BTC/USDT")  'BTC%2fUSDT'        a character that no file name may hold becomes %xx (UTF-8)
    code_to_fname("..")        '.%2e'              so does a dot or a space at the end

`fname_to_code` takes every one of them back. Folders in a store are the lower case of `code_to_fname`.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from qlib.errors import InputError

PREFIX: Final = "_qlib_"
RESERVED: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"COM{i}" for i in range(10)), *(f"LPT{i}" for i in range(10))}
)
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*%]|[. ]$')
_ESCAPE = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_LONGEST = 255


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02x}" for byte in match.group().encode())


def code_to_fname(code: str) -> str:
    """Return the name of the file or folder that stands for an instrument.

    >>> [code_to_fname(name) for name in ("SH600000", "nul", "BTC/USDT", "..")]
    ['SH600000', '_qlib_nul', 'BTC%2fUSDT', '.%2e']
    """
    code = str(code)
    if code.upper() in RESERVED:
        return PREFIX + code
    if code.lower().startswith(PREFIX):  # a name that only looks like a prefixed one
        return "%5f" + _UNSAFE.sub(_percent, code[1:])
    return _UNSAFE.sub(_percent, code)


def fname_to_code(fname: str) -> str:
    """Return the instrument that a file or folder name stands for: the inverse of `code_to_fname`.

    >>> [fname_to_code(name) for name in ("_qlib_lpt1", "btc%2fusdt", ".%2e")]
    ['lpt1', 'btc/usdt', '..']
    """
    if fname.lower().startswith(PREFIX) and fname[len(PREFIX) :].upper() in RESERVED:
        return fname[len(PREFIX) :]
    return _ESCAPE.sub(lambda match: bytes.fromhex(match.group().replace("%", "")).decode(errors="replace"), fname)


def instrument_folder(instrument: str) -> str:
    """Return the folder of an instrument below `features`: lower case, so that look-ups ignore case.

    Raises InputError for an empty name and for one whose folder name would be longer than 255 bytes.
    """
    folder = code_to_fname(instrument).lower()
    if not folder or len(folder.encode()) > _LONGEST:
        raise InputError(f"instrument: received {instrument!r}; a name of 1 to {_LONGEST} bytes is allowed")
    return folder


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a no-op where folders cannot be opened)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside `path` and move it into place: readers see the old content or the new, never a part.

    `write` receives the open binary file. On any error `path` is as it was and nothing else is left.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    fsync_folder(target.parent)

"""How a run keeps an object: decided here, in one table (FORMATS).

    object                              file of "pred.pkl"     what is in it
    frame, series                       pred.pkl.parquet       Parquet that any tool reads
    positions of a backtest             pred.pkl.parquet       one row per holding (qlib.workflow.position_table)
    numbers, texts, dates, lists, ...   pred.pkl.json          JSON
    objects of known classes            pred.pkl.zip           spec.json, arrays, tables; a booster in LightGBM's format
    anything else                       pred.pkl               a pickle

A name without `.pkl` gets `.object` in between: "task" is kept as `task.object.json`. What comes back equals what was
kept, with names, types, spacings and attrs; what one format cannot promise that for, the next one keeps. Only the last
one, the pickle, can run code when it is read: it is read with an exact list of what it may name, unless this process
wrote it itself or the reader says otherwise (`unpickler=pickle.Unpickler`).
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from hashlib import blake2b
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import pandas as pd

from qlib.backtest.position import PositionHistory
from qlib.errors import ConfigError, InputError, StoreError
from qlib.log import get_module_logger
from qlib.utils.parquet_frames import read_parquet, write_parquet
from qlib.utils.pickle_utils import RestrictedUnpickler
from qlib.utils.serial import Serializable
from qlib.utils.spec import from_plain_json, plain_json, read_spec, write_spec
from qlib.workflow.position_table import KIND, history_of, table_of

logger = get_module_logger("workflow")

PICKLE: Final = ".pkl"
OBJECT: Final = ".object"  # stands where a name has no .pkl
EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # of every file in an archive: equal objects give equal bytes
_MEMBER = re.compile(r"[\w.-]+")
_written_here: set[bytes] = set()  # digests of the pickles that this process wrote


# ------------------------------------------------------------------------------------------------------------- tables
def _is_table(obj: Any) -> bool:
    return isinstance(obj, pd.DataFrame | pd.Series)


def _write_positions(obj: PositionHistory, path: Path) -> None:
    table = table_of(obj)
    if table is None:
        raise ConfigError("not every position is a plain one")
    write_parquet(path, table)


def _read_table(path: Path) -> Any:
    table = read_parquet(path)
    return history_of(table) if isinstance(table, pd.DataFrame) and table.attrs.get("kind") == KIND else table


# -------------------------------------------------------------------------------------------------------- plain values
def _write_json(obj: Any, path: Path) -> None:
    path.write_text(plain_json(obj), encoding="utf-8")


def _read_json(path: Path) -> Any:
    return from_plain_json(path.read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------------------- objects
def _write_archive(obj: Any, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".object.", dir=path.parent) as folder:
        write_spec(obj, folder, write_table=write_parquet)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for file in sorted(Path(folder).iterdir()):
                member = zipfile.ZipInfo(file.name, EPOCH)
                member.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(member, "w", force_zip64=True) as target, file.open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)


def _read_archive(path: Path) -> Any:
    with tempfile.TemporaryDirectory(prefix="qlib-object-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if not _MEMBER.fullmatch(member.filename) or member.filename in (".", ".."):
                        raise StoreError(f"{path} is damaged: it holds a file called {member.filename!r}")
                    with archive.open(member) as source, Path(folder, member.filename).open("xb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
        except (zipfile.BadZipFile, EOFError, FileExistsError) as error:
            raise StoreError(f"{path} is damaged: {error}") from error
        return read_spec(folder, read_table=read_parquet)


class Format(NamedTuple):
    """One way to keep objects: `write` raises ConfigError for what would not come back as it was."""

    suffix: str
    takes: Callable[[Any], bool]
    write: Callable[[Any, Path], None]
    read: Callable[[Path], Any]


FORMATS: Final = (
    Format(".parquet", _is_table, lambda obj, path: write_parquet(path, obj), _read_table),
    Format(".parquet", lambda obj: isinstance(obj, PositionHistory), _write_positions, _read_table),
    Format(".json", lambda obj: not _is_table(obj), _write_json, _read_json),
    Format(".zip", lambda obj: not _is_table(obj), _write_archive, _read_archive),
)
# What a format cannot keep, it refuses (ConfigError) or stumbles over, as over a date beyond its range.
PASSED_OVER: Final = (ValueError, TypeError, OverflowError, RecursionError, NotImplementedError)
READERS: Final = {one.suffix: one.read for one in FORMATS}


# --------------------------------------------------------------------------------------------------------------- names
def file_names(name: str) -> list[str]:
    """Return the files that may hold the object of a name; the last one is a pickle.

    >>> file_names("pred.pkl"), file_names("task")[1]
    (['pred.pkl.parquet', 'pred.pkl.json', 'pred.pkl.zip', 'pred.pkl'], 'task.object.json')
    """
    stem = name if name.endswith(PICKLE) else name + OBJECT
    return [*(stem + suffix for suffix in READERS), name]


def object_name(file: str) -> str:
    """Return the name of the object that a file holds; a file that holds none has its own name.

    >>> object_name("sig_analysis/ic.pkl.parquet"), object_name("task.object.json"), object_name("trades.parquet")
    ('sig_analysis/ic.pkl', 'task', 'trades.parquet')
    """
    for suffix in READERS:
        if file.endswith(PICKLE + suffix):
            return file.removesuffix(suffix)
        if file.endswith(OBJECT + suffix):
            return file.removesuffix(OBJECT + suffix)
    return file


# --------------------------------------------------------------------------------------------------- writing, reading
def write_object(obj: Any, path: Path) -> Path:
    """Write an object to the folder of `path`, whose last part is the object's name; return the file."""
    if object_name(path.name) != path.name:
        message = f"{path.name}: names of objects do not end in {PICKLE}{path.suffix} or {OBJECT}{path.suffix}"
        raise InputError(message)
    *files, plain = file_names(path.name)
    suffixes = dict(zip(READERS, files, strict=True))
    reason = ""
    for one in FORMATS:
        if one.takes(obj):
            file = path.with_name(suffixes[one.suffix])
            try:
                one.write(obj, file)
            except PASSED_OVER as error:
                file.unlink(missing_ok=True)
                reason = str(error)
            else:
                return file
    file = path.with_name(plain)
    Serializable.general_dump(obj, file)
    _written_here.add(_digest(file.read_bytes()))
    logger.info(f"{path.name} is kept as a pickle: {reason}")
    return file


def read_object(path: Path, name: str, unpickler: type[pickle.Unpickler] | None = None) -> Any:
    """Return the object in a file.

    Parameters
    ----------
    name
        The object's name; a file of that very name is a pickle, unless it is called .json or .parquet.
    unpickler
        Reads pickles; None: one that reads what this process wrote, and else follows the list of
        `qlib.utils.pickle_utils`.
    """
    if path.name != PurePosixPath(name).name:
        return READERS[path.suffix](path)
    data = path.read_bytes()
    if path.suffix in (".json", ".parquet") and not data.startswith(pickle.PROTO):
        return json.loads(data) if path.suffix == ".json" else read_parquet(path)
    own = unpickler is None and _digest(data) in _written_here
    reader: Any = pickle.Unpickler if own else unpickler or RestrictedUnpickler
    return reader(BytesIO(data)).load()


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()

"""Objects as a folder that anybody can read: `spec.json`, and their arrays beside it. No pickle, no code.

    write_spec(handler, "handler/")         spec.json, view-3f9c.arrow, ...
    read_spec("handler/")                   the handler again, equal to the bit

    {"format": "qlib-crypto object", "version": 1, "root": {"$object": "DataHandlerLP",
     "module_path": "qlib.data.dataset.handler", "state": {"process_type": "append", "infer_processors": [
         {"$object": "ZScoreNorm", "module_path": "qlib.data.dataset.processor", "state": {
             "fit_end_time": "2014-12-31", "mean_train": {"$array": [0.1, 0.2], "dtype": "float64"}, ...

An object is created empty and given its state, as by the restricted unpickler, and only if its class is one that
`pickle_utils` knows: constructors are never called. Frames become Arrow files, large arrays .npy files, long texts
(such as a booster of LightGBM, in its own format) .txt files; what several objects share is written once and shared
again afterwards. The same object gives the same bytes in a new folder.

    plain_json(task), from_plain_json(text)     numbers, texts, dates, lists and tables only: one text, no files

Every file is written under a new name and `spec.json` last, in one step: whoever is killed leaves the old object or the
new one. Sizes and checksums of the arrays stand in `spec.json`.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import math
import re
import secrets
import time
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pandas as pd

from qlib.errors import ConfigError, InputError, QlibError, StoreError, did_you_mean
from qlib.utils.arrow_frames import check_frame, read_frame, write_frame
from qlib.utils.paths import replace_file
from qlib.utils.pickle_utils import STATE_ONLY_CLASSES, may_be_restored

FORMAT: Final = "qlib-crypto object"
VERSION: Final = 1
SPEC: Final = "spec.json"
SHOWN: Final = "fiub"  # kinds of numpy types that are written as numbers
INLINE: Final = 1000  # arrays up to this length are written as numbers one can read
LONG_TEXT: Final = 2000  # characters from which a text is a file of its own
LINE: Final = 120
BOOKKEEPING: Final = ("_dump_all", "_include", "_exclude", "_qlib_serial_flag")
LEFT_BEHIND: Final = 3600  # seconds after which an array that no spec names belongs to a writer that died
_OURS = re.compile(
    r"\.?[^.]+-[0-9a-f]{8}\.(arrow|npy|txt|parquet)(\.\d+-[0-9a-f]{8}\.tmp)?|\.spec\.json\.\d+-[0-9a-f]{8}\.tmp"
)
State = Callable[[Any], dict[str, Any]]
WriteTable = Callable[[IO[bytes], pd.DataFrame | pd.Series], None]
ReadTable = Callable[[Path], pd.DataFrame | pd.Series]


def write_spec(
    obj: Any, folder: str | Path, state_of: State | None = None, *, write_table: WriteTable | None = None
) -> Path:
    """Write an object to a folder and return the folder.

    Parameters
    ----------
    folder
        A new folder, an empty one, or one with an object in it, which is replaced.
    state_of
        Which attributes of an object are kept; by default what its `__getstate__` says.
    write_table
        Writes a frame, a series or an index (as that of a frame) to a file of its own, for whom Arrow files without
        attrs and spacings of dates are not enough. `read_spec` then needs a `read_table`.

    Raises ConfigError, and leaves what was there, when something cannot be written without code: a function, an object
    of an unknown class.
    """
    root = Path(folder).expanduser()
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; a folder is needed")
    here = sorted(root.iterdir()) if root.is_dir() else []
    strangers = [path.name for path in here if path.name != SPEC and not _OURS.fullmatch(path.name)]
    if strangers and not is_spec(root):
        raise InputError(f"{root} holds other files ({', '.join(strangers[:3])}); a new or empty folder is needed")
    replaced = _listed_files(root)
    root.mkdir(parents=True, exist_ok=True)
    writer = _Writer(root, state_of or _own_state, fresh=not here, write_table=write_table)
    try:
        spec = {"format": FORMAT, "version": VERSION, "root": writer.encode(obj, type(obj).__name__)}
        spec["files"] = writer.files
        text = _readable(spec)
        replace_file(root / SPEC, lambda file: file.write(text.encode()))
    except BaseException:
        for name in writer.files:
            (root / name).unlink(missing_ok=True)
        if not here:
            with contextlib.suppress(OSError):
                root.rmdir()
        raise
    for path in here:
        left_behind = _OURS.fullmatch(path.name) and time.time() - path.stat().st_mtime > LEFT_BEHIND
        if path.name in replaced or left_behind:
            path.unlink(missing_ok=True)
    return root


def _listed_files(root: Path) -> set[str]:
    """Return the files of the object in a folder, none when there is none that can be read."""
    try:
        return {name for name in json.loads((root / SPEC).read_bytes())["files"] if _OURS.fullmatch(name)}
    except (OSError, ValueError, LookupError, TypeError):
        return set()


def read_spec(folder: str | Path, *, read_table: ReadTable | None = None) -> Any:
    """Return the object that `write_spec` wrote; `read_table` reads what a `write_table` of its own wrote.

    Raises StoreError for damaged or absent files, ConfigError for a class that is not known or another version.
    """
    root = Path(folder).expanduser()
    text = None
    while True:
        try:
            before, text = text, (root / SPEC).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise StoreError(f"{root} holds no {SPEC}: it is no saved object") from None
        except ValueError as error:
            raise StoreError(f"{root / SPEC} is damaged: {error}") from error
        try:
            return _read(root, text, read_table)
        except StoreError:
            if text == before:
                raise  # else somebody may have replaced the object meanwhile: look once more


def _read(root: Path, text: str, read_table: ReadTable | None) -> Any:
    try:
        spec = json.loads(text)
    except ValueError as error:
        raise StoreError(f"{root / SPEC} is damaged: {error}") from error
    if not isinstance(spec, dict) or spec.get("format") != FORMAT:
        raise StoreError(f"{root / SPEC} is no saved object: its format is not {FORMAT!r}")
    if spec.get("version") != VERSION:
        raise ConfigError(f"{root / SPEC} has version {spec.get('version')!r}; this program reads {VERSION}")
    try:
        return _Reader(root, spec["files"], read_table).decode(spec["root"])
    except QlibError:
        raise
    except FileNotFoundError as error:
        raise StoreError(f"{root}: a file of the object is not there ({error})") from error
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise StoreError(f"{root / SPEC} is damaged: {type(error).__name__} {error}") from error


def _readable(node: Any, margin: str = "") -> str:
    """Return JSON whose short parts, and lists of plain values, stand in one line."""
    flat = json.dumps(node, allow_nan=False)
    parts = node.values() if isinstance(node, dict) else node
    if len(margin) + len(flat) <= LINE or not any(isinstance(part, dict | list) for part in parts):
        return flat
    inner = margin + " "
    if isinstance(node, list):
        return "[\n" + ",\n".join(inner + _readable(part, inner) for part in node) + f"\n{margin}]"
    lines = (f"{inner}{json.dumps(key)}: {_readable(part, inner)}" for key, part in node.items())
    return "{\n" + ",\n".join(lines) + f"\n{margin}}}"


def is_spec(path: str | Path) -> bool:
    """Return whether an object was saved in this folder."""
    return (Path(path).expanduser() / SPEC).is_file()


def _own_state(obj: Any) -> dict[str, Any]:
    state = obj.__getstate__()
    if state is None:
        return {}
    if not isinstance(state, dict):
        raise ConfigError(f"{type(obj).__name__} cannot be saved: its state is a {type(state).__name__}, not a table")
    return state


# ------------------------------------------------------------------------------------------------------------ writing
class _Writer:
    def __init__(
        self, root: Path, state_of: State, *, fresh: bool = False, write_table: WriteTable | None = None
    ) -> None:
        self.root = root
        self.state_of = state_of
        self.write_table = write_table
        self.fresh = fresh  # nothing to be confused with: files may be numbered
        self.files: dict[str, dict[str, int]] = {}
        self.seen: dict[int, tuple[int, Any]] = {}  # id -> (number, the object itself, so that no id is used twice)

    def encode(self, value: Any, where: str) -> Any:
        if type(value) is str and len(value) > LONG_TEXT:
            return self._text(value, where)
        if value is None or isinstance(value, bool | int | str) and type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        for kinds, write in _PLAIN:
            if isinstance(value, kinds):
                return write(self, value, where)
        if id(value) in self.seen:
            return {"$ref": self.seen[id(value)][0]}
        number = len(self.seen)
        self.seen[id(value)] = (number, value)
        return {"$id": number, **self._shared(value, where)}

    def items(self, values: Any, where: str) -> list[Any]:
        return [self.encode(value, f"{where}[{at}]") for at, value in enumerate(values)]

    def table(self, values: dict[Any, Any], where: str) -> dict[str, Any]:
        if all(type(key) is str and not key.startswith("$") for key in values):
            return {key: self.encode(value, f"{where}.{key}") for key, value in values.items()}
        return {"$dict": self._pairs(values, where)}

    def _pairs(self, values: dict[Any, Any], where: str) -> list[Any]:
        return [[self.encode(key, where), self.encode(value, f"{where}.{key}")] for key, value in values.items()]

    def _text(self, text: str, where: str) -> Any:
        return {"$text": self._file(where, ".txt", lambda file: file.write(text.encode("utf-8", "surrogatepass")))}

    def _shared(self, value: Any, where: str) -> dict[str, Any]:
        """Return what may stand at several places."""
        if isinstance(value, list) and type(value) is list:
            return {"$list": self.items(value, where)}
        if isinstance(value, dict) and type(value) is dict:
            return {"$table": self.table(value, where)}
        if type(value) is OrderedDict:
            return {"$ordered": self._pairs(value, where)}
        if type(value) is defaultdict and value.default_factory in FACTORIES.values():
            name = next(name for name, factory in FACTORIES.items() if factory is value.default_factory)
            return {"$default": name, "items": self._pairs(value, where)}
        if isinstance(value, np.ndarray):
            return self._array(value, where)
        if self.write_table is not None and isinstance(value, pd.DataFrame | pd.Series | pd.Index):
            return self._table(value, where, self.write_table)
        if isinstance(value, pd.DataFrame) and type(value) is pd.DataFrame:
            return {"$frame": self._frame(value, where)}
        if isinstance(value, pd.Series) and type(value) is pd.Series:
            frame = value.to_frame("x")
            return {"$series": self._frame(frame, where), "name": self.encode(value.name, where)}
        if isinstance(value, pd.Index):
            levels = value.levels if isinstance(value, pd.MultiIndex) else []
            dated = any(isinstance(level, pd.DatetimeIndex) for level in levels)
            few = 0 < len(value) <= INLINE and not dated  # names of columns rather than rows
            if few:
                return {"$labels": self._labels(value, where)}
            return {"$index": self._frame(pd.DataFrame(index=value), where)}
        cls = value if isinstance(value, type) else type(value)
        module, name = cls.__module__, cls.__qualname__
        if not may_be_restored(module, name):
            raise ConfigError(
                f"{where}: a {module}.{name} cannot be saved as a readable spec; numbers, texts, dates, arrays, "
                "frames, and objects of this package's classes can"
            )
        if isinstance(value, type):
            return {"$class": name, "module_path": module}
        state = {key: self.encode(part, f"{where}.{key}") for key, part in self.state_of(value).items()}
        return {"$object": name, "module_path": module, "state": state}

    def _table(self, value: Any, where: str, write_table: WriteTable) -> dict[str, Any]:
        is_index = isinstance(value, pd.Index)
        table = pd.DataFrame(index=value) if is_index else value
        try:
            name = self._file(where, ".parquet", lambda file: write_table(file, table))
            return {"$parquet": name, "index": is_index}
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None

    def _array(self, array: np.ndarray, where: str) -> dict[str, Any]:
        if array.dtype.kind not in "fiubMmSU":
            raise ConfigError(f"{where}: an array of dtype {array.dtype} cannot be saved; numbers, dates and texts can")
        if array.ndim == 1 and array.size <= INLINE and array.dtype.kind in SHOWN and np.isfinite(array).all():
            return {"$array": array.tolist(), "dtype": array.dtype.str}
        with_name = self._file(where, ".npy", lambda file: np.save(file, array, allow_pickle=False))
        return {"$npy": with_name}

    def _frame(self, frame: pd.DataFrame, where: str) -> dict[str, Any]:
        try:
            check_frame(frame)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        index = frame.index
        described: dict[str, Any] = {
            "columns": self._labels(frame.columns, where),
            "dtypes": [str(dtype) for dtype in frame.dtypes],
        }
        if isinstance(index, pd.MultiIndex):
            levels = [level.rename(name) for level, name in zip(index.levels, index.names, strict=True)]
            described["levels"] = [self._labels(level, where) for level in levels]
        else:
            described["index"] = self._labels(index, where)
        if len(frame.columns) or "levels" in described:
            described["file"] = self._file(where, ".arrow", lambda file: write_frame(file, frame))
        return described

    def _labels(self, labels: pd.Index, where: str) -> dict[str, Any]:
        """Return the labels of columns, of an index or of one of its levels."""
        if isinstance(labels, pd.MultiIndex):
            return {"tuples": [self.items(row, where) for row in labels], "names": self.items(labels.names, where)}
        name = self.encode(labels.name, where)
        if isinstance(labels, pd.RangeIndex):
            return {"range": [labels.start, labels.stop, labels.step], "name": name}
        if isinstance(labels.dtype, np.dtype) and labels.dtype.kind in "fiubM":
            return {"values": self._array(labels.to_numpy(), where), "name": name}
        if str(labels.dtype) not in ("object", "str", "string"):
            raise ConfigError(f"{where}: an index of dtype {labels.dtype} cannot be saved; numbers, dates, texts can")
        return {"labels": self.items(labels.tolist(), where), "dtype": str(labels.dtype), "name": name}

    def _file(self, where: str, suffix: str, write: Callable[[IO[bytes]], object]) -> str:
        stem = "".join(c if c.isalnum() else "-" for c in where.rpartition(".")[2])[:40].strip("-") or "array"
        name = f"{stem}-{f'{len(self.files):08x}' if self.fresh else secrets.token_hex(4)}{suffix}"
        replace_file(self.root / name, write)
        self.files[name] = _fingerprint(self.root / name)
        return name


def _fingerprint(path: Path) -> dict[str, int]:
    size = check = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            size, check = size + len(block), zlib.crc32(block, check)
    return {"bytes": size, "crc32": check}


def _moment(writer: _Writer, value: Any, where: str) -> dict[str, Any]:
    stamp = pd.Timestamp(value)
    if stamp is pd.NaT:
        return {"$time": "NaT"}
    if stamp.tz is not None:
        raise ConfigError(f"{where}: {value} has a time zone; moments without one can be saved")
    kind = "timestamp" if isinstance(value, pd.Timestamp) else "datetime"
    return {"$time": stamp.isoformat(), "kind": kind, "unit": stamp.unit}


def _tuple(writer: _Writer, value: Any, where: str) -> dict[str, Any]:
    if type(value) is not tuple:
        raise ConfigError(f"{where}: a {type(value).__qualname__} cannot be saved as a readable spec; a tuple can")
    return {"$tuple": writer.items(value, where)}


_PLAIN: Final[list[tuple[Any, Callable[[_Writer, Any, str], Any]]]] = [
    (type(pd.NaT), lambda w, v, at: {"$time": "NaT"}),
    (dt.datetime, _moment),
    (dt.date, lambda w, v, at: {"$date": v.isoformat()}),
    (pd.Timedelta, lambda w, v, at: {"$delta": int(v.value), "unit": v.unit}),
    (np.generic, lambda w, v, at: {"$scalar": w._array(np.atleast_1d(np.asarray(v)), at)}),
    (slice, lambda w, v, at: {"$slice": w.items((v.start, v.stop, v.step), at)}),
    (tuple, _tuple),
    (frozenset | set, lambda w, v, at: {"$set": w.items(sorted(v, key=repr), at), "frozen": isinstance(v, frozenset)}),
    (Path, lambda w, v, at: {"$path": str(v)}),
    (bytes, lambda w, v, at: {"$bytes": base64.b64encode(v).decode()}),
]


FACTORIES: Final[dict[str, Any]] = {"OrderedDict": OrderedDict, "list": list, "dict": dict, "int": int, "float": float}


class _Plain(_Writer):
    """Writes what is a tree of plain values, and refuses the rest."""

    def __init__(self) -> None:
        super().__init__(Path(), _own_state)

    def encode(self, value: Any, where: str) -> Any:
        if type(value) is list:
            return self.items(value, where)
        if type(value) is dict:
            return self.table(value, where)
        return super().encode(value, where)

    def _shared(self, value: Any, where: str) -> dict[str, Any]:
        raise ConfigError(f"{where}: a {type(value).__qualname__} is no plain value")

    def _text(self, text: str, where: str) -> Any:
        return text

    def _file(self, where: str, suffix: str, write: Callable[[IO[bytes]], object]) -> str:
        raise ConfigError(f"{where} is no plain value")


def plain_json(value: Any) -> str:
    """Return numbers, texts, dates, tuples, sets, lists and tables of them as JSON; ConfigError for anything else.

    Plain values of JSON are themselves; what JSON lacks is told by a key that starts with `$`.

    >>> print(plain_json({"model": ["a", 1.5], "span": (1, None)}))
    {"model": ["a", 1.5], "span": {"$tuple": [1, null]}}
    >>> from_plain_json(plain_json({1: {"at": pd.Timestamp("2024-01-01")}}))
    {1: {'at': Timestamp('2024-01-01 00:00:00')}}
    """
    try:
        return _readable(_Plain().encode(value, "value"))
    except RecursionError:
        raise ConfigError("the value holds itself, or is nested too deeply for JSON") from None


def from_plain_json(text: str) -> Any:
    """Return what `plain_json` wrote; StoreError for a damaged text."""
    try:
        return _Reader(Path(), {}).decode(json.loads(text))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise StoreError(f"the JSON is damaged: {type(error).__name__} {error}") from error


# ------------------------------------------------------------------------------------------------------------ reading
class _Reader:
    def __init__(self, root: Path, files: dict[str, dict[str, int]], read_table: ReadTable | None = None) -> None:
        self.root = root
        self.files = files
        self.read_table = read_table
        self.known: dict[int, Any] = {}

    def decode(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.decode(part) for part in node]
        if not isinstance(node, dict):
            return node
        tag = next((key for key in node if key.startswith("$") and key != "$id"), None)
        if tag is None:
            return {key: self.decode(value) for key, value in node.items()}
        if tag == "$ref":
            return self.known[node["$ref"]]
        read = getattr(self, f"_read_{tag[1:]}", None)
        if read is None:
            raise StoreError(f"{self.root / SPEC} is damaged: it holds {tag!r}, which this program does not know")
        return read(node)

    def _keep(self, node: dict[str, Any], value: Any) -> Any:
        if "$id" in node:
            self.known[node["$id"]] = value
        return value

    def _read_list(self, node: dict[str, Any]) -> list[Any]:
        out = self._keep(node, [])
        out.extend(self.decode(node["$list"]))
        return out

    def _read_table(self, node: dict[str, Any]) -> dict[Any, Any]:
        out = self._keep(node, {})
        out.update(self.decode(node["$table"]))
        return out

    def _read_dict(self, node: dict[str, Any]) -> dict[Any, Any]:
        return {self.decode(key): self.decode(value) for key, value in node["$dict"]}

    def _read_ordered(self, node: dict[str, Any]) -> OrderedDict[Any, Any]:
        return self._fill(self._keep(node, OrderedDict()), node["$ordered"])

    def _read_default(self, node: dict[str, Any]) -> defaultdict[Any, Any]:
        return self._fill(self._keep(node, defaultdict(FACTORIES[node["$default"]])), node["items"])

    def _fill(self, out: Any, pairs: list[Any]) -> Any:
        for key, value in pairs:
            out[self.decode(key)] = self.decode(value)
        return out

    def _read_text(self, node: dict[str, Any]) -> str:
        return self._path(node["$text"]).read_bytes().decode("utf-8", "surrogatepass")

    def _read_class(self, node: dict[str, Any]) -> type:
        found: type = self._keep(node, self._class(node["module_path"], node["$class"]))
        return found

    def _class(self, module: str, name: str) -> type:
        """Return a class, if it is one whose objects may be restored."""
        if not may_be_restored(module, name):
            near = did_you_mean(name, (known for mod, known in STATE_ONLY_CLASSES if mod == module))
            raise ConfigError(
                f"{self.root / SPEC} names the class {module}.{name}, which this program does not know{near}. If it is "
                f"yours, import its module first, or call qlib.utils.pickle_utils.add_safe_class({module!r}, {name!r})"
            )
        try:
            cls = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{self.root / SPEC}: {module}.{name} cannot be imported here: {error}") from error
        if not isinstance(cls, type) or cls.__module__.partition(".")[0] == "builtins":
            raise ConfigError(f"{self.root / SPEC}: {module}.{name} is no class of objects with a state")
        return cls

    def _read_object(self, node: dict[str, Any]) -> Any:
        name = node["$object"]
        out = self._keep(node, object.__new__(self._class(node["module_path"], name)))
        state = {key: self.decode(value) for key, value in node["state"].items()}
        if any(key.startswith("__") for key in state):
            raise StoreError(f"{self.root / SPEC}: {name} sets special attributes; that is refused")
        if hasattr(out, "__setstate__"):
            out.__setstate__(state)
        else:
            out.__dict__.update(state)
        return out

    def _read_array(self, node: dict[str, Any]) -> np.ndarray:
        dtype = np.dtype(node["dtype"])
        if dtype.kind not in SHOWN:
            raise ValueError(f"dtype {dtype}")
        return self._keep(node, np.array(node["$array"], dtype=dtype))

    def _read_npy(self, node: dict[str, Any]) -> np.ndarray:
        return self._keep(node, np.load(self._path(node["$npy"]), allow_pickle=False))

    def _frame(self, node: dict[str, Any]) -> pd.DataFrame:
        levels = [self._labels(level) for level in node.get("levels", [])]
        index = self._labels(node["index"]) if "index" in node else None
        if "file" in node:
            frame = read_frame(self._path(node["file"]), levels, index, node["dtypes"])
        else:
            frame = pd.DataFrame(index=index)
        frame.columns = self._labels(node["columns"])
        return frame

    def _labels(self, node: dict[str, Any]) -> pd.Index:
        if "tuples" in node:
            names, rows = self.decode(node["names"]), self.decode(node["tuples"])
            empty: list[Any] = [[] for _ in names]
            return pd.MultiIndex.from_arrays(list(zip(*rows, strict=True)) or empty, names=names)
        name = self.decode(node["name"])
        if "range" in node:
            start, stop, step = node["range"]
            return pd.RangeIndex(start, stop, step, name=name)
        if "values" in node:
            return pd.Index(self.decode(node["values"]), name=name)
        labels = self.decode(node["labels"])
        # The text type of pandas 3 does not exist in pandas 2, where texts are objects.
        return pd.Index(labels, dtype="object" if node["dtype"] == "object" else None, name=name)

    def _read_frame(self, node: dict[str, Any]) -> pd.DataFrame:
        return self._keep(node, self._frame(node["$frame"]))

    def _read_parquet(self, node: dict[str, Any]) -> Any:
        if self.read_table is None:
            raise StoreError(f"{self.root / SPEC} holds Parquet files, which this reader was not told to read")
        table = self.read_table(self._path(node["$parquet"]))
        return self._keep(node, table.index if node["index"] else table)

    def _read_series(self, node: dict[str, Any]) -> pd.Series:
        return self._keep(node, self._frame(node["$series"]).iloc[:, 0].rename(self.decode(node["name"])))

    def _read_index(self, node: dict[str, Any]) -> pd.Index:
        return self._keep(node, self._frame(node["$index"]).index)

    def _read_labels(self, node: dict[str, Any]) -> pd.Index:
        return self._keep(node, self._labels(node["$labels"]))

    def _read_time(self, node: dict[str, Any]) -> Any:
        if node["$time"] == "NaT":
            return pd.NaT
        stamp = pd.Timestamp(node["$time"]).as_unit(node["unit"])
        return stamp if node["kind"] == "timestamp" else stamp.to_pydatetime()

    def _read_date(self, node: dict[str, Any]) -> dt.date:
        return dt.date.fromisoformat(node["$date"])

    def _read_delta(self, node: dict[str, Any]) -> pd.Timedelta:
        return pd.Timedelta(node["$delta"], "ns").as_unit(node["unit"])

    def _read_float(self, node: dict[str, Any]) -> float:
        return float(node["$float"])

    def _read_scalar(self, node: dict[str, Any]) -> Any:
        return self.decode(node["$scalar"])[0]

    def _read_slice(self, node: dict[str, Any]) -> slice:
        return slice(*self.decode(node["$slice"]))

    def _read_tuple(self, node: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(self.decode(node["$tuple"]))

    def _read_set(self, node: dict[str, Any]) -> Any:
        return (frozenset if node["frozen"] else set)(self.decode(node["$set"]))

    def _read_bytes(self, node: dict[str, Any]) -> bytes:
        return base64.b64decode(node["$bytes"], validate=True)

    def _read_path(self, node: dict[str, Any]) -> Path:
        return Path(node["$path"])

    def _path(self, name: str) -> Path:
        """Return the path of one of the files of the spec, its size and checksum compared."""
        if name not in self.files or Path(name).name != name:
            raise StoreError(f"{self.root / SPEC} is damaged: it does not list the file {name!r}")
        path = self.root / name
        if _fingerprint(path) != self.files[name]:
            raise StoreError(f"{path} is damaged: its size or checksum is not what {SPEC} says")
        return path

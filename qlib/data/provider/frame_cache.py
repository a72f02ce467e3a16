"""Frames of queries kept on disk, and what a frame depends on.

    cache = FrameCache(CacheFolder("~/frames"))
    cache.features(provider, ["AAPL"], ["$close"])          computed and kept; the second time mapped from the file

Kept under what was asked (instruments, fields, range, frequency), a frame is good only while everything that it was
computed from is the same: the texts of the formulas and the code that computes them, the calendar, who is a member
when, and of every file that is read its size, inode, and times of change to the nanosecond. A file that was touched in
the last seconds, which its time cannot tell from a second touch, counts with its content. So there is no false hit:
where one of them differs, the frame is computed anew and takes the old one's place.

Not kept, always computed: formulas with operators of a user's own (nobody knows what they read), point-in-time data,
formulas about other instruments, formulas that leave rows out, and frames that were brought (`qlib.init(data=...)`).

A cache that cannot be written costs a warning, never an answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from qlib.data.calendar import Calendar
from qlib.data.expression.node import is_opaque, walk
from qlib.data.filter import described
from qlib.data.provider.absent import Absent, warn
from qlib.data.provider.features import Query, empty_frame, frame_of, leaves_rows_out
from qlib.data.provider.store import FileStore
from qlib.data.provider.traits import elsewhere_of, leaves_of, reports_of
from qlib.data.storage.cache_folder import CacheFolder, read_arrays
from qlib.data.storage.watch import note_series
from qlib.errors import InputError, StoreError
from qlib.log import get_module_logger
from qlib.utils.locks import LockTimeout
from qlib.utils.paths import instrument_folder

if TYPE_CHECKING:
    from qlib.data.provider.facade import Provider

logger = get_module_logger("data.cache")

FORMAT: Final = 1
_YOUNG: Final = 3_000_000_000  # nanoseconds: no file system tells time more coarsely
_PACKAGE: Final = Path(__file__).resolve().parents[1]


class FrameCache:
    """Frames of queries in a folder, see the module."""

    def __init__(self, folder: CacheFolder) -> None:
        self.folder = folder

    def features(
        self,
        provider: Provider,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        *,
        by_time: bool = False,
        replace: bool = False,
    ) -> pd.DataFrame:
        """Return what `provider.computed` returns; with `replace` computed in any case, and kept."""
        asked = request_of(instruments, fields, start_time, end_time, freq, by_time=by_time)
        query = provider.query(instruments, fields, start_time, end_time, freq)
        mark = None if query is None or asked is None else fingerprint(provider, query, by_time=by_time)
        if query is None or mark is None or asked is None:
            return provider.answered(query, fields, by_time=by_time)
        name = name_of(asked)
        if not replace:
            found = self._read(provider, query, name, mark)
            if found is not None:
                return found
        answer = provider.answer(query, by_time=by_time)
        if answer is None:
            none = empty_frame(query.plan.fields)
            return none.swaplevel() if by_time else none
        block, index, absent = answer
        self._write(name, {"asked": asked, "fingerprint": mark}, block, index, absent)
        return frame_of(block, index, query.plan)

    def uri(self, instruments: Any, fields: Sequence[Any], start_time: Any, end_time: Any, freq: str) -> Path:
        """Return the file in which `features` keeps an answer; InputError where it keeps none."""
        asked = request_of(instruments, fields, start_time, end_time, freq, by_time=False)
        if asked is None:
            raise InputError("instruments: a universe with functions for filters has no file; pass configurations")
        return self.folder.file(name_of(asked))

    def update(self, provider: Provider, name: str) -> int:
        """Compute a kept frame anew if something changed; return 0 if so, 1 if not, 2 where it was damaged and removed.

        Raises FileNotFoundError where nothing of that name is kept.
        """
        path = self.folder.file(name)
        try:
            header, _ = read_arrays(path)
            asked = dict(header["asked"])
            by_time, fields = asked.pop("by_time"), asked.pop("fields")
        except (StoreError, KeyError, TypeError):
            self.folder.remove(name)
            return 2
        query = provider.query(fields=fields, **asked)
        if query is not None and fingerprint(provider, query, by_time=by_time) == header.get("fingerprint"):
            return 1
        self.features(provider, fields=fields, by_time=by_time, replace=True, **asked)
        return 0

    def _read(self, provider: Provider, query: Query, name: str, mark: str) -> pd.DataFrame | None:
        try:
            found = self.folder.get(name)
        except (StoreError, OSError) as error:
            logger.warning(f"{error}; the answer is computed")
            return None
        if found is None or found[0].get("fingerprint") != mark:
            return None
        header, arrays = found
        absent = Absent(*(tuple(names) for names in header["absent"]))
        warn(provider.store, query.plan, query.freq, query.calendar, query.instruments, absent)
        return frame_of(arrays[-1], _index(header, arrays), query.plan)

    def _write(
        self, name: str, header: dict[str, Any], block: np.ndarray, index: pd.MultiIndex, absent: Absent
    ) -> None:
        of_name, of_time = (list(index.names).index(level) for level in ("instrument", "datetime"))
        header |= {
            "levels": list(index.names),
            "names": [str(name) for name in index.levels[of_name]],
            "absent": [absent.instruments, absent.fields, absent.reports],
        }
        times = index.levels[of_time].to_numpy("datetime64[ns]").astype(np.int64)
        codes = [np.asarray(index.codes[level]) for level in (of_name, of_time)]
        try:
            kept = self.folder.put(name, header, [times, *codes, block])
        except (OSError, LockTimeout) as error:
            logger.warning(f"the answer is right, but was not kept in {self.folder.path}: {error}")
            return
        if not kept:
            logger.warning(
                f"an answer of {block.nbytes / 1e9:.1f} GB is larger than all that {self.folder.path} may hold"
            )


def _index(header: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> pd.MultiIndex:
    times, names, of_time = arrays[0], header["names"], arrays[2]
    both: dict[str, Any] = {
        "instrument": (pd.Index(names), arrays[1]),
        "datetime": (pd.DatetimeIndex(times.view("datetime64[ns]")), of_time),
    }
    levels, codes = zip(*(both[level] for level in header["levels"]), strict=True)
    return pd.MultiIndex(levels=list(levels), codes=list(codes), names=header["levels"], verify_integrity=False)


def read_frame(path: Path, start_time: Any = None, end_time: Any = None, fields: Sequence[Any] = ()) -> pd.DataFrame:
    """Return a kept frame as (instrument, datetime), cut to a range and to some fields; StoreError if it is damaged."""
    header, arrays = read_arrays(path)
    if "asked" not in header:
        raise StoreError(f"{path}: is no frame of a cache")
    columns = header["asked"]["fields"]
    frame = pd.DataFrame(arrays[-1].T, index=_index(header, arrays), columns=columns, copy=False)
    if header["levels"][0] == "datetime":
        frame = frame.swaplevel().sort_index()
    calendar = Calendar("day", arrays[0].view("datetime64[ns]"))
    first, last = calendar.locate(start_time, end_time)
    code = np.asarray(frame.index.codes[1])  # type: ignore[attr-defined]
    frame = frame if last - first + 1 == len(calendar) else frame[(code >= first) & (code <= last)]
    plain = {"".join(name.split()): i for i, name in enumerate(columns)}
    try:
        places = [plain["".join(str(field).split())] for field in fields or columns]
    except KeyError as error:
        raise InputError(f"fields: received {error.args[0]}; {path} holds {', '.join(columns)}") from None
    return frame.iloc[:, places].set_axis(list(map(str, fields or columns)), axis=1)


# ---------------------------------------------------------------------- what was asked
def request_of(
    instruments: Any, fields: Sequence[Any], start_time: Any, end_time: Any, freq: str, *, by_time: bool
) -> dict[str, Any] | None:
    """Return a query as plain data from which it can be asked again; None for one with functions in it."""
    try:
        return {
            "instruments": _plain(instruments) if isinstance(instruments, Mapping) else sorted(map(str, instruments)),
            "fields": [str(field) for field in fields],
            "start_time": None if start_time is None else str(start_time),
            "end_time": None if end_time is None else str(end_time),
            "freq": str(freq),
            "by_time": by_time,
        }
    except TypeError:
        return None


def _plain(thing: Any) -> Any:
    if isinstance(thing, Mapping):
        return {str(key): _plain(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [_plain(described(one)) for one in thing]
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, np.datetime64) or hasattr(thing, "isoformat"):
        return str(pd.Timestamp(thing))
    raise TypeError(type(thing).__name__)


def name_of(asked: Mapping[str, Any]) -> str:
    """Return the name under which an answer is kept."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:40]


# ---------------------------------------------------------------------- what the answer depends on
def fingerprint(provider: Provider, query: Query, *, by_time: bool = False) -> str | None:
    """Return what changes whenever the answer to a query may change; None where nobody can know."""
    plan = query.plan
    if not isinstance(provider.store, FileStore) or leaves_of(plan).every or reports_of(plan) or elsewhere_of(plan):
        return None
    kinds = {type(node) for node in walk(*plan.roots, everywhere=True)}
    if leaves_rows_out(plan) or is_opaque(*plan.roots) or not all(map(_of_package, kinds)):
        return None
    mark, members = hashlib.blake2b(digest_size=24), query.members
    told = [FORMAT, code_stamp(), plan.fields, plan.compat, query.freq, query.low, query.high, by_time]
    mark.update(json.dumps([*told, members is None, query.instruments]).encode())
    mark.update(query.calendar.times.tobytes())
    if members is not None:
        mark.update(np.concatenate([members.instrument, members.begin, members.end]).tobytes())
    folder = provider.store.root(query.freq) / "features"
    endings = [f"{field}.{query.freq.lower()}.bin" for field in plan.reads]
    note_series(str(folder), query.instruments, endings)  # a kept frame is read instead of them
    mark.update(stamps(folder, query.instruments, endings))
    return mark.hexdigest()


def _of_package(kind: type) -> bool:
    return kind.__module__.split(".")[0] == __name__.split(".")[0]


def stamps(folder: Path, instruments: Sequence[str], endings: Sequence[str]) -> bytes:
    """Return what tells the states of files apart: folder/<of an instrument>/<ending>, present or not."""
    now = time.time_ns()
    rows = array("Q")
    contents = hashlib.blake2b(digest_size=24)
    for name in instruments:
        inside = os.path.join(folder, instrument_folder(name), "")  # noqa: PTH118  thousands of them
        for ending in endings:
            path = inside + ending
            try:
                stat = os.stat(path)  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                rows.extend((0, 0, 0, 0))
                continue
            rows.extend((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
            if max(stat.st_mtime_ns, stat.st_ctime_ns) > now - _YOUNG:
                contents.update(Path(path).read_bytes())
    return rows.tobytes() + contents.digest()


@lru_cache(maxsize=1)
def code_stamp() -> str:
    """Return what tells this package's code for data from another version of it."""
    files = sorted(path for path in _PACKAGE.rglob("*") if path.suffix in {".py", ".so", ".pyd"})
    seen = [(path.relative_to(_PACKAGE).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(json.dumps(seen).encode(), digest_size=16).hexdigest()

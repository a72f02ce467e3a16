"""Frames -> a store, in one step that either happens or does not.

    write_store({"AAPL": bars, "MSFT": bars}, "~/.qlib/qlib_data/mine", "60min")

The new store is put together in a folder beside the old one, made durable, and the two are exchanged by one system
call. A process that is killed at any moment leaves the old store or the new one; what it left behind beside them is
swept up by the next write. What the store holds at other frequencies is kept (linked, not copied).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.data.calendar import read_calendar, time_texts
from qlib.data.storage.binary import to_bytes
from qlib.data.storage.file_storage import calendar_freqs
from qlib.data.storage.instruments import instruments_text, read_instruments
from qlib.data.universe import Spans
from qlib.errors import InputError
from qlib.log import get_module_logger
from qlib.utils.paths import fsync_folder, instrument_folder
from qlib.utils.time import Freq

try:
    import fcntl
except ImportError:  # Windows: two writers at once are then the caller's business
    fcntl = None  # type: ignore[assignment]

logger = get_module_logger("data")

FIELD: Final = re.compile("[\\w\u3001\uff1a\uff08\uff09]+")  # what may follow `$` in a formula
_EXCHANGE: Final = 2  # RENAME_EXCHANGE of Linux's renameat2
_HERE: Final = -100  # AT_FDCWD


@dataclass(frozen=True, slots=True)
class _Series:
    """The checked frame of one instrument."""

    instrument: str
    times: np.ndarray
    columns: dict[str, np.ndarray]


def write_store(
    frames: Mapping[str, pd.DataFrame],
    root: str | os.PathLike[str],
    freq: str,
    *,
    instruments: Mapping[str, Iterable[str] | Mapping[str, Iterable[tuple[Any, Any]]]] | None = None,
) -> Path:
    """Write the bars of one frequency; what the store held at this frequency is replaced, other frequencies stay.

    Parameters
    ----------
    frames
        Instrument -> frame with a DatetimeIndex (no zone, no duplicates, any order; midnights for "day" and longer)
        and numeric columns, which become the fields, in lower case. NaN means "no value". Values are stored as
        float32. The calendar is the union of all indexes; an instrument's missing bars between its first and its last
        are NaN.
    root
        Folder of the store; made if it does not exist. Market files and other files in it stay.
    freq
        Bar size: "day", "60min", "1min", ...
    instruments
        Market -> its instruments (from their first to their last bar), or its instruments with spans. By default
        `{"all": every instrument}`. While the store holds other frequencies too, spans are joined with those there.

    Returns
    -------
    pathlib.Path
        The folder, absolute.

    Raises
    ------
    InputError
        A frame that cannot be stored; the message names instrument and column. Nothing has changed then.
    """
    target = Path(root).expanduser().resolve()
    name = str(Freq(freq))
    series = [_checked(str(instrument), frame, Freq(freq)) for instrument, frame in frames.items()]
    if not series:
        raise InputError("frames: received none; at least one instrument is needed")
    _refuse_clashes([one.instrument for one in series])
    calendar = np.unique(np.concatenate([one.times for one in series]))
    markets = {"all": list(frames)} if instruments is None else instruments
    fresh = _beside(target, "new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
        fresh.rmdir()
    except OSError as error:
        raise InputError(f"root: {target} cannot be written: {error.strerror} ({target.parent})") from None
    with _only_writer(target):
        _sweep(target)
        try:
            fresh.mkdir()
            others = _carry_over(target, fresh, name, calendar)
            _write_calendar(fresh, name, calendar)
            for one in series:
                _write_features(fresh, one, name, calendar)
            for market, members in markets.items():
                _write_market(fresh, market, members, {one.instrument: one for one in series}, joined=bool(others))
            _make_durable(fresh)
            _swap(fresh, target)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        shutil.rmtree(fresh, ignore_errors=True)  # now the old store
    return target


# ---------------------------------------------------------------------- what may be stored
def _checked(instrument: str, frame: pd.DataFrame, freq: Freq) -> _Series:
    """Return the frame as sorted times and float32 columns, or raise InputError saying what is wrong with it."""
    where = f"frame of {instrument}"
    instrument_folder(instrument)
    if "\t" in instrument or "\n" in instrument:
        raise InputError(f"{where}: a tab or a line break cannot stand in the name of an instrument")
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex):
        raise InputError(f"{where}: received an index of {index.dtype}; a DatetimeIndex is needed")
    if index.tz is not None:
        raise InputError(
            f"{where}: its times carry the zone {index.tz}; a store keeps one clock without zones: "
            "use frame.tz_convert('UTC').tz_localize(None)"
        )
    if not len(index):
        raise InputError(f"{where}: it has no rows")
    if index.hasnans:
        raise InputError(f"{where}: it has a row without a time (NaT)")
    if index.has_duplicates:
        raise InputError(f"{where}: {index[index.duplicated()][0]} occurs more than once")
    whole = index.floor("s") if freq.intraday else index.normalize()
    if not (whole == index).all():
        unit = "whole seconds" if freq.intraday else "midnights"
        raise InputError(f"{where}: {index[whole != index][0]} cannot be stored at freq {freq}, whose times are {unit}")
    if not index.is_monotonic_increasing:
        frame = frame.sort_index()
    return _Series(instrument, frame.index.to_numpy("datetime64[ns]"), _columns(frame, where))


def _columns(frame: pd.DataFrame, where: str) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    for place, column in enumerate(frame.columns):
        field = str(column).lower()
        if not FIELD.fullmatch(field):
            raise InputError(f"{where}: column {column!r} cannot be a field; letters, digits and _ are allowed")
        if field in columns:
            raise InputError(f"{where}: column {field} occurs more than once (case does not count)")
        values = frame.iloc[:, place]
        if not (pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)):
            raise InputError(f"{where}: column {column} is {values.dtype}; numbers are needed")
        exact = values.to_numpy(dtype=np.float64, na_value=np.nan)
        with np.errstate(over="ignore"):
            columns[field] = exact.astype(np.float32)
        lost = np.isinf(columns[field]) & np.isfinite(exact)
        if lost.any():
            raise InputError(f"{where}: column {column} holds {exact[lost][0]:g}, too large for float32")
    if not columns:
        raise InputError(f"{where}: it has no columns")
    return columns


def _refuse_clashes(names: list[str]) -> None:
    folders: dict[str, str] = {}
    for name in names:
        other = folders.setdefault(instrument_folder(name), name)
        if other != name:
            raise InputError(f"frames: {other} and {name} would share one folder; names differ in more than case")


# ---------------------------------------------------------------------- the files
def _write_calendar(root: Path, freq: str, calendar: np.ndarray) -> None:
    path = root / "calendars" / f"{freq}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(text + "\n" for text in time_texts(calendar, freq)), encoding="utf-8")


def _write_features(root: Path, one: _Series, freq: str, calendar: np.ndarray) -> None:
    folder = root / "features" / instrument_folder(one.instrument)
    folder.mkdir(parents=True, exist_ok=True)
    at = np.searchsorted(calendar, one.times)
    start, length = int(at[0]), int(at[-1] - at[0]) + 1
    for field, values in one.columns.items():
        spread = np.full(length, np.nan, np.float32)
        spread[at - start] = values
        try:
            content = to_bytes(start, spread)
        except InputError as error:
            raise InputError(f"frame of {one.instrument}: {error}") from None
        (folder / f"{field}.{freq}.bin").write_bytes(content)


def _write_market(root: Path, market: str, members: Any, series: Mapping[str, _Series], *, joined: bool) -> None:
    if not FIELD.fullmatch(market):
        raise InputError(f"instruments: market {market!r} cannot be a file name; letters, digits and _ are allowed")
    path = root / "instruments" / f"{market.lower()}.txt"
    path.parent.mkdir(exist_ok=True)
    if isinstance(members, Mapping):
        spans: Spans = {
            str(name): [(pd.Timestamp(a), pd.Timestamp(b)) for a, b in own] for name, own in members.items()
        }
    else:
        spans = {}
        for name in map(str, members):
            if name not in series:
                raise InputError(f"instruments: market {market} names {name}, of which there is no frame")
            times = series[name].times
            spans[name] = [(pd.Timestamp(times[0]), pd.Timestamp(times[-1]))]
        if joined and path.exists():
            spans = _joined(read_instruments(path), spans)
    path.unlink(missing_ok=True)  # it may be a link to the old store's file
    path.write_text(instruments_text(spans), encoding="utf-8")


def _joined(old: Spans, new: Spans) -> Spans:
    """Return the spans of both, those of one instrument that overlap made one."""
    joined: Spans = {}
    for name in dict.fromkeys([*old, *new]):
        spans: list[tuple[pd.Timestamp, pd.Timestamp]] = []
        for start, end in sorted([*old.get(name, []), *new.get(name, [])]):
            if spans and start <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(spans[-1][1], end))
            else:
                spans.append((start, end))
        joined[name] = spans
    return joined


def _carry_over(target: Path, fresh: Path, freq: str, calendar: np.ndarray) -> list[str]:
    """Link what the new store keeps of the old one; return its other frequencies."""
    if not target.exists():
        return []
    if not target.is_dir():
        raise InputError(f"root: received {target}, which is a file; a folder is needed")
    known = calendar_freqs(target)
    if not known and any(target.iterdir()):
        raise InputError(
            f"root: received {target}, which is no store (no calendars/<freq>.txt) and not empty; nothing was changed"
        )
    same = [other for other in known if Freq(other) == Freq(freq)]
    others = [other for other in known if other not in same]
    replaced = {f".{other.lower()}.bin" for other in (freq, *same)}
    calendars = {f"{other}{tail}.txt" for other in (freq, *same) for tail in ("", "_future")}
    for folder, _, files in os.walk(target):
        inside = Path(folder).relative_to(target)
        (fresh / inside).mkdir(exist_ok=True)
        for file in files:
            if inside == Path("calendars") and file in calendars:
                continue
            if inside.parts[:1] == ("features",) and any(file.endswith(ending) for ending in replaced):
                continue
            _link(target / inside / file, fresh / inside / file)
    for other in same:
        _keep_future(target / "calendars" / f"{other}_future.txt", fresh / "calendars", freq, calendar)
    return others


def _keep_future(path: Path, folder: Path, freq: str, calendar: np.ndarray) -> None:
    """Keep a calendar of the future that begins as the new calendar does; say so where it does not."""
    if not path.exists():
        return
    future = read_calendar(path, freq).times
    if len(future) >= len(calendar) and (future[: len(calendar)] == calendar).all():
        _link(path, folder / f"{freq}_future.txt")
    else:
        logger.warning(f"{path} does not begin with the new calendar and was left out")


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # a file system without links, or too many of them
        shutil.copy2(old, new)


# ---------------------------------------------------------------------- one step, or none
def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{kind}")


def _leftovers(target: Path, kind: str) -> list[Path]:
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.{kind}")
    return [path for path in target.parent.iterdir() if ours.fullmatch(path.name)]


def _sweep(target: Path) -> None:
    """Finish or remove what a killed writer left beside the store."""
    for old in _leftovers(target, "old"):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)
    for fresh in _leftovers(target, "new"):
        shutil.rmtree(fresh, ignore_errors=True)


@contextlib.contextmanager
def _only_writer(target: Path) -> Iterator[None]:
    """Hold the one place that writers of this folder's stores queue for; it is given up when the process ends."""
    if fcntl is None:
        yield
        return
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _make_durable(root: Path) -> None:
    """Wait until the new files are on the disk; those linked from the old store are there already."""
    for folder, _, files in os.walk(root):
        for file in files:
            handle = os.open(os.path.join(folder, file), os.O_RDONLY)  # noqa: PTH118  thousands of them
            try:
                if os.fstat(handle).st_nlink == 1:
                    os.fsync(handle)
            finally:
                os.close(handle)
        fsync_folder(Path(folder))


def _swap(fresh: Path, target: Path) -> None:
    """Put `fresh` in the place of `target` by one step; afterwards the old store, if any, is at `fresh`."""
    if not target.exists():
        fresh.rename(target)
    elif not _exchange(fresh, target):
        old = _beside(target, "old")  # two steps: `_sweep` brings the old store back if we are killed between them
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

"""Qlib's caches on disk, by Qlib's names, over files that hold no pickle and need no server.

    qlib.init(dataset_cache="DiskDatasetCache")        frames, in <store>/dataset_cache
    qlib.init(dataset_cache="SimpleDatasetCache")      frames, in local_cache_path
    qlib.init(expression_cache="DiskExpressionCache")  series of ExpressionD, in <store>/features_cache
    qlib.init(calendar_cache="MemoryCalendarCache")    calendars of Cal, in memory

A cached answer is used while everything that it was computed from is the same (`frame_cache.py`). Files that Qlib
wrote into the same folders are never read: they are pickles, and do not say what they were made from.

A cache of one's own subclasses `DatasetCache` (`_dataset`) or `ExpressionCache` (`_expression`).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd

from qlib.config import Settings, active_settings
from qlib.data.calendar import Calendar, timestamp
from qlib.data.memory import H, MemCacheExpire
from qlib.data.provider.facade import Provider
from qlib.data.provider.frame_cache import FrameCache, fingerprint, read_frame
from qlib.data.provider.processed import processed
from qlib.data.storage.binary import read_bin, write_bin
from qlib.data.storage.cache_folder import CacheFolder
from qlib.errors import ConfigError, InputError, RunError, StoreError
from qlib.log import get_module_logger
from qlib.utils.locks import LockTimeout, locked, reading, writing
from qlib.utils.paths import instrument_folder, replace_file
from qlib.utils.text import hash_args


class QlibCacheException(RunError):  # noqa: N818  Qlib's name
    """A cache cannot be used now: its lock is held by somebody else."""


class CacheUtils:
    """Locks and visits of cached files; `redis_t`, which Qlib's locks lie in, may be None or a folder for ours."""

    LOCK_ID: ClassVar[str] = "QLIB"

    @staticmethod
    def organize_meta_file() -> None:
        """Nothing to do: there is no file about all files."""

    @staticmethod
    def reset_lock() -> None:
        """Nothing to do: the lock of a process that has died is free."""

    @staticmethod
    def visit(cache_path: str | Path) -> None:
        """Note that a cached file was used, so that it is not the next one to go; nothing where there is none."""
        path = Path(cache_path)
        if path.exists():
            path.touch()

    @staticmethod
    def acquire(lock: Any, lock_name: str) -> None:
        """Take a lock object of `filelock`; QlibCacheException where somebody else holds it."""
        from filelock import Timeout  # noqa: PLC0415  `import qlib` needs no lock

        try:
            lock.acquire()
        except Timeout:
            raise QlibCacheException(f"{lock_name}: somebody else holds this lock ({lock.lock_file})") from None

    @staticmethod
    def reader_lock(redis_t: Any, lock_name: str) -> Any:
        """Return a context that is held together with other readers of that name, and with no writer."""
        return reading(_lock_file(redis_t, lock_name))

    @staticmethod
    def writer_lock(redis_t: Any, lock_name: str) -> Any:
        """Return a context that one process holds alone."""
        return writing(_lock_file(redis_t, lock_name), purpose=lock_name)


def _lock_file(folder: Any, name: str) -> Path:
    own = folder if isinstance(folder, str | Path) else Path(active_settings()["local_cache_path"]) / "locks"
    return Path(own).expanduser() / f"{hash_args(CacheUtils.LOCK_ID, name)}.lock"


class BaseProviderCache:
    """A provider with a cache before it; what is not cached, the provider answers."""

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.logger = get_module_logger(type(self).__name__)

    def __getattr__(self, attr: str) -> Any:
        if attr.startswith("__") or attr == "provider":  # copy and pickle ask before there is one
            raise AttributeError(attr)
        return getattr(self.provider, attr)

    @staticmethod
    def check_cache_exists(cache_path: str | Path, suffix_list: Iterable[str] = (".index", ".meta")) -> bool:
        """Tell whether a file and its companions of these endings are all there."""
        path = Path(cache_path)
        return all(one.exists() for one in (path, *(path.with_suffix(ending) for ending in suffix_list)))

    @staticmethod
    def clear_cache(cache_path: str | Path) -> None:
        """Remove a file and its companions `.meta` and `.index`, if they are there."""
        path = Path(cache_path)
        for one in (path, path.with_suffix(".meta"), path.with_suffix(".index")):
            one.unlink(missing_ok=True)

    @staticmethod
    def get_cache_dir(dir_name: str, freq: str | None = None) -> Path:
        """Return the folder of that name beside the data of a frequency; it is made if need be."""
        return _made(active_settings().dpm.get_data_uri(freq) / dir_name)

    def _settings(self) -> Settings:
        behind = getattr(self.provider, "provider", None)
        return behind.settings if isinstance(behind, Provider) else active_settings()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _behind(cache: BaseProviderCache) -> Provider:
    """Return whose files a cache depends on; ConfigError for a provider of which nobody knows them."""
    behind = getattr(cache.provider, "provider", None)
    if not isinstance(behind, Provider):
        raise ConfigError(
            f"{type(cache).__name__}: received {type(cache.provider).__name__}; it knows what the package's own "
            "provider computed its answers from, and caches no other"
        )
    return behind


# ---------------------------------------------------------------------- frames
class DatasetCache(BaseProviderCache):
    """Caches what `D.features` answers; a subclass says how in `_dataset`."""

    HDF_KEY: ClassVar[str] = "df"

    def dataset(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        disk_cache: int = 1,
        inst_processors: Sequence[Any] = [],
    ) -> pd.DataFrame:
        """Return the frame: with `disk_cache` 0 computed, 1 from the cache if it is there, 2 computed and kept."""
        asked = (instruments, fields, start_time, end_time, freq)
        if disk_cache:
            try:
                return self._dataset(*asked, disk_cache, inst_processors=inst_processors)
            except NotImplementedError:
                pass  # this cache keeps no frames
        return self.provider.dataset(*asked, inst_processors=inst_processors)

    def _uri(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any,
        end_time: Any,
        freq: str,
        disk_cache: int = 1,
        inst_processors: Sequence[Any] = [],
        **kwargs: Any,
    ) -> str:
        """Return a name for what is asked."""
        raise NotImplementedError(f"{type(self).__name__} has no _uri")

    def _dataset(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        disk_cache: int = 1,
        inst_processors: Sequence[Any] = [],
    ) -> pd.DataFrame:
        """Return the frame, from the cache or computed and kept."""
        raise NotImplementedError(f"{type(self).__name__} has no _dataset")

    def _dataset_uri(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        disk_cache: int = 1,
        inst_processors: Sequence[Any] = [],
    ) -> str:
        """Return where the frame is kept, after computing it if need be."""
        raise NotImplementedError(f"{type(self).__name__} has no _dataset_uri")

    def update(self, cache_uri: str | Path, freq: str = "day") -> int:
        """Bring a kept frame up to date; 0: it is now, 1: it was, 2: it was damaged and is removed."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    @staticmethod
    def cache_to_origin_data(data: pd.DataFrame, fields: Sequence[Any]) -> pd.DataFrame:
        """Return a frame whose columns are texts without spaces, with the columns as they were typed, in that order."""
        wanted = [_plain(field) for field in fields]
        return data[wanted].set_axis([str(field) for field in fields], axis=1)

    @staticmethod
    def normalize_uri_args(instruments: Any, fields: Sequence[Any], freq: str) -> tuple[Any, list[str], str]:
        """Return what is asked in one spelling: names and fields sorted, each once, without spaces."""
        own = instruments if isinstance(instruments, Mapping) else sorted(set(instruments))
        return own, sorted({_plain(field) for field in fields}), str(freq).lower()


def _plain(field: Any) -> str:
    return "".join(str(field).split())


class _Frames(DatasetCache):
    """Frames in a folder of `CacheFolder` files."""

    keeps_by_time: ClassVar[bool] = True
    gigabytes: float = 20
    lock_seconds: float = 30

    def _folder(self, freq: str | None) -> Path:
        raise NotImplementedError

    def _frames(self, freq: str | None) -> FrameCache:
        return FrameCache(CacheFolder(self._folder(freq), gigabytes=self.gigabytes, lock_seconds=self.lock_seconds))

    def dataset(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        disk_cache: int = 1,
        inst_processors: Sequence[Any] = [],
        *,
        by_time: bool = False,
    ) -> pd.DataFrame:
        """Return the frame: with `disk_cache` 0 computed, 1 from the cache if it is there, 2 computed and kept.

        Processors are not part of what is kept: they run on it.
        """
        asked = (instruments, fields, start_time, end_time, freq)
        provider = _behind(self)
        if not disk_cache:
            return provider.computed(*asked, inst_processors, by_time=by_time)
        first = by_time and not inst_processors
        frame = self._frames(freq).features(provider, *asked, by_time=first, replace=disk_cache == 2)
        if not inst_processors:
            return frame
        frame = processed(frame, inst_processors)
        return frame.swaplevel().sort_index() if by_time else frame

    def _dataset(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        disk_cache: int = 1,
        inst_processors: Sequence[Any] = [],
    ) -> pd.DataFrame:
        return self.dataset(instruments, fields, start_time, end_time, freq, disk_cache, inst_processors)

    def _uri(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any,
        end_time: Any,
        freq: str,
        disk_cache: int = 1,
        inst_processors: Sequence[Any] = [],
        **kwargs: Any,
    ) -> str:
        return self._frames(freq).uri(instruments, fields, start_time, end_time, freq).stem

    def _dataset_uri(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        disk_cache: int = 1,
        inst_processors: Sequence[Any] = [],
    ) -> str:
        if inst_processors:
            raise InputError("inst_processors: what they make of a frame is not kept, so it has no file")
        asked = (instruments, fields, start_time, end_time, freq)
        path = self._frames(freq).uri(*asked)
        self.dataset(*asked, disk_cache or 1)
        if not path.exists():
            raise InputError(f"{path}: such an answer is not kept, see the warnings and docs/component/caches.md")
        return str(path)

    def update(self, cache_uri: str | Path, freq: str = "day") -> int:
        """Bring a kept frame up to date; 0: it is now, 1: it was, 2: it was damaged and is removed.

        `cache_uri` is a file of the folder, or its name. FileNotFoundError where there is none.
        """
        return self._frames(freq).update(_behind(self), Path(cache_uri).name.partition(".")[0])


class DiskDatasetCache(_Frames):
    """Keeps frames beside the data, in `<store>/<dataset_cache_dir_name>`.

    Parameters
    ----------
    provider
        A `LocalDatasetProvider`.
    gigabytes
        What the folder may take; what was used longest ago goes first.
    lock_seconds
        How long to wait for another process that writes.
    """

    def __init__(self, provider: Any, **kwargs: Any) -> None:
        super().__init__(provider)
        self.r = None  # Qlib's connection to redis
        self.remote = kwargs.get("remote", False)
        self.gigabytes = kwargs.get("gigabytes", self.gigabytes)
        self.lock_seconds = kwargs.get("lock_seconds", self.lock_seconds)

    def get_cache_dir(self, freq: str | None = None) -> Path:  # type: ignore[override]
        """Return the folder for a frequency; it is made if need be."""
        return _made(self._folder(freq))

    def _folder(self, freq: str | None) -> Path:
        settings = self._settings()
        stored = None if freq is None else _behind(self).store.stored_freq(freq)
        return settings.dpm.get_data_uri(stored) / settings["dataset_cache_dir_name"]

    @classmethod
    def read_data_from_cache(
        cls, cache_path: str | Path, start_time: Any, end_time: Any, fields: Sequence[Any]
    ) -> pd.DataFrame:
        """Return a kept frame (instrument, datetime), cut to a range and to fields; nobody asks whether it is old."""
        return read_frame(Path(cache_path), start_time, end_time, fields)

    def gen_dataset_cache(
        self,
        cache_path: str | Path,
        instruments: Any,
        fields: Sequence[Any],
        freq: str,
        inst_processors: Sequence[Any] = [],
    ) -> pd.DataFrame:
        """Compute a frame over the whole calendar, keep it in the file `cache_path` too, and return it."""
        kept = self._dataset_uri(instruments, fields, freq=freq, disk_cache=2, inst_processors=inst_processors)
        if Path(cache_path).resolve() != Path(kept).resolve():
            with Path(kept).open("rb") as source:
                replace_file(cache_path, lambda file: shutil.copyfileobj(source, file))
        return read_frame(Path(cache_path))

    class IndexManager:
        """Which rows of a frame, sorted by datetime, belong to each datetime: a file `<cache>.index` (Feather).

        >>> import tempfile
        >>> days = pd.to_datetime(["2024-01-01", "2024-01-01", "2024-01-02"])
        >>> frame = pd.DataFrame({"x": [1, 2, 3]}, pd.MultiIndex.from_arrays([days, list("ABA")]))
        >>> rows = DiskDatasetCache.IndexManager(tempfile.mkdtemp() + "/frame")
        >>> rows.update(rows.build_index_from_data(frame))
        >>> rows.get_index("2024-01-02").to_numpy().tolist()
        [[2, 3]]
        """

        KEY: ClassVar[str] = "df"

        def __init__(self, cache_path: str | Path) -> None:
            self.index_path = Path(cache_path).with_suffix(".index")
            self.logger = get_module_logger(type(self).__name__)
            self._data: pd.DataFrame | None = None

        def get_index(self, start_time: Any = None, end_time: Any = None) -> pd.DataFrame:
            """Return the columns start and end (half-open row numbers) of the datetimes inside a range."""
            if self._data is None:
                self.sync_from_disk()
            assert self._data is not None
            start, end = timestamp(start_time, "start_time"), timestamp(end_time, "end_time")
            return self._data.loc[start:end].copy()

        def sync_to_disk(self) -> None:
            """Write the file; ValueError where nothing was given yet."""
            if self._data is None:
                raise ValueError(f"{self.index_path}: there are no rows to write; call update first")
            table = self._data.rename_axis("datetime").reset_index()
            replace_file(self.index_path, table.to_feather)

        def sync_from_disk(self) -> None:
            """Read the file; StoreError where it is no such file."""
            try:
                table = pd.read_feather(self.index_path)
                self._data = table.set_index("datetime")[["start", "end"]]
            except (ValueError, KeyError, OSError) as error:
                if isinstance(error, FileNotFoundError):
                    raise
                raise StoreError(f"{self.index_path}: is damaged, or no index of rows ({error})") from None

        def update(self, data: pd.DataFrame, sync: bool = True) -> None:
            """Take rows in the place of those before."""
            self._data = data[["start", "end"]].astype(np.int32)
            if sync:
                self.sync_to_disk()

        def append_index(self, data: pd.DataFrame, to_disk: bool = True) -> None:
            """Add the rows of later datetimes."""
            if self._data is None:
                self.sync_from_disk()
            self.update(pd.concat([self._data, data]), sync=to_disk)

        @staticmethod
        def build_index_from_data(data: pd.DataFrame, start_index: int = 0) -> pd.DataFrame:
            """Return the columns start and end of a frame (datetime, ...) whose first row is number `start_index`."""
            times = data.index.get_level_values(0)
            if not times.is_monotonic_increasing:
                raise ValueError("data: its rows are not in order of time; sort_index() first")
            found, first = np.unique(times.to_numpy(), return_index=True)
            bounds = np.append(first, len(data)) + start_index
            index = pd.DatetimeIndex(found, name="datetime")
            return pd.DataFrame({"start": bounds[:-1], "end": bounds[1:]}, index, dtype=np.int64)


class SimpleDatasetCache(_Frames):
    """Keeps frames in `local_cache_path`: for a store that is not one's own to write in."""

    def __init__(self, provider: Any, **kwargs: Any) -> None:
        super().__init__(provider)
        self.local_cache_path = Path(self._settings()["local_cache_path"]).expanduser().resolve()
        self.gigabytes = kwargs.get("gigabytes", self.gigabytes)
        self.lock_seconds = kwargs.get("lock_seconds", self.lock_seconds)

    def _folder(self, freq: str | None) -> Path:  # noqa: ARG002  one folder for all
        store = hash_args(*sorted(self._settings()["provider_uri"].items()))
        return self.local_cache_path / store


class DatasetURICache(DatasetCache):
    """Reads frames through the file in which another cache keeps them; `provider` is a `DiskDatasetCache`."""

    def _uri(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any,
        end_time: Any,
        freq: str,
        disk_cache: int = 1,
        inst_processors: Sequence[Any] = [],
        **kwargs: Any,
    ) -> str:
        return self.provider._uri(instruments, fields, start_time, end_time, freq)  # noqa: SLF001  Qlib's hook

    def dataset(
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        disk_cache: int = 0,
        inst_processors: Sequence[Any] = [],
    ) -> pd.DataFrame:
        """Return the frame: with `disk_cache` from the file in which it is kept, else as the provider computes it."""
        asked = (instruments, fields, start_time, end_time, freq)
        if not disk_cache or inst_processors:
            return self.provider.dataset(*asked, disk_cache, inst_processors=inst_processors)
        path = self.provider._dataset_uri(*asked, disk_cache)  # noqa: SLF001  Qlib's hook
        return DiskDatasetCache.read_data_from_cache(path, start_time, end_time, fields)


# ---------------------------------------------------------------------- series
class ExpressionCache(BaseProviderCache):
    """Caches what `ExpressionD.expression` answers; a subclass says how in `_expression`."""

    def expression(self, instrument: str, field: Any, start_time: Any, end_time: Any, freq: str) -> pd.Series:
        """Return a formula over one instrument."""
        try:
            return self._expression(instrument, field, start_time, end_time, freq)
        except NotImplementedError:
            return self.provider.expression(instrument, field, start_time, end_time, freq)

    def _uri(self, instrument: str, field: Any, start_time: Any, end_time: Any, freq: str) -> str:
        raise NotImplementedError(f"{type(self).__name__} has no _uri")

    def _expression(self, instrument: str, field: Any, start_time: Any, end_time: Any, freq: str) -> pd.Series:
        raise NotImplementedError(f"{type(self).__name__} has no _expression")

    def update(self, cache_uri: str | Path, freq: str = "day") -> int:
        """Bring a kept series up to date; 0: it is now, 1: it was, 2: it was damaged and is removed."""
        raise NotImplementedError(f"{type(self).__name__} has no update")


_META: Final = ".json"


class DiskExpressionCache(ExpressionCache):
    """Keeps series beside the data, in `<store>/<features_cache_dir_name>/<instrument>/`.

    A file is a `.bin` of the store's own format over the whole calendar; `<file>.json` beside it says of what.  By
    Qlib's rules a value depends on where the query began, so with compat="qlib" nothing is kept, nor is a plain
    `$field`, or a series with rows left out.

    D.features does not read these files: computing a formula for one instrument takes less than looking up whether its
    file is good (docs/component/caches.md has the figures). They are for programs that share series as `.bin` files.
    """

    def __init__(self, provider: Any, **kwargs: Any) -> None:
        super().__init__(provider)
        self.r = None  # Qlib's connection to redis
        self.remote = kwargs.get("remote", False)

    def get_cache_dir(self, freq: str | None = None) -> Path:  # type: ignore[override]
        """Return the folder for a frequency; it is made if need be."""
        return _made(self._folder(freq))

    def _folder(self, freq: str | None) -> Path:
        settings = self._settings()
        stored = None if freq is None else _behind(self).store.stored_freq(freq)
        return settings.dpm.get_data_uri(stored) / settings["features_cache_dir_name"]

    def _uri(self, instrument: str, field: Any, start_time: Any, end_time: Any, freq: str) -> str:  # noqa: ARG002
        return hash_args(str(instrument).lower(), _plain(field), freq)

    def _expression(
        self, instrument: str, field: Any, start_time: Any = None, end_time: Any = None, freq: str = "day"
    ) -> pd.Series:
        provider = _behind(self)
        mark = None if _plain(field).lstrip("$").isidentifier() else _mark(provider, instrument, field, freq)
        if mark is None:
            return self.provider.expression(instrument, field, start_time, end_time, freq)
        path = self._folder(freq) / instrument_folder(instrument) / self._uri(instrument, field, None, None, freq)
        calendar = provider.locate(provider.store.stored_freq(freq))
        low, high = calendar.locate(start_time, end_time)
        if _kept(path).get("fingerprint") == mark:
            try:
                first, values = read_bin(path, low, high, len(calendar))
            except (FileNotFoundError, StoreError) as error:
                self.logger.warning(f"{error}; it is written anew")
            else:
                if len(values):
                    name = str(self.provider.get_expression_instance(field))
                    return pd.Series(np.array(values), pd.RangeIndex(first, first + len(values)), name=name)
        whole = self.provider.expression(instrument, field, None, None, freq)
        if not (len(whole) and isinstance(whole.index, pd.RangeIndex) and whole.dtype == np.float32):
            return self.provider.expression(instrument, field, start_time, end_time, freq)
        try:
            self._keep(whole, path, instrument, field, freq, str(calendar.index[-1]), mark)
        except (OSError, LockTimeout) as error:
            self.logger.warning(f"the answer is right, but was not kept in {path}: {error}")
        inside = whole.loc[low:high]
        return inside if len(inside) else self.provider.expression(instrument, field, start_time, end_time, freq)

    def gen_expression_cache(
        self,
        expression_data: pd.Series,
        cache_path: str | Path,
        instrument: str,
        field: Any,
        freq: str,
        last_update: Any,
    ) -> None:
        """Keep a series (index: calendar positions, without gaps) as the file `cache_path`, with what it is."""
        mark = _mark(_behind(self), instrument, field, freq)
        self._keep(expression_data, Path(cache_path), instrument, field, freq, str(last_update), mark)

    def _keep(
        self, series: pd.Series, path: Path, instrument: str, field: Any, freq: str, last_update: str, mark: str | None
    ) -> None:
        about = {
            "info": {"instrument": instrument, "field": str(field), "freq": freq, "last_update": last_update},
            "meta": {"last_visit": time.time(), "visits": 1},
            "fingerprint": mark,
        }
        with locked(path.parent / ".lock", purpose=f"writing {path.name}"):
            path.with_name(path.name + _META).unlink(missing_ok=True)  # until both are new there is none
            write_bin(path, int(series.index[0]), series.to_numpy(np.float32))
            replace_file(path.with_name(path.name + _META), lambda file: file.write(json.dumps(about).encode()))

    def update(self, sid: str, cache_uri: str | Path, freq: str = "day") -> int:  # type: ignore[override]
        """Bring the kept series of an instrument up to date; 0: it is now, 1: it was, 2: damaged and removed."""
        path = self._folder(freq) / instrument_folder(sid) / Path(cache_uri).name
        about = _kept(path)
        try:
            field, mark = about["info"]["field"], about["fingerprint"]
            read_bin(path)
        except (KeyError, TypeError, FileNotFoundError, StoreError):
            path.unlink(missing_ok=True)
            path.with_name(path.name + _META).unlink(missing_ok=True)
            return 2
        if mark is not None and mark == _mark(_behind(self), sid, field, freq):
            return 1
        path.with_name(path.name + _META).unlink(missing_ok=True)
        self._expression(sid, field, None, None, freq)
        return 0


def _mark(provider: Provider, instrument: str, field: Any, freq: str) -> str | None:
    query = provider.query([instrument], [field], None, None, freq)
    if query is None or query.plan.compat is not None:
        return None
    return fingerprint(provider, query)


def _kept(path: Path) -> dict[str, Any]:
    """Return what stands beside a series; nothing where it is not ours."""
    try:
        about = json.loads(path.with_name(path.name + _META).read_bytes())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


# ---------------------------------------------------------------------- calendars
class CalendarCache(BaseProviderCache):
    """A calendar provider with a cache before it."""


class MemoryCalendarCache(CalendarCache):
    """Keeps what `Cal.calendar` answered, in `H["c"]`, for `mem_cache_expire` seconds or until the calendar changes."""

    def calendar(
        self, start_time: Any = None, end_time: Any = None, freq: str = "day", future: bool = False
    ) -> np.ndarray:
        """Return the bars' times inside [start_time, end_time] as an object array of Timestamps."""
        key = (id(self.provider), str(start_time), str(end_time), freq, future)
        whole = getattr(self.provider, "_whole", None)
        source: Calendar | None = None if whole is None else whole(freq, future)
        known, expired = MemCacheExpire.get_cache(H["c"], key)
        if known is None or expired or known[0] is not source:
            known = source, self.provider.calendar(start_time, end_time, freq, future)
            MemCacheExpire.set_cache(H["c"], key, known)
        return known[1].copy()

"""Caches of what `D.features` answers: `DiskDatasetCache`, `SimpleDatasetCache`, and what one of your own fills in.

cache = DiskDatasetCache(provider)
cache.dataset(["SH600000"], ["$close"], "2020-01-01", "2020-12-31")     computed, and kept in the store's folder
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from qlib.data.provider.cache_base import BaseProviderCache, behind, made, plain
from qlib.data.provider.frame_cache import FrameCache, read_frame
from qlib.data.provider.frame_rows import IndexManager
from qlib.data.provider.processed import processed
from qlib.data.storage.cache_folder import CacheFolder
from qlib.errors import InputError
from qlib.utils.paths import replace_file
from qlib.utils.text import hash_args


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
        wanted = [plain(field) for field in fields]
        return data[wanted].set_axis([str(field) for field in fields], axis=1)

    @staticmethod
    def normalize_uri_args(instruments: Any, fields: Sequence[Any], freq: str) -> tuple[Any, list[str], str]:
        """Return what is asked in one spelling: names and fields sorted, each once, without spaces."""
        own = instruments if isinstance(instruments, Mapping) else sorted(set(instruments))
        return own, sorted({plain(field) for field in fields}), str(freq).lower()


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
        provider = behind(self)
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
        return self._frames(freq).update(behind(self), Path(cache_uri).name.partition(".")[0])


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
        return made(self._folder(freq))

    def _folder(self, freq: str | None) -> Path:
        settings = self._settings()
        stored = None if freq is None else behind(self).store.stored_freq(freq)
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

    IndexManager = IndexManager


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

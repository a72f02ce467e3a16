"""What Qlib's caches share: a provider behind them, a folder, and locks of files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from qlib.config import Settings, active_settings
from qlib.data.provider.facade import Provider
from qlib.errors import ConfigError, RunError
from qlib.log import get_module_logger
from qlib.utils.locks import reading, writing
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
        return made(active_settings().dpm.get_data_uri(freq) / dir_name)

    def _settings(self) -> Settings:
        own = getattr(self.provider, "provider", None)
        return own.settings if isinstance(own, Provider) else active_settings()


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def behind(cache: BaseProviderCache) -> Provider:
    """Return whose files a cache depends on; ConfigError for a provider of which nobody knows them."""
    own = getattr(cache.provider, "provider", None)
    if not isinstance(own, Provider):
        raise ConfigError(
            f"{type(cache).__name__}: received {type(cache.provider).__name__}; it knows what the package's own "
            "provider computed its answers from, and caches no other"
        )
    return own


def plain(field: Any) -> str:
    """Return a formula as text without spaces."""
    return "".join(str(field).split())

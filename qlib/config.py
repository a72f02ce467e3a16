"""Settings: what `qlib.init` was told, every other key at its default.

    Region            what a market's country decides: lot, price limit, sessions, length of a year
    REGIONS           the four presets: cn, us, tw, crypto (add your own, or pass a Region to qlib.init)
    Settings          one immutable, picklable table of values; `replace` gives a changed copy
    build_settings    defaults + environment + region + keyword arguments -> Settings, checked
    C                 Qlib's global: a view on the Settings of the live session, by item and by attribute

`C["region"]` is the region's name, as in Qlib; `active_settings().region` is the Region itself.
Values have this order of precedence: keyword argument, region preset, environment (QLIB_PROVIDER_URI, QLIB_MLFLOW_URI,
QLIB_MLFLOW_DEFAULT_EXP_NAME), mode ("client" or "server"), default.
"""

from __future__ import annotations

import copy
import logging
import numbers
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from qlib.constant import REG_CN, REG_CRYPTO, REG_TW, REG_US, SESSIONS
from qlib.errors import ConfigError, InputError, did_you_mean
from qlib.log import DEFAULT_LOGGING_CONFIG, get_module_logger
from qlib.utils.barsize import parse_size

PROTOCOL_VERSION: Final = 4
COMPAT: Final = (None, "qlib")
DISK_DATASET_CACHE: Final = "DiskDatasetCache"
SIMPLE_DATASET_CACHE: Final = "SimpleDatasetCache"
DISK_EXPRESSION_CACHE: Final = "DiskExpressionCache"
DEPENDENCY_REDIS_CACHE: Final = (DISK_DATASET_CACHE, DISK_EXPRESSION_CACHE)


def usable_cpus() -> int:
    """CPUs this process may run on (a container's limit counts, where the system tells it)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


NUM_USABLE_CPU: Final = max(usable_cpus() - 2, 1)


@dataclass(frozen=True, slots=True)
class Region:
    """What the market's region decides.

    Parameters
    ----------
    trade_unit
        Shares in a lot; None means any amount may be traded.
    limit_threshold
        Daily move (0.095 is 9.5 %) from which an instrument cannot be bought or sold; None means no limit.
    days_per_year, minutes_per_day
        Length of a year in trading days and of a day in trading minutes; annualised figures use them.
    sessions
        Opening and closing times (HH:MM, closing excluded) of a day, in the market's own clock.
    always_open
        True for a market without closing hours: its grid of bars starts at midnight and has no gaps.
    """

    name: str
    trade_unit: int | None
    limit_threshold: float | None
    deal_price: str
    days_per_year: float
    minutes_per_day: int
    sessions: tuple[tuple[str, str], ...]
    benchmark: str | None
    always_open: bool = False


REGIONS: dict[str, Region] = {
    region.name: region
    for region in (
        Region(REG_CN, 100, 0.095, "close", 238, 240, SESSIONS[REG_CN], "SH000300"),
        Region(REG_US, 1, None, "close", 252, 390, SESSIONS[REG_US], "^gspc"),
        Region(REG_TW, 1000, 0.1, "close", 245, 270, SESSIONS[REG_TW], None),
        Region(REG_CRYPTO, None, None, "close", 365, 1440, SESSIONS[REG_CRYPTO], None, always_open=True),
    )
}

REGION_KEYS: Final = ("trade_unit", "limit_threshold", "deal_price")

MODE_CONF: dict[str, dict[str, Any]] = {
    "client": {"provider_uri": "~/.qlib/qlib_data/cn_data", "region": REG_CN, "auto_mount": False, "mount_path": None},
    "server": {"provider_uri": "", "region": REG_CN, "auto_mount": False, "mount_path": None},
}

HIGH_FREQ_CONFIG: dict[str, Any] = {
    "provider_uri": "~/.qlib/qlib_data/cn_data_1min",
    "dataset_cache": None,
    "expression_cache": DISK_EXPRESSION_CACHE,
    "region": REG_CN,
}

# Keys that exist in Qlib but have no value until somebody gives one.
UNSET_KEYS: Final = ("flask_server", "flask_port", "file_manager_path", "qlib_reset_version")


class MLflowSettings:
    """Where runs are kept when nothing else is said: QLIB_MLFLOW_URI, QLIB_MLFLOW_DEFAULT_EXP_NAME.

    Without them, the folder `mlruns` of the working directory and the experiment "Experiment".
    """

    default_exp_name: str = "Experiment"

    def __init__(
        self,
        uri: str | None = None,
        default_exp_name: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._uri = uri or environ.get("QLIB_MLFLOW_URI")
        self._cwd = cwd
        self.default_exp_name = default_exp_name or environ.get("QLIB_MLFLOW_DEFAULT_EXP_NAME", self.default_exp_name)

    @property
    def uri(self) -> str:
        """Where runs are kept; see `qlib.workflow.store`."""
        return self._uri or ((self._cwd or Path.cwd()).resolve() / "mlruns").as_uri()


class QSettings:
    """What the environment says, read when it is made: QLIB_PROVIDER_URI and the settings of `mlflow`.

    >>> QSettings(environ={"QLIB_PROVIDER_URI": "/data", "QLIB_MLFLOW_URI": "http://host:5000"}).mlflow.uri
    'http://host:5000'
    """

    mlflow: MLflowSettings = MLflowSettings(environ={})
    provider_uri: str = ""
    model_config: Mapping[str, str] = {"env_prefix": "QLIB_", "env_nested_delimiter": "_"}

    def __init__(
        self,
        mlflow: MLflowSettings | None = None,
        provider_uri: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self.mlflow = MLflowSettings(environ=environ, cwd=cwd) if mlflow is None else mlflow
        self.provider_uri = environ.get("QLIB_PROVIDER_URI", "") if provider_uri is None else provider_uri


QSETTINGS: Final = QSettings()


def default_values(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> dict[str, Any]:
    """Return a fresh table of every key at its default, environment variables applied."""
    environ = os.environ if environ is None else environ
    told = QSettings(environ=environ, cwd=cwd)
    return {
        "calendar_provider": "LocalCalendarProvider",
        "instrument_provider": "LocalInstrumentProvider",
        "feature_provider": "LocalFeatureProvider",
        "pit_provider": "LocalPITProvider",
        "expression_provider": "LocalExpressionProvider",
        "dataset_provider": "LocalDatasetProvider",
        "provider": "LocalProvider",
        "provider_uri": told.provider_uri,
        "data": None,
        "mount_path": None,
        "auto_mount": False,
        "region": REG_CN,
        "expression_cache": None,
        "dataset_cache": None,
        "calendar_cache": None,
        "local_cache_path": "~/.cache/qlib_simple_cache",
        "kernels": NUM_USABLE_CPU,
        "dump_protocol_version": PROTOCOL_VERSION,
        "maxtasksperchild": None,
        "joblib_backend": "multiprocessing",
        "default_disk_cache": 1,
        "mem_cache_size_limit": 500,
        "mem_cache_limit_type": "length",
        "mem_cache_expire": 3600,
        "dataset_cache_dir_name": "dataset_cache",
        "features_cache_dir_name": "features_cache",
        "redis_host": "127.0.0.1",
        "redis_port": 6379,
        "redis_task_db": 1,
        "redis_password": None,
        "logging_level": logging.INFO,
        "logging_config": copy.deepcopy(dict(DEFAULT_LOGGING_CONFIG)),
        "exp_manager": {
            "class": "MLflowExpManager",
            "module_path": "qlib.workflow.expm",
            "kwargs": {
                "uri": told.mlflow.uri,
                "default_exp_name": told.mlflow.default_exp_name,
            },
        },
        "pit_record_type": {"date": "I", "period": "I", "value": "d", "index": "I"},
        "pit_record_nan": {"date": 0, "period": 0, "value": float("nan"), "index": 0xFFFFFFFF},
        "mongo": {"task_url": "mongodb://localhost:27017/", "task_db_name": "default_task_db"},
        "min_data_shift": 0,
        "timeout": 100,
        "custom_ops": [],
        "compat": None,
    }


def _known_keys() -> tuple[str, ...]:
    return (*default_values({}), *REGION_KEYS, *UNSET_KEYS)


class DataPathManager:
    """Where the data of a frequency lie.

    Parameters
    ----------
    provider_uri
        A path, or a dict frequency -> path; a single path is kept under the key `DEFAULT_FREQ`.
    mount_path
        Where `host:/path` uris are mounted: a path, or a dict frequency -> path.
    """

    LOCAL_URI: Final = "local"
    NFS_URI: Final = "nfs"
    DEFAULT_FREQ: Final = "__DEFAULT_FREQ"

    def __init__(self, provider_uri: Any, mount_path: Any = None) -> None:
        self.provider_uri = self.format_provider_uri(provider_uri)
        self.mount_path = mount_path if isinstance(mount_path, dict) else dict.fromkeys(self.provider_uri, mount_path)

    @staticmethod
    def format_provider_uri(provider_uri: Any) -> dict[str, str]:
        """Return the uris by frequency, local ones with `~` expanded and made absolute."""
        uris = provider_uri if isinstance(provider_uri, Mapping) else {DataPathManager.DEFAULT_FREQ: provider_uri}
        for freq, uri in uris.items():
            if not isinstance(uri, str | os.PathLike):
                raise ConfigError(
                    f"provider_uri: received {uri!r} ({type(uri).__name__}){_of(freq)}; a path, or a dict "
                    "frequency -> path such as {'day': '~/store/day', '1min': '~/store/1min'}, is allowed"
                )
        local = DataPathManager.LOCAL_URI
        return {
            str(freq): str(Path(uri).expanduser().resolve())
            if str(uri) and DataPathManager.get_uri_type(uri) == local
            else str(uri)
            for freq, uri in uris.items()
        }

    @staticmethod
    def get_uri_type(uri: str | os.PathLike[str]) -> str:
        """Return "nfs" for `host:/path`, "local" for anything else (a drive letter is local)."""
        drive = re.match(r"^[A-Za-z]:[\\/]", str(uri))
        return (
            DataPathManager.NFS_URI if not drive and re.match(r"^[^/\\]+:.+", str(uri)) else DataPathManager.LOCAL_URI
        )

    def _key(self, freq: Any) -> str:
        """Return the key of a frequency, recognised by meaning ("4h" is "240min"), or the default one."""
        if freq is None or str(freq) in self.provider_uri:
            return self.DEFAULT_FREQ if freq is None else str(freq)
        named = (key for key in self.provider_uri if key != self.DEFAULT_FREQ)
        return next((key for key in named if _same_size(key, freq)), self.DEFAULT_FREQ)

    def get_data_uri(self, freq: Any = None) -> Path:
        """Return the folder that holds `freq` (None means the default folder).

        Raises ConfigError, which lists the frequencies that have a folder, when there is none.
        """
        key = self._key(freq)
        if key not in self.provider_uri:
            raise ConfigError(
                f"provider_uri names no folder for freq {freq!r}; it has folders for {sorted(self.provider_uri)}"
            )
        uri = self.provider_uri[key]
        if self.get_uri_type(uri) == self.LOCAL_URI:
            return Path(uri)
        mounted = self.mount_path.get(key)
        if mounted is None:
            raise ConfigError(
                f"provider_uri {uri} is on another host: mount it and pass mount_path=<where it is mounted>"
            )
        return Path(mounted).expanduser()


def _same_size(key: str, freq: Any) -> bool:
    try:
        return parse_size(key) == parse_size(str(freq))
    except InputError:  # a key may be any text: it is then found as it is written
        return False


_Paths = DataPathManager  # QlibConfig has an attribute of that name, as in Qlib


def _of(freq: str) -> str:
    return "" if freq == DataPathManager.DEFAULT_FREQ else f" for freq {freq}"


class Settings(Mapping[str, Any]):
    """An immutable table of every key; picklable, so a worker process can be given the same settings.

    >>> s = build_settings(region="us")
    >>> s["region"], s.region.days_per_year, s.trade_unit
    ('us', 252, 1)
    >>> s.replace(trade_unit=10)["trade_unit"], s["trade_unit"]
    (10, 1)
    """

    __slots__ = ("_dpm", "_region", "_values")
    _dpm: DataPathManager | None
    _region: Region | None
    _values: dict[str, Any]

    def __init__(self, values: Mapping[str, Any]) -> None:
        table = dict(values)
        region = table.get("region")
        if isinstance(region, Region):
            table["region"] = region.name
        else:
            region = REGIONS.get(region) if isinstance(region, str) else None
        object.__setattr__(self, "_values", table)
        object.__setattr__(self, "_region", region)
        object.__setattr__(self, "_dpm", None)

    @property
    def region(self) -> Region:
        """The region itself; its name is under the key "region"."""
        if self._region is None:
            raise _unknown_region(self._values.get("region"))
        return self._region

    @property
    def n_threads(self) -> int:
        """Threads that computing and reading may use: `kernels`, never more than the CPUs there are."""
        return self.threads("day")

    def threads(self, freq: str) -> int:
        """Like `n_threads` where `kernels` depends on the frequency."""
        kernels = self._values["kernels"]
        return max(1, min(int(kernels(freq) if callable(kernels) else kernels), usable_cpus()))

    @property
    def dpm(self) -> DataPathManager:
        """Where the data lie, by frequency."""
        if self._dpm is None:
            object.__setattr__(self, "_dpm", DataPathManager(self._values["provider_uri"], self._values["mount_path"]))
        assert self._dpm is not None
        return self._dpm

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with `changes`; the values are checked, and a new region brings its own defaults."""
        values = self._values | {"region": self._region or self._values.get("region")}
        if "region" in changes:
            values |= _region_values(changes["region"])
        if "provider_uri" in changes:
            values["data"] = None
        _refuse_two_places(changes)
        return Settings(_checked(values | changes))

    def __getitem__(self, key: str) -> Any:
        try:
            return self._values[key]
        except KeyError:
            raise KeyError(f"no setting is called {key}{did_you_mean(key, self._values)}") from None

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):  # copy and pickle ask before the slots are filled
            raise AttributeError(key)
        try:
            return self._values[key]
        except KeyError:
            raise AttributeError(f"no setting is called {key}{did_you_mean(key, self._values)}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(f"Settings cannot be changed; use settings.replace({key}=...)")

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> tuple[type[Settings], tuple[dict[str, Any]]]:
        return Settings, (self._values | {"region": self._region or self._values.get("region")},)

    def __repr__(self) -> str:
        shown = {key: self._values.get(key) for key in ("provider_uri", "region", "compat", "kernels")}
        return f"Settings({', '.join(f'{key}={value!r}' for key, value in shown.items())}, ...)"


def _unknown_region(name: Any) -> ConfigError:
    hint = did_you_mean(str(name), REGIONS)
    return ConfigError(f"region: received {name!r}; allowed are {', '.join(REGIONS)}, or a qlib.config.Region{hint}")


def _region_values(region: Any) -> dict[str, Any]:
    if not isinstance(region, Region):
        if not isinstance(region, str) or region not in REGIONS:
            raise _unknown_region(region)
        region = REGIONS[region]
    return {"region": region} | {key: getattr(region, key) for key in REGION_KEYS}


def _refuse_two_places(given: Mapping[str, Any]) -> None:
    if given.get("data") is not None and given.get("provider_uri"):
        raise ConfigError("data and provider_uri: received both; one is allowed, frames or the folder of a store")


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """Return `values` with the paths resolved; raise ConfigError for a value no room could use."""
    if values.get("compat") not in COMPAT:
        raise ConfigError(f"compat: received {values['compat']!r}; allowed are None (the right numbers) and 'qlib'")
    kernels = values.get("kernels")
    if kernels is None:
        values["kernels"] = NUM_USABLE_CPU
    elif not callable(kernels) and (
        isinstance(kernels, bool) or not isinstance(kernels, numbers.Integral) or kernels < 1
    ):
        raise ConfigError(
            f"kernels: received {kernels!r}; a whole number of at least 1, or a callable(freq), is allowed"
        )
    if values.get("data") is not None:
        values["provider_uri"] = {}
    if "provider_uri" in values:
        values["provider_uri"] = DataPathManager.format_provider_uri(values["provider_uri"])
    return values


def build_settings(
    default_conf: str = "client", *, environ: Mapping[str, str] | None = None, **kwargs: Any
) -> Settings:
    """Return the settings of `qlib.init(default_conf, **kwargs)`.

    A key Qlib does not know is kept with a warning that names the nearest known one. Raises ConfigError for an
    unknown mode or region, and for values that cannot be used.
    """
    if default_conf not in MODE_CONF:
        raise ConfigError(
            f"default_conf: received {default_conf!r}; allowed are {', '.join(MODE_CONF)}"
            f"{did_you_mean(str(default_conf), MODE_CONF)}"
        )
    defaults = default_values(environ)
    values = defaults | MODE_CONF[default_conf]
    if defaults["provider_uri"]:
        values["provider_uri"] = defaults["provider_uri"]
    _refuse_two_places(kwargs)
    region = kwargs.pop("region", None)
    values |= _region_values(values["region"] if region is None else region)
    known = _known_keys()
    for key in kwargs:
        if key not in known:
            get_module_logger("config").warning(f"Unrecognized config {key}{did_you_mean(key, known)}")
    return Settings(_checked(values | kwargs))


class Config:
    """A changeable table over Settings: items, attributes, `get`, `in`, `update`, `reset`."""

    def __init__(self, default_conf: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        make = default_conf if callable(default_conf) else lambda: copy.deepcopy(dict(default_conf))
        object.__setattr__(self, "_make", make)
        object.__setattr__(self, "_holder", SimpleNamespace(settings=None))

    @property
    def settings(self) -> Settings:
        """The Settings behind this view, made on first use."""
        holder = object.__getattribute__(self, "_holder")
        if holder.settings is None:
            made = object.__getattribute__(self, "_make")()
            holder.settings = made if isinstance(made, Settings) else Settings(made)
        return holder.settings

    def _put(self, settings: Settings) -> None:
        object.__getattribute__(self, "_holder").settings = settings

    def __getitem__(self, key: str) -> Any:
        return self.settings[key]

    def __getattr__(self, attr: str) -> Any:
        if attr.startswith("__"):
            raise AttributeError(attr)
        if attr == "region":
            return self.settings["region"]
        return getattr(self.settings, attr)

    def get(self, key: str, default: Any = None) -> Any:
        return self.settings.get(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __setattr__(self, attr: str, value: Any) -> None:
        self.update({attr: value})

    def __contains__(self, item: str) -> bool:
        return item in self.settings

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)

    def keys(self) -> Iterable[str]:
        return self.settings.keys()

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Change values like `dict.update`; a changed region brings its lot, limit and deal price."""
        self._put(self.settings.replace(**dict(*args, **kwargs)))

    def reset(self) -> None:
        """Go back to the defaults."""
        made = object.__getattribute__(self, "_make")()
        self._put(made if isinstance(made, Settings) else Settings(made))

    def set_conf_from_C(self, config_c: Config | Settings) -> None:
        """Take every value of another configuration."""
        self._put(config_c.settings if isinstance(config_c, Config) else config_c)

    @staticmethod
    def register_from_C(config: Config | Settings, skip_register: bool = True) -> None:
        """Make this process's `C` equal to `config`: what a worker does with the configuration of its parent.

        With `skip_register` a process that is initialised already keeps what it has.
        """
        if C.registered and skip_register:
            return
        C.set_conf_from_C(config)
        C.register()

    def __getstate__(self) -> Settings:
        return self.settings

    def __setstate__(self, state: Settings) -> None:
        object.__setattr__(self, "_make", build_settings)
        object.__setattr__(self, "_holder", SimpleNamespace(settings=state))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings!r})"


class QlibConfig(Config):
    """Qlib's global configuration: a view on the live session's Settings, or on the defaults before `qlib.init`."""

    LOCAL_URI = DataPathManager.LOCAL_URI
    NFS_URI = DataPathManager.NFS_URI
    DEFAULT_FREQ = DataPathManager.DEFAULT_FREQ
    DataPathManager = DataPathManager

    def follow(self, holder: Any) -> Any:
        """Show `holder.settings` from now on (None: the defaults) and return what was followed before."""
        before = object.__getattribute__(self, "_holder")
        object.__setattr__(self, "_holder", SimpleNamespace(settings=None) if holder is None else holder)
        return before

    @property
    def followed(self) -> Any:
        """Whose settings are shown: the live session, or a plain holder before `qlib.init`."""
        return object.__getattribute__(self, "_holder")

    @property
    def registered(self) -> bool:
        """True between `qlib.init` and the end of its session."""
        return not isinstance(self.followed, SimpleNamespace)

    @property
    def dpm(self) -> _Paths:
        return self.settings.dpm

    def set_mode(self, mode: str) -> None:
        """Take the values of "client" or "server"."""
        if mode not in MODE_CONF:
            raise ConfigError(
                f"mode: received {mode!r}; allowed are {', '.join(MODE_CONF)}{did_you_mean(mode, MODE_CONF)}"
            )
        self.update(MODE_CONF[mode])

    def set_region(self, region: str | Region) -> None:
        """Take the lot, price limit and deal price of a region."""
        self.update(region=region)

    @staticmethod
    def is_depend_redis(cache_name: str) -> bool:
        return cache_name in DEPENDENCY_REDIS_CACHE

    def resolve_path(self) -> None:
        """Expand and resolve the paths; they always are, so this only checks them."""
        self._put(self.settings.replace())

    def set(self, default_conf: str = "client", **kwargs: Any) -> None:
        """Start again from the defaults with `kwargs`, as `qlib.init` does."""
        self._put(build_settings(default_conf, **kwargs))

    def register(self) -> None:
        """Build a session from these settings and make it the live one."""
        if _register is None:
            raise RuntimeError("C.register needs the package door: import qlib first")
        _register(self.settings)

    def reset_qlib_version(self) -> None:
        """Nothing to do: this package has one version."""

    def get_kernels(self, freq: str) -> int:
        """Return `kernels` as it was given, or what the callable says for `freq`."""
        kernels = self["kernels"]
        return kernels(freq) if callable(kernels) else kernels


_register: Callable[[Settings], Any] | None = None


def on_register(build_session: Callable[[Settings], Any]) -> None:
    """Say how settings become the live session; the package door does this, because session is upstairs."""
    global _register  # noqa: PLW0603  the one joint between this floor and the composition root
    _register = build_session


C = QlibConfig(build_settings)


def active_settings() -> Settings:
    """Return the settings of the live session, or the defaults before `qlib.init`."""
    return C.settings

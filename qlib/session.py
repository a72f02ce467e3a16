"""The composition root: the one room that knows all others, builds them from Settings and swaps them.

    session = Session(build_settings(provider_uri=..., region="cn"))     nothing global has changed
    session.provider.features(["SH600000"], ["$close"])                  so two sessions can live side by side
    session.activate()                                                   now D, C and R are this session's

`qlib.init` is `Session(build_settings(...)).activate()`. The recorder is built on first use: a price needs none.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from qlib.config import C, Settings, build_settings
from qlib.data.active import D
from qlib.data.expression.catalogue import Operators, OpsWrapper
from qlib.data.expression.explain import Explanation
from qlib.data.expression.explain import explain as explain_by
from qlib.data.memory import H
from qlib.data.provider import Provider
from qlib.data.provider.parts import provider_class
from qlib.data.storage.frames import Frames
from qlib.errors import ConfigError, did_you_mean
from qlib.log import get_module_logger, set_log_with_config
from qlib.utils.objects import init_instance_by_config
from qlib.workflow import QlibRecorder, R

logger = get_module_logger("Initialization")


class Session:
    """What belongs together: settings, the operators of formulas, the provider of data, the recorder of experiments."""

    def __init__(self, settings: Settings) -> None:
        settings = self._settings = _with_frames(settings)
        self.operators = OpsWrapper()
        self.operators.register(settings["custom_ops"])
        self.provider = provider_class(settings, Provider)(settings, self.operators.registry)

    @cached_property
    def recorder(self) -> QlibRecorder:
        """What `R` is; building it touches no database."""
        return QlibRecorder(init_instance_by_config(self._settings["exp_manager"]))

    @property
    def settings(self) -> Settings:
        """The settings; putting others in (as `C["kernels"] = 4` does) makes the parts follow."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = _with_frames(settings)
        self.provider.settings = self._settings

    def activate(self) -> Session:
        """Make `D`, `C` and `R` this session's, and return it.

        Raises RecorderInitializationError while an experiment of the former session is running.
        """
        R.put(self.recorder)
        C.follow(self)
        D.put(self.provider)
        Operators.follow(self.operators)
        return self

    @staticmethod
    def active() -> Session | None:
        """Return the live session, None before `qlib.init`."""
        return C.followed if isinstance(C.followed, Session) else None

    def __repr__(self) -> str:
        return f"<Session {self._settings!r}>"


def _with_frames(settings: Settings) -> Settings:
    """Return settings whose frames, if any, are looked at once for all that use them."""
    data = settings["data"]
    return settings if data is None or isinstance(data, Frames) else settings.replace(data=Frames.of(data))


def close() -> None:
    """Leave the live session: `D` and `R` are empty and `C` shows the defaults, as before `qlib.init`."""
    R.put(None)
    C.follow(None)
    D.put(None)
    Operators.follow(None)


def init(default_conf: str = "client", **kwargs: Any) -> None:
    """Configure qlib: build a session and make it the live one.

    Parameters
    ----------
    default_conf
        "client" or "server".
    skip_if_reg
        Do nothing where qlib is initialised already (default False).
    clear_mem_cache
        Whether `qlib.data.cache.H`, the cache in memory for users' own code, is emptied (default True). A session
        itself remembers nothing of another one.
    **kwargs
        Settings (see `qlib.config`): `provider_uri` (folder of a store, or a dict frequency -> folder), `region`
        ("cn", "us", "tw", "crypto" or a `qlib.config.Region`), `data` (frames of your own instead of a store:
        {frequency: frame} or `qlib.data.Frames`), `compat` (None, or "qlib" for Qlib's own numbers),
        `kernels`, `exp_manager`, `logging_level`, ...

    Raises
    ------
    ConfigError
        A value that cannot be used; the message says which are allowed. A key that is not known is only warned of.
    """
    skip_if_reg = kwargs.pop("skip_if_reg", False)
    clear = kwargs.pop("clear_mem_cache", True)
    if skip_if_reg and C.registered:
        logger.info("qlib is initialised already; nothing changed (skip_if_reg)")
        return
    settings = build_settings(default_conf, **kwargs)
    _start_log(settings)
    settings = Session(settings).activate().settings
    H.follow(settings)
    if clear:
        H.clear()
    place = ", ".join(settings["provider_uri"].values()) or repr(settings["data"])
    logger.info(f"qlib is ready: region {settings['region']}, data in {place}")
    for uri in settings["provider_uri"].values():
        if settings.dpm.get_uri_type(uri) == settings.dpm.LOCAL_URI and not Path(uri).is_dir():
            logger.warning(
                f"provider_uri: there is no folder {uri} yet; `python scripts/get_data.py sample` writes one"
            )


def explain(fields: str | Sequence[object], *, compat: str | None = None, detail: bool = False) -> Explanation:
    """Return what `D.features` does for some formulas, as text: see `qlib.data.expression.explain`.

    Needs no data.  Operators are those of the live session, the package's before `qlib.init`.

    Parameters
    ----------
    fields
        Formulas, as texts or objects, or a single one.
    compat
        "qlib" for Qlib's own numbers; None for the rules of the live session.
    detail
        Whether the instructions follow, by the names of the kernels that run.
    """
    session = Session.active()
    rules = session.settings["compat"] if session is not None and compat is None else compat
    return explain_by(fields, compat=rules, registry=Operators.registry, detail=detail)


def _start_log(settings: Settings) -> None:
    config = settings["logging_config"]
    if config:
        set_log_with_config(config)
        level = settings["logging_level"]
        logging.getLogger("qlib").setLevel(level)


def init_from_yaml_conf(conf_path: str | Path | None, **kwargs: Any) -> None:
    """Configure qlib from a YAML file of settings, `kwargs` on top; `default_conf` in it names the mode."""
    settings = {} if conf_path is None else _yaml(Path(conf_path))
    settings = dict(settings) | kwargs
    init(settings.pop("default_conf", "client"), **settings)


def get_project_path(config_name: str = "config.yaml", cur_path: str | Path | None = None) -> Path:
    """Return the nearest folder, from `cur_path` upwards, that holds `config_name`.

    Raises FileNotFoundError where none does.
    """
    here = Path.cwd() if cur_path is None else Path(cur_path).resolve()
    for folder in (here, *here.parents):
        if (folder / config_name).exists():
            return folder
    raise FileNotFoundError(f"no {config_name} in {here} or above it")


def auto_init(**kwargs: Any) -> None:
    """Configure qlib from the project's `config.yaml`, or from `kwargs` alone where there is none.

    The file either is a table of settings (`conf_type: origin`, the default), or refers to one (`conf_type: ref`):
    `qlib_cfg` is its path, `qlib_cfg_update` what is changed. An initialised qlib is left alone unless
    `skip_if_reg=False`. `cur_path` is where the search for the file begins.
    """
    kwargs.setdefault("skip_if_reg", True)
    try:
        folder = get_project_path(cur_path=kwargs.pop("cur_path", None))
    except FileNotFoundError:
        init(**kwargs)
        return
    path = folder / "config.yaml"
    conf = _yaml(path)
    kind = conf.get("conf_type", "origin")
    if kind == "origin":
        own = {key: value for key, value in conf.items() if key not in ("conf_type", "exp_name", "exp_path")}
        init_from_yaml_conf(None, **{**own, **kwargs})
    elif kind == "ref":
        if "qlib_cfg" not in conf:
            raise ConfigError(f"{path}: conf_type is ref, but qlib_cfg, the path of the settings, is absent")
        init_from_yaml_conf(folder / conf["qlib_cfg"], **{**(conf.get("qlib_cfg_update") or {}), **kwargs})
    else:
        raise ConfigError(
            f"{path}: conf_type: received {kind!r}; allowed are origin and ref"
            f"{did_you_mean(str(kind), ['origin', 'ref'])}"
        )


def _yaml(path: Path) -> Mapping[str, Any]:
    import yaml  # noqa: PLC0415  `import qlib` loads no YAML reader

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML ({error})") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a table of settings is expected, received {type(content).__name__}")
    return content

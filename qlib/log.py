"""Logging: one logger tree called `qlib`, and a stopwatch that writes to it.

    get_module_logger("data")       a logger named qlib.data
    set_log_with_config(config)     what `qlib.init(logging_config=...)` does
    with TimeInspector.logt("fit"): ...     writes how long the block took

Nothing is configured at import: before `qlib.init` Python's own rule holds (warnings and worse go to stderr).
"""

from __future__ import annotations

import logging
import logging.config
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, ClassVar

ROOT = "qlib"

DEFAULT_LOGGING_CONFIG: Mapping[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "filters": {"field_not_found": {"()": "qlib.log.LogFilter", "param": [".*?WARN: data not found for.*?"]}},
    "handlers": {
        "console": {
            "class": "qlib.log.ConsoleHandler",
            "level": logging.DEBUG,
            "formatter": "line",
            "filters": ["field_not_found"],
        }
    },
    "loggers": {ROOT: {"level": logging.DEBUG, "handlers": ["console"], "propagate": False}},
}


class ConsoleHandler(logging.StreamHandler):
    """Writes to whatever `sys.stderr` is at the moment (notebooks and tests change it)."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


class MetaLogger(type):
    """Gives a class the constants and documentation of `logging.Logger`, so that a wrapper reads like one."""

    def __new__(mcs, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> MetaLogger:
        inherited = {key: value for key, value in logging.Logger.__dict__.items() if key == "__doc__"}
        return super().__new__(mcs, name, bases, inherited | members)


class QlibLogger(metaclass=MetaLogger):
    """A handle on the logger `module_name`, looked up at every call: it survives re-configuration and pickling."""

    def __init__(self, module_name: str) -> None:
        self.__dict__["module_name"] = module_name

    @property
    def logger(self) -> logging.Logger:
        return logging.getLogger(self.__dict__["module_name"])

    def setLevel(self, level: int | str) -> None:
        self.logger.setLevel(level)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle ask for these before __init__ ran
            raise AttributeError(name)
        return getattr(self.logger, name)


def get_module_logger(module_name: str, level: int | str | None = None) -> QlibLogger:
    """Return the logger `qlib.<module_name>`; `level`, if given, is set on it.

    >>> get_module_logger("data").name
    'qlib.data'
    """
    inside = module_name == ROOT or module_name.startswith(ROOT + ".")
    logger = QlibLogger(module_name if inside else f"{ROOT}.{module_name}")
    if level is not None:
        logger.setLevel(level)
    return logger


class LogFilter(logging.Filter):
    """Drops records whose message matches one of the regular expressions in `param` (a text or a list of them)."""

    def __init__(self, param: str | list[str] | None = None) -> None:
        super().__init__()
        self.param = param

    @staticmethod
    def match_msg(filter_str: str, msg: str) -> bool:
        return re.match(filter_str, msg) is not None

    def filter(self, record: logging.LogRecord) -> bool:
        patterns = [self.param] if isinstance(self.param, str) else self.param or []
        return not any(self.match_msg(pattern, record.getMessage()) for pattern in patterns)


def set_log_with_config(log_config: Mapping[str, Any]) -> None:
    """Apply a `logging.config.dictConfig` dictionary; an empty one changes nothing."""
    if log_config:
        logging.config.dictConfig(dict(log_config))


def set_global_logger_level(
    level: int | str, return_orig_handler_level: bool = False
) -> dict[logging.Handler, int] | None:
    """Set the level of every handler of the `qlib` logger; return the former ones if asked."""
    handlers = logging.getLogger(ROOT).handlers
    before = {handler: handler.level for handler in handlers}
    for handler in handlers:
        handler.setLevel(level)
    return before if return_orig_handler_level else None


@contextmanager
def set_global_logger_level_cm(level: int | str) -> Iterator[None]:
    """Like `set_global_logger_level` for the length of a `with` block."""
    before = set_global_logger_level(level, return_orig_handler_level=True)
    try:
        yield
    finally:
        for handler, former in (before or {}).items():
            handler.setLevel(former)


class TimeInspector:
    """A stack of time marks; durations go to the logger `qlib.timer`."""

    timer_logger = get_module_logger("timer")
    time_marks: ClassVar[list[float]] = []

    @classmethod
    def set_time_mark(cls) -> float:
        """Push the present moment (seconds of a monotonic clock) and return it."""
        mark = perf_counter()
        cls.time_marks.append(mark)
        return mark

    @classmethod
    def pop_time_mark(cls) -> float:
        return cls.time_marks.pop()

    @classmethod
    def get_cost_time(cls) -> float:
        """Seconds since the last mark, which is removed."""
        return perf_counter() - cls.time_marks.pop()

    @classmethod
    def log_cost_time(cls, info: str = "Done") -> None:
        """Log the seconds since the last mark, which is removed."""
        cls.timer_logger.info(f"Time cost: {cls.get_cost_time():.3f}s | {info}")

    @classmethod
    @contextmanager
    def logt(cls, name: str = "", show_start: bool = False) -> Iterator[None]:
        """Log how long the `with` block took, also when it raises."""
        if show_start:
            cls.timer_logger.info(f"{name} begins")
        cls.set_time_mark()
        try:
            yield
        finally:
            cls.log_cost_time(f"{name} done" if name else "Done")

"""Everything that is wrong with a configuration, at once, before anything is run or written.

    problems = check_config(config, runs="mlruns")        [] when it is fine
    print(*problems, sep="\n")                            task.model.kwargs.num_leavse: LGBModel takes no argument ...

    shape         the tables and keys that a configuration is made of
    objects.py    every class can be imported, every argument fits its signature
    times.py      dates are dates, in order, inside the calendar of the store
    data.py       the store, the market, the benchmark and every field are there
    units.py      costs and limits are shares, accounts are money, a year has so many bars
    gaps.py       a warning: labels of the training segment that reach into the next one
    holes.py      a warning: bars of a segment that nobody has, a benchmark that begins later

Each check adds what it finds and lets the next one go on; a check that needs what another found wrong is left out.
Python files that the configuration names are imported; of the data single bars are read at most, and nothing is
written.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from qlib.cli.checks.data import data_problems
from qlib.cli.checks.gaps import gap_warnings, horizon_of
from qlib.cli.checks.holes import hole_warnings
from qlib.cli.checks.objects import object_problems
from qlib.cli.checks.problem import Problem
from qlib.cli.checks.times import time_problems
from qlib.cli.checks.units import unit_problems, unit_warnings
from qlib.config import REGION_KEYS, UNSET_KEYS, Settings, build_settings, default_values
from qlib.data.provider import Provider
from qlib.data.storage.frames import Frames
from qlib.errors import ConfigError, InputError, did_you_mean
from qlib.log import set_global_logger_level_cm
from qlib.utils.nested import fill_placeholder, placeholders
from qlib.workflow.expm import MLflowExpManager
from qlib.workflow.store import place_of, readable_reason, unwritable_reason
from qlib.workflow.train import LATER, TASK_KEYS

CONFIG_KEYS: Final = ("qlib_init", "task", "experiment_name", "sys", "BASE_CONFIG_PATH")
INIT_KEYS: Final = ("default_conf", "skip_if_reg", "clear_mem_cache")


class ConfigProblemsError(ConfigError):
    """A configuration with one problem or more; `problems` lists them."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{name} has {count}:", *(f"  {problem}" for problem in problems)]))
        self.name, self.problems = name, problems

    def __reduce__(self) -> tuple[type, tuple[str, list[Problem]]]:
        return type(self), (self.name, self.problems)


def check_config(config: Mapping[str, Any], runs: str | Path = "mlruns") -> list[Problem]:
    """Return every problem of a configuration as `read_config` gives it; `runs` is the folder or uri of the runs."""
    problems = _shape_problems(config)
    settings, found = _settings(config.get("qlib_init"))
    problems += found + _place_problems(config.get("qlib_init"), runs)
    task = config.get("task")
    if not isinstance(task, Mapping):
        return problems
    problems += [
        Problem(f"task.{where}", f"{text} is no path inside the task; known besides are {', '.join(LATER)}"
                f"{did_you_mean(text, LATER)}")
        for where, text in placeholders(_filled(task, dict.fromkeys(LATER, "")))
    ]  # fmt: skip
    whole = _filled(task, {text: text for text in LATER})
    problems += object_problems(whole)
    provider = None if settings is None else Provider(settings)
    problems += time_problems(whole, provider)
    if provider is not None and settings is not None:
        problems += data_problems(whole, provider)
        problems += unit_problems(whole, settings)
    return list(dict.fromkeys(problems))


def config_warnings(config: Mapping[str, Any]) -> list[Problem]:
    """Return what is doubtful in a configuration without problems; it runs all the same."""
    settings, _ = _settings(config.get("qlib_init"))
    whole = _filled(config["task"], {text: text for text in LATER})
    if settings is None:
        return []
    provider = Provider(settings)
    with set_global_logger_level_cm(logging.ERROR):  # what is missing is told here, once
        horizon = horizon_of(whole, provider)
        warned = [*unit_warnings(whole, settings, horizon), *gap_warnings(whole, provider, horizon)]
        return [*warned, *hole_warnings(whole, provider)]


def _filled(task: Mapping[str, Any], values: Mapping[str, str]) -> Any:
    """Fill placeholders; one that leads nowhere is a problem here, and no line of the log."""
    with set_global_logger_level_cm(logging.WARNING):
        return fill_placeholder(task, values)


def _shape_problems(config: Mapping[str, Any]) -> list[Problem]:
    problems = []
    if "task" not in config:
        hint = next((h for key in config if (h := did_you_mean(str(key), ["task"]))), "")
        problems.append(Problem("task", f"missing; received the keys {', '.join(map(str, config)) or '(none)'}{hint}"))
    elif not isinstance(config["task"], Mapping):
        problems.append(Problem("task", f"a table is needed; received {config['task']!r}"))
    else:
        task = config["task"]
        for key in ("model", "dataset"):
            if key not in task:
                hint = next((h for k in task if k not in TASK_KEYS and (h := did_you_mean(str(k), [key]))), "")
                problems.append(
                    Problem(f"task.{key}", f"missing; received {', '.join(map(str, task)) or 'nothing'}{hint}")
                )
        problems += [
            Problem(f"task.{key}", f"a task has no such part{hint}")
            for key in task
            if key not in TASK_KEYS and (hint := did_you_mean(str(key), [k for k in TASK_KEYS if k not in task]))
        ]
    name = config.get("experiment_name", "")
    if not isinstance(name, str):
        problems.append(Problem("experiment_name", f"a text is needed; received {name!r}"))
    if "task" in config:
        problems += [
            Problem(str(key), f"a configuration has no such key{hint}")
            for key in config
            if key not in CONFIG_KEYS and (hint := did_you_mean(str(key), [k for k in CONFIG_KEYS if k not in config]))
        ]
    return problems


def _settings(init: Any) -> tuple[Settings | None, list[Problem]]:
    """Return the settings that `qlib_init` means (None if they cannot be built) and what is wrong with it."""
    if init is None:
        init = {}
    if not isinstance(init, Mapping):
        return None, [Problem("qlib_init", f"a table is needed; received {init!r}")]
    known = [*default_values(), *REGION_KEYS, *UNSET_KEYS, *INIT_KEYS]
    problems = [
        Problem(f"qlib_init.{key}", f"qlib.init takes no argument {key}{hint}")
        for key in init
        if key not in known and (hint := did_you_mean(str(key), known))
    ]
    given = {key: value for key, value in init.items() if key in known and key not in INIT_KEYS}
    try:
        settings = build_settings(init.get("default_conf", "client"), **given)
        if settings["data"] is not None:
            settings = settings.replace(data=Frames.of(settings["data"]))
        return settings, problems
    except InputError as error:
        return None, [*problems, Problem("qlib_init", str(error))]


def _place_problems(init: Any, runs: str | Path) -> list[Problem]:
    """Return why runs could not be kept, as far as this can be known without writing."""
    manager = init.get("exp_manager") if isinstance(init, Mapping) else None
    uri = runs
    if isinstance(manager, Mapping):
        if not str(manager.get("class", "")).endswith(MLflowExpManager.__name__):
            return []  # its own business
        uri = (manager.get("kwargs") or {}).get("uri", runs)
    try:
        place = place_of(uri)
    except InputError as error:
        return [Problem("uri_folder", str(error))]
    if place.folder is None or place.database is None:
        return []
    reason = unwritable_reason(place.folder) or readable_reason(place.database)
    return [] if reason is None else [Problem("uri_folder", f"runs cannot be kept in {place.folder}: {reason}")]

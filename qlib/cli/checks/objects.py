"""Every class of a task can be imported, and every argument fits its signature."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from qlib.backtest import backtest, get_exchange
from qlib.backtest.exchange import Exchange
from qlib.cli.checks.problem import Problem, is_instance_config
from qlib.contrib.data.handler import FIT_WINDOW
from qlib.data.dataset import DatasetH
from qlib.errors import InputError, did_you_mean
from qlib.utils.objects import (
    CONFIG_KEYS,
    FILE_PREFIX,
    accepted_arguments,
    argument_problems,
    get_callable_kwargs,
    init_instance_by_config,
)
from qlib.workflow.record_temp import PortAnaRecord, SignalRecord
from qlib.workflow.train import RECORD_MODULE

PROCESSORS: Final = "qlib.data.dataset.processor"
LOADERS: Final = "qlib.data.dataset.loader"

# Where a name without a module is looked up, by the key under which it stands.
DEFAULT_MODULES: Final[dict[str, str]] = {
    "record": RECORD_MODULE,
    "data_loader": LOADERS,
    "infer_processors": PROCESSORS,
    "learn_processors": PROCESSORS,
    "shared_processors": PROCESSORS,
}
FITTED: Final = ("infer_processors", "learn_processors")  # a handler that takes a fit window hands it to these
GIVEN_TO_RECORDS: Final = ("recorder", "model", "dataset")
OWN_MODELS: Final = "qlib.contrib.model."
NEEDED_OBJECTS: Final = ("model", "dataset")


def object_problems(task: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the classes and arguments of a task."""
    problems: list[Problem] = []
    with _no_bytecode():
        for key in NEEDED_OBJECTS:
            if key in task and not is_instance_config(task[key]):
                _check_object(task[key], f"task.{key}", key, problems)
        _walk(task, "task", "", problems)
        problems += _segment_problems(task)
        if not any(problem.where.startswith("task.model") for problem in problems):
            problems += _model_problems(task.get("model"))
    return problems


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """Importing a user's module would write a cache beside it; a check writes nothing."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _walk(node: Any, where: str, key: str, problems: list[Problem], handed: tuple[str, ...] = ()) -> None:
    """Check `node`, which stands under `key` (for a list: the key of the list), and everything inside it.

    `handed` are arguments that the object around `node` adds to it.
    """
    if isinstance(node, list | tuple):
        for place, value in enumerate(node):
            _walk(value, f"{where}.{place}", key, problems, handed)
        return
    if isinstance(node, str):
        if key in DEFAULT_MODULES and not node.startswith("<"):
            _check_object(node, where, key, problems, handed)
        elif node.startswith(FILE_PREFIX):
            _check_file(node, where, problems)
        return
    if not isinstance(node, Mapping):
        return
    if is_instance_config(node):
        window = _check_object(node, where, key, problems, handed)
        for name, value in (node.get("kwargs") or {}).items() if isinstance(node.get("kwargs"), Mapping) else ():
            _walk(value, f"{where}.kwargs.{name}", str(name), problems, window if name in FITTED else ())
        node = {name: value for name, value in node.items() if name != "kwargs"}
    elif key == "record" and where.count(".") <= 2:
        _check_object(node, where, key, problems)
    for name, value in node.items():
        _walk(value, f"{where}.{name}", str(name), problems)


def _check_file(uri: str, where: str, problems: list[Problem]) -> None:
    path = uri.removeprefix(FILE_PREFIX)
    try:
        with open(path, "rb"):  # noqa: PTH123  the text may be any
            pass
    except OSError as error:
        problems.append(Problem(where, f"{uri} cannot be read: {error.strerror}"))


def _check_object(
    config: Any, where: str, key: str, problems: list[Problem], handed: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Check one configuration; return the fit window that the object hands on to its processors."""
    if isinstance(config, Mapping):
        problems += [
            Problem(f"{where}.{name}", f"the configuration of an object has no key {name}{hint}")
            for name in config
            if name not in CONFIG_KEYS and (hint := did_you_mean(str(name), CONFIG_KEYS))
        ]
    function = resolve(config, key, where, problems)
    if function is None:
        return ()
    kwargs = config.get("kwargs") or {} if isinstance(config, Mapping) else {}
    takes = accepted_arguments(function)
    given = tuple(name for name in handed if name in takes.names and name not in kwargs)
    if key == "record":
        given = tuple(name for name in GIVEN_TO_RECORDS if takes.anything or name in takes.names)
    problems += [Problem(f"{where}.kwargs", text) for text in argument_problems(function, kwargs, given)]
    if isinstance(function, type) and issubclass(function, PortAnaRecord):
        _check_portfolio(function, kwargs, f"{where}.kwargs", problems)
    return tuple(name for name in FIT_WINDOW if name in takes.names and kwargs.get(name) is not None)


def resolve(config: Any, key: str, where: str, problems: list[Problem]) -> Callable[..., Any] | None:
    """Return the class or function that a configuration under `key` names; None, and a problem, if there is none."""
    try:
        return get_callable_kwargs(config, DEFAULT_MODULES.get(key))[0]
    except InputError as error:
        problems.append(Problem(where, str(error)))
    except Exception as error:  # a module of the user's may raise anything while it is imported
        problems.append(Problem(where, f"importing it raises {type(error).__name__}: {error}"))
    return None


def _check_portfolio(record: type, kwargs: Mapping[str, Any], where: str, problems: list[Problem]) -> None:
    """Check what a backtest is given: the parts of the config, the arguments of backtest and exchange."""
    config = kwargs.get("config")
    if config is not None and not isinstance(config, Mapping):
        problems.append(Problem(f"{where}.config", f"a table is needed; received {config!r}"))
        return
    arguments = (config or {}).get("backtest")
    if arguments is not None and not isinstance(arguments, Mapping):
        problems.append(Problem(f"{where}.config.backtest", f"a table is needed; received {arguments!r}"))
        return
    filled = ("start_time", "end_time", "strategy", "executor")
    found = argument_problems(backtest, arguments or {}, filled)
    exchange = (arguments or {}).get("exchange_kwargs")
    if exchange is not None and not isinstance(exchange, Mapping):
        found.append(f"exchange_kwargs: a table is needed; received {exchange!r}")
    elif exchange:
        known = {*accepted_arguments(get_exchange).names, *accepted_arguments(Exchange).names, *Exchange.known_kwargs()}
        known.discard("kwargs")
        for name in exchange:
            if name not in known:
                nearest = did_you_mean(str(name), known) or f"; allowed are {', '.join(sorted(known))}"
                found.append(f"exchange_kwargs: Exchange takes no argument {name}{nearest}")
    problems += [Problem(f"{where}.config.backtest", text) for text in found]
    if found or any(problem.where.startswith(where) for problem in problems):
        return
    try:
        record(None, **{k: v for k, v in kwargs.items() if k not in GIVEN_TO_RECORDS})
    except InputError as error:
        problems.append(Problem(where, str(error)))


def _model_problems(config: Any) -> list[Problem]:
    """Return the value that one of our own models cannot be made with; a network, or a user's class, is not made."""
    function = resolve(config, "model", "task.model", []) if is_instance_config(config) else None
    name = getattr(function, "__module__", "")
    if not name.startswith(OWN_MODELS) or "torch" in name:
        return []
    try:
        init_instance_by_config(config)
    except InputError as error:
        return [Problem("task.model.kwargs", str(error))]
    except Exception:  # noqa: BLE001  what only a run can find out, the run says in its stage `model`
        return []
    return []


def _segment_problems(task: Mapping[str, Any]) -> list[Problem]:
    """Return what the records and the model will look for in vain among the segments."""
    dataset = task.get("dataset")
    if not is_instance_config(dataset):
        return []
    assert isinstance(dataset, Mapping)
    function = resolve(dataset, "dataset", "task.dataset", [])
    segments = (dataset.get("kwargs") or {}).get("segments")
    if not (isinstance(function, type) and issubclass(function, DatasetH) and isinstance(segments, Mapping)):
        return []
    where, there = "task.dataset.kwargs.segments", ", ".join(map(str, segments)) or "none"
    problems = []
    if "train" not in segments:
        problems.append(
            Problem(where, f"no segment train to learn from; there are {there}{did_you_mean('train', segments)}")
        )
    records = task.get("record") or []
    for record in records if isinstance(records, list | tuple) else [records]:
        made = resolve(record, "record", "", [])
        if made is SignalRecord and "test" not in segments:
            text = f"no segment test for SignalRecord to predict; there are {there}{did_you_mean('test', segments)}"
            problems.append(Problem(where, text))
    return problems


def quiet_instance(config: Mapping[str, Any], **kwargs: Any) -> Any:
    """Return the object of a configuration with other arguments; None if it cannot be built."""
    changed = dict(config) | {"kwargs": {**(config.get("kwargs") or {}), **kwargs}}
    return init_instance_by_config(changed)

"""A configuration -> the object it describes: the whole plug-in system.

    {"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt", "kwargs": {"num_leaves": 210}}
    {"class": "qlib.contrib.model.gbdt.LGBModel"}      "qlib.contrib.model.gbdt.LGBModel"
    {"func": "make", "module_path": "folder/mine.py"}   "file://handler.pkl"

`get_callable_kwargs` finds the class or function, `bind_arguments` asks its signature whether the arguments fit, and
only then `init_instance_by_config` calls it: once, so an error inside a constructor is shown as it is. Every complaint
says what was received, what is allowed and the nearest right spelling.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import linecache
import pkgutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final
from urllib.parse import unquote, urlparse

from qlib.errors import ConfigError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.pickle_utils import restricted_pickle_load
from qlib.utils.spec import is_spec, read_spec

NAME_KEYS: Final = ("class", "func")
CONFIG_KEYS: Final = (*NAME_KEYS, "module_path", "kwargs")
FILE_PREFIX: Final = "file://"
PIP_NAMES: Final = {"torch": "qlib-crypto[torch]", "gymnasium": "qlib-crypto[rl]", "cvxpy": "qlib-crypto[portfolio]"}


class UnknownModuleError(ConfigError, ModuleNotFoundError):
    """`module_path` names no module that can be imported."""


class UnknownNameError(ConfigError, AttributeError):
    """The module has no class or function of that name."""


class WrongArgumentsError(ConfigError, TypeError):
    """The arguments do not fit the signature."""


# ------------------------------------------------------------------------------------------------------------- modules
def get_module_by_module_path(module_path: str | ModuleType) -> ModuleType:
    """Return the module of a dotted name or of a `.py` file. Raises UnknownModuleError."""
    if isinstance(module_path, ModuleType):
        return module_path
    if not isinstance(module_path, str) or not module_path:
        message = (
            f"a module is missing: received {module_path!r}; write module_path, or the class as 'package.module.Name'"
        )
        raise UnknownModuleError(message)
    if module_path.endswith(".py"):
        return _module_of_file(Path(module_path))
    try:
        return importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        raise _unknown_module(module_path, error) from error


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        message = f"module_path {path}: there is no such file (looked from {Path.cwd()})"
        raise UnknownModuleError(message)
    whole = str(path.resolve())
    name = f"{path.stem}_{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    known = sys.modules.get(name)
    stamp = path.stat().st_mtime_ns
    if known is not None and getattr(known, "__stamp__", None) == stamp:
        return known
    spec = importlib.util.spec_from_file_location(name, whole)
    if spec is None or spec.loader is None:
        message = f"module_path {path}: Python cannot load this file as a module"
        raise UnknownModuleError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: pickling its classes looks them up here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    module.__dict__["__stamp__"] = stamp
    return module


def _unknown_module(module_path: str, error: ModuleNotFoundError) -> UnknownModuleError:
    absent = error.name or ""
    if absent and module_path != absent and not module_path.startswith(absent + "."):
        package = absent.split(".")[0]
        return UnknownModuleError(
            f'{module_path} needs {package}, which is not installed: pip install "{PIP_NAMES.get(package, package)}"'
        )
    parent, _, name = absent.rpartition(".")
    siblings: list[str] = []
    if parent and (package_of := sys.modules.get(parent)) is not None:
        siblings = [info.name for info in pkgutil.iter_modules(getattr(package_of, "__path__", []))]
    elif not parent:
        siblings = [info.name for info in pkgutil.iter_modules()]
    hint = did_you_mean(name or absent, siblings).replace(
        "did you mean ", f"did you mean {parent}." if parent else "did you mean "
    )
    return UnknownModuleError(f"no module is called {absent or module_path} (module_path {module_path}){hint}")


def split_module_path(module_path: str) -> tuple[str, str]:
    """Return ("a.b", "C") for "a.b.C"; the first is empty when there is no dot."""
    module, _, name = module_path.rpartition(".")
    return module, name


def find_all_classes(module_path: str | ModuleType, cls: type) -> list[type]:
    """Return every class below `cls` (itself included) that a module, or a package with all its modules, can name."""
    found: dict[type, None] = {}

    def walk(module: ModuleType) -> None:
        for member in vars(module).values():
            if isinstance(member, type) and issubclass(member, cls):
                found[member] = None
        for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
            walk(get_module_by_module_path(f"{module.__name__}.{info.name}"))

    walk(get_module_by_module_path(module_path))
    return list(found)


# ----------------------------------------------------------------------------------------------------------- signatures
@dataclass(frozen=True, slots=True)
class Arguments:
    """What a callable takes by keyword: `names`, those it `required`, and whether it takes `anything` besides."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    anything: bool


def accepted_arguments(function: Callable[..., Any]) -> Arguments:
    """Return what `function` takes by keyword.

    A class whose `__init__` only hands its `**kwargs` on to `super().__init__` takes what its base takes.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return Arguments((), (), anything=True)
    if isinstance(function, type) and isinstance(function.__init__, FunctionType):  # type: ignore[misc]
        return _of_class(function, function.__mro__)
    return _of_parameters(signature.parameters.values())


def _of_parameters(parameters: Iterable[inspect.Parameter]) -> Arguments:
    by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return Arguments(
        tuple(p.name for p in by_name),
        tuple(p.name for p in by_name if p.default is p.empty),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def _of_class(cls: type, mro: tuple[type, ...]) -> Arguments:
    owner = next((i for i, base in enumerate(mro) if "__init__" in vars(base)), len(mro) - 1)
    init = vars(mro[owner])["__init__"]
    if mro[owner] is object or not isinstance(init, FunctionType):
        return Arguments((), (), anything=mro[owner] is not object)
    own = _of_parameters(list(inspect.signature(init).parameters.values())[1:])
    if not own.anything or (handed := _handed_to_base(init)) is None:
        return own
    base = _of_class(cls, mro[owner + 1 :])
    by_position, by_name = handed
    taken = {*base.names[:by_position], *by_name, *own.names}
    return Arguments(
        own.names + tuple(name for name in base.names if name not in taken),
        own.required + tuple(name for name in base.required if name not in taken),
        base.anything,
    )


@cache
def _handed_to_base(init: FunctionType) -> tuple[int, tuple[str, ...]] | None:
    """Return (count by position, names) that go to `super().__init__` with `**kwargs`; None if kwargs do more."""
    kwargs_name = next(p.name for p in inspect.signature(init).parameters.values() if p.kind is p.VAR_KEYWORD)
    try:
        tree = _tree(init)
    except (OSError, SyntaxError):
        return None
    if sum(isinstance(node, ast.Name) and node.id == kwargs_name for node in ast.walk(tree)) != 1:
        return None
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "__init__"):
            continue
        of = node.func.value
        if not (isinstance(of, ast.Call) and isinstance(of.func, ast.Name) and of.func.id == "super"):
            continue
        spread = [k.value for k in node.keywords if k.arg is None]
        if any(isinstance(value, ast.Name) and value.id == kwargs_name for value in spread):
            if any(isinstance(arg, ast.Starred) for arg in node.args) or len(spread) > 1:
                return None
            return len(node.args), tuple(k.arg for k in node.keywords if k.arg is not None)
    return None


def _tree(function: FunctionType) -> ast.Module:
    """Parse a function's text, by the lines that its code knows: `inspect.getsource` reads it token by token."""
    code = inspect.unwrap(function).__code__
    linecache.checkcache(code.co_filename)
    last = max((end for _, end, _, _ in code.co_positions() if end is not None), default=0)
    lines = linecache.getlines(code.co_filename, function.__globals__)[code.co_firstlineno - 1 : last]
    with contextlib.suppress(SyntaxError):  # it ends inside a function of its own: positions do not tell where
        if lines:
            return ast.parse(textwrap.dedent("".join(lines)))
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def argument_problems(function: Callable[..., Any], received: Iterable[str], provided: Iterable[str] = ()) -> list[str]:
    """Return one sentence per argument name that does not fit; `provided` are names that the caller will add.

    A class that takes `**kwargs` for another library may have a classmethod `known_kwargs()` naming what that library
    knows: a name that is none of them, but nearly one, is then reported too.
    """
    arguments = accepted_arguments(function)
    title = getattr(function, "__qualname__", None) or repr(function)
    received = [str(name) for name in received]
    problems = []
    known: set[str] | None = None
    for name in received:
        if name in arguments.names:
            continue
        if not arguments.anything:
            nearest = did_you_mean(name, arguments.names)
            allowed = f"; allowed are {', '.join(arguments.names)}" if arguments.names else "; it takes none"
            problems.append(f"{title} takes no argument {name}{nearest or allowed}")
            continue
        if known is None:
            known = set(function.known_kwargs()) if hasattr(function, "known_kwargs") else set()
        if known and name not in known and (nearest := did_you_mean(name, [*known, *arguments.names])):
            problems.append(f"{title} takes no argument {name}{nearest}")
    given = {*received, *provided}
    for name in arguments.required:
        if name not in given:
            typed = did_you_mean(name, [n for n in received if n not in arguments.names])
            meant = typed.replace("did you mean", "is it what is meant by") if typed and arguments.anything else ""
            problems.append(f"{title} needs the argument {name}{meant}")
    return problems


def bind_arguments(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    """Raise WrongArgumentsError, naming everything that does not fit, unless `function(**kwargs)` can be called."""
    problems = argument_problems(function, kwargs)
    if problems:
        raise WrongArgumentsError("; ".join(problems))


def auto_filter_kwargs(func: Callable[..., Any], warning: bool = True) -> Callable[..., Any]:
    """Return `func` in a coat that drops keyword arguments it does not take (with a line in the log, if `warning`)."""
    arguments = accepted_arguments(func)

    @wraps(func)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        kept = {name: value for name, value in kwargs.items() if arguments.anything or name in arguments.names}
        if warning and len(kept) < len(kwargs):
            dropped = ", ".join(name for name in kwargs if name not in kept)
            get_module_logger("utils").warning(f"{func.__qualname__} takes no {dropped}: ignored")
        return func(*args, **kept)

    return filtered


# -------------------------------------------------------------------------------------------------------------- objects
def get_callable_kwargs(
    config: Mapping[str, Any] | str | Path, default_module: str | ModuleType | None = None
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return (class or function, keyword arguments) of a configuration.

    Raises UnknownModuleError, UnknownNameError or ConfigError.
    """
    if isinstance(config, Mapping):
        key = next((key for key in NAME_KEYS if key in config), None)
        if key is None:
            hint = next((h for k in config if (h := did_you_mean(str(k), NAME_KEYS))), "")
            keys = ", ".join(map(str, config)) or "(none)"
            message = f"a configuration needs the key class or func; received the keys {keys}{hint}"
            raise ConfigError(message)
        named, module, kwargs = config[key], config.get("module_path"), config.get("kwargs")
        if kwargs is not None and not isinstance(kwargs, Mapping):
            message = (
                f"kwargs of {named} must be a table of names and values; received {type(kwargs).__name__} {kwargs!r}"
            )
            raise ConfigError(message)
        arguments = {} if kwargs is None else dict(kwargs)
    elif isinstance(config, str | Path):
        named, module, arguments = str(config), None, {}
    else:
        allowed = "a table, a text 'package.module.Name' or a file"
        message = f"a configuration is {allowed}; received {type(config).__name__} {config!r}"
        raise ConfigError(message)
    if not isinstance(named, str):
        if callable(named):
            return named, arguments
        message = f"class must be a name or a class; received {type(named).__name__} {named!r}"
        raise ConfigError(message)
    inside, name = split_module_path(named)
    source = get_module_by_module_path(inside or module or default_module)  # type: ignore[arg-type]
    found = getattr(source, name, None)
    if found is None:
        public = [n for n, member in vars(source).items() if callable(member) and not n.startswith("_")]
        raise UnknownNameError(f"{source.__name__} has no class or function {name}{did_you_mean(name, public)}")
    if not callable(found):
        raise UnknownNameError(f"{source.__name__}.{name} is a {type(found).__name__}, not a class or function")
    return found, arguments


get_cls_kwargs = get_callable_kwargs


def init_instance_by_config(
    config: Any,
    default_module: str | ModuleType | None = None,
    accept_types: type | tuple[type, ...] = (),
    try_kwargs: Mapping[str, Any] = {},
    **kwargs: Any,
) -> Any:
    """Return the object that `config` describes.

    Parameters
    ----------
    config
        A table (see the module's opening), a text "package.module.Name", a path or "file://..." of a saved object (a
        folder, or a pickle: read by the restricted unpickler), or an instance of `accept_types`, which is returned as
        it is.
    default_module
        Where a name without a module is looked up.
    try_kwargs
        Arguments given only if the class takes them and `config` does not hold them already.
    kwargs
        Arguments given in any case.

    Raises ConfigError (UnknownModuleError, UnknownNameError, WrongArgumentsError); what the constructor itself raises
    passes through unchanged.
    """
    if accept_types and isinstance(config, accept_types):
        return config
    path = _file_of(config)
    if path is not None:
        if is_spec(path):
            return read_spec(path)
        try:
            with path.open("rb") as file:
                return restricted_pickle_load(file)
        except FileNotFoundError:
            message = f"{config}: there is no file {path} (looked from {Path.cwd()})"
            raise ConfigError(message) from None
    function, arguments = get_callable_kwargs(config, default_module)
    twice = sorted(set(arguments) & set(kwargs))
    if twice:
        message = (
            f"{', '.join(twice)}: given by the program itself; take it out of the kwargs of {function.__qualname__}"
        )
        raise WrongArgumentsError(message)
    accepted = accepted_arguments(function)
    offered = {
        name: value
        for name, value in try_kwargs.items()
        if (accepted.anything or name in accepted.names) and name not in arguments and name not in kwargs
    }
    arguments |= offered | kwargs
    bind_arguments(function, arguments)
    return function(**arguments)


def _file_of(config: Any) -> Path | None:
    if isinstance(config, Path):
        return config.expanduser()
    if isinstance(config, str) and config.startswith(FILE_PREFIX):
        parts = urlparse(config)
        return Path(unquote(parts.netloc + parts.path)).expanduser()
    return None


@contextlib.contextmanager
def class_casting(obj: object, cls: type) -> Iterator[object]:
    """Treat `obj` as an instance of `cls` for the length of a `with` block."""
    before = obj.__class__
    obj.__class__ = cls
    try:
        yield obj
    finally:
        obj.__class__ = before

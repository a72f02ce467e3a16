"""Which code a piece of work runs: the sources of the modules it names, of those they import, and so on.

    sources_of(["qlib.contrib.model.gbdt", "mine/model.py"])      {"/.../gbdt.py": "1c9f...", ...}
    modules_of(task["model"])                                     ["qlib.contrib.model.gbdt"]

Imports are read from the text, wherever in a module they stand; nothing is imported. Followed are this package and what
lies outside of the installed packages; an installed package counts by its version (`versions`), a compiled module by
its bytes. A module that is chosen while the program runs is not seen here: `loaded_between` says which those were.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import platform
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from qlib.utils.paths import replace_file
from qlib.workflow.snapshot import Digests, digest_of
from qlib.workflow.store import cache_folder

THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_OWN: Final = __name__.partition(".")[0]
# Whoever has a recorder imports these, which know every kind of result and compute none: they count, alone.
_LEAVES: Final = ("qlib.workflow.formats", "qlib.workflow.trials", "qlib.workflow.manifest")
_FORMAT: Final = 4  # of what is remembered of a text
_LOADED: Final = time.time_ns()
_digests: Final = Digests()  # of sources, while this process lives
_ENDINGS: Final = (".py", *importlib.machinery.EXTENSION_SUFFIXES)


def sources_of(modules: Iterable[str]) -> dict[str, str]:
    """Return the files of modules, and of what they import, each with the digest of its bytes.

    Parameters
    ----------
    modules
        Names of modules, or paths of `.py` files; installed packages and unknown names are left out.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = list(modules)
    memory = _Imports()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if not name.endswith(".py") and "." in name:
            waiting.append(name.rpartition(".")[0])
        path = _file_of(name)
        if path is None or path in found:
            continue
        found[path] = _digests.of([path])[path]
        if path.endswith(".py") and name not in _LEAVES:
            package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
            for base, level, names in memory.of(found[path], path):
                start = _absolute(base, level, package)
                waiting += [start, *(f"{start}.{one}" for one in names)] if start else []
    memory.save()
    return dict(sorted(found.items()))


def modules_of(config: Any, default: str = "") -> list[str]:
    """Return the modules that a part of a configuration names, at any depth.

    >>> modules_of({"class": "LGBModel", "module_path": "a.b", "kwargs": {"x": {"class": "c.d.E"}}})
    ['a.b', 'c.d']
    """
    return sorted(set(_named(config, default)))


def _named(config: Any, default: str) -> Iterator[str]:
    if isinstance(config, Mapping):
        name = config.get("class", config.get("func"))
        if name is not None:
            module = config.get("module_path") or default
            if isinstance(name, str):
                module = config.get("module_path") or name.rpartition(".")[0] or default
            elif isinstance(name, type):
                module = name.__module__
            if isinstance(module, str) and module:
                yield module
        for key, value in config.items():
            if key not in ("class", "func", "module_path"):
                yield from _named(value, "")
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _named(value, "")
    elif isinstance(config, type):
        yield config.__module__
    elif isinstance(config, str) and "." in config and config.replace(".", "").replace("_", "").isalnum():
        yield config.rpartition(".")[0]  # "package.module.Name" stands for {"class": ...} in many places


def classes_in(config: Any) -> list[str]:
    """Return the modules in which the classes that a configuration names were written, of those that are loaded.

    A package may hand out a class that lies in another module, which only the loaded class tells.
    """
    found: set[str] = set()
    if isinstance(config, Mapping):
        name = config.get("class", config.get("func"))
        if isinstance(name, str):
            inside, _, last = name.rpartition(".")
            thing = getattr(sys.modules.get(inside or str(config.get("module_path"))), last, None)
            found |= {base.__module__ for base in thing.__mro__} if isinstance(thing, type) else set()
        config = list(config.values())
    if isinstance(config, list | tuple):
        found |= {module for value in config for module in classes_in(value)}
    return sorted(found)


# ------------------------------------------------------------------------------------------------- files of modules
@cache
def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    homes = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(os.path.join(os.path.realpath(home), "") for home in homes)  # noqa: PTH118


@cache
def _homes_of(top: str, path: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:  # noqa: ARG001  what it depends on
    """Return the file of a top-level module, and the folders of a package; None where it is installed or unknown."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin in ("built-in", "frozen"):
        return None
    folders = tuple(spec.submodule_search_locations or ())
    places = [place for place in (spec.origin, *folders) if place]
    if top != _OWN and any(os.path.realpath(place).startswith(_installed()) for place in places):
        return None
    return spec.origin or "", folders


def _file_of(module: str) -> str | None:
    if module.endswith(".py"):
        path = Path(module).resolve()
        return str(path) if path.is_file() else None
    top, *rest = module.split(".")
    if not top.isidentifier() or (homes := _homes_of(top, tuple(sys.path))) is None:
        return None
    origin, folders = homes
    if not rest:
        return origin or None
    for folder in folders:
        place = os.path.join(folder, *rest)  # noqa: PTH118  hundreds of them
        for candidate in (os.path.join(place, "__init__.py"), *(place + ending for ending in _ENDINGS)):  # noqa: PTH118
            if os.path.isfile(candidate):  # noqa: PTH113
                return candidate
    return None


def _absolute(base: str, level: int, package: str) -> str:
    if not level:
        return base
    parts = package.split(".")
    start = ".".join(parts[: len(parts) - level + 1])
    return ".".join(part for part in (start, base) if part)


# ------------------------------------------------------------------------------------------------- imports of a text
Import = tuple[str, int, list[str]]


class _Imports:
    """What texts import, by the digest of the text: remembered in the user's cache, where it can never be wrong."""

    known: dict[str, list[Import]] = {}
    fresh = False

    def __init__(self) -> None:
        self.path = cache_folder() / f"imports-{_FORMAT}-{sys.version_info[0]}.{sys.version_info[1]}.json"
        if not _Imports.known:
            with contextlib.suppress(OSError, ValueError):
                content = json.loads(self.path.read_bytes())
                _Imports.known = content if isinstance(content, dict) else {}

    def of(self, digest: str, path: str) -> list[Import]:
        if digest not in _Imports.known:
            content = Path(path).read_bytes()
            if digest_of(content) != digest:  # written since: of use now, and not to be remembered
                return imports_in(content)
            _Imports.known[digest] = imports_in(content)
            _Imports.fresh = True
        return _Imports.known[digest]

    def save(self) -> None:
        if _Imports.fresh:
            _Imports.fresh = False
            with contextlib.suppress(OSError):
                replace_file(self.path, lambda file: file.write(json.dumps(_Imports.known).encode()))


def imports_in(source: bytes) -> list[Import]:
    """Return (module, level, names) of every import in a text; those for type checkers alone are left out.

    >>> imports_in(b"import a.b" + bytes([10]) + b"from ..c import d")
    [('a.b', 0, []), ('c', 2, ['d'])]
    """
    found: list[Import] = []
    try:
        waiting: list[ast.AST] = [ast.parse(source)]
    except (SyntaxError, ValueError):
        return found  # whoever imports it will say so
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [(alias.name, 0, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level, [a.name for a in node.names if a.name != "*"]))
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
        elif isinstance(node, ast.Dict):  # a configuration in the code names a module too
            for key, value in zip(node.keys, node.values, strict=True):
                if _is(key, "module_path") and isinstance(value, ast.Constant):
                    found.append((str(value.value), 0, []))
                elif not _is(key, "exp_manager"):  # that one keeps runs, and computes nothing
                    waiting.append(value)
        else:
            waiting += ast.iter_child_nodes(node)
    return sorted(found)


def _is(node: ast.expr | None, text: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == text


# ---------------------------------------------------------------------------------------------------- while it runs
@cache
def process_began() -> int:
    """Return when this process began, in nanoseconds since 1970: code that was written later may not be what runs."""
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        return int((int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK") - 1) * 1e9)
    return _LOADED - 30_000_000_000


def loaded_between(before: Iterable[str]) -> dict[str, str]:
    """Return the files, with digests, of modules of ours and of the user's that were loaded since `before`."""
    found = {}
    for name in set(sys.modules) - set(before):
        path = getattr(sys.modules.get(name), "__file__", None)
        if not path or not os.path.isfile(path):  # noqa: PTH113
            continue
        own = name.partition(".")[0] == _OWN or not os.path.realpath(path).startswith(_installed())
        if own:
            found[os.path.realpath(path)] = digest_of(Path(path).read_bytes())
    return dict(sorted(found.items()))


# ------------------------------------------------------------------------------------------- versions and machine
@cache
def versions() -> dict[str, str]:
    """Return the version of every installed package, by name.

    A folder that a package adds for itself, as Ray does for what it brings along, is not looked at: it is there or not,
    depending on what a process has imported.
    """
    found: dict[str, str] = {}
    for place in sys.path:
        if Path(place).name not in ("site-packages", "dist-packages"):
            continue
        with contextlib.suppress(OSError):
            for entry in os.scandir(place or "."):
                if entry.name.endswith(".dist-info"):
                    name, _, version = entry.name.removesuffix(".dist-info").partition("-")
                    found.setdefault(name.replace("_", "-").lower(), version)
    return dict(sorted(found.items()))


def environment() -> dict[str, Any]:
    """Return what else decides about the last digit: interpreter, machine, threads, hashing."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": {name: os.environ.get(name) for name in THREADS},
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED"),
    }


def code_digest(modules: Sequence[str]) -> str:
    """Return one digest of `sources_of` some modules; where they lie does not matter."""
    mark = hashlib.blake2b(digest_size=20)
    for path, digest in sources_of(modules).items():
        mark.update(f"{Path(path).name}\0{digest}\0".encode())
    return mark.hexdigest()

"""Words of the command line that change a configuration: one value, or several for a sweep.

    task.model.kwargs.alpha=0.1         this value, in the place of what stands there
    alpha=0.1                           the same, where only one place of the configuration ends so
    alpha=0.1,1,10                      -m: each of these
    num_leaves=range(8,64,8)            -m: 8, 16, ... 56, as Python counts; decimals too
    seed=seeds(5)                       -m: five seeds, always the same, far apart from each other

A value is read as YAML reads it (`[2020-01-01, 2020-06-30]` is a list, `null` nothing, `'a,b'` a text), and
`__DROP__` removes the key. A place that does not exist yet may be made in a table that exists.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Any, Final

import numpy as np

from qlib.cli.checks.problem import is_instance_config
from qlib.cli.config_file import parse_text
from qlib.errors import ConfigError, did_you_mean
from qlib.utils.data import S_DROP
from qlib.utils.nested import placeholders

READ: Final = ("qlib_init", "task", "experiment_name", "sys")  # what `qrun` reads at the top; the rest are anchors
KWARGS: Final = "kwargs"
MOST: Final = 10_000  # values of one key

_CALL = re.compile(r"(range|seeds)\((.*)\)\Z")


@dataclass(frozen=True, slots=True)
class Change:
    """A dotted path as it was written, and the values it is given: one, or several in a sweep."""

    key: str
    values: tuple[Any, ...]
    seeds: bool = False  # whether the values are repetitions of one thing


def read_change(word: str, *, several: bool) -> Change:
    """Return what a word `key=value` says; with `several`, `a,b`, `range(...)` and `seeds(n)` are many values.

    Raises ConfigError for a word that is none, and for many values where one is allowed.

    >>> read_change("lr=1e-3,1e-4", several=True).values
    (0.001, 0.0001)
    >>> read_change("depth=range(2,8,2)", several=True).values
    (2, 4, 6)
    """
    key, sign, text = (part.strip() for part in word.partition("="))
    if not sign or not all(key.split(".")):
        raise ConfigError(f"received {word!r}; a change is written key=value, such as task.model.kwargs.alpha=0.1")
    call = _CALL.match(text)
    if call and not several:
        raise ConfigError(f"received {word!r}; a sweep is written -m {word!r}")
    if call:
        function, inside = call.groups()
        return Change(key, _CALLED[function](word, _numbers(inside)), seeds=function == "seeds")
    values = tuple(parse_text(f"[{text}]", word)) or ("",)
    if len(values) > 1 and not several:
        raise ConfigError(
            f"received {word!r}, {len(values)} values; a sweep is written -m {word}, a list {key}=[{text}]"
        )
    return Change(key, values)


def _numbers(inside: str) -> list[Decimal] | None:
    """Return the numbers between two brackets; None where something there is none."""
    try:
        numbers = [Decimal(part.strip()) for part in inside.split(",")]
    except InvalidOperation:
        return None
    return numbers if all(number.is_finite() for number in numbers) else None


def _range(word: str, numbers: list[Decimal] | None) -> tuple[int | float, ...]:
    if numbers is None or len(numbers) > 3 or (len(numbers) == 3 and numbers[2] == 0):
        raise ConfigError(f"received {word!r}; range(end), range(start, end) and range(start, end, step) are allowed")
    start = numbers[0] if len(numbers) > 1 else Decimal(0)
    end, step = numbers[min(1, len(numbers) - 1)], numbers[2] if len(numbers) == 3 else Decimal(1)
    count = max(0, math.ceil((end - start) / step))
    if not 1 <= count <= MOST:
        raise ConfigError(f"received {word!r}, {count} values; 1 to {MOST} are allowed")
    whole = start == int(start) and step == int(step)
    return tuple(int(start + i * step) if whole else float(start + i * step) for i in range(count))


def _seeds(word: str, numbers: list[Decimal] | None) -> tuple[int, ...]:
    if numbers is None or len(numbers) != 1 or numbers[0] != int(numbers[0]) or not 1 <= numbers[0] <= MOST:
        raise ConfigError(f"received {word!r}; seeds(5) is allowed: how many seeds, a whole number from 1 to {MOST}")
    return tuple(seeds(int(numbers[0])))


_CALLED: Final[dict[str, Callable[[str, list[Decimal] | None], tuple[Any, ...]]]] = {"range": _range, "seeds": _seeds}


def seeds(count: int) -> list[int]:
    """Return seeds below 2**31 for a sweep: always the same ones, of which fewer are the first of more."""
    return [int(number) for number in np.random.SeedSequence(2026).generate_state(count) >> 1]


def changed(config: Mapping[str, Any], changes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a copy of a configuration with values put in at dotted paths, which `place_of` has found."""
    made: dict[str, Any] = _copied(config)
    for path, value in changes:
        *way, last = path.split(".")
        node: Any = made
        for step in way:
            if step == KWARGS and isinstance(node, dict):
                node[step] = node.get(step) or {}
            node = node[_index(node, step)]
        if isinstance(value, str) and value == S_DROP:
            if isinstance(node, dict):
                node.pop(last, None)
            else:
                del node[_index(node, last)]
        else:
            node[_index(node, last)] = _copied(value)
    return made


def _copied(node: Any) -> Any:
    """Copy tables and lists, each place by itself: an anchor that is used twice is changed at one place."""
    if isinstance(node, Mapping):
        return {key: _copied(value) for key, value in node.items()}
    return [_copied(value) for value in node] if isinstance(node, list | tuple) else node


def place_of(config: Mapping[str, Any], key: str) -> str:
    """Return the dotted path that a key means: what is there, what only ends so, or what may be made there.

    Raises ConfigError, with the nearest path, for a key that means nothing, several places, or a table at the top that
    nothing reads (an anchor of YAML: its copies were made when the file was read).

    >>> place_of({"task": {"model": {"kwargs": {"alpha": 1}}}}, "alpha")
    'task.model.kwargs.alpha'
    """
    paths = [path for path in _paths(config) if path.split(".")[0] in _read_at_the_top(config)]
    if key in paths:
        return key
    ends = [path for path in paths if path.endswith(f".{key}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise ConfigError(
            f"{key}: {len(ends)} places of the configuration end so: {', '.join(ends)}; write one of them"
        )
    top = key.split(".", maxsplit=1)[0]
    if top in config and top not in _read_at_the_top(config):
        raise ConfigError(
            f"{key}: nothing reads {top} itself, an anchor that was copied when the file was read; name the place "
            "where it is used, such as task.dataset.kwargs.handler.kwargs.instruments"
        )
    table, _, last = key.rpartition(".")
    holders = [path for path in paths if path == table or (table and path.endswith(f".{table}"))]
    holders = [path for path in holders if isinstance(_at(config, path), dict)]
    if not holders and table.endswith(f".{KWARGS}"):  # an object without arguments may get some
        holders = [
            f"{path}.{KWARGS}"
            for path in paths
            if path == table.removesuffix(f".{KWARGS}") and is_instance_config(_at(config, path))
        ]
    if len(holders) == 1:
        return f"{holders[0]}.{last}"
    if key in READ:
        return key
    near = did_you_mean(key, [path for path in paths] + [path.rpartition(".")[2] for path in paths])
    raise ConfigError(f"{key}: the configuration has no such place{near or '; task.model.kwargs.alpha is an example'}")


def grid(changes: Iterable[Change]) -> list[tuple[tuple[str, Any], ...]]:
    """Return every combination of the values, the last key fastest, each as pairs (key, value).

    >>> grid([Change("a", (1, 2)), Change("b", ("x",))])
    [(('a', 1), ('b', 'x')), (('a', 2), ('b', 'x'))]
    """
    return list(product(*([(change.key, value) for value in change.values] for change in changes)))


def _read_at_the_top(config: Mapping[str, Any]) -> set[str]:
    """Return the keys at the top that are read: those of `qrun`, and those that a placeholder names."""
    return {*READ, *(text[1:].split(".")[0].rstrip(">") for _, text in placeholders(config))}


def _paths(node: Any, where: str = "") -> list[str]:
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    found = [where] if where else []
    for key, value in pairs:
        found += _paths(value, f"{where}.{key}" if where else str(key))
    return found


def _at(config: Any, path: str) -> Any:
    for step in path.split("."):
        config = config[_index(config, step)]
    return config


def _index(node: Any, step: str) -> Any:
    return int(step) if isinstance(node, list) else step

"""Placeholders that name a section of a configuration: `<data.symbols>` becomes what stands there.

    {"data": {"start": "2021-01-01"}, "task": {"start_time": "<data.start>"}}
    ->                        {..., "task": {"start_time": "2021-01-01"}}

`fill_sections` is the one place that does it, for `qrun` and for `qlib.cli.config_manager`. The path begins at the top
of the configuration; only a whole text is a placeholder; what stands there may be a text, a number, a list or a table,
with placeholders of its own. A path inside `task` counts before one at the top, as in Qlib.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from qlib.errors import ConfigError, did_you_mean
from qlib.utils.nested import PLACEHOLDER, get_item_from_obj

TASK: Final = "task"


def fill_sections(config: Mapping[str, Any], later: Iterable[str] = (), *, whole: bool = True) -> dict[str, Any]:
    """Return the configuration with its placeholders filled; the argument stays as it is.

    Parameters
    ----------
    config
        The whole table.
    later
        Placeholders that are filled by somebody else, such as "<PRED>"; they stay.
    whole
        False, for `qrun`: what stands inside `task` and is no path at the top stays, too: `qrun` fills and checks it.

    Raises
    ------
    ConfigError
        A placeholder leads to nothing (the nearest path is named) or back to itself.

    >>> fill_sections({"a": {"x": 1, "y": "<a.x>"}, "b": ["<a.y>", "<PRED>"]}, ["<PRED>"])
    {'a': {'x': 1, 'y': 1}, 'b': [1, '<PRED>']}
    """
    kept = set(later)
    task = config.get(TASK)

    def filled(node: Any, where: str, seen: tuple[str, ...]) -> Any:
        if isinstance(node, Mapping):
            return {key: filled(value, f"{where}.{key}" if where else str(key), seen) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return type(node)([filled(value, f"{where}.{i}", seen) for i, value in enumerate(node)])
        if not isinstance(node, str) or not PLACEHOLDER.match(node) or node in kept:
            return node
        inside = where.split(".", maxsplit=1)[0] == TASK
        if node in seen:
            raise ConfigError(f"{where}: {' -> '.join((*seen[seen.index(node) :], node))} leads back to itself")
        for found, base in _found(task if inside else None, config, node[1:-1]):
            if base == TASK and not whole:
                return node
            return filled(found, where, (*seen, node))
        if inside and not whole:
            return node
        if not whole and "." not in node:
            return node
        near = did_you_mean(node, [*(f"<{path}>" for path in _paths(config)), *kept])
        raise ConfigError(f"{where}: {node} is no path inside this configuration{near}")

    done: dict[str, Any] = filled(config, "", ())
    return done


def _found(task: Any, config: Mapping[str, Any], path: str) -> Iterator[tuple[Any, str]]:
    """Yield what lies at a path, and from where: of the task first, then of the top."""
    for table, base in ((task, TASK), (config, "")):
        try:
            yield get_item_from_obj(table, path), base
        except (KeyError, IndexError, TypeError, ValueError):
            continue


def _paths(node: Any, where: str = "") -> Iterator[str]:
    """Yield every path to a table, a list or a value."""
    if where:
        yield where
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in pairs:
        yield from _paths(value, f"{where}.{key}" if where else str(key))

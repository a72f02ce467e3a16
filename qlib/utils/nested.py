"""Dictionaries in dictionaries: flatten, look up by a dotted path, fill placeholders.

    flatten_dict({"a": {"b": 1}})                               {"a.b": 1}
    get_item_from_obj({"a": [{"b": 1}]}, "a.0.b")               1
    fill_placeholder({"x": "<a.0>", "a": [7]}, {})              {"x": 7, "a": [7]}
    list(placeholders({"x": "<a.0>"}))                          [("x", "<a.0>")]

Nothing here changes its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from qlib.log import get_module_logger

FLATTEN_TUPLE: Final = "_FLATTEN_TUPLE"

PLACEHOLDER: Final = re.compile(r"<([^<>\s]+)>\Z")


def flatten_dict(d: Mapping[Any, Any], parent_key: Any = "", sep: str = ".") -> dict[Any, Any]:
    """Return one flat dict; keys are joined with `sep`, or become tuples when `sep` is FLATTEN_TUPLE.

    Empty dicts vanish, lists stay whole.

    >>> flatten_dict({"a": 1, "b": {"c": [1, 2], "d": {}}})
    {'a': 1, 'b.c': [1, 2]}
    >>> flatten_dict({"b": {"c": 1}}, sep=FLATTEN_TUPLE)
    {('b', 'c'): 1}
    """
    flat: dict[Any, Any] = {}
    for key, value in d.items():
        if not parent_key:
            path = key
        elif sep == FLATTEN_TUPLE:
            path = (*parent_key, key) if isinstance(parent_key, tuple) else (parent_key, key)
        else:
            path = f"{parent_key}{sep}{key}"
        if isinstance(value, Mapping):
            flat |= flatten_dict(value, path, sep)
        else:
            flat[path] = value
    return flat


def get_item_from_obj(config: Any, name_path: str) -> Any:
    """Return what lies at a dotted path; digits index lists. Raises KeyError, IndexError or TypeError."""
    found = config
    for step in name_path.split("."):
        found = found[int(step)] if isinstance(found, list | tuple) and step.isdigit() else found[step]
    return found


def fill_placeholder(config: Any, config_extend: Mapping[str, Any]) -> Any:
    """Return `config` with every text `<...>` replaced.

    A key of `config_extend` (written with its brackets: "<PRED>") gives its value; any other `<a.b.0>` is a path inside
    `config`. A text that is neither stays as it is, with a line in the log. Only a whole text is a placeholder.
    """
    logger = get_module_logger("utils")

    def filled(node: Any, seen: tuple[str, ...]) -> Any:
        if isinstance(node, dict):
            return {key: filled(value, seen) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return type(node)([filled(value, seen) for value in node]) if type(node) in (list, tuple) else node
        if not isinstance(node, str) or not PLACEHOLDER.match(node):
            return node
        if node in config_extend:
            return config_extend[node]
        try:
            target = get_item_from_obj(config, node[1:-1])
        except (KeyError, IndexError, TypeError, ValueError):
            target = None
        if target is None or node in seen:
            logger.info(f"{node} is no path inside this configuration; it is left as it stands")
            return node
        return filled(target, (*seen, node))

    return filled(config, ())


def placeholders(config: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every placeholder in `config`."""
    if isinstance(config, Mapping):
        pairs: Iterable[tuple[Any, Any]] = config.items()
    elif isinstance(config, list | tuple):
        pairs = enumerate(config)
    else:
        if isinstance(config, str) and PLACEHOLDER.match(config):
            yield where, config
        return
    for key, value in pairs:
        yield from placeholders(value, f"{where}.{key}" if where else str(key))

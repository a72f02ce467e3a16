"""One thing that is wrong: where in the configuration, and what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """`where` is the dotted path inside the configuration, `what` a sentence."""

    where: str
    what: str

    def __str__(self) -> str:
        first, *rest = self.what.splitlines() or [""]
        return "\n".join([f"{self.where}: {first}", *(f"      {line}" for line in rest)])


def tables(node: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (path, table) of every table inside `node`, itself included, outermost first."""
    if isinstance(node, Mapping):
        yield where, node
        for key, value in node.items():
            yield from tables(value, f"{where}.{key}")
    elif isinstance(node, list | tuple):
        for place, value in enumerate(node):
            yield from tables(value, f"{where}.{place}")


def is_instance_config(node: Any) -> bool:
    """Return whether a table describes an object."""
    return isinstance(node, Mapping) and ("class" in node or "func" in node)

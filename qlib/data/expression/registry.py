"""Operators by name: what a formula may call.

    @operator
    class Mean(Rolling):            # stands in OPERATORS as "Mean" from then on
        kernel = "mean"

OPERATORS is the table that comes with the package.  A session that knows more operators takes a copy and registers
them there; nothing that one session registers is seen by another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from qlib.data.expression.node import Node, Operator

Declared = TypeVar("Declared", bound=type[Operator])
Change = TypeVar("Change", bound=Callable[[Node], Node])


class Registry(Mapping[str, type[Operator]]):
    """Name -> operator; grows by `register`, and counts its `changes`."""

    def __init__(self, known: Mapping[str, type[Operator]] | None = None) -> None:
        self._known: dict[str, type[Operator]] = dict(known or {})
        self.changes = 0

    def __getitem__(self, name: str) -> type[Operator]:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def register(self, declared: type[Operator]) -> None:
        """Add an operator; one of the same name is replaced."""
        self._known[declared.name] = declared
        self.changes += 1

    def clear(self) -> None:
        """Forget every operator."""
        self._known.clear()
        self.changes += 1

    def copy(self) -> Registry:
        """Return a table that may grow without this one noticing."""
        return Registry(self._known)


OPERATORS = Registry()


def operator(declared: Declared) -> Declared:
    """Class decorator: call the operator by its class name and put it into OPERATORS."""
    declared.name = declared.__name__
    OPERATORS.register(declared)
    return declared


REWRITES: Final[list[Callable[[Node], Node]]] = []


def rewrite(change: Change) -> Change:
    """Function decorator: let it change every field that was parsed, as a whole."""
    REWRITES.append(change)
    return change

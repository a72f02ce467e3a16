"""What an operator may be called with: each kind of argument says why it refuses a value.

Series("feature")              a formula
Value("feature_left")          a formula or a number
Window("N")                    a whole number of rows
Number("qscore", 0, 1)         a number between two bounds
OneOf("how", ("a", "b"))       one of some words
Text("instrument")             a name in quotes
Many("by")                     one formula or more, one after the other

An argument whose kind has a `default` may be left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qlib.data.expression.node import Node, Scalar
from qlib.errors import did_you_mean

LONGEST_WINDOW: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of an operator, by its public name."""

    name: str

    @property
    def many(self) -> bool:
        """Whether it stands for any number of arguments."""
        return False

    @property
    def otherwise(self) -> Scalar:
        """What stands where the argument is left out; None where it must be given."""
        return None

    def complaint(self, value: Node | Scalar) -> str | None:
        """Return why `value` is refused, or None where it is fine."""
        raise NotImplementedError


class Series(Parameter):
    """A formula."""

    __slots__ = ()

    def complaint(self, value: Node | Scalar) -> str | None:
        return None if isinstance(value, Node) else f"{self.name} must be a formula, received {value!r}"


class Many(Series):
    """One formula or more, one after the other; an operator has one such parameter at most."""

    __slots__ = ()

    @property
    def many(self) -> bool:
        return True


class Value(Parameter):
    """A formula or a number."""

    __slots__ = ()

    def complaint(self, value: Node | Scalar) -> str | None:
        if isinstance(value, Node | bool | int | float):
            return None
        return f"{self.name} must be a formula or a number, received {value!r}"


@dataclass(frozen=True, slots=True)
class Number(Parameter):
    """A number from `low` to `high`."""

    low: float
    high: float
    default: float | None = None

    @property
    def otherwise(self) -> Scalar:
        return self.default

    def complaint(self, value: Node | Scalar) -> str | None:
        if isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high:
            return None
        return f"{self.name} must be a number from {self.low:g} to {self.high:g}, received {value!r}"


@dataclass(frozen=True, slots=True)
class Window(Parameter):
    """A whole number of rows: 0 (all rows so far), or `least` and more.

    With `fraction`, a weight between 0 and 1 is allowed too; with `ahead`, a negative number looks into the future.
    """

    least: int = 1
    fraction: bool = False
    ahead: bool = False

    def complaint(self, value: Node | Scalar) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool):
            low = -LONGEST_WINDOW if self.ahead else self.least
            if value == 0 or low <= value <= LONGEST_WINDOW:
                return None
            return f"{self.name} must be 0 or from {low} to {LONGEST_WINDOW}, received {value}"
        if self.fraction and isinstance(value, float) and 0 < value < 1:
            return None
        also = ", or a weight between 0 and 1" if self.fraction else ""
        return f"{self.name} must be a whole number of rows{also}, received {value!r}"


@dataclass(frozen=True, slots=True)
class OneOf(Parameter):
    """One of some words, in quotes."""

    words: tuple[str, ...]
    default: str | None = None

    @property
    def otherwise(self) -> Scalar:
        return self.default

    def complaint(self, value: Node | Scalar) -> str | None:
        if value in self.words:
            return None
        near = did_you_mean(value, self.words) if isinstance(value, str) else ""
        return f"{self.name} must be one of {', '.join(self.words)}, received {value!r}{near}"


class Text(Parameter):
    """A name, in quotes."""

    __slots__ = ()

    def complaint(self, value: Node | Scalar) -> str | None:
        if isinstance(value, str) and value.strip():
            return None
        return f"{self.name} must be a name in quotes, received {value!r}"

"""Every error this package raises on purpose, as one tree.

    QlibError
    ├── InputError        what was given is wrong: mend the input and run again      (exit code 2)
    │   ├── ConfigError       a configuration: unknown class, wrong argument, bad value
    │   ├── ExpressionError   a formula, with the column that is wrong
    │   ├── MissingDataError  a field, an instrument or a date that the data do not hold
    │   └── StoreError        a store that cannot be read: damaged or incomplete files
    └── RunError          the input was right, the run failed                         (exit code 1)

Each class also descends from the builtin that callers already catch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class QlibError(Exception):
    """Root of every error raised on purpose."""


class InputError(QlibError, ValueError):
    """The input is wrong; nothing was written."""


class ConfigError(InputError):
    """A configuration names something that does not exist or cannot be used."""


class ExpressionError(InputError):
    """A formula cannot be read or evaluated; the message points at the column."""

    def __init__(self, why: str, text: str = "", column: int = 0, hint: str = "") -> None:
        lines = [why]
        if text:
            lines += [f"    {text}", f"    {' ' * column}^"]
        if hint:
            lines.append(hint)
        super().__init__("\n".join(lines))
        self.why, self.text, self.column, self.hint = why, text, column, hint

    def __reduce__(self) -> tuple[type, tuple[str, str, int, str]]:
        return type(self), (self.why, self.text, self.column, self.hint)


class MissingDataError(InputError, KeyError):
    """A field, an instrument or a date that the data do not hold."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0]) if self.args else ""


class StoreError(InputError):
    """A file of the store is damaged or incomplete."""


class RunError(QlibError, RuntimeError):
    """The input was right, but the run failed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the nearest known spelling, or an empty string.

    >>> did_you_mean("num_leavse", ["num_leaves", "max_depth"])
    '; did you mean num_leaves?'
    >>> did_you_mean("zzz", ["num_leaves"])
    ''
    """
    names = {str(name).lower(): str(name) for name in known}
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {names[near[0]]}?" if near else ""

"""Command lines from functions and classes: every word is understood before anything is done.

    doors.call({"dump_all": dump_all}, name="dump_bin")    # dump_bin dump_all --data_path csv --qlib_dir store
    doors.call(doors.of_class(GetData), name="get_data")   # get_data sample --target_dir store

fire calls a function as soon as it has its arguments, and complains afterwards of the words that nobody took: a
mistyped `--dryrun` would do what `--dry_run` only tells.  Here fire gets to know what is asked for, no more; it is done
when no word is left.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from qlib.errors import InputError

__all__ = ["call", "of_class"]


class _Asked:
    """What a command line asks for, not done yet; it has nothing that a further word could be the name of."""

    __slots__ = ("_do",)

    def __init__(self, do: Callable[[], Any]) -> None:
        self._do = do


def call(commands: Any, *, name: str) -> Any:
    """Do what the command line says, and return the result; words that nobody takes end with exit code 2.

    Parameters
    ----------
    commands
        Name -> function, or what `of_class` returns.
    name
        What usage lines call the program.

    Raises
    ------
    InputError
        A text is needed where something else was written.
    """
    import fire  # noqa: PLC0415  only the command line needs it

    if isinstance(commands, dict):
        commands = {command: _asking(function) for command, function in commands.items()}
    asked = fire.Fire(commands, name=name, serialize=lambda found: None if isinstance(found, _Asked) else found)
    if not isinstance(asked, _Asked):
        sys.exit(2)  # no command was named, and fire has shown which there are
    return asked._do()  # noqa: SLF001  a class of this file


def of_class(kind: type) -> type:
    """Return a class with the options of `kind`, whose public methods only note what is asked for."""

    def make(self: Any, *arguments: Any, **options: Any) -> None:
        self._made = _bound(kind, arguments, options)()

    members: dict[str, Any] = {"__doc__": kind.__doc__, "__init__": make, "__signature__": inspect.signature(kind)}
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            members[name] = _asking(method, partial(_of_made, name))
    return type(kind.__name__, (), members)


def _of_made(name: str, door: Any, *arguments: Any, **options: Any) -> Any:
    return getattr(door._made, name)(*arguments, **options)  # noqa: SLF001  `of_class` put it there


def _asking(function: Callable[..., Any], does: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function that looks like `function`, and notes that `does`, or `function` itself, is asked for."""

    def asking(*arguments: Any, **options: Any) -> _Asked:
        return _Asked(_bound(function, arguments, options, does))

    asking.__doc__ = function.__doc__
    setattr(asking, "__signature__", inspect.signature(function))  # noqa: B010  what fire reads and shows
    return asking


def _bound(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    options: Mapping[str, Any],
    does: Callable[..., Any] | None = None,
) -> Callable[[], Any]:
    """Return the call, with texts as they were written: fire takes a folder 2024 for a number."""
    signature = inspect.signature(function)
    given = signature.bind(*arguments, **options)
    for name, value in given.arguments.items():
        kind = str(signature.parameters[name].annotation)
        text = kind.startswith("str") and not {"Iterable", "Sequence"}.intersection(re.findall(r"\w+", kind))
        if text and value is not None:
            given.arguments[name] = _written(name, value)
    return partial(does or function, *given.args, **given.kwargs)


def _written(name: str, value: Any) -> str:
    """Return the word that fire read as `value`: 2024.10 and not 2024.1."""
    from fire.parser import DefaultParseValue  # noqa: PLC0415  only the command line needs it

    if isinstance(value, str):
        return value
    ends = {end for word in sys.argv[1:] for end in (word, word.partition("=")[2]) if end and end[0] != "-"}
    words = [end for end in ends if repr(DefaultParseValue(end)) == repr(value)]
    if len(words) != 1:
        raise InputError(f"{name}: received {value!r}; a text is needed")
    return words[0]

"""Command lines from functions and classes: every word is understood before anything is done.

    doors.call({"dump_all": dump_all}, name="dump_bin")    # dump_bin dump_all --data_path csv --qlib_dir store
    doors.call(doors.of_class(GetData), name="get_data")   # get_data sample --target_dir store

fire calls a function as soon as it has its arguments, and complains afterwards of the words that nobody took: a
mistyped `--dryrun` would do what `--dry_run` only tells.  Here a mistyped word is told with the nearest right one, fire
gets to know what is asked for, no more, and it is done when no word is left.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from qlib.errors import InputError, did_you_mean

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

    if wrong := _mistyped(commands, sys.argv[1:]):
        print(f"{name}: {wrong}", file=sys.stderr)
        sys.exit(2)
    if isinstance(commands, dict):
        commands = {command: _asking(function) for command, function in commands.items()}
    asked = fire.Fire(commands, name=name, serialize=lambda found: None if isinstance(found, _Asked) else found)
    if not isinstance(asked, _Asked):
        sys.exit(2)  # no command was named, and fire has shown which there are
    return asked._do()  # noqa: SLF001  a class of this file


def _mistyped(commands: Any, words: Sequence[str]) -> str:
    """Return what to say of the first word that looks like a command or an option and is none; "" if all are known."""
    alone = isinstance(commands, dict)  # functions; a class has options of its own
    members = commands.items() if alone else inspect.getmembers(commands, inspect.isfunction)
    known = {command: function for command, function in members if not command.startswith("_")}
    words = words[: words.index("--")] if "--" in words else words  # what follows is for fire
    plain = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not word.startswith("-") and (not before.startswith("-") or "=" in before)  # else it may be a value
    ]
    command = next((word.replace("-", "_") for word in plain if word.replace("-", "_") in known), None)
    if command is None:
        return f"received {plain[0]}; commands are {', '.join(known)}{did_you_mean(plain[0], known)}" if plain else ""
    takers = [known[command], *([] if alone else [commands])]
    parameters = [one for taker in takers for one in inspect.signature(taker).parameters.values() if one.name != "self"]
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return ""
    options = [f"--{one.name}" for one in parameters]
    for word in words:
        given = word.partition("=")[0]
        option = "--" + given.lstrip("-").replace("-", "_")
        if not re.match("--?[A-Za-z]", word) or len(option) == len("--x") or option == "--help":
            continue  # fire knows options by their first letter, too
        if option not in options and option.replace("--no", "--", 1) not in options:
            return f"received {given}; options of {command} are {', '.join(options)}{did_you_mean(option, options)}"
    return ""


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

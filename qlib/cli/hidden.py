"""Values of the environment that a template put into a configuration: never shown, never logged.

    note({"MY_TOKEN": "hunter2"})       what `render_template` took
    hide("no host hunter2")             "no host {{ MY_TOKEN }}"
    with hidden_in_logs(): ...          every line that the log of this package writes

Values of fewer than four characters cannot be told from other text, and stay.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from qlib.log import ROOT

SHORTEST: Final = 4

_taken: Final[dict[str, str]] = {}  # value -> name


def note(variables: Mapping[str, str]) -> None:
    """Remember variables whose values stand in a configuration."""
    _taken.update({value: name for name, value in variables.items() if len(value) >= SHORTEST})


def noted() -> dict[str, str]:
    """Return what is remembered, name -> value, for another process to note."""
    return {name: value for value, name in _taken.items()}


def forget() -> None:
    """Remember nothing."""
    _taken.clear()


def hide(text: str) -> str:
    """Return a text with the names in the place of the values, the longest value first."""
    for value in sorted(_taken, key=len, reverse=True):
        text = text.replace(value, f"{{{{ {_taken[value]} }}}}")
    return text


def hide_in(node: Any) -> Any:
    """Return a table with every text, and every number that was one, hidden likewise."""
    if isinstance(node, Mapping):
        return {key: hide_in(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [hide_in(value) for value in node]
    if isinstance(node, str):
        return hide(node)
    return hide(str(node)) if str(node) in _taken else node


@contextmanager
def hidden_in_logs() -> Iterator[None]:
    """Hide the values in every record that a logger of this package makes, whoever configures the log meanwhile."""
    before = logging.getLogRecordFactory()

    def made(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        if _taken and record.name.partition(".")[0] == ROOT:
            record.msg, record.args = hide(record.getMessage()), None
        return record

    logging.setLogRecordFactory(made)
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)

"""A run in named stages: one line in the log for each, and the name of the one that failed.

with stage("fit") as told:
    told["rows"] = 52300
    model.fit(dataset)              # log: fit 3.1 s (rows 52300)

stage_of(error)                     # "fit", for an exception that left such a block

with watched(print):                # print("fit", 3.1, {"rows": 52300}) whenever a stage is over
    ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final

from qlib.log import get_module_logger

logger = get_module_logger("workflow")

Watcher = Callable[[str, float, Mapping[str, Any]], object]

_NOTE: Final = "in the stage: "
_watchers: Final[list[Watcher]] = []


@contextmanager
def stage(name: str) -> Iterator[dict[str, Any]]:
    """Log how long a block took, and what it puts into the table it is given; an exception carries the name.

    Of stages inside each other the innermost counts.
    """
    began = perf_counter()
    told: dict[str, Any] = {}
    try:
        yield told
    except BaseException as error:
        if stage_of(error) is None:
            error.add_note(_NOTE + name)
        raise
    seconds = perf_counter() - began
    facts = ", ".join(what if value is True else f"{what} {value}" for what, value in told.items())
    logger.info(f"{name} {seconds:.1f} s{f' ({facts})' if facts else ''}")
    for watcher in tuple(_watchers):
        watcher(name, seconds, told)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Call `watcher(name, seconds, told)` whenever a stage inside the block is over."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


@contextmanager
def unwatched() -> Iterator[None]:
    """Call no watcher for stages inside the block: those of something smaller than what is watched."""
    before, _watchers[:] = list(_watchers), []
    try:
        yield
    finally:
        _watchers[:] = before


def stage_of(error: BaseException) -> str | None:
    """Return the name of the stage an exception left, None if it left none."""
    notes = (note for note in getattr(error, "__notes__", ()) if note.startswith(_NOTE))
    return next((note.removeprefix(_NOTE) for note in notes), None)

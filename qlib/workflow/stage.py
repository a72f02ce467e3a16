"""A run in named stages: one line in the log for each, and the name of the one that failed.

with stage("fit"):
    model.fit(dataset)              # log: fit 3.1 s

stage_of(error)                     # "fit", for an exception that left such a block
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from qlib.log import get_module_logger

logger = get_module_logger("workflow")

_NOTE: Final = "in the stage: "


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Log how long a block took; an exception that leaves it carries the name (the innermost counts)."""
    began = perf_counter()
    try:
        yield
    except BaseException as error:
        if stage_of(error) is None:
            error.add_note(_NOTE + name)
        raise
    logger.info(f"{name} {perf_counter() - began:.1f} s")


def stage_of(error: BaseException) -> str | None:
    """Return the name of the stage an exception left, None if it left none."""
    notes = (note for note in getattr(error, "__notes__", ()) if note.startswith(_NOTE))
    return next((note.removeprefix(_NOTE) for note in notes), None)

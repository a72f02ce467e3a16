"""Qlib's names of the errors that experiments raise; the tree they grow on stands in `qlib.errors`.

QlibException                   root: the same class as `qlib.errors.QlibError`
RecorderInitializationError     a second experiment, or a new `qlib.init`, while one is running
LoadObjectError                 an artifact that is not there or cannot be read
ExpAlreadyExistError            the name of the experiment is taken
"""

from __future__ import annotations

from qlib.errors import InputError, QlibError, RunError

QlibException = QlibError


class RecorderInitializationError(RunError):
    """An experiment is running, so no other one may be started and the place of the runs may not change."""


class LoadObjectError(RunError):
    """An artifact of a run is missing or cannot be read."""


class ExpAlreadyExistError(InputError):
    """An experiment of that name exists already, possibly among the deleted ones."""

"""What happens to a running experiment when the program ends.

An experiment inside `with R.start(...)` is ended by its block. One begun with `R.start_exp(...)`, or by the first
`R.log_...`, is ended here: FAILED when an exception ends the program, FINISHED when it ends by itself. The hooks are
set when the first experiment starts, not at import, and keep whatever hook was there before.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from qlib.log import get_module_logger
from qlib.workflow.recorder import Recorder

if TYPE_CHECKING:
    from qlib.workflow.expm import ExpManager

logger = get_module_logger("workflow")

_watched: dict[int, weakref.WeakSet[Any]] = {}  # by process: a forked child does not end its parent's runs
_former: list[Callable[..., Any]] = []


def watch(manager: ExpManager) -> None:
    """End what `manager` has running when this process ends."""
    _watched.setdefault(os.getpid(), weakref.WeakSet()).add(manager)
    experiment_exit_handler()


def experiment_exit_handler() -> None:
    """Set the hooks; a second call changes nothing."""
    if _former:
        return
    _former.append(sys.excepthook)
    sys.excepthook = experiment_exception_hook
    atexit.register(_end_all, Recorder.STATUS_FI)


def experiment_exception_hook(exc_type: type[BaseException], value: BaseException, tb: TracebackType | None) -> None:
    """End what is running as FAILED, then show the exception as it would have been shown without this hook."""
    _end_all(Recorder.STATUS_FA)
    show = _former[0] if _former and _former[0] is not experiment_exception_hook else sys.__excepthook__
    show(exc_type, value, tb)


def _end_all(status: str) -> None:
    for manager in list(_watched.get(os.getpid(), ())):
        if manager.active_experiment is None:
            continue
        try:
            manager.end_exp(status)
        except Exception as error:  # noqa: BLE001  the program is ending: its own exception must still be shown
            logger.error(f"the running experiment could not be marked {status}: {error}")

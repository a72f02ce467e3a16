"""Qlib's path for experiments: `R` lives in `active`, what it manages in `expm`, `exp` and `recorder`."""

from qlib.utils.exceptions import RecorderInitializationError
from qlib.utils.wrapper import Wrapper
from qlib.workflow.active import QlibRecorder, QlibRecorderWrapper, R, RecorderWrapper
from qlib.workflow.exp import Experiment
from qlib.workflow.expm import ExpManager
from qlib.workflow.recorder import Recorder

__all__ = [
    "ExpManager",
    "Experiment",
    "QlibRecorder",
    "QlibRecorderWrapper",
    "R",
    "Recorder",
    "RecorderInitializationError",
    "RecorderWrapper",
    "Wrapper",
]

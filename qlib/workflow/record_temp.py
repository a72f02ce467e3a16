"""Records, at Qlib's path: steps that read what a run holds, compute, and keep the result in the run.

    record_base.py         what every record is
    record_signal.py       SignalRecord, SigAnaRecord, HFSignalRecord
    record_portfolio.py    PortAnaRecord, MultiPassPortAnaRecord

Artifact and metric names are Qlib's. More records: `qlib.contrib.workflow`.
"""

from qlib.log import get_module_logger
from qlib.workflow.record_base import ACRecordTemp, RecordTemp
from qlib.workflow.record_portfolio import (
    DEFAULT_BACKTEST,
    DEFAULT_EXECUTOR,
    DEFAULT_STRATEGY,
    MultiPassPortAnaRecord,
    PortAnaRecord,
    executor_levels,
)
from qlib.workflow.record_signal import HFSignalRecord, SigAnaRecord, SignalRecord

logger = get_module_logger("workflow")

__all__ = [
    "DEFAULT_BACKTEST",
    "DEFAULT_EXECUTOR",
    "DEFAULT_STRATEGY",
    "ACRecordTemp",
    "HFSignalRecord",
    "MultiPassPortAnaRecord",
    "PortAnaRecord",
    "RecordTemp",
    "SigAnaRecord",
    "SignalRecord",
    "executor_levels",
    "logger",
]

"""More records, at Qlib's path."""

from qlib.contrib.workflow.record_temp import MultiSegRecord, SignalMseRecord

__all__ = ["MultiSegRecord", "SignalMseRecord"]

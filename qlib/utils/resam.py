"""Door: Qlib's path of the resampling helpers; they live in `qlib.data.resam`."""

from qlib.data.resam import (
    _ts_data_valid,
    get_higher_eq_freq_feature,
    get_valid_value,
    resam_calendar,
    resam_ts_data,
    ts_data_first,
    ts_data_last,
)

__all__ = [
    "_ts_data_valid",
    "get_higher_eq_freq_feature",
    "get_valid_value",
    "resam_calendar",
    "resam_ts_data",
    "ts_data_first",
    "ts_data_last",
]

"""What pyqlib was asked for `contrib_data.json`, and what the tests ask: made of whole numbers, the same everywhere."""

from __future__ import annotations

import numpy as np
import pandas as pd

DAY = 6  # bars of a day
PRICES = ("open", "high", "low", "close", "vwap")
DEPTHS = ("bidV", "bidV1", "bidV3", "bidV5", "askV", "askV1", "askV3", "askV5")
LIMITS = ("downlimitmarket", "uplimitmarket", "highmarket", "lowmarket")
FIRST, LAST = "2021-01-08", "2021-01-12 23:59"


def bars() -> dict[str, pd.DataFrame]:
    """Return one-minute bars of seven days for two instruments, with gaps."""
    days = pd.bdate_range("2021-01-04", periods=7)
    times = pd.DatetimeIndex([day + pd.Timedelta(minutes=570 + i) for day in days for i in range(DAY)])
    fields = (*PRICES, "bid", "ask", "volume", *DEPTHS, "factor", *LIMITS)
    frames = {}
    for number, name in enumerate(("AAA", "BBB")):
        at = np.arange(len(times))
        frame = pd.DataFrame(
            {f: 8 + ((7 + k) * at + 3 * number + k) % 13 / 8 for k, f in enumerate(fields)}, index=times
        )
        for k, field in enumerate(fields):
            frame.loc[(at + k + number) % 11 == 3, field] = np.nan
        frame["paused_num"] = 1.0 + (at % 5 != 2)
        frame.iloc[8, frame.columns.get_loc("vwap")] = np.inf
        frames[name] = frame
    return frames


def panel() -> pd.DataFrame:
    """Return a frame of two features and a label for three instruments, one late, one with a hole, one NaN."""
    days = pd.date_range("2020-01-01", periods=8)
    index = pd.MultiIndex.from_product([days, list("ABC")], names=["datetime", "instrument"])
    columns = pd.MultiIndex.from_tuples([("feature", "a"), ("feature", "b"), ("label", "L")])
    frame = pd.DataFrame(np.arange(72.0).reshape(24, 3).astype("f4"), index=index, columns=columns)
    frame = frame.drop([(days[3], "B"), (days[0], "C"), (days[1], "C")])
    frame.iloc[4, 0] = np.nan
    return frame


# Arguments of MTSDatasetH; what is assigned to the memory is 1, 2, 3, ...
BATCHES: dict[str, dict] = {
    "days": {},
    "two days": {"batch_size": -2},
    "samples": {"batch_size": 2},
    "full batches": {"batch_size": 4, "drop_last": True},
    "full days": {"batch_size": -3, "drop_last": True},
    "one state": {"num_states": 1, "horizon": 1},
    "no memory seen": {"horizon": 4},
    "long": {"seq_len": 5, "horizon": 3, "num_states": 1},
    "daily": {"memory_mode": "daily"},
    "daily, two days": {"memory_mode": "daily", "batch_size": -2, "horizon": 1, "num_states": 1},
    "unfolded": {"input_size": 1},
    "unfolded by two": {"input_size": 2, "num_states": 1},
}


def norms() -> pd.DataFrame:
    """Return a frame of four columns for two instruments, indexed (instrument, datetime)."""
    index = pd.MultiIndex.from_product(
        [list("AB"), pd.date_range("2020-01-01", periods=6, freq="12h")], names=["instrument", "datetime"]
    )
    frame = pd.DataFrame(((np.arange(48) * 7) % 17 / 4).reshape(12, 4), index=index, columns=list("abcd"))
    frame.iloc[3, 1] = np.nan
    return frame


NORM = {"fit_start_time": "2020-01-01", "fit_end_time": "2020-01-02", "norm_groups": {"p": 2, "q": 1, "xvolume": 1}}

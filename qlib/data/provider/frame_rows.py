"""Which rows of a kept frame belong to which datetime: Qlib's `DiskDatasetCache.IndexManager`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from qlib.data.calendar import timestamp
from qlib.errors import StoreError
from qlib.log import get_module_logger
from qlib.utils.paths import replace_file


class IndexManager:
    """Which rows of a frame, sorted by datetime, belong to each datetime: a file `<cache>.index` (Feather).

    >>> import tempfile
    >>> days = pd.to_datetime(["2024-01-01", "2024-01-01", "2024-01-02"])
    >>> frame = pd.DataFrame({"x": [1, 2, 3]}, pd.MultiIndex.from_arrays([days, list("ABA")]))
    >>> rows = IndexManager(tempfile.mkdtemp() + "/frame")
    >>> rows.update(rows.build_index_from_data(frame))
    >>> rows.get_index("2024-01-02").to_numpy().tolist()
    [[2, 3]]
    """

    KEY: ClassVar[str] = "df"

    def __init__(self, cache_path: str | Path) -> None:
        self.index_path = Path(cache_path).with_suffix(".index")
        self.logger = get_module_logger(type(self).__name__)
        self._data: pd.DataFrame | None = None

    def get_index(self, start_time: Any = None, end_time: Any = None) -> pd.DataFrame:
        """Return the columns start and end (half-open row numbers) of the datetimes inside a range."""
        if self._data is None:
            self.sync_from_disk()
        assert self._data is not None
        start, end = timestamp(start_time, "start_time"), timestamp(end_time, "end_time")
        return self._data.loc[start:end].copy()

    def sync_to_disk(self) -> None:
        """Write the file; ValueError where nothing was given yet."""
        if self._data is None:
            raise ValueError(f"{self.index_path}: there are no rows to write; call update first")
        table = self._data.rename_axis("datetime").reset_index()
        replace_file(self.index_path, table.to_feather)

    def sync_from_disk(self) -> None:
        """Read the file; StoreError where it is no such file."""
        try:
            table = pd.read_feather(self.index_path)
            self._data = table.set_index("datetime")[["start", "end"]]
        except (ValueError, KeyError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise StoreError(f"{self.index_path}: is damaged, or no index of rows ({error})") from None

    def update(self, data: pd.DataFrame, sync: bool = True) -> None:
        """Take rows in the place of those before."""
        self._data = data[["start", "end"]].astype(np.int32)
        if sync:
            self.sync_to_disk()

    def append_index(self, data: pd.DataFrame, to_disk: bool = True) -> None:
        """Add the rows of later datetimes."""
        if self._data is None:
            self.sync_from_disk()
        self.update(pd.concat([self._data, data]), sync=to_disk)

    @staticmethod
    def build_index_from_data(data: pd.DataFrame, start_index: int = 0) -> pd.DataFrame:
        """Return the columns start and end of a frame (datetime, ...) whose first row is number `start_index`."""
        times = data.index.get_level_values(0)
        if not times.is_monotonic_increasing:
            raise ValueError("data: its rows are not in order of time; sort_index() first")
        found, first = np.unique(times.to_numpy(), return_index=True)
        bounds = np.append(first, len(data)) + start_index
        index = pd.DatetimeIndex(found, name="datetime")
        return pd.DataFrame({"start": bounds[:-1], "end": bounds[1:]}, index, dtype=np.int64)

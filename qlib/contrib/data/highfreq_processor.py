"""Processors for bars within days: number types, and a scale per family of columns.

HighFreqTrans(dtype="float32")
HighFreqNorm("2020-09-15", "2021-01-18", "norm/", norm_groups={"price": 10, "volume": 2})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.config import active_settings
from qlib.data.dataset.processor import Processor
from qlib.data.dataset.utils import row_window
from qlib.errors import ConfigError, InputError, MissingDataError
from qlib.log import get_module_logger
from qlib.utils.paths import replace_file

STATISTICS = ("mean", "std", "vmax", "vmin")


class HighFreqTrans(Processor):
    """Change the type of every column: "bool" means int8 (fractions are cut off), "float32" float32.

    Raises InputError where a value has no place in int8: missing, infinite, outside -128 ... 127.
    """

    def __init__(self, dtype: str = "bool") -> None:
        super().__init__()
        if dtype not in ("bool", "float", "float32"):
            raise ConfigError(f"HighFreqTrans dtype: received {dtype!r}; allowed are bool, float32")
        self.dtype = dtype

    def fit(self, df_features: pd.DataFrame | None = None) -> None:
        """Learn nothing."""

    def __call__(self, df_features: pd.DataFrame) -> pd.DataFrame:
        if self.dtype != "bool":
            return df_features.astype(np.float32)
        values = df_features.to_numpy()
        wrong = ~(np.abs(values.astype(np.float64)) < 128) & (values != -128)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise InputError(
                f"HighFreqTrans(dtype='bool'): {values[row, column]} in column {df_features.columns[column]} has no "
                "place in int8; fill what is missing first, or take dtype='float32'"
            )
        return df_features.astype(np.int8)

    def readonly(self) -> bool:
        return True


class HighFreqNorm(Processor):
    """(x - mean) / std with one mean and one std per family of columns; missing values become 0 afterwards.

    Parameters
    ----------
    fit_start_time, fit_end_time
        First and last date of the fit window (closed).
    feature_save_dir
        Folder where the statistics are written: `<family>_mean.npy`, `_std`, `_vmax`, `_vmin` (the last two are the
        extremes after scaling).
    norm_groups
        Family -> number of columns, in the order of the columns; columns beyond stay as they are. In a family whose
        name ends with "volume" x is log(1 + x). The std is that of |x - mean|, as in Qlib.

    What was learned is kept in the processor, and in the folder for other programs. Qlib learns nothing when the folder
    holds any file, so that another fit window changes nothing; `compat="qlib"` does so too.
    """

    def __init__(
        self, fit_start_time: Any, fit_end_time: Any, feature_save_dir: str, norm_groups: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.fit_start_time = fit_start_time
        self.fit_end_time = fit_end_time
        self.feature_save_dir = feature_save_dir
        self.norm_groups = dict(norm_groups)

    def _families(self, columns: pd.Index) -> Iterator[tuple[str, slice]]:
        first = 0
        for name, width in self.norm_groups.items():
            if not isinstance(width, int) or isinstance(width, bool) or width < 1:
                raise ConfigError(f"norm_groups {name}: received {width!r}; a number of columns is allowed")
            if first + width > len(columns):
                raise InputError(
                    f"norm_groups: {name} ends with column {first + width}; the frame has {len(columns)} columns"
                )
            yield name, slice(first, first + width)
            first += width

    def _path(self, family: str, statistic: str) -> Path:
        return Path(self.feature_save_dir).expanduser() / f"{family}_{statistic}.npy"

    def fit(self, df_features: pd.DataFrame | None = None) -> None:
        """Learn from the rows inside the fit window; raise MissingDataError when there are none."""
        if df_features is None:
            raise InputError("HighFreqNorm.fit needs the frame to learn from")
        folder = Path(self.feature_save_dir).expanduser()
        as_qlib = active_settings().compat == "qlib"
        if as_qlib and folder.is_dir() and any(folder.iterdir()):
            get_module_logger("processor").warning(f"HighFreqNorm: {folder} holds files, nothing is learned anew")
            self._read()
            return
        rows = df_features.iloc[row_window(df_features.index, self.fit_start_time, self.fit_end_time)]
        if rows.empty:
            raise MissingDataError(
                f"HighFreqNorm: no rows in the fit window [{self.fit_start_time}, {self.fit_end_time}]"
            )
        self.learned = {}
        for name, at in self._families(df_features.columns):
            x = _values(rows, name, at)
            seen = x[~np.isnan(x) if as_qlib else np.isfinite(x)]
            if not len(seen):
                raise MissingDataError(f"HighFreqNorm: the columns of {name} hold no number in the fit window")
            mean = float(seen.mean())
            away = seen - mean
            std = float(np.abs(away).std())
            scaled = away / std if std else away
            self.learned[name] = {"mean": mean, "std": std, "vmax": float(scaled.max()), "vmin": float(scaled.min())}
        for name, statistics in self.learned.items():
            for statistic, value in statistics.items():
                _write(self._path(name, statistic), value)

    def _read(self) -> None:
        """Take the statistics from the folder."""
        learned = {}
        for name in self.norm_groups:
            paths = {statistic: self._path(name, statistic) for statistic in STATISTICS}
            absent = [path for path in paths.values() if not path.is_file()]
            if absent:
                raise MissingDataError(f"HighFreqNorm was called before fit: there is no file {absent[0]}")
            learned[name] = {statistic: float(np.load(path)) for statistic, path in paths.items()}
        self.learned = learned

    def __call__(self, df_features: pd.DataFrame) -> pd.DataFrame:
        if not hasattr(self, "learned"):
            self._read()
        values = df_features.to_numpy(dtype=np.float64, copy=True)
        for name, at in self._families(df_features.columns):
            mean, std = self.learned[name]["mean"], self.learned[name]["std"]
            if std == 0:
                raise InputError(f"HighFreqNorm: the columns of {name} were constant in the fit window: no scale")
            values[:, at] = (_values(df_features, name, at) - mean) / std
        np.copyto(values, 0.0, where=np.isnan(values))
        return pd.DataFrame(values, index=df_features.index, columns=df_features.columns, copy=False)

    def readonly(self) -> bool:
        return True


def _write(path: Path, value: float) -> None:
    replace_file(path, lambda file: np.save(file, np.float64(value)))


def _values(df: pd.DataFrame, family: str, at: slice) -> np.ndarray:
    """Return the columns of a family as float64, new memory, logarithms taken."""
    x = df.iloc[:, at].to_numpy(dtype=np.float64, copy=True)
    if family.endswith("volume"):
        with np.errstate(invalid="ignore", divide="ignore"):
            np.log1p(x, out=x)
    return x

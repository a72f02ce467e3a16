"""Other containers that a handler may keep its data in, instead of a frame.

NaiveDFStorage(df)           the frame itself
HashingStockStorage(df)      one frame per instrument, found by name: quick where instruments are asked one by one
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.dataset.utils import CS_ALL, LEVELS, fetch_df_by_col, fetch_df_by_index, get_level_index
from qlib.log import get_module_logger

Names = str | list[str] | tuple[str, ...] | slice


class BaseHandlerStorage(abc.ABC):
    """What a handler's `fetch` asks when its data are not a frame."""

    @abc.abstractmethod
    def fetch(
        self,
        selector: Any = slice(None, None),
        level: str | int | None = "datetime",
        col_set: Any = CS_ALL,
        fetch_orig: bool = True,
    ) -> pd.DataFrame:
        """Return the rows and columns picked, as `DataHandler.fetch` does."""

    @staticmethod
    def from_df(df: pd.DataFrame) -> BaseHandlerStorage:
        """Return a storage of this class holding `df`."""
        raise NotImplementedError


class NaiveDFStorage(BaseHandlerStorage):
    """A frame behind the interface of a storage."""

    def __init__(self, df: pd.DataFrame) -> None:
        self.df = df

    @staticmethod
    def from_df(df: pd.DataFrame) -> NaiveDFStorage:
        return NaiveDFStorage(df)

    def fetch(
        self,
        selector: Any = slice(None, None),
        level: str | int | None = "datetime",
        col_set: Any = CS_ALL,
        fetch_orig: bool = True,
    ) -> pd.DataFrame:
        return fetch_df_by_index(fetch_df_by_col(self.df, col_set), selector, level, fetch_orig=fetch_orig)


class HashingStockStorage(BaseHandlerStorage):
    """Rows kept by instrument.

    Parameters
    ----------
    df
        Frame with the index levels datetime and instrument, in either order; the order is kept in what `fetch` returns.
    """

    def __init__(self, df: pd.DataFrame) -> None:
        self.stock_level = get_level_index(df, "instrument")
        self.index_names = [name or default for name, default in zip(df.index.names, LEVELS, strict=True)]
        self.columns = df.columns
        self.hash_df: dict[str, pd.DataFrame] = {
            str(name): rows for name, rows in df.groupby(level=self.stock_level, sort=True)
        }

    @staticmethod
    def from_df(df: pd.DataFrame) -> HashingStockStorage:
        return HashingStockStorage(df)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is saved: one frame, not one for each instrument."""
        whole = pd.concat(self.hash_df.values()) if self.hash_df else self._empty()
        return {"whole": whole.set_axis(self.columns, axis=1)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "whole" in state:
            self.__init__(state["whole"])  # type: ignore[misc]
        else:  # a pickle of Qlib, or an older one
            self.__dict__.update(state)

    def _empty(self) -> pd.DataFrame:
        index = pd.MultiIndex.from_arrays([[], []], names=self.index_names)
        return pd.DataFrame(index=index, columns=self.columns, dtype=np.float32)

    def _instruments(self, selector: Any, level: str | int | None) -> list[str]:
        """Return the names that `selector` picks; instruments not here are left out, with a line in the log."""
        names: Any = slice(None)
        if level is None:
            if isinstance(selector, tuple) and self.stock_level < len(selector):
                names = selector[self.stock_level]
            elif isinstance(selector, list | str) and self.stock_level == 0:
                names = selector
        elif level in ("instrument", self.stock_level):
            names = selector[0] if isinstance(selector, tuple) else selector
        if isinstance(names, slice):
            if names == slice(None):
                return list(self.hash_df)
            index = pd.Index(sorted(self.hash_df))
            return list(index[index.slice_indexer(names.start, names.stop, names.step)])
        wanted = [names] if isinstance(names, str) else list(names)
        absent = [name for name in wanted if name not in self.hash_df]
        if absent:
            get_module_logger("storage").warning(f"not in the storage, left out: {', '.join(absent[:5])}")
        return [name for name in wanted if name in self.hash_df]

    def fetch(
        self,
        selector: Any = slice(None, None),
        level: str | int | None = "datetime",
        col_set: Any = CS_ALL,
        fetch_orig: bool = True,
    ) -> pd.DataFrame:
        frames = [self.hash_df[name] for name in self._instruments(selector, level)]
        if not frames:
            return fetch_df_by_col(self._empty(), col_set)
        found = frames[0] if len(frames) == 1 else pd.concat(frames, sort=False)
        found = fetch_df_by_col(found, col_set)
        if len(frames) > 1:
            found = found.sort_index()
        if level in ("instrument", self.stock_level):
            return found
        return fetch_df_by_index(found, selector, level, fetch_orig=fetch_orig)

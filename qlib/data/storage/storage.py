"""The three interfaces of a store, as Qlib names them; `file_storage` implements them over files.

    CalendarStorage      like a list of times (text)
    InstrumentStorage    like a dict name -> [(start, end), ...]
    FeatureStorage       like a Series of float32 over calendar positions

A backend of your own subclasses them and is called `<Prefix>CalendarStorage`, `<Prefix>InstrumentStorage`,
`<Prefix>FeatureStorage`. What it leaves out raises NotImplementedError when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, overload

import numpy as np
import pandas as pd

CalVT = str
InstVT = list[tuple[CalVT, CalVT]]
InstKT = str


class BaseStorage:
    @property
    def storage_name(self) -> str:
        """The kind: "calendar", "instrument" or "feature" (the second-last capitalised word of the class name)."""
        return re.findall("[A-Z][^A-Z]*", type(self).__name__)[-2].lower()

    def _not_built(self, method: str) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} does not offer {method}")


class CalendarStorage(BaseStorage):
    """Times of one frequency, in order.

    Parameters
    ----------
    freq
        Bar size, such as "day" or "1min".
    future
        Whether to use the calendar that runs into the future.
    """

    def __init__(self, freq: str, future: bool, **kwargs: Any) -> None:
        self.freq = freq
        self.future = future
        self.kwargs = kwargs

    @property
    def data(self) -> Iterable[CalVT]:
        """Every time; a calendar that does not exist raises ValueError."""
        self._not_built("data")

    def clear(self) -> None:
        self._not_built("clear")

    def extend(self, iterable: Iterable[CalVT]) -> None:
        self._not_built("extend")

    def index(self, value: CalVT) -> int:
        """Return the position of `value`; ValueError where it is absent."""
        self._not_built("index")

    def insert(self, index: int, value: CalVT) -> None:
        self._not_built("insert")

    def remove(self, value: CalVT) -> None:
        self._not_built("remove")

    @overload
    def __setitem__(self, i: int, value: CalVT) -> None: ...
    @overload
    def __setitem__(self, i: slice, value: Iterable[CalVT]) -> None: ...
    def __setitem__(self, i: int | slice, value: Any) -> None:
        self._not_built("item assignment")

    def __delitem__(self, i: int | slice) -> None:
        self._not_built("item deletion")

    @overload
    def __getitem__(self, i: int) -> CalVT: ...
    @overload
    def __getitem__(self, i: slice) -> list[CalVT]: ...
    def __getitem__(self, i: int | slice) -> Any:
        self._not_built("item access")

    def __len__(self) -> int:
        return self._not_built("len")


class InstrumentStorage(BaseStorage):
    """The instruments of one market and the spans in which they belong to it (both ends included)."""

    def __init__(self, market: str, freq: str, **kwargs: Any) -> None:
        self.market = market
        self.freq = freq
        self.kwargs = kwargs

    @property
    def data(self) -> dict[InstKT, InstVT]:
        """Every instrument with its spans; a market that does not exist raises ValueError."""
        self._not_built("data")

    def clear(self) -> None:
        self._not_built("clear")

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add or replace instruments like `dict.update`."""
        self._not_built("update")

    def __setitem__(self, k: InstKT, v: InstVT) -> None:
        self._not_built("item assignment")

    def __delitem__(self, k: InstKT) -> None:
        self._not_built("item deletion")

    def __getitem__(self, k: InstKT) -> InstVT:
        self._not_built("item access")

    def __len__(self) -> int:
        return self._not_built("len")


class FeatureStorage(BaseStorage):
    """One field of one instrument: float32 values over an unbroken range of calendar positions."""

    def __init__(self, instrument: str, field: str, freq: str, **kwargs: Any) -> None:
        self.instrument = instrument
        self.field = field
        self.freq = freq
        self.kwargs = kwargs

    @property
    def data(self) -> pd.Series:
        """Every value; the index is the calendar position."""
        self._not_built("data")

    @property
    def start_index(self) -> int | None:
        """Calendar position of the first value, None where there is none."""
        self._not_built("start_index")

    @property
    def end_index(self) -> int | None:
        """Calendar position of the last value, None where there is none."""
        self._not_built("end_index")

    def clear(self) -> None:
        self._not_built("clear")

    def write(self, data_array: Sequence[float] | np.ndarray, index: int | None = None) -> None:
        """Put values in from calendar position `index` on (None: after the last); a gap is filled with NaN."""
        self._not_built("write")

    def rebase(self, start_index: int | None = None, end_index: int | None = None) -> None:
        """Cut or stretch to the positions start_index ... end_index; new positions hold NaN."""
        start, end = self.start_index, self.end_index
        if start is None or end is None:
            raise ValueError(f"{self.instrument} has no {self.field} at {self.freq}: nothing to rebase")
        first = start if start_index is None else int(start_index)
        last = end if end_index is None else int(end_index)
        if first > last:
            raise ValueError(f"start_index: received {first}, after end_index {last}")
        self.rewrite(self.data.reindex(range(first, last + 1)).to_numpy(), first)

    def rewrite(self, data: Sequence[float] | np.ndarray, index: int) -> None:
        """Replace everything with `data` from calendar position `index` on."""
        self.clear()
        self.write(data, index)

    @overload
    def __getitem__(self, i: int) -> tuple[int, float]: ...
    @overload
    def __getitem__(self, i: slice) -> pd.Series: ...
    def __getitem__(self, i: int | slice) -> Any:
        """Return (position, value), or the Series of the values at positions i.start ... i.stop - 1."""
        self._not_built("item access")

    def __len__(self) -> int:
        return self._not_built("len")

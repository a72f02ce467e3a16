"""Bars as arrays: one (time x instrument) array per field, addressed by integers.

    times        t0 t1 t2 ...                      instruments   A B C ...
    fields       "$close"  [[10.0  5.1   nan]      row = bar, column = instrument
                            [10.2  5.0   7.7]]     NaN where the instrument has no value
    span         [(0, 2), (0, 2), (1, 2)]          rows in which an instrument exists at all

A `Bar` is the market during one step: the rows lo:hi, and one number per instrument for each question asked of them,
computed once. With bars as fine as the step (the usual case) it is a view of one row.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.errors import InputError, MissingDataError, did_you_mean

METHODS = ("sum", "mean", "last", "all", "ts_data_last", None)
Array = np.ndarray[Any, Any]


class Bar:
    """The rows `lo:hi` of the quotes as one bar."""

    __slots__ = ("_known", "hi", "lo", "quote")

    def __init__(self, quote: NumpyQuote, lo: int, hi: int) -> None:
        self.quote, self.lo, self.hi = quote, lo, hi
        self._known: dict[tuple[str, str], Any] = {}

    def last(self, field: str) -> Array:
        """Last number of the field in the bar, per instrument; NaN where there is none."""
        if self.hi - self.lo == 1:
            return self.first(field)
        found: Any = self._known.get(("last", field))
        if found is None:
            rows = self.quote.fields[field][self.lo : self.hi]
            found = np.full(len(self.quote.instruments), np.nan) if not len(rows) else rows[-1].copy()
            for row in rows[-2::-1] if len(rows) else rows:
                gaps = np.isnan(found)
                if not gaps.any():
                    break
                found[gaps] = row[gaps]
            self._known["last", field] = found
        return found

    def first(self, field: str) -> Array:
        """Number of the field in the first row of the bar, per instrument; NaN where there is none."""
        if self.hi == self.lo:
            return np.full(len(self.quote.instruments), np.nan)
        row: Array = self.quote.fields[field][self.lo]
        return row

    def total(self, field: str) -> Array:
        """Sum of the field over the bar (of several rows the missing ones count as 0), per instrument."""
        if self.hi - self.lo == 1:
            return self.first(field)
        found: Any = self._known.get(("total", field))
        if found is None:
            rows = self.quote.fields[field][self.lo : self.hi]
            found = np.nansum(rows, axis=0, dtype=np.float64)
            self._known["total", field] = found
        return found

    def every(self, field: str) -> Array:
        """Where a boolean field is true in every row of the bar, per instrument; true for no rows."""
        if self.hi - self.lo == 1:
            return self.first(field)
        found: Any = self._known.get(("every", field))
        if found is None:
            found = self.quote.fields[field][self.lo : self.hi].all(axis=0)
            self._known["every", field] = found
        return found


class BaseQuote:
    """What the exchange asks of its quotes."""

    def __init__(self, quote_df: pd.DataFrame, freq: str) -> None:
        raise NotImplementedError

    def get_all_stock(self) -> Sequence[str]:
        """Return the instruments that have quotes."""
        raise NotImplementedError

    def get_data(
        self, stock_id: str, start_time: pd.Timestamp, end_time: pd.Timestamp, field: str, method: str | None = None
    ) -> Any:
        """Return `field` of an instrument in a closed time range, aggregated by `method`."""
        raise NotImplementedError


class NumpyQuote(BaseQuote):
    """Quotes as arrays.

    Parameters
    ----------
    quote_df
        Index (instrument, datetime), one column per field, as `D.features` returns it. From arrays: `from_arrays`.
    freq
        Bar size of the quotes.
    region
        Kept for Qlib's callers; a step is recognised by the bars it contains, so sessions do not matter.
    """

    def __init__(self, quote_df: pd.DataFrame, freq: str, region: str = "cn") -> None:  # noqa: ARG002
        names = pd.Index(quote_df.index.get_level_values("instrument"))
        stamps = pd.DatetimeIndex(quote_df.index.get_level_values("datetime"))
        column, instruments = pd.factorize(names, sort=True)
        row, times = pd.factorize(stamps, sort=True)
        fields = {}
        for name in quote_df.columns:
            values = quote_df[name].to_numpy()
            boolean = values.dtype == bool
            table = np.full(
                (len(times), len(instruments)), True if boolean else np.nan, dtype=bool if boolean else "f4"
            )
            table[row, column] = values
            fields[str(name)] = table
        span = np.zeros((len(instruments), 2), dtype=np.int64)
        span[:, 0] = len(times)
        np.minimum.at(span[:, 0], column, row)
        np.maximum.at(span[:, 1], column, row + 1)
        self._set(np.asarray(times, dtype="datetime64[ns]"), tuple(map(str, instruments)), fields, span, freq)

    @classmethod
    def from_arrays(
        cls, times: Array, instruments: Sequence[str], fields: Mapping[str, Array], span: Array, freq: str
    ) -> NumpyQuote:
        """Return quotes over ready arrays: `fields` of shape (times, instruments), `span` first and end row of each."""
        quote = cls.__new__(cls)
        quote._set(np.asarray(times, dtype="datetime64[ns]"), tuple(instruments), dict(fields), span, freq)
        return quote

    def _set(
        self, times: Array, instruments: tuple[str, ...], fields: dict[str, Array], span: Array, freq: str
    ) -> None:
        self.times, self.instruments, self.fields, self.span, self.freq = times, instruments, fields, span, freq
        self.column = {name: i for i, name in enumerate(instruments)}
        self._ticks: list[int] = times.astype(np.int64).tolist()  # a list: bisect is quicker than numpy for one time
        self._bars: dict[tuple[int, int], Bar] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bars": {}}

    def get_all_stock(self) -> Sequence[str]:
        return self.instruments

    def rows(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> tuple[int, int]:
        """Return (first row, end row) of the bars that open inside the closed range."""
        lo = bisect_left(self._ticks, start_time.value)
        return lo, bisect_right(self._ticks, end_time.value, lo)

    def bar(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> Bar:
        """Return the bar of a closed range; the few used last are kept."""
        key = self.rows(start_time, end_time)
        found = self._bars.get(key)
        if found is None:
            if len(self._bars) >= 8:
                self._bars.clear()
            found = self._bars[key] = Bar(self, *key)
        return found

    def values(self, field: str) -> Array:
        """Return the array of a field; MissingDataError with the nearest name when it was not loaded."""
        try:
            return self.fields[field]
        except KeyError:
            raise MissingDataError(
                f"the quotes hold no {field}{did_you_mean(field, self.fields)}; they hold {', '.join(self.fields)}"
                " (more with subscribe_fields)"
            ) from None

    def get_data(
        self, stock_id: str, start_time: pd.Timestamp, end_time: pd.Timestamp, field: str, method: str | None = None
    ) -> Any:
        """Return `field` of an instrument in a closed time range.

        Of a single bar its value, whatever the method. Of several: "sum", "mean", "last" (NaN may be last), "all",
        "ts_data_last" (last number) or None for a Series over time. None where there is no row, or no number.
        """
        if method not in METHODS:
            raise InputError(f"quote method: received {method!r}; allowed are {', '.join(map(str, METHODS))}")
        table, column = self.values(field), self.column.get(stock_id)
        if column is None:
            return None
        lo, hi = self.rows(start_time, end_time)
        lo, hi = max(lo, int(self.span[column, 0])), min(hi, int(self.span[column, 1]))
        if lo >= hi:
            return None
        values = table[lo:hi, column]
        if len(values) == 1:
            return values.item()
        if method is None:
            return pd.Series(values, index=pd.DatetimeIndex(self.times[lo:hi]), name=field)
        if method == "all":
            return bool(values.all())
        if method == "last":
            return values.item(len(values) - 1)
        numbers = values[~np.isnan(values)].astype(np.float64)
        if method == "sum":
            return float(numbers.sum())
        if not len(numbers):
            return None if method == "ts_data_last" else np.nan
        return float(numbers.mean() if method == "mean" else numbers[-1])

    def frame(self) -> pd.DataFrame:
        """Return the quotes as a frame with index (instrument, datetime); no rows outside an instrument's span."""
        first, end = self.span[:, 0], self.span[:, 1]
        length = np.maximum(end - first, 0)
        column = np.repeat(np.arange(len(self.instruments)), length)
        row = np.arange(len(column)) - np.repeat(np.cumsum(length) - length, length) + np.repeat(first, length)
        levels: Any = [pd.Index(self.instruments), pd.DatetimeIndex(self.times)]
        codes: Any = [column, row]
        index = pd.MultiIndex(
            levels=levels,
            codes=codes,
            names=["instrument", "datetime"],
        )
        return pd.DataFrame({name: table[row, column] for name, table in self.fields.items()}, index=index)


class PandasQuote(NumpyQuote):
    """Qlib's other name for the same quotes."""

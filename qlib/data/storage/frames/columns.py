"""What of a frame may be a name, a time, a field and a value; the same rules as `write_store`, by the same sentences.

    float32_of(column)      any numbers -> float32, through float64, NaN for what is missing
    stamps_of(times)        DatetimeIndex or Arrow array -> datetime64[ns] in the one clock that was declared
    fields_of(columns)      which columns are fields, and what they are called in formulas

What cannot be stored cannot be brought: an error names the frame, the column, and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from qlib.data.storage.writer import FIELD
from qlib.errors import InputError, did_you_mean
from qlib.utils.time import Freq

if TYPE_CHECKING:
    import pyarrow as pa

Fields = Mapping[str, str]
_SECOND: Final = np.int64(1_000_000_000)
_DAY: Final = 86_400 * _SECOND


# ------------------------------------------------------------------------------------------------ values
def narrowed(exact: np.ndarray, what: str) -> np.ndarray:
    """Return float64 numbers as float32; InputError, which begins with `what`, for one that is too large."""
    with np.errstate(over="ignore"):
        values = exact.astype(np.float32)
    lost = np.isinf(values) & np.isfinite(exact)
    if lost.any():
        raise InputError(f"{what} holds {exact[lost][0]:g}, too large for float32")
    return values


def float32_of(column: pd.Series, what: str) -> np.ndarray:
    """Return a column of pandas as float32: a view where it is float32 already."""
    if column.dtype == np.float32:
        return column.to_numpy()
    check_dtype(column.dtype, what)
    return narrowed(column.to_numpy(dtype=np.float64, na_value=np.nan), what)


def check_dtype(kind: Any, what: str) -> None:
    """Raise InputError, which begins with `what`, for a dtype of pandas that is no number."""
    numeric = pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind)
    if not numeric or pd.api.types.is_complex_dtype(kind):
        raise _no_numbers(what, kind)


def float32_of_arrow(column: pa.Array | pa.ChunkedArray, what: str) -> np.ndarray:
    """Return a column of Arrow as float32: a view where it is one array of float32 without nulls."""
    import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it

    check_numbers(column.type, what)
    if pa.types.is_float32(column.type):
        return _plain(column)
    if not pa.types.is_float16(column.type):
        column = column.cast(pa.float64(), safe=False)
    return narrowed(_plain(column).astype(np.float64, copy=False), what)


def _plain(column: Any) -> np.ndarray:
    chunked = hasattr(column, "chunks")
    if chunked and column.num_chunks == 1:
        column, chunked = column.chunk(0), False
    return np.asarray(column.to_numpy() if chunked else column.to_numpy(zero_copy_only=False))


def check_numbers(kind: pa.DataType, what: str) -> None:
    """Raise InputError, which begins with `what`, for a type of Arrow that is no number."""
    import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it

    is_ = pa.types
    if not (is_.is_floating(kind) or is_.is_integer(kind) or is_.is_boolean(kind) or is_.is_decimal(kind)):
        raise _no_numbers(what, kind)


def _no_numbers(what: str, kind: Any) -> InputError:
    return InputError(f"{what} is {kind}; numbers are needed: convert it, or name the columns to use in fields=[...]")


# ------------------------------------------------------------------------------------------------ times
def stamps_of(times: pd.DatetimeIndex, clock: str | None, where: str) -> np.ndarray:
    """Return times as datetime64[ns] in the declared clock.

    Times with a zone need a clock, to which they are converted; those without are in it already.
    """
    if times.tz is not None:
        if clock is None:
            raise InputError(
                f"{where}: its times carry the zone {times.tz}; formulas count bars by one clock without zones: "
                "name it, as in Frames(..., clock='UTC')"
            )
        times = times.tz_convert(clock).tz_localize(None)
    if times.hasnans:
        raise InputError(f"{where}: it has a row without a time (NaT)")
    try:
        return times.as_unit("ns").to_numpy()
    except pd.errors.OutOfBoundsDatetime as error:
        raise InputError(f"{where}: a time that nanoseconds cannot count ({error})") from None


def pandas_times(times: Any, clock: str | None, where: str) -> np.ndarray:
    """Return an index or a column of pandas as datetime64[ns] in the declared clock."""
    kind = times.dtype
    if not (isinstance(kind, pd.DatetimeTZDtype) or getattr(kind, "kind", "") == "M"):
        if isinstance(kind, pd.ArrowDtype) and pd.api.types.is_datetime64_any_dtype(kind):
            return stamps_of(pd.DatetimeIndex(pd.to_datetime(times)), clock, where)
        some = pd.Series(times).dropna().head(1)
        shown = f" such as {some.iloc[0]!r}" if len(some) else ""
        raise InputError(
            f"{where}: its times are {kind}{shown}; datetime64 is needed: use pd.to_datetime(times), with utc=True "
            "where they carry several zones"
        )
    return stamps_of(pd.DatetimeIndex(times), clock, where)


def arrow_times(times: pa.Array | pa.ChunkedArray, clock: str | None, where: str) -> np.ndarray:
    """Return a column of Arrow as datetime64[ns] in the declared clock."""
    import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it

    kind = times.type
    check_times(kind, clock, where)
    if times.null_count:
        raise InputError(f"{where}: it has a row without a time (null)")
    try:
        zone = getattr(kind, "tz", None)
        plain = _plain(times.cast(pa.timestamp("ns", zone))).astype("datetime64[ns]", copy=False)
    except pa.ArrowInvalid as error:
        raise InputError(f"{where}: a time that nanoseconds cannot count ({error})") from None
    if zone is None or clock == "UTC":
        return plain
    return stamps_of(pd.DatetimeIndex(plain).tz_localize("UTC"), clock, where)


def check_times(kind: pa.DataType, clock: str | None, where: str) -> None:
    """Raise InputError for a type of Arrow that is no time, or has a zone where no clock is declared."""
    import pyarrow as pa  # noqa: PLC0415  heavy: only who brings such a frame needs it

    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise InputError(f"{where}: its times are {kind}; a timestamp or a date is needed: convert them first")
    if getattr(kind, "tz", None) is not None and clock is None:
        raise InputError(
            f"{where}: its times carry the zone {kind.tz}; formulas count bars by one clock without zones: "
            "name it, as in Frames(..., clock='UTC')"
        )


def check_grid(times: np.ndarray, freq: Freq, where: str) -> None:
    """Raise InputError where a time is no midnight (bars of a day and longer), or has a part of a second."""
    odd = times.view(np.int64) % (_SECOND if freq.intraday else _DAY) != 0
    if odd.any():
        unit = "whole seconds" if freq.intraday else "midnights"
        raise InputError(
            f"{where}: {pd.Timestamp(times[odd][0])} cannot be a bar at freq {freq}, whose times are {unit}"
        )


# ------------------------------------------------------------------------------------------------ columns
def fields_of(columns: Iterable[Any], taken: Sequence[Any], wanted: Any, where: str) -> Fields:
    """Return {field: column}: which columns formulas may name, and how (lower case, without `$`).

    Parameters
    ----------
    taken
        The columns of instruments and times, which are no fields.
    wanted
        None: all others; a list of columns; or {column: field}, for other names.
    """
    there = {str(column): column for column in columns}
    if isinstance(wanted, str):
        raise InputError(f"fields: received the text {wanted!r}; a list of columns is allowed: [{wanted!r}]")
    if wanted is None:
        names = {column: column for column in there if column not in map(str, taken)}
    else:
        pairs = wanted.items() if isinstance(wanted, Mapping) else ((column, column) for column in wanted)
        names = {str(column): str(field) for column, field in pairs}
    fields: dict[str, str] = {}
    for column, name in names.items():
        need(column, list(there), where)
        field = name.lower().removeprefix("$")
        if not FIELD.fullmatch(field):
            raise InputError(f"{where}: column {name!r} cannot be a field; letters, digits and _ are allowed")
        if field in fields:
            raise InputError(f"{where}: column {field} occurs more than once (case does not count)")
        fields[field] = there[column]
    if not fields:
        raise InputError(f"{where}: it has no columns but {', '.join(map(str, taken))}; at least one field is needed")
    return fields


def need(column: Any, columns: Iterable[Any], where: str, hint: str = "") -> None:
    """Raise InputError where a column is not there."""
    names = [str(one) for one in columns]
    if str(column) not in names:
        raise InputError(
            f"{where}: there is no column {str(column)!r}; it has {', '.join(names) or 'none'}"
            f"{did_you_mean(str(column), names)}{hint}"
        )

"""The point-in-time files of one field of one instrument: where their format is known, and the only place.

    financial/<instrument>/<field>_q.data     records in the order of their announcement, 20 bytes each:
        uint32   date       YYYYMMDD, the day of the announcement
        uint32   period     what it is about: YYYYQQ (201903) in `_q` files, YYYY in `_a` files
        float64  value
        uint32   next       the byte in this file where the next record of the same period begins, 0xFFFFFFFF for none
    financial/<instrument>/<field>_q.index
        uint32   first year
        uint32   one for every period from that year's first on: the byte of its first record, 0xFFFFFFFF for none

All numbers are little-endian.  `next` and the index say again what the records say already; a file in which the two
disagree is damaged, and so is one whose dates go back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from qlib.data.periods import FIRST_YEAR, LAST_YEAR, complaint, is_yearly, number, numbers
from qlib.errors import InputError, StoreError
from qlib.utils.paths import instrument_folder, replace_file

RECORD: Final = np.dtype([("date", "<u4"), ("period", "<u4"), ("value", "<f8"), ("next", "<u4")])
SLOT: Final = np.dtype("<u4")
NONE: Final = 0xFFFFFFFF


def pit_path(root: Path, instrument: str, field: str) -> Path:
    """Return the `.data` file of a field; its index lies beside it."""
    return root / "financial" / instrument_folder(instrument) / f"{field.lower()}.data"


def read_pit(path: str | os.PathLike[str]) -> np.ndarray | None:
    """Read the records of the field whose `.data` file is `path`, in the order of their announcement.

    Returns
    -------
    numpy.ndarray or None
        Read-only array of dtype RECORD; None where neither the file nor its index exists.

    Raises
    ------
    StoreError
        One of the two files is missing or damaged; the message names it and says what is wrong.
    """
    data, index = Path(path), Path(path).with_suffix(".index")
    content, slots = _content(data, RECORD.itemsize, "records"), _content(index, SLOT.itemsize, "whole numbers")
    if content is None and slots is None:
        return None
    if content is None or slots is None:
        lost, found = (data, index) if content is None else (index, data)
        raise StoreError(f"{lost}: does not exist, but {found.name} does")
    records = np.frombuffer(content, RECORD)
    if not len(slots) and len(records):
        raise StoreError(f"{index}: is empty, but {data.name} holds {len(records)} records")
    yearly = is_yearly(data.stem)
    _check_records(records, data, yearly=yearly)
    _check_links(records, np.frombuffer(slots, SLOT), data, index, yearly=yearly)
    return records


def write_pit(path: str | os.PathLike[str], records: Iterable[tuple[Any, int, float]]) -> None:
    """Write a field's two files, its `.data` file being `path`; what was there is replaced.

    Parameters
    ----------
    records
        (day of the announcement, period, value), by ascending days: the day as anything that numpy takes for a date,
        the period as YYYYQQ or YYYY, by the field's name.

    Raises
    ------
    InputError
        The name ends neither in _q nor in _a, a period does not fit it, or the days go back. Nothing was written.
    """
    data, index = Path(path), Path(path).with_suffix(".index")
    if (why := complaint(data.stem)) is not None:
        raise InputError(f"{data}: {why}")
    yearly = is_yearly(data.stem)
    found = [(_written(np.datetime64(day, "D")), int(period), float(value), NONE) for day, period, value in records]
    table = np.array(found, RECORD)
    try:
        _check_records(table, data, yearly=yearly)
    except StoreError as problem:
        raise InputError(str(problem)) from None
    first, following = _links(table["period"])
    table["next"] = following
    slots = np.empty(0, np.int64)
    if len(table):
        year = int(table["period"].min()) // (1 if yearly else 100)
        base = number(year if yearly else year * 100 + 1, yearly=yearly)
        at = numbers(table["period"][first], yearly=yearly) - base
        slots = np.full(1 + int(at.max()) + (1 if yearly else 4 - int(at.max()) % 4), NONE, np.int64)
        slots[0] = year
        slots[1 + at] = first * RECORD.itemsize
    replace_file(data, lambda file: file.write(table.tobytes()))
    replace_file(index, lambda file: file.write(slots.astype(SLOT).tobytes()))


def days(records: np.ndarray) -> np.ndarray:
    """Return the records' days of announcement, datetime64[D]."""
    date = records["date"].astype(np.int64)
    months = (date // 10_000 - 1970) * 12 + date // 100 % 100 - 1
    return months.astype("datetime64[M]").astype("datetime64[D]") + (date % 100 - 1)


def _written(day: np.datetime64) -> int:
    return int(str(day).replace("-", ""))


def _content(path: Path, unit: int, what: str) -> bytes | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise StoreError(f"{path}: is not a point-in-time file ({error.strerror})") from None
    if len(content) % unit:
        raise StoreError(f"{path}: {len(content)} bytes; it holds {what} of {unit} bytes each")
    return content


def _links(period: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first record of each period, and for every record the byte of the next of its period, or NONE."""
    order = np.argsort(period, kind="stable")
    again = period[order][1:] == period[order][:-1]
    following = np.full(len(period), NONE, np.int64)
    following[order[:-1][again]] = order[1:][again] * RECORD.itemsize
    return order[np.concatenate([[True], ~again])] if len(order) else order, following


def _check_records(records: np.ndarray, path: Path, *, yearly: bool) -> None:
    date, period = records["date"].astype(np.int64), records["period"].astype(np.int64)
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    fits = (year >= FIRST_YEAR) & (year <= LAST_YEAR) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    if fits.all():
        fits = (days(records).astype("datetime64[M]").astype(np.int64) - (year - 1970) * 12 - month + 1) == 0
    if not fits.all():
        at = int(np.flatnonzero(~fits)[0])
        raise StoreError(f"{path}: record {at + 1} has the date {date[at]}, which is no day such as 20240131")
    of_year = period if yearly else period // 100
    fits = (of_year >= FIRST_YEAR) & (of_year <= LAST_YEAR)
    if not yearly:
        fits &= (period % 100 >= 1) & (period % 100 <= 4)
    if not fits.all():
        at = int(np.flatnonzero(~fits)[0])
        kind = "year such as 2019" if yearly else "quarter such as 201903"
        raise StoreError(f"{path}: record {at + 1} has the period {period[at]}, which is no {kind}")
    late = np.flatnonzero(np.diff(date) < 0)
    if len(late):
        at = int(late[0])
        raise StoreError(
            f"{path}: record {at + 2} has the date {date[at + 1]}, after {date[at]}; "
            "records stand in the order of their announcement"
        )


def _check_links(records: np.ndarray, slots: np.ndarray, data: Path, index: Path, *, yearly: bool) -> None:
    """Compare `next` and the index with what the records say."""
    first, following = _links(records["period"])
    wrong = np.flatnonzero(records["next"] != following)
    if len(wrong):
        here = int(wrong[0])
        raise StoreError(
            f"{data}: record {here + 1} says that the next one of its period {records['period'][here]} is "
            f"{_place(records['next'][here])}, but it is {_place(following[here])}"
        )
    if not len(slots):
        return
    base = int(slots[0]) if yearly else int(slots[0]) * 4
    at = numbers(records["period"][first], yearly=yearly) - base
    strange = np.flatnonzero((at < 0) | (at >= len(slots) - 1))
    if len(strange):
        period = records["period"][first[strange[0]]]
        raise StoreError(f"{index}: it begins with {slots[0]} and has {len(slots) - 1} periods, but {period} is none")
    wanted = np.full(len(slots) - 1, NONE, np.int64)
    wanted[at] = first * RECORD.itemsize
    wrong = np.flatnonzero(slots[1:] != wanted)
    if len(wrong):
        slot = int(wrong[0])
        raise StoreError(
            f"{index}: slot {slot + 1} says that the first record of its period is {_place(slots[1 + slot])}, "
            f"but it is {_place(wanted[slot])}"
        )


def _place(byte: int) -> str:
    return "nowhere" if byte == NONE else f"at byte {int(byte)}"

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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from qlib.data.periods import FIRST_YEAR, LAST_YEAR, complaint, is_yearly, numbers
from qlib.data.storage.watch import note_file
from qlib.errors import InputError, StoreError
from qlib.utils.paths import instrument_folder, replace_file

RECORD: Final = np.dtype([("date", "<u4"), ("period", "<u4"), ("value", "<f8"), ("next", "<u4")])
SLOT: Final = np.dtype("<u4")
NONE: Final = 0xFFFFFFFF
_PERIODS: Final = 1 << 32  # a period fits four bytes


def pit_path(root: Path, instrument: str, field: str) -> Path:
    """Return the `.data` file of a field; its index lies beside it."""
    return Path(pit_paths(root, [instrument], [field])[0])


def pit_paths(root: Path, instruments: Iterable[str], fields: Sequence[str]) -> list[str]:
    """Return the `.data` files of some fields, instrument after instrument."""
    folder, names = os.fspath(root / "financial") + os.sep, [f"{os.sep}{field.lower()}.data" for field in fields]
    return [folder + own + name for own in map(instrument_folder, instruments) for name in names]


@dataclass(frozen=True, slots=True)
class Files:
    """The records of many fields, one after the other.

    Parameters
    ----------
    records
        Array of dtype RECORD, read-only; in each file in the order of announcement.
    start
        int64, one entry more than files: where each file's records begin, and the end.
    there
        bool, whether the file exists.
    yearly
        bool, whether its periods are years.
    """

    records: np.ndarray
    start: np.ndarray
    there: np.ndarray
    yearly: np.ndarray

    def owner(self) -> np.ndarray:
        """Return the number of the file that each record is from."""
        return np.repeat(np.arange(len(self.there)), np.diff(self.start))

    def days(self) -> np.ndarray:
        """Return the records' days of announcement, datetime64[D]."""
        date = self.records["date"].astype(np.int64)
        months = (date // 10_000 - 1970) * 12 + date // 100 % 100 - 1
        return months.astype("datetime64[M]").astype("datetime64[D]") + (date % 100 - 1)

    def numbers(self) -> np.ndarray:
        """Return the numbers of the records' periods, int64."""
        period = self.records["period"]
        yearly = np.repeat(self.yearly, np.diff(self.start))
        return np.where(yearly, numbers(period, yearly=True), numbers(period, yearly=False))


def read_pit(path: str | os.PathLike[str]) -> Files | None:
    """Read the records of one field, or None where it has no file; see `read_many`."""
    files = read_many([os.fspath(path)])
    return files if files.there[0] else None


def read_many(paths: Sequence[str]) -> Files:
    """Read the records of the fields whose `.data` files are `paths`.

    A field that has neither this file nor an index is not there, and has no records.

    Raises
    ------
    StoreError
        One of a field's two files is missing or damaged; the message names it and says what is wrong.
    """
    indexes = [path.removesuffix(".data") + ".index" for path in paths]
    for path in (*paths, *indexes):
        note_file(path)
    data = [_content(path, RECORD.itemsize, "records") for path in paths]
    index = [_content(path, SLOT.itemsize, "whole numbers") for path in indexes]
    for one, other, content, begins in zip(paths, indexes, data, index, strict=True):
        if (content is None) != (begins is None):
            lost, found = (one, other) if content is None else (other, one)
            raise StoreError(f"{lost}: does not exist, but {Path(found).name} does")
        if content and not begins:
            raise StoreError(f"{other}: is empty, but {Path(one).name} holds records")
    records, start = _joined(data, RECORD)
    there = np.array([content is not None for content in data], dtype=bool)
    yearly = np.array([is_yearly(path.removesuffix(".data")) for path in paths], dtype=bool)
    files = Files(records, start, there, yearly)
    _check_records(files, paths)
    _check_links(files, *_joined(index, SLOT), paths, indexes)
    return files


def _joined(contents: Sequence[bytes | None], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return contents one after the other as an array, and where each begins there."""
    start = np.cumsum([0, *(len(content or b"") // dtype.itemsize for content in contents)])
    return np.frombuffer(b"".join(content or b"" for content in contents), dtype), start


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
    found = [(_written(np.datetime64(day, "D")), int(period), float(value), NONE) for day, period, value in records]
    table = np.array(found, RECORD)
    ((of_data, of_index),) = contents(table, np.array([0, len(table)]), [os.fspath(data)])
    replace_file(data, lambda file: file.write(of_data))
    replace_file(index, lambda file: file.write(of_index))


def contents(records: np.ndarray, start: np.ndarray, paths: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Return what the `.data` and the `.index` files of some fields hold.

    Parameters
    ----------
    records
        Array of dtype RECORD, the fields' records one after the other, each field's by ascending days; `next` is not
        looked at.
    start
        One entry more than fields: where each field's records begin, and the end.
    paths
        The `.data` files, which stand in errors and say by their names what the periods are.

    Raises
    ------
    InputError
        A name ends neither in _q nor in _a, a period does not fit it, or the days of a field go back.
    """
    for path in paths:
        if (why := complaint(Path(path).stem)) is not None:
            raise InputError(f"{path}: {why}")
    yearly = np.array([is_yearly(path.removesuffix(".data")) for path in paths], dtype=bool)
    files = Files(records.copy(), start, np.ones(len(paths), bool), yearly)
    try:
        _check_records(files, paths)
    except StoreError as problem:
        raise InputError(str(problem)) from None
    first, following = _links(files)
    files.records["next"] = following
    number, owner = files.numbers()[first], files.owner()[first]
    byte = (first - start[owner]) * RECORD.itemsize
    bounds = np.searchsorted(owner, np.arange(len(paths) + 1))
    made = []
    for file in range(len(paths)):
        own = slice(bounds[file], bounds[file + 1])
        table = files.records[start[file] : start[file + 1]].tobytes()
        made.append((table, _index(number[own], byte[own], yearly=bool(yearly[file]))))
    return made


def _index(number: np.ndarray, byte: np.ndarray, *, yearly: bool) -> bytes:
    """Return the content of an index: whole years, from the first period's on."""
    if not len(number):
        return b""
    a_year = 1 if yearly else 4
    year = int(number.min()) // a_year
    slots = np.full(1 + (int(number.max()) // a_year - year + 1) * a_year, NONE, np.int64)
    slots[0] = year
    slots[1 + number - year * a_year] = byte
    return slots.astype(SLOT).tobytes()


def _written(day: np.datetime64) -> int:
    return int(str(day).replace("-", ""))


def _content(path: str, unit: int, what: str) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise StoreError(f"{path}: is not a point-in-time file ({error.strerror})") from None
    try:
        content = os.read(handle, os.fstat(handle).st_size + 1)
    except IsADirectoryError as error:
        raise StoreError(f"{path}: is not a point-in-time file ({error.strerror})") from None
    finally:
        os.close(handle)
    if len(content) % unit:
        raise StoreError(f"{path}: {len(content)} bytes; it holds {what} of {unit} bytes each")
    return content


def _links(files: Files) -> tuple[np.ndarray, np.ndarray]:
    """Return the first record of each period of each file, and for every record the byte of the next one, or NONE."""
    owner = files.owner()
    key = owner * _PERIODS + files.records["period"]
    order = np.argsort(key, kind="stable")
    again = key[order][1:] == key[order][:-1]
    following = np.full(len(key), NONE, np.int64)
    later = order[1:][again]
    following[order[:-1][again]] = (later - files.start[owner[later]]) * RECORD.itemsize
    return order[np.concatenate([[True], ~again])] if len(order) else order, following


def _check_records(files: Files, paths: Sequence[str]) -> None:
    records = files.records
    date, period = records["date"].astype(np.int64), records["period"].astype(np.int64)
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    fits = (year >= FIRST_YEAR) & (year <= LAST_YEAR) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    if fits.all():
        fits = files.days().astype("datetime64[M]").astype(np.int64) == (year - 1970) * 12 + month - 1
    if (where := _first_wrong(~fits, files, paths)) is not None:
        path, place, at = where
        raise StoreError(f"{path}: record {place} has the date {date[at]}, which is no day such as 20240131")
    yearly = np.repeat(files.yearly, np.diff(files.start))
    of_year = np.where(yearly, period, period // 100)
    fits = (of_year >= FIRST_YEAR) & (of_year <= LAST_YEAR) & (yearly | (period % 100 >= 1) & (period % 100 <= 4))
    if (where := _first_wrong(~fits, files, paths)) is not None:
        path, place, at = where
        kind = "year such as 2019" if yearly[at] else "quarter such as 201903"
        raise StoreError(f"{path}: record {place} has the period {period[at]}, which is no {kind}")
    back = np.diff(date, prepend=date[:1]) < 0
    back[files.start[:-1][np.diff(files.start) > 0]] = False
    if (where := _first_wrong(back, files, paths)) is not None:
        path, place, at = where
        raise StoreError(
            f"{path}: record {place} has the date {date[at]}, after {date[at - 1]}; "
            "records stand in the order of their announcement"
        )


def _first_wrong(wrong: np.ndarray, files: Files, paths: Sequence[str]) -> tuple[str, int, int] | None:
    """Return the file of the first record that is wrong, its number there, from 1, and its place in `records`."""
    if not wrong.any():
        return None
    at = int(np.argmax(wrong))
    file = int(np.searchsorted(files.start, at, side="right")) - 1
    return paths[file], at - int(files.start[file]) + 1, at


def _check_links(
    files: Files, slots: np.ndarray, start: np.ndarray, paths: Sequence[str], indexes: Sequence[str]
) -> None:
    """Compare `next` and the indexes with what the records say."""
    first, following = _links(files)
    said = files.records["next"]
    if (where := _first_wrong(said != following, files, paths)) is not None:
        path, place, at = where
        raise StoreError(
            f"{path}: record {place} says that the next one of its period {files.records['period'][at]} is "
            f"{_place(said[at])}, but it is {_place(following[at])}"
        )
    wanted = np.full(len(slots), NONE, np.int64)
    heads = start[:-1][np.diff(start) > 0]
    wanted[heads] = slots[heads]
    owner = files.owner()[first]
    base = slots[start[owner]].astype(np.int64) * np.where(files.yearly[owner], 1, 4)
    at = files.numbers()[first] - base
    length = np.diff(start)[owner] - 1
    if ((at < 0) | (at >= length)).any():
        k = int(np.argmax((at < 0) | (at >= length)))
        period = files.records["period"][first[k]]
        year = slots[start[owner[k]]]
        raise StoreError(
            f"{indexes[owner[k]]}: it begins with {year} and has {length[k]} periods, but {period} is none"
        )
    wanted[start[owner] + 1 + at] = (first - files.start[owner]) * RECORD.itemsize
    if (slots != wanted).any():
        slot = int(np.argmax(slots != wanted))
        file = int(np.searchsorted(start, slot, side="right")) - 1
        raise StoreError(
            f"{indexes[file]}: slot {slot - start[file]} says that the first record of its period is "
            f"{_place(slots[slot])}, but it is {_place(wanted[slot])}"
        )


def _place(byte: int) -> str:
    return "nowhere" if byte == NONE else f"at byte {int(byte)}"

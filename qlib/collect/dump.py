"""Bars of many instruments -> a store: the three commands of Qlib's `dump_bin`.

    dump_all("csv", "store")                     the store holds what the files hold, nothing else
    dump_fix("csv_fixed", "store")               values of the files replace stored ones; the calendar stays
    dump_update("csv_today", "store")            what is new is added; a stored number never changes

A run happens whole or not at all (qlib/data/storage/transaction.py): a wrong file, a full disk or kill -9 leaves the
store as it was, and the next run gives the same bytes as if nothing had happened.

Every value stands at the calendar position of its date. A series runs from its first to its last row, with NaN for
bars of the calendar that it lacks. So any sequence of runs ends in the store that one `dump_all` of all rows makes,
where a row of `dump_fix` counts more than earlier ones and a row of `dump_update` less.

`calendar=` names a calendar that decides which bars exist. Rows at other times are left out, counted, and written to
`quarantine/<freq>.csv` in the store.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from qlib.collect.dump_report import DumpReport
from qlib.collect.dump_run import ALL, FIX, UPDATE, Run
from qlib.collect.sources import Reading, parts
from qlib.data.calendar import read_calendar
from qlib.data.storage.file_storage import calendar_freqs, same_freq
from qlib.data.storage.transaction import replacing
from qlib.errors import InputError, RunError
from qlib.log import get_module_logger
from qlib.utils.time import Freq

logger = get_module_logger("dump_bin")

__all__ = [
    "DumpDataAll",
    "DumpDataBase",
    "DumpDataFix",
    "DumpDataUpdate",
    "DumpReport",
    "dump_all",
    "dump_fix",
    "dump_update",
]


def dump_all(data_path: Any, qlib_dir: str | os.PathLike[str], **options: Any) -> DumpReport:
    """Write a store from sources; what it held at this frequency is replaced, other frequencies stay.

    Parameters
    ----------
    data_path
        Folder with one file per instrument; a single file or a DataFrame with a symbol column (or index level);
        or a mapping instrument -> frame. See qlib/collect/sources.py.
    qlib_dir
        The store; made if it does not exist.
    options
        Those of `DumpDataBase`.

    Returns
    -------
    DumpReport

    Raises
    ------
    InputError
        A source, an option or the store is wrong; nothing has changed.
    RunError
        The disk is full or refuses; nothing has changed.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"date": ["2024-01-02", "2024-01-04"], "close": [1.5, 1.75]})
    >>> report = dump_all({"aaa": frame}, tempfile.mkdtemp() + "/store")
    >>> report.calendar, report.new_instruments
    (('2024-01-02', '2024-01-04', 2), ['AAA'])
    """
    return DumpDataAll(data_path, qlib_dir, **options).dump()


def dump_fix(data_path: Any, qlib_dir: str | os.PathLike[str], **options: Any) -> DumpReport:
    """Replace stored values by those of the sources, date by date; the calendar stays. Arguments as for `dump_all`.

    An empty cell replaces, too. Dates and fields that the sources lack stay. New instruments are added. A date that
    the calendar lacks is an InputError, or goes to quarantine where `calendar` is given.
    """
    return DumpDataFix(data_path, qlib_dir, **options).dump()


def dump_update(data_path: Any, qlib_dir: str | os.PathLike[str], **options: Any) -> DumpReport:
    """Add what the store lacks: later bars, earlier ones, instruments, fields. Arguments as for `dump_all`.

    A stored number stays as it is: the report counts those that the sources give otherwise. Dates inside the
    calendar's past are inserted, and every series moves along; the report counts them.
    """
    return DumpDataUpdate(data_path, qlib_dir, **options).dump()


class DumpDataBase:
    """The options that Qlib's three commands share.

    Parameters
    ----------
    data_path
        Where the bars come from, see `dump_all`.
    qlib_dir
        The store.
    backup_dir
        Folder that receives a copy of the store as it was; must not exist.
    freq
        Size of a bar, such as day or 60min.
    max_workers
        Threads that read sources; more than the machine has processors are not started.
    date_field_name
        Column of the date. It becomes no field.
    symbol_field_name
        Column of the symbol. It becomes no field.
    file_suffix
        Which files of a folder are read, such as .csv, .csv.gz or .parquet, or an ending such as _day.csv.
    exclude_fields
        Columns to leave out, as a list, or a text with commas. Upper and lower case differ, as in the sources. A name
        that no source has is an InputError.
    include_fields
        The only columns to take; then `exclude_fields` does not count. Likewise.
    limit_nums
        Read only so many sources, the first in the order of their names.
    calendar
        A file of times, one a line, which are the bars that exist. Rows at other times are quarantined, and what the
        file holds after the last row becomes the calendar of the future.
    dry_run
        Prepare everything, change nothing, and report which files would change.
    """

    command: str = ""

    def __init__(
        self,
        data_path: Any,
        qlib_dir: str | os.PathLike[str],
        backup_dir: str | os.PathLike[str] | None = None,
        freq: str = "day",
        max_workers: int = 16,
        date_field_name: str = "date",
        file_suffix: str = ".csv",
        symbol_field_name: str = "symbol",
        exclude_fields: str | Iterable[str] = "",
        include_fields: str | Iterable[str] = "",
        limit_nums: int | None = None,
        calendar: str | os.PathLike[str] | None = None,
        dry_run: bool = False,
    ) -> None:
        self.data_path = data_path
        self.qlib_dir = Path(qlib_dir).expanduser().resolve()
        self.backup_dir = None if backup_dir is None else Path(backup_dir).expanduser().resolve()
        self.max_workers = _count(max_workers, "max_workers")
        self.calendar = None if calendar is None else Path(calendar).expanduser()
        self.dry_run = dry_run
        self.reading = Reading(
            freq=Freq(freq),
            date_field_name=str(date_field_name),
            symbol_field_name=str(symbol_field_name),
            include_fields=_names(include_fields),
            exclude_fields=_names(exclude_fields),
            file_suffix=str(file_suffix),
            limit_nums=None if limit_nums is None else _count(limit_nums, "limit_nums"),
        )

    def __call__(self) -> DumpReport:
        return self.dump()

    def dump(self) -> DumpReport:
        """Do it."""
        if self.backup_dir is not None and self.backup_dir.exists():
            raise InputError(f"backup_dir: {self.backup_dir} exists already; name a folder that does not")
        sources = parts(self.data_path, self.reading)
        authority = None if self.calendar is None else _authority(self.calendar, self.reading.freq)
        if self.command != ALL:
            _check_stored(self.qlib_dir, self.reading.freq)
        try:
            with replacing(self.qlib_dir, dry_run=self.dry_run) as change:
                report = Run(self.command, change, self.reading, authority).go(sources, self.max_workers)
                if self.backup_dir is not None and change.old is not None and not self.dry_run:
                    _copy(change.old, self.backup_dir)
                if self.dry_run:
                    report.dry_run = True
                    report.files = change.difference()
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            raise RunError(f"{self.qlib_dir} is as it was: {error.strerror or error}{place}") from error
        for line in str(report).splitlines():
            logger.info(line)
        return report


class DumpDataAll(DumpDataBase):
    """`dump_all`, as Qlib's class."""

    command = ALL


class DumpDataFix(DumpDataBase):
    """`dump_fix`, as Qlib's class."""

    command = FIX


class DumpDataUpdate(DumpDataBase):
    """`dump_update`, as Qlib's class."""

    command = UPDATE


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    texts = given.split(",") if isinstance(given, str) else map(str, given)
    return tuple(text.strip() for text in texts if text.strip())


def _count(given: Any, name: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 1:
        raise InputError(f"{name}: received {given!r}; a whole number from 1 on is allowed")
    return int(given)


def _authority(path: Path, freq: Freq) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"calendar: {path} is no file; one with a time a line is needed")
    times = read_calendar(path, freq).times.astype("M8[s]")
    if not len(times):
        raise InputError(f"calendar: {path} is empty")
    return times


def _check_stored(root: Path, freq: Freq) -> None:
    stored = calendar_freqs(root) if root.is_dir() else []
    if same_freq(freq, stored) is None:
        raise InputError(
            f"qlib_dir: {root} holds nothing at freq {freq} (stored there: {', '.join(stored) or 'nothing'}); "
            "dump_all makes a store"
        )


def _copy(old: Path, backup: Path) -> None:
    """Copy the store, so that a killed copy does not look like a whole one."""
    part = backup.with_name(f"{backup.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(old, part, symlinks=True)
    part.rename(backup)

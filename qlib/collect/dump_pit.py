"""Reported figures -> the point-in-time files of a store, in one transaction.

    dump_pit("pit_csv", "~/.qlib/qlib_data/cn_data", interval="quarterly")
    python scripts/dump_pit.py dump --csv_path pit_csv --qlib_dir ~/.qlib/qlib_data/cn_data --interval quarterly

A figure is known by its instrument, field, period and the day of its announcement.  What a dump brings is added to what
is stored, in whatever order dumps come: revisions, earlier years, gaps.  A figure that is there already takes the newer
value.  So any sequence of dumps gives, byte for byte, what one dump of all their rows gives; the records of one day
stand in the order of their periods.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from qlib.collect.pit_sources import Columns, Figures, read_figures
from qlib.data.periods import complaint
from qlib.data.storage.pit import RECORD, contents, pit_path, read_many
from qlib.data.storage.transaction import replacing
from qlib.errors import InputError, RunError, did_you_mean
from qlib.log import get_module_logger

logger = get_module_logger("dump")

INTERVALS: Final = {"quarterly": "_q", "annual": "_a"}
VALUE_TYPES: Final = {"float32": np.float32, "float64": np.float64}


@dataclass(frozen=True, slots=True)
class Dumped:
    """What a dump did.

    Parameters
    ----------
    root
        The store.
    instruments, fields
        How many of them the input has.
    added, corrected, same
        Figures that are new, that took another value, and that were there already.
    files
        The files that were written, or would be, below `root`.
    dry_run
        Whether nothing was written.
    """

    root: Path
    instruments: int
    fields: int
    added: int
    corrected: int
    same: int
    files: list[str]
    dry_run: bool

    def __str__(self) -> str:
        verb = "would be written" if self.dry_run else "written"
        return (
            f"{self.root}: {self.fields} fields of {self.instruments} instruments; {self.added} figures added, "
            f"{self.corrected} corrected, {self.same} there already; {len(self.files)} files {verb}"
        )


def dump_pit(
    data: str | os.PathLike[str] | pd.DataFrame | Mapping[str, pd.DataFrame],
    qlib_dir: str | os.PathLike[str],
    *,
    interval: str = "quarterly",
    overwrite: bool = False,
    value_type: str = "float32",
    columns: Columns = Columns(),
    file_suffix: str = ".csv",
    include_fields: Sequence[str] = (),
    exclude_fields: Sequence[str] = (),
    limit_nums: int | None = None,
    max_workers: int = 16,
    backup_dir: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
) -> Dumped:
    """Write reported figures into a store, whole or not at all.

    Parameters
    ----------
    data
        Folder, file, frame, or a frame for each instrument; see `pit_sources`.
    qlib_dir
        Folder of the store; made if it does not exist.
    interval
        "quarterly" (periods such as 201903, files `_q`) or "annual" (2019, `_a`).
    overwrite
        Forget what is stored of the fields and instruments that the input has.
    value_type
        "float32" rounds values as Qlib does before they are stored in eight bytes: 1.7 is 1.7000000476837158 then.
        "float64" stores them as they are.
    columns, file_suffix, include_fields, exclude_fields, limit_nums, max_workers
        As for `read_figures`.
    backup_dir
        Copy the store there first; must not exist.
    dry_run
        Only say what would change.

    Raises
    ------
    InputError
        The input or an option cannot be used; nothing was changed.
    StoreError
        What is stored is damaged; nothing was changed.
    RunError
        It could not be written; nothing was changed.

    >>> import tempfile
    >>> rows = [("A", "2019-10-30", 201903, 0.5, "roe"), ("A", "2020-01-20", 201903, 0.7, "roe")]
    >>> figures = pd.DataFrame(rows, columns=["symbol", "date", "period", "value", "field"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = dump_pit(figures, folder)
    >>> done.added, done.files
    (2, ['financial/a/roe_q.data', 'financial/a/roe_q.index'])
    """
    for name, value, known in (("interval", interval, INTERVALS), ("value_type", value_type, VALUE_TYPES)):
        if value not in known:
            raise InputError(
                f"{name}: received {value!r}; allowed are {', '.join(known)}{did_you_mean(str(value), known)}"
            )
    root = Path(qlib_dir).expanduser().resolve()
    place = None if backup_dir is None else Path(backup_dir).expanduser().resolve()
    _check_places(root, place)
    source = data if isinstance(data, pd.DataFrame | Mapping) else Path(data)
    figures = read_figures(
        source, yearly=interval == "annual", columns=columns, file_suffix=file_suffix, include=include_fields,
        exclude=exclude_fields, limit=limit_nums, workers=max_workers,
    )  # fmt: skip
    group, names = _groups(figures, INTERVALS[interval])
    records = _records(figures, value_type)
    try:
        with replacing(root, dry_run=dry_run) as change:
            if place is not None and root.exists() and not dry_run:
                shutil.copytree(root, place, symlinks=True)
            before = (np.empty(0, np.int64), np.empty(0, RECORD))
            if not overwrite:
                stored = read_many([str(root / name) for name in names])
                before = (stored.owner(), stored.records)
            counts, changed, start, merged = _merged(before, (group, records), len(names))
            chosen = np.ones(len(names), bool) if overwrite else changed
            files = []
            for name, (of_data, of_index) in zip(
                np.array(names)[chosen].tolist(), _contents(merged, start, names, chosen), strict=True
            ):
                files += [name, name.removesuffix(".data") + ".index"]
                change.write(files[-2], of_data)
                change.write(files[-1], of_index)
    except OSError as error:
        raise RunError(f"{root} cannot be written: {error.strerror or error}; nothing was changed") from error
    return Dumped(root, len(figures.instruments), len(np.unique(figures.field)), *counts, files, dry_run)


def _check_places(root: Path, backup: Path | None) -> None:
    if root.is_dir() and not any((root / part).is_dir() for part in ("calendars", "financial")) and any(root.iterdir()):
        raise InputError(
            f"qlib_dir: {root} is no store (no calendars, no financial) and not empty; nothing was changed"
        )
    if (root / "financial").is_symlink():
        raise InputError(
            f"qlib_dir: {root / 'financial'} is a link, and what it leads to cannot be exchanged in one step"
        )
    if backup is not None and backup.exists():
        raise InputError(f"backup_dir: {backup} exists already; nothing was changed")


def _groups(figures: Figures, ending: str) -> tuple[np.ndarray, list[str]]:
    """Return the file that each figure belongs to, by number, and the files' names below the store."""
    names = [f"{name}{ending}".lower() for name in figures.fields]
    for at in np.unique(figures.field):
        if (why := complaint(names[at])) is not None:
            raise InputError(
                f"the field {figures.fields[at]!r} cannot be stored: {why}; letters, digits and _ are allowed"
            )
    same = {name: at for at, name in enumerate(names)}  # two fields that differ in case only are one
    number = np.array([same[name] for name in names])
    key = figures.instrument * len(names) + number[figures.field]
    found, group = np.unique(key, return_inverse=True)
    pairs = [(figures.instruments[one // len(names)], names[one % len(names)]) for one in found]
    return group, [pit_path(Path(), instrument, field).as_posix() for instrument, field in pairs]


def _records(figures: Figures, value_type: str) -> np.ndarray:
    records = np.empty(len(figures.value), RECORD)
    records["date"], records["period"], records["next"] = figures.date, figures.period, 0
    with np.errstate(over="ignore"):
        records["value"] = figures.value.astype(VALUE_TYPES[value_type])
    lost = np.isinf(records["value"]) & np.isfinite(figures.value)
    if lost.any():
        raise InputError(
            f"the value {figures.value[lost][0]:g} is too large for float32 (--value_type float64 keeps it)"
        )
    return records


def _merged(
    before: tuple[np.ndarray, np.ndarray], new: tuple[np.ndarray, np.ndarray], files: int
) -> tuple[tuple[int, int, int], np.ndarray, np.ndarray, np.ndarray]:
    """Return (added, corrected, same), which files change, where each one's records begin, and all records in order."""
    group = np.concatenate([before[0], new[0]])
    records = np.concatenate([before[1], new[1]])
    fresh = np.arange(len(group)) >= len(before[0])
    order = np.lexsort([records["period"], records["date"], group])  # stable: of one figure, the newest is last
    group, records, fresh = group[order], records[order], fresh[order]
    key = np.stack([group, records["date"].astype(np.int64), records["period"].astype(np.int64)])
    begins = np.concatenate([[True], (key[:, 1:] != key[:, :-1]).any(axis=0)])
    first = np.flatnonzero(begins)
    last = np.concatenate([first[1:], [len(group)]]) - 1
    if doubled := int((np.add.reduceat(fresh.astype(np.int64), first) > 1).sum()):
        logger.warning(f"{doubled} figures stand in the input more than once (same day, same period); the last counts")
    stored, told = ~fresh[first], fresh[last]
    place = np.maximum.accumulate(np.where(fresh, first[0], np.arange(len(group))))  # of what was stored last
    old, kept = records["value"][place[last]], records[last]
    differs = (kept["value"] != old) & ~(np.isnan(kept["value"]) & np.isnan(old))
    added, corrected, same = told & ~stored, told & stored & differs, told & stored & ~differs
    owner = group[last]
    changed = np.zeros(files, bool)
    changed[owner[added | corrected]] = True
    start = np.searchsorted(owner, np.arange(files + 1))
    return (int(added.sum()), int(corrected.sum()), int(same.sum())), changed, start, kept


def _contents(merged: np.ndarray, start: np.ndarray, names: list[str], chosen: np.ndarray) -> list[tuple[bytes, bytes]]:
    """Return the contents of the chosen files."""
    length = np.diff(start)
    rows = np.repeat(chosen, length)
    bounds = np.concatenate([[0], np.cumsum(length[chosen])])
    return contents(merged[rows], bounds, [name for name, own in zip(names, chosen, strict=True) if own])


class DumpPitData:
    """Qlib's `scripts/dump_pit.py`.

    Parameters
    ----------
    csv_path
        Folder of the sources, or a single file.
    qlib_dir
        Folder of the store.
    backup_dir
        Where to copy the store first; must not exist.
    freq
        What `dump` takes for its interval where that is not given.
    max_workers
        Threads that read.
    date_column_name, period_column_name, value_column_name, field_column_name, symbol_column_name
        What the columns are called; the last is needed only where a single file holds several instruments.
    file_suffix
        Ending of the files: .csv, .csv.gz or .parquet.
    exclude_fields, include_fields
        Fields to leave out, or to take: a list, or a text with commas.
    limit_nums
        How many files to read.
    value_type
        float32 (as Qlib) or float64.
    """

    def __init__(
        self,
        csv_path: str,
        qlib_dir: str,
        backup_dir: str | None = None,
        freq: str = "quarterly",
        max_workers: int = 16,
        date_column_name: str = "date",
        period_column_name: str = "period",
        value_column_name: str = "value",
        field_column_name: str = "field",
        file_suffix: str = ".csv",
        exclude_fields: str | Sequence[str] = "",
        include_fields: str | Sequence[str] = "",
        limit_nums: int | None = None,
        symbol_column_name: str = "symbol",
        value_type: str = "float32",
    ) -> None:
        self.csv_path, self.qlib_dir, self.backup_dir, self.interval = csv_path, qlib_dir, backup_dir, freq
        self.max_workers, self.file_suffix, self.limit_nums = max_workers, file_suffix, limit_nums
        self.columns = Columns(
            date_column_name, period_column_name, value_column_name, field_column_name, symbol_column_name
        )
        self.exclude_fields, self.include_fields = _names(exclude_fields), _names(include_fields)
        self.value_type = value_type

    def dump(self, interval: str | None = None, overwrite: bool = False, dry_run: bool = False) -> Dumped:
        """Write the figures into the store; return what was done.

        Parameters
        ----------
        interval
            quarterly or annual.
        overwrite
            Forget what is stored of these fields and instruments.
        dry_run
            Only say what would change.
        """
        for name, value in (("overwrite", overwrite), ("dry_run", dry_run)):
            if not isinstance(value, bool):
                raise InputError(f"{name} must be True or False, received {value!r}")
        return dump_pit(
            self.csv_path,
            self.qlib_dir,
            interval=self.interval if interval is None else interval,
            overwrite=overwrite,
            value_type=self.value_type,
            columns=self.columns,
            file_suffix=self.file_suffix,
            include_fields=self.include_fields,
            exclude_fields=self.exclude_fields,
            limit_nums=self.limit_nums,
            max_workers=self.max_workers,
            backup_dir=self.backup_dir,
            dry_run=dry_run,
        )


def _names(fields: str | Sequence[str]) -> list[str]:
    parts = fields.split(",") if isinstance(fields, str) else [str(one) for one in fields]
    return [part.strip() for part in parts if part.strip()]

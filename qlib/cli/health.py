"""Health checks on the command line: `scripts/check_data_health.py` and `scripts/check_dump_bin.py`.

    python scripts/check_data_health.py check_data --qlib_dir ~/.qlib/qlib_data/sample_data --json health.json
    python scripts/check_dump_bin.py check --qlib_dir ~/.qlib/qlib_data/mine --csv_path csv_folder

Exit code 0: nothing is wrong, 1: something is, 2: the command could not be done. Nothing is ever changed or deleted.
"""

from __future__ import annotations

import inspect
import json as json_format
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from qlib.cli import doors
from qlib.collect.health import Report, Rules, check, open_bars
from qlib.collect.health import qlib_checks as qlibs
from qlib.collect.health.bars import Bars
from qlib.collect.health.compare import compare
from qlib.errors import InputError, QlibError
from qlib.utils.paths import replace_file


class DataHealthChecker:
    """Checks bars: a store (`--qlib_dir`) or files (`--csv_path`).

    Parameters
    ----------
    csv_path
        A CSV or Parquet file with a column of symbols, or a folder with one file a symbol; or, to compare frequencies
        with each other, a mapping such as '{"15min": "quarters.parquet", "60min": "hours.parquet"}'.
    qlib_dir
        A store. Give this one or `csv_path`.
    freq
        Frequency; by default all that the store has, or what the files look like.
    large_step_threshold_price, large_step_threshold_volume
        Relative changes that are too large. `check_data` asks for many standard deviations too, see `Rules`.
    missing_data_num
        How many missing values of an instrument are tolerated.
    instruments
        For files: an instruments file that says when each was listed.
    always_open
        True for a market that never closes, False for one that does; by default looked at.
    date_field_name, symbol_field_name, file_suffix
        For files, where the usual ones do not fit.
    """

    def __init__(
        self,
        csv_path: Any = None,
        qlib_dir: str | None = None,
        freq: str | None = None,
        large_step_threshold_price: float = 0.5,
        large_step_threshold_volume: float = 3,
        missing_data_num: int = 0,
        instruments: str | None = None,
        always_open: bool | None = None,
        date_field_name: str | None = None,
        symbol_field_name: str | None = None,
        file_suffix: str | None = None,
    ) -> None:
        if (csv_path is None) == (qlib_dir is None):
            raise InputError(
                f"received csv_path={csv_path} and qlib_dir={qlib_dir}; one of the two says what is to be checked"
            )
        if always_open is not None and not isinstance(always_open, bool):
            raise InputError(f"always_open: received {always_open!r}; True or False is allowed")
        if qlib_dir is not None and not (Path(qlib_dir).expanduser() / "calendars").is_dir():
            raise InputError(f"qlib_dir: {qlib_dir} is no store: it has no folder calendars")
        self._source: Any = csv_path if qlib_dir is None else qlib_dir
        self._store = None if qlib_dir is None else Path(qlib_dir).expanduser()
        self._freq = None if freq is None else str(freq)
        self._rules = Rules(
            missing_data_num=missing_data_num,
            large_step_threshold_price=large_step_threshold_price,
            large_step_threshold_volume=large_step_threshold_volume,
        )
        self._options: dict[str, Any] = {
            "always_open": always_open,
            "date_field": date_field_name,
            "symbol_field": symbol_field_name,
            "suffix": file_suffix,
        }
        self._instruments = instruments

    def check_data(self, json: str | None = None, known: str | None = None, show: int = 8) -> Report:
        """Look for everything; print a table.

        Parameters
        ----------
        json
            File to write all findings to.
        known
            JSON of an earlier run: what it has found does not count again.
        show
            How many findings of each kind are printed.
        """
        report = check(self._source, self._freq, rules=self._rules, instruments=self._instruments, **self._options)
        if known is not None:
            report = report.without(_findings_of(Path(known).expanduser()))
        if json is not None:
            write_json(report, json)
        return replace(report, show=int(show))

    def check_missing_data(self) -> pd.DataFrame | None:
        """Return instruments with missing values, and how many each column misses (Qlib's check)."""
        return qlibs.missing_data(self._bars(), int(self._rules.missing_data_num))

    def check_large_step_changes(self) -> pd.DataFrame | None:
        """Return columns that change by more than the thresholds: where first, and by how much (Qlib's check)."""
        rules = self._rules
        return qlibs.large_steps(self._bars(), rules.large_step_threshold_price, rules.large_step_threshold_volume)

    def check_required_columns(self) -> pd.DataFrame | None:
        """Return instruments without open, high, low, close or volume (Qlib's check)."""
        return qlibs.required_columns(self._bars())

    def check_missing_factor(self) -> pd.DataFrame | None:
        """Return instruments without a factor (Qlib's check)."""
        return qlibs.missing_factor(self._bars())

    def check_features_dir_lowercase(self) -> pd.DataFrame | None:
        """Return folders of features with upper-case letters, which no look-up finds (Qlib's check)."""
        if self._store is None:
            raise InputError("check_features_dir_lowercase: looks at a store; give qlib_dir")
        return qlibs.upper_case_folders(self._store)

    def _bars(self) -> Bars:
        """Return the bars of one frequency: the one asked for, else days if there are any."""
        bars = open_bars(self._source, self._freq, **self._options)[0]
        return next((one for one in bars if one.freq == "day"), bars[0])


class CheckBin:
    """Compares a store with the CSV or Parquet files that it was made from, value by value.

    Parameters
    ----------
    qlib_dir, freq
        The store and its frequency.
    csv_path
        A file with a column of symbols, or a folder with one file a symbol.
    check_fields
        Columns to compare ("open,close"); by default all that file and store share.
    symbol_field_name, date_field_name, file_suffix
        Columns and endings of the files.
    max_workers
        Files that are read at once.
    """

    def __init__(
        self,
        qlib_dir: str,
        csv_path: str,
        check_fields: Any = None,
        freq: str = "day",
        symbol_field_name: str = "symbol",
        date_field_name: str = "date",
        file_suffix: str | None = None,
        max_workers: int = 16,
    ) -> None:
        fields = check_fields.split(",") if isinstance(check_fields, str) else check_fields
        self._arguments: dict[str, Any] = {
            "source": str(csv_path),
            "store": str(qlib_dir),
            "freq": str(freq),
            "fields": None if fields is None else [str(name).strip() for name in fields],
            "date_field": date_field_name,
            "symbol_field": symbol_field_name,
            "suffix": file_suffix,
            "threads": max_workers,
        }

    def check(self, json: str | None = None, show: int = 8) -> Report:
        """Compare; print a table, and write all findings to the file `json`."""
        report = compare(**self._arguments)
        if json is not None:
            write_json(report, json)
        return replace(report, show=int(show))


def write_json(report: Report, path: str) -> None:
    """Write the report, whole or not at all."""
    try:
        replace_file(Path(path).expanduser(), lambda file: file.write(report.to_json().encode()))
    except OSError as error:
        raise InputError(f"json: {path} cannot be written ({error.strerror})") from None


def _findings_of(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json_format.loads(path.read_text(encoding="utf-8"))["findings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"known: {path} is not the JSON of a health check ({type(error).__name__}: {error})") from None


def _text(result: Report | pd.DataFrame | None) -> str:
    """Return what is printed of a result."""
    if isinstance(result, pd.DataFrame):
        return result.to_string(index=False)
    return "Nothing is wrong." if result is None else str(result)


def help_text(name: str, checker: type) -> str:
    """Return what `--help` shows: the commands and the options of all of them, from the docstrings."""
    commands = {word: inspect.getdoc(made) or "" for word, made in vars(checker).items() if not word.startswith("_")}
    told = "\n\n".join(f"{word}\n{textwrap.indent(text, '    ')}" for word, text in commands.items())
    return (
        f"usage: {name} COMMAND [--option value ...]\n\n{inspect.getdoc(checker)}\n\nCommands\n--------\n{told}\n\n"
        "Exit codes: 0 nothing is wrong, 1 something is, 2 the command could not be done."
    )


def _run(checker: type) -> None:
    name = Path(sys.argv[0]).name  # a script, or "qlib health"
    if len(sys.argv) < 2 or not {"-h", "--help"}.isdisjoint(sys.argv):
        print(help_text(name, checker), file=sys.stdout if len(sys.argv) > 1 else sys.stderr)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    try:
        result = doors.call(doors.of_class(checker), name=name)
    except QlibError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    print(_text(result))
    wrong = result.wrong if isinstance(result, Report) else isinstance(result, pd.DataFrame)
    sys.exit(int(wrong))


def run() -> None:
    """Hand the command line to `DataHealthChecker`."""
    _run(DataHealthChecker)


def run_compare() -> None:
    """Hand the command line to `CheckBin`."""
    _run(CheckBin)

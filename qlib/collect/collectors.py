"""Collectors of one's own: download -> CSV files -> the same, normalized -> a store (qlib/collect/dump.py).

    class MineCollector(BaseCollector)      get_instrument_list, normalize_symbol, get_data      source/<symbol>.csv
    class MineNormalize(BaseNormalize)      normalize, _get_calendar_list                        normalize/<symbol>.csv
    class Run(BaseRun)                      names of the two, default_base_dir                   the commands

Names and arguments are those of Qlib's `scripts/data_collector/base.py`; scripts/data_collector/README.md holds an
example that runs. What differs: threads take the place of processes (what was too short to be saved is never lost
with a process), default dates are those of UTC and not of the machine, every file is replaced in one step, one
instrument that fails stops no other one and is an error at the end, and of daily rows only those are left out whose
day is not over.
"""

from __future__ import annotations

import abc
import datetime
import importlib
import inspect
import io
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd

from qlib.errors import ConfigError, InputError, RunError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.paths import code_to_fname, replace_file

logger = get_module_logger("collector")

_SHOWN: Final = 5
_PLAIN_DATE: Final = r"\d{4}-\d{2}-\d{2}"


def today() -> pd.Timestamp:
    """Return the beginning of the day in UTC, without a zone."""
    return pd.Timestamp(datetime.datetime.now(datetime.UTC).replace(tzinfo=None)).normalize()


def read_source(
    source: str | Path | io.BytesIO, date_field_name: str = "date", symbol_field_name: str = "symbol"
) -> pd.DataFrame:
    """Return a CSV file of a collector: dates and symbols as text (NA is an instrument), the rest as numbers.

    Raises InputError for what is no CSV file.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.csv  # noqa: PLC0415

    texts = dict.fromkeys((date_field_name, symbol_field_name), pa.string())
    try:
        table = pa.csv.read_csv(source, convert_options=pa.csv.ConvertOptions(column_types=texts))
    except pa.ArrowInvalid as error:
        raise InputError(f"{source}: is no CSV file: {str(error).splitlines()[0]}") from None
    frame = table.to_pandas()
    nothing = [column.name for column in table.schema if pa.types.is_null(column.type)]
    return frame.astype(dict.fromkeys(nothing, np.float64))


def write_source(path: Path, frame: pd.DataFrame) -> None:
    """Write a CSV file of a collector in one step; every number comes back to the last digit."""
    replace_file(path, lambda file: frame.to_csv(file, index=False))


class BaseCollector(abc.ABC):
    """What downloads: one CSV file an instrument.

    Parameters
    ----------
    save_dir
        Folder of the files; it is made.
    start, end
        From when, and until before when. None: 2000-01-01 (29 days ago for 1min) and tomorrow, in UTC.
    interval
        "1d" or "1min".
    max_workers
        Instruments that are asked for side by side (threads).
    max_collector_count
        Rounds: an instrument that failed, gave nothing or too little is asked for again in the next one.
    delay
        Seconds to wait before each question.
    check_data_length
        Rows that an instrument must have at least; None or 0 takes any. What is too short is kept, asked for again,
        and saved after the last round, all answers together, the later one where two have the same date.
    limit_nums
        Take only the first so many instruments.

    Raises
    ------
    RunError
        By `collector_data`, after all others were saved, where instruments failed in every round.
    """

    CACHE_FLAG: ClassVar[str] = "CACHED"
    NORMAL_FLAG: ClassVar[str] = "NORMAL"
    INTERVAL_1d: ClassVar[str] = "1d"
    INTERVAL_1min: ClassVar[str] = "1min"

    def __init__(
        self,
        save_dir: str | Path,
        start: Any = None,
        end: Any = None,
        interval: str = "1d",
        max_workers: int = 1,
        max_collector_count: int = 2,
        delay: float = 0,
        check_data_length: int | None = None,
        limit_nums: int | None = None,
    ) -> None:
        self.save_dir = Path(save_dir).expanduser().resolve()
        self.save_dir.mkdir(parents=True, exist_ok=True)
        if interval not in (self.INTERVAL_1d, self.INTERVAL_1min):
            raise InputError(
                f"interval: received {interval!r}; 1d and 1min are allowed{did_you_mean(interval, ('1d', '1min'))}"
            )
        self.interval = interval
        self.max_workers = _whole(max_workers, "max_workers")
        self.max_collector_count = _whole(max_collector_count, "max_collector_count")
        self.delay = delay
        self.check_data_length = int(check_data_length or 0)
        self.start_datetime = self.normalize_start_datetime(start)
        self.end_datetime = self.normalize_end_datetime(end)
        if self.start_datetime >= self.end_datetime:
            raise InputError(f"start {self.start_datetime} is not before end {self.end_datetime}")
        self.instrument_list = list(dict.fromkeys(self.get_instrument_list()))
        if limit_nums is not None:
            self.instrument_list = self.instrument_list[: _whole(limit_nums, "limit_nums")]
        self._short: dict[str, list[pd.DataFrame]] = {}
        self._writing = threading.Lock()

    # ------------------------------------------------------------------ what a collector says
    @abc.abstractmethod
    def get_instrument_list(self) -> Iterable[str]:
        """Return what there is to download, in the spelling of the source."""

    @abc.abstractmethod
    def normalize_symbol(self, symbol: str) -> str:
        """Return the name of an instrument in the store."""

    @abc.abstractmethod
    def get_data(
        self, symbol: str, interval: str, start_datetime: pd.Timestamp, end_datetime: pd.Timestamp
    ) -> pd.DataFrame | None:
        """Return the rows of an instrument from `start_datetime` until before `end_datetime`, with a column `date`."""

    # ------------------------------------------------------------------ when
    def normalize_start_datetime(self, start: Any = None) -> pd.Timestamp:
        """Return when to begin."""
        if start is not None:
            return _utc(start, "start")
        return pd.Timestamp("2000-01-01") if self.interval == self.INTERVAL_1d else today() - pd.Timedelta(days=29)

    def normalize_end_datetime(self, end: Any = None) -> pd.Timestamp:
        """Return before when to end."""
        return today() + pd.Timedelta(days=1) if end is None else _utc(end, "end")

    # ------------------------------------------------------------------ the work
    def collector_data(self) -> None:
        """Download and save everything."""
        left, failed, nothing = self.instrument_list, {}, []
        for turn in range(self.max_collector_count):
            if not left:
                break
            logger.info(f"round {turn + 1}: {len(left)} instruments")
            results = self._collect(left)
            failed = {symbol: found for symbol, found in results.items() if isinstance(found, Exception)}
            nothing = [symbol for symbol, found in results.items() if found is None]
            left = [symbol for symbol, found in results.items() if found != self.NORMAL_FLAG]
        for symbol, frames in self._short.items():
            frame = pd.concat(frames, ignore_index=True)
            if "date" in frame.columns:
                frame = frame.drop_duplicates("date", keep="last").sort_values("date", kind="stable")
            logger.warning(f"{symbol}: has {len(frame)} rows, fewer than {self.check_data_length}")
            self.save_instrument(symbol, frame)
        if nothing:
            logger.warning(f"{len(nothing)} instruments gave no rows{_some(nothing)}")
        if failed:
            first, why = next(iter(failed.items()))
            raise RunError(
                f"{len(failed)} of {len(self.instrument_list)} instruments failed in every one of "
                f"{self.max_collector_count} rounds{_some(list(failed))}; {first}: {why}"
            ) from why

    def _collect(self, symbols: list[str]) -> dict[str, str | Exception | None]:
        """Ask for instruments side by side and return what became of each: a flag, None for no rows, the error."""
        if self.max_workers == 1:
            return {symbol: self._attempt(symbol) for symbol in symbols}
        with ThreadPoolExecutor(self.max_workers) as pool:
            try:
                return dict(zip(symbols, pool.map(self._attempt, symbols), strict=True))
            except BaseException:  # Ctrl-C: what is under way ends, the rest is not begun
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _attempt(self, symbol: str) -> str | Exception | None:
        try:
            return self._simple_collector(symbol)
        except Exception as error:  # noqa: BLE001  told at the end; one instrument must not stop the others
            logger.warning(f"{symbol}: {type(error).__name__}: {error}")
            return error

    def _simple_collector(self, symbol: str) -> str | None:
        self.sleep()
        frame = self.get_data(symbol, self.interval, self.start_datetime, self.end_datetime)
        if frame is None or frame.empty:
            return None
        if len(frame) < self.check_data_length:
            return self.cache_small_data(symbol, frame)
        self.save_instrument(symbol, frame)
        self._short.pop(symbol, None)
        return self.NORMAL_FLAG

    def sleep(self) -> None:
        """Wait before a question."""
        time.sleep(self.delay)

    def cache_small_data(self, symbol: str, df: pd.DataFrame) -> str:
        """Keep what is too short until the last round."""
        self._short.setdefault(symbol, []).append(df.copy())
        return self.CACHE_FLAG

    def save_instrument(self, symbol: str, df: pd.DataFrame | None) -> None:
        """Put rows behind those that the file of an instrument holds; a row that it holds already is not doubled."""
        if df is None or df.empty:
            logger.warning(f"{symbol}: no rows to save")
            return
        name = self.normalize_symbol(symbol)
        path = self.save_dir / f"{code_to_fname(name)}.csv"
        frame = df.copy()
        frame["symbol"] = name
        with self._writing:
            if path.exists():
                # Through CSV, so that both sides are written the same way and equal rows are equal.
                frame = pd.concat([read_source(path), _as_read(frame)], ignore_index=True).drop_duplicates()
            write_source(path, frame)


class BaseNormalize(abc.ABC):
    """What makes the rows of one instrument ready for a store.

    Parameters
    ----------
    date_field_name, symbol_field_name
        Columns of the date and of the symbol.
    """

    def __init__(self, date_field_name: str = "date", symbol_field_name: str = "symbol", **kwargs: Any) -> None:
        self._date_field_name = date_field_name
        self._symbol_field_name = symbol_field_name
        self.kwargs = kwargs
        self._calendar_list = self._get_calendar_list()

    @abc.abstractmethod
    def normalize(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the rows as they are to be stored."""

    @abc.abstractmethod
    def _get_calendar_list(self) -> Iterable[pd.Timestamp] | None:
        """Return the bars that exist; None where the rows themselves say it."""


class Normalize:
    """Normalize every CSV file of a folder into another one.

    Parameters
    ----------
    source_dir, target_dir
        The folders.
    normalize_class
        A `BaseNormalize`; it is made with the two names and `kwargs`.
    max_workers
        Files that are worked on side by side (threads).
    kwargs
        For `normalize_class`; of them `end_date` cuts rows after it, `interval` ("1d") says what the rows are, and
        `compat="qlib"` leaves out the last daily row by the look of its date, as Qlib does.

    A daily row whose time is not midnight belongs to a day that is not over, and is left out.
    """

    def __init__(
        self,
        source_dir: str | Path,
        target_dir: str | Path,
        normalize_class: type[BaseNormalize],
        max_workers: int = 16,
        date_field_name: str = "date",
        symbol_field_name: str = "symbol",
        **kwargs: Any,
    ) -> None:
        self._source_dir = Path(source_dir).expanduser().resolve()
        if not self._source_dir.is_dir():
            raise InputError(f"source_dir: {self._source_dir} is no folder; download first")
        self._target_dir = Path(target_dir).expanduser().resolve()
        self._target_dir.mkdir(parents=True, exist_ok=True)
        self._date_field_name = date_field_name
        self._symbol_field_name = symbol_field_name
        self._end_date = None if kwargs.get("end_date") is None else _utc(kwargs["end_date"], "end_date")
        self._interval = kwargs.get("interval")
        self._qlib = kwargs.pop("compat", None) == "qlib"
        self._max_workers = _whole(max_workers, "max_workers")
        self._normalize_obj = normalize_class(
            date_field_name=date_field_name, symbol_field_name=symbol_field_name, **kwargs
        )

    def normalize(self) -> None:
        """Do it; RunError at the end names the files that could not be normalized."""
        files = sorted(self._source_dir.glob("*.csv"))
        if not files:
            raise InputError(f"source_dir: {self._source_dir} holds no file *.csv; download first")
        with ThreadPoolExecutor(min(self._max_workers, len(files))) as pool:
            results = list(pool.map(self._attempt, files))
        failed = {path.name: found for path, found in zip(files, results, strict=True) if found is not None}
        if failed:
            name, why = next(iter(failed.items()))
            raise RunError(
                f"{len(failed)} of {len(files)} files could not be normalized{_some(list(failed))}; {name}: {why}"
            ) from why

    def _attempt(self, path: Path) -> Exception | None:
        try:
            self._executor(path)
        except Exception as error:  # noqa: BLE001  told at the end; one file must not stop the others
            return error
        return None

    def _executor(self, path: Path) -> None:
        frame = read_source(path, self._date_field_name, self._symbol_field_name)
        if self._date_field_name not in frame.columns:
            raise InputError(
                f"no date column {self._date_field_name!r}; its columns are {', '.join(map(str, frame.columns))}"
            )
        frame = self._without_forming(frame, path)
        if not frame.empty:
            frame = self._normalize_obj.normalize(frame)
        if frame is not None and not frame.empty and self._end_date is not None:
            frame = frame[pd.to_datetime(frame[self._date_field_name]) <= self._end_date]
        if frame is None or frame.empty:
            logger.warning(f"{path.name}: no rows are left")
            return
        write_source(self._target_dir / path.name, frame)

    def _without_forming(self, frame: pd.DataFrame, path: Path) -> pd.DataFrame:
        texts = frame[self._date_field_name].str.strip()
        if frame.empty or self._interval == BaseCollector.INTERVAL_1min:
            return frame
        if self._qlib:
            looks_plain = pd.Series([texts.iloc[-1]]).str.fullmatch(_PLAIN_DATE).iloc[0]
            return frame if looks_plain else frame.iloc[:-1]
        times = pd.to_datetime(texts, format="ISO8601")
        forming = (times != times.dt.normalize()).to_numpy()
        if self._interval is None and forming.mean() > 0.5:  # nobody said what the rows are: not days
            return frame
        if forming.any():
            logger.info(f"{path.name}: {forming.sum()} rows of days that were not over are left out")
        return frame[~forming]


class BaseRun(abc.ABC):
    """The commands of a collector: `download_data`, then `normalize_data`.

    Parameters
    ----------
    source_dir, normalize_dir
        Folders of the downloaded and of the normalized files; None: `source` and `normalize` in `default_base_dir`.
    max_workers
        Threads.
    interval
        "1d" or "1min".

    The classes are looked up by name in the module of the `Run`, or in one named `collector`.
    """

    def __init__(
        self,
        source_dir: str | Path | None = None,
        normalize_dir: str | Path | None = None,
        max_workers: int = 1,
        interval: str = "1d",
    ) -> None:
        self.source_dir = Path(source_dir or Path(self.default_base_dir) / "source").expanduser().resolve()
        self.normalize_dir = Path(normalize_dir or Path(self.default_base_dir) / "normalize").expanduser().resolve()
        self.source_dir.mkdir(parents=True, exist_ok=True)
        self.normalize_dir.mkdir(parents=True, exist_ok=True)
        self.max_workers = max_workers
        self.interval = interval

    @property
    @abc.abstractmethod
    def collector_class_name(self) -> str:
        """Return the name of the `BaseCollector`."""

    @property
    @abc.abstractmethod
    def normalize_class_name(self) -> str:
        """Return the name of the `BaseNormalize`."""

    @property
    @abc.abstractmethod
    def default_base_dir(self) -> Path | str:
        """Return where the folders of files are, if none are given."""

    def download_data(
        self,
        max_collector_count: int = 2,
        delay: float = 0,
        start: str | None = None,
        end: str | None = None,
        check_data_length: int | None = None,
        limit_nums: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Download into `source_dir`; the arguments are those of `BaseCollector` and what the class adds to them."""
        kind = self._class_of(self.collector_class_name)
        known = {name for one in kind.__mro__ if one is not object for name in inspect.signature(one).parameters}
        for name in kwargs:
            if name not in known:
                raise InputError(f"{kind.__name__} has no argument {name}{did_you_mean(name, known)}")
        kind(
            self.source_dir,
            max_workers=self.max_workers,
            max_collector_count=max_collector_count,
            delay=delay,
            start=start,
            end=end,
            interval=self.interval,
            check_data_length=check_data_length,
            limit_nums=limit_nums,
            **kwargs,
        ).collector_data()

    def normalize_data(self, date_field_name: str = "date", symbol_field_name: str = "symbol", **kwargs: Any) -> None:
        """Normalize the files of `source_dir` into `normalize_dir`; further arguments go to the normalize class."""
        Normalize(
            source_dir=self.source_dir,
            target_dir=self.normalize_dir,
            normalize_class=self._class_of(self.normalize_class_name),
            max_workers=self.max_workers,
            date_field_name=date_field_name,
            symbol_field_name=symbol_field_name,
            **{"interval": self.interval, **kwargs},
        ).normalize()

    def _class_of(self, name: str) -> Any:
        own = sys.modules[type(self).__module__]
        found = getattr(own, name, None)
        if found is None and (module := _module_named_collector()) is not None:
            found = getattr(module, name, None)
        if found is None:
            known = [key for key, value in vars(own).items() if isinstance(value, type)]
            raise ConfigError(
                f"{type(self).__name__}: neither {own.__name__} nor a module named collector has a class "
                f"{name}{did_you_mean(name, known)}"
            )
        return found


def _module_named_collector() -> Any:
    try:
        return importlib.import_module("collector")
    except ModuleNotFoundError as error:
        if error.name != "collector":  # it is there, but something that it imports is not
            raise
        return None


def _as_read(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame as `read_source` would give it back."""
    return read_source(io.BytesIO(frame.to_csv(index=False).encode()))


def _utc(time: Any, name: str) -> pd.Timestamp:
    """Return a time without a zone; one with a zone is meant as it says, and becomes UTC."""
    try:
        stamp = pd.Timestamp(str(time) if isinstance(time, int | np.integer) else time)  # 20240102 is a date
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: received {time!r}; a date such as 2024-01-31 is needed") from error
    if stamp is pd.NaT:
        raise InputError(f"{name}: received {time!r}; a date such as 2024-01-31 is needed")
    return stamp if stamp.tzinfo is None else stamp.tz_convert("UTC").tz_localize(None)


def _whole(given: Any, name: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 1:
        raise InputError(f"{name}: received {given!r}; a whole number from 1 on is allowed")
    return int(given)


def _some(names: list[str]) -> str:
    return f": {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}" if names else ""

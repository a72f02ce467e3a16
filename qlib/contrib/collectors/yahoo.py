"""Stocks of Yahoo Finance: its public chart API -> CSV files -> adjusted bars -> a store.

    GET <base_url>/v8/finance/chart/AAPL?period1=..&period2=..&interval=1d     one instrument, raw bars and adjclose

    download    date, open, high, low, close, volume, adjclose, symbol         as the server says, dates of the exchange
    normalize   prices x factor, volume / factor, factor, change               factor = adjclose / close / first price

The first traded close of an instrument becomes 1, as in Qlib; `$close / $factor` is the price that was paid. A bar
without trade is NaN and is filled by nothing. Names and commands are those of Qlib's
`scripts/data_collector/yahoo/collector.py`; scripts/data_collector/README.md says what differs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

import numpy as np
import pandas as pd

from qlib.collect.collector_tools import (
    calc_adjusted_price,
    generate_minutes_calendar_from_daily,
    get_br_stock_symbols,
    get_hs_stock_symbols,
    get_in_stock_symbols,
    get_json,
    get_us_stock_symbols,
    symbol_suffix_to_prefix,
    symbols_from,
)
from qlib.collect.collectors import BaseCollector, BaseNormalize, BaseRun, Normalize, today
from qlib.collect.dump import dump_update
from qlib.contrib.collectors.index_lists import INDICES, get_instruments, variable
from qlib.data.calendar import read_calendar
from qlib.data.storage.binary import read_bin
from qlib.errors import InputError, MissingDataError, RunError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.paths import instrument_folder

logger = get_module_logger("collector")

BASE_URL: Final = "https://query2.finance.yahoo.com"
BASE_URL_VARIABLE: Final = "YAHOO_BASE_URL"
PRICES: Final = ("open", "high", "low", "close")
OVERLAP_DAYS: Final = 15  # how far before the store's end an update begins, so that every instrument traded once
MINUTES_A_QUESTION: Final = pd.Timedelta(days=7)  # what the server gives at once

# Indices whose trading dates are the calendar of a market, by Qlib's names.
BENCHMARKS: Final = {
    "ALL": "000001.SS", "CSI300": "000300.SS", "CSI100": "000903.SS", "CSI500": "000905.SS",
    "US_ALL": "^GSPC", "IN_ALL": "^NSEI", "BR_ALL": "^BVSP",
}  # fmt: skip


@dataclass(frozen=True)
class Region:
    """What differs between markets: the clock, the sessions (first and last minute), where a list of symbols is."""

    zone: str
    sessions: tuple[tuple[str, str], tuple[str, str] | None]
    symbols: Any


REGIONS: Final = {
    "CN": Region("Asia/Shanghai", (("09:30:00", "11:29:00"), ("13:00:00", "14:59:00")), get_hs_stock_symbols),
    "US": Region("America/New_York", (("09:30:00", "15:59:00"), None), get_us_stock_symbols),
    "IN": Region("Asia/Kolkata", (("09:15:00", "15:29:00"), None), get_in_stock_symbols),
    "BR": Region("America/Sao_Paulo", (("10:00:00", "16:59:00"), None), get_br_stock_symbols),
}


# ---------------------------------------------------------------------- the server's dialect
def parse_chart(answer: Any, interval: str) -> pd.DataFrame:
    """Return the bars of one answer: date (text, the exchange's clock), open, high, low, close, volume, adjclose.

    The bar of a day that is not over has the time of its last trade behind the date, so that nobody takes it for a
    whole one (`Normalize` leaves it out). A minute that is not over is left out here. Raises RunError where the
    answer is none.
    """
    chart = answer.get("chart") if isinstance(answer, dict) else None
    if not isinstance(chart, dict):
        raise RunError("the server's answer holds no chart")
    if chart.get("error"):
        raise RunError(f"the server says: {chart['error'].get('description') or chart['error'].get('code')}")
    result = (chart.get("result") or [{}])[0]
    stamps = np.asarray(result.get("timestamp") or [], np.int64)
    columns = ["date", *PRICES, "volume", "adjclose"]
    if not len(stamps):
        return pd.DataFrame(columns=columns)
    meta, indicators = result["meta"], result["indicators"]
    quotes = indicators["quote"][0]
    frame = pd.DataFrame({name: pd.Series(quotes[name], dtype=np.float64) for name in (*PRICES, "volume")})
    adjusted = indicators.get("adjclose")
    frame["adjclose"] = pd.Series(adjusted[0]["adjclose"] if adjusted else quotes["close"], dtype=np.float64)
    local = pd.to_datetime(stamps, unit="s", utc=True).tz_convert(meta["exchangeTimezoneName"]).tz_localize(None)
    now = int(meta.get("regularMarketTime") or stamps[-1])
    if interval == BaseCollector.INTERVAL_1min:
        frame["date"] = local.strftime("%Y-%m-%d %H:%M:%S")
        return frame.loc[stamps + 60 <= now, columns].reset_index(drop=True)
    frame["date"] = local.strftime("%Y-%m-%d")
    session = meta.get("currentTradingPeriod", {}).get("regular", {})
    if session and now < session["end"] and stamps[-1] >= session["start"]:
        trade = pd.Timestamp(now, unit="s", tz="UTC").tz_convert(meta["exchangeTimezoneName"])
        forming = frame["date"] == frame["date"].iloc[-1]
        frame.loc[forming, "date"] = f"{frame['date'].iloc[-1]} {trade:%H:%M:%S}"
    # The server may give the last day twice: as a bar, and as of its last trade.
    return frame.drop_duplicates("date", keep="last")[columns].reset_index(drop=True)


def base_url_of(base_url: str | None) -> str:
    """Return the server that is asked: the argument, else YAHOO_BASE_URL, else Yahoo's own."""
    return (base_url or os.environ.get(BASE_URL_VARIABLE) or BASE_URL).rstrip("/")


def chart(
    symbol: str, interval: str, start: pd.Timestamp, end: pd.Timestamp, zone: str, base_url: str | None = None
) -> pd.DataFrame:
    """Return the bars of an instrument from `start` until before `end`, both by the clock `zone`."""
    parameters = {
        "period1": int(start.tz_localize(zone, ambiguous=True, nonexistent="shift_forward").timestamp()),
        "period2": int(end.tz_localize(zone, ambiguous=True, nonexistent="shift_forward").timestamp()),
        "interval": "1m" if interval == BaseCollector.INTERVAL_1min else interval,
        "events": "div,split",
        "includeAdjustedClose": "true",
    }
    frame = parse_chart(
        get_json(f"{base_url_of(base_url)}/v8/finance/chart/{quote(symbol, safe='')}", parameters), interval
    )
    times = pd.to_datetime(frame["date"], format="ISO8601")
    return frame[(times >= start) & (times < end)].reset_index(drop=True)


def get_calendar_list(bench_code: str = "CSI300", base_url: str | None = None) -> list[pd.Timestamp]:
    """Return the dates on which an index was traded: CSI300, CSI100, CSI500, ALL, US_ALL, IN_ALL or BR_ALL."""
    name = bench_code.upper()
    if name not in BENCHMARKS:
        raise InputError(
            f"bench_code: received {bench_code!r}; {', '.join(BENCHMARKS)} are allowed{did_you_mean(name, BENCHMARKS)}"
        )
    region = REGIONS[name[:2] if name.endswith("_ALL") else "CN"]
    end = today() + pd.Timedelta(days=1)
    frame = chart(BENCHMARKS[name], "1d", pd.Timestamp("1990-01-01"), end, region.zone, base_url)
    whole = frame.loc[frame["close"].notna() & (frame["date"].str.len() == len("2024-01-31")), "date"]
    return list(pd.to_datetime(whole))


# ---------------------------------------------------------------------- download
class YahooCollector(BaseCollector):
    """Download of one region.

    Parameters
    ----------
    base_url
        The server; None means YAHOO_BASE_URL, or Yahoo's own.
    symbols
        Symbols in Yahoo's spelling: a list, a text with commas, a file or an address with one a line. None means the
        list that QLIB_SYMBOLS_HS, _US, _IN or _BR names.
    """

    region: ClassVar[str] = "US"

    def __init__(
        self, *arguments: Any, base_url: str | None = None, symbols: str | Iterable[str] | None = None, **options: Any
    ) -> None:
        self.base_url = base_url_of(base_url)
        self.symbols = symbols
        super().__init__(*arguments, **options)

    def get_instrument_list(self) -> list[str]:
        """Return the symbols in Yahoo's spelling."""
        return listed(self.symbols, self.region)

    def normalize_symbol(self, symbol: str) -> str:
        """Return the name in the store: sh600519 for 600519.SS in CN, else the symbol in capitals."""
        return symbol_suffix_to_prefix(symbol, capital=False) if self.region == "CN" else symbol.upper()

    def get_data(
        self, symbol: str, interval: str, start_datetime: pd.Timestamp, end_datetime: pd.Timestamp
    ) -> pd.DataFrame:
        """Return the bars that the server has; minutes are asked for week by week, as it wants."""
        step = MINUTES_A_QUESTION if interval == self.INTERVAL_1min else end_datetime - start_datetime
        frames, begin = [], start_datetime
        while begin < end_datetime:
            until = min(begin + step, end_datetime)
            frames.append(chart(symbol, interval, begin, until, REGIONS[self.region].zone, self.base_url))
            begin = until
        filled = [frame for frame in frames if not frame.empty]
        return pd.concat(filled, ignore_index=True) if filled else frames[0]


def listed(symbols: str | Iterable[str] | None, region: str) -> list[str]:
    """Return the symbols that were meant: a list, a text with commas, a file, an address, or the region's own list."""
    if symbols is None:
        return list(REGIONS[region].symbols())
    if not isinstance(symbols, str | os.PathLike):
        return [str(symbol) for symbol in symbols]
    text = str(symbols)
    if text.startswith(("http://", "https://")) or Path(text).expanduser().is_file():
        return symbols_from(text)
    return [part.strip() for part in text.split(",") if part.strip()]


# ---------------------------------------------------------------------- normalize
class YahooNormalize(BaseNormalize):
    """Bars in the order of time, one a date, without prices where nothing was traded.

    Parameters
    ----------
    calendar
        The trading dates: a file with one a line, or one of Qlib's names of a market (CSI300, US_ALL, ...), whose index
        is then asked for. Dates inside an instrument's life that it lacks become rows of NaN; a row on another date
        is an error. None takes the dates as they are, and the store's calendar becomes the union of all.
    """

    region: ClassVar[str] = "US"

    def __init__(
        self, date_field_name: str = "date", symbol_field_name: str = "symbol", calendar: str | None = None,
        base_url: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.calendar, self.base_url = calendar, base_url
        super().__init__(date_field_name, symbol_field_name, **kwargs)

    def _get_calendar_list(self) -> list[pd.Timestamp] | None:
        if self.calendar is None:
            return None
        path = Path(self.calendar).expanduser()
        if path.is_file():
            return list(read_calendar(path, "day").index)
        if self.calendar.upper() not in BENCHMARKS:
            raise InputError(
                f"calendar: received {self.calendar!r}, which is neither a file nor one of {', '.join(BENCHMARKS)}"
            )
        return get_calendar_list(self.calendar, self.base_url)

    def normalize(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the bars."""
        frame = self._in_order(df)
        frame = self._on_calendar(frame)
        return self._as_columns(frame, df)

    def _in_order(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the numbers by date; of two rows of one date the one that came later."""
        frame = df.drop(columns=[self._date_field_name, self._symbol_field_name]).astype(np.float64)
        frame.index = pd.DatetimeIndex(pd.to_datetime(df[self._date_field_name]), name=self._date_field_name)
        self._check_basis(frame)
        frame = frame[~frame.index.duplicated(keep="last")].sort_index()
        # A stock without volume was not traded, whatever price stands there; an index never has a volume.
        if "volume" in frame.columns and self._has_volume(frame, df[self._symbol_field_name].iloc[0]):
            frame.loc[~(frame["volume"] > 0)] = np.nan
        return frame

    def _has_volume(self, frame: pd.DataFrame, symbol: str) -> bool:
        """Tell whether it is traded itself."""
        return bool((frame["volume"] > 0).any())

    def _check_basis(self, frame: pd.DataFrame) -> None:
        """Raise InputError where two downloads are mixed that were adjusted on different days."""

    def _on_calendar(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self._calendar_list is None:
            return frame
        dates = pd.DatetimeIndex(list(self._calendar_list)).sort_values()
        strange = frame.index.difference(dates)
        if len(strange):
            raise InputError(f"{strange[0].date()} is no trading date of the calendar ({len(strange)} rows in all)")
        return frame.reindex(dates[(dates >= frame.index[0]) & (dates <= frame.index[-1])])

    def _as_columns(self, frame: pd.DataFrame, df: pd.DataFrame) -> pd.DataFrame:
        frame = frame.reset_index(names=self._date_field_name)
        frame[self._symbol_field_name] = df[self._symbol_field_name].iloc[0]
        return frame


class YahooNormalize1d(YahooNormalize):
    """Days: prices x factor, volume / factor, `factor`, `change`; the first traded close is 1."""

    def normalize(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return adjusted bars."""
        frame = self._adjusted(self._in_order(df))
        first = frame["close"].first_valid_index()
        if first is None:
            raise InputError(f"{df[self._symbol_field_name].iloc[0]} has no bar with a price")
        return self._as_columns(self._on_calendar(_scaled(frame, 1.0 / frame["close"][first])), df)

    def _adjusted(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return bars adjusted for dividends (the server's prices are adjusted for splits already)."""
        frame = frame.copy()
        frame["factor"] = frame.pop("adjclose") / frame["close"]
        for name in PRICES:
            frame[name] *= frame["factor"]
        frame["volume"] /= frame["factor"]
        frame["change"] = frame["close"] / frame["close"].ffill().shift(1) - 1.0  # from the last close that was traded
        return frame

    def _check_basis(self, frame: pd.DataFrame) -> None:
        twice = frame[frame.index.duplicated(keep=False)].groupby(level=0)[["close", "adjclose"]]
        spread = twice.max() / twice.min() - 1.0
        if (spread > 1e-6).to_numpy().any():
            date = spread.index[(spread > 1e-6).any(axis=1)][0]
            raise InputError(
                f"two downloads disagree about {date.date()}: a dividend or a split came between them, and rows of the "
                "older one are adjusted otherwise; download all of it into an empty folder, or use update_data_to_bin"
            )


class YahooNormalize1dExtend(YahooNormalize1d):
    """Days that go on where a store ends, in its scale.

    Parameters
    ----------
    old_qlib_data_dir
        The store. An instrument that it lacks is normalized as a new one.

    The scale comes from the last date on which both have a price, and rows after it are returned: a dividend since
    then changes no stored number. Raises InputError where there is no such date.
    """

    def __init__(self, *arguments: Any, old_qlib_data_dir: str | Path, **options: Any) -> None:
        self.old = _Days(old_qlib_data_dir)
        super().__init__(*arguments, **options)

    def normalize(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the rows after those of the store."""
        symbol = df[self._symbol_field_name].iloc[0]
        stored = self.old.series(symbol, "close").dropna()
        if stored.empty:
            return super().normalize(df)
        frame = self._adjusted(self._in_order(df))
        both = stored.index.intersection(frame.index[frame["close"].notna()])
        if both.empty:
            raise InputError(
                f"{symbol}: the store ends on {stored.index[-1].date()}, the rows begin on {frame.index[0].date()}: no "
                "date has a price in both, so the scale is unknown; download it from an earlier start"
            )
        frame = _scaled(frame, stored[both[-1]] / frame["close"][both[-1]])
        frame = self._on_calendar(frame)
        return self._as_columns(frame[frame.index > stored.index[-1]], df)

    def _has_volume(self, frame: pd.DataFrame, symbol: str) -> bool:
        """Tell whether it is traded itself, by what is stored: it may pause in all of the new rows."""
        return super()._has_volume(frame, symbol) or self.old.traded(symbol)

    def _check_basis(self, frame: pd.DataFrame) -> None:
        """Mixed downloads do no harm here: the rows after the common date are those of the last one."""


class YahooNormalize1min(YahooNormalize):
    """Minutes in the prices of a daily store.

    Parameters
    ----------
    qlib_data_1d_dir
        The store of days, which gives the factor of every day, and says on which days nothing was traded. Those days
        have `paused` = 1 on every minute of the sessions and `paused_num`, the number of such days in a row.
    """

    def __init__(self, *arguments: Any, qlib_data_1d_dir: str | Path, **options: Any) -> None:
        self.days = _Days(qlib_data_1d_dir)
        super().__init__(*arguments, **options)

    def normalize(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return adjusted minutes."""
        symbol = df[self._symbol_field_name].iloc[0]
        frame = self._in_order(df)
        days = pd.DatetimeIndex(frame.index).normalize().unique()
        daily = pd.DataFrame({name: self.days.series(symbol, name) for name in ("close", "volume", "factor")})
        within = daily[(daily.index >= days[0]) & (daily.index <= days[-1])]
        lacking = days.difference(pd.DatetimeIndex(within.index))
        if len(lacking):
            raise MissingDataError(
                f"{symbol}: the store of days has no bar of {lacking[0].date()} ({len(lacking)} days in all), so the "
                "factor of its minutes is unknown; update the days first"
            )
        morning, afternoon = REGIONS[self.region].sessions
        minutes = generate_minutes_calendar_from_daily(within.index, "1min", morning, afternoon)
        frame = frame.drop(columns="adjclose", errors="ignore").reindex(frame.index.union(minutes))
        rows = self._as_columns(frame.rename_axis(self._date_field_name), df)
        factors = within.reset_index(names=self._date_field_name)
        adjusted = calc_adjusted_price(rows, factors, self._date_field_name, self._symbol_field_name)
        adjusted["change"] = adjusted["close"] / adjusted["close"].ffill().shift(1) - 1.0
        return adjusted

    def _has_volume(self, frame: pd.DataFrame, symbol: str) -> bool:
        """Tell whether it is traded itself, by its days."""
        return super()._has_volume(frame, symbol) or self.days.traded(symbol)

    def _on_calendar(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame


def _scaled(frame: pd.DataFrame, scale: float) -> pd.DataFrame:
    """Return bars in another unit of price."""
    frame = frame.copy()
    for name in (*PRICES, "factor"):
        frame[name] *= scale
    frame["volume"] /= scale
    return frame


class _Days:
    """The daily series of a store, read straight from its files."""

    def __init__(self, qlib_dir: str | Path) -> None:
        self.root = Path(qlib_dir).expanduser().resolve()
        path = self.root / "calendars" / "day.txt"
        if not path.is_file():
            raise InputError(f"{self.root} is no store of days: {path} is missing")
        self.calendar = read_calendar(path, "day").index

    def series(self, symbol: str, field: str) -> pd.Series:
        """Return a field by date; empty where the store lacks it."""
        path = self.root / "features" / instrument_folder(symbol) / f"{field}.day.bin"
        if not path.is_file():
            return pd.Series([], pd.DatetimeIndex([]), np.float64)
        start, values = read_bin(path, entries=len(self.calendar))
        return pd.Series(values.astype(np.float64), self.calendar[start : start + len(values)])

    def traded(self, symbol: str) -> bool:
        """Tell whether an instrument ever had a volume."""
        return bool((self.series(symbol, "volume") > 0).any())


# ---------------------------------------------------------------------- one class a region and interval, as in Qlib
class YahooCollectorCN1d(YahooCollector):
    region = "CN"


class YahooCollectorCN1min(YahooCollectorCN1d):
    pass


class YahooCollectorUS1d(YahooCollector):
    region = "US"


class YahooCollectorUS1min(YahooCollectorUS1d):
    pass


class YahooCollectorIN1d(YahooCollector):
    region = "IN"


class YahooCollectorIN1min(YahooCollectorIN1d):
    pass


class YahooCollectorBR1d(YahooCollector):
    region = "BR"


class YahooCollectorBR1min(YahooCollectorBR1d):
    pass


class YahooNormalizeCN1d(YahooNormalize1d):
    region = "CN"


class YahooNormalizeCN1dExtend(YahooNormalize1dExtend):
    region = "CN"


class YahooNormalizeCN1min(YahooNormalize1min):
    region = "CN"


class YahooNormalizeUS1d(YahooNormalize1d):
    region = "US"


class YahooNormalizeUS1dExtend(YahooNormalize1dExtend):
    region = "US"


class YahooNormalizeUS1min(YahooNormalize1min):
    region = "US"


class YahooNormalizeIN1d(YahooNormalize1d):
    region = "IN"


class YahooNormalizeIN1dExtend(YahooNormalize1dExtend):
    region = "IN"


class YahooNormalizeIN1min(YahooNormalize1min):
    region = "IN"


class YahooNormalizeBR1d(YahooNormalize1d):
    region = "BR"


class YahooNormalizeBR1dExtend(YahooNormalize1dExtend):
    region = "BR"


class YahooNormalizeBR1min(YahooNormalize1min):
    region = "BR"


# ---------------------------------------------------------------------- the commands
class Run(BaseRun):
    """Stocks of Yahoo Finance.

    Parameters
    ----------
    source_dir, normalize_dir, max_workers, interval
        Those of `BaseRun`.
    region
        CN, US, IN or BR.
    base_url
        The server; None means YAHOO_BASE_URL, or Yahoo's own.
    symbols
        Symbols in Yahoo's spelling: with commas between, or a file or an address with one a line. None means the list
        that QLIB_SYMBOLS_HS, _US, _IN or _BR names.
    """

    def __init__(
        self, source_dir: str | None = None, normalize_dir: str | None = None, max_workers: int = 1,
        interval: str = "1d", region: str = "CN", base_url: str | None = None, symbols: Any = None,
    ) -> None:  # fmt: skip
        self.region = str(region).upper()
        if self.region not in REGIONS:
            raise InputError(
                f"region: received {region!r}; {', '.join(REGIONS)} are allowed{did_you_mean(self.region, REGIONS)}"
            )
        self.base_url, self.symbols = base_url, symbols
        super().__init__(source_dir, normalize_dir, max_workers, interval)

    @property
    def collector_class_name(self) -> str:
        """Return YahooCollectorCN1d and so on."""
        return f"YahooCollector{self.region}{self.interval}"

    @property
    def normalize_class_name(self) -> str:
        """Return YahooNormalizeCN1d and so on."""
        return f"YahooNormalize{self.region}{self.interval}"

    @property
    def default_base_dir(self) -> Path:
        """Return the working folder."""
        return Path.cwd()

    def download_data(  # type: ignore[override]  # a mistyped option must not pass as one for the class
        self, max_collector_count: int = 2, delay: float = 0.5, start: str | None = None, end: str | None = None,
        check_data_length: int | None = None, limit_nums: int | None = None,
    ) -> None:  # fmt: skip
        """Download raw bars from `start` until before `end` into `source_dir`."""
        given = {"base_url": self.base_url, "symbols": self.symbols}
        super().download_data(max_collector_count, delay, start, end, check_data_length, limit_nums, **given)

    def normalize_data(  # type: ignore[override]  # likewise
        self, date_field_name: str = "date", symbol_field_name: str = "symbol", end_date: str | None = None,
        qlib_data_1d_dir: str | None = None, calendar: str | None = None, compat: str | None = None,
    ) -> None:  # fmt: skip
        """Adjust the bars of `source_dir` into `normalize_dir`; minutes need `qlib_data_1d_dir`, the store of days."""
        more: dict[str, Any] = {"end_date": end_date, "calendar": calendar, "compat": compat, "base_url": self.base_url}
        if self.interval == BaseCollector.INTERVAL_1min:
            if qlib_data_1d_dir is None:
                raise InputError(
                    "qlib_data_1d_dir: received none; minutes are adjusted by the factors of a daily store"
                )
            more["qlib_data_1d_dir"] = qlib_data_1d_dir
        super().normalize_data(date_field_name, symbol_field_name, **more)

    def normalize_data_1d_extend(
        self, old_qlib_data_dir: str, date_field_name: str = "date", symbol_field_name: str = "symbol",
        calendar: str | None = None,
    ) -> None:  # fmt: skip
        """Adjust the days of `source_dir` into `normalize_dir` so that they go on where a store ends."""
        if self.interval != BaseCollector.INTERVAL_1d:
            raise InputError(f"interval: received {self.interval}; a store is extended by days (1d)")
        Normalize(
            self.source_dir,
            self.normalize_dir,
            self._class_of(f"{self.normalize_class_name}Extend"),
            self.max_workers,
            date_field_name,
            symbol_field_name,
            interval=self.interval,
            base_url=self.base_url,
            calendar=calendar,
            old_qlib_data_dir=old_qlib_data_dir,
        ).normalize()

    def download_today_data(
        self, max_collector_count: int = 2, delay: float = 0.5, check_data_length: int | None = None,
        limit_nums: int | None = None,
    ) -> None:  # fmt: skip
        """Download the bars of today, by the exchange's clock, into `source_dir`."""
        start = pd.Timestamp.now(REGIONS[self.region].zone).tz_localize(None).normalize()
        end = start + pd.Timedelta(days=1)
        self.download_data(
            max_collector_count, delay, str(start.date()), str(end.date()), check_data_length, limit_nums
        )

    def update_data_to_bin(
        self, qlib_data_1d_dir: str, end_date: str | None = None, check_data_length: int | None = None,
        delay: float = 1, exists_skip: bool = False, limit_nums: int | None = None,
    ) -> None:  # fmt: skip
        """Add to a daily store what it lacks until before `end_date` (None: until tomorrow).

        Parameters
        ----------
        qlib_data_1d_dir
            The store. Make it with download_data, normalize_data and dump_bin.py dump_all, or get it with
            scripts/get_data.py.
        exists_skip
            Taken for the sake of Qlib's command lines: a store that is there is always used, and none is downloaded.

        Downloads, normalizes and dumps in folders of its own; `source_dir` and `normalize_dir` stay as they are. The
        market files of the region's indices are written for which QLIB_INDEX_<NAME>_MEMBERS and _CHANGES name lists.
        Raises RunError after the store was updated, where some instruments could not be.
        """
        if self.interval != BaseCollector.INTERVAL_1d:
            raise InputError(f"interval: received {self.interval}; a store of days is updated with 1d")
        last = _Days(qlib_data_1d_dir).calendar[-1]
        start = last - pd.Timedelta(days=OVERLAP_DAYS)
        work = Path(tempfile.mkdtemp(prefix=".update-", dir=self.source_dir.parent))
        own = Run(
            str(work / "source"),
            str(work / "normalize"),
            self.max_workers,
            "1d",
            self.region,
            self.base_url,
            self.symbols,
        )
        failed: list[str] = []
        try:
            for step in (
                lambda: own.download_data(
                    delay=delay, start=str(start.date()), end=end_date, check_data_length=check_data_length,
                    limit_nums=limit_nums,
                ),
                lambda: own.normalize_data_1d_extend(str(qlib_data_1d_dir)),
            ):  # fmt: skip
                try:
                    step()
                except RunError as error:  # what came is stored all the same, and the rest is told
                    failed.append(str(error))
            if any((work / "normalize").glob("*.csv")):
                dump_update(work / "normalize", qlib_data_1d_dir, freq="day", max_workers=self.max_workers)
            else:
                logger.info(f"{qlib_data_1d_dir}: nothing came after {last.date()}")
        finally:
            shutil.rmtree(work, ignore_errors=True)
        for index in INDICES.get(f"{self.region.lower()}_index", ()):
            if all(os.environ.get(variable(index, what)) for what in ("members", "changes")):
                get_instruments(qlib_data_1d_dir, index, market_index=f"{self.region.lower()}_index")
            else:
                logger.info(f"{index}: no lists are named, so its market file stays as it is")
        if failed:
            raise RunError(f"{qlib_data_1d_dir} was updated, but not with everything: {'; '.join(failed)}")

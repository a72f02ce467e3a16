"""Small tools for collectors of stocks, under the names of Qlib's `scripts/data_collector/utils.py`.

    get_calendar_list_by_ratio("source")               the dates on which most files have a row
    generate_minutes_calendar_from_daily(dates)        every minute of the sessions of those dates
    get_us_stock_symbols("symbols.txt")                a list of symbols, from a file, an address or QLIB_SYMBOLS_US
    calc_adjusted_price(minutes, days, ...)            raw minutes in the prices of a daily store
    deco_retry(retry=5, retry_sleep=3)                 ask again

Qlib reads the lists of symbols from web pages; here one says where a list is.
"""

from __future__ import annotations

import bisect
import functools
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import numpy as np
import pandas as pd

from qlib.collect.collectors import read_source
from qlib.collect.server import AgainError, Patience, ask, repeated, shown
from qlib.errors import InputError, MissingDataError, RunError
from qlib.log import get_module_logger

logger = get_module_logger("collector")

SYMBOLS_VARIABLE: Final = "QLIB_SYMBOLS_"  # + HS, US, IN, BR, EN_FUND


# ---------------------------------------------------------------------- lists of symbols
def text_of(source: str | os.PathLike[str]) -> str:
    """Return what a file or an address holds, as text.

    Raises InputError where there is no such file, RunError where the server does not answer.
    """
    place = str(source)
    if not re.match(r"https?://", place):
        path = Path(place).expanduser()
        if not path.is_file():
            raise InputError(f"{path} is no file")
        return path.read_text(encoding="utf-8")
    patience = Patience()

    def attempt() -> str:
        with ask(place, patience=patience, trusted=False) as answer:
            return str(answer.content.decode("utf-8"))

    try:
        return repeated(attempt, patience=patience, name=shown(place))
    except AgainError as error:
        raise RunError(f"{shown(place)}: {error}; given up after {patience.attempts} attempts") from None


def symbols_from(source: str | os.PathLike[str]) -> list[str]:
    """Return the symbols of a file or an address: one a line, what follows a comma or a tab is ignored.

    Raises InputError where there are none, RunError where the server does not answer.
    """
    lines = (re.split(r"[,\t]", line, maxsplit=1)[0].strip() for line in text_of(source).splitlines())
    symbols = sorted({line for line in lines if line and not line.startswith("#")})
    if not symbols:
        raise InputError(f"symbols: {shown(str(source))} holds none; one a line is needed")
    return symbols


def _symbols(market: str, source: str | os.PathLike[str] | None) -> list[str]:
    variable = SYMBOLS_VARIABLE + market
    found = source if source is not None else os.environ.get(variable)
    if not found:
        raise MissingDataError(
            f"symbols: no list of {market} is known; give a file with one a line or its address, or set {variable}"
        )
    return symbols_from(found)


def get_hs_stock_symbols(source: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the stocks of Shanghai and Shenzhen as Yahoo spells them (600519.SS): `source` or QLIB_SYMBOLS_HS."""
    return _symbols("HS", source)


def get_us_stock_symbols(source: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the stocks of the United States: a file or an address, `source` or QLIB_SYMBOLS_US."""
    return _symbols("US", source)


def get_in_stock_symbols(source: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the stocks of India as Yahoo spells them (TCS.NS): `source` or QLIB_SYMBOLS_IN."""
    return _symbols("IN", source)


def get_br_stock_symbols(source: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the stocks of Brazil as Yahoo spells them (PETR4.SA): `source` or QLIB_SYMBOLS_BR."""
    return _symbols("BR", source)


def get_en_fund_symbols(source: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the codes of funds: a file or an address, `source` or QLIB_SYMBOLS_EN_FUND."""
    return _symbols("EN_FUND", source)


def symbol_suffix_to_prefix(symbol: str, capital: bool = True) -> str:
    """Return "SH600519" for "600519.SS" or "600519.sh".

    >>> symbol_suffix_to_prefix("600519.SS"), symbol_suffix_to_prefix("000001.sz", capital=False)
    ('SH600519', 'sz000001')
    """
    code, dot, exchange = symbol.rpartition(".")
    if not dot or not code:
        raise InputError(f"symbol: received {symbol!r}; a code and an exchange are needed, such as 600519.SS")
    exchange = "sh" if exchange.lower() in ("ss", "sh") else exchange.lower()
    joined = f"{exchange}{code}"
    return joined.upper() if capital else joined.lower()


def symbol_prefix_to_sufix(symbol: str, capital: bool = True) -> str:
    """Return "600519.SH" for "SH600519", the inverse of `symbol_suffix_to_prefix`; the name is Qlib's.

    >>> symbol_prefix_to_sufix("sh600519")
    '600519.SH'
    """
    found = re.fullmatch(r"([A-Za-z]{2})(\d.*)", symbol)
    if not found:
        raise InputError(f"symbol: received {symbol!r}; an exchange and a code are needed, such as SH600519")
    joined = f"{found[2]}.{found[1]}"
    return joined.upper() if capital else joined.lower()


# ---------------------------------------------------------------------- asking
def get_json(
    url: str, parameters: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None,
    patience: Patience = Patience(),
) -> Any:  # fmt: skip
    """Return the JSON that a server answers to a GET; what is cut off or no JSON is asked for again.

    Raises
    ------
    NotThereError
        The server has nothing there.
    RunError
        It refuses, or gives no usable answer in `patience.attempts` attempts.
    """
    import requests  # noqa: PLC0415  only downloads need it

    whole = f"{url}?{urlencode(parameters)}" if parameters else url

    def attempt() -> Any:
        with ask(whole, headers, patience=patience, trusted=False) as answer:
            try:
                return json.loads(answer.content)
            except (ValueError, requests.RequestException) as error:
                raise AgainError(f"the answer is no whole JSON ({error})") from None

    try:
        return repeated(attempt, patience=patience, name=shown(url))
    except AgainError as error:
        raise RunError(f"{shown(url)}: {error}; given up after {patience.attempts} attempts") from None


# ---------------------------------------------------------------------- asking again
def deco_retry(retry: Any = 5, retry_sleep: float = 3) -> Any:
    """Call a function again when it raises: at most `retry` times in all, `retry_sleep` seconds between.

    Used as `@deco_retry` or `@deco_retry(retry=3, retry_sleep=1)`; the last error is raised.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def again(*arguments: Any, **options: Any) -> Any:
            for turn in range(1, times + 1):
                try:
                    return function(*arguments, **options)
                except Exception as error:
                    logger.warning(f"{function.__name__}: attempt {turn} of {times}: {error}")
                    if turn == times:
                        raise
                    time.sleep(retry_sleep)
            return None

        return again

    times = 5 if callable(retry) else int(retry)
    if times < 1:
        raise InputError(f"retry: received {retry!r}; a whole number from 1 on is allowed")
    return decorate(retry) if callable(retry) else decorate


# ---------------------------------------------------------------------- calendars
def get_calendar_list_by_ratio(
    source_dir: str | os.PathLike[str],
    date_field_name: str = "date",
    threshold: float = 0.5,
    minimum_count: int = 10,
    max_workers: int = 16,
) -> list[pd.Timestamp]:
    """Return the dates that are trading days by the witness of the files themselves.

    A date counts where at least `minimum_count` files, and at least the share `threshold` of those whose first and
    last row enclose it, have a row.
    """
    files = sorted(Path(source_dir).expanduser().glob("*.csv"))
    if not files:
        raise InputError(f"source_dir: {source_dir} holds no file *.csv")

    def dates_of(path: Path) -> np.ndarray:
        column = read_source(path, date_field_name)[date_field_name]
        return np.unique(pd.to_datetime(column, format="ISO8601").to_numpy().astype("M8[D]"))

    with ThreadPoolExecutor(min(max_workers, len(files))) as pool:
        found = [dates for dates in pool.map(dates_of, files) if len(dates)]
    if not found:
        return []
    every, present = np.unique(np.concatenate(found), return_counts=True)
    starts = np.sort([dates[0] for dates in found])
    ends = np.sort([dates[-1] for dates in found])
    alive = np.searchsorted(starts, every, side="right") - np.searchsorted(ends, every, side="left")
    chosen = every[(present >= minimum_count) & (present >= threshold * alive)]
    return list(pd.DatetimeIndex(chosen.astype("M8[ns]")))


def get_trading_date_by_shift(trading_list: Sequence[Any], trading_date: Any, shift: int = 1) -> pd.Timestamp:
    """Return the trading date `shift` places after a date (before, where negative).

    A date that is none counts as the place before the next one. Raises MissingDataError beyond the ends of the list.

    >>> get_trading_date_by_shift(["2024-01-02", "2024-01-03", "2024-01-04"], "2024-01-03", -1)
    Timestamp('2024-01-02 00:00:00')
    """
    dates = sorted(pd.Timestamp(date) for date in trading_list)
    date = pd.Timestamp(trading_date)
    at = bisect.bisect_left(dates, date)
    if shift > 0 and (at == len(dates) or dates[at] != date):
        at -= 1  # the next one is the first step
    if not 0 <= at + shift < len(dates):
        raise MissingDataError(
            f"trading_date: {shift} places from {date.date()} lie outside the {len(dates)} dates of the list"
        )
    return dates[at + shift]


def generate_minutes_calendar_from_daily(
    calendars: Iterable[Any],
    freq: str = "1min",
    am_range: tuple[str, str] = ("09:30:00", "11:29:00"),
    pm_range: tuple[str, str] | None = ("13:00:00", "14:59:00"),
) -> pd.Index:
    """Return the bars of the sessions of every date, both ends of a session included.

    >>> len(generate_minutes_calendar_from_daily(["2024-01-02", "2024-01-03"]))
    480
    """
    days = pd.DatetimeIndex(pd.to_datetime(list(calendars))).normalize().unique().sort_values()
    steps = [
        pd.timedelta_range(pd.Timedelta(first), pd.Timedelta(last), freq=freq)
        for first, last in filter(None, (am_range, pm_range))
    ]
    within = np.concatenate([one.to_numpy() for one in steps])
    times = (days.to_numpy()[:, None] + within[None, :]).ravel()
    return pd.DatetimeIndex(times, name="date")


# ---------------------------------------------------------------------- minutes in the prices of days
def calc_adjusted_price(
    df: pd.DataFrame,
    _1d_data_all: pd.DataFrame,
    _date_field_name: str = "date",
    _symbol_field_name: str = "symbol",
    frequence: str = "1min",
    calc_paused: bool = True,
) -> pd.DataFrame:
    """Return the minutes of one instrument in the prices of a daily store.

    Parameters
    ----------
    df
        Raw bars of one instrument: date, open, high, low, close, volume.
    _1d_data_all
        Its days: date, `factor` (price of the store = raw price x factor) and, for `paused`, `close` and `volume`.
        Minutes of a day that it lacks, or whose factor is missing, become NaN.
    frequence
        The bar size of `df`.
    calc_paused
        Whether to add `paused` (1 on every bar of a day without trade, else 0) and `paused_num`, which counts the days
        without trade up to the bar.

    Prices are multiplied by the factor of their day, volumes divided by it.
    """
    frame = df.copy()
    times = pd.to_datetime(frame[_date_field_name])
    days = pd.DatetimeIndex(times.dt.normalize())
    daily = _1d_data_all.copy()
    daily.index = pd.DatetimeIndex(pd.to_datetime(daily[_date_field_name])).normalize()
    if daily.index.has_duplicates:
        raise InputError(f"days: {daily.index[daily.index.duplicated()][0].date()} occurs more than once")
    factor = daily["factor"].reindex(days).to_numpy(np.float64)
    frame["factor"] = factor
    for name in ("open", "high", "low", "close"):
        if name in frame.columns:
            frame[name] = frame[name].to_numpy(np.float64) * factor
    if "volume" in frame.columns:
        frame["volume"] = frame["volume"].to_numpy(np.float64) / factor
    if calc_paused:
        traded = daily["close"].notna() & (daily["volume"] > 0)
        frame["paused"] = (~traded.reindex(days, fill_value=False)).to_numpy().astype(np.int64)
        frame = calc_paused_num(frame, _date_field_name, _symbol_field_name)
    return frame


def calc_paused_num(df: pd.DataFrame, _date_field_name: str, _symbol_field_name: str) -> pd.DataFrame:
    """Add `paused_num`: how many days without trade there are in a row, up to the day of each bar; 0 on others.

    A day is one without trade where `paused` is 1 on all of its bars.

    >>> bars = pd.DataFrame({"date": ["2024-01-02 10:00", "2024-01-03 10:00", "2024-01-04 10:00"], "paused": [0, 1, 1]})
    >>> list(calc_paused_num(bars, "date", "symbol")["paused_num"])
    [0, 1, 2]
    """
    frame = df.copy()
    days = pd.to_datetime(frame[_date_field_name]).dt.normalize()
    paused = frame["paused"].astype(bool).groupby(days.to_numpy()).all().sort_index()
    running = paused.groupby((~paused).cumsum()).cumsum()
    frame["paused_num"] = running.astype(np.int64).reindex(days.to_numpy()).to_numpy()
    return frame

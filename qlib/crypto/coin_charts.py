"""Coins of CoinGecko day by day: prices, market values and volumes -> CSV files.

    GET <base_url>/coins/bitcoin/market_chart?vs_currency=usd&days=365&interval=daily

    date, prices, total_volumes, market_caps, symbol

There is no open, high or low in them, and the volume of a row is that of the last 24 hours: enough for a universe or a
feature, not for a backtest. For bars use `qlib collect okx` (docs/data_feeder.md).

A point stamped with a date was taken at 00:00 UTC of it: it is what was known when the day began. The last point of an
answer is that of now; its date carries the time of day, and `Normalize` leaves it out. Names are those of Qlib's
`scripts/data_collector/crypto/collector.py`, which computes dates by the clock of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.collector_tools import get_json, symbols_from
from qlib.collect.collectors import BaseCollector, BaseNormalize, BaseRun
from qlib.errors import InputError, RunError

BASE_URL: Final = "https://api.coingecko.com/api/v3"
BASE_URL_VARIABLE: Final = "COINGECKO_BASE_URL"
FIELDS: Final = ("prices", "total_volumes", "market_caps")
_DAY: Final = 86_400_000
_PAGE: Final = 250


def base_url_of(base_url: str | None) -> str:
    """Return the server that is asked: the argument, else COINGECKO_BASE_URL, else CoinGecko's own."""
    return (base_url or os.environ.get(BASE_URL_VARIABLE) or BASE_URL).rstrip("/")


def parse_market_chart(answer: Any) -> pd.DataFrame:
    """Return the points of an answer: date (text, UTC), prices, total_volumes, market_caps; a null is NaN.

    >>> parse_market_chart({"prices": [[1767225600000, 87000.5]], "market_caps": [], "total_volumes": []})
             date   prices  total_volumes  market_caps
    0  2026-01-01  87000.5            NaN          NaN
    """
    if not isinstance(answer, dict) or "prices" not in answer:
        raise RunError("the server's answer holds no prices")
    columns = {}
    for name in FIELDS:
        points = np.array(answer.get(name) or np.empty((0, 2)), dtype=np.float64)
        times = pd.Index(points[:, 0].astype(np.int64), name="ts")
        columns[name] = pd.Series(points[:, 1], times)[~times.duplicated(keep="last")]
    frame = pd.DataFrame(columns).sort_index()
    stamps = frame.index.to_numpy(np.int64)
    moments = pd.to_datetime(stamps, unit="ms")
    plain, full = moments.strftime("%Y-%m-%d"), moments.strftime("%Y-%m-%d %H:%M:%S")
    frame.insert(0, "date", np.where(stamps % _DAY == 0, plain, full))
    return frame.reset_index(drop=True)


class CryptoCollector(BaseCollector):
    """Download of coins.

    Parameters
    ----------
    base_url
        The server; None means COINGECKO_BASE_URL, or CoinGecko's own.
    symbols
        Ids of coins ("bitcoin"): a list, a text with commas, a file or an address with one a line. None means the
        `top` largest of today: who was large and died is not among them (`qlib universe build` knows those).
    top
        How many coins.
    days
        How far back to ask. Without a paid plan the server refuses more than 365 days, "max" included.
    """

    def __init__(
        self,
        *arguments: Any,
        base_url: str | None = None,
        symbols: str | Iterable[str] | None = None,
        top: int = 100,
        days: int | str = 365,
        **options: Any,
    ) -> None:
        self.base_url, self.symbols, self.top, self.days = base_url_of(base_url), symbols, int(top), str(days)
        if self.days != "max" and not (self.days.isdigit() and int(self.days) > 0):
            raise InputError(f"days: received {days!r}; a whole number from 1 on or max is allowed")
        super().__init__(*arguments, **options)

    def get_instrument_list(self) -> list[str]:
        """Return the ids of the coins."""
        if self.symbols is None:
            return self._largest()
        if not isinstance(self.symbols, str | os.PathLike):
            return [str(symbol) for symbol in self.symbols]
        text = str(self.symbols)
        if text.startswith(("http://", "https://")) or Path(text).expanduser().is_file():
            return symbols_from(text)
        return [part.strip() for part in text.split(",") if part.strip()]

    def _largest(self) -> list[str]:
        ids: list[str] = []
        page = 1
        while len(ids) < self.top:
            rows = get_json(
                f"{self.base_url}/coins/markets",
                {"vs_currency": "usd", "order": "market_cap_desc", "per_page": _PAGE, "page": page},
            )
            if not rows:
                break
            ids += [str(row["id"]) for row in rows]
            page += 1
        return ids[: self.top]

    def normalize_symbol(self, symbol: str) -> str:
        """Return the id itself: tickers are not unique, ids are."""
        return symbol

    def get_data(
        self, symbol: str, interval: str, start_datetime: pd.Timestamp, end_datetime: pd.Timestamp
    ) -> pd.DataFrame:
        """Return the points from `start_datetime` until before `end_datetime`, in UTC."""
        if interval != self.INTERVAL_1d:
            raise InputError(f"interval: received {interval}; the server keeps days (1d) alone")
        question = {"vs_currency": "usd", "days": self.days, "interval": "daily"}
        answer = get_json(f"{self.base_url}/coins/{symbol}/market_chart", question)
        frame = parse_market_chart(answer)
        times = pd.to_datetime(frame["date"], format="ISO8601")
        return frame[(times >= start_datetime) & (times < end_datetime)].reset_index(drop=True)


class CryptoCollector1d(CryptoCollector):
    pass


class CryptoNormalize(BaseNormalize):
    """One row a date, in the order of time; a market that never closes needs no calendar, and nothing is filled."""

    def _get_calendar_list(self) -> None:
        return None

    def normalize(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the rows; of two of one date the one that came later."""
        date = self._date_field_name
        frame = df.assign(**{date: pd.to_datetime(df[date]).dt.strftime("%Y-%m-%d")})
        return frame.drop_duplicates(date, keep="last").sort_values(date, kind="stable")


class CryptoNormalize1d(CryptoNormalize):
    pass


class Run(BaseRun):
    """Coins of CoinGecko, day by day: prices, total_volumes and market_caps, no bars.

    Parameters
    ----------
    source_dir, normalize_dir, max_workers, interval
        Those of `BaseRun`.
    base_url
        The server; None means COINGECKO_BASE_URL, or CoinGecko's own.
    symbols
        Ids of coins with commas between, or a file or an address with one a line; None means the `top` largest.
    top
        How many coins.
    days
        How far back to ask: 365 is what the server gives without a paid plan, "max" all.
    """

    def __init__(
        self, source_dir: str | None = None, normalize_dir: str | None = None, max_workers: int = 1,
        interval: str = "1d", base_url: str | None = None, symbols: Any = None, top: int = 100,
        days: Any = 365,
    ) -> None:  # fmt: skip
        self.base_url, self.symbols, self.top, self.days = base_url, symbols, top, days
        super().__init__(source_dir, normalize_dir, max_workers, interval)

    @property
    def collector_class_name(self) -> str:
        """Return CryptoCollector1d."""
        return f"CryptoCollector{self.interval}"

    @property
    def normalize_class_name(self) -> str:
        """Return CryptoNormalize1d."""
        return f"CryptoNormalize{self.interval}"

    @property
    def default_base_dir(self) -> Path:
        """Return the working folder."""
        return Path.cwd()

    def download_data(  # type: ignore[override]  # a mistyped option must not pass as one for the class
        self, max_collector_count: int = 2, delay: float = 2.5, start: str | None = None, end: str | None = None,
        check_data_length: int | None = None, limit_nums: int | None = None,
    ) -> None:  # fmt: skip
        """Download the points of days from `start` until before `end` into `source_dir`."""
        given = {"base_url": self.base_url, "symbols": self.symbols, "top": self.top, "days": self.days}
        super().download_data(max_collector_count, delay, start, end, check_data_length, limit_nums, **given)

    def normalize_data(  # type: ignore[override]  # likewise
        self, date_field_name: str = "date", symbol_field_name: str = "symbol", end_date: str | None = None
    ) -> None:
        """Put the rows of `source_dir` in order, one a date, into `normalize_dir`."""
        super().normalize_data(date_field_name, symbol_field_name, end_date=end_date)

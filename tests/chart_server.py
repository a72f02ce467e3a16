"""A server in the shape of Yahoo's chart API, for tests of the collector of stocks.

    market = Charts({"AAPL": raw}, zone="America/New_York", now="2024-03-01 20:00")
    with serving(market) as (url, asked): ...

`raw` has one row a bar: index by the exchange's own clock (dates for days, minutes for minutes), columns open, high,
low, close, volume, adjclose; NaN is sent as null. `now` is the server's clock, by the exchange; a day on which it lies
inside the session is sent as one that is not over.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pandas as pd
from http_server import File

SESSION = ("09:30:00", "16:00:00")


class Charts(dict[str, File]):
    def __init__(
        self, days: dict[str, pd.DataFrame], minutes: dict[str, pd.DataFrame] | None = None, *, zone: str, now: str
    ):
        super().__init__()
        self.days, self.minutes, self.zone, self.now = days, minutes or {}, zone, pd.Timestamp(now)
        self.fails: dict[str, list[File]] = {}  # symbol -> answers to give first

    def get(self, path: str, default: Any = None) -> File | None:  # type: ignore[override]
        parts = urlsplit(path)
        symbol = unquote(parts.path.rpartition("/")[2])
        if self.fails.get(symbol):
            return self.fails[symbol].pop(0)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        rows = (self.minutes if asked["interval"] == "1m" else self.days).get(symbol)
        if rows is None:
            said = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return File(json.dumps({"chart": {"result": None, "error": said}}).encode(), code=404)
        return File(json.dumps(self.answer(symbol, rows, asked)).encode())

    def stamps(self, times: Any) -> np.ndarray:
        return pd.DatetimeIndex(times).tz_localize(self.zone).tz_convert("UTC").as_unit("s").asi8

    def answer(self, symbol: str, rows: pd.DataFrame, asked: dict[str, str]) -> dict[str, Any]:
        days = asked["interval"] == "1d"
        times = rows.index + pd.Timedelta(SESSION[0]) if days else rows.index
        rows = rows[times <= self.now]
        stamps = self.stamps(times[times <= self.now])
        session = self.stamps([self.now.normalize() + pd.Timedelta(one) for one in SESSION])
        now = int(min(self.stamps([self.now])[0], session[1]))
        if days and len(stamps) and session[0] <= stamps[-1] and now < session[1]:
            stamps = np.append(stamps[:-1], now)  # what is not over has the time of the last trade
        inside = (stamps >= int(asked["period1"])) & (stamps < int(asked["period2"]))
        rows, stamps = rows[inside], stamps[inside]
        meta = {
            "symbol": symbol,
            "exchangeTimezoneName": self.zone,
            "regularMarketTime": now,
            "currentTradingPeriod": {"regular": {"start": int(session[0]), "end": int(session[1])}},
        }
        result: dict[str, Any] = {"meta": meta, "indicators": {"quote": [{}]}}
        if len(stamps):
            listed = {name: [None if np.isnan(x) else x for x in rows[name].to_numpy(float)] for name in rows}
            adjclose = listed.pop("adjclose")
            result["timestamp"] = stamps.tolist()
            result["indicators"] = {"quote": [listed]} | ({"adjclose": [{"adjclose": adjclose}]} if days else {})
        return {"chart": {"result": [result], "error": None}}

"""Exchanges for tests of the ccxt adapter: each takes `since` and `limit` to mean something else."""

from __future__ import annotations

from typing import Any

import pytest

from qlib.collect.server import Patience
from qlib.crypto.venues.ccxt_source import CcxtSource

ccxt = pytest.importorskip("ccxt")

HOUR = 3_600_000
QUICK = Patience(attempts=5, pause=0.001, longest=0.01)


class Exchange(ccxt.Exchange):
    """An exchange that answers as one of the kinds that ccxt does not tell apart."""

    def __init__(self, truth: list[int], cap: int, manner: str, now: int) -> None:
        super().__init__({"timeframes": {"1h": "1h"}})
        self.truth, self.cap, self.manner, self.moment, self.asked = truth, cap, manner, now, 0
        self.has["fetchTime"] = self.has["fetchOHLCV"] = True
        self.features = {"spot": {"fetchOHLCV": {"limit": 12}}}

    def fetch_time(self, params: Any = None) -> int:
        return self.moment

    def load_markets(self, reload: bool = False, params: Any = None) -> dict[str, Any]:
        market = {"symbol": "A/B", "base": "A", "quote": "B", "spot": True, "info": {}}
        return {"A/B": market}

    def fetch_ohlcv(self, symbol: str, timeframe: str = "1h", since: Any = None, limit: Any = None, params: Any = None):
        self.asked += 1
        assert self.asked < 5_000
        there = [ts for ts in self.truth if ts <= self.moment]
        after = [ts for ts in there if ts >= since]
        window = [ts for ts in after if ts < since + limit * HOUR]
        rows = {
            "oldest first": after[: min(limit, self.cap)],
            "oldest of the window": window[: self.cap],
            "newest of the window": window[-self.cap :],
            "newest of all": there[-self.cap :][:limit],
            "newest since": after[-min(limit, self.cap) :],
        }[self.manner]
        return [[ts, ts, ts + 1, ts - 1, ts, 5.0] for ts in rows]


def reading(exchange: Exchange) -> CcxtSource:
    source = CcxtSource("kraken", patience=QUICK)
    source._exchange = exchange  # noqa: SLF001
    return source

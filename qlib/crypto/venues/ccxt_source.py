"""Any exchange that ccxt knows, as a source: `pip install "qlib-crypto[ccxt]"`.

    source = CcxtSource("kraken")
    source.resolve("BTC/USD").symbol                      'BTC-USD'
    source.walk(Series("BTC-USD", "candles", "1h"), start, end)

ccxt hides what an exchange does with `since` and `limit`: some answer with the oldest rows of a window, some with the
newest, some ignore one of the two, and each has a page limit of its own. So nothing is concluded from what was asked:

    asked    since 0, 10 bars          received  4 5 6                 known: 4 to 6, nothing else
    asked    since 0,  4 bars          received  nothing               nothing came of 0 to 3
                                       received  4                     the same, if 4 comes first when one is asked for
                                       received  7                     it tells its newest rows: 0 to 3 is unknown
    asked    since 7, 10 bars          received  nothing before 10     as above

An answer that has fewer rows than were asked for and than others had is whole. Pages of three rows are the least.
A range in which nothing came becomes a page without rows only when older rows show that the exchange tells of such
times at all. Otherwise it is a Hole: the exchange does not go back so far, or the instrument did not exist.

ccxt does not tell the worth of a bar in quote units: `amount` and `vwap` are NaN. `volume` is what the exchange gives:
coins for spot pairs, and for contracts coins on most exchanges, contracts on some.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from qlib.collect.paging import in_order
from qlib.collect.server import AgainError, Patience, checked_url, repeated
from qlib.collect.source import (
    COLUMNS,
    WITHOUT_BAR,
    Hole,
    Instrument,
    InstrumentError,
    Page,
    Rows,
    Series,
    VenueError,
    empty_rows,
)
from qlib.crypto import symbols
from qlib.errors import InputError, did_you_mean

_METHODS: Final = {
    "candles": "fetchOHLCV",
    "mark": "fetchMarkOHLCV",
    "index": "fetchIndexOHLCV",
    "funding": "fetchFundingRateHistory",
}
_ROWS: Final = 100  # of a page, where ccxt does not know how many the exchange gives
_LATE: Final = 60_000  # ms after which a bar that is not there does not come any more
_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR
_MONDAY: Final = 4 * _DAY
_EMPTY_WINDOWS: Final = 8  # in a row, and nothing at the start either: nobody looks further
_SECRET: Final = ("apiKey", "secret", "password", "uid", "token", "privateKey", "login", "twofa", "walletAddress")

# (since in ms, rows at most) -> rows from then on, oldest first, and whether none of them can be missing
Ask = Callable[[int, int], tuple[Rows, bool]]


class CcxtSource:
    """An exchange through ccxt, as a `qlib.collect.source.Source`.

    Parameters
    ----------
    exchange
        ccxt's name of it: "kraken", "binanceusdm".
    base_url
        Where its API is, in place of the host that ccxt knows.
    patience
        How long to wait and how often to ask again.
    settings
        What ccxt's own constructor takes: `{"options": {...}}`. Keys in it go to the exchange and are never shown.
    """

    def __init__(
        self,
        exchange: str,
        *,
        base_url: str | None = None,
        patience: Patience = Patience(attempts=8),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import ccxt  # noqa: PLC0415  an optional library
        except ImportError:
            raise InputError('other exchanges need ccxt: pip install "qlib-crypto[ccxt]"') from None
        if exchange not in ccxt.exchanges:
            raise InputError(f"ccxt knows no exchange {exchange!r}{did_you_mean(exchange, ccxt.exchanges)}")
        given = dict(settings or {})
        self._secrets = [str(given[name]) for name in _SECRET if given.get(name)]
        self._ccxt = ccxt
        self._exchange = getattr(ccxt, exchange)({"enableRateLimit": True, **given})
        if base_url is not None:
            checked_url(base_url, trusted=False, or_else="")
            self._exchange.urls["api"] = _moved(self._exchange.urls["api"], base_url)
        self.name = exchange
        self.requests = 0
        self._patience = patience
        self._lock = threading.Lock()  # ccxt's exchanges are for one thread
        self._closed = threading.Event()
        self._markets: dict[str, dict[str, Any]] = {}  # our symbol -> ccxt's market

    def __repr__(self) -> str:
        return f"CcxtSource({self.name!r})"

    def close(self) -> None:
        """Wake who waits; nothing can be asked afterwards."""
        self._closed.set()

    # --- instruments

    def instruments(self) -> list[Instrument]:
        """Return the spot pairs, perpetuals and futures that the exchange lists now, sorted by symbol."""
        markets = self._call("load_markets", lambda exchange: exchange.load_markets(reload=True))
        found = {symbol: one for one in markets.values() if (symbol := _symbol(one))}
        self._markets = found
        places = self._exchange.precisionMode == self._ccxt.DECIMAL_PLACES
        return [_instrument(symbol, found[symbol], places=places) for symbol in sorted(found)]

    def resolve(self, text: str, kind: str | None = None) -> Instrument:
        """Return the instrument that any spelling means. See `qlib.crypto.symbols`."""
        listed = {one.symbol: one for one in self.instruments()}
        if text in listed:
            return listed[text]
        unified = {market["symbol"]: symbol for symbol, market in self._markets.items()}
        wanted = unified.get(str(text).strip().upper()) if kind != "swap" or ":" in text else None
        wanted = wanted or symbols.parse(text, kind).venue
        if wanted not in listed:
            raise InstrumentError(text, f"{self.name} lists no {wanted}{did_you_mean(wanted, listed)}")
        return listed[wanted]

    # --- bars

    def check_bar(self, bar: str) -> str:
        """Return the exchange's spelling of a bar size."""
        known = list(self._exchange.timeframes or {})
        if bar not in known:
            raise InputError(f"bar: received {bar!r}; {self.name} knows {', '.join(known)}{did_you_mean(bar, known)}")
        return bar

    def bar_ms(self, bar: str) -> int:
        """Return the length of a bar in ms; of the shortest one where months differ."""
        count, unit = int(self.check_bar(bar)[:-1]), bar[-1]
        if unit == "M":
            return 28 * _DAY if count == 1 else (30 * count - 1) * _DAY
        return int(self._exchange.parse_timeframe(bar)) * 1000

    def opens(self, bar: str, start: int, end: int) -> np.ndarray:
        """Return the open times in [start, end), int64 ms: multiples of the length, Mondays, firsts of the month."""
        step = self.bar_ms(bar)
        if bar[-1] == "M":
            months = np.array([start, end], "datetime64[ms]").astype("datetime64[M]").astype(np.int64)
            found = np.arange(months[0] // int(bar[:-1]) * int(bar[:-1]), months[1] + 2, int(bar[:-1]))
            ms = found.astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
            return ms[(ms >= start) & (ms < end)]
        first = _MONDAY if bar[-1] == "w" else 0
        return np.arange(first - (first - start) // step * step, end, step, dtype=np.int64)

    # --- rows

    def walk(self, series: Series, start: int, end: int) -> Iterator[Page | Hole]:
        """Yield what is final of [start, end), newest page first. See `qlib.collect.source.Source.walk`."""
        method = _METHODS.get(series.kind)
        if method is None:
            known = ", ".join(_METHODS)
            raise InputError(
                f"kind: received {series.kind!r}; through ccxt come {known}{did_you_mean(series.kind, _METHODS)}"
            )
        if not self._markets:
            self.instruments()
        market = self._markets.get(series.symbol)
        if market is None:
            near = did_you_mean(series.symbol, self._markets)
            raise InstrumentError(series.symbol, f"{self.name} lists no such instrument{near}")
        if not self._exchange.has.get(method) or (series.kind == "funding" and not market.get("swap")):
            raise InstrumentError(series.symbol, f"{self.name} does not tell its {series.kind} through ccxt")
        if series.kind not in WITHOUT_BAR:
            self.check_bar(str(series.bar))
        return self._walk(series, market, start, end)

    def _walk(self, series: Series, market: dict[str, Any], start: int, end: int) -> Iterator[Page | Hole]:
        kind, now = series.kind, self._now()
        step = _HOUR if kind == "funding" else self.bar_ms(str(series.bar))
        end = min(end, now - _LATE if kind == "funding" else now - _LATE - step + 1)
        many = self._limit(market, kind)
        ask = self._asking(series, market)
        look = _Look(ask, kind, step, many)
        if kind == "funding":
            ask(start, many)  # how many rows an answer may have is not known otherwise
        top = cursor = end  # [cursor, top) was asked for, and nothing came
        empty = 0
        while cursor > start:
            low = max(start, self._low(series, cursor, cursor - many * step))
            rows, since = look.window(low, cursor)
            if rows["ts"].size or since > low:
                first = since if since > low else int(rows["ts"][0])
                if first < top:
                    yield Page(first, top, rows)
                    top = first
                if since > low:
                    yield Hole(start, top, f"{self.name} answers with its newest rows only", forever=True)
                    return
                empty = 0
            else:
                empty += 1
                if empty >= _EMPTY_WINDOWS:
                    oldest = ask(start, many)[0]["ts"]
                    if not oldest.size or oldest[0] >= top:
                        break
                    empty = 0
            cursor = low
        if start < top:
            before = start - many * step  # older rows prove that the exchange tells of such times
            if top - start < step or look.window(before, start)[0]["ts"].size:
                yield Page(start, top, empty_rows(kind))
            else:
                why = f"{self.name} tells nothing of this time: it does not go back so far, or there was no trading yet"
                yield Hole(start, top, why, forever=True)

    def _low(self, series: Series, cursor: int, low: int) -> int:
        """Return where a window begins: at an open time, so that the first row can be told from a late one."""
        if series.bar is None:
            return low
        opens = self.opens(series.bar, low, cursor)
        return int(opens[0]) if opens.size else low

    def _limit(self, market: dict[str, Any], kind: str) -> int:
        """Return how many rows to ask for at once."""
        features = self._exchange.features or {}
        of = features.get("spot") if market.get("spot") else (features.get("swap") or {})
        if of and not market.get("spot"):
            of = of.get("inverse" if market.get("inverse") else "linear")
        limit = ((of or {}).get(_METHODS[kind]) or {}).get("limit")
        return max(1, int(limit) - 1) if limit else _ROWS

    def _asking(self, series: Series, market: dict[str, Any]) -> Ask:
        symbol, kind, bar, most = market["symbol"], series.kind, series.bar, 0

        def ask(since: int, limit: int) -> tuple[Rows, bool]:
            nonlocal most
            since, limit, wanted = since - 1, limit + 1, since  # some exchanges mean "later than", not "from then on"

            def call(exchange: Any) -> Any:
                if kind == "funding":
                    return exchange.fetch_funding_rate_history(symbol, since, limit)
                fetch = {
                    "candles": exchange.fetch_ohlcv,
                    "mark": exchange.fetch_mark_ohlcv,
                    "index": exchange.fetch_index_ohlcv,
                }[kind]
                return fetch(symbol, bar, since, limit)

            def read(data: Any) -> Rows:
                return in_order(kind, _funding(data) if kind == "funding" else _bars(data, kind))

            what = f"{kind} of {series.symbol}"
            rows = self._call(what, call, read, series.symbol)
            if not rows["ts"].size:  # one odd answer must not pass for a time without bars
                rows = self._call(what, call, read, series.symbol)
            whole = len(rows["ts"]) < min(limit, most)
            most = max(most, len(rows["ts"]))
            late = rows["ts"] >= wanted
            return {name: values[late] for name, values in rows.items()}, whole

        return ask

    # --- asking

    def _now(self) -> int:
        """Return the exchange's time in ms, or this machine's where it does not tell."""
        if self._exchange.has.get("fetchTime"):
            return int(self._call("time", lambda exchange: exchange.fetch_time()))
        return time.time_ns() // 1_000_000

    def _call(
        self, what: str, call: Callable[[Any], Any], read: Callable[[Any], Any] = lambda data: data, symbol: str = ""
    ) -> Any:
        ccxt = self._ccxt

        def attempt() -> Any:
            try:
                with self._lock:
                    self._wait(0)
                    self.requests += 1
                    self._exchange.last_http_response = None
                    data = call(self._exchange)
                    json.loads(self._exchange.last_http_response or "{}")  # ccxt takes half an answer for an empty one
            except ccxt.BadSymbol as error:
                raise InstrumentError(symbol, self._clean(error)) from None
            except ccxt.OperationFailed as error:
                raise AgainError(self._clean(error)) from None
            except ccxt.BaseError as error:
                raise VenueError(f"{self.name}, {what}: {self._clean(error)}") from None
            except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:  # from half an answer
                raise AgainError(f"ccxt does not understand the answer: {self._clean(error)}") from None
            try:
                return read(data)
            except (TypeError, ValueError, KeyError, IndexError, VenueError) as error:
                raise AgainError(f"the answer cannot be understood: {self._clean(error)}") from None

        try:
            return repeated(attempt, patience=self._patience, name=f"{self.name}, {what}", sleep=self._wait)
        except AgainError as error:
            why = f"{self.name}, {what}: {error}; given up after {self._patience.attempts} attempts"
            raise VenueError(why) from None

    def _wait(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise VenueError(f"{self.name} is not asked any more: the source was closed")

    def _clean(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {error}"
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:300]


class _Look:
    """Looks through a window of time until it is known what is in it."""

    def __init__(self, ask: Ask, kind: str, step: int, many: int) -> None:
        self.ask, self.kind, self.step, self.many = ask, kind, step, many

    def window(self, low: int, high: int) -> tuple[Rows, int]:
        """Return the rows of [since, high), and `since`: `low`, or later where the exchange cannot be led further."""
        found, at, since = [empty_rows(self.kind)], low, low
        while at < high:
            answer, whole = self.ask(at, self._count(at, high))
            if not answer["ts"].size:
                break
            first = int(answer["ts"][0])
            if first > at and not whole:
                rows, known = self._gap(at, first, min(first, high))
                found.append(rows)
                since = max(since, known) if known > at else since
            rows = _before(answer, high)
            if not rows["ts"].size:
                break
            found.append(rows)
            if self.kind != "funding" and high - int(rows["ts"][-1]) <= self.step:
                break
            at = _after(rows)
        rows = in_order(self.kind, self._joined(found))
        late = rows["ts"] >= since
        return {name: values[late] for name, values in rows.items()}, since

    def _gap(self, at: int, first: int, high: int) -> tuple[Rows, int]:
        """Return the rows of [since, high) and `since`, after an answer from `at` began at `first` only."""
        found = [empty_rows(self.kind)]
        while first > at:
            answer, whole = self.ask(at, self._count(at, min(first, high)))
            rows = _before(answer, min(first, high))
            if rows["ts"].size:  # the newest rows of a window came: the others are asked for
                between, since = self.window(_after(rows), min(first, high))
                found += [rows, between]
                if since > _after(rows):
                    return self._joined(found), since
                first = int(rows["ts"][0])
                if whole:
                    break
                continue
            if answer["ts"].size and not whole:
                one, whole = self.ask(at, 1)
                if not whole and (not one["ts"].size or int(one["ts"][0]) != first):
                    return self._joined(found), min(first, high)
            break
        return self._joined(found), at

    def _count(self, low: int, high: int) -> int:
        return self.many if self.kind == "funding" else max(2, math.ceil((high - low) / self.step))

    def _joined(self, found: list[Rows]) -> Rows:
        return {name: np.concatenate([one[name] for one in found]) for name in COLUMNS[self.kind]}


def _after(rows: Rows) -> int:
    """Return from when on later rows can be: not 1 ms later, since `ask` looks 1 ms before."""
    return int(rows["ts"][-1]) + 2


def _before(rows: Rows, high: int) -> Rows:
    early = rows["ts"] < high
    return {name: values[early] for name, values in rows.items()}


def _bars(data: Any, kind: str) -> Rows:
    table = np.array([[math.nan if value is None else value for value in row[:6]] for row in data], dtype=np.float64)
    if not table.size:
        return empty_rows(kind)
    ts = np.array([row[0] for row in data], dtype=np.int64)
    o, h, l, c = table[:, 1:5].T  # noqa: E741
    rows: Rows = {"ts": ts, "open": o, "high": h, "low": l, "close": c}
    if kind == "candles":
        volume, unknown = table[:, 5], np.full(len(ts), math.nan)
        flat = (volume == 0) & (o == h) & (h == l) & (l == c)
        rows |= {"volume": volume, "amount": unknown, "vwap": unknown.copy(), "traded": ~flat}
    return rows


def _funding(data: Any) -> Rows:
    ts = np.array([row["timestamp"] for row in data], dtype=np.int64)
    rate = np.array([math.nan if row["fundingRate"] is None else row["fundingRate"] for row in data], dtype=np.float64)
    return {"ts": ts, "rate": rate, "predicted_rate": np.full(len(ts), math.nan)}


def _symbol(market: Mapping[str, Any]) -> str:
    """Return a name for a market that is unique at its exchange and can be a file's; "" for options and the like."""
    base, quote, settle = market.get("base"), market.get("quote"), market.get("settle")
    if not base or not quote:
        return ""
    if market.get("spot"):
        return _safe(f"{base}-{quote}")
    pair = f"{base}-{quote}" if settle == quote else f"{base}-{quote}_{settle}"
    if market.get("swap"):
        return _safe(f"{pair}-SWAP")
    if market.get("future") and market.get("expiryDatetime"):
        return _safe(f"{pair}-{market['expiryDatetime'][2:10].replace('-', '')}")
    return ""


def _safe(text: str) -> str:
    return "".join("_" if letter in '/\\:*?"<>| ' else letter for letter in text)


def _instrument(symbol: str, market: Mapping[str, Any], *, places: bool) -> Instrument:
    precision, limits = market.get("precision") or {}, market.get("limits") or {}

    def step(name: str) -> float:
        value = precision.get(name)
        if value is None:
            return math.nan
        return 10.0 ** -float(value) if places else float(value)

    def bound(name: str, end: str) -> float:
        value = (limits.get(name) or {}).get(end)
        return math.nan if value is None else float(value)

    spot, size = bool(market.get("spot")), market.get("contractSize")
    return Instrument(
        symbol=symbol,
        kind="spot" if spot else "swap" if market.get("swap") else "futures",
        base=str(market["base"]), quote=str(market["quote"]), settle=str(market.get("settle") or ""),
        inverse=bool(market.get("inverse")), listed=market.get("created"), delisted=market.get("expiry"),
        state="live" if market.get("active") in (None, True) else "suspend", tick=step("price"), lot=step("amount"),
        minimum=bound("amount", "min"), contract_value=math.nan if size is None else float(size),
        multiplier=math.nan, maximum=math.nan if spot else bound("market", "max"),
        raw=dict(market.get("info") or {}),
    )  # fmt: skip


def _moved(urls: Any, base_url: str) -> Any:
    """Return the addresses that ccxt knows, at another host."""
    if isinstance(urls, Mapping):
        return {name: _moved(url, base_url) for name, url in urls.items()}
    if not isinstance(urls, str):
        return urls
    new, old = urlsplit(base_url), urlsplit(urls)
    return urlunsplit((new.scheme, new.netloc, new.path.rstrip("/") + old.path, old.query, ""))

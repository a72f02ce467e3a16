"""OKX over its REST API v5: which endpoint, which parameters, how far back, how often.

    source = OkxSource()                                  https://www.okx.com, or OKX_BASE_URL
    source.resolve("BTC/USDT:USDT").symbol                'BTC-USDT-SWAP'
    for page in source.walk(Series("BTC-USDT-SWAP", "candles", "1H"), start, end):
        page.rows["close"]

    candles, mark, index    the recent endpoint for the newest 1,440 bars, the history endpoint for the rest
    funding                 what was paid; OKX keeps three months, what is older comes as a Hole that says so
    oi                      open interest at the end of each period
    trades                  by trade id; OKX keeps three months

Always backwards with `after` = the oldest row seen: `before` alone answers with the newest page, whatever it says.
Whether a bar is final is decided by the venue (`confirm`) and by the venue's clock, never by this machine's.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

import numpy as np

from qlib.collect.http import Http, Limit, Reply, TooManyError
from qlib.collect.paging import Answer, Reach, in_order, walk_back, walk_back_by_id
from qlib.collect.server import AgainError, Patience
from qlib.collect.source import KINDS, WITHOUT_BAR, Hole, Instrument, InstrumentError, Page, Series, VenueError
from qlib.crypto import symbols
from qlib.crypto.margin import MODES, Tier
from qlib.crypto.venues.okx import bars, parse
from qlib.errors import InputError, did_you_mean
from qlib.log import get_module_logger

logger = get_module_logger("okx")

BASE_URL: Final = "https://www.okx.com"
PATIENCE: Final = Patience(attempts=8, pause=1.0, longest=30.0, connect=10.0, read=30.0)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path of the API, its rate limit, what the limit is counted by besides the address, the rows of a page."""

    path: str
    count: int
    rows: int = 0
    per: tuple[str, ...] = ()
    seconds: float = 2.0


TIME: Final = Endpoint("/api/v5/public/time", 10)
TICKERS: Final = Endpoint("/api/v5/market/tickers", 20)
INSTRUMENTS: Final = Endpoint("/api/v5/public/instruments", 20, per=("instType",))
TIERS: Final = Endpoint("/api/v5/public/position-tiers", 10)
RECENT: Final = {
    "candles": Endpoint("/api/v5/market/candles", 40, 300),
    "mark": Endpoint("/api/v5/market/mark-price-candles", 20, 100),
    "index": Endpoint("/api/v5/market/index-candles", 20, 100),
}
HISTORY: Final = {
    "candles": Endpoint("/api/v5/market/history-candles", 20, 300),
    "mark": Endpoint("/api/v5/market/history-mark-price-candles", 20, 100),
    "index": Endpoint("/api/v5/market/history-index-candles", 10, 100),
    "funding": Endpoint("/api/v5/public/funding-rate-history", 10, 400, per=("instId",)),
    "oi": Endpoint("/api/v5/rubik/stat/contracts/open-interest-history", 10, 100),
    "trades": Endpoint("/api/v5/market/history-trades", 20, 100),
}
_RECENT_BARS: Final = 1_440  # what the recent endpoints reach back

_LATE: Final = 60_000  # ms after which a bar that is not there does not come any more
_SETTLEMENT_LATE: Final = 3_600_000  # ms; the same for a settlement of funding
_CLOCK_GOOD_FOR: Final = 60.0  # s after which the venue is asked for its time again
_KEPT: Final = 88 * bars.DAY  # three months are at least that many days, less one
_ONLY: Final = "OKX keeps only the last three months of {}"
_KEPT_WHY: Final = {
    "funding": _ONLY.format("funding rates here; its market-data-history files go further back"),
    "trades": _ONLY.format("trades here; its market-data-history files go further back"),
    "1s": _ONLY.format("1s bars"),
    "oi": "OKX does not tell older open interest",
}

_OF_CONTRACTS: Final = {"funding": "funding", "oi": "open interest"}

_TOO_MANY: Final = {"50011", "50040", "50061"}
_LATER: Final = {"50001", "50004", "50013", "50026"}
_OF_INSTRUMENT: Final = {"50047", "51001", "51014", "51015", "51021", "51022", "51027", "51028"}
_OF_KEYS: Final = tuple(f"501{number:02d}" for number in range(14))


class OkxSource:
    """OKX as a `qlib.collect.source.Source`.

    Parameters
    ----------
    base_url
        Where the API is. By default the environment variable OKX_BASE_URL, then https://www.okx.com.
    patience
        How long to wait and how often to ask again.
    speed
        Share of OKX's rate limits that is used: 0.5 leaves half of them to others on the same address. None does not
        wait at all, which only a venue on this machine will like.
    limit
        Rows to ask for, in place of the most that each endpoint gives. Fewer may come; nothing is lost by that.
    known
        Instruments seen earlier that OKX does not list any more.
    api_key, api_secret, passphrase
        Never needed. By default OKX_API_KEY, OKX_API_SECRET and OKX_API_PASSPHRASE. Questions are signed with them if
        all three are given and `base_url` is okx.com or this machine; they are never shown.
    """

    name = "okx"

    def __init__(
        self,
        base_url: str | None = None,
        *,
        patience: Patience = PATIENCE,
        speed: float | None = 1.0,
        limit: int | None = None,
        known: Iterable[Instrument] = (),
        api_key: str | None = None,
        api_secret: str | None = None,
        passphrase: str | None = None,
    ) -> None:
        if speed is not None and not speed > 0:
            raise InputError(f"speed: received {speed!r}; a number above 0 is allowed, or None")
        if limit is not None and not 1 <= limit <= 1000:
            raise InputError(f"limit: received {limit!r}; 1 to 1000 rows are allowed")
        url = base_url or os.environ.get("OKX_BASE_URL") or BASE_URL
        sign = _Signer(
            api_key or os.environ.get("OKX_API_KEY", ""),
            api_secret or os.environ.get("OKX_API_SECRET", ""),
            passphrase or os.environ.get("OKX_API_PASSPHRASE", ""),
        )
        self._http = Http(url, patience=patience, speed=speed, secrets=sign.secrets)
        if sign.complete and _may_see_keys(url):
            self._http.headers = sign
        elif sign.secrets:
            why = "it is not OKX" if sign.complete else "key, secret and passphrase belong together"
            logger.warning(f"API keys are given, but not sent to {self._http.base_url}: {why}; public data need none")
        self._limit = limit
        self._known = {one.symbol: one for one in known}
        self._listed: dict[str, Instrument] = {}
        self._clock: tuple[float, int] | None = None  # (steady clock in s, the venue's time in ms)
        self._lock = threading.Lock()
        self._said: set[str] = set()

    def __repr__(self) -> str:
        return f"OkxSource({self._http.base_url!r})"

    @property
    def requests(self) -> int:
        """How many requests were sent so far."""
        return self._http.requests

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and wake who waits."""
        self._http.close()

    # --- instruments

    def instruments(self) -> list[Instrument]:
        """Return the spot pairs, perpetuals and futures that OKX lists now, sorted by their ids."""
        found = []
        for kind in parse.TYPES:
            found += self._get(INSTRUMENTS, {"instType": kind}, parse.instruments)
        found.sort(key=lambda one: one.symbol)
        self._listed = {one.symbol: one for one in found}
        return found

    def instrument(self, symbol: str) -> Instrument:
        """Return one instrument by its OKX id; InstrumentError if OKX does not list it."""
        with self._lock:
            if not self._listed:
                self.instruments()
        found = self._listed.get(symbol) or self._known.get(symbol)
        if found is None:
            why = f"OKX lists no such instrument{did_you_mean(symbol, self._listed)}"
            raise InstrumentError(symbol, why, "51001")
        return found

    def resolve(self, text: str, kind: str | None = None) -> Instrument:
        """Return the instrument that any spelling means: BTC/USDT, BTCUSDT, BTC-USDT-SWAP, BTC/USDT:USDT.

        Parameters
        ----------
        text
            An OKX id, or one of the spellings of `qlib.crypto.symbols`.
        kind
            "spot" or "swap" where the spelling names a pair only.

        Raises
        ------
        InputError
            It is none of the spellings.
        InstrumentError
            OKX does not list it; the nearest id is named.
        """
        with self._lock:
            if not self._listed:
                self.instruments()
        table = self._known | self._listed
        word = str(text).strip().upper()
        exact = table.get(str(text).strip()) or table.get(word)
        if exact is not None and (kind is None or exact.kind == kind or exact.kind != "spot"):
            return exact
        try:
            wanted = symbols.parse(text, kind)
        except InputError as error:
            raise InputError(f"{error}{did_you_mean(word, table)}") from None
        if wanted.venue in table:
            return table[wanted.venue]
        raise InstrumentError(
            str(text), f"OKX lists no {wanted.kind} {wanted.venue}{did_you_mean(wanted.venue, table)}", "51001"
        )

    def prices(self, kind: str = "swap") -> dict[str, float]:
        """Return the last price of every instrument of a kind ("spot", "swap", "futures"), by id; NaN: no trade yet."""
        names = {name: word for word, name in parse.TYPES.items()}
        if kind not in names:
            raise InputError(f"kind: received {kind!r}; {', '.join(names)} are allowed{did_you_mean(kind, names)}")
        found: dict[str, float] = self._get(TICKERS, {"instType": names[kind]}, parse.last_prices)
        return found

    def position_tiers(self, symbol: str, mode: str) -> list[Tier]:
        """Return the margin tiers of a contract as they are now, small ones first.

        Parameters
        ----------
        symbol
            OKX's id of a perpetual or a dated future. All contracts of a family have the same tiers.
        mode
            "isolated" or "cross".

        Raises
        ------
        InputError
            It is a spot pair, or another mode.
        """
        if mode not in MODES:
            raise InputError(f"mode: received {mode!r}; allowed are {', '.join(MODES)}{did_you_mean(mode, MODES)}")
        one = self.instrument(symbol)
        if one.kind == "spot":
            raise InputError(f"{symbol}: a spot pair has no tiers")
        kind = next(word for word, name in parse.TYPES.items() if name == one.kind)
        family = str(one.raw.get("instFamily") or one.raw.get("uly") or f"{one.base}-{one.quote}")
        question = {"instType": kind, "tdMode": mode, "instFamily": family}
        found: list[Tier] = self._get(TIERS, question, parse.position_tiers, symbol)
        return found

    # --- bars

    def check_bar(self, bar: str) -> str:
        """Return OKX's spelling of a bar size; bars of 6 hours and more are the ones that open in UTC."""
        name = bars.check(bar)
        if name != bar and bar not in self._said:
            self._said.add(bar)
            logger.warning(f"bar {bar} is collected as {name}: it opens in UTC, while OKX's own {bar} opens at UTC+8")
        return name

    def bar_ms(self, bar: str) -> int:
        """Return the length of a bar in ms; of the shortest one where months differ."""
        return bars.length(bar)

    def opens(self, bar: str, start: int, end: int) -> np.ndarray:
        """Return the open times in [start, end), int64 ms."""
        return bars.opens(bar, start, end)

    # --- rows

    def walk(self, series: Series, start: int, end: int) -> Iterator[Page | Hole]:
        """Yield what is final of [start, end), newest page first. See `qlib.collect.source.Source.walk`."""
        if series.kind not in KINDS:
            raise InputError(
                f"kind: received {series.kind!r}; {', '.join(KINDS)} are allowed{did_you_mean(series.kind, KINDS)}"
            )
        if series.kind in WITHOUT_BAR:
            if series.bar is not None:
                raise InputError(f"{series.kind} has no bars: received {series.bar!r}, None is allowed")
        elif series.bar is None:
            raise InputError(f"{series.kind} of {series.symbol}: a bar size is needed, such as 1H")
        else:
            series = Series(series.symbol, series.kind, bars.check(series.bar, series.kind))
        instrument = self.instrument(series.symbol)
        if series.kind in _OF_CONTRACTS and instrument.kind == "spot":
            raise InstrumentError(series.symbol, f"a spot pair has no {_OF_CONTRACTS[series.kind]}")
        return self._walk(instrument, series, start, end)

    def _walk(self, instrument: Instrument, series: Series, start: int, end: int) -> Iterator[Page | Hole]:
        now = self._now()
        reach = _reach(instrument, series, now)
        if series.kind == "trades":
            begin = self._asking(HISTORY["trades"], instrument, series, now, {"type": "2"})
            older = self._asking(HISTORY["trades"], instrument, series, now, {"type": "1"})
            return walk_back_by_id(begin, older, start, end, reach)
        history = self._asking(HISTORY[series.kind], instrument, series, now)
        if series.kind not in RECENT:
            return walk_back(history, series.kind, start, end, reach)
        recent = self._asking(RECENT[series.kind], instrument, series, now)
        newest = now - (_RECENT_BARS - 1) * bars.length(str(series.bar))

        def ask(cursor: int) -> Answer:
            for _ in range(2 if cursor > newest else 0):  # history may lag: one odd answer must not lead there
                answer = recent(cursor)
                if answer.oldest is not None:
                    return answer
            return history(cursor)

        return walk_back(ask, series.kind, start, end, reach)

    def _asking(
        self, endpoint: Endpoint, instrument: Instrument, series: Series, now: int, more: dict[str, str] | None = None
    ) -> Callable[[int], Answer]:
        """Return the question for rows older than a cursor."""
        params = {"instId": instrument.symbol, "limit": str(self._limit or endpoint.rows), **(more or {})}
        if series.kind == "index":
            params["instId"] = str(instrument.raw.get("uly") or f"{instrument.base}-{instrument.quote}")
        if series.bar is not None:
            params["period" if series.kind == "oi" else "bar"] = series.bar
        back = "end" if series.kind == "oi" else "after"
        comparable = (more or {}).get("type") != "2"  # the first question for trades has a time, its answer ids

        def read(data: list[Any]) -> Answer:
            if series.kind == "candles":
                return parse.candles(data, instrument.kind)
            if series.kind in ("mark", "index"):
                return parse.prices(data, series.kind)
            if series.kind == "funding":
                return parse.funding(data, now)
            if series.kind == "oi":
                return parse.open_interest(data, bars.open_of(str(series.bar), now - _LATE))
            return parse.trades(data, instrument)

        def ask(cursor: int) -> Answer:
            def checked(data: list[Any]) -> Answer:
                answer = read(data)
                if comparable and answer.oldest is not None and answer.oldest >= cursor:
                    raise AgainError(
                        f"rows before {cursor} were asked for, and {answer.oldest} is the oldest that came"
                    )
                try:
                    return Answer(in_order(series.kind, answer.rows), answer.oldest, answer.unfinished)
                except VenueError as error:
                    raise AgainError(str(error)) from None

            return self._get(endpoint, {**params, back: str(cursor)}, checked, instrument.symbol)

        return ask

    # --- asking

    def _now(self) -> int:
        """Return the venue's time in ms."""
        with self._lock:
            steady = time.monotonic()
            if self._clock is None or steady - self._clock[0] > _CLOCK_GOOD_FOR:
                venue = self._get(TIME, {}, lambda data: int(data[0]["ts"]))
                self._clock = (time.monotonic(), venue)
            return self._clock[1] + int((time.monotonic() - self._clock[0]) * 1000)

    def _get(
        self, endpoint: Endpoint, params: dict[str, str], read: Callable[[list[Any]], Any], symbol: str = ""
    ) -> Any:
        def understood(reply: Reply) -> Any:
            data = judged(reply, symbol)
            try:
                return read(data)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise VenueError(
                    f"{endpoint.path}: the answer cannot be understood ({error}): {reply.text!r}"
                ) from None

        limit = Limit(endpoint.count, endpoint.seconds)
        return self._http.get(endpoint.path, params, limit=limit, per=endpoint.per, read=understood)


def judged(reply: Reply, symbol: str = "") -> list[Any]:
    """Return the data of an answer.

    Raises
    ------
    AgainError
        OKX is busy, in maintenance or asked too often.
    InstrumentError
        The code tells of the instrument `symbol`.
    VenueError
        Any other code: the question is wrong, or the keys are.
    """
    payload = reply.payload
    if not isinstance(payload, dict) or not isinstance(payload.get("data", []), list):
        raise AgainError(f"the server answers {reply.status} with another JSON than OKX's: {reply.text!r}", reply.wait)
    code, message = str(payload.get("code", "")), str(payload.get("msg", ""))
    if code == "0" and reply.status == 200 and "data" in payload:
        return payload["data"]
    said = f"OKX answers {reply.status}, code {code or 'none'}: {message or 'no message'}"
    if code in _TOO_MANY or reply.status == 429 and code not in _LATER:
        raise TooManyError(said, reply.wait)
    if code in _LATER or reply.status >= 500:
        raise AgainError(said, reply.wait)
    if code in _OF_INSTRUMENT:
        raise InstrumentError(symbol, said, code)
    if code.startswith(_OF_KEYS):
        raise VenueError(f"{said}; public data need no keys: leave OKX_API_KEY out")
    raise VenueError(said)


def _reach(instrument: Instrument, series: Series, now: int) -> Reach:
    """Return what is known beforehand of a series at OKX."""
    kind, bar, born = series.kind, series.bar, instrument.listed
    if kind == "funding":
        return Reach(now - _SETTLEMENT_LATE, kept_since=now - _KEPT, why=_KEPT_WHY[kind], born=born)
    if kind == "trades":
        return Reach(now - _LATE, kept_since=now - _KEPT, why=_KEPT_WHY[kind], born=born)
    name = str(bar)
    first = None if born is None else bars.open_of(name, born)
    settled, length = bars.open_of(name, now - _LATE), bars.length(name)
    gone = {"1s": now - _KEPT}.get(name) if kind != "oi" else now
    return Reach(
        settled,
        lambda ts: bars.next_open(name, ts) - ts,
        kept_since=gone,
        why=_KEPT_WHY["oi" if kind == "oi" else "1s"] if gone else "",
        born=first,
        tardy=max(length, bars.DAY) if kind == "oi" else length,
    )


def _may_see_keys(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "okx.com" or host.endswith(".okx.com") or host in ("localhost", "127.0.0.1", "::1")


class _Signer:
    """Headers that sign a question; what it holds is never shown."""

    def __init__(self, key: str, secret: str, passphrase: str) -> None:
        self._key, self._secret, self._passphrase = key, secret, passphrase
        self.secrets = tuple(one for one in (key, secret, passphrase) if one)
        self.complete = len(self.secrets) == 3

    def __repr__(self) -> str:
        return "_Signer(***)"

    def __call__(self, path_and_query: str) -> dict[str, str]:
        stamp = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = f"{stamp}GET{path_and_query}".encode()
        digest = hmac.new(self._secret.encode(), text, hashlib.sha256).digest()
        return {
            "OK-ACCESS-KEY": self._key,
            "OK-ACCESS-SIGN": base64.b64encode(digest).decode(),
            "OK-ACCESS-TIMESTAMP": stamp,
            "OK-ACCESS-PASSPHRASE": self._passphrase,
        }

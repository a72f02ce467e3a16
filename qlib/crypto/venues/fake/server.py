"""The fake venue as a server on this machine.

    with FakeVenue(instruments=[...], candles={...}, now=1_767_225_600_000) as venue:
        requests.get(venue.url + "/api/v5/market/candles", params={"instId": "BTC-USDT", "bar": "1H"})
        venue.now += 3_600_000                  an hour passes
        venue.faults = Faults({"reset": 0.1})   and the line gets bad

It listens on 127.0.0.1 only, in a thread of its own, and answers from arrays in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from qlib.crypto.venues.fake.bars import PRICES, number
from qlib.crypto.venues.fake.faults import ON_ROWS, Fault, Faults
from qlib.crypto.venues.fake.limits import Limits
from qlib.crypto.venues.fake.market import Market
from qlib.crypto.venues.fake.rest import ENDPOINTS, PREFIX, Endpoint, Refusal, View, answer, dumps
from qlib.errors import InputError, MissingDataError, RunError, did_you_mean

try:
    import aiohttp
    from aiohttp import web
except ImportError as error:  # pragma: no cover - the extra is there wherever tests run
    raise MissingDataError('the fake venue needs aiohttp: pip install "qlib-crypto[live]"') from error

_EDGE = "<html>\n<head><title>{0}</title></head>\n<body>\n<center><h1>{0}</h1></center>\n<hr>\n</body>\n</html>\n"
_BROKEN = (
    (500, "50026", "System error. Try again later."),
    (502, "50026", "System error. Try again later."),
    (503, "50001", "Service temporarily unavailable. Please try again later."),
    (504, "50004", "API endpoint request timeout. This does not mean that the request was successful or failed."),
)
_WORDS = {
    "50011": "Rate limit reached. Please refer to API documentation and throttle requests accordingly.",
    "50013": "Systems are busy. Please try again later.",
    "50026": "System error. Try again later.",
    "50001": "Service temporarily unavailable. Please try again later.",
    "50040": "Too frequent operations. Please try again later.",
    "51000": "Parameter error",
    "51001": "Instrument ID, Instrument ID code, or Spread ID doesn't exist.",
}


class Asked(NamedTuple):
    """One request that came: what was asked and answered, which fault hit it, and when (seconds, steady clock)."""

    path: str
    params: dict[str, str]
    status: int
    code: str
    fault: str
    at: float


class FakeVenue:
    """A loopback venue; a context manager that runs while the block runs.

    Parameters
    ----------
    instruments, candles, mark, index, funding, oi, trades, books
        The whole truth: `candles={(inst_id, bar): DataFrame(ts, open, high, low, close, volume, amount)}` (base units,
        quote units), mark and index without the last two, `funding={inst_id: DataFrame(ts, rate, predicted_rate)}`,
        `oi={(inst_id, period): DataFrame(ts, oi, oi_base, oi_quote)}`. Times are int64 ms UTC, opening times.
    now
        The venue's clock in ms UTC, standing still until it is set; None is the real clock.
    limits
        True: the venue's rate limits; a factor: so many times as generous; False: none.
    faults
        What goes wrong; may be set at any time.
    page_limits
        Another page limit of a path, such as `{"market/history-candles": 100}`.
    reach
        How far back, in ms, "funding", "trades", "1s" and "premium" go; None is for ever.
    delay
        Seconds that every answer takes.
    """

    def __init__(
        self,
        *,
        now: int | None = None,
        limits: bool | float = True,
        faults: Faults | None = None,
        page_limits: Mapping[str, int] | None = None,
        reach: Mapping[str, int | None] | None = None,
        delay: float = 0.0,
        port: int = 0,
        seed: int = 0,
        **market: Any,
    ) -> None:
        for path in page_limits or {}:
            if PREFIX + path not in ENDPOINTS:
                known = [name.removeprefix(PREFIX) for name in ENDPOINTS]
                raise InputError(f"page_limits: no path {path!r}{did_you_mean(path, known)}")
        self.market = Market(**market)
        self.faults = faults
        self.page_limits = dict(page_limits or {})
        self.reach = dict(reach or {})
        self.delay = delay
        self.requests: list[Asked] = []
        self.failures: list[Exception] = []  # mistakes of this program, raised when the venue stops
        self._now = now
        self._limits = Limits(None if limits is False else float(limits))
        self._port = port
        self._revised: set[str] = set()
        self._stopping: asyncio.Event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.url = ""

    # --- the clock

    @property
    def now(self) -> int:
        """The venue's clock, ms UTC; set it to let time pass, or to None for the real clock."""
        return time.time_ns() // 1_000_000 if self._now is None else self._now

    @now.setter
    def now(self, moment: int | None) -> None:
        self._now = moment

    def delist(self, inst_id: str, at: int | None = None) -> None:
        """End the trading of an instrument at `at` (ms, now if not given): it vanishes from every list."""
        if inst_id not in self.market.instruments:
            raise InputError(f"no instrument {inst_id!r}{did_you_mean(inst_id, self.market.instruments)}")
        self.market.gone[inst_id] = self.now if at is None else at

    # --- life

    @property
    def ws_url(self) -> str:
        """Base of the WebSocket addresses: `ws_url + "/public"` and `"/business"`."""
        return self.url.replace("http", "ws", 1) + "/ws/v5"

    @property
    def coingecko_url(self) -> str:
        """Base of the CoinGecko API, as its clients want it."""
        return self.url + "/api/v3"

    def start(self) -> Self:
        """Begin to listen; returns when requests are answered."""
        ready = threading.Event()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(self._serve(ready))
            except BaseException as error:  # told to the thread that waits below
                failed.append(error)
            finally:
                ready.set()

        self._thread = threading.Thread(target=run, name="fake-venue", daemon=True)
        self._thread.start()
        ready.wait()
        if failed:
            raise RunError(f"the fake venue cannot listen on 127.0.0.1:{self._port}: {failed[0]}") from failed[0]
        return self

    def stop(self) -> None:
        """Break all connections and stop listening."""
        if self._loop is not None and self._thread is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        if self.failures:
            raise RunError(f"the fake venue failed by itself: {self.failures[0]!r}") from self.failures[0]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        try:
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    # --- one request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, params = request.path, dict(request.query)
        at = time.monotonic()
        faults = self.faults
        fault = faults.draw(path, params) if faults is not None else None
        if self.delay:
            await asyncio.sleep(self.delay)
        kind = fault.kind if fault is not None else ""
        status, code, body, content = self._answer(request.method, path, params, fault, at)
        self.requests.append(Asked(path, params, status, code, kind, at))
        if kind in {"timeout", "reset", "cut"}:
            assert faults is not None
            await self._break(request, kind, body, faults.hold)
        if kind == "truncated":
            body = body[: len(body) * 2 // 3]
        return web.Response(status=status, body=body, headers={"Content-Type": content})

    async def _break(self, request: web.BaseRequest, kind: str, body: bytes, hold: float) -> None:
        """Break the connection now, in the middle of the answer, or after a silence."""
        transport = request.transport
        if kind == "timeout":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), hold)
        elif kind == "cut" and transport is not None:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            transport.write(head.encode() + body[: len(body) // 2])
            await asyncio.sleep(0.01)
        if transport is not None:
            transport.abort()
        raise asyncio.CancelledError

    def _answer(
        self, method: str, path: str, params: dict[str, str], fault: Fault | None, at: float
    ) -> tuple[int, str, bytes, str]:
        kind = fault.kind if fault is not None else ""
        if kind in {"html", "limit_html"}:
            title = "502 Bad Gateway" if kind == "html" else "429 Too Many Requests"
            return int(title[:3]), "", _EDGE.format(title).encode(), "text/html"
        try:
            rows = self._rows(method, path, params, fault, at)
        except Refusal as refusal:
            body = dumps({"code": refusal.code, "data": [], "msg": refusal.words})
            return refusal.status, refusal.code, body.encode(), "application/json"
        except Exception as error:  # whoever asks would take it for a fault that was ordered
            self.failures.append(error)
            raise
        return 200, "0", f'{{"code":"0","data":[{",".join(rows)}],"msg":""}}'.encode(), "application/json"

    def _rows(self, method: str, path: str, params: dict[str, str], fault: Fault | None, at: float) -> list[str]:
        endpoint = ENDPOINTS.get(path)
        if endpoint is None:
            raise Refusal("404", "Not Found", 404)
        if method != "GET":
            raise Refusal("405", "Method Not Allowed", 405)
        self._count(path, endpoint, params, at)
        now = self.now
        if fault is not None:
            now += fault.skew if fault.kind == "skew" else 0
            self._refuse(fault, params)
        view = View(self.market, now, self.page_limits, self.reach)
        rows = answer(path, params, view)
        if fault is None or fault.kind not in ON_ROWS:
            return rows
        if fault.kind == "revised":
            return self._revise(path, params, rows)
        assert self.faults is not None
        return self.faults.disturb(fault.kind, rows)

    def _count(self, path: str, endpoint: Endpoint, params: dict[str, str], at: float) -> None:
        key = (path, *(params.get(name, "") for name in endpoint.per))
        if not self._limits.allows(key, endpoint.requests, endpoint.seconds, at):
            raise Refusal("50011", _WORDS["50011"], 429)

    def _refuse(self, fault: Fault, params: dict[str, str]) -> None:
        """The faults that are answers with an error code."""
        assert self.faults is not None
        if fault.kind == "5xx":
            status, code, words = _BROKEN[int(self.faults.choice("0123"))]
            raise Refusal(code, words, status)
        if fault.kind == "code":
            code = fault.code or self.faults.choice(("50011", "50013", "50026"))
            raise Refusal(code, _WORDS.get(code, "Error"), 200)
        if fault.kind in {"limit", "busy"}:
            code = "50011" if fault.kind == "limit" else "50013"
            raise Refusal(code, _WORDS[code], 429)
        if fault.kind == "delist" and params.get("instId") in self.market.instruments:
            self.delist(params["instId"])

    def _revise(self, path: str, params: dict[str, str], rows: list[str]) -> list[str]:
        """Change the newest finished bar, if it is the newest one that the venue has: only such bars are revised."""
        if "candles" not in path or params.get("after"):
            return rows
        for place, line in enumerate(rows[:2]):
            row = json.loads(line)
            if row[-1] == "1":
                close = number(float(row[4]) * 1.0001)
                row[4], row[2] = close, max(row[2], close, key=float)
                return [*rows[:place], dumps(row), *rows[place + 1 :]]
        return rows


__all__ = ["PRICES", "Asked", "FakeVenue", "aiohttp"]

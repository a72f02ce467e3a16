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
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, NamedTuple, Self

import pandas as pd

from qlib.crypto.venues.fake.coingecko import Coins
from qlib.crypto.venues.fake.desk import Desk, Question, Reply
from qlib.crypto.venues.fake.faults import HANDSHAKE, Faults
from qlib.crypto.venues.fake.limits import Limits
from qlib.crypto.venues.fake.market import Market
from qlib.crypto.venues.fake.rest import ENDPOINTS, PREFIX
from qlib.crypto.venues.fake.stream import Line
from qlib.crypto.venues.fake.view import REACH
from qlib.errors import InputError, MissingDataError, RunError, did_you_mean

try:
    from aiohttp import web

    from qlib.crypto.venues.fake.sockets import PREFIX as SOCKETS
    from qlib.crypto.venues.fake.sockets import Sockets
except ImportError as error:  # pragma: no cover - the extra is there wherever tests run
    raise MissingDataError('the fake venue needs aiohttp: pip install "qlib-crypto[live]"') from error

REACHES = (*REACH, "coins")


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
    coins, coin_history
        What CoinGecko knows, see `Coins`: rows with id, symbol, name; `{id: DataFrame(ts, price, market_cap, volume)}`.
    now
        The venue's clock in ms UTC, standing still until it is set; None is the real clock.
    limits
        True: the venue's rate limits; a factor: so many times as generous; False: none.
    faults
        What goes wrong; may be set at any time.
    page_limits
        Another page limit of a path, such as `{"market/history-candles": 100}`.
    reach
        How far back, in ms, "funding", "trades", "1s", "premium" and "coins" go; None is for ever.
    delay
        Seconds that every answer takes.
    port, seed
        Where to listen (0: a free port); seed of the books that are made up.
    silence
        Seconds without a message in either direction until a WebSocket is closed.
    """

    def __init__(
        self,
        *,
        coins: Iterable[Mapping[str, Any]] | pd.DataFrame = (),
        coin_history: Mapping[str, pd.DataFrame] | None = None,
        now: int | None = None,
        limits: bool | float = True,
        faults: Faults | None = None,
        page_limits: Mapping[str, int] | None = None,
        reach: Mapping[str, int | None] | None = None,
        delay: float = 0.0,
        silence: float = 30.0,
        port: int = 0,
        seed: int = 0,
        **market: Any,
    ) -> None:
        for path in page_limits or {}:
            if PREFIX + path not in ENDPOINTS:
                known = [name.removeprefix(PREFIX) for name in ENDPOINTS]
                raise InputError(f"page_limits: no path {path!r}{did_you_mean(path, known)}")
        for what in reach or {}:
            if what not in REACHES:
                raise InputError(f"reach: no {what!r}{did_you_mean(what, REACHES)}; there are {', '.join(REACHES)}")
        self.market = Market(**market)
        self.desk = Desk(
            self.market,
            Coins(coins, coin_history),
            Limits(float(limits) or None),
            dict(page_limits or {}),
            dict(reach or {}),
            seed,
        )
        self.faults = faults
        self.delay = delay
        self.requests: list[Asked] = []
        self.failures: list[BaseException] = []  # mistakes of this program, raised when the venue stops
        self._now = now
        self._port = port
        self._silence = silence
        self._sockets: Sockets | None = None
        self._stopping: asyncio.Event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.url = ""

    @property
    def reach(self) -> dict[str, int | None]:
        """How far back the venue tells, in ms; may be changed at any time."""
        return self.desk.reach

    # --- the clock

    @property
    def now(self) -> int:
        """The venue's clock, ms UTC; set it to let time pass, or to None for the real clock."""
        return time.time_ns() // 1_000_000 if self._now is None else self._now

    @now.setter
    def now(self, moment: int | None) -> None:
        self._now = moment
        self._tell(lambda sockets: sockets.wake())

    def _tell(self, what: Callable[[Sockets], object]) -> None:
        if self._loop is not None and self._sockets is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(what, self._sockets)

    def _wait(self, what: Callable[[Sockets], Coroutine[Any, Any, None]]) -> None:
        if self._loop is None or self._sockets is None:
            raise InputError("the fake venue does not run: use it in a with block, or call start()")
        asyncio.run_coroutine_threadsafe(what(self._sockets), self._loop).result(300)

    def notice(self) -> None:
        """Tell every WebSocket client, with code 64008, that its connection will soon be closed."""
        self._wait(lambda sockets: sockets.notice())

    def disconnect(self, code: int | None = None) -> None:
        """End every WebSocket connection now: the line breaks, or closes with `code`."""
        self._wait(lambda sockets: sockets.disconnect(code))

    @property
    def connections(self) -> int:
        """How many WebSocket connections are open."""
        return len(self.lines)

    @property
    def lines(self) -> list[Line]:
        """The open WebSocket connections, each with its subscriptions."""
        return [] if self._sockets is None else [connection.line for connection in list(self._sockets.open)]

    @property
    def subscriptions(self) -> list[dict[str, str]]:
        """Arguments of all subscriptions that stand."""
        return [subscription.arg for line in self.lines for subscription in list(line.subscriptions.values())]

    def put(self, kind: str, name: str, bar: str, frame: pd.DataFrame) -> None:
        """Set the bars of one series ("candles", "mark" or "index") while the venue runs."""
        self.market.put(kind, name, bar, frame)

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
                (self.failures if ready.is_set() else failed).append(error)
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
        self._sockets = Sockets(
            self.desk.view,
            clock=lambda: self.now,
            runs=lambda: self._now is None,
            faults=lambda: self.faults,
            silence=self._silence,
            failed=self.failures.append,
        )
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        try:
            await site.start()
            self.url = self.desk.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await self._stopping.wait()
            await self._sockets.disconnect(None)
        finally:
            await runner.cleanup()

    # --- one request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, params = request.path, dict(request.query)
        at = time.monotonic()
        faults = self.faults
        if path.startswith(SOCKETS) and self._sockets is not None:
            return await self._socket(request, at)
        fault = faults.draw(path, params) if faults is not None else None
        if self.delay:
            await asyncio.sleep(self.delay)
        kind = fault.kind if fault is not None else ""
        try:
            reply = self.desk.reply(Question(request.method, path, params, request.headers), self.now, fault, faults)
        except Exception as error:  # whoever asks would take it for a fault that was ordered
            self.failures.append(error)
            raise
        self.requests.append(Asked(path, params, reply.status, reply.code, kind, at))
        body = reply.body
        if faults is not None and kind in {"timeout", "reset", "cut"}:
            await self._break(request, kind, reply, faults.hold)
        if kind == "truncated":
            body = body[: len(body) * 2 // 3]
        return web.Response(status=reply.status, body=body, headers=reply.headers)

    async def _socket(self, request: web.BaseRequest, at: float) -> web.StreamResponse:
        assert self._sockets is not None
        fits = self.desk.limits.allows((SOCKETS,), 3, 1.0, at)
        known = request.path.removeprefix(SOCKETS) in {"public", "business", "private"}
        faults = self.faults
        fault = faults.draw(request.path, dict(request.query), HANDSHAKE) if faults is not None else None
        kind = fault.kind if fault is not None else ""
        status = 502 if kind == "html" else 101 if fits and known else 404 if fits else 429
        self.requests.append(Asked(request.path, dict(request.query), status, "", kind, at))
        if faults is not None and kind in {"timeout", "reset"}:
            await self._break(request, kind, Reply(status, "", b""), faults.hold)
        if status != 101:
            return web.Response(status=status)
        try:
            return await self._sockets.talk(request)
        except web.HTTPException as refused:  # a plain GET
            return web.Response(status=refused.status, text=refused.text)
        except Exception as error:
            self.failures.append(error)
            raise

    async def _break(self, request: web.BaseRequest, kind: str, reply: Reply, hold: float) -> None:
        """Break the connection now, in the middle of the answer, or after a silence."""
        transport = request.transport
        if kind == "timeout":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), hold)
        elif kind == "cut" and transport is not None:
            lines = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
            head = f"HTTP/1.1 {reply.status} OK\r\n{lines}Content-Length: {len(reply.body)}\r\n\r\n"
            transport.write(head.encode() + reply.body[: len(reply.body) // 2])
            transport.close()  # what was written arrives; the rest never does
        if transport is not None and kind != "cut":
            transport.abort()
        raise asyncio.CancelledError


__all__ = ["Asked", "FakeVenue"]

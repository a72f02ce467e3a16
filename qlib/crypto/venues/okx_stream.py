"""OKX over its WebSocket: subscribe, listen, and connect again whenever the line breaks.

    stream = OkxStream(OkxSource())                     wss://ws.okx.com:8443/ws/v5, or OKX_WS_URL
    await stream.run([Series("BTC-USDT-SWAP", "candles", "1m")], tell)

    candle1m, mark-price-candle1m, trades-all     all on <url>/business
    ping                 as text, when nothing came for 20 s; no pong within 10 s: the line is dead
    notice 64008         the venue is about to close the line: connect again
    connecting again     after 0.5 s, then longer each time up to 30 s; never more than three attempts a second

Nothing is stored here, and nothing is remembered over a broken line: `qlib.collect.recording` asks for what was missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from qlib.collect.paging import in_order
from qlib.collect.recording import Began, Broke, Event, Pushed
from qlib.collect.source import Instrument, Series, VenueError
from qlib.crypto.venues.okx import OkxSource, bars, parse
from qlib.errors import ConfigError, InputError
from qlib.log import get_module_logger

logger = get_module_logger("okx")

WS_URL: Final = "wss://ws.okx.com:8443/ws/v5"
WS_URL_VARIABLE: Final = "OKX_WS_URL"
CHANNELS: Final = {"candles": "candle", "mark": "mark-price-candle", "trades": "trades-all"}

_A_LINE: Final = 100  # channels on one connection
_A_MESSAGE: Final = 20  # channels asked for at once: far below 64 KB, and few of the 480 requests an hour
_BETWEEN: Final = 0.4  # s between two connection attempts: the venue takes three a second
_PROVEN: Final = 60.0  # s after which a line was a good one
_NOTICE: Final = "64008"


class OkxStream:
    """The pushes of OKX.

    Parameters
    ----------
    source
        Says what instruments are: the volume of a contract is read otherwise than that of a spot pair.
    ws_url
        Where to connect, without `/business`; None means OKX_WS_URL, or OKX's own.
    quiet
        s without anything after which `ping` is sent; OKX closes a line after 30.
    answer
        s that a connection, the answers to subscriptions and a pong may take.
    pause
        s before connecting again: at first, and at most.
    """

    name = "okx"

    def __init__(
        self, source: OkxSource, ws_url: str | None = None, *, quiet: float = 20.0, answer: float = 10.0,
        pause: tuple[float, float] = (0.5, 30.0),
    ) -> None:  # fmt: skip
        url = (ws_url or os.environ.get(WS_URL_VARIABLE) or WS_URL).rstrip("/")
        parts = urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if not parts.hostname or parts.scheme not in ("wss", "ws") or (parts.scheme == "ws" and not local):
            raise InputError(f"ws_url: received {url!r}; wss://... is needed (ws://... only on this machine)")
        if not 0 < quiet < 30:
            raise InputError(
                f"quiet: received {quiet!r}; above 0 and below 30 s is allowed: OKX closes a line after 30"
            )
        self.url = f"{url}/business"
        self._source, self._quiet, self._answer, self._pause = source, quiet, answer, pause
        self._instruments: dict[str, Instrument] = {}
        self._taken: set[Series] = set()  # what the venue accepted once
        self._turn = 0.0

    async def run(self, series: Sequence[Series], tell: Callable[[Event], None]) -> None:
        """Tell what is pushed until cancelled.

        Raises
        ------
        VenueError
            OKX refuses a series that it never took: it is misspelled, or not traded.
        ConfigError
            aiohttp is not installed.
        """
        try:
            import aiohttp  # noqa: PLC0415  an extra: who does not record does not need it
        except ImportError:
            raise ConfigError('recording needs aiohttp: pip install "qlib-crypto[live]"') from None
        named = {_channel(one): one for one in series}
        for one in series:  # over REST, before anything is pushed
            self._instruments[one.symbol] = await asyncio.to_thread(self._source.instrument, one.symbol)
        groups = [list(named.items())[at : at + _A_LINE] for at in range(0, len(named), _A_LINE)]
        lines: list[asyncio.Task[None]] = []
        async with aiohttp.ClientSession() as session:
            try:
                lines += [asyncio.create_task(self._line(session, dict(group), tell)) for group in groups]
                await asyncio.gather(*lines)
            finally:
                for line in lines:
                    line.cancel()
                await asyncio.gather(*lines, return_exceptions=True)

    async def _line(self, session: Any, named: dict[tuple[str, str], Series], tell: Callable[[Event], None]) -> None:
        """Keep one connection alive."""
        import aiohttp  # noqa: PLC0415

        failures = 0
        while True:
            await self._wait_for_turn()
            began = time.monotonic()
            try:
                wait = aiohttp.ClientWSTimeout(ws_receive=None, ws_close=self._answer)
                async with asyncio.timeout(self._answer):
                    socket = await session.ws_connect(self.url, timeout=wait, max_msg_size=16 << 20)
                async with socket:
                    why = await _Talk(self, socket, named, tell).listen()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                why = f"{self.url} cannot be reached: {str(error) or type(error).__name__}"
            tell(Broke(tuple(named.values()), why))
            failures = 0 if time.monotonic() - began > _PROVEN else failures + 1
            first, longest = self._pause
            pause = min(first * 2.0 ** min(max(0, failures - 1), 30), longest)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  not to come back all at once

    async def _wait_for_turn(self) -> None:
        now = time.monotonic()
        self._turn = max(self._turn + _BETWEEN, now)
        await asyncio.sleep(self._turn - now)


class _Talk:
    """One connection, from its opening to its end."""

    def __init__(
        self, stream: OkxStream, socket: Any, named: dict[tuple[str, str], Series], tell: Callable[[Event], None]
    ) -> None:
        self._stream, self._socket, self._named, self._tell = stream, socket, named, tell
        self._asked: dict[str, list[tuple[str, str]]] = {}  # id of a message -> what it asked for
        self._waiting = set(named)  # no answer yet

    async def listen(self) -> str:
        """Subscribe and pass on pushes; return why the line ended."""
        stream = self._stream
        await self._subscribe()
        until = time.monotonic() + stream._answer  # noqa: SLF001
        pinged = False
        while True:
            wait = stream._answer if pinged else stream._quiet  # noqa: SLF001
            if self._waiting:
                wait = min(wait, max(0.0, until - time.monotonic()))
            try:
                message = await self._socket.receive(timeout=wait)
            except TimeoutError:
                if self._waiting and time.monotonic() >= until:
                    return f"{len(self._waiting)} subscriptions were not answered"
                if pinged:
                    return "a ping was not answered"
                await self._socket.send_str("ping")
                pinged = True
                continue
            pinged = False
            if message.type.name != "TEXT":
                code = self._socket.close_code
                return f"the line broke{f' (close code {code})' if code else ''}"
            if message.data == "pong":
                continue
            if (why := self._heard(message.data)) is not None:
                return why

    async def _subscribe(self) -> None:
        wanted = list(self._named)
        for at in range(0, len(wanted), _A_MESSAGE):
            name, some = f"s{at}", wanted[at : at + _A_MESSAGE]
            self._asked[name] = some
            args = [{"channel": channel, "instId": instrument} for channel, instrument in some]
            await self._socket.send_str(json.dumps({"id": name, "op": "subscribe", "args": args}))

    def _heard(self, text: str) -> str | None:
        """Take one message in; returns why to connect again, if so."""
        try:
            told = json.loads(text)
            event = told.get("event")
            if event is None:
                self._push(told["arg"], told["data"])
                return None
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, VenueError) as error:
            return f"a message cannot be understood ({error}): {text[:120]!r}"
        if event == "subscribe":
            key = (str(told["arg"].get("channel")), str(told["arg"].get("instId")))
            if key in self._named:
                self._stream._taken.add(self._named[key])  # noqa: SLF001
                self._answered({key})
        elif event == "error":
            return self._refused(told)
        elif event == "notice":
            said = f"the venue says {told.get('code')}: {told.get('msg')}"
            if told.get("code") == _NOTICE:
                return said
            logger.warning(f"okx: {said}")
        return None

    def _answered(self, keys: set[tuple[str, str]]) -> None:
        before = len(self._waiting)
        self._waiting -= keys
        if before and not self._waiting:
            self._tell(Began(tuple(self._named.values())))

    def _refused(self, told: dict[str, Any]) -> str | None:
        """Judge an error: of a series that was never taken it is the caller's, otherwise the others go on."""
        said = f"OKX answers {told.get('code')}: {told.get('msg')}"
        among = self._asked.get(str(told.get("id")), list(self._named))
        meant = {key for key in among if key[1] in said and key[0] in said} or ({*among} if len(among) == 1 else set())
        if not meant:
            return said  # a request too many, or one that is not about a channel
        for key in meant:
            series = self._named[key]
            if series not in self._stream._taken:  # noqa: SLF001
                raise VenueError(f"{series.symbol} {series.kind}: {said}")
            logger.warning(f"{series.symbol} {series.kind} is not pushed any more: {said}")
        self._answered(meant)
        return None

    def _push(self, arg: dict[str, str], data: list[Any]) -> None:
        series = self._named[arg["channel"], arg["instId"]]
        instrument = self._stream._instruments[series.symbol]  # noqa: SLF001
        if series.kind == "trades":
            rows = parse.trades(data, instrument).rows
            if len(rows["ts"]):
                rows = in_order("trades", rows)
                self._tell(Pushed(series, rows, int(rows["ts"].max())))
            return
        answer = parse.candles(data, instrument.kind) if series.kind == "candles" else parse.prices(data, series.kind)
        if answer.oldest is None:
            return
        rows = in_order(series.kind, answer.rows)
        ended = bars.next_open(str(series.bar), int(rows["ts"][-1])) if len(rows["ts"]) else answer.oldest
        self._tell(Pushed(series, rows, max(ended, answer.unfinished or 0)))


def _channel(series: Series) -> tuple[str, str]:
    """Return channel and instId.

    >>> _channel(Series("BTC-USDT", "candles", "1Dutc")), _channel(Series("BTC-USDT", "trades", None))
    (('candle1Dutc', 'BTC-USDT'), ('trades-all', 'BTC-USDT'))
    """
    if series.kind not in CHANNELS:
        raise InputError(f"kind: received {series.kind!r}; {', '.join(CHANNELS)} can be recorded")
    return f"{CHANNELS[series.kind]}{series.bar or ''}", series.symbol

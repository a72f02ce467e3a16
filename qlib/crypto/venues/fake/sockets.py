"""The WebSocket connections of the fake venue: pushes when time passes, silence, notices, and lines that break.

    sockets.wake()            the clock was set: every connection is told what happened since
    sockets.notice()          code 64008: reconnect, this connection will be closed soon
    sockets.disconnect()      every connection breaks now

Faults of pushes are drawn from the same `Faults`, under the path "/ws/v5/<url>/<channel>": "lost", "twice", "drop".
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from qlib.crypto.venues.fake.faults import PUSHES, Faults
from qlib.crypto.venues.fake.stream import LARGEST, Line, Push, Views
from qlib.crypto.venues.fake.view import dumps

PREFIX = "/ws/v5/"
BEAT = 0.1  # seconds between two looks at a clock that runs by itself
CLOSING = 1.0  # seconds that a client has to answer a close
_NOTICE = "The connection will soon be closed for a service upgrade. Please reconnect."


@dataclass(slots=True)
class _Connection:
    """One open connection; the lock keeps pushes from coming between an ack and the snapshot that follows it."""

    socket: web.WebSocketResponse
    transport: Any
    line: Line
    spoke: float = field(default_factory=time.monotonic)  # when the last message came or went
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # the clock was set


class Sockets:
    """All open connections. Everything runs in the server's loop."""

    def __init__(
        self,
        views: Views,
        clock: Callable[[], int],
        runs: Callable[[], bool],
        faults: Callable[[], Faults | None],
        silence: float,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.views, self.clock, self.runs, self.faults, self.silence = views, clock, runs, faults, silence
        self.failed = failed
        self.open: list[_Connection] = []
        self._ids = itertools.count(0xA4D3AE55)

    async def talk(self, request: web.BaseRequest) -> web.WebSocketResponse:
        """One connection from its opening to its end."""
        socket = web.WebSocketResponse(max_msg_size=LARGEST * 2, autoping=True, timeout=CLOSING)
        await socket.prepare(request)
        line = Line(request.path.removeprefix(PREFIX), f"{next(self._ids):x}", self.views)
        connection = _Connection(socket, request.transport, line)
        self.open.append(connection)
        pushing = asyncio.create_task(self._push(connection))
        try:
            async for message in socket:
                connection.spoke = time.monotonic()
                if message.type is WSMsgType.TEXT:
                    async with connection.lock:
                        await self._send(connection, line.receive(message.data, self.clock()))
        finally:
            pushing.cancel()
            self.open.remove(connection)
        return socket

    async def _push(self, connection: _Connection) -> None:
        """Push what happens, for ever: when the clock is set, and ten times a second if it runs by itself."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(connection.changed.wait(), BEAT)
                if connection.changed.is_set() or self.runs():
                    connection.changed.clear()
                    async with connection.lock:
                        await self._send(connection, connection.line.advance(self.clock()))
                if time.monotonic() - connection.spoke > self.silence:
                    await connection.socket.close(code=4004, message=b"No data received in 30s.")
                    return
        except Exception as error:  # a mistake of this program, told when the venue stops
            self.failed(error)
            connection.transport.abort()

    async def _send(self, connection: _Connection, pushes: list[Push]) -> None:
        faults = self.faults()
        with contextlib.suppress(ConnectionError):  # the client has gone
            for push in pushes:
                kind = ""
                if push.channel and faults is not None:
                    path = f"{PREFIX}{connection.line.url}/{push.channel}"
                    fault = faults.draw(path, {"channel": push.channel, "instId": push.name}, PUSHES)
                    kind = fault.kind if fault is not None else ""
                if kind == "drop":
                    connection.transport.abort()
                if kind == "drop" or connection.socket.closed:
                    return
                for _ in range({"lost": 0, "twice": 2}.get(kind, 1)):
                    await connection.socket.send_str(push.text)
                    connection.spoke = time.monotonic()

    def wake(self) -> None:
        """Look at the clock now."""
        for connection in self.open:
            connection.changed.set()

    async def notice(self) -> None:
        """Tell every client that its connection will be closed."""
        for connection in list(self.open):
            told = {"event": "notice", "code": "64008", "msg": _NOTICE, "connId": connection.line.conn_id}
            await self._send(connection, [Push(dumps(told))])

    async def disconnect(self, code: int | None) -> None:
        """End every connection: with a WebSocket close `code`, or by breaking the line (None)."""
        for connection in list(self.open):
            if code is None:
                connection.transport.abort()
            else:
                await connection.socket.close(code=code)

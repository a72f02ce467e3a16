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
from typing import Any

from aiohttp import WSMsgType, web

from qlib.crypto.venues.fake.faults import PUSHES, Faults
from qlib.crypto.venues.fake.stream import LARGEST, Line, Push, Views
from qlib.crypto.venues.fake.view import dumps

PREFIX = "/ws/v5/"
BEAT = 0.1  # seconds between two looks at a clock that runs by itself
_NOTICE = "The connection will soon be closed for a service upgrade. Please reconnect."


class Sockets:
    """All open connections. Everything but `wake`, `notice` and `disconnect` runs in the server's loop."""

    def __init__(
        self,
        views: Views,
        clock: Callable[[], int],
        runs: Callable[[], bool],
        faults: Callable[[], Faults | None],
        silence: float,
    ) -> None:
        self.views, self.clock, self.runs, self.faults, self.silence = views, clock, runs, faults, silence
        self.lines: dict[web.WebSocketResponse, Line] = {}
        self._transports: dict[web.WebSocketResponse, asyncio.BaseTransport | None] = {}
        self._spoke: dict[web.WebSocketResponse, float] = {}
        self._ids = itertools.count(0xA4D3AE55)
        self._changed = asyncio.Event()
        self._busy = asyncio.Lock()

    async def talk(self, request: web.BaseRequest) -> web.WebSocketResponse:
        """One connection from its opening to its end."""
        socket = web.WebSocketResponse(max_msg_size=LARGEST * 2, autoping=True)
        await socket.prepare(request)
        line = Line(request.path.removeprefix(PREFIX), f"{next(self._ids):x}", self.views)
        self.lines[socket], self._spoke[socket] = line, time.monotonic()
        self._transports[socket] = request.transport
        try:
            async for message in socket:
                self._spoke[socket] = time.monotonic()
                if message.type is not WSMsgType.TEXT:
                    continue
                async with self._busy:  # a push must not come between an ack and the snapshot after it
                    await self._send(socket, line, line.receive(message.data, self.clock()))
        finally:
            self.lines.pop(socket, None)
            self._transports.pop(socket, None)
            self._spoke.pop(socket, None)
        return socket

    async def _send(self, socket: web.WebSocketResponse, line: Line, pushes: list[Push]) -> None:
        faults = self.faults()
        with contextlib.suppress(ConnectionError, RuntimeError):  # the client has gone
            for push in pushes:
                kind = ""
                if push.channel and faults is not None:
                    path = f"{PREFIX}{line.url}/{push.channel}"
                    fault = faults.draw(path, {"channel": push.channel, "instId": push.name}, PUSHES)
                    kind = fault.kind if fault is not None else ""
                if kind == "drop":
                    self._abort(socket)
                    return
                for _ in range({"lost": 0, "twice": 2}.get(kind, 1)):
                    await socket.send_str(push.text)
                    self._spoke[socket] = time.monotonic()

    def _abort(self, socket: web.WebSocketResponse) -> None:
        transport: Any = self._transports.get(socket)
        if transport is not None:
            transport.abort()

    async def run(self) -> None:
        """Push what happens, for ever: when the clock is set, and ten times a second if it runs by itself."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), BEAT)
            set_now = self._changed.is_set()
            self._changed.clear()
            for socket, line in list(self.lines.items()):
                if set_now or self.runs():
                    async with self._busy:
                        await self._send(socket, line, line.advance(self.clock()))
                if time.monotonic() - self._spoke.get(socket, time.monotonic()) > self.silence:
                    await socket.close(code=4004, message=b"No data received in 30s.")

    def wake(self) -> None:
        """Look at the clock now."""
        self._changed.set()

    async def notice(self) -> None:
        """Tell every client that its connection will be closed."""
        for socket, line in list(self.lines.items()):
            told = {"event": "notice", "code": "64008", "msg": _NOTICE, "connId": line.conn_id}
            await self._send(socket, line, [Push(dumps(told))])

    async def disconnect(self, code: int | None) -> None:
        """End every connection: with a WebSocket close `code`, or by breaking the line (None)."""
        for socket in list(self.lines):
            if code is None:
                self._abort(socket)
            else:
                await socket.close(code=code)

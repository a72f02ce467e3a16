"""A server on this machine for tests of downloads, which keeps no promise it was not told to keep.

    with serving({"/a.zip": File(b"...", dies_after=[100])}) as (url, asked): ...

`asked` is the list of (path, headers) of every request.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class File:
    """What the server answers at one path."""

    content: bytes = b""
    etag: str | None = '"v1"'
    ranges: bool = True
    length: bool = True
    date: str | None = None
    code: int = 200
    location: str | None = None
    dies_after: list[int | None] = field(default_factory=list)  # per request: bytes sent before the connection breaks
    codes: list[int] = field(default_factory=list)  # per request: answers before the good one
    sends_range: str | None = None  # a Content-Range that is a lie
    extra: bytes = b""  # sent after the announced end, where no length is announced
    encoding: str | None = None


Asked = list[tuple[str, dict[str, str]]]


@contextlib.contextmanager
def serving(files: dict[str, File]) -> Iterator[tuple[str, Asked]]:
    asked: Asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked.append((self.path, dict(self.headers)))
            found = files.get(self.path)
            if found is None:
                self.send_error(404)
            elif found.codes:
                self.send_error(found.codes.pop(0))
            elif found.location is not None:
                self.send_response(302)
                self.send_header("Location", found.location)
                self.end_headers()
            else:
                self.give(found)

        def give(self, found: File) -> None:
            start, code = 0, found.code
            mark = found.etag or found.date
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and found.ranges and self.headers.get("If-Range") == mark:
                start, code = int(wanted[1]), 206
                if start >= len(found.content):
                    self.send_error(416)
                    return
            body = found.content[start:]
            self.send_response(code)
            for name, value in (
                ("ETag", found.etag),
                ("Last-Modified", found.date),
                ("Content-Encoding", found.encoding),
            ):
                if value is not None:
                    self.send_header(name, value)
            if found.length:
                self.send_header("Content-Length", str(len(body)))
            if code == 206:
                last = len(found.content) - 1
                self.send_header("Content-Range", found.sends_range or f"bytes {start}-{last}/{len(found.content)}")
            self.end_headers()
            stop = found.dies_after.pop(0) if found.dies_after else None
            with contextlib.suppress(ConnectionError):  # who asked has gone
                self.wfile.write((body + found.extra)[:stop])
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

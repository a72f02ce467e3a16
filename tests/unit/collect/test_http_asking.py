"""Asking over HTTP: what is asked again, what is not, what the last error says, what nobody ever sees."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from qlib.collect.http import Http, Limit, Reply, TooManyError
from qlib.collect.server import AgainError, Patience
from qlib.collect.source import VenueError
from qlib.errors import InputError

QUICK = Patience(attempts=4, pause=0.001, longest=0.002, connect=20.0, read=20.0)
PLENTY = Limit(1_000, 0.001)
SECRET = "s3cr3t-passphrase"  # noqa: S105

# What a server may do with one question.
Act = tuple[str, int, bytes, dict[str, str]]
GOOD: Act = ("answer", 200, b'{"data": [1]}', {})


def says(status: int, body: bytes, **headers: str) -> Act:
    return ("answer", status, body, {name.replace("_", "-"): value for name, value in headers.items()})


FAULTS: dict[str, Act] = {
    "reset": ("reset", 0, b"", {}),
    "no answer in time": ("hang", 0, b"", {}),
    "connection cut in the body": ("cut", 200, b'{"data": [1', {}),
    "truncated JSON": says(200, b'{"data": [1'),
    "an HTML page with 200": says(200, b"<html>maintenance</html>"),
    "an HTML page with 502": says(502, b"<html>bad gateway</html>"),
    "a bare 429": says(429, b"<html>slow down</html>"),
    "an empty body": says(200, b""),
    "503 without words": says(503, b""),
    "a broken gzip": says(200, b"not gzip", Content_Encoding="gzip"),
}


@contextlib.contextmanager
def server(acts: list[Act]) -> Iterator[tuple[str, list[tuple[float, str, dict[str, str]]]]]:
    """Does what the acts say, one a question, and then answers well."""
    asked: list[tuple[float, str, dict[str, str]]] = []
    lock, over = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            with lock:
                asked.append((time.monotonic(), self.path, dict(self.headers)))
                kind, status, body, headers = acts.pop(0) if acts else GOOD
            if kind in ("reset", "hang"):
                if kind == "hang":
                    over.wait(5)
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) + (50 if kind == "cut" else 0)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)
            self.close_connection = kind == "cut"

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.handle_error = lambda *_: None  # a client that goes away is none
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", asked
    finally:
        over.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def read(reply: Reply) -> object:
    if reply.status == 429:
        raise TooManyError("slower", reply.wait)
    if reply.status >= 500:
        raise AgainError(f"busy {reply.status}", reply.wait)
    if reply.status >= 400:
        raise VenueError(f"refused {reply.status}: {reply.payload}")
    return reply.payload["data"]


def get(http: Http, **params: str) -> object:
    return http.get("/api/rows", params, limit=PLENTY, read=read)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_asked_again(fault: str):
    with server([FAULTS[fault]] * 2) as (url, asked):
        http = Http(url, patience=replace(QUICK, read=0.3 if "in time" in fault else 20.0))
        assert get(http, a="1") == [1]
        assert len(asked) == 3
        assert http.requests == 3
        http.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_the_last_error_names_the_endpoint_the_attempts_and_the_last_answer(fault: str):
    act = FAULTS[fault]
    with server([act] * 4) as (url, asked):
        http = Http(url, patience=replace(QUICK, read=0.3 if "in time" in fault else 20.0))
        with pytest.raises(
            VenueError, match=r"GET http://127.0.0.1:\d+/api/rows a=1: .+; given up after 4 attempts$"
        ) as e:
            get(http, a="1")
        if b"html" in act[2]:
            assert act[2].decode() in str(e.value)
        assert len(asked) == 4


def test_a_mistake_of_ours_is_not_asked_again():
    with server([says(400, b'{"msg": "bar"}')]) as (url, asked):
        with pytest.raises(VenueError, match="refused 400"):
            get(Http(url, patience=QUICK))
        assert len(asked) == 1


def test_a_page_of_words_with_a_refusal_is_not_asked_again():
    with server([says(403, b"<html>blocked</html>")]) as (url, asked):
        with pytest.raises(VenueError, match="answers 403 with what is not JSON: '<html>blocked</html>'"):
            get(Http(url, patience=QUICK))
        assert len(asked) == 1


def test_what_the_server_says_about_waiting_is_kept():
    with server([says(429, b"{}", Retry_After="0.4"), says(503, b"{}", Retry_After="0.2")]) as (url, asked):
        assert get(Http(url, patience=QUICK)) == [1]
    first, second, third = (at for at, _, _ in asked)
    assert second - first >= 0.4
    assert third - second >= 0.2


def test_too_many_is_told_to_all_threads():
    """One thread is told to slow down: the other one does not ask in the meantime either."""
    with server([says(429, b"{}", Retry_After="0.5")]) as (url, asked):
        http = Http(url, patience=QUICK)
        first = threading.Thread(target=get, args=(http,))
        first.start()
        while not asked:
            time.sleep(0.005)
        time.sleep(0.1)
        get(http)
        first.join()
    assert min(at for at, _, _ in asked[1:]) - asked[0][0] >= 0.4


def test_a_redirect_is_not_followed_and_said():
    with server([says(302, b"", Location="http://127.0.0.1:1/elsewhere?key=1")]) as (url, asked):
        http = Http(url, patience=QUICK, headers=lambda _: {"X-Key": SECRET}, secrets=[SECRET])
        with pytest.raises(VenueError, match=r"leads to http://127.0.0.1:1/elsewhere, where nothing is sent"):
            get(http)
        assert len(asked) == 1


def test_nobody_ever_sees_a_secret(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]):
    """A server that says back what it was told, in every way it can: headers go to it, and to nobody else."""
    echo = json.dumps({"msg": f"wrong {SECRET}"}).encode()
    acts = [says(500, echo), says(200, f"<html>{SECRET}".encode()), ("reset", 0, b"", {}), says(400, echo)]
    logging.getLogger("qlib").setLevel(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    with server(acts) as (url, asked):
        http = Http(url, patience=QUICK, headers=lambda query: {"X-Key": SECRET}, secrets=[SECRET])
        with pytest.raises(VenueError) as told:
            get(http)
        assert all(headers["X-Key"] == SECRET for _, _, headers in asked)
        seen = [repr(http), str(told.value), repr(told.value), caplog.text, *capsys.readouterr()]
    assert "busy 500" in caplog.text, "the log was read"
    assert SECRET not in " ".join(seen)
    assert "***" in seen[1]


def test_a_closed_source_wakes_who_waits():
    with server([says(503, b"{}", Retry_After="60")]) as (url, asked):
        http, told = Http(url, patience=QUICK), []

        def work() -> None:
            try:
                get(http)
            except VenueError as error:
                told.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        while not asked:
            time.sleep(0.005)
        time.sleep(0.05)
        http.close()
        thread.join(5)
        assert not thread.is_alive()
        assert "is not asked any more: the source was closed" in told[0]
        with pytest.raises(VenueError, match="was closed"):
            get(http)


def test_an_answer_without_end_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("qlib.collect.http._MOST", 1_000)
    with (
        server([says(200, b" " * 200_000)]) as (url, _),
        pytest.raises(VenueError, match="the answer is longer than"),
    ):
        get(Http(url, patience=QUICK))


@pytest.mark.parametrize("url", ["http://example.org", "ftp://example.org", "https://me:pw@example.org", "okx.com", ""])
def test_addresses_that_cannot_be_trusted_are_refused(url: str):
    with pytest.raises(InputError) as told:
        Http(url)
    assert "pw" not in str(told.value)


def test_a_login_in_netrc_is_not_sent(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password pw\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with server([]) as (url, asked):
        get(Http(url, patience=QUICK))
        assert "Authorization" not in asked[0][2]

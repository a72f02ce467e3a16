"""Asking a venue over HTTP: in turn, with patience, and without telling secrets.

    http = Http("https://api.example.org", patience=Patience())
    http.get("/candles", {"pair": "BTC-USDT"}, limit=Limit(40, 2.0), read=read)

    Limit(40, 2.0)      at most 40 requests in any 2 s, all threads together, counted where the server could count them:
                        a place is free again 2 s after its answer came, not after its question was sent
    read(reply)         the venue's dialect: what an answer means; AgainError for "later", TooManyError for "slower"
    secrets             are replaced by *** in everything that is logged or raised, and headers go to one host only

Time-outs, broken connections, 429, 5xx, HTML pages and JSON that ends early are tried again, longer apart each time. A
redirect is never followed. The last error names the endpoint, the number of attempts and the last answer.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from qlib.collect.server import AgainError, Patience, checked_url, reason, repeated, shown
from qlib.collect.source import InstrumentError, VenueError

T = TypeVar("T")
_LATER: Final = {408, 425, 429, 500, 502, 503, 504}
_MOST: Final = 64 << 20  # bytes of an answer
_LONGEST_WAIT: Final = 300.0  # s that a server may tell us to wait
_STALL: Final = 0.5  # s: how late, after its question, an answer may begin to count against the limit


@dataclass(frozen=True, slots=True)
class Limit:
    """How many requests a venue takes in any window of `seconds`."""

    count: int
    seconds: float


class TooManyError(AgainError):
    """The server says that it is asked too often: all threads wait for a window of the limit."""


class Throttle:
    """Lets requests through so that no window of a `Limit` sees too many; shared by all threads.

    >>> throttle = Throttle(Limit(2, 0.01))
    >>> for _ in range(3):  # the third waits until the first is 0.01 s old
    ...     with throttle.turn():
    ...         pass
    """

    def __init__(
        self,
        limit: Limit,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds, self._clock, self._sleep = limit.seconds, clock, sleep
        self._free_at = [-float("inf")] * limit.count  # a heap: when each place may be taken again
        self._places = threading.Semaphore(limit.count)
        self._lock = threading.Lock()
        self._closed_until = -float("inf")

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a place, and keep it from the question to its answer and `seconds` longer."""
        with self._places:
            with self._lock:
                free_at = heapq.heappop(self._free_at)
            sent = None
            try:
                while (wait := max(free_at, self._closed_until) - self._clock()) > 0:
                    self._sleep(wait)
                sent = self._clock()
                yield
            finally:
                if sent is not None:
                    free_at = min(self._clock(), sent + _STALL) + self._seconds
                with self._lock:
                    heapq.heappush(self._free_at, free_at)

    def close_for(self, seconds: float) -> None:
        """Let nobody through for a while: the venue said that it is too much."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: HTTP status, its body as JSON (None where it is none), and the beginning of the body as text."""

    status: int
    payload: Any
    text: str
    wait: float  # s that the server asks us to wait (Retry-After), 0 where it does not


def no_headers(path_and_query: str) -> dict[str, str]:
    """Return no headers: nobody has to sign a question about public data."""
    return {}


class Http:
    """One host of a venue.

    Parameters
    ----------
    base_url
        `https://host`; `http://...` only on this machine.
    patience
        How long to wait and how often to try.
    speed
        How fast limits are used up: 0.5 leaves half to others, 2 is for a server that allows twice as much, None does
        not wait at all.
    headers
        Takes path and query and returns headers for this one question, such as a signature.
    secrets
        Texts that may never be shown.
    """

    def __init__(
        self,
        base_url: str,
        *,
        patience: Patience = Patience(),
        speed: float | None = 1.0,
        headers: Callable[[str], dict[str, str]] = no_headers,
        secrets: Iterable[str] = (),
    ) -> None:
        self.base_url = checked_url(base_url.rstrip("/"), trusted=False, or_else="")
        self.requests = 0
        self._patience, self._speed, self.headers = patience, speed, headers
        self._secrets = tuple(sorted((text for text in secrets if text), key=len, reverse=True))
        self._throttles: dict[tuple[str, ...], Throttle] = {}
        self._sessions: list[Any] = []
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def __repr__(self) -> str:
        return f"Http({shown(self.base_url)!r})"

    def get(
        self,
        path: str,
        params: Mapping[str, str],
        *,
        limit: Limit,
        per: Iterable[str] = (),
        shared: str = "",
        read: Callable[[Reply], T],
    ) -> T:
        """Return what `read` makes of the answer to one question.

        Parameters
        ----------
        path, params
            The question.
        limit
            The rate limit of this path.
        per
            Names of parameters with which the venue counts separately, one count for each of their values.
        shared
            A name that stands for the path where paths are counted together.
        read
            Takes a Reply with JSON in it, of any status. Raises AgainError for what may be better later, TooManyError
            if it was asked too often, and VenueError for what it will always be.

        Raises
        ------
        VenueError
            The venue refuses, or patience is at its end.
        """
        name = self.clean(f"GET {shown(self.base_url + path)} {urlencode(params)}".strip())
        throttle = self._throttle((shared or path, *(params.get(key, "") for key in per)), limit)

        def attempt() -> T:
            with throttle.turn():
                reply = self._ask(path, params)
            try:
                return read(_with_json(reply))
            except AgainError as error:
                wait = error.wait
                if isinstance(error, TooManyError):
                    wait = max(wait, self.window(limit))
                    throttle.close_for(wait)
                raise AgainError(self.clean(str(error)), wait) from None

        try:
            return repeated(attempt, patience=self._patience, name=name, sleep=self._wait)
        except AgainError as error:
            why = f"{name}: {error}; given up after {self._patience.attempts} attempts"
            raise VenueError(self.clean(why)) from None
        except InstrumentError as error:
            raise InstrumentError(error.symbol, self.clean(error.why), error.code) from None
        except VenueError as error:
            raise VenueError(self.clean(f"{name}: {error}")) from None

    def window(self, limit: Limit) -> float:
        """Return how long a window of a limit lasts at this speed, in seconds."""
        return 0.0 if self._speed is None else limit.seconds / self._speed

    def clean(self, text: str) -> str:
        """Return a text with every secret in it replaced."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def close(self) -> None:
        """Close connections and wake who waits; nothing can be asked afterwards."""
        self._closed.set()
        with self._lock:
            for session in self._sessions:
                session.close()
            self._sessions.clear()

    def _throttle(self, key: tuple[str, ...], limit: Limit) -> Throttle:
        with self._lock:
            if key not in self._throttles:
                scaled = Limit(limit.count, self.window(limit))
                self._throttles[key] = Throttle(scaled, sleep=self._wait)
            return self._throttles[key]

    def _wait(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise VenueError(f"{shown(self.base_url)} is not asked any more: the source was closed")

    def _session(self) -> Any:
        session = getattr(self._mine, "session", None)
        if session is None:
            import requests  # noqa: PLC0415  only who asks a venue needs it

            session = self._mine.session = requests.Session()
            session.headers["User-Agent"] = "qlib-crypto"
            session.auth = _no_login
            with self._lock:
                self._sessions.append(session)
        return session

    def _ask(self, path: str, params: Mapping[str, str]) -> Reply:
        import requests  # noqa: PLC0415  only who asks a venue needs it

        if self._closed.is_set():
            self._wait(0)
        query = f"{path}?{urlencode(params)}" if params else path
        timeout = (self._patience.connect, self._patience.read)
        with self._lock:
            self.requests += 1
        try:
            with self._session().get(
                self.base_url + query,
                headers=self.headers(query),
                timeout=timeout,
                stream=True,
                allow_redirects=False,
            ) as answer:
                if answer.is_redirect:
                    place = shown(answer.headers.get("Location", ""))
                    raise VenueError(
                        f"{shown(self.base_url)} leads to {place}, where nothing is sent: give the right base_url"
                    )
                body = self._body(answer)
        except requests.exceptions.SSLError as error:
            raise VenueError(f"{shown(self.base_url)}: its certificate cannot be trusted: {reason(error)}") from None
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise AgainError(self.clean(reason(error))) from None
        except requests.exceptions.ContentDecodingError as error:
            raise AgainError(f"the answer cannot be unpacked: {self.clean(reason(error))}") from None
        except requests.RequestException as error:
            raise VenueError(f"{shown(self.base_url)} cannot be asked: {self.clean(reason(error))}") from None
        wait = _retry_after(answer.headers.get("Retry-After", ""))
        return Reply(answer.status_code, body, body[:200].decode("utf-8", "replace"), wait)

    def _body(self, answer: Any) -> bytes:
        """Read an answer that may be neither endless nor slower than patience."""
        pieces, size, until = [], 0, time.monotonic() + 2 * self._patience.read
        for piece in answer.iter_content(1 << 16):
            pieces.append(piece)
            size += len(piece)
            if size > _MOST:
                raise VenueError(f"{shown(answer.url)}: the answer is longer than {_MOST >> 20} MiB")
            if time.monotonic() > until:
                raise AgainError("the answer does not come to an end in time")
        return b"".join(pieces)


def _no_login(request: Any) -> Any:
    """Keep `requests` from sending what a .netrc says about the host."""
    return request


def _with_json(reply: Reply) -> Reply:
    """Return the reply with its body read as JSON; AgainError or VenueError where it is none."""
    begins = " ".join(reply.text.split())[:80]
    try:
        payload = json.loads(reply.payload)
    except ValueError:
        said = f"the server answers {reply.status} with what is not JSON: {begins!r}"
        if reply.status == 429:
            raise TooManyError(said, reply.wait) from None
        if reply.status == 200 or reply.status in _LATER or reply.status > 500:
            raise AgainError(said, reply.wait) from None
        raise VenueError(said) from None
    return Reply(reply.status, payload, begins, reply.wait)


def _retry_after(text: str) -> float:
    """Return how many seconds a server asks us to wait; it may say a number or a date.

    >>> _retry_after("3"), _retry_after("soon"), _retry_after("99999")
    (3.0, 0.0, 300.0)
    """
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_WAIT) if seconds == seconds else 0.0  # noqa: PLR0124  NaN

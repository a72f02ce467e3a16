"""Asking a server over HTTP: which addresses may be asked, time-outs, redirects, asking again.

    with ask(url, patience=Patience(), trusted=False) as answer:       one question; the answer is still open
        ...
    repeated(lambda: work(url), patience=Patience())                   what raises AgainError is tried again

Errors are one sentence, in which addresses stand without user, password and query, where keys hide.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import sleep as _sleep
from typing import Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

from qlib.errors import InputError, RunError
from qlib.log import get_module_logger

logger = get_module_logger("download")

T = TypeVar("T")
_AGAIN: Final = {408, 425, 429, 500, 502, 503, 504}
_MOVED: Final = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server, and how often to ask again.

    Parameters
    ----------
    attempts
        How many attempts in a row may fail; one that brings a piece of what is wanted starts the count anew.
    pause, longest
        Seconds before the second attempt, doubled each time (with some chance in it), and the most of them.
    connect, read
        Seconds until the connection must stand, and between two pieces of an answer.
    redirects
        How often the server may send us elsewhere.
    """

    attempts: int = 5
    pause: float = 1.0
    longest: float = 30.0
    connect: float = 10.0
    read: float = 60.0
    redirects: int = 5


class AgainError(Exception):
    """What may be better next time, but not before `wait` seconds have gone."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class NotThereError(InputError):
    """The server has no such file."""


def shown(url: str) -> str:
    """Return an address as logs and errors may show it.

    >>> shown("https://me:secret@example.org/a.zip?key=1")
    'https://example.org/a.zip'
    """
    parts = urlsplit(str(url))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def checked_url(url: str, *, trusted: bool, or_else: str = ", or give the SHA-256 that the file must have") -> str:
    """Return an address that may be asked; InputError says why another may not.

    `trusted` tells that a SHA-256 vouches for what comes. Without one, nobody between here and the server may be able
    to change it; `or_else` is what one can do then besides using https.
    """
    try:
        parts = urlsplit(str(url))
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise InputError(f"received the address {url!r}; one such as https://example.org/data.zip is needed")
    if parts.username is not None or parts.password is not None:
        raise InputError(f"the address {shown(url)} carries a user or a password, which logs would keep")
    if not trusted and parts.scheme == "http" and not _is_this_machine(host):
        raise InputError(
            f"{shown(url)} is not encrypted, and anybody on the way can change what comes: use https{or_else}"
        )
    return str(url)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def ask(url: str, headers: Mapping[str, str] | None = None, *, patience: Patience, trusted: bool) -> Any:
    """Return the answer (a `requests.Response`, open) to a GET, after following redirects.

    Raises
    ------
    AgainError
        No connection, no answer in time, or one that says "later".
    InputError
        The address cannot be asked; NotThereError: there is nothing at it.
    RunError
        Any other refusal, a certificate that cannot be trusted, redirects without end.
    """
    import requests  # noqa: PLC0415  only downloads need it

    seen = [checked_url(url, trusted=trusted)]
    headers = {"Accept-Encoding": "identity", "User-Agent": "qlib-crypto", **(headers or {})}
    timeout = (patience.connect, patience.read)
    while True:
        try:
            answer = requests.get(seen[-1], headers=headers, stream=True, timeout=timeout, allow_redirects=False)
        except requests.exceptions.SSLError as error:
            raise RunError(f"{shown(url)}: its certificate cannot be trusted: {reason(error)}") from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise AgainError(reason(error)) from None
        except requests.RequestException as error:
            raise InputError(f"{shown(url)} cannot be asked: {reason(error)}") from None
        if answer.status_code not in _MOVED:
            break
        answer.close()
        place = urljoin(seen[-1], answer.headers.get("Location", ""))
        if place in seen or len(seen) > patience.redirects:
            how = "in a circle" if place in seen else f"elsewhere more than {patience.redirects} times"
            raise RunError(f"{shown(url)}: the server leads {how}, last to {shown(place)}")
        try:
            seen.append(checked_url(place, trusted=trusted))
        except InputError as error:
            raise RunError(f"{shown(url)}: the server leads to another place: {error}") from None
    code = answer.status_code
    if code in (200, 206, 416):
        return answer
    answer.close()
    if code in _AGAIN:
        raise AgainError(f"the server answers {code} {answer.reason}")
    if code in (404, 410):
        raise NotThereError(f"{shown(url)}: the server has no such file ({code})")
    raise RunError(f"{shown(url)}: the server answers {code} {answer.reason}")


def repeated(
    attempt: Callable[[], T],
    *,
    patience: Patience,
    name: str,
    have: Callable[[], int] = lambda: 0,
    sleep: Callable[[float], None] = _sleep,
) -> T:
    """Return what an attempt returns; after an AgainError wait and try again, longer each time.

    `name` stands in the log; `have` tells how much has come, and the patience is renewed when it grows; `sleep` waits.
    """
    import tenacity  # noqa: PLC0415  only downloads wait for it

    failed, before = 0, have()

    def enough(_: tenacity.RetryCallState) -> bool:
        nonlocal failed, before
        now = have()
        failed = 1 if now > before else failed + 1
        before = now
        return failed >= patience.attempts

    chance = tenacity.wait_random(0, patience.pause)

    def pause(state: tenacity.RetryCallState) -> float:
        error = state.outcome and state.outcome.exception()
        told = error.wait if isinstance(error, AgainError) else 0.0
        return max(min(patience.pause * 2.0 ** (failed - 1), patience.longest), told) + chance(state)

    def tell(state: tenacity.RetryCallState) -> None:
        why, action = state.outcome and state.outcome.exception(), state.next_action
        logger.warning(f"{name}: {why}; next attempt in {action.sleep if action else 0:.0f} s")

    retry = tenacity.retry_if_exception_type(AgainError)
    again = tenacity.Retrying(stop=enough, wait=pause, retry=retry, before_sleep=tell, sleep=sleep, reraise=True)
    return again(attempt)


def reason(error: Exception) -> str:
    """Return why the network failed: the innermost of the errors that libraries wrap around each other."""
    import requests  # noqa: PLC0415  only downloads need it

    if isinstance(error, requests.Timeout):
        return "the server does not answer in time"
    inner: Any = error
    while isinstance(below := _below(inner), Exception):
        inner = below
    text = getattr(inner, "strerror", None) or str(inner)
    return re.sub(r"\w+\([^()]*\): |<[^>]*>: ", "", text).strip()


def _below(error: Any) -> Any:
    found = getattr(error, "reason", None)
    if isinstance(found, Exception):
        return found
    return next((one for one in error.args if isinstance(one, Exception)), None)

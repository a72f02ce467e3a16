"""CoinGecko v3: which coins there are and how they rank. The dialect only; snapshots.py keeps what it says.

    source = CoinGecko()                    no key: https://api.coingecko.com, or COINGECKO_BASE_URL
    listing = source.markets(250)
    listing.rows[0]["market_cap"]           as it was sent; any number may be null (None)
    listing.taken                           ms UTC, when the last of them had come: nobody could know them earlier

    plan      host                    header                 key, if not given as an argument
    keyless   api.coingecko.com       -                      -
    demo      api.coingecko.com       x-cg-demo-api-key      COINGECKO_API_KEY
    pro       pro-api.coingecko.com   x-cg-pro-api-key       COINGECKO_PRO_API_KEY

All endpoints share one rate limit. It says no more of the past than what was stored: a rank of last year is not to be
had here, so keep a snapshot a day (`qlib universe snapshot`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from qlib.collect.http import Http, Limit, Reply, TooManyError
from qlib.collect.server import AgainError, Patience
from qlib.collect.source import VenueError
from qlib.errors import InputError, did_you_mean
from qlib.log import get_module_logger

logger = get_module_logger("coingecko")

T = TypeVar("T")
PREFIX: Final = "/api/v3"
PAGE: Final = 250  # coins, the most that a page holds
PATIENCE: Final = Patience(attempts=6, pause=2.0, longest=60.0, connect=10.0, read=60.0)
_TOO_MANY_WAIT: Final = 60.0  # s, where the server does not say how long


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan means: where, under which header the key goes, how often one may ask."""

    host: str
    header: str
    limit: Limit


PLANS: Final = {
    "keyless": Plan("https://api.coingecko.com", "", Limit(10, 60.0)),
    "demo": Plan("https://api.coingecko.com", "x-cg-demo-api-key", Limit(30, 60.0)),
    "pro": Plan("https://pro-api.coingecko.com", "x-cg-pro-api-key", Limit(250, 60.0)),
}
_CODES: Final = {
    10002: "an API key is missing",
    10005: "the plan does not include this",
    10010: "this is a pro key: plan='pro' sends it to where it belongs",
    10011: "this is a demo key: plan='demo' sends it to where it belongs",
    10012: "the plan reaches back 365 days and no further",
}


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows as they came, best-ranked first, each coin once; and when the last of them had come (ms UTC)."""

    rows: list[dict[str, Any]]
    taken: int
    source: str


class CoinGecko:
    """The service, asked with patience.

    Parameters
    ----------
    base_url
        Where it is, with or without /api/v3. By default COINGECKO_BASE_URL, then the host of the plan.
    plan
        "keyless", "demo" or "pro". By default the one whose key is found, pro first.
    api_key
        The key of the plan; by default from the environment. It is sent to CoinGecko (or this machine) only, and
        stands in no log and no error.
    patience
        How long to wait and how often to ask again.
    speed
        Share of the rate limit that is used; None does not wait, which only a server on this machine will like.
    clock
        The time in ms UTC, for tests.
    """

    name = "coingecko"

    def __init__(
        self,
        base_url: str | None = None,
        *,
        plan: str | None = None,
        api_key: str | None = None,
        patience: Patience = PATIENCE,
        speed: float | None = 1.0,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        if plan is not None and plan not in PLANS:
            raise InputError(f"plan: received {plan!r}; {', '.join(PLANS)} are allowed{did_you_mean(plan, PLANS)}")
        plan, key = _plan_and_key(plan, api_key)
        self.plan = PLANS[plan]
        url = (base_url or os.environ.get("COINGECKO_BASE_URL") or self.plan.host).rstrip("/")
        url = url.removesuffix(PREFIX)
        self._http = Http(url, patience=patience, speed=speed, secrets=[key])
        if key and _may_see_keys(url):
            self._http.headers = _Header(self.plan.header, key)
        elif key:
            logger.warning(f"an API key is given, but not sent to {self._http.base_url}: it is not CoinGecko")
        self._clock = clock

    def __repr__(self) -> str:
        return f"CoinGecko({self._http.base_url!r})"

    @property
    def requests(self) -> int:
        """How many requests were sent so far."""
        return self._http.requests

    def close(self) -> None:
        """Close connections and wake who waits."""
        self._http.close()

    def markets(self, top: int = PAGE, currency: str = "usd") -> Listing:
        """Return the `top` coins by market cap, with price, market cap and 24 h volume in `currency`.

        A coin that moves from one page to the next while one asks comes twice, and counts once. A page that is too
        short, though others follow, is asked for again.

        Raises
        ------
        VenueError
            The service refuses, or what it answers is no list of coins.
        """
        if top < 1:
            raise InputError(f"top: received {top}; 1 or more is allowed")
        found: dict[str, dict[str, Any]] = {}
        source = f"/coins/markets?vs_currency={currency}&order=market_cap_desc&per_page={PAGE}"
        page, short = 1, 0
        while len(found) < top or short:
            rows = self._page(page, currency)
            if rows and short:
                again = self._page(short, currency)
                if len(again) < PAGE:
                    logger.warning(
                        f"page {short} of /coins/markets holds {len(again)} coins, twice, though others follow"
                    )
                for row in again:
                    found.setdefault(row["id"], row)
            if not rows:
                break
            if all(row["id"] in found for row in rows):
                raise VenueError(f"{self._http.base_url}: page {page} of /coins/markets brings no coin that is new")
            for row in rows:
                found.setdefault(row["id"], row)
            short = page if len(rows) < PAGE else 0
            page += 1
        taken = self._clock()
        ranked = sorted(found.values(), key=lambda row: -(row.get("market_cap") or 0.0))
        if not ranked:
            raise VenueError(f"{self._http.base_url}: /coins/markets names no coin")
        return Listing(ranked[:top], taken, source)

    def coins(self, *, inactive: bool = False) -> list[dict[str, Any]]:
        """Return id, symbol and name of every coin that the service knows; with `inactive`, of those it gave up."""
        return self._get("/coins/list", {"status": "inactive" if inactive else "active"}, _coins)

    def chart(self, coin: str, days: int | str = 365, currency: str = "usd") -> dict[str, list[list[float]]]:
        """Return prices, market_caps and total_volumes of a coin, as they came: [[ms, value], ...], oldest first.

        The last point is that of now. Volumes are those of the last 24 hours. Without a pro key, 365 days at most.
        """
        params = {"vs_currency": currency, "days": str(days), "interval": "daily"}
        return self._get(f"/coins/{coin}/market_chart", params, _chart)

    def ping(self) -> str:
        """Return what the service says when it is there."""
        return self._get("/ping", {}, lambda payload: str(payload["gecko_says"]))

    def _page(self, page: int, currency: str) -> list[dict[str, Any]]:
        params = {"vs_currency": currency, "order": "market_cap_desc", "per_page": str(PAGE), "page": str(page)}
        return self._get("/coins/markets", params, _coins)

    def _get(self, path: str, params: Mapping[str, str], read: Callable[[Any], T]) -> T:
        def understood(reply: Reply) -> T:
            payload = judged(reply)
            try:
                return read(payload)
            except (KeyError, TypeError, ValueError) as error:
                raise VenueError(f"{path}: the answer cannot be understood ({error}): {reply.text!r}") from None

        return self._http.get(PREFIX + path, params, limit=self.plan.limit, shared="all", read=understood)


def judged(reply: Reply) -> Any:
    """Return the JSON of an answer.

    Raises
    ------
    AgainError
        The service is busy or asked too often (TooManyError).
    VenueError
        It refuses: the key, the plan, the coin or the question is wrong.
    """
    payload = reply.payload
    code, message = _error_of(payload)
    if reply.status == 200 and not code:
        return payload
    said = f"CoinGecko answers {reply.status}{f', code {code}' if code else ''}: {message or 'no message'}"
    if reply.status == 429 or code == 429:
        raise TooManyError(said, reply.wait or _TOO_MANY_WAIT)
    if reply.status in (408, 425) or reply.status >= 500 or code >= 500 and code < 600:
        raise AgainError(said, reply.wait)
    hint = f" ({_CODES[code]})" if code in _CODES else ""
    raise VenueError(said + hint)


def _error_of(payload: Any) -> tuple[int, str]:
    """Return code and message of an answer that is an error; (0, "") for any other."""
    if not isinstance(payload, dict):
        return 0, ""
    found = payload.get("error", payload)
    if isinstance(found, str):
        return (1, found) if "error" in payload else (0, "")
    status = found.get("status") if isinstance(found, dict) else None
    if not isinstance(status, dict):
        return 0, ""
    code = status.get("error_code")
    return (code if isinstance(code, int) else 1), str(status.get("error_message") or "")


def _coins(payload: Any) -> list[dict[str, Any]]:
    if not isinstance(payload, list):
        raise TypeError("a list of coins is expected")
    for row in payload:
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("id", "symbol", "name")):
            raise ValueError(f"a coin has the texts id, symbol and name; received {str(row)[:80]}")
    return payload


def _chart(payload: Any) -> dict[str, list[list[float]]]:
    return {name: payload[name] for name in ("prices", "market_caps", "total_volumes")}


class _Header:
    """The header with the key; what it holds is never shown."""

    def __init__(self, name: str, key: str) -> None:
        self._table = {name: key}

    def __repr__(self) -> str:
        return "_Header(***)"

    def __call__(self, path_and_query: str) -> dict[str, str]:
        return self._table


def _plan_and_key(plan: str | None, api_key: str | None) -> tuple[str, str]:
    known = {"demo": os.environ.get("COINGECKO_API_KEY", ""), "pro": os.environ.get("COINGECKO_PRO_API_KEY", "")}
    if plan is None:
        plan = "demo" if api_key else "pro" if known["pro"] else "demo" if known["demo"] else "keyless"
    if plan == "keyless":
        return plan, ""
    key = api_key or known[plan]
    if not key:
        name = {"demo": "COINGECKO_API_KEY", "pro": "COINGECKO_PRO_API_KEY"}[plan]
        raise InputError(
            f"plan: {plan} needs a key, as api_key or in the environment variable {name}; keyless needs none"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError("api_key: received a text that no key can be (spaces, line breaks or letters beyond ASCII)")
    return plan, key


def _may_see_keys(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "coingecko.com" or host.endswith(".coingecko.com") or host in ("localhost", "127.0.0.1", "::1")

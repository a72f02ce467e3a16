"""One question in, one answer out, without a network: which dialect speaks, what the limit allows, what goes wrong.

    desk = Desk(market, coins, limits, page_limits={}, reach={})
    desk.reply(Question("GET", "/api/v5/public/time", {}), now)         Reply(200, "0", b'{"code":"0",...}')

Limits are counted before anything else is looked at, as at the venue: a question that is wrong counts too.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from qlib.crypto.venues.fake import coingecko, files, rest
from qlib.crypto.venues.fake.bars import number, size
from qlib.crypto.venues.fake.coingecko import CoinRefusal, Coins, status_refused
from qlib.crypto.venues.fake.faults import ON_ROWS, Fault, Faults
from qlib.crypto.venues.fake.limits import Limits
from qlib.crypto.venues.fake.market import Market
from qlib.crypto.venues.fake.rest import ENDPOINTS
from qlib.crypto.venues.fake.view import Refusal, View, dumps

_EDGE: Final = (
    "<html>\n<head><title>{0}</title></head>\n<body>\n<center><h1>{0}</h1></center>\n<hr>\n</body>\n</html>\n"
)
_BROKEN: Final = ((500, "50026"), (502, "50026"), (503, "50001"), (504, "50004"))
_WORDS: Final = {
    "50001": "Service temporarily unavailable. Please try again later.",
    "50004": "API endpoint request timeout. This does not mean that the request was successful or failed.",
    "50011": "Rate limit reached. Please refer to API documentation and throttle requests accordingly.",
    "50013": "Systems are busy. Please try again later.",
    "50026": "System error. Please try again later.",
    "50040": "Too frequent operations. Please try again later.",
    "51001": "Instrument ID, Instrument ID code, or Spread ID doesn't exist.",
}
_SLOW_DOWN: Final = "You've exceeded the Rate Limit. Please wait, or use an API key for higher limits."
COIN_CALLS: Final = {"": 30, "demo": 100}  # per minute, without and with a demo key


@dataclass(frozen=True, slots=True)
class Question:
    """What came over the line."""

    method: str
    path: str
    params: dict[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back; `code` is the venue's code ("" where the dialect has none)."""

    status: int
    code: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass(slots=True)
class Desk:
    """Both dialects behind one counter."""

    market: Market
    coins: Coins
    limits: Limits
    page_limits: dict[str, int]
    reach: dict[str, int | None]
    seed: int = 0
    url: str = ""

    def view(self, now: int) -> View:
        """The market at `now` (ms)."""
        return View(self.market, now, self.page_limits, self.reach, self.url, self.seed)

    def reply(self, question: Question, now: int, fault: Fault | None = None, faults: Faults | None = None) -> Reply:
        """Answer one question as the venue would at `now` (ms), hit by `fault`, which came from `faults`."""
        kind = fault.kind if fault is not None else ""
        if kind in {"html", "limit_html"}:
            title = "502 Bad Gateway" if kind == "html" else "429 Too Many Requests"
            return Reply(int(title[:3]), "", _EDGE.format(title).encode(), {"Content-Type": "text/html"})
        if fault is not None and kind == "skew":
            now += fault.skew
        if question.path.startswith(coingecko.PREFIX + "/"):
            return self._coins(question, now, fault, faults)
        if question.path.startswith(files.PREFIX):
            return self._file(question, now, kind)
        try:
            rows = self._rows(question, now, fault, faults)
        except Refusal as refusal:
            body = dumps({"code": refusal.code, "data": [], "msg": refusal.words})
            return Reply(refusal.status, refusal.code, body.encode())
        return Reply(200, "0", f'{{"code":"0","data":[{",".join(rows)}],"msg":""}}'.encode())

    def _file(self, question: Question, now: int, kind: str) -> Reply:
        """A file of the archive, or the rest of it from `Range`, if it is still the one that `If-Range` names."""
        if kind in {"5xx", "limit", "busy", "code"}:
            return Reply(503, "", b"")
        found = files.content(self.view(now), question.path)
        if found is None:
            return Reply(404, "", b"")
        mark = f'"{zlib.crc32(found):08x}"'
        headers = {"Content-Type": "application/zip", "ETag": mark, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-", question.headers.get("Range", ""))
        if wanted is None or question.headers.get("If-Range", mark) != mark:
            return Reply(200, "", found, headers)
        first = int(wanted[1])
        if first >= len(found):
            return Reply(416, "", b"", {"Content-Range": f"bytes */{len(found)}"})
        return Reply(
            206, "", found[first:], headers | {"Content-Range": f"bytes {first}-{len(found) - 1}/{len(found)}"}
        )

    def _rows(self, question: Question, now: int, fault: Fault | None, faults: Faults | None) -> list[str]:
        path, params = question.path, question.params
        endpoint = ENDPOINTS.get(path)
        if endpoint is None:
            raise Refusal("404", "Not Found", 404)
        if question.method != "GET":
            raise Refusal("405", "Method Not Allowed", 405)
        key = (path, *(params.get(name, "") for name in endpoint.per))
        if not self.limits.allows(key, endpoint.requests, endpoint.seconds, time.monotonic()):
            raise Refusal("50011", _WORDS["50011"], 429)
        if fault is not None and faults is not None:
            self._refuse(fault, faults, params, now)
        rows = rest.answer(path, params, self.view(now))
        if fault is None or faults is None or fault.kind not in ON_ROWS:
            return rows
        if fault.kind == "revised":
            return revised(params, rows, now) if "candles" in path else rows
        return faults.disturb(fault.kind, rows)

    def _refuse(self, fault: Fault, faults: Faults, params: dict[str, str], now: int) -> None:
        """The faults that are answers with an error code."""
        if fault.kind == "5xx":
            status, code = _BROKEN[int(faults.choice("0123"))]
            raise Refusal(code, _WORDS[code], status)
        if fault.kind == "code":
            code = fault.code or faults.choice(("50011", "50013", "50026"))
            raise Refusal(code, _WORDS.get(code, "Error"))
        if fault.kind in {"limit", "busy"}:
            code = "50011" if fault.kind == "limit" else "50013"
            raise Refusal(code, _WORDS[code], 429)
        if fault.kind == "delist" and params.get("instId") in self.market.instruments:
            self.market.gone[params["instId"]] = now

    def _coins(self, question: Question, now: int, fault: Fault | None, faults: Faults | None) -> Reply:
        try:
            answer = self._of_coins(question, now, fault, faults)
        except CoinRefusal as refusal:
            reply = Reply(refusal.status, "", json.dumps(refusal.body).encode())
            if refusal.status == 429:
                reply.headers["Retry-After"] = "60"
            return reply
        if isinstance(answer, list):
            if fault is not None and faults is not None and fault.kind in {"duplicate", "disorder", "short"}:
                answer = faults.disturb(fault.kind, answer)
            if fault is not None and fault.kind == "null":
                answer = [_unknown(row) for row in answer]
            answer = f"[{','.join(answer)}]"
        return Reply(200, "", answer.encode())

    def _of_coins(self, question: Question, now: int, fault: Fault | None, faults: Faults | None) -> list[str] | str:
        keys = {name: question.headers.get(f"x-cg-{name}-api-key") for name in ("demo", "pro")}
        keys = {name: key or question.params.get(f"x_cg_{name}_api_key") for name, key in keys.items()}
        plan = "demo" if keys["demo"] else ""
        limited = not self.limits.allows(("coingecko", plan), COIN_CALLS[plan], 60.0, time.monotonic())
        kind = fault.kind if fault is not None else ""
        if limited or kind in {"limit", "busy"}:
            raise status_refused(429, 429, _SLOW_DOWN)
        if kind == "5xx" and faults is not None:
            status = _BROKEN[int(faults.choice("0123"))][0]
            raise status_refused(status, status, "Service unavailable")
        if kind == "code":
            raise status_refused(200, 500, "Internal error")
        if keys["pro"]:
            words = "If you are using Pro API key, please change your root URL to the one of the Pro API."
            raise status_refused(400, 10010, words)
        if question.method != "GET":
            raise status_refused(405, 405, "Method not allowed")
        path = question.path.removeprefix(coingecko.PREFIX)
        return self.coins.answer(path, question.params, now, self.reach.get("coins", coingecko.REACH))


def _unknown(line: str) -> str:
    """A row of which the service knows the names only."""
    row = json.loads(line)
    return json.dumps({key: value if isinstance(value, str) else None for key, value in row.items()})


def revised(params: Mapping[str, str], rows: list[str], now: int) -> list[str]:
    """Change the close of the bar that finished last; older bars are not revised by any venue."""
    unit = size(params.get("bar") or "1m")
    for place, line in enumerate(rows[:2]):
        row = json.loads(line)
        if row[-1] == "1":
            end = unit.end(int(row[0]))
            if not end <= now < unit.end(end):
                return rows
            row[4] = number(float(row[4]) * 1.0001)
            row[2] = max(row[2], row[4], key=float)
            return [*rows[:place], dumps(row), *rows[place + 1 :]]
    return rows

"""The OKX v5 WebSocket dialect, without a socket: messages in, messages out, pushes as time passes.

    line = Line("business", "a4d3ae55", view)
    line.receive('{"op":"subscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"}]}', now)   the ack and more
    line.advance(now)                                       what is pushed between the last moment and this one
    line.receive("ping", now)                               ["pong"]

Candles, mark-price and index candles and trades-all live on /business, the rest on /public, as at the venue. A
finished bar is pushed once with confirm "1", the forming one whenever it has changed. A book begins with a snapshot,
and every update names the state that it changes (prevSeqId) and the one that it makes (seqId).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from qlib.crypto.venues.fake import quotes
from qlib.crypto.venues.fake.bars import CANDLES, MARKED, PRICES, Bars, number, text
from qlib.crypto.venues.fake.market import TYPES, candle_columns
from qlib.crypto.venues.fake.rest import funding_now, interest_now
from qlib.crypto.venues.fake.view import View, dumps

PING: Final = "ping"
PONG: Final = "pong"
REQUESTS: Final = 480  # subscribe, unsubscribe and login per hour and connection
LARGEST: Final = 64 << 10
SECOND: Final = 1000  # ms between two pushes of a forming bar
HEARTBEAT: Final = 60_000  # ms without a change until a book says that it lives
_DEPTH: Final = {"books": 400, "books5": 5, "bbo-tbt": 1}
_VIP: Final = frozenset({"books-l2-tbt", "books50-l2-tbt"})
_BARS: Final = {"mark-price-candle": "mark", "index-candle": "index", "candle": "candles"}

Views = Callable[[int], View]


class Push(NamedTuple):
    """A message to the client; `channel` is empty for answers, which no fault of a push may touch."""

    text: str
    channel: str = ""
    name: str = ""


@dataclass(slots=True)
class Subscription:
    """One channel with its argument; what has been sent already is remembered here."""

    arg: dict[str, str]
    last: int  # ms, up to which everything was pushed
    told: str = ""  # the newest row that was pushed, for channels that push on change
    book: quotes.Book | None = None
    spoke: int = 0


@dataclass(slots=True)
class Line:
    """One connection, on "public" or "business" (anything else refuses every channel)."""

    url: str
    conn_id: str
    views: Views
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    _requests: list[int] = field(default_factory=list)

    # --- what the client says

    def receive(self, message: str, now: int) -> list[Push]:
        """Answer one message."""
        if message == PING:
            return [Push(PONG)]
        try:
            asked: Any = json.loads(message) if len(message) <= LARGEST else None
            operation, args, mark = asked["op"], asked.get("args", []), asked.get("id")
            if not isinstance(args, list) or not all(isinstance(arg, dict) for arg in args):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError):
            return [self._error("60012", f"Invalid request: {message[:200]}")]
        self._requests = [at for at in self._requests if at > now - 3_600_000] + [now]
        if len(self._requests) > REQUESTS:
            return [self._error("60014", "Requests too frequent", mark)]
        if operation == "login":
            return [self._error("60009", "Login failed.", mark)]
        if operation not in {"subscribe", "unsubscribe"}:
            return [self._error("60012", f"Invalid request: {message[:200]}", mark)]
        if not args:
            return [self._error("60013", "Invalid args", mark)]
        return [push for arg in args for push in self._one(operation, arg, mark, now)]

    def _error(self, code: str, words: str, mark: str | None = None) -> Push:
        told = {"event": "error", "code": code, "msg": words, "connId": self.conn_id}
        return Push(dumps(({"id": mark} if mark else {}) | told))

    def _one(self, operation: str, arg: dict[str, Any], mark: str | None, now: int) -> Iterator[Push]:
        refused = self._refusal(arg, now)
        if refused is not None:
            yield self._error(*refused, mark)
            return
        key = _key(arg)
        ack = {"event": operation, "arg": arg, "connId": self.conn_id}
        yield Push(dumps(({"id": mark} if mark else {}) | ack))
        if operation == "unsubscribe":
            self.subscriptions.pop(key, None)
        elif key not in self.subscriptions:
            self.subscriptions[key] = Subscription(arg, now)
            yield from self._pushes(self.subscriptions[key], now, first=True)

    def _refusal(self, arg: dict[str, Any], now: int) -> tuple[str, str] | None:
        channel = arg.get("channel", "")
        wrong = (
            "60018",
            f"Wrong URL or {_said(arg)} doesn't exist. Please use the correct URL, channel and parameters.",
        )
        if not isinstance(channel, str) or not channel:
            return "60012", "Invalid request: no channel"
        kind, bar = _split(channel)
        if kind and bar not in (CANDLES | {"5D", "5Dutc"} if kind == "candles" else MARKED):
            return wrong
        if not kind and channel not in _ROWS and channel not in _DEPTH and channel not in {"trades", "trades-all"}:
            return ("64003", "You don't have access to this channel.") if channel in _VIP else wrong
        business = bool(kind) or channel == "trades-all"
        if business and self.url == "public":
            return "64001", "This channel has been migrated to the business URL. Please subscribe using the new URL."
        if not business and self.url == "business":
            return "64002", "This channel is not supported by the business URL. Please use the public URL."
        if self.url not in {"public", "business"}:
            return wrong
        view = self.views(now)
        if channel in {"instruments", "status"}:
            return None if channel == "status" or arg.get("instType") in TYPES else wrong
        name = arg.get("instId", "")
        if not isinstance(name, str):
            return wrong
        if kind == "index" or channel == "index-tickers":
            return None if name in view.market.indices() else wrong
        return None if name in view.market.instruments and view.market.traded(name, now) else wrong

    # --- what the venue says by itself

    def advance(self, now: int) -> list[Push]:
        """Everything that is to be pushed up to `now` (ms)."""
        pushes: list[Push] = []
        for subscription in list(self.subscriptions.values()):
            pushes += self._pushes(subscription, now, first=False)
            subscription.last = max(subscription.last, now)
        return pushes

    def _pushes(self, subscription: Subscription, now: int, *, first: bool) -> list[Push]:
        arg = subscription.arg
        channel, name = arg["channel"], arg.get("instId", "")
        view = self.views(now)
        if name in view.market.instruments and not view.market.traded(name, now):
            return []
        kind, bar = _split(channel)
        if kind:
            datas = _bars(subscription, view, kind, bar, first=first)
        elif channel in _DEPTH:
            return [Push(dumps({"arg": arg} | told), channel, name) for told in _book(subscription, view, first=first)]
        elif channel in {"trades", "trades-all"}:
            datas = [] if first else _trades(subscription, view, together=channel == "trades")
        else:
            datas = _changed(subscription, _ROWS[channel](view, arg))
        return [Push(f'{{"arg":{dumps(arg)},"data":{data}}}', channel, name) for data in datas]


def _key(arg: dict[str, Any]) -> str:
    return json.dumps(arg, sort_keys=True)


def _said(arg: dict[str, Any]) -> str:
    return ",".join(f"{key}:{value}" for key, value in arg.items())


def _split(channel: str) -> tuple[str, str]:
    """("candles", "1m") of "candle1m"; ("", "") of a channel that is none of bars."""
    for prefix, kind in _BARS.items():
        if channel.startswith(prefix):
            return kind, channel.removeprefix(prefix)
    return "", ""


def _bars(subscription: Subscription, view: View, kind: str, bar: str, *, first: bool) -> list[str]:
    """Data of the pushes of one series of bars: the finished ones since the last moment, then the forming one."""
    name = subscription.arg["instId"]
    bars = view.market.bars(kind, name, bar)
    if bars is None:
        return []
    last = bars.final(view.now)
    since = last if first else bars.final(subscription.last)
    rows = _rows(view, kind, name, bars, slice(since, last))
    forming = bars.forming(view.now)
    if forming:
        newest = _rows(view, kind, name, bars, slice(last, last + 1), forming=True)[0]
        if first or rows or (newest != subscription.told and view.now - subscription.spoke >= SECOND):
            rows.append(newest)
            subscription.told, subscription.spoke = newest, view.now
    return [f"[{row}]" for row in rows]


def _rows(view: View, kind: str, name: str, bars: Bars, rows: slice, *, forming: bool = False) -> list[str]:
    columns = {key: values[rows] for key, values in bars.columns.items()}
    if forming:
        columns = {key: np.array([value]) for key, value in bars.so_far(view.now).items()}
    told = candle_columns(view.market, name, columns) if kind == "candles" else [text(columns[key]) for key in PRICES]
    ts = bars.ts[rows]
    confirm = ["0" if forming else "1"] * len(ts)
    return [dumps(list(row)) for row in zip(text(ts), *told, confirm, strict=True)]


def _trades(subscription: Subscription, view: View, *, together: bool) -> list[str]:
    """One push per trade; `together` joins what one taker order did at one price, as the channel "trades" does."""
    name = subscription.arg["instId"]
    table = view.market.trades.get(name)
    if table is None:
        return []
    rows = slice(*(int(table["ts"].searchsorted(moment, "right")) for moment in (subscription.last, view.now)))
    told: list[dict[str, Any]] = []
    for row in quotes.trade_rows(view, name, table, rows):
        same = told and all(told[-1][key] == row[key] for key in ("ts", "px", "side"))
        if together and same:
            row["sz"] = number(round(float(told[-1]["sz"]) + float(row["sz"]), 10))
            told[-1] |= row | {"count": str(int(told[-1]["count"]) + 1), "seqId": int(row["tradeId"])}
        else:
            extra: dict[str, Any] = {"source": "0", "seqId": int(row["tradeId"])}
            told.append(row | ({"count": "1"} | extra if together else extra))
    return [dumps([row]) for row in told]


def _changed(subscription: Subscription, rows: list[dict[str, Any]]) -> list[str]:
    """One push with all rows if anything but the time is another than in the last push."""
    if not rows:
        return []
    bare = dumps([{key: value for key, value in row.items() if key != "ts"} for row in rows])
    if bare == subscription.told:
        return []
    subscription.told = bare
    return [dumps(rows)]


def _book(subscription: Subscription, view: View, *, first: bool) -> list[dict[str, Any]]:
    channel, name = subscription.arg["channel"], subscription.arg["instId"]
    old, new = subscription.book, quotes.book(view, name, _DEPTH[channel])
    if old is not None and new.seq == old.seq:
        if channel != "books" or view.now - subscription.spoke < HEARTBEAT:
            return []
        subscription.spoke = view.now
        beat = {"asks": [], "bids": [], "ts": str(view.now), "checksum": 0, "prevSeqId": old.seq, "seqId": old.seq}
        return [{"action": "update", "data": [beat]}]
    if channel != "books":
        subscription.book = new
        return [{"data": [{"asks": new.asks, "bids": new.bids, "ts": str(new.ts), "seqId": new.seq, "instId": name}]}]
    asks, bids = (new.asks, new.bids) if old is None else quotes.changes(old, new)
    if old is not None and not asks and not bids:
        return []
    subscription.book, subscription.spoke = new, view.now
    state = {"asks": asks, "bids": bids, "ts": str(new.ts), "checksum": 0}
    state |= {"prevSeqId": -1 if old is None else old.seq, "seqId": new.seq}
    return [{"action": "snapshot" if old is None else "update", "data": [state]}]


def _row_of_interest(view: View, arg: dict[str, str]) -> list[dict[str, Any]]:
    row = interest_now(view, arg["instId"])
    return [] if row is None else [dict(row)]


def _row_of_funding(view: View, arg: dict[str, str]) -> list[dict[str, Any]]:
    return [dict(funding_now(view, arg["instId"]))] if arg["instId"] in view.market.funding else []


def _rows_of_instruments(view: View, arg: dict[str, str]) -> list[dict[str, Any]]:
    market = view.market
    return [
        market.row(name, view.now)
        for name, row in market.instruments.items()
        if row["instType"] == arg["instType"] and market.listed(name, view.now)
    ]


_ROWS: Final[dict[str, Callable[[View, dict[str, str]], list[dict[str, Any]]]]] = {
    "tickers": lambda view, arg: [dict(quotes.ticker(view, arg["instId"]))],
    "index-tickers": lambda view, arg: [dict(quotes.index_ticker(view, arg["instId"]))],
    "mark-price": lambda view, arg: [dict(quotes.mark_price(view, arg["instId"]))],
    "price-limit": lambda view, arg: [quotes.price_limit(view, arg["instId"])],
    "funding-rate": _row_of_funding,
    "open-interest": _row_of_interest,
    "instruments": _rows_of_instruments,
    "status": lambda view, arg: [],
}

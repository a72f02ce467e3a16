"""Whatever nonsense is asked, the fake venue answers in its dialect and never fails by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.crypto.venues.fake import FakeVenue, Faults, random_coins, random_market
from qlib.crypto.venues.fake.bars import NAMES
from qlib.crypto.venues.fake.desk import Question
from qlib.crypto.venues.fake.faults import REQUESTS
from qlib.crypto.venues.fake.rest import ENDPOINTS
from qlib.crypto.venues.fake.stream import Line

MARKET = random_market(2, 2, 400, "1H", seed=8, trades=50)
VENUE = FakeVenue(**MARKET, **random_coins(MARKET), limits=False)
NOW = MARKET["now"]
NAMED = ("BTC-USDT", "BTC-USDT-SWAP", "ETH-USD-SWAP", "ETH-USD", "NONE", "ANY", "", "bitcoin")
MOMENTS = st.integers(NOW - 10**9, NOW + 10**9) | st.sampled_from([0, 1, 10**30, -5])
VALUES = (
    st.sampled_from(NAMED)
    | MOMENTS.map(str)
    | st.sampled_from([*NAMES, "SWAP", "SPOT", "1", "2", "cross", "usd", "daily", "7"])
    | st.text(max_size=5)
)
WORDS = (
    "instId",
    "bar",
    "after",
    "before",
    "limit",
    "instType",
    "type",
    "sz",
    "period",
    "begin",
    "end",
    "tdMode",
    "module",
    "dateAggrType",
    "instIdList",
    "instFamilyList",
    "instFamily",
    "quoteCcy",
)
COIN_PATHS = (
    "ping",
    "coins/list",
    "coins/markets",
    "global",
    "coins/bitcoin/market_chart",
    "coins/bitcoin/ohlc",
    "coins/terra-luna/market_chart/range",
    "coins/bitcoin/history",
    "coins//x",
    "",
)
COIN_WORDS = (
    "vs_currency",
    "days",
    "page",
    "per_page",
    "order",
    "from",
    "to",
    "date",
    "interval",
    "ids",
    "sparkline",
    "price_change_percentage",
    "status",
)


@settings(max_examples=300)
@given(
    st.sampled_from([*ENDPOINTS, "/api/v5/", "/", "/cdn/okex/trades/daily/BTC-USDT-trades-2026-99-99.zip"]),
    st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=7),
    st.integers(NOW - 3 * 10**9, NOW + 10**10),
    st.none() | st.sampled_from(REQUESTS),
)
def test_any_question_gets_an_envelope(path: str, params: dict[str, str], now: int, kind: str | None):
    faults = None if kind in {None, "delist"} else Faults({kind: 1.0})
    fault = None if faults is None else faults.draw(path, params)
    reply = VENUE.desk.reply(Question("GET", path, params), now, fault, faults)
    if reply.headers["Content-Type"] == "application/json" and reply.body:
        told = json.loads(reply.body)
        assert set(told) == {"code", "data", "msg"}
        assert isinstance(told["data"], list)
        assert told["code"] == "0" or told["data"] == []


@settings(max_examples=200)
@given(
    st.sampled_from(COIN_PATHS),
    st.dictionaries(st.sampled_from(COIN_WORDS), VALUES, max_size=6),
    st.integers(NOW - 3 * 10**9, NOW + 10**10),
    st.booleans(),
)
def test_any_question_about_coins_gets_json(path: str, params: dict[str, str], now: int, endless: bool):
    VENUE.reach["coins"] = None if endless else 365 * 86_400_000
    reply = VENUE.desk.reply(Question("GET", f"/api/v3/{path}", params), now)
    assert isinstance(json.loads(reply.body), dict | list)
    assert reply.status in {200, 400, 401, 404, 422}


ARGS = st.dictionaries(
    st.sampled_from(["channel", "instId", "instType"]),
    VALUES
    | st.lists(VALUES, max_size=1)
    | st.none()
    | st.sampled_from(["candle1m", "trades", "books", "tickers", "instruments", "index-candle1H"]),
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["subscribe", "unsubscribe", "login", "x"]),
        "args": st.lists(ARGS, max_size=3) | st.none(),
        "id": VALUES,
    },
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200)
@given(st.sampled_from(["public", "business", "private"]), st.lists(MESSAGES | ANY_JSON, max_size=6), st.text())
def test_any_message_gets_an_ack_or_an_error(url: str, messages: list[Any], noise: str):
    line = Line(url, "0", VENUE.desk.view)
    for place, message in enumerate([*map(json.dumps, messages), noise]):
        for push in [*line.receive(message, NOW - 10**7 + place), *line.advance(NOW - 10**6 * (9 - place))]:
            told = push.text if push.text == "pong" else json.loads(push.text)
            assert told == "pong" or "event" in told or "data" in told

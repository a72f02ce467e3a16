"""The fake venue's WebSocket: acks, errors, pushes when time passes, books that add up, silence and broken lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

import aiohttp

from qlib.crypto.venues.fake import FakeVenue, Fault, Faults, random_market

MINUTE = 60_000
MARKET = random_market(2, 2, 600, "1m", seed=11, trades=60)
FRAME = MARKET["candles"]["BTC-USDT-SWAP", "1m"]
NOW = int(FRAME["ts"].iloc[-30]) + 20_000


class Client:
    """A socket that tells what came as parsed messages."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def ask(self, operation: str, *args: dict[str, str], **more: str) -> None:
        await self.socket.send_str(json.dumps({"op": operation, "args": list(args)} | more))

    async def next(self) -> Any:
        message = await self.socket.receive(120)
        return json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else message

    async def subscribe(self, channel: str, name: str = "BTC-USDT-SWAP") -> None:
        await self.ask("subscribe", {"channel": channel, "instId": name})
        ack = await self.next()
        assert ack["event"] == "subscribe", ack


def talk(url: str, what: Callable[[Client, FakeVenue], Awaitable[None]], **options: Any) -> None:
    async def run(venue: FakeVenue) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{venue.ws_url}/{url}") as socket:
            await asyncio.wait_for(what(Client(socket), venue), 300)

    with FakeVenue(**(MARKET | {"now": NOW, "limits": False} | options)) as venue:
        asyncio.run(run(venue))


def test_a_subscription_is_acknowledged_with_its_id_and_pushes_the_forming_bar():
    async def what(client: Client, venue: FakeVenue) -> None:
        arg = {"channel": "candle1m", "instId": "BTC-USDT-SWAP"}
        await client.ask("subscribe", arg, id="1512")
        ack = await client.next()
        assert (ack["event"], ack["arg"], ack["id"], len(ack["connId"])) == ("subscribe", arg, "1512", 8)
        push = await client.next()
        assert push["arg"] == arg
        assert len(push["data"]) == 1
        assert (push["data"][0][0], push["data"][0][8]) == (str(FRAME["ts"].iloc[-30]), "0")
        await client.ask("unsubscribe", arg)
        assert (await client.next())["event"] == "unsubscribe"
        assert venue.subscriptions == []

    talk("business", what)


def test_every_bar_that_ends_is_pushed_once_and_is_the_final_one():
    async def what(client: Client, venue: FakeVenue) -> None:
        await client.subscribe("candle1m")
        assert (await client.next())["data"][0][8] == "0"
        venue.now += 3 * MINUTE
        seen = [(await client.next())["data"][0] for _ in range(4)]
        assert [row[8] for row in seen] == ["1", "1", "1", "0"]
        assert [int(row[0]) for row in seen] == FRAME["ts"].tolist()[-30:-26]
        assert [float(row[6]) for row in seen[:3]] == FRAME["volume"].tolist()[-30:-27]
        venue.now += 200
        venue.now += 2_000
        assert (await client.next())["data"][0][0] == seen[3][0], "no more than one push of a forming bar a second"

    talk("business", what)


def test_trades_are_pushed_as_they_happen_and_joined_on_the_public_line_only():
    table = MARKET["trades"]["BTC-USDT"].copy()
    table.loc[table.index[1::2], "ts"] = table["ts"].to_numpy()[0 : len(table) - 1 : 2][: len(table.index[1::2])]
    table = table.sort_values("ts", kind="stable")
    for column in ("price", "side"):
        table[column] = table[column].to_numpy()[0]
    table["trade_id"] = range(5, 5 + len(table))
    new = table[(table["ts"] > NOW) & (table["ts"] <= NOW + MINUTE)]

    async def all_of_them(client: Client, venue: FakeVenue) -> None:
        await client.subscribe("trades-all", "BTC-USDT")
        venue.now += MINUTE
        ids = [int((await client.next())["data"][0]["tradeId"]) for _ in range(len(new))]
        assert ids == new["trade_id"].tolist()

    async def joined(client: Client, venue: FakeVenue) -> None:
        await client.subscribe("trades", "BTC-USDT")
        venue.now += MINUTE
        seen = [(await client.next())["data"][0] for _ in range(new["ts"].nunique())]
        assert sum(int(row["count"]) for row in seen) == len(new)
        assert sum(float(row["sz"]) for row in seen) == pytest.approx(new["size"].sum())
        assert int(seen[-1]["tradeId"]) == new["trade_id"].iloc[-1], "the id of the last one"

    trades = {"trades": MARKET["trades"] | {"BTC-USDT": table}}
    talk("business", all_of_them, **trades)
    talk("public", joined, **trades)


def test_a_book_begins_with_a_snapshot_and_its_updates_add_up_to_the_venues_book():
    async def what(client: Client, venue: FakeVenue) -> None:
        await client.subscribe("books")
        first = await client.next()
        assert (first["action"], first["data"][0]["prevSeqId"], first["data"][0]["checksum"]) == ("snapshot", -1, 0)
        sides = {side: {level[0]: level for level in first["data"][0][side]} for side in ("asks", "bids")}
        seq = first["data"][0]["seqId"]
        for _ in range(20):
            venue.now += 5_000
            update = (await client.next())["data"][0]
            assert update["prevSeqId"] == seq
            seq = update["seqId"]
            for side, levels in sides.items():
                for level in update[side]:
                    levels[level[0]] = level
                    if level[1] == "0":
                        del levels[level[0]]
        async with aiohttp.ClientSession() as session:
            asked = {"instId": "BTC-USDT-SWAP", "sz": "400"}
            async with session.get(f"{venue.url}/api/v5/market/books", params=asked) as answer:
                now = (await answer.json())["data"][0]
        assert now["seqId"] == seq
        for side, sign in (("asks", 1), ("bids", -1)):
            assert sorted(sides[side].values(), key=lambda level: sign * float(level[0])) == now[side]

    talk("public", what)


def test_a_given_book_is_replayed_and_a_quiet_one_says_that_it_lives():
    states = [
        {"ts": NOW - 1, "asks": [["10.1", "5", "1"], ["10.2", "1", "1"]], "bids": [["10", "3", "2"]]},
        {"ts": NOW + 10, "asks": [["10.2", "2", "1"]], "bids": [["10", "3", "2"]]},
    ]

    async def what(client: Client, venue: FakeVenue) -> None:
        await client.subscribe("books")
        first = (await client.next())["data"][0]
        assert first["asks"] == [["10.1", "5", "0", "1"], ["10.2", "1", "0", "1"]]
        venue.now = NOW + 10
        update = (await client.next())["data"][0]
        assert update["asks"] == [["10.1", "0", "0", "0"], ["10.2", "2", "0", "1"]]
        assert update["bids"] == []
        assert update["prevSeqId"] == first["seqId"]
        venue.now += 61_000
        beat = (await client.next())["data"][0]
        assert (beat["asks"], beat["bids"], beat["prevSeqId"]) == ([], [], beat["seqId"])

    talk("public", what, books={"BTC-USDT-SWAP": states})


@pytest.mark.parametrize("channel", ["tickers", "mark-price", "funding-rate", "open-interest", "books5", "bbo-tbt"])
def test_other_channels_push_their_row_at_once_and_when_it_changes(channel: str):
    async def what(client: Client, venue: FakeVenue) -> None:
        await client.subscribe(channel)
        first = (await client.next())["data"][0]
        assert first["instId"] == "BTC-USDT-SWAP"
        venue.now += 20 * MINUTE if channel != "funding-rate" else 8 * 60 * MINUTE
        second = (await client.next())["data"][0]
        assert {**first, "ts": ""} != {**second, "ts": ""}

    talk("public", what)


def test_mark_and_index_candles_have_six_fields():
    async def what(client: Client, venue: FakeVenue) -> None:
        await client.subscribe("mark-price-candle1m")
        assert len((await client.next())["data"][0]) == 6
        await client.subscribe("index-candle1m", "BTC-USDT")
        assert len((await client.next())["data"][0]) == 6

    talk("business", what)


@pytest.mark.parametrize(
    ("url", "message", "code"),
    [
        ("public", {"op": "subscribe", "args": [{"channel": "candle1m", "instId": "BTC-USDT"}]}, "64001"),
        ("business", {"op": "subscribe", "args": [{"channel": "tickers", "instId": "BTC-USDT"}]}, "64002"),
        ("public", {"op": "subscribe", "args": [{"channel": "books-l2-tbt", "instId": "BTC-USDT"}]}, "64003"),
        ("public", {"op": "subscribe", "args": [{"channel": "nothing", "instId": "BTC-USDT"}]}, "60018"),
        ("public", {"op": "subscribe", "args": [{"channel": "trades", "instId": "NONE-USDT"}]}, "60018"),
        ("business", {"op": "subscribe", "args": [{"channel": "candle1h", "instId": "BTC-USDT"}]}, "60018"),
        ("private", {"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]}, "60018"),
        ("public", {"op": "sing", "args": []}, "60012"),
        ("public", {"op": "subscribe", "args": []}, "60013"),
        ("public", {"op": "login", "args": [{}]}, "60009"),
        ("public", ["subscribe"], "60012"),
        ("public", {"op": "subscribe", "args": ["trades"]}, "60012"),
    ],
)
def test_mistakes_are_answered_with_the_venues_code(url: str, message: Any, code: str):
    async def what(client: Client, venue: FakeVenue) -> None:
        await client.socket.send_str(json.dumps(message))
        answer = await client.next()
        assert (answer["event"], answer["code"]) == ("error", code)

    talk(url, what)


def test_text_ping_is_answered_with_text_pong_and_silence_ends_the_connection():
    async def what(client: Client, venue: FakeVenue) -> None:
        await client.socket.send_str("ping")
        assert (await client.socket.receive(120)).data == "pong"
        end = await client.next()
        assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 4004)

    talk("public", what, silence=0.2)


def test_a_notice_comes_before_a_planned_end_and_a_line_may_just_break():
    async def what(client: Client, venue: FakeVenue) -> None:
        await asyncio.to_thread(venue.notice)
        notice = await client.next()
        assert (notice["event"], notice["code"]) == ("notice", "64008")
        await asyncio.to_thread(venue.disconnect)
        assert (await client.next()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}

    talk("public", what)


def test_more_than_480_requests_an_hour_are_too_many():
    async def what(client: Client, venue: FakeVenue) -> None:
        for _ in range(481):
            await client.ask("subscribe", {"channel": "status"})
        events = [await client.next() for _ in range(481)]
        assert [event.get("code") for event in events] == [None] * 480 + ["60014"]

    talk("public", what)


def test_a_fourth_connection_in_a_second_is_refused():
    async def what(client: Client, venue: FakeVenue) -> None:
        async with aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(f"{venue.ws_url}/public") for _ in range(2)]
            with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
                await session.ws_connect(f"{venue.ws_url}/public")
            for socket in sockets:
                await socket.close()

    talk("public", what, limits=True)


def test_a_lost_push_leaves_a_gap_in_the_sequence_and_a_drop_breaks_the_line():
    plan = [Fault("lost", path="books", nth=2), Fault("twice", path="books", nth=4), Fault("drop", path="books", nth=5)]

    async def what(client: Client, venue: FakeVenue) -> None:
        await client.subscribe("books")
        seq = [(await client.next())["data"][0]["seqId"]]
        venue.now += 5_000
        while venue.faults is not None and len(venue.faults.happened) < 1:
            await asyncio.sleep(0.005)
        venue.now += 5_000
        update = (await client.next())["data"][0]
        assert update["prevSeqId"] > seq[0]
        venue.now += 5_000
        assert await client.next() == await client.next()
        venue.now += 5_000
        assert (await client.next()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}

    talk("public", what, faults=Faults(plan=plan))


def test_the_opening_of_a_connection_may_fail_too():
    plan = [
        Fault("html", path="/public"),
        Fault("reset", path="/public", nth=2, times=2),
    ]  # aiohttp asks twice by itself

    async def what(client: Client, venue: FakeVenue) -> None:
        venue.faults = Faults(plan=plan)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError, match="502"):
                await session.ws_connect(f"{venue.ws_url}/public")
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.ws_connect(f"{venue.ws_url}/public")
            await (await session.ws_connect(f"{venue.ws_url}/public")).close()

    talk("business", what)


def test_with_the_real_clock_pushes_come_by_themselves():
    import time

    now = time.time_ns() // 1_000_000
    market = random_market(1, 0, 60, "1m", start=now - 50 * MINUTE, seed=1)

    async def what(client: Client, venue: FakeVenue) -> None:
        await client.subscribe("books", "BTC-USDT")
        assert (await client.next())["action"] == "snapshot"
        assert (await client.next())["action"] == "update"

    talk("public", what, **(market | {"now": None}))

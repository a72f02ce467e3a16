"""The fake venue quotes: tickers, books, trades by id and by time, margin tiers, premium, and files of past days."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.collect.download import fetch
from qlib.collect.server import Patience
from qlib.crypto.venues.fake import FakeVenue, Fault, Faults, random_market
from qlib.errors import InputError

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_767_225_600_000
MARKET = random_market(2, 2, 5 * 1440, "1m", START, seed=4, trades=2000)
NOW = MARKET["now"]


@pytest.fixture(scope="module")
def venue():
    with FakeVenue(**MARKET, limits=False) as running:
        yield running


@pytest.fixture(autouse=True)
def at_the_end(venue: FakeVenue):
    yield
    venue.now, venue.faults = NOW, None


def ask(venue: FakeVenue, path: str, **params: Any) -> Any:
    return requests.get(f"{venue.url}/api/v5/{path}", params=params, timeout=120).json()


def rows(venue: FakeVenue, path: str, **params: Any) -> list[Any]:
    answer = ask(venue, path, **params)
    assert answer["code"] == "0", answer
    return answer["data"]


def test_a_ticker_tells_the_last_24_hours_in_the_venues_units(venue: FakeVenue):
    frame = MARKET["candles"]["BTC-USDT-SWAP", "1m"]
    day = frame[(frame["ts"] >= NOW - DAY) & (frame["ts"] <= NOW)]
    (told,) = rows(venue, "market/ticker", instId="BTC-USDT-SWAP")
    assert (float(told["high24h"]), float(told["low24h"])) == (day["high"].max(), day["low"].min())
    assert float(told["volCcy24h"]) == pytest.approx(day["volume"].sum())
    assert float(told["vol24h"]) == pytest.approx(day["volume"].sum() / 0.01)
    assert float(told["open24h"]) == day["open"].iloc[0]
    midnight = frame[frame["ts"] == NOW // DAY * DAY]["open"].iloc[0]
    assert float(told["sodUtc0"]) == midnight
    spot = {row["instId"]: row for row in rows(venue, "market/tickers", instType="SPOT")}
    assert set(spot) == {"BTC-USDT", "ETH-USDT"}
    assert float(spot["BTC-USDT"]["volCcy24h"]) > float(spot["BTC-USDT"]["vol24h"])


def test_books_are_sorted_deep_as_asked_and_the_same_at_the_same_moment(venue: FakeVenue):
    (told,) = rows(venue, "market/books", instId="BTC-USDT", sz=1000)
    asks, bids = ([float(level[0]) for level in told[side]] for side in ("asks", "bids"))
    assert (len(asks), len(bids)) == (400, 400)
    assert asks == sorted(asks)
    assert bids == sorted(bids, reverse=True)
    assert bids[0] < asks[0]
    assert {(len(level), level[2]) for level in told["asks"] + told["bids"]} == {(4, "0")}
    assert rows(venue, "market/books", instId="BTC-USDT", sz=1000) == [told]
    assert len(rows(venue, "market/books", instId="BTC-USDT")[0]["asks"]) == 1
    (full,) = rows(venue, "market/books-full", instId="BTC-USDT", sz=700)
    assert {len(level) for level in full["asks"]} == {3}
    assert len(full["asks"]) == 700


def test_trades_page_by_id_and_by_time(venue: FakeVenue):
    table = MARKET["trades"]["BTC-USDT"]
    table = table[table["ts"] <= NOW]
    ids = table["trade_id"].tolist()
    assert [int(row["tradeId"]) for row in rows(venue, "market/trades", instId="BTC-USDT", limit=900)] == ids[:-501:-1]
    seen: list[int] = []
    after: dict[str, str] = {}
    while page := rows(venue, "market/history-trades", instId="BTC-USDT", limit=500, **after):
        assert len(page) <= 100
        seen += [int(row["tradeId"]) for row in page]
        after = {"after": page[-1]["tradeId"]}
    assert seen == ids[::-1]
    moment = int(table["ts"].iloc[-50])
    older = rows(venue, "market/history-trades", instId="BTC-USDT", type="2", after=moment)
    assert int(older[0]["tradeId"]) == table[table["ts"] < moment]["trade_id"].iloc[-1]
    assert ask(venue, "market/history-trades", instId="BTC-USDT", type="2", before=moment)["code"] == "50039"


def test_trades_make_the_bars_they_belong_to():
    for name in ("BTC-USDT", "ETH-USD-SWAP"):
        trades = MARKET["trades"][name]
        made = trades.assign(bar=trades["ts"] // MINUTE * MINUTE, amount=trades["price"] * trades["size"])
        made = made.groupby("bar").agg(
            open=("price", "first"), high=("price", "max"), low=("price", "min"), close=("price", "last"),
            volume=("size", "sum"), amount=("amount", "sum"),
        )  # fmt: skip
        bars = MARKET["candles"][name, "1m"].set_index("ts").loc[made.index]
        assert (made[["open", "high", "low", "close"]] == bars[["open", "high", "low", "close"]]).all().all()
        assert made[["volume", "amount"]].to_numpy() == pytest.approx(bars[["volume", "amount"]].to_numpy(), rel=1e-9)


def test_marks_limits_tiers_and_premium(venue: FakeVenue):
    marks = rows(venue, "public/mark-price", instType="SWAP")
    assert {row["instId"] for row in marks} == {"BTC-USDT-SWAP", "ETH-USD-SWAP"}
    (limit,) = rows(venue, "public/price-limit", instId="BTC-USDT")
    assert (limit["enabled"], float(limit["sellLmt"]) < float(limit["buyLmt"])) == (True, True)
    tiers = rows(venue, "public/position-tiers", instType="SWAP", tdMode="cross", instFamily="BTC-USDT")
    assert [float(tier["maxSz"]) for tier in tiers[:-1]] == [float(tier["minSz"]) for tier in tiers[1:]]
    assert ask(venue, "public/position-tiers", instType="SWAP", tdMode="cross")["code"] == "50015"
    assert ask(venue, "public/position-tiers", instType="SWAP", tdMode="both", instFamily="X")["code"] == "51000"
    premium = rows(venue, "public/premium-history", instId="BTC-USDT-SWAP")
    assert len(premium) == 100
    (index,) = rows(venue, "market/index-tickers", instId="BTC-USDT")
    assert float(index["low24h"]) <= float(index["idxPx"]) <= float(index["high24h"])
    assert ask(venue, "market/index-tickers")["code"] == "50015"


def test_two_status_requests_within_five_seconds_are_one_too_many():
    with FakeVenue(**MARKET) as venue:
        assert rows(venue, "system/status") == []
        assert ask(venue, "system/status")["code"] == "50011"


def listing(venue: FakeVenue, **more: Any) -> Any:
    asked = {"module": "2", "instType": "SPOT", "instIdList": "BTC-USDT", "dateAggrType": "daily"}
    asked |= {"begin": START, "end": START + 3 * DAY}
    (row,) = rows(venue, "public/market-data-history", **(asked | more))
    return row


def unpack(url: str) -> tuple[str, list[dict[str, str]]]:
    with zipfile.ZipFile(io.BytesIO(requests.get(url, timeout=120).content)) as archive:
        (inside,) = archive.namelist()
        return inside, list(csv.DictReader(io.StringIO(archive.read(inside).decode())))


def test_files_of_candles_hold_the_days_of_utc_plus_8(venue: FakeVenue):
    venue.now = START + 4 * DAY
    (group,) = listing(venue)["details"]
    days = [file["filename"] for file in group["groupDetails"]]
    assert days == [f"BTC-USDT-candlesticks-2026-01-0{day}.zip" for day in (2, 1)], "newest first, two days late"
    name, bars = unpack(group["groupDetails"][0]["url"])
    assert name == "BTC-USDT-candlesticks-2026-01-02.csv"
    frame = MARKET["candles"]["BTC-USDT", "1m"]
    first = START + DAY - 8 * HOUR
    true = frame[(frame["ts"] >= first) & (frame["ts"] < first + DAY)]
    assert [int(row["open_time"]) for row in bars] == true["ts"].tolist()
    assert [float(row["vol"]) for row in bars] == true["volume"].tolist()


def test_files_of_trades_and_funding_hold_what_the_market_did(venue: FakeVenue):
    venue.now = NOW + 3 * DAY
    end = {"begin": START, "end": NOW}
    (group,) = listing(venue, module="1", **end)["details"]
    ids = [int(row["trade_id"]) for file in group["groupDetails"][::-1] for row in unpack(file["url"])[1]]
    assert ids == MARKET["trades"]["BTC-USDT"]["trade_id"].tolist()
    (group,) = listing(venue, module="3", instType="SWAP", instFamilyList="BTC-USDT", **end)["details"]
    rates = [float(row["real_funding_rate"]) for file in group["groupDetails"][::-1] for row in unpack(file["url"])[1]]
    table = MARKET["funding"]["BTC-USDT-SWAP"]
    assert rates == table[table["ts"] < START + 5 * DAY + 16 * HOUR]["rate"].tolist()
    (month,) = listing(venue, dateAggrType="monthly", **(end | {"end": START}))["details"] or [None]
    assert month is None, "January is not over"
    assert len(listing(venue, instIdList="ANY")["details"]) == 2


def test_a_listing_has_its_bounds_and_its_errors(venue: FakeVenue):
    asked = {"module": "1", "instType": "SPOT", "instIdList": "BTC-USDT", "dateAggrType": "daily", "begin": START}
    assert ask(venue, "public/market-data-history", **asked)["code"] == "50014"
    assert ask(venue, "public/market-data-history", end=START + 21 * DAY, **asked)["code"] == "51000"
    assert ask(venue, "public/market-data-history", end=START, **(asked | {"module": "99"}))["code"] == "51000"
    assert requests.get(f"{venue.url}/cdn/okex/trades/daily/X-trades-2026-01-01.zip", timeout=120).status_code == 404


def test_a_file_comes_whole_after_a_broken_connection_and_in_part_on_request(venue: FakeVenue, tmp_path: Path):
    venue.now = START + 4 * DAY
    url = listing(venue)["details"][0]["groupDetails"][0]["url"]
    whole = requests.get(url, timeout=120).content
    venue.faults = Faults(plan=[Fault("cut", path=".zip")])
    fetch(url, tmp_path / "a.zip", sha256=None, patience=Patience(pause=0.01))
    assert (tmp_path / "a.zip").read_bytes() == whole
    assert [asked.fault for asked in venue.requests[-2:]] == ["cut", ""]
    mark = requests.head(url, timeout=120).headers["ETag"]
    for name, status, part in ((mark, 206, whole[100:]), ('"other"', 200, whole)):
        rest = requests.get(url, headers={"Range": "bytes=100-", "If-Range": name}, timeout=120)
        assert (rest.status_code, rest.content) == (status, part)
    assert requests.get(url, headers={"Range": f"bytes={len(whole)}-"}, timeout=120).status_code == 416


def test_books_that_were_given_come_as_a_file_of_states():
    states = [
        {"ts": START + 5, "asks": [["10.1", "5", "1"]], "bids": [["10", "3", "2"]]},
        {"ts": START + 9, "asks": [["10.2", "2", "1"]], "bids": [["10", "3", "2"]]},
    ]
    with FakeVenue(**(MARKET | {"books": {"BTC-USDT": states}, "now": START + 5 * DAY}), limits=False) as venue:
        (group,) = listing(venue, module="4")["details"]
        zipped = requests.get(group["groupDetails"][0]["url"], timeout=120).content
        with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
            lines = [json.loads(line) for line in archive.read(archive.namelist()[0]).splitlines()]
    assert [line["action"] for line in lines] == ["snapshot", "update"]
    assert lines[1]["asks"] == [["10.1", "0", "0"], ["10.2", "2", "1"]]


@pytest.mark.parametrize(
    ("market", "words"),
    [
        ({"instruments": [{"instId": "A-B"}]}, "needs 'instType'"),
        ({"instruments": [{"instId": "A-B", "instType": "BOND"}]}, "BOND"),
        ({"candles": {("A-B", "1m"): MARKET["candles"]["BTC-USDT", "1m"]}}, "no such instrument"),
        (MARKET | {"candles": {("BTC-USDT", "1m"): MARKET["index"]["BTC-USDT", "1m"]}}, "no column 'volume'"),
        (MARKET | {"candles": {("BTC-USDT", "1h"): MARKET["candles"]["BTC-USDT", "1m"]}}, "did you mean 1H"),
        (MARKET | {"candles": {("BTC-USDT", "1H"): MARKET["candles"]["BTC-USDT", "1m"]}}, "no bar of '1H' opens at"),
        (MARKET | {"candles": {("BTC-USDT", "1m"): MARKET["candles"]["BTC-USDT", "1m"].iloc[::-1]}}, "must ascend"),
        (MARKET | {"page_limits": {"market/candle": 5}}, "did you mean market/candles"),
        (MARKET | {"books": {"BTC-USDT": {"asks": [["2", "1"], ["1", "1"]], "bids": []}}}, "best price"),
    ],
)
def test_a_market_that_cannot_be_is_an_error(market: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        FakeVenue(**market)


@pytest.mark.parametrize(
    ("chances", "words"),
    [({"rest": 0.1}, "did you mean reset"), ({"reset": 1.5}, "between 0 and 1"), ({"delist": 0.1}, "in `plan`")],
)
def test_faults_that_cannot_be_are_errors(chances: dict[str, float], words: str):
    with pytest.raises(InputError, match=words):
        Faults(chances)


def test_the_same_seed_makes_the_same_faults_and_chance_spares_who_asks_again():
    def drawn() -> list[str]:
        faults = Faults({"reset": 0.5, "5xx": 0.3}, seed=9, in_a_row=2)
        hits = [faults.draw("/x", {}) for _ in range(200)]
        return ["" if hit is None else hit.kind for hit in hits]

    assert drawn() == drawn()
    assert set(drawn()) == {"", "reset", "5xx"}
    assert not any(all(drawn()[i : i + 3]) for i in range(198)), "never more than two in a row"


def test_a_planned_delisting_happens_at_its_request_and_stays(venue: FakeVenue):
    plan = [Fault("delist", path="/history-candles", nth=3, params=(("instId", "ETH-USDT"),))]
    with FakeVenue(**MARKET, limits=False, faults=Faults(plan=plan)) as venue:
        codes = [ask(venue, "market/history-candles", instId="ETH-USDT", bar="1m")["code"] for _ in range(4)]
        assert codes == ["0", "0", "51001", "51001"]
        assert "ETH-USDT" not in {row["instId"] for row in rows(venue, "public/instruments", instType="SPOT")}

"""Two clients that nobody here wrote take the fake venue for the real one: ccxt (REST and WebSocket) and python-okx."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.crypto.venues.fake import FakeVenue, Fault, Faults, random_market

ccxt = pytest.importorskip("ccxt", reason="ccxt is not installed")

START = 1_767_225_600_000
MINUTE, HOUR = 60_000, 3_600_000


@pytest.fixture(scope="module")
def market() -> dict[str, Any]:
    return random_market(2, 2, 2000, "1m", START, seed=5, trades=60)


@pytest.fixture(scope="module")
def venue(market: dict[str, Any]):
    with FakeVenue(**market, limits=False) as running:
        yield running


@pytest.fixture
def okx(venue: FakeVenue):
    venue.faults = None
    client = ccxt.okx({"enableRateLimit": False})
    client.urls["api"]["rest"] = venue.url
    client.options["fetchMarkets"] = {"types": ["spot", "swap"]}
    yield client
    venue.faults = None


def test_ccxt_loads_the_markets(okx: Any, market: dict[str, Any]):
    markets = okx.load_markets()
    assert {m["id"] for m in markets.values()} == {row["instId"] for row in market["instruments"]}
    swap = markets["BTC/USDT:USDT"]
    assert (swap["swap"], swap["linear"], swap["contractSize"]) == (True, True, 0.01)
    assert markets["ETH/USD:ETH"]["inverse"]


def test_ccxt_loads_all_kinds_of_markets_by_default(venue: FakeVenue):
    client = ccxt.okx({"enableRateLimit": False})
    client.urls["api"]["rest"] = venue.url
    assert len(client.load_markets()) == 4


def test_ccxt_reads_recent_and_old_candles(okx: Any, market: dict[str, Any]):
    frame = market["candles"]["BTC-USDT-SWAP", "1m"]
    since = int(frame["ts"][10])
    old = okx.fetch_ohlcv("BTC/USDT:USDT", "1m", since=since, limit=50)
    assert old == frame.iloc[10:60][["ts", "open", "high", "low", "close", "volume"]].to_numpy().tolist()
    recent = okx.fetch_ohlcv("BTC/USDT:USDT", "1m", limit=20)
    assert [row[0] for row in recent] == frame["ts"].tolist()[-20:]
    assert recent[-2] == frame.iloc[-2][["ts", "open", "high", "low", "close", "volume"]].tolist()
    hours = okx.fetch_ohlcv("BTC/USDT:USDT", "6h", limit=5)
    assert {row[0] % (6 * HOUR) for row in hours} == {0}, "ccxt asks for the utc names"


def test_ccxt_reads_mark_and_index_candles(okx: Any, market: dict[str, Any]):
    for price, key in {"mark": ("mark", "BTC-USDT-SWAP"), "index": ("index", "BTC-USDT")}.items():
        frame = market[key[0]][key[1], "1m"]
        rows = okx.fetch_ohlcv("BTC/USDT:USDT", "1m", since=int(frame["ts"][0]), limit=50, params={"price": price})
        expected = frame.iloc[:50][["ts", "open", "high", "low", "close"]].to_numpy().tolist()
        assert [row[:5] for row in rows] == expected


def test_ccxt_reads_funding_and_open_interest(okx: Any, market: dict[str, Any]):
    table = market["funding"]["BTC-USDT-SWAP"]
    table = table[table["ts"] <= market["now"]]
    told = okx.fetch_funding_rate_history("BTC/USDT:USDT")
    assert [(row["timestamp"], row["fundingRate"]) for row in told] == list(
        zip(table["ts"], table["rate"], strict=True)
    )
    current = okx.fetch_funding_rate("BTC/USDT:USDT")
    assert current["fundingTimestamp"] > market["now"]
    assert okx.fetch_open_interest("BTC/USDT:USDT")["openInterestAmount"] is not None
    history = okx.fetch_open_interest_history("BTC/USDT:USDT", "1h")
    assert history


def test_ccxt_reads_trades_books_and_tickers(okx: Any, market: dict[str, Any]):
    table = market["trades"]["BTC-USDT"]
    table = table[table["ts"] <= market["now"]]
    trades = okx.fetch_trades("BTC/USDT", limit=20)
    assert [int(row["id"]) for row in trades] == table["trade_id"].tolist()[-20:]
    assert [row["amount"] for row in trades] == table["size"].tolist()[-20:]
    book = okx.fetch_order_book("BTC/USDT", 50)
    assert len(book["bids"]) == len(book["asks"]) == 50
    assert book["bids"][0][0] < book["asks"][0][0]
    ticker = okx.fetch_ticker("BTC/USDT")
    assert ticker["bid"] <= ticker["last"] <= ticker["ask"]
    assert set(okx.fetch_tickers(["BTC/USDT", "ETH/USDT"])) == {"BTC/USDT", "ETH/USDT"}
    assert okx.fetch_mark_price("BTC/USDT:USDT", {"instType": "SWAP"})["markPrice"] > 0
    assert abs(okx.fetch_time() - market["now"]) == 0
    assert len(okx.fetch_market_leverage_tiers("BTC/USDT:USDT")) == 5


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("limit"), "RateLimitExceeded"),
        (Fault("code", code="50011"), "RateLimitExceeded"),
        (Fault("busy"), "ExchangeNotAvailable"),
        (Fault("html"), "ExchangeNotAvailable"),
        (Fault("limit_html"), "ExchangeNotAvailable"),
        (Fault("code", code="50001"), "OnMaintenance"),
        (Fault("reset"), "NetworkError"),
        (Fault("code", code="51001"), "BadSymbol"),
    ],
)
def test_ccxt_maps_each_fault_to_its_error(venue: FakeVenue, okx: Any, fault: Fault, error: str):
    okx.load_markets()
    venue.faults = Faults(plan=[fault])
    with pytest.raises(getattr(ccxt, error)):
        okx.fetch_ohlcv("BTC/USDT", "1m")
    assert okx.fetch_ohlcv("BTC/USDT", "1m", limit=1)


def test_ccxt_maps_the_venues_own_errors(okx: Any):
    with pytest.raises(ccxt.BadSymbol):
        okx.public_get_market_candles({"instId": "NONE-USDT"})
    with pytest.raises(ccxt.BadRequest):
        okx.public_get_market_candles({"instId": "BTC-USDT", "bar": "1h"})


def test_ccxt_pro_watches_candles_trades_and_books(market: dict[str, Any]):
    frame, trades = market["candles"]["BTC-USDT", "1m"], market["trades"]["BTC-USDT"]

    async def watch(venue: FakeVenue) -> None:
        client = importlib.import_module("ccxt.pro").okx({"enableRateLimit": False})
        client.urls["api"] = {"rest": venue.url, "ws": venue.ws_url}
        client.options["fetchMarkets"] = {"types": ["spot", "swap"]}
        try:
            await client.load_markets()
            first = await client.watch_ohlcv("BTC/USDT", "1m")
            assert first[-1][0] == frame["ts"].iloc[-5]
            book = await client.watch_order_book("BTC/USDT")
            waiting = asyncio.ensure_future(client.watch_trades("BTC/USDT"))
            while {"channel": "trades", "instId": "BTC-USDT"} not in venue.subscriptions:
                await asyncio.sleep(0.005)
            moment = venue.now
            venue.now = int(frame["ts"].iloc[-3])
            seen = await waiting
            ids = trades["trade_id"][(trades["ts"] > moment) & (trades["ts"] <= venue.now)].tolist()
            assert int(seen[0]["id"]) in ids
            waiting = asyncio.gather(client.watch_ohlcv("BTC/USDT", "1m"), client.watch_order_book("BTC/USDT"))
            await asyncio.sleep(0)
            venue.now += 61_000
            bars, later = await waiting
            assert bars[-1][0] >= frame["ts"].iloc[-3]
            assert (later["nonce"], len(later["bids"])) == (venue.now // 100, len(book["bids"]))
            assert later["bids"][0][0] < later["asks"][0][0]
            fresh = await client.fetch_order_book("BTC/USDT", 400)
            assert [level[:2] for level in fresh["bids"]] == [level[:2] for level in later["bids"]], (
                "the updates add up"
            )
            assert await client.watch_ticker("BTC/USDT")
        finally:
            await client.close()

    with FakeVenue(**(market | {"now": int(frame["ts"].iloc[-5]) + 20_000}), limits=False) as venue:
        asyncio.run(asyncio.wait_for(watch(venue), 300))


def test_python_okx_reads_market_and_public_data(venue: FakeVenue, market: dict[str, Any]):
    market_data = pytest.importorskip("okx.MarketData", reason="python-okx is not installed")
    public_data = pytest.importorskip("okx.PublicData", reason="python-okx is not installed")
    venue.faults = None
    with contextlib.redirect_stdout(None):
        quotes = market_data.MarketAPI(domain=venue.url, flag="0", debug=False)
        public = public_data.PublicAPI(domain=venue.url, flag="0", debug=False)
    frame = market["candles"]["BTC-USDT-SWAP", "1m"]
    page = quotes.get_history_candlesticks("BTC-USDT-SWAP", bar="1m", limit="300")["data"]
    assert [int(row[0]) for row in page] == frame["ts"].tolist()[::-1][:300]
    assert [float(row[6]) for row in page[1:]] == frame["volume"].tolist()[::-1][1:300]
    assert quotes.get_candlesticks("NONE-USDT")["code"] == "51001"
    assert len(quotes.get_mark_price_candlesticks("BTC-USDT-SWAP", limit="300")["data"]) == 100
    assert len(quotes.get_trades("BTC-USDT", limit="5")["data"]) == 5
    assert len(quotes.get_orderbook("BTC-USDT", sz="20")["data"][0]["asks"]) == 20
    assert quotes.get_tickers("SWAP")["data"][0]["instType"] == "SWAP"
    assert len(public.get_instruments("SWAP")["data"]) == 2
    paid = public.funding_rate_history("BTC-USDT-SWAP")["data"]
    table = market["funding"]["BTC-USDT-SWAP"]
    expected = table[table["ts"] <= market["now"]]["rate"].tolist()[::-1]
    assert [float(row["realizedRate"]) for row in paid] == expected
    assert public.get_system_time()["data"] == [{"ts": str(market["now"])}]
    assert public.get_open_interest("SWAP")["data"]
    assert public.get_mark_price("SWAP")["data"]
    assert public.get_price_limit("BTC-USDT")["data"]

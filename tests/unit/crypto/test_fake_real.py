"""Real data served by the fake venue comes back identical, and its rows have the fields of recorded ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.crypto.venues.fake import FakeVenue, random_market
from qlib.crypto.venues.fake.stream import Line
from qlib.crypto.venues.fake.view import dumps

REAL = Path(__file__).resolve().parents[4] / "shared/realdata"
pytestmark = pytest.mark.skipif(not REAL.exists(), reason="../shared/realdata is not here")
PRICES = ["open", "high", "low", "close"]


def swap(name: str) -> dict[str, Any]:
    family = name.removesuffix("-SWAP")
    return {"instId": name, "instType": "SWAP", "uly": family, "instFamily": family, "ctVal": "0.1", "listTime": "0"}


def walk(session: requests.Session, url: str, column: int | str = 0, **params: Any) -> list[Any]:
    seen: list[Any] = []
    after: dict[str, str] = {}
    while page := session.get(url, params=params | after, timeout=120).json()["data"]:
        seen += page
        after = {"after": page[-1][column]}
    return seen[::-1]


def test_candles_marks_and_funding_of_39_swaps_come_back_identical():
    candles = pd.read_parquet(REAL / "okx_swap_30m_2026.parquet").assign(amount=lambda f: f["volume"] * f["close"])
    mark, funding = (pd.read_parquet(REAL / f"okx_{kind}_2026.parquet") for kind in ("mark_1h", "funding"))
    names = sorted(candles["symbol"].unique())
    market = {
        "instruments": [swap(name) for name in names],
        "candles": {(name, "30m"): group for name, group in candles.groupby("symbol")},
        "mark": {(name, "1H"): group for name, group in mark.groupby("symbol")},
        "funding": {name: group for name, group in funding.groupby("symbol")},
        "now": int(candles["ts"].max()) + 1_800_000,
    }
    with FakeVenue(**market, limits=False, reach={"funding": None}) as venue, requests.Session() as session:
        for name in names:
            base = f"{venue.url}/api/v5"
            rows = walk(session, f"{base}/market/history-candles", instId=name, bar="30m", limit=300)
            true = candles[candles["symbol"] == name]
            assert [[int(row[0])] + [float(row[place]) for place in (1, 2, 3, 4, 6)] for row in rows] == [
                list(row) for row in true[["ts", *PRICES, "volume"]].itertuples(index=False)
            ]
            rows = walk(session, f"{base}/market/history-mark-price-candles", instId=name, bar="1H", limit=300)
            true = mark[mark["symbol"] == name]
            assert [[int(row[0]), *map(float, row[1:5])] for row in rows] == [
                list(row) for row in true[["ts", *PRICES]].itertuples(index=False)
            ]
            rows = walk(session, f"{base}/public/funding-rate-history", "fundingTime", instId=name)
            true = funding[funding["symbol"] == name]
            assert [[int(row["fundingTime"]), float(row["realizedRate"])] for row in rows] == [
                list(row) for row in true[["ts", "rate"]].itertuples(index=False)
            ]


@pytest.mark.parametrize(("file", "name"), [("okx_swap_1m_btc_2026", "BTC-USDT-SWAP"), ("xrpeth_1m_2019", "XRP-ETH")])
def test_minutes_with_and_without_holes_come_back_identical(file: str, name: str):
    true = pd.read_parquet(REAL / f"{file}.parquet").tail(6000).reset_index(drop=True)
    true["amount"] = true["volume"] * true["close"]
    row = swap(name) if name.endswith("SWAP") else {"instId": name, "instType": "SPOT", "listTime": "0"}
    market = {"instruments": [row], "candles": {(name, "1m"): true}, "now": int(true["ts"].max()) + 60_000}
    with FakeVenue(**market, limits=False) as venue, requests.Session() as session:
        rows = walk(session, f"{venue.url}/api/v5/market/history-candles", instId=name, bar="1m", limit=300)
    place = 6 if name.endswith("SWAP") else 5
    told = pd.DataFrame([[int(row[0]), *map(float, row[1:5]), float(row[place]), float(row[7])] for row in rows])
    told.columns = ["ts", *PRICES, "volume", "amount"]
    pd.testing.assert_frame_equal(told, true[list(told.columns)], check_exact=True)


def test_real_trades_come_back_identical():
    table = pd.read_parquet(REAL / "xrpeth_trades_2019.parquet")
    price, size = (next(c for c in table.columns if c in names) for names in ({"price"}, {"amount", "size"}))
    table = table.rename(columns={price: "price", size: "size"}).sort_values("ts", kind="stable")
    given = table[["ts", "price", "size", "side"]].reset_index(drop=True)
    pair = {"instId": "XRP-ETH", "instType": "SPOT", "baseCcy": "XRP", "quoteCcy": "ETH", "listTime": "0"}
    market = {"instruments": [pair], "trades": {"XRP-ETH": given}, "now": int(given["ts"].max())}
    with FakeVenue(**market, limits=False) as venue, requests.Session() as session:
        url = f"{venue.url}/api/v5/market/history-trades"
        rows = walk(session, url, "tradeId", instId="XRP-ETH", limit=100)
    assert [(int(row["ts"]), float(row["px"]), float(row["sz"]), row["side"]) for row in rows] == list(
        given.itertuples(index=False, name=None)
    )


@pytest.mark.parametrize("kind", ["spot", "swap", "futures", "option"])
def test_recorded_instruments_served_come_back_with_every_field(kind: str):
    recorded = json.loads((REAL / f"okx_json/http_get_instruments_{kind}.json").read_text())["data"]
    now = max(int(row["listTime"]) for row in recorded)
    with FakeVenue(instruments=recorded, now=now, limits=False) as venue:
        params = {"instType": kind.upper(), "uly": recorded[0]["uly"] if kind == "option" else ""}
        told = requests.get(f"{venue.url}/api/v5/public/instruments", params=params, timeout=120).json()["data"]
    assert [{key: row[key] for key in given} for row, given in zip(told, recorded, strict=True)] == recorded


@pytest.mark.parametrize(
    ("fixture", "path", "params"),
    [
        ("http_get_candlesticks_full", "market/candles", {"instId": "BTC-USDT-SWAP"}),
        ("http_get_funding_rate_history", "public/funding-rate-history", {"instId": "BTC-USDT-SWAP"}),
        ("http_get_index_price", "market/index-tickers", {"instId": "BTC-USDT"}),
        ("http_get_mark_price", "public/mark-price", {"instType": "SWAP"}),
        ("http_get_order_book", "market/books", {"instId": "BTC-USDT"}),
        (
            "http_get_position_tiers",
            "public/position-tiers",
            {"instType": "MARGIN", "tdMode": "cross", "instId": "M-U"},
        ),
        ("http_get_trades", "market/trades", {"instId": "BTC-USDT"}),
        ("http_get_instruments_swap", "public/instruments", {"instType": "SWAP"}),
        ("http_get_instruments_spot", "public/instruments", {"instType": "SPOT"}),
        ("ws_tickers", "market/ticker", {"instId": "BTC-USDT"}),
    ],
)
def test_rows_have_the_fields_and_types_of_recorded_ones(fixture: str, path: str, params: dict[str, str]):
    recorded = json.loads((REAL / f"okx_json/{fixture}.json").read_text())["data"][0]
    market = random_market(1, 1, 300, "1m", seed=1, trades=100)
    market["instruments"].append({"instId": "M-U", "instType": "MARGIN", "lever": "10"})
    with FakeVenue(**market, limits=False) as venue:
        told = requests.get(f"{venue.url}/api/v5/{path}", params=params, timeout=120).json()["data"][0]
    if isinstance(recorded, list):
        assert [type(value) for value in told] == [type(value) for value in recorded]
        return
    assert set(recorded) <= set(told)
    assert {key: type(told[key]) for key in recorded} == {key: type(value) for key, value in recorded.items()}


@pytest.mark.parametrize(
    ("fixture", "url", "arg"),
    [
        ("ws_candle", "business", {"channel": "candle1D", "instId": "BTC-USDT"}),
        ("ws_trades", "public", {"channel": "trades", "instId": "BTC-USDT"}),
        ("ws_tickers", "public", {"channel": "tickers", "instId": "BTC-USDT"}),
        ("ws_books_snapshot", "public", {"channel": "books", "instId": "BTC-USDT"}),
        ("ws_books_update", "public", {"channel": "books", "instId": "BTC-USDT"}),
        ("ws_bbo_tbt", "public", {"channel": "bbo-tbt", "instId": "BTC-USDT"}),
        ("ws_funding_rate", "public", {"channel": "funding-rate", "instId": "BTC-USDT-SWAP"}),
        ("ws_instruments", "public", {"channel": "instruments", "instType": "SWAP"}),
    ],
)
def test_pushes_have_the_fields_and_types_of_recorded_ones(fixture: str, url: str, arg: dict[str, str]):
    recorded = json.loads((REAL / f"okx_json/{fixture}.json").read_text())
    market = random_market(1, 1, 300, "1m", seed=1, trades=100)
    venue, now = FakeVenue(**market, limits=False), market["now"]
    line = Line(url, "a4d3ae55", venue.desk.view)
    ack, *pushes = (
        json.loads(push.text) for push in line.receive(dumps({"op": "subscribe", "args": [arg]}), now - 60_000)
    )
    assert ack["event"] == "subscribe"
    pushes += [json.loads(push.text) for push in line.advance(now)]
    told = next(push for push in pushes if push.get("action") == recorded.get("action"))
    assert set(told) == set(recorded)
    row, true = told["data"][0], recorded["data"][0]
    if isinstance(true, list):
        assert [type(value) for value in row] == [type(value) for value in true]
        return
    assert {key: type(row[key]) for key in true} == {key: type(value) for key, value in true.items()}
    for side in {"asks", "bids"} & set(true):
        assert {tuple(map(type, level)) for level in row[side]} == {tuple(map(type, level)) for level in true[side]}

"""The fake venue speaks CoinGecko: rank, pages, nulls, charts oldest first, the past as far as the plan goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.crypto.venues.fake import FakeVenue, Faults
from qlib.errors import InputError

HOUR, DAY = 3_600_000, 86_400_000
START = 1_735_689_600_000  # 2025-01-01
REAL = Path(__file__).resolve().parents[4] / "shared/realdata/coingecko_markets_20251103.csv"


def past(days: int, price: float, supply: float, first: int = START) -> pd.DataFrame:
    ts = first + DAY * np.arange(days)
    prices = price * (1 + np.arange(days) / 100)
    return pd.DataFrame({"ts": ts, "price": prices, "market_cap": prices * supply, "volume": prices * 7})


COINS = [
    {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"},
    {"id": "ethereum", "symbol": "eth", "name": "Ethereum", "platforms": {"here": "0x1"}},
    {"id": "terra", "symbol": "luna", "name": "Terra", "inactive_since": START + 40 * DAY},
    {"id": "new-coin", "symbol": "btc", "name": "Bitcoin again"},
    {"id": "unpriced", "symbol": "unp", "name": "Nobody knows", "current_price": float("nan")},
]
HISTORY = {
    "bitcoin": past(400, 100.0, 19.0),
    "ethereum": past(400, 10.0, 120.0),
    "terra": past(41, 50.0, 100.0),
    "new-coin": past(300, 1.0, 5.0, START + 100 * DAY),
}


@pytest.fixture(scope="module")
def venue():
    with FakeVenue(coins=COINS, coin_history=HISTORY, now=START + 30 * DAY + 90_000, limits=False) as running:
        yield running


@pytest.fixture(autouse=True)
def on_day_30(venue: FakeVenue):
    venue.now = START + 30 * DAY + 90_000
    yield
    venue.faults = None


def ask(venue: FakeVenue, path: str, expected: int = 200, **params: Any) -> Any:
    answer = requests.get(f"{venue.coingecko_url}/{path}", params=params, timeout=120)
    assert answer.status_code == expected, answer.text
    return answer.json()


def markets(venue: FakeVenue, **params: Any) -> list[dict[str, Any]]:
    return ask(venue, "coins/markets", vs_currency="usd", **params)


def test_markets_are_ranked_by_what_was_known_at_that_moment(venue: FakeVenue):
    assert [row["id"] for row in markets(venue)] == ["terra", "bitcoin", "ethereum", "unpriced"]
    venue.now = START + 150 * DAY
    rows = markets(venue)
    assert [(row["id"], row["market_cap_rank"]) for row in rows] == [
        ("bitcoin", 1),
        ("ethereum", 2),
        ("new-coin", 3),
        ("unpriced", None),
    ]
    assert rows[0]["current_price"] == HISTORY["bitcoin"]["price"][150]
    assert rows[0]["market_cap"] == HISTORY["bitcoin"]["market_cap"][150]
    assert rows[3]["current_price"] is None


def test_pages_are_cut_and_end_with_an_empty_list(venue: FakeVenue):
    assert [row["id"] for row in markets(venue, per_page=1, page=2)] == ["bitcoin"]
    assert markets(venue, per_page=250, page=2) == []
    assert [row["id"] for row in markets(venue, order="market_cap_asc")][:2] == ["ethereum", "bitcoin"]
    assert [row["id"] for row in markets(venue, ids="ethereum,bitcoin")] == ["bitcoin", "ethereum"]


def test_a_dead_coin_moves_to_the_inactive_list(venue: FakeVenue):
    assert {row["id"] for row in ask(venue, "coins/list")} == {"bitcoin", "ethereum", "terra", "unpriced"}
    assert ask(venue, "coins/list", status="inactive") == []
    venue.now = START + 50 * DAY
    assert ask(venue, "coins/list", status="inactive") == [{"id": "terra", "symbol": "luna", "name": "Terra"}]
    platforms = {row["id"]: row["platforms"] for row in ask(venue, "coins/list", include_platform="true")}
    assert platforms["ethereum"] == {"here": "0x1"}


def test_charts_are_oldest_first_and_their_step_follows_the_length(venue: FakeVenue):
    venue.now = START + 200 * DAY + 5 * HOUR
    whole = ask(venue, "coins/bitcoin/market_chart", vs_currency="usd", days=100)
    ts = [row[0] for row in whole["prices"]]
    assert ts == sorted(ts)
    assert ts[-1] == venue.now
    assert {moment % DAY for moment in ts[:-1]} == {0}
    assert dict(map(tuple, whole["market_caps"]))[START + 150 * DAY] == HISTORY["bitcoin"]["market_cap"][150]
    for days, step in {1: 300_000, 30: HOUR}.items():
        chart = ask(venue, "coins/bitcoin/market_chart", vs_currency="usd", days=days)["prices"]
        assert np.median(np.diff([row[0] for row in chart])) == pytest.approx(step, rel=0.7)
        assert len(chart) == pytest.approx(days * DAY / step, abs=3)
    ranged = {"from": START // 1000 + 86_400 * 10, "to": START // 1000 + 86_400 * 120, "vs_currency": "usd"}
    chart = ask(venue, "coins/bitcoin/market_chart/range", **ranged)["prices"]
    assert [row[0] for row in chart] == [START + DAY * day for day in range(10, 121)]


def test_the_value_of_midnight_is_out_a_while_after_midnight(venue: FakeVenue):
    venue.now = START + 200 * DAY + 600_000
    days = {"vs_currency": "usd", "days": 100}
    assert ask(venue, "coins/bitcoin/market_chart", **days)["prices"][-2][0] == START + 199 * DAY
    venue.now = START + 200 * DAY + HOUR
    assert ask(venue, "coins/bitcoin/market_chart", **days)["prices"][-2][0] == START + 200 * DAY


def test_the_past_ends_after_365_days_unless_the_plan_says_otherwise(venue: FakeVenue):
    venue.now = START + 390 * DAY
    for days in ("400", "max"):
        refused = ask(venue, "coins/bitcoin/market_chart", 401, vs_currency="usd", days=days)
        assert refused["error"]["status"]["error_code"] == 10012
    venue.reach["coins"] = None
    try:
        whole = ask(venue, "coins/bitcoin/market_chart", vs_currency="usd", days="max")
        assert whole["prices"][0] == [START, 100]
    finally:
        del venue.reach["coins"]


def test_history_is_the_midnight_of_its_day(venue: FakeVenue):
    told = ask(venue, "coins/terra/history", date="06-01-2025")
    assert told["market_data"]["current_price"]["usd"] == HISTORY["terra"]["price"][5]
    assert "market_data" not in ask(venue, "coins/bitcoin/history", date="01-06-2024")
    ask(venue, "coins/bitcoin/history", 400, date="2025-01-06")


def test_ohlc_global_and_ping(venue: FakeVenue):
    rows = ask(venue, "coins/bitcoin/ohlc", vs_currency="usd", days=14)
    assert all(low <= min(opened, close) <= max(opened, close) <= high for _, opened, high, low, close in rows)
    assert {b[0] - a[0] for a, b in zip(rows, rows[1:], strict=False)} == {4 * HOUR}
    assert ask(venue, "global")["data"]["active_cryptocurrencies"] == 4
    assert ask(venue, "ping") == {"gecko_says": "(V3) To the Moon!"}


def test_errors_are_the_services(venue: FakeVenue):
    assert ask(venue, "coins/markets", 422) == {"error": "Missing parameter vs_currency"}
    assert ask(venue, "coins/nothing/ohlc", 404, vs_currency="usd", days=1) == {"error": "coin not found"}
    ask(venue, "coins/new-coin/history", 404, date="06-01-2025")
    ask(venue, "nowhere", 404)
    refused = requests.get(f"{venue.coingecko_url}/ping", headers={"x-cg-pro-api-key": "k"}, timeout=120).json()
    assert refused["status"]["error_code"] == 10010


def test_faults_and_nulls_reach_this_dialect_too(venue: FakeVenue):
    venue.faults = Faults({"null": 1.0})
    assert {row["current_price"] for row in markets(venue)} == {None}
    venue.faults = Faults({"limit": 1.0})
    answer = requests.get(f"{venue.coingecko_url}/ping", timeout=120)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert answer.json()["status"]["error_code"] == 429
    venue.faults = Faults({"code": 1.0})
    assert ask(venue, "ping")["status"]["error_code"] == 500


def test_calls_without_a_key_are_limited():
    with FakeVenue(coins=COINS, now=START) as venue, requests.Session() as session:
        answers = [session.get(f"{venue.coingecko_url}/ping", timeout=120).status_code for _ in range(31)]
        assert answers == [200] * 30 + [429]
        assert session.get(f"{venue.coingecko_url}/ping", headers={"x-cg-demo-api-key": "k"}, timeout=120).ok


def test_a_history_of_a_coin_nobody_named_is_an_error():
    with pytest.raises(InputError, match="no such coin; did you mean bitcoin"):
        FakeVenue(coins=COINS, coin_history={"bitcoins": HISTORY["bitcoin"]})


@pytest.mark.skipif(not REAL.exists(), reason="../shared/realdata is not here")
def test_a_real_snapshot_served_comes_back_identical():
    frame = pd.read_csv(REAL).drop(columns="timestamp").astype({"symbol": str})
    with FakeVenue(coins=frame, now=START, limits=False) as venue:
        rows = pd.DataFrame(markets(venue, per_page=250)).set_index("id")
    columns = [column for column in frame.columns if column != "id"]
    expected = frame.set_index("id").loc[rows.index, columns]
    pd.testing.assert_frame_equal(rows[columns], expected, check_dtype=False, check_exact=True)

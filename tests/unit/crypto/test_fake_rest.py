"""The fake venue answers as the real one does: order, bounds, limits, units, errors, clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.crypto.venues.fake import FakeVenue, Faults, random_market

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_767_225_600_000
SPOT = {"instId": "BTC-USDT", "instType": "SPOT", "baseCcy": "BTC", "quoteCcy": "USDT", "listTime": "0"}
LINEAR = {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "uly": "BTC-USDT", "ctVal": "0.01", "listTime": "0"}
INVERSE = {"instId": "BTC-USD-SWAP", "instType": "SWAP", "uly": "BTC-USD", "ctVal": "100", "ctType": "inverse"}


def bars(count: int, step: int = MINUTE, start: int = START, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(rng.normal(0, 0.01, count).cumsum()), 2)
    opened = np.r_[100.0, close[:-1]]
    volume = rng.random(count)
    return pd.DataFrame(
        {
            "ts": start + step * np.arange(count),
            "open": opened,
            "high": np.maximum(opened, close) + 0.01,
            "low": np.minimum(opened, close) - 0.01,
            "close": close,
            "volume": volume,
            "amount": volume * close,
        }
    )


def ask(venue: FakeVenue, path: str, **params: Any) -> requests.Response:
    return requests.get(f"{venue.url}/api/v5/{path}", params=params, timeout=120)


def rows(venue: FakeVenue, path: str, **params: Any) -> list[Any]:
    answer = ask(venue, path, **params).json()
    assert (answer["code"], answer["msg"]) == ("0", ""), answer
    return answer["data"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return bars(2000)


@pytest.fixture(scope="module")
def venue(frame: pd.DataFrame):
    candles = {(row["instId"], "1m"): frame for row in (SPOT, LINEAR, INVERSE)}
    mark = {("BTC-USDT-SWAP", "1m"): frame}
    index = {("BTC-USDT", "1m"): frame}
    with FakeVenue(
        instruments=[SPOT, LINEAR, INVERSE],
        candles=candles,
        mark=mark,
        index=index,
        now=START + 2000 * MINUTE,
        limits=False,
    ) as running:
        yield running


def test_candles_come_newest_first_nine_strings_and_at_most_the_limit(venue: FakeVenue, frame: pd.DataFrame):
    page = rows(venue, "market/history-candles", instId="BTC-USDT", bar="1m", limit=500)
    assert len(page) == 300
    assert [int(row[0]) for row in page] == frame["ts"].tolist()[::-1][:300]
    assert all(len(row) == 9 and all(isinstance(value, str) for value in row) for row in page)
    assert len(rows(venue, "market/candles", instId="BTC-USDT")) == 100


def test_numbers_read_back_are_the_very_same_numbers(venue: FakeVenue, frame: pd.DataFrame):
    page = rows(venue, "market/history-candles", instId="BTC-USDT-SWAP", bar="1m", limit=300)[::-1]
    for place, column in {1: "open", 2: "high", 3: "low", 4: "close", 6: "volume", 7: "amount"}.items():
        assert [float(row[place]) for row in page] == frame[column].tolist()[-300:], column


def test_volume_units_depend_on_the_instrument(venue: FakeVenue, frame: pd.DataFrame):
    last = frame.iloc[-1]
    spot, linear, inverse = (
        [float(value) for value in rows(venue, "market/candles", instId=name, limit=1)[0][5:8]]
        for name in ("BTC-USDT", "BTC-USDT-SWAP", "BTC-USD-SWAP")
    )
    assert spot == [last["volume"], last["amount"], last["amount"]]
    assert linear == pytest.approx([last["volume"] / 0.01, last["volume"], last["amount"]], rel=1e-6)
    assert inverse == pytest.approx([last["amount"] / 100, last["volume"], last["amount"]], rel=1e-6)


@pytest.mark.parametrize("path", ["market/history-candles", "market/candles"])
def test_both_bounds_exclude_themselves_and_before_alone_is_the_newest_page(
    venue: FakeVenue, frame: pd.DataFrame, path: str
):
    ts = frame["ts"].tolist()
    asked = {"instId": "BTC-USDT", "bar": "1m"}
    between = rows(venue, path, after=ts[1990], before=ts[1980], **asked)
    assert [int(row[0]) for row in between] == ts[1981:1990][::-1]
    newest = rows(venue, path, before=ts[1000], limit=5, **asked)
    assert [int(row[0]) for row in newest] == ts[:-6:-1]


def test_walking_back_sees_every_bar_and_ends_with_an_empty_page(venue: FakeVenue, frame: pd.DataFrame):
    seen: list[int] = []
    after: dict[str, Any] = {}
    while page := rows(venue, "market/history-candles", instId="BTC-USDT", bar="1m", limit=300, **after):
        seen += [int(row[0]) for row in page]
        after = {"after": page[-1][0]}
    assert seen == frame["ts"].tolist()[::-1]


def test_recent_candles_reach_back_1440_bars_only(venue: FakeVenue, frame: pd.DataFrame):
    ts = frame["ts"].tolist()
    for path, kind in {"market/candles": "BTC-USDT", "market/mark-price-candles": "BTC-USDT-SWAP"}.items():
        page = rows(venue, path, instId=kind, bar="1m", after=ts[-1440] + 1)
        assert [int(row[0]) for row in page] == [ts[-1440]]
        assert rows(venue, path, instId=kind, bar="1m", after=ts[-1440]) == []


@pytest.mark.parametrize(("path", "name"), [("mark-price", "BTC-USDT-SWAP"), ("index", "BTC-USDT")])
def test_mark_and_index_candles_have_six_fields_and_pages_of_100(venue: FakeVenue, path: str, name: str):
    for whole in (f"market/{path}-candles", f"market/history-{path}-candles"):
        page = rows(venue, whole, instId=name, bar="1m", limit=300)
        assert len(page) == 100
        assert {len(row) for row in page} == {6}
        assert page[0][-1] == "1"


def test_the_forming_bar_is_marked_and_is_not_the_final_one(venue: FakeVenue, frame: pd.DataFrame):
    moment = venue.now
    try:
        venue.now = START + 1000 * MINUTE + 20_000
        forming, last = rows(venue, "market/candles", instId="BTC-USDT", bar="1m", limit=2)
        assert (int(forming[0]), forming[8], last[8]) == (START + 1000 * MINUTE, "0", "1")
        assert float(forming[5]) < frame["volume"][1000]
        assert float(last[4]) == frame["close"][999]
        venue.now = START + 1001 * MINUTE
        final = rows(venue, "market/candles", instId="BTC-USDT", bar="1m", limit=2)[1]
        assert (final[8], float(final[5])) == ("1", frame["volume"][1000])
    finally:
        venue.now = moment


def test_other_bars_are_made_of_the_smallest_and_open_when_the_venue_says(venue: FakeVenue, frame: pd.DataFrame):
    hour = rows(venue, "market/history-candles", instId="BTC-USDT", bar="1H", limit=300)[::-1]
    part = frame[frame["ts"] < START + HOUR]
    assert [float(value) for value in hour[0][1:6]] == pytest.approx(
        [part["open"].iloc[0], part["high"].max(), part["low"].min(), part["close"].iloc[-1], part["volume"].sum()]
    )
    for bar, shift in {"1D": 16 * HOUR, "1Dutc": 0, "6H": 4 * HOUR, "12Hutc": 0}.items():
        step = {"1D": DAY, "1Dutc": DAY, "6H": 6 * HOUR, "12Hutc": 12 * HOUR}[bar]
        opened = {int(row[0]) % step for row in rows(venue, "market/history-candles", instId="BTC-USDT", bar=bar)}
        assert opened == {shift % step}, bar
    week = rows(venue, "market/history-candles", instId="BTC-USDT", bar="1Wutc")
    assert {pd.Timestamp(int(row[0]), unit="ms").weekday() for row in week} == {0}
    month = rows(venue, "market/history-candles", instId="BTC-USDT", bar="1Mutc")
    assert [row[0] for row in month] == [str(START)]


@pytest.mark.parametrize(
    ("path", "params", "status", "code"),
    [
        ("market/candles", {}, 400, "50014"),
        ("market/candles", {"instId": "BTC-USDT", "bar": "1h"}, 400, "51000"),
        ("market/candles", {"instId": "BTC-USDT", "limit": "many"}, 400, "51000"),
        ("market/candles", {"instId": "BTC-USDT", "after": "2020-01-01"}, 400, "51000"),
        ("market/history-mark-price-candles", {"instId": "BTC-USDT-SWAP", "bar": "2D"}, 400, "51000"),
        ("market/candles", {"instId": "NONE-USDT"}, 200, "51001"),
        ("market/index-candles", {"instId": "NONE-USDT"}, 200, "51014"),
        ("public/funding-rate-history", {"instId": "BTC-USDT"}, 200, "51015"),
        ("public/instruments", {}, 400, "50014"),
        ("public/instruments", {"instType": "BONDS"}, 400, "51000"),
        ("public/instruments", {"instType": "OPTION"}, 400, "50015"),
        ("public/nothing", {}, 404, "404"),
    ],
)
def test_errors_have_the_venues_code_and_status(
    venue: FakeVenue, path: str, params: dict[str, str], status: int, code: str
):
    answer = ask(venue, path, **params)
    assert (answer.status_code, answer.json()["code"], answer.json()["data"]) == (status, code, [])


def test_unknown_parameters_are_ignored(venue: FakeVenue):
    assert len(rows(venue, "market/candles", instId="BTC-USDT", limit=2, since=5, colour="red")) == 2


def test_a_limit_of_the_venue_is_answered_with_429_and_50011(frame: pd.DataFrame):
    with FakeVenue(instruments=[SPOT], candles={("BTC-USDT", "1m"): frame}, now=START + DAY) as venue:
        with requests.Session() as session:
            ask = [session.get(f"{venue.url}/api/v5/public/time", timeout=120) for _ in range(11)]
        assert [answer.status_code for answer in ask] == [200] * 10 + [429]
        assert ask[-1].json()["code"] == "50011"
        assert requests.get(f"{venue.url}/api/v5/public/instruments?instType=SPOT", timeout=120).status_code == 200
        assert [asked.status for asked in venue.requests] == [200] * 10 + [429, 200]


def test_a_delisted_instrument_vanishes_and_a_listing_to_come_is_announced(frame: pd.DataFrame):
    coming = SPOT | {"instId": "NEW-USDT", "listTime": str(START + DAY)}
    dated = LINEAR | {"expTime": str(START + 30 * DAY)}
    candles = {(name, "1m"): frame for name in ("BTC-USDT", "BTC-USDT-SWAP", "NEW-USDT")}
    with FakeVenue(instruments=[SPOT, coming, dated], candles=candles, now=START, limits=False) as venue:
        before = rows(venue, "public/instruments", instType="SPOT")
        assert [row["state"] for row in before] == ["live", "preopen"]
        assert before[1]["baseCcy"] == ""
        assert ask(venue, "market/candles", instId="NEW-USDT").json()["code"] == "51021"
        venue.now = START + DAY + HOUR
        page = rows(venue, "market/history-candles", instId="NEW-USDT", bar="1m", limit=300)
        assert int(page[-1][0]) == START + DAY, "nothing before the listing"
        assert rows(venue, "public/instruments", instType="SWAP")[0]["expTime"] == ""
        venue.now = START + 25 * DAY
        assert rows(venue, "public/instruments", instType="SWAP")[0]["expTime"] == str(START + 30 * DAY)
        venue.now = START + 30 * DAY
        assert rows(venue, "public/instruments", instType="SWAP") == []
        assert ask(venue, "market/candles", instId="BTC-USDT-SWAP").json()["code"] == "51001"
        venue.delist("BTC-USDT")
        assert [row["instId"] for row in rows(venue, "public/instruments", instType="SPOT")] == ["NEW-USDT"]


def test_funding_reaches_back_three_months_and_tells_what_was_paid():
    ts = START + 8 * HOUR * np.arange(400)
    table = pd.DataFrame({"ts": ts, "rate": np.arange(400) / 1e7, "predicted_rate": np.arange(400) / 1e6})
    now = int(ts[-1]) - 1
    with FakeVenue(instruments=[LINEAR], funding={"BTC-USDT-SWAP": table}, now=now, limits=False) as venue:
        page = rows(venue, "public/funding-rate-history", instId="BTC-USDT-SWAP")
        assert [int(row["fundingTime"]) for row in page] == [t for t in ts[::-1].tolist() if now - 95 * DAY <= t <= now]
        assert (page[0]["realizedRate"], page[0]["fundingRate"]) == ("0.0000398", "0.000398")
        current = rows(venue, "public/funding-rate", instId="BTC-USDT-SWAP")[0]
        assert (int(current["fundingTime"]), current["fundingRate"]) == (ts[-1], "0.000399")
        assert int(current["nextFundingTime"]) == ts[-1] + 8 * HOUR
        venue.reach["funding"] = None
        assert len(rows(venue, "public/funding-rate-history", instId="BTC-USDT-SWAP", limit=1000)) == 399


def test_open_interest_has_its_history_and_its_present():
    ts = START + HOUR * np.arange(300)
    table = pd.DataFrame({"ts": ts, "oi": ts / 1e9, "oi_base": ts / 1e11, "oi_quote": ts / 1e6})
    now = START + 300 * HOUR
    path = "rubik/stat/contracts/open-interest-history"
    with FakeVenue(instruments=[LINEAR], oi={("BTC-USDT-SWAP", "1H"): table}, now=now, limits=False) as venue:
        page = rows(venue, path, instId="BTC-USDT-SWAP", period="1H", begin=ts[10], end=ts[20])
        assert [int(row[0]) for row in page] == ts[11:20][::-1].tolist()
        assert float(page[0][3]) == ts[19] / 1e6
        four = rows(venue, path, instId="BTC-USDT-SWAP", period="4H")
        assert {int(row[0]) % (4 * HOUR) for row in four} == {0}
        assert float(rows(venue, "public/open-interest", instType="SWAP")[0]["oi"]) == ts[-1] / 1e9


def test_every_fault_is_what_it_says():
    market = random_market(1, 1, 300, seed=3)
    asked = {"instId": "BTC-USDT-SWAP", "bar": "1m", "limit": 20}
    with FakeVenue(**market, limits=False) as venue:
        true = rows(venue, "market/candles", **asked)

        def hit(kind: str, **more: Any) -> requests.Response:
            venue.faults = Faults({kind: 1.0}, hold=0.05, **more)
            return ask(venue, "market/candles", **asked)

        for kind in ("timeout", "reset", "cut"):
            with pytest.raises(requests.RequestException):
                hit(kind)
        assert hit("5xx").status_code >= 500
        assert (hit("html").status_code, hit("limit_html").status_code) == (502, 429)
        assert "<html>" in hit("html").text
        assert (hit("limit").json()["code"], hit("busy").json()["code"]) == ("50011", "50013")
        assert hit("code").status_code == 200
        assert hit("code").json()["code"] != "0"
        with pytest.raises(requests.JSONDecodeError):
            hit("truncated").json()
        assert sorted({tuple(row) for row in hit("duplicate").json()["data"]}, reverse=True) == [*map(tuple, true)]
        assert len(hit("duplicate").json()["data"]) > len(true)
        assert hit("disorder").json()["data"] != true
        assert sorted(hit("disorder").json()["data"], reverse=True) == true
        short = hit("short", seed=1).json()["data"]
        assert 0 < len(short) < len(true)
        assert short == true[: len(short)]
        revised = hit("revised").json()["data"]
        assert [row for row in revised if row not in true] == [revised[1]]
        venue.faults = Faults({"skew": 1.0}, skew=90_000)
        assert rows(venue, "public/time")[0]["ts"] == str(venue.now + 90_000)
        venue.faults = None
        assert rows(venue, "market/candles", **asked) == true

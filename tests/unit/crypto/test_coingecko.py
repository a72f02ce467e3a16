"""CoinGecko, asked at a loopback server: all coins once, nulls as they came, patience, and keys that nobody sees."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlib.collect.http import Reply, TooManyError
from qlib.collect.server import Patience
from qlib.collect.source import VenueError
from qlib.crypto.snapshots import Archive
from qlib.crypto.venues.coingecko import PAGE, CoinGecko, judged
from qlib.crypto.venues.fake import FakeVenue, Faults
from qlib.errors import InputError
from tests.http_server import File, serving

QUICK = Patience(attempts=4, pause=0.01, longest=0.02, connect=5, read=5)
KEY = "CG-aVeryLongKey123"


def coin(number: int, **fields: object) -> dict[str, object]:
    row = {"id": f"coin-{number}", "symbol": f"c{number}", "name": f"Coin {number}", "current_price": 1.5,
           "market_cap": 1e9 - number, "total_volume": None}  # fmt: skip
    return row | fields


def asking(venue: FakeVenue, **options: object) -> CoinGecko:
    return CoinGecko(venue.coingecko_url, patience=QUICK, speed=None, **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch):
    for name in ("COINGECKO_API_KEY", "COINGECKO_PRO_API_KEY", "COINGECKO_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("coins", "top"), [(1, 1), (3, 250), (250, 250), (251, 250), (600, 600), (600, 1000), (600, 300)]
)
def test_as_many_coins_as_asked_for_come_best_first_and_once(coins: int, top: int):
    with FakeVenue(coins=[coin(i) for i in range(coins)], now=10**12, limits=False) as venue:
        rows = asking(venue).markets(top).rows
    assert [row["id"] for row in rows] == [f"coin-{i}" for i in range(min(coins, top))]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    kinds=st.lists(
        st.sampled_from(["reset", "5xx", "truncated", "html", "disorder", "duplicate"]), min_size=1, unique=True
    ),
)
def test_faults_of_the_line_change_nothing(seed: int, kinds: list[str]):
    with FakeVenue(coins=[coin(i) for i in range(520)], now=10**12, limits=False, seed=seed) as venue:
        venue.faults = Faults(dict.fromkeys(kinds, 0.3 / len(kinds)), seed=seed)
        patient = CoinGecko(venue.coingecko_url, speed=None, patience=Patience(attempts=30, pause=0.001, longest=0.002))
        rows = patient.markets(500).rows
    assert [row["id"] for row in rows] == [f"coin-{i}" for i in range(500)]


def test_a_page_that_is_too_short_is_asked_for_again():
    pages = {1: [coin(i) for i in range(PAGE)], 2: [coin(i) for i in range(PAGE, 2 * PAGE)], 3: []}
    path = "/api/v3/coins/markets?vs_currency=usd&order=market_cap_desc&per_page=250&page="

    class Once(File):
        answers: list[bytes]

        @property  # type: ignore[override]
        def content(self) -> bytes:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

        @content.setter
        def content(self, _: bytes) -> None:
            pass

    files = {f"{path}{page}": File(json.dumps(rows).encode()) for page, rows in pages.items()}
    first = Once()
    first.answers = [json.dumps(pages[1][:90] + pages[1][100:]).encode(), json.dumps(pages[1]).encode()]
    files[f"{path}1"] = first
    with serving(files) as (url, asked):
        rows = CoinGecko(url, patience=QUICK, speed=None).markets(240).rows
    assert [row["id"] for row in rows] == [f"coin-{i}" for i in range(240)]
    assert len(asked) == 3


def test_numbers_that_are_null_stay_unknown(tmp_path):
    rows = [coin(1), coin(2, current_price=None, market_cap=None), coin(3, market_cap=0)]
    with FakeVenue(coins=rows, now=10**12, limits=False) as venue:
        listing = asking(venue, clock=lambda: 10**12).markets(10)
    assert {row["id"]: row["market_cap"] for row in listing.rows} == {"coin-1": 1e9 - 1, "coin-2": None, "coin-3": 0}
    archive = Archive(tmp_path / "a")
    archive.add(listing.rows, listing.taken)
    table = archive.read().set_index("id")
    assert np.isnan(table.loc["coin-2", "price"])
    assert np.isnan(table.loc["coin-2", "market_cap"])
    assert table["volume_24h"].isna().all()
    assert (table["known"] == 10**12).all()


def test_what_was_taken_is_known_when_the_last_page_had_come():
    moments = iter([777])
    with FakeVenue(coins=[coin(i) for i in range(600)], now=10**12, limits=False) as venue:
        source = asking(venue, clock=lambda: next(moments))
        assert source.markets(600).taken == 777  # the clock was read once, at the end
        assert source.requests == 3 + 1  # the last page is short: is there another one?


@pytest.mark.parametrize(("told", "waits"), [(7.0, 7.0), (0.0, 60.0)])
def test_asked_too_often_it_waits_as_long_as_it_is_told_or_a_minute(told: float, waits: float):
    payload = {"status": {"error_code": 429, "error_message": "slow down"}}
    with pytest.raises(TooManyError, match="slow down") as caught:
        judged(Reply(429, payload, "", told))
    assert caught.value.wait == waits


@pytest.mark.parametrize(
    ("code", "body", "told"),
    [
        (400, {"status": {"error_code": 10010, "error_message": "change your root URL"}}, "plan='pro'"),
        (400, {"status": {"error_code": 10011, "error_message": "change your root URL"}}, "plan='demo'"),
        (401, {"error": {"status": {"error_code": 10012, "error_message": "too old"}}}, "365 days"),
        (401, {"status": {"error_code": 10002, "error_message": "key missing"}}, "an API key is missing"),
        (404, {"error": "coin not found"}, "coin not found"),
        (200, [{"id": "x"}], "cannot be understood"),
        (200, {"hello": 1}, "cannot be understood"),
    ],
)
def test_a_refusal_is_told_once_with_its_reason(code: int, body: object, told: str):
    path = "/api/v3/coins/list?status=active"
    with (
        serving({path: File(json.dumps(body).encode(), code=code)}) as (url, asked),
        pytest.raises(VenueError, match=told),
    ):
        CoinGecko(url, patience=QUICK, speed=None).coins()
    assert len(asked) == 1


def test_the_list_of_coins_and_of_those_given_up():
    rows = [coin(1), coin(2, inactive_since=5)]
    with FakeVenue(coins=rows, now=10**12, limits=False) as venue:
        source = asking(venue)
        assert [row["id"] for row in source.coins()] == ["coin-1"]
        assert [row["id"] for row in source.coins(inactive=True)] == ["coin-2"]


# ---------------------------------------------------------------------- keys
@pytest.mark.parametrize(("plan", "header"), [("demo", "x-cg-demo-api-key"), ("pro", "x-cg-pro-api-key")])
def test_a_key_goes_under_the_header_of_its_plan_and_is_never_shown(
    plan: str, header: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("qlib"), "propagate", True)
    body = json.dumps({"status": {"error_code": 500, "error_message": f"no idea of {KEY}"}}).encode()
    with serving({"/api/v3/ping": File(body, code=500)}) as (url, asked):
        source = CoinGecko(url, plan=plan, api_key=KEY, patience=QUICK, speed=None)
        with pytest.raises(VenueError) as caught:
            source.ping()
    assert {name.lower(): value for name, value in asked[0][1].items()}[header] == KEY
    shown = [str(caught.value), repr(caught.value), repr(source), repr(vars(source)), caplog.text]
    assert not [text for text in shown if KEY in text]
    assert "***" in str(caught.value)


def test_a_key_is_sent_to_nobody_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COINGECKO_API_KEY", KEY)
    source = CoinGecko("https://coingecko.com.example.org")
    assert source._http.headers("/ping") == {}
    assert CoinGecko()._http.headers("/ping") == {"x-cg-demo-api-key": KEY}


def test_the_environment_decides_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch):
    assert repr(CoinGecko()) == "CoinGecko('https://api.coingecko.com')"
    monkeypatch.setenv("COINGECKO_PRO_API_KEY", KEY)
    assert repr(CoinGecko()) == "CoinGecko('https://pro-api.coingecko.com')"
    assert repr(CoinGecko(plan="keyless")) == "CoinGecko('https://api.coingecko.com')"
    monkeypatch.setenv("COINGECKO_BASE_URL", "http://127.0.0.1:1/api/v3/")
    assert repr(CoinGecko()) == "CoinGecko('http://127.0.0.1:1')"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"plan": "prro"}, "did you mean pro"), ({"plan": "demo"}, "COINGECKO_API_KEY"), ({"api_key": "a b"}, "api_key")],
)
def test_a_plan_or_a_key_that_is_none_is_refused(wrong: dict[str, str], told: str):
    with pytest.raises(InputError, match=told):
        CoinGecko(**wrong)  # type: ignore[arg-type]


def test_a_client_that_nobody_here_wrote_finds_the_same_server():
    pycoingecko = pytest.importorskip("pycoingecko")
    with FakeVenue(coins=[coin(i) for i in range(5)], now=10**12, limits=False) as venue:
        theirs = pycoingecko.CoinGeckoAPI()
        theirs.api_base_url = venue.coingecko_url + "/"
        assert [row["id"] for row in theirs.get_coins_markets("usd")] == [r["id"] for r in asking(venue).markets().rows]

"""OKX as a source, against a venue that speaks its API: what is walked is the venue's truth."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qlib.collect.server import Patience
from qlib.collect.source import COLUMNS, Hole, Instrument, InstrumentError, Page, Series, Source, VenueError
from qlib.crypto.venues import VENUES, open_venue
from qlib.crypto.venues.fake import FakeVenue, Fault, Faults, random_market
from qlib.crypto.venues.okx import OkxSource
from qlib.errors import InputError

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_767_225_600_000  # 2026-01-01
BARS = 2_500
QUICK = Patience(attempts=6, pause=0.001, longest=0.01, connect=20.0, read=20.0)
SECRETS = ("k3y-0f-trading", "s3cret-of-trading", "passphr4se-of-trading")


@pytest.fixture(scope="module")
def market() -> dict[str, Any]:
    return random_market(n_spot=3, n_swap=3, bars=BARS, bar="1H", start=START, seed=5)


@pytest.fixture(scope="module")
def venue(market: dict[str, Any]) -> Iterator[FakeVenue]:
    with FakeVenue(**market, limits=False) as venue:
        yield venue


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "venue" in request.fixturenames:
        venue = request.getfixturevalue("venue")
        venue.faults = None
        venue.requests.clear()


def source(venue: FakeVenue, **settings: Any) -> OkxSource:
    return OkxSource(venue.url, **{"speed": None, "patience": QUICK, **settings})


def joined(found: list[Page | Hole], kind: str) -> pd.DataFrame:
    """The rows of pages that touch each other, oldest first."""
    for newer, older in zip(found, found[1:], strict=False):
        assert older.end == newer.start
    pages = [page for page in reversed(found) if isinstance(page, Page)]
    for page in pages:
        assert list(page.rows) == list(COLUMNS[kind])
        assert ((page.rows["ts"] >= page.start) & (page.rows["ts"] < page.end)).all()
    columns = {name: np.concatenate([page.rows[name] for page in pages]) for name in COLUMNS[kind]} if pages else {}
    frame = pd.DataFrame(columns, columns=list(COLUMNS[kind]))
    assert (np.diff(frame["ts"]) > 0).all()
    return frame


def truth(market: dict[str, Any], series: Series, start: int, end: int) -> pd.DataFrame:
    """What is final at the venue, from the numbers it was made of."""
    symbol, kind, bar = series.symbol, series.kind, series.bar
    if kind == "index":
        symbol = "-".join(symbol.split("-")[:2])
    frame = pd.DataFrame(market[kind][symbol if kind == "funding" else (symbol, bar)])
    over = 0 if kind == "funding" else HOUR
    frame = frame[(frame["ts"] >= start) & (frame["ts"] < end) & (frame["ts"] + over <= market["now"])]
    return frame.reset_index(drop=True)


def same(received: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert len(received) == len(wanted)
    for name in wanted.columns.intersection(received.columns):
        np.testing.assert_array_equal(received[name].to_numpy(), wanted[name].to_numpy(), err_msg=name)


# --- instruments and spellings


def test_it_is_a_source(venue: FakeVenue):
    one = source(venue)
    assert isinstance(one, Source)
    assert VENUES["okx"] is OkxSource
    with pytest.raises(InputError, match="did you mean okx"):
        open_venue("okex")


def test_all_kinds_of_instruments_are_listed(venue: FakeVenue, market: dict[str, Any]):
    found = source(venue).instruments()
    assert [one.symbol for one in found] == sorted(row["instId"] for row in market["instruments"])
    assert {one.kind for one in found} == {"spot", "swap"}


@pytest.mark.parametrize(
    ("text", "kind", "symbol"),
    [
        ("BTC/USDT", None, "BTC-USDT"), ("BTCUSDT", None, "BTC-USDT"), ("btc-usdt", None, "BTC-USDT"),
        ("BTC/USDT:USDT", None, "BTC-USDT-SWAP"), ("BTC-USDT-SWAP", None, "BTC-USDT-SWAP"),
        ("BTC/USDT", "swap", "BTC-USDT-SWAP"), ("BTCUSDT", "swap", "BTC-USDT-SWAP"),
        ("BTC-USDT", "swap", "BTC-USDT-SWAP"), ("ETH/USD:ETH", None, "ETH-USD-SWAP"),
        ("BTC-USDT-SWAP", "spot", "BTC-USDT-SWAP"),
    ],
)  # fmt: skip
def test_every_spelling_means_one_instrument(venue: FakeVenue, text: str, kind: str | None, symbol: str):
    assert source(venue).resolve(text, kind).symbol == symbol


def test_a_symbol_that_is_not_listed_is_told_the_nearest(venue: FakeVenue):
    with pytest.raises(InstrumentError, match=r"lists no spot BTC-USDD; did you mean BTC-USDT\?"):
        source(venue).resolve("BTC/USDD")
    with pytest.raises(
        InstrumentError, match="BTC-USDT-SWOP: OKX lists no such instrument; did you mean BTC-USDT-SWAP"
    ):
        source(venue).walk(Series("BTC-USDT-SWOP", "candles", "1H"), 0, 1)


def test_an_id_with_an_underscore_is_found_in_the_table(market: dict[str, Any]):
    row = next(row for row in market["instruments"] if row["instId"] == "BTC-USDT-SWAP")
    odd = {**row, "instId": "BTC-USD_UM-SWAP", "uly": "BTC-USD", "instFamily": "BTC-USD_UM"}
    with FakeVenue(instruments=[row, odd], now=market["now"], limits=False) as venue:
        one = source(venue).resolve("BTC-USD_UM-SWAP")
    assert (one.symbol, one.base, one.quote) == ("BTC-USD_UM-SWAP", "BTC", "USD")


# --- walking


ALL = [
    ("BTC-USDT", "candles"), ("SOL-USDT", "candles"), ("BTC-USDT-SWAP", "candles"), ("ETH-USD-SWAP", "candles"),
    ("SOL-USDT-SWAP", "candles"), ("BTC-USDT-SWAP", "mark"), ("ETH-USD-SWAP", "mark"), ("BTC-USDT-SWAP", "index"),
    ("ETH-USD-SWAP", "index"), ("ETH-USD-SWAP", "funding"), ("SOL-USDT-SWAP", "funding"), ("BTC-USDT-SWAP", "oi"),
]  # fmt: skip


@pytest.mark.parametrize(("symbol", "kind"), ALL)
def test_what_is_walked_is_the_truth(venue: FakeVenue, market: dict[str, Any], symbol: str, kind: str):
    series = Series(symbol, kind, None if kind == "funding" else "1H")
    venue.reach["funding"] = None  # this venue keeps all
    found = list(source(venue).walk(series, START - 5 * DAY, market["now"]))
    received, wanted = joined(found, kind), truth(market, series, 0, market["now"])
    same(received, wanted)
    assert len(received) > 200
    assert found[-1].start == START - 5 * DAY


def test_candles_carry_vwap_and_the_outage(venue: FakeVenue, market: dict[str, Any]):
    series = Series("BTC-USDT-SWAP", "candles", "1H")
    received = joined(list(source(venue).walk(series, START, market["now"])), "candles")
    outage = ~received["traded"]
    assert 0 < outage.sum() <= BARS // 50
    assert (received["volume"][outage] == 0).all()
    assert received["vwap"][outage].isna().all()
    held = received[~outage]
    np.testing.assert_array_equal(held["vwap"], held["amount"] / held["volume"])


@pytest.mark.parametrize("kind", ["candles", "mark", "index", "oi"])
@pytest.mark.parametrize("limit", [300, 7])
def test_a_limit_that_the_venue_does_not_keep_loses_nothing(market: dict[str, Any], kind: str, limit: int):
    """300 asked, 100 served: who sizes a window by what he asked for loses two rows of three."""
    series = Series("BTC-USDT-SWAP", kind, "1H")
    start = market["now"] - (300 if limit == 7 else 1_440) * HOUR
    with FakeVenue(**market, limits=False, page_limits={"market/candles": 100}) as venue:
        received = joined(list(source(venue, limit=limit).walk(series, start, market["now"])), kind)
        asked = [one for one in venue.requests if "limit" in one.params]
    assert {one.params["limit"] for one in asked} == {str(limit)}
    same(received, truth(market, series, start, market["now"]))


def test_the_newest_bars_come_from_the_recent_endpoint_and_older_ones_from_history(
    venue: FakeVenue, market: dict[str, Any]
):
    list(source(venue).walk(Series("BTC-USDT-SWAP", "candles", "1H"), START, market["now"]))
    paths = [one.path.rsplit("/", 1)[1] for one in venue.requests if "candles" in one.path]
    assert paths.count("candles") == 5
    assert paths == sorted(paths)  # first all of "candles", then "history-candles"
    assert not any("before" in one.params for one in venue.requests)


def test_one_odd_answer_does_not_lead_to_the_history_which_may_lag(
    venue: FakeVenue, market: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    one, series = source(venue), Series("BTC-USDT-SWAP", "candles", "1H")
    right, odd = OkxSource._get, iter([True])  # noqa: SLF001

    def wrong(self: OkxSource, endpoint: Any, params: dict[str, str], read: Any, symbol: str = "") -> Any:
        if endpoint.path.endswith("market/candles") and next(odd, False):
            return read([])
        return right(self, endpoint, params, read, symbol)

    monkeypatch.setattr(OkxSource, "_get", wrong)
    same(joined(list(one.walk(series, START, market["now"])), "candles"), truth(market, series, 0, market["now"]))
    assert next(odd, None) is None
    paths = [one.path.rsplit("/", 1)[1] for one in venue.requests if "candles" in one.path]
    assert paths.count("candles") == 5


def test_bars_of_a_day_are_asked_for_in_utc_and_this_is_said(
    venue: FakeVenue, market: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    one = source(venue)
    with caplog.at_level(logging.WARNING):
        assert [one.check_bar("1D"), one.check_bar("1D"), one.check_bar("1Dutc")] == ["1Dutc"] * 3
    assert [r.message for r in caplog.records] == [
        "bar 1D is collected as 1Dutc: it opens in UTC, while OKX's own 1D opens at UTC+8"
    ]
    days = joined(list(one.walk(Series("BTC-USDT-SWAP", "candles", "1D"), START, market["now"])), "candles")
    assert {r.params["bar"] for r in venue.requests if "bar" in r.params} == {"1Dutc"}
    assert (days["ts"] % DAY == 0).all()
    hours = truth(market, Series("BTC-USDT-SWAP", "candles", "1H"), START, int(days["ts"].iloc[-1]) + DAY)
    np.testing.assert_array_equal(days["high"], hours.groupby(hours["ts"] // DAY)["high"].max())


def test_months_are_walked(venue: FakeVenue, market: dict[str, Any]):
    found = list(source(venue).walk(Series("BTC-USDT-SWAP", "candles", "1Mutc"), START, market["now"]))
    months = joined(found, "candles")["ts"].to_numpy().astype("datetime64[ms]").astype("datetime64[M]").astype(str)
    assert months.tolist() == ["2026-01", "2026-02", "2026-03"]
    assert found[0].end == int(np.datetime64("2026-04-01", "ms").astype(np.int64))


def test_the_bar_that_forms_comes_when_it_is_over(market: dict[str, Any]):
    series, end = Series("BTC-USDT-SWAP", "candles", "1H"), market["now"] + DAY
    with FakeVenue(**{**market, "now": START + 10 * HOUR + 5}, limits=False) as venue:
        one = source(venue)
        first = list(one.walk(series, START, end))
        assert joined(first, "candles")["ts"].iloc[-1] == START + 9 * HOUR
        assert first[0].end == START + 10 * HOUR
        venue.now = START + 12 * HOUR + 5
        second = list(one.walk(series, first[0].end, end))
        assert joined(second, "candles")["ts"].tolist() == [START + 10 * HOUR, START + 11 * HOUR]


def test_a_clock_that_is_wrong_here_decides_nothing(market: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    series = Series("BTC-USDT-SWAP", "candles", "1H")
    with FakeVenue(**market, limits=False) as venue:
        found = list(source(venue).walk(series, START, market["now"]))
    same(joined(found, "candles"), truth(market, series, START, market["now"]))


def test_funding_older_than_three_months_is_a_hole_that_says_why(market: dict[str, Any]):
    series, now = Series("BTC-USDT-SWAP", "funding", None), market["now"]
    with FakeVenue(**market, limits=False) as venue:
        found = list(source(venue).walk(series, START, now))
    assert isinstance(found[-1], Hole)
    assert found[-1].start == START
    assert "three months of funding" in found[-1].reason
    kept = truth(market, series, found[-1].end, now)
    same(joined(found, "funding"), kept)
    assert found[-1].end == kept["ts"].iloc[0]


def test_spot_pairs_have_no_funding(venue: FakeVenue):
    with pytest.raises(InstrumentError, match="BTC-USDT: a spot pair has no funding"):
        source(venue).walk(Series("BTC-USDT", "funding", None), 0, 1)


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (Series("BTC-USDT", "candle", "1H"), "did you mean candles"),
        (Series("BTC-USDT", "candles", "1h"), "did you mean 1H"),
        (Series("BTC-USDT", "candles", None), "a bar size is needed"),
        (Series("BTC-USDT-SWAP", "funding", "8H"), "funding has no bars"),
        (Series("BTC-USDT-SWAP", "mark", "2D"), "bar of mark: received '2D'"),
    ],
)
def test_a_wrong_series_is_an_error_before_anything_is_asked(venue: FakeVenue, series: Series, words: str):
    with pytest.raises(InputError, match=words):
        source(venue).walk(series, 0, 1)
    assert not venue.requests


def test_an_instrument_that_is_gone_is_an_error_of_that_instrument(market: dict[str, Any]):
    with FakeVenue(**market, limits=False) as venue:
        one = source(venue)
        one.instruments()
        venue.delist("ETH-USDT")
        with pytest.raises(InstrumentError, match=r"ETH-USDT: OKX answers 200, code 51001: ") as told:
            list(one.walk(Series("ETH-USDT", "candles", "1H"), START, market["now"]))
        assert (told.value.symbol, told.value.code) == ("ETH-USDT", "51001")
        assert len(joined(list(one.walk(Series("BTC-USDT", "candles", "1H"), START, market["now"])), "candles")) > 2_000


def test_an_instrument_known_from_before_can_be_asked_for(market: dict[str, Any]):
    old = Instrument("OLD-USDT-SWAP", "swap", "OLD", "USDT", "USDT", False, 0, None, "live")
    with FakeVenue(**market, limits=False) as venue, pytest.raises(InstrumentError, match="OLD-USDT-SWAP: OKX answers"):
        list(source(venue, known=[old]).walk(Series("OLD-USDT-SWAP", "candles", "1H"), START, market["now"]))


# --- trades


@pytest.fixture(scope="module")
def traded() -> dict[str, Any]:
    return random_market(n_spot=1, n_swap=2, bars=60, bar="1m", start=START, seed=8, trades=40)


@pytest.mark.parametrize("symbol", ["BTC-USDT", "BTC-USDT-SWAP", "ETH-USD-SWAP"])
def test_trades_are_walked_by_id_and_their_sizes_are_coins(traded: dict[str, Any], symbol: str):
    truth = traded["trades"][symbol]
    now = traded["now"]
    first, last = int(truth["ts"].iloc[0]), int(truth["ts"].iloc[-1])
    series = Series(symbol, "trades", None)
    with FakeVenue(**traded, limits=False, page_limits={"market/history-trades": 13}) as venue:
        one = source(venue)
        for start, end in ((first - 60_000, now), (first + 300_000, last - 300_000), (last, last + 1), (last, last)):
            found = list(one.walk(series, start, end))
            received = joined(found, "trades")
            top = found[0].end if found else start
            wanted = truth[(truth["ts"] >= start) & (truth["ts"] < top)]
            assert top >= min(end, now - 60_000)
            np.testing.assert_array_equal(received["trade_id"], wanted["trade_id"])
            np.testing.assert_array_equal(received["ts"], wanted["ts"])
            np.testing.assert_array_equal(received["price"], wanted["price"])
            np.testing.assert_array_equal(received["side"], wanted["side"])
            np.testing.assert_allclose(
                received["size"].astype(float), wanted["size"], rtol=1e-8
            )  # contracts have decimals
        assert {asked.params["type"] for asked in venue.requests if "type" in asked.params} == {"1", "2"}


def test_trades_survive_a_bad_line(traded: dict[str, Any]):
    truth, series = traded["trades"]["BTC-USDT"], Series("BTC-USDT", "trades", None)
    names = ("reset", "cut", "5xx", "html", "limit", "truncated", "duplicate", "disorder", "short")
    with FakeVenue(**traded, limits=False, page_limits={"market/history-trades": 9}) as venue:
        for seed in range(3):
            venue.faults = Faults(dict.fromkeys(names, 0.04), seed=seed)
            found = list(source(venue).walk(series, START, traded["now"]))
            wanted = truth[truth["ts"] < found[0].end]
            np.testing.assert_array_equal(joined(found, "trades")["trade_id"], wanted["trade_id"])


# --- faults


def test_a_venue_that_fails_in_every_way_tells_the_truth_in_the_end(market: dict[str, Any]):
    """Whatever goes wrong by chance, what comes out is the truth, or an error: never less than it says."""
    names = ("reset", "cut", "5xx", "html", "limit_html", "limit", "truncated", "code", "busy", "duplicate", "disorder",
             "short")  # fmt: skip
    chances = dict.fromkeys(names, 0.03)
    random = np.random.default_rng(11)
    with FakeVenue(**market, limits=False, reach={"funding": None}) as venue:
        for seed in range(len(ALL)):
            symbol, kind = ALL[seed % len(ALL)]
            series = Series(symbol, kind, None if kind == "funding" else "1H")
            start = START + int(random.integers(-DAY, BARS * HOUR))
            end = start + int(random.integers(1, BARS * HOUR))
            limit = int(random.integers(40, 400))
            venue.faults = Faults(chances, seed=seed)
            found = list(source(venue, limit=limit).walk(series, start, end))
            same(joined(found, kind), truth(market, series, start, end))
            if found:
                assert found[-1].start == start


def test_a_time_out_is_asked_again(market: dict[str, Any]):
    plan = [Fault("timeout", path="history-candles", nth=2)]
    series = Series("BTC-USDT", "candles", "1H")
    with FakeVenue(**market, limits=False, faults=Faults(plan=plan, hold=5.0)) as venue:
        impatient = Patience(attempts=6, pause=0.001, longest=0.01, connect=5.0, read=0.5)
        found = list(source(venue, patience=impatient).walk(series, START, market["now"]))
    same(joined(found, "candles"), truth(market, series, START, market["now"]))


@pytest.mark.parametrize("code", ["50001", "50004", "50011", "50013", "50026", "50040"])
def test_codes_that_pass_are_asked_again_and_then_told(market: dict[str, Any], code: str):
    plan = [Fault("code", path="market/candles", times=99, code=code)]
    with FakeVenue(**market, limits=False, faults=Faults(plan=plan)) as venue:
        with pytest.raises(
            VenueError, match=rf"GET {venue.url}/api/v5/market/candles .*code {code}: .*after 6 attempts"
        ):
            list(source(venue).walk(Series("BTC-USDT", "candles", "1H"), START, market["now"]))
        assert sum(one.path.endswith("market/candles") for one in venue.requests) == 6


@pytest.mark.parametrize("code", ["50014", "51000", "50039", "50005", "50110"])
def test_mistakes_are_not_asked_again(market: dict[str, Any], code: str):
    plan = [Fault("code", path="market/candles", times=99, code=code)]
    with FakeVenue(**market, limits=False, faults=Faults(plan=plan)) as venue:
        with pytest.raises(VenueError, match=f"code {code}: ") as told:
            list(source(venue).walk(Series("BTC-USDT", "candles", "1H"), START, market["now"]))
        assert not isinstance(told.value, InstrumentError)
        assert sum(one.path.endswith("market/candles") for one in venue.requests) == 1


@pytest.mark.parametrize("code", ["51001", "51014", "51015", "51021", "51022", "51027", "51028", "50047"])
def test_codes_about_an_instrument_name_it_and_are_not_asked_again(market: dict[str, Any], code: str):
    plan = [Fault("code", path="market/candles", times=99, code=code)]
    with FakeVenue(**market, limits=False, faults=Faults(plan=plan)) as venue:
        with pytest.raises(InstrumentError, match=f"^BTC-USDT: OKX answers 200, code {code}: "):
            list(source(venue).walk(Series("BTC-USDT", "candles", "1H"), START, market["now"]))
        assert sum(one.path.endswith("market/candles") for one in venue.requests) == 1


# --- rates


def test_many_threads_stay_below_the_limits_of_the_venue(market: dict[str, Any]):
    """Ten times OKX's limits on both sides, so that the test is short: no refusal, and little time lost."""
    factor = 10.0
    with FakeVenue(**market, limits=factor) as venue:
        one = source(venue, speed=factor, limit=50)
        series = [
            Series(symbol, "candles", "1H") for symbol in ("BTC-USDT", "ETH-USDT", "BTC-USDT-SWAP", "ETH-USD-SWAP")
        ]
        threads = [
            threading.Thread(target=lambda s=s: list(one.walk(s, START, market["now"]))) for s in series
        ]  # fmt: skip
        one.instruments()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {request.status for request in venue.requests} == {200}
        assert len(venue.requests) > 150


# --- base URL and keys


def test_the_base_url_is_an_argument_or_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OKX_BASE_URL", raising=False)
    assert repr(OkxSource()) == "OkxSource('https://www.okx.com')"
    monkeypatch.setenv("OKX_BASE_URL", "https://eea.okx.com/")
    assert repr(OkxSource()) == "OkxSource('https://eea.okx.com')"
    assert repr(OkxSource("https://us.okx.com")) == "OkxSource('https://us.okx.com')"


def emitted(run: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> str:
    """All that a run says: returned, logged at any level by anybody, printed."""
    caplog.set_level(logging.DEBUG)
    for name in ("qlib", "urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    said = run()
    return "\n".join([said, caplog.text, *capsys.readouterr()])


@pytest.mark.parametrize("by_environment", [True, False])
def test_keys_reach_the_venue_and_nobody_else(
    market: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    *,
    by_environment: bool,
):
    settings = dict(zip(("api_key", "api_secret", "passphrase"), SECRETS, strict=True))
    if by_environment:
        for name, value in zip(("OKX_API_KEY", "OKX_API_SECRET", "OKX_API_PASSPHRASE"), SECRETS, strict=True):
            monkeypatch.setenv(name, value)
        settings = {}
    plan = [Fault("code", path="candles", times=3, code="50013"), Fault("code", path="candles", nth=4, code="51000")]

    def run() -> str:
        with FakeVenue(**market, limits=False, faults=Faults(plan=plan)) as venue:
            one = source(venue, **settings)
            told = [repr(one), repr(vars(one)), repr(one._http), str(one.instruments())]  # noqa: SLF001
            with pytest.raises(VenueError) as error:
                list(one.walk(Series("BTC-USDT", "candles", "1H"), START, market["now"]))
            return "\n".join([*told, str(error.value), repr(error.value)])

    said = emitted(run, caplog, capsys)
    assert "50013" in said, "the log was read"
    for secret in SECRETS:
        assert secret not in said


def test_a_signed_question_carries_key_and_signature_but_never_the_secret():
    one = OkxSource("https://www.okx.com", api_key=SECRETS[0], api_secret=SECRETS[1], passphrase=SECRETS[2])
    headers = one._http.headers("/api/v5/public/time")  # noqa: SLF001
    assert headers["OK-ACCESS-KEY"] == SECRETS[0]
    assert headers["OK-ACCESS-PASSPHRASE"] == SECRETS[2]
    assert not any(SECRETS[1] in value for value in headers.values())


def test_keys_are_not_sent_to_another_host_than_okx(caplog: pytest.LogCaptureFixture):
    keys = dict(zip(("api_key", "api_secret", "passphrase"), SECRETS, strict=True))
    for url in ("https://example.org", "https://okx.com.example.org", "https://notokx.com"):
        one = OkxSource(url, **keys)
        assert one._http.headers("/api/v5/public/time") == {}  # noqa: SLF001
        assert f"not sent to {url}: it is not OKX" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)
    half = OkxSource("https://www.okx.com", api_key=SECRETS[0])
    assert half._http.headers("/") == {}  # noqa: SLF001
    assert "key, secret and passphrase belong together" in caplog.text


def test_no_key_is_needed(venue: FakeVenue, monkeypatch: pytest.MonkeyPatch):
    for name in ("OKX_API_KEY", "OKX_API_SECRET", "OKX_API_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    one = source(venue)
    assert one.instruments()
    assert one._http.headers("/") == {}  # noqa: SLF001

"""Other exchanges through ccxt: whatever an exchange makes of `since` and `limit`, no hole is silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from odd_exchange import Exchange, reading

from qlib.collect.server import Patience
from qlib.collect.source import Hole, InstrumentError, Page, Series, Source, VenueError
from qlib.crypto.venues import open_venue
from qlib.crypto.venues.ccxt_source import CcxtSource
from qlib.crypto.venues.fake import FakeVenue, Fault, Faults, random_market
from qlib.errors import InputError

ccxt = pytest.importorskip("ccxt")

HOUR = 3_600_000
START = 1_767_225_600_000
QUICK = Patience(attempts=5, pause=0.001, longest=0.01)
SECRETS = ("my-own-api-key", "my-own-secret")


def test_two_rows_of_three_are_not_lost_to_a_cap():
    """A window for 12 rows, and the newest 4 of it served."""
    opens = [START + hour * HOUR for hour in range(100)]
    source = reading(Exchange(opens, 4, "newest of the window", opens[-1] + 2 * HOUR))
    found = list(source.walk(Series("A-B", "candles", "1h"), START, opens[-1] + HOUR))
    assert sorted(ts for page in found for ts in page.rows["ts"].tolist()) == opens


# --- a real ccxt exchange


@pytest.fixture(scope="module")
def market() -> dict[str, Any]:
    return random_market(n_spot=2, n_swap=2, bars=500, bar="1H", start=START, seed=5)


@pytest.fixture(scope="module")
def venue(market: dict[str, Any]) -> Iterator[FakeVenue]:
    with FakeVenue(**market, limits=False) as venue:
        yield venue


def okx(venue: FakeVenue, **settings_: Any) -> CcxtSource:
    options = {"options": {"fetchMarkets": {"types": ["spot", "swap"]}}, "enableRateLimit": False}
    return CcxtSource("okx", base_url=venue.url, patience=QUICK, settings={**options, **settings_})


def joined(found: list[Page | Hole]) -> pd.DataFrame:
    pages = [page for page in reversed(found) if isinstance(page, Page)]
    return pd.DataFrame({name: np.concatenate([page.rows[name] for page in pages]) for name in pages[0].rows})


def test_real_ccxt_lists_markets_under_names_that_can_be_files(venue: FakeVenue):
    source = okx(venue)
    assert isinstance(source, Source)
    found = {one.symbol: one for one in source.instruments()}
    assert sorted(found) == ["BTC-USDT", "BTC-USDT-SWAP", "ETH-USDT", "ETH-USD_ETH-SWAP"]
    swap = found["BTC-USDT-SWAP"]
    assert (swap.kind, swap.base, swap.quote, swap.settle, swap.inverse) == ("swap", "BTC", "USDT", "USDT", False)
    assert swap.contract_value == 0.01
    assert found["ETH-USD_ETH-SWAP"].inverse
    assert source.resolve("BTC/USDT:USDT").symbol == "BTC-USDT-SWAP"
    assert source.resolve("ETH/USD:ETH").symbol == "ETH-USD_ETH-SWAP"
    assert source.resolve("BTCUSDT", "swap").symbol == "BTC-USDT-SWAP"
    assert source.resolve("btc/usdt").symbol == "BTC-USDT"


@pytest.mark.parametrize("kind", ["candles", "mark", "index"])
def test_real_ccxt_walks_the_truth(venue: FakeVenue, market: dict[str, Any], kind: str):
    found = list(okx(venue).walk(Series("BTC-USDT-SWAP", kind, "1h"), START, market["now"]))
    received = joined(found)
    wanted = market[kind]["BTC-USDT" if kind == "index" else "BTC-USDT-SWAP", "1H"]
    wanted = wanted[(wanted["ts"] >= START) & (wanted["ts"] + HOUR <= market["now"])]
    columns = ["ts", "open", "high", "low", "close"] + (["volume"] if kind == "candles" else [])
    for name in columns:
        np.testing.assert_array_equal(received[name], wanted[name], err_msg=name)
    assert found[0].end > wanted["ts"].iloc[-1]
    assert found[-1].start == START


def test_real_ccxt_asks_for_funding(venue: FakeVenue, market: dict[str, Any]):
    found = list(okx(venue).walk(Series("BTC-USDT-SWAP", "funding", None), START, market["now"]))
    received = joined(found)
    wanted = market["funding"]["BTC-USDT-SWAP"]
    wanted = wanted[(wanted["ts"] >= START) & (wanted["ts"] < market["now"] - 60_000)]
    np.testing.assert_array_equal(received["ts"], wanted["ts"])
    np.testing.assert_array_equal(received["rate"], wanted["rate"])


def test_faults_are_asked_again_also_the_truncated_json_that_ccxt_lets_through(market: dict[str, Any]):
    plan = [
        Fault(kind, path="candles", nth=number)
        for number, kind in enumerate(["truncated", "reset", "html", "limit", "5xx"], 1)
    ]
    with FakeVenue(**market, limits=False) as venue:
        source = okx(venue)
        source.instruments()
        venue.faults = Faults(plan=plan[:4])
        received = joined(list(source.walk(Series("BTC-USDT", "candles", "1h"), START, START + 100 * HOUR)))
        truth = market["candles"]["BTC-USDT", "1H"]
        truth = truth[(truth["ts"] >= START) & (truth["ts"] < START + 100 * HOUR)]
        np.testing.assert_array_equal(received["close"], truth["close"])
        venue.faults = Faults(plan=[Fault("5xx", path="candles", times=99)])
        with pytest.raises(VenueError, match="okx, candles of BTC-USDT: .*; given up after 5 attempts"):
            list(source.walk(Series("BTC-USDT", "candles", "1h"), START, market["now"]))


def test_an_instrument_that_is_gone_is_an_error_of_that_instrument(market: dict[str, Any]):
    with FakeVenue(**market, limits=False) as venue:
        source = okx(venue)
        source.instruments()
        venue.delist("ETH-USDT")
        with pytest.raises(InstrumentError, match="ETH-USDT: BadSymbol"):
            list(source.walk(Series("ETH-USDT", "candles", "1h"), START, market["now"]))


def test_keys_are_never_shown(market: dict[str, Any], caplog: pytest.LogCaptureFixture):
    plan = [Fault("code", path="candles", times=99, code="50013")]
    with FakeVenue(**market, limits=False, faults=Faults(plan=plan)) as venue:
        source = okx(venue, apiKey=SECRETS[0], secret=SECRETS[1])
        source._exchange.has["fetchCurrencies"] = False  # noqa: SLF001  what a key would ask for
        with pytest.raises(VenueError) as told:
            list(source.walk(Series("BTC-USDT", "candles", "1h"), START, market["now"]))
    said = "\n".join([repr(source), str(told.value), repr(told.value), caplog.text])
    assert not any(secret in said for secret in SECRETS)
    assert source._clean(ValueError(f"wrong key {SECRETS[0]}")) == "ValueError: wrong key ***"  # noqa: SLF001


# --- mistakes


def test_mistakes_are_told_with_the_nearest_right_spelling(venue: FakeVenue):
    with pytest.raises(InputError, match="no exchange 'krakn'; did you mean kraken"):
        CcxtSource("krakn")
    assert repr(open_venue("ccxt:kraken")) == "CcxtSource('kraken')"
    source = okx(venue)
    with pytest.raises(InputError, match="received '1H'; okx knows .*; did you mean 1h"):
        source.check_bar("1H")
    with pytest.raises(InputError, match="kind: received 'trades'; through ccxt come candles, mark, index, funding"):
        source.walk(Series("BTC-USDT", "trades", None), 0, 1)
    with pytest.raises(InstrumentError, match="BTC-USDX: okx lists no such instrument; did you mean BTC-USDT"):
        source.walk(Series("BTC-USDX", "candles", "1h"), 0, 1)
    with pytest.raises(InstrumentError, match="does not tell its funding"):
        source.walk(Series("BTC-USDT", "funding", None), 0, 1)


def test_bars_have_lengths_and_open_times():
    source = CcxtSource("binance")
    assert source.bar_ms("4h") == 4 * HOUR
    assert source.opens("1h", 1, 3 * HOUR).tolist() == [HOUR, 2 * HOUR]
    monday = source.opens("1w", START, START + 7 * 24 * HOUR).astype("datetime64[ms]").astype("datetime64[D]")
    assert monday.astype(str).tolist() == ["2026-01-05"]
    months = source.opens("1M", START, START + 40 * 24 * HOUR).astype("datetime64[ms]").astype("datetime64[D]")
    assert months.astype(str).tolist() == ["2026-01-01", "2026-02-01"]

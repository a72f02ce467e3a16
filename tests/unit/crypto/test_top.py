"""The list of today: what OKX trades of what is large, from caches that tell their age."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlib.collect.server import Patience
from qlib.collect.source import VenueError
from qlib.crypto.symbols import parse
from qlib.crypto.top import CONTRACTS, CONTRACTS_SECONDS, OLDEST, RANKING, RANKING_SECONDS, Top, contracts, iso, ranking
from qlib.crypto.top import top_symbols as made_of
from qlib.crypto.venues.coingecko import CoinGecko
from qlib.crypto.venues.fake import FakeVenue, Faults, random_market
from qlib.crypto.venues.okx import OkxSource

QUICK = Patience(attempts=2, pause=0.01, longest=0.02, connect=5, read=5)
NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVenue]:
    """Eight perpetuals, the largest coin being the last; a clone with a ticker of one of them; a stable coin."""
    for name in ("COINGECKO_API_KEY", "COINGECKO_PRO_API_KEY", "COINGECKO_BASE_URL", "OKX_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    market = random_market(n_spot=2, n_swap=8, bars=300, bar="1H", seed=5)
    with FakeVenue(**market, limits=False) as venue:
        prices = OkxSource(venue.url, speed=None, patience=QUICK).prices("swap")
        rows = [
            {"id": parse(name).base.lower() + "-id", "symbol": parse(name).base.lower(), "name": name,
             "current_price": price, "market_cap": 1e9 + number, "total_volume": 1.0}
            for number, (name, price) in enumerate(prices.items())
        ]  # fmt: skip
        rows.append(rows[0] | {"id": "clone", "current_price": rows[0]["current_price"] * 7, "market_cap": 5e9})
        rows.append({"id": "tether", "symbol": "usdt", "name": "Tether", "current_price": 1.0, "market_cap": 9e12})
        rows.append({"id": "nowhere", "symbol": "zzz", "name": "Nowhere", "current_price": 1.0, "market_cap": 8e12})
    with FakeVenue(**market, coins=rows, limits=False) as both:
        yield both


def made(venue: FakeVenue, cache: Path, clock: Clock, top: int = 3) -> Top:
    gecko = CoinGecko(venue.coingecko_url, speed=None, patience=QUICK)
    okx = OkxSource(venue.url, speed=None, patience=QUICK)
    return made_of(top, ranking(gecko, cache, clock=clock), contracts(okx, cache, clock=clock))


def asked(venue: FakeVenue) -> list[str]:
    return [one.path.rpartition("/")[2] for one in venue.requests]


def test_the_largest_that_trade_come_first_and_the_files_have_their_shapes(venue: FakeVenue, tmp_path: Path):
    found = made(venue, tmp_path / "cache", Clock(), top=3)
    found.write(tmp_path / "config" / "top50_symbols.json")
    table = json.loads((tmp_path / "config" / "top50_symbols.json").read_text())
    linear = [row["instId"] for row in venue.market.instruments.values() if row["instId"].endswith("-USDT-SWAP")]
    expected = [parse(name).pair for name in reversed(sorted(linear, key=list(venue.market.instruments).index))]
    assert table["symbols"] == expected[:3]
    assert (table["count"], table["updated_at"]) == (3, iso(NOW))
    assert "list of today" in table["about"]
    cap = json.loads((tmp_path / "cache" / RANKING).read_text())
    assert cap["timestamp"] == iso(NOW)
    assert cap["symbols"][:2] == ["USDT", "ZZZ"]
    okx = json.loads((tmp_path / "cache" / CONTRACTS).read_text())
    assert okx["timestamp"] == iso(NOW)
    assert sorted(linear) == okx["contracts"]


def test_a_clone_of_a_ticker_is_told_and_does_not_take_the_place(venue: FakeVenue, tmp_path: Path):
    found = made(venue, tmp_path, Clock(), top=50)
    assert len(found.symbols) == len(set(found.symbols)) == 7  # of eight, one is inverse
    assert any("clone" in line and "the price disagrees" in line for line in found.doubts)


def test_what_is_fresh_is_not_asked_again_and_what_is_not_is(venue: FakeVenue, tmp_path: Path):
    clock = Clock()
    made(venue, tmp_path, clock)
    first = len(venue.requests)
    clock.now += CONTRACTS_SECONDS - 1
    made(venue, tmp_path, clock)
    assert len(venue.requests) == first
    clock.now += 2
    made(venue, tmp_path, clock)
    assert "markets" not in asked(venue)[first:]
    assert "tickers" in asked(venue)[first:]
    clock.now += RANKING_SECONDS
    made(venue, tmp_path, clock)
    assert "markets" in asked(venue)[first:]


def test_a_venue_that_is_down_is_replaced_by_what_is_kept_with_its_age(
    venue: FakeVenue, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging.getLogger("qlib"), "propagate", True)
    clock = Clock()
    fresh = made(venue, tmp_path, clock)
    venue.faults = Faults({"5xx": 1.0})
    clock.now += 5 * 3600 + 12 * 60
    stale = made(venue, tmp_path, clock)
    assert stale.symbols == fresh.symbols
    assert stale.updated == NOW  # the time of the data, not of the writing
    told = [record.message for record in caplog.records if "is used instead" in record.message]
    assert len(told) == 2
    assert all("5 h 12 min old" in line for line in told)
    clock.now = NOW + OLDEST + 60
    with pytest.raises(VenueError, match=r"7 d 0 h old, too old"):
        made(venue, tmp_path, clock)


def test_a_venue_that_is_down_and_nothing_kept_is_an_error(venue: FakeVenue, tmp_path: Path):
    venue.faults = Faults({"5xx": 1.0})
    with pytest.raises(VenueError, match="given up after 2 attempts"):
        made(venue, tmp_path, Clock())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{", '{"symbols": ["BTC"]}', '{"symbols": ["BTC"], "timestamp": "soon"}', "[]",
                                  json.dumps({"symbols": ["BTC"], "timestamp": iso(NOW)})])  # fmt: skip
def test_a_cache_that_cannot_be_used_is_asked_anew(text: str, venue: FakeVenue, tmp_path: Path):
    for name in (RANKING, CONTRACTS):
        (tmp_path / name).write_text(text)
    assert len(made(venue, tmp_path, Clock()).symbols) == 3


def test_a_cache_from_the_future_is_not_fresh(venue: FakeVenue, tmp_path: Path):
    clock = Clock()
    made(venue, tmp_path, clock)
    before = len(venue.requests)
    clock.now -= 3600
    made(venue, tmp_path, clock)
    assert len(venue.requests) > before

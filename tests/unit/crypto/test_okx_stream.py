"""Recording what OKX pushes: whatever happens to the line, what is stored is what the venue has."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from proof import cases
from recordings import MINUTE, QUICK, Recording, bars_of, line_id, listening, same, wait_for

from qlib.collect.bar_store import BarStore
from qlib.collect.collecting import collect
from qlib.collect.recording import Pushed
from qlib.collect.source import Series, VenueError
from qlib.crypto.venues.fake import FakeVenue, Faults, random_market
from qlib.crypto.venues.okx import OkxSource, rest
from qlib.crypto.venues.okx_stream import OkxStream
from qlib.errors import InputError, RunError

START = 1_767_225_600_000  # 2026-01-01
BARS = 400


@pytest.fixture(scope="module")
def market() -> dict[str, Any]:
    return random_market(n_spot=2, n_swap=2, bars=BARS, bar="1m", start=START, seed=3, trades=60)


def candles(market: dict[str, Any]) -> list[Series]:
    return [Series(row["instId"], "candles", "1m") for row in market["instruments"]]


def venue_at(market: dict[str, Any], bar: int, **settings: Any) -> FakeVenue:
    return FakeVenue(**{**market, "now": START + bar * MINUTE + 20_000}, limits=False, **settings)


def newest(market: dict[str, Any], series: Series, venue: FakeVenue) -> int:
    """Open time of the newest finished bar; now and then the venue has none for a minute."""
    return int(bars_of(market, series, START, venue.now)["ts"].max())


def check(recording: Recording, market: dict[str, Any], venue: FakeVenue, start: int) -> None:
    for series in recording.series:
        same(BarStore(recording.store.folder).read(series), bars_of(market, series, start, venue.now))


def test_from_the_first_bar_that_opens_under_our_eyes_every_bar_is_stored(market: dict[str, Any], tmp_path: Path):
    with venue_at(market, 200) as venue, Recording(venue, candles(market), tmp_path) as recording:
        wait_for(lambda: len(recording.recorder._starts) == len(recording.series))
        asked = len([one for one in venue.requests if "candles" in one.path])
        for _ in range(30):
            venue.now += MINUTE
        wait_for(lambda: all(recording.last(one) == newest(market, one, venue) for one in recording.series))
        done = recording.stop()
        assert not done.behind and not done.failed
        assert done.breaks == 0
        check(recording, market, venue, START + 200 * MINUTE)
        for one in recording.series:
            assert BarStore(tmp_path).coverage(one).listed == recording.source.instrument(one.symbol).listed
        # Nothing was unknown, so REST was asked at the beginning and at the end.
        assert len([one for one in venue.requests if "candles" in one.path]) - asked <= 4 * len(recording.series)


def test_only_finished_bars_are_stored(market: dict[str, Any], tmp_path: Path):
    series = candles(market)[:1]
    with venue_at(market, 200) as venue, Recording(venue, series, tmp_path) as recording:
        wait_for(lambda: series[0] in recording.recorder._starts)
        for _ in range(10):
            venue.now += 3_000  # still the same minute
        venue.now += 20_000
        wait_for(lambda: recording.last(series[0]) == newest(market, series[0], venue))
        recording.stop()
        check(recording, market, venue, START + 200 * MINUTE)


@pytest.mark.parametrize("seed", range(cases(3, 60)))
def test_after_any_number_of_broken_lines_the_store_holds_what_the_venue_has(
    market: dict[str, Any], tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rest, "_CLOCK_GOOD_FOR", 0.0)  # this venue's clock leaps
    chance = random.Random(seed)
    kinds = {"lost": 0.05, "twice": 0.1, "drop": 0.02, "reset": 0.02, "limit": 0.02, "truncated": 0.02}
    series = candles(market) + [Series("BTC-USDT-SWAP", "mark", "1m")]
    trades = [Series(one.symbol, "trades", None) for one in series[:-1]] if seed % 2 else []
    faults = Faults(kinds, seed=seed)
    with (
        venue_at(market, 330) as venue,
        Recording(venue, series + trades, tmp_path, start=START + 300 * MINUTE) as made,
    ):
        venue.faults = faults
        while venue.now < START + 395 * MINUTE:
            venue.now += chance.choice([7_000, 20_000, 60_000, 60_000, 60_000, 180_000])
            what = chance.random()
            if what < 0.1:
                venue.disconnect(chance.choice([None, 1001, 4004]))
            elif what < 0.15:
                venue.notice()
            if chance.random() < 0.3:
                wait_for(lambda: listening(venue))
        venue.faults = None
        wait_for(lambda: listening(venue))
        venue.now += MINUTE
        for one in series:
            wait_for(lambda one=one: made.last(one) == newest(market, one, venue))
        done = made.stop()
        assert not done.failed
        assert all(one in trades and ranges[0][0] > venue.now - 2 * MINUTE for one, ranges in done.behind.items())
        made.series = series
        check(made, market, venue, START + 300 * MINUTE)
        assert files(tmp_path, series) == files_of_rest(venue, series, tmp_path / "rest")
        for one in trades:
            # A trade of the last minute may get company yet: REST vouches for none, and the recorder says so.
            unknown = done.behind.get(one, [(venue.now, 0)])[0][0]
            check_trades(market, one, tmp_path, START + 300 * MINUTE, unknown)


def files(folder: Path, series: list[Series]) -> dict[str, bytes]:
    paths = [path for one in series for path in BarStore(folder).path(one).glob("*.parquet")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def files_of_rest(venue: FakeVenue, series: list[Series], folder: Path) -> dict[str, bytes]:
    """What a collector writes that was never disturbed."""
    store, source = BarStore(folder), OkxSource(venue.url, speed=None, patience=QUICK)
    with store.lock("a test"):
        collect(source, store, series, START + 300 * MINUTE, venue.now)
    source.close()
    return files(folder, series)


def check_trades(
    market: dict[str, Any], series: Series, folder: Path, start: int | None = None, end: int | None = None
) -> None:
    """From the first on (or `start`) until the last that is stored, no trade is missing and none is another one."""
    found = BarStore(folder).read(series, end=end)
    low, high = (found["ts"].min() if start is None else start), found["ts"].max()
    truth = pd.DataFrame(market["trades"][series.symbol])
    truth = truth[(truth["ts"] >= low) & (truth["ts"] <= high)]
    assert len(truth) > 20
    assert list(found["trade_id"]) == list(truth["trade_id"])
    for name in ("ts", "price", "side"):
        np.testing.assert_array_equal(found[name].to_numpy(), truth[name].to_numpy(), err_msg=name)
    np.testing.assert_allclose(found["size"], truth["size"], rtol=1e-15)  # contracts x contract value


def test_trades_are_stored_from_the_first_push_on(market: dict[str, Any], tmp_path: Path):
    series = [Series(one.symbol, "trades", None) for one in candles(market)[:2]]
    with venue_at(market, 345) as venue, Recording(venue, series, tmp_path) as recording:
        wait_for(lambda: listening(venue))
        for _ in range(60):
            venue.now += 30_000
        wait_for(lambda: all(recording.last(one) > START + 370 * MINUTE for one in series))
        recording.stop()
        for one in series:
            check_trades(market, one, tmp_path)


def test_a_venue_that_falls_silent_is_pinged_and_a_dead_line_is_left(market: dict[str, Any], tmp_path: Path):
    series = candles(market)[:1]
    with (
        venue_at(market, 200, silence=0.6) as venue,
        Recording(venue, series, tmp_path, quiet=0.15, answer=0.15) as recording,
    ):
        wait_for(lambda: listening(venue))
        first = line_id(venue)
        time.sleep(1.0)  # longer than the venue bears silence: pings keep the line
        assert line_id(venue) == first
        assert recording.recorded.breaks == 0
        recording.stop()


def test_a_bar_that_is_pushed_again_with_other_numbers_is_replaced_and_rest_has_the_last_word(
    market: dict[str, Any], tmp_path: Path
):
    series = candles(market)[0]
    with venue_at(market, 220) as venue, Recording(venue, [series], tmp_path) as recording:
        wait_for(lambda: series in recording.recorder._starts)
        venue.now += 2 * MINUTE
        wait_for(lambda: recording.last(series) == newest(market, series, venue))
        stored = BarStore(tmp_path).read(series).iloc[1]
        rows = {name: np.array([value]) for name, value in stored.items()} | {
            "close": np.array([stored["close"] * 1.5])
        }
        recording.tell(Pushed(series, rows, START + 222 * MINUTE))
        wait_for(lambda: BarStore(tmp_path).read(series)["close"].iloc[1] == stored["close"] * 1.5)
        recording.stop()
        check(recording, market, venue, START + 220 * MINUTE)


def test_a_bar_that_opens_when_none_does_is_left_out(market: dict[str, Any], tmp_path: Path):
    series = candles(market)[0]
    with venue_at(market, 220) as venue, Recording(venue, [series], tmp_path) as recording:
        wait_for(lambda: series in recording.recorder._starts)
        row = bars_of(market, series, START, venue.now).iloc[-1]
        rows = {name: np.array([value]) for name, value in row.items()} | {"ts": np.array([START + 220 * MINUTE + 1])}
        rows |= {"vwap": np.array([np.nan]), "traded": np.array([False])}
        recording.tell(Pushed(series, rows, START + 221 * MINUTE))
        venue.now += 2 * MINUTE
        wait_for(lambda: recording.last(series) == newest(market, series, venue))
        recording.stop()
        check(recording, market, venue, START + 220 * MINUTE)


def test_what_the_venue_refuses_is_told_at_once(market: dict[str, Any], tmp_path: Path):
    with venue_at(market, 200) as venue:
        with Recording(venue, [Series("BTC-USTD", "candles", "1m")], tmp_path) as recording:
            wait_for(lambda: recording.error)
            with pytest.raises(VenueError, match="OKX lists no such instrument; did you mean"):
                recording.stop()
        source = OkxSource(venue.url, speed=None, patience=QUICK)
        stream = OkxStream(source, venue.ws_url)
        name = candles(market)[0].symbol
        with pytest.raises(VenueError, match=f"{name} candles: OKX answers 60018.*doesn't exist"):
            asyncio.run(asyncio.wait_for(stream.run([Series(name, "candles", "7m")], lambda event: None), 120))
        source.close()


def test_an_instrument_that_is_delisted_does_not_stop_the_others(market: dict[str, Any], tmp_path: Path):
    series = candles(market)
    with venue_at(market, 200) as venue, Recording(venue, series, tmp_path) as recording:
        wait_for(lambda: len(recording.recorder._starts) == len(series))
        venue.now += 3 * MINUTE
        wait_for(lambda: all(recording.last(one) == newest(market, one, venue) for one in series))
        venue.delist(series[0].symbol)
        venue.disconnect()
        wait_for(lambda: listening(venue))
        venue.now += 3 * MINUTE
        for one in series[1:]:
            wait_for(lambda one=one: recording.last(one) == newest(market, one, venue))
        recording.stop()
        recording.series = series[1:]
        check(recording, market, venue, START + 200 * MINUTE)
        same(BarStore(tmp_path).read(series[0]), bars_of(market, series[0], START + 200 * MINUTE, START + 203 * MINUTE))


def test_a_second_run_brings_what_happened_between(market: dict[str, Any], tmp_path: Path):
    series = candles(market)
    with venue_at(market, 200) as venue:
        for _ in range(2):
            with Recording(venue, series, tmp_path) as recording:
                wait_for(lambda: listening(venue) and len(recording.recorder._starts) == len(series))
                venue.now += 3 * MINUTE
                wait_for(lambda: all(recording.last(one) == newest(market, one, venue) for one in series))
                recording.stop()
            venue.now += 20 * MINUTE
        venue.now -= 20 * MINUTE
        check(recording, market, venue, START + 200 * MINUTE)


def test_told_to_hurry_it_ends_at_once_and_says_what_is_unknown(market: dict[str, Any], tmp_path: Path):
    series = candles(market)[0]
    with venue_at(market, 300, page_limits={"market/candles": 1}, delay=0.03) as venue:
        with Recording(venue, [series], tmp_path, start=START + 10 * MINUTE) as recording:
            wait_for(lambda: recording.recorder._work is not None and len(venue.requests) > 20)
            recording._loop.call_soon_threadsafe(recording._stop.set)
            recording._loop.call_soon_threadsafe(recording.recorder.hurry)
            done = recording.stop()
        assert done.behind[series][0][0] == START + 10 * MINUTE
        assert "the next run" in str(done)
        found = BarStore(tmp_path).read(series)  # newest first: what came is there
        same(found, bars_of(market, series, int(found["ts"].min()), int(found["ts"].max()) + MINUTE))


def test_cancelled_while_it_asks_it_leaves_a_whole_store_and_no_lock(market: dict[str, Any], tmp_path: Path):
    series = candles(market)
    start = START + 10 * MINUTE
    with venue_at(market, 220, page_limits={"market/candles": 20}, delay=0.01) as venue:
        with Recording(venue, series, tmp_path, start=start) as recording:
            wait_for(lambda: recording.recorder._work is not None and len(venue.requests) > 10)
            recording._loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(recording._loop)])
            recording._thread.join(120)
            assert isinstance(recording.error, asyncio.CancelledError)
        venue.delay = 0
        with Recording(venue, series, tmp_path, start=start) as recording:
            wait_for(lambda: listening(venue))
            venue.now += MINUTE
            wait_for(lambda: all(recording.last(one) == newest(market, one, venue) for one in series))
            recording.stop()
        check(recording, market, venue, start)


def test_connections_stay_below_the_venues_limit(market: dict[str, Any], tmp_path: Path):
    with venue_at(market, 200) as venue, Recording(venue, candles(market)[:1], tmp_path) as recording:
        for breaks in range(3):
            wait_for(lambda breaks=breaks: recording.recorded.breaks == breaks and listening(venue))
            venue.disconnect()
        wait_for(lambda: recording.recorded.breaks == 3 and listening(venue))
        times = [one.at for one in venue.requests if one.path.endswith("/business")]
        assert len(times) == 4
        assert min(np.diff(times)) > 0.3
        recording.stop()


def test_one_store_has_one_writer(market: dict[str, Any], tmp_path: Path):
    with venue_at(market, 200) as venue, Recording(venue, candles(market)[:1], tmp_path) as recording:
        wait_for(lambda: listening(venue))
        with pytest.raises(RunError, match="one store has one writer"), BarStore(tmp_path).lock("another"):
            pass
        recording.stop()


def test_addresses_that_are_none_are_refused():
    source = OkxSource("http://127.0.0.1:1")
    for url in ("https://ws.okx.com", "ws://ws.okx.com:8443/ws/v5", "nowhere"):
        with pytest.raises(InputError, match="wss://"):
            OkxStream(source, url)
    with pytest.raises(InputError, match="below 30"):
        OkxStream(source, quiet=30)

"""The collector over HTTP: truth through faults and kills, real data, the venue's pace, flat memory.

An ordinary run does a part of each; `make proof` all of it. What needs no HTTP is in tests/unit/collect.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from memory_source import MemorySource, bars
from proof import PROOF, cases

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.collect.bar_store import BarStore
from qlib.collect.collecting import Life, Summary, collect
from qlib.collect.server import Patience
from qlib.collect.source import Hole, Page, Series
from qlib.crypto import read_bars
from qlib.crypto.venues.fake import FakeVenue, Faults, random_market
from qlib.crypto.venues.okx import OkxSource

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "okx_data_collector.py"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_767_225_600_000  # 2026-01-01
QUICK = Patience(attempts=4, pause=0.001, longest=0.01, connect=20.0, read=20.0)
BAD_LINE = ("reset", "cut", "5xx", "html", "limit_html", "limit", "truncated", "code", "busy", "duplicate", "disorder",
            "short", "timeout")  # fmt: skip
KINDS = ("candles", "mark", "funding", "oi")


def run(source: Any, folder: Path, series: list[Series], start: int, end: int, **options: Any) -> Summary:
    store = BarStore(folder)
    with store.lock():
        return collect(source, store, series, start, end, **options)


def truth(market: dict[str, Any], series: Series, start: int, end: int, length: int) -> pd.DataFrame:
    frame = pd.DataFrame(market[series.kind][series.symbol if series.bar is None else (series.symbol, series.bar)])
    over = length if series.bar else 0
    keep = (frame["ts"] >= start) & (frame["ts"] < end) & (frame["ts"] + over <= market["now"])
    return frame[keep].reset_index(drop=True)


def same(stored: pd.DataFrame, wanted: pd.DataFrame, about: object = "") -> None:
    assert len(stored) == len(wanted), about
    for name in wanted.columns.intersection(stored.columns):
        np.testing.assert_array_equal(stored[name].to_numpy(), wanted[name].to_numpy(), err_msg=f"{about} {name}")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def all_series(market: dict[str, Any], bar: str) -> list[Series]:
    swaps = [row["instId"] for row in market["instruments"] if row["instType"] == "SWAP"]
    spots = [row["instId"] for row in market["instruments"] if row["instType"] == "SPOT"]
    return [Series(name, kind, None if kind == "funding" else bar) for kind in KINDS for name in swaps] + [
        Series(name, "candles", bar) for name in spots
    ]


def test_over_a_bad_line_the_store_is_the_venues_truth_after_at_most_one_rerun(tmp_path: Path):
    needed = Counter[bool]()
    for case in range(cases(4, 120)):
        rng = np.random.default_rng([60, case])
        bar, length = [("1H", HOUR), ("15m", 15 * MINUTE)][case % 2]
        market = random_market(2, 2, int(rng.integers(200, 2200)), bar, START, seed=case)
        series = all_series(market, bar)
        window = market["now"] - START
        start, end = (int(at) for at in np.sort(START + rng.integers(-window // 4, window + DAY, 2)))
        limits = {
            "market/history-candles": int(rng.choice([7, 50, 100, 300])),
            "market/candles": int(rng.choice([20, 300])),
        }
        faults = Faults(dict.fromkeys(BAD_LINE, 0.03), seed=case, hold=0.02) if case % 5 else None
        with FakeVenue(**market, limits=False, page_limits=limits, faults=faults) as venue:
            source = OkxSource(venue.url, speed=None, patience=QUICK)
            first = run(source, tmp_path / str(case), series, start, end, workers=int(rng.integers(1, 5)))
            needed[bool(first.failed)] += 1
            venue.faults = None
            if first.failed:
                again = OkxSource(venue.url, speed=None, patience=QUICK)
                assert not run(again, tmp_path / str(case), series, start, end).failed
        for one in series:
            stored = BarStore(tmp_path / str(case)).read(one)
            same(stored, truth(market, one, start, end, length), (case, one))
    assert needed[False], "patience alone is enough most of the time"


def test_mark_prices_asked_for_by_300_and_served_by_100_lose_nothing(tmp_path: Path):
    market = random_market(1, 1, 2_500, "1H", START, seed=1)
    mark = Series("BTC-USDT-SWAP", "mark", "1H")
    with FakeVenue(**market, limits=False) as venue:
        run(OkxSource(venue.url, speed=None, limit=300), tmp_path, [mark], START, market["now"])
        asked = [one for one in venue.requests if "mark-price-candles" in one.path]
        assert {one.params["limit"] for one in asked} == {"300"}
        assert len(asked) >= 25
    same(BarStore(tmp_path).read(mark), truth(market, mark, START, market["now"], HOUR))
    assert BarStore(tmp_path).gaps(mark) == []


@pytest.mark.timeout(3600)  # the whole proof starts a hundred processes
def test_a_killed_command_line_is_gone_on_with_to_the_bytes_of_an_undisturbed_one(tmp_path: Path):
    market = random_market(2, 3, 1_500, "1H", START, seed=9)
    words = ["--symbols", "BTC-USDT-SWAP,ETH-USD-SWAP,BTC-USDT", "--kind", ",".join(KINDS), "--start", "2025-12-30",
             "--end", "2026-03-01"]  # fmt: skip
    rng = np.random.default_rng(5)
    with FakeVenue(**market, limits=False, delay=0.02) as venue:

        def command(folder: Path) -> list[str]:
            given = ["--out", str(folder), "--speed", "1000", "--base_url", venue.url, "--quiet"]
            return [sys.executable, str(SCRIPT), *words, *given]

        assert subprocess.run(command(tmp_path / "whole"), check=False).returncode == 0
        needed = len(venue.requests)
        whole = files(tmp_path / "whole")
        killed = 0
        for case in range(cases(2, 50)):
            folder = tmp_path / str(case)
            child = subprocess.Popen(command(folder), stderr=subprocess.DEVNULL)
            last = len(venue.requests) + rng.integers(1, needed)  # requests, not seconds: the machine may be busy
            while len(venue.requests) < last and child.poll() is None:
                time.sleep(0.002)
            child.send_signal(signal.SIGKILL)
            killed += child.wait() == -signal.SIGKILL
            assert subprocess.run(command(folder), check=False).returncode == 0
            assert files(folder) == whole, case
        assert killed


def test_real_bars_marks_and_funding_served_by_the_venue_come_back_identical(tmp_path: Path):
    swaps = pd.read_parquet(shared("realdata/okx_swap_30m_2026.parquet"))
    marks = pd.read_parquet(shared("realdata/okx_mark_1h_2026.parquet"))
    paid = pd.read_parquet(shared("realdata/okx_funding_2026.parquet"))
    names = sorted({*swaps["symbol"].unique()[:: cases(5, 1)], "ENA-USDT-SWAP"})
    start, end = int(swaps["ts"].min()), int(swaps["ts"].max()) + 30 * MINUTE
    market = {
        "instruments": [
            {"instId": name, "instType": "SWAP", "uly": name[:-5], "ctVal": "0.1", "listTime": str(start - DAY)}
            for name in names
        ],
        "candles": {(name, "30m"): one.assign(amount=one["volume"] * one["close"]) for name, one in of(swaps, names)},
        "mark": {(name, "1H"): one for name, one in of(marks, names)},
        "funding": {name: one.assign(predicted_rate=np.nan) for name, one in of(paid, names)},
    }
    with FakeVenue(**market, now=end + 1, limits=False) as venue:
        source = OkxSource(venue.url, speed=None)
        for kind, bar in (("candles", "30m"), ("mark", "1H"), ("funding", None)):
            series = [Series(name, kind, bar) for name in names]
            summary = run(source, tmp_path, series, start, end)
            assert not summary.failed
            assert not any(summary.gaps.values()), "the files have no gaps, and no hole is made up"
    for kind, frame in (("candles", swaps), ("mark", marks), ("funding", paid)):
        for name, wanted in of(frame, names):
            same(read_bars(tmp_path, name, kind=kind), wanted, (kind, name))
    every = {name: int(np.diff(one["ts"]).min()) // HOUR for name, one in of(paid, names)}
    assert set(every.values()) == {4, 8}


def of(frame: pd.DataFrame, names: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in names:
        yield name, frame[frame["symbol"] == name].drop(columns="symbol").reset_index(drop=True)


def test_the_venues_limits_are_kept_and_no_request_is_wasted(tmp_path: Path):
    faster, count = cases((20.0, 8), (1.0, 50))
    template = random_market(0, 1, 8_760, "1H", START, seed=4)
    candles = template["candles"]["BTC-USDT-SWAP", "1H"]
    row = next(one for one in template["instruments"] if one["instId"] == "BTC-USDT-SWAP")
    names = [f"C{number:02d}-USDT-SWAP" for number in range(count)]
    instruments = [{**row, "instId": name, "uly": name[:-5], "instFamily": name[:-5]} for name in names]
    series = [Series(name, "candles", "1H") for name in names]
    with FakeVenue(instruments=instruments, candles={(name, "1H"): candles for name in names}, now=template["now"],
                   limits=faster) as venue:  # fmt: skip
        source = OkxSource(venue.url, speed=faster)
        source.instruments()
        began = time.monotonic()
        summary = run(source, tmp_path, series, START, template["now"], workers=4)
        took = time.monotonic() - began
        asked = Counter(one.path.rpartition("/")[2] for one in venue.requests)
        refused = [one for one in venue.requests if one.status != 200]
    assert not summary.failed
    assert summary.changes[series[0]].added == len(candles) - 1
    assert not refused
    recent, history = 1_440 / 300, (8_760 - 1_440) / 300
    assert asked["candles"] <= count * (recent + 2)
    assert asked["history-candles"] <= count * (history + 2)
    if PROOF:
        dictated = (asked["history-candles"] - 20) / 10
        print(f"{count} series x {len(candles)} bars: {took:.1f} s, the limit itself dictates {dictated:.1f} s")
        assert took <= 1.3 * dictated


class Endless(MemorySource):
    """Bars of one minute that are made when they are asked for."""

    def walk(self, series: Series, start: int, end: int) -> Iterator[Page | Hole]:
        for top in range(end, start, -1000 * MINUTE):
            bottom = max(start, top - 1000 * MINUTE)
            self.requests += 1
            yield Page(bottom, top, bars(np.arange(bottom, top, MINUTE)))


def peak(folder: Path, count: int) -> int:
    """Collect so many bars, in a process of its own, and return the most memory it took (kB)."""
    series = Series("X", "candles", "1m")
    summary = run(Endless({}), folder / str(count), [series], START, START + count * MINUTE)
    assert summary.changes[series].added == count
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_memory_is_flat_in_the_number_of_bars(tmp_path: Path):
    few, many = cases((150_000, 750_000), (500_000, 5_000_000))
    taken = []
    for count in (few, many):  # fresh processes: one that is forked begins with what the tests before it took
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            taken.append(pool.submit(peak, tmp_path, count).result())
    assert taken[1] - taken[0] < 30_000, "kB; the bars themselves would be 43 MB, in the proof 324 MB"


def test_the_life_of_an_instrument_decides_what_a_gap_is_called(tmp_path: Path):
    market = random_market(3, 3, 600, "1H", START, seed=11)
    listed = {row["instId"]: int(row["listTime"]) for row in market["instruments"]}
    series = [one for one in all_series(market, "1H") if one.kind == "candles"]
    with FakeVenue(**market, limits=False) as venue:
        source = OkxSource(venue.url, speed=None)
        lives = {one.symbol: Life(one.listed) for one in source.instruments()}
        summary = run(source, tmp_path, series, START - 5 * DAY, market["now"], lives=lives)
    for one in series:
        stored = BarStore(tmp_path).read(one)["ts"].to_numpy()
        due = np.arange(START - 5 * DAY, market["now"] // HOUR * HOUR, HOUR)
        told = np.concatenate([np.arange(gap.start, gap.end, HOUR) for gap, _ in summary.gaps[one]] or [[]])
        hours = {int(hour) for hour in -(-told // HOUR) * HOUR}
        assert hours == set(due.tolist()) - set(stored.tolist()), "every hour is stored or in a gap"
        for gap, count in summary.gaps[one]:
            if gap.reason == "before the listing":
                assert gap.end <= max(listed[one.symbol], START - 5 * DAY)
            else:
                assert gap.start >= listed[one.symbol] - HOUR
                assert count == 0 or count == (gap.end - gap.start) // HOUR

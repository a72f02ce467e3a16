"""From two servers to the universe of a backtest: snapshots day by day, bars, a store, a market, its features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qlib.cli import main
from qlib.config import build_settings
from qlib.crypto.snapshots import Archive, read_snapshots
from qlib.crypto.venues.coingecko import CoinGecko
from qlib.crypto.venues.fake import FakeVenue, random_coins, random_market
from qlib.data.provider import Provider

DAY = 86_400_000
START = 1_767_225_600_000  # 2026-01-01


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch):
    market = random_market(n_spot=1, n_swap=6, bars=24 * 12, bar="1H", start=START, seed=11)
    with FakeVenue(**market, **random_coins(market), limits=False) as venue:
        for name, url in (("OKX_BASE_URL", venue.url), ("COINGECKO_BASE_URL", venue.coingecko_url)):
            monkeypatch.setenv(name, url)
        for name in ("COINGECKO_API_KEY", "COINGECKO_PRO_API_KEY"):
            monkeypatch.delenv(name, raising=False)
        yield venue


def test_the_whole_road(venue: FakeVenue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    end = venue.now
    archive = Archive("marketcap")
    for day in range(2, 12):
        venue.now = START + day * DAY + 7_500_000  # 02:05
        listing = CoinGecko(speed=None, clock=lambda: venue.now).markets(50)
        archive.add(listing.rows, listing.taken)
    venue.now = end

    perpetuals = [name for name in venue.market.instruments if name.endswith("-USDT-SWAP")]
    lines = [f"{name}\t2026-01-01\t2026-01-12\n" for name in (*perpetuals, "DEAD-USDT-SWAP")]
    Path("wanted.txt").write_text("".join(lines))
    words = "--universe wanted.txt --bar 1H --start 2026-01-01 --end 2026-01-13 --quiet"
    assert main.main(["collect", "okx", *words.split()]) == 0
    assert "of the universe cannot be collected: 1 (DEAD-USDT-SWAP" in capsys.readouterr().err
    assert main.main(["collect", "convert", "--klines", "data/klines", "--qlib_dir", "store", "--bar", "1H"]) == 0
    build = "--snapshots marketcap --top 2 --qlib_dir store --freq 60min --names {symbol}-USDT-SWAP --market top2"
    assert main.main(["universe", "build", *build.split()]) == 0, capsys.readouterr().err

    provider = Provider(build_settings(provider_uri="store", region="crypto"))
    rows = provider.features(provider.instruments("top2"), ["$close"], freq="60min").reset_index()
    ranked = read_snapshots("marketcap")
    stored = {name.removesuffix("-USDT-SWAP"): name for name in perpetuals}
    ranked = ranked[ranked["symbol"].isin(list(stored))]
    days = 0
    for time, group in rows.groupby("datetime"):
        known = ranked[ranked["known"] <= pd.Timestamp(str(time)).value // 10**6]
        newest = known[known["known"] == known["known"].max()]
        # who was listed, and dear enough, at the last snapshot before this bar opened
        best = newest.nlargest(2, "market_cap")["symbol"].map(stored)
        assert set(group["instrument"]) == set(best), time
        days += 1
    assert days > 24 * 8
    assert rows["datetime"].min() == pd.Timestamp("2026-01-03 03:00")
    assert np.isfinite(rows["$close"]).any()

    assert main.main(["universe", "report", *build.split()[:-2], "--json", "r.json"]) == 0
    assert "flatters the past by" in capsys.readouterr().out

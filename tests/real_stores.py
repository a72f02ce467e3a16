"""Stores of real bars, made of ../shared/realdata by the road that a user's data take: klines, then convert."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from qlib.collect.bar_store import BarStore
from qlib.collect.convert import convert
from qlib.collect.source import COLUMNS, Page, Series

REAL = Path(__file__).resolve().parents[2] / "shared" / "realdata"
HOUR, DAY = 3_600_000, 86_400_000


def table(name: str) -> pd.DataFrame:
    return pd.read_parquet(REAL / f"{name}.parquet")


def coarser(bars: pd.DataFrame, size: int) -> pd.DataFrame:
    """Bars of `size` milliseconds, of those that are whole."""
    first = bars["ts"] // size * size
    step = int(bars["ts"].diff().mode()[0])
    groups = bars.groupby([bars["symbol"], first])
    made = groups.agg(open=("open", "first"), high=("high", "max"), low=("low", "min"), close=("close", "last"),
                      volume=("volume", "sum"), amount=("amount", "sum"), count=("ts", "size"))  # fmt: skip
    whole = made[made.pop("count") == size // step].rename_axis(["symbol", "ts"]).reset_index()
    return whole.assign(vwap=whole["amount"] / whole["volume"], traded=True)


def collected(root: Path, parts: dict[tuple[str, str | None], pd.DataFrame], begin: int, end: int) -> Path:
    """Write tables (kind, bar) -> rows with a symbol as klines."""
    klines = BarStore(root / "klines")
    with klines.lock():
        for (kind, bar), rows in parts.items():
            for symbol, own in rows.groupby("symbol"):
                series = Series(str(symbol), kind, bar)
                columns = {name: own[name].to_numpy() for name in COLUMNS[kind]}
                klines.add(series, Page(begin, end, columns))
                klines.seal(series)
    return root / "klines"


def okx_perpetuals(root: Path, most: int = 39) -> Path:
    """Perpetuals of OKX in May and June 2026: hours and days, with their mark prices and their funding."""
    halves, mark, funding = (table(f"okx_{name}_2026") for name in ("swap_30m", "mark_1h", "funding"))
    names = ["BTC-USDT-SWAP", *(name for name in halves["symbol"].unique() if name != "BTC-USDT-SWAP")][:most]
    halves, mark, funding = (one[one["symbol"].isin(names)].copy() for one in (halves, mark, funding))
    halves["amount"] = halves["volume"] * (halves["high"] + halves["low"] + halves["close"]) / 3
    parts = {
        ("candles", "1H"): coarser(halves, HOUR),
        ("candles", "1Dutc"): coarser(halves, DAY),
        ("mark", "1H"): mark,
        ("funding", None): funding.assign(predicted_rate=np.nan),
    }
    begin, end = int(halves["ts"].min()), int(halves["ts"].max()) + HOUR // 2
    klines = collected(root, parts, begin, end)
    for bar in ("1H", "1Dutc"):
        convert(klines, root / "store", bar)
    return root / "store"


def coinbase_spot(root: Path, least: int = 1_500) -> Path:
    """Days of the Coinbase pairs that are there until the end, for years; their vwap is made up: the mean of prices."""
    days = table("coinbase_spot_1d_2020_2025")
    last = days.groupby("symbol")["ts"].transform("max")
    rows = days.groupby("symbol")["ts"].transform("size")
    kept = days[(last == days["ts"].max()) & (rows >= least)].copy()
    kept["vwap"] = kept[["open", "high", "low", "close"]].mean(axis=1)
    kept["amount"], kept["traded"] = kept["vwap"] * kept["volume"], True
    begin, end = int(kept["ts"].min()), int(kept["ts"].max()) + DAY
    convert(collected(root, {("candles", "1Dutc"): kept}, begin, end), root / "store", "1Dutc")
    return root / "store"

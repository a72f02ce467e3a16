"""A small market in a `BarStore` for tests: hours of a few symbols, with everything that a converter has to join."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from qlib.collect.bar_store import BarStore
from qlib.collect.source import Page, Rows, Series

HOUR = 3_600_000
START = 1_767_225_600_000  # 2026-01-01


def candles(first: int, count: int, seed: int = 0, step: int = HOUR) -> Rows:
    """Return bars of a walk, from hour `first` after START on."""
    rng = np.random.default_rng([seed, first, step])
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.01, count))), 2)
    opens = np.round(close * np.exp(rng.normal(0, 0.002, count)), 2)
    volume = np.round(rng.lognormal(3, 1, count), 3) + 0.001
    amount = np.round(volume * (opens + close) / 2, 6)
    return {
        "ts": START + first * HOUR + np.arange(count, dtype=np.int64) * step,
        "open": opens,
        "high": np.maximum(opens, close) + 0.1,
        "low": np.minimum(opens, close) - 0.1,
        "close": close,
        "volume": volume,
        "amount": amount,
        "vwap": amount / volume,
        "traded": np.ones(count, bool),
    }


def marks(first: int, count: int, seed: int = 0, step: int = HOUR) -> Rows:
    rows = candles(first, count, seed + 100, step)
    return {name: rows[name] for name in ("ts", "open", "high", "low", "close")}


def funding(first: int, last: int, every: int = 8, seed: int = 0, late: int = 0) -> Rows:
    """Return payments at the hours first, first + every ... before `last`, `late` ms after them."""
    hours = np.arange(first, last, every, dtype=np.int64)
    rate = np.round(np.random.default_rng([seed, abs(first)]).normal(1e-4, 1e-4, len(hours)), 8)
    return {"ts": START + hours * HOUR + late, "rate": rate, "predicted_rate": rate}


def open_interest(first: int, count: int, seed: int = 0) -> Rows:
    base = np.round(np.random.default_rng([seed, abs(first)]).lognormal(8, 0.1, count), 2)
    return {
        "ts": START + (first + np.arange(count, dtype=np.int64)) * HOUR,
        "oi": base * 100, "oi_base": base, "oi_quote": base * 99,
    }  # fmt: skip


def without(rows: Rows, *positions: int) -> Rows:
    """Return rows without some of them: a hole."""
    kept = ~np.isin(np.arange(len(rows["ts"])), positions)
    return {name: values[kept] for name, values in rows.items()}


def add(
    folder: Path, symbol: str, kind: str, bar: str | None, rows: Rows, start: int, end: int, seal: bool = True
) -> None:
    """Store a page of [start, end), in hours after START."""
    store = BarStore(folder)
    series = Series(symbol, kind, bar)
    with store.lock():
        store.add(series, Page(START + start * HOUR, START + end * HOUR, rows))
        if seal:
            store.seal(series)


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def stamp(hour: float) -> pd.Timestamp:
    return pd.Timestamp(START + int(hour * HOUR), unit="ms")

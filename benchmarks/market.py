"""A random market in Qlib's file format, made with numpy alone, so that no implementation writes its own exam.

    python benchmarks/market.py FOLDER                            800 stocks, 3,412 days; 50 coins, 26,304 hours
    python benchmarks/market.py FOLDER --stocks 80 --hours 2000   smaller

    FOLDER/stocks      calendars/day.txt     instruments/all.txt     features/sh600000/close.day.bin
                                             instruments/index.txt   the first 300
    FOLDER/coins       calendars/60min.txt   instruments/all.txt     features/c000usdt/close.60min.bin
    FOLDER/made.json   what was asked for; the same request leaves the files alone

Like a real one where it matters for speed and for correctness: three in ten names are listed late, three in a hundred
leave early, trading halts leave gaps (NaN in every field), volatility comes in clusters, stocks share a market factor
and carry a split factor that jumps.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

SEED = 20_090_711
INDEX = 300  # members of the universe `index`


@dataclass(frozen=True)
class Size:
    """How large a market is; the defaults are those of docs/performance.md."""

    stocks: int = 800
    days: int = 3412
    coins: int = 50
    hours: int = 26_304


@dataclass(frozen=True)
class Kind:
    """What differs between the two stores."""

    freq: str
    volatility: float  # of one bar
    halts: float  # per bar
    limit: float  # largest return of one bar
    adjusted: bool  # prices begin at 1, `factor` jumps at splits


STOCKS = Kind("day", 0.022, 2 / 240, 0.0999, adjusted=True)
COINS = Kind("60min", 0.05 / np.sqrt(24), 3 / 8760, 0.3, adjusted=False)


def trading_days(count: int) -> np.ndarray:
    """Return weekdays from 2007 on without the first of January, of May to the third, and a week in October."""
    days = np.datetime64("2007-01-01") + np.arange(2 * count + 30)
    month = days.astype("datetime64[M]")
    name = (month.astype(int) % 12 + 1) * 100 + (days - month).astype(int) + 1
    closed = (name == 101) | ((name >= 501) & (name <= 503)) | ((name >= 1001) & (name <= 1007))
    return days[np.is_busday(days) & ~closed][:count]


def clusters(rng: np.random.Generator, bars: int, names: int) -> np.ndarray:
    """Return volatility relative to its usual level: exp of a slow random walk that returns, (bars, names)."""
    level, all_levels = np.zeros(names), np.empty((bars, names))
    for shock, row in zip(rng.standard_normal((bars, names)) * 0.12, all_levels, strict=True):
        level = 0.97 * level + shock
        row[:] = level
    return np.exp(all_levels)


def prices(rng: np.random.Generator, kind: Kind, bars: int, names: int) -> dict[str, np.ndarray]:
    """Return the fields of every name over all bars, (bars, names) float64, nothing missing yet."""
    calm = clusters(rng, bars, names)
    common = rng.standard_normal((bars, 1)) * clusters(rng, bars, 1) * kind.volatility * 0.55
    own = rng.standard_normal((bars, names)) * calm * kind.volatility * rng.uniform(0.6, 1.3, names)
    change = np.clip(rng.normal(1.0, 0.25, names) * common + own, -kind.limit, kind.limit)
    first = np.exp(rng.normal(2.5, 0.8, names))
    close = first * np.exp(np.cumsum(change, axis=0))
    before = np.vstack([first, close[:-1]])
    opened = before * np.exp(rng.standard_normal((bars, names)) * np.abs(change) * 0.3)
    reach = np.abs(rng.standard_normal((bars, names))) * calm * kind.volatility * 0.5
    high = np.maximum(opened, close) * np.exp(reach * rng.uniform(0.1, 1, (bars, names)))
    low = np.minimum(opened, close) * np.exp(-reach * rng.uniform(0.1, 1, (bars, names)))
    volume = np.exp(rng.normal(14.5, 1, names) + 8 * np.abs(change) + rng.standard_normal((bars, names)) * 0.4)
    fields = {
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume.round(),
        "vwap": low + (high - low) * rng.uniform(0.25, 0.75, (bars, names)),
        "factor": np.ones((bars, names)),
    }
    if kind.adjusted:
        split = rng.random((bars, names)) < 0.7 / 240
        fields["factor"] = np.exp(np.cumsum(split * rng.uniform(0.005, 0.04, (bars, names)), axis=0)) / first
        for field in ("open", "high", "low", "close", "vwap"):
            fields[field] /= first
        fields["volume"] /= fields["factor"]
    return fields


def lives(rng: np.random.Generator, bars: int, names: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last bar of every name."""
    first, last = np.zeros(names, int), np.full(names, bars - 1)
    late, dead = rng.random(names) < 0.3, rng.random(names) < 0.03
    first[late] = (rng.random(late.sum()) * bars * 0.7).astype(int)
    last[dead] = (bars * rng.uniform(0.6, 0.99, dead.sum())).astype(int)
    return np.minimum(first, np.maximum(0, last - 300)), last


def halted(rng: np.random.Generator, bars: int, names: int, per_bar: float) -> np.ndarray:
    """Return where trading rests, boolean (bars, names): runs of three bars on average."""
    rests = np.zeros((bars, names), bool)
    for name, count in enumerate(rng.poisson(bars * per_bar, names)):
        for start, length in zip(rng.integers(1, bars, count), rng.geometric(1 / 3, count), strict=True):
            rests[start : start + length, name] = True
    return rests


def since_last(close: np.ndarray) -> np.ndarray:
    """Return close / the last close seen - 1, NaN where there is none."""
    rows = np.where(np.isnan(close), 0, np.arange(len(close))[:, None])
    seen = np.take_along_axis(close, np.maximum.accumulate(rows, axis=0), axis=0)
    change = np.full_like(close, np.nan)
    change[1:] = close[1:] / seen[:-1] - 1
    return change


def write_store(root: Path, kind: Kind, times: np.ndarray, names: list[str], rng: np.random.Generator) -> None:
    """Write one store; `times` are the texts of the calendar."""
    bars, count = len(times), len(names)
    fields = prices(rng, kind, bars, count)
    first, last = lives(rng, bars, count)
    rests = halted(rng, bars, count, kind.halts)
    for values in fields.values():
        values[rests] = np.nan
    fields["change"] = since_last(fields["close"])
    for folder in ("calendars", "instruments"):
        (root / folder).mkdir(parents=True)
    (root / "calendars" / f"{kind.freq}.txt").write_text("\n".join(times) + "\n")
    lines = [f"{name}\t{times[a]}\t{times[b]}\n" for name, a, b in zip(names, first, last, strict=True)]
    (root / "instruments" / "all.txt").write_text("".join(lines))
    (root / "instruments" / "index.txt").write_text("".join(lines[:INDEX]))
    for i, name in enumerate(names):
        own = root / "features" / name.lower()
        own.mkdir(parents=True)
        for field, values in fields.items():
            stored = np.concatenate([[first[i]], values[first[i] : last[i] + 1, i]])
            stored.astype("<f4").tofile(own / f"{field}.{kind.freq}.bin")


def request(size: Size) -> dict[str, int]:
    """Return what identifies a market: equal requests make equal files."""
    return {**asdict(size), "seed": SEED, "version": 1}


def make_market(root: Path, size: Size) -> None:
    """Write both stores below `root`, unless they are there already."""
    made = root / "made.json"
    if made.exists() and json.loads(made.read_text()) == request(size):
        return
    if root.exists() and any(root.iterdir()):
        message = f"{root} holds something else than the market asked for ({request(size)}): name another folder"
        raise FileExistsError(message)
    rng = np.random.default_rng(SEED)
    names = [f"SH{600_000 + i}" if i % 2 == 0 else f"SZ{i:06d}" for i in range(size.stocks)]
    write_store(root / "stocks", STOCKS, trading_days(size.days).astype(str), names, rng)
    hours = np.datetime64("2020-01-01T00:00:00") + np.arange(size.hours) * np.timedelta64(1, "h")
    texts = np.char.replace(hours.astype(str), "T", " ")
    write_store(root / "coins", COINS, texts, [f"C{i:03d}USDT" for i in range(size.coins)], rng)
    made.write_text(json.dumps(request(size)))


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser one option per number of `Size`."""
    for name, default in asdict(Size()).items():
        parser.add_argument(f"--{name}", type=int, default=default)


def size_of(asked: argparse.Namespace) -> Size:
    """Return the size that the options of `add_size_options` ask for."""
    return Size(**{name: getattr(asked, name) for name in asdict(Size())})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    add_size_options(parser)
    asked = parser.parse_args()
    make_market(asked.folder, size_of(asked))
    return 0


if __name__ == "__main__":
    sys.exit(main())

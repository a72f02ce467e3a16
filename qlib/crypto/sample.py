"""A seeded, synthetic market of 50 coins: what a fresh machine without a network runs on.

    shocks (hour, coin) ──► price path ──► hourly bars ──► daily bars ──► score of day t
                                ▲                                            │
                                └──────── return of day t+2 ◄── planted.py ──┘

Nothing in it is real and nothing looks real: the coins are SYN01 ... SYN50, the index of all of them is MARKET. It has
the properties that make real coin data hard: coins listed late and coins delisted, hours and a whole day in which the
exchange was down (no bar: NaN, never filled), hours with flat bars without volume, a coin of 0.000001 and one of
100,000, heavy tails, volatility that clusters, volume that follows it. Prices are fair games apart from a drift common
to all coins and the part described in `planted.py`: the null twin (`null=True`, same shocks, nothing planted) has no
cross-sectional predictability at all. To that end the moves within a day add up instead of compounding: the return of
a day is symmetric, so that neither its mean nor its median depends on the volatility, which anybody can predict.

Time is UTC and naive; a bar is stamped with its opening time; `funding` is the rate settled every eight hours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from qlib.crypto.planted import IC, WINDOW, planted_score
from qlib.errors import InputError

VERSION = 1
DEFAULT_SEED = 2026
BENCHMARK = "MARKET"
HOURS = 24
WIDEST_DAY = 0.6
FIELDS = ("open", "high", "low", "close", "volume", "vwap", "factor", "change", "funding")


@dataclass(frozen=True, slots=True)
class MarketSpec:
    """All that decides the market: the same spec gives the same bytes.

    `ic` is the planted information coefficient (0: the null twin); `hourly_days` is the length of the hourly part of
    the store, counted back from the last day. Volatilities are per day, `turnover` is money per day of the largest
    coin, `market_drift` the daily return common to all coins.
    """

    seed: int = DEFAULT_SEED
    start: str = "2021-01-01"
    days: int = 1461
    hourly_days: int = 366
    coins: int = 50
    late: int = 14
    delisted: int = 6
    ic: float = IC
    market_drift: float = 0.0008
    market_volatility: float = 0.022
    volatility: tuple[float, float] = (0.025, 0.060)
    beta: tuple[float, float] = (0.7, 1.3)
    turnover: float = 2e9

    def __post_init__(self) -> None:
        bounds = {
            "days": (self.days, 60, 100_000),
            "hourly_days": (self.hourly_days, 1, self.days),
            "coins": (self.coins, 6, 99),
            "late": (self.late, 0, self.coins - 4),
            "delisted": (self.delisted, 0, self.coins - 4 - self.late // 2),
            "ic": (self.ic, 0.0, 0.5),
        }
        for name, (value, lowest, highest) in bounds.items():
            if not lowest <= value <= highest:
                raise InputError(f"the sample market needs {name} between {lowest} and {highest}, received {value!r}")


@dataclass(frozen=True, slots=True)
class Coins:
    """The cast, one entry a coin: first and last (exclusive) hour on the exchange, price at the first."""

    names: tuple[str, ...]
    listed: np.ndarray
    delisted: np.ndarray
    start_price: np.ndarray
    volatility: np.ndarray
    beta: np.ndarray
    turnover: np.ndarray


@dataclass(frozen=True, slots=True)
class Events:
    """What went wrong when: arrays (days, 24[, coins]) of hours without a bar and of hours without a trade."""

    dark: np.ndarray
    flat: np.ndarray
    log: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shocks:
    """Everything random about an hour, drawn before any price exists; shape (days, 24, coins)."""

    fair: np.ndarray
    volatility: np.ndarray
    wick_up: np.ndarray
    wick_down: np.ndarray
    money: np.ndarray
    tilt: np.ndarray
    funding: np.ndarray


class SampleMarket:
    """A market that was played from start to end; `frames("day")` and `frames("60min")` hand out its bars."""

    def __init__(self, spec: MarketSpec | None = None) -> None:
        self.spec = spec or MarketSpec()
        streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(self.spec.seed).spawn(3)]
        self.coins = _cast_coins(self.spec, streams[0])
        self.events = _draw_events(self.spec, self.coins, streams[1])
        shocks = _draw_shocks(self.spec, self.coins, self.events, streams[2])
        self.hours, self.days = _play(self.spec, self.coins, self.events, shocks)

    def frames(self, freq: str) -> dict[str, pd.DataFrame]:
        """Bars by name, coins first and MARKET last: index DatetimeIndex (UTC, naive), float32 columns.

        A coin's rows run from its first to its last hour (day) on the exchange without a gap in the index; a bar that
        the exchange never made is a row of NaN.
        """
        bars, stamps = (self.days, self._stamps("day")) if freq == "day" else (self._recent_hours(), self._stamps(freq))
        return {
            name: frame
            for column, name in enumerate((*self.coins.names, BENCHMARK))
            if not (frame := _one_coin(bars, stamps, column)).empty
        }

    def _stamps(self, freq: str) -> pd.DatetimeIndex:
        if freq == "day":
            return pd.date_range(self.spec.start, periods=self.spec.days, freq="D")
        if freq == "60min":
            every = pd.date_range(self.spec.start, periods=self.spec.days * HOURS, freq="h")
            return every[-self.spec.hourly_days * HOURS :]
        raise InputError(f"the sample market has bars of freq day and 60min, received {freq!r}")

    def _recent_hours(self) -> dict[str, np.ndarray]:
        return {name: values[-self.spec.hourly_days * HOURS :] for name, values in self.hours.items()}


def _cast_coins(spec: MarketSpec, rng: np.random.Generator) -> Coins:
    """Sizes fall with the rank; SYN01 is the expensive coin, the middle one the cheap one, both there all along."""
    rank = np.arange(spec.coins)
    cheap, hours = spec.coins // 2, spec.days * HOURS
    price = np.exp(rng.normal(0.0, 2.5, spec.coins))
    price[0], price[cheap] = 100_000.0, 1e-6
    low, high = spec.volatility
    volatility = (low + (high - low) * rank / max(spec.coins - 1, 1)) * np.exp(rng.normal(0.0, 0.15, spec.coins))
    beta = rng.uniform(*spec.beta, spec.coins)
    movable = rng.permutation(np.setdiff1d(rank, [0, cheap]))
    listed = np.zeros(spec.coins, dtype=np.int64)
    listed[movable[: spec.late]] = rng.integers(hours // 20, hours * 3 // 4, spec.late)
    delisted = np.full(spec.coins, hours, dtype=np.int64)
    leaving = movable[spec.late // 2 : spec.late // 2 + spec.delisted]
    earliest = np.maximum(listed[leaving] + hours // 8, hours // 4)
    delisted[leaving] = earliest + (rng.uniform(0.0, 1.0, len(leaving)) * (hours * 0.96 - earliest)).astype(np.int64)
    names = tuple(f"SYN{number + 1:02d}" for number in rank)
    return Coins(names, listed, delisted, price, volatility, beta, spec.turnover / (rank + 1.0) ** 1.3)


def _draw_events(spec: MarketSpec, coins: Coins, rng: np.random.Generator) -> Events:
    """Four outages (one swallows a whole day), two flat spells of the exchange, two coins halted for a day."""
    hours, stamps = spec.days * HOURS, pd.date_range(spec.start, periods=spec.days * HOURS, freq="h")
    dark = np.zeros(hours, dtype=bool)
    flat = np.zeros((hours, spec.coins), dtype=bool)
    log: list[dict[str, Any]] = []

    def note(kind: str, coin: str, first: int, length: int) -> None:
        log.append({"kind": kind, "coin": coin, "from": str(stamps[first]), "hours": length})

    for share, length in ((0.15, 1), (0.45, 6), (0.65, 40), (0.90, 12)):
        first = int(hours * (share + rng.uniform(-0.03, 0.03)))
        if length > HOURS:
            first = first // HOURS * HOURS - 10
        dark[first : first + length] = True
        note("no bars", "all", first, length)
    for share, length in ((0.30, 2), (0.95, 3)):
        first = int(hours * (share + rng.uniform(-0.03, 0.03)))
        flat[first : first + length] = True
        note("flat bars, no volume", "all", first, length)
    whole = np.flatnonzero((coins.listed == 0) & (coins.delisted == hours))
    for share, coin in zip((0.50, 0.85), rng.choice(whole, 2, replace=False), strict=True):
        first = int(hours * (share + rng.uniform(-0.03, 0.03))) // HOURS * HOURS
        flat[first : first + HOURS, coin] = True
        note("flat bars, no volume", coins.names[coin], first, HOURS)
    shape = (spec.days, HOURS)
    return Events(dark.reshape(shape), flat.reshape(*shape, spec.coins), log)


def _draw_shocks(spec: MarketSpec, coins: Coins, events: Events, rng: np.random.Generator) -> Shocks:
    """Fair hourly returns, wicks, money traded and funding noise of the whole market."""
    days, shape = spec.days, (spec.days, HOURS, spec.coins)
    mood = _clustering(rng, (days, 1), persistence=0.97, spread=0.35)
    own = _clustering(rng, (days, spec.coins), persistence=0.94, spread=0.25)
    volatility = coins.volatility * mood * own
    market = spec.market_volatility * mood * _fat_tails(rng, (days, HOURS)) / np.sqrt(HOURS)
    noise = _fat_tails(rng, shape) / np.sqrt(HOURS)
    hourly = volatility[:, None, :] * np.sqrt(1.0 - spec.ic**2) * noise
    fair = spec.market_drift / HOURS + coins.beta * market[..., None] + hourly
    hour = np.arange(spec.days * HOURS).reshape(days, HOURS)[..., None]
    asleep = (hour < coins.listed) | (hour >= coins.delisted) | events.flat
    fair = np.where(asleep, 0.0, fair)
    reach = np.abs(np.cumsum(fair, axis=1)).max(axis=1, keepdims=True)
    fair *= np.minimum(1.0, WIDEST_DAY / np.maximum(reach, WIDEST_DAY))
    size = volatility[:, None, :] / np.sqrt(HOURS)
    wick_up, wick_down = (
        np.where(asleep, 0.0, np.minimum(0.5 * size * np.abs(rng.normal(size=shape)), 0.3)) for _ in "ud"
    )
    busy = 1.0 + 0.4 * np.sin(2 * np.pi * (np.arange(HOURS) - 8) / HOURS)[:, None]
    stirred = (mood * own) ** 0.8
    attention = _clustering(rng, (days, spec.coins), persistence=0.9, spread=0.4)
    money = coins.turnover / HOURS * busy * (stirred * attention)[:, None, :]
    money = money * np.exp(rng.normal(0.0, 0.5, shape)) * (0.5 + 0.5 * np.abs(fair) / size)
    return Shocks(
        fair=fair,
        volatility=np.where(asleep, 0.0, volatility[:, None, :]),
        wick_up=wick_up,
        wick_down=wick_down,
        money=np.where(asleep, 0.0, money),
        tilt=rng.uniform(-0.5, 0.5, shape),
        funding=rng.normal(0.0, 5e-5, (days, 3, spec.coins)),
    )


def _clustering(rng: np.random.Generator, shape: tuple[int, int], *, persistence: float, spread: float) -> np.ndarray:
    """Positive level around 1 that wanders slowly: exp of a first-order autoregression, mean square 1."""
    level = np.empty(shape)
    state = rng.normal(0.0, spread, shape[1])
    steps = rng.normal(0.0, spread * np.sqrt(1.0 - persistence**2), shape)
    for day in range(shape[0]):
        state = persistence * state + steps[day]
        level[day] = state
    return np.exp(level - spread**2)


def _fat_tails(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Symmetric shocks of variance 1 with the tails of Student's t with four degrees of freedom."""
    return rng.standard_t(4, shape) / np.sqrt(2.0)


def _play(
    spec: MarketSpec, coins: Coins, events: Events, shocks: Shocks
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Walk through the days; return hourly (hours, coins + 1) and daily (days, coins + 1) bars, MARKET last.

    The only feedback is the planted one: the score of day d - 2, read from daily bars that are already made, moves
    day d. Bars are rounded to float32 before anything looks at them, so the store holds exactly what was scored.
    """
    count = spec.coins + 1
    hours = {
        name: np.full((spec.days, HOURS, count), np.nan) for name in ("open", "high", "low", "close", "volume", "vwap")
    }
    days = {name: np.full((spec.days, count), np.nan) for name in hours}
    hour = np.arange(spec.days * HOURS).reshape(spec.days, HOURS)[..., None]
    alive = (hour >= coins.listed) & (hour < coins.delisted)
    seen = np.concatenate([alive, np.ones((spec.days, HOURS, 1), dtype=bool)], axis=2) & ~events.dark[..., None]
    score = np.zeros((spec.days, spec.coins))
    last = np.append(coins.start_price, 1000.0)
    for day in range(spec.days):
        push = spec.ic / HOURS * score[day - 2] if day >= 2 else 0.0
        bars, last = _hourly_bars(shocks, day, alive[day], push, last)
        for name, values in bars.items():
            hours[name][day] = np.where(seen[day], values.astype(np.float32), np.nan)
        for name, values in _aggregate({name: array[day] for name, array in hours.items()}, seen[day]).items():
            days[name][day] = values.astype(np.float32)
        if day >= WINDOW - 1:
            window = slice(day - WINDOW + 1, day + 1)
            score[day] = np.nan_to_num(
                planted_score(*(days[name][window, :-1] for name in ("high", "low", "close", "volume")))
            )
    funding = _funding(shocks, hours["close"], seen)
    hours = {name: array.reshape(-1, count) for name, array in (hours | {"funding": funding}).items()}
    days["funding"] = np.where(np.isfinite(funding).any(axis=1), np.nansum(funding, axis=1), np.nan)
    for bars in (hours, days):
        bars["factor"] = np.where(np.isfinite(bars["close"]), 1.0, np.nan)
        bars["change"] = _change(bars["close"])
    return hours, days


def _hourly_bars(
    shocks: Shocks, day: int, alive: np.ndarray, push: np.ndarray | float, last: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Bars of one day, (24, coins + 1), and the last prices; the index moves by the mean return of the living coins."""
    moves = shocks.fair[day] + shocks.volatility[day] * push
    index = np.divide(moves.sum(axis=1), alive.sum(axis=1), out=np.zeros(HOURS), where=alive.any(axis=1))
    path = last * (1.0 + np.cumsum(np.column_stack([moves, index]), axis=0))
    opened = np.vstack([last, path[:-1]])
    up, down = (np.column_stack([wick[day], np.zeros(HOURS)]) for wick in (shocks.wick_up, shocks.wick_down))
    high, low = np.maximum(opened, path) * (1.0 + up), np.minimum(opened, path) * (1.0 - down)
    middle = (opened + path + high + low) / 4.0
    tilt = np.column_stack([shocks.tilt[day], np.zeros(HOURS)])
    vwap = middle + tilt * np.minimum(high - middle, middle - low)
    money = np.where(alive, shocks.money[day], 0.0)
    volume = np.column_stack([money, money.sum(axis=1)]) / vwap
    return {"open": opened, "high": high, "low": low, "close": path, "volume": volume, "vwap": vwap}, path[-1]


def _aggregate(bars: dict[str, np.ndarray], seen: np.ndarray) -> dict[str, np.ndarray]:
    """One bar out of the hourly bars of a day that exist; NaN where none does."""
    columns = np.arange(seen.shape[1])
    first, final = seen.argmax(axis=0), HOURS - 1 - seen[::-1].argmax(axis=0)
    volume = np.where(seen, bars["volume"], 0.0)
    total = volume.sum(axis=0)
    close = bars["close"][final, columns]
    money = np.where(seen, bars["vwap"] * bars["volume"], 0.0).sum(axis=0)
    return {
        "open": bars["open"][first, columns],
        "high": np.fmax.reduce(bars["high"]),
        "low": np.fmin.reduce(bars["low"]),
        "close": close,
        "volume": np.where(seen.any(axis=0), total, np.nan),
        "vwap": np.divide(money, total, out=close.copy(), where=total > 0),
    }


def _funding(shocks: Shocks, close: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rate settled at 00, 08 and 16 o'clock: higher after a rise of the last 24 hours; NaN in the other hours."""
    flat = close.reshape(-1, close.shape[2])
    rise = np.zeros_like(flat)
    rise[HOURS + 1 :] = np.nan_to_num(flat[HOURS:-1] / flat[: -HOURS - 1] - 1.0)
    rates = np.full(close.shape, np.nan)
    rise = rise.reshape(close.shape)
    rates[:, ::8, :-1] = np.clip(1e-4 + 2e-3 * rise[:, ::8, :-1] + shocks.funding, -0.0075, 0.0075)
    return np.where(seen, rates, np.nan)


def _change(close: np.ndarray) -> np.ndarray:
    """Return since the last bar that exists; NaN for the first bar and where there is none."""
    known = pd.DataFrame(close)
    return (known / known.ffill().shift(1) - 1.0).to_numpy()


def _one_coin(bars: dict[str, np.ndarray], stamps: pd.DatetimeIndex, column: int) -> pd.DataFrame:
    """Rows of one name from its first to its last bar."""
    there = np.flatnonzero(np.isfinite(bars["close"][:, column]))
    span = slice(there[0], there[-1] + 1) if len(there) else slice(0, 0)
    fields = [name for name in FIELDS if name != "funding" or np.isfinite(bars[name][span, column]).any()]
    return pd.DataFrame(
        {name: bars[name][span, column].astype(np.float32) for name in fields}, index=stamps[span].rename("datetime")
    )

"""A market nobody ever saw, with everything in it that real ones have and tests of collectors forget.

    with FakeVenue(**random_market(n_spot=2, n_swap=3, bars=5_000, bar="1m", start=1_767_225_600_000, seed=7)) as venue:
        ...

In it: instruments listed inside the window (every third), bars that do not exist (spot only: no trade, no bar),
an outage of the venue with flat bars of zero volume in every series, one inverse perpetual, funding every 8 hours and
every 4 for each second swap, a change of the interval, open interest, mark prices near the last price, and an index.
`now` is half a bar after the last whole one, so the newest bar is forming.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.crypto.venues.fake.bars import DAY, HOUR, MINUTE, PRICES, size
from qlib.errors import InputError

_BASES: Final = (
    "BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "AVAX", "LINK", "DOT", "LTC", "UNI", "ATOM", "FIL", "APT", "ARB", "OP",
    "SUI", "NEAR", "INJ", "TIA", "AAVE", "PEPE", "TRX", "ETC", "XLM",
)  # fmt: skip
_OTHER: Final = 13 * HOUR  # listing times do not fall on midnight


def random_market(
    n_spot: int = 2,
    n_swap: int = 2,
    bars: int = 1000,
    bar: str = "1m",
    start: int = 1_767_225_600_000,
    seed: int = 0,
    *,
    n_futures: int = 0,
    trades: int = 0,
) -> dict[str, Any]:
    """Make the arguments of a `FakeVenue`.

    Parameters
    ----------
    n_spot, n_swap
        How many spot pairs and perpetuals against USDT; with two swaps or more, the second is inverse (USD).
    bars, bar, start
        Length of the window in bars of size `bar` (up to a day), from `start` (ms UTC, rounded down to a bar).
    seed
        The same numbers give the same market, byte for byte.
    n_futures
        How many futures against USDT; they expire at 08:00 UTC, thirty days after the window.
    trades
        The last so many bars of every instrument are made of trades, and agree with them in all five numbers.

    >>> market = random_market(1, 2, 300, "1H", seed=1)
    >>> sorted(row["instId"] for row in market["instruments"])
    ['BTC-USDT', 'BTC-USDT-SWAP', 'ETH-USD-SWAP']
    """
    unit = size(bar)
    if unit.months:
        raise InputError(f"random_market: bar must have a fixed length, got {bar!r}")
    rng = np.random.default_rng(seed)
    first = int(unit.open(np.array(start)))
    grid = first + np.arange(bars + 1, dtype=np.int64) * unit.step
    outage = slice(bars // 2, bars // 2 + max(1, bars // 100))
    made: dict[str, Any] = {
        "instruments": [], "candles": {}, "mark": {}, "index": {}, "funding": {}, "oi": {}, "trades": {},
        "now": int(grid[-1]) + unit.step // 2,
    }  # fmt: skip
    for number in range(max(n_spot, n_swap, n_futures)):
        base = _BASES[number % len(_BASES)] + ("" if number < len(_BASES) else str(number // len(_BASES)))
        frame, tick = _walk(rng, grid, outage)
        late = number % 3 == 2
        begin = int(grid[len(grid) // 3]) + unit.step // 3 if late else first - _OTHER
        frame = frame[frame["ts"] >= int(unit.open(np.array(begin)))].reset_index(drop=True)
        last = _trades(rng, frame, min(trades, len(frame)), unit.step)
        if number < n_spot:
            _spot(made, rng, base, bar, frame, tick, begin, last)
        if number < n_swap:
            row = _contract(base, tick, begin, len(made["instruments"]), inverse=number == 1)
            _derivative(made, rng, row, bar, frame, last)
            made["funding"][row["instId"]] = _funding(rng, begin, int(frame["ts"].iloc[-1]), short=number % 2 == 1)
        if number < n_futures:
            row = _contract(base, tick, begin, len(made["instruments"]), inverse=False)
            _derivative(made, rng, row | _expiry(row, int(grid[-1])), bar, frame, last)
    return made


def _walk(rng: np.random.Generator, grid: np.ndarray, outage: slice) -> tuple[pd.DataFrame, float]:
    """Prices on a tick grid; inside the outage every bar is flat at the close before it."""
    level = 10 ** rng.uniform(-2, 4.5)
    tick = 10.0 ** (int(np.floor(np.log10(level))) - 4)
    steps = rng.normal(0, 0.002, (len(grid), 4))
    close = level * np.exp(np.cumsum(steps[:, 0]))
    close[outage] = close[max(0, outage.start - 1)]
    opened = np.r_[level, close[:-1]]
    high = np.maximum(opened, close) * (1 + np.abs(steps[:, 1]))
    low = np.minimum(opened, close) * (1 - np.abs(steps[:, 2]))
    volume = np.round(rng.lognormal(3, 1, len(grid)) / level * 1000, 4) + 1e-4
    flat = np.zeros(len(grid), bool)
    flat[outage] = True
    flat[0] = False
    high, low, opened = np.where(flat, close, high), np.where(flat, close, low), np.where(flat, close, opened)
    digits = max(0, -int(np.floor(np.log10(tick) + 0.5)))
    rounded = (np.round(values, digits) for values in (opened, high, low, close))
    prices = dict(zip(PRICES, rounded, strict=True))
    volume = np.where(flat, 0.0, volume)
    frame = pd.DataFrame({"ts": grid, **prices, "volume": volume})
    frame["amount"] = np.round(volume * (prices["high"] + prices["low"]) / 2, 6)
    return frame, tick


def _trades(rng: np.random.Generator, frame: pd.DataFrame, count: int, step: int) -> pd.DataFrame | None:
    """Trades of the last `count` bars of `frame`, whose volume and amount become the sums of the trades.

    Four trades or more make a bar: the first at its open, one at its high, one at its low, the last at its close.
    """
    if not count:
        return None
    rows = np.flatnonzero(frame["volume"].to_numpy() > 0)
    rows = rows[rows >= len(frame) - count]
    pieces = rng.integers(4, 9, len(rows))
    owner, first = np.repeat(rows, pieces), np.r_[0, np.cumsum(pieces)[:-1]]
    total = int(pieces.sum())
    columns = {name: frame[name].to_numpy(copy=True) for name in ("ts", *PRICES, "volume", "amount")}
    price = columns["close"][owner]  # more trades at the close
    for place, name in enumerate(("open", "high", "low")):
        price[first + place] = columns[name][rows]
    within = np.arange(total) - np.repeat(first, pieces)
    ts = columns["ts"][owner] + (within * step) // np.repeat(pieces, pieces)
    size = np.round(rng.lognormal(0, 1, total) * columns["volume"][owner] / np.repeat(pieces, pieces), 4) + 1e-4
    size = np.round(size, 4)
    columns["volume"][rows] = np.round(np.add.reduceat(size, first), 4)
    columns["amount"][rows] = np.round(np.add.reduceat(size * price, first), 6)
    frame["volume"], frame["amount"] = columns["volume"], columns["amount"]
    side = np.where(rng.random(total) < 0.5, "buy", "sell").astype(object)
    trade_id = 700_000_000 + np.arange(total, dtype=np.int64)
    return pd.DataFrame({"ts": ts, "trade_id": trade_id, "price": price, "size": size, "side": side})


def _spot(
    made: dict[str, Any],
    rng: np.random.Generator,
    base: str,
    bar: str,
    frame: pd.DataFrame,
    tick: float,
    begin: int,
    trades: pd.DataFrame | None,
) -> None:
    name = f"{base}-USDT"
    made["instruments"].append(
        {
            "instType": "SPOT", "instId": name, "baseCcy": base, "quoteCcy": "USDT", "listTime": str(begin),
            "tickSz": tick, "lotSz": "0.0001", "minSz": "0.001", "lever": "10", "maxLmtSz": "9999999999",
            "maxMktSz": "1000000", "maxLmtAmt": "20000000", "maxMktAmt": "1000000",
            "instIdCode": 20_000 + len(made["instruments"]),
        }
    )  # fmt: skip
    there = rng.random(len(frame)) >= 0.02
    there |= (frame["volume"] == 0).to_numpy()  # flat bars of an outage are the venue's own and do exist
    there[[0, -1]] = True
    if trades is not None:
        there |= (frame["ts"] >= trades["ts"].iloc[0]).to_numpy()
        made["trades"][name] = trades
    made["candles"][name, bar] = frame[there].reset_index(drop=True)


def _contract(base: str, tick: float, begin: int, code: int, *, inverse: bool) -> dict[str, Any]:
    """The row of a perpetual."""
    family = f"{base}-{'USD' if inverse else 'USDT'}"
    return {
        "instType": "SWAP", "instId": f"{family}-SWAP", "uly": family, "instFamily": family,
        "settleCcy": base if inverse else "USDT", "ctVal": "10" if inverse else "0.01", "ctMult": "1",
        "ctValCcy": "USD" if inverse else base, "ctType": "inverse" if inverse else "linear", "listTime": str(begin),
        "tickSz": tick, "lotSz": "1" if inverse else "0.01", "minSz": "1" if inverse else "0.01", "lever": "100",
        "maxLmtSz": "100000000", "maxMktSz": "30000", "maxLmtAmt": "20000000", "instIdCode": 10_000 + code,
    }  # fmt: skip


def _expiry(row: dict[str, Any], end: int) -> dict[str, Any]:
    """What makes a future of a perpetual."""
    moment = (end // DAY + 30) * DAY + 8 * HOUR
    name = f"{row['instFamily']}-{np.datetime64(moment, 'ms').item():%y%m%d}"
    return {"instType": "FUTURES", "instId": name, "alias": "next_month", "expTime": str(moment)}


def _derivative(
    made: dict[str, Any],
    rng: np.random.Generator,
    row: dict[str, Any],
    bar: str,
    frame: pd.DataFrame,
    trades: pd.DataFrame | None,
) -> None:
    """Bars, trades, mark prices, index and open interest of one perpetual or future."""
    name, digits = row["instId"], max(0, 1 - int(np.floor(np.log10(row["tickSz"]) + 0.5)))
    made["instruments"].append(row)
    made["candles"][name, bar] = frame
    if trades is not None:
        made["trades"][name] = trades
    for kind, where, spread in (("mark", name, 1e-4), ("index", row["uly"], 2e-4)):
        shift = 1 + rng.normal(0, spread, len(frame))
        opened, close = (np.round(frame[column].to_numpy() * shift, digits) for column in ("open", "close"))
        high = np.maximum(np.round(frame["high"].to_numpy() * shift, digits), np.maximum(opened, close))
        low = np.minimum(np.round(frame["low"].to_numpy() * shift, digits), np.minimum(opened, close))
        prices = {"ts": frame["ts"].to_numpy(), "open": opened, "high": high, "low": low, "close": close}
        made[kind].setdefault((where, bar), pd.DataFrame(prices))
    period = bar if size(bar).step >= 5 * MINUTE else "5m"
    on_time = frame[size(period).open(frame["ts"].to_numpy()) == frame["ts"].to_numpy()]
    coins = np.round(rng.lognormal(8, 0.1, len(on_time)), 4)
    dollars = np.round(coins * on_time["close"].to_numpy(), 4)
    units = dollars if row["ctType"] == "inverse" else coins
    contracts = np.round(units / float(row["ctVal"]), 4)
    made["oi"][name, period] = pd.DataFrame(
        {"ts": on_time["ts"].to_numpy(), "oi": contracts, "oi_base": coins, "oi_quote": dollars}
    )


def _funding(rng: np.random.Generator, begin: int, end: int, *, short: bool) -> pd.DataFrame:
    """Payments every eight hours, or (short) every four and in the end every hour; two of them are still to come."""
    step = 4 * HOUR if short else 8 * HOUR
    ts = np.arange(-(-begin // step) * step, end + 16 * HOUR, step, dtype=np.int64)
    if short and len(ts) > 6:
        ts = np.unique(np.r_[ts[:-2], np.arange(ts[-3] + HOUR, ts[-1] + 1, HOUR)])
    rate = np.round(rng.normal(1e-4, 2e-4, len(ts)), 10)
    predicted = np.round(rate + rng.normal(0, 1e-5, len(ts)), 10)
    return pd.DataFrame({"ts": ts, "rate": rate, "predicted_rate": predicted})

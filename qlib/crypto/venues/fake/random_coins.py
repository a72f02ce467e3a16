"""CoinGecko's view of a random market: the coins behind its pairs, and the company they keep in every ranking.

    market = random_market(n_spot=3, n_swap=3, bars=2_000, bar="1H", seed=7)
    FakeVenue(**market, **random_coins(market, seed=7))

Every base currency is a coin whose price is the venue's. Beside them: a stable coin and a wrapped one that nobody
should trade, a clone with the symbol of the first coin and another price, a coin without any number, and one that was
second by market cap until it died in the middle of the window.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.crypto.venues.fake.bars import HOUR

_NAMES: Final = {
    "BTC": "bitcoin", "ETH": "ethereum", "SOL": "solana", "XRP": "ripple", "DOGE": "dogecoin", "ADA": "cardano",
    "AVAX": "avalanche-2", "LINK": "chainlink", "DOT": "polkadot", "LTC": "litecoin",
}  # fmt: skip


def random_coins(market: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Make the arguments `coins` and `coin_history` that fit a market of `random_market`.

    >>> from qlib.crypto.venues.fake.random_market import random_market
    >>> made = random_coins(random_market(1, 1, 300, "1H"))
    >>> [row["id"] for row in made["coins"]][:2]
    ['bitcoin', 'tether']
    """
    rng = np.random.default_rng(seed)
    prices: dict[str, pd.DataFrame] = {}
    for row in market["instruments"]:
        base = row.get("baseCcy") or row["uly"].split("-")[0]
        (frame,) = [table for (name, _), table in market["candles"].items() if name == row["instId"]]
        prices.setdefault(base, frame[["ts", "close", "amount"]])
    rows: list[dict[str, Any]] = []
    history: dict[str, pd.DataFrame] = {}

    def add(name: str, symbol: str, ts: np.ndarray, price: np.ndarray, cap: float, **more: Any) -> None:
        rows.append({"id": name, "symbol": symbol, "name": name.replace("-", " ").title(), **more})
        values = {"ts": ts, "price": price, "market_cap": price / price[0] * cap}
        history[name] = pd.DataFrame(values | {"volume": values["market_cap"] * 0.05})

    largest = 1e12
    for place, (base, frame) in enumerate(prices.items()):
        hours = frame[frame["ts"] % HOUR == 0]
        frame = hours if len(hours) else frame
        ts, price = frame["ts"].to_numpy(), frame["close"].to_numpy()
        add(_NAMES.get(base, base.lower()), base.lower(), ts, price, largest / (place + 1) ** 1.5)
        if place:
            continue
        steady = np.round(1 + rng.normal(0, 2e-4, len(ts)), 4)
        add("tether", "usdt", ts, steady, largest * 0.1)
        add("wrapped-bitcoin", f"w{base.lower()}", ts, np.round(price * 0.999, 8), largest * 0.01)
        add("clone", base.lower(), ts, np.round(price / 997, 8), largest * 1e-4)
        middle = len(ts) // 2
        falls = np.linspace(1, 0.01, max(1, len(ts) - middle)) ** 3
        doomed = np.round(np.r_[np.full(middle, 80.0), 80 * falls][: len(ts)], 8)
        died = int(ts[min(middle + middle // 2, len(ts) - 1)])
        add("terra-luna", "luna", ts, doomed, largest * 0.6, inactive_since=died)
    rows.append({"id": "unpriced", "symbol": "unp", "name": "Unpriced"})
    return {"coins": rows, "coin_history": history}

"""Coins that are not a bet of their own: what stands in a ranking, and not in a universe that trades.

    kind_of("USDT", "tether")     'stable'      pegged to a currency
    kind_of("WBTC", "...")        'wrapped'     another coin in another wrapper
    kind_of("STETH", "...")       'staked'      another coin and its interest
    kind_of("PAXG", "pax-gold")   'backed'      gold and the like in a vault; not left out unless asked
    kind_of("BTC", "bitcoin")     ''

A coin is recognised by its CoinGecko id or, where the id is made of a name, by its ticker. The tables were written by
hand in 2026 from public knowledge and grow old: `unlisted_pegs` names coins that behave like a peg and are in none of
them. A stable coin that lost its peg stays in its table, because it was left out while nobody knew.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TICKERS: Final[dict[str, frozenset[str]]] = {
    "stable": _words(
        "USDT USDC DAI BUSD TUSD USDP PAX PYUSD FDUSD GUSD USDD USDE USDS SUSD USDN UST USTC FRAX FEI LUSD MIM HUSD "
        "CUSD USDJ USDX EURS EURT EURC EUROC GHO CRVUSD USD0 USDG RLUSD USD1 USDF USDY USDB USDX USDK SAI VAI "
        "OUSD DOLA ALUSD MUSD XSGD BIDR IDRT TRYB XIDR SUSDE SUSDS USYC BUIDL USDTB USDAI SATUSD BFUSD USDC.E AUSD "
        "DEUSD LISUSD USR FRXUSD USDO EURI EURCV NUSD ZUSD"
    ),
    "wrapped": _words(
        "WBTC WETH WBNB WAVAX WMATIC WSOL WTRX WBETH HBTC RENBTC BTCB TBTC CBBTC FBTC SOLVBTC LBTC PUMPBTC UNIBTC "
        "SBTC BBTC IMBTC WEETH WHYPE KBTC EBTC WROSE WEGLD WFTM WCRO WHBAR BTCK HETH"
    ),
    "staked": _words(
        "STETH WSTETH RETH CBETH METH SFRXETH FRXETH EZETH RSETH PUFETH SWETH ANKRETH OSETH ETHX STMATIC MATICX MSOL "
        "JITOSOL BNSOL JUPSOL BSOL JSOL STSOL STKBNB ANKRBNB SLISBNB STAVAX SAVAX STATOM STSUI AFSUI HASUI KHYPE "
        "LSETH CETH CDAI CUSDC AETH BETH VSOL HSOL"
    ),
    "backed": _words("PAXG XAUT DGX PMGT KAU KAG XAUM"),
}  # fmt: skip
IDS: Final[dict[str, str]] = {
    "tether": "stable", "usd-coin": "stable", "dai": "stable", "usds": "stable", "ethena-usde": "stable",
    "first-digital-usd": "stable", "paypal-usd": "stable", "true-usd": "stable", "binance-usd": "stable",
    "terrausd": "stable", "usdd": "stable", "frax": "stable", "ripple-usd": "stable", "euro-coin": "stable",
    "ethena-staked-usde": "stable", "susds": "stable", "blackrock-usd-institutional-digital-liquidity-fund": "stable",
    "wrapped-bitcoin": "wrapped", "weth": "wrapped", "coinbase-wrapped-btc": "wrapped", "wrapped-eeth": "wrapped",
    "binance-bitcoin": "wrapped", "tbtc": "wrapped", "solv-btc": "wrapped", "lombard-staked-btc": "wrapped",
    "staked-ether": "staked", "wrapped-steth": "staked", "rocket-pool-eth": "staked", "wrapped-beacon-eth": "staked",
    "mantle-staked-ether": "staked", "renzo-restaked-eth": "staked", "kelp-dao-restaked-eth": "staked",
    "jito-staked-sol": "staked", "binance-staked-sol": "staked", "msol": "staked",
    "pax-gold": "backed", "tether-gold": "backed",
    "frax-prev-fxs": "", "frax-share": "",  # took over the ticker of the stable coin of its own protocol
}  # fmt: skip
KINDS: Final = tuple(TICKERS)
LEFT_OUT: Final = ("stable", "wrapped", "staked")

_PEG: Final = 0.02  # how far from a whole unit a peg strays, in most of its snapshots
_SEEN: Final = 3  # snapshots, at least


def kind_of(symbol: str, coin: str = "") -> str:
    """Return "stable", "wrapped", "staked", "backed", or "" for a coin of its own; `coin` is the id.

    >>> [kind_of("usdt"), kind_of("XYZ", "staked-ether"), kind_of("BTC", "bitcoin")]
    ['stable', 'staked', '']
    """
    if coin in IDS:
        return IDS[coin]
    return next((kind for kind, tickers in TICKERS.items() if symbol.upper() in tickers), "")


def unlisted_pegs(coins: pd.DataFrame) -> list[str]:
    """Return the ids in a snapshot table whose price stays at 1 and which no table knows: stable coins, most likely.

    A coin counts where it has three snapshots or more and nine of ten of its prices lie within 2 % of 1.
    """
    near = (coins["price"] - 1).abs() < _PEG
    by_coin = near.groupby([coins["id"], coins["symbol"]])
    share, seen = by_coin.mean(), by_coin.size()
    found = share.index[(share.to_numpy() >= 0.9) & (seen.to_numpy() >= _SEEN)]
    return sorted({coin for coin, symbol in found if not kind_of(symbol, coin)})


def kinds(coins: pd.DataFrame) -> np.ndarray:
    """Return `kind_of` of every row of a snapshot table."""
    if not len(coins):
        return np.empty(0, dtype=object)
    pairs = pd.MultiIndex.from_arrays([coins["symbol"], coins["id"]])
    codes, known = pairs.factorize()
    return np.array([kind_of(symbol, coin) for symbol, coin in known], dtype=object)[codes]

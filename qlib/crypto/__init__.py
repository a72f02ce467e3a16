"""The crypto wing: what is true of these markets only. The rooms below it never say the word.

sample.py        a synthetic market of 50 coins for a machine without a network
sample_store.py  writes it as a store that says what it is
planted.py       the predictable part hidden in it, and the oracle that knows it
venues/          the dialects of venues: plain bars out
symbols.py       how markets are spelled
snapshots.py     rankings of coins, from when they were known; the archive of them
coin_classes.py  coins that are not a bet of their own: stable, wrapped, staked
mapping.py       which coin is which instrument: by ticker, price and rank
universe.py      which coins were the top when, known then
survivorship.py  how much a list of today flatters the past
top.py           the list of today
actions.py       renames, redenominations, reused tickers: one name and one unit for an asset
attribution.py   where the profit of a back-test came from, by coin, side and day
features.py      Crypto158: tables of formulas, windows in hours and days; handler.py brings them to models
listing.py       when a coin is too young, or about to go: filters
spot.py          the price at the spot market, as a field of the perpetual
market.py        spot and perpetuals as exchanges of the backtest: the seams of the core, answered
contracts.py     lots, least orders, what a contract is worth, as of the date
fees.py          what the venue charges, by what was traded in 30 days
funding.py       what longs pay shorts, at its own times; unknown is never zero
margin.py        isolated and cross, tiers, liquidation prices
strategy.py      weights with a sign: long-short, carry

    read_bars("data/klines", "BTC-USDT-SWAP", "1H")     what was collected, as one sorted DataFrame
    read_instruments("data/klines")                     every row of the venue's list, and since when it was known
"""

from qlib.collect.bar_store import read_bars
from qlib.collect.instrument_history import read_instruments

__all__ = ["read_bars", "read_instruments"]

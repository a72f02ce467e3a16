"""A venue on this machine that real clients take for OKX and CoinGecko: for tests, for trying things out, for faults.

    from qlib.crypto.venues.fake import FakeVenue, Faults, random_market

    with FakeVenue(**random_market(n_spot=2, n_swap=2, bars=2_000, bar="1m")) as venue:
        print(venue.url)            # http://127.0.0.1:43711

bars.py           names and opening times of bars, what is visible now, pages
market.py         what is true at the venue
random_market.py  a market made up, with everything real ones have
random_coins.py   the coins behind it
view.py           the market at one moment, and refusals
rest.py           the OKX v5 REST dialect
quotes.py         tickers, books and trades, for REST and WebSocket alike
files.py          the archive of past days: zip files
stream.py         the OKX v5 WebSocket dialect
sockets.py        its connections
coingecko.py      the CoinGecko v3 dialect
desk.py           one question in, one answer out
limits.py         rate limits
faults.py         what goes wrong, on request
server.py         the server: `FakeVenue`
"""

from __future__ import annotations

from qlib.crypto.venues.fake.faults import Fault, Faults
from qlib.crypto.venues.fake.random_coins import random_coins
from qlib.crypto.venues.fake.random_market import random_market
from qlib.crypto.venues.fake.server import Asked, FakeVenue

__all__ = ["Asked", "FakeVenue", "Fault", "Faults", "random_coins", "random_market"]

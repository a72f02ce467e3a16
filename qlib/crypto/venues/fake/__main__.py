"""The fake venue on the command line, for whoever wants to point a client at it.

    python -m qlib.crypto.venues.fake --port 8900
    python -m qlib.crypto.venues.fake --port 8900 --fault reset=0.02 --fault html=0.01

It runs until Ctrl-C, in real time: the last hours are made of trades, and the next day happens while it runs.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence

from qlib.crypto.venues.fake.bars import DAY, size
from qlib.crypto.venues.fake.faults import KINDS, Faults
from qlib.crypto.venues.fake.random_coins import random_coins
from qlib.crypto.venues.fake.random_market import random_market
from qlib.crypto.venues.fake.server import FakeVenue
from qlib.errors import InputError, QlibError

_EPILOGUE = f"""faults: {", ".join(kind for kind in KINDS if kind != "delist")}

example:
  python -m qlib.crypto.venues.fake --port 8900 &
  export OKX_BASE_URL=http://127.0.0.1:8900
  python scripts/okx_data_collector.py --symbols BTC-USDT-SWAP --bar 1H --start 2026-01-01 --out /tmp/klines
"""


def main(arguments: Sequence[str] | None = None, until: threading.Event | None = None) -> int:
    """Serve until Ctrl-C (or until an event is set) and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m qlib.crypto.venues.fake",
        description="A venue on this machine that clients take for OKX and CoinGecko, with a made-up market.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 (default) takes a free one")
    parser.add_argument("--spot", type=int, default=5, help="number of spot pairs (default 5)")
    parser.add_argument("--swap", type=int, default=5, help="number of perpetuals (default 5)")
    parser.add_argument("--days", type=float, default=30.0, help="days of the past (default 30)")
    parser.add_argument("--bar", default="1m", help="size of the smallest bars (default 1m)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the market and of the faults (default 0)")
    parser.add_argument("--limits", type=float, default=1.0, help="so many times the real rate limits; 0: none")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that every answer takes")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND=CHANCE", help="a fault and its chance per request"
    )
    asked = parser.parse_args(arguments)
    try:
        step = size(asked.bar).step
        if not step:
            raise InputError(f"--bar: received {asked.bar}; it must have a fixed length")
        now = time.time_ns() // 1_000_000
        past, ahead = (max(2, round(days * DAY / step)) for days in (asked.days, 1))
        market = random_market(
            asked.spot, asked.swap, past + ahead, asked.bar, now - past * step, asked.seed, trades=2 * ahead
        )
        market |= random_coins(market, asked.seed) | {"now": None}
        faults = Faults(_chances(asked.fault), seed=asked.seed) if asked.fault else None
        limits = asked.limits if asked.limits else False
        venue = FakeVenue(**market, limits=limits, faults=faults, delay=asked.delay, port=asked.port)
        with venue:
            _tell(venue)
            try:
                (until or threading.Event()).wait()
            except KeyboardInterrupt:
                sys.stdout.write(f"{len(venue.requests)} requests answered\n")
    except QlibError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, InputError) else 1
    return 0


def _chances(given: Sequence[str]) -> dict[str, float]:
    chances = {}
    for item in given:
        kind, _, chance = item.partition("=")
        try:
            chances[kind] = float(chance)
        except ValueError:
            raise InputError(f"--fault: received {item!r}; write it as KIND=CHANCE, such as reset=0.02") from None
    return chances


def _tell(venue: FakeVenue) -> None:
    names = ", ".join(venue.market.instruments)
    sys.stdout.write(
        f"OKX REST        {venue.url}            OKX_BASE_URL={venue.url}\n"
        f"OKX WebSocket   {venue.ws_url}/public and /business\n"
        f"CoinGecko       {venue.coingecko_url}\n"
        f"instruments     {names}\n"
        "Ctrl-C ends it.\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""Venues as plug-ins: each dialect in a file of its own, plain bars out.

VENUES                     name -> class; a new venue is one file and one row here
open_venue("okx")          OkxSource(), a `qlib.collect.source.Source`
open_venue("ccxt:kraken")  CcxtSource("kraken"): any exchange that ccxt knows
"""

from __future__ import annotations

from typing import Any, Final

from qlib.collect.source import Source
from qlib.crypto.venues.ccxt_source import CcxtSource
from qlib.crypto.venues.okx import OkxSource
from qlib.errors import InputError, did_you_mean

VENUES: Final[dict[str, Any]] = {
    "okx": OkxSource,
    "ccxt": CcxtSource,
}


def open_venue(name: str, **settings: Any) -> Source:
    """Return the source of a venue.

    Parameters
    ----------
    name
        A name in VENUES, with what comes after a colon as its first argument.
    settings
        Arguments of the class.

    >>> open_venue("okx", base_url="http://127.0.0.1:1")
    OkxSource('http://127.0.0.1:1')
    """
    venue, _, first = str(name).partition(":")
    if venue not in VENUES:
        raise InputError(f"venue: received {name!r}; {', '.join(VENUES)} are allowed{did_you_mean(venue, VENUES)}")
    source: Source = VENUES[venue](*([first] if first else []), **settings)
    return source

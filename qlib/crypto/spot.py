"""The price of a perpetual's coin at its spot market, as a field of the perpetual: `$spot`.

    add_spot("data/qlib_data", "60min")        {"BTC-USDT-SWAP": "BTC-USDT", ...}
    D.features(["BTC-USDT-SWAP"], ["$close/$spot-1"], freq="60min")

A formula speaks of one instrument, so the other price must lie beside it: the close of the spot market at the same bar,
copied bit by bit on the bars from the perpetual's first to its last, missing where it is missing. Run it after each
conversion; it happens whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from qlib.crypto.symbols import Symbol, parse
from qlib.data.storage.binary import read_bin, to_bytes
from qlib.data.storage.file_storage import calendar_freqs, feature_path, same_freq
from qlib.data.storage.instruments import read_instruments
from qlib.data.storage.transaction import replacing
from qlib.errors import InputError, MissingDataError


def add_spot(
    qlib_dir: str | os.PathLike[str], freq: str = "60min", pairs: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Write the field `spot` of perpetuals into a store, and return perpetual -> spot market.

    Parameters
    ----------
    qlib_dir
        The store, in which both markets are.
    freq
        Size of the bars.
    pairs
        Perpetual -> spot market; by default those of the store whose names say so, BTC-USDT-SWAP and BTC-USDT.

    Raises
    ------
    MissingDataError
        There is no such store, no such frequency, or a market of `pairs` has no close; without `pairs`, there is not
        one pair. The store is as it was.
    """
    root = Path(qlib_dir).expanduser().resolve()
    stored = same_freq(freq, calendar_freqs(root))
    if stored is None:
        raise MissingDataError(f"{root} has no calendar of {freq}; it has {', '.join(calendar_freqs(root)) or 'none'}")
    chosen = _named(root) if pairs is None else dict(pairs)
    closes = {name: feature_path(root, name, "close", stored) for pair in chosen.items() for name in pair}
    absent = sorted(name for name, path in closes.items() if not path.exists())
    if pairs is None:
        chosen = {swap: spot for swap, spot in chosen.items() if not {swap, spot}.intersection(absent)}
    elif absent:
        raise MissingDataError(f"pairs: {', '.join(absent)} has no close at {freq} in {root}")
    if not chosen:
        raise MissingDataError(f"{root}: no perpetual has its spot market beside it at {freq}; give `pairs`")
    with replacing(root) as change:
        for swap, spot in chosen.items():
            first, own = read_bin(closes[swap])
            begin, other = read_bin(closes[spot])
            values = np.full(len(own), np.nan, dtype="<f4")
            low, high = max(first, begin), min(first + len(own), begin + len(other))
            if low < high:
                values[low - first : high - first] = other[low - begin : high - begin]
            path = feature_path(root, swap, "spot", stored)
            change.write(path.relative_to(root).as_posix(), to_bytes(first, values))
    return chosen


def _named(root: Path) -> dict[str, str]:
    """Return the pairs that the names in a store say."""
    names = {name.upper() for path in sorted((root / "instruments").glob("*.txt")) for name in read_instruments(path)}
    found = {}
    for name in sorted(names):
        try:
            symbol = parse(name)
        except InputError:
            continue
        spot = Symbol(symbol.base, symbol.quote).venue
        if symbol.kind == "swap" and spot in names:
            found[name] = spot
    return found

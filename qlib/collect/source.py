"""What a venue gives and a collector takes: plain types, no names of venues.

    venue dialect ──Page──► collector ──► BarStore

    source.walk(Series("BTC-USDT-SWAP", "candles", "1H"), start, end)
        Page(start=2_000, end=3_000, rows={...})       newest first;
        Page(start=1_000, end=2_000, rows={...})       a page touches the one before it
        Hole(start=0, end=1_000, reason="...")         this part cannot be had, and why

Times are int64 milliseconds UTC, ranges are [start, end), a bar is stamped with its open time. A number that the venue
does not give is NaN, never zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from qlib.errors import RunError

Rows = dict[str, np.ndarray]

# The columns of each kind, in this order, with their types. `ts` (trades: `trade_id`) ascends and is unique.
COLUMNS: Final[dict[str, dict[str, str]]] = {
    "candles": {
        "ts": "int64",
        "open": "float64",
        "high": "float64",
        "low": "float64",
        "close": "float64",
        "volume": "float64",  # base units: coins, never contracts
        "amount": "float64",  # quote units: what the volume was worth
        "vwap": "float64",  # amount / volume; NaN where nothing was traded
        "traded": "bool",  # False: the flat bar without volume that a venue shows while nobody could trade
    },
    "mark": {"ts": "int64", "open": "float64", "high": "float64", "low": "float64", "close": "float64"},
    "index": {"ts": "int64", "open": "float64", "high": "float64", "low": "float64", "close": "float64"},
    "funding": {"ts": "int64", "rate": "float64", "predicted_rate": "float64"},  # rate: what was paid
    "oi": {"ts": "int64", "oi": "float64", "oi_base": "float64", "oi_quote": "float64"},  # oi: contracts
    "trades": {
        "ts": "int64",  # ascends, but many trades share a millisecond
        "trade_id": "int64",
        "price": "float64",
        "size": "float64",  # base units
        "side": "str",  # of the taker: "buy" or "sell"
    },
}
KINDS: Final = ("candles", "mark", "index", "funding", "oi", "trades")
WITHOUT_BAR: Final = ("funding", "trades")


class VenueError(RunError):
    """The venue cannot be reached, or did not answer what it was asked."""


class InstrumentError(VenueError):
    """One instrument cannot be had (unknown, delisted, suspended, not yet listed); the others can."""

    def __init__(self, symbol: str, why: str, code: str = "") -> None:
        super().__init__(f"{symbol}: {why}")
        self.symbol, self.why, self.code = symbol, why, code

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.symbol, self.why, self.code)


@dataclass(frozen=True, order=True)
class Series:
    """One thing that can be collected.

    >>> Series("BTC-USDT-SWAP", "candles", "1H")
    Series(symbol='BTC-USDT-SWAP', kind='candles', bar='1H')
    """

    symbol: str  # as the venue spells it
    kind: str  # one of KINDS
    bar: str | None  # as the venue spells it: "1H", "1Dutc"; oi: its period; None for funding and trades


@dataclass(frozen=True)
class Instrument:
    """One row of the venue's list of instruments. A number that the venue does not tell is NaN, a time None."""

    symbol: str
    kind: str  # "spot", "swap" or "futures"
    base: str
    quote: str
    settle: str  # the currency that profit is paid in; "" for spot
    inverse: bool  # settled in the base currency: a contract is worth a fixed sum of quote
    listed: int | None  # ms: first trading; bars before it do not exist
    delisted: int | None  # ms: the end, past or announced
    state: str  # "live", "suspend", "preopen", ... as the venue says it
    tick: float = float("nan")  # smallest step of the price
    lot: float = float("nan")  # smallest step of the size: base units for spot, contracts otherwise
    minimum: float = float("nan")  # smallest size
    contract_value: float = float("nan")  # one contract, in base units (inverse: in quote units)
    multiplier: float = float("nan")
    maximum: float = float("nan")  # largest size of one market order of a contract
    maximum_value: float = float("nan")  # largest worth of one market order of a spot pair, in its quote
    raw: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)  # the venue's own row, whole


@dataclass(frozen=True, eq=False)
class Page:
    """Everything in [start, end) is now known: these rows, and nothing else exists at the venue.

    `rows` holds the COLUMNS of the kind, in order, oldest first; no row lies outside [start, end).
    """

    start: int
    end: int
    rows: Rows


@dataclass(frozen=True)
class Hole:
    """Nothing of [start, end) can be had from the venue now, for this reason; it stays unknown.

    `forever`: nor later, so that nobody need ask again (what the venue has thrown away).
    """

    start: int
    end: int
    reason: str
    forever: bool = False


@runtime_checkable
class Source(Protocol):
    """A venue, seen from here. All methods may be called from several threads at once."""

    name: str

    @property
    def requests(self) -> int:
        """How many requests were sent so far, also those that had to be repeated."""
        ...

    def instruments(self) -> list[Instrument]:
        """Return what the venue lists now (delisted ones vanish from it: keep what you saw)."""
        ...

    def walk(self, series: Series, start: int, end: int) -> Iterator[Page | Hole]:
        """Yield what is final of [start, end), newest page first.

        Pages and holes are disjoint. Together they cover [start, end) up to the bar that still forms; what lies before
        the first bar of an instrument is a page without rows.

        Raises
        ------
        InstrumentError
            This instrument cannot be had; others can.
        VenueError
            The venue does not answer, or not with what was asked. Pages that were yielded before stay true.
        """
        ...

    def check_bar(self, bar: str) -> str:
        """Return the venue's spelling of a bar size; InputError with the nearest right one."""
        ...

    def bar_ms(self, bar: str) -> int:
        """Return the length of a bar in ms (of the shortest, where they differ: months)."""
        ...

    def opens(self, bar: str, start: int, end: int) -> np.ndarray:
        """Return the open times (int64 ms) that bars in [start, end) have at this venue, months included."""
        ...

    def close(self) -> None:
        """Let go of connections, and wake who waits for his turn: he gets a VenueError."""
        ...


def empty_rows(kind: str) -> Rows:
    """Return the columns of a kind, without rows.

    >>> list(empty_rows("funding"))
    ['ts', 'rate', 'predicted_rate']
    """
    return {name: np.empty(0, dtype=object if type_ == "str" else type_) for name, type_ in COLUMNS[kind].items()}

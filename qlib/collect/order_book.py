"""Order books: snapshots and deltas -> the state of the book -> features, exactly and without guessing.

    book = OrderBook()
    gap = book.apply(message)                       None, or why the book was dropped: it is unknown until a snapshot
    book.best()                                     (bid, ask)

    done = replay(messages, every=60_000)           features at the end of every minute
    done.features                                   ts, known, mid, spread, microprice, depth, imbalance, slope ...
    done.gaps                                       each interruption: when, why, until when the book was unknown

**Sequence.** An update applies to the book whose number it names (`prev`). Any other update means that something was
lost: the book is dropped, the gap is reported, and updates are counted as skipped until a snapshot comes. A heartbeat
changes nothing but says that the book is still so (`prev == seq`, no levels). A venue that begins its numbers anew
after maintenance sends `seq < prev`; where `prev` is the book's number, the update is as good as any.

**What is known when.** A row is stamped with the opening of its bar and holds the book after the last message before
the bar's end, so it is known at the end (`known`). A book that nobody has touched is still the book: that is no
filling. A book that was dropped, or about which nothing was heard for longer than `max_silence`, is unknown: NaN. A bar
that is not over when the messages end is not returned.

**Features** of the best n levels of each side, out of the decimals as they were written (qlib/collect/decimals.py):
each is the float64 nearest to the exact result. B and A are the summed sizes, b and a the best prices:

    mid           (b + a) / 2
    spread        a - b                                    spread_bps: in 1/10,000 of mid
    microprice    (b * size of a + a * size of b) / (size of a + size of b)
    bid_depth_n   B                                        ask_depth_n: A; fewer than n levels: all that there are
    imbalance_n   (B - A) / (B + A)                        +1: nobody offers, -1: nobody bids
    bid_slope_n   B / (mid - price of the n-th level)      how much lies in a unit of price; ask_slope_n likewise
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.collect.decimals import scaled, unscaled
from qlib.errors import InputError

LEVELS: Final = (1, 5, 10)
Level = tuple[str, str]  # price and size, as the venue wrote them


@dataclass(frozen=True)
class BookMessage:
    """A snapshot, or what has changed since the message numbered `prev`.

    Levels are (price, size), as texts; a size of 0 deletes the level. `ts` is ms UTC.
    """

    ts: int
    snapshot: bool
    bids: Sequence[Level]
    asks: Sequence[Level]
    seq: int
    prev: int = -1
    checksum: int | None = None


@dataclass
class Gap:
    """The book was dropped at `ts` (ms), and known again from `until` on (None: never since)."""

    ts: int
    why: str
    until: int | None = None
    skipped: int = 0  # updates that had no book to apply to


class OrderBook:
    """The state of one book.

    Parameters
    ----------
    check
        Called after each message with the book and the message; a text it returns says what is wrong, and the book is
        dropped. Checksums of venues that have them go here.

    >>> book = OrderBook()
    >>> book.apply(BookMessage(1, True, [("99.5", "2")], [("100", "1")], seq=10))
    >>> book.apply(BookMessage(2, False, [("99.5", "0"), ("99", "4")], [], seq=11, prev=10))
    >>> book.best(), book.apply(BookMessage(3, False, [], [], seq=14, prev=13)).why
    ((99.0, 100.0), 'update 14 follows 13, but the book is at 11')
    >>> book.valid
    False
    """

    def __init__(self, check: Callable[[OrderBook, BookMessage], str | None] | None = None) -> None:
        self.check = check
        self.valid = False
        self.seq = -1
        self.ts = 0
        self._prices: tuple[list[float], list[float]] = ([], [])  # ascending; bids negative: the best comes first
        self._levels: tuple[dict[float, Level], dict[float, Level]] = ({}, {})

    def apply(self, message: BookMessage) -> Gap | None:
        """Take a message; return why the book had to be dropped, if it had to be.

        Updates while there is no book change nothing. Raises InputError for a level that is no pair of numbers.
        """
        if message.snapshot:
            self._clear()
            self.valid = True
        elif not self.valid:
            return None
        elif message.prev != self.seq:
            return self._drop(message, f"update {message.seq} follows {message.prev}, but the book is at {self.seq}")
        for side, levels in enumerate((message.bids, message.asks)):
            self._merge(side, levels, message)
        self.seq, self.ts = message.seq, max(message.ts, self.ts)
        if self._prices[0] and self._prices[1] and -self._prices[0][0] >= self._prices[1][0]:
            return self._drop(
                message, f"the best bid {-self._prices[0][0]:g} is not below the ask {self._prices[1][0]:g}"
            )
        if self.check is not None and (wrong := self.check(self, message)) is not None:
            return self._drop(message, wrong)
        return None

    def best(self) -> tuple[float, float]:
        """Return the best bid and ask; NaN where a side is empty or the book is unknown."""
        bids, asks = self._prices
        return (-bids[0] if bids else float("nan")), (asks[0] if asks else float("nan"))

    def levels(self, side: str, most: int | None = None) -> list[Level]:
        """Return the levels of the "bids" or the "asks", best first, as they were written."""
        place = ("bids", "asks").index(side)
        known = self._levels[place]
        return [known[price] for price in self._prices[place][:most]]

    def _merge(self, side: int, levels: Sequence[Level], message: BookMessage) -> None:
        prices, known = self._prices[side], self._levels[side]
        for price, size in levels:
            try:
                key, amount = float(price), float(size)
            except (TypeError, ValueError):
                key = amount = float("nan")
            if not (0 < key < float("inf") and 0 <= amount < float("inf")):
                raise InputError(f"book: message {message.seq} of {message.ts} has the level ({price!r}, {size!r})")
            key = key if side else -key
            if amount == 0:
                if known.pop(key, None) is not None:
                    del prices[bisect.bisect_left(prices, key)]
            else:
                if key not in known:
                    bisect.insort(prices, key)
                known[key] = (price, size)

    def _drop(self, message: BookMessage, why: str) -> Gap:
        self._clear()
        return Gap(message.ts, why)

    def _clear(self) -> None:
        self.valid, self.seq = False, -1
        for prices, known in zip(self._prices, self._levels, strict=True):
            prices.clear()
            known.clear()


# ---------------------------------------------------------------------- features
def book_features(
    bid_price: np.ndarray,
    bid_size: np.ndarray,
    ask_price: np.ndarray,
    ask_size: np.ndarray,
    levels: Sequence[int] = LEVELS,
    valid: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return the features of books, one a row (see the module).

    Parameters
    ----------
    bid_price, bid_size, ask_price, ask_size
        (rows, depth), best level first, NaN where there is no level.
    levels
        The n of depth, imbalance and slope; at most `depth`.
    valid
        Which rows are known; others are NaN throughout. None: all.

    >>> one = book_features(*(np.array([[x]]) for x in (99.5, 3.0, 100.0, 1.0)), levels=(1,))
    >>> one[["mid", "spread", "microprice", "imbalance_1"]].to_numpy().tolist()
    [[99.75, 0.5, 99.875, 0.5]]
    """
    tables = [np.asarray(table, np.float64) for table in (bid_price, bid_size, ask_price, ask_size)]
    rows, depth = tables[0].shape
    if any(table.shape != (rows, depth) for table in tables):
        raise InputError(f"book: received tables of the shapes {', '.join(str(table.shape) for table in tables)}")
    if not levels or not all(1 <= number <= depth for number in levels):
        raise InputError(f"levels: received {tuple(levels)}; numbers from 1 to the recorded depth {depth} are allowed")
    there = [~np.isnan(tables[0]), ~np.isnan(tables[2])]
    price, digits = scaled(np.concatenate([np.where(there[0], tables[0], 0), np.where(there[1], tables[2], 0)]))
    size, size_digits = scaled(np.concatenate([np.where(there[0], tables[1], 0), np.where(there[1], tables[3], 0)]))
    price, size = price.astype(object), size.astype(object)  # Python's own: a product of two may be of any length
    prices, sizes = (price[:rows], price[rows:]), (size[:rows], size[rows:])
    bid, ask = prices[0][:, 0], prices[1][:, 0]
    both = there[0][:, 0] & there[1][:, 0]
    twice = bid + ask
    columns = {
        "bid": np.where(there[0][:, 0], tables[0][:, 0], np.nan),
        "ask": np.where(there[1][:, 0], tables[2][:, 0], np.nan),
        "bid_size": np.where(there[0][:, 0], tables[1][:, 0], np.nan),
        "ask_size": np.where(there[1][:, 0], tables[3][:, 0], np.nan),
        "mid": np.where(both, unscaled(5 * twice, digits + 1), np.nan),
        "spread": np.where(both, unscaled(ask - bid, digits), np.nan),
        "spread_bps": _ratio(20_000 * (ask - bid), twice, both),
        "microprice": _ratio(
            bid * sizes[1][:, 0] + ask * sizes[0][:, 0], 10**digits * (sizes[0][:, 0] + sizes[1][:, 0]), both
        ),
    }
    for number in levels:
        bids, asks = (one[:, :number].sum(axis=1) for one in sizes)
        columns[f"bid_depth_{number}"] = unscaled(bids, size_digits)
        columns[f"ask_depth_{number}"] = unscaled(asks, size_digits)
        columns[f"imbalance_{number}"] = _ratio(bids - asks, bids + asks, bids + asks > 0)
        for side, name, sign, total in ((0, "bid", 1, bids), (1, "ask", -1, asks)):
            last = np.maximum(there[side][:, :number].sum(axis=1), 1) - 1
            away = sign * (twice - 2 * prices[side][np.arange(rows), last])
            columns[f"{name}_slope_{number}"] = _ratio(2 * total * 10**digits, away * 10**size_digits, both)
    frame = pd.DataFrame(columns, dtype=np.float64)
    if valid is not None:
        frame[~np.asarray(valid, bool)] = np.nan
    return frame


def _ratio(above: np.ndarray, below: np.ndarray, known: Any) -> np.ndarray:
    """Return quotients of whole numbers, rounded once; NaN where they are not known."""
    pairs = zip(above.tolist(), below.tolist(), np.asarray(known, bool).tolist(), strict=True)
    return np.array([up / down if is_known else np.nan for up, down, is_known in pairs], np.float64)


# ---------------------------------------------------------------------- a recording
@dataclass
class Replay:
    """What a recording says: features of bars, interruptions, and counts of messages."""

    features: pd.DataFrame
    gaps: list[Gap] = field(default_factory=list)
    messages: int = 0
    snapshots: int = 0
    heartbeats: int = 0
    resets: int = 0

    def __str__(self) -> str:
        known = int(self.features["mid"].notna().sum()) if len(self.features) else 0
        lines = [
            f"{self.messages:,} messages: {self.snapshots} snapshots, {self.heartbeats} heartbeats, "
            f"{self.resets} resets of the sequence, {len(self.gaps)} gaps",
            f"{len(self.features):,} bars, {known:,} of them with a known book",
        ]
        for gap in self.gaps:
            end = "the end" if gap.until is None else _time(gap.until)
            lines.append(f"  unknown from {_time(gap.ts)} to {end}: {gap.why}; {gap.skipped:,} updates skipped")
        return "\n".join(lines)


def _time(ts: int) -> str:
    return f"{np.datetime64(ts, 'ms')}Z"


def replay(
    messages: Iterable[BookMessage],
    every: int,
    levels: Sequence[int] = LEVELS,
    max_silence: int | None = None,
    check: Callable[[OrderBook, BookMessage], str | None] | None = None,
) -> Replay:
    """Return the features of one book at the end of each bar of `every` ms, from its recorded messages.

    Parameters
    ----------
    messages
        In the order in which they came; one is held at a time.
    every
        Length of a bar, ms; bars open at its multiples.
    levels
        See `book_features`.
    max_silence
        After so many ms without a message (heartbeats count) the book is unknown; None: never.
    check
        See `OrderBook`.

    Returns
    -------
    Replay
        `features` has the columns ts (opening, ms), known (end, ms), messages (how many came in the bar), then those of
        `book_features`.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InputError(f"every: received {every!r}; whole milliseconds from 1 on are allowed")
    done, book, depth = Replay(pd.DataFrame()), OrderBook(check), max(levels, default=0)
    samples: list[np.ndarray] = []
    rows: list[tuple[int, int, bool]] = []  # opening, messages, valid
    clock: int | None = None
    bar = count = 0
    state: np.ndarray | None = None
    for message in messages:
        now = message.ts if clock is None else max(message.ts, clock)
        if clock is None:
            bar = now // every
        while now // every > bar:  # bars that are over before this message
            end = (bar + 1) * every
            heard = max_silence is None or end - (end if clock is None else clock) <= max_silence
            if state is None:
                state = _table(book, depth)
            samples.append(state)
            rows.append((bar * every, count, book.valid and heard))
            bar, count = bar + 1, 0
        clock = now
        if not message.snapshot and book.valid and message.prev == book.seq:
            done.heartbeats += message.seq == message.prev and not message.bids and not message.asks
            done.resets += message.seq < message.prev
        if not message.snapshot and not book.valid:
            if not done.gaps or done.gaps[-1].until is not None:
                done.gaps.append(Gap(message.ts, "no snapshot came before the first update"))
            done.gaps[-1].skipped += 1
        if message.snapshot and done.gaps and done.gaps[-1].until is None:
            done.gaps[-1].until = message.ts
        done.snapshots += message.snapshot
        done.messages += 1
        count += 1
        gap = book.apply(message)
        if gap is not None:
            gap.skipped = 1
            done.gaps.append(gap)
        state = None
    tables = np.array(samples).reshape(len(samples), 4, depth)
    valid = np.array([row[2] for row in rows], bool)
    features = book_features(tables[:, 0], tables[:, 1], tables[:, 2], tables[:, 3], levels, valid)
    opens, counts = (np.array([row[place] for row in rows], np.int64) for place in (0, 1))
    done.features = pd.concat(
        [pd.DataFrame({"ts": opens, "known": opens + every, "messages": counts}), features], axis=1
    )
    return done


def _table(book: OrderBook, depth: int) -> np.ndarray:
    """Return prices and sizes of the best bids and asks, (4, depth)."""
    table = np.full((4, depth), np.nan)
    for place, side in ((0, "bids"), (2, "asks")):
        for number, (price, size) in enumerate(book.levels(side, depth)):
            table[place, number], table[place + 1, number] = float(price), float(size)
    return table

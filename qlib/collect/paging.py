"""Walking back through a venue's pages until there is nothing older.

    walk_back(ask, "mark", start, end, ...)      ask(5_000) -> rows with ts < 5_000, newest first, as many as a page has

    asked    5_000 ─────► rows 4_900 .. 4_000    Page(4_000, 5_000)
    asked    4_000 ─────► rows 3_900 .. 3_400    Page(3_400, 4_000)      the venue's own limit does not matter:
    asked    3_400 ─────► nothing                Page(start, 3_400)      the next question starts at what was SEEN

A page says only what an answer proves: all between its oldest row and the question is known. So a limit that the venue
does not keep, a short page, rows in any order or twice lose nothing. The end is `start` or an empty answer, which must
come twice where it is a surprise. A venue that does not move back is an error, not a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from qlib.collect.source import COLUMNS, Hole, Page, Rows, VenueError, empty_rows

_ENDLESS: Final = 1 << 62


@dataclass(frozen=True)
class Answer:
    """What one question brought, in any order; rows may come twice.

    `oldest` looks at everything that came, also at what is not final and therefore not in `rows`: a time, or a trade id
    where pages go by those. None: nothing came. `unfinished` is the time of the first row that is not final.
    """

    rows: Rows
    oldest: int | None
    unfinished: int | None = None


@dataclass(frozen=True)
class Reach:
    """What is known beforehand about where the rows of a series begin and end.

    Parameters
    ----------
    settled
        ms; a bar that opened before it would be there by now: its absence is knowledge, not a delay.
    span
        ms between the open time of a row and that of the next; 1 for what has no bars.
    kept_since
        ms; what is older is thrown away, and an empty answer proves nothing about it. None: the venue keeps all.
    why
        The reason, in a sentence, that a Hole before `kept_since` carries.
    born
        ms; nothing can be older, as far as is known.
    tardy
        ms that may lie between `born` and the first row.
    """

    settled: int = _ENDLESS
    span: Callable[[int], int] = lambda ts: 1
    kept_since: int | None = None
    why: str = ""
    born: int | None = None
    tardy: int = 86_400_000


def walk_back(
    ask: Callable[[int], Answer], kind: str, start: int, end: int, reach: Reach = Reach()
) -> Iterator[Page | Hole]:
    """Yield [start, end), newest page first, as far as rows are final.

    Parameters
    ----------
    ask
        Takes a time in ms and answers with rows that are older, the newest of them first.
    kind
        One of `source.KINDS`: which columns the rows have.
    start, end
        ms.

    Raises
    ------
    VenueError
        The answers do not move back.
    """
    top, cursor, first = min(end, reach.settled), end, True
    while cursor > start:
        answer = ask(cursor)
        if answer.oldest is None and _is_surprise(cursor, reach):
            answer = ask(cursor)
        if answer.oldest is None:
            yield from _nothing_older(kind, start, min(top, cursor), reach, seen=not first)
            return
        if answer.oldest >= cursor:
            raise VenueError(
                f"asked for rows before {cursor}, received none before {answer.oldest}: the venue does not move back"
            )
        rows = in_order(kind, answer.rows)
        if first and (newest := int(rows["ts"][rows["ts"] < end].max(initial=-1))) >= 0:
            top = min(end, max(top, newest + reach.span(newest)))
        bottom = max(start, answer.oldest)
        if answer.unfinished is not None and answer.unfinished < top:
            if not first:
                at = np.datetime64(answer.unfinished, "ms")
                why = f"the venue says that the bar of {at} UTC still forms, though later ones are final"
                yield Hole(max(bottom, answer.unfinished), top, why)
            top = answer.unfinished
        if bottom < top:
            yield _page(rows, bottom, top)
            top = bottom
        cursor, first = answer.oldest, False
        top = min(top, cursor)


def walk_back_by_id(
    begin: Callable[[int], Answer], older: Callable[[int], Answer], start: int, end: int, reach: Reach = Reach()
) -> Iterator[Page | Hole]:
    """Yield the trades of [start, end), newest page first.

    Many trades share a millisecond, so pages go by trade id, and the millisecond in which an answer breaks off is known
    only with the next one.

    Parameters
    ----------
    begin
        Takes a time in ms and answers with trades that are older.
    older
        Takes a trade id and answers with trades whose ids are smaller.
    """
    top, held = min(end, reach.settled), empty_rows("trades")
    answer, first, cursor = begin(end), True, _ENDLESS
    while True:
        if answer.oldest is None and _is_surprise(top, reach):
            answer = begin(end) if first else older(cursor)
        if answer.oldest is None:
            break
        if answer.oldest >= cursor:
            raise VenueError(
                f"asked for trades before {cursor}, received {answer.oldest}: the venue does not move back"
            )
        rows = in_order("trades", answer.rows)
        rows = _where(rows, (rows["trade_id"] < cursor) & (rows["ts"] < end))
        if (np.diff(rows["ts"]) < 0).any() or (held["ts"].size and rows["ts"].size and rows["ts"][-1] > held["ts"][0]):
            raise VenueError(f"the trades before {cursor} do not come in the order of their ids: their times disagree")
        rows = {name: np.concatenate((rows[name], held[name])) for name in rows}
        cursor = answer.oldest
        if rows["ts"].size:
            if first:  # the newest millisecond may still get trades
                top = min(end, max(top, int(rows["ts"][-1])))
            first = False
            bottom = int(rows["ts"][0]) + 1
            if bottom <= start:
                held = rows
                break
            if bottom < top:
                yield _page(rows, bottom, top)
                top = bottom
            held = _where(rows, rows["ts"] < bottom)
        answer = older(cursor)
    if answer.oldest is not None:
        if start < top:
            yield _page(held, start, top)
        return
    if held["ts"].size and (bottom := int(held["ts"][0])) < top and bottom >= start:
        yield _page(held, bottom, top)
        top = bottom
    yield from _nothing_older("trades", start, top, reach, seen=not first)


def _is_surprise(cursor: int, reach: Reach) -> bool:
    """Tell whether there should have been more: one odd answer must not pass for years without bars."""
    return reach.born is None or cursor > reach.born + reach.tardy


def _nothing_older(kind: str, start: int, top: int, reach: Reach, *, seen: bool) -> Iterator[Page | Hole]:
    """Say what an empty answer proves: nothing is older, or nothing older is kept. `seen`: at `top` there is a row."""
    born = max(start, min(top, reach.born)) if reach.born is not None else start
    lost_to = min(top, reach.kept_since) if reach.kept_since is not None else start
    that_was_the_first = seen and reach.born is not None and top - reach.born <= reach.tardy
    if lost_to <= born or that_was_the_first:
        lost_to = born = start
    for low, high, lost in ((lost_to, top, False), (born, lost_to, True), (start, born, False)):
        if low < high:
            yield Hole(low, high, reach.why, forever=True) if lost else Page(low, high, empty_rows(kind))


def in_order(kind: str, rows: Rows) -> Rows:
    """Return rows oldest first, each once; VenueError where two rows of one time (or trade) say different things."""
    key = rows["trade_id"] if kind == "trades" else rows["ts"]
    order = np.argsort(key, kind="stable")
    key = key[order]
    again = key[1:] == key[:-1]
    sorted_ = {name: rows[name][order] for name in COLUMNS[kind]}
    if not again.any():
        return sorted_
    for name, values in sorted_.items():
        same = values[1:] == values[:-1]
        if values.dtype.kind == "f":
            same |= np.isnan(values[1:]) & np.isnan(values[:-1])
        if not same[again].all():
            at = key[1:][again & ~same][0]
            raise VenueError(f"one answer holds two rows of {at} that differ in {name}")
    keep = np.concatenate(([True], ~again))
    return {name: values[keep] for name, values in sorted_.items()}


def _where(rows: Rows, mask: np.ndarray) -> Rows:
    return {name: values[mask] for name, values in rows.items()}


def _page(rows: Rows, start: int, end: int) -> Page:
    low, high = np.searchsorted(rows["ts"], [start, end])
    return Page(start, end, {name: values[low:high] for name, values in rows.items()})

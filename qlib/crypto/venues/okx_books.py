"""OKX's order books: pushes of the channels `books`, `books5`, `bbo-tbt` and answers of /market/books as messages.

    for name, message in messages(push): ...             of one push, as json.loads gives it
    book = read_recording("books.jsonl.gz", "BTC-USDT")  the messages of a file with a push a line, one after the other
    replay(book, every=60_000, max_silence=SILENCE)

Levels are [price, size, "0", orders]; sizes are contracts for swaps and futures. `books` sends one snapshot and then
updates, each with the number of the one before (`prevSeqId`); where nothing changes, about every 60 s an update without
levels. The other channels and /market/books send snapshots only.

`checksum` has been 0 and without meaning since 2026-06-23. For recordings from before, `replay(..., check=checksum)`
compares the signed CRC-32 of the best 25 levels, written bid, ask, bid, ask ... as price:size.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from qlib.collect.order_book import BookMessage, OrderBook
from qlib.errors import InputError, MissingDataError, did_you_mean

SILENCE: Final = 70_000  # ms; a heartbeat comes after 60 s
_SIGNED: Final = 1 << 31


def messages(push: dict[str, Any]) -> Iterator[tuple[str, BookMessage]]:
    """Yield (instrument, message) of one push; nothing for acknowledgements, notices and other channels.

    >>> row = {"asks": [["100", "1", "0", "2"]], "bids": [], "ts": "5", "seqId": 7, "prevSeqId": -1}
    >>> list(messages({"arg": {"channel": "books", "instId": "X"}, "action": "snapshot", "data": [row]}))
    [('X', BookMessage(ts=5, snapshot=True, bids=[], asks=[('100', '1')], seq=7, prev=-1, checksum=None))]

    Raises InputError for a push of a book channel that does not look like one.
    """
    arg = push.get("arg") or {}
    if "event" in push or not str(arg.get("channel", "")).startswith(("books", "bbo")):
        return
    action = push.get("action", "snapshot")
    if action not in ("snapshot", "update"):
        raise InputError(f"book: received the action {action!r}; snapshot and update are known")
    try:
        for row in push["data"]:
            yield str(arg["instId"]), _message(row, snapshot=action == "snapshot")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"book: a push cannot be read ({type(error).__name__}: {error}): {str(push)[:200]}") from None


def _message(row: dict[str, Any], *, snapshot: bool) -> BookMessage:
    bids, asks = ([(level[0], level[1]) for level in row[side]] for side in ("bids", "asks"))
    check = row.get("checksum")
    return BookMessage(
        ts=int(row["ts"]),
        snapshot=snapshot,
        bids=bids,
        asks=asks,
        seq=int(row.get("seqId", -1)) if snapshot else int(row["seqId"]),
        prev=-1 if snapshot else int(row["prevSeqId"]),
        checksum=None if check is None else int(check),
    )


def snapshot_of(answer: dict[str, Any]) -> BookMessage:
    """Return the book in an answer of /market/books."""
    try:
        return _message(answer["data"][0], snapshot=True)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"book: an answer cannot be read ({type(error).__name__}: {error})") from None


def checksum(book: OrderBook, message: BookMessage) -> str | None:
    """Return what is wrong with the checksum of a recording made before 2026-06-23; None where it is right."""
    if not message.checksum:  # 0: the venue does not tell
        return None
    bids, asks = book.levels("bids", 25), book.levels("asks", 25)
    texts = []
    for number in range(max(len(bids), len(asks))):  # where one side is shorter, the other goes on alone
        texts += [":".join(side[number]) for side in (bids, asks) if number < len(side)]
    found = zlib.crc32(":".join(texts).encode())
    found -= 2 * _SIGNED if found >= _SIGNED else 0
    return None if found == message.checksum else f"the checksum is {found}, but {message.checksum} was sent"


def read_recording(path: str | Path, instrument: str) -> Iterator[BookMessage]:
    """Yield the messages of one book out of a recording: one push a line, as JSON; `.gz` is unpacked.

    One line is held at a time. A last line that has no end was being written when the recorder died: it is left out.

    Raises
    ------
    InputError
        A line is no push; the message names it.
    MissingDataError
        The recording, read to its end, has no book of this instrument.
    """
    seen: set[str] = set()
    for name, message in _lines(Path(path)):
        seen.add(name)
        if name == instrument:
            yield message
    if instrument not in seen:
        raise MissingDataError(
            f"{path}: no book of {instrument}; there are {', '.join(sorted(seen)) or 'none'}"
            f"{did_you_mean(instrument, seen)}"
        )


def _lines(path: Path) -> Iterator[tuple[str, BookMessage]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith("\n") or not line.strip():
                    continue
                try:
                    push = json.loads(line)
                    if not isinstance(push, dict):
                        raise InputError(f"book: received {line.strip()[:80]}; an object is needed")
                    yield from messages(push)
                except ValueError as error:
                    raise InputError(f"{path}: line {number}: {error}") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None

"""OKX's book pushes: what was recorded is read, checksums of old recordings are those that were sent."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import shared

from qlib.collect.order_book import BookMessage, OrderBook, replay
from qlib.crypto.venues.okx_books import SILENCE, checksum, messages, read_recording, snapshot_of
from qlib.errors import InputError, MissingDataError


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shared(f"realdata/okx_json/{name}.json").read_text())
    return found


def test_a_recorded_snapshot_and_update_are_one_book() -> None:
    pushes = [recorded("ws_books_snapshot"), recorded("ws_books_update")]
    got = [one for push in pushes for one in messages(push)]
    assert [name for name, _ in got] == ["BTC-USDT"] * 2
    assert (got[0][1].snapshot, got[1][1].snapshot, got[1][1].prev) == (True, False, got[0][1].seq)
    book = OrderBook()
    assert [book.apply(message) for _, message in got] == [None, None]
    assert book.best() == (8476.97, 8476.98)
    assert book.levels("asks", 2) == [("8476.98", "415"), ("8477", "7")]


def test_a_recorded_answer_is_a_snapshot() -> None:
    message = snapshot_of(recorded("http_get_order_book"))
    assert (message.ts, message.snapshot, message.bids[0]) == (1704067200000, True, ("41006.7", "0.48792100"))


def test_a_checksum_is_compared_only_where_one_was_sent() -> None:
    text = "3366.1:7:3366.8:9:3366:6:3368:8"  # bid, ask, bid, ask, as written
    good = zlib.crc32(text.encode())
    good -= 1 << 32 if good >= 1 << 31 else 0
    bids, asks = [("3366", "6"), ("3366.1", "7")], [("3368", "8"), ("3366.8", "9")]
    for sent, right in ((good, True), (good + 1, False), (0, True), (None, True)):
        gap = OrderBook(checksum).apply(BookMessage(1, True, bids, asks, 5, checksum=sent))
        assert (gap is None) is right
    longer = BookMessage(1, True, [*bids, ("3365", "1")], asks[:1], 5)
    book = OrderBook()
    book.apply(longer)
    said = checksum(book, BookMessage(1, True, [], [], 5, checksum=1))
    assert said == f"the checksum is {_signed('3366.1:7:3368:8:3366:6:3365:1')}, but 1 was sent"


def _signed(text: str) -> int:
    value = zlib.crc32(text.encode())
    return value - (1 << 32) if value >= 1 << 31 else value


def test_acknowledgements_notices_and_other_channels_are_no_books() -> None:
    for push in (
        {"event": "subscribe", "arg": {"channel": "books", "instId": "X"}},
        {"event": "notice", "code": "64008"},
        recorded("ws_trades"),
        recorded("ws_tickers"),
    ):
        assert list(messages(push)) == []


def push(seq: int, prev: int, ts: int, action: str = "update", bid: str = "99") -> dict[str, Any]:
    row = {
        "bids": [[bid, "1", "0", "1"]],
        "asks": [["100", "2", "0", "1"]],
        "ts": str(ts),
        "seqId": seq,
        "prevSeqId": prev,
    }
    return {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [row]}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_recording_is_read_but_for_a_line_that_has_no_end(tmp_path: Path, suffix: str) -> None:
    lines = [push(1, -1, 0, "snapshot"), {"event": "subscribe"}, push(2, 1, 30_000, bid="99.5"), push(2, 2, 61_000)]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"arg": {"chan'
    path = tmp_path / f"books{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    done = replay(read_recording(path, "BTC-USDT"), 60_000, levels=(1,), max_silence=SILENCE)
    assert done.features[["bid", "ask", "messages"]].to_numpy().tolist() == [[99.5, 100.0, 2.0]]


@pytest.mark.parametrize(
    "line", ["no json", "[]", '{"arg": {"channel": "books", "instId": "X"}, "data": [{"asks": []}]}']
)
def test_a_line_that_is_no_push_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "books.jsonl"
    path.write_text(json.dumps(push(1, -1, 0, "snapshot")) + f"\n{line}\n")
    with pytest.raises(InputError, match="line 2"):
        list(read_recording(path, "BTC-USDT"))


def test_a_recording_without_the_instrument_says_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl"
    path.write_text(json.dumps(push(1, -1, 0, "snapshot")) + "\n")
    with pytest.raises(MissingDataError, match="no book of BTC-USDC; there are BTC-USDT; did you mean BTC-USDT?"):
        list(read_recording(path, "BTC-USDC"))

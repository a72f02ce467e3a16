"""Order books: state and features against plain arithmetic with fractions; gaps, heartbeats, resets, silence."""

from __future__ import annotations

import csv
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.collect.order_book import BookMessage, OrderBook, book_features, replay
from qlib.errors import InputError


# ---------------------------------------------------------------------- the oracle
def plain_features(
    bids: dict[Fraction, Fraction], asks: dict[Fraction, Fraction], levels: list[int]
) -> dict[str, float]:
    nan = float("nan")
    b, a = sorted(bids, reverse=True), sorted(asks)
    found: dict[str, float] = {
        "bid": float(b[0]) if b else nan,
        "ask": float(a[0]) if a else nan,
        "bid_size": float(bids[b[0]]) if b else nan,
        "ask_size": float(asks[a[0]]) if a else nan,
        "mid": nan, "spread": nan, "spread_bps": nan, "microprice": nan,
    }  # fmt: skip
    mid = None
    if b and a:
        mid = (b[0] + a[0]) / 2
        weighted = b[0] * asks[a[0]] + a[0] * bids[b[0]]
        found |= {
            "mid": float(mid), "spread": float(a[0] - b[0]), "spread_bps": float((a[0] - b[0]) / mid * 10_000),
            "microprice": float(weighted / (asks[a[0]] + bids[b[0]])),
        }  # fmt: skip
    for n in levels:
        bid, ask = sum((bids[p] for p in b[:n]), Fraction(0)), sum((asks[p] for p in a[:n]), Fraction(0))
        found |= {f"bid_depth_{n}": float(bid), f"ask_depth_{n}": float(ask)}
        found[f"imbalance_{n}"] = float((bid - ask) / (bid + ask)) if bid + ask else nan
        found[f"bid_slope_{n}"] = nan if mid is None else float(bid / (mid - b[:n][-1]))
        found[f"ask_slope_{n}"] = nan if mid is None else float(ask / (a[:n][-1] - mid))
    return found


price = st.integers(1, 60).map(lambda tick: str(tick / 10))
size = st.sampled_from(["0", "0.1", "0.2", "3", "12.75", "0.00000001"])
sides = st.lists(st.tuples(price, size), max_size=6)


@st.composite
def recordings(draw: st.DrawFn) -> list[BookMessage]:
    """Messages with right and wrong numbers, heartbeats, resets, times that stand still and jump."""
    found: list[BookMessage] = []
    ts, seq = draw(st.integers(0, 5_000)), draw(st.integers(1, 50))
    for kind in draw(
        st.lists(st.sampled_from(["snapshot", "update", "update", "update", "beat", "reset", "lost"]), max_size=25)
    ):
        ts += draw(st.sampled_from([0, 1, 400, 1_000, 2_500]))
        bids = [(str(float(p) / 2 + 0.0), s) for p, s in draw(sides)]  # mostly below the asks
        asks = [(str(float(p) + 3), s) for p, s in draw(sides)]
        prev = seq
        if kind == "beat":
            bids, asks = [], []
        elif kind == "reset":
            seq = draw(st.integers(0, seq))
        else:
            seq += draw(st.integers(1, 3))
        if kind == "lost":
            prev, seq = seq, seq + 1
        found.append(BookMessage(ts, kind == "snapshot", bids, asks, seq, -1 if kind == "snapshot" else prev))
    return found


def plain_replay(
    messages: list[BookMessage], every: int, levels: list[int], silence: int | None
) -> list[dict[str, Any]]:
    """Each bar from the beginning: all messages before its end, one after the other."""
    rows: list[dict[str, Any]] = []
    if not messages:
        return rows
    clock = np.maximum.accumulate([message.ts for message in messages]).tolist()
    for opening in range(clock[0] // every * every, clock[-1] // every * every, every):
        before = [m for m, ts in zip(messages, clock, strict=True) if ts < opening + every]
        book: tuple[dict[Fraction, Fraction], dict[Fraction, Fraction]] | None = None
        seq = None
        for message in before:
            if message.snapshot:
                book = ({}, {})
            elif book is None or message.prev != seq:
                book = None
                continue
            for side, changes in zip(book, (message.bids, message.asks), strict=True):
                for at, amount in changes:
                    side.pop(Fraction(at), None)
                    if Fraction(amount):
                        side[Fraction(at)] = Fraction(amount)
            seq = message.seq
            if book[0] and book[1] and max(book[0]) >= min(book[1]):
                book = None
        last = max((ts for ts in clock if ts < opening + every), default=None)
        quiet = silence is not None and last is not None and opening + every - last > silence
        count = sum(opening <= ts < opening + every for ts in clock)
        features = plain_features(*book, levels) if book is not None and not quiet else {}
        rows.append({"ts": opening, "known": opening + every, "messages": count} | features)
    return rows


@settings(max_examples=cases(100, 3000))
@given(recordings(), st.sampled_from([1_000, 1_700]), st.sampled_from([None, 1_500]))
def test_a_replay_is_the_plain_one_to_the_last_bit(
    messages: list[BookMessage], every: int, silence: int | None
) -> None:
    done = replay(messages, every, levels=(1, 3), max_silence=silence)
    names = list(done.features.columns)
    expected = pd.DataFrame(plain_replay(messages, every, [1, 3], silence), columns=names)
    pd.testing.assert_frame_equal(done.features, expected.astype(done.features.dtypes.to_dict()), check_exact=True)


@settings(max_examples=cases(60, 1000))
@given(recordings(), st.data())
def test_a_bar_does_not_change_with_what_comes_after_its_end(messages: list[BookMessage], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(messages)))
    early, whole = (replay(part, 1_000, levels=(1, 3)).features for part in (messages[:cut], messages))
    pd.testing.assert_frame_equal(early, whole.head(len(early)), check_exact=True)


# ---------------------------------------------------------------------- the rules of the sequence
def update(ts: int, seq: int, prev: int, bids: Any = (), asks: Any = ()) -> BookMessage:
    return BookMessage(ts, False, list(bids), list(asks), seq, prev)


def snapshot(ts: int, seq: int) -> BookMessage:
    return BookMessage(ts, True, [("99", "2"), ("98", "5")], [("101", "1")], seq)


def test_a_lost_update_drops_the_book_until_the_next_snapshot_and_is_reported() -> None:
    lost = [update(1_900, 13, 12), update(2_100, 14, 13)]
    start, again = [snapshot(0, 10), update(900, 11, 10, [("99", "4")])], [snapshot(3_500, 20), update(4_100, 21, 20)]
    done = replay([*start, *lost, *again], every=1_000, levels=(1,))
    assert done.features["bid_size"].tolist()[0] == 4
    assert done.features["mid"].isna().tolist() == [False, True, True, False]
    (gap,) = done.gaps
    assert (gap.ts, gap.until, gap.skipped) == (1_900, 3_500, 2)
    assert gap.why == "update 13 follows 12, but the book is at 11"
    assert "unknown from 1970-01-01T00:00:01.900Z to 1970-01-01T00:00:03.500Z" in str(done)


def test_updates_before_the_first_snapshot_are_no_book() -> None:
    done = replay(
        [update(0, 5, 4, [("1", "1")]), update(1_500, 6, 5), snapshot(2_000, 9), update(3_000, 10, 9)], 1_000, (1,)
    )
    assert done.features["mid"].isna().tolist() == [True, True, False]
    assert [(gap.ts, gap.until, gap.skipped) for gap in done.gaps] == [(0, 2_000, 2)]


def test_heartbeats_keep_the_book_and_silence_does_not() -> None:
    beats = [snapshot(0, 10), update(60_000, 10, 10), update(120_000, 10, 10), update(300_000, 10, 10)]
    done = replay(beats, every=60_000, levels=(1,), max_silence=70_000)
    assert done.heartbeats == 3
    assert done.features["mid"].notna().tolist() == [True, True, True, False, False]


def test_a_sequence_that_begins_anew_after_maintenance_goes_on() -> None:
    done = replay([snapshot(0, 10), update(1, 3, 10, [("99", "7")]), update(2, 4, 3), update(1_000, 5, 4)], 1_000, (1,))
    assert (done.resets, done.gaps, done.features["bid_size"].tolist()) == (1, [], [7.0])


def test_a_crossed_book_is_no_book() -> None:
    book = OrderBook()
    book.apply(snapshot(0, 1))
    gap = book.apply(update(1, 2, 1, [("101", "1")]))
    assert gap is not None
    assert "best bid 101 is not below the ask 101" in gap.why
    assert not book.valid


def test_one_price_written_in_two_ways_is_one_level() -> None:
    book = OrderBook()
    book.apply(snapshot(0, 1))
    book.apply(update(1, 2, 1, [("99.00", "0"), ("98.0", "6")]))
    assert book.levels("bids") == [("98.0", "6")]


@pytest.mark.parametrize("level", [("x", "1"), ("-1", "1"), ("1", "-1"), ("1", "nan"), ("inf", "1")])
def test_a_level_that_is_none_is_named(level: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="message 7 of 5 has the level"):
        OrderBook().apply(BookMessage(5, True, [level], [], 7))


def test_levels_beyond_the_recorded_depth_are_refused() -> None:
    one = np.array([[1.0]])
    with pytest.raises(InputError, match="the recorded depth 1"):
        book_features(one, one, one + 1, one, levels=(1, 5))


# ---------------------------------------------------------------------- recorded books
def test_recorded_snapshots_of_25_levels_give_the_features_of_plain_arithmetic() -> None:
    table = pd.read_csv(shared("realdata/orderbook/binance-futures_book_snapshot_25_BTCUSDT.csv"))
    pick = {
        (side, what): table[[f"{side}[{n}].{what}" for n in range(25)]].to_numpy()
        for side in ("bids", "asks")
        for what in ("price", "amount")
    }
    levels = [1, 5, 10, 25]
    found = book_features(
        pick["bids", "price"], pick["bids", "amount"], pick["asks", "price"], pick["asks", "amount"], levels
    )
    for row in range(len(table)):
        sides = [
            {
                Fraction(repr(p)): Fraction(repr(s))
                for p, s in zip(pick[side, "price"][row].tolist(), pick[side, "amount"][row].tolist(), strict=True)
            }
            for side in ("bids", "asks")
        ]
        assert found.iloc[row].to_dict() == plain_features(sides[0], sides[1], levels)
    assert ((found["microprice"] > found["bid"]) & (found["microprice"] < found["ask"])).all()
    assert found["spread"].min() == 0.01


def depth_messages(name: str) -> list[BookMessage]:
    """Rows of one message stand together: symbol, timestamp, first id, last id, side, type, price, qty, id before."""
    grouped: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    with shared(f"realdata/orderbook/{name}").open() as file:
        for row in csv.DictReader(file):
            grouped.setdefault((row["timestamp"], row["last_update_id"], row["pu"]), []).append(row)
    return [
        BookMessage(
            int(ts),
            rows[0]["update_type"] == "snap",
            [(row["price"], row["qty"]) for row in rows if row["side"] == "b"],
            [(row["price"], row["qty"]) for row in rows if row["side"] == "a"],
            int(seq),
            int(prev),
        )
        for (ts, seq, prev), rows in grouped.items()
    ]


def test_recorded_updates_that_do_not_follow_their_snapshot_are_told_and_not_applied() -> None:
    """The two files were recorded ten minutes apart: what lies between is lost."""
    (first,), updates = depth_messages("btcusdt-depth-snap.csv"), depth_messages("btcusdt-depth-update.csv")
    done = replay([first, *updates], every=600_000, levels=(1,))
    assert done.gaps[0].why == f"update {updates[0].seq} follows {updates[0].prev}, but the book is at {first.seq}"
    assert done.gaps[0].skipped == len(updates)
    book = OrderBook()
    assert book.apply(first) is None
    bids, asks = ([float(price) for price, _ in side] for side in (first.bids, first.asks))
    np.testing.assert_array_equal(book.best(), (max(bids, default=np.nan), min(asks, default=np.nan)))
    assert [len(book.levels(side)) for side in ("bids", "asks")] == [len(bids), len(asks)]
    assert len(bids) + len(asks) == 100

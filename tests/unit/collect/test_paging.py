"""Walking back: what comes out is the truth of the venue, whatever its pages look like."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.collect.paging import Answer, Reach, in_order, walk_back, walk_back_by_id
from qlib.collect.source import Hole, Page, VenueError, empty_rows

BAR = 10
Ask = Callable[[int], Answer]


def bars(ts: Iterable[int], worth: float = 1.0) -> dict[str, np.ndarray]:
    times = np.array(list(ts), dtype=np.int64)
    prices = {name: times * worth + number for number, name in enumerate(("open", "high", "low", "close"))}
    return {"ts": times, **prices}


def venue(truth: list[int], limits: list[int], *, now: int, draw: st.DataObject | None = None) -> Ask:
    """A venue with bars at `truth`, newest first, of which the one that is not over at `now` still forms.

    Each answer has at most the next of `limits` rows; with `draw` some come twice, all in any order, newer ones between
    them.
    """
    asked = [0]

    def ask(older_than: int) -> Answer:
        limit = limits[asked[0] % len(limits)]
        asked[0] += 1
        seen = [ts for ts in truth if ts < older_than and ts <= now][-limit:]
        if not seen:
            return Answer(empty_rows("mark"), None)
        final = [ts for ts in seen if ts + BAR <= now]
        forming = [ts for ts in seen if ts + BAR > now]
        if draw is not None and final:
            newer = [ts for ts in truth if older_than <= ts and ts + BAR <= now]
            extra = draw.draw(st.lists(st.sampled_from(final + newer), max_size=4))
            final = draw.draw(st.permutations(final + extra))
        return Answer(bars(final), min(seen), min(forming) if forming else None)

    return ask


def told(found: list[Page | Hole]) -> list[int]:
    """All times that came, after checking that the pages keep their promise to each other."""
    for newer, older in zip(found, found[1:], strict=False):
        assert older.end == newer.start, "pages touch"
    times: list[int] = []
    for page in reversed(found):
        assert page.start < page.end
        if isinstance(page, Page):
            ts = page.rows["ts"]
            assert (np.diff(ts) > 0).all()
            assert ((ts >= page.start) & (ts < page.end)).all()
            assert np.array_equal(page.rows["open"], ts.astype(float))
            times += ts.tolist()
    return times


@given(
    truth=st.sets(st.integers(0, 60), max_size=40),
    limits=st.lists(st.integers(1, 50), min_size=1, max_size=4),
    start=st.integers(-100, 700),
    span=st.integers(0, 700),
    now=st.integers(0, 700),
    born=st.one_of(st.none(), st.just(0)),
    data=st.data(),
)
def test_pages_join_into_the_truth_and_cover_all_that_is_final(truth, limits, start, span, now, born, data):
    opens = sorted(number * BAR for number in truth)
    end = start + span
    settled = (now - 3) // BAR * BAR
    reach = Reach(settled, lambda ts: BAR, born=born)
    found = list(walk_back(venue(opens, limits, now=now, draw=data), "mark", start, end, reach))
    final = [ts for ts in opens if start <= ts < end and ts + BAR <= now]
    assert told(found) == final
    assert all(isinstance(page, Page) for page in found)
    if found:
        assert found[-1].start == start
        assert found[0].end <= end
        assert found[0].end <= now  # nothing is claimed of what has not happened yet
    if start < min(end, settled):
        assert found[0].end >= min(end, settled)


def test_a_hundred_served_where_three_hundred_were_asked_loses_nothing():
    opens = list(range(0, 1_440 * BAR, BAR))
    found = list(walk_back(venue(opens, [100], now=opens[-1] + BAR), "mark", 0, opens[-1] + BAR))
    assert told(found) == opens
    assert len(found) == 15


def test_a_short_page_is_not_the_end():
    opens = list(range(0, 1_000, BAR))
    assert told(list(walk_back(venue(opens, [30, 1, 2], now=2_000), "mark", 0, 1_000))) == opens


def test_an_answer_that_is_empty_once_is_not_the_end():
    opens = list(range(0, 1_000, BAR))
    good, count = venue(opens, [20], now=2_000), [0]

    def moody(older_than: int) -> Answer:
        count[0] += 1
        return Answer(empty_rows("mark"), None) if count[0] % 2 == 0 else good(older_than)

    assert told(list(walk_back(moody, "mark", 0, 1_000))) == opens


def test_an_empty_answer_at_the_listing_is_believed_at_once():
    opens, asked = list(range(500, 1_000, BAR)), []
    good = venue(opens, [100], now=2_000)

    def counted(older_than: int) -> Answer:
        asked.append(older_than)
        return good(older_than)

    found = list(walk_back(counted, "mark", 0, 1_000, Reach(born=500, tardy=BAR)))
    assert told(found) == opens
    assert asked == [1_000, 500]
    assert (found[-1].start, found[-1].end) == (0, 500)


def test_the_bar_that_forms_and_what_comes_after_it_are_not_known():
    found = list(walk_back(venue([0, 10, 20], [5], now=25), "mark", 0, 100, Reach(10, lambda ts: BAR)))
    assert told(found) == [0, 10]
    assert found[0].end == 20


def test_a_bar_that_is_late_is_not_claimed_to_be_missing():
    # at 31 the bar of 20 should be there, but has not come yet: only up to 20 is known
    found = list(walk_back(venue([0, 10], [5], now=31), "mark", 0, 100, Reach(20, lambda ts: BAR)))
    assert told(found) == [0, 10]
    assert found[0].end == 20


def test_an_old_bar_that_is_said_to_form_still_is_a_hole_with_its_reason():
    def ask(older_than: int) -> Answer:
        return {100: Answer(bars([60, 70]), 60), 60: Answer(bars([20, 30]), 20, 40)}.get(
            older_than, Answer(empty_rows("mark"), None)
        )

    found = list(walk_back(ask, "mark", 0, 100))
    assert told(found) == [20, 30, 60, 70]
    (hole,) = (one for one in found if isinstance(one, Hole))
    assert (hole.start, hole.end) == (40, 60)
    assert "still forms" in hole.reason


def test_a_venue_that_repeats_itself_is_an_error_not_a_loop():
    with pytest.raises(VenueError, match="asked for rows before 900, received none before 900"):
        list(walk_back(lambda older_than: Answer(bars([900]), 900), "mark", 0, 1_000))


def test_what_the_venue_threw_away_is_a_hole_not_a_page():
    found = list(
        walk_back(
            venue([700, 800], [9], now=2_000), "mark", 0, 1_000, Reach(kept_since=600, why="gone", born=200, tardy=10)
        )
    )
    assert [(type(one), one.start, one.end) for one in found] == [
        (Page, 700, 1_000), (Page, 600, 700), (Hole, 200, 600), (Page, 0, 200),
    ]  # fmt: skip
    assert found[2].reason == "gone"


def test_rows_older_than_what_is_kept_are_proof_that_more_is_kept():
    reach = Reach(kept_since=600, why="gone", born=395, tardy=10)
    found = list(walk_back(venue(list(range(400, 900, BAR)), [9], now=2_000), "mark", 0, 900, reach))
    assert not any(isinstance(one, Hole) for one in found)


def test_a_range_before_what_is_kept_is_all_hole():
    reach = Reach(kept_since=600, why="gone", born=100, tardy=50)
    found = list(walk_back(venue([700], [9], now=2_000), "mark", 110, 150, reach))
    assert found == [Hole(110, 150, "gone", forever=True)]


def test_two_rows_of_one_time_that_differ_are_an_error():
    rows = {name: np.concatenate(pair) for name, pair in zip(
        bars([10]), zip(bars([10]).values(), bars([10], 2.0).values(), strict=True), strict=True)}  # fmt: skip
    with pytest.raises(VenueError, match="two rows of 10 that differ in open"):
        in_order("mark", rows)


# --- trades


def trades(rows: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    ts, ids = (np.array([row[column] for row in rows], dtype=np.int64) for column in (0, 1))
    ones = np.ones(len(rows))
    return {"ts": ts, "trade_id": ids, "price": ids * 1.0, "size": ones, "side": np.array(["buy"] * len(rows), object)}


@given(
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=40),
    limits=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    start=st.integers(-10, 100),
    span=st.integers(0, 100),
    late=st.integers(0, 60),
    born=st.one_of(st.none(), st.just(0)),
    data=st.data(),
)
def test_trades_of_one_millisecond_are_never_torn(steps, limits, start, span, late, born, data):
    ts, ids = np.cumsum([step[0] for step in steps], dtype=int), np.cumsum([step[1] for step in steps], dtype=int)
    truth, end = list(zip(ts.tolist(), ids.tolist(), strict=True)), start + span
    settled = (int(ts[-1]) if steps else 0) + 1 - late
    asked = [0]

    def answer(rows: list[tuple[int, int]]) -> Answer:
        rows = rows[-limits[asked[0] % len(limits)] :]
        asked[0] += 1
        if not rows:
            return Answer(empty_rows("trades"), None)
        rows = data.draw(st.permutations(rows + data.draw(st.lists(st.sampled_from(rows), max_size=2))))
        return Answer(trades(rows), min(row[1] for row in rows))

    found = list(
        walk_back_by_id(
            lambda time: answer([row for row in truth if row[0] < time]),
            lambda identity: answer([row for row in truth if row[1] < identity]),
            start, end, Reach(settled, born=born),
        )
    )  # fmt: skip
    for newer, older in zip(found, found[1:], strict=False):
        assert older.end == newer.start
    for page in found:
        assert page.start < page.end
    came = [
        row
        for page in reversed(found)
        for row in zip(page.rows["ts"].tolist(), page.rows["trade_id"].tolist(), strict=True)
    ]
    top = found[0].end if found else start
    assert came == [row for row in truth if start <= row[0] < top]
    assert top <= end
    if found:
        assert found[-1].start == start
    newest = max((row[0] for row in truth if row[0] < end), default=-100)
    assert top >= min(end, max(settled, newest, start))


def test_trades_whose_times_contradict_their_ids_are_an_error():
    pages = {1_000: Answer(trades([(50, 5), (60, 6)]), 5), 5: Answer(trades([(55, 4)]), 4)}
    with pytest.raises(VenueError, match="do not come in the order of their ids"):
        list(walk_back_by_id(pages.__getitem__, pages.__getitem__, 0, 1_000))


def test_trades_that_repeat_themselves_are_an_error_not_a_loop():
    page = Answer(trades([(50, 5)]), 5)
    with pytest.raises(VenueError, match="does not move back"):
        list(walk_back_by_id(lambda _: page, lambda _: page, 0, 1_000))

"""Through ccxt: whatever an exchange makes of `since` and `limit`, pages hold its truth and the rest is a hole."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from odd_exchange import HOUR, Exchange, reading
from proof import cases

from qlib.collect.source import Hole, Page, Series

START = 1_767_225_600_000


@settings(max_examples=cases(150, 3_000))
@given(
    truth=st.sets(st.integers(0, 80), max_size=80),
    cap=st.integers(3, 20),
    manner=st.sampled_from(["oldest first", "oldest of the window", "newest of the window", "newest since"]),
    start=st.integers(-5 * HOUR, 90 * HOUR),
    span=st.integers(0, 90 * HOUR),
    now=st.integers(0, 85 * HOUR),
)
def test_pages_hold_the_truth_whatever_the_exchange_makes_of_since_and_limit(truth, cap, manner, start, span, now):
    opens = sorted(START + hour * HOUR for hour in truth)
    source = reading(Exchange(opens, cap, manner, START + now))
    end = START + start + span
    found = list(source.walk(Series("A-B", "candles", "1h"), START + start, end))
    for newer, older in zip(found, found[1:], strict=False):
        assert older.end == newer.start
    came: list[int] = []
    for page in found:
        wanted = [ts for ts in opens if page.start <= ts < page.end and ts + HOUR <= START + now]
        if isinstance(page, Page):
            assert page.rows["ts"].tolist() == wanted
        came += wanted if isinstance(page, Page) else []
    holes = [page for page in found if isinstance(page, Hole)]
    lost = [ts for ts in opens if any(hole.start <= ts < hole.end for hole in holes)]
    # eight windows without a bar, and an exchange that tells of windows only: nobody could know that there is more
    quiet = manner.endswith("window") and any(end - ts > 80 * HOUR for ts in lost)
    assert not lost or manner == "newest since" or quiet
    final = [ts for ts in opens if START + start <= ts < end and ts + HOUR <= START + now - 60_000]
    assert sorted(set(final) - set(lost)) == sorted(ts for ts in came if ts in set(final))


@settings(max_examples=cases(50, 300))
@given(cap=st.integers(1, 20), back=st.integers(1, 60))
def test_an_exchange_that_tells_its_newest_rows_only_leaves_a_hole_that_says_so(cap, back):
    opens = [START + hour * HOUR for hour in range(100)]
    now, start = opens[-1] + HOUR + 60_000, opens[-back]
    found = list(reading(Exchange(opens, cap, "newest of all", now)).walk(Series("A-B", "candles", "1h"), start, now))
    told = min(cap, 12)
    known = sorted(ts for page in found if isinstance(page, Page) for ts in page.rows["ts"].tolist())
    holes = [page for page in found if isinstance(page, Hole)]
    assert known == known and set(known) <= set(opens)
    for hole in holes:
        assert not any(hole.start <= ts < hole.end for ts in known)
    if back > cap:
        assert holes
        assert "does not go back so far" in holes[0].reason
        assert len(known) <= max(told, cap)

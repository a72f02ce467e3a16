"""Rate limits: a server that counts never counts too many, and little of what it allows is wasted."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.collect.http import Limit, Throttle


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def asked(throttle: Throttle, clock: Clock, gaps: list[float], latencies: list[float]) -> list[tuple[float, float]]:
    """When each question was sent and its answer came, for one thread that pauses in between."""
    found = []
    for gap, latency in zip(gaps, latencies, strict=True):
        clock.now += gap
        with throttle.turn():
            sent = clock.now
            clock.now += latency
        found.append((sent, clock.now))
    return found


@given(
    count=st.integers(1, 8),
    moves=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 0.5)), min_size=1, max_size=60),
)
def test_no_window_of_two_seconds_sees_more_than_the_limit_wherever_in_it_the_server_counts(count, moves):
    clock = Clock()
    gaps, latencies = [gap for gap, _ in moves], [latency for _, latency in moves]
    times = asked(Throttle(Limit(count, 2.0), clock=clock, sleep=clock.sleep), clock, gaps, latencies)
    for (_, answered), (sent, _) in zip(times, times[count:], strict=False):
        assert sent - answered >= 2.0 - 1e-9  # the server may have counted the first as late as its answer


@given(count=st.integers(1, 40), latency=st.floats(0, 0.3), slow=st.booleans())
def test_a_busy_client_uses_nearly_all_that_is_allowed(count, latency, slow):
    clock, total = Clock(), 5 * count
    # in one thread the latencies add up: with many threads this is what remains of them
    each = min(latency, 0.4 / count) if not slow else 0.0
    times = asked(Throttle(Limit(count, 2.0), clock=clock, sleep=clock.sleep), clock, [0.0] * total, [each] * total)
    own = total / count * 2.0
    assert times[-1][1] - times[0][0] <= 1.3 * own


def test_an_answer_that_hangs_does_not_stop_the_others():
    clock = Clock()
    throttle = Throttle(Limit(2, 2.0), clock=clock, sleep=clock.sleep)
    times = asked(throttle, clock, [0.0] * 4, [30.0, 0.0, 0.0, 0.0])
    assert times[-1][0] - times[0][1] <= 2.5


def test_all_threads_together_keep_the_limit():
    throttle, sent, lock = Throttle(Limit(5, 0.1)), [], threading.Lock()

    def work() -> None:
        for _ in range(5):
            with throttle.turn(), lock:
                sent.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent.sort()
    assert len(sent) == 40
    assert min(late - early for early, late in zip(sent, sent[5:], strict=False)) >= 0.1 - 1e-6


def test_after_too_many_nobody_is_let_through_for_a_while():
    clock = Clock()
    throttle = Throttle(Limit(5, 2.0), clock=clock, sleep=clock.sleep)
    throttle.close_for(7.0)
    assert asked(throttle, clock, [0.0], [0.0])[0][0] == 1_007.0


def test_a_place_that_nobody_used_is_given_back():
    clock = Clock()

    def woken(_: float) -> None:
        raise KeyboardInterrupt

    throttle = Throttle(Limit(1, 2.0), clock=clock, sleep=woken)
    with throttle.turn():
        pass
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), throttle.turn():
            pass
    clock.now += 2.0
    with throttle.turn():
        pass

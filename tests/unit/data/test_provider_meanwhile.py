"""Work beside other work: with a thread to spare it goes on while the block runs, and its error is told."""

from __future__ import annotations

import threading

import pytest

from qlib.data.provider.meanwhile import meanwhile


def test_with_two_threads_the_work_goes_on_while_the_block_runs():
    begun, told = threading.Event(), threading.Event()

    def work():
        begun.set()
        return told.wait(30), threading.current_thread()

    with meanwhile(work, threads=2) as answer:
        assert begun.wait(30)  # the work waits for the block, and the block for the work
        told.set()
        heard, where = answer()
    assert heard and where is not threading.current_thread()


def test_with_one_thread_it_is_done_when_it_is_asked_for():
    done = []
    with meanwhile(lambda: done.append(threading.current_thread()), threads=1) as answer:
        assert not done
        answer()
    assert done == [threading.current_thread()]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_is_raised_to_whoever_asks(threads):
    with meanwhile(lambda: 1 / 0, threads=threads) as answer, pytest.raises(ZeroDivisionError):
        answer()


def test_an_error_of_the_block_waits_for_the_work_and_is_the_one_that_is_told():
    done = []
    with pytest.raises(KeyError), meanwhile(lambda: done.append(1), threads=2):
        raise KeyError
    assert done == [1]

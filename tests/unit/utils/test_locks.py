"""Locks between processes: one at a time, never one of the dead, and whoever waits too long is told for whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from qlib.utils.locks import LockTimeout, locked, reading, writing

HOLDER = """
import sys, time
from qlib.utils import locks
with getattr(locks, sys.argv[1])(sys.argv[2], **({} if sys.argv[1] == "reading" else {"purpose": "a test"})):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held(tmp_path):
    """Start a process that holds the lock in some way; it is killed at the end."""
    holders = []

    def start(way):
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, way, str(tmp_path / "x.lock")], stdout=subprocess.PIPE)
        assert holder.stdout.readline() == b"held\n"
        holders.append(holder)
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_who_waits_too_long_is_told_for_whom_and_the_dead_hold_nothing(tmp_path, held):
    holder = held("locked")
    begin = time.monotonic()
    with (
        pytest.raises(LockTimeout, match=rf"x.lock: locked by process {holder.pid} on .* UTC, for a test; waited 0.2"),
        locked(tmp_path / "x.lock", seconds=0.2),
    ):
        raise AssertionError("two hold the lock")
    assert 0.2 <= time.monotonic() - begin < 5
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    begin = time.monotonic()
    with locked(tmp_path / "x.lock", seconds=5):
        assert time.monotonic() - begin < 2
        assert f'"process": {os.getpid()}' in (tmp_path / "x.lock.owner").read_text()
    assert not (tmp_path / "x.lock.owner").exists()


def test_an_owner_that_died_while_a_child_holds_on_is_said_to_be_dead(tmp_path, held):
    held("locked")
    (tmp_path / "x.lock.owner").write_text(
        f'{{"process": 999999999, "host": "{os.uname().nodename}", "since": "2026-01-01 00:00:00", "purpose": ""}}'
    )
    with (
        pytest.raises(LockTimeout, match="process 999999999 .*it has died: a process that it started holds the lock"),
        locked(tmp_path / "x.lock", seconds=0.1),
    ):
        pass
    (tmp_path / "x.lock.owner").write_text("{")
    with (
        pytest.raises(LockTimeout, match="locked by a process that did not say who it is"),
        locked(tmp_path / "x.lock", seconds=0.1),
    ):
        pass


def test_an_error_inside_frees_the_lock(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "deep" / "x.lock"):
        raise KeyError
    with locked(tmp_path / "deep" / "x.lock", seconds=0.1):
        pass


def test_threads_count_one_after_the_other(tmp_path):
    counts = {"now": 0, "most": 0, "all": 0}

    def work():
        for _ in range(5):
            with locked(tmp_path / "x.lock"):
                counts["now"] += 1
                counts["most"] = max(counts["most"], counts["now"])
                counts["all"] += 1
                time.sleep(0.001)
                counts["now"] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {"now": 0, "most": 1, "all": 20}


def test_readers_share_and_a_writer_is_alone(tmp_path, held):
    path = tmp_path / "x.lock"
    reader = held("reading")
    with reading(path, seconds=1), reading(path, seconds=1):
        pass
    with (
        pytest.raises(LockTimeout, match=rf"process {reader.pid} has been reading for 0.2 s"),
        writing(path, seconds=0.2),
    ):
        raise AssertionError("written while somebody reads")
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    with (
        writing(path, seconds=2),
        pytest.raises(LockTimeout, match=f"locked by process {os.getpid()} .*, for writing"),
        reading(path, seconds=0.1),
    ):
        raise AssertionError("read while somebody writes")
    assert list((tmp_path / "x.lock.readers").iterdir()) == []

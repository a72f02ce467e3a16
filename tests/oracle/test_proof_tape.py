"""Tape and converter under stress: killed at any moment, fed for hours."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from klines import add, candles, funding, marks, tree
from proof import cases

from qlib.collect.convert import convert

CONVERT = "import sys; from qlib.collect.convert import convert; print('go', flush=True); convert(*sys.argv[1:3], '1H')"
FLAT = """
import resource, sys
import numpy as np, pandas as pd
from qlib.collect.trade_bars import bars_of

def chunks(count):
    for number in range(count):
        draw = np.random.default_rng(number)
        ts = number * 3_600_000 + np.sort(draw.integers(0, 3_600_000, 50_000))
        price, size = np.round(100 + draw.normal(0, 1, 50_000), 1), draw.integers(1, 99, 50_000) / 100
        yield pd.DataFrame({"ts": ts, "price": price, "size": size})

bars_of(chunks(3), sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = bars_of(chunks(int(sys.argv[2])), sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, made["trades"].sum())
"""


@pytest.mark.parametrize("seed", range(cases(4, 50)))
def test_a_conversion_that_is_killed_leaves_the_old_store_or_the_new_one(tmp_path: Path, seed: int) -> None:
    klines, store, once = tmp_path / "klines", tmp_path / "store", tmp_path / "once"
    names = [f"C{number}" for number in range(6)]
    for number, name in enumerate(names):
        add(klines, name, "candles", "1H", candles(0, 200, number), 0, 200)
        add(klines, name, "funding", None, funding(0, 200, 8, number), 0, 200)
    convert(klines, store, "1H")
    old = tree(store)
    for number, name in enumerate(names):
        add(klines, name, "candles", "1H", candles(200, 50, number), 200, 250)
        add(klines, name, "mark", "1H", marks(0, 250, number), 0, 250)
    convert(klines, once, "1H")
    new = tree(once)
    run = subprocess.Popen([sys.executable, "-c", CONVERT, str(klines), str(store)], stdout=subprocess.PIPE)
    assert run.stdout is not None
    run.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.12))
    run.send_signal(signal.SIGKILL)
    run.communicate()
    finished = tree(store) == new
    assert finished or tree(store) == old
    convert(klines, store, "1H")
    assert tree(store) == new
    # What a finished one had no time to remove, the next one that changes something does.
    assert finished or not [path for path in tmp_path.iterdir() if path.name.startswith(".store")]


@pytest.mark.parametrize("rule", ["time:1min", "volume:500", "dollar_imbalance:2000"])
def test_memory_does_not_grow_with_the_trades(rule: str) -> None:
    hours = cases(12, 200)
    done = subprocess.run([sys.executable, "-c", FLAT, rule, str(hours)], capture_output=True, text=True, check=True)
    grown, trades = map(int, done.stdout.split())
    assert trades == hours * 50_000
    assert grown < 40 << 10  # KiB; the trades alone would be more

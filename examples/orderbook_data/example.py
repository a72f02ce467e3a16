"""An order-book recording -> features of each minute -> a store -> formulas.

    python examples/orderbook_data/example.py                                     a synthetic recording, made here
    python examples/orderbook_data/example.py --recording books.jsonl --instrument BTC-USDT

The synthetic recording is invented from the first price to the last and says nothing about any market.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

import qlib
from qlib.collect.dump import dump_all
from qlib.collect.order_book import replay
from qlib.crypto.venues.okx_books import SILENCE, read_recording
from qlib.data import D

MINUTE = 60_000
LEVELS = (1, 5, 10)


def write_recording(path: Path, instrument: str = "SYN-USDT", minutes: int = 30, seed: int = 7) -> None:
    """Write a made-up recording: pushes of the channel `books`, one a line."""
    draw = np.random.default_rng(seed)
    start = 1_767_225_600_000  # 2026-01-01, UTC
    middle, seq = 10_000, 100  # the price in hundredths
    lines = [{"event": "subscribe", "arg": {"channel": "books", "instId": instrument}}]

    def push(action: str, ts: int, bids: list[list[str]], asks: list[list[str]], prev: int) -> None:
        row = {"bids": bids, "asks": asks, "ts": str(ts), "seqId": seq, "prevSeqId": prev, "checksum": 0}
        arg = {"channel": "books", "instId": instrument}
        lines.append({"arg": arg, "action": action, "data": [row]})

    def level(price: int, size: int) -> list[str]:
        return [f"{price / 100:.2f}", f"{size / 10:.1f}", "0", "1"]

    def side(sign: int) -> list[list[str]]:
        return [level(middle + sign * step, int(draw.integers(1, 91))) for step in range(1, 26)]

    push("snapshot", start, side(-1), side(1), -1)
    for second in range(1, minutes * 60 + 2):
        ts = start + second * 1_000
        prev, seq = seq, seq + int(draw.integers(1, 4))
        if 600 <= second < 660:  # nothing changes for a minute
            seq = prev
            if second == 630:
                push("update", ts, [], [], prev)  # a heartbeat
            continue
        if second == 900:
            continue  # lost: what follows does not fit the book any more
        if second == 1_020:  # after a new subscription
            push("snapshot", ts, side(-1), side(1), -1)
            continue
        if second == 1_200:
            seq = 5  # maintenance: the venue counts anew
        changes = [(sign, int(draw.integers(1, 26)), int(draw.integers(-60, 91))) for sign in (-1, 1) for _ in range(4)]
        bids, asks = (
            [level(middle + sign * step, max(size, 0)) for sign, step, size in changes if sign == way]
            for way in (-1, 1)
        )
        push("update", ts, bids, asks, prev)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description="Order-book recording -> features -> store -> formulas.")
    parser.add_argument("--out", default="orderbook_demo", help="folder for what is written")
    parser.add_argument("--recording", help="a recording of your own: a push of the channel `books` a line")
    parser.add_argument("--instrument", default="SYN-USDT")
    asked = parser.parse_args()
    out = Path(asked.out)
    path = Path(asked.recording) if asked.recording else out / "books.jsonl"
    if not asked.recording:
        write_recording(path)
        print(f"{path}: a SYNTHETIC recording, invented by this script")

    done = replay(read_recording(path, asked.instrument), every=MINUTE, levels=LEVELS, max_silence=SILENCE)
    print(done)

    frame = done.features.drop(columns=["ts", "known"])
    frame.insert(0, "date", pd.to_datetime(done.features["ts"], unit="ms"))
    dump_all({asked.instrument: frame}, out / "store", freq="1min")

    qlib.init(provider_uri=str(out / "store"), region="crypto")
    formulas = ["$mid", "$spread_bps", "$microprice - $mid", "Mean($imbalance_5, 5)", "$bid_slope_10 / $ask_slope_10"]
    print(D.features([asked.instrument], formulas, freq="1min").to_string(float_format="%.4f"))


if __name__ == "__main__":
    main()

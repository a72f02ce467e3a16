"""The order-book example runs on a bare home, says that its recording is invented, and shows what is in it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from warm import run_warm

ROOT = Path(__file__).resolve().parents[2]
START = 1_767_225_600_000


def best_quotes(path: Path, end: int) -> tuple[float, float]:
    """Return the best prices before `end`, by the plainest of books."""
    sides: dict[str, dict[float, float]] = {"bids": {}, "asks": {}}
    for line in path.read_text().splitlines():
        push = json.loads(line)
        if "data" not in push or int(push["data"][0]["ts"]) >= end:
            continue
        for side, book in sides.items():
            if push["action"] == "snapshot":
                book.clear()
            for price, size, *_ in push["data"][0][side]:
                book[float(price)] = float(size)
                if float(size) == 0:
                    del book[float(price)]
    return max(sides["bids"]), min(sides["asks"])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("orderbook")
    command = [sys.executable, ROOT / "examples" / "orderbook_data" / "example.py", "--out", folder / "demo"]
    done = run_warm(command, cwd=folder, env={**os.environ, "HOME": str(folder)})
    done.check_returncode()
    return folder / "demo", done.stdout


def test_the_recording_is_said_to_be_invented_and_its_interruption_is_told(demo: tuple[Path, str]) -> None:
    _, said = demo
    assert "a SYNTHETIC recording, invented by this script" in said
    assert "2 snapshots, 1 heartbeats, 1 resets of the sequence, 1 gaps" in said
    assert "30 bars, 28 of them with a known book" in said
    assert "unknown from 2026-01-01T00:15:01.000Z to 2026-01-01T00:17:00.000Z" in said


def test_what_is_shown_is_the_book_of_the_recording(demo: tuple[Path, str]) -> None:
    folder, said = demo
    shown = {
        int(found[1]): found[2] for found in re.finditer(r"2026-01-01 00:(\d\d):00 +(\S+)", said)
    }  # minute -> middle of the book
    assert len(shown) == 30
    assert [minute for minute, middle in shown.items() if middle == "NaN"] == [15, 16]
    for minute in (0, 7, 10, 14, 17, 20, 29):
        bid, ask = best_quotes(folder / "books.jsonl", START + (minute + 1) * 60_000)
        assert float(shown[minute]) == pytest.approx((bid + ask) / 2, abs=1e-4)
    assert len(set(shown.values())) > 3

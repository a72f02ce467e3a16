"""`qlib collect stream okx`: runs until it is told to stop, however it ends, and goes on where it was."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proof import cases
from recordings import MINUTE, bars_of, listening, same, wait_for

from qlib.collect.bar_store import BarStore
from qlib.collect.source import Series
from qlib.crypto.venues.fake import FakeVenue, random_market

START = 1_767_225_600_000  # 2026-01-01


@pytest.fixture(scope="module")
def market() -> dict[str, Any]:
    return random_market(n_spot=2, n_swap=1, bars=400, bar="1m", start=START, seed=9)


@pytest.fixture
def venue(market: dict[str, Any]) -> Iterator[FakeVenue]:
    with FakeVenue(**{**market, "now": START + 250 * MINUTE + 20_000}, limits=False) as venue:
        yield venue


def begin(venue: FakeVenue, *words: str, folder: Path, room: int = 1 << 40) -> subprocess.Popen[str]:
    """Start the command; no file may have more than `room` bytes."""
    script = [sys.executable, "-m", "qlib.cli.main", "collect", "stream", *words]
    where = {"OKX_BASE_URL": venue.url, "OKX_WS_URL": venue.ws_url, "HOME": str(folder)}
    if room < 1 << 40:
        where["PYTHONDONTWRITEBYTECODE"] = "1"  # a module cut short would stay: Python 3.11 writes it without a look
    return subprocess.Popen(
        script, cwd=folder, env={**os.environ, **where}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),  # noqa: PLW1509
    )  # fmt: skip


def stored(folder: Path, series: Series) -> int:
    return len(BarStore(folder / "k").read(series)) if (folder / "k").is_dir() else 0


def due(market: dict[str, Any], venue: FakeVenue, series: Series) -> int:
    """How many bars the venue has; now and then it has none for a minute."""
    return len(bars_of(market, series, START + 240 * MINUTE, venue.now))


ORDINARY = ("okx", "--symbols", "BTC/USDT,BTC-USDT-SWAP", "--bar", "1m", "--out", "k", "--start", "2026-01-01T04:00")
SERIES = [Series("BTC-USDT", "candles", "1m"), Series("BTC-USDT-SWAP", "candles", "1m")]


@pytest.mark.parametrize("how", cases([signal.SIGINT], [signal.SIGINT, signal.SIGTERM]))
def test_it_ends_cleanly_when_told_and_says_what_it_did(
    market: dict[str, Any], venue: FakeVenue, tmp_path: Path, how: signal.Signals
):
    process = begin(venue, *ORDINARY, "--format", "csv", folder=tmp_path)
    wait_for(lambda: listening(venue))
    venue.now += 3 * MINUTE
    wait_for(lambda: all(stored(tmp_path, one) == due(market, venue, one) for one in SERIES))
    process.send_signal(how)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output.startswith("k: 2 series, ")
    assert " rows pushed, " in output
    assert not list((tmp_path / "k").rglob("journal"))
    assert (tmp_path / "k" / "BTC-USDT" / "BTC-USDT_1m.csv").exists()
    for one in SERIES:
        same(BarStore(tmp_path / "k").read(one), bars_of(market, one, START + 240 * MINUTE, venue.now))


def test_killed_at_any_point_the_next_run_leaves_nothing_out(market: dict[str, Any], venue: FakeVenue, tmp_path: Path):
    for turn in range(cases(2, 8)):
        process = begin(venue, *ORDINARY, folder=tmp_path)
        wait_for(lambda: listening(venue))
        before = stored(tmp_path, SERIES[0])
        if turn % 2 == 0:  # once it dies while it asks for what it lacks
            venue.now += 4 * MINUTE
            wait_for(lambda before=before: stored(tmp_path, SERIES[0]) > before)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
        venue.now += 7 * MINUTE
    process = begin(venue, *ORDINARY, folder=tmp_path)
    wait_for(lambda: listening(venue))
    venue.now += MINUTE
    wait_for(lambda: all(stored(tmp_path, one) == due(market, venue, one) for one in SERIES))
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    for one in SERIES:
        same(BarStore(tmp_path / "k").read(one), bars_of(market, one, START + 240 * MINUTE, venue.now))


def test_a_disk_that_is_full_ends_it_and_the_next_run_goes_on(market: dict[str, Any], venue: FakeVenue, tmp_path: Path):
    process = begin(venue, *ORDINARY, folder=tmp_path, room=20_000)
    wait_for(lambda: all(stored(tmp_path, one) == due(market, venue, one) for one in SERIES))
    while process.poll() is None and venue.now < START + 390 * MINUTE:
        venue.now += MINUTE
        time.sleep(0.05)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "cannot be written: File too large; what was stored before is whole" in errors
    assert "Traceback" not in errors
    assert stored(tmp_path, SERIES[0]) >= 10
    process = begin(venue, *ORDINARY, folder=tmp_path)
    wait_for(lambda: all(stored(tmp_path, one) == due(market, venue, one) for one in SERIES))
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    for one in SERIES:
        same(BarStore(tmp_path / "k").read(one), bars_of(market, one, START + 240 * MINUTE, venue.now))


def test_it_ends_by_itself_after_so_many_seconds(venue: FakeVenue, tmp_path: Path):
    process = begin(venue, *ORDINARY, "--seconds", "0.5", folder=tmp_path)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "2 series" in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("okx",), "one of --symbols and --config is needed"),
        (("okx", "--symbols", "BTC/USDT", "--kind", "candle"), "did you mean candles"),
        (("okx", "--symbols", "BTC/USDT", "--kind", "mark"), "spot pairs have no mark"),
        (("okx", "--symbols", "BTC/USDT", "--bar", "1h"), "did you mean 1H"),
        (("okx", "--symbols", "BTC/USTD"), "OKX lists no spot BTC-USTD; did you mean BTC-USDT"),
        (("okx", "--symbols", "BTC/USDT", "--ws_url", "https://ws.okx.com"), "wss://"),
        (("okx", "--symbols", "BTC/USDT", "--start", "soon"), "a date such as 2026-01-31"),
    ],
)
def test_a_wrong_word_is_told_in_one_sentence(
    venue: FakeVenue, tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    from qlib.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OKX_BASE_URL", venue.url)
    monkeypatch.setenv("OKX_WS_URL", venue.ws_url)
    code = main(["collect", "stream", *words])
    told = capsys.readouterr().err
    assert code == 2, told
    assert said in told
    assert "Traceback" not in told

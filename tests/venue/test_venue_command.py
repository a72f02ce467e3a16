"""`python -m qlib.crypto.venues.fake`: it says where it listens, answers in real time, and ends on Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest
import requests

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.crypto.venues.fake import FakeVenue, random_coins, random_market
from qlib.crypto.venues.fake.__main__ import main
from qlib.errors import RunError


def test_the_command_serves_until_it_is_interrupted():
    command = [sys.executable, "-m", "qlib.crypto.venues.fake", "--days", "0.2", "--spot", "1", "--swap", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = "".join(iter(process.stdout.readline, "Ctrl-C ends it.\n"))
        url = re.search(r"OKX REST +(\S+)", told)[1]
        page = requests.get(f"{url}/api/v5/market/candles", params={"instId": "BTC-USDT", "limit": 2}, timeout=120)
        forming, last = page.json()["data"]
        assert (forming[8], last[8]) == ("0", "1")
        assert 0 <= time.time() * 1000 - int(forming[0]) < 130_000
        coins = requests.get(f"{url}/api/v3/coins/markets", params={"vs_currency": "usd"}, timeout=120).json()
        assert coins[0]["id"] == "bitcoin"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout.read() == "2 requests answered\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fault", "rest=0.1"], "did you mean reset?"),
        (["--fault", "reset"], "KIND=CHANCE"),
        (["--bar", "1h"], "did you mean 1H?"),
        (["--bar", "1M"], "fixed length"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main([*words, "--days", "0.1", "--spot", "1", "--swap", "0"]) == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_sentence():
    with (
        FakeVenue() as venue,
        pytest.raises(RunError, match="cannot listen"),
        FakeVenue(port=int(venue.url.rsplit(":", 1)[1])),
    ):
        pass


def test_the_coins_of_a_random_market_agree_with_its_prices():
    market = random_market(3, 3, 500, "1H", seed=2)
    with FakeVenue(**market, **random_coins(market), limits=False) as venue:
        rows = requests.get(f"{venue.coingecko_url}/coins/markets", params={"vs_currency": "usd"}, timeout=120).json()
        last = requests.get(f"{venue.url}/api/v5/market/ticker", params={"instId": "BTC-USDT"}, timeout=120).json()
    told = {row["id"]: row["current_price"] for row in rows}
    assert told["bitcoin"] == pytest.approx(float(last["data"][0]["last"]), rel=0.02)
    assert {"tether", "wrapped-bitcoin", "clone", "unpriced"} <= set(told)
    assert "terra-luna" not in told, "it died in the window"

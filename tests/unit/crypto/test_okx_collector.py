"""The command line of the collector, against a venue that speaks OKX: what people type and what they get."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from warm import run_warm

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.cli.collect import COMMANDS
from qlib.cli.main import main
from qlib.collect.bar_store import BarStore
from qlib.collect.source import COLUMNS
from qlib.crypto import read_bars, read_instruments
from qlib.crypto.venues.fake import FakeVenue, Fault, Faults, random_market
from qlib.crypto.venues.fake.random_coins import random_coins

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "okx_data_collector.py"
HOUR = 3_600_000
START = 1_767_225_600_000  # 2026-01-01


@pytest.fixture(scope="module")
def market() -> dict[str, Any]:
    return random_market(n_spot=2, n_swap=3, bars=1_000, bar="1H", start=START, seed=3)


@pytest.fixture
def venue(market: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVenue]:
    with FakeVenue(**market, limits=False) as venue:
        monkeypatch.setenv("OKX_BASE_URL", venue.url)
        yield venue


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def collect(*words: str) -> int:
    return main(["collect", "okx", "--speed", "1000", *words])


def truth(market: dict[str, Any], kind: str, symbol: str, start: int, end: int) -> pd.DataFrame:
    frame = pd.DataFrame(market[kind][symbol if kind == "funding" else (symbol, "1H")])
    over = 0 if kind == "funding" else HOUR
    frame = frame[(frame["ts"] >= start) & (frame["ts"] < end) & (frame["ts"] + over <= market["now"])]
    return frame.reset_index(drop=True)


def same(stored: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert len(stored) == len(wanted)
    for name in wanted.columns.intersection(stored.columns):
        np.testing.assert_array_equal(stored[name].to_numpy(), wanted[name].to_numpy(), err_msg=name)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def test_the_one_command_line_brings_all_four_kinds(venue, market, capsys):
    symbols = ["BTC-USDT-SWAP", "ETH-USD-SWAP"]
    words = (
        f"--symbols {','.join(symbols)} --bar 1H --start 2026-01-01 --end 2026-02-01 --out data/klines "
        f"--kind candles,funding,mark,oi --update --workers 4 --base_url {venue.url}"
    )
    assert collect(*words.split()) == 0
    end = START + 31 * 24 * HOUR
    for symbol in symbols:
        for kind in ("candles", "funding", "mark", "oi"):
            stored = read_bars("data/klines", symbol, "1H", kind=kind)
            assert list(stored.columns) == list(COLUMNS[kind])
            same(stored, truth(market, kind, symbol, START, end))
    out, err = capsys.readouterr()
    assert out.startswith("data/klines: 8 series, ")
    assert "rows" in err and "requests" in err and "100%" in err
    asked = len(venue.requests)
    assert collect(*words.split()) == 0
    assert ", 0 new rows, " in capsys.readouterr().out
    per_series = len(venue.requests) - asked
    assert per_series <= 3 + 1 + 8, "instruments, the clock, and the last bars of each series"


def test_the_script_is_the_same_and_its_exit_code_too(venue, tmp_path):
    words = ["--symbols", "BTC-USDT", "--start", "2026-01-01", "--end", "2026-01-03", "--quiet"]
    done = run_warm([sys.executable, SCRIPT, *words])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(read_bars("data/klines", "BTC-USDT", "1H")) > 40
    done = run_warm([sys.executable, SCRIPT, "--symbols", "BTC-USDTT"])
    assert done.returncode == 2
    assert done.stderr == "okx_data_collector: BTC-USDTT: OKX lists no spot BTC-USDTT; did you mean BTC-USDT?\n"


def test_symbols_come_from_files_in_any_spelling(venue, tmp_path, capsys):
    Path("config").mkdir()
    Path("config/instruments.json").write_text(json.dumps({"symbols": ["BTCUSDT", {"symbol": "ETH/USD:ETH"}]}))
    Path("config/top50_symbols.json").write_text(json.dumps({"symbols": ["BTC/USDT", "ETH/USDT"], "count": 2}))
    Path("alive.txt").write_text("BTC-USDT-SWAP\t2026-01-01\t2026-01-02\n")
    window = ["--start", "2026-01-01", "--end", "2026-01-02", "--quiet"]
    assert collect("--config", "config/instruments.json", "--out", "a", *window) == 0
    assert [one.symbol for one in BarStore("a").series()] == ["BTC-USDT", "ETH-USD-SWAP"]
    assert collect("--universe", "alive.txt", "--out", "b", *window) == 0
    assert [one.symbol for one in BarStore("b").series()] == ["BTC-USDT-SWAP"]
    capsys.readouterr()
    with Path("alive.txt").open("a") as file:
        file.write("LUNA-USDT-SWAP\t2021-01-01\t2022-05-12\n")
    assert collect("--universe", "alive.txt", "--out", "b", *window) == 0, "who is dead does not stop the others"
    said = capsys.readouterr().err
    assert said.startswith("of the universe cannot be collected: 1 (LUNA-USDT-SWAP: OKX lists no swap LUNA-USDT-SWAP")
    assert collect("--config", "config/top50_symbols.json", "--out", "c", *window[:-1]) == 0
    assert capsys.readouterr().err.startswith("BTC/USDT, ETH/USDT: taken for spot; --type swap means the perpetuals")
    assert [one.symbol for one in BarStore("c").series()] == ["BTC-USDT", "ETH-USDT"]


def test_the_largest_coins_of_today_are_found_when_they_are_asked_for(market, monkeypatch):
    with FakeVenue(**market, **random_coins(market), limits=False) as venue:
        monkeypatch.setenv("OKX_BASE_URL", venue.url)
        monkeypatch.setenv("COINGECKO_BASE_URL", venue.coingecko_url)
        assert collect("--top", "1", "--start", "2026-01-01", "--end", "2026-01-02", "--quiet") == 0
        assert [one.symbol for one in BarStore("data/klines").series()] == ["BTC-USDT-SWAP"]
        assert (
            collect("--top", "1", "--type", "spot", "--out", "b", "--start", "2026-01-01", "--end", "2026-01-02") == 0
        )
        assert [one.symbol for one in BarStore("b").series()] == ["BTC-USDT"]
        assert collect("--top", "0") == 2


def test_other_exchanges_come_through_ccxt_and_two_venues_do_not_share_a_store(venue, market, capsys):
    pytest.importorskip("ccxt", reason="an optional library")
    words = ["collect", "ccxt", "--exchange", "okx", "--base_url", venue.url, "--symbols", "BTC/USDT:USDT"]
    window = ["--start", "2026-01-01", "--end", "2026-01-03"]
    assert main([*words, "--bar", "1h", *window, "--quiet"]) == 0
    wanted = truth(market, "candles", "BTC-USDT-SWAP", START, START + 48 * HOUR)
    same(read_bars("data/klines", "BTC-USDT-SWAP", "1h")[["ts", "close"]], wanted[["ts", "close"]])
    Path("data/klines/venue").write_text("kraken\n")
    assert main([*words, *window]) == 2
    assert "data/klines holds what kraken gave; okx needs another folder" in capsys.readouterr().err


def test_csv_lies_where_it_was_promised(venue, market):
    assert collect("--symbols", "BTC-USDT-SWAP", "--end", "2026-01-05", "--format", "csv", "--quiet") == 0
    text = pd.read_csv("data/klines/BTC-USDT-SWAP/BTC-USDT-SWAP_1H.csv")
    assert list(text.columns) == list(COLUMNS["candles"])
    assert text["ts"].tolist() == truth(market, "candles", "BTC-USDT-SWAP", 0, START + 96 * HOUR)["ts"].tolist()


def test_an_update_without_words_goes_on_with_all_that_is_stored(venue, market):
    venue.now = START + 300 * HOUR + 5
    assert collect("--symbols", "BTC-USDT-SWAP", "--kind", "candles,funding", "--start", "2026-01-03", "--quiet") == 0
    venue.now = market["now"]
    assert collect("--update", "--quiet") == 0
    for kind in ("candles", "funding"):
        stored = read_bars("data/klines", "BTC-USDT-SWAP", kind=kind)
        same(stored, truth(market, kind, "BTC-USDT-SWAP", START + 48 * HOUR, market["now"]))


def test_a_bar_that_the_venue_revises_is_replaced_and_told(venue, market, capsys):
    venue.faults = Faults(plan=[Fault("revised", path="market/candles", nth=1)])
    words = ["--symbols", "BTC-USDT-SWAP", "--start", "2026-01-01", "--update"]
    assert collect(*words) == 0
    venue.faults = None
    capsys.readouterr()
    assert collect(*words) == 0
    said = capsys.readouterr().out
    assert "revised by the venue: 1 (replaced; the old values are in revisions.jsonl)" in said
    assert "  BTC-USDT-SWAP candles 1H 2026-02-11 " in said
    same(read_bars("data/klines", "BTC-USDT-SWAP"), truth(market, "candles", "BTC-USDT-SWAP", START, market["now"]))


def test_what_spot_pairs_do_not_have_is_left_out_and_said(venue, capsys):
    assert collect("--symbols", "BTC-USDT,BTC-USDT-SWAP", "--kind", "candles,funding", "--end", "2026-01-02") == 0
    assert "BTC-USDT: spot, has no funding; left out" in capsys.readouterr().err
    assert [(one.symbol, one.kind) for one in BarStore("data/klines").series()] == [
        ("BTC-USDT", "candles"), ("BTC-USDT-SWAP", "candles"), ("BTC-USDT-SWAP", "funding"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "which instruments? one of --symbols, --config, --universe and --top is needed"),
        ("--symbols BTC-USDT-SWAP --bar 1h", "bar of candles: received '1h'"),
        ("--symbols BTC-USDT-SWAP --bar 1h", "did you mean 1H?"),
        ("--symbols BTC-USDT-SWAP --kind candels", "did you mean candles?"),
        ("--symbols BTC-USDT-SWAP --start yesterday", "start: received 'yesterday'; a date such as 2026-01-31"),
        ("--symbols BTC-USDT-SWAP --start 2026-02-01 --end 2026-01-01", "which is not before the end"),
        ("--symbols BTC-USDT-SWAP --workers 0", "workers: received 0"),
        ("--symbols BTC-USDT-SWAP --format cvs", "did you mean csv?"),
        ("--symbols A-B,C-D", "these cannot be collected:\n  A-B: "),
        ("--config nowhere.json", "nowhere.json cannot be read"),
        ("--update", "since data/klines holds nothing to update"),
        ("--symbols BTC-USDT --kind funding", "there is no funding of these instruments"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(venue, capsys, words, said):
    assert collect(*words.split()) == 2
    assert said in capsys.readouterr().err
    assert not list(Path().rglob("*.parquet")) or list(Path().rglob("*.parquet")) == [
        Path("data/klines/instruments.parquet")
    ]


def test_a_mistyped_option_is_refused_before_anything_is_asked(venue, capsys):
    with pytest.raises(SystemExit) as ended:
        collect("--symbol", "BTC-USDT-SWAP")
    assert ended.value.code == 2
    assert not venue.requests


def test_the_history_of_instruments_keeps_every_row_and_those_that_vanish(venue, capsys):
    words = ["--symbols", "BTC-USDT-SWAP,ETH-USD-SWAP", "--start", "2026-01-01", "--end", "2026-01-03"]
    assert collect(*words, "--quiet") == 0
    before = read_instruments("data/klines")
    assert collect(*words, "--quiet") == 0
    pd.testing.assert_frame_equal(read_instruments("data/klines"), before)
    assert before["symbol"].is_unique
    assert not before["gone"].any()
    assert (before["tick"] > 0).all()
    venue.faults = Faults(plan=[Fault("delist", path="candles", params=(("instId", "ETH-USD-SWAP"),))])
    words[-1] = "2026-01-04"
    assert collect(*words) == 1, "it vanishes in the middle"
    assert "ETH-USD-SWAP candles 1H: " in capsys.readouterr().out
    assert collect(*words) == 0, "from now on it is known to be gone"
    said = capsys.readouterr().out
    assert (
        "ETH-USD-SWAP candles 1H  2026-01-03 to 2026-01-04: delisted, and the venue does not give its history" in said
    )
    after = read_instruments("data/klines")
    assert after[after["symbol"] == "ETH-USD-SWAP"]["gone"].tolist() == [False, True]
    pd.testing.assert_frame_equal(after[~after["gone"]].reset_index(drop=True), before)
    assert len(read_bars("data/klines", "ETH-USD-SWAP")) == 48


def test_ctrl_c_keeps_what_came_says_how_to_go_on_and_the_same_command_completes_it(market, tmp_path):
    words = [
        "--symbols",
        "BTC-USDT-SWAP,ETH-USD-SWAP",
        "--kind",
        "candles,mark",
        "--start",
        "2026-01-01",
        "--workers",
        "1",
    ]
    with FakeVenue(**market, limits=False, delay=0.15) as venue:
        command = [sys.executable, SCRIPT, *words, "--speed", "1000", "--base_url", venue.url]
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        journal = tmp_path / "data/klines/BTC-USDT-SWAP/candles_1H/journal"
        until = time.monotonic() + 60
        while not (journal.exists() and journal.stat().st_size) and time.monotonic() < until:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
        assert child.returncode == 130, said
        assert "are kept in data/klines; run the same command again, and it asks for the rest only" in said
        assert "Traceback" not in said
        kept = len(read_bars("data/klines", "BTC-USDT-SWAP", "1H"))
        assert 0 < kept < 1000
        venue.delay = 0
        assert collect(*words, "--quiet", "--base_url", venue.url) == 0
    for kind in ("candles", "mark"):
        same(
            read_bars("data/klines", "ETH-USD-SWAP", "1H", kind),
            truth(market, kind, "ETH-USD-SWAP", START, market["now"]),
        )


def test_two_collectors_at_once_the_second_says_who_the_first_is(venue, capsys):
    store = BarStore("data/klines")
    with store.lock("collecting from okx"):
        assert collect("--symbols", "BTC-USDT-SWAP", "--end", "2026-01-02") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"qlib collect okx: data/klines: locked by process {os.getpid()} on ")
    assert "UTC, for collecting from okx; one store has one writer" in said


def test_a_venue_that_fails_leaves_exit_code_1_and_a_rerun_completes(venue, market, capsys):
    venue.faults = Faults(plan=[Fault("code", path="history-candles", code="51000", nth=2)])
    words = ["--symbols", "BTC-USDT-SWAP,ETH-USD-SWAP", "--start", "2026-01-01", "--workers", "1"]
    venue.now = START + 3000 * HOUR
    assert collect(*words) == 1
    said = capsys.readouterr().out
    assert "not complete: 1 (run the same command again: it asks for the rest only)" in said
    assert collect(*words) == 0


def test_funding_that_okx_does_not_tell_any_more_comes_from_its_history_files(monkeypatch, capsys):
    market = random_market(n_spot=0, n_swap=1, bars=130 * 24, bar="1H", start=START, seed=8)
    with FakeVenue(**market, limits=False) as venue:
        monkeypatch.setenv("OKX_BASE_URL", venue.url)
        words = ["--symbols", "BTC-USDT-SWAP", "--kind", "funding", "--start", "2026-01-02", "--end", "2026-05-01"]
        assert collect(*words) == 0
        assert "OKX keeps only the last three months of funding rates here" in capsys.readouterr().out
        whole = truth(market, "funding", "BTC-USDT-SWAP", START + 24 * HOUR, START + 120 * 24 * HOUR)
        assert len(read_bars("data/klines", "BTC-USDT-SWAP", kind="funding")) < len(whole)
        assert collect(*words, "--archive", "files") == 0
        assert "holes: none" in capsys.readouterr().out
        stored = read_bars("data/klines", "BTC-USDT-SWAP", kind="funding")
        np.testing.assert_array_equal(stored["ts"], whole["ts"])
        np.testing.assert_array_equal(stored["rate"], whole["rate"])
        assert collect(*words, "--kind", "candles", "--archive", "files") == 2
        assert "archive: there are no files of candles; --kind trades,funding is allowed" in capsys.readouterr().err


def test_status_tells_what_is_stored(venue, capsys):
    assert collect("--symbols", "BTC-USDT-SWAP", "--start", "2026-01-01", "--end", "2026-01-03", "--quiet") == 0
    assert main(["collect", "status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "symbol         kind     bar  rows  first       last              holes",
        "BTC-USDT-SWAP  candles  1H     48  2026-01-01  2026-01-02 23:00      0",
    ]
    assert main(["collect", "status", "--out", "nowhere"]) == 2
    assert "out: nowhere does not exist" in capsys.readouterr().err


def test_the_help_names_every_option_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as ended:
        collect("--help")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for word in ("--symbols", "--config", "--universe", "--top", "--bar", "--start", "--end", "--out", "--kind",
                 "--update", "--workers", "--base_url", "--format", "--quiet", "OKX_BASE_URL",
                 "130 interrupted"):  # fmt: skip
        assert word in said
    assert main(["collect", "--help"]) == 0
    assert "qlib collect COMMAND --help says more" in capsys.readouterr().out


def test_a_disk_that_refuses_is_one_sentence(venue, monkeypatch, capsys):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "data/klines/instruments.parquet")

    monkeypatch.setattr("qlib.collect.instrument_history.replace_file", full)
    assert collect("--symbols", "BTC-USDT-SWAP", "--end", "2026-01-03") == 1
    assert capsys.readouterr().err == "qlib collect okx: data/klines/instruments.parquet: No space left on device\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_collect_is_there_and_says_what_it_does(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["collect", name, "--help"])
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out


def test_an_unknown_command_gets_the_nearest_spelling(capsys):
    assert main(["collect", "okex"]) == 2
    assert capsys.readouterr().err.endswith("; did you mean okx?\n")


def test_nothing_secret_is_written_or_said(venue, monkeypatch, capsys):
    secrets = {"OKX_API_KEY": "key-of-mine", "OKX_API_SECRET": "secret-of-mine", "OKX_API_PASSPHRASE": "phrase-of-mine"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    venue.faults = Faults(plan=[Fault("code", path="market/candles", code="50111")])
    assert collect("--symbols", "BTC-USDT-SWAP", "--end", "2026-01-03") == 1
    told = "".join(capsys.readouterr()) + "".join(
        path.read_text("latin-1") for path in Path("data").rglob("*") if path.is_file()
    )
    assert not [value for value in secrets.values() if value in told]

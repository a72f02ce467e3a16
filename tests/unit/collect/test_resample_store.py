"""Coarser bars of a whole store: values, names, markets, commands; whole or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from proof import cases

from qlib.cli import data as commands
from qlib.collect.resample import resample_frame, resample_store
from qlib.config import build_settings
from qlib.data.calendar import exchange_calendar
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store
from qlib.errors import InputError, MissingDataError

MINUTES = pd.date_range("2024-01-05 22:07", "2024-01-08 01:59", freq="min")
FIELDS = ["open", "high", "low", "close", "volume", "vwap", "funding_rate"]


def minute_bars(seed: int, times: pd.DatetimeIndex = MINUTES) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    price = 100 + random.standard_normal((len(times), 4)).cumsum(axis=0) / 50
    frame = pd.DataFrame(price, times, ["open", "high", "low", "close"])
    frame["volume"] = random.integers(0, 9, len(times))
    frame["vwap"] = frame.close + 0.01
    frame["funding_rate"] = np.where(times.minute == 0, 1e-4, np.nan)
    return frame.astype(np.float32)


FRAMES = {
    "BTC/USDT": minute_bars(0),
    "ETHUSDT": minute_bars(1).drop(MINUTES[600:700]),
    "NEW": minute_bars(2, MINUTES[1111:2222])[["close", "volume"]],
}


@pytest.fixture
def root(tmp_path):
    spans = {"major": {"BTC/USDT": [("2024-01-05 22:07", "2024-01-06"), ("2024-01-07", "2024-01-08 01:59")]}}
    return write_store(FRAMES, tmp_path / "store", "1min", instruments={"all": list(FRAMES), **spans})


def provider(root: Path) -> Provider:
    return Provider(build_settings(provider_uri=str(root), region="crypto"))


def content(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("to", ["5min", "15min", "1h", "7h", "day"])
def test_a_store_holds_what_each_frame_makes(root, to):
    before = content(root)
    done = resample_store(root, "1min", to)
    store = provider(root)
    for name, frame in FRAMES.items():
        texts = [f"${field}" for field in frame.columns]
        found = store.features([name], texts, freq=to).loc[name]
        whole = resample_frame(frame.reindex(MINUTES), to, freq="1min").loc[found.index].astype(np.float32)
        np.testing.assert_allclose(found.to_numpy(), whole.to_numpy(), rtol=2e-6, equal_nan=True, err_msg=name)
        assert store.stored_fields(name, to) == sorted(frame.columns), "no field is made up"
        inside = (whole.index + pd.Timedelta("1D" if to == "day" else to) > frame.index[0]) & (
            whole.index <= frame.index[-1]
        )
        assert inside.all()
    assert list(store.calendar(freq=to)) == list(resample_frame(FRAMES["BTC/USDT"], to, freq="1min").index), (
        "only whole bars"
    )
    assert done.bars == len(store.calendar(freq=to)) and done.instruments == 3
    assert before.items() <= content(root).items(), "the minutes and the markets are as they were"


def test_a_size_by_another_name_is_the_same_and_what_was_stored_is_replaced(root):
    resample_store(root, "1min", "4h")
    first = content(root)
    assert any(name.endswith(".240min.bin") for name in first)
    resample_store(root, "1min", "240min")
    assert content(root) == first, "a second run gives the same bytes"
    hours = provider(root).features(["BTC/USDT"], ["$close"], freq="4h")
    assert len(hours) == len(provider(root).features(["BTC/USDT"], ["$close"], freq="240min")) > 10


@pytest.mark.parametrize("spelled", ["4h", "4H", "240min"])
def test_a_store_whose_files_are_spelled_in_hours_is_found_by_any_spelling(root, spelled):
    resample_store(root, "1min", "4h")
    for path in [*root.rglob("*.240min.bin"), root / "calendars" / "240min.txt"]:
        path.rename(path.with_name(path.name.replace("240min", "4h")))
    whole = provider(root)
    assert len(whole.features(["BTC/USDT"], ["$close"], freq=spelled)) > 10 and "4h" in whole.stored_freqs()
    named = Provider(build_settings(provider_uri={"240min": str(root), "1min": str(root)}, region="crypto"))
    assert len(named.features(["BTC/USDT"], ["$close"], freq=spelled)) > 10


def test_another_folder_gets_the_markets_too(root, tmp_path):
    before = content(root)
    resample_store(root, "1min", "1h", out_dir=tmp_path / "hours", fields=["$close", "volume"], offset="30min")
    assert content(root) == before
    hours = provider(tmp_path / "hours")
    assert hours.stored_freqs() == ["60min"] and hours.stored_fields("BTC/USDT", "1h") == ["close", "volume"]
    assert {time.minute for time in hours.calendar(freq="1h")} == {30}
    assert [len(spans) for spans in hours.list_instruments(hours.instruments("major"), freq="1h").values()] == [2]
    assert hours.list_instruments(hours.instruments("all"), freq="1h", as_list=True) == list(FRAMES)


def test_bars_that_are_not_whole_are_kept_where_that_is_asked(root):
    assert [str(time) for time in resample_store(root, "1min", "day", dry_run=True).dropped] == [
        "2024-01-05 00:00:00", "2024-01-08 00:00:00",
    ]  # fmt: skip
    done = resample_store(root, "1min", "day", ends="keep")
    assert done.dropped == [] and done.bars == 4
    found = provider(root).features(provider(root).instruments("all"), ["$volume"], freq="day")
    assert len(found.loc["BTC/USDT"]) == 4, "the span begins with the bar"
    assert found.loc["BTC/USDT"].to_numpy().sum() == FRAMES["BTC/USDT"].volume.sum()


def test_chinese_days_from_minutes(tmp_path):
    minutes = exchange_calendar("1min", "2024-01-02", "2024-01-12", "cn").index
    write_store({"SH600000": minute_bars(3, minutes)}, tmp_path / "cn", "1min")
    with pytest.raises(InputError, match="name its region"):
        resample_store(tmp_path / "cn", "1min", "day")
    resample_store(tmp_path / "cn", "1min", "day", region="cn")
    resample_store(tmp_path / "cn", "day", "week", region="cn", ends="keep")
    store = Provider(build_settings(provider_uri=str(tmp_path / "cn"), region="cn"))
    days = store.features(["SH600000"], ["$close", "$volume"], freq="day").loc["SH600000"]
    bars = minute_bars(3, minutes)
    assert days["$close"].tolist() == bars.close.groupby(minutes.normalize()).last().tolist()
    assert days["$volume"].tolist() == bars.volume.groupby(minutes.normalize()).sum().tolist()
    weeks = store.features(["SH600000"], ["$volume"], freq="week").loc["SH600000"]
    assert weeks.index.strftime("%d").tolist() == ["02", "08"] and weeks.to_numpy().sum() == bars.volume.sum()


@pytest.mark.parametrize(
    ("to", "options", "error", "said"),
    [
        ("30s", {}, InputError, "1min cannot be resampled to 30sec"),
        ("1min", {}, InputError, "the size of the bars that are stored"),
        ("90min", {"rules": {"close": "lats"}}, InputError, "received 'lats' for close"),
        ("1h", {"fields": ["closs"]}, InputError, "received 'closs'; stored at 1min: close, funding_rate"),
        ("36h", {}, InputError, "at most a day long, or whole days"),
        ("month", {}, InputError, "holds no whole bar of it .ends='keep'"),
        ("1h", {"region": "mars"}, InputError, "received 'mars'; allowed are cn"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(root, to, options, error, said):
    before = content(root)
    with pytest.raises(error, match=said):
        resample_store(root, "1min", to, **options)
    assert content(root) == before
    with pytest.raises(MissingDataError, match="does not contain data for 5min; stored there: 1min"):
        resample_store(root, "5min", "1h")


def test_a_run_that_is_killed_leaves_the_old_store_or_the_new_one(root):
    old = content(root)
    code = "from qlib.collect.resample import resample_store; print('go', flush=True); "
    code += f"resample_store({str(root)!r}, '1min', '15min')"
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    new, length = content(root), time.monotonic() - started
    assert old.items() < new.items()
    for part in np.random.default_rng(5).uniform(0, 1, cases(3, 50)):
        write_store(FRAMES, root, "1min")
        for path in [*root.rglob("*.15min.bin"), root / "calendars" / "15min.txt"]:
            path.unlink(missing_ok=True)
        before = content(root)
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(part * min(length, 0.3))
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        after = content(root)
        bins = {name for name in after if name.endswith(".15min.bin")}
        assert after == before or len(bins) == 16 and "calendars/15min.txt" in after


# ---------------------------------------------------------------------- the command
def run(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["qlib data", *words])
    try:
        commands.run()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command_says_what_it_does_and_does_it(root, monkeypatch, capsys):
    words = ("resample", "--qlib_dir", str(root), "--from", "1min", "--to", "1h", "--rules", "vwap=mean:volume,low=min")
    before = content(root)
    assert run(monkeypatch, *words, "--dry_run") == 0 and content(root) == before
    assert run(monkeypatch, *words) == 0
    told = capsys.readouterr().out
    assert (
        "would write 1min -> 60min: 51 bars of 3 instruments" in told
        and "not whole, left out: 2024-01-05 22:00" in told
    )
    assert "vwap            mean:volume" in told
    assert len(provider(root).calendar(freq="1h")) == 51


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--from", "1min", "--to", "1h", "--rules", "vwap"), 2, "field=rule with commas"),
        (("--from", "1min", "--to", "1x"), 2, "received '1x'; allowed are"),
        (("--from", "day", "--to", "week"), 2, "does not contain data for day"),
    ],
)
def test_the_command_fails_with_one_sentence_and_a_code(root, monkeypatch, capsys, words, code, said):
    before = content(root)
    assert run(monkeypatch, "resample", "--qlib_dir", str(root), *words) == code
    told = capsys.readouterr().err
    assert told.startswith("qlib data resample: ") and said in told and content(root) == before


def test_without_a_command_it_says_which_there_are(monkeypatch, capsys):
    assert run(monkeypatch) == 0 == run(monkeypatch, "--help")
    told = capsys.readouterr().out
    assert all(f"\n  {name} " in told for name in ("sample", "resample", "future"))

"""`get_data.py sample`: a store that appears whole or not at all and says that it is synthetic."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from warm import run_warm

from qlib import tests as fixtures
from qlib.crypto import sample_store
from qlib.crypto.planted import IC, planted_ic, read_truth
from qlib.crypto.sample import BENCHMARK, VERSION, MarketSpec, SampleMarket
from qlib.crypto.sample_store import write_sample
from qlib.data import D
from qlib.errors import InputError
from qlib.tests.data import GetData

SMALL = MarketSpec(seed=3, days=120, hourly_days=20, coins=10, late=2, delisted=1)
ROOT = Path(__file__).resolve().parents[3]


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "store"
    write_sample(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def market() -> SampleMarket:
    return SampleMarket(SMALL)


def test_writing_twice_gives_the_same_bytes(store, tmp_path):
    write_sample(tmp_path / "again", SMALL)
    assert digest(tmp_path / "again") == digest(store)


@pytest.mark.parametrize("freq", ["day", "60min"])
def test_the_store_holds_the_bars_that_were_played(store, market, freq):
    calendar = (store / "calendars" / f"{freq}.txt").read_text().split("\n")[:-1]
    assert len(calendar) == (120 if freq == "day" else 20 * 24)
    for name, frame in market.frames(freq).items():
        for field in frame.columns:
            stored = np.fromfile(store / "features" / name.lower() / f"{field}.{freq}.bin", dtype="<f4")
            assert calendar[int(stored[0])] == str(frame.index[0])[: len(calendar[0])]
            np.testing.assert_array_equal(stored[1:], frame[field].to_numpy())


def test_the_index_has_its_own_market_and_is_not_among_the_coins(store):
    coins = (store / "instruments" / "all.txt").read_text().splitlines()
    index = (store / "instruments" / "benchmark.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in coins] == [f"SYN{number:02d}" for number in range(1, 11)]
    assert [line.split("\t")[0] for line in index] == [BENCHMARK]


def test_spans_of_the_coins_are_their_days_on_the_exchange(store, market):
    lines = (store / "instruments" / "all.txt").read_text().splitlines()
    spans = {name: (first[:10], last[:10]) for name, first, last in (line.split("\t") for line in lines)}
    for name, frame in market.frames("day").items():
        if name != BENCHMARK:
            assert spans[name] == (f"{frame.index[0]:%Y-%m-%d}", f"{frame.index[-1]:%Y-%m-%d}")


def test_the_folder_says_in_plain_words_that_it_is_synthetic(store):
    readme = (store / "README.txt").read_text()
    assert readme.startswith("SYNTHETIC DATA")
    assert "seed 3" in readme
    truth = read_truth(store)
    assert truth["synthetic"] is True
    assert truth["version"] == VERSION
    assert truth["spec"]["seed"] == 3
    assert len(truth["coins"]) == 10
    assert planted_ic(store) == IC


def test_the_null_twin_says_that_nothing_is_planted(tmp_path):
    write_sample(tmp_path / "null", MarketSpec(seed=3, days=120, hourly_days=2, coins=10, late=2, delisted=1, ic=0.0))
    assert planted_ic(tmp_path / "null") == 0
    assert read_truth(tmp_path / "null")["null_twin"] is True
    assert "nothing is planted" in (tmp_path / "null" / "README.txt").read_text()


def test_an_older_sample_store_is_replaced_or_kept_as_asked(tmp_path):
    folder = tmp_path / "store"
    assert write_sample(folder, SMALL) == (folder, True)
    (folder / "mark").touch()
    assert write_sample(folder, SMALL, exists_skip=True) == (folder, False)
    assert (folder / "mark").exists()
    assert write_sample(folder, SMALL) == (folder, True)
    assert not (folder / "mark").exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and was not written by"):
        write_sample(tmp_path, SMALL, exists_skip=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "thesis.txt"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(InputError, match="must be a folder"):
        write_sample(tmp_path / "store", SMALL)


def test_a_run_that_breaks_leaves_nothing_behind(tmp_path, monkeypatch):
    write_sample(tmp_path / "store", SMALL)
    before = digest(tmp_path / "store")

    def broken(*args: object, **kwargs: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(sample_store, "_readme", broken)
    for folder in ("store", "other"):
        with pytest.raises(OSError, match="disk full"):
            write_sample(tmp_path / folder, SMALL)
    assert digest(tmp_path / "store") == before
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_parent_is_an_input_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        write_sample(tmp_path / "store", SMALL)


def test_a_spec_out_of_bounds_is_refused_with_the_bounds():
    with pytest.raises(InputError, match=r"needs days between 60 and .*, received 10"):
        MarketSpec(days=10)


@pytest.mark.parametrize(("argument", "value"), [("seed", -1), ("seed", "x"), ("null", "yes"), ("exists_skip", 1)])
def test_get_data_refuses_wrong_values_before_it_writes(tmp_path, argument, value):
    with pytest.raises(InputError, match=f"{argument} must be"):
        GetData().sample(target_dir=tmp_path / "store", **{argument: value})
    assert not any(tmp_path.iterdir())


def run_door(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "get_data.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return run_warm(command, env=environment)


def test_the_script_writes_the_market_and_says_what_where_and_what_next(tmp_path):
    done = run_door("sample", "--target_dir", str(tmp_path / "s"), "--seed", "1", "--null")
    assert done.returncode == 0, done.stderr
    assert f"SYNTHETIC market written to {tmp_path / 's'}" in done.stdout
    assert "50 invented coins" in done.stdout
    assert "nothing planted" in done.stdout
    assert "Next: qrun config/workflow.json" in done.stdout
    truth = json.loads((tmp_path / "s" / "truth.json").read_text())
    assert truth["spec"]["seed"] == 1
    again = run_door("sample", "--target_dir", str(tmp_path / "s"), "--exists_skip")
    assert "already there, kept" in again.stdout
    assert "seed 1" in again.stdout


def test_a_test_case_brings_its_own_data(store):
    class OnSmallSample(fixtures.TestAutoData):
        provider_uri = str(store)

    OnSmallSample.setUpClass()
    assert D.calendar(freq="day").size == 120
    assert D.features(["SYN01"], ["$close"], freq="60min").shape == (480, 1)

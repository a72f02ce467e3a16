"""Stages that are kept: what depends on a change is computed again, exactly that, and what is taken is right."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib import session
from qlib.workflow import stage_cache
from qlib.workflow.manifest import content_digest, write_manifest
from qlib.workflow.record_temp import PortAnaRecord
from qlib.workflow.stage import watched
from qlib.workflow.stage_cache import StageCache, Stages
from qlib.workflow.train import execute_task
from tests.proof import cases
from tests.stage_market import DiskRecorder, changed, flip, market, modules, task

FIT, SIGNAL, ANALYSIS, PORTFOLIO = ALL = ["fit", "record SignalRecord", "record SigAnaRecord", "record PortAnaRecord"]
OURS = ("stage_model", "stage_helper", "stage_strategy", "stage_other")


class World:
    """A market, a user's modules, a task over them, and a cache of its stages."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0
        self.store = market(folder / "store")
        modules(folder)
        self.task = task(folder)
        self.cache = StageCache(folder / "cache")
        qlib.init(provider_uri=str(self.store), region="us", kernels=1, logging_level=20)

    def run(self, *, cached: bool = True, task=None):
        """Return the recorder of a new run and the names of the stages that were computed."""
        for name in OURS:  # a new process would read them anew
            sys.modules.pop(name, None)
        self.runs += 1
        recorder = DiskRecorder(self.folder / "runs" / str(self.runs))
        stages = execute_task(recorder, task or self.task, self.cache if cached else None)
        return recorder, [done.name for done in stages.done if not done.taken]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(
        stage_cache, "process_began", lambda: 1 << 62
    )  # the modules are older than this process, as a rule
    yield World(tmp_path)
    session.close()
    for name in OURS:
        sys.modules.pop(name, None)


def files_of(recorder):
    return {p.relative_to(recorder.folder): p.read_bytes() for p in recorder.folder.rglob("*") if p.is_file()}


def numbers(recorder):
    report = recorder.load_object("portfolio_analysis/report_normal_1day.pkl")
    return content_digest(recorder.load_object("pred.pkl")), content_digest(report), recorder.metrics


def test_a_stage_that_is_unchanged_is_said_to_be_to_people_and_to_programs(world, capsys):
    world.run()
    told = []
    capsys.readouterr()
    with watched(lambda name, _, facts: told.append((name, facts))):
        world.run()
    assert ("fit", {"unchanged": True}) in told
    assert re.search(r": fit \d+\.\d s \(unchanged\)\n", capsys.readouterr().err)


def test_what_is_unchanged_is_taken_whole(world):
    first, computed = world.run()
    assert computed == ALL
    second, computed = world.run()
    assert computed == []
    assert numbers(second) == numbers(first)
    files = [
        {p.relative_to(r.folder): p.read_bytes() for p in r.folder.rglob("*") if p.is_file()} for r in (first, second)
    ]
    assert files[0] == files[1]


def mutations(world):
    """Yield (what, how, the stages that must be computed, whether those after them follow what they predict)."""
    rng = np.random.default_rng(20260101)
    data = world.store / "features"
    user = {"stage_model.py": [FIT, SIGNAL], "stage_helper.py": [FIT, SIGNAL], "stage_strategy.py": [PORTFOLIO]}
    read = {"sig": [FIT, SIGNAL], "aim": [FIT, SIGNAL], "close": [PORTFOLIO], "unread": []}
    params = [
        ("model.kwargs.weight", float, [FIT, SIGNAL]),
        ("record.1.kwargs.ann_scaler", int, [ANALYSIS]),
        ("record.2.kwargs.config.strategy.kwargs.topk", lambda x: 2 + int(x) % 5, [PORTFOLIO]),
        ("record.2.kwargs.config.backtest.account", lambda x: 1e6 + x, [PORTFOLIO]),
    ]
    while True:
        kind = rng.integers(4)
        if kind == 0:
            field, name = rng.choice(list(read)), f"s{rng.integers(8):02d}"
            path = data / name / f"{field}.day.bin"
            place = int(rng.integers(4, path.stat().st_size // 4) * 4)  # the smallest bit of a number
            yield f"a bit of {name} {field}", lambda p=path, w=place: flip(p, w), read[field]
        elif kind == 1:
            name = rng.choice(list(user))
            line = f"# {rng.integers(1 << 30)}\n"
            path = world.folder / name
            yield f"a line of {name}", lambda p=path, t=line: p.write_text(p.read_text() + t), user[name]
        elif kind == 2:
            path, made, stages = params[rng.integers(len(params))]
            value = made(rng.integers(100, 1000))
            yield f"{path} = {value}", lambda p=path, v=value: setattr(world, "task", changed(world.task, p, v)), stages
        else:
            name, stages = [("table.csv", [FIT, SIGNAL]), ("unread.csv", []), ("stage_other.py", [])][rng.integers(3)]
            path, line = world.folder / name, f"{rng.integers(100)}\n"
            yield f"a line of {name}", lambda p=path, t=line: p.write_text(p.read_text() + t), stages


def test_a_mutation_is_followed_by_exactly_the_stages_that_depend_on_it(world):
    before, _ = world.run()
    wrong = []
    for count, (what, change, expected) in enumerate(mutations(world)):
        if count == cases(5, 100):
            break
        change()
        after, computed = world.run()
        fresh, _ = world.run(cached=False)
        if numbers(after) != numbers(fresh):
            wrong.append(f"{what}: what was taken is not what is computed")
        follows = []
        if FIT in expected:  # who reads the prediction and the label follows what is in them
            both = [(r, name) for name in ("pred.pkl", "label.pkl") for r in (before, after)]
            content = [content_digest(recorder.load_object(name)) for recorder, name in both]
            moved = content[0] != content[1]
            follows = [ANALYSIS] if moved or content[2] != content[3] else []
            follows += [PORTFOLIO] if moved else []
        due = {*expected, *follows}
        if not set(computed) <= due:  # fewer where a former state has come back: the numbers are right all the same
            wrong.append(f"{what}: computed {computed}, due {sorted(due)}")
        before = after
        fresh.drop()
    assert wrong == []


def test_a_prediction_that_stays_the_same_leaves_what_follows_as_it_is(world):
    world.run()
    with (world.folder / "stage_model.py").open("a") as file:
        file.write("# another word\n")
    _, computed = world.run()
    assert computed == [FIT, SIGNAL]


def test_dataset_and_model_are_made_only_for_whom_needs_them(world, caplog):
    world.run()
    world.task = changed(world.task, "record.2.kwargs.config.strategy.kwargs.topk", 4)
    caplog.clear()
    _, computed = world.run()
    assert computed == [PORTFOLIO]
    assert "stage_model" not in sys.modules


def test_a_model_of_a_user_is_read_from_the_run_or_fitted_again(world):
    first, _ = world.run()
    world.task = changed(world.task, "record.0.kwargs", {"model": "<MODEL>", "dataset": "<DATASET>"})
    world.task["record"].insert(0, {"class": "SignalRecord"})
    second, computed = world.run()
    assert FIT not in computed
    assert numbers(second)[0] == numbers(first)[0]


def test_what_is_damaged_or_gone_is_computed_again(world):
    first, _ = world.run()
    blobs = sorted((world.cache.folder / "blobs").glob("*/*"))
    for blob in blobs:
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    second, computed = world.run()
    assert computed == ALL
    assert numbers(second) == numbers(first)
    for trace in (world.cache.folder / "traces").iterdir():
        for text in ("[{]", "7", '[{"seen": 1}]'):
            trace.write_text(text)
            assert world.cache.traces(trace.stem) == []


def test_a_trace_of_files_that_changed_while_it_ran_is_not_kept(world):
    helper = world.folder / "stage_helper.py"
    table = world.folder / "table.csv"
    helper.write_text(f"import pathlib\nPLUS = 0.5\npathlib.Path({str(table)!r}).write_text('x\\n0.25\\n')\n")
    _, computed = world.run()
    assert computed == ALL
    assert FIT in world.run()[1]


def test_code_that_was_written_after_the_process_began_is_not_trusted(world, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(sys, "path", [str(world.folder), *sys.path])
    world.run()
    assert world.run()[1] == [FIT, SIGNAL, PORTFOLIO]  # what those were given, or run, may be older than the files


def test_other_settings_are_another_key(world):
    world.run()
    qlib.init(provider_uri=str(world.store), region="us", kernels=1, compat="qlib", logging_level=20)
    assert world.run()[1] == ALL


def test_over_frames_nothing_is_kept_and_everything_runs(world):
    index = pd.MultiIndex.from_product([["A"], pd.bdate_range("2020-01-01", periods=4)])
    frame = pd.DataFrame({"close": [1.0, 2, 3, 4]}, index=index.set_names(["instrument", "datetime"]))
    qlib.init(data={"day": frame}, region="us")
    stages = Stages(DiskRecorder(world.folder / "runs" / "frames"), world.cache)
    done = stages.perform("nothing", {}, [], lambda: stages.recorder.save_objects(seen=1))
    assert (done.key, done.kept, stages.recorder.load_object("seen")) == (None, False, 1)


def test_an_operator_of_a_user_counts_with_its_module(world):
    module = world.folder / "stage_other.py"
    module.write_text("from qlib.data.ops import ElemOperator\n\n\nclass Twice(ElemOperator):\n    pass\n")
    ops = [{"class": "Twice", "module_path": "stage_other"}]
    qlib.init(provider_uri=str(world.store), region="us", kernels=1, custom_ops=ops)
    keys = []
    for line in ("", "# a line\n"):
        module.write_text(module.read_text() + line)
        stages = Stages(DiskRecorder(world.folder / "runs" / "keys"), world.cache)
        keys.append(stages.perform("nothing", {}, [], lambda: None).key)
    assert keys[0] != keys[1]


def test_another_store_of_the_same_name_is_not_taken_for_this_one(world, tmp_path):
    world.run()
    other = market(tmp_path / "elsewhere" / "store")
    flip(other / "features" / "s00" / "sig.day.bin", 8)
    qlib.init(provider_uri=str(other), region="us", kernels=1, logging_level=20)
    assert FIT in world.run()[1]


def test_the_limit_of_the_folder_holds(world):
    world.cache.limit = 60_000
    for weight in range(2):
        world.task = changed(world.task, "model.kwargs.weight", float(weight))
        world.run()
    held = sum(path.stat().st_size for path in (world.cache.folder / "blobs").glob("*/*"))
    assert 0 < held <= 60_000


def test_a_cache_that_cannot_be_written_costs_no_run(world):
    world.cache.folder.parent.mkdir(exist_ok=True)
    world.cache.folder.write_text("a file where the folder should be")
    recorder, computed = world.run()
    assert computed == ALL
    assert recorder.load_object("pred.pkl") is not None


def test_a_run_that_was_broken_off_goes_on_to_the_same_result(world, monkeypatch):
    whole, _ = world.run(cached=False)
    broken = DiskRecorder(world.folder / "runs" / "broken")
    with monkeypatch.context() as patch:
        patch.setattr(PortAnaRecord, "_analyse_risk", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            execute_task(broken, world.task, world.cache)
    stages = execute_task(broken, world.task, world.cache)
    assert [done.name for done in stages.done if not done.taken] == [PORTFOLIO]
    assert numbers(broken) == numbers(whole)
    assert files_of(broken).keys() == files_of(whole).keys()


def test_a_cache_can_be_emptied(world):
    world.run()
    assert world.cache.clear() > 0
    assert world.cache.traces(world.cache.folder.name) == []
    assert not [path for path in world.cache.folder.rglob("*") if path.is_file()]


def test_the_manifest_of_a_taken_run_is_that_of_the_computed_one(world):
    made = []
    for _ in range(2):
        recorder, _ = world.run()
        stages = execute_task(recorder, world.task, world.cache)
        made.append(write_manifest(recorder, stages, {"task": world.task}))
    for key in ("data", "outputs", "predictions", "accounts", "packages", "environment"):
        assert made[0][key] == made[1][key], key
    assert made[0]["code"]["digest"] == made[1]["code"]["digest"]
    assert made[0]["data"]["fields"] == ["aim", "change", "close", "factor", "sig", "volume"]
    assert made[0]["data"]["other_files"] == [str(world.folder / "table.csv")]
    assert "stage_helper.py" in {Path(name).name for name in made[0]["code"]["sources"]}

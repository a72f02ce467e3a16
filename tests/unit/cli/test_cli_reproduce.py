"""A run that is unchanged is served, one that is built again is compared, two that differ say in what."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from qlib import session
from qlib.cli.run import main
from qlib.workflow import QlibRecorder, served, stage_cache
from qlib.workflow.expm import MLflowExpManager
from tests.stage_market import changed, flip, market, task


def config_of(store: Path) -> dict:
    own = task(store.parent)
    own["model"] = {"class": "LinearModel", "module_path": "qlib.contrib.model.linear", "kwargs": {"estimator": "ols"}}
    strategy = {"class": "TopkDropoutStrategy", "module_path": "qlib.contrib.strategy"}
    strategy["kwargs"] = {"signal": "<PRED>", "topk": 3, "n_drop": 1}
    own = changed(own, "record.2.kwargs.config.strategy", strategy)
    return {"qlib_init": {"provider_uri": str(store), "region": "us", "kernels": 1}, "task": own}


class Place:
    """A working directory with a market, a configuration, and the words of qrun."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, market(folder / "store")
        self.config = config_of(self.store)
        self.write()

    def write(self) -> None:
        (self.folder / "c.json").write_text(json.dumps(self.config))

    def runs(self):
        return QlibRecorder(MLflowExpManager(str(self.folder / "mlruns"), "E")).list_recorders(
            experiment_name="workflow"
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("place")
        patch.chdir(folder)
        for module in (stage_cache, served):  # the sources of this package are older than a process, as a rule
            patch.setattr(module, "process_began", lambda: 1 << 62)
        log = logging.getLogger("qlib")
        before = (log.level, log.propagate, list(log.handlers), list(log.filters))
        made = Place(folder)
        assert main(["c.json", "--quiet"]) == 0
        yield made
        session.close()
        log.level, log.propagate, log.handlers[:], log.filters[:] = before


def said(capsys, *words):
    code = main(list(words))
    out = capsys.readouterr()
    return code, out.out, out.err


def test_an_unchanged_run_is_answered_with_the_one_there_is(place, capsys):
    (run,) = place.runs()
    code, out, _ = said(capsys, "c.json", "--json")
    facts = json.loads(out.splitlines()[-1])
    assert (code, facts["run"]) == (0, run)
    assert facts["unchanged"].startswith("since ")
    assert list(place.runs()) == [run]


def test_the_answer_needs_no_mlflow(place):
    program = "import sys; from qlib.cli.run import main; main(['c.json', '--quiet']); print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=place.folder, capture_output=True, text=True, check=True)
    assert "unchanged" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_every_run_has_a_manifest_of_all_that_decided(place):
    (recorder,) = place.runs().values()
    manifest = recorder.load_object("manifest.json")
    assert manifest["config"]["task"]["model"]["class"] == "LinearModel"
    assert manifest["data"]["fields"] == ["aim", "change", "close", "factor", "sig", "volume"]
    assert manifest["data"]["universes"] == ["all"]
    assert manifest["packages"]["numpy"]
    assert {"python", "threads", "PYTHONHASHSEED"} <= set(manifest["environment"])
    assert {"processor", "cpus", "memory"} <= set(manifest["hardware"])
    assert "qlib/contrib/model/linear.py" in manifest["code"]["sources"]
    assert manifest["trial"]["number"] == 1
    assert manifest["predictions"]
    assert manifest["accounts"]["report_normal_1day"]
    assert "pred.pkl.parquet" in manifest["outputs"]
    assert [stage["name"] for stage in manifest["stages"]][0] == "fit"
    assert recorder.load_object("snapshot.json")["features/s00/sig.day.bin"]
    assert recorder.list_tags()["qlib.data"] == manifest["data"]["id"][:12]


def test_a_run_that_is_built_again_comes_out_the_same(place, capsys):
    first = next(iter(place.runs()))
    code, out, _ = said(capsys, "reproduce", first, "--json", "--quiet")
    facts = json.loads(out.splitlines()[-1])
    assert code == 0
    assert facts["same"]
    assert facts["results"] == {"predictions": True, "report_normal_1day": True}
    assert set(facts["differs"]) <= {"code"}, facts["differs"]  # somebody may be writing at this package
    again = place.runs()[facts["again"]]
    assert again.list_tags()["qlib.reproduces"] == first
    assert not any(stage["taken"] for stage in again.load_object("manifest.json")["stages"])


def test_what_is_not_as_it_was_is_named(place, capsys):
    first = list(place.runs())[-1]
    path = place.store / "features" / "s03" / "sig.day.bin"
    flip(path, path.stat().st_size // 2 // 4 * 4 + 2)  # not the smallest bit: the prediction must move
    code, out, _ = said(capsys, "reproduce", first, "--quiet")
    assert code == 1
    assert "predictions: NOT the same" in out
    assert "features/s03/sig.day.bin: changed" in out
    code, out, _ = said(capsys, "diff", first, "last")
    assert code == 0
    assert "features/s03/sig.day.bin: changed" in out
    assert "IC" in out.split("metric", 1)[1]


def test_two_runs_of_other_parameters_say_which(place, capsys):
    place.config = changed(place.config, "task.record.2.kwargs.config.strategy.kwargs.topk", 4)
    place.write()
    assert main(["c.json", "--quiet"]) == 0
    capsys.readouterr()
    code, out, _ = said(capsys, "diff", list(place.runs())[-1], "last", "--json")
    facts = json.loads(out)
    assert code == 0
    assert any(line.endswith("topk: 3 -> 4") for line in facts["differs"]["config"])
    a, b = facts["metrics"]["1day.excess_return_with_cost.mean"]
    assert a != b


def test_a_file_of_the_run_that_is_gone_is_noticed(place, capsys):
    newest = next(iter(place.runs().values()))
    assert json.loads(said(capsys, "c.json", "--json")[1].splitlines()[-1])["run"] == newest.id
    Path(newest.get_local_dir(), "artifacts", "report", "report.html").unlink()
    facts = json.loads(said(capsys, "c.json", "--json", "--quiet")[1].splitlines()[-1])
    assert facts["run"] != newest.id


def test_a_run_without_a_manifest_is_refused_in_a_sentence(place, capsys):
    runs = QlibRecorder(MLflowExpManager(str(place.folder / "mlruns"), "E"))
    with runs.start(experiment_name="plain"):
        bare = runs.get_recorder().id
    for words in (["reproduce", bare], ["diff", bare, "last"]):
        code, _, err = said(capsys, *words)
        assert code == 2
        assert f"run {bare} has no manifest.json" in err


def test_a_run_that_is_not_there_is_refused_in_a_sentence(place, capsys):
    code, _, err = said(capsys, "reproduce", "0123456789")
    assert code == 2
    assert "none of that id" in err

"""`qlib report`: a page written again, runs side by side, and what is said when a run is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import report_runs

from qlib import session
from qlib.cli.report import main
from qlib.workflow.expm import MLflowExpManager


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two finished runs, the older first; no session."""
    session.close()
    folder = tmp_path_factory.mktemp("runs")
    manager = MLflowExpManager(str(folder / "mlruns"), "Experiment")
    ids = []
    for days in (60, 80):
        experiment = manager.start_exp(experiment_name="two")
        recorder = experiment.active_recorder
        pred, label = report_runs.signal(days=days, names=10)
        frame = report_runs.backtest(days)
        config = {"qlib_init": {"provider_uri": str(folder / "gone"), "region": "crypto"}}
        recorder.save_objects(**{"pred.pkl": pred, "label.pkl": label, "task": report_runs.TASK, "config": config})
        recorder.save_objects(artifact_path="portfolio_analysis", **{"report_normal_1day.pkl": frame})
        ids.append(recorder.id)
        manager.end_exp("FINISHED")
    return str(folder / "mlruns"), ids


def said(capsys) -> Path:
    return Path(capsys.readouterr().out.strip().splitlines()[-1])


def test_the_report_of_the_newest_run_is_written_among_its_artifacts(runs, capsys):
    folder, ids = runs
    assert main(["--uri_folder", folder]) == 0
    page = said(capsys)
    assert page.name == "report.html"
    assert ids[1] in str(page)
    twin = json.loads((page.parent / "report.json").read_text())
    assert twin["portfolio"]["periods"] == 80
    assert twin["portfolio"]["periods_per_year"] == 365, "the region of the run, not of a session"
    assert "not at hand" in twin["market"]["why"], "its store is gone"


def test_the_beginning_of_an_id_is_enough_and_the_page_can_be_put_elsewhere(runs, capsys, tmp_path):
    folder, ids = runs
    assert main([ids[0][:10], "--uri_folder", folder, "--output", str(tmp_path / "mine")]) == 0
    assert said(capsys) == tmp_path / "mine" / "report.html"
    twin = json.loads((tmp_path / "mine" / "report.json").read_text())
    assert twin["run"]["recorder_id"] == ids[0]


def test_several_runs_are_put_side_by_side_in_the_order_of_the_command(runs, capsys, tmp_path, monkeypatch):
    folder, ids = runs
    monkeypatch.chdir(tmp_path)
    assert main([ids[1], ids[0], "--uri_folder", folder]) == 0
    assert said(capsys) == Path("comparison/comparison.html")
    twin = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert [run["id"] for run in twin["runs"]] == [ids[1], ids[0]]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ffffffff"], "has none of that id"),
        (["last", "last"], "named twice"),
    ],
)
def test_a_run_that_is_not_there_or_named_twice_is_said_in_one_sentence(runs, capsys, words, sentence):
    assert main([*words, "--uri_folder", runs[0]]) == 2
    told = capsys.readouterr().err.strip()
    assert sentence in told
    assert "\n" not in told
    assert told.startswith("qlib report: ")


def test_a_folder_without_runs_is_named(tmp_path, capsys):
    assert main(["--uri_folder", str(tmp_path / "nowhere")]) == 2
    assert "there are no runs in" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_to_is_a_failure(runs, capsys, tmp_path):
    (tmp_path / "taken").write_text("a file")
    assert main(["last", "--uri_folder", runs[0], "--output", str(tmp_path / "taken")]) == 1
    assert "cannot be written to" in capsys.readouterr().err

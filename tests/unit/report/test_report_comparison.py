"""Several runs on one page: the numbers are those of the runs' own reports, and what cannot be compared is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
import report_runs
from test_report_page import Reader

from qlib.config import build_settings
from qlib.contrib.report.comparison import write_comparison
from qlib.contrib.report.page import pointed
from qlib.contrib.report.run_report import write_report
from qlib.contrib.report.words import show
from qlib.errors import InputError

SETTINGS = build_settings(region="crypto")


def other_run(folder, days=200):
    """A run of another model over a part of the time."""
    task = json.loads(json.dumps(report_runs.TASK))
    task["model"] = {"class": "LinearModel", "module_path": "qlib.contrib.model.linear", "kwargs": {"alpha": 1.0}}
    pred, label = report_runs.signal(days=days)
    recorder = report_runs.run(folder, task=task, pred=pred, label=label)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(days))
    recorder.id = "0a1b2c3d4e5f6071"
    return recorder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    runs = [report_runs.everything(folder / "a"), other_run(folder / "b")]
    own = [json.loads((write_report(run, settings=SETTINGS).parent / "report.json").read_text()) for run in runs]
    page = write_comparison(runs, folder / "out", settings=SETTINGS)
    return page.read_text(), json.loads((page.parent / "comparison.json").read_text()), own


def test_every_number_of_a_comparison_is_that_of_the_runs_own_report(compared):
    _, twin, own = compared
    rows = [row for group in twin["groups"] for row in group["rows"]]
    assert {"IC", "Sharpe ratio, net", "Deepest drawdown", "Probability to be skill"} <= {row["words"] for row in rows}
    for row in rows:
        assert row["values"] == [pointed(one, row["at"]) for one in own], row["words"]


def test_the_page_shows_the_twin_and_nothing_from_outside(compared):
    text, twin, _ = compared
    page = Reader(text)
    for at, kind, exact, shown in page.numbers:
        value = pointed(twin, at)
        assert (shown, exact) == (show(value, kind), "" if value is None else json.dumps(value)), at
    for figure, hover in page.hover.items():
        for readout in hover["readouts"]:
            values = pointed(twin, readout["at"])
            values = values if hover["rows"] is None else [values[k] for k in hover["rows"]]
            assert readout["texts"] == [show(value, readout["kind"]) for value in values], figure
    assert set(page.hover) == {"fig-growth", "fig-drawdown", "fig-ic"}
    assert "http://" not in text
    assert "https://" not in text
    joined = " ".join(page.texts)
    for caveat in twin["caveats"]:
        assert caveat["text"] in joined


def test_the_best_of_a_row_is_the_one_that_a_reader_would_choose(compared):
    _, twin, _ = compared
    for group in twin["groups"]:
        for row in group["rows"]:
            if row["best"] is None:
                continue
            low = row["words"] in ("Volatility a year", "Turnover a period", "Cost a year", "Forced closes")
            assert row["values"][row["best"]] == (min if low else max)(row["values"]), row["words"]
    invested = next(row for group in twin["groups"] for row in group["rows"] if row["words"] == "Invested, mean")
    assert invested["best"] is None, "neither more nor less of it is better"


def test_runs_of_unequal_length_are_measured_over_the_periods_that_both_have(compared):
    _, twin, own = compared
    shared = twin["shared"]
    assert (shared["periods"], shared["first"], shared["last"]) == (200, "2023-01-01", "2023-07-19")
    for k, one in enumerate(own):
        net = np.array(one["portfolio"]["series"]["net"][:200])
        assert shared["values"]["total"][k] == pytest.approx(np.prod(1 + net) - 1)
        assert shared["values"]["sharpe"][k] == pytest.approx(net.mean() / net.std(ddof=1) * 365**0.5)
    codes = {caveat["code"] for caveat in twin["caveats"]}
    assert {"other_time", "best_of_many"} <= codes
    assert "other_market" not in codes


def test_settings_that_differ_are_listed_and_those_that_agree_are_not(compared):
    _, twin, _ = compared
    told = {one["setting"]: one["values"] for one in twin["differences"]}
    assert told["model.class"] == ["LGBModel", "LinearModel"]
    assert told["model.kwargs.num_leaves"] == [210, None]
    assert not any(name.startswith("dataset") for name in told)


def test_how_alike_runs_are_is_their_correlation(compared):
    _, twin, own = compared
    nets = [np.array(one["portfolio"]["series"]["net"][:200]) for one in own]
    assert twin["alike"]["returns"][0][1] == pytest.approx(np.corrcoef(nets)[0, 1])
    assert twin["alike"]["returns"][0][0] == pytest.approx(1)
    assert twin["alike"]["scores"][0][1] == pytest.approx(1), "both runs have the same scores"


def test_the_runs_own_pages_are_linked_where_they_lie(compared, tmp_path):
    _, twin, _ = compared
    assert [run["page"] for run in twin["runs"]] == [f"../{k}/artifacts/report/report.html" for k in "ab"]
    elsewhere = [report_runs.run(tmp_path / name, local=False) for name in "ab"]
    page = write_comparison(elsewhere, tmp_path / "out", settings=SETTINGS)
    assert "report.html" not in page.read_text()


def test_one_run_or_too_many_are_refused(tmp_path):
    runs = [report_runs.FakeRecorder(tmp_path, {}) for _ in range(9)]
    for some in (runs[:1], runs):
        with pytest.raises(InputError, match=f"needs 2 to 8 runs; received {len(some)}"):
            write_comparison(some, tmp_path / "out", settings=SETTINGS)
    assert not (tmp_path / "out").exists()


def test_runs_with_nothing_can_stand_beside_a_whole_one(tmp_path):
    runs = [report_runs.FakeRecorder(tmp_path / "a", {}), report_runs.run(tmp_path / "b")]
    page = write_comparison(runs, tmp_path / "out", settings=SETTINGS)
    twin = json.loads((page.parent / "comparison.json").read_text())
    assert twin["shared"] is None
    assert all(row["best"] is None for group in twin["groups"] for row in group["rows"])

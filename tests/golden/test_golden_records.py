"""What pyqlib 0.9.7 makes of the inputs of `records_answers.py`, and what the records here make of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import records_answers as asked

import qlib
from qlib import session
from qlib.contrib.workflow.record_temp import MultiSegRecord, SignalMseRecord
from qlib.data.dataset import DatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.errors import ConfigError
from qlib.model.base import Model
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager
from qlib.workflow.record_temp import HFSignalRecord, MultiPassPortAnaRecord

ANSWERS = json.loads(asked.ANSWERS.read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return QlibRecorder(MLflowExpManager(str(tmp_path_factory.mktemp("runs") / "mlruns"), "E"))


@pytest.fixture
def run(runs):
    with runs.start(experiment_name="e"):
        yield runs.get_recorder()


@pytest.fixture
def use(tmp_path):
    def choose(compat: str | None, store: Any = None) -> None:
        qlib.init(provider_uri=str(store or tmp_path), region="us", compat=compat, logging_config=None)

    yield choose
    session.close()


def same(run: Any, answer: dict, rtol: float = 1e-9) -> None:
    for file, expected in answer["objects"].items():
        got = asked.plain(run.load_object(file))
        close(got, expected, rtol, file)


def close(got: Any, expected: Any, rtol: float, where: str) -> None:
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), where
        for key in expected:
            close(got[key], expected[key], rtol, f"{where} {key}")
    elif isinstance(expected, str | None):
        assert got == expected, where
    elif isinstance(expected, list) and expected and isinstance(expected[0], list | str):
        assert len(got) == len(expected), where
        for one, other in zip(got, expected, strict=True):
            close(one, other, rtol, where)
    else:
        np.testing.assert_allclose(
            np.array(got, dtype=float), np.array(expected, dtype=float), rtol=rtol, atol=1e-15, err_msg=where
        )


@pytest.mark.parametrize("name", asked.CASES)
def test_records_of_the_signal_answer_as_qlib(run, use, name):
    use("qlib")
    pred, label = asked.hours(*asked.CASES[name])
    run.save_objects(**{"pred.pkl": pred, "label.pkl": label})
    HFSignalRecord(run).generate()
    SignalMseRecord(run).generate()
    same(run, ANSWERS[name])
    assert run.list_metrics() == pytest.approx(ANSWERS[name]["metrics"], rel=1e-9)
    HFSignalRecord(run).check(include_self=True)
    SignalMseRecord(run).check(include_self=True)


def test_ties_are_shared_by_default(run, use):
    use(None)
    pred, label = asked.hours(*asked.CASES["ties"])
    run.save_objects(**{"pred.pkl": pred, "label.pkl": label})
    HFSignalRecord(run).generate()
    mine, theirs = run.list_metrics(), ANSWERS["ties"]["metrics"]
    assert mine.keys() == theirs.keys() - {"MSE", "RMSE"}
    assert mine["IC"] == pytest.approx(theirs["IC"], rel=1e-9)
    assert mine["Long precision"] != pytest.approx(theirs["Long precision"], rel=1e-6)
    turned = run.load_object("hg_sig_analysis/long_pre.pkl")
    order = np.random.default_rng(0).permutation(len(pred))
    run.save_objects(**{"pred.pkl": pred.iloc[order], "label.pkl": label.iloc[order]})
    HFSignalRecord(run).generate()
    pd.testing.assert_series_equal(run.load_object("hg_sig_analysis/long_pre.pkl"), turned)


def test_a_run_without_a_label_is_left_out(run, use):
    use(None)
    run.save_objects(**{"pred.pkl": asked.hours(1, False, False)[0], "label.pkl": None})
    HFSignalRecord(run).generate()
    SignalMseRecord(run).generate()
    assert run.list_artifacts() == ["label.pkl", "pred.pkl"]


class First(Model):
    def fit(self, dataset: Any) -> None: ...

    def predict(self, dataset: Any, segment: Any = "test") -> pd.Series:
        return dataset.prepare(segment, col_set="feature").iloc[:, 0]


def test_coefficients_of_any_segment_are_qlibs(run, use):
    use(None)
    dataset = DatasetH(DataHandlerLP.from_df(asked.segments()), asked.SEGMENTS)
    made = MultiSegRecord(First(), dataset, run).generate({key: key for key in asked.SEGMENTS}, save=True)
    same(run, ANSWERS["segments"])
    assert made["a"]["mean-IC"] == made["a"]["all-IC"].mean()
    assert MultiSegRecord(First(), dataset, run).generate({"x": slice("2020-01-02", "2020-01-03")}).keys() == {"x"}
    assert len(run.list_artifacts()) == 2
    with pytest.raises(ConfigError, match="the dataset is a list; a DatasetH is needed"):
        MultiSegRecord(First(), [], run)


# ------------------------------------------------------------------------------------------------------ many passes
@pytest.fixture
def traded(run, use, golden_stores):
    def trade(compat: str | None = None, **more: Any) -> Any:
        use(compat, golden_stores / "day")
        calendar = session.Session.active().provider.calendar(freq="day")
        pred = asked.scores(calendar)
        run.save_objects(**{"pred.pkl": pred, "label.pkl": pred})
        record = MultiPassPortAnaRecord(
            run, **{"config": asked.portfolio(calendar), "risk_analysis_freq": "day", **more}
        )
        record.generate()
        (name,) = record.list()
        return record, run.load_object(record.get_path(name))

    return trade


def test_passes_that_are_all_the_same_are_qlibs(run, traded):
    passes, shuffle = asked.PASSES["fixed"]
    traded("qlib", pass_num=passes, shuffle_init_score=shuffle)
    same(run, ANSWERS["fixed"], rtol=1e-5)  # the reference multiplies float32 returns
    theirs = {name: value for name, value in ANSWERS["fixed"]["metrics"].items() if name.startswith("mean.")}
    got = {name: value for name, value in run.list_metrics().items() if name.startswith("mean.")}
    assert got == pytest.approx(theirs, rel=1e-5)
    assert not any(name.startswith("1day") for name in run.list_metrics())  # a pass is no result of the run


def test_shuffled_passes_spread_and_the_same_seed_gives_the_same(run, traded):
    record, table = traded(pass_num=4)
    theirs = ANSWERS["shuffled"]["objects"]["portfolio_analysis/multi_pass_port_analysis_1day.pkl"]
    assert [list(row) for row in table.index] == theirs["index"]
    assert list(table) == theirs["columns"]
    assert (table["std"] > 0).all()
    np.testing.assert_allclose(table["mean_std"], table["mean"] / table["std"])
    assert set(run.list_metrics()) == {name for name in ANSWERS["shuffled"]["metrics"] if not name.startswith("1day")}
    assert record.strategy_config == record.original_strategy
    record.generate()
    pd.testing.assert_frame_equal(run.load_object(record.get_path(record.list()[0])), table)
    _, other = traded(pass_num=4, seed=1)
    assert not other.equals(table)


@pytest.mark.parametrize(("compat", "day"), [(None, 0), ("qlib", 1)])
def test_the_scores_of_the_first_holdings_are_shuffled(run, traded, compat, day):
    """The first trades follow the scores of the bar before; Qlib shuffles those of the backtest's first date."""
    record, _ = traded(compat, pass_num=1, shuffle_init_score=True)
    record.random_init()
    pred, shuffled = run.load_object("pred.pkl")["score"], record.strategy_config["kwargs"]["signal"]["score"]
    changed = pred.index[(pred != shuffled).to_numpy()].get_level_values("datetime").unique()
    assert list(changed) == [pred.index.get_level_values("datetime").unique()[day]]
    assert sorted(pred.loc[changed]) == sorted(shuffled.loc[changed])


def test_passes_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="pass_num: received 0; a whole number of at least 1"):
        MultiPassPortAnaRecord(None, 0)
    with pytest.raises(ConfigError, match="need a strategy given as a dict with the argument signal"):
        MultiPassPortAnaRecord(None, config={"strategy": {"class": "X", "kwargs": {}}})

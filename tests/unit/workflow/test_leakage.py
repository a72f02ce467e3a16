"""`check_leakage` names every planted leak, and raises no alarm on what is honest."""

from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from planted_leaks import TopOfAllDays
from planted_leaks import __name__ as PLANTED

import qlib
from qlib.cli import check_leakage as command
from qlib.data import D
from qlib.data.provider.as_of import data_until
from qlib.data.storage.writer import write_store
from qlib.errors import InputError
from qlib.session import close
from qlib.workflow.leakage import check_leakage, label_gaps

DAYS = pd.bdate_range("2020-01-01", periods=160)
TRAIN, VALID, TEST = (DAYS[60], DAYS[99]), (DAYS[102], DAYS[121]), (DAYS[124], DAYS[159])
FEATURES = (["$close/Ref($close,1)-1", "Mean($close,5)/$close", "$volume"], ["ROC", "MA5", "VOLUME"])
LABEL = (["Ref($close,-2)/Ref($close,-1)-1"], ["LABEL0"])
QUIET = {"logging_level": 50}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve instruments: one is listed late, one ends early, one has gaps."""
    rng = np.random.default_rng(7)
    frames = {}
    for i in range(12):
        own = DAYS[40 if i == 1 else 0 : 139 if i == 2 else None]
        price = 20 * np.exp(np.cumsum(rng.normal(0.001 * (i - 6), 0.02, len(own)))).astype("f4")
        frame = pd.DataFrame({"close": price, "open": price * 1.01, "high": price * 1.02, "low": price * 0.98}, own)
        frame["volume"], frame["vwap"] = rng.lognormal(10, 1, len(own)), price
        if i == 3:
            frame[np.arange(len(own)) % 30 < 5] = np.nan
        frames[f"S{i:02d}"] = frame.astype("f4")
    store = tmp_path_factory.mktemp("leaks") / "store"
    write_store(frames, store, "day")
    qlib.init(provider_uri=str(store), region="us", **QUIET)
    yield store
    close()


@pytest.fixture(autouse=True)
def live(root):
    qlib.init(provider_uri=str(root), region="us", **QUIET)


def planted(name, **kwargs):
    return {"class": name, "module_path": PLANTED, "kwargs": kwargs}


def config(*, features=FEATURES, label=LABEL, infer=(), learn=(), dataset=None, segments=None, loader=None, **handler):
    fields = {"feature": features, "label": label}
    return {
        "class": "DatasetH",
        "module_path": "qlib.data.dataset",
        "kwargs": {
            "handler": {
                "class": "DataHandlerLP",
                "module_path": "qlib.data.dataset.handler",
                "kwargs": {
                    "instruments": "all",
                    "start_time": DAYS[50],
                    "data_loader": {"class": "QlibDataLoader", "kwargs": {"config": fields, **(loader or {})}},
                    "infer_processors": list(infer),
                    "learn_processors": list(learn),
                    **handler,
                },
            },
            "segments": segments or {"train": TRAIN, "valid": VALID, "test": TEST},
        },
        **(dataset or {}),
    }


def norm(end=TRAIN[1], **kwargs):
    window = {"fit_start_time": TRAIN[0], "fit_end_time": end, "fields_group": "feature"}
    return {"class": "RobustZScoreNorm", "kwargs": window | kwargs}


USUAL = [norm(), {"class": "Fillna", "kwargs": {"fields_group": "feature"}}]
LEARN = [{"class": "DropnaLabel"}, {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}}]

LEAKS = {
    "a feature reads tomorrow": (
        config(features=(["Ref($close,-1)/$close", "$volume"], ["NEXT", "VOLUME"])), "formula", "NEXT",
    ),
    "an average of all days": (config(infer=[planted("WholeSampleNorm")]), "infer", "ROC"),
    "a back-fill": (config(infer=[planted("BackFill")]), "infer", "ROC"),
    "gaps are filled with a mean of all days": (config(infer=[planted("MeanFill")]), "infer", "ROC"),
    "the label decides which rows there are": (config(infer=[planted("DropUnlabelled")]), "infer", "rows"),
    "a bad label loses its row": (config(infer=[planted("DropLosers")]), "infer", "rows"),
    "a centred window": (config(infer=[planted("Centred")]), "infer", "ROC"),
    "ranks over time": (config(infer=[planted("RankOverTime")]), "infer", "ROC"),
    "the label among the features": (config(infer=[planted("LabelInside")]), "infer", "MA5"),
    "outliers learned from all days": (config(infer=[planted("ClipLearned")]), "infer", "ROC"),
    "a fit window that holds the test": (config(infer=[norm(TEST[1])]), "fit window", "RobustZScoreNorm"),
    "no fit window": (config(infer=[norm(None)]), "fit window", "RobustZScoreNorm"),
    "a learn processor that learned from valid": (config(learn=[norm(VALID[1])]), "fit window", "RobustZScoreNorm"),
    "segments overlap": (config(segments={"train": TRAIN, "test": (DAYS[90], DAYS[159])}), "segments", "test"),
    "a universe known only later": (config(loader={"filter_pipe": [TopOfAllDays(None, None)]}), "raw", "rows"),
    "an instrument that ends was never there": (
        config(loader={"inst_processors": [{"class": "TimeRangeFlt", "module_path": "qlib.data.dataset.processor",
                                           "kwargs": {"start_time": DAYS[50], "end_time": DAYS[159]}}]}),
        "raw", "rows",
    ),
    "only survivors are loaded": (
        config(data_loader=planted("SurvivorsLoader", config={"feature": FEATURES, "label": LABEL})), "raw", "rows",
    ),
    "a centred window before both views": (
        config(shared_processors=[planted("Centred")]), "infer", "ROC",
    ),
    "windows that end tomorrow": (
        config(dataset={"class": "WindowsAhead", "module_path": PLANTED}), "windows", "test",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_named(name):
    leaking, part, what = LEAKS[name]
    found = [one for one in check_leakage(leaking) if one.certain]
    assert (part, what) in [(one.part, one.what) for one in found], found
    dated = [one for one in found if one.date is not None]
    assert all(one.instrument and one.date >= DAYS[50] for one in dated)


def test_an_operator_of_a_user_that_peeks_is_found(root):
    from planted_leaks import Peek  # noqa: PLC0415  registered by this test alone

    qlib.init(provider_uri=str(root), region="us", custom_ops=[Peek], **QUIET)
    found = check_leakage(config(features=(["Peek($close)/$close", "$volume"], ["PEEK", "VOLUME"])))
    assert [(one.part, one.what) for one in found] == [("raw", "PEEK")]


HONEST = {
    "plain": config(),
    "usual processors": config(infer=USUAL, learn=LEARN),
    "independent": config(infer=USUAL, learn=LEARN, process_type="independent"),
    "cross-sections": config(
        features=(["CSRank($close/Ref($close,5)-1)", "Mean($volume,10)"], ["R", "V"]),
        infer=[{"class": "CSRankNorm", "kwargs": {"fields_group": "feature"}}, {"class": "CSZFillna"}],
    ),
    "a filter of the universe": config(
        loader={"filter_pipe": [{"filter_type": "ExpressionDFilter", "rule_expression": "$close>18",
                                 "filter_start_time": None, "filter_end_time": None, "keep": False}]},
    ),
    "windows": config(infer=USUAL, learn=LEARN, dataset={"class": "TSDatasetH"}),
    "raw dropped": config(infer=USUAL, learn=LEARN, drop_raw=True),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_what_is_honest_raises_no_alarm(name):
    assert check_leakage(HONEST[name]) == []


@pytest.mark.parametrize("kind", ["Alpha158", "Alpha360"])
def test_the_handlers_of_qlib_raise_no_alarm(kind):
    window = {"fit_start_time": TRAIN[0], "fit_end_time": TRAIN[1]}
    own = {"class": kind, "module_path": "qlib.contrib.data.handler"}
    own["kwargs"] = {"instruments": "all", "start_time": DAYS[50], **window}
    if kind == "Alpha158":
        own["kwargs"]["infer_processors"] = USUAL
    task = deepcopy(config())
    task["kwargs"]["handler"] = own
    assert check_leakage(task, cuts=1) == []


def test_labels_that_reach_into_the_next_segment_are_a_warning():
    segments = {"train": TRAIN, "valid": (DAYS[100], DAYS[121]), "test": TEST}
    (found,) = check_leakage(config(segments=segments))
    assert found.part == "label gap" and found.what == "valid" and not found.certain
    assert f"let train end on {DAYS[97].date()} or valid begin on {DAYS[102].date()}" in found.why


@pytest.mark.parametrize("horizon", [0, 1, 2, 5])
def test_the_advice_on_a_gap_is_the_least_that_helps(horizon):
    times = DAYS.to_numpy()
    for first in range(100, 110):
        bounds = {"train": (DAYS[0], DAYS[99]), "test": (DAYS[first], None)}
        assert bool(label_gaps(bounds, horizon, times)) == (first <= 99 + horizon)
        assert not label_gaps(bounds | {"train": (DAYS[0], DAYS[max(first - horizon - 1, 0)])}, horizon, times)


def test_a_session_that_looks_at_the_past_sees_nothing_later():
    whole = D.features(D.instruments("all"), ["$close", "Mean($close,5)"])
    with data_until(DAYS[80]) as past:
        assert D.calendar()[-1] == DAYS[80] and past is not None
        part = D.features(D.instruments("all"), ["$close", "Mean($close,5)"])
        spans = D.list_instruments(D.instruments("all"))
        assert max(end for pairs in spans.values() for _, end in pairs) <= DAYS[80] + pd.Timedelta(days=1)
    assert part.index.get_level_values("datetime").max() == DAYS[80]
    pd.testing.assert_frame_equal(part, whole.loc[part.index], check_exact=True)
    assert D.calendar()[-1] == DAYS[-1]


def test_frames_that_do_not_come_from_the_store_end_too():
    days = DAYS[50:]
    index = pd.MultiIndex.from_product([days, ["A", "B"]], names=["datetime", "instrument"])
    values = np.random.default_rng(0).normal(size=(len(index), 2))
    frame = pd.DataFrame(values, index, pd.MultiIndex.from_tuples([("feature", "X"), ("label", "Y")]))
    static = config(infer=[planted("DropUnlabelled")])
    static["kwargs"]["handler"]["kwargs"]["instruments"] = None
    static["kwargs"]["handler"]["kwargs"]["data_loader"] = {"class": "StaticDataLoader", "kwargs": {"config": frame}}
    assert [(one.part, one.what) for one in check_leakage(static)] == [("infer", "rows")]
    static["kwargs"]["handler"]["kwargs"]["infer_processors"] = []
    assert check_leakage(static) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "received a list; its configuration is needed"),
        ({"class": "DatasetH", "kwargs": {"handler": None}}, "its handler must be a configuration"),
    ],
)
def test_a_dataset_that_cannot_be_built_again_is_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        check_leakage(wrong)


@pytest.mark.parametrize(
    ("given", "said"), [({"cuts": 0}, "cuts: received 0"), ({"horizon": -1}, "horizon: received -1")]
)
def test_numbers_that_mean_nothing_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        check_leakage(config(), **given)


def test_a_learn_processor_at_inference_is_one_sentence():
    with pytest.raises(InputError, match="cannot be built: .*DropnaLabel"):
        check_leakage(config(infer=[{"class": "DropnaLabel"}]))


def test_the_command_says_what_it_found_and_ends_with_one(root, tmp_path, capsys):
    def write(dataset):
        path = tmp_path / "config.json"
        init = {"provider_uri": str(root), "region": "us"}
        path.write_text(json.dumps({"qlib_init": init, "task": {"dataset": dataset}}, default=str))
        return str(path)

    assert command.main([write(config(infer=USUAL, learn=LEARN))]) == 0
    assert "no look-ahead found" in capsys.readouterr().out
    file = tmp_path / "found.json"
    assert command.main([write(LEAKS["a feature reads tomorrow"][0]), "--json", str(file)]) == 1
    out = capsys.readouterr().out
    assert "formula: NEXT: Ref($close,-1)/$close looks 1 bar ahead" in out and "1 thing is known too early" in out
    assert json.loads(file.read_text())[0]["what"] == "NEXT"
    assert command.main([str(tmp_path / "none.json")]) == 2
    assert command.main([write(config()), "--cuts", "1", "--json", str(tmp_path / "no" / "found.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err

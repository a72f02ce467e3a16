"""Walk-forward: each prediction is by a model that was fitted on what was known, and nothing of what comes later."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

import qlib
from qlib import session
from qlib.contrib.model import LGBModel, WalkForwardModel
from qlib.data.dataset import DatasetH, TSDatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.loader import StaticDataLoader
from qlib.data.dataset.weight import Reweighter
from qlib.errors import ConfigError, InputError, MissingDataError
from qlib.model.base import Model
from qlib.utils.pickle_utils import restricted_pickle_loads
from qlib.workflow import R

HOURS = pd.date_range("2024-01-01", periods=120, freq="h")
NAMES = ["A", "B", "C", "D"]
SEGMENTS = {"train": (HOURS[5], HOURS[59]), "test": (HOURS[60], HOURS[110])}
RIDGE = {"class": "LinearModel", "module_path": "qlib.contrib.model.linear", "kwargs": {"estimator": "ols"}}


def _heard(caplog, monkeypatch):
    """qlib.init, in another test, may have silenced the logger, or cut it off from pytest's."""
    monkeypatch.setattr(logging.getLogger("qlib"), "propagate", True)
    caplog.set_level("WARNING", logger="qlib")


def frame(seed=0):
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([HOURS, NAMES], names=["datetime", "instrument"])
    x = rng.normal(size=(len(index), 3))
    columns = pd.MultiIndex.from_tuples([("feature", "x"), ("feature", "y"), ("feature", "z"), ("label", "L")])
    label = x @ [1.0, -0.5, 0.2] + np.linspace(0, 3, len(x)) * x[:, 0] + 0.1 * rng.normal(size=len(x))
    return pd.DataFrame(np.column_stack([x, label]), index=index, columns=columns)


def dataset(df=None, segments=SEGMENTS, kind=DatasetH, **kwargs):
    handler = DataHandlerLP(data_loader=StaticDataLoader(frame() if df is None else df))
    return kind(handler=handler, segments=segments, **kwargs)


def by_hand(df, at, low, end):
    """Least squares of the rows dated [low, end), and its scores of the bar `at`."""
    known = df[(df.index.get_level_values(0) >= HOURS[low]) & (df.index.get_level_values(0) < HOURS[end])]
    coefficients = np.linalg.lstsq(known["feature"].to_numpy(), known["label"].to_numpy()[:, 0], rcond=None)[0]
    return df.loc[HOURS[at], "feature"].to_numpy() @ coefficients


def test_every_score_is_that_of_a_model_fitted_on_the_window_before_its_piece():
    """Steps of 10 bars from bar 60, windows of 30, purge 4 and embargo 2: bar 75 is scored by what was fitted for bar
    70, on the bars 34 to 63 (70 - 4 - 2 = 64 is the first that is left out)."""
    df = frame()
    model = WalkForwardModel(RIDGE, step=10, window=30, purge=4, embargo=2).fit(dataset(df))
    scores = model.predict(dataset(df))
    assert [piece["first"] for piece in model.pieces] == [HOURS[i] for i in (60, 70, 80, 90, 100, 110)]
    assert model.pieces[1]["train"] == (HOURS[34], HOURS[63])
    assert scores.name == "score" and scores.index.equals(df.loc[HOURS[60] : HOURS[110]].index)
    for at in range(60, 111):
        refit = 60 + (at - 60) // 10 * 10
        np.testing.assert_allclose(scores.loc[HOURS[at]], by_hand(df, at, refit - 36, refit - 6), rtol=1e-9)


def test_without_a_window_it_learns_from_the_beginning_of_the_training_segment():
    df = frame()
    model = WalkForwardModel(RIDGE, step="1d", purge="3h").fit(dataset(df))
    assert [piece["train"] for piece in model.pieces] == [(HOURS[5], HOURS[i - 4]) for i in (60, 84, 108)]
    np.testing.assert_allclose(model.predict(dataset(df)).loc[HOURS[90]], by_hand(df, 90, 5, 81), rtol=1e-9)


def test_the_labels_of_train_do_not_reach_into_valid():
    """Valid is the last 12 of the window's bars; between train and valid lie the 5 bars that the labels look ahead."""
    (piece, *_) = WalkForwardModel(RIDGE, step=50, window=40, purge=5, valid="12h").plan(dataset())
    assert piece["valid"] == (HOURS[43], HOURS[54]) and piece["train"] == (HOURS[15], HOURS[37])


LENGTHS = st.integers(1, 30) | st.sampled_from(["1h", "7h", "1d", "90min"])


def poisoned(df, last, horizon):
    """The same data where everything that is known after the bar `last` is another: labels are known `horizon` later"""
    other = df.copy()
    date = other.index.get_level_values(0)
    other.loc[date > HOURS[last], "feature"] = np.random.default_rng(9).normal(
        50, 9, (int((date > HOURS[last]).sum()), 3)
    )
    late = date > HOURS[max(last - horizon, 0)]
    other.loc[late, ("label", "L")] = np.random.default_rng(8).normal(-70, 9, int(late.sum()))
    return other


@settings(max_examples=cases(12, 500), deadline=None)
@given(
    step=LENGTHS, window=st.none() | st.integers(20, 60), embargo=st.integers(0, 4), horizon=st.integers(1, 6),
    valid=st.none() | st.integers(1, 6), last=st.integers(59, 110), open_ends=st.booleans(),
)  # fmt: skip
def test_no_score_changes_when_what_comes_later_does(step, window, embargo, horizon, valid, last, open_ends):
    segments = {"train": (None, "2024-01-03"), "test": ("2024-01-03 12:00", None)} if open_ends else SEGMENTS
    df = frame()
    arguments = {"step": step, "window": window, "purge": horizon, "embargo": embargo, "valid": valid}
    now, then = (
        WalkForwardModel(RIDGE, **arguments).fit(data).predict(data)
        for data in (dataset(df, segments), dataset(poisoned(df, last, horizon), segments))
    )
    known = now.index.get_level_values(0) <= HOURS[last]
    pd.testing.assert_series_equal(now[known], then[known], check_exact=True)
    assert last >= 110 or not np.allclose(now[~known], then[~known])


@pytest.mark.parametrize("last", [59, 79])
def test_the_proof_finds_a_purge_that_is_one_bar_too_short(last):
    """With labels that look 5 bars ahead and purge=4, the model of the next bar has seen one label too many."""
    df = frame()
    now, then = (
        WalkForwardModel(RIDGE, step=20, window=30, purge=4).fit(data).predict(data)
        for data in (dataset(df), dataset(poisoned(df, last, 5)))
    )
    assert not np.allclose(now.loc[HOURS[last + 1]] @ [1, 1, 1, 1], then.loc[HOURS[last + 1]] @ [1, 1, 1, 1])
    x = frame()["feature"].loc[HOURS[last + 1]].to_numpy()  # not because of its features: its coefficients differ
    assert not np.allclose(x @ _coefficients(df, last + 1, 4), x @ _coefficients(poisoned(df, last, 5), last + 1, 4))
    np.testing.assert_allclose(_coefficients(df, last + 1, 5), _coefficients(poisoned(df, last, 5), last + 1, 5))


def _coefficients(df, at, purge):
    segments = {"train": (HOURS[0], HOURS[at - 1]), "test": (HOURS[at], HOURS[at])}
    (model,) = WalkForwardModel(RIDGE, step=1, window=30, purge=purge).fit(dataset(df, segments)).models
    return model.coef_


# --------------------------------------------------------------------------------------------------- labels of formulas
@pytest.fixture
def prices():
    rng = np.random.default_rng(1)
    names = {name: pd.DataFrame({"close": 100 * np.exp(rng.normal(0, 0.01, 120).cumsum())}, HOURS) for name in NAMES}
    bars = pd.concat(names, names=["instrument", "datetime"]).assign(factor=1.0)
    qlib.init(data={"60min": bars}, region="crypto", logging_level=40)
    yield
    session.close()


def formulas(ahead):
    loader = {
        "class": "QlibDataLoader",
        "module_path": "qlib.data.dataset.loader",
        "kwargs": {
            "config": {
                "feature": (["$close/Ref($close,1)-1", "$close/Ref($close,3)-1"], ["A", "B"]),
                "label": ([f"Ref($close,-{ahead})/Ref($close,-1)-1"], ["L"]),
            },
            "freq": "60min",
        },
    }
    return DatasetH(DataHandlerLP(NAMES, HOURS[0], HOURS[-1], data_loader=loader), SEGMENTS)


@pytest.mark.usefixtures("prices")
def test_the_purge_is_what_the_formula_of_the_label_says(caplog, monkeypatch):
    _heard(caplog, monkeypatch)
    assert WalkForwardModel(RIDGE, step=60, window=20).plan(formulas(7))[0]["train"] == (HOURS[33], HOURS[52])
    assert not caplog.records
    WalkForwardModel(RIDGE, step=60, window=20, purge=3, embargo=1).plan(formulas(7))
    assert "purge 3 is less than the 7 bars that labels look ahead" in caplog.text


# -------------------------------------------------------------------------------------------------------- the contract
def test_trees_and_weights_and_configurations_or_models_are_taken(tmp_path):
    class Late(Reweighter):
        def __init__(self):
            pass

        def reweight(self, data):
            return np.linspace(0.1, 1, len(data))

    trees = {"num_boost_round": 5, "num_threads": 1, "num_leaves": 4, "seed": 1, "verbosity": -1, "min_data_in_leaf": 5}
    walk = WalkForwardModel(LGBModel(**trees), step=25, purge=2, valid=10)
    assert isinstance(walk, Model)
    walk.fit(dataset(), reweighter=Late())
    plain = WalkForwardModel(LGBModel(**trees), step=25, purge=2, valid=10).fit(dataset())
    scores = walk.predict(dataset())
    assert len(walk.models) == 3 and not np.allclose(scores, plain.predict(dataset()))
    importance = walk.get_feature_importance()
    one = pd.concat([model.get_feature_importance() for model in walk.models], axis=1).mean(axis=1)
    assert importance.is_monotonic_decreasing and importance.to_dict() == one.to_dict()
    back = restricted_pickle_loads(pickle.dumps(walk))
    pd.testing.assert_series_equal(back.predict(dataset()), scores)
    assert back.pieces == walk.pieces


def test_windows_of_a_sampler_are_walked_too():
    class Mean(Model):
        def fit(self, dataset, reweighter=None):
            self.level = float(dataset.prepare("train", col_set="label", data_key="learn")[:][:, -1].mean())

        def predict(self, dataset):  # as models of torch: always the segment test
            samples = dataset.prepare("test", col_set="feature", data_key="infer")
            return pd.Series(samples[:].mean(axis=(1, 2)) + self.level, samples.get_index(), name="score")

    data = dataset(kind=TSDatasetH, step_len=3)
    scores = WalkForwardModel(Mean(), step=20, window=15, purge=1).fit(data).predict(data)
    df = frame()
    level = df["label"].loc[HOURS[64] : HOURS[78]].to_numpy().mean()  # bar 90 belongs to the piece of bar 80
    expected = df["feature"].xs("B", level=1).loc[HOURS[88] : HOURS[90]].to_numpy().mean() + level
    np.testing.assert_allclose(scores.loc[(HOURS[90], "B")], expected, rtol=1e-6)
    assert len(scores) == 51 * 4


def test_a_segment_may_be_any_stretch_after_the_first_piece(caplog, monkeypatch):
    _heard(caplog, monkeypatch)
    walk = WalkForwardModel(RIDGE, step=10, purge=1).fit(dataset())
    whole = walk.predict(dataset())
    part = walk.predict(dataset(), (HOURS[65], HOURS[72]))
    pd.testing.assert_series_equal(part, whole.loc[HOURS[65] : HOURS[72]])
    assert not caplog.records
    later = walk.predict(dataset(), slice(HOURS[111], None))  # the last model goes on, and says that it is old
    assert later.index.get_level_values(0)[-1] == HOURS[-1]
    walk.predict(dataset(), slice(HOURS[111], HOURS[119]))
    assert "which is older than step 10" not in caplog.text
    short = dataset(frame().loc[: HOURS[75]])  # data that end before the last model begins
    pd.testing.assert_series_equal(walk.predict(short), whole.loc[: HOURS[75]])
    old = WalkForwardModel(RIDGE, step=5, purge=1).fit(dataset())
    old.predict(dataset(), slice(HOURS[111], None))
    assert f"from {HOURS[115]} on the model of {HOURS[110]} is used, which is older than step 5" in caplog.text


def test_the_run_keeps_the_learning_curve_of_the_last_model(tmp_path):
    manager = {"class": "MLflowExpManager", "module_path": "qlib.workflow.expm"}
    manager["kwargs"] = {"uri": f"sqlite:///{tmp_path / 'runs.db'}", "default_exp_name": "E"}
    qlib.init(provider_uri=str(tmp_path), region="us", exp_manager=manager)
    trees = {"num_boost_round": 4, "num_threads": 1, "num_leaves": 4, "verbosity": -1, "min_data_in_leaf": 5}
    with R.start(experiment_name="x"):
        walk = WalkForwardModel(LGBModel(**trees), step=25, purge=2, valid=10).fit(dataset())
        kept = R.get_recorder()
        curve = kept.client.get_metric_history(kept.id, "l2.valid")
    session.close()
    assert len(walk.models) == 3 and len(curve) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"step": 0}, "step: received 0; a whole number of bars of at least 1, or a time such as '30d', is allowed"),
        ({"step": "soon"}, "step: received 'soon'"),
        ({"step": True}, "step: received True"),
        ({"step": 5, "window": -1}, "window: received -1"),
        ({"step": 5, "purge": -1}, "purge: received -1; a whole number of bars of at least 0"),
        ({"step": 5, "valid": 0.5}, "valid: received 0.5"),
        ({"model": {"class": "LinearModul", "module_path": "qlib.contrib.model.linear"}, "step": 5}, "LinearModul"),
        ({"model": 5, "step": 5}, "received int 5"),
    ],
)
def test_what_cannot_be_used_is_named_before_anything_is_loaded(arguments, said):
    with pytest.raises(Exception, match=said):  # the last two: what init_instance_by_config says
        WalkForwardModel(**{"model": RIDGE, **arguments})


def test_what_cannot_be_done_is_one_sentence():
    walk = WalkForwardModel(RIDGE, step=10, purge=2)
    with pytest.raises(InputError, match="model is not fitted yet"):
        walk.predict(dataset())
    with pytest.raises(InputError, match="labels are no formulas, so nobody knows how many bars they look ahead"):
        WalkForwardModel(RIDGE, step=10).fit(dataset())
    with pytest.raises(InputError, match="the model of 2024-01-03 12:00:00 has nothing to learn from"):
        WalkForwardModel(RIDGE, step=10, purge=60).fit(dataset())
    with pytest.raises(InputError, match="has nothing to learn from: .* and valid 80 leave"):
        WalkForwardModel(RIDGE, step=10, purge=2, valid=80).fit(dataset())
    with pytest.raises(MissingDataError, match="no segment 'test'; it has train"):
        walk.fit(dataset(segments={"train": SEGMENTS["train"]}))
    walk.fit(dataset())
    with pytest.raises(InputError, match="it begins on 2024-01-01 05:00:00, but the walk predicts from 2024-01-03 12"):
        walk.predict(dataset(), "train")
    with pytest.raises(MissingDataError, match="holds no bar: the data reach from 2024-01-01"):
        walk.predict(dataset(), ("2025-01-01", "2025-02-01"))
    with pytest.raises(InputError, match="LinearModel does not say how much its features count"):
        walk.get_feature_importance()
    assert issubclass(ConfigError, InputError)

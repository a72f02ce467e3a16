"""What the tabular models learn, say, and refuse."""

from __future__ import annotations

import json
import logging
import pickle

import numpy as np
import pandas as pd
import pytest
from conftest import shared

import qlib
from qlib import session
from qlib.contrib.model import LGBModel, LinearModel
from qlib.contrib.model.gbdt import plain_names
from qlib.data.dataset import DatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.loader import StaticDataLoader
from qlib.data.dataset.weight import Reweighter
from qlib.errors import ConfigError, InputError, MissingDataError
from qlib.model import Model
from qlib.model.base import BaseModel, ModelFT
from qlib.utils.objects import argument_problems
from qlib.utils.serial import Serializable
from qlib.workflow import R

DATES = pd.date_range("2020-01-01", periods=80)
NAMES = [f"N{i:02d}" for i in range(12)]
SEGMENTS = {
    "train": ("2020-01-01", "2020-02-09"),
    "valid": ("2020-02-10", "2020-02-24"),
    "test": ("2020-02-25", "2020-03-20"),
}
QUIET = {"num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": 1, "num_leaves": 7}
TRUTH = np.array([1.0, -0.5, 0.0])


@pytest.fixture(autouse=True)
def _log_is_seen(monkeypatch):
    """qlib.init, in another test, may have cut the logger `qlib` off from pytest's."""
    monkeypatch.setattr(logging.getLogger("qlib"), "propagate", True)


def frame(columns=("Ref($close, 1)/$close", "b b", "c"), labels=1):
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([DATES, NAMES], names=["datetime", "instrument"])
    x = rng.normal(size=(len(index), len(columns))).astype("f4")
    y = x[:, :3] @ TRUTH[: x.shape[1]].astype("f4") + 0.1 * rng.normal(size=len(x)).astype("f4")
    df = pd.DataFrame(x, index=index, columns=pd.MultiIndex.from_product([["feature"], columns]))
    for i in range(labels):
        df[("label", f"L{i}")] = y
    return df


def dataset(df=None, segments=SEGMENTS, **chains):
    return DatasetH(DataHandlerLP(data_loader=StaticDataLoader(frame() if df is None else df), **chains), segments)


MODELS = {
    "gbdt": lambda **kwargs: LGBModel(**{**QUIET, "num_boost_round": 30, **kwargs}),
    "ols": LinearModel,
    "nnls": lambda: LinearModel("nnls"),
    "ridge": lambda: LinearModel("ridge", alpha=0.1, fit_intercept=True),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


# ------------------------------------------------------------------------------------------ the contract of every model
def test_a_model_learns_and_predicts_one_score_per_row(model):
    ds = dataset()
    model.fit(ds)
    scores = model.predict(ds)
    test = ds.prepare("test", col_set=["feature", "label"])
    assert scores.name == "score"
    assert scores.index.equals(test.index)
    assert np.corrcoef(scores, test["label"].iloc[:, 0])[0, 1] > 0.8
    assert len(model.predict(ds, slice("2020-03-01", "2020-03-01"))) == len(NAMES)
    pd.testing.assert_series_equal(model(ds, segment="valid"), model.predict(ds, "valid"))


def test_the_same_data_and_seed_give_the_same_scores(model):
    ds, other = dataset(), type(model)(**({**QUIET, "num_boost_round": 30} if isinstance(model, LGBModel) else {}))
    other = pickle.loads(pickle.dumps(model)) if not isinstance(model, LGBModel) else other
    pd.testing.assert_series_equal(fitted(model, ds).predict(ds), fitted(other, ds).predict(ds))


def fitted(model, ds, **kwargs):
    model.fit(ds, **kwargs)
    return model


def test_learning_leaves_the_data_as_they_are(model):
    df = frame()
    model.fit(dataset(df))
    pd.testing.assert_frame_equal(df, frame())


def test_the_test_segment_is_never_learned_from(model):
    df = frame()
    df.loc["2020-02-25":] = 1e9
    ds = dataset()
    a = fitted(model, ds).predict(ds, "valid")
    b = fitted(model, dataset(df)).predict(ds, "valid")
    pd.testing.assert_series_equal(a, b)


def test_a_model_is_saved_with_what_it_learned(model, tmp_path):
    ds = dataset()
    model.fit(ds)
    model.to_pickle(tmp_path / "m.pkl")
    pd.testing.assert_series_equal(Serializable.load(tmp_path / "m.pkl").predict(ds), model.predict(ds))


def test_predicting_before_learning_is_refused(model):
    with pytest.raises(ValueError, match="model is not fitted yet!"):
        model.predict(dataset())


def test_other_features_than_those_learned_from_are_refused(model):
    model.fit(dataset())
    with pytest.raises(InputError, match=r"learned from 3 features and received 3; new \['x'\]"):
        model.predict(dataset(frame(("Ref($close, 1)/$close", "b b", "x"))))
    with pytest.raises(InputError, match="another order"):
        model.predict(dataset(frame(("b b", "Ref($close, 1)/$close", "c"))))


def test_a_train_segment_without_data_says_where_they_are(model):
    with pytest.raises(MissingDataError, match=r"segment train \[2019.* reach from 2020-01-01 .* to 2020-03-20"):
        model.fit(dataset(segments={"train": ("2019-01-01", "2019-02-01")}))
    with pytest.raises(MissingDataError, match="no segment 'train'; it has tran; did you mean tran"):
        model.fit(dataset(segments={"tran": ("2020-01-01", "2020-02-01")}))


def test_a_train_segment_whose_rows_were_all_dropped_says_so(model):
    df = frame()
    df.loc["2020-01-01":"2020-02-09", ("label", "L0")] = np.nan
    with pytest.raises(InputError, match=r"segment train \[2020-01-01, 2020-02-09\] is empty"):
        model.fit(dataset(df, learn_processors=["DropnaLabel"]))
    with pytest.raises(InputError, match="segment train"):
        model.fit(dataset(df))


def test_more_than_one_label_is_refused(model):
    with pytest.raises(InputError, match=r"one label is needed; received 2 \(L0, L1\)"):
        model.fit(dataset(frame(labels=2)))


class Newer(Reweighter):
    def reweight(self, data):
        return np.linspace(0.1, 2, len(data))


class Wrong(Reweighter):
    def reweight(self, data):
        return [1.0]


def test_weights_change_what_is_learned(model):
    ds = dataset()
    plain = fitted(model, ds).predict(ds)
    weighted = fitted(model, ds, reweighter=Newer()).predict(ds)
    assert not np.allclose(plain, weighted)
    with pytest.raises(InputError, match="gave 1 weights for 480 rows"):
        model.fit(ds, reweighter=Wrong())
    with pytest.raises(ConfigError, match="received list"):
        model.fit(ds, reweighter=[1])


# ------------------------------------------------------------------------------------------------------------- LightGBM
def test_rows_without_a_label_are_left_out_with_a_warning(caplog):
    df = frame()
    df.iloc[:50, -1] = np.nan
    kept = dataset(df, learn_processors=["DropnaLabel"])
    with caplog.at_level(logging.WARNING):
        loose = fitted(MODELS["gbdt"](), dataset(df))
    assert "50 of 480 rows have no label" in caplog.text
    pd.testing.assert_series_equal(loose.predict(kept), fitted(MODELS["gbdt"](), kept).predict(kept))


def test_early_stopping_keeps_the_best_round_and_none_means_never():
    results = {}
    model = fitted(MODELS["gbdt"](num_boost_round=300, early_stopping_rounds=5), dataset(), evals_result=results)
    seen = results["valid"]["l2"]
    assert len(seen) < 300
    assert model.model.best_iteration == int(np.argmin(seen)) + 1 == model.model.num_trees()
    for never in ({"early_stopping_rounds": None}, {"early_stopping_rounds": 5}):
        segments = SEGMENTS if never["early_stopping_rounds"] is None else {k: SEGMENTS[k] for k in ("train", "test")}
        model = fitted(MODELS["gbdt"](num_boost_round=40, **never), dataset(segments=segments), verbose_eval=0)
        assert model.model.num_trees() == 40


def test_arguments_of_fit_come_before_those_of_the_model():
    results = {}
    fitted(MODELS["gbdt"](), dataset(), num_boost_round=4, early_stopping_rounds=2, evals_result=results)
    assert {name: len(found["l2"]) for name, found in results.items()} == {"train": 4, "valid": 4}


def test_finetuning_adds_trees():
    model = MODELS["gbdt"](num_boost_round=10, early_stopping_rounds=None)
    with pytest.raises(InputError, match="not fitted"):
        model.finetune(dataset())
    model.fit(dataset())
    before = model.predict(dataset())
    model.finetune(dataset(), num_boost_round=5)
    assert model.model.num_trees() == 15
    assert not model.predict(dataset()).equals(before)


def test_importance_is_told_by_the_features_own_names():
    model = MODELS["gbdt"]()
    with pytest.raises(InputError, match="not fitted"):
        model.get_feature_importance()
    model.fit(dataset())
    importance = model.get_feature_importance(importance_type="gain")
    assert importance.index.tolist() == ["Ref($close, 1)/$close", "b b", "c"]
    assert importance.is_monotonic_decreasing


def test_names_that_lightgbm_cannot_store_are_made_plain_and_stay_apart():
    assert plain_names(["a b", "a,b", "a_b"]) == ["a_b", "a_b_1", "a_b_2"]


def test_an_unknown_parameter_is_reported_with_the_nearest(caplog):
    with caplog.at_level(logging.WARNING):
        fitted(MODELS["gbdt"](num_leavse=3), dataset(), num_boost_round=1)
    assert "LightGBM knows no parameter num_leavse: it has no effect; did you mean num_leaves?" in caplog.text
    assert "num_threads" not in caplog.text
    assert "did you mean num_leaves" in argument_problems(LGBModel, ["num_leavse"])[0]


def test_an_unknown_loss_is_named():
    with pytest.raises(ConfigError, match="received 'mae'; allowed are mse, binary"):
        LGBModel(loss="mae")


def test_metrics_go_to_the_run_that_is_going_on_and_only_then(tmp_path):
    uri = f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"
    manager = {
        "class": "MLflowExpManager",
        "module_path": "qlib.workflow.expm",
        "kwargs": {"uri": uri, "default_exp_name": "E"},
    }
    qlib.init(provider_uri=str(tmp_path), region="us", exp_manager=manager)
    fitted(MODELS["gbdt"](), dataset(), num_boost_round=3)
    assert not (tmp_path / "runs").exists()
    with R.start(experiment_name="x"):
        results = {}
        fitted(MODELS["gbdt"](metric=["l2", "l1"]), dataset(), evals_result=results)
        kept = R.get_recorder().list_metrics()
    assert set(kept) == {"l2.train", "l2.valid", "l1.train", "l1.valid"}
    assert kept["l2.valid"] == pytest.approx(results["valid"]["l2"][-1])
    session.close()


# --------------------------------------------------------------------------------------------------------------- linear
def test_least_squares_finds_the_truth_and_nnls_stays_positive():
    ols = fitted(LinearModel(), dataset())
    np.testing.assert_allclose(ols.coef_, TRUTH, atol=0.02)
    assert ols.intercept_ == 0
    assert (fitted(LinearModel("nnls"), dataset()).coef_ >= 0).all()


def test_an_intercept_and_the_valid_segment_can_be_learned_from_too():
    df = frame()
    df[("label", "L0")] += 3
    for estimator in ("ols", "ridge", "lasso", "nnls"):
        alpha = 0.001 if estimator in ("ridge", "lasso") else 0
        model = fitted(LinearModel(estimator, alpha=alpha, fit_intercept=True), dataset(df))
        assert model.intercept_ == pytest.approx(3, abs=0.25)
    both = fitted(LinearModel(include_valid=True), dataset())
    assert not np.allclose(both.coef_, fitted(LinearModel(), dataset()).coef_, rtol=1e-6)
    assert fitted(LinearModel(include_valid=True), dataset(segments={"train": SEGMENTS["train"]})).coef_ is not None


def test_rows_with_a_hole_are_left_out_in_learning_and_have_no_score():
    df = frame()
    df.iloc[7, 0] = np.nan
    df.loc[("2020-03-01", "N03"), ("feature", "c")] = np.nan
    model = fitted(LinearModel(), dataset(df))
    assert np.isfinite(model.coef_).all()
    assert model.predict(dataset(df)).isna().sum() == 1


@pytest.mark.parametrize(
    "kwargs, text",
    [({"estimator": "rige"}, "did you mean ridge"), ({"alpha": 1.0}, "received 1.0 for ols; only ridge and lasso")],
)
def test_wrong_settings_of_a_linear_model_are_named(kwargs, text):
    with pytest.raises(ConfigError, match=text):
        LinearModel(**kwargs)


# ---------------------------------------------------------------------------------------------------------------- bases
def test_the_bases_are_abstract():
    for base in (BaseModel, Model, ModelFT):
        with pytest.raises(TypeError, match="abstract"):
            base()

    class Rule(Model):
        def predict(self, dataset, segment="test"):
            return segment

    assert Rule()(None, segment="valid") == "valid"
    with pytest.raises(NotImplementedError, match="Rule does not learn"):
        Rule().fit(None, None)


def test_the_catalogue_names_what_it_has():
    import qlib.contrib.model as catalogue

    assert catalogue.LGBModel is LGBModel
    with pytest.raises(AttributeError, match="has no attribute 'LGBMmodel'"):
        _ = catalogue.LGBMmodel


def test_golden_scores_of_lightgbm_on_a_stored_frame():
    """The published hyper-parameters, on Qlib's own stored frame and scores."""
    folder = shared("goldens/public")
    case = next(c for c in json.loads((folder / "cases/models.json").read_text()) if c["id"] == "models.lgb_light")
    lightgbm = pytest.importorskip("lightgbm")
    if lightgbm.__version__ != case["requires"]["lightgbm"]:
        pytest.skip(f"the scores were made with LightGBM {case['requires']['lightgbm']}")
    df = pd.read_parquet(folder / "inputs/model_frame.parquet")
    df.columns = pd.MultiIndex.from_tuples([tuple(c.split("||")) for c in df.columns])
    kwargs = {k: v for k, v in case["handler"]["kwargs"].items()}
    handler = DataHandlerLP(data_loader=StaticDataLoader(df), **kwargs)
    ds = DatasetH(handler, {k: tuple(v) for k, v in case["segments"].items()})
    record = json.loads((folder / "expect/models.json").read_text())["models.lgb_light"]["pred"]
    expected = pd.read_parquet(folder / "expect/models" / record["file"])["c0"].to_numpy()
    scores = fitted(LGBModel(**case["kwargs"]), ds).predict(ds)
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-9)

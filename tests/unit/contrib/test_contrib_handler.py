"""Feature sets are the published formulas; their handlers give processors the fit window and change nobody's lists."""

from __future__ import annotations

import json
import re
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from conftest import shared

import qlib
from qlib import session
from qlib.contrib.data import handler as handlers
from qlib.contrib.data.handler import Alpha158, Alpha158vwap, Alpha360, Alpha360vwap, check_transform_proc
from qlib.contrib.data.loader import Alpha158DL, Alpha360DL
from qlib.data.dataset import DatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.processor import Fillna, Processor
from qlib.errors import ConfigError
from qlib.utils.objects import argument_problems, init_instance_by_config


def test_alpha158_is_the_published_list():
    text = shared("contract/handlers.md").read_text()
    published = re.findall(r"(?m)^\d+ ; (\S+) ; (.*)$", text)
    formulas, names = Alpha158DL.get_feature_config()
    assert list(zip(names, formulas, strict=True)) == published
    assert len(published) == 158


def test_alpha360_is_six_blocks_of_sixty_bars():
    formulas, names = Alpha360DL.get_feature_config()
    assert len(set(names)) == 360
    assert names[0::60] == [f"{field}59" for field in ("CLOSE", "OPEN", "HIGH", "LOW", "VWAP", "VOLUME")]
    assert dict(zip(names, formulas, strict=True))["VWAP0"] == "$vwap/$close"
    assert formulas[-2:] == ["Ref($volume, 1)/($volume+1e-12)", "$volume/($volume+1e-12)"]


def test_parts_of_alpha158_can_be_chosen():
    config = {"rolling": {"windows": [3], "include": ["LOW", "MA"]}, "volume": {"windows": [0, 2]}}
    assert Alpha158DL.get_feature_config(config) == (
        ["$volume/($volume+1e-12)", "Ref($volume, 2)/($volume+1e-12)", "Mean($close, 3)/$close", "Min($low, 3)/$close"],
        ["VOLUME0", "VOLUME2", "MA3", "MIN3"],
    )
    assert "MIN5" not in Alpha158DL.get_feature_config({"rolling": {"exclude": ["MIN"]}})[1]


@pytest.mark.parametrize(
    "config, text",
    [
        ({"kbars": {}}, "the part 'kbars'.*did you mean kbar"),
        ({"price": {"window": [1]}}, "the option 'window'.*did you mean windows"),
        ({"rolling": {"include": ["STDD"]}}, "include: received 'STDD'.*did you mean"),
    ],
)
def test_a_misspelt_part_is_named(config, text):
    with pytest.raises(ConfigError, match=text):
        Alpha158DL.get_feature_config(config)


def test_labels():
    cases = {Alpha158: "close", Alpha158vwap: "vwap", Alpha360: "close", Alpha360vwap: "vwap"}
    for cls, field in cases.items():
        assert cls.get_label_config(None) == ([f"Ref(${field}, -2)/Ref(${field}, -1) - 1"], ["LABEL0"])


# ----------------------------------------------------------------------------------------------------------- processors
def test_processors_that_learn_are_given_the_fit_window():
    window = {"fit_start_time": "a", "fit_end_time": "b"}
    assert check_transform_proc(["ZScoreNorm", "DropnaLabel"], "a", "b") == [
        {"class": "ZScoreNorm", "kwargs": window},
        {"class": "DropnaLabel", "kwargs": {}},
    ]
    ready = Fillna()
    assert check_transform_proc([ready], None, None) == [ready]


class Mine(Processor):
    def __init__(self, fit_start_time, fit_end_time):
        super().__init__()
        self.fit_start_time, self.fit_end_time = fit_start_time, fit_end_time

    def __call__(self, df):
        return df


def test_a_processor_of_another_module_keeps_its_module():
    named = {"class": "Mine", "module_path": __name__}
    assert check_transform_proc([named], 1, 2) == [
        {"class": "Mine", "module_path": __name__, "kwargs": {"fit_start_time": 1, "fit_end_time": 2}}
    ]


def test_the_lists_given_are_left_as_they_are():
    given = [{"class": "ZScoreNorm", "kwargs": {"fields_group": "feature"}}]
    before = deepcopy(given)
    check_transform_proc(given, "2020-01-01", "2020-02-01")
    check_transform_proc(handlers._DEFAULT_INFER_PROCESSORS, "2020-01-01", "2020-02-01")
    assert given == before
    assert "fit_start_time" not in str(handlers._DEFAULT_INFER_PROCESSORS)


def test_a_missing_fit_window_is_named_and_a_processors_own_one_counts():
    with pytest.raises(ConfigError, match="ZScoreNorm learns from a fit window: fit_end_time must be given"):
        check_transform_proc(["ZScoreNorm"], "2020-01-01", None)
    own = {"class": "ZScoreNorm", "kwargs": {"fit_start_time": "x", "fit_end_time": "y"}}
    assert check_transform_proc([own], None, None) == [own]


def test_a_misspelt_argument_of_a_handler_is_reported():
    assert argument_problems(Alpha158, ["lable"]) == ["Alpha158 takes no argument lable; did you mean label?"]
    assert argument_problems(Alpha158, ["label", "drop_raw", "freq"]) == []


# ---------------------------------------------------------------------------------------------------- over a real store
SPAN = {"start_time": "2018-03-01", "end_time": "2018-08-31"}
FIT = {"fit_start_time": "2018-03-01", "fit_end_time": "2018-06-29"}


@pytest.fixture
def names(golden_stores):
    qlib.init(provider_uri=str(golden_stores / "day"), region="cn", kernels=1)
    roles = json.loads(shared("goldens/public/manifest.json").read_text())["info"]["roles"]
    yield [roles[role] for role in ("plain0", "plain1", "zerovol", "huge", "ties", "dead300")]
    session.close()


def test_alpha360_leaves_the_label_out_of_its_scaling_unless_compat_is_asked_for(names, golden_stores):
    raw = Alpha360(names, **SPAN, **FIT, infer_processors=[], learn_processors=[]).fetch(col_set="label")
    pd.testing.assert_frame_equal(Alpha360(names, **SPAN, **FIT).fetch(col_set="label"), raw)
    qlib.init(provider_uri=str(golden_stores / "day"), region="cn", kernels=1, compat="qlib")
    scaled = Alpha360(names, **SPAN, **FIT).fetch(col_set="label")
    assert not np.allclose(scaled, raw, equal_nan=True)
    assert not scaled.isna().any(axis=None)


def test_a_config_as_published_makes_a_dataset(names):
    config = {
        "class": "Alpha158",
        "module_path": "qlib.contrib.data.handler",
        "kwargs": {
            "instruments": names,
            **SPAN,
            **FIT,
            "infer_processors": [
                {"class": "RobustZScoreNorm", "kwargs": {"fields_group": "feature", "clip_outlier": True}},
                {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
            ],
            "learn_processors": ["DropnaLabel", {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}}],
        },
    }
    segments = {"train": ("2018-03-01", "2018-06-29"), "test": ("2018-07-02", "2018-08-31")}
    dataset = init_instance_by_config(
        {"class": "DatasetH", "module_path": "qlib.data.dataset", "kwargs": {"handler": config, "segments": segments}}
    )
    assert isinstance(dataset, DatasetH)
    train, test = dataset.prepare(["train", "test"], col_set=["feature", "label"], data_key=DataHandlerLP.DK_L)
    assert train.shape[1] == 159
    assert train.to_numpy().dtype == np.float32
    assert train["feature"].abs().max(axis=None) <= 3
    assert not train.isna().any(axis=None)
    assert train.index.get_level_values(0).max() < test.index.get_level_values(0).min()


def test_what_comes_after_the_fit_window_changes_nothing_before_it(names):
    processors = {"infer_processors": ["RobustZScoreNorm", "Fillna"]}
    short = Alpha158(names, "2018-03-01", "2018-07-31", **FIT, **processors).fetch(col_set="feature")
    long = Alpha158(names, "2018-03-01", "2018-08-31", **FIT, **processors).fetch(
        slice(None, "2018-07-31"), col_set="feature"
    )
    pd.testing.assert_frame_equal(short, long)


def test_a_label_of_ones_own(names):
    h = Alpha158(names, **SPAN, label=(["$close"], ["MINE"]), drop_raw=True, learn_processors=[])
    assert h.get_cols("label") == ["MINE"]
    with pytest.raises(AttributeError, match="dropped"):
        h.fetch(data_key="raw")


def test_a_handler_with_its_data_can_be_read_back(names, tmp_path):
    h = Alpha158(names, **SPAN, **FIT, infer_processors=["RobustZScoreNorm"])
    h.to_pickle(tmp_path / "h.pkl", dump_all=True)
    back = init_instance_by_config(f"file://{tmp_path / 'h.pkl'}")
    pd.testing.assert_frame_equal(back.fetch(data_key="learn"), h.fetch(data_key="learn"))

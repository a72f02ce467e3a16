"""Handlers and datasets saved as folders or pickles come back equal to the bit: data keys, state, what they do next."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.data.dataset import DatasetH, TSDatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.loader import StaticDataLoader
from qlib.errors import ConfigError
from qlib.utils.objects import init_instance_by_config
from qlib.utils.spec import SPEC

DATES = pd.date_range("2020-01-01", periods=12)
KEYS = ("raw", "infer", "learn")
FIT = {"fit_start_time": "2020-01-01", "fit_end_time": "2020-01-06"}
PROCESSORS = {
    "none": {},
    "fitted": {
        "infer_processors": [
            {"class": "RobustZScoreNorm", "kwargs": {**FIT, "fields_group": "feature"}},
            {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
        ],
        "learn_processors": ["DropnaLabel", {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}}],
    },
    "independent": {
        "process_type": "independent",
        "shared_processors": ["ProcessInf"],
        "infer_processors": [{"class": "MinMaxNorm", "kwargs": {**FIT, "fields_group": "feature"}}],
        "learn_processors": [{"class": "ZScoreNorm", "kwargs": {**FIT, "fields_group": "feature"}}, "DropnaLabel"],
    },
    "columns": {"infer_processors": [{"class": "DropCol", "kwargs": {"col_list": ["f0"]}}]},
}


def panel(seed=0, dtype="f4"):
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([DATES, list("ABCDE")], names=["datetime", "instrument"])
    columns = pd.MultiIndex.from_tuples([("feature", "f0"), ("feature", "f1"), ("label", "LABEL0")])
    df = pd.DataFrame(rng.normal(size=(len(index), 3)).astype(dtype), index=index, columns=columns)
    df = df.mask(rng.random(df.shape) < 0.1)
    return df.loc[rng.random(len(df)) < 0.9]


def handler(seed=0, dtype="f4", name="fitted", **kwargs):
    return DataHandlerLP(data_loader=StaticDataLoader(panel(seed, dtype)), **PROCESSORS[name], **kwargs)


def same_bits(left, right):
    pd.testing.assert_frame_equal(left, right)
    for at in range(left.shape[1]):
        assert left.iloc[:, at].to_numpy().tobytes() == right.iloc[:, at].to_numpy().tobytes()


def states(made):
    """What the processors were told and have learned."""
    return [
        {key: np.asarray(value).tolist() for key, value in vars(processor).items() if not key.startswith("_")}
        for processor in made.get_all_processors()
    ]


@settings(max_examples=cases(10, 40))
@given(st.integers(0, 99), st.sampled_from(["f4", "f8"]), st.sampled_from(list(PROCESSORS)))
def test_a_handler_comes_back_equal_to_the_bit(tmp_path_factory, seed, dtype, name):
    made = handler(seed, dtype, name)
    back = DataHandlerLP.load(made.save(tmp_path_factory.mktemp("h") / "o"))
    for key in KEYS:
        same_bits(back.fetch(col_set="__raw", data_key=key), made.fetch(col_set="__raw", data_key=key))
    assert states(back) == states(made)
    back.setup_data(init_type="load_state")  # and goes on from there
    same_bits(back.fetch(data_key="learn"), made.fetch(data_key="learn"))


@pytest.mark.parametrize("way", ["folder", "pickle"])
def test_without_its_data_it_keeps_what_it_learned(tmp_path, way):
    made = handler()
    if way == "folder":
        back = DataHandlerLP.load(made.save(tmp_path / "h", data=False))
        assert not list((tmp_path / "h").glob("*view*"))
    else:
        made.to_pickle(tmp_path / "h.pkl")
        back = DataHandlerLP.load(tmp_path / "h.pkl")
    with pytest.raises(AttributeError, match="holds no data"):
        back.fetch()
    assert states(back) == states(made)
    back.setup_data(init_type="load_state")
    same_bits(back.fetch(data_key="learn"), made.fetch(data_key="learn"))


def test_what_was_learned_is_used_and_not_learned_again(tmp_path):
    made = handler()
    back = DataHandlerLP.load(made.save(tmp_path / "h", data=False))
    more = panel() * 100
    back.data_loader = StaticDataLoader(more)
    back.setup_data(init_type="load_state")
    assert states(back) == states(made)
    assert back.fetch(col_set="feature").abs().max(axis=None) == 3


def test_the_spec_says_what_a_person_wants_to_know(tmp_path):
    state = json.loads((handler().save(tmp_path / "h") / SPEC).read_text())["root"]["state"]
    norm = state["infer_processors"]["$list"][0]
    assert (norm["$object"], norm["module_path"]) == ("RobustZScoreNorm", "qlib.data.dataset.processor")
    assert norm["state"]["fit_end_time"] == "2020-01-06"
    assert len(norm["state"]["mean_train"]["$array"]) == 2


@pytest.mark.parametrize("cls", [DatasetH, TSDatasetH])
def test_a_dataset_comes_back_with_its_segments(tmp_path, cls):
    segments = {"train": (DATES[0], DATES[5]), "test": (DATES[7], None)}
    made = cls(handler=handler(), segments=segments, **({"step_len": 3} if cls is TSDatasetH else {}))
    back = cls.load(made.save(tmp_path / "d"))
    for segment in segments:
        left, right = (dataset.prepare(segment, col_set=["feature", "label"]) for dataset in (back, made))
        if cls is DatasetH:
            same_bits(left, right)
        else:
            np.testing.assert_array_equal(left[list(range(len(left)))], right[list(range(len(right)))])
    assert back.segments == made.segments


def test_configurations_may_name_a_saved_folder(tmp_path):
    folder = handler().save(tmp_path / "h")
    dataset = init_instance_by_config(
        {
            "class": "DatasetH",
            "module_path": "qlib.data.dataset",
            "kwargs": {"handler": f"file://{folder}", "segments": {"train": (DATES[0], DATES[5])}},
        }
    )
    assert len(dataset.prepare("train")) > 0


def test_dropped_raw_data_stay_dropped(tmp_path):
    back = DataHandlerLP.load(handler(drop_raw=True).save(tmp_path / "h"))
    with pytest.raises(AttributeError, match="dropped"):
        back.fetch(data_key="raw")


@pytest.mark.parametrize("rows", [slice(None), slice(0, 0)])
def test_data_kept_by_instrument_are_one_file(tmp_path, rows):
    made = DataHandlerLP(data_loader=StaticDataLoader(panel().iloc[rows]), infer_processors=["HashStockFormat"])
    back = DataHandlerLP.load(made.save(tmp_path / "h"))
    same_bits(back.fetch("B", level="instrument"), made.fetch("B", level="instrument"))
    pd.testing.assert_frame_equal(back.fetch(), made.fetch())
    assert len(list((tmp_path / "h").glob("*.arrow"))) <= 3


def test_a_light_handler_can_be_saved(tmp_path):
    made = DataHandlerLP.cast(handler())
    same_bits(DataHandlerLP.load(made.save(tmp_path / "h")).fetch(), made.fetch())


def test_a_processor_that_cannot_be_read_again_is_refused(tmp_path):
    class Hidden(type(handler().infer_processors[0])):
        pass

    made = handler()
    made.infer_processors[0].__class__ = Hidden
    with pytest.raises(ConfigError, match=r"infer_processors\[0\]: a .*Hidden cannot be saved"):
        made.save(tmp_path / "h")
    assert not (tmp_path / "h").exists()

"""Dotted paths and placeholders."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest

from qlib.utils import (
    FLATTEN_TUPLE,
    fill_placeholder,
    flatten_dict,
    get_item_from_obj,
    hash_args,
    lazy_sort_index,
    parse_config,
    split_pred,
)
from qlib.utils.nested import placeholders


def test_flatten_joins_keys_and_keeps_lists_whole():
    nested = {"a": 1, "b": {"c": [1, {"z": 2}], "d": {}, "e": {1: 2}}}
    assert flatten_dict(nested) == {"a": 1, "b.c": [1, {"z": 2}], "b.e.1": 2}
    assert flatten_dict(nested, sep=FLATTEN_TUPLE)[("b", "e", 1)] == 2
    assert flatten_dict({"x": {"y": 1}}, "P", "/") == {"P/x/y": 1}


def test_a_dotted_path_walks_dicts_and_lists():
    assert get_item_from_obj({"a": [1, {"b": 3}]}, "a.1.b") == 3
    with pytest.raises(IndexError):
        get_item_from_obj({"a": [1]}, "a.7")


def test_placeholders_are_filled_from_the_values_or_from_the_configuration_itself():
    task = {"x": "<PRED>", "y": ["<b.c.0>", "<nope.x>"], "b": {"c": [7]}, "chain": "<x>", "t": ("<PRED>",)}
    before = copy.deepcopy(task)
    filled = fill_placeholder(task, {"<PRED>": 11})
    assert filled == {"x": 11, "y": [7, "<nope.x>"], "b": {"c": [7]}, "chain": 11, "t": (11,)}
    assert task == before


def test_only_a_whole_text_is_a_placeholder():
    assert fill_placeholder({"s": "<a>tail", "p": "pre<a>", "a": 1}, {}) == {"s": "<a>tail", "p": "pre<a>", "a": 1}


def test_placeholders_that_point_at_each_other_stay():
    assert fill_placeholder({"a": "<b>", "b": "<a>"}, {}) == {"a": "<b>", "b": "<a>"}


def test_placeholders_are_listed_with_their_place():
    assert list(placeholders({"a": [{"b": "<PRED>"}], "c": "x"})) == [("a.0.b", "<PRED>")]


def test_hash_args_equals_qlibs():
    assert hash_args("a", {"b": 1, "a": [2]}, 3.0) == "ba84a3ee9dc33cc24826d7bd411cd006"


def test_parse_config_reads_text_or_a_file(tmp_path):
    (tmp_path / "c.yaml").write_text("a: 1\n")
    assert parse_config("a: 1") == parse_config('{"a": 1}') == parse_config(tmp_path / "c.yaml") == {"a": 1}
    assert parse_config({"a": "1"}) == {"a": "1"}


def test_frames_are_sorted_only_when_needed_and_cut_by_date():
    frame = pd.DataFrame({"s": [1, 2]}, index=[2, 1])
    assert lazy_sort_index(frame).index.tolist() == [1, 2]
    done = lazy_sort_index(frame)
    assert lazy_sort_index(done) is done
    index = pd.MultiIndex.from_product(
        [pd.date_range("2020-01-01", periods=4), ["a", "b"]], names=["datetime", "instrument"]
    )
    pred = pd.DataFrame({"score": np.arange(8)}, index=index)
    assert [len(part) for part in split_pred(pred, 2)] == [4, 4]
    assert [len(part) for part in split_pred(pred, split_date="2020-01-01")] == [2, 6]

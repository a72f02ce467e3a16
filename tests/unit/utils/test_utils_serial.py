"""What Serializable keeps, and how it is read back."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from qlib.utils.serial import Serializable


class Box(Serializable):
    def __init__(self):
        super().__init__()
        self.rule, self._data, self.child = 1, np.arange(3), None


class Other(Serializable):
    pass


class Fussy(Serializable):
    include_attr = ["_kept"]
    exclude_attr = ["left"]

    def __init__(self):
        super().__init__()
        self._kept, self.left, self._gone, self.there = 1, 2, 3, 4


def saved(thing, tmp_path, **kwargs):
    thing.to_pickle(tmp_path / "x.pkl", **kwargs)
    return type(thing).load(tmp_path / "x.pkl")


def test_underscored_attributes_stay_behind(tmp_path):
    assert set(saved(Box(), tmp_path).__dict__) == {"rule", "child"}


def test_dump_all_holds_for_one_call_and_config_for_good(tmp_path):
    box = Box()
    before = dict(vars(box))
    assert saved(box, tmp_path, dump_all=True)._data.tolist() == [0, 1, 2]
    assert vars(box) == before
    assert "_data" not in pickle.loads(pickle.dumps(box)).__dict__
    box.config(dump_all=True)
    assert "_data" in pickle.loads(pickle.dumps(box)).__dict__


def test_a_recursive_call_leaves_no_flag_anywhere(tmp_path):
    box = Box()
    box.child = Box()
    assert saved(box, tmp_path, dump_all=True, recursive=True).child._data.tolist() == [0, 1, 2]
    assert not box.dump_all
    assert not box.child.dump_all


def test_include_and_exclude_come_before_the_underscore(tmp_path):
    assert set(saved(Fussy(), tmp_path).__dict__) == {"_kept", "there"}


def test_include_and_exclude_of_an_instance_replace_those_of_the_class(tmp_path):
    assert set(saved(Fussy(), tmp_path, include=["_gone"], exclude=["there"]).__dict__) == {"_gone", "left"}


def test_recursive_config_reaches_attributes_and_survives_loops(tmp_path):
    box = Box()
    box.child = Box()
    box.child.child = box
    box.config(recursive=True, dump_all=True)
    assert box.child.dump_all
    assert Serializable.FLAG_KEY not in box.__dict__ | box.child.__dict__


def test_an_unknown_word_of_config_names_the_allowed_ones():
    with pytest.raises(KeyError, match="did you mean exclude"):
        Box().config(exclud=["x"])


def test_loading_an_object_of_another_class_is_an_error(tmp_path):
    Other().to_pickle(tmp_path / "x.pkl")
    with pytest.raises(TypeError, match="holds a Other; a Box was expected"):
        Box.load(tmp_path / "x.pkl")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    box = Box()
    box.to_pickle(tmp_path / "x.pkl")
    before = (tmp_path / "x.pkl").read_bytes()
    box.rule = lambda: 1
    with pytest.raises((pickle.PicklingError, AttributeError)):
        box.to_pickle(tmp_path / "x.pkl")
    assert (tmp_path / "x.pkl").read_bytes() == before


def test_general_dump_follows_the_rule_of_the_object(tmp_path):
    Serializable.general_dump(Box(), tmp_path / "x.pkl")
    assert set(Box.load(tmp_path / "x.pkl").__dict__) == {"rule", "child"}
    Serializable.general_dump([1, 2], tmp_path / "y.pkl")
    assert pickle.loads((tmp_path / "y.pkl").read_bytes()) == [1, 2]


def test_an_unknown_backend_is_named(tmp_path):
    class Odd(Serializable):
        pickle_backend = "json"

    with pytest.raises(ValueError, match="received 'json'; allowed are pickle, dill"):
        Odd().to_pickle(tmp_path / "x.pkl")

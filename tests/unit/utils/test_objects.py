"""A configuration becomes the object it describes, or says in one sentence why not."""

from __future__ import annotations

import pickle
import sys

import pytest

from qlib.errors import ConfigError
from qlib.utils import init_instance_by_config
from qlib.utils.objects import (
    UnknownModuleError,
    UnknownNameError,
    WrongArgumentsError,
    accepted_arguments,
    argument_problems,
    auto_filter_kwargs,
    class_casting,
    find_all_classes,
    get_callable_kwargs,
    get_module_by_module_path,
    split_module_path,
)

HERE = __name__


class Plain:
    def __init__(self, num_leaves=31, max_depth=8):
        self.num_leaves, self.max_depth = num_leaves, max_depth


class Base:
    def __init__(self, signal=None, risk_degree=0.95, handed=0):
        self.signal, self.risk_degree, self.handed = signal, risk_degree, handed


class HandsOn(Base):
    def __init__(self, *, topk, n_drop, **kwargs):
        super().__init__(handed=3, **kwargs)
        self.topk, self.n_drop = topk, n_drop


class EndsInAFunction(Base):
    def __init__(self, *, topk, **kwargs):
        super().__init__(
            handed=3,
            **kwargs,
        )

        def later():
            return self.topk

        self.topk, self.later = topk, later

        class Inside:
            at = topk


class Keeps(Base):
    def __init__(self, loss="mse", **kwargs):
        self.params = {"loss": loss, **kwargs}


class KnowsAnotherLibrary(Keeps):
    @classmethod
    def known_kwargs(cls):
        return {"num_leaves", "learning_rate"}


class Counts:
    built = 0

    def __init__(self, recorder=None):
        type(self).built += 1
        raise TypeError("inside the constructor")


def config(name, **kwargs):
    return {"class": name, "module_path": HERE, "kwargs": kwargs}


def test_every_way_to_name_a_class_gives_the_same_object():
    ways = [
        config("Plain", num_leaves=5),
        {"class": f"{HERE}.Plain", "kwargs": {"num_leaves": 5}},
        {"class": Plain, "kwargs": {"num_leaves": 5}},
        {"func": "Plain", "module_path": sys.modules[HERE], "kwargs": {"num_leaves": 5}},
    ]
    assert [vars(init_instance_by_config(way)) for way in ways] == [{"num_leaves": 5, "max_depth": 8}] * 4
    assert isinstance(init_instance_by_config(f"{HERE}.Plain"), Plain)
    assert isinstance(init_instance_by_config("Plain", default_module=HERE), Plain)
    assert init_instance_by_config("Plain", default_module=HERE, max_depth=2).max_depth == 2


def test_an_instance_of_an_accepted_type_is_returned_as_it_is():
    ready = Plain()
    assert init_instance_by_config(ready, accept_types=Plain) is ready


def test_a_misspelt_argument_names_the_nearest_right_one():
    with pytest.raises(WrongArgumentsError, match=r"Plain takes no argument num_leavse; did you mean num_leaves\?"):
        init_instance_by_config(config("Plain", num_leavse=5))
    with pytest.raises(TypeError):  # what code written for Qlib catches
        init_instance_by_config(config("Plain", num_leavse=5))


def test_an_argument_like_nothing_is_answered_with_the_list_of_allowed_ones():
    with pytest.raises(ConfigError, match="allowed are num_leaves, max_depth"):
        init_instance_by_config(config("Plain", zzz=5))


def test_all_wrong_arguments_are_named_at_once():
    problems = argument_problems(HandsOn, ["topk", "n_dorp", "risk_degre"])
    assert problems == [
        "HandsOn takes no argument n_dorp; did you mean n_drop?",
        "HandsOn takes no argument risk_degre; did you mean risk_degree?",
        "HandsOn needs the argument n_drop",
    ]


def test_kwargs_handed_on_to_the_base_are_checked_against_the_base():
    arguments = accepted_arguments(HandsOn)
    assert set(arguments.names) == {"topk", "n_drop", "signal", "risk_degree"}  # `handed` is filled by the class itself
    assert arguments.required == ("topk", "n_drop")
    assert not arguments.anything


def test_a_constructor_is_read_to_its_end():
    assert set(accepted_arguments(EndsInAFunction).names) == {"topk", "signal", "risk_degree"}


def test_kwargs_that_are_kept_accept_anything():
    assert init_instance_by_config(config("Keeps", whatever=1)).params == {"loss": "mse", "whatever": 1}


def test_a_class_may_name_what_its_library_knows_and_typing_errors_are_then_found():
    assert init_instance_by_config(config("KnowsAnotherLibrary", brand_new=1)).params["brand_new"] == 1
    with pytest.raises(WrongArgumentsError, match=r"num_leavse; did you mean num_leaves\?"):
        init_instance_by_config(config("KnowsAnotherLibrary", num_leavse=1))


def test_an_error_inside_a_constructor_runs_it_once_and_is_shown_as_it_is():
    Counts.built = 0
    with pytest.raises(TypeError, match="inside the constructor"):
        init_instance_by_config(config("Counts"), try_kwargs={"recorder": 1})
    assert Counts.built == 1


def test_try_kwargs_reach_only_those_who_take_them_and_never_replace_the_configuration():
    assert init_instance_by_config(config("Plain"), try_kwargs={"max_depth": 1, "model": 2}).max_depth == 1
    assert init_instance_by_config(config("Plain", max_depth=4), try_kwargs={"max_depth": 1}).max_depth == 4


def test_an_argument_given_by_the_program_and_by_the_configuration_is_refused():
    with pytest.raises(WrongArgumentsError, match="take it out"):
        init_instance_by_config(config("Plain", max_depth=4), max_depth=1)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"has no class or function Plian; did you mean Plain\?"):
        init_instance_by_config(config("Plian"))
    with pytest.raises(AttributeError):
        init_instance_by_config(config("Plian"))
    with pytest.raises(
        UnknownModuleError, match=r"no module is called qlib.utils.objcts .*did you mean qlib.utils.objects"
    ):
        get_module_by_module_path("qlib.utils.objcts")
    with pytest.raises(ModuleNotFoundError, match="write module_path"):
        init_instance_by_config({"class": "Plain"})


def test_a_package_that_is_not_installed_is_answered_with_the_pip_line(tmp_path, monkeypatch):
    (tmp_path / "needs_torch_here.py").write_text("import torch_that_is_absent\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownModuleError, match='pip install "torch_that_is_absent"'):
        get_module_by_module_path("needs_torch_here")


@pytest.mark.parametrize(
    "wrong", [{"clas": "Plain"}, {}, 5, {"class": 7}, {"class": "Plain", "module_path": HERE, "kwargs": [1]}]
)
def test_what_is_no_configuration_is_refused(wrong):
    with pytest.raises(ConfigError):
        init_instance_by_config(wrong)


def test_a_python_file_is_a_module_and_is_run_once(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("class Mine:\n    def __init__(self, a=1):\n        self.a = a\n")
    made = init_instance_by_config({"class": "Mine", "module_path": str(file), "kwargs": {"a": 7}})
    assert made.a == 7
    assert get_module_by_module_path(str(file)) is get_module_by_module_path(str(file))
    assert pickle.loads(pickle.dumps(made)).a == 7
    with pytest.raises(UnknownModuleError, match="there is no such file"):
        get_module_by_module_path(str(tmp_path / "nothing.py"))


def test_a_pickled_object_is_read_without_running_what_a_stranger_wrote(tmp_path):
    file = tmp_path / "thing.pkl"
    file.write_bytes(pickle.dumps({"a": [1, 2]}))
    assert init_instance_by_config(f"file://{file}") == {"a": [1, 2]}
    assert init_instance_by_config(file) == {"a": [1, 2]}
    file.write_bytes(pickle.dumps(print))
    with pytest.raises(pickle.UnpicklingError):
        init_instance_by_config(f"file://{file}")
    with pytest.raises(ConfigError, match="there is no file"):
        init_instance_by_config(f"file://{tmp_path}/absent.pkl")


def test_small_helpers_of_qlib():
    assert split_module_path("a.b.C") == ("a.b", "C")
    assert split_module_path("C") == ("", "C")
    assert get_callable_kwargs("collections.Counter")[1] == {}
    assert {Base, HandsOn, Keeps} <= set(find_all_classes(HERE, Base))
    assert Plain not in find_all_classes(HERE, Base)
    thing = Plain()
    with class_casting(thing, Base):
        assert type(thing) is Base
    assert type(thing) is Plain


def test_auto_filter_kwargs_drops_what_a_function_does_not_take():
    def fit(dataset, reweighter=None):
        return dataset, reweighter

    assert auto_filter_kwargs(fit)(1, reweighter=2, other=3) == (1, 2)
    assert auto_filter_kwargs(fit, warning=False)(1, other=3) == (1, None)

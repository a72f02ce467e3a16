"""Words that change a configuration: values, several values, and the places that they mean."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.cli.options import parsed
from qlib.cli.overrides import Change, changed, grid, place_of, read_change, seeds
from qlib.errors import ConfigError

CONFIG = {
    "qlib_init": {"region": "us"},
    "market": "csi300",
    "dates": {"first": "2020-01-01"},
    "task": {
        "model": {"class": "M", "kwargs": {"alpha": 1, "depth": 2}},
        "dataset": {"kwargs": {"handler": {"class": "H", "kwargs": {"start_time": "<dates.first>", "alpha": 3}}}},
        "record": [{"class": "R"}, {"class": "S", "kwargs": {"top": 5}}],
    },
}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3,1e-4", (0.001, 0.0001)), ("a,b", ("a", "b")), ("'a,b'", ("a,b",)), ("null", (None,)), ("", ("",)),
        ("[1,2],[3]", ([1, 2], [3])), ("{a: 1}", ({"a": 1},)), ("true,x", (True, "x")), ("9:30", ("9:30",)),
        ("range(3)", (0, 1, 2)), ("range(1,10,4)", (1, 5, 9)), ("range(5,1,-2)", (5, 3)), ("1,2=3", (1, "2=3")),
        ("range(0.1,0.4,0.1)", (0.1, 0.2, 0.3)), ("range( 2 , 4 )", (2, 3)),
    ],
)  # fmt: skip
def test_values_are_read_as_in_a_file_and_several_are_several(text, values):
    assert read_change(f"a.b={text}", several=True) == Change("a.b", values)


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-9, 9).filter(bool))
def test_a_range_counts_as_pythons(start, end, step):
    expected = tuple(range(start, end, step))
    if expected:
        assert read_change(f"k=range({start},{end},{step})", several=True).values == expected
    else:
        with pytest.raises(ConfigError, match="0 values"):
            read_change(f"k=range({start},{end},{step})", several=True)


def test_seeds_are_the_same_every_time_and_fewer_are_the_first_of_more():
    five = read_change("seed=seeds(5)", several=True)
    assert five.seeds and five.values == tuple(seeds(9))[:5]
    assert len(set(seeds(1000))) == 1000 and all(0 <= one < 2**31 for one in seeds(1000))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("alpha", "a change is written key=value"), ("=1", "key=value"), ("a..b=1", "key=value"),
        ("a=[1", "a=[1"), ("a=range(x)", "range(end), range(start, end)"), ("a=range(1,2,0)", "end, step)"),
        ("a=range(1,2,3,4)", "are allowed"), ("a=seeds(0)", "from 1 to"), ("a=seeds(1.5)", "whole number"),
        ("a=range(1000000)", "1 to 10000 are allowed"), ("a=seeds()", "how many seeds"),
    ],
)  # fmt: skip
def test_a_word_that_cannot_be_read_is_said(word, said):
    with pytest.raises(ConfigError) as error:
        read_change(word, several=True)
    assert said in str(error.value)


def test_several_values_without_a_sweep_are_not_guessed_at():
    with pytest.raises(ConfigError, match=r"-m lr=1,2, a list lr=\[1,2\]"):
        read_change("lr=1,2", several=False)
    with pytest.raises(ConfigError, match="-m 'lr=range"):
        read_change("lr=range(3)", several=False)
    assert read_change("seg=[2020-01-01, 2020-02-01]", several=False).values[0][1].month == 2


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("task.model.kwargs.alpha", "task.model.kwargs.alpha"),
        ("depth", "task.model.kwargs.depth"),
        ("model.kwargs.alpha", "task.model.kwargs.alpha"),
        ("record.1.kwargs.top", "task.record.1.kwargs.top"),
        ("top", "task.record.1.kwargs.top"),
        ("task.model.kwargs.new", "task.model.kwargs.new"),
        ("task.record.0.kwargs.new", "task.record.0.kwargs.new"),
        ("dates.first", "dates.first"),
        ("experiment_name", "experiment_name"),
    ],
)
def test_a_key_means_a_place_that_is_there_or_may_be_made(key, place):
    assert place_of(CONFIG, key) == place
    made = changed(CONFIG, [(place, 7)])
    found = made
    for step in place.split("."):
        found = found[int(step) if isinstance(found, list) else step]
    assert found == 7 and CONFIG["task"]["model"]["kwargs"] == {"alpha": 1, "depth": 2}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("alpha", "2 places of the configuration end so: task.model.kwargs.alpha, task.dataset.kwargs.han"),
        ("dpeth", "did you mean depth?"),
        ("market", "market: nothing reads market itself, an anchor"),
        ("task.modle.kwargs.x", "did you mean task.model"),
    ],
)  # fmt: skip
def test_a_key_that_means_nothing_or_too_much_is_said(key, said):
    with pytest.raises(ConfigError) as error:
        place_of(CONFIG, key)
    assert said in str(error.value)


def test_what_an_anchor_shares_is_changed_at_one_place():
    shared = {"a": 1}
    config = {"task": {"one": shared, "two": shared, "list": [1, 2]}}
    assert changed(config, [("task.one.a", 2), ("task.list.0", "__DROP__")])["task"] == {
        "one": {"a": 2}, "two": {"a": 1}, "list": [2],
    }  # fmt: skip
    assert changed(config, [("task.two", "__DROP__")])["task"] == {"one": {"a": 1}, "list": [1, 2]}


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=3), min_size=1, max_size=3))
def test_the_grid_holds_every_combination_once(values):
    found = grid([Change(str(place), tuple(some)) for place, some in enumerate(values)])
    assert len(found) == math.prod(map(len, values))
    assert all([key for key, _ in one] == [str(place) for place in range(len(values))] for one in found)
    assert {tuple(value for _, value in one) for one in found} == set(product(*values))


@pytest.mark.parametrize(
    ("words", "config", "changes", "many"),
    [
        ("c.yaml", "c.yaml", [], []),
        ("c.yaml a=1 --check b=2", "c.yaml", ["a=1", "b=2"], []),
        ("a=1 --config_path c.yaml", "c.yaml", ["a=1"], []),
        ("c.yaml -m a=1,2 b=3 --jobs 2", "c.yaml", [], ["a=1,2", "b=3"]),
        ("-m a=1,2 c.yaml", "c.yaml", [], ["a=1,2"]),
        ("c.yaml x=1 -m a=1 --quiet -m b=2", "c.yaml", ["x=1"], ["a=1", "b=2"]),
        ("runs/a=1.yaml", "runs/a=1.yaml", [], []),
        ("runs/a=1.yaml a=2", "runs/a=1.yaml", ["a=2"], []),
    ],
)
def test_options_stand_in_any_order(words, config, changes, many):
    asked = parsed(words.split())
    assert (asked.config, asked.changes, asked.many) == (config, changes, many)

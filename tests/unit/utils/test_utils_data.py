"""Merging configurations."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.errors import ConfigError
from qlib.utils.data import S_DROP, deepcopy_basic_type, update_config

tables = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers() | st.lists(st.integers(), max_size=2), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.integers() | inner, max_size=3),
    max_leaves=6,
)


@given(tables, tables)
def test_merging_changes_neither_side_and_the_extension_wins(base, extension):
    before = deepcopy((base, extension))
    merged = update_config(base, extension)
    assert (base, extension) == before
    assert update_config(merged, extension) == merged
    for key, value in extension.items():
        if not isinstance(value, dict):
            assert merged[key] == value
    assert set(merged) == set(base) | set(extension)


def test_drop_removes_a_key_at_any_depth_and_ignores_an_absent_one():
    assert update_config({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": S_DROP}, "d": S_DROP, "e": S_DROP}) == {
        "a": {"c": 2}
    }


def test_several_extensions_apply_in_order():
    assert update_config({"a": 1}, [{"a": 2}, {"b": 3}, {"a": 4}]) == {"a": 4, "b": 3}


def test_a_list_is_replaced_whole():
    assert update_config({"a": [1, 2]}, {"a": [3]}) == {"a": [3]}


def test_something_else_than_a_table_is_refused():
    with pytest.raises(ConfigError, match="received 'x'"):
        update_config({}, ["x"])


def test_basic_containers_are_copied_and_their_content_is_not():
    thing = object()
    copied = deepcopy_basic_type({"a": [thing, (1, [2])]})
    assert copied["a"][0] is thing
    assert copied == {"a": [thing, (1, [2])]}

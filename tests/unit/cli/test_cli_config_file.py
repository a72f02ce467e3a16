"""A configuration file becomes one table: YAML 1.2, JSON, templates, a base file."""

from __future__ import annotations

import datetime as dt
import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.cli.config_file import get_path_list, parse_text, read_config, render_template, sys_config
from qlib.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E5", 100000.0), ("1.5e+3", 1500.0), (".5", 0.5), ("5.", 5.0), ("-1e-3", -0.001),
        ("-.inf", -math.inf), ("010", 10), ("0x1F", 31), ("0o17", 15), ("1_000", 1000), ("+5", 5),
        ("9:30", "9:30"), ("12:30:45", "12:30:45"), ("yes", "yes"), ("on", "on"), ("no", "no"), ("true", True),
        ("False", False), ("~", None), ("", None), ("null", None), ('"1e-3"', "1e-3"), ("1e", "1e"), ("e5", "e5"),
        ("1.2.3", "1.2.3"), ("2020-01-02", dt.date(2020, 1, 2)), ("'2020-01-02'", "2020-01-02"),
        ("2020-01-02 09:30:00", dt.datetime(2020, 1, 2, 9, 30)), ("[1, 2e2]", [1, 200.0]),
    ],
)  # fmt: skip
def test_plain_texts_are_read_by_yaml_1_2(text, value):
    assert parse_text(f"x: {text}", "f") == {"x": value}
    assert type(parse_text(f"x: {text}", "f")["x"]) is type(value)


def test_nan_is_a_number():
    assert math.isnan(parse_text("x: .nan", "f")["x"])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read_back(number):
    assert parse_text(f"x: {number!r}", "f")["x"] == number


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
TABLES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(TABLES)
def test_json_says_the_same_read_as_json_and_as_yaml(thing):
    text = json.dumps({"x": thing})
    assert parse_text(text, "f", as_json=True) == {"x": thing}
    assert parse_text(text, "f") == {"x": thing}


def test_anchors_and_merge_keys_work():
    assert parse_text("a: &x {z: 1, y: 2}\nb: {<<: *x, z: 3}", "f")["b"] == {"z": 3, "y": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "f, line 2, column 1: the key a stands twice"),
        ("a: {b: 1, b: 2}", "the key b stands twice"),
        ("a: [1", "f, line"),
        ("a: 2020-13-45", "f: month must be in 1..12"),
        ("x: !!python/object/apply:os.system ['ls']", "could not determine a constructor"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_place(text, said):
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        parse_text(text, "f")


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": 1,}', "a: 1"])
def test_a_json_file_is_read_by_the_rules_of_json(tmp_path, text):
    file = tmp_path / "c.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match="c.json: this is no JSON"):
        read_config(file)


@pytest.mark.parametrize("text", ["", "- a", "5"])
def test_a_configuration_is_a_table(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match="a configuration is a table with the keys qlib_init and task"):
        read_config(tmp_path / "c.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nothing.yaml cannot be read: No such file"):
        read_config(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_config(tmp_path / "b.yaml")


def test_templates_are_filled_from_the_environment_and_its_values_are_never_logged(tmp_path, monkeypatch, caplog):
    file = tmp_path / "c.yaml"
    file.write_text("a: {{ SECRET_FOLDER }}\nb: '{{ ABSENT_HERE }}'\nc: {{ OTHER | default('d') }}\n")
    monkeypatch.setenv("SECRET_FOLDER", "hunter2")
    monkeypatch.delenv("ABSENT_HERE", raising=False)
    with caplog.at_level("DEBUG"):
        assert read_config(file) == {"a": "hunter2", "b": "", "c": "d"}
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "a: {{ ''.__class__.__mro__[1].__subclasses__() }}",
        "a: {{ self.__init__.__globals__ }}",
        "a: {% for",
        "a: {{ 1 / 0 }}",
        "a: {{ PATH.format.__globals__ }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    try:
        found = render_template(tmp_path / "c.yaml")
    except ConfigError as error:
        assert "the template cannot be filled" in str(error)
    else:
        assert found.strip() == "a:"


def test_a_configuration_stands_over_its_base(tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_text("a: {b: 1, c: 2}\nl: [1, 2]\nd: 5\n")
    (tmp_path / "c.yaml").write_text("BASE_CONFIG_PATH: base.yaml\na: {c: 3}\nl: [9]\nd: __DROP__\n")
    monkeypatch.chdir("/")
    assert read_config(tmp_path / "c.yaml") == {"a": {"b": 1, "c": 3}, "l": [9]}
    (tmp_path / "d.yaml").write_text("BASE_CONFIG_PATH: nothing.yaml\n")
    with pytest.raises(ConfigError, match="BASE_CONFIG_PATH nothing.yaml is neither"):
        read_config(tmp_path / "d.yaml")
    (tmp_path / "base.yaml").write_text("BASE_CONFIG_PATH: c.yaml\n")
    with pytest.raises(ConfigError, match="leads back"):
        read_config(tmp_path / "c.yaml")


def test_folders_of_the_configuration_are_appended_to_the_path(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = tmp_path / "c.yaml"
    sys_config({"sys": {"path": "/x/y", "rel_path": ["mine", "../other"]}}, file)
    assert sys.path[-3:] == ["/x/y", str(tmp_path / "mine"), str(tmp_path.parent / "other")]
    before = list(sys.path)
    sys_config({"sys": {"path": ["/x/y"]}}, file)
    assert sys.path == before
    with pytest.raises(ConfigError, match="path and rel_path"):
        sys_config({"sys": {"pth": "x"}}, file)
    assert get_path_list("a") == ["a"]

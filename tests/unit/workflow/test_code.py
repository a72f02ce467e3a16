"""Which code a piece of work runs: what is imported, however deep, and no more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qlib.workflow.code import classes_in, environment, imports_in, modules_of, process_began, sources_of, versions

FILES = {
    "codepkg/__init__.py": "",
    "codepkg/top.py": "from codepkg.a import thing\nfrom . import b\n",
    "codepkg/a.py": "def thing():\n    from codepkg.late import x\n",
    "codepkg/b.py": "import json, numpy, typing\nif typing.TYPE_CHECKING:\n    import codepkg.typed\n",
    "codepkg/late.py": "DEFAULT = {'class': 'X', 'module_path': 'codepkg.named'}\n",
    "codepkg/named.py": "from .sub.deep import *\n",
    "codepkg/sub/__init__.py": "",
    "codepkg/sub/deep.py": "",
    "codepkg/typed.py": "",
    "codepkg/never.py": "",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def names(found, package):
    return {Path(path).relative_to(package).as_posix() for path in found}


def test_imports_are_followed_wherever_they_stand_but_not_those_for_type_checkers(package):
    assert names(sources_of(["codepkg.top"]), package) == set(FILES) - {"codepkg/typed.py", "codepkg/never.py"}
    assert "codepkg" not in sys.modules  # nothing was imported to know this


def test_one_line_changes_one_digest(package):
    before = sources_of(["codepkg.top"])
    deep = package / "codepkg" / "sub" / "deep.py"
    deep.write_text("# a line\n")
    after = sources_of(["codepkg.top"])
    assert {path for path in before if before[path] != after[path]} == {str(deep)}


def test_a_file_is_a_module_too(package):
    own = package / "mine.py"
    own.write_text("import codepkg.sub.deep\n")
    assert names(sources_of([str(own)]), package) == {
        "mine.py",
        "codepkg/__init__.py",
        "codepkg/sub/__init__.py",
        "codepkg/sub/deep.py",
    }


def test_installed_packages_count_by_their_version():
    assert sources_of(["numpy", "json", "no_such_module"]) == {}
    assert versions()["numpy"]


def test_this_package_is_followed_wherever_it_is_installed():
    found = {Path(path).name for path in sources_of(["qlib.contrib.model.linear"])}
    assert {"linear.py", "base.py"} <= found
    assert "exchange.py" not in found  # a model knows no market


def test_compiled_modules_count_with_their_bytes():
    assert any(not path.endswith(".py") for path in sources_of(["qlib.data.provider"]))


def test_a_text_that_is_no_python_imports_nothing():
    assert imports_in(b"def (:") == []


def test_the_modules_of_a_configuration_are_found_at_any_depth():
    config = {
        "class": "A",
        "module_path": "m.a",
        "kwargs": {"b": [{"class": "m.b.B"}, "m.c.C"], "date": "2020-01-01", "text": "<PRED>", "n": 3},
    }
    assert modules_of(config) == ["m.a", "m.b", "m.c"]
    assert modules_of({"class": "SignalRecord"}, "m.default") == ["m.default"]


def test_a_class_that_a_package_hands_out_is_found_where_it_was_written():
    import qlib.contrib.model  # noqa: PLC0415

    assert qlib.contrib.model.LinearModel
    found = classes_in({"class": "LinearModel", "module_path": "qlib.contrib.model"})
    assert "qlib.contrib.model.linear" in found


def test_the_machine_and_the_beginning_of_this_process_are_known():
    assert environment()["python"].startswith(f"{sys.version_info[0]}.")
    assert process_began() > 1_600_000_000_000_000_000

"""The house keeps its floors: imports run downstairs, late imports are the listed ones, words stay in their wing."""

from __future__ import annotations

import ast
import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "qlib"

# Doors that look upstairs: the only entries `ignore_imports` may hold.
UPSTAIRS = {
    "qlib.model.trainer -> qlib.workflow.train",
    "qlib.utils -> qlib.data.dates",
    "qlib.utils.resam -> qlib.data.resam",
    "qlib.utils.data -> qlib.data.dataset.horizon",
}

# Heavy libraries that may be imported inside a function, because a user who only reads prices must not wait for them.
HEAVY = {
    "alembic", "ccxt", "cvxpy", "duckdb", "fire", "jinja2", "joblib", "lightgbm", "markupsafe", "mlflow", "plotly",
    "pyarrow", "aiohttp", "polars", "ray", "requests", "scipy", "sklearn", "sqlalchemy", "tenacity", "tqdm", "yaml",
    "filelock", "matplotlib",
}  # fmt: skip

# Our own modules imported inside a function, each with its reason.
OWN_LATE = {
    ("qlib/__init__.py", "qlib.session"): "the composition root knows every room; `import qlib` must not",
    (
        "qlib/utils/__init__.py",
        "qlib.data",
    ): "trading dates are Qlib's names in qlib.utils, and ask the session's calendar",
    (
        "qlib/contrib/strategy/signal_strategy.py",
        "qlib.contrib.strategy.enhanced_indexing",
    ): "Qlib's path of EnhancedIndexingStrategy, which is built on this module",
    (
        "qlib/utils/data.py",
        "qlib.data.dataset.horizon",
    ): "guess_horizon is Qlib's name in qlib.utils.data, and reads formulas",
}


def late_imports(path: Path) -> list[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    found = []
    for outer in ast.walk(tree):
        if not isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(outer):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found.append((node.lineno, node.module or ""))
    return sorted(set(found))


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_late_import_is_a_listed_one():
    wrong = []
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        for line, module in late_imports(path):
            if module.split(".")[0] in HEAVY or (name, module) in OWN_LATE:
                continue
            wrong.append(f"{name}:{line} imports {module} inside a function")
    assert not wrong, "\n".join(wrong)


def test_only_the_doors_that_look_upstairs_are_ignored():
    settings = configparser.ConfigParser()
    settings.read(ROOT / ".importlinter")
    ignored = {
        line.strip()
        for section in settings.sections()
        for line in settings[section].get("ignore_imports", "").splitlines()
        if line.strip()
    }
    assert ignored == UPSTAIRS


@pytest.mark.parametrize("room", ["data", "model", "backtest", "workflow", "rl", "contrib"])
def test_the_core_never_names_the_wing(room: str):
    word = re.compile("crypto|okx|btc|funding", re.IGNORECASE)
    told = []
    for path in sorted((PACKAGE / room).rglob("*")):
        if path.suffix in {".py", ".pyx", ".hpp", ".html", ".css", ".js"}:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if word.search(line.replace("qlib-crypto", "")):
                    told.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not told, "\n".join(told)


@pytest.mark.parametrize("room", ["data", "model", "analysis", "collect", "backtest", "strategy", "workflow"])
def test_below_contrib_nobody_imports_the_globals(room: str):
    doors = {
        "qlib/data/__init__.py",
        "qlib/data/provider/__init__.py",
        "qlib/workflow/__init__.py",
        "qlib/data/data.py",
    }
    told = []
    for path in sorted((PACKAGE / room).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name in doors:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qlib"):
                told += [f"{name}:{node.lineno} imports {a.name}" for a in node.names if a.name in {"C", "D", "R"}]
    assert not told, "\n".join(told)


def test_no_eval_exec_or_shell_in_the_package():
    told = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in {"eval", "exec", "os.system", "os.popen"}:
                    told.append(f"{path.relative_to(ROOT)}:{node.lineno} calls {called}")
                if any(k.arg == "shell" for k in node.keywords):
                    told.append(f"{path.relative_to(ROOT)}:{node.lineno} passes shell=")
    assert not told, "\n".join(told)

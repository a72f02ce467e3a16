"""docs/component/expressions.md: every operator is there, with its arguments and facts, and every number is computed.

Blocks marked `none` are tables of numbers; columns go in, formulas come out:

    bar             1    2    3       one instrument, day by day
    $x              1    .    4       a stored column; `.` is NaN, `-` is no row
    Mean($x, 2)     1    1    2.5     what D.features answers, to the digits that are shown

With `instrument` instead of `bar` there is one bar of several instruments, with `time` the bars stand at these times.
`b:$x` is a column of the instrument b, `$$x_q 202301` what is announced of a quarter; a formula after `compat` is
answered with compat="qlib".
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qlib.config import build_settings
from qlib.data import ops
from qlib.data.expression import OPERATORS, parse
from qlib.data.expression.node import Operator, walk
from qlib.data.expression.operators.comparison import If
from qlib.data.expression.operators.crosssection import CrossSection
from qlib.data.expression.operators.elementwise import Elementwise
from qlib.data.expression.operators.fewer_rows import FewerRows
from qlib.data.expression.operators.resample import TResample
from qlib.data.expression.operators.rolling import Windowed
from qlib.data.provider import Provider
from qlib.data.storage.pit import pit_path, write_pit
from qlib.data.storage.writer import write_store
from qlib.errors import ExpressionError, InputError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "component" / "expressions.md").read_text()
BLOCKS = re.findall(r"^```none\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
COLUMN = re.compile(r"(?:(\w+):)?\$(\w+)")
REPORTED = re.compile(r"\$\$(\w+) ([0-9]+)")
SELF = "a"  # the instrument that a block is about


@dataclass(frozen=True)
class Line:
    """A column that is stored, or a formula with what it answers."""

    label: str
    cells: tuple[str, ...]

    @property
    def given(self) -> bool:
        return bool(COLUMN.fullmatch(self.label) or REPORTED.fullmatch(self.label))


@dataclass(frozen=True)
class Block:
    kind: str
    titles: tuple[str, ...]
    lines: tuple[Line, ...]

    @classmethod
    def of(cls, text: str) -> Block:
        head, *rest = text.splitlines()
        kind, *titles = head.split()
        assert kind in ("bar", "instrument", "time"), head
        lines = []
        for line in rest:
            match = re.fullmatch(rf"(\S.*?)((?:\s+\S+){{{len(titles)}}})\s*", line)
            assert match, f"{line} does not have {len(titles)} cells"
            lines.append(Line(match[1], tuple(match[2].split())))
        return cls(kind, tuple(titles), tuple(lines))

    @property
    def formulas(self) -> list[tuple[str, str | None]]:
        """The formulas, each with its rules."""
        return [_rules(line.label) for line in self.lines if not line.given]

    def index(self) -> pd.DatetimeIndex:
        if self.kind == "time":
            return pd.DatetimeIndex([f"2024-01-{title}" for title in self.titles])
        return pd.date_range("2024-01-01", periods=len(self.titles) if self.kind == "bar" else 1)

    def frames(self) -> dict[str, pd.DataFrame]:
        """Return the stored columns of each instrument."""
        index = self.index()
        columns: dict[str, dict[str, list[str]]] = {SELF: {}} if self.kind != "instrument" else {}
        for line in self.lines:
            if match := COLUMN.fullmatch(line.label):
                if self.kind == "instrument":
                    for name, cell in zip(self.titles, line.cells, strict=True):
                        columns.setdefault(name, {})[match[2]] = [cell]
                else:
                    columns.setdefault(match[1] or SELF, {})[match[2]] = list(line.cells)
        frames = {}
        for name, own in columns.items():
            cells = pd.DataFrame(own or {"nothing": ["."] * len(index)}, index=index)
            stored = cells[(cells != "-").any(axis=1)]
            frames[name] = stored.replace({".": "nan", "-": "nan"}).astype("f4")
        return frames

    def store(self, root: Path) -> str:
        """Write what is given, and return its bar size."""
        freq = "60min" if self.kind == "time" else "day"
        write_store(self.frames(), root, freq)
        announced: dict[str, list[tuple[str, int, float]]] = {}
        for line in self.lines:
            if match := REPORTED.fullmatch(line.label):
                told = [
                    (str(day.date()), int(match[2]), cell) for day, cell in zip(self.index(), line.cells, strict=True)
                ]
                announced.setdefault(match[1], []).extend((d, p, float(c)) for d, p, c in told if c != ".")
        for field, records in announced.items():
            write_pit(pit_path(root, SELF, field), sorted(records, key=lambda record: record[0]))
        return freq

    def answers(self, line: Line, root: Path, freq: str) -> list[object]:
        """Return what a formula answers under each title, None where there is no row."""
        formula, compat = _rules(line.label)
        provider = Provider(build_settings(provider_uri=root, compat=compat, kernels=1))
        names = self.titles if self.kind == "instrument" else [SELF]
        column = provider.features(list(names), [formula], freq=freq).iloc[:, 0]
        places = [(name, self.index()[0]) for name in names] if self.kind == "instrument" else None
        places = places or [(SELF, time) for time in self.index()]
        return [column.get(place) for place in places]


def _rules(label: str) -> tuple[str, str | None]:
    return (label.removeprefix("compat ").strip(), "qlib") if label.startswith("compat ") else (label, None)


def agrees(cell: str, answer: object) -> bool:
    """Tell whether a cell shows the answer, to its last digit."""
    if answer is None or cell == "-":
        return answer is None and cell == "-"
    if not isinstance(answer, float | np.floating):
        return cell == str(answer)
    if cell == "." or not np.isfinite(float(answer)):
        return str(float(answer)) == {".": "nan"}.get(cell, cell)
    digits = len(cell.partition(".")[2])
    return abs(float(cell) - float(answer)) <= 0.500001 * 10.0**-digits


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: text.splitlines()[-1].split("  ")[0])
def test_the_numbers_of_a_block_are_computed(text: str, tmp_path: Path):
    block = Block.of(text)
    root = tmp_path / "store"
    freq = block.store(root)
    wrong = []
    for line in block.lines:
        if not line.given:
            answers = block.answers(line, root, freq)
            if not all(agrees(cell, answer) for cell, answer in zip(line.cells, answers, strict=True)):
                wrong.append(f"{line.label}: the page shows {' '.join(line.cells)}, computed {answers}")
    assert not wrong, "\n".join(wrong)


# ------------------------------------------------------------------------------------------------ every operator
def tables() -> list[list[list[str]]]:
    """Return the tables of the page, each as rows of cells, the first row with the titles."""
    found: list[list[list[str]]] = [[]]
    for line in PAGE.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif found[-1]:
            found.append([])
    return [[head, *rows] for head, _, *rows in filter(None, found)]


def entries() -> dict[str, dict[str, str]]:
    """Return of each operator what its row says, by the title of the column; `call` is how it is called."""
    found = {}
    for (first, *titles), *rows in tables():
        if first == "operator":
            for call, *cells in rows:
                name = call.strip("`").partition("(")[0]
                assert name not in found, f"{name} has two entries"
                found[name] = {"call": call.strip("`"), **dict(zip(titles, cells, strict=True))}
    return found


def called(name: str) -> str:
    """Return how an operator is called, as Python writes it."""
    parameters = inspect.signature(getattr(ops, name)).parameters.values()
    return f"{name}({', '.join(str(p.replace(annotation=p.empty)) for p in parameters)})"


def facts(declared: type[Operator]) -> set[str]:
    """Return which facts an operator owes its reader."""
    if issubclass(declared, Windowed):
        return {"formula", "missing", "ddof", "ties", "start"}
    if issubclass(declared, CrossSection):
        return {"formula", "missing", "ddof", "ties"}
    beyond = not issubclass(declared, Elementwise | If)
    return {"formula", "missing"} | ({"start"} if beyond else set()) | ({"ddof"} if declared is TResample else set())


def used(formula: str) -> set[str]:
    """Return the operators of a formula, by sign or by name."""
    root = parse(formula)
    if isinstance(root, FewerRows):
        root = root.root
    return {type(node).__name__ for node in walk(root, everywhere=True)} | set(re.findall(r"(\w+)\(", formula))


def test_every_operator_has_an_entry_and_no_entry_lacks_an_operator():
    assert sorted(entries()) == sorted(OPERATORS)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_an_entry_says_how_it_is_called_and_every_fact(name: str):
    entry = entries()[name]
    assert re.sub(r"=None\b", "", entry["call"]) == called(name)
    assert facts(OPERATORS[name]) <= set(entry)
    assert all(entry.values()), "a fact that does not apply is a dash"


def test_every_operator_has_an_example_by_the_default_rules():
    shown = {
        name for text in BLOCKS for formula, compat in Block.of(text).formulas if not compat for name in used(formula)
    }
    assert set(OPERATORS) - shown == set()


def test_whatever_answers_differently_under_compat_is_named(tmp_path: Path):
    section = PAGE.partition("## Qlib's numbers")[2].partition("\n## ")[0]
    wrong, differ = [], 0
    for place, text in enumerate(BLOCKS):
        block = Block.of(text)
        root = tmp_path / str(place)
        freq = block.store(root)
        for line in block.lines:
            if line.given or line.label.startswith("compat "):
                continue
            try:
                theirs = block.answers(Line(f"compat {line.label}", line.cells), root, freq)
            except ExpressionError:
                continue
            except InputError as error:  # days of another length than Qlib's
                assert "DayCumsum" in str(error)
                theirs = []
            if not all(agrees(cell, answer) for cell, answer in zip(line.cells, theirs, strict=False)) or not theirs:
                differ += 1
                words = {*used(line.label), *(["a < b < c"] if line.label.count("<") > 1 else [])}
                if not any(f"`{word}" in section for word in words):
                    wrong.append(line.label)
    assert wrong == [] and differ > 10


def test_what_looks_ahead_without_a_negative_number_is_said_so():
    for name, text in {"DayLast": "DayLast($x)", "BFillNan": "BFillNan($x)", "Ref": "Ref($x,-1)"}.items():
        assert "**looks ahead**" in entries()[name]["formula"] and parse(text).span.ahead > 0
    quiet = set(OPERATORS) - {"DayLast", "BFillNan", "Ref", "Delta"}
    assert not any("looks ahead" in entries()[name]["formula"] for name in quiet)

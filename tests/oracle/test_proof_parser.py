"""Hostile text: whatever is typed becomes a Node or an ExpressionError, soon, and nothing else happens.

The inputs come from a seeded generator, so a failure names the seed that repeats it.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from conftest import SHARED
from proof import cases
from world import formula, world

from qlib.contrib.data.loader import Alpha158DL, Alpha360DL
from qlib.data.expression import OPERATORS, Span, build_plan, evaluate, parse
from qlib.data.expression.grammar import DEEPEST, LONGEST, WORDIEST
from qlib.data.expression.node import WRITTEN, Node, walk
from qlib.data.panel import Panel
from qlib.errors import ExpressionError, QlibError

SECONDS = 1.0  # of CPU for one text, however long; the longest that is allowed takes a third of it
READINGS = 3  # a text is slow if it is so every time: a reading may hold the garbage of a thousand earlier tests
COMPATS = (None, "qlib")

FIELDS = [
    "$close",
    "$open",
    "$high",
    "$low",
    "$volume",
    "$x",
    "$y",
    "$1day",
    "$收盘价",
    "$、",
    "$$roe_q",
    "$$roe_a",
    "$$x",
]
NUMBERS = [
    "0",
    "1",
    "2",
    "5",
    "-1",
    "-3",
    "20",
    "60",
    "0.5",
    "-0.5",
    "1e-320",
    "1e308",
    "1e309",
    "1e-12",
    ".5",
    "5.",
    "9007199254740993",
    "9999999",
    "10000000",
    "10000001",
    "201903",
    "2019",
    "201905",
    "0x10",
    "1_000",
    "٣",
    "1e",
    "1e+",
    "1.2.3",
    "0.9999999999999999",
    "99999999999999999999999999999999999999999",
]
TEXTS = [
    "'a'",
    "'SH600000'",
    "''",
    "'60min'",
    "'week'",
    "'0min'",
    "'999999Y'",
    "'36h'",
    "'sum'",
    "'mean'",
    "'rank'",
    "'nunique'",
    "'group'",
    "'centre'",
    "'9:30'",
    "'24:00'",
    "'../x'",
    "'\\0'",
    '"b"',
    '"it\'s"',
    "'quantile'",
    "'😀'",
]
WORDS = [
    "None",
    "True",
    "False",
    "and",
    "or",
    "not",
    "if",
    "lambda",
    "__import__",
    "eval",
    "os.system",
    "close",
    "N",
    "feature",
    "window",
    "Feature",
    "PFeature",
]
SIGNS = [
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "<",
    "<=",
    ">",
    ">=",
    "==",
    "!=",
    "&",
    "|",
    "~",
    "=",
    "(",
    ")",
    ",",
    ".",
    ";",
    ":",
    "[",
    "]",
    "{",
    "}",
    "?",
    "!",
    "@",
    "#",
    "\\",
    "`",
    "'",
    '"',
    "$",
    "$$",
]
SPACES = [" ", "\t", "\n", "\r\n", "\x00", "\u00a0", "\u2028", "\ufeff", "\u200b"]


@cache
def real() -> tuple[str, ...]:
    """Formulas that people use: Alpha158, Alpha360, and the goldens where they are at hand."""
    known = [*Alpha158DL.get_feature_config()[0], *Alpha360DL.get_feature_config()[0]]
    goldens = SHARED / "goldens/public/cases/expressions.json"
    if goldens.exists():
        known += [field["f"] for case in json.loads(goldens.read_text()) for field in case.get("fields", [])]
    return tuple(dict.fromkeys(known))


# ------------------------------------------------------------------------------------------------ the makers of texts
def characters(r: random.Random) -> str:
    kind = r.randrange(4)
    if kind == 0:  # bytes read as if they were text
        return bytes(r.randrange(256) for _ in range(r.randrange(80))).decode(r.choice(["latin-1", "utf-8"]), "replace")
    top = (0x7F, 0x2FFF, 0x10FFFF)[kind - 1]
    return "".join(chr(r.randrange(top)) for _ in range(r.randrange(80)))


def token(r: random.Random) -> str:
    pool = r.choice((FIELDS, FIELDS, NUMBERS, TEXTS, WORDS, SIGNS, SIGNS, SIGNS, SPACES, tuple(OPERATORS)))
    return r.choice(pool)


def tokens(r: random.Random) -> str:
    return r.choice(["", " "]).join(token(r) for _ in range(r.randrange(30)))


def mutated(r: random.Random) -> str:
    """A real formula with some characters, tokens or pieces removed, doubled, exchanged or put in."""
    text = r.choice(real())
    for _ in range(r.randrange(1, 5)):
        a, b = sorted(r.randrange(len(text) + 1) for _ in range(2))
        piece = text[a:b]
        kind = r.randrange(7)
        if kind == 0:
            text = text[:a] + text[b:]
        elif kind == 1:
            text = text[:b] + piece + text[b:]
        elif kind == 2:
            text = text[:a] + token(r) + text[a:]
        elif kind == 3:
            text = text[:a] + token(r) + text[min(a + 1, len(text)) :]
        elif kind == 4:
            text = text[:a] + piece[::-1] + text[b:]
        elif kind == 5:
            other = r.choice(real())
            text = text[:a] + other[r.randrange(len(other)) :]
        else:
            text = re.sub(r"\d+", lambda _: r.choice(NUMBERS), text, count=r.randrange(1, 3))
    return text


def argument(r: random.Random, depth: int) -> str:
    kind = r.randrange(10)
    if kind < 4:
        return r.choice(FIELDS) if depth <= 0 or r.random() < 0.5 else call(r, depth - 1)
    if kind < 6:
        return r.choice(NUMBERS)
    if kind == 6:
        return r.choice(TEXTS)
    if kind == 7:
        return r.choice(WORDS)
    sides = argument(r, depth - 1) if depth > 0 else r.choice(FIELDS), r.choice(NUMBERS + FIELDS)
    return f"{sides[0]}{r.choice(SIGNS[:16])}{sides[1]}"


def call(r: random.Random, depth: int = 2) -> str:
    """Any operator with arguments of any kind, by place or by name, too few or too many."""
    name = r.choice(tuple(OPERATORS))
    parameters = OPERATORS[name].parameters
    count = len(parameters) if r.random() < 0.8 else r.randrange(len(parameters) + 3)
    written = []
    for place in range(count):
        value = argument(r, depth)
        if r.random() < 0.15 and parameters:
            named = parameters[min(place, len(parameters) - 1)].name if r.random() < 0.8 else r.choice(WORDS)
            value = f"{named}={value}"
        written.append(value)
    return f"{name}({','.join(written)})"


def fitting(r: random.Random) -> str:
    """A formula of operators with arguments that they are likely to take."""
    return formula(r, r.randrange(1, 6))


def nested(r: random.Random) -> str:
    """Brackets inside brackets, closed or not, up to the longest formula that is allowed and beyond."""
    opening = r.choice(["(", "Abs(", "-", "~", "2**", "Mean(", "$x+(", "If(", "[", "P(", "((((", "Mean(N=", "'", "1<"])
    times = r.choice([r.randrange(DEEPEST // 4), r.randrange(3 * DEEPEST), r.randrange(LONGEST // len(opening) + 100)])
    closing = ")" * r.choice([0, times - 1, times, times + 1, r.randrange(times + 2)])
    return opening * times + r.choice(["$x", "", "1", "Mean($x,3)"]) + closing


def numeric(r: random.Random) -> str:
    """Numbers that do not fit, alone and folded."""
    digits = "".join(r.choice("0123456789.eE+-_") for _ in range(r.choice([3, 20, 45, 400])))
    power = f"{r.randrange(10**16)}**{r.choice([2, 17, 63, 64, 65, 400])}"
    towers = f"({power})**{r.randrange(70)}", f"9**9**{r.randrange(12)}", f"1/{r.randrange(3)}"
    before = r.choice(["$x*", "$x>", "Power($x,", "Ref($x,", "Mean($x,", "If($x,1,", ""])
    return f"{before}({r.choice([digits, power, *towers])}{r.choice([')', '))'])}"


def long(r: random.Random) -> str:
    """Thousands of terms, arguments or digits, around the longest formula that is allowed."""
    piece = r.choice(["$x+", "$x-", "$x,", "1+", "Mean($x,5)*", " ", "a", "$", "'a',", "N=1,", "1<", "-", "9", "$x**"])
    many = piece * (r.choice([500, 5000, LONGEST + 10]) // len(piece))
    return r.choice(["", "Add(", "Mean(", "CSNeutralize($x,"]) + many + r.choice(["$x", "", ")", "$x)", "?"])


def repeated(r: random.Random) -> str:
    """Short texts of formulas whose parts stand in several places: written out, they would fill the memory."""
    text = r.choice(["$x", "$x>1", "$$a_q", "Mask($x,'b')", "Select($x>1,$y)"])
    for _ in range(r.randrange(DEEPEST)):
        how = r.choice(["Rolling({},5,'sem')", "Rolling({},5,'rank')", "Rolling({},0,'corr')", "0<({})<2"])
        text = how.format(text)
    return r.choice(["{}", "P({})", "PRef({},201905)", "PRef({},2019)", "Mask(CSRank({}),'b')"]).format(text)


MAKERS: dict[Callable[[random.Random], str], tuple[int, int]] = {  # how many texts: in CI, and in all
    characters: (1500, 40_000),
    tokens: (1500, 50_000),
    mutated: (1500, 60_000),
    call: (2000, 60_000),
    fitting: (1500, 40_000),
    nested: (80, 1_000),
    numeric: (400, 8_000),
    long: (60, 2_000),
    repeated: (100, 2_000),
}
assert sum(many for _, many in MAKERS.values()) >= 200_000


# ------------------------------------------------------------------------------------------------ what must hold
class Watch:
    """What Python does behind the scenes, while `on`: running code, opening files, starting processes."""

    WATCHED = ("exec", "compile", "import", "open", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "shutil.")

    def __init__(self) -> None:
        self.on, self.seen = False, []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.on and event.startswith(self.WATCHED):
            self.seen.append((event, str(arguments)[:200]))


@pytest.fixture(scope="module")
def watch() -> Watch:
    parse("Mean($x,5)")
    with pytest.raises(ExpressionError):
        parse("Maen($x,5)")  # what looks for the nearest name is imported at its first use
    return Watch()


def understood(text: str, compat: str | None, watch: Watch) -> Node | None:
    """Parse the text, and check all that is promised of any text."""

    def read() -> Node | ExpressionError:
        watch.on = True
        try:
            return parse(text, compat=compat)
        except ExpressionError as error:
            return error
        finally:
            watch.on = False

    found = soon(read)
    assert not watch.seen, watch.seen
    if isinstance(found, ExpressionError):
        assert 0 <= found.column <= len(found.text) or not found.text
        assert len(found.why) <= WORDIEST + 3 and len(found.hint) <= WORDIEST + 3 and len(found.text) < 130
        return None
    assert isinstance(found, Node) and isinstance(found.span, Span) and found.span.back >= 0 and found.span.ahead >= 0
    assert len(text) <= LONGEST
    written = soon(lambda: str(found))
    assert len(written) <= WRITTEN
    if len(written) <= LONGEST and "'" not in text and '"' not in text and not deeper(found):
        assert parse(written, compat=compat) is found  # but quotes inside texts have no spelling
    return found


def soon(job: Callable[[], Any]) -> Any:
    """Return what a job returns; it must take less than SECONDS of CPU."""
    took: list[float] = []
    while not took or (took[-1] >= SECONDS and len(took) < READINGS):
        found = None  # nothing of the reading before lives on
        began = time.thread_time()
        found = job()
        took.append(time.thread_time() - began)
    assert took[-1] < SECONDS, f"{took} seconds"
    return found


def deeper(node: Node) -> bool:
    """Tell whether a node's canonical text is nested deeper than the parser reads: it is, of a long sum."""
    depth: dict[Node, int] = {}
    for one in walk(node, everywhere=True):
        depth[one] = 1 + max((depth[child] for child in one.children), default=0)
    return depth[node] >= DEEPEST


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_any_text_becomes_a_node_or_an_expression_error(maker, watch):
    """8,640 texts in CI, 263,000 in `make proof`, each by our rules and by Qlib's."""
    read = 0
    for seed in range(cases(*MAKERS[maker])):
        text = maker(random.Random(f"{maker.__name__} {seed}"))
        for compat in COMPATS:
            try:
                read += understood(text, compat, watch) is not None
            except BaseException as problem:
                problem.add_note(f"{maker.__name__} {seed}, compat={compat}: {text[:300]!r}")
                raise
    if maker in (mutated, call, fitting):
        assert read > 0, "some of them are formulas"


# ------------------------------------------------------------------------------------------ what can be read, runs


@cache
def ground() -> Panel:
    return world(0, instruments=4, days=3)


def panel_for(columns: tuple[str, ...], r: random.Random) -> Panel:
    """Return a small panel with such columns: any numbers at all, the odd ones often."""
    panel = ground()
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1e-30, 3e38, -1.0, 2.0**24], "f4")
    made = {}
    for name in columns:
        rng = np.random.default_rng(r.randrange(2**32))
        plain = rng.normal(size=panel.rows).astype("f4")
        made[name] = np.where(rng.random(panel.rows) < 0.3, rng.choice(odd, panel.rows), plain)
    return replace(panel, columns=made)


def test_whatever_can_be_read_becomes_a_program_and_runs():
    """3,000 texts in CI and 60,000 in `make proof`, each in both modes: no crash, no hang, the right shape.

    Formulas that look 100,000 rows ahead and more are planned, and not run: they keep as many rows in memory.
    """
    ran = 0
    for seed in range(cases(1000, 20_000)):
        for maker in (mutated, call, fitting):
            r = random.Random(f"{maker.__name__} run {seed}")
            text, compat = maker(r), r.choice(COMPATS)
            try:
                ran += runs(text, compat, r)
            except BaseException as problem:
                problem.add_note(f"{maker.__name__} run {seed}, compat={compat}: {text[:300]!r}")
                raise
    assert ran > cases(800, 16_000)


def runs(text: str, compat: str | None, r: random.Random) -> bool:
    """Plan and run the text; tell whether it came to numbers."""
    try:
        plan = build_plan([text, text], compat=compat)
    except ExpressionError:
        return False
    assert plan.phases[-1].roots == plan.roots
    if 100_000 < plan.span.ahead < np.inf or len(plan.nodes) > 300:
        return False
    panel = panel_for(plan.reads, r)
    began = time.thread_time()
    try:
        with np.errstate(all="ignore"):
            first, second = evaluate(plan, panel, query=r.choice([None, (3, 9)]))
    except QlibError:  # another instrument's data are missing, a day has not the bars of Qlib's
        return False
    assert time.thread_time() - began < SECONDS
    assert first.dtype == np.float32 and first.shape == (panel.rows,)
    np.testing.assert_array_equal(first, second)
    return True

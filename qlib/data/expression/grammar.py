"""Text of a field -> node.

    $close            a stored field      Mean($close, 5)   an operator
    $$roe_q           a point-in-time     $close > 1 & $x   Python's precedence
    1.5  'SH000300'   a number, a text    N=5               an argument by name

A hand-written precedence parser: nothing is evaluated, nothing is looked up but the table of operators, and every
token knows its column, so an error points at the character that is wrong.  A formula is hostile until it is parsed: its
length and depth have limits, and only nesting uses the stack (a sum of a thousand terms does not).

What Qlib's formulas cannot say and these can: unary minus and plus, `~x`, `a // b`, `a % b`, `a < b < c`.  With
compat="qlib" those are refused, as Qlib does.
"""

from __future__ import annotations

import math
import operator as python
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from qlib.data.expression.node import Column, Node, NodeError, Operator, Scalar
from qlib.data.expression.pit import OverPeriods, PFeature, outside
from qlib.data.expression.registry import OPERATORS, REWRITES
from qlib.errors import ExpressionError, did_you_mean

LONGEST: Final = 50_000  # characters of one formula
DEEPEST: Final = 100  # brackets inside brackets
WORDIEST: Final = 1000  # characters of what an error says of it

_NAME = r"[\w\u3001\uff1a\uff08\uff09]+"
_TOKEN = re.compile(
    rf"\s*(?:(?P<period>\$\${_NAME})|(?P<field>\${_NAME})"
    r"|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<sign>\*\*|//|[<>=!]=|[-+*/%<>&|~(),=])"
    r"|(?P<end>\Z))"
)
_WORDS: Final = {"None": None, "True": True, "False": False}
_LEAVES: Final = {"Feature": 'Feature("close")', "PFeature": 'PFeature("roe_q")'}
_INSTEAD: Final = {"and": "&", "or": "|", "not": "~ or Not(...)"}


@dataclass(frozen=True, slots=True)
class _Sign:
    """An infix sign: how tightly it binds (Python's order), what it means, and Python's own for two numbers."""

    power: int
    operator: str
    fold: Callable[[Any, Any], Any]
    reflected: str = ""  # the operator after swapping sides, for a number on the left
    addition: bool = False


_INFIX: Final = {
    "<": _Sign(10, "Lt", python.lt, "Gt"),
    "<=": _Sign(10, "Le", python.le, "Ge"),
    ">": _Sign(10, "Gt", python.gt, "Lt"),
    ">=": _Sign(10, "Ge", python.ge, "Le"),
    "==": _Sign(10, "Eq", python.eq, "Eq"),
    "!=": _Sign(10, "Ne", python.ne, "Ne"),
    "|": _Sign(20, "Or", python.or_),
    "&": _Sign(30, "And", python.and_),
    "+": _Sign(40, "Add", python.add),
    "-": _Sign(40, "Sub", python.sub),
    "*": _Sign(50, "Mul", python.mul, "Mul"),
    "/": _Sign(50, "Div", python.truediv),
    "//": _Sign(50, "FloorDiv", python.floordiv, addition=True),
    "%": _Sign(50, "Mod", python.mod, addition=True),
    "**": _Sign(70, "Power", python.pow),
}
_COMPARISON: Final = 10
_UNARY: Final = 60


def parse(text: str, *, compat: str | None = None, registry: Mapping[str, type[Operator]] | None = None) -> Node:
    """Parse one field.

    Parameters
    ----------
    text
        The formula; spaces are free.
    compat
        "qlib" for nodes that follow Qlib's numbers and limits.
    registry
        The operators that may be called; OPERATORS by default.

    Raises
    ------
    ExpressionError
        At the first column that is wrong.

    >>> str(parse("2 * $close > Mean( $open,N=5 )"))
    'Gt(Mul($close,2),Mean($open,5))'
    """
    parser = _Parser(text, compat, OPERATORS if registry is None else registry)
    value = parser.expression(0)
    parser.expect("end")
    if not isinstance(value, Node):
        raise parser.error("a field reads at least one column", 0, "a column is written $close")
    for change in REWRITES:
        value = change(value)
    return value


class _Token(NamedTuple):
    kind: str
    value: str
    column: int


class _Parser:
    def __init__(self, text: str, compat: str | None, registry: Mapping[str, type[Operator]]) -> None:
        self.text, self.compat, self.registry = text, compat, registry
        if len(text) > LONGEST:
            raise self.error(f"the formula has {len(text)} characters, allowed are {LONGEST}", 0)
        self.tokens = self._scan()
        self.at = 0
        self.depth = 0
        self.over_periods = 0  # calls of P and PRef that are open

    # -------------------------------------------------------------------------------------------- tokens
    def _scan(self) -> list[_Token]:
        text, column = self.text, 0
        tokens: list[_Token] = []
        while (match := _TOKEN.match(text, column)) is not None:
            kind = str(match.lastgroup)
            value, column = match[kind], match.end()
            if kind == "end":
                return [*tokens, _Token("end", "the end of the formula", column)]
            tokens.append(_Token(value if kind == "sign" else kind, value, column - len(value)))
        column = len(text) - len(text[column:].lstrip())
        raise self.error(f"unexpected character {text[column]!r}", column)

    def peek(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def expect(self, kind: str) -> _Token:
        token = self.take()
        if token.kind != kind:
            wanted = "the formula to end" if kind == "end" else f"`{kind}`"
            raise self.error(f"expected {wanted}, found {token.value}", token.column, _advice(token))
        return token

    def error(self, why: str, column: int, hint: str = "") -> ExpressionError:
        """Return the error; of a long formula only the surroundings are shown."""
        text, left = self.text, max(0, column - 60)
        shown = text[left : column + 60]
        shown = ("..." if left else "") + shown + ("..." if column + 60 < len(text) else "")
        shown = re.sub(r"\s", " ", shown)
        return ExpressionError(_short(why), shown, column - left + (3 if left else 0), _short(hint))

    # -------------------------------------------------------------------------------------------- expressions
    def expression(self, floor: int) -> Node | Scalar:
        """Parse as long as signs bind tighter than `floor`."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error(f"brackets or signs are nested more than {DEEPEST} deep", self.peek().column)
        left = self.operand()
        while (sign := _INFIX.get(self.peek().kind)) is not None and sign.power > floor:
            token = self.take()
            if sign.power == _COMPARISON:
                left = self.comparisons(left, sign, token)
            else:
                right = self.expression(_UNARY if sign.operator == "Power" else sign.power)
                left = self.infix(sign, token, left, right)
        self.depth -= 1
        return left

    def comparisons(self, left: Node | Scalar, sign: _Sign, token: _Token) -> Node | Scalar:
        """Parse the rest of `a < b < c`: every neighbouring pair must hold (Qlib keeps the last pair only)."""
        right = self.expression(_COMPARISON)
        result = self.infix(sign, token, left, right)
        while (sign_ := _INFIX.get(self.peek().kind)) is not None and sign_.power == _COMPARISON:
            token, left = self.take(), right
            right = self.expression(_COMPARISON)
            last = self.infix(sign_, token, left, right)
            result = last if self.compat else self.infix(_INFIX["&"], token, result, last)
        return result

    def infix(self, sign: _Sign, token: _Token, left: Node | Scalar, right: Node | Scalar) -> Node | Scalar:
        if sign.addition and self.compat:
            raise self.error(f"Qlib has no {token.value} between formulas", token.column)
        for side in (left, right):
            if side is None or isinstance(side, str):
                raise self.error(f"{token.value} joins formulas and numbers, received {side!r}", token.column)
        if isinstance(left, Node) or isinstance(right, Node):
            name = sign.operator
            if sign.reflected and not isinstance(left, Node):
                name, left, right = sign.reflected, right, left
            return self.call(name, token.column, [left, right], {}, [])
        return self.folded(sign, token, left, right)

    def folded(self, sign: _Sign, token: _Token, left: Any, right: Any) -> Scalar:
        """Two numbers joined by a sign are one number."""
        if sign.operator == "Power":
            left = float(left) if abs(right) > 64 or right < 0 else left
        try:
            value = sign.fold(left, right)
        except (ArithmeticError, TypeError, ValueError) as problem:
            raise self.error(f"{left} {token.value} {right} cannot be computed: {problem}", token.column) from problem
        return self.number(value, token.column)

    def number(self, value: Any, column: int) -> Scalar:
        """Return a number that fits the machine."""
        if isinstance(value, int) and abs(value) >= 2**53:
            try:
                value = float(value)
            except OverflowError:
                value = math.inf
        if isinstance(value, complex) or not math.isfinite(value):
            raise self.error(f"the number is not finite: {value}", column)
        return value

    def operand(self) -> Node | Scalar:
        token = self.take()
        match token.kind:
            case "field":
                return Column(token.value[1:].lower())
            case "period":
                return self.reported(token.value[2:], token.column)
            case "number":
                return self.literal(token)
            case "text":
                return token.value[1:-1]
            case "name" if token.value in _WORDS:
                return _WORDS[token.value]
            case "name":
                return self.named(token)
            case "-" | "+" | "~":
                return self.unary(token)
            case "(":
                inner = self.expression(0)
                self.expect(")")
                return inner
        raise self.error(f"expected a value, found {token.value}", token.column)

    def literal(self, token: _Token) -> Scalar:
        if len(token.value) > 40:
            raise self.error(f"a number of {len(token.value)} characters, allowed are 40", token.column)
        whole = token.value.isdigit()
        return self.number(int(token.value) if whole else float(token.value), token.column)

    def unary(self, token: _Token) -> Node | Scalar:
        value = self.expression(_UNARY)
        if value is None or isinstance(value, str):
            raise self.error(f"{token.value} needs a formula or a number, received {value!r}", token.column)
        if isinstance(value, Node):
            if self.compat:
                raise self.error(f"Qlib has no {token.value} before a formula", token.column, "write 0-x or Not(x)")
            if token.kind == "+":
                return value
            if token.kind == "~":
                return self.call("Not", token.column, [value], {}, [])
            return self.call("Sub", token.column, [0, value], {}, [])
        if token.kind == "~":
            raise self.error("~ needs a formula", token.column)
        return -value if token.kind == "-" else +value

    # -------------------------------------------------------------------------------------------- calls
    def named(self, token: _Token) -> Node:
        name = token.value
        if self.peek().kind != "(":
            if name in _INSTEAD:
                raise self.error(f"expected a value, found {name}", token.column, f"write {_INSTEAD[name]}")
            raise self.error(f"{name} is neither a column nor a call", token.column, f"a column is written ${name}")
        if name not in _LEAVES and name not in self.registry:
            known = [*self.registry, *_LEAVES]
            near = did_you_mean(name, known).removeprefix("; ")
            hint = near[:1].upper() + near[1:] if near else f"Known are {', '.join(sorted(known))}"
            raise self.error(f"no operator is called {name}", token.column, hint)
        over_periods = name not in _LEAVES and issubclass(self.registry[name], OverPeriods)
        self.over_periods += over_periods
        positional, named, columns = self.arguments()
        self.over_periods -= over_periods
        if name in _LEAVES:
            return self.feature(token, positional, named)
        return self.call(name, token.column, positional, named, columns)

    def arguments(self) -> tuple[list[Node | Scalar], dict[str, Node | Scalar], list[int]]:
        self.expect("(")
        positional: list[Node | Scalar] = []
        named: dict[str, Node | Scalar] = {}
        columns: list[int] = []
        while self.peek().kind != ")":
            token = self.peek()
            columns.append(token.column)
            if token.kind == "name" and self.tokens[self.at + 1].kind == "=":
                self.at += 2
                if token.value in named:
                    raise self.error(f"argument {token.value} is given twice", token.column)
                named[token.value] = self.expression(0)
            elif named:
                raise self.error("an argument without a name stands after one with a name", token.column)
            else:
                positional.append(self.expression(0))
            if self.peek().kind != ")":
                self.expect(",")
        self.expect(")")
        return positional, named, columns

    def feature(self, token: _Token, positional: list[Node | Scalar], named: dict[str, Node | Scalar]) -> Node:
        given = [*positional, *named.values()]
        if len(given) != 1 or set(named) - {"name"} or not isinstance(given[0], str):
            raise self.error(f"{token.value} takes one name in quotes: {_LEAVES[token.value]}", token.column)
        if token.value == "PFeature":
            return self.reported(given[0], token.column)
        if re.fullmatch(_NAME, given[0]) is None:
            raise self.error(f"{given[0]!r} is not the name of a column: letters, digits and _", token.column)
        return Column(given[0].lower())

    def reported(self, name: str, column: int) -> Node:
        try:
            field = PFeature(name.lower())
        except NodeError as problem:
            raise self.error(problem.why, column) from None
        if not self.over_periods:
            raise self.error(outside(str(field)), column)
        return field

    def call(
        self,
        name: str,
        column: int,
        positional: list[Node | Scalar],
        named: dict[str, Node | Scalar],
        columns: list[int],
    ) -> Node:
        """Make the node; its complaint is shown under the argument that it is about."""
        try:
            return self.registry[name].bind(positional, named, compat=self.compat)
        except NodeError as problem:
            at = problem.argument
            where = columns[at] if at is not None and at < len(columns) else column
            raise self.error(problem.why, where) from None


def _short(said: str) -> str:
    return said if len(said) <= WORDIEST else f"{said[:WORDIEST]}..."


def _advice(token: _Token) -> str:
    return f"write {_INSTEAD[token.value]}" if token.value in _INSTEAD else ""

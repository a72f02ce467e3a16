"""Operators that users write in Qlib's style: Python code that is called for one instrument after the other.

    class Above(ElemOperator):                                          qlib.init(custom_ops=[Above])
        def _load_internal(self, instrument, start_index, end_index, *args):
            series = self.feature.load(instrument, start_index, end_index, *args)
            return series > series.rolling(20, min_periods=1).mean()
        def get_extended_window_size(self):
            left, right = self.feature.get_extended_window_size()
            return left + 19, right

In a plan such an operator is an opaque node: its arguments are computed by the engine and handed out when it calls
their `load`, and what it returns is placed by calendar position.  It sees at least the rows around each wanted one that
its `get_extended_window_size` names, and is trusted not to look further: nobody can check what a value depends on.

Where a class only names what another one computes (`Rolling.__init__(self, feature, N, "sem")`), the formula is that.
"""

from __future__ import annotations

import copyreg
import inspect
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from qlib.data.expression.engine import Wanted, evaluate_columns
from qlib.data.expression.loading import Rows, serving
from qlib.data.expression.node import Node, NodeError, PanelOperator, Scalar, is_opaque, walk
from qlib.data.expression.once import once
from qlib.data.expression.parameters import Series
from qlib.data.expression.plan import Plan
from qlib.data.expression.sites import Apart, Sites, cut
from qlib.data.expression.span import Span
from qlib.data.panel import Columns, Panel
from qlib.errors import ExpressionError

if TYPE_CHECKING:
    from qlib.data.expression.objects import Expression

# What a column of objects may hold, by pandas' word for it: booleans and numbers with gaps.
_NUMBERS: Final = ("boolean", "floating", "integer", "mixed-integer-float", "empty")
# What a class may override to decide its values.
_DECIDES: Final = ("load", "_load_internal", "get_extended_window_size")


class _OfUser(type):
    """The class of the node classes that `declare` makes: they travel between processes by the user's class."""

    user: type[Expression]


def _travel(made: _OfUser) -> tuple[Any, ...] | str:
    return (declare, (made.user,)) if "user" in vars(made) else made.__qualname__


copyreg.pickle(_OfUser, _travel)


class OperatorError(ExpressionError):
    """A user's operator failed, or returned what cannot be placed; the message names it, instrument and formula."""


class Opaque(PanelOperator, metaclass=_OfUser):
    """A user's operator: its arguments, and the user's object that computes it.

    `arguments` ends with the names of those that were given by name, as one text.  `returned` is the dtype that the
    user's code answered in; the node's own is float64, which holds all numbers and booleans with gaps.
    """

    __slots__ = ("ahead", "back", "made", "returned")
    opaque = True
    user: ClassVar[type[Expression]]
    parameters = ()
    made: Expression
    returned: np.dtype | None

    def settle(self) -> None:
        self.made, self.returned = self._called(), None
        self.made.stand_for(self)
        self.dtype = "float64"
        self.back, self.ahead = self._own_window()
        self.span = self.reach(Span.union(node.span for node in self.inputs))

    def __reduce__(self) -> tuple:
        return _remade, (self.user, self.arguments, self.compat)

    def _split(self) -> tuple[tuple[Node | Scalar, ...], dict[str, Node | Scalar]]:
        *values, joined = self.arguments
        names = str(joined).split() if joined else []
        first = len(values) - len(names)
        return tuple(values[:first]), dict(zip(names, values[first:], strict=True))

    def _called(self) -> Expression:
        positional, named = self._split()
        of = self.user.of
        try:
            return self.user(
                *(of(a) if isinstance(a, Node) else a for a in positional),
                **{name: of(a) if isinstance(a, Node) else a for name, a in named.items()},
            )
        except Exception as problem:
            raise NodeError(f"{self.name}: {type(problem).__name__}: {problem}") from problem

    def _own_window(self) -> tuple[float, float]:
        """Return the rows before and after its own that the operator adds to those of its arguments."""
        window = _window(self.made, self.name)
        below = [_window(self.user.of(node), str(node)) for node in self.inputs]
        own = [side - max((one[i] for one in below), default=0) for i, side in enumerate(window)]
        back, ahead = (math.inf if math.isnan(rows) else max(rows, 0) for rows in own)
        return back if math.isinf(back) else int(back), ahead if math.isinf(ahead) else int(ahead)

    def reach(self, inner: Span) -> Span:
        return inner + Span(back=self.back, ahead=self.ahead)

    def as_question(self) -> Node:
        return Question(self, compat=self.compat)

    def kernel_name(self) -> str:
        return "python"

    def write(self, arguments: list[str]) -> str:
        positional, named = self._split()
        shown = [repr(a) if isinstance(a, str) else text for a, text in zip(self.arguments, arguments, strict=True)]
        rest = [f"{name}={text}" for name, text in zip(named, shown[len(positional) : -1], strict=True)]
        return f"{self.name}({','.join([*shown[: len(positional)], *rest])})"

    @classmethod
    def bind(
        cls, positional: Sequence[Node | Scalar], named: Mapping[str, Node | Scalar], *, compat: str | None = None
    ) -> Any:
        """Make the node from a call's arguments: an opaque one, or that of the formula which the class only names."""
        signature = inspect.signature(cls.user)
        try:
            call = signature.bind(*positional, **named)
        except TypeError as problem:
            names = [str(p.replace(annotation=p.empty)) for p in signature.parameters.values()]
            raise NodeError(f"{cls.name}({', '.join(names)}): {problem}") from None
        for value in (*call.args, *call.kwargs.values()):
            if not isinstance(value, Node | Scalar):
                raise NodeError(
                    f"{cls.name}: a formula's text holds formulas, numbers and texts in quotes, received {value!r}"
                )
        node = cls(*call.args, *call.kwargs.values(), " ".join(call.kwargs), compat=compat)
        named_only = None if cls.decides() else node.made.extended(compat)
        return node if named_only is None else named_only

    @classmethod
    def decides(cls) -> bool:
        """Tell whether the user's class decides its values, or leaves that to the class of ours that it extends."""
        return any(cls.user.is_users_own(name) for name in _DECIDES)

    # ------------------------------------------------------------------------------------ computing
    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        out = np.full(panel.rows, np.nan)
        there = panel.once(_there(self), lambda: np.zeros(panel.rows, dtype=bool))
        computed = {
            node: values
            for node, values in zip(self.arguments, arguments, strict=True)
            if isinstance(node, Node) and isinstance(values, np.ndarray)
        }
        freq = () if panel.around.freq is None else (panel.around.freq,)
        positions = panel.positions()
        for i, name in enumerate(panel.instruments):
            low, high = int(panel.start[i]), int(panel.start[i + 1])
            if low == high:
                continue
            index = _index(positions[low:high])
            with serving(Rows(panel, i, index, computed, self.compat)):
                try:
                    series = self.made.load(name, int(index[0]), int(index[-1]), *freq)
                except OperatorError:
                    raise  # one further in: it says already who failed
                except Exception as problem:
                    what = f"{type(problem).__name__}: {problem}"
                    raise OperatorError(f"{self.name} failed for {name} in {self}: {what}") from problem
            self._place(series, index, name, out[low:high], there[low:high])
        return out

    def _place(self, series: Any, index: pd.Index, instrument: str, out: np.ndarray, there: np.ndarray) -> None:
        """Write what the operator returned to the rows where it stands, and note which those are."""

        def wrong(what: str) -> OperatorError:
            return OperatorError(f"{self.name} returned {what} for {instrument} in {self}")

        if not isinstance(series, pd.Series):
            raise wrong(f"{type(series).__name__}, a pandas Series by calendar position is expected,")
        if not len(series):
            return
        values = series.to_numpy()
        if values.dtype == object and infer_dtype(series, skipna=True) in _NUMBERS:
            values = series.astype(np.float64).to_numpy()
        if values.dtype.kind not in "fbiu":
            raise wrong(f"values such as {values[0]!r}, numbers and booleans are expected,")
        self.returned = np.dtype(np.result_type(values.dtype, self.returned or values.dtype))
        if series.index.equals(index):
            out[:], there[:] = values, True
            return
        if series.index.dtype.kind not in "iu":
            raise wrong(f"an index of {series.index.dtype}, calendar positions are expected,")
        if not series.index.is_unique:
            raise wrong("some calendar positions twice")
        at = index.get_indexer(series.index)
        out[at[at >= 0]] = values[at >= 0]
        there[at[at >= 0]] = True


def _there(node: Opaque) -> str:
    return f"rows of {id(node)}"


class Returned(PanelOperator):
    """Whether a user's operator returned the row."""

    __slots__ = ()
    name = "Returned"
    parameters = (Series("feature"),)

    def result_dtype(self) -> str:
        return "bool"

    def write(self, arguments: list[str]) -> str:
        return f"rows of {arguments[0]}"

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:  # noqa: ARG002
        node = self.inputs[0]
        assert isinstance(node, Opaque)
        return panel.once(_there(node), lambda: np.zeros(panel.rows, dtype=bool))


def returned(*roots: Node) -> tuple[Node, ...]:
    """Return what tells which rows they have, of all users' operators without a formula below the roots."""
    bare = [node for node in walk(*roots) if isinstance(node, Opaque) and not node.inputs]
    return tuple(Returned(node, compat=node.compat) for node in bare)


def _window(made: Expression, name: str) -> tuple[float, float]:
    try:
        left, right = made.get_extended_window_size()
        return float(left), float(right)
    except ExpressionError as problem:
        raise NodeError(f"{name}: {problem.why}") from problem
    except Exception as problem:
        raise NodeError(
            f"{name}.get_extended_window_size() must return the rows before and after its own, (left, right): "
            f"{type(problem).__name__}: {problem}"
        ) from problem


def _index(positions: np.ndarray) -> pd.Index:
    first, last = int(positions[0]), int(positions[-1])
    whole = last - first + 1 == len(positions)
    return pd.RangeIndex(first, last + 1) if whole else pd.Index(positions)


class Question(PanelOperator):
    """What a user's operator answered, where a question is needed: its ones and zeros as true and false."""

    __slots__ = ()
    name = "Question"
    parameters = (Series("feature"),)

    def result_dtype(self) -> str:
        return "flag"

    def write(self, arguments: list[str]) -> str:
        return arguments[0]

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        values = np.asarray(arguments[0])
        wrong = ~((values == 0) | (values == 1) | np.isnan(values))
        if wrong.any():
            row = int(wrong.argmax())
            instrument = panel.instruments[int(np.searchsorted(panel.start, row, side="right")) - 1]
            raise OperatorError(f"{self} answered {values[row]:g} for {instrument} where true or false is needed")
        return values.astype(np.float32)


# By the identity of the user's class, which the node class keeps alive.
_declared: weakref.WeakValueDictionary[int, type[Opaque]] = weakref.WeakValueDictionary()


def declare(user: type[Expression]) -> type[Opaque]:
    """Return the node class of a user's class: the same one as long as anybody uses it."""
    known = _declared.get(id(user))
    if known is None:
        body = {"__slots__": (), "__doc__": user.__doc__, "user": user, "name": user.__name__, "__module__": __name__}
        known = _declared.setdefault(id(user), _OfUser(user.__name__, (Opaque,), body))  # type: ignore[arg-type]
    return known


def _remade(user: type[Expression], arguments: tuple[Node | Scalar, ...], compat: str | None) -> Node:
    return declare(user)(*arguments, compat=compat)


# ------------------------------------------------------------------------------------------------ evaluation
@once
def _of_users(plan: Plan) -> list[int]:
    """Return the places of the fields that are, or read, a user's Python code."""
    return [i for i, root in enumerate(plan.roots) if is_opaque(root)] if is_opaque(*plan.roots) else []


def shown(plan: Plan, query: tuple[int, int] | None) -> list[tuple[list[int], tuple[float, float] | None]]:
    """Return which fields are evaluated together, and the calendar positions that they are shown, None for all.

    Columns for several fields hold the history of the one that looks back furthest.  What is honest about its window
    does not notice; a user's operator may not be, and its values shall not depend on which other fields are asked.
    With compat="qlib" no field sees more than it asks for.
    """
    places = list(range(len(plan.fields)))
    if query is None:
        return [(places, None)]
    alone = _of_users(plan) if plan.compat is None else places
    together = [i for i in places if i not in set(alone)]
    parts: list[tuple[list[int], tuple[float, float] | None]] = [(together, None)] if together else []
    for span in dict.fromkeys(plan.spans[i] for i in alone):
        clip = max(query[0] - span.back, 0), query[1] + span.ahead
        parts.append(([i for i in alone if plan.spans[i] == span], clip))
    return parts


def evaluate_apart(
    plan: Plan,
    columns: Columns,
    wanted: Wanted,
    *,
    n_threads: int = 1,
    query: tuple[int, int] | None = None,
    out: Sequence[np.ndarray] | None = None,
    rows: RowsOf | None = None,
) -> np.ndarray:
    """Do what `evaluate_columns` does, and show every field the rows that `shown` says.

    With `rows` (see `Surroundings`), a field that is Apart is computed over its own rows at once, as if it were alone.
    """
    block = np.empty((len(plan.fields) if out is None else 0, wanted.rows), dtype=np.float32)
    out = list(block) if out is None else out
    for places, clip in shown(plan, query):
        for some, own in _by_rows(plan, places, columns, rows):
            part, to = _part(plan, tuple(some), inside=own is not None), [out[i] for i in some]
            here, there = replace(columns, panel=partial(_meeting_alone, columns, part)), wanted
            if own is not None:
                for values in to:
                    values.fill(np.nan)
                here, there = _of_rows(here, *own), _inside(wanted, *own)
            evaluate_columns(part, here, there, n_threads=n_threads, query=query, out=to, clip=clip)
    return block


RowsOf = Callable[[Any, Sequence[str]], tuple[np.ndarray, np.ndarray]]
Own = tuple[np.ndarray, np.ndarray] | None


def _by_rows(plan: Plan, places: list[int], columns: Columns, rows: RowsOf | None) -> list[tuple[list[int], Own]]:
    """Return which fields have the same rows, as half-open ranges of positions; None for those of all columns."""
    if rows is None or not any(isinstance(plan.roots[i], Apart) for i in places):
        return [(places, None)]
    alike: dict[tuple[bytes, bytes] | None, tuple[list[int], Own]] = {}
    for i in places:
        root, own, key = plan.roots[i], None, None
        if isinstance(root, Apart):
            begin, end = rows(root.feature, columns.instruments)
            begin, end = np.maximum(begin, columns.begin), np.minimum(end, columns.end)
            own = np.where(begin < end, begin, columns.begin), np.where(begin < end, end, columns.begin)
            key = own[0].tobytes(), own[1].tobytes()
        alike.setdefault(key, ([], own))[0].append(i)
    return list(alike.values())


@once
def _parts(plan: Plan) -> dict[tuple[tuple[int, ...], bool], Plan]:
    """Return where the parts of a plan are kept, so that asking again compiles nothing."""
    return {}


def _part(plan: Plan, places: tuple[int, ...], *, inside: bool) -> Plan:
    """Return the plan of some fields; with `inside`, of what is inside those that are Apart."""
    if len(places) == len(plan.fields) and not inside:
        return plan
    parts = _parts(plan)
    if (places, inside) not in parts:
        part = plan.part(places)
        if inside:
            part = Plan(part.fields, [r.feature if isinstance(r, Apart) else r for r in part.roots], part.compat)
        parts[places, inside] = part
    return parts[places, inside]


def _of_rows(columns: Columns, begin: np.ndarray, end: np.ndarray) -> Columns:
    """Return the columns as if each instrument had the positions begin ... end - 1 only."""
    return replace(columns, begin=begin, end=end, panel=lambda: cut(columns.panel(), begin, end))


def _inside(wanted: Wanted, begin: np.ndarray, end: np.ndarray) -> Wanted:
    """Return those of the wanted rows at positions begin ... end - 1 of their instruments."""
    number = np.repeat(np.arange(len(begin)), np.diff(wanted.of))
    low, high = np.maximum(wanted.low, begin[number]), np.minimum(wanted.high, end[number])
    some = low < high
    of = np.searchsorted(number[some], np.arange(len(begin) + 1))
    return replace(wanted, of=of, low=low[some], high=high[some], to=(wanted.to + low - wanted.low)[some])


def _meeting_alone(columns: Columns, part: Plan) -> Panel:
    """Return the panel, in surroundings where the other fields of the plan ask nothing."""
    panel = columns.panel()
    sites = panel.around.elsewhere
    if not isinstance(sites, Sites):
        return panel
    return replace(panel, around=replace(panel.around, elsewhere=sites.of(part.roots)))

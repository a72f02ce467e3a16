"""Where the instruments of a query meet: a plan, cut so that groups of instruments can be computed one by one.

    Mean(CSRank(Mean($close,5)), 10)

    stage       each group      Mean($close,5), what the operator reads          answer(questions, ...)
                all together    CSRank of it                                     Meetings.meet
    fields      each group      Mean(what was met, 10)                           Meetings.plan, evaluate_met

An operator across instruments inside another gives one more stage.  Between stages only arrays travel, and nodes that
stand for them (`Met`): a group may be computed anywhere, and the result has the bits of one panel.

Operators are met in a room: at the calendar positions that their fields are shown (`legacy.shown`), over the rows of
the formulas that they stand in (`sites.Apart`).  The same operator in two rooms is met twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, TypeGuard

import numpy as np

from qlib.data.expression.engine import Wanted, evaluate_columns
from qlib.data.expression.legacy import evaluate_apart, shown
from qlib.data.expression.node import STORED, Node, Operator, PanelOperator, Scalar, looks_across, walk
from qlib.data.expression.operators.crosssection import CrossSection
from qlib.data.expression.operators.fewer_rows import FewerRows
from qlib.data.expression.parameters import Series, Text
from qlib.data.expression.plan import Plan
from qlib.data.expression.sites import Apart, Kept, Remote, Sites, cut, exactly, own_rows
from qlib.data.expression.span import Span
from qlib.data.panel import Columns, Panel, Surroundings
from qlib.data.ranges import Ranges
from qlib.errors import RunError

Clip = tuple[float, float] | None
Names = dict[tuple["Room", Node], str]

_NONE: Final = np.empty(0, np.int64)


class Met(Remote):
    """An operator that was computed where all instruments met: its values stand in the panel, in a column of their own.

    It has the text, the dtype, the span and the rows of the operator.
    """

    __slots__ = ()
    name = "Met"
    stands = True
    parameters = (Series("feature"), Text("column"))

    @property
    def site(self) -> str:
        return ""

    @property
    def column(self) -> str:
        return str(self.arguments[1])

    def write(self, arguments: list[str]) -> str:
        return arguments[0]

    def result_dtype(self) -> str:
        return self.feature.dtype

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:  # noqa: ARG002
        return panel.columns[self.column].astype(STORED[self.dtype], copy=False)

    def reach(self, inner: Span) -> Span:  # noqa: ARG002  as if the operator stood here
        return self.feature.span


@dataclass(frozen=True, slots=True)
class Room:
    """Where operators are met: the positions that are shown, and the formulas apart that hold them, outermost first.

    `alone`: the outermost is a field, which `evaluate_apart` computes as if it were alone.
    """

    clip: Clip
    inside: tuple[Node, ...] = ()
    alone: bool = False

    def within(self, apart: Apart) -> Room:
        """Return the room of the formula that is apart in this one."""
        return replace(self, inside=(*self.inside, apart.feature))


@dataclass(frozen=True, slots=True)
class Question:
    """What a stage wants to know of every group of instruments: formulas over the rows of a room, by name."""

    room: Room
    needs: Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class Values:
    """Columns over the rows that a room has of some instruments.

    `lengths` and `first` (int64) say which rows: those of the panel there.
    """

    lengths: np.ndarray
    first: np.ndarray
    columns: Mapping[str, np.ndarray]

    @staticmethod
    def joined(groups: Iterable[Values]) -> Values:
        """Return the values of groups of instruments, one group after the other."""
        groups = list(groups)
        columns = {name: np.concatenate([one.columns[name] for one in groups]) for name in groups[0].columns}
        lengths, first = (np.concatenate([getattr(one, name) for one in groups]) for name in ("lengths", "first"))
        return Values(lengths, first, columns)

    def split(self, counts: Sequence[int]) -> list[Values]:
        """Return the values of groups of so many instruments each: the inverse of `joined`."""
        ends = np.cumsum([0, *counts])
        rows = np.concatenate([[0], np.cumsum(self.lengths)])[ends]
        return [
            Values(self.lengths[a:b], self.first[a:b], {name: whole[c:d] for name, whole in self.columns.items()})
            for a, b, c, d in zip(ends[:-1], ends[1:], rows[:-1], rows[1:], strict=True)
        ]

    def has_rows_of(self, other: Values | Panel) -> bool:
        """Tell whether the rows are the same."""
        lengths = other.lengths() if isinstance(other, Panel) else other.lengths
        filled = lengths > 0
        return np.array_equal(self.lengths, lengths) and np.array_equal(self.first[filled], other.first[filled])


# ------------------------------------------------------------------------------------------- where all meet
class Meetings:
    """The stages of a plan, see the module: `questions` of each, and `plan`, the fields behind the last one.

    Parameters
    ----------
    plan
        As it is evaluated, formulas of fewer rows apart.
    query
        First and last calendar position that the caller wants.

    `why_not` says why the plan cannot be cut; None where it can.
    """

    def __init__(self, plan: Plan, query: tuple[int, int]) -> None:
        self.why_not: str | None = None
        self.questions: list[list[Question]] = []
        self._operators: list[list[dict[str, PanelOperator]]] = []
        self._level: dict[tuple[Room, Node], int] = {}
        names: Names = {}
        rooms: dict[Room, list[int]] = {}
        for places, clip in shown(plan, query):
            for i in places:
                root = plan.roots[i]
                rooms.setdefault(Room(clip, (root.feature,), alone=True) if _apart(root) else Room(clip), []).append(i)
        below = {i: root.feature if _apart(root) else root for i, root in enumerate(plan.roots)}
        for room, places in rooms.items():
            self._find(room, [below[i] for i in places], names)
        for stage in range(1, max((self._level[key] for key in names), default=0) + 1):
            self._ask({key: name for key, name in names.items() if self._level[key] <= stage}, stage)
        roots = list(plan.roots)
        for room, places in rooms.items():
            made = _rewritten(room, [below[i] for i in places], names)
            for i in places:
                roots[i] = Apart(made[below[i]], compat=plan.compat) if room.alone else made[below[i]]
        self.plan = Plan(plan.fields, roots, plan.compat)

    def _find(self, room: Room, roots: Sequence[Node], names: Names) -> None:
        """Name every operator that needs all instruments, and note in which stage it can have what it reads."""
        for node in walk(*roots):
            level = max((self._level[room, child] for child in node.inputs), default=0)
            if _apart(node):
                self._find(room.within(node), [node.feature], names)
                level = self._level[room.within(node), node.feature]
            elif needs_all(node):
                level += 1
                names.setdefault((room, node), f"met {len(names)}")
                if not (isinstance(node, FewerRows) or getattr(type(node), "compute", None) is CrossSection.compute):
                    self.why_not = f"{node} may read more of the other instruments than its arguments"
            self._level[room, node] = level

    def _ask(self, names: Names, stage: int) -> None:
        known = {key: name for key, name in names.items() if self._level[key] < stage}
        by_room: dict[Room, dict[Node, str]] = {}
        for (room, node), name in names.items():
            if self._level[room, node] == stage:
                by_room.setdefault(room, {})[node] = name
        questions, operators = [], []
        for room, nodes in by_room.items():
            made = _rewritten(room, list(nodes), known)
            here = {name: made[node] for node, name in nodes.items()}
            needs = dict.fromkeys(child for node in here.values() for child in node.inputs)
            questions.append(
                Question(room, {str(i): need for i, need in enumerate(needs) if not isinstance(need, Met)})
            )
            operators.append(here)
        self.questions.append(questions)
        self._operators.append(operators)  # type: ignore[arg-type]

    def meet(
        self,
        stage: int,
        answers: Sequence[Sequence[Values]],
        met: Mapping[Room, Values],
        instruments: tuple[str, ...],
        around: Surroundings,
        n_threads: int = 1,
    ) -> dict[Room, Values]:
        """Compute the operators of a stage (counted from 0) over all instruments.

        Parameters
        ----------
        answers
            For each group of instruments, in order, its answers to `questions[stage]`.
        met
            What the stages before returned.
        around
            What the operators may ask: who is a member when, the times.

        Returns
        -------
        dict
            By room, what is met up to now.
        """
        after = dict(met)
        everything = zip(self.questions[stage], self._operators[stage], zip(*answers, strict=True), strict=True)
        for question, nodes, of_groups in everything:
            here = Values.joined(of_groups)
            before = met.get(question.room)
            if before is not None and not here.has_rows_of(before):
                raise _changed()
            columns = {} if before is None else before.columns
            start = np.concatenate([[0], np.cumsum(here.lengths)])
            made = _computed(
                nodes, question, here, columns, Panel(instruments, start, here.first, {}, around), n_threads
            )
            after[question.room] = replace(here, columns={**columns, **made})
        return after


def _computed(
    nodes: Mapping[str, PanelOperator],
    question: Question,
    here: Values,
    met: Mapping[str, np.ndarray],
    panel: Panel,
    n_threads: int,
) -> dict[str, np.ndarray]:
    """Return the values of operators by name, over the panel of all instruments."""
    answered = {node: here.columns[name] for name, node in question.needs.items()}

    def compute(node: PanelOperator) -> np.ndarray:
        values = {child: met[child.column] if isinstance(child, Met) else answered[child] for child in node.inputs}
        arguments = [values.get(a, a) if isinstance(a, Node) else a for a in node.arguments]
        return node.compute(arguments, panel).astype(STORED[node.dtype], copy=False)  # type: ignore[arg-type]

    if n_threads == 1 or len(nodes) == 1:
        return {name: compute(node) for name, node in nodes.items()}
    with ThreadPoolExecutor(n_threads, thread_name_prefix="qlib-meet") as pool:
        return dict(zip(nodes, pool.map(compute, nodes.values()), strict=True))


def needs_all(node: Node) -> bool:
    """Tell whether a node itself, not what it reads, needs all instruments."""
    if isinstance(node, Remote) or not isinstance(node, Operator):
        return False
    if isinstance(node, FewerRows):  # between its parts, which have all rows, and its root it computes by itself
        own = set(walk(node.root)).difference(walk(*node.parts))
        return any(isinstance(one, Operator) and one.across for one in own)
    inputs = set(node.inputs)
    return node.across or looks_across(*(child for child in node.children if child not in inputs))


def _apart(node: Node) -> TypeGuard[Apart]:
    """Tell whether a node is a formula apart in which instruments meet."""
    return isinstance(node, Apart) and looks_across(node.feature)


def _rewritten(room: Room, roots: Sequence[Node], names: Mapping[tuple[Room, Node], str]) -> dict[Node, Node]:
    """Return for every node below the roots what it is when those that have names are met."""
    made: dict[Node, Node] = {}
    for node in walk(*roots):
        if (room, node) in names:
            made[node] = Met(node, names[room, node], compat=node.compat)
        elif _apart(node):
            made[node] = Apart(_rewritten(room.within(node), [node.feature], names)[node.feature], compat=node.compat)
        else:
            inputs = set(node.inputs)
            arguments = [made[a] if isinstance(a, Node) and a in inputs else a for a in node.arguments]
            changed = any(new is not old for new, old in zip(arguments, node.arguments, strict=True))
            made[node] = type(node)(*arguments, compat=node.compat) if changed else node
    return made


def _changed() -> RunError:
    return RunError("the store changed while the query was computed; ask again")


# ------------------------------------------------------------------------------------ what a group computes
def answer(
    questions: Sequence[Question],
    columns: Columns,
    met: Mapping[Room, Values],
    *,
    compat: str | None,
    query: tuple[int, int],
    n_threads: int = 1,
) -> list[Values]:
    """Answer a stage's questions for a group of instruments.

    Parameters
    ----------
    columns
        The plan's columns of these instruments, with everything around them.
    met
        What the stages before made, for these instruments.
    compat
        The plan's.

    Raises
    ------
    RunError
        The instruments have other rows than when `met` was made.
    """
    columns = _with_met(columns, met)
    return [_answer(question, columns, compat, query, n_threads) for question in questions]


def _answer(question: Question, columns: Columns, compat: str | None, query: tuple[int, int], n_threads: int) -> Values:
    room, needs, values = question.room, list(question.needs.values()), dict[Node, np.ndarray]()
    panel = columns.panel()
    there = _in_room(replace(panel, columns={}), room)
    if needs and len(room.inside) > room.alone:  # somewhere inside, as `exactly` computes what is apart
        there = _in_room(panel, room)
        values = exactly(needs, replace(there, around=_around(panel.around, needs)))
    elif needs:
        if room.alone:
            begin, end = own_rows(room.inside[0], panel)
            panel = cut(panel, begin, end)
            columns = replace(columns, begin=begin, end=end)
        panel = replace(panel, around=replace(_around(panel.around, needs), kept=values))
        plan = Plan([""] * len(needs), [Kept(node, compat=node.compat) for node in needs], compat)
        nothing = Wanted.ranges(_NONE, _NONE, _NONE, len(columns.instruments))
        columns = replace(columns, panel=lambda: panel)
        evaluate_columns(plan, columns, nothing, n_threads=n_threads, query=query, clip=room.clip)
    return Values(there.lengths(), there.first, {name: values[node] for name, node in question.needs.items()})


def evaluate_met(
    plan: Plan,
    columns: Columns,
    wanted: Wanted,
    met: Mapping[Room, Values],
    *,
    query: tuple[int, int],
    n_threads: int = 1,
) -> np.ndarray:
    """Return what `legacy.evaluate_apart` does, for a group of instruments, when all is met; `plan` is `Meetings.plan`.

    Raises RunError where the instruments have other rows than when `met` was made.
    """
    columns = _with_met(columns, met)
    panel = columns.panel()
    panel = replace(panel, around=_around(panel.around, plan.roots))
    columns = replace(columns, panel=lambda: panel)
    return evaluate_apart(plan, columns, wanted, n_threads=n_threads, query=query, rows=panel.around.rows)


def _in_room(panel: Panel, room: Room) -> Panel:
    """Return the rows of a panel that a room has."""
    if room.clip is not None:
        panel, _ = panel.between(*room.clip)
    for feature in room.inside:
        panel = cut(panel, *own_rows(feature, panel))
    return panel


def _around(around: Surroundings, formulas: Sequence[Node]) -> Surroundings:
    """Return the surroundings in which formulas meet their sites."""
    return replace(around, elsewhere=Sites(around.elsewhere or {}, formulas))


def _with_met(columns: Columns, met: Mapping[Room, Values]) -> Columns:
    """Return the columns with what was met: columns of the panel, which is NaN (or 0, or false) outside their rooms."""
    panel = columns.panel()
    bare, added = replace(panel, columns={}), {}
    for room, values in met.items():
        here = _in_room(bare, room)
        if not values.has_rows_of(here):
            raise _changed()
        lengths = here.lengths()
        begin = panel.start[:-1] + np.where(lengths > 0, here.first - panel.first, 0)
        rows = None if here.rows == panel.rows else Ranges(_NONE, begin, begin + lengths).positions()
        for name, own in values.columns.items():
            if rows is None:
                added[name] = own
                continue
            added[name] = np.full(panel.rows, np.nan if own.dtype.kind == "f" else 0, dtype=own.dtype)
            added[name][rows] = own
    panel = replace(panel, columns={**panel.columns, **added})
    return replace(columns, panel=lambda: panel)

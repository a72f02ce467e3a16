"""Formulas that are evaluated over other rows than the panel's, and placed on those by calendar position.

    ChangeInstrument('b',$close)              over the rows of b                (operators/elsewhere.py)
    Mean($close,5)-ChangeInstrument('b',$x)   over the rows of both, but Mean over its instrument's own: Apart

What Qlib calls the index of a series is here the rows where one of a formula's columns is stored.  A panel for
several formulas holds the rows of all of them, so a formula with fewer rows is evaluated apart: otherwise the number of
rows in a window at the listing would depend on what else is asked.  All formulas that leave for the same place go there
together.

    plan = kept_apart(plan)                                                  what has other rows than its reader: Apart
    around = replace(around, elsewhere=Sites(panels, plan.roots))            who meets whom where, each computed once
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Final

import numpy as np

from qlib.data.expression.engine import evaluate
from qlib.data.expression.node import GAPPED, STORED, Column, Node, Operator, PanelOperator, Scalar, is_opaque, walk
from qlib.data.expression.parameters import Series
from qlib.data.expression.pit import OverPeriods
from qlib.data.expression.plan import Plan
from qlib.data.expression.span import Span
from qlib.data.panel import Panel, Surroundings
from qlib.errors import MissingDataError, did_you_mean

_OWN: Final = ""  # the site of what is evaluated over an instrument's own rows
_EVERY: Final = "*"  # marks formulas without columns: they have all rows


class Remote(PanelOperator):
    """A formula evaluated over the rows of a site, and placed on the panel's; NaN where the site has none."""

    __slots__ = ()
    place: ClassVar[int] = 0  # of the formula among the arguments
    stands: ClassVar[bool] = False  # whether its values stand in the panel already

    @property
    def feature(self) -> Node:
        return self.arguments[self.place]  # type: ignore[return-value]

    @property
    def site(self) -> str:
        """The instrument (lower case) whose rows are meant; empty for the panel's instruments themselves."""
        raise NotImplementedError

    @property
    def inputs(self) -> tuple[Node, ...]:
        return ()

    def result_dtype(self) -> str:
        return GAPPED[self.feature.dtype]

    def reach(self, inner: Span) -> Span:  # noqa: ARG002  nothing is read from the panel's rows
        return self.feature.span

    def as_question(self) -> Node:
        asked = self.feature.as_question()
        return self if asked is self.feature else type(asked)(self, compat=self.compat)

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:  # noqa: ARG002
        around = panel.around.elsewhere
        sites = around if isinstance(around, Sites) and around.knows(self) else Sites(around or {}, [self])
        there, values = sites.values_of(self, panel)
        out = np.full(panel.rows, np.nan, dtype=STORED[self.dtype])
        if type(panel) is not Panel:  # one with holes
            _placed_with_holes(values, there, panel, out)
            return out
        for i, (begin, end, first) in enumerate(zip(panel.start[:-1], panel.start[1:], panel.first, strict=True)):
            source = 0 if self.site else i
            low, high = there.start[source], there.start[source + 1]
            ahead = int(there.first[source] - first)  # rows of the panel before the first of the site
            left, right = max(begin + ahead, begin), min(begin + ahead + high - low, end)
            if left < right:
                shift = low - begin - ahead
                out[left:right] = values[left + shift : right + shift]
        return out


def _placed_with_holes(values: np.ndarray, there: Panel, panel: Panel, out: np.ndarray) -> None:
    if there is panel:
        out[:] = values
        return
    at = panel.positions() - there.first[0]
    inside = (at >= 0) & (at < len(values))
    out[inside] = values[at[inside]]


class Apart(Remote):
    """A formula over the rows where its own columns are stored, in a panel that holds more of them."""

    __slots__ = ()
    name = "Apart"
    parameters = (Series("feature"),)

    @property
    def site(self) -> str:
        return _OWN

    def write(self, arguments: list[str]) -> str:
        return arguments[0]


class Kept(PanelOperator):
    """Leaves the values of a formula with the panel's surroundings, in their own dtype."""

    __slots__ = ()
    name = "Kept"
    parameters = (Series("feature"),)

    def result_dtype(self) -> str:
        return self.inputs[0].dtype

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        values, kept = arguments[0], panel.around.kept
        assert isinstance(values, np.ndarray) and kept is not None
        kept[self.inputs[0]] = values.copy()
        return values


def exactly(features: Iterable[Node], panel: Panel) -> dict[Node, np.ndarray]:
    """Evaluate formulas over the panel, without the rounding to float32 of a query's result.

    Returns each formula's values over the panel's rows, in the dtype that STORED names for its own.
    """
    kept: dict[Node, np.ndarray] = {}
    plan = _keeping(tuple(dict.fromkeys(features)))
    evaluate(plan, replace(panel, around=replace(panel.around, kept=kept)))
    return kept


@lru_cache(maxsize=64)
def _keeping(features: tuple[Node, ...]) -> Plan:
    """Return the plan that leaves the formulas' values: a user's operator asks the same of every instrument."""
    roots = [Kept(node, compat=node.compat) for node in features]
    return Plan([str(root) for root in roots], roots, roots[0].compat if roots else None)


class Sites(Mapping[str, Panel]):
    """The panels of other instruments, and what some formulas ask there: everything at its first use, and once.

    Parameters
    ----------
    panels
        Instrument (lower case) to its panel.
    formulas
        All formulas that are evaluated over the panel whose surroundings this is.
    """

    def __init__(self, panels: Mapping[str, Panel], formulas: Iterable[Node]) -> None:
        self._panels = panels
        self._asked: dict[str, dict[Node, None]] = {}
        self._remote: set[Node] = set()
        for node in walk(*formulas):
            if isinstance(node, Remote) and not node.stands:
                self._remote.add(node)
                self._asked.setdefault(node.site, {})[node.feature] = None
        self._done: dict[tuple[str, float, float], dict[Node, tuple[Panel, np.ndarray]]] = {}

    def __getitem__(self, instrument: str) -> Panel:
        return self._panels[instrument]

    def __iter__(self) -> Iterator[str]:
        return iter(self._panels)

    def __len__(self) -> int:
        return len(self._panels)

    def of(self, formulas: Iterable[Node]) -> Sites:
        """Return the same panels for some of the formulas: what the others ask is not evaluated with them."""
        return Sites(self._panels, formulas)

    def knows(self, node: Remote) -> bool:
        """Tell whether the node was among the formulas, so that all that goes where it goes is evaluated with it."""
        return node in self._remote

    def values_of(self, node: Remote, panel: Panel) -> tuple[Panel, np.ndarray]:
        """Return the rows over which the node's formula was evaluated for `panel`, and its values there."""
        site = node.site
        if site == _OWN:
            return panel.once(f"apart {id(self)}", lambda: self._evaluated(site, panel, panel.around))[node.feature]
        if site not in self._panels:
            known = ", ".join(self._panels) or "none"
            raise MissingDataError(
                f"{node}: the panel knows no instrument {site}; known are {known}{did_you_mean(site, self._panels)}"
            )
        # Of an honest formula, more rows change no value.
        low, high = _bounds(panel) if node.compat == "qlib" or is_opaque(node.feature) else (0, math.inf)
        if (site, low, high) not in self._done:
            there = self._panels[site]
            self._done[site, low, high] = self._evaluated(site, there, panel.around, low, high)
        return self._done[site, low, high][node.feature]

    def _evaluated(
        self, site: str, there: Panel, around: Surroundings, low: float = 0, high: float = math.inf
    ) -> dict[Node, tuple[Panel, np.ndarray]]:
        features = list(self._asked[site])
        around = replace(around, elsewhere=Sites(self._panels, features))
        return _over_own_rows(features, replace(there, around=around), low, high)


def _over_own_rows(
    features: Sequence[Node], panel: Panel, low: float, high: float
) -> dict[Node, tuple[Panel, np.ndarray]]:
    """Evaluate each formula over those rows inside low ... high at which it has something stored."""
    if type(panel) is not Panel:  # one with holes: its rows were chosen
        return {feature: (panel, values) for feature, values in exactly(features, panel).items()}
    alike: dict[tuple[bytes, bytes], list[Node]] = {}
    ranges = {}
    for feature in features:
        begin, end = own_rows(feature, panel, low, high)
        key = begin.tobytes(), end.tobytes()
        ranges[key] = begin, end
        alike.setdefault(key, []).append(feature)
    done = {}
    for key, same in alike.items():
        part = cut(panel, *ranges[key])
        done.update({feature: (part, values) for feature, values in exactly(same, part).items()})
    return done


def own_rows(feature: Node, panel: Panel, low: float = 0, high: float = math.inf) -> tuple[np.ndarray, np.ndarray]:
    """Return the half-open range of calendar positions of each instrument over which a formula is evaluated apart.

    It holds those rows of the panel inside low ... high at which the formula has something stored.
    """
    begin, end = panel.first, panel.first + panel.lengths()
    if panel.around.rows is not None:
        own_begin, own_end = panel.around.rows(feature, panel.instruments)
        begin, end = np.maximum(begin, own_begin), np.minimum(end, own_end)
    begin, end = np.maximum(begin, low).astype(np.int64), np.minimum(end, high + 1).astype(np.int64)
    return begin, np.maximum(begin, end)


def cut(panel: Panel, begin: np.ndarray, end: np.ndarray) -> Panel:
    """Return the rows of each instrument at positions begin ... end - 1, all of which the panel has."""
    lengths = end - begin
    if (begin == panel.first).all() and (lengths == panel.lengths()).all():
        return panel
    low = panel.start[:-1] + np.where(lengths > 0, begin - panel.first, 0)
    pieces = [slice(a, a + n) for a, n in zip(low.tolist(), lengths.tolist(), strict=True) if n]
    nothing = slice(0, 0)
    columns = {
        name: np.concatenate([values[piece] for piece in pieces or [nothing]]) for name, values in panel.columns.items()
    }
    return Panel(panel.instruments, np.concatenate([[0], np.cumsum(lengths)]), begin, columns, panel.around)


def _bounds(panel: Panel) -> tuple[float, float]:
    """Return the first and last calendar position of the panel's rows: the range that Qlib loads everything over."""
    lengths = panel.lengths()
    filled = lengths > 0
    if not filled.any():
        return 0, -1
    return int(panel.first[filled].min()), int((panel.first + lengths)[filled].max()) - 1


# ------------------------------------------------------------------------------------- which rows a formula has
@dataclass(frozen=True, slots=True)
class Leaves:
    """What a formula has rows of: columns of its instrument, formulas elsewhere, or, with `every`, all there are.

    `reported` are its P and PRef: they have all rows too, of an instrument that has the data for them.
    """

    columns: tuple[str, ...]
    elsewhere: tuple[Remote, ...]
    every: bool
    reported: tuple[OverPeriods, ...]


def leaves(*formulas: Node) -> Leaves:
    """Return what the formulas have rows of, over the panel that they are evaluated over."""
    columns, elsewhere, every = dict[str, None](), dict[Remote, None](), False
    reported = dict[OverPeriods, None]()
    waiting, seen = list(formulas), set[Node]()
    while waiting:
        now, waiting = waiting, []
        for node in walk(*now):
            if node in seen:
                continue
            seen.add(node)
            if isinstance(node, Column):
                columns[node.name] = None
            elif isinstance(node, Remote) and node.site == _OWN:
                waiting.append(node.feature)
            elif isinstance(node, Remote):
                elsewhere[node] = None
            elif isinstance(node, OverPeriods):
                reported[node] = None
            else:
                every = every or not node.inputs
    return Leaves(tuple(columns), tuple(elsewhere), every, tuple(reported))


def asked_elsewhere(roots: Iterable[Node]) -> dict[str, tuple[Node, ...]]:
    """Return which formulas are evaluated for other instruments, at any depth: instrument (lower case) to formulas."""
    found: dict[str, dict[Node, None]] = {}
    waiting, seen = list(roots), set[Node]()
    while waiting:
        now, waiting = waiting, []
        for node in walk(*now):
            if isinstance(node, Remote) and node not in seen:
                seen.add(node)
                waiting.append(node.feature)
                if node.site != _OWN:
                    found.setdefault(node.site, {})[node.feature] = None
    return {instrument: tuple(features) for instrument, features in sorted(found.items())}


def reads_elsewhere(roots: Iterable[Node]) -> dict[str, tuple[str, ...]]:
    """Return which columns formulas read of other instruments: instrument (lower case) to columns, both in order.

    >>> from qlib.data.expression.plan import build_plan
    >>> reads_elsewhere(build_plan(["$close/ChangeInstrument('B',Mean($open,2)*Mask($low,'c'))"]).roots)
    {'b': ('open',), 'c': ('low',)}
    """
    asked = asked_elsewhere(roots)
    return {instrument: tuple(sorted(leaves(*features).columns)) for instrument, features in asked.items()}


# ------------------------------------------------------------------------------------- formulas with fewer rows
# Operators whose value is missing wherever an argument is: over additional rows they are missing too.
_STRICT: Final = frozenset(("Abs", "Log", "Sign", "Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Greater", "Less"))


def kept_apart(plan: Plan) -> Plan:
    """Return the plan with every formula Apart that has rows of fewer instruments than what reads it.

    A plan that reads columns of its instruments alone is returned as it is.
    """
    if not any(isinstance(node, Remote | OverPeriods) for node in walk(*plan.roots)):
        return plan
    return Plan(plan.fields, _apart(plan.roots), plan.compat)


def _apart(roots: Sequence[Node]) -> list[Node]:
    """Return the formulas with those of fewer rows apart: within each of them, and beside the others."""
    marks: dict[Node, frozenset[str]] = {}
    strict: set[Node] = set()
    made: dict[Node, Node] = {}
    for node in walk(*roots):
        marks[node] = _marks(node, marks)
        arguments = list(node.arguments)
        if isinstance(node, Remote):
            arguments[node.place] = _apart([node.feature])[0]
        for place, argument in enumerate(node.arguments):
            if argument in made:
                keep = marks[argument] == marks[node] or argument in strict
                arguments[place] = made[argument] if keep else _wrapped(made[argument])
        if not node.inputs or (_name(node) in _STRICT and all(child in strict for child in node.inputs)):
            strict.add(node)
        changed = any(new is not old for new, old in zip(arguments, node.arguments, strict=True))
        made[node] = type(node)(*arguments, compat=node.compat) if changed else node
    together = frozenset().union(*(marks[root] for root in roots))
    return [made[root] if marks[root] == together or root in strict else _wrapped(made[root]) for root in roots]


def _wrapped(node: Node) -> Node:
    return Apart(node, compat=node.compat)


def _marks(node: Node, known: Mapping[Node, frozenset[str]]) -> frozenset[str]:
    """Return whose rows a formula has: instruments, "" for its own; "*" before one that has all there are."""
    if isinstance(node, Column):
        return frozenset((_OWN,))
    if isinstance(node, Remote):
        there: dict[Node, frozenset[str]] = {}
        for inner in walk(node.feature):
            there[inner] = _marks(inner, there)
        return frozenset({_OWN: node.site, _EVERY: _EVERY + node.site}.get(m, m) for m in there[node.feature])
    return frozenset().union(*(known[child] for child in node.inputs)) or frozenset((_EVERY,))


def _name(node: Node) -> str:
    return node.name if isinstance(node, Operator) else ""

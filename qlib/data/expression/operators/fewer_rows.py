"""Formulas that have fewer rows than their columns: what is built on `Select` walks the rows that are left.

    Mean(Select($volume > 0, $close), 5) + $open
         ~~~~~~~~~~~~~~~~~~~~~~~~~~~        the rows with a volume: a panel of their own, over which Mean runs
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~ +  aligned to the rows of both sides, which are all: NaN where one has none

A parsed field with such an operator in it becomes one node, FewerRows (`@rewrite`).  Below it, every node has a set of
rows: all of them, what an operator left, or the union of several such sets.  Nodes that share a set are computed
together, by the engine, over a panel of those rows; where sets meet, values are aligned.  What does not depend on rows
left out (`inputs`) is computed with all other formulas of the plan.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Final

import numpy as np

from qlib.data.expression.inner import Given, SomeRows
from qlib.data.expression.node import GAPPED, STORED, Node, Operator, PanelOperator, Scalar, walk
from qlib.data.expression.operators.select import Dropping
from qlib.data.expression.registry import rewrite
from qlib.data.expression.sites import Apart, exactly
from qlib.data.expression.span import EVERYTHING, Span
from qlib.data.panel import Panel

Rows = frozenset[
    Hashable
]  # what was left out, each operator by its `_chooser`; several: the rows that any of them left
ALL: Final[Rows] = frozenset()


def drops(node: Node) -> bool:
    """Tell whether a node leaves rows out."""
    return isinstance(node, Dropping) and node.drops


class FewerRows(PanelOperator):
    """A formula of which some parts have fewer rows; a row that it does not have is NaN.

    `arguments` are the formula, and what computes its largest parts in which no row is left out, in their order.
    """

    __slots__ = ("parts", "regions", "rows_of")
    name = "FewerRows"
    parameters = ()

    parts: tuple[Node, ...]
    regions: dict[Node, tuple[tuple[Node, ...], Node]]
    rows_of: dict[Node, Rows]

    @classmethod
    def around(cls, root: Node) -> FewerRows:
        """Return the node for a formula that holds an operator which leaves rows out."""
        return cls(root, *_whole_parts(root), compat=root.compat)

    @property
    def root(self) -> Node:
        """The formula."""
        return self.arguments[0]  # type: ignore[return-value]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """What computes the parts in which no row is left out, over all rows."""
        return self.arguments[1:]  # type: ignore[return-value]

    @property
    def rows(self) -> Rows:
        """The rows that the formula has."""
        return self.rows_of[self.root]

    def settle(self) -> None:
        touched = _touched(self.root)
        self.parts = _whole_parts(self.root)
        self.rows_of = _rows_of(self.root, touched)
        self.regions = {}
        self.dtype = self._plan_regions(touched)
        self.span = self.reach(Span.union(node.span for node in self.inputs))

    def _plan_regions(self, touched: dict[Node, None]) -> str:
        """Cut the tree where the rows change, and return the dtype of the whole."""
        dtypes = {node: node.dtype for node in self.parts}
        readers: dict[Node, list[Node]] = {}
        for node in touched:
            for child in node.inputs:
                readers.setdefault(child, []).append(node)
        for node in touched:  # inputs come before readers
            apart = any(drops(reader) or self.rows_of[reader] != self.rows_of[node] for reader in readers.get(node, []))
            if drops(node):
                dtypes[node] = node.dtype
            elif apart or node is self.root:
                leaves = _leaves(node, dtypes)
                given = {
                    leaf: Given(str(place), self._given_dtype(dtypes[leaf], leaf, node))
                    for place, leaf in enumerate(leaves)
                }
                self.regions[node] = leaves, _with_leaves(node, given)
                dtypes[node] = self.regions[node][1].dtype
        return GAPPED[dtypes[self.root]]

    def _given_dtype(self, dtype: str, leaf: Node, reader: Node) -> str:
        """Return the dtype of a leaf, aligned to the reader's rows; a boolean counts as False where it has no row."""
        return "float64" if dtype == "int64" and self.rows_of[leaf] != self.rows_of[reader] else dtype

    def reach(self, inner: Span) -> Span:
        """Return the span: which rows hold the last five that are left, nobody can know.

        compat="qlib": Qlib loads as many rows as if none were left out.
        """
        if self.compat == "qlib":
            return Span.union([inner, self.root.span])
        own = Span.union(node.reach(Span()) for node in _touched(self.root) if isinstance(node, Operator))
        return inner + Span(EVERYTHING if own.back else 0, EVERYTHING if own.ahead else 0)

    def kernel_name(self) -> str:
        return "fewer rows"

    def write(self, arguments: list[str]) -> str:
        return arguments[0]

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        work = _Work(self, dict(zip(self.parts, arguments[1:], strict=True)), panel)  # type: ignore[arg-type]
        out = np.full(panel.rows, np.nan, dtype=STORED[self.dtype])
        out[work.rows(self.rows)] = work.value(self.root)
        return out


class RowsLeft(FewerRows):
    """Whether a formula has the row; values are computed only where a condition needs them."""

    __slots__ = ()
    name = "RowsLeft"

    def settle(self) -> None:
        super().settle()
        self.dtype = "bool"

    def write(self, arguments: list[str]) -> str:
        return f"rows of {arguments[0]}"

    def compute(self, arguments: list[np.ndarray | Scalar], panel: Panel) -> np.ndarray:
        work = _Work(self, dict(zip(self.parts, arguments[1:], strict=True)), panel)  # type: ignore[arg-type]
        out = np.zeros(panel.rows, dtype=bool)
        out[work.rows(self.rows)] = True
        return out


def rows_left(root: Node) -> Node | None:
    """Return what tells which rows a field has, a boolean; None where it has all."""
    if isinstance(root, Apart):
        inner = rows_left(root.feature)
        return inner and Apart(inner, compat=root.compat)
    if isinstance(root, FewerRows) and root.rows != ALL:
        return RowsLeft(*root.arguments, compat=root.compat)
    return None


@rewrite
def fewer_rows(root: Node) -> Node:
    """Return the node that computes a field: the field's own, but where it leaves rows out."""
    return FewerRows.around(root) if Dropping.living and any(drops(node) for node in walk(root)) else root


# ---------------------------------------------------------------------------------------- which rows, which parts
def _touched(root: Node) -> dict[Node, None]:
    """Return the nodes at or above one that leaves rows out, inputs before readers."""
    touched: dict[Node, None] = {}
    for node in walk(root):
        if drops(node) or any(child in touched for child in node.inputs):
            touched[node] = None
    return touched


def _whole_parts(root: Node) -> tuple[Node, ...]:
    """Return the largest parts in which no row is left out."""
    touched = _touched(root)
    read = {child for node in touched for child in node.inputs}
    return tuple(node for node in walk(root) if node in read and node not in touched)


def _rows_of(root: Node, touched: Mapping[Node, None]) -> dict[Node, Rows]:
    rows: dict[Node, Rows] = {}
    for node in walk(root):
        if node not in touched:
            rows[node] = ALL
        elif drops(node):
            assert isinstance(node, Dropping)
            rows[node] = frozenset([_chooser(node, rows[node.feature])])
        else:
            rows[node] = _union(rows[child] for child in node.inputs)
    return rows


def _chooser(node: Dropping, rows: Rows) -> Hashable:
    """Return what decides which rows are left: two formulas under one condition have the same rows."""
    others = tuple(a if isinstance(a, Node) else repr(a) for place, a in enumerate(node.arguments) if place != node.of)
    return type(node), others, rows


def _union(sets: Iterable[Rows]) -> Rows:
    sets = list(sets)
    return ALL if ALL in sets else frozenset().union(*sets)


def _leaves(node: Node, known: Mapping[Node, str]) -> tuple[Node, ...]:
    """Return the nodes below whose values are known when this one is computed."""
    leaves: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = list(node.inputs)
    while stack:
        below = stack.pop()
        if below in known:
            leaves[below] = None
        elif below not in seen:
            seen.add(below)
            stack += below.inputs
    return tuple(leaves)


def _with_leaves(node: Node, leaves: Mapping[Node, Node]) -> Node:
    """Return the same formula over other leaves."""
    made = dict(leaves)
    stack = [node]
    while stack:
        top = stack[-1]
        if waiting := [child for child in top.inputs if child not in made]:
            stack += waiting
            continue
        stack.pop()
        if top not in made:
            arguments = [made.get(a, a) if isinstance(a, Node) else a for a in top.arguments]
            made[top] = type(top)(*arguments, compat=top.compat)
    return made[node]


# ---------------------------------------------------------------------------------------- at work
class _Work:
    """One panel: the sets of rows and the values, each made once, when asked for."""

    def __init__(self, formula: FewerRows, values: dict[Node, np.ndarray], panel: Panel) -> None:
        self.formula, self.panel = formula, panel
        self.values = values
        self.sets: dict[Rows, np.ndarray] = {ALL: np.arange(panel.rows)}
        self.panels: dict[Rows, Panel] = {ALL: panel}
        self.choosers = {
            next(iter(rows)): node
            for node, rows in formula.rows_of.items()
            if isinstance(node, Dropping) and node.drops
        }

    def rows(self, wanted: Rows) -> np.ndarray:
        """Return the numbers of the rows of a set, ascending."""
        if wanted not in self.sets:
            if len(wanted) > 1:
                parts = [self.rows(frozenset([one])) for one in wanted]
                self.sets[wanted] = np.unique(np.concatenate(parts))
            else:
                node = self.choosers[next(iter(wanted))]
                before = self.formula.rows_of[node.feature]
                keeps = node.keeps(self.arguments(node, values=False), self.over(before))
                self.sets[wanted] = self.rows(before)[keeps]
        return self.sets[wanted]

    def over(self, rows: Rows, columns: Mapping[str, np.ndarray] | None = None) -> Panel:
        """Return the panel of a set of rows, with columns of that length."""
        if rows not in self.panels:
            at = self.rows(rows)
            start = np.searchsorted(at, self.panel.start)
            positions = self.panel.positions()[at]
            self.panels[rows] = SomeRows(
                self.panel.instruments, start, self.panel.first, {}, self.panel.around, positions
            )
        panel = self.panels[rows]
        if columns is None:
            return panel
        if rows == ALL:
            return Panel(panel.instruments, panel.start, panel.first, columns, panel.around)
        return SomeRows(panel.instruments, panel.start, panel.first, columns, panel.around, panel.positions())

    def value(self, node: Node) -> np.ndarray:
        """Return the values of a node over its own rows."""
        if node not in self.values:
            rows = self.formula.rows_of[node]
            if drops(node):
                assert isinstance(node, Dropping)
                before = self.formula.rows_of[node.feature]
                values = node.values(self.arguments(node, values=True), self.over(before))
                left = self.rows(rows) if before == ALL else np.searchsorted(self.rows(before), self.rows(rows))
                self.values[node] = values[left].astype(STORED[node.dtype], copy=False)
            else:
                leaves, formula = self.formula.regions[node]
                columns = {str(place): self.aligned(leaf, rows) for place, leaf in enumerate(leaves)}
                self.values[node] = exactly([formula], self.over(rows, columns))[formula]
        return self.values[node]

    def arguments(self, node: Dropping, *, values: bool) -> list[np.ndarray | Scalar]:
        """Return the arguments over the rows of the feature; its own values only where they are wanted."""
        rows = self.formula.rows_of[node.feature]
        found: list[np.ndarray | Scalar] = []
        for place, argument in enumerate(node.arguments):
            if not isinstance(argument, Node):
                found.append(argument)
            else:
                found.append(self.aligned(argument, rows) if values or place != node.of else None)
        return found

    def aligned(self, node: Node, rows: Rows) -> np.ndarray:
        """Return the values of a node over other rows: False or NaN where it has none."""
        values, own = self.value(node), self.formula.rows_of[node]
        if own == rows:
            return values
        have, want = self.rows(own), self.rows(rows)
        kind = np.dtype(np.float64) if values.dtype == np.int64 else values.dtype
        out = np.zeros(len(want), dtype=kind) if kind == np.bool_ else np.full(len(want), np.nan, dtype=kind)
        if rows == ALL:
            out[have] = values
            return out
        at = np.minimum(np.searchsorted(want, have), max(len(want) - 1, 0))
        if len(want):
            met = want[at] == have
            out[at[met]] = values[met]
        return out

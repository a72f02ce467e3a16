"""Thousands of formulas over the same rows, a few at a time: one block of numbers, used again for every batch.

    for places, block in evaluate_batches(candidates, panel):
        ...                                     block[k] are the values of candidates[places[k]], float32

Equal formulas, in any spelling, are computed once.  Formulas that share a window stand in one batch where they can, so
that the work is shared as within one query; no frame is made, and memory is that of the block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from qlib.data.expression.engine import Wanted, evaluate_columns
from qlib.data.expression.node import Node, Operator, walk
from qlib.data.expression.plan import Plan, build_plan
from qlib.data.panel import Columns, Panel
from qlib.errors import InputError

MEGABYTES: Final = 256.0


def evaluate_batches(
    formulas: Sequence[object],
    panel: Panel,
    *,
    n_threads: int = 1,
    megabytes: float = MEGABYTES,
    compat: str | None = None,
    registry: Mapping[str, type[Operator]] | None = None,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield (places, block): block[k] holds the values of formulas[places[k]] over every row of the panel.

    Parameters
    ----------
    formulas
        Texts or expression objects, as many as you like; each comes up in exactly one batch.
    megabytes
        The size of the block; one formula at a time where even that is larger.
    n_threads, compat, registry
        As for `evaluate` and `build_plan`.

    The block is used again: copy what must outlive its batch.

    Raises
    ------
    ExpressionError
        A formula cannot be read; before anything is computed.

    >>> panel = Panel(("A",), np.array([0, 3]), np.zeros(1, int), {"close": np.float32([1, 2, 4])})
    >>> best = {}
    >>> for places, block in evaluate_batches(["$close", "Mean($close,2)", "Mean( $CLOSE, 2 )"], panel):
    ...     best |= zip(places, block.max(axis=1).tolist())
    >>> [best[place] for place in range(3)]
    [4.0, 3.0, 3.0]
    """
    plan = build_plan(formulas, compat=compat, registry=registry)
    columns = Columns.of(panel)
    run = partial(evaluate_columns, n_threads=n_threads)
    yield from in_batches(plan, columns, Wanted.everything(columns), run, megabytes=megabytes)


def in_batches(
    plan: Plan,
    columns: Columns,
    wanted: Wanted,
    run: Callable[..., np.ndarray],
    *,
    megabytes: float,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield (places, block) for the fields of a plan: block[k] holds the wanted rows of field places[k].

    `run` is `evaluate_columns`, or what does the same.
    """
    if not megabytes > 0:
        raise InputError(f"megabytes: received {megabytes}; a size above 0 is allowed")
    places: dict[Node, list[int]] = {}
    for place, root in enumerate(plan.roots):
        places.setdefault(root, []).append(place)
    roots = _neighbours_first(list(places))
    many = max(1, int(megabytes * 2**20 / (4 * max(wanted.rows, 1))))
    block = np.empty((min(many, len(roots)), wanted.rows), dtype=np.float32)
    for at in range(0, len(roots), many):
        chosen = roots[at : at + many]
        part = plan.part([places[root][0] for root in chosen])
        run(part, columns, wanted, out=list(block[: len(chosen)]))
        yield [places[root][0] for root in chosen], block[: len(chosen)]
        again = [(place, k) for k, root in enumerate(chosen) for place in places[root][1:]]
        for low in range(0, len(again), many):
            same = again[low : low + many]
            yield [place for place, _ in same], block[[k for _, k in same]]


def _neighbours_first(roots: list[Node]) -> list[Node]:
    """Return the formulas so that those which share their windows stand together, the most shared windows first."""
    windows = {
        root: {node for node in walk(root) if isinstance(node, Operator) and node.span.back > _back(node)}
        for root in roots
    }
    shared = Counter(node for own in windows.values() for node in own)
    number = {node: k for k, (node, _) in enumerate(shared.most_common())}
    return sorted(roots, key=lambda root: sorted(number[node] for node in windows[root]))


def _back(node: Operator) -> float:
    return max((child.span.back for child in node.inputs), default=0)

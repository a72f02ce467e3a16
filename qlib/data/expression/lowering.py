"""Nodes -> instructions over registers: what a compiled program runs (qlib.data.kernels.program).

    nodes           Mean($close,20)/$close     Std($close,20)/$close
    instructions    load close -> widen -> moments2 of 20 rows -> (mean, std)
                    mean / close -> store 0     std / close -> store 1

Rewrites on the way: equal work is done once, over all fields; statistics of the same rows are read from one pass (the
mean and the deviation above, or slope, residual and r-square); a field is stored as soon as its last pass is done, so
few registers are alive at a time, and they are reused; a quotient that only a field is made of is stored while it is
computed.  A register keeps as much history as its readers' windows ask
for, and lags behind by as many rows as its formula looks ahead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from qlib.data.expression.node import STORED
from qlib.data.kernels.program import MOST_READINGS, WHAT, Program

if TYPE_CHECKING:
    from qlib.data.expression.node import Node

FOREVER: Final = 1 << 60
WIDE: Final = frozenset(name for name, kept in STORED.items() if kept in ("float64", "int64"))  # in float64 registers

# The passes that can answer, the shortest first; a statistic has the same bits whichever answers.
_FAMILIES: Final[dict[str, tuple[tuple[str, frozenset[str]], ...]]] = {
    "moments": (
        ("count", frozenset({"count"})),
        ("moments1", frozenset({"mean", "count"})),
        ("moments2", frozenset({"mean", "var", "std", "count"})),
        ("moments4", frozenset({"mean", "var", "std", "count", "skew", "kurt"})),
        ("line", frozenset({"mean", "var", "std", "count", "slope", "rsquare", "resi", "wma", "wma_again"})),
    ),
    "sum": (("sum", frozenset({"sum"})),),
    "count_infinite_too": (("count_infinite_too", frozenset({"count"})),),
    "max": (("max", frozenset({"best"})), ("max_place", frozenset({"best", "place"}))),
    "min": (("min", frozenset({"best"})), ("min_place", frozenset({"best", "place"}))),
    "max_place_or_gap": (("max_place_or_gap", frozenset({"place"})),),
    "min_place_or_gap": (("min_place_or_gap", frozenset({"place"})),),
    "pair": (("pair", frozenset({"cov", "corr"})),),
    "order": (("order", frozenset({"rank", "quantile"})),),
}
AT_ONCE: Final = {"div": "store_div"}  # what can be stored while it is computed, and by which instruction
PASSES: Final = frozenset(name for passes in _FAMILIES.values() for name, _ in passes)


@dataclass(eq=False, slots=True)
class Result:
    """What an instruction makes: rows of float32, or of float64 where `wide`."""

    work: Work
    wide: bool
    what: str = ""
    parameter: float = 0.0


@dataclass(eq=False, slots=True)
class Work:
    """One instruction before it has registers."""

    name: str
    inputs: tuple[Result | float, ...]
    wide: bool
    window: int
    reads: frozenset[int]  # numbers of the sources below it
    lag: int
    looks_back: int  # rows of its inputs before the current one
    revives: bool = False
    place: int = -1
    outputs: list[Result] = field(default_factory=list)


class Builder:
    """Collects the work of some nodes; operators call it from `lower`."""

    def __init__(self) -> None:
        self._known: dict[tuple, Result] = {}
        self._passes: dict[tuple, dict[tuple[str, float], Result]] = {}
        self.sources: list[Node] = []

    # ---------------------------------------------------------------------------------- what operators ask for
    def source(self, node: Node, wide: bool) -> Result:
        """Return a column, or whatever else stands in memory."""
        place = len(self.sources)
        self.sources.append(node)
        work = Work("load", (), wide, 0, frozenset({place}), 0, 0, place=place)
        return _only(work, wide)

    def rows(
        self, name: str, *inputs: Result | float, wide: bool, answer: bool | None = None, revives: bool = False
    ) -> Result:
        """Return a function of single rows.

        Parameters
        ----------
        wide
            Whether it computes in float64; the inputs are converted.
        answer
            Whether the result is float64, where that is not the same.
        revives
            Whether it makes a number of a missing value.
        """
        sides = tuple(self.converted(a, wide) if isinstance(a, Result) else float(a) for a in inputs)
        return self._make(name, sides, wide, 0, wide if answer is None else answer, revives=revives)

    def choose(self, condition: Result, left: Result | float, right: Result | float, *, wide: bool) -> Result:
        """Return `left` where the condition (float32, 0 or 1) holds, else `right`."""
        sides = [self.converted(a, wide) if isinstance(a, Result) else float(a) for a in (left, right)]
        return self._make("choose", (self.converted(condition, False), *sides), wide, 0, wide, revives=True)

    def statistic(self, family: str, what: str, *inputs: Result, window: int, parameter: float = 0.0) -> Result:
        """Return a statistic of the last `window` rows (0: all so far); passes over the same rows are shared."""
        narrow = family == "order" and not inputs[0].wide
        sides = tuple(self.converted(a, not narrow) for a in inputs)
        readings = self._passes.setdefault((family, sides, window), {})
        known = readings.get((what, parameter))
        if known is None:
            work = Work(family, sides, not narrow, window, _reads(sides), _lag(sides), window, revives=True)
            known = readings[what, parameter] = Result(work, True, what, parameter)
        return known

    def series(
        self,
        name: str,
        *inputs: Result,
        wide: bool = True,
        window: int = 0,
        parameter: float = 0.0,
        looks_back: int = 0,
        ahead: int = 0,
        revives: bool = True,
    ) -> Result:
        """Return what a kernel of series.hpp makes."""
        sides = tuple(self.converted(a, wide) for a in inputs)
        return self._make(
            name, sides, wide, window, wide, parameter=parameter, looks_back=looks_back, ahead=ahead, revives=revives
        )

    def shift(self, x: Result, rows: int) -> Result:
        """Return the value `rows` rows ago; in the future, where negative."""
        return self.series("shift", x, wide=x.wide, window=rows, looks_back=max(rows, 0), ahead=max(-rows, 0))

    def converted(self, x: Result, wide: bool) -> Result:
        """Return the value as float64 (or float32)."""
        if x.wide == wide:
            return x
        return self._make("widen" if wide else "narrow", (x,), x.wide, 0, wide)

    def _make(
        self,
        name: str,
        inputs: tuple[Result | float, ...],
        wide: bool,
        window: int,
        answer: bool,
        *,
        parameter: float = 0.0,
        looks_back: int = 0,
        ahead: int = 0,
        revives: bool = False,
    ) -> Result:
        # repr tells 0.0 from -0.0
        key = (name, tuple(a if isinstance(a, Result) else repr(a) for a in inputs), wide, window, repr(parameter))
        known = self._known.get(key)
        if known is None:
            lag = _lag(inputs) + ahead
            work = Work(name, inputs, wide, window, _reads(inputs), lag, looks_back - ahead, revives)
            known = self._known[key] = _only(work, answer, parameter)
        return known

    # -------------------------------------------------------------------------------------------- passes
    def settle(self) -> None:
        """Give every statistic the pass that answers it."""
        for (family, inputs, window), readings in self._passes.items():
            left = dict(readings)
            while left:
                name, answered = _best_pass(_FAMILIES[family], [what for what, _ in left])
                taken = [key for key in left if key[0] in answered][:MOST_READINGS]
                first = left[taken[0]].work
                work = Work(name, inputs, first.wide, window, first.reads, first.lag, window, revives=True)
                for key in taken:
                    value = left.pop(key)
                    value.work = work
                    work.outputs.append(value)


def _best_pass(passes: Sequence[tuple[str, frozenset[str]]], wanted: Sequence[str]) -> tuple[str, frozenset[str]]:
    """Return the shortest pass that answers everything, else the longest of those needed."""
    for name, answered in passes:
        if answered.issuperset(wanted):
            return name, answered
    return next((name, answered) for name, answered in reversed(passes) if answered.intersection(wanted))


def _only(work: Work, wide: bool, parameter: float = 0.0) -> Result:
    value = Result(work, wide, parameter=parameter)
    work.outputs.append(value)
    return value


def _reads(inputs: Iterable[Result | float]) -> frozenset[int]:
    return frozenset().union(*(a.work.reads for a in inputs if isinstance(a, Result)))


def _lag(inputs: Iterable[Result | float]) -> int:
    return max((a.work.lag for a in inputs if isinstance(a, Result)), default=0)


# ------------------------------------------------------------------------------------------------ nodes to a program
@dataclass(frozen=True, slots=True)
class Compiled:
    """A program, the nodes that it reads from memory (in the order of its sources), and what it does in words."""

    program: Program
    sources: tuple[Node, ...]
    words: tuple[str, ...]


def compile_nodes(roots: Sequence[Node], given: Callable[[Node], bool]) -> Compiled:
    """Make the program that computes `roots`: target i gets root i; nodes for which `given` says so stand in memory."""
    build, values = lowered(roots, given)
    ends = [values[root] for root in roots]
    return allocated(ordered(ends), build, ends)


def lowered(roots: Sequence[Node], given: Callable[[Node], bool]) -> tuple[Builder, dict[Node, Result]]:
    """Return the builder of the program of `roots`, every statistic with its pass, and what each node became."""
    build = Builder()
    values: dict[Node, Result] = {}
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if node in values:
            continue
        if given(node):
            values[node] = build.source(node, node.dtype in WIDE)
        elif ready:
            arguments = [values.get(a, a) for a in node.arguments]  # type: ignore[arg-type]
            values[node] = node.lower(arguments, build)  # type: ignore[attr-defined]
        else:
            stack.append((node, True))
            stack += [(child, False) for child in reversed(node.inputs) if child not in values]
    build.settle()
    return build, values


def ordered(roots: Sequence[Result]) -> list[tuple[Work, int]]:
    """Return (work, -1) and (the work that target k shows, k), each work before its readers.

    A field whose last pass is done comes next, so that what a pass made is not kept for long.  Work that comes with its
    target only is done and stored at once.
    """
    passes: dict[Work, frozenset[Work]] = {}  # the passes below each work
    below: list[list[Work]] = []
    for root in roots:
        below.append(_below(root.work))
        for work in below[-1]:
            if work not in passes:
                inner = frozenset().union(*(passes[a.work] for a in work.inputs if isinstance(a, Result)))
                passes[work] = inner | {work} if work.looks_back else inner
    waiting: dict[Work, list[int]] = {}
    missing = []
    for k, root in enumerate(roots):
        missing.append(len(passes[root.work]))
        for one in passes[root.work]:
            waiting.setdefault(one, []).append(k)
    done: set[Work] = set()
    shown = [False] * len(roots)
    order: list[tuple[Work, int]] = []

    def show(k: int) -> list[int]:
        ready: list[int] = []
        for work in below[k]:
            if work not in done:
                done.add(work)
                order.append((work, -1))
                for other in waiting.get(work, ()):
                    missing[other] -= 1
                    if missing[other] == 0 and not shown[other] and other != k:
                        ready.append(other)
        shown[k] = True
        order.append((roots[k].work, k))
        return ready

    for k in range(len(roots)):
        stack = [k]
        while stack:
            now = stack.pop()
            if not shown[now]:
                stack += reversed(show(now))
    read = Counter(roots)
    read.update(side for work in done for side in work.inputs if isinstance(side, Result))
    at_once = {root.work for root in roots if root.work.name in AT_ONCE and read[root] == 1}
    return [(work, target) for work, target in order if target >= 0 or work not in at_once]


def _below(root: Work) -> list[Work]:
    """Return the work below one, and itself, inputs before readers."""
    order: list[Work] = []
    seen: set[Work] = set()
    stack = [(root, False)]
    while stack:
        work, ready = stack.pop()
        if ready:
            order.append(work)
        elif work not in seen:
            seen.add(work)
            stack.append((work, True))
            stack += [(a.work, False) for a in reversed(work.inputs) if isinstance(a, Result)]
    return order


def instructions(
    order: Sequence[tuple[Work, int]], roots: Sequence[Result]
) -> Iterator[tuple[str, Work, int, tuple[Result | float, ...]]]:
    """Yield (name of the instruction, work, target or -1, what it reads) for each step of `ordered`."""
    done: set[Work] = set()
    for work, target in order:
        if target < 0:
            done.add(work)
            yield work.name, work, target, work.inputs
        elif work in done:
            yield "store", work, target, (roots[target],)
        else:
            yield AT_ONCE[work.name], work, target, work.inputs


def allocated(order: Sequence[tuple[Work, int]], build: Builder, roots: Sequence[Result]) -> Compiled:
    """Give every value a register, and every register memory that others may use before and after."""
    history: dict[Result, int] = {}
    last: dict[Result, int] = {}
    for at, (_, work, target, inputs) in enumerate(instructions(order, roots)):
        for side in inputs:
            if isinstance(side, Result):
                last[side] = at
                need = work.looks_back + work.lag - side.work.lag if target < 0 or side.work is not work else 0
                history[side] = max(history.get(side, 0), min(need, FOREVER))
    number: dict[Result, int] = {}
    slots: list[int] = []  # of every register
    free: dict[bool, list[int]] = {False: [], True: []}
    ends: dict[int, list[Result]] = {}
    for value, at in last.items():
        ends.setdefault(at, []).append(value)
    steps: list[tuple[Any, ...]] = []
    sets: dict[frozenset[int], int] = {}
    words = []
    count = 0

    def release(at: int) -> None:
        for value in ends.get(at, ()):
            if history.get(value, 0) == 0 and value in number:
                free[value.wide].append(slots[number[value]])

    for at, (name, work, target, inputs) in enumerate(instructions(order, roots)):
        outputs = [value for value in work.outputs if value in last] if target < 0 else []
        in_place = work.looks_back == 0 and name not in ("load", "choose") and len(work.outputs) == 1
        if in_place:
            release(at)
        for value in outputs:
            if history.get(value, 0) == 0 and free[value.wide]:
                slot = free[value.wide].pop()
            else:
                slot, count = count, count + 1
            number[value] = len(slots)
            slots.append(slot)
        if not in_place:
            release(at)
        stored = name == "store"
        steps.append(
            (
                name,
                tuple(number[a] if isinstance(a, Result) else -1 for a in inputs),
                tuple(0.0 if isinstance(a, Result) else a for a in inputs),
                tuple(number[value] for value in outputs),
                tuple(WHAT.get(value.what, 0) for value in outputs),
                tuple(value.parameter for value in outputs),
                roots[target].wide if stored else work.wide,
                0 if stored else work.window,
                work.lag,
                _set(sets, work.reads),
                work.revives and target < 0,
                work.place if target < 0 else target,
            )
        )
        words.append(name if target < 0 else f"{name} {target}")
    registers = [(value.wide, history.get(value, 0), value.work.lag, slots[k]) for value, k in number.items()]
    members: Mapping[frozenset[int], int] = sets
    program = Program(steps, registers, [sorted(one) for one in members], len(build.sources), count)
    return Compiled(program, tuple(build.sources), tuple(words))


def _set(sets: dict[frozenset[int], int], reads: frozenset[int]) -> int:
    return sets.setdefault(reads, len(sets))

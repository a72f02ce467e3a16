"""What a plan runs, in words: the instructions of its programs, and which fields read from one pass.

    passes_of(plan)     of each field the passes over a window that it shares, such as moments2($close,20)
    listing(plan)       every instruction in order, by the name of its kernel; %2 is what instruction 2 made

A plan keeps its programs as numbers of registers.  Here they are lowered once more: what comes out is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qlib.data.expression.lowering import PASSES, Result, Work, instructions, lowered, ordered
from qlib.data.expression.node import Column, Node, walk
from qlib.data.expression.plan import Phase, Plan


@dataclass(frozen=True, slots=True)
class Shared:
    """A pass that answers more than one question.

    `text` is written like a call: its kernel, what it walks, the length of the window (0: all rows so far).  `fields`
    are the places of those that read from it, in order.
    """

    text: str
    fields: tuple[int, ...]


def passes_of(plan: Plan) -> list[list[Shared]]:
    """Return of each field the passes that answer more than one question: another field's, or another of its own.

    >>> from qlib.data.expression.plan import build_plan
    >>> passes_of(build_plan(["Std($close,20)/$close", "Mean($close,20)", "Mean($close,5)"]))[1]
    [Shared(text='moments2($close,20)', fields=(0, 1))]
    """
    found: list[list[Shared]] = [[] for _ in plan.fields]
    for program in _programs(plan):
        readers = program.readers()
        for work, target in program.order:
            if target < 0 and work.name in PASSES and (len(readers[work]) > 1 or len(work.outputs) > 1):
                sides = [program.said(side) for side in work.inputs]
                shared = Shared(f"{work.name}({','.join([*sides, str(work.window)])})", tuple(sorted(readers[work])))
                for field in shared.fields:
                    found[field].append(shared)
    return found


def listing(plan: Plan) -> list[str]:
    """Return the instructions of all programs in order, one line each; between them what waits for whole panels."""
    lines: list[str] = []
    for program in _programs(plan):
        if program.order:
            lines += ["program", *program.lines()]
        lines += [f"then #{program.steps[node]} by {node.kernel_name()}" for node in program.phase.then]
    return lines


@dataclass(frozen=True, slots=True)
class _Program:
    """One program, its values without registers.

    `ends` are the values of the targets, `fields` the places of the fields that each is computed for; `names` are those
    of the values that nodes became: columns and steps of the plan, whose numbers are `steps`.
    """

    phase: Phase
    order: Sequence[tuple[Work, int]]
    ends: Sequence[Result]
    fields: Sequence[frozenset[int]]
    names: Mapping[Result, str]
    steps: Mapping[Node, int]

    def readers(self) -> dict[Work, frozenset[int]]:
        """Return the fields that each piece of work is done for."""
        readers: dict[Work, frozenset[int]] = {}
        for _, work, target, inputs in reversed([*instructions(self.order, self.ends)]):
            own = readers.get(work, frozenset()) | (self.fields[target] if target >= 0 else frozenset())
            for one in (work, *(side.work for side in inputs if isinstance(side, Result))):
                readers[one] = readers.get(one, frozenset()) | own
        return readers

    def said(self, side: Result | float) -> str:
        """Return what a person calls an input: a column, a step, or the work that makes it."""
        if not isinstance(side, Result):
            return f"{side:g}"
        if side in self.names:
            return self.names[side]
        inputs = [self.said(one) for one in side.work.inputs]
        return inputs[0] if side.work.name in ("widen", "narrow") else f"{side.work.name}({','.join(inputs)})"

    def lines(self) -> list[str]:
        """Return a line for each instruction."""
        number: dict[Work, int] = {}
        rows: list[tuple[str, ...]] = []
        for name, work, target, inputs in instructions(self.order, self.ends):
            shown = " ".join([_made_by(side, number) for side in inputs] or [self.names[work.outputs[0]]])
            if target >= 0:
                to = f"step #{self.steps[self.phase.roots[target]]}" if self.phase.then else f"field {target}"
                rows.append(("", name, shown, f"-> {to}", ""))
                continue
            number[work] = len(number)
            kind = "float64" if work.outputs[0].wide else "float32"
            rows.append((f"%{number[work]}", name, shown, _told(work), kind))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        return ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _programs(plan: Plan) -> Iterator[_Program]:
    steps = {node: i for i, node in enumerate(plan.nodes)}
    wanted: dict[Node, set[int]] = {}  # the fields that each node is computed for
    for field, root in enumerate(plan.roots):
        wanted.setdefault(root, set()).add(field)
    for node in reversed(list(walk(*plan.roots))):
        for child in node.inputs:
            wanted.setdefault(child, set()).update(wanted[node])
    for phase in plan.phases:
        _, values = lowered(phase.roots, set(phase.compiled.sources).__contains__)
        ends = [values[root] for root in phase.roots]
        names: dict[Result, str] = {}
        for node, value in values.items():
            names.setdefault(value, str(node) if isinstance(node, Column) else f"#{steps[node]}")
        own = phase.then != ()
        fields = [frozenset(wanted[root] if own else {place}) for place, root in enumerate(phase.roots)]
        yield _Program(phase, ordered(ends), ends, fields, names, steps)


def _made_by(side: Result | float, number: Mapping[Work, int]) -> str:
    if not isinstance(side, Result):
        return f"{side:g}"
    alike = sum(one.what == side.what for one in side.work.outputs)
    which = _answer(side) if alike > 1 else side.what
    return f"%{number[side.work]}" + (f".{which}" if len(side.work.outputs) > 1 else "")


def _answer(value: Result) -> str:
    return f"{value.what}({value.parameter:g})" if value.parameter else value.what


def _told(work: Work) -> str:
    """Return what the name of an instruction does not say: its rows, its parameter, what it is asked."""
    words = []
    if work.name == "shift":
        words.append(f"{_rows(abs(work.window))} {'ago' if work.window > 0 else 'ahead'}")
    elif work.name in PASSES or work.window > 0:
        words.append(_rows(work.window) if work.window else "all rows")
    words += [f"by {value.parameter:g}" for value in work.outputs if value.parameter and not value.what]
    if work.lag:
        words.append(f"{work.lag} behind")
    asked = [_answer(value) for value in work.outputs if value.what]
    return ", ".join(words) + (f" -> {' '.join(asked)}" if asked else "")


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"

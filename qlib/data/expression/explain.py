"""What formulas will cost, in words: what they read, how far they look, what they share, and which code runs.

print(qlib.explain("Mean($close, 5)/$close"))                     by the rules and operators of the live session
print(explain(["$close"], compat="qlib", detail=True))            by any rules; with detail, every instruction
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from qlib.data.expression.instructions import Shared, listing, passes_of
from qlib.data.expression.node import Node, Operator, Scalar
from qlib.data.expression.plan import Plan, StepNumber, build_plan
from qlib.data.expression.sites import asked_elsewhere, leaves
from qlib.data.expression.span import EVERYTHING, Span

_NAMED: Final = 8  # fields that a line names; more are counted


class Explanation(str):
    """A text that shows itself as it is, also where an interpreter or a notebook shows the value of a line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def explain(
    fields: str | Sequence[object],
    *,
    compat: str | None = None,
    registry: Mapping[str, type[Operator]] | None = None,
    detail: bool = False,
) -> Explanation:
    """Return the plan of one field or several, as text.

    One line a field: its canonical form, what it reads, how many rows it needs before and after its own (ahead 0: it
    never looks into the future), the code that makes it, the dtype of that code's result, and each pass over a window
    that answers other fields, too, or several questions of its own: moments2($close,20) walks the last 20 rows of
    $close once.  Below, unless it is a single operator, the steps in order; #0 is the result of step 0.  What is
    evaluated for another instrument follows.

    Parameters
    ----------
    fields
        Formulas, as texts or objects, or a single one.
    compat, registry
        As for `build_plan`.
    detail
        Whether the instructions follow, by the names of the kernels that run: %0 is what instruction 0 made, and
        "2 behind" says that it works 2 rows behind, because something looks ahead; store_div divides and stores.

    >>> explain("Ref($close, -2) / Ref($close, -1) - 1")
    Sub(Div(Ref($close,-2),Ref($close,-1)),1)  reads $close  back 0  ahead 2  kernel sub  float32
      0  $close      column  float32
      1  Ref(#0,-2)  shift   float32
      2  Ref(#0,-1)  shift   float32
      3  Div(#1,#2)  div     float32
      4  Sub(#3,1)   sub     float32  -> field 0
    >>> explain("$close / Mask(Mean($close, 5), 'SPY')")
    Div($close,Mask(Mean($close,5),'spy'))  reads $close spy:$close  back 4  ahead 0  kernel div  float64
      0  $close                      column     float32
      1  Mask(Mean($close,5),'spy')  elsewhere  float64
      2  Div(#0,#1)                  div        float64  -> field 0
    at spy
      0  $close      column  float32
      1  Mean(#0,5)  mean    float64
    >>> explain("Mean($close, 20) / Std($close, 20)", detail=True)
    Div(Mean($close,20),Std($close,20))  reads $close  back 19  ahead 0  kernel div  float64  pass moments2($close,20)
      0  $close       column  float32
      1  Mean(#0,20)  mean    float64
      2  Std(#0,20)   std     float64
      3  Div(#1,#2)   div     float64  -> field 0
    program
      %0  load       $close                               float32
      %1  widen      %0                                   float64
      %2  moments2   %1              20 rows -> mean std  float64
          store_div  %2.mean %2.std  -> field 0
    """
    many = [fields] if isinstance(fields, str) or not isinstance(fields, Sequence) else list(fields)
    plan = build_plan(many, compat=compat, registry=registry)
    shared = passes_of(plan)
    lines = [_headline(plan, i, shared[i]) for i in range(len(plan.fields))]
    operators = [step for step in plan.steps if isinstance(step.node, Operator)]
    table = len(lines) > 1 or len(operators) > 1 or detail
    lines += _table(plan) if table else []
    lines += listing(plan) if detail else []
    for instrument, features in asked_elsewhere(plan.roots).items() if table else ():
        there = Plan([str(one) for one in features], features, compat)
        lines += [f"at {instrument}", *_table(there, tell=False), *(listing(there) if detail else [])]
    return Explanation("\n".join(lines))


def _headline(plan: Plan, field: int, shared: Sequence[Shared]) -> str:
    root = plan.roots[field]
    reads = _reads([root], "")
    for instrument, features in asked_elsewhere([root]).items():
        reads += _reads(features, f"{instrument}:")
    line = f"{root}  reads {' '.join(reads)}  {_words(root.span)}  kernel {_kernel(root)}  {root.dtype}"
    return "".join([line, *(f"  pass {one.text}{_with(one.fields, field)}" for one in shared)])


def _with(fields: Sequence[int], own: int) -> str:
    others = [str(field) for field in fields if field != own]
    if not others:
        return ""
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f" with field{'s' * (len(others) > 1)} {', '.join(others[:_NAMED])}{more}"


def _reads(formulas: Sequence[Node], site: str) -> list[str]:
    read = leaves(*formulas)
    reported = {str(one) for over in read.reported for one in over.sources}
    return [f"{site}{name}" for name in (*sorted(f"${column}" for column in read.columns), *sorted(reported))]


def _words(span: Span) -> str:
    back, ahead = ("everything" if rows == EVERYTHING else int(rows) for rows in (span.back, span.ahead))
    return f"back {back}  ahead {ahead}"


def _kernel(node: object) -> str:
    return node.kernel_name() if isinstance(node, Operator) else "column"


def _table(plan: Plan, *, tell: bool = True) -> list[str]:
    """Return a line for each step; with `tell`, also which field it is."""
    rows = []
    for number, step in enumerate(plan.steps):
        operator = isinstance(step.node, Operator)
        text = step.node.write([_argument(a) for a in step.arguments]) if operator else str(step.node)
        wanted = f"-> field {', '.join(map(str, step.fields))}" if step.fields and tell else ""
        rows.append((str(number), text, _kernel(step.node), step.node.dtype, wanted))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        "  " + "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    ]


def _argument(argument: StepNumber | Scalar | Node) -> str:
    return f"#{argument.at}" if isinstance(argument, StepNumber) else str(argument)
